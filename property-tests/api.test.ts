// The API (behaviour.md#api): what engine and its process say to each other, in any pieces; pages; the document; metrics.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as later } from 'node:timers/promises'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import {
  ANSWER_MAX,
  type Answer,
  AnswerLine,
  CHANGE_MARK,
  ChangeLine,
  FLOW_KINDS,
  type FlowInfo,
  moreLines,
  QUESTION_MAX,
  type Question,
  QuestionLine,
  type RuleInfo,
  ruleName,
  type Trace,
  type TraceInfo
} from '../src/codecs/control/api.js'
import { type ConfRule, PIF } from '../src/codecs/control/conf.js'
import { fromV4, type InAny, showAddr } from '../src/codecs/value/inany.js'
import { add } from '../src/codecs/value/seq.js'
import type { Frame } from '../src/codecs/wire/frame.js'
import { instant } from '../src/effects/effect.js'
import { addRule, changedBy, hasRule, noRule } from '../src/machines/forward/conf-rules.js'
import type { Rule } from '../src/machines/forward/forward-rules.js'
import { ABI_WORDS, EF, EV, type Native } from '../src/runtime/abi/abi.js'
import { ringsOver } from '../src/runtime/abi/rings.js'
import type { Engine } from '../src/runtime/api/engine-line.js'
import { filterOf, passes } from '../src/runtime/api/filter.js'
import { metrics } from '../src/runtime/api/metrics.js'
import { blocksOf, patchOf, ruleOf, rulesOf } from '../src/runtime/api/rule-body.js'
import { apiServer } from '../src/runtime/api/server.js'
import { traceOf } from '../src/runtime/api/trace-body.js'
import { parseCtl } from '../src/runtime/ctl/options.js'
import { flowTable, topRows } from '../src/runtime/ctl/tables.js'
import { install } from '../src/runtime/data/feature.js'
import { createWorld, type World } from '../src/runtime/data/world.js'
import { apiOf, EVENTS_KEPT, FLOWS_PER_PAGE, PAUSE } from '../src/runtime/engine/api.js'
import { apiRules } from '../src/runtime/engine/api-rules.js'
import { rulesNow } from '../src/runtime/engine/live-rules.js'
import { ruleCounts } from '../src/runtime/engine/rule-counts.js'
import type { Flow, TcpFlow } from '../src/runtime/flow/flow.js'
import { MAX_FLOWS } from '../src/runtime/flow/flow-table.js'
import { startFlow } from '../src/runtime/flow/kinds.js'
import { logTo } from '../src/runtime/log/log.js'
import { LASTS, liveTrace } from '../src/runtime/observe/live-trace.js'
import type { Plan } from '../src/runtime/plan/plan-types.js'
import { arbClientPart, arbConfRule } from './conf-arbitraries.js'
import { readMetrics } from './metrics.js'
import { misfit } from './openapi.js'
import { WORLD_CONFIG } from './world-config.js'

const address = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((a) => {
  const words = new DataView(a.buffer)
  return showAddr([0, 4, 8, 12].map((at) => words.getUint32(at)) as unknown as InAny)
})
const place = fc.record({ address, port: fc.nat(65535) }, { noNullPrototype: true })
const n = fc.nat()
const maybe = fc.option(n)
const flow: fc.Arbitrary<FlowInfo> = fc.record(
  {
    id: n,
    kind: fc.constantFrom(...FLOW_KINDS),
    state: fc.string(),
    origin: fc.constantFrom('guest' as const, 'host' as const),
    guest: place,
    guestPeer: place,
    listenerPort: maybe,
    peer: place,
    rule: fc.option(fc.string()),
    beganMs: maybe,
    ageMs: maybe,
    octetsToGuest: maybe,
    octetsToPeer: maybe,
    rttGuestMs: maybe,
    rttPeerMs: maybe,
    windowGuest: maybe,
    windowOffered: maybe
  },
  { noNullPrototype: true }
)
const question: fc.Arbitrary<Question> = fc.oneof(
  fc.constantFrom<Question>(
    { ask: 'status' },
    { ask: 'counters' },
    { ask: 'record', on: null },
    { ask: 'record', on: true }
  ),
  fc.record(
    {
      ask: fc.constant('trace' as const),
      trace: fc.option(
        fc.record(
          {
            flows: fc.boolean(),
            packets: fc.boolean(),
            flow: fc.option(fc.nat(MAX_FLOWS)),
            port: maybe,
            address: fc.option(fc.ipV6())
          },
          { noNullPrototype: true }
        )
      )
    },
    { noNullPrototype: true }
  ),
  fc.record({ ask: fc.constantFrom('flows' as const, 'rules' as const), from: n }, { noNullPrototype: true })
)
const flowsAnswer: fc.Arbitrary<Answer> = fc.record(
  { to: fc.constant('flows' as const), flows: fc.array(flow, { maxLength: 4 }), next: maybe },
  { noNullPrototype: true }
)

