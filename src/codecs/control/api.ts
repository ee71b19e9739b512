import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { showRange } from '../text/port-spec.js'
import { textCodec } from '../value/codec.js'
import { showAddr } from '../value/inany.js'
import { orNull } from '../value/or-null.js'
import { type ClientPart, type ConfRule, RulesText } from './conf.js'

// Between the engine and the process of the API (--api): lines of JSON. The process asks, and each question gets exactly one answer, in
// order. What there may be thousands of comes in pages: who asks goes on from `next`, so no answer takes the engine long.
// The values are those of the API itself (openapi.json).

const count = t.number

/** An end of a flow: 'ADDRESS', port; of a ping its identifier. 0: the kernel's choice, unknown here. */
export const Place = t.strict({ address: t.string, port: count })
export type Place = t.TypeOf<typeof Place>

export const FLOW_KINDS = ['tcp', 'udp', 'ping', 'tcp-splice', 'udp-splice'] as const
export const FlowKind = t.union([
  t.literal('tcp'),
  t.literal('udp'),
  t.literal('ping'),
  t.literal('tcp-splice'),
  t.literal('udp-splice')
])
export type FlowKind = t.TypeOf<typeof FlowKind>

export const FlowInfo = t.strict({
  /** Place in the flow table: another flow's once this one has ended. */
  id: count,
  kind: FlowKind,
  /** Of its machine, as RFC 9293 writes states: 'ESTABLISHED'. */
  state: t.string,
  /** Who began it. */
  origin: t.union([t.literal('guest'), t.literal('host')]),
  /** The end in the guest or the namespace, and its peer as that end knows it. */
  guest: Place,
  guestPeer: Place,
  /** The peer as the host knows it. */
  peer: Place,
  /** Where it arrived: the listener's port; null: it met none. */
  listenerPort: orNull(count),
  /** Which of `/v1/rules`; null: none, or one that is no more. */
  rule: orNull(t.string),
  /** As Status.uptimeMs; null: before the API. With `id` it tells flows apart, for good. */
  beganMs: orNull(count),
  /** ms; null: since before the API. */
  ageMs: orNull(count),
  /** Octets of data that arrived: TCP's modulo 2^32, as acknowledged; past the tap as last reported. null: not counted. */
  octetsToGuest: orNull(count),
  octetsToPeer: orNull(count),
  /** ms, smoothed; null: not measured, or no such thing. */
  rttGuestMs: orNull(count),
  rttPeerMs: orNull(count),
  /** Octets: what the guest offers, what it was offered. */
  windowGuest: orNull(count),
  windowOffered: orNull(count)
})
export type FlowInfo = t.TypeOf<typeof FlowInfo>

export const FlowEvent = t.strict({
  event: t.union([t.literal('begin'), t.literal('end')]),
  /** As Status.uptimeMs. */
  uptimeMs: count,
  /** As it was then. */
  flow: FlowInfo
})
export type FlowEvent = t.TypeOf<typeof FlowEvent>

export const RuleInfo = t.strict({
  /** The same for the same rule, whatever others there are. */
  id: t.string,
  proto: t.union([t.literal('tcp'), t.literal('udp')]),
  /** 'in': from the host to the guest. */
  direction: t.union([t.literal('in'), t.literal('out')]),
  /** null: any of both IP versions. */
  address: orNull(t.string),
  interface: orNull(t.string),
  firstPort: count,
  lastPort: count,
  /** Where `firstPort` leads; null: to the guest's or the host's usual address. */
  toAddress: orNull(t.string),
  toPort: count,
  /** A port that cannot be had is no error. */
  bestEffort: t.boolean,
  /** Only ports that are listened on at the other side. */
  auto: t.boolean,
  /** As pesto(1) lists it. */
  text: t.string,
  /** Flows that it began, since the API is there; those there are. */
  begun: count,
  open: count,
  /** Connections that the target took, and octets of data that arrived, of those that have ended as well. null: datagrams, which are not counted. */
  accepted: orNull(count),
  octetsToGuest: orNull(count),
  octetsToPeer: orNull(count),
  /** Connections that the target did not take, datagrams that it refused: by the name of an errno(3), 'other' where there are many names. */
  failures: t.record(t.string, count),
  /** Whether it was there when it was last asked, by a flow and by nobody else; uptimeMs: when. null: nothing was heard of it yet. */
  target: orNull(t.strict({ answered: t.boolean, uptimeMs: count }))
})
export type RuleInfo = t.TypeOf<typeof RuleInfo>

