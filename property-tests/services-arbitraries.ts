import assert from 'node:assert/strict'
import fc from 'fast-check'
import { fromV4, type InAny, parseAddr } from '../src/codecs/value/inany.js'
import { type Octets, octets } from '../src/codecs/value/octets.js'
import type { ArpPacket } from '../src/codecs/wire/arp.js'
import { sum16 } from '../src/codecs/wire/checksum.js'
import type { DhcpMessage, DhcpOption } from '../src/codecs/wire/dhcp.js'
import type { Dhcp6Message, Dhcp6Option, IaAddr, IaOption, StatusCode } from '../src/codecs/wire/dhcpv6.js'
import { type DnsName, type NameList, nameLen } from '../src/codecs/wire/dns-name.js'
import { ETH_LEN, ETH_MIN, type Mac } from '../src/codecs/wire/ethernet.js'
import { decodeFrame, type Frame } from '../src/codecs/wire/frame.js'
import type { NdpMessage, NdpOption } from '../src/codecs/wire/ndp.js'
import type { ServiceEffect } from '../src/effects/effect.js'
import {
  duidLlt,
  type GuestConfig,
  type GuestV6,
  LEASE_FOREVER
} from '../src/machines/services/guest-config.js'
import {
  arbBytes,
  arbHost4,
  arbHost6,
  arbInAny4,
  arbInAny6,
  arbMac,
  arbU8,
  arbU16,
  arbU32,
  plain
} from './arbitraries.js'

/** Arbitraries and checks that the tests of ARP, NDP, DHCP and DHCPv6 share. */

// --- names

const octetText = (min: number, max: number): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((b) => String.fromCharCode(...b))
const arbLabel = fc.oneof(
  { weight: 4, arbitrary: fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$/) },
  { weight: 1, arbitrary: octetText(1, 63) },
  { weight: 1, arbitrary: fc.constantFrom('a', 'com', 'x'.repeat(63)) }
)
/** Root included. */
export const arbName: fc.Arbitrary<DnsName> = fc
  .array(arbLabel, { maxLength: 5 })
  .filter((n) => nameLen(n) <= 255)
/** Few distinct labels, so that compression finds something. */
export const arbNames: fc.Arbitrary<NameList> = fc.array(
  fc
    .oneof(arbName, fc.array(fc.constantFrom('a', 'b', 'com'), { minLength: 1, maxLength: 4 }))
    .filter((n) => n.length > 0),
  { maxLength: 6 }
)
export const arbHostText = fc.oneof(
  fc.stringMatching(/^[a-z]{1,8}(\.[a-z]{1,8}){0,3}\.?$/),
  fc.constantFrom('.', '', 'a..b', 'x'.repeat(64), `${'y'.repeat(60)}.`.repeat(4), 'nö.example', 'a b')
)

// --- messages

export const arbArp: fc.Arbitrary<ArpPacket> = plain({
  op: fc.oneof(fc.constantFrom(1, 2), arbU16),
  sha: arbMac,
  spa: arbInAny4,
  tha: arbMac,
  tpa: arbInAny4
})

const arbCode = fc
  .oneof(fc.constantFrom(12, 50, 53, 54, 55, 61, 80, 81, 119, 121), fc.integer({ min: 1, max: 254 }))
  .filter((code) => code !== 52)
const arbData = fc.oneof(
  { weight: 4, arbitrary: arbBytes(12) },
  { weight: 1, arbitrary: arbBytes(600, 250) },
  fc.constantFrom(new Uint8Array(255), new Uint8Array(256), new Uint8Array(0))
)
const arbDhcpOptions: fc.Arbitrary<DhcpOption[]> = fc.uniqueArray(
  plain<DhcpOption>({ code: arbCode, data: arbData }),
  { selector: (o) => o.code, maxLength: 12 }
)
export const arbDhcp: fc.Arbitrary<DhcpMessage> = plain<DhcpMessage>({
  op: fc.oneof(fc.constantFrom(1, 2), arbU8),
  htype: arbU8,
  hlen: fc.nat(16),
  hops: arbU8,
  xid: arbU32,
  secs: arbU16,
  flags: fc.oneof(fc.constantFrom(0, 0x8000), arbU16),
  ciaddr: arbInAny4,
  yiaddr: arbInAny4,
  siaddr: arbInAny4,
  giaddr: arbInAny4,
  chaddr: arbBytes(16, 16),
  sname: arbBytes(64, 64),
  file: arbBytes(128, 128),
  options: arbDhcpOptions
})

const arbStatus: fc.Arbitrary<StatusCode> = plain<StatusCode>({
  tag: fc.constant('StatusCode' as const),
  status: fc.oneof(fc.nat(6), arbU16),
  message: octetText(0, 30)
})
const opaque = (known: ReadonlyArray<number>) =>
  plain({
    tag: fc.constant('Opaque' as const),
    code: fc.oneof(fc.nat(60), arbU16).filter((c) => !known.includes(c)),
    data: arbBytes(20)
  })
