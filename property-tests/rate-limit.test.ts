// Rate limits: the option, the bucket, who gets its tokens, and TCP that waits for them (behaviour.md#rate-limits).
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { defaultBurst, LEAST_RATE, leastBurst, MOST_RATE, RateLimit } from '../src/codecs/text/rate-limit.js'
import { limitOf, limitsOf, quantumOf, ruleOf } from '../src/machines/limit/limits.js'
import { type Bucket, bucket, filled, spend, wait } from '../src/machines/limit/token-bucket.js'
import { createShares, type Shares } from '../src/runtime/flow/shares.js'

const port = fc.integer({ min: 1, max: 65_535 })
const range = fc.tuple(port, port).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }))
const rate = fc.oneof(
  fc.integer({ min: LEAST_RATE, max: 1e6 }),
  fc.integer({ min: LEAST_RATE, max: MOST_RATE })
)
const rateLimit: fc.Arbitrary<RateLimit> = rate
  .chain((r) =>
    fc.record(
      {
        ports: fc.option(
          fc.record(
            { proto: fc.constantFrom('tcp' as const, 'udp' as const), range },
            { noNullPrototype: true }
          )
        ),
        rate: fc.constant(r),
        burst: fc.option(fc.integer({ min: leastBurst(r), max: Math.max(leastBurst(r), 2 ** 30) })),
        way: fc.option(fc.constantFrom('in' as const, 'out' as const))
      },
      { noNullPrototype: true }
    )
  )
  .filter((l) => l.burst === null || l.burst <= 2 ** 30)

describe('--limit', () => {
  const read = (text: string) => RateLimit.decode(text)
  const says = (text: string): string => {
    const r = read(text)
    return E.isLeft(r) ? (r.left[0]?.message ?? '') : 'nothing'
  }
  test('law: decode(encode(l)) = right(l)', () => {
    fc.assert(
      fc.property(rateLimit, (l) => {
        assert.ok(RateLimit.is(l), 'whole')
        for (const key of ['ports', 'rate', 'burst', 'way'] as const) {
          const { [key]: _, ...rest } = l
          assert.ok(!RateLimit.is(rest), `without ${key}`)
        }
        for (const none of [null, undefined, 1, 'text']) assert.ok(!RateLimit.is(none), `${none}`)
        assert.deepEqual(read(RateLimit.encode(l)), E.right(l))
      })
    )
  })
  test('any text is a limit or said to be none', () => {
    fc.assert(fc.property(fc.string(), (text) => void E.isLeft(read(text))))
  })
  test('bits and bytes are spelled out, prefixes are decimal', () => {
    const rates: ReadonlyArray<readonly [string, number]> = [
      ['10Mbit', 1_250_000],
      ['10mbit/s', 1_250_000],
      ['10MB', 10_000_000],
      ['1.5MB/s', 1_500_000],
      ['1Gbit', 125_000_000],
      ['8000bit', 1000],
      ['20kB', 20_000]
    ]
    for (const [text, r] of rates)
      assert.deepEqual(read(text), E.right({ ports: null, rate: r, burst: null, way: null }), text)
    for (const text of ['10M', '10', '10Mb', '10mb', '10Mbps', '10MiB', '-1MB', '1e3MB', '', '/s'])
      assert.match(says(text), /no rate such as 10Mbit .* or 10MB/, text)
    assert.match(says('999B'), /not in 1kB\.\.100GB/)
  })
  test('burst, direction, ports', () => {
    assert.deepEqual(
      read('tcp:8080-8090=1MB,burst=128kB,out'),
      E.right({
        ports: { proto: 'tcp', range: { first: 8080, last: 8090 } },
        rate: 1e6,
        burst: 128_000,
        way: 'out'
      })
    )
    assert.deepEqual(read('1MB,in,burst=65536'), read('1MB,burst=65536,in'))
    assert.match(says('1MB,burst=4000'), /not in 10000\.\./)
    assert.match(says('1MB,in,out'), /one of them/)
    for (const [burst, octets] of [
      ['10000', 10_000],
      ['10kB', 10_000],
      [`${2 ** 30}`, 2 ** 30],
      ['9999', null],
      [`${2 ** 30 + 1}`, null],
      ['2GB', null]
    ] as const) {
      const r = read(`1MB,burst=${burst}`)
      assert.equal(E.isRight(r) ? r.right.burst : null, octets, burst)
    }
    for (const [text, way] of [
      ['100GB', 'Right'],
      ['1.25MB', 'Right'],
      ['tcp:65535=1MB', 'Right'],
      ['udp:1-65535=1MB', 'Right'],
      ['101GB', 'Left'],
      ['1MBx', 'Left'],
      ['=1MB', 'Left'],
      ['xtcp:80=1MB', 'Left'],
      ['tcp:80x=1MB', 'Left'],
      ['tcp:65536=1MB', 'Left']
    ] as const)
      assert.equal(read(text)._tag, way, text)
    for (const none of ['', 'x64', '64x', 'x', '-65536', '6e4'])
      assert.match(says(`1MB,burst=${none}`), /^'.*' is no size such as 64kB$/, none)
    assert.match(says('1MB,both'), /none of burst=SIZE, in, out/)
    for (const text of ['tcp:0=1MB', 'tcp:9-8=1MB', 'tcp:70000=1MB', '8080=1MB', 'icmp:1=1MB', '=1MB'])
      assert.match(says(text), /is no tcp:PORT/, text)
  })
  test('the last one counts, each way; a quantum is a fraction of the burst', () => {
    const of = (...texts: string[]) =>
      limitsOf(
        texts.flatMap((text) => {
          const r = read(text)
          return E.isRight(r) ? [r.right] : []
        })
      )
    const l = of('1MB', '2MB,in', 'tcp:80-90=3MB', 'tcp:85=4MB,out')
    assert.deepEqual([l.in.total?.perMs, l.out.total?.perMs], [2000, 1000])
    const at = (p: number) => l.out.rules[ruleOf(l.out, { proto: 'tcp', port: p })]?.limit.perMs
    assert.deepEqual([at(80), at(85), at(91)], [3000, 4000, undefined])
    assert.equal(ruleOf(l.out, { proto: 'udp', port: 80 }), -1)
    assert.equal(quantumOf(l.out, { proto: 'tcp', port: 80 }), 5000)
    assert.equal(quantumOf(of('1MB,in').out, null), 0)
    fc.assert(
      fc.property(rateLimit, (l) => {
        const { quantum, burst, perMs } = limitOf(l)
        assert(
          quantum >= 1024 &&
            quantum * 4 <= burst &&
            burst >= leastBurst(l.rate) &&
            Math.abs(perMs * 1000 - l.rate) < 1,
          `${quantum} ${burst} ${perMs}`
        )
      })
    )
  })
})

