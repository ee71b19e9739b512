import { getSystemErrorName } from 'node:util'
import * as E from 'fp-ts/lib/Either.js'
import { CHANGE_MARK } from '../../codecs/control/api.js'
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
  putWindow,
  putWorld,
  RECORD_HEADER,
  type RecordBuffer,
  recordBuffer,
  recordHeader,
  sealChunk,
  windowOf
} from '../../codecs/log/record.js'
import type { Octets } from '../../codecs/value/octets.js'
import type { Rule } from '../../machines/forward/forward-rules.js'
import { ABI_WORDS, EF, EV, type Native, STATE_LOAD } from '../abi/abi.js'
import { apiOctets, kindOf } from '../abi/events.js'
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
const BUFFER = 4 * WRITTEN_AT
/** ms until it is looked again whether a record may begin. */
const AGAIN_AFTER = 10

/** Where chunks go. Both: 0, or the errno of what was lost. */
export interface RecordFile {
  /** `at`: octet of the file; behind what was written last, unless `seeks`. */
  readonly write: (chunk: Uint8Array, at: number) => number
  /** All of it goes. */
  readonly empty: () => number
  /** It can be written at any octet: then its oldest window makes room for the newest. */
  readonly seeks: boolean
}

/** What a record begins with. */
export interface RecordHead {
  /** JSON. */
  readonly start: string
  /** JSON: in the middle of a run, what the world has come to be; null: the program begins. */
  readonly world: string | null
  readonly rules: ReadonlyArray<Rule>
}
/** What becomes of it. */
export interface RecordState {
  readonly on: boolean
  /** It is to begin, or its next window, and cannot yet: why; null: it need not wait. */
  readonly waits: string | null
  /** Why it has ended: as in the file, or an errno's name; null: it is on, or never was. */
  readonly ended: string | null
  /** Octets of the file. */
  readonly octets: number
}

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
  /** `ruleText`: of a rule that comes later. */
  readonly ways: (
    ruleText: (r: Rule) => string,
    /** What there is at the end of this turn. Left: why that cannot be told yet. */
    here: () => E.Either<string, RecordHead>
  ) => void
  /** Once, before the first turn. */
  readonly begin: (head: RecordHead) => void
  /** It begins anew, with an empty file, or ends, with the end of this turn: or as soon as it can. */
  readonly ask: (on: boolean) => void
  readonly state: () => RecordState
  readonly feature: (w: World) => Feature
  /** The last chunk. */
  readonly finish: (end: RecordedEnd) => void
}

/** What is being written. What each turn calls takes it as an argument, so that V8 has compiled that before the first one (warm-up.ts). */
interface Book {
  b: RecordBuffer
  readonly file: RecordFile
  readonly size: number
  readonly data: boolean
  readonly say: (errno: number | null) => void
  /** Octets of each of both windows; 0: there is one. */
  readonly window: number
  /** Octets that are written at once. */
  readonly chunk: number
  /** Of the window that is written: its number; octets of the file where it is by now, and where it ends. */
  number: number
  at: number
  end: number
  /** It is nearly full: the next one is to begin. */
  rolls: boolean
  /** It is full: what comes until then is in neither. */
  skips: boolean
  /** Octets of the file. */
  octets: number
  /** Not before `begin`, nor after the end. */
  on: boolean
  /** It is to begin, or to end; null: neither. */
  asked: boolean | null
  waits: string | null
  ended: string | null
  here: () => E.Either<string, RecordHead>
  /** When what is there is written, however little it is. */
  readonly deadline: Deadline
  listenersChanged: boolean
  readonly listeners: Map<number, { readonly rule: Rule; readonly port: number }>
  ruleNumber: Map<Rule, number>
  /** Of a rule that comes later. */
  ruleText: (r: Rule) => string
  /** Of the state of a guest that comes: in it lie what waits in its sockets. */
  reader: typeof NEW_READER
}

