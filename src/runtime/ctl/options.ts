import * as E from 'fp-ts/lib/Either.js'
import type { Trace } from '../../codecs/control/api.js'
import { parsePortSpec } from '../../codecs/text/port-spec.js'
import { showFault } from '../../codecs/text/text-fault.js'
import type { Operation } from '../../machines/forward/pesto.js'

const PORT_OPTIONS = ['t', 'u', 'T', 'U'] as const

export const COMMANDS = ['status', 'flows', 'events', 'rules', 'counters', 'metrics', 'top'] as const
export type Command = (typeof COMMANDS)[number]
export const FILTERED: ReadonlyArray<string> = ['flows', 'top', 'events']
export const NOT_JSON: ReadonlyArray<string> = ['top', 'metrics']
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
  /** `wanted` null: only show it. */
  | {
      readonly tag: 'Trace'
      readonly path: string
      readonly wanted: Partial<Trace> | null
      readonly json: boolean
    }
  | { readonly tag: 'Delete'; readonly path: string; readonly ids: ReadonlyArray<string> }
  /** `port` 0: any that is free. */
  | { readonly tag: 'Web'; readonly path: string; readonly port: number }
  /** `on` null: it is only shown. */
  | { readonly tag: 'Record'; readonly path: string; readonly on: boolean | null; readonly json: boolean }
  | { readonly tag: 'Help' }
  | { readonly tag: 'Version' }

export const CTL_USAGE = `Usage: passt-ctl COMMAND PATH [FILTER]... [--json]
       passt-ctl rules add PATH [-t|-u|-T|-U SPEC]...
       passt-ctl rules delete PATH ID...
       passt-ctl trace PATH [off | [flows] [packets] [flow=ID] [port=PORT] [address=ADDRESS]] [--json]
       passt-ctl web PATH [--port PORT]
       passt-ctl record PATH [on | off] [--json]
What the passt or pasta does whose API (--api) is at PATH.

  status    what runs, and with what addresses
  flows     connections and other flows, both sides of each
  rules     port forwarding, and how many flows each rule has
  counters  what was dropped and why, and other events
  metrics   the same as OpenMetrics text
  top       flows by traffic, anew each second
  record    whether the run is recorded; on: begin anew, off: end
  events    flows as they begin and end, until it is interrupted
  trace     what flows do, or packets, in the log, for an hour at most
  web       a page of it that is kept up to date, for a browser on this host

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

const record = ([path, how, ...more]: ReadonlyArray<string>, json: boolean): E.Either<string, CtlCommand> => {
  if (path === undefined || path === '') return E.left('no PATH')
  if (more.length > 0 || (how !== undefined && how !== 'on' && how !== 'off'))
    return E.left(`record ${more[0] ?? how}: behind PATH it is on, off, or nothing`)
  return E.right({ tag: 'Record', path, on: how === undefined ? null : how === 'on', json })
}
const WHOLE = /^\d{1,9}$/
/** Of the words behind the path. */
const traced = (words: ReadonlyArray<string>): E.Either<string, Partial<Trace> | null> => {
  if (words.length === 0) return E.right(null)
  if (words[0] === 'off') return words.length > 1 ? E.left('behind off there is nothing') : E.right({})
  let wanted: Partial<Trace> = {}
  for (const word of words) {
    const [name, value] = word.split(/=(.*)/s, 2)
    if ((word === 'flows' || word === 'packets') && wanted[word] === undefined)
      wanted = { ...wanted, [word]: true }
    else if ((name === 'flow' || name === 'port') && wanted[name] === undefined) {
      if (value === undefined || !WHOLE.test(value)) return E.left(`${word}: no number`)
      wanted = { ...wanted, [name]: Number(value) }
    } else if (name === 'address' && value !== undefined && wanted.address === undefined)
      wanted = { ...wanted, address: value }
    else
      return E.left(
        `trace ${word}: it is flows, packets, flow=ID, port=PORT, address=ADDRESS, each once, or off`
      )
  }
  return wanted.flows || wanted.packets
    ? E.right(wanted)
    : E.left('neither flows nor packets are to be traced')
}
const trace = ([path, ...words]: ReadonlyArray<string>, json: boolean): E.Either<string, CtlCommand> =>
  path === undefined || path === ''
    ? E.left('no PATH')
    : E.map((wanted: Partial<Trace> | null): CtlCommand => ({ tag: 'Trace', path, wanted, json }))(
        traced(words)
      )
const web = ([path, ...options]: ReadonlyArray<string>): E.Either<string, CtlCommand> => {
  if (path === undefined || path === '') return E.left('no PATH')
  if (options.length === 0) return E.right({ tag: 'Web', path, port: 0 })
  const [option, value = '', ...more] = options
  if (option !== '--port' || more.length > 0) return E.left(`no such option: ${more[0] ?? option}`)
  const port = /^\d{1,5}$/.test(value) ? Number(value) : 0
  return port < 1 || port > 65535 ? E.left(`no port: ${value}`) : E.right({ tag: 'Web', path, port })
}

export const parseCtl = (args: ReadonlyArray<string>): E.Either<string, CtlCommand> => {
  if (args.includes('-h') || args.includes('--help')) return E.right({ tag: 'Help' })
  if (args.includes('--version')) return E.right({ tag: 'Version' })
  if (args[0] === 'rules' && (args[1] === 'add' || args[1] === 'delete')) return change(args.slice(1))
  if (args[0] === 'web') return web(args.slice(1))
  const [command, path, ...filters] = args.filter((a) => a !== '--json')
  if (command === 'record') return record([path ?? '', ...filters], args.includes('--json'))
  if (command === 'trace') return trace([path ?? '', ...filters], args.includes('--json'))
  const known = COMMANDS.find((c) => c === command)
  if (known === undefined) return E.left(command === undefined ? 'no command' : `no such command: ${command}`)
  if (path === undefined || path === '') return E.left('no PATH')
  const pairs = filters.map((f): readonly [string, string] => {
    const at = f.indexOf('=')
    return at < 0 ? [f, ''] : [f.slice(0, at), f.slice(at + 1)]
  })
  if (pairs.length > 0 && !FILTERED.includes(known)) return E.left(`${known} takes no filters`)
  const json = args.includes('--json')
  if (json && NOT_JSON.includes(known)) return E.left(`${known} is no JSON`)
  return E.right({ tag: 'Run', command: known, path, filters: pairs, json })
}
