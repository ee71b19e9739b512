import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { type InAny, readV4, readV6, writeV4, writeV6 } from '../value/inany.js'
import { bytesOf, type Octets, octets, sub } from '../value/octets.js'
import { type SeqNum, seq } from '../value/seq.js'
import { type Mac, readMac, writeMac } from '../wire/ethernet.js'

// The device state that a passt hands to the one that takes its guest over, version 2 of the stream that passt programs share:
// header, addresses, number of connections, one flow record for each; then for each, in the same order, an extended record and
// the octets of its send and receive queues. There are no lengths and no sums: a reader knows every size, and what is behind the
// last queue is nothing. Big-endian, but for the ports of flow records, which lie there as they do in the memory of x86 and arm64.
// What moves, and what is done with it: docs/behaviour.md#migration.

const MAGIC_HIGH = 0xb1bb1d1b
const MAGIC_LOW = 0x0bb1d1b0
/** The version that is written, and the only one that is read. */
export const STATE_VERSION = 2

/** Octets of each part. */
export const HEADER_LEN = 16
export const ADDRESSES_LEN = 42
export const COUNT_LEN = 4
/** Header, addresses and number. */
export const PRELUDE_LEN = HEADER_LEN + ADDRESSES_LEN + COUNT_LEN
export const FLOW_LEN = 112
export const EXTENDED_LEN = 52
/** Octets of one queue; more is no queue. */
export const QUEUE_MAX = 64 << 20

const sized =
  <A>(size: number, read: (v: DataView, at: number) => A | string) =>
  ({ view, off, len }: Octets): A | string =>
    len === size ? read(view, off) : `${len} octets, not ${size}`
const written =
  <A>(size: number, write: (v: DataView, a: A) => void) =>
  (a: A): Uint8Array => {
    const b = new Uint8Array(size)
    write(new DataView(b.buffer), a)
    return b
  }

// --- header

export interface StateHeader {
  /** The newest version that the writer knows. */
  readonly version: number
  /** The oldest version whose reader can read what follows. */
  readonly compatible: number
}
const headerFault = ({ version, compatible }: StateHeader): string | null => {
  if (version === 0 || compatible === 0) return 'no device state: version 0'
  return compatible <= STATE_VERSION && STATE_VERSION <= version
    ? null
    : `device state of version ${version}, not ${STATE_VERSION}`
}
const readHeader = sized(HEADER_LEN, (v, at): StateHeader | string => {
  if (v.getUint32(at) !== MAGIC_HIGH || v.getUint32(at + 4) !== MAGIC_LOW)
    return 'no device state: wrong magic'
  const h = { version: v.getUint32(at + 8), compatible: v.getUint32(at + 12) }
  return headerFault(h) ?? h
})
/**
 * Shape: 16 octets; magic, two words. Left: another size, another magic, a version of 0, no version that both know.
 * Law: decode(encode(h)) = right(h).
 */
export const StateHeader: t.Type<StateHeader, Uint8Array, Octets> = wireCodec(
  'StateHeader',
  readHeader,
  written(HEADER_LEN, (v, h) => {
    v.setUint32(0, MAGIC_HIGH)
    v.setUint32(4, MAGIC_LOW)
    v.setUint32(8, h.version)
    v.setUint32(12, h.compatible)
  })
)

// --- addresses

/** What was learnt of the guest. Unspecified, or 0: never seen. */
export interface StateAddresses {
  readonly v6: InAny
  readonly linkLocal: InAny
  /** v4-mapped. */
  readonly v4: InAny
  readonly mac: Mac
}
const readAddresses = sized(
  ADDRESSES_LEN,
  (v, at): StateAddresses => ({
    v6: readV6(v, at),
    linkLocal: readV6(v, at + 16),
    v4: readV4(v, at + 32),
    mac: readMac(v, at + 36)
  })
)
/**
 * Shape: 42 octets; global and link-local IPv6 address, IPv4 address, MAC. Left: another size.
 * Law: decode(encode(a)) = right(a).
 */
export const StateAddresses: t.Type<StateAddresses, Uint8Array, Octets> = wireCodec(
  'StateAddresses',
  readAddresses,
  written(ADDRESSES_LEN, (v, a) => {
    writeV6(v, 0, a.v6)
    writeV6(v, 16, a.linkLocal)
    writeV4(v, 32, a.v4)
    writeMac(v, 36, a.mac)
  })
)

