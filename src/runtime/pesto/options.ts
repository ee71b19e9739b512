import * as E from 'fp-ts/lib/Either.js'
import { type OptionName, parseArgv, type Setting } from '../../codecs/text/argv.js'
import { parsePortSpec } from '../../codecs/text/port-spec.js'
import type { Operation, Ports } from '../../machines/forward/pesto.js'

export interface PestoOptions {
  readonly path: string
  /** In order; none: list and stop. */
  readonly operations: ReadonlyArray<Operation>
  readonly show: boolean
  readonly debug: boolean
}
export type PestoCommand =
  | { readonly tag: 'Run'; readonly options: PestoOptions }
  | { readonly tag: 'Help' }
  | { readonly tag: 'Version' }

type Id = Ports | 'add' | 'delete' | 'clear' | 'show' | 'debug' | 'help' | 'version'
const name = (id: Id, long: string, short: string | null, takesArgument: boolean): OptionName<Id> => ({
  id,
  long: [long],
  short,
  takesArgument
})
export const PESTO_OPTIONS: ReadonlyArray<OptionName<Id>> = [
  name('add', 'add', 'A', false),
  name('delete', 'delete', 'D', false),
  name('clear', 'clear', 'C', true),
  name('t', 'tcp-ports', 't', true),
  name('u', 'udp-ports', 'u', true),
  name('T', 'tcp-ns', 'T', true),
  name('U', 'udp-ns', 'U', true),
  name('show', 'show', 's', false),
  name('debug', 'debug', 'd', false),
  name('help', 'help', 'h', false),
  name('version', 'version', null, false)
]

export const USAGE = `Usage: pesto [OPTION]... PATH
List the port forwarding of the passt or pasta whose control socket (--conf-path) is at PATH, or change it.

  -A, --add             The specifications that follow are added to what is there
  -D, --delete          Those that follow are deleted
  -C, --clear TABLE     Empty this table: HOST (-t, -u) or SPLICE (-T, -U)
  -t, --tcp-ports SPEC  TCP ports that lead to the guest, as passt(1) says; may be given again.
                        Without -A or -D in front of it, in place of all that HOST has
  -u, --udp-ports SPEC  The same for UDP
  -T, --tcp-ns SPEC     TCP ports that lead from the namespace to the host, with pasta.
                        Without -A or -D in front of it, in place of all that SPLICE has
  -U, --udp-ns SPEC     The same for UDP
  -s, --show            Show rules before and after the change
  -d, --debug           Say what is done
  -h, --help
      --version

Exit status: 0 done, 1 not done: nothing is changed.`

const isPorts = (id: Id): id is Ports => id === 't' || id === 'u' || id === 'T' || id === 'U'

const operationOf = ({ id, value }: Setting<Id>): E.Either<string, ReadonlyArray<Operation>> => {
  const text = value ?? ''
  if (id === 'add' || id === 'delete') return E.right([{ type: id }])
  if (id === 'clear') return E.right([{ type: 'clear', table: text }])
  if (!isPorts(id)) return E.right([])
  const spec = parsePortSpec(text)
  return E.isRight(spec)
    ? E.right([{ type: 'ports', option: id, spec: spec.right, text }])
    : E.left(`Invalid port specifier '${text}'\n${spec.left.message}`)
}

interface Line {
  readonly settings: ReadonlyArray<Setting<Id>>
  readonly paths: ReadonlyArray<string>
}
/** Options and others in any order (getopt(3)); behind `--` there are no options. */
const permuted = (argv: ReadonlyArray<string>): E.Either<string, Line> => {
  const settings: Setting<Id>[] = []
  const paths: string[] = []
  let rest = argv
  while (rest.length > 0) {
    const line = parseArgv(PESTO_OPTIONS)(rest)
    if (E.isLeft(line)) return E.left(line.left.message)
    settings.push(...line.right.settings)
    const at = line.right.positionals
    const [path, ...more] = rest.slice(at)
    if (at > 0 && rest[at - 1] === '--' && !takenByOption(rest, at - 1)) {
      paths.push(...rest.slice(at))
      break
    }
    if (path !== undefined) paths.push(path)
    rest = more
  }
  return E.right({ settings, paths })
}
/** Is this element an option's argument, as in `-t --`? */
const takenByOption = (argv: ReadonlyArray<string>, at: number): boolean => {
  const line = parseArgv(PESTO_OPTIONS)(argv.slice(0, at))
  return E.isLeft(line)
}

/** Left: what is wrong, in lines; `usage` is to follow them. */
export const parsePestoOptions = (
  argv: ReadonlyArray<string>
): E.Either<{ readonly why: string; readonly usage: boolean }, PestoCommand> => {
  const line = permuted(argv)
  if (E.isLeft(line)) return E.left({ why: `pesto: ${line.left}`, usage: true })
  const { settings, paths } = line.right
  if (settings.some((s) => s.id === 'help')) return E.right({ tag: 'Help' })
  if (settings.some((s) => s.id === 'version')) return E.right({ tag: 'Version' })
  const [path] = paths
  if (path === undefined || paths.length !== 1)
    return E.left({ why: path === undefined ? 'No path' : 'More than one path', usage: true })
  const operations: Operation[] = []
  for (const s of settings) {
    const some = operationOf(s)
    if (E.isLeft(some)) return E.left({ why: some.left, usage: false })
    operations.push(...some.right)
  }
  const given = (id: Id): boolean => settings.some((s) => s.id === id)
  return E.right({
    tag: 'Run',
    options: { path, operations, show: given('show'), debug: given('debug') }
  })
}
