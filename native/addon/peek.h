/* What is to be peeked, and in which order: see peek.cc. */
#ifndef PASST_PEEK_H
#define PASST_PEEK_H

#include "abi.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace passt {

enum : uint32_t { HEADER_MAX = 128 };

/** Ethernet, IP and TCP header in front of what is peeked, and SEQ of its next octet. */
struct Header {
	uint8_t octets[HEADER_MAX];
	uint32_t len, l4, seq, mss;
	bool v6;

	/** False: not a header of ours. */
	bool begin(const uint8_t *header, uint32_t length, uint32_t segment, bool six);
	/** Payload octets of the largest IP packet, a multiple of the MSS. IPv4 counts its header in the length, IPv6 does not. */
	uint32_t most() const;
	/**
	 * In front of `n` octets of payload, `at` octets behind SEQ, in segment `index`: lengths, SEQ, PSH where it is the `last`
	 * of its batch (#regression-51); the checksum's field holds the pseudo-header's sum.
	 */
	void write(uint8_t *frame, uint32_t at, uint32_t n, uint32_t index, bool last) const;
};

/** An EF_PEEK whose turn has not come. */
struct Peek {
	uint32_t handle, generation, budget;
	Header header;
};

/** Those that wait, in the order in which they came. */
class Peeks {
public:
	size_t size() const { return all.size() - head; }
	bool empty() const { return !size(); }
	/** `alive(peek)`: of a socket that is still there. No more than twice those are kept, though none may go on for long. */
	template <typename Alive> void add(const Peek &p, Alive alive)
	{
		if (size() >= purge_at) {
			all.erase(all.begin(), all.begin() + (std::ptrdiff_t)head);
			head = 0;
			all.erase(std::remove_if(all.begin(), all.end(), [&](const Peek &q) { return !alive(q); }), all.end());
			purge_at = std::max<size_t>(PURGE_MIN, 2 * all.size());
		}
		all.push_back(p);
	}
	Peek &operator[](size_t i) { return all[head + i]; }
	/** The first `n` are dealt with. */
	void drop(size_t n);

private:
	std::vector<Peek> all;
	size_t head = 0, purge_at = PURGE_MIN;
	static constexpr size_t PURGE_MIN = 1024;
};

} // namespace passt

#endif
