import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { bytesOf, type Octets, sub } from '../value/octets.js'

/** Beginning of a section (draft-ietf-opsawg-pcapng §4.1); ours is little-endian, version 1.0, of unknown length. */
export interface SectionHeader {
  readonly type: 'Section'
  /** What wrote it; '' for nothing. */
  readonly application: string
}
/** Where frames come from (§4.2); the first is number 0. */
export interface InterfaceDescription {
  readonly type: 'Interface'
  readonly linkType: number
  /** Octets kept of a frame at most; 0: no limit. */
  readonly snapLen: number
  /** '' for none. */
  readonly name: string
  /** A time stamp counts 10^-n s; from 128 on, 2^-(n - 128) s. */
  readonly resolution: number
}
/** One frame (§4.3). */
export interface EnhancedPacket {
  readonly type: 'Packet'
  readonly interface: number
  /** In units of the interface's resolution, since 1970. */
  readonly time: bigint
  readonly frame: Uint8Array
  /** Octets of the frame on the link; `frame` may hold fewer. */
  readonly originalLen: number
  /** Towards us, away from us; null: not said. */
  readonly direction: 'in' | 'out' | null
  readonly comments: ReadonlyArray<string>
}
/** One frame, of interface 0, without a time (§4.4). */
export interface SimplePacket {
  readonly type: 'SimplePacket'
  readonly originalLen: number
  readonly frame: Uint8Array
}
/** What an interface counted (§4.6). */
export interface InterfaceStatistics {
  readonly type: 'Statistics'
  readonly interface: number
  /** Frames that were to be captured and were not: for want of room; null: not said. */
  readonly dropped: bigint | null
}
export type PcapngBlock =
  | SectionHeader
  | InterfaceDescription
  | EnhancedPacket
  | SimplePacket
  | InterfaceStatistics
  /** Of a kind that is of no interest here. */
  | { readonly type: 'Other'; readonly code: number; readonly body: Uint8Array }

// Block types and options, draft-ietf-opsawg-pcapng §4, §3.5
const SHB = 0x0a0d0d0a
const IDB = 1
const SPB = 3
const ISB = 5
const EPB = 6
const MAGIC = 0x1a2b3c4d
const OPT_END = 0
const OPT_COMMENT = 1
const SHB_USERAPPL = 4
const IF_NAME = 2
const IF_TSRESOL = 9
const EPB_FLAGS = 2
const ISB_IFDROP = 5
const ISB_OSDROP = 7
const MICROS = 6

interface Option {
  readonly code: number
  readonly value: Uint8Array
}

const utf8 = new TextEncoder()
const text = (b: Uint8Array): string => new TextDecoder().decode(b)
const padded = (n: number): number => (n + 3) & ~3

const writeOptions = (options: ReadonlyArray<Option>): Uint8Array => {
  if (options.length === 0) return new Uint8Array(0)
  const b = new Uint8Array(options.reduce((n, o) => n + 4 + padded(o.value.length), 4))
  const v = new DataView(b.buffer)
  let at = 0
  for (const o of options) {
    v.setUint16(at, o.code, true)
    v.setUint16(at + 2, o.value.length, true)
    b.set(o.value, at + 4)
    at += 4 + padded(o.value.length)
  }
  return b
}

/** Options up to opt_endofopt or the end of the block. */
const readOptions = (o: Octets, little: boolean): ReadonlyArray<Option> | string => {
  const out: Option[] = []
  for (let at = 0; at < o.len; ) {
    if (o.len - at < 4) return 'pcapng: option is cut'
    const code = o.view.getUint16(o.off + at, little)
    const len = o.view.getUint16(o.off + at + 2, little)
    if (code === OPT_END) return out
    if (padded(len) > o.len - at - 4) return 'pcapng: option is longer than its block'
    out.push({ code, value: bytesOf(sub(o, at + 4, len)) })
    at += 4 + padded(len)
  }
  return out
}

const named = (options: ReadonlyArray<Option>, code: number): Uint8Array | undefined =>
  options.find((o) => o.code === code)?.value

