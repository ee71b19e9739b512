#include "coalesce.h"

#include <cstring>

namespace passt {

/* UDP_MAX_SEGMENTS of kernels before 6.7: more would have to be cut again on the way out */
enum : uint32_t { DATAGRAMS_MAX = 64 };

bool Coalescer::begin(uint8_t *frame, size_t length, uint16_t sum)
{
	open = false, segments = 1, first = frame, len = length;
	if (!(known = read_plain(frame, length, at)) || at.data >= len)
		return false;
	const uint8_t *const h = frame + at.l4;
	if (!at.udp) {
		flags = h[TCP_FLAGS];
		next_seq = get32(h + TCP_SEQ) + (uint32_t)(len - at.data);
		/* Reserved bits, urgent data, and all that is not a plain segment with more to come */
		if (at.data < at.l4 + TCP_LEN || flags != TCP_ACK || h[TCP_OFFSET] & 0xf || get16(h + TCP_URGENT))
			return false;
	}
	if (!sums_right(frame, len, at, sum))
		return false;
	size = (uint32_t)(len - at.data);
	next_id = (uint16_t)(get16(frame + ETH_LEN + IPV4_ID) + 1);
	return open = true;
}

bool Coalescer::same_flow(const uint8_t *frame) const
{
	const uint8_t *const ip = frame + ETH_LEN, *const a = first + at.l4, *const b = frame + at.l4;
	const auto same = [&](size_t from, size_t to) { return !memcmp(a + from, b + from, to - from); };

	if (!same(L4_PORTS, L4_PORTS + 4) || !same_path(first, frame, at.v6))
		return false;
	if (!at.v6 && !(get16(ip + IPV4_FRAGMENT) & IPV4_DF) && get16(ip + IPV4_ID) != next_id)
		return false;
	return at.udp || (get32(b + TCP_SEQ) == next_seq && same(TCP_ACK_NUMBER, TCP_FLAGS) &&
			  (b[TCP_FLAGS] & (uint8_t)~(TCP_PSH | TCP_FIN)) == TCP_ACK && same(TCP_WINDOW, TCP_CSUM) &&
			  same(TCP_URGENT, at.data - at.l4));
}

bool Coalescer::fits(const uint8_t *frame, size_t length, uint16_t sum) const
{
	Layers other;

	if (!open || !read_plain(frame, length, other) || other.v6 != at.v6 || other.udp != at.udp || length <= at.data ||
	    length - at.data > size)
		return false;
	return len + length - at.data <= most() && same_flow(frame) && sums_right(frame, length, at, sum);
}

void Coalescer::append(const uint8_t *frame, size_t length)
{
	const size_t n = length - at.data;

	if (!at.udp)
		flags = frame[at.l4 + TCP_FLAGS];
	memmove(first + len, frame + at.data, n); /* perhaps over its own headers */
	len += n, next_seq += (uint32_t)n, next_id++, segments++;
	/* A short one, or one that says that there is no more for now, is the last */
	open = n == size && (at.udp ? segments < DATAGRAMS_MAX : flags == TCP_ACK);
}

bool Coalescer::superseded_by(const uint8_t *frame, size_t length, uint16_t sum) const
{
	Layers other;
	const auto bare = [](const Layers &l, size_t octets) { return !l.udp && octets == l.l4 + TCP_LEN; };

	if (!known || segments != 1 || !bare(at, len) || length != len || !read_plain(frame, length, other) || other.v6 != at.v6 ||
	    other.udp)
		return false;
	const uint8_t *const a = first + at.l4, *const b = frame + at.l4;
	/* No options, no reserved bits, nothing but ACK */
	const auto plain = [](const uint8_t *h) { return h[TCP_OFFSET] == TCP_LEN / 4 << 4 && h[TCP_FLAGS] == TCP_ACK; };
	/* Ports and sequence number */
	return !memcmp(a, b, TCP_ACK_NUMBER) && plain(a) && plain(b) &&
	       (int32_t)(get32(b + TCP_ACK_NUMBER) - get32(a + TCP_ACK_NUMBER)) > 0 && same_path(first, frame, at.v6) &&
	       sums_right(frame, length, at, sum);
}

bool Coalescer::end(Vnet &v)
{
	open = false;
	if (segments < 2)
		return false;
	v = {};
	v.flags = VNET_NEEDS_CSUM;
	v.gso_type = at.udp ? GSO_UDP_L4 : at.v6 ? GSO_TCPV6 : GSO_TCPV4;
	v.hdr_len = (uint16_t)at.data;
	v.gso_size = (uint16_t)size;
	v.csum_start = (uint16_t)at.l4;
	v.csum_offset = (uint16_t)at.csum();
	put_lengths(first, at, len);
	if (!at.udp)
		first[at.l4 + TCP_FLAGS] = flags;
	put_pseudo(first, at, len);
	return true;
}

void Coalescer::end(ev::TapFrame &e)
{
	Vnet v;

	e.len = (uint32_t)len;
	if (end(v)) {
		put_vnet(e, v);
		e.ones_complement_sum = 0;
	}
}

} // namespace passt
