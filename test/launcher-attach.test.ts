import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, afterEach, describe, test } from 'node:test'
import type { LauncherReply, LauncherRequest } from '../src/codecs/control/launcher.js'
import { UNSPECIFIED6 } from '../src/codecs/value/inany.js'
import {
  alive,
  bed,
  commOf,
  everyone,
  type Options,
  ready,
  runCommand,
  type Step,
  setup,
  spawnCommand,
  type Who
} from './launcher-bed.js'
import { quickly, sessionOf, until } from './lib/proc.js'

// Attach mode, background, and what is made inside the namespace: tap, netlink.

const b = bed()
const targets: ChildProcess[] = []
after(b.remove)
afterEach(async () => {
  for (const t of targets.splice(0)) t.kill('SIGKILL')
  await b.nothingLeft()
})

const join_ = (o: Partial<Extract<LauncherRequest, { type: 'Join' }>>): Step => [
  'call',
  { type: 'Join', pid: 0, noQuit: false, userns: '', netns: '', ...o }
]
/** A process in namespaces of its own; `who` owns them. */
const target = async (who: Who): Promise<number> => {
  const own =
    who === 'root'
      ? ['unshare', '-n']
      : ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', 'unshare', '-Un']
  const t = spawn(own[0], [...own.slice(1), 'sleep', '100'], { stdio: 'ignore' })
  targets.push(t)
  const pid = t.pid ?? -1
  await until('target', () => commOf(pid) === 'sleep')
  return pid
}
const attached = async (steps: ReadonlyArray<Step>, o: Options = {}) => {
  const r = b.start([setup(true), ...steps, ready, ['serve']], o)
  await r.replies(steps.length + 2)
  return r
}
const netnsOf = (pid: number): string => readlinkSync(`/proc/${pid}/ns/net`)
const ip = (...args: ReadonlyArray<string>): void => {
  const r = spawnSync('ip', args, { encoding: 'utf8' })
  assert.equal(r.status, 0, `ip ${args.join(' ')}: ${r.stderr}`)
}
const LISTENER = { proto: 'tcp', v6only: false, port: 80, addr: UNSPECIFIED6, device: 'lo' } as const
/** Cookies of the network namespaces (SO_NETNS_COOKIE) of the sockets and of our own, first line of tcp6. */
const LOOK = `
cookie = lambda s: int.from_bytes(s.getsockopt(socket.SOL_SOCKET, 71, 8), 'little')
lines = os.pread(kept[1], 65536, 0).decode().split(chr(10))
note(seen=[[cookie(socket.socket(fileno=f)) for f in kept[4:]], cookie(socket.socket()), lines[1]])
`
let names = 0
/** A name as `ip netns` makes it, for the time of `use`. */
const named = async (use: (name: string, path: string) => Promise<void>): Promise<void> => {
  const name = `passt-test-${process.pid}-${++names}`
  ip('netns', 'add', name)
  try {
    await use(name, `/run/netns/${name}`)
  } finally {
    spawnSync('ip', ['netns', 'delete', name])
  }
}

