import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import {
  HANDED_MAX,
  type HandedEnds,
  type HandedFlow,
  type HandedListener,
  HandOverAnswer,
  HandOverQuestion,
  REST_MAX
} from '../src/codecs/control/hand-over.js'
import { FLOW_LEN, FlowRecord } from '../src/codecs/control/migration.js'
import { type Octets, octets } from '../src/codecs/value/octets.js'
import { instant } from '../src/effects/effect.js'
import {
  HAND_WAIT,
  type HandOverEffect,
  type HandOverEvent,
  handOverMachine,
  READY_WAIT
} from '../src/machines/link/hand-over.js'
import { HAND_OVER_MAX } from '../src/runtime/abi/abi.js'
import { compile } from '../src/runtime/machine/compile.js'
import {
  arbBytes,
  arbHostile,
  arbInAny,
  arbMac,
  arbU16,
  arbU32,
  assertRoundTrip,
  assertTotal,
  plain
} from './arbitraries.js'
import { arbClientPart } from './conf-arbitraries.js'
import { arbFlowRecord } from './migration-arbitraries.js'
import { sameAsXstate, untilAllTaken } from './same-as-xstate.js'

// A process and the one that takes its place: what they say, and when the older one stands still, goes on or leaves.

const count = fc.nat(2 ** 24 - 1)
const arbAddr = fc.option(arbInAny)
const arbQuestion: fc.Arbitrary<HandOverQuestion> = fc.oneof(
  plain({
    ask: fc.constant('begin' as const),
    version: count,
    mode: fc.string({ maxLength: 40 }),
    api: fc.option(fc.boolean())
  }),
  plain({ ask: fc.constantFrom('listeners' as const, 'flows' as const, 'rest' as const), from: count }),
  plain({ ask: fc.constantFrom('take' as const, 'session' as const) }),
  plain({ ask: fc.constant('done' as const), taken: count, lost: count })
) as fc.Arbitrary<HandOverQuestion>

const arbListener: fc.Arbitrary<HandedListener> = plain({
  id: count,
  proto: fc.constantFrom('tcp' as const, 'udp' as const),
  direction: fc.constantFrom('in' as const, 'out' as const),
  bind: arbAddr,
  v6only: fc.boolean(),
  ifname: fc.option(fc.string({ maxLength: 15 })),
  port: arbU16,
  given: fc.option(fc.string({ maxLength: 20 })),
  path: fc.option(fc.string({ maxLength: 20 }))
})
const arbEnds: fc.Arbitrary<HandedEnds> = plain({
  v6: fc.boolean(),
  guestMac: arbMac,
  ourMac: arbMac,
  guestAddr: arbInAny,
  guestPort: arbU16,
  ourAddr: arbInAny,
  ourPort: arbU16,
  hostAddr: arbInAny,
  hostPort: arbU16,
  arrival: fc.option(plain({ listener: arbU32, addr: arbInAny, port: arbU16, scope: arbU32 }))
})
const arbFlow: fc.Arbitrary<HandedFlow> = fc.oneof(
  plain({
    kind: fc.constant('tcp' as const),
    ends: arbEnds,
    record: arbFlowRecord.map((r) => FlowRecord.encode(r)),
    taken: arbU32,
    unacked: arbU32
  }),
  plain({ kind: fc.constant('udp' as const), ends: arbEnds })
)
const arbRules = fc.option(arbClientPart)
const arbFile = { path: fc.string(), file: fc.option(fc.string()) }
const arbConf = fc.option(plain({ ...arbFile, rules: arbRules }))
const listOf = <A>(of: fc.Arbitrary<A>): fc.Arbitrary<A[]> => fc.array(of, { maxLength: HANDED_MAX })
const arbAnswer: fc.Arbitrary<HandOverAnswer> = fc.oneof(
  plain({
    answer: fc.constant('begin' as const),
    version: count,
    guest: fc.oneof(
      plain({
        kind: fc.constant('tap' as const),
        name: fc.string({ maxLength: 15 }),
        index: arbU32,
        vnet: fc.boolean(),
        mac: arbMac
      }),
      fc.constant({ kind: 'link' as const }),
      plain({ kind: fc.constant('vhost-user' as const), helpers: fc.boolean() }),
      fc.constant(null)
    ),
    listeners: count,
    api: fc.option(plain(arbFile)),
    conf: arbConf,
    rules: arbRules
  }),
  plain({ answer: fc.constant('listeners' as const), list: listOf(arbListener) }),
  plain({
    answer: fc.constant('take' as const),
    guest: plain({
      v4: arbAddr,
      v6: arbAddr,
      linkLocal6: arbAddr,
      mac: arbMac,
      announced: fc.array(arbInAny)
    }),
    flows: count,
    ended: count,
    client: fc.boolean(),
    came: count,
    unsent: count
  }),
  plain({ answer: fc.constant('flows' as const), list: listOf(arbFlow) }),
  plain({ answer: fc.constant('rest' as const), octets: arbBytes(300) }),
  plain({
    answer: fc.constant('session' as const),
    list: fc.array(plain({ octets: arbBytes(80), fds: count }), { maxLength: 60 }),
    came: count
  }),
  plain({ answer: fc.constant('done' as const) }),
  plain({ answer: fc.constant('refused' as const), why: fc.string() })
) as fc.Arbitrary<HandOverAnswer>

