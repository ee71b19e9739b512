import type { Chart } from './data.js'
import { type Line, matches, stateName } from './model.js'

// What the live page (passt-ctl web) knows and shows, as values. No DOM here. Shapes of answers are the API's (src/runtime/api/openapi.json), as far as
// they are read; times are ms of the browser's clock, rates octets a second.

export interface Place {
  readonly address: string
  readonly port: number
}
export interface Flow {
  readonly id: number
  readonly kind: string
  readonly state: string
  readonly origin: 'guest' | 'host'
  readonly guest: Place
  readonly guestPeer: Place
  readonly listenerPort: number | null
  readonly peer: Place
  readonly rule: string | null
  readonly beganMs: number | null
  readonly ageMs: number | null
  readonly octetsToGuest: number | null
  readonly octetsToPeer: number | null
  readonly rttGuestMs: number | null
  readonly rttPeerMs: number | null
  readonly windowGuest: number | null
  readonly windowOffered: number | null
}
export interface Counters {
  readonly events: Readonly<Record<string, number>>
}
/** A forwarding rule, what it has carried, and whether its target answered. */
export interface Rule {
  readonly id: string
  readonly text: string
  readonly begun: number
  readonly open: number
  readonly octetsToGuest: number | null
  readonly octetsToPeer: number | null
  /** By what it was. */
  readonly failures: Readonly<Record<string, number>>
  /** null: it was never asked. */
  readonly target: { readonly answered: boolean } | null
}
export interface Family {
  readonly address: string | null
  readonly prefixLength: number
  readonly gateway: string | null
  readonly interface: string | null
  readonly dns: ReadonlyArray<string>
}
export interface Status {
  readonly version: string
  readonly mode: string
  readonly pid: number
  readonly uptimeMs: number
  readonly link: string
  readonly interface: string
  readonly mtu: number
  readonly guest: {
    readonly up: boolean
    readonly mac: string
    readonly ipv4: string | null
    readonly ipv6: string | null
  }
  readonly ipv4: Family | null
  readonly ipv6: Family | null
  readonly search: ReadonlyArray<string>
  /** What the namespace was given, and what of the host it was not; null: nothing, or there is none. */
  readonly namespace: {
    readonly addresses: ReadonlyArray<string>
    readonly routesInAll: number
    readonly leftOutInAll: number
    readonly leftOut: ReadonlyArray<string>
  } | null
  readonly serves: ReadonlyArray<string>
  readonly notes: ReadonlyArray<string>
}
/** A line of the stream of events, as far as it is read. */
export interface FlowEvent {
  readonly event: 'begin' | 'end'
  readonly flow: Flow
}
/** Charts by kind of flow: all that the page is given. */
export type Charts = Readonly<Record<string, Chart>>

// --- what came

/** A flow, and what it moves; null: not counted, or not known yet. */
export interface Row {
  readonly key: string
  readonly flow: Flow
  readonly toGuest: number | null
  readonly toPeer: number | null
  readonly ended: boolean
}
/** What happened up to a moment, since the one before. NaN: not known. */
export interface Sample {
  readonly at: number
  readonly toGuest: number
  readonly toPeer: number
  /** Flows that there are. */
  readonly open: number
  readonly drops: number
}
export interface Count {
  readonly name: string
  readonly total: number
  /** A second; null: not known yet. */
  readonly rate: number | null
}
export interface Live {
  readonly rows: ReadonlyMap<string, Row>
  /** Those that have ended, the last one last: ENDED_KEPT of them. */
  readonly ended: ReadonlyMap<string, Row>
  /** Octets of flows that have ended, since the last sample. */
  readonly moved: { readonly toGuest: number; readonly toPeer: number }
  /** Of the last list of flows; null: there is none to count from. */
  readonly at: number | null
  readonly samples: ReadonlyArray<Sample>
  readonly counts: ReadonlyArray<Count>
  /** Of the last counters; null: there are none to count from. */
  readonly countedAt: number | null
  readonly drops: number
}
export const ENDED_KEPT = 200
/** Ten minutes, at one a second. */
export const SAMPLES_KEPT = 600
const NONE_MOVED = { toGuest: 0, toPeer: 0 }
export const nothing: Live = {
  rows: new Map(),
  ended: new Map(),
  moved: NONE_MOVED,
  at: null,
  samples: [],
  counts: [],
  countedAt: null,
  drops: Number.NaN
}

