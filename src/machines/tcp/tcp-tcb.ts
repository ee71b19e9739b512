import { add, type SeqNum } from '../../codecs/value/seq.js'
import type { TcpSegment } from '../../codecs/wire/tcp.js'
import type { Effect, Instant } from '../../effects/effect.js'
import type { SockEvent } from '../../effects/sock-event.js'
import { type Ack, OWED, OWED_FRACTIONS } from './tcb-ack.js'
import {
  AGREED,
  type Agreed,
  DEFAULT_MSS,
  DEFAULT_MSS6,
  hear,
  offer,
  takeOver as takeOverAgreed
} from './tcb-agreed.js'
import type { Drafted } from './tcb-group.js'
import { PEER, PEER_FRACTIONS, type Peer, setBufEdge } from './tcb-peer.js'
import { RCV, type Rcv, SYN_WINDOW, start as startRcv, takeOver as takeOverRcv } from './tcb-rcv.js'
import { RTX, RTX_FRACTIONS, type Rtx } from './tcb-rtx.js'
import { SND, type Snd, start as startSnd, synWindow, takeOver as takeOverSnd } from './tcb-snd.js'
import { start as startWake, WAKE, WAKE_FRACTIONS, type Wake } from './tcb-wake.js'

interface Begun {
  /** Largest segment that we can take from the guest, and send to it: MTU - 40, IPv6 MTU - 60. */
  readonly mss: number
  readonly v6?: boolean
  /** A rate limit's (behaviour.md#rate-limits), for what the guest sends: octets at once; 0 or absent: none. */
  readonly quantum?: number
  readonly now: Instant
}
interface Opened extends Begun {
  /** Our initial sequence number (RFC 6528), chosen by the runtime: a machine has no secret. */
  readonly iss: SeqNum
}
/** What the machine starts from: the guest's SYN, to be answered when the peer has accepted. */
export interface GuestOpened extends Opened {
  readonly from: 'guest'
  /** The guest's SYN, valid for a new flow: SYN set, ACK and RST not. */
  readonly syn: TcpSegment
}
/** Or a connection that a host peer opened: a listener has accepted it, the guest is still to be asked. */
export interface HostOpened extends Opened {
  readonly from: 'host'
}
/** What a connection was when another passt had it, as far as its flow record says (tcp-move.ts). */
export interface Moved
  extends Pick<Agreed, 'fromHost' | 'mss' | 'sndScale' | 'rcvScale' | 'iss' | 'irs'>,
    Pick<Snd, 'sndUna' | 'sndMax' | 'sndWnd' | 'discarded' | 'finSeq'>,
    Pick<Rcv, 'rcvTaken' | 'rcvAcked' | 'rcvEdge' | 'rcvFin' | 'finAt'> {}
/** Or one that was open elsewhere; a socket is being made of what its peer knows. */
export interface MovedIn extends Begun {
  readonly from: 'move'
  readonly moved: Moved
}
export type TcpInput = GuestOpened | HostOpened | MovedIn

type On<K extends string> = { readonly type: K; readonly now: Instant }
/** `segment`: octets of each of the guest's segments, where a tap's TSO or native made them one; 0 or absent = just one. */
export type SegmentEvent = On<'TAP_SEGMENT'> & { readonly seg: TcpSegment; readonly segment?: number }
export type TcpEvent =
  | SegmentEvent
  | Exclude<SockEvent, { type: 'SOCK_DATAGRAM' | 'SOCK_ICMP_ERROR' }>
  | On<'TIMER_RTO'>
  | On<'TIMER_ACK'>
  | On<'TIMER_KEEPALIVE'>
  | On<'TIMER_IDLE'>
  /** The tap takes frames again. */
  | On<'TAP_ROOM'>
  /** So many octets more may come from the guest (AskTokens). */
  | (On<'TOKENS'> & { readonly octets: number })
  /**
   * A moved connection's socket is there: made anew, in repair mode, or another process's. `taken`: octets that it took since octet 0 of
   * tcpi_bytes_acked (modulo 2^32), `unacked`: how many of them the peer has not acknowledged; `unread`: octets of its receive queue, if
   * `ended`: the peer's FIN has come, and the kernel will not say so again. `dark`: the guest's cable was out for a while, so what it was told
   * last may be lost, and it is told again.
   */
  | (On<'SOCK_RESTORED'> & {
      readonly taken: number
      readonly unacked: number
      readonly unread: number
      readonly ended: boolean
      readonly dark: boolean
    })
  /** Nothing comes to the socket or of it any more, nor of timers, until THAWED. */
  | On<'FROZEN'>
  | On<'THAWED'>
  /** Somebody else has the connection: not a word to anybody. */
  | On<'MOVED_AWAY'>
  /** The last event of a turn, for each TCP flow that had one. */
  | On<'TURN_END'>
  /** It holds much of the host's memory and does not move; or, in TIME-WAIT, its ports are wanted. Reset both sides. */
  | On<'STOP'>
