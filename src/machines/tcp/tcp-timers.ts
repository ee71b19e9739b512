import { add } from '../../codecs/value/seq.js'
import { ACK } from '../../codecs/wire/tcp.js'
import { type Effect, instant } from '../../effects/effect.js'
import { ackNumber, edgeOf, targetEdge, windowField } from './tcp-ack.js'
import { goBack } from './tcp-segment.js'
import {
  type Draft,
  GIVE_UP_AFTER,
  INACTIVITY,
  KEEPALIVE,
  MAX_RETRIES,
  RTO_MAX,
  type Tcb,
  TIME_WAIT
} from './tcp-tcb.js'

// Timers fire when they were armed for, or for nothing: a deadline in the block decides, so a spurious one is harmless.

type Now = { readonly now: number }

/** The retransmission time-out has really passed. */
export const rtoDue = (t: Tcb, now: number): boolean => t.rtoAt > 0 && now >= t.rtoAt
/** Retries and time are both spent (RFC 1122 §4.2.3.5: R2 is at least 100 s). */
export const retriesSpent = (t: Tcb, now: number): boolean =>
  rtoDue(t, now) && t.fails >= MAX_RETRIES && t.stuckAt > 0 && now - t.stuckAt >= GIVE_UP_AFTER
export const inactive = (t: Tcb, now: number): boolean =>
  now - Math.max(t.tapAliveAt, t.sockAliveAt) >= INACTIVITY

/** RFC 6298 (5.4) to (5.6), or a window probe (RFC 9293 §3.8.6.1). What is due goes at the end of the turn. */
export const rtoFired = (d: Draft, { now }: Now): void => {
  d.rtoArmed = 0
  if (!rtoDue(d, now)) return
  const probe = d.sndWnd === 0
  goBack(d)
  d.recover = d.sndMax
  d.dupAcks = 0
  if (!probe) d.cwnd = d.mss // RFC 5681 §3.1
  d.probe = probe
  d.fails++
  if (d.stuckAt === 0) d.stuckAt = now
  if (d.rto * 2 ** d.backoff < RTO_MAX) d.backoff++
  d.rtoAt = now + Math.min(RTO_MAX, d.rto * 2 ** d.backoff)
  d.tapAt = 0
}

/** Data that should have carried the ACK did not come; or time to ask the socket; or to try the tap again. */
export const ackFired = (d: Draft, { now }: Now): void => {
  d.ackArmed = 0
  if (d.ackAt > 0 && now >= d.ackAt) {
    d.ackNow = true
    d.pingPong = 0 // perhaps a guest with Nagle's algorithm waits for it: not again
  }
  if (d.pollAt > 0 && now >= d.pollAt) {
    d.pollAt = 0
    d.polls++
    d.pollNow = true
    d.awaitedInVain = false
  }
  if (d.tapAt > 0 && now >= d.tapAt) d.tapAt = 0
}

/**
 * Every KEEPALIVE of silence: an empty segment one octet back (RFC 1122 §4.2.3.6); who forgot us answers RST
 * (#regression-84).
 */
export const keepaliveFired = (d: Draft, { now }: Now, out: Effect[]): void => {
  const silent = now - d.tapAliveAt >= KEEPALIVE
  if (silent) {
    const ack = ackNumber(d)
    const wnd = windowField(d, ack, targetEdge(d))
    d.rcvAcked = ack
    d.rcvEdge = edgeOf(d, ack, wnd)
    out.push({
      type: 'SegmentToTap',
      seq: add(d.sndMax, -1),
      ack,
      flags: ACK,
      wnd,
      mss: null,
      windowScale: null
    })
  }
  out.push({ type: 'ArmTimer', timer: 'keepalive', at: instant((silent ? now : d.tapAliveAt) + KEEPALIVE) })
}

export const idleFired = (d: Draft, _: Now, out: Effect[]): void => {
  const at = instant(Math.max(d.tapAliveAt, d.sockAliveAt) + INACTIVITY)
  out.push({ type: 'ArmTimer', timer: 'idle', at })
}

export const armAll = (d: Draft, { now }: Now, out: Effect[]): void => {
  out.push({ type: 'ArmTimer', timer: 'keepalive', at: instant(now + KEEPALIVE) })
  idleFired(d, { now }, out)
}
export const armTimeWait = (_: Draft, { now }: Now, out: Effect[]): void => {
  out.push({ type: 'ArmTimer', timer: 'idle', at: instant(now + TIME_WAIT) })
}
/** A flow's index is used again: nothing of it may fire later. */
export const cancelAll = (d: Draft, _: unknown, out: Effect[]): void => {
  if (d.rtoArmed > 0) out.push({ type: 'CancelTimer', timer: 'rto' })
  if (d.ackArmed > 0) out.push({ type: 'CancelTimer', timer: 'ack' })
  out.push({ type: 'CancelTimer', timer: 'keepalive' }, { type: 'CancelTimer', timer: 'idle' })
}
