import {
  type Chart,
  type ChartRow,
  COUNT,
  type Field,
  FROM_GUEST,
  FROM_HOST,
  LOG,
  type PageData,
  STEP,
  type Subject,
  TO_GUEST,
  TO_HOST,
  textOf
} from './data.js'

// What the page shows, as values: rows, states, numbers and lines at a moment. A moment is a row. No DOM here.

/** First row of a subject, and the one behind its last. */
export const rangeOf = ({ facts, columns }: PageData, subject: number): readonly [number, number] => [
  facts.subjects[subject]!.from,
  facts.subjects[subject + 1]?.from ?? columns.kind.length
]
export const chartOf = ({ facts }: PageData, subject: number): Chart | null =>
  facts.charts[facts.subjects[subject]!.chart] ?? null
/** ms from the first turn on. */
export const msOf = ({ columns }: PageData, row: number): number => columns.ms[columns.turn[row]!] ?? 0

/** 'FIN_WAIT_1' (RFC 9293 §3.3.2) */
export const stateName = (key: string): string => key.replace(/([a-z])([A-Z0-9])/g, '$1_$2').toUpperCase()

/** Index of the subject's state behind this row; -1: it has none yet. */
export const stateAt = (d: PageData, subject: number, row: number): number => {
  const step = stepAt(d, subject, row)
  return step < 0 ? -1 : d.columns.state[step]!
}
/** Of a step: it is in another state behind it. Its first step is a change. */
export const changesState = (d: PageData, subject: number, row: number): boolean =>
  d.columns.kind[row] === STEP && d.columns.state[row] !== stateAt(d, subject, row - 1)

/** A step that asks for nothing and changes nothing. */
const isIdle = (d: PageData, row: number, before: number): boolean => {
  const { kind, changesAt, state, pattern } = d.columns
  return (
    kind[row] === STEP &&
    changesAt[row] === changesAt[row + 1] &&
    state[row] === before &&
    !d.facts.patterns[pattern[row]!]!.includes('\n')
  )
}
/** Rows of a subject in their order; without steps that do nothing, unless they are asked for. */
export const rowsShown = (d: PageData, subject: number, idle: boolean): Int32Array => {
  const [from, to] = rangeOf(d, subject)
  const out = new Int32Array(to - from)
  let n = 0
  let state = -1
  for (let r = from; r < to; r++) {
    if (idle || !isIdle(d, r, state)) out[n++] = r
    if (d.columns.kind[r] === STEP) state = d.columns.state[r]!
  }
  return out.subarray(0, n)
}
/** Place of the row, or of the next one that is there, in a list that rises; its length: there is none. */
export const placeOf = (rows: ArrayLike<number>, row: number): number => {
  let [low, high] = [0, rows.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (rows[middle]! < row) low = middle + 1
    else high = middle
  }
  return low
}
/** The next change of state from this place on, forwards or backwards; the last, or first, place: there is none. */
export const nextChange = (
  d: PageData,
  subject: number,
  rows: Int32Array,
  place: number,
  by: 1 | -1
): number => {
  for (let i = place + by; i >= 0 && i < rows.length; i += by)
    if (changesState(d, subject, rows[i]!)) return i
  return by > 0 ? rows.length - 1 : 0
}

/** By field; NaN: none. Instants are ms from the first turn on. */
export type Values = Float64Array
const apply = (d: PageData, fields: ReadonlyArray<Field>, row: number, values: Values): void => {
  const { changesAt, field, value } = d.columns
  for (let c = changesAt[row]!; c < changesAt[row + 1]!; c++) {
    const f = field[c]!
    values[f] = fields[f]!.type === 'at' ? msOf(d, row) + value[c]! / 1000 : value[c]!
  }
}
/** What the machine knows behind this row. */
export const valuesAt = (d: PageData, subject: number, row: number): Values => {
  const fields = chartOf(d, subject)?.fields ?? []
  const values = new Float64Array(fields.length)
  const [from] = rangeOf(d, subject)
  for (let r = from; r <= row; r++) apply(d, fields, r, values)
  return values
}
/** Fields that this row changes. */
export const changedBy = ({ columns }: PageData, row: number): ReadonlySet<number> =>
  new Set(columns.field.subarray(columns.changesAt[row], columns.changesAt[row + 1]))
/** As people read it. */
export const valueText = (d: PageData, f: Field, v: number, ms: number): string => {
  if (Number.isNaN(v)) return 'none'
  if (f.type === 'boolean') return v === 0 ? 'no' : 'yes'
  if (f.type === 'text') return v === 0 ? '' : (d.facts.patterns[v] ?? '')
  if (f.type === 'at') {
    const by = v - ms
    if (!Number.isFinite(by)) return 'never'
    return Math.abs(by) < 0.0005 ? 'now' : by > 0 ? `in ${by.toFixed(3)} ms` : `${(-by).toFixed(3)} ms ago`
  }
  return Number.isInteger(v) ? String(v) : v.toFixed(3)
}

