import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { encodeMessage, NetlinkDatagram, NLMSG_ERROR } from '../src/codecs/kernel/netlink.js'
import { addrOf, Route, RTA_SRC, RTM_GETROUTE, RTM_NEWROUTE } from '../src/codecs/kernel/rtnetlink.js'
import { EMPTY_RESOLV_CONF, ResolvConf } from '../src/codecs/text/resolv-conf.js'
import { type InAny, isLoopback, isV4, sameAddr, showAddr } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { parseOptions } from '../src/runtime/cli/options.js'
import { worldConfig } from '../src/runtime/engine/world-config.js'
import { withAskedDefaults } from '../src/runtime/host/ask-route.js'
import { deriveHost, type HostTables, type NetlinkRequest, withOwnNames } from '../src/runtime/host/host.js'
import { needsResolvConf, plan, repairPathAt, resolvers } from '../src/runtime/plan/plan.js'
import type { Plan } from '../src/runtime/plan/plan-types.js'
import { arbInAny, arbInAny4, arbInAny6 } from './arbitraries.js'
import { addr, BED, derived, hop, link, on, options, route, tables } from './tables.js'

const conf = (text: string): E.Either<string, ResolvConf> =>
  E.mapLeft(() => 'unreadable')(ResolvConf.decode(text))
const CONF = conf('nameserver 198.51.100.53\nnameserver 2001:db8:9::53\nsearch a.example\n')
const planned = (argv: string, t: HostTables = BED, c: E.Either<string, ResolvConf> = CONF): Plan => {
  const o = options(...argv.split(' ').filter((w) => w !== ''))
  const r = plan(o, derived(t, o), c)
  assert.ok(E.isRight(r), E.isLeft(r) ? r.left : '')
  return r.right
}
const show = (a: InAny | null | undefined): string => (a === null || a === undefined ? '-' : showAddr(a))

