// passt's socket: clients that come, go, misbehave or do not listen. What goes over it is in the suites of pasta.
import assert from 'node:assert/strict'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { decodePcap } from '../src/codecs/log/pcap.js'
import { octets } from '../src/codecs/value/octets.js'
import { useBed } from './lib/bed.js'
import { alive, calm, exeOf, type Proc, rss, until } from './lib/proc.js'
import { helper, net, ok, describe as show } from './lib/world.js'

const passt = process.env.PASST ?? '/mnt/repo/bin/passt'
const bed = useBed()
let sockets = 0
const freshSocket = (): string => `/mnt/w/s${++sockets}`
const outside = (path: string): string => join(bed.w.dir, path.slice('/mnt/w/'.length))

/** passt in foreground, listening. */
const start = async (path: string, options: ReadonlyArray<string> = [], o = {}): Promise<Proc> => {
  const proc = bed.w.start([passt, '-f', '-s', path, ...options], o)
  await until('the socket', () => {
    if (!proc.running) throw new Error(proc.stderr)
    return existsSync(outside(path)) && /You can now start/.test(proc.stderr + proc.stdout)
  })
  return proc
}
const stream = (scenario: string, args: ReadonlyArray<string | number>, timeout = 60_000): Proc =>
  bed.w.start(['python3', helper('stream.py'), scenario, ...args.map(String)], { timeout })
/** One scenario against a passt of its own, which is there afterwards; its messages. */
const scenario = async (
  name: string,
  args: ReadonlyArray<string | number> = [],
  options: ReadonlyArray<string> = []
): Promise<string> => {
  const path = freshSocket()
  const proc = await start(path, options)
  try {
    ok(await stream(name, [path, ...args]).wait())
    assert.ok(proc.running, proc.stderr)
  } finally {
    await proc.stop('SIGTERM')
  }
  return proc.stderr
}
/** ARP announcement (RFC 5227 §2.3) or Neighbor Advertisement: the host has heard of a neighbour, whenever that is. */
const announces = (frame: Buffer): boolean =>
  frame.readUInt16BE(12) === 0x0806
    ? frame.subarray(28, 32).equals(frame.subarray(38, 42))
    : frame[20] === 58 && frame[54] === 136
const matches = (text: string, what: RegExp): number => text.match(new RegExp(what, 'gm'))?.length ?? 0

describe('the socket', () => {
  test('is announced, with what to start', async () => {
    const path = freshSocket()
    const proc = await start(path)
    const r = await proc.stop('SIGTERM')
    const lines = r.stderr.split('\n')
    assert.equal(lines[0], 'Outbound interface: eth0')
    assert.ok(lines.includes(`UNIX domain socket bound at ${path}`), r.stderr)
    assert.match(r.stderr, new RegExp(`^ +qemu-system-x86_64 .* -netdev stream,.*addr.path=${path}$`, 'm'))
    assert.match(r.stderr, /^DNS:\n {4}198\.51\.100\.3$/m)
    assert.ok(existsSync(outside(path)), 'it stays')
  })
  test('by default is the first of /tmp/passt_N.socket that nobody listens at', async () => {
    const one = bed.w.start([passt, '-f'])
    await one.sees(/bound at \/tmp\/passt_1\.socket$/m, 'stderr')
    const two = bed.w.start([passt, '-f'])
    await two.sees(/bound at \/tmp\/passt_2\.socket$/m, 'stderr')
    await one.stop('SIGTERM')
    const again = bed.w.start([passt, '-f'])
    await again.sees(/bound at \/tmp\/passt_1\.socket$/m, 'stderr')
    await Promise.all([two, again].map((p) => p.stop('SIGTERM')))
  })
  test('of somebody who listens is left alone; of somebody who is gone it is replaced', async () => {
    const path = freshSocket()
    const proc = await start(path)
    const r = await bed.w.run([passt, '-f', '-s', path])
    assert.equal(r.code, 1)
    assert.match(r.stderr, /^passt: cannot listen at .*: somebody listens there already$/m)
    ok(await stream('probes', [path]).wait())
    await proc.stop('SIGKILL')
    await (await start(path)).stop('SIGTERM')
  })
  test('never takes the place of a file', async () => {
    const path = freshSocket()
    writeFileSync(outside(path), 'precious')
    const r = await bed.w.run([passt, '-f', '-s', path])
    assert.deepEqual([r.code, readFileSync(outside(path), 'utf8')], [1, 'precious'], show(r))
  })
  test('has a path of 107 octets at most', async () => {
    const path = `/mnt/w/${'x'.repeat(100)}`
    assert.equal(path.length, 107)
    await (await start(path)).stop('SIGTERM')
    const r = await bed.w.run([passt, '-f', '-s', `${path}x`])
    assert.equal(r.code, 1)
    assert.match(r.stderr.trim().split('\n').at(-1)!, /^passt: cannot listen at .*107/)
  })
})

