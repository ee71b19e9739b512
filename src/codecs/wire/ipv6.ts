import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { type InAny, readV6, writeV6 } from '../value/inany.js'
import { bytesOf, type Octets, sub } from '../value/octets.js'

/** What matters of an IPv6 header (RFC 8200 §3) and of the extension headers behind it, which are all skipped. */
export interface Ipv6Header {
  readonly src: InAny
  readonly dst: InAny
  /** Upper-layer protocol, behind the last extension header. */
  readonly proto: number
  readonly hopLimit: number
  readonly trafficClass: number
  /** 20 bits. */
  readonly flowLabel: number
}
/** A decoded header and where the upper layer lies in the input's view; link padding is not part of it. */
export interface Ipv6At extends Ipv6Header {
  readonly off: number
  readonly len: number
}
export interface Ipv6Packet extends Ipv6Header {
  /** Decoded, it is a view of the input. */
  readonly payload: Uint8Array
}

const VERSION = 0 // and traffic class, flow label: one word
export const PAYLOAD_LENGTH = 4
export const NEXT_HEADER = 6
const HOP_LIMIT = 7
const SRC = 8
const DST = 24 // offsets in octets, RFC 8200 §3

/** Octets, without extension headers. */
export const IPV6_LEN = 40
export const DEFAULT_HOP_LIMIT = 255
/** Longest chain walked: our choice, far above the seven that RFC 8200 §4.1 lists (RFC 8504 §5.3 allows a limit). */
export const MAX_EXTENSIONS = 32

export const FRAGMENT_HEADER = 44
const ESP = 50
const AH = 51
const NO_NEXT_HEADER = 59

export type Ipv6Drop =
  | 'ip6-short'
  | 'ip6-version'
  | 'ip6-payload-length'
  | 'ip6-mapped-address'
  | 'ip6-extension-length'
  | 'ip6-extension-chain'
  | 'ip6-fragment'
  | 'ip6-ipsec'
  | 'ip6-no-next-header'

/** Extension headers of the common format: next header, length in 8 octets without the first 8 (RFC 6564 §4, IANA). */
export const isExtension = (h: number): boolean =>
  h === 0 || h === 43 || h === 60 || h === 135 || h === 139 || h === 140 || h === 253 || h === 254

/** Fragment offset and M, all zero in an atomic fragment (RFC 8200 §4.5, RFC 6946); the two bits between are reserved. */
export const FRAGMENT_BITS = 0xfff9

/**
 * Walk the extension headers from `off` up to `end`. Result: upper-layer protocol * 2^32 + its offset (one number, so
 * that nothing is allocated), or the reason for the drop.
 */
export const walkExtensions = (
  view: DataView,
  off: number,
  end: number,
  first: number
): number | Ipv6Drop => {
  let at = off
  let next = first
  for (let n = 0; ; n++) {
    if (next !== FRAGMENT_HEADER && !isExtension(next)) break
    if (n === MAX_EXTENSIONS) return 'ip6-extension-chain'
    if (at + 8 > end) return 'ip6-extension-length'
    if (next === FRAGMENT_HEADER) {
      if ((view.getUint16(at + 2) & FRAGMENT_BITS) !== 0) return 'ip6-fragment'
      next = view.getUint8(at)
      at += 8
    } else {
      const len = (view.getUint8(at + 1) + 1) * 8
      if (at + len > end) return 'ip6-extension-length'
      next = view.getUint8(at)
      at += len
    }
  }
  if (next === NO_NEXT_HEADER) return 'ip6-no-next-header'
  if (next === AH || next === ESP) return 'ip6-ipsec'
  return next * 0x100000000 + at
}

/** ::ffff:0:0/96 in a real header would pass for IPv4 everywhere above, loopback included (RFC 4942 §2.2). */
const hasMapped = (view: DataView, at: number): boolean =>
  view.getUint32(at + 8) === 0xffff && view.getUint32(at) === 0 && view.getUint32(at + 4) === 0

