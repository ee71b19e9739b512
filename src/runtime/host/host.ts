import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import { dumpRequest } from '../../codecs/kernel/dump.js'
import {
  NetlinkDatagram,
  type NetlinkMessage,
  NLM_F_DUMP_INTR,
  outcomeOf
} from '../../codecs/kernel/netlink.js'
import * as rt from '../../codecs/kernel/rtnetlink.js'
import { isNoLonger, MAX_IFNAME } from '../../codecs/text/ifname.js'
import type { PortSpec } from '../../codecs/text/port-spec.js'
import { EINTR } from '../../codecs/value/errno.js'
import { type InAny, isLinkLocal, sameAddr, UNSPECIFIED6 } from '../../codecs/value/inany.js'
import { type Octets, octets } from '../../codecs/value/octets.js'
import type { Options } from '../cli/option-table.js'
import { errnoOf, errorText, failureText } from '../log/error-text.js'

/** What the kernel says of this network namespace. Routes of the main table only. */
export interface HostTables {
  readonly links: ReadonlyArray<rt.Link>
  readonly addresses: ReadonlyArray<rt.Address>
  readonly routes4: ReadonlyArray<rt.Route>
  readonly routes6: ReadonlyArray<rt.Route>
}

/** What the host suggests for one IP version, options not yet counted in; null where it has nothing. */
export interface HostFamily {
  /** Template interface. */
  readonly index: number | null
  readonly ifname: string | null
  readonly gateway: InAny | null
  readonly address: InAny | null
  /** Of `address`. */
  readonly prefixLen: number | null
  /** Of the address that -a, --address gives, whichever interface has it; null: none has. */
  readonly givenPrefixLen: number | null
  /** IPv6: the interface's own link-local address. */
  readonly linkLocal: InAny | null
}

/** Options not counted in at all. */
type Found = Omit<HostFamily, 'givenPrefixLen'>

/** null: that IP version is switched off. */
export interface HostConfig {
  readonly v4: HostFamily | null
  readonly v6: HostFamily | null
  /** For level info. */
  readonly notices: ReadonlyArray<string>
}

export type Family = 'v4' | 'v6'
export const AF: Readonly<Record<Family, number>> = { v4: rt.AF_INET, v6: rt.AF_INET6 }
const LOOPBACK_INDEX = 1

// --- choice of the template interface

/** 169.254/16 or fe80::/10 or a part of them: says nothing about the world. */
const isLinkLocalNet = (r: rt.Route): boolean =>
  r.dst !== null && isLinkLocal(r.dst) && r.dstLen >= (r.family === rt.AF_INET ? 16 : 10)

const isUsable = (r: rt.Route): boolean =>
  r.table === rt.RT_TABLE_MAIN && r.type === rt.RTN_UNICAST && !isLinkLocalNet(r)

/** Output interface; of a multipath route the first nexthop's. */
const outputOf = (r: rt.Route): number | null => r.oif ?? r.multipath?.[0]?.index ?? null

const distinct = (indexes: ReadonlyArray<number>): ReadonlyArray<number> => [...new Set(indexes)]

/** Interfaces with routes, in the kernel's order: with a default route, if there is any, else with any route. */
const candidates = (routes: ReadonlyArray<rt.Route>): ReadonlyArray<number> => {
  const from = (rs: ReadonlyArray<rt.Route>): ReadonlyArray<number> =>
    distinct(rs.flatMap((r) => outputOf(r) ?? []).filter((i) => i !== LOOPBACK_INDEX))
  const usable = routes.filter(isUsable)
  const withDefault = from(usable.filter((r) => r.dstLen === 0))
  return withDefault.length > 0 ? withDefault : from(usable)
}

const nameOf = (links: ReadonlyArray<rt.Link>, index: number): string =>
  links.find((l) => l.index === index)?.name ?? `if${index}`

// --- what the interface offers

