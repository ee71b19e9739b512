import { assign, setup } from 'xstate'
import type { FlowCounter } from '../../effects/counters.js'
import { effectActions, type Instant } from '../../effects/effect.js'
import type { SpliceEvent } from '../../effects/sock-event.js'
import { by, type Source } from '../source.js'

// A TCP connection past the tap: side 0 is the connection that a listener accepted, side 1 one to the target, and native
// moves the octets between them (behaviour.md#bypass). Left to decide is how their ends hang together
// (behaviour.md#bypass-ends):
//
//   end of stream on one side   FIN to the other, whose stream goes on (half-close)
//   end of both                 close, without RST
//   one side broken             RST to both, also when the target refuses: its client is accepted already
//
// There is no timer. Both peers are on this machine: their kernels end every connection whose process went away, and a
// connection may be silent for as long as a direct one (upstream has none either). connect() ends by the kernel's retries.

export interface TcpSpliceInput {
  readonly now: Instant
}

export interface TcpSpliceContext {
  readonly openedAt: Instant
  /** Octets from side 0 to side 1, and back, as last reported. */
  readonly moved: readonly [number, number]
}

export type TcpSpliceEvent =
  | SpliceEvent
  /** It holds much of the host's memory and does not move (runtime's socket-memory.ts). */
  | { readonly type: 'STOP'; readonly now: Instant }

type Moved = { readonly moved: readonly [number, number] }
type Side = { readonly side: 0 | 1 }
const byEvent = <E extends Moved & Side>({ event: e }: { readonly event: E }): Moved & Side => ({
  side: e.side,
  moved: e.moved
})
const count = (what: FlowCounter) => ({ type: 'Count', params: { what } }) as const
const note = { type: 'note', params: byEvent } as const
const reset = { type: 'SpliceReset', params: {} } as const
/** A FIN to the other side than the one whose stream has ended. */
const finTo = (side: 0 | 1) => ({ type: 'SpliceShut', params: { side } }) as const
/** The end of one stream is a FIN to the other side; what goes the other way goes on. */
const halfClose = by('behaviour.md#bypass-ends; RFC 9293 §3.6', 5)
const bothOver = by('behaviour.md#bypass-ends; RFC 9293 §3.6')

export const tcpSpliceMachine = setup({
  types: {
    context: {} as TcpSpliceContext,
    events: {} as TcpSpliceEvent,
    input: {} as TcpSpliceInput,
    meta: {} as Source
  },
  guards: {
    initiator: (_, p: Side) => p.side === 0,
    target: (_, p: Side) => p.side === 1
  },
  actions: { ...effectActions, note: assign((_, { moved }: Moved) => ({ moved })) }
}).createMachine({
  id: 'tcp-splice',
  description:
    'A TCP connection past the tap. Side 0 is the initiator, accepted by a listener; side 1 the target. Native moves the octets.',
  context: ({ input: { now } }) => ({ openedAt: now, moved: [0, 0] }),
  initial: 'connecting',
  on: {
    STOP: {
      target: '.closed',
      actions: reset,
      meta: by("ours: it holds much of the host's memory and does not move")
    },
    '*': { actions: count('tcp-splice-unexpected'), meta: by('ours: no state expects it') }
  },
  states: {
    connecting: {
      description: 'connect() to the target is under way; what the initiator sends waits in its socket.',
      entry: { type: 'SpliceConnect', params: {} },
      on: {
        SPLICE_CONNECTED: { target: 'open', meta: by('behaviour.md#bypass; connect(2)') },
        SPLICE_FAILED: {
          target: 'closed',
          actions: [note, count('tcp-splice-not-connected'), reset],
          meta: by('behaviour.md#bypass-ends', 77)
        }
      }
    },
    open: {
      initial: 'both',
      on: {
        SPLICE_FAILED: {
          target: 'closed',
          actions: [note, count('tcp-splice-broken'), reset],
          meta: by('behaviour.md#bypass-ends', 82, 86)
        }
      },
      states: {
        both: {
          description: 'Both streams are open.',
          on: {
            SPLICE_EOF: [
              {
                guard: { type: 'initiator', params: byEvent },
                target: 'targetOnly',
                actions: [note, finTo(1)],
                meta: halfClose
              },
              { target: 'initiatorOnly', actions: [note, finTo(0)], meta: halfClose }
            ]
          }
        },
        targetOnly: {
          description: 'The initiator has ended its stream, and the target knows.',
          on: {
            SPLICE_EOF: {
              guard: { type: 'target', params: byEvent },
              target: '#tcp-splice.closed',
              actions: [note, { type: 'SpliceClose', params: {} }],
              meta: bothOver
            }
          }
        },
        initiatorOnly: {
          description: 'The target has ended its stream, and the initiator knows.',
          on: {
            SPLICE_EOF: {
              guard: { type: 'initiator', params: byEvent },
              target: '#tcp-splice.closed',
              actions: [note, { type: 'SpliceClose', params: {} }],
              meta: bothOver
            }
          }
        }
      }
    },
    closed: { type: 'final' }
  }
})
