import type { Own } from './tcb-group.js'

// Group `wake`: when to look again at what does not announce itself, and when either side was last heard. In ms.

/** The tap refused a frame: when to try again; where we are told (TAP_ROOM), when to try all the same. */
export const TAP_RETRY = 1
export const TAP_WAIT = 1000
export const KEEPALIVE = 30_000
export const INACTIVITY = 7_200_000
/** How long a FIN that comes again is acknowledged. Not 2 MSL: no segment lingers on a local link that long. */
export const TIME_WAIT = 2000
/** Longest and shortest wait between two looks at the socket. */
const POLL_MAX = 1000
const POLL_MIN = 5

export interface Wake {
  /** When to ask for SockInfo, and how often we did in vain; 0: not at all. */
  readonly pollAt: number
  readonly polls: number
  /** Ask at the end of this turn. A flag for that turn only, whatever the state. */
  readonly pollNow: boolean
  /** The tap refused a frame: no data before this instant; 0: it takes them. */
  readonly tapAt: number
  /** Earliest of ackAt, pollAt, tapAt that the wheel holds: they share a timer; 0: none. */
  readonly ackArmed: number
  /** Last segment from the guest; last event of the socket. */
  readonly tapAliveAt: number
  readonly sockAliveAt: number
  /** TIME-WAIT: when it is over; 0 before. */
  readonly forgetAt: number
}
type D = Own<Wake>

export const WAKE: Wake = {
  pollAt: 0,
  polls: 0,
  pollNow: false,
  tapAt: 0,
  ackArmed: 0,
  tapAliveAt: 0,
  sockAliveAt: 0,
  forgetAt: 0
}
/** With a fraction where one can be (tcp-tcb.ts, PATTERN). */
export const WAKE_FRACTIONS: Wake = {
  ...WAKE,
  pollAt: 0.5,
  tapAt: 0.5,
  ackArmed: 0.5,
  tapAliveAt: 0.5,
  sockAliveAt: 0.5,
  forgetAt: 0.5
}

export const start = (d: D, now: number): void => {
  d.tapAliveAt = now
  d.sockAliveAt = now
}
export const heardGuest = (d: D, now: number): void => {
  d.tapAliveAt = now
}
export const heardHost = (d: D, now: number): void => {
  d.sockAliveAt = now
}
export const tapRefused = (d: D, until: number): void => {
  d.tapAt = until
}
export const tapFree = (d: D): void => {
  d.tapAt = 0
}
export const pollSoon = (d: D): void => {
  d.pollNow = true
}
export const polled = (d: D): void => {
  d.pollNow = false
}
/** Nothing is left to ask for. */
export const noPoll = (d: D): void => {
  d.pollAt = 0
  d.polls = 0
}
/** Look after `first` ms, ever more seldom as long as it is in vain. */
export const pollAfter = (d: D, first: number, now: number): void => {
  if (d.pollAt > 0) return
  d.pollAt = now + Math.min(POLL_MAX, Math.max(POLL_MIN, first) * 2 ** Math.min(d.polls, 10))
}
export const pollDue = (d: D): void => {
  d.pollAt = 0
  d.polls++
  d.pollNow = true
}
/** The wheel holds no deadline any more. */
export const fired = (d: D): void => {
  d.ackArmed = 0
}
/** Is the wheel to be told of the earliest of ackAt, pollAt and tapAt? */
export const arm = (d: D, ackAt: number): boolean => {
  let at = ackAt
  if (d.pollAt > 0 && (at === 0 || d.pollAt < at)) at = d.pollAt
  if (d.tapAt > 0 && (at === 0 || d.tapAt < at)) at = d.tapAt
  if (at === 0 || (d.ackArmed > 0 && at >= d.ackArmed)) return false
  d.ackArmed = at
  return true
}

/** Nothing is due: all timers were stopped. What is, is found at the end of a turn. */
export const stopped = (d: D): void => {
  d.pollAt = 0
  d.pollNow = false
  d.tapAt = 0
  d.ackArmed = 0
}

/** TIME-WAIT begins. */
export const allDone = (d: D, now: number): void => {
  d.forgetAt = now + TIME_WAIT
}
/** When the connection has been silent, on both sides, for too long; or TIME-WAIT is over. */
export const idleAt = (t: Wake): number =>
  t.forgetAt > 0 ? t.forgetAt : Math.max(t.tapAliveAt, t.sockAliveAt) + INACTIVITY
export const inactive = (t: Wake, now: number): boolean => now >= idleAt(t)
