import { NEW_READER, readState } from '../../codecs/control/migration.js'
import {
  beginChunk,
  isEmptyChunk,
  putAnswer,
  putEffect,
  putEffects,
  putEnd,
  putEvent,
  putKept,
  putListener,
  putRule,
  putStart,
  putTurn,
  recordBuffer,
  recordHeader,
  sealChunk
} from '../../codecs/log/record.js'
import type { Octets } from '../../codecs/value/octets.js'
import type { Rule } from '../../machines/forward/forward-rules.js'
import { ABI_WORDS, EF, EV, type Native, STATE_LOAD } from '../abi/abi.js'
import { kindOf } from '../abi/events.js'
import type { Feature } from '../data/feature.js'
import type { Outside, World } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import { type AskRules, type Door, outsideThrough, rulesThrough, throughDoor } from './answers.js'
import { kept, keptOfEffect, keptOfEvent } from './kept.js'

// --record: everything that comes to the pure part, and the effects that it asks for, into a file (docs/replay.md). A feature as others
// are: without it nothing looks for it.

/** Octets that are written at once, and ms after which fewer are. */
const WRITTEN_AT = 64 << 10
const WRITTEN_AFTER = 200
/** Octets of the file that are left for its last chunk. */
const FOR_THE_END = 4096

/** Where chunks go. 0, or the errno of what was lost. */
export type Write = (chunk: Uint8Array) => number

/** Why nothing more comes, and what was counted by then. */
export interface RecordedEnd {
  readonly why: string
  readonly counters?: Readonly<Record<string, number>>
}

/** Another process begins to take our place. */
const isHandOver = (w: World, n: number): boolean => {
  for (let i = 0; i < n; i++) if (kindOf(w.rings.ev, i) === EV.HAND_OVER_PEER) return true
  return false
}

export interface Recorder {
  /** What handlers may ask of native, and of chance, by way of the record. */
  readonly native: <N extends Native>(native: N) => N
  readonly outside: Outside
  /** Other rules, by way of the record. */
  readonly rules: (real: AskRules) => AskRules
  /** Once, before the first turn. `start`: JSON; `ruleText`: of a rule that comes later. */
  readonly begin: (start: string, rules: ReadonlyArray<Rule>, ruleText: (r: Rule) => string) => void
  readonly feature: (w: World) => Feature
  /** The last chunk. */
  readonly finish: (end: RecordedEnd) => void
}

/**
 * `size`: octets that the file may have; the record ends between two turns, in front of what would exceed it. `data`: users' data as well.
 * `say`: that it has ended, before its time: null for its size, else an errno.
 */
