import { enqueueActions, setup } from 'xstate'
import { add, le } from '../../codecs/value/seq.js'
import { RST, SYN, type TcpSegment } from '../../codecs/wire/tcp.js'
import { effectActions } from '../../effects/effect.js'
import { resetToTap } from './tcp-ack.js'
import { flush } from './tcp-output.js'
import * as segment from './tcp-segment.js'
import * as sock from './tcp-sock.js'
import * as syn from './tcp-syn.js'
import * as tcb from './tcp-tcb.js'
import * as timers from './tcp-timers.js'

// One TCP connection through the tap; we are the host peer's stand-in towards the guest, with the states of RFC 9293 §3.3.2.
// The guest opened it: its SYN becomes connect(), and is answered when the peer has accepted. Or the peer did: a listener
// has accepted it, and our SYN asks the guest; what the peer sends meanwhile waits in the socket, and a refusal reaches it
// as a reset. Once open the two are alike.
//
// Nothing is buffered here. Octets for the guest stay in the host socket's receive queue until the guest has acknowledged
// them: PeekToTap copies them to the tap from SND.NXT on, DiscardFromSock drops what SND.UNA has passed, and to
// retransmit is to move SND.NXT back and peek again. Octets from the guest go straight to the socket; what the kernel does
// not take native keeps, in order, never more than we offered window for.
//
// Three numbers follow the guest's stream. RCV.NXT: handed to native. rcvTaken: taken by the kernel (SOCK_SENT).
// rcvConfirmed: acknowledged by the peer (SOCK_ACKED as it happens, SockInfo whenever we get one, by timer at last). The
// guest is told rcvTaken where a difference could not be felt, else rcvConfirmed (tcp-ack.ts, acksTaken). The window's right
// edge is what the send buffer has room for and the peer's window allows; it only ever moves forward.
//
// A turn: events change numbers and hand over payload; TURN_END takes the decisions about the streams' ends, which are
// this chart's transitions, and emits once what the turn led to (tcp-output.ts). Results of a turn's effects are the first
// events of the next. So there is at most one peek under way, and ACK, window and data are coalesced.
//
// The numbers are in tcp-tcb.ts and change in pure reducers: tcp-syn until the connection is open, then one file per source
// of events, tcp-segment (guest), tcp-sock (host), tcp-timers, and tcp-output (end of turn). A deadline is a number in the
// block as well; a timer that fires early or for nothing changes nothing.

export type { TcpEvent, TcpInput } from './tcp-tcb.js'
export interface TcpContext {
  readonly tcb: tcb.Tcb
}

/** A reducer as an action. Effects are enqueued as they are: their `type` among the params does no harm. */
const lift = <E>(f: tcb.Reducer<E>) =>
  enqueueActions<TcpContext, tcb.TcpEvent, E, tcb.TcpEvent, never, never, never, never, never>(
    ({ context, enqueue }, e) => {
      const [next, out] = f(context.tcb, e)
      enqueue.assign({ tcb: next })
      for (let i = 0; i < out.length; i++) enqueue({ type: out[i].type, params: out[i] } as never)
    }
  )
const change = <E>(...f: tcb.Change<E>[]) => lift(tcb.reducer(...f))

type Seg = { readonly seg: TcpSegment }
type Now = { readonly now: tcb.TcpEvent['now'] }
const theEvent = <E>({ event }: { readonly event: E }): E => event

const EAGAIN = 11
const CloseSock = { type: 'CloseSock', params: {} } as const
const ResetSock = { type: 'ResetSock', params: {} } as const
/** RST to both sides. */
const abort = ['resetToTap', ResetSock] as const
const answerOther = { type: 'SegmentToTap', params: syn.resetOther } as const
const Flush = { type: 'flush', params: theEvent } as const
const giveUpSyn = {
  guard: { type: 'synRetriesSpent', params: theEvent },
  target: 'closed',
  actions: abort
} as const

