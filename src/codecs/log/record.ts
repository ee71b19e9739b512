import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { bytesOf, joined, type Octets, sub } from '../value/octets.js'

// The file of --record (docs/replay.md): a header, then chunks, each with its length and a checksum, so that a file whose writer died can be
// read up to the last whole one. A chunk holds whole items. All words are little-endian.

/** Words of a record of either ring. */
export const RECORD_WORDS = 16

/** What is kept of the octets that a record names: the first and the last ones. */
export interface Kept {
  readonly head: Uint8Array
  readonly tail: Uint8Array
  /** Ones' complement sum of those in between, where it matters; null: it does not. */
  readonly sum: number | null
}
/** A record of the event ring or of the effect ring, word by word. */
export interface RingRecord {
  readonly words: ReadonlyArray<number>
  /** null: none are needed. */
  readonly kept: Kept | null
}
export type RecordItem =
  /** A window begins, in whose chunks all comes up to the next one; `end`: octet of the file where the one before it ended. */
  | { readonly type: 'Window'; readonly number: number; readonly end: number }
  /** JSON: who writes, and what the world was made of (runtime/engine/start-record.ts). */
  | { readonly type: 'Start'; readonly json: string }
  /** JSON: what the world had come to be when the record began, behind the Start of one that begins in the middle (runtime/engine/written-world.ts). */
  | { readonly type: 'World'; readonly json: string }
  /** A listener that is there from the end of this turn on, by its rule's index and its port; rule null: it is gone. */
  | { readonly type: 'Listener'; readonly id: number; readonly rule: number | null; readonly port: number }
  /** JSON: a rule, which is called by its number from here on, behind those of the start (runtime/engine/start-record.ts). */
  | { readonly type: 'Rule'; readonly json: string }
  /** A turn begins. `now`: ms on the loop's clock; `events`: so many Event follow. */
  | { readonly type: 'Turn'; readonly now: number; readonly events: number }
  | ({ readonly type: 'Event' } & RingRecord)
  /** What was asked for while the turn was handled, and the answer. */
  | {
      readonly type: 'Answer'
      readonly to: number
      readonly asked: Uint8Array
      readonly answer: Uint8Array
    }
  /** So many Effect follow, which were carried out together. */
  | { readonly type: 'Effects'; readonly effects: number }
  | ({ readonly type: 'Effect' } & RingRecord)
  /** JSON: why nothing more comes. */
  | { readonly type: 'End'; readonly json: string }

const START = 1
const LISTENER = 2
const TURN = 3
const EVENT = 4
const ANSWER = 5
const EFFECTS = 6
const EFFECT = 7
const END = 8
const RULE = 9
const WORLD = 10
const WINDOW = 11

// --- writing, in place: the recorder writes hundreds of thousands of records a second

/** What is to become a chunk. `at`: words of `words` that are written. */
export interface RecordBuffer {
  words: Int32Array
  bytes: Uint8Array
  at: number
}
export const recordBuffer = (octets: number): RecordBuffer => {
  const words = new Int32Array(Math.ceil(octets / 4))
  return { words, bytes: new Uint8Array(words.buffer), at: 0 }
}
/** Room for `octets` more. */
const room = (b: RecordBuffer, octets: number): void => {
  const need = b.at * 4 + octets
  if (need <= b.bytes.length) return
  const { words } = recordBuffer(need * 2)
  words.set(b.words.subarray(0, b.at))
  b.words = words
  b.bytes = new Uint8Array(words.buffer)
}
const wordsOf = (octets: number): number => (octets + 3) >> 2

const number = new Float64Array(1)
const halves = new Int32Array(number.buffer)
export const putTurn = (b: RecordBuffer, now: number, events: number): void => {
  room(b, 12)
  number[0] = now
  b.words[b.at] = TURN | (events << 8)
  b.words[b.at + 1] = halves[0]
  b.words[b.at + 2] = halves[1]
  b.at += 3
}
export const putEffects = (b: RecordBuffer, effects: number): void => {
  room(b, 4)
  b.words[b.at++] = EFFECTS | (effects << 8)
}
/** The record at word `from` of a ring. Result: the place of its first word, for `putKept`. */
const putRecord = (b: RecordBuffer, tag: number, ring: Int32Array, from: number): number => {
  room(b, 4 * RECORD_WORDS)
  const { words } = b
  const at = b.at
  let mask = 0
  let to = at + 1
  for (let i = 1; i < RECORD_WORDS; i++) {
    const w = ring[from + i]
    if (w === 0) continue
    mask |= 1 << i
    words[to++] = w
  }
  words[at] = tag | (ring[from] << 8) | (mask << 16)
  b.at = to
  return at
}
export const putEvent = (b: RecordBuffer, ring: Int32Array, from: number): number =>
  putRecord(b, EVENT, ring, from)
