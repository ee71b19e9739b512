import type { InAny } from '../codecs/value/inany.js'

// A socket that changes hands: as a kernel tells it in repair mode, and as another one is made of it (tcp(7), linux/tcp.h).

/** TCP_REPAIR_WINDOW */
export interface RepairWindow {
  readonly sndWl1: number
  readonly sndWnd: number
  readonly maxWindow: number
  readonly rcvWnd: number
  readonly rcvWup: number
}
/** A socket in repair mode, as its kernel tells it; sequence numbers of the ends of both queues. Unsigned numbers all. */
export interface SocketDump {
  readonly sndSeq: number
  readonly rcvSeq: number
  /** SIOCOUTQ, SIOCOUTQNSD, SIOCINQ */
  readonly outq: number
  readonly outqNsd: number
  readonly inq: number
  /** Octets of both queues that were read. */
  readonly sndKept: number
  readonly rcvKept: number
  /** TCP_MAXSEG */
  readonly maxSeg: number
  /** TCP_TIMESTAMP, 0: without. */
  readonly timestamp: number
  readonly window: RepairWindow
  readonly sndScale: number
  readonly rcvScale: number
  /** As in TCP_INFO. */
  readonly state: number
  readonly options: number
}
/** What a socket is made of; sequence numbers of the starts of both queues. Unsigned numbers all. */
export interface SocketRestore {
  readonly own: InAny
  readonly ownPort: number
  readonly peer: InAny
  readonly peerPort: number
  readonly sndSeq: number
  readonly rcvSeq: number
  readonly maxSeg: number
  readonly timestamp: number
  readonly window: RepairWindow
  readonly sndScale: number
  readonly rcvScale: number
  /** TCPI_OPT_* */
  readonly options: number
  /** As getsockopt() says it; 0: leave it. */
  readonly sndBuf: number
  /** Octets of the send queue. */
  readonly sndOctets: number
}

/** How it is made, and what the machine of its connection has to know (SOCK_RESTORED). */
export interface Restoring {
  readonly socket: SocketRestore
  /** shutdown() in repair mode: our FIN was acknowledged. Or when it runs: it goes out again, behind what was not sent. */
  readonly shutInRepair: boolean
  readonly shutAtRun: boolean
  /** Octets of its receive queue that the guest was sent already. */
  readonly peekOffset: number
  /** Octets of its send queue that the peer has not acknowledged, and of its receive queue. */
  readonly unacked: number
  readonly unread: number
  /** The peer's FIN has come; its kernel will not say so again. */
  readonly ended: boolean
}