describe('what the host suggests', () => {
  const v4 = (t: HostTables, argv = '') => {
    const f = derived(t, options(...argv.split(' ').filter((w) => w !== ''))).v4
    return `${f?.ifname} ${show(f?.address)}/${f?.prefixLen} via ${show(f?.gateway)}`
  }
  const two = [link(2, 'eth0'), link(3, 'eth1')]
  const both = [on(2, '192.0.2.2/24'), on(3, '198.51.100.2/24')]
  test('the first default route counts, whatever stands in front of it', () =>
    assert.equal(
      v4(
        tables(two, both, [
          route('10.0.0.0/8', 2, null),
          route('default', 3, '198.51.100.1'),
          route('default', 2, '192.0.2.1')
        ])
      ),
      'eth1 198.51.100.2/24 via 198.51.100.1'
    ))
  test('without one, the first interface with any route', () =>
    assert.equal(
      v4(tables(two, both, [route('169.254.0.0/16', 2, null), route('10.0.0.0/8', 3, '198.51.100.9')])),
      'eth1 198.51.100.2/24 via -'
    ))
  test('loopback, other tables and other types of route do not count', () =>
    assert.equal(
      v4(
        tables(two, both, [
          route('10.0.0.0/8', 1, null),
          route('default', 2, '192.0.2.1', { table: 100 }),
          route('default', 2, '192.0.2.1', { type: 7 }),
          route('10.0.0.0/8', 3, null)
        ])
      ),
      'eth1 198.51.100.2/24 via -'
    ))
  test('-i, then --outbound-if4, which need not exist', () => {
    const t = tables(two, both, [route('default', 3, '198.51.100.1')])
    assert.equal(v4(t, '-i eth0'), 'eth0 192.0.2.2/24 via -')
    assert.equal(v4(t, '--outbound-if4 eth0'), 'eth0 192.0.2.2/24 via -')
    assert.equal(v4(t, '--outbound-if4 nope'), 'eth1 198.51.100.2/24 via 198.51.100.1')
    assert.deepEqual(deriveHost(t, options('-i', 'nope')), E.left("no interface 'nope'"))
    assert.ok(E.isLeft(deriveHost(tables(two, both, []), options('--outbound-if4', 'nope', '-4'))))
  })
  test('no default route in the main table: the kernel is asked, about the named interface and our source', () => {
    const questions: string[] = []
    const kernel =
      (answer: (r: Route) => Partial<Route> | null): NetlinkRequest =>
      (request) => {
        const [m] = E.getOrElseW(() => [])(NetlinkDatagram.decode(octets(request)))
        const r = Route.decode(octets(m?.payload ?? new Uint8Array()))
        assert.ok(m?.type === RTM_GETROUTE && E.isRight(r))
        const src = r.right.other.find((a) => a.type === RTA_SRC)
        questions.push(
          `${show(r.right.dst)} oif ${r.right.oif} src ${src === undefined ? '-' : show(addrOf(r.right.family, src.data))}`
        )
        const found = answer(r.right)
        const type = found === null ? NLMSG_ERROR : RTM_NEWROUTE
        const payload =
          found === null ? Uint8Array.of(155, 255, 255, 255) : Route.encode({ ...r.right, ...found })
        return encodeMessage({ type, flags: 0, seq: 1, pid: 0, payload })
      }
    const t = tables(two, both, [route('10.0.0.0/8', 2, null)])
    const asked = (argv: string, answer: (r: Route) => Partial<Route> | null, from = t) => {
      questions.length = 0
      const o = options(...argv.split(' '))
      const a = withAskedDefaults(kernel(answer), from, o, null)
      return `${v4(a.tables, argv)}${a.notices.map((n) => `; ${n}`).join('')}`
    }
    const byEth1 = () => ({
      table: 100,
      type: 1,
      oif: 3,
      gateway: addr('198.51.100.9'),
      dst: null,
      dstLen: 0
    })
    assert.equal(asked('-4', byEth1), 'eth1 198.51.100.2/24 via 198.51.100.9')
    assert.deepEqual(questions, ['198.41.0.4 oif null src -'])
    // half of all that there is, as VPN clients do
    assert.equal(
      asked('-4', () => ({ ...byEth1(), dst: addr('128.0.0.0'), dstLen: 1 })),
      'eth1 198.51.100.2/24 via 198.51.100.9'
    )
    const forEth1 = (r: Route) => (r.srcLen === 32 ? byEth1() : null)
    assert.equal(asked('-4 -i eth1', forEth1), 'eth1 198.51.100.2/24 via 198.51.100.9')
    assert.deepEqual(questions, ['198.41.0.4 oif 3 src -', '198.41.0.4 oif 3 src 198.51.100.2'])
    assert.match(
      asked('-4', () => null),
      /^eth0 192.0.2.2\/24 via -; no default route for IPv4: ENETUNREACH/
    )
    assert.match(
      asked('-4 -o 192.0.2.2', () => ({ type: 7 })),
      /the kernel names none$/
    )
    assert.deepEqual(questions, ['198.41.0.4 oif null src 192.0.2.2'])
    asked('-4', byEth1, BED)
    assert.deepEqual(questions, [])
    asked('-6', byEth1, t)
    assert.deepEqual(questions, ['2001:503:ba3e::2:30 oif null src -'])
  })
  test('an alternative name stands for the interface it belongs to; one too long for any other is nobody', () => {
    const uplink = 'uplink-of-the-second-provider'
    const links = [link(2, 'eth0', 'up', uplink), link(3, 'eth1')]
    const named = (...argv: string[]) => withOwnNames(options(...argv), links)
    const r = named('-i', uplink, '--outbound-if4', 'up', '-t', `%${uplink}/80`, '-u', '%later0/53')
    assert.ok(E.isRight(r))
    const ifnames = [...r.right.ports.tcpIn, ...r.right.ports.udpIn].map(
      (s) => s.kind === 'ports' && s.ifname
    )
    assert.deepEqual(
      [r.right.interface, r.right.outboundIf, ifnames],
      ['eth0', { v4: 'eth0', v6: null }, ['eth0', 'later0']]
    )
    for (const argv of [['-i'], ['--outbound-if6']])
      assert.deepEqual(named(...argv, `${uplink}s`), E.left(`no interface '${uplink}s'`))
    assert.deepEqual(named('-u', `%${uplink}s/1`), E.left(`no interface '${uplink}s'`))
  })
  test('longest prefix, first of equals, none that is deprecated', () =>
    assert.equal(
      v4(
        tables(
          two,
          [on(2, '192.0.2.2/24'), on(2, '192.0.2.3/25'), on(2, '192.0.2.4/25'), on(2, '192.0.2.5/32', 0x20)],
          [route('default', 2, '192.0.2.1')]
        )
      ),
      'eth0 192.0.2.3/25 via 192.0.2.1'
    ))
  test('multipath: first nexthop chooses the interface, the highest weight there the gateway', () => {
    const hops = [
      hop(2, '192.0.2.7', 1),
      hop(3, '198.51.100.7', 9),
      hop(2, '192.0.2.8', 3),
      hop(2, '192.0.2.9', 3)
    ]
    const t = tables(two, both, [route('default', null, null, { multipath: hops })])
    assert.equal(v4(t), 'eth0 192.0.2.2/24 via 192.0.2.8')
  })
  test('several candidates are worth a notice', () => {
    const t = tables(two, both, [route('default', 2, '192.0.2.1'), route('default', 3, '198.51.100.1')])
    assert.match(derived(t, options('-4')).notices.join(), /eth0, eth1.*taking eth0/)
  })
})