export const tcpMachine = setup({
  types: { context: {} as TcpContext, events: {} as tcb.TcpEvent, input: {} as tcb.TcpInput },
  guards: {
    /** RFC 9293 §3.10.7.4, by name: tcp-segment.ts. */
    is: ({ context }, p: { readonly as: segment.Disposition; readonly seg: TcpSegment }) =>
      segment.disposition(context.tcb, p.seg) === p.as,
    fromHost: ({ context }) => context.tcb.fromHost,
    /** The SYN that opened this flow, again. */
    sameSyn: ({ context }, p: Seg) => syn.isSyn(p.seg) && p.seg.seq === context.tcb.irs,
    isSyn: (_, p: Seg) => syn.isSyn(p.seg),
    isSynAck: (_, p: Seg) => syn.isSynAck(p.seg),
    crossedSynAck: ({ context }, p: Seg) => syn.crossedSynAck(context.tcb, p.seg),
    acksOther: ({ context }, p: Seg) => syn.acksOther(context.tcb, p.seg),
    refuses: ({ context }, p: Seg) => syn.refuses(context.tcb, p.seg),
    resetsConnect: ({ context: { tcb: t } }, { seg }: Seg) =>
      t.heardSyn && (seg.flags & RST) !== 0 && seg.seq === add(t.irs, 1),
    /** In the window, but it acknowledges something other than our SYN. */
    wrongHandshakeAck: ({ context: { tcb: t } }, { seg }: Seg) =>
      (seg.flags & (SYN | RST)) === 0 &&
      seg.ack !== t.sndMax &&
      le(t.rcvNxt, seg.seq) &&
      le(seg.seq, t.rcvEdge),
    completes: ({ context }, p: { readonly as: segment.Disposition; readonly seg: TcpSegment }) =>
      p.seg.ack === context.tcb.sndMax && segment.disposition(context.tcb, p.seg) === p.as,
    guestFinDue: ({ context }) => segment.guestFinDue(context.tcb),
    hostEnded: ({ context }) => segment.hostEnded(context.tcb),
    bothEnded: ({ context }) => segment.guestFinDue(context.tcb) && segment.hostEnded(context.tcb),
    ourFinAcked: ({ context }) => segment.ourFinAcked(context.tcb),
    allDone: ({ context }) => segment.guestFinDue(context.tcb) && segment.ourFinAcked(context.tcb),
    sockBroke: (_, p: { readonly errno: number }) => p.errno !== 0 && p.errno !== EAGAIN,
    synRetriesSpent: ({ context }, p: Now) => syn.synRetriesSpent(context.tcb, p.now),
    rtoDue: ({ context }, p: Now) => timers.rtoDue(context.tcb, p.now),
    retriesSpent: ({ context }, p: Now) => timers.retriesSpent(context.tcb, p.now),
    inactive: ({ context }, p: Now) => timers.inactive(context.tcb, p.now)
  },
  actions: {
    ...effectActions,
    receive: change<tcb.SegmentEvent>(segment.receive),
    receiveAhead: change<tcb.SegmentEvent>(segment.receiveAhead),
    receiveUnacceptable: change<tcb.SegmentEvent>(segment.receiveUnacceptable),
    challenge: change<Now>(segment.challenge),
    begin: change<unknown>(syn.begin),
    openAgain: change<unknown>(syn.openAgain),
    accepted: change<tcb.SegmentEvent>(syn.accepted),
    crossed: change<tcb.SegmentEvent>(syn.crossed),
    crossedDone: change<tcb.SegmentEvent>(syn.crossedDone),
    resetToTap: change<unknown>((d, _, out) => resetToTap(d, out)),
    forwardFin: change<unknown>(segment.forwardFin),
    flush: change<Now>(flush),
    adopted: change<tcb.EventOf<'SOCK_CONNECTED'>>(sock.sockKnown),
    connected: change<tcb.EventOf<'SOCK_CONNECTED'>>(syn.connected),
    sent: change<tcb.EventOf<'SOCK_SENT'>>(sock.sent),
    peeked: change<tcb.EventOf<'SOCK_PEEKED'>>(sock.peeked),
    tapRoom: change<Now>(sock.tapRoom),
    ready: change<tcb.EventOf<'SOCK_READY'>>(sock.ready),
    info: change<tcb.EventOf<'SOCK_INFO'>>(sock.info),
    reported: change<tcb.EventOf<'SOCK_ACKED'>>(sock.reported),
    synRtoFired: change<Now>(syn.synRtoFired),
    rtoFired: change<Now>(timers.rtoFired),
    ackFired: change<Now>(timers.ackFired),
    keepaliveFired: change<Now>(timers.keepaliveFired),
    idleFired: change<Now>(timers.idleFired),
    armTimers: change<Now>(timers.armAll),
    armTimeWait: change<Now>(timers.armTimeWait),
    cancelTimers: change<unknown>(timers.cancelAll)
  }
}).createMachine({
  id: 'tcp',
  description: 'One TCP connection through the tap: the stand-in of the host peer towards the guest.',
  context: ({ input }) => ({ tcb: tcb.initialTcb(input) }),
  initial: 'connecting',
  on: {
    SOCK_FAILED: { target: '.closed', actions: ['resetToTap', CloseSock] },
    STOP: { target: '.closed', actions: abort },
    TURN_END: {},
    '*': { actions: { type: 'Count', params: { what: 'tcp-unexpected' } } }
  },
  states: {
    connecting: {
      description:
        'The socket is on its way. The guest opened: `TcpConnect`, and it gets its answer when the peer has given one. ' +
        'The host peer did: `SockAdopt` and the SYN to the guest; the next turn knows the socket.',
      entry: 'begin',
      on: {
        SOCK_CONNECTED: [
          { guard: 'fromHost', target: 'synSent', actions: { type: 'adopted', params: theEvent } },
          { target: 'synRcvd', actions: { type: 'connected', params: theEvent } }
        ],
        // Of a SYN to the guest: nothing came of the adoption.
        TIMER_RTO: [{ guard: { type: 'rtoDue', params: theEvent }, target: 'closed', actions: abort }, {}],
        SOCK_READY: { actions: { type: 'ready', params: theEvent } },
        TAP_SEGMENT: [
          { guard: { type: 'resetsConnect', params: theEvent }, target: 'closed', actions: ResetSock },
          { actions: { type: 'Count', params: { what: 'tcp-early' } } } // the SYN again, most likely (#regression-56)
        ]
      }
    },
    synSent: {
      description:
        'SYN-SENT (RFC 9293 §3.10.7.3): the guest is asked, again and again while it boots (#regression-71).',
      on: {
        TAP_SEGMENT: [
          { guard: { type: 'acksOther', params: theEvent }, actions: answerOther },
          { guard: { type: 'refuses', params: theEvent }, target: 'closed', actions: ResetSock },
          {
            guard: { type: 'isSynAck', params: theEvent },
            target: 'open',
            actions: { type: 'accepted', params: theEvent }
          },
          {
            guard: { type: 'isSyn', params: theEvent },
            target: 'synRcvd',
            actions: { type: 'crossed', params: theEvent }
          },
          { actions: { type: 'Count', params: { what: 'tcp-early' } } }
        ],
        TIMER_RTO: [giveUpSyn, { actions: { type: 'synRtoFired', params: theEvent } }],
        SOCK_READY: { actions: { type: 'ready', params: theEvent } },
        SOCK_INFO: { actions: { type: 'info', params: theEvent } }
      }
    },
    synRcvd: {
      description: 'SYN-RECEIVED: SYN,ACK sent, and sent again until acknowledged.',
      on: {
        TAP_SEGMENT: [
          { guard: { type: 'sameSyn', params: theEvent }, actions: 'openAgain' },
          {
            guard: { type: 'crossedSynAck', params: theEvent },
            target: 'open',
            actions: { type: 'crossedDone', params: theEvent }
          },
          {
            guard: { type: 'is', params: ({ event }) => ({ as: 'reset', seg: event.seg }) },
            target: 'closed',
            actions: ResetSock
          },
          {
            guard: { type: 'is', params: ({ event }) => ({ as: 'ignore', seg: event.seg }) },
            actions: { type: 'Count', params: { what: 'tcp-ignored' } }
          },
          { guard: { type: 'wrongHandshakeAck', params: theEvent }, actions: answerOther },
          {
            guard: { type: 'completes', params: ({ event }) => ({ as: 'accept', seg: event.seg }) },
            target: 'open',
            actions: { type: 'receive', params: theEvent } // with its data (#regression-G)
          },
          {
            guard: { type: 'completes', params: ({ event }) => ({ as: 'ahead', seg: event.seg }) },
            target: 'open',
            actions: { type: 'receiveAhead', params: theEvent }
          },
          { actions: { type: 'challenge', params: theEvent } }
        ],
        TIMER_RTO: [giveUpSyn, { actions: { type: 'synRtoFired', params: theEvent } }],
        SOCK_READY: { actions: { type: 'ready', params: theEvent } },
        SOCK_INFO: { actions: { type: 'info', params: theEvent } }
      }
    },
    open: {
      description: 'Both sides are connected; below, who has finished speaking.',
      initial: 'established',
      entry: { type: 'armTimers', params: theEvent },
      on: {
        TAP_SEGMENT: [
          {
            guard: { type: 'is', params: ({ event }) => ({ as: 'accept', seg: event.seg }) },
            actions: { type: 'receive', params: theEvent }
          },
          {
            guard: { type: 'is', params: ({ event }) => ({ as: 'ahead', seg: event.seg }) },
            actions: { type: 'receiveAhead', params: theEvent }
          },
          {
            guard: { type: 'is', params: ({ event }) => ({ as: 'unacceptable', seg: event.seg }) },
            actions: { type: 'receiveUnacceptable', params: theEvent }
          },
          {
            guard: { type: 'is', params: ({ event }) => ({ as: 'reset', seg: event.seg }) },
            target: 'closed',
            actions: ResetSock // #regression-82
          },
          {
            guard: { type: 'is', params: ({ event }) => ({ as: 'challenge', seg: event.seg }) },
            actions: { type: 'challenge', params: theEvent }
          },
          { actions: { type: 'Count', params: { what: 'tcp-ignored' } } }
        ],
        SOCK_SENT: [
          { guard: { type: 'sockBroke', params: theEvent }, target: 'closed', actions: abort },
          { actions: { type: 'sent', params: theEvent } }
        ],
        SOCK_PEEKED: [
          { guard: { type: 'sockBroke', params: theEvent }, target: 'closed', actions: abort },
          { actions: { type: 'peeked', params: theEvent } }
        ],
        TAP_ROOM: { actions: { type: 'tapRoom', params: theEvent } },
        SOCK_READY: { actions: { type: 'ready', params: theEvent } },
        SOCK_INFO: { actions: { type: 'info', params: theEvent } },
        SOCK_ACKED: { actions: { type: 'reported', params: theEvent } },
        TIMER_RTO: [
          { guard: { type: 'retriesSpent', params: theEvent }, target: 'closed', actions: abort },
          { actions: { type: 'rtoFired', params: theEvent } }
        ],
        TIMER_ACK: { actions: { type: 'ackFired', params: theEvent } },
        TIMER_KEEPALIVE: { actions: { type: 'keepaliveFired', params: theEvent } },
        TIMER_IDLE: [
          { guard: { type: 'inactive', params: theEvent }, target: 'closed', actions: abort },
          { actions: { type: 'idleFired', params: theEvent } }
        ],
        TURN_END: { actions: Flush }
      },
      states: {
        established: {
          on: {
            TURN_END: [
              { guard: 'bothEnded', target: 'closing', actions: ['forwardFin', Flush] },
              { guard: 'guestFinDue', target: 'closeWait', actions: ['forwardFin', Flush] },
              { guard: 'hostEnded', target: 'finWait1', actions: Flush },
              { actions: Flush }
            ]
          }
        },
        closeWait: {
          description: 'The guest has finished; the host may go on for as long as it likes.',
          on: {
            TURN_END: [{ guard: 'hostEnded', target: 'lastAck', actions: Flush }, { actions: Flush }]
          }
        },
        finWait1: {
          description: "Our FIN is sent, or goes as soon as the guest's window lets it.",
          on: {
            TURN_END: [
              { guard: 'allDone', target: '#tcp.timeWait', actions: ['forwardFin', Flush] },
              { guard: 'guestFinDue', target: 'closing', actions: ['forwardFin', Flush] },
              { guard: 'ourFinAcked', target: 'finWait2', actions: Flush },
              { actions: Flush }
            ]
          }
        },
        finWait2: {
          description: 'The guest has our FIN and goes on sending.',
          on: {
            TURN_END: [
              { guard: 'guestFinDue', target: '#tcp.timeWait', actions: ['forwardFin', Flush] },
              { actions: Flush }
            ]
          }
        },
        closing: {
          description: 'Both have finished; our FIN went first and is not acknowledged.',
          on: {
            TURN_END: [{ guard: 'ourFinAcked', target: '#tcp.timeWait', actions: Flush }, { actions: Flush }]
          }
        },
        lastAck: {
          description:
            'Both have finished, the guest first; closed only when it has our FIN (#regression-68).',
          on: {
            TURN_END: [
              { guard: 'ourFinAcked', target: '#tcp.closed', actions: [Flush, CloseSock] },
              { actions: Flush }
            ]
          }
        }
      }
    },
    timeWait: {
      description:
        "All is done and the socket closed; the guest's FIN may come again, should our ACK be lost.",
      entry: [CloseSock, { type: 'armTimeWait', params: theEvent }],
      on: {
        TAP_SEGMENT: [
          {
            guard: { type: 'is', params: ({ event }) => ({ as: 'reset', seg: event.seg }) },
            target: 'closed'
          },
          { guard: { type: 'isSyn', params: theEvent }, target: 'closed' }, // the ports are used again
          {
            guard: { type: 'is', params: ({ event }) => ({ as: 'unacceptable', seg: event.seg }) },
            actions: { type: 'challenge', params: theEvent }
          },
          { actions: { type: 'Count', params: { what: 'tcp-ignored' } } }
        ],
        TIMER_IDLE: { target: 'closed' },
        SOCK_FAILED: {},
        STOP: { target: 'closed' }
      }
    },
    closed: { type: 'final', entry: 'cancelTimers' }
  }
})
