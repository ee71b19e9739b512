import {
  type Charts,
  type Counters,
  countersCame,
  type Flow,
  type FlowEvent,
  flowsCame,
  flowsEnded,
  type Live,
  nothing,
  paused,
  type Row,
  type Rule,
  rowsOf,
  SAMPLES_KEPT,
  type Status,
  type Trail,
  trailOf,
  wayBetween
} from './live-model.js'
import { chartView } from './view/chart.js'
import { givenOctets } from './view/dom.js'
import { liveCounts } from './view/live-counts.js'
import { liveDetails } from './view/live-details.js'
import { liveFlows } from './view/live-flows.js'
import { liveHead } from './view/live-head.js'
import { type FlowSample, livePlots } from './view/live-plots.js'
import { liveRules } from './view/live-rules.js'

// The page of passt-ctl web, in the browser. It asks each second as long as it is seen, and follows flows that end. What it makes of the
// answers is live-model.ts.

/** ms from an answer to the next question, and from a failure to it. */
const PERIOD = 1000
const AGAIN = 2000
/** What is asked each so many times only: status and rules. */
const SELDOM = 5
/** ms: an answer that is later is waited for, and that is said. */
const LATE = 4000
/** Rows of a leap. */
const LEAP = 20

const chartsOf = (): Charts => JSON.parse(new TextDecoder().decode(givenOctets())) as Charts
const later = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))
/** The server says that what it shows has ended. */
class Over extends Error {}
/** The server is there, and has no answer. */
class Refused extends Error {}
/** It is not there, or its answer broke off. */
class Gone extends Error {}

const charts = chartsOf()
let live: Live = nothing
let chosen: string | null = null
let trail: Trail | null = null
let ofFlow: ReadonlyArray<FlowSample> = []
let isOver = false

const head = liveHead()
const flows = liveFlows((key) => look(key))
const chart = chartView()
const details = liveDetails()
const plots = livePlots()
const counts = liveCounts()
const rules = liveRules((id) => flows.find(id))

const rowOf = (key: string | null): Row | null =>
  key === null ? null : (live.rows.get(key) ?? live.ended.get(key) ?? null)
/** What was chosen last, if nothing is kept of it any more. */
let kept: Row | null = null
const show = (): void => {
  if (chosen === null) chosen = rowsOf(live, '', { by: 'age', falling: false }, false)[0]?.key ?? null
  const row = rowOf(chosen) ?? kept
  kept = row
  flows.show(live, chosen)
  details.show(row)
  if (row === null) return
  const drawn = charts[row.flow.kind]
  trail = trailOf(trail, row, drawn)
  if (drawn !== undefined)
    chart.show(drawn, trail.state, trail.from, wayBetween(drawn, trail.from, trail.state), trail.seen)
}
const look = (key: string | null): void => {
  if (key === chosen) return
  chosen = key
  trail = null
  kept = null
  ofFlow = []
  show()
  plots.show(live, ofFlow)
}

const ask = async <A>(path: string): Promise<A> => {
  const got = await fetch(path, { cache: 'no-store' })
    .then(async (r) => [r.ok, await r.text()] as const)
    .catch(() => {
      throw new Gone()
    })
  const [ok, text] = got
  const value: unknown = JSON.parse(text)
  if (!ok) throw new Refused(String((value as { readonly error?: unknown }).error))
  return value as A
}
const once = async (turn: number): Promise<void> => {
  if (turn % SELDOM === 0) {
    head.show(await ask<Status>('v1/status'))
    rules.show((await ask<{ readonly rules: ReadonlyArray<Rule> }>('v1/rules')).rules)
  }
  live = countersCame(live, await ask<Counters>('v1/counters'), performance.now())
  const { flows: all } = await ask<{ readonly flows: ReadonlyArray<Flow> }>('v1/flows')
  const now = performance.now()
  live = flowsCame(live, all, now)
  show()
  const row = rowOf(chosen)
  if (row !== null && !row.ended)
    ofFlow = [
      ...ofFlow,
      { at: now, toGuest: row.toGuest ?? Number.NaN, toPeer: row.toPeer ?? Number.NaN }
    ].slice(-SAMPLES_KEPT)
  plots.show(live, ofFlow)
  counts.show(live)
}
const end = (text: string): void => {
  if (isOver) return
  isOver = true
  live = paused(live, performance.now())
  plots.show(live, ofFlow)
  head.says('over', text)
}

