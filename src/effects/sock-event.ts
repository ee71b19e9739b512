import type { InAny } from '../codecs/value/inany.js'
import type { Instant, Payload } from './effect.js'

/** µs. Never measured (tcpi_min_rtt has one bit more). */
export const NO_RTT = 0x7fffffff

/** What TCP_INFO and SO_MEMINFO said of a host socket; octets unless named otherwise. Source: tcp(7), struct tcp_info. */
export interface SockInfo {
  /** Window that the peer last offered (tcpi_snd_wnd), unscaled octets; 0 also when the kernel does not tell. */
  readonly sndWnd: number
  /** µs */
  readonly rtt: number
  /** µs, or NO_RTT */
  readonly minRtt: number
  /** Octets the peer has acknowledged since connect(), mod 2^32 (tcpi_bytes_acked; counts the SYN as 1). */
  readonly bytesAcked: number
  /** Send buffer room left by the kernel's own accounting: SK_MEMINFO_SNDBUF - SK_MEMINFO_WMEM_QUEUED, not below 0. */
  readonly sndFree: number
  /** SK_MEMINFO_SNDBUF */
  readonly sndBuf: number
}

/**
 * What happens to a flow's host socket, whichever protocol. Order within one turn: results of the previous turn's
 * effects first (SENT, PEEKED, FAILED), then readiness.
 */
export type SockEvent =
  | { readonly type: 'SOCK_CONNECTED'; readonly info: SockInfo; readonly now: Instant }
  /**
   * Outcome of all SendToSock of one turn, or of native writing what it kept. `taken`: octets the kernel newly took.
   * `dropped`: refused because native keeps too much already; always the last ones given.
   */
  | {
      readonly type: 'SOCK_SENT'
      readonly taken: number
      readonly dropped: number
      readonly errno: number
      readonly info: SockInfo
      readonly now: Instant
    }
  | {
      readonly type: 'SOCK_PEEKED'
      /** Octets written to the tap from the requested SEQ on. */
      readonly octets: number
      /** End of stream directly behind them. */
      readonly eof: boolean
      /** The receive queue held no more than this. */
      readonly drained: boolean
      /** The tap refused a frame; what follows was not sent and the peek offset stands behind the last one sent. */
      readonly tapFull: boolean
      /** With `tapFull`: TAP_ROOM follows once there is room. */
      readonly tapTells: boolean
      readonly errno: number
      readonly now: Instant
    }
  | {
      readonly type: 'SOCK_READY'
      readonly readable: boolean
      readonly writable: boolean
      readonly rdhup: boolean
      readonly info: SockInfo | null
      readonly now: Instant
    }
  | { readonly type: 'SOCK_INFO'; readonly info: SockInfo; readonly now: Instant }
  /** The peer's kernel acknowledged everything up to and including this octet, counted from 0 mod 2^32 (ee_data). */
  | { readonly type: 'SOCK_ACKED'; readonly octet: number; readonly now: Instant }
  /**
   * A system call or the connection failed; the socket is of no further use (close it). `refused`: by the kernel, for the
   * destination's sake.
   */
  | {
      readonly type: 'SOCK_FAILED'
      readonly errno: number
      readonly refused?: boolean
      readonly now: Instant
    }
  /** UDP, ping: the kernel refused to send there (a route, a packet filter). The socket stays. */
  | { readonly type: 'SOCK_REFUSED'; readonly errno: number; readonly now: Instant }
  /** UDP: `segment` octets per datagram, 0 = just one. Ping: the ICMP message. */
  | {
      readonly type: 'SOCK_DATAGRAM'
      readonly payload: Payload
      readonly segment: number
      readonly now: Instant
    }
  /** UDP, on the socket of a question to a group: an answer (machines/address/on-link.ts). `from` as the guest sees it. */
  | {
      readonly type: 'SOCK_ANSWER'
      readonly from: InAny
      readonly fromPort: number
      readonly payload: Payload
      readonly segment: number
      readonly now: Instant
    }
  /** From the error queue of a UDP or ping socket (struct sock_extended_err, ip(7)). */
  | {
      readonly type: 'SOCK_ICMP_ERROR'
      readonly errno: number
      readonly icmpType: number
      readonly code: number
      readonly mtu: number
      readonly offender: InAny
      readonly quoted: Payload
      readonly now: Instant
    }

/** What happens to a spliced pair. `moved`: octets so far from side 0 to side 1 and back. Source: native/addon/abi.h. */
export type SpliceEvent =
  | { readonly type: 'SPLICE_CONNECTED'; readonly now: Instant }
  /** The stream from `side` has ended, and all of it is written to the other side. */
  | {
      readonly type: 'SPLICE_EOF'
      readonly side: 0 | 1
      readonly moved: readonly [number, number]
      readonly now: Instant
    }
  /** That side is broken. Nothing more comes. */
  | {
      readonly type: 'SPLICE_FAILED'
      readonly side: 0 | 1
      readonly errno: number
      readonly moved: readonly [number, number]
      readonly now: Instant
    }

/** Of a joined UDP pair: datagrams that `side` received since the last report; at most once a second. */
export interface UdpMoved {
  readonly type: 'UDP_MOVED'
  readonly side: 0 | 1
  readonly datagrams: number
  readonly now: Instant
}
