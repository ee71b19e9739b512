import { add, distance, le, lt } from '../../codecs/value/seq.js'
import type { SockInfo } from '../../effects/sock-event.js'
import * as owed from './tcb-ack.js'
import * as peer from './tcb-peer.js'
import * as rcv from './tcb-rcv.js'
import { time } from './tcb-rtx.js'
import * as snd from './tcb-snd.js'
import * as wake from './tcb-wake.js'
import { acked, peerLimited, worthwhile } from './tcp-ack.js'
import type { Draft, EventOf, Out, Tcb } from './tcp-tcb.js'

// What the host socket tells, and what it does to the numbers.

/** The peer has acknowledged up to `to`. */
const confirm = (d: Draft, to: Tcb['rcvTaken']): void => {
  const upTo = lt(d.rcvTaken, to) ? d.rcvTaken : to
  const octets = distance(upTo, d.rcvConfirmed)
  if (octets <= 0) return
  rcv.confirm(d, upTo)
  peer.freed(d, octets, upTo)
  wake.noPoll(d)
}

/** Our kernel sent the SYN, in this socket's life. */
const weConnected = (t: Tcb): boolean => !t.fromHost && !t.moved

const takeInfo = (d: Draft, i: SockInfo): void => {
  peer.takeInfo(d, i)
  // tcpi_bytes_acked counts the SYN as one where we connected, not where we accepted (native/platform/tcp_bytes_acked.cc).
  if (d.knowsAcked) confirm(d, add(d.octetsFrom, i.bytesAcked - (weConnected(d) ? 1 : 0)))
  peer.setBufEdge(d, add(d.rcvTaken, i.sndFree))
}

/** SOCK_CONNECTED: what can be known of the socket. */
export const sockKnown = (d: Draft, { info, now }: EventOf<'SOCK_CONNECTED'>): void => {
  wake.heardHost(d, now)
  peer.connected(d, info, weConnected(d))
  takeInfo(d, info)
}

/** SOCK_SENT: how much of what we handed over the kernel took; `dropped` is as if it never came. */
export const sent = (d: Draft, e: EventOf<'SOCK_SENT'>, out: Out<'Count'>): void => {
  wake.heardHost(d, e.now)
  // Bounded by what was handed over, whatever native says.
  const handed = rcv.handed(d)
  const taken = Math.min(e.taken, handed)
  const dropped = d.rcvFin === 1 ? 0 : Math.min(e.dropped, handed - taken)
  rcv.outcome(d, taken, dropped)
  if (dropped > 0) {
    owed.oweDuplicates(d, 3) // fast retransmit, not a time-out (#regression-2)
    out.push({ type: 'Count', what: 'tcp-sock-full' })
  }
  takeInfo(d, e.info)
}

/** SOCK_PEEKED: data went to the guest, with the ACK that the peek was given. */
export const peeked = (d: Draft, e: EventOf<'SOCK_PEEKED'>): void => {
  if (!d.peeking) return
  const end = add(d.peekSeq, e.octets)
  const fresh = le(d.sndMax, d.peekSeq) && !d.rewind
  snd.peekDone(d, end)
  if (e.octets > 0) {
    acked(d, d.peekAck, d.peekEdge)
    wake.heardHost(d, e.now)
    if (fresh) time(d, d.sndNxt, e.now)
    owed.answered(d, e.now)
  }
  if (e.tapFull) wake.tapRefused(d, e.now + (e.tapTells ? wake.TAP_WAIT : wake.TAP_RETRY))
  else snd.queueSeen(d, end, e.eof, e.drained, e.octets === 0)
}
/** TOKENS */
export const tokens = (d: Draft, e: EventOf<'TOKENS'>): void => rcv.allow(d, e.octets)

/** TAP_ROOM: no reason to wait any longer. */
export const tapRoom = (d: Draft): void => wake.tapFree(d)

export const ready = (d: Draft, e: EventOf<'SOCK_READY'>): void => {
  if (e.readable || e.rdhup) snd.dataCame(d)
  if (e.info !== null) takeInfo(d, e.info)
  if (e.writable && d.room === 'awaited')
    peer.setRoom(d, distance(d.bufEdge, d.rcvNxt) < worthwhile(d) ? 'poor' : 'unknown')
}

export const info = (d: Draft, e: EventOf<'SOCK_INFO'>): void => takeInfo(d, e.info)

export const reported = (d: Draft, e: EventOf<'SOCK_ACKED'>): void => {
  confirm(d, add(d.octetsFrom, e.octet + 1))
  // The record brings no window; where that is what the guest waits for, ask.
  if (peerLimited(d) && distance(d.rcvEdge, d.rcvNxt) * 2 < d.peerWnd) wake.pollSoon(d)
}
