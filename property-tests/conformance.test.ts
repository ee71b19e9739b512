// Where the charts' rules come from: every transition of every machine says, and so does every disposition.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type AnyStateMachine, createMachine } from 'xstate'
import { MACHINES } from '../scripts/diagrams.js'
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
