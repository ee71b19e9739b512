import * as E from 'fp-ts/lib/Either.js'
import { dumpRequest } from '../../codecs/kernel/dump.js'
import {
  encodeAttributes,
  encodeMessage,
  type NetlinkMessage,
  NLA_F_NESTED,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  u32
} from '../../codecs/kernel/netlink.js'
import * as rt from '../../codecs/kernel/rtnetlink.js'
import {
  EAFNOSUPPORT,
  EEXIST,
  EHOSTUNREACH,
  EINVAL,
  ENETUNREACH,
  EOPNOTSUPP,
  EPERM
} from '../../codecs/value/errno.js'
import { type InAny, isLinkLocal, showAddr, UNSPECIFIED6 } from '../../codecs/value/inany.js'
import { octets } from '../../codecs/value/octets.js'
import { AF, hopsThrough } from '../host/host.js'
import type { FamilyPlan, Plan } from './plan-types.js'

/** One request to the kernel inside the namespace. */
export interface Step {
  /** For messages: behind "cannot". */
  readonly what: string
  readonly request: Uint8Array
  /** errnos that do not matter. */
  readonly tolerate: ReadonlyArray<number>
  /** errnos that may go away once the neighbouring steps with a `retry` have been taken. */
  readonly retry: ReadonlyArray<number>
  /** What is left out, with a warning, where the kernel refuses it; null: that is the end. */
  readonly optional: string | null
  /** IP version the step is for, null for both. */
  readonly family: 'v4' | 'v6' | null
  /** What to do next, given the answer. */
  readonly next: ((answer: ReadonlyArray<NetlinkMessage>) => ReadonlyArray<Step>) | null
}

/** ifindex of `lo` in every network namespace. */
const LOOPBACK_INDEX = 1
const V6_DEFAULT_METRIC = 1024 // IP6_RT_PRIO_USER, linux/ipv6_route.h

const SET = NLM_F_REQUEST | NLM_F_ACK
const message = (type: number, flags: number, payload: Uint8Array): Uint8Array =>
  encodeMessage({ type, flags, seq: 1, pid: 0, payload })

const step = (what: string, request: Uint8Array, extra: Partial<Step> = {}): Step => ({
  what,
  request,
  tolerate: [],
  retry: [],
  optional: null,
  family: null,
  next: null,
  ...extra
})

// --- links

const setLink = (what: string, index: number, p: Partial<rt.Link>): Step =>
  step(
    what,
    message(
      rt.RTM_NEWLINK,
      SET,
      rt.Link.encode({
        index,
        hardware: 0,
        flags: 0,
        change: 0,
        name: null,
        altNames: [],
        mtu: null,
        mac: null,
        other: [],
        ...p
      })
    )
  )

/** NOARP while the link comes up: the kernel then takes its own link-local address without detecting duplicates. */
const linkSteps = (p: Plan, tap: number): ReadonlyArray<Step> => {
  const flags = rt.IFF_UP | (p.v6 === null ? 0 : rt.IFF_NOARP)
  return [
    ...(p.mtu === 0 ? [] : [setLink('set the MTU', tap, { mtu: p.mtu })]),
    setLink('bring up the interface', tap, { flags, change: rt.IFF_UP | rt.IFF_NOARP })
  ]
}

/** IFLA_AF_SPEC, AF_INET, IFLA_INET_CONF: linux/if_link.h; IPV4_DEVCONF_PROMOTE_SECONDARIES: linux/ip.h */
const IFLA_AF_SPEC = 26
const IFLA_INET_CONF = 1
const PROMOTE_SECONDARIES = 20

/**
 * An address that goes takes no others of its subnet with it (ip-sysctl: promote_secondaries), so that a new one can be there before the
 * old one is gone.
 */
const promoteSecondaries = (tap: number): Step => {
  const nest = (type: number, data: Uint8Array): Uint8Array => encodeAttributes([{ type, data }])
  const conf = nest(IFLA_INET_CONF | NLA_F_NESTED, nest(PROMOTE_SECONDARIES, u32(1)))
  const spec = { type: IFLA_AF_SPEC | NLA_F_NESTED, data: nest(rt.AF_INET | NLA_F_NESTED, conf) }
  const set = setLink('keep addresses apart', tap, { other: [spec] })
  return { ...set, tolerate: [EOPNOTSUPP, EAFNOSUPPORT, EINVAL, EPERM] }
}

// --- addresses

export const newAddress = (a: rt.Address, extra: Partial<Step>): Step =>
  step(
    'add an address',
    message(rt.RTM_NEWADDR, SET | NLM_F_CREATE | NLM_F_REPLACE, rt.Address.encode(a)),
    extra
  )

