import type { Own } from './tcb-group.js'

// Group `ack`: acknowledgements that we owe the guest, and when they go.

/** ms. Longest wait for data to carry an ACK. RFC 1122 §4.2.3.2 allows 500. */
export const ACK_DELAY = 4
/** Exchanges in a row that were answered within ACK_DELAY before we wait for the answer at all. */
export const PING_PONG = 3
/** Duplicate ACKs of a turn: a frame of the largest size at the smallest MSS in use; who says it is cut finer gets no more. */
export const DUPS_MAX = 128
/** Challenge ACKs a second and flow (RFC 5961 §7). */
export const CHALLENGES = 10

export interface Ack {
  /** One is due at the end of the turn. A flag for that turn only, whatever the state. */
  readonly ackNow: boolean
  /** Duplicates that are due: one for each segment ahead of a gap. */
  readonly dupsOwed: number
  /** When in-order data came that we did not answer with data yet; 0: none. */
  readonly unansweredAt: number
  /** Exchanges in a row that were answered within ACK_DELAY. */
  readonly pingPong: number
  /** When an ACK that waits for data to carry it goes without; 0: none waits. */
  readonly ackAt: number
  /** The second in which challenge ACKs are counted, and how many. */
  readonly challengedAt: number
  readonly challenges: number
}
type D = Own<Ack>

export const OWED: Ack = {
  ackNow: false,
  dupsOwed: 0,
  unansweredAt: 0,
  pingPong: 0,
  ackAt: 0,
  challengedAt: 0,
  challenges: 0
}
/** With a fraction where one can be (tcp-tcb.ts, PATTERN). */
export const OWED_FRACTIONS: Ack = { ...OWED, unansweredAt: 0.5, ackAt: 0.5, challengedAt: 0.5 }

export const owe = (d: D): void => {
  d.ackNow = true
}
export const oweDuplicates = (d: D, n: number): void => {
  d.dupsOwed = Math.min(d.dupsOwed + n, DUPS_MAX)
}
export const duplicatesSent = (d: D): void => {
  d.dupsOwed = 0
}
/** Nothing is owed: a segment with the newest acknowledgement went out. */
export const paid = (d: D): void => {
  d.ackNow = false
  d.ackAt = 0
}
export const wait = (d: D, at: number): void => {
  d.ackAt = at
}
/** No data came to carry it: now, and perhaps a guest with Nagle's algorithm waits for it: not again. */
export const waitOver = (d: D): void => {
  d.ackNow = true
  d.pingPong = 0
}
/** In-order data came. */
export const asked = (d: D, now: number): void => {
  if (d.unansweredAt > 0) d.pingPong = 0 // data upon data: no conversation
  d.unansweredAt = now
}
/** Data went to the guest. */
export const answered = (d: D, now: number): void => {
  if (d.unansweredAt > 0 && now - d.unansweredAt <= ACK_DELAY) d.pingPong = Math.min(8, d.pingPong + 1)
  d.unansweredAt = 0
}
/** At most CHALLENGES answers a second to segments that make no sense (RFC 5961 §7). */
export const mayChallenge = (d: D, now: number): boolean => {
  if (now - d.challengedAt >= 1000) {
    d.challengedAt = now
    d.challenges = 0
  }
  d.challenges++
  return d.challenges <= CHALLENGES
}
