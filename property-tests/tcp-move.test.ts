import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  type ExtendedRecord,
  FLOW_ESTABLISHED,
  FLOW_SOCK_FIN_CAME,
  FLOW_SOCK_FIN_SENT,
  FLOW_TAP_FIN_ACKED,
  FLOW_TAP_FIN_CAME,
  FLOW_TAP_FIN_SENT,
  type FlowRecord,
  ON_HOST,
  ON_TAP,
  QUEUE_MAX,
  type SideRecord
} from '../src/codecs/control/migration.js'
import { add, distance, seq } from '../src/codecs/value/seq.js'
import { ACK, RST } from '../src/codecs/wire/tcp.js'
import { type Effect, instant } from '../src/effects/effect.js'
import type { SocketDump } from '../src/effects/hand-over.js'
import type { TcpEvent } from '../src/machines/tcp/tcp.js'
import {
  endsOf,
  extendedOf,
  flowRecordOf,
  movedOf,
  resetOf,
  restoringOf
} from '../src/machines/tcp/tcp-move.js'
import type { Moved } from '../src/machines/tcp/tcp-tcb.js'
import { arbHost4, arbHost6, arbPort, arbSeq, arbU8, arbU32, plain } from './arbitraries.js'
import { arbExtended, arbFlowRecord } from './migration-arbitraries.js'
import { checkTcb, compiled } from './tcp-arbitraries.js'
import { Flow, INFO, IRS, ISS, types } from './tcp-flow.js'

// Records of connections: from the block and the socket, and back. That streams survive is in tcp-world.test.ts.

const side = (where: number, v6: boolean): fc.Arbitrary<SideRecord> => {
  const address = v6 ? arbHost6 : arbHost4
  return plain<SideRecord>({
    where: fc.constant(where),
    own: address,
    peer: address,
    ownPort: arbPort,
    peerPort: arbPort
  })
}
const arbSides = fc
  .tuple(fc.boolean(), fc.boolean())
  .chain(([v6, fromHost]) =>
    fc
      .tuple(side(ON_HOST, v6), side(ON_TAP, v6))
      .map(([h, t]): FlowRecord['sides'] => (fromHost ? [h, t] : [t, h]))
  )
test('a connection has one side at the host and one at the guest, of one family, with all ports', () => {
  const swapped = ([first, second]: FlowRecord['sides']): FlowRecord['sides'] => [second, first]
  const change = (s: SideRecord, more: Partial<SideRecord>): SideRecord => ({ ...s, ...more })
  fc.assert(
    fc.property(
      arbFlowRecord,
      side(ON_HOST, false),
      side(ON_TAP, false),
      side(ON_TAP, true),
      (r, h, t, t6) => {
        const ends = (...sides: FlowRecord['sides']) => endsOf({ ...r, sides })
        assert.deepEqual(ends(h, t), { host: h, tap: t, fromHost: true })
        assert.deepEqual(endsOf({ ...r, sides: swapped([h, t]) }), { host: h, tap: t, fromHost: false })
        const faulty: ReadonlyArray<FlowRecord['sides']> = [
          [h, h],
          [t, t],
          [h, t6],
          ...[{ ownPort: 0 }, { peerPort: 0 }, { peer: t6.peer }, { own: t6.own }].flatMap(
            (m): FlowRecord['sides'][] => [
              [change(h, m), t],
              [h, change(t, m)]
            ]
          )
        ]
        for (const sides of faulty)
          for (const one of [sides, swapped(sides)]) assert.equal(endsOf({ ...r, sides: one }), null)
      }
    )
  )
})

const E = FLOW_ESTABLISHED
/** What passt programs write: numbers that fit each other. */
const arbLikely: fc.Arbitrary<FlowRecord> = fc
  .record({
    base: arbFlowRecord,
    sides: arbSides,
    sndUna: arbSeq,
    flight: fc.nat(1 << 20),
    rcvNxt: arbSeq,
    owed: fc.nat(1 << 16),
    mss: fc.integer({ min: 48, max: 65_535 }),
    scales: fc.tuple(fc.nat(14), fc.nat(8)),
    events: fc.constantFrom(
      E,
      E | FLOW_SOCK_FIN_CAME,
      E | FLOW_SOCK_FIN_CAME | FLOW_TAP_FIN_SENT,
      E | FLOW_SOCK_FIN_CAME | FLOW_TAP_FIN_SENT | FLOW_TAP_FIN_ACKED,
      E | FLOW_TAP_FIN_CAME,
      E | FLOW_TAP_FIN_CAME | FLOW_SOCK_FIN_SENT,
      E | FLOW_TAP_FIN_CAME | FLOW_SOCK_FIN_SENT | FLOW_SOCK_FIN_CAME | FLOW_TAP_FIN_SENT
    )
  })
  .map(({ base, sides, sndUna, flight, rcvNxt, owed, mss, scales, events }) => {
    const acked = (events & FLOW_TAP_FIN_ACKED) !== 0
    const sent = (events & FLOW_TAP_FIN_SENT) !== 0
    return {
      ...base,
      sides,
      events,
      mss,
      guestScale: scales[0],
      ourScale: scales[1],
      sndUna,
      sndNxt: add(sndUna, acked ? 0 : flight + (sent ? 1 : 0)),
      rcvNxt,
      rcvAcked: add(rcvNxt, -owed)
    }
  })
