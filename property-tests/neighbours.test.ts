import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  type Neighbour,
  NUD_DELAY,
  NUD_FAILED,
  NUD_INCOMPLETE,
  NUD_REACHABLE,
  NUD_STALE
} from '../src/codecs/kernel/rtneigh.js'
import { AF_INET, AF_INET6 } from '../src/codecs/kernel/rtnetlink.js'
import { fromV4, type InAny, isV4 } from '../src/codecs/value/inany.js'
import type { NatConfig } from '../src/machines/address/nat.js'
import { NOTHING_SEEN } from '../src/machines/address/nat-inward.js'
import {
  CAPACITY,
  learnNeighbour,
  type NeighbourConfig,
  type NeighbourTable,
  NO_NEIGHBOURS,
  neighbourMac
} from '../src/machines/address/neighbours.js'
import { arbInAny, arbMac } from './arbitraries.js'

const v4 = (last: number): InAny => fromV4((198 << 24) | (51 << 16) | (100 << 8) | last)
const [GATEWAY, GUEST, PEER, MAPPED] = [v4(1), v4(2), v4(3), v4(9)]
const GATEWAY6: InAny = [0x20010db8, 0x90000, 0, 1]
const PEER6: InAny = [0x20010db8, 0x90000, 0, 3]
const OURS = 0x9a559a559a55
const [A, B] = [0x020000000001, 0x020000000002]

const nat = (map: boolean): NatConfig => ({
  assigned4: GUEST,
  assigned6: null,
  own4: GATEWAY,
  own6: GATEWAY6,
  mapHostLoopback4: map ? GATEWAY : null,
  mapHostLoopback6: map ? GATEWAY6 : null,
  mapGuestAddr4: MAPPED,
  mapGuestAddr6: null,
  dnsForward4: null,
  dnsForward6: null,
  dnsHost4: null,
  dnsHost6: null
})
const config = (map: boolean): NeighbourConfig => ({ ownMac: OURS, nat: nat(map), index4: 2, index6: 3 })
const neighbour = (addr: InAny, mac: number | null, more: Partial<Neighbour> = {}): Neighbour => ({
  family: isV4(addr) ? AF_INET : AF_INET6,
  index: isV4(addr) ? 2 : 3,
  state: NUD_REACHABLE,
  addr,
  mac,
  other: [],
  ...more
})
const after = (c: NeighbourConfig, ...list: ReadonlyArray<readonly [Neighbour, boolean?]>): NeighbourTable =>
  list.reduce(
    (t, [n, deleted]) => learnNeighbour(c, NOTHING_SEEN, t, n, deleted ?? false).table,
    NO_NEIGHBOURS
  )

describe('whose MAC the guest sees (behaviour.md#neighbours)', () => {
  const off = config(false)
  test('the neighbour, else the gateway, else we', () => {
    assert.equal(neighbourMac(off, NO_NEIGHBOURS, PEER), OURS)
    assert.equal(neighbourMac(off, after(off, [neighbour(PEER, A)]), PEER), A)
    const both = after(off, [neighbour(PEER, A)], [neighbour(GATEWAY, B)], [neighbour(PEER6, A)])
    assert.equal(neighbourMac(off, both, fromV4(0x08080808)), B)
    assert.equal(neighbourMac(off, both, PEER6), A)
    assert.equal(neighbourMac(off, both, [0x26060000, 0, 0, 1]), OURS)
  })
  test('what we stand for is ours, and so is what lies behind it', () => {
    const on = config(true)
    const t = after(on, [neighbour(GATEWAY, A)], [neighbour(MAPPED, A)], [neighbour(PEER, B)])
    assert.equal(neighbourMac(on, t, GATEWAY), OURS)
    assert.equal(neighbourMac(on, t, MAPPED), OURS)
    assert.equal(neighbourMac(on, t, fromV4(0x08080808)), OURS)
    assert.equal(neighbourMac(on, t, PEER), B)
  })
  test('only resolved ones, on the template interface, with an address that the guest can use', () => {
    assert.equal(after(off, [neighbour(PEER, A, { index: 7 })]).size, 0)
    assert.equal(after(off, [neighbour(PEER, A, { state: NUD_INCOMPLETE })]).size, 0)
    assert.equal(after(off, [neighbour(PEER, null)]).size, 0)
    assert.equal(after(off, [neighbour(fromV4(0xe0000001), A)]).size, 0)
    assert.equal(after(off, [neighbour(PEER, A, { state: NUD_STALE })]).size, 1)
    assert.equal(after(off, [neighbour(PEER, A, { state: NUD_DELAY })]).size, 1)
  })
  test('one that is gone or failed is forgotten', () => {
    assert.equal(after(off, [neighbour(PEER, A)], [neighbour(PEER, A), true]).size, 0)
    assert.equal(after(off, [neighbour(PEER, A)], [neighbour(PEER, null, { state: NUD_FAILED })]).size, 0)
  })
  test('a new one is announced once; ours, and a change, are not', () => {
    const first = learnNeighbour(off, NOTHING_SEEN, NO_NEIGHBOURS, neighbour(PEER, A), false)
    assert.deepEqual(first.announce, { addr: PEER, mac: A })
    assert.equal(learnNeighbour(off, NOTHING_SEEN, first.table, neighbour(PEER, A), false).table, first.table)
    assert.equal(learnNeighbour(off, NOTHING_SEEN, first.table, neighbour(PEER, A), false).announce, null)
    assert.equal(learnNeighbour(off, NOTHING_SEEN, first.table, neighbour(PEER, B), false).announce, null)
    assert.equal(
      learnNeighbour(off, NOTHING_SEEN, NO_NEIGHBOURS, neighbour(PEER, OURS), false).announce,
      null
    )
  })
  test('any sequence: bounded, and nobody takes what is ours', () => {
    const arb = fc.record({
      addr: fc.oneof(arbInAny, fc.constantFrom(GATEWAY, MAPPED, PEER, PEER6)),
      mac: arbMac
    })
    fc.assert(
      fc.property(fc.array(fc.tuple(arb, fc.boolean()), { maxLength: 200 }), fc.boolean(), (list, map) => {
        const c = config(map)
        const t = after(c, ...list.map(([{ addr, mac }, gone]) => [neighbour(addr, mac), gone] as const))
        assert.ok(t.size <= CAPACITY)
        assert.equal(neighbourMac(c, t, MAPPED), OURS)
        if (map) assert.equal(neighbourMac(c, t, GATEWAY), OURS)
      })
    )
    const many = Array.from(
      { length: 2 * CAPACITY },
      (_, i) => [neighbour(fromV4(0x0a000001 + i), A)] as const
    )
    assert.equal(after(off, ...many).size, CAPACITY)
  })
})
