import type { LinkAt } from '../../codecs/log/link-layer.js'
import { type InAny, isBroadcast4, isMulticast, readV4, readV6, showAddr } from '../../codecs/value/inany.js'
import { type Octets, sub } from '../../codecs/value/octets.js'
import { isZeroSum, pseudoSum, sum16 } from '../../codecs/wire/checksum.js'
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../codecs/wire/ethernet.js'
import { IPV4_LEN } from '../../codecs/wire/ipv4.js'
import {
  FRAGMENT_BITS,
  FRAGMENT_HEADER,
  IPV6_LEN,
  isExtension,
  walkExtensions
} from '../../codecs/wire/ipv6.js'
import type { RuleName, Unknown } from './rules.js'

// The network layer of a captured frame. Nothing is refused, as the data path's decoder does (codecs/wire/frame.ts): what is
// wrong is a finding, and what is not there is unknown.

/** A rule that is broken, as the function that found it says so. */
export interface Said {
  readonly rule: RuleName
  readonly seen: string
  readonly allowed: string
}
export const said = (rule: RuleName, seen: string, allowed: string): Said => ({ rule, seen, allowed })
export const NOTHING: readonly Said[] = []

/** What is known of a checksum. Not known: filled in by an interface later, or the frame is cut. */
export type Sum = 'right' | 'wrong' | 'unknown'

/** An IP packet as captured. */
export interface IpPacket {
  readonly v6: boolean
  readonly src: InAny
  readonly dst: InAny
  readonly ttl: number
  readonly proto: number
  /** What of the upper layer was kept. */
  readonly upper: Octets
  /** Octets that the upper layer has on the link. */
  readonly upperLen: number
}
export interface Looked {
  /** null: there is nothing to go on with. */
  readonly packet: IpPacket | null
  readonly said: readonly Said[]
  readonly unknown: Unknown | null
}

const nothing = (unknown: Unknown | null, of: readonly Said[] = NOTHING): Looked => ({
  packet: null,
  said: of,
  unknown
})

/**
 * What is known of the sum over the upper layer `o` of `len` octets on the link, whose field is at `at`. `pseudo`: folded sum
 * of the pseudo-header, with the length and without. A field that is that sum alone waits for the interface to add the rest
 * (virtio 1.2 §5.1.6.2), and one of 0 is likely not filled in at all.
 */
export const sumOf = (o: Octets, len: number, at: number, pseudo: number, noLength: number): Sum => {
  if (o.len < len || at + 2 > o.len) return 'unknown'
  if (isZeroSum(sum16(o.view, o.off, len, pseudo))) return 'right'
  const field = o.view.getUint16(o.off + at)
  return field === 0 || field === pseudo || field === noLength ? 'unknown' : 'wrong'
}
/** Of TCP, UDP and ICMPv6. */
export const upperSum = (p: IpPacket, len: number, at: number): Sum =>
  sumOf(p.upper, len, at, pseudoSum(p.src, p.dst, p.proto, len), pseudoSum(p.src, p.dst, p.proto, 0))

const sourceOf = (src: InAny): readonly Said[] =>
  isMulticast(src) || isBroadcast4(src)
    ? [said('ip-source', `source ${showAddr(src)}`, 'a unicast address')]
    : NOTHING
const ttlOf = (ttl: number): readonly Said[] =>
  ttl === 0 ? [said('ip-ttl', 'time to live 0', '1 to 255')] : NOTHING