/** '192.0.2.1:80', '[2001:db8::1]:80' */
export const endText = ({ address, port }: Place): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
/** A flow's, and no other's, whatever comes in its place. */
export const keyOf = (f: Flow): string =>
  `${f.kind} ${f.id} ${f.beganMs ?? `${endText(f.guest)} ${endText(f.guestPeer)} ${endText(f.peer)}`}`

/** Past the tap octets are told when a side ends, all at once: what that is a second is no rate. */
const isMeasured = (f: Flow): boolean => f.kind === 'tcp'
/** What came since, of what is counted modulo 2^32; null: not counted. `before` undefined: it has just begun. */
const since = (now: number | null, before: number | null | undefined): number | null => {
  if (now === null) return null
  const was = before ?? 0
  return now >= was ? now - was : now - was + 2 ** 32
}
const last = <A>(n: number, all: ReadonlyArray<A>): ReadonlyArray<A> => (all.length > n ? all.slice(-n) : all)
const kept = (rows: Iterable<readonly [string, Row]>): ReadonlyMap<string, Row> =>
  new Map(last(ENDED_KEPT, [...rows]))
const over = (flow: Flow, key: string): Row => ({ key, flow, toGuest: null, toPeer: null, ended: true })

/** A whole list of flows: what is in it no more has ended. */
export const flowsCame = (m: Live, flows: ReadonlyArray<Flow>, now: number): Live => {
  const seconds = m.at === null ? 0 : (now - m.at) / 1000
  const rows = new Map<string, Row>()
  let { toGuest, toPeer } = m.moved
  for (const flow of flows) {
    const key = keyOf(flow)
    // It ended while the list was made
    if (m.ended.has(key)) continue
    const before = m.rows.get(key)?.flow
    const measured = m.at !== null && isMeasured(flow)
    const guest = measured ? since(flow.octetsToGuest, before?.octetsToGuest) : null
    const peer = measured ? since(flow.octetsToPeer, before?.octetsToPeer) : null
    toGuest += guest ?? 0
    toPeer += peer ?? 0
    const rate = (n: number | null): number | null => (n === null || seconds <= 0 ? null : n / seconds)
    rows.set(key, { key, flow, toGuest: rate(guest), toPeer: rate(peer), ended: false })
  }
  const gone = [...m.rows.values()].filter((r) => !rows.has(r.key))
  const a = (n: number): number => (seconds > 0 ? n / seconds : Number.NaN)
  const sample = { at: now, toGuest: a(toGuest), toPeer: a(toPeer), open: rows.size, drops: m.drops }
  return {
    ...m,
    rows,
    ended:
      gone.length === 0
        ? m.ended
        : kept([...m.ended, ...gone.map((r) => [r.key, over(r.flow, r.key)] as const)]),
    moved: NONE_MOVED,
    at: now,
    samples: last(SAMPLES_KEPT, [...m.samples, sample])
  }
}
/** These have ended, with those octets and in that state. */
export const flowsEnded = (m: Live, flows: ReadonlyArray<Flow>): Live => {
  if (flows.length === 0) return m
  const rows = new Map(m.rows)
  const ended = new Map(m.ended)
  let { toGuest, toPeer } = m.moved
  for (const flow of flows) {
    const key = keyOf(flow)
    const before = (rows.get(key) ?? ended.get(key))?.flow
    rows.delete(key)
    ended.delete(key)
    ended.set(key, over(flow, key))
    if (m.at === null || !isMeasured(flow)) continue
    toGuest += since(flow.octetsToGuest, before?.octetsToGuest) ?? 0
    toPeer += since(flow.octetsToPeer, before?.octetsToPeer) ?? 0
  }
  return { ...m, rows, ended: kept(ended), moved: { toGuest, toPeer } }
}