describe('lines', () => {
  test('decode ∘ encode = id, and no line has an end in it', () => {
    fc.assert(
      fc.property(question, flowsAnswer, (q, a) => {
        const [asked, answered] = [QuestionLine.encode(q), AnswerLine.encode(a)]
        assert.deepEqual(QuestionLine.decode(asked), E.right(q))
        assert.deepEqual(AnswerLine.decode(answered), E.right(a))
        assert.ok(!/\n/.test(asked + answered) && asked.length < QUESTION_MAX)
      })
    )
  })
  test('any text is a value or a Left', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        for (const line of [QuestionLine, AnswerLine])
          assert.ok(['Left', 'Right'].includes(line.decode(text)._tag))
      })
    )
  })
  test('however a stream is cut, its lines are the same; one that is too long is a fault', () => {
    const cuts = fc.array(fc.stringMatching(/^[ -~\n]{0,9}$/), { maxLength: 12 })
    fc.assert(
      fc.property(cuts, fc.integer({ min: 2, max: 12 }), (pieces, max) => {
        const whole = moreLines('', pieces.join(''), max)
        let lines: ReadonlyArray<string> = []
        let rest = ''
        for (const piece of pieces) {
          const next = moreLines(rest, piece, max)
          if (E.isLeft(next)) return assert.ok(E.isLeft(whole))
          lines = [...lines, ...next.right.lines]
          rest = next.right.rest
        }
        assert.deepEqual(whole, E.right({ lines, rest }))
      })
    )
  })
})

describe('the document', () => {
  test('every flow that the codec encodes is one of the document; one that lacks something is none', () => {
    fc.assert(
      fc.property(flow, fc.nat(), (f, i) => {
        const shown = JSON.parse(JSON.stringify(f)) as Record<string, unknown>
        assert.equal(misfit('Flow', shown), '')
        const keys = Object.keys(shown)
        delete shown[keys[i % keys.length]!]
        assert.notEqual(misfit('Flow', shown), '')
      })
    )
    assert.notEqual(misfit('Rule', { id: 'x' }), '')
  })
})

const SLAB = 0x40000
/** A world of `count` UDP flows, and its feature: asked, it says. */
const asked = (count: number) => {
  const rings = ringsOver({} as Native, {
    slab: new ArrayBuffer(SLAB),
    effects: new ArrayBuffer(64 * ABI_WORDS * 4),
    events: new ArrayBuffer(8 * ABI_WORDS * 4),
    clock: new ArrayBuffer(16)
  })
  const log: string[] = []
  const sink = { level: 'warning' as const, write: (_: number, __: string, text: string) => log.push(text) }
  const w = createWorld(
    WORLD_CONFIG,
    rings,
    logTo([sink], 0, () => 0),
    new Map(),
    new Map()
  )
  const ends = {
    ...{ v6: false, guestMac: 1, ourMac: 2, guestAddr: fromV4(0x0a000001), ourAddr: fromV4(0x0a000002) },
    ...{ ourPort: 53, hostAddr: fromV4(0x7f000001), hostPort: 53, arrival: null }
  }
  for (let i = 0; i < count; i++) {
    const o = { kind: 'udp' as const, ends: { ...ends, guestPort: i % 65536 }, syn: null }
    const f = startFlow(o, i * 3, w.cfg, instant(1), [], w.outside.initialSequence)
    w.flows[i * 3] = f
  }
  const nothing = (flows: Int32Array): Float64Array => new Float64Array(2 * flows.length)
  const { features, told } = apiOf(w, { mode: 'pasta' } as Plan, null, rulesNow([]), nothing, null, 1)
  const feature = features.find((f) => f.flowBegan !== undefined)!
  const heard = apiRules(w, rulesNow([]), told).takes?.API_OCTETS
  for (const f of w.flows) if (f !== undefined) feature.flowBegan?.(f as Flow, 0)
  let hungUp = 0
  const say = (text: string): void => {
    rings.effects = 0
    const octets = new TextEncoder().encode(text)
    rings.slab.set(octets, SLAB - 0x1000)
    rings.ev.set([EV.API_OCTETS, 0, SLAB - 0x1000, octets.length])
    heard?.(0, instant(1))
    noteEnd()
  }
  const noteEnd = (): void => {
    if (rings.effects > 0 && rings.fx[3] === 0) hungUp++
  }
  const turn = (): Answer | null => {
    rings.effects = 0
    rings.tx = 0
    feature.onTime?.(instant(1001))
    assert.ok(rings.effects <= 1)
    if (rings.effects === 0) return null
    assert.equal(rings.fx[0], EF.API_SEND)
    const [off = 0, len = 0] = [rings.fx[2], rings.fx[3]]
    noteEnd()
    if (len === 0) return null
    assert.ok(len < ANSWER_MAX)
    const answer = AnswerLine.decode(
      Buffer.from(rings.slab.slice(off, off + len))
        .toString()
        .trimEnd()
    )
    assert.ok(E.isRight(answer))
    return answer.right
  }
  return { w, say, turn, log, feature, hungUp: () => hungUp }
}

