// Rootless podman starts pasta for its containers as it does everywhere: default network, own option sets, ports, life and
// errors. The rows follow Podman's own system tests of pasta. PASTA=/opt/peer/bin/pasta tries them on upstream.
import assert from 'node:assert/strict'
import { dirname } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { families } from './lib/bed.js'
import { Podman } from './lib/podman.js'
import { cmdlineOf, kill, until } from './lib/proc.js'
import { helper, isPeer, net, ok, pasta, describe as show, type Where } from './lib/world.js'

let podman: Podman
const forwarder = '169.254.1.1'
const dnsmasq = [
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
    `--listen-address=${net.world4}`,
    `--listen-address=${net.world6}`
  ],
  ...['--address=/test.example/192.0.2.77', '--address=/test.example/2001:db8::77']
]

before(async () => {
  podman = await Podman.open()
  const { w } = podman.box
  const serve = (where: Where, ...addresses: string[]) =>
    w
      .start(['python3', helper('peer.py'), ...addresses], { in: where, uid: 0, timeout: 900_000 })
      .sees(/ready/)
  w.start(dnsmasq, { in: 'world', timeout: 900_000 })
  await w.sh('until ss -lunH | grep -q :53; do sleep 0.05; done', { in: 'world' })
  await serve('world', net.world4, net.world6)
  await serve('host', '127.0.0.1', '::1', net.host4)
})
after(async () => {
  await podman?.close()
})

/** The program's processes, by their command lines. */
const pastas = (): string[] =>
  podman.box.w
    .pidsInside()
    .map(cmdlineOf)
    .filter((line) => line.includes(`${pasta} `))
const netnsFiles = async (): Promise<string> =>
  (await podman.box.sh('ls /run/user/1000/netns 2>/dev/null || true')).trim()
/** Once the last container has ended: no pasta, no namespace. What stays is podman's own pause process. */
const nothingLeft = async (): Promise<void> => {
  await until('the end of every pasta', () => pastas().length === 0).catch(() =>
    assert.deepEqual(pastas(), [])
  )
  await until('no namespace left', async () => (await netnsFiles()) === '')
}
/** A greeting of peer.py, by TCP from the container. */
const greet = (address: string, port = 7006): string =>
  `socat -t 5 - TCP:${address.includes(':') ? `[${address}]` : address}:${port} < /dev/null`

/** The first line that an echo by UDP gives back. Nothing else ends socat, which would wait for more. */
const echo = (to: string): string => `(echo hi | socat -t 20 - ${to} &) | head -n 1`

const lacks = (text: RegExp) => ({ lacks: text })
type Expected = RegExp | ReturnType<typeof lacks>
const checks = (output: string, expected: ReadonlyArray<Expected>): void => {
  for (const e of expected)
    if (e instanceof RegExp) assert.match(output, e)
    else assert.doesNotMatch(output, e.lacks)
}

