import * as E from 'fp-ts/lib/Either.js'

export const COMMANDS = ['status', 'flows', 'rules', 'counters', 'metrics', 'top'] as const
export type Command = (typeof COMMANDS)[number]
export type CtlCommand =
  | {
      readonly tag: 'Run'
      readonly command: Command
      readonly path: string
      /** Of `flows` and `top`: kind=tcp, as in the API's query. */
      readonly filters: ReadonlyArray<readonly [string, string]>
      readonly json: boolean
    }
  | { readonly tag: 'Help' }
  | { readonly tag: 'Version' }

export const CTL_USAGE = `Usage: passt-ctl COMMAND PATH [FILTER]... [--json]
What the passt or pasta does whose API (--api) is at PATH.

  status    what runs, and with what addresses
  flows     connections and other flows, both sides of each
  rules     port forwarding, and how many flows each rule has
  counters  what was dropped and why, and other events
  metrics   the same as OpenMetrics text
  top       flows by traffic, anew each second

FILTER: kind=tcp|udp|ping|tcp-splice|udp-splice, state=STATE, port=PORT, address=ADDRESS

      --json     as the API answers
  -h, --help
      --version`

export const parseCtl = (args: ReadonlyArray<string>): E.Either<string, CtlCommand> => {
  if (args.includes('-h') || args.includes('--help')) return E.right({ tag: 'Help' })
  if (args.includes('--version')) return E.right({ tag: 'Version' })
  const [command, path, ...filters] = args.filter((a) => a !== '--json')
  const known = COMMANDS.find((c) => c === command)
  if (known === undefined) return E.left(command === undefined ? 'no command' : `no such command: ${command}`)
  if (path === undefined || path === '') return E.left('no PATH')
  const pairs = filters.map((f): readonly [string, string] => {
    const at = f.indexOf('=')
    return at < 0 ? [f, ''] : [f.slice(0, at), f.slice(at + 1)]
  })
  if (pairs.length > 0 && known !== 'flows' && known !== 'top') return E.left(`${known} takes no filters`)
  const json = args.includes('--json')
  if (json && (known === 'top' || known === 'metrics')) return E.left(`${known} is no JSON`)
  return E.right({ tag: 'Run', command: known, path, filters: pairs, json })
}
