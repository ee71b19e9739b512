import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { UNMAPPED } from '../src/machines/nat.js'
import type { Native } from '../src/runtime/abi.js'
import { warmUp } from '../src/runtime/warm-up.js'
import type { WorldConfig } from '../src/runtime/world.js'
import { CONFIG } from './services-arbitraries.js'

const config = (mss: number, mode: 'passt' | 'pasta'): WorldConfig => ({
  guestMac: 0x020000000002,
  guest: CONFIG,
  nat: UNMAPPED,
  outbound4: null,
  outbound6: null,
  scope6: 0,
  tcp: true,
  udp: true,
  icmp: true,
  v4: true,
  v6: true,
  mss4: mss,
  mss6: mss - 20,
  hashKey: [1, 2],
  issKey: [3, 4],
  forward: { mode, splice: true, spliceOnly: false, hostLoToNsLo: false, tapIndex: 2 },
  udpTimeouts: { oneWay: 30, stream: 180 },
  limits: { flows: 64, files: 64, ports: 64, halfOpen: 64 },
  sharedTcpPorts: false,
  flowComments: false
})

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