describe('default network', () => {
  const rows: ReadonlyArray<readonly [string, string, ...Expected[]]> = [
    ['addresses of the host', 'ip addr show dev eth0', / 198\.51\.100\.2\/24 /, / 2001:db8:9::2\/64 /],
    [
      'default routes',
      'ip route; ip -6 route',
      /default via 198\.51\.100\.1 dev eth0/,
      /default via 2001:db8:9::1 /
    ],
    ['MTU, and lo up', 'ip link', /eth0: .*UP.* mtu 65520/, /lo: <LOOPBACK,UP/],
    [
      'forwarder first in resolv.conf',
      'cat /etc/resolv.conf',
      /^nameserver 169\.254\.1\.1$/m,
      /example\.net/
    ],
    ['names of the host', 'cat /etc/hosts', /^169\.254\.1\.2\s+host\.containers\.internal/m],
    ['a name by the forwarder', 'nslookup test.example', /192\.0\.2\.77/, /2001:db8::77/],
    [
      'a name by the forwarder, over TCP',
      `printf '\\0\\036\\022\\064\\001\\0\\0\\001\\0\\0\\0\\0\\0\\0\\004test\\007example\\0\\0\\001\\0\\001' |
       socat -t 5 - TCP4:${forwarder}:53 | od -An -tu1`,
      /192\s+0\s+2\s+77/
    ],
    ['host.containers.internal is the host', greet('host.containers.internal'), /^ok$/m],
    ['host.containers.internal over UDP', echo('UDP:host.containers.internal:7001'), /^hi$/m],
    ...families.flatMap(
      ({ v, world }) =>
        [
          [`TCP to the world, IPv${v}`, greet(world), /^ok$/m],
          [`UDP to the world, IPv${v}`, echo(`UDP:${v === 4 ? world : `[${world}]`}:7001`), /^hi$/m],
          [`ping to the world, IPv${v}`, `ping -c 1 -W 5 ${world}`, / 0% packet loss/]
        ] as const
    )
  ]
  for (const [name, script, ...expected] of rows)
    test(name, async () => {
      checks(ok(await podman.run(['--cap-add', 'NET_RAW'], script)).stdout, expected)
    })
  for (const options of [
    ['--userns=keep-id'],
    ['--userns=nomap'],
    ['--userns=auto'],
    ['--cap-drop=all'],
    ['--read-only']
  ])
    test(`podman run ${options.join(' ')}`, async () => {
      const r = ok(await podman.run(options, `ip addr; ${greet(net.world4)}; ${greet(net.world6)}`))
      checks(r.stdout, [/ 198\.51\.100\.2\/24 /, /^ok\nok$/m])
    })
  test('what listens on the loopback of the host only stays out of reach', async () => {
    for (const address of ['host.containers.internal', net.gw4, net.gw6]) {
      const r = await podman.run(
        [],
        `${greet(address, address === net.gw4 || address === net.gw6 ? 7006 : 7999)}`
      )
      assert.notEqual(r.code, 0, show(r))
      assert.match(r.stderr, /refused|reset/i)
    }
  })
  test('the line that podman passes', async () => {
    const id = await podman.serve(['-p', '127.0.0.1:8001-8002:7001-7002'], [7001])
    const line = pastas()[0]!
    await podman.remove(id)
    const namespace = /--netns (\/run\/user\/1000\/netns\/\S+)/.exec(line)?.[1]
    assert.equal(
      line.slice(line.indexOf('--config-net')),
      `--config-net -t 127.0.0.1/8001-8002:7001-7002 --dns-forward 169.254.1.1 -u none -T none -U none --no-map-gw --quiet --netns ${namespace} --map-guest-addr 169.254.1.2`
    )
  })
})

