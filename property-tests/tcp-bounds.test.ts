// Where a rule of the machine begins to hold and where it ends, to the octet.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { add, seq } from '../src/codecs/value/seq.js'
import { FIN } from '../src/codecs/wire/tcp.js'
import { type Effect, instant } from '../src/effects/effect.js'
import { waitOver } from '../src/machines/tcp/tcb-ack.js'
import { connected } from '../src/machines/tcp/tcb-peer.js'
import { allow, asked, wanted } from '../src/machines/tcp/tcb-rcv.js'
import { MAX_RETRIES, retriesSpent, synRetriesSpent, time, untime } from '../src/machines/tcp/tcb-rtx.js'
import { takeWindow, timedOut } from '../src/machines/tcp/tcb-snd.js'
import { acksTaken, updateDue, worthwhile } from '../src/machines/tcp/tcp-ack.js'
import { sendRoom } from '../src/machines/tcp/tcp-output.js'
import { ready } from '../src/machines/tcp/tcp-sock.js'
import { draftOf, initialTcb, type Tcb } from '../src/machines/tcp/tcp-tcb.js'
import { cancelAll } from '../src/machines/tcp/tcp-timers.js'
import { arbSeq } from './arbitraries.js'
import { Flow, INFO, of, segs } from './tcp-flow.js'

const block = (more: Partial<Tcb> = {}): Tcb => ({
  ...initialTcb({ from: 'host', iss: seq(0), mss: 1460, now: instant(0) }),
  ...more
})
const established = (): Flow => {
  const f = new Flow()
  f.turn({ type: 'SOCK_CONNECTED', info: INFO })
  f.tap(1, 1)
  return f
}
const fins = (list: Parameters<typeof segs>[0]): number =>
  segs(list).filter((s) => (s.flags & FIN) !== 0).length

describe('our FIN (RFC 9293 §3.4)', () => {
  /** The host's stream ends behind `octets`, into a window of 1280. */
  const ending = (octets: number): [Flow, number] => {
    const f = established()
    f.tap(1, 1, { wnd: 10 })
    f.readable()
    return [f, fins(f.peeked(octets, { eof: true }))]
  }
  test('goes into the last octet of the window, not behind it; then once the guest makes room', () => {
    assert.equal(ending(1279)[1], 1)
    const [f, sent] = ending(1280)
    assert.equal(sent, 0)
    assert.equal(fins(f.tap(1, 1, { wnd: 10 })), 0)
    assert.equal(fins(f.tap(1, 1281, { wnd: 0 })), 0)
    assert.equal(fins(f.tap(1, 1281, { wnd: 1 })), 1)
  })
  test('while it has to wait, what the guest sends is acknowledged all the same', () => {
    const [f] = ending(1280)
    const heard = [f.tap(1, 1, { len: 2920, wnd: 10 }), f.sent(2920)].flat()
    assert.deepEqual(
      segs(heard).map((s) => s.ack),
      [2921]
    )
  })
  test('is what probes a window that stays shut, and moves with the numbers', () => {
    const [f] = ending(1280)
    f.tap(1, 1281, { wnd: 0 })
    assert.deepEqual(
      segs(f.rto()).map(({ seq: at, flags }) => [at, flags & FIN]),
      [[1281, FIN]]
    )
  })
  test('is not sent while data in front of it is not', () => {
    const f = established()
    f.tap(1, 1, { wnd: 10 })
    f.readable()
    assert.equal(fins(f.peeked(1280, { drained: false })), 0)
    assert.equal(fins(f.tap(1, 1281, { wnd: 10 })), 0)
    assert.equal(fins(f.peeked(20, { eof: true })), 1)
  })
})

test('after the RTO cwnd is one segment, but where a closed window is probed (RFC 5681 §3.1, RFC 9293 §3.8.6.1)', () => {
  fc.assert(
    fc.property(fc.nat(3), fc.integer({ min: 1, max: 100_000 }), (sndWnd, cwnd) => {
      const d = draftOf(block({ sndWnd, cwnd }))
      timedOut(d, 1460)
      assert.deepEqual([d.probe, d.cwnd], sndWnd === 0 ? [true, cwnd] : [false, 1460])
    })
  )
})

