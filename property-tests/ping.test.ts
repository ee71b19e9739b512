import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { fromV4, UNSPECIFIED6 } from '../src/codecs/value/inany.js'
import { type Effect, instant } from '../src/effects/effect.js'
import { PING_TIMEOUT, type PingEvent, type PingInput, pingMachine } from '../src/machines/flow/ping.js'
import { compile } from '../src/runtime/machine/compile.js'
import { real } from './arbitraries.js'
import { sameAsXstate, untilAllTaken } from './same-as-xstate.js'

const ping = compile(pingMachine)
// 0: the turn that opened it is not over yet.
const now = fc.oneof({ weight: 9, arbitrary: real(0, 200_000).map(instant) }, fc.constant(instant(0)))
const payload = fc.record({ off: fc.nat(1e6), len: fc.integer({ min: 8, max: 65515 }) })
const errno = fc.constantFrom(0, 1, 11, 13, 24, 90, 97, 101, 105, 111, 113)
const event: fc.Arbitrary<PingEvent> = fc.oneof(
  fc.record({
    type: fc.constant('TAP_ECHO' as const),
    payload,
    ttl: fc.constantFrom(0, 1, 64),
    seq: fc.constantFrom(0, 1, 65535),
    now
  }),
  fc.record({ type: fc.constant('SOCK_DATAGRAM' as const), payload, segment: fc.constant(0), now }),
  fc.record({
    type: fc.constant('SOCK_ICMP_ERROR' as const),
    errno,
    icmpType: fc.nat(16),
    code: fc.nat(17),
    mtu: fc.constantFrom(0, 1300),
    offender: fc.constantFrom(fromV4(0x0a000001), UNSPECIFIED6),
    quoted: payload,
    now
  }),
  fc.record({ type: fc.constant('SOCK_REFUSED' as const), errno, now }),
  fc.record({ type: fc.constant('TIMER_IDLE' as const), now })
)
const giveUp = fc.record({ type: fc.constant('SOCK_FAILED' as const), errno, refused: fc.boolean(), now })
const end = fc.oneof(giveUp, fc.record({ type: fc.constant('STOP' as const), now }))
const prefix: fc.Arbitrary<readonly PingEvent[]> = fc.oneof(
  { weight: 9, arbitrary: fc.constant([]) },
  giveUp.map((e) => [e])
)
const foreign = fc.record({ type: fc.constant('ANOTHER_MACHINES' as never), now })
const any = fc.oneof({ weight: 15, arbitrary: event }, end, foreign)
const input: fc.Arbitrary<PingInput> = fc.record({
  now: fc.constant(instant(0)),
  v6: fc.boolean(),
  id: fc.constantFrom(0, 1, 65535)
})

test('compiled ping = xstate ping', () =>
  untilAllTaken(pingMachine, () => sameAsXstate(pingMachine, input, any, { prefix })))

const p = { off: 100, len: 64 }
const open = (id = 7, v6 = false) => {
  let out: Effect[] = []
  let s = ping.start({ now: instant(0), v6, id }, out)
  return {
    started: out,
    at: (e: PingEvent): Effect[] => {
      out = []
      s = ping.step(s, e, out)
      return out
    },
    value: () => ping.value(s)
  }
}
const echo = (ms: number, seq = 1, ttl = 64): PingEvent => ({
  type: 'TAP_ECHO',
  payload: p,
  ttl,
  seq,
  now: instant(ms)
})
const reply = (ms: number): PingEvent => ({ type: 'SOCK_DATAGRAM', payload: p, segment: 0, now: instant(ms) })
const failed = (e: number): PingEvent => ({ type: 'SOCK_FAILED', errno: e, now: instant(1) })

