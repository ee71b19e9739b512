import { setup } from 'xstate'
import type { HandOverQuestion } from '../../codecs/control/hand-over.js'
import type { Instant } from '../../effects/effect.js'
import { by } from '../source.js'
import {
  act,
  due,
  event,
  guards,
  type Inert,
  inert,
  late,
  lifter,
  type Step as StepOf,
  type Timed,
  until
} from './migration-steps.js'

// A process that is to take our place asks for what we have (behaviour.md#restart). We serve until it says that it is ready to; then
// we stand still, and either it has all, or the connection ends and we go on as if nothing had been.
//
//   alone      nobody is there
//   showing    it asks where we listen; we serve
//   settling   we stand still: results of what was asked for before are coming in
//   handing    it asks for flows
//   gone       it has them; what cannot go along is all that is left here

/** ms that it may take to get ready, and from `take` to `done`. */
export const READY_WAIT = 60_000
export const HAND_WAIT = 5_000

export type HandOverEffect =
  | { readonly type: 'ArmDeadline'; readonly at: Instant }
  /** Native reads and accepts nothing, and flows of the tap are frozen -> SETTLED. */
  | { readonly type: 'StandStill' }
  /** The opposite: they go on. */
  | { readonly type: 'GoOn' }
  | { readonly type: 'Reply'; readonly question: HandOverQuestion }
  /** The connection is closed. */
  | { readonly type: 'HangUp'; readonly why: string }
  /** Guest, listeners and flows are the other's. */
  | { readonly type: 'Leave'; readonly taken: number; readonly lost: number }

export type HandOverEvent =
  | { readonly type: 'PEER'; readonly there: boolean; readonly now: Instant }
  | { readonly type: 'ASKED'; readonly question: HandOverQuestion; readonly now: Instant }
  /** It said what is no question. */
  | { readonly type: 'FAULTY'; readonly now: Instant }
  | { readonly type: 'SETTLED'; readonly now: Instant }
  | { readonly type: 'DEADLINE'; readonly now: Instant }

export interface HandOverContext {
  /** When DEADLINE counts, 0: never. */
  readonly deadline: number
}
type Step<E> = StepOf<HandOverContext, E, HandOverEffect>
type Asked = Extract<HandOverEvent, { type: 'ASKED' }>
const lift = lifter<HandOverContext, HandOverEvent, HandOverEffect>()

const calm = (c: HandOverContext): HandOverContext => ({ ...c, deadline: 0 })
const greet: Step<Timed> = (c, e, emit) => until(c, e.now + READY_WAIT, emit)
const reply: Step<Asked> = (c, e, emit) => {
  emit({ type: 'Reply', question: e.question })
  return c
}
const standStill: Step<Asked> = (c, e, emit) => {
  emit({ type: 'StandStill' })
  return until(c, e.now + HAND_WAIT, emit)
}
const replyTake: Step<Timed> = (c, _, emit) => {
  emit({ type: 'Reply', question: { ask: 'take' } })
  return c
}
const hangUp =
  (why: string): Step<Timed> =>
  (c, _, emit) => {
    emit({ type: 'HangUp', why })
    return calm(c)
  }
const goOn: Step<Timed> = (c, _, emit) => {
  emit({ type: 'GoOn' })
  return calm(c)
}
const leave: Step<Asked> = (c, e, emit) => {
  if (e.question.ask === 'done') emit({ type: 'Leave', taken: e.question.taken, lost: e.question.lost })
  return calm(c)
}

const actions: { readonly [K in HandOverEffect['type']]: Inert<HandOverEffect, K> } = {
  ArmDeadline: inert,
  StandStill: inert,
  GoOn: inert,
  Reply: inert,
  HangUp: inert,
  Leave: inert
}
const is = (...asks: ReadonlyArray<HandOverQuestion['ask']>) => ({
  type: 'asks' as const,
  params: ({ event: { question } }: { readonly event: Asked }) => ({ yes: asks.includes(question.ask) })
})
const rule = by('behaviour.md#restart')
const there = { type: 'there', params: event } as const
// Rows of several states
const tooLate = [{ guard: due, actions: act('hangUpLate'), meta: rule }, { meta: late }] as const
/** While we stand still. */
const goesAway = [
  { guard: there, meta: late },
  { target: 'alone', actions: act('goOn'), meta: rule }
] as const

export const handOverMachine = setup({
  types: { context: {} as HandOverContext, events: {} as HandOverEvent },
  guards: { ...guards, asks: (_, p: { readonly yes: boolean }) => p.yes },
  actions: {
    ...actions,
    greet: lift(greet),
    reply: lift(reply),
    standStill: lift(standStill),
    replyTake: lift(replyTake),
    hangUpFaulty: lift(hangUp('said what is no question')),
    hangUpOrder: lift(hangUp('asked for what it may not have now')),
    hangUpLate: lift(hangUp('took too long')),
    goOn: lift(goOn),
    calm: lift((c: HandOverContext) => calm(c)),
    leave: lift(leave)
  }
}).createMachine({
  id: 'hand-over',
  context: { deadline: 0 },
  initial: 'alone',
  on: {
    FAULTY: { actions: act('hangUpFaulty'), meta: rule },
    ASKED: { actions: act('hangUpOrder'), meta: rule },
    SETTLED: { meta: late },
    DEADLINE: { meta: late }
  },
  states: {
    alone: {
      description: 'Nobody is to take our place.',
      on: { PEER: [{ guard: there, target: 'showing', actions: act('greet'), meta: rule }, { meta: late }] }
    },
    showing: {
      description: 'It asks where we listen. We serve.',
      on: {
        PEER: [
          { guard: there, meta: late },
          { target: 'alone', actions: act('calm'), meta: rule }
        ],
        ASKED: [
          { guard: is('begin', 'listeners'), actions: act('reply'), meta: rule },
          { guard: is('take'), target: 'settling', actions: act('standStill'), meta: rule },
          { actions: act('hangUpOrder'), meta: rule }
        ],
        DEADLINE: tooLate
      }
    },
    settling: {
      description: 'We stand still. Results of what was asked for before are coming in.',
      on: {
        SETTLED: { target: 'handing', actions: act('replyTake'), meta: rule },
        PEER: goesAway,
        DEADLINE: tooLate
      }
    },
    handing: {
      description: 'It asks for flows, and has their sockets as well.',
      on: {
        ASKED: [
          { guard: is('flows', 'rest', 'session'), actions: act('reply'), meta: rule },
          { guard: is('done'), target: 'gone', actions: [act('reply'), act('leave')], meta: rule },
          { actions: act('hangUpOrder'), meta: rule }
        ],
        PEER: goesAway,
        DEADLINE: tooLate
      }
    },
    gone: {
      description: 'It serves in our place. What could not go along ends here, sooner or later.',
      on: { PEER: { meta: late } }
    }
  }
})
