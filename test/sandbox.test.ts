// The engine once it serves, looked at from outside, and tried from inside: what it may still do.
import assert from 'node:assert/strict'
import { chmodSync, existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { compiled } from './lib/cache.js'
import { cmdlineOf, kill, type Proc, statusField, until } from './lib/proc.js'
import { isPeer, type RunOptions, describe as show, World } from './lib/world.js'

const oursOnly = { skip: isPeer && 'upstream has no engine apart' }
const { EPERM } = constants.errno
let w: World
before(async () => {
  w = await World.open()
  const preload = compiled('test/lib/inject.cc', ['-shared', '-fPIC'])
  const wrapper = join(w.dir, 'node')
  writeFileSync(wrapper, `#!/bin/sh\nLD_PRELOAD=${preload} exec '${process.execPath}' "$@"\n`)
  chmodSync(wrapper, 0o755)
})
after(() => w?.close())

const lines = (pid: number, file: string): string => readFileSync(`/proc/${pid}/${file}`, 'utf8')
const isEngine = (pid: number): boolean => /engine\.cjs/.test(cmdlineOf(pid))

/** `use` with the engine of a pasta that serves a sleeping command. */
const serving = async (
  options: ReadonlyArray<string>,
  o: RunOptions,
  use: (engine: number, proc: Proc) => Promise<void>
): Promise<void> => {
  const proc = w.startPasta(options, ['sh', '-c', 'echo up; sleep 1000'], { timeout: 60_000, ...o })
  try {
    await proc.sees(/up/)
    const engine = w.pidsInside().find(isEngine)
    assert.ok(engine !== undefined)
    await until('the filter', () => statusField(engine, 'Seccomp') === '2', 3_000)
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
  })

describe('descriptors of the engine', oursOnly, () => {
  /** By kind; one word each. */
  const kinds = (pid: number): ReadonlyArray<string> =>
    readdirSync(`/proc/${pid}/fd`)
      .filter((fd) => Number(fd) > 2)
      .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/:\[.*/, ''))
      // libuv's own: loops, and what wakes them
      .filter((to) => !/^anon_inode|^pipe$/.test(to))
      .map((to) => to.replace(/^\/proc\/\d+/, '/proc'))
      .sort()
  const tables = ['tcp', 'tcp6', 'udp', 'udp6'].map((f) => `/proc/net/${f}`)
  test('the tap and the way to the launcher, nothing else', () =>
    serving(['--config-net', '--no-icmp'], {}, async (engine) => {
      assert.deepEqual(kinds(engine), ['/dev/net/tun', 'socket'])
    }))
  test('with -t auto -T auto: tables of sockets, here and in the namespace', () =>
    serving(['--config-net', '--no-icmp', '-t', 'auto', '-T', 'auto'], {}, async (engine) => {
      const files = kinds(engine).filter((k) => k !== 'socket')
      assert.deepEqual(files, ['/dev/net/tun', ...[...tables, ...tables].sort()])
    }))
  test('with --pcap: the capture', () =>
    serving(['--config-net', '--no-icmp', '--pcap', '/mnt/w/cap'], {}, async (engine) => {
      const rest = kinds(engine).filter((k) => k !== '/dev/net/tun' && k !== 'socket')
      assert.equal(rest.length, 1)
      assert.match(rest[0]!, /\/cap$/)
    }))
})

describe('an intruder in the engine', oursOnly, () => {
  let number = 0
  /** What came of it: an errno, or the end. */
  const attempt = async (what: string): Promise<number | 'killed'> => {
    const file = `injected-${++number}`
    const env = { PASST_NODE: '/mnt/w/node', INJECT: what, INJECT_TO: `/mnt/w/${file}` }
    let outcome: number | 'killed' | undefined
    await serving(['--config-net'], { env }, async (engine, proc) => {
      kill(engine, 64 as unknown as NodeJS.Signals)
      const report = join(w.dir, file)
      assert.ok(existsSync(report))
      await until('an outcome', () => readFileSync(report, 'utf8') !== '' || !existsSync(`/proc/${engine}`))
      const text = readFileSync(report, 'utf8')
      if (text !== '') {
        outcome = Number(text)
        return
      }
      const r = await proc.wait()
      assert.equal(r.code, 1, show(r))
      assert.match(r.stderr, /The engine ended unexpectedly: Bad system call; ending the command/)
      outcome = 'killed'
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
  for (const what of ['execve', 'ptrace', 'kill'])
    test(`${what} is the end, and said to be`, async () => {
      assert.equal(await attempt(what), 'killed')
    })
})