export const putEffect = (b: RecordBuffer, ring: Int32Array, from: number): number =>
  putRecord(b, EFFECT, ring, from)

const OCTETS = 1 << 16
const SUMMED = 1 << 31
const copy = (b: RecordBuffer, from: Uint8Array): void => {
  b.bytes.set(from, b.at * 4)
  const to = b.at * 4 + from.length
  for (let i = from.length; (i & 3) !== 0; i++) b.bytes[to + i - from.length] = 0
  b.at += wordsOf(from.length)
}
/** Headers: word by word, since a view of octets for each of them costs more than to copy them. */
const copyOf = (b: RecordBuffer, from: DataView, off: number, len: number): void => {
  if (len > LONG) return copy(b, new Uint8Array(from.buffer, from.byteOffset + off, len))
  const { words } = b
  let to = b.at
  const end = off + (len & ~3)
  let at = off
  for (; at < end; at += 4) words[to++] = from.getInt32(at, true)
  let rest = 0
  for (let i = 0; i < (len & 3); i++) rest |= from.getUint8(at + i) << (8 * i)
  if ((len & 3) !== 0) words[to++] = rest
  b.at = to
}
const LONG = 512
/** Octets of the record at `record`, the last one: `head` from `off` on, and `tail` of those in front of `end`. Result: where `head` begins in `b.bytes`. */
export const putKept = (
  b: RecordBuffer,
  record: number,
  slab: DataView,
  off: number,
  head: number,
  tail: number,
  end: number,
  sum: number | null
): number => {
  room(b, 16 + head + tail)
  b.words[record] |= OCTETS
  b.words[b.at++] = head | (sum === null ? 0 : SUMMED)
  b.words[b.at++] = tail | ((sum ?? 0) << 16)
  const at = b.at * 4
  copyOf(b, slab, off, head)
  copyOf(b, slab, end - tail, tail)
  return at
}
export const putAnswer = (b: RecordBuffer, to: number, asked: Uint8Array, answer: Uint8Array): void => {
  room(b, 20 + asked.length + answer.length)
  b.words[b.at++] = ANSWER | (to << 8)
  b.words[b.at++] = asked.length
  b.words[b.at++] = answer.length
  copy(b, asked)
  copy(b, answer)
}
export const putListener = (b: RecordBuffer, id: number, rule: number | null, port: number): void => {
  room(b, 16)
  b.words[b.at++] = LISTENER
  b.words[b.at++] = id
  b.words[b.at++] = rule === null ? 0 : rule + 1
  b.words[b.at++] = port
}
const putText = (b: RecordBuffer, tag: number, json: string): void => {
  const text = new TextEncoder().encode(json)
  room(b, 12 + text.length)
  b.words[b.at++] = tag
  b.words[b.at++] = text.length
  copy(b, text)
}
export const putStart = (b: RecordBuffer, json: string): void => putText(b, START, json)
export const putWindow = (b: RecordBuffer, window: number, end: number): void => {
  room(b, 16)
  number[0] = end
  b.words[b.at++] = WINDOW
  b.words[b.at++] = window
  b.words[b.at++] = halves[0]
  b.words[b.at++] = halves[1]
}
export const putWorld = (b: RecordBuffer, json: string): void => putText(b, WORLD, json)
export const putRule = (b: RecordBuffer, json: string): void => putText(b, RULE, json)
export const putEnd = (b: RecordBuffer, json: string): void => putText(b, END, json)

// --- reading

const pad4 = (octets: number): number => (octets + 3) & ~3
/** `len` octets at `at` of `o`, a copy; null: they are not all there. */
const piece = (o: Octets, at: number, len: number): Uint8Array | null =>
  len < 0 || at + len > o.len ? null : bytesOf(sub(o, at, len)).slice()

