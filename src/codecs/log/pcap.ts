import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { bytesOf, type Octets, sub } from '../value/octets.js'

/** Global header of a capture file (draft-ietf-opsawg-pcap §4). We write little-endian, µs, version 2.4, Ethernet. */
export interface PcapHeader {
  /** Byte order of this header and of the records'. */
  readonly littleEndian: boolean
  /** Records count ns, not µs. */
  readonly nanos: boolean
  readonly snapLen: number
  readonly linkType: number
}
/** One captured frame; nothing is truncated on writing (behaviour.md#captures). */
export interface PcapRecord {
  /** CLOCK_REALTIME: seconds and µs, or ns where the header says so. */
  readonly seconds: number
  readonly micros: number
  /** Octets of the frame on the link; `frame` may hold fewer. */
  readonly originalLen: number
  readonly frame: Uint8Array
}

const MAGIC = 0xa1b2c3d4
const MAGIC_NANOS = 0xa1b23c4d
const VERSION_MAJOR = 4
const VERSION_MINOR = 6
const SNAP_LEN = 16
const LINK_TYPE = 20 // offsets in octets, draft-ietf-opsawg-pcap §4
const SECONDS = 0
const MICROS = 4
const CAPTURED_LEN = 8
const ORIGINAL_LEN = 12 // offsets in octets, draft-ietf-opsawg-pcap §5

/** Octets. */
export const PCAP_HEADER_LEN = 24
export const PCAP_RECORD_LEN = 16
export const LINKTYPE_ETHERNET = 1
/** What stands at the start of the file that `--pcap` names. Offloads give frames of 65549 octets; tcpdump's own value has room. */
export const PCAP_ETHERNET: PcapHeader = {
  littleEndian: true,
  nanos: false,
  snapLen: 262144,
  linkType: LINKTYPE_ETHERNET
}

export const decodePcapHeader = (o: Octets): PcapHeader | string => {
  if (o.len < PCAP_HEADER_LEN) return 'pcap: header is short'
  const magic = o.view.getUint32(o.off, true)
  const littleEndian = magic === MAGIC || magic === MAGIC_NANOS
  const word = littleEndian ? magic : o.view.getUint32(o.off)
  if (word !== MAGIC && word !== MAGIC_NANOS) return 'pcap: not a capture'
  const major = o.view.getUint16(o.off + VERSION_MAJOR, littleEndian)
  const minor = o.view.getUint16(o.off + VERSION_MINOR, littleEndian)
  if (major !== 2 || minor !== 4) return `pcap: version ${major}.${minor}`
  return {
    littleEndian,
    nanos: word === MAGIC_NANOS,
    snapLen: o.view.getUint32(o.off + SNAP_LEN, littleEndian),
    linkType: o.view.getUint32(o.off + LINK_TYPE, littleEndian)
  }
}

/** Returns octets written: 24. */
export const writePcapHeader = (view: DataView, off: number, h: PcapHeader): number => {
  const little = h.littleEndian
  view.setUint32(off, h.nanos ? MAGIC_NANOS : MAGIC, little)
  view.setUint16(off + VERSION_MAJOR, 2, little)
  view.setUint16(off + VERSION_MINOR, 4, little)
  view.setUint32(off + 8, 0, little) // zone
  view.setUint32(off + 12, 0, little) // accuracy
  view.setUint32(off + SNAP_LEN, h.snapLen, little)
  view.setUint32(off + LINK_TYPE, h.linkType, little)
  return PCAP_HEADER_LEN
}

/** `little`: the byte order, from the header. */
export const decodePcapRecord = (o: Octets, little = true): PcapRecord | string => {
  if (o.len < PCAP_RECORD_LEN) return 'pcap: record header is short'
  const captured = o.view.getUint32(o.off + CAPTURED_LEN, little)
  if (captured > o.len - PCAP_RECORD_LEN) return `pcap: record of ${captured} octets is cut`
  return {
    seconds: o.view.getUint32(o.off + SECONDS, little),
    micros: o.view.getUint32(o.off + MICROS, little),
    originalLen: o.view.getUint32(o.off + ORIGINAL_LEN, little),
    frame: bytesOf(sub(o, PCAP_RECORD_LEN, captured))
  }
}

/** Header of a record whose frame of `len` octets follows whole. Returns octets written: 16. */
export const writePcapRecordHeader = (
  view: DataView,
  off: number,
  seconds: number,
  micros: number,
  len: number
): number => {
  view.setUint32(off + SECONDS, seconds, true)
  view.setUint32(off + MICROS, micros, true)
  view.setUint32(off + CAPTURED_LEN, len, true)
  view.setUint32(off + ORIGINAL_LEN, len, true)
  return PCAP_RECORD_LEN
}

/** A whole capture, for tests and replay: its frames in order, or why it is not one. */
export const decodePcap = (o: Octets): ReadonlyArray<PcapRecord> | string => {
  const header = decodePcapHeader(o)
  if (typeof header === 'string') return header
  const out: PcapRecord[] = []
  for (let at = PCAP_HEADER_LEN; at < o.len; ) {
    const r = decodePcapRecord(sub(o, at), header.littleEndian)
    if (typeof r === 'string') return r
    out.push(r)
    at += PCAP_RECORD_LEN + r.frame.length
  }
  return out
}

/** Left: under 24 octets, another magic number or version.   Source: draft-ietf-opsawg-pcap §4. */
export const PcapHeader: t.Type<PcapHeader, Uint8Array, Octets> = wireCodec(
  'PcapHeader',
  decodePcapHeader,
  (h) => {
    const b = new Uint8Array(PCAP_HEADER_LEN)
    writePcapHeader(new DataView(b.buffer), 0, h)
    return b
  }
)

/** Little-endian. Left: under 16 octets, or fewer octets than the record claims. `frame` is a view of the input.   Source: as above, §5. */
export const PcapRecord: t.Type<PcapRecord, Uint8Array, Octets> = wireCodec(
  'PcapRecord',
  decodePcapRecord,
  (r) => {
    const b = new Uint8Array(PCAP_RECORD_LEN + r.frame.length)
    const view = new DataView(b.buffer)
    b.set(r.frame, writePcapRecordHeader(view, 0, r.seconds, r.micros, r.frame.length))
    view.setUint32(ORIGINAL_LEN, r.originalLen, true)
    return b
  }
)