/** `original`: octets of the packet on the link. */
const look4 = (o: Octets, original: number): Looked => {
  if (o.len < IPV4_LEN) {
    if (original > o.len) return nothing('cut')
    return nothing(null, [said('ip-header', `${original} octets`, 'at least 20')])
  }
  const { view, off } = o
  const version = view.getUint8(off) >>> 4
  const header = (view.getUint8(off) & 15) * 4
  // 0: longer than the field can say, or the interface fills it in (TSO)
  const total = view.getUint16(off + 2) || original
  if (version !== 4 || header < IPV4_LEN || total < header) {
    const seen = `version ${version}, header ${header}, total length ${total}`
    return nothing(null, [said('ip-header', seen, 'version 4, header 20 to 60, total length not below it')])
  }
  if (header > o.len) return nothing('cut')
  const src = readV4(view, off + 12)
  const field = view.getUint16(off + 10)
  const wrong = field !== 0 && !isZeroSum(sum16(view, off, header))
  const ttl = view.getUint8(off + 8)
  const found = [
    ...(wrong ? [said('ip-checksum', `checksum 0x${field.toString(16)}`, 'the sum of the header')] : NOTHING),
    ...sourceOf(src),
    ...ttlOf(ttl)
  ]
  if (wrong) return nothing(null, found)
  if ((view.getUint16(off + 6) & 0x3fff) !== 0) return nothing('fragment', found)
  const upperLen = total - header
  return {
    packet: {
      v6: false,
      src,
      dst: readV4(view, off + 16),
      ttl,
      proto: view.getUint8(off + 9),
      upper: sub(o, header, Math.min(upperLen, o.len - header)),
      upperLen
    },
    said: found,
    unknown: null
  }
}

/** Is there a fragment header with an offset, or more to come, in this chain? */
const isFragment = (o: Octets, first: number): boolean => {
  let next = first
  for (let at = IPV6_LEN; at + 8 <= o.len; ) {
    if (next === FRAGMENT_HEADER && (o.view.getUint16(o.off + at + 2) & FRAGMENT_BITS) !== 0) return true
    if (next !== FRAGMENT_HEADER && !isExtension(next)) return false
    const length = next === FRAGMENT_HEADER ? 8 : (o.view.getUint8(o.off + at + 1) + 1) * 8
    next = o.view.getUint8(o.off + at)
    at += length
  }
  return false
}

const look6 = (o: Octets, original: number): Looked => {
  if (o.len < IPV6_LEN) {
    if (original > o.len) return nothing('cut')
    return nothing(null, [said('ip-header', `${original} octets`, 'at least 40')])
  }
  const { view, off } = o
  const version = view.getUint8(off) >>> 4
  if (version !== 6) return nothing(null, [said('ip-header', `version ${version}`, 'version 6')])
  // 0: a jumbogram (RFC 2675 §2), or an interface that cuts it later
  const total = IPV6_LEN + (view.getUint16(off + 4) || original - IPV6_LEN)
  const src = readV6(view, off + 8)
  const ttl = view.getUint8(off + 7)
  const found = [...sourceOf(src), ...ttlOf(ttl)]
  const end = off + Math.min(o.len, total)
  const first = view.getUint8(off + 6)
  const walked = walkExtensions(view, off + IPV6_LEN, end, first)
  if (typeof walked === 'string') {
    if (isFragment(o, first)) return nothing('fragment', found)
    if (walked === 'ip6-ipsec' || walked === 'ip6-no-next-header') return nothing('link-type', found)
    if (o.len < total) return nothing('cut', found)
    return nothing(null, [...found, said('ip-header', `extension headers: ${walked}`, 'a chain that ends')])
  }
  const at = (walked % 0x100000000) - off
  const upperLen = total - at
  if (at > o.len || upperLen < 0) return nothing('cut', found)
  return {
    packet: {
      v6: true,
      src,
      dst: readV6(view, off + 24),
      ttl,
      proto: Math.floor(walked / 0x100000000),
      upper: sub(o, at, Math.max(0, Math.min(upperLen, o.len - at))),
      upperLen
    },
    said: found,
    unknown: null
  }
}

/** The IP packet behind the link's header. `o`: what was kept of the frame; `original`: its octets on the link. */
export const lookAtIp = (o: Octets, link: LinkAt, original: number): Looked => {
  const kept: Octets = { view: o.view, off: link.off, len: link.len }
  const whole = original - (link.off - o.off)
  if (link.type === ETHERTYPE_IPV4) return look4(kept, whole)
  return link.type === ETHERTYPE_IPV6 ? look6(kept, whole) : nothing('link-type')
}

/** `a.b.c.d:port`, `[a::b]:port` */
export const showEnd = (a: InAny, v6: boolean, port: number | null): string =>
  port === null ? showAddr(a) : v6 ? `[${showAddr(a)}]:${port}` : `${showAddr(a)}:${port}`
