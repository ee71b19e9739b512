// What the namespace is served with: DHCP, DHCPv6, router advertisements, ARP, names, and the mapped addresses.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { client, families, useBed } from './lib/bed.js'
import { helper, isPasst, isPeer, net, ok, describe as show, type World, withWorld } from './lib/world.js'

/** Everything is asked for, so that what is missing was not offered. */
const dhclientConf = `option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
request subnet-mask, routers, domain-name-servers, domain-search, interface-mtu, host-name, fqdn.fqdn,
  rfc3442-classless-static-routes, dhcp6.name-servers, dhcp6.domain-search, dhcp6.fqdn;
`
const resolv = `nameserver ${net.world4}\nnameserver ${net.world6}\nsearch example.net corp.example\n`
const bed = useBed({ resolv }, (w) => writeFileSync(join(w.dir, 'dhclient.conf'), dhclientConf))
const oursOnly = { skip: isPeer && 'upstream does otherwise' }
const py = `python3 ${helper('client.py')}`

/** Variables that the DHCP client's script saw. */
const told = (w: World, event: string): Record<string, string> =>
  Object.fromEntries(
    readFileSync(join(w.dir, `env.${event}`), 'utf8')
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)])
  )
/** Shell lines in a namespace that pasta did not configure. */
const bare = async (script: string, options: ReadonlyArray<string> = []): Promise<string> =>
  ok(await bed.w.pasta(options, ['sh', '-ec', script])).stdout
/** Forgets earlier leases: a client that has one rebinds it instead. */
const dhclient = `rm -f /mnt/w/leases /mnt/w/env.*; dhclient -1 -cf /mnt/w/dhclient.conf -sf ${helper('dhcp.sh')} -lf /mnt/w/leases -pf /mnt/w/pid`
const useNet = `ip -4 -o addr show dev eth0; ip -4 route; ${py} tcp-read ${net.world4} 7006`

describe('DHCP', () => {
  test('dhclient gets address, mask, router and MTU from the host; traffic flows (regression-14, regression-78)', async () => {
    const out = await bare(`${dhclient} eth0 2>&1; ${useNet}`)
    const env = told(bed.w, 'BOUND')
    assert.equal(env.new_ip_address, net.host4, out)
    assert.equal(env.new_subnet_mask, '255.255.255.0')
    assert.equal(env.new_routers, net.gw4)
    assert.equal(env.new_interface_mtu, '65520')
    assert.equal(env.new_dhcp_lease_time, '240', 'the host may change (behaviour.md#following)')
    assert.equal(env.new_domain_name_servers, undefined, 'pasta offers resolvers only with --dhcp-dns')
    assert.match(out, /"data": "ok\\n"/)
  })
  test('busybox udhcpc', async () => {
    const out = await bare(
      `ip link set eth0 up; busybox udhcpc -f -n -q -t 5 -T 1 -i eth0 -s ${helper('dhcp.sh')} 2>&1; ${useNet}`
    )
    const env = told(bed.w, 'bound')
    assert.deepEqual([env.ip, env.mask, env.router], [net.host4, '24', net.gw4], out)
    assert.match(out, /"data": "ok\\n"/)
  })
  test('-m -H --fqdn -D -S with --dhcp-dns and --dhcp-search', async () => {
    const options = [
      '-m',
      '1400',
      '-H',
      'guest',
      '--fqdn',
      'guest.example.net',
      '-D',
      '192.0.2.53',
      '-S',
      'one.example'
    ]
    await bare(`${dhclient} eth0 2>&1`, [...options, '-S', 'two.example', '--dhcp-dns', '--dhcp-search'])
    const env = told(bed.w, 'BOUND')
    assert.equal(env.new_interface_mtu, '1400')
    assert.equal(env.new_host_name, 'guest')
    assert.match(env.new_fqdn_fqdn ?? '', /^guest\.example\.net\.?$/)
    assert.equal(env.new_domain_name_servers, '192.0.2.53')
    assert.match(env.new_domain_search ?? '', /^one\.example\.? two\.example\.?$/)
  })
  test("the host's resolvers and search list with --dhcp-dns and --dhcp-search", async () => {
    await bare(`${dhclient} eth0 2>&1`, ['--dhcp-dns', '--dhcp-search'])
    const env = told(bed.w, 'BOUND')
    assert.equal(env.new_domain_name_servers, net.world4)
    assert.match(env.new_domain_search ?? '', /^example\.net\.? corp\.example\.?$/)
  })
  test('-m 0 offers no MTU', async () => {
    await bare(`${dhclient} eth0 2>&1`, ['-m', '0'])
    assert.equal(told(bed.w, 'BOUND').new_interface_mtu, undefined)
  })
  test('-a -n -g', async () => {
    await bare(`${dhclient} eth0 2>&1`, ['-a', '192.0.2.77', '-n', '255.255.255.128', '-g', '192.0.2.1'])
    const env = told(bed.w, 'BOUND')
    assert.deepEqual(
      [env.new_ip_address, env.new_subnet_mask, env.new_routers],
      ['192.0.2.77', '255.255.255.128', '192.0.2.1']
    )
  })
  test('a gateway outside of the subnet comes with classless routes (option 121)', async () => {
    await bare(`${dhclient} eth0 2>&1 || true`, ['-a', '192.0.2.77', '-n', '24', '-g', '203.0.113.1'])
    assert.equal(
      told(bed.w, 'BOUND').new_rfc3442_classless_static_routes,
      '32 203 0 113 1 0 0 0 0 0 203 0 113 1'
    )
  })
  test('--no-dhcp: no answer', async () => {
    const r = await bed.w.pasta(
      ['--no-dhcp'],
      ['sh', '-c', `ip link set eth0 up; busybox udhcpc -f -n -q -t 2 -T 1 -i eth0 -s ${helper('dhcp.sh')}`]
    )
    assert.equal(r.code, 1, show(r))
  })
})

