import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, afterEach, describe, test } from 'node:test'
import { type LauncherReply, LauncherRequest, type ListenOrder } from '../src/codecs/control/launcher.js'
import { fromV4, LOOPBACK4, LOOPBACK6, UNSPECIFIED6 } from '../src/codecs/value/inany.js'
import {
  bed,
  everyone,
  type Options,
  type Run,
  ready,
  runCommand,
  type Step,
  setup,
  spawnCommand,
  type Who
} from './launcher-bed.js'
import { until } from './lib/proc.js'

// What native/launcher makes inside the namespace for forwarding: sockets, listeners, /proc/net.

const b = bed()
after(b.remove)
afterEach(b.nothingLeft)

/** RTM_GETLINK of interface 1: lo (rtnetlink(7)). */
const GETLINK = Uint8Array.from([
  32, 0, 0, 0, 18, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
])
const E = { EPERM: 1, EBADMSG: 74, EPROTO: 71, EADDRINUSE: 98, EADDRNOTAVAIL: 99, ENODEV: 19, EMFILE: 24 }
const ask = (request: LauncherRequest | Uint8Array): Step => ['try', request]
const sockets = (proto: 'tcp' | 'udp', v6: boolean, count: number): Step =>
  ask({ type: 'Sockets', proto, v6, count })
const order = (o: Partial<ListenOrder>): ListenOrder => ({
  proto: 'tcp',
  v6only: false,
  port: 7001,
  addr: UNSPECIFIED6,
  device: 'lo',
  ...o
})
const listen = (...listeners: ReadonlyArray<Partial<ListenOrder>>): Step =>
  ask({ type: 'Listen', listeners: listeners.map(order) })
const python = (code: string): Step => ['python', code]
const of = <K extends LauncherReply['type']>(type: K, reply: LauncherReply | undefined) => {
  assert.equal(reply?.type, type, JSON.stringify(reply))
  return reply as Extract<LauncherReply, { type: K }>
}

let ups = 0
/** A command that sets up addresses which exist nowhere else, tells so, and stays until it is ended; steps in between. */
const inside = (who: Who, o: { netnsOnly?: boolean; noPidns?: boolean } = {}) => {
  const up = join(b.dir, `up.${++ups}`)
  const script = `ip link set lo up && ip addr add 192.0.2.7/32 dev lo && ip addr add 2001:db8::7/128 dev lo nodad &&
: > ${up} && exec sleep 100`
  return {
    up: python(`wait_for('${up}')`),
    start: (steps: ReadonlyArray<Step>, options: Options = {}): Run =>
      b.start([setup(true), spawnCommand(1, o), ...steps, ['serve']], {
        who,
        args: ['sh', '-c', script],
        ...options
      })
  }
}
const end = async (r: Run): Promise<void> => {
  process.kill(r.pid, 'SIGKILL')
  await r.ended
}
/** The only note `what` that a run makes; then it is ended. */
const note = async (r: Run, what: string): Promise<unknown> => {
  try {
    return (await r.noted(what))[0]
  } finally {
    await end(r)
  }
}

/** Which of the kept sockets can bind to an address, for (address, port 0) inside and here. */
const BIND = `
def bound(s, address):
    try:
        s.bind((address, 0))
        return 0
    except OSError as e:
        return e.errno
`
const ALL_SOCKETS = [
  sockets('tcp', false, 2),
  sockets('tcp', true, 2),
  sockets('udp', false, 2),
  sockets('udp', true, 2)
]
const DESCRIBE = `
note(made=[[s.family, s.type, bool(fcntl.fcntl(s, fcntl.F_GETFL) & os.O_NONBLOCK), s.getsockname()[1],
    bound(s, '192.0.2.7' if s.family == socket.AF_INET else '2001:db8::7')] for s in taken()],
  here=bound(socket.socket(), '192.0.2.7'))
`

const modes: ReadonlyArray<[Who, string, { netnsOnly?: boolean; noPidns?: boolean }]> = [
  ['root', 'PID namespace', {}],
  ['root', '--no-pidns', { noPidns: true }],
  ['root', '--netns-only', { netnsOnly: true }],
  ['user', 'PID namespace', {}],
  ['user', '--no-pidns', { noPidns: true }]
]

