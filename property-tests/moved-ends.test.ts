// What a state from another passt may bring: nothing that our own options keep from a guest.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  fromV4,
  type InAny,
  isLoopback,
  isUnicast,
  LOOPBACK4,
  LOOPBACK6,
  sameAddr,
  UNSPECIFIED4,
  UNSPECIFIED6
} from '../src/codecs/value/inany.js'
import { PROTO_TCP } from '../src/codecs/wire/checksum.js'
import { type Allowed, type MovedEnds, mayCome } from '../src/machines/address/moved-ends.js'
import { hostSideOf, UNMAPPED } from '../src/machines/address/nat.js'

const v4 = (a: number, b: number, c: number, d: number): InAny => fromV4((a << 24) | (b << 16) | (c << 8) | d)
const GATEWAY = v4(192, 0, 2, 1)
const HOST = v4(192, 0, 2, 2)
const PEER = v4(198, 51, 100, 7)
const STUB = v4(127, 0, 0, 53)
const PEER6: InAny = [0x20010db8, 0, 0, 7]
const HOST6: InAny = [0x20010db8, 0, 0, 2]

const ALL: Allowed = { nat: UNMAPPED, tcp: true, v4: true, v6: true, outbound4: null, outbound6: null }
const MAPPED: Allowed = {
  ...ALL,
  nat: { ...UNMAPPED, mapHostLoopback4: GATEWAY, dnsForward4: v4(192, 0, 2, 53), dnsHost4: STUB }
}
const ends = (
  peer: InAny,
  o: { own?: InAny; name?: InAny; peerPort?: number; fromHost?: boolean; guest?: InAny } = {}
): MovedEnds => ({
  host: { own: o.own ?? HOST, ownPort: 8001, peer, peerPort: o.peerPort ?? 22 },
  tap: { own: o.name ?? peer, ownPort: o.peerPort ?? 22, peer: o.guest ?? HOST, peerPort: 4000 },
  fromHost: o.fromHost ?? false
})
const listens = (port: number): boolean => port === 8001
const never = (): boolean => false

describe('a connection that another passt had', () => {
  test('goes on where a guest could have begun it', () => {
    assert.ok(mayCome(ALL, ends(PEER), never))
    assert.ok(mayCome(ALL, ends(PEER6, { own: HOST6 }), never))
    assert.ok(mayCome(MAPPED, ends(LOOPBACK4, { name: GATEWAY, own: LOOPBACK4 }), never))
    assert.ok(mayCome(MAPPED, ends(STUB, { name: v4(192, 0, 2, 53), peerPort: 53, own: LOOPBACK4 }), never))
    // Another passt had another name for it
    assert.ok(mayCome(ALL, ends(PEER, { name: v4(10, 0, 0, 1) }), never))
  })
  test("does not reach this host's loopback unless an option lets it", () => {
    for (const name of [PEER, GATEWAY, LOOPBACK4, STUB])
      assert.equal(mayCome(ALL, ends(LOOPBACK4, { name, own: LOOPBACK4 }), listens), false)
    assert.equal(mayCome(ALL, ends(LOOPBACK6, { name: PEER6, own: LOOPBACK6 }), listens), false)
    // Mapped, but not by this name, this port, this address
    assert.equal(mayCome(MAPPED, ends(LOOPBACK4, { name: PEER, own: LOOPBACK4 }), listens), false)
    assert.equal(mayCome(MAPPED, ends(STUB, { name: v4(192, 0, 2, 53), own: LOOPBACK4 }), listens), false)
    assert.equal(mayCome(MAPPED, ends(STUB, { name: GATEWAY, own: LOOPBACK4 }), listens), false)
    // Nor as if it had begun there
    const begun = ends(LOOPBACK4, { name: GATEWAY, own: LOOPBACK4, fromHost: true })
    assert.equal(mayCome(ALL, begun, never), false)
    assert.ok(mayCome(ALL, begun, listens))
    assert.ok(mayCome(MAPPED, begun, never))
  })
  test('what is disabled stays so', () => {
    for (const fromHost of [false, true]) {
      assert.equal(mayCome({ ...ALL, tcp: false }, ends(PEER, { fromHost }), listens), false)
      assert.equal(mayCome({ ...ALL, v4: false }, ends(PEER, { fromHost }), listens), false)
      assert.equal(mayCome({ ...ALL, v6: false }, ends(PEER6, { own: HOST6, fromHost }), listens), false)
      assert.ok(mayCome({ ...ALL, v6: false }, ends(PEER, { fromHost }), listens))
      assert.ok(mayCome({ ...ALL, v4: false }, ends(PEER6, { own: HOST6, fromHost }), listens))
    }
  })
  test('goes out from the address that is the one to go out from', () => {
    const o: Allowed = { ...ALL, outbound4: HOST, outbound6: HOST6 }
    assert.ok(mayCome(o, ends(PEER), never))
    assert.equal(mayCome(o, ends(PEER, { own: v4(192, 0, 2, 3) }), never), false)
    assert.equal(mayCome(o, ends(PEER6, { own: [0x20010db8, 0, 0, 9] }), never), false)
    // An answer goes out from where it was asked
    assert.ok(mayCome(o, ends(PEER, { own: v4(192, 0, 2, 3), fromHost: true }), never))
  })
  test('has ends', () => {
    const group = v4(224, 0, 0, 1)
    const broadcast = v4(255, 255, 255, 255)
    for (const fromHost of [false, true]) {
      for (const bad of [UNSPECIFIED4, group, broadcast]) {
        assert.equal(mayCome(MAPPED, ends(bad, { fromHost }), listens), false)
        assert.equal(mayCome(MAPPED, ends(bad, { fromHost, name: PEER }), listens), false)
        assert.equal(mayCome(MAPPED, ends(PEER, { fromHost, own: bad }), listens), false)
      }
      assert.equal(mayCome(ALL, ends(UNSPECIFIED6, { fromHost, name: PEER6, own: HOST6 }), listens), false)
      assert.equal(mayCome(ALL, ends(PEER, { fromHost, guest: UNSPECIFIED4 }), listens), false)
    }
  })
  test('whatever it says, to the loopback interface there is no other way than that of options', () => {
    const addr = fc.constantFrom(GATEWAY, HOST, PEER, STUB, LOOPBACK4, UNSPECIFIED4, v4(192, 0, 2, 53))
    fc.assert(
      fc.property(
        fc.record({
          peer: addr,
          own: addr,
          name: addr,
          fromHost: fc.boolean(),
          peerPort: fc.constantFrom(22, 53)
        }),
        fc.constantFrom(ALL, MAPPED),
        ({ peer, ...o }, allowed) => {
          const e = ends(peer, o)
          const to = hostSideOf(allowed.nat, PROTO_TCP, e.tap.own, e.tap.ownPort)
          if (!mayCome(allowed, e, never)) return
          assert.ok(isUnicast(peer) && isUnicast(e.host.own))
          if (isLoopback(peer) && !o.fromHost) assert.ok(to !== null && sameAddr(to.dst, peer))
          if (isLoopback(peer)) assert.equal(allowed, MAPPED)
        }
      )
    )
  })
})
