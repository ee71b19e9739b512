import assert from 'node:assert/strict'
import document from '../src/runtime/api/openapi.json' with { type: 'json' }

// Answers held to src/runtime/api/openapi.json: as much of JSON Schema as that makes use of, and whatever else is in it is a fault.

interface Schema {
  readonly $ref?: string
  readonly type?: string | ReadonlyArray<string>
  readonly enum?: ReadonlyArray<unknown>
  readonly oneOf?: ReadonlyArray<Schema>
  readonly items?: Schema
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: ReadonlyArray<string>
  readonly additionalProperties?: boolean | Schema
  readonly description?: string
}
const KNOWN = new Set([
  ...['$ref', 'type', 'enum', 'oneOf', 'items', 'properties', 'required', 'additionalProperties'],
  'description'
])
const typeOf = (v: unknown): ReadonlyArray<string> =>
  v === null
    ? ['null']
    : Array.isArray(v)
      ? ['array']
      : typeof v === 'number'
        ? Number.isInteger(v)
          ? ['integer', 'number']
          : ['number']
        : [typeof v]

/** What is wrong, '' = nothing. `at`: where. */
const faultOf = (s: Schema, v: unknown, at: string): string => {
  for (const key of Object.keys(s)) assert.ok(KNOWN.has(key), `${at}: ${key}`)
  if (s.$ref !== undefined) return faultOf(schema(s.$ref.replace('#/components/schemas/', '')), v, at)
  if (s.oneOf !== undefined) {
    const fits = s.oneOf.filter((one) => faultOf(one, v, at) === '').length
    return fits === 1 ? '' : `${at} is ${fits} of oneOf`
  }
  if (s.type !== undefined && ![s.type].flat().some((t) => typeOf(v).includes(t)))
    return `${at} is ${JSON.stringify(v)}`
  if (s.enum !== undefined && !s.enum.includes(v)) return `${at} is ${JSON.stringify(v)}`
  if (Array.isArray(v) && s.items !== undefined)
    return v.map((one, i) => faultOf(s.items as Schema, one, `${at}[${i}]`)).find((f) => f !== '') ?? ''
  if (typeOf(v)[0] !== 'object') return ''
  const o = v as Readonly<Record<string, unknown>>
  const missing = s.required?.find((k) => !Object.hasOwn(o, k))
  if (missing !== undefined) return `${at}.${missing} is missing`
  for (const [k, value] of Object.entries(o)) {
    const rest = s.additionalProperties ?? true
    const of = s.properties?.[k] ?? (rest === true ? {} : rest)
    if (of === false) return `${at}.${k} is not in it`
    const fault = faultOf(of, value, `${at}.${k}`)
    if (fault !== '') return fault
  }
  return ''
}
const schema = (name: string): Schema => {
  const found = (document.components.schemas as unknown as Record<string, Schema | undefined>)[name]
  assert.ok(found !== undefined, name)
  return found
}
/** '' = it is one. */
export const misfit = (name: string, v: unknown): string => faultOf(schema(name), v, name)
