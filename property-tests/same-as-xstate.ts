import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import {
  type AnyMachineSnapshot,
  type AnyStateMachine,
  type EventFrom,
  type InputFrom,
  initialTransition,
  transition
} from 'xstate'
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

type Taken = ReturnType<AnyStateMachine['getTransitionData']>[number]
const taken = new Map<AnyStateMachine, Set<Taken>>()
/** The transitions that an event may take in this state: noted, for `untilAllTaken`. */
const note = (machine: AnyStateMachine, state: AnyMachineSnapshot, event: unknown): void => {
  const seen = taken.get(machine) ?? new Set<Taken>()
  taken.set(machine, seen)
  for (const t of machine.getTransitionData(state as never, event as never)) seen.add(t)
}

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
    note(machine, theirs, event)
    ;[theirs, actions] = transition(machine, theirs, event as never)
    ours = compiled.step(ours, event as never, out as never)
    d = difference()
  }
  return d === null ? null : `machine '${machine.id}' differs after\n  ${told.join('\n  ')}\n  ${d}`
}

/** What a machine starts from, and what happens to it then. */
export interface Run<M extends AnyStateMachine> {
  readonly input: InputFrom<M>
  readonly events: readonly EventFrom<M>[]
}

/**
 * Compiled `start`/`step` = xstate's `initialTransition`/`transition`: value, context, effects with params, in order, for
 * these runs, each up to a final state. Throws with the shrunk run, one event a line.
 */
export function sameOnRuns<M extends AnyStateMachine>(
  machine: M,
  runs: fc.Arbitrary<Run<M>>,
  numRuns: number
): void {
  const found = fc.check(
    fc.property(runs, ({ input, events }) => run(machine, input, events) === null),
    { numRuns }
  )
  if (!found.failed) return
  const [r] = found.counterexample ?? []
  const told = r === undefined ? null : run(machine, r.input, r.events)
  assert.fail(`${told ?? found.errorInstance}\nseed ${found.seed}, path ${found.counterexamplePath}`)
}

/** The same for random event sequences. */
export function sameAsXstate<M extends AnyStateMachine>(
  machine: M,
  arbInput: fc.Arbitrary<InputFrom<M>>,
  arbEvent: fc.Arbitrary<EventFrom<M>>,
  options: {
    readonly numRuns?: number
    readonly maxLength?: number
    /** Events that come before the random ones. */
    readonly prefix?: fc.Arbitrary<readonly EventFrom<M>[]>
  } = {}
): void {
  const { numRuns = 200, maxLength = 40, prefix = fc.constant([]) } = options
  const random = fc.array(arbEvent, { maxLength, size: 'max' })
  const runs = fc
    .tuple(arbInput, prefix, random)
    .map(([input, first, then]): Run<M> => ({ input, events: [...first, ...then] }))
  sameOnRuns(machine, runs, numRuns)
}

type Node = AnyStateMachine['root']
const below = (n: Node): readonly Node[] => [n, ...Object.values(n.states).flatMap(below)]
/** `open.closeWait on TURN_END, candidate 1 of 2 -> lastAck`, for each transition that was not taken in this process. */
const neverTaken = (machine: AnyStateMachine): readonly string[] =>
  below(machine.root).flatMap((n) =>
    [...n.transitions].flatMap(([type, list]) =>
      list.flatMap((t, i) => {
        if (taken.get(machine)?.has(t)) return []
        const to = t.target === undefined ? '' : ` -> ${t.target.map((x) => x.path.join('.')).join()}`
        return `${n.path.join('.') || '(root)'} on ${type}, candidate ${i + 1} of ${list.length}${to}`
      })
    )
  )
/**
 * `compare` (one of the two above), again until each candidate of each `on` in the chart was taken once at least, and not for
 * ever: chance leaves out the rare ones now and then, and one that cannot be taken at all is a fault.
 */
export const untilAllTaken = (machine: AnyStateMachine, compare: () => void): void => {
  for (let rounds = 0; rounds === 0 || (rounds < 30 && neverTaken(machine).length > 0); rounds++) compare()
  assert.deepEqual(neverTaken(machine), [])
}
