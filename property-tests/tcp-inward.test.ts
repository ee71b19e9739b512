import { strict as assert } from 'node:assert'
import { describe, test } from 'node:test'
import { seq } from '../src/codecs/value/seq.js'
import { ACK, FIN, RST, SYN, type TcpSegment } from '../src/codecs/wire/tcp.js'
import type { Effect, TimerName } from '../src/effects/effect.js'
import type { SockInfo } from '../src/effects/sock-event.js'
import { Flow, type Happening, INFO, IRS, ISS, OFFER, of, segs, types } from './tcp-flow.js'

// Connections that a host peer opens: one fixture per state. Regressions: docs/behaviour.md.

const INFO0 = { ...INFO, bytesAcked: 0 }
const connecting = (more: { mss?: number; v6?: boolean } = {}): Flow => new Flow('host', more)
const synSent = (info: Partial<SockInfo> = {}, more: { mss?: number; v6?: boolean } = {}): Flow => {
  const f = connecting(more)
  f.turn({ type: 'SOCK_CONNECTED', info: { ...INFO0, ...info } })
  return f
}
type Seg = Partial<TcpSegment> & { len?: number }
const synAck = (f: Flow, more: Seg = {}): Effect[] => f.tap(0, 1, { flags: SYN | ACK, ...OFFER, ...more })
const established = (info: Partial<SockInfo> = {}): Flow => {
  const f = synSent(info)
  synAck(f)
  return f
}
/** SYNs have crossed. */
const synRcvd = (): Flow => {
  const f = synSent()
  f.tap(0, 0, { flags: SYN, ...OFFER })
  return f
}
const theSyn: Effect = {
  type: 'SegmentToTap',
  seq: seq(ISS),
  ack: seq(0),
  flags: SYN,
  wnd: 14_600,
  mss: 1460,
  windowScale: 8
}

describe('connecting, opened by the host', () => {
  test('the connection is adopted and the guest asked in the same turn', () => {
    assert.deepEqual(
      connecting().started.filter((e) => e.type !== 'ArmTimer'),
      [{ type: 'SockAdopt' }, theSyn]
    )
  })
  test('the adoption fails: RST without ACK, since the number of the guest is not known', () => {
    const f = connecting()
    const out = f.turn({ type: 'SOCK_FAILED', errno: 104 })
    assert.deepEqual(segs(out), [{ seq: 1, ack: 0, flags: RST }])
    assert.deepEqual(types(out), ['SegmentToTap', 'CloseSock'])
  })
  test('the adoption is lost: the flow does not stay', () => {
    const f = connecting()
    f.turn({ type: 'TIMER_RTO' })
    assert.equal(f.value, 'connecting')
    assert.deepEqual(types(f.rto()), ['SegmentToTap', 'ResetSock'])
    assert.equal(f.value, 'closed')
  })
  test('a RST cannot have seen the SYN yet', () => {
    const f = connecting()
    for (const at of [0, -IRS, 1 - IRS]) assert.deepEqual(f.tap(at, 1, { flags: RST | ACK }), [])
    assert.equal(f.value, 'connecting')
  })
})