test('the window is told anew once the guest sees half of it or less (RFC 1122 §4.2.3.3)', () => {
  fc.assert(
    fc.property(fc.integer(), fc.nat(2_000_000), fc.nat(2_000_000), (base, seen, room) => {
      const rcvNxt = seq(base)
      const t = block({
        ...{ rcvNxt, rcvTaken: rcvNxt, rcvAcked: rcvNxt, rcvEdge: add(rcvNxt, seen), rcvScale: 0, mss: 1000 }
      })
      // A field of 16 bits cannot say more
      const told = Math.min(room, 65_535)
      assert.equal(updateDue(t, add(rcvNxt, room)), seen * 2 <= room && seen < told)
    })
  )
  const t = block({ rcvScale: 0 })
  const due = (seen: number, room: number): boolean =>
    updateDue({ ...t, rcvEdge: add(t.rcvNxt, seen) }, add(t.rcvNxt, room))
  assert.deepEqual(
    [due(1000, 2000), due(1001, 2000), due(1001, 2001), due(0, 1), due(0, 0)],
    [true, false, false, true, false]
  )
})

test("that the socket takes more is news to who waits for that; whether it is much is seen by the buffer's edge", () => {
  const told = (room: Tcb['room'], free: number, writable: boolean): Tcb['room'] => {
    const rcvNxt = seq(1000)
    const d = draftOf(block({ room, rcvNxt, bufEdge: add(rcvNxt, free), mss: 1460 }))
    ready(d, {
      ...{ type: 'SOCK_READY', readable: false, writable, rdhup: false },
      ...{ info: null, now: instant(0) }
    })
    return d.room
  }
  for (const room of ['unknown', 'poor'] as const)
    for (const writable of [false, true]) assert.equal(told(room, 0, writable), room)
  assert.equal(told('awaited', 0, false), 'awaited')
  assert.equal(told('awaited', 0, true), 'poor')
  const edge = worthwhile(block({ mss: 1460 }))
  assert.equal(told('awaited', edge - 1, true), 'poor')
  assert.equal(told('awaited', edge, true), 'unknown')
})

test('what waits is asked for once, and not into a window that has no room', () => {
  const f = established()
  assert.equal(of(f.readable(), 'PeekToTap').length, 1)
  assert.equal(of(f.readable(), 'PeekToTap').length, 0, 'one at a time')
})

test('at the end of a flow what is armed is cancelled, and nothing else of its kind: its index is used again', () => {
  const at = fc.constantFrom(0, 0.5, 1, 1e6)
  fc.assert(
    fc.property(at, at, (rtoArmed, ackArmed) => {
      const out: Effect[] = []
      cancelAll(draftOf(block({ rtoArmed, ackArmed })), undefined, out)
      assert.deepEqual(
        of(out, 'CancelTimer').map(({ timer }) => timer),
        [...(rtoArmed > 0 ? ['rto'] : []), ...(ackArmed > 0 ? ['ack'] : []), 'keepalive', 'idle']
      )
    })
  )
})

test('one segment is timed, the first; the next one once that is not any more (RFC 6298 §3)', () => {
  fc.assert(
    fc.property(arbSeq, arbSeq, fc.integer({ min: 1 }), fc.nat(), (first, second, now, later) => {
      const d = draftOf(block())
      time(d, first, now)
      time(d, second, now + later)
      assert.deepEqual([d.timedSeq, d.timedAt], [first, now])
      untime(d)
      time(d, second, now + later)
      assert.deepEqual([d.timedSeq, d.timedAt], [second, now + later])
    })
  )
})

test("the guest's window: it opens where it was closed, and the largest is remembered (RFC 9293 §3.8.6.2.1)", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.constant(0), fc.nat(0xffff << 14)), { minLength: 1 }), (windows) => {
      const d = draftOf(block({ sndWnd: 0, maxSndWnd: 0 }))
      for (const [i, wnd] of windows.entries()) {
        assert.equal(takeWindow(d, wnd, seq(i), seq(0)), (windows[i - 1] ?? 0) === 0 && wnd > 0)
        assert.deepEqual([d.sndWnd, d.maxSndWnd], [wnd, Math.max(...windows.slice(0, i + 1))])
      }
    })
  )
})

