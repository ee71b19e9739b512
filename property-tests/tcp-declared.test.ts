import { strict as assert } from 'node:assert'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { add, seq } from '../src/codecs/value/seq.js'
import { ACK, FIN, RST, SYN, type TcpSegment } from '../src/codecs/wire/tcp.js'
import { instant } from '../src/effects/effect.js'
import type { SockInfo } from '../src/effects/sock-event.js'
import { tcpMachine } from '../src/machines/tcp/tcp.js'
import { lift, reductions } from '../src/machines/tcp/tcp-actions.js'
import {
  GROUPS,
  type Group,
  type Moved,
  type Reducer,
  type Tcb,
  type TcpEvent
} from '../src/machines/tcp/tcp-tcb.js'
import { compile } from '../src/runtime/machine/compile.js'
import { World } from '../src/simulator/tcp.js'
import { handedOver, scenario, subjectOf } from './tcp-arbitraries.js'

// What an action declares is what it does: no effect and no change beyond it, and every one of it in some run.

type Name = keyof typeof reductions
const names = Object.keys(reductions) as Name[]
const fields = Object.entries(GROUPS).map(
  ([g, of]) => [g as Group, Object.keys(of) as (keyof Tcb)[]] as const
)
const changed = (a: Tcb, b: Tcb): Group[] =>
  fields.flatMap(([g, of]) => (of.some((f) => !Object.is(a[f], b[f])) ? [g] : []))

/** The chart with each reducer watched: `seen` has what they did, and doing anything else throws. */
const watched = () => {
  const seen = new Map(names.map((n) => [n, new Set<string>()]))
  const actions = Object.fromEntries(
    names.map((name) => {
      const { run, declared } = reductions[name]
      const watch: Reducer<never> = (t, e) => {
        const [next, out] = (run as Reducer<never>)(t, e)
        const did = [...changed(t, next), ...out.map((o) => o.type)]
        const may: readonly string[] = [...declared.changes, ...declared.emits]
        for (const d of did) {
          assert(may.includes(d), `${name} does ${d}, which it does not declare`)
          seen.get(name)!.add(d)
        }
        return [next, out]
      }
      return [name, lift(watch)]
    })
  )
  return { seen, machine: compile(tcpMachine.provide({ actions: actions as never })) }
}

// Events in any order, for what no peer in the simulated world does.
const ISS = seq(1000)
const IRS = seq(5000)
const octets = fc.constantFrom(0, 1, 100, 1460, 60_000)
const segment: fc.Arbitrary<TcpSegment> = fc.record({
  srcPort: fc.constant(1),
  dstPort: fc.constant(2),
  seq: fc.constantFrom(-1, 0, 1, 2, 101, 3000).map((n) => add(IRS, n)),
  ack: fc.constantFrom(0, 1, 2, 101).map((n) => add(ISS, n)),
  flags: fc.constantFrom(ACK, ACK, ACK, ACK | FIN, SYN, SYN | ACK, RST),
  wnd: fc.constantFrom(0, 500, 60_000),
  urgent: fc.constant(0),
  mss: fc.constantFrom(null, 1460, 536),
  windowScale: fc.constantFrom(null, 7),
  payload: octets.map((len) => ({ off: 0, len }))
})
const info: fc.Arbitrary<SockInfo> = fc.record({
  sndWnd: fc.constantFrom(0, 1000, 60_000),
  rtt: fc.constantFrom(50, 50_000),
  minRtt: fc.constantFrom(50, 50_000),
  bytesAcked: fc.constantFrom(0, 1, 2, 101),
  sndFree: fc.constantFrom(0, 1000, 40_000),
  sndBuf: fc.constantFrom(4000, 40_000)
})
const yes = fc.boolean()
const errno = fc.constant(0)
type Body = TcpEvent extends infer E ? (E extends unknown ? Omit<E, 'now'> : never) : never
const is = <K extends TcpEvent['type']>(...types: K[]) => fc.constantFrom(...types)
const event: fc.Arbitrary<Body> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ type: is('TAP_SEGMENT'), seg: segment }) },
  { weight: 6, arbitrary: fc.record({ type: is('TURN_END') }) },
  { weight: 2, arbitrary: fc.record({ type: is('SOCK_CONNECTED'), info }) },
  { weight: 2, arbitrary: fc.record({ type: is('SOCK_SENT'), taken: octets, dropped: octets, errno, info }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: is('SOCK_PEEKED'),
      octets,
      eof: yes,
      drained: yes,
      tapFull: yes,
      tapTells: yes,
      errno
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: is('SOCK_READY'),
      readable: yes,
      writable: yes,
      rdhup: yes,
      info: fc.option(info)
    })
  },
  fc.record({ type: is('SOCK_INFO'), info }),
  fc.record({ type: is('SOCK_ACKED'), octet: fc.constantFrom(0, 50, 100) }),
  {
    weight: 2,
    arbitrary: fc.record({ type: is('TIMER_RTO', 'TIMER_ACK', 'TIMER_KEEPALIVE', 'TIMER_IDLE', 'TAP_ROOM') })
  },
  fc.record({ type: is('TOKENS'), octets }),
  fc.record({ type: is('STOP', 'FROZEN', 'THAWED', 'MOVED_AWAY') })
) as fc.Arbitrary<Body>
const schedule = fc.array(fc.tuple(event, fc.constantFrom(0, 0.05, 1, 300, 40_000)), {
  maxLength: 60,
  size: 'max'
})
const first: fc.Arbitrary<readonly Body[]> = info.map((i) => [{ type: 'SOCK_CONNECTED', info: i }])

