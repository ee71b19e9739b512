// passt-repair(1): what it answers to whom, where it finds its socket, and what it may do. passt's side is scripted
// (repair_server.py); with a passt that moves a guest: migrate-*.test.ts.
import assert from 'node:assert/strict'
import { readdirSync, readlinkSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { type Proc, statusField, until } from './lib/proc.js'
import { helper, ok, describe as show, World } from './lib/world.js'

/** The program under test. PASST_REPAIR chooses another one, to try the tests themselves. */
const repair = process.env.PASST_REPAIR ?? '/mnt/repo/bin/passt-repair'

let w: World
before(async () => {
  w = await World.open()
})
after(() => w.close())

const root = { uid: 0 } as const
const serve = (path: string, ...steps: string[]): Proc =>
  w.start(['python3', helper('repair_server.py'), path, ...steps], root)
const start = (...args: string[]): Proc => w.start([repair, ...args], root)
const fresh = async (): Promise<string> => (await w.sh('mktemp -d /tmp/repair.XXXXXX')).trim()
const lines = (p: Proc): unknown[] =>
  p.stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as unknown)

interface Talk {
  readonly code: number | null
  readonly stderr: string
  /** A line of the server's a step. */
  readonly said: unknown[]
}
const talk = async (...steps: string[]): Promise<Talk> => {
  const path = `${await fresh()}/x.repair`
  const server = serve(path, ...steps)
  await server.sees(/ready/)
  const { code, stderr } = await start(path).wait()
  ok(await server.wait())
  return { code, stderr, said: lines(server) }
}

describe('what it is asked for', () => {
  for (const n of [1, 2, 252, 253])
    test(`${n} descriptors: on, off, on, off without a probe; one answer a message`, async () => {
      const steps = ['on', 'off', 'on', 'nowp'].map((c) => `${c}/${n}`)
      const r = await talk(...steps, 'eof')
      assert.deepEqual(
        r.said,
        [
          [1, n],
          [0, 0],
          [1, n],
          [-1, 0]
        ].map(([answer, repaired], i) => ({ step: steps[i], answer: [answer], repaired }))
      )
      assert.deepEqual([r.code, r.stderr], [0, ''])
    })
  test('IPv6 sockets', async () => {
    const r = await talk('on/3/tcp6', 'off/3/tcp6', 'eof')
    assert.deepEqual(
      r.said.map((s) => (s as { repaired: number }).repaired),
      [3, 0]
    )
  })
  test('two messages sent at once', async () => {
    const r = await talk('pipeline', 'eof')
    assert.deepEqual([r.said, r.code], [[{ answers: [1, 0], repaired: 0 }], 0])
  })
  for (const step of ['on/0', 'off/0', '2/1', '-2/1', '127/1', '-128/253'])
    test(`${step} (octet/descriptors): no answer, status 1`, async () => {
      const r = await talk(step)
      assert.deepEqual(r.said, [{ step, answer: [], repaired: 0 }])
      assert.equal(r.code, 1)
      assert.match(r.stderr, /^passt-repair: .*\n$/)
    })
  test('one of them is no TCP socket: no answer, and none of them is left in repair mode', async () => {
    const r = await talk('on/5/mixed')
    assert.deepEqual(r.said, [{ step: 'on/5/mixed', answer: [], repaired: 0 }])
    assert.equal(r.code, 1)
    assert.match(r.stderr, /^passt-repair: Cannot set TCP_REPAIR to 1: .*\n$/)
  })
  test('without CAP_NET_ADMIN: no answer, and the reason', async () => {
    const path = `${await fresh()}/x.repair`
    await w.sh(`chmod 755 ${path.slice(0, path.lastIndexOf('/'))}`)
    const server = serve(path, 'on/2')
    await server.sees(/ready/)
    await w.sh(`chmod 666 ${path}`)
    const r = await w.run([repair, path], { uid: 1000 })
    await server.wait()
    assert.deepEqual([r.code, lines(server)], [1, [{ step: 'on/2', answer: [], repaired: 0 }]], show(r))
    assert.match(r.stderr, /^passt-repair: .*not permitted\n$/)
  })
})

describe('its end', () => {
  test('passt hangs up: status 0, also with something unread', async () => {
    assert.deepEqual(await talk('eof'), { code: 0, stderr: '', said: [] })
    const r = await talk('reset')
    assert.deepEqual([r.code, r.stderr], [0, ''])
  })
  test('wrong arguments: status 2', async () => {
    const dir = await fresh()
    const long = `${dir}/${'d'.repeat(100)}`
    await w.sh(`mkdir ${long}; touch ${dir}/file`)
    await serve(`${long}/s`).sees(/ready/)
    for (const args of [[], ['a', 'b'], [dir, dir], [`${dir}/file`], [`${long}/s`]]) {
      const r = await start(...args).wait()
      assert.equal(r.code, 2, show(r))
      assert.match(r.stderr, /^(passt-repair: |Usage: )/)
    }
  })
  test('nothing there, or nobody behind it: status 1, with its name', async () => {
    const dir = await fresh()
    const server = serve(`${dir}/dead`)
    await server.wait()
    for (const path of [`${dir}/none`, `${dir}/dead`]) {
      const r = await start(path).wait()
      assert.equal(r.code, 1, show(r))
      assert.ok(r.stderr.includes(path), show(r))
    }
  })
})

