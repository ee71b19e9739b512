import type { AnyStateMachine } from 'xstate'
import { arrowsOf, type Node, named, nodesOf, type Row, rootOf, rowsOf } from '../../explore/chart.js'
import type { Chart } from '../../page/data.js'

// A machine's chart as the page draws it.

export interface ChartOf {
  readonly chart: Omit<Chart, 'fields'>
  /** Index of a state by its dotted name; -1: there is none. */
  readonly stateOf: (leaf: string) => number
  /** Index of a transition; -1: there is none. */
  readonly rowOf: (row: Row | null) => number
}
export const chartOf = (machine: AnyStateMachine): ChartOf => {
  const nodes = nodesOf(rootOf(machine))
  const at = new Map<Node, number>(nodes.map((n, i) => [n, i]))
  const indexOf = (n: Node | undefined): number => (n === undefined ? -1 : (at.get(n) ?? -1))
  const names = new Map(nodes.map((n, i) => [n.path.join('.') || '(root)', i]))
  const rows = rowsOf(machine)
  const rowAt = new Map(rows.map((r, i) => [r.transition, i]))
  return {
    chart: {
      id: machine.id,
      description: rootOf(machine).description ?? '',
      nodes: nodes.map((n) => ({
        key: n.key,
        parent: indexOf(n.parent),
        type: n.type,
        description: n.description ?? '',
        initial: n.type === 'compound' ? indexOf(n.initial.target[0]) : -1
      })),
      rows: rows.map((r) => ({
        state: names.get(r.state) ?? 0,
        event: r.event,
        guard: r.guard,
        actions: r.transition.actions.map(named),
        target: indexOf(r.transition.target?.[0]),
        clause: r.clause,
        regressions: r.regressions
      })),
      arrows: arrowsOf(nodes).map((a) => ({ from: indexOf(a.from), to: indexOf(a.to), causes: a.causes }))
    },
    stateOf: (leaf) => names.get(leaf) ?? -1,
    rowOf: (row) => (row === null ? -1 : (rowAt.get(row.transition) ?? -1))
  }
}
