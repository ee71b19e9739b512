import { add, distance, lt, max, type SeqNum, seq, sub } from '../../codecs/value/seq.js'
import type { Own } from './tcb-group.js'

// Group `rcv`: the stream from the guest, RCV of RFC 9293 §3.3.1, from our hands to the peer's.
//
//     rcvAcked <= rcvTaken + rcvFin <= RCV.NXT <= rcvEdge      rcvConfirmed <= rcvTaken

/** Window of our SYN, when nothing is known of the socket yet: 10 segments (RFC 6928). Native keeps that much at least. */
export const SYN_WINDOW = 14_600

export interface Rcv {
  /** RCV.NXT: handed to native, FIN included once it was forwarded. */
  readonly rcvNxt: SeqNum
  /** What the kernel took, without FIN. */
  readonly rcvTaken: SeqNum
  /** The octet that is the first one to the host's socket, as its kernel counts what was acknowledged. */
  readonly octetsFrom: SeqNum
  /** What the peer acknowledged, without FIN. */
  readonly rcvConfirmed: SeqNum
  /** The last acknowledgement number sent. */
  readonly rcvAcked: SeqNum
  /** RCV.NXT + RCV.WND, right edge of the window: the largest ever sent. */
  readonly rcvEdge: SeqNum
  /** 1 once the guest's FIN was forwarded; the states say so too, and here it is added to a number. */
  readonly rcvFin: 0 | 1
  /** Where the guest's FIN is, while data in front of it is not in the kernel yet. */
  readonly finAt: SeqNum | null
  /** A SendToSock is under way. In any state up to the guest's FIN; its outcome is taken all the same. */
  readonly sending: boolean
  /** With a rate limit (behaviour.md#rate-limits): octets of window that it grants at once; 0: there is none. */
  readonly quantum: number
  /** How far tokens let the right edge go. */
  readonly allowed: SeqNum
  /** Tokens were asked for, and are not there yet. In every state of `open`. */
  readonly asking: boolean
}
type D = Own<Rcv>

const ZERO = seq(0)
export const RCV: Rcv = {
  rcvNxt: ZERO,
  rcvTaken: ZERO,
  octetsFrom: ZERO,
  rcvConfirmed: ZERO,
  rcvAcked: ZERO,
  rcvEdge: ZERO,
  rcvFin: 0,
  finAt: null,
  sending: false,
  quantum: 0,
  allowed: ZERO,
  asking: false
}

/** `next`: behind the guest's SYN. The first quantum is there at once, and paid for as it is used. */
export const start = (d: D, next: SeqNum, window: number, quantum: number): void => {
  d.quantum = quantum
  d.allowed = add(next, quantum)
  d.rcvNxt = next
  d.rcvTaken = next
  d.octetsFrom = next
  d.rcvConfirmed = next
  d.rcvAcked = next
  d.rcvEdge = add(next, quantum > 0 ? Math.min(window, quantum) : window)
}
/** IRS is known, and `by` more than what was assumed. */
export const move = (d: D, by: number): void => {
  d.rcvNxt = add(d.rcvNxt, by)
  d.rcvTaken = add(d.rcvTaken, by)
  d.octetsFrom = add(d.octetsFrom, by)
  d.rcvConfirmed = add(d.rcvConfirmed, by)
  d.rcvAcked = add(d.rcvAcked, by)
  d.rcvEdge = add(d.rcvEdge, by)
  d.allowed = add(d.allowed, by)
}

/** A connection that was open elsewhere: what the kernel there took, and what the guest was told. */
export const takeOver = (
  d: D,
  from: Pick<Rcv, 'rcvTaken' | 'rcvAcked' | 'rcvEdge' | 'rcvFin' | 'finAt'>,
  quantum: number
): void => {
  d.rcvTaken = from.rcvTaken
  d.rcvNxt = add(from.rcvTaken, from.rcvFin)
  d.octetsFrom = from.rcvTaken
  d.rcvConfirmed = from.rcvTaken
  d.rcvAcked = from.rcvAcked
  d.rcvEdge = from.rcvEdge
  d.rcvFin = from.rcvFin
  d.finAt = from.finAt
  d.quantum = quantum
  d.allowed = max(from.rcvEdge, add(from.rcvTaken, quantum))
}
/** Of what was taken, so many octets are in front of it since its kernel counts, and so many the peer has not acknowledged. */
export const restored = (d: D, taken: number, unacked: number): void => {
  d.octetsFrom = sub(d.rcvTaken, taken)
  d.rcvConfirmed = sub(d.rcvTaken, unacked)
}
/** What the kernel has not taken is gone: the guest was not told that we have it, and sends it again. */
export const forgetHanded = (d: D): void => {
  d.sending = false
  d.rcvNxt = takenAll(d)
  d.finAt = null
}

/** `octets` in order go to native. */
export const handOver = (d: D, octets: number): void => {
  d.rcvNxt = add(d.rcvNxt, octets)
  d.sending = true
}
/** The kernel took `taken` of them; `dropped` are as if they never came. */
export const outcome = (d: D, taken: number, dropped: number): void => {
  d.sending = false
  d.rcvTaken = add(d.rcvTaken, taken)
  if (dropped === 0) return
  d.rcvNxt = sub(d.rcvNxt, dropped)
  d.finAt = null
}
/** The peer has them, up to `to`. */
export const confirm = (d: D, to: SeqNum): void => {
  d.rcvConfirmed = to
}
/** A segment with this acknowledgement and right edge went out. */
export const told = (d: D, ack: SeqNum, edge: SeqNum): void => {
  d.rcvAcked = max(d.rcvAcked, ack)
  d.rcvEdge = max(d.rcvEdge, edge)
}
/** The guest's FIN is in order: at RCV.NXT. */
export const finCame = (d: D): void => {
  d.finAt = d.rcvNxt
}
/** It goes to the peer. */
export const finForwarded = (d: D): void => {
  d.rcvNxt = add(d.rcvNxt, 1)
  d.rcvFin = 1
  d.finAt = null
}

/** Octets of window to ask for: half of what may be had at once is used up, and the guest goes on. 0: nothing. */
export const wanted = (t: Rcv): number => {
  if (t.quantum === 0 || t.asking || t.rcvFin === 1 || t.finAt !== null) return 0
  const left = Math.max(0, distance(t.allowed, t.rcvNxt))
  return left * 2 > t.quantum ? 0 : t.quantum - left
}
export const asked = (d: D): void => {
  d.asking = true
}
/** So many more octets of window. What was sent beyond the edge has been paid for. */
export const allow = (d: D, octets: number): void => {
  d.asking = false
  d.allowed = add(max(d.allowed, d.rcvNxt), octets)
}
/** The right edge that tokens allow, where something else allows `edge`. */
export const allowedEdge = (t: Rcv, edge: SeqNum): SeqNum =>
  t.quantum > 0 && lt(t.allowed, edge) ? t.allowed : edge

/** Octets that the kernel took and the peer did not acknowledge yet. */
export const unconfirmed = (t: Rcv): number => distance(t.rcvTaken, t.rcvConfirmed)
/** Octets handed over of which the kernel has not said whether it took them. */
export const handed = (t: Rcv): number => distance(sub(t.rcvNxt, t.rcvFin), t.rcvTaken)
/** All that the kernel took, with the FIN where that is forwarded. */
export const takenAll = (t: Rcv): SeqNum => add(t.rcvTaken, t.rcvFin)
