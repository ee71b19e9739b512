import { add, distance, unsigned } from '../../codecs/value/seq.js'
import { ACK, RST, SYN } from '../../codecs/wire/tcp.js'
import { FINE, isStray, type Look, type Side, shiftOf, type Verdicts } from './connection.js'
import { said } from './packet.js'
import type { Segment } from './segment.js'

// Windows as they are offered. That they are kept to: suspicions.ts.

/** Octets that `me` offers with `s`; null: not known how they are scaled. */
export const windowOf = (s: Segment, me: Side, peer: Side): number | null => {
  if (s.flags & SYN) return s.wnd // never scaled, RFC 7323 §2.2
  const shift = shiftOf(me, peer)
  return shift === null ? null : s.wnd * 2 ** shift
}

/** RFC 9293 §3.8.6, SHLD-14; RFC 7323 §2.4: by less than a unit of the scale it may seem to. */
export const shrinks = (l: Look): Verdicts => {
  const { s, me, peer } = l
  if (!(s.flags & ACK) || s.flags & (RST | SYN) || me.edge === null || isStray(s.ack, me.ack)) return FINE
  const wnd = windowOf(s, me, peer)
  if (wnd === null) return FINE
  const back = distance(me.edge, add(s.ack, wnd))
  if (back < 2 ** shiftOf(me, peer)! || back <= 0) return FINE
  if (!l.later) return ['order']
  const seen = `right edge ${unsigned(add(s.ack, wnd))}`
  return [said('window-shrunk', seen, `at least ${unsigned(me.edge)}, octets taken back: ${back}`)]
}

/** Octets; a receiver that sees no MSS has to take this for one (RFC 9293 §3.7.1, MUST-15). */
const SMALL = 536

/** RFC 9293 §3.8.6.2.2, MUST-39: the buffer is as large as the largest window, at least. */
export const silly = (l: Look): Verdicts => {
  const { s, me, peer } = l
  if (!(s.flags & ACK) || s.flags & (RST | SYN) || me.wnd !== 0 || me.edge === null) return FINE
  const wnd = windowOf(s, me, peer)
  if (wnd === null || wnd === 0 || !l.later || isStray(s.ack, me.ack)) return FINE
  const opens = distance(add(s.ack, wnd), me.edge)
  const least = Math.min(me.maxWnd / 2, SMALL, peer.maxPayload)
  if (opens <= 0 || opens >= least) return FINE
  return [said('window-silly', `a closed window opens by ${opens} octets`, `at least ${Math.floor(least)}`)]
}
