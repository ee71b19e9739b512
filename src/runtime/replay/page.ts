import { deflateRawSync } from 'node:zlib'
import type { AnyStateMachine } from 'xstate'
import {
  type Chart,
  COUNT,
  columnsOf,
  encodePage,
  FROM_GUEST,
  FROM_HOST,
  LOG,
  type PageData,
  Patterns,
  type RowDraft,
  STEP,
  type Subject,
  TO_GUEST,
  TO_HOST
} from '../../page/data.js'
import { patternOf } from '../../page/texts.js'
import { EF, EV } from '../abi/abi.js'
import type { World } from '../data/world.js'
import type { Flow } from '../flow/flow.js'
import { flowEnds } from '../flow/flow-text.js'
import { machines as kinds, leafOf, titleOf } from '../flow/kinds.js'
import { type ChartOf, chartOf } from './chart-of.js'
import { type ContextFields, contextFields } from './context-fields.js'
import { documentOf } from './document.js'
import { effectWords } from './effect-words.js'
import { effectFlow, eventFlow } from './flow-of.js'
import type { Replayed, Replayer } from './replayer.js'
import { type DifferenceReport, differenceLines } from './report.js'
import { effectText, eventText } from './show.js'
import { TABLES } from './under-xstate.js'
import { type Step, watchSteps } from './watch.js'

// --html: a replay as one page. Here is what the page knows of it (src/page/data.ts); what it shows, and how, is src/page.

export interface Page {
  /** Before the first turn; until what is returned is called. */
  readonly watch: (p: Replayer) => () => void
  readonly turn: (w: World, r: Replayed, flows: ReadonlyArray<number | null>) => void
  readonly data: (heading: ReadonlyArray<string>, difference: DifferenceReport | null) => PageData
}

const OF_GUEST = new Set<number>([EV.TAP_FRAME, EV.TAP_DROPPED, EV.TAP_ROOM])
const TO_GUESTS = new Set<number>([EF.TAP_WRITE, EF.PEEK])
/** Begin, end and change of a flow: steps say the same. */
const SAID = /^Flow \d+ \([^)]*(?:\([^)]*\))?\): (?:NEW -> | {4}|[A-Z_]+: [A-Z0-9_]+ -> )/
const OF_FLOW = /^Flow (\d+) /

/** In place of an event. */
const BEGINS = 'begins'

interface Machine {
  readonly of: ChartOf
  readonly fields: ContextFields
  readonly index: number
}
/** What a page shows rows of. */
interface Shown {
  title: string
  ends: string
  readonly machine: Machine | null
  state: number
  readonly rows: RowDraft[]
}
/** What happened within a turn, in its order. `cause`: index of the event; -1: none. */
interface Happened {
  readonly cause: number
  /** null: of whom the event is. */
  readonly who: Shown | null
  readonly row: RowDraft
}
/** That flow is another one from there on. */
interface Begun {
  readonly cause: number
  readonly index: number
  readonly who: Shown
}

