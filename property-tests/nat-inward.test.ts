import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  fromV4,
  type InAny,
  isBroadcast4,
  isLinkLocal,
  isLoopback,
  isMulticast,
  isUnicast,
  isUnspecified,
  isV4,
  LOOPBACK4,
  LOOPBACK6,
  sameAddr,
  UNSPECIFIED4,
  UNSPECIFIED6
} from '../src/codecs/value/inany.js'
import { PROTO_UDP } from '../src/codecs/wire/checksum.js'
import { type NatConfig, reverseSource } from '../src/machines/address/nat.js'
import {
  guestAddress,
  inwardFlow,
  inwardTap,
  NOTHING_SEEN,
  type Seen,
  spliceTargetIn,
  spliceTargetOut,
  wantsSplice
} from '../src/machines/address/nat-inward.js'
import type { Rule } from '../src/machines/forward/forward-rules.js'
import { createFlowTable } from '../src/runtime/flow/flow-table.js'
import { arbInAny, arbInAny4, arbInAny6, plain } from './arbitraries.js'

const v4 = (a: number, b: number, c: number, d: number): InAny => fromV4((a << 24) | (b << 16) | (c << 8) | d)
const GATEWAY = v4(198, 51, 100, 1)
const GUEST = v4(198, 51, 100, 2)
const MAPPED = v4(198, 51, 100, 9)
const WORLD = v4(8, 8, 8, 8)
const STUB = v4(127, 0, 0, 53)
const GATEWAY6: InAny = [0x20010db8, 0x90000, 0, 1]
const GUEST6: InAny = [0x20010db8, 0x90000, 0, 2]
const WORLD6: InAny = [0x2606, 0, 0, 0x1111]
const OWN_LL: InAny = [0xfe800000, 0, 0, 1]
const GUEST_LL: InAny = [0xfe800000, 0, 0, 2]
const HOST_LL: InAny = [0xfe800000, 0, 0, 7]

const NAT: NatConfig = {
  assigned4: GUEST,
  assigned6: GUEST6,
  own4: GATEWAY,
  own6: GATEWAY6,
  mapHostLoopback4: GATEWAY,
  mapHostLoopback6: GATEWAY6,
  mapGuestAddr4: MAPPED,
  mapGuestAddr6: null,
  dnsForward4: null,
  dnsForward6: null,
  dnsHost4: null,
  dnsHost6: null
}
const SEEN: Seen = { v4: v4(198, 51, 100, 77), v6: [0x20010db8, 0x90000, 0, 0x77], linkLocal6: GUEST_LL }
const RULE: Rule = {
  proto: 'udp',
  direction: 'in',
  bind: null,
  v6only: false,
  ifname: null,
  first: 8000,
  last: 8010,
  to: 7800,
  toAddress: null,
  weak: false,
  scan: false,
  spec: 0,
  given: null,
  unix: null
}

describe('source as the guest sees it, in order', () => {
  const rows: ReadonlyArray<readonly [string, InAny, InAny | null]> = [
    ['127.0.0.1: the loopback map', LOOPBACK4, GATEWAY],
    ['::1: the loopback map', LOOPBACK6, GATEWAY6],
    ["the guest's own address: the guest map", GUEST, MAPPED],
    ['other loopback: us', STUB, GATEWAY],
    ['last seen address of the guest: us', SEEN.v4!, GATEWAY],
    ["the guest's IPv6 address, no map: us, by the global gateway", GUEST6, GATEWAY6],
    ["the guest's link-local address: us", GUEST_LL, GATEWAY6],
    ['the world: unchanged', WORLD, WORLD],
    ['the world, IPv6', WORLD6, WORLD6],
    ['regression-91: multicast is nobody', v4(224, 0, 0, 251), null],
    ['regression-91: multicast, IPv6', [0xff020000, 0, 0, 0xfb], null],
    ['broadcast', v4(255, 255, 255, 255), null],
    ['unspecified', UNSPECIFIED4, null],
    ['unspecified, IPv6', UNSPECIFIED6, null]
  ]
  for (const [title, peer, want] of rows)
    test(title, () => assert.deepEqual(inwardTap(NAT, SEEN, peer), want))
  test('no loopback map: us; without any address of ours: refused', () => {
    const c = { ...NAT, mapHostLoopback4: null }
    assert.deepEqual(inwardTap({ ...c, own4: MAPPED }, SEEN, LOOPBACK4), MAPPED)
    assert.equal(inwardTap({ ...c, own4: null }, SEEN, LOOPBACK4), null)
  })
})