interface Read {
  readonly item: RecordItem
  /** Octets that it took. */
  readonly len: number
}
const CUT = 'an item is cut'

const readKept = (o: Octets, at: number): { readonly kept: Kept; readonly len: number } | string => {
  if (at + 8 > o.len) return CUT
  const a = o.view.getUint32(o.off + at, true)
  const b = o.view.getUint32(o.off + at + 4, true)
  const headLen = a & ~SUMMED
  const tailLen = b & 0xffff
  const head = piece(o, at + 8, headLen)
  const tail = head === null ? null : piece(o, at + 8 + pad4(headLen), tailLen)
  if (head === null || tail === null) return CUT
  const sum = (a & SUMMED) !== 0 ? b >>> 16 : null
  return { kept: { head, tail, sum }, len: 8 + pad4(headLen) + pad4(tailLen) }
}
const readRecord = (type: 'Event' | 'Effect', o: Octets, first: number): Read | string => {
  const words: number[] = Array.from({ length: RECORD_WORDS }, () => 0)
  words[0] = (first >>> 8) & 0xff
  let at = 4
  for (let i = 1; i < RECORD_WORDS; i++) {
    if (((first >>> 16) & (1 << i)) === 0) continue
    if (at + 4 > o.len) return CUT
    words[i] = o.view.getInt32(o.off + at, true)
    at += 4
  }
  if ((first & OCTETS) === 0) return { item: { type, words, kept: null }, len: at }
  const k = readKept(o, at)
  return typeof k === 'string' ? k : { item: { type, words, kept: k.kept }, len: at + k.len }
}
const readText = (type: 'Start' | 'World' | 'End' | 'Rule', o: Octets): Read | string => {
  if (o.len < 8) return CUT
  const n = o.view.getUint32(o.off + 4, true)
  const text = piece(o, 8, n)
  return text === null ? CUT : { item: { type, json: new TextDecoder().decode(text) }, len: 8 + pad4(n) }
}
const readAnswer = (o: Octets, first: number): Read | string => {
  if (o.len < 12) return CUT
  const asks = o.view.getUint32(o.off + 4, true)
  const answers = o.view.getUint32(o.off + 8, true)
  const asked = piece(o, 12, asks)
  const answer = asked === null ? null : piece(o, 12 + pad4(asks), answers)
  if (asked === null || answer === null) return CUT
  return {
    item: { type: 'Answer', to: first >>> 8, asked, answer },
    len: 12 + pad4(asks) + pad4(answers)
  }
}

/** The item at the start of `o`, and its length. Total: else why there is none. */
export const readItem = (o: Octets): Read | string => {
  if (o.len < 4) return CUT
  const first = o.view.getInt32(o.off, true)
  const word = (i: number): number => o.view.getInt32(o.off + 4 * i, true)
  switch (first & 0xff) {
    case START:
      return readText('Start', o)
    case LISTENER: {
      if (o.len < 16) return CUT
      const rule = word(2)
      return {
        item: { type: 'Listener', id: word(1), rule: rule === 0 ? null : rule - 1, port: word(3) },
        len: 16
      }
    }
    case TURN:
      if (o.len < 12) return CUT
      return { item: { type: 'Turn', now: o.view.getFloat64(o.off + 4, true), events: first >>> 8 }, len: 12 }
    case EVENT:
      return readRecord('Event', o, first)
    case ANSWER:
      return readAnswer(o, first)
    case EFFECTS:
      return { item: { type: 'Effects', effects: first >>> 8 }, len: 4 }
    case EFFECT:
      return readRecord('Effect', o, first)
    case RULE:
      return readText('Rule', o)
    case WORLD:
      return readText('World', o)
    case WINDOW:
      if (o.len < 16) return CUT
      return {
        item: {
          type: 'Window',
          number: o.view.getUint32(o.off + 4, true),
          end: o.view.getFloat64(o.off + 8, true)
        },
        len: 16
      }
    case END:
      return readText('End', o)
    default:
      return `an item of kind ${first & 0xff}, which there is not`
  }
}

