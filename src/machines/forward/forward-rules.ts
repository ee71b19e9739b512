import * as E from 'fp-ts/lib/Either.js'
import {
  type FdSpec,
  type PortRange,
  PortSpec,
  type ToUnixSpec,
  type UnixSpec
} from '../../codecs/text/port-spec.js'
import {
  type InAny,
  isUnspecified,
  isV4,
  LOOPBACK4,
  LOOPBACK6,
  sameAddr,
  showAddr,
  UNSPECIFIED4,
  UNSPECIFIED6
} from '../../codecs/value/inany.js'
import type { Given, GivenSocket } from './given-sockets.js'

// What the port options of the command line mean, once the host is known: rules, each a contiguous range of ports to
// listen on and where it leads (behaviour.md#port-forwarding). Mapping within a rule is a bijection, and
// nothing ever inverts it: flows know both of their ports (#regression-23).

export type Proto = 'tcp' | 'udp'
/** in: listen on the host, lead to the guest (-t, -u). out: listen in the namespace, lead to the host (-T, -U). */
export type Direction = 'in' | 'out'

export interface Rule {
  readonly proto: Proto
  readonly direction: Direction
  /** null: any, by one dual-stack socket: :: with IPV6_V6ONLY off. */
  readonly bind: InAny | null
  /** IPV6_V6ONLY; false for IPv4. */
  readonly v6only: boolean
  /** SO_BINDTODEVICE, and the scope of a link-local `bind`. */
  readonly ifname: string | null
  readonly first: number
  readonly last: number
  /** Where port `first` leads; port p leads to `to + p - first`, 1..65535. */
  readonly to: number
  /** Instead of the guest's or the host's usual address. */
  readonly toAddress: InAny | null
  /** A port that cannot be bound is a warning, unless none of its specification can: see bind-verdict.ts. */
  readonly weak: boolean
  /** Listen only while somebody listens at the other side: see port-scan.ts. */
  readonly scan: boolean
  /** Index of the specification among those of the same protocol and direction. */
  readonly spec: number
  /** It listens by a socket that we were started with, of this number or name; null: by one of ours. */
  readonly given: string | null
  /**
   * A UNIX stream socket of the host, TCP only: `in`: it listens there, at port 0, which is none; `out`: it leads there. null: neither.
   */
  readonly unix: UnixEnd | null
}
export interface UnixEnd {
  readonly path: string
  /** Of a path that a rule leads to: see unixTargets(). */
  readonly number: number
}

/** Does it forward what comes to this port of ours, whether or not it listens there now? */
export const covers = (r: Rule, proto: Proto, direction: Direction, addr: InAny, port: number): boolean =>
  r.proto === proto &&
  r.direction === direction &&
  r.first <= port &&
  port <= r.last &&
  (r.bind === null || (isUnspecified(r.bind) ? isV4(r.bind) === isV4(addr) : sameAddr(r.bind, addr)))

export interface ForwardEnv {
  readonly mode: 'passt' | 'pasta'
  /** false: --no-tcp, --no-udp */
  readonly tcp: boolean
  readonly udp: boolean
  /** net.ipv4.ip_local_port_range where we start; DEFAULT_EPHEMERAL if unreadable. */
  readonly ephemeral: PortRange
  /** IP versions wanted and there. */
  readonly v4: boolean
  readonly v6: boolean
  /** SO_BINDTODEVICE works (unprivileged since Linux 5.7). */
  readonly bindToDevice: boolean
  /** Sockets that we were started with. */
  readonly given: Given
}

/** As given, in order; nothing given is an empty list, and not the same as `none`. */
export type PortOptions = Readonly<Record<'tcpIn' | 'udpIn' | 'tcpOut' | 'udpOut', ReadonlyArray<PortSpec>>>

export interface Forwarding {
  readonly rules: ReadonlyArray<Rule>
  readonly warnings: ReadonlyArray<string>
}

/** RFC 6335 §6 */
export const DEFAULT_EPHEMERAL: PortRange = { first: 49152, last: 65535 }
/** Rules of one direction, and sockets that those of one protocol may listen on. */
export const MAX_RULES = 255
export const MAX_LISTENERS = 196_608
const MAX_PORT = 65535

