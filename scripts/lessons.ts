import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { main as replay } from '../src/runtime/replay/main.js'
import { played } from './explore-doc.js'
import { type Generated, mainOf, ROOT } from './generated.js'
import { writeRecords } from './lesson-records.js'

// What the lessons show is what their commands say: each block of a page that begins with '$ ' is run, and what it says put in its
// place. `tsx scripts/lessons.ts` makes the records again, and then the pages; it needs a build, for
// passt-judge. test/lessons.test.ts holds both.

const LESSONS = join(ROOT, 'docs/lessons')
const BLOCK = /^```console\n\$ (.*)\n([\s\S]*?)^```$/gm
const EXPLORE = 'npm run -s explore -- '
const REPLAY = 'bin/passt-replay '

export interface Block {
  readonly command: string
  readonly shown: string
}
/** The blocks of a page, in order. */
export const blocksOf = (text: string): readonly Block[] =>
  [...text.matchAll(BLOCK)].map(([, command, shown]) => ({ command: command!, shown: shown! }))
/** Names of the pages, in order. */
export const lessons = (): readonly string[] =>
  readdirSync(LESSONS)
    .filter((name) => /^\d.*\.md$/.test(name))
    .sort()
export const lessonText = (name: string): string => readFileSync(join(LESSONS, name), 'utf8')

/** What passt-replay says, here and now: a process of its own for each of them would take most of the time. */
const replayed = (args: readonly string[]): string => {
  const out: string[] = []
  // No page is asked for
  replay(args, { script: '', style: '' }, (_, text) => void out.push(text))
  return out.join('')
}
const shell = (command: string, input: string): string => {
  // In a test, a test runner would run nothing
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const options = { cwd: ROOT, env, input, encoding: 'utf8', timeout: 120_000 } as const
  const r = spawnSync('sh', ['-c', `exec 2>&1\n${command}`], options)
  if (r.error !== undefined) throw r.error
  return r.stdout
}
/** What the command says, standard error included. Lines that were typed, '> …', are those of `shown`. */
export const said = ({ command, shown }: Block): string => {
  if (command.startsWith(EXPLORE)) return `${played(command.slice(EXPLORE.length), shown).join('\n')}\n`
  if (!command.startsWith(REPLAY)) return shell(command, '')
  const [first = '', ...filters] = command.slice(REPLAY.length).split(' | ')
  const text = replayed(first.split(' ').map((a) => (a.startsWith('docs/') ? join(ROOT, a) : a)))
  return filters.length === 0 ? text : shell(filters.join(' | '), text)
}

const pages = (): readonly Generated[] =>
  lessons().map((name) => ({
    path: join(LESSONS, name),
    text: lessonText(name).replace(
      BLOCK,
      (_, command: string, shown: string) => `\`\`\`console\n$ ${command}\n${said({ command, shown })}\`\`\``
    )
  }))

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href && !process.argv.includes('--check'))
  writeRecords()
mainOf(import.meta.url, pages)
