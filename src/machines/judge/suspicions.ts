import { add, distance, le, max, type SeqNum, seq, unsigned } from '../../codecs/value/seq.js'
import { ACK, RST, SYN } from '../../codecs/wire/tcp.js'
import {
  after,
  type Connection,
  isStray,
  type Look,
  SHUFFLED_MAX,
  type Suspicion,
  shiftOf,
  timestampsOf,
  tsAfter
} from './connection.js'
import type { Unknown } from './rules.js'
import { windowOf } from './rules-window.js'
import { dataAt, endOf, type Segment } from './segment.js'

// What is wrong only if the capture missed nothing. Each waits for a segment of the other side, which shows where that was.

/** At a time; one connection has no more. */
const SUSPICIONS_MAX = 8

const suspicion = (
  l: Look,
  rule: Suspicion['rule'],
  value: number,
  limit: number,
  seen: string,
  allowed: string,
  from: number = limit
): Suspicion => ({ rule, by: l.by, frame: l.s.frame, at: l.s.at, value, limit, from, seen, allowed })

/**
 * ACK and SACK of what is behind everything that the peer was seen to send. Where there is a gap in that, nobody knows where it ends: a
 * keep-alive has the number before SND.NXT (RFC 9293 §3.8.4).
 */
const ofUnsent = (l: Look): readonly Suspicion[] => {
  const { s, peer } = l
  if (!(s.flags & ACK) || s.flags & (RST | SYN) || peer.syn === null || peer.top === null) return []
  const top = peer.top
  if (peer.whole !== null && after(top, peer.whole)) return []
  const out: Suspicion[] = []
  const limit = `at most ${unsigned(top)}`
  if (after(s.ack, top) && !isStray(s.ack, top))
    out.push(suspicion(l, 'ack-beyond', s.ack, top, `ACK ${unsigned(s.ack)}`, limit))
  const furthest = s.sack.reduce<SeqNum>((m, b) => (after(b.right, m) ? b.right : m), top)
  if (furthest !== top && !isStray(furthest, top)) {
    const lefts = s.sack.filter((b) => after(b.right, top)).map((b) => max(b.left, top))
    const from = lefts.reduce((m, left) => (after(m, left) ? left : m))
    out.push(suspicion(l, 'sack-beyond', furthest, top, `SACK up to ${unsigned(furthest)}`, limit, from))
  }
  return out
}

/** TSecr from the peer's future. */
const ofEcho = (l: Look): readonly Suspicion[] => {
  const { s, me, peer } = l
  if (s.ts === null || !(s.flags & ACK) || s.flags & RST || peer.syn === null || peer.tsMax === null)
    return []
  const agreed = s.flags & SYN ? peer.syn.ts : timestampsOf(me, peer) === true
  if (!agreed || tsAfter(s.ts.ecr, peer.tsMax) <= 0) return []
  const limit = `at most ${peer.tsMax}, the peer's last TSval`
  return [suspicion(l, 'echo-unseen', s.ts.ecr, peer.tsMax, `TSecr ${s.ts.ecr}`, limit)]
}

/** Octets behind the window. One of them is a probe (RFC 9293 §3.8.6.1). */
const ofWindow = (l: Look): readonly Suspicion[] => {
  const { s, me, peer } = l
  if (s.len === 0 || s.flags & (SYN | RST) || peer.edge === null || me.syn === null) return []
  if (peer.wnd === null || isStray(s.seq, me.top)) return []
  const last = add(dataAt(s), s.len)
  if (!after(last, peer.edge) || (s.len === 1 && s.seq === peer.edge)) return []
  const seen = `data up to ${unsigned(last)}, ${distance(last, peer.edge)} octets behind the window`
  return [suspicion(l, 'window-exceeded', last, peer.edge, seen, `up to ${unsigned(peer.edge)}`)]
}

