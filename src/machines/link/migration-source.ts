import { setup } from 'xstate'
import { EXTENDED_LEN, type ExtendedRecord, FLOW_LEN, PRELUDE_LEN } from '../../codecs/control/migration.js'
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

// The source of a live migration: what becomes of this guest's connections while their state is written, until it is known that
// the guest has gone, or that it stays.
//
//   freezing     nothing more comes from the network; a turn later all results are in
//   awaiting     the helper that may repair has not connected yet
//   repairing    a batch of sockets is at the helper
//   sending      records, then each connection's socket and queues, as fast as the pipe takes them
//   sent         all is written; the front-end has not asked
//   checked      it has: the guest is the target's
//   lingering    the client is gone; sockets that moved stay, and are silent
//   away         they are closed; the next client's guest begins anew
//   back…        the guest stays: out of repair mode, thawed
//
// Connections are named as the runtime names its flows, and stand in the order of the stream. Those in front of `repaired` are in
// repair mode; of those in front of `asked` nobody knows, if the helper failed. `lost` has the others that do not move, and why.

/** ms that a roll-back waits for a helper, if there is none. */
export const BACK_WAIT = 10_000
/** ms that sockets which moved stay when their client has gone: longer than what their peers' last segments take. */
export const LINGER = 120_000
/** Sockets that are read at once, and octets that may wait for the pipe before others are. */
export const DUMPS_MAX = 8
export const WAITING_MAX = 1 << 20

/** Why a connection does not move. */
export type SourceLoss = 'no-helper' | 'helper-failed' | 'not-read' | 'ended'

/** What is left of a connection that is closed: nobody hears of it; the peer is reset; the guest is. */
export type Closing = 'silent' | 'reset-peer' | 'reset-guest'

export interface SourceReport {
  readonly moved: number
  /** Connections that do not move, by reason. */
  readonly lost: Readonly<Record<SourceLoss, number>>
  /** Those that were still opening, and were reset. */
  readonly stopped: number
  readonly octets: number
  readonly ms: number
}

type Flows = readonly number[]
export type SourceEffect =
  | { readonly type: 'ArmDeadline'; readonly at: Instant }
  /** Their sockets hear nothing from now on, if there are any; SETTLED when the results of all effects before are in. Their turns do not end meanwhile. */
  | { readonly type: 'Freeze'; readonly flows: Flows }
  /** FROZEN to each. No event of their timers or turns until they are thawed. */
  | { readonly type: 'Halt'; readonly flows: Flows }
  /** Sockets hear again; THAWED to each. */
  | { readonly type: 'Thaw'; readonly flows: Flows }
  /** STOP to each: reset on both sides. */
  | { readonly type: 'Stop'; readonly flows: Flows }
  /** They end. */
  | { readonly type: 'CloseFlows'; readonly flows: Flows; readonly how: Closing }
  /** At most BATCH_MAX, in or out of repair mode. -> REPAIRED */
  | { readonly type: 'Repair'; readonly flows: Flows; readonly on: boolean }
  /** The helper's connection is closed. */
  | { readonly type: 'RepairClose' }
  | { readonly type: 'StateOpen'; readonly fd: number }
  /** Header, addresses, number of connections. */
  | { readonly type: 'WritePrelude'; readonly flows: number }
  /** Their flow records. */
  | { readonly type: 'WriteFlows'; readonly flows: Flows }
  /** -> DUMPED, in the order of these effects */
  | { readonly type: 'Dump'; readonly flow: number }
  /** Its extended record, and behind it both queues. */
  | { readonly type: 'WriteSocket'; readonly flow: number; readonly extended: ExtendedRecord }
  /** So many extended records that say that nothing follows. */
  | { readonly type: 'WriteSkipped'; readonly flows: number }
  /** The descriptor is closed: at once, or behind what waits. -> STATE_ENDED */
  | { readonly type: 'StateClose'; readonly now: boolean }
  /** A descriptor that is not used. */
  | { readonly type: 'CloseFd'; readonly fd: number }
  | { readonly type: 'Listeners'; readonly open: boolean }
  /** For the session: CHECK_DEVICE_STATE can be answered. */
  | { readonly type: 'TransferDone'; readonly ok: boolean }
  /** `back`: the guest stayed after all. */
  | { readonly type: 'ReportSaved'; readonly back: boolean; readonly report: SourceReport }
  /** The guest has moved: its client's end is not ours any more (--one-off); or all is done (--migrate-exit). */
  | { readonly type: 'MovedAway'; readonly exit: boolean }
  | { readonly type: 'WarnSave'; readonly what: SourceWarning }
