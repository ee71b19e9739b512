import * as E from 'fp-ts/lib/Either.js'
import {
  EMPTY_RESOLV_CONF,
  effectiveServers,
  namesServers,
  type ResolvConf
} from '../../codecs/text/resolv-conf.js'
import {
  fromV4,
  type InAny,
  isLinkLocal,
  isLoopback,
  isV4,
  sameAddr,
  showAddr,
  v4Word
} from '../../codecs/value/inany.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import { MAX_DNS, type Options } from '../cli/option-table.js'
import type { HostConfig, HostFamily } from '../host/host.js'
import { infoLines } from './info.js'
import type { FamilyPlan, LinkPlan, NamespacePlan, Plan, RepairPath } from './plan-types.js'

export const DEFAULT_MAC: Mac = 0x9a559a559a55
/** Largest MTU rounded down to a multiple of 4. */
export const DEFAULT_MTU = 65520
export const LOCAL_ADDRESS4 = fromV4(0xa9fe0201) // 169.254.2.1
export const LOCAL_GATEWAY4 = fromV4(0xa9fe0202) // 169.254.2.2
const LOCAL_PREFIX4 = 16
export const LOCAL_GATEWAY6: InAny = [0xfe800000, 0, 0, 1]
const PREFIX6 = 64

// --- addresses

/** Prefix length by the address's class, for lack of anything better (passt(1), --netmask). */
export const classPrefix = (a: InAny): number => {
  const top = v4Word(a) >>> 28
  return top < 8 ? 8 : top < 12 ? 16 : top < 14 ? 24 : 32
}

const prefix4 = (o: Options, host: HostFamily): number => {
  const given = o.address.v4
  if (given === null) return o.netmask ?? host.prefixLen ?? LOCAL_PREFIX4
  return o.netmask ?? given.prefixLen ?? host.givenPrefixLen ?? classPrefix(given.address)
}

type Addressing = Pick<FamilyPlan, 'local' | 'assigned' | 'prefixLen' | 'gateway' | 'own' | 'linkLocal'>

const addressing4 = (o: Options, host: HostFamily): Addressing => {
  const known = o.address.v4?.address ?? host.address
  const local = host.index === null || known === null
  const assigned = known ?? LOCAL_ADDRESS4
  const gateway = o.gateway.v4 ?? host.gateway ?? (local ? LOCAL_GATEWAY4 : null)
  return { local, assigned, prefixLen: prefix4(o, host), gateway, own: gateway, linkLocal: null }
}

/** A host interface without link-local address was brought up a moment ago: what it has is kept, the rest is local mode. */
const addressing6 = (o: Options, host: HostFamily): Addressing => {
  const assigned = o.address.v6?.address ?? host.address
  const local = host.index === null || assigned === null || host.linkLocal === null
  const gateway = o.gateway.v6 ?? host.gateway ?? (local ? LOCAL_GATEWAY6 : null)
  const fromGateway = gateway !== null && isLinkLocal(gateway) ? gateway : null
  const linkLocal = fromGateway ?? (local ? null : host.linkLocal) ?? LOCAL_GATEWAY6
  return { local, assigned, prefixLen: PREFIX6, gateway, own: gateway ?? linkLocal, linkLocal }
}

// --- name servers

const lacksServers = (o: Options, f: 'v4' | 'v6'): boolean =>
  (o.families === 'both' || o.families === f) && o.dns[f].length === 0

const needsServers = (o: Options): boolean =>
  (!o.noDns && (['v4', 'v6'] as const).some((f) => lacksServers(o, f))) ||
  o.dnsForward.v4 !== null ||
  o.dnsForward.v6 !== null

/** The address that stands for the host's loopback may be that of a name server. */
const mayHideServers = (o: Options): boolean =>
  !o.noDns && (o.mapGw || o.mapHostLoopback.v4 !== null || o.mapHostLoopback.v6 !== null)

/** Whether /etc/resolv.conf matters to these options. */
export const needsResolvConf = (o: Options): boolean =>
  !o.spliceOnly && (needsServers(o) || mayHideServers(o) || o.search === null)

export interface Resolvers {
  readonly dns: ReadonlyArray<InAny>
  readonly dnsForward: InAny | null
  readonly dnsHost: InAny | null
}

/**
 * Name servers of one IP version. `servers`: from /etc/resolv.conf, in order; `given`: with -D, passed on untouched.
 * A server that the guest cannot reach as it is (loopback, or shadowed by the loopback map) is replaced by the
 * forwarded address; if there is none, the loopback map becomes it, so that gateway:53 is a resolver. With -D a shadowed
 * one does that too, for a guest that asks it all the same. dnsHost is the host's first server unless said otherwise.
 * Source: passt(1), NOTES, Handling of traffic with loopback destination and source addresses
 */