describe("the guest's address", () => {
  test('last seen, in the scope of the source; the configured one before anything is seen', () => {
    assert.deepEqual(guestAddress(NAT, SEEN, WORLD), SEEN.v4)
    assert.deepEqual(guestAddress(NAT, NOTHING_SEEN, WORLD), GUEST)
    assert.deepEqual(guestAddress(NAT, SEEN, WORLD6), SEEN.v6)
    assert.deepEqual(guestAddress(NAT, SEEN, OWN_LL), GUEST_LL)
    assert.deepEqual(guestAddress(NAT, NOTHING_SEEN, WORLD6), GUEST6)
    assert.deepEqual(guestAddress(NAT, NOTHING_SEEN, OWN_LL), GUEST6)
    assert.deepEqual(guestAddress({ ...NAT, assigned6: null }, { ...SEEN, v6: null }, WORLD6), GUEST_LL)
    assert.equal(guestAddress({ ...NAT, assigned4: null }, NOTHING_SEEN, WORLD), null)
  })
  test('a link-local host keeps its scope', () =>
    assert.deepEqual(inwardFlow(NAT, SEEN, RULE, HOST_LL, 8000), {
      src: HOST_LL,
      dst: GUEST_LL,
      dstPort: 7800
    }))
  test('regression-33: the port is mapped', () =>
    assert.equal(inwardFlow(NAT, SEEN, RULE, WORLD, 8002)?.dstPort, 7802))
  test('target address instead; of another IP version: refused', () => {
    const rule = { ...RULE, toAddress: v4(198, 51, 100, 50) }
    assert.deepEqual(inwardFlow(NAT, SEEN, rule, WORLD, 8000)?.dst, rule.toAddress)
    assert.equal(inwardFlow(NAT, SEEN, rule, WORLD6, 8000), null)
    assert.equal(inwardFlow(NAT, SEEN, { ...RULE, toAddress: STUB }, WORLD, 8000), null)
  })
  test("a guest that took the gateway's address: refused, not sent to itself", () =>
    assert.equal(inwardFlow(NAT, { ...SEEN, v4: GATEWAY }, RULE, LOOPBACK4, 8000), null))
})

const nullable = <A>(a: fc.Arbitrary<A>): fc.Arbitrary<A | null> => fc.option(a)
/** As options.ts lets them through. */
const usable = (a: InAny): boolean => isUnicast(a) && !isLoopback(a)
const pool4 = fc.oneof(fc.constantFrom(GATEWAY, GUEST, MAPPED, WORLD, SEEN.v4!), arbInAny4).filter(usable)
const pool6 = fc.oneof(fc.constantFrom(GATEWAY6, GUEST6, WORLD6, OWN_LL, GUEST_LL), arbInAny6).filter(usable)
const arbNat: fc.Arbitrary<NatConfig> = plain<NatConfig>({
  assigned4: nullable(pool4),
  assigned6: nullable(pool6),
  own4: nullable(pool4),
  own6: nullable(pool6),
  mapHostLoopback4: nullable(pool4),
  mapHostLoopback6: nullable(pool6),
  mapGuestAddr4: nullable(pool4),
  mapGuestAddr6: nullable(pool6),
  dnsForward4: nullable(pool4),
  dnsForward6: nullable(pool6),
  dnsHost4: nullable(pool4),
  dnsHost6: nullable(pool6)
})
const arbSeen: fc.Arbitrary<Seen> = plain<Seen>({
  v4: nullable(pool4),
  v6: nullable(pool6.filter((a) => !isLinkLocal(a))),
  linkLocal6: nullable(fc.constant(GUEST_LL))
})
const arbPeer = fc.oneof(fc.constantFrom(LOOPBACK4, LOOPBACK6, STUB, GUEST, GUEST6, GUEST_LL), arbInAny)
const arbRule: fc.Arbitrary<Rule> = nullable(fc.oneof(arbInAny)).map((toAddress) => ({ ...RULE, toAddress }))

