import { join } from 'node:path'
import { type Generated, mainOf, ROOT } from './generated.js'
import { type Place, type Requirement, RFC9293, type Shown, type Verdict } from './rfc9293.js'

// docs/conformance.md, from scripts/rfc9293.ts. `tsx scripts/conformance.ts` writes it. property-tests/conformance.test.ts holds
// that it is fresh, that its rows are the RFC's, and that every transition, function and test that is named exists.

const code = (place: Place): string => {
  const at = place.indexOf(': ')
  if (at < 0) return `\`${place.split(' ')[1]}\` (${place.split(' ')[0]})`
  const [id, row] = [place.slice(0, at), place.slice(at + 2)]
  return `[${row}](machines/${id}.md)`
}
const linked = (text: string): string =>
  text
    .replace(/(?:behaviour\.md)?#([\w-]+)/g, '[$1](behaviour.md#$1)')
    .replace(/architecture\.md, "Loss"/g, '[architecture.md](architecture.md#tcp-without-a-tcp-stack)')
const tests = (list: readonly Shown[]): string =>
  list.map(([f, name]) => `${f.split('/').at(-1)}: ${name}`).join('<br/>')
const cells = (v: Verdict): readonly [string, string] => {
  if ('notApplicable' in v) return [`not applicable, because ${linked(v.notApplicable)}`, '']
  if ('unused' in v) return [`not done: ${linked(v.unused)}`, '']
  const kept = (v.kept ?? []).map(code).join('; ')
  if ('differs' in v)
    return [
      `**differs**, because ${linked(v.differs)}${kept === '' ? '' : `; ${kept}`}`,
      tests(v.shown ?? [])
    ]
  return [kept, tests(v.shown)]
}
const table = (list: readonly Requirement[]): readonly string[] => [
  '| requirement | | level | kept by | shown by |',
  '|---|---|---|---|---|',
  ...list.map(({ id, feature, level, verdict }) => {
    const all = [id, feature, level, ...cells(verdict)]
    return `| ${all.map((c) => c.replaceAll('|', '\\|')).join(' | ')} |`
  })
]

export const page = (): string => {
  const all = Object.values(RFC9293).flat()
  const count = (of: (v: Verdict) => boolean): number => all.filter((r) => of(r.verdict)).length
  const kept = count((v) => !('notApplicable' in v || 'differs' in v || 'unused' in v))
  return `${[
    '# Conformance',
    '',
    'The requirements of RFC 9293 (Appendix B), one by one: the transition or the function that keeps each, and the test or property',
    'that shows it. Made by scripts/conformance.ts; do not edit. The clause of each transition of every machine is in its page in',
    '[machines/](machines/tcp.md).',
    '',
    'What this is about is the TCP that the guest meets at the tap. We are no host with a TCP of its own: on the other side is a socket of',
    "the host, and its kernel's TCP. The application that the RFC speaks of is, for us, the peer behind that socket.",
    "Where the label and the column of the RFC's table differ (MAY-5, MAY-10, MAY-11, SHLD-25), the label counts.",
    '',
    `${all.length} rows: ${kept} kept, ${count((v) => 'differs' in v)} differ, ${count((v) => 'notApplicable' in v)} not applicable, ${count((v) => 'unused' in v)} allowed and not done.`,
    ...Object.entries(RFC9293).flatMap(([heading, list]) => ['', `## ${heading}`, '', ...table(list)])
  ].join('\n')}\n`
}

export const files = (): readonly Generated[] => [
  { path: join(ROOT, 'docs', 'conformance.md'), text: page() }
]

mainOf(import.meta.url, files)