export const resolvers = (
  servers: ReadonlyArray<InAny>,
  given: ReadonlyArray<InAny>,
  map: InAny | null,
  forward: InAny | null,
  host: InAny | null
): Resolvers => {
  const dnsHost = host ?? servers[0] ?? null
  const shadowed = (a: InAny): boolean => map !== null && sameAddr(a, map)
  if (given.length > 0) {
    const dnsForward = forward ?? (servers.some(shadowed) ? map : null)
    return { dns: given, dnsForward, dnsHost: dnsForward === null ? null : dnsHost }
  }
  const hidden = (a: InAny): boolean => isLoopback(a) || shadowed(a)
  const dnsForward = forward ?? (servers.some(hidden) ? map : null)
  const dns = servers.flatMap((a) => (hidden(a) ? (dnsForward === null ? [] : [dnsForward]) : [a]))
  return {
    dns: dns.filter((a, i) => dns.findIndex((b) => sameAddr(a, b)) === i).slice(0, MAX_DNS),
    dnsForward,
    dnsHost
  }
}

const familyPlan = (
  o: Options,
  host: HostFamily | null,
  conf: ResolvConf,
  family: 'v4' | 'v6'
): FamilyPlan | null => {
  if (host === null) return null
  const a = family === 'v4' ? addressing4(o, host) : addressing6(o, host)
  const map = o.mapHostLoopback[family] ?? (o.mapGw ? a.gateway : null)
  const servers = o.noDns ? [] : family === 'v4' ? conf.servers4 : conf.servers6
  return {
    index: host.index,
    ifname: host.ifname,
    addressGiven: o.address[family] !== null,
    ...a,
    ...resolvers(servers, o.dns[family], map, o.dnsForward[family], o.dnsHost[family]),
    mapHostLoopback: map,
    mapGuestAddr: o.mapGuestAddr[family],
    outbound: o.outbound[family],
    outboundIf: o.outboundIf[family],
    copyAddresses: !a.local && o.copyAddrs && o.address[family] === null,
    copyRoutes: !a.local && o.copyRoutes && o.gateway[family] === null
  }
}

// --- the rest

/** What passt-repair(1) looks for in a directory. */
export const REPAIR_SUFFIX = '.repair'
const repairPathOf = (o: Options): RepairPath | null => {
  if (!o.vhostUser || o.fd !== null || o.repairPath === 'none') return null
  return o.repairPath === null ? { kind: 'beside' } : { kind: 'path', path: o.repairPath }
}
/** The path itself, once the link's socket is at `link`. */
export const repairPathAt = (p: RepairPath, link: string): string =>
  p.kind === 'path' ? p.path : `${link}${REPAIR_SUFFIX}`

const linkOf = (o: Options): LinkPlan | null => {
  if (o.fd !== null) return { kind: 'fd', fd: o.fd }
  return o.mode === 'passt' ? { kind: 'socket', path: o.socketPath } : null
}

const namespaceOf = (o: Options): NamespacePlan => {
  if (o.mode === 'passt') return { kind: 'none' }
  const { target } = o
  const join = { kind: 'join', quitWithNamespace: o.netnsQuit } as const
  switch (target.kind) {
    case 'shell':
    case 'command':
      return {
        kind: 'spawn',
        argvIndex: target.kind === 'shell' ? null : o.positionalsAt,
        newUserns: !o.netnsOnly,
        newPidns: o.pidns
      }
    case 'pid': {
      const ns = `/proc/${target.pid}/ns`
      return { ...join, netns: `${ns}/net`, userns: o.userns ?? `${ns}/user`, pid: target.pid }
    }
    case 'netns':
      return { ...join, netns: target.path, userns: o.userns, pid: null }
  }
}

/** What each IP version asks of a link, octets (RFC 791 p. 25, RFC 8200 §5); the kernel has none of it below that. */
const MIN_MTU = { v4: 68, v6: 1280 } as const

interface Fitting {
  readonly host: HostConfig
  /** IP versions that were left out, in words. */
  readonly out: string | null
}

/** The host without the IP versions for which the MTU is too small. 0 is no MTU but the wish for none; lo has its own. */
const fitting = (o: Options, host: HostConfig): Fitting => {
  const mtu = o.spliceOnly || o.mtu === null || o.mtu === 0 ? DEFAULT_MTU : o.mtu
  const out = (['v4', 'v6'] as const).filter((f) => host[f] !== null && mtu < MIN_MTU[f])
  const names = out.map((f) => `${f === 'v4' ? 'IPv4' : 'IPv6'} (minimum ${MIN_MTU[f]})`)
  const v4 = out.includes('v4') ? null : host.v4
  const v6 = out.includes('v6') ? null : host.v6
  return {
    host: { ...host, v4, v6 },
    out: out.length === 0 ? null : `MTU ${mtu} is too small for ${names.join(' and ')}`
  }
}

/** The address of --dns-forward, without a name server of its IP version; and there is none that leads anywhere. */
const leadsNowhere = (v4: FamilyPlan | null, v6: FamilyPlan | null): ReadonlyArray<string> => {
  const forwards = [v4, v6].flatMap((f) =>
    f === null || f.dnsForward === null ? [] : [{ from: f.dnsForward, to: f.dnsHost }]
  )
  return forwards.some(({ to }) => to !== null)
    ? []
    : forwards.map(
        ({ from }) =>
          `no ${isV4(from) ? 'IPv4' : 'IPv6'} name server in /etc/resolv.conf that ${showAddr(from)} could lead to (--dns-host)`
      )
}

