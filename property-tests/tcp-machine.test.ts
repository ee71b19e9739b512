import { strict as assert } from 'node:assert'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { initialTransition, transition } from 'xstate'
import { add, type SeqNum, seq } from '../src/codecs/value/seq.js'
import { ACK, FIN, PSH, RST, SYN, type TcpSegment, URG } from '../src/codecs/wire/tcp.js'
import { type Effect, effectActions, type Instant, instant } from '../src/effects/effect.js'
import { INACTIVITY, KEEPALIVE } from '../src/machines/tcp/tcb-wake.js'
import { type TcpEvent, tcpMachine } from '../src/machines/tcp/tcp.js'
import { PEEK_MAX } from '../src/machines/tcp/tcp-output.js'
import type { TcpInput } from '../src/machines/tcp/tcp-tcb.js'
import { real } from './arbitraries.js'
import { checkTcb, compiled, type TcpState } from './tcp-arbitraries.js'
import { traces } from './tcp-traces.js'

// The machine against an arbitrary world: events in any order, numbers near those that matter and anywhere.

const ISS = 0xffff_ff00
const IRS = 0x7fff_ff00
const near = (base: number): fc.Arbitrary<SeqNum> =>
  fc.oneof(
    fc.integer({ min: -2, max: 4000 }).map((n) => add(seq(base), n)),
    fc.constantFrom(0, 1, 2, 101).map((n) => add(seq(base), n)),
    fc.integer({ min: 0, max: 0xffff_ffff }).map(seq)
  )
const octets = fc.oneof(fc.constantFrom(0, 1, 100, 1460), fc.integer({ min: 0, max: 65_535 }))
const segment: fc.Arbitrary<TcpSegment> = fc.record({
  srcPort: fc.constant(1),
  dstPort: fc.constant(2),
  seq: near(IRS),
  ack: near(ISS),
  flags: fc.oneof(
    { weight: 3, arbitrary: fc.constant(ACK) },
    fc.constantFrom(ACK | PSH, ACK | FIN, ACK | URG, RST, RST | ACK, SYN, SYN | ACK, FIN, 0, 0xff)
  ),
  wnd: fc.oneof(fc.constantFrom(0, 1, 500), fc.integer({ min: 0, max: 65_535 })),
  urgent: fc.constant(0),
  mss: fc.constant(null),
  windowScale: fc.constant(null),
  payload: octets.map((len) => ({ off: 0, len }))
})
const info = fc.record({
  sndWnd: octets,
  rtt: fc.integer({ min: 0, max: 1e6 }),
  minRtt: fc.constantFrom(10, 50_000, 0xffff_ffff),
  bytesAcked: fc.oneof(octets, fc.integer({ min: 0, max: 0xffff_ffff })),
  sndFree: fc.oneof(octets, fc.integer({ min: 0, max: 0xffff_ffff })),
  sndBuf: fc.constantFrom(0, 1, 46_080, 4_000_000, 0x7fff_ffff)
})
const errno = fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, fc.constantFrom(11, 32, 104))
const at = fc.constant(instant(0))
const yes = fc.boolean()
/** `now` is filled in: it only goes forward. */
const event: fc.Arbitrary<TcpEvent> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant('TAP_SEGMENT' as const),
      seg: segment,
      segment: fc.integer({ min: 0, max: 65_535 }),
      now: at
    })
  },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('TURN_END' as const), now: at }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('SOCK_CONNECTED' as const), info, now: at }) },
  fc.record({
    type: fc.constant('SOCK_SENT' as const),
    taken: octets,
    dropped: fc.oneof(fc.constant(0), octets),
    errno,
    info,
    now: at
  }),
  fc.record({
    type: fc.constant('SOCK_PEEKED' as const),
    octets,
    eof: yes,
    drained: yes,
    tapFull: yes,
    tapTells: yes,
    errno,
    now: at
  }),
  fc.record({
    type: fc.constant('SOCK_READY' as const),
    readable: yes,
    writable: yes,
    rdhup: yes,
    info: fc.option(info),
    now: at
  }),
  fc.record({ type: fc.constant('SOCK_INFO' as const), info, now: at }),
  fc.record({
    type: fc.constant('SOCK_ACKED' as const),
    octet: fc.integer({ min: 0, max: 0xffff_ffff }),
    now: at
  }),
  fc.record({ type: fc.constant('TOKENS' as const), octets: fc.integer({ min: 1, max: 1 << 20 }), now: at }),
  fc.record({
    type: fc.constantFrom(
      'TIMER_RTO' as const,
      'TIMER_ACK' as const,
      'TAP_ROOM' as const,
      'TIMER_KEEPALIVE' as const,
      'TIMER_IDLE' as const
    ),
    now: at
  })
)
const guestInput: fc.Arbitrary<TcpInput> = fc
  .record({
    mss: fc.constantFrom(null, 0, 1460, 65_535),
    scale: fc.constantFrom(null, 0, 7, 14),
    our: octets
  })
  .map(({ mss, scale, our }) => ({
    from: 'guest',
    iss: seq(ISS),
    mss: our,
    now: instant(1000),
    syn: {
      srcPort: 1,
      dstPort: 2,
      seq: seq(IRS),
      ack: seq(0),
      flags: SYN,
      wnd: 64_240,
      urgent: 0,
      mss,
      windowScale: scale,
      payload: { off: 0, len: 0 }
    }
  }))
