// Whose rights are used for what: --runas, start as root, file capabilities; and what the launcher keeps.
import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { compiled } from './lib/cache.js'
import { passt } from './lib/passt.js'
import { cmdlineOf, parents, statusField, until } from './lib/proc.js'
import { isPeer, ok, pasta, quietPorts, type RunOptions, describe as show, World } from './lib/world.js'

const oursOnly = { skip: isPeer && 'upstream as root becomes nobody and then fails, or has one process' }
let w: World
/** Users and groups that passwd(5) and group(5) do not have, from another source (nsswitch.conf(5)). */
const otherSource = `
mkdir -p /mnt/w/extrausers
echo 'faraway:x:1234:1235::/nonexistent:/bin/sh' > /mnt/w/extrausers/passwd
echo "farafield:x:2345:
many:x:3456:$(seq -s, -f member-with-a-long-name-%g 3000)" > /mnt/w/extrausers/group
sed -E 's/^(passwd|group):.*/\\1: files extrausers/' /etc/nsswitch.conf > /mnt/w/nsswitch.conf
mount --bind /mnt/w/nsswitch.conf /etc/nsswitch.conf
mkdir -p /var/lib/extrausers
mount --bind /mnt/w/extrausers /var/lib/extrausers
`
before(async () => {
  w = await World.open({ hostSetup: otherSource })
})
after(() => w?.close())

const root = { uid: 0 } as const
const isEngine = (pid: number): boolean => /engine\.cjs/.test(cmdlineOf(pid))
const serving = async <A>(
  argv: ReadonlyArray<string>,
  o: RunOptions,
  use: (engine: number, launcher: number) => Promise<A>
): Promise<A> => {
  const proc = w.start(argv, o)
  try {
    const sealed = (pid: number) => isEngine(pid) && statusField(pid, 'Seccomp') === '2'
    const engine = await until('the engine', () => w.pidsInside().find(sealed)).catch((e) => {
      throw new Error(`${e}: ${proc.stderr}`)
    })
    const launcher = parents().get(engine)!
    await until('the launcher', () => statusField(launcher, 'NoNewPrivs') === '1')
    return await use(engine, launcher)
  } finally {
    await proc.stop()
    await until('the end', () => !w.pidsInside().some(isEngine))
  }
}
const ids = (pid: number): string =>
  `${statusField(pid, 'Uid')!.split('\t')[0]}:${statusField(pid, 'Gid')!.split('\t')[0]} ${statusField(pid, 'Groups')!.trim()}`

