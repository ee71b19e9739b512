import * as t from 'io-ts'
import { Place, Real } from '../../codecs/log/written.js'
import type { Instant } from '../../effects/effect.js'
import { Deadline } from '../flow/deadline.js'
import { keeping } from '../flow/keeps.js'
import { seconds } from '../flow/quotas.js'
import { giveWay, sayMet } from './admission.js'
import type { Feature } from './feature.js'
import type { World } from './world.js'

// What the buffers of a guest's sockets hold is the kernel's to know: some flows are asked now and then, all in turn. At the
// limit new flows are refused (quotas.ts), and the buffers of those that are there grow no more. Who fills large ones and then
// takes nothing gives way: else they would be held for good, since TCP connections end by no idle timeout.

/** ms between two looks. */
const EVERY = 250
/** Flows asked at a look, 2 to 3 µs each; and places of the table looked at. */
const ASKED = 512
const PLACES = 4096

/** s that what a connection holds has not moved: then it may give way. */
export const STUCK_AFTER = 5
/** Connections that give way at a look. */
const GIVING_WAY = 8

/** What a measured flow holds, and for how many seconds nothing of it has moved. */
export interface Holding {
  readonly index: number
  readonly octets: number
  readonly stillFor: number
}

/**
 * Who gives way, those that hold the most first, so that less than `limit` is in use. Nobody whom something moves for, nor who holds
 * no more than an equal share of the limit among `flows`: what all of those hold is within it.
 */
export const stuck = (
  list: ReadonlyArray<Holding>,
  used: number,
  limit: number,
  flows: number
): ReadonlyArray<number> => {
  if (used < limit) return []
  const most = list
    .filter((h) => h.stillFor >= STUCK_AFTER && h.octets > limit / flows)
    .sort((a, b) => b.octets - a.octets)
    .slice(0, GIVING_WAY)
  let left = used
  return most.flatMap((h) => {
    if (left < limit) return []
    left -= h.octets
    return [h.index]
  })
}

/** At the limit: who is stuck gives way. */
const makeRoom = (w: World, indices: ReadonlyArray<number>, held: Float64Array, now: Instant): void => {
  const { quotas } = w
  sayMet(w.log, quotas, 'memory')
  const list = indices.map((index, k) => ({
    index,
    octets: held[2 * k],
    stillFor: quotas.stillFor(index, seconds(now))
  }))
  for (const i of stuck(list, quotas.used('memory'), quotas.limitOf('memory'), quotas.used('flows'))) {
    const f = w.flows[i]
    if (f !== undefined) giveWay(w, f, now)
  }
}

/** Ask the kernel for the next flows, from place `from` of the table on. Where to go on. */
const measure = (w: World, from: number, now: Instant): number => {
  const indices: number[] = []
  const places = Math.min(PLACES, w.flows.length)
  let at = from
  for (let i = 0; i < places && indices.length < ASKED; i++) {
    at = at + 1 < w.flows.length ? at + 1 : 0
    if (w.flows[at] !== undefined) indices.push(at)
  }
  const { quotas } = w
  const held = w.rings.native.memoryOf(Int32Array.from(indices), quotas.memoryFull())
  for (const [k, index] of indices.entries())
    quotas.measured(index, held[2 * k], held[2 * k + 1], seconds(now))
  if (quotas.memoryFull()) makeRoom(w, indices, held, now)
  return at
}

/** Measures what sockets hold, some flows at a time. */
export const socketMemory = (w: World): Feature => {
  const deadline = new Deadline(0, false)
  let from = 0
  return {
    name: 'memory of sockets',
    keeps: keeping(
      t.type({ from: Place, dueAt: Real, wakes: t.boolean }),
      () => ({ from, dueAt: deadline.at, wakes: deadline.wakes }),
      (k) => {
        from = k.from
        deadline.at = k.dueAt
        deadline.wakes = k.wakes
      }
    ),
    deadline,
    onTime: (now) => {
      if (w.table.size > 0) from = measure(w, from, now)
      deadline.at = now + EVERY
      // At the limit nothing else may happen that would end a wait
      deadline.wakes = w.quotas.memoryFull()
    }
  }
}
