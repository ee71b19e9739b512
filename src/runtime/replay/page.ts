import { unsigned } from '../../codecs/value/seq.js'
import { EF, EV } from '../abi/abi.js'
import type { World } from '../data/world.js'
import { effectFlow, eventFlow } from './flow-of.js'
import type { Replayed } from './replayer.js'
import { type DifferenceReport, differenceLines } from './report.js'
import { effectText, eventText } from './show.js'

// --html: one page of a replay, without a script and without anything from elsewhere: the flows, and of each a ladder with the guest's side on the
// left, the host's on the right, and in between what its machine did.

/** Of a ladder. `way`: where it goes, as an arrow between guest, machine and host. */
interface Rung {
  /** From the first turn on. */
  readonly ms: number
  readonly turn: number
  readonly side: 'guest' | 'host' | 'machine'
  readonly way: string
  readonly text: string
}
interface Ladder {
  readonly title: string
  ends: string
  state: string
  /** Of a connection, when last told. */
  numbers: string
  readonly rungs: Rung[]
}
export interface Page {
  readonly turn: (w: World, r: Replayed, flows: ReadonlyArray<number | null>) => void
  readonly html: (heading: ReadonlyArray<string>, difference: DifferenceReport | null) => string
}

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => escapes[c] ?? c)

const STYLE = `body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}td,th{padding:2px 8px;text-align:left;vertical-align:top}
.l td{font:12px monospace;border-bottom:1px solid #eee}.l td:first-child{text-align:right;color:#666}.m{background:#eef6ee}.w{white-space:nowrap}
details{margin:1em 0;content-visibility:auto}summary{cursor:pointer;font-weight:bold}pre{background:#fee;padding:1em}`

const FROM_GUEST = new Set<number>([EV.TAP_FRAME, EV.TAP_DROPPED, EV.TAP_ROOM])
const TO_GUEST = new Set<number>([EF.TAP_WRITE, EF.PEEK])
const LINE = /^Flow (\d+) \(([^)]*(?:\([^)]*\))?)\): (.*)$/

/** SND.UNA and so on, as they are now. '': it is no connection. */
const numbersOf = (w: World, index: number): string => {
  const f = w.flows[index]
  if (f?.kind !== 'tcp') return ''
  const { sndUna, sndNxt, sndWnd, rcvNxt, rcvEdge } = f.state.context.tcb
  const window = (rcvEdge - rcvNxt) >>> 0
  return `SND.UNA ${unsigned(sndUna)} SND.NXT ${unsigned(sndNxt)} SND.WND ${sndWnd} RCV.NXT ${unsigned(rcvNxt)} RCV.WND ${window}`
}

const row = (r: Rung): string => {
  const cell = (side: Rung['side']): string => (r.side === side ? escaped(r.text) : '')
  const middle = r.side === 'machine' ? ' class="m"' : ''
  return `<tr${middle}><td>${r.ms.toFixed(3)}</td><td>${r.turn}</td><td>${cell('guest')}</td><td class="w">${r.way}</td><td>${cell('machine')}</td><td>${cell('host')}</td></tr>`
}
const ladderOf = (l: Ladder, i: number): string =>
  [
    `<details id="f${i}"${i === 0 ? ' open' : ''}><summary>${escaped(l.title)}</summary><p>${escaped(l.ends)}</p>`,
    '<table class="l"><tr><th>ms</th><th>turn</th><th>guest</th><th></th><th>machine</th><th>host</th></tr>',
    ...l.rungs.map(row),
    '</table></details>'
  ].join('\n')

export const page = (): Page => {
  const all: Ladder[] = []
  /** Of the first turn. */
  let from: number | null = null
  /** By index, as long as it is that flow's. */
  const open = new Map<number, Ladder>()
  const others: Ladder = {
    title: 'No flow',
    ends: 'ARP, DHCP, NDP, neighbours, listeners, drops',
    state: '',
    numbers: '',
    rungs: []
  }
  const of = (index: number | null): Ladder => (index === null ? others : (open.get(index) ?? others))
  const begun = (r: Replayed): void => {
    for (const text of r.lines) {
      const [, index, title, what] = LINE.exec(text) ?? []
      if (index === undefined || what === undefined) continue
      if (what.startsWith('NEW -> ')) {
        const l: Ladder = { title: `Flow ${index} (${title})`, ends: '', state: '', numbers: '', rungs: [] }
        all.push(l)
        open.set(Number(index), l)
      } else if (what.startsWith('    ')) of(Number(index)).ends = what.trim()
    }
  }
  return {
    turn: (w, r, flows) => {
      const turn = r.turn.index
      from ??= r.turn.now
      const ms = r.turn.now - from
      begun(r)
      const touched = new Set<number>()
      const add = (flow: number | null, side: Rung['side'], way: string, text: string): void => {
        of(flow).rungs.push({ ms, turn, side, way, text })
        if (flow !== null) touched.add(flow)
      }
      for (const [i, e] of r.turn.events.entries()) {
        const isGuest = FROM_GUEST.has(e.words[0] ?? 0)
        add(flows[i] ?? eventFlow(w, e), isGuest ? 'guest' : 'host', isGuest ? '⟶' : '⟵', eventText(e))
      }
      for (const text of r.lines) {
        const [, index, , what = ''] = LINE.exec(text) ?? []
        if (what.startsWith('    ')) continue
        const flow = index === undefined ? null : Number(index)
        add(flow, 'machine', '', index === undefined ? text : what)
        if (flow !== null) of(flow).state = what.replace(/^.*-> /, '')
      }
      for (const { record, event } of r.made.flat()) {
        const isGuest = TO_GUEST.has(record.words[0] ?? 0)
        const flow = effectFlow(w, record) ?? flows[event] ?? null
        add(flow, isGuest ? 'guest' : 'host', isGuest ? '⟵' : '⟶', effectText(record))
      }
      for (const flow of touched) {
        const l = of(flow)
        const numbers = numbersOf(w, flow)
        if (numbers === '' || numbers === l.numbers) continue
        l.numbers = numbers
        l.rungs.push({ ms, turn, side: 'machine', way: '', text: numbers })
      }
    },
    html: (heading, difference) => {
      const ladders = [...all, others]
      const flows = ladders.map(
        (l, i) =>
          `<tr><td><a href="#f${i}">${escaped(l.title)}</a></td><td>${escaped(l.ends)}</td><td>${escaped(l.state)}</td><td>${l.rungs.length}</td></tr>`
      )
      return [
        `<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>passt-replay</title><style>${STYLE}</style></head><body>`,
        ...heading.map((h) => `<p>${escaped(h)}</p>`),
        ...(difference === null ? [] : [`<pre>${escaped(differenceLines(difference).join('\n'))}</pre>`]),
        '<table><tr><th>flow</th><th>from, to</th><th>last state</th><th>rungs</th></tr>',
        ...flows,
        '</table>',
        ...ladders.map(ladderOf),
        '</body></html>',
        ''
      ].join('\n')
    }
  }
}
