/* What is to be peeked, and in which order: see peek.cc. */
#ifndef PASST_PEEK_H
#define PASST_PEEK_H

#include "abi.h"
#include "headers.h"
#include "tap.h"
#include "tcp.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace passt {

enum : uint32_t { HEADER_MAX = 128 };

/** Ethernet, IP and TCP header in front of what is peeked, and SEQ of its next octet. */
struct Header {
	uint8_t octets[HEADER_MAX];
	Layers at;
	uint32_t len, seq, mss;

	/** False: not a header of ours. */
	bool begin(const uint8_t *header, uint32_t length, uint32_t segment, bool six);
	/** Payload octets of the largest IP packet, a multiple of the MSS. IPv4 counts its header in the length, IPv6 does not. */
	uint32_t most() const;
	/**
	 * In front of `n` octets of payload, `behind` octets after SEQ, in segment `index`: lengths, SEQ, PSH where it is the `last`
	 * of its batch (#regression-51); the checksum's field holds the pseudo-header's sum.
	 */
	void write(uint8_t *frame, uint32_t behind, uint32_t n, uint32_t index, bool last) const;
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
	/** Those of this handle are as if they had never come. */
	void forget(uint32_t handle)
	{
		const auto first = all.begin() + (std::ptrdiff_t)head;
		all.erase(std::remove_if(first, all.end(), [&](const Peek &p) { return p.handle == handle; }), all.end());
	}
	/** The first `n` are dealt with. */
	void drop(size_t n);

private:
	std::vector<Peek> all;
	size_t head = 0, purge_at = PURGE_MIN;
	static constexpr size_t PURGE_MIN = 1024;
};

class Peeker : Part {
public:
	Peeker(Core &c, Table &t, Tap &p, Tcp &stream) : Part(c), table(t), tap(p), tcp(stream) {}

	/** EF_PEEK: at once where there is little, so that no answer waits behind bulk; the others go one behind the other. */
	void peek(Sock &s, const fx::Peek &e);
	/** May those that wait go on? */
	bool may_go_on() const { return !peeks.empty() && tap.takes_bulk(); }
	/**
	 * A share for each that waits, until PEEK_ALL is used up; the next turn goes on with the next. Whoever had its share asks
	 * again, and comes behind the others.
	 */
	void go_on();
	/** What waits for this handle gets no answer. */
	void forget(uint32_t handle) { peeks.forget(handle); }

private:
	uint32_t peek_now(Sock &s, Header &h, uint32_t left, uint32_t avail);

	Table &table;
	Tap &tap;
	Tcp &tcp;
	Peeks peeks;
	/** octets that went at once since the last turn of those that wait */
	uint32_t little = 0;
};

} // namespace passt

#endif