describe('the token bucket', () => {
  const r = { perMs: 10, burst: 5000 }
  const step = fc.record({
    ms: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 2000, noNaN: true })),
    asks: fc.integer({ min: 0, max: 6000 })
  })
  test('in any span no more than rate * T + burst passes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let b: Bucket = bucket(r, 0)
        let now = 0
        const passed: { at: number; octets: number }[] = []
        for (const { ms, asks } of steps) {
          now += ms
          b = filled(r, b, now)
          if (b.tokens < asks) continue
          b = spend(r, b, asks)
          passed.push({ at: now, octets: asks })
        }
        for (let i = 0; i < passed.length; i++)
          for (let k = i, sum = 0; k < passed.length; k++) {
            sum += passed[k].octets
            assert(sum <= r.burst + (passed[k].at - passed[i].at) * r.perMs + 1e-6, `${sum}`)
          }
      })
    )
  })
  test('who waits as long as it says finds the tokens, and not much sooner; a clock that steps back brings none', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -9000, max: 5000 }),
        fc.integer({ min: 1, max: 5000 }),
        (tokens, octets) => {
          const b: Bucket = { tokens, at: 7 }
          const ms = wait(r, b, octets)
          assert(filled(r, b, 7 + ms).tokens + 1e-6 >= Math.min(octets, r.burst), 'too soon')
          if (ms > 0.1) assert(filled(r, b, 7 + ms - 0.1).tokens < octets, 'too late')
          assert.equal(filled(r, b, 3), b)
        }
      )
    )
  })
})

/** Flows with a demand each, served in simulated time. `backlog`: octets that a flow wants in all; it asks again a while after each grant. */
const simulate = (
  shares: Shares,
  wants: ReadonlyArray<{
    readonly octets: number
    readonly from: number
    readonly each: number
    readonly pause: number
  }>,
  until: number
) => {
  const left = wants.map((x) => x.octets)
  const got = wants.map(() => 0)
  const log: { at: number; flow: number; octets: number }[] = []
  const next = wants.map((x) => x.from)
  const waits = wants.map(() => false)
  const doneAt = wants.map(() => Number.POSITIVE_INFINITY)
  let now = 0
  const grant = (flow: number, octets: number): void => {
    waits[flow] = false
    left[flow] -= octets
    got[flow] += octets
    log.push({ at: now, flow, octets })
    next[flow] = left[flow] > 0 ? now + wants[flow].pause : Number.POSITIVE_INFINITY
    if (left[flow] <= 0) doneAt[flow] = now
  }
  for (let steps = 0; now <= until && steps < 200_000; steps++) {
    for (let flow = 0; flow < wants.length; flow++)
      if (!waits[flow] && next[flow] <= now) {
        const n = shares.ask(flow, Math.min(left[flow], wants[flow].each), now)
        if (n > 0) grant(flow, n)
        else {
          waits[flow] = true
          next[flow] = Number.POSITIVE_INFINITY
        }
      }
    const at = Math.min(shares.next(now), ...next)
    if (at === Number.POSITIVE_INFINITY) break
    now = Math.max(now, at)
    shares.serve(now, grant)
  }
  return { got, log, doneAt, waits, now }
}
const shares = (limits: ReadonlyArray<RateLimit>, n: number) => createShares(limitsOf(limits).in, n, 0)
const only = (r: number, ports: RateLimit['ports'] = null): RateLimit => ({
  ports,
  rate: r,
  burst: null,
  way: null
})