export const page = (): Page => {
  const patterns = new Patterns()
  const textIndex = (text: string): number => patterns.indexOf(patternOf(`${text}`, []))
  const machines = new Map<AnyStateMachine, Machine>()
  const machineOf = (m: AnyStateMachine): Machine => {
    const known = machines.get(m)
    if (known !== undefined) return known
    const made = { of: chartOf(m), fields: contextFields(textIndex), index: machines.size }
    machines.set(m, made)
    return made
  }
  const all: Shown[] = []
  const nobody: Shown = {
    title: 'No flow',
    ends: 'ARP, DHCP, NDP, neighbours, listeners, drops',
    machine: null,
    state: -1,
    rows: []
  }
  /** Whose state that is: a state is followed from step to step. */
  const owners = new WeakMap<object, Shown>()
  /** By index of the flow, as long as it is that one. */
  const open = new Map<number, Shown>()
  const ms: number[] = []
  let began = 0
  let happened: Happened[] = []
  let begun: Begun[] = []

  /** The record begins in the middle, with this flow. */
  const wasThere = (f: Flow, now: number): void => {
    const table: unknown = kinds[f.kind]
    const of = TABLES.find(([one]) => one === table)?.[1]
    if (of === undefined) return
    const machine = machineOf(of)
    const state = machine.of.stateOf(leafOf(f, f.state.node))
    const changes = machine.fields.changes(undefined, f.state.context, now)
    const begins = { turn: 0, kind: STEP, text: BEGINS, taken: -1, state, changes }
    const who = { title: `${titleOf(f)} ${f.index}`, ends: flowEnds(f), machine, state, rows: [begins] }
    all.push(who)
    owners.set(f.state, who)
    open.set(f.index, who)
  }
  const stepped = (p: Replayer, s: Step): void => {
    const now = p.world.rings.clock[0] ?? 0
    const machine = machineOf(s.machine)
    let who = s.before === null ? undefined : owners.get(s.before)
    const take = (of: Shown, text: string, leaf: string, taken: number, changes: number[]): void => {
      of.state = machine.of.stateOf(leaf)
      const row = { turn: ms.length, kind: STEP, text, taken, state: of.state, changes }
      happened.push({ cause: p.cause(), who: of, row })
    }
    if (who === undefined) {
      who = { title: s.machine.id, ends: '', machine, state: -1, rows: [] }
      all.push(who)
      // It began before the first turn
      if (s.from !== null)
        take(who, BEGINS, s.from, -1, machine.fields.changes(undefined, s.before?.context, now))
    }
    owners.set(s.after, who)
    const text = [s.event?.type ?? BEGINS, ...s.effects.map((e) => effectWords(e, now))].join('\n')
    const changes = machine.fields.changes(s.before?.context, s.after.context, now)
    take(who, text, s.to, machine.of.rowOf(s.row), changes)
  }
  const counted = (p: Replayer): void => {
    const { counters } = p.world
    const set = counters.set.bind(counters)
    counters.set = (what, n) => {
      const by = n - (counters.get(what) ?? 0)
      const text = by === 1 ? what : `${what}, ${by} times`
      // Behind a step it is that step's doing
      const last = happened.at(-1)
      const who = last !== undefined && last.cause === p.cause() ? last.who : null
      happened.push({ cause: p.cause(), who, row: { turn: ms.length, kind: COUNT, text } })
      return set(what, n)
    }
  }

  return {
    watch: (p) => {
      for (const f of p.world.flows) if (f !== undefined) wasThere(f, p.world.rings.clock[0] ?? 0)
      counted(p)
      p.world.features.flowBegan.push((f) => {
        const who = owners.get(f.state)
        if (who === undefined) return
        who.title = `${titleOf(f)} ${f.index}`
        who.ends = flowEnds(f)
        begun.push({ cause: p.cause(), index: f.index, who })
      })
      return watchSteps((s) => stepped(p, s))
    },
    turn: (w, r, flows) => {
      if (ms.length === 0) began = r.turn.now
      const turn = ms.length
      ms.push(r.turn.now - began)
      /** Whose flow it is, when that event was handled; -1: at the end of the turn. */
      const at = (index: number | null, cause: number): Shown | null => {
        if (index === null) return null
        const until = begun.filter((b) => b.index === index && (cause < 0 || b.cause <= cause))
        return until.at(-1)?.who ?? open.get(index) ?? begun.find((b) => b.index === index)?.who ?? null
      }
      const effects = r.made.flat()
      const told = (cause: number, whose: Shown | null): void => {
        for (const h of happened) if (h.cause === cause) (h.who ?? whose ?? nobody).rows.push(h.row)
        for (const { record, event } of effects)
          if (event === cause) {
            const kind = TO_GUESTS.has(record.words[0] ?? 0) ? TO_GUEST : TO_HOST
            const who = at(effectFlow(w, record), cause) ?? whose ?? nobody
            who.rows.push({ turn, kind, text: effectText(record) })
          }
      }
      for (const [i, e] of r.turn.events.entries()) {
        const before = flows[i] ?? null
        const own =
          (before === null ? undefined : open.get(before)) ??
          begun.find((b) => b.cause === i)?.who ??
          at(before ?? eventFlow(w, e), i)
        const kind = OF_GUEST.has(e.words[0] ?? 0) ? FROM_GUEST : FROM_HOST
        ;(own ?? nobody).rows.push({ turn, kind, text: eventText(e) })
        told(i, own)
      }
      told(-1, null)
      for (const { index, who } of begun) open.set(index, who)
      for (const text of r.lines) {
        if (SAID.test(text)) continue
        const index = OF_FLOW.exec(text)?.[1]
        const who = index === undefined ? null : open.get(Number(index))
        ;(who ?? nobody).rows.push({ turn, kind: LOG, text })
      }
      happened = []
      begun = []
    },
    data: (heading, difference) => {
      const shown = [...all, nobody]
      const rows = shown.map((s) => s.rows)
      const columns = columnsOf(ms, rows, patterns)
      let from = 0
      const subjects = shown.map((s): Subject => {
        const first = from
        from += s.rows.length
        return { title: s.title, ends: s.ends, chart: s.machine?.index ?? -1, from: first, state: s.state }
      })
      const charts = [...machines.values()].map((m): Chart => ({ ...m.of.chart, fields: m.fields.list }))
      return {
        facts: {
          heading,
          difference: difference === null ? [] : differenceLines(difference),
          charts,
          subjects,
          patterns: patterns.list
        },
        columns
      }
    }
  }
}

/** One file: what the record says is in it as base64, so it can be no markup. */
export const pageHtml = (data: PageData, script: string, style: string): string =>
  documentOf({
    title: 'passt-replay',
    noscript: 'This page draws a record by a script of its own, which is in the page.',
    script,
    style,
    data: deflateRawSync(encodePage(data), { level: 6 }).toString('base64'),
    connects: false
  }).html
