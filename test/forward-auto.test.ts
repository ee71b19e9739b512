// `auto`: ports follow what listens at the other side, within two seconds, in both directions.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { ask, Guest, type Place, waiting } from './lib/guest.js'
import { exeOf, manyDescriptors, type Proc, sleep, statusField, until } from './lib/proc.js'
import { isPeer, net, ok, pasta } from './lib/world.js'

manyDescriptors(20_000)
const bed = useBed()
/** A scan comes each second; all else is for a busy machine. */
const SOON = 30_000

/** Keeps sockets open: `tcp/ADDRESS/PORT`, `udp/ADDRESS/PORT`; TCP ones say "hello" and close. */
const holder = `import socket, sys, threading
def serve(s):
    while True:
        c, _ = s.accept(); c.sendall(b"hello"); c.close()
def echo(s):
    while True:
        data, peer = s.recvfrom(65536); s.sendto(data, peer)
for spec in sys.argv[1:]:
    proto, address, port = spec.split("/")
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in address: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind((address, int(port)))
    if proto == "tcp": s.listen(16)
    threading.Thread(target=serve if proto == "tcp" else echo, args=(s,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()`
const hold = async (where: Place, ...specs: string[]): Promise<Proc> => {
  const command = ['python3', '-c', holder, ...specs]
  const proc = where instanceof Guest ? where.start(command) : bed.w.start(command, { in: where, uid: 0 })
  await proc.sees(/ready/)
  return proc
}
const sleeper = { command: ['sh', '-c', 'echo ready; sleep 1000'] }

const has = async (where: Place, proto: 'tcp' | 'udp', line: string): Promise<boolean> =>
  (await waiting(bed.w, where, proto)).includes(line)
const appears = (where: Place, proto: 'tcp' | 'udp', line: string) =>
  until(`${proto} ${line} listened on`, () => has(where, proto, line), SOON)
const vanishes = (where: Place, proto: 'tcp' | 'udp', line: string) =>
  until(`${proto} ${line} closed`, async () => !(await has(where, proto, line)), SOON)
const hello = async (from: Place, to: string, port: number): Promise<void> => {
  assert.deepEqual(await ask(bed.w, from, ['tcp-read', to, port]), { data: 'hello', end: 'eof' })
}

