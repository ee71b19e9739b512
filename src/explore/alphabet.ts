import type { AnyStateMachine, ContextFrom, EventFrom, InputFrom } from 'xstate'
import { type Instant, instant } from '../effects/effect.js'
import { rowsOf } from './chart.js'

// A machine's alphabet: what can happen to it, by short names. A letter looks at where the machine is, so that `data` is the guest's
// next octets and not any octets; in what order letters come is open. The explorer offers them, and the graph tries them all.

/** Where a machine is. */
export interface At<C> {
  readonly context: C
  /** 'open.established' */
  readonly leaf: string
  readonly now: Instant
}
export interface Letter<C = unknown, E = unknown> {
  readonly name: string
  readonly says: string
  /** null: it makes no sense here. */
  readonly event: (at: At<C>) => E | null
}
/** What the world does by itself: when the machine asks for `effect`, these letters follow, in order. */
export interface Rule {
  readonly effect: string
  readonly letters: readonly string[]
}
export interface Alphabet<C = unknown, E = unknown, I = unknown> {
  readonly machine: AnyStateMachine
  /** Ways to begin, by name; the first one is the usual one. */
  readonly inputs: Readonly<Record<string, I>>
  readonly letters: readonly Letter<C, E>[]
  /** What tells states of one leaf apart in the graph: few values, or the graph has no end. */
  readonly abstract: (context: C, leaf: string) => string
  /** Letters that the graph tries here; all, if it is not said. */
  readonly only?: (at: At<C>) => readonly string[] | null
  /** A kernel or a peer that does what it is asked, at once. */
  readonly world: readonly Rule[]
  /** Context as it is shown, instead of what is in it. */
  readonly view?: (context: C) => Readonly<Record<string, unknown>>
  /** An event or an effect as it is shown: the same, in words that people know. */
  readonly spoken?: (x: Spoken, context: C) => Spoken
}
export type Spoken = { readonly type: string } & Readonly<Record<string, unknown>>

/** When a machine begins: no timer's instant is 0. */
export const BEGIN = instant(1000)

/** Its types, once looked at, are nobody's business any more. */
export const alphabet = <M extends AnyStateMachine>(
  a: Omit<Alphabet<ContextFrom<M>, EventFrom<M>, InputFrom<M>>, 'machine'> & { readonly machine: M }
): Alphabet => a as unknown as Alphabet

/** Letters of one machine. */
export const lettersOf = <M extends AnyStateMachine>() => {
  type C = ContextFrom<M>
  type E = EventFrom<M>
  return (name: string, says: string, event: Letter<C, E>['event']): Letter<C, E> => ({ name, says, event })
}
/** Of a machine whose events say nothing but their type: a letter for each that its chart names ('SENT_SYN': 'sent-syn'). */
export const bareAlphabet = (machine: AnyStateMachine): Alphabet => ({
  machine,
  inputs: { usual: {} },
  letters: [...new Set(rowsOf(machine).map((r) => r.event))]
    .filter((type) => type !== '*')
    .map((type) => ({
      name: type.toLowerCase().replaceAll('_', '-'),
      says: type,
      event: ({ now }) => ({ type, now })
    })),
  abstract: () => '',
  world: []
})
/** At this deadline; now, if that has passed. */
export const atLeast = (now: number, at: number): Instant => instant(Math.max(now, at))
/** No machine knows it. */
export const UNKNOWN = { type: 'UNKNOWN' }
