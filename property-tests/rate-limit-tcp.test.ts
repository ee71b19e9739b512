// TCP under a rate limit: simulated guests and hosts on the rings of a world that has one (behaviour.md#rate-limits).
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { RateLimit, Way } from '../src/codecs/text/rate-limit.js'
import { distance } from '../src/codecs/value/seq.js'
import { limitOf } from '../src/machines/limit/limits.js'
import { GUEST_SERVER } from '../src/runtime/engine/warm-up.js'
import { type Connection, type Ends, play } from './played.js'
import { opened, type Recorded, recordOf, replayed, START } from './recorded.js'
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
      Number(process.env.FC_RUNS ?? 60)
    )
  })
})
