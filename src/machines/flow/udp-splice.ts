import { assign, setup } from 'xstate'
import { pieces } from '../../codecs/wire/vnet.js'
import { effectActions, type Instant, instant } from '../../effects/effect.js'
import type { SockEvent, UdpMoved } from '../../effects/sock-event.js'
import { by, type Source } from '../source.js'
import type { UdpTimeouts } from './udp.js'

// A UDP flow past the tap (behaviour.md#udp-flows): side 1 is a socket connected to the target, side 0 one that is bound to
// the address the initiator sent to and connected to the initiator, so that replies come from where it expects them and the
// flow outlives its listener. They are joined as soon as they are asked for: native keeps what comes for a socket that
// the namespace has still to deliver, and a join with a socket that could not be opened is nothing.
//
// Datagrams that reached the listener first, the one that began the flow among them, come as SOCK_DATAGRAM, always from
// the initiator. All others are moved by native and only counted here, as a sign of life.

/** ms by which native tells of moved datagrams late, at most (native/addon/udp_recv.cc, MOVED_EVERY). */
export const REPORT_LATE = 1000

export interface UdpSpliceInput {
  readonly now: Instant
  readonly timeouts: UdpTimeouts
}

export interface UdpSpliceContext {
  readonly timeouts: UdpTimeouts
  /** Last datagram either way. The timer is not moved for each: it looks at this when it fires. */
  readonly lastActivity: Instant
  /** Datagrams, saturating at 2: more than one is all that is asked. */
  readonly fromInitiator: number
  readonly fromTarget: number
}

export type UdpSpliceEvent =
  | Extract<
      SockEvent,
      { readonly type: 'SOCK_DATAGRAM' | 'SOCK_ICMP_ERROR' | 'SOCK_REFUSED' | 'SOCK_FAILED' }
    >
  | UdpMoved
  | { readonly type: 'TIMER_IDLE'; readonly now: Instant }
  | { readonly type: 'STOP'; readonly now: Instant }

type Of<K extends UdpSpliceEvent['type']> = {
  readonly event: Extract<UdpSpliceEvent, { readonly type: K }>
}
interface Heard {
  readonly initiator: number
  readonly target: number
  readonly now: Instant
}

const onListener = ({ event: e }: Of<'SOCK_DATAGRAM'>): Heard => ({
  initiator: pieces(e.payload.len, e.segment),
  target: 0,
  now: e.now
})
const moved = ({ event: e }: Of<'UDP_MOVED'>): Heard => ({
  initiator: e.side === 0 ? e.datagrams : 0,
  target: e.side === 1 ? e.datagrams : 0,
  now: e.now
})
const toTarget = ({ event: e }: Of<'SOCK_DATAGRAM'>) =>
  ({ side: 1, payload: e.payload, segment: e.segment }) as const
const byNow = ({ event }: { readonly event: { readonly now: Instant } }): { readonly now: Instant } => ({
  now: event.now
})
type Limit = 'oneWay' | 'stream'
/** When we can be sure that nothing moved for so long. One sum for arming and looking: by a rounding less it fires for ever. */
const deadline = (c: UdpSpliceContext, of: Limit): number => c.lastActivity + c.timeouts[of] + REPORT_LATE
const idleAt =
  (of: Limit) =>
  ({ context: c }: { readonly context: UdpSpliceContext }) =>
    ({ timer: 'idle', at: instant(deadline(c, of)) }) as const
/** Datagrams that a listener had before the flow's own socket. */
const first = by('behaviour.md#udp-flows; RFC 768', 6)
const alive = by('behaviour.md#udp-flows')
const silence = by('behaviour.md#udp-flows')
const early = by('ours: the timer is not moved for each datagram')
const onlyCounted = by('behaviour.md#icmp-errors')

