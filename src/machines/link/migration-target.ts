import { setup } from 'xstate'
import {
  type ExtendedRecord,
  FLOW_LEN,
  type FlowRecord,
  PRELUDE_LEN,
  type QueueName,
  STATE_SKIP,
  type StateAddresses,
  type StateEvent
} from '../../codecs/control/migration.js'
import type { Octets } from '../../codecs/value/octets.js'
import type { Instant } from '../../effects/effect.js'
import { by } from '../source.js'
import {
  act,
  BATCH_MAX,
  due,
  event,
  failed,
  guards,
  HELPER_WAIT,
  type Inert,
  inert,
  late,
  lifter,
  PIPE_WAIT,
  REPAIR_WAIT,
  rule,
  type Step as StepOf,
  spec,
  type Timed,
  until
} from './migration-steps.js'

// The target of a live migration: connections are made of the state that another passt wrote, before the guest runs here.
//
//   prelude      header, addresses, number of connections
//   awaiting     there are some, and the helper has not connected yet
//   entering     flow records: each becomes a flow with a socket that is not connected
//   repairing    a batch of sockets is at the helper
//   restoring    sockets and queues, one connection after the other, up to the end of the pipe
//   loaded       all is made, and silent. The guest does not run here yet, and may never do
//   resuming     it does: a batch leaves repair mode, and runs
//
// What is read is read on request: no piece has the records of two parts in it. Connections are named by their place in the
// stream; the runtime knows which of them are lost, tells of each once, and leaves them out of what it is asked to do.
//
// Until the guest runs all can be forgotten, and no peer knows: a fault fails the load as a whole, and the source can go on, even
// if the hypervisor gives up after a load that was good. So nothing leaves repair mode before: what a socket acknowledges is lost
// to whom it does not belong to. From then on a fault costs the connections that it is about.

/** Octets of one read. */
export const PIECE_MAX = 65_536
/** Connections of a state: as many as a flow table can have (runtime/flow/flow-table.ts). */
export const FLOWS_MAX = 0x1ffff

/** Why a connection was lost. */
export type TargetLoss = 'not-allowed' | 'no-room' | 'not-sent' | 'not-restored' | 'helper-failed'

export interface TargetReport {
  readonly moved: number
  readonly lost: Readonly<Record<TargetLoss, number>>
  readonly octets: number
  readonly ms: number
}
export type TargetFault =
  /** In words. */
  | { readonly kind: 'stream'; readonly text: string }
  | { readonly kind: 'pipe'; readonly errno: number }
  | { readonly kind: 'stuck' }
  | { readonly kind: 'no-helper' }
  | { readonly kind: 'helper-failed' }
  | { readonly kind: 'gone' }

/** `index`: place in the stream; from `from` on, in front of `to`: those that are not lost. */
interface Some {
  readonly from: number
  readonly to: number
}
export type TargetEffect =
  | { readonly type: 'ArmDeadline'; readonly at: Instant }
  | { readonly type: 'StateOpen'; readonly fd: number }
  /** -> state events, then PIECE; or FAULTY; or STATE_ENDED */
  | { readonly type: 'StateNext'; readonly most: number }
  | { readonly type: 'StateClose' }
  | { readonly type: 'CloseFd'; readonly fd: number }
  /** A flow, and a socket for it. -> LOST, if not */
  | { readonly type: 'Enter'; readonly index: number; readonly flow: FlowRecord }
  /** At most BATCH_MAX; none may be left of them. -> REPAIRED */
  | ({ readonly type: 'RepairSome'; readonly on: boolean } & Some)
  | { readonly type: 'RepairClose' }
  /** The socket's numbers. Its failure is kept. */
  | { readonly type: 'Restore'; readonly index: number; readonly extended: ExtendedRecord }
  | {
      readonly type: 'RestoreQueue'
      readonly index: number
      readonly which: QueueName
      readonly octets: Octets
    }
  /** -> LOST, if anything of it failed */
  | { readonly type: 'RestoreEnd'; readonly index: number }
  /** They are no longer in repair mode, and begin. */
  | ({ readonly type: 'Run' } & Some)
  /** The source could not take it along. -> LOST */
  | { readonly type: 'Skip'; readonly index: number }
  /** Their flows end, and their sockets are closed without a word where that can be. -> LOST for each, then DROPPED */
  | ({ readonly type: 'DropSome'; readonly why: TargetLoss } & Some)
  /** All that entered, as if they had never come. */
  | { readonly type: 'DropAll' }
  /** The guest's addresses, as the source knew them. */
  | { readonly type: 'Learn'; readonly addresses: StateAddresses }
  /** RST to the guest, for connections that were lost: places in the stream. Nothing is asked of their records any more. */
  | { readonly type: 'ResetGuest'; readonly indexes: readonly number[] }
  | { readonly type: 'TransferDone'; readonly ok: boolean }
  | { readonly type: 'ReportLoaded'; readonly report: TargetReport }
  | { readonly type: 'LoadFailed'; readonly why: TargetFault }

