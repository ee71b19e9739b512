import { strict as assert } from 'node:assert'
import { describe, test } from 'node:test'
import { add, seq } from '../src/codecs/value/seq.js'
import { ACK, FIN, PSH, RST, SYN, type TcpSegment, URG } from '../src/codecs/wire/tcp.js'
import type { Effect } from '../src/effects/effect.js'
import type { SockInfo } from '../src/effects/sock-event.js'
import { TIME_WAIT } from '../src/machines/tcp/tcb-wake.js'
import { resetFor } from '../src/machines/tcp/tcp-reset.js'
import { Flow, INFO, IRS, ISS, of, segs, types } from './tcp-flow.js'

// One fixture per state; a test is a script of what comes in, and looks at what goes out. Regressions: docs/behaviour.md.

const connecting = (syn?: Partial<TcpSegment>): Flow => new Flow(syn)
const synRcvd = (syn?: Partial<TcpSegment>, info: Partial<SockInfo> = {}): Flow => {
  const f = connecting(syn)
  f.turn({ type: 'SOCK_CONNECTED', info: { ...INFO, ...info } })
  return f
}
const established = (info: Partial<SockInfo> = {}): Flow => {
  const f = synRcvd({}, info)
  f.tap(1, 1)
  return f
}
/** `octets` went to the guest and are not acknowledged. */
const inFlight = (octets: number, eof = false): Flow => {
  const f = established()
  f.readable()
  f.peeked(octets, { eof })
  return f
}
const closeWait = (): Flow => {
  const f = established()
  f.tap(1, 1, { flags: ACK | FIN })
  return f
}
const finWait1 = (): Flow => inFlight(0, true)
const finWait2 = (): Flow => {
  const f = finWait1()
  f.tap(1, 2)
  return f
}
const lastAck = (): Flow => {
  const f = closeWait()
  f.readable()
  f.peeked(0, { eof: true })
  return f
}
const timeWait = (): Flow => {
  const f = finWait2()
  f.tap(1, 2, { flags: ACK | FIN })
  return f
}

describe('connecting', () => {
  test('the SYN becomes connect(), with its MSS', () => {
    assert.deepEqual(of(connecting().started, 'TcpConnect')[0].mss, 1460)
    assert.deepEqual(of(connecting({ mss: null }).started, 'TcpConnect')[0].mss, 536)
    assert.deepEqual(of(connecting({ mss: 20 }).started, 'TcpConnect')[0].mss, 88) // the kernel takes no less
  })
  test('regression-56: the SYN again while connecting is ignored', () => {
    const f = connecting()
    assert.deepEqual(f.tap(0, 0, { flags: SYN }), [])
    assert.equal(f.value, 'connecting')
  })
  test('a failure is told to the guest at once: RST, ACK of its SYN', () => {
    const f = connecting()
    const out = f.turn({ type: 'SOCK_FAILED', errno: 111 })
    // Nothing was sent yet: no number of ours is in it (RFC 9293 §3.5.2)
    assert.deepEqual(segs(out), [{ seq: -ISS | 0, ack: 1, flags: RST | ACK }])
    assert.equal(f.value, 'closed')
  })
  test('the guest gives up: only a RST at the right number counts', () => {
    const f = connecting()
    f.tap(9, 0, { flags: RST })
    assert.equal(f.value, 'connecting')
    assert.deepEqual(types(f.tap(1, 0, { flags: RST })), ['ResetSock'])
  })
})

