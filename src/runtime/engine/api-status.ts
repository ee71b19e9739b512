import type { RouteInfo, Status } from '../../codecs/control/api.js'
import type * as rt from '../../codecs/kernel/rtnetlink.js'
import { AF_INET6 } from '../../codecs/kernel/rtnetlink.js'
import { type InAny, showAddr } from '../../codecs/value/inany.js'
import { showMac } from '../../codecs/wire/ethernet.js'
import { VERSION } from '../cli/help.js'
import type { World } from '../data/world.js'
import { own } from '../host/host.js'
import type { Made } from '../plan/config-net.js'
import type { FamilyPlan, Plan } from '../plan/plan-types.js'

// What the API tells of the program as a whole (behaviour.md#api): the plan, and what came of it.

/** What was made of the namespace, and what was not, with the reason. */
export interface NamespaceIs {
  readonly made: Made
  readonly leftOut: ReadonlyArray<string>
}

/** Octets of JSON, of each list: there are eight at most, and an answer has ANSWER_MAX. */
const LIST_MAX = 6144
/** The first of them: what is behind those is not even looked at. */
const few = <A, B>(all: ReadonlyArray<A>, of: (a: A) => B): B[] => {
  const first: B[] = []
  let sum = 0
  for (const a of all) {
    const b = of(a)
    sum += Buffer.byteLength(JSON.stringify(b)) + 1
    if (sum > LIST_MAX) break
    first.push(b)
  }
  return first
}
const itself = (text: string): string => text
export const textOr = (a: InAny | null): string | null => (a === null ? null : showAddr(a))

const familyOf = (f: FamilyPlan | null): Status['ipv4'] =>
  f === null
    ? null
    : {
        interface: f.ifname,
        address: textOr(f.assigned),
        prefixLength: f.prefixLen,
        gateway: textOr(f.gateway),
        outbound: textOr(f.outbound),
        outboundInterface: f.outboundIf,
        dns: few(f.dns, showAddr)
      }

const routeOf = (r: rt.Route): RouteInfo => {
  const hops = r.multipath ?? [r]
  return {
    destination: `${r.dst === null ? (r.family === AF_INET6 ? '::' : '0.0.0.0') : showAddr(r.dst)}/${r.dstLen}`,
    gateways: hops.flatMap((h) => textOr(h.gateway ?? h.via) ?? []),
    metric: r.priority
  }
}
const addressOf = (a: rt.Address): string => `${textOr(own(a)) ?? ''}/${a.prefixLen}`
const namespaceOf = ({ made: { addresses, routes }, leftOut }: NamespaceIs): Status['namespace'] => ({
  addresses: few(addresses, addressOf),
  routes: few(routes, routeOf),
  routesInAll: routes.length,
  leftOut: few(leftOut, itself),
  leftOutInAll: leftOut.length
})

const SERVICES = ['tcp', 'udp', 'icmp', 'dhcp', 'dhcpv6', 'ndp', 'ra'] as const

/** `namespace`, null: none is configured. */
export const statusOf = (
  w: World,
  p: Plan,
  namespace: NamespaceIs | null,
  pid: number,
  uptimeMs: number
): Status => ({
  version: VERSION,
  mode: p.mode,
  pid,
  uptimeMs,
  link: p.vhostUser !== null ? 'vhost-user' : p.link !== null ? 'socket' : p.spliceOnly ? 'none' : 'tap',
  interface: p.tapName,
  mtu: p.mtu,
  mac: showMac(p.ownMac),
  guest: {
    up: w.guest.up,
    mac: showMac(w.guest.mac),
    ipv4: textOr(w.guest.v4),
    ipv6: textOr(w.guest.v6)
  },
  ipv4: familyOf(p.v4),
  ipv6: familyOf(p.v6),
  search: few(p.search, itself),
  namespace: namespace === null ? null : namespaceOf(namespace),
  serves: SERVICES.filter((s) => p[s]),
  notes: few([...p.warnings, ...p.info], itself)
})
