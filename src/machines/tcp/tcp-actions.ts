import { enqueueActions } from 'xstate'
import type { Effect } from '../../effects/effect.js'
import { resetToTap } from './tcp-ack.js'
import * as handOver from './tcp-hand-over.js'
import { sendDue } from './tcp-output.js'
import * as segment from './tcp-segment.js'
import * as sock from './tcp-sock.js'
import * as syn from './tcp-syn.js'
import { type Change, type Group, type Reducer, reducer, type Tcb, type TcpEvent } from './tcp-tcb.js'
import * as timers from './tcp-timers.js'

// The chart's actions: pure reducers, and what each may do. What they may emit is a matter of types as well; what they may change,
// and that they do all of it, is held by property-tests/tcp-declared.test.ts. docs/machines/tcp.md has the table.

export interface TcpContext {
  readonly tcb: Tcb
}

/** A reducer as an action. Effects are enqueued as they are: their `type` among the params does no harm. */
export const lift = <E>(f: Reducer<E>) =>
  enqueueActions<TcpContext, TcpEvent, E, TcpEvent, never, never, never, never, never>(
    ({ context, enqueue }, e) => {
      const [next, out] = f(context.tcb, e)
      enqueue.assign({ tcb: next })
      for (let i = 0; i < out.length; i++) enqueue({ type: out[i].type, params: out[i] } as never)
    }
  )

/** What stands in the page. */
export interface Declared {
  readonly does: string
  /** Effects that it may ask for. */
  readonly emits: readonly Effect['type'][]
  /** Groups of the block that it may change. */
  readonly changes: readonly Group[]
}
const act = <E, K extends Effect['type']>(
  does: string,
  emits: readonly K[],
  changes: readonly Group[],
  change: Change<E, NoInfer<K>>
) => {
  const run = reducer(change)
  const declared: Declared = { does, emits, changes }
  return Object.assign(lift(run), { run, declared })
}

