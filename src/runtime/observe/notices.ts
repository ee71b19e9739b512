import type { CounterName } from '../../effects/counters.js'
import type { Counters } from '../log/log.js'

// Drops are counted, not logged: a guest can cause any number. Some of them a user should know of all the same, since they
// look like a network that does not work; a glance at the counters now and then says how many there were.

/** ms between two glances. */
export const NOTICE_EVERY = 10_000

type Say = (n: number) => string
const NOTICES: ReadonlyArray<readonly [CounterName, Say]> = [
  ['drop-flow-table-full', (n) => `flow table full: ${n} packets of the guest dropped`],
  ['forward-table-full', (n) => `flow table full: ${n} connections to the guest refused`],
  ['drop-fragment-timeout', (n) => `${n} datagrams of the guest dropped: some of their fragments never came`],
  ['drop-fragment-crowded', (n) => `${n} datagrams of the guest dropped: too many in fragments at a time`],
  [
    'drop-fragment-overlap',
    (n) => `${n} datagrams of the guest dropped: their fragments contradict each other`
  ],
  ['drop-tcp-checksum', (n) => `${n} TCP segments of the guest with a wrong checksum dropped`],
  ['drop-udp-checksum', (n) => `${n} UDP datagrams of the guest with a wrong checksum dropped`],
  ['frames-over-limit', (n) => `overload: ${n} frames to the guest lost`]
]

/** What is noticed, by name. */
export const NOTICED: ReadonlyArray<CounterName> = NOTICES.map(([name]) => name)

/** What was counted at the last glance, by name. */
export type Noticed = ReadonlyMap<CounterName, number>

/**
 * Lines about what has increased since; `seen'` has what was counted at all.
 * Law: the numbers in all lines of one kind add up to its counter; nothing is said of what has not changed.
 */
export const notices = (
  seen: Noticed,
  counters: Counters,
  among: ReadonlyArray<CounterName> = NOTICED
): { readonly lines: ReadonlyArray<string>; readonly seen: Noticed } => {
  const lines: string[] = []
  const next = new Map(seen)
  for (const [name, say] of NOTICES) {
    const n = counters.get(name)
    if (n === undefined || !among.includes(name)) continue
    const more = n - (seen.get(name) ?? 0)
    if (more > 0) lines.push(say(more))
    next.set(name, n)
  }
  return { lines, seen: next }
}
