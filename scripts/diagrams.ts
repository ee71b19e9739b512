import { join } from 'node:path'
import type { AnyStateMachine } from 'xstate'
import { isObject } from '../src/codecs/value/codec.js'
import {
  type Arrow,
  ancestorsOf,
  arrowsOf,
  type Node,
  named,
  nodesOf,
  rootOf,
  type Transition,
  when
} from '../src/explore/chart.js'
import { pingMachine } from '../src/machines/flow/ping.js'
import { tcpSpliceMachine } from '../src/machines/flow/tcp-splice.js'
import { udpMachine } from '../src/machines/flow/udp.js'
import { udpSpliceMachine } from '../src/machines/flow/udp-splice.js'
import { confClientMachine } from '../src/machines/forward/conf-client.js'
import { portScanMachine } from '../src/machines/forward/port-scan.js'
import { judgedEndpointMachine } from '../src/machines/judge/judged-endpoint.js'
import { guestLinkMachine } from '../src/machines/link/guest-link.js'
import { handOverMachine } from '../src/machines/link/hand-over.js'
import { migrationSourceMachine } from '../src/machines/link/migration-source.js'
import { migrationTargetMachine } from '../src/machines/link/migration-target.js'
import { vhostSessionMachine } from '../src/machines/link/vhost-session.js'
import { ndpMachine } from '../src/machines/services/ndp.js'
import { tcpMachine } from '../src/machines/tcp/tcp.js'
import type { Declared } from '../src/machines/tcp/tcp-actions.js'
import { type Generated, mainOf, ROOT, staleOf } from './generated.js'

// docs/machines/*.md from the definitions that run. `tsx scripts/diagrams.ts` writes them, `--check` only compares:
// status 1 and the names of files that are out of date. property-tests/diagrams.test.ts does the same in the tests, and that
// every chart of src/machines has a page.

/** Charts by the room of src/machines that they are in. */
export const MACHINES: Readonly<Record<string, readonly AnyStateMachine[]>> = {
  tcp: [tcpMachine],
  flow: [udpMachine, tcpSpliceMachine, udpSpliceMachine, pingMachine],
  forward: [portScanMachine, confClientMachine],
  services: [ndpMachine],
  judge: [judgedEndpointMachine],
  link: [
    guestLinkMachine,
    vhostSessionMachine,
    migrationSourceMachine,
    migrationTargetMachine,
    handOverMachine
  ]
}

