import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { fromV4, type InAny, LOOPBACK4, sameAddr } from '../src/codecs/value/inany.js'
import { add, type SeqNum, seq } from '../src/codecs/value/seq.js'
import { PROTO_ICMP, PROTO_TCP, PROTO_UDP } from '../src/codecs/wire/checksum.js'
import { BROADCAST_MAC, type Mac, readMac } from '../src/codecs/wire/ethernet.js'
import { IcmpMessage } from '../src/codecs/wire/icmp.js'
import { ACK, RST, SYN, TcpPacket } from '../src/codecs/wire/tcp.js'
import { VNET_LEN, VNET_NEEDS_CSUM } from '../src/codecs/wire/vnet.js'
import { instant } from '../src/effects/effect.js'
import { UNMAPPED } from '../src/machines/address/nat.js'
import { ABI_WORDS, EF, EV, type Native } from '../src/runtime/abi/abi.js'
import { ringsOver } from '../src/runtime/abi/rings.js'
import { install } from '../src/runtime/data/feature.js'
import { findFlow } from '../src/runtime/data/open-flow.js'
import { createWorld, OUTSIDE } from '../src/runtime/data/world.js'
import { basicFeatures } from '../src/runtime/engine/features.js'
import { handleTurn } from '../src/runtime/engine/loop.js'
import { RULE } from '../src/runtime/engine/warm-up.js'
import type { TapFlow } from '../src/runtime/flow/flow.js'
import { machines } from '../src/runtime/flow/kinds.js'
import { logTo } from '../src/runtime/log/log.js'
import { udpFrame } from './fragment-arbitraries.js'
import { build, type FrameSpec } from './frame-spec.js'
import { WORLD_CONFIG } from './world-config.js'

// Whom flows are with: several ports and addresses of the host lead to one port of the guest's, several peers look alike to it, and
// the guest is not always at the same MAC.

const GUEST = fromV4(0xc6336402)
const GATEWAY = fromV4(0xc6336401)
const HOST_A = fromV4(0xc6336409)
const HOST_B = fromV4(0xc633640a)
const PEER = fromV4(0xc6336403)
const GROUP = fromV4(0xe00000fb)
const GUEST_PORT = 1000
/** Ports of the host, all of which lead to GUEST_PORT; each is its listener's number. */
const PORTS = [GUEST_PORT, 5000, 5001]
const AT = 0x30000

const worldOf = (random: () => number = Math.random) => {
  const rings = ringsOver({} as Native, {
    slab: new ArrayBuffer(0x40000),
    effects: new ArrayBuffer(64 * ABI_WORDS * 4),
    events: new ArrayBuffer(8 * ABI_WORDS * 4),
    clock: new ArrayBuffer(16)
  })
  const nat = { ...UNMAPPED, assigned4: GUEST, own4: GATEWAY, mapHostLoopback4: GATEWAY }
  const cfg = { ...WORLD_CONFIG, nat, forward: { ...WORLD_CONFIG.forward, mode: 'passt' as const } }
  const rules = PORTS.map((port) => ({ ...RULE, first: port, last: port, to: GUEST_PORT }))
  const listeners = new Map(rules.map((rule) => [rule.first, { rule, port: rule.first }]))
  const w = createWorld(
    cfg,
    rings,
    logTo([], 0, () => 0),
    new Map(),
    listeners,
    64,
    { ...OUTSIDE, random }
  )
  install(w.features, basicFeatures(w))
  w.guest.up = true
  let ms = 0
  /** One record, one turn: effects by their kind, with the handle that they are for. */
  const turn = (...words: ReadonlyArray<number>) => {
    rings.effects = 0
    rings.tx = 0
    rings.ev.fill(0, 0, ABI_WORDS)
    rings.ev.set(words.map((x) => x | 0))
    handleTurn(w, 1, instant(++ms))
    return Array.from({ length: rings.effects }, (_, i) => rings.fx.slice(i * ABI_WORDS, (i + 1) * ABI_WORDS))
  }
  const arrives = (port: number, sentTo: InAny, peer: InAny = PEER, peerPort = 2000) =>
    turn(EV.LISTEN_DATAGRAM, port, AT, 3, 0, peerPort, ...peer, ...sentTo, 2, HOST_A[3])
  const connects = (port: number, local: InAny, peer: InAny, peerPort: number, slot = 0) =>
    turn(EV.ACCEPTED, port, slot, peerPort, ...peer, ...local, 0)
  const sends = (more: Partial<FrameSpec> = {}) => {
    const { bytes } = build({ ...udpFrame(false, Uint8Array.of(1, 2, 3)), ...more })
    rings.slab.set(bytes, AT)
    return turn(EV.TAP_FRAME, 0, AT, bytes.length, VNET_NEEDS_CSUM)
  }
  const flows = (): TapFlow[] => w.flows.filter((f): f is TapFlow => f !== undefined)
  /** Whom the guest answers, by the flow that its next datagram belongs to. */
  const answers = () => {
    const f = findFlow(w, PROTO_UDP, GUEST, GUEST_PORT, PEER, 2000) as TapFlow | undefined
    return f?.arrival ?? null
  }
  /** Where the frames of a turn go. */
  const macs = (effects: ReadonlyArray<Int32Array>): Mac[] =>
    effects.filter((e) => e[0] === EF.TAP_WRITE).map((e) => readMac(rings.view, e[2]! + VNET_LEN))
  return { w, macs, turn, arrives, connects, sends, flows, answers }
}
const kinds = (effects: ReadonlyArray<Int32Array>): number[] => effects.map((e) => e[0]!)