const family = (v6: boolean): number => (v6 ? rt.AF_INET6 : rt.AF_INET)
const nodad = (v6: boolean): number => (v6 ? rt.IFA_F_NODAD : 0)

const isLasting = (a: rt.Address): boolean => (a.flags & (rt.IFA_F_DEPRECATED | rt.IFA_F_DADFAILED)) === 0

const copiedAddresses = (
  f: FamilyPlan,
  tap: number,
  v6: boolean,
  all: ReadonlyArray<rt.Address>
): ReadonlyArray<rt.Address> =>
  all
    .filter((a) => a.index === f.index && a.family === family(v6) && a.scope !== rt.RT_SCOPE_LINK)
    .filter(isLasting)
    .map((a) => ({
      ...a,
      index: tap,
      flags: (a.flags & rt.IFA_F_NOPREFIXROUTE) | nodad(v6),
      // no label (it has the host's interface name), no lifetime: nobody would renew it in the namespace
      other: a.other.filter((x) => x.type === IFA_BROADCAST || x.type === IFA_RT_PRIORITY)
    }))

const IFA_BROADCAST = 4
const IFA_RT_PRIORITY = 9

const singleAddress = (f: FamilyPlan, tap: number, v6: boolean): ReadonlyArray<rt.Address> =>
  f.assigned === null
    ? []
    : [
        {
          family: family(v6),
          prefixLen: f.prefixLen,
          flags: nodad(v6),
          scope: rt.RT_SCOPE_UNIVERSE,
          index: tap,
          address: f.assigned,
          local: v6 ? null : f.assigned,
          other: []
        }
      ]

// --- routes

/** Is `a` inside `net`/`len`? */
export const inPrefix = (a: InAny, net: InAny, len: number, v6: boolean): boolean => {
  const bits = v6 ? len : len + 96
  return [0, 1, 2, 3].every((i) => {
    const here = Math.min(32, Math.max(0, bits - 32 * i))
    const shift = 32 - here
    return here === 0 || (a[i] ?? 0) >>> shift === (net[i] ?? 0) >>> shift
  })
}

/** A route the kernel has made itself, or will make, for one of these addresses or for its link-local address. */
const madeByKernel = (r: rt.Route, addresses: ReadonlyArray<rt.Address>): boolean => {
  const { dst } = r
  if (r.protocol !== rt.RTPROT_KERNEL || dst === null) return false
  const v6 = r.family === rt.AF_INET6
  if (v6 && isLinkLocal(dst)) return true
  return addresses.some(
    (a) =>
      (a.flags & rt.IFA_F_NOPREFIXROUTE) === 0 &&
      a.prefixLen === r.dstLen &&
      inPrefix(a.address ?? UNSPECIFIED6, dst, r.dstLen, v6)
  )
}

/**
 * The route through the tap, or null if it leads elsewhere: of several nexthops the template's alone. Dropped from it: preferred
 * source, nexthop object and lifetime, which belong to the host; nexthop flags, which are state, but for ONLINK.
 */
const rerouted = (r: rt.Route, template: number, tap: number): rt.Route | null => {
  const before = known.get(r)
  if (before?.template === template && before.tap === tap) return before.route
  const route = throughTap(r, template, tap)
  known.set(r, { template, tap, route })
  return route
}
/** The same route leads to the same one each time: hosts that are followed may have thousands of them. */
const known = new WeakMap<
  rt.Route,
  { readonly template: number; readonly tap: number; readonly route: rt.Route | null }
>()
const throughTap = (r: rt.Route, template: number, tap: number): rt.Route | null => {
  const hops = hopsThrough(r, template)
  const only = hops.length === 1 ? hops[0] : undefined
  if (r.multipath === null ? r.oif !== template : hops.length === 0) return null
  return {
    ...r,
    oif: r.multipath === null || only !== undefined ? tap : null,
    gateway: only?.gateway ?? r.gateway,
    via: only?.via ?? r.via,
    flags: (only?.flags ?? r.flags) & rt.RTNH_F_ONLINK,
    prefSrc: null,
    nextHopId: null,
    expires: null,
    cacheInfo: null,
    multipath:
      hops.length > 1 ? hops.map((n) => ({ ...n, index: tap, flags: n.flags & rt.RTNH_F_ONLINK })) : null
  }
}

const inWords = (r: rt.Route): string => {
  const to = r.dst === null ? 'default' : `${showAddr(r.dst)}/${r.dstLen}`
  const by = (h: Pick<rt.Route, 'gateway' | 'via'>): string =>
    h.gateway !== null ? ` via ${showAddr(h.gateway)}` : h.via !== null ? ` via ${showAddr(h.via)}` : ''
  return to + by(r) + (r.multipath ?? []).map(by).join()
}