/** References to docs/behaviour.md as links, seen from docs/machines/. */
const linked = (text: string): string =>
  text
    .replace(/#(regression-\w+)/g, '[$1](../behaviour.md#$1)')
    .replace(/(?<!\.\.\/)(?:docs\/)?behaviour\.md#([\w-]+)(?!\))/g, '[$1](../behaviour.md#$1)')
const id = (n: Node): string => (n.parent === undefined ? 'anywhere' : n.path.join('_'))

/** In front of a regression's number. */
const REGRESSION = '#regression-'
/** Clause and regressions of a `Source` (src/machines/source.ts); '' where there is none. */
const sourceOf = (meta: unknown): string => {
  if (!isObject(meta) || typeof meta.clause !== 'string') return ''
  const list = (meta.regressions as readonly unknown[]).map((n) => `[${n}](../behaviour.md${REGRESSION}${n})`)
  return linked(meta.clause) + (list.length === 0 ? '' : `; regression ${list.join(', ')}`)
}

const arrow = (e: Arrow): string => `${id(e.from)} --> ${id(e.to)} : ${e.causes.join('<br/>')}`
/** Both ends in this composite state, and not both in one inside it. */
const belongs = (e: Arrow, n: Node): boolean =>
  ancestorsOf(e.from).includes(n) &&
  ancestorsOf(e.to).includes(n) &&
  !Object.values(n.states).some((c) => belongs(e, c))

const block = (n: Node, list: readonly Arrow[], indent: string): readonly string[] => [
  ...(n.type === 'compound' ? [`${indent}[*] --> ${id(n.initial.target[0])}`] : []),
  ...Object.values(n.states).flatMap((c) => [
    `${indent}state "${c.key}" as ${id(c)}`,
    ...(c.type === 'compound'
      ? [`${indent}state ${id(c)} {`, ...block(c, list, `${indent}  `), `${indent}}`]
      : [])
  ]),
  ...list.filter((e) => belongs(e, n)).map((e) => indent + arrow(e)),
  ...Object.values(n.states).flatMap((c) => (c.type === 'final' ? [`${indent}${id(c)} --> [*]`] : []))
]

const diagram = (root: Node): string => {
  const list = arrowsOf(nodesOf(root))
  const fromRoot = list.filter((e) => e.from === root)
  return [
    'stateDiagram-v2',
    ...block(root, list, '  '),
    ...(fromRoot.length === 0
      ? []
      : ['  state "any state" as anywhere', ...fromRoot.map((e) => `  ${arrow(e)}`)])
  ].join('\n')
}

const code = (names: readonly unknown[]): string => names.map((a) => `\`${named(a)}\``).join(' ')
const row = (cells: readonly string[]): string =>
  `| ${cells.map((c) => c.replaceAll('|', '\\|')).join(' | ')} |`
const table = (head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] => [
  row(head),
  `|${'---|'.repeat(head.length)}`,
  ...rows.map(row)
]
const reaction = (event: string, t: Transition): readonly string[] => [
  event === '*' ? 'any other' : `\`${event}\``,
  t.guard === undefined ? '' : `\`${when(t)}\``,
  t.actions.length === 0 && t.target === undefined ? 'ignored' : code(t.actions),
  t.target?.[0] === undefined ? '' : `${t.target[0].path.join('.')}${t.reenter ? ' (again)' : ''}`,
  sourceOf(t.meta)
]
const section = (n: Node): readonly string[] => {
  const rows = [...n.transitions].flatMap(([event, list]) => list.map((t) => reaction(event, t)))
  if (rows.length + n.entry.length + n.exit.length === 0) return []
  const kind = n.type === 'final' ? ' (the end)' : ''
  return [
    '',
    `### ${n.parent === undefined ? 'In every state' : n.path.join('.')}${kind}`,
    ...(n.parent === undefined || n.description === undefined ? [] : ['', linked(n.description)]),
    ...(n.entry.length === 0 ? [] : ['', `On entry: ${code(n.entry)}`]),
    ...(n.exit.length === 0 ? [] : ['', `On exit: ${code(n.exit)}`]),
    ...(rows.length === 0 ? [] : ['', ...table(['event', 'if', 'actions', 'next', 'source'], rows)])
  ]
}

/** What each action that is no effect itself may do, as it declares (src/machines/tcp/tcp-actions.ts). */
const actionTable = (machine: AnyStateMachine): readonly string[] => {
  const rows = Object.entries(machine.implementations.actions).flatMap(([name, of]) => {
    const declared = (of as { readonly declared?: Declared } | undefined)?.declared
    if (declared === undefined) return []
    const { does, emits, changes } = declared
    return [[`\`${name}\``, does, emits.map((e) => `\`${e}\``).join(' '), changes.join(' ')]]
  })
  if (rows.length === 0) return []
  return [
    '',
    '### Actions',
    '',
    'What they may ask of the world (effects, src/effects/effect.ts) and which groups of the block they may change',
    '(src/machines/tcp/tcb-*.ts). An action that is not here is an effect itself.',
    '',
    ...table(['action', 'does', 'may ask for', 'may change'], rows)
  ]
}

/** Names that a guard gives its event, where the chart has such. */
const dispositions = (meta: unknown): readonly string[] => {
  const all = isObject(meta) && isObject(meta.dispositions) ? Object.entries(meta.dispositions) : []
  if (all.length === 0) return []
  const rows = all.map(([name, d]) => [`\`${name}\``, String(isObject(d) ? d.means : ''), sourceOf(d)])
  return [
    '',
    '### Dispositions',
    '',
    'What a segment is: `is` and `completes` ask for it.',
    '',
    ...table(['segment', 'means', 'source'], rows)
  ]
}

/** The whole page of a machine: caption, diagram, what each state does with each event. `from`: the file it is in. */
export const page = (machine: AnyStateMachine, from = `${machine.id}.ts`): string => {
  const root = rootOf(machine)
  const nodes = nodesOf(root)
  return `${[
    `# ${machine.id}`,
    '',
    ...(root.description === undefined ? [] : [linked(root.description), '']),
    `Made from ${from} by scripts/diagrams.ts; do not edit.`,
    '',
    '```mermaid',
    diagram(root),
    '```',
    '',
    'The first line whose condition holds counts. An event that a state does not list goes to the state around it.',
    ...nodes.flatMap(section),
    ...dispositions(root.meta),
    ...actionTable(machine)
  ].join('\n')}\n`
}

/** Path and content of every page. */
export const pages = (): readonly Generated[] =>
  Object.entries(MACHINES).flatMap(([room, list]) =>
    list.map((m) => ({
      path: join(ROOT, 'docs', 'machines', `${m.id}.md`),
      text: page(m, `src/machines/${room}/${m.id}.ts`)
    }))
  )

/** Files that are missing or differ from their machine. */
export const stale = (): readonly string[] => staleOf(pages())

mainOf(import.meta.url, pages)