describe('UDP: answers come from where it was asked (behaviour.md#udp-flows, regression-65)', () => {
  test('whatever a peer with one port asks, the flow that the guest answers is of what it asked last', () =>
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(...PORTS), fc.constantFrom(HOST_A, HOST_B)), { minLength: 1 }),
        (asked) => {
          const { arrives, answers, flows, w } = worldOf()
          for (const [port, to] of asked) {
            const before = flows()[0]
            const same = before?.arrival?.port === port && sameAddr(before.arrival.addr, to)
            const effects = arrives(port, to)
            assert.deepEqual([answers()?.port, answers()?.addr], [port, to])
            // The old socket is closed before the new one is opened: they might have one address
            const opening = before === undefined ? [EF.UDP_OPEN] : [EF.CLOSE, EF.UDP_OPEN]
            assert.deepEqual(kinds(effects), [...(same ? [] : opening), EF.TAP_WRITE])
            assert.equal(flows().length, 1)
          }
          assert.equal(w.counters.get('flow-ended-with-open-socket'), undefined)
        }
      )
    ))
  test('two peers that look alike: the answer goes to who asked last', () => {
    const { arrives, flows } = worldOf()
    arrives(5000, LOOPBACK4, LOOPBACK4)
    arrives(5000, HOST_A, GUEST)
    assert.deepEqual(
      flows().map((f) => [f.ourAddr, f.hostAddr]),
      [[GATEWAY, GUEST]]
    )
  })
  test('a group is no place to answer from: what asks it is of the flow that is there', () => {
    const { arrives, answers } = worldOf()
    arrives(5000, HOST_B)
    assert.deepEqual(kinds(arrives(5000, GROUP)), [EF.TAP_WRITE])
    assert.deepEqual(answers()?.addr, HOST_B)
  })
  test('what the guest began goes on, whichever port its peer asks: no datagram from outside ends it', () => {
    const { arrives, sends, flows } = worldOf()
    sends()
    for (const port of PORTS) assert.deepEqual(kinds(arrives(port, HOST_A)), [EF.TAP_WRITE])
    assert.deepEqual([flows().length, flows()[0]?.arrival], [1, null])
  })
})

