import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { type InAny, isUnspecified, sameAddr, showAddr, UNSPECIFIED6 } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { BROADCAST_MAC } from '../src/codecs/wire/ethernet.js'
import { encodeNdpOption, NdpMessage, type NdpOption } from '../src/codecs/wire/ndp.js'
import { instant, type ServiceEffect } from '../src/effects/effect.js'
import type { GuestConfig } from '../src/machines/services/guest-config.js'
import { ndpMachine, type RouterAdvertEvent } from '../src/machines/services/ndp.js'
import {
  ALL_NODES,
  type NdpSource,
  routerAdvert,
  solicitedNode
} from '../src/machines/services/ndp-answer.js'
import { answerNdp, farewell, initialProbes, naAnnouncement } from '../src/machines/services/services.js'
import { compile, type State } from '../src/runtime/machine/compile.js'
import {
  arbHost6,
  arbHostile,
  arbInAny6,
  arbMac,
  assertRoundTrip,
  assertTotal,
  plain,
  real
} from './arbitraries.js'
import { sameAsXstate, untilAllTaken } from './same-as-xstate.js'
import {
  ASSIGNED6,
  addr,
  arbConfig,
  arbNdp,
  CONFIG,
  countsOf,
  dataOf,
  decoded,
  frameOf,
  framesOf,
  GUEST_LL,
  GUEST_MAC,
  hex,
  OWN_MAC
} from './services-arbitraries.js'

const ndpOf = (frame: Uint8Array): NdpMessage => {
  const f = decoded(frame)
  if (f.kind !== 'icmpv6') return assert.fail(`a frame of kind ${f.kind}`)
  assert.equal(f.ip.ttl, 255)
  const m = NdpMessage.decode(dataOf(frame, f.ip))
  return E.isRight(m) ? m.right : assert.fail('our own NDP does not decode')
}
const ipOf = (frame: Uint8Array): { src: string; dst: string } => {
  const f = decoded(frame)
  return f.kind === 'arp' ? assert.fail() : { src: showAddr(f.ip.src), dst: showAddr(f.ip.dst) }
}
const from = (src = GUEST_LL, dst = ALL_NODES, ttl = 255): NdpSource => ({ src, dst, ttl })

// As the Linux kernel sends them: RS with its link-layer address, RS and NS from :: with a nonce (RFC 7527).
const KERNEL_RS = hex('85 00 0000 00000000 01 01 525400123456')
const KERNEL_RS_UNSPECIFIED = hex('85 00 0000 00000000')
const NS_GATEWAY = hex('87 00 0000 00000000 fe80000000000000 0000000000000001 01 01 525400123456')
const NS_DAD = hex('87 00 0000 00000000 fe80000000000000 505400fffe123456 0e 01 0102030405ff')

describe('NDP codec', () => {
  test('decode . encode = id', () => fc.assert(fc.property(arbNdp, (m) => assertRoundTrip(NdpMessage, m))))
  test('hostile octets: Left or a value', () =>
    fc.assert(
      fc.property(arbHostile(arbNdp.map(NdpMessage.encode)), (b) => assertTotal(NdpMessage, b)),
      {
        numRuns: 400
      }
    ))

  test('solicitations of the Linux kernel', () => {
    assert.deepEqual(NdpMessage.decode(octets(KERNEL_RS)), {
      _tag: 'Right',
      right: { tag: 'RouterSolicit', options: [{ tag: 'SourceLla', mac: GUEST_MAC }] }
    })
    assert.deepEqual(NdpMessage.decode(octets(NS_DAD)), {
      _tag: 'Right',
      right: {
        tag: 'NeighbourSolicit',
        target: addr('fe80::5054:ff:fe12:3456'),
        options: [{ tag: 'Opaque', type: 14, data: hex('0102030405ff') }]
      }
    })
  })
  test('RFC 4861 §4.6: an option of length 0, or cut off, spoils the message', () => {
    for (const bad of ['0100 525400123456', '0102 525400123456', '01', '0101 5254']) {
      const b = Uint8Array.from([...KERNEL_RS_UNSPECIFIED, ...hex(bad)])
      assert.ok(E.isLeft(NdpMessage.decode(octets(b))), bad)
    }
  })
  test('DNSSL is whole units of 8 octets and no more: no zero-length option can follow (RFC 4861 §4.6)', () => {
    const label = fc.integer({ min: 1, max: 40 }).map((n) => 'x'.repeat(n))
    fc.assert(
      fc.property(fc.array(fc.tuple(label, label), { minLength: 1, maxLength: 5 }), (names) => {
        const b = encodeNdpOption({ tag: 'Dnssl', lifetime: 1, names })
        assert.equal(b.length, 8 * b[1])
        const used = names.reduce((n, [a, c]) => n + a.length + c.length + 3, 8)
        assert.ok(b.length - used < 8, `${b.length - used} octets of padding`)
      })
    )
  })
})

