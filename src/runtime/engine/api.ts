import * as E from 'fp-ts/lib/Either.js'
import {
  type Answer,
  EVENTS_WAIT,
  FLOW_KINDS,
  type FlowEvent,
  type FlowInfo,
  type FlowKind,
  moreLines,
  type Place,
  QUESTION_MAX,
  type Question,
  QuestionLine,
  type RuleInfo,
  ruleName
} from '../../codecs/control/api.js'
import { type InAny, showAddr } from '../../codecs/value/inany.js'
import { distance } from '../../codecs/value/seq.js'
import { type Instant, instant } from '../../effects/effect.js'
import { isTold, showConfRule, toConfRule } from '../../machines/forward/conf-rules.js'
import type { Rule } from '../../machines/forward/forward-rules.js'
import { apiSend } from '../abi/effects.js'
import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import { type Endpoint, type Flow, isPair, type PairFlow, type TcpFlow } from '../flow/flow.js'
import { stateName } from '../flow/flow-log.js'
import { MAX_FLOWS } from '../flow/flow-table.js'
import { leafOf } from '../flow/kinds.js'
import { liveTrace } from '../observe/live-trace.js'
import type { Plan } from '../plan/plan-types.js'
import type { Recorder } from '../record/recorder.js'
import type { ApiTold } from './api-rules.js'
import { type NamespaceIs, statusOf, textOr } from './api-status.js'
import { pairWays, tcpToGuest, tcpToPeer } from './flow-octets.js'
import type { RulesNow } from './live-rules.js'
import { type PairMoved, ruleCounts, toldCount } from './rule-counts.js'

// Answers for the process of the API (behaviour.md#api): one question at a time, then a pause, and a page of what there is much of. So whoever asks,
// however much, takes some percent of our time at most, and delays a packet by less than a tenth of a millisecond.

/** Flows and rules of an answer, places of the flow table that it looks at, questions that may wait. */
export const FLOWS_PER_PAGE = 16
export const PLACES_PER_PAGE = 4096
const RULES_PER_PAGE = 32
/** Events that are kept for whoever asks for them. */
export const EVENTS_KEPT = 1024
/** ms from an answer to the next one. */
export const PAUSE = 2
const WAITING_MAX = 8
const place = (address: InAny, port: number): Place => ({ address: showAddr(address), port })
const source = ({ src, srcPort, dst }: Endpoint): Place => ({
  address: src === null ? (showAddr(dst).includes(':') ? '::' : '0.0.0.0') : showAddr(src),
  port: srcPort
})

type Measured = Pick<
  FlowInfo,
  'octetsToGuest' | 'octetsToPeer' | 'rttGuestMs' | 'rttPeerMs' | 'windowGuest' | 'windowOffered'
>
const NOTHING_MEASURED: Measured = {
  octetsToGuest: null,
  octetsToPeer: null,
  rttGuestMs: null,
  rttPeerMs: null,
  windowGuest: null,
  windowOffered: null
}
const tcpMeasured = (f: TcpFlow): Measured => {
  const { tcb } = f.state.context
  return {
    octetsToGuest: tcpToGuest(f),
    octetsToPeer: tcpToPeer(f),
    rttGuestMs: tcb.srtt > 0 ? tcb.srtt : null,
    rttPeerMs: tcb.peerRtt > 0 ? tcb.peerRtt : null,
    windowGuest: tcb.sndWnd,
    windowOffered: Math.max(0, distance(tcb.rcvNxt, tcb.rcvEdge))
  }
}
const pairMeasured = (f: PairFlow, pairMoved: PairMoved): Measured => {
  if (f.kind !== 'tcp-splice') return NOTHING_MEASURED
  const [on, back] = f.state.context.moved
  // What native has given up, it has told
  const [moved = 0, movedBack = 0] = pairMoved(Int32Array.of(f.index))
  const [octetsToGuest, octetsToPeer] = pairWays(f, Math.max(on, moved), Math.max(back, movedBack))
  return { ...NOTHING_MEASURED, octetsToGuest, octetsToPeer }
}

