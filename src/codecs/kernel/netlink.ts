import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { octetsOfText, textOfOctets } from '../value/octet-text.js'
import { copyOf, type Octets, octets, sub } from '../value/octets.js'

/**
 * Netlink speaks the host's byte order. We run on little-endian machines only (x86-64, aarch64, riscv64); this is the
 * one place that says so.
 */
export const LE = true

// linux/netlink.h
export const NLMSG_ERROR = 2
export const NLMSG_DONE = 3
export const NLM_F_REQUEST = 0x01
export const NLM_F_ACK = 0x04
/** The kernel's tables changed while they were being dumped: what was read may be inconsistent. */
export const NLM_F_DUMP_INTR = 0x10
export const NLM_F_DUMP = 0x300
export const NLM_F_REPLACE = 0x100
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400
export const NLM_F_CAPPED = 0x100
export const NLM_F_ACK_TLVS = 0x200
export const NLA_F_NESTED = 0x8000
/** Type of an attribute without its flags, NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
export const NLA_TYPE_MASK = 0x3fff

/** Header length of a message, struct nlmsghdr: LENGTH 0, TYPE 4, FLAGS 6, SEQ 8, PID 12. */
export const NLMSG_HDRLEN = 16
const ATTR_HDRLEN = 4

const align4 = (n: number): number => (n + 3) & ~3

// --- attributes

/** One attribute as it stands; `type` with its flag bits. `data` without padding. */
export interface Attribute {
  readonly type: number
  readonly data: Uint8Array
}

/**
 * Attributes up to the end of `o`: LEN 0, TYPE 2, data at 4, padded to 4 octets (netlink(7)). Data is copied. A tail
 * shorter than a header is padding. A string is the reason of a failure: LEN below 4 or beyond the end.
 */
export const decodeAttributes = (o: Octets): ReadonlyArray<Attribute> | string => {
  const out: Attribute[] = []
  for (let at = 0; at + ATTR_HDRLEN <= o.len; ) {
    const len = o.view.getUint16(o.off + at, LE)
    const type = o.view.getUint16(o.off + at + 2, LE)
    if (len < ATTR_HDRLEN || len > o.len - at) return `attribute ${type} of ${len} octets, ${o.len - at} left`
    out.push({ type, data: copyOf(sub(o, at + ATTR_HDRLEN, len - ATTR_HDRLEN)) })
    at += align4(len)
  }
  return out
}

export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  parts.reduce((at, p) => {
    out.set(p, at)
    return at + p.length
  }, 0)
  return out
}

export const encodeAttributes = (attributes: ReadonlyArray<Attribute>): Uint8Array =>
  concat(
    attributes.map(({ type, data }) => {
      const b = new Uint8Array(align4(ATTR_HDRLEN + data.length))
      const v = new DataView(b.buffer)
      v.setUint16(0, ATTR_HDRLEN + data.length, LE)
      v.setUint16(2, type, LE)
      b.set(data, ATTR_HDRLEN)
      return b
    })
  )

/** Values of attributes. `null` where the length is not that of the type. */
export const u32Of = (d: Uint8Array): number | null =>
  d.length === 4 ? new DataView(d.buffer, d.byteOffset).getUint32(0, LE) : null
export const u32 = (n: number): Uint8Array => {
  const b = new Uint8Array(4)
  new DataView(b.buffer).setUint32(0, n, LE)
  return b
}
/** Up to the first NUL; names are octets (octet-text.ts). */
export const textOf = (d: Uint8Array): string => {
  const end = d.indexOf(0)
  return textOfOctets(end < 0 ? d : d.subarray(0, end))
}
export const textZ = (s: string): Uint8Array => concat([octetsOfText(s), Uint8Array.of(0)])

// --- messages

export interface NetlinkMessage {
  readonly type: number
  /** NLM_F_* */
  readonly flags: number
  readonly seq: number
  /** Port id of the sender; 0 is the kernel. */
  readonly pid: number
  /** Behind the header, without the final padding. */
  readonly payload: Uint8Array
}

