import { readFileSync, writeFileSync } from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import { octets } from '../../codecs/value/octets.js'
import { VERSION } from '../cli/help.js'
import type { World } from '../data/world.js'
import { eventFlow } from './flow-of.js'
import { page, pageHtml } from './page.js'
import { openRecording, type RecordEnd, type Recording } from './recording.js'
import { type Replayed, type Replayer, replayer, Unplayable } from './replayer.js'
import {
  type DifferenceReport,
  differenceLines,
  differenceReport,
  flowLine,
  flowsOf,
  turnLines
} from './report.js'
import { shrunk } from './shrink.js'
import { useXstate } from './under-xstate.js'

// passt-replay: a record again, without a socket (docs/replay.md).

const USAGE = `Usage: passt-replay [OPTION]... FILE

Replay FILE, which passt or pasta wrote with --record: the same machines on the same events,
compared effect by effect. Status 0: all the same, 1: something differs, 2: FILE cannot be read.

  --xstate       by xstate's own transition(), without the tables that are made of the machines
  --until N      stop behind turn N, and show the flows that there are
  --flow ID      of --step and of flows: this one only
  --step         show each turn: what came, what flows did, which effects they asked for
  --json         in JSON: one object; with --step one a turn in front of it
  --html OUT     write a page to OUT: flows, and of each what happened, its chart and its numbers, in time
  --shrink OUT   write the smallest record to OUT that still shows the first difference
  --help         show this help and exit
  --version      show version and exit
`

interface Asked {
  readonly file: string
  readonly xstate: boolean
  readonly until: number
  readonly flow: number | null
  readonly step: boolean
  readonly json: boolean
  readonly shrink: string | null
  readonly html: string | null
}

const NUMBER = /^\d{1,15}$/
/** Left: what is wrong; '' for --help. */
const parse = (args: ReadonlyArray<string>): E.Either<string, Asked> => {
  let asked: Asked = {
    file: '',
    xstate: false,
    until: Number.POSITIVE_INFINITY,
    flow: null,
    step: false,
    json: false,
    shrink: null,
    html: null
  }
  const rest = args.flatMap((a) =>
    /^--\w+=/.test(a) ? [a.slice(0, a.indexOf('=')), a.slice(a.indexOf('=') + 1)] : [a]
  )
  for (let i = 0; i < rest.length; i++) {
    const name = rest[i]!
    const value = rest[i + 1]
    switch (name) {
      case '--xstate':
      case '--step':
      case '--json':
        asked = { ...asked, [name.slice(2)]: true }
        break
      case '--until':
      case '--flow':
        if (value === undefined || !NUMBER.test(value)) return E.left(`${name} needs a number`)
        asked = { ...asked, [name.slice(2)]: Number(value) }
        i++
        break
      case '--shrink':
      case '--html':
        if (value === undefined || value === '') return E.left(`${name} needs a file`)
        asked = { ...asked, [name.slice(2)]: value }
        i++
        break
      case '--help':
        return E.left('')
      default:
        if (name.startsWith('-')) return E.left(`there is no option ${name}`)
        if (asked.file !== '') return E.left(`one record at a time, not ${asked.file} and ${name}`)
        asked = { ...asked, file: name }
    }
  }
  return asked.file === '' ? E.left('which record?') : E.right(asked)
}

/** What came of it. */
export interface Outcome {
  readonly turns: number
  readonly events: number
  readonly effects: number
  readonly difference: DifferenceReport | null
  /** Counters at the end that are not as recorded: as recorded, as now. */
  readonly counters: Readonly<Record<string, readonly [number, number]>>
  readonly flows: ReturnType<typeof flowsOf>
  /** All turns were replayed. */
  readonly whole: boolean
}

const countersDiffer = (
  theirs: RecordEnd['counters'],
  ours: ReadonlyMap<string, number>
): Outcome['counters'] => {
  if (theirs === null) return {}
  const names = new Set([...Object.keys(theirs), ...ours.keys()])
  return Object.fromEntries(
    [...names].map((n) => [n, [theirs[n] ?? 0, ours.get(n) ?? 0]] as const).filter(([, [a, b]]) => a !== b)
  )
}