describe('synRcvd', () => {
  test('regression-J: window scale only if the guest offered one', () => {
    const scaleOf = (syn: Partial<TcpSegment>) =>
      of(connecting(syn).turn({ type: 'SOCK_CONNECTED', info: INFO }), 'SegmentToTap')[0].windowScale
    assert.equal(scaleOf({ windowScale: 7 }), 8)
    assert.equal(scaleOf({ windowScale: null }), null)
  })
  test('regression-O: the SYN,ACK window is unscaled, the first one behind it scaled', () => {
    const f = connecting()
    const [s] = of(f.turn({ type: 'SOCK_CONNECTED', info: INFO }), 'SegmentToTap')
    assert.equal(s.wnd, 40_000)
    f.tap(1, 1, { len: 1 })
    const [ack] = of(f.sent(1, { info: { sndFree: 39_999 } }), 'SegmentToTap')
    assert.equal(ack.wnd, Math.ceil(39_999 / 256))
  })
  test('regression-B, regression-C: a lost SYN,ACK is sent again identical, on time-out and on the SYN again', () => {
    const f = connecting()
    const first = f.turn({ type: 'SOCK_CONNECTED', info: INFO })
    assert.deepEqual(f.tap(0, 0, { flags: SYN }), first)
    assert.deepEqual(f.rto(), first)
    assert.deepEqual(f.rto(), first)
  })
  test('its retries are limited: then RST to both', () => {
    const f = synRcvd()
    for (let i = 0; i < 7; i++) assert.deepEqual(types(f.rto()), ['SegmentToTap'])
    assert.equal(f.now - 1000, 11_000)
    assert.deepEqual(types(f.rto()), ['SegmentToTap', 'ResetSock'])
    assert.equal(f.now - 1000, 19_000)
  })
  test('regression-G: data in the handshake ACK is kept', () => {
    const f = synRcvd()
    const out = f.tap(1, 1, { len: 10 })
    assert.deepEqual(of(out, 'SendToSock')[0].payload, { off: 64, len: 10 })
    assert.equal(f.value, 'open.established')
  })
  test('a wrong handshake number is answered by RST (RFC 9293 §3.10.7.4)', () => {
    const f = synRcvd()
    assert.deepEqual(segs(f.tap(1, 77)), [{ seq: 77, ack: 0, flags: RST }])
    assert.equal(f.value, 'synRcvd')
  })
})

