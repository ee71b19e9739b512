import type { SeqNum } from '../../codecs/value/seq.js'
import { add, seq } from '../../codecs/value/seq.js'
import type { TcpSegment } from '../../codecs/wire/tcp.js'
import type { Effect, Instant } from '../../effects/effect.js'
import { NO_RTT, type SockEvent } from '../../effects/sock-event.js'

interface Opened {
  /** Our initial sequence number (RFC 6528), chosen by the runtime: a machine has no secret. */
  readonly iss: SeqNum
  /** Largest segment that we can take from the guest, and send to it: MTU - 40, IPv6 MTU - 60. */
  readonly mss: number
  readonly v6?: boolean
  readonly now: Instant
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
export type TcpInput = GuestOpened | HostOpened

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
  /** The last event of a turn, for each TCP flow that had one. */
  | On<'TURN_END'>
  /** The flow has to give way, to others or to a new one with its ports: reset both sides. */
  | On<'STOP'>
export type EventOf<K extends TcpEvent['type']> = Extract<TcpEvent, { type: K }>

// --- constants; `ms` unless named otherwise. Ours where no RFC is named.
export const RTO_INITIAL = 1000 // RFC 6298 (2.1)
export const RTO_AFTER_SYN_LOSS = 3000 // RFC 6298 (5.7)
/** RFC 6298 (2.4) says 1 s; Linux uses 200 ms, and the guest is microseconds away, its delayed ACKs 40 ms. */
export const RTO_MIN = 200
export const RTO_MAX = 120_000 // RFC 6298 (2.5)
export const MAX_RETRIES = 7
/** No reset before this, however short the RTO: R2 of RFC 1122 §4.2.3.5. */
export const GIVE_UP_AFTER = 100_000
/** SYN and SYN,ACK: this many at the initial RTO, then doubling; MAX_RETRIES in all (behaviour.md#tcp-handshake). */
export const SYN_LINEAR = 4
/** Longest wait for data to carry an ACK. RFC 1122 §4.2.3.2 allows 500. */
export const ACK_DELAY = 4
/** Exchanges in a row that were answered within ACK_DELAY before we wait for the answer at all. */
export const PING_PONG = 3
export const TAP_RETRY = 1
/** Where we are told, before we try all the same. */
export const TAP_WAIT = 1000
export const KEEPALIVE = 30_000
export const INACTIVITY = 7_200_000
/** How long a FIN that comes again is acknowledged. Not 2 MSL: nothing survives on a local link. */
export const TIME_WAIT = 2000
/** µs: below, what the peer acknowledges and what its kernel took is the same to a guest. */
export const LOW_RTT = 1000
/** Duplicate ACKs of a turn: a frame of the largest size at the smallest MSS in use; who says it is cut finer gets no more. */
export const DUPS_MAX = 128
/** Octets. */
export const PEEK_MAX = 2 << 20
export const WINDOW_MAX = 16 << 20
export const UNLIMITED = 1 << 30
/** Without the option (RFC 9293 §3.7.1, MUST-15). */
export const DEFAULT_MSS = 536
export const DEFAULT_MSS6 = 1220
/**
 * What a guest announces is respected down to here. RFC 9293 knows no limit, but a frame for each octet would be an attack
 * on ourselves: we do as Linux (net.ipv4.tcp_min_snd_mss, ip-sysctl; CVE-2019-11479).
 */
export const MIN_SND_MSS = 48
/** TCP_MAXSEG takes no less (TCP_MIN_MSS) and no more; 0 instead of more, which leaves it alone. */
export const MIN_MAXSEG = 88
export const MAX_MAXSEG = 32767
/** Ours: offered in a SYN, in a SYN,ACK if the guest offered one (RFC 7323 §2.2). The largest field stands for 16 MiB. */
export const WINDOW_SCALE = 8
/** Window of our SYN, when nothing is known of the socket yet: 10 segments (RFC 6928). Native keeps that much at least. */
export const SYN_WINDOW = 14_600
/** Challenge ACKs a second and flow (RFC 5961 §7). */
export const CHALLENGES = 10

/**
 * The transmission control block (RFC 9293 §3.3.1), as the guest's peer sees it: SND is towards the guest, RCV from it.
 * Numbers only; `null` and 0 mean "none", and an instant of 0 never occurs. All in octets, instants or ms.
 *
 *     SND   discarded <= sndUna <= sndNxt <= sndMax      (sndNxt goes back to sndUna for a retransmission)
 *     RCV   rcvAcked <= rcvTaken + rcvFin <= rcvNxt <= rcvEdge
 */
export interface Tcb {
  /** The host peer opened it. */
  readonly fromHost: boolean
  /** The guest's SYN has come. Until then the RCV numbers count from 0 and are moved when its ISN is known. */
  readonly heardSyn: boolean
  /** MSS that we announce. */
  readonly offerMss: number
  /** Octets in one segment to the guest. */
  readonly mss: number
  /** Shift of windows that the guest sends, and of ours (RFC 7323 §2.3); 0 for both unless both offered one. */
  readonly sndScale: number
  readonly rcvScale: number
  readonly scaled: boolean