describe('NDP answers (behaviour.md#ndp)', () => {
  const answer = answerNdp(CONFIG)
  const silent = (what: string, b: Uint8Array, source: NdpSource, c: GuestConfig = CONFIG): void => {
    const { effects, solicitation } = answerNdp(c)(octets(b), source, GUEST_MAC)
    assert.deepEqual(framesOf(effects), [])
    assert.deepEqual(countsOf(effects), [what])
    assert.equal(solicitation, null)
  }
  const ns = (target: string): Uint8Array =>
    NdpMessage.encode({ tag: 'NeighbourSolicit', target: addr(target), options: [] })

  test('NS: an advertisement from our link-local address, for any target', () => {
    for (const target of ['fe80::1', '2001:db8:9::1', '2001:db8:ffff::5']) {
      const frame = frameOf(answer(octets(ns(target)), from(), GUEST_MAC).effects)
      assert.deepEqual(decoded(frame).eth, { dst: GUEST_MAC, src: OWN_MAC, type: 0x86dd })
      assert.deepEqual(ipOf(frame), { src: 'fe80::1', dst: showAddr(GUEST_LL) })
      assert.deepEqual(ndpOf(frame), {
        tag: 'NeighbourAdvert',
        router: true,
        solicited: true,
        override: true,
        target: addr(target),
        options: [{ tag: 'TargetLla', mac: OWN_MAC }]
      })
    }
    assert.equal(framesOf(answer(octets(NS_GATEWAY), from(), GUEST_MAC).effects).length, 1)
  })
  test('silent: duplicate address detection, the own address of the guest', () => {
    silent('ndp: duplicate address detection', NS_DAD, from(UNSPECIFIED6, solicitedNode(GUEST_LL)))
    silent('ndp: assigned address', ns(showAddr(ASSIGNED6)), from())
    silent('ndp: assigned address', ns(showAddr(GUEST_LL)), from())
  })
  test('silent: what RFC 4861 §6.1.1 and §7.1.1 call invalid', () => {
    silent('ndp: hop limit', NS_GATEWAY, from(GUEST_LL, ALL_NODES, 64))
    silent('ndp: hop limit', KERNEL_RS, from(GUEST_LL, ALL_NODES, 254))
    silent('ndp: NS for multicast', ns('ff02::1'), from())
    const code = NS_GATEWAY.slice()
    code[1] = 1
    silent('ndp: malformed', code, from())
    silent('ndp: malformed', NS_GATEWAY.slice(0, 23), from())
    silent('ndp: NS from :: with link-layer address', NS_GATEWAY, from(UNSPECIFIED6))
    silent('ndp: NS from :: not to solicited-node', NS_DAD, from(UNSPECIFIED6, ALL_NODES))
    silent('ndp: RS from :: with link-layer address', KERNEL_RS, from(UNSPECIFIED6))
  })
  test('silent: switched off; adverts of the guest', () => {
    silent('ndp: off', NS_GATEWAY, from(), { ...CONFIG, noNdp: true })
    silent('ndp: off', NS_GATEWAY, from(), { ...CONFIG, v6: null })
    silent('ndp: RA off', KERNEL_RS, from(), { ...CONFIG, noRa: true })
    silent('ndp: not a solicitation', NdpMessage.encode(routerAdvert(CONFIG, ASSIGNED6)), from())
  })
  test('RS: a solicitation for the machine', () => {
    assert.deepEqual(answer(octets(KERNEL_RS), from(), GUEST_MAC), {
      effects: [],
      solicitation: { src: GUEST_LL, srcMac: GUEST_MAC }
    })
  })
  test('any message: at most one frame, to the sender, that our own data path accepts', () => {
    const source = plain<NdpSource>({
      src: fc.oneof(arbHost6, fc.constant(UNSPECIFIED6)),
      dst: arbInAny6,
      ttl: fc.constantFrom(255, 255, 255, 64)
    })
    fc.assert(
      fc.property(arbConfig, arbHostile(arbNdp.map(NdpMessage.encode)), source, arbMac, (c, b, s, mac) => {
        const { effects, solicitation } = answerNdp(c)(octets(b), s, mac)
        assert.equal(framesOf(effects).length + countsOf(effects).length + (solicitation ? 1 : 0), 1)
        for (const frame of framesOf(effects)) {
          assert.equal(decoded(frame).eth.dst, mac)
          const m = ndpOf(frame)
          assert.ok(m.tag === 'NeighbourAdvert' && !sameAddr(m.target, s.src) && !isUnspecified(s.src))
        }
      }),
      { numRuns: 400 }
    )
  })
})

