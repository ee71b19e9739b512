import { add, distance, le, lt, type SeqNum, unsigned } from '../../codecs/value/seq.js'
import { FIN, RST, SYN } from '../../codecs/wire/tcp.js'
import { after, FINE, isStray, type Look, type Verdicts, wasSeen } from './connection.js'
import { said } from './packet.js'
import { dataAt } from './segment.js'

// The numbers of what is sent (RFC 9293 §3.4), and the octets behind them.

/** SYN and FIN have numbers of their own (RFC 9293 §3.4). */
export const counted = ({ s, me }: Look): Verdicts => {
  if (s.flags & (SYN | RST) || me.syn === null || s.len < 2) return FINE
  const iss = me.syn.iss
  return le(s.seq, iss) && lt(iss, add(s.seq, s.len)) && distance(iss, s.seq) < 0x10000
    ? [said('syn-not-counted', `data at ${unsigned(s.seq)}`, `from ${unsigned(add(iss, 1))} on`)]
    : FINE
}

/** Nothing comes behind the FIN, and it stays where it is (RFC 9293 §3.6). */
export const fin = ({ s, me }: Look): Verdicts => {
  if (s.flags & (SYN | RST) || isStray(s.seq, me.top)) return FINE
  const last = add(dataAt(s), s.len)
  if (me.fin !== null) {
    if (s.len > 0 && after(last, me.fin)) {
      const seen = `data up to ${unsigned(last)}`
      return [said('data-after-fin', seen, `up to the FIN at ${unsigned(me.fin)}`)]
    }
    if (s.flags & FIN && last !== me.fin)
      return [said('fin-moved', `FIN at ${unsigned(last)}`, `at ${unsigned(me.fin)}, as before`)]
    return FINE
  }
  // The number of a segment without data may be guessed ahead; octets were sent.
  const sent = me.beyond.at(-1)?.to ?? me.whole
  return s.flags & FIN && sent !== null && after(sent, last)
    ? [
        said(
          'fin-moved',
          `FIN at ${unsigned(last)}`,
          `behind the octets that were sent, at ${unsigned(sent)}`
        )
      ]
    : FINE
}

/** Where the octets differ from those that were kept, or null. `compared`: any of them could be. */
const differsAt = (l: Look): { readonly at: SeqNum | null; readonly compared: boolean } => {
  const { s, me } = l
  const data = s.data!
  const from = dataAt(s)
  let compared = false
  for (const k of me.kept) {
    const shift = distance(k.from, from) // of the kept octets, in the segment
    const begin = Math.max(0, shift)
    const end = Math.min(data.len, shift + k.bytes.length)
    if (begin < end) compared = true
    for (let i = begin; i < end; i++)
      if (data.view.getUint8(data.off + i) !== k.bytes[i - shift]) return { at: add(from, i), compared }
  }
  return { at: null, compared }
}

/** What is sent again is the same (RFC 9293 §3.4). A single octet may be a keep-alive's, which is anything (§3.8.4). */
export const sameOctets = (l: Look): Verdicts => {
  const { s, me } = l
  if (s.len < 2 || s.flags & RST || s.data === null || me.top === null) return FINE
  const from = dataAt(s)
  if (le(me.top, from) || isStray(from, me.top) || !wasSeen(me, from, add(from, s.len))) return FINE
  const { at, compared } = differsAt(l)
  if (at !== null)
    return [said('retransmission-differs', `another octet at ${unsigned(at)}`, 'the octets as they were')]
  return compared ? FINE : ['not-kept']
}

/** Octets that data and options of `me` may have together; null: not known. 536, or 1220 over IPv6, without the option (MUST-15). */
const sizeAllowed = ({ s, peer, c }: Look): number | null =>
  peer.syn === null || peer.syn.varied || c.midway ? null : (peer.syn.mss ?? (s.v6 ? 1220 : 536))

/** More than the peer takes. */
export const isLong = (l: Look): boolean => {
  const allowed = sizeAllowed(l)
  return allowed !== null && l.s.len > 0 && !(l.s.flags & (SYN | RST)) && l.s.len + l.s.optionLen > allowed
}
/** Segments of one length that are no chance. */
const LONG_MIN = 3

/**
 * RFC 9293 §3.7.1. What is long may be many segments yet, or already (TSO, GRO): its checksum is not there then, as a rule,
 * but a capture that is written by the other end of a virtual link may fill it in. So three of one length are asked for, none
 * longer than what the sender's own interface takes, as its own MSS says.
 */
export const segmentSize = (l: Look): Verdicts => {
  const { s, me, peer } = l
  if (!isLong(l)) return FINE
  const own = me.syn?.mss ?? 0
  const size = s.len + s.optionLen
  const same = me.longs !== null && me.longs.size === size ? me.longs.count + 1 : 1
  if (s.sum !== 'right' || size > own || me.maxPayload > own || same !== LONG_MIN) return ['long']
  const seen = `${s.len} octets of data and ${s.optionLen} of options, for the third time`
  const why = peer.syn!.mss === null ? ', as the peer offered none' : ''
  return [said('segment-too-long', seen, `${sizeAllowed(l)} octets${why}`)]
}
