import { enqueueActions } from 'xstate'
import { type Instant, instant } from '../../effects/effect.js'
import { by } from '../source.js'

// What both sides of a live migration are made of (migration-source.ts, migration-target.ts): steps, deadlines, and the limits
// that they share.

/** ms that a helper is waited for, before a save or a load. */
export const HELPER_WAIT = 100
/** ms for its answer. */
export const REPAIR_WAIT = 1000
/** ms in which something must move in the pipe. */
export const PIPE_WAIT = 10_000
/** Sockets in one message to the helper (SCM_MAX_FD, unix(7)). */
export const BATCH_MAX = 253

/** (context, event) -> context, and effects in order. */
export type Step<C, E, F> = (c: C, e: E, emit: (effect: F) => void) => C
export type Timed = { readonly now: Instant }
interface Deadlined {
  /** 0: none */
  readonly deadline: number
}
type ArmDeadline = { readonly type: 'ArmDeadline'; readonly at: Instant }

/** DEADLINE comes then. */
export const until = <C extends Deadlined>(c: C, at: number, emit: (effect: ArmDeadline) => void): C => {
  emit({ type: 'ArmDeadline', at: instant(at) })
  return { ...c, deadline: at }
}

/** Makes actions of the steps of a machine with these contexts, events and effects. */
export const lifter =
  <C extends object, All extends { readonly type: string }, F extends { readonly type: string }>() =>
  <E>(step: Step<C, E, F>) =>
    enqueueActions<C, All, E, All, never, never, never, never, never>(({ context, enqueue }, e) => {
      const out: F[] = []
      enqueue.assign(step(context, e, (x) => out.push(x)))
      for (const x of out) {
        const { type, ...params } = x
        enqueue({ type, params } as never)
      }
    })
/** An effect as an action: the runtime carries it out. */
export type Inert<F, K> = (_: unknown, params: Omit<Extract<F, { readonly type: K }>, 'type'>) => void
export const inert = (): void => {}

/** Guards of both. */
export const guards = {
  due: ({ context: c }: { readonly context: Deadlined }, p: Timed): boolean =>
    c.deadline > 0 && p.now >= c.deadline,
  failed: (_: unknown, p: { readonly errno: number }): boolean => p.errno !== 0,
  there: (_: unknown, p: { readonly there: boolean }): boolean => p.there
}
/** Params of a guard or an action: the event itself. */
export const event = <E>({ event: e }: { readonly event: E }): E => e
export const due = { type: 'due', params: event } as const
export const failed = { type: 'failed', params: event } as const
/** An action of a chart. */
export const act = <T extends string>(type: T) => ({ type, params: event }) as const

// Sources of transitions
export const rule = (...more: readonly string[]) => by(['behaviour.md#migration', ...more].join('; '))
export const spec = by('behaviour.md#migration; vhost-user.rst, "Migrating back-end state"')
export const late = by('ours: a deadline may pass for nothing, and an answer come too late')
