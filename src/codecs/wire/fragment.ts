import { type InAny, isLoopback, isMulticast, readV4, readV6 } from '../value/inany.js'
import { bytesOf, type Octets } from '../value/octets.js'
import { finish, isZeroSum, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, sum16 } from './checksum.js'
import { decodeEthernetAt, ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from './ethernet.js'
import type { DropReason } from './frame.js'
import { ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST } from './icmp.js'
import { ICMP6_ECHO_REQUEST } from './icmpv6.js'
import { checkIpv4 } from './ipv4.js'
import {
  checkIpv6,
  FRAGMENT_BITS,
  FRAGMENT_HEADER,
  IPV6_LEN,
  isExtension,
  MAX_EXTENSIONS,
  NEXT_HEADER,
  PAYLOAD_LENGTH,
  walkExtensions
} from './ipv6.js'
import { TCP_LEN } from './tcp.js'

/** Which datagram a fragment is of (RFC 791 §3.2, RFC 8200 §4.5). */
export interface DatagramId {
  readonly v6: boolean
  readonly src: InAny
  readonly dst: InAny
  /** IPv4's protocol; 0 for IPv6, whose fragments need not agree about it. */
  readonly proto: number
  readonly id: number
}

/** A fragment as it stands in its frame. */
export interface Fragment extends DatagramId {
  /** Its place in the datagram's data, octets: [start, end). */
  readonly start: number
  readonly end: number
  readonly more: boolean
  /** Everything in front of its data, from the Ethernet header on; where it begins in the input's view. */
  readonly off: number
  readonly headLen: number
  /** Octets of it that the IP length field of the whole datagram will count: all of IPv4's header, IPv6's extension headers. */
  readonly counted: number
  /** IPv6: from `off` on, the Next Header that names the fragment header. */
  readonly link: number
  /** Of a first fragment: all headers are in it, the upper layer's own included (RFC 7112 §5, RFC 1858 §3). */
  readonly headersWhole: boolean
  /** Of a first fragment: an ICMP message that is not answered with an error (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)). */
  readonly icmpError: boolean
}

/** Why it is none, or none of use. */
export type FragmentDrop = DropReason | 'not-a-fragment'

/** Octets, RFC 8200 §4.5. */
const FRAGMENT_LEN = 8
const V4_TOTAL_LENGTH = 2
const V4_ID = 4
const V4_FRAGMENT = 6
const V4_PROTOCOL = 9
const V4_CHECKSUM = 10
const V4_SRC = 12
const V4_DST = 16 // RFC 791 §3.1
const V4_MORE = 0x2000
const V6_SRC = 8
const V6_DST = 24 // RFC 8200 §3
const FRAGMENT_OFFSET = 2
const FRAGMENT_ID = 4 // RFC 8200 §4.5

/** Octets of an upper layer's own header; of what we do not carry none is asked. */
const upperLength = (proto: number): number => {
  if (proto === PROTO_TCP) return TCP_LEN
  return proto === PROTO_ICMP || proto === PROTO_ICMPV6 || proto === PROTO_UDP ? 8 : 0
}

/** Not an echo, of the ICMP that is there. The other queries of RFC 792 get no error either: none of them needs fragments. */
const isIcmpError = (proto: number, type: number): boolean =>
  proto === PROTO_ICMP
    ? type !== ICMP_ECHO_REQUEST && type !== ICMP_ECHO_REPLY
    : proto === PROTO_ICMPV6 && type < ICMP6_ECHO_REQUEST

type First = Pick<Fragment, 'headersWhole' | 'icmpError'>
const NOT_FIRST: First = { headersWhole: false, icmpError: false }

/** What a first fragment says of the upper layer, which stands at `at`. */
const upperAt = (view: DataView, proto: number, at: number, end: number): First => ({
  headersWhole: end - at >= upperLength(proto),
  icmpError: end > at && isIcmpError(proto, view.getUint8(at))
})

const first6 = (view: DataView, at: number, end: number, next: number): First => {
  const upper = walkExtensions(view, at, end, next)
  // The chain goes on in the next fragment; or it ends in something that the whole datagram is dropped for
  if (typeof upper === 'string') return { headersWhole: upper !== 'ip6-extension-length', icmpError: false }
  return upperAt(view, Math.floor(upper / 0x100000000), upper % 0x100000000, end)
}

const fragment4 = (o: Octets, ip: number): Fragment | FragmentDrop => {
  const { view, off } = o
  const why = checkIpv4(view, ip, o.off + o.len - ip)
  if (why !== 'ip4-fragment') return why ?? 'not-a-fragment'
  const header = (view.getUint8(ip) & 15) * 4
  if (!isZeroSum(sum16(view, ip, header))) return 'ip4-checksum'
  const bits = view.getUint16(ip + V4_FRAGMENT)
  const start = (bits & 0x1fff) * 8
  const len = view.getUint16(ip + V4_TOTAL_LENGTH) - header
  const proto = view.getUint8(ip + V4_PROTOCOL)
  const data = ip + header
  return {
    v6: false,
    src: readV4(view, ip + V4_SRC),
    dst: readV4(view, ip + V4_DST),
    proto,
    id: view.getUint16(ip + V4_ID),
    start,
    end: start + len,
    more: (bits & V4_MORE) !== 0,
    off,
    headLen: data - off,
    counted: header,
    link: 0,
    ...(start === 0 ? upperAt(view, proto, data, data + len) : NOT_FIRST)
  }
}

/** Where the first fragment header is that is not atomic, and the Next Header that names it; null: there is none. */
const fragmentHeader = (view: DataView, ip: number, end: number): { at: number; link: number } | null => {
  let link = ip + NEXT_HEADER
  let at = ip + IPV6_LEN
  for (let n = 0; n < MAX_EXTENSIONS && at + 8 <= end; n++) {
    const kind = view.getUint8(link)
    if (kind === FRAGMENT_HEADER) {
      if ((view.getUint16(at + FRAGMENT_OFFSET) & FRAGMENT_BITS) !== 0) return { at, link }
    } else if (!isExtension(kind)) return null
    link = at
    at += kind === FRAGMENT_HEADER ? FRAGMENT_LEN : (view.getUint8(at + 1) + 1) * 8
  }
  return null
}

const fragment6 = (o: Octets, ip: number): Fragment | FragmentDrop => {
  const { view, off } = o
  const why = checkIpv6(view, ip, o.off + o.len - ip)
  if (why !== null) return why
  const end = ip + IPV6_LEN + view.getUint16(ip + PAYLOAD_LENGTH)
  const found = fragmentHeader(view, ip, end)
  if (found === null) return 'not-a-fragment'
  const { at, link } = found
  const bits = view.getUint16(at + FRAGMENT_OFFSET)
  const start = bits & 0xfff8
  const data = at + FRAGMENT_LEN
  return {
    v6: true,
    src: readV6(view, ip + V6_SRC),
    dst: readV6(view, ip + V6_DST),
    proto: 0,
    id: view.getUint32(at + FRAGMENT_ID),
    start,
    end: start + end - data,
    more: (bits & 1) !== 0,
    off,
    headLen: data - off,
    counted: at - ip - IPV6_LEN,
    link: link - off,
    ...(start === 0 ? first6(view, data, end, view.getUint8(at)) : NOT_FIRST)
  }
}

/**
 * A frame for which `decodeFrame` says 'ip4-fragment' or 'ip6-fragment'. Total: any octets give a fragment or a named reason.
 * Offsets count from the start of `o.view`.   Source: RFC 791 §3.1, RFC 8200 §4.5.
 */
export const decodeFragment = (o: Octets): Fragment | FragmentDrop => {
  const eth = decodeEthernetAt(o.view, o.off, o.len)
  if (typeof eth === 'string') return eth
  if (eth.type !== ETHERTYPE_IPV4 && eth.type !== ETHERTYPE_IPV6) return 'not-a-fragment'
  const ip = o.off + ETH_LEN
  const f = eth.type === ETHERTYPE_IPV4 ? fragment4(o, ip) : fragment6(o, ip)
  if (typeof f === 'string') return f
  if (isLoopback(f.src) || isLoopback(f.dst)) return 'ip-loopback'
  return isMulticast(f.src) ? 'ip-source-multicast' : f
}

/**
 * The frame that was cut, out of its first fragment's head (`headLen` octets at `o.off`) and all data behind that. IPv4: as a
 * datagram that is no fragment; IPv6: without the fragment header (RFC 8200 §4.5). Done in place; where it lies is returned.
 */
export const joinFragments = (
  o: Octets,
  head: Pick<Fragment, 'v6' | 'headLen' | 'counted' | 'link'>
): Octets => {
  const { view, off } = o
  const ip = off + ETH_LEN
  if (!head.v6) {
    view.setUint16(ip + V4_TOTAL_LENGTH, o.len - ETH_LEN)
    view.setUint16(ip + V4_FRAGMENT, 0)
    view.setUint16(ip + V4_CHECKSUM, 0)
    view.setUint16(ip + V4_CHECKSUM, finish(sum16(view, ip, head.counted)))
    return o
  }
  const gone = head.headLen - FRAGMENT_LEN
  view.setUint8(off + head.link, view.getUint8(off + gone))
  view.setUint16(ip + PAYLOAD_LENGTH, o.len - ETH_LEN - IPV6_LEN - FRAGMENT_LEN)
  bytesOf(o).copyWithin(FRAGMENT_LEN, 0, gone)
  return { view, off: off + FRAGMENT_LEN, len: o.len - FRAGMENT_LEN }
}