describe('clients', () => {
  test('are asked for their addresses, each time', async () => {
    await scenario('probes')
  })
  test('come one at a time', async () => {
    const said = await scenario('second')
    assert.equal(matches(said, /^accepted connection from PID \d+$/), 1, said)
    assert.equal(matches(said, /^discarded connection from PID \d+/), 1, 'not each time')
  })
  test('that hang up with much unsaid and are back at once are not turned away', async () => {
    assert.equal(matches(await scenario('restart', [60]), /discarded/), 0)
  })
  test('-1: the end of the first is the end', async () => {
    const path = freshSocket()
    const proc = await start(path, ['-1'])
    const client = stream('quiet', [path])
    await client.sees(/here/)
    assert.ok(proc.running)
    await client.stop()
    const r = await proc.wait()
    assert.equal(r.code, 0, show(r))
    assert.ok(existsSync(outside(path)))
  })
  test('-1: a second one that is turned away is not the end', async () => {
    const path = freshSocket()
    const proc = await start(path, ['-1'])
    ok(await stream('second', [path]).wait())
    assert.equal((await proc.wait()).code, 0)
  })
})

describe('hostile input', () => {
  const lengths = ['00000000', '0000000d', '00010000', '7fffffff', 'ffffffff', '00000005aabbccddee']
  test('lengths that no frame has: closed, said once, the next one is served', async () => {
    const said = await scenario('bad', lengths)
    assert.equal(matches(said, /^error: /), 1, said)
    assert.match(said, /^error: client sent a frame of 0 octets/m)
  })
  test('random octets', async () => {
    const said = await scenario('noise', [40])
    assert.ok(matches(said, /^error: /) <= 1, said)
  })
  test('a million tiny frames', async () => {
    await scenario('tiny', [1_000_000])
  })
  test('a frame without end, and one in two pieces wherever it is cut', async () => {
    await scenario('endless')
  })
})

describe('data', () => {
  test('upload in bursts of small frames', async () => {
    await scenario('upload', [3_000_000])
  })
  test('a guest that does not read costs no time and no memory, and misses nothing', async () => {
    const path = freshSocket()
    const proc = await start(path)
    const [engine] = bed.w.pidsInside().filter((p) => /node/.test(exeOf(p)))
    const octets = 12_000_000
    const guest = stream('stalled', [path, octets], 90_000)
    for (let n = 1; n <= 4; n++) {
      await guest.sees(new RegExp(`(stalled\\s+){${n}}`))
      await calm([engine!], 0.06, 1000)
      await guest.signal('SIGUSR1')
    }
    ok(await guest.wait())
    assert.ok(rss(engine!) < 160 * 1024, `${rss(engine!)} KiB`)
    await proc.stop('SIGTERM')
  })
  test('-t: a connection that came before the guest did', async () => {
    const path = freshSocket()
    const proc = await start(path, ['-t', '8822'])
    const early = bed.w.start(['python3', '-c', EARLY, net.host4], { in: 'world' })
    await early.sees(/connected/)
    ok(await stream('inbound', [path, 8822]).wait())
    assert.match(ok(await early.wait()).stdout, /hello from the guest/)
    await proc.stop('SIGTERM')
  })
  test('-t all, -u none: every port that nobody has, through the link', async () => {
    const path = freshSocket()
    const proc = await start(path, ['-t', 'all', '-u', 'none'])
    const early = bed.w.start(['python3', '-c', EARLY, '127.0.0.1'])
    await early.sees(/connected/)
    ok(await stream('inbound', [path, 8822]).wait())
    assert.match(ok(await early.wait()).stdout, /hello from the guest/)
    await proc.stop('SIGTERM')
  })
})

const EARLY = `
import socket, sys
s = socket.create_connection((sys.argv[1], 8822), 20)
print("connected", flush=True)
print(s.recv(100).decode(), flush=True)
`