describe('TCP: peers that look alike have ports of their own towards the guest', () => {
  test('whoever connects from wherever by whatever port: each has a connection, with four numbers of its own', () =>
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(fc.constantFrom(...PORTS), fc.constantFrom(LOOPBACK4, GUEST), fc.constantFrom(7, 8)),
          {
            maxLength: 12
          }
        ),
        (all) => {
          const { connects, flows } = worldOf()
          for (const [slot, [port, peer, peerPort]] of all.entries()) {
            const effects = connects(port, HOST_A, peer, peerPort, slot)
            assert.deepEqual(kinds(effects), [EF.ADOPT, EF.TAP_WRITE])
          }
          const seen = flows().map((f) => f.ourPort)
          assert.equal(new Set(seen).size, all.length)
          assert.deepEqual(
            flows().map((f) => [f.hostPort, f.guestPort]),
            all.map(([, , peerPort]) => [peerPort, GUEST_PORT])
          )
          // Who is the first keeps its port
          if (all.length > 0) assert.equal(seen[0], all[0]?.[2])
        }
      )
    ))
  test('no port to be had: it is turned away, and that is counted', () => {
    const { connects, flows, w } = worldOf(() => 0)
    for (const slot of [0, 1]) connects(5000, HOST_A, LOOPBACK4, 7, slot)
    assert.deepEqual(kinds(connects(5000, HOST_A, LOOPBACK4, 7, 2)), [EF.REJECT])
    assert.deepEqual([flows().length, w.counters.get('forward-unroutable')], [2, 1])
  })
  test('one in TIME-WAIT gives way (RFC 9293 §3.6.1)', () => {
    const { connects, flows } = worldOf()
    connects(5000, HOST_A, LOOPBACK4, 7)
    const [old] = flows()
    if (old?.kind !== 'tcp') return assert.fail()
    old.state = { ...old.state, node: machines.tcp.leaves.indexOf('timeWait') }
    old.sockOpen = false
    connects(5001, HOST_A, LOOPBACK4, 7)
    assert.deepEqual(
      flows().map((f) => [f.ourPort, f.arrival?.port]),
      [[7, 5001]]
    )
  })
})

describe('frames go to the MAC that the guest last sent from (behaviour.md#link)', () => {
  const mac = fc.integer({ min: 1, max: 3 }).map((n) => 0x020000000000 + n)
  test('UDP: an answer goes where the last datagram of its flow came from, whoever began it', () =>
    fc.assert(
      fc.property(fc.boolean(), fc.array(mac, { minLength: 1 }), (byPeer, all) => {
        const { arrives, sends, flows, macs, turn } = worldOf()
        if (byPeer) arrives(GUEST_PORT, HOST_A)
        for (const src of all) {
          sends({ src })
          assert.deepEqual(macs(turn(EV.DATAGRAM, flows()[0]?.index ?? -1, AT, 3)), [src])
        }
        assert.equal(flows().length, 1)
      })
    ))
  test('ping: likewise', () => {
    const { sends, flows, macs, turn } = worldOf()
    const l4 = IcmpMessage.encode({ type: 8, code: 0, id: 3, seq: 4, payload: new Uint8Array(8) })
    for (const src of [1, 2]) {
      sends({ src, proto: PROTO_ICMP, l4 })
      assert.deepEqual(macs(turn(EV.DATAGRAM, flows()[0]?.index ?? -1, AT, 8)), [src])
    }
  })
  test('TCP: the connection goes there if the numbers are right; what answers a segment goes there in any case', () => {
    const { connects, sends, flows, macs, turn } = worldOf()
    const segment = (src: Mac, flags: number, at: SeqNum, ack: SeqNum, payload = 0) =>
      macs(
        sends({
          ...{ src, to: GATEWAY, proto: PROTO_TCP },
          l4: TcpPacket.encode({
            ...{ srcPort: GUEST_PORT, dstPort: 7, seq: at, ack, flags, wnd: 1000, urgent: 0 },
            ...{ mss: null, windowScale: null, payload: new Uint8Array(payload) }
          })
        })
      )
    connects(5000, HOST_A, LOOPBACK4, 7)
    const [flow] = flows()
    if (flow?.kind !== 'tcp') return assert.fail()
    turn(EV.CONNECTED, flow.index)
    const una = add(flow.state.context.tcb.iss, 1)
    // A handshake that is none: reset, and nothing is learnt
    assert.deepEqual(segment(9, SYN | ACK, seq(70), add(una, 5)), [9])
    assert.equal(flow.guestMac, BROADCAST_MAC)
    assert.deepEqual(segment(1, SYN | ACK, seq(70), una), [1])
    assert.equal(flow.guestMac, 1)
    // Old or new, a segment of this connection's (#regression-H)
    for (const [src, at] of [
      [2, 70],
      [3, 71]
    ] as const) {
      segment(src, ACK, seq(at), una)
      assert.equal(flow.guestMac, src)
    }
    // RFC 5961: an answer, or none, and the connection stays where it is
    assert.deepEqual(segment(4, SYN, seq(5000), una), [4])
    assert.deepEqual(segment(5, ACK, seq(71), add(una, 99)), [5])
    assert.deepEqual(segment(6, RST, seq(1 << 30), una), [])
    assert.equal(flow.guestMac, 3)
  })
})
