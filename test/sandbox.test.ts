// The engine once it serves, looked at from outside, and tried from inside: what it may still do.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync
} from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { cacheInside, compiled } from './lib/cache.js'
import { passt } from './lib/passt.js'
import { cmdlineOf, kill, type Proc, statusField, until } from './lib/proc.js'
import { inOwnNamespaces, isPeer, pasta, type RunOptions, describe as show, World } from './lib/world.js'

const oursOnly = { skip: isPeer && 'upstream has no engine apart' }
const { EPERM } = constants.errno
let w: World
before(async () => {
  w = await World.open()
  compiled('test/lib/inject.cc', ['-shared', '-fPIC'])
})
after(() => w?.close())

const lines = (pid: number, file: string): string => readFileSync(`/proc/${pid}/${file}`, 'utf8')
const isEngine = (pid: number): boolean => /engine\.cjs/.test(cmdlineOf(pid))

/** Does this kernel have Landlock, and rules for ports in it (version 4)? */
const landlock = (): boolean => {
  const ask = 'import ctypes; print(ctypes.CDLL(None).syscall(444, 0, 0, 1))'
  return Number(spawnSync('python3', ['-c', ask], { encoding: 'utf8' }).stdout) >= 4
}

/** `use` with the engine of a pasta that serves a sleeping command. */
const serving = async (
  options: ReadonlyArray<string>,
  o: RunOptions,
  use: (engine: number, proc: Proc) => Promise<void>
): Promise<void> => {
  const proc = w.startPasta(options, ['sh', '-c', 'echo up; sleep 1000'], o)
  try {
    await proc.sees(/up/)
    const engine = w.pidsInside().find(isEngine)
    assert.ok(engine !== undefined)
    await until('the filter', () => statusField(engine, 'Seccomp') === '2')
    await use(engine, proc)
  } finally {
    await proc.stop()
    await until('the end', () => !w.pidsInside().some(isEngine))
  }
}

const users = [
  { who: 'an ordinary user', o: { uid: 1000 }, uid: 1000 },
  { who: 'root', o: { uid: 0 }, uid: 65534 },
  { who: 'root where /dev/net/tun is for root alone', o: { uid: 0, tightTun: true }, uid: 65534 }
] as const

for (const { who, o, uid } of users)
  describe(`started by ${who}`, oursOnly, () => {
    test('every thread: no capability, no way to new ones, filtered', () =>
      serving(['--config-net'], o, async (engine) => {
        const threads = readdirSync(`/proc/${engine}/task`)
        assert.ok(threads.length > 1)
        for (const thread of threads) {
          const text = lines(engine, `task/${thread}/status`)
          const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(text)?.[1]
          for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'])
            assert.equal(field(set), '0'.repeat(16), `${thread}: ${set}`)
          // only who holds CAP_SETPCAP can empty the bounding set; for the others it is out of reach
          if (o.uid === 0) assert.equal(field('CapBnd'), '0'.repeat(16), `${thread}: CapBnd`)
          assert.deepEqual([field('NoNewPrivs'), field('Seccomp')], ['1', '2'], thread)
          assert.equal(field('Uid'), Array(4).fill(uid).join('\t'), thread)
          assert.equal(field('Gid'), Array(4).fill(uid).join('\t'), thread)
          assert.equal(field('Groups')?.trim() ?? '', '', thread)
        }
      }))
    for (const options of [['--config-net'], ['--config-net', '--chroot-fallback']])
      test(`${options.join(' ')}: every thread has an empty root directory, and is in it`, () =>
        serving(options, o, async (engine, proc) => {
          for (const thread of readdirSync(`/proc/${engine}/task`))
            for (const link of ['root', 'cwd'])
              assert.deepEqual(readdirSync(`/proc/${engine}/task/${thread}/${link}`), [], link)
          const mounts = lines(engine, 'mountinfo').trim().split('\n')
          assert.equal(mounts.length, 1, mounts.join('\n'))
          assert.match(mounts[0]!, / \/ \/ ro,nosuid,nodev,noexec.* - tmpfs /)
          // of an empty root that was not to be had
          assert.match(proc.stderr, o.uid === 0 ? /^warning: started as root: .*\n$/ : /^$/)
        }))
    test('nothing shows in the mounts of the host', () =>
      serving(['--config-net'], o, async () => {
        assert.equal(await w.sh('grep -c " passt " /proc/1/mountinfo || true'), '0\n')
      }))
    test('no process stays beside launcher, engine and command', () =>
      serving(['--config-net'], o, async () => {
        // launcher, engine, resolver's watcher, shell and its sleep; for root a guard as well (native/launcher/guard.h)
        await until('the command', () => w.processes().some((p) => /^\d+ sleep 1000$/.test(p)))
        await until('them alone', () => w.processes().length === (o.uid === 0 ? 6 : 5))
      }))
  })