/** Type and length in front, length behind; `fixed` has a whole number of words. */
const block = (code: number, fixed: Uint8Array, options: ReadonlyArray<Option>): Uint8Array => {
  const opts = writeOptions(options)
  const b = new Uint8Array(12 + fixed.length + opts.length)
  const v = new DataView(b.buffer)
  v.setUint32(0, code, true)
  v.setUint32(4, b.length, true)
  b.set(fixed, 8)
  b.set(opts, 8 + fixed.length)
  v.setUint32(b.length - 4, b.length, true)
  return b
}

const words = (octets: number): { readonly b: Uint8Array; readonly v: DataView } => {
  const b = new Uint8Array(padded(octets))
  return { b, v: new DataView(b.buffer) }
}

const DIRECTIONS = [null, 'in', 'out'] as const

const encode = (p: PcapngBlock): Uint8Array => {
  switch (p.type) {
    case 'Section': {
      const { b, v } = words(16)
      v.setUint32(0, MAGIC, true)
      v.setUint16(4, 1, true)
      b.fill(0xff, 8) // length of the section: not known
      return block(
        SHB,
        b,
        p.application === '' ? [] : [{ code: SHB_USERAPPL, value: utf8.encode(p.application) }]
      )
    }
    case 'Interface': {
      const { b, v } = words(8)
      v.setUint16(0, p.linkType, true)
      v.setUint32(4, p.snapLen, true)
      return block(IDB, b, [
        ...(p.name === '' ? [] : [{ code: IF_NAME, value: utf8.encode(p.name) }]),
        { code: IF_TSRESOL, value: Uint8Array.of(p.resolution) }
      ])
    }
    case 'Packet': {
      const { b, v } = words(20 + p.frame.length)
      v.setUint32(0, p.interface, true)
      v.setUint32(4, Number(p.time >> 32n), true)
      v.setUint32(8, Number(p.time & 0xffffffffn), true)
      v.setUint32(12, p.frame.length, true)
      v.setUint32(16, p.originalLen, true)
      b.set(p.frame, 20)
      const comments = p.comments.map((c) => ({ code: OPT_COMMENT, value: utf8.encode(c) }))
      if (p.direction === null) return block(EPB, b, comments)
      const value = Uint8Array.of(DIRECTIONS.indexOf(p.direction), 0, 0, 0)
      return block(EPB, b, [...comments, { code: EPB_FLAGS, value }])
    }
    case 'SimplePacket': {
      const { b, v } = words(4 + p.frame.length)
      v.setUint32(0, p.originalLen, true)
      b.set(p.frame, 4)
      return block(SPB, b, [])
    }
    case 'Statistics': {
      const { b, v } = words(12)
      v.setUint32(0, p.interface, true)
      if (p.dropped === null) return block(ISB, b, [])
      const value = new Uint8Array(8)
      new DataView(value.buffer).setBigUint64(0, p.dropped, true)
      return block(ISB, b, [{ code: ISB_IFDROP, value }])
    }
    case 'Other':
      return block(p.code, p.body, [])
  }
}

const section = (o: Octets, little: boolean): PcapngBlock | string => {
  if (o.len < 16) return 'pcapng: section header is short'
  if (o.view.getUint32(o.off, little) !== MAGIC) return 'pcapng: byte order of a section'
  if (o.view.getUint16(o.off + 4, little) !== 1) return 'pcapng: version is not 1'
  const options = readOptions(sub(o, 16), little)
  if (typeof options === 'string') return options
  return { type: 'Section', application: text(named(options, SHB_USERAPPL) ?? new Uint8Array(0)) }
}

const description = (o: Octets, little: boolean): PcapngBlock | string => {
  if (o.len < 8) return 'pcapng: interface description is short'
  const options = readOptions(sub(o, 8), little)
  if (typeof options === 'string') return options
  const resolution = named(options, IF_TSRESOL)?.[0] ?? MICROS
  return {
    type: 'Interface',
    linkType: o.view.getUint16(o.off, little),
    snapLen: o.view.getUint32(o.off + 4, little),
    name: text(named(options, IF_NAME) ?? new Uint8Array(0)),
    resolution
  }
}