describe('established, from the guest', () => {
  test('nothing is acknowledged before the kernel took it', () => {
    const f = established()
    assert.deepEqual(segs(f.tap(1, 1, { len: 100 })), [])
    assert.deepEqual(segs(f.sent(60)), [{ seq: 1, ack: 61, flags: ACK }])
    assert.deepEqual(segs(f.sent(40)), [{ seq: 1, ack: 101, flags: ACK }])
  })
  test('far from the peer: acknowledged when the peer has acknowledged', () => {
    const f = established({ minRtt: 50_000, rtt: 50_000 })
    const far = { minRtt: 50_000, rtt: 50_000 }
    assert.equal(of(f.tap(1, 1, { len: 100 }), 'SendToSock')[0].reportAck, true)
    assert.deepEqual(segs(f.sent(100, { info: far })), [])
    assert.deepEqual(segs(f.turn({ type: 'SOCK_ACKED', octet: 99 })), [{ seq: 1, ack: 101, flags: ACK }])
  })
  test('regression-11: the peer reports nothing: the socket is asked', () => {
    const far = { minRtt: 50_000, rtt: 50_000 }
    const f = established(far)
    f.tap(1, 1, { len: 100 })
    f.sent(100, { info: far })
    f.now = f.tcb.pollAt
    assert.deepEqual(types(f.turn({ type: 'TIMER_ACK' })), ['QueryInfo'])
    const out = f.turn({ type: 'SOCK_INFO', info: { ...INFO, ...far, bytesAcked: 101 } })
    assert.deepEqual(segs(out), [{ seq: 1, ack: 101, flags: ACK }])
  })
  test('regression-H: an entirely old segment gets an ACK', () => {
    const f = established()
    f.tap(1, 1, { len: 100 })
    f.sent(100)
    assert.deepEqual(segs(f.tap(1, 1, { len: 100 })), [{ seq: 1, ack: 101, flags: ACK }])
  })
  test('a partly old segment is trimmed, one beyond the window as well', () => {
    const f = established()
    f.tap(1, 1, { len: 100 })
    f.sent(100)
    assert.deepEqual(of(f.tap(51, 1, { len: 100 }), 'SendToSock')[0].payload, { off: 114, len: 50 })
    f.sent(50)
    const room = f.tcb.rcvEdge - f.tcb.rcvNxt
    assert.equal(of(f.tap(151, 1, { len: 60_000 }), 'SendToSock')[0].payload.len, room)
  })
  test('three segments ahead of a gap: three duplicate ACKs (RFC 5681 §3.2)', () => {
    const f = established()
    const ahead = (n: number) => ({ type: 'TAP_SEGMENT' as const, seg: f.seg(1 + 100 * n, 1, { len: 100 }) })
    const dup = { seq: 1, ack: 1, flags: ACK }
    const out = f.turn(ahead(1), ahead(2), ahead(3))
    assert.deepEqual(segs(out), [dup, dup, dup])
    assert.equal(new Set(of(out, 'SegmentToTap').map((s) => s.wnd)).size, 1)
    // Cut by the tap or put together by native: the guest counts what it sent
    const whole = { type: 'TAP_SEGMENT' as const, seg: f.seg(101, 1, { len: 450 }), segment: 100 }
    assert.deepEqual(segs(f.turn(whole)), [dup, dup, dup, dup, dup])
    // A guest may say anything about how it is cut
    assert.equal(segs(f.turn({ ...whole, segment: 1 })).length, 128)
  })
  test('regression-43, regression-54: a keep-alive is answered, its window taken, and passed on once', () => {
    const f = established()
    const out = f.tap(0, 1, { wnd: 7 })
    assert.deepEqual(types(out), ['KeepAlive', 'SegmentToTap'])
    assert.equal(f.tcb.sndWnd, 7 << 7)
    assert.deepEqual(types(f.tap(0, 1)), ['SegmentToTap'])
  })
  test('regression-I: RST exactly at RCV.NXT resets, in the window it is challenged, else ignored (RFC 5961 §3.2)', () => {
    const f = established()
    assert.deepEqual(segs(f.tap(500, 0, { flags: RST })), [{ seq: 1, ack: 1, flags: ACK }])
    assert.deepEqual(f.tap(90_000, 0, { flags: RST }), [])
    assert.equal(f.value, 'open.established')
    assert.deepEqual(types(f.tap(1, 0, { flags: RST })), ['ResetSock']) // #regression-82: never CloseSock
    assert.equal(f.value, 'closed')
  })
  test('SYN is challenged, ACK of what was never sent as well; both not for ever (RFC 5961)', () => {
    const f = established()
    assert.deepEqual(segs(f.tap(1, 0, { flags: SYN })), [{ seq: 1, ack: 1, flags: ACK }])
    assert.deepEqual(segs(f.tap(1, 999)), [{ seq: 1, ack: 1, flags: ACK }])
    let answers = 0
    for (let i = 0; i < 50; i++) answers += f.tap(1, 999).length
    assert.equal(answers, 8)
  })
  test('regression-E: urgent data is delivered in line', () => {
    const out = established().tap(1, 1, { len: 10, flags: ACK | URG | PSH, urgent: 5 })
    assert.deepEqual(of(out, 'SendToSock')[0].payload, { off: 64, len: 10 })
  })
  test('regression-2: what native drops is asked for at once', () => {
    const f = established()
    f.tap(1, 1, { len: 100 })
    const out = segs(f.sent(40, { dropped: 60 }))
    assert.equal(out.filter((s) => s.ack === 41).length, 4)
    assert.equal(f.tcb.rcvNxt, IRS + 41)
  })
  test('regression-69: a FIN counts behind the data in front of it only', () => {
    const f = established()
    assert.deepEqual(of(f.tap(101, 1, { flags: ACK | FIN }), 'ShutdownWr'), [])
    assert.deepEqual(of(f.tap(1, 1, { len: 100, flags: ACK | FIN }), 'ShutdownWr'), [])
    assert.deepEqual(of(f.sent(50), 'ShutdownWr'), [])
    const out = f.sent(50)
    assert.equal(of(out, 'ShutdownWr').length, 1)
    assert.equal(segs(out).at(-1)?.ack, 102)
    assert.equal(f.value, 'open.closeWait')
  })
  test('regression-72, regression-73, regression-76: no room: the window closes, and opens as soon as the socket is writable', () => {
    const f = established()
    const edge = f.tcb.rcvEdge
    f.tap(1, 1, { len: 40_000 })
    const out = f.sent(40_000, { info: { sndFree: 0, sndBuf: 40_000 } })
    assert.deepEqual(types(out), ['SegmentToTap', 'AwaitWritable'])
    assert.ok(f.tcb.rcvEdge - edge < 256)
    const info = { ...INFO, sndFree: 20_000, bytesAcked: 20_001 }
    const [update] = of(
      f.turn({ type: 'SOCK_READY', readable: false, writable: true, rdhup: false, info }),
      'SegmentToTap'
    )
    assert.equal(update.wnd, 20_000 >> 8)
  })
  test('regression-73: between "not worth a window" and "writable" somebody still looks again', () => {
    const f = established()
    f.tap(1, 1, { len: 40_000 })
    f.sent(40_000, { info: { sndFree: 0 } })
    const info = { ...INFO, sndFree: 100, bytesAcked: 101 }
    f.turn({ type: 'SOCK_READY', readable: false, writable: true, rdhup: false, info })
    assert.ok(f.tcb.pollAt > f.now)
  })
  test('room for less than a unit of the window scale is no news', () => {
    const f = established()
    const told = { ...INFO, bytesAcked: 40_001 }
    f.tap(1, 1, { len: 40_000 })
    f.sent(40_000, { info: { ...told, sndWnd: 0 } })
    const polled = (sndWnd: number): Effect[] => {
      f.now = f.tcb.pollAt
      return f.turn({ type: 'SOCK_INFO', info: { ...told, sndWnd } })
    }
    const edge = f.tcb.rcvEdge
    for (let i = 0; i < 10; i++) assert.deepEqual(segs(polled(100)), [])
    assert.equal(f.tcb.rcvEdge, edge)
    assert.equal(segs(polled(20_000)).length, 1)
  })
  test('regression-74: a send buffer smaller than the MSS still gives a window', () => {
    const f = connecting()
    const info = { ...INFO, sndBuf: 900, sndFree: 900 }
    assert.equal(of(f.turn({ type: 'SOCK_CONNECTED', info }), 'SegmentToTap')[0].wnd, 900)
  })
  test('ACKs ride on data in a conversation; one that does not come ends the waiting', () => {
    const f = established()
    let at = 1
    let back = 1
    const exchange = (): Effect[] => {
      f.tap(at, back, { len: 1 })
      at++
      const acks = f.sent(1)
      f.readable()
      f.peeked(1)
      back++
      return acks
    }
    for (let i = 0; i < 3; i++) assert.equal(segs(exchange()).length, 1)
    assert.deepEqual(segs(exchange()), [])
    f.tap(at, back, { len: 1 })
    assert.deepEqual(f.sent(1), [])
    f.now = f.tcb.ackAt
    assert.equal(segs(f.turn({ type: 'TIMER_ACK' })).length, 1)
    assert.equal(f.tcb.pingPong, 0)
  })
})

