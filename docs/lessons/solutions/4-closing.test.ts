import { strict as assert } from 'node:assert'
import { test } from 'node:test'
import fc from 'fast-check'
import { scenario, subject, type TcpState } from '../../../property-tests/tcp-arbitraries.js'
import type { Effect } from '../../../src/effects/effect.js'
import { type Subject, World } from '../../../src/simulator/tcp.js'

// Lesson 4: each side hears of the other's end behind all of its data, and once; then the socket is given back, once.

const property = (machine: Subject<TcpState>) =>
  fc.property(scenario(false), (s) => {
    const asked: Effect['type'][] = []
    const watched: Subject<TcpState> = {
      ...machine,
      step: (state, e, out) => {
        const before = out.length
        const next = machine.step(state, e, out)
        asked.push(...out.slice(before).map((x) => x.type))
        return next
      }
    }
    const calmLink = { ...s, fates: [], guest: { ...s.guest, deaf: 0 } }
    const world = new World(watched, calmLink).run()
    const times = (type: Effect['type']): number => asked.filter((t) => t === type).length
    assert(world.complete, 'a stream, or its end, did not arrive')
    assert.deepEqual([times('ShutdownWr'), times('CloseSock'), times('ResetSock')], [1, 1, 0])
  })

/** It closes both directions as soon as one has ended: no half-close. */
const hurried: Subject<TcpState> = {
  ...subject,
  step: (s, e, out) => {
    const before = out.length
    const next = subject.step(s, e, out)
    for (let i = before; i < out.length; i++)
      if (out[i]!.type === 'ShutdownWr' && !subject.isFinal(next)) out[i] = { type: 'CloseSock' }
    return next
  }
}

test('each end is passed on, once, behind all data', () => fc.assert(property(subject), { numRuns: 50 }))
test('a TCP without half-close is found', () =>
  assert(fc.check(property(hurried), { endOnFailure: true }).failed))