const put = (b: RecordBuffer, i: RecordItem): void => {
  switch (i.type) {
    case 'Start':
      return putStart(b, i.json)
    case 'World':
      return putWorld(b, i.json)
    case 'Window':
      return putWindow(b, i.number, i.end)
    case 'Listener':
      return putListener(b, i.id, i.rule, i.port)
    case 'Rule':
      return putRule(b, i.json)
    case 'Turn':
      return putTurn(b, i.now, i.events)
    case 'Answer':
      return putAnswer(b, i.to, i.asked, i.answer)
    case 'Effects':
      return putEffects(b, i.effects)
    case 'Event':
    case 'Effect': {
      const at = (i.type === 'Event' ? putEvent : putEffect)(b, Int32Array.from(i.words), 0)
      if (i.kept === null) return
      const { head, tail, sum } = i.kept
      const both = joined([head, tail])
      putKept(b, at, new DataView(both.buffer), 0, head.length, tail.length, both.length, sum)
      return
    }
    case 'End':
      return putEnd(b, i.json)
  }
}

/**
 * One item at the start of the input; what follows is ignored. Left: it is cut, or of a kind that there is not.
 * Law: decode(encode(i)) = right(i). Total.   Source: docs/replay.md.
 */
export const RecordItem: t.Type<RecordItem, Uint8Array, Octets> = wireCodec(
  'RecordItem',
  (o) => {
    const r = readItem(o)
    return typeof r === 'string' ? r : r.item
  },
  (i) => {
    const b = recordBuffer(256)
    put(b, i)
    return b.bytes.slice(0, b.at * 4)
  }
)

// --- the file

const MAGIC = Uint8Array.from('passtrec', (c) => c.charCodeAt(0))
/** What it says is read by this version only. */
export const RECORD_VERSION = 1
export const RECORD_HEADER = 16
/** Octets in front of a chunk's items: its mark, their length, the checksum. */
export const CHUNK_HEADER = 12
const CHUNK = 0x4b4e4843 // "CHNK"

/** Octets that a window's length is a multiple of. */
const UNIT = 4096
/** Octets of each of both windows that a file of `size` octets has; 0: it has one, without an end. */
export const windowOf = (size: number): number =>
  Number.isFinite(size) ? Math.floor((size - RECORD_HEADER) / (2 * UNIT)) * UNIT : 0
/** The first octets of a file. `window`: octets of each of both; 0: there is one. */
export const recordHeader = (window = 0): Uint8Array => {
  const b = new Uint8Array(RECORD_HEADER)
  b.set(MAGIC)
  const v = new DataView(b.buffer)
  v.setUint32(8, RECORD_VERSION, true)
  v.setUint32(12, window / UNIT, true)
  return b
}

/** Of `n` words from `from` on: each of them counts, and its place; and whose window's they are. A change of one is always noticed: each step is one to one. */
const checksum = (words: Int32Array, from: number, n: number, window: number): number => {
  let h = n ^ window
  for (let i = from; i < from + n; i++) {
    h = Math.imul(h ^ words[i], 0x9e3779b1)
    h = (h << 13) | (h >>> 19)
  }
  return h
}

/** A buffer whose first words are a chunk's header, to be filled in by `sealChunk`. */
export const beginChunk = (b: RecordBuffer): void => {
  b.at = CHUNK_HEADER / 4
}
export const isEmptyChunk = (b: RecordBuffer): boolean => b.at === CHUNK_HEADER / 4
/** The chunk, a view of the buffer. `window`: its number. */
export const sealChunk = (b: RecordBuffer, window = 0): Uint8Array => {
  const { words } = b
  const from = CHUNK_HEADER / 4
  words[0] = CHUNK
  words[1] = (b.at - from) * 4
  words[2] = checksum(words, from, b.at - from, window)
  return b.bytes.subarray(0, b.at * 4)
}

/** A whole file. */
export const encodeRecording = (items: Iterable<RecordItem>, chunk = 65536): Uint8Array => {
  const parts = [recordHeader()]
  const b = recordBuffer(chunk)
  beginChunk(b)
  for (const i of items) {
    put(b, i)
    if (b.at * 4 < chunk) continue
    parts.push(sealChunk(b).slice())
    beginChunk(b)
  }
  if (!isEmptyChunk(b)) parts.push(sealChunk(b))
  return joined(parts)
}