describe('both directions at once', () => {
  let guest: Guest
  before(async () => {
    guest = await Guest.open(bed.w, ['-t', 'auto', '-u', 'auto', '-T', 'auto', '-U', 'auto'], sleeper)
  })
  after(() => guest?.stop())

  test('what listens on the host already is there at once', async () => {
    assert.ok(await has(guest, 'tcp', '*%lo 7006'))
    assert.ok(await has(guest, 'udp', '*%lo 7001'))
    for (const to of ['127.0.0.1', '::1'])
      assert.deepEqual(await ask(bed.w, guest, ['tcp-read', to, 7006]), { data: 'ok\n', end: 'eof' })
  })

  test('a server in the namespace: its port opens on the host, for UDP as well, and closes again', async () => {
    const server = await hold(guest, 'tcp/0.0.0.0/9105')
    await appears('host', 'tcp', '* 9105')
    await appears('host', 'udp', '* 9105')
    await hello('host', '127.0.0.1', 9105)
    await hello('world', net.host4, 9105)
    await server.stop()
    await vanishes('host', 'tcp', '* 9105')
    await vanishes('host', 'udp', '* 9105')
    assert.equal((await ask(bed.w, 'host', ['tcp-connect', '127.0.0.1', 9105])).error, 'ECONNREFUSED')
  })

  test('a UDP server in the namespace: its port opens on the host, and not for TCP', async () => {
    const server = await hold(guest, 'udp/0.0.0.0/9106')
    await appears('host', 'udp', '* 9106')
    assert.equal(await has('host', 'tcp', '* 9106'), false)
    assert.deepEqual(await ask(bed.w, 'host', ['udp-echo', '127.0.0.1', 9106, 0, 100]), { failed: {} })
    assert.deepEqual(await ask(bed.w, 'world', ['udp-echo', net.host4, 9106, 0, 100]), { failed: {} })
    await server.stop()
    await vanishes('host', 'udp', '* 9106')
  })

  test('a UDP server that is started again: its port comes back beside the flows of the first one', async () => {
    for (let life = 0; life < 3; life++) {
      const server = await hold(guest, 'udp/::/9107')
      await appears('host', 'udp', '* 9107')
      for (const to of [net.host4, net.host6])
        assert.deepEqual(await ask(bed.w, 'world', ['udp-echo', to, 9107, 0, 100]), { failed: {} })
      await server.stop()
      await vanishes('host', 'udp', '* 9107')
    }
  })
  test('an IPv6 server counts for both, one on loopback only counts too', async () => {
    const server = await hold(guest, 'tcp/::/9107', 'tcp/127.0.0.1/9108')
    await appears('host', 'tcp', '* 9107')
    await appears('host', 'tcp', '* 9108')
    for (const to of ['127.0.0.1', '::1']) await hello('host', to, 9107)
    await server.stop()
    await vanishes('host', 'tcp', '* 9107')
  })

  test('a server on the host: its port opens on lo in the namespace, and closes again', async () => {
    const server = await hold('host', 'tcp/127.0.0.1/9115', 'udp/127.0.0.1/9116')
    await appears(guest, 'tcp', '*%lo 9115')
    await appears(guest, 'udp', '*%lo 9115')
    await appears(guest, 'udp', '*%lo 9116')
    await hello(guest, '127.0.0.1', 9115)
    assert.deepEqual(await ask(bed.w, guest, ['udp-echo', '127.0.0.1', 9116, 100]), { failed: {} })
    await server.stop()
    await vanishes(guest, 'tcp', '*%lo 9115')
    await vanishes(guest, 'udp', '*%lo 9116')
  })

  test('a UDP server of the host that is started again: its port comes back beside the flows of the first one', async () => {
    for (let life = 0; life < 3; life++) {
      const server = await hold('host', 'udp/::/9117')
      await appears(guest, 'udp', '*%lo 9117')
      for (const to of ['127.0.0.1', '::1'])
        assert.deepEqual(await ask(bed.w, guest, ['udp-echo', to, 9117, 0, 100]), { failed: {} })
      await server.stop()
      await vanishes(guest, 'udp', '*%lo 9117')
    }
  })

  test('no loop: our own listeners are not taken for servers', async () => {
    const [inside, outside] = [
      await hold(guest, 'tcp/0.0.0.0/9125'),
      await hold('host', 'tcp/127.0.0.1/9126')
    ]
    await appears('host', 'tcp', '* 9125')
    await appears(guest, 'tcp', '*%lo 9126')
    await sleep(2_500)
    assert.equal(await has(guest, 'tcp', '*%lo 9125'), false)
    assert.equal(await has('host', 'tcp', '* 9126'), false)
    await Promise.all([inside.stop(), outside.stop()])
    await vanishes('host', 'tcp', '* 9125')
    await vanishes(guest, 'tcp', '*%lo 9126')
    await sleep(1_500)
    assert.equal(await has('host', 'tcp', '* 9125'), false)
    assert.equal(await has(guest, 'tcp', '*%lo 9126'), false)
  })

  test('the same port on both sides: each side keeps its own', async () => {
    // Between two scans, or else the one that comes late finds the port taken by us
    const [outside, inside] = await until(
      'both listen',
      async () => {
        const both = [hold('host', 'tcp/127.0.0.1/9127'), hold(guest, `tcp/${net.host4}/9127`)] as const
        const [a, b] = await Promise.allSettled(both)
        if (a.status === 'fulfilled' && b.status === 'fulfilled') return [a.value, b.value] as const
        for (const p of [a, b]) if (p.status === 'fulfilled') await p.value.stop()
        await vanishes('host', 'tcp', '* 9127')
        await vanishes(guest, 'tcp', '*%lo 9127')
        return false
      },
      60_000
    )
    await sleep(1_500)
    await hello('host', '127.0.0.1', 9127)
    await hello(guest, net.host4, 9127)
    await Promise.all([inside.stop(), outside.stop()])
  })

  test('an established connection outlives its listener', async () => {
    const server = guest.start(['socat', '-u', 'TCP-LISTEN:9128,bind=0.0.0.0', 'STDOUT'])
    await appears('host', 'tcp', '* 9128')
    const client = bed.w.start([
      'sh',
      '-c',
      '(echo one; until [ -e /mnt/w/go-on ]; do sleep 0.1; done; echo two; sleep 0.3) | socat -u - TCP:127.0.0.1:9128'
    ])
    await server.sees(/one/) // it stops listening once it has its connection
    await vanishes('host', 'tcp', '* 9128')
    await bed.w.sh('touch /mnt/w/go-on')
    await server.sees(/two/)
    await Promise.all([client.wait(), server.wait()])
  })

  test('idle, but for a look each second', async () => {
    await guest.calm(0.1, 2_000)
  })
})

