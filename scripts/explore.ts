import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { ALPHABETS } from '../src/explore/alphabets/all.js'
import { graphOf } from '../src/explore/graph.js'
import { graphJson, graphLines, graphTests } from '../src/explore/graph-text.js'
import { type Saved, savedText } from '../src/explore/saved.js'
import { machineOf, openSession, type Reply, type Session, said } from '../src/explore/session.js'
import { ROOT } from './generated.js'

// `npm run explore -- MACHINE`: one machine by hand, in a terminal; or its graph (docs/explore.md). What is typed and what it leads to
// is src/explore/session.ts; here are the terminal and the files.

const USAGE = `npm run explore -- MACHINE [--input NAME] [--world FILE] [--script FILE]
npm run explore -- MACHINE --graph [--input NAME] [--json] [--tests FILE]

MACHINE: ${Object.keys(ALPHABETS).join(', ')}
`
const HERE = process.env.INIT_CWD ?? process.cwd()

const write = (file: string, name: string, list: readonly Saved[]): void => {
  const path = resolve(HERE, file)
  const toRoot = relative(dirname(path), ROOT) || '.'
  writeFileSync(path, savedText(name, toRoot.startsWith('.') ? toRoot : `./${toRoot}`, list))
}
const fail = (text: string): never => {
  process.stderr.write(text)
  process.exit(1)
}

const carryOut = ({ lines, save, session: s }: Reply): void => {
  for (const line of lines) console.log(line)
  if (save === undefined) return
  const events = s.steps.map((x) => x.event)
  const title = s.steps.map((x) => x.said).join(', ') || 'at the beginning'
  try {
    write(save, s.name, [{ title, input: s.alphabet.inputs[s.input], events }])
  } catch (e) {
    console.log(e instanceof Error ? e.message : String(e))
  }
}

const graph = (name: string, input: string | undefined, json: boolean, tests: string | undefined): void => {
  const a = ALPHABETS[name]!
  const inputs = input === undefined ? Object.keys(a.inputs) : [input]
  const g = graphOf(a, inputs)
  if (tests !== undefined) write(tests, name, graphTests(g, a.inputs))
  const text = json ? graphJson(name, g) : graphLines(name, g, inputs.length).join('\n')
  process.stdout.write(`${text}\n`)
  // Without some of its inputs a chart is not whole
  if (input === undefined && g.missing.length + g.missingLeaves.length > 0) process.exitCode = 1
}

/** Lines that nobody types are shown. The first one that makes no sense ends it, with status 1. */
const scripted = (first: Session, file: string | 0): Session => {
  let s = first
  for (const line of readFileSync(file === 0 ? 0 : resolve(HERE, file), 'utf8').split('\n')) {
    if (line.trim() !== '') console.log(`> ${line}`)
    const reply = said(s, line)
    carryOut(reply)
    if (reply.wrong || reply.ends) process.exit(reply.wrong ? 1 : 0)
    s = reply.session
  }
  return s
}
const byHand = (first: Session): void => {
  let s = first
  const terminal = createInterface({
    input: process.stdin,
    output: process.stdout,
    completer: (line: string) => [
      s.alphabet.letters.map((l) => l.name).filter((n) => n.startsWith(line)),
      line
    ]
  })
  const ask = (): void => {
    terminal.setPrompt(`${s.name}> `)
    terminal.prompt()
  }
  console.log("'events' shows what can happen, 'help' what can be typed.")
  ask()
  terminal.on('line', (line) => {
    const reply = said(s, line)
    carryOut(reply)
    s = reply.session
    if (reply.ends) terminal.close()
    else ask()
  })
}

const options = () => {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        graph: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        input: { type: 'string' },
        script: { type: 'string' },
        tests: { type: 'string' },
        world: { type: 'string' },
        help: { type: 'boolean', default: false }
      }
    })
  } catch (e) {
    return fail(`${e instanceof Error ? e.message : e}\n${USAGE}`)
  }
}
const { values, positionals } = options()
if (values.help) {
  process.stdout.write(USAGE)
  process.exit(0)
}
const name = machineOf(positionals[0] ?? '') ?? fail(USAGE)
const { input } = values
const start = openSession(name, input)
if (start.wrong) fail(`${start.lines.join('\n')}\n`)
if (values.graph) graph(name, input, values.json, values.tests)
else {
  for (const line of start.lines) console.log(line)
  // A peer and a kernel that somebody has written down: rules, and what comes first
  const s = values.world === undefined ? start.session : scripted(start.session, values.world)
  if (values.script !== undefined) scripted(s, values.script)
  else if (process.stdin.isTTY) byHand(s)
  else scripted(s, 0)
}
