// Rules that change while all runs (behaviour.md#live-rules): our client and upstream's, at our daemon and at upstream's; what must not be noticed
// meanwhile; clients that do harm.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Guest, waiting, waitingPorts } from './lib/guest.js'
import { passt } from './lib/passt.js'
import { type Proc, until } from './lib/proc.js'
import { assertReplays, replay } from './lib/replay.js'
import { upstreamBin } from './lib/upstream.js'
import { helper, net, ok, pasta, quietPorts, type RunOptions, World } from './lib/world.js'

const ours = '/mnt/repo/bin/pesto'
const upstream = join(upstreamBin(), 'pesto')
const upstreamPasst = join(upstreamBin(), 'passt')
const SOCKET = '/mnt/w/conf.sock'
const helperArgv = (...args: ReadonlyArray<string | number>): string[] => [
  'python3',
  helper('conf_clients.py'),
  ...args.map(String)
]

let w: World
let guest: Guest
before(async () => {
  w = await World.open()
  const command = ['sh', '-ec', `${helperArgv('echo', 7020).join(' ')}`]
  guest = await Guest.open(w, ['-d', '-c', SOCKET, ...quietPorts, '--record', '/mnt/w/conf.rec'], { command })
})
after(() => w?.close())

const pesto = (program: string, args: string, o: RunOptions & { readonly path?: string } = {}) =>
  w.run([program, ...args.split(' ').filter((a) => a !== ''), o.path ?? SOCKET], o)
const list = async (program = ours, path = SOCKET): Promise<string[]> =>
  ok(await pesto(program, '', { path }))
    .stdout.split('\n')
    .slice(1)
    .map((line) => line.trim())
    .filter((line) => line !== '')
/** It has done its work once the next one is served. */
const change = async (program: string, args: string, path = SOCKET): Promise<string[]> => {
  const r = ok(await pesto(program, args, { path }))
  assert.equal(r.stderr, '')
  if (program !== ours)
    await until('it is done', async () => (await list(program, path)).join() !== '' && (await settled(path)))
  return list(program, path)
}
/** Nobody is at work there: two answers are the same. */
const settled = async (path: string): Promise<boolean> => {
  const before = await list(ours, path)
  return before.join() === (await list(ours, path)).join()
}
const listening = (): Promise<number[]> => waitingPorts(w, 'host', 'tcp')
const said = (): string => guest.proc.stderr

test('all rules are in the log, however many clients came before', async () => {
  const rules = Array.from({ length: 25 }, (_, i) => 8130 + 2 * i)
  ok(await w.run(helperArgv('many', SOCKET)))
  await change(ours, rules.map((port) => `-t ${port}`).join(' '))
  const all = rules.map((port) => `TCP \\[\\*\\]:${port}  =>  ${port}$`).join('[^]*')
  await guest.proc.sees(new RegExp(all, 'm'), 'stderr')
  await change(ours, '-t none')
})

