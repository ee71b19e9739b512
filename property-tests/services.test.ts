import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { BROADCAST4, type InAny, UNSPECIFIED4 } from '../src/codecs/value/inany.js'
import type { Octets } from '../src/codecs/value/octets.js'
import { ArpPacket } from '../src/codecs/wire/arp.js'
import { PROTO_ICMPV6, PROTO_UDP, sealL4, sum16 } from '../src/codecs/wire/checksum.js'
import { DhcpMessage } from '../src/codecs/wire/dhcp.js'
import { Dhcp6Message } from '../src/codecs/wire/dhcpv6.js'
import { ETH_LEN, writeEthernet } from '../src/codecs/wire/ethernet.js'
import { decodeFrame } from '../src/codecs/wire/frame.js'
import { isNdp } from '../src/codecs/wire/icmpv6.js'
import { IPV4_LEN, ipv4Header, writeIpv4 } from '../src/codecs/wire/ipv4.js'
import { IPV6_LEN, ipv6Header, writeIpv6 } from '../src/codecs/wire/ipv6.js'
import { NdpMessage } from '../src/codecs/wire/ndp.js'
import { UDP_LEN, writeUdp } from '../src/codecs/wire/udp.js'
import type { ServiceEffect } from '../src/effects/effect.js'
import { answerArp, answerDhcp, answerDhcpv6, answerNdp } from '../src/machines/services/services.js'
import {
  addr,
  arbArp,
  arbConfig,
  arbDhcp,
  arbDhcp6,
  arbNdp,
  CONFIG,
  framesOf,
  GUEST_LL,
  GUEST_MAC,
  OWN_MAC
} from './services-arbitraries.js'

// A guest's frames, built here from headers and a service's message.
const frame = (etherType: number, rest: Uint8Array): Uint8Array => {
  const b = new Uint8Array(ETH_LEN + rest.length)
  writeEthernet(new DataView(b.buffer), 0, { dst: OWN_MAC, src: GUEST_MAC, type: etherType })
  b.set(rest, ETH_LEN)
  return b
}
const ip6 = (proto: number, src: InAny, dst: InAny, l4: Uint8Array): Uint8Array => {
  const b = new Uint8Array(IPV6_LEN + l4.length)
  const view = new DataView(b.buffer)
  writeIpv6(view, 0, ipv6Header(src, dst, proto), l4.length)
  b.set(l4, IPV6_LEN)
  sealL4(view, IPV6_LEN, l4.length, proto, src, dst)
  return frame(0x86dd, b)
}
const udp = (srcPort: number, dstPort: number, data: Uint8Array): Uint8Array => {
  const b = new Uint8Array(UDP_LEN + data.length)
  writeUdp(new DataView(b.buffer), 0, { srcPort, dstPort }, data.length)
  b.set(data, UDP_LEN)
  return b
}
const dhcpFrame = (m: DhcpMessage): Uint8Array => {
  const l4 = udp(68, 67, DhcpMessage.encode(m))
  const b = new Uint8Array(IPV4_LEN + l4.length)
  const view = new DataView(b.buffer)
  writeIpv4(view, 0, ipv4Header(UNSPECIFIED4, BROADCAST4, PROTO_UDP), l4.length)
  b.set(l4, IPV4_LEN)
  sealL4(view, IPV4_LEN, l4.length, PROTO_UDP, UNSPECIFIED4, BROADCAST4)
  return frame(0x0800, b)
}
const arpFrame = (p: ArpPacket): Uint8Array => frame(0x0806, ArpPacket.encode(p))
const ndpFrame = (m: NdpMessage): Uint8Array =>
  ip6(PROTO_ICMPV6, GUEST_LL, addr('ff02::2'), NdpMessage.encode(m))
const dhcp6Frame = (m: Dhcp6Message): Uint8Array =>
  ip6(PROTO_UDP, GUEST_LL, addr('ff02::1:2'), udp(546, 547, Dhcp6Message.encode(m)))