export type SourceWarning = 'no-helper' | 'helper-failed' | 'pipe-failed' | 'pipe-stuck' | 'busy' | 'not-back'

export type SourceEvent =
  /** A helper has connected, or is gone. In any state. */
  | { readonly type: 'HELPER'; readonly there: boolean; readonly now: Instant }
  /** The front-end asks for the state: connections to move, in their order, and those that are still opening. */
  | {
      readonly type: 'SAVE'
      readonly fd: number
      readonly moving: Flows
      readonly stopping: Flows
      readonly now: Instant
    }
  | { readonly type: 'SETTLED'; readonly now: Instant }
  | { readonly type: 'REPAIRED'; readonly errno: number; readonly now: Instant }
  /** null: it could not be read, or not all of it. */
  | {
      readonly type: 'DUMPED'
      readonly flow: number
      readonly extended: ExtendedRecord | null
      readonly now: Instant
    }
  /** Octets in the pipe, all together. */
  | { readonly type: 'WRITTEN'; readonly octets: number; readonly now: Instant }
  | { readonly type: 'STATE_ENDED'; readonly errno: number; readonly now: Instant }
  /** A flow has ended by itself. */
  | { readonly type: 'FLOW_ENDED'; readonly flow: number; readonly now: Instant }
  /** CHECK_DEVICE_STATE is answered. */
  | { readonly type: 'CHECKED'; readonly now: Instant }
  /** The guest's rings run again. */
  | { readonly type: 'RESUMED'; readonly now: Instant }
  /** The client is gone; or another one's session begins. */
  | { readonly type: 'GONE'; readonly now: Instant }
  | { readonly type: 'SESSION'; readonly now: Instant }
  | { readonly type: 'DEADLINE'; readonly now: Instant }

export interface SourceInput {
  /** --migrate-exit; not --migrate-no-linger. */
  readonly exit: boolean
  readonly linger: boolean
}
export interface SourceContext extends SourceInput {
  readonly helper: boolean
  /** 0: none */
  readonly deadline: number
  /** A roll-back gives up then. */
  readonly backBy: number
  readonly startedAt: number
  readonly flows: Flows
  readonly stopped: number
  readonly lost: ReadonlyMap<number, SourceLoss>
  readonly repaired: number
  readonly asked: number
  /** Connections of the stream: all of them, or none. */
  readonly announced: number
  /** Sockets that were asked for, and extended records that were given to the pipe. */
  readonly dumped: number
  readonly written: number
  readonly given: number
  readonly taken: number
  readonly closing: boolean
  /** The guest stays; found out while that could not be acted on. */
  readonly stays: boolean
  /** Of a roll-back: connections in front are done with. */
  readonly back: number
}

const NOBODY: ReadonlyMap<number, SourceLoss> = new Map()
const REST = {
  deadline: 0,
  backBy: 0,
  startedAt: 0,
  flows: [],
  stopped: 0,
  lost: NOBODY,
  repaired: 0,
  asked: 0,
  announced: 0,
  dumped: 0,
  written: 0,
  given: 0,
  taken: 0,
  closing: false,
  stays: false,
  back: 0
} as const satisfies Omit<SourceContext, 'exit' | 'linger' | 'helper'>

// --- steps: (context, event) -> context and effects

type Emit = (e: SourceEffect) => void
type Step<E> = StepOf<SourceContext, E, SourceEffect>
type Ev<K extends SourceEvent['type']> = Extract<SourceEvent, { readonly type: K }>

const lose = (c: SourceContext, flows: Flows, why: SourceLoss): SourceContext => {
  const lost = new Map(c.lost)
  for (const f of flows) if (why === 'ended' || !lost.has(f)) lost.set(f, why)
  return { ...c, lost }
}
const warn = (emit: Emit, what: SourceWarning): void => emit({ type: 'WarnSave', what })
const ended = (c: SourceContext, f: number): boolean => c.lost.get(f) === 'ended'
/** Flows that are still ours, in that part of the list. */
const live = (c: SourceContext, from: number, to: number = c.flows.length): Flows =>
  c.flows.slice(from, to).filter((f) => !ended(c, f))