export const reductions = {
  begin: act(
    'connect() for the guest; or take the accepted connection over, and send our SYN',
    ['TcpConnect', 'SockAdopt', 'SegmentToTap', 'ArmTimer'],
    ['snd', 'rtx'],
    syn.begin
  ),
  restored: act(
    'a moved connection: what its socket holds; an ACK may be owed',
    [],
    ['snd', 'rcv', 'ack'],
    handOver.restored
  ),
  resumed: act(
    'a moved connection goes on: what the kernel tells of the socket; look for data',
    [],
    ['snd', 'rcv', 'peer', 'wake'],
    handOver.resumed
  ),
  frozen: act(
    'nothing is under way any more; timers stop',
    ['CancelTimer'],
    ['snd', 'rtx', 'rcv', 'peer', 'wake'],
    handOver.frozen
  ),
  thawed: act(
    'timers start; look for data; an ACK is owed',
    ['ArmTimer'],
    ['snd', 'rtx', 'ack', 'wake'],
    handOver.thawed
  ),
  adopted: act('what the kernel tells of the socket', [], ['peer', 'wake'], sock.sockKnown),
  connected: act(
    'the peer has accepted: SYN,ACK to the guest',
    ['SegmentToTap', 'ArmTimer'],
    ['snd', 'rtx', 'rcv', 'peer', 'wake'],
    syn.connected
  ),
  openAgain: act('the SYN,ACK again, unchanged', ['SegmentToTap'], [], syn.openAgain),
  synRtoFired: act(
    'if the time-out has passed, SYN or SYN,ACK again, unchanged',
    ['SegmentToTap', 'ArmTimer'],
    ['rtx'],
    syn.synRtoFired
  ),
  accepted: act(
    'the guest accepts: its options and numbers; data and FIN as `receive`; an ACK at once',
    ['SendToSock', 'SegmentToTap'],
    ['agreed', 'snd', 'rtx', 'rcv', 'peer', 'ack', 'wake'],
    syn.accepted
  ),
  crossed: act(
    "the guest's SYN crossed ours: its options and numbers; SYN,ACK",
    ['SegmentToTap'],
    ['agreed', 'snd', 'rcv', 'peer'],
    syn.crossed
  ),
  crossedDone: act(
    'as `accepted`, options and numbers being known',
    ['SendToSock', 'SegmentToTap'],
    ['snd', 'rtx', 'rcv', 'ack', 'wake'],
    syn.crossedDone
  ),
  receive: act(
    'ACK and window; data in order goes to the host socket; FIN is noted',
    ['SendToSock'],
    ['snd', 'rtx', 'rcv', 'ack', 'wake'],
    segment.receive
  ),
  receiveAhead: act(
    'ACK and window; a duplicate ACK is owed for each segment',
    [],
    ['snd', 'rtx', 'ack', 'wake'],
    segment.receiveAhead
  ),
  receiveUnacceptable: act(
    'ACK and window; an ACK is owed; a keep-alive turns on that of the host socket',
    ['KeepAlive'],
    ['snd', 'rtx', 'peer', 'ack', 'wake'],
    segment.receiveUnacceptable
  ),
  challenge: act(
    'an ACK that says where we are, at most 10 a second',
    ['SegmentToTap', 'Count'],
    ['rcv', 'ack', 'wake'],
    segment.challenge
  ),
  resetToTap: act('RST to the guest', ['SegmentToTap'], [], resetToTap),
  forwardFin: act(
    "the guest's FIN goes to the peer; its ACK is owed",
    ['ShutdownWr'],
    ['rcv', 'ack'],
    segment.forwardFin
  ),
  sendDue: act(
    'what the turn has led to, once: drop what the guest acknowledged from the host socket; data or FIN to the guest; ACKs and window; ask for tokens, the socket for room or news; timers',
    [
      'DiscardFromSock',
      'RewindPeek',
      'PeekToTap',
      'SegmentToTap',
      'AskTokens',
      'AwaitWritable',
      'QueryInfo',
      'ArmTimer'
    ],
    ['snd', 'rtx', 'rcv', 'peer', 'ack', 'wake'],
    sendDue
  ),
  sent: act(
    'what the kernel took of the data from the guest, and what it tells',
    ['Count'],
    ['rcv', 'peer', 'ack', 'wake'],
    sock.sent
  ),
  peeked: act(
    'data has gone to the guest: SND.NXT, the end of the stream, or a tap that is full',
    [],
    ['snd', 'rtx', 'rcv', 'ack', 'wake'],
    sock.peeked
  ),
  tapRoom: act('the tap takes frames again', [], ['wake'], sock.tapRoom),
  tokens: act('a rate limit lets the guest send more', [], ['rcv'], sock.tokens),
  ready: act('the socket has data or its end, or room', [], ['snd', 'rcv', 'peer', 'wake'], sock.ready),
  info: act('what the kernel tells of socket and peer', [], ['rcv', 'peer', 'wake'], sock.info),
  reported: act('the peer has acknowledged data', [], ['rcv', 'peer', 'wake'], sock.reported),
  rtoFired: act(
    'if the time-out has passed: back to SND.UNA, or a probe of the closed window; `sendDue` sends it',
    [],
    ['snd', 'rtx', 'wake'],
    timers.rtoFired
  ),
  ackFired: act(
    'an ACK waited for data in vain, or it is time to ask the socket, or to try the tap again',
    [],
    ['peer', 'ack', 'wake'],
    timers.ackFired
  ),
  keepaliveFired: act(
    'a keep-alive to a guest that was silent',
    ['SegmentToTap', 'ArmTimer'],
    ['rcv'],
    timers.keepaliveFired
  ),
  idleFired: act(
    'look again when it can have been silent for long enough',
    ['ArmTimer'],
    [],
    timers.idleFired
  ),
  armTimers: act('start `keepalive` and `idle`', ['ArmTimer'], [], timers.armAll),
  armTimeWait: act('start `idle`, for TIME-WAIT', ['ArmTimer'], ['wake'], timers.armTimeWait),
  cancelTimers: act('stop all timers', ['CancelTimer'], [], timers.cancelAll)
}