/** Nexthops of a multipath route through the interface. */
export const hopsThrough = (r: rt.Route, index: number): ReadonlyArray<rt.NextHop> =>
  (r.multipath ?? []).filter((n) => n.index === index)

/** The first default route via the interface; null: via any. */
export const defaultVia = (routes: ReadonlyArray<rt.Route>, index: number | null): rt.Route | undefined =>
  routes.find(
    (r) =>
      isUsable(r) &&
      r.dstLen === 0 &&
      (index === null ? outputOf(r) !== null : r.oif === index || hopsThrough(r, index).length > 0)
  )

/**
 * Gateway of the first default route via the interface. Of several nexthops the first of the highest weight (passt(1),
 * --gateway), those through other interfaces left out, since the gateway has to be a neighbour of the address.
 */
export const gatewayOf = (routes: ReadonlyArray<rt.Route>, index: number): InAny | null => {
  const route = defaultVia(routes, index)
  if (route === undefined || route.oif === index) return route?.gateway ?? null
  return hopsThrough(route, index).reduce((best, n) => (n.weight > best.weight ? n : best)).gateway
}

const unusable = rt.IFA_F_DEPRECATED | rt.IFA_F_DADFAILED
/** An address of an interface that something new may have. */
export const isUsableAddress = (a: rt.Address, family: Family, index: number): boolean =>
  a.index === index && a.family === AF[family] && (a.flags & unusable) === 0 && own(a) !== null
const longest = (list: ReadonlyArray<rt.Address>): rt.Address | null =>
  list.reduce<rt.Address | null>(
    (best, a) => (best === null || a.prefixLen > best.prefixLen ? a : best),
    null
  )
export const own = (a: rt.Address): InAny | null => a.local ?? a.address

/** Of an address that several interfaces have, the template's counts. */
const prefixLenOf = (tables: HostTables, address: InAny | null, template: number | null): number | null => {
  const same = tables.addresses.filter((a) => address !== null && sameAddr(own(a) ?? UNSPECIFIED6, address))
  return (longest(same.filter((a) => a.index === template)) ?? longest(same))?.prefixLen ?? null
}

const familyOf = (tables: HostTables, family: Family, index: number): Found => {
  const here = tables.addresses.filter((a) => isUsableAddress(a, family, index))
  // IPv4 scope is left alone; an IPv6 address has to reach beyond the link
  const global = longest(family === 'v4' ? here : here.filter((a) => a.scope < rt.RT_SCOPE_LINK))
  const local = family === 'v4' ? null : longest(here.filter((a) => isLinkLocal(own(a) ?? UNSPECIFIED6)))
  return {
    index,
    ifname: nameOf(tables.links, index),
    gateway: gatewayOf(family === 'v4' ? tables.routes4 : tables.routes6, index),
    address: global === null ? null : own(global),
    prefixLen: global?.prefixLen ?? null,
    linkLocal: local === null ? null : own(local)
  }
}

const NOTHING: Found = {
  index: null,
  ifname: null,
  gateway: null,
  address: null,
  prefixLen: null,
  linkLocal: null
}

interface Derived {
  readonly family: HostFamily | null
  readonly notices: ReadonlyArray<string>
}

/** The interface that is called so, by its own name or an alternative one. */
const linkNamed = (links: ReadonlyArray<rt.Link>, name: string): rt.Link | undefined =>
  links.find((l) => l.name === name || l.altNames.includes(name))

/**
 * Options with each interface's own name in place of an alternative one, which may be longer than SO_BINDTODEVICE takes: that
 * would cut it off. Names that nobody has stay, they may be given later.
 * Left: one that only an alternative name could be, and nobody has.
 */
