import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { parseArgv, printArgv, type Setting } from '../../codecs/text/argv.js'
import type { PortSpec } from '../../codecs/text/port-spec.js'
import { CAPABILITIES, helpText, versionText } from './help.js'
import { defaults, OPTION_TABLE, type OptionEntry, type Options } from './option-table.js'
import type { Mode, Target } from './option-types.js'

/** `usage`: shown behind the message on stderr; null when the options were understood but make no sense. */
export interface CliError {
  readonly message: string
  readonly usage: string | null
}
export type CliAnswer =
  | { readonly tag: 'Run'; readonly options: Options }
  /** To stdout, status 0. */
  | { readonly tag: 'Print'; readonly text: string }

// --- rules between options

type Rule = readonly [(o: Options) => boolean, string]

const wantsPorts = (specs: ReadonlyArray<PortSpec>): boolean => specs.some((s) => s.kind !== 'none')
const attaches = (o: Options): boolean => o.target.kind === 'pid' || o.target.kind === 'netns'

/** The first one that applies is the error. */
const CONFLICTS: ReadonlyArray<Rule> = [
  [(o) => o.mode === 'passt' && o.positionals.length > 0, 'passt takes no arguments besides options'],
  [(o) => o.netns !== null && o.positionals.length > 0, '--netns and a PID or command exclude each other'],
  [
    (o) => o.netmask !== null && o.address.v4 !== null && o.address.v4.prefixLen !== null,
    '--netmask and a prefix length in --address exclude each other'
  ],
  [(o) => o.spliceOnly && !o.splice, '--splice-only and --no-splice exclude each other'],
  [(o) => o.hostLoToNsLo && !o.splice, '--host-lo-to-ns-lo and --no-splice exclude each other'],
  [
    (o) => !o.splice && o.ports.tcpIn.some((s) => s.kind === 'unix'),
    '-t unix: needs the bypass path, and --no-splice disables it'
  ],
  [
    (o) => o.recordPaused && (o.record === null || o.apiPath === null),
    '--record-paused needs --record and --api'
  ],
  [(o) => !o.copyRoutes && !o.configNet, '--no-copy-routes needs --config-net'],
  [(o) => !o.copyAddrs && !o.configNet, '--no-copy-addrs needs --config-net'],
  [
    (o) => !o.tcp && (wantsPorts(o.ports.tcpIn) || wantsPorts(o.ports.tcpOut)),
    'TCP ports given, but --no-tcp'
  ],
  [
    (o) => !o.udp && (wantsPorts(o.ports.udpIn) || wantsPorts(o.ports.udpOut)),
    'UDP ports given, but --no-udp'
  ],
  [(o) => !o.pidns && attaches(o), '--no-pidns is for commands only'],
  [(o) => o.userns !== null && !attaches(o), '--userns needs a PID or --netns'],
  [(o) => o.restartPath !== null && o.fd !== null, '--restart-path and --fd exclude each other']
]

// --- evaluation

const byId = new Map(OPTION_TABLE.map((e) => [e.id, e]))
const allowedIn = (e: OptionEntry, o: Options): boolean =>
  e.allowed === 'both' || e.allowed === o.mode || (e.allowed === 'vhost' && o.vhostUser)

const spelled = (e: OptionEntry): string => `--${e.long[0]}`
const semantic = (message: string): E.Either<CliError, never> => E.left({ message, usage: null })

/** One setting. Left of Right: an answer that ends everything. */
const applySetting = (o: Options, e: OptionEntry, value: string): E.Either<CliError, CliAnswer> => {
  if (e.answer === 'help') return E.right({ tag: 'Print', text: helpText(o.mode) })
  if (e.answer === 'version') return E.right({ tag: 'Print', text: versionText(o.mode) })
  if (e.answer === 'capabilities') return E.right({ tag: 'Print', text: CAPABILITIES })
  if (!allowedIn(e, o))
    return semantic(`${spelled(e)} is for ${e.allowed === 'vhost' ? 'vhost-user' : e.allowed} mode only`)
  const next = e.apply(o, value)
  return E.isLeft(next)
    ? semantic(`${spelled(e)}: ${next.left}`)
    : E.right({ tag: 'Run', options: next.right })
}

