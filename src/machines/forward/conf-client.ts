import { setup } from 'xstate'
import type { ClientPart } from '../../codecs/control/conf.js'
import type { Instant } from '../../effects/effect.js'
import {
  act,
  due,
  event,
  guards,
  type Inert,
  inert,
  lifter,
  type Step as StepOf,
  type Timed,
  until
} from '../link/migration-steps.js'
import { by } from '../source.js'

// A client of the control socket (behaviour.md#live-rules). It is told all rules, and closes, or says all that there are to be; then the
// connection is ours to close, once those listen or were refused.
//
//   new       accepted
//   reading   it was told all; what it says may come in any pieces, or never
//   waiting   it has said all; others that were faster are at work
//   applying  listeners come and go
//   closed

/** ms to say all. */
export const CONF_WAIT = 10_000

export type ConfClientEffect =
  | { readonly type: 'ArmDeadline'; readonly at: Instant }
  /** It is told all rules, as they are now. */
  | { readonly type: 'Greet' }
  /** TURN follows, once nobody is in front of it. */
  | { readonly type: 'Queue'; readonly request: ClientPart }
  /** What was found to be right is made so -> APPLIED */
  | { readonly type: 'Apply' }
  /** The connection is closed. `why`: what was wrong, for the log; null: nothing was. */
  | { readonly type: 'HangUp'; readonly why: string | null }

export type ConfClientEvent =
  /** `allowed`: of our user, or root. */
  | { readonly type: 'CAME'; readonly allowed: boolean; readonly now: Instant }
  /** It has said all. */
  | { readonly type: 'ASKED'; readonly request: ClientPart; readonly now: Instant }
  /** It says what is no request. */
  | { readonly type: 'FAULTY'; readonly why: string; readonly now: Instant }
  /** It says no more. */
  | { readonly type: 'ENDED'; readonly now: Instant }
  /** Its request was looked at: `why` it cannot be, null: it can; `changes`: something is to be done. */
  | { readonly type: 'TURN'; readonly why: string | null; readonly changes: boolean; readonly now: Instant }
  /** `why` all is as it was, null: all is as asked for. */
  | { readonly type: 'APPLIED'; readonly why: string | null; readonly now: Instant }
  | { readonly type: 'DEADLINE'; readonly now: Instant }

export interface ConfClientContext {
  /** When DEADLINE counts, 0: never. */
  readonly deadline: number
}
type Step<E> = StepOf<ConfClientContext, E, ConfClientEffect>
type Of<K extends ConfClientEvent['type']> = Extract<ConfClientEvent, { type: K }>
const lift = lifter<ConfClientContext, ConfClientEvent, ConfClientEffect>()

const greet: Step<Timed> = (c, e, emit) => {
  emit({ type: 'Greet' })
  return until(c, e.now + CONF_WAIT, emit)
}
const queue: Step<Of<'ASKED'>> = (c, e, emit) => {
  emit({ type: 'Queue', request: e.request })
  return { ...c, deadline: 0 }
}
const apply: Step<Timed> = (c, _, emit) => {
  emit({ type: 'Apply' })
  return c
}
const hangUp =
  (why: string | null): Step<Timed> =>
  (c, _, emit) => {
    emit({ type: 'HangUp', why })
    return { ...c, deadline: 0 }
  }
const hangUpWhy: Step<{ readonly why: string | null }> = (c, e, emit) => {
  emit({ type: 'HangUp', why: e.why })
  return { ...c, deadline: 0 }
}

const actions: { readonly [K in ConfClientEffect['type']]: Inert<ConfClientEffect, K> } = {
  ArmDeadline: inert,
  Greet: inert,
  Queue: inert,
  Apply: inert,
  HangUp: inert
}
const rule = by('behaviour.md#live-rules')
const ignored = by('ours: a deadline may pass for nothing, and a client say more than is asked for')
const allowed = { type: 'allowed', params: event } as const
const refused = { type: 'refused', params: event } as const
const changing = { type: 'changing', params: event } as const

export const confClientMachine = setup({
  types: { context: {} as ConfClientContext, events: {} as ConfClientEvent },
  guards: {
    ...guards,
    allowed: (_, p: { readonly allowed: boolean }) => p.allowed,
    refused: (_, p: { readonly why: string | null }) => p.why !== null,
    changing: (_, p: { readonly changes: boolean }) => p.changes
  },
  actions: {
    ...actions,
    greet: lift(greet),
    queue: lift(queue),
    apply: lift(apply),
    hangUpWhy: lift(hangUpWhy),
    hangUpDone: lift(hangUp(null)),
    hangUpStranger: lift(hangUp('it is neither of our user nor root')),
    hangUpLate: lift(hangUp(`it has not said all within ${CONF_WAIT / 1000} s`))
  }
}).createMachine({
  id: 'conf-client',
  context: { deadline: 0 },
  initial: 'new',
  on: {
    CAME: { meta: ignored },
    ASKED: { meta: ignored },
    FAULTY: { meta: ignored },
    ENDED: { meta: ignored },
    TURN: { meta: ignored },
    APPLIED: { meta: ignored },
    DEADLINE: { meta: ignored }
  },
  states: {
    new: {
      description: 'It was accepted.',
      on: {
        CAME: [
          { guard: allowed, target: 'reading', actions: act('greet'), meta: rule },
          { target: 'closed', actions: act('hangUpStranger'), meta: rule }
        ]
      }
    },
    reading: {
      description: 'It was told all rules. What it says may come in any pieces, or never.',
      on: {
        ASKED: { target: 'waiting', actions: act('queue'), meta: rule },
        FAULTY: { target: 'closed', actions: act('hangUpWhy'), meta: rule },
        ENDED: { target: 'closed', actions: act('hangUpDone'), meta: rule },
        DEADLINE: [
          { guard: due, target: 'closed', actions: act('hangUpLate'), meta: rule },
          { meta: ignored }
        ]
      }
    },
    waiting: {
      description: 'It has said all. Others that were faster are at work.',
      on: {
        TURN: [
          { guard: refused, target: 'closed', actions: act('hangUpWhy'), meta: rule },
          { guard: changing, target: 'applying', actions: act('apply'), meta: rule },
          { target: 'closed', actions: act('hangUpDone'), meta: rule }
        ]
      }
    },
    applying: {
      description: 'Listeners come and go.',
      on: { APPLIED: { target: 'closed', actions: act('hangUpWhy'), meta: rule } }
    },
    closed: { type: 'final', description: 'The connection is closed.' }
  }
})
