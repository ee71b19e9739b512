import * as E from 'fp-ts/lib/Either.js'
import { type RuleChange, ruleName } from '../../codecs/control/api.js'
import {
  CAP_DEVICE,
  CAP_SCAN,
  CAP_TCP,
  CAP_UDP,
  CAP_V4,
  CAP_V6,
  type ClientPart,
  CONF_RULES_MAX,
  type ConfRule,
  hasTarget,
  PIF,
  sameConfRule
} from '../../codecs/control/conf.js'
import { showRange } from '../../codecs/text/port-spec.js'
import {
  type InAny,
  isBroadcast4,
  isLoopback,
  isMulticast,
  isUnspecified,
  isV4,
  sameAddr,
  showAddr,
  UNSPECIFIED6
} from '../../codecs/value/inany.js'
import { bindsMeet, type Direction, type ForwardEnv, listensAtPath, type Rule } from './forward-rules.js'
import { endsKey } from './listener-changes.js'

// Rules as they are told at the control socket (codecs/control/conf.ts): in words, what they may be, and as rules of ours. Daemon and pesto
// hold to the same (behaviour.md#live-rules).

/** Sockets that the rules of one table may listen on. */
export const MAX_TABLE_PORTS = 5 * 65_536

// --- in words

const withTarget = (r: ConfRule, ports: string): string =>
  hasTarget(r) ? `${showAddr(r.target)}:${ports}` : ports

/** One line, as pesto(1) lists them; a blank stands behind the last port. */
export const showConfRule = (r: ConfRule): string => {
  const address = r.any ? '*' : showAddr(r.address)
  const ifname = r.ifname === '' ? '' : `%${r.ifname}`
  const to = withTarget(r, showRange({ first: r.to, last: r.to + r.last - r.first }))
  const marks = `${r.weak ? ' (best effort)' : ''}${r.scan ? ' (auto-scan)' : ''}`
  return `${r.proto.toUpperCase()} [${address}]${ifname}:${showRange(r)}  =>  ${to} ${marks}`
}

// --- what they may be

/** As a rule of ours has it. */
const bindOf = (r: ConfRule): InAny | null => (r.any ? null : r.address)
/** One port would have two owners. */
export const rulesConflict = (a: ConfRule, b: ConfRule): boolean =>
  a.proto === b.proto && a.first <= b.last && b.first <= a.last && bindsMeet(bindOf(a), bindOf(b))
/** Is this very rule one of them? */
export const hasRule = (list: ReadonlyArray<ConfRule>, r: ConfRule): boolean =>
  list.some((one) => sameConfRule(one, r))

const FAMILIES = [
  [CAP_V4, 'IPv4'],
  [CAP_V6, 'IPv6']
] as const

const targetFault = (r: ConfRule): string | null => {
  if (isMulticast(r.target) || isBroadcast4(r.target))
    return `Multicast target address ${showAddr(r.target)} for forwarding rule`
  if (!hasTarget(r)) return null
  const version = isV4(r.target) ? 'IPv4' : 'IPv6'
  const to = showAddr(r.target)
  if (r.any)
    return `Dual stack forward to ${version} address ${to} unsupported\nDid you mean ${isV4(r.target) ? '0.0.0.0' : '[::]'}/... instead?`
  return isV4(r.address) === isV4(r.target)
    ? null
    : `Forward from ${isV4(r.address) ? 'IPv4' : 'IPv6'} (${showAddr(r.address)}) to ${version} (${to}) unsupported`
}