const dnsWarnings = (
  o: Options,
  conf: E.Either<string, ResolvConf>,
  v4: FamilyPlan | null,
  v6: FamilyPlan | null
): ReadonlyArray<string> => {
  if (o.noDns || !needsResolvConf(o)) return []
  const nothing = E.isLeft(conf)
    ? [`cannot read /etc/resolv.conf (${conf.left})`]
    : namesServers(conf.right)
      ? []
      : ['no name server in /etc/resolv.conf']
  if (!needsServers(o)) return E.isLeft(conf) && o.search === null ? nothing : []
  const told = (v4?.dns.length ?? 0) + (v6?.dns.length ?? 0) > 0
  if (nothing.length === 0) return told ? [] : ['no usable name server in /etc/resolv.conf']
  const unreached = told ? '' : ', which no address of the guest leads to (--dns-forward)'
  return nothing.map((what) => `${what}: using the name server on this machine${unreached}`)
}

/** What the guest is told of `-H`, `--fqdn` and so on is not checked against anything else here. */
const build = (o: Options, { host, out }: Fitting, conf: E.Either<string, ResolvConf>): Plan => {
  const known = effectiveServers(E.getOrElse(() => EMPTY_RESOLV_CONF)(conf))
  const v4 = familyPlan(o, host.v4, known, 'v4')
  const v6 = familyPlan(o, host.v6, known, 'v6')
  const nameOf = (f: FamilyPlan | null): string | null => (f === null || f.local ? null : f.ifname)
  const ndp = o.ndp && v6 !== null
  const plan: Plan = {
    mode: o.mode,
    namespace: namespaceOf(o),
    link: linkOf(o),
    vhostUser: o.vhostUser ? o.vhostFeatures : null,
    repairPath: repairPathOf(o),
    migrateExit: o.migrateExit,
    migrateNoLinger: o.migrateNoLinger,
    oneOff: o.oneOff,
    foreground: o.foreground,
    quiet: o.quiet,
    debug: o.debug,
    trace: o.trace,
    stats: o.stats,
    logFile: o.logFile,
    logSize: o.logSize,
    pidFile: o.pidFile,
    restartPath: o.restartPath,
    confPath: o.confPath,
    apiPath: o.apiPath,
    pcap: o.pcap,
    pcapSize: o.pcapSize,
    record: o.record,
    recordSize: o.recordSize,
    recordPayload: o.recordPayload,
    recordPaused: o.recordPaused,
    runAs: o.runAs,
    chrootFallback: o.chrootFallback,
    follow: o.follow && !o.spliceOnly,
    mtu: o.mtu ?? DEFAULT_MTU,
    ownMac: o.mac ?? DEFAULT_MAC,
    nsMac: o.nsMac,
    tapName: o.nsIfname ?? nameOf(v4) ?? nameOf(v6) ?? 'tap0',
    configNet: o.configNet,
    v4,
    v6,
    v6Only: o.families === 'v6',
    tcp: o.tcp,
    udp: o.udp,
    limits: o.limits,
    rates: o.rates,
    icmp: o.icmp,
    // without a gateway we have no address to serve from (passt(1), --no-dhcp)
    dhcp: o.dhcp && v4 !== null && v4.gateway !== null,
    dhcpv6: o.dhcpv6 && v6 !== null && v6.assigned !== null,
    ndp,
    // a configured namespace is not to get a second address by SLAAC
    ra: o.ra && ndp && !o.configNet,
    ports: o.ports,
    freebind: o.freebind,
    splice: o.splice,
    spliceOnly: o.spliceOnly,
    hostLoToNsLo: o.hostLoToNsLo,
    announceDns: o.dhcpDns,
    announceSearch: o.dhcpSearch,
    search: o.search ?? known.search,
    hostname: o.hostname,
    fqdn: o.fqdn,
    warnings: [
      ...o.warnings,
      ...(out === null ? [] : [`${out}: going on without IPv6`]),
      ...dnsWarnings(o, conf, v4, v6),
      ...leadsNowhere(v4, v6)
    ],
    info: []
  }
  return { ...plan, info: [...host.notices, ...infoLines(plan)] }
}

/**
 * Options, what the host offers and its resolver configuration (Left: why it cannot be read), put together.
 * Left: one line, status 1: an MTU that leaves no IP version.
 * Invariant: addresses in `v4` are IPv4, in `v6` IPv6; `dhcp` implies v4.gateway, `dhcpv6` implies v6.assigned.
 */
export const plan = (
  o: Options,
  host: HostConfig,
  conf: E.Either<string, ResolvConf>
): E.Either<string, Plan> => {
  const fits = fitting(o, host)
  const nothing = fits.host.v4 === null && fits.host.v6 === null
  const reason = nothing ? fits.out : null
  return reason === null ? E.right(build(o, fits, conf)) : E.left(reason)
}

/** Of the two, the plan that is for this address. */
export const planFor = (p: Plan, a: InAny): FamilyPlan | null => (isV4(a) ? p.v4 : p.v6)