type At<E> = E extends unknown ? E & Timed : never
export type TargetEvent =
  | { readonly type: 'HELPER'; readonly there: boolean; readonly now: Instant }
  /** The front-end has a state for us. */
  | { readonly type: 'LOAD'; readonly fd: number; readonly now: Instant }
  /** What a piece was read as (codecs/control/migration.ts), then that it has been read. */
  | At<StateEvent>
  | { readonly type: 'PIECE'; readonly octets: number; readonly now: Instant }
  | { readonly type: 'FAULTY'; readonly text: string; readonly now: Instant }
  /** The pipe has ended, or failed. */
  | { readonly type: 'STATE_ENDED'; readonly errno: number; readonly now: Instant }
  | { readonly type: 'REPAIRED'; readonly errno: number; readonly now: Instant }
  /** It did not enter, was not restored, or could not run. Once for each. */
  | { readonly type: 'LOST'; readonly index: number; readonly why: TargetLoss; readonly now: Instant }
  | { readonly type: 'DROPPED'; readonly now: Instant }
  /** The guest can hear. If it could before the load was over, then behind that. */
  | { readonly type: 'GUEST_UP'; readonly now: Instant }
  /** The client is gone. */
  | { readonly type: 'GONE'; readonly now: Instant }
  | { readonly type: 'DEADLINE'; readonly now: Instant }

/** A list, the last one first: they are many at times, and come one by one. */
export interface Lost {
  readonly index: number
  readonly why: TargetLoss
  readonly before: Lost | null
}
export interface TargetContext {
  readonly helper: boolean
  /** 0: none */
  readonly deadline: number
  readonly startedAt: number
  /** ms that the load took. */
  readonly took: number
  readonly addresses: StateAddresses | null
  readonly flows: number
  /** Octets of the part that is being read, still to come; of `restoring` nobody knows. */
  readonly left: number
  readonly octets: number
  readonly lost: Lost | null
  /** Nothing more comes of the connection that is being read. */
  readonly skipping: boolean
  /** Connections in front are in repair mode; the batch under way ends at `asked`. */
  readonly repaired: number
  readonly asked: number
  /** Connections in front run. */
  readonly running: number
  /** All that was announced has been read. */
  readonly whole: boolean
}

const REST = {
  deadline: 0,
  startedAt: 0,
  took: 0,
  addresses: null,
  flows: 0,
  left: 0,
  octets: 0,
  lost: null,
  skipping: false,
  repaired: 0,
  asked: 0,
  running: 0,
  whole: false
} as const satisfies Omit<TargetContext, 'helper'>

// --- steps: (context, event) -> context and effects

type Emit = (e: TargetEffect) => void
type Step<E> = StepOf<TargetContext, E, TargetEffect>
type Ev<K extends TargetEvent['type']> = Extract<TargetEvent, { readonly type: K }>

