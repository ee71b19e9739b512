import { isDeepStrictEqual } from 'node:util'
import * as E from 'fp-ts/lib/Either.js'
import { encodeRecording, type RecordItem, type RingRecord } from '../../codecs/log/record.js'
import type { Octets } from '../../codecs/value/octets.js'
import type { World } from '../data/world.js'
import { type StartRecord, startText } from '../engine/start-record.js'
import type { Flow } from '../flow/flow.js'
import type { Difference } from './compare.js'
import { effectFlow, eventFlow } from './flow-of.js'
import { type ListenerChange, openRecording, type RecordedTurn, type Recording } from './recording.js'
import { type Replayed, replayer, Unplayable } from './replayer.js'

// A difference by as little as shows it: what comes behind it goes, then what is of other flows, then any turns and events that it does
// not take. It is the same difference as long as everything in front of it is still as recorded, and its flow is in the same state when that
// turn begins: then the machine that was recorded does what it did.

/** What is left of a record. */
interface Less {
  readonly start: StartRecord
  readonly world: string | null
  readonly listeners: ReadonlyArray<ListenerChange>
  readonly turns: ReadonlyArray<RecordedTurn>
}

const same = (a: Difference, b: Difference | null): boolean =>
  b !== null &&
  b.now === a.now &&
  b.what === a.what &&
  b.recorded?.words[0] === a.recorded?.words[0] &&
  b.made?.words[0] === a.made?.words[0]

/** A flow's state, undefined: there is none. */
type Before = Flow['state'] | undefined
const stateIn = (w: World, index: number | null, isAlone: boolean): Before =>
  (isAlone ? w.flows.find((f) => f !== undefined) : w.flows[index ?? -1])?.state

/** Does its last turn still show `d`, and nothing before that, and begin with this state of the flow at `index`? */
const shows = (l: Less, d: Difference, before: Before, index: number | null): boolean => {
  try {
    const p = replayer(l)
    for (const [i, t] of l.turns.entries()) {
      if (
        i === l.turns.length - 1 &&
        !isDeepStrictEqual(stateIn(p.world, index, (l.start.only ?? -1) >= 0), before)
      )
        return false
      const { difference } = p.turn(t)
      if (difference !== null) return same(d, difference)
      if (p.ended() !== null) return false
    }
  } catch (e) {
    if (!(e instanceof Unplayable)) throw e
  }
  return false
}

/** A turn, and of which flow its events and recorded effects are, null: none's that is known. */
interface Told {
  readonly turn: RecordedTurn
  readonly events: ReadonlyArray<number | null>
  readonly effects: ReadonlyArray<number | null>
  /** The flow at the index in question, when it had been handled. */
  readonly flow: Flow | undefined
}

const told = (
  r: Replayed,
  before: ReadonlyArray<number | null>,
  of: { readonly event: (e: RingRecord) => number | null; readonly effect: (e: RingRecord) => number | null },
  flow: Flow | undefined
): Told => {
  const made = r.made.flat()
  // What begins a flow belongs to it
  const begins = (i: number): number | null =>
    made.filter((m) => m.event === i).reduce((flow: number | null, m) => flow ?? of.effect(m.record), null)
  const events = r.turn.events.map((e, i) => before[i] ?? of.event(e) ?? begins(i))
  const effects = r.turn.effects.flat().map((e, i) => {
    const cause = made[i]?.event ?? -1
    return of.effect(e) ?? (cause < 0 ? null : (events[cause] ?? null))
  })
  return { turn: r.turn, events, effects, flow }
}

/** Only what is of this flow, from its beginning on. */
const project = (l: Less, all: ReadonlyArray<Told>, index: number): Less => {
  const last = all.at(-1)?.flow ?? all.at(-2)?.flow
  const first = Math.max(
    0,
    all.findIndex((t) => t.flow === last && last !== undefined)
  )
  const listeners = [...l.listeners, ...all.slice(0, first).flatMap((t) => t.turn.listeners)]
  const turns = all.slice(first).map(
    ({ turn, events, effects }): RecordedTurn => ({
      ...turn,
      events: turn.events.filter((_, i) => events[i] === index),
      effects: [turn.effects.flat().filter((_, i) => effects[i] === index)]
    })
  )
  return { ...l, start: { ...l.start, only: index }, listeners, turns }
}

/** Replays that shrinking may take. */
const TRIES = 300

/** `list` without what `fits` does not need: first halves, then ever smaller pieces. */
const minimal = <A>(list: ReadonlyArray<A>, fits: (l: ReadonlyArray<A>) => boolean): ReadonlyArray<A> => {
  let left = list
  for (let size = left.length >> 1; size >= 1; size >>= 1)
    for (let at = 0; at < left.length; ) {
      const less = [...left.slice(0, at), ...left.slice(at + size)]
      if (fits(less)) left = less
      else at += size
    }
  return left
}

