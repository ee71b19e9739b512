// Where a chart's rules come from, for its page (scripts/diagrams.ts).

export interface Source {
  /** RFC and section, a man page, `behaviour.md#…`, or 'ours: …' where nobody else says anything. */
  readonly clause: string
  /** Regressions that made the rule, by number or letter (behaviour.md). */
  readonly regressions: readonly (number | string)[]
}
/** For `meta` of a transition. */
export const by = (clause: string, ...regressions: readonly (number | string)[]): Source => ({
  clause,
  regressions
})
