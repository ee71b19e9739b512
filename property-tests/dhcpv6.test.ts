import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { type InAny, showAddr, UNSPECIFIED6 } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { Dhcp6Message, type Dhcp6Option, type IaAddr } from '../src/codecs/wire/dhcpv6.js'
import type { GuestConfig } from '../src/machines/services/guest-config.js'
import { answerDhcpv6 } from '../src/machines/services/services.js'
import { arbHost6, arbHostile, arbMac, assertRoundTrip, assertTotal } from './arbitraries.js'
import {
  ASSIGNED6,
  addr,
  arbConfig,
  arbDhcp6,
  arbDhcp6Option,
  CONFIG,
  countsOf,
  dataOf,
  decoded,
  frameOf,
  framesOf,
  GUEST_LL,
  GUEST_MAC,
  hex,
  udpOf
} from './services-arbitraries.js'

const SERVERS = addr('ff02::1:2')
const INFINITE = 0xffffffff
const CLIENT_ID: Dhcp6Option = { tag: 'ClientId', duid: hex('000100013296c56a525400123456') }
const OURS: Dhcp6Option = { tag: 'ServerId', duid: CONFIG.serverDuid }
const THEIRS: Dhcp6Option = { tag: 'ServerId', duid: hex('0003000100005e005301') }
const WRONG = addr('2001:db8:77::1')
const address = (a: InAny, lifetime = 0): IaAddr => ({
  tag: 'IaAddr',
  addr: a,
  preferred: lifetime,
  valid: lifetime,
  options: []
})
const iaNa = (iaid: number, ...addrs: InAny[]): Dhcp6Option => ({
  tag: 'IaNa',
  iaid,
  t1: 0,
  t2: 0,
  options: addrs.map((a) => address(a))
})
const lease = (iaid: number, ...ended: InAny[]): Dhcp6Option => ({
  tag: 'IaNa',
  iaid,
  t1: INFINITE,
  t2: INFINITE,
  options: [address(ASSIGNED6, INFINITE), ...ended.map((a) => address(a))]
})

const ask = (
  msgType: number,
  options: ReadonlyArray<Dhcp6Option>,
  c: Partial<GuestConfig> = {},
  src = GUEST_LL
): { readonly m: Dhcp6Message; readonly dst: string } => {
  const data = Dhcp6Message.encode({ msgType, xid: 0xb7ba94, options })
  const effects = answerDhcpv6({ ...CONFIG, ...c })(octets(data), { src, dst: SERVERS }, GUEST_MAC)
  const frame = frameOf(effects)
  const f = udpOf(frame)
  assert.deepEqual([f.l4.srcPort, f.l4.dstPort, f.eth.dst], [547, 546, GUEST_MAC])
  assert.equal(showAddr(f.ip.src), 'fe80::1')
  const m = Dhcp6Message.decode(dataOf(frame, f.l4.payload))
  if (E.isLeft(m)) return assert.fail('our own reply does not decode')
  assert.equal(m.right.xid, 0xb7ba94)
  return { m: m.right, dst: showAddr(f.ip.dst) }
}
const tags = (m: Dhcp6Message): string[] => m.options.map((o) => o.tag)
const ias = (m: Dhcp6Message): Dhcp6Option[] => m.options.filter((o) => o.tag.startsWith('Ia'))
/** Status codes inside the IAs, in order; null: none. */
const iaStatus = (m: Dhcp6Message): (number | null)[] =>
  m.options.flatMap((o) => {
    if (o.tag !== 'IaNa' && o.tag !== 'IaTa' && o.tag !== 'IaPd') return []
    const s = o.options.find((x) => x.tag === 'StatusCode')
    return [s?.tag === 'StatusCode' ? s.status : null]
  })
const topStatus = (m: Dhcp6Message): number | null => {
  const s = m.options.find((o) => o.tag === 'StatusCode')
  return s?.tag === 'StatusCode' ? s.status : null
}
const silent = (
  what: string,
  msgType: number,
  options: ReadonlyArray<Dhcp6Option>,
  c: Partial<GuestConfig> = {},
  dst = SERVERS,
  src = GUEST_LL
): void => {
  const data = Dhcp6Message.encode({ msgType, xid: 1, options })
  const effects = answerDhcpv6({ ...CONFIG, ...c })(octets(data), { src, dst }, GUEST_MAC)
  assert.deepEqual(framesOf(effects), [])
  assert.deepEqual(countsOf(effects), [what])
}

