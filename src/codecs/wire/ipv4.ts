import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { type InAny, readV4, writeV4 } from '../value/inany.js'
import { bytesOf, type Octets, sub } from '../value/octets.js'
import { finish, isZeroSum, sum16 } from './checksum.js'

/** What matters of an IPv4 header (RFC 791 §3.1). Options are skipped, fragments refused. */
export interface Ipv4Header {
  readonly src: InAny
  readonly dst: InAny
  readonly proto: number
  readonly ttl: number
  /** DSCP and ECN. */
  readonly tos: number
}
/** A decoded header and where its payload lies in the input's view; link padding is not part of it. */
export interface Ipv4At extends Ipv4Header {
  readonly off: number
  readonly len: number
}
export interface Ipv4Packet extends Ipv4Header {
  /** Decoded, it is a view of the input. */
  readonly payload: Uint8Array
}

const VERSION_IHL = 0
const TOS = 1
const TOTAL_LENGTH = 2
const ID = 4
const FRAGMENT = 6
const TTL = 8
const PROTOCOL = 9
const CHECKSUM = 10
const SRC = 12
const DST = 16 // offsets in octets, RFC 791 §3.1

/** Octets, without options. */
export const IPV4_LEN = 20
export const DEFAULT_TTL = 255
const RESERVED = 0x8000
const DF = 0x4000

export type Ipv4Drop =
  | 'ip4-short'
  | 'ip4-version'
  | 'ip4-header-length'
  | 'ip4-total-length'
  | 'ip4-reserved-bit'
  | 'ip4-fragment'
  | 'ip4-checksum'

/** Why the header at `off` is not acceptable, or null (behaviour.md#input-checks; RFC 1122 §3.2.1.2 for the checksum). */
export const checkIpv4 = (view: DataView, off: number, len: number): Ipv4Drop | null => {
  if (len < IPV4_LEN) return 'ip4-short'
  const vi = view.getUint8(off + VERSION_IHL)
  if (vi >>> 4 !== 4) return 'ip4-version'
  const header = (vi & 15) * 4
  if (header < IPV4_LEN || header > len) return 'ip4-header-length'
  const total = view.getUint16(off + TOTAL_LENGTH)
  if (total < header || total > len) return 'ip4-total-length'
  const fragment = view.getUint16(off + FRAGMENT)
  if ((fragment & ~DF) !== 0) return fragment & RESERVED ? 'ip4-reserved-bit' : 'ip4-fragment'
  return isZeroSum(sum16(view, off, header)) ? null : 'ip4-checksum'
}

/** `len`: octets from `off` on, link padding included. */
export const decodeIpv4At = (view: DataView, off: number, len: number): Ipv4At | Ipv4Drop => {
  const drop = checkIpv4(view, off, len)
  if (drop !== null) return drop
  const header = (view.getUint8(off + VERSION_IHL) & 15) * 4
  return {
    src: readV4(view, off + SRC),
    dst: readV4(view, off + DST),
    proto: view.getUint8(off + PROTOCOL),
    ttl: view.getUint8(off + TTL),
    tos: view.getUint8(off + TOS),
    off: off + header,
    len: view.getUint16(off + TOTAL_LENGTH) - header
  }
}
export const decodeIpv4 = (o: Octets): Ipv4At | Ipv4Drop => decodeIpv4At(o.view, o.off, o.len)

/**
 * Header without options, for `payloadLen` octets behind it, checksum filled in. `id` 0: DF set, identification 0 (RFC 6864
 * §4.1 allows any for atomic datagrams); else the datagram may be cut on its way. Returns octets written: 20.
 */
export const writeIpv4 = (view: DataView, off: number, h: Ipv4Header, payloadLen: number, id = 0): number => {
  view.setUint8(off + VERSION_IHL, 0x45)
  view.setUint8(off + TOS, h.tos)
  view.setUint16(off + TOTAL_LENGTH, IPV4_LEN + payloadLen)
  view.setUint16(off + ID, id)
  view.setUint16(off + FRAGMENT, id === 0 ? DF : 0)
  view.setUint8(off + TTL, h.ttl)
  view.setUint8(off + PROTOCOL, h.proto)
  view.setUint16(off + CHECKSUM, 0)
  writeV4(view, off + SRC, h.src)
  writeV4(view, off + DST, h.dst)
  view.setUint16(off + CHECKSUM, finish(sum16(view, off, IPV4_LEN)))
  return IPV4_LEN
}

/** A header as we generate it: TTL 255, TOS 0 (behaviour.md#generated-headers). */
export const ipv4Header = (src: InAny, dst: InAny, proto: number, ttl: number = DEFAULT_TTL): Ipv4Header => ({
  src,
  dst,
  proto,
  ttl,
  tos: 0
})

/**
 * Shape: header of 20 to 60 octets, payload; octets behind TOTAL LENGTH are link padding, dropped (#regression-M).
 * Left: each `Ipv4Drop`. Law: as `wireCodec`; options, identification and DF are not kept.   Source: RFC 791 §3.1.
 */
export const Ipv4Packet: t.Type<Ipv4Packet, Uint8Array, Octets> = wireCodec(
  'Ipv4Packet',
  (o) => {
    const h = decodeIpv4(o)
    if (typeof h === 'string') return h
    const { off, len, ...header } = h
    return { ...header, payload: bytesOf(sub(o, off - o.off, len)) }
  },
  (p) => {
    const b = new Uint8Array(IPV4_LEN + p.payload.length)
    writeIpv4(new DataView(b.buffer), 0, p, p.payload.length)
    b.set(p.payload, IPV4_LEN)
    return b
  }
)
