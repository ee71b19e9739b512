import {
  type ExtendedRecord,
  FLOW_ACK_FROM_TAP_DUE,
  FLOW_ACK_TO_TAP_DUE,
  FLOW_ESTABLISHED,
  FLOW_LOCAL,
  FLOW_SOCK_FIN_CAME,
  FLOW_SOCK_FIN_SENT,
  FLOW_STALLED,
  FLOW_TAP_BLOCKS,
  FLOW_TAP_FIN_ACKED,
  FLOW_TAP_FIN_CAME,
  FLOW_TAP_FIN_SENT,
  type FlowRecord,
  ON_HOST,
  ON_TAP,
  QUEUE_MAX,
  type SideRecord,
  TCPI_SACK,
  TCPI_TIMESTAMPS,
  TCPI_WSCALE
} from '../../codecs/control/migration.js'
import { isV4 } from '../../codecs/value/inany.js'
import { add, distance, lt, max, type SeqNum, seq } from '../../codecs/value/seq.js'
import { ACK, RST } from '../../codecs/wire/tcp.js'
import type { Restoring, SocketDump } from '../../effects/hand-over.js'
import { ackNumber } from './tcp-ack.js'
import { ourFinAcked } from './tcp-segment.js'
import type { Moved, Tcb } from './tcp-tcb.js'

// A connection as another passt reads it, and one as another passt wrote it (codecs/control/migration.ts). Two sets of numbers move:
// those on the guest's link, of the block; and those of the host's socket, which its kernel tells in repair mode (tcp(7),
// linux/tcp.h), and which another socket is given.
//
// What kernels count: SIOCOUTQ and SIOCOUTQNSD count our FIN until it is acknowledged, SIOCINQ never counts the peer's. The ends
// of both queues, as TCP_QUEUE_SEQ tells them, lie behind a FIN. In an extended record our FIN stands directly behind the send queue,
// acknowledged or not, and the peer's directly behind the receive queue.

// TCP_INFO, tcpi_state (linux/tcp_states.h)
const ESTABLISHED = 1
const FIN_WAIT1 = 4
const FIN_WAIT2 = 5
const TIME_WAIT = 6
const CLOSE = 7
const CLOSE_WAIT = 8
const LAST_ACK = 9
const CLOSING = 11
/** Our FIN is sent, or queued, and not acknowledged. */
const FIN_OUT: readonly number[] = [FIN_WAIT1, LAST_ACK, CLOSING]
/** It is acknowledged. Where both have finished the kernel has no connection any more, and calls it closed. */
const FIN_ACKED: readonly number[] = [FIN_WAIT2, TIME_WAIT, CLOSE]
/** The peer's FIN has come. */
const FIN_CAME: readonly number[] = [CLOSE_WAIT, LAST_ACK, CLOSING, TIME_WAIT, CLOSE]
const MOVABLE: readonly number[] = [ESTABLISHED, CLOSE_WAIT, ...FIN_OUT, ...FIN_ACKED]

/** Both ends of each side, ours first. */
export interface Ends {
  readonly host: Omit<SideRecord, 'where'>
  readonly tap: Omit<SideRecord, 'where'>
}

// --- what is written

const bit = (is: boolean, mask: number): number => (is ? mask : 0)
/** Octets: of the units in which a send buffer is told. */
const SND_BUF_UNIT = 256

/**
 * Of a connection that is open, and frozen. SND.UNA is where the socket's receive queue begins: what the guest has acknowledged
 * and nobody dropped yet counts as not acknowledged.
 */
export const flowRecordOf = (t: Tcb, { host, tap }: Ends): FlowRecord => {
  const acked = ourFinAcked(t) && t.discarded === t.finSeq
  const sndUna = acked ? t.sndUna : t.discarded
  const rcvNxt = add(t.rcvTaken, t.rcvFin)
  const onHost = { where: ON_HOST, ...host }
  const onTap = { where: ON_TAP, ...tap }
  const room = Math.max(0, distance(t.rcvEdge, t.rcvAcked))
  return {
    sides: t.fromHost ? [onHost, onTap] : [onTap, onHost],
    retries: Math.min(t.fails, 7),
    guestScale: t.sndScale,
    ourScale: t.rcvScale,
    events:
      FLOW_ESTABLISHED |
      bit(t.finSeq !== null, FLOW_SOCK_FIN_CAME) |
      bit(t.rcvFin === 1, FLOW_TAP_FIN_CAME | FLOW_SOCK_FIN_SENT) |
      bit(t.finSeq !== null && lt(t.finSeq, t.sndMax), FLOW_TAP_FIN_SENT) |
      bit(acked, FLOW_TAP_FIN_ACKED),
    mss: t.mss & ~3, // readers keep it in units of 4
    sndBuf: Math.floor(t.sndBuf / SND_BUF_UNIT),
    flags:
      bit(!t.readable, FLOW_STALLED) |
      bit(t.minRtt < 1000, FLOW_LOCAL) |
      bit(ackNumber(t) !== t.rcvAcked, FLOW_ACK_TO_TAP_DUE) |
      bit(sndUna !== t.sndMax, FLOW_ACK_FROM_TAP_DUE) |
      bit(t.sndWnd === 0, FLOW_TAP_BLOCKS),
    dupAck: t.rcvAcked & 0xff,
    guestWindow: Math.min(65535, t.sndWnd >> t.sndScale),
    // up, not down: the right edge never moves back
    ourWindow: Math.min(65535, (room + (1 << t.rcvScale) - 1) >> t.rcvScale),
    sndNxt: t.sndMax,
    sndUna,
    rcvNxt,
    rcvAcked: t.rcvAcked,
    irs: t.irs
  }
}

