import type { Mac } from '../codecs/ethernet.js'
import type { InAny } from '../codecs/inany.js'
import type { PingContext, PingEvent } from '../machines/ping.js'
import type { TcpContext, TcpEvent } from '../machines/tcp.js'
import type { UdpContext, UdpEvent } from '../machines/udp.js'
import type { State } from './compile.js'

/** Where a flow's packets come from and go to; fixed for its life. Addresses as each side sees them. */
export interface FlowAddresses {
  readonly v6: boolean
  readonly guestMac: Mac
  /** MAC that the guest sees its peer at. */
  readonly ourMac: Mac
  readonly guestAddr: InAny
  readonly guestPort: number
  /** The peer's address and port as the guest knows them. */
  readonly ourAddr: InAny
  readonly ourPort: number
  /** The same peer as the host knows it (src/machines/nat.ts). */
  readonly hostAddr: InAny
  readonly hostPort: number
}

/**
 * One flow. `index` is its place in the flow table and its native handle. Only `state` and the two flags change: the
 * state by the machine, `touched` while its TURN_END of this turn is due, `sockOpen` so that no descriptor is left behind.
 */
interface FlowBase extends FlowAddresses {
  readonly index: number
  touched: boolean
  sockOpen: boolean
}
export interface TcpFlow extends FlowBase {
  readonly kind: 'tcp'
  state: State<TcpContext>
}
export interface UdpFlow extends FlowBase {
  readonly kind: 'udp'
  state: State<UdpContext>
}
export interface PingFlow extends FlowBase {
  readonly kind: 'ping'
  state: State<PingContext>
}
export type Flow = TcpFlow | UdpFlow | PingFlow
export type { PingEvent, TcpEvent, UdpEvent }
