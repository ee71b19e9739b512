import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Violation } from '../src/simulator/clock.js'
import { real } from './arbitraries.js'
import { type HelperAct, type HelperScript, Pair, type PairScript } from './migration-pair.js'

// Source and target of a migration, with everything between them that can fail, anywhere.

const rarely = <A>(a: fc.Arbitrary<A>, none: A, weight = 3): fc.Arbitrary<A> =>
  fc.oneof({ weight, arbitrary: fc.constant(none) }, { weight: 1, arbitrary: a })
const act: fc.Arbitrary<HelperAct> = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0.1, 5, 900).map((answers) => ({ answers })) },
  { weight: 1, arbitrary: fc.constantFrom(0, 1, 100, 253).map((dies) => ({ dies })) },
  { weight: 1, arbitrary: fc.constant('silent' as const) }
)
const helper: fc.Arbitrary<HelperScript> = fc.record({
  comesAt: fc.constantFrom<(number | null)[]>(0, 0, 0, 60, 145, 300, null),
  acts: fc.array(act, { maxLength: 6 }),
  returns: fc.constantFrom<(number | null)[]>(null, 3, 4000)
})
const shares = rarely<readonly number[]>(fc.array(fc.nat(99), { maxLength: 40 }), [])
export const pairScript: fc.Arbitrary<PairScript> = fc.record({
  connections: fc.constantFrom(0, 1, 3, 30, 253, 254, 300),
  opening: fc.nat(2),
  linger: fc.boolean(),
  exit: rarely(fc.constant(true), false),
  source: helper,
  target: helper,
  pipe: fc.constantFrom(700, 4096, 65_536),
  reads: fc.array(fc.constantFrom(1000, 65_536, 777, 7), { minLength: 1, maxLength: 4 }),
  cutAt: rarely<number | null>(fc.oneof(fc.nat(300), fc.nat(60_000)), null),
  sticksAt: rarely<number | null>(fc.oneof(fc.nat(300), fc.nat(60_000)), null, 6),
  queues: fc.array(fc.constantFrom(0, 10, 300), { maxLength: 4 }),
  undumped: shares,
  unentered: shares,
  unrestored: shares,
  endsAt: rarely(fc.array(fc.nat(10), { maxLength: 3 }), [], 5),
  // oftener what takes longer to fail
  guest: fc.constantFrom('goes' as const, 'goes' as const, 'stays' as const),
  cancelsAt: rarely<number | null>(fc.oneof(real(0.02, 2), real(0.02, 200), real(0.02, 3000)), null, 4),
  waits: fc.constantFrom(0, 50)
})
const calm: PairScript = {
  connections: 300,
  opening: 1,
  linger: true,
  exit: false,
  source: { comesAt: 0, acts: [], returns: null },
  target: { comesAt: 0, acts: [], returns: null },
  pipe: 65_536,
  reads: [65_536],
  cutAt: null,
  sticksAt: null,
  queues: [0, 5000],
  undumped: [],
  unentered: [],
  unrestored: [],
  endsAt: [],
  guest: 'goes',
  cancelsAt: null,
  waits: 0
}

/** In the end each connection lives where its guest is, on that side only; or nobody has it, and the guest is told or finds out. */
const check = (p: Pair): void => {
  for (const [i, c] of p.connections.entries()) {
    const live = [c.source?.live === true ? 'source' : null, c.target?.live === true ? 'target' : null]
    const where = live.filter((x) => x !== null)
    assert.ok(where.length <= 1, `connection ${i} lives on ${where}`)
    if (where.length === 1 && !c.peerReset) {
      assert.equal(where[0], p.guestAt, `connection ${i} lives without its guest (${p.states})`)
      const x = (where[0] === 'source' ? c.source : c.target)!
      assert.equal(x.count, c.peerCount, `connection ${i} and its peer`)
      continue
    }
    // nothing is left that could stay for ever: not frozen, not in repair mode
    for (const [name, x] of [
      ['source', c.source],
      ['target', c.target]
    ] as const)
      assert.ok(
        x === null || !x.open || x.live || p.exited,
        `connection ${i}: its ${name} socket stays (${p.states})`
      )
  }
  assert.deepEqual(p.fds, { source: 0, target: 0 }, 'descriptors')
}
const run = (s: PairScript): Pair => {
  const p = new Pair(s)
  try {
    p.run()
    check(p)
  } catch (e) {
    if (e instanceof Violation || e instanceof assert.AssertionError)
      throw new Error(`${e.message}\n${p.clock.trace.slice(-80).join('\n')}`)
    throw e
  }
  return p
}
const living = (p: Pair, on: 'source' | 'target'): number =>
  p.connections.filter((c) => c[on]?.live === true && !c.peerReset).length

