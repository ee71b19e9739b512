import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ALPHABETS } from '../src/explore/alphabets/all.js'
import { graphOf } from '../src/explore/graph.js'
import { graphLines } from '../src/explore/graph-text.js'
import { machineOf, openSession, said } from '../src/explore/session.js'
import { type Generated, mainOf, ROOT } from './generated.js'

// What docs/explore.md shows is what the explorer says: the blocks in it are played again, from their command and the lines that were
// typed ('> …'). `tsx scripts/explore-doc.ts` writes them; property-tests/explore.test.ts holds that they are fresh.

const PAGE = join(ROOT, 'docs', 'explore.md')
const BLOCK = /^```\n\$ npm run -s explore -- (.*)\n([\s\S]*?)^```$/gm

const graph = (name: string): readonly string[] =>
  graphLines(name, graphOf(ALPHABETS[name]!), Object.keys(ALPHABETS[name]!.inputs).length)
const session = (name: string, typed: readonly string[]): readonly string[] => {
  const first = openSession(name)
  const out = [...first.lines]
  let s = first.session
  for (const line of typed) {
    const reply = said(s, line)
    if (reply.wrong) throw new Error(`explore ${name}: ${line}: ${reply.lines}`)
    out.push(`> ${line}`, ...reply.lines)
    s = reply.session
  }
  return out
}
/** What that command, with these lines typed, shows. */
export const played = (command: string, shown: string): readonly string[] => {
  const [word = '', ...options] = command.split(' ')
  const name = machineOf(word)
  if (name === null) throw new Error(`explore: no machine '${word}'`)
  return options.includes('--graph')
    ? graph(name)
    : session(
        name,
        [...shown.matchAll(/^> (.*)$/gm)].map(([, line]) => line!)
      )
}
export const pages = (): readonly Generated[] => [
  {
    path: PAGE,
    text: readFileSync(PAGE, 'utf8').replace(
      BLOCK,
      (_, command: string, shown: string) =>
        `\`\`\`\n$ npm run -s explore -- ${command}\n${played(command, shown).join('\n')}\n\`\`\``
    )
  }
]

mainOf(import.meta.url, pages)
