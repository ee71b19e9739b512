import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  fromV4,
  type InAny,
  isUnicast,
  isV4,
  LOOPBACK4,
  LOOPBACK6,
  sameAddr,
  UNSPECIFIED4,
  UNSPECIFIED6
} from '../src/codecs/value/inany.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../src/codecs/wire/checksum.js'
import { hostSideOf, type NatConfig, reverseSource, UNMAPPED } from '../src/machines/address/nat.js'
import { createFlowTable } from '../src/runtime/flow/flow-table.js'

const v4 = (a: number, b: number, c: number, d: number): InAny => fromV4((a << 24) | (b << 16) | (c << 8) | d)
const GATEWAY = v4(192, 0, 2, 1)
const GUEST = v4(192, 0, 2, 2)
const STUB = v4(127, 0, 0, 53)
const USUAL: NatConfig = {
  ...UNMAPPED,
  assigned4: GUEST,
  own4: GATEWAY,
  mapHostLoopback4: GATEWAY,
  mapGuestAddr4: v4(192, 0, 2, 9),
  dnsForward4: GATEWAY,
  dnsHost4: STUB
}

// Few addresses, so that mappings meet one another and the peers.
const addr4 = fc.constantFrom(
  GATEWAY,
  GUEST,
  STUB,
  LOOPBACK4,
  v4(192, 0, 2, 9),
  v4(8, 8, 8, 8),
  v4(224, 0, 0, 251),
  v4(255, 255, 255, 255),
  UNSPECIFIED4
)
const addr6 = fc.constantFrom<InAny>(
  [0x20010db8, 0, 0, 1],
  [0x20010db8, 0, 0, 2],
  [0xfe800000, 0, 0, 1],
  LOOPBACK6,
  [0xff020000, 0, 0, 0xfb],
  UNSPECIFIED6
)
const maybe4 = fc.option(addr4)
const maybe6 = fc.option(addr6)
const config: fc.Arbitrary<NatConfig> = fc.record({
  assigned4: maybe4,
  assigned6: maybe6,
  own4: maybe4,
  own6: maybe6,
  mapHostLoopback4: maybe4,
  mapHostLoopback6: maybe6,
  mapGuestAddr4: maybe4,
  mapGuestAddr6: maybe6,
  dnsForward4: maybe4,
  dnsForward6: maybe6,
  dnsHost4: maybe4,
  dnsHost6: maybe6
})
const port = fc.constantFrom(0, 53, 54, 853, 7055)

describe('to the host', () => {
  const to = (proto: number, dst: InAny, p: number) => hostSideOf(USUAL, proto, dst, p)
  test('DNS by address and port, before the loopback map', () => {
    for (const proto of [PROTO_TCP, PROTO_UDP])
      for (const p of [53, 853]) assert.deepEqual(to(proto, GATEWAY, p), { dst: STUB, dstPort: p })
    assert.deepEqual(to(PROTO_UDP, GATEWAY, 54), { dst: LOOPBACK4, dstPort: 54 })
    assert.deepEqual(to(PROTO_ICMP, GATEWAY, 53), { dst: LOOPBACK4, dstPort: 53 })
  })
  test('regression-79, regression-92: a resolver on 127.0.0.53 stays on 127.0.0.53', () =>
    assert.deepEqual(to(PROTO_UDP, GATEWAY, 53)?.dst, STUB))
  test('guest address map; the assigned address itself is unchanged', () => {
    assert.deepEqual(to(PROTO_TCP, v4(192, 0, 2, 9), 80)?.dst, GUEST)
    assert.deepEqual(to(PROTO_TCP, GUEST, 80)?.dst, GUEST)
  })
  test('regression-45: echo identifier 0 passes, port 0 does not (regression-40)', () => {
    assert.deepEqual(to(PROTO_ICMP, v4(8, 8, 8, 8), 0)?.dst, v4(8, 8, 8, 8))
    assert.equal(to(PROTO_TCP, v4(8, 8, 8, 8), 0), null)
    assert.equal(to(PROTO_UDP, v4(8, 8, 8, 8), 0), null)
  })
  test('regression-48: UDP to multicast and broadcast passes, TCP does not', () => {
    for (const dst of [v4(239, 255, 255, 250), v4(255, 255, 255, 255)]) {
      assert.deepEqual(to(PROTO_UDP, dst, 1900)?.dst, dst)
      assert.equal(to(PROTO_TCP, dst, 1900), null)
    }
    assert.equal(hostSideOf(USUAL, PROTO_TCP, [0xff020000, 0, 0, 1], 80), null)
  })
  test('loopback and unspecified are nowhere', () => {
    for (const dst of [STUB, LOOPBACK4, LOOPBACK6, UNSPECIFIED4, UNSPECIFIED6])
      assert.equal(to(PROTO_UDP, dst, 7), null)
  })
  test('family and port are kept, a forbidden destination goes nowhere', () => {
    fc.assert(
      fc.property(
        config,
        fc.constantFrom(PROTO_ICMP, PROTO_TCP, PROTO_UDP),
        fc.oneof(addr4, addr6),
        port,
        (c, proto, dst, p) => {
          const out = hostSideOf(c, proto, dst, p)
          if (out === null) return
          assert.equal(isV4(out.dst), isV4(dst))
          assert.equal(out.dstPort, p)
          assert.ok(proto !== PROTO_TCP || isUnicast(dst))
        }
      )
    )
  })
})

