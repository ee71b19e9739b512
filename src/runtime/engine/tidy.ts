import type { Instant } from '../../effects/effect.js'

// V8 gives memory back to the system from tasks of the event loop, and that never runs here: every wait is native's.
// What 10,000 connections needed would stay for ever. So a full collection is asked for once a busy time is over.

/** ms. How long it has to be calm. */
const WINDOW = 3000
/** Events within it that still count as calm: a collection takes some 10 ms, and someone may be waiting. */
const CALM = 300
/** Events since the last collection below which there cannot be much to give back. */
const ENOUGH = 20_000
/**
 * A light load that goes on for ever leaves some 0.4 MB a minute behind: the more events since the last collection, the less
 * calm it has to be, up to this. At an even rate that is a collection every WINDOW * ENOUGH / CALM = 200 s.
 */
const CALM_MOST = 3000

export interface Tidy {
  /** A turn had `n` events. */
  readonly turn: (n: number, now: Instant) => void
  /** ms until the next look, -1: none is due. */
  readonly due: (now: Instant) => number
}

export const createTidy = (collect: () => void): Tidy => {
  let since = 0
  let inWindow = 0
  let began = 0
  return {
    turn: (n, now) => {
      since += n
      inWindow += n
      if (now - began < WINDOW) return
      if (since >= ENOUGH && inWindow <= Math.min((CALM * since) / ENOUGH, CALM_MOST)) {
        collect()
        since = 0
      }
      inWindow = 0
      began = now
    },
    due: (now) => (since < ENOUGH ? -1 : Math.max(0, began + WINDOW - now))
  }
}