export const withOwnNames = (o: Options, links: ReadonlyArray<rt.Link>): E.Either<string, Options> => {
  const own = (name: string): string => linkNamed(links, name)?.name ?? name
  const mapped = <A extends string | null>(name: A): A | string => (name === null ? name : own(name))
  const specs = (list: ReadonlyArray<PortSpec>): ReadonlyArray<PortSpec> =>
    list.map((s) => (s.kind !== 'ports' ? s : { ...s, ifname: mapped(s.ifname) }))
  const { ports } = o
  const out: Options = {
    ...o,
    interface: mapped(o.interface),
    outboundIf: { v4: mapped(o.outboundIf.v4), v6: mapped(o.outboundIf.v6) },
    ports: { ...ports, tcpIn: specs(ports.tcpIn), udpIn: specs(ports.udpIn) }
  }
  const names = [
    out.interface,
    out.outboundIf.v4,
    out.outboundIf.v6,
    ...[...out.ports.tcpIn, ...out.ports.udpIn].map((s) => (s.kind === 'ports' ? s.ifname : null))
  ]
  const tooLong = names.find((n) => n !== null && !isNoLonger(n, MAX_IFNAME))
  return typeof tooLong === 'string' ? E.left(`no interface '${tooLong}'`) : E.right(out)
}

/** The interface that options name as template; null: none does, or nobody has that name. */
export const templateIndex = (links: ReadonlyArray<rt.Link>, o: Options, family: Family): number | null => {
  const name = o.interface ?? o.outboundIf[family]
  return links.find((l) => name !== null && l.name === name)?.index ?? null
}

const deriveFamily = (tables: HostTables, o: Options, family: Family): E.Either<string, Derived> => {
  if (o.families !== 'both' && o.families !== family) return E.right({ family: null, notices: [] })
  const label = family === 'v4' ? 'IPv4' : 'IPv6'
  const named = o.interface ?? o.outboundIf[family]
  const index = templateIndex(tables.links, o, family)
  if (o.interface !== null && index === null) return E.left(`no interface '${o.interface}'`)
  const given = o.address[family]?.address ?? null
  const withGiven = (f: Found): HostFamily => ({ ...f, givenPrefixLen: prefixLenOf(tables, given, f.index) })
  if (index !== null) return E.right({ family: withGiven(familyOf(tables, family, index)), notices: [] })

  const found = candidates(family === 'v4' ? tables.routes4 : tables.routes6)
  const first = found[0]
  if (first === undefined)
    return named !== null
      ? E.left(`no interface '${named}', and no other one with ${label} routes`)
      : E.right({
          family: withGiven(NOTHING),
          notices: [`No interface with ${label} routes: local mode for ${label}`]
        })
  const names = found.map((i) => nameOf(tables.links, i))
  return E.right({
    family: withGiven(familyOf(tables, family, first)),
    notices:
      found.length > 1
        ? [`Several interfaces with ${label} routes (${names.join(', ')}), taking ${names[0]}`]
        : []
  })
}

/**
 * What the host's tables suggest, per IP version: template interface (-i, else --outbound-if, else the first with a
 * default route, else the first with any route), its gateway, its non-deprecated address of longest prefix.
 * Left: a named interface that does not exist.   Source: passt(1), --interface, --address, --gateway
 */
export const deriveHost = (tables: HostTables, o: Options): E.Either<string, HostConfig> => {
  const v4 = deriveFamily(tables, o, 'v4')
  if (E.isLeft(v4)) return v4
  const v6 = deriveFamily(tables, o, 'v6')
  if (E.isLeft(v6)) return v6
  return E.right({
    v4: v4.right.family,
    v6: v6.right.family,
    notices: [...v4.right.notices, ...v6.right.notices]
  })
}

// --- reading the tables

/** Native.netlink, or the same in another namespace: the messages of the answer up to NLMSG_DONE or the ACK, one behind the other. */
export type NetlinkRequest = (request: Uint8Array) => Uint8Array

/** All messages of an answer. Left: an error from the kernel or the transport, with the errno where there is one. */
export interface NetlinkFailure {
  readonly errno: number
  readonly message: string
}