export const udpSpliceMachine = setup({
  types: {
    context: {} as UdpSpliceContext,
    events: {} as UdpSpliceEvent,
    input: {} as UdpSpliceInput,
    meta: {} as Source
  },
  guards: {
    /** Both have sent, one of them more than one datagram. */
    becomesStream: ({ context: c }, h: Heard) => {
      const initiator = c.fromInitiator + h.initiator
      const target = c.fromTarget + h.target
      return initiator > 0 && target > 0 && initiator + target > 2
    },
    silentOneWay: ({ context: c }, p: { now: Instant }) => p.now >= deadline(c, 'oneWay'),
    silentStream: ({ context: c }, p: { now: Instant }) => p.now >= deadline(c, 'stream')
  },
  actions: {
    ...effectActions,
    heard: assign(({ context: c }, h: Heard) => ({
      lastActivity: h.now,
      fromInitiator: Math.min(2, c.fromInitiator + h.initiator),
      fromTarget: Math.min(2, c.fromTarget + h.target)
    }))
  }
}).createMachine({
  id: 'udp-splice',
  description:
    'A UDP flow past the tap. Side 0 is the initiator, side 1 the target; native moves the datagrams. It ends after 30 s of silence, or 120 s once both sides have sent and one of them more than one datagram.',
  context: ({ input: { now, timeouts } }) => ({
    timeouts,
    lastActivity: now,
    fromInitiator: 0,
    fromTarget: 0
  }),
  initial: 'open',
  states: {
    open: {
      initial: 'oneWay',
      entry: [
        { type: 'UdpOpenSide', params: { side: 1 } },
        { type: 'UdpOpenSide', params: { side: 0 } },
        { type: 'UdpJoin', params: {} },
        { type: 'ArmTimer', params: idleAt('oneWay') }
      ],
      on: {
        // Only counted: the initiator does not learn of them (behaviour.md#icmp-errors), and the target may be back for the
        // next one.
        SOCK_ICMP_ERROR: {
          actions: { type: 'Count', params: { what: 'udp-splice-error' } },
          meta: onlyCounted
        },
        SOCK_REFUSED: {
          actions: { type: 'Count', params: { what: 'udp-splice-refused' } },
          meta: onlyCounted
        },
        // Native has given the socket up, whatever the reason (#regression-28, #regression-38). The next datagram begins a
        // new flow (#regression-21).
        SOCK_FAILED: {
          target: 'closed',
          actions: { type: 'Count', params: { what: 'udp-splice-failed' } },
          meta: by('behaviour.md#udp-flows', 21, 28, 38)
        },
        STOP: { target: 'closed', meta: by('ours: it gives way to another flow') }
      },
      states: {
        oneWay: {
          on: {
            SOCK_DATAGRAM: [
              {
                guard: { type: 'becomesStream', params: onListener },
                target: 'stream',
                actions: [
                  { type: 'UdpToSide', params: toTarget },
                  { type: 'heard', params: onListener }
                ],
                meta: first
              },
              {
                actions: [
                  { type: 'UdpToSide', params: toTarget },
                  { type: 'heard', params: onListener }
                ],
                meta: first
              }
            ],
            UDP_MOVED: [
              {
                guard: { type: 'becomesStream', params: moved },
                target: 'stream',
                actions: { type: 'heard', params: moved },
                meta: alive
              },
              { actions: { type: 'heard', params: moved }, meta: alive }
            ],
            TIMER_IDLE: [
              {
                guard: { type: 'silentOneWay', params: byNow },
                target: '#udp-splice.closed',
                meta: silence
              },
              { actions: { type: 'ArmTimer', params: idleAt('oneWay') }, meta: early }
            ]
          }
        },
        stream: {
          entry: { type: 'ArmTimer', params: idleAt('stream') },
          on: {
            SOCK_DATAGRAM: {
              actions: [
                { type: 'UdpToSide', params: toTarget },
                { type: 'heard', params: onListener }
              ],
              meta: first
            },
            UDP_MOVED: { actions: { type: 'heard', params: moved }, meta: alive },
            TIMER_IDLE: [
              {
                guard: { type: 'silentStream', params: byNow },
                target: '#udp-splice.closed',
                meta: silence
              },
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
        { type: 'UdpCloseBoth', params: {} }
      ]
    }
  },
  on: {
    '*': {
      actions: { type: 'Count', params: { what: 'udp-splice-unexpected' } },
      meta: by('ours: no state expects it')
    }
  }
})
