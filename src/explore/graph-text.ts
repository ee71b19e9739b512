import type { Graph, Path } from './graph.js'
import type { Saved } from './saved.js'
import { clauseOf } from './session.js'

// A graph as it is shown, as JSON, and as tests.

const pathText = (p: Path, inputs: number): string => {
  const by = inputs > 1 ? `(${p.input}) ` : ''
  return p.letters.length === 0 ? `${by}at the beginning` : `${by}${p.letters.join(' ')}`
}
/** Of a leaf's states the one that is reached first. */
const nearest = (g: Graph) => [...new Map([...g.states].reverse().map((s) => [s.leaf, s])).values()].reverse()

/** `inputs`: how many ways there are to begin. */
export const graphLines = (name: string, g: Graph, inputs: number): readonly string[] => {
  const leaves = nearest(g)
  const all = g.rows.length + g.missing.length
  return [
    `${name}: ${g.states.length} states in ${leaves.length} of ${leaves.length + g.missingLeaves.length} leaves, ${g.rows.length} of ${all} transitions, ${g.steps} steps tried`,
    '',
    'States, and the shortest way there:',
    ...leaves.map((s) => {
      const count = g.states.filter((x) => x.leaf === s.leaf).length
      return `  ${s.leaf}${count === 1 ? '' : `, ${count} of them`}: ${pathText(s, inputs)}`
    }),
    ...g.missingLeaves.map((l) => `  ${l}: never reached`),
    '',
    'Transitions, and the shortest way through each:',
    ...g.rows.flatMap(({ row, path }) => [
      `  ${row.name}`,
      `      ${pathText(path, inputs)}`,
      `      ${clauseOf(row)}`
    ]),
    ...g.missing.map((r) => `  ${r.name}: never taken`)
  ]
}

export const graphJson = (name: string, g: Graph): string =>
  JSON.stringify(
    {
      machine: name,
      steps: g.steps,
      states: g.states.map((s) => ({
        leaf: s.leaf,
        abstract: s.abstract,
        input: s.input,
        letters: s.letters
      })),
      transitions: g.rows.map(({ row, path }) => ({
        name: row.name,
        state: row.state,
        event: row.event,
        guard: row.guard,
        target: row.target,
        clause: row.clause,
        regressions: row.regressions,
        input: path.input,
        letters: path.letters
      })),
      missing: { leaves: g.missingLeaves, transitions: g.missing.map((r) => r.name) }
    },
    null,
    2
  )

/** Each leaf, and each transition, as a test. */
export const graphTests = (g: Graph, inputs: Readonly<Record<string, unknown>>): readonly Saved[] => [
  ...nearest(g).map((s) => ({ title: `${s.leaf} is reached`, input: inputs[s.input], events: s.events })),
  ...g.rows.map(({ row, path }) => ({ title: row.name, input: inputs[path.input], events: path.events }))
]