for (const [who, title, mode] of modes)
  describe(`${who}, ${title}`, () => {
    test('sockets are of the namespace: before and after Ready', async () => {
      const { up, start } = inside(who, mode)
      const made = (await note(
        start([...ALL_SOCKETS, ready, up, ...ALL_SOCKETS, python(BIND + DESCRIBE)]),
        'made'
      )) as ReadonlyArray<ReadonlyArray<unknown>>
      const [IN, IN6, STREAM, DGRAM] = [2, 10, 1, 2]
      const once = [
        [IN, STREAM],
        [IN6, STREAM],
        [IN, DGRAM],
        [IN6, DGRAM]
      ].flatMap(([f, t]) => [
        [f, t, true, 0, 0],
        [f, t, true, 0, 0]
      ])
      assert.deepEqual(made, [...once, ...once])
    })
    test('listeners, low ports too; /proc/net shows them, again and again, without privileges', async () => {
      const { up, start } = inside(who, mode)
      const look = `
def look():
    lines = [os.pread(f, 65536, 0).decode().split('\\n')[1:] for f in kept[:4]]
    return [[l.split()[1].split(':')[1] for l in t if l] for t in lines]
`
      const r = start([
        ask({ type: 'ProcNet' }),
        python(`${look}\nseen = [look()]`),
        listen({ port: 80 }, { port: 53, proto: 'udp' }),
        python('seen.append(look())'),
        ...(who === 'root' ? ([['become', 65534]] as const) : []),
        ready,
        up,
        listen({ port: 81, addr: LOOPBACK4 }, { port: 54, proto: 'udp', addr: LOOPBACK4, device: '' }),
        python(`
seen.append(look())
for f in kept[4:]: os.close(f)
end = time.monotonic() + 20
while any(look()) and time.monotonic() < end: # the launcher closes its own a moment after they are here
    time.sleep(0.01)
seen.append(look())
note(seen=seen)`)
      ])
      const seen = (await r.noted('seen'))[0]
      const replies = await r.replies(5)
      assert.deepEqual(of('ProcNet', replies[2].reply).files, ['tcp', 'tcp6', 'udp', 'udp6'])
      const ok = { errno: 0, sockets: 1 }
      assert.deepEqual(of('Listening', replies[3].reply), {
        type: 'Listening',
        split: false,
        outcomes: [ok, ok]
      })
      const none = [[], [], [], []]
      assert.deepEqual(seen, [
        none,
        [[], ['0050'], [], ['0035']],
        [['0051'], ['0050'], ['0036'], ['0035']],
        none
      ])
      await end(r)
    })
  })

