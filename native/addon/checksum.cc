#include "checksum.h"

#include <arpa/inet.h>
#include <cstring>

namespace passt {

/** 64-bit addition with the carry brought round: ones' complement, so 2^16-1 divides every wrap. */
static inline uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t r;
	return __builtin_add_overflow(a, b, &r) ? r + 1 : r;
}

namespace {

/** Four sums of 32-bit words in 64 bits: no carry to care for below 2^32 words. Any compiler makes the best of these. */
typedef uint64_t Lanes __attribute__((vector_size(32)));
enum : size_t { BLOCK = 2 * sizeof(Lanes) };

/**
 * Whole blocks; memcpy() makes unaligned and odd addresses legal (#regression-52). `to`: copied there, unless it is null.
 */
template <bool COPY> inline __attribute__((always_inline)) uint64_t sum_blocks(const uint8_t *p, size_t blocks, uint8_t *to)
{
	const Lanes low = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};
	Lanes even[2] = {}, odd[2] = {};

	for (; blocks; blocks--, p += BLOCK) {
		Lanes w0, w1;
		memcpy(&w0, p, sizeof(w0));
		memcpy(&w1, p + sizeof(w0), sizeof(w1));
		if (COPY) {
			memcpy(to, &w0, sizeof(w0));
			memcpy(to + sizeof(w0), &w1, sizeof(w1));
			to += BLOCK;
		}
		even[0] += w0 & low;
		odd[0] += w0 >> 32;
		even[1] += w1 & low;
		odd[1] += w1 >> 32;
	}
	const Lanes a = even[0] + even[1], b = odd[0] + odd[1];
	uint64_t sum = 0;
	for (int i = 0; i < 4; i++)
		sum = add(sum, add(a[i], b[i]));
	return sum;
}

using Blocks = uint64_t (*)(const uint8_t *p, size_t blocks, uint8_t *to);
uint64_t sum_any(const uint8_t *p, size_t n, uint8_t *to)
{
	return to ? sum_blocks<true>(p, n, to) : sum_blocks<false>(p, n, to);
}
#ifdef __x86_64__
__attribute__((target("avx2"))) uint64_t sum_avx2(const uint8_t *p, size_t n, uint8_t *to)
{
	return to ? sum_blocks<true>(p, n, to) : sum_blocks<false>(p, n, to);
}
const Blocks sum_best = __builtin_cpu_supports("avx2") ? sum_avx2 : sum_any;
#else
const Blocks sum_best = sum_any;
#endif

uint64_t sum_and_copy(const uint8_t *p, size_t len, uint64_t sum, uint8_t *to)
{
	if (const size_t blocks = len / BLOCK) {
		sum = add(sum, sum_best(p, blocks, to));
		p += blocks * BLOCK, len -= blocks * BLOCK;
		to = to ? to + blocks * BLOCK : to;
	}
	if (to)
		memcpy(to, p, len);
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

} // namespace

uint64_t sum_octets(const void *data, size_t len, uint64_t sum)
{
	return sum_and_copy(static_cast<const uint8_t *>(data), len, sum, nullptr);
}

uint64_t copy_octets(void *to, const void *from, size_t len, uint64_t sum)
{
	return sum_and_copy(static_cast<const uint8_t *>(from), len, sum, static_cast<uint8_t *>(to));
}

uint16_t sum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ntohs((uint16_t)sum);
}

} // namespace passt