describe('DHCPv6', () => {
  // Without waiting for duplicate address detection of the link-local address.
  const prepare = 'echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up; sleep 0.1'
  test('dhclient -6 gets the address; with --dhcp-dns, --dhcp-search and --fqdn the rest', async () => {
    await bare(`${prepare}; ${dhclient} -6 eth0 2>&1; ip -6 addr show dev eth0`)
    const env = told(bed.w, 'BOUND6')
    assert.equal(env.new_ip6_address, net.host6)
    assert.equal(env.new_dhcp6_name_servers, undefined)
    await bare(`${prepare}; ${dhclient} -6 eth0 2>&1`, [
      '--dhcp-dns',
      '--dhcp-search',
      '--fqdn',
      'guest.example.net'
    ])
    const full = told(bed.w, 'BOUND6')
    assert.equal(full.new_dhcp6_name_servers, net.world6)
    assert.match(full.new_dhcp6_domain_search ?? '', /^example\.net\.? corp\.example\.?$/)
  })
  test('-a with an IPv6 address', async () => {
    await bare(`${prepare}; ${dhclient} -6 eth0 2>&1`, ['-a', '2001:db8:77::7'])
    assert.equal(told(bed.w, 'BOUND6').new_ip6_address, '2001:db8:77::7')
  })
  test('--no-dhcpv6: no answer', async () => {
    const r = await bed.w.pasta(
      ['--no-dhcpv6'],
      ['sh', '-c', `${prepare}; ${dhclient.replace('; dhclient', '; timeout 4 dhclient')} -6 eth0`]
    )
    assert.notEqual(r.code, 0)
  })
})

