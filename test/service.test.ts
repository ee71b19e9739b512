// What a service manager hears (sd_notify(3)), with a datagram socket in its place.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { passt } from './lib/passt.js'
import { childrenOf, kill, type Proc, until } from './lib/proc.js'
import { helper, isPeer, ok, pasta, quietPorts } from './lib/world.js'

const bed = useBed()
const ours = { skip: isPeer && 'upstream says nothing' }

interface Heard {
  /** As processes inside the world have them. */
  readonly pid: number
  readonly text: string
}
class Manager {
  private constructor(
    private readonly proc: Proc,
    readonly name: string
  ) {}
  static async at(name: string): Promise<Manager> {
    const m = new Manager(bed.w.start(['python3', helper('manager.py'), name]), name)
    await m.proc.sees(/^ready$/m)
    return m
  }
  heard(): ReadonlyArray<Heard> {
    const lines = this.proc.stdout.split('\n').slice(1, -1)
    return lines.map((line) => {
      const [pid, text] = JSON.parse(line) as [number, string]
      return { pid, text }
    })
  }
  hears(pattern: RegExp): Promise<Heard> {
    return until(`${pattern} said to the manager`, () => this.heard().find((h) => pattern.test(h.text)))
  }
  count(text: string): number {
    return this.heard().filter((h) => h.text === text).length
  }
  stop() {
    return this.proc.stop()
  }
}

const innerPid = async (proc: Proc): Promise<number> => {
  const status = readFileSync(`/proc/${await proc.pid()}/status`, 'utf8')
  return Number(/^NSpid:.*\s(\d+)$/m.exec(status)![1])
}
const attach = [pasta, ...quietPorts, '--config-net']

