// Faults of IP, UDP, ICMP, ARP, NDP and DHCP, planted in frames that are right.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { InAny } from '../src/codecs/value/inany.js'
import { ArpPacket } from '../src/codecs/wire/arp.js'
import {
  finish,
  PROTO_ICMP,
  PROTO_ICMPV6,
  PROTO_TCP,
  PROTO_UDP,
  sealL4,
  sum16
} from '../src/codecs/wire/checksum.js'
import {
  BOOTREPLY,
  BOOTREQUEST,
  DHCPACK,
  DHCPDISCOVER,
  DHCPOFFER,
  DhcpMessage,
  OPT_LEASE,
  OPT_REQUESTED_IP,
  OPT_SERVER_ID,
  OPT_TYPE,
  octetsOption,
  u32Option
} from '../src/codecs/wire/dhcp.js'
import { ETHERTYPE_ARP } from '../src/codecs/wire/ethernet.js'
import { IcmpMessage } from '../src/codecs/wire/icmp.js'
import { Icmpv6Message } from '../src/codecs/wire/icmpv6.js'
import { UdpDatagram } from '../src/codecs/wire/udp.js'
import { RULES, type RuleName } from '../src/machines/judge/rules.js'
import { arbBytes } from './arbitraries.js'
import { FAULTS } from './judge-faults.js'
import { captured, ethernet, ipOf, judgeAll } from './judge-traces.js'

const V4: readonly [InAny, InAny] = [
  [0, 0, 0xffff, 0xc6336401],
  [0, 0, 0xffff, 0xc6336402]
]
const V6: readonly [InAny, InAny] = [
  [0x20010db8, 0, 0, 1],
  [0x20010db8, 0, 0, 2]
]
const LINK_LOCAL: InAny = [0xfe800000, 0, 0, 5]
const ALL_NODES: InAny = [0xff020000, 0, 0, 1]
const SOLICITED: InAny = [0xff020000, 0, 1, 0xff000002]
const NOBODY: InAny = [0, 0, 0, 0]

interface Ends {
  readonly src?: InAny
  readonly dst?: InAny
  readonly ttl?: number
}
/** A frame whose upper layer `payload` has its checksum filled in, or is left as it is. */
const frame = (v6: boolean, proto: number, payload: Uint8Array, ends: Ends = {}, seal = true): Uint8Array => {
  const [src, dst] = v6 ? V6 : V4
  const b = payload.slice()
  if (seal) sealL4(new DataView(b.buffer), 0, b.length, proto, ends.src ?? src, ends.dst ?? dst)
  return ethernet(v6, ipOf(v6, 0, proto, b, ends))
}
const at16 = (b: Uint8Array, at: number, value: number): Uint8Array => {
  const out = b.slice()
  new DataView(out.buffer).setUint16(at, value)
  return out
}
const at8 = (b: Uint8Array, at: number, value: number): Uint8Array => {
  const out = b.slice()
  out[at] = value
  return out
}

const udp = (data: Uint8Array): Uint8Array =>
  UdpDatagram.encode({ srcPort: 5000, dstPort: 53, payload: data })
/** An IPv4 header's place in a frame, and it summed again. */
const IP = 14
const ip4 = (b: Uint8Array, at: number, value: number): Uint8Array => {
  const out = at16(at8(b, IP + at, value), IP + 10, 0)
  return at16(out, IP + 10, finish(sum16(new DataView(out.buffer), IP, 20)))
}
const quoteOf = (v6: boolean, proto: number, data: Uint8Array, ends: Ends = {}): Uint8Array =>
  frame(v6, proto, data, ends).subarray(IP)
const error4 = (quote: Uint8Array): Uint8Array =>
  IcmpMessage.encode({ type: 3, code: 3, id: 0, seq: 0, payload: quote })
const error6 = (quote: Uint8Array): Uint8Array =>
  Icmpv6Message.encode({ type: 1, code: 4, id: 0, seq: 0, payload: quote })
const echo = (v6: boolean, reply: boolean, payload: Uint8Array): Uint8Array => {
  const type = v6 ? (reply ? 129 : 128) : reply ? 0 : 8
  return (v6 ? Icmpv6Message : IcmpMessage).encode({ type, code: 0, id: 7, seq: 9, payload })
}
const from1 = (v6: boolean): Ends => ({ src: (v6 ? V6 : V4)[1], dst: (v6 ? V6 : V4)[0] })
const icmp = (v6: boolean): number => (v6 ? PROTO_ICMPV6 : PROTO_ICMP)

