// Port specifications as the command line takes them: which ports are listened on, where they lead, what is refused.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { ask, Guest, type Place, waiting, waitingPorts } from './lib/guest.js'
import { manyDescriptors, until } from './lib/proc.js'
import { isPeer, net, ok, pasta, quietPorts, type RunOptions, describe as show } from './lib/world.js'

const bed = useBed()
const oursOnly = { skip: isPeer && 'upstream does otherwise' }

// Each port takes a descriptor.
const descriptors = manyDescriptors(200_000)

const range = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i)

/** Starts with `options` and gives what is listened on then, besides what was before: `ADDRESS PORT` as ss(8) says it. */
const opened = async (
  options: ReadonlyArray<string>,
  what: { readonly in?: 'host' | 'namespace'; readonly proto?: 'tcp' | 'udp' } = {},
  o: RunOptions = {}
): Promise<string[]> => {
  const proto = what.proto ?? 'tcp'
  const before = new Set(await waiting(bed.w, 'host', proto))
  const guest = await Guest.open(bed.w, options, { command: ['sh', '-c', 'echo ready; sleep 1000'], ...o })
  let lines: string[] = []
  try {
    const place: Place = what.in === 'namespace' ? guest : 'host'
    lines = (await waiting(bed.w, place, proto)).filter((line) => place !== 'host' || !before.has(line))
    return lines
  } finally {
    await guest.stop()
    // Thousands of sockets take the kernel a while to close, and would be in the next one's way
    const ours = new Set(lines)
    await until('its sockets to be gone', async () =>
      (await waiting(bed.w, 'host', proto)).every((line) => !ours.has(line))
    )
  }
}
const any = (ports: ReadonlyArray<number>): string[] => ports.map((p) => `* ${p}`).sort()

describe('what is listened on', () => {
  const cases: ReadonlyArray<readonly [string, ReadonlyArray<number>]> = [
    ['8400', [8400]],
    ['8400,8402', [8400, 8402]],
    ['8400-8405', range(8400, 8405)],
    ['8400-8402,8410-8411', [...range(8400, 8402), 8410, 8411]],
    ['8400:80', [8400]],
    ['8400-8402:80-82', range(8400, 8402)],
    ['8400-8409,~8403-8405', [8400, 8401, 8402, ...range(8406, 8409)]],
    ['~8400,8399-8401', [8399, 8401]],
    ['8400-8405:9400-9405,~8401,~8403', [8400, 8402, 8404, 8405]]
  ]
  for (const [spec, ports] of cases) {
    test(`-t ${spec}`, async () => {
      assert.deepEqual(await opened(['-t', spec]), any(ports))
    })
  }
  test('repeated options add up', async () => {
    assert.deepEqual(
      await opened(['-t', '8400', '-t', '8402', '-t', '8404-8405']),
      any([8400, 8402, 8404, 8405])
    )
  })
  test('-u: UDP, and TCP only where it is asked for', async () => {
    assert.deepEqual(await opened(['-u', '8400-8402'], { proto: 'udp' }), any(range(8400, 8402)))
    assert.deepEqual(await opened(['-u', '8400-8402']), [])
    assert.deepEqual(await opened(['-t', '8400'], { proto: 'udp' }), [])
  })
  test('-T and -U: in the namespace, on lo', async () => {
    const lo = (ports: number[]) => ports.map((p) => `*%lo ${p}`)
    assert.deepEqual(await opened(['-T', '8400-8401', '-U', '8405'], { in: 'namespace' }), lo([8400, 8401]))
    assert.deepEqual(await opened(['-U', '8405'], { in: 'namespace', proto: 'udp' }), lo([8405]))
  })
  test('-T: low ports', async () => {
    assert.deepEqual(await opened(['-T', '80'], { in: 'namespace' }), ['*%lo 80'])
  })
  const bound: ReadonlyArray<readonly [ReadonlyArray<string>, ReadonlyArray<string>]> = [
    [['-t', `${net.host4}/8400`], [`${net.host4} 8400`]],
    [
      ['-t', '127.0.0.5/8400-8401'],
      ['127.0.0.5 8400', '127.0.0.5 8401']
    ],
    [['-t', `${net.host6}/8400`], [`[${net.host6}] 8400`]],
    [['-t', '[::1]/8400'], ['[::1] 8400']],
    [['-t', '0.0.0.0/8400'], ['0.0.0.0 8400']],
    [['-t', '::/8400'], ['[::] 8400']],
    [['-t', '%eth0/8400'], ['*%eth0 8400']],
    [['-t', `${net.host4}%eth0/8400`], [`${net.host4}%eth0 8400`]],
    [
      ['-t', '127.0.0.1/8400', '-t', `${net.host4}/8400`],
      [`127.0.0.1 8400`, `${net.host4} 8400`]
    ],
    [['-4', '-t', '8400'], ['0.0.0.0 8400']],
    [['-6', '-t', '8400'], ['[::] 8400']],
    [['-t', 'none'], []],
    [
      ['--freebind', '-t', '192.0.2.99/8400', '-t', '2001:db8:77::9/8400'],
      ['192.0.2.99 8400', '[2001:db8:77::9] 8400']
    ]
  ]
  for (const [options, sockets] of bound)
    test(options.join(' '), async () => {
      assert.deepEqual(await opened(options), [...sockets].sort())
    })
  test('--no-tcp with -u, --no-udp with -t', async () => {
    assert.deepEqual(await opened(['--no-tcp', '-u', '8400'], { proto: 'udp' }), any([8400]))
    assert.deepEqual(await opened(['--no-udp', '-t', '8400']), any([8400]))
  })
})