export const newRoute = (r: rt.Route, v6: boolean): Step =>
  step('add a route', message(rt.RTM_NEWROUTE, SET | NLM_F_CREATE, rt.Route.encode(r)), {
    tolerate: [EEXIST],
    retry: [ENETUNREACH, EHOSTUNREACH],
    optional: `the ${v6 ? 'IPv6' : 'IPv4'} route ${inWords(r)}`,
    family: v6 ? 'v6' : 'v4'
  })

const plainRoute = (v6: boolean, tap: number, p: Partial<rt.Route>): rt.Route => ({
  ...rt.ANY_ROUTE,
  family: family(v6),
  table: rt.RT_TABLE_MAIN,
  protocol: rt.RTPROT_BOOT,
  type: rt.RTN_UNICAST,
  oif: tap,
  priority: v6 ? V6_DEFAULT_METRIC : null,
  ...p
})

/** Default route, and the way to its gateway where no address covers it. */
const defaultRoute = (
  f: FamilyPlan,
  tap: number,
  v6: boolean,
  addresses: ReadonlyArray<rt.Address>
): ReadonlyArray<rt.Route> => {
  const { gateway } = f
  if (gateway === null) return []
  const covered =
    (v6 && isLinkLocal(gateway)) ||
    addresses.some((a) => a.address !== null && inPrefix(gateway, a.address, a.prefixLen, v6))
  const toGateway = plainRoute(v6, tap, {
    dst: gateway,
    dstLen: v6 ? 128 : 32,
    scope: v6 ? rt.RT_SCOPE_UNIVERSE : rt.RT_SCOPE_LINK
  })
  return [...(covered ? [] : [toGateway]), plainRoute(v6, tap, { gateway })]
}

/** What one IP version gets; nothing if it is off. */
interface Wanted {
  readonly addresses: ReadonlyArray<rt.Address>
  readonly routes: ReadonlyArray<rt.Route>
}

const wantedOf = (f: FamilyPlan | null, tap: number, v6: boolean, from: CopySource): Wanted => {
  if (f === null) return { addresses: [], routes: [] }
  const addresses = f.copyAddresses ? copiedAddresses(f, tap, v6, from.addresses) : singleAddress(f, tap, v6)
  const routes = f.copyRoutes
    ? (v6 ? from.routes6 : from.routes4)
        .filter(
          (r) => r.type === rt.RTN_UNICAST && r.table === rt.RT_TABLE_MAIN && !madeByKernel(r, addresses)
        )
        .flatMap((r) => rerouted(r, f.index ?? -1, tap) ?? [])
    : defaultRoute(f, tap, v6, addresses)
  return { addresses, routes }
}

/**
 * IPv4 by way of an IPv6 gateway (RFC 5549) takes an IPv6 that reaches it and asks for its MAC address. Without, the destinations are
 * on the link: we answer for any of them.
 */
const withReachableVia =
  (p: Plan, v6: Wanted) =>
  (r: rt.Route): rt.Route => {
    const covers = (a: InAny): boolean =>
      isLinkLocal(a) ||
      v6.addresses.some((x) => x.address !== null && inPrefix(a, x.address, x.prefixLen, true)) ||
      v6.routes.some((x) => x.dst !== null && x.gateway === null && inPrefix(a, x.dst, x.dstLen, true))
    const vias = [r.via, ...(r.multipath ?? []).map((n) => n.via)].filter((a) => a !== null)
    return vias.every((a) => p.v6 !== null && p.ndp && covers(a))
      ? r
      : plainRoute(false, r.oif ?? r.multipath?.[0]?.index ?? 0, {
          dst: r.dst,
          dstLen: r.dstLen,
          priority: r.priority,
          scope: rt.RT_SCOPE_LINK
        })
  }

// --- all of it

/** The tap's own link-local address gets the flag that it would need if the link went down and up again. */
const markLinkLocal = (tap: number): Step =>
  step('read the link-local address', dumpRequest(rt.RTM_GETADDR, rt.AF_INET6), {
    tolerate: [EOPNOTSUPP, EAFNOSUPPORT],
    family: 'v6',
    next: (answer) =>
      linkLocalsOf(answer, tap).map((a) =>
        newAddress({ ...a, flags: a.flags | rt.IFA_F_NODAD, other: [] }, { tolerate: [EEXIST], family: 'v6' })
      )
  })

export const linkLocalsOf = (answer: ReadonlyArray<NetlinkMessage>, tap: number): ReadonlyArray<rt.Address> =>
  answer.flatMap((m) => {
    const a = m.type === rt.RTM_NEWADDR ? rt.Address.decode(octets(m.payload)) : null
    return a !== null &&
      E.isRight(a) &&
      a.right.family === rt.AF_INET6 &&
      a.right.index === tap &&
      isLinkLocal(a.right.address ?? UNSPECIFIED6)
      ? [a.right]
      : []
  })

