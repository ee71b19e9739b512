import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type Effect, instant } from '../src/effects/effect.js'
import {
  type TcpSpliceContext,
  type TcpSpliceEvent,
  type TcpSpliceInput,
  tcpSpliceMachine
} from '../src/machines/flow/tcp-splice.js'
import { compile, type State } from '../src/runtime/machine/compile.js'
import { Direct, type Scenario, Spliced, type Subject, type World } from '../src/simulator/splice.js'
import type { Op } from '../src/simulator/splice-peer.js'
import { real } from './arbitraries.js'
import { sameAsXstate, untilAllTaken } from './same-as-xstate.js'
import { line, op, script, side, type Turn, text } from './splice-arbitraries.js'

const splice = compile(tcpSpliceMachine)
const runs = Number(process.env.FC_RUNS ?? 300)

// --- the machine on its own

const now = real(0, 1e6).map(instant)
const moved = fc.tuple(fc.nat(1e9), fc.nat(1e9))
const event: fc.Arbitrary<TcpSpliceEvent> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ type: fc.constant('SPLICE_CONNECTED' as const), now }) },
  { weight: 6, arbitrary: fc.record({ type: fc.constant('SPLICE_EOF' as const), side, moved, now }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('SPLICE_FAILED' as const),
      side,
      errno: fc.nat(133),
      moved,
      now
    })
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('STOP' as const), now }) }
)
const input: fc.Arbitrary<TcpSpliceInput> = fc.record({ now })

test('compiled tcp-splice = xstate tcp-splice', () =>
  untilAllTaken(tcpSpliceMachine, () => sameAsXstate(tcpSpliceMachine, input, event)))

test('any events: sockets given back once, at the end and only there; what does not belong is counted', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 20 }), (events) => {
      const out: Effect[] = []
      let s = splice.start({ now: instant(0) }, out)
      for (const e of events) {
        const was = s
        const before = out.length
        s = splice.step(s, e, out)
        const ends = out.slice(before).filter((x) => x.type === 'SpliceClose' || x.type === 'SpliceReset')
        assert.equal(ends.length, splice.isFinal(s) && !splice.isFinal(was) ? 1 : 0)
        if (s === was && !splice.isFinal(s))
          assert.deepEqual(out.slice(before), [{ type: 'Count', what: 'tcp-splice-unexpected' }])
      }
      assert.equal(out.filter((x) => x.type === 'SpliceConnect').length, 1)
    }),
    { numRuns: runs }
  )
})

describe('one by one', () => {
  const at = (...events: Partial<TcpSpliceEvent>[]): { s: State<TcpSpliceContext>; out: unknown[] } => {
    const out: Effect[] = []
    let s = splice.start({ now: instant(0) }, out)
    for (const e of events)
      s = splice.step(s, { now: instant(1), moved: [5, 7], ...e } as TcpSpliceEvent, out)
    return { s, out: out.slice(1).map((e) => ('side' in e ? `${e.type} ${e.side}` : e.type)) }
  }
  const up = { type: 'SPLICE_CONNECTED' } as const
  const eof = (of: 0 | 1) => ({ type: 'SPLICE_EOF', side: of }) as const
  const failed = (of: 0 | 1, errno: number) => ({ type: 'SPLICE_FAILED', side: of, errno }) as const
  test('half-close either way, then close without RST (behaviour.md#bypass-ends)', () => {
    assert.deepEqual(at(up, eof(0)).out, ['SpliceShut 1'])
    assert.deepEqual(at(up, eof(0), eof(1)).out, ['SpliceShut 1', 'SpliceClose'])
    assert.deepEqual(at(up, eof(1)).out, ['SpliceShut 0'])
    assert.deepEqual(at(up, eof(1), eof(0)).out, ['SpliceShut 0', 'SpliceClose'])
  })
  test('regression-77: connect() that fails at once, or later: the client, accepted already, gets a RST', () => {
    for (const errno of [13, 22, 99, 101, 111])
      assert.deepEqual(at(failed(1, errno)).out, ['Count', 'SpliceReset'])
    assert.deepEqual(at(failed(0, 104)).out, ['Count', 'SpliceReset'])
  })
  test('RST on either side is RST on both, half-closed or not (regression-82, regression-86)', () => {
    for (const before of [[up], [up, eof(0)], [up, eof(1)]])
      for (const of of [0, 1] as const)
        assert.deepEqual(at(...before, failed(of, 104)).out.slice(-2), ['Count', 'SpliceReset'])
  })
  test('regression-5: the end of one stream is one FIN, however often it is told', () => {
    assert.deepEqual(at(up, eof(0), eof(0), eof(0)).out, ['SpliceShut 1', 'Count', 'Count'])
  })
  test('STOP resets both; octets moved are known at the end', () => {
    assert.deepEqual(at({ type: 'STOP' }).out, ['SpliceReset'])
    assert.deepEqual(at(up, { type: 'STOP' }).out, ['SpliceReset'])
    assert.deepEqual(at(up, eof(0), eof(1)).s.context.moved, [5, 7])
  })
})

