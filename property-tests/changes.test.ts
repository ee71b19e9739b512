// What another state of the host leads to: pure, and a namespace that ends as if it had begun so.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { NetlinkDatagram, NLM_F_EXCL, NLMSG_ERROR } from '../src/codecs/kernel/netlink.js'
import * as rt from '../src/codecs/kernel/rtnetlink.js'
import type { ResolvConf } from '../src/codecs/text/resolv-conf.js'
import { EADDRNOTAVAIL, EEXIST, ENETUNREACH, ENOBUFS, ESRCH } from '../src/codecs/value/errno.js'
import { fromV4, type InAny, isV4, sameAddr, showAddr } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { carryOut } from '../src/runtime/engine/follow.js'
import { parseTold, toldText, withTold } from '../src/runtime/engine/host-told.js'
import {
  type HostFamily,
  type HostTables,
  isUsableAddress,
  type NetlinkRequest,
  own
} from '../src/runtime/host/host.js'
import {
  asGiven,
  changesOf,
  endLingering,
  GONE_MAX,
  type Gone,
  goneNow,
  type HostNow,
  kept,
  lingers,
  vanished
} from '../src/runtime/plan/changes.js'
import { inPrefix, type Made } from '../src/runtime/plan/config-net.js'
import { plan } from '../src/runtime/plan/plan.js'
import type { Plan } from '../src/runtime/plan/plan-types.js'
import { START } from './recorded.js'
import { addr, derived, route as hostRoute, link, on, options, tables } from './tables.js'

const TAP = 7

// --- a namespace as the kernel has it, as far as we ask something of it

interface Namespace {
  addresses: rt.Address[]
  routes: rt.Route[]
}
const keyOf = (r: rt.Route): string => Buffer.from(rt.Route.encode(r)).toString('hex')
const isSame = (a: rt.Address, b: rt.Address): boolean =>
  a.family === b.family &&
  String(own(a)) === String(own(b)) &&
  (a.family === rt.AF_INET6 || a.prefixLen === b.prefixLen)

/** `fails`: the request with this number gets ENOBUFS. */
const kernel = (ns: Namespace, fails = -1): { readonly request: NetlinkRequest; asked: number } => {
  const done = { asked: 0 } as { request: NetlinkRequest; asked: number }
  const carry = (type: number, flags: number, payload: Uint8Array): number => {
    if (done.asked++ === fails) return ENOBUFS
    if (type === rt.RTM_NEWADDR || type === rt.RTM_DELADDR) {
      const d = rt.Address.decode(octets(payload))
      assert.ok(E.isRight(d))
      const a = d.right
      assert.equal(a.index, TAP)
      const at = ns.addresses.findIndex((b) => isSame(a, b))
      if (type === rt.RTM_NEWADDR) {
        if (at >= 0 && (flags & NLM_F_EXCL) !== 0) return EEXIST
        if (at >= 0) ns.addresses[at] = a
        else ns.addresses.push(a)
        return 0
      }
      if (at < 0) return EADDRNOTAVAIL
      ns.addresses.splice(at, 1)
      // The last one takes all routes with it (devinet.c)
      if (a.family === rt.AF_INET && !ns.addresses.some((b) => b.family === rt.AF_INET))
        ns.routes = ns.routes.filter((r) => r.family !== rt.AF_INET)
      return 0
    }
    const d = rt.Route.decode(octets(payload))
    assert.ok(E.isRight(d))
    const r = d.right
    const at = ns.routes.findIndex((b) => keyOf(b) === keyOf(r))
    if (type === rt.RTM_DELROUTE) {
      if (at < 0) return ESRCH
      ns.routes.splice(at, 1)
      return 0
    }
    if (at >= 0) return EEXIST
    const { gateway } = r
    const isReached =
      gateway === null ||
      ns.addresses.some(
        (a) => a.family === r.family && a.address !== null && inPrefix(gateway, a.address, a.prefixLen, false)
      )
    if (r.family === rt.AF_INET && !isReached) return ENETUNREACH
    ns.routes.push(r)
    return 0
  }
  done.request = (bytes) => {
    const messages = NetlinkDatagram.decode(octets(bytes))
    assert.ok(E.isRight(messages))
    const errors = messages.right.map((m) => {
      const payload = new Uint8Array(4)
      new DataView(payload.buffer).setInt32(0, -carry(m.type, m.flags, m.payload), true)
      return { type: NLMSG_ERROR, flags: 0, seq: 1, pid: 0, payload }
    })
    return NetlinkDatagram.encode(errors)
  }
  return done
}
const shown = (ns: Namespace): unknown => ({
  addresses: ns.addresses
    .map((a) => `${own(a)}/${a.prefixLen} ${a.scope} ${a.flags & rt.IFA_F_NODAD}`)
    .sort(),
  routes: ns.routes.map(keyOf).sort()
})
const run = (request: NetlinkRequest, changes: ReturnType<typeof changesOf>) => {
  const it = carryOut(request, changes)
  for (;;) {
    const r = it.next()
    if (r.done === true) return r.value
  }
}