describe('the engine', () => {
  test('10,000 flows, a page a turn: each of them once', () => {
    const { say, turn } = asked(10_000)
    const ids: number[] = []
    for (let from: number | null = 0, turns = 0; from !== null; turns++) {
      assert.ok(turns <= 10_000 / FLOWS_PER_PAGE + 10)
      say(`${QuestionLine.encode({ ask: 'flows', from })}\n`)
      const page = turn()
      assert.ok(page?.to === 'flows' && page.flows.length <= FLOWS_PER_PAGE)
      ids.push(...page.flows.map((f) => f.id))
      from = page.next
    }
    assert.deepEqual(
      ids,
      Array.from({ length: 10_000 }, (_, i) => i * 3)
    )
  })
  test('questions come in pieces; each is answered in a turn of its own', () => {
    const { say, turn, w, feature } = asked(2)
    w.counters.set('drop-ip-protocol', 7)
    say('{"ask":"coun')
    assert.equal(turn(), null)
    say('ters"}\n{"ask":"flows","from":0}\n')
    const first = turn()
    assert.equal(feature.deadline?.at, 1001 + PAUSE)
    assert.ok(first?.to === 'counters')
    assert.deepEqual([first.counters.events, first.counters.open.udp], [{ 'drop-ip-protocol': 7 }, 2])
    assert.equal(turn()?.to, 'flows')
    assert.equal(turn(), null)
  })
  test('who asks what makes no sense, or too much, is answered no more, but hung up on; said once; so is its end', () => {
    for (const nonsense of [
      'x\n',
      '{"ask":"all"}\n',
      'x'.repeat(QUESTION_MAX),
      '{"ask":"status"}\n'.repeat(9),
      ''
    ]) {
      const { say, turn, log, hungUp } = asked(1)
      say(nonsense)
      turn()
      say('{"ask":"counters"}\n')
      assert.equal(turn(), null)
      assert.deepEqual([log.length, hungUp()], [1, 1], nonsense)
    }
  })
  test('events: each begin and end once, in order; what nobody asks for is not kept; what is too much is said to be lost', () => {
    const { say, turn, w, feature } = asked(40)
    const flow = w.flows[3] as Flow
    const events = (from: number) => {
      say(`${QuestionLine.encode({ ask: 'events', from })}\n`)
      const a = turn()
      assert.ok(a?.to === 'events')
      return a
    }
    feature.flowEnded?.(flow)
    let { next, ...rest } = events(-1)
    assert.deepEqual([rest.events, rest.lost, rest.more], [[], 0, false])
    for (let i = 0; i < 20; i++) feature.flowBegan?.(w.flows[i * 3] as Flow, 0)
    const seen: number[] = []
    for (let more = true; more; ) {
      const page = events(next)
      seen.push(...page.events.map((e) => e.flow.id))
      for (const e of page.events) assert.equal(misfit('Event', JSON.parse(JSON.stringify(e))), '')
      ;({ next, more } = page)
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 20 }, (_, i) => i * 3)
    )
    for (let i = 0; i < EVENTS_KEPT + 7; i++) feature.flowEnded?.(flow)
    const page = events(next)
    assert.deepEqual([page.lost, page.events[0]?.event, page.more], [7, 'end', true])
    // Long after the last question
    w.rings.clock[0] += 100_000
    feature.flowEnded?.(flow)
    let left = 0
    for (let { next: from, more } = page; more; ) {
      const one = events(from)
      left += one.events.length
      ;({ next: from, more } = one)
    }
    assert.equal(left, EVENTS_KEPT - FLOWS_PER_PAGE)
  })
  test('any place to go on from is one', () => {
    const { say, turn } = asked(3)
    for (const from of [-5, 0.5, 1e300, 4]) {
      say(`${JSON.stringify({ ask: 'flows', from })}\n`)
      assert.equal(turn()?.to, 'flows')
    }
  })
})