test('more window is asked for once at a time', () => {
  const d = draftOf(block({ quantum: 1000 }))
  assert.equal(wanted(d), 1000)
  asked(d)
  assert.equal(wanted(d), 0)
  allow(d, 500)
  assert.equal(wanted(d), 500)
  allow(d, 1)
  assert.equal(wanted(d), 0)
})

test('less than a segment, and than half of what the guest ever offered, waits while ACKs are due (RFC 9293 §3.8.6.2.1)', () => {
  fc.assert(
    fc.property(
      arbSeq,
      fc.integer({ min: 1, max: 2000 }),
      fc.integer({ min: 2, max: 4000 }),
      fc.nat(3000),
      fc.nat(100),
      fc.option(fc.nat(3000)),
      (sndUna, mss, maxSndWnd, room, flight, toFin) => {
        const sndNxt = add(sndUna, flight)
        const finSeq = toFin === null ? null : add(sndNxt, toFin)
        const t = block({ sndUna, sndNxt, sndWnd: flight + room, mss, maxSndWnd, finSeq, cwnd: 1e9 })
        const little = room < mss && room < Math.floor(maxSndWnd / 2)
        // The last octets of a stream do not wait: there will not be more of them.
        const last = toFin !== null && toFin < room
        assert.equal(sendRoom(t), little && flight > 0 && !last ? 0 : Math.min(room, toFin ?? room))
      }
    )
  )
})

test('a closed window is probed with one octet, or with the FIN where that is next (RFC 9293 §3.8.6.1)', () => {
  fc.assert(
    fc.property(arbSeq, fc.option(fc.nat(5)), (sndUna, toFin) => {
      const finSeq = toFin === null ? null : add(sndUna, toFin)
      const t = block({ sndUna, sndNxt: sndUna, sndWnd: 0, probe: true, finSeq })
      assert.equal(sendRoom(t), toFin === 0 ? 0 : 1)
    })
  )
})

test('retries are spent when they are, and 100 s, at the RTO: none of the three alone (RFC 1122 §4.2.3.5)', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(0, 1000, 200_000, 200_001),
      fc.constantFrom(0, MAX_RETRIES - 1, MAX_RETRIES, MAX_RETRIES + 1),
      fc.constantFrom(0, 1, 99_999, 100_000, 100_001, 200_000),
      (rtoAt, fails, stuckAt) => {
        const now = 200_000
        const due = rtoAt > 0 && rtoAt <= now && fails >= MAX_RETRIES
        const spent = due && stuckAt > 0 && stuckAt <= now - 100_000
        assert.equal(retriesSpent(block({ rtoAt, fails, stuckAt }), now), spent)
        assert.equal(synRetriesSpent(block({ rtoAt, fails, stuckAt }), now), due)
      }
    )
  )
})

test('what the kernel took is acknowledged, or what the peer did: behaviour.md#tcp-acknowledgements, each reason alone', () => {
  const rcvConfirmed = seq(5000)
  const patient = block({
    ...{ minRtt: 1000, rcvFin: 0, finSeq: null, knowsAcked: true, sndBuf: 20_000 },
    ...{ rcvConfirmed, rcvTaken: add(rcvConfirmed, 999) }
  })
  const more: ReadonlyArray<Partial<Tcb>> = [
    { minRtt: 999 },
    { rcvFin: 1 },
    { finSeq: seq(1) },
    { knowsAcked: false },
    { rcvTaken: add(rcvConfirmed, 1000) }
  ]
  assert.equal(acksTaken(patient), false)
  for (const m of more) assert.equal(acksTaken({ ...patient, ...m }), true, JSON.stringify(m))
})

test('no data came to carry an acknowledgement: it goes now, and the next one does not wait', () => {
  const d = draftOf(block({ ackNow: false, pingPong: 3 }))
  waitOver(d)
  assert.deepEqual([d.ackNow, d.pingPong], [true, 0])
})

test('a kernel that does not count what the peer acknowledged says 0 where we connected: the SYN is one', () => {
  const f = (bytesAcked: number, weConnected: boolean, sndWnd: number): boolean => {
    const d = draftOf(block())
    connected(d, { ...INFO, bytesAcked, sndWnd }, weConnected)
    return d.knowsAcked
  }
  assert.deepEqual([f(0, true, 1), f(1, true, 1), f(0, false, 1), f(1, false, 0)], [false, true, true, false])
})
