import { type Octets, octets, sub } from '../value/octets.js'
import { decodePcapHeader, decodePcapRecord, PCAP_HEADER_LEN, PCAP_RECORD_LEN } from './pcap.js'
import { decodePcapngBlock, type InterfaceDescription, sectionOrder } from './pcapng.js'

// A capture of either format, piece by piece: it may be larger than memory. What is read is a value, and what has to be
// remembered from one piece to the next as well.

/** One captured frame. */
export interface CapturedFrame {
  /** Seconds since 1970. */
  readonly at: number
  readonly linkType: number
  /** Interface, by its number in the capture. */
  readonly interface: number
  /** What was kept of it; it lies in the input. */
  readonly frame: Octets
  /** Octets on the link. */
  readonly originalLen: number
}

/** What the file has said of itself so far. */
export type CaptureFormat =
  | { readonly kind: 'unknown' }
  | { readonly kind: 'pcap'; readonly little: boolean; readonly nanos: boolean; readonly linkType: number }
  | {
      readonly kind: 'pcapng'
      readonly little: boolean
      readonly interfaces: readonly InterfaceDescription[]
    }
export const NEW_CAPTURE: CaptureFormat = { kind: 'unknown' }

/** `used`: octets of the input that are dealt with. */
export type CaptureStep =
  | { readonly tag: 'Frame'; readonly used: number; readonly frame: CapturedFrame }
  | { readonly tag: 'Format'; readonly used: number; readonly format: CaptureFormat }
  /** Frames that whoever captured had no room for. */
  | { readonly tag: 'Dropped'; readonly used: number; readonly frames: bigint }
  /** Of no interest here. */
  | { readonly tag: 'Other'; readonly used: number }
  /** It takes so many octets to go on. */
  | { readonly tag: 'More'; readonly need: number }
  | { readonly tag: 'Fault'; readonly reason: string }

/** Octets: what a record or block may have at most. Our choice: far above what any link has, and it bounds the buffer. */
export const BLOCK_MAX = 0x1000000
/** Interfaces of a capture; our choice, as above. */
export const INTERFACES_MAX = 4096

const more = (need: number): CaptureStep => ({ tag: 'More', need })
const fault = (reason: string): CaptureStep => ({ tag: 'Fault', reason })

const pcapRecord = (f: Extract<CaptureFormat, { kind: 'pcap' }>, o: Octets): CaptureStep => {
  if (o.len < PCAP_RECORD_LEN) return more(PCAP_RECORD_LEN)
  const captured = o.view.getUint32(o.off + 8, f.little)
  if (captured > BLOCK_MAX) return fault(`pcap: record of ${captured} octets`)
  if (o.len < PCAP_RECORD_LEN + captured) return more(PCAP_RECORD_LEN + captured)
  const r = decodePcapRecord(sub(o, 0, PCAP_RECORD_LEN + captured), f.little)
  if (typeof r === 'string') return fault(r)
  const at = r.seconds + r.micros / (f.nanos ? 1e9 : 1e6)
  const originalLen = Math.max(r.originalLen, captured)
  const frame = sub(o, PCAP_RECORD_LEN, captured)
  return {
    tag: 'Frame',
    used: PCAP_RECORD_LEN + captured,
    frame: { at, linkType: f.linkType, interface: 0, frame, originalLen }
  }
}

/** Seconds. */
const unitOf = (resolution: number): number =>
  resolution & 0x80 ? 2 ** -(resolution & 0x7f) : 10 ** -resolution

type Section = Extract<CaptureFormat, { kind: 'pcapng' }>
const packet = (
  f: Section,
  used: number,
  p: {
    readonly interface: number
    readonly time: bigint
    readonly frame: Uint8Array
    readonly originalLen: number
  }
): CaptureStep => {
  const from = f.interfaces[p.interface]
  if (from === undefined) return fault(`pcapng: packet of interface ${p.interface}, which is not described`)
  return {
    tag: 'Frame',
    used,
    frame: {
      at: Number(p.time) * unitOf(from.resolution),
      linkType: from.linkType,
      interface: p.interface,
      frame: octets(p.frame),
      originalLen: Math.max(p.originalLen, p.frame.length)
    }
  }
}

const pcapngBlock = (f: Section | null, o: Octets): CaptureStep => {
  if (o.len < 12) return more(12)
  const order = sectionOrder(o)
  if (f === null && order === null) return fault('neither pcap nor pcapng')
  const little = order === null ? f!.little : order === 'little'
  const length = o.view.getUint32(o.off + 4, little)
  if (length > BLOCK_MAX) return fault(`pcapng: block of ${length} octets`)
  if (length > o.len) return more(length)
  const b = decodePcapngBlock(o, little)
  if (typeof b === 'string') return fault(b)
  const used = length
  const interfaces = f?.interfaces ?? []
  switch (b.type) {
    case 'Section':
      return { tag: 'Format', used, format: { kind: 'pcapng', little, interfaces: [] } }
    case 'Interface':
      if (interfaces.length >= INTERFACES_MAX) return fault('pcapng: too many interfaces')
      return { tag: 'Format', used, format: { kind: 'pcapng', little, interfaces: [...interfaces, b] } }
    case 'Packet':
      return packet(f!, used, b)
    case 'SimplePacket':
      return packet(f!, used, { interface: 0, time: 0n, frame: b.frame, originalLen: b.originalLen })
    case 'Statistics':
      return b.dropped === null ? { tag: 'Other', used } : { tag: 'Dropped', used, frames: b.dropped }
    case 'Other':
      return { tag: 'Other', used }
  }
}

/**
 * The next thing of a capture, whose octets from here on, as far as they were read, are `o`.
 * Total: any octets give a step, and each but More and Fault uses up at least 8 octets.
 * Source: draft-ietf-opsawg-pcap §4, §5; draft-ietf-opsawg-pcapng §3, §4.
 */
export const nextInCapture = (f: CaptureFormat, o: Octets): CaptureStep => {
  if (f.kind === 'pcap') return pcapRecord(f, o)
  if (f.kind === 'pcapng') return pcapngBlock(f, o)
  if (o.len < 4) return more(4)
  if (o.view.getUint32(o.off) === 0x0a0d0d0a) return pcapngBlock(null, o)
  if (o.len < PCAP_HEADER_LEN) return more(PCAP_HEADER_LEN)
  const h = decodePcapHeader(o)
  if (typeof h === 'string') return fault(h === 'pcap: not a capture' ? 'neither pcap nor pcapng' : h)
  const { littleEndian: little, nanos } = h
  const linkType = h.linkType & 0xffff // above: whether frames end in a check sequence
  return { tag: 'Format', used: PCAP_HEADER_LEN, format: { kind: 'pcap', little, nanos, linkType } }
}
