import { add, distance, le, lt, unsigned } from '../../codecs/value/seq.js'
import { ACK, RST, SYN } from '../../codecs/wire/tcp.js'
import { FINE, isStray, type Look, type Verdicts } from './connection.js'
import { said } from './packet.js'

// Acknowledgements. That what they acknowledge was sent: suspicions.ts.

/** RFC 9293 §3.5: SND.UNA of a SYN is ISS, and the only acceptable answer acknowledges it. */
export const handshake = ({ s, peer, c }: Look): Verdicts => {
  if ((s.flags & (SYN | ACK | RST)) !== (SYN | ACK) || peer.syn === null || c.midway || c.incomplete)
    return FINE
  const { iss, end } = peer.syn
  if (lt(iss, s.ack) && le(s.ack, end)) return FINE
  if (peer.oldIss !== null && s.ack === add(peer.oldIss, 1)) return FINE
  if (c.candidate !== null && s.ack === add(c.candidate.s.seq, 1)) return FINE
  if (peer.ack !== null) return FINE // open already: an old one may come back
  return [said('handshake-ack', `ACK ${unsigned(s.ack)}`, `${unsigned(add(iss, 1))}`)]
}

/** What is acknowledged stays acknowledged, and begins behind the SYN. */
export const cumulative = (l: Look): Verdicts => {
  const { s, me, peer, c } = l
  if (!(s.flags & ACK) || s.flags & (RST | SYN)) return FINE
  if (peer.syn !== null && !c.midway && c.candidate === null) {
    const first = add(peer.syn.iss, 1)
    const mine = me.syn !== null && lt(me.syn.iss, s.seq) && !isStray(s.seq, me.top)
    if (mine && lt(s.ack, first) && !isStray(s.ack, first))
      return [said('ack-of-nothing', `ACK ${unsigned(s.ack)}`, `from ${unsigned(first)} on`)]
  }
  if (me.ack === null || !lt(s.ack, me.ack) || isStray(s.ack, me.ack)) return FINE
  return l.later ? [said('ack-back', `ACK ${unsigned(s.ack)}`, `at least ${unsigned(me.ack)}`)] : ['order']
}

/** s; RFC 9293 §3.8.6.3 */
export const DELAY_MAX = 0.5
/** How long an acknowledgement of `me` may take to this place: the delay, and the way there and back, which may vary. */
export const delayAllowed = (rtt: number): number => DELAY_MAX + 2 * rtt + 0.05
/** Late ones in a row that are no chance: acknowledgements get lost as well. */
const LATE_MIN = 3

/** RFC 9293 §3.8.6.3, MUST-40. A queue on a longer way may take as long, and did not at the handshake. */
export const timely = (l: Look): Verdicts => {
  const { s, me } = l
  if (
    !l.ordered ||
    !(s.flags & ACK) ||
    me.owes === null ||
    me.rtt === null ||
    distance(s.ack, me.owes.end) < 0
  )
    return FINE
  const took = s.at - me.owes.at
  if (took <= delayAllowed(me.rtt) || me.late + 1 < LATE_MIN) return FINE
  const seen = `acknowledged after ${took.toFixed(3)} s, for the third time`
  return [said('ack-late', seen, `less than 0.5 s and a round trip of ${me.rtt.toFixed(3)} s`)]
}
