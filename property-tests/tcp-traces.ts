import fc from 'fast-check'
import { add } from '../src/codecs/value/seq.js'
import { ACK, FIN, PSH, RST, SYN, type TcpSegment } from '../src/codecs/wire/tcp.js'
import { type Instant, instant } from '../src/effects/effect.js'
import type { TcpEvent, TcpInput, tcpMachine } from '../src/machines/tcp/tcp.js'
import { type Scenario, type Subject, World } from '../src/simulator/tcp.js'
import { real } from './arbitraries.js'
import type { Run } from './same-as-xstate.js'
import { compiled, handedOver, scenario, subject, type TcpState, takeOver } from './tcp-arbitraries.js'

// What the simulator makes happen to one connection, as a list of events: random ones alone hardly ever close a connection in
// order, so FIN-WAIT-2 and what lies behind it would not be seen. Into such a list go events that the simulator never makes.

interface Trace {
  readonly input: TcpInput
  readonly events: readonly TcpEvent[]
  /** `states[i]` is what `events[i]` came upon. */
  readonly states: readonly TcpState[]
}

/** The events of a simulated connection, up to its end; null: it never began, since the guest's SYN was lost. */
const trace = (s: Scenario): Trace | null => {
  let input: TcpInput | null = null
  const events: TcpEvent[] = []
  const states: TcpState[] = []
  const recorded: Subject<TcpState> = {
    ...subject,
    start: (syn, iss, mss, now, out) => {
      input = syn === null ? { from: 'host', iss, mss, now } : { from: 'guest', syn, iss, mss, now }
      return subject.start(syn, iss, mss, now, out)
    },
    takenOver: (state, dump, mss, now, out) => {
      const { input: anew, restored } = takeOver(state, dump, mss, now)
      input = anew
      events.splice(0, events.length, restored)
      states.splice(0, states.length, compiled.start(anew, []))
      return subject.takenOver(state, dump, mss, now, out)
    },
    step: (state, e, out) => {
      events.push(e as TcpEvent)
      states.push(state)
      return subject.step(state, e, out)
    }
  }
  new World(recorded, s).run()
  return input === null ? null : { input, events, states }
}

/** Events for a connection in this state, at this time. */
type Make = (s: TcpState, now: Instant) => readonly TcpEvent[]
interface Insertion {
  /** Which of the chart's states that the trace passes, and which of the events there it comes before: shares. */
  readonly leaf: number
  readonly moment: number
  readonly make: Make
}

const near = fc.constantFrom(-1, 0, 0, 0, 1, 100)
const segmentAt = (more: Partial<TcpSegment> & Pick<TcpSegment, 'seq' | 'ack' | 'flags'>): TcpSegment => ({
  srcPort: 1,
  dstPort: 2,
  wnd: 60_000,
  urgent: 0,
  mss: null,
  windowScale: null,
  payload: { off: 54, len: 0 },
  ...more
})
const segment = fc
  .record({
    seq: near,
    ack: near,
    flags: fc.constantFrom(ACK, ACK, ACK | FIN, ACK | PSH, RST, RST | ACK, SYN, SYN | ACK, FIN, 0),
    wnd: fc.constantFrom(0, 1, 500, 65_535),
    len: fc.constantFrom(0, 0, 1, 1460)
  })
  .map(
    ({ seq, ack, flags, wnd, len }): Make =>
      ({ context: { tcb } }, now) => [
        {
          type: 'TAP_SEGMENT',
          seg: segmentAt({
            seq: add(tcb.rcvNxt, seq),
            ack: add(tcb.sndMax, ack),
            flags,
            wnd,
            payload: { off: 54, len }
          }),
          now
        }
      ]
  )
/** What begins at the guest's ISN: its SYN once more, or its SYN,ACK. */
const fromIrs = fc.constantFrom(SYN, SYN | ACK, RST | ACK).map(
  (flags): Make =>
    ({ context: { tcb } }, now) => [
      { type: 'TAP_SEGMENT', seg: segmentAt({ seq: tcb.irs, ack: add(tcb.iss, 1), flags }), now }
    ]
)
/** Nobody answers any more: the time-outs one after the other, and that of silence. */
const silence: Make = (_, now) => [
  ...Array.from({ length: 10 }, (_, i) => instant(now + (i + 1) * 130_000)).flatMap((at): TcpEvent[] => [
    { type: 'TIMER_RTO', now: at },
    { type: 'TURN_END', now: at }
  ]),
  { type: 'TIMER_IDLE', now: instant(now + 7_300_000) }
]
const longSilence: Make = (_, now) => [{ type: 'TIMER_IDLE', now: instant(now + 7_300_000) }]

const disturbed = (
  { input, events, states }: Trace,
  insertions: readonly Insertion[]
): Run<typeof tcpMachine> => {
  const leaves = [...new Set(states.map((s) => s.node))]
  const at = ({ leaf, moment }: Insertion): number => {
    const node = leaves[Math.floor(leaf * leaves.length)]
    const there = states.flatMap((s, i) => (s.node === node ? [i] : []))
    return there[Math.floor(moment * there.length)]
  }
  const places = insertions.map((x) => ({ at: at(x), make: x.make }))
  return {
    input,
    events: events.flatMap((e, i) => [
      ...places.filter((x) => x.at === i).flatMap((x) => x.make(states[i], e.now)),
      e
    ])
  }
}

const small = (s: Scenario): Scenario => ({
  ...s,
  guest: { ...s.guest, mss: s.guest.mss === 100 ? 536 : s.guest.mss, sends: s.guest.sends % 2000 },
  host: { ...s.host, sends: s.host.sends % 2000 }
})
/**
 * Short connections, with up to three events in them that the simulator did not make, wherever in the chart.
 * `other`: events of any kind, whose times are replaced.
 */
export const traces = (other: fc.Arbitrary<TcpEvent>): fc.Arbitrary<Run<typeof tcpMachine>> => {
  const make = fc.oneof(
    { weight: 6, arbitrary: segment },
    { weight: 2, arbitrary: fromIrs },
    {
      weight: 6,
      arbitrary: fc.tuple(other, fc.constantFrom(0, 0, 0, 300, 40_000)).map(
        ([e, ms]): Make =>
          (_, now) => [{ ...e, now: instant(now + ms) }]
      )
    },
    { weight: 1, arbitrary: fc.constantFrom(silence, longSilence) }
  )
  const share = fc.noBias(real(0, 1, true))
  const insertions = fc.array(fc.record({ leaf: share, moment: share, make }), { minLength: 1, maxLength: 3 })
  return fc
    .tuple(
      fc.boolean().chain((resets) => {
        const of = scenario(resets)
        return fc.oneof({ weight: 2, arbitrary: of }, { weight: 1, arbitrary: handedOver(of) })
      }),
      insertions
    )
    .map(([s, list]) => [trace(small(s)), list] as const)
    .filter((x): x is [Trace, Insertion[]] => x[0] !== null)
    .map(([t, list]) => disturbed(t, list))
}