// --- what plans make of it

const arbAddress: fc.Arbitrary<rt.Address> = fc
  .tuple(fc.boolean(), fc.integer({ min: 0, max: 3 }), fc.integer({ min: 2, max: 5 }))
  .map(([v6, net, host]) => {
    const addr: InAny = v6 ? [0x20010db8, net, 0, host] : fromV4(0x0a000000 + net * 256 + host)
    return {
      family: v6 ? rt.AF_INET6 : rt.AF_INET,
      prefixLen: v6 ? 64 : 24,
      flags: v6 ? rt.IFA_F_NODAD : 0,
      scope: rt.RT_SCOPE_UNIVERSE,
      index: TAP,
      address: addr,
      local: v6 ? null : addr,
      other: []
    }
  })
const route = (v6: boolean, net: number, metric: number, more: Partial<rt.Route>): rt.Route => ({
  ...rt.ANY_ROUTE,
  family: v6 ? rt.AF_INET6 : rt.AF_INET,
  table: rt.RT_TABLE_MAIN,
  protocol: rt.RTPROT_BOOT,
  type: rt.RTN_UNICAST,
  oif: TAP,
  priority: metric,
  ...more,
  gateway: v6 ? [0xfe800000, 0, 0, net + 1] : fromV4(0x0a000001 + net * 256)
})
const arbMade: fc.Arbitrary<Made> = fc
  .tuple(
    fc.uniqueArray(arbAddress, { minLength: 1, maxLength: 5, selector: (a) => String(own(a)) }),
    fc.array(
      fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 3 }), fc.integer({ min: 1, max: 2 }), fc.boolean()),
      { maxLength: 5 }
    )
  )
  .map(([addresses, routes]) => {
    const reached = (v6: boolean, net: number): boolean =>
      v6 || addresses.some((a) => a.family === rt.AF_INET && ((own(a)?.[3] ?? 0) & 0xff00) === net * 256)
    const all = routes
      .filter(([v6, net]) => reached(v6, net))
      .map(([v6, net, metric, isDefault]) =>
        route(
          v6,
          net,
          metric,
          isDefault ? {} : { dst: v6 ? [0x20010db8, 9, 0, 0] : fromV4(0xc0000200), dstLen: v6 ? 64 : 24 }
        )
      )
    return { addresses, routes: [...new Map(all.map((r) => [keyOf(r), r])).values()] }
  })
const fresh = (made: Made): Namespace => ({ addresses: [...made.addresses], routes: [...made.routes] })
const NOBODY = (): boolean => false

