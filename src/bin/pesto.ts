import * as E from 'fp-ts/lib/Either.js'
import type { ConfTable } from '../codecs/control/conf.js'
import { visibleLines } from '../codecs/text/visible.js'
import { showConfRule } from '../machines/forward/conf-rules.js'
import { edited, listing, notDone, requestFor } from '../machines/forward/pesto.js'
import { VERSION } from '../runtime/cli/help.js'
import { print } from '../runtime/cli/print.js'
import { ephemeralPorts } from '../runtime/host/ephemeral-ports.js'
import { errnoOf, reasonText } from '../runtime/log/error-text.js'
import { type PestoOptions, parsePestoOptions, USAGE } from '../runtime/pesto/options.js'
import { Trouble, talk } from '../runtime/pesto/talk.js'

const say = (fd: 1 | 2, lines: ReadonlyArray<string>): void =>
  print(fd, lines.map((l) => `${visibleLines(l)}\n`).join(''))

const CAPABILITIES = ['IPv4', 'IPv6', 'TCP', 'UDP', 'scan', 'ifname']
const described = ({ pif, name, rules, capabilities: caps }: ConfTable): ReadonlyArray<string> => [
  `Receiving config for PIF ${pif}`,
  `PIF ${pif}: ${name}, ${rules.length} rules, capabilities 0x${caps.toString(16)}: ${CAPABILITIES.filter((_, i) => (caps & (1 << i)) !== 0).join(' ')}`
]

/** Nobody says whether it was done, but it can be seen. `otherwise`: the server is there no more. */
const tablesNow = async (
  path: string,
  otherwise: ReadonlyArray<ConfTable>
): Promise<ReadonlyArray<ConfTable>> => {
  try {
    const { server, end } = await talk(path)
    await end(null)
    return server.tables
  } catch {
    return otherwise
  }
}

const run = async ({ path, operations, show, debug }: PestoOptions): Promise<void> => {
  if (debug) say(2, [`debug_flag=1, path="${path}"`])
  const { server, end } = await talk(path)
  const { tables } = server
  if (debug) say(2, ['Connected to passt/pasta control socket', ...tables.flatMap(described)])
  if (operations.length === 0) {
    say(1, listing('passt/pasta configuration', path, tables))
    return end(null)
  }
  const wanted = edited(tables, operations, ephemeralPorts())
  if (E.isLeft(wanted)) {
    await end(null)
    throw new Trouble(wanted.left)
  }
  say(2, wanted.right.warnings)
  if (show) {
    say(1, listing('Previous configuration', path, tables))
    say(1, listing('Updated configuration', path, wanted.right.tables))
  }
  await end(requestFor(wanted.right.tables))
  const missed = notDone(tables, wanted.right.tables, await tablesNow(path, wanted.right.tables))
  if (missed.length > 0)
    throw new Trouble(
      ['The server has not done it, and its log says why:', ...missed.map(showConfRule)].join('\n')
    )
}

const main = async (argv: readonly string[]): Promise<number> => {
  const command = parsePestoOptions(argv)
  if (E.isLeft(command)) {
    say(2, [command.left.why, ...(command.left.usage ? [USAGE] : [])])
    return 1
  }
  try {
    switch (command.right.tag) {
      case 'Help':
        say(1, [USAGE])
        return 0
      case 'Version':
        say(1, [`pesto ${VERSION}`])
        return 0
      case 'Run':
        await run(command.right.options)
        return 0
    }
  } catch (e) {
    const who = errnoOf(e) > 0 ? 'pesto' : 'internal error'
    say(2, [e instanceof Trouble ? e.message : `${who}: ${reasonText(e)}`])
    return 1
  }
}

void main(process.argv.slice(2)).then((status) => process.exit(status))