describe('listeners', () => {
  test('on lo: reached from inside by 127/8 and ::1, not from here, nor by addresses of the tap', async () => {
    const up = join(b.dir, 'tap-up')
    const r = b.start(
      [
        setup(true),
        spawnCommand(1),
        ['call', { type: 'Tap', vnet: false, ifname: 'tap0' }],
        python('tap = kept.pop()'),
        listen({ port: 7001 }, { port: 7002, proto: 'udp' }),
        python('tcp, udp = taken()'),
        ready,
        python(`wait_for('${up}')`),
        sockets('tcp', false, 3),
        sockets('tcp', true, 1),
        sockets('udp', false, 1),
        python(`
def reach(s, to):
    s.settimeout(30)
    try:
        s.connect(to)
        return 'reached'
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
a, c, d, e, u = taken()
tcp.settimeout(30)
udp.settimeout(30)
out = [reach(a, ('127.0.0.1', 7001)), tcp.accept()[1][0], reach(c, ('127.7.7.7', 7001)), tcp.accept()[1][0],
  reach(d, ('192.0.2.9', 7001)), reach(e, ('::1', 7001)), tcp.accept()[1][0]]
u.sendto(b'x', ('127.0.0.1', 7002))
out += [udp.recvmsg(9, 99)[0].decode()]
out += [reach(socket.socket(), ('127.0.0.1', 7001))]
note(out=out)`),
        ['serve']
      ],
      {
        args: [
          'sh',
          '-c',
          `ip link set lo up; ip addr add 192.0.2.9/24 dev tap0; ip link set tap0 up; : > ${up}; sleep 100`
        ]
      }
    )
    assert.deepEqual(await note(r, 'out'), [
      'reached',
      '::ffff:127.0.0.1',
      'reached',
      '::ffff:127.0.0.1',
      'ECONNREFUSED',
      'reached',
      '::1',
      'x',
      'ECONNREFUSED'
    ])
  })
  test('an outcome for each, descriptors in order, options', async () => {
    const { up, start } = inside('root')
    const r = start([
      ready,
      up,
      listen(
        { port: 7001 },
        { port: 7001 },
        { port: 7002, device: 'no-such' },
        { port: 7003, device: 'lo-and-far-too-long' },
        { port: 7004, addr: fromV4(0xc0000209) },
        { port: 7005, addr: LOOPBACK4, device: '' },
        { port: 7006, v6only: true },
        { port: 7007, proto: 'udp' },
        { port: 7008, proto: 'udp', addr: fromV4(0) },
        { port: 7009, proto: 'udp', v6only: true }
      ),
      python(`
IP, IP6, SOL = 0, 41, socket.SOL_SOCKET
def get(s, level, name):
    try:
        return s.getsockopt(level, name)
    except OSError:
        return -1
note(sockopts=[[s.getsockname()[1], s.family == socket.AF_INET6, bool(fcntl.fcntl(s, fcntl.F_GETFL) & os.O_NONBLOCK), get(s, SOL, socket.SO_REUSEADDR),
  get(s, SOL, socket.SO_ACCEPTCONN), s.getsockopt(SOL, socket.SO_BINDTODEVICE, 16).decode().strip(chr(0)),
  get(s, IP6, 26), get(s, IP, 11), get(s, IP, 8), get(s, IP6, 25), get(s, IP6, 49)] for s in taken()])`)
    ])
    const options = (await r.noted('sockopts'))[0]
    const reply = of('Listening', (await r.replies(4))[3].reply)
    assert.deepEqual(
      reply.outcomes.map((o) => o.errno),
      [0, E.EADDRINUSE, E.ENODEV, E.ENODEV, E.EADDRNOTAVAIL, 0, 0, 0, 0, 0]
    )
    assert.deepEqual(
      reply.outcomes.map((o) => o.sockets),
      [1, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    )
    // UDP without SO_REUSEADDR, which would let others have a share. V6ONLY; RECVERR, PKTINFO of IPv4; of IPv6
    assert.deepEqual(options, [
      [7001, true, true, 1, 1, 'lo', 0, 0, 0, 0, 0],
      [7005, false, true, 1, 1, '', -1, 0, 0, -1, -1],
      [7006, true, true, 1, 1, 'lo', 1, 0, 0, 0, 0],
      [7007, true, true, 0, 0, 'lo', 0, 1, 1, 1, 1],
      [7008, false, true, 0, 0, 'lo', -1, 1, 1, -1, -1],
      [7009, true, true, 0, 0, 'lo', 1, 1, 1, 1, 1]
    ])
    await end(r)
  })
  /** A kernel that refuses devices, as those before 5.7 do without CAP_NET_RAW. */
  const refusing = (): string => {
    const lib = join(b.dir, 'refuse.so')
    const source = `#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	if (level == SOL_SOCKET && name == SO_BINDTODEVICE) {
		errno = EPERM;
		return -1;
	}
	return syscall(SYS_setsockopt, fd, level, name, value, len);
}
`
    writeFileSync(`${lib}.c`, source)
    const made = spawnSync('gcc', ['-shared', '-fPIC', '-o', lib, `${lib}.c`], { encoding: 'utf8' })
    assert.equal(made.status, 0, made.stderr)
    return lib
  }
  test('where devices are refused: 127.0.0.1 and ::1', async () => {
    const { up, start } = inside('root')
    const r = start(
      [
        ready,
        up,
        listen({ port: 7001 }, { port: 7002, addr: LOOPBACK6, device: '' }),
        listen({ port: 7002 }, { port: 7003, proto: 'udp' }, { port: 7004, addr: LOOPBACK4 }),
        python('note(names=[list(s.getsockname()[:2]) for s in taken()])')
      ],
      { env: { LD_PRELOAD: refusing(), ASAN_OPTIONS: 'verify_asan_link_order=0' } }
    )
    assert.deepEqual((await r.noted('names'))[0], [
      ['127.0.0.1', 7001],
      ['::1', 7001],
      ['::1', 7002],
      ['127.0.0.1', 7003],
      ['::1', 7003]
    ])
    const [first, second] = (await r.replies(5)).slice(3).map((x) => of('Listening', x.reply))
    const two = { errno: 0, sockets: 2 }
    assert.deepEqual(first, { type: 'Listening', split: true, outcomes: [two, { errno: 0, sockets: 1 }] })
    // 7002: ::1 is taken already, so neither; 7004: of one address only, where nothing can stand in for the device
    assert.deepEqual(second.outcomes, [
      { errno: E.EADDRINUSE, sockets: 0 },
      two,
      { errno: 95, sockets: 0 } // EOPNOTSUPP
    ])
    await end(r)
  })
})

describe('an engine that asks for much', () => {
  const words = (...w: ReadonlyArray<number>): Uint8Array => new Uint8Array(Uint32Array.from(w).buffer)
  const requestOf = (r: Step): Uint8Array => {
    assert.ok(r[0] === 'try')
    return r[1] instanceof Uint8Array ? r[1] : LauncherRequest.encode(r[1])
  }
  const hex = (r: Step): string => Buffer.from(requestOf(r)).toString('hex')
  const descriptorsOf = (r: Run): number => readdirSync(`/proc/${r.pid}/fd`).length

  test('what is malformed or out of order is said so, in the form of its reply', async () => {
    const bad: ReadonlyArray<Uint8Array> = [
      words(8, 2, 1, 0),
      words(8, 2, 1, 65),
      words(8, 2, 1, 0xffffffff),
      words(8, 2, 1, 1, 0),
      words(8, 2, 2).subarray(0, 11),
      words(8, 2, 3, 1),
      words(8, 17, 3, 1) // AF_PACKET, SOCK_RAW
    ]
    const [lo, v4] = [words(2, 0x6f6c).subarray(0, 6), [0, 0, 0xffff0000, 0x0100007f]]
    const one = (...w: ReadonlyArray<number>) => Uint8Array.of(...words(9, ...w, ...v4), ...lo)
    const badListen: ReadonlyArray<Uint8Array> = [
      words(9),
      words(9, 0),
      words(9, 33),
      one(2, 6, 0, 80), // two announced
      one(1, 1, 0, 80),
      one(1, 6, 0, 0),
      one(1, 6, 0, 65536),
      Uint8Array.of(...one(1, 6, 0, 80), 0),
      words(10, 0)
    ]
    const outside = [words(8, 2, 1, 1), one(1, 6, 0, 80), words(10)]
    const r = b.start(
      [
        setup(true),
        ...outside.map(ask),
        spawnCommand(1),
        ...[...bad, ...badListen].map(ask),
        ready,
        python('note(raw=[len(kept)])'),
        ['serve']
      ],
      { args: ['sleep', '100'] }
    )
    const raw = (await r.noted('raw'))[0]
    assert.deepEqual(raw, [0])
    const all = await r.rawReplies(6 + bad.length + badListen.length)
    const wordsOf = (reply: Uint8Array) => [...new Uint32Array(Uint8Array.from(reply.subarray(0, 12)).buffer)]
    assert.deepEqual([...new Uint32Array(Uint8Array.from(all[1]).buffer)], [0x534b, 2, 1, 0, E.EPROTO])
    assert.deepEqual(wordsOf(all[2]), [9, E.EPROTO, 0])
    assert.deepEqual(wordsOf(all[3]), [10, E.EPROTO, 0])
    const rest = all.slice(5)
    for (const reply of rest.slice(0, bad.length)) {
      const w = [...new Uint32Array(Uint8Array.from(reply).buffer)]
      assert.deepEqual([w.length, w[0], w[3], w[4]], [5, 0x534b, 0, E.EBADMSG])
    }
    for (const reply of rest.slice(bad.length, -1)) assert.equal(wordsOf(reply)[1], E.EBADMSG)
    await end(r)
  })

  for (const who of everyone)
    test(`1000 requests ahead of their replies, as ${who}: all answered, in order`, async () => {
      const kinds = [
        sockets('tcp', false, 32),
        ask({ type: 'Netlink', bytes: GETLINK }),
        sockets('udp', true, 1)
      ]
      const { up, start } = inside(who)
      const r = start([
        ready,
        up,
        python(`
requests = [bytes.fromhex(h) for h in ${JSON.stringify(kinds.map(hex))}]
sent, got = 0, []
ctl.setblocking(False)
while len(got) < 1000:
    readable, writable, _ = select.select([ctl], [ctl] if sent < 1000 else [], [])
    while writable and sent < 1000:
        try:
            ctl.send(requests[sent % 3])
            sent += 1
        except BlockingIOError:
            break
    while readable:
        try:
            data, fds, truncated = receive()
        except BlockingIOError:
            break
        for f in fds:
            os.close(f)
        kept.clear()
        count = int.from_bytes(data[12:16], 'little')
        got.append([data[:2].hex(), data[2] | data[4] if data[:4] != SOCKETS else data[4],
          len(fds), len(fds) == count and not truncated])
ctl.setblocking(True)
note(got=got)`)
      ])
      const got = (await r.noted('got'))[0] as ReadonlyArray<readonly [string, number, number, boolean]>
      for (const [i, g] of got.entries()) {
        if (i % 3 === 1) assert.equal(g[0], '0500')
        else {
          assert.deepEqual([g[0], g[1], g[3]], ['4b53', i % 3 === 0 ? 2 : 10, true])
          // What a user may have on its way is limited (unix(7), ETOOMANYREFS); then there are none
          if (who === 'root') assert.equal(g[2], i % 3 === 0 ? 32 : 1)
        }
      }
      await end(r)
    })

  test('replies that wait are sent when the engine reads again; nothing stays open in the launcher', async () => {
    const gate = b.gate()
    const r = inside('root').start([
      ready,
      python('note(go=1)'),
      gate.step,
      python(`
request = bytes.fromhex('${hex(sockets('tcp', true, 64))}')
ctl.setblocking(False)
sent = 0
for _ in range(100):
    try:
        while True:
            ctl.send(request)
            sent += 1
    except BlockingIOError:
        time.sleep(0.01)
ctl.setblocking(True)
note(sent=sent)
time.sleep(0.5)
passed = 0
for _ in range(sent):
    _, fds, _ = receive()
    passed += len(fds)
    for f in fds:
        os.close(f)
    kept.clear()
note(passed=passed)`)
    ])
    await r.noted('go')
    const before = descriptorsOf(r)
    gate.open()
    const sent = (await r.noted('sent'))[0] as number
    assert.ok(sent > 100, `${sent}`)
    assert.ok(descriptorsOf(r) <= before + 64)
    assert.equal((await r.noted('passed'))[0], sent * 64)
    await until('its descriptors to be closed', () => descriptorsOf(r) === before)
    await end(r)
  })
  test('one that never reads is ended', async () => {
    const r = await b.start([...runCommand().slice(0, -1), ['flood', requestOf(sockets('udp', false, 64))]], {
      args: ['sleep', '100']
    }).ended
    assert.equal(r.status, 2)
    assert.match(r.stderr, /engine ended unexpectedly/)
    assert.ok(r.ms >= 4900 && r.ms < 30_000, `${r.ms} ms`)
  })
  test('the command ends while the engine does not read: so do we, with its status', async () => {
    const r = b.start([...runCommand().slice(0, -1), ['flood', requestOf(sockets('udp', false, 64))]], {
      args: ['sh', '-c', 'sleep 0.5; exit 3']
    })
    const e = await r.ended
    assert.deepEqual([e.status, e.stderr], [3, '']) // and did not lose patience with the engine first
  })
  test('EMFILE in the launcher: those that there are, with the errno; then as many again', async () => {
    const r = inside('root').start(
      [
        python('resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))'),
        ready,
        ...[1, 2, 3].flatMap(() => [sockets('tcp', false, 64)]),
        listen({}, ...Array.from({ length: 31 }, (_, i) => ({ port: 8000 + i })))
      ],
      { before: ['sh', '-c', 'ulimit -S -n 32; exec "$@"', 'sh'] }
    )
    const replies = (await r.replies(7)).slice(3)
    const counts = replies.slice(0, 3).map(({ reply, fds }) => {
      const s = of('Sockets', reply)
      assert.equal(s.count, fds.length)
      assert.equal(s.errno, E.EMFILE)
      return s.count
    })
    assert.ok(counts[0] > 5 && counts[0] < 32, `${counts}`)
    assert.equal(new Set(counts).size, 1)
    const listening = of('Listening', replies[3].reply).outcomes
    assert.ok(listening[0].errno === 0 && listening[31].errno === E.EMFILE)
    assert.equal(replies[3].fds.length, listening.filter((o) => o.errno === 0).length)
    await end(r)
  })
  test('more on their way than a user may have: none, with an errno, and more later', async () => {
    const r = inside('user').start(
      [
        ready,
        python(`
request = bytes.fromhex('${hex(sockets('tcp', false, 32))}')
counts = []
for _ in range(2):
    for _ in range(8):
        ctl.send(request)
    select.select([ctl], [], [])
    size, have = len(ctl.recv(1 << 17, socket.MSG_PEEK)), array.array('i', [0])
    while have[0] < 8 * size: # all of them wait (unix(7), SIOCINQ)
        fcntl.ioctl(ctl, 0x541b, have)
        time.sleep(0.01)
    for _ in range(8):
        data, fds, _ = receive()
        counts.append([len(fds), data[16]])
        for f in fds:
            os.close(f)
        kept.clear()
note(counts=counts)`)
      ],
      { before: ['sh', '-c', 'ulimit -S -n 64; exec "$@"', 'sh'] }
    )
    const counts = (await note(r, 'counts')) as ReadonlyArray<readonly [number, number]>
    assert.deepEqual(counts[0], [32, 0])
    assert.deepEqual(counts[7], [0, 109])
    assert.deepEqual(counts[8], [32, 0])
  })
})
