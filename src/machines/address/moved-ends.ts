import { type InAny, isLoopback, isUnicast, isUnspecified, isV4, sameAddr } from '../../codecs/value/inany.js'
import { PROTO_TCP } from '../../codecs/wire/checksum.js'
import { hostSideOf, type NatConfig } from './nat.js'

// Whether a connection that another passt had may be here, behaviour.md#migration. A state comes from whoever has our client's
// socket, and its options are not ours: it gives a guest nothing that it could not have here without.

/** Addresses as codecs/control/migration.ts has them: `own` is ours, towards the guest the one that it talks to. */
export interface MovedEnds {
  readonly host: {
    readonly own: InAny
    readonly ownPort: number
    readonly peer: InAny
    readonly peerPort: number
  }
  readonly tap: {
    readonly own: InAny
    readonly ownPort: number
    readonly peer: InAny
    readonly peerPort: number
  }
  readonly fromHost: boolean
}
/** What our options say. */
export interface Allowed {
  readonly nat: NatConfig
  readonly tcp: boolean
  readonly v4: boolean
  readonly v6: boolean
  /** -o */
  readonly outbound4: InAny | null
  readonly outbound6: InAny | null
}

/** The guest could begin it here: under the name that it uses, or by the peer's own address. */
const reachable = (nat: NatConfig, { host, tap }: MovedEnds): boolean => {
  const isPeer = (addr: InAny, port: number): boolean => {
    const to = hostSideOf(nat, PROTO_TCP, addr, port)
    return to !== null && sameAddr(to.dst, host.peer) && to.dstPort === host.peerPort
  }
  return isPeer(tap.own, tap.ownPort) || isPeer(host.peer, host.peerPort)
}

/**
 * May it? `listens`: to that port of the host, for the guest (-t). What a host peer began came through the source's ports, which
 * need not be ours. But whoever is on our loopback interface came through a port of ours, or is one that the guest may ask.
 */
export const mayCome = (o: Allowed, e: MovedEnds, listens: (port: number) => boolean): boolean => {
  const { own, ownPort, peer } = e.host
  const v4 = isV4(peer)
  if (!o.tcp || !(v4 ? o.v4 : o.v6) || !isUnicast(own) || !isUnicast(peer) || isUnspecified(e.tap.peer))
    return false
  if (!e.fromHost) {
    const outbound = v4 ? o.outbound4 : o.outbound6
    return reachable(o.nat, e) && (outbound === null || sameAddr(own, outbound))
  }
  if (!isLoopback(peer)) return true
  return listens(ownPort) || (v4 ? o.nat.mapHostLoopback4 : o.nat.mapHostLoopback6) !== null
}
