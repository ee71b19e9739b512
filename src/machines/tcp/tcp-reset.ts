import { add, type SeqNum, seq } from '../../codecs/value/seq.js'
import { ACK, FIN, RST, SYN, type TcpSegment } from '../../codecs/wire/tcp.js'

/** Header fields of a RST; window 0, no options. */
export interface Reset {
  readonly seq: SeqNum
  readonly ack: SeqNum
  readonly flags: number
}

/** Octets of sequence space: payload, and one each for SYN and FIN (RFC 9293 §3.4). */
export const segLen = (s: Pick<TcpSegment, 'flags' | 'payload'>): number =>
  s.payload.len + (s.flags & SYN ? 1 : 0) + (s.flags & FIN ? 1 : 0)

/**
 * Answer to a segment that belongs to no flow; null: none, since it is a RST itself.
 * Source: RFC 9293 §3.10.7.1. SYN and FIN count in the acknowledgement (#regression-N).
 */
export const resetFor = (s: Pick<TcpSegment, 'seq' | 'ack' | 'flags' | 'payload'>): Reset | null => {
  if (s.flags & RST) return null
  if (s.flags & ACK) return { seq: s.ack, ack: seq(0), flags: RST }
  return { seq: seq(0), ack: add(s.seq, segLen(s)), flags: RST | ACK }
}
