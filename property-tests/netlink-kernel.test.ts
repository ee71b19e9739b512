import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import * as E from 'fp-ts/lib/Either.js'
import type { Route } from '../src/codecs/kernel/rtnetlink.js'
import { EMPTY_RESOLV_CONF } from '../src/codecs/text/resolv-conf.js'
import { showAddr } from '../src/codecs/value/inany.js'
import { type HostTables, type NetlinkRequest, readTables } from '../src/runtime/host/host.js'
import { configNet } from '../src/runtime/plan/config-net.js'
import { plan } from '../src/runtime/plan/plan.js'
import type { Plan } from '../src/runtime/plan/plan-types.js'
import { runSteps } from '../src/runtime/plan/run-steps.js'
import { derived, options } from './tables.js'

// Against the real kernel: two namespaces of our own, netlink carried by a few lines of Python, compared with what
// iproute2 says.

const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3'
const CARRIER = `
import socket, struct, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.setsockopt(270, 11, 1)  # SOL_NETLINK, NETLINK_EXT_ACK
s.sendto(bytes.fromhex(sys.argv[1]), (0, 0))
end = False
while not end:
    d = s.recv(1 << 20)
    print(d.hex())
    at = 0
    while at + 16 <= len(d):
        n, t = struct.unpack_from('IH', d, at)
        end = end or t in (2, 3)
        at += (n + 3) & ~3
`
const sh = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' })
const json = (...args: string[]): Array<Record<string, unknown>> => JSON.parse(sh('-j', ...args) || '[]')
const netlinkIn =
  (ns: string): NetlinkRequest =>
  (request) => {
    const r = spawnSync(
      'ip',
      ['netns', 'exec', ns, PYTHON, '-c', CARRIER, Buffer.from(request).toString('hex')],
      { encoding: 'utf8' }
    )
    if (r.status !== 0) throw new Error(r.stderr)
    return Uint8Array.from(Buffer.from(r.stdout.replaceAll('\n', ''), 'hex'))
  }

const tag = `nlk${process.pid}`
const HOST = `${tag}h`
const GUEST = `${tag}g`

const setUp = (): void => {
  for (const ns of [HOST, GUEST]) sh('netns', 'add', ns)
  sh('-n', HOST, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'world')
  sh('-n', GUEST, 'link', 'add', 'tap0', 'type', 'veth', 'peer', 'name', 'other')
  const h = (line: string): string => sh('-n', HOST, ...line.split(' '))
  sh('-n', GUEST, 'link', 'set', 'other', 'up')
  for (const l of ['lo', 'world', 'eth0']) h(`link set ${l} up`)
  h('addr add 198.51.100.2/24 broadcast 198.51.100.255 dev eth0 label eth0:x valid_lft 900 preferred_lft 800')
  h('addr add 198.51.100.66/25 dev eth0')
  h('addr add 192.0.2.9/32 peer 192.0.2.10 dev eth0')
  h('addr add 2001:db8:9::2/64 dev eth0 nodad valid_lft 900 preferred_lft 800')
  h('addr add 2001:db8:9::3/128 dev eth0 nodad')
  h('route add default via 198.51.100.1 dev eth0 metric 7 mtu 1400')
  h(
    'route add 203.0.113.0/24 nexthop via 198.51.100.3 dev eth0 weight 2 nexthop via 198.51.100.4 dev eth0 weight 9'
  )
  h('route add 10.2.0.0/16 via 10.1.0.1 dev eth0 onlink')
  h('route add blackhole 10.66.0.0/16')
  h('route add 10.77.0.0/16 dev world')
  h('route add 10.88.0.0/16 dev eth0 table 100')
  h('-6 route add default via 2001:db8:9::1 dev eth0 expires 600')
  h('-6 route add 2001:db8:77::/48 via fe80::77 dev eth0 metric 50')
}