describe('--fd', () => {
  test('3, as QEMU has it, in foreground: served at once, status 0 at its end', async () => {
    ok(await stream('descriptor', ['-', passt, '-f', '-q']).wait())
  })
  test('in background: the caller goes on, the process in the pid file ends with the socket', async () => {
    const script = `
import os, socket, sys, time
a, b = socket.socketpair()
if os.fork() == 0:
    os.dup2(b.fileno(), 3)
    os.set_inheritable(3, True)
    os.execv("${passt}", ["passt", "-q", "--pid", "/mnt/w/fd.pid", "--fd", "3"])
b.close()
_, status = os.wait()
assert status == 0, status
pid = int(open("/mnt/w/fd.pid").read())
os.kill(pid, 0)
got = 0
while got < 146: # it asks for the guest; an advertisement may be behind that already
    octets = len(a.recv(1000))
    assert octets > 0
    got += octets
a.close()
for _ in range(1000):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        break
    time.sleep(0.02)
else:
    sys.exit("still there")
`
    ok(await bed.w.run(['python3', '-c', script]))
  })
  for (const [what, redirect, why] of [
    ['not open', '', /^passt: --fd 7: .*(descriptor|open)/],
    ['a file', '7</dev/null', /^passt: --fd 7: not a socket$/]
  ] as const)
    test(`a descriptor that is ${what}: one line, status 1`, async () => {
      const r = await bed.w.run(['sh', '-c', `exec ${passt} -f -q -F 7 ${redirect}`])
      assert.deepEqual([r.code, r.stderr.trim().split('\n').length], [1, 1], show(r))
      assert.match(r.stderr.trim(), why)
    })
  for (const [what, make, why] of [
    ['a datagram socket', 'socket.socketpair(type=socket.SOCK_DGRAM)[0]', /not a stream socket/],
    ['not connected', 'socket.socket(socket.AF_UNIX)', /not connected/]
  ] as const)
    test(`a descriptor that is ${what}: one line, status 1`, async () => {
      const script = `import os, socket; s = ${make}; os.dup2(s.fileno(), 7); os.set_inheritable(7, True)
os.execv("${passt}", ["passt", "-f", "-q", "-F", "7"])`
      const r = await bed.w.run(['python3', '-c', script])
      assert.deepEqual([r.code, r.stderr.trim().split('\n').length], [1, 1], show(r))
      assert.match(r.stderr, why)
    })
  test('the launcher does not give away its own descriptors', async () => {
    for (let fd = 3; fd < 12; fd++) {
      const r = await bed.w.run([passt, '-f', '-q', '-F', `${fd}`])
      assert.equal(r.code, 1, show(r))
      assert.match(r.stderr, /^passt: --fd \d+: Cannot use descriptor \d+: Bad file descriptor$/m)
    }
  })
})

describe('life', () => {
  test('in background by default: serves, has a pid file, ends on SIGTERM', async () => {
    const path = freshSocket()
    const r = ok(await bed.w.run([passt, '-s', path, '-P', '/mnt/w/bg.pid']))
    assert.match(r.stderr, /UNIX domain socket bound/)
    const pid = Number(readFileSync(outside('/mnt/w/bg.pid'), 'utf8'))
    assert.equal(statSync(outside('/mnt/w/bg.pid')).mode & 0o777, 0o600)
    ok(await stream('probes', [path]).wait())
    const there = bed.w.outerPid(pid)
    await bed.w.sh(`kill ${pid}`)
    await until('its end', () => !alive(there))
    await until('and that of all its processes', () => !bed.w.processes().some((p) => p.includes(path)))
  })
  for (const signal of ['SIGTERM', 'SIGQUIT'] as const)
    test(`${signal}: status 0, with a client as well`, async () => {
      const path = freshSocket()
      const proc = await start(path)
      const client = stream('quiet', [path])
      await client.sees(/here/)
      await proc.signal(signal)
      const r = await proc.wait()
      assert.deepEqual([r.code, r.signal], [0, null], show(r))
      await client.stop()
    })
  test('-p records what came and what went, padded, without lengths', async () => {
    const path = freshSocket()
    const proc = await start(path, ['-p', '/mnt/w/link.pcap'])
    ok(await stream('probes', [path]).wait())
    await proc.stop('SIGTERM')
    const records = decodePcap(octets(Uint8Array.from(readFileSync(outside('/mnt/w/link.pcap')))))
    assert.ok(typeof records !== 'string', `${records}`)
    const lengths = records.filter(({ frame }) => !announces(Buffer.from(frame))).map((r) => r.frame.length)
    assert.deepEqual(lengths, [60, 78, 42, 60, 60, 78, 42, 60])
  })
})
