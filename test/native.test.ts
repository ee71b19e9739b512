/** The addon as Node sees it: rings, events, errors; TCP and UDP against loopback. native/test/ has the depth. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { constants } from 'node:os'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { octetsOfText } from '../src/codecs/value/octet-text.js'
import {
  ABI_WORDS,
  EF,
  EV,
  IN_NAMESPACE,
  LISTEN_WORDS,
  type Native,
  PEEK_DRAINED,
  READY_IN,
  SEND_REPORT_ACK
} from '../src/runtime/abi/abi.js'

const path = fileURLToPath(new URL('../build/Release/passt.node', import.meta.url))
const LOOPBACK = [0, 0, 0xffff, 0x7f000001] as const

describe('addon', () => {
  let native: Native
  let slab: Uint8Array
  let fx: Int32Array
  let ev: Uint32Array
  let clock: Float64Array
  let count = 0

  before(() => {
    native = createRequire(import.meta.url)(path) as Native
    assert.throws(() => native.turn(0, 0), { code: 'EINVAL' })
    const m = native.open({ txSize: 1 << 20, rxSize: 4 << 20, handles: 16, effects: 64, events: 64 })
    slab = new Uint8Array(m.slab)
    fx = new Int32Array(m.effects)
    ev = new Uint32Array(m.events)
    clock = new Float64Array(m.clock)
  })

  const effect = (...words: number[]): void => {
    const at = count++ * ABI_WORDS
    fx.fill(0, at, at + ABI_WORDS)
    fx.set(words, at)
  }
  const seen: Uint32Array[] = []
  /** Turns, with room for Node's own loop in between, until an event of `kind` came; others wait for their turn. */
  const until = async (kind: number, handle: number): Promise<Uint32Array> => {
    for (let i = 0; i < 400; i++) {
      const at = seen.findIndex((e) => e[0] === kind && e[1] === handle)
      if (at >= 0) return seen.splice(at, 1)[0]
      const n = native.turn(count, 2)
      count = 0
      for (let k = 0; k < n; k++) seen.push(ev.slice(k * ABI_WORDS, (k + 1) * ABI_WORDS))
      await new Promise((r) => setImmediate(r))
    }
    throw new Error(`no event ${kind} for ${handle}`)
  }
  const text = (off: number, len: number): string => Buffer.from(slab.subarray(off, off + len)).toString()
  const put = (s: string, at: number): number => Buffer.from(s).copy(slab, at)

  test('TCP: connect, send with report, answer, reset', async (t) => {
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
    server.on('connection', (c) => t.after(() => c.destroy()))
    t.after(() => server.close())
    await once(server, 'listening')
    const accepted = once(server, 'connection')
    effect(EF.TCP_CONNECT, 1, ...LOOPBACK, (server.address() as AddressInfo).port, 0, 1400)
    const connected = await until(EV.CONNECTED, 1)
    assert.ok(connected[4] > 0 && connected[10] > 0 && connected[11] >= connected[10])
    const [peer] = (await accepted) as [Socket]
    const data = once(peer, 'data')
    effect(EF.SEND, 1, 64, put('ping', 64), SEND_REPORT_ACK)
    const sent = await until(EV.SENT, 1)
    assert.deepEqual([sent[2], sent[3], sent[12], sent[13]], [4, 0, 0, 0])
    assert.equal(String((await data)[0]), 'ping')
    assert.equal((await until(EV.ACKED, 1))[2], 3)

    peer.write('pong')
    assert.ok((await until(EV.READY, 1))[2] & READY_IN)
    // no tap: the peek is refused, and says so
    slab.fill(0, 4096, 4096 + 64)
    slab[4096 + 10 + 12] = 0x08 // IPv4
    slab[4096 + 10 + 14] = 0x45
    slab[4096 + 10 + 14 + 9] = 6 // TCP
    slab[4096 + 10 + 34 + 12] = 0x50
    effect(EF.PEEK, 1, 4096, 54, 1000, 1400, 0)
    const peeked = await until(EV.PEEKED, 1)
    assert.equal(peeked[2], 0)
    assert.equal(peeked[3] & PEEK_DRAINED, 0)

    const reset = once(peer, 'error')
    effect(EF.RESET, 1)
    native.turn(count, 0)
    count = 0
    assert.equal((await reset)[0].code, 'ECONNRESET')
  })

  test('UDP: both ways, ICMP error when nobody listens', async () => {
    const peer = createSocket('udp4').bind(0, '127.0.0.1')
    await once(peer, 'listening')
    effect(EF.UDP_OPEN, 2, ...LOOPBACK, peer.address().port)
    effect(EF.UDP_SEND, 2, 64, put('one', 64), 64)
    const got = once(peer, 'message')
    native.turn(count, 0)
    count = 0
    const [message, from] = (await got) as [Buffer, { port: number }]
    assert.equal(message.toString(), 'one')
    peer.send('two', from.port, '127.0.0.1')
    const e = await until(EV.DATAGRAM, 2)
    assert.equal(text(e[2], e[3]), 'two')
    assert.ok(e[2] >= (1 << 20) + 128)
    peer.close()
    await once(peer, 'close')
    effect(EF.UDP_SEND, 2, 64, put('lost', 64), 0)
    const error = await until(EV.ICMP_ERROR, 2)
    assert.deepEqual([...error.subarray(5, 7), ...error.subarray(8, 12)], [3, 3, ...LOOPBACK])
    assert.equal(text(error[2], error[3]), 'lost')
    effect(EF.CLOSE, 2)
  })

  /** A port that nobody uses at this moment. */
  const freePort = async (): Promise<number> => {
    const probe = createServer().listen(0, '127.0.0.1')
    await once(probe, 'listening')
    const { port } = probe.address() as AddressInfo
    probe.close()
    await once(probe, 'close')
    return port
  }
  const listener = (id: number, proto: number, port: number, flags = 0, ifname = 0): number[] => [
    ...[id, proto, ...LOOPBACK, port, flags, ifname]
  ]

  test('listeners: one errno for each, accepted connections adopted, rejected, spliced', async () => {
    const [a, b] = [await freePort(), await freePort()]
    const batch = Int32Array.from([
      ...listener(0, 6, a),
      ...listener(1, 6, a),
      ...listener(2, 17, a, 0, 1),
      ...listener(2, 17, b, 0, 2),
      ...listener(3, 1, b),
      ...listener(3, 6, 70000),
      ...listener(3, 6, b, 0, 3)
    ])
    const { EADDRINUSE, ENODEV, EINVAL } = constants.errno
    assert.deepEqual(
      [...native.listen(batch, ['no-such-device', 'lo'].map(octetsOfText))],
      [0, EADDRINUSE, ENODEV, 0, EINVAL, EINVAL, EINVAL]
    )
    assert.throws(() => native.listen(new Int32Array(LISTEN_WORDS - 1), []), { code: 'EINVAL' })
    assert.throws(() => native.adoptListener(4, 987, 6, 0), { code: 'EBADF' })
    assert.equal(native.closeListener(9), false)

    const one = connect(a, '127.0.0.1')
    const accepted = await until(EV.ACCEPTED, 0)
    assert.deepEqual([...accepted.subarray(4, 12)], [...LOOPBACK, ...LOOPBACK])
    assert.deepEqual([accepted[3] & 0xffff, accepted[3] >>> 16], [one.localPort, a])
    effect(EF.ADOPT, 1, accepted[2])
    await until(EV.CONNECTED, 1)
    effect(EF.SEND, 1, 64, put('hello', 64))
    const data = once(one, 'data')
    await until(EV.SENT, 1)
    assert.equal(String((await data)[0]), 'hello')
    effect(EF.CLOSE, 1)

    const two = connect(a, '127.0.0.1')
    effect(EF.REJECT, 0, (await until(EV.ACCEPTED, 0))[2])
    native.turn(count, 0)
    count = 0
    assert.equal((await once(two, 'error'))[0].code, 'ECONNRESET')

    const server = createServer({ allowHalfOpen: true }, (c) => c.pipe(c)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const three = connect({ port: a, host: '127.0.0.1', allowHalfOpen: true })
    const slot = (await until(EV.ACCEPTED, 0))[2]
    effect(EF.SPLICE, 3, ...LOOPBACK, (server.address() as AddressInfo).port, 0, slot)
    await until(EV.SPLICE_CONNECTED, 3)
    three.end('spliced')
    const first = await until(EV.SPLICE_EOF, 3)
    assert.deepEqual([first[2], first[4]], [0, 7])
    effect(EF.SPLICE_SHUT, 3, 1)
    const last = await until(EV.SPLICE_EOF, 3)
    assert.deepEqual([last[2], last[4], last[6]], [1, 7, 7])
    effect(EF.SPLICE_SHUT, 3, 0)
    effect(EF.SPLICE_CLOSE, 3)
    native.turn(count, 0)
    count = 0
    three.setEncoding('utf8')
    assert.equal((await three.toArray()).join(''), 'spliced')
    server.close()

    const from = createSocket('udp4').bind(0, '127.0.0.1')
    await once(from, 'listening')
    from.send('datagram', b, '127.0.0.1')
    const e = await until(EV.LISTEN_DATAGRAM, 2)
    assert.equal(text(e[2], e[3]), 'datagram')
    assert.deepEqual([e[5], ...e.subarray(6, 14)], [from.address().port, ...LOOPBACK, ...LOOPBACK])
    from.close()
    assert.equal(native.closeListener(2), true)
    assert.equal(native.closeListener(2), false)
    assert.equal(native.closeListener(0), true)
  })

  test('thousands of listeners at once', () => {
    const n = 4000
    const any = Array.from({ length: n }, (_, i) => [100 + i, i & 1 ? 6 : 17, 0, 0, 0, 0, 0, 0, 0]).flat()
    assert.ok(native.listen(Int32Array.from(any), []).every((e) => e === 0))
    for (let id = 100; id < 100 + n; id++) assert.equal(native.closeListener(id), true)
  })

  test('a batch of sockets in front of an answer of the launcher', () => {
    // the launcher is Python here, the engine a Node of its own with the addon and nothing else
    const engine = `
      const native = require(process.argv[1])
      const m = native.open({ txSize: 4096, rxSize: 1 << 20, handles: 4, effects: 16, events: 16 })
      const ctl = Number(process.argv[2])
      native.setCtl(ctl)
      const r = native.ctlCall(ctl, Uint8Array.of(1, 2, 3))
      const put = (s, at) => Buffer.from(s).copy(new Uint8Array(m.slab), at)
      const port = Number(Buffer.from(r.data).toString())
      new Int32Array(m.effects).set([${EF.UDP_OPEN}, 1, 0, 0, 0xffff, 0x7f000001, port, 0, 0, 0, 0, 0, 0, ${IN_NAMESPACE}])
      new Int32Array(m.effects).set([${EF.UDP_SEND}, 1, 0, put('from the pool', 0)], ${ABI_WORDS})
      process.exit(native.turn(2, 0) === 0 && r.fd === -1 ? 0 : 1)`
    const agent = `
import array, socket, subprocess, struct, sys
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0)); u.settimeout(5)
fd = theirs.fileno()
node = subprocess.Popen([sys.argv[1], "-e", sys.argv[2], sys.argv[3], str(fd)], pass_fds=[fd])
assert ours.recv(100) == bytes([1, 2, 3])
pool = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(40)]
ours.sendmsg([struct.pack("<4I", 0x534b, socket.AF_INET, socket.SOCK_DGRAM, 40)],
  [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno() for s in pool]))])
ours.send(str(u.getsockname()[1]).encode())
print(u.recv(100).decode(), node.wait())`
    const r = spawnSync('python3', ['-c', agent, process.execPath, engine, path], { encoding: 'utf8' })
    assert.equal(r.stdout, 'from the pool 0\n', r.stderr)
  })

  test('clock, time-out, netlink, errors with errno and code', () => {
    const t = native.now()
    // a signal ends a turn early (epoll_wait(2), EINTR), so a few turns may be needed; one that never waits takes thousands
    for (let turns = 0; turns < 10 && clock[0] - t < 5; turns++) {
      native.turn(count, 5.5)
      count = 0
    }
    assert.ok(clock[0] - t >= 5, `${clock[0] - t} ms`)
    assert.ok(clock[0] <= native.now(), 'a clock that is ahead')
    const dump = new Uint8Array(32)
    const v = new DataView(dump.buffer)
    v.setUint32(0, 32, true)
    v.setUint16(4, 18, true) // RTM_GETLINK
    v.setUint16(6, 0x301, true) // NLM_F_REQUEST | NLM_F_DUMP
    assert.ok(native.netlink(dump).length > 0)
    assert.throws(() => native.netlink(new Uint8Array(3)), { errno: 22, code: 'EINVAL' })
    assert.throws(() => native.setTap(987, true), { errno: 9, code: 'EBADF' })
    assert.throws(() => native.ctlSend(987, new Uint8Array(1)), { code: 'EBADF' })
    assert.throws(() => native.netlink('x' as unknown as Uint8Array), { code: 'EINVAL' })
  })

  after(() => {
    for (let h = 0; h < 16; h++) effect(EF.CLOSE, h)
    native.turn(count, 0)
  })
})