type Ends = Pick<FlowInfo, 'origin' | 'guest' | 'guestPeer' | 'peer'>
const endsOf = (f: Flow): Ends => {
  if (!isPair(f))
    return {
      origin: f.arrival === null ? 'guest' : 'host',
      guest: place(f.guestAddr, f.guestPort),
      guestPeer: place(f.ourAddr, f.ourPort),
      peer: place(f.hostAddr, f.hostPort)
    }
  const { side0, side1, arrival } = f
  const began = place(side0.dst, side0.dstPort)
  const target = place(side1.dst, side1.dstPort)
  return side1.inNamespace
    ? { origin: 'host', guest: target, guestPeer: source(side1), peer: began }
    : { origin: 'guest', guest: began, guestPeer: place(arrival.addr, arrival.port), peer: target }
}

const kinds = <A>(of: (k: FlowKind) => A): Record<FlowKind, A> =>
  Object.fromEntries(FLOW_KINDS.map((k) => [k, of(k)])) as Record<FlowKind, A>

const fromOf = ({ from }: { readonly from: number }): number => Math.max(0, Math.floor(from))

/** What answers, and who hands it what was said (api-rules.ts). */
export interface Api {
  readonly features: ReadonlyArray<Feature>
  readonly told: ApiTold
  /** The host is another one: this plan holds from here on. */
  readonly planned: (p: Plan) => void
  /** The namespace is. */
  readonly configured: (is: NamespaceIs) => void
  /** Its process has ended: nobody listens where its clients connect. */
  readonly over: () => boolean
}

/** What the API may have of the record. */
export type ApiRecord = Pick<Recorder, 'ask' | 'state'>

