import assert from 'node:assert/strict'
import { test } from 'node:test'
import { instant } from '../src/effects/effect.js'
import { NO_NEIGHBOURS } from '../src/machines/address/neighbours.js'
import { ABI_WORDS, EV, type Native } from '../src/runtime/abi/abi.js'
import { ringsOver } from '../src/runtime/abi/rings.js'
import { type Feature, install } from '../src/runtime/data/feature.js'
import { createWorld, type World } from '../src/runtime/data/world.js'
import { allFeatures } from '../src/runtime/engine/features.js'
import { handleTurn } from '../src/runtime/engine/loop.js'
import { Deadline, earliest } from '../src/runtime/flow/deadline.js'
import { logTo } from '../src/runtime/log/log.js'
import { WORLD_CONFIG } from './world-config.js'

const place = (): World =>
  createWorld(
    WORLD_CONFIG,
    ringsOver({} as Native, {
      slab: new ArrayBuffer(0x1000),
      effects: new ArrayBuffer(64 * ABI_WORDS * 4),
      events: new ArrayBuffer(8 * ABI_WORDS * 4),
      clock: new ArrayBuffer(16)
    }),
    logTo([], 0, () => 0),
    new Map(),
    new Map(),
    64
  )
const EVERYTHING = {
  link: { kind: 'socket', path: null },
  vhostUser: 'all',
  oneOff: false,
  pcap: 'x.pcapng',
  trace: true,
  stats: 1
} as const
const NEIGHBOURS = {
  config: { ownMac: 2, nat: WORLD_CONFIG.nat, index4: 1, index6: 1 },
  table: NO_NEIGHBOURS
}

test('each record that native can write has one feature that takes it', () => {
  const w = place()
  const all = allFeatures(w, EVERYTHING, { neighbours: NEIGHBOURS, portScan: null, client: null })
  install(w.features, all)
  const taken = all.flatMap((f) => Object.keys(f.takes ?? {}))
  // SPLICE_MOVED answers what nobody asks
  const written = Object.keys(EV).filter((name) => name !== 'SPLICE_MOVED')
  assert.deepEqual(taken.sort(), written.sort())
})

test('two that take the same are refused, by name', () => {
  const w = place()
  const one: Feature = { name: 'one', takes: { BOUND: () => {} } }
  assert.throws(() => install(w.features, [one, { ...one, name: 'two' }]), /BOUND: both 'one' and 'two'/)
})

test('what nobody takes is counted', () => {
  const w = place()
  w.rings.ev[0] = EV.NETLINK
  handleTurn(w, 1, instant(1))
  assert.equal(w.counters.get('event-without-flow'), 1)
})

test('a feature that fails in its time holds up no other', () => {
  const w = place()
  let ran = 0
  const bad: Feature = {
    name: 'bad',
    deadline: new Deadline(5),
    onTime: () => {
      throw new Error('a bug')
    }
  }
  const good: Feature = { name: 'good', deadline: new Deadline(5), onTime: () => void ran++ }
  install(w.features, [bad, good])
  handleTurn(w, 0, instant(4))
  assert.equal(ran, 0)
  handleTurn(w, 0, instant(5))
  assert.deepEqual([ran, w.counters.get('internal-error')], [1, 1])
})

test('the loop wakes for the earliest deadline of those that wake it', () => {
  const of = (...list: Deadline[]): number => earliest(list.map((deadline) => ({ deadline })))
  assert.equal(of(), Number.POSITIVE_INFINITY)
  assert.equal(of(new Deadline(7), new Deadline(3, false), new Deadline(5)), 5)
})
