import type { InAny } from '../codecs/value/inany.js'
import type { SeqNum } from '../codecs/value/seq.js'
import type { FlowCounter, ServiceCounter } from './counters.js'

/** Absolute ms on CLOCK_MONOTONIC with fractions (µs matter to RTT), read once per loop turn. */
export type Instant = number & { readonly Instant: unique symbol }
export const instant = (ms: number): Instant => ms as Instant

/**
 * Payload octets that stay outside the JS heap: a range of the slab, valid until the effects of this turn have been
 * carried out.
 */
export interface Payload {
  readonly off: number
  readonly len: number
}

/** Timers a flow may own, one deadline each; on the wheel they are (flow, name). */
export type TimerName = 'rto' | 'ack' | 'keepalive' | 'idle'

/**
 * What a flow machine may ask of the world. Each is addressed to the flow it came from: its one host socket, and its
 * own header fields on the tap side (addresses, ports, MACs), which the interpreter fills in.
 * Nothing is returned: results come back as events in the next turn, a failed system call included.
 */
export type Effect =
  // --- host socket, TCP
  /** socket(), options, bind() if asked, connect(). -> SOCK_CONNECTED | SOCK_FAILED */
  | { readonly type: 'TcpConnect'; readonly mss: number }
  /**
   * Append payload to the socket. What the kernel does not take at once native keeps, in order, and writes when the
   * socket is writable. `reportAck`: ask the kernel to tell when the peer has acknowledged it (TX_ACK timestamp).
   * -> one SOCK_SENT a turn
   */
  | { readonly type: 'SendToSock'; readonly payload: Payload; readonly reportAck: boolean }
  /**
   * Peek up to `octets` of unread data behind the peek offset, write them to the tap as segments starting at `seq`.
   * -> SOCK_PEEKED
   */
  | {
      readonly type: 'PeekToTap'
      readonly seq: SeqNum
      readonly ack: SeqNum
      /** Field value, already shifted by our window scale. */
      readonly wnd: number
      readonly octets: number
      readonly mss: number
    }
  /** Drop octets that the guest acknowledged from the head of the receive queue. */
  | { readonly type: 'DiscardFromSock'; readonly octets: number }
  /** Next PeekToTap starts this many octets behind the head of the receive queue (retransmission). */
  | { readonly type: 'RewindPeek'; readonly octets: number }
  | { readonly type: 'ShutdownWr' }
  /** Ask for a SOCK_READY with the present state as soon as the socket can take data. */
  | { readonly type: 'AwaitWritable' }
  /** Turn SO_KEEPALIVE on. */
  | { readonly type: 'KeepAlive' }
  /** -> SOCK_INFO */
  | { readonly type: 'QueryInfo' }
  /** So many octets more are wanted of the guest (rate limits). -> TOKENS, when it is this flow's turn */
  | { readonly type: 'AskTokens'; readonly octets: number }
  // --- tap, TCP
  /** One segment without payload. */
  | {
      readonly type: 'SegmentToTap'
      readonly seq: SeqNum
      readonly ack: SeqNum
      /** TCP flag bits, as in codecs/wire/tcp.ts */
      readonly flags: number
      readonly wnd: number
      /** Options on SYN and SYN,ACK only; null elsewhere. */
      readonly mss: number | null
      readonly windowScale: number | null
    }
  /** The connection that a listener accepted becomes the flow's socket. -> SOCK_CONNECTED */
  | { readonly type: 'SockAdopt' }
  // --- a pair of sockets, one on each side of the namespace's border; native moves the octets between them (splice(2))
  /** Side 0 is the accepted connection; connect side 1. -> SPLICE_CONNECTED | SPLICE_FAILED */
  | { readonly type: 'SpliceConnect' }
  /** shutdown(SHUT_WR) on that side, once all that was read from the other one is written. */
  | { readonly type: 'SpliceShut'; readonly side: 0 | 1 }
  | { readonly type: 'SpliceClose' }
  /** RST to both peers. */
  | { readonly type: 'SpliceReset' }
  /** One of a UDP pair: side 0 towards the initiator, bound to the address it sent to; side 1 towards the target. -> SOCK_FAILED */
  | { readonly type: 'UdpOpenSide'; readonly side: 0 | 1 }
  /** From here on native moves datagrams between the two. -> UDP_MOVED */
  | { readonly type: 'UdpJoin' }
  /** A datagram that came before they were joined. */
  | { readonly type: 'UdpToSide'; readonly side: 0 | 1; readonly payload: Payload; readonly segment: number }
  | { readonly type: 'UdpCloseBoth' }
  // --- host socket, UDP
  /** Open the flow's socket: bind, connect(), error queue on. -> SOCK_FAILED if refused */
  | { readonly type: 'UdpOpen' }
  /** One datagram; `ttl` is set on the socket when it differs from the last one sent. -> SOCK_FAILED if refused */
  | { readonly type: 'UdpToSock'; readonly payload: Payload; readonly ttl: number; readonly segment: number }
  /** Datagram(s) to the guest from the flow's peer; `segment` octets each (the last may be shorter), 0 = just one. */
  | { readonly type: 'UdpToTap'; readonly payload: Payload; readonly segment: number }
  /** The same from somebody else, who answers a question to a group: `from` as the guest sees it. */
  | {
      readonly type: 'UdpAnswerToTap'
      readonly from: InAny
      readonly fromPort: number
      readonly payload: Payload
      readonly segment: number
    }
  /** ICMP or ICMPv6 error about a datagram of this flow (RFC 792, RFC 4443 §3). */
  | {
      readonly type: 'IcmpErrorToTap'
      readonly icmpType: number
      readonly code: number
      /** Next-hop MTU, or 0. */
      readonly mtu: number
      /** Host-side address of the router or host that reported it; null: we do, for what our host's kernel said. */
      readonly offender: InAny | null
      /** Start of the guest's datagram payload, for the quotation; with `offender` null there is none. */
      readonly quoted: Payload
      /** Of the echo request, where nothing is quoted. */
      readonly seq?: number
    }
  // --- host socket, ping
  | { readonly type: 'PingOpen' }
  /** The ICMP message from its type octet on; native sends it as it is (the kernel writes identifier and checksum). */
  | { readonly type: 'PingToSock'; readonly payload: Payload; readonly ttl: number }
  /** An echo reply: ICMP message in `payload`, identifier to be set to `id`. */
  | { readonly type: 'EchoReplyToTap'; readonly payload: Payload; readonly id: number }
  // --- every flow
  | { readonly type: 'CloseSock' }
  /** SO_LINGER {1, 0} and close(): the peer gets a RST. */
  | { readonly type: 'ResetSock' }
  | { readonly type: 'ArmTimer'; readonly timer: TimerName; readonly at: Instant }
  | { readonly type: 'CancelTimer'; readonly timer: TimerName }
  /** Count something worth seeing in statistics. */
  | { readonly type: 'Count'; readonly what: FlowCounter }

