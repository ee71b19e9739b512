// Hosts that are not set up like most: names of interfaces, default routes in other tables, gateways of the other family.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { client, useBed } from './lib/bed.js'
import { isPeer, net, ok, pasta, quietPorts, describe as show } from './lib/world.js'

const LONG = 'uplink-of-the-second-provider'
/** UTF-8, and a name with an octet that is none. */
const UTF8 = 'län0'
const LATIN1 = "l$(printf '\\344')n1"
const bed = useBed({
  hostSetup: `ip link property add dev eth0 altname ${LONG} altname up0
for n in ${UTF8} ${LATIN1} fifteen-octets0; do ip link add $n type veth peer name p$n 2>/dev/null ||
  ip link add $n type veth; ip link set $n up; done
ip addr add 192.0.2.200/32 dev ${UTF8}; ip addr add 192.0.2.201/32 dev ${LATIN1}`
})
const oursOnly = { skip: isPeer && 'upstream does otherwise' }

describe('names of interfaces', oursOnly, () => {
  test('an alternative one wherever an option takes an interface', async () => {
    for (const name of [LONG, 'up0']) {
      assert.match(await bed.w.inside('ip -4 addr show dev eth0', ['-i', name]), /198\.51\.100\.2/)
      const options = ['--outbound-if4', name, '--outbound-if6', name]
      for (const a of [net.world4, net.world6])
        assert.equal((await client(bed.w, ['tcp-read', a, 7006], options)).data, 'ok\n')
      const p = bed.w.startPasta(['--config-net', '-t', `%${name}/7300`], ['sleep', '20'])
      await bed.w.sh('until ss -ltnH sport = :7300 | grep -q %eth0:7300; do sleep 0.05; done')
      await p.stop()
    }
  })
  test('one that nobody has is named; it is not cut off to one that somebody has', async () => {
    for (const options of [
      ['-i', 'fifteen-octets0more'],
      ['-t', '%fifteen-octets0more/7301'],
      ['--outbound-if4', 'fifteen-octets0more']
    ]) {
      const r = await bed.w.run([pasta, ...quietPorts.slice(2), ...options, 'true'])
      assert.equal(r.code, 1, show(r))
      assert.match(r.stderr, /no interface 'fifteen-octets0more'/)
    }
  })
  test('UTF-8 in any locale, and octets that are none', async () => {
    for (const LC_ALL of ['C', 'C.UTF-8'])
      for (const [name, address] of [
        [UTF8, '192.0.2.200'],
        [LATIN1, '192.0.2.201']
      ] as const) {
        const script = `name=${name}; exec ${pasta} ${quietPorts.join(' ')} --config-net -4 -i "$name" --outbound-if4 "$name" -t "%$name/7302" -- sh -ec 'ip -4 addr show dev "$0"' "$name"`
        const r = ok(await bed.w.run(['bash', '-ec', script], { env: { LC_ALL } }))
        assert.ok(r.stdout.includes(address), show(r))
      }
    const made = `exec ${pasta} ${quietPorts.join(' ')} --config-net -I "${LATIN1}" -- sh -ec 'ip link show dev "$0"' "${LATIN1}"`
    ok(await bed.w.run(['bash', '-ec', made]))
    const long = await bed.w.run([pasta, '-I', 'äöüäöüäö', 'true'])
    assert.match(long.stderr, /is not an interface name/, show(long))
  })
})

/** The lines as root in the host, then `use`; the host gets back what it had. */
const withHost = async (lines: string, use: () => Promise<void>): Promise<void> => {
  await bed.w.sh(lines)
  try {
    await use()
  } finally {
    await bed.w.sh(`for f in -4 -6; do
  for t in 100 101 51820; do ip $f rule del table $t 2>/dev/null || true; ip $f route flush table $t 2>/dev/null || true; done
  ip $f rule del not fwmark 51820 table 51820 2>/dev/null || true
  ip $f rule del table main suppress_prefixlength 0 2>/dev/null || true; done
for f in -4 -6; do while ip $f route del default 2>/dev/null; do :; done; done
ip route add default via ${net.gw4} dev eth0; ip -6 route add default via ${net.gw6} dev eth0
ip route del 203.0.113.128/25 2>/dev/null || true
ip link del wg0 2>/dev/null || true`)
  }
}
const both = [
  { f: '-4', gw: net.gw4, own: net.host4, server: net.world4 },
  { f: '-6', gw: net.gw6, own: net.host6, server: net.world6 }
] as const
const far = { '-4': net.far4, '-6': net.far6 } as const