describe('synSent (RFC 9293 §3.10.7.3)', () => {
  test('regression-17: SYN,ACK is acknowledged at once, with nothing else to say', () => {
    const f = synSent()
    assert.deepEqual(segs(synAck(f)), [{ seq: 1, ack: 1, flags: ACK }])
    assert.equal(f.value, 'open.established')
  })
  test('the handshake is timed: the first RTT (RFC 6298 (2.2))', () => {
    const f = synSent()
    f.now += 5
    synAck(f)
    assert.deepEqual([f.tcb.srtt, f.tcb.rto, f.tcb.tapAliveAt], [5, 200, f.now])
  })
  test('what the peer has sent meanwhile flows right behind', () => {
    const f = synSent()
    assert.deepEqual(f.readable(), [])
    const out = synAck(f)
    assert.deepEqual(types(out), ['SegmentToTap', 'PeekToTap'])
    const [peek] = of(out, 'PeekToTap')
    assert.deepEqual([peek.seq, peek.ack, peek.octets], [ISS + 1, IRS + 1, 64_000])
  })
  test('regression-O: the window in SYN,ACK is not scaled, the ones behind are; ours likewise', () => {
    const f = synSent()
    const [ack] = of(synAck(f, { wnd: 100 }), 'SegmentToTap')
    assert.equal(f.tcb.sndWnd, 100)
    assert.equal(ack.wnd, 40_000 >> 8)
    f.tap(1, 1, { wnd: 100 })
    assert.equal(f.tcb.sndWnd, 100 << 7)
  })
  test('regression-J: no scale without one from the guest, either way', () => {
    const f = synSent()
    const [ack] = of(synAck(f, { windowScale: null }), 'SegmentToTap')
    assert.equal(ack.wnd, 40_000)
    f.tap(1, 1, { wnd: 700 })
    assert.equal(f.tcb.sndWnd, 700)
  })
  test('segments: what the guest announces, what the MTU allows, 48 at least; 536 or 1220 if it is silent', () => {
    const mss = (guest: number | null, more: { mss?: number; v6?: boolean } = {}): number => {
      const f = synSent({}, more)
      synAck(f, { mss: guest })
      return of(f.readable(), 'PeekToTap')[0].mss
    }
    assert.deepEqual([mss(1000), mss(9000), mss(20)], [1000, 1460, 48])
    assert.deepEqual([mss(9000, { mss: 61_440 }), mss(1460, { mss: 1240 })], [9000, 1240])
    assert.deepEqual([mss(null), mss(null, { v6: true })], [536, 1220])
    assert.deepEqual([mss(null, { mss: 500 }), mss(null, { mss: 1000, v6: true })], [500, 1000])
    assert.equal(of(connecting({ mss: 1240 }).started, 'SegmentToTap')[0].mss, 1240)
  })
  test('SYN,ACK with payload and FIN: both count', () => {
    const f = synSent()
    const out = synAck(f, { flags: SYN | ACK | FIN, len: 10 })
    assert.deepEqual(types(out), ['SendToSock', 'SegmentToTap'])
    assert.deepEqual(of(out, 'SendToSock')[0].payload, { off: 64, len: 10 })
    assert.deepEqual(types(f.sent(10, { info: { bytesAcked: 10 } })), ['ShutdownWr', 'SegmentToTap'])
    assert.equal(f.tcb.rcvAcked, IRS + 12)
    assert.equal(f.value, 'open.closeWait')
  })
  test('payload beyond the window of our SYN is not taken', () => {
    const f = synSent()
    assert.equal(of(synAck(f, { len: 20_000 }), 'SendToSock')[0].payload.len, 14_600)
  })
  test('regression-82: the guest refuses: the peer gets a reset, at once', () => {
    const f = synSent()
    assert.deepEqual(f.tap(-IRS, 1, { flags: RST | ACK }), [{ type: 'ResetSock' }])
    assert.equal(f.value, 'closed')
  })
  test("a RST that does not acknowledge our SYN is anybody's (RFC 5961 §3)", () => {
    const f = synSent()
    assert.deepEqual(f.tap(0, 1, { flags: RST }), [])
    assert.deepEqual(f.tap(0, 0, { flags: RST | ACK }), [])
    assert.deepEqual(f.tap(0, 2, { flags: RST | ACK }), [])
    assert.equal(f.value, 'synSent')
  })
  test('an old connection of these ports is reset, and the SYN sent again', () => {
    const f = synSent()
    assert.deepEqual(segs(f.tap(9, 777)), [{ seq: 777, ack: 0, flags: RST }])
    assert.deepEqual(segs(f.tap(9, 0, { flags: SYN | ACK })), [{ seq: 0, ack: 0, flags: RST }])
    assert.equal(f.value, 'synSent')
    assert.deepEqual(f.rto(), [theSyn])
  })
  test('neither SYN nor RST: dropped', () => {
    const f = synSent()
    for (const flags of [ACK, ACK | FIN, FIN, 0]) assert.deepEqual(f.tap(1, 1, { flags, len: 5 }), [])
    assert.equal(f.value, 'synSent')
  })
  test('regression-71, regression-B: the SYN is sent again, the same; the retries are limited, then RST to both', () => {
    const f = synSent()
    const at: number[] = []
    for (let i = 0; i < 7; i++) {
      assert.deepEqual(f.rto(), [theSyn])
      at.push(f.now - 1000)
    }
    assert.deepEqual(at, [1000, 2000, 3000, 4000, 5000, 7000, 11_000])
    const out = f.rto()
    assert.equal(f.now - 1000, 19_000)
    assert.deepEqual(types(out), ['SegmentToTap', 'ResetSock'])
    assert.deepEqual(segs(out), [{ seq: 1, ack: 0, flags: RST }])
    assert.equal(f.value, 'closed')
  })
  test('a guest that boots: the retry is answered; its data then gets 3 s at first (RFC 6298 (5.7))', () => {
    const f = synSent()
    f.readable()
    f.rto()
    f.rto()
    synAck(f)
    f.peeked(100)
    assert.equal(f.tcb.rtoAt - f.now, 3000)
    assert.equal(f.tcb.fails, 0)
  })
  test('the peer has sent and closed meanwhile: data and FIN', () => {
    const f = synSent()
    f.turn({ type: 'SOCK_READY', readable: true, writable: false, rdhup: true, info: null })
    synAck(f)
    assert.deepEqual(segs(f.peeked(100, { eof: true })), [{ seq: 101, ack: 1, flags: FIN | ACK }])
    assert.equal(f.value, 'open.finWait1')
  })
  test('the peer resets meanwhile: the guest may have seen the SYN', () => {
    const f = synSent()
    const out = f.turn({ type: 'SOCK_FAILED', errno: 104 })
    assert.deepEqual(types(out), ['SegmentToTap', 'CloseSock'])
    assert.deepEqual(segs(out), [{ seq: 1, ack: 0, flags: RST }])
  })
  test('we end: RST to both', () => {
    const f = synSent()
    assert.deepEqual(types(f.turn({ type: 'STOP' })), ['SegmentToTap', 'ResetSock'])
  })
})

