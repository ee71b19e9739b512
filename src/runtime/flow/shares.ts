import * as t from 'io-ts'
import { Place, Places, Real } from '../../codecs/log/written.js'
import { type CameBy, type Limit, ruleOf, type WayLimits } from '../../machines/limit/limits.js'
import { type Bucket, bucket, filled, spend, wait } from '../../machines/limit/token-bucket.js'

// Who gets the tokens of a rate limit, one way (behaviour.md#rate-limits). A flow asks for what it has to move, a quantum at most. It has it
// at once if tokens are there and nobody waits; else it waits in line. Lines: one for each rule, one for all other flows, served
// in turn. In a line flows that have waited for less than a round come first, every other time: so what is small or new does not stand behind
// bulk, and bulk goes on all the same. Time is an argument; ms.

/** ms. Not sooner than this from now does anybody wake up for tokens: many small ones come together. */
const COARSE = 0.5
/** Grants at a time: what comes of them has to fit into a turn. */
const AT_ONCE = 128
/** Fractions of tokens come of fractions of ms. */
const NEARLY = 1e-6

/** First in, first out, of flows. */
class Line {
  private readonly all: number[] = []
  private head = 0
  get first(): number {
    return this.head < this.all.length ? this.all[this.head] : -1
  }
  push(flow: number): void {
    this.all.push(flow)
  }
  /** Those in line. */
  get rest(): number[] {
    return this.all.slice(this.head)
  }
  drop(): void {
    this.head++
    if (this.head * 2 < this.all.length) return
    this.all.splice(0, this.head)
    this.head = 0
  }
}

/** A limit and what there is of it; without one there is always enough. */
class Meter {
  private tokens: Bucket
  constructor(
    readonly limit: Limit | null,
    now: number
  ) {
    this.tokens = bucket(limit ?? NO_RATE, now)
  }
  get quantum(): number {
    return this.limit?.quantum ?? Number.POSITIVE_INFINITY
  }
  fill(now: number): void {
    if (this.limit !== null) this.tokens = filled(this.limit, this.tokens, now)
  }
  has(octets: number): boolean {
    return this.limit === null || this.tokens.tokens + NEARLY >= octets
  }
  take(octets: number): void {
    if (this.limit !== null) this.tokens = spend(this.limit, this.tokens, octets)
  }
  /** ms. */
  wait(octets: number): number {
    return this.limit === null ? 0 : wait(this.limit, this.tokens, octets)
  }
  get kept(): Bucket {
    return this.tokens
  }
  read(b: Bucket): void {
    this.tokens = b
  }
  overdrawn(): boolean {
    return this.limit !== null && this.tokens.tokens < -this.limit.burst
  }
}
const NO_RATE = { perMs: 0, burst: 0 }

/** The flows of one rule, or all that have none. */
interface Class {
  readonly own: Meter
  readonly fresh: Line
  readonly old: Line
  waiting: number
  /** Whose turn it is, where both lines have somebody. */
  freshNext: boolean
}

export interface Shares {
  /** A flow begins. Is it limited? */
  readonly begin: (flow: number, by: CameBy) => boolean
  /** It ends: it waits no more. */
  readonly end: (flow: number) => void
  readonly limited: (flow: number) => boolean
  /** Octets that it may have at once. */
  readonly quantum: (flow: number) => number
  /** Octets that it may move now, up to a quantum; 0: it waits, and serve() names it. Asking again while it waits changes nothing. */
  readonly ask: (flow: number, octets: number, now: number) => number
  /** Octets that have moved, unasked. Negative: of what was granted so many did not. */
  readonly charge: (flow: number, octets: number, now: number) => void
  /** Is as much owed as a burst has, for what could not be held back? */
  readonly overdrawn: (flow: number, now: number) => boolean
  /** Whose turn it is by now, one after the other: so many octets each. */
  readonly serve: (now: number, grant: (flow: number, octets: number) => void) => void
  /** When serve() is worth a call; infinity: nobody waits. */
  readonly next: (now: number) => number
  /** `all`: the flows that there are. */
  readonly kept: (all: ReadonlyArray<number>) => SharesKept
  /** Where nobody has asked. False: that is of other limits, or of no flow. */
  readonly read: (k: SharesKept) => boolean
}

const BucketKept = t.type({ tokens: Real, at: Real })
export const SharesKept = t.type({
  total: BucketKept,
  classes: t.array(
    t.type({ own: BucketKept, fresh: Places, old: Places, waiting: Place, freshNext: t.boolean })
  ),
  /** By flow: its index; its class, octets that it waits for, how many grants there had been when it had its last one. */
  flows: t.array(t.tuple([Place, t.tuple([Place, Place, Real])])),
  served: Place,
  cursor: Place
})
export type SharesKept = t.TypeOf<typeof SharesKept>

