#include "checksum.h"

#include <arpa/inet.h>
#include <cstring>

namespace passt {

void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v;
}

void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16)), put16(p + 2, (uint16_t)v);
}

uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/** 64-bit addition with the carry brought round: ones' complement, so 2^16-1 divides every wrap. */
static inline uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t r;
	return __builtin_add_overflow(a, b, &r) ? r + 1 : r;
}

uint64_t sum_octets(const void *data, size_t len, uint64_t sum)
{
	const uint8_t *p = static_cast<const uint8_t *>(data);
	uint64_t s[4] = {sum, 0, 0, 0};

	/* 32-bit words into 64-bit sums: no carry to care for below 2^32 words, and the compiler makes vectors of it.
	 * memcpy() makes unaligned and odd addresses legal (regression 52). */
	for (; len >= 32; p += 32, len -= 32) {
		uint32_t w[8];
		memcpy(w, p, sizeof(w));
		s[0] = add(s[0], (uint64_t)w[0] + w[1]);
		s[1] += (uint64_t)w[2] + w[3];
		s[2] += (uint64_t)w[4] + w[5];
		s[3] += (uint64_t)w[6] + w[7];
	}
	sum = add(add(s[0], s[1]), add(s[2], s[3]));
	for (; len >= 4; p += 4, len -= 4) {
		uint32_t w;
		memcpy(&w, p, sizeof(w));
		sum = add(sum, w);
	}
	if (len) {
		uint8_t tail[4] = {};
		uint32_t w;
		memcpy(tail, p, len);
		memcpy(&w, tail, sizeof(w));
		sum = add(sum, w);
	}
	return sum;
}

uint16_t sum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ntohs((uint16_t)sum);
}

uint64_t sum_pseudo(const uint8_t *ip, bool v6, uint8_t protocol, uint32_t len)
{
	uint8_t tail[8] = {};

	put32(tail, len);
	tail[7] = protocol;
	return sum_octets(tail, sizeof(tail), v6 ? sum_octets(ip + 8, 32) : sum_octets(ip + 12, 8));
}

} // namespace passt
