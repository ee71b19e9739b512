import { assign, setup } from 'xstate'
import { pieces } from '../../codecs/wire/vnet.js'
import type { FlowCounter } from '../../effects/counters.js'
import { effectActions, type Instant, instant, type Payload } from '../../effects/effect.js'
import type { SockEvent } from '../../effects/sock-event.js'
import { by, type Source } from '../source.js'
import { isRefusal, refused, relayable, relayed, told } from './host-errors.js'

// A UDP flow from the guest to a host socket connected to the peer, or, where the peer is a group, to one that its members
// answer to. UDP has no end, so a flow ends by silence. Opening a
// socket reports failure only; results of one turn's effects are the first events of the next, so any other event with a
// later `now` tells that it went well.

/** ms; defaults of net.netfilter.nf_conntrack_udp_timeout and .._udp_timeout_stream, behaviour.md#udp-flows. */
export interface UdpTimeouts {
  readonly oneWay: number
  readonly stream: number
}
export const UDP_TIMEOUTS: UdpTimeouts = { oneWay: 30_000, stream: 120_000 }

export interface UdpInput {
  readonly now: Instant
  readonly v6: boolean
  readonly timeouts: UdpTimeouts
}

export interface UdpContext {
  readonly v6: boolean
  readonly timeouts: UdpTimeouts
  /** When the socket was asked for. */
  readonly openedAt: Instant
  /** Last datagram either way. The timer is not moved for each: it looks at this when it fires. */
  readonly lastActivity: Instant
  /** Datagrams, saturating at 2: more than one is all that is asked. */
  readonly fromGuest: number
  readonly fromPeer: number
}

export type UdpEvent =
  /** `ttl`: TTL or hop limit of the guest's packet; `segment` octets per datagram, 0 = just one. Empty ones are valid. */
  | {
      readonly type: 'TAP_DATAGRAM'
      readonly payload: Payload
      readonly ttl: number
      readonly segment: number
      readonly now: Instant
    }
  | Extract<
      SockEvent,
      { readonly type: 'SOCK_DATAGRAM' | 'SOCK_ANSWER' | 'SOCK_ICMP_ERROR' | 'SOCK_REFUSED' | 'SOCK_FAILED' }
    >
  | { readonly type: 'TIMER_IDLE'; readonly now: Instant }
  /** It gives way to another flow. */
  | { readonly type: 'STOP'; readonly now: Instant }

type Of<K extends UdpEvent['type']> = {
  readonly context: UdpContext
  readonly event: Extract<UdpEvent, { readonly type: K }>
}
interface Heard {
  readonly guest: number
  readonly peer: number
  readonly now: Instant
}

const fromGuest = ({ event: e }: Of<'TAP_DATAGRAM'>): Heard => ({
  guest: pieces(e.payload.len, e.segment),
  peer: 0,
  now: e.now
})
const fromPeer = ({ event: e }: Of<'SOCK_DATAGRAM'>): Heard => ({
  guest: 0,
  peer: pieces(e.payload.len, e.segment),
  now: e.now
})
const guestsDatagram = ({ event: e }: Of<'TAP_DATAGRAM'>) => ({
  payload: e.payload,
  ttl: e.ttl,
  segment: e.segment
})
const peersDatagram = ({ event: e }: Of<'SOCK_DATAGRAM'>) => ({ payload: e.payload, segment: e.segment })
const answer = ({ event: e }: Of<'SOCK_ANSWER'>) => ({
  from: e.from,
  fromPort: e.fromPort,
  payload: e.payload,
  segment: e.segment
})
const byEvent = <E>({ event }: { readonly event: E }): { readonly e: E } => ({ e: event })
const byNow = ({ event }: { readonly event: { readonly now: Instant } }): { readonly now: Instant } => ({
  now: event.now
})
const idleAt =
  (ms: 'oneWay' | 'stream') =>
  ({ context: c }: { readonly context: UdpContext }) =>
    ({ timer: 'idle', at: instant(c.lastActivity + c.timeouts[ms]) }) as const

// Rows of several states; where none of a state's own applies, `open` has the rest.
const spent = {
  guard: { type: 'ttlSpent', params: byEvent },
  actions: { type: 'Count', params: { what: 'udp-ttl-spent' } },
  meta: by('RFC 791 §3.1; RFC 8200 §3')
} as const
const sent = [
  { type: 'UdpToSock', params: guestsDatagram },
  { type: 'heard', params: fromGuest }
] as const
const delivered = [
  { type: 'UdpToTap', params: peersDatagram },
  { type: 'heard', params: fromPeer }
] as const
/** The guest has sent something that did not go; of flows of listeners it may know nothing yet. */
const guestsRefused = (r: Parameters<typeof refused>[0] & { readonly context: UdpContext }) => ({
  ...refused(r),
  refused: refused(r).refused && r.context.fromGuest > 0
})
const tell = { type: 'IcmpErrorToTap', params: told } as const
/** Either way a datagram goes on as it is, an empty one too. */
const carried = by('behaviour.md#udp-flows; RFC 768', 6)
/** Native has given the socket up; a new flow begins with the next datagram. */
const gaveUp = by('behaviour.md#udp-flows', 21, 28, 38)
/** The kernel's refusal, as the error that a router would have sent. */
const asError = by('RFC 792, destination unreachable; RFC 4443 §3.1; behaviour.md#icmp-errors')
const silence = by('behaviour.md#udp-flows')
const early = by('ours: the timer is not moved for each datagram')
/** SOCK_FAILED: the flow is over; with a word to the guest where that helps. */
const over = (what: FlowCounter) =>
  [
    {
      guard: { type: 'isRefusal', params: guestsRefused },
      target: '#udp.closed',
      actions: [tell, { type: 'Count', params: { what: 'udp-refused' } }],
      meta: asError
    },
    { target: '#udp.closed', actions: { type: 'Count', params: { what } }, meta: gaveUp }
  ] as const