describe('a namespace that follows the host', () => {
  test('ends as one that began with the last plan, whatever was in between', () => {
    fc.assert(
      fc.property(
        fc.array(arbMade, { minLength: 2, maxLength: 6 }),
        fc.infiniteStream(fc.boolean()),
        (plans, used) => {
          const ns = fresh(plans[0]!)
          const k = kernel(ns)
          let lingering: ReadonlyArray<rt.Address> = []
          for (const [i, is] of plans.entries()) {
            if (i === 0) continue
            const was = plans[i - 1]!
            const users = new Set(was.addresses.filter(() => used.next().value).map((a) => String(own(a))))
            const inUse = (a: InAny): boolean => users.has(String(a))
            const outcome = run(k.request, changesOf(was, is, lingering, inUse))
            assert.deepEqual([outcome.done, outcome.says, outcome.notOurs.size], [true, [], 0])
            const isBack = (a: rt.Address): boolean =>
              is.addresses.some((b) => String(own(a)) === String(own(b)))
            lingering = [...lingering.filter((a) => !isBack(a)), ...lingers(was, is, inUse)]
          }
          for (const a of lingering) k.request(endLingering(a).request)
          assert.deepEqual(shown(ns), shown(fresh(plans.at(-1)!)))
        }
      )
    )
  })
  test('is as it was where a step fails', () => {
    fc.assert(
      fc.property(arbMade, arbMade, fc.nat(30), fc.boolean(), (was, is, at, used) => {
        const changes = changesOf(was, is, [], () => used)
        fc.pre(at < changes.length && changes[at]!.step.optional === null)
        const ns = fresh(was)
        const outcome = run(kernel(ns, at).request, changes)
        assert.equal(outcome.done, false)
        assert.equal(outcome.says.length, 1)
        assert.deepEqual(shown(ns), shown(fresh(was)))
      })
    )
  })
  test('keeps what others have put there, and what they have taken away', () => {
    fc.assert(
      fc.property(arbMade, arbMade, arbMade, (was, is, theirs) => {
        const isOurs = (a: rt.Address): boolean => was.addresses.some((b) => isSame(a, b))
        const foreign = theirs.addresses.filter((a) => !isOurs(a))
        const routes = theirs.routes.filter(
          (r) => r.family === rt.AF_INET6 && !was.routes.some((b) => keyOf(b) === keyOf(r))
        )
        const [taken, ...left] = was.addresses
        const ns: Namespace = { addresses: [...left, ...foreign], routes: [...was.routes, ...routes] }
        const outcome = run(kernel(ns).request, changesOf(was, is, [], NOBODY))
        assert.ok(outcome.done)
        for (const a of foreign)
          assert.ok(
            ns.addresses.some((b) => isSame(a, b)),
            'an address of theirs'
          )
        for (const r of routes)
          assert.ok(
            ns.routes.some((b) => keyOf(b) === keyOf(r)),
            'a route of theirs'
          )
        const isWanted = is.addresses.some((b) => isSame(taken!, b))
        const isThere = ns.addresses.some((b) => isSame(taken!, b))
        assert.equal(
          isThere,
          foreign.some((b) => isSame(taken!, b)),
          `what they took away, wanted: ${isWanted}`
        )
      })
    )
  })
  test('what was there already is told, so that nobody takes it for ours later', () => {
    fc.assert(
      fc.property(arbMade, arbMade, (was, is) => {
        const [first] = is.addresses
        fc.pre(!was.addresses.some((b) => isSame(first!, b)))
        const ns = fresh(was)
        ns.addresses.push(first!)
        const changes = changesOf(was, is, [], NOBODY)
        const { notOurs } = run(kernel(ns).request, changes)
        assert.ok(changes.some((c) => c.of === first && notOurs.has(c.step)))
      })
    )
  })
  test('a link is never without an address of IPv4 in between', () => {
    fc.assert(
      fc.property(arbMade, arbMade, fc.boolean(), (was, is, used) => {
        const has = (m: { readonly addresses: ReadonlyArray<rt.Address> }): boolean =>
          m.addresses.some((a) => a.family === rt.AF_INET)
        fc.pre(has(was) && has(is))
        const ns = fresh(was)
        const { request } = kernel(ns)
        for (const { step } of changesOf(was, is, [], () => used)) {
          request(step.request)
          assert.ok(has(ns))
        }
      })
    )
  })
})

// --- what counts of the host

const TABLES: HostTables = { links: [], addresses: [], routes4: [], routes6: [] }
const arbFamily = (v6: boolean): fc.Arbitrary<HostFamily> =>
  fc.record({
    index: fc.option(fc.constantFrom(2, 3)),
    ifname: fc.constant('eth0'),
    gateway: fc.option(fc.constant<InAny>(v6 ? [0xfe800000, 0, 0, 1] : fromV4(0x0a000001))),
    address: fc.option(fc.constantFrom<InAny[]>(v6 ? [0x20010db8, 1, 0, 2] : fromV4(0x0a000002))),
    prefixLen: fc.constant(24),
    givenPrefixLen: fc.constant(null),
    linkLocal: fc.option(fc.constant<InAny>([0xfe800000, 0, 0, 2]))
  })
const defaultOf = (f: HostFamily): ReadonlyArray<rt.Route> =>
  f.gateway === null ? [] : [hostRoute('default', f.index, showAddr(f.gateway))]