export type EventOf<K extends TcpEvent['type']> = Extract<TcpEvent, { type: K }>

/**
 * The transmission control block (RFC 9293 §3.3.1), as the guest's peer sees it: SND is towards the guest, RCV from it.
 * Each group has a file of its own, tcb-<group>.ts, with its fields and all that changes them. Numbers of octets, instants or
 * ms; `null` and 0 mean "none", and an instant of 0 never occurs.
 *
 * What is a state of the chart and what a field: a state decides how an event is answered. Booleans are what a turn has found
 * out for its end to act on, a call to native that is under way, or what is known of the peer's kernel. Each of those may be so in every
 * state of `open` and independently of the others, so they would be regions side by side, 2^n leaves of one table.
 */
export interface Tcb extends Agreed, Snd, Rtx, Rcv, Peer, Ack, Wake {}
/** A copy under construction, never seen from outside the reducer that made it. Only the groups' functions change it. */
export type Draft = Tcb & Drafted

// Node 20 spreads an object at 20 ns a key; a literal that names the keys copies all of them in about 60 ns.
export const draftOf = (t: Tcb): Draft => {
  const copy: Tcb = {
    // agreed
    fromHost: t.fromHost,
    heardSyn: t.heardSyn,
    moved: t.moved,
    offerMss: t.offerMss,
    mss: t.mss,
    sndScale: t.sndScale,
    rcvScale: t.rcvScale,
    iss: t.iss,
    irs: t.irs,
    // snd
    sndUna: t.sndUna,
    sndNxt: t.sndNxt,
    sndMax: t.sndMax,
    sndWnd: t.sndWnd,
    maxSndWnd: t.maxSndWnd,
    sndWl1: t.sndWl1,
    sndWl2: t.sndWl2,
    dupAcks: t.dupAcks,
    recover: t.recover,
    cwnd: t.cwnd,
    rewind: t.rewind,
    resend: t.resend,
    probe: t.probe,
    discarded: t.discarded,
    finSeq: t.finSeq,
    readable: t.readable,
    peeking: t.peeking,
    peekSeq: t.peekSeq,
    peekAck: t.peekAck,
    peekEdge: t.peekEdge,
    // rtx
    srtt: t.srtt,
    rttvar: t.rttvar,
    rto: t.rto,
    backoff: t.backoff,
    fails: t.fails,
    stuckAt: t.stuckAt,
    timedSeq: t.timedSeq,
    timedAt: t.timedAt,
    rtoAt: t.rtoAt,
    rtoArmed: t.rtoArmed,
    // rcv
    rcvNxt: t.rcvNxt,
    rcvTaken: t.rcvTaken,
    octetsFrom: t.octetsFrom,
    rcvConfirmed: t.rcvConfirmed,
    rcvAcked: t.rcvAcked,
    rcvEdge: t.rcvEdge,
    rcvFin: t.rcvFin,
    finAt: t.finAt,
    sending: t.sending,
    quantum: t.quantum,
    allowed: t.allowed,
    asking: t.asking,
    // peer
    bufEdge: t.bufEdge,
    sndBuf: t.sndBuf,
    room: t.room,
    peerWnd: t.peerWnd,
    knowsPeerWnd: t.knowsPeerWnd,
    knowsAcked: t.knowsAcked,
    minRtt: t.minRtt,
    peerRtt: t.peerRtt,
    keepAlive: t.keepAlive,
    // ack
    ackNow: t.ackNow,
    dupsOwed: t.dupsOwed,
    unansweredAt: t.unansweredAt,
    pingPong: t.pingPong,
    ackAt: t.ackAt,
    challengedAt: t.challengedAt,
    challenges: t.challenges,
    // wake
    pollAt: t.pollAt,
    polls: t.polls,
    pollNow: t.pollNow,
    tapAt: t.tapAt,
    ackArmed: t.ackArmed,
    tapAliveAt: t.tapAliveAt,
    sockAliveAt: t.sockAliveAt,
    forgetAt: t.forgetAt
  }
  return copy as Draft
}

