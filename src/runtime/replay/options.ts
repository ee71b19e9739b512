import * as E from 'fp-ts/lib/Either.js'
import { type OptionName, parseArgv } from '../../codecs/text/argv.js'

// What passt-replay is asked for.

export interface ReplayOptions {
  readonly file: string
  readonly xstate: boolean
  /** The last turn. */
  readonly until: number
  /** null: every one. */
  readonly flow: number | null
  readonly step: boolean
  readonly json: boolean
  /** Files that are written; null: none. */
  readonly shrink: string | null
  readonly html: string | null
  readonly anonymize: string | null
}
export type ReplayCommand =
  | { readonly tag: 'Replay'; readonly options: ReplayOptions }
  | { readonly tag: 'Help' }
  | { readonly tag: 'Version' }

export const USAGE = `Usage: passt-replay [OPTION]... FILE

Replay FILE, which passt or pasta wrote with --record: the same machines on the same events,
compared effect by effect. Status 0: all the same, 1: something differs, 2: FILE cannot be read, or OUT not written.

  --xstate       by xstate's own transition(), without the tables that are made of the machines
  --until N      stop behind turn N, and show the flows that there are
  --flow ID      of --step and of flows: this one only
  --step         show each turn: what came, what flows did, which effects they asked for
  --json         in JSON: one object; with --step one a turn in front of it
  --html OUT     write a page to OUT: flows, and of each what happened, its chart and its numbers, in time
  --shrink OUT   write the smallest record to OUT that still shows the first difference
  --anonymize OUT
                 write the same record to OUT with other addresses, MACs and names, to be given away
  --help         show this help and exit
  --version      show version and exit
`

type Id = Exclude<keyof ReplayOptions, 'file'> | 'help' | 'version'
const TAKES_ARGUMENT: Readonly<Record<Id, boolean>> = {
  xstate: false,
  until: true,
  flow: true,
  step: false,
  json: false,
  html: true,
  anonymize: true,
  shrink: true,
  help: false,
  version: false
}
const REPLAY_OPTIONS = Object.entries(TAKES_ARGUMENT).map(
  ([id, takesArgument]): OptionName<Id> => ({ id: id as Id, long: [id], short: null, takesArgument })
)

const NUMBER = /^\d{1,15}$/
const set = (o: ReplayOptions, id: Id, value: string): E.Either<string, ReplayOptions> => {
  switch (id) {
    case 'xstate':
    case 'step':
    case 'json':
      return E.right({ ...o, [id]: true })
    case 'until':
    case 'flow':
      return NUMBER.test(value) ? E.right({ ...o, [id]: Number(value) }) : E.left(`--${id} needs a number`)
    case 'html':
    case 'anonymize':
    case 'shrink':
      return value === '' ? E.left(`--${id} needs a file`) : E.right({ ...o, [id]: value })
    default:
      return E.right(o)
  }
}

/** Left: what is wrong, in words. */
export const parseReplayOptions = (argv: ReadonlyArray<string>): E.Either<string, ReplayCommand> => {
  const line = parseArgv(REPLAY_OPTIONS)(argv)
  const given = E.isLeft(line) ? line.left.settings : line.right.settings
  if (given.some((s) => s.id === 'help')) return E.right({ tag: 'Help' })
  if (given.some((s) => s.id === 'version')) return E.right({ tag: 'Version' })
  if (E.isLeft(line)) return E.left(line.left.message)
  const [file, ...more] = argv.slice(line.right.positionals)
  if (file === undefined) return E.left('which record?')
  if (more.length > 0) return E.left(`one record at a time, behind all options, not ${file} and ${more[0]}`)
  let options: ReplayOptions = {
    file,
    xstate: false,
    until: Number.POSITIVE_INFINITY,
    flow: null,
    step: false,
    json: false,
    shrink: null,
    html: null,
    anonymize: null
  }
  for (const { id, value } of given) {
    const next = set(options, id, value ?? '')
    if (E.isLeft(next)) return next
    options = next.right
  }
  if (options.anonymize !== null && (options.flow !== null || options.until !== Number.POSITIVE_INFINITY))
    return E.left('--anonymize writes a whole record, so neither --flow nor --until goes with it')
  return E.right({ tag: 'Replay', options })
}
