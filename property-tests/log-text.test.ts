// What messages say: packets, flows, the statistics' table, and what the counters have to tell.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { fromV4, showAddr } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { decodeFrame } from '../src/codecs/wire/frame.js'
import type { Flow, TcpFlow } from '../src/runtime/flow/flow.js'
import { type Failures, logFailure, stateName } from '../src/runtime/flow/flow-log.js'
import { flowEnds, flowName } from '../src/runtime/flow/flow-text.js'
import { machines } from '../src/runtime/flow/kinds.js'
import { type Counters, count, logTo, type Sink } from '../src/runtime/log/log.js'
import { type Noticed, notices } from '../src/runtime/observe/notices.js'
import { type Row, statsLines } from '../src/runtime/observe/stats.js'
import { showFrame } from '../src/runtime/observe/trace.js'
import { arbHostile } from './arbitraries.js'
import { arbFrame, build, NEEDS_CSUM } from './frame-spec.js'

describe('a packet', () => {
  test('is one line with both addresses', () => {
    fc.assert(
      fc.property(arbFrame, (spec) => {
        const { bytes } = build(spec)
        const o = octets(bytes)
        const f = decodeFrame(o, NEEDS_CSUM)
        if (typeof f === 'string') return
        const line = showFrame(o.view, f)
        assert.match(line, /^(TCP|UDP|ICMP|ICMPv6|IP) [^\n]*$/)
        assert.ok(line.includes(showAddr(spec.from)) && line.includes(showAddr(spec.to)), line)
      })
    )
  })
  test('shows every flag of a TCP segment, and no other (RFC 9293 §3.1; RFC 3168 §6.1)', () => {
    const bits: Readonly<Record<string, number>> = {
      F: 0x01,
      S: 0x02,
      R: 0x04,
      P: 0x08,
      '.': 0x10,
      U: 0x20,
      E: 0x40,
      W: 0x80
    }
    fc.assert(
      fc.property(arbFrame, (spec) => {
        const o = octets(build(spec).bytes)
        const f = decodeFrame(o, NEEDS_CSUM)
        if (typeof f === 'string' || f.kind !== 'tcp') return
        const shown = /\[([^\]]*)\] seq/.exec(showFrame(o.view, f))![1]!
        assert.equal(
          [...shown].reduce((sum, letter) => sum + bits[letter]!, 0),
          f.l4.flags
        )
      })
    )
  })
  test('whatever its octets are', () => {
    fc.assert(
      fc.property(arbHostile(arbFrame.map((s) => build(s).bytes)), (b) => {
        const o = octets(b)
        const f = decodeFrame(o, NEEDS_CSUM)
        if (typeof f !== 'string') assert.match(showFrame(o.view, f), /^[A-Z][^\n\0]*$/)
      })
    )
  })
})

