import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { type InAny, isUnspecified, sameAddr } from '../src/codecs/value/inany.js'
import { octets, sub } from '../src/codecs/value/octets.js'
import { ArpPacket } from '../src/codecs/wire/arp.js'
import { BROADCAST_MAC, type Mac } from '../src/codecs/wire/ethernet.js'
import { answerArp, arpAnnouncement, initialProbes } from '../src/machines/services/services.js'
import { arbHostile, arbMac, assertRoundTrip, assertTotal } from './arbitraries.js'
import {
  addr,
  arbArp,
  arbConfig,
  CONFIG,
  countsOf,
  decoded,
  frameOf,
  framesOf,
  GUEST_MAC,
  hex,
  OWN_MAC
} from './services-arbitraries.js'

const arpOf = (frame: Uint8Array): ArpPacket => {
  const f = decoded(frame)
  assert.equal(f.kind, 'arp')
  const p = ArpPacket.decode(sub(octets(frame), 14))
  return E.isRight(p) ? p.right : assert.fail('our own ARP does not decode')
}
/** Who has `tpa`? Tell `spa`. */
const request = (spa: string, tpa: string): ArpPacket => ({
  op: 1,
  sha: GUEST_MAC,
  spa: addr(spa),
  tha: 0,
  tpa: addr(tpa)
})

describe('ARP codec', () => {
  test('decode . encode = id', () => fc.assert(fc.property(arbArp, (p) => assertRoundTrip(ArpPacket, p))))
  test('hostile octets: Left or a value', () =>
    fc.assert(fc.property(arbHostile(arbArp.map(ArpPacket.encode)), (b) => assertTotal(ArpPacket, b))))

  test('a request of the Linux kernel, with its padding', () => {
    const wire = hex('0001 0800 06 04 0001 525400123456 c0000207 000000000000 c0000201')
    const padded = Uint8Array.from([...wire, ...new Uint8Array(18)])
    assert.deepEqual(ArpPacket.decode(octets(padded)), E.right(request('192.0.2.7', '192.0.2.1')))
    assert.deepEqual(ArpPacket.encode(request('192.0.2.7', '192.0.2.1')), wire)
  })
  test('other hardware, protocol or address lengths do not decode', () => {
    const wire = ArpPacket.encode(request('192.0.2.7', '192.0.2.1'))
    for (const at of [0, 1, 2, 3, 4, 5]) {
      const b = wire.slice()
      b[at] += 1
      assert.ok(E.isLeft(ArpPacket.decode(octets(b))), `octet ${at}`)
    }
  })
})