const DROP = 'drop-'
/** Of the guest's packets. */
export const isDrop = (name: string): boolean => name.startsWith(DROP)
export const countersCame = (m: Live, { events }: Counters, now: number): Live => {
  const seconds = m.countedAt === null ? 0 : (now - m.countedAt) / 1000
  const before = new Map(m.counts.map((c) => [c.name, c.total]))
  const counts = Object.entries(events)
    .map(
      ([name, total]): Count => ({
        name,
        total,
        // Less than there was: of another program at the same path, from an unknown moment on
        rate: seconds > 0 ? Math.max(0, total - (before.get(name) ?? 0)) / seconds : null
      })
    )
    .sort((a, b) => Number(isDrop(b.name)) - Number(isDrop(a.name)) || (a.name < b.name ? -1 : 1))
  const drops =
    seconds > 0 ? counts.filter((c) => isDrop(c.name)).reduce((sum, c) => sum + (c.rate ?? 0), 0) : Number.NaN
  return { ...m, counts, countedAt: now, drops }
}
/** Nothing was heard for a while: rates begin anew, and lines have a gap. */
export const paused = (m: Live, now: number): Live => ({
  ...m,
  at: null,
  countedAt: null,
  drops: Number.NaN,
  moved: NONE_MOVED,
  samples:
    m.samples.length === 0
      ? m.samples
      : last(SAMPLES_KEPT, [
          ...m.samples,
          { at: now, toGuest: Number.NaN, toPeer: Number.NaN, open: Number.NaN, drops: Number.NaN }
        ])
})

// --- the table

export const rttOf = (f: Flow): number | null => f.rttPeerMs ?? f.rttGuestMs
const COLUMN_OF = {
  kind: ({ flow }: Row) => flow.kind,
  guest: ({ flow }: Row) => endText(flow.guest),
  peer: ({ flow }: Row) => endText(flow.peer),
  state: ({ flow }: Row) => flow.state,
  octetsToGuest: ({ flow }: Row) => flow.octetsToGuest,
  octetsToPeer: ({ flow }: Row) => flow.octetsToPeer,
  toGuest: (r: Row) => r.toGuest,
  toPeer: (r: Row) => r.toPeer,
  rtt: ({ flow }: Row) => rttOf(flow),
  age: ({ flow }: Row) => flow.ageMs,
  rule: ({ flow }: Row) => flow.rule
} as const
export type ColumnName = keyof typeof COLUMN_OF
export const COLUMNS = Object.keys(COLUMN_OF) as ReadonlyArray<ColumnName>
export interface Order {
  readonly by: ColumnName
  readonly falling: boolean
}
/** Those that have all words of the filter somewhere, in order, what is not known last; those that have ended behind the others. */
export const rowsOf = (
  m: Live,
  filter: string,
  { by, falling }: Order,
  withEnded: boolean
): ReadonlyArray<Row> => {
  const hasAll = matches(filter)
  const natural = new Intl.Collator('en', { numeric: true })
  const value = COLUMN_OF[by]
  const compared = (a: Row, b: Row): number => {
    const [x, y] = [value(a), value(b)]
    if (x === null || y === null) return Number(x === null) - Number(y === null)
    const order = typeof x === 'string' ? natural.compare(x, String(y)) : x - Number(y)
    return falling ? -order : order
  }
  const passes = ({ flow: f }: Row): boolean =>
    filter === '' || hasAll(`${f.kind} ${f.state} ${endText(f.guest)} ${endText(f.peer)} ${f.rule ?? ''}`)
  const rows = [...m.rows.values()].filter(passes).sort((a, b) => compared(a, b) || a.flow.id - b.flow.id)
  if (!withEnded) return rows
  return [...rows, ...[...m.ended.values()].filter(passes).reverse()]
}

// --- rules

export type Health = 'answers' | 'silent' | 'unknown'
export const healthOf = ({ target }: Rule): Health =>
  target === null ? 'unknown' : target.answered ? 'answers' : 'silent'