const arbRecord = fc.oneof({ weight: 3, arbitrary: arbLikely }, { weight: 1, arbitrary: arbFlowRecord })
const arbSocket: fc.Arbitrary<ExtendedRecord> = fc
  .tuple(arbExtended(1 << 20), fc.constantFrom(1, 2, 4, 5, 6, 7, 8, 9, 10, 11))
  .map(([x, state]) => ({ ...x, state }))

/** A socket of a connection with these queues, as its kernel tells it. `base`: SEQ of the first octets. */
const dumpOf = (
  state: number,
  q: { readonly sent: number; readonly unsent: number; readonly unread: number },
  fin: { readonly out: boolean; readonly acked: boolean; readonly came: boolean }
): SocketDump => {
  const send = q.sent + q.unsent
  const out = fin.out ? 1 : 0
  const finSent = fin.out && q.unsent === 0
  return {
    sndSeq: 1000 + send + (fin.out || fin.acked ? 1 : 0),
    rcvSeq: 2000 + q.unread + (fin.came ? 1 : 0),
    outq: send + out,
    outqNsd: q.unsent + (fin.out && !finSent ? 1 : 0),
    inq: q.unread,
    sndKept: send,
    rcvKept: q.unread,
    maxSeg: 1448,
    timestamp: 77,
    window: {
      sndWl1: 5,
      sndWnd: 6,
      maxWindow: 7,
      rcvWnd: 1000,
      rcvWup: 2000 + q.unread + (fin.came ? 1 : 0)
    },
    sndScale: 7,
    rcvScale: 8,
    state,
    options: 0x47
  }
}
const NAMES: readonly (readonly [string, number, { out: boolean; acked: boolean; came: boolean }, number])[] =
  [
    ['ESTABLISHED', 1, { out: false, acked: false, came: false }, 1],
    ['FIN_WAIT1', 4, { out: true, acked: false, came: false }, 4],
    ['FIN_WAIT2', 5, { out: false, acked: true, came: false }, 5],
    ['TIME_WAIT', 6, { out: false, acked: true, came: true }, 9],
    ['CLOSE', 7, { out: false, acked: true, came: true }, 9],
    ['CLOSE_WAIT', 8, { out: false, acked: false, came: true }, 8],
    ['LAST_ACK', 9, { out: true, acked: false, came: true }, 9],
    ['CLOSING', 11, { out: true, acked: false, came: true }, 11]
  ]

describe("a socket's record", () => {
  for (const [name, state, fin, written] of NAMES)
    test(`${name}: both queues begin where their octets do, and no FIN is among them`, () => {
      const rcvFin = fin.out || fin.acked ? 1 : 0
      for (const q of fin.acked
        ? [{ sent: 0, unsent: 0, unread: 9 }]
        : [0, 1, 100].flatMap((sent) => [0, 1, 50].map((unsent) => ({ sent, unsent, unread: 30 })))) {
        const x = extendedOf(dumpOf(state, q, fin), { rcvFin })
        assert.ok(x !== null)
        assert.deepEqual([x.sndSeq, x.rcvSeq], [1000, 2000])
        assert.deepEqual([x.sendQueue, x.unsent, x.receiveQueue], [q.sent + q.unsent, q.unsent, q.unread])
        // what the kernel there can know: nothing behind the last octet
        assert.deepEqual(x.window, [5, 6, 7, 1000 + (fin.came ? 1 : 0), 2000 + q.unread])
        assert.equal(x.state, written)
        assert.equal(x.options, 7)
      }
    })
  test('another number of octets than was read, a queue that is too long, a state that goes nowhere: not taken along', () => {
    const good = dumpOf(1, { sent: 5, unsent: 5, unread: 5 }, NAMES[0]![2])
    const long = QUEUE_MAX + 1
    assert.ok(extendedOf(good, { rcvFin: 0 }))
    for (const bad of [
      { sndKept: 9 },
      { rcvKept: 4 },
      { inq: 6 },
      { outqNsd: 11 },
      { state: 2 },
      { state: 3 },
      { state: 10 },
      { state: 5 },
      { inq: long, rcvKept: long }
    ])
      assert.equal(extendedOf({ ...good, ...bad }, { rcvFin: 0 }), null, JSON.stringify(bad))
  })
})

