import { NOTICE_EVERY, type Noticed, notices } from './notices.js'
import type { Plan } from './plan.js'
import { statsTurns } from './stats.js'
import { traceTurns } from './trace.js'
import type { World } from './world.js'

/** Looks at the loop's turns and changes nothing: --trace, --stats, and what the counters say that a user should know. */
export interface Watch {
  /** Before the effects in the ring are carried out. */
  readonly effects: () => void
  /** `n` event records are there, not handled yet. */
  readonly events: (n: number, now: number) => void
}

const STDERR = 2

const noticeTurns = (w: World): Watch => {
  let seen: Noticed = new Map()
  let next = 0
  let names = 0
  return {
    effects: () => {},
    events: (n, now) => {
      // at once where something is counted for the first time, so that a lone event is told as well
      if ((n === 0 || now < next) && w.counters.size === names) return
      next = now + NOTICE_EVERY
      names = w.counters.size
      const found = notices(seen, w.counters)
      seen = found.seen
      for (const line of found.lines) w.log.at('warning', line)
    }
  }
}

/** All that the plan asks for. */
export const watch = (w: World, p: Pick<Plan, 'trace' | 'stats'>): ReadonlyArray<Watch> => {
  const say = (line: string): void => {
    w.rings.native.writeNow(STDERR, new TextEncoder().encode(`${line}\n`))
  }
  return [
    noticeTurns(w),
    ...(p.trace ? [traceTurns(w)] : []),
    ...(p.stats > 0 ? [statsTurns(w, p.stats * 1000, say)] : [])
  ]
}