/** `addr`: what IA addresses are drawn from. */
const arbIaAddr = (addr: fc.Arbitrary<InAny>): fc.Arbitrary<IaAddr> =>
  plain<IaAddr>({
    tag: fc.constant('IaAddr' as const),
    addr,
    preferred: arbU32,
    valid: arbU32,
    options: fc.array(fc.oneof(arbStatus, opaque([13])), { maxLength: 2 })
  })
const arbDuid = fc.oneof(arbBytes(20, 1), arbBytes(130, 130))
export const arbDhcp6Option = (addr: fc.Arbitrary<InAny> = arbInAny6): fc.Arbitrary<Dhcp6Option> => {
  const inIa: fc.Arbitrary<IaOption[]> = fc.array(fc.oneof(arbIaAddr(addr), arbStatus, opaque([5, 13])), {
    maxLength: 3
  })
  return fc.oneof(
    plain({ tag: fc.constantFrom('ClientId' as const), duid: arbDuid }),
    plain({ tag: fc.constantFrom('ServerId' as const), duid: arbDuid }),
    plain({
      tag: fc.constantFrom('IaNa' as const, 'IaPd' as const),
      iaid: arbU32,
      t1: arbU32,
      t2: arbU32,
      options: inIa
    }),
    plain({ tag: fc.constant('IaTa' as const), iaid: arbU32, options: inIa }),
    arbStatus,
    plain({ tag: fc.constant('OptionRequest' as const), codes: fc.array(arbU16, { maxLength: 8 }) }),
    plain({ tag: fc.constant('RapidCommit' as const) }),
    plain({ tag: fc.constant('DnsServers' as const), addrs: fc.array(arbInAny6, { maxLength: 4 }) }),
    plain({ tag: fc.constant('DomainList' as const), names: arbNames }),
    plain({ tag: fc.constant('ClientFqdn' as const), flags: arbU8, name: arbBytes(20) }),
    opaque([1, 2, 3, 4, 6, 13, 14, 23, 24, 25, 39])
  )
}
export const arbDhcp6: fc.Arbitrary<Dhcp6Message> = plain<Dhcp6Message>({
  msgType: fc.oneof(fc.integer({ min: 1, max: 11 }), arbU8).filter((n) => n !== 12 && n !== 13),
  xid: fc.nat(0xffffff),
  options: fc.array(arbDhcp6Option(), { maxLength: 6 })
})

const STRUCTURED = [1, 2, 3, 5, 25, 31]
export const arbNdpOption: fc.Arbitrary<NdpOption> = fc.oneof(
  plain({ tag: fc.constantFrom('SourceLla' as const, 'TargetLla' as const), mac: arbMac }),
  plain({
    tag: fc.constant('Prefix' as const),
    prefixLen: arbU8,
    onLink: fc.boolean(),
    autonomous: fc.boolean(),
    valid: arbU32,
    preferred: arbU32,
    prefix: arbInAny6
  }),
  plain({ tag: fc.constant('Mtu' as const), mtu: arbU32 }),
  plain({
    tag: fc.constant('Rdnss' as const),
    lifetime: arbU32,
    addrs: fc.array(arbInAny6, { minLength: 1, maxLength: 4 })
  }),
  plain({
    tag: fc.constant('Dnssl' as const),
    lifetime: arbU32,
    names: arbNames.filter((l) => l.length > 0)
  }),
  plain({
    tag: fc.constant('Opaque' as const),
    type: arbU8.filter((n) => !STRUCTURED.includes(n)),
    data: fc.nat(3).chain((n) => arbBytes(6 + 8 * n, 6 + 8 * n))
  })
)
const options = fc.array(arbNdpOption, { maxLength: 4 })
export const arbNdp: fc.Arbitrary<NdpMessage> = fc.oneof(
  plain({ tag: fc.constant('RouterSolicit' as const), options }),
  plain({
    tag: fc.constant('RouterAdvert' as const),
    hopLimit: arbU8,
    managed: fc.boolean(),
    otherConfig: fc.boolean(),
    lifetime: arbU16,
    reachable: arbU32,
    retrans: arbU32,
    options
  }),
  plain({ tag: fc.constant('NeighbourSolicit' as const), target: arbInAny6, options }),
  plain({
    tag: fc.constant('NeighbourAdvert' as const),
    router: fc.boolean(),
    solicited: fc.boolean(),
    override: fc.boolean(),
    target: arbInAny6,
    options
  })
)

// --- configuration

