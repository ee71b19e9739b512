import { EACCES, ENETUNREACH } from '../../codecs/value/errno.js'
import { fromV4 } from '../../codecs/value/inany.js'
import { instant } from '../../effects/effect.js'
import { PING_TIMEOUT, pingMachine } from '../../machines/flow/ping.js'
import { tcpSpliceMachine } from '../../machines/flow/tcp-splice.js'
import { UDP_TIMEOUTS, udpMachine } from '../../machines/flow/udp.js'
import { REPORT_LATE, udpSpliceMachine } from '../../machines/flow/udp-splice.js'
import { alphabet, atLeast, BEGIN, lettersOf, UNKNOWN } from '../alphabet.js'

// Flows without a stream of ours: UDP, ping, and what goes past the tap.

const ROUTER = fromV4(0x0a000001)
const payload = { off: 42, len: 100 }
/** An ICMP error: a port that nobody listens on; a source quench (RFC 6633). */
const error = (icmpType: number) => ({
  errno: 111,
  icmpType,
  code: icmpType === 3 ? 3 : 0,
  mtu: 0,
  offender: ROUTER,
  quoted: { off: 0, len: 0 }
})
const OTHER_ERROR = 105

const p = lettersOf<typeof pingMachine>()
export const ping = alphabet<typeof pingMachine>({
  machine: pingMachine,
  inputs: { usual: { now: BEGIN, v6: false, id: 7 } },
  letters: [
    p('echo', 'the guest asks', ({ context: c, now }) => ({
      type: 'TAP_ECHO',
      payload,
      ttl: 64,
      seq: c.lastSeq + 1,
      now
    })),
    p('echo-later', 'the guest asks, a turn later', ({ context: c, now }) => ({
      type: 'TAP_ECHO',
      payload,
      ttl: 64,
      seq: c.lastSeq + 1,
      now: instant(now + 1)
    })),
    p('echo-spent', 'the guest asks, with a TTL of 0', ({ context: c, now }) => ({
      type: 'TAP_ECHO',
      payload,
      ttl: 0,
      seq: c.lastSeq + 1,
      now
    })),
    p('reply', 'the peer answers', ({ now }) => ({ type: 'SOCK_DATAGRAM', payload, segment: 0, now })),
    p('unreachable', 'an ICMP error that the guest is told', ({ now }) => ({
      type: 'SOCK_ICMP_ERROR',
      ...error(3),
      now
    })),
    p('quench', 'an ICMP error that it is not told', ({ now }) => ({
      type: 'SOCK_ICMP_ERROR',
      ...error(4),
      now
    })),
    p('no-route', 'the kernel has no way to send there', ({ now }) => ({
      type: 'SOCK_REFUSED',
      errno: ENETUNREACH,
      now
    })),
    p('not-sent', 'the kernel has not sent it, for another reason', ({ now }) => ({
      type: 'SOCK_REFUSED',
      errno: OTHER_ERROR,
      now
    })),
    p('failed', 'the socket has failed', ({ now }) => ({ type: 'SOCK_FAILED', errno: OTHER_ERROR, now })),
    p('failed-no-route', 'the kernel has no way to connect there', ({ now }) => ({
      type: 'SOCK_FAILED',
      errno: ENETUNREACH,
      refused: true,
      now
    })),
    p('not-permitted', 'ping sockets are not for us', ({ now }) => ({
      type: 'SOCK_FAILED',
      errno: EACCES,
      now
    })),
    p('idle', 'the guest has asked nothing for 60 s', ({ context: c, now }) => ({
      type: 'TIMER_IDLE',
      now: atLeast(now, c.lastRequest + PING_TIMEOUT)
    })),
    p('idle-early', 'the timer fires for nothing', ({ context: c, now }) =>
      now >= c.lastRequest + PING_TIMEOUT ? null : { type: 'TIMER_IDLE', now }
    ),
    p('stop', 'it has to give way', ({ now }) => ({ type: 'STOP', now })),
    p('unknown', 'an event of nobody', () => UNKNOWN as never)
  ],
  abstract: () => '',
  world: [{ effect: 'PingToSock', letters: ['reply'] }]
})

