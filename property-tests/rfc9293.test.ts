// Requirements of RFC 9293's table (Appendix B) that no other test is about. docs/conformance.md has them all.
import { strict as assert } from 'node:assert'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { distance, unsigned } from '../src/codecs/value/seq.js'
import { ACK, FIN, RST, SYN, URG } from '../src/codecs/wire/tcp.js'
import { instant } from '../src/effects/effect.js'
import { RTO_INITIAL } from '../src/machines/tcp/tcb-rtx.js'
import { PEEK_MAX } from '../src/machines/tcp/tcp-output.js'
import type { FlowAddresses } from '../src/runtime/flow/flow.js'
import type { HashKey } from '../src/runtime/flow/half-sip-hash.js'
import { initialSequence } from '../src/runtime/flow/initial-sequence.js'
import { World } from '../src/simulator/tcp.js'
import { scenario, subject } from './tcp-arbitraries.js'
import { Flow, INFO, of, segs, types } from './tcp-flow.js'

const established = (): Flow => {
  const f = new Flow()
  f.turn({ type: 'SOCK_CONNECTED', info: INFO })
  f.tap(1, 1)
  return f
}
/** `octets` went to the guest and are not acknowledged. */
const inFlight = (octets: number): Flow => {
  const f = established()
  f.readable()
  f.peeked(octets)
  return f
}

describe("the guest's window", () => {
  test('MUST-1, REC-1: 65535 and the largest scale are a positive number', () => {
    const f = new Flow({ windowScale: 14 })
    f.turn({ type: 'SOCK_CONNECTED', info: INFO })
    f.tap(1, 1, { wnd: 65535 })
    assert.equal(f.tcb.sndWnd, 65535 * 2 ** 14)
    assert.equal(of(f.readable(), 'PeekToTap')[0].octets, PEEK_MAX)
  })
  test('SHLD-15, MUST-34: it shrinks below what is in flight: nothing new is sent', () => {
    const f = inFlight(5000)
    f.tap(1, 1, { wnd: 10 })
    assert.deepEqual(of(f.readable(), 'PeekToTap'), [])
    assert.equal(f.value, 'open.established')
  })
  test('SHLD-16, SHLD-17: what is inside of it comes again, and only silence ends the connection', () => {
    const f = inFlight(5000)
    f.tap(1, 1, { wnd: 10 })
    const [again] = of(f.rto(), 'PeekToTap')
    assert.deepEqual([again.seq, again.octets], [1001, 1280])
    f.peeked(1280)
    // The guest takes that, and shuts its window behind it: again and again, for longer than any retries
    f.tap(1, 1281, { wnd: 0 })
    for (let i = 0; i < 20; i++) {
      f.rto()
      f.peeked(1)
      f.tap(1, 1281, { wnd: 0 })
    }
    assert.equal(f.value, 'open.established')
  })
  test('SHLD-29, SHLD-30: a closed window is probed first after the RTO, then ever more seldom', () => {
    const f = established()
    f.tap(1, 1, { wnd: 0 })
    f.readable()
    const gaps: number[] = []
    for (let i = 0; i < 4; i++) {
      const from = f.now
      assert.equal(of(f.rto(), 'PeekToTap')[0].octets, 1)
      f.peeked(1)
      f.tap(1, 1, { wnd: 0 })
      gaps.push(f.now - from)
    }
    assert.equal(gaps[0], f.tcb.rto)
    assert.deepEqual(
      gaps,
      [1, 2, 4, 8].map((n) => n * f.tcb.rto)
    )
  })
  test('MUST-38: less than a segment, and less than half of what it ever was, waits for the ACK', () => {
    const f = inFlight(1000)
    f.tap(1, 1, { wnd: 12 }) // 1536 octets, of which 1000 are in flight
    assert.deepEqual(of(f.readable(), 'PeekToTap'), [])
    assert.equal(of(f.tap(1, 1001, { wnd: 12 }), 'PeekToTap')[0].octets, 1536)
  })
  test('SHLD-28: as much as fits goes at once, to be cut by the MSS', () => {
    const [peek] = of(established().readable(), 'PeekToTap')
    assert.deepEqual([peek.octets, peek.mss], [64_000, 1460])
  })
})

test('MUST-66: RST, and urgent data, with our window closed', () => {
  const full = (): Flow => {
    const f = established()
    f.tap(1, 1, { len: 40_000 })
    f.sent(40_000, { info: { sndFree: 0 } })
    while (f.tcb.rcvEdge !== f.tcb.rcvNxt) {
      const len = distance(f.tcb.rcvEdge, f.tcb.rcvNxt)
      f.tap(distance(f.tcb.rcvNxt, f.tcb.irs), 1, { len })
      f.sent(len, { info: { sndFree: 0 } })
    }
    return f
  }
  const f = full()
  const at = distance(f.tcb.rcvNxt, f.tcb.irs)
  assert.deepEqual(segs(f.tap(at, 1, { flags: ACK | URG, urgent: 1, len: 1 })), [
    { seq: 1, ack: at, flags: ACK }
  ])
  assert.deepEqual(types(f.tap(at, 0, { flags: RST })), ['ResetSock'])
})