describe('addresses of the guest', () => {
  const of = (p: Plan): string[] =>
    [p.v4, p.v6].map(
      (f) =>
        `${show(f?.assigned)}/${f?.prefixLen} via ${show(f?.gateway)} ll ${show(f?.linkLocal)}${f?.local ? ' local' : ''}`
    )
  const NOWHERE = tables([], [], [])
  const rows: ReadonlyArray<[string, HostTables, string, string]> = [
    ['', BED, '198.51.100.2/24 via 198.51.100.1 ll -', '2001:db8:9::2/64 via 2001:db8:9::1 ll fe80::1234'],
    [
      '-a 10.5.5.5',
      BED,
      '10.5.5.5/8 via 198.51.100.1 ll -',
      '2001:db8:9::2/64 via 2001:db8:9::1 ll fe80::1234'
    ],
    [
      '-a 172.16.5.5',
      BED,
      '172.16.5.5/16 via 198.51.100.1 ll -',
      '2001:db8:9::2/64 via 2001:db8:9::1 ll fe80::1234'
    ],
    [
      '-a 198.51.100.2',
      BED,
      '198.51.100.2/24 via 198.51.100.1 ll -',
      '2001:db8:9::2/64 via 2001:db8:9::1 ll fe80::1234'
    ],
    [
      '-a 10.0.2.100 -n 24 -g 10.0.2.2',
      BED,
      '10.0.2.100/24 via 10.0.2.2 ll -',
      '2001:db8:9::2/64 via 2001:db8:9::1 ll fe80::1234'
    ],
    [
      '-g fe80::1 -a 2001:db8::7/48',
      BED,
      '198.51.100.2/24 via 198.51.100.1 ll -',
      '2001:db8::7/64 via fe80::1 ll fe80::1'
    ],
    ['', NOWHERE, '169.254.2.1/16 via 169.254.2.2 ll - local', '-/64 via fe80::1 ll fe80::1 local'],
    [
      '-a 192.0.2.7 -g 192.0.2.1',
      NOWHERE,
      '192.0.2.7/24 via 192.0.2.1 ll - local',
      '-/64 via fe80::1 ll fe80::1 local'
    ]
  ]
  for (const [argv, t, v4, v6] of rows)
    test(`${argv || 'no options'}${t === BED ? '' : ', host without network'}`, () =>
      assert.deepEqual(of(planned(argv, t)), [v4, v6]))
  test('-a: the netmask is that of the address on the host, whichever interface has it, the template first', () => {
    const host = (...more: ReturnType<typeof on>[]) =>
      tables(
        [link(2, 'eth0'), link(3, 'eth1')],
        [...more, on(2, '192.0.2.2/24')],
        [route('default', 2, '192.0.2.1')]
      )
    const mask = (argv: string, t: HostTables) => planned(argv, t).v4?.prefixLen
    assert.equal(mask('-a 10.5.5.5', host(on(3, '10.5.5.5/20'))), 20)
    assert.equal(mask('-a 10.5.5.5', host(on(1, '10.5.5.5/32', 0x80))), 32)
    assert.equal(mask('-a 10.5.5.5', host(on(3, '10.5.5.5/30'), on(2, '10.5.5.5/20'))), 20)
    assert.equal(mask('-a 10.5.5.5', host(on(3, '10.5.5.6/20'))), 8)
    assert.equal(mask('-a 10.5.5.5/12', host(on(3, '10.5.5.5/20'))), 12)
    assert.equal(mask('-a 10.5.5.5 -n 13', host(on(3, '10.5.5.5/20'))), 13)
    assert.equal(mask('-a 10.5.5.5', tables([link(2, 'eth0')], [on(2, '10.5.5.5/20')], [])), 20)
  })
  test('global IPv6 without link-local address: local mode that keeps what there is', () => {
    const t = tables([link(2, 'eth0')], [on(2, '2001:db8::2/64')], [route('default', 2, '2001:db8::1')])
    assert.equal(of(planned('', t))[1], '2001:db8::2/64 via 2001:db8::1 ll fe80::1 local')
  })
  test('-4 and -6 leave the other one out', () => {
    assert.equal(planned('-4').v6, null)
    assert.equal(planned('-6').v4, null)
  })
})