describe('where it leads', () => {
  const at = async (from: Place, address: string, port: number): Promise<unknown> => {
    const r = await ask(bed.w, from, ['tcp-read', address, port])
    return r.data
  }
  test('each port of a mapped range to its own, also past holes (regression-23, regression-33)', async () => {
    // peer.py: 7006 says "ok", 7009 a banner after a line, 7012 who asks.
    const guest = await Guest.open(bed.w, ['-t', '8500-8511:7001-7012,~8503', '-u', '8501-8503:7001-7003'])
    try {
      assert.equal(await at('host', '127.0.0.1', 8505), 'ok\n')
      assert.match((await at('world', net.host4, 8511)) as string, /"from"/)
      const report = await ask(bed.w, 'world', ['udp-report', net.host6, 8502, 77])
      assert.equal(report.len, 77)
      assert.deepEqual(await ask(bed.w, 'host', ['udp-sized', '127.0.0.1', 8503, 300]), {
        len: 300,
        same: true
      })
      assert.equal((await ask(bed.w, 'host', ['tcp-connect', '127.0.0.1', 8503])).error, 'ECONNREFUSED')
    } finally {
      await guest.stop()
    }
  })
  test('bound to one address: not by another one', async () => {
    const guest = await Guest.open(bed.w, ['-t', `${net.host4}/8506:7006`, '-t', '127.0.0.1/8507:7006'])
    try {
      assert.equal(await at('world', net.host4, 8506), 'ok\n')
      assert.equal((await ask(bed.w, 'host', ['tcp-connect', '127.0.0.1', 8506])).error, 'ECONNREFUSED')
      assert.equal((await ask(bed.w, 'world', ['tcp-connect', net.host6, 8506])).error, 'ECONNREFUSED')
      assert.equal(await at('host', '127.0.0.1', 8507), 'ok\n')
      assert.equal((await ask(bed.w, 'world', ['tcp-connect', net.host4, 8507])).error, 'ECONNREFUSED')
    } finally {
      await guest.stop()
    }
  })
  test('bound to an interface: not through another one', async () => {
    const guest = await Guest.open(bed.w, ['-t', '%eth0/8506:7006', '-t', '%lo/8507:7006'])
    try {
      for (const address of [net.host4, net.host6]) assert.equal(await at('world', address, 8506), 'ok\n')
      assert.equal((await ask(bed.w, 'host', ['tcp-connect', '127.0.0.1', 8506])).error, 'ECONNREFUSED')
      for (const address of ['127.0.0.1', '::1']) assert.equal(await at('host', address, 8507), 'ok\n')
      assert.equal((await ask(bed.w, 'world', ['tcp-connect', net.host4, 8507])).error, 'ECONNREFUSED')
    } finally {
      await guest.stop()
    }
  })
  test('--freebind: forwarding begins once the address is there', async () => {
    const guest = await Guest.open(
      bed.w,
      ['--freebind', '-a', net.host4, '-n', '24', '-t', '198.51.100.44/8506:7006'],
      {
        serve: [net.host4]
      }
    )
    try {
      assert.notEqual((await ask(bed.w, 'world', ['tcp-connect', '198.51.100.44', 8506, 1])).error, null)
      await bed.w.sh('ip addr add 198.51.100.44/24 dev eth0')
      await bed.w.sh('ip neigh flush dev toworld', { in: 'world' })
      assert.equal(await at('world', '198.51.100.44', 8506), 'ok\n')
    } finally {
      await bed.w.sh('ip addr del 198.51.100.44/24 dev eth0')
      await guest.stop()
    }
  })
  for (const [only, not, yes] of [
    ['-4', net.host6, net.host4],
    ['-6', net.host4, net.host6]
  ] as const)
    test(`${only}: only that IP version`, async () => {
      const guest = await Guest.open(bed.w, [only, '-t', '8506:7006', '-T', '8506:7006'], { serve: [yes] })
      try {
        assert.equal(await at('world', yes, 8506), 'ok\n')
        assert.equal(await at(guest, only === '-4' ? '127.0.0.1' : '::1', 8506), 'ok\n')
        assert.equal((await ask(bed.w, 'world', ['tcp-connect', not, 8506])).error, 'ECONNREFUSED')
      } finally {
        await guest.stop()
      }
    })
  test('a target address of its own', async () => {
    const guest = await Guest.open(bed.w, ['-t', '0.0.0.0/8506:198.51.100.66/7006'], {
      serve: [net.host4, net.host6]
    })
    try {
      await guest.sh('ip addr add 198.51.100.66/24 dev eth0')
      const server = guest.start(['python3', '-m', 'http.server', '-b', '198.51.100.66', '7006'])
      await guest.sh('until ss -ltnH src 198.51.100.66 | grep -q LISTEN; do sleep 0.02; done')
      const out = await bed.w.sh(`printf 'HEAD / HTTP/1.0\\r\\n\\r\\n' | socat -t5 - TCP:${net.host4}:8506`, {
        in: 'world'
      })
      assert.match(out, /^HTTP\/1.0 200/)
      await server.stop()
    } finally {
      await guest.stop()
    }
  })
})