for (const who of everyone)
  describe(`process, as ${who}`, () => {
    test('joined; its end is ours, status 0', async () => {
      const once = async (): Promise<number> => {
        const pid = await target(who)
        const r = await attached([join_({ pid, netns: `/proc/${pid}/ns/net` })], { who })
        assert.equal(netnsOf(r.pid), netnsOf(pid))
        assert.notEqual(netnsOf((await r.engine()).pid), netnsOf(pid))
        const killed = Date.now()
        process.kill(pid, 'SIGKILL')
        const e = await r.ended
        assert.deepEqual([e.status, e.stderr], [0, ''])
        return Date.now() - killed
      }
      await quickly(500, once) // by its pidfd, not by looking once a second
    })
    test('sockets, listeners and /proc/net are of its namespace', async () => {
      const pid = await target(who)
      const ask: Step[] = [
        ['call', { type: 'ProcNet' }],
        ['call', { type: 'Listen', listeners: [LISTENER] }],
        ['call', { type: 'Sockets', v6: true, proto: 'tcp', count: 1 }],
        ['python', LOOK]
      ]
      const r = await attached([join_({ pid }), ...ask.slice(0, 3)], { who })
      assert.deepEqual(
        (await r.replies(6)).map((x) => x.fds.length),
        [0, 0, 4, 1, 1, 0]
      )
      process.kill(pid, 'SIGKILL')
      await r.ended
      // In background, asked for by another process than joined
      const again = b.start(
        [
          setup(false),
          join_({ pid: await target(who) }),
          ask[0],
          ready,
          ['detach'],
          ...ask.slice(1),
          ['serve']
        ],
        {
          who
        }
      )
      assert.equal((await again.ended).status, 0)
      const seen = (await again.noted('seen'))[0]
      const [cookies, own, listening] = seen as [number[], number, string]
      assert.equal(new Set(cookies).size, 1)
      assert.notEqual(cookies[0], own)
      assert.match(listening, /^ *0: 0{32}:0050 0{32}:0000 0A /)
      for (const p of again.processes()) process.kill(p, 'SIGKILL')
    })
    test('--no-netns-quit stays', async () => {
      const pid = await target(who)
      const r = await attached([join_({ pid, noQuit: true })], { who })
      process.kill(pid, 'SIGKILL')
      await until('its end', () => !alive(pid))
      assert.ok(alive(r.pid))
      process.kill(r.pid, 'SIGTERM')
      assert.equal((await r.ended).status, 0)
    })
    test('paths of its namespaces', async () => {
      const pid = await target(who)
      const paths = { userns: `/proc/${pid}/ns/user`, netns: `/proc/${pid}/ns/net` }
      const r = await attached([join_(paths)], { who })
      assert.equal(netnsOf(r.pid), netnsOf(pid))
      process.kill(pid, 'SIGKILL')
      const e = await r.ended
      assert.equal(e.status, 0)
    })
    for (const [signal, status, by] of [
      ['SIGTERM', 0, null],
      ['SIGQUIT', 0, null],
      ['SIGINT', null, 'SIGINT'],
      ['SIGHUP', null, 'SIGHUP']
    ] as const)
      test(`${signal}: ${by === null ? 'orderly, status 0' : 'its default action'}`, async () => {
        const r = await attached([join_({ pid: await target(who) })], { who })
        process.kill(r.pid, signal)
        const e = await r.ended
        assert.deepEqual([e.status, e.signal], [status, by])
      })
    test('SIGKILL of launcher or engine leaves nothing', async () => {
      const pid = await target(who)
      const first = await attached([join_({ pid })], { who })
      process.kill(first.pid, 'SIGKILL')
      await first.ended
      const second = await attached([join_({ pid })], { who })
      process.kill((await second.engine()).pid, 'SIGKILL')
      const e = await second.ended
      assert.equal(e.status, 2)
      assert.match(e.stderr, /ended by a signal: Killed/)
    })
  })

describe('names and paths', () => {
  test('joined; removing the entry ends us, status 0', () =>
    named(async (name, path) => {
      const r = await attached([join_({ netns: path })])
      ip('netns', 'exec', name, 'true')
      assert.notEqual(netnsOf(r.pid), netnsOf(process.pid))
      ip('netns', 'delete', name)
      assert.equal((await r.ended).status, 0)
    }))
  test('--no-netns-quit stays', () =>
    named(async (name, path) => {
      const r = await attached([join_({ netns: path, noQuit: true })])
      ip('netns', 'delete', name)
      assert.ok(alive(r.pid))
      process.kill(r.pid, 'SIGQUIT')
      assert.equal((await r.ended).status, 0)
    }))
  const failing = async (o: Parameters<typeof join_>[0], message: RegExp, who: Who = 'root') => {
    const e = await b.start([setup(true), join_(o), ready, ['serve']], { who }).ended
    assert.equal(e.status, 1)
    assert.match(e.stderr, message)
  }
  test('what is not there, or no namespace', async () => {
    await failing({ pid: 4194303 }, /^There is no process 4194303$/m)
    await failing(
      { netns: '/run/netns/none' },
      /Cannot open network namespace \/run\/netns\/none: No such file/
    )
    await failing({ netns: '/etc/passwd' }, /\/etc\/passwd is not a network namespace/)
    await failing({ netns: '/proc/self/ns/net', userns: '/proc/self/ns/net' }, /is not a user namespace/)
    await failing({}, /No network namespace given/)
  })
  test('what we may not join', async () => {
    await failing(
      { pid: process.pid },
      /Cannot (open|join) .*: (Permission denied|Operation not permitted)/,
      'user'
    )
    await named((_, path) =>
      failing({ netns: path }, /Cannot join network namespace .*: Operation not permitted/, 'user')
    )
  })
})

