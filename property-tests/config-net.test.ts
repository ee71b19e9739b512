import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { encodeMessage, NetlinkDatagram, NLMSG_DONE, NLMSG_ERROR } from '../src/codecs/kernel/netlink.js'
import {
  Address,
  Link,
  Route,
  RTM_GETADDR,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWROUTE
} from '../src/codecs/kernel/rtnetlink.js'
import { EMPTY_RESOLV_CONF } from '../src/codecs/text/resolv-conf.js'
import { EHOSTUNREACH, ENETUNREACH } from '../src/codecs/value/errno.js'
import { type InAny, isLinkLocal, sameAddr, showAddr } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import type { HostTables, NetlinkRequest } from '../src/runtime/host/host.js'
import { configNet, inPrefix } from '../src/runtime/plan/config-net.js'
import { plan } from '../src/runtime/plan/plan.js'
import { runSteps } from '../src/runtime/plan/run-steps.js'
import { arbU32 } from './arbitraries.js'
import { addr, BED, derived, hop, link, on, options, route, tables } from './tables.js'

const TAP = 7
const stepsFor = (argv: string, t: HostTables) => {
  const o = options(...argv.split(' ').filter((w) => w !== ''))
  const p = plan(o, derived(t, o), E.right(EMPTY_RESOLV_CONF))
  assert.ok(E.isRight(p))
  return configNet(p.right, TAP, t)
}

/** A request in words. */
const inWords = (request: Uint8Array): string => {
  const ms = NetlinkDatagram.decode(octets(request))
  assert.ok(E.isRight(ms) && ms.right.length === 1)
  const [m] = ms.right
  assert.ok(m)
  const show = (a: InAny | null): string => (a === null ? '-' : showAddr(a))
  const get = <A>(r: E.Either<unknown, A>): A => {
    assert.ok(E.isRight(r))
    return r.right
  }
  switch (m.type) {
    case RTM_NEWLINK: {
      const l = get(Link.decode(octets(m.payload)))
      return `link ${l.index} flags ${l.flags}/${l.change} mtu ${l.mtu} mac ${l.mac}`
    }
    case RTM_NEWADDR: {
      const a = get(Address.decode(octets(m.payload)))
      assert.ok(!a.other.some((x) => x.type === 3 || x.type === 6), 'label or lifetime')
      return `addr ${show(a.address)}/${a.prefixLen} dev ${a.index} flags ${a.flags}`
    }
    case RTM_NEWROUTE: {
      const r = get(Route.decode(octets(m.payload)))
      assert.deepEqual([r.prefSrc, r.nextHopId, r.expires, r.cacheInfo], [null, null, null, null])
      const hops = r.multipath?.map((n) => ` ${show(n.gateway)}@${n.index}*${n.weight}`).join('') ?? ''
      return `route ${show(r.dst)}/${r.dstLen} via ${show(r.gateway ?? r.via)} dev ${r.oif} metric ${r.priority}${hops}`
    }
    default:
      return m.type === RTM_GETADDR ? 'read addresses' : `type ${m.type}`
  }
}
/** Without what following takes. */
const words = (argv: string, t = BED): string[] =>
  stepsFor(`--no-follow ${argv}`, t).map((s) => inWords(s.request))

const LO = 'link 1 flags 1/1 mtu null mac null'
const UP6 = ['link 7 flags 0/0 mtu 65520 mac null', 'link 7 flags 129/129 mtu null mac null']
const UP4 = ['link 7 flags 0/0 mtu 65520 mac null', 'link 7 flags 1/129 mtu null mac null']
const V6 = ['read addresses', 'link 7 flags 0/128 mtu null mac null']

