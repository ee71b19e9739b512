import { copyOf, sub } from '../../codecs/value/octets.js'
import { add, distance, le, lt, max, type SeqNum } from '../../codecs/value/seq.js'
import { ACK, FIN, RST, SYN } from '../../codecs/wire/tcp.js'
import {
  after,
  type Connection,
  isStray,
  type Kept,
  type Look,
  type Range,
  type Side,
  type Syn,
  tsAfter,
  wasSeen
} from './connection.js'
import type { EndpointEvent, Lifecycle } from './judged-endpoint.js'
import { delayAllowed } from './rules-ack.js'
import { isProbe, isRepetition, repeated } from './rules-repeat.js'
import { isLong } from './rules-sequence.js'
import { windowOf } from './rules-window.js'
import { dataAt, type Segment } from './segment.js'

// What a segment adds to what is known of its connection.

/** Octets of each direction that are kept to compare with. */
export const KEPT_MAX = 0x40000
/** Chunks of them, and ranges that came ahead: what is more would cost more than it shows. */
const CHUNKS_MAX = 256
const RANGES_MAX = 32

const synOf = (s: Segment, before: Syn | null): Syn => {
  const syn = {
    iss: s.seq,
    end: add(s.seq, 1 + s.len),
    mss: s.mss,
    scale: s.scale,
    sackPermitted: s.sackPermitted,
    ts: s.ts !== null
  }
  if (before === null || before.iss !== s.seq) return { ...syn, varied: !s.optionsKnown, at: s.at, count: 1 }
  const same =
    before.mss === s.mss &&
    before.scale === s.scale &&
    before.sackPermitted === s.sackPermitted &&
    before.ts === syn.ts
  return {
    ...before,
    end: max(before.end, syn.end),
    varied: before.varied || !same || !s.optionsKnown,
    count: before.count + 1
  }
}

/** Is it a SYN of this connection: the first one, or the same again, or another try of someone who got no answer? */
const takesSyn = (l: Look): boolean =>
  (l.s.flags & SYN) !== 0 &&
  (l.me.syn === null ? !l.c.midway : l.me.syn.iss === l.s.seq || l.peer.ack === null || l.me.ack === null)

interface Seen {
  readonly whole: SeqNum
  readonly beyond: readonly Range[]
}
/** [from, to) was seen as well. */
const seenWith = (whole: SeqNum, beyond: readonly Range[], from: SeqNum, to: SeqNum): Seen => {
  if (beyond.length === 0) {
    if (le(from, whole)) return { whole: max(whole, to), beyond }
    return { whole, beyond: [{ from, to }] }
  }
  const all: Range[] = [...beyond, { from, to }].sort((a, b) => distance(a.from, b.from))
  let end = whole
  const merged: Range[] = []
  for (const r of all) {
    const last = merged.at(-1)
    if (le(r.from, end)) end = max(end, r.to)
    else if (last !== undefined && le(r.from, last.to))
      merged[merged.length - 1] = { from: last.from, to: max(last.to, r.to) }
    else merged.push(r)
  }
  return { whole: end, beyond: merged }
}

const keptWith = (me: Side, s: Segment): Pick<Side, 'kept' | 'keptOctets'> => {
  const bytes = copyOf(s.data!.len > KEPT_MAX ? sub(s.data!, 0, KEPT_MAX) : s.data!)
  const kept: Kept[] = [...me.kept, { from: dataAt(s), bytes }]
  let octets = me.keptOctets + bytes.length
  while (octets > KEPT_MAX || kept.length > CHUNKS_MAX) octets -= kept.shift()!.bytes.length
  return { kept, keptOctets: octets }
}