describe('in background', () => {
  const steps = (pid: number, file: string): ReadonlyArray<Step> => [
    setup(false, file),
    join_({ pid }),
    ['sleep', 0.2],
    ready,
    ['detach'],
    ['serve']
  ]
  for (const who of everyone)
    test(`the caller returns when all is ready (${who})`, async () => {
      const file = join(b.dir, `bg-pid-${who}`)
      const pid = await target(who)
      const r = b.start(steps(pid, file), { who, args: ['-x'] })
      const e = await r.ended // its streams are closed as well
      assert.deepEqual([e.status, e.signal, e.stderr], [0, null, ''])
      assert.ok(e.ms >= 200)
      const agent = Number(readFileSync(file, 'utf8'))
      assert.match(readFileSync(file, 'utf8'), /^\d+\n$/)
      assert.equal(statSync(file).mode & 0o777, 0o600)
      assert.notEqual(agent, r.pid)
      const engine = (await r.engine()).pid
      for (const p of [agent, engine]) assert.ok(r.processes().includes(p))
      // Root needs a guard (Agent::guardEngine). Who made taps is about to end.
      await until('them alone', () => r.processes().length === (who === 'root' ? 3 : 2))
      assert.equal(readlinkSync(`/proc/${agent}/cwd`), '/')
      for (const fd of [0, 1, 2]) assert.equal(readlinkSync(`/proc/${agent}/fd/${fd}`), '/dev/null')
      assert.equal(sessionOf(agent), agent)
      process.kill(agent, 'SIGTERM')
      await until('both to end', () => r.processes().length === 0)
    })
  const background = async () => {
    const file = join(b.dir, 'bg-pid')
    const pid = await target('root')
    const r = b.start(steps(pid, file))
    assert.equal((await r.ended).status, 0)
    return { r, pid, agent: Number(readFileSync(file, 'utf8')), engine: (await r.engine()).pid }
  }
  test('ends with the namespace, and with either process', async () => {
    for (const victim of ['pid', 'agent', 'engine'] as const) {
      const run = await background()
      process.kill(run[victim], 'SIGKILL')
      await until(`all to end after ${victim}`, () => run.r.processes().length === 0)
    }
  })
  test('an engine that hangs is ended by force', async () => {
    const pid = await target('root')
    const file = join(b.dir, 'bg-pid')
    const r = b.start([setup(false, file), join_({ pid }), ready, ['detach'], ['sleep', 100]])
    assert.equal((await r.ended).status, 0)
    process.kill(Number(readFileSync(file, 'utf8')), 'SIGTERM')
    await until('both to end', () => r.processes().length === 0)
  })
  test('passt: no namespace at all', async () => {
    const file = join(b.dir, 'passt-pid')
    const r = b.start([setup(false, file), ready, ['detach'], ['serve']], { name: 'passt' })
    assert.equal((await r.ended).status, 0)
    const agent = Number(readFileSync(file, 'utf8'))
    assert.equal(netnsOf(agent), netnsOf(process.pid))
    process.kill(agent, 'SIGTERM')
  })
  test('errors before that are the caller’s', async () => {
    const e = await b.start([setup(false), ['exit', 1]]).ended
    assert.equal(e.status, 1)
    assert.equal(
      (await b.start([setup(false), join_({ pid: await target('root') }), ['kill', 9]]).ended).status,
      1
    )
  })
  test('spawn mode stays in foreground', async () => {
    const e = await b.start([setup(false), spawnCommand(1), ready, ['serve']], {
      args: ['sh', '-c', 'exit 3']
    }).ended
    assert.equal(e.status, 3)
  })
})

