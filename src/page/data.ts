import { filled, patternOf } from './texts.js'

// What is in the page of a replay: a few values as JSON, and columns of numbers, one place a row. Written by runtime/replay/page.ts, read in the
// browser. No DOM and no Node here.

/** What a row of a ladder is. An arrow goes between guest, machine and host. */
export const FROM_GUEST = 0
export const TO_GUEST = 1
export const FROM_HOST = 2
export const TO_HOST = 3
/** The machine has handled an event. */
export const STEP = 4
/** Something was counted: a drop, or what else is worth it. */
export const COUNT = 5
/** A line of the log that no step says. */
export const LOG = 6
export const KINDS = 7

export interface ChartNode {
  /** 'established'; '' of the root. */
  readonly key: string
  /** Index of the state around it; -1: it is the root. */
  readonly parent: number
  readonly type: string
  readonly description: string
  /** Index of the state that it is entered by; -1: it has none inside. */
  readonly initial: number
}
/** A transition. */
export interface ChartRow {
  /** Index of the state that has it. */
  readonly state: number
  readonly event: string
  readonly guard: string
  readonly actions: ReadonlyArray<string>
  /** Index of a state; -1: it goes nowhere. */
  readonly target: number
  readonly clause: string
  readonly regressions: ReadonlyArray<string>
}
export interface ChartArrow {
  readonly from: number
  readonly to: number
  readonly causes: ReadonlyArray<string>
}
/** A number that the machine knows. 'at': ms on the record's clock, in a changed value µs from its row's time on. */
export interface Field {
  readonly name: string
  readonly type: 'number' | 'seq' | 'at' | 'boolean' | 'text'
}
export interface Chart {
  readonly id: string
  readonly description: string
  /** The first one is the root. */
  readonly nodes: ReadonlyArray<ChartNode>
  readonly rows: ReadonlyArray<ChartRow>
  readonly arrows: ReadonlyArray<ChartArrow>
  readonly fields: ReadonlyArray<Field>
}
/** A flow, or whatever else has a machine; the last one is what belongs to none. */
export interface Subject {
  readonly title: string
  readonly ends: string
  /** Index of its chart; -1: it has no machine. */
  readonly chart: number
  /** Its rows: from this one, up to the next subject's first. */
  readonly from: number
  /** Index of its last state in its chart; -1: none. */
  readonly state: number
}
export interface Facts {
  readonly heading: ReadonlyArray<string>
  /** Lines; none: nothing differs. */
  readonly difference: ReadonlyArray<string>
  readonly charts: ReadonlyArray<Chart>
  readonly subjects: ReadonlyArray<Subject>
  /** Patterns of texts (texts.ts). */
  readonly patterns: ReadonlyArray<string>
}
/** Of the rows, in the order of subjects, then of time. */
export interface Columns {
  /** ms of each turn from the first one on; index 0 is that of turn 1. */
  readonly ms: Float64Array
  /** Index into `ms`. */
  readonly turn: Int32Array
  readonly kind: Uint8Array
  /** Index of the text's pattern. */
  readonly pattern: Int32Array
  /** Where its numbers begin in `numbers`. */
  readonly numbersAt: Int32Array
  readonly numbers: Uint32Array
  /** Of a step: index of the transition, -1: none was taken. */
  readonly taken: Int16Array
  /** Of a step: index of the state behind it. */
  readonly state: Int16Array
  /** Of a step: where its changes begin; they end where those of the next row begin. One place more than there are rows. */
  readonly changesAt: Int32Array
  /** Index of the field. */
  readonly field: Uint8Array
  /** null is NaN; true is 1; a text is the index of its pattern. Before the first change a number is 0. */
  readonly value: Float64Array
}
export interface PageData {
  readonly facts: Facts
  readonly columns: Columns
}

const ARRAYS = {
  ms: Float64Array,
  turn: Int32Array,
  kind: Uint8Array,
  pattern: Int32Array,
  numbersAt: Int32Array,
  numbers: Uint32Array,
  taken: Int16Array,
  state: Int16Array,
  changesAt: Int32Array,
  field: Uint8Array,
  value: Float64Array
} as const
type ColumnName = keyof typeof ARRAYS
const NAMES = Object.keys(ARRAYS) as ReadonlyArray<ColumnName>

