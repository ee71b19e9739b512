import {
  encodeMessage,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REQUEST
} from '../../codecs/kernel/netlink.js'
import * as rt from '../../codecs/kernel/rtnetlink.js'
import { EADDRNOTAVAIL, EEXIST, ESRCH } from '../../codecs/value/errno.js'
import { type InAny, isV4, sameAddr, showAddr } from '../../codecs/value/inany.js'
import type { Family, HostConfig, HostFamily, HostTables } from '../host/host.js'
import { defaultVia, gatewayOf, isUsableAddress, own } from '../host/host.js'
import { type Made, newAddress, newRoute, type Step } from './config-net.js'
import type { Plan } from './plan-types.js'

// What another state of the host means: pure functions from what was to what is (docs/behaviour.md#following).

// --- what counts of the host

/** What the host suggests, and the tables that this is from. */
export interface HostNow {
  readonly host: HostConfig
  readonly tables: HostTables
}

/** It has an address to give, for IPv6 one of the link as well. */
const isComplete = ({ host }: HostNow, family: Family): boolean => {
  const f = host[family]
  return f !== null && f.index !== null && f.address !== null && (family === 'v4' || f.linkLocal !== null)
}

/** The router that the host has, whatever the guest has been given. */
const routerIn = ({ host, tables }: HostNow, family: Family): InAny | null => {
  const index = host[family]?.index ?? null
  return index === null ? null : gatewayOf(family === 'v4' ? tables.routes4 : tables.routes6, index)
}

/** A host that loses what it had is about to get something else, or will have it back: until then that stays. `patient`: a router as well. */
const holds = (was: HostNow, is: HostNow, family: Family, patient: boolean): boolean =>
  isComplete(was, family) &&
  (!isComplete(is, family) || (patient && routerIn(was, family) !== null && routerIn(is, family) === null))

const sameOrNone = (a: InAny | null, b: InAny | null): boolean =>
  a === null || b === null ? a === b : sameAddr(a, b)

/**
 * What it suggests, but for what the guest has been given. The router of before, where there is none: whom the guest sends to is us. Likewise
 * the length of a prefix that was that of an address of the host's. And the address, if that of before is still there and leads by the same router: another one beside it, as of a service that wanders between
 * hosts, is no reason to move.
 */
const staying = (was: HostFamily | null, is: HostNow, family: Family): HostFamily | null => {
  const found = is.host[family]
  if (was === null || found === null) return found
  const f = {
    ...found,
    gateway: found.gateway ?? was.gateway,
    givenPrefixLen: found.givenPrefixLen ?? was.givenPrefixLen
  }
  const { index } = f
  const { address } = was
  if (index === null || index !== was.index || address === null || !sameOrNone(f.gateway, was.gateway))
    return f
  const there = is.tables.addresses.find(
    (a) => isUsableAddress(a, family, index) && sameAddr(own(a) ?? [0, 0, 0, 0], address)
  )
  return there === undefined ? f : { ...f, address, prefixLen: there.prefixLen }
}

/** The host of the start, with the routers that the guest was given for want of any. */
export const asGiven = (p: Pick<Plan, 'v4' | 'v6'>, is: HostNow): HostNow => {
  const of = (family: Family): HostFamily | null => {
    const f = is.host[family]
    return f === null ? null : { ...f, gateway: f.gateway ?? p[family]?.gateway ?? null }
  }
  return { ...is, host: { ...is.host, v4: of('v4'), v6: of('v6') } }
}

/**
 * The host as it counts: of an IP version that it has no longer, or not whole yet, what there was. `patient`: one whose router is missing is
 * not whole; not for ever, since there may be none any more. `waits`: a router is waited for. An address that is still there stays, and
 * so does a router that the guest was given: `tables` say what there is.
 * Law: what has never been whole is taken as it is, but for its router and netmask; keeping twice is keeping once.
 */
export const kept = (
  was: HostNow,
  is: HostNow,
  patient: boolean
): { readonly now: HostNow; readonly waits: boolean } => {
  const hold4 = holds(was, is, 'v4', patient)
  const hold6 = holds(was, is, 'v6', patient)
  const of = (v6: boolean): ReadonlyArray<rt.Address> =>
    ((v6 ? hold6 : hold4) ? was : is).tables.addresses.filter(
      (a) => a.family === (v6 ? rt.AF_INET6 : rt.AF_INET)
    )
  return {
    now: {
      host: {
        ...is.host,
        v4: hold4 ? was.host.v4 : staying(was.host.v4, is, 'v4'),
        v6: hold6 ? was.host.v6 : staying(was.host.v6, is, 'v6')
      },
      tables: {
        links: is.tables.links,
        addresses: [...of(false), ...of(true)],
        routes4: (hold4 ? was : is).tables.routes4,
        routes6: (hold6 ? was : is).tables.routes6
      }
    },
    waits: patient && (hold4 || hold6) && (isComplete(is, 'v4') || isComplete(is, 'v6'))
  }
}