describe('echo', () => {
  test('regression-22 and regression-45: the guest gets its own identifier back, 0 as well', () => {
    for (const id of [0, 1, 65535]) {
      const f = open(id)
      assert.deepEqual(f.started[0], { type: 'PingOpen' })
      assert.deepEqual(f.at(echo(0)), [{ type: 'PingToSock', payload: p, ttl: 64 }])
      assert.deepEqual(f.at(reply(1)), [{ type: 'EchoReplyToTap', payload: p, id }])
    }
  })
  test('regression-7: sequence 0 first, and a duplicated reply, pass', () => {
    const f = open()
    assert.deepEqual(
      f.at(echo(0, 0)).map((e) => e.type),
      ['PingToSock']
    )
    for (let i = 0; i < 2; i++)
      assert.deepEqual(
        f.at(reply(1)).map((e) => e.type),
        ['EchoReplyToTap']
      )
  })
  test('TTL goes outward and time exceeded comes back: ICMP traceroute', () => {
    const f = open()
    assert.deepEqual(f.at(echo(0, 1, 1)), [{ type: 'PingToSock', payload: p, ttl: 1 }])
    const offender = fromV4(0x0a000001)
    const e = {
      type: 'SOCK_ICMP_ERROR',
      errno: 113,
      icmpType: 11,
      code: 0,
      mtu: 0,
      offender,
      quoted: p,
      now: instant(2)
    } as const
    assert.deepEqual(f.at(e), [
      { type: 'IcmpErrorToTap', icmpType: 11, code: 0, mtu: 0, offender, quoted: p }
    ])
    assert.deepEqual(
      f.at({ ...e, icmpType: 5 }).map((x) => x.type),
      ['Count']
    )
  })
  test('60 s after the last request, replies notwithstanding', () => {
    const f = open()
    f.at(echo(0))
    f.at(echo(40_000))
    f.at(reply(59_000))
    assert.deepEqual(f.at({ type: 'TIMER_IDLE', now: instant(PING_TIMEOUT) }), [
      { type: 'ArmTimer', timer: 'idle', at: 100_000 }
    ])
    assert.deepEqual(
      f.at({ type: 'TIMER_IDLE', now: instant(100_000) }).map((e) => e.type),
      ['CancelTimer', 'CloseSock']
    )
    assert.equal(f.value(), 'closed')
  })
  test('a request at a moment that does not add up exactly (found by the property below)', () => {
    const f = open()
    const at = 58087.85261725676
    f.at(echo(at))
    assert.deepEqual(f.at({ type: 'TIMER_IDLE', now: instant(at + PING_TIMEOUT) }).length, 2)
  })
  test('no permission is counted by its own name', () => {
    const f = open()
    f.at(echo(0))
    assert.deepEqual(f.at(failed(13)), [
      { type: 'Count', what: 'ping-not-permitted' },
      { type: 'CancelTimer', timer: 'idle' },
      { type: 'CloseSock' }
    ])
  })
  test('a destination that the kernel refuses is told, of the last request; it is no lack of permission', () => {
    for (const at of ['SOCK_FAILED', 'SOCK_REFUSED'] as const) {
      const f = open()
      f.at(echo(0, 7))
      f.at(echo(0, 8))
      const out = f.at({ type: at, errno: 13, refused: true, now: instant(1) })
      const quoted = { off: 0, len: 0 }
      assert.deepEqual(out[0], {
        type: 'IcmpErrorToTap',
        icmpType: 3,
        code: 13,
        mtu: 0,
        offender: null,
        quoted,
        seq: 8
      })
      assert.deepEqual(out[1], { type: 'Count', what: 'ping-refused' })
    }
  })
  test('a socket that native gave up ends the flow, whatever the reason', () => {
    for (const e of [0, 11, 90, 101, 113]) {
      const f = open()
      f.at(echo(0))
      f.at(reply(1))
      assert.deepEqual(
        f.at(failed(e)).map((x) => x.type),
        ['Count', 'CancelTimer', 'CloseSock']
      )
    }
  })
})

test('every schedule ends, with socket and timer given back', () => {
  fc.assert(
    fc.property(input, fc.array(event, { maxLength: 50 }), (i, events) => {
      const out: Effect[] = []
      let s = ping.start(i, out)
      let t = 0
      for (const e of events) {
        t = Math.max(t, e.now)
        s = ping.step(s, { ...e, now: instant(t) }, out)
      }
      for (let n = 0; n < 2 && !ping.isFinal(s); n++) {
        t = Math.max(t, out.filter((e) => e.type === 'ArmTimer').at(-1)?.at ?? Number.NaN)
        s = ping.step(s, { type: 'TIMER_IDLE', now: instant(t) }, out)
      }
      assert.ok(ping.isFinal(s))
      assert.deepEqual(
        out.filter((e) => e.type === 'PingOpen' || e.type === 'CloseSock').map((e) => e.type),
        ['PingOpen', 'CloseSock']
      )
      assert.deepEqual(
        out.slice(-2).map((e) => e.type),
        ['CancelTimer', 'CloseSock']
      )
      for (const e of out) if (e.type === 'EchoReplyToTap') assert.equal(e.id, i.id)
    }),
    { numRuns: 500 }
  )
})