const HEALTH: Readonly<Record<Health, string>> = {
  answers: 'its target answered when it was last asked',
  silent: 'its target did not answer when it was last asked',
  unknown: 'its target was not asked yet'
}
/** All that is known of a rule, in a few lines. */
export const ruleText = (r: Rule): string => {
  const failures = Object.entries(r.failures).map(([why, n]) => `${n} times ${why}`)
  return [
    r.text,
    HEALTH[healthOf(r)],
    `flows: ${r.open} open, ${r.begun} begun`,
    ...(r.octetsToGuest === null ? [] : [`to the guest: ${shortText(r.octetsToGuest)} octets`]),
    ...(r.octetsToPeer === null ? [] : [`to peers: ${shortText(r.octetsToPeer)} octets`]),
    ...(failures.length === 0 ? [] : [`failed: ${failures.join(', ')}`])
  ].join('\n')
}

// --- texts

/** '20ms', '1m5s' */
export const ageText = (ms: number): string => {
  if (ms < 1000) return `${Math.floor(ms)}ms`
  const s = Math.floor(ms / 1000)
  if (s < 60) return `${s}s`
  if (s < 3600) return `${Math.floor(s / 60)}m${s % 60}s`
  return s < 86_400
    ? `${Math.floor(s / 3600)}h${Math.floor((s % 3600) / 60)}m`
    : `${Math.floor(s / 86_400)}d${Math.floor((s % 86_400) / 3600)}h`
}
export const msText = (ms: number): string => (ms < 10 ? ms.toFixed(2) : String(Math.round(ms)))
const UNITS = ['', 'k', 'M', 'G', 'T'] as const
/** '1.23M': three digits, as numbers that change are read at a glance. */
export const shortText = (n: number): string => {
  let unit = 0
  let x = n
  for (; x >= 999.5 && unit < UNITS.length - 1; unit++) x /= 1000
  return unit === 0 ? String(Math.round(x)) : `${Number(x.toPrecision(3))}${UNITS[unit]}`
}

// --- the flow that is looked at

/** States in which a flow was seen, by index in its chart; -1: none. */
export interface Trail {
  readonly key: string
  readonly state: number
  readonly from: number
  readonly seen: ReadonlySet<number>
}
/** Index of the leaf of that name, as the API writes it; -1: there is none. Leaves of a chart have names of their own. */
export const leafNamed = (c: Chart, state: string): number =>
  c.nodes.findIndex((n, i) => stateName(n.key) === state && !c.nodes.some((x) => x.parent === i))
export const trailOf = (before: Trail | null, { key, flow }: Row, chart: Chart | undefined): Trail => {
  const state = chart === undefined ? -1 : leafNamed(chart, flow.state)
  if (before === null || before.key !== key) return { key, state, from: -1, seen: new Set([state]) }
  if (before.state === state) return before
  return { key, state, from: before.state, seen: new Set([...before.seen, state]) }
}
const around = (c: Chart, state: number): ReadonlyArray<number> => {
  const out: number[] = []
  for (let n = state; n >= 0; n = c.nodes[n]!.parent) out.push(n)
  return out
}
/** The arrow that leads from one state into another; null: none does at once, so there were others between them. */
export const wayBetween = (
  c: Chart,
  from: number,
  to: number
): { readonly from: number; readonly to: number } | null => {
  if (from < 0 || to < 0) return null
  const [begins, ends] = [around(c, from), around(c, to)]
  const ways = c.arrows
    .filter((a) => begins.includes(a.from) && ends.includes(a.to))
    // Into a composite state an arrow leads to its first one
    .filter((a) => a.to === to || firstIn(c, a.to) === to)
  const nearest = ways.sort((a, b) => begins.indexOf(a.from) - begins.indexOf(b.from))[0]
  return nearest === undefined ? null : { from: nearest.from, to: nearest.to }
}
const firstIn = (c: Chart, n: number): number => {
  let at = n
  while (c.nodes[at]!.initial >= 0) at = c.nodes[at]!.initial
  return at
}

/** Of samples, what a plot draws: `rows` are indices of samples. */
export const lineOf = (name: string, samples: ReadonlyArray<Sample>, value: (s: Sample) => number): Line => ({
  name,
  rows: samples.map((_, i) => i),
  values: samples.map(value)
})
