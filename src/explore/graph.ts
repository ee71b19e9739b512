import type { ActorLogic, AnyMachineSnapshot, Snapshot } from 'xstate'
import { getShortestPaths } from 'xstate/graph'
import type { Alphabet } from './alphabet.js'
import { leavesOf, type Row, rowsOf, rowTaken } from './chart.js'
import { after, atOf, begin, type Event, leafOf, movesOf, type World } from './world.js'

// The reachable states of a chart over its alphabet, exhaustively, by xstate/graph. What tells two states apart is the leaf and what
// the alphabet's `abstract` says; of each such state the one that was reached first stands for all. So a state or a transition that is
// here can be reached, by the path that is given; of one that is not, the alphabet is not enough.

export interface Path {
  readonly input: string
  readonly letters: readonly string[]
  readonly events: readonly Event[]
}
export interface ReachedState extends Path {
  readonly leaf: string
  /** What tells it from others of this leaf; '' where there are none. */
  readonly abstract: string
}
export interface ReachedRow {
  readonly row: Row
  /** Its last event takes the row. */
  readonly path: Path
}
export interface Graph {
  readonly states: readonly ReachedState[]
  readonly rows: readonly ReachedRow[]
  readonly missing: readonly Row[]
  readonly missingLeaves: readonly string[]
  /** Pairs of state and letter that were tried. */
  readonly steps: number
}

// xstate/graph walks any logic; ours is the machine with its clock, and its events carry the letter's name.
type State = World & Snapshot<unknown>
interface Lettered {
  readonly type: string
  readonly event: Event
}
type Logic = ActorLogic<State, Lettered, unknown>

/** No graph of ours is larger: an alphabet whose `abstract` tells too much apart would have no end. */
const LIMIT = 500_000

interface Taken {
  readonly row: Row
  /** Of the state that it was taken in. */
  readonly from: string
  readonly last: Lettered
}
const keyOf = (a: Alphabet, w: World): string => `${leafOf(w)}|${a.abstract(w.snapshot.context, leafOf(w))}`

const walk = (a: Alphabet, input: string) => {
  const asState = (w: World): State =>
    ({ ...w, status: w.snapshot.status, output: undefined, error: undefined }) as State
  const taken: Taken[] = []
  let steps = 0
  const logic: Logic = {
    transition: (w, e, scope) => {
      steps++
      const row = rowTaken(a.machine, w.snapshot, e.event)
      if (row !== null) taken.push({ row, from: keyOf(a, w), last: e })
      // What xstate's transition() does, without a new actor for each step
      const snapshot = a.machine.transition(w.snapshot, e.event, scope as never) as AnyMachineSnapshot
      return asState({ snapshot, now: after(w, e.event), effects: [] })
    },
    getInitialSnapshot: () => asState(begin(a, a.inputs[input])),
    getPersistedSnapshot: (w) => w
  }
  const reached = getShortestPaths(logic, {
    serializeState: (w) => keyOf(a, w),
    serializeEvent: (e) => e.type,
    events: (w): readonly Lettered[] => {
      const only = a.only?.(atOf(w)) ?? null
      return movesOf(a, w)
        .filter((m) => only === null || only.includes(m.letter.name))
        .map((m) => ({ type: m.letter.name, event: m.event }))
    },
    limit: LIMIT
  })
  // The first step of each is the beginning
  const paths = new Map(reached.map((p) => [keyOf(a, p.state), p.steps.slice(1).map((s) => s.event)]))
  return { taken, paths, steps }
}

const pathOf = (input: string, moves: readonly Lettered[]): Path => ({
  input,
  letters: moves.map((m) => m.type),
  events: moves.map((m) => m.event)
})
const shorter = (p: Path, than: Path | undefined): boolean =>
  than === undefined || p.events.length < than.events.length

/** Over all inputs, or one of them. */
export const graphOf = (a: Alphabet, inputs: readonly string[] = Object.keys(a.inputs)): Graph => {
  const states = new Map<string, Path>()
  const rows = new Map<Row, Path>()
  let steps = 0
  for (const input of inputs) {
    const w = walk(a, input)
    steps += w.steps
    for (const [key, moves] of w.paths) {
      const path = pathOf(input, moves)
      if (shorter(path, states.get(key))) states.set(key, path)
    }
    for (const { row, from, last } of w.taken) {
      const path = pathOf(input, [...w.paths.get(from)!, last])
      if (shorter(path, rows.get(row))) rows.set(row, path)
    }
  }
  const all = rowsOf(a.machine)
  const reached = [...states].map(([key, path]): ReachedState => {
    const at = key.indexOf('|')
    return { leaf: key.slice(0, at), abstract: key.slice(at + 1), ...path }
  })
  const leaves = leavesOf(a.machine)
  const there = new Set(reached.map((s) => s.leaf))
  const place = new Map(all.map((r, i) => [r.transition, i]))
  return {
    states: reached.sort(
      (x, y) => leaves.indexOf(x.leaf) - leaves.indexOf(y.leaf) || x.events.length - y.events.length
    ),
    rows: [...rows]
      .map(([row, path]) => ({ row, path }))
      .sort((x, y) => place.get(x.row.transition)! - place.get(y.row.transition)!),
    missing: all.filter((r) => ![...rows.keys()].some((x) => x.transition === r.transition)),
    missingLeaves: leaves.filter((l) => !there.has(l)),
    steps
  }
}
