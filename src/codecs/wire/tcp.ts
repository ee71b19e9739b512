import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { bytesOf, type Octets, sub } from '../value/octets.js'
import { type SeqNum, seq } from '../value/seq.js'

// Flag bits, RFC 9293 §3.1; ECE and CWR: RFC 3168 §6.1.
export const FIN = 0x01
export const SYN = 0x02
export const RST = 0x04
export const PSH = 0x08
export const ACK = 0x10
export const URG = 0x20
export const ECE = 0x40
export const CWR = 0x80

/** The fields of a TCP header that we read and write; the checksum is checksum.ts's and frame.ts's business. */
export interface TcpHeader {
  readonly srcPort: number
  readonly dstPort: number
  readonly seq: SeqNum
  readonly ack: SeqNum
  /** FIN to CWR, 8 bits. */
  readonly flags: number
  /** Field value, not scaled. */
  readonly wnd: number
  readonly urgent: number
  /** Option 2, or null; read on SYN segments only (RFC 9293 §3.7.1). */
  readonly mss: number | null
  /** Option 3, at most 14, or null; read on SYN segments only (RFC 7323 §2.2, §2.3). */
  readonly windowScale: number | null
}
/** A decoded TCP header. `payload` is where the data is; header and options are behind us. */
export interface TcpSegment extends TcpHeader {
  /** Data offset in the input's view, and octets. */
  readonly payload: { readonly off: number; readonly len: number }
}
export interface TcpPacket extends TcpHeader {
  /** Decoded, it is a view of the input. */
  readonly payload: Uint8Array
}

const SRC_PORT = 0
const DST_PORT = 2
const SEQ = 4
const ACK_NUMBER = 8
const DATA_OFFSET = 12
const FLAGS = 13
const WINDOW = 14
const CHECKSUM = 16
const URGENT = 18 // offsets in octets, RFC 9293 §3.1

/** Octets, without options. */
export const TCP_LEN = 20
export const MAX_WINDOW_SCALE = 14

const OPT_END = 0
const OPT_NOP = 1
const OPT_MSS = 2
const OPT_WINDOW_SCALE = 3

export type TcpDrop = 'tcp-short' | 'tcp-data-offset' | 'tcp-port-zero'

/**
 * Offset of option `kind`, whose length must be `size`, in [off, end), or -1. From a malformed option on (length under 2
 * or past the end) the rest counts as absent; a wrong size of the option itself as well (behaviour.md#tcp-handshake).
 */
const findOption = (view: DataView, off: number, end: number, kind: number, size: number): number => {
  for (let at = off; at < end; ) {
    const k = view.getUint8(at)
    if (k === OPT_END) return -1
    if (k === OPT_NOP) {
      at++
      continue
    }
    if (at + 2 > end) return -1
    const len = view.getUint8(at + 1)
    if (len < 2 || at + len > end) return -1
    if (k === kind) return len === size ? at : -1
    at += len
  }
  return -1
}

export const decodeTcpAt = (view: DataView, off: number, len: number): TcpSegment | TcpDrop => {
  if (len < TCP_LEN) return 'tcp-short'
  const header = (view.getUint8(off + DATA_OFFSET) >>> 4) * 4
  if (header < TCP_LEN || header > len) return 'tcp-data-offset'
  const srcPort = view.getUint16(off + SRC_PORT)
  const dstPort = view.getUint16(off + DST_PORT)
  if (srcPort === 0 || dstPort === 0) return 'tcp-port-zero'
  const flags = view.getUint8(off + FLAGS)
  let mss: number | null = null
  let windowScale: number | null = null
  if (flags & SYN && header > TCP_LEN) {
    const m = findOption(view, off + TCP_LEN, off + header, OPT_MSS, 4)
    const w = findOption(view, off + TCP_LEN, off + header, OPT_WINDOW_SCALE, 3)
    if (m >= 0) mss = view.getUint16(m + 2)
    if (w >= 0) windowScale = Math.min(view.getUint8(w + 2), MAX_WINDOW_SCALE)
  }
  return {
    srcPort,
    dstPort,
    seq: seq(view.getUint32(off + SEQ)),
    ack: seq(view.getUint32(off + ACK_NUMBER)),
    flags,
    wnd: view.getUint16(off + WINDOW),
    urgent: view.getUint16(off + URGENT),
    mss,
    windowScale,
    payload: { off: off + header, len: len - header }
  }
}
/** `o`: exactly the IP payload. A string is the reason for the drop. */
export const decodeTcp = (o: Octets): TcpSegment | TcpDrop => decodeTcpAt(o.view, o.off, o.len)

/** Octets that `writeTcp` will write. */
export const tcpLength = (h: TcpHeader): number =>
  TCP_LEN + (h.mss === null ? 0 : 4) + (h.windowScale === null ? 0 : 4)

/**
 * Header and options: MSS (4), NOP and window scale (1 + 3), each if given. The checksum field is left at 0: `sealL4` or
 * `sealPartial` once the payload is in place. Returns octets written: 20 to 28.
 */
export const writeTcp = (view: DataView, off: number, h: TcpHeader): number => {
  let at = off + TCP_LEN
  if (h.mss !== null) {
    view.setUint32(at, (OPT_MSS << 24) | (4 << 16) | h.mss)
    at += 4
  }
  if (h.windowScale !== null) {
    view.setUint32(at, (OPT_NOP << 24) | (OPT_WINDOW_SCALE << 16) | (3 << 8) | h.windowScale)
    at += 4
  }
  view.setUint16(off + SRC_PORT, h.srcPort)
  view.setUint16(off + DST_PORT, h.dstPort)
  view.setUint32(off + SEQ, h.seq)
  view.setUint32(off + ACK_NUMBER, h.ack)
  view.setUint8(off + DATA_OFFSET, (at - off) << 2)
  view.setUint8(off + FLAGS, h.flags)
  view.setUint16(off + WINDOW, h.wnd)
  view.setUint16(off + CHECKSUM, 0)
  view.setUint16(off + URGENT, h.urgent)
  return at - off
}

/**
 * Shape: header of 20 to 60 octets, data up to the end of the input. Left: each `TcpDrop`. The checksum is neither
 * verified nor written (it needs the pseudo-header).   Source: RFC 9293 §3.1, RFC 7323 §2.
 */
export const TcpPacket: t.Type<TcpPacket, Uint8Array, Octets> = wireCodec(
  'TcpPacket',
  (o) => {
    const s = decodeTcp(o)
    if (typeof s === 'string') return s
    return { ...s, payload: bytesOf(sub(o, s.payload.off - o.off, s.payload.len)) }
  },
  (p) => {
    const b = new Uint8Array(tcpLength(p) + p.payload.length)
    b.set(p.payload, writeTcp(new DataView(b.buffer), 0, p))
    return b
  }
)
