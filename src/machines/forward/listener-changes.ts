import { showAddr } from '../../codecs/value/inany.js'
import {
  addPort,
  emptyPorts,
  minusPorts,
  type PortSet,
  portsIn,
  unionPorts
} from '../../codecs/value/port-set.js'
import { bindsMeet, listensAtPath, type Rule } from './forward-rules.js'

// From the listeners that there are to those of other rules (behaviour.md#live-rules). A socket that both have stays, with all that waits
// there, whichever rule it belongs to. New ones are opened before old ones are closed, but for those that would be in each other's way.

/** Where something listens, but for the port. */
export type Ends = Pick<Rule, 'proto' | 'direction' | 'bind' | 'v6only' | 'ifname' | 'unix'>
export const endsKey = (e: Ends): string =>
  `${e.proto} ${e.direction} ${e.bind === null ? '*' : showAddr(e.bind)}${e.v6only ? ' v6only' : ''} ${e.ifname ?? ''}${listensAtPath(e) ?? ''}`

/** What listens at these ends. */
export interface Open {
  readonly ends: Ends
  readonly ports: PortSet
}
/** By endsKey. */
export type OpenListeners = ReadonlyMap<string, Open>

export interface EndsPorts {
  readonly ends: Ends
  readonly ports: ReadonlyArray<number>
}
export interface RuleOpening {
  /** Index into the new rules. */
  readonly rule: number
  readonly ports: ReadonlyArray<number>
}
export interface ListenerChanges {
  /** Can be opened while everything else listens. */
  readonly open: ReadonlyArray<RuleOpening>
  /** Listens where others are to listen: closed first, and opened again if those cannot be had. */
  readonly inTheWay: ReadonlyArray<EndsPorts>
  /** Can be opened then. */
  readonly late: ReadonlyArray<RuleOpening>
  /** Closed when all others listen. */
  readonly close: ReadonlyArray<EndsPorts>
}

const portsOf = (r: Rule): PortSet => {
  const s = emptyPorts()
  for (let p = r.first; p <= r.last; p++) addPort(s, p)
  return s
}
const both = (a: PortSet, b: PortSet): PortSet => minusPorts(a, minusPorts(a, b))
const isNone = (s: PortSet): boolean => s.every((w) => w === 0)

/** Two sockets of one process cannot have the same port there. */
const endsMeet = (a: Ends, b: Ends): boolean =>
  a.proto === b.proto &&
  a.direction === b.direction &&
  listensAtPath(a) === null &&
  listensAtPath(b) === null &&
  bindsMeet(a.bind, b.bind)

/**
 * Indices of rules in the order in which their ports are opened: what is to work comes before that of which what can be had is enough.
 * Where descriptors run out, `all` gets what the others leave.
 */
export const openingOrder = (rules: ReadonlyArray<Rule>): ReadonlyArray<number> =>
  [...rules.keys()].sort((a, b) => Number(rules[a]!.weak) - Number(rules[b]!.weak))

/**
 * What to do about listeners where `rules` are to count. Rules that scan open nothing here, and keep what is open.
 * Law: applied to what is open, it leaves what a start with `rules` would have opened, and of rules that scan what was open before.
 */
export const listenerChanges = (open: OpenListeners, rules: ReadonlyArray<Rule>): ListenerChanges => {
  const wanted = new Map<string, PortSet>()
  const fresh: { readonly rule: number; readonly ports: PortSet }[] = []
  for (const i of openingOrder(rules)) {
    const r = rules[i]!
    const key = endsKey(r)
    const ports = portsOf(r)
    wanted.set(key, unionPorts(wanted.get(key) ?? emptyPorts(), ports))
    // At a path it listens from the start on
    if (!r.scan && listensAtPath(r) === null)
      fresh.push({ rule: i, ports: minusPorts(ports, open.get(key)?.ports ?? emptyPorts()) })
  }
  const closing = [...open].flatMap(([key, { ends, ports }]) => {
    const gone = minusPorts(ports, wanted.get(key) ?? emptyPorts())
    return isNone(gone) ? [] : [{ ends, ports: gone, early: emptyPorts() }]
  })
  const early: RuleOpening[] = []
  const late: RuleOpening[] = []
  for (const { rule, ports } of fresh) {
    let blocked = emptyPorts()
    for (const c of closing) {
      if (!endsMeet(c.ends, rules[rule]!)) continue
      const shared = both(ports, c.ports)
      blocked = unionPorts(blocked, shared)
      for (const [w, bits] of shared.entries()) c.early[w]! |= bits
    }
    const free = portsIn(minusPorts(ports, blocked))
    if (free.length > 0) early.push({ rule, ports: free })
    if (!isNone(blocked)) late.push({ rule, ports: portsIn(blocked) })
  }
  const list = (pick: (c: (typeof closing)[number]) => PortSet): ReadonlyArray<EndsPorts> =>
    closing.flatMap((c) => {
      const ports = portsIn(pick(c))
      return ports.length === 0 ? [] : [{ ends: c.ends, ports }]
    })
  return {
    open: early,
    inTheWay: list((c) => c.early),
    late,
    close: list((c) => minusPorts(c.ports, c.early))
  }
}

/** The rule whose listener this is; undefined: nobody's. */
export const ruleOf = (rules: ReadonlyArray<Rule>, key: string, port: number): number | undefined => {
  const i = rules.findIndex((r) => r.first <= port && port <= r.last && endsKey(r) === key)
  return i < 0 ? undefined : i
}
/** Ports at the ends of a rule that are open. */
export const openOf = (open: OpenListeners, r: Rule): PortSet => {
  const there = open.get(endsKey(r))
  return there === undefined ? emptyPorts() : both(portsOf(r), there.ports)
}
