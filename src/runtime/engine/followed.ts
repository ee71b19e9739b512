import * as t from 'io-ts'
import { Addr, Place, Real } from '../../codecs/log/written.js'
import { type InAny, sameAddr } from '../../codecs/value/inany.js'
import { orNull } from '../../codecs/value/or-null.js'
import type { Instant } from '../../effects/effect.js'
import { hostTold } from '../abi/events.js'
import { deliver } from '../data/deliver.js'
import type { Feature } from '../data/feature.js'
import { exchangeConfig, reconfigure, type World, type WorldConfig } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import { keeping } from '../flow/keeps.js'
import { count } from '../log/log.js'
import type { Neighbours } from '../services/neighbours.js'
import { type HostTold, parseTold, toldText, withTold } from './host-told.js'
import { type Found, neighbourConfig, type WorldPlan, worldConfig } from './world-config.js'

// The host is another one (follow.ts finds that out): the world's configuration changes, and flows from addresses that are gone end.

/** Flows asked at a time for where they are from, 0.3 µs each; and ms until the next ones are. */
const ASKED = 256
const EVERY = 1
/** Words of Native.localEnds(). */
const END_WORDS = 5

const isOneOf = (list: ReadonlyArray<InAny>, words: Int32Array, at: number): boolean =>
  list.some((a) => a.every((word, i) => (words[at + i] ?? 0) >>> 0 === word))

/** Of the next flows, from place `from` of the table on, those from one of `gone` end. Where to go on; null: that was all. */
const endThoseFrom = (w: World, gone: ReadonlyArray<InAny>, from: number, now: Instant): number | null => {
  const indices: number[] = []
  let at = from
  for (; at < w.flows.length && indices.length < ASKED; at++) if (w.flows[at] !== undefined) indices.push(at)
  const ends = w.rings.native.localEnds(Int32Array.from(indices))
  for (const [k, index] of indices.entries()) {
    const f = w.flows[index]
    if (f === undefined || !isOneOf(gone, ends, k * END_WORDS)) continue
    count(w.counters, 'source-gone')
    deliver(w, f, { type: 'STOP', now }, false)
  }
  return at < w.flows.length ? at : null
}

const FollowedKept = t.type({
  /** As EV.HOST has it. */
  told: orNull(t.string),
  gone: t.readonlyArray(Addr),
  from: Place,
  dueAt: Real
})

/** `plan`, `found`: as the world was begun with. */
export const followed = (
  w: World,
  plan: WorldPlan,
  found: Omit<Found, 'macOf'>,
  n: Neighbours | null
): Feature => {
  const deadline = new Deadline()
  let gone: ReadonlyArray<InAny> = []
  let from = 0
  /** The last one. */
  let told: HostTold | null = null
  const configOf = (h: HostTold): WorldConfig => {
    const p = withTold(plan, h)
    if (n !== null) n.config = neighbourConfig(p)
    return worldConfig(p, { ...found, links: h.links, macOf: w.cfg.guest.macOf })
  }
  const change = (json: string, now: Instant): void => {
    const next = parseTold(json)
    if (next === null) return count(w.counters, 'host-malformed')
    told = next
    const { guest } = w
    const was = w.cfg.nat
    reconfigure(w, configOf(told), now)
    const is = w.cfg.nat
    // A guest that configures itself is where it was, until it says something else
    if (guest.v4 === null || (told.configured && was.assigned4 !== null && sameAddr(guest.v4, was.assigned4)))
      guest.v4 = is.assigned4
    if (guest.v6 === null || (told.configured && was.assigned6 !== null && sameAddr(guest.v6, was.assigned6)))
      guest.v6 = is.assigned6
    if (told.gone.length === 0) return
    gone = [...gone, ...told.gone]
    from = 0
    deadline.at = now
  }
  return {
    name: 'changes of the host',
    keeps: keeping(
      FollowedKept,
      () => ({ told: told === null ? null : toldText(told), gone, from, dueAt: deadline.at }),
      (k) => {
        if (k.told !== null) {
          told = parseTold(k.told)
          if (told === null) return false
          exchangeConfig(w, configOf(told))
        }
        gone = k.gone
        from = k.from
        deadline.at = k.dueAt
      },
      () => null,
      true
    ),
    takes: {
      HOST: (i, now) => {
        const { off, len } = hostTold(w.rings.ev, i)
        change(new TextDecoder().decode(w.rings.slab.slice(off, off + len)), now)
      }
    },
    deadline,
    onTime: (now) => {
      const next = endThoseFrom(w, gone, from, now)
      from = next ?? 0
      if (next === null) gone = []
      deadline.at = next === null ? Number.POSITIVE_INFINITY : now + EVERY
    }
  }
}