/** What is wrong with a rule by itself, in lines; null: nothing. */
const ruleFault = (r: ConfRule, caps: number): string | null => {
  const proto = r.proto.toUpperCase()
  if (r.first > r.last) return `Forwarding rule with ports ${r.first}-${r.last}`
  if (r.first === 0) return 'Forwarding rule attempts to map from port 0'
  if (r.to === 0) return 'Forwarding rule attempts to map to port 0'
  if (r.to + r.last - r.first > 65535) return 'Forwarding rule leads to ports above 65535'
  if (r.any && !sameAddr(r.address, UNSPECIFIED6)) return 'Dual stack forward with an address'
  for (const [cap, name] of FAMILIES) {
    if ((caps & cap) !== 0) continue
    if (r.any) return `Dual stack forward, but ${name} not enabled`
    if (isV4(r.address) === (cap === CAP_V4)) return `${name} forward, but ${name} not enabled`
  }
  if ((caps & (r.proto === 'tcp' ? CAP_TCP : CAP_UDP)) === 0)
    return `Can't add ${proto} forwarding rule, ${proto} not enabled`
  return targetFault(r)
}

const portsOf = (rules: ReadonlyArray<ConfRule>): number =>
  rules.reduce((n, r) => n + r.last - r.first + 1, 0)

export type Added = E.Either<string, ReadonlyArray<ConfRule>>

const cannotAdd = (r: ConfRule, why: string): E.Either<string, never> =>
  E.left(`${why}\nUnable to add rule ${showConfRule(r)}`)

/** Which of them has one of its ports; null: none. */
const clash = (table: ReadonlyArray<ConfRule>, r: ConfRule): string | null => {
  const other = table.find((old) => rulesConflict(old, r))
  return other === undefined
    ? null
    : `Forwarding configuration conflict: ${showConfRule(r)} versus ${showConfRule(other)}`
}
/** Is it too large? */
const excess = (table: ReadonlyArray<ConfRule>): string | null =>
  table.length > CONF_RULES_MAX
    ? `More than ${CONF_RULES_MAX} rules`
    : portsOf(table) > MAX_TABLE_PORTS
      ? 'Too many listening sockets'
      : null

/**
 * A table with one more rule; the very same rule again changes nothing. Left: lines for people, and nothing is changed: a port that is
 * taken, what the daemon's capabilities (CAP_*) do not allow, a table that is full.
 */
export const addRule = (table: ReadonlyArray<ConfRule>, r: ConfRule, caps: number): Added => {
  const wrong = ruleFault(r, caps)
  if (wrong !== null) return cannotAdd(r, wrong)
  if (hasRule(table, r)) return E.right(table)
  const more = [...table, r]
  const why = clash(table, r) ?? excess(more)
  return why === null ? E.right(more) : cannotAdd(r, why)
}

/** A table without a rule, all of whose octets are the same. Left: lines for people. */
export const deleteRule = (table: ReadonlyArray<ConfRule>, r: ConfRule): Added => {
  if (hasRule(table, r)) return E.right(table.filter((old) => !sameConfRule(old, r)))
  const shown = showConfRule(r)
  const other = table.find((old) => rulesConflict(old, r))
  const why =
    other === undefined
      ? `Couldn't find forwarding rule to delete: ${shown}`
      : `Specifier ${shown} conflicts with rule ${showConfRule(other)}, but doesn't match it, can't delete`
  return E.left(`${why}\nUnable to delete rule ${shown}`)
}

// --- as rules of ours

export type ConfEnv = Pick<ForwardEnv, 'mode' | 'tcp' | 'udp' | 'v4' | 'v6'>
export const capabilitiesOf = (e: ConfEnv): number =>
  (e.v4 ? CAP_V4 : 0) |
  (e.v6 ? CAP_V6 : 0) |
  (e.tcp ? CAP_TCP : 0) |
  (e.udp ? CAP_UDP : 0) |
  (e.mode === 'pasta' ? CAP_SCAN : 0) |
  CAP_DEVICE

interface TableOf {
  readonly pif: number
  readonly name: string
  readonly direction: Direction
}
const HOST: TableOf = { pif: PIF.HOST, name: 'HOST', direction: 'in' }
const SPLICE: TableOf = { pif: PIF.SPLICE, name: 'SPLICE', direction: 'out' }
/** In the order in which they are told. */
export const tablesOf = (mode: ConfEnv['mode']): ReadonlyArray<TableOf> =>
  mode === 'passt' ? [HOST] : [HOST, SPLICE]

