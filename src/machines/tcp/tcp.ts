import { setup } from 'xstate'
import { EAGAIN } from '../../codecs/value/errno.js'
import { add, le } from '../../codecs/value/seq.js'
import { RST, SYN, type TcpSegment } from '../../codecs/wire/tcp.js'
import { effectActions } from '../../effects/effect.js'
import { by, type Source } from '../source.js'
import * as rtx from './tcb-rtx.js'
import { inactive } from './tcb-wake.js'
import { reductions, type TcpContext } from './tcp-actions.js'
import { type ResumesIn, resumesIn } from './tcp-hand-over.js'
import * as segment from './tcp-segment.js'
import * as syn from './tcp-syn.js'
import { initialTcb, type SegmentEvent, type TcpEvent, type TcpInput } from './tcp-tcb.js'

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
// The numbers are in one block, tcp-tcb.ts, in groups, and only a group's own file changes it: tcb-agreed (the SYNs), tcb-snd,
// tcb-rtx (its timer), tcb-rcv, tcb-peer (the host's socket), tcb-ack (what we owe), tcb-wake (when to look again). What an event
// does to them is said by pure reducers, one file for each source of events: tcp-syn until the connection is open, then
// tcp-segment (guest), tcp-sock (host), tcp-timers, tcp-hand-over (migration), and tcp-output (end of turn). A deadline is a number in the block as
// well; a timer that fires early or for nothing changes nothing.

export type { TcpContext } from './tcp-actions.js'
export type { TcpEvent, TcpInput } from './tcp-tcb.js'

type Seg = { readonly seg: TcpSegment }
type Now = { readonly now: TcpEvent['now'] }
const theEvent = <E>({ event }: { readonly event: E }): E => event

const CloseSock = { type: 'CloseSock', params: {} } as const
const ResetSock = { type: 'ResetSock', params: {} } as const
/** RST to both sides. */
const abort = ['resetToTap', ResetSock] as const
const answerOther = { type: 'SegmentToTap', params: syn.resetOther } as const
const SendDue = { type: 'sendDue', params: theEvent } as const
const giveUpSyn = {
  guard: { type: 'synRetriesSpent', params: theEvent },
  target: 'closed',
  actions: abort,
  meta: by('RFC 1122 §4.2.3.5; behaviour.md#tcp-handshake')
} as const
/** A turn ends, and the streams go on. */
const inTurn = by('behaviour.md#tcp-acknowledgements; RFC 9293 §3.8.6.2')
const resumes = (leaf: ResumesIn) =>
  ({
    guard: { type: 'resumesIn', params: { leaf } },
    target: `open.${leaf}`,
    actions: { type: 'resumed', params: theEvent },
    meta: by('behaviour.md#migration; tcp(7), TCP_REPAIR')
  }) as const
const is = (as: segment.Disposition) =>
  ({ type: 'is', params: ({ event }: { readonly event: SegmentEvent }) => ({ as, seg: event.seg }) }) as const
const completes = (as: segment.Disposition) =>
  ({
    type: 'completes',
    params: ({ event }: { readonly event: SegmentEvent }) => ({ as, seg: event.seg })
  }) as const

/** What the root has for the chart's page. */
interface Page {
  readonly dispositions: typeof segment.DISPOSITIONS
}