describe('NDP', () => {
  const up = 'echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up'
  test('SLAAC: the kernel makes an address and a route of the advertisement, traffic flows', async () => {
    const wait = 'until ip -6 -o addr show dev eth0 scope global | grep -q 2001:db8:9:; do sleep 0.1; done'
    const show6 = `ip -6 route show default; cat /proc/sys/net/ipv6/conf/eth0/mtu; ${py} tcp-read ${net.world6} 7006`
    const out = await bare(`${up}; ${wait}; ${show6}`, ['-m', '1400'])
    assert.match(out, /default via fe80::[0-9a-f:]+ dev eth0 proto ra/)
    assert.match(out, /^1400$/m)
    assert.match(out, /"data": "ok\\n"/)
  })
  test('the advertisement in detail', async () => {
    const out = await bare(`${up}; sleep 0.1; ${py} ndp-ra eth0`, [
      '--dhcp-dns',
      '--dhcp-search',
      '-m',
      '9000'
    ])
    const ra = JSON.parse(out) as Record<string, unknown>
    assert.equal(ra.hops, 255)
    assert.equal(ra.managed, true)
    assert.ok((ra.lifetime as number) > 0)
    assert.equal(ra.mtu, 9000)
    assert.deepEqual(ra.rdnss, [net.world6])
    assert.deepEqual(ra.dnssl, ['example.net', 'corp.example'])
    assert.equal(ra.whole, true, JSON.stringify(ra.options))
    const [prefix, bits, flags] = ra.prefix as [string, number, number]
    assert.match(prefix, /^2001:db8:9::/)
    assert.deepEqual([bits, flags & 0xc0], [64, 0xc0])
    assert.equal(ra.mac, '9a:55:9a:55:9a:55')
  })
  test('no option of length 0 whatever the length of the search list (RFC 4861 4.6)', oursOnly, async () => {
    for (const name of ['a.b', 'abc.de', 'abcd.ef', 'abc.efgh.ij', 'abcdefghi.jk']) {
      const argv = ['--dhcp-dns', '--dhcp-search', '-S', name]
      const ra = JSON.parse(await bare(`${up}; sleep 0.1; ${py} ndp-ra eth0`, argv)) as Record<
        string,
        unknown
      >
      assert.deepEqual([ra.whole, ra.dnssl], [true, [name]], JSON.stringify(ra))
    }
  })
  for (const option of ['--no-ra', '--no-ndp', '--no-icmp', ...(isPasst ? [] : ['--config-net'])])
    test(`${option}: no advertisement`, async () => {
      const out = await bare(`${up}; sleep 0.1; ${py} ndp-ra eth0 1`, [option])
      assert.deepEqual(JSON.parse(out), { from: null })
    })
})

describe('ARP', () => {
  const who = async (target: string, sender = net.host4 as string, options: string[] = []) =>
    JSON.parse(await bare(`ip link set eth0 up; ${py} arp-who eth0 ${target} ${sender}`, options)) as Record<
      string,
      unknown
    >
  test('any address but the assigned one is answered, with our MAC', async () => {
    for (const target of [net.gw4, '198.51.100.77', '192.0.2.1'])
      assert.equal((await who(target)).mac, '9a:55:9a:55:9a:55', target)
    assert.equal(
      (await who(net.gw4, '0.0.0.0')).mac,
      '9a:55:9a:55:9a:55',
      'a probe for what is ours is answered as well'
    )
    assert.equal((await who(net.host4, '0.0.0.0')).mac, null, "the guest's own address is left to the guest")
  })
  test('what nobody has a guest may take (RFC 5227 §2.1.1)', oursOnly, async () => {
    for (const target of ['198.51.100.77', '192.0.2.1'])
      assert.equal((await who(target, '0.0.0.0')).mac, null, target)
  })
  test('-M', async () => {
    assert.equal((await who(net.gw4, net.host4, ['-M', '02:00:00:00:00:01'])).mac, '02:00:00:00:00:01')
  })
})