/**
 * A name for what listens there, fit for a URL's path: 'in-tcp-127.0.0.1-8080', 'out-udp-53'. No two rules that there are at a time have the same
 * one (machines/forward/conf-rules.ts, rulesConflict()); the same rule again has the same one.
 */
export const ruleName = (r: ConfRule, direction: 'in' | 'out'): string =>
  `${direction}-${r.proto}-${r.any ? '' : `${showAddr(r.address)}-`}${showRange(r)}`

const Family = t.strict({
  interface: orNull(t.string),
  address: orNull(t.string),
  prefixLength: count,
  gateway: orNull(t.string),
  outbound: orNull(t.string),
  outboundInterface: orNull(t.string),
  dns: t.array(t.string)
})
/** A route that we gave the namespace, towards its own interface. */
export const RouteInfo = t.strict({
  /** 'ADDRESS/LENGTH' */
  destination: t.string,
  /** None: it is on the link. Several: some for each. */
  gateways: t.array(t.string),
  metric: orNull(count)
})
export type RouteInfo = t.TypeOf<typeof RouteInfo>
/** What --config-net has made of the namespace, as of the last change of the host that was followed; the first of many routes. */
const Namespace = t.strict({
  addresses: t.array(t.string),
  routes: t.array(RouteInfo),
  routesInAll: count,
  leftOutInAll: count,
  /** What the host has and the namespace has not got, with the reason, for people. */
  leftOut: t.array(t.string)
})
export const Status = t.strict({
  version: t.string,
  mode: t.union([t.literal('passt'), t.literal('pasta')]),
  /** Of the engine. */
  pid: count,
  uptimeMs: count,
  link: t.union([t.literal('tap'), t.literal('socket'), t.literal('vhost-user'), t.literal('none')]),
  interface: t.string,
  /** 0: not assigned. */
  mtu: count,
  mac: t.string,
  guest: t.strict({ up: t.boolean, mac: t.string, ipv4: orNull(t.string), ipv6: orNull(t.string) }),
  ipv4: orNull(Family),
  ipv6: orNull(Family),
  search: t.array(t.string),
  /** null: nothing is configured there, or there is none. */
  namespace: orNull(Namespace),
  /** Names of what is on: 'tcp', 'dhcp'. */
  serves: t.array(t.string),
  /** What options and host gave rise to at the start, for people. */
  notes: t.array(t.string)
})
export type Status = t.TypeOf<typeof Status>

export const Counters = t.strict({
  uptimeMs: count,
  /** By reason (src/effects/counters.ts), what was counted at least once. */
  events: t.record(t.string, count),
  /** Flows that there are, and those that began since the API is there. */
  open: t.record(FlowKind, count),
  begun: t.record(FlowKind, count)
})
export type Counters = t.TypeOf<typeof Counters>

/** What is to be told of in the log, of all flows and packets or of some: null is any. */
export const Trace = t.strict({
  /** The life of flows: begin, every change of state, end. */
  flows: t.boolean,
  /** Packets from and to the guest. */
  packets: t.boolean,
  /** FlowInfo.id */
  flow: orNull(count),
  /** Of any end, or of the listener. */
  port: orNull(count),
  address: orNull(t.string)
})
export type Trace = t.TypeOf<typeof Trace>
export const TraceInfo = t.strict({
  ...Trace.type.props,
  /** ms until it ends by itself; null: nothing is on. */
  endsInMs: orNull(count),
  /** Lines that there were, and that there would have been: too many a second. */
  lines: count,
  lost: count
})
export type TraceInfo = t.TypeOf<typeof TraceInfo>

/** Why it stays as it is: there is no such flow, or no log that anybody has. */
export const NoTrace = t.union([t.literal('no flow'), t.literal('no log')])
export type NoTrace = t.TypeOf<typeof NoTrace>
/** The record of a run (--record). */
export const RecordInfo = t.strict({
  on: t.boolean,
  /** It is to begin, or its next window, and cannot yet: why. */
  waits: orNull(t.string),
  /** Why it has ended: stopped, size, restart, or an errno's name; null: it is on, or never was. */
  ended: orNull(t.string),
  /** Of the file. */
  octets: count
})
export type RecordInfo = t.TypeOf<typeof RecordInfo>

