#include "outside.h"

#include <algorithm>

namespace passt {

void Outside::add(uint32_t off, const std::vector<Piece> &pieces, size_t skip, uint16_t head)
{
	Frame x = {off, 0, (uint32_t)all.size(), 0, head};

	for (const Piece &p : pieces) {
		const auto over = (uint32_t)std::min<size_t>(skip, p.len);
		skip -= over;
		if (over == p.len)
			continue;
		all.push_back({p.at + over, p.len - over, p.gpa + over});
		x.len += p.len - over, x.count++;
	}
	frames.push_back(x);
}

/** The last one that begins at `off` or before it. */
const Outside::Frame *Outside::find(uint32_t off) const
{
	const auto behind = std::upper_bound(frames.begin(), frames.end(), off, [](uint32_t o, const Frame &x) { return o < x.off; });

	return behind == frames.begin() ? nullptr : &behind[-1];
}

size_t Outside::parts(uint8_t *slab, uint32_t off, uint32_t len, iovec *to, size_t room) const
{
	if (!len || !room)
		return 0;
	/* Payload may begin in what was copied, in front of the place */
	const Frame *const x = find(off + len - 1);
	if (!x || off + len > x->off + x->len) {
		to[0] = {slab + off, len};
		return 1;
	}
	size_t n = 0;
	uint32_t skip = 0;
	if (off < x->off) {
		to[n++] = {slab + off, x->off - off};
		len -= x->off - off;
	} else {
		skip = off - x->off;
	}
	for (const Piece *p = &all[x->first]; len; p++) {
		if (skip >= p->len) {
			skip -= p->len;
			continue;
		}
		const uint32_t here = std::min(len, p->len - skip);
		if (n == room)
			return 0;
		to[n++] = {p->at + skip, here};
		len -= here, skip = 0;
	}
	return n;
}

void Outside::copy(uint8_t *slab) const
{
	for (const Frame &x : frames) {
		uint8_t *to = slab + x.off;
		for (const Piece *p = &all[x.first]; p < &all[x.first] + x.count; p++) {
			memcpy(to, p->at, p->len);
			to += p->len;
		}
	}
}

} // namespace passt
