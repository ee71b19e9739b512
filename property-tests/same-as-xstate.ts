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
import { type Alphabet, bareAlphabet } from '../src/explore/alphabet.js'
import { ALPHABETS } from '../src/explore/alphabets/all.js'
import { dotted, rowsOf, type Transition } from '../src/explore/chart.js'
import { graphOf, type Path } from '../src/explore/graph.js'
import { begin, movesOf, step } from '../src/explore/world.js'
import { compile } from '../src/runtime/machine/compile.js'

const asEffects = (actions: readonly { readonly type: string; readonly params: unknown }[]): unknown[] =>
  actions.map(({ type, params }) => ({ type, ...(params as object | undefined) }))

/** One line per event, for counter-examples. */
export const readable = (u: unknown): string =>
  JSON.stringify(u, (_, v) =>
    v instanceof Map ? Object.fromEntries(v) : typeof v === 'bigint' ? `${v}n` : v
  )

const taken = new Map<AnyStateMachine, Set<Transition>>()
/** The transitions that were compared: noted, for `untilAllTaken`. */
const note = (machine: AnyStateMachine, state: AnyMachineSnapshot, event: unknown): void => {
  const seen = taken.get(machine) ?? new Set<Transition>()
  taken.set(machine, seen)
  for (const t of machine.getTransitionData(state as never, event as never)) seen.add(t as never)
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

/** The transitions that were not compared in this process. */
const neverTaken = (machine: AnyStateMachine): readonly string[] =>
  rowsOf(machine).flatMap((r) => (taken.get(machine)?.has(r.transition) ? [] : [r.name]))

/** A path of the graph, and letters that make sense behind it, chosen by these numbers. */
const onwards = (a: Alphabet, { input, events }: Path, choices: readonly number[]): Run<AnyStateMachine> => {
  const all = [...events]
  let w = begin(a, a.inputs[input])
  for (const e of events) w = step(a, w, e)
  for (const n of choices) {
    const moves = movesOf(a, w)
    if (moves.length === 0) break
    const { event } = moves[n % moves.length]!
    all.push(event)
    w = step(a, w, event)
  }
  return { input: a.inputs[input], events: all }
}

/**
 * `compare` (one of the two above); then the shortest ways to each state and through each transition of the chart, by its graph
 * (src/explore/graph.ts), as they are, and with random letters behind them. Fails for a transition that was never compared.
 */
export const untilAllTaken = (
  machine: AnyStateMachine,
  compare: () => void,
  alphabet: Alphabet = ALPHABETS[machine.id] ?? bareAlphabet(machine),
  numRuns = 100
): void => {
  compare()
  const { rows, states } = graphOf(alphabet)
  const paths = [...rows.map((r) => r.path), ...states]
  for (const { path } of rows) {
    const told = run(machine, alphabet.inputs[path.input], path.events)
    if (told !== null) assert.fail(told)
  }
  const runs = fc
    .tuple(fc.constantFrom(...paths), fc.array(fc.nat(1000), { maxLength: 12, size: 'max' }))
    .map(([path, choices]) => onwards(alphabet, path, choices))
  sameOnRuns(machine, runs, numRuns)
  assert.deepEqual(neverTaken(machine), [])
}
