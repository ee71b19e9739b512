import type { InAny } from '../../codecs/value/inany.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import type { PingContext, PingEvent } from '../../machines/flow/ping.js'
import type { TcpSpliceContext, TcpSpliceEvent } from '../../machines/flow/tcp-splice.js'
import type { UdpContext, UdpEvent } from '../../machines/flow/udp.js'
import type { UdpSpliceContext, UdpSpliceEvent } from '../../machines/flow/udp-splice.js'
import type { UnixEnd } from '../../machines/forward/forward-rules.js'
import type { TcpContext, TcpEvent } from '../../machines/tcp/tcp.js'
import type { State } from '../machine/compile.js'

/** Where a flow's packets come from and go to; fixed for its life but for one. Addresses as each side sees them. */
export interface FlowAddresses {
  readonly v6: boolean
  /** Where its last frame came from. BROADCAST_MAC until the guest has answered what a host peer began: it is wherever the guest is by then. */
  guestMac: Mac
  /** MAC that the guest sees its peer at. */
  readonly ourMac: Mac
  readonly guestAddr: InAny
  readonly guestPort: number
  /** The peer's address and port as the guest knows them. */
  readonly ourAddr: InAny
  readonly ourPort: number
  /** The same peer as the host knows it (src/machines/address/nat.ts). */
  readonly hostAddr: InAny
  readonly hostPort: number
  /** Of a flow that a host peer began: where it came to. null: the guest began it. */
  readonly arrival: Arrival | null
}

/** Where something came in by a listener. */
export interface Arrival {
  readonly listener: number
  /** Our address and port that the peer sent to. */
  readonly addr: InAny
  readonly port: number
  /** IPv6 scope of a link-local peer, else 0. */
  readonly scope: number
  /** Accepted connection (native/addon/abi.h, EV_ACCEPTED), -1 for datagrams. */
  readonly slot: number
}

/** A socket to open and connect. */
export interface Endpoint {
  /** Made in the namespace, else on the host. */
  readonly inNamespace: boolean
  readonly dst: InAny
  readonly dstPort: number
  readonly scope: number
  /** null: the kernel's choice. */
  readonly src: InAny | null
  /** 0: the kernel's choice. */
  readonly srcPort: number
  /** It is a UNIX socket of the host, of this path; what stands above names nothing then. */
  readonly unix: UnixEnd | null
}
/** A pair of sockets that needs no tap: side 0 towards who began, side 1 towards the target. */
export interface PairAddresses {
  readonly arrival: Arrival
  readonly side0: Endpoint
  readonly side1: Endpoint
}

/**
 * One flow. `index` is its place in the flow table and its native handle. Only `state` and the flags change: the state by the
 * machine, `touched` from its first event in a turn to the turn's end, `sockOpen` so that no descriptor is left behind, `held` while
 * it is being moved away: its turns do not end.
 */
interface FlowBase {
  readonly index: number
  touched: boolean
  sockOpen: boolean
  held: boolean
}
export interface TcpFlow extends FlowBase, FlowAddresses {
  readonly kind: 'tcp'
  state: State<TcpContext>
}
export interface UdpFlow extends FlowBase, FlowAddresses {
  readonly kind: 'udp'
  state: State<UdpContext>
}
export interface PingFlow extends FlowBase, FlowAddresses {
  readonly kind: 'ping'
  state: State<PingContext>
}
export interface TcpSpliceFlow extends FlowBase, PairAddresses {
  readonly kind: 'tcp-splice'
  state: State<TcpSpliceContext>
}
export interface UdpSpliceFlow extends FlowBase, PairAddresses {
  readonly kind: 'udp-splice'
  state: State<UdpSpliceContext>
}
/** Through the tap. */
export type TapFlow = TcpFlow | UdpFlow | PingFlow
/** `a` and its machine's first state as a flow. Key by key: a spread takes microseconds of each connection (copier.ts). */
export const tapFlow = <K extends TapFlow['kind']>(
  kind: K,
  index: number,
  a: FlowAddresses,
  state: Extract<TapFlow, { kind: K }>['state']
): Extract<TapFlow, { kind: K }> => {
  const flow = {
    kind,
    index,
    touched: false,
    sockOpen: false,
    held: false,
    state,
    v6: a.v6,
    guestMac: a.guestMac,
    ourMac: a.ourMac,
    guestAddr: a.guestAddr,
    guestPort: a.guestPort,
    ourAddr: a.ourAddr,
    ourPort: a.ourPort,
    hostAddr: a.hostAddr,
    hostPort: a.hostPort,
    arrival: a.arrival
  }
  return flow as FlowBase & FlowAddresses as Extract<TapFlow, { kind: K }>
}
/** Past it. */
export type PairFlow = TcpSpliceFlow | UdpSpliceFlow
export const pairFlow = <K extends PairFlow['kind']>(
  kind: K,
  index: number,
  a: PairAddresses,
  state: Extract<PairFlow, { kind: K }>['state']
): Extract<PairFlow, { kind: K }> => {
  const { arrival, side0, side1 } = a
  const flow = { kind, index, touched: false, sockOpen: false, held: false, state, arrival, side0, side1 }
  return flow as FlowBase & PairAddresses as Extract<PairFlow, { kind: K }>
}
export const isPair = (f: Flow): f is PairFlow => f.kind === 'tcp-splice' || f.kind === 'udp-splice'
export type Flow = TapFlow | PairFlow
export type FlowEvent = TcpEvent | UdpEvent | PingEvent | TcpSpliceEvent | UdpSpliceEvent
export type { PingEvent, TcpEvent, TcpSpliceEvent, UdpEvent, UdpSpliceEvent }
