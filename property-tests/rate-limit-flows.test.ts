// Flows under a rate limit: simulated guests and hosts on the rings of a world that has one (behaviour.md#rate-limits).
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { RateLimit, Way } from '../src/codecs/text/rate-limit.js'
import { add, distance, seq } from '../src/codecs/value/seq.js'
import { ACK } from '../src/codecs/wire/tcp.js'
import { UDP_LEN } from '../src/codecs/wire/udp.js'
import type { Effect } from '../src/effects/effect.js'
import { limitOf } from '../src/machines/limit/limits.js'
import type { TcpEvent } from '../src/machines/tcp/tcp.js'
import type { Moved } from '../src/machines/tcp/tcp-tcb.js'
import { ABI_WORDS, EF, EV, READ_LIMIT } from '../src/runtime/abi/abi.js'
import { GUEST_SERVER } from '../src/runtime/engine/warm-up.js'
import { machines } from '../src/runtime/flow/kinds.js'
import { type Connection, datagram, type Ends, play } from './played.js'
import { at, type Came, opened, type Recorded, recordOf, replayed, START } from './recorded.js'
import { addr } from './services-arbitraries.js'
import { calm, holds, scenario } from './tcp-arbitraries.js'

const PEER = addr('203.0.113.80')
const limit = (rate: number, way: Way | null = null, more: Partial<RateLimit> = {}): RateLimit => ({
  ports: null,
  rate,
  burst: null,
  way,
  ...more
})

/** How far all flows together had come, turn by turn. Octets. */
interface Progress {
  readonly at: number
  readonly in: number
  readonly out: number
}
interface Ran {
  readonly ends: ReadonlyArray<Ends>
  readonly progress: ReadonlyArray<Progress>
  readonly file: Uint8Array
}
const run = (rates: ReadonlyArray<RateLimit>, connections: ReadonlyArray<Connection>): Ran => {
  const progress: Progress[] = []
  let ends: ReadonlyArray<Ends> = []
  const watched = (r: Recorded): Recorded => {
    const far = new Map<object, { in: number; out: number }>()
    return {
      ...r,
      come: (came, now) => {
        const places = r.come(came, now)
        for (const f of r.w.flows)
          if (f?.kind === 'tcp') {
            const t = f.state.context.tcb
            far.set(f, { in: distance(t.sndMax, t.iss), out: t.heardSyn ? distance(t.rcvNxt, t.irs) : 0 })
          }
        const sum = { in: 0, out: 0 }
        for (const x of far.values()) {
          sum.in += x.in
          sum.out += x.out
        }
        progress.push({ at: now, ...sum })
        return places
      }
    }
  }
  const plan = { ...START.plan, rates }
  const file = recordOf(
    (r) => {
      ends = play(watched(r), connections)
    },
    { start: { ...START, plan, neighbours: false } }
  )
  return { ends, progress, file }
}
/** Octets by which any span has more than the rate lets through. */
const excess = (progress: ReadonlyArray<Progress>, way: Way, perMs: number): number => {
  let most = 0
  let low = Number.POSITIVE_INFINITY
  for (const p of progress) {
    const over = p[way] - p.at * perMs
    low = Math.min(low, over)
    most = Math.max(most, over - low)
  }
  return most
}
/** When that many had passed. */
const doneAt = (progress: ReadonlyArray<Progress>, way: Way, octets: number): number =>
  progress.find((p) => p[way] >= octets)?.at ?? Number.POSITIVE_INFINITY

const connection = (n: number, o: Partial<Connection> = {}): Connection => ({
  opener: 'guest',
  at: 0,
  guestPort: 40_000 + n,
  peer: PEER,
  peerPort: 80,
  fates: [],
  ...o,
  guest: { ...calm.guest, sends: 0, ...o.guest },
  host: { ...calm.host, sends: 0, ...o.host }
})
const bulkOut = (n: number, octets: number): Connection =>
  connection(n, {
    guest: { ...calm.guest, sends: octets, rcvBuf: 200_000 },
    host: { ...calm.host, sends: 0, sndBuf: 400_000, peerBuf: 400_000 }
  })