/** Until nobody sees the page, or it is over. Who is gone is asked once more, who refuses again and again. */
const asks = async (): Promise<void> => {
  for (let turn = 0, gone = false; !document.hidden && !isOver; turn++) {
    const late = setTimeout(() => head.says('waits', 'waits for an answer …'), LATE)
    try {
      await once(turn)
      clearTimeout(late)
      gone = false
      if (!isOver) head.says('live', 'live')
      await later(PERIOD)
    } catch (e) {
      if (e instanceof Gone && gone) return end('it has ended, or passt-ctl has')
      if (!(e instanceof Gone || e instanceof Refused)) return end(`this page has failed: ${String(e)}`)
      gone = e instanceof Gone
      if (!isOver) head.says('waits', `no answer, asks again … ${e.message}`)
      turn = -1
      await later(AGAIN)
    } finally {
      clearTimeout(late)
    }
  }
}
/** Flows that end. The stream may break off, and is then asked for again. */
const follows = async (stop: AbortSignal): Promise<void> => {
  while (!stop.aborted && !isOver) {
    try {
      const r = await fetch('v1/events', { cache: 'no-store', signal: stop })
      if (r.ok && r.body !== null) await read(r.body)
    } catch (e) {
      if (e instanceof Over) return end('it has ended')
    }
    await later(AGAIN)
  }
}
/** A line that is longer is none of the API's. */
const LINE_MAX = 65_536
const read = async (body: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> => {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  for (let rest = ''; ; ) {
    const { done, value } = await reader.read()
    if (done) return
    const lines = (rest + value).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > LINE_MAX) return reader.cancel()
    const said = lines
      .filter((l) => l !== '')
      .map((l) => JSON.parse(l) as FlowEvent | { readonly event: 'lost' | 'over' })
    const ended = said.flatMap((e) => (e.event === 'end' ? [e.flow] : []))
    live = flowsEnded(live, ended)
    if (said.some((e) => e.event === 'over')) throw new Over()
    if (ended.length > 0) show()
  }
}

/** Nobody asks for what nobody sees: a page that is hidden costs the program nothing. */
let goes = false
const go = async (): Promise<void> => {
  if (goes || document.hidden || isOver) return
  goes = true
  const stop = new AbortController()
  void follows(stop.signal)
  await asks()
  stop.abort()
  goes = false
  if (isOver) return
  live = paused(live, performance.now())
  ofFlow = []
  head.says('waits', 'waits while nobody looks')
}

const keys: Readonly<Record<string, () => void>> = {
  ArrowDown: () => look(flows.beside(chosen, 1)),
  ArrowUp: () => look(flows.beside(chosen, -1)),
  PageDown: () => look(flows.beside(chosen, LEAP)),
  PageUp: () => look(flows.beside(chosen, -LEAP)),
  '/': () => flows.find(null)
}
document.addEventListener('keydown', (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return
  const at = e.target
  const key = keys[e.key]
  if (key === undefined || (at instanceof HTMLInputElement && at.type === 'search')) return
  e.preventDefault()
  key()
})
document.addEventListener('visibilitychange', () => void go())

const main = document.createElement('main')
const bottom = document.createElement('div')
bottom.className = 'bottom'
bottom.append(plots.element, rules.element, counts.element)
main.append(flows.element, chart.element, details.element, bottom)
document.body.append(head.element, main)
plots.show(live, ofFlow)
counts.show(live)
rules.show([])
details.show(null)
void go()
document.body.dataset.ready = performance.now().toFixed(0)
