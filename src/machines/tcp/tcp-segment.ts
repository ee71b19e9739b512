import { add, distance, le, lt, max } from '../../codecs/value/seq.js'
import { ACK, FIN, RST, SYN, type TcpSegment } from '../../codecs/wire/tcp.js'
import { pieces } from '../../codecs/wire/vnet.js'
import type { Effect } from '../../effects/effect.js'
import { ackAcceptable, acksTaken, mayChallenge, peerLimited, pureAck } from './tcp-ack.js'
import { type Draft, DUPS_MAX, RTO_MAX, RTO_MIN, type SegmentEvent, type Tcb, UNLIMITED } from './tcp-tcb.js'

// What a segment from the guest means in a synchronized state, and what it does to the numbers.

/**
 * The decision of RFC 9293 §3.10.7.4, with RFC 5961, by name.
 * reset: RST exactly where we stand. challenge: tell where we stand, believe nothing. ignore: counted.
 * unacceptable: nothing new, or nothing that fits; take its ACK and window, answer. ahead: something is missing in front.
 * accept: in order, or has no data; payload partly old or beyond the window is trimmed.
 */
export type Disposition = 'accept' | 'ahead' | 'unacceptable' | 'challenge' | 'reset' | 'ignore'

/** Farther than any window from RCV.NXT: not from this connection. */
const FAR = 1 << 25

export const disposition = (t: Tcb, s: TcpSegment): Disposition => {
  const from = distance(s.seq, t.rcvNxt)
  if (s.flags & RST) {
    // RFC 5961 §3.2. A guest that lost the connection resets at the number we acknowledged, which may lag RCV.NXT.
    if (from === 0 || s.seq === t.rcvAcked) return 'reset'
    return le(t.rcvAcked, s.seq) && lt(s.seq, t.rcvEdge) ? 'challenge' : 'ignore'
  }
  if (s.flags & SYN) return 'challenge' // RFC 5961 §4.2
  if (!(s.flags & ACK)) return 'ignore'
  if (!ackAcceptable(t, s.ack) || from > FAR || from < -FAR) return 'challenge'
  const len = s.payload.len
  const room = distance(t.rcvEdge, t.rcvNxt)
  if (len === 0 && !(s.flags & FIN))
    return from === 0 || (from > 0 && from <= room) ? 'accept' : 'unacceptable'
  const end = from + len + (s.flags & FIN ? 1 : 0)
  if (end <= 0 || t.rcvFin === 1) return 'unacceptable'
  if (from > 0) return from < room ? 'ahead' : 'unacceptable'
  // A FIN alone fits even into a closed window: it takes no room.
  const fresh = from + len
  if (fresh <= 0) return 'accept'
  return room > 0 && t.finAt === null ? 'accept' : 'unacceptable'
}

/** The guest's FIN has come and nothing in front of it is still on its way into the kernel (#regression-69). */
export const guestFinDue = (t: Tcb): boolean => t.finAt !== null && t.finAt === t.rcvTaken && !t.sending
/** The host's stream has ended: our FIN's place is known. */
export const hostEnded = (t: Tcb): boolean => t.finSeq !== null
export const ourFinAcked = (t: Tcb): boolean => t.finSeq !== null && lt(t.finSeq, t.sndUna)

/** Octets of data (not FIN) sent and not acknowledged. */
export const dataInFlight = (t: Tcb): number =>
  distance(t.finSeq !== null && lt(t.finSeq, t.sndMax) ? t.finSeq : t.sndMax, t.sndUna)

/** Go-back-N to the recorded SND.UNA (#regression-24), FIN included (#regression-67). */
export const goBack = (d: Draft): void => {
  d.sndNxt = d.sndUna
  d.rewind = true
  d.resend = d.sndUna !== d.sndMax
  d.timedAt = 0 // Karn: RFC 6298 (3)
}

/** RFC 6298 (2.2), (2.3); `r` in ms. */
const measure = (d: Draft, r: number): void => {
  if (d.srtt === 0) {
    d.srtt = r
    d.rttvar = r / 2
  } else {
    d.rttvar = 0.75 * d.rttvar + 0.25 * Math.abs(d.srtt - r)
    d.srtt = 0.875 * d.srtt + 0.125 * r
  }
  d.rto = Math.min(RTO_MAX, Math.max(RTO_MIN, d.srtt + 4 * d.rttvar))
}

/** SND.UNA moves to SEG.ACK. */
export const progress = (d: Draft, s: TcpSegment, now: number): void => {
  const octets = distance(s.ack, d.sndUna)
  d.sndUna = s.ack
  if (lt(d.sndNxt, s.ack)) {
    d.sndNxt = s.ack
    d.rewind = true
  }
  if (d.sndNxt === d.sndMax) d.resend = false
  if (d.timedAt > 0 && le(d.timedSeq, s.ack)) {
    measure(d, Math.max(0.001, now - d.timedAt))
    d.timedAt = 0
  }
  if (d.cwnd < UNLIMITED) d.cwnd += octets // slow start, RFC 5681 §3.1
  d.dupAcks = 0
  d.backoff = 0
  d.fails = 0
  d.stuckAt = 0
  d.rtoAt = 0 // RFC 6298 (5.3): started anew at the end of the turn, if anything is left
}

