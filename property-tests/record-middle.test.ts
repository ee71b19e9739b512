// Records that begin in the middle of a run: a world that is written and read again does what the first one does.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { GUEST_SERVER } from '../src/runtime/engine/warm-up.js'
import { play } from './played.js'
import { act, arbActs } from './record-arbitraries.js'
import { opened, type Recorded, type RecordOptions, recordOf, replayed, START } from './recorded.js'
import { addr } from './services-arbitraries.js'
import { holds, scenario } from './tcp-arbitraries.js'

const RUNS = Number(process.env.FC_RUNS ?? 40)

/** The same, and told of each turn. */
const told = (r: Recorded, turn: () => void): Recorded => ({
  ...r,
  turn: (...a) => {
    turn()
    return r.turn(...a)
  },
  come: (...a) => {
    turn()
    return r.come(...a)
  }
})
/** Turns that `run` has. */
const turnsOf = (run: (r: Recorded) => void, o: RecordOptions): number => {
  let n = 0
  recordOf((r) => run(told(r, () => n++)), o)
  return n
}
/** Whatever turn it begins behind, every effect and every counter is as recorded. `at`: of all turns, in [0, 1). */
const assertSameFrom = (run: (r: Recorded) => void, at: number, o: RecordOptions = {}): void => {
  const from = 1 + Math.floor(at * turnsOf(run, o))
  let turns = 0
  const file = recordOf((r) => run(told(r, () => turns++)), { ...o, from })
  // A turn that only a record makes may take the place of the last one
  if (turns < from) return
  const { turns: left, end, hasWorld } = opened(file)
  assert.deepEqual([end.cut, end.why, hasWorld], [null, 'error', true])
  assert.equal(left.length, turns - from)
  const { all, counters } = replayed(file)
  assert.deepEqual(all.at(-1)?.difference ?? null, null, `from turn ${from} of ${turns}`)
  assert.equal(all.length, left.length)
  assert.deepEqual(counters, end.counters)
}
const arbPlace = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true })

describe('a record that begins behind any turn replays exactly', () => {
  test('of what the warm-up does', () => {
    fc.assert(
      fc.property(arbPlace, (at) => assertSameFrom((r) => act(r, [], 4), at)),
      { numRuns: RUNS / 4 }
    )
  })
  test('of any run', () => {
    fc.assert(
      fc.property(arbActs, arbPlace, fc.boolean(), (acts, at, payload) =>
        assertSameFrom((r) => act(r, acts), at, { start: { ...START, payload } })
      ),
      { numRuns: RUNS }
    )
  })
  test('of any connection between a simulated guest and a simulated host', () => {
    const places = fc.sample(arbPlace, RUNS)
    let n = 0
    holds(
      scenario(false),
      (s) => {
        const inward = { guestPort: GUEST_SERVER, peerPort: 50_000 }
        const outward = { guestPort: 40_000, peerPort: 80 }
        const c = { ...s, ...(s.opener === 'host' ? inward : outward), at: 0, peer: addr('203.0.113.80') }
        assertSameFrom((r) => void play(r, [c]), places[n++ % places.length]!)
      },
      RUNS / 4
    )
  })
})
