import { add, distance, le, lt, max } from '../../codecs/value/seq.js'
import type { Effect } from '../../effects/effect.js'
import type { SockInfo } from '../../effects/sock-event.js'
import { acked, peerLimited, worthwhile } from './tcp-ack.js'
import { time } from './tcp-output.js'
import { ACK_DELAY, type Draft, type EventOf, TAP_RETRY, TAP_WAIT, type Tcb } from './tcp-tcb.js'

// What the host socket tells, and what it does to the numbers.

/** The peer has acknowledged up to `to`. Its kernel buffer is freer by as much, at least. */
const confirm = (d: Draft, to: Tcb['rcvTaken']): void => {
  const upTo = lt(d.rcvTaken, to) ? d.rcvTaken : to
  const octets = distance(upTo, d.rcvConfirmed)
  if (octets <= 0) return
  d.rcvConfirmed = upTo
  const limit = add(d.rcvConfirmed, d.sndBuf)
  const edge = add(d.bufEdge, octets)
  d.bufEdge = lt(limit, edge) ? max(limit, d.bufEdge) : edge
  d.polls = 0
  d.pollAt = 0
}

const takeInfo = (d: Draft, i: SockInfo): void => {
  d.sndBuf = i.sndBuf
  d.peerWnd = i.sndWnd
  d.minRtt = i.minRtt
  d.peerRtt = i.rtt / 1000
  // tcpi_bytes_acked counts the SYN as one where we connected, not where we accepted (native/platform/tcp_bytes_acked.cc).
  if (d.knowsAcked) confirm(d, add(d.irs, i.bytesAcked + (d.fromHost ? 1 : 0)))
  d.bufEdge = add(d.rcvTaken, i.sndFree)
}

/** SOCK_CONNECTED: what can be known of the socket. */
export const sockKnown = (d: Draft, { info, now }: EventOf<'SOCK_CONNECTED'>): void => {
  d.sockAliveAt = now
  d.knowsPeerWnd = info.sndWnd > 0 // no peer opens with 0: a kernel before 5.4
  // 0 means nothing where it should be 0: but what is younger is there.
  d.knowsAcked = d.fromHost ? d.knowsPeerWnd : info.bytesAcked > 0
  takeInfo(d, info)
}

/** SOCK_SENT: how much of what we handed over the kernel took; `dropped` is as if it never came. */
export const sent = (d: Draft, e: EventOf<'SOCK_SENT'>, out: Effect[]): void => {
  d.sockAliveAt = e.now
  d.sending = false
  // Bounded by what was handed over, whatever native says.
  const handed = distance(add(d.rcvNxt, -d.rcvFin), d.rcvTaken)
  const taken = Math.min(e.taken, handed)
  d.rcvTaken = add(d.rcvTaken, taken)
  const dropped = d.rcvFin === 1 ? 0 : Math.min(e.dropped, handed - taken)
  if (dropped > 0) {
    d.rcvNxt = add(d.rcvNxt, -dropped)
    d.finAt = null
    d.dupsOwed += 3 // fast retransmit, not a time-out (#regression-2)
    out.push({ type: 'Count', what: 'tcp-sock-full' })
  }
  takeInfo(d, e.info)
}

/** SOCK_PEEKED: data went to the guest, with the ACK that the peek was given. */
export const peeked = (d: Draft, e: EventOf<'SOCK_PEEKED'>): void => {
  if (!d.peeking) return
  d.peeking = false
  const end = add(d.peekSeq, e.octets)
  const fresh = le(d.sndMax, d.peekSeq)
  if (!d.rewind) d.sndNxt = max(d.sndUna, end)
  d.sndMax = max(d.sndMax, end)
  if (e.octets > 0) {
    acked(d, d.peekAck, d.peekEdge)
    d.sockAliveAt = e.now
    if (fresh && !d.rewind) time(d, e.now)
    if (d.unansweredAt > 0 && e.now - d.unansweredAt <= ACK_DELAY) d.pingPong = Math.min(8, d.pingPong + 1)
    d.unansweredAt = 0
  }
  if (e.tapFull) {
    d.tapAt = e.now + (e.tapTells ? TAP_WAIT : TAP_RETRY)
    return
  }
  if (e.eof && d.finSeq === null) d.finSeq = end
  if (e.eof || e.drained || e.octets === 0) d.readable = false
  // Less than was there before? Then only a time-out asks again, not every turn.
  if (!d.rewind && (e.octets === 0 || !lt(d.sndNxt, d.sndMax))) d.resend = false
}
/** TAP_ROOM: no reason to wait any longer. */
export const tapRoom = (d: Draft): void => {
  d.tapAt = 0
}
export const ready = (d: Draft, e: EventOf<'SOCK_READY'>): void => {
  if (e.readable || e.rdhup) d.readable = d.finSeq === null
  if (e.info !== null) takeInfo(d, e.info)
  if (e.writable && d.awaiting) {
    d.awaiting = false
    d.awaitedInVain = distance(d.bufEdge, d.rcvNxt) < worthwhile(d)
  }
}

export const info = (d: Draft, e: EventOf<'SOCK_INFO'>): void => takeInfo(d, e.info)

export const reported = (d: Draft, e: EventOf<'SOCK_ACKED'>): void => {
  confirm(d, add(d.irs, e.octet + 2))
  // The record brings no window; where that is what the guest waits for, ask.
  if (peerLimited(d) && distance(d.rcvEdge, d.rcvNxt) * 2 < d.peerWnd) d.pollNow = true
}
