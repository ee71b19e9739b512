import type { AnyMachineSnapshot, AnyStateMachine } from 'xstate'
import { type Row, rowTaken } from '../../explore/chart.js'
import type { State } from '../machine/compile.js'
import { inPlaceOfTables, nested, type Table } from './under-xstate.js'

// Every step of every machine, told as it is taken: which transition that was, and what it asked for.

export interface Step {
  readonly machine: AnyStateMachine
  /** null: it begins. */
  readonly before: State<unknown> | null
  readonly after: State<unknown>
  /** Dotted names of the leaves in front of it, null: it begins, and behind it. */
  readonly from: string | null
  readonly to: string
  /** null: it begins. */
  readonly event: { readonly type: string } | null
  /** null: it begins, or nothing takes the event. */
  readonly row: Row | null
  readonly effects: ReadonlyArray<unknown>
}

const watched = (
  table: Table,
  machine: AnyStateMachine,
  tell: (s: Step) => void
): Pick<Table, 'start' | 'step'> => {
  const { start, step } = table
  const leaf = (s: State<unknown>): string => table.leaves[s.node] ?? ''
  /** One a leaf: in all of them but the context is the same. */
  const snapshots = table.leaves.map((name) =>
    machine.resolveState({ value: nested(name), context: {} } as never)
  )
  return {
    start: (input, out) => {
      const from = out.length
      const after = start(input, out)
      tell({
        machine,
        before: null,
        after,
        from: null,
        to: leaf(after),
        event: null,
        row: null,
        effects: out.slice(from)
      })
      return after
    },
    step: (before, e, out) => {
      const event = e as { readonly type: string }
      const here = { ...snapshots[before.node], context: before.context } as AnyMachineSnapshot
      // Before it: an event may be made anew of the same object
      const row = table.isFinal(before) ? null : rowTaken(machine, here, event)
      const from = out.length
      const after = step(before, e, out)
      tell({
        machine,
        before,
        after,
        from: leaf(before),
        to: leaf(after),
        event,
        row,
        effects: out.slice(from)
      })
      return after
    }
  }
}

/** From here on in this process, until what is returned is called. */
export const watchSteps = (tell: (s: Step) => void): (() => void) =>
  inPlaceOfTables((table, machine) => watched(table, machine, tell))