describe('switches and what implies them', () => {
  const NO_GATEWAY = tables([link(2, 'eth0')], [on(2, '192.0.2.2/24')], [route('10.0.0.0/8', 2, null)])
  const on_ = (p: Plan): string => (['dhcp', 'dhcpv6', 'ndp', 'ra'] as const).filter((k) => p[k]).join(' ')
  test('as a table', () => {
    assert.equal(on_(planned('')), 'dhcp dhcpv6 ndp ra')
    assert.equal(on_(planned('--config-net')), 'dhcp dhcpv6 ndp')
    assert.equal(on_(planned('--no-icmp')), 'dhcp dhcpv6')
    assert.equal(on_(planned('--no-ndp')), 'dhcp dhcpv6')
    assert.equal(on_(planned('-4')), 'dhcp')
    assert.equal(on_(planned('-6')), 'dhcpv6 ndp ra')
    assert.equal(on_(planned('', tables([], [], []))), 'dhcp ndp ra')
    assert.equal(on_(planned('-4', NO_GATEWAY)), '')
  })
  test('host loopback: the gateway, unless it is unknown or told otherwise', () => {
    const maps = (argv: string, t = BED): string[] =>
      [planned(argv, t).v4, planned(argv, t).v6].map((f) => show(f?.mapHostLoopback))
    assert.deepEqual(maps(''), ['198.51.100.1', '2001:db8:9::1'])
    assert.deepEqual(maps('-g 198.51.100.7'), ['198.51.100.7', '2001:db8:9::1'])
    assert.deepEqual(maps('--no-map-gw'), ['-', '-'])
    assert.deepEqual(maps('--map-host-loopback 192.0.2.7'), ['192.0.2.7', '2001:db8:9::1'])
    assert.deepEqual(maps('--no-map-gw --map-host-loopback 192.0.2.7'), ['192.0.2.7', '-'])
    assert.deepEqual(maps('-4', NO_GATEWAY), ['-', '-'])
    assert.deepEqual(maps('', tables([], [], [])), ['169.254.2.2', 'fe80::1'])
  })
  test('name of the interface, MTU, MAC', () => {
    assert.equal(planned('').tapName, 'eth0')
    assert.equal(planned('-I x0').tapName, 'x0')
    assert.equal(planned('', tables([], [], [])).tapName, 'tap0')
    assert.deepEqual([planned('').mtu, planned('-m 0').mtu, planned('').ownMac], [65520, 0, 0x9a559a559a55])
    const small = planned('-m 1279')
    assert.deepEqual(small.warnings, ['MTU 1279 is too small for IPv6 (minimum 1280): going on without IPv6'])
    assert.deepEqual([small.v6, small.dhcpv6, small.ndp, small.ra], [null, false, false, false])
    assert.ok(planned('-m 1280').v6 !== null && planned('-m 1279 --splice-only').v6 !== null)
    for (const [argv, why] of [
      ['-6 -m 1279', 'IPv6 (minimum 1280)'],
      ['-4 -m 67', 'IPv4 (minimum 68)'],
      ['-m 67', 'IPv4 (minimum 68) and IPv6 (minimum 1280)']
    ] as const) {
      const o = options(...argv.split(' '))
      assert.deepEqual(plan(o, derived(BED, o), CONF), E.left(`MTU ${o.mtu} is too small for ${why}`))
    }
    assert.deepEqual(planned('-4 -m 1279').warnings, [])
  })
  test('namespaces', () => {
    assert.deepEqual(planned('-4 true').namespace, {
      kind: 'spawn',
      argvIndex: 1,
      newUserns: true,
      newPidns: true
    })
    assert.deepEqual(planned('--netns-only').namespace, {
      kind: 'spawn',
      argvIndex: null,
      newUserns: false,
      newPidns: true
    })
    assert.deepEqual(planned('--netns-only 7').namespace, {
      kind: 'join',
      netns: '/proc/7/ns/net',
      userns: '/proc/7/ns/user',
      pid: 7,
      quitWithNamespace: true
    })
    assert.deepEqual(planned('--netns x --no-netns-quit').namespace, {
      kind: 'join',
      netns: '/run/netns/x',
      userns: null,
      pid: null,
      quitWithNamespace: false
    })
  })
})