for (const [name, program] of [
  ['ours', ours],
  ["upstream's", upstream]
] as const)
  describe(`${name}, at our pasta`, () => {
    test('lists, adds, deletes, replaces, clears', async () => {
      assert.deepEqual(await list(program), ['HOST', 'SPLICE'])
      assert.deepEqual(await change(program, '-A -t 8101 -t 0.0.0.0/8102:7020 -u 8103-8104'), [
        'HOST',
        'TCP [*]:8101  =>  8101',
        'TCP [0.0.0.0]:8102  =>  7020',
        'UDP [*]:8103-8104  =>  8103-8104',
        'SPLICE'
      ])
      assert.deepEqual(await waiting(w, 'host', 'tcp'), ['* 8101', '0.0.0.0 8102'])
      assert.deepEqual(await waitingPorts(w, 'host', 'udp'), [8103, 8104])
      await change(program, '-D -t 8101')
      assert.deepEqual(await listening(), [8102])
      await change(program, '-T 8105 -t 8101')
      assert.deepEqual(await list(), [
        'HOST',
        'TCP [*]:8101  =>  8101',
        'SPLICE',
        'TCP [*]%lo:8105  =>  8105'
      ])
      assert.deepEqual(await listening(), [8101])
      assert.deepEqual(await waitingPorts(w, guest, 'tcp'), [7020, 8105])
      await change(program, '-C SPLICE -t none -u none')
      assert.deepEqual(await list(), ['HOST', 'SPLICE'])
      assert.deepEqual([await listening(), await waitingPorts(w, guest, 'tcp')], [[], [7020]])
    })
    test("the calls of podman, and of RootlessKit's port driver", async () => {
      const calls = [
        '-t 0.0.0.0/8110 -t [::]/8110',
        `-t 0.0.0.0/8111:${net.host4}/7020`,
        `-t [::]/8112-8113:${net.host6}/80-81`,
        '--tcp-ports=::/8114:80'
      ]
      for (const call of calls) await change(program, `--add ${call}`)
      assert.deepEqual(await listening(), [8110, 8111, 8112, 8113, 8114])
      for (const call of calls) await change(program, `--delete ${call}`)
      assert.deepEqual(await list(), ['HOST', 'SPLICE'])
    })
  })

describe('what is done, or not', () => {
  test('a port that is taken: nothing is changed, the log names it, and pesto fails', async () => {
    await change(ours, '-t 8120')
    const lines = `import socket, time
s = socket.create_server(("127.0.0.1", 8121))
print("up", flush=True)
time.sleep(100)`
    const holder = w.start(['python3', '-c', lines])
    await holder.sees(/up/)
    const r = await pesto(ours, '-t 8120-8122')
    assert.equal(r.code, 1)
    assert.match(r.stderr, /^The server has not done it[\s\S]*TCP \[\*\]:8120-8122/)
    await guest.proc.sees(
      /Configuration client \(PID \d+\): cannot listen: TCP port 8121: Address already in use/,
      'stderr'
    )
    assert.deepEqual(await list(), ['HOST', 'TCP [*]:8120  =>  8120', 'SPLICE'])
    assert.deepEqual(
      (await listening()).filter((p) => p !== 8121),
      [8120]
    )
    await holder.stop()
    await change(ours, '-t 8120-8122')
    assert.deepEqual(await listening(), [8120, 8121, 8122])
  })
  test('the same rule again is no fault; another one for its port is', async () => {
    await change(ours, '-t 8123')
    assert.deepEqual(await change(ours, '-A -t 8123'), ['HOST', 'TCP [*]:8123  =>  8123', 'SPLICE'])
    const r = await pesto(ours, '-A -t 8123:80')
    assert.equal(r.code, 1)
    assert.match(
      r.stderr,
      /^Forwarding configuration conflict: .*\nUnable to add rule TCP \[\*\]:8123 {2}=> {2}80 \n$/
    )
  })
  test('a name that only an alternative one could be is told to nobody, and is not cut off to one that somebody has', async () => {
    const before = await list()
    await w.sh('ip link add fifteen-octets0 type veth peer name fifteen-peer')
    for (const option of ['-A -t', '-D -u', '-t']) {
      const r = await pesto(ours, `${option} %fifteen-octets0more/8126`)
      assert.equal(r.code, 1)
      assert.match(
        r.stderr,
        /^Interface name 'fifteen-octets0more' is longer than a server takes \(15 octets\)/
      )
    }
    assert.deepEqual(await list(), before)
    await w.sh('ip link del fifteen-octets0')
  })
  test('a rule that would be in the way of another one takes its place', async () => {
    await change(ours, '-t 8124')
    await change(ours, '-t 0.0.0.0/8124')
    assert.deepEqual(await waiting(w, 'host', 'tcp'), ['0.0.0.0 8124'])
  })
  test('clients that come at once: none undoes what another one does', async () => {
    await change(ours, '-t none')
    const ports = Array.from({ length: 8 }, (_, i) => 8130 + i)
    for (const r of await Promise.all(ports.map((p) => pesto(ours, `-A -t ${p}`)))) ok(r)
    assert.deepEqual(await listening(), ports)
  })
  test('ports as they appear: auto comes and goes while it runs', async () => {
    await change(ours, '-t auto')
    await until('the port of the server inside', async () => (await listening()).includes(7020))
    await change(ours, '-t none')
    assert.deepEqual(await listening(), [])
  })
})