test('auto is the default', async () => {
  const proc = bed.w.start([
    pasta,
    '--config-net',
    '--',
    'sh',
    '-c',
    `python3 -c '${holder}' tcp/0.0.0.0/9205 & echo started; sleep 1000`
  ])
  try {
    await appears('host', 'tcp', '* 9205')
    await hello('host', '127.0.0.1', 9205)
    assert.equal(
      ok(await bed.w.pasta(['-T', 'auto'], ['ss', '-ltnH', 'sport', '=', '7006'])).stdout.includes(
        '%lo:7006'
      ),
      true
    )
  } finally {
    await proc.stop()
  }
})

test('auto with ports, exclusions, an address: only these, and only while somebody listens', async () => {
  const options = ['-t', '127.0.0.3/9300-9303,9310:9390,auto,~9302', '-u', 'none']
  const guest = await Guest.open(bed.w, options, sleeper)
  try {
    const quiet = async () =>
      (await waiting(bed.w, 'host', 'tcp')).filter((line) => line.startsWith('127.0.0.3 '))
    assert.deepEqual(await quiet(), [])
    const server = await hold(
      guest,
      ...[9301, 9302, 9305, 9390, ...(isPeer ? [9310] : [])].map((p) => `tcp/0.0.0.0/${p}`)
    )
    await until('its ports', async () => (await quiet()).length >= 2, SOON)
    await sleep(1_200)
    assert.deepEqual(await quiet(), ['127.0.0.3 9301', '127.0.0.3 9310'])
    await hello('host', '127.0.0.3', 9310)
    await server.stop()
    await until('the end of its ports', async () => (await quiet()).length === 0, SOON)
  } finally {
    await guest.stop()
  }
})

test('what is not auto does not follow', async () => {
  const guest = await Guest.open(bed.w, ['-t', 'auto', '-u', '9401'], sleeper)
  try {
    const server = await hold(guest, 'tcp/0.0.0.0/9402', 'udp/0.0.0.0/9403')
    await appears('host', 'tcp', '* 9402')
    await sleep(1_200)
    const udp = (await waiting(bed.w, 'host', 'udp')).filter((line) => / 94\d\d$/.test(line))
    assert.deepEqual(udp, ['* 9401'])
    await server.stop()
  } finally {
    await guest.stop()
  }
})

test('a port that cannot be had is tried again', async () => {
  const taken = await hold('host', 'tcp/0.0.0.0/9501')
  const guest = await Guest.open(bed.w, ['-t', 'auto'], sleeper)
  try {
    const server = await hold(guest, 'tcp/0.0.0.0/9501', 'tcp/0.0.0.0/9502')
    await appears('host', 'tcp', '* 9502')
    await taken.stop()
    await appears('host', 'tcp', '* 9501')
    await server.stop()
  } finally {
    await guest.stop()
  }
})