type Key = keyof PortOptions
type Ports = Extract<PortSpec, { kind: 'ports' }>
interface Place {
  readonly key: Key
  readonly option: string
  readonly proto: Proto
  readonly direction: Direction
}
const PLACES: ReadonlyArray<Place> = [
  { key: 'tcpIn', option: '--tcp-ports', proto: 'tcp', direction: 'in' },
  { key: 'udpIn', option: '--udp-ports', proto: 'udp', direction: 'in' },
  { key: 'tcpOut', option: '--tcp-ns', proto: 'tcp', direction: 'out' },
  { key: 'udpOut', option: '--udp-ns', proto: 'udp', direction: 'out' }
]

// --- ranges

/** What is left of `r`, ascending. */
export const without = (r: PortRange, holes: ReadonlyArray<PortRange>): ReadonlyArray<PortRange> => {
  const sorted = [...holes].sort((a, b) => a.first - b.first)
  const out: PortRange[] = []
  let first = r.first
  for (const h of sorted) {
    if (h.first > r.last) break
    if (h.first > first) out.push({ first, last: h.first - 1 })
    first = Math.max(first, h.last + 1)
  }
  return first <= r.last ? [...out, { first, last: r.last }] : out
}

type Run = Pick<Rule, 'first' | 'last' | 'to' | 'toAddress' | 'weak'>

/** A specification's contiguous ranges. Ephemeral ports are left out of what nobody named (`all`), not of what was. */
const runsOf = (s: Ports, ephemeral: PortRange): ReadonlyArray<Run> => {
  const named = s.items.flatMap((i) =>
    without(i.from, s.excluded).map(
      (r): Run => ({ ...r, to: i.to + r.first - i.from.first, toAddress: i.address, weak: false })
    )
  )
  if (!s.all) return named
  const rest = without({ first: 1, last: MAX_PORT }, [...s.excluded, ephemeral])
  return [...named, ...rest.map((r): Run => ({ ...r, to: r.first, toAddress: s.allAddress, weak: true }))]
}

// --- one specification

type Ends = Pick<Rule, 'bind' | 'v6only' | 'ifname'>

const anyAddress = (env: ForwardEnv): Pick<Ends, 'bind' | 'v6only'> =>
  env.v4 && env.v6
    ? { bind: null, v6only: false }
    : env.v4
      ? { bind: UNSPECIFIED4, v6only: false }
      : { bind: UNSPECIFIED6, v6only: true }

/**
 * Listeners in the namespace are there for its loopback only: by device, so that 127/8 is included; by address where
 * that is not allowed, each IP version by itself (#regression-88: either may be missing).
 */
const loopbackEnds = (env: ForwardEnv): ReadonlyArray<Ends> =>
  env.bindToDevice
    ? [{ ...anyAddress(env), ifname: 'lo' }]
    : [
        ...(env.v4 ? [{ bind: LOOPBACK4, v6only: false, ifname: null }] : []),
        ...(env.v6 ? [{ bind: LOOPBACK6, v6only: true, ifname: null }] : [])
      ]

/** Where it listens, whatever may be wrong with that. */
const endsOf = (env: ForwardEnv, p: Place, s: Ports): ReadonlyArray<Ends> => {
  if (p.direction === 'out') return loopbackEnds(env)
  return s.bind === null
    ? [{ ...anyAddress(env), ifname: s.ifname }]
    : [{ bind: s.bind, v6only: !isV4(s.bind), ifname: s.ifname }]
}

/**
 * `auto` without a namespace; an address, or an interface, where none is allowed; an interface that cannot be bound to; a socket that is
 * no port of ours, where there are none.
 */
