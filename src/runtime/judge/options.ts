import * as E from 'fp-ts/lib/Either.js'
import { type OptionName, parseArgv } from '../../codecs/text/argv.js'
import { RULES, type RuleName, type Severity } from '../../machines/judge/rules.js'

export interface JudgeOptions {
  /** `-`: standard input. */
  readonly path: string
  readonly json: boolean
  /** Nothing is overtaken in front of the capture. */
  readonly ordered: boolean
  /** Findings that are less severe are not told. */
  readonly severity: Severity
  /** Not told, either. */
  readonly ignored: ReadonlySet<RuleName>
  /** Findings that are listed; more are counted. */
  readonly max: number
}
export type JudgeCommand =
  | { readonly tag: 'Judge'; readonly options: JudgeOptions }
  | { readonly tag: 'Help' }
  | { readonly tag: 'Rules' }
  | { readonly tag: 'Version' }

type Id = 'json' | 'ordered' | 'severity' | 'ignore' | 'max' | 'rules' | 'help' | 'version'
const name = (id: Id, short: string | null, takesArgument: boolean): OptionName<Id> => ({
  id,
  long: [id],
  short,
  takesArgument
})
export const JUDGE_OPTIONS: readonly OptionName<Id>[] = [
  name('json', 'j', false),
  name('ordered', 'o', false),
  name('severity', 's', true),
  name('ignore', 'i', true),
  name('max', 'm', true),
  name('rules', null, false),
  name('help', 'h', false),
  name('version', null, false)
]

export const USAGE = `Usage: passt-judge [OPTION]... CAPTURE
Hold each endpoint in a capture (pcap, pcapng; -: standard input) to the RFCs.

  -s, --severity MUST|SHOULD  Least severe finding to tell; default: SHOULD
  -i, --ignore RULE           Do not tell findings of this rule; may be given again
  -m, --max NUMBER            List so many findings at most; default: 1000
  -o, --ordered               Frames are in the order in which they were sent, as on a virtual link
  -j, --json                  Print one JSON value
      --rules                 Print the rules
  -h, --help
      --version

Exit status: 0 no finding of severity MUST, 1 some, 2 the capture cannot be read, or wrong usage.`

const isRule = (text: string): text is RuleName => Object.hasOwn(RULES, text)
const DEFAULT_MAX = 1000

const set = (o: JudgeOptions, id: Id, value: string): E.Either<string, JudgeOptions> => {
  switch (id) {
    case 'json':
      return E.right({ ...o, json: true })
    case 'ordered':
      return E.right({ ...o, ordered: true })
    case 'severity':
      return value === 'MUST' || value === 'SHOULD'
        ? E.right({ ...o, severity: value })
        : E.left(`'${value}' is no severity: MUST or SHOULD`)
    case 'ignore':
      return isRule(value)
        ? E.right({ ...o, ignored: new Set([...o.ignored, value]) })
        : E.left(`'${value}' is no rule: --rules prints them`)
    case 'max':
      return /^\d{1,7}$/.test(value)
        ? E.right({ ...o, max: Number(value) })
        : E.left(`'${value}' is no number of findings`)
    default:
      return E.right(o)
  }
}

/** Left: what is wrong, in words. */
export const parseJudgeOptions = (argv: readonly string[]): E.Either<string, JudgeCommand> => {
  const line = parseArgv(JUDGE_OPTIONS)(argv)
  if (E.isLeft(line)) return E.left(line.left.message)
  const given = line.right.settings
  if (given.some((s) => s.id === 'help')) return E.right({ tag: 'Help' })
  if (given.some((s) => s.id === 'version')) return E.right({ tag: 'Version' })
  if (given.some((s) => s.id === 'rules')) return E.right({ tag: 'Rules' })
  const [path, ...more] = argv.slice(line.right.positionals)
  if (path === undefined) return E.left('no capture is named')
  if (more.length > 0) return E.left(`one capture only: '${more[0]}' is one too many`)
  let options: JudgeOptions = {
    path,
    json: false,
    ordered: false,
    severity: 'SHOULD',
    ignored: new Set(),
    max: DEFAULT_MAX
  }
  for (const { id, value } of given) {
    const next = set(options, id, value ?? '')
    if (E.isLeft(next)) return next
    options = next.right
  }
  return E.right({ tag: 'Judge', options })
}