export const Question = t.union([
  /** `on`: it is to begin anew, or to end; null: neither. */
  t.strict({ ask: t.literal('record'), on: orNull(t.boolean) }),
  t.strict({ ask: t.literal('status') }),
  t.strict({ ask: t.literal('counters') }),
  /** null: it stays as it is. */
  t.strict({ ask: t.literal('trace'), trace: orNull(Trace) }),
  t.strict({ ask: t.literal('flows'), from: count }),
  t.strict({ ask: t.literal('rules'), from: count }),
  /** `from`: number of the first one that is wanted; below 0: what comes from here on. Whoever asks is to ask again within EVENTS_WAIT. */
  t.strict({ ask: t.literal('events'), from: count })
])
export type Question = t.TypeOf<typeof Question>

/** `next`: where to go on; null: that was all. */
export const Answer = t.union([
  t.strict({ to: t.literal('status'), status: Status }),
  /** null: there is no --record, or its file could not be opened. */
  t.strict({ to: t.literal('record'), record: orNull(RecordInfo) }),
  t.strict({ to: t.literal('counters'), counters: Counters }),
  t.strict({ to: t.literal('trace'), trace: t.union([TraceInfo, NoTrace]) }),
  t.strict({ to: t.literal('flows'), flows: t.array(FlowInfo), next: orNull(count) }),
  t.strict({ to: t.literal('rules'), rules: t.array(RuleInfo), next: orNull(count) }),
  /** `lost`: so many before those were wanted, and are kept no more. `next`: of the one behind them; `more`: it is there. */
  t.strict({
    to: t.literal('events'),
    events: t.array(FlowEvent),
    lost: count,
    next: count,
    more: t.boolean
  }),
  t.strict({
    to: t.literal('change'),
    /** missing: a rule that is to go is not there; refused: `why`. Either way all is as it was. */
    outcome: t.union([t.literal('done'), t.literal('same'), t.literal('missing'), t.literal('refused')]),
    /** Lines for people; '': nothing went wrong. */
    why: t.string
  })
])
export type Answer = t.TypeOf<typeof Answer>

/** ms for which events are noted behind a question for them. */
export const EVENTS_WAIT = 5000

/** Octets of a line, its end included. An answer is one effect. */
export const QUESTION_MAX = 256
export const ANSWER_MAX = 65536

const lineOf = <A>(value: t.Type<A, unknown>): t.Type<A, string, unknown> =>
  textCodec(
    `line of ${value.name}`,
    (line) => {
      try {
        return E.mapLeft(() => `no ${value.name}`)(value.decode(JSON.parse(line)))
      } catch {
        return E.left('no JSON')
      }
    },
    (a) => JSON.stringify(value.encode(a))
  )

/**
 * Shape: one JSON object without a line's end.   Left: no JSON, or another object.
 * Law: decode(encode(a)) = right(a); nothing that is encoded has a line's end.
 */
export const QuestionLine = lineOf<Question>(Question)
export const AnswerLine = lineOf<Answer>(Answer)

/** Other rules: all of it is done, or nothing. By ruleName(). */
export interface RuleChange {
  /** They must be there. */
  readonly remove: ReadonlyArray<string>
  /** They may be. */
  readonly replace: ReadonlyArray<string>
  readonly add: ClientPart
}
/** A line that asks for a change begins with this octet, comes alone and whole: so a record of a run (--record) has it, and questions not. */
export const CHANGE_MARK = 0x21
/** Octets of that line, its end included: what is read at once (native/addon/conf.cc, READ_MAX). */
export const CHANGE_MAX = 4096
const names = t.readonlyArray(t.string)
const Change = t.strict({ remove: names, replace: names, add: RulesText })
const ChangeBody = lineOf<RuleChange>(Change)
/**
 * Shape: '!', then a JSON object, in which rules are those of conf.ts as base64.   Left: anything else.
 * Law: decode(encode(a)) = right(a).
 */
export const ChangeLine = textCodec<RuleChange>(
  'RuleChange',
  (line) =>
    line.charCodeAt(0) === CHANGE_MARK
      ? E.mapLeft(() => 'no change')(ChangeBody.decode(line.slice(1)))
      : E.left('no change'),
  (change) => String.fromCharCode(CHANGE_MARK) + ChangeBody.encode(change)
)

/** Whole lines, and what is there of the next one. */
export interface Lines {
  readonly lines: ReadonlyArray<string>
  readonly rest: string
}
/** More octets of a stream, as Latin-1 text: a line's end is one octet. Left: a line longer than `max`. */
export const moreLines = (rest: string, came: string, max: number): E.Either<string, Lines> => {
  const lines = (rest + came).split('\n')
  const next = lines.pop() ?? ''
  return next.length >= max || lines.some((l) => l.length >= max)
    ? E.left(`a line of more than ${max} octets`)
    : E.right({ lines, rest: next })
}