const decodeMessages = (o: Octets): ReadonlyArray<NetlinkMessage> | string => {
  const out: NetlinkMessage[] = []
  for (let at = 0; at < o.len; ) {
    const left = o.len - at
    if (left < NLMSG_HDRLEN) return `${left} octets left, a message header has ${NLMSG_HDRLEN}`
    const p = o.off + at
    const len = o.view.getUint32(p, LE)
    if (len < NLMSG_HDRLEN || len > left) return `message of ${len} octets, ${left} left`
    out.push({
      type: o.view.getUint16(p + 4, LE),
      flags: o.view.getUint16(p + 6, LE),
      seq: o.view.getUint32(p + 8, LE),
      pid: o.view.getUint32(p + 12, LE),
      payload: copyOf(sub(o, at + NLMSG_HDRLEN, len - NLMSG_HDRLEN))
    })
    at += Math.min(align4(len), left)
  }
  return out
}

export const encodeMessage = (m: NetlinkMessage): Uint8Array => {
  const b = new Uint8Array(align4(NLMSG_HDRLEN + m.payload.length))
  const v = new DataView(b.buffer)
  v.setUint32(0, NLMSG_HDRLEN + m.payload.length, LE)
  v.setUint16(4, m.type, LE)
  v.setUint16(6, m.flags, LE)
  v.setUint32(8, m.seq, LE)
  v.setUint32(12, m.pid, LE)
  b.set(m.payload, NLMSG_HDRLEN)
  return b
}

/**
 * One netlink datagram: any number of messages, each padded to 4 octets. Payloads are copies.
 * Left: a length below the header's or beyond the datagram's end.
 * Law: decode(encode(ms)) = right(ms).   Source: netlink(7), linux/netlink.h
 */
export const NetlinkDatagram: t.Type<ReadonlyArray<NetlinkMessage>, Uint8Array, Octets> = wireCodec(
  'NetlinkDatagram',
  decodeMessages,
  (ms) => concat(ms.map(encodeMessage))
)

// --- outcome of a request

/** What NLMSG_ERROR and NLMSG_DONE say. */
export interface NetlinkOutcome {
  /** Positive errno; 0 is success. */
  readonly errno: number
  /** The kernel's explanation (extended acknowledgement, NLMSGERR_ATTR_MSG), if it gave one. */
  readonly message: string | null
}

const NLMSGERR_ATTR_MSG = 1

/** Where the extended acknowledgement's attributes begin in an NLMSG_ERROR: behind the request, quoted whole or capped. */
const extAckAt = (m: NetlinkMessage, v: DataView): number => {
  if (m.type === NLMSG_DONE) return 4
  if ((m.flags & NLM_F_CAPPED) !== 0) return 4 + NLMSG_HDRLEN
  return v.byteLength < 8 ? v.byteLength : 4 + align4(v.getUint32(4, LE))
}

/**
 * The outcome in an NLMSG_ERROR or NLMSG_DONE message, null for other messages. Total: a payload cut short reads as
 * success for DONE (older kernels send it empty) and as EPROTO for ERROR; an unreadable explanation is left out.
 */
export const outcomeOf = (m: NetlinkMessage): NetlinkOutcome | null => {
  if (m.type !== NLMSG_ERROR && m.type !== NLMSG_DONE) return null
  const o = octets(m.payload)
  if (o.len < 4) return { errno: m.type === NLMSG_DONE ? 0 : 71, message: null }
  // DONE gives what the dump function returned: below zero an error, otherwise no one's business
  const errno = Math.max(0, -o.view.getInt32(o.off, LE))
  const at = extAckAt(m, new DataView(m.payload.buffer, m.payload.byteOffset, m.payload.byteLength))
  const tlvs = (m.flags & NLM_F_ACK_TLVS) !== 0 && at >= 4 && at <= o.len ? decodeAttributes(sub(o, at)) : []
  const text =
    typeof tlvs === 'string' ? undefined : tlvs.find((a) => (a.type & NLA_TYPE_MASK) === NLMSGERR_ATTR_MSG)
  return { errno, message: text === undefined ? null : textOf(text.data) }
}
