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

} // namespace passt

#endif