export const recorder = (
  write: Write,
  size: number,
  data: boolean,
  say: (errno: number | null) => void
): Recorder => {
  const b = recordBuffer(4 * WRITTEN_AT)
  let left = size
  /** Not before `begin`, nor after the end. */
  let on = false
  let listenersChanged = true
  const listeners = new Map<number, { readonly rule: Rule; readonly port: number }>()
  let ruleNumber = new Map<Rule, number>()
  let textOf: (r: Rule) => string = () => ''

  const ended = (errno: number | null): void => {
    on = false
    say(errno)
  }
  const put = (chunk: Uint8Array): boolean => {
    const errno = write(chunk)
    if (errno !== 0) ended(errno)
    left -= chunk.length
    return errno === 0
  }
  /** What is there, as a chunk. */
  const flush = (): void => {
    if (isEmptyChunk(b)) return
    const chunk = sealChunk(b)
    if (chunk.length + FOR_THE_END <= left) put(chunk)
    else {
      beginChunk(b)
      putEnd(b, JSON.stringify({ why: 'size' } satisfies RecordedEnd))
      if (put(sealChunk(b))) ended(null)
    }
    beginChunk(b)
  }
  /** Of the state of a guest that comes: in it lie what waits in its sockets. */
  let reader = NEW_READER
  /** `at`: where the piece is in the buffer. Octets of queues become zeros there. */
  const withoutQueues = (piece: Octets, at: number): void => {
    const next = readState(reader, piece, (e) => {
      if (e.type !== 'STATE_QUEUE') return
      const from = at + e.octets.off - piece.off
      b.bytes.fill(0, from, from + e.octets.len)
    })
    // As migrate-in.ts does
    if (typeof next !== 'string') reader = next
  }
  /** Where they are in the buffer. */
  const putOctets = (record: number, slab: Uint8Array): number => {
    const { off, head, tail, len, sum, blank, blankInner } = kept
    const at = putKept(b, record, slab, off, head, tail, off + len, sum)
    if (blank >= 0) b.bytes.fill(0, at + blank, at + blank + 2)
    if (blankInner >= 0) b.bytes.fill(0, at + blankInner, at + blankInner + 2)
    return at
  }
  const effects = (w: World): void => {
    const { fx, effects: n, view, slab } = w.rings
    putEffects(b, n)
    for (let i = 0, at = 0; i < n; i++, at += ABI_WORDS) {
      const record = putEffect(b, fx, at)
      if (fx[at] === EF.STATE_OPEN && fx[at + 3] === STATE_LOAD) reader = NEW_READER
      if (keptOfEffect(view, fx, at)) putOctets(record, slab)
    }
  }
  const events = (w: World, n: number): void => {
    const { ev, view, slab } = w.rings
    for (let i = 0; i < n; i++) {
      const record = putEvent(b, ev, i * ABI_WORDS)
      if (!keptOfEvent(view, ev, i, w.flows, data)) continue
      const at = putOctets(record, slab)
      if (kindOf(ev, i) === EV.STATE_OCTETS && !data)
        withoutQueues({ view, off: kept.off, len: kept.len }, at)
    }
  }
  const numberOf = (r: Rule): number => {
    const known = ruleNumber.get(r)
    if (known !== undefined) return known
    putRule(b, textOf(r))
    ruleNumber.set(r, ruleNumber.size)
    return ruleNumber.size - 1
  }
  /** What listens since last time: the scan of automatic ports is not the pure part's doing, what it opens is told to that. */
  const changes = (w: World): void => {
    listenersChanged = false
    for (const id of listeners.keys())
      if (!w.listeners.has(id)) {
        putListener(b, id, null, 0)
        listeners.delete(id)
      }
    for (const [id, l] of w.listeners)
      if (listeners.get(id) !== l) {
        putListener(b, id, numberOf(l.rule), l.port)
        listeners.set(id, l)
      }
  }
  const last = (end: RecordedEnd): void => {
    if (!on) return
    putEnd(b, JSON.stringify(end))
    flush()
    on = false
  }
  const door: Door = (what, asked, real) => {
    const answer = real()
    if (on) putAnswer(b, what, asked, answer)
    return answer
  }

  return {
    native: (native) => {
      const through = throughDoor(native, door)
      const changing =
        <A extends unknown[], R>(f: (...a: A) => R) =>
        (...a: A): R => {
          listenersChanged = true
          return f(...a)
        }
      return {
        ...through,
        listen: changing(native.listen),
        adoptListener: changing(native.adoptListener),
        closeListener: changing(native.closeListener)
      }
    },
    outside: outsideThrough(door),
    rules: (real) => {
      const through = rulesThrough(door, real)
      return {
        ...through,
        go: () => {
          listenersChanged = true
          return through.go()
        }
      }
    },
    begin: (start, rules, ruleText) => {
      textOf = ruleText
      ruleNumber = new Map(rules.map((r, i) => [r, i]))
      beginChunk(b)
      on = true
      if (!put(recordHeader())) return
      putStart(b, start)
      flush()
    },
    feature: (w) => {
      const deadline = new Deadline()
      const due = (now: number): void => {
        if (b.at * 4 >= WRITTEN_AT) flush()
        else if (deadline.at === Number.POSITIVE_INFINITY) deadline.at = now + WRITTEN_AFTER
      }
      return {
        name: 'record',
        deadline,
        onTime: () => {
          deadline.at = Number.POSITIVE_INFINITY
          if (on) flush()
        },
        events: (n, now) => {
          if (!on) return
          if (isHandOver(w, n)) return last({ why: 'restart' })
          putTurn(b, now, n)
          if (n === 0) return
          events(w, n)
          due(now)
        },
        effects: () => {
          if (!on) return
          if (listenersChanged) changes(w)
          if (w.rings.effects === 0) return
          effects(w)
          due(w.rings.clock[0])
        }
      }
    },
    finish: last
  }
}
