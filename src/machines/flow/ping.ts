import { assign, setup } from 'xstate'
import { EACCES } from '../../codecs/value/errno.js'
import { effectActions, type Instant, instant, type Payload } from '../../effects/effect.js'
import type { SockEvent } from '../../effects/sock-event.js'
import { by, type Source } from '../source.js'
import { isRefusal, refused, relayable, relayed, told } from './host-errors.js'

// An echo flow: requests of one identifier from the guest to one address, through a ping socket of the host (icmp(7)).
// The kernel picks the identifier on the host side (#regression-22), the guest's is put back into the replies. Sequence
// numbers are the guest's all the way. No value of either is special: 0 is an identifier and a first sequence number like
// any other (#regression-7 and #regression-45); repeated sequence numbers pass, since a duplicated reply is something ping
// reports.

/** ms without a request, behaviour.md#ping. */
export const PING_TIMEOUT = 60_000

export interface PingInput {
  readonly now: Instant
  readonly v6: boolean
  /** Identifier that the guest uses, 0 to 65535. */
  readonly id: number
}

export interface PingContext {
  readonly v6: boolean
  readonly id: number
  /** When the socket was asked for. */
  readonly openedAt: Instant
  /** The timer is not moved for each request: it looks at this when it fires. */
  readonly lastRequest: Instant
  readonly lastSeq: number
}

export type PingEvent =
  /** `payload`: the echo request, from its ICMP type on; `ttl`: TTL or hop limit of the guest's packet. */
  | {
      readonly type: 'TAP_ECHO'
      readonly payload: Payload
      readonly ttl: number
      readonly seq: number
      readonly now: Instant
    }
  | Extract<
      SockEvent,
      { readonly type: 'SOCK_DATAGRAM' | 'SOCK_ICMP_ERROR' | 'SOCK_REFUSED' | 'SOCK_FAILED' }
    >
  | { readonly type: 'TIMER_IDLE'; readonly now: Instant }
  /** It gives way to another flow. */
  | { readonly type: 'STOP'; readonly now: Instant }

type Of<K extends PingEvent['type']> = {
  readonly context: PingContext
  readonly event: Extract<PingEvent, { readonly type: K }>
}

const theRequest = ({ event: e }: Of<'TAP_ECHO'>) => ({ payload: e.payload, ttl: e.ttl })
const theReply = ({ context: c, event: e }: Of<'SOCK_DATAGRAM'>) => ({ payload: e.payload, id: c.id })
const byEvent = <E>({ event }: { readonly event: E }): { readonly e: E } => ({ e: event })
const byNow = ({ event }: { readonly event: { readonly now: Instant } }): { readonly now: Instant } => ({
  now: event.now
})
const byRequest = ({ event: e }: Of<'TAP_ECHO'>) => ({ now: e.now, seq: e.seq })
/** Of the last request. */
const tell = {
  type: 'IcmpErrorToTap',
  params: (r: Parameters<typeof told>[0] & { readonly context: PingContext }) => ({
    ...told(r),
    seq: r.context.lastSeq
  })
} as const
const refusedCount = { type: 'Count', params: { what: 'ping-refused' } } as const
/** The kernel's refusal, as the error that a router would have sent. */
const asError = by('RFC 792, destination unreachable; RFC 4443 §3.1; behaviour.md#icmp-errors')
const over = {
  guard: { type: 'isRefusal', params: refused },
  target: '#ping.closed',
  actions: [tell, refusedCount],
  meta: asError
} as const
// Rows of several states
const spent = {
  guard: { type: 'ttlSpent', params: byEvent },
  actions: { type: 'Count', params: { what: 'ping-ttl-spent' } },
  meta: by('RFC 791 §3.1; RFC 8200 §3')
} as const
const sent = [
  { type: 'PingToSock', params: theRequest },
  { type: 'asked', params: byRequest }
] as const
/** Identifier, sequence number and data are the guest's (RFC 792, echo; RFC 4443 §4.1). */
const echo = by('behaviour.md#ping; RFC 792, echo; RFC 4443 §4.1', 7, 45)
/** With the guest's identifier again. */
const echoReply = by('behaviour.md#ping; RFC 792, echo reply; RFC 4443 §4.2', 22)
const idleAt = ({ context: c }: { readonly context: PingContext }) =>
  ({ timer: 'idle', at: instant(c.lastRequest + PING_TIMEOUT) }) as const