const bulkIn = (n: number, octets: number): Connection =>
  connection(n, {
    guest: { ...calm.guest, sends: 0, rcvBuf: 400_000 },
    host: { ...calm.host, sends: octets, sendsEach: 100_000, sendsMs: 0.2, rcvBuf: 400_000 }
  })
const complete = (e: Ends, c: Connection): boolean =>
  e.guest.delivered === c.host.sends &&
  e.host.received === c.guest.sends &&
  e.guest.finRead &&
  e.host.eofAtPeer
const assertSame = (file: Uint8Array): void => {
  const { turns } = opened(file)
  const { all } = replayed(file)
  assert.deepEqual(all.at(-1)?.difference ?? null, null)
  assert.equal(all.length, turns.length)
}

describe('TCP under a rate limit', () => {
  for (const way of ['in', 'out'] as const)
    test(`bulk ${way}: the rate is reached, and not exceeded, by one connection and by four`, () => {
      for (const [rate, n] of [
        [50_000, 1],
        [1_000_000, 1],
        [1_000_000, 4],
        [8_000_000, 2]
      ] as const) {
        const l = limit(rate, way)
        const { burst, perMs, quantum } = limitOf(l)
        // For a second
        const each = Math.floor((burst + rate) / n)
        const all = Array.from({ length: n }, (_, i) => (way === 'in' ? bulkIn(i, each) : bulkOut(i, each)))
        const { ends, progress, file } = run([l], all)
        for (const [i, c] of all.entries())
          assert(complete(ends[i]!, c), `${rate} ${n}: ${ends[i]!.guest.delivered} ${ends[i]!.host.received}`)
        // Nobody has to probe a window, or send anything twice
        for (const e of ends) assert.equal(e.guest.timeouts, 0, `${rate} ${n}`)
        const took = doneAt(progress, way, each * n) - progress[0]!.at
        assert(took <= 1000 / 0.95 + 20, `${rate} ${n}: ${took} ms`)
        // What is under way; and of the guest the first windows
        const most = burst + n * quantum + 3000 * n
        assert(
          excess(progress, way, perMs) <= most,
          `${rate} ${n}: ${excess(progress, way, perMs)} > ${most}`
        )
        if (rate === 1_000_000) assertSame(file)
      }
    })
  test('any connections, each way: whole, or reset where more was lost than anybody retries', () => {
    const rates = fc.tuple(
      fc.constantFrom(20_000, 100_000, 3_000_000, 100_000_000),
      fc.constantFrom(null, 'in' as const, 'out' as const),
      fc.constantFrom(null, 'least' as const)
    )
    let seen = 0
    const picks = fc.sample(rates, { numRuns: 200, seed: 7 })
    holds(
      scenario(false),
      (s) => {
        const [rate, way, burst] = picks[seen++ % picks.length]!
        const inward = { guestPort: GUEST_SERVER, peerPort: 50_000 }
        const outward = { guestPort: 40_000, peerPort: 80 }
        const c = { ...s, ...(s.opener === 'host' ? inward : outward), at: 0, peer: PEER }
        const l = limit(rate, way, burst === null ? {} : { burst: Math.max(4096, Math.ceil(rate / 100)) })
        const { ends, file } = run([l], [c, bulkOut(1, 30_000), bulkIn(2, 30_000)])
        const [end, out, into] = ends as [Ends, Ends, Ends]
        const lost = s.fates.filter((f) => f === 'lose').length + s.guest.deaf
        const reset = (end.guest.state === 'reset' || end.guest.state === 'listen') && end.host.over
        const text = `${rate} ${way} ${burst}: guest ${end.guest.state} ${end.guest.delivered} of ${s.host.sends}, host ${end.host.state} ${end.host.received} of ${s.guest.sends}`
        assert(complete(end, c) || lost > 0 || reset || s.host.connectErrno !== 0, text)
        assert(complete(out, bulkOut(1, 30_000)) && complete(into, bulkIn(2, 30_000)), `others: ${text}`)
        if (seen % 8 === 0) assertSame(file)
      },
      Number(process.env.FC_RUNS ?? 30)
    )
  })
})

