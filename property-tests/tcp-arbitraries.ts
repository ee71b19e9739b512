import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import { ExtendedRecord, FlowRecord } from '../src/codecs/control/migration.js'
import { fromV4 } from '../src/codecs/value/inany.js'
import { type Octets, octets } from '../src/codecs/value/octets.js'
import { add, distance, le } from '../src/codecs/value/seq.js'
import type { Effect, Instant } from '../src/effects/effect.js'
import type { SocketDump } from '../src/effects/hand-over.js'
import { type TcpContext, type TcpEvent, type TcpInput, tcpMachine } from '../src/machines/tcp/tcp.js'
import { extendedOf, flowRecordOf, movedOf, restoringOf } from '../src/machines/tcp/tcp-move.js'
import { resetFor } from '../src/machines/tcp/tcp-reset.js'
import type { Tcb } from '../src/machines/tcp/tcp-tcb.js'
import { compile, type State } from '../src/runtime/machine/compile.js'
import type { HandOver, Scenario, SimEvent, Subject } from '../src/simulator/tcp.js'

export const compiled = compile(tcpMachine)
export type TcpState = State<TcpContext>

/**
 * fc.assert, but a counter-example is the scenario where it differs from `calm`, and the list of events up to the failure.
 * FC_SEED and FC_PATH replay one; FC_RUNS looks longer. No time limit: what counts is how many schedules were seen.
 */
export const holds = (a: fc.Arbitrary<Scenario>, body: (s: Scenario) => void, numRuns: number): void => {
  const { FC_SEED: seed, FC_PATH: path } = process.env
  const replay = seed === undefined ? {} : { seed: Number(seed), path: path ?? '' }
  const r = fc.check(fc.property(a, body), { numRuns, ...replay })
  if (!r.failed) return
  if (r.counterexample === null) throw new Error(`only ${r.numRuns} of ${numRuns} runs`)
  const why = r.errorInstance instanceof Error ? r.errorInstance.message : String(r.errorInstance)
  const [s] = r.counterexample
  const text = [
    ...different(s.guest, calm.guest, 'guest.'),
    ...different(s.host, calm.host, 'host.'),
    ...different(s, calm, '')
  ]
  throw new Error(`FC_SEED=${r.seed} FC_PATH=${r.counterexamplePath}\n${text.join('\n')}\n${why}`)
}
const different = (s: object, from: object, prefix: string): string[] =>
  Object.entries(s)
    .filter(
      ([k, v]) =>
        k !== 'guest' &&
        k !== 'host' &&
        JSON.stringify(v) !== JSON.stringify((from as Record<string, unknown>)[k])
    )
    .map(([k, v]) => `  ${prefix}${k}: ${JSON.stringify(v)}`)

const assertThat = (kept: boolean, what: string): void => {
  if (!kept) throw new Error(what)
}
/** What holds of the block after every event (tcp-tcb.ts). */
export const checkTcb = (t: Tcb): void => {
  for (const [k, v] of Object.entries(t))
    assertThat(typeof v !== 'number' || Number.isFinite(v), `${k} is ${v}`)
  const inOrder = (a: keyof Tcb, b: keyof Tcb): void =>
    assertThat(le(t[a] as Tcb['iss'], t[b] as Tcb['iss']), `${a} ${t[a]} is behind ${b} ${t[b]}`)
  inOrder('sndUna', 'sndNxt')
  inOrder('sndNxt', 'sndMax')
  inOrder('rcvConfirmed', 'rcvTaken')
  inOrder('rcvTaken', 'rcvNxt')
  inOrder('rcvAcked', 'rcvNxt')
  assertThat(le(t.rcvAcked, add(t.rcvTaken, t.rcvFin)), 'RCV acknowledged beyond what was taken')
  assertThat(le(add(t.rcvNxt, -t.rcvFin), t.rcvEdge), 'RCV.NXT beyond the right edge')
  assertThat(t.sndWnd >= 0 && t.cwnd >= 0 && t.fails >= 0, 'negative count')
  assertThat(distance(t.rcvEdge, t.rcvNxt) <= 1 << 25, 'window out of bounds')
}

const END = { own: fromV4(0x0a000001), peer: fromV4(0x0a000002), ownPort: 1, peerPort: 2 }
const ENDS = { host: END, tap: END }
/** As another program reads it. */
const reread = <A>(codec: t.Type<A, Uint8Array, Octets>, a: A): A => {
  const r = codec.decode(octets(codec.encode(a)))
  if (E.isLeft(r)) throw new Error(`${codec.name}: ${r.left[0]?.message}`)
  return r.right
}