describe('synRcvd, after SYNs crossed (RFC 9293 §3.5)', () => {
  const answer = { seq: 0, ack: 1, flags: SYN | ACK }
  test('SYN is answered by SYN,ACK; again by the same, and by the timer', () => {
    const f = synSent()
    const first = f.tap(0, 0, { flags: SYN, ...OFFER })
    assert.deepEqual(segs(first), [answer])
    assert.equal(of(first, 'SegmentToTap')[0].wnd, 14_600)
    assert.equal(f.value, 'synRcvd')
    assert.deepEqual(f.tap(0, 0, { flags: SYN, ...OFFER }), first)
    assert.deepEqual(f.rto(), first)
  })
  test('its scale counts here as well (regression-J)', () => {
    const f = synSent()
    const [s] = of(f.tap(0, 0, { flags: SYN, ...OFFER, windowScale: null }), 'SegmentToTap')
    assert.equal(s.windowScale, null)
  })
  test("the guest's SYN,ACK opens it, and is acknowledged", () => {
    const f = synRcvd()
    assert.deepEqual(segs(synAck(f, { wnd: 65_000 })), [{ seq: 1, ack: 1, flags: ACK }])
    assert.equal(f.value, 'open.established')
    const { sndWnd, maxSndWnd, sndWl1, sndWl2 } = f.tcb
    assert.deepEqual([sndWnd, maxSndWnd, sndWl1, sndWl2], [65_000, 65_000, IRS, ISS + 1])
  })
  test('so does its ACK, with data', () => {
    const f = synRcvd()
    f.readable()
    assert.deepEqual(types(f.tap(1, 1, { len: 10 })), ['SendToSock', 'PeekToTap'])
    assert.equal(f.value, 'open.established')
  })
  test('a SYN,ACK that does not fit is challenged', () => {
    const f = synRcvd()
    assert.deepEqual(segs(f.tap(0, 7, { flags: SYN | ACK })), [{ seq: 1, ack: 1, flags: ACK }])
    assert.deepEqual(segs(f.tap(5, 1, { flags: SYN | ACK })), [{ seq: 1, ack: 1, flags: ACK }])
    assert.equal(f.value, 'synRcvd')
  })
  test('RST: the peer gets one', () => {
    const f = synRcvd()
    assert.deepEqual(f.tap(1, 0, { flags: RST }), [{ type: 'ResetSock' }])
  })
})