describe('podman run --network pasta:…', () => {
  const rows: ReadonlyArray<readonly [string, string, ...Expected[]]> = [
    ['--mtu,1500', 'ip link show dev eth0', /mtu 1500/],
    ['-m,1280,-4', 'ip link show dev eth0; ip addr', /mtu 1280/, lacks(/2001:db8/)],
    ['-I,net0', 'ip link', /net0: .*UP/, lacks(/eth0/)],
    ['-i,eth0', 'ip addr', / 198\.51\.100\.2\/24 /],
    ['-4', 'ip addr', / 198\.51\.100\.2\/24 /, lacks(/2001:db8/)],
    ['-6', 'ip addr', / 2001:db8:9::2\/64 /, lacks(/198\.51/)],
    [
      '-a,10.0.2.0,-n,24,-g,10.0.2.2,--dns-forward,10.0.2.3',
      `ip addr; ip route; cat /etc/resolv.conf /etc/hosts; nslookup test.example 10.0.2.3; ${greet(net.world4)}`,
      / 10\.0\.2\.0\/24 /,
      /default via 10\.0\.2\.2 /,
      /^nameserver 10\.0\.2\.3/m,
      /^10\.0\.2\.0\s/m,
      /192\.0\.2\.77/,
      /^ok$/m
    ],
    [
      '-a,192.0.2.9,-n,255.255.255.0,-g,192.0.2.1',
      `ip addr; ip route; ${greet(net.world4)}`,
      / 192\.0\.2\.9\/24 /,
      /default via 192\.0\.2\.1 /,
      /^ok$/m
    ],
    [
      '-a,2001:db8:77::9,-g,2001:db8:77::1',
      `ip addr; ip -6 route; ${greet(net.world6)}`,
      / 2001:db8:77::9\/64 /,
      /default via 2001:db8:77::1 /,
      /^ok$/m
    ],
    ['--ns-mac-addr,02:00:00:00:00:77', 'ip link show dev eth0', /02:00:00:00:00:77/],
    ['--map-gw', `${greet(net.gw4)}; ${greet(net.gw6)}`, /^ok\nok$/m],
    ['-T,7006', `${greet('127.0.0.1')}; ${greet('::1')}`, /^ok\nok$/m],
    ['-T,9006:7006', greet('127.0.0.1', 9006), /^ok$/m],
    ['-U,9001:7001', echo('UDP4:127.0.0.1:9001'), /^hi$/m],
    ['-T,auto', `sleep 1; ${greet('127.0.0.1')}`, /^ok$/m],
    [
      '--dns-forward,192.0.2.53',
      'cat /etc/resolv.conf; nslookup test.example 192.0.2.53',
      /192\.0\.2\.53/,
      /192\.0\.2\.77/
    ],
    [
      '--map-guest-addr,192.0.2.3',
      `cat /etc/hosts; ${greet('192.0.2.3')}`,
      /^192\.0\.2\.3\s+host\.containers/m,
      /^ok$/m
    ],
    ['--map-host-loopback,192.0.2.4', greet('192.0.2.4'), /^ok$/m],
    ['--splice-only,-T,7006', `ip link; ${greet('127.0.0.1')}`, /^ok$/m, lacks(/eth0/)],
    ['--no-splice', greet(net.world4), /^ok$/m],
    [
      `--dns-forward,2001:db8::53,--dns-host,${net.world6}`,
      'nslookup test.example 2001:db8::53',
      /192\.0\.2\.77/
    ],
    [`-o,${net.host4},-o,${net.host6}`, `${greet(net.world4)}; ${greet(net.world6)}`, /^ok\nok$/m],
    ['--no-icmp', `ping -c 1 -W 1 ${net.world4} || ${greet(net.world4)}`, /100% packet loss/, /^ok$/m],
    ['-d,-l,/tmp/pasta.log', greet(net.world4), /^ok$/m]
  ]
  for (const [options, script, ...expected] of rows)
    test(options, async () => {
      const argv = ['--cap-add', 'NET_RAW', '--network', `pasta:${options}`]
      checks(ok(await podman.run(argv, script)).stdout, expected)
    })
  test('pasta_options of containers.conf, and --network after them', async () => {
    const conf = '[network]\npasta_options = ["--mtu", "1400", "-I", "conf0"]\n'
    await podman.box.w.sh(`cat > /mnt/w/override.conf <<'END'\n${conf}END`)
    const env = { CONTAINERS_CONF_OVERRIDE: '/mnt/w/override.conf' }
    checks(ok(await podman.run([], 'ip link', { env })).stdout, [/conf0: .*mtu 1400/])
    const both = await podman.run(['--network', 'pasta:--mtu,1300'], 'ip link', { env })
    checks(ok(both).stdout, [/conf0: .*mtu 1300/])
  })
})

