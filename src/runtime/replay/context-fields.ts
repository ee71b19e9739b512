import type { Field } from '../../page/data.js'

// The numbers of a machine's context, as the page shows them: each by its path, and how it changes.

/** As RFC 9293 §3.3.1 and RFC 5681 call them. */
const NAMES: Readonly<Record<string, string>> = {
  sndUna: 'SND.UNA',
  sndNxt: 'SND.NXT',
  sndWnd: 'SND.WND',
  sndWl1: 'SND.WL1',
  sndWl2: 'SND.WL2',
  maxSndWnd: 'MAX.SND.WND',
  rcvNxt: 'RCV.NXT',
  iss: 'ISS',
  irs: 'IRS',
  srtt: 'SRTT',
  rttvar: 'RTTVAR',
  rto: 'RTO'
}
const SEQUENCE = new Set(
  (
    'iss irs sndUna sndNxt sndMax sndWl1 sndWl2 recover discarded finSeq peekSeq peekAck peekEdge bufEdge ' +
    'rcvNxt rcvTaken octetsFrom rcvConfirmed rcvAcked rcvEdge finAt timedSeq'
  ).split(' ')
)
const INSTANT = /(?:At|Armed|Said|lastActivity|lastRequest|lastMulticast)$/

const typeOf = (key: string, value: unknown): Field['type'] => {
  if (typeof value === 'boolean') return 'boolean'
  if (typeof value === 'string') return 'text'
  return SEQUENCE.has(key) ? 'seq' : INSTANT.test(key) ? 'at' : 'number'
}

/** As many as a column of octets can tell apart. */
const MAX_FIELDS = 256

const isRecord = (u: unknown): u is Readonly<Record<string, unknown>> =>
  typeof u === 'object' && u !== null && !ArrayBuffer.isView(u)

export interface ContextFields {
  /** In the order of their first value. */
  readonly list: ReadonlyArray<Field>
  /** Field and value, one after the other, of what is not as before (data.ts). `before` undefined: it begins. `now`: ms. */
  readonly changes: (before: unknown, after: unknown, now: number) => number[]
}
/** Of one machine. `textIndex`: where a text is found again. */
export const contextFields = (textIndex: (text: string) => number): ContextFields => {
  const list: Field[] = []
  const known = new Map<string, number>()
  const fieldOf = (path: string, key: string, value: unknown): number => {
    const there = known.get(path)
    if (there !== undefined) return there
    if (list.length === MAX_FIELDS) return -1
    known.set(path, list.length)
    return list.push({ name: NAMES[key] ?? path.replace(/^tcb\./, ''), type: typeOf(key, value) }) - 1
  }
  const coded = (type: Field['type'], value: unknown, now: number): number => {
    if (typeof value === 'string') return textIndex(value)
    if (typeof value === 'boolean') return value ? 1 : 0
    if (typeof value !== 'number') return Number.NaN
    if (type === 'seq') return value >>> 0
    if (type === 'at') return value === 0 ? Number.NaN : Math.round((value - now) * 1000)
    return value
  }
  const walk = (before: unknown, after: unknown, path: string, now: number, out: number[]): void => {
    if (!isRecord(after)) return
    // By lists, which are of one kind, where properties of contexts are of many
    const keys = Object.keys(after)
    const values = Object.values(after)
    const old = isRecord(before) ? before : {}
    const oldKeys = Object.keys(old)
    const oldValues = Object.values(old)
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!
      const b = oldKeys[i] === key ? oldValues[i] : old[key]
      const a = values[i]
      if (a === b || typeof a === 'function') continue
      const name = path === '' ? key : `${path}.${key}`
      if (isRecord(a)) {
        walk(b, a, name, now, out)
        continue
      }
      // What a field is shows at its first value; null is none
      if (a === null && !known.has(name)) continue
      const field = fieldOf(name, key, a)
      if (field < 0) continue
      const { type } = list[field]!
      const value = coded(type, a, now)
      // What nothing says is 0, but for an instant: 0 is now
      if (b === undefined && value === 0 && type !== 'at') continue
      out.push(field, value)
    }
  }
  return {
    list,
    changes: (before, after, now) => {
      const out: number[] = []
      if (before !== after) walk(before, after, '', now, out)
      return out
    }
  }
}