/** The next piece: all that is left of this part, or of what one read takes. */
const read = (c: TargetContext, left: number, now: number, emit: Emit): TargetContext => {
  emit({ type: 'StateNext', most: Math.min(left, PIECE_MAX) })
  return until({ ...c, left }, now + PIPE_WAIT, emit)
}
const load: Step<Ev<'LOAD'>> = (c, e, emit) => {
  emit({ type: 'StateOpen', fd: e.fd })
  return read({ ...c, ...REST, startedAt: e.now }, PRELUDE_LEN, e.now, emit)
}
const refuse: Step<Ev<'LOAD'>> = (c, e, emit) => {
  emit({ type: 'CloseFd', fd: e.fd })
  emit({ type: 'TransferDone', ok: false })
  return c
}
const came = (c: TargetContext, e: Ev<'PIECE'>): TargetContext => ({ ...c, octets: c.octets + e.octets })
/** A part is read, but not all of it. */
const more: Step<Ev<'PIECE'>> = (c, e, emit) => read(came(c, e), c.left - e.octets, e.now, emit)
const moreSockets: Step<Ev<'PIECE'>> = (c, e, emit) => read(came(c, e), PIECE_MAX, e.now, emit)
const awaitHelper: Step<Ev<'PIECE'>> = (c, e, emit) => until(came(c, e), e.now + HELPER_WAIT, emit)
const readFlows: Step<Timed> = (c, { now }, emit) => read(c, c.flows * FLOW_LEN, now, emit)
const readSockets: Step<Timed> = (c, { now }, emit) => read(c, PIECE_MAX, now, emit)
const enter: Step<Ev<'STATE_FLOW'>> = (c, e, emit) => {
  emit({ type: 'Enter', index: e.index, flow: e.flow })
  return c
}
const repair: Step<Timed> = (c, { now }, emit) => {
  const asked = Math.min(c.flows, c.repaired + BATCH_MAX)
  emit({ type: 'RepairSome', from: c.repaired, to: asked, on: true })
  return until({ ...c, asked }, now + REPAIR_WAIT, emit)
}
const restore: Step<Ev<'STATE_EXTENDED'>> = (c, { index, extended }, emit) => {
  const skipping = extended.state === STATE_SKIP
  emit(skipping ? { type: 'Skip', index } : { type: 'Restore', index, extended })
  return { ...c, skipping }
}
const restoreQueue: Step<Ev<'STATE_QUEUE'>> = (c, { index, which, octets }, emit) => {
  emit({ type: 'RestoreQueue', index, which, octets })
  return c
}
const restoreEnd: Step<Ev<'STATE_FLOW_END'>> = (c, { index }, emit) => {
  if (!c.skipping) emit({ type: 'RestoreEnd', index })
  return c
}
const resume: Step<Timed> = (c, { now }, emit) => {
  const asked = Math.min(c.flows, c.running + BATCH_MAX)
  emit({ type: 'RepairSome', from: c.running, to: asked, on: false })
  return until({ ...c, asked }, now + REPAIR_WAIT, emit)
}
const run: Step<Timed> = (c, _, emit) => {
  emit({ type: 'Run', from: c.running, to: c.asked })
  return { ...c, running: c.asked }
}
/** Of those that still are in repair mode, or of which nobody knows, nothing becomes. */
const dropRest: Step<Timed> = (c, _, emit) => {
  emit({ type: 'DropSome', from: c.running, to: c.flows, why: 'helper-failed' })
  return { ...c, deadline: 0 }
}
const loaded: Step<Timed> = (c, { now }, emit) => {
  if (c.addresses !== null) emit({ type: 'Learn', addresses: c.addresses })
  emit({ type: 'TransferDone', ok: true })
  return { ...c, deadline: 0, took: now - c.startedAt }
}
const noteLost: Step<Ev<'LOST'>> = (c, { index, why }) => ({ ...c, lost: { index, why, before: c.lost } })
const report: Step<Timed> = (c, _, emit) => {
  const lost = { 'not-allowed': 0, 'no-room': 0, 'not-sent': 0, 'not-restored': 0, 'helper-failed': 0 }
  const indexes: number[] = []
  for (let l = c.lost; l !== null; l = l.before) {
    lost[l.why]++
    indexes.push(l.index)
  }
  emit({ type: 'RepairClose' })
  emit({ type: 'ResetGuest', indexes })
  const moved = c.flows - indexes.length
  emit({ type: 'ReportLoaded', report: { moved, lost, octets: c.octets, ms: c.took } })
  return { ...c, ...REST, helper: false }
}
const fail =
  <E>(why: (e: E) => TargetFault): Step<E> =>
  (c, e, emit) => {
    emit({ type: 'StateClose' })
    emit({ type: 'DropAll' })
    emit({ type: 'RepairClose' })
    emit({ type: 'LoadFailed', why: why(e) })
    emit({ type: 'TransferDone', ok: false })
    return { ...c, ...REST, helper: false }
  }

const lift = lifter<TargetContext, TargetEvent, TargetEffect>()
const targetActions: { readonly [K in TargetEffect['type']]: Inert<TargetEffect, K> } = {
  ArmDeadline: inert,
  StateOpen: inert,
  StateNext: inert,
  StateClose: inert,
  CloseFd: inert,
  Enter: inert,
  RepairSome: inert,
  RepairClose: inert,
  Restore: inert,
  RestoreQueue: inert,
  RestoreEnd: inert,
  Run: inert,
  Skip: inert,
  DropSome: inert,
  DropAll: inert,
  Learn: inert,
  ResetGuest: inert,
  TransferDone: inert,
  ReportLoaded: inert,
  LoadFailed: inert
}