/** The sender's numbers. `mayKeep`: there is room for its octets. */
const sent = (l: Look, mayKeep: boolean): Side => {
  const { s, me, end } = l
  const isRst = (s.flags & RST) !== 0
  const stray = isStray(s.seq, me.top)
  const numbers = { lastAt: s.at, ttl: s.ttl }
  const sums = {
    sumsRight: me.sumsRight + (s.sum === 'right' ? 1 : 0),
    sumsPartial: me.sumsPartial + (s.sum === 'unknown' ? 1 : 0)
  }
  if (isRst) {
    const ends =
      (l.myState === 'established' || l.myState === 'closeWait') && s.seq === me.top && s.ttl === me.ttl
    return { ...me, ...sums, lastAt: s.at, resetAt: me.resetAt ?? (ends ? s.at : null) }
  }
  if (stray) return { ...me, ...sums, ...numbers }
  const syn = takesSyn(l) ? synOf(s, me.syn) : me.syn
  const restarts = syn !== null && me.syn !== null && syn.iss !== me.syn.iss
  const base: Side = restarts
    ? {
        ...me,
        oldIss: me.syn!.iss,
        top: null,
        whole: null,
        beyond: [],
        kept: [],
        keptOctets: 0,
        resends: null
      }
    : me
  const isKeepAlive = s.len === 1 && base.top !== null && le(end, base.top)
  const seen =
    base.whole === null
      ? { whole: end, beyond: base.beyond }
      : s.len === 0 && !(s.flags & (SYN | FIN))
        ? { whole: base.whole, beyond: base.beyond }
        : seenWith(base.whole, base.beyond, s.seq, end)
  const old = base.top !== null && le(end, base.top)
  const occupies = s.len > 0 || (s.flags & (SYN | FIN)) !== 0
  const last = add(dataAt(s), s.len)
  const keeps =
    mayKeep &&
    s.len > 0 &&
    !isKeepAlive &&
    !wasSeen(base, dataAt(s), last) &&
    s.data !== null &&
    s.data.len > 0
  return {
    ...base,
    ...sums,
    ...numbers,
    syn,
    fin: base.fin ?? (s.flags & FIN ? last : null),
    top: base.top === null ? end : max(base.top, end),
    resentAt: base.top !== null && lt(s.seq, base.top) ? s.at : base.resentAt,
    whole: seen.whole,
    beyond: seen.beyond.length > RANGES_MAX ? seen.beyond.slice(-RANGES_MAX) : seen.beyond,
    ...(keeps ? keptWith(base, s) : {}),
    maxPayload: Math.max(base.maxPayload, s.len),
    longs: isLong(l) ? longsWith(base.longs, s.len + s.optionLen) : base.longs,
    tsMax:
      s.ts === null
        ? base.tsMax
        : base.tsMax === null || tsAfter(s.ts.val, base.tsMax) > 0
          ? s.ts.val
          : base.tsMax,
    resends: resendsWith(l, base, old, occupies),
    probes: isProbe(s, l.peer) ? repeated(base.probes, s.seq, s.at) : l.peer.wnd === 0 ? base.probes : null
  }
}

const longsWith = (longs: Side['longs'], size: number): Side['longs'] => ({
  size,
  count: longs?.size === size ? longs.count + 1 : 1
})

/** New octets end a row, and begin one: a SYN is sent by its timer alone. */
const resendsWith = (l: Look, me: Side, old: boolean, occupies: boolean): Side['resends'] => {
  const { s } = l
  if (!occupies) return me.resends
  if (l.peer.wnd === 0) return null
  if (old) return isRepetition(l) ? repeated(me.resends, s.seq, s.at) : me.resends
  return s.flags & SYN ? repeated(null, s.seq, s.at) : null
}

/** The receiver's numbers, of the same segment. */
const offered = (l: Look, me: Side): Side => {
  const { s, peer } = l
  if (!(s.flags & ACK) || s.flags & RST || isStray(s.ack, me.ack) || isStray(s.ack, peer.top)) return me
  // A SYN,ACK that is not taken for one of this connection.
  if (s.flags & SYN && me.syn?.iss !== s.seq) return me
  const wnd = windowOf(s, me, peer)
  // What the peer has not sent yet, as it seems, does not count: what comes next would be held against it.
  const unsent = peer.top !== null && after(s.ack, peer.top)
  const future = s.ts !== null && peer.tsMax !== null && tsAfter(s.ts.ecr, peer.tsMax) > 0
  const ack = unsent ? me.ack : me.ack === null ? s.ack : max(me.ack, s.ack)
  const edge = wnd === null || unsent ? null : add(s.ack, wnd)
  const back = me.edge !== null && edge !== null && lt(edge, me.edge)
  const old = (me.ack !== null && lt(s.ack, me.ack)) || (back && !l.later)
  const paid = me.owes !== null && le(me.owes.end, s.ack)
  const late = paid && me.rtt !== null && s.at - me.owes!.at > delayAllowed(me.rtt)
  const first = me.rtt === null && peer.syn !== null && peer.syn.count === 1 && lt(peer.syn.iss, s.ack)
  return {
    ...me,
    ack,
    edge: edge === null ? me.edge : me.edge === null ? edge : max(me.edge, edge),
    wnd: old ? me.wnd : wnd,
    maxWnd: wnd === null ? me.maxWnd : Math.max(me.maxWnd, wnd),
    ecrMax:
      s.ts === null || future
        ? me.ecrMax
        : me.ecrMax === null || tsAfter(s.ts.ecr, me.ecrMax) > 0
          ? s.ts.ecr
          : me.ecrMax,
    owes: paid ? null : me.owes,
    late: paid ? (late ? me.late + 1 : 0) : me.late,
    rtt: first && me.ack === null ? s.at - peer.syn!.at : me.rtt
  }
}

