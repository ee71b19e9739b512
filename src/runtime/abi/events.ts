import type { InAny } from '../../codecs/value/inany.js'
import type { Instant, Payload } from '../../effects/effect.js'
import type { SocketDump } from '../../effects/hand-over.js'
import {
  NO_RTT,
  type SockEvent,
  type SockInfo,
  type SpliceEvent,
  type UdpMoved
} from '../../effects/sock-event.js'
import {
  ABI_WORDS,
  CONF_ALLOWED,
  EV,
  LINK_HUNG_UP,
  PEEK_DRAINED,
  PEEK_EOF,
  PEEK_TAP_FULL,
  PEEK_TAP_TELLS,
  READY_IN,
  READY_INFO,
  READY_OUT,
  READY_RDHUP,
  SIDE_1,
  VHOST_FDS_MAX
} from './abi.js'

// One decoder for each event record of native/addon/abi.h, which names the words. Nothing else reads the ring. `i`: the record's
// place in it, from 0.

/** EV.* */
export const kindOf = (ev: Int32Array, i: number): number => ev[i * ABI_WORDS]
/** A socket's handle, or a listener's id. */
export const handleOf = (ev: Int32Array, i: number): number => ev[i * ABI_WORDS + 1]
/** Index of the flow whose socket it is. */
export const flowOf = (ev: Int32Array, i: number): number => ev[i * ABI_WORDS + 1] % SIDE_1

const addrAt = (ev: Int32Array, at: number): InAny => [
  ev[at] >>> 0,
  ev[at + 1] >>> 0,
  ev[at + 2] >>> 0,
  ev[at + 3] >>> 0
]

const U32 = 0x100000000
/** Octets from side 0 to side 1, and back: two words each, low one first. */
const movedAt = (ev: Int32Array, at: number): readonly [number, number] => [
  (ev[at + 4] >>> 0) + (ev[at + 5] >>> 0) * U32,
  (ev[at + 6] >>> 0) + (ev[at + 7] >>> 0) * U32
]

/** The event record at index `i` as an event of the flow it names, or null if it is not about a flow's socket. */
export const sockEvent = (
  ev: Int32Array,
  i: number,
  now: Instant
): SockEvent | SpliceEvent | UdpMoved | null => {
  const at = i * ABI_WORDS
  switch (ev[at]) {
    case EV.SENT:
      return {
        type: 'SOCK_SENT',
        taken: ev[at + 2],
        dropped: ev[at + 12],
        errno: ev[at + 13],
        info: infoAt(ev, at),
        now
      }
    case EV.PEEKED: {
      const flags = ev[at + 3]
      return {
        type: 'SOCK_PEEKED',
        octets: ev[at + 2],
        eof: (flags & PEEK_EOF) !== 0,
        drained: (flags & PEEK_DRAINED) !== 0,
        tapFull: (flags & PEEK_TAP_FULL) !== 0,
        tapTells: (flags & PEEK_TAP_TELLS) !== 0,
        errno: ev[at + 13],
        now
      }
    }
    case EV.READY: {
      const flags = ev[at + 2]
      return {
        type: 'SOCK_READY',
        readable: (flags & READY_IN) !== 0,
        writable: (flags & READY_OUT) !== 0,
        rdhup: (flags & READY_RDHUP) !== 0,
        info: (flags & READY_INFO) !== 0 ? infoAt(ev, at) : null,
        now
      }
    }
    case EV.DATAGRAM:
      return {
        type: 'SOCK_DATAGRAM',
        payload: { off: ev[at + 2], len: ev[at + 3] },
        segment: ev[at + 4],
        now
      }
    case EV.CONNECTED:
      return { type: 'SOCK_CONNECTED', info: infoAt(ev, at), now }
    case EV.ACKED:
      return { type: 'SOCK_ACKED', octet: ev[at + 2] >>> 0, now }
    case EV.INFO:
      return { type: 'SOCK_INFO', info: infoAt(ev, at), now }
    case EV.FAILED:
      return { type: 'SOCK_FAILED', errno: ev[at + 13], refused: ev[at + 12] !== 0, now }
    case EV.REFUSED:
      return { type: 'SOCK_REFUSED', errno: ev[at + 13], now }
    case EV.ICMP_ERROR:
      return {
        type: 'SOCK_ICMP_ERROR',
        quoted: { off: ev[at + 2], len: ev[at + 3] },
        errno: ev[at + 4],
        icmpType: ev[at + 5],
        code: ev[at + 6],
        mtu: ev[at + 7],
        offender: addrAt(ev, at + 8),
        now
      }
    case EV.SPLICE_CONNECTED:
      return { type: 'SPLICE_CONNECTED', now }
    case EV.SPLICE_EOF:
      return { type: 'SPLICE_EOF', side: ev[at + 2] === 0 ? 0 : 1, moved: movedAt(ev, at), now }
    case EV.SPLICE_FAILED:
      return {
        type: 'SPLICE_FAILED',
        side: ev[at + 2] === 0 ? 0 : 1,
        errno: ev[at + 13],
        moved: movedAt(ev, at),
        now
      }
    case EV.UDP_MOVED:
      return { type: 'UDP_MOVED', side: ev[at + 1] >= SIDE_1 ? 1 : 0, datagrams: ev[at + 2], now }
    default:
      return null
  }
}