describe('datagrams under a rate limit', () => {
  const rate = 100_000
  const l = limit(rate)
  const { burst, quantum } = limitOf(l)
  const plan = { ...START.plan, rates: [l] }
  const start = { ...START, plan, neighbours: false }
  /** Of the turn's effects. */
  const effects = (r: Recorded, kind: number): Int32Array[] =>
    Array.from({ length: r.w.rings.effects }, (_, i) =>
      r.w.rings.fx.slice(i * ABI_WORDS, (i + 1) * ABI_WORDS)
    ).filter((e) => e[0] === kind)

  test("the guest's that are too many are lost and counted; those of another flow have their share", () => {
    const sent = [0, 0]
    let lost = 0
    const ms = 3000
    const file = recordOf(
      (r) => {
        const handles = new Map<number, number>()
        for (let now = 0; now < ms; now++) {
          // Twice the rate from one port; every 50 ms a little from another
          const came = [datagram(5000, PEER, 7, 192)]
          if (now % 50 === 0) came.push(datagram(5001, PEER, 7, 42))
          r.come(came, at(1000 + now))
          for (const f of r.w.flows) if (f?.kind === 'udp') handles.set(f.index, f.guestPort - 5000)
          for (const e of effects(r, EF.UDP_SEND)) sent[handles.get(e[1]!)!]! += e[3]! + UDP_LEN
        }
        lost = r.w.counters.get('limit-rate') ?? 0
      },
      { start }
    )
    const [much, little] = sent as [number, number]
    assert.equal(little, (ms / 50) * 50, 'what is little goes')
    assert(much + little <= burst + (rate * ms) / 1000 + 2 * quantum, `${sent}`)
    assert(much + little >= 0.95 * (burst + (rate * ms) / 1000), `${sent}`)
    assert.equal(much + lost * 200, ms * 200)
    assertSame(file)
  })
  test('what a socket asks for is granted at the rate, each flow in its turn', () => {
    const granted = new Map<number, number>()
    const ms = 3000
    const file = recordOf(
      (r) => {
        r.come([datagram(5000, PEER, 7, 0), datagram(5001, PEER, 7, 0)], at(1000))
        const flows = r.w.flows.filter((f) => f?.kind === 'udp').map((f) => f!.index)
        assert.equal(flows.length, 2)
        for (const e of effects(r, EF.UDP_OPEN)) assert.equal(e[13]! & READ_LIMIT, READ_LIMIT)
        const asks = (h: number): Came => ({ words: [EV.READ_ASKS, h, 0, 1500], octets: null })
        let waiting = flows
        for (let now = 1; now < ms; now++) {
          r.come(waiting.map(asks), at(1000 + now))
          waiting = effects(r, EF.READ_ALLOW).map(([, h, side, octets]) => {
            assert.deepEqual([side, octets], [0, 1500])
            granted.set(h!, (granted.get(h!) ?? 0) + octets!)
            return h!
          })
        }
      },
      { start }
    )
    const [a = 0, b = 0] = granted.values()
    assert(a + b <= burst + (rate * ms) / 1000 && a + b >= 0.95 * ((rate * ms) / 1000), `${a} ${b}`)
    assert(Math.abs(a - b) <= 2 * 1500, `${a} ${b}`)
    assertSame(file)
  })
})

describe('a rate limit of a forwarded port', () => {
  test('is for what came by it, beside that of all', () => {
    const ports = { proto: 'tcp', range: { first: GUEST_SERVER, last: GUEST_SERVER } } as const
    const slow = limit(100_000, 'in', { ports })
    const inward = {
      ...bulkIn(0, 300_000),
      opener: 'host',
      guestPort: GUEST_SERVER,
      peerPort: 50_000
    } as const
    const other = bulkIn(1, 1_000_000)
    const { ends, progress, file } = run([limit(1_000_000), slow], [inward, other])
    assert(complete(ends[0]!, inward) && complete(ends[1]!, other), 'complete')
    // The other one had what the port may not have
    const took = doneAt(progress, 'in', 1_300_000) - progress[0]!.at
    const { burst } = limitOf(slow)
    assert(took >= (300_000 - burst - 5000) / 100, `${took} ms`)
    assert(took <= (300_000 - burst) / 100 / 0.95 + 50, `${took} ms`)
    const most = doneAt(progress, 'in', 1_100_000) - progress[0]!.at
    assert(most < 0.6 * took, `${most} of ${took} ms`)
    assertSame(file)
  })
})

