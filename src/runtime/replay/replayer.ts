import type { Kept, RingRecord } from '../../codecs/log/record.js'
import { sameOctets } from '../../codecs/value/octets.js'
import { instant } from '../../effects/effect.js'
import { NO_NEIGHBOURS } from '../../machines/address/neighbours.js'
import { ABI_WORDS, EV, SIDE_1 } from '../abi/abi.js'
import { dropEffects, type LoopNative, MAX_EVENTS, openRings, type Rings } from '../abi/rings.js'
import { install } from '../data/feature.js'
import { createWorld, type Ended, type World } from '../data/world.js'
import { actingFeatures } from '../engine/features.js'
import { linkClientOf } from '../engine/guest-link.js'
import { rulesNow } from '../engine/live-rules.js'
import { handleTurn } from '../engine/loop.js'
import { parseRule } from '../engine/start-record.js'
import { neighbourConfig, worldConfig } from '../engine/world-config.js'
import { readWorld } from '../engine/written-world.js'
import { MAX_FLOWS } from '../flow/flow-table.js'
import type { Listeners } from '../flow/listener.js'
import { logTo } from '../log/log.js'
import { ASK, type Door, outsideThrough, rulesThrough, throughDoor } from '../record/answers.js'
import { kept, keptOfEffect } from '../record/kept.js'
import { macBy } from '../services/neighbours.js'
import { type Difference, firstDifference, type Made, type Part } from './compare.js'
import { effectFlow, flowOfEvent } from './flow-of.js'
import type { Answer, ListenerChange, RecordedTurn, Recording } from './recording.js'

// The world of a record, made anew: the same loop, features and machines, with a native that is played from the file.

/** A record that names what cannot be. */
export class Unplayable extends Error {}

const KINDS = new Set<number>(Object.values(EV))
const NAMES = new Map<number, string>(Object.entries(ASK).map(([name, n]) => [n, name]))

/** Answers in the order of the record. `trouble`: what was asked for otherwise. */
interface Answers {
  queue: ReadonlyArray<Answer>
  next: number
  trouble: string | null
  /** What has no answer is given one, of zeros: the record was shrunk. */
  readonly lenient: boolean
}
/** Room for as many numbers as can be asked for. */
const zeros = (asked: Uint8Array): Uint8Array =>
  new Uint8Array(asked.length === 0 ? 0 : 64 + 8 * asked.length)
const played =
  (a: Answers): Door =>
  (what, asked) => {
    if (a.lenient) {
      const fits = a.queue.find((one) => one.to === what && sameOctets(one.asked, asked))
      return fits?.answer ?? zeros(asked)
    }
    const answer = a.queue[a.next++]
    const name = NAMES.get(what)
    if (answer === undefined) a.trouble ??= `${name} was asked for, which the record has no answer to`
    else if (answer.to !== what)
      a.trouble ??= `${name} was asked for in place of ${NAMES.get(answer.to) ?? answer.to}`
    else if (!sameOctets(answer.asked, asked)) a.trouble ??= `${name} was asked for of others`
    else return answer.answer
    return zeros(asked)
  }

const NO_LISTENERS = { begin: () => {}, go: () => null }

const nativeOf = (door: Door, clock: () => number): LoopNative => {
  const nothing = (): never => {
    throw new Error('nobody is asked in a replay')
  }
  return throughDoor(
    {
      open: ({ txSize, rxSize, effects, events }) => ({
        slab: new ArrayBuffer(txSize + rxSize),
        effects: new ArrayBuffer(effects * ABI_WORDS * 4),
        events: new ArrayBuffer(events * ABI_WORDS * 4),
        clock: new ArrayBuffer(16)
      }),
      turn: nothing,
      carryOut: () => {},
      now: clock,
      writeNow: () => 0,
      memoryOf: nothing,
      localEnds: nothing,
      pauseListener: nothing,
      resumeListener: nothing,
      closeHard: nothing,
      localEnd: nothing,
      linkRest: nothing,
      vhostHeld: nothing,
      closeListener: nothing
    },
    door
  )
}

/** Octets of a record to their place in the slab, zeros with the same sum where others were. */
const putBack = (r: Rings, off: number, len: number, k: Kept): void => {
  if (off < 0 || len < 0 || off + len > r.slab.length || k.head.length + k.tail.length > len)
    throw new Unplayable('octets of a record lie outside of the slab')
  r.slab.set(k.head, off)
  r.slab.set(k.tail, off + len - k.tail.length)
  if (k.sum === null) return
  const from = off + k.head.length
  const n = len - k.head.length - k.tail.length
  r.slab.fill(0, from, from + n)
  if (n > 1) r.view.setUint16(from, k.sum)
  else if (n === 1) r.slab[from] = k.sum >>> 8
}

const recordOf = (r: Rings, i: number): RingRecord => {
  const at = i * ABI_WORDS
  const words = Array.from(r.fx.subarray(at, at + ABI_WORDS))
  if (!keptOfEffect(r.view, r.fx, at)) return { words, kept: null }
  const { off, len, head, tail, blank, blankInner } = kept
  const first = r.slab.slice(off, off + head)
  for (const place of [blank, blankInner]) if (place >= 0) first.fill(0, place, place + 2)
  return { words, kept: { head: first, tail: r.slab.slice(off + len - tail, off + len), sum: null } }
}