/** Services that say what they did: `text` is behind their name. */
export type Service = 'DHCP' | 'DHCPv6' | 'NDP'
/** Frames and messages outside flows: what the answering services (ARP, NDP, DHCP, DHCPv6) produce. */
export type ServiceEffect =
  /** A whole Ethernet frame, at least 60 octets, checksums filled in. */
  | { readonly type: 'FrameToTap'; readonly frame: Uint8Array }
  | { readonly type: 'ArmServiceTimer'; readonly at: Instant }
  | {
      readonly type: 'Log'
      readonly service: Service
      readonly level: 'info' | 'debug'
      readonly text: string
    }
  /** A message that got no answer, and why: 'arp: ours', 'dhcp: other server', … */
  | { readonly type: 'Count'; readonly what: ServiceCounter }

type Inert<K extends Effect['type']> = (
  _: unknown,
  params: Omit<Extract<Effect, { type: K }>, 'type'>
) => void
const inert = (): void => {}

/** For `setup({ actions })`: every effect is an action that does nothing; the runtime interprets it. */
export const effectActions: { readonly [K in Effect['type']]: Inert<K> } = {
  TcpConnect: inert,
  SendToSock: inert,
  PeekToTap: inert,
  DiscardFromSock: inert,
  RewindPeek: inert,
  ShutdownWr: inert,
  AwaitWritable: inert,
  KeepAlive: inert,
  QueryInfo: inert,
  AskTokens: inert,
  SegmentToTap: inert,
  SockAdopt: inert,
  SpliceConnect: inert,
  SpliceShut: inert,
  SpliceClose: inert,
  SpliceReset: inert,
  UdpOpenSide: inert,
  UdpJoin: inert,
  UdpToSide: inert,
  UdpCloseBoth: inert,
  UdpOpen: inert,
  UdpToSock: inert,
  UdpToTap: inert,
  UdpAnswerToTap: inert,
  IcmpErrorToTap: inert,
  PingOpen: inert,
  PingToSock: inert,
  EchoReplyToTap: inert,
  CloseSock: inert,
  ResetSock: inert,
  ArmTimer: inert,
  CancelTimer: inert,
  Count: inert
}