const arbNow: fc.Arbitrary<HostNow> = fc
  .tuple(arbFamily(false), arbFamily(true), fc.array(arbAddress, { maxLength: 4 }))
  .map(([v4, v6, addresses]) => ({
    host: { v4, v6, notices: [] },
    tables: { ...TABLES, addresses: [...addresses], routes4: defaultOf(v4), routes6: defaultOf(v6) }
  }))

describe('a host that loses what it had', () => {
  test('is taken for what it was, until it has something whole', () => {
    fc.assert(
      fc.property(arbNow, arbNow, fc.boolean(), (was, is, patient) => {
        const { now } = kept(was, is, patient)
        for (const [f, v6] of [
          ['v4', false],
          ['v6', true]
        ] as const) {
          const whole = (h: HostNow): boolean =>
            h.host[f]!.index !== null && h.host[f]!.address !== null && (!v6 || h.host[f]!.linkLocal !== null)
          if (whole(was)) assert.ok(whole(now))
          const { gateway } = was.host[f]!
          if (!whole(was))
            assert.deepEqual(now.host[f], { ...is.host[f]!, gateway: is.host[f]!.gateway ?? gateway })
          if (gateway !== null) assert.notEqual(now.host[f]!.gateway, null)
          const held = !whole(is) || (patient && gateway !== null && is.host[f]!.gateway === null)
          const of = (h: HostNow): unknown =>
            h.tables.addresses.filter((a) => (a.family === rt.AF_INET6) === v6)
          assert.deepEqual(of(now), of(whole(was) && held ? was : is), 'addresses go with it')
        }
        assert.deepEqual(kept(now, is, patient).now, now)
      })
    )
  })
  test('keeps an address that is still there, by the same router, beside whatever others', () => {
    const GATEWAY = fromV4(0x0a000001)
    const MINE = fromV4(0x0a000002)
    const family = (address: InAny, prefixLen: number, gateway: InAny | null): HostFamily => ({
      index: 2,
      ifname: 'eth0',
      gateway,
      address,
      prefixLen,
      givenPrefixLen: null,
      linkLocal: null
    })
    const with4 = (v4: HostFamily, addresses: ReadonlyArray<rt.Address>): HostNow => ({
      host: { v4, v6: null, notices: [] },
      tables: { ...TABLES, addresses: [...addresses] }
    })
    const address = (a: InAny, prefixLen: number): rt.Address => ({
      family: rt.AF_INET,
      index: 2,
      prefixLen,
      flags: 0,
      scope: rt.RT_SCOPE_UNIVERSE,
      address: a,
      local: a,
      other: []
    })
    const OTHER = fromV4(0x0a000909)
    const was = with4(family(MINE, 24, GATEWAY), [address(MINE, 24)])
    const both = [address(MINE, 24), address(OTHER, 32)]
    const of = (is: HostNow): unknown => {
      const { v4 } = kept(was, is, true).now.host
      return [v4?.address, v4?.prefixLen]
    }
    assert.deepEqual(of(with4(family(OTHER, 32, GATEWAY), both)), [MINE, 24])
    assert.deepEqual(of(with4(family(OTHER, 32, fromV4(0x0a000003)), both)), [OTHER, 32], 'another router')
    assert.deepEqual(of(with4(family(OTHER, 32, GATEWAY), [address(OTHER, 32)])), [OTHER, 32], 'it is gone')
  })
  test('has lost for good what stays away while it has another one', () => {
    fc.assert(
      fc.property(fc.array(arbNow, { minLength: 2, maxLength: 8 }), (states) => {
        const none: ReadonlyArray<Gone> = []
        states.reduce((gone, is, at) => {
          const was = states[at - 1]?.tables.addresses ?? []
          const next = goneNow(gone, was, is, at)
          for (const a of vanished(was, is.tables.addresses))
            assert.equal(next.filter((g) => sameAddr(g.addr, a)).length, 1)
          for (const { addr: a, since } of next) {
            assert.ok(!is.tables.addresses.some((b) => sameAddr(a, own(b)!)), 'it is back')
            const f = isV4(a) ? is.host.v4! : is.host.v6!
            const routes = isV4(a) ? is.tables.routes4 : is.tables.routes6
            const ways = routes.filter((r) => r.dstLen === 0).map((r) => r.oif)
            const hasAnother =
              (f.index !== null && f.address !== null && (isV4(a) || f.linkLocal !== null)) ||
              is.tables.addresses.some(
                (b) =>
                  isUsableAddress(b, isV4(a) ? 'v4' : 'v6', b.index) &&
                  (isV4(a) || b.scope < rt.RT_SCOPE_LINK) &&
                  ways.includes(b.index)
              )
            const before = gone.find((g) => sameAddr(g.addr, a))?.since ?? at
            assert.equal(since, hasAnother ? before : null)
          }
          return next
        }, none)
      })
    )
  })
  test('has another one by any interface that leads out, though the template has none; not by one that does not', () => {
    const was = [on(2, '10.0.0.5/24')]
    const at = (routes4: ReadonlyArray<rt.Route>): HostNow => ({
      host: { v4: null, v6: null, notices: [] },
      tables: { ...TABLES, addresses: [on(3, '10.1.0.5/24')], routes4: [...routes4] }
    })
    const since = (is: HostNow): unknown => goneNow([], was, is, 7).map((g) => g.since)
    assert.deepEqual(since(at([hostRoute('default', 3, '10.1.0.1')])), [7])
    assert.deepEqual(since(at([hostRoute('default', 2, '10.0.0.1')])), [null])
    assert.deepEqual(since(at([])), [null])
  })
  test('remembers no more of what it lost than it may', () => {
    const many = Array.from({ length: 2 * GONE_MAX }, (_, i) => on(2, `10.0.0.${i}/24`))
    const is: HostNow = { host: { v4: null, v6: null, notices: [] }, tables: TABLES }
    const gone = goneNow([], many, is, 0)
    assert.deepEqual(
      gone.map((g) => g.addr),
      many.slice(GONE_MAX).map(own)
    )
  })
  test('has the addresses that vanished, once each', () => {
    fc.assert(
      fc.property(fc.array(arbAddress), fc.array(arbAddress), (was, is) => {
        const gone = vanished(was, is)
        assert.equal(new Set(gone.map(String)).size, gone.length)
        for (const a of was) {
          const there = is.some((b) => sameAddr(own(a)!, own(b)!))
          assert.equal(
            gone.some((g) => sameAddr(g, own(a)!)),
            !there
          )
        }
      })
    )
  })
})

