import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createTimerWheel, TIMERS_PER_FLOW, type TimerWheel } from '../src/runtime/flow/timer-wheel.js'
import { real } from './arbitraries.js'

const FLOWS = 8
const TICK = 0.25

// The model: a map from (flow, timer) to its deadline. It knows nothing of slots. Where the clock went back, what is armed
// for before the latest moment ever seen counts as armed for that moment.
interface Model {
  now: number
  latest: number
  readonly due: Map<number, { readonly at: number; readonly late: number }>
}
const put = (m: Model, k: number, at: number): void => {
  m.due.set(k, { at, late: Math.max(at, m.latest) })
}
type Real = { readonly wheel: TimerWheel }
const key = (flow: number, timer: number): number => flow * TIMERS_PER_FLOW + timer
const flow = fc.nat(FLOWS - 1)
const timer = fc.nat(TIMERS_PER_FLOW - 1)
/** Spans that land in each level, on its borders, beyond the last one, and in the past. */
const span = fc.oneof(
  fc.constantFrom(
    0,
    0.1,
    0.25,
    15.75,
    16,
    16.25,
    1023.75,
    1024,
    1024.25,
    65536,
    4194304,
    268435455.75,
    268435456,
    3e8,
    2e9
  ),
  real(-5, 5),
  real(0, 2000),
  real(0, 1e7)
)

class Arm implements fc.Command<Model, Real> {
  constructor(
    readonly f: number,
    readonly t: number,
    readonly ms: number
  ) {}
  check = (): boolean => true
  run(m: Model, { wheel }: Real): void {
    wheel.arm(this.f, this.t, m.now + this.ms)
    put(m, key(this.f, this.t), m.now + this.ms)
    agree(m, wheel)
  }
  toString = (): string => `arm(${this.f}.${this.t} in ${this.ms} ms)`
}
class Cancel implements fc.Command<Model, Real> {
  constructor(
    readonly f: number,
    readonly t: number | null
  ) {}
  check = (): boolean => true
  run(m: Model, { wheel }: Real): void {
    if (this.t === null) wheel.cancelAll(this.f)
    else wheel.cancel(this.f, this.t)
    for (let t = 0; t < TIMERS_PER_FLOW; t++)
      if (this.t === null || this.t === t) m.due.delete(key(this.f, t))
    agree(m, wheel)
  }
  toString = (): string => `cancel(${this.f}.${this.t ?? '*'})`
}
/** Time passes (or jumps, back as well), then a bounded `expire`; some timers arm themselves again as they fire. */
class Pass implements fc.Command<Model, Real> {
  constructor(
    readonly ms: number,
    readonly max: number,
    readonly again: number | null
  ) {}
  check = (): boolean => true
  run(m: Model, { wheel }: Real): void {
    m.now = Math.max(0, m.now + this.ms)
    m.latest = Math.max(m.latest, m.now)
    let last = Number.NEGATIVE_INFINITY
    const armed: number[] = []
    const n = wheel.expire(
      m.now,
      (f, t) => {
        const due = m.due.get(key(f, t))
        assert.ok(due !== undefined, `${f}.${t} fired, but was not armed`)
        assert.ok(due.at <= m.now, `${f}.${t} fired ${due.at - m.now} ms early`)
        if (!armed.includes(key(f, t))) assert.ok(due.late > last - TICK, 'out of order')
        last = due.at
        m.due.delete(key(f, t))
        if (this.again === null || armed.length > 3) return
        armed.push(key(f, t))
        wheel.arm(f, t, m.now + this.again)
        put(m, key(f, t), m.now + this.again)
      },
      this.max
    )
    assert.ok(n <= this.max)
    if (n < this.max)
      for (const [k, { late }] of m.due) assert.ok(late > m.now - TICK, `${k} is ${m.now - late} ms late`)
    agree(m, wheel)
  }
  toString = (): string =>
    `pass(${this.ms} ms, max ${this.max}${this.again === null ? '' : `, again in ${this.again} ms`})`
}
function agree(m: Model, wheel: TimerWheel): void {
  assert.equal(wheel.size, m.due.size)
  const ms = wheel.next(m.now)
  assert.equal(ms === -1, m.due.size === 0)
  if (ms === -1) return
  const earliest = Math.min(...[...m.due.values()].map((d) => d.late))
  assert.ok(ms >= 0)
  assert.ok(
    m.now + ms <= Math.max(m.now, earliest) + TICK,
    `sleeps ${m.now + ms - earliest} ms past the earliest deadline`
  )
}

const commands = fc.commands(
  [
    fc.tuple(flow, timer, span).map(([f, t, ms]) => new Arm(f, t, ms)),
    fc.tuple(flow, fc.option(timer)).map(([f, t]) => new Cancel(f, t)),
    fc
      .tuple(fc.oneof(span, fc.constant(-1000)), fc.constantFrom(0, 1, 3, 1000), fc.option(span, { freq: 3 }))
      .map(([ms, max, again]) => new Pass(ms, max, again))
  ],
  { size: '+2' }
)

test('a wheel is a list of deadlines', () => {
  fc.assert(
    fc.property(fc.constantFrom(0, 1e6, 2.6e9), commands, (start, list) =>
      fc.modelRun(
        () => ({
          model: { now: start, latest: start, due: new Map() },
          real: { wheel: createTimerWheel(FLOWS, start) }
        }),
        list
      )
    ),
    { numRuns: 1000 }
  )
})

test('sleeping by next() alone reaches a far deadline in a few steps, never early or late', () => {
  fc.assert(
    fc.property(fc.nat(2e9), real(0, 4e8), (start, ms) => {
      const wheel = createTimerWheel(1)
      let now = start
      let fired = Number.NaN
      wheel.arm(0, 1, start + ms)
      for (let i = 0; i < 12 && wheel.size > 0; i++) {
        now += wheel.next(now)
        wheel.expire(
          now,
          () => {
            fired = now
          },
          100
        )
      }
      assert.ok(fired >= start + ms && fired <= start + ms + TICK, `fired at ${fired - start}, wanted ${ms}`)
    })
  )
})

test('a timer that arms itself for now is bounded by max', () => {
  const wheel = createTimerWheel(2)
  let n = 0
  wheel.arm(1, 3, 10)
  const fire = (f: number, t: number): void => {
    n++
    wheel.arm(f, t, 0)
  }
  assert.equal(wheel.expire(20, fire, 7), 7)
  assert.equal(n, 7)
  assert.equal(wheel.next(20), 0)
})

test('one busy timer does not keep the others of its tick waiting', () => {
  const wheel = createTimerWheel(3)
  const seen: number[] = []
  for (const f of [0, 1, 2]) wheel.arm(f, 0, 5)
  for (let i = 0; i < 3; i++)
    wheel.expire(
      6,
      (f) => {
        seen.push(f)
        if (f === 0) wheel.arm(0, 0, 6)
      },
      1
    )
  assert.deepEqual(seen, [0, 1, 2])
})
