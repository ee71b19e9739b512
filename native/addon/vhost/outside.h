/* Payload that stays in the guest's memory: a frame has its whole place in the slab, but what is large in it is not copied there. Who
 * sends it (EF_SEND) finds the place here and takes it from where it is. Its chains are the guest's again once the effects of
 * the turn are carried out, or earlier, behind copy().
 */
#ifndef PASST_VHOST_OUTSIDE_H
#define PASST_VHOST_OUTSIDE_H

#include "vring.h"

#include <sys/uio.h>

namespace passt {

/** Octets. What is copied of each such frame: more than anybody reads of one, headers and quotations in ICMP errors. */
enum : uint32_t { OUTSIDE_HEAD = 2048, OUTSIDE_MIN = 8192 };
/** Pieces of one such frame, at most: as many iovecs are needed at once. */
enum : uint32_t { OUTSIDE_PIECES = 64 };

class Outside {
public:
	bool empty() const { return frames.empty(); }
	/**
	 * The octets of `pieces`, OUTSIDE_PIECES at most, behind the first `skip` have the place [off, off + their number) in the slab. In
	 * the order of places.
	 */
	void add(uint32_t off, const std::vector<Piece> &pieces, size_t skip, uint16_t head);
	/** Where the octets [off, off + len) of the slab are, as at most `room` iovecs. Return: how many; 0: it takes more, or there are none. */
	size_t parts(uint8_t *slab, uint32_t off, uint32_t len, iovec *to, size_t room) const;
	/** To their place in the slab; clear() follows. */
	void copy(uint8_t *slab) const;
	/** `f(head)` of each frame's chain: they are the guest's from here on. */
	template <typename F> void clear(F f)
	{
		for (const Frame &x : frames)
			f(x.head);
		frames.clear(), all.clear();
	}

private:
	struct Frame {
		uint32_t off, len, first, count;
		uint16_t head;
	};
	const Frame *find(uint32_t off) const;
	std::vector<Frame> frames;
	std::vector<Piece> all;
};

} // namespace passt

#endif