describe('reverseSource', () => {
  test('undoes it for the peer of the flow, whatever is mapped', () => {
    fc.assert(
      fc.property(
        config,
        fc.constantFrom(PROTO_TCP, PROTO_UDP, PROTO_ICMP),
        fc.oneof(addr4, addr6),
        port,
        (c, proto, dst, p) => {
          const out = hostSideOf(c, proto, dst, p)
          fc.pre(out !== null && isUnicast(out.dst))
          assert.deepEqual(reverseSource(c, { ourAddr: dst, hostAddr: out!.dst }, out!.dst), dst)
        }
      ),
      { numRuns: 500 }
    )
  })
  const flow = { ourAddr: v4(8, 8, 8, 8), hostAddr: v4(8, 8, 8, 8) }
  test('regression-29: a resolver that this flow was not translated to keeps its address', () => {
    const c = { ...USUAL, dnsHost4: v4(9, 9, 9, 9) }
    assert.deepEqual(reverseSource(c, flow, v4(9, 9, 9, 9)), v4(9, 9, 9, 9))
  })
  test('the first match counts', () => {
    assert.deepEqual(reverseSource(USUAL, flow, LOOPBACK4), GATEWAY)
    assert.deepEqual(reverseSource(USUAL, flow, STUB), GATEWAY)
    assert.deepEqual(reverseSource(USUAL, flow, GUEST), v4(192, 0, 2, 9))
    assert.deepEqual(reverseSource({ ...USUAL, mapGuestAddr4: null }, flow, GUEST), GATEWAY)
    assert.deepEqual(reverseSource(USUAL, flow, v4(10, 9, 9, 9), v4(10, 9, 9, 9)), GATEWAY)
    assert.deepEqual(reverseSource(USUAL, flow, v4(10, 9, 9, 9)), v4(10, 9, 9, 9))
    assert.equal(reverseSource({ ...USUAL, own4: null, mapHostLoopback4: null }, flow, LOOPBACK4), null)
    assert.equal(reverseSource(USUAL, flow, UNSPECIFIED6), null)
    assert.equal(reverseSource(USUAL, flow, [0x20010db8, 0, 0, 1]), null)
  })
})

// The host is a set of connected sockets: what a peer sends reaches the socket that is bound to the
// port and connected to the peer it came from. If two flows could have the same one, answers would go astray.
test('what goes out and comes back is the same flow, never another', () => {
  const packet = fc.record({
    proto: fc.constantFrom(PROTO_UDP, PROTO_UDP, PROTO_TCP, PROTO_ICMP, PROTO_ICMPV6),
    v6: fc.boolean(),
    src4: fc.constantFrom(GUEST, v4(10, 9, 9, 9)),
    src6: addr6,
    dst4: addr4,
    dst6: addr6,
    srcPort: fc.constantFrom(1, 4444),
    dstPort: port,
    close: fc.boolean()
  })
  fc.assert(
    fc.property(config, fc.array(packet, { maxLength: 60, size: 'max' }), (c, packets) => {
      const table = createFlowTable([1, 2], 64)
      let nextPort = 50_000
      const flows = new Map<
        number,
        {
          readonly proto: number
          readonly src: InAny
          readonly srcPort: number
          readonly dst: InAny
          readonly dstPort: number
          readonly hostAddr: InAny
          readonly bound: number
        }
      >()
      const sockets = new Map<string, number>()
      const sock = (proto: number, peer: InAny, peerPort: number, bound: number): string =>
        [proto, peer, peerPort, bound].join()
      for (const p of packets) {
        const [src, dst] = p.v6 ? [p.src6, p.dst6] : [p.src4, p.dst4]
        const out = hostSideOf(c, p.proto, dst, p.dstPort)
        if (out === null) continue
        let index = table.find(p.proto, src, p.srcPort, dst, p.dstPort)
        if (index < 0) {
          index = table.insert(p.proto, src, p.srcPort, dst, p.dstPort)
          if (index < 0) continue
          // As the runtime does it: UDP keeps the guest's port unless that would not tell flows apart.
          const keep = p.proto === PROTO_UDP && table.claim(index, p.proto, out.dst, out.dstPort, p.srcPort)
          const bound = keep ? p.srcPort : nextPort++
          flows.set(index, { ...p, src, dst, hostAddr: out.dst, bound })
          const s = sock(p.proto, out.dst, out.dstPort, bound)
          assert.ok(!sockets.has(s), `two flows with one host side: ${s}`)
          sockets.set(s, index)
        }
        const f = flows.get(index)!
        assert.ok(
          f.proto === p.proto &&
            sameAddr(f.src, src) &&
            f.srcPort === p.srcPort &&
            sameAddr(f.dst, dst) &&
            f.dstPort === p.dstPort
        )
        // The peer answers.
        assert.equal(sockets.get(sock(p.proto, out.dst, out.dstPort, f.bound)), index)
        assert.deepEqual([...f.hostAddr], [...out.dst])
        if (p.close) {
          table.close(index)
          table.sweep()
          sockets.delete(sock(p.proto, out.dst, out.dstPort, f.bound))
          flows.delete(index)
        }
      }
    }),
    { numRuns: 500 }
  )
})