/** A frozen connection and its socket, by what is written of them: what another machine begins with. */
export const takeOver = (s: TcpState, dump: SocketDump, mss: number, now: Instant) => {
  const { tcb } = s.context
  const x = extendedOf(dump, tcb)
  if (x === null) throw new Error(`not taken along: ${JSON.stringify(dump)}`)
  const flow = reread(FlowRecord, flowRecordOf(tcb, ENDS))
  const restoring = restoringOf(flow, reread(ExtendedRecord, x))
  const moved = movedOf(flow)
  if (typeof restoring === 'string') throw new Error(restoring)
  if (typeof moved === 'string') throw new Error(moved)
  const { unacked, unread, ended } = restoring
  const input: TcpInput = { from: 'move', moved, mss, now }
  const restored: TcpEvent = {
    type: 'SOCK_RESTORED',
    taken: unacked,
    unacked,
    unread,
    ended,
    dark: true,
    now
  }
  return { input, restored, restoring }
}

/** The machine in the simulated world. `m`: the compiled chart. */
export const subjectOf = (m: typeof compiled): Subject<TcpState> => ({
  start: (syn, iss, mss, now, out) =>
    m.start(syn === null ? { from: 'host', iss, mss, now } : { from: 'guest', syn, iss, mss, now }, out),
  step: (s, e: SimEvent, out: Effect[]) => m.step(s, e as TcpEvent, out),
  isFinal: (s) => m.isFinal(s),
  isOpen: (s) => m.value(s).startsWith('open.'),
  takenOver: (s, dump, mss, now, out) => {
    const { input, restored, restoring } = takeOver(s, dump, mss, now)
    return [m.step(m.start(input, out), restored, out), restoring]
  },
  confirmed: ({ context: { tcb: t } }) => (t.heardSyn ? distance(t.rcvConfirmed, add(t.irs, 1)) : 0),
  describe: (s) => {
    const t = s.context.tcb
    const snd = `una +${distance(t.sndUna, t.iss)} nxt +${distance(t.sndNxt, t.iss)} wnd ${t.sndWnd}`
    return `[${m.value(s)}] SND ${snd} RCV nxt +${distance(t.rcvNxt, t.irs)} taken +${distance(t.rcvTaken, t.irs)}`
  },
  check: (s) => checkTcb(s.context.tcb),
  noFlow: resetFor
})
export const subject = subjectOf(compiled)

/** Nothing goes wrong, nothing is slow. Tests change what they are about. */
export const calm: Scenario = {
  opener: 'guest',
  iss: 1000,
  mtuMss: 1460,
  guest: {
    iss: 5000,
    mss: 1460,
    scale: 7,
    tso: 1460,
    sends: 3000,
    writes: 1 << 20,
    writesMs: 1,
    closesLast: false,
    rcvBuf: 60_000,
    reads: 1 << 20,
    readsMs: 1,
    delayedAck: false,
    squeezes: [],
    resetsAt: null,
    inward: 'listens',
    deaf: 0,
    early: 0
  },
  host: {
    connectMs: 1,
    connectErrno: 0,
    rtt: 0.1,
    sndBuf: 40_000,
    takes: [],
    tailMax: 1 << 20,
    reports: true,
    peerBuf: 60_000,
    peerReads: 1 << 20,
    peerReadsMs: 1,
    sends: 3000,
    sendsEach: 1 << 20,
    sendsMs: 1,
    closesLast: false,
    resetsAt: null,
    rcvBuf: 50_000,
    tapFull: []
  },
  fates: [],
  spurious: [],
  handOvers: []
}

const seqNum = fc.oneof(
  fc.constantFrom(0xffff_f000, 0xffff_ffff, 0x7fff_f000, 0),
  fc.integer({ min: 0, max: 0xffff_ffff })
)
const size = fc.oneof(fc.integer({ min: 0, max: 4000 }), fc.integer({ min: 0, max: 60_000 }))
const fate = fc.oneof(
  { weight: 4, arbitrary: fc.constant('pass' as const) },
  { weight: 2, arbitrary: fc.constantFrom('lose' as const, 'double' as const) },
  { weight: 1, arbitrary: fc.record({ delay: fc.constantFrom(0.05, 0.3, 3, 60, 400) }) }
)