describe('open, opened by the host', () => {
  test('our ACK was lost: SYN,ACK again gets it again', () => {
    const f = established()
    assert.deepEqual(segs(synAck(f)), [{ seq: 1, ack: 1, flags: ACK }])
    assert.equal(f.value, 'open.established')
  })
  test('no ACK is withheld by a count that starts with another octet: bytes_acked has no SYN in it', () => {
    const far = { minRtt: 50_000, rtt: 50_000 }
    const f = established(far)
    f.tap(1, 1, { len: 100 })
    f.sent(100, { info: { ...far, bytesAcked: 0 } })
    assert.equal(f.tcb.rcvConfirmed, IRS + 1)
    const out = f.turn({ type: 'SOCK_INFO', info: { ...INFO0, ...far, bytesAcked: 60 } })
    assert.deepEqual(segs(out), [{ seq: 1, ack: 61, flags: ACK }])
    assert.deepEqual(segs(f.turn({ type: 'SOCK_ACKED', octet: 99 })), [{ seq: 1, ack: 101, flags: ACK }])
    assert.equal(f.tcb.pollAt, 0)
  })
  test('a kernel without these counts: what it took is acknowledged', () => {
    const f = established({ sndWnd: 0, minRtt: 50_000 })
    f.tap(1, 1, { len: 100 })
    const out = f.sent(100, { info: { sndWnd: 0, bytesAcked: 0, minRtt: 50_000 } })
    assert.deepEqual(segs(out), [{ seq: 1, ack: 101, flags: ACK }])
  })
  test('regression-84: silence is broken by a keep-alive; a guest that forgot us ends it', () => {
    const f = established()
    f.now += 30_000
    assert.deepEqual(segs(f.turn({ type: 'TIMER_KEEPALIVE' })), [{ seq: 0, ack: 1, flags: ACK }])
    assert.deepEqual(types(f.tap(1, 0, { flags: RST })), ['ResetSock'])
  })
})

describe('an idle connection', () => {
  const EVENT = {
    rto: 'TIMER_RTO',
    ack: 'TIMER_ACK',
    keepalive: 'TIMER_KEEPALIVE',
    idle: 'TIMER_IDLE'
  } as const
  /** Timers that fire in an hour in which only keep-alives are answered. */
  const hour = (f: Flow, effects: readonly Effect[]): TimerName[] => {
    const wheel = new Map<TimerName, number>()
    const note = (out: readonly Effect[]): void => {
      for (const e of of(out, 'ArmTimer')) wheel.set(e.timer, e.at)
      for (const e of of(out, 'CancelTimer')) wheel.delete(e.timer)
    }
    note(effects)
    const end = f.now + 3_600_000
    const fired: TimerName[] = []
    for (;;) {
      const [next] = [...wheel].sort((a, b) => a[1] - b[1])
      if (next === undefined || next[1] > end) return fired
      f.now = next[1]
      wheel.delete(next[0])
      fired.push(next[0])
      const out = f.all({ type: EVENT[next[0]] })
      note(out)
      if (segs(out).length > 0) note(f.all({ type: 'TAP_SEGMENT', seg: f.seg(101, 51) }))
    }
  }
  for (const from of ['guest', 'host'] as const)
    test(`opened by the ${from}: a keep-alive every 30 s, no other work`, () => {
      const base = from === 'host' ? 0 : 1
      const far = { ...INFO, minRtt: 50_000, rtt: 50_000 }
      const f = new Flow(from === 'host' ? 'host' : {})
      const seen = [...f.started, ...f.all({ type: 'SOCK_CONNECTED', info: { ...far, bytesAcked: base } })]
      const all = (...events: Happening[]): void => {
        seen.push(...f.all(...events))
      }
      const answer = from === 'host' ? f.seg(0, 1, { flags: SYN | ACK, ...OFFER }) : f.seg(1, 1)
      all({ type: 'TAP_SEGMENT', seg: answer })
      // 100 octets one way, 50 the other.
      all({ type: 'TAP_SEGMENT', seg: f.seg(1, 1, { len: 100 }) })
      const info = { ...far, bytesAcked: base }
      all({ type: 'SOCK_SENT', taken: 100, dropped: 0, errno: 0, info })
      all({ type: 'SOCK_READY', readable: true, writable: false, rdhup: false, info: null })
      const peek = { octets: 50, eof: false, drained: true, tapFull: false, tapTells: false, errno: 0 }
      all({ type: 'SOCK_PEEKED', ...peek }, { type: 'TAP_SEGMENT', seg: f.seg(101, 51) })
      all({ type: 'SOCK_INFO', info: { ...far, bytesAcked: base + 100 } })
      const fired = hour(f, seen)
      const others = fired.filter((t) => t !== 'keepalive')
      // What was armed before may fire once more, for nothing.
      assert.ok(others.length <= 2, others.join())
      assert.ok(fired.length - others.length <= 121)
    })
})
