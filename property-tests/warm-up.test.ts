import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { recordItems } from '../src/codecs/log/record.js'
import { octets } from '../src/codecs/value/octets.js'
import type { WorldConfig } from '../src/runtime/data/world.js'
import { warmUp } from '../src/runtime/engine/warm-up.js'
import { CONNECTIONS, MOVES, warmUpMoves } from '../src/runtime/engine/warm-up-moves.js'
import { CONNECTIONS as MADE_UP, RESTARTS, warmUpRestart } from '../src/runtime/engine/warm-up-restart.js'
import { recorder } from '../src/runtime/record/recorder.js'
import { WORLD_CONFIG } from './world-config.js'

const config = (mss: number, mode: 'passt' | 'pasta'): WorldConfig => ({
  ...WORLD_CONFIG,
  mss4: mss,
  mss6: mss - 20,
  forward: { ...WORLD_CONFIG.forward, mode }
})

test('warm-up: all made-up connections run to their end, whatever the configuration', () => {
  fc.assert(
    fc.property(fc.integer({ min: 556, max: 65480 }), fc.constantFrom('passt', 'pasta'), (mss, mode) => {
      const steps = warmUp(config(mss, mode))
      let step = steps.next()
      while (step.done !== true) step = steps.next()
      for (const w of step.value) {
        assert.deepEqual([...w.counters], [])
        assert.deepEqual(
          w.flows.flatMap((f) => f?.kind ?? []),
          ['udp'],
          'the association waits for more'
        )
      }
    }),
    { numRuns: 3 }
  )
})

test('warm-up: with --record made-up turns are written down as real ones are', () => {
  const chunks: Uint8Array[] = []
  let count = 0
  const steps = warmUp(config(1460, 'pasta'), (w) => {
    // Each world its own file; the first one's is looked at
    const keep = count++ === 0
    const write = (chunk: Uint8Array): number => {
      if (keep) chunks.push(chunk.slice())
      return 0
    }
    const r = recorder({ write, empty: () => 0, seeks: false }, Number.POSITIVE_INFINITY, false, () => {})
    r.begin({ start: '', world: null, rules: [] })
    return r.feature(w)
  })
  while (steps.next().done !== true);
  const seen = new Map<string, number>()
  for (const { type } of recordItems(octets(Buffer.concat(chunks)))) seen.set(type, (seen.get(type) ?? 0) + 1)
  for (const type of ['Turn', 'Event', 'Effect'])
    assert.ok((seen.get(type) ?? 0) > 5000, `${seen.get(type)} ${type}`)
})

test('warm-up: made-up processes take the place of others, with all connections', () => {
  const steps = warmUpRestart(config(65480, 'pasta'))
  let step = steps.next()
  while (step.done !== true) step = steps.next()
  assert.equal(step.value, RESTARTS * MADE_UP)
})

test('warm-up: made-up guests move with all their connections, and back', () => {
  for (const mss of [556, 65480]) {
    const steps = warmUpMoves(config(mss, 'passt'))
    let step = steps.next()
    while (step.done !== true) step = steps.next()
    assert.deepEqual(step.value, { came: MOVES * CONNECTIONS, stayed: CONNECTIONS })
  }
})
