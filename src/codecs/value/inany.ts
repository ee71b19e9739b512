import * as O from 'fp-ts/lib/Option.js'

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
export const BROADCAST4: InAny = fromV4(0xffffffff)

export const isV4 = (a: InAny): boolean => a[0] === 0 && a[1] === 0 && a[2] === 0xffff
/** The IPv4 word of a v4-mapped address; meaningless for others. */
export const v4Word = (a: InAny): number => a[3]
export const sameAddr = (a: InAny, b: InAny): boolean =>
  a[3] === b[3] && a[2] === b[2] && a[1] === b[1] && a[0] === b[0]

// --- predicates

/** 127/8 (RFC 1122 §3.2.1.3 g) or ::1 (RFC 4291 §2.5.3). */
export const isLoopback = (a: InAny): boolean =>
  a[0] === 0 && a[1] === 0 && (a[2] === 0xffff ? a[3] >>> 24 === 127 : a[2] === 0 && a[3] === 1)
/** 0.0.0.0 or :: */
export const isUnspecified = (a: InAny): boolean =>
  a[3] === 0 && a[0] === 0 && a[1] === 0 && (a[2] === 0 || a[2] === 0xffff)
/** 224/4 (RFC 5771) or ff00::/8 (RFC 4291 §2.7). */
export const isMulticast = (a: InAny): boolean => (isV4(a) ? a[3] >>> 28 === 0xe : a[0] >>> 24 === 0xff)
/** 169.254/16 (RFC 3927) or fe80::/10 (RFC 4291 §2.5.6). */
export const isLinkLocal = (a: InAny): boolean => (isV4(a) ? a[3] >>> 16 === 0xa9fe : a[0] >>> 22 === 0x3fa)
/** 255.255.255.255; a subnet's own broadcast address depends on its mask and is not known here. */
export const isBroadcast4 = (a: InAny): boolean => isV4(a) && a[3] === 0xffffffff
/** Can be one end of a connection: not unspecified, multicast or broadcast. */
export const isUnicast = (a: InAny): boolean => !isUnspecified(a) && !isMulticast(a) && !isBroadcast4(a)
export const isInAny = (u: unknown): u is InAny =>
  Array.isArray(u) && u.length === 4 && u.every((w) => Number.isInteger(w) && w >= 0 && w <= 0xffffffff)

// --- wire form; network order, the caller has checked the bounds

/** 4 octets. */
export const readV4 = (view: DataView, off: number): InAny => [0, 0, 0xffff, view.getUint32(off)]
/** 16 octets. ::ffff:a.b.c.d on the wire reads as IPv4: whoever takes it from an IPv6 header rejects that first. */
export const readV6 = (view: DataView, off: number): InAny => [
  view.getUint32(off),
  view.getUint32(off + 4),
  view.getUint32(off + 8),
  view.getUint32(off + 12)
]
/** Returns octets written: 4. */
export const writeV4 = (view: DataView, off: number, a: InAny): number => {
  view.setUint32(off, a[3])
  return 4
}
/** Returns octets written: 16. */
export const writeV6 = (view: DataView, off: number, a: InAny): number => {
  view.setUint32(off, a[0])
  view.setUint32(off + 4, a[1])
  view.setUint32(off + 8, a[2])
  view.setUint32(off + 12, a[3])
  return 16
}

// --- text

/** Dotted quad, decimal, no leading zeros, as inet_pton(3) takes it; null otherwise. */
const v4Text = (text: string): number | null => {
  const parts = text.split('.')
  if (parts.length !== 4) return null
  let word = 0
  for (const p of parts) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(p) || Number(p) > 255) return null
    word = word * 256 + Number(p)
  }
  return word
}

/** Colon-separated groups into 16-bit words; the last may be a dotted quad if `v4Last`. null: malformed. */
const groups = (text: string, v4Last: boolean): number[] | null => {
  if (text === '') return []
  const out: number[] = []
  const parts = text.split(':')
  for (const [i, p] of parts.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(p)) out.push(Number.parseInt(p, 16))
    else {
      const v4 = v4Last && i === parts.length - 1 ? v4Text(p) : null
      if (v4 === null) return null
      out.push(v4 >>> 16, v4 & 0xffff)
    }
  }
  return out
}

const v6Text = (text: string): InAny | null => {
  const gap = text.indexOf('::')
  const head = groups(gap < 0 ? text : text.slice(0, gap), gap < 0)
  const tail = gap < 0 ? [] : groups(text.slice(gap + 2), true)
  if (head === null || tail === null) return null
  const missing = 8 - head.length - tail.length
  if (gap < 0 ? missing !== 0 : missing < 1) return null
  const g = [...head, ...new Array<number>(missing).fill(0), ...tail]
  const word = (i: number): number => ((g[2 * i]! << 16) | g[2 * i + 1]!) >>> 0
  return [word(0), word(1), word(2), word(3)]
}

/**
 * IPv4 dotted quad, or IPv6 in any form of RFC 4291 §2.2 (`::`, mixed dotted tail, either case); no scope, no prefix
 * length, no brackets, no space. Law: parseAddr(showAddr(a)) = some(a).
 */
export const parseAddr = (text: string): O.Option<InAny> => {
  if (text.length > 45) return O.none // INET6_ADDRSTRLEN - 1
  if (text.includes(':')) return O.fromNullable(v6Text(text))
  const v4 = v4Text(text)
  return v4 === null ? O.none : O.some(fromV4(v4))
}

const showV4 = (w: number): string => `${w >>> 24}.${(w >>> 16) & 255}.${(w >>> 8) & 255}.${w & 255}`

/** Canonical text: RFC 5952 §4 (lower case, first longest run of two or more zero groups is `::`), v4 as dotted quad. */
export const showAddr = (a: InAny): string => {
  if (isV4(a)) return showV4(a[3])
  const g = a.flatMap((w) => [w >>> 16, w & 0xffff])
  let best = 0
  let bestLen = 0
  for (let i = 0; i < 8; i++) {
    let n = 0
    while (i + n < 8 && g[i + n] === 0) n++
    if (n > bestLen) [best, bestLen] = [i, n]
  }
  const hex = (part: number[]): string => part.map((n) => n.toString(16)).join(':')
  return bestLen < 2 ? hex(g) : `${hex(g.slice(0, best))}::${hex(g.slice(best + bestLen))}`
}