/** Columns begin at multiples of this. */
const ALIGN = 8
const aligned = (n: number): number => Math.ceil(n / ALIGN) * ALIGN

/**
 * Octets: the length of the head, the head (JSON: the facts, and how long each column is), then the columns, little-endian as all machines are that
 * have a browser. Law: decodePage(encodePage(d)) = d.
 */
export const encodePage = ({ facts, columns }: PageData): Uint8Array<ArrayBuffer> => {
  const lengths = NAMES.map((name) => columns[name].length)
  const head = new TextEncoder().encode(JSON.stringify({ facts, lengths }))
  const size = NAMES.reduce((n, name) => n + aligned(columns[name].byteLength), aligned(4 + head.length))
  const out = new Uint8Array(size)
  new DataView(out.buffer).setUint32(0, head.length, true)
  out.set(head, 4)
  let at = aligned(4 + head.length)
  for (const name of NAMES) {
    const { buffer, byteOffset, byteLength } = columns[name]
    out.set(new Uint8Array(buffer, byteOffset, byteLength), at)
    at += aligned(byteLength)
  }
  return out
}
/** `octets` begin their buffer. */
export const decodePage = (octets: Uint8Array<ArrayBuffer>): PageData => {
  const length = new DataView(octets.buffer).getUint32(0, true)
  const head = JSON.parse(new TextDecoder().decode(octets.subarray(4, 4 + length))) as {
    readonly facts: Facts
    readonly lengths: ReadonlyArray<number>
  }
  let at = aligned(4 + length)
  const columns = Object.fromEntries(
    NAMES.map((name, i) => {
      const column = new ARRAYS[name](octets.buffer, at, head.lengths[i])
      at += aligned(column.byteLength)
      return [name, column]
    })
  ) as unknown as Columns
  return { facts: head.facts, columns }
}

/** Index of each pattern that was asked for, in the order of the first time. */
export class Patterns {
  readonly list: string[] = []
  private readonly known = new Map<string, number>()
  indexOf(pattern: string): number {
    const known = this.known.get(pattern)
    if (known !== undefined) return known
    this.known.set(pattern, this.list.length)
    return this.list.push(pattern) - 1
  }
}

/** A row before it is in its place. */
export interface RowDraft {
  /** Index of the turn, from 0. */
  readonly turn: number
  readonly kind: number
  readonly text: string
  /** Of a step. */
  readonly taken?: number
  readonly state?: number
  /** Field and value, one after the other. */
  readonly changes?: ReadonlyArray<number>
}
/** All rows, subject by subject. */
export const columnsOf = (
  ms: ReadonlyArray<number>,
  rows: ReadonlyArray<ReadonlyArray<RowDraft>>,
  patterns: Patterns
): Columns => {
  const n = rows.reduce((sum, list) => sum + list.length, 0)
  const changes = rows.reduce((sum, list) => list.reduce((s, r) => s + (r.changes?.length ?? 0) / 2, sum), 0)
  const numbers: number[] = []
  const c = {
    ms: Float64Array.from(ms),
    turn: new Int32Array(n),
    kind: new Uint8Array(n),
    pattern: new Int32Array(n),
    numbersAt: new Int32Array(n),
    taken: new Int16Array(n).fill(-1),
    state: new Int16Array(n).fill(-1),
    changesAt: new Int32Array(n + 1),
    field: new Uint8Array(changes),
    value: new Float64Array(changes)
  }
  let i = 0
  let change = 0
  for (const list of rows)
    for (const r of list) {
      c.turn[i] = r.turn
      c.kind[i] = r.kind
      c.numbersAt[i] = numbers.length
      c.pattern[i] = patterns.indexOf(patternOf(r.text, numbers))
      c.taken[i] = r.taken ?? -1
      c.state[i] = r.state ?? -1
      c.changesAt[i] = change
      for (let k = 0; k < (r.changes?.length ?? 0); k += 2, change++) {
        c.field[change] = r.changes![k]!
        c.value[change] = r.changes![k + 1]!
      }
      i++
    }
  c.changesAt[n] = change
  return { ...c, numbers: Uint32Array.from(numbers) }
}
/** The text of a row. */
export const textOf = ({ facts, columns }: PageData, row: number): string =>
  filled(facts.patterns[columns.pattern[row]!] ?? '', columns.numbers, columns.numbersAt[row]!)
