import { defaultBurst, type RateLimit, type Way } from '../../codecs/text/rate-limit.js'
import type { Rate } from './token-bucket.js'

// What --limit options mean for flows: each flow has, each way, the total's bucket and one of a rule's, or one of the two, or none.

export interface Limit extends Rate {
  /** Octets that one flow has at once, of those that all share: what is let go before somebody else has a turn. */
  readonly quantum: number
}
/** One way. */
export interface WayLimits {
  readonly total: Limit | null
  readonly rules: ReadonlyArray<{
    readonly proto: 'tcp' | 'udp'
    readonly first: number
    readonly last: number
    readonly limit: Limit
  }>
}
export interface RateLimits {
  readonly in: WayLimits
  readonly out: WayLimits
}
/** Where a flow came in, for the rules: by a listener at this port; null: it did not. */
export type CameBy = { readonly proto: 'tcp' | 'udp'; readonly port: number } | null

/** ms of the rate in a quantum: longer than it takes until a guest or a peer that was let go has sent that and is heard again. */
const QUANTUM_MS = 5
const QUANTUM_LEAST = 2048
const QUANTUM_MOST = 1 << 20

export const limitOf = (l: Pick<RateLimit, 'rate' | 'burst'>): Limit => {
  const burst = l.burst ?? defaultBurst(l.rate)
  const quantum = Math.min(QUANTUM_MOST, Math.max(QUANTUM_LEAST, Math.floor((l.rate / 1000) * QUANTUM_MS)))
  // Several are on their way at once
  return { perMs: l.rate / 1000, burst, quantum: Math.min(quantum, burst >> 2) }
}

const wayOf = (all: ReadonlyArray<RateLimit>, way: Way): WayLimits => {
  const mine = all.filter((l) => l.way === null || l.way === way)
  const total = mine.filter((l) => l.ports === null).at(-1)
  return {
    total: total === undefined ? null : limitOf(total),
    // The last one counts, as for every option
    rules: mine
      .flatMap((l) =>
        l.ports === null ? [] : [{ proto: l.ports.proto, ...l.ports.range, limit: limitOf(l) }]
      )
      .reverse()
  }
}
export const limitsOf = (all: ReadonlyArray<RateLimit>): RateLimits => ({
  in: wayOf(all, 'in'),
  out: wayOf(all, 'out')
})

/** Index into `rules`; -1: none of them. */
export const ruleOf = (w: WayLimits, by: CameBy): number =>
  by === null ? -1 : w.rules.findIndex((r) => r.proto === by.proto && r.first <= by.port && by.port <= r.last)

/** Octets that a flow has at once, by the narrower of its two limits; 0: it has none. */
export const quantumOf = (w: WayLimits, by: CameBy): number => {
  const rule = w.rules[ruleOf(w, by)]?.limit.quantum ?? Number.POSITIVE_INFINITY
  const least = Math.min(rule, w.total?.quantum ?? Number.POSITIVE_INFINITY)
  return least === Number.POSITIVE_INFINITY ? 0 : least
}
