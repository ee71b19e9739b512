import { bytesOf, type Octets } from '../codecs/value/octets.js'
import { portsIn } from '../codecs/value/port-set.js'

// Values as text: as they are written in TypeScript, for what is saved and typed; and shorter, for what is shown.

const NAME = /^[A-Za-z_$][\w$]*$/
const quoted = (s: string): string =>
  `'${JSON.stringify(s).slice(1, -1).replace(/\\"/g, '"').replace(/'/g, "\\'")}'`
const isOctets = (o: object): o is Octets => (o as Partial<Octets>).view instanceof DataView
/** A set of ports is as long as this, in words. */
const PORT_WORDS = 2048

/** What a saved test must import for it. */
export type Imported = 'octets' | 'portSet'

/** As it is written in TypeScript. Law: of numbers, bigints, texts, lists and records, `parsed(literal(v))` is `v`. */
export const literal = (v: unknown, uses: (name: Imported) => void = () => {}): string => {
  const again = (x: unknown): string => literal(x, uses)
  if (typeof v === 'string') return quoted(v)
  if (typeof v === 'bigint') return `${v}n`
  if (Object.is(v, -0)) return '-0'
  if (typeof v !== 'object' || v === null) return String(v)
  if (Array.isArray(v)) return `[${v.map(again).join(', ')}]`
  if (v instanceof Map) return `new Map([${[...v].map(again).join(', ')}])`
  if (v instanceof Uint8Array) return `Uint8Array.of(${v.join(', ')})`
  if (v instanceof Uint32Array && v.length === PORT_WORDS) {
    uses('portSet')
    return `portSet([${portsIn(v).join(', ')}])`
  }
  if (isOctets(v)) {
    uses('octets')
    return `octets(${again(bytesOf(v))})`
  }
  const fields = Object.entries(v).map(([k, x]) => `${NAME.test(k) ? k : quoted(k)}: ${again(x)}`)
  return fields.length === 0 ? '{}' : `{ ${fields.join(', ')} }`
}

/** Lists are shown up to here. */
const SHOWN = 6
/** For people: long lists are cut, texts have no quotes. */
export const shown = (v: unknown): string => {
  if (typeof v === 'string') return v === '' ? "''" : v
  if (Array.isArray(v)) {
    const some = v.length > SHOWN ? [...v.slice(0, 3).map(shown), `… ${v.length} of them`] : v.map(shown)
    return `[${some.join(', ')}]`
  }
  if (v instanceof Uint8Array && v.length > SHOWN) return `${v.length} octets`
  if (typeof v === 'function') return 'a function'
  if (v instanceof Map) return `{ ${[...v].map(([k, x]) => `${shown(k)}: ${shown(x)}`).join(', ')} }`
  if (typeof v !== 'object' || v === null || ArrayBuffer.isView(v) || isOctets(v)) return literal(v)
  const fields = Object.entries(v).map(([k, x]) => `${k}: ${shown(x)}`)
  return fields.length === 0 ? '{}' : `{ ${fields.join(', ')} }`
}

/** Leaves of a record by their paths: 'seg.payload.len'. Lists and what is no plain record are leaves. */
export const leavesOf = (v: unknown, prefix = ''): readonly (readonly [string, unknown])[] => {
  const plain = typeof v === 'object' && v !== null && Object.getPrototypeOf(v) === Object.prototype
  const fields = plain ? Object.entries(v) : []
  if (fields.length === 0) return [[prefix, v]]
  return fields.flatMap(([k, x]) => leavesOf(x, prefix === '' ? k : `${prefix}.${k}`))
}
/** With another value at that path. */
export const withAt = (v: unknown, path: readonly string[], value: unknown): unknown => {
  const [key, ...rest] = path
  if (key === undefined) return value
  const o = (v ?? {}) as Readonly<Record<string, unknown>>
  return { ...o, [key]: withAt(o[key], rest, value) }
}