/** SEG.ACK and SEG.WND of a segment whose ACK is acceptable. */
const takeAck = (d: Draft, s: TcpSegment, now: number, accepted: boolean): void => {
  const wnd = s.wnd << d.sndScale
  if (lt(d.sndUna, s.ack)) progress(d, s, now)
  else if (s.ack === d.sndUna) {
    // RFC 5681 §2: no data, no FIN, same window, data outstanding (#regression-3, #regression-62, #regression-93).
    const duplicate =
      accepted &&
      s.payload.len === 0 &&
      !(s.flags & FIN) &&
      wnd === d.sndWnd &&
      wnd > 0 &&
      dataInFlight(d) > 0
    if (duplicate) d.dupAcks++
    if (duplicate && d.dupAcks === 3 && lt(d.recover, d.sndUna)) {
      d.recover = d.sndMax
      d.cwnd = d.mss
      goBack(d)
    }
  }
  // SND.WL1, SND.WL2 (RFC 9293 §3.10.7.4), but a keep-alive's window counts although its SEQ is old (#regression-54).
  const newer = lt(d.sndWl1, s.seq) || lt(d.sndWl2, s.ack) || (d.sndWl1 === s.seq && d.sndWl2 === s.ack)
  if (s.ack === d.sndUna && (newer || s.seq === add(d.rcvNxt, -1))) {
    const opened = d.sndWnd === 0 && wnd > 0
    d.sndWnd = wnd
    d.maxSndWnd = Math.max(d.maxSndWnd, wnd)
    d.sndWl1 = max(d.sndWl1, s.seq)
    d.sndWl2 = s.ack
    // The guest dropped what it had window for (#regression-34), or our probe: again from SND.UNA, when there is a window.
    if ((opened || wnd === 0) && d.sndNxt !== d.sndUna) goBack(d)
    if (opened) d.rtoAt = 0 // what goes now gets a time-out of its own
  }
  if (d.sndWnd === 0) {
    // It answers our probes: alive (#regression-57).
    d.fails = 0
    d.stuckAt = 0
  }
}

/** Payload and FIN as far as they are in order and in the window. */
export const takePayload = (d: Draft, s: TcpSegment, now: number, out: Effect[]): void => {
  const old = Math.max(0, -distance(s.seq, d.rcvNxt))
  const fresh = s.payload.len - old
  const n =
    d.finAt !== null || distance(s.seq, d.rcvNxt) > 0 ? 0 : Math.min(fresh, distance(d.rcvEdge, d.rcvNxt))
  if (n > 0) {
    // Ask for the peer's acknowledgement where ours to the guest, or its window, hangs on it.
    const reportAck = !acksTaken(d) || peerLimited(d)
    out.push({ type: 'SendToSock', payload: { off: s.payload.off + old, len: n }, reportAck })
    d.rcvNxt = add(d.rcvNxt, n)
    d.sending = true
    if (d.unansweredAt > 0) d.pingPong = 0 // data upon data: no conversation
    d.unansweredAt = now
  }
  if (n < fresh) d.ackNow = true
  else if (s.flags & FIN && fresh >= 0 && add(s.seq, s.payload.len) === d.rcvNxt && d.rcvFin === 0)
    d.finAt = d.rcvNxt
}

const heard = (d: Draft, now: number): void => {
  d.tapAliveAt = now
}

/** `accept` */
export const receive = (d: Draft, { seg, now }: SegmentEvent, out: Effect[]): void => {
  heard(d, now)
  d.tapAt = 0
  takeAck(d, seg, now, true)
  takePayload(d, seg, now, out)
}

/**
 * `ahead`: its payload is not kept; one duplicate ACK for each, so that three are three (RFC 5681 §3.2), and a guest without
 * SACK knows that the others are no longer on their way (NewReno's estimate; RFC 6582), or it waits for a time-out.
 */
export const receiveAhead = (d: Draft, { seg, segment = 0, now }: SegmentEvent): void => {
  heard(d, now)
  takeAck(d, seg, now, true)
  d.dupsOwed = Math.min(d.dupsOwed + pieces(seg.payload.len, segment), DUPS_MAX)
}

/**
 * `unacceptable`: #regression-43, #regression-54, #regression-H. A keep-alive is passed on to the peer
 * (behaviour.md#tcp-keep-alive).
 */
export const receiveUnacceptable = (d: Draft, { seg, now }: SegmentEvent, out: Effect[]): void => {
  heard(d, now)
  takeAck(d, seg, now, false)
  const empty = seg.payload.len === 0 && !(seg.flags & FIN)
  if (!empty || mayChallenge(d, now)) d.ackNow = true
  if (seg.payload.len <= 1 && seg.seq === add(d.rcvNxt, -1) && !d.keepAlive) {
    d.keepAlive = true
    out.push({ type: 'KeepAlive' })
  }
  // It probes a window that we hold closed: look again.
  if (d.rcvEdge === d.rcvNxt && seg.payload.len > 0) d.pollNow = true
}

/** `challenge` (RFC 5961) */
export const challenge = (d: Draft, { now }: { readonly now: number }, out: Effect[]): void => {
  heard(d, now)
  if (mayChallenge(d, now)) pureAck(d, out)
  else out.push({ type: 'Count', what: 'tcp-challenge-suppressed' })
}

/** The guest's FIN goes to the peer; its ACK follows at once. */
export const forwardFin = (d: Draft, _: unknown, out: Effect[]): void => {
  d.rcvNxt = add(d.rcvNxt, 1)
  d.rcvFin = 1
  d.finAt = null
  d.ackNow = true
  out.push({ type: 'ShutdownWr' })
}