const [SOLICIT, REQUEST, CONFIRM, RENEW, REBIND] = [1, 3, 4, 5, 6]
const [RELEASE, DECLINE, INFORMATION_REQUEST] = [8, 9, 11]

describe('DHCPv6 codec', () => {
  test('decode . encode = id', () =>
    fc.assert(fc.property(arbDhcp6, (m) => assertRoundTrip(Dhcp6Message, m))))
  test('hostile octets: Left or a value', () =>
    fc.assert(
      fc.property(arbHostile(arbDhcp6.map(Dhcp6Message.encode)), (b) => assertTotal(Dhcp6Message, b)),
      {
        numRuns: 400
      }
    ))
  test('SOLICIT of dhclient', () => {
    const wire = hex(`01 b7ba94 0001 000e 000100013296c56a525400123456
      0006 0008 0017 0018 0027 001f 0008 0002 0000 0003 000c 00123456 00000e10 00001518`)
    assert.deepEqual(
      Dhcp6Message.decode(octets(wire)),
      E.right({
        msgType: 1,
        xid: 0xb7ba94,
        options: [
          CLIENT_ID,
          { tag: 'OptionRequest', codes: [23, 24, 39, 31] },
          { tag: 'Opaque', code: 8, data: hex('0000') },
          { tag: 'IaNa', iaid: 0x123456, t1: 3600, t2: 5400, options: [] }
        ]
      })
    )
  })
  test('IAs inside IAs stay opaque: depth does not grow with length', () => {
    let nested = new Uint8Array(0)
    for (let i = 0; i < 3000; i++) {
      const head = hex('0003 0000 00000001 00000000 00000000')
      new DataView(head.buffer).setUint16(2, 12 + nested.length)
      nested = Uint8Array.from([...head, ...nested])
    }
    assertTotal(Dhcp6Message, Uint8Array.from([...hex('01 000001'), ...nested]))
  })
  test('relay messages and malformed options do not decode', () => {
    for (const bad of [
      '0c 000001',
      '0d 000001',
      '01 0000',
      '01 000001 0001',
      '01 000001 0001 0002 00',
      '01 000001 0003 0004 00000001',
      '01 000001 0001 0000'
    ])
      assert.ok(E.isLeft(Dhcp6Message.decode(octets(hex(bad)))), bad)
  })
})