// --- the machine between two peers

const subject: Subject<State<TcpSpliceContext>> = {
  start: (t, out) => splice.start({ now: t }, out),
  step: (s, e, out) => splice.step(s, e, out),
  isFinal: (s) => splice.isFinal(s),
  describe: (s) => splice.value(s)
}
const schedule = {
  pipe: fc.integer({ min: 1, max: 20 }),
  refuses: fc.integer({ min: 0, max: 19 }).map((n) => n === 7),
  choices: fc.array(fc.nat(30), { maxLength: 60, size: 'max' }),
  amounts: fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 40, size: 'max' })
}
const roomy: fc.Arbitrary<Scenario> = fc.record({
  ...schedule,
  buffers: fc.constant({ send: 1e6, receive: 1e6 })
})
const tight: fc.Arbitrary<Scenario> = fc.record({
  ...schedule,
  buffers: fc.record({ send: fc.integer({ min: 1, max: 12 }), receive: fc.integer({ min: 1, max: 12 }) })
})
/** fast-check's own message is one line of JSON; this is one operation a line, and then all that happened. */
const holds = <A>(
  arb: fc.Arbitrary<A>,
  show: (a: A) => readonly string[],
  law: (a: A) => void,
  numRuns = runs
): void => {
  const found = fc.check(
    fc.property(arb, (a) => law(a)),
    { numRuns }
  )
  if (!found.failed) return
  const error = found.errorInstance as Error
  assert.fail(`${show(found.counterexample![0]).join('\n')}\n${error.message}\nseed ${found.seed}`)
}
const pairState = <S>(w: Spliced<S>): string =>
  `pair ${w.howClosed}, machine ${w.final ? 'final' : 'not final'}`

const seen = (w: World, who: 0 | 1): string => {
  const { written, read, sawEnd, sawReset, ended, left, blocked, end } = w.peers[who]
  const broken = end === null ? sawReset : end.phase === 'broken'
  return JSON.stringify({ written, read, sawEnd, sawReset, ended, left, blocked, broken })
}
/** Each operation when all before it has come to rest; one that would wait is given up. */
const play = (w: World, turns: readonly Turn[], after: (i: number) => void): void => {
  w.runUntilIdle()
  turns.forEach(([who, o], i) => {
    if (w.peers[who].end !== null) w.peers[who].program([o])
    w.runUntilIdle()
    after(i)
    w.peers[who].giveUp()
  })
}

// What a RST makes undone depends on how far things had gone, which buffers and schedules decide. So that is laid down by
// laws, and every law is put to the direct connection as well.
const laws = (w: World, x: 0 | 1): void => {
  const me = w.peers[x]
  const other = w.peers[1 - x]
  w.expect(me.read <= other.written, `${me.name} read more than was written`)
  w.expect(!me.sawEnd || (other.ended && me.read === other.written), `${me.name} saw an end where none is`)
  const unread = me.written > other.read
  w.expect(
    !me.sawReset || other.left === 'reset' || (other.left === 'closed' && unread) || other.end === null,
    `${me.name} saw a RST that nobody sent`
  )
  const gone = other.left !== 'no' || other.end?.phase === 'broken'
  const waits = me.blocked
  w.expect(waits === null || !gone, `${me.name} waits for ${waits} with nobody there`)
  w.expect(waits === null || waits === 'write' || !other.ended, `${me.name} does not see the end`)
}

