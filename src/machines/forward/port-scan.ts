import { assign, setup } from 'xstate'
import { isUnspecified } from '../../codecs/value/inany.js'
import {
  addPort,
  addPorts,
  emptyPorts,
  hasPort,
  minusPorts,
  NO_PORTS,
  type PortSet,
  portSet,
  portsIn,
  unionPorts
} from '../../codecs/value/port-set.js'
import { type Instant, instant } from '../../effects/effect.js'
import { by, type Source } from '../source.js'
import { type BindFailure, failureLines } from './bind-verdict.js'
import { type Direction, listensAtPath, type Proto, type Rule, targetOf } from './forward-rules.js'

// `auto`: listen where somebody listens at the other side, as /proc/net tells once a second
// (behaviour.md#port-scan). Both directions at once would feed on each other: what we listen on in the namespace for -T
// looks to -t like a service there. So, protocol by protocol:
//
//   wanted    a port whose target is listened on by somebody else than us; for UDP also one whose target TCP port -t auto
//             (-T auto) found
//   not if    somebody else listens on the port itself: a TCP listener would be refused, and a UDP one steal datagrams
//   not if    it is the target of a listener that we have in the other direction, or its own target is such a listener
//
// What is listened on just now is in the text read, but so may be what we closed at the last scan: both count as ours.
// Listeners only: flows that came through one live on without it.

/** ms between scans */
export const SCAN_PERIOD = 1000

/** Ports listened on, any address, IPv4 and IPv6 together (codecs/kernel/proc-net.ts). */
export type Listening = Readonly<Record<Proto, PortSet>>
/** Listeners of one rule. `rule`: index into the rules. */
export interface RulePorts {
  readonly rule: number
  readonly ports: ReadonlyArray<number>
}

export type ScanEffect =
  /** Read /proc/net of both sides. -> SCANNED | SCAN_FAILED */
  | { readonly type: 'ReadListeners' }
  /** Carried out before OpenListeners of the same step. Nothing happens to the flows. */
  | { readonly type: 'CloseListeners'; readonly list: ReadonlyArray<RulePorts> }
  /** -> LISTENER_FAILED for those that could not be had, before the next SCANNED */
  | { readonly type: 'OpenListeners'; readonly list: ReadonlyArray<RulePorts> }
  | { readonly type: 'ArmScanTimer'; readonly at: Instant }
  | { readonly type: 'Warn'; readonly lines: ReadonlyArray<string> }

export type ScanEvent =
  /** Without sockets of ours that are not listeners of rules, should there be any unconnected ones. */
  | { readonly type: 'SCANNED'; readonly host: Listening; readonly ns: Listening; readonly now: Instant }
  /** A side cannot be read: everything stays as it is until the next time. */
  | { readonly type: 'SCAN_FAILED'; readonly now: Instant }
  | {
      readonly type: 'LISTENER_FAILED'
      readonly rule: number
      readonly ports: ReadonlyArray<number>
      readonly errno: number
    }
  | { readonly type: 'TIMER_SCAN' }
  /** Other rules count from here on (behaviour.md#live-rules): as at the start, with what listens already. */
  | ({ readonly type: 'RULES' } & ScanInput)

export interface ScanContext {
  /** All of them: indices are what effects and events speak of. */
  readonly rules: ReadonlyArray<Rule>
  /** Where we listen by rules that do not scan, per side. */
  readonly fixed: Readonly<Record<'host' | 'ns', Listening>>
  /** Per rule: listeners asked for that have not failed; what the last scan closed; what was complained about. */
  readonly open: ReadonlyArray<PortSet>
  readonly closed: ReadonlyArray<PortSet>
  readonly failed: ReadonlyArray<PortSet>
  /** Of the last scan. */
  readonly changes: Changes
}
export interface Changes {
  readonly close: ReadonlyArray<RulePorts>
  readonly open: ReadonlyArray<RulePorts>
}
export interface ScanInput {
  readonly rules: ReadonlyArray<Rule>
  /** Of rules that do not scan, from when they were opened. */
  readonly failures: ReadonlyArray<BindFailure>
  /** Per rule: where it listens already, by sockets of another process; none: []. */
  readonly open: ReadonlyArray<PortSet>
}

const DIRECTIONS: ReadonlyArray<Direction> = ['in', 'out']
const PROTOS: ReadonlyArray<Proto> = ['tcp', 'udp']
/** Where listeners of a direction are, and where they lead. */
const HERE = { in: 'host', out: 'ns' } as const
const THERE = { in: 'ns', out: 'host' } as const

export const scans = (rules: ReadonlyArray<Rule>): boolean => rules.some((r) => r.scan)