describe('ARP answers (behaviour.md#arp)', () => {
  const answer = answerArp(CONFIG)

  test('every target resolves, off the subnet and loopback included', () => {
    for (const tpa of ['192.0.2.1', '192.0.2.99', '203.0.113.5', '127.0.0.1']) {
      const frame = frameOf(answer(request('192.0.2.7', tpa), GUEST_MAC))
      assert.equal(frame.length, 60, 'regression-78: padded')
      assert.deepEqual(decoded(frame).eth, { dst: GUEST_MAC, src: OWN_MAC, type: 0x0806 })
      assert.deepEqual(arpOf(frame), {
        op: 2,
        sha: OWN_MAC,
        spa: addr(tpa),
        tha: GUEST_MAC,
        tpa: addr('192.0.2.7')
      })
    }
  })
  test('the sender is the neighbour where one is known', () => {
    const macOf = () => 0x020000000001
    const p = arpOf(frameOf(answerArp({ ...CONFIG, macOf })(request('192.0.2.7', '192.0.2.9'), GUEST_MAC)))
    assert.equal(p.sha, 0x020000000001)
  })
  test('silent, and counted: the assigned address, announcements, replies, IPv4 off', () => {
    const silent = (what: string, c: typeof CONFIG, p: ArpPacket): void => {
      const effects = answerArp(c)(p, GUEST_MAC)
      assert.deepEqual(framesOf(effects), [])
      assert.deepEqual(countsOf(effects), [what])
    }
    silent('arp: assigned address', CONFIG, request('192.0.2.1', '192.0.2.7'))
    silent('arp: assigned address', CONFIG, request('0.0.0.0', '192.0.2.7')) // RFC 5227 §2.1.1: its own probe
    silent('arp: announcement', CONFIG, request('192.0.2.8', '192.0.2.8')) // RFC 5227 §2.3
    silent('arp: not a request', CONFIG, { ...request('192.0.2.7', '192.0.2.1'), op: 2 })
    silent('arp: off', { ...CONFIG, v4: null }, request('192.0.2.7', '192.0.2.1'))
  })
  test("a probe is answered for what is somebody's: us, a resolver, a neighbour; else the guest may have it (RFC 5227 §2.1.1)", () => {
    const NEIGHBOUR = 0x020000000001
    const ROUTER = 0x020000000002
    const neighbour = (a: InAny): Mac | null => (sameAddr(a, addr('192.0.2.9')) ? NEIGHBOUR : null)
    for (const behind of [OWN_MAC, ROUTER]) {
      const macOf = (a: InAny): Mac => neighbour(a) ?? behind
      const probe = (tpa: string) => answerArp({ ...CONFIG, macOf })(request('0.0.0.0', tpa), GUEST_MAC)
      for (const [tpa, sha] of [
        ['192.0.2.1', behind],
        ['192.0.2.53', behind],
        ['192.0.2.9', NEIGHBOUR]
      ] as const) {
        const reply = arpOf(frameOf(probe(tpa)))
        assert.deepEqual([reply.sha, isUnspecified(reply.tpa)], [sha, true], tpa)
      }
      for (const tpa of ['192.0.2.8', '203.0.113.5']) {
        assert.deepEqual(framesOf(probe(tpa)), [])
        assert.deepEqual(countsOf(probe(tpa)), ['arp: probe'])
      }
    }
  })

  test('any packet: at most one frame, a reply to the sender, never for the assigned address', () => {
    fc.assert(
      fc.property(arbConfig, arbArp, arbMac, (c, p, mac) => {
        const effects = answerArp(c)(p, mac)
        assert.equal(framesOf(effects).length + countsOf(effects).length, 1)
        for (const frame of framesOf(effects)) {
          assert.equal(decoded(frame).eth.dst, mac)
          const reply = arpOf(frame)
          assert.deepEqual([reply.op, reply.spa, reply.tha, reply.tpa], [2, p.tpa, p.sha, p.spa])
          assert.ok(c.v4 !== null && !sameAddr(reply.spa, c.v4.assigned))
        }
      })
    )
  })
})

describe('ARP of our own', () => {
  test('probe and neighbour solicitation when the link comes up: 60 and 78 octets', () => {
    const frames = framesOf(initialProbes(CONFIG, BROADCAST_MAC))
    assert.deepEqual(
      frames.map((f) => f.length),
      [60, 78]
    )
    assert.deepEqual(arpOf(frames[0]), {
      op: 1,
      sha: OWN_MAC,
      spa: addr('192.0.2.1'),
      tha: BROADCAST_MAC,
      tpa: addr('192.0.2.7')
    })
    assert.equal(decoded(frames[0]).eth.dst, BROADCAST_MAC)
    assert.deepEqual(initialProbes({ ...CONFIG, v4: null, v6: null }, BROADCAST_MAC), [])
  })
  test('announcement of a neighbour (RFC 5227 §2.3)', () => {
    const frame = frameOf(arpAnnouncement(CONFIG, addr('192.0.2.9'), 0x02000000000a))
    assert.equal(decoded(frame).eth.src, 0x02000000000a)
    assert.deepEqual(arpOf(frame), {
      op: 1,
      sha: 0x02000000000a,
      spa: addr('192.0.2.9'),
      tha: 0,
      tpa: addr('192.0.2.9')
    })
  })
})