describe('what a rule has carried', () => {
  const rule = { proto: 'tcp', direction: 'in' } as Rule
  const ends = {
    v6: false,
    guestMac: 1,
    ourMac: 2,
    guestAddr: fromV4(0x0a000001),
    ourAddr: fromV4(0x0a000002)
  }
  const arrival = { listener: 7, addr: fromV4(0x7f000001), port: 80, scope: 0, slot: 0 }
  /** A connection of that rule. */
  const connection = (w: World): TcpFlow => {
    const more = { guestPort: 80, ourPort: 1024, hostAddr: fromV4(0x7f000001), hostPort: 1024, arrival }
    const o = { kind: 'tcp' as const, ends: { ...ends, ...more }, syn: null }
    const f = startFlow(o, 5, w.cfg, instant(1), [], w.outside.initialSequence) as TcpFlow
    w.flows[5] = f
    w.listeners.set(7, { rule, port: 80 })
    return f
  }
  const moveOn = (f: TcpFlow, toGuest: number, toPeer: number): void => {
    const { tcb } = f.state.context
    const moved = { sndUna: add(tcb.sndUna, toGuest), rcvTaken: add(tcb.rcvTaken, toPeer) }
    f.state = { ...f.state, context: { ...f.state.context, tcb: { ...tcb, ...moved, heardSyn: true } } }
  }
  test('all of it, though numbers go round, whenever somebody looks', () => {
    const some = fc.integer({ min: 0, max: 2 ** 31 - 1 })
    fc.assert(
      fc.property(fc.array(fc.tuple(some, some, fc.boolean()), { maxLength: 12 }), (steps) => {
        const { w } = asked(0)
        const counts = ruleCounts(w, (flows) => new Float64Array(2 * flows.length))
        const f = connection(w)
        counts.began(f)
        moveOn(f, 1, 0) // our SYN
        let [guest, peer] = [0, 0]
        for (const [a, b, looks] of steps) {
          moveOn(f, a, b)
          guest += a
          peer += b
          // Between two looks there are less than 2^32: here each step is one, by whoever looks
          if (looks) counts.look()
          else counts.feature.onTime?.(instant(1))
        }
        counts.ended(f)
        const c = counts.of(rule)
        assert.deepEqual([c.toGuest, c.toPeer, c.open, c.begun], [guest, peer, 0, 1])
      })
    )
  })
  test('what is said of the target: by it, not by us or by who asked; names have an end', () => {
    const { w } = asked(0)
    const counts = ruleCounts(w, () => new Float64Array())
    const f = connection(w)
    const pair = { kind: 'tcp-splice', index: 5, arrival } as unknown as Flow
    counts.began(f)
    const now = instant(1)
    const failed = (side: 0 | 1, errno: number) =>
      ({ type: 'SPLICE_FAILED', side, errno, moved: [0, 0], now }) as const
    const c = counts.of(rule)
    for (const e of [failed(0, 104), failed(1, 24), failed(1, 99), { type: 'STOP', now } as const])
      counts.feature.settled?.(pair, e)
    assert.deepEqual([c.answered, c.failures.size], [null, 0])
    counts.feature.settled?.(pair, failed(1, 111))
    assert.deepEqual([c.answered, [...c.failures]], [false, [['ECONNREFUSED', 1]]])
    counts.feature.settled?.(pair, { type: 'SPLICE_CONNECTED', now })
    assert.deepEqual([c.answered, c.accepted], [true, 1])
    counts.feature.settled?.(f, { type: 'TIMER_RTO', now })
    assert.equal(c.failures.get('ETIMEDOUT'), 1)
    for (let errno = 1; errno < 120; errno++) counts.feature.settled?.(pair, failed(1, errno))
    assert.equal(c.failures.size, 16)
    assert.ok((c.failures.get('other') ?? 0) > 50)
  })
})