const applyAll = (start: Options, settings: ReadonlyArray<Setting>): E.Either<CliError, CliAnswer> => {
  let o = start
  for (const pass of [1, 2])
    for (const s of settings) {
      const e = byId.get(s.id)
      if (e === undefined || e.pass !== pass) continue
      const next = applySetting(o, e, s.value ?? '')
      if (E.isLeft(next) || next.right.tag === 'Print') return next
      o = next.right.options
    }
  return E.right({ tag: 'Run', options: o })
}

/** A single argument that is a whole number is a PID, so a command of such a name needs an argument (passt(1)). */
const targetOf = (o: Options): E.Either<CliError, Target> => {
  const [first, ...more] = o.positionals
  if (o.netns !== null) return E.right({ kind: 'netns', path: o.netns })
  if (first === undefined) return E.right({ kind: 'shell' })
  if (more.length > 0 || !/^\s*[+-]?[0-9]+$/.test(first))
    return E.right({ kind: 'command', argv: o.positionals })
  const pid = Number(first)
  return pid > 0 && pid <= 0x7fffffff
    ? E.right({ kind: 'pid', pid })
    : semantic(`invalid PID ${first.trim()}`)
}

/** The name we were called by decides; with --vhost-user whatever is not pasta is passt. */
const modeOf = (argv0: string, settings: ReadonlyArray<Setting>): E.Either<CliError, Mode> => {
  const name = argv0.slice(argv0.lastIndexOf('/') + 1)
  if (name.includes('pasta')) return E.right('pasta')
  return name.includes('passt') || settings.some((s) => s.id === 'vhost-user')
    ? E.right('passt')
    : semantic(`called as '${name}', neither passt nor pasta`)
}

const finish = (o: Options): E.Either<CliError, CliAnswer> => {
  const target = o.mode === 'pasta' ? targetOf(o) : E.right<CliError, Target>({ kind: 'shell' })
  if (E.isLeft(target)) return target
  const spawns = o.mode === 'pasta' && (target.right.kind === 'command' || target.right.kind === 'shell')
  const options: Options = {
    ...o,
    target: target.right,
    foreground: o.foreground || spawns,
    // what the command prints is not to be mixed with ours
    quiet: o.quiet || (spawns && !o.debug),
    quietAsked: o.quiet
  }
  const conflict = CONFLICTS.find(([applies]) => applies(options))
  return conflict === undefined ? E.right({ tag: 'Run', options }) : semantic(conflict[1])
}

/**
 * The command line of program `argv0`, `argv` without it. `--help` and `--version` act in the order of options: what
 * stands behind them is not looked at, an error in front of them comes first.
 * Left: status 1, one line on stderr (with the program's name in front), the usage text behind it if it is not null.
 */
export const parseOptions = (argv0: string, argv: ReadonlyArray<string>): E.Either<CliError, CliAnswer> => {
  const line = parseArgv(OPTION_TABLE)(argv)
  const settings = E.isLeft(line) ? line.left.settings : line.right.settings
  const mode = modeOf(argv0, settings)
  if (E.isLeft(mode)) return mode
  const start: Options = {
    ...defaults(mode.right),
    settings,
    positionals: E.isLeft(line) ? [] : argv.slice(line.right.positionals),
    positionalsAt: E.isLeft(line) ? argv.length : line.right.positionals,
    // --repair-path and others may stand in front of it
    vhostUser: settings.some((s) => s.id === 'vhost-user')
  }
  const applied = applyAll(start, settings)
  if (E.isLeft(applied) || applied.right.tag === 'Print') return applied
  if (E.isLeft(line)) return E.left({ message: line.left.message, usage: helpText(mode.right) })
  return finish(applied.right.options)
}

/**
 * The command line as a codec: argv without the program's name ⇄ Options. Left: as parseOptions, and for --help and
 * --version, which are no options to run with. Law: decode(encode(o)) = right(o) but for `positionalsAt`.
 */
export const optionsCodec = (mode: Mode): t.Type<Options, ReadonlyArray<string>, ReadonlyArray<string>> =>
  new t.Type<Options, ReadonlyArray<string>, ReadonlyArray<string>>(
    'Options',
    (u): u is Options => typeof u === 'object' && u !== null && 'settings' in u && 'mode' in u,
    (argv, context) => {
      const answer = parseOptions(mode, argv)
      if (E.isLeft(answer)) return t.failure(argv, context, answer.left.message)
      return answer.right.tag === 'Run'
        ? t.success(answer.right.options)
        : t.failure(argv, context, 'only prints')
    },
    (o) => [...printArgv(OPTION_TABLE)(o.settings), '--', ...o.positionals]
  )