describe("a connection's record", () => {
  test('any records give a connection or a reason, never a throw; and its block makes sense', () =>
    fc.assert(
      fc.property(arbRecord, arbSocket, arbU32, (r, x, mss) => {
        const moved = movedOf(r)
        const restoring = restoringOf(r, x)
        endsOf(r)
        assert.equal(resetOf(r).flags, RST | ACK)
        if (typeof moved === 'string') return assert.equal(restoring, moved)
        const now = instant(1)
        let s = compiled.start({ from: 'move', moved, mss, now }, [])
        checkTcb(s.context.tcb)
        if (typeof restoring === 'string') return
        const { unacked, unread, ended, socket } = restoring
        // Without an option of timestamps there is none; otherwise it is later than any that the old socket may have sent
        if ((x.options & 1) === 0) assert.equal(socket.timestamp, 0)
        else {
          const ahead = distance(seq(socket.timestamp), seq(x.timestamp))
          assert.equal(ahead, x.timestamp & 1 ? 1_000_000 : 1000)
          assert.equal(socket.timestamp & 1, x.timestamp & 1, 'what the clock counts')
        }
        const events: TcpEvent[] = [
          { type: 'SOCK_RESTORED', taken: unacked, unacked, unread, ended, dark: true, now },
          { type: 'SOCK_CONNECTED', info: INFO, now },
          { type: 'TURN_END', now },
          { type: 'FROZEN', now }
        ]
        for (const e of events) {
          s = compiled.step(s, e, [])
          checkTcb(s.context.tcb)
        }
        assert.ok(compiled.value(s).startsWith('open.'), compiled.value(s))
      }),
      { numRuns: 3000 }
    ))
  test('what is likely moves', () =>
    fc.assert(
      fc.property(arbLikely, (r) => {
        assert.equal(typeof movedOf(r), 'object')
        const ends = endsOf(r)
        assert.equal(ends?.fromHost, r.sides[0].where === ON_HOST)
      })
    ))
  test('there and back: the numbers of both streams are the same', () =>
    fc.assert(
      fc.property(arbLikely, arbU8, (r, retries) => {
        const moved = movedOf(r) as Moved
        const { tcb } = compiled.start({ from: 'move', moved, mss: 65_535, now: instant(1) }, []).context
        const [a, b] = r.sides
        const [host, tap] = a.where === ON_HOST ? [a, b] : [b, a]
        const again = flowRecordOf({ ...tcb, fails: retries }, { host, tap })
        const due = (r.events & FLOW_TAP_FIN_CAME) !== 0 && (r.events & FLOW_SOCK_FIN_SENT) === 0 ? 1 : 0
        for (const k of ['sides', 'guestScale', 'ourScale', 'sndNxt', 'sndUna', 'irs'] as const)
          assert.deepEqual(again[k], r[k], k)
        assert.equal(again.mss, r.mss & ~3)
        assert.equal(again.rcvNxt, add(r.rcvNxt, -due))
        assert.ok(distance(again.rcvNxt, again.rcvAcked) >= 0)
        // the window's edge is where it was, or further on
        const edge = (x: FlowRecord) => add(x.rcvAcked, x.ourWindow << x.ourScale)
        assert.ok(distance(edge(again), edge(r)) >= 0 || due === 1)
      })
    ))
})

/** No turn of it ends while it is frozen. */
const freeze = (f: Flow): readonly Effect[] => {
  const out: Effect[] = []
  f.state = compiled.step(f.state, { type: 'FROZEN', now: instant(f.now) }, out)
  checkTcb(f.tcb)
  return out
}
describe('a connection that is frozen', () => {
  test('forgets what native kept, and a peek; its timers stop. Thawed, it says where it is, and looks', () => {
    const f = new Flow()
    f.turn({ type: 'SOCK_CONNECTED', info: INFO })
    f.tap(1, 1)
    f.readable() // a peek is under way
    f.tap(1, 1, { len: 300 })
    f.sent(100) // native keeps 200
    f.tap(301, 1, { flags: 17 }) // and the guest's FIN is behind them
    assert.equal(f.tcb.rcvNxt, IRS + 301)
    const frozen = freeze(f)
    assert.deepEqual(
      frozen.map((e) => (e.type === 'CancelTimer' ? e.timer : e.type)),
      ['rto', 'ack', 'keepalive', 'idle']
    )
    assert.equal(f.tcb.rcvNxt, IRS + 101)
    assert.equal(f.tcb.finAt, null)
    const out = f.turn({ type: 'THAWED' })
    assert.deepEqual(types(out), ['RewindPeek', 'PeekToTap'])
    const peek = out.find((e): e is Extract<Effect, { type: 'PeekToTap' }> => e.type === 'PeekToTap')
    assert.equal(peek?.ack, IRS + 101)
    // what native dropped comes again, and is taken
    assert.equal(types(f.tap(101, 1, { len: 200 }))[0], 'SendToSock')
  })
  test('goes without a word when it has moved; its guest is reset when it was lost', () => {
    const open = () => {
      const f = new Flow()
      f.turn({ type: 'SOCK_CONNECTED', info: INFO })
      f.tap(1, 1)
      freeze(f)
      return f
    }
    assert.deepEqual(types(open().turn({ type: 'MOVED_AWAY' })), ['CloseSock'])
    assert.deepEqual(types(open().turn({ type: 'SOCK_FAILED', errno: 104 })), ['SegmentToTap', 'CloseSock'])
  })
})

