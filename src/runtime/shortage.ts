import type { Instant } from '../effects/effect.js'
import { bindReason, EMFILE, ENFILE } from '../machines/bind-verdict.js'
import { count } from './log.js'
import type { World } from './world.js'

// What runs out is not ours to make more of: the flow that needed it fails, everything else goes on, and it is said.

/** errno(3) */
const ENOMEM = 12
const ENOBUFS = 105
const SHORT: ReadonlySet<number> = new Set([EMFILE, ENFILE, ENOMEM, ENOBUFS])
/** ms between two lines about it; every one is counted. */
const SAID_EVERY = 30_000

/** A socket was refused with `errno`. False: not for lack of anything. */
export const onShortage = (w: World, errno: number, now: Instant): boolean => {
  if (!SHORT.has(errno)) return false
  count(w.counters, `shortage-${errno}`)
  if (now >= w.shortageSaidAt + SAID_EVERY) {
    w.shortageSaidAt = now
    w.log.at('warning', `${bindReason(errno, 0)}: some connections fail or wait, going on`)
  }
  return true
}
