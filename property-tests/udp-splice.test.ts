import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { fromV4 } from '../src/codecs/value/inany.js'
import { type Effect, instant } from '../src/effects/effect.js'
import { UDP_TIMEOUTS } from '../src/machines/flow/udp.js'
import {
  REPORT_LATE,
  type UdpSpliceContext,
  type UdpSpliceEvent,
  type UdpSpliceInput,
  udpSpliceMachine
} from '../src/machines/flow/udp-splice.js'
import { compile, type State } from '../src/runtime/machine/compile.js'
import { real } from './arbitraries.js'
import { sameAsXstate, untilAllTaken } from './same-as-xstate.js'

const splice = compile(udpSpliceMachine)
const now = real(0, 400_000).map(instant)
const payload = fc.record({ off: fc.nat(1e6), len: fc.constantFrom(0, 1, 1372, 3000, 65507) })
const errno = fc.constantFrom(0, 1, 11, 13, 24, 90, 98, 101, 111)
const side = fc.constantFrom(0 as const, 1 as const)
const event: fc.Arbitrary<UdpSpliceEvent> = fc.oneof(
  fc.record({
    type: fc.constant('SOCK_DATAGRAM' as const),
    payload,
    segment: fc.constantFrom(0, 1372),
    now
  }),
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('UDP_MOVED' as const),
      side,
      datagrams: fc.integer({ min: 1, max: 500 }),
      now
    })
  },
  fc.record({ type: fc.constant('SOCK_REFUSED' as const), errno, now }),
  fc.record({
    type: fc.constant('SOCK_ICMP_ERROR' as const),
    errno,
    icmpType: fc.nat(16),
    code: fc.nat(17),
    mtu: fc.constantFrom(0, 1300),
    offender: fc.constant(fromV4(0x7f000001)),
    quoted: payload,
    now
  }),
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant('TIMER_IDLE' as const), now })
  }
)
const fatal: fc.Arbitrary<UdpSpliceEvent> = fc.oneof(
  fc.record({ type: fc.constant('SOCK_FAILED' as const), errno, now }),
  fc.record({ type: fc.constant('STOP' as const), now })
)
const foreign = fc.record({ type: fc.constant('ANOTHER_MACHINES' as never), now })
const any = fc.oneof({ weight: 20, arbitrary: event }, { weight: 1, arbitrary: fatal })
const input: fc.Arbitrary<UdpSpliceInput> = fc.record({
  now: fc.constantFrom(0, 1000).map(instant),
  timeouts: fc.constantFrom(UDP_TIMEOUTS, { oneWay: 50, stream: 20 }, { oneWay: 5000, stream: 20_000 })
})

test('compiled udp-splice = xstate udp-splice', () =>
  untilAllTaken(udpSpliceMachine, () =>
    sameAsXstate(udpSpliceMachine, input, fc.oneof({ weight: 15, arbitrary: any }, foreign))
  ))

/** A flow, and a way to step it that shows effects. */
class Flow {
  s: State<UdpSpliceContext>
  out: Effect[] = []
  constructor() {
    this.s = splice.start({ now: instant(0), timeouts: UDP_TIMEOUTS }, this.out)
  }
  at(e: UdpSpliceEvent): string[] {
    this.out = []
    this.s = splice.step(this.s, e, this.out)
    return this.out.map((x) => x.type)
  }
  get state(): string {
    return splice.value(this.s)
  }
  heard = (ms: number, len = 1, segment = 0): string[] =>
    this.at({ type: 'SOCK_DATAGRAM', payload: { off: 9, len }, segment, now: instant(ms) })
  moved = (ms: number, from: 0 | 1, datagrams = 1): string[] =>
    this.at({ type: 'UDP_MOVED', side: from, datagrams, now: instant(ms) })
  timer = (ms: number): string[] => this.at({ type: 'TIMER_IDLE', now: instant(ms) })
}