describe('a connection that was open elsewhere', () => {
  const moved: Moved = {
    fromHost: false,
    mss: 1460,
    sndScale: 7,
    rcvScale: 8,
    iss: seq(ISS),
    irs: seq(IRS),
    sndUna: seq(ISS + 1),
    sndMax: seq(ISS + 501),
    sndWnd: 60_000,
    discarded: seq(ISS + 1),
    finSeq: null,
    rcvTaken: seq(IRS + 1001),
    rcvAcked: seq(IRS + 901),
    rcvEdge: seq(IRS + 30_000),
    rcvFin: 0,
    finAt: null
  }
  const started = (m: Partial<Moved>, socket: { unacked: number; unread: number; ended: boolean }) => {
    const f = new Flow()
    f.state = compiled.start({ from: 'move', moved: { ...moved, ...m }, mss: 1460, now: instant(f.now) }, [])
    assert.deepEqual(
      types(f.turn({ type: 'SOCK_RESTORED', taken: socket.unacked, dark: true, ...socket })),
      []
    )
    return f
  }
  const far = { rtt: 50_000, minRtt: 50_000 }
  test('octets acknowledged count from the head of its send queue, however they are told', () => {
    const f = started({}, { unacked: 400, unread: 500, ended: false })
    const first = f.turn({ type: 'SOCK_CONNECTED', info: { ...INFO, ...far, bytesAcked: 0, sndBuf: 4000 } })
    assert.equal(f.value, 'open.established')
    assert.equal(f.tcb.rcvConfirmed, IRS + 601)
    assert.deepEqual(types(first), ['PeekToTap'])
    f.peeked(0)
    f.turn({ type: 'SOCK_ACKED', octet: 349 }) // 350 of them
    assert.equal(f.tcb.rcvConfirmed, IRS + 951)
    f.turn({ type: 'SOCK_INFO', info: { ...INFO, ...far, bytesAcked: 400 } })
    assert.equal(f.tcb.rcvConfirmed, IRS + 1001)
    // an upload that goes on: minutes later the count is the same stream's
    f.tap(1001, 501, { len: 1000 })
    f.sent(1000, { info: { ...far, bytesAcked: 1400 } })
    assert.equal(f.tcb.rcvConfirmed, IRS + 2001)
  })
  test('the end that its kernel does not know comes behind the last octet', () => {
    const f = started({}, { unacked: 0, unread: 800, ended: true })
    const out = f.turn({ type: 'SOCK_CONNECTED', info: INFO })
    assert.deepEqual(types(out), ['PeekToTap'])
    assert.equal(f.value, 'open.finWait1')
    // 500 were in flight: 300 are left, and the kernel says no end
    assert.deepEqual(types(f.peeked(300)), ['SegmentToTap'])
    assert.equal(f.tcb.finSeq, ISS + 801)
    assert.equal(f.tcb.sndMax, ISS + 802)
  })
  const leaves: readonly (readonly [string, Partial<Moved>, boolean])[] = [
    ['open.established', {}, false],
    ['open.closeWait', { rcvFin: 1 }, false],
    ['open.finWait1', { finSeq: seq(ISS + 500) }, true],
    ['open.finWait2', { sndUna: seq(ISS + 501), discarded: seq(ISS + 500), finSeq: seq(ISS + 500) }, true],
    ['open.closing', { rcvFin: 1, finSeq: seq(ISS + 500) }, true]
  ]
  for (const [leaf, m, ended] of leaves)
    test(`goes on in ${leaf}`, () => {
      const f = started(m, { unacked: 0, unread: ended ? 499 : 500, ended })
      f.state = compiled.step(f.state, { type: 'SOCK_CONNECTED', info: INFO, now: instant(f.now) }, [])
      assert.equal(f.value, leaf)
    })
  test('is reset towards the guest if it cannot be made', () => {
    const f = started({}, { unacked: 0, unread: 500, ended: false })
    assert.deepEqual(types(f.turn({ type: 'SOCK_FAILED', errno: 98 })), ['SegmentToTap', 'CloseSock'])
  })
})
