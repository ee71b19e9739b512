import type { Feature } from '../data/feature.js'
import { Deadline } from '../flow/deadline.js'

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

/** Has `collect` called once a busy time is over. */
export const collectWhenCalm = (
  collect: () => void
): Feature & Required<Pick<Feature, 'deadline' | 'onTime' | 'events'>> => {
  /** Events since the last collection, and since this window began. */
  let since = 0
  let inWindow = 0
  /** The end of the window. No reason to wake where there cannot be much. */
  const deadline = new Deadline(0, false)
  return {
    name: 'memory given back',
    events: (n) => {
      since += n
      inWindow += n
      deadline.wakes = since >= ENOUGH
    },
    deadline,
    onTime: (now) => {
      if (since >= ENOUGH && inWindow <= Math.min((CALM * since) / ENOUGH, CALM_MOST)) {
        collect()
        since = 0
      }
      inWindow = 0
      deadline.at = now + WINDOW
      deadline.wakes = since >= ENOUGH
    }
  }
}
