#include "frame.h"
#include "checksum.h"

#include <cerrno>
#include <cstring>

namespace passt {

enum : size_t { CSUM_OFF_TCP = 16, CSUM_OFF_UDP = 6, TCP_MIN = 20, UDP_LEN = 8 };
enum : uint8_t { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80, PROTO_TCP = 6, PROTO_UDP = 17 };

bool complete_checksum(uint8_t *frame, size_t len, size_t csum_start, size_t csum_offset)
{
	if (csum_start + csum_offset + 2 > len)
		return false;
	put_checksum(frame + csum_start, csum_offset, sum_octets(frame + csum_start, len - csum_start));
	return true;
}

void put_checksum(uint8_t *l4, size_t csum_offset, uint64_t partial)
{
	uint16_t sum = (uint16_t)~sum_fold(partial);

	/* 0 in UDP says "none" (RFC 768); 0xffff is the same number */
	if (!sum && csum_offset == CSUM_OFF_UDP)
		sum = 0xffff;
	put16(l4 + csum_offset, sum);
}

namespace {

/** What segment() has found out about the headers. */
struct Shape {
	bool v6, udp;
	/** L4 header and payload, from the start of the frame */
	size_t l4, data;
};

bool shape_of(const uint8_t *f, size_t len, const Vnet &v, Shape &s)
{
	const uint8_t type = v.gso_type & (uint8_t)~GSO_ECN;
	const size_t ip = ETH_LEN;

	if (len < ip + 20 || !v.gso_size)
		return false;
	s.v6 = get16(f + 12) == 0x86dd;
	s.udp = type == GSO_UDP_L4;
	if (!s.udp && type != (s.v6 ? GSO_TCPV6 : GSO_TCPV4))
		return false;
	if (!s.v6 && (get16(f + 12) != 0x0800 || f[ip] >> 4 != 4))
		return false;
	const size_t iph = s.v6 ? 40 : (size_t)(f[ip] & 0xf) * 4;
	/* Extension headers may stand between the fixed IPv6 header and L4: csum_start says where L4 is. */
	s.l4 = v.flags & VNET_NEEDS_CSUM ? v.csum_start : ip + iph;
	if (iph < 20 || s.l4 < ip + iph || (!s.v6 && s.l4 != ip + iph))
		return false;
	if (s.l4 + (s.udp ? UDP_LEN : TCP_MIN) > len)
		return false;
	const size_t l4h = s.udp ? UDP_LEN : (size_t)(f[s.l4 + 12] >> 4) * 4;
	s.data = s.l4 + l4h;
	return (s.udp || l4h >= TCP_MIN) && s.data <= len;
}

} // namespace

int segment(const uint8_t *frame, size_t len, const Vnet &v, Emit emit, void *to, size_t *payload, Place place)
{
	static uint8_t here[FRAME_MAX + 1];
	Shape s;

	*payload = 0;
	if (len > FRAME_MAX || !shape_of(frame, len, v, s))
		return -1;
	const uint8_t last_flags = s.udp ? 0 : frame[s.l4 + 13];
	const uint32_t seq = s.udp ? 0 : get32(frame + s.l4 + 4);
	const uint16_t id = get16(frame + ETH_LEN + 4);
	const size_t total = len - s.data;

	for (size_t done = 0, i = 0; done < total || !i; i++) {
		const size_t n = total - done < v.gso_size ? total - done : v.gso_size;
		const size_t end = s.data + n;
		const bool last = done + n == total;

		uint8_t *const out = place ? place(to, end) : here, *const ip = out + ETH_LEN;
		if (!out)
			return EAGAIN;
		memcpy(out, frame, s.data);
		const uint64_t data = copy_octets(out + s.data, frame + s.data + done, n);
		if (s.v6) {
			put16(ip + 4, (uint16_t)(end - ETH_LEN - 40));
		} else {
			put16(ip + 2, (uint16_t)(end - ETH_LEN));
			put16(ip + 4, (uint16_t)(id + i));
			put16(ip + 10, 0);
			put16(ip + 10, (uint16_t)~sum_fold(sum_octets(ip, s.l4 - ETH_LEN)));
		}
		uint8_t *const field = out + s.l4 + (s.udp ? CSUM_OFF_UDP : CSUM_OFF_TCP);
		if (s.udp) {
			put16(out + s.l4 + 4, (uint16_t)(end - s.l4));
		} else {
			put32(out + s.l4 + 4, seq + (uint32_t)done);
			uint8_t flags = last_flags;
			if (!last)
				flags &= (uint8_t)~(TCP_FIN | TCP_PSH);
			if (i)
				flags &= (uint8_t)~TCP_CWR;
			out[s.l4 + 13] = flags;
		}
		put16(field, 0);
		/* Two numbers added up: the sums are of 64 bits, their folds of 16. The header is of even length */
		const uint16_t header = sum_fold(sum_octets(
			out + s.l4, s.data - s.l4,
			sum_pseudo(ip, s.v6, s.udp ? PROTO_UDP : PROTO_TCP, (uint32_t)(end - s.l4))));
		const uint32_t both = (uint32_t)header + sum_fold(data);
		auto sum = (uint16_t)~((both & 0xffff) + (both >> 16));
		if (!sum && s.udp)
			sum = 0xffff;
		put16(field, sum);
		if (const int e = emit(to, out, end))
			return e;
		done += n;
		*payload = done;
	}
	return 0;
}

} // namespace passt