/** Words 4-11 of an event record (native/addon/abi.h, "info"). */
const infoAt = (ev: Int32Array, at: number): SockInfo => ({
  sndWnd: ev[at + 4] >>> 0,
  rtt: ev[at + 7] >>> 0,
  minRtt: ev[at + 8] & NO_RTT,
  bytesAcked: ev[at + 9] >>> 0,
  sndFree: ev[at + 10],
  sndBuf: ev[at + 11]
})

/** EV.PEEKED, for who wants no event of it. */
export const peekedOctets = (ev: Int32Array, i: number): number => ev[i * ABI_WORDS + 2]

// --- the guest's side

/** EV.TAP_FRAME */
export interface TapFrame {
  /** Behind the virtio-net header. */
  readonly off: number
  readonly len: number
  /** VNET_* */
  readonly flags: number
  readonly gsoType: number
  readonly gsoSize: number
  /** Ones' complement sum of all octets behind the Ethernet header, without VNET_NEEDS_CSUM only. */
  readonly sum16: number
}
export const tapFrame = (ev: Int32Array, i: number): TapFrame => {
  const at = i * ABI_WORDS
  return {
    off: ev[at + 2],
    len: ev[at + 3],
    flags: ev[at + 4] & 0xff,
    gsoType: ev[at + 4] >> 8,
    gsoSize: ev[at + 5],
    sum16: ev[at + 7]
  }
}

/** EV.TAP_DROPPED: how many frames to the guest, and why the last one. */
export const tapDropped = (
  ev: Int32Array,
  i: number
): { readonly frames: number; readonly errno: number } => ({
  frames: ev[i * ABI_WORDS + 2],
  errno: ev[i * ABI_WORDS + 3]
})

/** EV.TAP_GONE: errno */
export const tapGone = (ev: Int32Array, i: number): number => ev[i * ABI_WORDS + 2]

/** EV.CAPTURE: why it has ended (0: it goes on), and frames that are missing since the last one. */
export const captureTrouble = (
  ev: Int32Array,
  i: number
): { readonly errno: number; readonly missing: number } => ({
  errno: ev[i * ABI_WORDS + 2],
  missing: ev[i * ABI_WORDS + 3]
})

/** EV.LINK_CLIENT */
export const linkClient = (
  ev: Int32Array,
  i: number
): { readonly fd: number; readonly pid: number; readonly hungUp: boolean } => {
  const at = i * ABI_WORDS
  return { fd: ev[at + 2], pid: ev[at + 3], hungUp: (ev[at + 4] & LINK_HUNG_UP) !== 0 }
}

/** EV.LINK_END: LINK_*; an errno, or the length of a frame that cannot be. */
export const linkEnd = (ev: Int32Array, i: number): { readonly why: number; readonly detail: number } => ({
  why: ev[i * ABI_WORDS + 2],
  detail: ev[i * ABI_WORDS + 3] >>> 0
})