  // --- towards the guest
  readonly iss: SeqNum
  readonly sndUna: SeqNum
  readonly sndNxt: SeqNum
  /** Highest SND.NXT ever. */
  readonly sndMax: SeqNum
  readonly sndWnd: number
  /** Largest SND.WND ever: MAX.SND.WND of RFC 5961 §5. */
  readonly maxSndWnd: number
  readonly sndWl1: SeqNum
  readonly sndWl2: SeqNum
  readonly dupAcks: number
  /** No fast retransmit up to this one (RFC 6582 §3.2). */
  readonly recover: SeqNum
  /** Octets in flight allowed after a loss; UNLIMITED before the first. */
  readonly cwnd: number
  /** SND.NXT went back: native's peek offset must follow before the next peek. */
  readonly rewind: boolean
  /** Data in [sndNxt, sndMax) is due again, whatever the socket says of new data. */
  readonly resend: boolean
  /** One octet or a FIN may go although the window is closed. */
  readonly probe: boolean
  /** Sequence number of the first octet in the socket's receive queue. */
  readonly discarded: SeqNum
  /** Sequence number of our FIN, once the end of the stream was seen. */
  readonly finSeq: SeqNum | null
  readonly readable: boolean
  /** A PeekToTap is under way, from here, with this acknowledgement and right edge. */
  readonly peeking: boolean
  readonly peekSeq: SeqNum
  readonly peekAck: SeqNum
  readonly peekEdge: SeqNum

  // --- retransmission timer, RFC 6298
  readonly srtt: number
  readonly rttvar: number
  readonly rto: number
  readonly backoff: number
  /** Time-outs since the guest was last heard making sense. */
  readonly fails: number
  /** Since when there has been no progress. */
  readonly stuckAt: number
  /** The timed segment's end, and when it went; 0: none is timed. */
  readonly timedSeq: SeqNum
  readonly timedAt: number
  /** Deadline, 0: none. The wheel may hold an earlier one, rtoArmed: it is re-armed when that one fires. */
  readonly rtoAt: number
  readonly rtoArmed: number

  // --- from the guest
  readonly irs: SeqNum
  /** RCV.NXT: handed to native, FIN included once it was forwarded. */
  readonly rcvNxt: SeqNum
  /** What the kernel took, without FIN. */
  readonly rcvTaken: SeqNum
  /** What the peer acknowledged, without FIN. */
  readonly rcvConfirmed: SeqNum
  /** The last acknowledgement number sent. */
  readonly rcvAcked: SeqNum
  /** Right edge of the window: the largest ever sent. */
  readonly rcvEdge: SeqNum
  /** 1 once the guest's FIN was forwarded. */
  readonly rcvFin: 0 | 1
  /** Where the guest's FIN is, while data in front of it is not in the kernel yet. */
  readonly finAt: SeqNum | null
  /** A SendToSock is under way. */
  readonly sending: boolean
  /** How far the send buffer reached when we last heard. */
  readonly bufEdge: SeqNum
  readonly sndBuf: number
  readonly peerWnd: number
  readonly knowsPeerWnd: boolean
  readonly knowsAcked: boolean
  /** µs */
  readonly minRtt: number
  /** ms */
  readonly peerRtt: number