describe('low ports', () => {
  test('an ordinary user is refused, and told so', async () => {
    const r = await bed.w.pasta(['-t', '80'], ['true'])
    assert.equal(r.code, 1, show(r))
    assert.match(r.stderr, /permission denied|not permitted/i)
    assert.match(r.stderr, /\b80\b/)
  })
  test('where the system allows them to everybody', async () => {
    const file = '/proc/sys/net/ipv4/ip_unprivileged_port_start'
    await bed.w.sh(`echo 80 > ${file}`)
    try {
      assert.deepEqual(await opened(['-t', '80']), any([80]))
    } finally {
      await bed.w.sh(`echo 1024 > ${file}`)
    }
  })
  test('by root', async () => {
    await bed.w.sh('ip netns add box')
    const options = ['-f', '--runas', '0', '--config-net', '-t', '80', '-u', '53', '-T', 'none', '-U', 'none']
    const proc = bed.w.start([pasta, ...options, '--netns', 'box'], { uid: 0 })
    try {
      for (const [proto, port] of [
        ['tcp', 80],
        ['udp', 53]
      ] as const)
        await until(`${proto} ${port}`, async () =>
          (await waiting(bed.w, 'host', proto)).includes(`* ${port}`)
        )
    } finally {
      await proc.stop()
      await bed.w.sh('ip netns del box')
    }
  })
})