/** Every scenario ends: streams are short and the link is sound once `fates` are used up. `resets`: may anyone reset? */
export const scenario = (resets: boolean): fc.Arbitrary<Scenario> => {
  const resetAt = resets ? fc.option(fc.integer({ min: 0, max: 300 }), { freq: 2 }) : fc.constant(null)
  return fc
    .record({
      opener: fc.constantFrom('guest' as const, 'host' as const),
      iss: seqNum,
      mtuMss: fc.constantFrom(1460, 1240, 61440),
      guest: fc.record({
        iss: seqNum,
        mss: fc.constantFrom(1460, 536, 100, 65495, null),
        scale: fc.constantFrom(7, 0, null, 14),
        tso: fc.constantFrom(1460, 536, 16_000, 65_000),
        sends: size,
        writes: fc.constantFrom(1 << 20, 1000, 100_000, 3000),
        writesMs: fc.constantFrom(0.1, 1, 10),
        closesLast: fc.boolean(),
        rcvBuf: fc.constantFrom(60_000, 4000, 700, 200_000),
        reads: fc.constantFrom(1 << 20, 2000, 20_000),
        readsMs: fc.constantFrom(1, 10, 0.2),
        delayedAck: fc.boolean(),
        squeezes: fc
          .array(
            fc.record({ at: fc.integer({ min: 1, max: 100 }), rcvBuf: fc.constantFrom(0, 500, 60_000) }),
            {
              maxLength: 3
            }
          )
          .map((l) => (l.length === 0 ? l : [...l, { at: 1500, rcvBuf: 60_000 }])),
        resetsAt: resetAt,
        inward: resets
          ? fc.constantFrom('listens' as const, 'listens' as const, 'crosses' as const, 'refuses' as const)
          : fc.constantFrom('listens' as const, 'listens' as const, 'crosses' as const),
        deaf: fc.constantFrom(0, 0, 0, 1, 3, resets ? 9 : 2),
        early: fc.constantFrom(0, 0, 100, 5000)
      }),
      host: fc.record({
        connectMs: fc.constantFrom(0.1, 30, 1500),
        connectErrno: resets ? fc.constantFrom(0, 0, 0, 111) : fc.constant(0),
        rtt: fc.constantFrom(0.05, 0.5, 5, 80),
        sndBuf: fc.constantFrom(40_000, 4000, 2_000_000),
        takes: fc.array(fc.constantFrom(0, 1, 500, 10_000), { maxLength: 8 }),
        tailMax: fc.constantFrom(1 << 20, 1 << 20, 2000),
        reports: fc.boolean(),
        peerBuf: fc.constantFrom(60_000, 3000, 400_000),
        peerReads: fc.constantFrom(1 << 20, 2000, 20_000),
        peerReadsMs: fc.constantFrom(0.5, 5),
        sends: size,
        sendsEach: fc.constantFrom(1 << 20, 500, 5000),
        sendsMs: fc.constantFrom(0.2, 2),
        closesLast: fc.boolean(),
        resetsAt: resetAt,
        rcvBuf: fc.constantFrom(50_000, 5000),
        tapFull: fc.array(fc.constantFrom(-1, 0, 1, 3), { maxLength: 5 })
      }),
      fates: fc.array(fate, { maxLength: 40, size: 'max' }),
      spurious: fc.array(
        fc.record({
          at: fc.integer({ min: 0, max: 200 }),
          timer: fc.constantFrom('rto' as const, 'ack' as const, 'keepalive' as const, 'idle' as const)
        }),
        { maxLength: 4 }
      ),
      handOvers: fc.constant<readonly HandOver[]>([])
    })
    .map((s) =>
      // Somebody must close first; and a window must not always round to nothing.
      ({
        ...s,
        guest: { ...s.guest, scale: s.guest.scale === 14 && s.guest.rcvBuf < 60_000 ? 7 : s.guest.scale },
        host: { ...s.host, closesLast: s.host.closesLast && !s.guest.closesLast }
      })
    )
}

/** The same, with connections that change hands once or several times. */
export const handedOver = (of: fc.Arbitrary<Scenario>): fc.Arbitrary<Scenario> =>
  fc
    .tuple(
      of,
      fc.array(
        fc.record({
          at: fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 2000 })),
          how: fc.constantFrom('moved' as const, 'moved' as const, 'thawed' as const),
          losesPeek: fc.boolean()
        }),
        { minLength: 1, maxLength: 4 }
      )
    )
    .map(([s, handOvers]) => ({ ...s, handOvers }))