describe('port forwarding', () => {
  test('the control socket is named first', () => {
    assert.equal(planned('-c /x').info[0], 'Configuration socket: /x')
    assert.equal(planned('-d').confPath, null)
  })
  test('port specifications pass on as they are', () =>
    assert.equal(planned('-t 22 -T auto --splice-only').ports.tcpIn.length, 1))
})

describe('the guest link', () => {
  const linked = (...argv: string[]): Plan => {
    const answer = parseOptions('passt', argv)
    assert.ok(E.isRight(answer) && answer.right.tag === 'Run')
    const r = plan(answer.right.options, derived(BED, answer.right.options), CONF)
    assert.ok(E.isRight(r))
    return r.right
  }
  test('passt: a socket, in no namespace of its own, and the guest is told of name servers', () => {
    const p = linked()
    assert.deepEqual(
      [p.link, p.oneOff, p.namespace],
      [{ kind: 'socket', path: null }, false, { kind: 'none' }]
    )
    assert.deepEqual([p.announceDns, p.announceSearch, p.ra, p.foreground], [true, true, true, false])
    assert.ok(!p.info.some((line) => line.includes('namespace')))
    assert.deepEqual(linked('-s', '/x', '-1').link, { kind: 'socket', path: '/x' })
    assert.ok(linked('-s', '/x', '-1').oneOff)
  })
  test('--fd: that socket, in passt mode and in place of a tap', () => {
    assert.deepEqual([linked('-F', '5').link, linked('-F', '5').oneOff], [{ kind: 'fd', fd: 5 }, true])
    assert.deepEqual([planned('-F 5').link, planned('-F 5').namespace.kind], [{ kind: 'fd', fd: 5 }, 'spawn'])
    assert.equal(planned('').link, null)
  })
  test('--vhost-user: on either socket, with all features or with those of every passt', () => {
    const of = (...argv: string[]) => {
      const { link, vhostUser, oneOff } = linked(...argv)
      return { link, vhostUser, oneOff }
    }
    assert.deepEqual(of('--vhost-user', '-s', '/x'), {
      link: { kind: 'socket', path: '/x' },
      vhostUser: 'all',
      oneOff: false
    })
    assert.deepEqual(of('-1', '--vhost-user').link, { kind: 'socket', path: null })
    assert.deepEqual(of('--vhost-user', '-F', '5', '--vhost-user-features', 'upstream'), {
      link: { kind: 'fd', fd: 5 },
      vhostUser: 'upstream',
      oneOff: true
    })
    assert.equal(of('-s', '/x').vhostUser, null)
  })
  test('--repair-path: beside the socket with --vhost-user, or where it says; none without a socket of ours', () => {
    const of = (...argv: string[]) => linked(...argv).repairPath
    assert.deepEqual(of('--vhost-user'), { kind: 'beside' })
    assert.deepEqual(of('--repair-path', './none', '--vhost-user'), { kind: 'path', path: './none' })
    const nowhere = ['-s /x', '--repair-path none', '--vhost-user --repair-path none', '--vhost-user -F 5']
    for (const line of nowhere) assert.equal(of(...line.split(' ')), null, line)
    assert.equal(of('--vhost-user', '-F', '5', '--repair-path', '/y'), null)
    assert.equal(planned('').repairPath, null)
    assert.equal(repairPathAt({ kind: 'beside' }, '/tmp/passt_2.socket'), '/tmp/passt_2.socket.repair')
    assert.equal(repairPathAt({ kind: 'path', path: '/y' }, '/x'), '/y')
  })
  test('--migrate-exit, --migrate-no-linger', () => {
    const of = (...argv: string[]) => {
      const { migrateExit, migrateNoLinger } = linked('--vhost-user', ...argv)
      return [migrateExit, migrateNoLinger]
    }
    assert.deepEqual(of(), [false, false])
    assert.deepEqual(of('--migrate-exit'), [true, false])
    assert.deepEqual(of('--migrate-no-linger'), [false, true])
  })
})

