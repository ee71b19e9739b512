import {
  type InAny,
  isBroadcast4,
  isLoopback,
  isMulticast,
  isUnspecified,
  isV4,
  LOOPBACK4,
  LOOPBACK6,
  sameAddr
} from '../../codecs/value/inany.js'
import { PROTO_TCP, PROTO_UDP } from '../../codecs/wire/checksum.js'

// Which host address stands for which guest-side address, behaviour.md#translation. There are no
// inverted maps (#regression-23): what comes back belongs to the flow that it came from, and the flow knows both addresses.

/** null: not known, or not mapped. */
export interface NatConfig {
  /** The guest's address as configured (-a), not as last seen. */
  readonly assigned4: InAny | null
  readonly assigned6: InAny | null
  /** Ours on the guest's link: what stands in for host addresses that the guest could not answer to. */
  readonly own4: InAny | null
  readonly own6: InAny | null
  /** --map-host-loopback, by default the gateway. */
  readonly mapHostLoopback4: InAny | null
  readonly mapHostLoopback6: InAny | null
  /** --map-guest-addr */
  readonly mapGuestAddr4: InAny | null
  readonly mapGuestAddr6: InAny | null
  /**
   * --dns-forward, and the resolver it stands for (--dns-host): any host address, 127.0.0.53 included (#regression-79,
   * #regression-92).
   */
  readonly dnsForward4: InAny | null
  readonly dnsForward6: InAny | null
  readonly dnsHost4: InAny | null
  readonly dnsHost6: InAny | null
}

/** Every address means what it says. */
export const UNMAPPED: NatConfig = {
  assigned4: null,
  assigned6: null,
  own4: null,
  own6: null,
  mapHostLoopback4: null,
  mapHostLoopback6: null,
  mapGuestAddr4: null,
  mapGuestAddr6: null,
  dnsForward4: null,
  dnsForward6: null,
  dnsHost4: null,
  dnsHost6: null
}

/** The peer as the host knows it. */
export interface HostSide {
  readonly dst: InAny
  readonly dstPort: number
}

/** Subnets' own broadcast addresses are the kernel's to refuse. */
export const isGroup = (a: InAny): boolean => isMulticast(a) || isBroadcast4(a)
const is = (a: InAny, mapped: InAny | null): boolean => mapped !== null && sameAddr(a, mapped)
const dnsPort = (proto: number, port: number): boolean =>
  (proto === PROTO_TCP || proto === PROTO_UDP) && (port === 53 || port === 853)

/**
 * Where a packet of the guest goes on the host; null: nowhere, drop it. `dstPort`: the identifier for echo requests,
 * where 0 is legal (#regression-45). First match wins: DNS, host loopback, guest address, unchanged.
 */
export const hostSideOf = (c: NatConfig, proto: number, dst: InAny, dstPort: number): HostSide | null => {
  const ports = proto === PROTO_TCP || proto === PROTO_UDP
  if (isUnspecified(dst) || isLoopback(dst) || (ports && dstPort === 0)) return null
  if (proto === PROTO_TCP && isGroup(dst)) return null
  const v4 = isV4(dst)
  const resolver = v4 ? c.dnsHost4 : c.dnsHost6
  if (resolver !== null && dnsPort(proto, dstPort) && is(dst, v4 ? c.dnsForward4 : c.dnsForward6))
    return { dst: resolver, dstPort }
  if (is(dst, v4 ? c.mapHostLoopback4 : c.mapHostLoopback6))
    return { dst: v4 ? LOOPBACK4 : LOOPBACK6, dstPort }
  const assigned = v4 ? c.assigned4 : c.assigned6
  if (assigned !== null && is(dst, v4 ? c.mapGuestAddr4 : c.mapGuestAddr6)) return { dst: assigned, dstPort }
  return { dst, dstPort }
}

/**
 * What the guest sees a host-side address as: source of an ICMP error about `flow`, null if there is none to show (then
 * the error is not relayed). The flow's own peer appears under the name the guest has for it, and only then is a DNS
 * mapping undone: the same resolver met otherwise keeps its address (#regression-29). `seen`: last address the guest used.
 * Law: reverseSource(c, { ourAddr: a, hostAddr: hostSideOf(c, p, a, port).dst }, hostAddr) = a.
 */
export const reverseSource = (
  c: NatConfig,
  flow: { readonly ourAddr: InAny; readonly hostAddr: InAny },
  hostAddr: InAny,
  seen: InAny | null = null
): InAny | null => {
  const v4 = isV4(flow.ourAddr)
  if (isUnspecified(hostAddr) || isGroup(hostAddr) || isV4(hostAddr) !== v4) return null
  if (sameAddr(hostAddr, flow.hostAddr)) return flow.ourAddr
  const loopbackMap = v4 ? c.mapHostLoopback4 : c.mapHostLoopback6
  if (loopbackMap !== null && sameAddr(hostAddr, v4 ? LOOPBACK4 : LOOPBACK6)) return loopbackMap
  const guest = is(hostAddr, v4 ? c.assigned4 : c.assigned6)
  const guestMap = v4 ? c.mapGuestAddr4 : c.mapGuestAddr6
  if (guestMap !== null && guest) return guestMap
  return guest || isLoopback(hostAddr) || is(hostAddr, seen) ? (v4 ? c.own4 : c.own6) : hostAddr
}
