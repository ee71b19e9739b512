// npx tsx fuzz/seeds.ts: writes fuzz/corpus/frames/seed-*: what a guest sends when it starts, as frames.fuzz.ts takes it;
// and fuzz/corpus/vhost/seed-*: sessions with frames both ways, as vhost.fuzz.cc takes them.
import { mkdirSync, writeFileSync } from 'node:fs'
import { CONFIG, GUEST_LL, GUEST_MAC } from '../property-tests/services-arbitraries.js'
import { fromV4, type InAny } from '../src/codecs/value/inany.js'
import { ARP_REQUEST, ArpPacket } from '../src/codecs/wire/arp.js'
import { PROTO_ICMPV6, PROTO_UDP, sealL4 } from '../src/codecs/wire/checksum.js'
import {
  DHCPDISCOVER,
  DHCPREQUEST,
  DhcpMessage,
  OPT_PARAMETERS,
  OPT_TYPE,
  octetsOption
} from '../src/codecs/wire/dhcp.js'
import {
  BROADCAST_MAC,
  ETH_LEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  writeEthernet
} from '../src/codecs/wire/ethernet.js'
import { IPV4_LEN, ipv4Header, writeIpv4 } from '../src/codecs/wire/ipv4.js'
import { IPV6_LEN, ipv6Header, writeIpv6 } from '../src/codecs/wire/ipv6.js'
import { UDP_LEN, writeUdp } from '../src/codecs/wire/udp.js'

const dir = new URL('corpus/frames/', import.meta.url)
const ROUTERS: InAny = [0xff020000, 0, 0, 2]
const SERVERS: InAny = [0xff020000, 0, 0, 0x10002]
const NODE: InAny = [0xff020000, 0, 1, 0xff000001]

const frame = (type: number, fill: (view: DataView, at: number) => number): Uint8Array => {
  const b = new Uint8Array(2048)
  const view = new DataView(b.buffer)
  writeEthernet(view, 0, { dst: BROADCAST_MAC, src: GUEST_MAC, type })
  return b.subarray(0, fill(view, ETH_LEN))
}
const ip4 = (proto: number, l4: Uint8Array, src: InAny, dst: InAny): Uint8Array =>
  frame(ETHERTYPE_IPV4, (view, at) => {
    writeIpv4(view, at, ipv4Header(src, dst, proto, 64), l4.length)
    new Uint8Array(view.buffer).set(l4, at + IPV4_LEN)
    sealL4(view, at + IPV4_LEN, l4.length, proto, src, dst)
    return at + IPV4_LEN + l4.length
  })
const ip6 = (proto: number, l4: Uint8Array, dst: InAny): Uint8Array =>
  frame(ETHERTYPE_IPV6, (view, at) => {
    writeIpv6(view, at, ipv6Header(GUEST_LL, dst, proto, 0, 255), l4.length)
    new Uint8Array(view.buffer).set(l4, at + IPV6_LEN)
    sealL4(view, at + IPV6_LEN, l4.length, proto, GUEST_LL, dst)
    return at + IPV6_LEN + l4.length
  })
const datagram = (srcPort: number, dstPort: number, payload: Uint8Array): Uint8Array => {
  const b = new Uint8Array(UDP_LEN + payload.length)
  writeUdp(new DataView(b.buffer), 0, { srcPort, dstPort }, payload.length)
  b.set(payload, UDP_LEN)
  return b
}
const dhcp = (type: number): Uint8Array => {
  const zero = fromV4(0)
  const m = DhcpMessage.encode({
    op: 1,
    htype: 1,
    hlen: 6,
    hops: 0,
    xid: 0x12345678,
    secs: 0,
    flags: 0,
    ciaddr: zero,
    yiaddr: zero,
    siaddr: zero,
    giaddr: zero,
    chaddr: Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    sname: new Uint8Array(64),
    file: new Uint8Array(128),
    options: [octetsOption(OPT_TYPE, [type]), octetsOption(OPT_PARAMETERS, [1, 3, 6, 15, 26, 119, 121])]
  })
  return ip4(PROTO_UDP, datagram(68, 67, m), zero, fromV4(0xffffffff))
}
const guest = CONFIG.v4!
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))