export const ask =
  (request: NetlinkRequest) =>
  (bytes: Uint8Array): E.Either<NetlinkFailure, ReadonlyArray<NetlinkMessage>> => {
    const answer = E.tryCatch(
      () => request(bytes),
      (e): NetlinkFailure => ({
        errno: errnoOf(e),
        message: e instanceof Error ? e.message : String(e)
      })
    )
    if (E.isLeft(answer)) return answer
    const messages = NetlinkDatagram.decode(octets(answer.right))
    if (E.isLeft(messages))
      return E.left({ errno: 0, message: messages.left[0]?.message ?? 'malformed datagram' })
    const failed = messages.right.map(outcomeOf).find((o) => o !== null && o.errno !== 0)
    return failed === undefined || failed === null
      ? messages
      : E.left({ errno: failed.errno, message: failed.message ?? errorText(failed.errno) })
  }

/** A table that changes faster than this cannot be read consistently; better an inconsistent copy than no start. */
const DUMP_ATTEMPTS = 8

/** Entries of a dump; those that cannot be decoded are left out. A dump the kernel calls interrupted is repeated. */
export const dump = <A>(
  request: NetlinkRequest,
  get: number,
  entryType: number,
  family: number,
  codec: t.Type<A, Uint8Array, Octets>
): E.Either<NetlinkFailure, ReadonlyArray<A>> => {
  for (let attempt = 1; ; attempt++) {
    const last = attempt === DUMP_ATTEMPTS
    const answer = ask(request)(dumpRequest(get, family))
    if (E.isLeft(answer)) {
      if (answer.left.errno === EINTR && !last) continue
      return answer
    }
    if (!last && answer.right.some((m) => (m.flags & NLM_F_DUMP_INTR) !== 0)) continue
    return E.right(
      answer.right.flatMap((m) => {
        if (m.type !== entryType) return []
        const a = codec.decode(octets(m.payload))
        return E.isRight(a) ? [a.right] : []
      })
    )
  }
}

export const readLinks = (request: NetlinkRequest): E.Either<string, ReadonlyArray<rt.Link>> =>
  E.mapLeft(
    ({ errno, message }: { errno: number; message: string }) =>
      `cannot ask the kernel for interfaces: ${errno > 0 ? failureText(errno) : message}`
  )(dump(request, rt.RTM_GETLINK, rt.RTM_NEWLINK, rt.AF_UNSPEC, rt.Link))

/** The tables of one namespace. A kernel without IPv6 (or IPv4) refuses that dump: the table is empty then. */
export const readTables = (request: NetlinkRequest): E.Either<string, HostTables> => {
  const links = readLinks(request)
  if (E.isLeft(links)) return links
  const addresses = (family: number): ReadonlyArray<rt.Address> =>
    E.getOrElse((): ReadonlyArray<rt.Address> => [])(
      dump(request, rt.RTM_GETADDR, rt.RTM_NEWADDR, family, rt.Address)
    )
  const routes = (family: number): ReadonlyArray<rt.Route> =>
    E.getOrElse((): ReadonlyArray<rt.Route> => [])(
      dump(request, rt.RTM_GETROUTE, rt.RTM_NEWROUTE, family, rt.Route)
    ).filter((r) => r.table === rt.RT_TABLE_MAIN)
  // the kernel answers for all families when it does not know the one asked for
  const of = <A extends { readonly family: number }>(
    family: number,
    list: ReadonlyArray<A>
  ): ReadonlyArray<A> => list.filter((a) => a.family === family)
  return E.right({
    links: links.right,
    addresses: [...of(rt.AF_INET, addresses(rt.AF_INET)), ...of(rt.AF_INET6, addresses(rt.AF_INET6))],
    routes4: of(rt.AF_INET, routes(rt.AF_INET)),
    routes6: of(rt.AF_INET6, routes(rt.AF_INET6))
  })
}
