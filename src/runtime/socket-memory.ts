import type { Instant } from '../effects/effect.js'
import { sayMet } from './admission.js'
import type { World } from './world.js'

// What the buffers of a guest's sockets hold is the kernel's to know: some flows are asked now and then, all in turn. At the
// limit new flows are refused (quotas.ts), and the buffers of those that are there grow no more. Nothing is woken for it: a
// buffer fills with events.

/** ms between two looks. */
const EVERY = 250
/** Flows asked at a look, 0.3 µs each; and places of the table looked at. */
const ASKED = 512
const PLACES = 4096

/** The next flows, if it is time. */
export const measureMemory = (w: World, now: Instant): void => {
  const m = w.measuring
  if (now < m.at || w.table.size === 0) return
  m.at = now + EVERY
  const indices: number[] = []
  const places = Math.min(PLACES, w.flows.length)
  for (let i = 0; i < places && indices.length < ASKED; i++) {
    m.from = m.from + 1 < w.flows.length ? m.from + 1 : 0
    if (w.flows[m.from] !== undefined) indices.push(m.from)
  }
  const { quotas } = w
  const full = quotas.used('memory') >= quotas.limitOf('memory')
  const octets = w.rings.native.memoryOf(Int32Array.from(indices), full)
  for (const [k, index] of indices.entries()) quotas.measured(index, octets[k])
  if (quotas.used('memory') >= quotas.limitOf('memory')) sayMet(w.log, quotas, 'memory')
}
