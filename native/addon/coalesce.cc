#include "coalesce.h"
#include "checksum.h"

#include <cstring>

namespace passt {

/* UDP_MAX_SEGMENTS of kernels before 6.7: more would have to be cut again on the way out */
enum : uint32_t { DATAGRAMS_MAX = 64 };
enum : size_t { TCP_MIN = 20, UDP_LEN = 8, CSUM_TCP = 16, CSUM_UDP = 6 };
enum : uint8_t { PROTO_TCP = 6, PROTO_UDP = 17, TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_ACK = 0x10 };
enum : uint16_t { IP_DF = 0x4000 };

namespace {

/** Where L4 begins in an IP packet without options or extension headers that fills its frame; 0: neither TCP nor UDP there. */
size_t l4_of(const uint8_t *f, size_t len, bool &udp)
{
	const uint8_t *const ip = f + ETH_LEN;
	size_t l4 = 0;
	uint8_t proto = 0;

	if (len >= ETH_LEN + 20 && get16(f + 12) == 0x0800) {
		if (ip[0] == 0x45 && !(get16(ip + 6) & ~IP_DF) && get16(ip + 2) == len - ETH_LEN)
			l4 = ETH_LEN + 20, proto = ip[9];
	} else if (len >= ETH_LEN + 40 && get16(f + 12) == 0x86dd) {
		if (ip[0] >> 4 == 6 && get16(ip + 4) == len - ETH_LEN - 40)
			l4 = ETH_LEN + 40, proto = ip[6];
	}
	udp = proto == PROTO_UDP;
	if (proto == PROTO_TCP)
		return len >= l4 + TCP_MIN ? l4 : 0;
	return udp && len >= l4 + UDP_LEN && get16(f + l4 + 4) == len - l4 && get16(f + l4 + CSUM_UDP) ? l4 : 0;
}

/** Ones' complement: `sum` over IP and L4 says that both checksums are right; IPv4's own header adds nothing then. */
bool sums_right(const uint8_t *f, size_t len, size_t l4, bool udp, uint16_t sum)
{
	const bool v6 = l4 != ETH_LEN + 20;
	const uint8_t *const ip = f + ETH_LEN;
	const uint16_t header = sum_fold(sum_octets(ip, l4 - ETH_LEN));

	if (!v6 && header != 0xffff)
		return false;
	/* The header's share taken off again: its complement added */
	const uint32_t all = (uint32_t)sum + (uint16_t)~header +
			     sum_fold(sum_pseudo(ip, v6, udp ? PROTO_UDP : PROTO_TCP, (uint32_t)(len - l4)));
	return ((all & 0xffff) + (all >> 16)) % 0xffff == 0;
}

/** Same Ethernet header, addresses, class, flow label, time to live, DF. */
bool same_path(const uint8_t *a, const uint8_t *b, bool v6)
{
	if (memcmp(a, b, ETH_LEN))
		return false;
	a += ETH_LEN, b += ETH_LEN;
	if (v6)
		return !memcmp(a, b, 4) && !memcmp(a + 6, b + 6, 34);
	return a[1] == b[1] && get16(a + 6) == get16(b + 6) && !memcmp(a + 8, b + 8, 2) && !memcmp(a + 12, b + 12, 8);
}

} // namespace

bool Coalescer::begin(uint8_t *frame, size_t length, uint16_t sum)
{
	open = false, segments = 1, first = frame, len = length;
	if (!(l4 = l4_of(frame, length, udp)))
		return false;
	const uint8_t *const h = frame + l4;
	data = l4 + (udp ? (size_t)UDP_LEN : (size_t)(h[12] >> 4) * 4);
	if (data >= len)
		return false;
	if (!udp) {
		flags = h[13];
		next_seq = get32(h + 4) + (uint32_t)(len - data);
		/* Reserved bits, urgent data, and all that is not a plain segment with more to come */
		if (data < l4 + TCP_MIN || flags != TCP_ACK || h[12] & 0xf || get16(h + 18))
			return false;
	}
	if (!sums_right(frame, len, l4, udp, sum))
		return false;
	v6 = l4 != ETH_LEN + 20;
	size = (uint32_t)(len - data);
	next_id = (uint16_t)(get16(frame + ETH_LEN + 4) + 1);
	return open = true;
}

bool Coalescer::same_flow(const uint8_t *frame) const
{
	const uint8_t *const a = first + l4, *const b = frame + l4;

	if (memcmp(a, b, 4) || !same_path(first, frame, v6))
		return false;
	if (!v6 && !(get16(frame + ETH_LEN + 6) & IP_DF) && get16(frame + ETH_LEN + 4) != next_id)
		return false;
	return udp || (get32(b + 4) == next_seq && !memcmp(a + 8, b + 8, 5) &&
		       (b[13] & (uint8_t)~(TCP_PSH | TCP_FIN)) == TCP_ACK && !memcmp(a + 14, b + 14, 2) &&
		       !memcmp(a + 18, b + 18, data - l4 - 18));
}

bool Coalescer::fits(const uint8_t *frame, size_t length, uint16_t sum) const
{
	bool as_udp;

	if (!open || l4_of(frame, length, as_udp) != l4 || as_udp != udp || length <= data || length - data > size)
		return false;
	return len + length - data <= most() && same_flow(frame) && sums_right(frame, length, l4, udp, sum);
}

void Coalescer::append(const uint8_t *frame, size_t length)
{
	const size_t n = length - data;

	if (!udp)
		flags = frame[l4 + 13];
	memmove(first + len, frame + data, n); /* perhaps over its own headers */
	len += n, next_seq += (uint32_t)n, next_id++, segments++;
	/* A short one, or one that says that there is no more for now, is the last */
	open = n == size && (udp ? segments < DATAGRAMS_MAX : flags == TCP_ACK);
}

bool Coalescer::superseded_by(const uint8_t *frame, size_t length, uint16_t sum) const
{
	bool as_udp;

	if (udp || segments != 1 || !l4 || len != l4 + TCP_MIN || length != len || l4_of(frame, length, as_udp) != l4 || as_udp)
		return false;
	const uint8_t *const a = first + l4, *const b = frame + l4;
	/* Ports and sequence number; then offset, reserved bits and flags */
	return !memcmp(a, b, 8) && a[12] == 0x50 && b[12] == 0x50 && a[13] == TCP_ACK && b[13] == TCP_ACK &&
	       (int32_t)(get32(b + 8) - get32(a + 8)) > 0 && same_path(first, frame, l4 != ETH_LEN + 20) &&
	       sums_right(frame, length, l4, false, sum);
}

bool Coalescer::end(Vnet &v)
{
	open = false;
	if (segments < 2)
		return false;
	uint8_t *const ip = first + ETH_LEN, *const h = first + l4;
	const size_t field = udp ? CSUM_UDP : CSUM_TCP;
	v = {};
	v.flags = VNET_NEEDS_CSUM;
	v.gso_type = udp ? GSO_UDP_L4 : v6 ? GSO_TCPV6 : GSO_TCPV4;
	v.hdr_len = (uint16_t)data;
	v.gso_size = (uint16_t)size;
	v.csum_start = (uint16_t)l4;
	v.csum_offset = (uint16_t)field;
	if (v6) {
		put16(ip + 4, (uint16_t)(len - l4));
	} else {
		put16(ip + 2, (uint16_t)(len - ETH_LEN));
		put16(ip + 10, 0);
		put16(ip + 10, (uint16_t)~sum_fold(sum_octets(ip, 20)));
	}
	if (udp)
		put16(h + 4, (uint16_t)(len - l4));
	else
		h[13] = flags;
	put16(h + field, sum_fold(sum_pseudo(ip, v6, udp ? PROTO_UDP : PROTO_TCP, (uint32_t)(len - l4))));
	return true;
}

} // namespace passt