const hostInput: fc.Arbitrary<TcpInput> = fc
  .record({ mss: octets, v6: fc.boolean() })
  .map((i) => ({ from: 'host', iss: seq(ISS), now: instant(1000), ...i }))
const schedule = fc.array(fc.tuple(event, fc.constantFrom(0, 0.05, 1, 300, 40_000)), {
  maxLength: 60,
  size: 'max'
})
const timed = (list: readonly (readonly [TcpEvent, number])[]): TcpEvent[] => {
  let now = 1000
  return list.map(([e, ms]) => {
    now += ms
    return { ...e, now: instant(now) }
  })
}
function connected(bytesAcked: number): TcpEvent {
  const i = { sndWnd: 60_000, rtt: 50, minRtt: 50, bytesAcked }
  return { type: 'SOCK_CONNECTED', info: { ...i, sndFree: 46_080, sndBuf: 46_080 }, now: instant(1000) }
}
function handshake(at: number, flags: number): TcpEvent {
  const header = { srcPort: 1, dstPort: 2, seq: seq(IRS + at), ack: seq(ISS + 1), wnd: 502, urgent: 0 }
  const seg = { ...header, flags, mss: null, windowScale: at === 0 ? 7 : null, payload: { off: 0, len: 0 } }
  return { type: 'TAP_SEGMENT', seg, now: instant(1000) }
}
/** Who opens, and first events, so that most schedules get past the handshake. */
const opening: fc.Arbitrary<readonly [TcpInput, readonly TcpEvent[]]> = fc.oneof(
  fc.tuple(guestInput, fc.constantFrom([], [connected(1), handshake(1, ACK)])),
  fc.tuple(
    hostInput,
    fc.constantFrom(
      [],
      [connected(0)],
      [connected(0), handshake(0, SYN | ACK)],
      [connected(0), handshake(0, SYN)]
    )
  )
)

const checkEffects = (s: TcpState, after: TcpEvent['type'], out: readonly Effect[]): void => {
  // what has ended gets no turn's end either, in the loop
  if (after === 'TURN_END' && !compiled.isFinal(s))
    assert(!s.context.tcb.probe, 'the licence of a probe outlasts its turn')
  for (const e of out) {
    for (const [k, v] of Object.entries(e))
      assert(typeof v !== 'number' || Number.isFinite(v), `${e.type}.${k} ${v}`)
    if (e.type === 'SendToSock') assert(e.payload.len > 0 && e.payload.len <= 65_535)
    if (e.type === 'PeekToTap') assert(e.octets > 0 && e.octets <= PEEK_MAX)
    if (e.type === 'DiscardFromSock') assert(e.octets > 0)
    if (e.type === 'RewindPeek') assert(e.octets >= 0)
    if (e.type === 'PeekToTap' || e.type === 'SegmentToTap') assert(e.wnd >= 0 && e.wnd <= 65_535)
  }
  checkTcb(s.context.tcb)
}