/** Of its socket; null: what was read of it is not what it has, or it cannot go on anywhere. */
export const extendedOf = (s: SocketDump, t: Pick<Tcb, 'rcvFin'>): ExtendedRecord | null => {
  const finOut = FIN_OUT.includes(s.state) ? 1 : 0
  const finAcked = FIN_ACKED.includes(s.state) ? 1 : 0
  const finCame = FIN_CAME.includes(s.state) ? 1 : 0
  if (!MOVABLE.includes(s.state) || finOut + finAcked > t.rcvFin) return null
  const sendQueue = s.outq - finOut
  const unsent = s.outqNsd === 0 ? 0 : s.outqNsd - finOut
  if (s.sndKept !== sendQueue || s.rcvKept !== s.inq) return null
  if (unsent < 0 || unsent > sendQueue || Math.max(s.sndKept, s.rcvKept) > QUEUE_MAX) return null
  const sndSeq = seq(s.sndSeq - s.outq - finAcked)
  const rcvSeq = seq(s.rcvSeq - s.inq - finCame)
  // A peer's FIN is not told to the next kernel, which knows no acknowledgement of it either.
  const rcvNxt = add(rcvSeq, s.inq)
  const beyond = Math.max(0, distance(seq(s.window.rcvWup), rcvNxt))
  const { sndWl1, sndWnd, maxWindow, rcvWnd, rcvWup } = s.window
  return {
    sndSeq,
    rcvSeq,
    sendQueue,
    unsent,
    receiveQueue: s.inq,
    mss: s.maxSeg,
    timestamp: s.timestamp,
    window: [sndWl1, sndWnd, maxWindow, (rcvWnd + beyond) >>> 0, (rcvWup - beyond) >>> 0],
    sendScale: s.sndScale,
    receiveScale: s.rcvScale,
    state: s.state === TIME_WAIT || s.state === CLOSE ? LAST_ACK : s.state,
    options: s.options & (TCPI_TIMESTAMPS | TCPI_SACK | TCPI_WSCALE)
  }
}

// --- what is read

/** Octets. No stream is that far ahead, no window that wide. */
const FAR = 1 << 25
const MAX_SCALE = 14 // RFC 7323 §2.3

const isEnd = (s: SideRecord): boolean => isV4(s.own) === isV4(s.peer) && s.ownPort !== 0 && s.peerPort !== 0
/** Addresses of both sides, and who began; null: no connection between the host and the guest. */
export const endsOf = (r: FlowRecord): (Ends & { readonly fromHost: boolean }) | null => {
  const [first, second] = r.sides
  const fromHost = first.where === ON_HOST
  const [host, tap] = fromHost ? [first, second] : [second, first]
  if (host.where !== ON_HOST || tap.where !== ON_TAP) return null
  if (!isEnd(host) || !isEnd(tap) || isV4(host.own) !== isV4(tap.own)) return null
  return { host, tap, fromHost }
}

