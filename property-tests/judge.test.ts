import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { staleOf } from '../scripts/generated.js'
import { judgeRules } from '../scripts/judge-rules.js'
import { add } from '../src/codecs/value/seq.js'
import type { SackBlock } from '../src/codecs/wire/tcp-options.js'
import { createJudge, LIMITS } from '../src/machines/judge/judge.js'
import { type EndpointEvent, judgedEndpointMachine } from '../src/machines/judge/judged-endpoint.js'
import { RULES } from '../src/machines/judge/rules.js'
import { all, change, FAULTS, type Fault, showSpec, withOption } from './judge-faults.js'
import {
  arbConfig,
  type Config,
  capture,
  conversation,
  type Ending,
  judgeAll,
  lifecycle,
  type Spec,
  type Trace
} from './judge-traces.js'

import { sameAsXstate, untilAllTaken } from './same-as-xstate.js'

const arbEnding = fc.constantFrom<Ending>('close', 'half', 'reset', 'open')

const judged = (t: Trace, ordered = false) => judgeAll(capture(t), createJudge(lifecycle, LIMITS, ordered))
const shown = (t: Trace, ordered = false): readonly string[] =>
  judged(t, ordered).map((f) => `${f.rule} at ${showSpec(t.specs[f.frame - 1]!)}: ${f.seen}; ${f.allowed}`)

describe('what is honest', () => {
  test('has no finding', () =>
    fc.assert(
      fc.property(arbConfig, arbEnding, (c, ending) => {
        assert.deepEqual(shown(conversation(c, ending)), [])
        assert.deepEqual(shown(conversation(c, ending), true), [])
      })
    ))
  test("an ACK of the peer's FIN that still has the SACK blocks of before: Linux in FIN-WAIT", () =>
    fc.assert(
      fc.property(arbConfig, fc.constantFrom<Ending>('close', 'half'), (random, ending) => {
        const t = conversation({ ...random, sack: true }, ending)
        const at = all(t, /^acks-fin-2$/)[0]!
        const old = (s: Spec, from: number): SackBlock => ({
          left: add(s.ack, from),
          right: add(s.ack, from + 10)
        })
        const stale = (i: number): Trace =>
          change(t, i, (s) => withOption(s, { tag: 'Sack', blocks: [old(s, -20), old(s, -40)] })).trace
        assert.deepEqual(shown(stale(at)), [])
        // Of one before it that is a finding
        const before = all(t, /^answers$/, t.specs[at]!.by)
          .filter((i) => i < at)
          .at(-1)!
        assert.match(shown(stale(before)).join('\n'), /^sack-below at /)
      })
    ))
})

describe('a planted fault is found where it is, and its twin without it has none', () => {
  const property = (f: Fault): void =>
    fc.assert(
      fc.property(arbConfig, arbEnding, fc.nat(), (random, end, n) => {
        const c: Config = { ...random, ...f.config }
        const honest = f.honest?.(c) ?? conversation(c, f.ending ?? end)
        assert.deepEqual(shown(honest, f.ordered), [])
        const { trace, at } = f.plant(honest, (of) => n % of, c)
        const found = judged(trace, f.ordered)
        const first = found.filter((x) => x.frame === at + 1).map((x) => x.rule)
        assert.ok(
          first.includes(f.rule),
          `at ${showSpec(trace.specs[at]!)}: ${shown(trace, f.ordered).join('\n')}`
        )
        assert.deepEqual(
          found.filter((x) => x.frame < at + 1),
          [],
          'nothing before'
        )
        assert.ok(found.length <= 3, shown(trace, f.ordered).join('\n'))
      }),
      { numRuns: 8 }
    )
  for (const f of FAULTS) test(`${f.name}: ${f.rule}, ${RULES[f.rule].clause}`, () => property(f))
})

describe('the chart of an endpoint', () => {
  const TYPES: readonly EndpointEvent['type'][] = [
    'SENT_SYN',
    'SENT_SYN_ACK',
    'HEARD_SYN',
    'HEARD_SYN_ACK',
    'SENT_ACK',
    'HEARD_ACK_OF_SYN',
    'SENT_FIN',
    'HEARD_FIN',
    'HEARD_ACK_OF_FIN',
    'SENT_RST',
    'HEARD_RST',
    'MIDWAY'
  ]
  test('compiled = xstate', () =>
    untilAllTaken(judgedEndpointMachine, () =>
      sameAsXstate(
        judgedEndpointMachine,
        fc.constant({}),
        fc.constantFrom(...TYPES).map((type) => ({ type }))
      )
    ))
})

test("docs/judge-rules.md is what the table says (else: 'npx tsx scripts/judge-rules.ts')", () =>
  assert.deepEqual(staleOf(judgeRules()), []))
