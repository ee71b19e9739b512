import { add, distance, le, lt, max } from '../../codecs/value/seq.js'
import { FIN } from '../../codecs/wire/tcp.js'
import { type Effect, instant } from '../../effects/effect.js'
import {
  ackNumber,
  acknowledge,
  acksTaken,
  duplicates,
  edgeOf,
  segment,
  targetEdge,
  unconfirmed,
  windowField,
  worthwhile
} from './tcp-ack.js'
import { type Draft, PEEK_MAX, type Tcb } from './tcp-tcb.js'

// The end of a turn: everything the turn's events led to, once, in this order: discard, data or FIN, ACKs, timers.

/** Drop what the guest newly acknowledged from the socket's queue. */
export const discard = (d: Draft, out: Effect[]): void => {
  const end = d.finSeq !== null && lt(d.finSeq, d.sndUna) ? d.finSeq : d.sndUna
  const octets = distance(end, d.discarded)
  if (octets <= 0) return
  out.push({ type: 'DiscardFromSock', octets })
  d.discarded = end
}

/** Octets that may go to the guest now. */
export const sendRoom = (t: Tcb): number => {
  const room = distance(add(t.sndUna, Math.min(t.sndWnd, t.cwnd)), t.sndNxt)
  const left = t.finSeq === null ? room : Math.min(room, distance(t.finSeq, t.sndNxt))
  if (t.probe && left <= 0) return t.finSeq === t.sndNxt ? 0 : 1
  // Silly windows: wait for a full segment, or half of what the guest ever offered (RFC 9293 §3.8.6.2.1), while ACKs are due.
  const silly = room < Math.min(t.mss, t.maxSndWnd >> 1) && t.sndNxt !== t.sndUna && left === room
  return silly ? 0 : Math.min(left, PEEK_MAX)
}

const peek = (d: Draft, out: Effect[]): boolean => {
  if (d.peeking || d.tapAt > 0 || !(d.readable || d.resend)) return false
  const octets = sendRoom(d)
  if (octets <= 0) return false
  if (d.rewind) out.push({ type: 'RewindPeek', octets: distance(d.sndNxt, d.discarded) })
  const ack = ackNumber(d)
  const wnd = windowField(d, ack, targetEdge(d))
  out.push({ type: 'PeekToTap', seq: d.sndNxt, ack, wnd, octets, mss: d.mss })
  d.rewind = false
  d.peeking = true
  d.peekSeq = d.sndNxt
  d.peekAck = ack
  d.peekEdge = edgeOf(d, ack, wnd)
  return true
}

/** Our FIN, directly behind the last octet; inside the window like one (RFC 9293 §3.4). */
const sendFin = (d: Draft, now: number, out: Effect[]): boolean => {
  if (d.finSeq === null || d.sndNxt !== d.finSeq || d.peeking) return false
  if (!d.probe && d.sndWnd < distance(d.finSeq, d.sndUna) + 1) return false
  const again = lt(d.finSeq, d.sndMax)
  d.sndNxt = add(d.finSeq, 1)
  d.sndMax = max(d.sndMax, d.sndNxt)
  d.resend = false
  if (!again) time(d, now)
  segment(d, d.finSeq, FIN, out)
  return true
}

/** Time the segment that ends at SND.NXT, if none is being timed. */
export const time = (d: Draft, now: number): void => {
  if (d.timedAt > 0) return
  d.timedSeq = d.sndNxt
  d.timedAt = now
}

/** Nothing may go until the guest opens its window, and something waits. */
const blocked = (t: Tcb): boolean =>
  t.sndUna === t.sndMax && t.sndWnd === 0 && (t.readable || (t.finSeq !== null && le(t.sndNxt, t.finSeq)))

export const armRto = (d: Draft, now: number, out: Effect[]): void => {
  if (d.sndUna === d.sndMax && !blocked(d) && !d.resend) d.rtoAt = 0
  else if (d.rtoAt === 0) d.rtoAt = now + d.rto * 2 ** d.backoff
  if (d.rtoAt > 0 && (d.rtoArmed === 0 || d.rtoAt < d.rtoArmed)) {
    d.rtoArmed = d.rtoAt
    out.push({ type: 'ArmTimer', timer: 'rto', at: instant(d.rtoAt) })
  }
}

/** The guest may send less than is worth a segment, and would send more. */
const shutWindow = (t: Tcb): boolean =>
  t.rcvFin === 0 && t.finAt === null && distance(t.rcvEdge, t.rcvNxt) < worthwhile(t)

/** How we will learn that the socket takes more, or that the peer acknowledged more. A shut window always has a waker. */
const watchSock = (d: Draft, now: number, out: Effect[]): void => {
  // What native keeps or was just given it reports by itself, as it gets rid of it (#regression-72 to #regression-76).
  const shut = shutWindow(d) && !d.sending && d.rcvTaken === d.rcvNxt
  const full = distance(d.bufEdge, d.rcvNxt) < worthwhile(d)
  if (shut && full && !d.awaiting && !d.awaitedInVain) {
    d.awaiting = true
    out.push({ type: 'AwaitWritable' })
  }
  // Nothing announces that the peer opens its window; nor is the report of its ACKs sure to come: ask, ever more seldom.
  const unsure = unconfirmed(d) > 0 && !acksTaken(d)
  const lookAgain = (shut && !d.awaiting) || unsure
  if (!lookAgain) {
    d.pollAt = 0
    d.polls = 0
  } else if (d.pollAt === 0) {
    const first = unsure && !shut ? 2 * d.peerRtt : d.peerRtt
    d.pollAt = now + Math.min(1000, Math.max(5, first) * 2 ** Math.min(d.polls, 10))
  }
  if (d.pollNow) out.push({ type: 'QueryInfo' })
  d.pollNow = false
}

/** Earliest of the deadlines that share the `ack` timer. */
const armAck = (d: Draft, out: Effect[]): void => {
  let at = d.ackAt
  if (d.pollAt > 0 && (at === 0 || d.pollAt < at)) at = d.pollAt
  if (d.tapAt > 0 && (at === 0 || d.tapAt < at)) at = d.tapAt
  if (at > 0 && (d.ackArmed === 0 || at < d.ackArmed)) {
    d.ackArmed = at
    out.push({ type: 'ArmTimer', timer: 'ack', at: instant(at) })
  }
}

/** TURN_END */
export const flush = (d: Draft, { now }: { readonly now: number }, out: Effect[]): void => {
  discard(d, out)
  duplicates(d, out)
  const carried = peek(d, out) || sendFin(d, now, out)
  d.probe = false // good for one turn
  acknowledge(d, now, carried, out)
  watchSock(d, now, out)
  armRto(d, now, out)
  armAck(d, out)
}