// Scripts for what schedules hardly ever lead to. Each event is 1 ms later than the one before it; a number is a pause, in ms.
const data = (at: number, ack: number, len: number): Body => ({
  type: 'TAP_SEGMENT',
  seg: {
    srcPort: 1,
    dstPort: 2,
    seq: add(IRS, at),
    ack: add(ISS, ack),
    flags: ACK,
    wnd: 60_000,
    urgent: 0,
    mss: null,
    windowScale: null,
    payload: { off: 0, len }
  }
})
const end: Body = { type: 'TURN_END' }
const INFO: SockInfo = { sndWnd: 60_000, rtt: 50, minRtt: 50, bytesAcked: 1, sndFree: 40_000, sndBuf: 40_000 }
const opened: readonly Body[] = [{ type: 'SOCK_CONNECTED', info: INFO }, data(1, 1, 0), end]
const taken = (n: number, more: Partial<SockInfo> = {}): Body => ({
  type: 'SOCK_SENT',
  taken: n,
  dropped: 0,
  errno: 0,
  info: { ...INFO, ...more }
})
const ready: Body = { type: 'SOCK_READY', readable: true, writable: false, rdhup: false, info: null }
const peeked = (octets: number, tapFull = false): Body => ({
  type: 'SOCK_PEEKED',
  octets,
  eof: false,
  drained: true,
  tapFull,
  tapTells: true,
  errno: 0
})
const exchange = (i: number): readonly Body[] => [ready, data(1 + i, 1 + i, 1), end, peeked(1), taken(1), end]
const slow = { minRtt: 50_000, rtt: 50_000 }
const scripts: readonly (readonly (Body | number)[])[] = [
  // a stray SYN, more often than it is answered
  [
    ...opened,
    ...Array.from({ length: 12 }, (): Body => ({ type: 'TAP_SEGMENT', seg: { ...syn(), seq: IRS } }))
  ],
  // a conversation, and then no answer
  [...opened, ...[0, 1, 2, 3].flatMap(exchange), data(5, 5, 1), end, taken(1), end, 9, { type: 'TIMER_ACK' }],
  // the tap is full when the time-out comes
  [...opened, ready, end, peeked(100), end, ready, end, peeked(0, true), 300, { type: 'TIMER_RTO' }],
  // time-outs, and then the guest is stopped for a while
  [
    ...opened,
    ready,
    end,
    peeked(100),
    end,
    1500,
    { type: 'TIMER_RTO' },
    { type: 'FROZEN' },
    { type: 'THAWED' }
  ],
  // or takes frames again
  [...opened, ready, end, peeked(0, true), end, { type: 'TAP_ROOM' }],
  // an acknowledgement is owed when the guest has been silent for long
  [
    ...opened,
    ...[0, 1, 2, 3].flatMap(exchange),
    data(5, 5, 1),
    end,
    taken(1),
    30_000,
    { type: 'TIMER_KEEPALIVE' }
  ],
  // the peer acknowledges what we were about to ask for
  [
    ...opened,
    taken(0, slow),
    data(1, 1, 100),
    end,
    taken(100, slow),
    end,
    { ...ready, info: { ...INFO, ...slow, bytesAcked: 101 } }
  ],
  // the buffer is full, and writable for less than is worth a window
  [
    ...opened,
    data(1, 1, 40_000),
    end,
    taken(40_000, { sndFree: 0 }),
    end,
    { type: 'SOCK_READY', readable: false, writable: true, rdhup: false, info: { ...INFO, sndFree: 100 } },
    end,
    9,
    { type: 'TIMER_ACK' }
  ]
]
/** A connection that was open elsewhere: the peer acknowledges as it begins to run. */
const moved: Moved = {
  fromHost: false,
  mss: 1460,
  sndScale: 7,
  rcvScale: 8,
  iss: ISS,
  irs: IRS,
  sndUna: add(ISS, 1),
  sndMax: add(ISS, 1),
  sndWnd: 60_000,
  discarded: add(ISS, 1),
  finSeq: null,
  rcvTaken: add(IRS, 101),
  rcvAcked: add(IRS, 101),
  rcvEdge: add(IRS, 60_000),
  rcvFin: 0,
  finAt: null
}
const resuming: readonly Body[] = [
  { type: 'SOCK_RESTORED', taken: 100, unacked: 100, unread: 0, ended: false, dark: true },
  { type: 'SOCK_CONNECTED', info: { ...INFO, bytesAcked: 50 } }
]
function syn(): TcpSegment {
  return { ...(data(0, 0, 0) as { seg: TcpSegment }).seg, flags: SYN, windowScale: 7 }
}