/** Which transition it was; null: none was taken, or it is no step. */
export const takenBy = (d: PageData, subject: number, row: number): ChartRow | null =>
  chartOf(d, subject)?.rows[d.columns.taken[row]!] ?? null
/** The event, and what the machine asked for then. */
export const stepText = (
  d: PageData,
  row: number
): { readonly event: string; readonly effects: ReadonlyArray<string> } => {
  const [event = '', ...effects] = textOf(d, row).split('\n')
  return { event, effects }
}
/** The last step up to this row; -1: there is none. */
export const stepAt = (d: PageData, subject: number, row: number): number => {
  const [from] = rangeOf(d, subject)
  for (let r = row; r >= from; r--) if (d.columns.kind[r] === STEP) return r
  return -1
}

/** The step that an arrow or a count belongs to: what it led to, or what it is due to, in the same turn; -1: none. */
export const stepOf = (d: PageData, subject: number, row: number): number => {
  const { kind, turn } = d.columns
  if (kind[row] === STEP) return row
  const [from, to] = rangeOf(d, subject)
  const isCause = kind[row] === FROM_GUEST || kind[row] === FROM_HOST
  const by = isCause ? 1 : -1
  for (let r = row + by; r >= from && r < to && turn[r] === turn[row]; r += by) {
    if (kind[r] === STEP) return r
    if (kind[r] === FROM_GUEST || kind[r] === FROM_HOST) return -1
  }
  return -1
}

/** Where sequence numbers of each side begin; null: not known. */
export interface Starts {
  readonly iss: number
  readonly irs: number
}
export const startsOf = (d: PageData, subject: number): Starts | null => {
  const fields = chartOf(d, subject)?.fields ?? []
  const [iss, irs] = ['ISS', 'IRS'].map((name) => fields.findIndex((f) => f.name === name))
  if (iss! < 0 || irs! < 0) return null
  const [, to] = rangeOf(d, subject)
  const values = valuesAt(d, subject, to - 1)
  return { iss: values[iss!]!, irs: values[irs!]! }
}
const relative = (n: string, start: number): string => String((Number(n) - start) | 0)
/** What flags of a record say (runtime/replay/show.ts names them); others tell a reader nothing. */
const FLAGS: Readonly<Record<string, string>> = {
  in: 'readable',
  out: 'writable',
  rdhup: 'its peer has ended',
  eof: 'the end',
  drained: 'nothing more is there',
  tap_full: 'the tap is full'
}
const recordLabel = (text: string): string =>
  text
    .replace(/ handle \d+| off 0x[\da-f]+| header_len \d+/g, '')
    .replace(/^((?!INFO)\w+.*?) snd_wnd \d+.*$/, '$1')
    .replace(/^((?:READY|PEEKED).*?) flags ([\w,]+)$/, (_, record: string, flags: string) => {
      const said = flags.split(',').flatMap((name) => FLAGS[name] ?? [])
      return `${record} ${said.join(', ')}`
    })
/**
 * What stands at an arrow: without what the flow says already. `starts`: sequence numbers are counted from there, as from the first octet
 * of each side on.
 */
export const labelOf = (text: string, kind: number, isFlow: boolean, starts: Starts | null): string => {
  const frame = /^TAP_(?:FRAME|WRITE)[^:]*: (.*)$/.exec(text)?.[1]
  if (frame === undefined) return recordLabel(text)
  if (!isFlow) return frame
  const short = frame.replace(/^(\w+) \S+ > \S+ /, (_, proto: string) => (proto === 'TCP' ? '' : `${proto} `))
  if (starts === null) return short
  const [own, other] = kind === FROM_GUEST ? [starts.irs, starts.iss] : [starts.iss, starts.irs]
  return short.replace(/\bseq (\d+) ack (\d+)/, (_, seq: string, ack: string) =>
    short.startsWith('[S]')
      ? `seq ${relative(seq, own)}`
      : `seq ${relative(seq, own)} ack ${relative(ack, other)}`
  )
}

// --- lines over time