describe('all, and exclusions only', () => {
  const isFree = async (): Promise<(p: number) => boolean> => {
    const text = await bed.w.sh('cat /proc/sys/net/ipv4/ip_local_port_range')
    const [first, last] = text.trim().split(/\s+/).map(Number)
    const taken = new Set(await waitingPorts(bed.w, 'host', 'tcp'))
    return (p) => p >= 1024 && (p < first! || p > last!) && !taken.has(p)
  }
  const ports = (lines: string[]) => lines.map((line) => Number(line.slice(2))).sort((a, b) => a - b)
  const everything = { skip: descriptors < 50_000 && `only ${descriptors} descriptors are allowed here` }
  test('all: everything but the ephemeral ports and what cannot be had', everything, async () => {
    const expected = range(1, 65535).filter(await isFree())
    assert.deepEqual(ports(await opened(['-t', 'all'])), expected)
  })
  test('exclusions only: the same but for these', async () => {
    const expected = [...range(1, 15_000), ...range(30_001, 33_000)].filter(await isFree())
    for (const spec of ['~15001-30000,~33001-65535', 'all,~15001-30000,~33001-65535'])
      assert.deepEqual(ports(await opened(['-t', spec])), expected)
    const udp = ports(await opened(['-u', '~1-30000'], { proto: 'udp' }))
    assert.deepEqual(udp.slice(0, 3), [30001, 30002, 30003])
    assert.ok(udp.includes(65535) && !udp.includes(40_000))
  })
  test('an address with all', async () => {
    const lines = await opened(['-t', '127.0.0.7/all,~1-32000'])
    assert.ok(lines.length > 700, `${lines.length}`)
    assert.ok(lines.every((line) => line.startsWith('127.0.0.7 ')))
  })
  test('nothing at all could be had: refused', async () => {
    const r = await bed.w.pasta(['-t', '~100-65535'], ['true'])
    assert.equal(r.code, 1, show(r))
  })
})

describe('refused', () => {
  /** Argument, and where in it the fault shows, if at a place. */
  const malformed: ReadonlyArray<string> = [
    '0',
    '65536',
    '80-79',
    '22:23:24',
    '22,',
    ',22',
    '',
    'x',
    '22x',
    '8000-8001:80',
    '8000-8001:80-82',
    '8000:65536',
    '65000-65001:65535-65536',
    '8000:0',
    '127.0.0.1/',
    '127.0.0.256/8000',
    '%/8000',
    'none,8000',
    '8000,none',
    '1.2.3.4%abcdefghijklmnopq/8000',
    '-5',
    '8000-',
    '~',
    '::g/80',
    '8000,8000',
    '8000-8010,8005'
  ]
  for (const option of ['-t', '-u', '-T', '-U'])
    test(`${option}: malformed specifications`, async () => {
      const results = await Promise.all(
        malformed
          .filter((spec) => option === '-t' || !spec.includes('/'))
          .map(
            async (spec) =>
              [spec, await bed.w.pasta([`${option}${spec === '' ? ',' : spec}`], ['echo', 'ran'])] as const
          )
      )
      for (const [spec, r] of results) {
        assert.equal(r.code, 1, `${option} '${spec}': ${show(r)}`)
        assert.equal(r.stdout, '', spec)
        assert.notEqual(r.stderr.trim(), '', spec)
      }
    })
  test('the message points at the character', oursOnly, async () => {
    const r = await bed.w.pasta(['-t', '8000-8010,22x,9000'], ['true'])
    assert.equal(r.code, 1)
    const lines = r.stderr.trimEnd().split('\n')
    const at = lines.findIndex((line) => /^\s*\^$/.test(line))
    assert.ok(at > 0, r.stderr)
    assert.equal(lines[at - 1]![lines[at]!.indexOf('^')], 'x', r.stderr)
  })
  const refused: ReadonlyArray<readonly [string, ReadonlyArray<string>, RegExp?]> = [
    ['in use, one address', ['-t', '127.0.0.1/7001'], /in use/i],
    ['in use, any address', ['-t', '7001'], /in use/i],
    ['in use, UDP', ['-u', '127.0.0.1/7001'], /in use/i],
    ['in use within a range', ['-t', '6990-7010'], /in use/i],
    ['an address that is not here', ['-t', '192.0.2.99/8400'], /no such address|assign/i],
    ['an interface that is not here', ['-t', '%nope/8400'], /nope|device|ENODEV/i],
    ['the same port twice', ['-t', '8400', '-t', '8400'], /8400/],
    ['overlap with any address', ['-t', '8400', '-t', '127.0.0.1/8400'], /8400/],
    ['overlap of ranges', ['-t', '8400-8410', '-t', '8405:90'], /8405/],
    ['-4 and an IPv6 address', ['-4', '-t', '::1/8400']],
    ['-6 and an IPv4 address', ['-6', '-t', '127.0.0.1/8400']],
    ['-T with an address', ['-T', '127.0.0.1/8400']],
    ['-U with an interface', ['-U', '%eth0/8400']],
    ['-t with --no-tcp', ['--no-tcp', '-t', '8400']],
    ['-u with --no-udp', ['--no-udp', '-u', '8400']],
    ['--host-lo-to-ns-lo with --no-splice', ['--host-lo-to-ns-lo', '--no-splice', '-t', '8400']]
  ]
  for (const [name, options, message] of refused)
    test(name, async () => {
      const r = await bed.w.pasta(['--config-net', ...options], ['echo', 'ran'])
      assert.equal(r.code, 1, show(r))
      assert.equal(r.stdout, '')
      assert.notEqual(r.stderr.trim(), '')
      if (message !== undefined && !isPeer) assert.match(r.stderr, message)
    })
  test('nothing of a refused run stays', async () => {
    await bed.w.pasta(['-t', '8400-8410,6990-7010'], ['true'])
    assert.deepEqual(
      (await waitingPorts(bed.w, 'host', 'tcp')).filter((p) => p >= 8400 && p <= 8410),
      []
    )
  })
})