describe('who gets tokens', () => {
  const want = fc.record({
    octets: fc.integer({ min: 1, max: 3_000_000 }),
    from: fc.double({ min: 0, max: 500, noNaN: true }),
    each: fc.constantFrom(1, 100, 1460, 65_536, 2 << 20).map((n) => Math.max(n, 100)),
    pause: fc.constantFrom(0.02, 0.5, 3)
  })
  test('all that is asked for comes, no more than the rate and the burst in any span, and with a demand the rate is reached', () => {
    fc.assert(
      fc.property(
        rate.filter((r) => r <= 1e8),
        fc.array(want, { minLength: 1, maxLength: 8 }),
        (r, wants) => {
          const s = shares([only(r)], wants.length)
          for (let i = 0; i < wants.length; i++) assert.equal(s.begin(i, null), true)
          const { got, log, waits } = simulate(
            s,
            wants.map((x) => ({ ...x, octets: Math.min(x.octets, r) })),
            1e9
          )
          const { burst, perMs } = limitOf(only(r))
          for (const [i, x] of wants.entries())
            assert.equal(got[i], Math.min(x.octets, r), `flow ${i} waits ${waits[i]}`)
          let most = 0
          for (let i = 0, low = 0, sum = 0; i < log.length; i++) {
            // The largest excess of any span that ends here
            sum += log[i].octets
            low = Math.min(low, sum - log[i].octets - log[i].at * perMs)
            most = Math.max(most, sum - log[i].at * perMs - low)
          }
          assert(most <= burst + 1, `${most} beyond the rate`)
        }
      ),
      { numRuns: 60 }
    )
  })
  test('with a backlog at least 95 % of the rate passes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 20_000, max: 1e9 }), fc.integer({ min: 1, max: 5 }), (r, n) => {
        const s = shares([only(r)], n)
        for (let i = 0; i < n; i++) s.begin(i, null)
        const each = { octets: r * 10, from: 0, each: 2 << 20, pause: 0.05 }
        const { got } = simulate(s, Array(n).fill(each), 2000)
        const sum = got.reduce((a, b) => a + b, 0)
        assert(sum >= 0.95 * (2 * r + defaultBurst(r)), `${sum} of ${2 * r}`)
        // Each its share, but for a quantum or two
        const { quantum } = limitOf(only(r))
        assert(Math.max(...got) - Math.min(...got) <= 3 * quantum + defaultBurst(r) / n, `${got}`)
      }),
      { numRuns: 40 }
    )
  })
  test('what is small waits a few quanta, however many are behind in bulk, and bulk goes on', () => {
    const n = 40
    const r = 1_000_000
    const s = shares([only(r)], n + 1)
    for (let i = 0; i <= n; i++) s.begin(i, null)
    const bulk = { octets: r, from: 0, each: 1 << 20, pause: 0.05 }
    const { doneAt, got } = simulate(
      s,
      [...Array(n).fill(bulk), { octets: 300, from: 1000, each: 300, pause: 1 }],
      3000
    )
    const { quantum, perMs } = limitOf(only(r))
    assert(doneAt[n] - 1000 <= (3 * quantum) / perMs, `${doneAt[n] - 1000} ms`)
    assert(Math.min(...got.slice(0, n)) > 0, `${got}`)
  })
  test('flows that are always new do not keep bulk away', () => {
    const r = 100_000
    const s = shares([only(r)], 2000)
    for (let i = 0; i < 2000; i++) s.begin(i, null)
    const fresh = Array.from({ length: 1999 }, (_, i) => ({ octets: 2048, from: i, each: 2048, pause: 1 }))
    const { got } = simulate(s, [{ octets: r * 10, from: 0, each: 1 << 20, pause: 0.05 }, ...fresh], 3000)
    assert(got[0] > 0.4 * 3 * r, `${got[0]}`)
  })
  test("a rule's rate and that of all hold both, and a rule that is at its end holds up nobody", () => {
    const of80 = { proto: 'tcp', range: { first: 80, last: 80 } } as const
    const s = shares([only(1_000_000), only(100_000, of80)], 2)
    s.begin(0, { proto: 'tcp', port: 80 })
    s.begin(1, null)
    const bulk = { octets: 1e9, from: 0, each: 1 << 20, pause: 0.05 }
    const { got } = simulate(s, [bulk, bulk], 2000)
    assert(got[0] >= 0.95 * 200_000 && got[0] <= 200_000 + defaultBurst(100_000), `${got}`)
    assert(got[0] + got[1] >= 0.95 * 2_000_000, `${got}`)
  })
  test('who ends waits no more, and its place is anew for the next', () => {
    const s = shares([only(10_000)], 2)
    s.begin(0, null)
    s.begin(1, null)
    let now = 0
    while (s.ask(0, 2048, now) > 0);
    assert.equal(s.ask(1, 2048, now), 0)
    s.end(0)
    s.begin(0, null)
    const served: number[] = []
    now = s.next(now)
    s.serve(now, (flow) => served.push(flow))
    assert.deepEqual(served, [1])
    assert.equal(s.next(now), Number.POSITIVE_INFINITY)
  })
})
