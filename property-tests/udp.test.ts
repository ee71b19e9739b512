import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { fromV4, UNSPECIFIED6 } from '../src/codecs/value/inany.js'
import { type Effect, instant } from '../src/effects/effect.js'
import { ERROR_BURST, ERROR_EVERY, spendError } from '../src/machines/flow/host-errors.js'
import {
  UDP_TIMEOUTS,
  type UdpContext,
  type UdpEvent,
  type UdpInput,
  udpMachine
} from '../src/machines/flow/udp.js'
import { compile, type State } from '../src/runtime/machine/compile.js'
import { real } from './arbitraries.js'
import { sameAsXstate, untilAllTaken } from './same-as-xstate.js'

const udp = compile(udpMachine)
const now = real(0, 400_000).map(instant)
const payload = fc.record({ off: fc.nat(1e6), len: fc.constantFrom(0, 1, 1372, 3000, 65507) })
const segment = fc.constantFrom(0, 1372)
const errno = fc.constantFrom(0, 1, 9, 11, 13, 22, 24, 90, 98, 101, 105, 111, 113)
const event: fc.Arbitrary<UdpEvent> = fc.oneof(
  fc.record({
    type: fc.constant('TAP_DATAGRAM' as const),
    payload,
    ttl: fc.constantFrom(0, 1, 33, 64, 255),
    segment,
    now
  }),
  fc.record({ type: fc.constant('SOCK_DATAGRAM' as const), payload, segment, now }),
  fc.record({
    type: fc.constant('SOCK_ANSWER' as const),
    from: fc.constant(fromV4(0x0a000009)),
    fromPort: fc.constant(1900),
    payload,
    segment,
    now
  }),
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
const prefix: fc.Arbitrary<readonly UdpEvent[]> = fc.oneof(
  { weight: 9, arbitrary: fc.constant([]) },
  giveUp.map((e) => [e])
)
const foreign = fc.record({ type: fc.constant('ANOTHER_MACHINES' as never), now })
const any = fc.oneof({ weight: 15, arbitrary: event }, end, foreign)
const input: fc.Arbitrary<UdpInput> = fc.record({
  now: fc.constantFrom(0, 1000).map(instant),
  v6: fc.boolean(),
  timeouts: fc.constantFrom(UDP_TIMEOUTS, { oneWay: 50, stream: 20 })
})

test('compiled udp = xstate udp', () =>
  untilAllTaken(udpMachine, () => sameAsXstate(udpMachine, input, any, { prefix })))

/** A flow whose socket is known to be open, and a way to step it that shows effects. */
class Flow {
  s: State<UdpContext>
  out: Effect[] = []
  constructor(v6 = false) {
    this.s = udp.start({ now: instant(0), v6, timeouts: UDP_TIMEOUTS }, this.out)
  }
  at(e: UdpEvent): string[] {
    this.out = []
    this.s = udp.step(this.s, e, this.out)
    return this.out.map((x) => x.type)
  }
  get state(): string {
    return udp.value(this.s)
  }
  tap = (ms: number, len = 1, seg = 0, ttl = 64): string[] =>
    this.at({ type: 'TAP_DATAGRAM', payload: { off: 0, len }, ttl, segment: seg, now: instant(ms) })
  sock = (ms: number, len = 1, seg = 0): string[] =>
    this.at({ type: 'SOCK_DATAGRAM', payload: { off: 9, len }, segment: seg, now: instant(ms) })
  fail = (e: number, ms = 1): string[] => this.at({ type: 'SOCK_FAILED', errno: e, now: instant(ms) })
  timer = (ms: number): string[] => this.at({ type: 'TIMER_IDLE', now: instant(ms) })
  icmp = (icmpType: number, code: number, mtu = 0): string[] =>
    this.at({
      type: 'SOCK_ICMP_ERROR',
      errno: 111,
      icmpType,
      code,
      mtu,
      offender: fromV4(1),
      quoted: { off: 0, len: 8 },
      now: instant(1)
    })
}

describe('life of a flow', () => {
  test('opens its socket and arms one timer', () => {
    const f = new Flow()
    assert.deepEqual(f.out, [{ type: 'UdpOpen' }, { type: 'ArmTimer', timer: 'idle', at: 30_000 }])
    assert.deepEqual(f.tap(0), ['UdpToSock'])
    assert.equal(f.state, 'open.opening')
    assert.deepEqual(f.tap(0.5), ['UdpToSock'])
    assert.equal(f.state, 'open.oneWay')
  })
  test('regression-6: empty datagrams pass both ways', () => {
    const f = new Flow()
    assert.deepEqual(f.tap(0, 0), ['UdpToSock'])
    assert.deepEqual(f.sock(1, 0), ['UdpToTap'])
  })
  test('one datagram each way is not a stream, one more is', () => {
    const f = new Flow()
    f.tap(0)
    f.sock(1)
    assert.equal(f.state, 'open.oneWay')
    assert.deepEqual(f.tap(2), ['UdpToSock', 'ArmTimer'])
    assert.equal(f.state, 'open.stream')
    assert.deepEqual(f.out[1], { type: 'ArmTimer', timer: 'idle', at: 120_002 })
  })
  test('segments of one batch count as datagrams', () => {
    const f = new Flow()
    f.tap(0, 3000, 1372)
    f.sock(1)
    assert.equal(f.state, 'open.stream')
  })
  test('one side alone never makes a stream', () => {
    const f = new Flow()
    for (let i = 0; i < 300; i++) f.tap(i)
    assert.equal(f.state, 'open.oneWay')
  })
  test('no timer is moved per datagram; it looks at the last activity when it fires', () => {
    const f = new Flow()
    for (let i = 1; i < 100; i++) assert.deepEqual(f.tap(i * 100), ['UdpToSock'])
    assert.deepEqual(f.timer(30_000), ['ArmTimer'])
    assert.deepEqual(f.out[0], { type: 'ArmTimer', timer: 'idle', at: 39_900 })
    assert.deepEqual(f.timer(39_900), ['CancelTimer', 'CloseSock'])
    assert.equal(f.state, 'closed')
  })
  test('answers to a group come from whoever answers, and only questions prolong the time for them', () => {
    const f = new Flow()
    f.tap(0)
    f.tap(10_000)
    const from = fromV4(0x0a000009)
    const payload = { off: 9, len: 3 }
    for (const ms of [11_000, 39_000]) {
      f.at({ type: 'SOCK_ANSWER', from, fromPort: 1900, payload, segment: 0, now: instant(ms) })
      assert.deepEqual(f.out, [{ type: 'UdpAnswerToTap', from, fromPort: 1900, payload, segment: 0 }])
    }
    assert.equal(f.state, 'open.oneWay')
    assert.deepEqual(f.timer(40_000), ['CancelTimer', 'CloseSock'])
  })
  test('TTL 0 is not forwarded (RFC 791), others go along', () => {
    const f = new Flow()
    assert.deepEqual(f.tap(0, 1, 0, 0), ['Count'])
    f.tap(0, 1, 0, 33)
    assert.deepEqual(f.out[0], { type: 'UdpToSock', payload: { off: 0, len: 1 }, ttl: 33, segment: 0 })
  })
})

describe('socket errors', () => {
  test('regression-28: a refused open ends the flow at once, socket and timer with it', () => {
    for (const e of [13, 24, 98, 99, 101]) {
      const f = new Flow()
      f.tap(0)
      assert.deepEqual(f.fail(e), ['Count', 'CancelTimer', 'CloseSock'])
      assert.ok(udp.isFinal(f.s))
    }
  })
  test('regression-21: a socket that native gave up ends the flow, whatever the reason, so that the next datagram opens another', () => {
    for (const e of [1, 11, 90, 101, 105, 111, 113]) {
      const f = new Flow()
      f.tap(0)
      f.sock(1)
      assert.deepEqual(f.fail(e), ['Count', 'CancelTimer', 'CloseSock'])
      assert.ok(udp.isFinal(f.s))
    }
  })
  test('a destination that the kernel refuses is told with the code a router would use; a blackhole like a host', () => {
    const codes = {
      1: [13, 1],
      13: [13, 1],
      22: [13, 6],
      99: [0, 0],
      100: [0, 0],
      101: [0, 0],
      112: [1, 3],
      113: [13, 6]
    }
    for (const [e, both] of Object.entries(codes))
      for (const v6 of [false, true]) {
        const told = { type: 'IcmpErrorToTap', icmpType: v6 ? 1 : 3, code: both[v6 ? 1 : 0], mtu: 0 }
        const quoted = { off: 0, len: 0 }
        const f = new Flow(v6)
        f.tap(0)
        f.at({ type: 'SOCK_REFUSED', errno: Number(e), now: instant(1) })
        assert.deepEqual(f.out[0], { ...told, offender: null, quoted })
        assert.equal(f.state, 'open.opening')
        f.at({ type: 'SOCK_FAILED', errno: Number(e), refused: true, now: instant(1) })
        assert.deepEqual(f.out[0], { ...told, offender: null, quoted })
        assert.equal(f.state, 'closed')
      }
  })
  test('not told: what has another reason, and of datagrams that the guest did not send', () => {
    const f = new Flow()
    f.tap(0)
    assert.deepEqual(f.at({ type: 'SOCK_REFUSED', errno: 105, now: instant(1) }), ['Count'])
    assert.deepEqual(f.fail(13), ['Count', 'CancelTimer', 'CloseSock'])
    const arrived = new Flow()
    arrived.sock(0)
    assert.deepEqual(arrived.at({ type: 'SOCK_FAILED', errno: 113, refused: true, now: instant(1) }), [
      'Count',
      'CancelTimer',
      'CloseSock'
    ])
  })
  test('errors of our own: 50 at once, then one a ms, in any span', () => {
    fc.assert(
      fc.property(fc.array(real(0, 20), { maxLength: 400 }), (gaps) => {
        let b = { tokens: ERROR_BURST, at: 0 }
        let at = 0
        let told = 0
        for (const gap of gaps) {
          at += gap < 15 ? 0 : gap
          const left = spendError(b, at)
          if (left === null) continue
          b = left
          told++
        }
        assert.ok(told <= ERROR_BURST + at / ERROR_EVERY + 1e-6)
        assert.ok(told >= Math.min(gaps.length, ERROR_BURST))
      })
    )
  })
  test('regression-38: an error condition without an error, or an unknown one, ends the flow instead of spinning', () => {
    for (const e of [0, 5, 9, 19]) {
      const f = new Flow()
      f.sock(1)
      assert.deepEqual(f.fail(e), ['Count', 'CancelTimer', 'CloseSock'])
    }
  })
  test('regression-64, traceroute: known ICMP errors are relayed, with an MTU only where there is one', () => {
    const v4 = new Flow()
    for (const [t, c] of [
      [3, 0],
      [3, 1],
      [3, 3],
      [11, 0]
    ] as const) {
      assert.deepEqual(v4.icmp(t, c, 77), ['IcmpErrorToTap'])
      assert.equal((v4.out[0] as { mtu: number }).mtu, 0)
    }
    v4.icmp(3, 4, 1300)
    assert.equal((v4.out[0] as { mtu: number }).mtu, 1300)
    for (const [t, c] of [
      [0, 0],
      [1, 4],
      [2, 0],
      [4, 0],
      [5, 0],
      [12, 0],
      [3, 16],
      [11, 2]
    ] as const)
      assert.deepEqual(v4.icmp(t, c), ['Count'])
    const v6 = new Flow(true)
    for (const [t, c] of [
      [1, 0],
      [1, 4],
      [3, 0]
    ] as const)
      assert.deepEqual(v6.icmp(t, c), ['IcmpErrorToTap'])
    v6.icmp(2, 0, 1280)
    assert.equal((v6.out[0] as { mtu: number }).mtu, 1280)
    for (const [t, c] of [
      [0, 0],
      [4, 0],
      [11, 0],
      [128, 0]
    ] as const)
      assert.deepEqual(v6.icmp(t, c), ['Count'])
  })
})

// Whatever happens: a socket opened once is closed once, and only at the end; the timer is armed as long as the flow lives;
// the flow ends by silence at the latest; a spurious timer changes nothing.
test('every schedule ends, with socket and timer given back (regression-21, regression-27)', () => {
  fc.assert(
    fc.property(input, fc.array(event, { maxLength: 60 }), (i, events) => {
      const out: Effect[] = []
      let s = udp.start(i, out)
      let t = i.now
      const ordered = events.map((e) => e.now).sort((a, b) => a - b)
      events.forEach((e, n) => {
        t = instant(Math.max(t, ordered[n]))
        const before = out.length
        const was = s
        s = udp.step(s, { ...e, now: t }, out)
        if (e.type === 'TIMER_IDLE' && !udp.isFinal(s)) assert.deepEqual(s.context, was.context)
        if (udp.isFinal(was)) assert.equal(out.length, before)
      })
      for (let n = 0; n < 3 && !udp.isFinal(s); n++) {
        const armed = out.filter((e) => e.type === 'ArmTimer').at(-1)
        assert.ok(armed !== undefined)
        t = instant(Math.max(t, armed.at))
        s = udp.step(s, { type: 'TIMER_IDLE', now: t }, out)
      }
      assert.ok(udp.isFinal(s), `still ${udp.value(s)}`)
      assert.equal(out.filter((e) => e.type === 'UdpOpen').length, 1)
      assert.equal(out.filter((e) => e.type === 'CloseSock').length, 1)
      assert.equal(out.at(-1)?.type, 'CloseSock')
      assert.equal(out.at(-2)?.type, 'CancelTimer')
    }),
    { numRuns: 500 }
  )
})
