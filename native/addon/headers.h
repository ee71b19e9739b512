/* Ethernet, IPv4, IPv6, TCP and UDP headers: where their fields stand, which of them we take apart, and what must be right
 * again once the length has changed. Nowhere else does native know a header's layout.
 *
 * Sources: RFC 791 §3.1, RFC 8200 §3, RFC 9293 §3.1, RFC 768. Field constants are offsets in octets from their header's start.
 */
#ifndef PASST_HEADERS_H
#define PASST_HEADERS_H

#include "checksum.h"

#include <arpa/inet.h>
#include <cstring>
#include <netinet/in.h>

namespace passt {

/** Lengths, octets. The longest frame: IPv6 does not count its header (RFC 8200 §3). */
enum : size_t { ETH_LEN = 14, ETH_MIN = 60, IPV4_LEN = 20, IPV6_LEN = 40, TCP_LEN = 20, UDP_LEN = 8, IP_MAX = 65535 };
enum : size_t { FRAME_MAX = ETH_LEN + IPV6_LEN + IP_MAX };

enum : size_t { ETH_TYPE = 12 };
enum : uint16_t { TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd };
enum : size_t { IPV4_TOS = 1, IPV4_TOTAL = 2, IPV4_ID = 4, IPV4_FRAGMENT = 6, IPV4_TTL = 8, IPV4_PROTO = 9, IPV4_CSUM = 10, IPV4_ADDRESSES = 12 };
enum : uint16_t { IPV4_DF = 0x4000 };
enum : size_t { IPV6_PAYLOAD = 4, IPV6_NEXT = 6, IPV6_ADDRESSES = 8 };
enum : size_t { L4_PORTS = 0, TCP_SEQ = 4, TCP_ACK_NUMBER = 8, TCP_OFFSET = 12, TCP_FLAGS = 13, TCP_WINDOW = 14, TCP_CSUM = 16, TCP_URGENT = 18 };
enum : uint8_t { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_ACK = 0x10, TCP_CWR = 0x80 };
enum : size_t { UDP_LENGTH = 4, UDP_CSUM = 6 };

/* Network order, any address */
inline void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v;
}

inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16)), put16(p + 2, (uint16_t)v);
}

inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

inline uint16_t ether_type(const uint8_t *frame)
{
	return get16(frame + ETH_TYPE);
}

/** With options, octets. */
inline size_t ipv4_length(const uint8_t *ip)
{
	return (size_t)(ip[0] & 0xf) * 4;
}

inline size_t tcp_length(const uint8_t *tcp)
{
	return (size_t)(tcp[TCP_OFFSET] >> 4) * 4;
}

/** Sum of aligned words, as sum_octets() has it, of what is so short that a loop is the fastest. */
inline uint64_t sum_words(const uint8_t *p, size_t len)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < len; i += 4) {
		uint32_t w;
		memcpy(&w, p + i, sizeof(w));
		sum += w;
	}
	return sum;
}

/** Sum of addresses, protocol and length in front of TCP, UDP and ICMPv6 (RFC 9293 §3.1, RFC 8200 §8.1). `len`: L4, octets. */
inline uint64_t sum_pseudo(const uint8_t *ip, bool v6, uint8_t protocol, uint32_t len)
{
	const uint64_t addresses = v6 ? sum_words(ip + IPV6_ADDRESSES, 32) : sum_words(ip + IPV4_ADDRESSES, 8);
	return addresses + htonl(len) + htonl(protocol);
}

/** A TCP or UDP packet in a frame: octets from the frame's start to L4, and to its payload. */
struct Layers {
	bool v6 = false, udp = false;
	size_t l4 = 0, data = 0;

	uint8_t protocol() const { return udp ? IPPROTO_UDP : IPPROTO_TCP; }
	/** The checksum's place in the L4 header. */
	size_t csum() const { return udp ? (size_t)UDP_CSUM : (size_t)TCP_CSUM; }
	uint64_t pseudo(const uint8_t *frame, size_t len) const
	{
		return sum_pseudo(frame + ETH_LEN, v6, protocol(), (uint32_t)(len - l4));
	}
};

/**
 * A whole packet without IP options, extension headers or fragments, that fills its frame; a datagram has a checksum. False: not
 * that. The TCP header's own length is looked at for `data` only, which may lie outside.
 */
bool read_plain(const uint8_t *frame, size_t len, Layers &at);

enum : size_t { BEHIND_IP = SIZE_MAX };

/**
 * Headers in front of any amount of payload; their lengths of it are not looked at. `l4`: where that is, BEHIND_IP, or behind
 * IPv6's extension headers. `udp` is the caller's word, and has to be the packet's. False: they do not hold together, or are longer than `len`.
 */
bool read_headers(const uint8_t *frame, size_t len, bool udp, size_t l4, Layers &at);

/** Same Ethernet header, addresses, class, flow label, time to live, DF. */
bool same_path(const uint8_t *a, const uint8_t *b, bool v6);

/** The frame is `len` octets long now: lengths of IP and UDP, IPv4's checksum. IPv4's identification is the caller's. */
inline void put_lengths(uint8_t *frame, const Layers &at, size_t len)
{
	uint8_t *const ip = frame + ETH_LEN;

	if (at.v6) {
		put16(ip + IPV6_PAYLOAD, (uint16_t)(len - ETH_LEN - IPV6_LEN));
	} else {
		put16(ip + IPV4_TOTAL, (uint16_t)(len - ETH_LEN));
		put16(ip + IPV4_CSUM, 0);
		put16(ip + IPV4_CSUM, (uint16_t)~sum_fold(sum_words(ip, at.l4 - ETH_LEN)));
	}
	if (at.udp)
		put16(frame + at.l4 + UDP_LENGTH, (uint16_t)(len - at.l4));
}

/** The checksum's field as who completes it wants it: the pseudo-header's sum. */
inline void put_pseudo(uint8_t *frame, const Layers &at, size_t len)
{
	put16(frame + at.l4 + at.csum(), sum_fold(at.pseudo(frame, len)));
}

/** `sum`: ones' complement, over all that the checksum covers. 0 in UDP says "none" (RFC 768); 0xffff is the same number. */
inline void put_checksum(uint8_t *l4, size_t csum_offset, uint16_t sum)
{
	const auto inverted = (uint16_t)~sum;

	put16(l4 + csum_offset, !inverted && csum_offset == UDP_CSUM ? 0xffff : inverted);
}

/** Ones' complement sum of two. */
inline uint16_t sum_both(uint16_t a, uint16_t b)
{
	const uint32_t both = (uint32_t)a + b;
	return (uint16_t)((both & 0xffff) + (both >> 16));
}

/** The checksum, all anew. `data`: partial sum of the payload. The header is of even length. */
inline void put_sum(uint8_t *frame, const Layers &at, size_t len, uint64_t data)
{
	put16(frame + at.l4 + at.csum(), 0);
	const uint64_t header = sum_octets(frame + at.l4, at.data - at.l4, at.pseudo(frame, len));
	/* Two numbers added up: the sums are of 64 bits, their folds of 16 */
	put_checksum(frame + at.l4, at.csum(), sum_both(sum_fold(header), sum_fold(data)));
}

/** Finish the checksum that starts at csum_start; the field holds the pseudo-header's sum. False: offsets outside. */
bool complete_checksum(uint8_t *frame, size_t len, size_t csum_start, size_t csum_offset);

/** `sum` over all of it from ETH_LEN on: are the checksums right? IPv4's own header adds nothing then. */
bool sums_right(const uint8_t *frame, size_t len, const Layers &at, uint16_t sum);

} // namespace passt

#endif
