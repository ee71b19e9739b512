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
    const m = new Manager(bed.w.start(['python3', helper('manager.py'), name], { timeout: 120_000 }), name)
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

/** A namespace to attach to: its process as the world counts. */
const holder = async (): Promise<{ readonly proc: Proc; readonly inner: string }> => {
  const argv = ['unshare', '--user', '--map-root-user', '--net', 'sh', '-c', 'echo $$; exec sleep 2000']
  const proc = bed.w.start(argv, { timeout: 120_000 })
  const [inner] = await proc.sees(/^\d+$/m)
  return { proc, inner }
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
      const h = await holder()
      const proc = bed.w.start([...attach, '-f', h.inner], { env: { NOTIFY_SOCKET: name } })
      const { pid, text } = await m.hears(/READY=1/)
      assert.equal(text, `READY=1\nSTATUS=Serving the namespace of process ${h.inner}`)
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
    const h = await holder()
    const env = { NOTIFY_SOCKET: m.name }
    ok(await bed.w.run([...attach, '-P', '/mnt/w/notify-pid', h.inner], { env }))
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
    const h = await holder()
    const env = { NOTIFY_SOCKET: m.name, WATCHDOG_USEC: '100000' }
    const proc = bed.w.start([...attach, '-f', h.inner], { env })
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
    const h = await holder()
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
      const proc = bed.w.start([...attach, '-f', '-P', '/mnt/w/odd-pid', h.inner], { env })
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

const readOr = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