describe('spliced = direct', () => {
  test('operation by operation, with room for all: the same results, ends and resets', () => {
    holds(
      fc.tuple(roomy, script),
      ([s, turns]) => [
        `pipe ${s.pipe} choices ${s.choices} amounts ${s.amounts}${s.refuses ? ' refused' : ''}`,
        ...turns.map(line)
      ],
      ([s, turns]) => {
        const direct = new Direct(s)
        const spliced = new Spliced(s, subject)
        const want: string[] = []
        play(direct, turns, () => want.push(`${seen(direct, 0)} ${seen(direct, 1)}`))
        play(spliced, turns, (i) => {
          // Refused, the client was accepted first and got a RST then (behaviour.md#bypass-ends): the end is the same.
          const got = `${seen(spliced, 0)} ${seen(spliced, 1)}`
          if (!s.refuses)
            spliced.expect(got === want[i], `operation ${i + 1}\n direct  ${want[i]}\n spliced ${got}`)
        })
        if (s.refuses) {
          spliced.expect(spliced.howClosed === 'reset', 'refused, and not reset')
          spliced.expect(spliced.peers[0].read === 0 && !spliced.peers[0].sawEnd, 'an end from nobody')
        }
        spliced.expect(spliced.unexpected === 0, 'an event was not expected')
      }
    )
  })

  const programs = fc.tuple(
    fc.array(op, { maxLength: 8, size: 'max' }),
    fc.array(op, { maxLength: 8, size: 'max' })
  )
  const shown = ([s, [a, b]]: readonly [Scenario, readonly [readonly Op[], readonly Op[]]]): string[] => [
    `send ${s.buffers.send} receive ${s.buffers.receive} pipe ${s.pipe} choices ${s.choices} amounts ${s.amounts}`,
    `initiator ${a.map(text).join(', ')}`,
    `target    ${b.map(text).join(', ')}`
  ]
  const both = (s: Scenario): readonly World[] => [new Direct(s), new Spliced(s, subject)]

  test('any schedule, tight buffers: the laws of a direct connection, and nothing left behind', () => {
    holds(fc.tuple(tight, programs), shown, ([s, ops]) => {
      for (const w of both(s)) {
        for (const i of [0, 1] as const) w.peers[i].program(ops[i])
        w.runUntilIdle()
        laws(w, 0)
        laws(w, 1)
        // Each is killed in whatever it does, one after the other.
        const first = s.pipe % 2
        for (const p of [w.peers[first], w.peers[1 - first]]) {
          p.giveUp()
          p.program([{ do: s.pipe % 3 === 0 ? 'reset' : 'close' }])
          w.runUntilIdle()
          laws(w, 0)
          laws(w, 1)
        }
        if (!(w instanceof Spliced)) continue
        w.expect(w.freed && w.final, `left behind: ${pairState(w)}`)
        w.expect(w.unexpected === 0, 'an event was not expected')
      }
    })
  })

  // One speaks first: two who write without reading may wait for each other for ever, with a direct connection as well.
  test('any schedule, tight buffers: two who read to the end lose nothing, and part without RST', () => {
    holds(fc.tuple(tight, programs), shown, ([given, ops]) => {
      const s = { ...given, refuses: false }
      const writes = ([0, 1] as const).map((i) => ops[i].filter((o) => o.do === 'write'))
      const first = s.pipe % 2
      for (const w of both(s)) {
        w.peers[first].program([...writes[first], { do: 'shutdown' }, { do: 'readAll' }, { do: 'close' }])
        w.peers[1 - first].program([{ do: 'readAll' }, ...writes[1 - first], { do: 'close' }])
        w.runUntilIdle()
        for (const i of [0, 1] as const) {
          const p = w.peers[i]
          const all = writes[i].reduce((n, o) => n + o.octets, 0)
          w.expect(p.sawEnd && !p.sawReset && p.left === 'closed', `${p.name} did not end well`)
          w.expect(p.written === all && w.peers[1 - i].read === all, `${p.name}: octets lost`)
        }
        if (w instanceof Spliced) w.expect(w.howClosed === 'closed' && w.final, pairState(w))
      }
    })
  })

  // The properties above would hold of a generator that never gets anywhere.
  test('the random scripts reach every end', () => {
    const ends = new Set<string>()
    fc.assert(
      fc.property(tight, programs, (s, ops) => {
        const w = new Spliced(s, subject)
        for (const i of [0, 1] as const) w.peers[i].program(ops[i])
        w.runUntilIdle()
        for (const p of w.peers) {
          ends.add(`${p.sawEnd ? 'end' : 'no end'}, ${p.sawReset ? 'RST' : 'no RST'}`)
          if (p.blocked !== null) ends.add(`waits for ${p.blocked}`)
        }
        ends.add(w.howClosed)
        if (w.freed && w.peers[1].end === null) ends.add('never connected')
      }),
      { numRuns: 1000, seed: 1 }
    )
    assert.deepEqual([...ends].sort(), [
      'closed',
      'end, RST',
      'end, no RST',
      'never connected',
      'no end, RST',
      'no end, no RST',
      'open',
      'reset',
      'waits for read',
      'waits for readAll',
      'waits for write'
    ])
  })
})
