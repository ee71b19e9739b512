import * as E from 'fp-ts/lib/Either.js'
import { parsePortSpec } from '../../codecs/text/port-spec.js'
import { showFault } from '../../codecs/text/text-fault.js'
import type { Operation } from '../../machines/forward/pesto.js'

const PORT_OPTIONS = ['t', 'u', 'T', 'U'] as const

export const COMMANDS = ['status', 'flows', 'events', 'rules', 'counters', 'metrics', 'top'] as const
export type Command = (typeof COMMANDS)[number]
export type CtlCommand =
  | {
      readonly tag: 'Run'
      readonly command: Command
      readonly path: string
      /** Of `flows`, `top` and `events`: kind=tcp, as in the API's query. */
      readonly filters: ReadonlyArray<readonly [string, string]>
      readonly json: boolean
    }
  | { readonly tag: 'Add'; readonly path: string; readonly operations: ReadonlyArray<Operation> }
  | { readonly tag: 'Delete'; readonly path: string; readonly ids: ReadonlyArray<string> }
  /** `on` null: it is only shown. */
  | { readonly tag: 'Record'; readonly path: string; readonly on: boolean | null; readonly json: boolean }
  | { readonly tag: 'Help' }
  | { readonly tag: 'Version' }

export const CTL_USAGE = `Usage: passt-ctl COMMAND PATH [FILTER]... [--json]
       passt-ctl rules add PATH [-t|-u|-T|-U SPEC]...
       passt-ctl rules delete PATH ID...
       passt-ctl record [on|off] PATH [--json]
What the passt or pasta does whose API (--api) is at PATH.

  status    what runs, and with what addresses
  flows     connections and other flows, both sides of each
  rules     port forwarding, and how many flows each rule has
  counters  what was dropped and why, and other events
  metrics   the same as OpenMetrics text
  top       flows by traffic, anew each second
  record    whether the run is recorded; on: begin anew, off: end
  events    flows as they begin and end, until it is interrupted

SPEC: as with passt and pasta; all rules of a command are added, or none.
FILTER: kind=tcp|udp|ping|tcp-splice|udp-splice, state=STATE, port=PORT, address=ADDRESS

      --json     as the API answers
  -h, --help
      --version`

const ports = (args: ReadonlyArray<string>): E.Either<string, ReadonlyArray<Operation>> => {
  const operations: Operation[] = []
  for (let i = 0; i < args.length; i += 2) {
    const option = PORT_OPTIONS.find((o) => `-${o}` === args[i])
    const text = args[i + 1]
    if (option === undefined) return E.left(`no such option: ${args[i]}`)
    if (text === undefined) return E.left(`${args[i]} needs a value`)
    const spec = parsePortSpec(text)
    if (E.isLeft(spec)) return E.left(showFault(text, spec.left))
    if (spec.right.kind === 'none') return E.left(`${args[i]} none adds nothing`)
    operations.push({ type: 'ports', option, spec: spec.right, text })
  }
  return operations.length === 0 ? E.left('no ports to be added') : E.right(operations)
}
const change = ([what, path, ...rest]: ReadonlyArray<string>): E.Either<string, CtlCommand> => {
  if (path === undefined || path === '') return E.left('no PATH')
  if (what === 'delete')
    return rest.length === 0 ? E.left('no ID of a rule') : E.right({ tag: 'Delete', path, ids: rest })
  return E.map((operations: ReadonlyArray<Operation>): CtlCommand => ({ tag: 'Add', path, operations }))(
    ports(rest)
  )
}

const record = (args: ReadonlyArray<string>): E.Either<string, CtlCommand> => {
  const rest = args.filter((a) => a !== '--json')
  const on = rest[0] === 'on' ? true : rest[0] === 'off' ? false : null
  const [path, ...more] = on === null ? rest : rest.slice(1)
  if (path === undefined || path === '') return E.left('no PATH')
  if (more.length > 0) return E.left(`record takes on, off, or nothing, and PATH, not ${more[0]}`)
  return E.right({ tag: 'Record', path, on, json: args.includes('--json') })
}

export const parseCtl = (args: ReadonlyArray<string>): E.Either<string, CtlCommand> => {
  if (args.includes('-h') || args.includes('--help')) return E.right({ tag: 'Help' })
  if (args.includes('--version')) return E.right({ tag: 'Version' })
  if (args[0] === 'rules' && (args[1] === 'add' || args[1] === 'delete')) return change(args.slice(1))
  if (args[0] === 'record') return record(args.slice(1))
  const [command, path, ...filters] = args.filter((a) => a !== '--json')
  const known = COMMANDS.find((c) => c === command)
  if (known === undefined) return E.left(command === undefined ? 'no command' : `no such command: ${command}`)
  if (path === undefined || path === '') return E.left('no PATH')
  const pairs = filters.map((f): readonly [string, string] => {
    const at = f.indexOf('=')
    return at < 0 ? [f, ''] : [f.slice(0, at), f.slice(at + 1)]
  })
  const filtered = known === 'flows' || known === 'top' || known === 'events'
  if (pairs.length > 0 && !filtered) return E.left(`${known} takes no filters`)
  const json = args.includes('--json')
  if (json && (known === 'top' || known === 'metrics')) return E.left(`${known} is no JSON`)
  return E.right({ tag: 'Run', command: known, path, filters: pairs, json })
}