const confRules = new WeakMap<Rule, ConfRule>()
/** Always the same one of the same rule: whatever changes, most rules stay, and are known again at once. */
export const toConfRule = (r: Rule): ConfRule => {
  const known = confRules.get(r)
  if (known !== undefined) return known
  const made: ConfRule = {
    address: r.bind ?? UNSPECIFIED6,
    target: r.toAddress ?? UNSPECIFIED6,
    ifname: r.ifname ?? '',
    first: r.first,
    last: r.last,
    to: r.to,
    proto: r.proto,
    any: r.bind === null,
    weak: r.weak,
    scan: r.scan
  }
  confRules.set(r, made)
  return made
}
/** `spec`: the rule's own number, since what belongs together is not told. */
export const ofConfRule = (r: ConfRule, direction: Direction, spec: number): Rule => ({
  proto: r.proto,
  direction,
  bind: bindOf(r),
  v6only: !r.any && !isV4(r.address),
  ifname: r.ifname === '' ? null : r.ifname,
  first: r.first,
  last: r.last,
  to: r.to,
  toAddress: hasTarget(r) ? r.target : null,
  weak: r.weak,
  scan: r.scan,
  spec,
  given: null,
  unix: null
})

/** Rules by table, in the order of tablesOf(). */
export type Tables = ReadonlyArray<ReadonlyArray<ConfRule>>

/** A path to listen at has no words there. */
export const isTold = (r: Rule): boolean => listensAtPath(r) === null
/** Nor has it words for a socket that we were started with, or for a path that a port leads to: these are told as if they were usual ones. */
export const isFixed = (r: Rule): boolean => r.given !== null || r.unix !== null

/** As a client tells them. */
export const partOf = (rules: ReadonlyArray<Rule>, mode: ConfEnv['mode']): ClientPart =>
  tablesOf(mode).map(({ pif, direction }) => ({
    pif,
    rules: rules.filter((r) => r.direction === direction && isTold(r)).map(toConfRule)
  }))
export const toTables = (rules: ReadonlyArray<Rule>, mode: ConfEnv['mode']): Tables =>
  partOf(rules, mode).map((b) => b.rules)
/** What a client tells, by table; what it tells of others is left out. */
export const tablesIn = (part: ClientPart, mode: ConfEnv['mode']): Tables =>
  tablesOf(mode).map(({ pif }) => part.filter((b) => b.pif === pif).flatMap((b) => b.rules))

/** Listeners in the namespace are there for its loopback only. */
const elsewhere = (r: ConfRule): boolean =>
  (r.ifname !== '' && r.ifname !== 'lo') || !(r.any || isUnspecified(r.address) || isLoopback(r.address))

const addNew = (
  e: ConfEnv,
  table: ReadonlyArray<ConfRule>,
  r: ConfRule,
  caps: number,
  direction: Direction,
  name: string
): Added => {
  if (r.scan && e.mode === 'passt') return cannotAdd(r, "'auto' is for pasta only")
  if (direction === 'out' && elsewhere(r))
    return cannotAdd(r, `Listening address not allowed in table ${name}`)
  return addRule(table, r, caps)
}

/**
 * What the words of the control socket cannot say, so that no client can have it anew: it stays, whatever clients want. Of those that are
 * told, the ones that nobody asks for.
 */
export const keptFrom = (
  wanted: Tables,
  old: ReadonlyArray<Rule>,
  mode: ConfEnv['mode']
): ReadonlyArray<Rule> =>
  old.filter((r) => {
    const i = tablesOf(mode).findIndex(({ direction }) => direction === r.direction)
    return isFixed(r) && isTold(r) && !hasRule(wanted[i] ?? [], toConfRule(r))
  })

/**
 * Rules of ours for what somebody wants to have in place of `old`: what stays the same stays the very rule that it was, and so do sockets
 * that we were started with. Left: lines for people, and nothing is to change.
 */