const packet = (o: Octets, little: boolean): PcapngBlock | string => {
  if (o.len < 20) return 'pcapng: packet is short'
  const v = o.view
  const len = v.getUint32(o.off + 12, little)
  if (len > o.len - 20 || 20 + padded(len) > o.len) return `pcapng: packet of ${len} octets is cut`
  const options = readOptions(sub(o, 20 + padded(len)), little)
  if (typeof options === 'string') return options
  return {
    type: 'Packet',
    interface: v.getUint32(o.off, little),
    time: (BigInt(v.getUint32(o.off + 4, little)) << 32n) | BigInt(v.getUint32(o.off + 8, little)),
    frame: bytesOf(sub(o, 20, len)),
    originalLen: v.getUint32(o.off + 16, little),
    direction: DIRECTIONS[(named(options, EPB_FLAGS)?.[0] ?? 0) & 3] ?? null,
    comments: options.filter((x) => x.code === OPT_COMMENT).map((x) => text(x.value))
  }
}

const simplePacket = (o: Octets, little: boolean): PcapngBlock | string => {
  if (o.len < 4) return 'pcapng: simple packet is short'
  const originalLen = o.view.getUint32(o.off, little)
  return { type: 'SimplePacket', originalLen, frame: bytesOf(sub(o, 4, Math.min(originalLen, o.len - 4))) }
}

const statistics = (o: Octets, little: boolean): PcapngBlock | string => {
  if (o.len < 12) return 'pcapng: statistics are short'
  const options = readOptions(sub(o, 12), little)
  if (typeof options === 'string') return options
  const counts = [ISB_IFDROP, ISB_OSDROP].flatMap((code) => {
    const value = named(options, code)
    if (value?.length !== 8) return []
    return [new DataView(value.buffer, value.byteOffset, 8).getBigUint64(0, little)]
  })
  return {
    type: 'Statistics',
    interface: o.view.getUint32(o.off, little),
    dropped: counts.length === 0 ? null : counts.reduce((sum, n) => sum + n)
  }
}

/** Byte order of the section whose header stands at the start of `o`; null: it is none. */
export const sectionOrder = (o: Octets): 'little' | 'big' | null => {
  if (o.len < 12 || o.view.getUint32(o.off) !== SHB) return null
  if (o.view.getUint32(o.off + 8, true) === MAGIC) return 'little'
  return o.view.getUint32(o.off + 8) === MAGIC ? 'big' : null
}

/** Octets of the block at the start of `o`, or why there is none. */
const blockLength = (o: Octets, little: boolean): number | string => {
  if (o.len < 12) return 'pcapng: block is short'
  const len = o.view.getUint32(o.off + 4, little)
  if (len < 12 || len % 4 !== 0 || len > o.len) return `pcapng: block of ${len} octets`
  return o.view.getUint32(o.off + len - 4, little) === len ? len : 'pcapng: lengths of a block differ'
}

/** As the codec below, in either byte order. */
export const decodePcapngBlock = (o: Octets, little: boolean): PcapngBlock | string => {
  const len = blockLength(o, little)
  if (typeof len === 'string') return len
  const code = o.view.getUint32(o.off, little)
  const body = sub(o, 8, len - 12)
  switch (code) {
    case SHB:
      return section(body, little)
    case IDB:
      return description(body, little)
    case EPB:
      return packet(body, little)
    case SPB:
      return simplePacket(body, little)
    case ISB:
      return statistics(body, little)
    default:
      return { type: 'Other', code, body: bytesOf(body) }
  }
}

const decode = (o: Octets): PcapngBlock | string => decodePcapngBlock(o, true)

/** A whole capture, for tests: its blocks in order, or why it is not one. */
export const decodePcapng = (o: Octets): ReadonlyArray<PcapngBlock> | string => {
  const out: PcapngBlock[] = []
  for (let at = 0; at < o.len; ) {
    const rest = sub(o, at)
    const one = decode(rest)
    if (typeof one === 'string') return one
    if (at === 0 && one.type !== 'Section') return 'pcapng: no section header'
    out.push(one)
    at += o.view.getUint32(rest.off + 4, true)
  }
  return out
}

/**
 * One little-endian block at the start of the input; what follows is ignored. `frame` and `body` are views of the input.
 * Left: cut, lengths that do not fit, big-endian, a version other than 1.
 * Law: decode(encode(b)) = right(b).   Source: draft-ietf-opsawg-pcapng §3, §4.
 */
export const PcapngBlock: t.Type<PcapngBlock, Uint8Array, Octets> = wireCodec('PcapngBlock', decode, encode)
