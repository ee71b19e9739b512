import { describe, test } from 'node:test'
import fc from 'fast-check'
import { SKIPPED } from '../src/codecs/control/migration.js'
import { octets } from '../src/codecs/value/octets.js'
import { instant } from '../src/effects/effect.js'
import { migrationSourceMachine, type SourceEvent } from '../src/machines/link/migration-source.js'
import { migrationTargetMachine, type TargetEvent } from '../src/machines/link/migration-target.js'
import { arbExtended, arbFlowRecord, arbStateAddresses, arbStateHeader } from './migration-arbitraries.js'
import { sameAsXstate, untilAllTaken } from './same-as-xstate.js'

// The machines of a live migration, given any events in any order.

type Body<E> = E extends { readonly now: unknown } ? Omit<E, 'now'> : never
/** Early, or long after every deadline. */
const now = fc.constantFrom(1, 1, 50, 1e9).map(instant)
const timed = <E>(body: fc.Arbitrary<Body<E>>): fc.Arbitrary<E> =>
  fc.tuple(body, now).map(([b, at]) => ({ ...(b as object), now: at }) as E)
const is = <K extends string>(...types: K[]) => fc.constantFrom(...types)
const errno = fc.constantFrom(0, 0, 0, 32)
const flowsOf = (n: number): readonly number[] => Array.from({ length: n }, (_, i) => i + 10)

const sourceEvent = timed<SourceEvent>(
  fc.oneof(
    fc.record({ type: is('HELPER'), there: fc.boolean() }),
    fc.record({
      type: is('SAVE'),
      fd: fc.integer({ min: 3, max: 9 }),
      moving: fc.constantFrom(0, 2, 2, 20, 300, 600).map(flowsOf),
      stopping: fc.constantFrom<readonly number[]>([], [5])
    }),
    { weight: 2, arbitrary: fc.record({ type: is('SETTLED') }) },
    { weight: 3, arbitrary: fc.record({ type: is('REPAIRED'), errno }) },
    {
      weight: 3,
      arbitrary: fc.record({
        type: is('DUMPED'),
        flow: fc.integer({ min: 10, max: 14 }),
        extended: fc.option(arbExtended(2_000_000))
      })
    },
    fc.record({ type: is('WRITTEN'), octets: fc.nat(3_000_000) }),
    { weight: 2, arbitrary: fc.record({ type: is('STATE_ENDED'), errno }) },
    fc.record({ type: is('FLOW_ENDED'), flow: fc.integer({ min: 9, max: 14 }) }),
    fc.record({ type: is('CHECKED', 'RESUMED', 'GONE', 'SESSION') }),
    { weight: 2, arbitrary: fc.record({ type: is('DEADLINE') }) }
  ) as fc.Arbitrary<Body<SourceEvent>>
)

const index = fc.nat(3)
const stateEvent = fc.oneof(
  arbStateHeader.map((header) => ({ type: 'STATE_HEADER' as const, header })),
  arbStateAddresses.map((addresses) => ({ type: 'STATE_ADDRESSES' as const, addresses })),
  {
    weight: 2,
    arbitrary: fc.record({ type: is('STATE_COUNT'), flows: fc.constantFrom(0, 2, 300, 200_000) })
  },
  fc.record({ type: is('STATE_FLOW'), index, flow: arbFlowRecord }),
  fc.record({
    type: is('STATE_EXTENDED'),
    index,
    extended: fc.oneof(arbExtended(100), fc.constant(SKIPPED))
  }),
  fc.record({
    type: is('STATE_QUEUE'),
    index,
    which: fc.constantFrom('sent' as const, 'unsent' as const, 'received' as const),
    octets: fc.constant(octets(new Uint8Array(3)))
  }),
  fc.record({ type: is('STATE_FLOW_END'), index }),
  { weight: 2, arbitrary: fc.record({ type: is('STATE_END') }) }
)
const targetEvent = timed<TargetEvent>(
  fc.oneof(
    { weight: 6, arbitrary: stateEvent },
    { weight: 2, arbitrary: fc.record({ type: is('HELPER'), there: fc.boolean() }) },
    fc.record({ type: is('LOAD'), fd: fc.integer({ min: 3, max: 9 }) }),
    { weight: 4, arbitrary: fc.record({ type: is('PIECE'), octets: fc.constantFrom(1, 62, 224, 33_600) }) },
    { weight: 1, arbitrary: fc.record({ type: is('FAULTY'), text: fc.constant('x') }) },
    { weight: 2, arbitrary: fc.record({ type: is('STATE_ENDED'), errno }) },
    { weight: 4, arbitrary: fc.record({ type: is('REPAIRED'), errno }) },
    fc.record({ type: is('LOST'), index, why: fc.constantFrom('no-room' as const, 'not-restored' as const) }),
    fc.record({ type: is('GUEST_UP', 'DROPPED', 'GUEST_UP', 'GONE') }),
    { weight: 2, arbitrary: fc.record({ type: is('DEADLINE') }) }
  ) as fc.Arbitrary<Body<TargetEvent>>
)

