#include "coalesce.h"
#include "checksum.h"

#include <cstring>

namespace passt {

enum : size_t { TCP_MIN = 20, CSUM_OFFSET = 16, IP_MAX = 65535 };
enum : uint8_t { PROTO_TCP = 6, TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_ACK = 0x10 };
enum : uint16_t { IP_DF = 0x4000 };

namespace {

/** Where L4 begins in an IP packet without options or extension headers that fills its frame; 0: it is none with TCP. */
size_t l4_of(const uint8_t *f, size_t len)
{
	const uint8_t *const ip = f + ETH_LEN;

	if (len >= ETH_LEN + 20 + TCP_MIN && get16(f + 12) == 0x0800)
		return ip[0] == 0x45 && ip[9] == PROTO_TCP && !(get16(ip + 6) & ~IP_DF) && get16(ip + 2) == len - ETH_LEN
			       ? ETH_LEN + 20
			       : 0;
	if (len >= ETH_LEN + 40 + TCP_MIN && get16(f + 12) == 0x86dd)
		return ip[0] >> 4 == 6 && ip[6] == PROTO_TCP && get16(ip + 4) == len - ETH_LEN - 40 ? ETH_LEN + 40 : 0;
	return 0;
}

/** Ones' complement: `sum` over IP and TCP says that both checksums are right; IPv4's own header adds nothing then. */
bool sums_right(const uint8_t *f, size_t len, size_t l4, uint16_t sum)
{
	const bool v6 = l4 != ETH_LEN + 20;
	const uint8_t *const ip = f + ETH_LEN;
	const uint16_t header = sum_fold(sum_octets(ip, l4 - ETH_LEN));

	if (!v6 && header != 0xffff)
		return false;
	/* The header's share taken off again: its complement added */
	const uint32_t tcp = (uint32_t)sum + (uint16_t)~header + sum_fold(sum_pseudo(ip, v6, PROTO_TCP, (uint32_t)(len - l4)));
	return ((tcp & 0xffff) + (tcp >> 16)) % 0xffff == 0;
}

/** Same Ethernet header, addresses, class, flow label, time to live, DF. */
bool same_path(const uint8_t *a, const uint8_t *b, bool v6)
{
	if (memcmp(a, b, ETH_LEN))
		return false;
	a += ETH_LEN, b += ETH_LEN;
	if (v6)
		return !memcmp(a, b, 4) && !memcmp(a + 6, b + 6, 34);
	return a[1] == b[1] && get16(a + 6) == get16(b + 6) && a[8] == b[8] && !memcmp(a + 12, b + 12, 8);
}

} // namespace

bool Coalescer::begin(uint8_t *frame, size_t length, uint16_t sum)
{
	open = false, segments = 1, first = frame, len = length;
	if (!(l4 = l4_of(frame, length)))
		return false;
	const uint8_t *const tcp = frame + l4;
	data = l4 + (size_t)(tcp[12] >> 4) * 4;
	flags = tcp[13];
	/* reserved bits, and all that is not a plain segment with data and more to come */
	if (data < l4 + TCP_MIN || data >= len || flags != TCP_ACK || tcp[12] & 0xf || get16(tcp + 18))
		return false;
	if (!sums_right(frame, len, l4, sum))
		return false;
	v6 = l4 != ETH_LEN + 20;
	size = (uint32_t)(len - data);
	next_seq = get32(tcp + 4) + size;
	next_id = (uint16_t)(get16(frame + ETH_LEN + 4) + 1);
	return open = true;
}

bool Coalescer::add(const uint8_t *frame, size_t length)
{
	if (!open || l4_of(frame, length) != l4 || length <= data || length - data > size)
		return false;
	const uint8_t *const a = first + l4, *const b = frame + l4;
	const size_t n = length - data;

	if (len + n > ETH_LEN + (v6 ? 40 : 0) + IP_MAX || get32(b + 4) != next_seq)
		return false;
	if (memcmp(a, b, 4) || memcmp(a + 8, b + 8, 5) || b[13] & (uint8_t)~(TCP_PSH | TCP_FIN) & (uint8_t)~TCP_ACK ||
	    !(b[13] & TCP_ACK) || memcmp(a + 14, b + 14, 2) || memcmp(a + 18, b + 18, data - l4 - 18))
		return false;
	if (!same_path(first, frame, v6))
		return false;
	if (!v6 && !(get16(frame + ETH_LEN + 6) & IP_DF) && get16(frame + ETH_LEN + 4) != next_id)
		return false;
	if (!sums_right(frame, length, l4, sum_fold(sum_octets(frame + ETH_LEN, length - ETH_LEN))))
		return false;
	memcpy(first + len, frame + data, n);
	len += n, next_seq += (uint32_t)n, next_id++, segments++;
	flags = b[13];
	/* A short one, or one that says that there is no more for now, is the last */
	if (n < size || flags != TCP_ACK || len + size > ETH_LEN + (v6 ? 40 : 0) + IP_MAX)
		open = false;
	return true;
}

bool Coalescer::end(Vnet &v)
{
	open = false;
	if (segments < 2)
		return false;
	uint8_t *const ip = first + ETH_LEN, *const tcp = first + l4;
	v = {};
	v.flags = VNET_NEEDS_CSUM;
	v.gso_type = v6 ? GSO_TCPV6 : GSO_TCPV4;
	v.hdr_len = (uint16_t)data;
	v.gso_size = (uint16_t)size;
	v.csum_start = (uint16_t)l4;
	v.csum_offset = CSUM_OFFSET;
	if (v6) {
		put16(ip + 4, (uint16_t)(len - l4));
	} else {
		put16(ip + 2, (uint16_t)(len - ETH_LEN));
		put16(ip + 10, 0);
		put16(ip + 10, (uint16_t)~sum_fold(sum_octets(ip, 20)));
	}
	tcp[13] = flags;
	put16(tcp + CSUM_OFFSET, sum_fold(sum_pseudo(ip, v6, PROTO_TCP, (uint32_t)(len - l4))));
	return true;
}

} // namespace passt