describe('names', () => {
  const records = ['--address=/test.example/192.0.2.77', '--address=/test.example/2001:db8::77']
  const dnsmasq = (listen: string[]): string[] => [
    ...[
      'dnsmasq',
      '--no-daemon',
      '--no-resolv',
      '--no-hosts',
      '--user=root',
      '--pid-file=',
      '--bind-interfaces'
    ],
    ...[
      '--conf-file=/dev/null',
      '--log-facility=-',
      ...listen.map((a) => `--listen-address=${a}`),
      ...records
    ]
  ]
  const listening = 'until ss -lunH | grep -q :53; do sleep 0.05; done'
  before(async () => {
    bed.w.start(dnsmasq([net.world4, net.world6]), { in: 'world', timeout: 900_000 })
    await bed.w.sh(listening, { in: 'world' })
  })
  const good = (answers: string[], replier: string) => ({ id: true, rcode: 0, answers, replier })
  for (const f of families) {
    const forward = f.v === 4 ? '198.51.100.53' : '2001:db8:9::53'
    const ask = (server: string, options: string[], transport = 'udp') =>
      client(bed.w, ['dns', server, 53, 'A/test.example', transport], options)
    test(`IPv${f.v}: dnsmasq behind --dns-forward, over UDP and TCP`, async () => {
      for (const transport of ['udp', 'tcp'])
        assert.deepEqual(
          await ask(forward, ['--dns-forward', forward], transport),
          good(['192.0.2.77'], forward)
        )
    })
    test(`IPv${f.v}: AAAA as well`, async () => {
      const r = await client(bed.w, ['dns', forward, 53, 'AAAA/test.example'], ['--dns-forward', forward])
      assert.deepEqual(r, good(['2001:db8::77'], forward))
    })
    test(`IPv${f.v}: the real resolver, asked directly, answers as itself (regression-29)`, async () => {
      assert.deepEqual(await ask(f.world, ['--dns-forward', forward]), good(['192.0.2.77'], f.world))
    })
    test(`IPv${f.v}: --dns-host`, async () => {
      const options = ['--dns-forward', forward, '--dns-host', f.world]
      const r = await ask(forward, options)
      assert.deepEqual(r, good(['192.0.2.77'], forward))
    })
  }
  test('a resolver on the exact loopback address of resolv.conf, by the gateway (regression-79)', async () => {
    await withWorld(
      async (w) => {
        w.start(dnsmasq(['127.0.0.53']), { uid: 0 })
        await w.sh(listening)
        const r = await client(w, ['dns', net.gw4, 53, 'A/test.example'])
        assert.deepEqual(r, good(['192.0.2.77'], net.gw4))
        const forward = await client(
          w,
          ['dns', '198.51.100.53', 53, 'A/test.example', 'tcp'],
          ['--dns-forward', '198.51.100.53']
        )
        assert.deepEqual(forward, good(['192.0.2.77'], '198.51.100.53'))
        await w.pasta(
          ['--dhcp-dns'],
          ['sh', '-ec', `dhclient -1 -sf ${helper('dhcp.sh')} -lf /mnt/w/l -pf /mnt/w/p eth0`]
        )
        assert.equal(told(w, 'BOUND').new_domain_name_servers, net.gw4)
      },
      { resolv: 'nameserver 127.0.0.53\n' }
    )
  })
})

describe('mapped addresses', () => {
  for (const f of families) {
    const other = f.v === 4 ? '198.51.100.99' : '2001:db8:9::99'
    const who = async (address: string, options: string[] = []) => {
      const r = await client(bed.w, ['tcp-read', address, 7012], options)
      return r.error ?? (JSON.parse(r.data as string) as Record<string, unknown>)
    }
    test(`IPv${f.v}: the gateway is the host's loopback, for TCP and UDP`, async () => {
      const r = (await who(f.gw)) as Record<string, unknown>
      assert.deepEqual([r.from, r.to], [f.loopback, f.loopback])
      const udp = await client(bed.w, ['udp-report', f.gw, 7002])
      assert.deepEqual([udp.from, udp.replier], [f.loopback, f.gw])
    })
    test(`IPv${f.v}: --no-map-gw leaves the gateway alone`, async () => {
      assert.equal(await who(f.gw, ['--no-map-gw']), 'ECONNREFUSED')
    })
    test(`IPv${f.v}: --map-host-loopback`, async () => {
      const r = (await who(other, ['--map-host-loopback', other])) as Record<string, unknown>
      assert.equal(r.to, f.loopback)
      assert.equal(await who(f.gw, ['--map-host-loopback', other]), 'ECONNREFUSED')
      assert.equal(await who(f.gw, ['--map-host-loopback', 'none']), 'ECONNREFUSED')
    })
    test(`IPv${f.v}: --map-guest-addr is the host's own address, which otherwise is the guest itself`, async () => {
      const listen = f.v === 4 ? `TCP4-LISTEN:7200,bind=${f.host}` : `TCP6-LISTEN:7200,bind=[${f.host}]`
      const server = bed.w.start(['socat', `${listen},fork,reuseaddr`, 'SYSTEM:echo here'], { uid: 0 })
      await bed.w.sh('until ss -ltnH | grep -q :7200; do sleep 0.05; done')
      const read = (a: string) => client(bed.w, ['tcp-read', a, 7200], ['--map-guest-addr', other])
      assert.equal((await read(other)).data, 'here\n')
      assert.equal((await read(f.host)).error, 'ECONNREFUSED')
      await server.stop()
    })
  }
})