/**
 * V8 learns for each field of a shape what it can hold, and forgets all code it has compiled for the shape when a field that
 * had integers gets a fraction. An instant does sooner or later, so this block has one in each such field from the start;
 * it is the first of its shape, and it is kept, since a shape dies with its last object.
 */
export const PATTERN: Tcb = draftOf({
  ...AGREED,
  ...SND,
  ...RTX_FRACTIONS,
  ...RCV,
  ...PEER_FRACTIONS,
  ...OWED_FRACTIONS,
  ...WAKE_FRACTIONS
})

/** What each group starts with, by its name. */
export const GROUPS = {
  agreed: AGREED,
  snd: SND,
  rtx: RTX,
  rcv: RCV,
  peer: PEER,
  ack: OWED,
  wake: WAKE
} as const
export type Group = keyof typeof GROUPS

const BLANK: Tcb = draftOf({ ...AGREED, ...SND, ...RTX, ...RCV, ...PEER, ...OWED, ...WAKE })

const movedTcb = ({ moved: m, mss, quantum = 0, now }: MovedIn): Tcb => {
  const d = draftOf(BLANK)
  takeOverAgreed(d, mss, m)
  takeOverSnd(d, m, m.rcvAcked)
  takeOverRcv(d, m, quantum)
  setBufEdge(d, m.rcvTaken)
  startWake(d, now)
  return d
}
/** Total: any SYN gives a sane block. */
export const initialTcb = (i: TcpInput): Tcb => {
  if (i.from === 'move') return movedTcb(i)
  const d = draftOf(BLANK)
  const fromHost = i.from === 'host'
  offer(d, fromHost, i.iss, i.mss, i.v6 === true ? DEFAULT_MSS6 : DEFAULT_MSS)
  startSnd(d, i.iss)
  if (i.from === 'guest') {
    hear(d, i.syn)
    synWindow(d, i.syn.wnd, i.syn.seq)
  }
  const next = add(d.irs, 1)
  startRcv(d, next, fromHost ? SYN_WINDOW : 0, i.quantum ?? 0)
  setBufEdge(d, next)
  startWake(d, i.now)
  return d
}

interface Sink<E> {
  readonly push: (e: E) => unknown
}
/** Where effects go, and none but these kinds may be emitted. */
export type Out<K extends Effect['type']> = Sink<Extract<Effect, { readonly type: K }>>
/** Changes to a fresh draft, and effects of these kinds. */
export type Change<E, K extends Effect['type'] = never> = (d: Draft, e: E, out: Out<K>) => void
/** A pure step: `(tcb, event) -> [tcb', effects]`. */
export type Reducer<E> = (t: Tcb, e: E) => readonly [Tcb, readonly Effect[]]
export const reducer =
  <E, K extends Effect['type']>(change: Change<E, K>): Reducer<E> =>
  (t, e) => {
    const d = draftOf(t)
    const out: Effect[] = []
    change(d, e, out)
    return [d, out]
  }