describe('segments', () => {
  test('SHLD-2: a RST with data is a RST', () => {
    const f = established()
    assert.deepEqual(types(f.tap(1, 0, { flags: RST, len: 20 })), ['ResetSock'])
  })
  test('MAY-2: a SYN in TIME-WAIT ends it, for the next connection of these ports', () => {
    const f = established()
    f.readable()
    f.peeked(0, { eof: true })
    f.tap(1, 2, { flags: ACK | FIN })
    assert.equal(f.value, 'timeWait')
    f.tap(90_000, 0, { flags: SYN })
    assert.equal(f.value, 'closed')
  })
  test('MUST-58, MUST-59: all segments of a turn are looked at, then there is one ACK', () => {
    const f = established()
    const part = (n: number) => ({
      type: 'TAP_SEGMENT' as const,
      seg: f.seg(1 + 100 * n, 1, { len: 100 })
    })
    const sent = { type: 'SOCK_SENT' as const, taken: 300, dropped: 0, errno: 0, info: INFO }
    assert.deepEqual(segs(f.turn(part(0), part(1), part(2))), [])
    assert.deepEqual(segs(f.turn(sent)), [{ seq: 1, ack: 301, flags: ACK }])
  })
  test('SHLD-19: an ACK may wait for data to carry it, but not that of two full segments', () => {
    const f = established()
    let at = 1
    let back = 1
    // A conversation, so that ACKs wait at all
    const asks = (len: number): readonly object[] => {
      f.tap(at, back, { len })
      at += len
      return segs(f.sent(len))
    }
    for (let i = 0; i < 4; i++) {
      asks(1)
      f.readable()
      f.peeked(1)
      back++
    }
    assert.deepEqual(asks(1), [])
    f.readable()
    f.peeked(1)
    back++
    assert.deepEqual(asks(2 * f.tcb.mss), [{ seq: back, ack: at, flags: ACK }])
  })
  test('MUST-29: keep-alives that nobody answers end nothing', () => {
    const f = established()
    for (let i = 0; i < 100; i++) {
      f.now += 30_000
      assert.equal(segs(f.turn({ type: 'TIMER_KEEPALIVE' })).length, 1)
    }
    assert.equal(f.value, 'open.established')
  })
  test('MUST-18: what was sent twice measures no round trip (RFC 6298 §3)', () => {
    const f = inFlight(100)
    const { srtt } = f.tcb
    f.rto()
    f.peeked(100)
    f.now += 5
    f.tap(1, 101)
    assert.equal(f.tcb.srtt, srtt)
    assert.equal(f.tcb.backoff, 0)
  })
  test('MUST-65, SHLD-5, MAY-3: an MSS on each SYN, and on nothing else; URG never', () =>
    fc.assert(
      fc.property(scenario(true), (s) => {
        for (const g of new World(subject, s).run().sent) {
          assert.equal(g.mss, g.flags & SYN ? s.mtuMss : null)
          assert.equal(g.flags & URG, 0)
        }
      }),
      { numRuns: 60 }
    ))
  test('SHLD-11: retries go on for 100 s at least; MUST-22: those of a SYN are counted alike', () => {
    const f = inFlight(100)
    const from = f.now
    while (f.value !== 'closed') if (of(f.rto(), 'PeekToTap').length > 0) f.peeked(100)
    assert(f.now - from >= 100_000)
    const syn = new Flow('host')
    syn.turn({ type: 'SOCK_CONNECTED', info: INFO })
    let fails = 0
    for (; syn.value !== 'closed'; fails++) syn.rto()
    assert.equal(fails, 8)
    assert(syn.now - 1000 >= 7 * RTO_INITIAL)
  })
})

describe('initial sequence numbers (RFC 6528)', () => {
  const word = fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff })
  const addr = fc.tuple(word, word, word, word)
  const port = fc.integer({ min: 1, max: 65535 })
  const ends = fc
    .record({ guestAddr: addr, ourAddr: addr, guestPort: port, ourPort: port })
    .map((e) => e as unknown as FlowAddresses)
  const key = fc.tuple(word, word).map((k) => k as unknown as HashKey)
  const now = fc.nat(1e9)
  test('MUST-8: the same ends later: as many more as the clock of 4 µs says', () =>
    fc.assert(
      fc.property(key, ends, now, fc.nat(1e6), (k, e, at, ms) => {
        const [a, b] = [at, at + ms].map((t) => initialSequence(k, e, instant(t)))
        assert.equal(unsigned(distance(b!, a!) as typeof a), (ms * 250) % 2 ** 32)
      })
    ))
  test('SHLD-1, MUST-9: another key, or other ends, give a number that has nothing to do with it', () => {
    // A collision of 32 bits is no fault: hardly any of many may be
    let same = 0
    fc.assert(
      fc.property(key, key, ends, ends, (k, l, e, f) => {
        const of1 = (a: HashKey, x: FlowAddresses): number => initialSequence(a, x, instant(0))
        if (String(k) !== String(l) && of1(k, e) === of1(l, e)) same++
        if (JSON.stringify(e) !== JSON.stringify(f) && of1(k, e) === of1(k, f)) same++
      }),
      { numRuns: 1000 }
    )
    assert(same <= 1, `${same}`)
  })
})