describe('NDP of our own', () => {
  test('initial solicitation: 24 octets of ICMPv6, no options, to the address itself; none in local mode', () => {
    const frame = framesOf(initialProbes(CONFIG, BROADCAST_MAC))[1]
    assert.equal(frame.length, 14 + 40 + 24)
    assert.deepEqual(ipOf(frame), { src: 'fe80::1', dst: showAddr(ASSIGNED6) })
    assert.deepEqual(ndpOf(frame), { tag: 'NeighbourSolicit', target: ASSIGNED6, options: [] })
    const local = { ...CONFIG, v6: { assigned: null, ownLinkLocal: addr('fe80::1') } }
    assert.equal(framesOf(initialProbes(local, BROADCAST_MAC)).length, 1)
    assert.equal(framesOf(initialProbes({ ...CONFIG, noNdp: true }, BROADCAST_MAC)).length, 1)
  })
  test('RFC 4861 §7.2.6: an unsolicited advertisement is multicast, S clear', () => {
    const frame = frameOf(naAnnouncement(CONFIG, addr('2001:db8:9::9'), 0x02000000000b))
    assert.equal(decoded(frame).eth.dst, 0x333300000001)
    assert.deepEqual(ndpOf(frame), {
      tag: 'NeighbourAdvert',
      router: true,
      solicited: false,
      override: true,
      target: addr('2001:db8:9::9'),
      options: [{ tag: 'TargetLla', mac: 0x02000000000b }]
    })
  })
})

describe('router advertisements', () => {
  const optionsOf = (c: GuestConfig): ReadonlyArray<NdpOption> =>
    routerAdvert(c, c.v6?.assigned ?? null).options

  test('octets as behaviour.md#ndp lists them, host bits cleared (RFC 4861 §4.6.2)', () => {
    const c = { ...CONFIG, search: ['example.com'] }
    assert.deepEqual(
      NdpMessage.encode(routerAdvert(c, ASSIGNED6)),
      hex(`86 00 0000 ff 80 ffff 00000000 00000000
        03 04 40 c0 ffffffff ffffffff 00000000 20010db8000900000000000000000000
        01 01 9a559a559a55
        05 01 0000 0000fff0
        19 03 0000 ffffffff 20010db8000900000000000000000053
        1f 03 0000 ffffffff 07 6578616d706c65 03 636f6d 00 000000`)
    )
  })
  test('names that fill whole units of 8 octets: nothing behind them (upstream bug)', () => {
    const b = NdpMessage.encode(routerAdvert({ ...CONFIG, search: ['abc.de'] }, ASSIGNED6)) // 8 octets of labels
    assert.deepEqual(b.slice(-16), hex('1f 02 0000 ffffffff 03 616263 02 6465 00'))
  })
  test('what is not to be announced is not there', () => {
    const tags = (c: Partial<GuestConfig>) => optionsOf({ ...CONFIG, ...c }).map((o) => o.tag)
    assert.deepEqual(tags({}), ['Prefix', 'SourceLla', 'Mtu', 'Rdnss', 'Dnssl'])
    assert.deepEqual(tags({ mtu: 0 }), ['Prefix', 'SourceLla', 'Rdnss', 'Dnssl'])
    assert.deepEqual(tags({ announceSearch: false }), ['Prefix', 'SourceLla', 'Mtu', 'Rdnss'])
    // search domains go with resolvers only
    assert.deepEqual(tags({ announceDns: false }), ['Prefix', 'SourceLla', 'Mtu'])
    assert.deepEqual(tags({ dns6: [] }), ['Prefix', 'SourceLla', 'Mtu'])
    const local = { assigned: null, ownLinkLocal: addr('fe80::1') }
    assert.deepEqual(tags({ v6: local, dns6: [], mtu: 0 }), ['SourceLla'])
  })
  test('M only while DHCPv6 has an address to give', () => {
    const managed = (c: Partial<GuestConfig>): unknown => {
      const m = routerAdvert({ ...CONFIG, ...c }, null)
      return m.tag === 'RouterAdvert' && m.managed
    }
    assert.equal(managed({}), true)
    assert.equal(managed({ noDhcpv6: true }), false)
    assert.equal(managed({ v6: { assigned: null, ownLinkLocal: addr('fe80::1') } }), false)
  })
  test('regression-14: no lifetime is taken from the host, all are infinite', () => {
    for (const o of optionsOf(CONFIG)) {
      if (o.tag === 'Prefix') assert.deepEqual([o.valid, o.preferred], [0xffffffff, 0xffffffff])
      if (o.tag === 'Rdnss' || o.tag === 'Dnssl') assert.equal(o.lifetime, 0xffffffff)
    }
  })
  test('any configuration: at most 1240 octets, decodes, every option of non-zero length', () => {
    const long = fc.array(
      fc.nat(61).map((n) => `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(n + 1)}`),
      { maxLength: 8 }
    )
    fc.assert(
      fc.property(arbConfig, fc.option(long), (c, search) => {
        const ra = routerAdvert({ ...c, search: search ?? c.search }, c.v6?.assigned ?? null)
        const b = NdpMessage.encode(ra)
        assert.ok(b.length <= 1240)
        assert.deepEqual(NdpMessage.decode(octets(b)), E.right(ra))
        for (let at = 16; at < b.length; at += 8 * b[at + 1]) assert.notEqual(b[at + 1], 0)
      })
    )
  })
})

