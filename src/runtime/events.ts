import type { InAny } from '../codecs/inany.js'
import type { Instant } from '../effects/effect.js'
import type { SockEvent } from '../effects/sock-event.js'
import {
  ABI_WORDS,
  EV,
  PEEK_DRAINED,
  PEEK_EOF,
  PEEK_TAP_FULL,
  READY_IN,
  READY_INFO,
  READY_OUT,
  READY_RDHUP
} from './abi.js'
import { infoAt } from './rings.js'

const addrAt = (ev: Int32Array, at: number): InAny => [
  ev[at] >>> 0,
  ev[at + 1] >>> 0,
  ev[at + 2] >>> 0,
  ev[at + 3] >>> 0
]

/** The event record at index `i` as an event of the flow it names, or null if it is not about a flow's socket. */
export const sockEvent = (ev: Int32Array, i: number, now: Instant): SockEvent | null => {
  const at = i * ABI_WORDS
  switch (ev[at]) {
    case EV.SENT:
      return {
        type: 'SOCK_SENT',
        taken: ev[at + 2],
        pending: ev[at + 3],
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
      return { type: 'SOCK_FAILED', errno: ev[at + 13], now }
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
    default:
      return null
  }
}
