import { distance, le, lt, unsigned } from '../../codecs/value/seq.js'
import { ACK, RST, SYN } from '../../codecs/wire/tcp.js'
import type { SackBlock } from '../../codecs/wire/tcp-options.js'
import { after, FINE, type Look, RESENT_MAX, timestampsOf, tsAfter, type Verdicts } from './connection.js'
import { type Said, said } from './packet.js'

// Options that have to be agreed upon, and what is in them. That an option is well-formed is looked at in segment.ts.

const isSynAck = (l: Look): boolean => (l.s.flags & (SYN | ACK)) === (SYN | ACK)
/** A SYN,ACK, and the SYN that it answers is known in one form only. */
const answersKnownSyn = (l: Look): boolean =>
  isSynAck(l) && l.peer.syn !== null && !l.peer.syn.varied && l.peer.oldIss === null && !l.c.midway

/** RFC 7323 §2.2 */
export const scaleAsked = (l: Look): Verdicts =>
  answersKnownSyn(l) && l.s.scale !== null && l.peer.syn!.scale === null
    ? [said('scale-unasked', `window scale ${l.s.scale} in the SYN,ACK`, 'none: the SYN had none')]
    : FINE

/** RFC 7323 §3.2 */
export const timestampsAgreed = (l: Look): Verdicts => {
  const { s, me, peer } = l
  if (!s.optionsKnown) return FINE
  if (s.flags & SYN) {
    if (answersKnownSyn(l) && s.ts !== null && !peer.syn!.ts)
      return [said('timestamps-unasked', 'timestamps in the SYN,ACK', 'none: the SYN had none')]
    return FINE
  }
  const agreed = timestampsOf(me, peer)
  if (agreed === null || (s.flags & RST) !== 0) return FINE
  if (agreed && s.ts === null) return [said('timestamps-missing', 'no timestamps', 'in every segment')]
  if (!agreed && s.ts !== null)
    return [said('timestamps-unasked', 'timestamps', 'none: not both SYNs had them')]
  return FINE
}

/** TSval (RFC 7323 §5.4), TSecr (§3.2, §4.3). That an echo was sent by the peer at all: suspicions.ts. */
export const timestampValues = (l: Look): Verdicts => {
  const { s, me, peer } = l
  if (s.ts === null || (s.flags & RST) !== 0) return FINE
  const out: Said[] = []
  const { val, ecr } = s.ts
  const isNew =
    s.len > 0 && me.top !== null && le(me.top, s.seq) && !(s.flags & SYN) && s.at - me.resentAt > RESENT_MAX
  if (isNew && me.tsMax !== null && tsAfter(val, me.tsMax) < 0)
    out.push(said('timestamp-back', `TSval ${val}`, `at least ${me.tsMax}`))
  if (!(s.flags & ACK)) {
    if (ecr !== 0) out.push(said('echo-without-ack', `TSecr ${ecr} without ACK`, '0'))
    return out
  }
  if (timestampsOf(me, peer) === true && me.ecrMax !== null && tsAfter(ecr, me.ecrMax) < 0) {
    if (!l.later) return [...out, 'order']
    out.push(said('echo-back', `TSecr ${ecr}`, `at least ${me.ecrMax}`))
  }
  return out
}

const show = (b: SackBlock): string => `${unsigned(b.left)}-${unsigned(b.right)}`
const overlap = (a: SackBlock, b: SackBlock): boolean => lt(a.left, b.right) && lt(b.left, a.right)
const within = (a: SackBlock, b: SackBlock): boolean => le(b.left, a.left) && le(a.right, b.right)

/** RFC 2018 §3 and §4; the first block may be a duplicate's (RFC 2883 §4). */
export const sack = (l: Look): Verdicts => {
  const { s, peer } = l
  if (s.sack.length === 0 || !(s.flags & ACK)) return FINE
  if (peer.syn !== null && !peer.syn.varied && !peer.syn.sackPermitted && !l.c.midway)
    return [
      said('sack-unpermitted', `SACK ${s.sack.map(show).join(' ')}`, 'none: the peer does not permit it')
    ]
  const out: Said[] = []
  for (const b of s.sack)
    if (distance(b.right, b.left) <= 0) out.push(said('sack-block', `SACK ${show(b)}`, 'left below right'))
  if (out.length > 0) return out
  const [first, ...rest] = s.sack
  // Linux in FIN-WAIT acknowledges a FIN that came out of order before it drops the blocks in front of it
  const all = peer.fin !== null && after(s.ack, peer.fin)
  for (const b of rest)
    if (!all && after(s.ack, b.left))
      out.push(said('sack-below', `SACK ${show(b)}, acknowledging ${unsigned(s.ack)}`, 'blocks behind that'))
  const duplicate = lt(first!.left, s.ack) || rest.some((b) => within(first!, b))
  const apart = duplicate ? rest : s.sack
  for (const [i, b] of apart.entries())
    for (const other of apart.slice(i + 1))
      if (overlap(b, other))
        out.push(said('sack-overlap', `SACK ${show(b)} and ${show(other)}`, 'blocks that are apart'))
  return out
}
