/** The addon as Node sees it: rings, events, errors; TCP and UDP against loopback. native/test/ has the depth. */
import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  ABI_WORDS,
  EF,
  EV,
  type Native,
  PEEK_DRAINED,
  READY_IN,
  SEND_REPORT_ACK
} from '../src/runtime/abi.js'

const path = fileURLToPath(new URL('../build/Release/passt.node', import.meta.url))
const LOOPBACK = [0, 0, 0xffff, 0x7f000001] as const

describe('addon', { skip: existsSync(path) ? false : 'not built' }, () => {
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

  test('TCP: connect, send with report, answer, reset', async () => {
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
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
    slab[4096 + 10 + 14] = 0x45
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
    server.close()
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

  test('clock, time-out, netlink, errors with errno and code', () => {
    const t = native.now()
    native.turn(count, 5.5)
    count = 0
    assert.ok(clock[0] - t >= 5 && clock[0] <= native.now())
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
