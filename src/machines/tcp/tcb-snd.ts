import { add, distance, le, lt, max, type SeqNum, seq } from '../../codecs/value/seq.js'
import type { Own } from './tcb-group.js'

// Group `snd`: the stream towards the guest, SND of RFC 9293 §3.3.1, and the peek that carries it there.
//
//     discarded <= SND.UNA <= SND.NXT <= sndMax      (SND.NXT goes back to SND.UNA for a retransmission)

/** Octets. No limit but the guest's window. */
export const UNLIMITED = 1 << 30

/**
 * The booleans are what a turn has found out and its end acts on (tcp-output.ts), or a call under way. Each may be true in any
 * state of `open`, with or without the others: they decide what is sent, never how an event is answered.
 */
export interface Snd {
  /** SND.UNA: oldest octet that the guest has not acknowledged. */
  readonly sndUna: SeqNum
  /** SND.NXT: next one to send. */
  readonly sndNxt: SeqNum
  /** Highest SND.NXT ever. */
  readonly sndMax: SeqNum
  /** SND.WND, octets: what the guest offers. */
  readonly sndWnd: number
  /** Largest SND.WND ever: MAX.SND.WND of RFC 5961 §5. */
  readonly maxSndWnd: number
  /** SND.WL1, SND.WL2: SEG.SEQ and SEG.ACK of the segment that brought SND.WND. */
  readonly sndWl1: SeqNum
  readonly sndWl2: SeqNum
  /** Duplicate ACKs in a row (RFC 5681 §2). */
  readonly dupAcks: number
  /** No fast retransmit up to this one (RFC 6582 §3.2). */
  readonly recover: SeqNum
  /** cwnd of RFC 5681, octets in flight allowed after a loss; UNLIMITED before the first. */
  readonly cwnd: number
  /** SND.NXT has moved without a peek: native's peek offset must follow before the next one. */
  readonly rewind: boolean
  /** Data in [SND.NXT, sndMax) is due again, whatever the socket says of new data. */
  readonly resend: boolean
  /** In this turn one octet or a FIN may go although the window is closed (RFC 9293 §3.8.6.1). */
  readonly probe: boolean
  /** Sequence number of the first octet in the socket's receive queue. */
  readonly discarded: SeqNum
  /** Sequence number of our FIN, once the end of the stream was seen. */
  readonly finSeq: SeqNum | null
  /** The socket has told of data, or its end, that no peek has found yet. */
  readonly readable: boolean
  /** A PeekToTap is under way, from here, with this acknowledgement and right edge. */
  readonly peeking: boolean
  readonly peekSeq: SeqNum
  readonly peekAck: SeqNum
  readonly peekEdge: SeqNum
}
type D = Own<Snd>

const ZERO = seq(0)
export const SND: Snd = {
  sndUna: ZERO,
  sndNxt: ZERO,
  sndMax: ZERO,
  sndWnd: 0,
  maxSndWnd: 0,
  sndWl1: ZERO,
  sndWl2: ZERO,
  dupAcks: 0,
  recover: ZERO,
  cwnd: UNLIMITED,
  rewind: false,
  resend: false,
  probe: false,
  discarded: ZERO,
  finSeq: null,
  readable: false,
  peeking: false,
  peekSeq: ZERO,
  peekAck: ZERO,
  peekEdge: ZERO
}

export const start = (d: D, iss: SeqNum): void => {
  d.sndUna = iss
  d.sndNxt = iss
  d.sndMax = iss
  d.sndWl2 = iss
  d.recover = iss
  d.discarded = add(iss, 1)
  d.peekSeq = iss
}
/** A connection that was open elsewhere. What was in flight is on its way to the guest, or lost, like anywhere. */
export const takeOver = (
  d: D,
  from: Pick<Snd, 'sndUna' | 'sndMax' | 'sndWnd' | 'discarded' | 'finSeq'>,
  wl1: SeqNum
): void => {
  d.sndUna = from.sndUna
  d.sndNxt = from.sndMax
  d.sndMax = from.sndMax
  d.sndWnd = from.sndWnd
  d.maxSndWnd = Math.max(from.sndWnd, distance(from.sndMax, from.sndUna))
  d.sndWl1 = wl1
  d.sndWl2 = from.sndUna
  d.recover = add(from.sndUna, -1)
  d.discarded = from.discarded
  d.finSeq = from.finSeq
  d.peekSeq = from.sndMax
}
/** The host's stream ends there: known before all of it was peeked. */
export const endsAt = (d: D, fin: SeqNum): void => {
  d.finSeq = fin
}
/** A peek that was under way has sent nothing, and native has forgotten its offset. */
export const forgetPeek = (d: D): void => {
  d.peeking = false
  d.rewind = true
}
/** Data may be there that no peek has found: more than was sent, if the end of the stream is known. */
export const dataCame = (d: D): void => {
  d.readable = d.finSeq === null || lt(d.sndMax, d.finSeq)
}

