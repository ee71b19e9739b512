// Where the charts' rules come from: every transition of every machine says, and so does every disposition. And what becomes of
// RFC 9293's requirements.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type AnyStateMachine, createMachine } from 'xstate'
import { files } from '../scripts/conformance.js'
import { MACHINES } from '../scripts/diagrams.js'
import { ROOT, staleOf } from '../scripts/generated.js'
import { type Level, type Place, type Requirement, RFC9293, type Shown } from '../scripts/rfc9293.js'
import { DISPOSITIONS } from '../src/machines/tcp/tcp-segment.js'

interface Node {
  readonly path: readonly string[]
  readonly states: Readonly<Record<string, Node>>
  readonly transitions: ReadonlyMap<string, readonly { readonly meta?: unknown }[]>
}
const nodes = (n: Node): readonly Node[] => [n, ...Object.values(n.states).flatMap(nodes)]
/** 'open.established on TURN_END, candidate 1', and what it is said to implement. */
const sources = (m: AnyStateMachine): readonly (readonly [string, unknown])[] =>
  nodes(m.root as unknown as Node).flatMap((n) =>
    [...n.transitions].flatMap(([event, list]) =>
      list.map((t, i) => [`${m.id}: ${n.path.join('.')} on ${event}, candidate ${i + 1}`, t.meta] as const)
    )
  )

