import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import type { InAny } from '../value/inany.js'
import { bytesOf, type Octets } from '../value/octets.js'
import { PROTO_ICMPV6, PROTO_UDP, sealL4 } from './checksum.js'
import {
  decodeIcmpMessage,
  encodeIcmpMessage,
  ICMP_LEN,
  type IcmpError,
  type IcmpMessage,
  writeIcmp
} from './icmp.js'
import { IPV6_LEN, ipv6Header, writeIpv6 } from './ipv6.js'
import { UDP_LEN, writeUdp } from './udp.js'

/** Types, RFC 4443 §2.1 and RFC 4861 §4. The header is `IcmpHeader`, decoded by `decodeIcmpAt`. */
export const ICMP6_UNREACHABLE = 1
export const ICMP6_TIME_EXCEEDED = 3
export const ICMP6_PARAMETER_PROBLEM = 4
export const ICMP6_ECHO_REQUEST = 128
export const NDP_ROUTER_SOLICITATION = 133
export const NDP_ROUTER_ADVERTISEMENT = 134
export const NDP_NEIGHBOUR_SOLICITATION = 135
export const NDP_NEIGHBOUR_ADVERTISEMENT = 136
export const NDP_REDIRECT = 137

/** For the caller of decodeFrame: Neighbour Discovery, which must have crossed no router. */
export const isNdp = (type: number): boolean => type >= NDP_ROUTER_SOLICITATION && type <= NDP_REDIRECT

/** Least MTU of an IPv6 link: no ICMPv6 error is longer (RFC 4443 §2.4 (c)). */
export const MIN_MTU = 1280
const QUOTED_DATA = MIN_MTU - IPV6_LEN - ICMP_LEN - IPV6_LEN - UDP_LEN

/** An error as in icmp.ts; `flowLabel` is that of the rebuilt datagram. */
export interface Icmpv6Error extends IcmpError {
  readonly flowLabel: number
}

/** Octets that `writeIcmpv6Error` will write, at most 1240. */
export const icmpv6ErrorLength = (e: IcmpError): number =>
  ICMP_LEN + IPV6_LEN + UDP_LEN + Math.min(e.quote.payload.len, QUOTED_DATA)

/**
 * A whole ICMPv6 error from `src` to `dst`: header (the MTU takes 32 bits), the guest's datagram rebuilt (IPv6 header,
 * UDP header with its checksum over all that is known of the data, as much data as fits 1280), checksum.
 * Returns octets written.   Source: RFC 4443 §2.4 (c), §3; behaviour.md#icmp-errors.
 */
export const writeIcmpv6Error = (
  view: DataView,
  off: number,
  e: Icmpv6Error,
  src: InAny,
  dst: InAny
): number => {
  const q = e.quote
  const len = icmpv6ErrorLength(e)
  let at = off + writeIcmp(view, off, { type: e.type, code: e.code, id: e.mtu >>> 16, seq: e.mtu & 0xffff })
  at += writeIpv6(view, at, ipv6Header(q.src, q.dst, PROTO_UDP, e.flowLabel), UDP_LEN + q.payload.len)
  const whole = new Uint8Array(UDP_LEN + q.payload.len)
  const wholeView = new DataView(whole.buffer)
  whole.set(bytesOf(q.payload), writeUdp(wholeView, 0, q, q.payload.len))
  sealL4(wholeView, 0, whole.length, PROTO_UDP, q.src, q.dst)
  bytesOf({ view, off: at, len: off + len - at }).set(whole.subarray(0, off + len - at))
  sealL4(view, off, len, PROTO_ICMPV6, src, dst)
  return len
}

/**
 * Shape: as IcmpMessage; the checksum is neither verified nor written (it needs the pseudo-header, RFC 4443 §2.3).
 * Left: under 8 octets.   Source: RFC 4443 §2.1.
 */
export const Icmpv6Message: t.Type<IcmpMessage, Uint8Array, Octets> = wireCodec(
  'Icmpv6Message',
  decodeIcmpMessage,
  encodeIcmpMessage
)