describe('tracing', () => {
  const ALL: Trace = { flows: true, packets: true, flow: null, port: null, address: null }
  const NONE: Trace = { ...ALL, flows: false, packets: false }
  const traced = () => {
    const { w, log } = asked(3)
    const trace = liveTrace(w)
    install(w.features, [trace.feature])
    const now = (ms: number): number => (w.rings.clock[0] = ms)
    return { w, log, trace, now }
  }
  const spoken = (w: World, i: number): void => w.flowSay(w.flows[i]!, 'x')
  test('nothing is on the data path before, and nothing after', () => {
    const { w, trace } = traced()
    const hooks = (): number =>
      w.features.frameCame.length + w.features.effects.length + w.features.events.length
    assert.deepEqual([hooks(), w.debugging], [0, false])
    trace.ask(ALL, 1)
    trace.ask({ ...ALL, port: 1 }, 1)
    assert.deepEqual([hooks(), w.debugging], [3, true])
    trace.ask(NONE, 1)
    assert.deepEqual([hooks(), w.debugging], [0, false])
    trace.ask(ALL, 1)
    trace.feature.onTime?.(instant(1 + LASTS))
    assert.deepEqual([hooks(), w.debugging, (trace.ask(null, 1) as TraceInfo).endsInMs], [0, false, null])
  })
  test('in any span of time only so many lines; each of the others is counted, and said', () => {
    const { w, log, trace, now } = traced()
    trace.ask(ALL, 0)
    for (let ms = 0; ms < 10_000; ms++) {
      now(ms)
      for (let k = 0; k < 5; k++) spoken(w, 0)
    }
    const { lines, lost } = trace.ask(null, 0) as TraceInfo
    assert.equal(lines + lost, 50_000)
    assert.ok(lines >= 1000 && lines <= 1502, String(lines))
    assert.equal(log.length, lines)
    trace.ask(NONE, 10_000)
    const said = log.reduce(
      (sum, l) => sum + Number(/ \((\d+) lines before this one were left out\)$/.exec(l)?.[1] ?? 0),
      0
    )
    assert.equal(said, lost)
    // Nor by asking again and again
    const before = log.length
    for (let k = 0; k < 10_000; k++) {
      trace.ask(ALL, 10_000)
      spoken(w, 0)
    }
    assert.ok(log.length <= before + 60, String(log.length - before))
  })
  test('a flow is told of if it passes, and no other one; one that is gone ends it', () => {
    const { w, log, trace } = traced()
    const said = (i: number): boolean => {
      const before = log.length
      spoken(w, i)
      return log.length > before
    }
    for (const [one, passes] of [
      [{ flow: 3 }, [false, true, false]],
      [{ port: 2 }, [false, false, true]],
      [{ port: 53 }, [true, true, true]],
      [{ port: 99 }, [false, false, false]],
      [{ address: '10.0.0.1' }, [true, true, true]],
      [{ address: '10.0.0.9' }, [false, false, false]],
      [{ flow: 6, port: 2, address: '127.0.0.1' }, [false, false, true]]
    ] as const) {
      trace.ask({ ...ALL, ...one }, 1)
      assert.deepEqual([0, 3, 6].map(said), passes, JSON.stringify(one))
    }
    assert.equal(trace.ask({ ...ALL, flow: 1 }, 1), 'no flow')
    assert.equal((trace.ask(null, 1) as TraceInfo).flow, 6, 'it stays as it was')
    trace.feature.flowEnded?.(w.flows[0] as Flow)
    assert.equal(trace.feature.deadline?.at, 1 + LASTS)
    trace.feature.flowEnded?.(w.flows[6] as Flow)
    assert.equal(trace.feature.deadline?.at, 0)
  })
  test('packets pass by what stands in them, those of a flow both ways', () => {
    const { w, log, trace } = traced()
    const frame = (src: number, srcPort: number, dst: number, dstPort: number) =>
      ({
        kind: 'udp',
        ip: { src: fromV4(src), dst: fromV4(dst) },
        l4: { srcPort, dstPort, payload: { off: 0, len: 0 } }
      }) as unknown as Frame
    const [guest, peer] = [0x0a000001, 0x0a000002]
    const of = [frame(guest, 1, peer, 53), frame(peer, 53, guest, 1)]
    const others = [frame(guest, 1, peer, 54), frame(guest, 2, peer, 53), frame(peer, 53, 0x0a000003, 1)]
    const where = { view: w.rings.view, off: 0, len: 0 }
    const said = (what: Frame | 'malformed'): boolean => {
      const before = log.length
      for (const hook of w.features.frameCame) hook(where, what as Frame)
      return log.length > before
    }
    trace.ask({ ...ALL, flow: 3 }, 1)
    assert.deepEqual([...of, ...others].map(said), [true, true, false, false, false])
    assert.equal(said('malformed'), false)
    trace.ask({ ...ALL, port: 1 }, 1)
    assert.deepEqual([...of, ...others].map(said), [true, true, true, false, true])
    trace.ask({ ...ALL, address: '10.0.0.3' }, 1)
    assert.deepEqual([...of, ...others].map(said), [false, false, false, false, true])
    trace.ask(ALL, 1)
    assert.ok([...of, ...others, 'malformed' as const].every(said))
  })
  test('a body is one, or is refused', () => {
    fc.assert(fc.property(fc.json(), (body) => assert.ok(['Left', 'Right'].includes(traceOf(body)._tag))))
    assert.deepEqual(
      traceOf('{"flows":true,"address":"::FFFF:10.0.0.1"}'),
      E.right({ ...NONE, flows: true, address: '10.0.0.1' })
    )
    // Off is what has nothing in it
    assert.deepEqual(traceOf('{}'), E.right(NONE))
    assert.deepEqual(traceOf('{"packets":false,"port":null}'), E.right(NONE))
    for (const some of ['"flow":0', '"port":80', '"address":"::1"'])
      assert.ok(E.isLeft(traceOf(`{"flows":false,${some}}`)), some)
  })
})