describe('default routes that are not in the main table', oursOnly, () => {
  const defaultIn = (f: '-4' | '-6', options: string[] = []) =>
    bed.w.inside(`ip ${f} route show default; ip ${f} -o addr show scope global`, options)
  for (const { f, gw, own } of both) {
    test(`${f}: in a table that a rule leads to`, () =>
      withHost(
        `ip ${f} route del default; ip ${f} route add default via ${gw} dev eth0 table 100; ip ${f} rule add table 100`,
        async () => {
          const out = await defaultIn(f)
          assert.match(out, new RegExp(`default via ${gw} dev eth0`))
          assert.match(out, new RegExp(own))
          const r = await client(bed.w, ['tcp-read', far[f], 7006])
          assert.equal(r.data, 'ok\n')
        }
      ))
    test(`${f}: several uplinks, each with a table of its own for its address`, () =>
      withHost(
        `ip ${f} route del default; ip ${f} route add default via ${gw} dev eth0 table 100
ip ${f} rule add from ${own} table 100`,
        async () => {
          for (const options of [
            ['-o', own],
            ['-i', 'eth0']
          ])
            assert.match(await defaultIn(f, options), new RegExp(`default via ${gw} dev eth0`))
          const r = await client(bed.w, ['tcp-read', far[f], 7006], ['-o', own])
          assert.equal(r.data, 'ok\n')
        }
      ))
    test(`${f}: for the user that our sockets belong to, nobody where root starts it`, () =>
      withHost(
        `ip ${f} route del default; ip ${f} route add default via ${gw} dev eth0 table 100
ip ${f} rule add uidrange 65534-65534 table 100`,
        async () => {
          const options = [...quietPorts, '--config-net']
          const r = ok(await bed.w.run([pasta, ...options, 'ip', f, 'route', 'show', 'default'], { uid: 0 }))
          assert.match(r.stdout, new RegExp(`default via ${gw}`))
          assert.doesNotMatch(await defaultIn(f), new RegExp(`default via ${gw}`), 'another user')
        }
      ))
    test(`${f}: as wg-quick(8) does it, by -i and by itself`, () =>
      withHost(
        `ip link add wg0 type veth; ip link set wg0 up; ip addr add 192.0.2.66/32 dev wg0
ip -6 addr add 2001:db8:66::66/128 dev wg0 nodad
ip ${f} route add default dev wg0 table 51820
ip ${f} rule add not fwmark 51820 table 51820; ip ${f} rule add table main suppress_prefixlength 0`,
        async () => {
          const out = await defaultIn(f, ['-i', 'wg0'])
          // without a link-local address of the interface we are the router
          assert.match(out, f === '-4' ? /default dev wg0/ : /default via fe80::1 dev wg0/)
          assert.match(out, f === '-4' ? /192\.0\.2\.66/ : /2001:db8:66::66/)
          // with one in the main table that is the template, whatever the rules make of it
          assert.match(await defaultIn(f), /default via .* dev eth0/)
          await bed.w.sh(`ip ${f} route del default`)
          assert.match(await defaultIn(f), f === '-4' ? /default dev wg0/ : /2001:db8:66::66/)
        }
      ))
    test(`${f}: several next hops, one of them on another interface`, () =>
      withHost(
        `ip link add wg0 type veth; ip link set wg0 up; ip addr add 192.0.2.66/24 dev wg0
ip -6 addr add 2001:db8:66::66/64 dev wg0 nodad
ip ${f} route del default
ip ${f} route add default nexthop via ${gw} dev eth0 nexthop via ${f === '-4' ? '192.0.2.1' : '2001:db8:66::1'} dev wg0`,
        async () => assert.match(await defaultIn(f, ['-i', 'eth0']), new RegExp(`default via ${gw} dev eth0`))
      ))
    test(`${f}: forbidden: none, and the reason`, () =>
      withHost(`ip ${f} route del default; ip ${f} route add unreachable default`, async () => {
        const command = ['ip', f, 'route', 'show', 'default']
        const r = ok(await bed.w.pasta(['--config-net', '-d'], command))
        assert.equal(r.stdout, '')
        assert.match(r.stderr, new RegExp(`no default route for IPv${f[1]}: E`))
        assert.match(r.stderr, /left out: unreachable route default: /)
      }))
  }
})

describe('gateways and the order of routes', oursOnly, () => {
  test('IPv4 by way of a global IPv6 address (RFC 5549)', () =>
    withHost(`ip route del default; ip -4 route add default via inet6 ${net.gw6} dev eth0`, async () => {
      assert.match(
        await bed.w.inside('ip -4 route show default'),
        new RegExp(`default via inet6 ${net.gw6} dev eth0`)
      )
      for (const options of [[], ['-4'], ['--no-ndp']]) {
        assert.equal(
          (await client(bed.w, ['tcp-read', net.far4, 7006], options)).data,
          'ok\n',
          options.join()
        )
      }
    }))
  test('IPv4 by way of a link-local IPv6 address', () =>
    withHost('ip route del default; ip -4 route add default via inet6 fe80::1 dev eth0', async () => {
      assert.match(await bed.w.inside('ip -4 route show default'), /default via inet6 fe80::1 dev eth0/)
    }))
  test('a route that the namespace does not take is left out and named, with the reason', () =>
    withHost(
      `ip route add 192.0.2.0/24 dev eth0; ip route add 203.0.113.128/25 via 192.0.2.1 dev eth0
ip route del 192.0.2.0/24 dev eth0`,
      async () => {
        const r = ok(await bed.w.pasta(['--config-net'], ['ip', '-4', 'route']))
        assert.match(r.stdout, /default via 198\.51\.100\.1/)
        assert.doesNotMatch(r.stdout, /203/)
        assert.match(
          r.stderr,
          /^warning: left out the IPv4 route 203\.0\.113\.128\/25 via 192\.0\.2\.1: [^\n]*\n$/
        )
      }
    ))
})
