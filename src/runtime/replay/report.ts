import type { RingRecord } from '../../codecs/log/record.js'
import type { World } from '../data/world.js'
import type { Flow } from '../flow/flow.js'
import { stateName } from '../flow/flow-log.js'
import { flowEnds, flowName } from '../flow/flow-text.js'
import { leafOf } from '../flow/kinds.js'
import { effectFlow, eventFlow } from './flow-of.js'
import type { Replayed } from './replayer.js'
import { effectText, eventText } from './show.js'

// What a replay says, as values and as lines.

/** A flow and where its machine is. */
export interface FlowReport {
  readonly index: number
  readonly name: string
  readonly ends: string
  readonly state: string
}
export const flowReport = (f: Flow): FlowReport => ({
  index: f.index,
  name: flowName(f),
  ends: flowEnds(f),
  state: stateName(leafOf(f, f.state.node))
})
export const flowLine = (f: FlowReport): string => `${f.name}: ${f.ends}, ${f.state}`
export const flowsOf = (w: World): ReadonlyArray<FlowReport> =>
  w.flows.flatMap((f) => (f === undefined ? [] : [flowReport(f)]))

export interface Row {
  readonly same: boolean
  /** null: there is none. */
  readonly recorded: string | null
  readonly made: string | null
}
export interface DifferenceReport {
  readonly turn: number
  readonly ms: number
  readonly what: string
  /** Where it is, of `effects`; -1: it is no effect. */
  readonly effect: number
  readonly flow: FlowReport | null
  /** What led to it; null: a timer, or the end of the turn. */
  readonly event: string | null
  /** What flows did in this turn. */
  readonly changes: ReadonlyArray<string>
  /** Of the turn, as recorded and as made now. */
  readonly effects: ReadonlyArray<Row>
}

/** `flows`: of the turn's events, from before it. null: there is no difference. */
export const differenceReport = (
  w: World,
  r: Replayed,
  flows: ReadonlyArray<number | null>
): DifferenceReport | null => {
  const d = r.difference
  if (d === null) return null
  const theirs = r.turn.effects.flat()
  const ours = r.made.flat()
  const effects = Array.from({ length: Math.max(theirs.length, ours.length) }, (_, i): Row => {
    const a = theirs[i]
    const b = ours[i]
    return {
      same: i < d.effect,
      recorded: a === undefined ? null : effectText(a),
      made: b === undefined ? null : effectText(b.record)
    }
  })
  const of = (e: RingRecord | null): number | null => (e === null ? null : effectFlow(w, e))
  const index = of(d.made) ?? of(d.recorded) ?? (d.event === null ? null : (flows[d.event] ?? null))
  const f = index === null ? undefined : w.flows[index]
  return {
    turn: d.turn,
    ms: d.now,
    what: d.what,
    effect: d.effect,
    flow: f === undefined ? null : flowReport(f),
    event: d.event === null ? null : eventText(r.turn.events[d.event]),
    changes: r.lines,
    effects
  }
}

export const differenceLines = (d: DifferenceReport): ReadonlyArray<string> => [
  `differs in turn ${d.turn} (${d.ms.toFixed(3)} ms): ${d.what}`,
  `  flow    ${d.flow === null ? 'none that is open' : flowLine(d.flow)}`,
  `  event   ${d.event ?? 'none: a timer, or the end of the turn'}`,
  ...d.changes.map((line) => `  log     ${line}`),
  ...d.effects.flatMap((row) =>
    row.same
      ? [`  same    ${row.made}`]
      : [`  record  ${row.recorded ?? '(none)'}`, `  now     ${row.made ?? '(none)'}`]
  )
]

/** One turn, for --step. `only`: what is not this flow's is left out. */
export const turnLines = (
  w: World,
  r: Replayed,
  flows: ReadonlyArray<number | null>,
  only: number | null
): ReadonlyArray<string> => {
  const made = r.made.flat()
  const wanted = (flow: number | null): boolean => only === null || flow === only
  /** A connection that was accepted: the flow that came of it. */
  const begun = (event: number): number | null => {
    const first = made.find((m) => m.event === event)
    return first === undefined ? null : effectFlow(w, first.record)
  }
  const events = r.turn.events.flatMap((e, i) =>
    wanted(flows[i] ?? eventFlow(w, e) ?? begun(i)) ? [`  > ${eventText(e)}`] : []
  )
  const effects = made.flatMap((m) =>
    wanted(effectFlow(w, m.record) ?? flows[m.event] ?? null) ? [`  < ${effectText(m.record)}`] : []
  )
  const lines = r.lines.filter((l) => only === null || l.startsWith(`Flow ${only} `)).map((l) => `    ${l}`)
  const all = [...events, ...lines, ...effects]
  return all.length === 0 ? [] : [`turn ${r.turn.index} (${r.turn.now.toFixed(3)} ms)`, ...all]
}