describe('every process of a session, once it serves', oursOnly, () => {
  const BIND = 1 << 10
  const PTRACE = 1 << 19
  const KILL = 1 << 5
  /** Addresses and routes in the namespace follow the host's. */
  const ADMIN = 1 << 12
  const READ = 1 << 2
  const sleeping = ['sleep', '1000']
  /** What is started, by whom, and the capabilities of its processes in ascending order: engine, resolver's watcher, guards, launcher. */
  const sessions: ReadonlyArray<readonly [ReadonlyArray<string>, number, ReadonlyArray<number>]> = [
    [[pasta, '--config-net', '--', ...sleeping], 1000, [0, 0, BIND | PTRACE | ADMIN]],
    [[pasta, '--config-net', '--', ...sleeping], 0, [0, 0, KILL, BIND | PTRACE | ADMIN]],
    [
      [pasta, '--config-net', '--api', '/mnt/w/every.api', '--', ...sleeping],
      1000,
      [0, 0, 0, BIND | PTRACE | ADMIN]
    ],
    [
      [pasta, '--config-net', '--api', '/mnt/w/every-root.api', '--', ...sleeping],
      0,
      [0, 0, 0, KILL, BIND | PTRACE | ADMIN]
    ],
    [[pasta, '--config-net', '--runas', '1001', '--', ...sleeping], 0, [0, 0, KILL, BIND | PTRACE | ADMIN]],
    [
      [pasta, '--config-net', '--netns-only', '--', ...sleeping],
      0,
      [0, 0, KILL, KILL, BIND | PTRACE | KILL | ADMIN]
    ],
    [[pasta, '-f', '--config-net', '--netns', 'every'], 0, [0, 0, KILL, BIND | ADMIN]],
    [[pasta, '--config-net', '--netns', 'every'], 0, [0, 0, KILL, BIND | ADMIN]],
    [[pasta, '-f', '--config-net', '--netns', '/mnt/w/every'], 0, [0, 0, KILL, BIND | READ | ADMIN]],
    [[passt, '-f', '-s', '/mnt/w/every.socket'], 1000, [0, 0, 0]],
    [[passt, '-f', '-s', '/mnt/w/every-root.socket'], 0, [0, 0, 0]],
    [[passt, '-s', '/mnt/w/every.socket'], 1000, [0, 0, 0]],
    [[pasta, '--config-net', '--no-follow', '--', ...sleeping], 1000, [0, BIND | PTRACE]]
  ]
  before(() => w.sh('ip netns add every; ln -sfn /run/netns/every /mnt/w/every'))
  const ours = () => w.pidsInside().filter((pid) => !/^(sleep|nsenter|setpriv)/.test(cmdlineOf(pid)))
  const capabilities = (pid: number) => Number(`0x${statusField(pid, 'CapPrm')}`)
  for (const [argv, uid, expected] of sessions)
    test(`uid ${uid}: ${argv.map((a) => a.replace(/.*\//, '')).join(' ')}`, async () => {
      const proc = w.start(argv, { uid })
      try {
        const all = await until('all of them to be filtered', () => {
          const pids = ours()
          const sealed = pids.filter((pid) => statusField(pid, 'Seccomp') === '2')
          // these have one filter from their start on
          const node = pids.filter((pid) => /\.cjs/.test(cmdlineOf(pid)))
          const serves = node.some(isEngine) && node.every((p) => statusField(p, 'Seccomp_filters') === '2')
          return serves && pids.length === expected.length && sealed.length === pids.length && pids
        }).catch((e) => {
          throw new Error(`${e}: ${w.processes().join('; ')}; ${proc.stderr}`)
        })
        assert.deepEqual(
          all.map(capabilities).sort((a, b) => a - b),
          expected
        )
        for (const pid of all) {
          const what = cmdlineOf(pid)
          assert.equal(statusField(pid, 'NoNewPrivs'), '1', what)
          for (const set of ['CapInh', 'CapAmb']) assert.equal(Number(`0x${statusField(pid, set)}`), 0, what)
          assert.equal(statusField(pid, 'CapEff'), statusField(pid, 'CapPrm'), what)
          // not dumpable: it is root's, whoever it is itself (proc(5)), so that who is the same user reads and changes nothing
          assert.equal(statSync(`/proc/${pid}/environ`).uid, 0, what)
          const inner = statusField(pid, 'NSpid')!.split('\t')[1]
          const who = Number(statusField(pid, 'Uid')!.split('\t')[0])
          if (who === 0) continue
          const r = await w.run(['cat', `/proc/${inner}/environ`], { uid: who })
          assert.match(r.stderr, /Permission denied/, what)
        }
      } finally {
        await proc.stop()
        for (const pid of ours()) kill(pid, 'SIGKILL')
        await until('the end', () => ours().length === 0)
      }
    })
})