const at = instant(1)
const prelude = (flows: number): readonly TargetEvent[] => [
  { type: 'HELPER', there: true, now: at },
  { type: 'LOAD', fd: 3, now: at },
  { type: 'STATE_COUNT', flows, now: at },
  { type: 'PIECE', octets: 62, now: at }
]
/** Up to where a part of the chart begins that chance hardly reaches. */
const targetPrefix = fc.constantFrom<readonly TargetEvent[]>(
  [],
  [{ type: 'LOAD', fd: 3, now: at }],
  prelude(0),
  prelude(2),
  ...[2, 300]
    .flatMap((n) => [false, true].map((up) => [n, up] as const))
    .map(([n, up]): readonly TargetEvent[] => [
      ...prelude(n),
      { type: 'PIECE', octets: 112 * n, now: at },
      ...Array.from(
        { length: Math.ceil(n / 253) },
        (): TargetEvent => ({ type: 'REPAIRED', errno: 0, now: at })
      ),
      { type: 'STATE_END', now: at },
      ...(up
        ? ([
            { type: 'STATE_ENDED', errno: 0, now: at },
            { type: 'GUEST_UP', now: at }
          ] as const)
        : [])
    ])
)
const sourcePrefix = fc
  .constantFrom(0, 2, 20, 600)
  .chain((n) =>
    fc.constantFrom<readonly SourceEvent[]>(
      [],
      [{ type: 'SAVE', fd: 3, moving: flowsOf(n), stopping: [], now: at }],
      [
        { type: 'HELPER', there: true, now: at },
        { type: 'SAVE', fd: 3, moving: flowsOf(n), stopping: [], now: at },
        { type: 'SETTLED', now: at },
        ...Array.from(
          { length: Math.ceil(n / 253) },
          (): SourceEvent => ({ type: 'REPAIRED', errno: 0, now: at })
        )
      ]
    )
  )

/** Two connections moved, and all is in the pipe. */
const sent: readonly SourceEvent[] = [
  { type: 'HELPER', there: true, now: at },
  { type: 'SAVE', fd: 3, moving: flowsOf(2), stopping: [], now: at },
  { type: 'SETTLED', now: at },
  { type: 'REPAIRED', errno: 0, now: at },
  ...flowsOf(2).map((flow): SourceEvent => ({ type: 'DUMPED', flow, extended: null, now: at })),
  { type: 'STATE_ENDED', errno: 0, now: at }
]

describe('compiled = xstate', () => {
  test('migration-source', () =>
    untilAllTaken(migrationSourceMachine, () =>
      sameAsXstate(
        migrationSourceMachine,
        fc.record({ exit: fc.boolean(), linger: fc.boolean() }),
        sourceEvent,
        {
          prefix: fc.oneof({ weight: 3, arbitrary: sourcePrefix }, fc.constant(sent))
        }
      )
    ))
  test('migration-target', () =>
    untilAllTaken(migrationTargetMachine, () =>
      sameAsXstate(migrationTargetMachine, fc.constant(undefined), targetEvent, { prefix: targetPrefix })
    ))
})