/** `begin`: told of it before the first turn; `each`: of every turn; `flows`: those of its events, from before it. Throws Unplayable. */
export const replayAll = (
  recording: Recording,
  end: RecordEnd,
  o: Pick<Asked, 'until'>,
  each: ReadonlyArray<(w: World, r: Replayed, flows: ReadonlyArray<number | null>) => void>,
  begin: (p: Replayer) => void = () => {}
): Outcome => {
  const p = replayer(recording)
  begin(p)
  const n = { turns: 0, events: 0, effects: 0 }
  let difference: DifferenceReport | null = null
  let whole = true
  for (const t of recording.turns) {
    if (t.index > o.until) {
      whole = false
      break
    }
    const flows = t.events.map((e) => eventFlow(p.world, e))
    const r = p.turn(t)
    n.turns++
    n.events += t.events.length
    n.effects += r.made.reduce((sum, part) => sum + part.length, 0)
    for (const tell of each) tell(p.world, r, flows)
    difference = differenceReport(p.world, r, flows)
    if (difference !== null || p.ended() !== null) break
  }
  const done = whole && difference === null && recording.start.only === undefined
  return {
    ...n,
    difference,
    counters: done ? countersDiffer(end.counters, p.world.counters) : {},
    flows: flowsOf(p.world),
    whole
  }
}

const ENDS: Readonly<Record<string, string>> = {
  size: '--record-size was reached',
  restart: 'another process took its place',
  error: 'the program ended by an error'
}
const endText = (e: RecordEnd): string | null =>
  e.cut ?? (e.why === null ? 'nobody wrote its end: the program was killed, or runs' : (ENDS[e.why] ?? null))

const say = (text: string): void => void process.stdout.write(`${text}\n`)

/** What a page looks like: its script and its style, as the build has made them of src/page. */
export interface Look {
  readonly script: string
  readonly style: string
}

/** Exit status. */
export const main = (args: ReadonlyArray<string>, look: Look): number => {
  if (args.includes('--version')) {
    say(`passt-replay ${VERSION}`)
    return 0
  }
  const parsed = parse(args)
  if (E.isLeft(parsed)) {
    if (parsed.left === '') {
      process.stdout.write(USAGE)
      return 0
    }
    process.stderr.write(`passt-replay: ${parsed.left}\n${USAGE}`)
    return 2
  }
  try {
    return run(parsed.right, look)
  } catch (e) {
    if (!(e instanceof Unplayable) && !(e instanceof Error && 'code' in e)) throw e
    process.stderr.write(`passt-replay: ${parsed.right.file}: ${e.message}\n`)
    return 2
  }
}

const run = (asked: Asked, look: Look): number => {
  const file = octets(readFileSync(asked.file))
  const opened = openRecording(file)
  if (E.isLeft(opened)) throw new Unplayable(opened.left)
  const { recording, end } = opened.right
  const { start } = recording
  if (asked.xstate) useXstate()
  const pages = asked.html === null ? null : page()
  const step = (w: World, r: Replayed, flows: ReadonlyArray<number | null>): void => {
    const all = turnLines(w, r, flows, asked.flow)
    if (all.length === 0) return
    const { index: turn, now: ms } = r.turn
    say(asked.json ? JSON.stringify({ turn, ms, lines: all.slice(1) }) : all.join('\n'))
  }
  const each = [...(asked.step ? [step] : []), ...(pages === null ? [] : [pages.turn])]
  const outcome = replayAll(recording, end, asked, each, pages?.watch)
  const { difference, counters } = outcome
  const same = difference === null && Object.keys(counters).length === 0
  const flows = outcome.flows.filter((f) => asked.flow === null || f.index === asked.flow)
  const cut = outcome.whole ? endText(end) : null
  const heading = [
    `${start.plan.mode} ${start.version}, ${start.date}, ${start.host}`,
    `${outcome.turns} turns, ${outcome.events} events, ${outcome.effects} effects`
  ]
  if (pages !== null && asked.html !== null)
    writeFileSync(
      asked.html,
      pageHtml(
        pages.data([...heading, ...(cut === null ? [] : [`ends early: ${cut}`])], difference),
        look.script,
        look.style
      )
    )
  if (asked.json)
    say(
      JSON.stringify({
        file: asked.file,
        version: start.version,
        mode: start.plan.mode,
        date: start.date,
        host: start.host,
        turns: outcome.turns,
        events: outcome.events,
        effects: outcome.effects,
        same,
        difference,
        counters,
        end: end.why,
        cut: end.cut,
        flows
      })
    )
  else {
    for (const line of heading) say(line)
    if (asked.until !== Number.POSITIVE_INFINITY || asked.flow !== null)
      for (const f of flows) say(flowLine(f))
    if (cut !== null) say(`the record ends early: ${cut}`)
    if (difference !== null) for (const line of differenceLines(difference)) say(line)
    for (const [name, [a, b]] of Object.entries(counters))
      say(`counter ${name}: ${a} in the record, ${b} now`)
    if (same) say(`replays exactly${asked.xstate ? ' (xstate)' : ''}`)
  }
  if (asked.shrink !== null) {
    const small = shrunk(file)
    if (small === null) throw new Unplayable('nothing differs, so there is nothing to shrink')
    writeFileSync(asked.shrink, small.file)
    if (!asked.json) say(`${asked.shrink}: ${small.turns} turns, ${small.events} events`)
  }
  return same ? 0 : 1
}
