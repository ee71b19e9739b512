/* Internet checksum (RFC 1071), fast enough to run over every octet of a tap without offloads. */
#ifndef PASST_CHECKSUM_H
#define PASST_CHECKSUM_H

#include <cstddef>
#include <cstdint>

namespace passt {

/**
 * Partial ones' complement sum in memory order; any address, any length. Partial sums of pieces may be added where every
 * piece but the last has even length.
 */
uint64_t sum_octets(const void *data, size_t len, uint64_t sum = 0);

/** The same, and copies them on the way: memory is read once. The places do not overlap. */
uint64_t copy_octets(void *to, const void *from, size_t len, uint64_t sum = 0);

/** Folded to 16 bits, not inverted, as a number: big-endian words were summed. */
uint16_t sum_fold(uint64_t sum);

/** Sum of addresses, protocol and length in front of TCP, UDP and ICMPv6 (RFC 9293 §3.1, RFC 8200 §8.1). */
uint64_t sum_pseudo(const uint8_t *ip, bool v6, uint8_t protocol, uint32_t len);

void put16(uint8_t *p, uint16_t v);
void put32(uint8_t *p, uint32_t v);
uint16_t get16(const uint8_t *p);
uint32_t get32(const uint8_t *p);

} // namespace passt

#endif