/** One frame of the slab through decoding and its service, as the runtime does it. */
const serve = (c: typeof CONFIG, o: Octets): ReadonlyArray<ServiceEffect> => {
  const f = decodeFrame(o, {
    needsCsum: false,
    sum16: sum16(o.view, o.off + ETH_LEN, o.len - ETH_LEN),
    gsoSize: 0
  })
  if (typeof f === 'string') return assert.fail(f)
  const at = (where: { readonly off: number; readonly len: number }): Octets => ({
    view: o.view,
    off: where.off,
    len: where.len
  })
  if (f.kind === 'arp') {
    const p = ArpPacket.decode(at(f))
    return E.isRight(p) ? answerArp(c)(p.right, f.eth.src) : []
  }
  if (f.kind === 'icmpv6' && isNdp(f.l4.type)) return answerNdp(c)(at(f.ip), f.ip, f.eth.src).effects
  if (f.kind !== 'udp') return []
  if (f.ip.v6) return answerDhcpv6(c)(at(f.l4.payload), f.ip, f.eth.src)
  const m = DhcpMessage.decode(at(f.l4.payload))
  return E.isRight(m) ? answerDhcp(c)(m.right, f.eth.src) : []
}

/** Frames one behind the other, the first at `before`; and where each lies. */
const slabOf = (frames: ReadonlyArray<Uint8Array>, before: number): ReadonlyArray<Octets> => {
  const b = new Uint8Array(frames.reduce((n, f) => n + f.length, before))
  const view = new DataView(b.buffer)
  let off = before
  return frames.map((f) => {
    b.set(f, off)
    off += f.length
    return { view, off: off - f.length, len: f.length }
  })
}

const arbFrame = fc.oneof(
  arbArp.map(arpFrame),
  arbNdp.map(ndpFrame),
  arbDhcp.map((m) => dhcpFrame({ ...m, op: 1 })),
  arbDhcp6.map(dhcp6Frame)
)
const SETUP: ReadonlyArray<Uint8Array> = [
  arpFrame({ op: 1, sha: GUEST_MAC, spa: addr('192.0.2.7'), tha: 0, tpa: addr('192.0.2.1') }),
  ndpFrame({ tag: 'NeighbourSolicit', target: addr('fe80::1'), options: [] }),
  dhcpFrame({
    op: 1,
    htype: 1,
    hlen: 6,
    hops: 0,
    xid: 1,
    secs: 0,
    flags: 0,
    ciaddr: UNSPECIFIED4,
    yiaddr: UNSPECIFIED4,
    siaddr: UNSPECIFIED4,
    giaddr: UNSPECIFIED4,
    chaddr: new Uint8Array(16),
    sname: new Uint8Array(64),
    file: new Uint8Array(128),
    options: [{ code: 53, data: Uint8Array.of(1) }]
  }),
  dhcp6Frame({ msgType: 1, xid: 1, options: [{ tag: 'ClientId', duid: Uint8Array.of(0, 3, 0, 1) }] })
]

describe('guest services together', () => {
  test('regression-15: several setup packets in one batch, each gets its own answer', () => {
    fc.assert(
      fc.property(
        fc.shuffledSubarray([...SETUP, ...SETUP], { minLength: 1 }),
        fc.nat(5),
        (frames, before) => {
          const answers = slabOf(frames, before).map((o) => framesOf(serve(CONFIG, o)))
          for (const a of answers) assert.equal(a.length, 1)
        }
      )
    )
  })
  test('regression-36: any place of a frame in the slab, odd ones included, gives the same answers', () => {
    fc.assert(
      fc.property(
        arbConfig,
        fc.array(arbFrame, { minLength: 1, maxLength: 5 }),
        fc.nat(7),
        (c, frames, before) => {
          const alone = frames.map((f) => serve(c, slabOf([f], 0)[0]))
          assert.deepEqual(
            slabOf(frames, before).map((o) => serve(c, o)),
            alone
          )
        }
      ),
      { numRuns: 60 }
    )
  })
  test('answers own their octets: the slab may be reused at once', () => {
    fc.assert(
      fc.property(arbConfig, arbFrame, (c, f) => {
        const [o] = slabOf([f], 3)
        const effects = serve(c, o)
        const before = framesOf(effects).map((x) => x.slice())
        new Uint8Array(o.view.buffer).fill(0xa5)
        assert.deepEqual(framesOf(effects), before)
      })
    )
  })
})