export type SpecFault = 'auto' | 'address' | 'device' | 'socket'
const faultOf = (env: ForwardEnv, p: Place, s: Ports): SpecFault | null => {
  if (s.auto && env.mode === 'passt') return 'auto'
  if (p.direction === 'out' && (s.bind !== null || s.ifname !== null)) return 'address'
  return s.ifname !== null && !env.bindToDevice ? 'device' : null
}
const faultText = (fault: SpecFault, s: Ports): string => {
  switch (fault) {
    case 'auto':
      return "'auto' is for pasta only"
    case 'address':
      return 'no listening address or interface is allowed here'
    case 'device':
      return `cannot listen on interface ${s.ifname} only: not allowed, or Linux older than 5.7`
    case 'socket':
      return 'neither descriptors nor paths are allowed here'
  }
}

const ruleOf = (p: Place, s: Ports, e: Ends, run: Run, spec: number): Rule => ({
  proto: p.proto,
  direction: p.direction,
  ...e,
  ...run,
  scan: s.auto,
  spec,
  given: null,
  unix: null
})

/** The IP version in which clients come decides which targets they can be led to. A dual-stack socket is an IPv6 one. */
const badTarget = (ends: Ends, run: Run): string | null => {
  if (run.toAddress === null) return null
  const v4 = ends.bind !== null && isV4(ends.bind)
  if (v4 === isV4(run.toAddress)) return null
  const hint = ends.bind === null ? ': give a listening address too, as in 0.0.0.0/8000:192.0.2.1/80' : ''
  return `target ${showAddr(run.toAddress)} is not of the listening address' IP version${hint}`
}

const rulesOf = (
  env: ForwardEnv,
  p: Place,
  s: Ports,
  spec: number
): E.Either<string, ReadonlyArray<Rule>> => {
  const fault = faultOf(env, p, s)
  if (fault !== null) return E.left(faultText(fault, s))
  if (s.bind !== null && !(isV4(s.bind) ? env.v4 : env.v6))
    return E.left(`listening address ${showAddr(s.bind)}, but IPv${isV4(s.bind) ? 4 : 6} is switched off`)
  const runs = runsOf(s, env.ephemeral)
  if (runs.length === 0 && !s.auto) return E.left('no port is left')
  const out: Rule[] = []
  for (const e of endsOf(env, p, s))
    for (const run of runs) {
      // a namespace's loopback may be led anywhere on the host
      const bad = p.direction === 'in' ? badTarget(e, run) : null
      if (bad !== null) return E.left(bad)
      out.push(ruleOf(p, s, e, run, spec))
    }
  return E.right(out)
}

const givenRule = (p: Place, s: FdSpec, g: GivenSocket, spec: number): Rule => ({
  proto: p.proto,
  direction: p.direction,
  bind: g.bind,
  v6only: g.v6only,
  ifname: g.ifname,
  first: g.port,
  last: g.port,
  to: s.to,
  toAddress: s.address,
  weak: false,
  scan: false,
  spec,
  given: `${s.fd}`,
  unix: null
})

/** One for each socket of that name which is of the protocol. */
const givenRules = (
  env: ForwardEnv,
  p: Place,
  s: FdSpec,
  spec: number
): E.Either<string, ReadonlyArray<Rule>> => {
  if (p.direction === 'out') return E.left('sockets by descriptor are for -t and -u only')
  const sockets = env.given.get(`${s.fd}`) ?? []
  if (sockets.length === 0) return E.left('we were started without such a descriptor')
  const out: Rule[] = []
  for (const g of sockets) {
    if (E.isLeft(g)) return g
    if (g.right.proto !== p.proto) continue
    const { bind } = g.right
    const v4 = bind !== null && isV4(bind)
    const off = bind === null ? !env.v4 && !env.v6 : !(v4 ? env.v4 : env.v6)
    if (off) return E.left(`it is a socket of IPv${v4 ? 4 : 6}, which is switched off`)
    if (s.address !== null && v4 !== isV4(s.address))
      return E.left(`target ${showAddr(s.address)} is not of the socket's IP version`)
    out.push(givenRule(p, s, g.right, spec))
  }
  return out.length > 0 ? E.right(out) : E.left(`it is no ${p.proto.toUpperCase()} socket`)
}