export interface Line {
  readonly name: string
  /** Rows at which it changes. */
  readonly rows: ReadonlyArray<number>
  /** From there on; NaN: none. */
  readonly values: ReadonlyArray<number>
}
export interface Plot {
  readonly title: string
  readonly unit: string
  readonly lines: ReadonlyArray<Line>
}
/** What is more is no limit (UNLIMITED in machines/tcp/tcb-snd.ts). */
const NO_LIMIT = 1 << 30
type Read = (name: string) => number
const difference = (a: number, b: number): number => (a - b) | 0
/** Before the guest was heard there is nothing to count from. */
const fromIrs =
  (name: string) =>
  (v: Read): number =>
    v('IRS') === 0 && v('RCV.NXT') === 0 ? Number.NaN : difference(v(name), v('IRS'))
const ofConnection: ReadonlyArray<{
  readonly title: string
  readonly unit: string
  readonly lines: ReadonlyArray<readonly [string, (v: Read) => number]>
}> = [
  {
    title: 'To the guest',
    unit: 'octets from ISS on',
    lines: [
      ['right edge', (v) => difference(v('SND.UNA'), v('ISS')) + v('SND.WND')],
      ['SND.NXT', (v) => difference(v('SND.NXT'), v('ISS'))],
      ['SND.UNA', (v) => difference(v('SND.UNA'), v('ISS'))]
    ]
  },
  {
    title: 'From the guest',
    unit: 'octets from IRS on',
    lines: [
      ['right edge', fromIrs('rcvEdge')],
      ['RCV.NXT', fromIrs('RCV.NXT')],
      ['acknowledged', fromIrs('rcvAcked')]
    ]
  },
  {
    title: 'Windows and flight',
    unit: 'octets',
    lines: [
      ['SND.WND', (v) => v('SND.WND')],
      ['RCV.WND', (v) => difference(v('rcvEdge'), v('RCV.NXT'))],
      ['in flight', (v) => difference(v('SND.NXT'), v('SND.UNA'))],
      ['cwnd', (v) => (v('cwnd') >= NO_LIMIT ? Number.NaN : v('cwnd'))]
    ]
  },
  {
    title: 'Round trips',
    unit: 'ms',
    lines: [
      ['RTO', (v) => v('RTO') || Number.NaN],
      ['SRTT', (v) => (v('SRTT') < 0 ? Number.NaN : v('SRTT') || Number.NaN)]
    ]
  }
]

/** How many went each way, where there are no better numbers. */
const WAYS: ReadonlyArray<readonly [string, number]> = [
  ['from the guest', FROM_GUEST],
  ['to the guest', TO_GUEST],
  ['from sockets', FROM_HOST],
  ['to sockets', TO_HOST]
]
const waysOf = (d: PageData, subject: number): ReadonlyArray<Plot> => {
  const [from, to] = rangeOf(d, subject)
  const lines = WAYS.map(([name, kind]): Line => {
    const rows: number[] = []
    for (let r = from; r < to; r++) if (d.columns.kind[r] === kind) rows.push(r)
    return { name, rows, values: rows.map((_, i) => i + 1) }
  })
  return [{ title: 'Went by', unit: 'records', lines: lines.filter((l) => l.rows.length > 0) }]
}

/** In one pass over the subject's steps. */
export const plotsOf = (d: PageData, subject: number): ReadonlyArray<Plot> => {
  const fields = chartOf(d, subject)?.fields ?? []
  const at = new Map(fields.map((f, i) => [f.name, i]))
  if (!at.has('SND.UNA') || !at.has('RCV.NXT')) return waysOf(d, subject)
  const values = new Float64Array(fields.length)
  const read: Read = (name) => values[at.get(name) ?? -1] ?? 0
  const plots = ofConnection.map((p) => ({
    ...p,
    lines: p.lines.map(([name, of]) => ({ name, of, rows: [] as number[], values: [] as number[] }))
  }))
  const [from, to] = rangeOf(d, subject)
  const { changesAt } = d.columns
  for (let r = from; r < to; r++) {
    if (changesAt[r] === changesAt[r + 1]) continue
    apply(d, fields, r, values)
    for (const p of plots)
      for (const l of p.lines) {
        const v = l.of(read)
        if (Object.is(v, l.values.at(-1)) || (Number.isNaN(v) && l.values.length === 0)) continue
        l.rows.push(r)
        l.values.push(v)
      }
  }
  return plots
    .map((p) => ({ ...p, lines: p.lines.filter((l) => l.rows.length > 0) }))
    .filter((p) => p.lines.length > 0)
}
/** At this row; NaN: none. */
export const valueOn = (l: Line, row: number): number => {
  const changes = placeOf(l.rows, row + 1)
  return changes === 0 ? Number.NaN : l.values[changes - 1]!
}
/** Marks of an axis: about `n` round numbers, all of them within it. */
export const marksOf = (from: number, to: number, n: number): ReadonlyArray<number> => {
  const rough = (to - from) / n
  if (!(rough > 0) || !Number.isFinite(rough)) return [from]
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough) ?? rough
  const first = Math.ceil(from / step)
  return Array.from({ length: Math.floor(to / step) - first + 1 }, (_, i) => (first + i) * step)
}
/** '1.5 M' */
export const brief = (n: number): string => {
  const a = Math.abs(n)
  const [by, unit] = a >= 1e9 ? [1e9, 'G'] : a >= 1e6 ? [1e6, 'M'] : a >= 1e4 ? [1e3, 'k'] : [1, '']
  return `${Number((n / by).toPrecision(4))}${unit}`
}

