/**
 * An IPv4 or IPv6 address as four 32-bit words in host order; IPv4 is v4-mapped, ::ffff:a.b.c.d (RFC 4291 §2.5.5.2).
 * Plain numbers: comparable with `sameAddr`, hashable, printable, safe to share.
 */
export type InAny = readonly [number, number, number, number]

export const UNSPECIFIED6: InAny = [0, 0, 0, 0]
export const LOOPBACK6: InAny = [0, 0, 0, 1]
export const fromV4 = (word: number): InAny => [0, 0, 0xffff, word >>> 0]
export const LOOPBACK4: InAny = fromV4(0x7f000001)
export const UNSPECIFIED4: InAny = fromV4(0)

export const isV4 = (a: InAny): boolean => a[0] === 0 && a[1] === 0 && a[2] === 0xffff
/** The IPv4 word of a v4-mapped address; meaningless for others. */
export const v4Word = (a: InAny): number => a[3]
export const sameAddr = (a: InAny, b: InAny): boolean =>
  a[3] === b[3] && a[2] === b[2] && a[1] === b[1] && a[0] === b[0]