export const addr = (text: string): InAny => {
  const a = parseAddr(text)
  return a._tag === 'Some' ? a.value : assert.fail(text)
}
export const OWN_MAC: Mac = 0x9a559a559a55
export const GUEST_MAC: Mac = 0x525400123456
export const GUEST_LL = addr('fe80::5054:ff:fe12:3456')
export const ASSIGNED6 = addr('2001:db8:9::2')
/** A guest as passt configures it by default. */
export const CONFIG: GuestConfig = {
  ownMac: OWN_MAC,
  v4: {
    assigned: addr('192.0.2.7'),
    prefixLen: 24,
    gateway: addr('192.0.2.1'),
    own: addr('192.0.2.1')
  },
  v6: { assigned: ASSIGNED6, ownLinkLocal: addr('fe80::1') },
  mtu: 65520,
  dns4: [addr('192.0.2.53')],
  dns6: [addr('2001:db8:9::53')],
  search: ['example.com', 'lab.example.com'],
  announceDns: true,
  announceSearch: true,
  lease4: LEASE_FOREVER,
  lease6: LEASE_FOREVER,
  hostname: null,
  fqdn: null,
  noDhcp: false,
  noDhcpv6: false,
  noNdp: false,
  noRa: false,
  serverDuid: duidLlt(OWN_MAC, 1_700_000_000),
  macOf: () => OWN_MAC
}

export const arbConfig: fc.Arbitrary<GuestConfig> = plain({
  ownMac: arbMac,
  v4: fc.option(
    fc.tuple(arbHost4, fc.nat(32), fc.option(arbHost4)).map(([assigned, prefixLen, gateway]) => ({
      assigned,
      prefixLen,
      gateway,
      own: gateway ?? fromV4(0xa9fe0202)
    })),
    { freq: 9 }
  ),
  v6: fc.option(plain<GuestV6>({ assigned: fc.option(arbHost6, { freq: 9 }), ownLinkLocal: arbHost6 }), {
    freq: 9
  }),
  mtu: fc.constantFrom(0, 1280, 1500, 65520),
  dns4: fc.array(arbHost4, { maxLength: 5 }),
  dns6: fc.array(arbHost6, { maxLength: 5 }),
  search: fc.array(arbHostText, { maxLength: 6 }),
  announceDns: fc.boolean(),
  announceSearch: fc.boolean(),
  lease4: fc.constantFrom(240, LEASE_FOREVER),
  lease6: fc.constantFrom(240, LEASE_FOREVER),
  hostname: fc.option(fc.string({ maxLength: 300 })),
  fqdn: fc.option(arbHostText),
  noDhcp: fc.constantFrom(false, false, false, true),
  noDhcpv6: fc.constantFrom(false, false, false, true),
  noNdp: fc.constantFrom(false, false, false, true),
  noRa: fc.constantFrom(false, false, false, true),
  serverDuid: arbBytes(14, 14),
  macOf: arbMac.map((m) => () => m)
})

// --- what comes out

export const framesOf = (effects: ReadonlyArray<ServiceEffect>): ReadonlyArray<Uint8Array> =>
  effects.flatMap((e) => (e.type === 'FrameToTap' ? [e.frame] : []))
export const countsOf = (effects: ReadonlyArray<ServiceEffect>): ReadonlyArray<string> =>
  effects.flatMap((e) => (e.type === 'Count' ? [e.what] : []))
/** The one frame among `effects`. */
export const frameOf = (effects: ReadonlyArray<ServiceEffect>): Uint8Array => {
  const frames = framesOf(effects)
  assert.equal(frames.length, 1, `expected one frame, got ${JSON.stringify(effects)}`)
  return frames[0]
}

/** Decoded as our own data path decodes a guest's frame: lengths, checksums and padding are verified on the way. */
export const decoded = (frame: Uint8Array): Frame => {
  assert.ok(frame.length >= ETH_MIN, `frame of ${frame.length} octets`)
  const o = octets(frame)
  const f = decodeFrame(o, {
    needsCsum: false,
    sum16: sum16(o.view, ETH_LEN, frame.length - ETH_LEN),
    gsoSize: 0
  })
  return typeof f === 'string' ? assert.fail(`our own frame is dropped: ${f}`) : f
}
/** As `decoded`, and a UDP checksum must be there. */
export const udpOf = (frame: Uint8Array): Extract<Frame, { kind: 'udp' }> => {
  const f = decoded(frame)
  assert.equal(f.kind, 'udp')
  const udp = f as Extract<Frame, { kind: 'udp' }>
  assert.notEqual(udp.l4.checksum, 0)
  return udp
}
export const dataOf = (frame: Uint8Array, at: { readonly off: number; readonly len: number }): Octets => ({
  view: new DataView(frame.buffer, frame.byteOffset, frame.byteLength),
  ...at
})

/** Octets written as in a capture: hexadecimal, blanks ignored. */
export const hex = (text: string): Uint8Array =>
  Uint8Array.from(text.replaceAll(/\s/g, '').match(/../g) ?? [], (h) => Number.parseInt(h, 16))
