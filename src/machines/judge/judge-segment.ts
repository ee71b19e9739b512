import { add, le } from '../../codecs/value/seq.js'
import { ACK, RST, SYN } from '../../codecs/wire/tcp.js'
import { advance, withoutOctets } from './advance.js'
import {
  type Connection,
  type Look,
  newConnection,
  OVERTAKEN_MAX,
  type Past,
  RESENT_MAX,
  type Side,
  tsAfter,
  type Verdicts
} from './connection.js'
import type { Lifecycle } from './judged-endpoint.js'
import type { Said } from './packet.js'
import type { Unknown } from './rules.js'
import * as ack from './rules-ack.js'
import * as header from './rules-header.js'
import * as options from './rules-options.js'
import * as repeat from './rules-repeat.js'
import * as reset from './rules-reset.js'
import * as sequence from './rules-sequence.js'
import * as window from './rules-window.js'
import { endOf, type Segment } from './segment.js'
import { bounded, settle, suspected } from './suspicions.js'

/** Of the segment's own header; a wrong checksum leaves no more to say. */
const ALONE = [header.flags, header.urgent] as const
/** Of the segment in its connection. */
const RULES: readonly ((l: Look) => Verdicts)[] = [
  reset.timeWait,
  options.scaleAsked,
  options.timestampsAgreed,
  options.timestampValues,
  options.sack,
  sequence.counted,
  sequence.fin,
  sequence.sameOctets,
  sequence.segmentSize,
  ack.handshake,
  ack.cumulative,
  ack.timely,
  window.shrinks,
  window.silly,
  repeat.backOff,
  repeat.synTimer,
  repeat.probing,
  reset.reset,
  reset.afterReset
]

export interface Judged {
  readonly c: Connection
  /** Of the frame itself, or of one before it. */
  readonly said: readonly (Said & { readonly frame: number; readonly at: number; readonly by: 0 | 1 })[]
  readonly unknown: readonly Unknown[]
}

const lookOf = (c: Connection, s: Segment, by: 0 | 1, life: Lifecycle, ordered = false): Look => {
  const me = c.sides[by]
  const peer = c.sides[by === 0 ? 1 : 0]
  const newTs = s.ts !== null && me.tsMax !== null && tsAfter(s.ts.val, me.tsMax) > 0
  const newOctets = s.len > 0 && me.top !== null && le(me.top, s.seq) && s.at - me.resentAt > RESENT_MAX
  return {
    c,
    s,
    by,
    me,
    peer,
    end: endOf(s),
    ordered,
    later: ordered || newTs || newOctets || (me.lastAt > 0 && s.at - me.lastAt > OVERTAKEN_MAX),
    myState: life.value(me.life),
    peerState: life.value(peer.life)
  }
}

const OVER = new Set(['reset', 'closed', 'timeWait'])
const isOver = (c: Connection, life: Lifecycle): boolean => {
  const states = c.sides.map((x) => life.value(x.life))
  return states.every((x) => OVER.has(x)) || states.includes('reset')
}
const pastOf = (c: Connection, life: Lifecycle): Past => {
  const waits = c.sides.findIndex((x) => life.value(x.life) === 'timeWait')
  const both = <A>(f: (x: Side) => A): readonly [A, A] => [f(c.sides[0]), f(c.sides[1])]
  const over = isOver(c, life) && !c.midway
  return {
    lastAt: c.lastAt,
    waits: over && (waits === 0 || waits === 1) ? waits : null,
    tops: both((x) => x.top),
    tsMax: both((x) => x.tsMax)
  }
}

/** The connection that `s` belongs to: the one that is there, or the one that it begins. */
const connectionFor = (c: Connection, s: Segment, by: 0 | 1, life: Lifecycle): Connection => {
  if (!(s.flags & SYN) || s.flags & RST) return c
  const me = c.sides[by]
  if (!(s.flags & ACK)) {
    if (me.syn?.iss === s.seq) return c
    if (isOver(c, life)) return newConnection(life, false, pastOf(c, life))
    const opening = c.sides.every((x) => x.ack === null) && !c.midway
    return opening ? c : { ...c, candidate: { by, s: withoutOctets(s) } }
  }
  const { candidate } = c
  if (candidate === null || candidate.by === by || s.ack !== add(candidate.s.seq, 1)) return c
  // The SYN within the old connection is answered: it was the first of a new one.
  const fresh = newConnection(life, false, { ...pastOf(c, life), waits: null })
  return advance(lookOf(fresh, candidate.s, candidate.by, life), life, false)
}

/**
 * One more segment, of side `by`. `c`: null before the first one. `mayKeep`: there is room for its octets.
 * `ordered`: nothing is overtaken in front of the capture.
 * Pure: neither `c` nor `s` is kept or changed, but for a copy of the octets.
 */
export const judgeSegment = (
  life: Lifecycle,
  c: Connection | null,
  s: Segment,
  by: 0 | 1,
  mayKeep: boolean,
  ordered = false
): Judged => {
  const isFirst = c === null
  const before = c === null ? newConnection(life, !(s.flags & SYN), null) : connectionFor(c, s, by, life)
  const l = lookOf(before, s, by, life, ordered)
  const own = (list: Verdicts) =>
    list.flatMap((v) => (typeof v === 'string' ? [] : [{ ...v, frame: s.frame, at: s.at, by }]))
  const notTold = (list: Verdicts) => list.filter((v): v is Unknown => typeof v === 'string')
  const sum = header.checksum(l)
  if (s.sum === 'wrong') return { c: before, said: own(sum), unknown: notTold(sum) }
  const settled = settle(l)
  const verdicts = [sum, ...ALONE.map((f) => f(l)), ...RULES.map((f) => f(l))].flat()
  const told = settled.incomplete ? { ...before, incomplete: true } : before
  const next = advance({ ...l, c: told }, life, mayKeep)
  const more = suspected({ ...l, c: told })
  const wasComplete = before.incomplete === false
  const turned = next.incomplete && wasComplete
  return {
    c: {
      ...next,
      suspicions: next.incomplete ? [] : bounded([...settled.left, ...more])
    },
    said: [...settled.confirmed, ...own(verdicts)],
    unknown: [
      ...settled.unknown,
      ...notTold(verdicts),
      ...(isFirst && before.midway ? (['began-before'] as const) : []),
      ...(turned ? (['incomplete'] as const) : [])
    ]
  }
}
