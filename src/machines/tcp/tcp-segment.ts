import { add, distance, le, lt } from '../../codecs/value/seq.js'
import { ACK, FIN, RST, SYN, type TcpSegment } from '../../codecs/wire/tcp.js'
import { pieces } from '../../codecs/wire/vnet.js'
import { by, type Source } from '../source.js'
import * as owed from './tcb-ack.js'
import { keptAlive } from './tcb-peer.js'
import * as rcv from './tcb-rcv.js'
import * as rtx from './tcb-rtx.js'
import * as snd from './tcb-snd.js'
import * as wake from './tcb-wake.js'
import { ackAcceptable, acksTaken, peerLimited, pureAck } from './tcp-ack.js'
import type { Draft, Out, SegmentEvent, Tcb } from './tcp-tcb.js'

// What a segment from the guest means in a synchronized state, and what it does to the numbers.

/** The decision of RFC 9293 §3.10.7.4, with RFC 5961, by name. */
export type Disposition = 'accept' | 'ahead' | 'unacceptable' | 'challenge' | 'reset' | 'ignore'
export const DISPOSITIONS: Readonly<Record<Disposition, Source & { readonly means: string }>> = {
  accept: {
    means: 'in order, or has no data; payload that is partly old or beyond the window is trimmed',
    ...by('RFC 9293 §3.10.7.4, fifth, seventh, eighth', 55, 'A')
  },
  ahead: {
    means: 'something is missing in front; nothing of it is kept',
    ...by('RFC 9293 §3.10.7.4, first; RFC 5681 §3.2')
  },
  unacceptable: {
    means: 'nothing new, or nothing that fits; its ACK and window count, and it is answered',
    ...by('RFC 9293 §3.10.7.4, first', 43, 54, 'H')
  },
  challenge: {
    means:
      'a RST in the window but not exact, a SYN, an ACK of what we did not send, a number far off: answered, not believed',
    ...by('RFC 5961 §3.2, §4.2, §5.2', 'I')
  },
  reset: {
    means: 'a RST exactly where we are, or at the last number that we acknowledged',
    ...by('RFC 5961 §3.2', 'I')
  },
  ignore: {
    means: 'a RST outside the window, or a segment without ACK: counted',
    ...by('RFC 9293 §3.10.7.4, first and fifth; RFC 5961 §3.2', 'I')
  }
}

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

/** Is it of this connection, as far as its numbers tell? Of none that is answered by a challenge, or not at all. */
export const isBelieved = (t: Tcb, s: TcpSegment): boolean => {
  if (!t.heardSyn) return (s.flags & ACK) === 0 || s.ack === add(t.iss, 1)
  if (s.flags & SYN) return s.seq === t.irs // again
  const d = disposition(t, s)
  return d !== 'challenge' && d !== 'ignore'
}

/** The guest's FIN has come and nothing in front of it is still on its way into the kernel (#regression-69). */
export const guestFinDue = (t: Tcb): boolean => t.finAt === t.rcvTaken && !t.sending
/** The host's stream has ended: our FIN's place is known. */
export const hostEnded = (t: Tcb): boolean => t.finSeq !== null
export const ourFinAcked = (t: Tcb): boolean => t.finSeq !== null && lt(t.finSeq, t.sndUna)

/** Octets of data (not FIN) sent and not acknowledged. */
export const dataInFlight = (t: Tcb): number =>
  distance(t.finSeq !== null && lt(t.finSeq, t.sndMax) ? t.finSeq : t.sndMax, t.sndUna)

/** Go-back-N, and nothing is timed any more. */
const goBack = (d: Draft): void => {
  snd.goBack(d)
  rtx.untime(d)
}

/** SND.UNA moves to SEG.ACK. */
export const progress = (d: Draft, s: TcpSegment, now: number): void => {
  snd.acknowledged(d, s.ack, distance(s.ack, d.sndUna))
  rtx.progress(d, s.ack, now)
}

/** RFC 5681 §2: no data, no FIN, same window, data outstanding (#regression-3, #regression-62, #regression-93). */
const isDuplicate = (t: Tcb, s: TcpSegment, wnd: number): boolean =>
  s.payload.len === 0 && !(s.flags & FIN) && wnd === t.sndWnd && wnd > 0 && dataInFlight(t) > 0