const itemsOf = (l: Less): ReadonlyArray<RecordItem> => {
  const turn = (t: RecordedTurn): ReadonlyArray<RecordItem> => {
    const effects = t.effects.flat()
    return [
      { type: 'Turn', now: t.now, events: t.events.length },
      ...t.events.map((e): RecordItem => ({ type: 'Event', words: e.words, kept: e.kept })),
      ...t.answers,
      ...t.listeners,
      ...(effects.length === 0 ? [] : [{ type: 'Effects', effects: effects.length } as const]),
      ...effects.map((e): RecordItem => ({ type: 'Effect', words: e.words, kept: e.kept }))
    ]
  }
  return [
    { type: 'Start', json: startText(l.start) },
    ...(l.world === null ? [] : [{ type: 'World', json: l.world } as const]),
    ...l.listeners,
    ...l.turns.flatMap(turn),
    // Of the last turn of a record nobody knows whether its effects were carried out: the one that counts is not the last
    { type: 'Turn', now: l.turns.at(-1)?.now ?? 0, events: 0 },
    { type: 'End', json: JSON.stringify({ why: 'shrunk' }) }
  ]
}

export interface Shrunk {
  readonly file: Uint8Array
  readonly turns: number
  readonly events: number
}

const open = (file: Octets): Recording => {
  const opened = openRecording(file)
  if (E.isLeft(opened)) throw new Unplayable(opened.left)
  return opened.right.recording
}

/** Null: nothing differs. Throws Unplayable. */
export const shrunk = (file: Octets): Shrunk | null => {
  const { start, world, listeners } = open(file)
  const found = firstOf(open(file), null)
  if (found === null) return null
  const { difference } = found
  const index = found.index
  // Again, to see when that flow was there
  const { all, before } = index === null ? found : (firstOf(open(file), index) ?? found)
  const whole: Less = {
    start: { ...start, only: start.only ?? -1 },
    world,
    listeners,
    turns: all.map((t) => t.turn)
  }
  // What a world has of other flows cannot be left out
  const alone =
    index === null || start.only !== undefined || world !== null ? whole : project(whole, all, index)
  let tries = 0
  const fits = (l: Less): boolean => tries++ < TRIES && shows(l, difference, before, index)
  let less = shows(alone, difference, before, index) ? alone : whole
  if (!shows(less, difference, before, index)) less = { ...whole, start }
  const last = less.turns.slice(-1)
  const front = minimal(less.turns.slice(0, -1), (turns) => fits({ ...less, turns: [...turns, ...last] }))
  less = { ...less, turns: [...front, ...last] }
  // What comes in the turn itself is what it takes
  for (const [i, t] of less.turns.slice(0, -1).entries()) {
    const withEvents = (events: RecordedTurn['events']): Less => ({
      ...less,
      turns: less.turns.map((one, j) => (j === i ? { ...one, events } : one))
    })
    less = withEvents(minimal(t.events, (events) => fits(withEvents(events))))
  }
  return {
    file: encodeRecording(itemsOf(less)),
    turns: less.turns.length,
    events: less.turns.reduce((n, t) => n + t.events.length, 0)
  }
}

interface Found {
  readonly all: ReadonlyArray<Told>
  readonly difference: Difference
  /** Of the flow that it is about; null: none's. */
  readonly index: number | null
  /** Its state when that turn began, if it was watched. */
  readonly before: Before
}
/** Up to the first difference; null: nothing differs. `watched`: index of the flow to be noted. */
const firstOf = (recording: Recording, watched: number | null): Found | null => {
  const p = replayer(recording)
  const w = p.world
  const of = {
    event: (e: RingRecord): number | null => eventFlow(w, e),
    effect: (e: RingRecord): number | null => effectFlow(w, e)
  }
  const all: Told[] = []
  for (const t of recording.turns) {
    const flows = t.events.map(of.event)
    const before = watched === null ? undefined : w.flows[watched]?.state
    const r = p.turn(t)
    const here = told(r, flows, of, watched === null ? undefined : w.flows[watched])
    all.push(here)
    const d = r.difference
    if (d !== null) {
      const at = (e: RingRecord | null): number | null => (e === null ? null : of.effect(e))
      const cause = d.event === null ? null : (here.events[d.event] ?? null)
      return { all, difference: d, index: at(d.made) ?? at(d.recorded) ?? cause, before }
    }
    if (p.ended() !== null) return null
  }
  return null
}
