// Options through the real program, and what --config-net makes of the host's configuration.
import assert from 'node:assert/strict'
import { existsSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { client, families, useBed } from './lib/bed.js'
import { helper, isPeer, net, ok, pasta, quietPorts, describe as show, withWorld } from './lib/world.js'

const bed = useBed({
  hostSetup: `ip addr add 198.51.100.5/24 dev eth0
ip -6 addr add 2001:db8:9::5/64 dev eth0 nodad
ip route add 192.0.2.0/24 via 198.51.100.9 metric 50
ip route add 198.18.0.0/15 via 192.0.2.9 onlink dev eth0
ip -6 route add 2001:db8:77::/48 via 2001:db8:9::9 metric 77`
})
const oursOnly = { skip: isPeer && 'upstream does otherwise' }
const run = (options: ReadonlyArray<string>, command: ReadonlyArray<string> = []) =>
  bed.w.run([pasta, ...options, ...command])

interface Addr {
  readonly addr_info: ReadonlyArray<{ local: string; prefixlen: number; family: string; scope: string }>
  readonly mtu: number
  readonly address: string
  readonly ifname: string
}
interface Route {
  readonly dst: string
  readonly gateway?: string
  readonly metric?: number
}
const addresses = (json: string): string[] =>
  (JSON.parse(json) as Addr[])
    .flatMap((i) => i.addr_info ?? [])
    .filter((a) => a.scope === 'global')
    .map((a) => `${a.local}/${a.prefixlen}`)
    .sort()
/** The kernel's own routes for addresses appear with and without a source address: compared by what they say. */
const routes = (json: string): string[] =>
  [
    ...new Set(
      (JSON.parse(json) as Route[])
        .filter((r) => !r.dst.startsWith('fe80'))
        .map((r) => `${r.dst} via ${r.gateway ?? '-'} metric ${r.metric ?? 0}`)
    )
  ].sort()

describe('--config-net', () => {
  for (const f of families) {
    test(`IPv${f.v}: addresses and routes are the host's`, async () => {
      for (const [what, parse] of [
        ['addr show dev eth0', addresses],
        ['route show', routes]
      ] as const) {
        const command = `ip -${f.v} -j ${what}`
        assert.deepEqual(parse(await bed.w.inside(command)), parse(await bed.w.sh(command)), command)
      }
    })
  }
  test('addresses do not expire and are not tentative (regression-14)', async () => {
    await bed.w.sh('ip addr change 198.51.100.2/24 dev eth0 valid_lft 1000 preferred_lft 900')
    const out = await bed.w.inside('ip -4 addr show dev eth0; ip -6 addr show dev eth0 scope global')
    await bed.w.sh('ip addr change 198.51.100.2/24 dev eth0 valid_lft forever preferred_lft forever')
    assert.doesNotMatch(out, /valid_lft \d/)
    assert.doesNotMatch(out, /tentative/)
  })
  test('interface name, MTU and lo', async () => {
    const out = await bed.w.inside('ip -o link show; ip -o addr show dev lo')
    assert.match(out, /eth0: <[^>]*UP[^>]*> mtu 65520/)
    assert.match(out, /lo: <LOOPBACK,UP/)
    assert.match(out, /127\.0\.0\.1\/8/)
  })
  for (const mtu of ['1280', '1500', '9000', '0x5dc'])
    test(`-m ${mtu}`, async () => {
      assert.match(
        await bed.w.inside('ip -o link show dev eth0', ['-m', mtu]),
        new RegExp(` mtu ${Number(mtu)} `)
      )
    })
  test('-m below what IPv6 takes: IPv4 alone, with a warning that names it', oursOnly, async () => {
    for (const mtu of ['1279', '576']) {
      const command = ['sh', '-ec', 'ip -o link show dev eth0; ip -o addr show dev eth0; ip -6 route']
      const r = ok(await bed.w.pasta(['--config-net', '-m', mtu], command))
      assert.match(r.stdout, new RegExp(` mtu ${mtu} `))
      assert.match(r.stdout, /198\.51\.100\.2/)
      assert.doesNotMatch(r.stdout, /2001:db8/)
      assert.match(
        r.stderr,
        /^warning: MTU \d+ is too small for IPv6 \(minimum 1280\): going on without IPv6\n$/
      )
      assert.equal((await client(bed.w, ['tcp-read', net.world4, 7006], ['-m', mtu])).data, 'ok\n')
    }
    for (const options of [
      ['-m', '1279', '-6'],
      ['-m', '67', '-4'],
      ['-m', '67']
    ]) {
      const r = await run([...quietPorts, '--config-net', ...options, 'true'])
      assert.equal(r.code, 1, show(r))
      assert.match(r.stderr, /^pasta: MTU \d+ is too small for IPv[46] \(minimum (68|1280)\)[^\n]*\n$/)
    }
    assert.match(await bed.w.inside('ip -o link show dev eth0', ['-m', '68']), / mtu 68 /)
  })
  test('-I and --ns-mac-addr', async () => {
    const out = await bed.w.inside('ip -o link show dev guest0', [
      '-I',
      'guest0',
      '--ns-mac-addr',
      '02:00:00:00:00:42'
    ])
    assert.match(out, /02:00:00:00:00:42/)
  })
  test('-M: the gateway has that MAC address', async () => {
    const out = await bed.w.inside(`ping -n -c1 -W2 ${net.gw4} >/dev/null; ip neigh show`, [
      '-M',
      '02:00:00:00:00:01'
    ])
    assert.match(out, /198\.51\.100\.1 dev eth0 lladdr 02:00:00:00:00:01/)
  })
  test('-a, -n, -g replace what the host has', async () => {
    const options = [
      '-a',
      '192.0.2.77',
      '-n',
      '24',
      '-g',
      '192.0.2.1',
      '-a',
      '2001:db8:77::7',
      '-g',
      '2001:db8:77::1'
    ]
    const out = await bed.w.inside(
      'ip -j addr show dev eth0; ip -4 route show default; ip -6 route show default',
      options
    )
    const [json, four, six] = out.trim().split('\n')
    assert.deepEqual(addresses(json!), ['192.0.2.77/24', '2001:db8:77::7/64'])
    assert.match(four!, /default via 192\.0\.2\.1 /)
    assert.match(six!, /default via 2001:db8:77::1 /)
    const r = await client(bed.w, ['tcp-read', net.world4, 7006], options)
    assert.equal(r.data, 'ok\n')
  })
  test('-a as ADDRESS/PREFIX', oursOnly, async () => {
    const out = await bed.w.inside('ip -j -4 addr show dev eth0', ['-a', '192.0.2.77/28'])
    assert.deepEqual(addresses(out), ['192.0.2.77/28'])
  })
  test('-4 and -6: the other family is off', async () => {
    const four = await bed.w.inside(
      'ip -6 -j addr show dev eth0; ip -6 route show default; ip -4 -j addr show dev eth0',
      ['-4']
    )
    assert.doesNotMatch(four, /2001:db8/)
    assert.match(four, /198\.51\.100\.2/)
    const six = await bed.w.inside('ip -4 -j addr show dev eth0; ip -4 route; ip -6 -j addr show dev eth0', [
      '-6'
    ])
    assert.doesNotMatch(six, /198\.51\.100/)
    assert.match(six, /2001:db8:9::2/)
    assert.equal((await client(bed.w, ['tcp-read', net.world6, 7006], ['-6'])).data, 'ok\n')
    assert.equal((await client(bed.w, ['tcp-read', net.world4, 7006], ['-4'])).data, 'ok\n')
  })
  test('--no-copy-routes leaves the default route, --no-copy-addrs one address', async () => {
    const r = ok(await bed.w.pasta(['--config-net', '--no-copy-routes'], ['ip', '-4', 'route']))
    assert.match(r.stdout, /default via 198\.51\.100\.1/)
    assert.doesNotMatch(r.stdout, /192\.0\.2\.0/)
    const a = ok(
      await bed.w.pasta(
        ['--config-net', '--no-copy-addrs'],
        ['ip', '-4', '-j', 'addr', 'show', 'dev', 'eth0']
      )
    )
    assert.deepEqual(addresses(a.stdout), ['198.51.100.2/24'])
  })
  test('without it the interface is there, down and bare', async () => {
    const r = ok(await bed.w.pasta([], ['sh', '-ec', 'ip -o link show dev eth0; ip -o addr show dev eth0']))
    assert.match(r.stdout, /state DOWN/)
    assert.doesNotMatch(r.stdout, /inet/)
  })
  test('-i chooses the interface, an unknown one is an error', async () => {
    await bed.w.sh(
      'ip link add veth7 type veth peer name veth8; ip addr add 192.0.2.200/24 dev veth7; ip link set veth7 up'
    )
    const out = await bed.w.inside('ip -j -4 addr show dev veth7', ['-4', '-i', 'veth7'])
    assert.deepEqual(addresses(out), ['192.0.2.200/24'])
    await bed.w.sh('ip link del veth7')
    assert.equal((await run(['-i', 'nosuch0', 'true'])).code, 1)
  })
  test('-H is the hostname in the namespace', async () => {
    assert.equal(await bed.w.inside('hostname', ['-H', 'box']), 'box\n')
    assert.equal(await bed.w.inside('hostname'), 'pasta-pastatest\n')
  })
  test('IPv6 disabled in the host: IPv4 works (regression-80, regression-88, regression-90)', async () => {
    await withWorld(
      async (w) => {
        const out = await w.inside('ip -4 -j addr show dev eth0')
        assert.deepEqual(addresses(out), ['198.51.100.2/24'])
      },
      {
        hostSetup:
          'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6'
      }
    )
  })
  test('only IPv6 on the host, and nothing at all (local mode)', async () => {
    await withWorld(
      async (w) => {
        const out = await w.inside('ip -j addr show; ip -4 route; ip -6 route')
        assert.match(out, /2001:db8:9::2/)
        assert.match(out, /169\.254\.2\.1/)
        await w.sh('ip addr flush dev eth0; ip link set eth0 down')
        const none = await w.inside(
          'ip -o addr show dev tap0; ip -4 route show default; ip -6 route show default'
        )
        assert.match(none, /169\.254\.2\.1\/16/)
        assert.match(none, /default via 169\.254\.2\.2/)
        assert.match(none, /default via fe80::1/)
      },
      { hostSetup: 'ip -4 addr flush dev eth0' }
    )
  })
})

describe('outbound', () => {
  test('-o chooses the source address', async () => {
    for (const [v, address, target] of [
      [4, '198.51.100.5', net.world4],
      [6, '2001:db8:9::5', net.world6]
    ] as const) {
      const r = await client(bed.w, ['tcp-read', target, 7012], ['-o', address])
      assert.equal((JSON.parse(r.data as string) as { from: string }).from, address, `IPv${v} TCP`)
      assert.equal(
        (await client(bed.w, ['udp-report', target, 7002], ['-o', address])).from,
        address,
        `IPv${v} UDP`
      )
    }
  })
  test('--outbound-if4 and -if6: traffic goes by that interface', async () => {
    const options = ['--outbound-if4', 'eth0', '--outbound-if6', 'eth0']
    for (const f of families) {
      assert.equal((await client(bed.w, ['tcp-read', f.world, 7006], options)).data, 'ok\n')
      const from = (await client(bed.w, ['udp-report', f.world, 7002], options)).from as string
      assert.ok([f.host, f.host.replace(/2$/, '5')].includes(from), from)
    }
  })
  test('--no-tcp, --no-udp: only that protocol is off', async () => {
    const tcp = await client(bed.w, ['tcp-connect', net.world4, 7006, 1.5], ['--no-tcp'])
    assert.notEqual(tcp.error, null)
    assert.deepEqual(await client(bed.w, ['udp-echo', net.world4, 7001, 10], ['--no-tcp']), { failed: {} })
    const udp = await client(bed.w, ['udp-echo', net.world4, 7001, 10], ['--no-udp'])
    assert.deepEqual(udp, { failed: { 10: 'timeout' } })
    assert.equal((await client(bed.w, ['tcp-read', net.world4, 7006], ['--no-udp'])).data, 'ok\n')
  })
})

describe('command line', () => {
  test('--version: name and version on stdout, status 0', async () => {
    const r = ok(await run(['--version']))
    assert.match(r.stdout, /^pasta \S+\n/)
    assert.equal(r.stderr, '')
  })
  test('-h and --help: usage on stdout, status 0', async () => {
    const short = ok(await run(['-h']))
    const long = ok(await run(['--help']))
    assert.match(short.stdout, /--config-net/)
    assert.equal(short.stdout, long.stdout)
    assert.match(short.stdout, /[Uu]sage: .*pasta/)
  })
  for (const [why, options] of [
    ['unknown option', ['--no-such-option', 'true']],
    ['unknown short option', ['-Z', 'true']],
    ['missing argument', ['--mtu']],
    ['ambiguous abbreviation', ['--no', 'true']],
    ['MTU above the maximum', ['-m', '65522', 'true']],
    ['MTU that is no number', ['-m', 'many', 'true']],
    ['unspecified address', ['-a', '0.0.0.0', 'true']],
    ['loopback address', ['-a', '127.0.0.1', 'true']],
    ['multicast address', ['-a', '224.0.0.1', 'true']],
    ['IPv6 loopback address', ['-a', '::1', 'true']],
    ['no address', ['-a', 'here', 'true']],
    ['non-contiguous mask', ['-n', '255.0.255.0', 'true']],
    ['mask too long', ['-n', '33', 'true']],
    ['mask with ADDRESS/PREFIX', ['-a', '192.0.2.1/24', '-n', '24', 'true']],
    ['MAC address of the wrong form', ['-M', '1:2:3:4:5:6', 'true']],
    ['gateway unspecified', ['-g', '0.0.0.0', 'true']],
    ['gateway loopback', ['-g', '127.0.0.1', 'true']],
    ['empty resolver', ['-D', '', 'true']],
    ['hostname too long', ['-H', 'x'.repeat(300), 'true']],
    ['interface name too long', ['-I', 'sixteencharacter', 'true']],
    ['empty interface name', ['-I', '', 'true']],
    ['map to loopback', ['--map-host-loopback', '127.0.0.1', 'true']],
    ['outbound broadcast', ['-o', '255.255.255.255', 'true']],
    ['copy option without --config-net', ['--no-copy-routes', 'true']],
    ['--netns together with a command', ['--netns', '/proc/self/ns/net', 'true']],
    ['namespace that does not exist', ['--netns', '/nonexistent']],
    ['namespace name that does not exist', ['--netns', 'nonexistent']],
    ['process that does not exist', ['4194303']],
    ['command that does not exist', ['--', '/nonexistent/command']]
  ] as const)
    test(`error: ${why}: status 1 and a reason on stderr`, async () => {
      const r = await run(options)
      assert.equal(r.code, 1, show(r))
      assert.ok(r.stderr.trim() !== '', 'no reason given')
      assert.doesNotMatch(r.stderr, / at .*\.[jt]s:\d|node:internal|undefined|\[object/, show(r))
      assert.equal(r.timedOut, false)
    })
  test('an unknown option is named in the words that clients look for, usage follows', async () => {
    const r = await run(['--map-nothing-here', 'true'])
    assert.match(r.stderr, /unrecognized option '--map-nothing-here'/)
    assert.match(r.stderr, /--config-net/)
  })
  test('forms: --opt=value, --opt value, -ovalue, bundles, abbreviations, repetition', async () => {
    const mtu = async (...options: string[]) =>
      /mtu (\d+)/.exec(
        ok(await run([...quietPorts, ...options, '--', 'ip', '-o', 'link', 'show', 'dev', 'eth0'])).stdout
      )?.[1]
    assert.equal(await mtu('--config-net', '--mtu=1300'), '1300')
    assert.equal(await mtu('--config-net', '--mtu', '1301'), '1301')
    assert.equal(await mtu('--config-net', '-m1302'), '1302')
    assert.equal(await mtu('--config-net', '-4fm', '1303'), '1303')
    assert.equal(await mtu('--config-n', '--mt=1304'), '1304')
    assert.equal(await mtu('--config-net', '-m', '1400', '-m', '1305'), '1305')
  })
  test('options stop at the command; -- ends them', async () => {
    assert.equal(ok(await run([...quietPorts, 'echo', '-n', 'hi', '-d'])).stdout, 'hi -d')
    assert.equal(ok(await run([...quietPorts, '--', 'echo', '--config-net'])).stdout, '--config-net\n')
  })
  test('the command gets its arguments, environment and directory as they were', async () => {
    const odd = ['', ' ', "a'b", 'c"d', '$HOME', 'ü', 'new\nline', '*']
    const argv = [
      pasta,
      ...quietPorts,
      '--',
      'python3',
      '-c',
      'import json,os,sys; print(json.dumps([sys.argv[1:], os.environ["ODD"], os.getcwd()]))',
      ...odd
    ]
    const r = ok(await bed.w.run(argv, { env: { ODD: 'x=y z' } }))
    assert.deepEqual(JSON.parse(r.stdout), [odd, 'x=y z', '/mnt/w'])
  })
  test('through a symbolic link, from another directory', async () => {
    symlinkSync(pasta, join(bed.w.dir, 'pasta-link'))
    const r = ok(
      await bed.w.run(['sh', '-c', 'cd / && exec /mnt/w/pasta-link --config-net -- ip route show default'])
    )
    assert.match(r.stdout, /default via/)
  })
  test('input and output of the command are ours', async () => {
    const r = ok(
      await bed.w.run([pasta, ...quietPorts, '--', 'sh', '-c', 'tr a-z A-Z; echo err >&2'], {
        input: 'hello\n'
      })
    )
    assert.equal(r.stdout, 'HELLO\n')
    assert.match(r.stderr, /^err$/m)
  })
  test('-q says nothing, -d says more than the default', async () => {
    const quiet = ok(await run([...quietPorts, '-q', '--config-net', 'true']))
    assert.equal(quiet.stderr, '')
    const debug = ok(await run([...quietPorts, '-d', '--config-net', 'true']))
    assert.ok(debug.stderr.length > quiet.stderr.length)
  })
})

describe('-p', () => {
  test('a capture that tcpdump reads, with both directions, mode 0600', async () => {
    const file = join(bed.w.dir, 'a.pcap')
    await bed.w.inside(
      `ping -n -c 2 -i 0.1 ${net.world4}; python3 ${helper('client.py')} tcp-get ${net.world6} 7003 100000`,
      ['-p', '/mnt/w/a.pcap']
    )
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const head = readFileSync(file).subarray(0, 24)
    assert.deepEqual(
      [
        head.readUInt32LE(0),
        head.readUInt16LE(4),
        head.readUInt16LE(6),
        head.readUInt32LE(16),
        head.readUInt32LE(20)
      ],
      [0xa1b2c3d4, 2, 4, isPeer ? 65535 : 262144, 1]
    )
    const text = await bed.w.sh('tcpdump -nn -v -r /mnt/w/a.pcap 2>&1')
    assert.match(text, /198\.51\.100\.2 > 198\.51\.100\.3: ICMP echo request/)
    assert.match(text, /198\.51\.100\.3 > 198\.51\.100\.2: ICMP echo reply/)
    assert.match(text, /2001:db8:9::3\.7003 > 2001:db8:9::2\.\d+: Flags \[S\.\]/)
    assert.match(text, /2001:db8:9::2\.\d+ > 2001:db8:9::3\.7003: Flags \[F?\.?\]/)
    assert.doesNotMatch(text, /truncated|bogus|pcap_loop/)
  })
  test('written at once, also without traffic; a bad path is an error that does not stop the run', async () => {
    ok(await run([...quietPorts, '-p', '/mnt/w/b.pcap', 'true']))
    assert.ok(existsSync(join(bed.w.dir, 'b.pcap')))
    assert.ok(statSync(join(bed.w.dir, 'b.pcap')).size >= 24)
    const r = await run([...quietPorts, '-p', '/nonexistent/c.pcap', 'echo', 'ran'])
    assert.match(r.stdout, /ran/, show(r))
  })
})