const words = (a: InAny): Uint8Array => {
  const b = new Uint8Array(16)
  for (const [i, w] of a.entries()) new DataView(b.buffer).setUint32(4 * i, w)
  return b
}
/** Type, code, checksum, one word, a target, options. */
const nd = (type: number, flags: number, target: InAny | null, ...options: number[]): Uint8Array =>
  Uint8Array.from([
    type,
    0,
    0,
    0,
    flags,
    0,
    0,
    0,
    ...(target === null ? new Uint8Array(8) : words(target)),
    ...options
  ])
const SLLA = [1, 1, 2, 0, 0, 0, 0, 9]
const ndp = (m: Uint8Array, ends: Ends = {}): Uint8Array =>
  frame(true, PROTO_ICMPV6, m, { ttl: 255, src: LINK_LOCAL, dst: SOLICITED, ...ends })
const solicit = nd(135, 0, V6[1], ...SLLA)
const advert = nd(136, 0x20, V6[1])
const router = nd(134, 0, null, ...SLLA)

const dhcp = (op: number, codes: readonly number[], type: number): Uint8Array => {
  const options = codes.map((c) => (c === OPT_TYPE ? octetsOption(c, [type]) : u32Option(c, 0x0a000001)))
  const zeros = (n: number): Uint8Array => new Uint8Array(n)
  const any: InAny = [0, 0, 0xffff, 0]
  const m = DhcpMessage.encode({
    op,
    htype: 1,
    hlen: 6,
    hops: 0,
    xid: 1,
    secs: 0,
    flags: 0,
    ciaddr: any,
    yiaddr: any,
    siaddr: any,
    giaddr: any,
    chaddr: zeros(16),
    sname: zeros(64),
    file: zeros(128),
    options
  })
  const ports = op === BOOTREQUEST ? { srcPort: 68, dstPort: 67 } : { srcPort: 67, dstPort: 68 }
  return frame(false, PROTO_UDP, UdpDatagram.encode({ ...ports, payload: m }))
}
const arp = ArpPacket.encode({ op: 1, sha: 0x020000000001, spa: V4[0], tha: 0, tpa: V4[1] })
const arpFrame = (b: Uint8Array): Uint8Array => ethernet(false, b, ETHERTYPE_ARP)

/** Frames that are right; and the same, the last one changed. */
type Twins = readonly [readonly Uint8Array[], readonly Uint8Array[]]
const twins = (good: Uint8Array, bad: Uint8Array): Twins => [
  [good, good],
  [good, bad]
]
type Case = readonly [string, RuleName, (data: Uint8Array, v6: boolean) => Twins]