  // --- acknowledgements owed
  readonly ackNow: boolean
  readonly dupsOwed: number
  /** When in-order data came that we did not answer with data yet. */
  readonly unansweredAt: number
  readonly pingPong: number
  readonly ackAt: number
  /** When to ask for SockInfo, and how often we did in vain. */
  readonly pollAt: number
  readonly polls: number
  readonly pollNow: boolean
  /** The tap refused a frame: no data before this instant. */
  readonly tapAt: number
  /** Earliest of ackAt, pollAt, tapAt that the wheel holds, 0: none. */
  readonly ackArmed: number
  /** An AwaitWritable is under way; or came back without room enough. */
  readonly awaiting: boolean
  readonly awaitedInVain: boolean

  readonly challengedAt: number
  readonly challenges: number
  readonly keepAlive: boolean
  /** Last segment from the guest; last event of the socket. */
  readonly tapAliveAt: number
  readonly sockAliveAt: number
}

/** A copy under construction, never seen from outside the reducer that made it. */
export type Draft = { -readonly [K in keyof Tcb]: Tcb[K] }

const clamp = (n: number, low: number, high: number): number => Math.min(high, Math.max(low, n))

/** What the guest's SYN or SYN,ACK settles. The window in one is never scaled (RFC 7323 §2.2). */
type Offer = Pick<TcpSegment, 'seq' | 'wnd' | 'mss' | 'windowScale'>
export const settled = (s: Offer, offerMss: number, defaultMss: number) => {
  const scaled = s.windowScale !== null
  return {
    heardSyn: true,
    mss: clamp(s.mss ?? defaultMss, MIN_SND_MSS, offerMss),
    sndScale: Math.min(s.windowScale ?? 0, 14),
    rcvScale: scaled ? WINDOW_SCALE : 0,
    scaled,
    sndWnd: s.wnd,
    maxSndWnd: s.wnd,
    sndWl1: s.seq,
    irs: s.seq
  }
}
const NOT_YET: Offer = { seq: seq(0), wnd: 0, mss: null, windowScale: null }

/** Total: any SYN gives a sane block. */
export const initialTcb = (i: TcpInput): Tcb => {
  const fromHost = i.from === 'host'
  const offerMss = clamp(i.mss, MIN_SND_MSS, 65535)
  const offer = settled(fromHost ? NOT_YET : i.syn, offerMss, i.v6 === true ? DEFAULT_MSS6 : DEFAULT_MSS)
  const rcv = add(offer.irs, 1)
  return {
    fromHost,
    heardSyn: !fromHost,
    offerMss,
    mss: offer.mss,
    sndScale: offer.sndScale,
    rcvScale: offer.rcvScale,
    scaled: offer.scaled,
    iss: i.iss,
    sndUna: i.iss,
    sndNxt: i.iss,
    sndMax: i.iss,
    sndWnd: offer.sndWnd,
    maxSndWnd: offer.maxSndWnd,
    sndWl1: offer.irs,
    sndWl2: i.iss,
    dupAcks: 0,
    recover: i.iss,
    cwnd: UNLIMITED,
    rewind: false,
    resend: false,
    probe: false,
    discarded: add(i.iss, 1),
    finSeq: null,
    readable: false,
    peeking: false,
    peekSeq: i.iss,
    peekAck: rcv,
    peekEdge: rcv,
    srtt: 0,
    rttvar: 0,
    rto: RTO_INITIAL,
    backoff: 0,
    fails: 0,
    stuckAt: 0,
    timedSeq: seq(0),
    timedAt: 0,
    rtoAt: 0,
    rtoArmed: 0,
    irs: offer.irs,
    rcvNxt: rcv,
    rcvTaken: rcv,
    rcvConfirmed: rcv,
    rcvAcked: rcv,
    rcvEdge: fromHost ? add(rcv, SYN_WINDOW) : rcv,
    rcvFin: 0,
    finAt: null,
    sending: false,
    bufEdge: rcv,
    sndBuf: 0,
    peerWnd: 0,
    knowsPeerWnd: false,
    knowsAcked: false,
    minRtt: NO_RTT,
    peerRtt: 0,
    ackNow: false,
    dupsOwed: 0,
    unansweredAt: 0,
    pingPong: 0,
    ackAt: 0,
    pollAt: 0,
    polls: 0,
    pollNow: false,
    tapAt: 0,
    ackArmed: 0,
    awaiting: false,
    awaitedInVain: false,
    challengedAt: 0,
    challenges: 0,
    keepAlive: false,
    tapAliveAt: i.now,
    sockAliveAt: i.now
  }
}

/** MSS for TCP_MAXSEG, so that the peer sees the guest's; 0 leaves the option alone. */
export const connectMss = (t: Tcb): number => (t.mss > MAX_MAXSEG ? 0 : Math.max(MIN_MAXSEG, t.mss))

// Node 20 spreads an object at 20 ns a key; a literal that names the keys copies all of them in about 60 ns.
export const draftOf = (t: Tcb): Draft => ({
  fromHost: t.fromHost,
  heardSyn: t.heardSyn,
  offerMss: t.offerMss,
  mss: t.mss,
  sndScale: t.sndScale,
  rcvScale: t.rcvScale,
  scaled: t.scaled,
  iss: t.iss,
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
  irs: t.irs,
  rcvNxt: t.rcvNxt,
  rcvTaken: t.rcvTaken,
  rcvConfirmed: t.rcvConfirmed,
  rcvAcked: t.rcvAcked,
  rcvEdge: t.rcvEdge,
  rcvFin: t.rcvFin,
  finAt: t.finAt,
  sending: t.sending,
  bufEdge: t.bufEdge,
  sndBuf: t.sndBuf,
  peerWnd: t.peerWnd,
  knowsPeerWnd: t.knowsPeerWnd,
  knowsAcked: t.knowsAcked,
  minRtt: t.minRtt,
  peerRtt: t.peerRtt,
  ackNow: t.ackNow,
  dupsOwed: t.dupsOwed,
  unansweredAt: t.unansweredAt,
  pingPong: t.pingPong,
  ackAt: t.ackAt,
  pollAt: t.pollAt,
  polls: t.polls,
  pollNow: t.pollNow,
  tapAt: t.tapAt,
  ackArmed: t.ackArmed,
  awaiting: t.awaiting,
  awaitedInVain: t.awaitedInVain,
  challengedAt: t.challengedAt,
  challenges: t.challenges,
  keepAlive: t.keepAlive,
  tapAliveAt: t.tapAliveAt,
  sockAliveAt: t.sockAliveAt
})

/**
 * V8 learns for each field of a shape what it can hold, and forgets all code it has compiled for the shape when a field that
 * had integers gets a fraction. An instant does sooner or later, so this block has one in each such field from the start;
 * and it is kept, since a shape dies with its last object.
 */
export const PATTERN: Tcb = draftOf({
  ...initialTcb({ from: 'host', iss: seq(0), mss: DEFAULT_MSS, now: 0.5 as Instant }),
  srtt: 0.5,
  rttvar: 0.5,
  rto: 0.5,
  stuckAt: 0.5,
  timedAt: 0.5,
  rtoAt: 0.5,
  rtoArmed: 0.5,
  peerRtt: 0.5,
  unansweredAt: 0.5,
  ackAt: 0.5,
  pollAt: 0.5,
  tapAt: 0.5,
  ackArmed: 0.5,
  challengedAt: 0.5
})

/** A pure step, written as changes to a fresh draft: `(tcb, event) -> [tcb', effects]`. */
export type Reducer<E> = (t: Tcb, e: E) => readonly [Tcb, readonly Effect[]]
export type Change<E> = (d: Draft, e: E, out: Effect[]) => void
export const reducer =
  <E>(...changes: readonly Change<E>[]): Reducer<E> =>
  (t, e) => {
    const d = draftOf(t)
    const out: Effect[] = []
    for (const change of changes) change(d, e, out)
    return [d, out]
  }
