import fc from 'fast-check'
import { fromV4 } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { ArpPacket } from '../src/codecs/wire/arp.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_UDP } from '../src/codecs/wire/checksum.js'
import { DhcpMessage } from '../src/codecs/wire/dhcp.js'
import { Dhcp6Message } from '../src/codecs/wire/dhcpv6.js'
import { ETHERTYPE_ARP, EthernetFrame } from '../src/codecs/wire/ethernet.js'
import { IcmpMessage } from '../src/codecs/wire/icmp.js'
import { Icmpv6Message } from '../src/codecs/wire/icmpv6.js'
import { NdpMessage } from '../src/codecs/wire/ndp.js'
import { UdpDatagram } from '../src/codecs/wire/udp.js'
import { VNET_NEEDS_CSUM } from '../src/codecs/wire/vnet.js'
import { EV } from '../src/runtime/abi/abi.js'
import { everything, LISTENER, type Stage } from '../src/runtime/engine/warm-up.js'
import { arbBytes, arbHostile, arbU8, arbU16, arbU32 } from './arbitraries.js'
import { arbCut, fragment, udpFrame } from './fragment-arbitraries.js'
import { arbFrame, build, type FrameSpec, metaOf } from './frame-spec.js'
import { at, type Came, type Recorded } from './recorded.js'
import { arbArp, arbDhcp, arbDhcp6, arbNdp } from './services-arbitraries.js'

/** A turn's records, and ms since the turn before. A number: that listener comes or goes. */
export interface Act {
  readonly came: ReadonlyArray<Came>
  readonly after: number
  readonly listener: { readonly id: number; readonly on: boolean } | null
}

const tapFrame = (bytes: Uint8Array, needsCsum: boolean): Came => ({
  words: [EV.TAP_FRAME, 0, 0, 0, needsCsum ? VNET_NEEDS_CSUM : 0, 0, 0, metaOf(octets(bytes)).sum16],
  octets: bytes
})
const from = (spec: FrameSpec, proto: number, l4: Uint8Array, ttl = 64): Uint8Array =>
  build({ ...spec, proto, l4, ttl }).bytes
const GUEST: Readonly<Record<'v4' | 'v6', FrameSpec>> = {
  v4: udpFrame(false, new Uint8Array()),
  v6: udpFrame(true, new Uint8Array())
}
const arbEcho = fc.tuple(fc.boolean(), arbU8, arbBytes(600)).map(([v6, id, payload]) => {
  const m = { type: v6 ? 128 : 8, code: 0, id: id & 3, seq: id, payload }
  return v6
    ? from(GUEST.v6, PROTO_ICMPV6, Icmpv6Message.encode(m))
    : from(GUEST.v4, PROTO_ICMP, IcmpMessage.encode(m))
})
const arbService: fc.Arbitrary<Uint8Array> = fc.oneof(
  arbArp.map((p) =>
    EthernetFrame.encode({
      dst: 0xffffffffffff,
      src: p.sha,
      type: ETHERTYPE_ARP,
      payload: ArpPacket.encode(p)
    })
  ),
  arbDhcp.map((m) =>
    from(
      { ...GUEST.v4, from: fromV4(0), to: fromV4(0xffffffff) },
      PROTO_UDP,
      UdpDatagram.encode({ srcPort: 68, dstPort: 67, payload: DhcpMessage.encode(m) })
    )
  ),
  arbDhcp6.map((m) =>
    from(
      GUEST.v6,
      PROTO_UDP,
      UdpDatagram.encode({ srcPort: 546, dstPort: 547, payload: Dhcp6Message.encode(m) })
    )
  ),
  arbNdp.map((m) => from(GUEST.v6, PROTO_ICMPV6, NdpMessage.encode(m), 255))
)
const arbTapFrame: fc.Arbitrary<Came> = fc
  .tuple(fc.oneof(arbHostile(arbFrame.map((s) => build(s).bytes)), arbEcho, arbService), fc.boolean())
  .map(([bytes, needsCsum]) => tapFrame(bytes, needsCsum))
const arbFragments: fc.Arbitrary<ReadonlyArray<Came>> = arbCut.map(({ frame, pieces }) =>
  pieces.map((p) => tapFrame(fragment(frame, 7, p), false))
)

