import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import type { InAny } from '../value/inany.js'
import { bytesOf, type Octets, sub } from '../value/octets.js'
import { finish, PROTO_UDP, sum16 } from './checksum.js'
import { IPV4_LEN, ipv4Header, writeIpv4 } from './ipv4.js'
import { UDP_LEN, writeUdp } from './udp.js'

/** The first 8 octets of any ICMP or ICMPv6 message, without the checksum. */
export interface IcmpHeader {
  readonly type: number
  readonly code: number
  /** Third 16-bit word: the identifier of an echo (0 is a legal one, #regression-45), unused in most errors. */
  readonly id: number
  /** Fourth 16-bit word: the sequence number of an echo, the next-hop MTU of «fragmentation needed» (RFC 1191 §4). */
  readonly seq: number
}
/** A decoded header and where the rest of the message lies in the input's view. */
export interface IcmpAt extends IcmpHeader {
  readonly payload: { readonly off: number; readonly len: number }
}
export interface IcmpMessage extends IcmpHeader {
  /** Echo data, or the quoted datagram; decoded, it is a view of the input. */
  readonly payload: Uint8Array
}

/** Types, RFC 792. */
export const ICMP_ECHO_REPLY = 0
export const ICMP_UNREACHABLE = 3
export const ICMP_ECHO_REQUEST = 8
export const ICMP_TIME_EXCEEDED = 11

const TYPE = 0
const CODE = 1
const CHECKSUM = 2
const IDENTIFIER = 4
const SEQUENCE = 6 // offsets in octets, RFC 792

/** Octets. */
export const ICMP_LEN = 8

export type IcmpDrop = 'icmp-short'

export const decodeIcmpAt = (view: DataView, off: number, len: number): IcmpAt | IcmpDrop =>
  len < ICMP_LEN
    ? 'icmp-short'
    : {
        type: view.getUint8(off + TYPE),
        code: view.getUint8(off + CODE),
        id: view.getUint16(off + IDENTIFIER),
        seq: view.getUint16(off + SEQUENCE),
        payload: { off: off + ICMP_LEN, len: len - ICMP_LEN }
      }
/** `o`: exactly the IP payload. A string is the reason for the drop. */
export const decodeIcmp = (o: Octets): IcmpAt | IcmpDrop => decodeIcmpAt(o.view, o.off, o.len)

/** The checksum field is left at 0 (see `sealL4`). Returns octets written: 8. */
export const writeIcmp = (view: DataView, off: number, h: IcmpHeader): number => {
  view.setUint8(off + TYPE, h.type)
  view.setUint8(off + CODE, h.code)
  view.setUint16(off + CHECKSUM, 0)
  view.setUint16(off + IDENTIFIER, h.id)
  view.setUint16(off + SEQUENCE, h.seq)
  return ICMP_LEN
}

/** The UDP datagram that an error is about, as the guest sent it. */
export interface UdpQuote {
  readonly src: InAny
  readonly dst: InAny
  readonly srcPort: number
  readonly dstPort: number
  /** All that is known of its data. */
  readonly payload: Octets
}

export interface IcmpError {
  readonly type: number
  readonly code: number
  /** Next-hop MTU, or 0. */
  readonly mtu: number
  readonly quote: UdpQuote
}

/** Octets of data quoted: RFC 792 asks for 64 bits, and upstream sends just that (behaviour.md#icmp-errors). */
const QUOTED_DATA = 8

/** Octets that `writeIcmpError` will write, at most 44. */
export const icmpErrorLength = (e: IcmpError): number =>
  ICMP_LEN + IPV4_LEN + UDP_LEN + Math.min(e.quote.payload.len, QUOTED_DATA)

/**
 * A whole ICMP error: header, the guest's datagram rebuilt (IPv4 header with TTL 255, UDP header with checksum 0, first 8
 * octets of data; lengths as in the original), checksum. Returns octets written.   Source: RFC 792,
 * behaviour.md#icmp-errors.
 */
export const writeIcmpError = (view: DataView, off: number, e: IcmpError): number => {
  const q = e.quote
  const len = icmpErrorLength(e)
  let at = off + writeIcmp(view, off, { type: e.type, code: e.code, id: 0, seq: Math.min(e.mtu, 0xffff) })
  at += writeIpv4(view, at, ipv4Header(q.src, q.dst, PROTO_UDP), UDP_LEN + q.payload.len)
  at += writeUdp(view, at, q, q.payload.len)
  bytesOf({ view, off: at, len: off + len - at }).set(bytesOf(sub(q.payload, 0, off + len - at)))
  view.setUint16(off + CHECKSUM, finish(sum16(view, off, len)))
  return len
}

/** Shared with ICMPv6, whose first 8 octets have the same places. */
export const decodeIcmpMessage = (o: Octets): IcmpMessage | IcmpDrop => {
  const m = decodeIcmp(o)
  if (typeof m === 'string') return m
  const { payload, ...header } = m
  return { ...header, payload: bytesOf(sub(o, payload.off - o.off, payload.len)) }
}
export const encodeIcmpMessage = (m: IcmpMessage): Uint8Array => {
  const b = new Uint8Array(ICMP_LEN + m.payload.length)
  b.set(m.payload, writeIcmp(new DataView(b.buffer), 0, m))
  return b
}

/**
 * Shape: type, code, checksum, two 16-bit words, data. Left: under 8 octets. Decoding does not verify the checksum
 * (frame.ts does), encoding writes it.   Source: RFC 792.
 */
export const IcmpMessage: t.Type<IcmpMessage, Uint8Array, Octets> = wireCodec(
  'IcmpMessage',
  decodeIcmpMessage,
  (m) => {
    const b = encodeIcmpMessage(m)
    const view = new DataView(b.buffer)
    view.setUint16(CHECKSUM, finish(sum16(view, 0, b.length)))
    return b
  }
)
