import { setup } from 'xstate'
import { by, type Source } from '../source.js'

// Where an endpoint of a connection is, as far as a capture shows it (RFC 9293 §3.3.2). What it sent is certain. What it
// heard has passed the place of the capture, and may have been lost behind it: the endpoint is in this state or in one before.

export interface EndpointEvent {
  readonly type:
    | 'SENT_SYN'
    | 'SENT_SYN_ACK'
    | 'HEARD_SYN'
    | 'HEARD_SYN_ACK'
    | 'SENT_ACK'
    | 'HEARD_ACK_OF_SYN'
    | 'SENT_FIN'
    | 'HEARD_FIN'
    | 'HEARD_ACK_OF_FIN'
    | 'SENT_RST'
    | 'HEARD_RST'
    | 'MIDWAY'
}
/** It has no numbers of its own: those are the connection's (connection.ts). */
export type EndpointContext = Record<string, never>

const reset = {
  SENT_RST: { target: 'reset', meta: by('RFC 9293 §3.10.5') },
  HEARD_RST: { target: 'reset', meta: by('RFC 9293 §3.10.7.4') }
} as const

export const judgedEndpointMachine = setup({
  types: {
    context: {} as EndpointContext,
    events: {} as EndpointEvent,
    input: {} as EndpointContext,
    meta: {} as Source
  }
}).createMachine({
  id: 'judged-endpoint',
  description:
    'One endpoint of a TCP connection in a capture: the state that its segments, and those on their way to it, put it in.',
  context: () => ({}),
  initial: 'unseen',
  states: {
    unseen: {
      description: 'CLOSED or LISTEN: nothing of it was seen yet.',
      on: {
        SENT_SYN: { target: 'synSent', meta: by('RFC 9293 §3.10.1') },
        SENT_SYN_ACK: { target: 'synReceived', meta: by('RFC 9293 §3.10.7.2') },
        MIDWAY: { target: 'established', meta: by('ours: the capture began in the middle') },
        // A refusal changes nothing: there is no connection.
        SENT_RST: { meta: by('RFC 9293 §3.5.2') }
      }
    },
    synSent: {
      on: {
        HEARD_SYN_ACK: { target: 'acked', meta: by('RFC 9293 §3.10.7.3') },
        SENT_SYN_ACK: { target: 'synReceived', meta: by('RFC 9293 §3.5, figure 7') },
        HEARD_RST: { target: 'reset', meta: by('RFC 9293 §3.10.7.3') },
        // An old acknowledgement is refused, and the SYN goes on (RFC 9293 §3.5.1).
        SENT_RST: { meta: by('RFC 9293 §3.5.1') }
      }
    },
    acked: {
      description: 'SYN-SENT, and the SYN,ACK is on its way.',
      on: {
        SENT_ACK: { target: 'established', meta: by('RFC 9293 §3.10.7.3') },
        HEARD_FIN: { target: 'closeWait', meta: by('RFC 9293 §3.10.7.4') },
        SENT_FIN: { target: 'finWait1', meta: by('RFC 9293 §3.10.4') },
        ...reset
      }
    },
    synReceived: {
      on: {
        HEARD_ACK_OF_SYN: { target: 'established', meta: by('RFC 9293 §3.10.7.4') },
        HEARD_FIN: { target: 'closeWait', meta: by('RFC 9293 §3.10.7.4') },
        SENT_FIN: { target: 'finWait1', meta: by('RFC 9293 §3.10.4') },
        ...reset
      }
    },
    established: {
      on: {
        SENT_FIN: { target: 'finWait1', meta: by('RFC 9293 §3.10.4') },
        HEARD_FIN: { target: 'closeWait', meta: by('RFC 9293 §3.10.7.4') },
        ...reset
      }
    },
    finWait1: {
      on: {
        HEARD_ACK_OF_FIN: { target: 'finWait2', meta: by('RFC 9293 §3.10.7.4') },
        HEARD_FIN: { target: 'closing', meta: by('RFC 9293 §3.10.7.4') },
        ...reset
      }
    },
    finWait2: { on: { HEARD_FIN: { target: 'timeWait', meta: by('RFC 9293 §3.10.7.4') }, ...reset } },
    closing: { on: { HEARD_ACK_OF_FIN: { target: 'timeWait', meta: by('RFC 9293 §3.10.7.4') }, ...reset } },
    closeWait: { on: { SENT_FIN: { target: 'lastAck', meta: by('RFC 9293 §3.10.4') }, ...reset } },
    lastAck: { on: { HEARD_ACK_OF_FIN: { target: 'closed', meta: by('RFC 9293 §3.10.7.4') }, ...reset } },
    timeWait: { on: { ...reset } },
    closed: { description: 'It closed second, and its FIN is acknowledged.' },
    reset: { description: 'A RST ended it. One that was lost, or is not acceptable, did not.' }
  }
})

/** A state of the chart, as whoever steps it has it. */
export interface LifeState {
  readonly node: number
  readonly context: EndpointContext
}
/** The chart as a function: `compile(judgedEndpointMachine)` (src/runtime/machine/compile.ts) is one. */
export interface Lifecycle {
  start(input: EndpointContext, out: never[]): LifeState
  step(s: LifeState, event: EndpointEvent, out: never[]): LifeState
  value(s: LifeState): string
}