const u = lettersOf<typeof udpMachine>()
export const udp = alphabet<typeof udpMachine>({
  machine: udpMachine,
  inputs: { usual: { now: BEGIN, v6: false, timeouts: UDP_TIMEOUTS } },
  letters: [
    u('datagram', 'the guest sends', ({ now }) => ({
      type: 'TAP_DATAGRAM',
      payload,
      ttl: 64,
      segment: 0,
      now
    })),
    u('datagrams', 'the guest sends two at once', ({ now }) => ({
      type: 'TAP_DATAGRAM',
      payload,
      ttl: 64,
      segment: 50,
      now
    })),
    u('datagram-spent', 'the guest sends with a TTL of 0', ({ now }) => ({
      type: 'TAP_DATAGRAM',
      payload,
      ttl: 0,
      segment: 0,
      now
    })),
    u('answer', 'the peer sends', ({ now }) => ({ type: 'SOCK_DATAGRAM', payload, segment: 0, now })),
    u('answers', 'the peer sends two at once', ({ now }) => ({
      type: 'SOCK_DATAGRAM',
      payload,
      segment: 50,
      now
    })),
    u('group-answer', 'a member of the group answers', ({ now }) => ({
      type: 'SOCK_ANSWER',
      from: ROUTER,
      fromPort: 5353,
      payload,
      segment: 0,
      now
    })),
    u('unreachable', 'an ICMP error that the guest is told', ({ now }) => ({
      type: 'SOCK_ICMP_ERROR',
      ...error(3),
      now
    })),
    u('quench', 'an ICMP error that it is not told', ({ now }) => ({
      type: 'SOCK_ICMP_ERROR',
      ...error(4),
      now
    })),
    u('no-route', 'the kernel has no way to send there', ({ now }) => ({
      type: 'SOCK_REFUSED',
      errno: ENETUNREACH,
      now
    })),
    u('not-sent', 'the kernel has not sent it, for another reason', ({ now }) => ({
      type: 'SOCK_REFUSED',
      errno: OTHER_ERROR,
      now
    })),
    u('failed', 'the socket has failed', ({ now }) => ({ type: 'SOCK_FAILED', errno: OTHER_ERROR, now })),
    u('failed-no-route', 'the kernel has no way to connect there', ({ now }) => ({
      type: 'SOCK_FAILED',
      errno: ENETUNREACH,
      refused: true,
      now
    })),
    u('idle', 'silence for 30 s', ({ context: c, now }) => ({
      type: 'TIMER_IDLE',
      now: atLeast(now, c.lastActivity + c.timeouts.oneWay)
    })),
    u('idle-long', 'silence for 120 s', ({ context: c, now }) => ({
      type: 'TIMER_IDLE',
      now: atLeast(now, c.lastActivity + c.timeouts.stream)
    })),
    u('idle-early', 'the timer fires for nothing', ({ context: c, now }) =>
      now >= c.lastActivity + c.timeouts.oneWay ? null : { type: 'TIMER_IDLE', now }
    ),
    u('stop', 'it has to give way', ({ now }) => ({ type: 'STOP', now })),
    u('unknown', 'an event of nobody', () => UNKNOWN as never)
  ],
  abstract: (c) => `${c.fromGuest} from the guest, ${c.fromPeer} from the peer`,
  world: [{ effect: 'UdpToSock', letters: ['answer'] }]
})

const t = lettersOf<typeof tcpSpliceMachine>()
const MOVED = [100, 200] as const
export const tcpSplice = alphabet<typeof tcpSpliceMachine>({
  machine: tcpSpliceMachine,
  inputs: { usual: { now: BEGIN } },
  letters: [
    t('connected', 'the target has accepted', ({ now }) => ({ type: 'SPLICE_CONNECTED', now })),
    t('end-0', "the initiator's stream has ended", ({ now }) => ({
      type: 'SPLICE_EOF',
      side: 0,
      moved: MOVED,
      now
    })),
    t('end-1', "the target's stream has ended", ({ now }) => ({
      type: 'SPLICE_EOF',
      side: 1,
      moved: MOVED,
      now
    })),
    t('failed', 'the target has refused, or is broken', ({ now }) => ({
      type: 'SPLICE_FAILED',
      side: 1,
      errno: 111,
      moved: MOVED,
      now
    })),
    t('stop', 'it holds too much memory', ({ now }) => ({ type: 'STOP', now })),
    t('unknown', 'an event of nobody', () => UNKNOWN as never)
  ],
  abstract: () => '',
  world: [{ effect: 'SpliceConnect', letters: ['connected'] }]
})

const s = lettersOf<typeof udpSpliceMachine>()
export const udpSplice = alphabet<typeof udpSpliceMachine>({
  machine: udpSpliceMachine,
  inputs: { usual: { now: BEGIN, timeouts: UDP_TIMEOUTS } },
  letters: [
    s('first', 'a datagram that the listener had', ({ now }) => ({
      type: 'SOCK_DATAGRAM',
      payload,
      segment: 0,
      now
    })),
    s('moved-0', 'native has moved one from the initiator', ({ now }) => ({
      type: 'UDP_MOVED',
      side: 0,
      datagrams: 1,
      now
    })),
    s('moved-1', 'native has moved one from the target', ({ now }) => ({
      type: 'UDP_MOVED',
      side: 1,
      datagrams: 1,
      now
    })),
    s('unreachable', 'an ICMP error', ({ now }) => ({ type: 'SOCK_ICMP_ERROR', ...error(3), now })),
    s('no-route', 'the kernel has no way to send there', ({ now }) => ({
      type: 'SOCK_REFUSED',
      errno: ENETUNREACH,
      now
    })),
    s('failed', 'a socket has failed', ({ now }) => ({ type: 'SOCK_FAILED', errno: OTHER_ERROR, now })),
    s('idle', 'silence for 30 s', ({ context: c, now }) => ({
      type: 'TIMER_IDLE',
      now: atLeast(now, c.lastActivity + c.timeouts.oneWay + REPORT_LATE)
    })),
    s('idle-long', 'silence for 120 s', ({ context: c, now }) => ({
      type: 'TIMER_IDLE',
      now: atLeast(now, c.lastActivity + c.timeouts.stream + REPORT_LATE)
    })),
    s('idle-early', 'the timer fires for nothing', ({ now }) => ({ type: 'TIMER_IDLE', now: instant(now) })),
    s('stop', 'it has to give way', ({ now }) => ({ type: 'STOP', now })),
    s('unknown', 'an event of nobody', () => UNKNOWN as never)
  ],
  abstract: (c) => `${c.fromInitiator} from the initiator, ${c.fromTarget} from the target`,
  world: []
})