describe('a service manager', ours, () => {
  for (const name of ['/mnt/w/notify', '@passt-ts-notify'])
    test(`at ${name}: ready, what it serves, its end, each said by the process that was started`, async () => {
      const m = await Manager.at(name)
      const h = await bed.w.namespaces()
      const proc = bed.w.start([...attach, '-f', `${h.pid}`], { env: { NOTIFY_SOCKET: name } })
      const { pid, text } = await m.hears(/READY=1/)
      assert.equal(text, `READY=1\nSTATUS=Serving the namespace of process ${h.pid}`)
      assert.equal(pid, await innerPid(proc))
      await proc.signal('SIGTERM')
      await proc.wait()
      assert.deepEqual(m.heard().at(-1), { pid, text: 'STOPPING=1' })
      assert.equal(m.heard().length, 2, 'no sign of life that nobody asked for')
      await h.proc.stop()
      await m.stop()
    })
  test('in background: by the process that was started, which names the one that stays', async () => {
    const m = await Manager.at('/mnt/w/notify-bg')
    const h = await bed.w.namespaces()
    const env = { NOTIFY_SOCKET: m.name }
    ok(await bed.w.run([...attach, '-P', '/mnt/w/notify-pid', `${h.pid}`], { env }))
    const { pid, text } = await m.hears(/READY=1/)
    const main = readFileSync(join(bed.w.dir, 'notify-pid'), 'utf8').trim()
    assert.equal(/^MAINPID=(\d+)$/m.exec(text)?.[1], main)
    assert.notEqual(`${pid}`, main)
    kill(bed.w.outerPid(Number(main)), 'SIGTERM')
    assert.equal(`${(await m.hears(/STOPPING=1/)).pid}`, main)
    await h.proc.stop()
    await m.stop()
  })
  test('passt: where its guest finds it, whatever octets the path has', async () => {
    const m = await Manager.at('/mnt/w/notify-passt')
    const path = '/mnt/w/so\ncket'
    const proc = bed.w.start([passt, '-f', '-s', path], { env: { NOTIFY_SOCKET: m.name } })
    const { text } = await m.hears(/READY=1/)
    assert.equal(text, 'READY=1\nSTATUS=UNIX domain socket bound at /mnt/w/so?cket')
    await proc.signal('SIGTERM')
    await proc.wait()
    await m.stop()
  })
  test('a command is the service: it has the socket, and says itself when it is ready', async () => {
    const m = await Manager.at('/mnt/w/notify-command')
    const env = { NOTIFY_SOCKET: m.name, WATCHDOG_USEC: '1000000', WATCHDOG_PID: '1' }
    const r = await bed.w.pasta(
      ['--config-net'],
      ['sh', '-c', 'echo "$NOTIFY_SOCKET $WATCHDOG_USEC $WATCHDOG_PID"'],
      { env }
    )
    assert.equal(ok(r).stdout, `${m.name} 1000000 1\n`)
    assert.deepEqual(m.heard(), [])
    await m.stop()
  })
  test('signs of life, as long as the loop goes round', async () => {
    const m = await Manager.at('/mnt/w/notify-life')
    const h = await bed.w.namespaces()
    const env = { NOTIFY_SOCKET: m.name, WATCHDOG_USEC: '100000' }
    const proc = bed.w.start([...attach, '-f', `${h.pid}`], { env })
    await m.hears(/READY=1/)
    const counted = (): number => m.count('WATCHDOG=1')
    await until('five of them', () => counted() >= 5)
    const engine = childrenOf(await proc.pid()).find(
      (p) => readFileSync(`/proc/${p}/comm`, 'utf8') !== 'sleep\n'
    )!
    kill(engine, 'SIGSTOP')
    // What it wrote before is read, and then no more comes, however long one waits
    let before = -1
    await until('silence', async () => {
      const now = counted()
      const still = now === before
      before = now
      await new Promise((done) => setTimeout(done, 500))
      return still
    })
    kill(engine, 'SIGCONT')
    await until('life again', () => counted() > before)
    await proc.signal('SIGTERM')
    assert.equal((await proc.wait()).code, 0)
    await h.proc.stop()
    await m.stop()
  })
  test('another process is meant, nonsense, nobody there: it starts, and says nothing that was not asked for', async () => {
    const m = await Manager.at('/mnt/w/notify-odd')
    const h = await bed.w.namespaces()
    const life = { WATCHDOG_USEC: '20000' }
    for (const env of [
      { NOTIFY_SOCKET: m.name, ...life, WATCHDOG_PID: '1' },
      { NOTIFY_SOCKET: m.name, WATCHDOG_USEC: '-5' },
      { NOTIFY_SOCKET: m.name, WATCHDOG_USEC: '99999999999999999999999' },
      { NOTIFY_SOCKET: 'relative', ...life },
      { NOTIFY_SOCKET: '/mnt/w/nobody', ...life },
      { NOTIFY_SOCKET: `/${'x'.repeat(300)}`, ...life },
      { NOTIFY_SOCKET: '@', ...life }
    ]) {
      const proc = bed.w.start([...attach, '-f', '-P', '/mnt/w/odd-pid', `${h.pid}`], { env })
      await until('its pid', () => readOr(join(bed.w.dir, 'odd-pid')) !== '')
      await proc.signal('SIGTERM')
      assert.equal((await proc.wait()).code, 0, JSON.stringify(env))
      await bed.w.sh('rm /mnt/w/odd-pid')
    }
    assert.equal(m.count('WATCHDOG=1'), 0)
    await h.proc.stop()
    await m.stop()
  })
  test('what does not start is never ready', async () => {
    const m = await Manager.at('/mnt/w/notify-failed')
    const r = await bed.w.run([passt, '-f', '-s', '/mnt/w/missing/socket'], {
      env: { NOTIFY_SOCKET: m.name }
    })
    assert.equal(r.code, 1)
    assert.deepEqual(m.heard(), [])
    await m.stop()
  })
})

