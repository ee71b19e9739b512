import { add, le, type SeqNum, unsigned } from '../../codecs/value/seq.js'
import { ACK, FIN, RST, SYN } from '../../codecs/wire/tcp.js'
import { FINE, type Look, type Repeats, type Verdicts } from './connection.js'
import { said } from './packet.js'
import type { Segment } from './segment.js'

// What is sent again by a timer. Everything of the peer ends a row of repetitions: it may have been the reason. A probe of
// the tail (RFC 8985 §7) comes first and early, so intervals count from the first repetition on. A repetition that got lost
// in front of the capture makes an interval longer, and the next one is longer still: an interval that grows by next to
// nothing happens once then, but not twice in a row.

/** s. What is shorter is no time-out: the frame was doubled on its way, or in the capture. */
const SHORTEST = 0.05
/** s; there back-off may end (RFC 6298 §2.5). */
const LONGEST = 60
/** An interval less than so much longer has not grown. */
const GROWTH = 1.1
/** Intervals in a row. */
export const FLAT_MIN = 2

/** `seq` again, at `at`. */
export const repeated = (r: Repeats | null, seq: SeqNum, at: number): Repeats => {
  if (r === null || r.seq !== seq) return { seq, at, interval: null, flat: 0 }
  const interval = at - r.at
  const grew = r.interval === null || interval > GROWTH * r.interval
  const counts = interval >= SHORTEST && interval < LONGEST
  return { seq, at, interval, flat: grew || !counts ? 0 : r.flat + 1 }
}

/** Everything in it was sent before, and it is more than a keep-alive. */
export const isRepetition = ({ s, me, peer, end }: Look): boolean => {
  if (s.flags & RST || (s.len === 0 && !(s.flags & (SYN | FIN))) || me.top === null) return false
  if (!le(end, me.top)) return false
  return !(s.len === 1 && peer.ack !== null && le(add(s.seq, 1), peer.ack))
}
/** The octet behind a closed window (RFC 9293 §3.8.6.1). */
export const isProbe = (s: Segment, peer: Look['peer']): boolean =>
  s.len === 1 && peer.wnd === 0 && s.seq === peer.edge && !(s.flags & (SYN | RST))

const row = (r: Repeats): string => `again after ${r.interval!.toFixed(3)} s`

/** RFC 6298 §5 (5.5) */
export const backOff = (l: Look): Verdicts => {
  const { s, me, peer } = l
  if (!isRepetition(l) || me.resends === null || peer.wnd === 0) return FINE
  const r = repeated(me.resends, s.seq, s.at)
  if (r.flat !== FLAT_MIN) return FINE
  const allowed = `twice the interval before, which was ${me.resends.interval!.toFixed(3)} s`
  return [said('back-off', `${unsigned(s.seq)} ${row(r)}, and so was the one before`, allowed)]
}

/** RFC 6298 §2 (2.1). Clocks differ, and timers tick: a tenth is left to them. */
export const synTimer = ({ s, me }: Look): Verdicts => {
  if ((s.flags & (SYN | ACK)) !== SYN || me.syn === null || me.syn.iss !== s.seq || me.syn.count > 1)
    return FINE
  if (me.resends === null || me.resends.seq !== s.seq) return FINE
  const took = s.at - me.syn.at
  return took >= SHORTEST && took < 0.9
    ? [said('syn-early', `SYN again after ${took.toFixed(3)} s`, '1 s')]
    : FINE
}

/** RFC 9293 §3.8.6.1, SHLD-30 */
export const probing = ({ s, me, peer }: Look): Verdicts => {
  if (!isProbe(s, peer) || me.probes === null) return FINE
  const r = repeated(me.probes, s.seq, s.at)
  if (r.flat !== FLAT_MIN) return FINE
  return [said('probe-back-off', `probe ${row(r)}, and so was the one before`, 'intervals that grow')]
}