/** Addresses that were there and are not. */
export const vanished = (
  was: ReadonlyArray<rt.Address>,
  is: ReadonlyArray<rt.Address>
): ReadonlyArray<InAny> => {
  const there = new Set(is.map((a) => String(own(a))))
  const gone = was.map(own).filter((a): a is InAny => a !== null && !there.has(String(a)))
  return gone.filter((a, i) => gone.findIndex((b) => sameAddr(a, b)) === i)
}

/** An address that the host has no longer, and since when (ms) it has had another one for that IP version; null: it has none. */
export interface Gone {
  readonly addr: InAny
  readonly since: number | null
}
/** More are not remembered: flows from there are left to their own time-outs. */
export const GONE_MAX = 64

/** The template's address, or one on an interface that a default route leaves by: a bridge of containers is no other way out. */
const hasAnother = (is: HostNow, family: Family): boolean => {
  const { addresses, routes4, routes6 } = is.tables
  return (
    isComplete(is, family) ||
    addresses.some(
      (a) =>
        isUsableAddress(a, family, a.index) &&
        (family === 'v4' || a.scope < rt.RT_SCOPE_LINK) &&
        defaultVia(family === 'v4' ? routes4 : routes6, a.index) !== undefined
    )
  )
}

/** Those that are gone now, after `gone` and `was`: what is back is none, and where nothing takes its place it may come back. */
export const goneNow = (
  gone: ReadonlyArray<Gone>,
  was: ReadonlyArray<rt.Address>,
  is: HostNow,
  now: number
): ReadonlyArray<Gone> => {
  const there = new Set(is.tables.addresses.map((a) => String(own(a))))
  const lost = vanished(was, is.tables.addresses).map((addr): Gone => ({ addr, since: null }))
  return [...gone.filter((g) => !there.has(String(g.addr))), ...lost]
    .slice(-GONE_MAX)
    .map(({ addr, since }) => ({
      addr,
      since: hasAnother(is, isV4(addr) ? 'v4' : 'v6') ? (since ?? now) : null
    }))
}

// --- what is to be done in the namespace

/** A step, and what takes it back. `of`: what it adds. */
export interface Change {
  readonly of: rt.Address | rt.Route | null
  readonly step: Step
  readonly undo: Step
}

const message = (type: number, flags: number, payload: Uint8Array): Uint8Array =>
  encodeMessage({ type, flags: NLM_F_REQUEST | NLM_F_ACK | flags, seq: 1, pid: 0, payload })

const versionOf = (family: number): 'v4' | 'v6' => (family === rt.AF_INET6 ? 'v6' : 'v4')

const plain = (what: string, family: number, request: Uint8Array, tolerate: ReadonlyArray<number>): Step => ({
  what,
  request,
  tolerate,
  retry: [],
  optional: null,
  family: versionOf(family),
  next: null
})

const addressText = (a: rt.Address): string => {
  const addr = own(a)
  return addr === null ? 'an address' : `${showAddr(addr)}/${a.prefixLen}`
}

/** One that is there already is not ours. */
const addAddress = (a: rt.Address): Step =>
  plain(
    `add ${addressText(a)}`,
    a.family,
    message(rt.RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, rt.Address.encode(a)),
    [EEXIST]
  )
/** One that is ours becomes this. */
const setAddress = (a: rt.Address): Step => ({
  ...newAddress(a, { tolerate: [EEXIST], family: versionOf(a.family) }),
  what: `change ${addressText(a)}`
})
/** One that is not there, or is another one by now, is not ours to remove. */
const removeAddress = (a: rt.Address): Step =>
  plain(
    `remove ${addressText(a)}`,
    a.family,
    message(rt.RTM_DELADDR, 0, rt.Address.encode({ ...a, other: [] })),
    [EADDRNOTAVAIL]
  )
const addRoute = (r: rt.Route): Step => newRoute(r, r.family === rt.AF_INET6)
/** The kernel compares all that is said of it. */
const removeRoute = (r: rt.Route): Step =>
  plain('remove a route', r.family, message(rt.RTM_DELROUTE, 0, rt.Route.encode(r)), [ESRCH])

const IFA_CACHEINFO = 6
/** struct ifa_cacheinfo: preferred 0, valid for ever, two time stamps. */
const DEPRECATED = Uint8Array.of(0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0)
const HOST_SCOPE = 254 // RT_SCOPE_HOST

/**
 * As a source for nobody who has not chosen it: of IPv4 with the scope of a host, which no route's source has; of IPv6 deprecated
 * (RFC 4862 §5.5.4). No link is at it.
 */
export const lingeringOf = (a: rt.Address): rt.Address => {
  const addr = own(a)
  return a.family === rt.AF_INET6
    ? {
        ...a,
        flags: a.flags | rt.IFA_F_NODAD | rt.IFA_F_NOPREFIXROUTE,
        other: [{ type: IFA_CACHEINFO, data: DEPRECATED }]
      }
    : { ...a, prefixLen: 32, scope: HOST_SCOPE, flags: 0, address: addr, local: addr, other: [] }
}