describe('a migration', () => {
  test('whatever fails: each connection on one side or on none, no octet lost or twice, nothing left over', () => {
    const found = fc.check(
      fc.property(pairScript, (s) => void run(s)),
      { numRuns: Number(process.env.FC_RUNS ?? 150) }
    )
    if (found.failed)
      assert.fail(
        `${JSON.stringify(found.counterexample)}\n${found.errorInstance}\nseed ${found.seed}, path ${found.counterexamplePath}`
      )
  })
  test('if nothing fails all move, in two batches; both sides say so', () => {
    const p = run(calm)
    assert.equal(living(p, 'target'), 300)
    assert.deepEqual([p.saved[0]?.report.moved, p.loaded[0]?.moved], [300, 300])
    assert.equal(p.saved[0]?.report.stopped, 1)
    assert.ok(p.moved && !p.exited)
    assert.deepEqual(p.listening, [true, false])
  })
  test('and if the guest stays after all, all go on where they were', () => {
    const p = run({ ...calm, guest: 'stays' })
    assert.equal(living(p, 'source'), 300)
    assert.deepEqual(p.listening, [true, false, true])
    assert.deepEqual(p.loaded, [])
  })
  test('without a helper none moves, and the guest does', () => {
    const p = run({ ...calm, source: { ...calm.source, comesAt: null } })
    assert.equal(living(p, 'source') + living(p, 'target'), 0)
    assert.equal(p.saved[0]?.report.lost['no-helper'], 300)
    assert.ok(p.connections.every((c) => c.peerReset))
    const stays = run({ ...calm, source: { ...calm.source, comesAt: null }, guest: 'stays' })
    assert.equal(living(stays, 'source'), 300)
  })
  test('a helper that dies between two batches: those of the first move', () => {
    const p = run({ ...calm, source: { ...calm.source, acts: [{ answers: 0.1 }, { dies: 10 }] } })
    assert.equal(living(p, 'target'), 253)
    assert.equal(p.saved[0]?.report.lost['helper-failed'], 47)
    assert.equal(p.loaded[0]?.lost['not-sent'], 47)
  })
  test('one that is silent costs a second, and nothing else', () => {
    const p = run({ ...calm, source: { ...calm.source, acts: ['silent'] } })
    assert.equal(p.saved[0]?.report.lost['helper-failed'], 300)
    assert.ok(p.saved[0]!.report.ms < 1100)
  })
  test('no helper at the target, or a pipe that is cut: the source goes on with everything', () => {
    for (const s of [
      { ...calm, target: { ...calm.target, comesAt: null } },
      { ...calm, cutAt: 20_000 },
      { ...calm, cutAt: 10 },
      { ...calm, sticksAt: 20_000 }
    ])
      assert.equal(living(run(s), 'source'), 300)
  })
  test('of a roll-back without a helper what was in repair mode is reset; a new helper saves it', () => {
    const dies = {
      ...calm,
      guest: 'stays' as const,
      source: { ...calm.source, acts: [{ answers: 0.1 }, { dies: 0 }] }
    }
    assert.equal(living(run(dies), 'source'), 0)
    assert.equal(living(run({ ...dies, source: { ...dies.source, returns: 3000 } }), 'source'), 300)
  })
})