describe('ports', () => {
  interface Row {
    readonly port: number
    readonly server: number
    /** Where it can be had, and where not: IPv4 and IPv6, tap side (from the world) and loopback side. */
    readonly open: string
  }
  // tap4 and tap6: a client in the world, to the host's address; lo4 and lo6: on the host, to 127.0.0.1 and ::1.
  const ways: Readonly<Record<string, { from: Where; to: string; seen: RegExp }>> = {
    tap4: { from: 'world', to: net.host4, seen: /:c633:6401\]$/ },
    tap6: { from: 'world', to: net.host6, seen: /^\S+ \S+ \[2001:0db8:0009:0000:0000:0000:0000:000[13]\]$/ },
    lo4: { from: 'host', to: '127.0.0.1', seen: /:c633:6402\]$/ },
    lo6: { from: 'host', to: '::1', seen: /^\S+ \S+ \[2001:0db8:0009:0000:0000:0000:0000:0002\]$/ }
  }
  const all = 'tap4 tap6 lo4 lo6'
  const sets: ReadonlyArray<{ name: string; argv: string[]; rows: Record<string, Row[]> }> = [
    {
      name: 'podman run -p',
      argv: [
        ...['8001:7001', '8002:8002', '8010-8012:7010-7012', '127.0.0.1:8020:7020', '[::1]:8021:7021'],
        ...[`${net.host4}:8022:7022`, `[${net.host6}]:8023:7023`, '0.0.0.0:8024:7024', '[::]:8025:7025']
      ].flatMap((spec) => ['-p', spec, '-p', `${spec}/udp`]),
      rows: {
        'one, translated': [{ port: 8001, server: 7001, open: all }],
        'one, the same': [{ port: 8002, server: 8002, open: all }],
        'a range': [8010, 8011, 8012].map((port) => ({ port, server: port - 1000, open: all })),
        'bound to 127.0.0.1': [{ port: 8020, server: 7020, open: 'lo4' }],
        'bound to ::1': [{ port: 8021, server: 7021, open: 'lo6' }],
        "bound to the host's IPv4 address": [{ port: 8022, server: 7022, open: 'tap4' }],
        "bound to the host's IPv6 address": [{ port: 8023, server: 7023, open: 'tap6' }],
        // podman leaves 0.0.0.0 out of what it passes.
        'bound to 0.0.0.0': [{ port: 8024, server: 7024, open: all }],
        'bound to ::': [{ port: 8025, server: 7025, open: 'tap6 lo6' }]
      }
    },
    {
      name: '--network pasta:-t',
      argv: [
        '--network',
        `pasta:${['-t', '-u']
          .flatMap((o) =>
            [
              ...['8001:7001', '8002', '8010-8012:7010-7012', '127.0.0.1/8020:7020', '::1/8021:7021'],
              ...[
                '%eth0/8030:7030',
                '%lo/8031:7031',
                `${net.host4}%eth0/8032:7032`,
                '127.0.0.1%eth0/8033:7033'
              ]
            ].map((spec) => `${o},${spec}`)
          )
          .join(',')}`
      ],
      rows: {
        'one, translated': [{ port: 8001, server: 7001, open: all }],
        'one, the same': [{ port: 8002, server: 8002, open: all }],
        'a range': [8010, 8011, 8012].map((port) => ({ port, server: port - 1000, open: all })),
        'bound to 127.0.0.1': [{ port: 8020, server: 7020, open: 'lo4' }],
        'bound to ::1': [{ port: 8021, server: 7021, open: 'lo6' }],
        'bound to an interface': [{ port: 8030, server: 7030, open: 'tap4 tap6' }],
        'bound to lo': [{ port: 8031, server: 7031, open: 'lo4 lo6' }],
        'bound to address and interface': [{ port: 8032, server: 7032, open: 'tap4' }],
        'bound to an address that the interface lacks': [{ port: 8033, server: 7033, open: '' }]
      }
    }
  ]
  for (const { name, argv, rows } of sets)
    describe(name, () => {
      let id: string
      before(async () => {
        id = await podman.serve(argv, [
          ...new Set(
            Object.values(rows)
              .flat()
              .map((r) => r.server)
          )
        ])
      })
      after(async () => {
        await podman.remove(id)
        await nothingLeft()
      })
      const ask = async (way: string, proto: string, port: number, size: number) => {
        const { from, to } = ways[way]!
        const command = ['python3', helper('digest.py'), proto, to, `${port}`, `${size}`]
        return JSON.parse(ok(await podman.box.w.run(command, { in: from })).stdout) as Record<string, string>
      }
      const arrives = async (way: string, proto: string, row: Row, size: number): Promise<void> => {
        const { answer, ...rest } = await ask(way, proto, row.port, size)
        assert.deepEqual(rest, { same: true }, way)
        assert.ok(answer?.startsWith(`${proto} ${row.server} `), `${way}: ${answer}`)
        assert.match(answer ?? '', ways[way]!.seen, `${way}: the source`)
      }
      for (const proto of ['tcp', 'udp'])
        for (const [what, list] of Object.entries(rows))
          test(`${proto}: ${what}`, async () => {
            for (const row of list)
              for (const way of Object.keys(ways))
                if (row.open.split(' ').includes(way)) await arrives(way, proto, row, 100)
                else assert.deepEqual(await ask(way, proto, row.port, 1), { error: 'ECONNREFUSED' }, way)
          })
      const row = { port: 8001, server: 7001, open: all }
      for (const way of Object.keys(ways)) {
        test(`tcp: 0, 1 and 20 million octets, ${way}`, async () => {
          for (const size of [0, 1, 20_000_000]) await arrives(way, 'tcp', row, size)
        })
        test(`udp: 1, 1472 and 60000 octets, ${way}`, async () => {
          for (const size of [1, 1472, 60_000]) await arrives(way, 'udp', row, size)
        })
      }
    })
})

