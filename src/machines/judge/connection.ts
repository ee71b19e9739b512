import { distance, type SeqNum } from '../../codecs/value/seq.js'
import type { Lifecycle, LifeState } from './judged-endpoint.js'
import type { Said } from './packet.js'
import type { RuleName, Unknown } from './rules.js'
import type { Segment } from './segment.js'

// What is known of a connection from its segments so far. Rules (rules-*.ts) read it together with the next segment, which
// advance.ts then adds to it. Everything is from the place of the capture: what passed it was sent, and may be lost behind it;
// what was sent may have been lost in front of it. So a rule needs proof from what passed, in one of these forms:
//
// - The segment contradicts itself, or another of the same sender, whatever their order.
// - It was sent later than those before it (`later`): its TSval is greater, or it has octets that are new, and nothing was sent
//   again of late.
// - What is acknowledged passed this place before. So does what may be sent (windows), and what may be echoed. That needs a
//   capture that misses nothing. It shows itself incomplete when octets are acknowledged that it does not have, and then such
//   rules are off for this connection. It may be incomplete without showing it; so these are suspicions first
//   (suspicions.ts), until a later segment of the other side shows that it was as suspected.

/** What a SYN said. */
export interface Syn {
  readonly iss: SeqNum
  /** Behind its data, if any. */
  readonly end: SeqNum
  readonly mss: number | null
  readonly scale: number | null
  readonly sackPermitted: boolean
  readonly ts: boolean
  /** It was sent again with other options: which of them the peer has is not known. */
  readonly varied: boolean
  /** s; when it was sent first. */
  readonly at: number
  /** How often. */
  readonly count: number
}

/** Octets that were sent, to compare with when they are sent again. */
export interface Kept {
  readonly from: SeqNum
  readonly bytes: Uint8Array
}
export interface Range {
  readonly from: SeqNum
  readonly to: SeqNum
}
/** Repetitions of one thing, with nothing of the peer in between. */
export interface Repeats {
  readonly seq: SeqNum
  readonly at: number
  /** s between the last two; null: there is one so far. */
  readonly interval: number | null
  /** Intervals in a row that did not grow. */
  readonly flat: number
}

/** One endpoint: as a sender, and as the receiver that it says it is. */
export interface Side {
  readonly life: LifeState
  readonly lastAt: number
  readonly ttl: number
  /** Checksums that were right, and that waited for the interface. */
  readonly sumsRight: number
  readonly sumsPartial: number
  // --- as a sender
  readonly syn: Syn | null
  /** Of a SYN before, in vain. */
  readonly oldIss: SeqNum | null
  readonly fin: SeqNum | null
  /** SND.NXT at least: behind everything that was seen, and the number of each segment without data. */
  readonly top: SeqNum | null
  /** Everything in front of it was seen, from the first segment on. */
  readonly whole: SeqNum | null
  /** What was seen behind that, sorted. */
  readonly beyond: readonly Range[]
  readonly kept: readonly Kept[]
  readonly keptOctets: number
  readonly maxPayload: number
  /** Segments of one size, octets, that the peer's MSS does not allow. */
  readonly longs: { readonly size: number; readonly count: number } | null
  readonly tsMax: number | null
  /** s; when it last sent what is not new: what it sent before that may be overtaken by it, and have new octets. */
  readonly resentAt: number
  /** s; when it sent its RST, in a state in which that ends the connection. */
  readonly resetAt: number | null
  readonly resends: Repeats | null
  readonly probes: Repeats | null
  // --- as a receiver
  readonly ack: SeqNum | null
  /** Rightmost edge of its window. */
  readonly edge: SeqNum | null
  /** The last window, octets; null: not known how it is scaled. */
  readonly wnd: number | null
  readonly maxWnd: number
  readonly ecrMax: number | null
  /** Data in order that passed on its way to it, and is not acknowledged yet. */
  readonly owes: { readonly at: number; readonly end: SeqNum } | null
  /** Acknowledgements in a row that were late. */
  readonly late: number
  /** s from here to it and back, by its handshake. */
  readonly rtt: number | null
}

/** Something that looks wrong, and is unless the capture is incomplete. */
export interface Suspicion extends Said {
  readonly rule: Extract<RuleName, 'ack-beyond' | 'sack-beyond' | 'echo-unseen' | 'window-exceeded'>
  /** Who is suspected. */
  readonly by: 0 | 1
  readonly frame: number
  readonly at: number
  /** The number that was used, and the largest that would have been right. */
  readonly value: number
  readonly limit: number
  /** Of what is said to have arrived, the first number behind `limit`: what is between them may be sent again. */
  readonly from: number
}