// --- vhost-user

/** EV.VHOST_MESSAGE, header included. */
export interface VhostMessage {
  readonly payload: Payload
  /** Whoever does not hand one on closes it (EF.CLOSE_FD). */
  readonly fds: ReadonlyArray<number>
  /** There were more than VHOST_FDS_MAX: the others are closed. */
  readonly tooManyFds: boolean
}
export const vhostMessage = (ev: Int32Array, i: number): VhostMessage => {
  const at = i * ABI_WORDS
  const n = ev[at + 4]
  return {
    payload: { off: ev[at + 2], len: ev[at + 3] },
    fds: Array.from(ev.subarray(at + 5, at + 5 + Math.min(n, VHOST_FDS_MAX))),
    tooManyFds: n > VHOST_FDS_MAX
  }
}

/** EV.VHOST_DONE: errno, 0 = done. */
export const vhostDone = (ev: Int32Array, i: number): number => ev[i * ABI_WORDS + 13]

/** EV.VRING_STOPPED */
export const vringStopped = (
  ev: Int32Array,
  i: number
): { readonly ring: number; readonly index: number } => ({
  ring: ev[i * ABI_WORDS + 2],
  index: ev[i * ABI_WORDS + 3]
})

/** EV.VRING_BROKEN. `why`: VRING_BAD_*, VRING_LOOP. */
export const vringBroken = (
  ev: Int32Array,
  i: number
): { readonly ring: number; readonly why: number; readonly detail: number } => ({
  ring: ev[i * ABI_WORDS + 2],
  why: ev[i * ABI_WORDS + 3],
  detail: ev[i * ABI_WORDS + 4] >>> 0
})

// --- migration

/** EV.REPAIR_HELPER: is one there? */
export const repairHelper = (ev: Int32Array, i: number): boolean => ev[i * ABI_WORDS + 2] !== 0

/** EV.REPAIRED, EV.TCP_DUMPED, EV.STATE_ENDED, EV.RESTORED: errno. */
export const movedErrno = (ev: Int32Array, i: number): number => ev[i * ABI_WORDS + 13]

/** SO_SNDBUF as well. */
export interface TcpDump extends SocketDump {
  readonly sndBuf: number
}
/** EV.TCP_DUMPED without an error. */
export const tcpDumped = (ev: Int32Array, view: DataView, i: number): TcpDump => {
  const off = ev[i * ABI_WORDS + 2]
  const word = (k: number): number => view.getUint32(off + k * 4, true)
  const scale = word(14)
  return {
    sndSeq: word(0),
    rcvSeq: word(1),
    outq: word(2),
    outqNsd: word(3),
    inq: word(4),
    sndKept: word(5),
    rcvKept: word(6),
    maxSeg: word(7),
    timestamp: word(8),
    window: { sndWl1: word(9), sndWnd: word(10), maxWindow: word(11), rcvWnd: word(12), rcvWup: word(13) },
    sndScale: scale & 0xff,
    rcvScale: (scale >> 8) & 0xff,
    state: word(15),
    options: word(16),
    sndBuf: word(17)
  }
}

/** EV.STATE_WRITTEN, EV.STATE_PROGRESS: octets in the pipe so far, modulo 2^32. */
export const stateWritten = (ev: Int32Array, i: number): number => ev[i * ABI_WORDS + 2] >>> 0

/** EV.STATE_OCTETS */
export const stateOctets = (ev: Int32Array, i: number): Payload => ({
  off: ev[i * ABI_WORDS + 2],
  len: ev[i * ABI_WORDS + 3]
})

// --- listeners

/** EV.ACCEPTED */
export interface Accepted {
  readonly listener: number
  readonly slot: number
  readonly peer: InAny
  readonly peerPort: number
  readonly local: InAny
  /** The peer's, if it is link-local, else 0. */
  readonly scope: number
}
export const accepted = (ev: Int32Array, i: number): Accepted => {
  const at = i * ABI_WORDS
  return {
    listener: ev[at + 1],
    slot: ev[at + 2],
    peer: addrAt(ev, at + 4),
    peerPort: ev[at + 3] & 0xffff,
    local: addrAt(ev, at + 8),
    scope: ev[at + 12]
  }
}