describe('life', () => {
  const run = (argv: ReadonlyArray<string>) => podman.box.run(['podman', ...argv])
  const answers = async (port: number): Promise<void> => {
    const command = ['python3', helper('digest.py'), 'tcp', net.host4, `${port}`, '1000']
    const r = ok(await podman.box.w.run(command, { in: 'world' }))
    assert.match(r.stdout, /"same": true/)
  }
  const refuses = async (port: number): Promise<void> => {
    const command = ['python3', helper('digest.py'), 'tcp', net.host4, `${port}`, '1000']
    const r = ok(await podman.box.w.run(command, { in: 'world' }))
    assert.match(r.stdout, /ECONNREFUSED/)
  }

  for (const end of [['stop', '-t', '0'], ['kill'], ['rm', '-f', '-t', '0']])
    test(`podman ${end[0]}: pasta ends, its namespace and ports with it`, async () => {
      const id = await podman.serve(['--rm', '-p', '8101:7101'], [7101])
      await answers(8101)
      assert.notEqual(await netnsFiles(), '')
      ok(await run([...end, id]))
      await nothingLeft()
      await refuses(8101)
    })
  test('the container ends by itself: likewise', async () => {
    for (const status of [0, 7]) {
      const r = await podman.run(['-p', '8102:7102'], `exit ${status}`)
      assert.equal(r.code, status, show(r))
      await nothingLeft()
    }
  })
  test('stop, start and restart, with the same port', async () => {
    const id = await podman.serve(['-p', '8103:7103'], [7103])
    const ready = async (times: number) =>
      until('the container to be ready again', async () => {
        const log = await podman.box.sh(`podman logs ${id}`)
        return log.split('ready').length > times
      })
    ok(await run(['stop', '-t', '0', id]))
    await nothingLeft()
    ok(await run(['start', id]))
    await ready(2)
    await answers(8103)
    ok(await run(['restart', '-t', '0', id]))
    await ready(3)
    await answers(8103)
    await podman.remove(id)
    await nothingLeft()
  })
  test('pasta killed: podman removes the container all the same', async () => {
    const id = await podman.serve(['-p', '8104:7104'], [7104])
    for (const pid of podman.box.w.pidsInside().filter((p) => cmdlineOf(p).includes(`${pasta} `)))
      kill(pid, 'SIGKILL')
    await podman.remove(id)
    await nothingLeft()
    await refuses(8104)
  })
  test('six at a time, each with its port', async () => {
    const ports = [8111, 8112, 8113, 8114, 8115, 8116]
    const ids = await Promise.all(ports.map((port) => podman.serve(['-p', `${port}:7000`], [7000])))
    await Promise.all(ports.map(answers))
    assert.equal(new Set(pastas().map((line) => /--netns (\S+)/.exec(line)?.[1])).size, 6)
    await podman.remove(...ids)
    await nothingLeft()
  })
  test('podman exec and a pod share the one pasta', async () => {
    ok(
      await run([
        'pod',
        'create',
        '--infra-image',
        'box',
        '--infra-command',
        'sleep 600',
        '-p',
        '8121:7121',
        '-p',
        '8122:7122',
        'pod'
      ])
    )
    const first = await podman.serve(['--pod', 'pod'], [7121])
    await podman.serve(['--pod', 'pod'], [7122])
    await answers(8121)
    await answers(8122)
    const r = ok(await run(['exec', first, 'sh', '-ec', greet(net.world4)]))
    assert.match(r.stdout, /^ok$/m)
    assert.equal(new Set(pastas().map((line) => /--netns (\S+)/.exec(line)?.[1])).size, 1)
    ok(await run(['pod', 'rm', '-f', '-t', '0', 'pod']))
    await nothingLeft()
  })
  test('podman build: RUN has a network', async () => {
    const file = `FROM box\nRUN ${greet(net.world4)} > /got; ip -o addr >> /got; nslookup test.example >> /got\n`
    const script = `cd $(mktemp -d); cat > Containerfile <<'END'\n${file}END\npodman build -q -t built . >&2; podman run --rm --network none built cat /got; podman rmi -f built >&2`
    checks(await podman.box.sh(script), [/^ok$/m, / 198\.51\.100\.2\/24 /, /192\.0\.2\.77/])
    await nothingLeft()
  })
})