const fixedPorts = ({ rules, failures }: Omit<ScanInput, 'open'>): ScanContext['fixed'] => {
  const missing = new Set(failures.map((f) => `${f.rule} ${f.port}`))
  const of = (direction: Direction, proto: Proto): PortSet => {
    const theirs = [...rules.entries()].filter(
      ([, r]) => r.direction === direction && r.proto === proto && !r.scan && listensAtPath(r) === null
    )
    if (theirs.length === 0) return NO_PORTS
    const s = emptyPorts()
    for (const [i, r] of theirs)
      if (missing.size === 0) addPorts(s, r.first, r.last)
      else for (let p = r.first; p <= r.last; p++) if (!missing.has(`${i} ${p}`)) addPort(s, p)
    return s
  }
  const side = (direction: Direction): Listening => ({ tcp: of(direction, 'tcp'), udp: of(direction, 'udp') })
  return { host: side('in'), ns: side('out') }
}

const initial = (input: ScanInput): ScanContext => {
  const nothing = input.rules.map(() => NO_PORTS)
  return {
    rules: input.rules,
    fixed: fixedPorts(input),
    open: nothing.map((none, i) => input.open[i] ?? none),
    closed: nothing,
    failed: nothing,
    changes: { close: [], open: [] }
  }
}

// --- one scan

/** Ports that listeners of these rules lead to. */
const targets = (
  rules: ReadonlyArray<Rule>,
  open: ReadonlyArray<PortSet>,
  pick: (r: Rule) => boolean
): PortSet =>
  portSet(
    rules.flatMap((r, i) => (pick(r) ? portsIn(open[i]!, r.first, r.last).map((p) => targetOf(r, p)) : []))
  )

/** Of `s`, what these rules may lead to. */
const within = (s: PortSet, rules: ReadonlyArray<Rule>): PortSet =>
  portSet(rules.flatMap((r) => portsIn(s, r.to, targetOf(r, r.last))))

/** Ports of a rule whose targets are in `leads`; in `busy` only where the rule has an address to itself. */
const wantedOf = (r: Rule, leads: PortSet, busy: PortSet, taboo: PortSet): PortSet => {
  const any = r.bind === null || isUnspecified(r.bind)
  return portSet(
    portsIn(leads, r.to, targetOf(r, r.last))
      .map((target) => r.first + target - r.to)
      .filter((p) => !(any && hasPort(busy, p)) && !hasPort(taboo, p))
  )
}

const listOf = (rules: ReadonlyArray<Rule>, sets: ReadonlyArray<PortSet>): ReadonlyArray<RulePorts> =>
  rules.flatMap((_, rule) => {
    const ports = portsIn(sets[rule]!)
    return ports.length === 0 ? [] : [{ rule, ports }]
  })

/**
 * What to listen on after both sides were read. First inwards, then outwards, which sees what the former has just taken,
 * so that where both would do (UDP ports that follow TCP ports found on either side) exactly one does.
 */
export const scanned = (c: ScanContext, read: Readonly<Record<'host' | 'ns', Listening>>): ScanContext => {
  const next = [...c.open]
  const ours = (direction: Direction, proto: Proto): PortSet => {
    const sets = [c.fixed[HERE[direction]][proto]]
    for (const [i, r] of c.rules.entries())
      if (r.scan && r.direction === direction && r.proto === proto)
        sets.push(c.open[i]!, c.closed[i]!, next[i]!)
    return unionPorts(...sets)
  }
  for (const direction of DIRECTIONS) {
    const back: Direction = direction === 'in' ? 'out' : 'in'
    let tcpFound = NO_PORTS
    for (const proto of PROTOS) {
      const rules = c.rules.filter((r) => r.scan && r.direction === direction && r.proto === proto)
      if (rules.length === 0) continue
      const oursThere = ours(back, proto)
      const listened = minusPorts(read[THERE[direction]][proto], oursThere)
      const leads = proto === 'tcp' ? listened : unionPorts(listened, minusPorts(tcpFound, oursThere))
      if (proto === 'tcp') tcpFound = within(listened, rules)
      const busy = minusPorts(read[HERE[direction]][proto], ours(direction, proto))
      const fromThere = (r: Rule): boolean => r.scan && r.direction === back && r.proto === proto
      const taboo = unionPorts(targets(c.rules, c.open, fromThere), targets(c.rules, next, fromThere))
      for (const [i, r] of c.rules.entries()) if (rules.includes(r)) next[i] = wantedOf(r, leads, busy, taboo)
    }
  }
  const each = (of: (s: PortSet, i: number) => PortSet): ReadonlyArray<PortSet> =>
    next.map((s, i) => (c.rules[i]!.scan ? of(s, i) : NO_PORTS))
  const closed = each((s, i) => minusPorts(c.open[i]!, s))
  const opened = each((s, i) => minusPorts(s, c.open[i]!))
  const failed = each((s, i) => minusPorts(c.failed[i]!, minusPorts(c.failed[i]!, s)))
  return {
    ...c,
    open: next,
    closed,
    failed,
    changes: { close: listOf(c.rules, closed), open: listOf(c.rules, opened) }
  }
}

