import { EF, EV } from '../abi/abi.js'
import { effectKind } from '../abi/effects.js'
import { flowOf, kindOf, OF_FLOWS, peekedOctets } from '../abi/events.js'
import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import type { Flow } from '../flow/flow.js'
import type { Counters } from '../log/log.js'

// --stats: a table of what happened, on standard error. Each row counts from the row before it, but for `flows`, which is
// how many there are (passt(1), --stats; behaviour.md#stats).

/** turns of the loop with an event; frames from, to the guest; events of sockets by kind of flow; of listeners; drops. */
const COLUMNS = ['turns', 'in', 'out', 'tcp', 'udp', 'ping', 'splice', 'listen', 'drops', 'flows'] as const
type Column = (typeof COLUMNS)[number]
export type Row = Record<Column, number>
const KIND: Readonly<Record<Flow['kind'], Column>> = {
  tcp: 'tcp',
  udp: 'udp',
  ping: 'ping',
  'tcp-splice': 'splice',
  'udp-splice': 'splice'
}

const WIDTH = 6
/** Rows between two headers. */
const HEADER_EVERY = 20

/** At most six characters. */
const short = (n: number): string =>
  n < 1e6 ? `${n}` : n < 1e8 ? `${Math.floor(n / 1e3)}k` : `${Math.floor(Math.min(n, 99999e6) / 1e6)}M`
const line = (cells: ReadonlyArray<string>): string => cells.map((c) => c.padStart(WIDTH)).join(' ')

/** Lines for the `i`th row, counted from 0: a header in front of every 20th. */
export const statsLines = (i: number, row: Row): ReadonlyArray<string> => [
  ...(i % HEADER_EVERY === 0 ? [line(COLUMNS)] : []),
  line(COLUMNS.map((c) => short(row[c])))
]

const zero = (): Row => Object.fromEntries(COLUMNS.map((c) => [c, 0])) as Row

const dropsOf = (counters: Counters): number => {
  let n = 0
  for (const [name, k] of counters) if (/drop|refused|full|lost|limit/.test(name)) n += k
  return n
}

/** Counts turns, and says a row when there was an event and `delay` ms have passed since the last one. */
export const statsTurns = (w: World, delay: number, say: (line: string) => void): Feature => {
  let row = zero()
  let rows = 0
  let drops = 0
  let next = Number.NEGATIVE_INFINITY
  const column = (kind: number, flow: number): Column | null => {
    if (kind === EV.TAP_FRAME) return 'in'
    if (kind === EV.ACCEPTED || kind === EV.LISTEN_DATAGRAM) return 'listen'
    if (!OF_FLOWS.has(kind)) return null
    const f = w.flows[flow]
    return f === undefined ? null : KIND[f.kind]
  }
  return {
    name: 'stats',
    effects: (): void => {
      for (let i = 0; i < w.rings.effects; i++) if (effectKind(w.rings, i) === EF.TAP_WRITE) row.out++
    },
    events: (n: number, now: number): void => {
      if (n === 0) return
      row.turns++
      const { ev } = w.rings
      for (let i = 0; i < n; i++) {
        const kind = kindOf(ev, i)
        const c = column(kind, flowOf(ev, i))
        if (c !== null) row[c]++
        // at least one frame of a socket's data
        if (kind === EV.PEEKED && peekedOctets(ev, i) > 0) row.out++
      }
      if (now < next) return
      next = now + delay
      const all = dropsOf(w.counters)
      row.drops = all - drops
      row.flows = w.table.size
      drops = all
      for (const l of statsLines(rows++, row)) say(l)
      row = zero()
    }
  }
}
