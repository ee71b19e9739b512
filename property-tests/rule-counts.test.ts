// What a rule has carried, and what its target was found to be, against simulated guests and hosts (behaviour.md#rule-counts).
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { install } from '../src/runtime/data/feature.js'
import { type RuleCount, ruleCounts } from '../src/runtime/engine/rule-counts.js'
import { GUEST_SERVER, LISTENER } from '../src/runtime/engine/warm-up.js'
import { type Connection, type Ends, play } from './played.js'
import { recordOf } from './recorded.js'
import { addr } from './services-arbitraries.js'
import { calm, scenario } from './tcp-arbitraries.js'

const PEER = addr('203.0.113.80')
/** Connections by a rule; what is counted when all is over. */
const carried = (
  connections: ReadonlyArray<Connection>
): { readonly ends: ReadonlyArray<Ends>; readonly c: RuleCount } => {
  let ends: ReadonlyArray<Ends> = []
  let c: RuleCount | null = null
  recordOf((r) => {
    const rule = r.w.listeners.get(LISTENER)!.rule
    const counts = ruleCounts(r.w, (flows) => new Float64Array(2 * flows.length))
    install(r.w.features, [
      counts.feature,
      { name: 'flows', flowBegan: counts.began, flowEnded: counts.ended }
    ])
    ends = play(r, connections)
    counts.look()
    c = counts.of(rule)
  })
  return { ends, c: c! }
}
const inward = (i: number, o: Partial<Connection>): Connection => ({
  opener: 'host',
  at: i,
  guestPort: GUEST_SERVER,
  peer: PEER,
  peerPort: 2000 + i,
  fates: [],
  guest: calm.guest,
  host: calm.host,
  ...o
})
const sum = (all: ReadonlyArray<number>): number => all.reduce((a, b) => a + b, 0)

test('octets are those that arrived; who took connections has answered', () => {
  fc.assert(
    fc.property(fc.array(scenario(false), { minLength: 1, maxLength: 4 }), (scenarios) => {
      const all = scenarios.map(({ guest, host }, i) => {
        const patient = { ...host, connectErrno: 0 }
        return inward(i, {
          guest: { ...guest, inward: 'listens', deaf: Math.min(2, guest.deaf) },
          host: patient
        })
      })
      const { ends, c } = carried(all)
      assert.deepEqual(
        [c.toGuest, c.toPeer],
        [sum(ends.map((e) => e.guest.delivered)), sum(ends.map((e) => e.host.received))]
      )
      assert.deepEqual([c.begun, c.open, c.accepted, c.answered], [all.length, 0, all.length, true])
      assert.equal(c.failures.size, 0)
    }),
    { numRuns: 30 }
  )
})

test('a RST to the SYN is a refusal, silence is one as well, an end that comes later is none', () => {
  const refuses = inward(0, { guest: { ...calm.guest, inward: 'refuses' } })
  const deaf = inward(1, { at: 500, guest: { ...calm.guest, deaf: 1000 } })
  const resets = inward(2, { at: 400_000, guest: { ...calm.guest, resetsAt: 20 } })
  const { c } = carried([refuses])
  assert.deepEqual([...c.failures, c.accepted, c.answered], [['ECONNREFUSED', 1], 0, false])
  const { c: both } = carried([refuses, deaf])
  assert.deepEqual(
    [...both.failures],
    [
      ['ECONNREFUSED', 1],
      ['ETIMEDOUT', 1]
    ]
  )
  assert.ok(both.answeredAt > 1000)
  const { c: later } = carried([{ ...resets, at: 0 }])
  assert.deepEqual([later.failures.size, later.accepted, later.answered, later.open], [0, 1, true, 0])
})

test('a peer that gives up says nothing of the target', () => {
  const gone = inward(0, { guest: { ...calm.guest, deaf: 1000 }, host: { ...calm.host, resetsAt: 5 } })
  const { c } = carried([gone])
  assert.deepEqual([c.begun, c.open, c.accepted, c.failures.size, c.answered], [1, 0, 0, 0, null])
})