const ended = (k: Book, errno: number | null): void => {
  k.on = false
  k.ended = errno === null ? 'size' : getSystemErrorName(-errno)
  k.say(errno)
}
const put = (k: Book, chunk: Uint8Array): boolean => {
  const errno = k.file.write(chunk, k.at)
  if (errno !== 0) ended(k, errno)
  k.at += chunk.length
  k.octets = Math.max(k.octets, k.at)
  return errno === 0
}
/** Is there room for these octets in front of the window's last chunk? */
const fits = (k: Book, octets: number): boolean => k.at + octets + FOR_THE_END <= k.end
/** Nothing more comes, for want of room. */
const full = (k: Book): void => {
  beginChunk(k.b)
  putEnd(k.b, JSON.stringify({ why: 'size' } satisfies RecordedEnd))
  if (put(k, sealChunk(k.b, k.number))) ended(k, null)
}
/** What is there, as a chunk. */
const flush = (k: Book): void => {
  const { b } = k
  if (isEmptyChunk(b)) return
  const chunk = sealChunk(b, k.number)
  if (fits(k, chunk.length)) put(k, chunk)
  else if (k.window > 0) k.skips = true
  else full(k)
  beginChunk(b)
  if (k.window === 0 || (!k.skips && fits(k, 2 * k.chunk))) return
  k.rolls = true
  k.deadline.at = 0
}
const due = (k: Book, now: number): void => {
  if (k.b.at * 4 >= k.chunk) flush(k)
  else if (k.deadline.at === Number.POSITIVE_INFINITY) k.deadline.at = now + WRITTEN_AFTER
}

const isWriting = (k: Book): boolean => k.on && !k.skips

/** Octets of queues become zeros. `at`: where the piece is in the buffer. */
const withoutQueues = (k: Book, piece: Octets, at: number): void => {
  const next = readState(k.reader, piece, (e) => {
    if (e.type !== 'STATE_QUEUE') return
    const from = at + e.octets.off - piece.off
    k.b.bytes.fill(0, from, from + e.octets.len)
  })
  // As migrate-in.ts does
  if (typeof next !== 'string') k.reader = next
}
/** Where they are in the buffer. */
const putOctets = (b: RecordBuffer, record: number, slab: DataView): number => {
  const { off, head, tail, len, sum, blank, blankInner } = kept
  const at = putKept(b, record, slab, off, head, tail, off + len, sum)
  if (blank >= 0) blankAt(b, at + blank)
  if (blankInner >= 0) blankAt(b, at + blankInner)
  return at
}
const blankAt = (b: RecordBuffer, at: number): void => {
  b.bytes[at] = 0
  b.bytes[at + 1] = 0
}
/** Who looks on is no part of a run: neither are questions of the API's written down, nor answers; but what it asks to be changed. */
const isAside = ({ ev, view }: World['rings'], i: number): boolean => {
  if (kindOf(ev, i) !== EV.API_OCTETS) return false
  const { off, len } = apiOctets(ev, i)
  return len === 0 || view.getUint8(off) !== CHANGE_MARK
}
const effects = (k: Book, w: World): void => {
  if (!isWriting(k)) return
  if (k.listenersChanged) changes(k, w)
  const { fx, effects: n, view } = w.rings
  let rest = n
  for (let i = 0; i < n; i++) if (fx[i * ABI_WORDS] === EF.API_SEND) rest--
  if (rest === 0) return
  const { b } = k
  putEffects(b, rest)
  for (let i = 0, at = 0; i < n; i++, at += ABI_WORDS) {
    if (fx[at] === EF.API_SEND) continue
    const record = putEffect(b, fx, at)
    if (fx[at] === EF.STATE_OPEN && fx[at + 3] === STATE_LOAD) k.reader = NEW_READER
    if (keptOfEffect(view, fx, at)) putOctets(b, record, view)
  }
  due(k, w.rings.clock[0])
}
const events = (k: Book, w: World, n: number, now: number): void => {
  if (k.on && isHandOver(w, n)) return last(k, { why: 'restart' })
  if (!isWriting(k)) return
  const { b } = k
  const { ev, view } = w.rings
  let rest = n
  for (let i = 0; i < n; i++) if (isAside(w.rings, i)) rest--
  putTurn(b, now, rest)
  if (rest === 0) return
  for (let i = 0; i < n; i++) {
    if (isAside(w.rings, i)) continue
    const record = putEvent(b, ev, i * ABI_WORDS)
    if (!keptOfEvent(view, ev, i, w.flows, k.data)) continue
    const at = putOctets(b, record, view)
    if (kindOf(ev, i) === EV.STATE_OCTETS && !k.data)
      withoutQueues(k, { view, off: kept.off, len: kept.len }, at)
  }
  due(k, now)
}
const numberOf = (k: Book, r: Rule): number => {
  const known = k.ruleNumber.get(r)
  if (known !== undefined) return known
  putRule(k.b, k.ruleText(r))
  k.ruleNumber.set(r, k.ruleNumber.size)
  return k.ruleNumber.size - 1
}
/** What listens since last time: the scan of automatic ports is not the pure part's doing, what it opens is told to that. */
const changes = (k: Book, w: World): void => {
  k.listenersChanged = false
  for (const id of k.listeners.keys())
    if (!w.listeners.has(id)) {
      putListener(k.b, id, null, 0)
      k.listeners.delete(id)
    }
  for (const [id, l] of w.listeners)
    if (k.listeners.get(id) !== l) {
      putListener(k.b, id, numberOf(k, l.rule), l.port)
      k.listeners.set(id, l)
    }
}
const last = (k: Book, end: RecordedEnd): void => {
  if (!k.on) return
  putEnd(k.b, JSON.stringify(end))
  const chunk = sealChunk(k.b, k.number)
  if (!k.skips && k.at + chunk.length <= k.end) put(k, chunk)
  else {
    // Not all of it is there, so what was counted by its end is not what comes of it
    beginChunk(k.b)
    putEnd(k.b, JSON.stringify({ why: end.why }))
    put(k, sealChunk(k.b, k.number))
  }
  beginChunk(k.b)
  if (k.on) k.ended = end.why
  k.on = false
}