const tapOf = (vnet: boolean, ifname: string): Step => ['call', { type: 'Tap', vnet, ifname }]
const asTap = (reply: LauncherReply) => {
  if (reply.type !== 'Tap') throw new Error(JSON.stringify(reply))
  return reply
}
/** nlmsghdr and body; RFC 3549 §2.3.2, host order. */
const nl = (type: number, flags: number, body: ReadonlyArray<number>): Step => {
  const bytes = new Uint8Array(16 + body.length)
  const v = new DataView(bytes.buffer)
  v.setUint32(0, bytes.length, true)
  v.setUint16(4, type, true)
  v.setUint16(6, flags, true)
  v.setUint32(8, 77, true)
  bytes.set(body, 16)
  return ['call', { type: 'Netlink', bytes }]
}
const RTM_NEWLINK = 16
const RTM_GETLINK = 18
const RTM_GETADDR = 22
const DUMP = 0x301
const ifinfo = (index: number, flags: number) => [0, 0, 0, 0, index, 0, 0, 0, flags, 0, 0, 0, flags, 0, 0, 0]
/** Message types in an answer. */
const types = (bytes: Uint8Array): ReadonlyArray<number> => {
  const v = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const out: number[] = []
  for (let at = 0; at < bytes.length; at += (v.getUint32(at, true) + 3) & ~3)
    out.push(v.getUint16(at + 4, true))
  return out
}
const answerOf = (reply: LauncherReply): Uint8Array => {
  if (reply.type !== 'Netlink') throw new Error(JSON.stringify(reply))
  return reply.bytes
}

for (const who of everyone)
  describe(`inside the namespace, as ${who}`, () => {
    test('tap: name, index, MAC, offload header; gone with the engine', async () => {
      const script =
        'cat /proc/net/dev | grep -c tap7; cat /sys/class/net/tap7/address 2>/dev/null; sleep 0.2'
      const steps: Step[] = [
        setup(true),
        spawnCommand(1),
        tapOf(true, 'tap7'),
        tapOf(false, 'tap%d'),
        ready,
        ['serve']
      ]
      const r = b.start(steps, { who, args: ['sh', '-c', script] })
      const replies = await r.replies(4)
      const first = asTap(replies[2].reply)
      assert.deepEqual(
        [first.name, first.vnet, first.index > 1, replies[2].fd > 2],
        ['tap7', true, true, true]
      )
      assert.equal(first.mac.length, 6)
      assert.ok(first.mac.some((o) => o !== 0))
      const second = asTap(replies[3].reply)
      assert.deepEqual([second.name, second.vnet], ['tap0', false])
      assert.match((await r.ended).stdout, /^1\n/)
    })
    test('tap that cannot be', async () => {
      for (const [name, message] of [
        ['lo', /Cannot create tap interface lo: /],
        ['', /not 1 to 15 characters/],
        ['sixteen-letters-', /not 1 to 15 characters/]
      ] as const) {
        const e = await b.start([setup(true), spawnCommand(1), tapOf(true, name)], { who, args: ['true'] })
          .ended
        assert.equal(e.status, 1)
        assert.match(e.stderr, message)
      }
    })
    test('netlink: dump, single message with acknowledgement, error', async () => {
      const gate = b.gate()
      const steps: Step[] = [
        setup(true),
        spawnCommand(1),
        nl(RTM_GETLINK, DUMP, ifinfo(0, 0)),
        nl(RTM_NEWLINK, 5, ifinfo(1, 1)),
        nl(RTM_GETLINK, 1, ifinfo(1, 0)),
        nl(RTM_GETLINK, 1, ifinfo(99, 0)),
        ready,
        ['try', nl(RTM_GETLINK, DUMP, ifinfo(0, 0))[1] as LauncherRequest],
        ['serve']
      ]
      const script = `${gate.line}; ping -c1 -W1 127.0.0.1 >/dev/null`
      const r = b.start(steps, { who, args: ['sh', '-c', script] })
      const replies = (await r.replies(8)).map((x) => x.reply)
      assert.deepEqual(types(answerOf(replies[2])), [RTM_NEWLINK, 3])
      assert.deepEqual(types(answerOf(replies[3])), [2])
      assert.deepEqual(types(answerOf(replies[4])), [RTM_NEWLINK, 2])
      const error = answerOf(replies[5])
      assert.deepEqual(types(error), [2])
      assert.equal(new DataView(error.buffer, error.byteOffset).getInt32(16, true), -19) // ENODEV
      assert.equal(replies[7].type === 'Failed' && replies[7].errno, 71) // EPROTO: serving takes none
      gate.open()
      assert.equal((await r.ended).status, 0) // lo is up
    })
  })