const each = (flows: Flows, emit: (flows: Flows) => void): void => {
  if (flows.length > 0) emit(flows)
}
const closeFlows = (flows: Flows, how: Closing, emit: Emit): void =>
  each(flows, (list) => emit({ type: 'CloseFlows', flows: list, how }))
const moves = (c: SourceContext, f: number): boolean => !c.lost.has(f)

const save: Step<Ev<'SAVE'>> = (c, e, emit) => {
  emit({ type: 'StateOpen', fd: e.fd })
  emit({ type: 'Freeze', flows: e.moving })
  each(e.stopping, (flows) => emit({ type: 'Stop', flows }))
  return { ...c, ...REST, startedAt: e.now, flows: e.moving, stopped: e.stopping.length }
}
/** Another one is under way, or is being taken back. */
const refuse: Step<Ev<'SAVE'>> = (c, e, emit) => {
  emit({ type: 'CloseFd', fd: e.fd })
  emit({ type: 'TransferDone', ok: false })
  warn(emit, 'busy')
  return c
}
const halt: Step<Timed> = (c, _, emit) => {
  each(live(c, 0), (flows) => emit({ type: 'Halt', flows }))
  return { ...c, announced: c.flows.length }
}
const flowEnded: Step<Ev<'FLOW_ENDED'>> = (c, e) =>
  c.flows.includes(e.flow) ? lose(c, [e.flow], 'ended') : c

const awaitHelper: Step<Timed> = (c, { now }, emit) => until(c, now + HELPER_WAIT, emit)
const noHelper: Step<Timed> = (c, _, emit) => {
  warn(emit, 'no-helper')
  return { ...lose(c, c.flows, 'no-helper'), announced: 0 }
}
const repair: Step<Timed> = (c, { now }, emit) => {
  const asked = Math.min(c.flows.length, c.repaired + BATCH_MAX)
  emit({ type: 'Repair', flows: live(c, c.repaired, asked), on: true })
  return until({ ...c, asked }, now + REPAIR_WAIT, emit)
}
const repaired: Step<Timed> = (c) => ({ ...c, repaired: c.asked })
/** What it has done of its batch nobody knows. If it is the first one, none moves, as without a helper. */
const helperFailed: Step<Timed> = (c, _, emit) => {
  emit({ type: 'RepairClose' })
  warn(emit, 'helper-failed')
  const announced = c.repaired === 0 ? 0 : c.announced
  return { ...lose(c, c.flows.slice(c.repaired), 'helper-failed'), announced, helper: false }
}