describe('name servers', () => {
  const dns = (text: string, argv = '', t = BED): string => {
    const { v4 } = planned(
      `-4 ${argv}`,
      t,
      conf(
        text
          .split(' ')
          .map((a) => `nameserver ${a}\n`)
          .join('')
      )
    )
    return `${v4?.dns.map(showAddr).join(' ')} | ${show(v4?.dnsForward)} -> ${show(v4?.dnsHost)}`
  }
  const rows: ReadonlyArray<[string, string, string]> = [
    ['', '', '198.51.100.1 | 198.51.100.1 -> 127.0.0.1'],
    ['', '--dns-forward 192.0.2.9', '192.0.2.9 | 192.0.2.9 -> 127.0.0.1'],
    ['', '--no-map-gw', ' | - -> 127.0.0.1'],
    ['', '-D 192.0.2.7 --dns-forward 192.0.2.9', '192.0.2.7 | 192.0.2.9 -> 127.0.0.1'],
    ['0.0.0.0', '', '198.51.100.1 | 198.51.100.1 -> 127.0.0.1'],
    ['192.0.2.53 0.0.0.0', '', '192.0.2.53 198.51.100.1 | 198.51.100.1 -> 192.0.2.53'],
    ['192.0.2.53 192.0.2.54', '', '192.0.2.53 192.0.2.54 | - -> 192.0.2.53'],
    ['127.0.0.53', '', '198.51.100.1 | 198.51.100.1 -> 127.0.0.53'],
    ['198.51.100.1', '', '198.51.100.1 | 198.51.100.1 -> 198.51.100.1'],
    ['192.0.2.53 127.0.0.1 127.0.0.2', '', '192.0.2.53 198.51.100.1 | 198.51.100.1 -> 192.0.2.53'],
    ['127.0.0.53', '--no-map-gw', ' | - -> 127.0.0.53'],
    ['127.0.0.53', '--dns-forward 192.0.2.9', '192.0.2.9 | 192.0.2.9 -> 127.0.0.53'],
    ['192.0.2.53', '--dns-forward 192.0.2.9', '192.0.2.53 | 192.0.2.9 -> 192.0.2.53'],
    ['127.0.0.53', '-D none', ' | - -> -'],
    ['127.0.0.53', '-D 127.0.0.1', '127.0.0.1 | - -> -'],
    ['198.51.100.1', '-D 192.0.2.7', '192.0.2.7 | 198.51.100.1 -> 198.51.100.1'],
    ['192.0.2.53 198.51.100.1', '-D 192.0.2.7', '192.0.2.7 | 198.51.100.1 -> 192.0.2.53'],
    ['198.51.100.1', '-D 192.0.2.7 --no-map-gw', '192.0.2.7 | - -> -'],
    ['192.0.2.8', '-D 192.0.2.7 --map-host-loopback 192.0.2.8', '192.0.2.7 | 192.0.2.8 -> 192.0.2.8'],
    ['198.51.100.1', '-D 192.0.2.7 --dns-forward 192.0.2.9', '192.0.2.7 | 192.0.2.9 -> 198.51.100.1'],
    ['198.51.100.1', '-D none', ' | - -> -'],
    ['192.0.2.53', '-D 192.0.2.7 --dns-forward 192.0.2.9', '192.0.2.7 | 192.0.2.9 -> 192.0.2.53'],
    ['192.0.2.53', '--dns-forward 192.0.2.9 --dns-host 192.0.2.8', '192.0.2.53 | 192.0.2.9 -> 192.0.2.8']
  ]
  for (const [text, argv, want] of rows) test(`${text} ${argv}`, () => assert.equal(dns(text, argv), want))
  test('the file is read only when it matters', () => {
    const needs = (argv: string): boolean =>
      needsResolvConf(options(...argv.split(' ').filter((w) => w !== '')))
    assert.deepEqual(
      [
        '',
        '-D none -S none',
        '-D none',
        '-4 -D 192.0.2.1 -S x --no-map-gw',
        '-4 -D 192.0.2.1 -S x',
        '-4 -D 192.0.2.1 -S x --no-map-gw --map-host-loopback 192.0.2.2',
        '-D 192.0.2.1 -S x'
      ].map(needs),
      [true, false, true, false, true, true, true]
    )
  })
  test('no file: a warning, and a plan', () => {
    const missing = E.left('no such file or directory')
    const cannot = 'cannot read /etc/resolv.conf (no such file or directory)'
    const warnings = (argv: string, c: E.Either<string, ResolvConf> = missing) =>
      planned(argv, BED, c).warnings
    assert.deepEqual(warnings(''), [`${cannot}: using the name server on this machine`])
    assert.match(warnings('--no-map-gw').join(), /which no address of the guest leads to/)
    assert.deepEqual(warnings('-D none -S none'), [])
    assert.deepEqual(warnings('-4 -D 192.0.2.1'), [cannot])
    assert.deepEqual(warnings('-4 -D 192.0.2.1 -S x'), [])
    assert.deepEqual(warnings('-4 -D 192.0.2.1', E.right(EMPTY_RESOLV_CONF)), [])
    assert.deepEqual(warnings('', E.right(EMPTY_RESOLV_CONF)), [
      'no name server in /etc/resolv.conf: using the name server on this machine'
    ])
  })
  test('an address that leads to none of its IP version: a warning', () => {
    const warnings = (argv: string, text: string) => planned(argv, BED, conf(text)).warnings
    const v6 = 'nameserver 2001:db8::53\n'
    const nowhere = 'no IPv4 name server in /etc/resolv.conf that 192.0.2.9 could lead to (--dns-host)'
    assert.deepEqual(warnings('--dns-forward 192.0.2.9', v6), [nowhere])
    assert.deepEqual(warnings('--dns-forward 192.0.2.9 -D 192.0.2.7', v6), [nowhere])
    assert.deepEqual(warnings('--dns-forward 192.0.2.9 --dns-host 192.0.2.8', v6), [])
    assert.deepEqual(warnings('--dns-forward 192.0.2.9 -6', v6), [])
    assert.deepEqual(warnings('--dns-forward 2001:db8::9', v6), [])
    // One that leads somewhere will do
    assert.deepEqual(warnings('--dns-forward 192.0.2.9 --dns-forward 2001:db8::9', v6), [])
    assert.deepEqual(warnings('', v6), [])
  })
  const arbFamily: fc.Arbitrary<fc.Arbitrary<InAny>> = fc.constantFrom(arbInAny4, arbInAny6)
  test('no server given from the file is loopback, nor shadowed by the loopback map without being the forwarded one', () =>
    fc.assert(
      fc.property(
        arbFamily.chain((a) => fc.tuple(fc.array(a, { maxLength: 3 }), fc.option(a), fc.option(a))),
        ([servers, map, given]) => {
          const forward = given !== null && isLoopback(given) ? null : given
          const host = map !== null && isLoopback(map) ? null : map
          const r = resolvers(servers, [], host, forward, null)
          for (const d of r.dns) {
            assert.ok(!isLoopback(d))
            if (host !== null && sameAddr(d, host)) assert.ok(r.dnsForward !== null)
          }
          assert.equal(r.dnsHost, servers[0] ?? null)
        }
      )
    ))
})