describe('steps', () => {
  test('without --config-net: lo, and the MAC if asked for', () => {
    assert.deepEqual(words(''), [LO])
    assert.deepEqual(words('--ns-mac-addr 02:00:00:00:00:01'), [
      LO,
      `link 7 flags 0/0 mtu null mac ${0x020000000001}`
    ])
  })
  test('regression-14: everything is copied but lifetimes, link-local addresses, and what the kernel makes itself', () =>
    assert.deepEqual(words('--config-net'), [
      LO,
      ...UP6,
      'addr 198.51.100.2/24 dev 7 flags 0',
      ...V6,
      'addr 2001:db8:9::2/64 dev 7 flags 2',
      'route -/0 via 2001:db8:9::1 dev 7 metric 1024',
      'route -/0 via 198.51.100.1 dev 7 metric null'
    ]))
  test('-a: one address; the old subnet stays reachable, the gateway is in it', () =>
    assert.deepEqual(words('--config-net -4 -a 10.0.2.100/24'), [
      LO,
      ...UP4,
      'addr 10.0.2.100/24 dev 7 flags 0',
      'route -/0 via 198.51.100.1 dev 7 metric null',
      'route 198.51.100.0/24 via - dev 7 metric null'
    ]))
  test('-g: a default route only, with a way to a gateway outside the subnet', () => {
    assert.deepEqual(words('--config-net -4 -a 10.0.2.100 -n 24 -g 10.0.2.2').slice(3), [
      'addr 10.0.2.100/24 dev 7 flags 0',
      'route -/0 via 10.0.2.2 dev 7 metric null'
    ])
    assert.deepEqual(words('--config-net -4 -g 10.9.9.9').slice(3), [
      'addr 198.51.100.2/24 dev 7 flags 0',
      'route 10.9.9.9/32 via - dev 7 metric null',
      'route -/0 via 10.9.9.9 dev 7 metric null'
    ])
  })
  test('local mode', () =>
    assert.deepEqual(words('--config-net', tables([], [], [])), [
      LO,
      ...UP6,
      'addr 169.254.2.1/16 dev 7 flags 0',
      ...V6,
      'route -/0 via fe80::1 dev 7 metric 1024',
      'route -/0 via 169.254.2.2 dev 7 metric null'
    ]))
  test('multipath: the nexthops through the template', () => {
    const routes = (indexes: [number, number]) =>
      words(
        '--config-net -4',
        tables(
          [link(2, 'eth0'), link(3, 'eth1')],
          [on(2, '192.0.2.2/24')],
          [
            route('default', null, null, {
              multipath: [hop(indexes[0], '192.0.2.1', 1), hop(indexes[1], '192.0.2.9', 3)],
              prefSrc: addr('192.0.2.2')
            })
          ]
        )
      ).slice(4)
    assert.deepEqual(routes([2, 2]), ['route -/0 via - dev null metric null 192.0.2.1@7*1 192.0.2.9@7*3'])
    assert.deepEqual(routes([2, 3]), ['route -/0 via 192.0.2.1 dev 7 metric null'])
  })
  test('IPv4 by way of IPv6 (RFC 5549): behind the IPv6 that reaches it, or on the link without', () => {
    const t = (via: string) =>
      tables(
        [link(2, 'eth0')],
        [on(2, '192.0.2.2/24'), on(2, '2001:db8::2/64'), on(2, 'fe80::2/64')],
        [route('default', 2, null, { via: addr(via) }), route('default', 2, '2001:db8::1')]
      )
    const routes = (argv: string, via: string) =>
      words(`--config-net ${argv}`, t(via)).filter((w) => w.startsWith('route'))
    const v6 = 'route -/0 via 2001:db8::1 dev 7 metric null'
    for (const via of ['2001:db8::1', 'fe80::1'])
      assert.deepEqual(routes('', via), [v6, `route -/0 via ${via} dev 7 metric null`])
    const onLink = 'route -/0 via - dev 7 metric null'
    assert.deepEqual(routes('-4', 'fe80::1'), [onLink])
    assert.deepEqual(routes('--no-ndp', 'fe80::1'), [v6, onLink])
    assert.deepEqual(routes('', '2001:db8:1::1'), [v6, onLink])
  })
  test('what follows the host has one step more: an address that goes takes no other with it', () => {
    const steps = stepsFor('--config-net', BED)
    const before = words('--config-net')
    const extra = steps.filter((s) => s.what === 'keep addresses apart')
    assert.equal(extra.length, 1)
    const at = steps.indexOf(extra[0]!)
    assert.deepEqual(
      steps.filter((_, i) => i !== at).map((s) => inWords(s.request)),
      before
    )
    assert.match(before[at] ?? '', /^addr /, 'in front of the first address')
  })
  test('--mtu 0 leaves the MTU alone', () =>
    assert.deepEqual(words('--config-net -4 -m 0').slice(0, 2), [LO, 'link 7 flags 1/129 mtu null mac null']))
})

// --- carrying them out, against a kernel made of a few rules

const ack = (errno: number): Uint8Array => {
  const payload = new Uint8Array(20)
  new DataView(payload.buffer).setInt32(0, -errno, true)
  return encodeMessage({ type: NLMSG_ERROR, flags: 0, seq: 1, pid: 0, payload })
}
const done = encodeMessage({ type: NLMSG_DONE, flags: 2, seq: 1, pid: 0, payload: new Uint8Array(4) })

