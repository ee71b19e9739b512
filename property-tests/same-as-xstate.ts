import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { type AnyStateMachine, type EventFrom, type InputFrom, initialTransition, transition } from 'xstate'
import { compile } from '../src/runtime/machine/compile.js'

/** { open: 'established' } -> 'open.established' */
const dotted = (value: unknown): string =>
  typeof value === 'string'
    ? value
    : Object.entries(value as object)
        .map(([k, v]) => `${k}.${dotted(v)}`)
        .join()

const asEffects = (actions: readonly { readonly type: string; readonly params: unknown }[]): unknown[] =>
  actions.map(({ type, params }) => ({ type, ...(params as object | undefined) }))

/** One line per event, for counter-examples. */
export const readable = (u: unknown): string =>
  JSON.stringify(u, (_, v) =>
    v instanceof Map ? Object.fromEntries(v) : typeof v === 'bigint' ? `${v}n` : v
  )

const run = (machine: AnyStateMachine, input: unknown, events: readonly unknown[]): string | null => {
  const compiled = compile<AnyStateMachine, unknown>(machine)
  const out: unknown[] = []
  let [theirs, actions] = initialTransition(machine, input as never)
  let ours = compiled.start(input as never, out)
  const difference = (): string | null => {
    const want = {
      value: dotted(theirs.value),
      context: theirs.context,
      effects: asEffects(actions as never)
    }
    const got = { value: compiled.value(ours), context: ours.context, effects: out }
    return isDeepStrictEqual(want, got) && compiled.isFinal(ours) === (theirs.status === 'done')
      ? null
      : `xstate   ${theirs.status} ${readable(want)}\n  compiled ${readable(got)}`
  }
  const told: string[] = [`start ${readable(input)}`]
  let d = difference()
  for (const event of events) {
    if (d !== null || theirs.status !== 'active') break
    told.push(`${told.length} ${readable(event)}`)
    out.length = 0
    ;[theirs, actions] = transition(machine, theirs, event as never)
    ours = compiled.step(ours, event as never, out as never)
    d = difference()
  }
  return d === null ? null : `machine '${machine.id}' differs after\n  ${told.join('\n  ')}\n  ${d}`
}

/**
 * Compiled `start`/`step` = xstate's `initialTransition`/`transition`: value, context, effects with params, in order,
 * for random event sequences up to a final state. Throws with the shrunk sequence, one event a line.
 */
export function sameAsXstate<M extends AnyStateMachine>(
  machine: M,
  arbInput: fc.Arbitrary<InputFrom<M>>,
  arbEvent: fc.Arbitrary<EventFrom<M>>,
  options: {
    readonly numRuns?: number
    readonly maxLength?: number
    /** Events that come before the random ones. */
    readonly prefix?: fc.Arbitrary<EventFrom<M>[]>
  } = {}
): void {
  const { numRuns = 200, maxLength = 40, prefix = fc.constant([]) } = options
  const random = fc.array(arbEvent, { maxLength, size: 'max' })
  const events = fc.tuple(prefix, random).map(([first, then]) => [...first, ...then])
  const found = fc.check(
    fc.property(arbInput, events, (input, list) => run(machine, input, list) === null),
    { numRuns }
  )
  if (!found.failed) return
  const [input, list] = found.counterexample ?? []
  assert.fail(
    `${run(machine, input, (list ?? []) as unknown[]) ?? found.errorInstance}\nseed ${found.seed}, path ${found.counterexamplePath}`
  )
}