export const pingMachine = setup({
  types: { context: {} as PingContext, events: {} as PingEvent, input: {} as PingInput, meta: {} as Source },
  guards: {
    /** RFC 791 §3.1: with zero in this field the datagram must be destroyed. */
    ttlSpent: (_, p: { e: { ttl: number } }) => p.e.ttl === 0,
    laterTurn: ({ context: c }, p: { now: Instant }) => p.now > c.openedAt,
    // The very sum that idleAt() armed: a difference could be short of the timeout by a rounding, and fire for ever.
    silent: ({ context: c }, p: { now: Instant }) => p.now >= c.lastRequest + PING_TIMEOUT,
    relayable: ({ context: c }, p: { e: Of<'SOCK_ICMP_ERROR'>['event'] }) => relayable(c.v6, p.e),
    /** net.ipv4.ping_group_range leaves us out. */
    notPermitted: (_, p: { e: { errno: number } }) => p.e.errno === EACCES,
    isRefusal
  },
  actions: {
    ...effectActions,
    asked: assign((_, p: { now: Instant; seq: number }) => ({ lastRequest: p.now, lastSeq: p.seq }))
  }
}).createMachine({
  id: 'ping',
  description:
    'Echo requests of one identifier from the guest to one address, and their replies and errors. It ends 60 s after the last request.',
  context: ({ input: { now, v6, id } }) => ({ v6, id, openedAt: now, lastRequest: now, lastSeq: 0 }),
  initial: 'open',
  states: {
    open: {
      initial: 'opening',
      entry: [
        { type: 'PingOpen', params: {} },
        { type: 'ArmTimer', params: idleAt }
      ],
      on: {
        TAP_ECHO: [spent, { actions: [...sent], meta: echo }],
        SOCK_DATAGRAM: {
          target: '.ready',
          actions: { type: 'EchoReplyToTap', params: theReply },
          meta: echoReply
        },
        SOCK_ICMP_ERROR: [
          {
            guard: { type: 'relayable', params: byEvent },
            target: '.ready',
            actions: { type: 'IcmpErrorToTap', params: relayed },
            meta: by('behaviour.md#icmp-errors; RFC 792; RFC 4443 §3')
          },
          {
            actions: { type: 'Count', params: { what: 'ping-error-not-relayed' } },
            meta: by('behaviour.md#icmp-errors; RFC 6633')
          }
        ],
        SOCK_REFUSED: [
          { guard: { type: 'isRefusal', params: refused }, actions: [tell, refusedCount], meta: asError },
          { actions: refusedCount, meta: by('ours: the reason is none of the destination') }
        ],
        STOP: { target: 'closed', meta: by('ours: it gives way to another flow') },
        TIMER_IDLE: [
          { guard: { type: 'silent', params: byNow }, target: 'closed', meta: by('behaviour.md#ping') },
          {
            actions: { type: 'ArmTimer', params: idleAt },
            meta: by('ours: the timer is not moved for each request')
          }
        ]
      },
      states: {
        opening: {
          on: {
            TAP_ECHO: [
              spent,
              {
                guard: { type: 'laterTurn', params: byNow },
                target: 'ready',
                actions: [...sent],
                meta: echo
              },
              { actions: [...sent], meta: echo }
            ],
            SOCK_FAILED: [
              over,
              {
                guard: { type: 'notPermitted', params: byEvent },
                target: '#ping.closed',
                actions: { type: 'Count', params: { what: 'ping-not-permitted' } },
                meta: by('icmp(7), ping_group_range')
              },
              {
                target: '#ping.closed',
                actions: { type: 'Count', params: { what: 'ping-open-failed' } },
                meta: by('ours: no socket, no flow')
              }
            ]
          }
        },
        ready: {
          on: {
            SOCK_DATAGRAM: { actions: { type: 'EchoReplyToTap', params: theReply }, meta: echoReply },
            // Native has given the socket up, whatever the reason; the next request opens a new flow.
            SOCK_FAILED: [
              over,
              {
                target: '#ping.closed',
                actions: { type: 'Count', params: { what: 'ping-socket-failed' } },
                meta: by('ours: the next request opens a new flow', 28, 38)
              }
            ]
          }
        }
      }
    },
    closed: {
      type: 'final',
      entry: [
        { type: 'CancelTimer', params: { timer: 'idle' } },
        { type: 'CloseSock', params: {} }
      ]
    }
  },
  on: {
    '*': {
      actions: { type: 'Count', params: { what: 'ping-unexpected' } },
      meta: by('ours: no state expects it')
    }
  }
})