export const ofTables = (
  e: ConfEnv,
  wanted: Tables,
  old: ReadonlyArray<Rule>
): E.Either<string, ReadonlyArray<Rule>> => {
  const caps = capabilitiesOf(e)
  const out: Rule[] = []
  const kept = keptFrom(wanted, old, e.mode)
  for (const [i, { direction, name }] of tablesOf(e.mode).entries()) {
    const before = new Map(
      old.filter((r) => r.direction === direction && isTold(r)).map((r) => [toConfRule(r), r])
    )
    /** As it was told, if it was there. */
    const was = (r: ConfRule): ConfRule | undefined =>
      before.has(r) ? r : [...before.keys()].find((one) => sameConfRule(one, r))
    const table = kept.filter((r) => r.direction === direction).map(toConfRule)
    const there = new Set(table)
    const fresh: ConfRule[] = []
    for (const r of wanted[i] ?? []) {
      const old = was(r)
      if (old === undefined) {
        const next = addNew(e, table, r, caps, direction, name)
        if (E.isLeft(next)) return next
        if (next.right === table) continue
        fresh.push(r)
        table.push(r)
      } else {
        // In the way of nothing that was there, and it may be more than a client's: the command line's
        if (there.has(old)) continue
        const why = clash(fresh, old)
        if (why !== null) return cannotAdd(old, why)
        there.add(old)
        table.push(old)
      }
    }
    const tooMuch = fresh.length > 0 ? excess(table) : null
    if (tooMuch !== null) return cannotAdd(fresh[fresh.length - 1]!, tooMuch)
    for (const r of table) out.push(before.get(r) ?? ofConfRule(r, direction, SPEC_OF_CLIENTS))
  }
  out.push(...old.filter((r) => !isTold(r)))
  return E.right(numbered(out))
}

const SPEC_OF_CLIENTS = -1
/**
 * Numbers of specifications that nobody else has. What a client says does not tell which rules one specification made. Of best-effort ones,
 * as `all` makes several, those of one address belong together: some ports have to work, and not some of each range.
 */
const numbered = (rules: ReadonlyArray<Rule>): ReadonlyArray<Rule> => {
  let next = rules.reduce((n, r) => Math.max(n, r.spec), -1) + 1
  const together = new Map<string, number>()
  return rules.map((r) => {
    if (r.spec !== SPEC_OF_CLIENTS) return r
    const key = r.weak && !r.scan ? endsKey(r) : `${next}`
    const spec = together.get(key) ?? next++
    together.set(key, spec)
    return { ...r, spec }
  })
}

/**
 * What the API is asked for (codecs/control/api.ts), in place of `now`. A string: why that cannot be: noRule(), or it is about a table that there
 * is not.
 */
export const changedBy = (c: RuleChange, mode: ConfEnv['mode'], now: Tables): Tables | string => {
  const tables = tablesOf(mode)
  const named = now.map((rules, i) => rules.map((r) => ruleName(r, tables[i]!.direction)))
  const missing = c.remove.find((name) => !named.some((names) => names.includes(name)))
  if (missing !== undefined) return noRule(missing)
  if (c.add.some((b) => !tables.some(({ pif }) => pif === b.pif)))
    return 'Nothing listens in a guest of passt'
  const gone = new Set([...c.remove, ...c.replace])
  return tablesIn(c.add, mode).map((added, i) => {
    const there = now[i] ?? []
    const kept = there.filter((r, k) => !gone.has(named[i]![k]!) || hasRule(added, r))
    return [...kept, ...added.filter((r) => !hasRule(there, r))]
  })
}
export const noRule = (name: string): string => `There is no rule ${name}`

/**
 * What a client asked for when it knew of `base`, where others have made `now` of that meanwhile: what it added is added, what it took
 * away is taken away. So of clients that come at once none undoes what another one did; each is as if it had come alone, one after the other.
 */
export const merged = (base: Tables, asked: Tables, now: Tables): Tables =>
  now.map((table, i) => {
    const [before = [], after = []] = [base[i], asked[i]]
    if (table.length === before.length && table.every((r, k) => sameConfRule(r, before[k]!))) return after
    const kept = table.filter((r) => !hasRule(before, r) || hasRule(after, r))
    return [...kept, ...after.filter((r) => !hasRule(before, r))]
  })