/** Where a window is, and its number; `end`: where the one before it ended. */
interface Window {
  readonly number: number
  readonly at: number
  readonly until: number
  readonly end: number
}
/** null: none begins there. */
const windowAt = (o: Octets, at: number, until: number): Window | null => {
  // Its number is in its first chunk, whose checksum it is part of
  const first = at < o.len ? readItem(sub(o, Math.min(o.len, at + CHUNK_HEADER))) : CUT
  const { number, end } =
    typeof first !== 'string' && first.item.type === 'Window' ? first.item : { number: 0, end: 0 }
  return typeof chunkAt(sub(o, at, until - at), number) === 'string' ? null : { number, at, until, end }
}
/** Where its last whole chunk ends. */
const endOf = (o: Octets, w: Window): number => {
  let at = w.at
  for (; at < w.until; ) {
    const body = chunkAt(sub(o, at, w.until - at), w.number)
    if (typeof body === 'string') break
    at += CHUNK_HEADER + body.len
  }
  return at
}
/** Those that there are: the newest one, and in front of it the one that it goes on from, if that is whole. */
const windowsOf = (o: Octets): ReadonlyArray<Window> => {
  const length = o.view.getUint32(o.off + 12, true) * UNIT
  const whole = { number: 0, at: RECORD_HEADER, until: o.len, end: 0 }
  if (length === 0) return [whole]
  const places = [RECORD_HEADER, RECORD_HEADER + length]
  const [newest, older] = places
    .flatMap((at) => windowAt(o, at, Math.min(o.len, at + length)) ?? [])
    .sort((a, b) => b.number - a.number)
  if (newest === undefined) return [{ ...whole, until: Math.min(o.len, RECORD_HEADER + length) }]
  const goesOn = older !== undefined && newest.number === older.number + 1 && endOf(o, older) === newest.end
  return goesOn ? [older, newest] : [newest]
}
/** Of how many windows `recordItems` has items. */
export const windowsIn = (o: Octets): number => (headerFault(o) === null ? windowsOf(o).length : 0)

/**
 * Items in order; at the end, why there are no more: null, the file ends behind a whole chunk. Of a file with two windows: of both, where the
 * newer one goes on from the older one, each but the very first with its Window in front. `newest`: of that one only.
 */
export function* recordItems(o: Octets, newest = false): Generator<RecordItem, string | null> {
  const why = headerFault(o)
  if (why !== null) return why
  const windows = windowsOf(o)
  for (const w of newest ? windows.slice(-1) : windows) {
    const cut = yield* itemsOf(o, w)
    // What is behind a window's end is what is left of one before it
    if (cut !== null && w.until === o.len && w.number === 0) return cut
  }
  return null
}
function* itemsOf(o: Octets, w: Window): Generator<RecordItem, string | null> {
  for (let at = w.at; at < w.until; ) {
    const body = chunkAt(sub(o, at, w.until - at), w.number)
    if (typeof body === 'string') return `${body} (at octet ${at} of ${o.len})`
    for (let from = 0; from < body.len; ) {
      const r = readItem(sub(body, from))
      if (typeof r === 'string') return `${r} (in the chunk at octet ${at})`
      yield r.item
      from += r.len
    }
    at += CHUNK_HEADER + body.len
  }
  return null
}

/** Why this is no record that can be read; null: it is one. */
export const headerFault = (o: Octets): string | null => {
  if (o.len < RECORD_HEADER || MAGIC.some((m, i) => o.view.getUint8(o.off + i) !== m))
    return 'not a file of --record'
  const version = o.view.getUint32(o.off + 8, true)
  return version === RECORD_VERSION
    ? null
    : `a record of version ${version}; this program reads version ${RECORD_VERSION}`
}

const chunkAt = (o: Octets, window: number): Octets | string => {
  if (o.len < CHUNK_HEADER) return 'the last chunk is cut'
  if (o.view.getUint32(o.off, true) !== CHUNK) return 'no chunk begins where one should'
  const len = o.view.getUint32(o.off + 4, true)
  if (len > o.len - CHUNK_HEADER) return 'the last chunk is cut'
  if (len % 4 !== 0) return 'a chunk of no whole words'
  const body = sub(o, CHUNK_HEADER, len)
  const sum = checksum(new Int32Array(bytesOf(body).slice().buffer), 0, len / 4, window)
  return sum === o.view.getInt32(o.off + 8, true) ? body : 'a chunk whose checksum is wrong'
}
