import { type AnyMachineSnapshot, initialTransition, transition } from 'xstate'
import { type Instant, instant } from '../effects/effect.js'
import { type Alphabet, type At, BEGIN, type Letter } from './alphabet.js'
import { dotted } from './chart.js'

// A machine that runs by plain xstate, its effects as values, and a clock that every event moves.

export interface Event {
  readonly type: string
  readonly now?: Instant
}
export type Effect = { readonly type: string } & Readonly<Record<string, unknown>>
export interface World {
  readonly snapshot: AnyMachineSnapshot
  /** When the next event happens, unless it says otherwise. */
  readonly now: Instant
  /** Of the last step. */
  readonly effects: readonly Effect[]
}

/** ms between two events. */
const TICK = 1

type Actions = readonly { readonly type: string; readonly params: unknown }[]
const effectsOf = (actions: unknown): readonly Effect[] =>
  (actions as Actions).map(({ type, params }) => ({ type, ...(params as object | undefined) }))

export const begin = (a: Alphabet, input: unknown): World => {
  const [snapshot, actions] = initialTransition(a.machine, input as never)
  return { snapshot, now: BEGIN, effects: effectsOf(actions) }
}
/** Time does not go back: an event that is late is late. */
export const after = (w: World, event: Event): Instant => instant(Math.max(w.now, event.now ?? 0) + TICK)
export const step = (a: Alphabet, w: World, event: Event): World => {
  const [snapshot, actions] = transition(a.machine, w.snapshot, event as never)
  return { snapshot, now: after(w, event), effects: effectsOf(actions) }
}
export const leafOf = (w: World): string => dotted(w.snapshot.value)
export const atOf = (w: World): At<unknown> => ({ context: w.snapshot.context, leaf: leafOf(w), now: w.now })
export const isOver = (w: World): boolean => w.snapshot.status !== 'active'

/** A letter, and the event that it is here. */
export interface Move {
  readonly letter: Letter
  readonly event: Event
}
/** All that make sense here; none when it is over. */
export const movesOf = (a: Alphabet, w: World): readonly Move[] => {
  if (isOver(w)) return []
  const at = atOf(w)
  return a.letters.flatMap((letter) => {
    const event = letter.event(at) as Event | null
    return event === null ? [] : [{ letter, event }]
  })
}
