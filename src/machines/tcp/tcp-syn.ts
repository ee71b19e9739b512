import { add, distance, seq } from '../../codecs/value/seq.js'
import { ACK, RST, SYN, type TcpSegment } from '../../codecs/wire/tcp.js'
import { type Effect, instant } from '../../effects/effect.js'
import * as agreed from './tcb-agreed.js'
import { setBufEdge } from './tcb-peer.js'
import * as rcv from './tcb-rcv.js'
import * as rtx from './tcb-rtx.js'
import * as snd from './tcb-snd.js'
import { heardGuest } from './tcb-wake.js'
import { pureAck, targetEdge } from './tcp-ack.js'
import { progress, takePayload } from './tcp-segment.js'
import { sockKnown } from './tcp-sock.js'
import type { Draft, EventOf, Out, SegmentEvent, Tcb } from './tcp-tcb.js'

// The handshake with the guest, whoever opens: RFC 9293 §3.10.7.3 (SYN-SENT) and the beginnings of SYN-RECEIVED. SYN and
// SYN,ACK have windows that are not scaled (RFC 7323 §2.2; #regression-O), and are identical when sent again (#regression-B, #regression-C).

/** `seg` carries the bits `flags` of SYN, ACK and RST, and no others of them. */
const carries = (s: TcpSegment, flags: number): boolean => (s.flags & (SYN | ACK | RST)) === flags
export const isSyn = (s: TcpSegment): boolean => carries(s, SYN)
/** The guest's SYN,ACK; whether it acknowledges ours was asked before. */
export const isSynAck = (s: TcpSegment): boolean => carries(s, SYN | ACK)
/** It acknowledges our SYN. */
const acksSyn = (t: Tcb, s: TcpSegment): boolean => (s.flags & ACK) !== 0 && s.ack === add(t.iss, 1)

/** RFC 9293 §3.10.7.3, first: it acknowledges something else, from a connection that we know nothing of. */
export const acksOther = (t: Tcb, s: TcpSegment): boolean => (s.flags & (ACK | RST)) === ACK && !acksSyn(t, s)
/** RFC 9293 §3.10.7.3, second, and RFC 5961 §3: a RST counts only if it acknowledges our SYN. */
export const refuses = (t: Tcb, s: TcpSegment): boolean => (s.flags & RST) !== 0 && acksSyn(t, s)
/** In SYN-RECEIVED after SYNs crossed: the guest's SYN,ACK stands for the ACK too (RFC 9293 §3.5, figure 7). */
export const crossedSynAck = (t: Tcb, s: TcpSegment): boolean =>
  isSynAck(s) && acksSyn(t, s) && s.seq === t.irs
/** Answer to `acksOther`; to a handshake ACK with a wrong number as well (§3.10.7.4, SYN-RECEIVED). */
export const resetOther = ({
  event
}: {
  readonly event: SegmentEvent
}): Omit<Effect & { type: 'SegmentToTap' }, 'type'> => ({
  seq: event.seg.ack,
  ack: seq(0),
  flags: RST,
  wnd: 0,
  mss: null,
  windowScale: null
})

const sendSyn = (d: Draft, flags: number, wnd: number, out: Out<'SegmentToTap'>): void => {
  snd.synSent(d, d.iss)
  const answer = (flags & ACK) !== 0
  out.push({
    type: 'SegmentToTap',
    seq: d.iss,
    ack: answer ? d.rcvNxt : seq(0),
    flags,
    wnd,
    mss: d.offerMss,
    windowScale: answer && d.rcvScale === 0 ? null : agreed.WINDOW_SCALE
  })
}
/** SYN or SYN,ACK, whichever is due. */
const open = (d: Draft, out: Out<'SegmentToTap'>): void => {
  if (!d.heardSyn) return sendSyn(d, SYN, distance(d.rcvEdge, d.rcvNxt), out)
  const edge = d.sndMax === d.iss ? targetEdge(d) : d.rcvEdge
  const wnd = Math.min(65535, distance(edge, d.rcvNxt))
  rcv.told(d, d.rcvAcked, add(d.rcvNxt, wnd))
  sendSyn(d, SYN | ACK, wnd, out)
}
export const openAgain = (d: Draft, _: unknown, out: Out<'SegmentToTap'>): void => open(d, out)

const armSynRto = (d: Draft, out: Out<'ArmTimer'>): void => {
  rtx.fired(d)
  if (rtx.arm(d)) out.push({ type: 'ArmTimer', timer: 'rto', at: instant(d.rtoArmed) })
}
const openTimed = (d: Draft, now: number, out: Out<'SegmentToTap' | 'ArmTimer'>): void => {
  open(d, out)
  rtx.time(d, d.sndNxt, now)
  rtx.synSent(d, now)
  armSynRto(d, out)
}

/** The flow begins: connect() for the guest; or the accepted connection is taken over, and the guest is asked at once. */
export const begin = (
  d: Draft,
  _: unknown,
  out: Out<'TcpConnect' | 'SockAdopt' | 'SegmentToTap' | 'ArmTimer'>
): void => {
  if (d.moved) return // its socket is made of what is known of it
  if (!d.fromHost) {
    out.push({ type: 'TcpConnect', mss: agreed.connectMss(d) })
    return
  }
  out.push({ type: 'SockAdopt' })
  openTimed(d, d.tapAliveAt, out)
}

/** SOCK_CONNECTED: the peer accepted, so we do. */
export const connected = (
  d: Draft,
  e: EventOf<'SOCK_CONNECTED'>,
  out: Out<'SegmentToTap' | 'ArmTimer'>
): void => {
  sockKnown(d, e)
  openTimed(d, e.now, out)
}

/** IRS is known: the RCV numbers move there. */
const hear = (d: Draft, s: TcpSegment): void => {
  const by = distance(s.seq, d.irs)
  agreed.hear(d, s)
  snd.synWindow(d, s.wnd, s.seq)
  rcv.move(d, by)
  setBufEdge(d, add(d.bufEdge, by))
}
/** SYN,ACK. Our ACK goes at once, whatever follows it (#regression-17); in-order payload and FIN count (§3.10.7.3, fourth). */
const established = (d: Draft, s: TcpSegment, now: number, out: Out<'SendToSock' | 'SegmentToTap'>): void => {
  snd.establish(d, s.wnd, s.ack)
  heardGuest(d, now)
  progress(d, s, now)
  takePayload(d, { ...s, seq: add(s.seq, 1) }, now, out)
  pureAck(d, out)
}

/** `isSynAck` in SYN-SENT: the guest accepts. */
export const accepted = (
  d: Draft,
  { seg, now }: SegmentEvent,
  out: Out<'SendToSock' | 'SegmentToTap'>
): void => {
  hear(d, seg)
  established(d, seg, now, out)
}
/** `isSyn` in SYN-SENT: both open at once. Payload comes again, as it is not acknowledged. */
export const crossed = (d: Draft, { seg }: SegmentEvent, out: Out<'SegmentToTap'>): void => {
  hear(d, seg)
  open(d, out)
}
/** `crossedSynAck` */
export const crossedDone = (
  d: Draft,
  { seg, now }: SegmentEvent,
  out: Out<'SendToSock' | 'SegmentToTap'>
): void => established(d, seg, now, out)

/** Again: #regression-71, a guest that boots. */
export const synRtoFired = (
  d: Draft,
  { now }: { readonly now: number },
  out: Out<'SegmentToTap' | 'ArmTimer'>
): void => {
  if (rtx.rtoDue(d, now)) {
    open(d, out)
    rtx.synTimedOut(d, now)
  }
  armSynRto(d, out)
}