// --- the table of flows

export interface FlowEntry {
  readonly subject: number
  readonly title: string
  readonly ends: string
  readonly state: string
  readonly rows: number
  /** ms */
  readonly began: number
  readonly took: number
}
export const flowEntries = (d: PageData): ReadonlyArray<FlowEntry> =>
  d.facts.subjects.map((s: Subject, subject) => {
    const [from, to] = rangeOf(d, subject)
    const began = from < to ? msOf(d, from) : 0
    const key = chartOf(d, subject)?.nodes[s.state]?.key
    return {
      subject,
      title: s.title,
      ends: s.ends,
      state: key === undefined ? '' : stateName(key),
      rows: to - from,
      began,
      took: from < to ? msOf(d, to - 1) - began : 0
    }
  })
export type SortKey = 'began' | 'title' | 'state' | 'rows' | 'took'
export const SORTS: ReadonlyArray<SortKey> = ['began', 'title', 'state', 'rows', 'took']
/** Which texts have all words of the filter somewhere. */
export const matches = (filter: string): ((text: string) => boolean) => {
  const words = filter
    .toLowerCase()
    .split(/\s+/)
    .filter((w) => w !== '')
  return (text) => {
    const lower = text.toLowerCase()
    return words.every((w) => lower.includes(w))
  }
}
/** Those that have all words of the filter somewhere, in order; equal ones as they began. */
export const flowsShown = (
  all: ReadonlyArray<FlowEntry>,
  filter: string,
  by: SortKey,
  falling: boolean
): ReadonlyArray<FlowEntry> => {
  const passes = matches(filter)
  const natural = new Intl.Collator('en', { numeric: true })
  const order = (a: FlowEntry, b: FlowEntry): number => {
    const [x, y] = [a[by], b[by]]
    return typeof x === 'string' ? natural.compare(x, String(y)) : x - Number(y)
  }
  return all
    .filter((f) => passes(`${f.title} ${f.ends} ${f.state}`))
    .sort((a, b) => (falling ? -1 : 1) * order(a, b) || a.subject - b.subject)
}

// --- clauses

export interface ClausePart {
  readonly text: string
  /** null: it is plain text. */
  readonly href: string | null
}
/** 'RFC 9293 §3.10.7.4' with what leads there. Only what a chart says may be given. */
export const clauseParts = (clause: string): ReadonlyArray<ClausePart> => {
  const out: ClausePart[] = []
  let at = 0
  for (const m of clause.matchAll(/RFC (\d+)(?: §([\d.]*\d))?/g)) {
    if (m.index > at) out.push({ text: clause.slice(at, m.index), href: null })
    const section = m[2] === undefined ? '' : `#section-${m[2]}`
    out.push({ text: m[0], href: `https://www.rfc-editor.org/rfc/rfc${m[1]}${section}` })
    at = m.index + m[0].length
  }
  if (at < clause.length) out.push({ text: clause.slice(at), href: null })
  return out
}

/** What happened at this row, for those who hear the page. */
export const KIND_NAMES: Readonly<Record<number, string>> = {
  [FROM_GUEST]: 'from the guest',
  [TO_GUEST]: 'to the guest',
  [FROM_HOST]: 'from a socket',
  [TO_HOST]: 'to a socket',
  [STEP]: 'step',
  [COUNT]: 'counted',
  [LOG]: 'log'
}

/** What a page opens with. */
export const firstFlow = (d: PageData): number =>
  Math.max(
    0,
    d.facts.subjects.findIndex((s) => s.chart >= 0 && s.ends !== '')
  )

/** Of the URL: '#flow=3&row=120'. Rows are counted from the first of the flow on. */
export interface Place {
  /** null: it does not say. */
  readonly subject: number | null
  readonly offset: number
}
export const placeText = (subject: number, offset: number): string => `#flow=${subject}&row=${offset}`
export const parsePlace = (hash: string): Place => {
  const number = (name: string): number | null => {
    const digits = new RegExp(`[#&]${name}=(\\d{1,9})(?:&|$)`).exec(hash)?.[1]
    return digits === undefined ? null : Number(digits)
  }
  return { subject: number('flow'), offset: number('row') ?? 0 }
}