describe('a guest that has been given an address and a router', () => {
  const CONF: E.Either<string, ResolvConf> = E.right({
    servers4: [addr('127.0.0.53')],
    servers6: [addr('::1')],
    search: []
  })
  const links = [link(2, 'eth0'), link(3, 'tun0')]
  const LAN = [on(2, '198.51.100.2/24'), on(2, '2001:db8:9::2/64'), on(2, 'fe80::2/64')]
  const VIP = [on(2, '198.51.100.77/32'), on(2, '2001:db8:9::77/128')]
  const VPN = [on(3, '10.8.0.2/32'), on(3, '2001:db8:8::2/128'), on(3, 'fe80::3/64')]
  const routed = [hostRoute('default', 2, '198.51.100.1'), hostRoute('default', 2, 'fe80::1')]
  const onLink = [hostRoute('198.51.100.0/24', 2, null), hostRoute('2001:db8:9::/64', 2, null)]
  const tunnel = [hostRoute('default', 3, null), hostRoute('default', 3, null, { family: rt.AF_INET6 })]
  const ROUTED = tables(links, LAN, [...routed, ...onLink])
  const ROUTERLESS = tables(links, LAN, onLink)
  const TUNNEL = tables(links, [...LAN, ...VPN], [...tunnel, ...routed, ...onLink])
  const NOTHING = tables(links, [], [])
  const arbTables = fc.constantFrom(
    ROUTED,
    ROUTERLESS,
    TUNNEL,
    NOTHING,
    tables(links, [...LAN, ...VIP], [...routed, ...onLink]),
    tables(links, [...LAN, ...VIP], onLink),
    tables(
      links,
      [on(2, '203.0.113.2/24'), on(2, '2001:db8:7::2/64'), on(2, 'fe80::2/64')],
      [hostRoute('default', 2, '203.0.113.1'), hostRoute('default', 2, 'fe80::7')]
    )
  )
  const o = options()
  const planOf = (h: HostNow, argv = o): Plan => {
    const p = plan(argv, h.host, CONF)
    assert.ok(E.isRight(p))
    return p.right
  }
  /** The plans for one state of the host after the other, as it is followed. */
  const followed = (states: ReadonlyArray<readonly [HostTables, boolean]>, argv = o): ReadonlyArray<Plan> => {
    const at = (t: HostTables): HostNow => ({ host: derived(t, argv), tables: t })
    const [first, ...rest] = states
    const begun = at(first![0])
    const start = planOf(begun, argv)
    let held = asGiven(start, begun)
    return [
      start,
      ...rest.map(([t, patient]) => {
        held = kept(held, at(t), patient).now
        return planOf(held, argv)
      })
    ]
  }
  const arbStates = fc.array(fc.tuple(arbTables, fc.boolean()), { minLength: 2, maxLength: 6 })
  test('is served for ever, and what leads to the host and its resolver goes on to', () => {
    fc.assert(
      fc.property(arbStates, (states) => {
        let was: Plan | null = null
        for (const p of followed(states)) {
          if (was?.dhcp === true) assert.equal(p.dhcp, true, 'DHCP')
          if (was?.dhcpv6 === true) assert.equal(p.dhcpv6, true, 'DHCPv6')
          for (const f of ['v4', 'v6'] as const)
            for (const what of ['assigned', 'gateway', 'own', 'mapHostLoopback', 'dnsForward'] as const)
              if (was !== null && was[f]![what] !== null) assert.notEqual(p[f]![what], null, `${f} ${what}`)
          was = p
        }
      })
    )
  })
  test('has no other router while the host has none', () => {
    for (const t of [ROUTERLESS, TUNNEL]) {
      const [start, now] = followed([
        [ROUTED, true],
        [t, false]
      ])
      for (const f of ['v4', 'v6'] as const)
        for (const what of ['gateway', 'own', 'linkLocal', 'mapHostLoopback'] as const)
          assert.deepEqual(now![f]![what], start![f]![what], `${f} ${what}`)
    }
    const [local, tunnel4] = followed([
      [NOTHING, true],
      [TUNNEL, false]
    ])
    assert.deepEqual([local!.v4!.gateway, local!.dhcp], [addr('169.254.2.2'), true])
    assert.deepEqual(
      [tunnel4!.v4!.gateway, tunnel4!.v4!.assigned, tunnel4!.dhcp],
      [addr('169.254.2.2'), addr('10.8.0.2'), true]
    )
  })
  test('keeps its address beside another one while the host has no router, and when that is back', () => {
    const vip = tables(links, [...LAN, ...VIP], onLink)
    const back = tables(links, [...LAN, ...VIP], [...routed, ...onLink])
    for (const p of followed([
      [ROUTED, true],
      [vip, false],
      [back, true]
    ]))
      assert.deepEqual(
        [p.v4!.assigned, p.v4!.prefixLen, p.v6!.assigned],
        [addr('198.51.100.2'), 24, addr('2001:db8:9::2')]
      )
  })
  test('has the netmask that its own choice had on the host, though that is gone', () => {
    const other = tables([...links, link(4, 'eth1')], [...LAN, on(4, '10.5.5.5/20')], [...routed, ...onLink])
    const masks = followed(
      [
        [other, true],
        [ROUTED, true],
        [NOTHING, false]
      ],
      options('-a', '10.5.5.5')
    ).map((p) => p.v4!.prefixLen)
    assert.deepEqual(masks, [20, 20, 20])
  })
  test('was given none: a host without a router has no DHCP until it has one', () => {
    const dhcp = followed([
      [ROUTERLESS, true],
      [TUNNEL, true],
      [ROUTED, true],
      [TUNNEL, false]
    ]).map((p) => p.dhcp)
    assert.deepEqual(dhcp, [false, false, true, true])
  })
})

test('what the world is told is read back; what is none changes nothing', () => {
  const { v4, v6, dhcp, dhcpv6, search } = START.plan
  const told = {
    v4,
    v6,
    dhcp,
    dhcpv6,
    search,
    links: START.found.links,
    configured: true,
    gone: [v4!.assigned!]
  }
  assert.deepEqual(parseTold(toldText(told)), told)
  assert.deepEqual(withTold(START.plan, told), START.plan)
  fc.assert(fc.property(fc.string(), (s) => parseTold(s) === null || s.startsWith('{')))
})