export const tcpMachine = setup({
  types: {
    context: {} as TcpContext,
    events: {} as TcpEvent,
    input: {} as TcpInput,
    meta: {} as Source | Page
  },
  guards: {
    /** RFC 9293 §3.10.7.4, by name: tcp-segment.ts. */
    is: ({ context }, p: { readonly as: segment.Disposition; readonly seg: TcpSegment }) =>
      segment.disposition(context.tcb, p.seg) === p.as,
    fromHost: ({ context }) => context.tcb.fromHost,
    moved: ({ context }) => context.tcb.moved,
    resumesIn: ({ context: { tcb: t } }, p: { readonly leaf: ResumesIn }) =>
      t.moved && resumesIn(t) === p.leaf,
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
    synRetriesSpent: ({ context }, p: Now) => rtx.synRetriesSpent(context.tcb, p.now),
    rtoDue: ({ context }, p: Now) => rtx.rtoDue(context.tcb, p.now),
    retriesSpent: ({ context }, p: Now) => rtx.retriesSpent(context.tcb, p.now),
    inactive: ({ context }, p: Now) => inactive(context.tcb, p.now)
  },
  actions: {
    ...effectActions,
    ...reductions
  }
}).createMachine({
  id: 'tcp',
  description: 'One TCP connection through the tap: the stand-in of the host peer towards the guest.',
  context: ({ input }) => ({ tcb: initialTcb(input) }),
  meta: { dispositions: segment.DISPOSITIONS },
  initial: 'connecting',
  on: {
    SOCK_FAILED: {
      target: '.closed',
      actions: ['resetToTap', CloseSock],
      meta: by('RFC 9293 §3.10.5; behaviour.md#tcp-handshake')
    },
    STOP: { target: '.closed', actions: abort, meta: by('RFC 9293 §3.10.5') },
    MOVED_AWAY: { target: '.closed', actions: CloseSock, meta: by('behaviour.md#migration') },
    TURN_END: { meta: by('ours: nothing is coalesced before the connection is open') },
    TOKENS: { meta: by('ours: nothing is sent any more') },
    '*': {
      actions: { type: 'Count', params: { what: 'tcp-unexpected' } },
      meta: by('ours: no state expects it')
    }
  },
  states: {
    connecting: {
      description:
        'The socket is on its way. The guest opened: `TcpConnect`, and it gets its answer when the peer has given one. ' +
        'The host peer did: `SockAdopt` and the SYN to the guest; the next turn knows the socket. ' +
        'Or it was open elsewhere: its socket is being restored.',
      entry: 'begin',
      on: {
        SOCK_RESTORED: {
          guard: 'moved',
          actions: { type: 'restored', params: theEvent },
          meta: by('behaviour.md#migration; tcp(7), TCP_REPAIR')
        },
        SOCK_CONNECTED: [
          resumes('established'),
          resumes('closeWait'),
          resumes('finWait1'),
          resumes('finWait2'),
          resumes('closing'),
          {
            guard: 'fromHost',
            target: 'synSent',
            actions: { type: 'adopted', params: theEvent },
            meta: by('RFC 9293 §3.10.1')
          },
          {
            target: 'synRcvd',
            actions: { type: 'connected', params: theEvent },
            meta: by('RFC 9293 §3.10.7.2, third; behaviour.md#tcp-handshake')
          }
        ],
        // Of a SYN to the guest: nothing came of the adoption.
        TIMER_RTO: [
          {
            guard: { type: 'rtoDue', params: theEvent },
            target: 'closed',
            actions: abort,
            meta: by('ours: no socket came of the adoption')
          },
          { meta: by('ours: a timer may fire for nothing') }
        ],
        SOCK_READY: { actions: { type: 'ready', params: theEvent }, meta: by('ours: `open` looks at it') },
        TAP_SEGMENT: [
          {
            guard: { type: 'resetsConnect', params: theEvent },
            target: 'closed',
            actions: ResetSock,
            meta: by('RFC 9293 §3.10.7.4, second; RFC 5961 §3.2', 82)
          },
          {
            // the SYN again, most likely
            actions: { type: 'Count', params: { what: 'tcp-early' } },
            meta: by("ours: the answer is the peer's", 56)
          }
        ]
      }
    },
    synSent: {
      description:
        'SYN-SENT (RFC 9293 §3.10.7.3): the guest is asked, again and again while it boots (#regression-71).',
      on: {
        TAP_SEGMENT: [
          {
            guard: { type: 'acksOther', params: theEvent },
            actions: answerOther,
            meta: by('RFC 9293 §3.10.7.3, first', 26)
          },
          {
            guard: { type: 'refuses', params: theEvent },
            target: 'closed',
            actions: ResetSock,
            meta: by('RFC 9293 §3.10.7.3, second; RFC 5961 §3.2', 82)
          },
          {
            guard: { type: 'isSynAck', params: theEvent },
            target: 'open',
            actions: { type: 'accepted', params: theEvent },
            meta: by('RFC 9293 §3.10.7.3, fourth', 17, 'O')
          },
          {
            guard: { type: 'isSyn', params: theEvent },
            target: 'synRcvd',
            actions: { type: 'crossed', params: theEvent },
            meta: by('RFC 9293 §3.5, figure 7')
          },
          {
            actions: { type: 'Count', params: { what: 'tcp-early' } },
            meta: by('RFC 9293 §3.10.7.3, fifth')
          }
        ],
        TIMER_RTO: [
          giveUpSyn,
          {
            actions: { type: 'synRtoFired', params: theEvent },
            meta: by('RFC 6298 (5.4) to (5.7); behaviour.md#tcp-handshake', 71, 'B')
          }
        ],
        SOCK_READY: { actions: { type: 'ready', params: theEvent }, meta: by('ours: `open` looks at it') },
        SOCK_INFO: { actions: { type: 'info', params: theEvent }, meta: by('tcp(7), TCP_INFO') }
      }
    },
    synRcvd: {
      description: 'SYN-RECEIVED: SYN,ACK sent, and sent again until acknowledged.',
      on: {
        TAP_SEGMENT: [
          {
            guard: { type: 'sameSyn', params: theEvent },
            actions: 'openAgain',
            meta: by('RFC 9293 §3.10.7.4, fourth', 'C')
          },
          {
            guard: { type: 'crossedSynAck', params: theEvent },
            target: 'open',
            actions: { type: 'crossedDone', params: theEvent },
            meta: by('RFC 9293 §3.5, figure 7')
          },
          {
            guard: is('reset'),
            target: 'closed',
            actions: ResetSock,
            meta: by('RFC 9293 §3.10.7.4, second; RFC 5961 §3.2', 82, 'I')
          },
          {
            guard: is('ignore'),
            actions: { type: 'Count', params: { what: 'tcp-ignored' } },
            meta: by('RFC 9293 §3.10.7.4, first and fifth', 'I')
          },
          {
            guard: { type: 'wrongHandshakeAck', params: theEvent },
            actions: answerOther,
            meta: by('RFC 9293 §3.10.7.4, fifth (SYN-RECEIVED)', 26)
          },
          {
            guard: completes('accept'),
            target: 'open',
            actions: { type: 'receive', params: theEvent }, // with its data
            meta: by('RFC 9293 §3.10.7.4, fifth to eighth', 'G')
          },
          {
            guard: completes('ahead'),
            target: 'open',
            actions: { type: 'receiveAhead', params: theEvent },
            meta: by('RFC 9293 §3.10.7.4, fifth; RFC 5681 §3.2')
          },
          {
            actions: { type: 'challenge', params: theEvent },
            meta: by('RFC 9293 §3.10.7.4, first; RFC 5961 §3.2, §4.2')
          }
        ],
        TIMER_RTO: [
          giveUpSyn,
          {
            actions: { type: 'synRtoFired', params: theEvent },
            meta: by('RFC 6298 (5.4) to (5.7); behaviour.md#tcp-handshake', 'C')
          }
        ],
        SOCK_READY: { actions: { type: 'ready', params: theEvent }, meta: by('ours: `open` looks at it') },
        SOCK_INFO: { actions: { type: 'info', params: theEvent }, meta: by('tcp(7), TCP_INFO') }
      }
    },
    open: {
      description: 'Both sides are connected; below, who has finished speaking.',
      initial: 'established',
      entry: { type: 'armTimers', params: theEvent },
      on: {
        TAP_SEGMENT: [
          {
            guard: is('accept'),
            actions: { type: 'receive', params: theEvent },
            meta: by('RFC 9293 §3.10.7.4, fifth to eighth', 3, 34, 55, 'A')
          },
          {
            guard: is('ahead'),
            actions: { type: 'receiveAhead', params: theEvent },
            meta: by('RFC 9293 §3.10.7.4, first; RFC 5681 §3.2')
          },
          {
            guard: is('unacceptable'),
            actions: { type: 'receiveUnacceptable', params: theEvent },
            meta: by('RFC 9293 §3.10.7.4, first; RFC 1122 §4.2.3.6', 43, 54, 'H')
          },
          {
            guard: is('reset'),
            target: 'closed',
            actions: ResetSock,
            meta: by('RFC 9293 §3.10.7.4, second; RFC 5961 §3.2', 82, 'I')
          },
          {
            guard: is('challenge'),
            actions: { type: 'challenge', params: theEvent },
            meta: by('RFC 5961 §3.2, §4.2, §5.2, §7', 'I')
          },
          {
            actions: { type: 'Count', params: { what: 'tcp-ignored' } },
            meta: by('RFC 9293 §3.10.7.4, first and fifth', 'I')
          }
        ],
        SOCK_SENT: [
          {
            guard: { type: 'sockBroke', params: theEvent },
            target: 'closed',
            actions: abort,
            meta: by('RFC 9293 §3.10.5')
          },
          {
            actions: { type: 'sent', params: theEvent },
            meta: by('behaviour.md#tcp-acknowledgements', 2, 69)
          }
        ],
        SOCK_PEEKED: [
          {
            guard: { type: 'sockBroke', params: theEvent },
            target: 'closed',
            actions: abort,
            meta: by('RFC 9293 §3.10.5')
          },
          { actions: { type: 'peeked', params: theEvent }, meta: by('RFC 9293 §3.10.2', 18, 62) }
        ],
        TAP_ROOM: { actions: { type: 'tapRoom', params: theEvent }, meta: by('ours: no need to wait', 18) },
        TOKENS: {
          actions: { type: 'tokens', params: theEvent },
          meta: by('behaviour.md#rate-limits; RFC 9293 §3.8.6')
        },
        SOCK_READY: {
          actions: { type: 'ready', params: theEvent },
          meta: by('RFC 9293 §3.10.2; epoll(7)', 4, 49, 73)
        },
        SOCK_INFO: {
          actions: { type: 'info', params: theEvent },
          meta: by('behaviour.md#tcp-acknowledgements; tcp(7), TCP_INFO', 72)
        },
        SOCK_ACKED: {
          actions: { type: 'reported', params: theEvent },
          meta: by('behaviour.md#tcp-acknowledgements; socket(7), SO_TIMESTAMPING', 11)
        },
        TIMER_RTO: [
          {
            guard: { type: 'retriesSpent', params: theEvent },
            target: 'closed',
            actions: abort,
            meta: by('RFC 1122 §4.2.3.5; behaviour.md#tcp-retransmission', 9)
          },
          {
            actions: { type: 'rtoFired', params: theEvent },
            meta: by('RFC 6298 (5.4) to (5.6); RFC 9293 §3.8.6.1', 24, 57, 67, 83)
          }
        ],
        FROZEN: { actions: { type: 'frozen', params: theEvent }, meta: by('behaviour.md#migration') },
        THAWED: { actions: { type: 'thawed', params: theEvent }, meta: by('behaviour.md#migration') },
        TIMER_ACK: {
          actions: { type: 'ackFired', params: theEvent },
          meta: by('RFC 1122 §4.2.3.2', 11, 44, 76)
        },
        TIMER_KEEPALIVE: {
          actions: { type: 'keepaliveFired', params: theEvent },
          meta: by('RFC 1122 §4.2.3.6; behaviour.md#tcp-keep-alive', 84)
        },
        TIMER_IDLE: [
          {
            guard: { type: 'inactive', params: theEvent },
            target: 'closed',
            actions: abort,
            meta: by('RFC 9293 §3.10.8; behaviour.md#tcp-keep-alive', 84)
          },
          {
            actions: { type: 'idleFired', params: theEvent },
            meta: by('ours: a timer may fire for nothing')
          }
        ]
      },
      states: {
        established: {
          on: {
            TURN_END: [
              {
                guard: 'bothEnded',
                target: 'closing',
                actions: ['forwardFin', SendDue],
                meta: by('RFC 9293 §3.6, figure 13', 69)
              },
              {
                guard: 'guestFinDue',
                target: 'closeWait',
                actions: ['forwardFin', SendDue],
                meta: by('RFC 9293 §3.10.7.4, eighth', 69)
              },
              {
                guard: 'hostEnded',
                target: 'finWait1',
                actions: SendDue,
                meta: by('RFC 9293 §3.10.4', 4, 67)
              },
              { actions: SendDue, meta: inTurn }
            ]
          }
        },
        closeWait: {
          description: 'The guest has finished; the host may go on for as long as it likes.',
          on: {
            TURN_END: [
              { guard: 'hostEnded', target: 'lastAck', actions: SendDue, meta: by('RFC 9293 §3.10.4', 67) },
              { actions: SendDue, meta: inTurn }
            ]
          }
        },
        finWait1: {
          description: "Our FIN is sent, or goes as soon as the guest's window lets it.",
          on: {
            TURN_END: [
              {
                guard: 'allDone',
                target: '#tcp.timeWait',
                actions: ['forwardFin', SendDue],
                meta: by('RFC 9293 §3.10.7.4, eighth (FIN-WAIT-1)', 69)
              },
              {
                guard: 'guestFinDue',
                target: 'closing',
                actions: ['forwardFin', SendDue],
                meta: by('RFC 9293 §3.10.7.4, eighth (FIN-WAIT-1)', 69)
              },
              {
                guard: 'ourFinAcked',
                target: 'finWait2',
                actions: SendDue,
                meta: by('RFC 9293 §3.10.7.4, fifth (FIN-WAIT-1)', 67)
              },
              { actions: SendDue, meta: inTurn }
            ]
          }
        },
        finWait2: {
          description: 'The guest has our FIN and goes on sending.',
          on: {
            TURN_END: [
              {
                guard: 'guestFinDue',
                target: '#tcp.timeWait',
                actions: ['forwardFin', SendDue],
                meta: by('RFC 9293 §3.10.7.4, eighth (FIN-WAIT-2)', 69)
              },
              { actions: SendDue, meta: inTurn }
            ]
          }
        },
        closing: {
          description: 'Both have finished; our FIN went first and is not acknowledged.',
          on: {
            TURN_END: [
              {
                guard: 'ourFinAcked',
                target: '#tcp.timeWait',
                actions: SendDue,
                meta: by('RFC 9293 §3.10.7.4, fifth (CLOSING)', 68)
              },
              { actions: SendDue, meta: inTurn }
            ]
          }
        },
        lastAck: {
          description: 'Both have finished, the guest first; closed only when it has our FIN.',
          on: {
            TURN_END: [
              {
                guard: 'ourFinAcked',
                target: '#tcp.closed',
                actions: [SendDue, CloseSock],
                meta: by('RFC 9293 §3.10.7.4, fifth (LAST-ACK)', 68)
              },
              { actions: SendDue, meta: inTurn }
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
          { guard: is('reset'), target: 'closed', meta: by('RFC 9293 §3.10.7.4, second') },
          {
            // the ports are used again
            guard: { type: 'isSyn', params: theEvent },
            target: 'closed',
            meta: by('RFC 9293 §3.6.1', 16)
          },
          {
            guard: is('unacceptable'),
            actions: { type: 'challenge', params: theEvent },
            meta: by('RFC 9293 §3.10.7.4, eighth (TIME-WAIT)', 'H')
          },
          {
            actions: { type: 'Count', params: { what: 'tcp-ignored' } },
            meta: by('RFC 9293 §3.10.7.4')
          }
        ],
        TIMER_IDLE: [
          {
            guard: { type: 'inactive', params: theEvent },
            target: 'closed',
            meta: by('RFC 9293 §3.10.8, TIME-WAIT timeout')
          },
          {
            actions: { type: 'idleFired', params: theEvent },
            meta: by('ours: a timer may fire for nothing')
          }
        ],
        SOCK_FAILED: { meta: by('ours: the socket is closed already') },
        MOVED_AWAY: { target: 'closed', meta: by('ours: the socket is closed already') },
        STOP: { target: 'closed', meta: by('RFC 9293 §3.6.1') }
      }
    },
    closed: { type: 'final', entry: 'cancelTimers' }
  }
})