/** Paths that rules lead to, each once: the launcher knows them by their numbers in this order. */
export const unixTargets = ({ tcpOut }: PortOptions): ReadonlyArray<string> => [
  ...new Set(tcpOut.flatMap((s) => (s.kind === 'to-unix' ? [s.path] : [])))
]
/** The path of a rule that listens at one. */
export const listensAtPath = (r: Pick<Rule, 'direction' | 'unix'>): string | null =>
  r.direction === 'in' ? (r.unix?.path ?? null) : null

const unixRules = (
  env: ForwardEnv,
  p: Place,
  s: UnixSpec | ToUnixSpec,
  spec: number,
  targets: ReadonlyArray<string>
): E.Either<string, ReadonlyArray<Rule>> => {
  if (p.proto === 'udp') return E.left('a UNIX stream socket is for TCP')
  if (env.mode === 'passt') return E.left('UNIX sockets are for pasta only')
  const common = { proto: p.proto, direction: p.direction, weak: false, scan: false, spec, given: null }
  if (s.kind === 'unix')
    return p.direction === 'out'
      ? E.left(
          'a UNIX socket in the namespace cannot be listened at; PORT:unix:PATH leads to one of the host'
        )
      : E.right([
          {
            ...common,
            bind: null,
            v6only: false,
            ifname: null,
            first: 0,
            last: 0,
            to: s.to,
            toAddress: s.address,
            unix: { path: s.path, number: 0 }
          }
        ])
  if (p.direction === 'in') return E.left('a port of the host does not lead to a UNIX socket of the host')
  const ends = { first: s.port, last: s.port, to: s.port, toAddress: null }
  const unix = { path: s.path, number: targets.indexOf(s.path) }
  return E.right(loopbackEnds(env).map((e): Rule => ({ ...common, ...e, ...ends, unix })))
}

/** The rules of one specification, whatever else may be wrong with them. */
export const specRules = (
  env: ForwardEnv,
  key: keyof PortOptions,
  s: Exclude<PortSpec, { readonly kind: 'none' }>,
  spec: number
): E.Either<SpecFault, ReadonlyArray<Rule>> => {
  if (s.kind !== 'ports') return E.left('socket')
  const place = PLACES.find((p) => p.key === key)!
  const fault = faultOf(env, place, s)
  if (fault !== null) return E.left(fault)
  const ends = endsOf(env, place, s)
  return E.right(runsOf(s, env.ephemeral).flatMap((run) => ends.map((e) => ruleOf(place, s, e, run, spec))))
}

// --- all of one option

/** Some address is meant by both. Interfaces do not make a difference: one socket would shadow the other. */
export const bindsMeet = (a: InAny | null, b: InAny | null): boolean => {
  if (a === null || b === null || sameAddr(a, b)) return true
  return isV4(a) === isV4(b) && (isUnspecified(a) || isUnspecified(b))
}

const overlap = (rules: ReadonlyArray<Rule>): string | null => {
  for (const [i, a] of rules.entries())
    for (const b of rules.slice(0, i)) {
      const path = listensAtPath(a)
      if (path !== null && path === listensAtPath(b)) return `path ${path} given twice`
      if (path !== null || listensAtPath(b) !== null) continue
      const first = Math.max(a.first, b.first)
      if (first <= Math.min(a.last, b.last) && bindsMeet(a.bind, b.bind)) return `port ${first} given twice`
    }
  return null
}

const AUTO: PortSpec = {
  kind: 'ports',
  bind: null,
  ifname: null,
  auto: true,
  all: true,
  allAddress: null,
  items: [],
  excluded: []
}
/** By default, passt forwards nothing, pasta what is listened on. */
const given = (env: ForwardEnv, specs: ReadonlyArray<PortSpec>): ReadonlyArray<PortSpec> =>
  specs.length > 0 ? specs : env.mode === 'pasta' ? [AUTO] : []