/** A connection to the server inside that is used until `stop`. */
const talking = async (address: string, port: number) => {
  const proc = w.start([
    'sh',
    '-c',
    'while [ ! -e /mnt/w/stop ]; do sleep 0.05; done | "$@"',
    '-',
    ...helperArgv('talk', address, port)
  ])
  await proc.sees(/ready/)
  return async (): Promise<{ readonly count: number; readonly slowest: number }> => {
    await w.sh('touch /mnt/w/stop')
    const r = ok(await proc.wait())
    await w.sh('rm /mnt/w/stop')
    return JSON.parse(r.stdout.split('\n')[1]!) as { count: number; slowest: number }
  }
}

describe('what goes on', () => {
  test('a connection outlives its rule; who waits at a listener is not sent away by a change', async () => {
    await change(ours, '-t 8140:7020 -t 8141:7020')
    const stop = await talking('127.0.0.1', 8140)
    await change(ours, '-D -t 8140:7020')
    assert.deepEqual(await listening(), [8141])
    // One socket for both rules: it leads elsewhere now
    await change(ours, '-t 8141:9')
    await change(ours, '-t 8141:7020')
    const begun = await talking('127.0.0.1', 8141)
    const { count } = await begun()
    assert.ok(count > 0)
    await stop().catch(() => {})
  })
  test('clients that read nothing, talk nonsense, die half-way or come by the thousand: traffic flows, rules stay', async () => {
    await change(ours, '-t 8142:7020')
    const before = await list()
    const stop = await talking('127.0.0.1', 8142)
    const bad = (how: string, stay = 0): Proc => w.start(helperArgv(how, SOCKET, stay))
    const silent = [bad('silent', 1000), bad('silent', 1000)]
    for (const how of ['garbage', 'half']) ok(await bad(how).wait())
    const many = bad('many', 1)
    for (const p of [...silent, many]) await p.sees(/there/)
    ok(await many.wait())
    assert.deepEqual(await list(), before)
    assert.match(
      said(),
      /Configuration client \(PID \d+\): too many|rules for non-existent table|\d+ rules in one table/
    )
    const { count, slowest } = await stop()
    assert.ok(count > 10 && slowest < 5000, JSON.stringify({ count, slowest }))
    for (const p of silent) await p.stop()
    assert.deepEqual(await change(ours, '-t none'), ['HOST', 'SPLICE'])
  })
})

describe('the socket', () => {
  const start = (path: string, o: RunOptions = {}) =>
    w.run([pasta, ...quietPorts, '-c', path, '--', 'true'], o)
  test('mode 0600; others are kept out by that, and by who they are', async () => {
    assert.equal((await w.sh(`stat -c %a:%u ${SOCKET}`)).trim(), '600:1000')
    const other = await pesto(ours, '', { uid: 1001 })
    assert.deepEqual([other.code, other.stderr], [1, `Failed to connect to ${SOCKET}: Permission denied\n`])
    await w.sh(`chmod 666 ${SOCKET}`)
    const opened = await pesto(ours, '', { uid: 1001 })
    assert.deepEqual([opened.code, opened.stderr], [1, 'Error reading from control socket\n'])
    await guest.proc.sees(/it is neither of our user nor root/, 'stderr')
    await w.sh(`chmod 600 ${SOCKET}`)
    ok(await pesto(ours, '', { uid: 0 }))
  })
  test('a path in use, one that is left over, one that is too long, one that is a file', async () => {
    const used = await start(SOCKET)
    assert.equal(used.code, 1)
    assert.match(used.stderr, /control socket \/mnt\/w\/conf.sock \(--conf-path\): .*path already in use$/m)
    await w.sh('touch /mnt/w/file; chown 1000 /mnt/w/file')
    assert.equal((await start('/mnt/w/file')).code, 1)
    const long = await start(`/mnt/w/${'x'.repeat(120)}`)
    assert.equal(long.code, 1)
    assert.match(long.stderr, /invalid configuration path/)
    ok(await start('/mnt/w/left'))
    assert.ok(existsSync(join(w.dir, 'left')))
    ok(await start('/mnt/w/left'))
  })
})