describe('errors at start, for programs', ours, () => {
  /** What descriptor 9 has got when its last holder has closed it. */
  const reported = async (command: string) => {
    const r = await bed.w.run(['sh', '-c', `{ ${command}; echo "status $?" >&2; } 9>&1 >/dev/null`])
    return { line: r.stdout, stderr: r.stderr }
  }
  const words = (argv: ReadonlyArray<string>): string => argv.map((a) => `'${a}'`).join(' ')
  for (const [what, argv, expected] of [
    ['no such option', ['--frobnicate'], { kind: 'usage', errno: null, message: /frobnicate/ }],
    [
      'a value that makes no sense',
      ['-m', '70000'],
      { kind: 'configuration', errno: null, message: /^--mtu: / }
    ],
    ['no such interface', ['-i', 'nope'], { kind: 'configuration', errno: null, message: /nope/ }],
    [
      'a port that is not ours to have',
      ['-t', '203.0.113.199/8080'],
      { kind: 'system', errno: 'EADDRNOTAVAIL', message: /^cannot listen: 203\.0\.113\.199 TCP port 8080: / }
    ],
    [
      'a log file without a directory',
      ['-l', '/mnt/w/missing/log'],
      { kind: 'system', errno: 'ENOENT', message: /^cannot write the log file / }
    ],
    [
      'a socket without a directory',
      ['-s', '/mnt/w/missing/socket'],
      { kind: 'system', errno: 'ENOENT', message: /^cannot listen at / }
    ],
    [
      'what the kernel refuses to the launcher',
      ['-P', '/mnt/w/missing/pid'],
      { kind: 'system', errno: 'ENOENT', message: /pid file/ }
    ]
  ] as const)
    test(`${what}: one line, and the usual one for people`, async () => {
      const { line, stderr } = await reported(
        words([passt, '-f', '-s', '/mnt/w/err', '--error-fd', '9', ...argv])
      )
      const { message, ...rest } = JSON.parse(line) as Record<string, unknown>
      assert.match(String(message), expected.message)
      assert.deepEqual(rest, { program: 'passt', kind: expected.kind, errno: expected.errno, status: 1 })
      assert.ok(stderr.includes(`passt: ${message}\n`), stderr)
      assert.match(stderr, /status 1\n$/)
    })
  test('what the launcher finds, without an engine', async () => {
    const { line, stderr } = await reported(`PASST_NODE=/mnt/w/'no"node' ${passt} -f --error-fd=9`)
    const { message, kind, errno, status } = JSON.parse(line) as Record<string, unknown>
    assert.deepEqual([kind, errno, status], ['system', 'ENOENT', 1])
    assert.ok(stderr.includes(`passt: ${message}\n`), stderr)
    assert.match(String(message), /no"node/)
  })
  test('a command that cannot be run', async () => {
    const { line } = await reported(`${pasta} --config-net --error-fd 9 -- /mnt/w/missing/command`)
    const { message, errno } = JSON.parse(line) as Record<string, unknown>
    assert.match(String(message), /^Cannot run \/mnt\/w\/missing\/command: No such file/)
    assert.equal(errno, 'ENOENT')
  })
  test('once it has started, an end of file and nothing else', async () => {
    await bed.w.sh('mkfifo -m 666 /mnt/w/err-fifo')
    const proc = bed.w.start([
      'sh',
      '-c',
      `exec 9>/mnt/w/err-fifo; exec ${passt} -f -s /mnt/w/err2 --error-fd 9`
    ])
    // A reader that ends is one that has seen the end of file, while passt runs
    const r = await bed.w.run(['sh', '-c', 'cat /mnt/w/err-fifo'])
    assert.equal(ok(r).stdout, '')
    assert.ok(proc.running)
    await proc.signal('SIGTERM')
    assert.equal((await proc.wait()).code, 0)
  })
  test('a command has no such descriptor, and sees the end of nothing', async () => {
    const { line } = await reported(
      `${pasta} --config-net --error-fd 9 -- sh -c "ls /proc/self/fd | grep -x 9 >&2"`
    )
    assert.equal(line, '')
  })
  test('a descriptor that is not open', async () => {
    const r = await bed.w.run([passt, '-f', '--error-fd', '77'])
    assert.equal(r.code, 1)
    assert.equal(r.stderr, 'passt: --error-fd: descriptor 77 is not open\n')
  })
  test('a fault later is status 2', async () => {
    const proc = bed.w.start([passt, '-f', '-P', '/mnt/w/fault-pid', '-s', '/mnt/w/err3'])
    await until('its pid', () => readOr(join(bed.w.dir, 'fault-pid')) !== '')
    const engine = childrenOf(await proc.pid()).find((p) =>
      /node/.test(readFileSync(`/proc/${p}/cmdline`, 'utf8'))
    )!
    kill(engine, 'SIGKILL')
    const r = await proc.wait()
    assert.equal(r.code, 2)
    assert.match(r.stderr, /The engine was ended by a signal: Killed/)
  })
})

const readOr = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