const placeRules = (
  env: ForwardEnv,
  options: PortOptions,
  p: Place
): E.Either<string, ReadonlyArray<Rule>> => {
  if (!env[p.proto]) {
    const wanted = options[p.key].some((s) => s.kind !== 'none')
    return wanted ? E.left(`${p.option}: but --no-${p.proto}`) : E.right([])
  }
  const out: Rule[] = []
  const specs = given(env, options[p.key])
  for (const [i, s] of specs.entries()) {
    const say = (why: string): string => `${p.option} ${PortSpec.encode(s)}: ${why}`
    if (s.kind === 'none') {
      if (specs.slice(0, i).some((before) => before.kind !== 'none'))
        return E.left(say("'none' behind other ports"))
      continue
    }
    if (p.direction === 'out' && env.mode === 'passt') return E.left(say('for pasta only'))
    const rules =
      s.kind === 'ports'
        ? rulesOf(env, p, s, i)
        : s.kind === 'fd'
          ? givenRules(env, p, s, i)
          : unixRules(env, p, s, i, unixTargets(options))
    if (E.isLeft(rules)) return E.left(say(rules.left))
    out.push(...rules.right)
    if (out.length > MAX_RULES) return E.left(say(`more than ${MAX_RULES} ranges of ports`))
    const double = overlap(out)
    if (double !== null) return E.left(say(double))
  }
  const ports = out.reduce((n, r) => n + r.last - r.first + 1, 0)
  return ports > MAX_LISTENERS
    ? E.left(`${p.option}: ${ports} ports to listen on, at most ${MAX_LISTENERS} are possible`)
    : E.right(out)
}

/**
 * Port options, defaults included, as rules. Left: one line, names the option: an address of an IP version that is
 * switched off, a port given twice for one address (two rules would fight for a socket), too many ranges, and the rest
 * of behaviour.md#port-forwarding that a specification alone does not show.
 * Law: for each protocol, direction and local address, at most one rule has a port.
 */
export const forwardRules = (env: ForwardEnv, options: PortOptions): E.Either<string, Forwarding> => {
  const rules: Rule[] = []
  for (const p of PLACES) {
    const some = placeRules(env, options, p)
    if (E.isLeft(some)) return some
    rules.push(...some.right)
    // Both protocols share a table at the control socket
    if (rules.filter((r) => r.direction === p.direction).length > MAX_RULES)
      return E.left(`${p.option}: more than ${MAX_RULES} ranges of ports, TCP and UDP together`)
  }
  const degraded = !env.bindToDevice && rules.some((r) => r.direction === 'out')
  const warnings = degraded
    ? ['cannot bind to an interface: the namespace reaches forwarded ports at 127.0.0.1 and ::1 only']
    : []
  // As they stand behind others that clients can see (conf-rules.ts)
  const ordered = [
    ...rules.filter((r) => listensAtPath(r) === null),
    ...rules.filter((r) => listensAtPath(r) !== null)
  ]
  return E.right({ rules: ordered, warnings })
}

// --- using them

/** Where `port`, which is one of the rule's, leads. */
export const targetOf = (r: Rule, port: number): number => r.to + port - r.first

/** Whether a socket of this rule hears what comes to a local address of this kind. */
export const listensOn = (r: Rule, localAddr: InAny): boolean => {
  if (r.bind === null || sameAddr(r.bind, localAddr)) return true
  return isUnspecified(r.bind) && isV4(r.bind) === isV4(localAddr)
}

/** The rule by which something came to a local address and port, null if there is none (any more). */
export const ruleFor = (
  rules: ReadonlyArray<Rule>,
  proto: Proto,
  direction: Direction,
  localAddr: InAny,
  port: number
): Rule | null =>
  rules.find(
    (r) =>
      r.proto === proto &&
      r.direction === direction &&
      r.first <= port &&
      port <= r.last &&
      listensOn(r, localAddr)
  ) ?? null

/**
 * What to try where a socket for IPv6 cannot be made at all (EAFNOSUPPORT: no IPv6 in the kernel): a dual-stack rule
 * listens for IPv4 alone (#regression-90), an IPv6 rule has nothing to fall back to.
 */
export const withoutV6 = (r: Rule): Rule | null =>
  r.bind === null ? { ...r, bind: UNSPECIFIED4, v6only: false } : isV4(r.bind) ? r : null