describe('NDP machine', () => {
  const arbEvent: fc.Arbitrary<RouterAdvertEvent> = fc
    .tuple(
      fc.constantFrom('TAP_READY', 'TAP_LOST', 'RS_RECEIVED', 'RS_RECEIVED', 'TIMER_RA'),
      fc.nat(20_000).map(instant),
      real(0, 1, true),
      fc.oneof(arbHost6, fc.constant(UNSPECIFIED6))
    )
    .map(([type, now, random, src]): RouterAdvertEvent => {
      if (type === 'TAP_LOST') return { type }
      if (type === 'RS_RECEIVED') return { type, now, random, solicitation: { src, srcMac: GUEST_MAC } }
      return { type: type as 'TAP_READY' | 'TIMER_RA', now, random }
    })
  test('compiled step = xstate transition', () =>
    untilAllTaken(ndpMachine, () =>
      sameAsXstate(
        ndpMachine,
        fc.boolean().map((noRa) => ({ config: { ...CONFIG, noRa } })),
        arbEvent
      )
    ))

  const ndp = compile<typeof ndpMachine, ServiceEffect>(ndpMachine)
  const start = (c: GuestConfig = CONFIG) => {
    let s: State<ReturnType<typeof ndp.start>['context']> = ndp.start({ config: c }, [])
    return (e: RouterAdvertEvent): ReadonlyArray<ServiceEffect> => {
      const out: ServiceEffect[] = []
      s = ndp.step(s, e, out)
      return out
    }
  }
  const rs = (src = GUEST_LL, ms = 0, random = 0): RouterAdvertEvent => ({
    type: 'RS_RECEIVED',
    now: instant(ms),
    random,
    solicitation: { src, srcMac: GUEST_MAC }
  })
  const timers = (effects: ReadonlyArray<ServiceEffect>): number[] =>
    effects.flatMap((e) => (e.type === 'ArmServiceTimer' ? [e.at] : []))

  test('RS: unicast to its source, at once, link ready or not', () => {
    const step = start()
    const frame = frameOf(step(rs()))
    assert.deepEqual(decoded(frame).eth.dst, GUEST_MAC)
    assert.deepEqual(ipOf(frame), { src: 'fe80::1', dst: showAddr(GUEST_LL) })
    assert.deepEqual(ndpOf(frame), routerAdvert(CONFIG, ASSIGNED6))
    step({ type: 'TAP_READY', now: instant(0), random: 0 })
    assert.equal(framesOf(step(rs())).length, 1)
  })
  test('RS from :: is answered to ff02::1 (upstream answers to ::), at most once in 3 s', () => {
    const step = start()
    const frame = frameOf(step(rs(UNSPECIFIED6, 1000)))
    assert.deepEqual(ipOf(frame), { src: 'fe80::1', dst: 'ff02::1' })
    assert.equal(decoded(frame).eth.dst, 0x333300000001)
    assert.deepEqual(countsOf(step(rs(UNSPECIFIED6, 3999))), ['ndp: RS within 3 s of an RA'])
    assert.equal(framesOf(step(rs(UNSPECIFIED6, 4000))).length, 1)
  })
  test('unsolicited: none at start, then every 200 to 600 s while the link is ready', () => {
    const step = start()
    const ready = step({ type: 'TAP_READY', now: instant(1000), random: 0 })
    assert.deepEqual([framesOf(ready).length, timers(ready)], [0, [201_000]])
    const due = step({ type: 'TIMER_RA', now: instant(201_000), random: 0.5 })
    assert.deepEqual(ipOf(frameOf(due)), { src: 'fe80::1', dst: 'ff02::1' })
    assert.deepEqual(timers(due), [601_000])
    step({ type: 'TAP_LOST' })
    assert.deepEqual(step({ type: 'TIMER_RA', now: instant(601_000), random: 0 }), []) // spurious
  })
  test('the host has changed: three RAs, the first at once, say what holds and what does not (RFC 4861 §6.2.4, RFC 4862 §5.5.3, RFC 8106 §5.1)', () => {
    const other: InAny = [0x20010db8, 7, 0, 2]
    const dns: InAny = [0x20010db8, 7, 0, 0x53]
    const config = { ...CONFIG, v6: { assigned: other, ownLinkLocal: CONFIG.v6!.ownLinkLocal }, dns6: [dns] }
    const former = { prefixes: [ASSIGNED6], dns: CONFIG.dns6 }
    const step = start()
    step({ type: 'TAP_READY', now: instant(0), random: 0 })
    let out = step({ type: 'CONFIG_CHANGED', config, former, now: instant(10_000), random: 0 })
    for (const next of [26_000, 42_000, 242_000]) {
      const ra = ndpOf(frameOf(out))
      assert.deepEqual(ra, routerAdvert(config, other, former))
      assert.ok(ra.tag === 'RouterAdvert')
      const lives = ra.options.flatMap((o) =>
        o.tag === 'Prefix' ? [[showAddr(o.prefix), o.preferred, o.valid]] : []
      )
      assert.deepEqual(lives, [
        [showAddr([other[0], other[1], 0, 0]), 0xffffffff, 0xffffffff],
        [showAddr([ASSIGNED6[0], ASSIGNED6[1], 0, 0]), 0, 7200]
      ])
      const servers = ra.options.flatMap((o) =>
        o.tag === 'Rdnss' ? [[o.addrs.map(showAddr), o.lifetime]] : []
      )
      assert.deepEqual(servers, [
        [[showAddr(dns)], 0xffffffff],
        [CONFIG.dns6.map(showAddr), 0]
      ])
      assert.deepEqual(timers(out), [next])
      out = step({ type: 'TIMER_RA', now: instant(next), random: 0 })
    }
    assert.deepEqual(ndpOf(frameOf(out)), routerAdvert(config, other), 'said three times')
    // Too soon behind the last one: as soon as it may be
    const soon = step({ type: 'CONFIG_CHANGED', config: CONFIG, former, now: instant(243_000), random: 0 })
    assert.deepEqual([framesOf(soon).length, timers(soon)], [0, [245_000]])
    assert.equal(framesOf(step({ type: 'TIMER_RA', now: instant(245_000), random: 0 })).length, 1)
  })
  test('a router at another address says goodbye (RFC 4861 §6.2.5)', () => {
    const frame = frameOf(farewell(CONFIG))
    assert.deepEqual(ipOf(frame), { src: 'fe80::1', dst: 'ff02::1' })
    const ra = ndpOf(frame)
    assert.ok(ra.tag === 'RouterAdvert')
    assert.deepEqual([ra.lifetime, ra.options], [0, []])
    for (const off of [{ noRa: true }, { noNdp: true }, { v6: null }])
      assert.deepEqual(farewell({ ...CONFIG, ...off }), [])
  })
  test('switched off: nothing is ever sent', () => {
    for (const off of [{ noRa: true }, { noNdp: true }, { v6: null }]) {
      fc.assert(
        fc.property(fc.array(arbEvent), (events) => {
          const step = start({ ...CONFIG, ...off })
          for (const e of events) assert.deepEqual(framesOf(step(e)), [])
        }),
        { numRuns: 20 }
      )
    }
  })
  test('any schedule: intervals in [200, 600) s, multicasts 3 s apart', () => {
    const arbSchedule = fc.array(fc.tuple(arbEvent, fc.nat(5000)), { maxLength: 60, size: 'max' })
    fc.assert(
      fc.property(arbSchedule, (schedule) => {
        const step = start()
        let now = 0
        let last = Number.NEGATIVE_INFINITY
        for (const [e, wait] of schedule) {
          now += wait
          const effects = step('now' in e ? { ...e, now: instant(now) } : e)
          for (const at of timers(effects)) assert.ok(at >= now + 200_000 && at < now + 600_000)
          for (const frame of framesOf(effects)) {
            assert.equal(ndpOf(frame).tag, 'RouterAdvert')
            if (ipOf(frame).dst !== 'ff02::1') continue
            assert.ok(now - last >= 3000, `RAs to all nodes ${now - last} ms apart`)
            last = now
          }
        }
      })
    )
  })
})