const laws = <A>(codec: t.Type<A, Uint8Array, Octets>, arb: fc.Arbitrary<A>): void => {
  test(`${codec.name}: decode(encode(a)) = right(a)`, () =>
    fc.assert(fc.property(arb, (a) => assertRoundTrip(codec, a))))
  test(`${codec.name}: hostile octets give Left or a value, nothing outside is read`, () =>
    fc.assert(
      fc.property(arbHostile(arb.map((a) => codec.encode(a))), (b) => assertTotal(codec, b)),
      { numRuns: 500 }
    ))
}
const textOf = (u: unknown): Octets => octets(new TextEncoder().encode(JSON.stringify(u)))

describe('what is asked and answered', () => {
  laws(HandOverQuestion, arbQuestion)
  laws(HandOverAnswer, arbAnswer)

  test('what a newer release says besides is left out', () => {
    const q = { ask: 'take', more: { of: ['it'] } }
    assert.deepEqual(HandOverQuestion.decode(textOf(q)), E.right({ ask: 'take' }))
  })
  test('numbers and records that cannot be are no message', () => {
    const q = (from: unknown) => E.isRight(HandOverQuestion.decode(textOf({ ask: 'flows', from })))
    for (const from of [-1, 0.5, 2 ** 24, '0', null, [0]]) assert.equal(q(from), false, `${from}`)
    const flows = fc.sample(arbFlow, { numRuns: 3, seed: 1 })
    const said = JSON.parse(
      new TextDecoder().decode(HandOverAnswer.encode({ answer: 'flows', list: flows }))
    ) as { list: string }
    const altered = (change: (b: Buffer) => Buffer): boolean => {
      const list = change(Buffer.from(said.list, 'base64')).toString('base64')
      return E.isRight(HandOverAnswer.decode(textOf({ ...said, list })))
    }
    assert.equal(
      altered((b) => b),
      true
    )
    // One octet less, a record of a kind that is not, records that are too short
    assert.equal(
      altered((b) => b.subarray(0, -1)),
      false
    )
    assert.equal(
      altered((b) => Buffer.concat([b.subarray(0, 4), Buffer.of(3), b.subarray(5)])),
      false
    )
    assert.equal(
      altered((b) => Buffer.concat([Buffer.of(1, 0, 0, 0), b.subarray(4)])),
      false
    )
    // Not even a length; only one; records that end early, whatever their length says
    assert.equal(
      altered((b) => b.subarray(0, 3)),
      false
    )
    assert.equal(
      altered((b) => b.subarray(0, 4)),
      true
    )
    for (const less of [1, 8, FLOW_LEN])
      assert.equal(
        altered((b) => {
          const size = b.readUInt32LE() - less
          return Buffer.concat([Buffer.from(Uint32Array.of(size).buffer), b.subarray(4, 4 + size)])
        }),
        false,
        `${less}`
      )
    // Longer ones have more than we know
    const size = Buffer.from(said.list, 'base64').readUInt32LE()
    const longer = altered((b) =>
      Buffer.concat([
        Buffer.from(Uint32Array.of(size + 4).buffer),
        ...flows.map((_, i) =>
          Buffer.concat([b.subarray(4 + i * size, 4 + (i + 1) * size), Buffer.alloc(4, 7)])
        )
      ])
    )
    assert.equal(longer, true)
  })
  test('octets are base64 and nothing else', () => {
    const rest = (said: unknown) => HandOverAnswer.decode(textOf({ answer: 'rest', octets: said }))
    assert.deepEqual(rest('AP/+Ag=='), E.right({ answer: 'rest', octets: Uint8Array.of(0, 255, 254, 2) }))
    assert.deepEqual(rest(''), E.right({ answer: 'rest', octets: new Uint8Array() }))
    for (const odd of [' AAAA', 'AA-_', 'AAAA\n', 'AA=A', 'A===', '=', 'AAAAA', 'ä', null, 7, ['AAAA']])
      assert.ok(E.isLeft(rest(odd)), `${odd}`)
  })
  test('the longest answers fit into a message', () => {
    const most = 0xffff_ffff
    const addr = [most, most, most, most] as const
    const mac = 2 ** 48 - 1
    const full: HandedFlow = {
      kind: 'tcp',
      ends: {
        v6: false,
        guestMac: mac,
        ourMac: mac,
        guestAddr: addr,
        guestPort: 65535,
        ourAddr: addr,
        ourPort: 65535,
        hostAddr: addr,
        hostPort: 65535,
        arrival: { listener: most, addr, port: 65535, scope: most }
      },
      record: new Uint8Array(FLOW_LEN),
      taken: most,
      unacked: most
    }
    const answers: ReadonlyArray<HandOverAnswer> = [
      { answer: 'flows', list: Array.from({ length: HANDED_MAX }, () => full) },
      { answer: 'rest', octets: new Uint8Array(REST_MAX) }
    ]
    for (const a of answers) assert.ok(HandOverAnswer.encode(a).length <= HAND_OVER_MAX)
  })
})