/** What is left of the connection that had these addresses before. */
export interface Past {
  readonly lastAt: number
  /** Who was in TIME-WAIT. */
  readonly waits: 0 | 1 | null
  readonly tops: readonly [SeqNum | null, SeqNum | null]
  readonly tsMax: readonly [number | null, number | null]
}

export interface Connection {
  readonly sides: readonly [Side, Side]
  readonly lastAt: number
  /** Its first segment was no SYN. */
  readonly midway: boolean
  /** Octets were acknowledged that are not in the capture. */
  readonly incomplete: boolean
  /** A SYN within the connection: if it is answered, a new one began. */
  readonly candidate: { readonly by: 0 | 1; readonly s: Segment } | null
  readonly past: Past | null
  readonly suspicions: readonly Suspicion[]
}

const side = (life: Lifecycle): Side => ({
  life: life.start({}, []),
  lastAt: 0,
  ttl: 0,
  sumsRight: 0,
  sumsPartial: 0,
  syn: null,
  oldIss: null,
  fin: null,
  top: null,
  whole: null,
  beyond: [],
  kept: [],
  keptOctets: 0,
  maxPayload: 0,
  longs: null,
  tsMax: null,
  resentAt: Number.NEGATIVE_INFINITY,
  resetAt: null,
  resends: null,
  probes: null,
  ack: null,
  edge: null,
  wnd: null,
  maxWnd: 0,
  ecrMax: null,
  owes: null,
  late: 0,
  rtt: null
})
export const newConnection = (life: Lifecycle, midway: boolean, past: Past | null): Connection => ({
  sides: [side(life), side(life)],
  lastAt: 0,
  midway,
  incomplete: false,
  candidate: null,
  past,
  suspicions: []
})

/** A segment, and the connection as it was before. */
export interface Look {
  readonly c: Connection
  readonly s: Segment
  readonly by: 0 | 1
  /** Who sent it, and the other one. */
  readonly me: Side
  readonly peer: Side
  /** Behind its last octet. */
  readonly end: SeqNum
  /** It was sent after everything else of its sender: that is certain. */
  readonly later: boolean
  /** So is everything else: the capture is from a virtual link, or from the sender. */
  readonly ordered: boolean
  /** Names of the states that both are in. */
  readonly myState: string
  readonly peerState: string
}
/** What is wrong with a segment, or what could not be told of it. */
export type Verdicts = readonly (Said | Unknown)[]
export const FINE: Verdicts = []

/** s. Nothing is overtaken by what is sent so much later. Our choice: no queue is that long. */
export const OVERTAKEN_MAX = 10
/** s. No retransmission overtakes what was sent so long before. Our choice, as above. */
export const RESENT_MAX = 2
/** s. Frames that pass within so short a time may be in another order in the capture (several queues of a card). */
export const SHUFFLED_MAX = 0.01

/** Signed difference of two time stamps (RFC 7323 §4.1: modulo 2^32). */
export const tsAfter = (a: number, b: number): number => (a - b) | 0

/** Both SYNs are known, with their options. */
const agreedOn = (me: Side, peer: Side): me is Side & { readonly syn: Syn } =>
  me.syn !== null && peer.syn !== null && !me.syn.varied && !peer.syn.varied

/** Shift of the windows that `me` sends (RFC 7323 §2.3); null: not known. */
export const shiftOf = (me: Side, peer: Side): number | null => {
  if (!agreedOn(me, peer)) return null
  return me.syn.scale !== null && peer.syn!.scale !== null ? Math.min(14, me.syn.scale) : 0
}
/** Are timestamps in use (RFC 7323 §3.2)? null: not known. */
export const timestampsOf = (me: Side, peer: Side): boolean | null =>
  agreedOn(me, peer) ? me.syn.ts && peer.syn!.ts : null

/** All of [from, to) was seen before. */
export const wasSeen = (me: Side, from: SeqNum, to: SeqNum): boolean =>
  me.whole !== null &&
  (distance(to, me.whole) <= 0 ||
    me.beyond.some((r) => distance(from, r.from) >= 0 && distance(to, r.to) <= 0))

/** a is behind b. */
export const after = (a: SeqNum, b: SeqNum): boolean => distance(a, b) > 0
/** Further apart than any window (RFC 7323 §2.3): not of this connection. */
export const isStray = (a: SeqNum, b: SeqNum | null): boolean =>
  b !== null && Math.abs(distance(a, b)) > 0x40000000
