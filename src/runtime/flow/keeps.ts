import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { Real } from '../../codecs/log/written.js'
import type { Instant } from '../../effects/effect.js'
import type { Compiled, State } from '../machine/compile.js'

/**
 * What a part of the world keeps from turn to turn, as a record has it that begins in the middle (docs/replay.md).
 * Law: a world that has read it does with any further turns what the one does that wrote it.
 */
export interface Keeps {
  /** Between two turns: why it cannot be told now; null: it can. */
  readonly busy: () => string | null
  /** As JSON. */
  readonly write: () => unknown
  /** Into a part that has just begun. False: it is none of that. */
  readonly read: (json: unknown) => boolean
  /** It is read before the others: they look at what that changes. */
  readonly first: boolean
}

const never = (): null => null
/** `read`: false where what was decoded does not fit. */
export const keeping = <A, O>(
  of: t.Type<A, O, unknown>,
  write: () => A,
  read: (a: A) => unknown,
  busy: Keeps['busy'] = never,
  first = false
): Keeps => ({
  busy,
  first,
  write: () => of.encode(write()),
  read: (json) => {
    const a = of.decode(json)
    return E.isRight(a) && read(a.right) !== false
  }
})

/** An instant, or infinity. */
export const Moment = Real as unknown as t.Type<Instant, number | string, unknown>

/** A machine's state by the name of its leaf; null: there is no such leaf, or it is a final one. */
export const stateAt = <C>(
  m: Pick<Compiled<C, never, never, never>, 'leaves' | 'isFinal'>,
  leaf: string,
  context: C
): State<C> | null => {
  const state = { node: m.leaves.indexOf(leaf), context }
  return state.node < 0 || m.isFinal(state) ? null : state
}
/** Of a feature that has one deadline and nothing else. */
export const DueAt = t.type({ dueAt: Real })
