import { join } from 'node:path'
import { RULES, type Rule, UNKNOWN } from '../src/machines/judge/rules.js'
import { type Generated, mainOf, ROOT } from './generated.js'

// docs/judge-rules.md from the table of rules. `tsx scripts/judge-rules.ts` writes it, property-tests/judge.test.ts holds it fresh.

const row = (...cells: readonly string[]): string =>
  `| ${cells.map((c) => c.replaceAll('|', '\\|').replaceAll('<', '&lt;')).join(' | ')} |`

const rules = (): readonly string[] =>
  Object.entries<Rule>(RULES).map(([name, r]) => {
    const requirement = r.requirement === null ? '' : `, ${r.requirement}`
    return row(`\`${name}\``, r.severity, `${r.clause}${requirement}`, r.fault, r.unless)
  })

const page = (): string =>
  `${[
    '# What passt-judge holds an endpoint to',
    '',
    'Made from src/machines/judge/rules.ts by scripts/judge-rules.ts; do not edit. What it is for, and how it decides:',
    '[judge.md](judge.md).',
    '',
    '## Rules',
    '',
    row('rule', 'severity', 'clause', 'fault, of who sent the frame', 'not told if'),
    '|---|---|---|---|---|',
    ...rules(),
    '',
    '## Unknown',
    '',
    'What could not be told is counted, by its reason.',
    '',
    row('reason', 'what is counted'),
    '|---|---|',
    ...Object.entries(UNKNOWN).map(([name, what]) => row(`\`${name}\``, what))
  ].join('\n')}\n`

export const judgeRules = (): readonly Generated[] => [
  { path: join(ROOT, 'docs', 'judge-rules.md'), text: page() }
]

mainOf(import.meta.url, judgeRules)
