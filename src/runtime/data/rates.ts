import * as t from 'io-ts'
import { Place, Real } from '../../codecs/log/written.js'
import type { RateLimit, Way } from '../../codecs/text/rate-limit.js'
import { orNull } from '../../codecs/value/or-null.js'
import { UDP_LEN } from '../../codecs/wire/udp.js'
import { pieces } from '../../codecs/wire/vnet.js'
import type { Instant, Payload } from '../../effects/effect.js'
import {
  type CameBy,
  limitsOf,
  quantumOf,
  type RateLimits,
  type WayLimits
} from '../../machines/limit/limits.js'
import { READ_LIMIT, READ_LIMIT_1 } from '../abi/abi.js'
import { Deadline } from '../flow/deadline.js'
import { type Flow, isPair, type PairFlow } from '../flow/flow.js'
import type { FlowConfig } from '../flow/kinds.js'
import { NAMES, Name, type Naming, readNames } from '../flow/naming.js'
import { createShares, type Shares, SharesKept } from '../flow/shares.js'

// What rate limits ask of the data path (behaviour.md#rate-limits): how much each flow may move, and what it has moved. `null` where there is
// no limit: then nothing here exists, and nothing is asked. rate-limit.ts gives what flows wait for.

/** A flow that a listener brought, and where. */
export const cameBy = (f: Pick<Flow, 'kind' | 'arrival'>): CameBy =>
  f.arrival === null
    ? null
    : { proto: f.kind === 'tcp' || f.kind === 'tcp-splice' ? 'tcp' : 'udp', port: f.arrival.port }

/** A pair's way that reads from side `way`: towards the guest? */
export const wayOfPair = (f: PairFlow, way: 0 | 1): Way =>
  f.side1.inNamespace === (way === 0) ? 'in' : 'out'

/** FlowConfig's `quantum` without a limit. */
export const NO_QUANTUM: FlowConfig['quantum'] = () => 0
/** The same by --limit. */
export const windowQuantum = (all: ReadonlyArray<RateLimit>): FlowConfig['quantum'] => {
  const { out } = limitsOf(all)
  if (out.total === null && out.rules.length === 0) return NO_QUANTUM
  return ({ arrival }) => quantumOf(out, cameBy({ kind: 'tcp', arrival }))
}

const WayKept = t.type({
  shares: SharesKept,
  /** By flow: its index, what it holds, what of its beginning is free. */
  flows: t.array(t.tuple([Place, Real, Real]))
})
type WayKept = t.TypeOf<typeof WayKept>
export const RatesKept = t.type({
  in: orNull(WayKept),
  out: orNull(WayKept),
  dueAt: Real,
  refused: NAMES,
  granted: t.array(t.tuple([Name, Place])),
  /** Octets that a peek of the flow under way may send. */
  peeks: t.array(t.tuple([Place, Real]))
})
export type RatesKept = t.TypeOf<typeof RatesKept>
/** One way: who waits, and what each flow has that it has not used. */
export class WayRates {
  readonly shares: Shares
  /** Octets that were granted and not moved; below 0: a datagram was longer. */
  readonly held: Float64Array
  /** Octets of a flow's beginning, which are paid for as they move: what asks once need not wait. */
  readonly free: Float64Array
  constructor(limits: WayLimits, flows: number, now: number) {
    this.shares = createShares(limits, flows, now)
    this.held = new Float64Array(flows)
    this.free = new Float64Array(flows)
  }
  begin(flow: number, by: CameBy): void {
    const limited = this.shares.begin(flow, by)
    this.held[flow] = 0
    this.free[flow] = limited ? this.shares.quantum(flow) : 0
  }
  /** What it has not used is for others. */
  end(flow: number, now: Instant): void {
    this.shares.end(flow)
    if (this.held[flow] > 0) this.shares.charge(flow, -this.held[flow], now)
    this.held[flow] = 0
    this.free[flow] = 0
  }
  /** `octets` of it have moved. */
  moved(flow: number, octets: number, now: Instant): void {
    if (this.free[flow] > 0) {
      this.free[flow] -= octets
      this.shares.charge(flow, octets, now)
    } else this.held[flow] -= octets
  }
  /** May it move anything? It asks for more before all is used up: what is little waits for nobody. */
  has(flow: number, now: Instant): boolean {
    const quantum = this.shares.quantum(flow)
    const left = this.free[flow] + this.held[flow]
    if (left * 2 <= quantum) this.held[flow] += this.shares.ask(flow, quantum, now)
    return this.free[flow] > 0 || this.held[flow] > 0
  }
  kept(all: ReadonlyArray<number>): WayKept {
    return { shares: this.shares.kept(all), flows: all.map((i) => [i, this.held[i], this.free[i]]) }
  }
  read(k: WayKept): boolean {
    for (const [i, held, free] of k.flows) {
      if (i >= this.held.length) return false
      this.held[i] = held
      this.free[i] = free
    }
    return this.shares.read(k.shares)
  }
}

/** A flow and what it may move. */
interface Grant {
  readonly flow: Flow
  readonly octets: number
}

/** Octets that a datagram's record counts for: each with its header, so that empty ones count too. */
export const datagramOctets = (p: Payload, segment: number): number =>
  p.len + UDP_LEN * pieces(p.len, segment)

export class Rates {
  readonly in: WayRates | null
  readonly out: WayRates | null
  /** When somebody's turn comes. */
  readonly deadline = new Deadline()
  /** Peeks that were refused, and windows that were granted at once: told at the head of the next turn, as all that effects lead to is. */
  readonly refused: Flow[] = []
  readonly granted: Grant[] = []
  /** Octets that a peek under way may send. */
  private readonly peeks: Float64Array