// --- how many

const readCount = sized(COUNT_LEN, (v, at): number => v.getUint32(at))
/** Shape: 4 octets. Left: another size. Law: decode(encode(n)) = right(n). */
export const StateCount: t.Type<number, Uint8Array, Octets> = wireCodec(
  'StateCount',
  readCount,
  written(COUNT_LEN, (v, n) => v.setUint32(0, n))
)

// --- a connection, as the guest sees it

/** Where one side of a flow is (`SideRecord.where`). */
export const ON_HOST = 1
export const ON_TAP = 2

/** One side: ours is `own`; on the host that is our socket's address, towards the guest the one that it talks to. */
export interface SideRecord {
  readonly where: number
  readonly own: InAny
  readonly peer: InAny
  readonly ownPort: number
  readonly peerPort: number
}
/** Bits of `FlowRecord.events`. A connection whose handshake is not complete is never sent. */
export const FLOW_ESTABLISHED = 0x04
export const FLOW_SOCK_FIN_CAME = 0x08
export const FLOW_SOCK_FIN_SENT = 0x10
export const FLOW_TAP_FIN_CAME = 0x20
export const FLOW_TAP_FIN_SENT = 0x40
export const FLOW_TAP_FIN_ACKED = 0x80
/** Bits of `FlowRecord.flags`. */
export const FLOW_STALLED = 0x01
export const FLOW_LOCAL = 0x02
export const FLOW_ACK_TO_TAP_DUE = 0x08
export const FLOW_ACK_FROM_TAP_DUE = 0x10
export const FLOW_TAP_BLOCKS = 0x20

/** Sequence numbers are those on the guest's link, not the host socket's. */
export interface FlowRecord {
  /** The initiator's side, then the target's. */
  readonly sides: readonly [SideRecord, SideRecord]
  readonly retries: number
  /** Shift of windows that the guest sends, and of ours. */
  readonly guestScale: number
  readonly ourScale: number
  readonly events: number
  /** Octets in one segment to the guest. */
  readonly mss: number
  /** Of the host socket, in units of 256 octets. */
  readonly sndBuf: number
  readonly flags: number
  /** Low octet of the last duplicate ACK's number. */
  readonly dupAck: number
  /** Window fields: the guest's last one, and ours. */
  readonly guestWindow: number
  readonly ourWindow: number
  /** SND.NXT, SND.UNA, RCV.NXT, the last ACK sent, IRS. */
  readonly sndNxt: SeqNum
  readonly sndUna: SeqNum
  readonly rcvNxt: SeqNum
  readonly rcvAcked: SeqNum
  readonly irs: SeqNum
}

// Offsets in octets
const SIDES = [2, 38] as const
const RETRIES = 74
const GUEST_SCALE = 75
const OUR_SCALE = 76
const EVENTS = 77
const MSS = 78
const SND_BUF = 82
const FLAGS = 86
const DUP_ACK = 87
const GUEST_WINDOW = 88
const OUR_WINDOW = 90
const SND_NXT = 92
const SND_UNA = 96
const RCV_NXT = 100
const RCV_ACKED = 104
const IRS = 108

const readSide = (v: DataView, at: number, i: 0 | 1): SideRecord => {
  const from = at + SIDES[i]
  return {
    where: v.getUint8(at + i),
    own: readV6(v, from),
    peer: readV6(v, from + 16),
    ownPort: v.getUint16(from + 32, true),
    peerPort: v.getUint16(from + 34, true)
  }
}
const writeSide = (v: DataView, i: 0 | 1, s: SideRecord): void => {
  const from = SIDES[i]
  v.setUint8(i, s.where)
  writeV6(v, from, s.own)
  writeV6(v, from + 16, s.peer)
  v.setUint16(from + 32, s.ownPort, true)
  v.setUint16(from + 34, s.peerPort, true)
}