export const createShares = (limits: WayLimits, flows: number, now: number): Shares => {
  const total = new Meter(limits.total, now)
  const classes: Class[] = [null, ...limits.rules.map((r) => r.limit)].map((limit) => ({
    own: new Meter(limit, now),
    fresh: new Line(),
    old: new Line(),
    waiting: 0,
    freshNext: true
  }))
  const classOf = new Uint16Array(flows)
  /** Octets that a flow waits for. */
  const wants = new Int32Array(flows)
  /** How many grants there had been when it had its last one. */
  const servedAt = new Float64Array(flows)
  let served = 0
  /** Whose turn it is. */
  let cursor = 0

  const quantumOf = (c: Class): number => Math.min(c.own.quantum, total.quantum)
  const limited = (flow: number): boolean => total.limit !== null || classes[classOf[flow]].own.limit !== null

  const fill = (c: Class, at: number): void => {
    total.fill(at)
    c.own.fill(at)
  }
  const take = (c: Class, octets: number): void => {
    total.take(octets)
    c.own.take(octets)
  }
  const note = (flow: number): void => {
    served++
    servedAt[flow] = served
  }

  /** Who has ended, or was served, is in line no more. */
  const front = (l: Line): number => {
    while (l.first >= 0 && wants[l.first] === 0) l.drop()
    return l.first
  }
  /** The line whose first flow is next. */
  const lineOf = (c: Class): Line => {
    const fresh = front(c.fresh) >= 0
    const old = front(c.old) >= 0
    return fresh && (c.freshNext || !old) ? c.fresh : c.old
  }
  /** Does somebody wait whom only the total holds up? */
  const ahead = (c: Class, at: number): boolean => {
    if (c.waiting > 0) return true
    if (total.limit === null) return false
    for (const other of classes)
      if (other.waiting > 0 && other !== c) {
        fill(other, at)
        const first = lineOf(other).first
        if (first >= 0 && other.own.has(wants[first])) return true
      }
    return false
  }

  return {
    begin: (flow, by) => {
      classOf[flow] = ruleOf(limits, by) + 1
      wants[flow] = 0
      servedAt[flow] = Number.NEGATIVE_INFINITY
      return limited(flow)
    },
    end: (flow) => {
      if (wants[flow] > 0) classes[classOf[flow]].waiting--
      wants[flow] = 0
    },
    limited,
    quantum: (flow) => quantumOf(classes[classOf[flow]]),
    ask: (flow, octets, at) => {
      if (wants[flow] > 0) return 0
      const c = classes[classOf[flow]]
      const n = Math.min(octets, quantumOf(c))
      fill(c, at)
      if (c.own.has(n) && total.has(n) && !ahead(c, at)) {
        take(c, n)
        note(flow)
        return n
      }
      const line = served - servedAt[flow] > c.waiting ? c.fresh : c.old
      line.push(flow)
      wants[flow] = n
      c.waiting++
      return 0
    },
    charge: (flow, octets, at) => {
      const c = classes[classOf[flow]]
      fill(c, at)
      take(c, octets)
    },
    overdrawn: (flow, at) => {
      const c = classes[classOf[flow]]
      fill(c, at)
      return c.own.overdrawn() || total.overdrawn()
    },
    serve: (at, grant) => {
      for (let n = 0, tried = 0; n < AT_ONCE && tried < classes.length; ) {
        const c = classes[cursor]
        const line = lineOf(c)
        const flow = line.first
        fill(c, at)
        if (flow < 0 || !c.own.has(wants[flow])) {
          cursor = (cursor + 1) % classes.length
          tried++
          continue
        }
        const octets = wants[flow]
        // It stays its turn: who wants less does not overtake it
        if (!total.has(octets)) return
        line.drop()
        c.freshNext = line !== c.fresh
        wants[flow] = 0
        c.waiting--
        take(c, octets)
        note(flow)
        cursor = (cursor + 1) % classes.length
        tried = 0
        n++
        grant(flow, octets)
      }
    },
    next: (at) => {
      let soonest = Number.POSITIVE_INFINITY
      for (const c of classes) {
        if (c.waiting === 0) continue
        const first = lineOf(c).first
        if (first < 0) continue
        fill(c, at)
        const rest = Math.max(c.own.wait(wants[first]), total.wait(wants[first]))
        soonest = Math.min(soonest, at + Math.max(COARSE, rest))
      }
      return soonest
    },
    kept: (all) => ({
      total: total.kept,
      classes: classes.map((c) => ({
        own: c.own.kept,
        fresh: c.fresh.rest,
        old: c.old.rest,
        waiting: c.waiting,
        freshNext: c.freshNext
      })),
      flows: all.map((i) => [i, [classOf[i], wants[i], servedAt[i]]]),
      served,
      cursor
    }),
    read: (k) => {
      if (k.classes.length !== classes.length || k.cursor >= classes.length) return false
      total.read(k.total)
      for (const [i, c] of classes.entries()) {
        const { own, fresh, old, waiting, freshNext } = k.classes[i]
        if ([...fresh, ...old].some((flow) => flow >= flows)) return false
        c.own.read(own)
        for (const flow of fresh) c.fresh.push(flow)
        for (const flow of old) c.old.push(flow)
        c.waiting = waiting
        c.freshNext = freshNext
      }
      for (const [i, [of, octets, at]] of k.flows) {
        if (i >= flows || of >= classes.length) return false
        classOf[i] = of
        wants[i] = octets
        servedAt[i] = at
      }
      served = k.served
      cursor = k.cursor
      return true
    }
  }
}