export const apiOf = (
  w: World,
  first: Plan,
  firstNamespace: NamespaceIs | null,
  rules: RulesNow,
  pairMoved: PairMoved,
  record: ApiRecord | null,
  pid: number = process.pid
): Api => {
  let p = first
  let namespace = firstNamespace
  const deadline = new Deadline()
  const started = w.rings.clock[0]
  const began = new Float64Array(MAX_FLOWS).fill(Number.NaN)
  const open = kinds(() => 0)
  const begun = kinds(() => 0)
  const counts = ruleCounts(w, pairMoved)
  const trace = liveTrace(w)
  const waiting: string[] = []
  let nextAt = 0
  let rest = ''
  let over = false

  const flowInfo = (f: Flow, now: Instant): FlowInfo => {
    const rule = counts.ruleOf(f)
    const since = began[f.index]
    return {
      id: f.index,
      kind: f.kind,
      state: stateName(leafOf(f, f.state.node)),
      ...endsOf(f),
      listenerPort: f.arrival?.port ?? null,
      rule:
        rule === undefined || !isTold(rule) || !rules.current.includes(rule)
          ? null
          : ruleName(toConfRule(rule), rule.direction),
      beganMs: Number.isNaN(since) ? null : since - started,
      ageMs: Number.isNaN(since) ? null : now - since,
      ...(f.kind === 'tcp' ? tcpMeasured(f) : isPair(f) ? pairMeasured(f, pairMoved) : NOTHING_MEASURED)
    }
  }
  const flows = (from: number, now: Instant): Answer => {
    const found: FlowInfo[] = []
    const end = Math.min(w.flows.length, from + PLACES_PER_PAGE)
    let i = from
    for (; i < end && found.length < FLOWS_PER_PAGE; i++) {
      const f = w.flows[i]
      if (f !== undefined) found.push(flowInfo(f, now))
    }
    return { to: 'flows', flows: found, next: i < w.flows.length ? i : null }
  }
  const ruleInfo = (r: Rule): RuleInfo => ({
    id: ruleName(toConfRule(r), r.direction),
    proto: r.proto,
    direction: r.direction,
    address: textOr(r.bind),
    interface: r.ifname,
    firstPort: r.first,
    lastPort: r.last,
    toAddress: textOr(r.toAddress),
    toPort: r.to,
    bestEffort: r.weak,
    auto: r.scan,
    text: showConfRule(toConfRule(r)).trimEnd(),
    ...toldCount(counts.of(r), r.proto, started)
  })
  const kept: FlowEvent[] = []
  let noted = 0
  let followedUntil = Number.NEGATIVE_INFINITY
  const note = (event: FlowEvent['event'], f: Flow): void => {
    const now = instant(w.rings.clock[0])
    if (now >= followedUntil) return
    kept[noted++ % EVENTS_KEPT] = { event, uptimeMs: now - started, flow: flowInfo(f, now) }
  }
  const events = (q: { readonly from: number }, now: Instant): Answer => {
    // Nobody has followed: there is nothing to go on from
    const wanted = q.from < 0 || now >= followedUntil ? noted : Math.min(noted, fromOf(q))
    followedUntil = now + EVENTS_WAIT
    const from = Math.max(wanted, noted - EVENTS_KEPT)
    const next = Math.min(noted, from + FLOWS_PER_PAGE)
    const page = Array.from({ length: next - from }, (_, i) => kept[(from + i) % EVENTS_KEPT]!)
    return { to: 'events', events: page, lost: from - wanted, next, more: next < noted }
  }
  const answerTo = (q: Question, now: Instant): Answer => {
    switch (q.ask) {
      case 'status':
        return { to: 'status', status: statusOf(w, p, namespace, pid, now - started) }
      case 'counters': {
        const events = Object.fromEntries(w.counters)
        return { to: 'counters', counters: { uptimeMs: now - started, events, open, begun } }
      }
      case 'record':
        return { to: 'record', record: record?.state() ?? null }
      case 'events':
        return events(q, now)
      case 'trace':
        return { to: 'trace', trace: trace.ask(q.trace, now) }
      case 'flows':
        return flows(fromOf(q), now)
      case 'rules': {
        const from = fromOf(q)
        const end = from + RULES_PER_PAGE
        const told = rules.current.filter(isTold)
        counts.look()
        const page = told.slice(from, end).map(ruleInfo)
        return { to: 'rules', rules: page, next: end < told.length ? end : null }
      }
    }
  }
  /** What was asked for is being done, by the end of a turn; then it is answered. */
  let atWork = false
  const starts = (q: Question): boolean => {
    const on = q.ask === 'record' ? q.on : null
    atWork = on !== null && record !== null && !atWork
    if (atWork && on !== null) record?.ask(on)
    return atWork
  }
  const encoder = new TextEncoder()
  const end = (why: string): void => {
    if (over) return
    over = true
    waiting.length = 0
    apiSend(w.rings, new Uint8Array(0))
    w.log.event(
      'control',
      'warning',
      `the process of the API (--api) ${why}: it answers no more, all else goes on`
    )
  }
  const nonsense = (): void => end('asks what makes no sense')
  // As AnswerLine would write it, in a quarter of the time
  const tell = (a: Answer): void => apiSend(w.rings, encoder.encode(`${JSON.stringify(a)}\n`))
  const said = (octets: Uint8Array): void => {
    if (octets.length === 0) return end('has ended')
    if (over) return
    const next = moreLines(rest, Buffer.from(octets).toString('latin1'), QUESTION_MAX)
    if (E.isLeft(next) || waiting.length + next.right.lines.length > WAITING_MAX) return nonsense()
    rest = next.right.rest
    waiting.push(...next.right.lines)
    if (waiting.length > 0) deadline.at = nextAt
  }
  const feature: Feature = {
    name: 'API',
    deadline,
    onTime: (now) => {
      const line = waiting.shift()
      nextAt = now + PAUSE
      deadline.at = waiting.length > 0 ? nextAt : Number.POSITIVE_INFINITY
      if (line === undefined) return
      const question = QuestionLine.decode(line)
      if (E.isLeft(question)) return nonsense()
      if (starts(question.right)) {
        waiting.unshift(line)
        deadline.at = nextAt
        return
      }
      tell(answerTo(question.right, now))
    },
    flowBegan: (f) => {
      began[f.index] = w.rings.clock[0]
      open[f.kind]++
      begun[f.kind]++
      counts.began(f)
      note('begin', f)
    },
    flowEnded: (f) => {
      open[f.kind]--
      note('end', f)
      counts.ended(f)
    }
  }
  const planned = (other: Plan): void => {
    p = other
  }
  return {
    features: [counts.feature, trace.feature, feature],
    planned,
    configured: (is) => {
      namespace = is
    },
    over: () => over,
    told: { said, changed: (a) => (over ? undefined : tell(a)), nonsense }
  }
}