test('a long netlink answer comes in parts', async () => {
  const pid = await target('root')
  const batch = Array.from({ length: 600 }, (_, i) => `addr add 10.1.${i >> 8}.${i & 255}/32 dev lo\n`).join(
    ''
  )
  const add = spawnSync('nsenter', ['-t', String(pid), '-n', 'ip', '-batch', '-'], {
    input: batch,
    encoding: 'utf8'
  })
  assert.equal(add.status, 0, add.stderr)
  const next: Step = ['call', { type: 'Next' }]
  const r = b.start([
    setup(true),
    join_({ pid }),
    nl(RTM_GETADDR, DUMP, [2, 0, 0, 0, 0, 0, 0, 0]),
    next,
    next,
    ['exit', 0]
  ])
  const parts = (await r.replies(5)).slice(2).map((x) => x.reply)
  assert.deepEqual(
    parts.map((p) => p.type === 'Netlink' && p.more),
    [true, false, false]
  )
  const whole = Buffer.concat(parts.map(answerOf))
  assert.equal(types(whole).filter((t) => t === 20).length, 600)
  assert.equal(answerOf(parts[2]).length, 0)
  await r.ended
})

test('--netns-only: a new network namespace without user namespace (root)', async () => {
  const script = 'readlink /proc/self/ns/user /proc/self/ns/net'
  const e = await b.start(runCommand({ netnsOnly: true }), { args: ['sh', '-c', script] }).ended
  const [user, net] = e.stdout.trim().split('\n')
  assert.equal(user, readlinkSync('/proc/self/ns/user'))
  assert.notEqual(net, netnsOf(process.pid))
})
test('--netns-only: refused for an ordinary user', async () => {
  const e = await b.start(runCommand({ netnsOnly: true }), { who: 'user', args: ['true'] }).ended
  assert.equal(e.status, 1)
  assert.match(e.stderr, /Cannot create a network namespace: Operation not permitted/)
})
test('no user namespaces: message, status 1', async () => {
  // A namespace of our own whose limit is 0, so that the machine's is left alone
  const limit = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
  const e = await b.start(runCommand(), {
    before: ['unshare', '-Ur', 'sh', '-c', limit, 'sh'],
    args: ['true']
  }).ended
  assert.equal(e.status, 1)
  assert.match(
    e.stderr,
    /Cannot create a user namespace: No space left on device \(are user namespaces disabled/
  )
})
test('no mounts are left in our namespace', async () => {
  const before = readFileSync('/proc/self/mountinfo', 'utf8')
  assert.equal(
    (await b.start(runCommand(), { args: ['mount', '-t', 'tmpfs', 'none', '/mnt'] }).ended).status,
    0
  )
  assert.equal(readFileSync('/proc/self/mountinfo', 'utf8'), before)
  assert.ok(existsSync('/mnt'))
})