const CASES: readonly Case[] = [
  [
    'a header checksum',
    'ip-checksum',
    (d) => {
      const good = frame(false, PROTO_UDP, udp(d))
      return twins(good, at16(good, IP + 10, new DataView(good.buffer).getUint16(IP + 10) ^ 0x100))
    }
  ],
  [
    'a header of 16 octets',
    'ip-header',
    (d) => {
      const good = frame(false, PROTO_UDP, udp(d))
      return twins(good, ip4(good, 0, 0x44))
    }
  ],
  [
    'a total length below the header',
    'ip-header',
    (d) => {
      const good = frame(false, PROTO_UDP, udp(d))
      return twins(good, ip4(at8(good, IP + 2, 0), 3, 19))
    }
  ],
  [
    'version 5',
    'ip-header',
    (d, v6) => {
      const good = frame(v6, PROTO_UDP, udp(d))
      return twins(good, at8(good, IP, 0x55))
    }
  ],
  [
    'a multicast source',
    'ip-source',
    (d, v6) => {
      const src: InAny = v6 ? ALL_NODES : [0, 0, 0xffff, 0xe0000001]
      return twins(frame(v6, PROTO_UDP, udp(d)), frame(v6, PROTO_UDP, udp(d), { src }))
    }
  ],
  [
    'a broadcast source',
    'ip-source',
    (d) => {
      const src: InAny = [0, 0, 0xffff, 0xffffffff]
      return twins(frame(false, PROTO_UDP, udp(d)), frame(false, PROTO_UDP, udp(d), { src }))
    }
  ],
  [
    'a time to live of 0',
    'ip-ttl',
    (d, v6) => twins(frame(v6, PROTO_UDP, udp(d)), frame(v6, PROTO_UDP, udp(d), { ttl: 0 }))
  ],
  [
    'a TCP header of 16 octets',
    'tcp-header',
    (d, v6) => {
      const tcp = at8(new Uint8Array(20 + d.length), 12, 0x50)
      const syn = at8(at8(at16(at16(tcp, 0, 1), 2, 2), 13, 0x02), 4, 1)
      return twins(frame(v6, PROTO_TCP, syn), frame(v6, PROTO_TCP, at8(syn, 12, 0x40)))
    }
  ],
  [
    'a UDP checksum',
    'udp-checksum',
    (d, v6) => {
      const good = frame(v6, PROTO_UDP, udp(d))
      const at = IP + (v6 ? 40 : 20) + 6
      const sum = new DataView(good.buffer).getUint16(at)
      return twins(good, at16(good, at, sum === 0x1234 ? 0x4321 : 0x1234))
    }
  ],
  [
    'a UDP length below 8',
    'udp-length',
    (d, v6) => twins(frame(v6, PROTO_UDP, udp(d)), frame(v6, PROTO_UDP, at16(udp(d), 4, 7)))
  ],
  [
    'a UDP length beyond the packet',
    'udp-length',
    (d, v6) => twins(frame(v6, PROTO_UDP, udp(d)), frame(v6, PROTO_UDP, at16(udp(d), 4, 9 + d.length)))
  ],
  [
    'no UDP checksum over IPv6',
    'udp-unchecked',
    (d) => twins(frame(true, PROTO_UDP, udp(d)), frame(true, PROTO_UDP, udp(d), {}, false))
  ],
  [
    'an ICMP checksum',
    'icmp-checksum',
    (d, v6) => {
      const good = frame(v6, icmp(v6), echo(v6, false, d))
      const at = IP + (v6 ? 40 : 20) + 2
      return twins(good, at16(good, at, new DataView(good.buffer).getUint16(at) ^ 0x0101))
    }
  ],
  [
    'an ICMP message of 3 octets',
    'icmp-short',
    (d, v6) =>
      twins(
        frame(v6, icmp(v6), echo(v6, false, d)),
        ethernet(v6, ipOf(v6, 0, icmp(v6), Uint8Array.of(8, 0, 0)))
      )
  ],
  [
    'an error that quotes 7 octets of data',
    'icmp-short',
    (d) => {
      const quote = quoteOf(false, PROTO_UDP, udp(d))
      return twins(
        frame(false, PROTO_ICMP, error4(quote)),
        frame(false, PROTO_ICMP, error4(quote.subarray(0, 27)))
      )
    }
  ],
  [
    'an error that quotes less than a header',
    'icmp-short',
    (d) => {
      const quote = quoteOf(true, PROTO_UDP, udp(d))
      return twins(
        frame(true, PROTO_ICMPV6, error6(quote)),
        frame(true, PROTO_ICMPV6, error6(quote.subarray(0, 39)))
      )
    }
  ],
  [
    'an error about an error',
    'icmp-of-icmp',
    (d, v6) => {
      const inner = quoteOf(v6, PROTO_UDP, udp(d))
      const about = v6 ? error6(inner) : error4(inner)
      const error = v6 ? error6 : error4
      return twins(
        frame(v6, icmp(v6), error(quoteOf(v6, icmp(v6), echo(v6, false, d)))),
        frame(v6, icmp(v6), error(quoteOf(v6, icmp(v6), about)))
      )
    }
  ],
  [
    'an error about multicast',
    'icmp-of-many',
    (d, v6) => {
      const dst: InAny = v6 ? ALL_NODES : [0, 0, 0xffff, 0xe0000005]
      const error = v6 ? error6 : error4
      return twins(
        frame(v6, icmp(v6), error(quoteOf(v6, PROTO_UDP, udp(d)))),
        frame(v6, icmp(v6), error(quoteOf(v6, PROTO_UDP, udp(d), { dst })))
      )
    }
  ],
  [
    'an error of 1281 octets',
    'icmp-large',
    () => {
      const quote = (n: number): Uint8Array => quoteOf(true, PROTO_UDP, udp(new Uint8Array(n)))
      return twins(
        frame(true, PROTO_ICMPV6, error6(quote(1280 - 40 - 8 - 48))),
        frame(true, PROTO_ICMPV6, error6(quote(1280 - 40 - 8 - 47)))
      )
    }
  ],
  [
    'other data in an echo reply',
    'echo-data',
    (d, v6) => {
      const request = frame(v6, icmp(v6), echo(v6, false, d))
      const other = Uint8Array.from([...d, 3])
      const reply = (data: Uint8Array) => frame(v6, icmp(v6), echo(v6, true, data), from1(v6))
      return [
        [request, reply(d)],
        [request, reply(other)]
      ]
    }
  ],
  ['addresses of another length', 'arp-format', () => twins(arpFrame(arp), arpFrame(at8(arp, 5, 16)))],
  ['a group address as sender', 'arp-sender', () => twins(arpFrame(arp), arpFrame(at8(arp, 8, 0x03)))],
  ['a hop limit of 64', 'ndp-hops', () => twins(ndp(solicit), ndp(solicit, { ttl: 64 }))],
  ['code 1', 'ndp-code', () => twins(ndp(solicit), ndp(at8(solicit, 1, 1)))],
  ['an option of length 0', 'ndp-options', () => twins(ndp(solicit), ndp(at8(solicit, 25, 0)))],
  ['an option that is cut', 'ndp-options', () => twins(ndp(solicit), ndp(at8(solicit, 25, 2)))],
  ['a solicitation without a target', 'ndp-options', () => twins(ndp(solicit), ndp(solicit.subarray(0, 20)))],
  ['a multicast target', 'ndp-target', () => twins(ndp(solicit), ndp(nd(135, 0, ALL_NODES, ...SLLA)))],
  [
    'a link-layer address without source',
    'ndp-probe',
    () => twins(ndp(nd(135, 0, V6[1]), { src: NOBODY }), ndp(solicit, { src: NOBODY }))
  ],
  [
    'a probe to all nodes',
    'ndp-probe',
    () =>
      twins(ndp(nd(135, 0, V6[1]), { src: NOBODY }), ndp(nd(135, 0, V6[1]), { src: NOBODY, dst: ALL_NODES }))
  ],
  [
    'solicited, to all nodes',
    'ndp-solicited',
    () => twins(ndp(advert, { dst: ALL_NODES }), ndp(at8(advert, 4, 0x60), { dst: ALL_NODES }))
  ],
  [
    'a router without link-local address',
    'ndp-router',
    () => twins(ndp(router, { dst: ALL_NODES }), ndp(router, { src: V6[0], dst: ALL_NODES }))
  ],
  [
    'DHCP without a message type',
    'dhcp-format',
    () =>
      twins(
        dhcp(BOOTREQUEST, [OPT_TYPE, OPT_REQUESTED_IP], DHCPDISCOVER),
        dhcp(BOOTREQUEST, [OPT_REQUESTED_IP], DHCPDISCOVER)
      )
  ],
  [
    'a discovery by a server',
    'dhcp-op',
    () => twins(dhcp(BOOTREQUEST, [OPT_TYPE], DHCPDISCOVER), dhcp(BOOTREPLY, [OPT_TYPE], DHCPDISCOVER))
  ],
  [
    'an acknowledgement without server identifier',
    'dhcp-server',
    () =>
      twins(
        dhcp(BOOTREPLY, [OPT_TYPE, OPT_SERVER_ID, OPT_LEASE], DHCPACK),
        dhcp(BOOTREPLY, [OPT_TYPE, OPT_LEASE], DHCPACK)
      )
  ],
  [
    'an offer without lease time',
    'dhcp-lease',
    () =>
      twins(
        dhcp(BOOTREPLY, [OPT_TYPE, OPT_SERVER_ID, OPT_LEASE], DHCPOFFER),
        dhcp(BOOTREPLY, [OPT_TYPE, OPT_SERVER_ID], DHCPOFFER)
      )
  ]
]

const rulesIn = (frames: readonly Uint8Array[]): readonly (readonly [number, RuleName])[] =>
  judgeAll(frames.map((b, i) => captured(1000 + i, b))).map((f) => [f.frame, f.rule])

describe('a planted fault is found where it is, and its twin without it has none', () => {
  for (const [name, rule, plant] of CASES)
    test(`${name}: ${rule}, ${RULES[rule].clause}`, () =>
      fc.assert(
        fc.property(arbBytes(40, 9), fc.boolean(), (data, v6) => {
          const [good, bad] = plant(data, v6)
          assert.deepEqual(rulesIn(good), [])
          assert.deepEqual(rulesIn(bad), [[2, rule]])
        }),
        { numRuns: 20 }
      ))
})

test('every rule has a planted fault', () => {
  const planted = new Set<string>([...FAULTS.map((f) => f.rule), ...CASES.map(([, rule]) => rule)])
  assert.deepEqual(
    Object.keys(RULES).filter((rule) => !planted.has(rule)),
    []
  )
})