/** An RFC with its section (RFC 792 has none), a standard, a rule or a page of ours, a man page; or why nobody else says it. */
const CLAUSE =
  /^(RFC \d+ (§\d|\(\d)|RFC 792, [a-z]|virtio \d\.\d §\d|vhost-user\.rst, "|behaviour\.md#[a-z]|[a-z-]+\(\d\)|ours: [`\w]+ )/
const REGRESSION = /^([1-9]\d?|[A-O]|V\d+)$/
const faultOf = ([where, meta]: readonly [string, unknown]): readonly string[] => {
  const { clause = '', regressions = [] } = (meta ?? {}) as { clause?: string; regressions?: unknown[] }
  if (!CLAUSE.test(clause)) return [`${where}: '${clause}'`]
  return regressions.every((n) => REGRESSION.test(String(n))) ? [] : [`${where}: regressions ${regressions}`]
}

describe('clauses', () => {
  for (const m of Object.values(MACHINES).flat())
    test(`${m.id}: each transition has its clause, or the reason for having none`, () => {
      assert(sources(m).length > 3)
      assert.deepEqual(sources(m).flatMap(faultOf), [])
    })
  test('each disposition of a TCP segment as well', () =>
    assert.deepEqual(Object.entries(DISPOSITIONS).flatMap(faultOf), []))
  test('a transition without one is found', () => {
    const m = createMachine({ id: 'toy', initial: 'a', states: { a: { on: { GO: {}, ON: { meta: {} } } } } })
    assert.deepEqual(sources(m as AnyStateMachine).flatMap(faultOf), [
      "toy: a on GO, candidate 1: ''",
      "toy: a on ON, candidate 1: ''"
    ])
  })
})

const textOf = (file: string): string =>
  existsSync(join(ROOT, file)) ? readFileSync(join(ROOT, file), 'utf8') : ''
/** Does a chart have the transition, or the file the name? */
const isThere = (place: Place): boolean => {
  const [, id, path, event] = /^([\w-]+): (\S+) on (\S+)$/.exec(place) ?? []
  if (id !== undefined) {
    const m = Object.values(MACHINES)
      .flat()
      .find((x) => x.id === id)
    const n = m && nodes(m.root as unknown as Node).find((x) => (x.path.join('.') || '(root)') === path)
    return n?.transitions.has(event!) === true
  }
  const [file, name] = place.split(' ')
  const text = textOf(`src/${file}`) || textOf(file!)
  return new RegExp(`\\b${name}\\b`).test(text)
}
/** A test, or a title that the file's tests are made of, as it is quoted there; in C++ what TEST() has. */
const isTest = ([file, name]: Shown): boolean => {
  if (file.endsWith('.cc')) return textOf(file).includes(`TEST(${name})`)
  return /\.test\.ts$/.test(file) && ["'", '"', '`'].some((q) => textOf(file).includes(`${q}${name}${q}`))
}
const faults = ({ id, feature, verdict: v }: Requirement): readonly string[] => {
  const where = `${id} (${feature})`
  if ('notApplicable' in v) return v.notApplicable.length > 5 ? [] : [`${where}: no reason`]
  if ('unused' in v) return v.unused.length > 5 && id.startsWith('MAY') ? [] : [`${where}: not done`]
  const { kept = [], shown = [] } = v
  return [
    ...('differs' in v
      ? v.differs.length > 5
        ? []
        : [`${where}: no reason`]
      : kept.length > 0 && shown.length > 0
        ? []
        : [`${where}: kept where, shown by what?`]),
    ...kept.filter((p) => !isThere(p)).map((p) => `${where}: no ${p}`),
    ...shown.filter((t) => !isTest(t)).map(([file, name]) => `${where}: no test '${name}' in ${file}`)
  ]
}
const ROWS = Object.values(RFC9293).flat()

describe('RFC 9293', () => {
  test("docs/conformance.md is fresh (else: 'npx tsx scripts/conformance.ts')", () =>
    assert.deepEqual(staleOf(files()), []))
  test('the rows are those of Appendix B: labels, and how often each stands there', () => {
    const upTo = (n: number): readonly number[] => Array.from({ length: n }, (_, i) => i + 1)
    const expected = [
      ...upTo(69).map((n) => `MUST-${n}`),
      ...upTo(31).map((n) => `SHLD-${n}`),
      ...upTo(18).map((n) => `MAY-${n}`),
      'REC-1',
      // Rows of IPv4 and IPv6, R1 and R2, and what stands under two headings
      ...['SHLD-5', 'MUST-15', 'MUST-20', 'MUST-46', 'MUST-56', 'MUST-56', 'MUST-57']
    ]
    assert.deepEqual(ROWS.map((r) => r.id).sort(), expected.sort())
    const word: Readonly<Record<string, readonly Level[]>> = {
      MUST: ['MUST', 'MUST NOT'],
      SHLD: ['SHOULD', 'SHOULD NOT'],
      REC: ['SHOULD'],
      MAY: ['MAY']
    }
    for (const r of ROWS) assert(word[r.id.split('-')[0]!]!.includes(r.level), `${r.id} ${r.level}`)
  })
  test('each is kept somewhere and shown by a test that exists, or there is a reason', () =>
    assert.deepEqual(ROWS.flatMap(faults), []))
  test('what does not exist is found', () => {
    const of = (verdict: Requirement['verdict']): readonly string[] =>
      faults({ id: 'MUST-0', feature: 'toy', level: 'MUST', verdict })
    const place = 'machines/tcp/tcp-segment.ts disposition'
    const shown: Shown = ['property-tests/tcp.test.ts', 'regression-E: urgent data is delivered in line']
    assert.deepEqual(of({ kept: [place], shown: [shown] }), [])
    assert.deepEqual(of({ kept: ['tcp: open on TAP_SEGMENT'], shown: [shown] }), [])
    assert.equal(of({ kept: ['tcp: open on NOTHING'], shown: [shown] }).length, 1)
    assert.equal(of({ kept: ['machines/tcp/tcp-segment.ts dispositio'], shown: [shown] }).length, 1)
    assert.equal(of({ kept: [place], shown: [] }).length, 1)
    assert.equal(
      of({ kept: [place], shown: [[shown[0], 'regression-E: urgent data is delivered']] }).length,
      1
    )
    assert.equal(of({ kept: [place], shown: [['native/test/tcp_test.cc', 'nothing']] }).length, 1)
    assert.equal(of({ notApplicable: '' }).length, 1)
    assert.equal(of({ unused: 'as it is a MUST' }).length, 1)
  })
})