describe('life of a flow past the tap', () => {
  test('opens both sockets, joins them, arms one timer; the first datagram goes to the target', () => {
    const f = new Flow()
    assert.deepEqual(f.out, [
      { type: 'UdpOpenSide', side: 1 },
      { type: 'UdpOpenSide', side: 0 },
      { type: 'UdpJoin' },
      { type: 'ArmTimer', timer: 'idle', at: 31_000 }
    ])
    assert.deepEqual(f.heard(0, 3000, 1372), ['UdpToSide'])
    assert.deepEqual(f.out[0], { type: 'UdpToSide', side: 1, payload: { off: 9, len: 3000 }, segment: 1372 })
  })
  test('regression-6: empty datagrams pass', () => assert.deepEqual(new Flow().heard(0, 0), ['UdpToSide']))
  test('regression-66: what else the listener had goes the same way, at any time', () => {
    const f = new Flow()
    for (let i = 0; i < 5; i++) assert.deepEqual(f.heard(i), ['UdpToSide'])
    f.moved(6, 1)
    assert.equal(f.state, 'open.stream')
    assert.deepEqual(f.heard(7), ['UdpToSide'])
  })
  test('what the kernel refuses to send is counted by its name, and the flow goes on', () => {
    const f = new Flow()
    assert.deepEqual(f.at({ type: 'SOCK_REFUSED', errno: 1, now: instant(1) }), ['Count'])
    assert.deepEqual(f.out, [{ type: 'Count', what: 'udp-splice-refused' }])
    assert.deepEqual(f.heard(2), ['UdpToSide'])
  })
  test('one datagram each way is not a stream, one more is', () => {
    const f = new Flow()
    f.heard(0)
    assert.deepEqual(f.moved(1, 1), [])
    assert.equal(f.state, 'open.oneWay')
    assert.deepEqual(f.moved(2, 0), ['ArmTimer'])
    assert.equal(f.state, 'open.stream')
    assert.deepEqual(f.out[0], { type: 'ArmTimer', timer: 'idle', at: 121_002 })
  })
  test('one side alone never makes a stream', () => {
    const f = new Flow()
    for (let i = 0; i < 300; i++) f.moved(i, 0, 1000)
    assert.equal(f.state, 'open.oneWay')
  })
  test('silence ends it; the timer looks at the last activity when it fires', () => {
    const f = new Flow()
    f.heard(0)
    assert.deepEqual(f.moved(9000, 0), [])
    assert.deepEqual(f.timer(31_000), ['ArmTimer'])
    assert.deepEqual(f.out[0], { type: 'ArmTimer', timer: 'idle', at: 40_000 })
    assert.deepEqual(f.timer(40_000), ['CancelTimer', 'UdpCloseBoth'])
  })
  test('in a stream both what native moved and what the listener had is a sign of life', () => {
    const f = new Flow()
    f.heard(0)
    f.moved(1, 1, 2)
    f.moved(50_000, 1)
    f.timer(121_001)
    assert.deepEqual(f.out[0], { type: 'ArmTimer', timer: 'idle', at: 171_000 })
    f.heard(60_000)
    f.timer(171_000)
    assert.deepEqual(f.out[0], { type: 'ArmTimer', timer: 'idle', at: 181_000 })
    assert.deepEqual(f.timer(181_000), ['CancelTimer', 'UdpCloseBoth'])
  })
  test('a datagram that native has still to tell of keeps the flow', () => {
    const f = new Flow()
    f.heard(0)
    // moved at 29.9 s, told of at most REPORT_LATE later: the timer must not have closed the flow meanwhile
    assert.deepEqual(f.moved(29_900 + REPORT_LATE, 0), [])
    assert.deepEqual(f.timer(31_000), ['ArmTimer'])
  })
})