const arbFlow = fc.integer({ min: 0, max: 5 })
const arbInfo = fc.tuple(arbU16, arbU8, arbU16, arbU32, arbU32, arbU16, arbU16, arbU16).map((w) => [...w])
const OF_FLOWS = new Set<number>([
  ...[EV.CONNECTED, EV.SENT, EV.PEEKED, EV.READY, EV.ACKED, EV.FAILED, EV.DATAGRAM, EV.ICMP_ERROR],
  ...[EV.INFO, EV.REFUSED, EV.BOUND, EV.UDP_MOVED, EV.SPLICE_EOF]
])
const { CONNECTED, SENT, PEEKED, READY, ACKED, FAILED, DATAGRAM, ICMP_ERROR, INFO, REFUSED, BOUND } = EV
const arbSock: fc.Arbitrary<Came> = fc
  .tuple(
    fc.constantFrom(
      CONNECTED,
      SENT,
      PEEKED,
      READY,
      ACKED,
      FAILED,
      INFO,
      REFUSED,
      BOUND,
      EV.UDP_MOVED,
      EV.SPLICE_EOF
    ),
    arbFlow,
    fc.integer({ min: 0, max: 200 }),
    fc.integer({ min: 0, max: 15 }),
    arbInfo,
    fc.constantFrom(0, 1),
    fc.constantFrom(0, 11, 104, 110, 111, 113)
  )
  .map(([kind, flow, w2, w3, info, w12, errno]) => ({
    words: [kind, flow, w2, w3, ...info, w12, errno],
    octets: null
  }))
const arbArrived: fc.Arbitrary<Came> = fc
  .tuple(fc.constantFrom(DATAGRAM, ICMP_ERROR), arbFlow, arbBytes(300, 8), arbU8)
  .map(([kind, flow, data, code]) => ({
    // What a ping socket brings is an echo reply
    words: [
      kind,
      flow,
      0,
      0,
      ...(kind === DATAGRAM ? [0] : [111, 3, code % 14, 1400, 0, 0, 0xffff, 0xc6336463])
    ],
    octets: Uint8Array.from(data, (octet, i) => (i === 0 ? 0 : octet))
  }))
const PEER = [0, 0, 0xffff, 0xc6336463]
const arbListened: fc.Arbitrary<Came> = fc.oneof(
  fc.tuple(arbU8, arbU16).map(([slot, port]) => ({
    words: [EV.ACCEPTED, LISTENER, slot, port || 1, ...PEER, 0, 0, 0xffff, 0xc6336409],
    octets: null
  })),
  fc.tuple(fc.constantFrom(LISTENER, 1, 3), arbU16, arbBytes(100)).map(([id, port, data]) => ({
    words: [EV.LISTEN_DATAGRAM, id, 0, 0, 0, port || 1, ...PEER, 0, 0, 0xffff, 0xc6336409, 2, 0],
    octets: data
  }))
)
const arbNetlink: fc.Arbitrary<Came> = arbBytes(100).map((data) => ({ words: [EV.NETLINK, 0], octets: data }))

const arbCame: fc.Arbitrary<ReadonlyArray<Came>> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.array(fc.oneof(arbTapFrame, arbSock, arbArrived, arbListened), { maxLength: 6 })
  },
  { weight: 2, arbitrary: arbFragments },
  { weight: 1, arbitrary: arbNetlink.map((n) => [n]) }
)
export const arbActs: fc.Arbitrary<ReadonlyArray<Act>> = fc.array(
  fc.record({
    came: arbCame,
    after: fc.oneof(fc.constantFrom(0.05, 1, 300), fc.integer({ min: 0, max: 100_000 })),
    listener: fc.option(fc.record({ id: fc.integer({ min: 1, max: 4 }), on: fc.boolean() }), { freq: 5 })
  }),
  { minLength: 1, maxLength: 40, size: 'max' }
)

/** The warm-up's guests, and then these acts. */
export const act = (r: Recorded, acts: ReadonlyArray<Act>, rounds = 2): void => {
  let now = 1
  for (let i = 0; i < rounds; i++) {
    const s: Stage = { w: r.w, v6: (i & 1) === 1, now: at(now), handle: r.turn }
    everything(s, true, true)
    now = s.now + 100
  }
  for (const { came: all, after, listener } of acts) {
    now += after
    // No socket has anything to tell before its flow is there
    const came = all.filter(({ words }) => !OF_FLOWS.has(words[0]!) || r.w.flows[words[1]!] !== undefined)
    r.come(came, at(now))
    if (listener !== null) r.listen(listener.id, listener.on)
  }
}