const readFlow = sized(
  FLOW_LEN,
  (v, at): FlowRecord => ({
    sides: [readSide(v, at, 0), readSide(v, at, 1)],
    retries: v.getUint8(at + RETRIES),
    guestScale: v.getUint8(at + GUEST_SCALE),
    ourScale: v.getUint8(at + OUR_SCALE),
    events: v.getUint8(at + EVENTS),
    mss: v.getUint32(at + MSS),
    sndBuf: v.getUint32(at + SND_BUF),
    flags: v.getUint8(at + FLAGS),
    dupAck: v.getUint8(at + DUP_ACK),
    guestWindow: v.getUint16(at + GUEST_WINDOW),
    ourWindow: v.getUint16(at + OUR_WINDOW),
    sndNxt: seq(v.getUint32(at + SND_NXT)),
    sndUna: seq(v.getUint32(at + SND_UNA)),
    rcvNxt: seq(v.getUint32(at + RCV_NXT)),
    rcvAcked: seq(v.getUint32(at + RCV_ACKED)),
    irs: seq(v.getUint32(at + IRS))
  })
)
/**
 * Shape: 112 octets. Left: another size; any numbers decode, and what a connection cannot have is the target's to find.
 * Law: decode(encode(f)) = right(f).
 */
export const FlowRecord: t.Type<FlowRecord, Uint8Array, Octets> = wireCodec(
  'FlowRecord',
  readFlow,
  written(FLOW_LEN, (v, f) => {
    writeSide(v, 0, f.sides[0])
    writeSide(v, 1, f.sides[1])
    v.setUint8(RETRIES, f.retries)
    v.setUint8(GUEST_SCALE, f.guestScale)
    v.setUint8(OUR_SCALE, f.ourScale)
    v.setUint8(EVENTS, f.events)
    v.setUint32(MSS, f.mss)
    v.setUint32(SND_BUF, f.sndBuf)
    v.setUint8(FLAGS, f.flags)
    v.setUint8(DUP_ACK, f.dupAck)
    v.setUint16(GUEST_WINDOW, f.guestWindow)
    v.setUint16(OUR_WINDOW, f.ourWindow)
    v.setUint32(SND_NXT, f.sndNxt)
    v.setUint32(SND_UNA, f.sndUna)
    v.setUint32(RCV_NXT, f.rcvNxt)
    v.setUint32(RCV_ACKED, f.rcvAcked)
    v.setUint32(IRS, f.irs)
  })
)

// --- its host socket

/** `tcp_state` of a connection that could not be taken along: nothing of it follows, and no other field counts. */
export const STATE_SKIP = 0
/** Bits of `ExtendedRecord.options`, as TCP_INFO has them (linux/tcp.h). */
export const TCPI_TIMESTAMPS = 1
export const TCPI_SACK = 2
export const TCPI_WSCALE = 4

/** Sequence numbers are the host socket's, at the *start* of the queues. */
export interface ExtendedRecord {
  readonly sndSeq: SeqNum
  readonly rcvSeq: SeqNum
  /** Octets of the send queue, how many of them were never sent, and of the receive queue. */
  readonly sendQueue: number
  readonly unsent: number
  readonly receiveQueue: number
  /** TCP_MAXSEG */
  readonly mss: number
  /** TCP_TIMESTAMP; 0: without timestamps. */
  readonly timestamp: number
  /** TCP_REPAIR_WINDOW (linux/tcp.h): snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup. */
  readonly window: readonly [number, number, number, number, number]
  readonly sendScale: number
  readonly receiveScale: number
  /** As TCP_INFO has it, or STATE_SKIP. */
  readonly state: number
  readonly options: number
}
/** What is written of a connection that is not taken along. */
export const SKIPPED: ExtendedRecord = {
  sndSeq: seq(0),
  rcvSeq: seq(0),
  sendQueue: 0,
  unsent: 0,
  receiveQueue: 0,
  mss: 0,
  timestamp: 0,
  window: [0, 0, 0, 0, 0],
  sendScale: 0,
  receiveScale: 0,
  state: STATE_SKIP,
  options: 0
}
const queueFault = (x: ExtendedRecord): string | null => {
  if (x.state === STATE_SKIP) return null
  if (x.sendQueue > QUEUE_MAX || x.receiveQueue > QUEUE_MAX)
    return `queues of ${x.sendQueue} and ${x.receiveQueue} octets`
  return x.unsent > x.sendQueue ? `${x.unsent} of ${x.sendQueue} octets not sent` : null
}
const readExtended = sized(EXTENDED_LEN, (v, at): ExtendedRecord | string => {
  const word = (i: number): number => v.getUint32(at + i)
  const x: ExtendedRecord = {
    sndSeq: seq(word(0)),
    rcvSeq: seq(word(4)),
    sendQueue: word(8),
    unsent: word(12),
    receiveQueue: word(16),
    mss: word(20),
    timestamp: word(24),
    window: [word(28), word(32), word(36), word(40), word(44)],
    sendScale: v.getUint8(at + 48),
    receiveScale: v.getUint8(at + 49),
    state: v.getUint8(at + 50),
    options: v.getUint8(at + 51)
  }
  return queueFault(x) ?? x
})
/**
 * Shape: 52 octets. Left: another size; unless it is skipped, a queue of more than 64 MiB, or more unsent than the queue has.
 * Law: decode(encode(x)) = right(x).
 */