describe('established, to the guest', () => {
  test('what is readable is peeked at SND.NXT, discarded once acknowledged, once a turn', () => {
    const f = established()
    const [peek] = of(f.readable(), 'PeekToTap')
    assert.equal(peek.seq, ISS + 1)
    assert.equal(peek.octets, 500 << 7)
    f.peeked(3000)
    const ack = (n: number) => ({ type: 'TAP_SEGMENT' as const, seg: f.seg(1, n) })
    assert.deepEqual(f.turn(ack(1001), ack(3001)), [{ type: 'DiscardFromSock', octets: 3000 }])
  })
  test('regression-3, regression-24, regression-62: three duplicate ACKs go back to SND.UNA; two do not, nor do more, nor one with a FIN', () => {
    const f = inFlight(5000)
    f.tap(1, 1001)
    for (let i = 0; i < 2; i++) assert.deepEqual(f.tap(1, 1001), [])
    assert.deepEqual(f.tap(1, 1001), [{ type: 'RewindPeek', octets: 0 }, peekAt(f, 1001, 1460)])
    f.peeked(1460)
    for (let i = 0; i < 5; i++) assert.deepEqual(of(f.tap(1, 1001), 'RewindPeek'), [])
    const g = inFlight(5000)
    for (let i = 0; i < 3; i++) assert.deepEqual(of(g.tap(1, 1, { flags: ACK | FIN }), 'RewindPeek'), [])
  })
  test('regression-93: duplicate ACKs with only the FIN outstanding do not repeat it', () => {
    const f = finWait1()
    for (let i = 0; i < 6; i++) assert.deepEqual(f.tap(1, 1), [])
  })
  test('regression-9, regression-10: the timer runs while anything is outstanding, and not after', () => {
    const f = inFlight(3000)
    const first = f.tcb.rtoAt
    assert.ok(first > 0)
    f.now += 50
    f.tap(1, 1001)
    assert.ok(f.tcb.rtoAt > 0)
    f.tap(1, 3001)
    assert.equal(f.tcb.rtoAt, 0)
    f.now += 10_000
    assert.deepEqual(f.turn({ type: 'TIMER_RTO' }), [])
  })
  test('a lost segment: time-outs double, and end in RST to both (RFC 6298, RFC 1122 §4.2.3.5)', () => {
    const f = inFlight(100)
    const at = f.now
    const gaps: number[] = []
    for (let i = 0; i < 30 && f.value !== 'closed'; i++) {
      const before = f.now
      const out = f.rto()
      gaps.push(f.now - before)
      if (of(out, 'PeekToTap').length > 0) f.peeked(100)
      else assert.deepEqual(types(out), ['SegmentToTap', 'ResetSock'])
    }
    assert.equal(gaps[2], 2 * gaps[1])
    assert.equal(f.value, 'closed')
    assert.ok(f.now - at >= 100_000)
  })
  test('regression-34, regression-57: a window that closes is probed with one octet, for as long as the guest answers', () => {
    const f = inFlight(5000)
    f.tap(1, 1, { wnd: 0 })
    for (let i = 0; i < 20; i++) {
      assert.equal(of(f.rto(), 'PeekToTap')[0].octets, 1)
      f.peeked(1)
      f.tap(1, 1, { wnd: 0 })
    }
    const [again] = of(f.tap(1, 1, { wnd: 100 }), 'PeekToTap')
    assert.equal(again.seq, ISS + 1)
    assert.equal(again.octets, Math.min(100 << 7, f.tcb.cwnd))
  })
  test('a window that closed and opens behind all that was sent: nothing is sent again', () => {
    const f = inFlight(5000)
    f.tap(1, 1, { wnd: 0 })
    f.readable()
    const out = f.tap(1, 5001)
    assert.deepEqual(types(out), ['DiscardFromSock', 'PeekToTap'])
    assert.equal(of(out, 'PeekToTap')[0].seq, ISS + 5001)
  })
  test('a window that opens long after a probe: what goes then gets a time-out of its own', () => {
    const f = inFlight(5000)
    f.tap(1, 1, { wnd: 0 })
    f.rto()
    f.peeked(1)
    f.tap(1, 1, { wnd: 0 })
    f.now = f.tcb.rtoAt - 1
    f.tap(1, 1, { wnd: 500 })
    f.peeked(5000)
    assert.ok(f.tcb.rtoAt >= f.now + f.tcb.rto)
  })
  test('a window that opens in the turn of a probe: no probe', () => {
    const f = established()
    f.tap(1, 1, { wnd: 0 })
    f.readable()
    f.now = f.tcb.rtoAt
    const open = { type: 'TAP_SEGMENT' as const, seg: f.seg(1, 1, { wnd: 500 }) }
    const out = f.turn({ type: 'TIMER_RTO' }, open)
    assert.deepEqual(of(out, 'PeekToTap')[0].octets, 500 << 7)
    assert.equal(f.tcb.probe, false)
  })
  test('a window that opens ends the probing: its deadline', () => {
    const f = established()
    f.tap(1, 1, { wnd: 0 })
    f.readable()
    const probeAt = f.tcb.rtoAt
    assert.ok(probeAt > 0)
    f.tap(1, 1, { wnd: 500 })
    f.now += 1
    f.peeked(100)
    assert.ok(f.tcb.rtoAt > probeAt, 'the data gets a time-out of its own')
  })
  test('an ACK that was to ride on data goes by itself if there is none', () => {
    const f = established()
    f.tap(1, 1, { len: 100 })
    const info = { ...INFO }
    const sent = { type: 'SOCK_SENT' as const, taken: 100, dropped: 0, errno: 0, info }
    const ready = { type: 'SOCK_READY' as const, readable: true, writable: false, rdhup: false, info: null }
    assert.deepEqual(types(f.turn(sent, ready)), ['PeekToTap'])
    assert.deepEqual(segs(f.peeked(0)), [{ seq: 1, ack: 101, flags: ACK }])
  })
  test('regression-18: the tap is full: on from where it stopped, a little later', () => {
    const f = established()
    f.readable()
    assert.deepEqual(f.peeked(1460, { tapFull: true, drained: false }), [])
    f.now += 1
    assert.equal(of(f.turn({ type: 'TIMER_ACK' }), 'PeekToTap')[0].seq, ISS + 1461)
  })
  test('regression-18: the tap is full and will tell: on when it does, and no timer before', () => {
    const f = established()
    f.readable()
    assert.deepEqual(f.peeked(1460, { tapFull: true, tapTells: true, drained: false }), [])
    f.now += 100
    assert.deepEqual(of(f.turn({ type: 'TIMER_ACK' }), 'PeekToTap'), [])
    assert.equal(of(f.turn({ type: 'TAP_ROOM' }), 'PeekToTap')[0].seq, ISS + 1461)
  })
  test('regression-25: every segment but a pure RST carries ACK', () => {
    const f = established()
    f.readable()
    assert.deepEqual(segs(f.peeked(0, { eof: true })), [{ seq: 1, ack: 1, flags: FIN | ACK }])
  })
  test('regression-84: silence is broken by a keep-alive, one octet back', () => {
    const f = established()
    f.now += 30_000
    assert.deepEqual(segs(f.turn({ type: 'TIMER_KEEPALIVE' })), [{ seq: 0, ack: 1, flags: ACK }])
    f.tap(1, 0, { flags: RST })
    assert.equal(f.value, 'closed')
  })
  test('two hours of nothing: RST to both', () => {
    const f = established()
    f.now += 7_200_000
    assert.deepEqual(types(f.turn({ type: 'TIMER_IDLE' })), ['SegmentToTap', 'ResetSock'])
  })
  test('the host resets: RST to the guest at SND.NXT', () => {
    const f = inFlight(100)
    assert.deepEqual(segs(f.turn({ type: 'SOCK_FAILED', errno: 104 })), [
      { seq: 101, ack: 1, flags: RST | ACK }
    ])
  })
})