test('the summary has what the manual shows', () =>
  assert.deepEqual(planned('--netns x').info, [
    'Outbound interface: eth0, namespace interface: eth0',
    'ARP:',
    '    address: 9a:55:9a:55:9a:55',
    'NAT to host loopback:',
    '    from: 198.51.100.1',
    '    from: 2001:db8:9::1',
    'DHCP:',
    '    assign: 198.51.100.2',
    '    mask: 255.255.255.0',
    '    router: 198.51.100.1',
    'NDP/DHCPv6:',
    '    assign: 2001:db8:9::2',
    '    router: 2001:db8:9::1',
    '    our link-local: fe80::1234',
    'DNS:',
    '    198.51.100.53',
    '    2001:db8:9::53',
    'search:',
    '    a.example'
  ]))

// --- any host

const arbIndex = fc.integer({ min: 1, max: 4 })
const arbOn = fc
  .tuple(arbIndex, arbInAny, fc.integer({ min: 0, max: 128 }), fc.constantFrom(0, 0x20, 0x80))
  .map(([i, a, len, flags]) => on(i, `${showAddr(a)}/${isV4(a) ? len % 33 : len}`, flags))
const arbRoute = fc
  .tuple(arbInAny, fc.boolean(), fc.option(arbIndex), fc.array(arbIndex, { maxLength: 3 }))
  .map(([gw, isDefault, oif, hops]) =>
    route(isDefault ? 'default' : `${showAddr(gw)}/${isV4(gw) ? 24 : 64}`, oif, showAddr(gw), {
      multipath: oif !== null || hops.length === 0 ? null : hops.map((i, n) => hop(i, showAddr(gw), n + 1))
    })
  )
