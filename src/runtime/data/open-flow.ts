import type { InAny } from '../../codecs/value/inany.js'
import type { Instant } from '../../effects/effect.js'
import type { Flow } from '../flow/flow.js'
import { type Opening, protoOf, startFlow, takingOf, yields } from '../flow/kinds.js'
import type { Resource } from '../flow/quotas.js'
import { count } from '../log/log.js'
import { admit } from './admission.js'
import { deliver, enter } from './deliver.js'
import type { World } from './world.js'

// The one way in for a flow, whoever begins it; and whether it is there already.

/** `proto`: of its kind (kinds.ts). `src`: the guest's end, or whom a pair was begun by. */
export const findFlow = (
  w: World,
  proto: number,
  src: InAny,
  srcPort: number,
  dst: InAny,
  dstPort: number
): Flow | undefined => {
  const i = w.table.find(proto, src, srcPort, dst, dstPort)
  return i < 0 ? undefined : w.flows[i]
}

/** What it lacks, which is counted and said; a feature's policy, which is counted; or a place: the table is full, or another flow has these addresses. */
export type Refusal = Resource | 'policy' | 'place'

const insert = (w: World, o: Opening): number => {
  const proto = protoOf(o)
  if (o.kind === 'tcp-splice' || o.kind === 'udp-splice') {
    const { side0, arrival } = o.ends
    return w.table.insert(proto, side0.dst, side0.dstPort, arrival.addr, arrival.port)
  }
  const { guestAddr, guestPort, ourAddr, ourPort } = o.ends
  return w.table.insert(proto, guestAddr, guestPort, ourAddr, ourPort)
}

/** Who has begun anew behind its back (RFC 9293 §3.6.1) makes a flow end that only waits for its addresses to be forgotten. */
const endOldOne = (w: World, o: Opening, now: Instant): boolean => {
  if (o.kind !== 'tcp') return false
  const { guestAddr, guestPort, ourAddr, ourPort } = o.ends
  const old = findFlow(w, protoOf(o), guestAddr, guestPort, ourAddr, ourPort)
  if (old === undefined || !yields(old)) return false
  deliver(w, old, { type: 'STOP', now })
  return true
}

const allowed = (w: World, o: Opening, now: Instant): boolean => {
  const { mayOpen } = w.features
  for (let i = 0; i < mayOpen.length; i++) if (!mayOpen[i](o, now)) return false
  return true
}

/** Allowed, admitted, in the table, its machine started and what that asked for in the ring; or why not. The caller has looked for it. */
export const openFlow = (w: World, o: Opening, now: Instant): Flow | Refusal => {
  if (!allowed(w, o, now)) {
    count(w.counters, 'refused-by-policy')
    return 'policy'
  }
  const taking = takingOf(o)
  const lack = admit(w, taking, now)
  if (lack !== null) return lack
  let index = insert(w, o)
  if (index < 0 && endOldOne(w, o, now)) index = insert(w, o)
  if (index < 0) return 'place'
  const f = startFlow(o, index, w.cfg, now, w.effects, w.outside.initialSequence)
  enter(w, f, taking, now)
  return f
}