describe("SIGUSR1, which starts Node's inspector", oursOnly, () => {
  test('to the engine, from its first moment on: nothing', async () => {
    const proc = w.startPasta(['--config-net'], ['sh', '-c', 'echo up; sleep 1000'])
    try {
      let sent = 0
      const engine = await until('the command, behind an engine that serves', () => {
        const pid = w.pidsInside().find(isEngine)
        for (const end = Date.now() + 5; pid !== undefined && Date.now() < end; sent++) kill(pid, 'SIGUSR1')
        return /up/.test(proc.stdout) && pid
      })
      for (let i = 0; i < 10; i++) kill(engine, 'SIGUSR1')
      assert.ok(sent > 10, `${sent}`)
      const handled = BigInt(`0x${statusField(engine, 'SigCgt')}`)
      assert.equal((handled >> BigInt(constants.signals.SIGUSR1 - 1)) & 1n, 0n)
      assert.equal((await w.sh('ss -Htln sport = :9229')).trim(), '')
      assert.equal(proc.stderr, '')
      assert.ok(proc.running)
    } finally {
      await proc.stop()
    }
  })
})

describe('where there are no more user namespaces', oursOnly, () => {
  /** argv that makes a user namespace in which no others can be made, and runs `command` there, as its root or user 1000. */
  const nested = (command: ReadonlyArray<string>): string[] => [
    ...inOwnNamespaces('ip link set lo up; echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'),
    '-',
    ...command
  ]
  test('root in one, --netns-only: an empty root all the same', async () => {
    const argv = [pasta, '--config-net', '--netns-only', '--', 'sh', '-c', 'echo up; sleep 1000']
    const proc = w.start(nested(argv))
    try {
      await proc.sees(/up/)
      const engine = w.pidsInside().find(isEngine)!
      await until('the filter', () => statusField(engine, 'Seccomp') === '2')
      assert.deepEqual(readdirSync(`/proc/${engine}/root`), [])
      assert.doesNotMatch(proc.stderr, /empty root/)
    } finally {
      await proc.stop()
    }
  })
  test('passt without capabilities goes on with the root that there is, and says so once', async () => {
    const powerless = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--']
    const proc = w.start(nested([...powerless, passt, '-f', '-s', '/mnt/w/nested.socket']))
    try {
      await until('readiness', () => existsSync(join(w.dir, 'nested.socket')))
      const engine = await until('the engine', () => w.pidsInside().find(isEngine))
      await until('the filter', () => statusField(engine, 'Seccomp') === '2')
      await proc.sees(/no empty root directory/, 'stderr')
      assert.equal(
        proc.stderr.match(/no empty root directory: Cannot create a user namespace: /g)?.length,
        1,
        proc.stderr
      )
      assert.equal(statusField(engine, 'NoNewPrivs'), '1')
    } finally {
      await proc.stop()
    }
  })
})