describe('its server', () => {
  test('who asks without reading, or too much at a time, is gone; of what it asked little waits', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'api-')), 's')
    let waiting = 0
    const silent: Engine = { ask: () => new Promise(() => waiting++), change: () => null }
    const server = apiServer(silent, { mayChange: () => false }, {}).listen(path)
    await once(server, 'listening')
    const client = connect(path, () => client.write('GET /v1/status HTTP/1.1\r\n\r\n'.repeat(5000)))
    client.on('error', () => {})
    await new Promise((resolve) => client.on('close', resolve))
    assert.equal(waiting, 16)
    // In absolute form as well (RFC 9112 §3.2.2): whom it names is no matter
    for (const [target, status] of [
      ['http://x/v1/openapi.json', 200],
      ['HTTP://localhost:80/v1/openapi.json?x', 400],
      ['http://x?y', 404],
      ['http://x/', 404]
    ] as const) {
      const one = connect(path, () => one.write(`GET ${target} HTTP/1.1\r\n\r\n`))
      const [answer] = await once(one, 'data')
      assert.match(String(answer), new RegExp(`^HTTP/1.1 ${status} `), target)
      one.destroy()
    }
    // One by one is as it was
    const polite = connect(path, () => polite.write('GET /v1/openapi.json HTTP/1.1\r\n\r\n'))
    const [said] = await once(polite, 'data')
    assert.match(String(said), /^HTTP\/1.1 200 /)
    polite.destroy()
    server.close()
  })
  test('a record that cannot begin: the error is one of the document, with the reason', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'api-')), 's')
    const record = { on: false, waits: null, ended: 'ESPIPE', octets: 5 }
    const piped = {
      ask: () => Promise.resolve({ to: 'record', record }),
      change: () => null
    } as unknown as Engine
    const server = apiServer(piped, { mayChange: () => true }, {}).listen(path)
    await once(server, 'listening')
    const one = connect(path, () =>
      one.write('POST /v1/record HTTP/1.1\r\ncontent-length: 11\r\n\r\n{"on":true}')
    )
    let said = ''
    one.on('data', (d) => {
      said += String(d)
    })
    await once(one, 'close')
    const [head, body] = said.split('\r\n\r\n')
    assert.match(head ?? '', /^HTTP\/1.1 409 /)
    const error: unknown = JSON.parse(body ?? '')
    assert.equal(misfit('Error', error), '')
    assert.match(JSON.stringify(error), /ESPIPE/)
    server.close()
  })
  test('a change with a query, or with a member that is none, is refused: nothing of what is asked for is left out', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'api-')), 's')
    let asked = 0
    const never: Engine = { ask: () => new Promise(() => asked++), change: () => new Promise(() => asked++) }
    const server = apiServer(never, { mayChange: () => true }, {}).listen(path)
    await once(server, 'listening')
    for (const [method, target, body] of [
      ['POST', '/v1/record', '{"on":true,"window":1}'],
      ['PUT', '/v1/trace?flow=1', '{"packets":true}'],
      ['POST', '/v1/rules?dry-run', '{"firstPort":80}'],
      ['PUT', '/v1/rules/in-tcp-80?x', '{"firstPort":80}'],
      ['DELETE', '/v1/rules/in-tcp-80?x', '']
    ] as const) {
      const one = connect(path, () =>
        one.write(`${method} ${target} HTTP/1.1\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
      )
      const [answer] = await Promise.race([once(one, 'data'), later(5000, ['nothing'])])
      assert.match(String(answer), /^HTTP\/1.1 400 /, target)
      one.destroy()
    }
    assert.equal(asked, 0)
    server.close()
  })
})

describe('rules', () => {
  test('those of a table have names of their own, and the same rule the same one', () => {
    fc.assert(
      fc.property(fc.array(arbConfRule(true), { maxLength: 20 }), (all) => {
        let table: ReadonlyArray<ConfRule> = []
        for (const r of all) {
          const next = addRule(table, r, 0x3f)
          if (E.isRight(next)) table = next.right
        }
        const names = table.map((r) => ruleName(r, 'in'))
        assert.equal(new Set(names).size, table.length)
        for (const n of names) assert.match(n, /^in-(tcp|udp)-[\da-f.:-]+$/)
      })
    )
  })
})

describe('changes', () => {
  const names = fc.array(fc.string(), { maxLength: 3 })
  const change = fc.record({ remove: names, replace: names, add: arbClientPart }, { noNullPrototype: true })
  test('decode ∘ encode = id; the line begins with its mark, and has no end in it', () => {
    fc.assert(
      fc.property(change, (c) => {
        const line = ChangeLine.encode(c)
        assert.ok(line.charCodeAt(0) === CHANGE_MARK && !line.includes('\n'))
        assert.deepEqual(ChangeLine.decode(line), E.right(c))
        assert.ok(E.isLeft(ChangeLine.decode(line.slice(1))) && E.isLeft(QuestionLine.decode(line)))
      })
    )
  })
  test('as many rules as fit into a line are one change, whatever they are', () => {
    const body = fc.record(
      {
        direction: fc.constantFrom('in', 'out'),
        firstPort: fc.integer({ min: 1, max: 65_535 }),
        proto: fc.constantFrom('tcp', 'udp')
      },
      { noNullPrototype: true }
    )
    fc.assert(
      fc.property(fc.array(body, { maxLength: 40 }), (rules) => {
        const named = rulesOf(JSON.stringify({ rules }))
        assert.ok(E.isRight(named), 'rules')
        const add = blocksOf(named.right)
        const line = ChangeLine.encode({ remove: [], replace: [], add })
        assert.deepEqual(ChangeLine.decode(line), E.right({ remove: [], replace: [], add }))
        assert.equal(
          add.reduce((n, b) => n + b.rules.length, 0),
          rules.length
        )
      })
    )
  })
  test('what is added is there, what is removed is not, nothing else changes; twice is once', () => {
    const tables = (all: ReadonlyArray<ConfRule>): ReadonlyArray<ConfRule> =>
      all.reduce((t: ReadonlyArray<ConfRule>, r) => E.getOrElse(() => t)(addRule(t, r, 0x3f)), [])
    const table = fc.array(arbConfRule(true), { maxLength: 8 }).map(tables)
    fc.assert(
      fc.property(table, arbConfRule(true), fc.nat(), (all, r, k) => {
        const id = ruleName(r, 'in')
        const put = { remove: [], replace: [id], add: [{ pif: PIF.HOST, rules: [r] }] }
        const once = changedBy(put, 'passt', [all])
        assert.ok(typeof once !== 'string' && hasRule(once[0]!, r))
        assert.deepEqual(changedBy(put, 'passt', once), once)
        const others = all.filter((one) => ruleName(one, 'in') !== id)
        assert.deepEqual(
          once[0]!.filter((one) => ruleName(one, 'in') !== id),
          others
        )
        const gone = changedBy({ remove: [id], replace: [], add: [] }, 'passt', once)
        assert.deepEqual(gone, [others])
        assert.equal(changedBy({ remove: [id], replace: [], add: [] }, 'passt', [others]), noRule(id))
        const one = all[k % (all.length || 1)]
        if (one === undefined) return
        const [left] = changedBy({ remove: [ruleName(one, 'in')], replace: [], add: [] }, 'passt', [all])
        assert.equal((left as unknown as ReadonlyArray<ConfRule>).length, all.length - 1)
      })
    )
  })
  test('a rule as it is shown is one that can be sent; any JSON is one, or is refused', () => {
    fc.assert(
      fc.property(fc.json(), (body) => {
        for (const read of [ruleOf(body), rulesOf(body), patchOf(body)])
          assert.ok(E.isLeft(read) || 'right' in read)
      })
    )
    const sent = ruleOf(
      '{"id":"x","text":"","begun":1,"open":0,"firstPort":80,"address":"::1","interface":null,"toPort":8080}'
    )
    assert.ok(E.isRight(sent))
    assert.equal(sent.right.id, 'in-tcp-::1-80')
    assert.deepEqual(sent.right.block.rules[0]?.to, 8080)
    for (const [body, why] of [
      ['{', /JSON/],
      ['[]', /object/],
      ['{}', /firstPort is missing/],
      ['{"firstPort":0}', /firstPort is no port/],
      ['{"firstPort":2,"lastPort":1}', /lastPort is below firstPort/],
      ['{"firstPort":1,"prot":"tcp"}', /no prot/],
      ['{"firstPort":1,"proto":"sctp"}', /tcp, udp/],
      ['{"firstPort":1,"address":"x"}', /address/],
      ['{"firstPort":1,"interface":"a/b"}', /interface/],
      ['{"firstPort":1,"auto":1}', /auto/]
    ] as const) {
      const read = ruleOf(body)
      assert.ok(E.isLeft(read))
      assert.match(read.left, why)
    }
  })
})

describe('filters', () => {
  test('a flow passes a filter made of it, and none with another port', () => {
    fc.assert(
      fc.property(flow, (f) => {
        const query: [string, string][] = [
          ['kind', f.kind],
          ['port', String(f.peer.port)],
          ['address', f.guest.address]
        ]
        const filter = filterOf(query)
        assert.ok(E.isRight(filter) && passes(filter.right, f))
        const other = [f.guest.port, f.guestPeer.port, f.peer.port, f.listenerPort].includes(4711)
        assert.equal(passes({ ...filter.right, port: 4711 }, f), other)
      })
    )
  })
  test('an address passes however it is written (RFC 4291 §2.2, RFC 5952 §4)', () => {
    const one = {
      ...fc.sample(flow, { seed: 1, numRuns: 1 })[0]!,
      guest: { address: '2001:db8::1', port: 1 }
    }
    const four = { ...one, guest: { address: '192.0.2.1', port: 1 } }
    for (const [text, f] of [
      ['2001:db8::1', one],
      ['2001:DB8:0:0::0001', one],
      ['192.0.2.1', four],
      ['::ffff:192.0.2.1', four]
    ] as const) {
      const filter = filterOf([['address', text]])
      assert.ok(E.isRight(filter) && passes(filter.right, f), text)
    }
  })
  test('what is none is refused by name', () => {
    for (const q of [
      [['address', 'x']],
      [['address', '']],
      [['address', '10.0.0']],
      [['prot', '1']],
      [['port', '65536']],
      [['kind', 'x']],
      [
        ['port', '1'],
        ['port', '1']
      ]
    ] as const)
      assert.ok(E.isLeft(filterOf(q as unknown as [string, string][])))
  })
})

test('metrics parse, whatever stands in a rule', () => {
  const none = { tcp: 0, udp: 3, ping: 0, 'tcp-splice': 0, 'udp-splice': 0 }
  const status = { version: '1', mode: 'pasta', link: 'tap', uptimeMs: 1500, guest: { up: true } } as never
  fc.assert(
    fc.property(fc.string(), (id) => {
      const failures = { ECONNREFUSED: 3 }
      const target = { answered: false, uptimeMs: 9 }
      const counts = { begun: 2, open: 1, accepted: 1, octetsToGuest: 7, octetsToPeer: 8, failures, target }
      const rule = { id, direction: 'in', ...counts } as unknown as RuleInfo
      const counters = { uptimeMs: 1500, events: { 'drop-frame': 4, 'gave-way': 5 }, open: none, begun: none }
      const read = readMetrics(metrics(status, counters, [rule]))
      assert.equal(read.get('passt_drops_total{reason="frame"}'), 4)
      assert.equal(read.get('passt_events_total{event="gave-way"}'), 5)
      assert.equal(read.get('passt_flows{kind="udp"}'), 3)
      assert.equal(read.get('passt_uptime_seconds'), 1.5)
      const ofRule = [...read].filter(([name]) => name.startsWith('passt_rule_')).map(([, n]) => n)
      assert.deepEqual(ofRule, [1, 2, 1, 7, 8, 3, 0])
    })
  )
})

describe('passt-ctl', () => {
  test('rates are what came since, over 2^32 as well', () => {
    const f = {
      ...fc.sample(flow, { seed: 1, numRuns: 1 })[0]!,
      octetsToPeer: 2 ** 32 - 100,
      octetsToGuest: 0
    }
    const [row] = topRows([f], [{ ...f, octetsToPeer: 100, octetsToGuest: 50 }], 2)
    assert.deepEqual([row?.octetsToPeer, row?.octetsToGuest], [100, 25])
  })
  test('a flow between the ends of one that has ended, in its place, is another one', () => {
    const f = {
      ...fc.sample(flow, { seed: 1, numRuns: 1 })[0]!,
      beganMs: 10,
      octetsToPeer: 1000,
      octetsToGuest: 7
    }
    const [row] = topRows([f], [{ ...f, beganMs: 20, octetsToPeer: 100, octetsToGuest: 50 }], 2)
    assert.deepEqual([row?.octetsToPeer, row?.octetsToGuest], [50, 25])
  })
  test('a table has a line a flow, and all its columns', () => {
    fc.assert(
      fc.property(fc.array(flow, { maxLength: 5 }), (flows) => {
        const lines = flowTable(flows)
        assert.equal(lines.length, flows.length + 1)
        assert.match(lines[0] ?? '', /^KIND .* AGE$/)
      })
    )
  })
  test('its command line', () => {
    const right = parseCtl(['flows', '/x', 'port=80', '--json'])
    assert.ok(E.isRight(right) && right.right.tag === 'Run')
    assert.deepEqual([right.right.filters, right.right.json], [[['port', '80']], true])
    const added = parseCtl(['rules', 'add', '/x', '-t', '80:8080', '-U', '53'])
    assert.ok(E.isRight(added) && added.right.tag === 'Add' && added.right.operations.length === 2)
    assert.ok(E.isRight(parseCtl(['rules', 'delete', '/x', 'in-tcp-80'])))
    for (const args of ['', '-t', '-t x', '-t none', '-x 1'])
      assert.ok(E.isLeft(parseCtl(['rules', 'add', '/x', ...args.split(' ').filter((a) => a !== '')])), args)
    const trace = (...words: string[]) => parseCtl(['trace', '/x', ...words])
    const wanted = { flows: true, port: 80 }
    assert.deepEqual(trace('flows', 'port=80'), E.right({ tag: 'Trace', path: '/x', wanted, json: false }))
    assert.deepEqual(trace('--json'), E.right({ tag: 'Trace', path: '/x', wanted: null, json: true }))
    assert.deepEqual(trace('off'), E.right({ tag: 'Trace', path: '/x', wanted: {}, json: false }))
    for (const wrong of [
      'flows flows',
      'port=1',
      'flows port=x',
      'off flows',
      'flows off',
      'flows address',
      'kind=tcp'
    ])
      assert.ok(E.isLeft(trace(...wrong.split(' '))), wrong)
    for (const wrong of [
      [],
      ['trace'],
      ['flow', '/x'],
      ['status'],
      ['status', '/x', 'a=b'],
      ['top', '/x', '--json']
    ])
      assert.ok(E.isLeft(parseCtl(wrong)), wrong.join(' '))
  })
})