/** What one turn led to. */
export interface Replayed {
  readonly turn: RecordedTurn
  readonly made: ReadonlyArray<Part>
  /** What flows did, in words. */
  readonly lines: ReadonlyArray<string>
  readonly difference: Difference | null
  /** What was asked for, and the answers: initial sequence numbers as well, wherever they are from. */
  readonly answers: ReadonlyArray<Answer>
}

export interface Replayer {
  readonly world: World
  /** Not after the end of the world. */
  readonly turn: (t: RecordedTurn) => Replayed
  readonly ended: () => Ended | null
  /** Index of the event that is being handled; -1: none, but time or the end of the turn. */
  readonly cause: () => number
}

/** Throws Unplayable, as `turn` does. */
export const replayer = (recording: Pick<Recording, 'start' | 'world' | 'listeners'>): Replayer => {
  const { start } = recording
  const { only } = start
  const answers: Answers = { queue: [], next: 0, trouble: null, lenient: only !== undefined }
  const door = played(answers)
  let given: Answer[] = []
  const noted: Door = (to, asked, real) => {
    const answer = to === ASK.INITIAL_SEQUENCE && start.aliased !== true ? real() : door(to, asked, real)
    given.push({ type: 'Answer', to, asked: asked.slice(), answer })
    return answer
  }
  let now = 0
  let lines: string[] = []
  const rings = openRings(
    nativeOf(noted, () => now),
    2 * SIDE_1
  )
  const log = logTo([{ level: 'debug', write: (_ms, _level, text) => void lines.push(text) }], 0, () => now)
  const neighbours = start.neighbours ? { config: neighbourConfig(start.plan), table: NO_NEIGHBOURS } : null
  const listeners: Listeners = new Map()
  const rules = [...start.rules]
  const listen = (all: ReadonlyArray<ListenerChange>): void => {
    for (const change of all) {
      if (change.type === 'Rule') {
        const came = parseRule(change.json)
        if (came === null) throw new Unplayable('a rule that is none')
        rules.push(came)
        continue
      }
      const { id, rule, port } = change
      const known = rule === null ? null : rules[rule]
      if (known === undefined) throw new Unplayable(`listener ${id} is of a rule that there is not`)
      if (known === null) listeners.delete(id)
      else listeners.set(id, { rule: known, port })
    }
  }
  const cfg = worldConfig(start.plan, { ...start.found, macOf: macBy(start.plan.ownMac, neighbours) })
  const world = createWorld(cfg, rings, log, new Map(), listeners, MAX_FLOWS, outsideThrough(noted, false))
  world.links = start.found.links
  install(
    world.features,
    actingFeatures(world, start.plan, {
      neighbours,
      host: start,
      follow: null,
      portScan: null,
      client: linkClientOf(start.client),
      api: null,
      rules: { now: rulesNow(start.rules), door: rulesThrough(door, NO_LISTENERS) }
    })
  )
  listen(recording.listeners)
  const misfit = recording.world === null ? null : readWorld(world, recording.world)
  if (misfit !== null) throw new Unplayable(misfit)

  // Which event an effect is due to; -1: to time, or to the end of the turn.
  let event = -1
  let causes: number[] = []
  const attribute = (): void => {
    while (causes.length < rings.effects) causes.push(event)
  }
  const { takers } = world.features
  for (const [kind, take] of takers.entries())
    takers[kind] = (i, at) => {
      event = i
      try {
        take(i, at)
      } finally {
        attribute()
        event = -1
      }
    }

  let made: Part[] = []
  const collect = (): void => {
    attribute()
    if (rings.effects > 0) {
      const part: Made[] = []
      for (let i = 0; i < rings.effects; i++) part.push({ record: recordOf(rings, i), event: causes[i] })
      made.push(part)
    }
    causes = []
  }
  rings.watch = collect
  let ended: Ended | null = null
  /** Of the one flow that there is, in place of the handle that it had when it was recorded. */
  const handleHere = (handle: number): number => {
    const index = world.flows.findIndex((f) => f !== undefined)
    return index < 0 ? handle : index + (handle - (handle % SIDE_1))
  }
  /** Of the one flow: its own, or due to an event of its own. */
  const isMine = (m: Made): boolean => m.event >= 0 || effectFlow(world, m.record) !== null

  return {
    world,
    ended: () => ended,
    cause: () => event,
    turn: (t) => {
      if (t.events.length > MAX_EVENTS) throw new Unplayable(`a turn of ${t.events.length} events`)
      answers.queue = t.answers
      answers.next = 0
      answers.trouble = null
      made = []
      lines = []
      given = []
      now = t.now
      rings.clock[0] = t.now
      for (const [i, { words, kept: k }] of t.events.entries()) {
        if (!KINDS.has(words[0])) throw new Unplayable(`an event of kind ${words[0]}, which there is not`)
        rings.ev.set(words, i * ABI_WORDS)
        if (only !== undefined && flowOfEvent({ words, kept: k }) === only)
          rings.ev[i * ABI_WORDS + 1] = handleHere(words[1])
        if (k !== null) putBack(rings, words[2], words[3], k)
      }
      ended = handleTurn(world, t.events.length, instant(t.now))
      collect()
      if (only !== undefined && only >= 0) made = made.map((part) => part.filter(isMine))
      if (answers.trouble === null && answers.next < t.answers.length && !t.isLast && !answers.lenient)
        answers.trouble = `${NAMES.get(t.answers[answers.next].to)} was not asked for`
      const difference = firstDifference(t, made, answers.trouble, only !== undefined)
      dropEffects(rings)
      listen(t.listeners)
      return { turn: t, made, lines, difference, answers: given }
    }
  }
}
