import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Native } from '../src/runtime/abi.js'
import { warmUp } from '../src/runtime/warm-up.js'
import { config } from './world-config.js'

test('warm-up: all made-up connections run to their end, whatever the configuration', () => {
  fc.assert(
    fc.property(fc.integer({ min: 556, max: 65480 }), fc.constantFrom('passt', 'pasta'), (mss, mode) => {
      const steps = warmUp(config(mss, mode), {} as Native)
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
