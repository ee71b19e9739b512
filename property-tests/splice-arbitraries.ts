import fc from 'fast-check'
import type { Op } from '../src/simulator/splice-peer.js'

// What two programs do with a connection between them; for the simulated pair and for real sockets.

export const side = fc.constantFrom(0 as const, 1 as const)
const octets = fc.integer({ min: 1, max: 40 })
export const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('write' as const), octets }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('read' as const), octets }) },
  { weight: 2, arbitrary: fc.constant<Op>({ do: 'readAll' }) },
  { weight: 2, arbitrary: fc.constant<Op>({ do: 'shutdown' }) },
  { weight: 2, arbitrary: fc.constant<Op>({ do: 'close' }) },
  { weight: 1, arbitrary: fc.constant<Op>({ do: 'reset' }) }
)

/** One of the two does something: 0 the initiator, 1 the target. */
export type Turn = readonly [who: 0 | 1, op: Op]
export const script = fc.array(fc.tuple(side, op), { minLength: 1, maxLength: 14, size: 'max' })

export const text = (o: Op): string => ('octets' in o ? `${o.do} ${o.octets}` : o.do)
export const line = ([who, o]: Turn): string => `${who === 0 ? 'initiator' : 'target   '} ${text(o)}`
