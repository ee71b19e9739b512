import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync
} from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import { octets } from '../../codecs/value/octets.js'
import { VERSION } from '../cli/help.js'
import { print } from '../cli/print.js'
import type { World } from '../data/world.js'
import { reasonText } from '../log/error-text.js'
import { anonymized } from './anonymize.js'
import { eventFlow } from './flow-of.js'
import { parseReplayOptions, type ReplayOptions, USAGE } from './options.js'
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
  o: Pick<ReplayOptions, 'until'>,
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
  stopped: 'recording was stopped, the program went on',
  error: 'the program ended by an error'
}
const endText = (e: RecordEnd): string | null =>
  e.cut ?? (e.why === null ? 'nobody wrote its end: the program was killed, or runs' : (ENDS[e.why] ?? null))

/** What a page looks like: its script and its style, as the build has made them of src/page. */
export interface Look {
  readonly script: string
  readonly style: string
}

/** Where a program's words go. */
export type Print = (fd: 1 | 2, text: string) => void

/** Files that are read and written. */
class Trouble extends Error {}
const onFile = <A>(path: string, work: () => A): A => {
  try {
    return work()
  } catch (e) {
    throw new Trouble(`${path}: ${reasonText(e)}`)
  }
}
const idOf = (path: string): string => {
  const found = onFile(path, () => statSync(path, { throwIfNoEntry: false }))
  return found === undefined ? path : `${found.dev}:${found.ino}`
}
/** Before anything is written: no file is written over the record, nor two over each other. */
const heldApart = (o: ReplayOptions): void => {
  const seen = new Set([idOf(o.file)])
  for (const out of [o.html, o.shrink, o.anonymize]) {
    if (out === null) continue
    if (seen.has(idOf(out))) throw new Trouble(`${out}: it would be overwritten, name another file`)
    seen.add(idOf(out))
  }
}
/** What comes of a record says who spoke to whom, so it is ours alone, as the record is. What is made to be handed on is not. */
const OURS_ALONE = 0o600
const FOR_OTHERS = 0o666
/** As programs open what they write: no file of another user's, and none that another user's link leads to (passt(1), NOTES). */
const openToWrite = (path: string, mode: number): number => {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_NOCTTY
  const link = lstatSync(path, { throwIfNoEntry: false })
  const me = process.geteuid?.()
  // /dev/stdout and its like: root's links to what the caller has opened
  const given = path.startsWith('/dev/')
  const ours = link?.isSymbolicLink() === true && [0, me].includes(link.uid)
  const fd = openSync(path, given || ours ? flags : flags | constants.O_NOFOLLOW, mode)
  const file = fstatSync(fd)
  if ((file.isFile() || file.isFIFO()) && !given && file.uid !== me) {
    closeSync(fd)
    throw new Error('the file that is there belongs to another user')
  }
  if (file.isFile()) ftruncateSync(fd)
  if (file.isFile() && file.uid === me && mode === OURS_ALONE) fchmodSync(fd, mode)
  return fd
}
const save = (path: string, content: string | Uint8Array, mode: number): void =>
  onFile(path, () => {
    const fd = openToWrite(path, mode)
    try {
      writeFileSync(fd, content)
    } finally {
      closeSync(fd)
    }
  })

/** Exit status. */
export const main = (args: ReadonlyArray<string>, look: Look, out: Print = print): number => {
  try {
    return answer(args, look, out)
  } catch (e) {
    if (!(e instanceof Trouble) && !(e instanceof Error && 'code' in e)) throw e
    out(2, `passt-replay: ${reasonText(e)}\n`)
    return 2
  }
}

const answer = (args: ReadonlyArray<string>, look: Look, out: Print): number => {
  const command = parseReplayOptions(args)
  if (E.isLeft(command)) {
    out(2, `passt-replay: ${command.left} (--help)\n`)
    return 2
  }
  switch (command.right.tag) {
    case 'Help':
      out(1, USAGE)
      return 0
    case 'Version':
      out(1, `passt-replay ${VERSION}\n`)
      return 0
    case 'Replay':
      try {
        return run(command.right.options, look, (text) => out(1, `${text}\n`))
      } catch (e) {
        throw e instanceof Unplayable ? new Trouble(`${command.right.options.file}: ${e.message}`) : e
      }
  }
}

/** Octets of what aliases are chosen by; nobody keeps it. */
const KEY = 32

const run = (asked: ReplayOptions, look: Look, say: (line: string) => void): number => {
  heldApart(asked)
  const file = octets(onFile(asked.file, () => readFileSync(asked.file)))
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
    `${outcome.turns} turns, ${outcome.events} events, ${outcome.effects} effects`,
    ...(recording.world === null ? [] : ['begins in the middle of a run'])
  ]
  if (pages !== null && asked.html !== null)
    save(
      asked.html,
      pageHtml(
        pages.data([...heading, ...(cut === null ? [] : [`ends early: ${cut}`])], difference),
        look.script,
        look.style
      ),
      OURS_ALONE
    )
  if (asked.json)
    say(
      JSON.stringify({
        file: asked.file,
        version: start.version,
        mode: start.plan.mode,
        date: start.date,
        host: start.host,
        begins: recording.world === null ? 'start' : 'middle',
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
    save(asked.shrink, small.file, OURS_ALONE)
    if (!asked.json) say(`${asked.shrink}: ${small.turns} turns, ${small.events} events`)
  }
  if (asked.anonymize !== null) save(asked.anonymize, anonymized(file, randomBytes(KEY)), FOR_OTHERS)
  return same ? 0 : 1
}