// --- failures

type Failed = Omit<Extract<ScanEvent, { type: 'LISTENER_FAILED' }>, 'type'>

const setAt = <A>(list: ReadonlyArray<A>, index: number, a: A): ReadonlyArray<A> =>
  list.map((old, i) => (i === index ? a : old))

const forget = (c: ScanContext, e: Failed): Pick<ScanContext, 'open' | 'failed'> => {
  const gone = portSet(e.ports)
  return {
    open: setAt(c.open, e.rule, minusPorts(c.open[e.rule]!, gone)),
    failed: setAt(c.failed, e.rule, unionPorts(c.failed[e.rule]!, gone))
  }
}

/** A port is tried again at each scan, but complained about once. */
const complaint = ({ context: c, event: e }: { context: ScanContext; event: Failed }) => ({
  lines: failureLines(
    c.rules[e.rule]!,
    e.ports.filter((port) => !hasPort(c.failed[e.rule]!, port)).map((port) => ({ port, errno: e.errno }))
  )
})

// --- chart

type Inert<K> = (_: unknown, params: Omit<Extract<ScanEffect, { type: K }>, 'type'>) => void
const inert = (): void => {}
const scanActions: { readonly [K in ScanEffect['type']]: Inert<K> } = {
  ReadListeners: inert,
  CloseListeners: inert,
  OpenListeners: inert,
  ArmScanTimer: inert,
  Warn: inert
}
const inputOf = ({ event: e }: { event: Extract<ScanEvent, { type: 'RULES' }> }): ScanInput => ({
  rules: e.rules,
  failures: e.failures,
  open: e.open
})
const later = ({ event }: { event: { readonly now: Instant } }) => ({ at: instant(event.now + SCAN_PERIOD) })

/** Started if `scans(rules)`, with the listeners of all other rules open; reads at once. */
export const portScanMachine = setup({
  types: { context: {} as ScanContext, events: {} as ScanEvent, input: {} as ScanInput, meta: {} as Source },
  guards: {
    known: ({ context }, p: { rule: number }) => context.rules[p.rule]?.scan === true
  },
  actions: {
    ...scanActions,
    decide: assign(({ context }, p: { host: Listening; ns: Listening }) => scanned(context, p)),
    forget: assign(({ context }, p: Failed) => forget(context, p)),
    begin: assign((_, p: ScanInput) => initial(p))
  }
}).createMachine({
  id: 'port-scan',
  description:
    'Ports forwarded as `auto`: once a second, listen where somebody listens at the other side. `decide` says which listeners go and which come.',
  context: ({ input }) => initial(input),
  initial: 'reading',
  on: {
    LISTENER_FAILED: {
      guard: { type: 'known', params: ({ event }) => ({ rule: event.rule }) },
      actions: [
        { type: 'Warn', params: complaint },
        {
          type: 'forget',
          params: ({ event }) => ({ rule: event.rule, ports: event.ports, errno: event.errno })
        }
      ],
      meta: by('behaviour.md#port-forwarding')
    }
  },
  states: {
    reading: {
      description: "Waits for both sides' tables. A slow reader delays the next scan: scans never overlap.",
      entry: { type: 'ReadListeners', params: {} },
      on: {
        RULES: {
          actions: [
            { type: 'begin', params: inputOf },
            { type: 'ReadListeners', params: {} }
          ],
          meta: by('behaviour.md#live-rules')
        },
        SCANNED: {
          target: 'waiting',
          actions: [
            { type: 'decide', params: ({ event }) => ({ host: event.host, ns: event.ns }) },
            { type: 'CloseListeners', params: ({ context }) => ({ list: context.changes.close }) },
            { type: 'OpenListeners', params: ({ context }) => ({ list: context.changes.open }) },
            { type: 'ArmScanTimer', params: later }
          ],
          meta: by('behaviour.md#port-scan')
        },
        SCAN_FAILED: {
          target: 'waiting',
          actions: { type: 'ArmScanTimer', params: later },
          meta: by('ours: everything stays as it is until the next time')
        }
      }
    },
    waiting: {
      on: {
        TIMER_SCAN: { target: 'reading', meta: by('behaviour.md#port-scan') },
        RULES: {
          target: 'reading',
          actions: { type: 'begin', params: inputOf },
          meta: by('behaviour.md#live-rules')
        }
      }
    }
  }
})