const read = (ns: string): HostTables => {
  const t = readTables(netlinkIn(ns))
  assert.ok(E.isRight(t), E.isLeft(t) ? t.left : '')
  return t.right
}
const planned = (argv: string, t: HostTables): Plan => {
  const o = options(...argv.split(' '))
  const p = plan(o, derived(t, o), E.right(EMPTY_RESOLV_CONF))
  assert.ok(E.isRight(p))
  return p.right
}
const infoOf = (ns: string, dev: string): Array<Record<string, unknown>> =>
  json('-n', ns, 'addr', 'show', dev).flatMap((l) => (l.addr_info ?? []) as Array<Record<string, unknown>>)
const flagsOf = (ns: string, dev: string): unknown[] =>
  json('-n', ns, 'link', 'show', dev).flatMap((l) => (l.flags ?? []) as unknown[])
/** As iproute2 prints a destination. */
const dstOf = (r: Route): string =>
  r.dst === null
    ? 'default'
    : showAddr(r.dst) + (r.dstLen === (r.family === 2 ? 32 : 128) ? '' : `/${r.dstLen}`)

describe('with the kernel', () => {
  before(setUp)
  after(() => {
    for (const ns of [HOST, GUEST]) spawnSync('ip', ['netns', 'del', ns])
  })

  test('tables agree with ip -j', () => {
    const t = read(HOST)
    const names = new Map(t.links.map((l) => [l.index, l.name]))
    assert.deepEqual(
      t.links.map((l) => [l.index, l.name, l.mtu]),
      json('-n', HOST, 'link').map((l) => [l.ifindex, l.ifname, l.mtu])
    )
    const theirs = json('-n', HOST, 'addr').flatMap((l) =>
      (l.addr_info as Array<Record<string, unknown>>).map((a) => `${l.ifname} ${a.local}/${a.prefixlen}`)
    )
    const ours = t.addresses.map((a) => {
      const own = a.local ?? a.address
      return `${names.get(a.index)} ${own && showAddr(own)}/${a.prefixLen}`
    })
    assert.deepEqual(ours.sort(), theirs.sort())
    for (const [flag, routes] of [
      ['-4', t.routes4],
      ['-6', t.routes6]
    ] as const)
      assert.deepEqual(
        routes
          .filter((r) => r.type === 1)
          .map((r) => [dstOf(r), r.gateway && showAddr(r.gateway), r.priority]),
        json('-n', HOST, flag, 'route')
          .filter((r) => r.type === undefined && r.dst !== 'multicast')
          .map((r) => [r.dst, r.gateway ?? null, r.metric ?? null])
      )
    const multi = t.routes4.find((r) => r.multipath !== null)
    assert.deepEqual(
      multi?.multipath?.map((n) => [n.gateway && showAddr(n.gateway), n.weight]),
      [
        ['198.51.100.3', 2],
        ['198.51.100.4', 9]
      ]
    )
  })

  test('derivation takes the interface of the default route, longest prefixes, gateways', () => {
    const host = derived(read(HOST), options())
    const show = (f: typeof host.v4): unknown =>
      f && [f.ifname, f.address && showAddr(f.address), f.prefixLen, f.gateway && showAddr(f.gateway)]
    assert.deepEqual(show(host.v4), ['eth0', '192.0.2.9', 32, '198.51.100.1'])
    assert.deepEqual(show(host.v6), ['eth0', '2001:db8:9::3', 128, '2001:db8:9::1'])
    const linkLocal = infoOf(HOST, 'eth0').find((a) => a.scope === 'link')?.local
    assert.equal(host.v6?.linkLocal && showAddr(host.v6.linkLocal), linkLocal)
  })

  test('--config-net gives the namespace the same network, without lifetimes', () => {
    const t = read(HOST)
    const p = planned('--config-net -m 9000 --ns-mac-addr 02:00:00:00:00:07', t)
    const tap = Number(json('-n', GUEST, 'link', 'show', 'tap0')[0]?.ifindex)
    const r = runSteps(netlinkIn(GUEST), configNet(p, tap, t), tap)
    assert.ok(E.isRight(r), E.isLeft(r) ? r.left : '')
    assert.deepEqual([r.right.warnings, r.right.missing], [[], []])

    assert.ok(flagsOf(GUEST, 'lo').includes('UP'))
    const [l] = json('-n', GUEST, 'addr', 'show', 'tap0')
    assert.deepEqual(
      [l?.mtu, l?.address, flagsOf(GUEST, 'tap0').includes('NOARP')],
      [9000, '02:00:00:00:00:07', false]
    )
    const info = infoOf(GUEST, 'tap0')
    assert.deepEqual(
      info
        .filter((a) => a.scope !== 'link')
        .map((a) => `${a.local}/${a.prefixlen} ${a.address ?? ''}`)
        .sort(),
      [
        '192.0.2.9/32 192.0.2.10',
        '198.51.100.2/24 ',
        '198.51.100.66/25 ',
        '2001:db8:9::2/64 ',
        '2001:db8:9::3/128 '
      ].sort()
    )
    assert.equal(
      info
        .filter((a) => a.scope === 'link')
        .map((a) => a.local)
        .join(),
      r.right.linkLocal && showAddr(r.right.linkLocal)
    )
    for (const a of info) {
      assert.equal(a.valid_life_time, 0xffffffff, 'regression-14')
      assert.ok(!('tentative' in a))
      if (a.family === 'inet6') assert.ok(a.nodad)
    }
    const routes = (ns: string, flag: string, dev: string): unknown[] =>
      json('-n', ns, flag, 'route')
        .filter((x) => x.dev === dev || (Array.isArray(x.nexthops) && x.nexthops.every((n) => n.dev === dev)))
        .map(({ dst, gateway, metric, metrics, protocol, scope, nexthops, flags }) => ({
          dst,
          gateway,
          metric,
          metrics,
          protocol,
          scope,
          nexthops: (nexthops as Array<Record<string, unknown>> | undefined)?.map((n) => [
            n.gateway,
            n.weight
          ]),
          onlink: (flags as string[]).includes('onlink')
        }))
        .map((x) => JSON.stringify(x))
        .sort()
    for (const flag of ['-4', '-6']) assert.deepEqual(routes(GUEST, flag, 'tap0'), routes(HOST, flag, 'eth0'))
  })

  test('a second run finds everything there already', () => {
    const t = read(HOST)
    const tap = Number(json('-n', GUEST, 'link', 'show', 'tap0')[0]?.ifindex)
    const r = runSteps(netlinkIn(GUEST), configNet(planned('--config-net', t), tap, t), tap)
    assert.ok(E.isRight(r), E.isLeft(r) ? r.left : '')
  })

  test('own addresses and a gateway elsewhere', () => {
    const t = read(HOST)
    sh('-n', GUEST, 'addr', 'flush', 'dev', 'tap0')
    // those by way of a gateway outlive the addresses, and the kernel may take any of equal ones
    sh('-n', GUEST, '-6', 'route', 'flush', 'dev', 'tap0')
    const tap = Number(json('-n', GUEST, 'link', 'show', 'tap0')[0]?.ifindex)
    const p = planned('--config-net -a 10.0.2.100/24 -g 10.9.9.9 -a 2001:db8:5::5 -g 2001:db8:6::1', t)
    const r = runSteps(netlinkIn(GUEST), configNet(p, tap, t), tap)
    assert.ok(E.isRight(r), E.isLeft(r) ? r.left : '')
    assert.deepEqual(r.right.warnings, [])
    const dst = (flag: string): unknown[] =>
      json('-n', GUEST, flag, 'route', 'get', flag === '-4' ? '1.1.1.1' : '2001:4860::1').map((x) => [
        x.gateway,
        x.prefsrc
      ])
    assert.deepEqual(dst('-4'), [['10.9.9.9', '10.0.2.100']])
    assert.deepEqual(dst('-6'), [['2001:db8:6::1', '2001:db8:5::5']])
  })
})
