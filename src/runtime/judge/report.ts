import type { Counts } from '../../machines/judge/judge.js'
import { type Finding, RULES, type Rule, UNKNOWN, type Unknown } from '../../machines/judge/rules.js'
import type { JudgeOptions } from './options.js'

/** What came of a capture. */
export interface Report {
  readonly path: string
  readonly counts: Counts
  /** Sorted by frame; no more than were asked for. */
  readonly findings: readonly Finding[]
  /** Of each severity, those that are not listed as well. */
  readonly must: number
  readonly should: number
  /** Seconds since 1970 of the first frame. */
  readonly begins: number | null
  /** Why it was not read to its end. */
  readonly fault: string | null
  /** Its last record is cut. */
  readonly cut: boolean
}

export const ruleOf = (f: Finding): Rule => RULES[f.rule]

/** Findings as they come, no more of them than `max`. */
export class Collected {
  readonly listed: Finding[] = []
  must = 0
  should = 0
  constructor(private readonly o: Pick<JudgeOptions, 'severity' | 'ignored' | 'max'>) {}
  add(f: Finding): void {
    const { severity } = ruleOf(f)
    if (this.o.ignored.has(f.rule) || (this.o.severity === 'MUST' && severity === 'SHOULD')) return
    if (severity === 'MUST') this.must++
    else this.should++
    if (this.listed.length < this.o.max) this.listed.push(f)
  }
  sorted(): readonly Finding[] {
    return [...this.listed].sort((a, b) => a.frame - b.frame)
  }
}

const clauseOf = (r: Rule): string => (r.requirement === null ? r.clause : `${r.clause}, ${r.requirement}`)

/** Two lines. */
export const showFinding = (f: Finding, begins: number): string => {
  const r = ruleOf(f)
  const ends = f.from === '' ? '' : `  ${f.from} > ${f.to}`
  return [
    `frame ${f.frame} +${(f.at - begins).toFixed(6)}${ends}  ${r.severity}  ${clauseOf(r)}  ${f.rule}`,
    `    ${r.fault}: ${f.seen}; allowed: ${f.allowed}`
  ].join('\n')
}

const plural = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`
const unknowns = (c: Counts): readonly (readonly [Unknown, number])[] =>
  (Object.entries(c.unknown) as [Unknown, number][]).filter(([, n]) => n > 0)

export const asText = (r: Report): string => {
  const hidden = r.must + r.should - r.findings.length
  return [
    ...r.findings.map((f) => showFinding(f, r.begins ?? 0)),
    ...(hidden > 0 ? [`and ${plural(hidden, 'finding')} more`] : []),
    `${plural(r.counts.frames, 'frame')}, ${plural(r.counts.connections, 'TCP connection')}: ${plural(r.must, 'finding')} of MUST, ${r.should} of SHOULD`,
    ...unknowns(r.counts).map(([name, n]) => `unknown: ${n} ${UNKNOWN[name]} (${name})`),
    ...(r.cut ? ['the last record of the capture is cut'] : [])
  ].join('\n')
}

export const asJson = (r: Report): string =>
  JSON.stringify(
    {
      capture: r.path,
      frames: r.counts.frames,
      connections: r.counts.connections,
      must: r.must,
      should: r.should,
      fault: r.fault,
      cut: r.cut,
      unknown: Object.fromEntries(unknowns(r.counts)),
      findings: r.findings.map((f) => {
        const { severity, clause, requirement, fault } = ruleOf(f)
        const { frame, at: time, from, to, rule, seen, allowed } = f
        return { frame, time, from, to, rule, severity, clause, requirement, fault, seen, allowed }
      })
    },
    null,
    2
  )

export const rulesText = (): string =>
  Object.entries<Rule>(RULES)
    .map(([name, r]) => `${name}  ${r.severity}  ${clauseOf(r)}\n    ${r.fault}`)
    .join('\n')