describe('TCP actions', () => {
  test('do what they declare, all of it and nothing else', () => {
    const { seen, machine } = watched()
    fc.assert(
      fc.property(
        fc.oneof(scenario(true), handedOver(scenario(true))),
        (s) => void new World(subjectOf(machine), s).run()
      ),
      { numRuns: 300, seed: 1 } // always the same, since all must be seen
    )
    fc.assert(
      fc.property(yes, yes, segment, first, schedule, (inward, limited, s, before, list) => {
        let now = 1000
        const base = { iss: ISS, mss: 1460, quantum: limited ? 2048 : 0, now: instant(now) }
        const syn = { ...s, seq: IRS, flags: SYN }
        let state = machine.start(inward ? { from: 'host', ...base } : { from: 'guest', syn, ...base }, [])
        for (const [e, ms] of [...before.map((b) => [b, 0] as const), ...list]) {
          now += ms
          state = machine.step(state, { ...e, now: instant(now) } as TcpEvent, [])
        }
      }),
      { numRuns: 3000, seed: 1 }
    )
    const begun = { from: 'guest', syn: syn(), iss: ISS, mss: 1460, now: instant(1000) } as const
    const cameOpen = { from: 'move', moved, mss: 1460, now: instant(1000) } as const
    for (const [input, list] of [...scripts.map((l) => [begun, l] as const), [cameOpen, resuming] as const]) {
      let now = 1000
      let state = machine.start(input, [])
      for (const e of list)
        if (typeof e === 'number') now += e
        else state = machine.step(state, { ...e, now: instant(now++) } as TcpEvent, [])
    }
    const never = names.flatMap((n) => {
      const { changes, emits } = reductions[n].declared
      return [...changes, ...emits].filter((d) => !seen.get(n)!.has(d)).map((d) => `${n}: ${d}`)
    })
    assert.deepEqual(never, [], 'declared, and never done')
  })
})
