import { add, distance, lt, seq, unsigned } from '../../codecs/value/seq.js'
import { ACK, RST, SYN } from '../../codecs/wire/tcp.js'
import {
  after,
  FINE,
  isStray,
  type Look,
  OVERTAKEN_MAX,
  type Past,
  shiftOf,
  tsAfter,
  type Verdicts
} from './connection.js'
import { said } from './packet.js'

/** A SYN is refused by someone of whom nothing else was seen (RFC 9293 §3.5.2, group 1). */
const refusal = (l: Look): Verdicts | null => {
  const { s, peer, c } = l
  // Sent once: else a SYN,ACK may have been lost in front of the capture, and the connection aborted.
  const only = peer.syn?.count === 1 && peer.ack === null && peer.top === peer.syn.end
  if (l.myState !== 'unseen' || !only || peer.oldIss !== null || c.midway || c.candidate !== null) return null
  const right = s.seq === seq(0) && (s.flags & ACK) !== 0
  const acks = lt(peer.syn!.iss, s.ack) && !after(s.ack, peer.syn!.end)
  if (right && acks) return FINE
  const seen = `RST with SEQ ${unsigned(s.seq)}${s.flags & ACK ? `, ACK ${unsigned(s.ack)}` : ', no ACK'}`
  return [said('reset-form', seen, `SEQ 0, ACK ${unsigned(peer.syn!.end)}`)]
}

/** RFC 9293 §3.5.2: of the connection, SND.NXT, or what the segment acknowledged that it answers. */
export const reset = (l: Look): Verdicts => {
  const { s, me, peer, c } = l
  if (!(s.flags & RST)) return FINE
  const refused = refusal(l)
  if (refused !== null) return refused
  if (c.midway || c.incomplete || c.candidate !== null || me.syn === null || shiftOf(peer, me) === null)
    return FINE
  if (s.seq === seq(0) && s.flags & ACK) return FINE // an answer to a segment without ACK
  if (peer.edge === null || peer.ack === null) return FINE
  const beyond = distance(s.seq, peer.edge)
  const below = distance(s.seq, me.syn.iss)
  if (beyond <= 1 && below >= 0) return FINE
  const allowed = `from ${unsigned(me.syn.iss)} to the edge of the window, ${unsigned(peer.edge)}`
  return [said('reset-outside', `RST with SEQ ${unsigned(s.seq)}`, allowed)]
}

/** Who sent a RST has no connection any more (RFC 9293 §3.10.5). */
export const afterReset = (l: Look): Verdicts => {
  const { s, me } = l
  if (me.resetAt === null || s.flags & (RST | SYN) || isStray(s.seq, me.top)) return FINE
  // Its RST has SND.NXT, and no timestamps: octets from there on came later.
  const isNew = s.len > 0 && me.top !== null && !after(me.top, s.seq)
  if (!isNew && s.at - me.resetAt < OVERTAKEN_MAX) return ['order']
  const seen = `a segment ${(s.at - me.resetAt).toFixed(3)} s after the own RST`
  return [said('after-reset', seen, 'none but RST')]
}

/** s. Twice the shortest maximum segment lifetime of any TCP; RFC 9293 §3.4.2 has two minutes. */
export const TIME_WAIT_MIN = 30

/** May a SYN end TIME-WAIT (RFC 9293 §3.6.1 MAY-2; RFC 6191 §2)? */
export const mayReopen = (l: Look, by: 0 | 1, past: Past, syn: Look['s']): boolean => {
  const [top, ts] = [past.tops[by], past.tsMax[by]]
  if (syn.ts !== null && ts !== null && tsAfter(syn.ts.val, ts) > 0) return true
  return top !== null && by !== past.waits && after(syn.seq, top) && !l.c.incomplete
}

/** Both ways to use a connection again too early. `l.c` is the new one, as its first SYN made it. */
export const timeWait = (l: Look): Verdicts => {
  const { s, c, by, peer } = l
  const { past } = c
  if (past === null || past.waits === null || s.flags & RST || !(s.flags & SYN)) return FINE
  const since = s.at - past.lastAt
  if (since >= TIME_WAIT_MIN || since < 0) return FINE
  if (!(s.flags & ACK)) {
    if (by !== past.waits || mayReopen(l, by, past, s)) return FINE
    const seen = `a new SYN ${since.toFixed(3)} s after the connection's end`
    return [said('time-wait-left', seen, 'TIME-WAIT for two maximum segment lifetimes')]
  }
  if (by !== past.waits || peer.syn === null || s.ack !== add(peer.syn.iss, 1)) return FINE
  const asked = { seq: peer.syn.iss, ts: peer.tsMax === null ? null : { val: peer.tsMax, ecr: 0 } }
  const other = by === 0 ? 1 : 0
  if (mayReopen(l, other, past, { ...s, ...asked })) return FINE
  const seen = `SYN,ACK for ${unsigned(peer.syn.iss)}, ${since.toFixed(3)} s after the connection's end`
  return [said('time-wait-reopened', seen, `above ${unsigned(past.tops[other] ?? seq(0))}`)]
}