/** With what there is. */
const begin = (k: Book, head: RecordHead): void => {
  k.number = 0
  k.at = 0
  k.octets = 0
  k.end = k.window === 0 ? k.size : RECORD_HEADER + k.window
  k.reader = NEW_READER
  k.on = true
  k.skips = false
  if (!put(k, recordHeader(k.window))) return
  beginChunk(k.b)
  putHead(k, head)
  const chunk = sealChunk(k.b)
  if (fits(k, chunk.length)) put(k, chunk)
  else full(k)
  beginChunk(k.b)
}
const putHead = (k: Book, head: RecordHead): void => {
  k.rolls = false
  k.listeners.clear()
  k.listenersChanged = true
  k.ruleNumber = new Map(head.rules.map((r, i) => [r, i]))
  putStart(k.b, head.start)
  if (head.world !== null) putWorld(k.b, head.world)
}
/** What is due to a world of thousands of flows is not kept. */
const lessRoom = (k: Book): void => {
  k.b = recordBuffer(BUFFER)
  beginChunk(k.b)
}
/** At the end of a turn: the next window begins, in place of the oldest one; or as soon as it can. */
const roll = (k: Book, w: World, now: number): void => {
  if (!k.skips) {
    if (k.listenersChanged) changes(k, w)
    flush(k)
  }
  const head = k.on ? k.here() : E.left('it has ended')
  k.deadline.at = now + AGAIN_AFTER
  k.waits = E.isLeft(head) && k.on ? head.left : null
  if (E.isLeft(head)) return
  // Behind a gap it is not the next one
  const number = k.number + (k.skips ? 2 : 1)
  beginChunk(k.b)
  putWindow(k.b, number, k.at)
  putHead(k, head.right)
  const chunk = sealChunk(k.b, number)
  // Else worlds would be all that there is
  if (chunk.length > k.window / 2) {
    full(k)
    return lessRoom(k)
  }
  const first = RECORD_HEADER + k.window
  k.at = k.end === first ? first : RECORD_HEADER
  k.end = k.at + k.window
  k.number = number
  k.skips = false
  k.deadline.at = Number.POSITIVE_INFINITY
  if (!put(k, chunk)) return
  lessRoom(k)
  changes(k, w)
}
/** At the end of a turn: what was asked for. */
const obey = (k: Book, w: World, now: number): void => {
  const on = k.asked
  k.asked = null
  k.waits = null
  if (on === null || w.ended !== null) return
  if (!on) return last(k, { why: 'stopped', counters: Object.fromEntries(w.counters) })
  const head = k.here()
  if (E.isLeft(head)) {
    k.asked = true
    k.waits = head.left
    k.deadline.at = now + AGAIN_AFTER
    return
  }
  const errno = k.file.empty()
  // Of a file that cannot be emptied, what is there goes on
  if (errno !== 0) return k.on ? k.say(errno) : ended(k, errno)
  begin(k, head.right)
  lessRoom(k)
  if (k.on) changes(k, w)
}