/** That address goes for good. */
export const endLingering = (a: rt.Address): Step => removeAddress(lingeringOf(a))

const sameAddress = (a: rt.Address, b: rt.Address): boolean =>
  a.family === b.family && a.prefixLen === b.prefixLen && String(own(a)) === String(own(b))

/** What has been encoded before. */
const keys = new WeakMap<rt.Route, string>()
const keyOf = (r: rt.Route): string => {
  const known = keys.get(r)
  if (known !== undefined) return known
  const key = Buffer.from(rt.Route.encode(r)).toString('latin1')
  keys.set(r, key)
  return key
}
/** For slices: changesOf() is quick about routes that were looked at before. */
export const lookAtRoute = (r: rt.Route): void => void keyOf(r)
/** Those of each that are not the very same object in the other: of thousands of routes that stay, nothing more is asked. */
export const unlike = (was: Made, is: Made): readonly [ReadonlyArray<rt.Route>, ReadonlyArray<rt.Route>] => {
  const before = new Set(was.routes)
  const after = new Set(is.routes)
  return [was.routes.filter((r) => !after.has(r)), is.routes.filter((r) => !before.has(r))]
}
/** What IPv6's kernel takes for the same one, whatever else is said of it; for IPv4 that is no matter. */
const placeOf = (r: rt.Route): string =>
  `${r.family} ${r.dst} ${r.dstLen} ${r.priority} ${r.gateway} ${(r.multipath ?? []).map((h) => h.gateway)}`

/**
 * What makes `is` of `was`: new addresses, new routes, and only then those go that are none any more, so that the link is never without. In
 * this order each has what it leans on, in the opposite one as well. `inUse`: the guest's flows have this address, so it lingers, as `lingering` do.
 * Law: carried out one after the other they make of a namespace with `was` one with `is`, whatever else is in it; what is undone in the
 * opposite order leaves it as it was.
 */
export const changesOf = (
  was: Made,
  is: Made,
  lingering: ReadonlyArray<rt.Address>,
  inUse: (a: InAny) => boolean
): ReadonlyArray<Change> => {
  const goes = was.addresses.filter((a) => !is.addresses.some((b) => sameAddress(a, b)))
  const comes = is.addresses.filter((a) => !was.addresses.some((b) => sameAddress(a, b)))
  const isInUse = (a: rt.Address): boolean => {
    const addr = own(a)
    return addr !== null && inUse(addr)
  }
  const [mayGo, mayCome] = unlike(was, is)
  const before = new Map(mayGo.map((r) => [keyOf(r), r]))
  const after = new Map(mayCome.map((r) => [keyOf(r), r]))
  const oldRoutes = [...before].filter(([k]) => !after.has(k)).map(([, r]) => r)
  const newRoutes = [...after].filter(([k]) => !before.has(k)).map(([, r]) => r)
  const taken = new Set(newRoutes.map(placeOf))
  const add = (r: rt.Route): Change => ({ of: r, step: addRoute(r), undo: removeRoute(r) })
  const remove = (r: rt.Route): Change => ({ of: null, step: removeRoute(r), undo: addRoute(r) })
  return [
    ...comes.flatMap((a): ReadonlyArray<Change> => {
      const old = lingering.find((b) => a.family === b.family && String(own(a)) === String(own(b)))
      const whole: Change = { of: a, step: addAddress(a), undo: removeAddress(a) }
      if (old === undefined) return [whole]
      const rest = lingeringOf(old)
      // Of IPv6 there is one of an address only
      if (a.family === rt.AF_INET6 || sameAddress(a, rest))
        return [{ of: a, step: setAddress(a), undo: setAddress(rest) }]
      return [whole, { of: null, step: removeAddress(rest), undo: addAddress(rest) }]
    }),
    ...oldRoutes.filter((r) => taken.has(placeOf(r))).map(remove),
    ...newRoutes.map(add),
    ...oldRoutes.filter((r) => !taken.has(placeOf(r))).map(remove),
    ...goes.flatMap((a): ReadonlyArray<Change> => {
      const back: Change = { of: null, step: removeAddress(a), undo: addAddress(a) }
      if (!isInUse(a)) return [back]
      const rest = lingeringOf(a)
      if (a.family === rt.AF_INET6 || sameAddress(a, rest))
        return [{ of: null, step: setAddress(rest), undo: setAddress(a) }]
      return [{ of: null, step: addAddress(rest), undo: removeAddress(rest) }, back]
    })
  ]
}

/** Of those that go, those that linger. */
export const lingers = (was: Made, is: Made, inUse: (a: InAny) => boolean): ReadonlyArray<rt.Address> =>
  was.addresses.filter((a) => {
    const addr = own(a)
    return addr !== null && inUse(addr) && !is.addresses.some((b) => sameAddress(a, b))
  })