/** What this segment is suspected of. */
export const suspected = (l: Look): readonly Suspicion[] =>
  l.c.midway || l.c.incomplete ? [] : [...ofUnsent(l), ...ofEcho(l), ...ofWindow(l)]

/** What a segment of the other side says of a suspicion. `incomplete`: that the capture misses frames. */
type Verdict = 'confirmed' | 'dismissed' | 'waits' | 'incomplete'

/**
 * The one whose octets were acknowledged sends again. If it goes on behind what was seen of it, more was sent than that; if
 * where it was before, no more was. If what was missing comes at once, the capture has it late.
 */
const wasUnsent = (u: Suspicion, { s, me }: Look): Verdict => {
  const from = seq(u.from)
  if (s.flags & (RST | SYN)) return 'waits'
  if (after(s.seq, max(seq(u.limit), me.top ?? s.seq))) return 'incomplete'
  const soon = s.at - u.at < SHUFFLED_MAX
  if (after(endOf(s), from)) return soon ? 'dismissed' : 'confirmed'
  return s.seq === from && !soon ? 'confirmed' : 'waits'
}

/** Its clock shows later, in a segment that is not an old one, that it could not have sent that yet. */
const wasFuture = (u: Suspicion, s: Segment): Verdict => {
  if (s.ts === null || tsAfter(s.ts.val, u.limit) < 0) return 'waits'
  return tsAfter(s.ts.val, u.value) >= 0 ? 'dismissed' : 'confirmed'
}

/** Edges do not move back: what it offers now is more than what it offered then. */
const wasClosed = (u: Suspicion, l: Look): Verdict => {
  const { s, me, peer } = l
  if (!(s.flags & ACK) || s.flags & (RST | SYN)) return 'waits'
  if (me.ack !== null && after(me.ack, s.ack)) return 'waits'
  const wnd = windowOf(s, me, peer)
  if (wnd === null) return 'dismissed'
  const edge = max(me.edge ?? seq(u.limit), add(s.ack, wnd))
  // What is left of a unit of the scale, or a probe's octet
  const slack = Math.max(1, 2 ** (shiftOf(me, peer) ?? 0) - 1)
  return le(seq(u.value), add(edge, slack)) ? 'dismissed' : 'confirmed'
}

const verdictOf = (u: Suspicion, l: Look): Verdict => {
  switch (u.rule) {
    case 'ack-beyond':
    case 'sack-beyond':
      return wasUnsent(u, l)
    case 'echo-unseen':
      return wasFuture(u, l.s)
    case 'window-exceeded':
      return wasClosed(u, l)
  }
}

export interface Settled {
  readonly confirmed: readonly Suspicion[]
  readonly left: readonly Suspicion[]
  readonly unknown: readonly Unknown[]
  readonly incomplete: boolean
}

/** What this segment of `l.by` says of suspicions against the other side. */
export const settle = (l: Look): Settled => {
  const all: Connection['suspicions'] = l.c.suspicions
  if (all.length === 0) return { confirmed: all, left: all, unknown: [], incomplete: false }
  const confirmed: Suspicion[] = []
  const left: Suspicion[] = []
  const unknown: Unknown[] = []
  let incomplete = false
  for (const u of all) {
    const v = u.by === l.by ? 'waits' : verdictOf(u, l)
    if (v === 'confirmed') confirmed.push(u)
    else if (v === 'waits') left.push(u)
    else unknown.push('evidence-missing')
    if (v === 'incomplete') incomplete = true
  }
  if (!incomplete) return { confirmed, left, unknown, incomplete }
  // Then none of the others can be told, either.
  return {
    confirmed: [],
    left: [],
    unknown: [...unknown, ...confirmed.map(() => 'evidence-missing' as const)],
    incomplete
  }
}

/** The last of them, in a connection that has so many. */
export const bounded = (list: readonly Suspicion[]): readonly Suspicion[] =>
  list.length <= SUSPICIONS_MAX ? list : list.slice(-SUSPICIONS_MAX)