const relay = { type: 'IcmpErrorToTap', params: relayed } as const
const relaying = by('behaviour.md#icmp-errors; RFC 792; RFC 4443 §3')

export const udpMachine = setup({
  types: { context: {} as UdpContext, events: {} as UdpEvent, input: {} as UdpInput, meta: {} as Source },
  guards: {
    /** RFC 791 §3.1: with zero in this field the datagram must be destroyed. */
    ttlSpent: (_, p: { e: { ttl: number } }) => p.e.ttl === 0,
    /** Both have sent, one of them more than one datagram. */
    becomesStream: ({ context: c }, h: Heard) => {
      const guest = c.fromGuest + h.guest
      const peer = c.fromPeer + h.peer
      return guest > 0 && peer > 0 && guest + peer > 2
    },
    laterTurn: ({ context: c }, p: { now: Instant }) => p.now > c.openedAt,
    // The very sum that idleAt() armed: a difference could be short of the timeout by a rounding, and fire for ever.
    silentOneWay: ({ context: c }, p: { now: Instant }) => p.now >= c.lastActivity + c.timeouts.oneWay,
    silentStream: ({ context: c }, p: { now: Instant }) => p.now >= c.lastActivity + c.timeouts.stream,
    isRefusal,
    relayable: ({ context: c }, p: { e: Of<'SOCK_ICMP_ERROR'>['event'] }) => relayable(c.v6, p.e)
  },
  actions: {
    ...effectActions,
    heard: assign(({ context: c }, h: Heard) => ({
      lastActivity: h.now,
      fromGuest: Math.min(2, c.fromGuest + h.guest),
      fromPeer: Math.min(2, c.fromPeer + h.peer)
    }))
  }
}).createMachine({
  id: 'udp',
  description:
    'A UDP flow from the guest to one peer. It ends after 30 s of silence, or 120 s once both sides have sent and one of them more than one datagram.',
  context: ({ input: { now, v6, timeouts } }) => ({
    v6,
    timeouts,
    openedAt: now,
    lastActivity: now,
    fromGuest: 0,
    fromPeer: 0
  }),
  initial: 'open',
  states: {
    open: {
      initial: 'opening',
      entry: [
        { type: 'UdpOpen', params: {} },
        { type: 'ArmTimer', params: idleAt('oneWay') }
      ],
      on: {
        TAP_DATAGRAM: [spent, { actions: sent, meta: carried }],
        SOCK_DATAGRAM: { actions: delivered, meta: carried },
        // Answers do not prolong what only questions may: 30 s after the last one nobody is heard any more.
        SOCK_ANSWER: {
          actions: { type: 'UdpAnswerToTap', params: answer },
          meta: by('behaviour.md#udp-flows')
        },
        SOCK_ICMP_ERROR: [
          { guard: { type: 'relayable', params: byEvent }, actions: relay, meta: relaying },
          {
            actions: { type: 'Count', params: { what: 'udp-error-not-relayed' } },
            meta: by('behaviour.md#icmp-errors; RFC 6633')
          }
        ],
        // Native has given the socket up, whatever the reason (#regression-28, #regression-38): the next datagram opens a
        // new flow (#regression-21).
        SOCK_FAILED: over('udp-socket-failed'),
        STOP: { target: 'closed', meta: by('ours: it gives way to another flow') },
        SOCK_REFUSED: [
          {
            guard: { type: 'isRefusal', params: guestsRefused },
            actions: [tell, { type: 'Count', params: { what: 'udp-refused' } }],
            meta: asError
          },
          {
            actions: { type: 'Count', params: { what: 'udp-refused' } },
            meta: by('ours: the reason is none of the destination, or the guest asked for nothing')
          }
        ],
        TIMER_IDLE: [
          { guard: { type: 'silentOneWay', params: byNow }, target: 'closed', meta: silence },
          { actions: { type: 'ArmTimer', params: idleAt('oneWay') }, meta: early }
        ]
      },
      states: {
        opening: {
          on: {
            TAP_DATAGRAM: [
              spent,
              {
                guard: { type: 'laterTurn', params: byNow },
                target: 'oneWay',
                actions: sent,
                meta: carried
              }
            ],
            SOCK_DATAGRAM: [
              {
                guard: { type: 'becomesStream', params: fromPeer },
                target: 'stream',
                actions: delivered,
                meta: carried
              },
              { target: 'oneWay', actions: delivered, meta: carried }
            ],
            SOCK_ICMP_ERROR: [
              {
                guard: { type: 'relayable', params: byEvent },
                target: 'oneWay',
                actions: relay,
                meta: relaying
              }
            ],
            SOCK_FAILED: over('udp-open-failed')
          }
        },
        oneWay: {
          on: {
            TAP_DATAGRAM: [
              spent,
              {
                guard: { type: 'becomesStream', params: fromGuest },
                target: 'stream',
                actions: sent,
                meta: carried
              }
            ],
            SOCK_DATAGRAM: [
              {
                guard: { type: 'becomesStream', params: fromPeer },
                target: 'stream',
                actions: delivered,
                meta: carried
              }
            ]
          }
        },
        stream: {
          entry: { type: 'ArmTimer', params: idleAt('stream') },
          on: {
            TIMER_IDLE: [
              { guard: { type: 'silentStream', params: byNow }, target: '#udp.closed', meta: silence },
              { actions: { type: 'ArmTimer', params: idleAt('stream') }, meta: early }
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
      actions: { type: 'Count', params: { what: 'udp-unexpected' } },
      meta: by('ours: no state expects it')
    }
  }
})