/** Records that are due, in the order of the stream; then more sockets, or the end. */
const pump = (from: SourceContext, emit: Emit): SourceContext => {
  let c = from
  const skip = (): void => {
    let n = 0
    while (c.written + n < c.announced && (c.written + n < c.dumped || c.written + n >= c.repaired)) {
      if (moves(c, c.flows[c.written + n]!)) break
      n++
    }
    if (n === 0) return
    emit({ type: 'WriteSkipped', flows: n })
    const written = c.written + n
    c = { ...c, written, dumped: Math.max(c.dumped, written), given: c.given + n * EXTENDED_LEN }
  }
  skip()
  while (
    c.dumped < Math.min(c.announced, c.repaired) &&
    c.dumped - c.written < DUMPS_MAX &&
    c.given - c.taken < WAITING_MAX
  ) {
    const flow = c.flows[c.dumped]!
    if (moves(c, flow)) emit({ type: 'Dump', flow })
    c = { ...c, dumped: c.dumped + 1 }
    if (c.written === c.dumped - 1) skip()
  }
  if (c.written < c.announced || c.closing) return c
  emit({ type: 'StateClose', now: false })
  return { ...c, closing: true }
}
/** The same without some of the connections. */
const without = (c: SourceContext, gone: (flow: number) => boolean): SourceContext => {
  const count = (to: number): number => c.flows.slice(0, to).filter((f) => !gone(f)).length
  return {
    ...c,
    flows: c.flows.filter((f) => !gone(f)),
    repaired: count(c.repaired),
    asked: count(c.asked),
    announced: count(c.announced)
  }
}
const begin: Step<Timed> = (from, { now }, emit) => {
  const c = without(from, (f) => ended(from, f))
  emit({ type: 'Listeners', open: false })
  emit({ type: 'WritePrelude', flows: c.announced })
  each(c.flows.slice(0, c.announced), (flows) => emit({ type: 'WriteFlows', flows }))
  const given = PRELUDE_LEN + c.announced * FLOW_LEN
  return pump(until({ ...c, given }, now + PIPE_WAIT, emit), emit)
}
/** The guest was never told to go on: what is frozen and in repair mode is written once more. */
const again: Step<Ev<'SAVE'>> = (c, e, emit) => {
  emit({ type: 'StateOpen', fd: e.fd })
  return begin({ ...c, startedAt: e.now, dumped: 0, written: 0, taken: 0, closing: false }, e, emit)
}
/** Only what is next in the stream is awaited: results come in the order in which they were asked for. */
const dumped: Step<Ev<'DUMPED'>> = (c, e, emit) => {
  if (c.written >= c.dumped || c.flows[c.written] !== e.flow || !moves(c, e.flow)) return c
  if (e.extended === null) return pump(lose(c, [e.flow], 'not-read'), emit)
  emit({ type: 'WriteSocket', flow: e.flow, extended: e.extended })
  const octets = EXTENDED_LEN + e.extended.sendQueue + e.extended.receiveQueue
  return pump({ ...c, written: c.written + 1, given: c.given + octets }, emit)
}
const pipeMoved: Step<Ev<'WRITTEN'>> = (c, e, emit) => {
  const taken = Math.min(c.given, Math.max(c.taken, e.octets))
  if (taken === c.taken) return c
  return pump(until({ ...c, taken }, e.now + PIPE_WAIT, emit), emit)
}
const endedWhileSending: Step<Ev<'FLOW_ENDED'>> = (c, e, emit) => pump(flowEnded(c, e, emit), emit)
const transferOver =
  (ok: boolean): Step<Timed> =>
  (c, _, emit) => {
    emit({ type: 'TransferDone', ok })
    return c
  }
const giveUp =
  (what: SourceWarning): Step<Timed> =>
  (c, e, emit) => {
    emit({ type: 'StateClose', now: true })
    warn(emit, what)
    return transferOver(false)(c, e, emit)
  }

const movedOf = (c: SourceContext): Flows => c.flows.filter((f) => moves(c, f))
const reportOf = (c: SourceContext, now: number): SourceReport => {
  const lost = { 'no-helper': 0, 'helper-failed': 0, 'not-read': 0, ended: 0 }
  for (const why of c.lost.values()) lost[why]++
  return { moved: movedOf(c).length, lost, stopped: c.stopped, octets: c.given, ms: now - c.startedAt }
}
/** They did not move, and their guest has gone. */
const leftOf = (c: SourceContext): Flows => c.flows.filter((f) => !moves(c, f) && !ended(c, f))
/** Sockets that have moved stay. */
const keeps = (c: SourceContext): boolean => c.linger && !c.exit
const checked: Step<Timed> = (c, { now }, emit) => {
  emit({ type: 'ReportSaved', back: false, report: reportOf(c, now) })
  if (c.exit) closeFlows(leftOf(c), 'reset-peer', emit)
  if (!keeps(c)) closeFlows(movedOf(c), 'silent', emit)
  emit({ type: 'MovedAway', exit: c.exit })
  if (c.exit) return without(c, () => true)
  return keeps(c) ? c : without(c, (f) => moves(c, f))
}
const leave: Step<Timed> = (c, { now }, emit) => {
  emit({ type: 'RepairClose' })
  closeFlows(leftOf(c), 'reset-peer', emit)
  return until({ ...c, helper: false }, now + LINGER, emit)
}
const closeMoved: Step<Timed> = (c, _, emit) => {
  closeFlows(movedOf(c), 'silent', emit)
  return { ...c, ...REST }
}
const anew: Step<Timed> = (c, _, emit) => {
  emit({ type: 'Listeners', open: true })
  return { ...c, ...REST }
}