const seeds: Readonly<Record<string, Uint8Array>> = {
  arp: frame(ETHERTYPE_ARP, (view, at) => {
    const p = ArpPacket.encode({
      op: ARP_REQUEST,
      sha: GUEST_MAC,
      spa: guest.assigned,
      tha: 0,
      tpa: guest.own
    })
    new Uint8Array(view.buffer).set(p, at)
    return at + p.length
  }),
  'dhcp-discover': dhcp(DHCPDISCOVER),
  'dhcp-request': dhcp(DHCPREQUEST),
  // Solicit: client identifier, IA_NA, option request, elapsed time, rapid commit (RFC 8415 §16.2)
  'dhcpv6-solicit': ip6(
    PROTO_UDP,
    datagram(
      546,
      547,
      bytes(
        '01 123456 0001000a 00030001525400123456 0003000c 00000001 00000000 00000000 00060004 00170018 00080002 0000 000e0000'
      )
    ),
    SERVERS
  ),
  'router-solicitation': ip6(PROTO_ICMPV6, bytes('85000000 00000000 0101525400123456'), ROUTERS),
  'neighbour-solicitation': ip6(
    PROTO_ICMPV6,
    bytes('87000000 00000000 fe800000000000000000000000000001 0101525400123456'),
    NODE
  ),
  dns: ip4(
    PROTO_UDP,
    datagram(40000, 53, bytes('1234 0100 0001 0000 0000 0000 076578616d706c6503636f6d00 0001 0001')),
    guest.assigned,
    fromV4(0xc0000235)
  )
}
mkdirSync(dir, { recursive: true })
// Operation "raw" with its length in front, what the tap said behind it, the end of the turn
for (const [name, f] of Object.entries(seeds))
  writeFileSync(
    new URL(`seed-${name}`, dir),
    Uint8Array.of(0, f.length >> 8, f.length & 0xff, ...f, 0, 0, 0, 0, 0xc1, 1, 0)
  )

// Rings that run, with all features but event indices, or with none; then operations of vhost.fuzz.cc
const [all, none] = [bytes('01 0eff'), bytes('01 0000')]
const turn = bytes('0d 00')
const asleep = bytes('0d 01')
/** A receive chain of 2048 octets at a buffer's offset; a frame to the guest; one from it, in parts. */
const room = (slot: string, at: string) => bytes(`09 0800 00 ${slot} ${at}`)
const toGuest = (kind: string) => bytes(`0b ${kind} 04 01020304 00`)
const fromGuest = (kind: string, slot: string, at: string) =>
  bytes(`08 ${kind} 04 01020304 00 01 ${slot} ${at} 0c`)
const sessions: Readonly<Record<string, ReadonlyArray<Uint8Array>>> = {
  'both-ways': [
    all,
    room('00', '0000'),
    room('01', '0800'),
    toGuest('00'),
    turn,
    fromGuest('00', '00', '4000'),
    asleep
  ],
  plain: [none, room('00', '0000'), toGuest('01'), turn, fromGuest('01', '00', '4000'), asleep],
  'in-a-row': [
    none,
    fromGuest('00', '00', '4000'),
    fromGuest('00', '02', '5000'),
    fromGuest('00', '04', '6000'),
    turn
  ],
  'payload-that-stays': [
    all,
    fromGuest('1a', '00', '8000'),
    turn,
    turn,
    fromGuest('1a', '02', '8000'),
    turn,
    bytes('04 01 01 01'),
    turn
  ],
  indirect: [all, room('80', '5ff8'), toGuest('04'), turn, fromGuest('00', '82', '5ff0'), turn],
  logged: [
    all,
    bytes('04 01 00 0b 0eff'),
    room('00', '0000'),
    toGuest('00'),
    turn,
    fromGuest('00', '00', '4000'),
    turn
  ],
  'logged-events': [
    bytes('01 0fff'),
    bytes('04 01 00 0b 0fff'),
    asleep,
    fromGuest('00', '00', '4000'),
    asleep,
    asleep
  ],
  'beyond-the-end': [none, room('00', 'dff0'), toGuest('00'), turn],
  // Descriptors of the guest's own: ring, index, address, length, flags, next; then a head
  loop: [none, bytes('06 01 00 01 0100 01 0100 01 01 00 07 01 01 00'), turn],
  'head-of-none': [none, bytes('08 00 04 01020304 00 01 00 4000 0c 07 01 00 1000'), turn],
  'next-of-none': [none, bytes('06 01 00 01 0100 01 0100 01 00 ffff 07 01 01 00'), turn],
  starved: [all, toGuest('00'), asleep, room('00', '0000'), asleep, toGuest('00'), turn],
  'stopped-and-on': [
    all,
    bytes('04 01 01 08'),
    turn,
    bytes('04 01 01 07 02'),
    turn,
    fromGuest('00', '00', '4000'),
    turn
  ],
  shorter: [all, room('00', '0000'), bytes('0c 00 02'), toGuest('00'), turn],
  messages: [
    all,
    bytes('02 01'),
    bytes('01 01 01 00 00 00'),
    turn,
    bytes('01 05 01 08 00 0102030405060708 02'),
    turn
  ]
}
const vhost = new URL('corpus/vhost/', import.meta.url)
mkdirSync(vhost, { recursive: true })
for (const [name, parts] of Object.entries(sessions))
  writeFileSync(new URL(`seed-${name}`, vhost), Uint8Array.from(parts.flatMap((part) => [...part])))
