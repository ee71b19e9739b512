import * as t from 'io-ts'
import type { Flow } from './flow.js'

// Flows in lists that a record begins with. Some have ended since they were put there: of those nothing is left but their place in the list.

/** A flow's index; -1: one that has ended since. */
export const Name = t.refinement(t.number, (n) => Number.isInteger(n) && n >= -1, 'Name')
export const NAMES = t.array(Name)

/** Flows by their names, and back. */
export interface Naming {
  /** The indices of all there are. */
  readonly all: ReadonlyArray<number>
  readonly nameOf: (f: Flow) => number
  /** null: there is none. */
  readonly named: (name: number) => Flow | null
}
/** In no table: as one that has ended. */
const GONE = { index: -1 } as Flow

type Flows = ReadonlyArray<Flow | undefined>

export const namingOf = (flows: Flows): Naming => ({
  all: flows.flatMap((f) => (f === undefined ? [] : [f.index])),
  nameOf: (f) => (flows[f.index] === f ? f.index : -1),
  named: (name) => (name < 0 ? GONE : (flows[name] ?? null))
})

/** Appends them to `to`. False: one of them is not there. */
export const readNames = ({ named }: Naming, to: Flow[], names: ReadonlyArray<number>): boolean => {
  for (const name of names) {
    const f = named(name)
    if (f === null) return false
    to.push(f)
  }
  return true
}