const stays: Step<Timed> = (c) => ({ ...c, stays: true })
const closeState: Step<Timed> = (c, _, emit) => {
  emit({ type: 'StateClose', now: true })
  return c
}
/** The guest stays: what was never at the helper goes on at once. */
const goBack: Step<Timed> = (c, { now }, emit) => {
  if (c.given > 0) emit({ type: 'Listeners', open: true })
  each(live(c, c.asked), (flows) => emit({ type: 'Thaw', flows }))
  return { ...c, back: 0, backBy: now + BACK_WAIT, deadline: 0 }
}
const unrepair: Step<Timed> = (c, { now }, emit) => {
  const to = Math.min(c.asked, c.back + BATCH_MAX)
  emit({ type: 'Repair', flows: live(c, c.back, to), on: false })
  return until(c, now + REPAIR_WAIT, emit)
}
const unrepaired: Step<Timed> = (c, _, emit) => {
  const to = Math.min(c.asked, c.back + BATCH_MAX)
  each(live(c, c.back, to), (flows) => emit({ type: 'Thaw', flows }))
  return { ...c, back: to }
}
const awaitBack: Step<Timed> = (c, _, emit) => until(c, c.backBy, emit)
const dropHelper: Step<Timed> = (c, _, emit) => {
  emit({ type: 'RepairClose' })
  return { ...c, helper: false }
}
const notBack: Step<Timed> = (c, _, emit) => {
  warn(emit, 'not-back')
  closeFlows(live(c, c.back, c.asked), 'reset-guest', emit)
  return c
}
const isBack: Step<Timed> = (c, { now }, emit) => {
  emit({ type: 'ReportSaved', back: true, report: reportOf(c, now) })
  emit({ type: 'RepairClose' })
  return { ...c, ...REST, helper: false }
}

const lift = lifter<SourceContext, SourceEvent, SourceEffect>()
const sourceActions: { readonly [K in SourceEffect['type']]: Inert<SourceEffect, K> } = {
  ArmDeadline: inert,
  Freeze: inert,
  Halt: inert,
  Thaw: inert,
  Stop: inert,
  CloseFlows: inert,
  Repair: inert,
  RepairClose: inert,
  StateOpen: inert,
  WritePrelude: inert,
  WriteFlows: inert,
  Dump: inert,
  WriteSocket: inert,
  WriteSkipped: inert,
  StateClose: inert,
  CloseFd: inert,
  Listeners: inert,
  TransferDone: inert,
  ReportSaved: inert,
  MovedAway: inert,
  WarnSave: inert
}

const UNREPAIR = '#migration-source.backRepairing'
const WAIT = '#migration-source.backWaiting'
const IDLE = '#migration-source.idle'
/** A guest that stays, behind `first`: no socket was at the helper. */
const thaws = <A extends object>(...first: readonly A[]) =>
  ({ target: IDLE, actions: [...first, act('goBack'), act('isBack')], meta: rule() }) as const
/** The same, whatever the helper was asked for. */
const back = <A extends object>(...first: readonly A[]) =>
  [
    {
      guard: 'canUnrepair',
      target: UNREPAIR,
      actions: [...first, act('goBack'), act('unrepair')],
      meta: rule()
    },
    {
      guard: 'mustUnrepair',
      target: WAIT,
      actions: [...first, act('goBack'), act('awaitBack')],
      meta: rule()
    },
    thaws(...first)
  ] as const
/** The pipe has failed, which ends the save; once what is under way has its result all is taken back. */
const failLater = [
  { guard: 'stays', meta: late },
  { actions: [act('pipeFailed'), act('stays')], meta: rule() }
] as const
/** The guest stays: acted on when what is under way has its result. */
const stayLater = { actions: [act('closeState'), act('stays')], meta: rule() } as const

/** The first one came to nothing, and the guest is stopped still: a hypervisor's user had paused it. */
const anotherSave = { target: 'sending', actions: act('again'), meta: rule() } as const