describe('--runas as root', oursOnly, () => {
  const forms = [
    ['1000', '1000:1000 '],
    ['0x3e8', '1000:1000 '],
    ['1000:100', '1000:100 '],
    ['daemon', '1:1 '],
    ['nobody', '65534:65534 '],
    ['daemon:users', '1:100 '],
    ['daemon:7', '1:7 '],
    ['faraway', '1234:1235 '],
    ['faraway:farafield', '1234:2345 '],
    ['faraway:many', '1234:3456 '],
    ['7:farafield', '7:2345 '],
    ['1000:users', '1000:100 ']
  ] as const
  for (const [form, expected] of forms)
    test(`${form}: the engine, and passt's launcher`, () =>
      serving(
        [passt, '-f', '-s', '/mnt/w/runas.socket', ...quietPorts.slice(0, 4), '--runas', form],
        root,
        async (engine, launcher) => {
          assert.deepEqual([ids(engine), ids(launcher)], [expected, expected])
        }
      ))
  test('the command is that user, where /dev/net/tun is for root alone too', async () => {
    for (const tightTun of [false, true]) {
      const command = [
        'sh',
        '-ec',
        'touch /mnt/w/made; cat /proc/self/uid_map /proc/self/gid_map; ip -o link show dev eth0'
      ]
      const r = await w.run(
        [pasta, ...quietPorts, '--config-net', '--runas', '1000:1000', '--', ...command],
        { ...root, tightTun }
      )
      assert.match(ok(r).stdout.replaceAll(/ +/g, ' '), /^ 0 1000 1\n 0 1000 1\n.*eth0/)
      const made = join(w.dir, 'made')
      assert.deepEqual([statSync(made).uid, statSync(made).gid], [1000, 1000])
    }
  })
  test('the command is a user whom /etc/passwd does not have', async () => {
    const argv = [
      pasta,
      ...quietPorts,
      '--runas',
      'faraway',
      '--',
      'cat',
      '/proc/self/uid_map',
      '/proc/self/gid_map'
    ]
    assert.match(ok(await w.run(argv, root)).stdout.replaceAll(/ +/g, ' '), /^ 0 1234 1\n 0 1235 1\n/)
  })
  /** Runs `argv` where the source of names is a pipe that nobody writes to before it is read; `asked`: was it read? */
  const withSource = async (then: string, argv: ReadonlyArray<string>, o: RunOptions) => {
    // setpriv(1) looks names up itself
    const become =
      'import os,sys; os.setgroups([]); os.setgid(1000); os.setuid(1000); os.execv(sys.argv[1], sys.argv[1:])'
    const user = o.uid === 0 ? '' : `python3 -IS -c '${become}'`
    const lines = `rm -f /mnt/w/asked; d=$(mktemp -d); mkfifo $d/passwd; : > $d/group; chmod 755 $d; chmod 644 $d/passwd
      mount --bind $d /var/lib/extrausers
      (exec > $d/passwd; : > /mnt/w/asked; ${then}) & ${user} "$@"; s=$?; kill $! 2>/dev/null; test ! -e /mnt/w/asked || echo asked; exit $s`
    return w.run(['unshare', '--mount', 'sh', '-c', lines, '-', ...argv], root)
  }
  const start = (...options: string[]): string[] => [pasta, ...quietPorts, ...options, '--', 'echo', 'ran']
  test('a source of names that does not answer: the name service is named', async () => {
    const r = await withSource('exec sleep 1000', start('--runas', 'faraway'), root)
    assert.equal(r.code, 1, show(r))
    assert.match(
      r.stderr,
      /Cannot look up faraway: no answer from the name service within 10 s \(nsswitch.conf/
    )
  })
  test('no source of names is asked for an ordinary user, nor for a number', async () => {
    const asked = await withSource(':', start('--runas', 'nosuch'), root)
    assert.match(asked.stdout, /^asked$/m, show(asked))
    for (const [argv, o] of [
      [start(), { uid: 1000 }],
      [start('--runas', '1000:1000'), root]
    ] as const)
      assert.equal(ok(await withSource(':', argv, o)).stdout, 'ran\n', argv.join(' '))
  })
  test('what a source of names writes to its standard streams goes nowhere', async () => {
    const env = { LD_PRELOAD: compiled('test/lib/chatty.cc', ['-shared', '-fPIC']) }
    const r = await w.run(start('--runas', 'nosuch'), { ...root, env })
    assert.deepEqual(
      [r.stdout, /chatter/.test(r.stderr), /no such user: nosuch/.test(r.stderr)],
      ['', false, true],
      show(r)
    )
  })
  for (const [bad, message] of [
    ['root', /root/],
    ['nosuch', /no such user: nosuch/],
    ['1000:nosuch', /no such group: nosuch/],
    ['1000:', /--runas|runas/],
    ['4294967294', /not an id/]
  ] as const)
    test(`${bad} is an error`, async () => {
      const r = await w.run([pasta, ...quietPorts, '--runas', bad, '--', 'true'], root)
      assert.equal(r.code, 1, show(r))
      assert.match(r.stderr, message)
    })
  test('files are made before, by root, with mode 0600', () => {
    const files = [
      '-P',
      '/mnt/w/own.pid',
      '-l',
      '/mnt/w/own.log',
      '--pcap',
      '/mnt/w/own.pcap',
      '-s',
      '/mnt/w/own.socket'
    ]
    return serving([passt, '-f', ...files, '--runas', '1000'], root, async () => {
      for (const name of ['own.pid', 'own.log', 'own.pcap']) {
        const s = statSync(join(w.dir, name))
        assert.deepEqual([s.uid, s.mode & 0o777], [0, 0o600], name)
      }
      assert.equal(statSync(join(w.dir, 'own.socket')).uid, 0)
    })
  })
})

describe('--runas without privilege', oursOnly, () => {
  for (const argv of [
    [pasta, ...quietPorts, '--runas', '1001', '--', 'true'],
    [passt, '-f', '--runas', '0']
  ])
    test(`${argv.at(-1)}: an error`, async () => {
      const r = await w.run(argv)
      assert.equal(r.code, 1, show(r))
      assert.match(r.stderr, /only root may become somebody else/)
    })
  test('as oneself: nothing to do', async () => {
    ok(await w.run([pasta, ...quietPorts, '--config-net', '--runas', '1000', '--', 'true']))
  })
})

describe('started as root without --runas', oursOnly, () => {
  const NOBODY = '65534:65534 '
  /** What only root of the host may: read a file, write a setting (with what it has), enter a directory. */
  const attempts = [
    'id -u; cat /proc/self/uid_map /proc/self/gid_map; cd /mnt/w/roots || echo no directory',
    'head -c 1 /etc/shadow > /dev/null && echo shadow',
    'v=$(cat /proc/sys/kernel/core_pattern); (echo "$v" > /proc/sys/kernel/core_pattern) && echo setting',
    'touch /mnt/w/by-command; ip -o link show dev eth0 | grep -c eth0'
  ].join('\n')
  const tried = async (options: ReadonlyArray<string>, o: RunOptions = {}) => {
    await w.sh('mkdir -p -m 700 /mnt/w/roots; rm -f /mnt/w/by-command')
    const argv = [pasta, ...quietPorts, '--config-net', ...options, '--', 'sh', '-c', attempts]
    const r = ok(await w.run(argv, { ...root, ...o }))
    const made = statSync(join(w.dir, 'by-command'))
    return { r, lines: r.stdout.replaceAll(/ +/g, ' ').trim().split('\n'), owner: [made.uid, made.gid] }
  }
  for (const o of [{}, { tightTun: true }])
    test(`the command is root inside and nobody outside, and is told so once ${JSON.stringify(o)}`, async () => {
      const { r, lines, owner } = await tried([], o)
      assert.deepEqual(lines, ['0', ' 0 65534 1', ' 0 65534 1', 'no directory', '1'])
      assert.deepEqual(owner, [65534, 65534])
      assert.equal(r.stderr.match(/^warning: started as root: .*nobody.*--runas 0/gm)?.length, 1, r.stderr)
    })
  test('no other process of nobody may enter its namespace', () =>
    serving([pasta, '--config-net', '--', 'sleep', '1000'], root, async () => {
      const command = await until('the command', () =>
        w.pidsInside().find((p) => cmdlineOf(p) === 'sleep 1000')
      )
      const inner = statusField(command, 'NSpid')!.split('\t')[1]!
      const r = await w.run(['nsenter', '--user', '--preserve-credentials', '-t', inner, 'true'], {
        uid: 65534
      })
      assert.match(r.stderr, /nsenter: .*Permission denied|Operation not permitted/, show(r))
    }))
  test('--runas 0: root of the host, as it says, without a word', async () => {
    const { r, lines, owner } = await tried(['--runas', '0'])
    assert.deepEqual(lines, ['0', ' 0 0 1', ' 0 0 1', 'shadow', 'setting', '1'])
    assert.deepEqual([owner, r.stderr], [[0, 0], ''])
  })
  test('--netns-only: no user namespace, so the command is who started it', async () => {
    const { lines, owner } = await tried(['--netns-only'])
    assert.deepEqual([lines[0], owner], ['0', [0, 0]])
  })
  test('a program that nobody may not reach: an error of the command', async () => {
    await w.sh('mkdir -p -m 700 /mnt/w/roots; cp /bin/true /mnt/w/roots/true')
    const r = await w.run([pasta, ...quietPorts, '--', '/mnt/w/roots/true'], root)
    assert.equal(r.code, 1, show(r))
    assert.match(r.stderr, /started as root.*\n.*Cannot run \/mnt\/w\/roots\/true: Permission denied/)
  })
  test('engine and launcher: passt, and pasta with a command', async () => {
    for (const argv of [
      [passt, '-f', '-s', '/mnt/w/nobody.socket'],
      [pasta, '--config-net', '--', 'sleep', '1000'],
      [pasta, '--config-net', '--netns-only', '--', 'sleep', '1000']
    ])
      await serving(argv, root, async (engine, launcher) => {
        assert.deepEqual([ids(engine), ids(launcher)], [NOBODY, NOBODY], argv.join(' '))
      })
  })
  test('engine and launcher: pasta that joins a namespace', async () => {
    await w.sh('ip netns add joined')
    try {
      await serving([pasta, '-f', '--config-net', '--netns', 'joined'], root, async (engine, launcher) => {
        assert.deepEqual([ids(engine), ids(launcher)], [NOBODY, NOBODY])
      })
    } finally {
      await w.sh('ip netns del joined')
    }
  })
})

describe('capabilities of the launcher, once it serves', oursOnly, () => {
  const caps = (pid: number) =>
    ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'].map((set) => Number(`0x${statusField(pid, set)}`))
  const BIND = 1 << 10
  const PTRACE = 1 << 19
  const KILL = 1 << 5
  /** What follows the host. */
  const ADMIN = 1 << 12
  for (const o of [{ uid: 1000 }, root]) {
    test(`passt, uid ${o.uid}: none`, () =>
      serving([passt, '-f', '-s', `/mnt/w/caps${o.uid}.socket`], o, async (_, launcher) => {
        assert.deepEqual(caps(launcher), [0, 0, 0, 0])
      }))
    test(`pasta with a command, uid ${o.uid}: low ports, and a look at the command`, () =>
      serving([pasta, '--config-net', '--', 'sleep', '1000'], o, async (_, launcher) => {
        const kept = BIND | PTRACE | ADMIN
        assert.deepEqual(caps(launcher), [0, kept, kept, 0])
      }))
    test(`the command has all, uid ${o.uid}, and may use programs that give more`, async () => {
      const r = await w.run(
        [pasta, ...quietPorts, '--', 'grep', '-E', 'CapEff|NoNewPrivs', '/proc/self/status'],
        o
      )
      assert.match(ok(r).stdout, /CapEff:\t0+1?[37]?f{9,}\nNoNewPrivs:\t0/)
    })
  }
  test('pasta --netns-only: to signal a command that changes its user, too', () =>
    serving([pasta, '--config-net', '--netns-only', '--', 'sleep', '1000'], root, async (_, launcher) => {
      const kept = BIND | PTRACE | KILL | ADMIN
      assert.deepEqual(caps(launcher), [0, kept, kept, 0])
    }))
  test('pasta that joins a namespace: low ports', async () => {
    await w.sh('ip netns add joined')
    try {
      await serving([pasta, '-f', '--config-net', '--netns', 'joined'], root, async (_, launcher) => {
        assert.deepEqual(caps(launcher), [0, BIND | ADMIN, BIND | ADMIN, 0])
      })
    } finally {
      await w.sh('ip netns del joined')
    }
  })
})

describe('ports below 1024', oursOnly, () => {
  const listening = async (port: number): Promise<boolean> =>
    (await w.sh(`ss -Htln sport = :${port}`)).trim() !== ''
  test('as root', () =>
    serving([pasta, '-t', '81', '--', 'sleep', '1000'], root, async () => {
      assert.ok(await listening(81))
    }))
  test('as an ordinary user: an error that says why', async () => {
    const r = await w.run([pasta, ...quietPorts, '-t', '81', '--', 'true'])
    assert.equal(r.code, 1, show(r))
    assert.match(r.stderr, /81.*(permission|EACCES|privilege|denied)/i)
  })
  for (const name of ['pasta', 'passt'])
    test(`setcap cap_net_bind_service=+ep ${name}, as an ordinary user`, async () => {
      // A file system that stores capabilities, in which the launcher has its bundle and addon beside it as always
      await w.sh(`mkdir -p /run/inst/bin; ln -sfn /mnt/repo/dist /run/inst/dist; ln -sfn /mnt/repo/build /run/inst/build
        cp /mnt/repo/bin/${name} /run/inst/bin/; setcap cap_net_bind_service=+ep /run/inst/bin/${name}`)
      const program = `/run/inst/bin/${name}`
      const argv =
        name === 'pasta'
          ? [program, '--config-net', '-t', '82', '--', 'sleep', '1000']
          : [program, '-f', '-t', '82', '-s', '/mnt/w/setcap.socket']
      await serving(argv, {}, async (engine, launcher) => {
        assert.ok(await listening(82))
        for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'])
          assert.equal(Number(`0x${statusField(engine, set)}`), 0, set)
        assert.equal(statusField(engine, 'NoNewPrivs'), '1')
        if (name === 'passt') assert.equal(Number(`0x${statusField(launcher, 'CapPrm')}`), 0)
      })
    })
})