describe('socket errors past the tap', () => {
  test('regression-38: ICMP errors are counted, and the flow lives (behaviour.md#icmp-errors)', () => {
    const f = new Flow()
    const icmp = { icmpType: 3, code: 3, mtu: 0, offender: fromV4(1), quoted: { off: 0, len: 8 } }
    assert.deepEqual(f.at({ type: 'SOCK_ICMP_ERROR', errno: 111, ...icmp, now: instant(1) }), ['Count'])
    assert.deepEqual(f.heard(2), ['UdpToSide'])
  })
  test('regression-21, regression-28: a socket that failed, whichever and why, ends the flow at once; the next datagram makes a new one', () => {
    for (const e of [0, 13, 24, 98, 99, 101, 111]) {
      const f = new Flow()
      f.heard(0)
      const effects = f.at({ type: 'SOCK_FAILED', errno: e, now: instant(1) })
      assert.deepEqual(effects, ['Count', 'CancelTimer', 'UdpCloseBoth'])
      assert.ok(splice.isFinal(f.s))
    }
  })
  test('an event that does not belong here is counted', () =>
    assert.deepEqual(new Flow().at({ type: 'SOCK_READY', now: instant(1) } as never), ['Count']))
})

// Whatever happens: sockets opened once are closed once, and only at the end; every datagram from the listener goes to the
// target; the flow ends by silence at the latest, never within its time-out; a spurious timer changes nothing.
test('every schedule ends, with sockets and timer given back (regression-21, regression-27)', () => {
  fc.assert(
    fc.property(input, fc.array(any, { maxLength: 60 }), (i, events) => {
      const out: Effect[] = []
      let s = splice.start(i, out)
      let t: number = i.now
      let heard = i.now as number
      let came = 0
      let [initiator, target, both, count] = [false, false, false, 0]
      const times = events.map((e) => e.now as number).sort((a, b) => a - b)
      events.forEach((e, n) => {
        t = Math.max(t, times[n])
        const was = s
        const before = out.length
        s = splice.step(s, { ...e, now: instant(t) }, out)
        if (splice.isFinal(was)) {
          assert.equal(out.length, before)
          return
        }
        if (e.type === 'TIMER_IDLE' && !splice.isFinal(s)) assert.deepEqual(s.context, was.context)
        const limit = both && count > 2 ? i.timeouts.stream : i.timeouts.oneWay
        if (e.type === 'TIMER_IDLE' && splice.isFinal(s)) assert.ok(t - heard >= limit, 'too early')
        if (e.type === 'SOCK_DATAGRAM') came++
        if (e.type !== 'SOCK_DATAGRAM' && e.type !== 'UDP_MOVED') return
        heard = t
        count +=
          e.type === 'UDP_MOVED'
            ? e.datagrams
            : e.segment > 0
              ? Math.max(1, Math.ceil(e.payload.len / e.segment))
              : 1
        both ||= e.type === 'UDP_MOVED' && e.side === 1 ? initiator : target
        if (e.type === 'UDP_MOVED' && e.side === 1) target = true
        else initiator = true
      })
      for (let n = 0; n < 3 && !splice.isFinal(s); n++) {
        const armed = out.filter((e) => e.type === 'ArmTimer').at(-1)
        assert.ok(armed !== undefined)
        t = Math.max(t, armed.at)
        s = splice.step(s, { type: 'TIMER_IDLE', now: instant(t) }, out)
      }
      assert.ok(splice.isFinal(s), `still ${splice.value(s)}`)
      const opened = out.flatMap((e) => (e.type === 'UdpOpenSide' ? [e.side] : []))
      assert.deepEqual(opened.sort(), [0, 1])
      const sent = out.filter((e) => e.type === 'UdpToSide')
      assert.equal(sent.length, came)
      assert.ok(sent.every((e) => e.side === 1))
      assert.equal(out.filter((e) => e.type === 'UdpCloseBoth').length, 1)
      assert.deepEqual(
        out.slice(-2).map((e) => e.type),
        ['CancelTimer', 'UdpCloseBoth']
      )
    }),
    { numRuns: 500 }
  )
})
