import { showAddr } from '../../codecs/value/inany.js'
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
  portsNotIn
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
  const fresh: RuleOpening[] = []
  for (const i of openingOrder(rules)) {
    const r = rules[i]!
    const key = endsKey(r)
    const its = wanted.get(key) ?? emptyPorts()
    wanted.set(key, its)
    addPorts(its, r.first, r.last)
    // At a path it listens from the start on
    if (r.scan || listensAtPath(r) !== null) continue
    const ports = portsNotIn(open.get(key)?.ports ?? NO_PORTS, r.first, r.last)
    if (ports.length > 0) fresh.push({ rule: i, ports })
  }
  const closing = [...open].flatMap(([key, { ends, ports }]) => {
    const gone = minusPorts(ports, wanted.get(key) ?? NO_PORTS)
    return gone.some((w) => w !== 0) ? [{ ends, ports: gone, early: emptyPorts() }] : []
  })
  const early: RuleOpening[] = []
  const late: RuleOpening[] = []
  for (const { rule, ports } of fresh) {
    const meets = closing.filter((c) => endsMeet(c.ends, rules[rule]!))
    const free: number[] = []
    const blocked: number[] = []
    for (const p of ports) {
      const there = meets.filter((c) => hasPort(c.ports, p))
      for (const c of there) addPort(c.early, p)
      ;(there.length > 0 ? blocked : free).push(p)
    }
    if (free.length > 0) early.push({ rule, ports: free })
    if (blocked.length > 0) late.push({ rule, ports: blocked })
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
export const openOf = (open: OpenListeners, r: Rule): PortSet =>
  portSet(portsIn(open.get(endsKey(r))?.ports ?? NO_PORTS, r.first, r.last))
