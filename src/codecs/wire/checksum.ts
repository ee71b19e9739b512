import { type InAny, isV4 } from '../value/inany.js'

/**
 * The Internet checksum (RFC 1071): ones' complement arithmetic on big-endian 16-bit words. A `sum` here is folded to
 * 16 bits and not inverted. 0 and 0xffff are the same value; a sum of anything but zeros is never 0.
 */

export const PROTO_ICMP = 1
export const PROTO_TCP = 6
export const PROTO_UDP = 17
export const PROTO_ICMPV6 = 58

/** Any non-negative integer below 2^53 to 16 bits with end-around carry (2^16 = 1 modulo 0xffff). */
export const fold = (sum: number): number => {
  let s = sum
  while (s > 0xffff) s = (s % 0x10000) + Math.floor(s / 0x10000)
  return s
}

/**
 * Folded sum of `len` octets at `off`, plus `initial`. An odd last octet counts as the high half of a word (RFC 1071
 * §2). Parity is counted from `off`, wherever it lies: see `swap` for a range that starts at an odd place of a larger
 * sum. Up to 2^21 words: 8 MiB.
 */
export const sum16 = (view: DataView, off: number, len: number, initial = 0): number => {
  let s = initial
  let i = off
  const end = off + len
  for (; i + 4 <= end; i += 4) s += view.getUint32(i)
  if (i + 2 <= end) {
    s += view.getUint16(i)
    i += 2
  }
  if (i < end) s += view.getUint8(i) << 8
  return fold(s)
}

/** The sum of the same octets shifted by one (RFC 1071 §2 (B), byte order independence). */
export const swap = (sum: number): number => ((sum & 0xff) << 8) | (sum >>> 8)

/** a + b in ones' complement. */
export const plus = (a: number, b: number): number => fold(a + b)
/** a - b in ones' complement, of folded sums. Law: subtract(plus(a, b), b) is a, up to 0 = 0xffff. */
export const subtract = (a: number, b: number): number => fold(a + (b ^ 0xffff))
/** A folded sum that includes its own checksum field is right iff it is (either) zero. */
export const isZeroSum = (sum: number): boolean => sum === 0xffff || sum === 0

/** The checksum field for a folded sum taken with the field at zero. */
export const finish = (sum: number): number => fold(sum) ^ 0xffff
/** As `finish`, for UDP: 0 would mean «no checksum», so it is sent as 0xffff (RFC 768). */
export const finishUdp = (sum: number): number => finish(sum) || 0xffff

/** IPv4 pseudo-header (RFC 9293 §3.1, RFC 768); `len` is the L4 length in octets. */
export const pseudoSum4 = (src: InAny, dst: InAny, proto: number, len: number): number =>
  fold(src[3] + dst[3] + proto + len)
/** IPv6 pseudo-header (RFC 8200 §8.1). */
export const pseudoSum6 = (src: InAny, dst: InAny, proto: number, len: number): number =>
  fold(src[0] + src[1] + src[2] + src[3] + dst[0] + dst[1] + dst[2] + dst[3] + proto + len)
export const pseudoSum = (src: InAny, dst: InAny, proto: number, len: number): number =>
  isV4(dst) ? pseudoSum4(src, dst, proto, len) : pseudoSum6(src, dst, proto, len)

/** Where the checksum field lies in an L4 header, octets from its start. */
export const checksumOffset = (proto: number): number =>
  proto === PROTO_TCP ? 16 : proto === PROTO_UDP ? 6 : 2

/**
 * Fill in the checksum of a TCP, UDP, ICMP or ICMPv6 message that lies complete at `off`; what the field held before
 * does not matter (#regression-8). ICMP has no pseudo-header (RFC 792), ICMPv6 has one (RFC 4443 §2.3).
 */
export const sealL4 = (
  view: DataView,
  off: number,
  len: number,
  proto: number,
  src: InAny,
  dst: InAny
): void => {
  const at = off + checksumOffset(proto)
  view.setUint16(at, 0)
  const sum = sum16(view, off, len, proto === PROTO_ICMP ? 0 : pseudoSum(src, dst, proto, len))
  view.setUint16(at, proto === PROTO_UDP ? finishUdp(sum) : finish(sum))
}

/** For VIRTIO_NET_HDR_F_NEEDS_CSUM: the field holds the pseudo-header's sum, not inverted (virtio 1.2 §5.1.6.2). */
export const sealPartial = (
  view: DataView,
  off: number,
  len: number,
  proto: number,
  src: InAny,
  dst: InAny
): void => view.setUint16(off + checksumOffset(proto), pseudoSum(src, dst, proto, len))
