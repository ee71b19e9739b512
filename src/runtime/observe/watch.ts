import type { CounterName } from '../../effects/counters.js'
import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import { NOTICE_EVERY, NOTICED, type Noticed, notices } from './notices.js'
import { statsTurns } from './stats.js'
import { traceTurns } from './trace.js'

// Who looks at the loop's turns and changes nothing: --trace, --stats, and what the counters say that a user should know.

const STDERR = 2

const noticeTurns = (w: World): Feature => {
  let seen: Noticed = new Map()
  let next = 0
  let names = 0
  const glance = (among: ReadonlyArray<CounterName>): void => {
    const found = notices(seen, w.counters, among)
    seen = found.seen
    for (const line of found.lines) w.log.at('warning', line)
  }
  return {
    name: 'notices',
    events: (n, now) => {
      // At once what is noticed for the first time ever, so that a lone event is told as well: names are a closed set
      if (w.counters.size !== names) {
        names = w.counters.size
        glance(NOTICED.filter((name) => !seen.has(name)))
      }
      if (n === 0 || now < next) return
      next = now + NOTICE_EVERY
      glance(NOTICED.filter((name) => seen.has(name)))
    }
  }
}

/** `stats`: s between two rows, 0: none. */
export const observers = (
  w: World,
  p: { readonly trace: boolean; readonly stats: number }
): ReadonlyArray<Feature> => {
  const say = (line: string): void => {
    w.rings.native.writeNow(STDERR, new TextEncoder().encode(`${line}\n`))
  }
  return [
    noticeTurns(w),
    ...(p.trace ? [traceTurns(w)] : []),
    ...(p.stats > 0 ? [statsTurns(w, p.stats * 1000, say)] : [])
  ]
}