describe('DHCPv6 answers (behaviour.md#dhcpv6, RFC 8415)', () => {
  test('SOLICIT: ADVERTISE with the address for ever; options in their order', () => {
    const { m, dst } = ask(SOLICIT, [CLIENT_ID, iaNa(0x123456)], { fqdn: 'vm.lab' })
    assert.equal(dst, showAddr(GUEST_LL))
    assert.equal(m.msgType, 2)
    assert.deepEqual(m.options, [
      OURS,
      lease(0x123456),
      CLIENT_ID,
      { tag: 'DnsServers', addrs: CONFIG.dns6 },
      {
        tag: 'DomainList',
        names: [
          ['example', 'com'],
          ['lab', 'example', 'com']
        ]
      },
      { tag: 'ClientFqdn', flags: 0, name: hex('02766d 03 6c6162 00') }
    ])
  })
  test('regression-14: no lifetime is taken from the host', () =>
    assert.deepEqual(ias(ask(REQUEST, [OURS, CLIENT_ID, iaNa(1)]).m), [lease(1)]))
  test('the reply goes to the source of the message, whoever was seen before', () =>
    assert.equal(ask(SOLICIT, [CLIENT_ID, iaNa(1)], {}, addr('fe80::77')).dst, 'fe80::77'))
  test('§18.3.1: Rapid Commit is answered with a REPLY that has it', () => {
    const { m } = ask(SOLICIT, [CLIENT_ID, { tag: 'RapidCommit' }, iaNa(1)])
    assert.equal(m.msgType, 7)
    assert.deepEqual(tags(m), ['ServerId', 'IaNa', 'ClientId', 'RapidCommit', 'DnsServers', 'DomainList'])
    assert.ok(
      !tags(ask(REQUEST, [OURS, CLIENT_ID, { tag: 'RapidCommit' }, iaNa(1)]).m).includes('RapidCommit')
    )
  })
  test('SOLICIT with a hint for another address: the hint is ignored', () =>
    assert.deepEqual(ias(ask(SOLICIT, [CLIENT_ID, iaNa(1, WRONG)]).m), [lease(1)]))
  test('§18.3.2: REQUEST for another address: NotOnLink, no configuration', () => {
    const { m } = ask(REQUEST, [OURS, CLIENT_ID, iaNa(5, WRONG)])
    assert.deepEqual([m.msgType, tags(m), iaStatus(m)], [7, ['ServerId', 'IaNa', 'ClientId'], [4]])
    // upstream misses it in an IA_TA
    const ta: Dhcp6Option = { tag: 'IaTa', iaid: 6, options: [address(WRONG)] }
    assert.deepEqual(iaStatus(ask(REQUEST, [OURS, CLIENT_ID, iaNa(5, ASSIGNED6), ta]).m), [null, 4])
  })
  test('IAs that get nothing are told so: NoAddrsAvail, NoPrefixAvail', () => {
    const all: Dhcp6Option[] = [
      { tag: 'IaTa', iaid: 1, options: [] },
      iaNa(2),
      iaNa(3),
      { tag: 'IaPd', iaid: 4, t1: 0, t2: 0, options: [] }
    ]
    for (const [type, ids] of [
      [SOLICIT, [CLIENT_ID]],
      [REQUEST, [CLIENT_ID, OURS]],
      [RENEW, [CLIENT_ID, OURS]],
      [REBIND, [CLIENT_ID]]
    ] as const) {
      const { m } = ask(type, [...ids, ...all])
      assert.deepEqual(iaStatus(m), [2, null, 2, 6])
    }
    // the IA_NA that names the address has it, not the first one
    assert.deepEqual(iaStatus(ask(RENEW, [CLIENT_ID, OURS, iaNa(2), iaNa(3, ASSIGNED6)]).m), [2, null])
  })
  test('no IA asked, none in the answer (upstream sends one)', () =>
    assert.deepEqual(tags(ask(SOLICIT, [CLIENT_ID]).m), ['ServerId', 'ClientId', 'DnsServers', 'DomainList']))
  test('§18.3.4, §18.3.5: RENEW and REBIND end wrong addresses and give ours; REBIND has no server identifier', () => {
    assert.deepEqual(ias(ask(RENEW, [CLIENT_ID, OURS, iaNa(1, WRONG, ASSIGNED6)]).m), [lease(1, WRONG)])
    assert.deepEqual(ias(ask(REBIND, [CLIENT_ID, iaNa(1, WRONG)]).m), [lease(1, WRONG)])
    silent('dhcpv6: server identifier', REBIND, [CLIENT_ID, OURS, iaNa(1)])
  })
  test('an address that may change has an end, and times to renew in front of it (§14.2, §21.4)', () => {
    const [ia] = ias(ask(RENEW, [CLIENT_ID, OURS, iaNa(1, WRONG)], { lease6: 240 }).m)
    assert.deepEqual(ia, {
      tag: 'IaNa',
      iaid: 1,
      t1: 120,
      t2: 192,
      options: [address(ASSIGNED6, 240), address(WRONG)]
    })
  })
  test('§18.3.3: CONFIRM gets a status and no addresses', () => {
    const right = ask(CONFIRM, [CLIENT_ID, iaNa(1, ASSIGNED6)]).m
    assert.deepEqual(
      [right.msgType, tags(right), topStatus(right)],
      [7, ['ServerId', 'ClientId', 'StatusCode'], 0]
    )
    assert.equal(topStatus(ask(CONFIRM, [CLIENT_ID, iaNa(1, ASSIGNED6), iaNa(2, WRONG)]).m), 4)
    silent('dhcpv6: nothing to say', CONFIRM, [CLIENT_ID, iaNa(1)])
  })
  test('§18.3.6: INFORMATION-REQUEST gets no addresses, with and without client identifier', () => {
    assert.deepEqual(tags(ask(INFORMATION_REQUEST, [CLIENT_ID]).m), [
      'ServerId',
      'ClientId',
      'DnsServers',
      'DomainList'
    ])
    assert.deepEqual(tags(ask(INFORMATION_REQUEST, [OURS]).m), ['ServerId', 'DnsServers', 'DomainList'])
    silent('dhcpv6: nothing to say', INFORMATION_REQUEST, [CLIENT_ID, iaNa(1)]) // §16.12
  })
  test('§18.3.7, §18.3.8: RELEASE and DECLINE succeed; what we never gave has no binding', () => {
    for (const type of [RELEASE, DECLINE]) {
      const { m } = ask(type, [CLIENT_ID, OURS, iaNa(1, ASSIGNED6), iaNa(2, WRONG)])
      assert.deepEqual([m.msgType, topStatus(m), iaStatus(m)], [7, 0, [3]])
    }
  })
  test('a hundred IAs: as many as one packet of 1280 octets takes, the lease among them', () => {
    const many = Array.from({ length: 100 }, (_, i) => iaNa(i))
    const { m } = ask(SOLICIT, [CLIENT_ID, ...many])
    assert.ok(Dhcp6Message.encode(m).length <= 1232)
    assert.deepEqual(m.options.slice(0, 2), [OURS, lease(0)])
    assert.ok(tags(m).includes('ClientId') && ias(m).length > 10)
  })
  test('RFC 4704 §6: O where the client set S', () => {
    const { m } = ask(SOLICIT, [CLIENT_ID, { tag: 'ClientFqdn', flags: 1, name: hex('02766d') }], {
      fqdn: 'vm.lab'
    })
    assert.deepEqual(m.options.at(-1), { tag: 'ClientFqdn', flags: 2, name: hex('02766d 03 6c6162 00') })
  })
  test('silent: what RFC 8415 §16 discards', () => {
    silent('dhcpv6: no client identifier', SOLICIT, [iaNa(1)])
    silent('dhcpv6: server identifier', SOLICIT, [CLIENT_ID, OURS, iaNa(1)])
    silent('dhcpv6: server identifier', CONFIRM, [CLIENT_ID, OURS, iaNa(1, ASSIGNED6)])
    for (const type of [REQUEST, RENEW, RELEASE, DECLINE]) {
      silent('dhcpv6: no server identifier', type, [CLIENT_ID, iaNa(1)])
      silent('dhcpv6: other server', type, [CLIENT_ID, THEIRS, iaNa(1)])
    }
    silent('dhcpv6: other server', INFORMATION_REQUEST, [CLIENT_ID, THEIRS])
    for (const type of [0, 2, 7, 10, 14, 255]) silent('dhcpv6: other message type', type, [CLIENT_ID, OURS])
    silent('dhcpv6: unicast', SOLICIT, [CLIENT_ID, iaNa(1)], {}, addr('fe80::1'))
    silent('dhcpv6: no source', SOLICIT, [CLIENT_ID, iaNa(1)], {}, SERVERS, UNSPECIFIED6)
  })
  test('silent: switched off, local mode', () => {
    for (const c of [
      { noDhcpv6: true },
      { v6: null },
      { v6: { assigned: null, ownLinkLocal: addr('fe80::1') } }
    ] satisfies Partial<GuestConfig>[])
      silent('dhcpv6: off', SOLICIT, [CLIENT_ID, iaNa(1)], c)
  })
  test('any message: at most one frame of at most 1294 octets, server identifier and client identifier right', () => {
    const client = fc
      .tuple(
        fc.constantFrom(1, 3, 4, 5, 6, 8, 9, 11),
        fc.array(arbDhcp6Option(fc.oneof(fc.constant(ASSIGNED6), arbHost6)), { maxLength: 30, size: 'max' }),
        fc.boolean()
      )
      .map(([msgType, list, server]) => {
        const rest = list.filter((o) => o.tag !== 'ClientId' && o.tag !== 'ServerId')
        return { msgType, xid: 77, options: [CLIENT_ID, ...(server ? [OURS] : []), ...rest] }
      })
    const octetsOf = fc.oneof(client.map(Dhcp6Message.encode), arbHostile(arbDhcp6.map(Dhcp6Message.encode)))
    fc.assert(
      fc.property(arbConfig, octetsOf, arbHost6, arbMac, (random, b, src, mac) => {
        const c = { ...random, serverDuid: CONFIG.serverDuid }
        const effects = answerDhcpv6(c)(octets(b), { src, dst: SERVERS }, mac)
        assert.equal(framesOf(effects).length + countsOf(effects).length, 1)
        for (const frame of framesOf(effects)) {
          assert.ok(frame.length <= 14 + 1280)
          const f = udpOf(frame)
          assert.equal(decoded(frame).eth.dst, mac)
          const m = Dhcp6Message.decode(dataOf(frame, f.l4.payload))
          if (E.isLeft(m)) return assert.fail('our own reply does not decode')
          assert.deepEqual(m.right.options[0], OURS)
          const asked = Dhcp6Message.decode(octets(b))
          const id = E.isRight(asked) ? asked.right.options.find((o) => o.tag === 'ClientId') : undefined
          assert.deepEqual(
            m.right.options.find((o) => o.tag === 'ClientId'),
            id
          )
        }
      }),
      { numRuns: 400 }
    )
  })
})