export const migrationSourceMachine = setup({
  types: { context: {} as SourceContext, events: {} as SourceEvent, input: {} as SourceInput },
  guards: {
    ...guards,
    early: ({ context: c }, p: Timed) => c.deadline === 0 || p.now < c.deadline,
    helper: ({ context: c }) => c.helper,
    stays: ({ context: c }) => c.stays,
    stayFailed: ({ context: c }, p: { readonly errno: number }) => c.stays && p.errno !== 0,
    stayDue: ({ context: c }, p: Timed) => c.stays && c.deadline > 0 && p.now >= c.deadline,
    noneMoves: ({ context: c }) => live(c, 0).length === 0,
    moreToRepair: ({ context: c }) => c.asked < c.flows.length,
    allWritten: ({ context: c }, p: { readonly errno: number }) => c.closing && p.errno === 0,
    keeps: ({ context: c }) => keeps(c),
    mustUnrepair: ({ context: c }) => c.asked > 0,
    canUnrepair: ({ context: c }) => c.asked > 0 && c.helper,
    moreToUnrepair: ({ context: c }) => c.back + BATCH_MAX < c.asked
  },
  actions: {
    ...sourceActions,
    noteHelper: lift<Ev<'HELPER'>>((c, e) => ({ ...c, helper: e.there })),
    save: lift(save),
    refuse: lift(refuse),
    halt: lift(halt),
    flowEnded: lift(flowEnded),
    awaitHelper: lift(awaitHelper),
    noHelper: lift(noHelper),
    repair: lift(repair),
    repaired: lift(repaired),
    helperFailed: lift(helperFailed),
    begin: lift(begin),
    again: lift(again),
    dumped: lift(dumped),
    pipeMoved: lift(pipeMoved),
    endedWhileSending: lift(endedWhileSending),
    transferred: lift(transferOver(true)),
    pipeFailed: lift(giveUp('pipe-failed')),
    pipeStuck: lift(giveUp('pipe-stuck')),
    checked: lift(checked),
    leave: lift(leave),
    closeMoved: lift(closeMoved),
    anew: lift(anew),
    stays: lift(stays),
    closeState: lift(closeState),
    goBack: lift(goBack),
    unrepair: lift(unrepair),
    unrepaired: lift(unrepaired),
    awaitBack: lift(awaitBack),
    dropHelper: lift(dropHelper),
    notBack: lift(notBack),
    isBack: lift(isBack)
  }
}).createMachine({
  id: 'migration-source',
  description:
    "The source of a live migration: what becomes of a guest's connections while their state is written, and until it is known whether it has gone.",
  context: ({ input }) => ({ ...input, helper: false, ...REST }),
  initial: 'idle',
  on: {
    HELPER: { actions: act('noteHelper'), meta: rule() },
    SAVE: { actions: act('refuse'), meta: by('ours: one at a time, and none while another is taken back') },
    FLOW_ENDED: { actions: act('flowEnded'), meta: by('ours: it has ended, wherever the guest is') },
    '*': { meta: late }
  },
  states: {
    idle: {
      on: { SAVE: { target: 'freezing', actions: act('save'), meta: spec }, FLOW_ENDED: { meta: late } }
    },
    freezing: {
      description: 'Sockets hear nothing more, and the results of what was asked before are on their way.',
      on: {
        SETTLED: [
          {
            guard: 'stays',
            target: 'idle',
            actions: [act('halt'), act('goBack'), act('isBack')],
            meta: rule()
          },
          { guard: 'noneMoves', target: 'sending', actions: [act('halt'), act('begin')], meta: spec },
          {
            guard: 'helper',
            target: 'repairing',
            actions: [act('halt'), act('repair')],
            meta: rule('tcp(7), TCP_REPAIR')
          },
          { target: 'awaiting', actions: [act('halt'), act('awaitHelper')], meta: rule('passt-repair(1)') }
        ],
        STATE_ENDED: failLater,
        RESUMED: stayLater,
        GONE: stayLater
      }
    },
    awaiting: {
      description: 'No helper has connected yet.',
      on: {
        HELPER: [
          {
            guard: { type: 'there', params: event },
            target: 'repairing',
            actions: [act('noteHelper'), act('repair')],
            meta: rule('passt-repair(1)')
          }
        ],
        DEADLINE: [
          { guard: due, target: 'sending', actions: [act('noHelper'), act('begin')], meta: rule() },
          { meta: late }
        ],
        STATE_ENDED: thaws(act('pipeFailed')),
        RESUMED: thaws(act('closeState')),
        GONE: thaws(act('closeState'))
      }
    },
    repairing: {
      description: 'A batch of sockets is at the helper.',
      on: {
        REPAIRED: [
          {
            guard: { type: 'stayFailed', params: event },
            target: 'backWaiting',
            actions: [act('dropHelper'), act('goBack'), act('awaitBack')],
            meta: rule()
          },
          {
            guard: 'stays',
            target: 'backRepairing',
            actions: [act('goBack'), act('unrepair')],
            meta: rule()
          },
          { guard: failed, target: 'sending', actions: [act('helperFailed'), act('begin')], meta: rule() },
          {
            guard: 'moreToRepair',
            actions: [act('repaired'), act('repair')],
            meta: rule('unix(7), SCM_RIGHTS')
          },
          { target: 'sending', actions: [act('repaired'), act('begin')], meta: spec }
        ],
        DEADLINE: [
          {
            guard: { type: 'stayDue', params: event },
            target: 'backWaiting',
            actions: [act('dropHelper'), act('goBack'), act('awaitBack')],
            meta: rule()
          },
          { guard: due, target: 'sending', actions: [act('helperFailed'), act('begin')], meta: rule() },
          { meta: late }
        ],
        STATE_ENDED: failLater,
        RESUMED: stayLater,
        GONE: stayLater
      }
    },
    sending: {
      description: 'The state goes into the pipe, as fast as it is taken.',
      on: {
        DUMPED: { actions: act('dumped'), meta: spec },
        WRITTEN: { actions: act('pipeMoved'), meta: spec },
        FLOW_ENDED: { actions: act('endedWhileSending'), meta: by('ours: the target resets it') },
        STATE_ENDED: [
          {
            guard: { type: 'allWritten', params: event },
            target: 'sent',
            actions: act('transferred'),
            meta: spec
          },
          ...back(act('pipeFailed'))
        ],
        DEADLINE: [{ guard: { type: 'early', params: event }, meta: late }, ...back(act('pipeStuck'))],
        RESUMED: back(act('closeState')),
        GONE: back(act('closeState'))
      }
    },
    sent: {
      description: 'All is in the pipe, and the front-end has not asked how it went.',
      on: {
        SAVE: anotherSave,
        CHECKED: { target: 'checked', actions: act('checked'), meta: spec },
        RESUMED: back(),
        GONE: { target: 'lingering', actions: act('leave'), meta: rule() }
      }
    },
    checked: {
      description: 'The front-end knows that the state was written. The guest goes, or comes back.',
      on: {
        SAVE: anotherSave,
        RESUMED: back(),
        GONE: [
          { guard: 'keeps', target: 'lingering', actions: act('leave'), meta: rule() },
          { target: 'away', actions: [act('leave'), act('closeMoved')], meta: rule() }
        ]
      }
    },
    lingering: {
      description: 'Sockets that have moved stay, so that nothing answers for them.',
      on: {
        DEADLINE: [{ guard: due, target: 'away', actions: act('closeMoved'), meta: rule() }, { meta: late }],
        SESSION: { target: 'idle', actions: [act('closeMoved'), act('anew')], meta: rule() }
      }
    },
    away: {
      description: 'The guest has gone, and its listeners with it.',
      on: { SESSION: { target: 'idle', actions: act('anew'), meta: rule() } }
    },
    backRepairing: {
      description: 'The guest stays: a batch of sockets leaves repair mode.',
      on: {
        REPAIRED: [
          {
            guard: failed,
            target: 'backWaiting',
            actions: [act('dropHelper'), act('awaitBack')],
            meta: rule()
          },
          { guard: 'moreToUnrepair', actions: [act('unrepaired'), act('unrepair')], meta: rule() },
          { target: 'idle', actions: [act('unrepaired'), act('isBack')], meta: rule() }
        ],
        DEADLINE: [
          { guard: due, target: 'backWaiting', actions: [act('dropHelper'), act('awaitBack')], meta: rule() },
          { meta: late }
        ]
      }
    },
    backWaiting: {
      description: 'The guest stays, and there is no helper.',
      on: {
        HELPER: {
          guard: { type: 'there', params: event },
          target: 'backRepairing',
          actions: [act('noteHelper'), act('unrepair')],
          meta: rule('passt-repair(1)')
        },
        DEADLINE: [
          { guard: due, target: 'idle', actions: [act('notBack'), act('isBack')], meta: rule() },
          { meta: late }
        ]
      }
    }
  }
})