/**
 * `size`: octets that the file may have. Where it can, it has two windows, of which the older one makes room; else the record ends between two
 * turns, in front of what would exceed it. `data`: users' data as well.
 * `say`: that it has ended, before its time: null for its size, else an errno.
 */
export const recorder = (
  file: RecordFile,
  size: number,
  data: boolean,
  say: (errno: number | null) => void
): Recorder => {
  const window = file.seeks ? windowOf(size) : 0
  const k: Book = {
    b: recordBuffer(BUFFER),
    file,
    size,
    data,
    say,
    window,
    chunk: Math.min(WRITTEN_AT, window === 0 ? WRITTEN_AT : window >> 3),
    number: 0,
    at: 0,
    end: 0,
    rolls: false,
    skips: false,
    octets: 0,
    on: false,
    asked: null,
    waits: null,
    ended: null,
    here: () => E.left('nothing is there'),
    deadline: new Deadline(),
    listenersChanged: true,
    listeners: new Map(),
    ruleNumber: new Map(),
    ruleText: () => '',
    reader: NEW_READER
  }
  const door: Door = (what, asked, real) => {
    const answer = real()
    if (isWriting(k)) putAnswer(k.b, what, asked, answer)
    return answer
  }

  return {
    native: (native) => {
      const through = throughDoor(native, door)
      const changing =
        <A extends unknown[], R>(f: (...a: A) => R) =>
        (...a: A): R => {
          k.listenersChanged = true
          return f(...a)
        }
      return {
        ...through,
        listen: changing(native.listen),
        adoptListener: changing(native.adoptListener),
        closeListener: changing(native.closeListener)
      }
    },
    outside: outsideThrough(door, true),
    rules: (real) => {
      const through = rulesThrough(door, real)
      return {
        ...through,
        go: () => {
          k.listenersChanged = true
          return through.go()
        }
      }
    },
    ways: (ruleText, here) => {
      k.ruleText = ruleText
      k.here = here
    },
    begin: (head) => begin(k, head),
    ask: (on) => {
      k.asked = on
      k.deadline.at = 0
    },
    state: () => ({
      on: k.on,
      waits: k.waits,
      ended: k.on ? null : k.ended,
      octets: k.octets
    }),
    feature: (w) => ({
      name: 'record',
      deadline: k.deadline,
      // The last feature of all: what it finds is the end of the turn
      onTime: (now) => {
        k.deadline.at = Number.POSITIVE_INFINITY
        if (k.asked !== null) obey(k, w, now)
        else if (k.on && k.rolls) roll(k, w, now)
        else if (k.on) flush(k)
      },
      events: (n, now) => events(k, w, n, now),
      effects: () => effects(k, w)
    }),
    finish: (end) => last(k, end)
  }
}