const IDLE = '#migration-target.idle'
/** The load fails as a whole. */
const fails = <T extends string>(type: T) => ({ target: IDLE, actions: act(type), meta: rule() }) as const
const rest = { type: 'rest', params: event } as const

export const migrationTargetMachine = setup({
  types: { context: {} as TargetContext, events: {} as TargetEvent },
  guards: {
    ...guards,
    tooMany: (_, p: { readonly flows: number }) => p.flows > FLOWS_MAX,
    /** Something of this part has not been read. */
    rest: ({ context: c }, p: { readonly octets: number }) => p.octets < c.left,
    none: ({ context: c }) => c.flows === 0,
    helper: ({ context: c }) => c.helper,
    moreToRepair: ({ context: c }) => c.asked < c.flows,
    tooEarly: ({ context: c }, p: { readonly errno: number }) => p.errno === 0 && !c.whole
  },
  actions: {
    ...targetActions,
    noteHelper: lift<Ev<'HELPER'>>((c, e) => ({ ...c, helper: e.there })),
    noteAddresses: lift<Ev<'STATE_ADDRESSES'>>((c, e) => ({ ...c, addresses: e.addresses })),
    noteCount: lift<Ev<'STATE_COUNT'>>((c, e) => ({ ...c, flows: e.flows })),
    noteEnd: lift<Ev<'STATE_END'>>((c) => ({ ...c, whole: true })),
    noteLost: lift(noteLost),
    notePiece: lift<Ev<'PIECE'>>((c, e) => came(c, e)),
    load: lift(load),
    refuse: lift(refuse),
    more: lift(more),
    moreSockets: lift(moreSockets),
    awaitHelper: lift(awaitHelper),
    readFlows: lift(readFlows),
    readSockets: lift(readSockets),
    enter: lift(enter),
    repair: lift(repair),
    repaired: lift<Timed>((c) => ({ ...c, repaired: c.asked })),
    restore: lift(restore),
    restoreQueue: lift(restoreQueue),
    restoreEnd: lift(restoreEnd),
    resume: lift(resume),
    run: lift(run),
    dropRest: lift(dropRest),
    loaded: lift(loaded),
    report: lift(report),
    faulty: lift(fail<Ev<'FAULTY'>>((e) => ({ kind: 'stream', text: e.text }))),
    tooMany: lift(
      fail<Ev<'STATE_COUNT'>>((e) => ({ kind: 'stream', text: `device state of ${e.flows} connections` }))
    ),
    cut: lift(fail<Timed>(() => ({ kind: 'stream', text: 'device state that ends too early' }))),
    pipeFailed: lift(fail<Ev<'STATE_ENDED'>>((e) => ({ kind: 'pipe', errno: e.errno }))),
    stuck: lift(fail<Timed>(() => ({ kind: 'stuck' }))),
    noHelper: lift(fail<Timed>(() => ({ kind: 'no-helper' }))),
    helperFailed: lift(fail<Timed>(() => ({ kind: 'helper-failed' }))),
    gone: lift(fail<Timed>(() => ({ kind: 'gone' })))
  }
}).createMachine({
  id: 'migration-target',
  description: 'The target of a live migration: connections are made of the state that another passt wrote.',
  context: { helper: false, ...REST },
  initial: 'idle',
  on: {
    HELPER: { actions: act('noteHelper'), meta: rule() },
    LOAD: { actions: act('refuse'), meta: by('ours: one at a time') },
    LOST: { actions: act('noteLost'), meta: rule() },
    FAULTY: fails('faulty'),
    STATE_ENDED: [{ guard: failed, ...fails('pipeFailed') }, fails('cut')],
    GONE: fails('gone'),
    '*': { meta: late }
  },
  states: {
    idle: {
      on: {
        LOAD: { target: 'prelude', actions: act('load'), meta: spec },
        LOST: { meta: by('ours: its flow tells the guest') },
        FAULTY: { meta: late },
        STATE_ENDED: { meta: late },
        GONE: { meta: late }
      }
    },
    prelude: {
      description: 'Header, addresses, number of connections.',
      on: {
        STATE_ADDRESSES: { actions: act('noteAddresses'), meta: spec },
        STATE_COUNT: [
          { guard: { type: 'tooMany', params: event }, ...fails('tooMany') },
          { actions: act('noteCount'), meta: spec }
        ],
        STATE_END: { actions: act('noteEnd'), meta: spec },
        PIECE: [
          { guard: rest, actions: act('more'), meta: spec },
          { guard: 'none', target: 'restoring', actions: act('moreSockets'), meta: spec },
          {
            guard: 'helper',
            target: 'entering',
            actions: [act('notePiece'), act('readFlows')],
            meta: rule()
          },
          { target: 'awaiting', actions: act('awaitHelper'), meta: rule('passt-repair(1)') }
        ],
        DEADLINE: [{ guard: due, ...fails('stuck') }, { meta: late }]
      }
    },
    awaiting: {
      description: 'There are connections, and no helper has connected yet.',
      on: {
        HELPER: {
          guard: { type: 'there', params: event },
          target: 'entering',
          actions: [act('noteHelper'), act('readFlows')],
          meta: rule('passt-repair(1)')
        },
        DEADLINE: [{ guard: due, ...fails('noHelper') }, { meta: late }]
      }
    },
    entering: {
      description: 'Each connection becomes a flow, with a socket that is not connected.',
      on: {
        STATE_FLOW: { actions: act('enter'), meta: spec },
        PIECE: [
          { guard: rest, actions: act('more'), meta: spec },
          {
            target: 'repairing',
            actions: [act('notePiece'), act('repair')],
            meta: rule('tcp(7), TCP_REPAIR')
          }
        ],
        DEADLINE: [{ guard: due, ...fails('stuck') }, { meta: late }]
      }
    },
    repairing: {
      description: 'A batch of sockets is at the helper.',
      on: {
        REPAIRED: [
          { guard: failed, ...fails('helperFailed') },
          {
            guard: 'moreToRepair',
            actions: [act('repaired'), act('repair')],
            meta: rule('unix(7), SCM_RIGHTS')
          },
          { target: 'restoring', actions: [act('repaired'), act('readSockets')], meta: spec }
        ],
        DEADLINE: [{ guard: due, ...fails('helperFailed') }, { meta: late }]
      }
    },
    restoring: {
      description: 'Sockets and queues, one connection after the other, up to the end of the pipe.',
      on: {
        STATE_EXTENDED: { actions: act('restore'), meta: rule('tcp(7), TCP_REPAIR') },
        STATE_QUEUE: { actions: act('restoreQueue'), meta: spec },
        STATE_FLOW_END: { actions: act('restoreEnd'), meta: spec },
        STATE_END: { actions: act('noteEnd'), meta: spec },
        PIECE: { actions: act('moreSockets'), meta: spec },
        STATE_ENDED: [
          { guard: failed, ...fails('pipeFailed') },
          { guard: { type: 'tooEarly', params: event }, ...fails('cut') },
          { target: 'loaded', actions: act('loaded'), meta: spec }
        ],
        DEADLINE: [{ guard: due, ...fails('stuck') }, { meta: late }]
      }
    },
    loaded: {
      description: 'All is made, and silent: the guest does not run here yet.',
      on: {
        GUEST_UP: [
          { guard: 'none', target: 'idle', actions: act('report'), meta: rule() },
          { target: 'resuming', actions: act('resume'), meta: rule() }
        ],
        FAULTY: { meta: late },
        STATE_ENDED: { meta: late }
      }
    },
    resuming: {
      description: 'The guest runs: a batch of sockets leaves repair mode.',
      on: {
        REPAIRED: [
          { guard: failed, target: 'lost', actions: act('dropRest'), meta: rule() },
          { guard: 'moreToRepair', actions: [act('run'), act('resume')], meta: rule() },
          { target: 'idle', actions: [act('run'), act('report')], meta: spec }
        ],
        DEADLINE: [{ guard: due, target: 'lost', actions: act('dropRest'), meta: rule() }, { meta: late }],
        FAULTY: { meta: late },
        STATE_ENDED: { meta: late },
        GONE: { meta: by('ours: they run, or are about to; flows outlive a client') }
      }
    },
    lost: {
      description: 'The helper has failed. DROPPED: it is known of all that were lost by that.',
      on: {
        DROPPED: { target: 'idle', actions: act('report'), meta: rule() },
        FAULTY: { meta: late },
        STATE_ENDED: { meta: late },
        GONE: { meta: by('ours: the others run; flows outlive a client') }
      }
    }
  }
})