describe('what podman shows when it cannot be', () => {
  const holder = ['socat', 'TCP4-LISTEN:8200,fork', 'OPEN:/dev/null']
  before(async () => {
    podman.box.w.start(holder, { timeout: 900_000 })
    await podman.box.w.sh('until ss -ltnH | grep -q :8200; do sleep 0.05; done')
  })
  const rows: ReadonlyArray<readonly [string, string[], RegExp]> = [
    ['a port in use', ['-p', '8200:80'], /8200: Address already in use/],
    ['a port in use, bound to an address', ['-p', '127.0.0.1:8200:80'], /8200: Address already in use/],
    ['one of a range in use', ['-p', '8198-8202:80-84'], /8200: Address already in use/],
    ['a privileged port', ['-p', '80:80'], /80: Permission denied/],
    ['an address that is not here', ['-p', '192.0.2.1:8201:80'], /8201: Cannot assign requested address/],
    ['an unknown option', ['--network', 'pasta:--frob'], /unrecognized option '--frob'/],
    ['a bad value', ['--network', 'pasta:--mtu,frob'], /frob/],
    ['an interface that is not here', ['--network', 'pasta:-i,nope0'], /nope0/],
    ['contradicting options', ['--network', 'pasta:--no-tcp,-t,8201'], /./]
  ]
  for (const [name, options, expected] of rows)
    test(name, async () => {
      const r = await podman.run(options, 'echo never')
      assert.deepEqual([r.code, r.stdout], [126, ''], show(r))
      assert.match(r.stderr, /^Error: pasta failed with exit code 1:$/m)
      const said = r.stderr.split('\n').slice(1).join('\n')
      assert.match(said, expected)
      // getopt's message is followed by the usage; all others are one line (upstream's: one or two).
      if (!said.includes('unrecognized')) assert.match(said, isPeer ? /^([^\n]+\n){1,2}\n*$/ : /^[^\n]+\n+$/)
      await nothingLeft()
    })
})

describe('bridge', () => {
  test('two containers, names, the world and a published port; pasta ends with the last one', async () => {
    const run = (argv: ReadonlyArray<string>) => podman.box.run(['podman', ...argv])
    ok(await run(['network', 'create', '--ipv6', 'net1']))
    const server = await podman.serve(['--network', 'net1', '--name', 'server', '-p', '8301:7301'], [7301])
    const script = `ip -o addr; echo hi | socat -t 5 - TCP:server:7301; ${greet(net.world4)}; ${greet(net.world6)}; nslookup test.example`
    const r = ok(await podman.run(['--network', 'net1'], script))
    checks(r.stdout, [/ 10\.89\.\d+\.\d+\//, /^tcp 7301 /m, /^ok\nok$/m, /192\.0\.2\.77/])
    const line = pastas()[0] ?? ''
    const pidFile = /--pid (\S+)/.exec(line)?.[1]
    const pid = Number((await podman.box.sh(`cat ${pidFile}`)).trim())
    assert.ok(cmdlineOf(podman.box.w.outerPid(pid)).includes(pasta), line)
    const command = ['python3', helper('digest.py'), 'tcp', net.host4, '8301', '1000']
    assert.match(ok(await podman.box.w.run(command, { in: 'world' })).stdout, /"same": true/)
    await podman.remove(server)
    await nothingLeft()
    ok(await run(['network', 'rm', 'net1']))
  })
  test('podman unshare --rootless-netns', async () => {
    const r = ok(await podman.box.run(['podman', 'unshare', '--rootless-netns', 'ip', '-o', 'addr']))
    checks(r.stdout, [/eth0\s.* 198\.51\.100\.2\/24 /])
    await nothingLeft()
  })
})

describe('pasta in a container', () => {
  const inner = `${pasta} --config-net -t none -u none -T none -U none -- sh -ec 'ip -o addr; ${greet(net.world4)}; ${greet(net.world6)}; exit 5'`
  const tun = ['--device', '/dev/net/tun']
  const free = ['--security-opt', 'seccomp=unconfined']
  const rows: ReadonlyArray<readonly [string, string[]]> = [
    ['as podman confines it', tun],
    ['without seccomp', [...tun, ...free]],
    ['without seccomp and masks', [...tun, ...free, '--security-opt', 'unmask=ALL']],
    ['with CAP_SYS_ADMIN', [...tun, '--cap-add', 'SYS_ADMIN']],
    ['--privileged', ['--privileged']],
    ['--privileged, an ordinary user', ['--privileged', '--user', '1000:1000']]
  ]
  // With Node and its libraries
  const trees = ['/usr', dirname(dirname(pasta)), dirname(dirname(process.execPath))]
  const mounts = [...new Set(trees)].flatMap((tree) => ['-v', `${tree}:${tree}:ro`])
  for (const [name, options] of rows)
    test(name, async () => {
      const r = await podman.run([...mounts, ...options], inner)
      assert.equal(r.code, 5, show(r))
      checks(r.stdout, [/eth0\s+inet 198\.51\.100\.2\/24 /, /^ok\nok$/m])
      await nothingLeft()
    })
})