describe('descriptors of the engine', oursOnly, () => {
  /** Which family a socket of `pid` is of, by its inode. */
  const family = (pid: number, link: string): string => {
    const inode = /^socket:\[(\d+)\]$/.exec(link)?.[1]
    if (inode === undefined) return link
    const has = (file: string) => new RegExp(`\\b${inode}\\b`).test(lines(pid, `net/${file}`))
    return ['unix', 'netlink', 'packet', 'tcp', 'tcp6', 'udp', 'udp6'].find(has) ?? 'socket'
  }
  /** By kind; one word each. */
  const kinds = (pid: number): ReadonlyArray<string> =>
    readdirSync(`/proc/${pid}/fd`)
      .filter((fd) => Number(fd) > 2)
      .map((fd) => family(pid, readlinkSync(`/proc/${pid}/fd/${fd}`)).replace(/:\[.*/, ''))
      // libuv's own: loops, and what wakes them
      .filter((to) => !/^anon_inode|^pipe$/.test(to))
      .map((to) => to.replace(/^\/proc\/\d+/, '/proc'))
      .sort()
  const tables = ['tcp', 'tcp6', 'udp', 'udp6'].map((f) => `/proc/net/${f}`)
  test('the tap, the way to the launcher, and word of neighbours from the kernel', () =>
    serving(['--config-net', '--no-icmp', '--no-follow'], {}, async (engine) => {
      assert.deepEqual(kinds(engine), ['/dev/net/tun', 'netlink', 'unix'])
    }))
  test("what follows the host has a bell, tables of the kernel's, and word of resolv.conf beside", () =>
    serving(['--config-net', '--no-icmp'], {}, async (engine) => {
      const netlink = ['netlink', 'netlink', 'netlink']
      assert.deepEqual(kinds(engine), ['/dev/net/tun', ...netlink, 'unix', 'unix'])
    }))
  test('with -t auto -T auto: tables of sockets, here and in the namespace', () =>
    serving(['--config-net', '--no-icmp', '-t', 'auto', '-T', 'auto'], {}, async (engine) => {
      const files = kinds(engine).filter((k) => k.startsWith('/'))
      assert.deepEqual(files, ['/dev/net/tun', ...[...tables, ...tables].sort()])
    }))
  for (const [option, what] of [
    ['--pcap', 'the capture'],
    ['--record', 'the record']
  ] as const)
    test(`with ${option}: ${what}`, () =>
      serving(['--config-net', '--no-icmp', option, '/mnt/w/cap'], {}, async (engine) => {
        const rest = kinds(engine).filter((k) => k.startsWith('/') && k !== '/dev/net/tun')
        assert.equal(rest.length, 1)
        assert.match(rest[0]!, /\/cap$/)
      }))
})

describe("an intruder in the engine, and in the API's process", oursOnly, () => {
  let number = 0
  /** What came of it: an errno, or the end. */
  const attempt = async (
    what: string,
    options: ReadonlyArray<string> = [],
    where: 'engine' | 'api' = 'engine'
  ): Promise<number | 'killed'> => {
    const file = `injected-${++number}`
    // Of our environment nothing would reach it
    const variables = `LD_PRELOAD=${cacheInside}/inject INJECT=${what} INJECT_TO=/mnt/w/${file}`
    const inside = `case "$*" in */${where}.cjs*) export ${variables};; esac`
    writeFileSync(join(w.dir, 'node'), `#!/bin/sh\n${inside}\nexec '${process.execPath}' "$@"\n`)
    chmodSync(join(w.dir, 'node'), 0o755)
    const env = { PASST_NODE: '/mnt/w/node' }
    let outcome: number | 'killed' | undefined
    await serving(['--config-net', ...options], { env }, async (_, proc) => {
      const pid = await until('it is sealed', () => {
        const one = w.pidsInside().find((p) => cmdlineOf(p).includes(`/${where}.cjs`))
        return one !== undefined && statusField(one, 'Seccomp_filters') === '2' && one
      })
      kill(pid, 64 as unknown as NodeJS.Signals)
      const report = join(w.dir, file)
      assert.ok(existsSync(report))
      await until('an outcome', () => readFileSync(report, 'utf8') !== '' || !existsSync(`/proc/${pid}`))
      const text = readFileSync(report, 'utf8')
      if (text !== '') {
        outcome = Number(text)
        return
      }
      outcome = 'killed'
      if (where === 'api') {
        await proc.sees(/the process of the API \(--api\) has ended/, 'stderr')
        return
      }
      const r = await proc.wait()
      assert.equal(r.code, 2, show(r))
      assert.match(r.stderr, /The engine ended unexpectedly: Bad system call; ending the command/)
    })
    return outcome!
  }
  test('a socket for a flow can be had: the attempts are real', async () => {
    assert.equal(await attempt('tcp'), 0)
  })
  for (const what of ['open', 'create', 'fork', 'unix', 'netlink', 'packet', 'raw'])
    test(`${what} is refused`, async () => {
      assert.equal(await attempt(what), EPERM)
    })
  // Of these only Landlock knows which port they are for
  const { EACCES } = constants.errno
  const ports: ReadonlyArray<readonly [string, ReadonlyArray<string>, number]> = [
    ['bind', ['-t', '7999'], EACCES],
    ['thread:bind', ['-t', '7999'], EACCES],
    ['bind', ['-t', 'auto'], 0],
    ['bind', ['--no-tcp', '-t', 'none', '-T', 'none'], EACCES],
    ['bind-free', ['-t', 'none'], 0],
    ['connect', ['-t', 'none'], constants.errno.ECONNREFUSED],
    ['connect', ['--no-tcp', '-t', 'none', '-T', 'none'], EACCES],
    ['thread:connect', ['--no-tcp', '-t', 'none', '-T', 'none'], EACCES]
  ]
  for (const [what, options, errno] of ports)
    test(`${what} with ${options.join(' ')}: ${errno}`, {
      skip: !landlock() && 'no Landlock here'
    }, async () => {
      assert.equal(await attempt(what, options), errno)
    })
  for (const what of ['execve', 'ptrace', 'kill'])
    test(`${what} is the end, and said to be`, async () => {
      assert.equal(await attempt(what), 'killed')
    })
  const api = ['--api', '/mnt/w/intruder.api']
  for (const what of ['open', 'create', 'fork', 'unix', 'netlink', 'tcp'])
    test(`API: ${what} is refused`, async () => {
      assert.equal(await attempt(what, api, 'api'), EPERM)
    })
  test('API: execve is its end', async () => {
    assert.equal(await attempt('execve', api, 'api'), 'killed')
  })
})
