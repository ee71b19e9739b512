import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { instant } from '../src/effects/effect.js'
import { collectWhenCalm } from '../src/runtime/engine/collect-when-calm.js'

/** As loop.ts has it. */
const turn = (it: ReturnType<typeof collectWhenCalm>, n: number, now: number): void => {
  it.events(n, instant(now))
  if (now >= it.deadline.at) it.onTime(instant(now))
}

/** Turns as [events, ms since the last one]; when a collection was asked for. */
const collections = (turns: ReadonlyArray<readonly [number, number]>): number[] => {
  const at: number[] = []
  let now = 1_000_000
  const it = collectWhenCalm(() => at.push(now))
  for (const [n, ms] of turns) {
    now += ms
    turn(it, n, now)
  }
  return at
}
const busy = Array.from({ length: 1_000 }, () => [100, 1] as const)

describe('memory is given back', () => {
  test('once, when a busy time is over, and it says when to look', () => {
    assert.equal(collections([...busy, [0, 3000], [0, 3000], [0, 3000], [0, 3000]]).length, 1)
    const it = collectWhenCalm(() => {})
    assert.equal(it.deadline.wakes, false)
    turn(it, 100_000, 10_000)
    assert.deepEqual([it.deadline.wakes, it.deadline.at], [true, 13_000])
  })
  test('also while a few events trickle in', () => {
    assert.equal(collections([...busy, ...Array.from({ length: 30 }, () => [1, 500] as const)]).length, 1)
  })
  test('every 200 s under a light load that does not end, never under a heavy one', () => {
    const evenly = (n: number) => collections(Array.from({ length: 12_000 }, () => [n, 100] as const))
    const light = evenly(50)
    assert.ok(light.length >= 4 && light.length <= 6, `${light.length}`)
    assert.deepEqual(evenly(101), [])
  })
  test('never under load, and never after little', () => {
    const load = fc.array(fc.tuple(fc.integer({ min: 101, max: 500 }), fc.integer({ min: 1, max: 900 })))
    fc.assert(fc.property(load, (turns) => collections(turns.map(([n, ms]) => [n * 4, ms])).length === 0))
    const little = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 9_000 })))
    fc.assert(fc.property(little, (turns) => collections(turns).length === 0))
  })
})
