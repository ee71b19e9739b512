import { getSystemErrorName } from 'node:util'
import { EADDRNOTAVAIL, isShortage } from '../../codecs/value/errno.js'
import type { Instant } from '../../effects/effect.js'
import type { Rule } from '../../machines/forward/forward-rules.js'
import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import type { Flow, FlowEvent } from '../flow/flow.js'
import { MAX_FLOWS } from '../flow/flow-table.js'
import { isFinal } from '../flow/kinds.js'
import { isCounted, pairWays, tcpToGuest, tcpToPeer } from './flow-octets.js'

// What became of the flows that came by each rule, and whether its target answers (behaviour.md#rule-counts). Nothing is counted for a
// packet: flows are looked at now and then, and as they end. Nobody is asked either: a target is what the last flow found it to be.

/** ms from something that happened to a look at all flows, in which TCP's numbers do not go round; flows of a slice, ms to the next one. */
const LOOK_AFTER = 250
const SLICE = 64
const SLICE_EVERY = 1
/** So few are looked at whenever somebody asks. */
const FEW = 256
/** Names of errors that a rule may have, beside OTHER. */
const ERRORS_MAX = 15
const OTHER = 'other'
const EMSGSIZE = 90
const U32 = 0x100000000

export interface RuleCount {
  begun: number
  open: number
  /** Flows that the target took. */
  accepted: number
  toGuest: number
  toPeer: number
  /** By the name of an errno(3), those that it did not. */
  readonly failures: Map<string, number>
  /** What was last heard of the target, and when; null: nothing yet. */
  answered: boolean | null
  answeredAt: number
}
const noCount = (): RuleCount => ({
  begun: 0,
  open: 0,
  accepted: 0,
  toGuest: 0,
  toPeer: 0,
  failures: new Map(),
  answered: null,
  answeredAt: 0
})

/** What an event says of a flow's target: it is there; why it is not; null: nothing. */
type Verdict = { readonly error: string | null } | null
const THERE: Verdict = { error: null }
const byErrno = (errno: number): Verdict =>
  isShortage(errno) || errno === EADDRNOTAVAIL || errno === EMSGSIZE
    ? null
    : { error: getSystemErrorName(-errno) }
/** Of Feature.settled. */
export const verdictOf = (f: Flow, e: FlowEvent): Verdict => {
  switch (e.type) {
    case 'SPLICE_CONNECTED':
    case 'TAP_DATAGRAM':
    case 'UDP_MOVED':
      return THERE
    case 'SPLICE_FAILED':
      return e.side === 1 ? byErrno(e.errno) : null
    case 'SOCK_ICMP_ERROR':
    case 'SOCK_REFUSED':
    case 'SOCK_FAILED':
      return f.kind === 'udp-splice' ? byErrno(e.errno) : null
    // As connect(2) would have it
    case 'TAP_SEGMENT':
      return isFinal(f) ? { error: 'ECONNREFUSED' } : THERE
    case 'TIMER_RTO':
      return { error: 'ETIMEDOUT' }
    default:
      return null
  }
}

/** Octets of each of these pairs from side 0 to side 1, and back. */
export type PairMoved = (flows: Int32Array) => Float64Array

export interface RuleCounts {
  readonly feature: Feature
  /** A flow has begun, and has ended: between them it has its rule. */
  readonly began: (f: Flow) => void
  readonly ended: (f: Flow) => void
  /** By which rule it came; undefined: by none. */
  readonly ruleOf: (f: Flow) => Rule | undefined
  /** Where there are few flows, what they have moved by now is counted now. */
  readonly look: () => void
  /** Of a rule, as of the last look: LOOK_AFTER ago at the most. */
  readonly of: (r: Rule) => RuleCount
}

