import type { InAny } from '../../codecs/value/inany.js'
import type { Instant } from '../../effects/effect.js'
import type { SockEvent, SpliceEvent, UdpMoved } from '../../effects/sock-event.js'
import {
  ABI_WORDS,
  EV,
  PEEK_DRAINED,
  PEEK_EOF,
  PEEK_TAP_FULL,
  PEEK_TAP_TELLS,
  READY_IN,
  READY_INFO,
  READY_OUT,
  READY_RDHUP,
  SIDE_1
} from './abi.js'
import { infoAt } from './rings.js'

export const addrAt = (ev: Int32Array, at: number): InAny => [
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