test('ephemeral ports are left alone', async () => {
  const guest = await Guest.open(bed.w, ['-t', 'auto'], sleeper)
  try {
    const server = await hold(guest, 'tcp/0.0.0.0/40005', 'tcp/0.0.0.0/9601')
    await appears('host', 'tcp', '* 9601')
    await sleep(1_200)
    assert.equal(await has('host', 'tcp', '* 40005'), false)
    await server.stop()
  } finally {
    await guest.stop()
  }
})

test('several programs on one host do not feed on each other for ever', async () => {
  // Each sees the other's listeners as servers of the host; a port whose server is gone must still vanish.
  const one = await Guest.open(bed.w, ['-t', 'auto'], sleeper)
  const two = await Guest.open(bed.w, ['-T', 'auto'], sleeper)
  try {
    const server = await hold(one, 'tcp/0.0.0.0/9701')
    await appears('host', 'tcp', '* 9701')
    await appears(two, 'tcp', '*%lo 9701')
    await hello(two, '127.0.0.1', 9701)
    await server.stop()
    await vanishes('host', 'tcp', '* 9701')
    await vanishes(two, 'tcp', '*%lo 9701')
  } finally {
    await Promise.all([one.stop(), two.stop()])
  }
})

/** Octets that one turn of the loop reads of /proc/net at most (runtime/host/port-reader.ts). */
const SLICE = 32 << 10

test('thousands of sockets in the namespace: read in slices, a turn each, and what listens is found', {
  skip: isPeer && 'upstream does otherwise'
}, async () => {
  const g = await Guest.open(bed.w, ['-t', 'auto', '-u', 'auto'], sleeper)
  const crowd = `import resource, socket
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
keep = []
for i in range(1500):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0)); s.connect(("127.0.0.1", 9)); keep.append(s)
l = socket.socket(); l.bind(("127.0.0.1", 0)); l.listen(100)
for i in range(1500):
    c = socket.create_connection(l.getsockname()); a, _ = l.accept(); c.close(); a.close()
print("ready", flush=True)
import time; time.sleep(600)`
  try {
    const many = g.start(['python3', '-c', crowd])
    await many.sees(/ready/)
    const engine = g.engine().find((pid) => /node/.test(exeOf(pid)))!
    const log = join(bed.w.dir, 'reads')
    const calls = 'trace=pread64,epoll_wait,epoll_pwait,epoll_pwait2'
    const strace = spawn('strace', ['-s', '0', '-q', '-o', log, '-e', calls, '-p', `${engine}`], {
      stdio: 'ignore'
    })
    try {
      await until('strace at work', () => statusField(engine, 'TracerPid') !== '0')
      const late = await hold(g, 'tcp/0.0.0.0/7105', 'udp/0.0.0.0/7106')
      await appears('host', 'tcp', '* 7105')
      await appears('host', 'udp', '* 7106')
      await late.stop()
      await vanishes('host', 'udp', '* 7106')
    } finally {
      strace.kill('SIGINT')
      await new Promise((done) => strace.once('exit', done))
    }
    const turns = [0]
    for (const line of readFileSync(log, 'utf8').split('\n')) {
      const read = /^pread64\(.* = (\d+)$/.exec(line)
      if (read !== null) turns.push(turns.pop()! + Number(read[1]))
      else if (line.startsWith('epoll')) turns.push(0)
    }
    const most = Math.max(...turns)
    assert.ok(most > 8192 && most <= SLICE, `${most} octets in one turn`)
    // Some 200 kB of UDP sockets a scan, and hardly more of TCP's than its listeners
    assert.ok(turns.filter((n) => n > SLICE / 2).length >= 6, `${turns.filter((n) => n > 0)}`)
  } finally {
    await g.stop()
  }
})
