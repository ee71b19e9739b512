import { add, distance, le, lt, max, type SeqNum, seq, sub } from '../../codecs/value/seq.js'
import { ACK, RST } from '../../codecs/wire/tcp.js'
import type { Effect } from '../../effects/effect.js'
import * as owed from './tcb-ack.js'
import { allowedEdge, takenAll, told, unconfirmed } from './tcb-rcv.js'
import type { Draft, Out, Tcb } from './tcp-tcb.js'

// What we acknowledge and offer to the guest: numbers of our ACKs, their windows, and when they go.

/** µs: below, what the peer acknowledges and what its kernel took is the same to a guest. */
const LOW_RTT = 1000
/** Octets. */
const WINDOW_MAX = 16 << 20

/**
 * Acknowledge all that the kernel took, rather than what the peer acknowledged? Where nobody could tell the difference
 * (short round trip), where nothing follows that could be delayed (a direction is closed), where we cannot know, and in
 * bulk, so that the guest keeps the send buffer full: over a twentieth of it is in flight (behaviour.md#tcp-acknowledgements).
 */
export const acksTaken = (t: Tcb): boolean =>
  t.minRtt < LOW_RTT ||
  t.rcvFin === 1 ||
  t.finSeq !== null ||
  !t.knowsAcked ||
  unconfirmed(t) * 20 >= t.sndBuf

/** Acknowledgement number due. Never goes back; never beyond what the kernel took (and FIN, when forwarded). */
export const ackNumber = (t: Tcb): SeqNum => max(t.rcvAcked, acksTaken(t) ? takenAll(t) : t.rcvConfirmed)

/**
 * How far the peer lets us go: what it acknowledged plus twice its window, so that the kernel always has a window's worth
 * at hand when the peer makes room.
 */
const peerEdge = (t: Tcb): SeqNum => add(t.rcvConfirmed, Math.min(2 * t.peerWnd, WINDOW_MAX))
export const peerLimited = (t: Tcb): boolean => t.knowsPeerWnd && lt(peerEdge(t), t.bufEdge)

/**
 * Octets less than which are not worth a window (RFC 9293 §3.8.6.2.2). A quarter of the buffer, not the RFC's half: the
 * kernel calls a socket writable at a third, and who waits for that must find enough then.
 */
export const worthwhile = (t: Tcb): number => {
  const worth = Math.max(1, Math.min(t.mss, t.sndBuf >> 2))
  return t.quantum > 0 ? Math.min(worth, t.quantum >> 1) : worth
}

/**
 * Right edge that the socket and a rate limit allow, at least the one we gave: never pulled back (RFC 9293 §3.8.6.2.1). That is no loss:
 * native keeps, up to this edge, what the kernel does not take.
 */
export const targetEdge = (t: Tcb): SeqNum => {
  const edge = allowedEdge(t, peerLimited(t) ? peerEdge(t) : t.bufEdge)
  const room = distance(edge, t.rcvNxt)
  // Less will do if nothing is queued that could make it more (#regression-74).
  const least = t.rcvConfirmed === t.rcvNxt ? 1 : worthwhile(t)
  return room < least ? t.rcvEdge : max(t.rcvEdge, add(t.rcvNxt, Math.min(room, WINDOW_MAX)))
}

/**
 * Window field behind `ack`. Rounded down to the scale, but up where that would pull the edge back, as Linux does
 * (RFC 7323 §2.4).
 */
export const windowField = (t: Tcb, ack: SeqNum, edge: SeqNum): number => {
  const wanted = Math.max(0, distance(edge, ack)) >> t.rcvScale
  const given = distance(t.rcvEdge, ack)
  const field = wanted << t.rcvScale < given ? (given + (1 << t.rcvScale) - 1) >> t.rcvScale : wanted
  return Math.min(field, 65535)
}
export const edgeOf = (t: Tcb, ack: SeqNum, field: number): SeqNum =>
  max(t.rcvEdge, add(ack, field << t.rcvScale))

/**
 * SEQ of a segment without payload: the highest SND.NXT even while we go back, lest the guest call it old; inside the
 * guest's window if that shrank.
 */
const bareSeq = (t: Tcb): SeqNum => {
  const end = add(t.sndUna, t.sndWnd)
  return lt(end, t.sndMax) ? end : t.sndMax
}