describe('where it looks', () => {
  /** It watches a directory, and sleeps. */
  const watching = async (client: Proc): Promise<void> => {
    const pid = await client.pid()
    const links = () => readdirSync(`/proc/${pid}/fd`).map((n) => readlinkSync(`/proc/${pid}/fd/${n}`))
    await until(
      'the helper watches',
      () => links().includes('anon_inode:inotify') && statusField(pid, 'State')?.startsWith('S')
    )
  }
  /** A server at `dir`/`name` that is found by a helper that looks at `dir` already, or before it. */
  const meet = async (
    dir: string,
    name: string,
    first: 'server' | 'helper',
    more = '',
    ...before: string[]
  ) => {
    const begin = () => serve(`${dir}/${name}`, ...before, 'on/2', 'off/2', 'eof')
    const early = first === 'server' ? begin() : undefined
    await early?.sees(/bound/)
    const client = start(dir)
    if (early === undefined) await watching(client)
    if (more !== '') await w.sh(more)
    const server = early ?? begin()
    const r = await client.wait()
    assert.equal(r.code, 0, show(r))
    ok(await server.wait())
    assert.equal(lines(server).length, 2)
    return r
  }
  test('a directory, before the socket is there', async () => {
    const r = await meet(await fresh(), 'vm.sock.repair', 'helper')
    assert.equal(r.stderr, '')
  })
  test('a directory, after the socket is there', async () => {
    await meet(await fresh(), 'vm.sock.repair', 'server')
  })
  test('bound, and listening some time later', async () => {
    for (const first of ['server', 'helper'] as const)
      await meet(await fresh(), 'a.repair', first, '', 'bind', 'sleep 400', 'listen')
    const path = `${await fresh()}/a.repair`
    const server = serve(path, 'bind', 'sleep 400', 'listen', 'on/1', 'eof')
    await server.sees(/bound/)
    assert.equal((await start(path).wait()).code, 0)
    ok(await server.wait())
  })
  test('among many names at once, of all lengths, and beside files that are called so', async () => {
    const dir = await fresh()
    const many = `i=1; while [ $i -lt 200 ]; do n=$(printf "%0\${i}d" 0); : > ${dir}/$n; i=$((i+1)); done; : > ${dir}/file.repair; mkdir ${dir}/dir.repair`
    const r = await meet(dir, 'n.repair', 'helper', many)
    assert.equal(r.stderr, '')
  })
  test('a socket that somebody has left behind there is passed over, however long it takes', async () => {
    const dir = await fresh()
    await serve(`${dir}/old.repair`).wait()
    const client = start(dir)
    await client.sees(/old\.repair/, 'stderr')
    const server = serve(`${dir}/new.repair`, 'on/1', 'eof')
    assert.equal((await client.wait()).code, 0)
    ok(await server.wait())
  })
  test('one that is moved there', async () => {
    const [dir, other] = [await fresh(), await fresh()]
    const client = start(dir)
    const server = serve(`${other}/x`, 'on/1', 'eof')
    await server.sees(/ready/)
    await w.sh(`mv ${other}/x ${dir}/x.repair`)
    assert.equal((await client.wait()).code, 0)
  })
  test('the directory goes: status 1', async () => {
    const dir = await fresh()
    const client = start(dir)
    await watching(client)
    await w.sh(`rmdir ${dir}`)
    const r = await client.wait()
    assert.equal(r.code, 1, show(r))
  })
})

test('while it serves: no right but CAP_NET_ADMIN, a filter, and no copy of what it was handed', async () => {
  const { said } = await talk('on/253', 'status', 'off/253', 'status', 'eof')
  const CAP_NET_ADMIN = '0000000000001000'
  const none = '0000000000000000'
  const want = {
    CapEff: CAP_NET_ADMIN,
    CapPrm: CAP_NET_ADMIN,
    CapInh: none,
    CapBnd: none,
    NoNewPrivs: '1',
    Seccomp: '2',
    fds: 4
  }
  assert.deepEqual([said[1], said[3]], [want, want])
})
test('a server that says nothing: it waits, and a signal ends it', async () => {
  const path = `${await fresh()}/x.repair`
  const server = serve(path, 'status', 'silent')
  await server.sees(/ready/)
  const client = start(path)
  await server.sees(/NoNewPrivs/)
  assert.ok(client.running)
  await client.signal('SIGTERM')
  await client.wait()
  await server.sees(/silent/)
})

describe('a socket path with no room for .repair behind it', () => {
  const start107 = async (...options: string[]): Promise<Proc> => {
    const dir = await fresh()
    await w.sh(`chmod 777 ${dir}`)
    const socket = `${dir}/${'s'.repeat(106 - dir.length)}`
    return w.start(['/mnt/repo/bin/passt', '-f', '--vhost-user', '-s', socket, ...options])
  }
  test('by default: a warning, and it serves', async () => {
    const p = await start107()
    await p.sees(/UNIX domain socket bound/, 'stderr')
    assert.match(p.stderr, /warning: cannot listen at .*\.repair \(--repair-path\): path of 114 octets/)
    await p.stop()
  })
  test('asked for: it says so and does not start', async () => {
    const p = await start107('--repair-path', `/tmp/${'r'.repeat(110)}`)
    const r = await p.wait()
    assert.equal(r.code, 1)
    assert.match(r.stderr, /cannot listen at .* \(--repair-path\): path of 115 octets/)
  })
})