test('all of it is in the record, and replays exactly', async () => {
  await guest.proc.signal('SIGTERM')
  await guest.proc.wait()
  assertReplays(join(w.dir, 'conf.rec'))
  const out = join(w.dir, 'anonymous.rec')
  const no = replay('--anonymize', out, join(w.dir, 'conf.rec'))
  assert.equal(no.status, 2)
  assert.match(no.err, /rules change in it/)
  assert.ok(!existsSync(out))
})

describe('passt', () => {
  const serve = async (program: string, path: string): Promise<Proc> => {
    const proc = w.start([program, '-f', '-s', `${path}.link`, '-c', path, '-t', '8150'])
    await until('it serves', async () => (await pesto(ours, '', { path })).code === 0)
    return proc
  }
  for (const [name, program, server] of [
    ["upstream's pesto, our passt", upstream, passt],
    ["our pesto, upstream's passt", ours, upstreamPasst]
  ] as const)
    test(`${name}: one table`, async () => {
      const path = `/mnt/w/passt-${program === ours ? 'theirs' : 'ours'}.sock`
      const proc = await serve(server, path)
      assert.deepEqual(await list(program, path), ['HOST', 'TCP [*]:8150  =>  8150'])
      assert.deepEqual(await change(program, '-A -u 8151:53', path), [
        'HOST',
        'TCP [*]:8150  =>  8150',
        'UDP [*]:8151  =>  53'
      ])
      assert.deepEqual(await change(program, '-t 8152', path), ['HOST', 'TCP [*]:8152  =>  8152'])
      assert.deepEqual([await listening(), await waitingPorts(w, 'host', 'udp')], [[8152], []])
      const r = await pesto(program, '-T 1', { path })
      assert.deepEqual([r.code, r.stderr], [1, "Can't use -T, no outbound interface\n"])
      const auto = await pesto(program, '-t auto', { path })
      assert.deepEqual([auto.code, auto.stderr], [1, "'auto' port forwarding is only allowed for pasta\n"])
      await change(program, '-C HOST', path)
      assert.deepEqual(await listening(), [])
      await proc.stop('SIGTERM')
    })
})

test('a process that takes our place has the rules as they were changed, and the socket', async () => {
  await w.sh('ip netns add conf; ip -n conf link set lo up')
  const argv = (pid: string): string[] => [
    ...[pasta, '-f', ...quietPorts, '--config-net', '--runas', '0', '--netns', '/run/netns/conf'],
    ...['-c', '/mnt/w/r.sock', '--restart-path', '/mnt/w/r.restart', '-P', `/mnt/w/${pid}`]
  ]
  const begin = async (pid: string): Promise<Proc> => {
    const proc = w.start(argv(pid), { uid: 0 })
    await until('it serves', async () => {
      if (!proc.running) assert.fail(JSON.stringify(await proc.wait()))
      return (await w.sh(`cat /mnt/w/${pid} 2>/dev/null || :`)) !== ''
    })
    return proc
  }
  const first = await begin('r1')
  ok(await w.run([ours, '-A', '-t', '8160', '/mnt/w/r.sock'], { uid: 0 }))
  const next = await begin('r2')
  ok(await first.wait())
  assert.match(next.stderr, /rules are as they were changed while the other one served/)
  assert.match((await w.run([ours, '/mnt/w/r.sock'], { uid: 0 })).stdout, /TCP \[\*\]:8160/)
  ok(await w.run([ours, '-A', '-t', '8161', '/mnt/w/r.sock'], { uid: 0 }))
  assert.deepEqual(await listening(), [8160, 8161])
  await next.stop('SIGTERM')
})