const arbTables = fc
  .tuple(fc.array(arbOn, { maxLength: 6 }), fc.array(arbRoute, { maxLength: 6 }))
  .map(([as, rs]) => tables([link(2, 'a'), link(3, 'b'), link(4, 'c')], as, rs))

test('any host: families are not mixed, and what is promised with DHCP and DHCPv6 is there', () =>
  fc.assert(
    fc.property(arbTables, fc.constantFrom('', '-i b', '--config-net', '--no-map-gw'), (t, argv) => {
      const p = planned(argv, t)
      for (const [f, v4] of [
        [p.v4, true],
        [p.v6, false]
      ] as const)
        for (const a of [
          f?.assigned,
          f?.gateway,
          f?.own,
          f?.linkLocal,
          f?.mapHostLoopback,
          f?.dnsForward,
          ...(f?.dns ?? [])
        ])
          if (a !== null && a !== undefined) assert.equal(isV4(a), v4)
      if (p.dhcp) assert.ok(p.v4 !== null && p.v4.own !== null && p.v4.assigned !== null)
      if (p.dhcpv6) assert.ok(p.v6 !== null && p.v6.assigned !== null && p.v6.linkLocal !== null)
      assert.ok(p.v6 === null || p.v6.linkLocal !== null)
      assert.ok(p.tapName.length > 0)
    })
  ))

describe('what the plan comes to for the loop', () => {
  const found = {
    tap: { mac: Uint8Array.of(2, 0, 0, 0, 0, 9), index: 7 },
    links: [],
    limits: { flows: 1, files: 1, memory: 1, ports: 1, halfOpen: 1 },
    sharedTcpPorts: true,
    bothSides: false,
    secret: Uint8Array.from({ length: 16 }, (_, i) => i),
    now: 0,
    macOf: () => 0
  }
  const config = (argv: string) => worldConfig(planned(argv), found)
  test('the same plan, found the same: the same configuration', () =>
    assert.deepEqual(config('-m 1400'), config('-m 1400')))
  test('the MSS is what the MTU leaves, for each family', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1280, max: 65520 }), (mtu) => {
        const { mss4, mss6 } = config(`-m ${mtu}`)
        assert.deepEqual([mss4, mss6], [mtu - 40, mtu - 60])
      })
    )
  })
  test('a protocol, a family or a service that an option leaves out is left out there', () => {
    const off = [
      '--no-tcp',
      '--no-udp',
      '--no-icmp',
      '-4',
      '-6',
      '--no-dhcp',
      '--no-dhcpv6',
      '--no-ndp',
      '--no-ra'
    ]
    const all = config('')
    assert.ok(all.tcp && all.udp && all.icmp && all.v4 && all.v6)
    // ICMPv6 carries NDP, and NDP router advertisements; a family takes its services along
    const implied: Readonly<Record<string, readonly string[]>> = {
      '--no-icmp': ['--no-ndp', '--no-ra'],
      '--no-ndp': ['--no-ra'],
      '-4': ['--no-dhcpv6', '--no-ndp', '--no-ra'],
      '-6': ['--no-dhcp']
    }
    for (const o of off) {
      const c = config(o)
      const g = c.guest
      const said = [!c.tcp, !c.udp, !c.icmp, !c.v6, !c.v4, g.noDhcp, g.noDhcpv6, g.noNdp, g.noRa]
      const out = off.filter((_, n) => said[n] === true)
      assert.ok(out.includes(o), o)
      for (const name of out) assert.ok(name === o || implied[o]?.includes(name), `${o}: ${name}`)
    }
  })
})
