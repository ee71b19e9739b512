import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { EV } from '../src/runtime/abi/abi.js'
import { everything, type Stage } from '../src/runtime/engine/warm-up.js'
import { at, opened, type Recorded, recordOf, replayed } from './recorded.js'

/** The warm-up's guests in a recorded world. */
const guests = (r: Recorded, rounds: number): void => {
  for (let i = 0; i < rounds; i++) {
    const s: Stage = { w: r.w, v6: (i & 1) === 1, now: at(1 + i * 1000), handle: r.turn }
    everything(s, i < 2, true)
  }
}

describe('a record replays', () => {
  test('what the warm-up does: every effect is the same', () => {
    const file = recordOf((r) => guests(r, 6))
    const { turns, end } = opened(file)
    assert.deepEqual([end.cut, end.why], [null, 'error'])
    const { all, counters } = replayed(file)
    assert.deepEqual(all.at(-1)?.difference, null)
    assert.equal(all.length, turns.length)
    assert.deepEqual(counters, end.counters)
    const effects = all.reduce((n, t) => n + t.made.flat().length, 0)
    assert.ok(turns.length > 300 && effects > 300, `${turns.length} turns, ${effects} effects`)
    assert.ok(turns.some((t) => t.events.some((e) => e.words[0] === EV.SPLICE_EOF)))
  })
})
