import { le, type SeqNum, seq } from '../../codecs/value/seq.js'
import type { Own } from './tcb-group.js'

// Group `rtx`: the retransmission timer, RFC 6298. In ms; an instant of 0 is none.

export const RTO_INITIAL = 1000 // RFC 6298 (2.1)
export const RTO_AFTER_SYN_LOSS = 3000 // RFC 6298 (5.7)
/** RFC 6298 (2.4) says 1 s; Linux uses 200 ms, and the guest is microseconds away, its delayed ACKs 40 ms. */
export const RTO_MIN = 200
export const RTO_MAX = 120_000 // RFC 6298 (2.5)
export const MAX_RETRIES = 7
/** No reset before this, however short the RTO: R2 of RFC 1122 §4.2.3.5. */
export const GIVE_UP_AFTER = 100_000
/** SYN and SYN,ACK: this many at the initial RTO, then doubling; MAX_RETRIES in all (behaviour.md#tcp-handshake). */
export const SYN_LINEAR = 4

export interface Rtx {
  /** SRTT and RTTVAR of RFC 6298 §2; 0: nothing was measured. */
  readonly srtt: number
  readonly rttvar: number
  /** RTO of RFC 6298 §2, and how often it was doubled since (5.5). */
  readonly rto: number
  readonly backoff: number
  /** Time-outs since the guest was last heard making sense. */
  readonly fails: number
  /** Since when there has been no progress. */
  readonly stuckAt: number
  /** The timed segment's end, and when it went; 0: none is timed. */
  readonly timedSeq: SeqNum
  readonly timedAt: number
  /** Deadline. The wheel may hold an earlier one, rtoArmed: it is armed again when that one fires. */
  readonly rtoAt: number
  readonly rtoArmed: number
}
type D = Own<Rtx>

export const RTX: Rtx = {
  srtt: 0,
  rttvar: 0,
  rto: RTO_INITIAL,
  backoff: 0,
  fails: 0,
  stuckAt: 0,
  timedSeq: seq(0),
  timedAt: 0,
  rtoAt: 0,
  rtoArmed: 0
}
/** With a fraction where one can be (tcp-tcb.ts, PATTERN). */
export const RTX_FRACTIONS: Rtx = {
  ...RTX,
  srtt: 0.5,
  rttvar: 0.5,
  rto: 0.5,
  stuckAt: 0.5,
  timedAt: 0.5,
  rtoAt: 0.5,
  rtoArmed: 0.5
}

/** Time the segment that ends at `end`, if none is being timed. */
export const time = (d: D, end: SeqNum, now: number): void => {
  if (d.timedAt > 0) return
  d.timedSeq = end
  d.timedAt = now
}
/** Something goes out again: what is timed would measure nothing (Karn's algorithm: RFC 6298 §3). */
export const untime = (d: D): void => {
  d.timedAt = 0
}
/** RFC 6298 (2.2), (2.3). */
const measure = (d: D, r: number): void => {
  if (d.srtt === 0) {
    d.srtt = r
    d.rttvar = r / 2
  } else {
    d.rttvar = 0.75 * d.rttvar + 0.25 * Math.abs(d.srtt - r)
    d.srtt = 0.875 * d.srtt + 0.125 * r
  }
  d.rto = Math.min(RTO_MAX, Math.max(RTO_MIN, d.srtt + 4 * d.rttvar))
}
/** SND.UNA moves to `ack`. */
export const progress = (d: D, ack: SeqNum, now: number): void => {
  if (d.timedAt > 0 && le(d.timedSeq, ack)) {
    measure(d, Math.max(0.001, now - d.timedAt))
    d.timedAt = 0
  }
  d.backoff = 0
  alive(d)
  d.rtoAt = 0 // RFC 6298 (5.3): started anew at the end of the turn, if anything is left
}
/** The guest is there, though nothing moves: it answers our probes (#regression-57). */
export const alive = (d: D): void => {
  d.fails = 0
  d.stuckAt = 0
}
/** What goes next gets a time-out of its own. */
export const restart = (d: D): void => {
  d.rtoAt = 0
}

/** RFC 6298 (5.1), (5.2). `due`: something can be lost, or waits for a window. */
export const wait = (d: D, due: boolean, now: number): void => {
  if (!due) d.rtoAt = 0
  else if (d.rtoAt === 0) d.rtoAt = now + d.rto * 2 ** d.backoff
}
/** Is the wheel to be told of rtoAt? */
export const arm = (d: D): boolean => {
  if (d.rtoAt === 0 || (d.rtoArmed > 0 && d.rtoAt >= d.rtoArmed)) return false
  d.rtoArmed = d.rtoAt
  return true
}
/** The wheel holds no deadline any more. */
export const fired = (d: D): void => {
  d.rtoArmed = 0
}
/** The timer was stopped, for a time that measures nothing. */
export const stopped = (d: D): void => {
  d.timedAt = 0
  d.rtoAt = 0
  d.rtoArmed = 0
}
/** RFC 6298 (5.5), (5.6). */
export const timedOut = (d: D, now: number): void => {
  d.fails++
  if (d.stuckAt === 0) d.stuckAt = now
  if (d.rto * 2 ** d.backoff < RTO_MAX) d.backoff++
  d.rtoAt = now + Math.min(RTO_MAX, d.rto * 2 ** d.backoff)
}
/** A SYN or SYN,ACK went out first. */
export const synSent = (d: D, now: number): void => {
  d.rtoAt = now + RTO_INITIAL
}
/** It went again: at 1 s for the first ones, then doubling; RTO is 3 s from then on (RFC 6298 (5.7)). */
export const synTimedOut = (d: D, now: number): void => {
  d.fails++
  d.timedAt = 0
  d.rto = RTO_AFTER_SYN_LOSS
  d.rtoAt = now + RTO_INITIAL * 2 ** Math.max(0, d.fails - SYN_LINEAR)
}

/** The retransmission time-out has really passed. */
export const rtoDue = (t: Rtx, now: number): boolean => t.rtoAt > 0 && now >= t.rtoAt
/** Retries and time are both spent (RFC 1122 §4.2.3.5: R2 is at least 100 s). */
export const retriesSpent = (t: Rtx, now: number): boolean =>
  rtoDue(t, now) && t.fails >= MAX_RETRIES && t.stuckAt > 0 && now - t.stuckAt >= GIVE_UP_AFTER
export const synRetriesSpent = (t: Rtx, now: number): boolean => rtoDue(t, now) && t.fails >= MAX_RETRIES