/** What the segment means to the other side: an answer to what it sent, and something that it owes an answer to. */
const heard = (l: Look, peer: Side, before: Side): Side => {
  const { s, end } = l
  const silent = { ...peer, resends: null }
  if (s.flags & (RST | SYN) || s.len === 0) return silent
  if (before.whole === null || (before.top !== null && lt(s.seq, before.top)))
    return { ...silent, owes: null }
  const inOrder = s.seq === before.whole && before.beyond.length === 0
  return inOrder && peer.owes === null && peer.wnd !== 0 ? { ...silent, owes: { at: s.at, end } } : silent
}

/** Whether `s` acknowledges octets that are not in the capture, and what is left to be seen. */
const acknowledged = (peer: Side, s: Segment): { readonly peer: Side; readonly missing: boolean } => {
  if (!(s.flags & ACK) || s.flags & RST || peer.whole === null || peer.top === null)
    return { peer, missing: false }
  if (!after(s.ack, peer.whole) || after(s.ack, peer.top) || isStray(s.ack, peer.whole))
    return { peer, missing: false }
  const seen = seenWith(
    s.ack,
    peer.beyond.filter((r) => after(r.to, s.ack)),
    s.ack,
    s.ack
  )
  return { peer: { ...peer, ...seen }, missing: true }
}

/** What happens to both charts. */
const events = (l: Look): readonly (readonly [0 | 1, EndpointEvent['type']])[] => {
  const { s, by, me, peer, c } = l
  const other = by === 0 ? 1 : 0
  const isAck = (s.flags & ACK) !== 0
  if (s.flags & RST)
    return [
      [by, 'SENT_RST'],
      [other, 'HEARD_RST']
    ]
  const out: (readonly [0 | 1, EndpointEvent['type']])[] = []
  if (c.midway && me.top === null) out.push([by, 'MIDWAY'])
  if (s.flags & SYN && takesSyn(l)) {
    out.push([by, isAck ? 'SENT_SYN_ACK' : 'SENT_SYN'])
    const answers = isAck && peer.syn !== null && lt(peer.syn.iss, s.ack) && le(s.ack, peer.syn.end)
    out.push([other, answers ? 'HEARD_SYN_ACK' : 'HEARD_SYN'])
  }
  if (isAck && !(s.flags & SYN)) {
    const newly = (point: SeqNum | null): boolean =>
      point !== null && le(point, s.ack) && (me.ack === null || lt(me.ack, point))
    if (peer.syn !== null && newly(add(peer.syn.iss, 1))) out.push([by, 'SENT_ACK'])
    // A SYN,ACK acknowledged the SYN; of its own the first ACK of the other side does.
    if (peer.syn !== null && l.peerState === 'synReceived' && le(add(peer.syn.iss, 1), s.ack))
      out.push([other, 'HEARD_ACK_OF_SYN'])
    if (peer.fin !== null && newly(add(peer.fin, 1))) out.push([other, 'HEARD_ACK_OF_FIN'])
  }
  if (s.flags & FIN && me.fin === null && !isStray(s.seq, me.top)) {
    out.push([by, 'SENT_FIN'])
    out.push([other, 'HEARD_FIN'])
  }
  return out
}

/** The connection with this segment. */
export const advance = (l: Look, life: Lifecycle, mayKeep: boolean): Connection => {
  const { c, s, by } = l
  const { peer: answered, missing } = acknowledged(l.peer, s)
  const mine = offered(l, sent(l, mayKeep))
  const theirs = heard(l, answered, l.me)
  let sides: readonly [Side, Side] = by === 0 ? [mine, theirs] : [theirs, mine]
  for (const [who, type] of events(l)) {
    const before = sides[who]
    const next = { ...before, life: life.step(before.life, { type }, []) }
    sides = who === 0 ? [next, sides[1]] : [sides[0], next]
  }
  return { ...c, sides, lastAt: s.at, incomplete: c.incomplete || (missing && !c.midway) }
}

/** Only its numbers: what it was in may be used again. */
export const withoutOctets = (s: Segment): Segment => ({ ...s, data: null })