describe('a flow', () => {
  const flow: TcpFlow = {
    kind: 'tcp',
    index: 7,
    touched: false,
    sockOpen: false,
    held: false,
    v6: false,
    guestMac: 1,
    ourMac: 2,
    guestAddr: fromV4(0xc6336402),
    guestPort: 40000,
    ourAddr: fromV4(0xc6336401),
    ourPort: 80,
    hostAddr: fromV4(0x7f000001),
    hostPort: 80,
    arrival: null,
    state: { node: 0, context: {} as TcpFlow['state']['context'] }
  }
  test('has its number, its kind, and both of its sides', () => {
    assert.equal(flowName(flow), 'Flow 7 (TCP connection)')
    assert.equal(flowEnds(flow), 'TAP [198.51.100.2]:40000 -> [198.51.100.1]:80 => HOST ? -> [127.0.0.1]:80')
    const arrival = { listener: 0, addr: fromV4(0xc6336403), port: 8080, scope: 0, slot: 0 }
    assert.equal(
      flowEnds({ ...flow, arrival }),
      'HOST [127.0.0.1]:80 -> [198.51.100.3]:8080 => TAP [198.51.100.1]:80 -> [198.51.100.2]:40000'
    )
  })
  test('states have the names of RFC 9293 §3.3.2', () => {
    assert.deepEqual(
      machines.tcp.leaves.map(stateName).filter((s) => s !== 'CONNECTING'),
      [
        'SYN_SENT',
        'SYN_RCVD',
        'ESTABLISHED',
        'CLOSE_WAIT',
        'FIN_WAIT_1',
        'FIN_WAIT_2',
        'CLOSING',
        'LAST_ACK',
        'TIME_WAIT',
        'CLOSED'
      ]
    )
  })
  test('what its peer refuses is for debugging, what the host lacks is a warning, and limited', () => {
    const lines: string[] = []
    const sink: Sink = { level: 'info', write: (_, l, s) => void lines.push(`${l} ${s}`) }
    const log = logTo([sink], 0, () => 0)
    const failures: Failures = new Map()
    const fail = (f: Flow, errno: number, now: number): void =>
      logFailure(log, failures, f, { type: 'SOCK_FAILED', errno, now: now as never })
    fail(flow, 111, 0)
    assert.deepEqual(lines, [])
    for (let i = 0; i < 1000; i++) fail(flow, 1, i)
    assert.match(lines[0]!, /^warning Flow 7 \(TCP connection\): EPERM: TAP .*--debug/)
    assert.equal(lines.length, 1, 'one of a kind')
    fail(flow, 22, 1000)
    assert.equal(lines.length, 2, 'another kind')
    fail(flow, 1, 70_000)
    assert.equal(lines.length, 3, 'again after a while')
  })
  test('each is said at debug; alone there where a line about all of them says it', () => {
    const lines: string[] = []
    const sink: Sink = { level: 'debug', write: (_, l, s) => void lines.push(`${l} ${s}`) }
    const log = logTo([sink], 0, () => 0)
    const failures: Failures = new Map()
    const ping = { ...flow, kind: 'ping' } as unknown as Flow
    for (const [f, errno] of [
      [flow, 24],
      [flow, 99],
      [ping, 13]
    ] as const)
      for (let i = 0; i < 3; i++)
        logFailure(log, failures, f, { type: 'SOCK_FAILED', errno, now: i as never })
    assert.equal(lines.length, 9)
    assert.ok(lines.every((l) => l.startsWith('debug ')))
    for (let i = 0; i < 3; i++)
      logFailure(log, failures, flow, { type: 'SOCK_FAILED', errno: 1, now: i as never })
    assert.deepEqual(
      lines.slice(9).map((l) => l.split(' ')[0]),
      ['warning', 'debug', 'debug']
    )
  })
})

describe('counters', () => {
  const names = [
    'drop-flow-table-full',
    'drop-fragment-timeout',
    'frames-over-limit',
    'drop-tcp-no-flow'
  ] as const
  const steps = fc.array(fc.tuple(fc.constantFrom(...names), fc.integer({ min: 1, max: 1000 })), {
    maxLength: 30
  })
  test('what is said adds up to what was counted, and nothing is said twice', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 10 }), (glances) => {
        const counters: Counters = new Map()
        let seen: Noticed = new Map()
        const told = new Map<string, number>()
        for (const glance of glances) {
          for (const [name, n] of glance) count(counters, name, n)
          const found = notices(seen, counters)
          seen = found.seen
          assert.deepEqual(notices(seen, counters).lines, [])
          for (const line of found.lines) {
            const kind = line.replace(/\d+ /, '')
            told.set(kind, (told.get(kind) ?? 0) + Number(/(\d+) /.exec(line)![1]))
          }
        }
        const sum = [...told.values()].reduce((a, b) => a + b, 0)
        assert.equal(
          sum,
          names.slice(0, 3).reduce((n, name) => n + (counters.get(name) ?? 0), 0)
        )
      })
    )
  })
})

describe('statistics', () => {
  const cell = fc.oneof(fc.nat(), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }))
  const arbRow: fc.Arbitrary<Row> = fc.record({
    turns: cell,
    in: cell,
    out: cell,
    tcp: cell,
    udp: cell,
    ping: cell,
    splice: cell,
    listen: cell,
    drops: cell,
    flows: cell
  })
  test('columns of six, right-aligned, whatever the numbers', () => {
    fc.assert(
      fc.property(arbRow, fc.nat(100), (row, i) => {
        const lines = statsLines(i, row)
        assert.equal(lines.length, i % 20 === 0 ? 2 : 1)
        for (const line of lines) assert.match(line, /^( *\S+ ?){10}$/)
        for (const line of lines) assert.equal(line.length, 10 * 6 + 9)
        if (row.turns < 1e6) assert.ok(lines.at(-1)!.startsWith(`${row.turns}`.padStart(6)))
      })
    )
  })
})
