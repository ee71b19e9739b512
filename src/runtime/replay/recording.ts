import * as E from 'fp-ts/lib/Either.js'
import { type RecordItem, type RingRecord, recordItems, windowsIn } from '../../codecs/log/record.js'
import type { Octets } from '../../codecs/value/octets.js'
import { parseStart, type StartRecord } from '../engine/start-record.js'

// A record as turns: what came, what was asked meanwhile, what was to be done.

export type Answer = Extract<RecordItem, { readonly type: 'Answer' }>
/** What listens, and the rules that it is by. */
export type ListenerChange = Extract<RecordItem, { readonly type: 'Listener' | 'Rule' }>

export interface RecordedTurn {
  /** From 1. */
  readonly index: number
  readonly now: number
  readonly events: ReadonlyArray<RingRecord>
  readonly answers: ReadonlyArray<Answer>
  /** Carried out one list after the other: more than one where the ring was full. */
  readonly effects: ReadonlyArray<ReadonlyArray<RingRecord>>
  /** From the end of the turn on. */
  readonly listeners: ReadonlyArray<ListenerChange>
  /** The record ends with it: what it led to need not be there. */
  readonly isLast: boolean
}
export interface Recording {
  readonly start: StartRecord
  /** JSON: it begins in the middle, with this; null: with the program (engine/written-world.ts). */
  readonly world: string | null
  /** From the start on. */
  readonly listeners: ReadonlyArray<ListenerChange>
  readonly turns: Iterable<RecordedTurn>
}
/** How it ends. */
export interface RecordEnd {
  /** 'stop', 'tap-gone', 'error', 'size'; null: nobody wrote an end, as when it was killed. */
  readonly why: string | null
  /** By name; null: not known. */
  readonly counters: Readonly<Record<string, number>> | null
  /** Why nothing more can be read; null: all was. */
  readonly cut: string | null
}

const parseEnd = (json: string): Omit<RecordEnd, 'cut'> => {
  try {
    const v: unknown = JSON.parse(json)
    if (typeof v !== 'object' || v === null || !('why' in v)) return { why: null, counters: null }
    const counters = 'counters' in v && typeof v.counters === 'object' ? v.counters : null
    return { why: String(v.why), counters: counters as RecordEnd['counters'] }
  } catch {
    return { why: null, counters: null }
  }
}

const OF_THE_START: ReadonlySet<RecordItem['type']> = new Set(['Answer', 'Effects', 'Effect'])

/** Items of one turn, as far as they came. */
interface Gathered {
  readonly index: number
  readonly now: number
  readonly wanted: number
  readonly events: RingRecord[]
  readonly answers: Answer[]
  readonly effects: { readonly wanted: number; readonly list: RingRecord[] }[]
  readonly listeners: ListenerChange[]
}
const turnOf = (g: Gathered, isLast: boolean): RecordedTurn => ({
  index: g.index,
  now: g.now,
  events: g.events,
  answers: g.answers,
  effects: g.effects.map((e) => e.list),
  listeners: g.listeners,
  isLast
})
const isWhole = (g: Gathered): boolean =>
  g.events.length === g.wanted && g.effects.every((e) => e.list.length === e.wanted)

/** Adds the item to the turn. Not null: it has no place there. */
const gather = (g: Gathered, i: RecordItem): string | null => {
  switch (i.type) {
    case 'Event':
      if (g.events.length >= g.wanted || g.effects.length > 0) return 'an event out of place'
      g.events.push(i)
      return null
    case 'Effect': {
      const part = g.effects.at(-1)
      if (part === undefined || part.list.length >= part.wanted) return 'an effect out of place'
      part.list.push(i)
      return null
    }
    case 'Effects':
      if (!isWhole(g)) return 'effects are missing'
      g.effects.push({ wanted: i.effects, list: [] })
      return null
    case 'Answer':
      g.answers.push(i)
      return null
    case 'Listener':
    case 'Rule':
      g.listeners.push(i)
      return null
    default:
      return `'${i.type}' within a turn`
  }
}

const OF_A_HEAD: ReadonlySet<RecordItem['type']> = new Set(['Window', 'Start', 'World', 'Listener', 'Rule'])
const rulesIn = (json: string): string => {
  const start = parseStart(json)
  return E.isRight(start) ? JSON.stringify(start.right.rules) : ''
}
/** Are its windows, if there are two, one record? Rules are called by their numbers, which another window may give to others. */
const isOne = (file: Octets): boolean => {
  if (windowsIn(file) < 2) return true
  const rules = new Set<string>()
  for (const i of recordItems(file)) {
    if (i.type === 'Rule') return false
    if (i.type === 'Start') rules.add(rulesIn(i.json))
  }
  return rules.size === 1
}

/** Left: it is no record that can be read. `end` is filled in once all turns were taken. */
export const openRecording = (
  file: Octets
): E.Either<string, { readonly recording: Recording; readonly end: RecordEnd }> => {
  const items = recordItems(file, !isOne(file))
  let first = items.next()
  if (first.done !== true && first.value.type === 'Window') first = items.next()
  if (first.done === true) return E.left(first.value ?? 'a record without a start')
  if (first.value.type !== 'Start') return E.left('a record that begins without a start')
  const start = parseStart(first.value.json)
  if (E.isLeft(start)) return E.left(start.left)
  const end: { -readonly [K in keyof RecordEnd]: RecordEnd[K] } = { why: null, counters: null, cut: null }
  const listeners: ListenerChange[] = []
  let next = items.next()
  let world: string | null = null
  if (next.done !== true && next.value.type === 'World') {
    world = next.value.json
    next = items.next()
  }
  while (next.done !== true && (next.value.type === 'Listener' || next.value.type === 'Rule')) {
    listeners.push(next.value)
    next = items.next()
  }
  function* turns(): Generator<RecordedTurn> {
    let g: Gathered | null = null
    let index = 0
    let inHead = false
    for (; next.done !== true; next = items.next()) {
      const i = next.value
      // What it begins with is what the one before it has led to
      if (i.type === 'Window') inHead = true
      if (inHead && OF_A_HEAD.has(i.type)) continue
      inHead = false
      if (i.type === 'Turn') {
        if (g !== null && !isWhole(g)) {
          end.cut = `turn ${g.index} is not whole`
          return
        }
        if (g !== null) yield turnOf(g, false)
        index++
        g = { index, now: i.now, wanted: i.events, events: [], answers: [], effects: [], listeners: [] }
      } else if (i.type === 'End') {
        Object.assign(end, parseEnd(i.json))
        break
      } else {
        // What was done in front of the first turn is the start's doing, and not compared
        if (g === null && OF_THE_START.has(i.type)) continue
        const fault: string | null = g === null ? `'${i.type}' in front of the first turn` : gather(g, i)
        if (fault === null) continue
        end.cut = `${fault} (turn ${index})`
        g = null
        break
      }
    }
    if (next.done === true && next.value !== null) end.cut = next.value
    // Without all of its events nothing can be said of it
    if (g !== null && g.events.length === g.wanted) yield turnOf(g, true)
  }
  return E.right({ recording: { start: start.right, world, listeners, turns: turns() }, end })
}