describe('few descriptors allowed', () => {
  const limited = (hard: number, options: ReadonlyArray<string>) =>
    bed.w.run([
      'prlimit',
      `--nofile=64:${hard}`,
      pasta,
      ...quietPorts.slice(2),
      ...options,
      '--',
      'echo',
      'ran'
    ])
  test('the soft limit is raised', async () => {
    assert.equal(ok(await limited(4096, ['-t', '8400-9400'])).stdout, 'ran\n')
  })
  test('what is named comes before what can be had of all', async () => {
    const options = ['-t', 'all', '-u', '8400', '-T', 'none', '-U', 'none']
    const script = ['prlimit', '--nofile=64:2000', pasta, '-q', ...options, '--', 'echo', 'ran']
    assert.equal(ok(await bed.w.run(script)).stdout, 'ran\n')
  })
  test('the hard limit is explained', async () => {
    const r = await limited(300, ['-t', '8400-9400'])
    assert.equal(r.code, 1, show(r))
    assert.match(r.stderr, /too many open files|EMFILE|RLIMIT_NOFILE/i)
    assert.ok(r.stderr.split('\n').length < 20, show(r))
  })
})

describe('a host without IPv6 in its kernel (regression-80, regression-88, regression-90)', () => {
  // socket(AF_INET6) fails with EAFNOSUPPORT, by a seccomp(2) filter.
  const without6 = (options: ReadonlyArray<string>, command: ReadonlyArray<string>) =>
    bed.w.start(['python3', '/mnt/repo/test/lib/without-ipv6.py', pasta, ...options, '--', ...command])
  test('dual-stack listeners become IPv4 ones, both ways', async () => {
    const ports = ['-t', '8600:7006', '-u', '8601:7001', '-T', '8600:7006', '-U', '8601:7001']
    const proc = without6(
      ['--config-net', ...ports],
      ['sh', '-c', `python3 /mnt/repo/test/lib/peer.py ${net.host4}`]
    )
    try {
      await proc.sees(/ready/)
      assert.deepEqual(
        (await waiting(bed.w, 'host', 'tcp')).filter((l) => / 860/.test(l)),
        ['0.0.0.0 8600']
      )
      for (const [from, to] of [
        ['host', '127.0.0.1'],
        ['world', net.host4]
      ] as const) {
        assert.equal((await ask(bed.w, from, ['tcp-read', to, 8600])).data, 'ok\n')
        assert.deepEqual(await ask(bed.w, from, ['udp-echo', to, 8601, 10]), { failed: {} })
      }
    } finally {
      await proc.stop()
    }
  })
})