const now = fc.constantFrom(1, 1, 50, 1e9).map(instant)
const arbEvent: fc.Arbitrary<HandOverEvent> = fc.oneof(
  { weight: 2, arbitrary: plain({ type: fc.constant('PEER' as const), there: fc.constant(true), now }) },
  plain({ type: fc.constant('PEER' as const), there: fc.constant(false), now }),
  { weight: 5, arbitrary: plain({ type: fc.constant('ASKED' as const), question: arbQuestion, now }) },
  { weight: 2, arbitrary: plain({ type: fc.constant('SETTLED' as const), now }) },
  plain({ type: fc.constantFrom('FAULTY' as const, 'DEADLINE' as const), now })
) as fc.Arbitrary<HandOverEvent>
const at = instant(1)
const asked = (question: HandOverQuestion): HandOverEvent => ({ type: 'ASKED', question, now: at })
const whole: readonly HandOverEvent[] = [
  { type: 'PEER', there: true, now: at },
  asked({ ask: 'begin', version: 1, mode: 'pasta', api: null }),
  asked({ ask: 'take' }),
  { type: 'SETTLED', now: at },
  asked({ ask: 'flows', from: 0 }),
  asked({ ask: 'done', taken: 1, lost: 0 })
]
/** Up to any part of the chart. */
const arbPrefix = fc.integer({ min: 0, max: whole.length }).map((n) => whole.slice(0, n))
const machine = compile<typeof handOverMachine, HandOverEffect>(handOverMachine)

/** Effects of these events, one list for each. */
const runOf = (events: readonly HandOverEvent[]): HandOverEffect[][] => {
  let state = machine.start(undefined, [])
  return events.map((e) => {
    const out: HandOverEffect[] = []
    state = machine.step(state, e, out)
    return out
  })
}

describe('the older one', () => {
  test('compiled = xstate', () =>
    untilAllTaken(handOverMachine, () =>
      sameAsXstate(handOverMachine, fc.constant(undefined), arbEvent, { prefix: arbPrefix })
    ))
  test('flows stand still once, and then go on, or leave for ever: never both', () =>
    fc.assert(
      fc.property(arbPrefix, fc.array(arbEvent, { maxLength: 40 }), (prefix, events) => {
        let is: 'serving' | 'still' | 'left' = 'serving'
        // A connection that has ended is always told
        const all: readonly HandOverEvent[] = [...prefix, ...events, { type: 'PEER', there: false, now: at }]
        for (const effects of runOf(all))
          for (const { type } of effects) {
            if (type === 'StandStill') assert.equal(is, 'serving')
            if (type === 'GoOn' || type === 'Leave') assert.equal(is, 'still')
            if (type === 'Reply') assert.notEqual(is, 'left')
            is =
              type === 'StandStill' ? 'still' : type === 'GoOn' ? 'serving' : type === 'Leave' ? 'left' : is
          }
        assert.notEqual(is, 'still')
      }),
      { numRuns: 2000 }
    ))
  test('each question that is answered is answered once; and none when nobody asks', () =>
    fc.assert(
      fc.property(arbPrefix, fc.array(arbEvent, { maxLength: 40 }), (prefix, events) => {
        let open = 0
        const all = [...prefix, ...events]
        runOf(all).forEach((effects, i) => {
          const e = all[i]!
          if (e.type === 'ASKED') open++
          if (e.type === 'PEER' && !e.there) open = 0
          for (const { type } of effects) if (type === 'Reply') assert.ok(--open >= 0)
        })
      }),
      { numRuns: 500 }
    ))
  test('whoever takes too long is hung up on', () => {
    const late = (n: number, wait: number): readonly string[] =>
      runOf([...whole.slice(0, n), { type: 'DEADLINE', now: instant(1 + wait) }])
        .at(-1)!
        .map((e) => e.type)
    for (const n of [1, 2]) {
      assert.deepEqual(late(n, READY_WAIT - 1), [])
      assert.deepEqual(late(n, READY_WAIT), ['HangUp'])
    }
    for (const n of [3, 4, 5]) {
      assert.deepEqual(late(n, HAND_WAIT - 1), [])
      assert.deepEqual(late(n, HAND_WAIT), ['HangUp'])
    }
  })
})