export const ExtendedRecord: t.Type<ExtendedRecord, Uint8Array, Octets> = wireCodec(
  'ExtendedRecord',
  readExtended,
  written(EXTENDED_LEN, (v, x) => {
    v.setUint32(0, x.sndSeq)
    v.setUint32(4, x.rcvSeq)
    v.setUint32(8, x.sendQueue)
    v.setUint32(12, x.unsent)
    v.setUint32(16, x.receiveQueue)
    v.setUint32(20, x.mss)
    v.setUint32(24, x.timestamp)
    for (const [i, w] of x.window.entries()) v.setUint32(28 + 4 * i, w)
    v.setUint8(48, x.sendScale)
    v.setUint8(49, x.receiveScale)
    v.setUint8(50, x.state)
    v.setUint8(51, x.options)
  })
)

// --- reading it, in pieces that are cut anywhere

/** Which octets of a connection: sent and not acknowledged, not sent, received and not read. The stream has them in this order. */
export type QueueName = 'sent' | 'unsent' | 'received'

export type StateEvent =
  | { readonly type: 'STATE_HEADER'; readonly header: StateHeader }
  | { readonly type: 'STATE_ADDRESSES'; readonly addresses: StateAddresses }
  | { readonly type: 'STATE_COUNT'; readonly flows: number }
  /** `index`: the connection's place in the stream, for this event and all below. */
  | { readonly type: 'STATE_FLOW'; readonly index: number; readonly flow: FlowRecord }
  | { readonly type: 'STATE_EXTENDED'; readonly index: number; readonly extended: ExtendedRecord }
  /** Some octets of a queue, in order; a part of the piece that was read, not a copy. Never empty. */
  | {
      readonly type: 'STATE_QUEUE'
      readonly index: number
      readonly which: QueueName
      readonly octets: Octets
    }
  /** All of this connection has been read. */
  | { readonly type: 'STATE_FLOW_END'; readonly index: number }
  /** All that was announced has been read. */
  | { readonly type: 'STATE_END' }

type Part = 'header' | 'addresses' | 'count' | 'flows' | 'extended' | QueueName | 'end'
/** Where a reader is; a value, and readers can be copied. */
export interface StateReader {
  readonly part: Part
  /** First octets of a record, or none. */
  readonly kept: Uint8Array
  /** A newer writer: what is behind the last queue is its own. */
  readonly newer: boolean
  readonly flows: number
  readonly index: number
  /** Of the queue that `part` names: octets that are still to come; and of those that follow it. */
  readonly left: number
  readonly unsent: number
  readonly received: number
}
const NONE = new Uint8Array(0)
export const NEW_READER: StateReader = {
  part: 'header',
  kept: NONE,
  newer: false,
  flows: 0,
  index: 0,
  left: 0,
  unsent: 0,
  received: 0
}

const SIZES = {
  header: HEADER_LEN,
  addresses: ADDRESSES_LEN,
  count: COUNT_LEN,
  flows: FLOW_LEN,
  extended: EXTENDED_LEN
} as const
type Fixed = keyof typeof SIZES
const isFixed = (part: Part): part is Fixed => part in SIZES