describe('a connection that comes from another process', () => {
  const moved: Moved = {
    fromHost: false,
    mss: 1460,
    sndScale: 7,
    rcvScale: 0,
    iss: seq(1000),
    irs: seq(5000),
    sndUna: seq(1001),
    sndMax: seq(1001),
    sndWnd: 60_000,
    discarded: seq(1001),
    finSeq: null,
    rcvTaken: seq(5101),
    rcvAcked: seq(5101),
    rcvEdge: seq(5101),
    rcvFin: 0,
    finAt: null
  }
  const info = { sndWnd: 60_000, rtt: 50, minRtt: 50, bytesAcked: 100, sndFree: 400_000, sndBuf: 400_000 }
  /** The window that its first ACK has, and the effects behind data of `octets`. */
  const resumed = (window: number, octets: number) => {
    const m = machines.tcp
    const now = at(1)
    const out: Effect[] = []
    const step = (s: ReturnType<typeof m.start>, e: TcpEvent) => m.step(s, e, out)
    const from = { ...moved, rcvEdge: add(moved.rcvTaken, window) }
    let s = m.start({ from: 'move', moved: from, mss: 1460, quantum: 4096, now }, out)
    s = step(s, { type: 'SOCK_RESTORED', taken: 100, unacked: 0, unread: 0, ended: false, dark: false, now })
    s = step(s, { type: 'SOCK_CONNECTED', info, now })
    s = step(s, { type: 'TURN_END', now })
    const nothing = {
      octets: 0,
      eof: false,
      drained: true,
      tapFull: false,
      tapTells: false,
      errno: 0
    } as const
    s = step(s, { type: 'SOCK_PEEKED', ...nothing, now })
    s = step(s, { type: 'TURN_END', now })
    const first = out.splice(0).find((e) => e.type === 'SegmentToTap')
    const head = { srcPort: 1, dstPort: 2, flags: ACK, wnd: 500, urgent: 0, mss: null, windowScale: null }
    const seg = { ...head, seq: moved.rcvTaken, ack: moved.sndUna, payload: { off: 0, len: octets } }
    s = step(s, { type: 'TAP_SEGMENT', seg, now })
    s = step(s, { type: 'TURN_END', now })
    return {
      wnd: first?.wnd,
      asked: out.flatMap((e) => (e.type === 'AskTokens' ? [e.octets] : [])),
      s,
      step,
      out
    }
  }
  test('keeps the window that it has, or has one quantum; it asks once half is used, once', () => {
    // The guest knows this window, and is told nothing anew
    assert.deepEqual([resumed(40_000, 1000).wnd, resumed(40_000, 1000).asked], [undefined, []])
    assert.equal(resumed(40_000, 1000).s.context.tcb.rcvEdge, add(moved.rcvTaken, 40_000))
    assert.deepEqual([resumed(0, 1000).wnd, resumed(0, 1000).asked], [4096, []])
    const { asked, out, step, s } = resumed(0, 3000)
    assert.deepEqual(asked, [3000])
    out.length = 0
    const more = step(step(s, { type: 'TURN_END', now: at(2) }), { type: 'TOKENS', octets: 3000, now: at(3) })
    assert.deepEqual(
      out.filter((e) => e.type === 'AskTokens'),
      []
    )
    step(more, { type: 'TURN_END', now: at(3) })
    const update = out.find((e) => e.type === 'SegmentToTap')
    assert.equal(add(update!.ack, update!.wnd), add(moved.rcvTaken, 7096), 'a window update of its own')
  })
})