/** The window of the guest's SYN or SYN,ACK, never scaled (RFC 7323 §2.2), and its SEG.SEQ. */
export const synWindow = (d: D, wnd: number, wl1: SeqNum): void => {
  d.sndWnd = wnd
  d.maxSndWnd = wnd
  d.sndWl1 = wl1
}
/** Our SYN went out, or went out again. */
export const synSent = (d: D, iss: SeqNum): void => {
  d.sndNxt = add(iss, 1)
  d.sndMax = d.sndNxt
}
/** The segment that completes the handshake: its window, and what it acknowledges. */
export const establish = (d: D, wnd: number, wl2: SeqNum): void => {
  d.sndWnd = wnd
  d.maxSndWnd = Math.max(d.maxSndWnd, wnd)
  d.sndWl2 = wl2
}

/** SND.UNA moves forward, to `ack`, over `octets`. */
export const acknowledged = (d: D, ack: SeqNum, octets: number): void => {
  d.sndUna = ack
  if (lt(d.sndNxt, ack)) {
    d.sndNxt = ack
    d.rewind = true
  }
  if (d.sndNxt === d.sndMax) d.resend = false
  if (d.cwnd < UNLIMITED) d.cwnd += octets // slow start, RFC 5681 §3.1
  d.dupAcks = 0
}
/** One more duplicate ACK. Is it the third, and of a loss that is not mended already (RFC 5681 §3.2, RFC 6582 §3.2)? */
export const duplicateAck = (d: D, mss: number): boolean => {
  d.dupAcks++
  if (d.dupAcks !== 3 || !lt(d.recover, d.sndUna)) return false
  d.recover = d.sndMax
  d.cwnd = mss
  return true
}
/** SND.WND := `wnd`. Did it open? */
export const takeWindow = (d: D, wnd: number, wl1: SeqNum, wl2: SeqNum): boolean => {
  const opened = d.sndWnd === 0 && wnd > 0
  d.sndWnd = wnd
  d.maxSndWnd = Math.max(d.maxSndWnd, wnd)
  d.sndWl1 = max(d.sndWl1, wl1)
  d.sndWl2 = wl2
  return opened
}
/** Go-back-N to the recorded SND.UNA (#regression-24), FIN included (#regression-67). */
export const goBack = (d: D): void => {
  d.sndNxt = d.sndUna
  d.rewind = true
  d.resend = d.sndUna !== d.sndMax
}
/** The retransmission timer's: cwnd is one segment (RFC 5681 §3.1), unless it is a closed window that is probed. */
export const timedOut = (d: D, mss: number): void => {
  goBack(d)
  d.recover = d.sndMax
  d.dupAcks = 0
  d.probe = d.sndWnd === 0
  if (!d.probe) d.cwnd = mss
}
export const probed = (d: D): void => {
  d.probe = false
}

/** The queue in front of `end` was dropped. */
export const discardedTo = (d: D, end: SeqNum): void => {
  d.discarded = end
}
/** A peek begins at SND.NXT. */
export const peek = (d: D, ack: SeqNum, edge: SeqNum): void => {
  d.rewind = false
  d.peeking = true
  d.peekSeq = d.sndNxt
  d.peekAck = ack
  d.peekEdge = edge
}
/** It has sent what is in front of `end`. Unless SND.NXT was moved meanwhile, that is where it is. */
export const peekDone = (d: D, end: SeqNum): void => {
  d.peeking = false
  if (!d.rewind) d.sndNxt = max(d.sndUna, end)
  d.sndMax = max(d.sndMax, end)
}
/** What the peek up to `end` tells of the queue: it ends there; there is no more just now; nothing was there at all. */
export const queueSeen = (d: D, end: SeqNum, eof: boolean, drained: boolean, nothing: boolean): void => {
  if (eof && d.finSeq === null) d.finSeq = end
  if (eof || drained || nothing) d.readable = false
  // Less than was there before? Then only a time-out asks again, not every turn (#regression-62).
  if (!d.rewind && (nothing || !lt(d.sndNxt, d.sndMax))) d.resend = false
}
/** Our FIN goes out, at `fin`. Is it for the first time? */
export const finSent = (d: D, fin: SeqNum): boolean => {
  const first = le(d.sndMax, fin)
  d.sndNxt = add(fin, 1)
  d.sndMax = max(d.sndMax, d.sndNxt)
  return first
}