/** Noted whenever a segment with this acknowledgement and right edge went out. */
export const acked = (d: Draft, ack: SeqNum, edge: SeqNum): void => {
  told(d, ack, edge)
  owed.paid(d)
}

/** One segment without payload, with the newest acknowledgement and window. */
export const segment = (
  d: Draft,
  seq: SeqNum,
  flags: number,
  out: Out<'SegmentToTap'>,
  ack = ackNumber(d)
): void => {
  const wnd = windowField(d, ack, targetEdge(d))
  acked(d, ack, edgeOf(d, ack, wnd))
  out.push({ type: 'SegmentToTap', seq, ack, flags: flags | ACK, wnd, mss: null, windowScale: null })
}
export const pureAck = (d: Draft, out: Out<'SegmentToTap'>, ack?: SeqNum): void =>
  segment(d, bareSeq(d), 0, out, ack)

/**
 * Tell the guest that it is over. SEQ is the highest one sent: what the guest expects, or in its window; 0 if it was sent nothing yet (RFC
 * 9293 §3.5.2, group 1). Before its SYN has come there is nothing to acknowledge, and Linux in SYN-RECEIVED ignores a RST with a wrong ACK.
 */
export const resetToTap = (d: Draft, _: unknown, out: Out<'SegmentToTap'>): void => {
  out.push({
    type: 'SegmentToTap',
    seq: d.sndMax === d.iss ? seq(0) : d.sndMax,
    ack: d.heardSyn ? takenAll(d) : seq(0),
    flags: d.heardSyn ? RST | ACK : RST,
    wnd: 0,
    mss: null,
    windowScale: null
  })
}

/**
 * Is a window update worth a segment of its own? The guest's view must be stale by half (RFC 1122 §4.2.3.3). Less than a unit of the scale
 * cannot be said: the segment would repeat the one before.
 */
export const updateDue = (t: Tcb, edge: SeqNum): boolean => {
  const seen = distance(t.rcvEdge, t.rcvNxt)
  const room = distance(edge, t.rcvNxt)
  if (room === 0 || seen * 2 > room) return false
  const ack = ackNumber(t)
  return lt(t.rcvEdge, edgeOf(t, ack, windowField(t, ack, edge)))
}

/**
 * One ACK for each segment that came ahead of a gap, naming the octet that is missing: all that the kernel took, once the
 * outcome of what was handed over is known. In front of the turn's data, whose window may be newer.
 */
export const duplicates = (d: Draft, out: Out<'SegmentToTap'>): void => {
  if (d.dupsOwed === 0 || d.sending) return
  const all = max(d.rcvAcked, takenAll(d))
  if (d.rcvAcked !== all || updateDue(d, targetEdge(d))) pureAck(d, out, all)
  const wnd = windowField(d, all, d.rcvEdge)
  acked(d, all, edgeOf(d, all, wnd))
  const seq = bareSeq(d)
  const dup: Extract<Effect, { type: 'SegmentToTap' }> = {
    type: 'SegmentToTap',
    seq,
    ack: all,
    flags: ACK,
    wnd,
    mss: null,
    windowScale: null
  }
  for (let n = d.dupsOwed; n > 0; n--) out.push(dup)
  owed.duplicatesSent(d)
}

/**
 * The other ACKs of a turn. `carried`: a segment of this turn brings ACK and window anyway (or will have, when the peek's
 * result says so; if not, the next turn sends them).
 */
export const acknowledge = (d: Draft, now: number, carried: boolean, out: Out<'SegmentToTap'>): void => {
  const fresh = distance(ackNumber(d), d.rcvAcked)
  // An owed ACK waits for the answer's data only in a conversation, for less than two segments, and not long.
  const mayWait = d.pingPong >= owed.PING_PONG && d.unansweredAt > 0 && fresh < 2 * d.mss && d.rcvFin === 0
  if (carried) return
  if (d.ackNow || (fresh > 0 && !mayWait) || updateDue(d, targetEdge(d))) pureAck(d, out)
  else if (fresh > 0 && d.ackAt === 0) owed.wait(d, now + owed.ACK_DELAY)
}

/** Is `ack` one that we can have caused? RFC 5961 §5, RFC 9293 §3.10.7.4. */
export const ackAcceptable = (t: Tcb, ack: SeqNum): boolean =>
  le(ack, t.sndMax) && le(sub(t.sndUna, t.maxSndWnd), ack)