/** SEG.ACK and SEG.WND of a segment whose ACK is acceptable. */
const takeAck = (d: Draft, s: TcpSegment, now: number, accepted: boolean): void => {
  const wnd = s.wnd << d.sndScale
  if (lt(d.sndUna, s.ack)) progress(d, s, now)
  else if (accepted && s.ack === d.sndUna && isDuplicate(d, s, wnd) && snd.duplicateAck(d, d.mss)) goBack(d)
  // SND.WL1, SND.WL2 (RFC 9293 §3.10.7.4), but a keep-alive's window counts although its SEQ is old (#regression-54).
  const newer = lt(d.sndWl1, s.seq) || lt(d.sndWl2, s.ack) || (d.sndWl1 === s.seq && d.sndWl2 === s.ack)
  if (s.ack === d.sndUna && (newer || s.seq === add(d.rcvNxt, -1))) {
    const opened = snd.takeWindow(d, wnd, s.seq, s.ack)
    if (opened) {
      // The guest dropped what it had window for (#regression-34), or our probe: again from SND.UNA, now that there is a window.
      if (d.sndNxt !== d.sndUna) goBack(d)
      rtx.restart(d)
    }
  }
  if (d.sndWnd === 0) rtx.alive(d)
}

/** Payload and FIN as far as they are in order and in the window. */
export const takePayload = (d: Draft, s: TcpSegment, now: number, out: Out<'SendToSock'>): void => {
  const old = Math.max(0, -distance(s.seq, d.rcvNxt))
  const fresh = s.payload.len - old
  const n =
    d.finAt !== null || distance(s.seq, d.rcvNxt) > 0 ? 0 : Math.min(fresh, distance(d.rcvEdge, d.rcvNxt))
  if (n > 0) {
    // Ask for the peer's acknowledgement where ours to the guest, or its window, hangs on it.
    const reportAck = !acksTaken(d) || peerLimited(d)
    out.push({ type: 'SendToSock', payload: { off: s.payload.off + old, len: n }, reportAck })
    rcv.handOver(d, n)
    owed.asked(d, now)
  }
  if (n < fresh) owed.owe(d)
  else if (s.flags & FIN && fresh >= 0 && add(s.seq, s.payload.len) === d.rcvNxt && d.rcvFin === 0)
    rcv.finCame(d)
}

/** `accept` */
export const receive = (d: Draft, { seg, now }: SegmentEvent, out: Out<'SendToSock'>): void => {
  wake.heardGuest(d, now)
  wake.tapFree(d)
  takeAck(d, seg, now, true)
  takePayload(d, seg, now, out)
}

/**
 * `ahead`: its payload is not kept; one duplicate ACK for each, so that three are three (RFC 5681 §3.2), and a guest without
 * SACK knows that the others are no longer on their way (NewReno's estimate; RFC 6582), or it waits for a time-out.
 */
export const receiveAhead = (d: Draft, { seg, segment = 0, now }: SegmentEvent): void => {
  wake.heardGuest(d, now)
  takeAck(d, seg, now, true)
  owed.oweDuplicates(d, pieces(seg.payload.len, segment))
}

/** `unacceptable`: #regression-43, #regression-54, #regression-H. A keep-alive is passed on (behaviour.md#tcp-keep-alive). */
export const receiveUnacceptable = (d: Draft, { seg, now }: SegmentEvent, out: Out<'KeepAlive'>): void => {
  wake.heardGuest(d, now)
  takeAck(d, seg, now, false)
  const empty = seg.payload.len === 0 && !(seg.flags & FIN)
  if (!empty || owed.mayChallenge(d, now)) owed.owe(d)
  if (seg.payload.len <= 1 && seg.seq === add(d.rcvNxt, -1) && !d.keepAlive) {
    keptAlive(d)
    out.push({ type: 'KeepAlive' })
  }
  // It probes a window that we hold closed: look again.
  if (d.rcvEdge === d.rcvNxt && seg.payload.len > 0) wake.pollSoon(d)
}

/** `challenge` (RFC 5961) */
export const challenge = (
  d: Draft,
  { now }: { readonly now: number },
  out: Out<'SegmentToTap' | 'Count'>
): void => {
  wake.heardGuest(d, now)
  if (owed.mayChallenge(d, now)) pureAck(d, out)
  else out.push({ type: 'Count', what: 'tcp-challenge-suppressed' })
}

/** The guest's FIN goes to the peer; its ACK follows at once. */
export const forwardFin = (d: Draft, _: unknown, out: Out<'ShutdownWr'>): void => {
  rcv.finForwarded(d)
  owed.owe(d)
  out.push({ type: 'ShutdownWr' })
}