/** What the machine starts from; in words, why there is no such connection. */
export const movedOf = (r: FlowRecord): Moved | string => {
  const ends = endsOf(r)
  if (ends === null) return 'it is not between host and guest'
  const has = (mask: number): boolean => (r.events & mask) === mask
  if (!has(FLOW_ESTABLISHED)) return 'it is not established'
  if (r.guestScale > MAX_SCALE || r.ourScale > MAX_SCALE) return 'its window scale cannot be'
  const finAcked = has(FLOW_TAP_FIN_ACKED)
  const finSent = finAcked || has(FLOW_TAP_FIN_SENT)
  const flight = distance(r.sndNxt, r.sndUna)
  if (flight < 0 || flight > FAR || (finAcked && flight !== 0)) return 'its SND numbers contradict each other'
  const finSeq = finSent ? add(r.sndNxt, -1) : null
  // A FIN that the guest has sent, and nobody has passed on: it is due.
  const rcvFin = has(FLOW_TAP_FIN_CAME | FLOW_SOCK_FIN_SENT) ? 1 : 0
  const finDue = rcvFin === 0 && has(FLOW_TAP_FIN_CAME)
  const rcvTaken = add(r.rcvNxt, finDue ? -1 : -rcvFin)
  const owed = distance(r.rcvNxt, r.rcvAcked)
  if (owed < 0 || owed > FAR) return 'its RCV numbers contradict each other'
  const rcvAcked = finDue && owed === 0 ? rcvTaken : r.rcvAcked
  const edge = add(r.rcvAcked, Math.min(r.ourWindow << r.ourScale, FAR >> 1))
  return {
    fromHost: ends.fromHost,
    mss: r.mss,
    sndScale: r.guestScale,
    rcvScale: r.ourScale,
    iss: add(r.sndUna, -1),
    irs: r.irs,
    sndUna: r.sndUna,
    sndMax: r.sndNxt,
    sndWnd: r.guestWindow << r.guestScale,
    discarded: finAcked ? add(r.sndUna, -1) : r.sndUna,
    finSeq,
    rcvTaken,
    rcvAcked,
    rcvEdge: max(edge, rcvTaken),
    rcvFin,
    finAt: finDue ? rcvTaken : null
  }
}

/** Send queues that are no longer fit what a new socket takes. */
const SND_SMALL = 4096
/**
 * How far timestamps of the new socket are ahead of those that the old one had when it was read. That one goes on living, with its timers: a
 * delayed ACK or a retransmission of its has a later timestamp, and the peer drops whatever comes with an older one (RFC 7323 §5.3, PAWS).
 * Both clocks run alike, so it is enough that it covers the time from reading to making: with fewer flows than some thousand less than a second.
 * A second, in ticks: 1 ms, or 1 µs where the lowest bit of TCP_TIMESTAMP says so (Linux 6.7, route feature tcp_usec_ts), which stays as it is. An older
 * kernel's lowest bit says nothing: 1,000 s are as good there, since up to 24 days pass for later (RFC 7323 §5.5).
 */
const timestampAhead = (timestamp: number): number => ((timestamp & 1) === 0 ? 1000 : 1_000_000)

/** Both records of a connection; in words, why they do not make one. */
export const restoringOf = (r: FlowRecord, x: ExtendedRecord): Restoring | string => {
  const ends = endsOf(r)
  const m = movedOf(r)
  if (typeof m === 'string') return m
  if (ends === null) return 'it is not between host and guest'
  if (!MOVABLE.includes(x.state)) return `its socket is in state ${x.state}`
  const finished = FIN_OUT.includes(x.state) || FIN_ACKED.includes(x.state)
  if (finished && m.rcvFin === 0) return 'its socket has finished, and the guest has not'
  const ended = FIN_CAME.includes(x.state)
  if (m.finSeq !== null && !ended) return 'its guest was told of an end that did not come'
  const inFlight = distance(m.finSeq ?? m.sndMax, m.discarded)
  if (m.finSeq === null ? inFlight > x.receiveQueue : inFlight !== x.receiveQueue)
    return 'its receive queue is not what the guest was sent'
  const [sndWl1, sndWnd, maxWindow, rcvWnd, rcvWup] = x.window
  const sndBuf = x.sendQueue <= SND_SMALL ? 0 : Math.max(2 * x.sendQueue, r.sndBuf * SND_BUF_UNIT)
  const shutInRepair = x.state === FIN_WAIT2
  return {
    socket: {
      own: ends.host.own,
      ownPort: ends.host.ownPort,
      peer: ends.host.peer,
      peerPort: ends.host.peerPort,
      sndSeq: x.sndSeq >>> 0,
      rcvSeq: x.rcvSeq >>> 0,
      maxSeg: x.mss,
      timestamp: (x.options & TCPI_TIMESTAMPS) === 0 ? 0 : (x.timestamp + timestampAhead(x.timestamp)) >>> 0,
      window: { sndWl1, sndWnd, maxWindow, rcvWnd, rcvWup },
      sndScale: x.sendScale,
      rcvScale: x.receiveScale,
      options: x.options,
      sndBuf: Math.min(sndBuf, 2 * QUEUE_MAX),
      sndOctets: x.sendQueue
    },
    shutInRepair,
    shutAtRun: m.rcvFin === 1 && !shutInRepair,
    peekOffset: inFlight,
    unacked: x.sendQueue,
    unread: x.receiveQueue,
    ended
  }
}

/** The RST for a guest whose connection was lost: as from the connection itself (tcp-ack.ts, resetToTap). */
export const resetOf = (
  r: FlowRecord
): { readonly seq: SeqNum; readonly ack: SeqNum; readonly flags: number } => ({
  seq: r.sndNxt,
  ack: r.rcvNxt,
  flags: RST | ACK
})