/** Gateways must be covered by a route or address that is there already; link-local ones always are. */
const kernel = (refuse: (words: string) => number = () => 0) => {
  const reach: Array<readonly [InAny, number, boolean]> = []
  const log: string[] = []
  const request: NetlinkRequest = (bytes) => {
    const text = inWords(bytes)
    const refused = refuse(text)
    if (refused !== 0) return ack(refused)
    const [m] = E.getOrElseW(() => [])(NetlinkDatagram.decode(octets(bytes)))
    assert.ok(m)
    if (m.type === RTM_GETADDR) {
      const payload = Address.encode(on(TAP, 'fe80::5/64'))
      return Buffer.concat([encodeMessage({ type: RTM_NEWADDR, flags: 2, seq: 1, pid: 0, payload }), done])
    }
    const r = m.type === RTM_NEWROUTE ? Route.decode(octets(m.payload)) : null
    if (r !== null && E.isRight(r)) {
      const v6 = r.right.family === 10
      const gw = r.right.gateway
      if (
        gw !== null &&
        !isLinkLocal(gw) &&
        !reach.some(([net, len, is6]) => is6 === v6 && inPrefix(gw, net, len, v6))
      )
        return ack(v6 ? EHOSTUNREACH : ENETUNREACH)
      if (r.right.dst !== null) reach.push([r.right.dst, r.right.dstLen, v6])
    }
    const a = m.type === RTM_NEWADDR ? Address.decode(octets(m.payload)) : null
    if (a !== null && E.isRight(a) && a.right.address !== null)
      reach.push([a.right.address, a.right.prefixLen, a.right.family === 10])
    log.push(text)
    return ack(0)
  }
  return { request, log }
}

describe('carried out', () => {
  test('the link-local address is reported, and marked nodad', () => {
    const k = kernel()
    const r = runSteps(k.request, stepsFor('--config-net', BED), TAP)
    assert.ok(E.isRight(r))
    assert.ok(r.right.linkLocal !== null && sameAddr(r.right.linkLocal, addr('fe80::5')))
    assert.ok(k.log.includes('addr fe80::5/64 dev 7 flags 2'))
    assert.deepEqual(r.right.warnings, [])
  })
  test('routes that lead to one another get in whatever their order', () =>
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 8 }), fc.infiniteStream(arbU32), (n, keys) => {
        // a chain: each net is reached through a gateway in the one before it
        const chain = Array.from({ length: n }, (_, i) =>
          route(`10.${i + 1}.0.0/16`, 2, i === 0 ? '192.0.2.1' : `10.${i}.0.1`)
        )
        const shuffled = chain
          .map((r) => [keys.next().value ?? 0, r] as const)
          .sort(([a], [b]) => a - b)
          .map(([, r]) => r)
        const t = tables(
          [link(2, 'eth0')],
          [on(2, '192.0.2.2/24')],
          [...shuffled, route('default', 2, '192.0.2.1')]
        )
        const k = kernel()
        const r = runSteps(k.request, stepsFor('--config-net -4', t), TAP)
        assert.ok(E.isRight(r))
        assert.deepEqual(r.right.warnings, [])
        assert.equal(k.log.filter((l) => l.startsWith('route')).length, n + 1)
      })
    ))
  test('a route out of reach is left out with a warning', () => {
    const t = tables(
      [link(2, 'eth0')],
      [on(2, '192.0.2.2/24')],
      [route('default', 2, '192.0.2.1'), route('10.0.0.0/8', 2, '203.0.113.1')]
    )
    const r = runSteps(kernel().request, stepsFor('--config-net -4', t), TAP)
    assert.ok(E.isRight(r))
    assert.match(
      r.right.warnings.join('\n'),
      /^left out the IPv4 route 10.0.0.0\/8 via 203.0.113.1: ENETUNREACH, [^\n]*$/
    )
  })
  test('regression-80: a namespace without IPv6 loses it with a warning, unless it was asked for', () => {
    for (const errno of [95, 97, 13]) {
      const refuse = (text: string): number => (/^addr .*:|read|route .*:/.test(text) ? errno : 0)
      const r = runSteps(kernel(refuse).request, stepsFor('--config-net', BED), TAP)
      assert.ok(E.isRight(r))
      assert.deepEqual(r.right.missing, ['v6'])
      assert.ok(E.isLeft(runSteps(kernel(refuse).request, stepsFor('--config-net', BED), TAP, ['v6'])))
    }
  })
  test('any other refusal is the end, with its step named', () => {
    const r = runSteps(kernel((w) => (w === LO ? 1 : 0)).request, stepsFor('', BED), TAP)
    assert.ok(E.isLeft(r))
    assert.match(r.left, /^cannot bring up lo: /)
  })
  test('a kernel that refuses at random: always an end, never a throw', () =>
    fc.assert(
      fc.property(
        fc.infiniteStream(fc.constantFrom(0, 0, 1, 13, 17, 95, 101, 113)),
        fc.boolean(),
        (errnos, throws) => {
          const k = kernel(() => errnos.next().value ?? 0)
          runSteps(
            (b) => {
              if (throws && (errnos.next().value ?? 0) === 1)
                throw Object.assign(new Error('ENETUNREACH'), { errno: 101 })
              return k.request(b)
            },
            stepsFor('--config-net', BED),
            TAP
          )
        }
      )
    ))
})
