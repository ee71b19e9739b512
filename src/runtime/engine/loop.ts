import { type Instant, instant } from '../../effects/effect.js'
import { kindOf } from '../abi/events.js'
import { turn } from '../abi/rings.js'
import { contain } from '../data/deliver.js'
import { endTurn, expireTimers } from '../data/flows.js'
import type { Ended, World } from '../data/world.js'
import { earliest } from '../flow/deadline.js'

/** ms until something is due; -1: nothing is. */
const timeout = (w: World, now: Instant): number => {
  const flows = w.wheel.next(now)
  const at = earliest(w.features.timed)
  if (at === Number.POSITIVE_INFINITY) return flows
  const features = Math.max(0, at - now)
  return flows < 0 ? features : Math.min(flows, features)
}

/** What features have to do by now. */
const onTime = (w: World, now: Instant): void => {
  const { timed } = w.features
  for (let i = 0; i < timed.length; i++)
    if (now >= timed[i].deadline.at)
      try {
        timed[i].onTime(now)
      } catch (e) {
        contain(w, e)
      }
}

/** Everything that one turn's `n` event records and the time lead to: flows stepped, effects in the ring. Not null: it is the last one. */
export const handleTurn = (w: World, n: number, now: Instant): Ended | null => {
  const { takers, events } = w.features
  const { ev } = w.rings
  for (let i = 0; i < events.length; i++) events[i](n, now)
  for (let i = 0; i < n; i++)
    try {
      takers[kindOf(ev, i)](i, now)
    } catch (e) {
      contain(w, e)
    }
  try {
    expireTimers(w, now)
    endTurn(w, now)
  } catch (e) {
    contain(w, e)
  }
  w.table.sweep()
  onTime(w, now)
  return w.ended
}

/** ms. Idle work begins after this long without an event, and looks up this often. */
const QUIET = 1
/** ms. So much later while native moves octets past the tap, without an event. */
const BUSY = 20

/**
 * Turn after turn until the end. Never returns to libuv in between: every wait is native's. `idle`: see warm-up.ts.
 */
export const loop = (w: World, idle: Iterator<void>): Ended => {
  const native = w.rings.native
  let now = instant(native.now())
  let resting = false
  let quiet = false
  let busy = false
  w.rings.watch = () => {
    for (const look of w.features.effects) look()
  }
  for (;;) {
    const due = timeout(w, now)
    const look = quiet ? 0 : busy ? BUSY : QUIET
    const wait = resting ? due : due < 0 ? look : Math.min(due, look)
    const moved = w.rings.clock[1]
    const n = turn(w.rings, wait)
    now = instant(w.rings.clock[0])
    const ended = handleTurn(w, n, now)
    if (ended !== null) return ended
    busy = w.rings.clock[1] !== moved
    quiet = n === 0 && !busy
    if (resting || !quiet) continue
    for (const until = now + QUIET; !resting && native.now() < until; ) resting = idle.next().done === true
  }
}