describe('the TCP machine and arbitrary events', () => {
  test('never throws, and its numbers never contradict each other', () => {
    fc.assert(
      fc.property(opening, schedule, ([i, first], list) => {
        let out: Effect[] = []
        let s = compiled.start(i, out)
        for (const e of [...first, ...timed(list)]) {
          out = []
          s = compiled.step(s, e, out)
          checkEffects(s, e.type, out)
        }
      }),
      { numRuns: 1500 }
    )
  })

  test("compiled step = xstate's transition()", () => {
    fc.assert(
      fc.property(opening, schedule, ([i, first], list) => {
        const effects = (
          actions: readonly { readonly type: string; readonly params?: unknown }[]
        ): Effect[] =>
          actions
            .filter((a) => a.type in effectActions)
            .map((a) => ({ ...(a.params as object), type: a.type }) as Effect)
        const out: Effect[] = []
        let s = compiled.start(i, out)
        let [x, actions] = initialTransition(tcpMachine, i)
        assert.deepEqual(out, effects(actions))
        for (const e of [...first, ...timed(list)]) {
          if (x.status !== 'active') break
          out.length = 0
          s = compiled.step(s, e, out)
          ;[x, actions] = transition(tcpMachine, x, e)
          assert.deepEqual(s.context, x.context)
          assert.deepEqual(
            out.map((o) => ({ ...o })),
            effects(actions)
          )
          assert.equal(compiled.value(s), name(x.value))
        }
      }),
      { numRuns: 100 }
    )
  })

  test('a spurious timer changes nothing but what is armed, in any state', () => {
    const random = fc.tuple(opening, schedule).map(([[input, first], list]) => ({
      input,
      events: [...first, ...timed(list)]
    }))
    const seen = new Set<string>()
    const spurious = fc.property(
      fc.oneof(random, traces(event)),
      fc.noBias(real(0, 1)),
      fc.constantFrom(...TIMERS),
      ({ input, events }, cut, type) => {
        let s = compiled.start(input, [])
        let now: number = input.now
        for (const e of events.slice(0, Math.ceil(cut * events.length))) {
          s = compiled.step(s, e, [])
          now = Math.max(now, e.now)
        }
        const { tcb } = s.context
        const out: Effect[] = []
        const after = compiled.step(s, { type, now: early(s, type, now) }, out)
        const value = compiled.value(s)
        seen.add(`${value} ${type}`)
        const { rtoArmed: _, ackArmed: __, ...rest } = after.context.tcb
        const { rtoArmed: ___, ackArmed: ____, ...was } = tcb
        assert.deepEqual(rest, was)
        assert.equal(compiled.value(after), value)
        assert(
          out.every((e) => e.type === 'ArmTimer' || e.type === 'Count'),
          JSON.stringify(out)
        )
      }
    )
    const all = compiled.leaves.flatMap((leaf) => TIMERS.map((type) => `${leaf} ${type}`))
    const unseen = (): string[] => all.filter((x) => !seen.has(x))
    for (let rounds = 0; rounds === 0 || (rounds < 30 && unseen().length > 0); rounds++)
      fc.assert(spurious, { numRuns: 500 })
    assert.deepEqual(unseen(), [])
  })
})

const TIMERS = ['TIMER_RTO', 'TIMER_ACK', 'TIMER_IDLE', 'TIMER_KEEPALIVE'] as const
/** Now, or the moment before that timer is due. */
function early({ context: { tcb: t } }: TcpState, type: (typeof TIMERS)[number], now: number): Instant {
  const alive = Math.max(t.tapAliveAt, t.sockAliveAt)
  const due = {
    TIMER_RTO: [t.rtoAt],
    TIMER_ACK: [t.ackAt, t.pollAt, t.tapAt],
    TIMER_IDLE: [t.forgetAt > 0 ? t.forgetAt : alive + INACTIVITY],
    TIMER_KEEPALIVE: [t.tapAliveAt + KEEPALIVE]
  }[type].filter((at) => at > 0)
  return instant(Math.min(now, ...due.map((at) => at - 0.25)))
}

const name = (v: unknown): string =>
  typeof v === 'string'
    ? v
    : Object.entries(v as object)
        .map(([k, x]) => `${k}.${name(x)}`)
        .join()