/** Why the fixed header at `off` is not acceptable, or null (behaviour.md#input-checks). */
export const checkIpv6 = (view: DataView, off: number, len: number): Ipv6Drop | null => {
  if (len < IPV6_LEN) return 'ip6-short'
  if (view.getUint8(off + VERSION) >>> 4 !== 6) return 'ip6-version'
  if (view.getUint16(off + PAYLOAD_LENGTH) > len - IPV6_LEN) return 'ip6-payload-length'
  return hasMapped(view, off + SRC) || hasMapped(view, off + DST) ? 'ip6-mapped-address' : null
}

/** `len`: octets from `off` on, link padding included. */
export const decodeIpv6At = (view: DataView, off: number, len: number): Ipv6At | Ipv6Drop => {
  const drop = checkIpv6(view, off, len)
  if (drop !== null) return drop
  const end = off + IPV6_LEN + view.getUint16(off + PAYLOAD_LENGTH)
  const upper = walkExtensions(view, off + IPV6_LEN, end, view.getUint8(off + NEXT_HEADER))
  if (typeof upper === 'string') return upper
  const at = (upper % 0x100000000) | 0 // a small integer again for V8, else each offset becomes a double
  const word = view.getUint32(off + VERSION)
  return {
    src: readV6(view, off + SRC),
    dst: readV6(view, off + DST),
    proto: Math.floor(upper / 0x100000000),
    hopLimit: view.getUint8(off + HOP_LIMIT),
    trafficClass: (word >>> 20) & 0xff,
    flowLabel: word & 0xfffff,
    off: at,
    len: end - at
  }
}
export const decodeIpv6 = (o: Octets): Ipv6At | Ipv6Drop => decodeIpv6At(o.view, o.off, o.len)

/** Header without extension headers, for `payloadLen` octets behind it. Returns octets written: 40. */
export const writeIpv6 = (view: DataView, off: number, h: Ipv6Header, payloadLen: number): number => {
  view.setUint32(off + VERSION, 0x60000000 + (h.trafficClass << 20) + h.flowLabel)
  view.setUint16(off + PAYLOAD_LENGTH, payloadLen)
  view.setUint8(off + NEXT_HEADER, h.proto)
  view.setUint8(off + HOP_LIMIT, h.hopLimit)
  writeV6(view, off + SRC, h.src)
  writeV6(view, off + DST, h.dst)
  return IPV6_LEN
}

/** A header as we generate it: traffic class 0, hop limit 255 (behaviour.md#generated-headers). */
export const ipv6Header = (
  src: InAny,
  dst: InAny,
  proto: number,
  flowLabel = 0,
  hopLimit: number = DEFAULT_HOP_LIMIT
): Ipv6Header => ({ src, dst, proto, hopLimit, trafficClass: 0, flowLabel })

/**
 * Shape: header of 40 octets, extension headers (all skipped, #regression-D), upper layer; octets behind PAYLOAD
 * LENGTH are link padding, dropped (#regression-M). Jumbograms (RFC 2675) are not supported: they decode as empty.
 * Left: each `Ipv6Drop`. Law: as `wireCodec`, for a `proto` that is not an extension header's.   Source: RFC 8200 §3, §4.
 */
export const Ipv6Packet: t.Type<Ipv6Packet, Uint8Array, Octets> = wireCodec(
  'Ipv6Packet',
  (o) => {
    const h = decodeIpv6(o)
    if (typeof h === 'string') return h
    const { off, len, ...header } = h
    return { ...header, payload: bytesOf(sub(o, off - o.off, len)) }
  },
  (p) => {
    const b = new Uint8Array(IPV6_LEN + p.payload.length)
    writeIpv6(new DataView(b.buffer), 0, p, p.payload.length)
    b.set(p.payload, IPV6_LEN)
    return b
  }
)