/** EV.LISTEN_TROUBLE: errno */
export const listenTrouble = (ev: Int32Array, i: number): number => ev[i * ABI_WORDS + 13]

/** EV.LISTEN_DATAGRAM, EV.ANSWER */
export interface Arrived {
  /** A listener's id, or the index of the flow that has asked. */
  readonly handle: number
  readonly payload: Payload
  readonly segment: number
  readonly peer: InAny
  readonly peerPort: number
  /** Where it was sent to, a group as well; unspecified: not known. */
  readonly sentTo: InAny
  /** Interface that it came in by, 0: not known. */
  readonly ifindex: number
  /** IPv4: our address on that interface, else 0. */
  readonly own4: number
}
export const arrived = (ev: Int32Array, i: number): Arrived => {
  const at = i * ABI_WORDS
  return {
    handle: ev[at + 1],
    payload: { off: ev[at + 2], len: ev[at + 3] },
    segment: ev[at + 4],
    peer: addrAt(ev, at + 6),
    peerPort: ev[at + 5] & 0xffff,
    sentTo: addrAt(ev, at + 10),
    ifindex: ev[at + 14],
    own4: ev[at + 15] >>> 0
  }
}

/** EV.BOUND: the port of a socket towards a group. */
export const boundPort = (ev: Int32Array, i: number): number => ev[i * ABI_WORDS + 2]

// --- the host's kernel

/** EV.NETLINK: a datagram; of no octets: some were lost. */
export const netlinkDatagram = (ev: Int32Array, i: number): Payload => ({
  off: ev[i * ABI_WORDS + 2],
  len: ev[i * ABI_WORDS + 3]
})

/** EV.HOST_BELL: HOST_* */
export const hostBell = handleOf
/** EV.HOST */
export const hostTold = netlinkDatagram

// --- restart in place

/** EV.HAND_OVER_PEER: has somebody come? */
export const handOverPeer = (ev: Int32Array, i: number): boolean => ev[i * ABI_WORDS + 2] === 1
/** EV.HAND_OVER_ASKED */
export const handOverAsked = (ev: Int32Array, i: number): Payload => ({
  off: ev[i * ABI_WORDS + 2],
  len: ev[i * ABI_WORDS + 3]
})

// --- the control socket

/** Of EV.CONF_CLIENT and EV.CONF_OCTETS: which client. */
export const confClientOf = handleOf
export interface ConfCame {
  readonly pid: number
  /** Of our user, or root. */
  readonly allowed: boolean
}
/** EV.CONF_CLIENT */
export const confCame = (ev: Int32Array, i: number): ConfCame => ({
  pid: ev[i * ABI_WORDS + 2],
  allowed: (ev[i * ABI_WORDS + 3] & CONF_ALLOWED) !== 0
})
/** EV.CONF_OCTETS: of no octets: it says no more. */
export const confOctets = handOverAsked
/** EV.API_OCTETS: of no octets: it is gone. */
export const apiOctets = handOverAsked

/** EV.READ_ASKS: octets that are to be read from that side of a pair of TCP; of a UDP socket, side 0. */
export const readAsks = (ev: Int32Array, i: number): { readonly side: 0 | 1; readonly octets: number } => {
  const at = i * ABI_WORDS
  return { side: ev[at + 2] === 0 ? 0 : 1, octets: ev[at + 3] >>> 0 }
}

/** Kinds of records that tell of a flow's socket as it serves: the handle is the flow's. */
export const OF_FLOWS: ReadonlySet<number> = new Set([
  EV.CONNECTED,
  EV.SENT,
  EV.PEEKED,
  EV.READY,
  EV.ACKED,
  EV.FAILED,
  EV.DATAGRAM,
  EV.ICMP_ERROR,
  EV.INFO,
  EV.SPLICE_CONNECTED,
  EV.SPLICE_EOF,
  EV.SPLICE_FAILED,
  EV.READ_ASKS,
  EV.UDP_MOVED,
  EV.BOUND,
  EV.ANSWER,
  EV.REFUSED
])