/** Host tables that are copied from. */
export interface CopySource {
  readonly addresses: ReadonlyArray<rt.Address>
  readonly routes4: ReadonlyArray<rt.Route>
  readonly routes6: ReadonlyArray<rt.Route>
}

/** As ip-route(8) calls them. */
const TYPES: ReadonlyMap<number, string> = new Map([
  [rt.RTN_BLACKHOLE, 'blackhole'],
  [rt.RTN_UNREACHABLE, 'unreachable'],
  [rt.RTN_PROHIBIT, 'prohibit']
])

/** What the template has and the namespace does not get, each with the reason. */
export const leftOut = (p: Plan, from: CopySource): ReadonlyArray<string> => {
  const of = (f: FamilyPlan | null, v6: boolean): ReadonlyArray<string> => {
    if (!p.configNet || f === null) return []
    const stale = from.addresses
      .filter((a) => a.index === f.index && a.family === family(v6) && f.copyAddresses && !isLasting(a))
      .map((a) => `address ${showAddr(a.address ?? UNSPECIFIED6)}: deprecated, or a duplicate`)
    const routes = (v6 ? from.routes6 : from.routes4).filter(() => f.copyRoutes)
    const refusing = routes
      .filter((r) => TYPES.has(r.type))
      .map((r) => `${TYPES.get(r.type)} route ${inWords(r)}: the host's routing says it to the guest as well`)
    const elsewhere = routes
      .map((r) => ({ r, here: hopsThrough(r, f.index ?? -1).length }))
      .filter(({ r, here }) => here > 0 && here < (r.multipath?.length ?? 0))
      .map(({ r }) => `next hops of ${inWords(r)} that are not by ${f.ifname}`)
    return [...stale, ...refusing, ...elsewhere]
  }
  return [...of(p.v4, false), ...of(p.v6, true)]
}

/** What a plan makes of the namespace's tap: addresses, and routes in the order in which they can be added. */
export interface Made {
  readonly addresses: ReadonlyArray<rt.Address>
  readonly routes: ReadonlyArray<rt.Route>
}

/** Without the routes that these steps were to add. */
export const withoutRefused = (made: Made, refused: ReadonlyArray<Step>): Made => {
  if (refused.length === 0) return made
  const key = (s: Step): string => Buffer.from(s.request).toString('latin1')
  const keys = new Set(refused.map(key))
  return { ...made, routes: made.routes.filter((r) => !keys.has(key(newRoute(r, r.family === rt.AF_INET6)))) }
}

/** With --config-net. `tap`: ifindex in the namespace. */
export const madeOf = (p: Plan, tap: number, from: CopySource): Made => {
  const v4 = wantedOf(p.v4, tap, false, from)
  const v6 = wantedOf(p.v6, tap, true, from)
  return {
    addresses: [...v4.addresses, ...v6.addresses],
    // those of IPv4 may lead by way of IPv6
    routes: [...v6.routes, ...v4.routes.map(withReachableVia(p, v6))]
  }
}

/**
 * Everything to be done in the namespace, in order: `lo` up (always), MAC of the tap if one was asked for, and with
 * --config-net MTU, link, addresses and routes. `tap`: ifindex in the namespace. Addresses come without lifetimes.
 * Source: passt(1), --config-net; NOARP and nodad because duplicates cannot exist on a link of two, one being us.
 */
export const configNet = (p: Plan, tap: number, from: CopySource): ReadonlyArray<Step> => {
  const made = madeOf(p, tap, from)
  const addressSteps = (family: 'v4' | 'v6'): ReadonlyArray<Step> =>
    made.addresses
      .filter((a) => a.family === AF[family])
      .map((a) => newAddress(a, { tolerate: [EEXIST], family }))
  const toLink = [markLinkLocal(tap), setLink('clear NOARP', tap, { flags: 0, change: rt.IFF_NOARP })]
  return [
    setLink('bring up lo', LOOPBACK_INDEX, { flags: rt.IFF_UP, change: rt.IFF_UP }),
    ...(p.nsMac === null ? [] : [setLink('set the MAC address', tap, { mac: p.nsMac })]),
    ...(p.configNet
      ? [
          ...linkSteps(p, tap),
          ...(p.follow ? [promoteSecondaries(tap)] : []),
          ...addressSteps('v4'),
          ...(p.v6 === null ? [] : toLink),
          ...addressSteps('v6'),
          ...made.routes.map((r) => newRoute(r, r.family === rt.AF_INET6))
        ]
      : [])
  ]
}
