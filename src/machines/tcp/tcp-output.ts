import { add, distance, le, lt } from '../../codecs/value/seq.js'
import { FIN } from '../../codecs/wire/tcp.js'
import { instant } from '../../effects/effect.js'
import { setRoom } from './tcb-peer.js'
import { asked, unconfirmed, wanted } from './tcb-rcv.js'
import * as rtx from './tcb-rtx.js'
import * as snd from './tcb-snd.js'
import * as wake from './tcb-wake.js'
import {
  ackNumber,
  acknowledge,
  acksTaken,
  duplicates,
  edgeOf,
  segment,
  targetEdge,
  windowField,
  worthwhile
} from './tcp-ack.js'
import type { Draft, Out, Tcb } from './tcp-tcb.js'

// The end of a turn: everything the turn's events led to, once, in this order: discard, data or FIN, ACKs, timers.

/** Octets of one peek. */
export const PEEK_MAX = 2 << 20

/**
 * Drop what the guest newly acknowledged from the socket's queue. Where a peek is under way, nothing behind its first octet: native looks
 * for that by its place in the queue, and may have to wait for room first.
 */
export const discard = (d: Draft, out: Out<'DiscardFromSock'>): void => {
  const acked = d.finSeq !== null && lt(d.finSeq, d.sndUna) ? d.finSeq : d.sndUna
  const end = d.peeking && lt(d.peekSeq, acked) ? d.peekSeq : acked
  const octets = distance(end, d.discarded)
  if (octets <= 0) return
  out.push({ type: 'DiscardFromSock', octets })
  snd.discardedTo(d, end)
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

const peek = (d: Draft, out: Out<'RewindPeek' | 'PeekToTap'>): boolean => {
  if (d.peeking || d.tapAt > 0 || !(d.readable || d.resend)) return false
  const octets = sendRoom(d)
  if (octets <= 0) return false
  if (d.rewind) out.push({ type: 'RewindPeek', octets: distance(d.sndNxt, d.discarded) })
  const ack = ackNumber(d)
  const wnd = windowField(d, ack, targetEdge(d))
  out.push({ type: 'PeekToTap', seq: d.sndNxt, ack, wnd, octets, mss: d.mss })
  snd.peek(d, ack, edgeOf(d, ack, wnd))
  return true
}

/** Our FIN, directly behind the last octet; inside the window like one (RFC 9293 §3.4). */
const sendFin = (d: Draft, now: number, out: Out<'SegmentToTap'>): boolean => {
  if (d.finSeq === null || d.sndNxt !== d.finSeq || d.peeking) return false
  if (!d.probe && d.sndWnd < distance(d.finSeq, d.sndUna) + 1) return false
  const fin = d.finSeq
  if (snd.finSent(d, fin)) rtx.time(d, d.sndNxt, now)
  segment(d, fin, FIN, out)
  return true
}

/** Nothing may go until the guest opens its window, and something waits. */
const blocked = (t: Tcb): boolean =>
  t.sndUna === t.sndMax && t.sndWnd === 0 && (t.readable || (t.finSeq !== null && le(t.sndNxt, t.finSeq)))

const armRto = (d: Draft, now: number, out: Out<'ArmTimer'>): void => {
  rtx.wait(d, d.sndUna !== d.sndMax || d.resend || blocked(d), now)
  if (rtx.arm(d)) out.push({ type: 'ArmTimer', timer: 'rto', at: instant(d.rtoArmed) })
}

/** The guest may send less than is worth a segment, and would send more. */
const shutWindow = (t: Tcb): boolean =>
  t.rcvFin === 0 && t.finAt === null && distance(t.rcvEdge, t.rcvNxt) < worthwhile(t)

/** A rate limit's tokens for more window, before what there is is used up. */
const askTokens = (d: Draft, out: Out<'AskTokens'>): void => {
  const octets = wanted(d)
  if (octets === 0) return
  asked(d)
  out.push({ type: 'AskTokens', octets })
}

/** How we will learn that the socket takes more, or that the peer acknowledged more. A shut window always has a waker. */
const watchSock = (d: Draft, now: number, out: Out<'AwaitWritable' | 'QueryInfo'>): void => {
  // What native keeps or was just given it reports by itself, as it gets rid of it (#regression-72, #regression-76).
  // Tokens that were asked for are sure to come; then the socket is looked at again.
  const shut = shutWindow(d) && !d.sending && !d.asking && d.rcvTaken === d.rcvNxt
  const full = distance(d.bufEdge, d.rcvNxt) < worthwhile(d)
  if (shut && full && d.room === 'unknown') {
    setRoom(d, 'awaited')
    out.push({ type: 'AwaitWritable' })
  }
  // Nothing announces that the peer opens its window; nor is the report of its ACKs sure to come: ask, ever more seldom.
  const unsure = unconfirmed(d) > 0 && !acksTaken(d)
  if ((shut && d.room !== 'awaited') || unsure)
    wake.pollAfter(d, unsure && !shut ? 2 * d.peerRtt : d.peerRtt, now)
  else wake.noPoll(d)
  if (d.pollNow) out.push({ type: 'QueryInfo' })
  wake.polled(d)
}

/** TURN_END */
export const sendDue = (
  d: Draft,
  { now }: { readonly now: number },
  out: Out<
    | 'DiscardFromSock'
    | 'RewindPeek'
    | 'PeekToTap'
    | 'SegmentToTap'
    | 'AwaitWritable'
    | 'QueryInfo'
    | 'AskTokens'
    | 'ArmTimer'
  >
): void => {
  discard(d, out)
  duplicates(d, out)
  const carried = peek(d, out) || sendFin(d, now, out)
  snd.probed(d)
  acknowledge(d, now, carried, out)
  askTokens(d, out)
  watchSock(d, now, out)
  armRto(d, now, out)
  if (wake.arm(d, d.ackAt)) out.push({ type: 'ArmTimer', timer: 'ack', at: instant(d.ackArmed) })
}