describe('the ends of the streams', () => {
  test('regression-4: the host has finished: FIN behind the last octet, no reset', () => {
    const f = established()
    f.readable()
    assert.deepEqual(segs(f.peeked(100, { eof: true })), [{ seq: 101, ack: 1, flags: FIN | ACK }])
    assert.equal(f.value, 'open.finWait1')
  })
  test('regression-67: a loss in front of the FIN: data and FIN again', () => {
    const f = inFlight(100, true)
    assert.deepEqual(types(f.rto()), ['RewindPeek', 'PeekToTap'])
    assert.deepEqual(segs(f.peeked(100, { eof: true })), [{ seq: 101, ack: 1, flags: FIN | ACK }])
  })
  test('regression-83: a lost FIN is sent again', () => {
    assert.deepEqual(segs(finWait1().rto()), [{ seq: 1, ack: 1, flags: FIN | ACK }])
  })
  test('regression-55: window and ACK count after the guest has finished', () => {
    const f = closeWait()
    f.tap(2, 1, { wnd: 0 })
    assert.deepEqual(of(f.readable(), 'PeekToTap'), [])
    assert.equal(of(f.tap(2, 1, { wnd: 500 }), 'PeekToTap').length, 1)
  })
  test('regression-68: the guest first: closed only when it has our FIN', () => {
    const f = lastAck()
    assert.equal(f.value, 'open.lastAck')
    assert.deepEqual(types(f.tap(2, 2)), ['CloseSock'])
    assert.equal(f.value, 'closed')
  })
  test('half-closed by the host, the guest goes on sending', () => {
    const f = finWait2()
    assert.equal(f.value, 'open.finWait2')
    assert.equal(of(f.tap(1, 2, { len: 10 }), 'SendToSock').length, 1)
    assert.deepEqual(segs(f.sent(10)), [{ seq: 2, ack: 11, flags: ACK }])
  })
  test('both at once', () => {
    const f = finWait1()
    f.tap(1, 1, { flags: ACK | FIN })
    assert.equal(f.value, 'open.closing')
    f.tap(2, 2)
    assert.equal(f.value, 'timeWait')
  })
  test('everything is discarded in front of close(), or the kernel would reset the peer', () => {
    const f = closeWait()
    f.readable()
    f.peeked(100, { eof: true })
    assert.deepEqual(types(f.tap(2, 102)), ['DiscardFromSock', 'CloseSock'])
  })
  test('timeWait: the FIN again is acknowledged again; no socket is held; it ends', () => {
    const f = timeWait()
    assert.deepEqual(segs(f.tap(1, 2, { flags: ACK | FIN })), [{ seq: 2, ack: 2, flags: ACK }])
    assert.deepEqual(f.tap(2, 2), [])
    f.now += TIME_WAIT - 1
    assert.deepEqual(of(f.all({ type: 'TIMER_IDLE' }), 'ArmTimer'), [
      { type: 'ArmTimer', timer: 'idle', at: f.now + 1 }
    ])
    assert.equal(f.value, 'timeWait')
    f.now += 1
    f.turn({ type: 'TIMER_IDLE' })
    assert.equal(f.value, 'closed')
  })
})

describe('a segment without a flow (RFC 9293 §3.10.7.1)', () => {
  const seg = (flags: number, len = 0) => ({ seq: seq(100), ack: seq(7), flags, payload: { off: 0, len } })
  test('regression-26: RST by the rules', () => {
    assert.equal(resetFor(seg(RST)), null)
    assert.deepEqual(resetFor(seg(ACK, 5)), { seq: 7, ack: 0, flags: RST })
  })
  test('regression-N: SYN and FIN count', () => {
    assert.deepEqual(resetFor(seg(FIN)), { seq: 0, ack: 101, flags: RST | ACK })
    assert.deepEqual(resetFor(seg(SYN | FIN, 5)), { seq: 0, ack: 107, flags: RST | ACK })
  })
})

function peekAt(f: Flow, at: number, octets: number): Effect {
  const { tcb } = f
  return {
    type: 'PeekToTap',
    seq: add(seq(ISS), at),
    ack: tcb.peekAck,
    wnd: (tcb.peekEdge - tcb.peekAck) >> 8,
    octets,
    mss: 1460
  }
}