describe('laws', () => {
  test('what the guest sees is fit for its link: never loopback, unspecified, multicast, broadcast, nor itself', () =>
    fc.assert(
      fc.property(arbNat, arbSeen, arbRule, arbPeer, (c, seen, rule, peer) => {
        const src = inwardTap(c, seen, peer)
        if (src !== null) {
          assert.ok(
            !isLoopback(src) && !isUnspecified(src) && !isMulticast(src) && !isBroadcast4(src),
            `${src}`
          )
          assert.equal(isV4(src), isV4(peer))
        }
        const flow = inwardFlow(c, seen, rule, peer, 8001)
        if (flow === null) return
        assert.deepEqual(flow.src, src)
        assert.ok(
          isV4(flow.dst) === isV4(flow.src) && !sameAddr(flow.dst, flow.src) && usable(flow.dst),
          `${flow.dst}`
        )
        assert.equal(flow.dstPort, 7801)
      }),
      { numRuns: 1000 }
    ))
  test('a public peer that is not the guest keeps its address', () =>
    fc.assert(
      fc.property(arbNat, arbSeen, arbInAny.filter(usable), (c, seen, peer) => {
        const guests = [c.assigned4, c.assigned6, seen.v4, seen.v6, seen.linkLocal6]
        if (guests.some((g) => g !== null && sameAddr(g, peer))) return
        assert.deepEqual(inwardTap(c, seen, peer), peer)
      })
    ))
  test('regression-23, regression-29: an answer finds its peer by the flow, and by nothing else', () =>
    fc.assert(
      fc.property(arbNat, arbSeen, fc.array(arbPeer, { maxLength: 12 }), (c, seen, peers) => {
        // all from port 4444 to one port: the four numbers of the tap side are all that tells them apart
        const table = createFlowTable([1, 2], 64)
        const flows = new Map<number, InAny>()
        for (const peer of peers) {
          const flow = inwardFlow(c, seen, RULE, peer, 8000)
          if (flow === null) continue
          const key = [PROTO_UDP, flow.dst, flow.dstPort, flow.src, 4444] as const
          const known = table.find(...key)
          if (known >= 0) {
            // same to the guest: the first one has the flow, the second gets none rather than the first one's answers
            assert.ok(sameAddr(inwardTap(c, seen, flows.get(known)!)!, flow.src), 'wrong flow')
            continue
          }
          flows.set(table.insert(...key), peer)
          assert.deepEqual(reverseSource(c, { ourAddr: flow.src, hostAddr: peer }, peer, seen.v4), flow.src)
        }
      })
    ))
})

describe('host to namespace past the tap', () => {
  test('only from loopback, only pasta, not with --no-splice', () => {
    assert.ok(wantsSplice('pasta', true, STUB))
    assert.ok(wantsSplice('pasta', true, LOOPBACK6))
    assert.ok(!wantsSplice('pasta', true, GUEST))
    assert.ok(!wantsSplice('pasta', false, LOOPBACK4))
    assert.ok(!wantsSplice('passt', true, LOOPBACK4))
  })
  const to = (local: InAny, lo: boolean, seen: Seen = SEEN, c: NatConfig = NAT): InAny | undefined =>
    spliceTargetIn(c, seen, lo, RULE, local, 8001)?.dst
  test("by default the namespace's public address, source the kernel's choice", () => {
    assert.deepEqual(spliceTargetIn(NAT, SEEN, false, RULE, STUB, 8001), {
      dst: SEEN.v4,
      dstPort: 7801,
      src: null,
      tapScope: false
    })
    assert.deepEqual(to(LOOPBACK6, false), SEEN.v6)
    assert.deepEqual(to(LOOPBACK4, false, NOTHING_SEEN), GUEST)
  })
  test('no global IPv6 address: link-local, with the scope of the tap; no address at all: refused', () => {
    const c = { ...NAT, assigned4: null, assigned6: null }
    const t = spliceTargetIn(c, { ...SEEN, v6: null }, false, RULE, LOOPBACK6, 8001)
    assert.deepEqual([t?.dst, t?.tapScope], [GUEST_LL, true])
    assert.equal(to(LOOPBACK6, false, NOTHING_SEEN, c), undefined)
    assert.equal(to(LOOPBACK4, false, NOTHING_SEEN, c), undefined)
  })
  test('regression-79, regression-92: --host-lo-to-ns-lo keeps the very loopback address', () => {
    assert.deepEqual(to(v4(127, 0, 0, 9), true), v4(127, 0, 0, 9))
    assert.deepEqual(to(LOOPBACK6, true), LOOPBACK6)
    assert.deepEqual(to(GUEST, true), LOOPBACK4)
  })
  test("without it, nothing that the guest does opens the namespace's loopback", () =>
    fc.assert(
      fc.property(
        arbNat,
        plain<Seen>({ v4: nullable(arbInAny4), v6: nullable(arbInAny6), linkLocal6: nullable(arbInAny6) }),
        arbPeer,
        (c, seen, local) => {
          const t = spliceTargetIn(c, seen, false, RULE, local, 8001)
          assert.ok(t === null || usable(t.dst), `${t?.dst}`)
        }
      )
    ))
})

describe('namespace to host past the tap', () => {
  test('regression-79, regression-92: both addresses are kept', () =>
    assert.deepEqual(spliceTargetOut(RULE, LOOPBACK4, STUB, 8001), {
      dst: STUB,
      dstPort: 7801,
      src: LOOPBACK4,
      tapScope: false
    }))
  test('both ends loopback, or refused', () =>
    fc.assert(
      fc.property(arbPeer, arbPeer, (peer, local) => {
        const t = spliceTargetOut(RULE, peer, local, 8001)
        assert.equal(t !== null, isLoopback(peer) && isLoopback(local))
        if (t !== null) assert.deepEqual(t.dst, local)
      })
    ))
  test('another target has no loopback source', () =>
    assert.equal(spliceTargetOut({ ...RULE, toAddress: WORLD }, LOOPBACK4, STUB, 8001)?.src, null))
})