  constructor(limits: RateLimits, flows: number, now: number) {
    const of = (w: WayLimits): WayRates | null =>
      w.total === null && w.rules.length === 0 ? null : new WayRates(w, flows, now)
    this.in = of(limits.in)
    this.out = of(limits.out)
    this.peeks = new Float64Array(flows)
  }

  kept({ all, nameOf }: Naming): RatesKept {
    return {
      in: this.in?.kept(all) ?? null,
      out: this.out?.kept(all) ?? null,
      dueAt: this.deadline.at,
      refused: this.refused.map(nameOf),
      granted: this.granted.map((g) => [nameOf(g.flow), g.octets]),
      peeks: all.map((i) => [i, this.peeks[i]])
    }
  }
  /** False: that is of other limits, or of flows that there are not. */
  read(k: RatesKept, names: Naming): boolean {
    if ((k.in === null) !== (this.in === null) || (k.out === null) !== (this.out === null)) return false
    if (k.in !== null && this.in?.read(k.in) !== true) return false
    if (k.out !== null && this.out?.read(k.out) !== true) return false
    if (!readNames(names, this.refused, k.refused)) return false
    for (const [name, octets] of k.granted) {
      const flow = names.named(name)
      if (flow === null) return false
      this.granted.push({ flow, octets })
    }
    for (const [i, octets] of k.peeks) {
      if (i >= this.peeks.length) return false
      this.peeks[i] = octets
    }
    this.deadline.at = k.dueAt
    return true
  }

  begin(f: Flow): void {
    const by = cameBy(f)
    this.peeks[f.index] = 0
    this.in?.begin(f.index, by)
    this.out?.begin(f.index, by)
  }
  end(f: Flow, now: Instant): void {
    this.in?.end(f.index, now)
    this.out?.end(f.index, now)
  }
  /** READ_LIMIT where what is read from that side of a pair has a limit, else 0. */
  limitsSide(f: PairFlow, side: 0 | 1): number {
    return this[wayOfPair(f, side)]?.shares.limited(f.index) ? READ_LIMIT : 0
  }
  /** The same of both sides of one of TCP. */
  limitsPair(f: PairFlow): number {
    return this.limitsSide(f, 0) | (this.limitsSide(f, 1) === 0 ? 0 : READ_LIMIT_1)
  }
  /** The same of a UDP flow's socket. */
  limitsUdp(f: Flow): number {
    return this.in?.shares.limited(f.index) ? READ_LIMIT : 0
  }
  /** Somebody waits since `now`, or waits no more. */
  wake(now: Instant): void {
    const soonest = Math.min(this.in?.shares.next(now) ?? Infinity, this.out?.shares.next(now) ?? Infinity)
    this.deadline.at = this.refused.length > 0 || this.granted.length > 0 ? now : soonest
  }

  // --- TCP through the tap

  /** Of a peek for `octets`: how many may be sent; 0: none now, and the flow is told when. Whole segments where it is not all. */
  mayPeek(f: Flow, octets: number, mss: number, now: Instant): number {
    const w = this.in
    if (w === null || !w.shares.limited(f.index)) return octets
    if (w.held[f.index] === 0) w.held[f.index] = w.shares.ask(f.index, octets, now)
    const has = Math.min(w.held[f.index], octets)
    const n = has < octets && has > mss ? has - (has % mss) : has
    if (w.held[f.index] > n) w.shares.charge(f.index, n - w.held[f.index], now)
    w.held[f.index] = 0
    this.peeks[f.index] = n
    if (n === 0) this.refused.push(f)
    this.wake(now)
    return n
  }
  /** It has sent so many. */
  peeked(f: Flow, octets: number, now: Instant): void {
    const w = this.in
    const n = this.peeks[f.index]
    if (w === null || n === 0) return
    this.peeks[f.index] = 0
    if (octets < n) w.shares.charge(f.index, octets - n, now)
  }
  /** The guest's window is to grow. */
  askWindow(f: Flow, octets: number, now: Instant): void {
    const w = this.out
    if (w === null) return
    const n = w.shares.ask(f.index, octets, now)
    if (n > 0) this.granted.push({ flow: f, octets: n })
    this.wake(now)
  }
  /** The guest has sent data. */
  arrived(f: Flow, octets: number, now: Instant): void {
    const w = this.out
    if (w === null || !w.shares.limited(f.index)) return
    const paid = Math.min(octets, w.held[f.index])
    w.held[f.index] -= paid
    // Of the first window
    if (octets > paid) w.shares.charge(f.index, octets - paid, now)
  }

  // --- datagrams

  /** May the guest's datagram go? A flow's first ones may at once. */
  maySend(f: Flow, p: Payload, segment: number, now: Instant): boolean {
    const w = this.out
    if (w === null || !w.shares.limited(f.index)) return true
    const may = w.has(f.index, now)
    if (may) w.moved(f.index, datagramOctets(p, segment), now)
    this.wake(now)
    return may
  }
  /** One that was read without being asked, towards the guest or, past the tap, towards where `f` leads. False: too many, it goes no farther. */
  cameIn(f: Flow, p: Payload, segment: number, now: Instant): boolean {
    const w = isPair(f) ? this[wayOfPair(f, 0)] : this.in
    if (w === null || !w.shares.limited(f.index)) return true
    if (w.shares.overdrawn(f.index, now)) return false
    w.shares.charge(f.index, datagramOctets(p, segment), now)
    return true
  }
}