type Emit = (e: StateEvent) => void
const nextFlow = (r: StateReader, emit: Emit): StateReader => {
  emit({ type: 'STATE_FLOW_END', index: r.index })
  if (r.index + 1 < r.flows) return { ...r, part: 'extended', index: r.index + 1 }
  emit({ type: 'STATE_END' })
  return { ...r, part: 'end' }
}
/** One whole record has come. */
const take = (r: StateReader, part: Fixed, o: Octets, emit: Emit): StateReader | string => {
  switch (part) {
    case 'header': {
      const header = readHeader(o)
      if (typeof header === 'string') return header
      emit({ type: 'STATE_HEADER', header })
      return { ...r, part: 'addresses', newer: header.version > STATE_VERSION }
    }
    case 'addresses': {
      const addresses = readAddresses(o)
      if (typeof addresses === 'string') return addresses
      emit({ type: 'STATE_ADDRESSES', addresses })
      return { ...r, part: 'count' }
    }
    case 'count': {
      const flows = readCount(o)
      if (typeof flows === 'string') return flows
      emit({ type: 'STATE_COUNT', flows })
      if (flows > 0) return { ...r, part: 'flows', flows }
      emit({ type: 'STATE_END' })
      return { ...r, part: 'end' }
    }
    case 'flows': {
      const flow = readFlow(o)
      if (typeof flow === 'string') return flow
      emit({ type: 'STATE_FLOW', index: r.index, flow })
      return r.index + 1 < r.flows ? { ...r, index: r.index + 1 } : { ...r, part: 'extended', index: 0 }
    }
    case 'extended': {
      const extended = readExtended(o)
      if (typeof extended === 'string') return `connection ${r.index}: ${extended}`
      emit({ type: 'STATE_EXTENDED', index: r.index, extended })
      if (extended.state === STATE_SKIP) return nextFlow(r, emit)
      const { sendQueue, unsent, receiveQueue } = extended
      return { ...r, part: 'sent', left: sendQueue - unsent, unsent, received: receiveQueue }
    }
  }
}
/** Behind a queue's last octet. */
const nextQueue = (r: StateReader, emit: Emit): StateReader => {
  if (r.part === 'sent') return { ...r, part: 'unsent', left: r.unsent }
  if (r.part === 'unsent') return { ...r, part: 'received', left: r.received }
  return nextFlow(r, emit)
}

/**
 * The next octets of the stream, however few; `emit` is told of what they complete, in order. A fault in words: what was read
 * cannot be trusted, nor anything behind it.
 * Law: what is told does not depend on where the stream is cut, queues' pieces put together.
 */
export const readState = (from: StateReader, o: Octets, emit: Emit): StateReader | string => {
  let r = from
  let at = 0
  for (;;) {
    const rest = o.len - at
    if (isFixed(r.part)) {
      const size = SIZES[r.part]
      const lacking = size - r.kept.length
      if (rest < lacking) {
        if (rest === 0) return r
        const kept = new Uint8Array(r.kept.length + rest)
        kept.set(r.kept)
        kept.set(bytesOf(sub(o, at)), r.kept.length)
        return { ...r, kept }
      }
      let whole = sub(o, at, lacking)
      if (r.kept.length > 0) {
        const joined = new Uint8Array(size)
        joined.set(r.kept)
        joined.set(bytesOf(whole), r.kept.length)
        whole = octets(joined)
      }
      at += lacking
      const next = take({ ...r, kept: NONE }, r.part, whole, emit)
      if (typeof next === 'string') return next
      r = next
    } else if (r.part === 'end') {
      return rest === 0 || r.newer ? r : 'octets behind the last connection'
    } else if (r.left === 0) {
      r = nextQueue(r, emit)
    } else {
      const n = Math.min(r.left, rest)
      if (n === 0) return r
      emit({ type: 'STATE_QUEUE', index: r.index, which: r.part, octets: sub(o, at, n) })
      at += n
      r = { ...r, left: r.left - n }
    }
  }
}

const NAMES: Readonly<Record<Part, string>> = {
  header: 'its header',
  addresses: 'the addresses',
  count: 'the number of connections',
  flows: 'the connections',
  extended: "a connection's socket",
  sent: 'a send queue',
  unsent: 'a send queue',
  received: 'a receive queue',
  end: ''
}
/** The stream has ended: what is missing, in words; null: nothing. */
export const endState = (r: StateReader): string | null =>
  r.part === 'end' ? null : `device state that ends within ${NAMES[r.part]}`