export const ruleCounts = (w: World, pairMoved: PairMoved): RuleCounts => {
  const deadline = new Deadline()
  /** Rules by flow: its listener may be gone before it is. */
  const byFlow = new Map<number, Rule>()
  const counts = new WeakMap<Rule, RuleCount>()
  /** What was added of a flow so far. */
  const seenGuest = new Float64Array(MAX_FLOWS)
  const seenPeer = new Float64Array(MAX_FLOWS)
  let pass: Iterator<number> | null = null

  const countOf = (r: Rule): RuleCount => {
    const known = counts.get(r)
    if (known !== undefined) return known
    const fresh = noCount()
    counts.set(r, fresh)
    return fresh
  }
  /** More than was seen; numbers modulo 2^32 may go back by a FIN's. */
  const since = (is: number, was: number, wraps: boolean): number => {
    const more = is - was
    return more >= 0 ? more : wraps && more < -(U32 / 2) ? more + U32 : 0
  }
  const add = (c: RuleCount, i: number, guest: number, peer: number, wraps: boolean): void => {
    c.toGuest += since(guest, seenGuest[i], wraps)
    c.toPeer += since(peer, seenPeer[i], wraps)
    seenGuest[i] = guest
    seenPeer[i] = peer
  }
  const addPair = (c: RuleCount, f: Flow, on: number, back: number): void => {
    if (f.kind !== 'tcp-splice') return
    const [guest, peer] = pairWays(f, on, back)
    add(c, f.index, Math.max(guest, seenGuest[f.index]), Math.max(peer, seenPeer[f.index]), false)
  }
  const lookAt = (f: Flow, c: RuleCount): void => {
    if (f.kind === 'tcp') add(c, f.index, tcpToGuest(f), tcpToPeer(f), true)
    else if (f.kind === 'tcp-splice') addPair(c, f, ...f.state.context.moved)
  }
  const look = (indices: Iterator<number>, most: number): boolean => {
    const pairs: number[] = []
    let over = false
    for (let n = 0; n < most && !over; n++) {
      const { value, done } = indices.next()
      over = done === true
      const f = over ? undefined : w.flows[value]
      const rule = f === undefined ? undefined : byFlow.get(f.index)
      if (f === undefined || rule === undefined) continue
      if (f.kind === 'tcp-splice') pairs.push(f.index)
      else lookAt(f, countOf(rule))
    }
    if (pairs.length === 0) return over
    const moved = pairMoved(Int32Array.from(pairs))
    for (const [k, i] of pairs.entries())
      addPair(countOf(byFlow.get(i)!), w.flows[i]!, moved[2 * k], moved[2 * k + 1])
    return over
  }
  const said = (c: RuleCount, v: NonNullable<Verdict>, now: number, connection: boolean): void => {
    c.answered = v.error === null
    c.answeredAt = now
    if (v.error === null) {
      if (connection) c.accepted++
      return
    }
    const name = c.failures.has(v.error) || c.failures.size < ERRORS_MAX ? v.error : OTHER
    c.failures.set(name, (c.failures.get(name) ?? 0) + 1)
  }
  const feature: Feature = {
    name: 'counts of rules',
    deadline,
    events: (n, now) => {
      if (n > 0 && deadline.at === Number.POSITIVE_INFINITY && byFlow.size > 0) deadline.at = now + LOOK_AFTER
    },
    onTime: (now) => {
      pass ??= byFlow.keys()
      const over = look(pass, SLICE)
      if (over) pass = null
      deadline.at = over ? Number.POSITIVE_INFINITY : now + SLICE_EVERY
    },
    settled: (f, e) => {
      const rule = byFlow.get(f.index)
      const verdict = rule === undefined ? null : verdictOf(f, e)
      if (rule !== undefined && verdict !== null) said(countOf(rule), verdict, w.rings.clock[0], isCounted(f))
    }
  }
  return {
    feature,
    began: (f) => {
      const rule = f.arrival === null ? undefined : w.listeners.get(f.arrival.listener)?.rule
      if (rule === undefined) return
      byFlow.set(f.index, rule)
      // One that was taken over has moved some already
      seenGuest[f.index] = f.kind === 'tcp' ? tcpToGuest(f) : 0
      seenPeer[f.index] = f.kind === 'tcp' ? tcpToPeer(f) : 0
      const c = countOf(rule)
      c.begun++
      c.open++
    },
    ended: (f) => {
      const rule = byFlow.get(f.index)
      if (rule === undefined) return
      const c = countOf(rule)
      lookAt(f, c)
      byFlow.delete(f.index)
      c.open--
    },
    ruleOf: (f) => byFlow.get(f.index),
    look: () => {
      if (byFlow.size <= FEW) look(byFlow.keys(), FEW + 1)
    },
    of: countOf
  }
}

/** As the API tells it. `started`: when its uptime begins, ms. */
export const toldCount = (c: RuleCount, proto: Rule['proto'], started: Instant | number) => ({
  begun: c.begun,
  open: c.open,
  accepted: proto === 'tcp' ? c.accepted : null,
  octetsToGuest: proto === 'tcp' ? c.toGuest : null,
  octetsToPeer: proto === 'tcp' ? c.toPeer : null,
  failures: Object.fromEntries(c.failures),
  target: c.answered === null ? null : { answered: c.answered, uptimeMs: c.answeredAt - started }
})
