import { type Octets, sub } from '../../codecs/value/octets.js'
import { add, type SeqNum, seq } from '../../codecs/value/seq.js'
import { FIN, SYN, TCP_LEN } from '../../codecs/wire/tcp.js'
import {
  decodeTcpOptions,
  type SackBlock,
  type TcpOption,
  wrongLength
} from '../../codecs/wire/tcp-options.js'
import { type IpPacket, NOTHING, type Said, type Sum, said, upperSum } from './packet.js'
import type { Unknown } from './rules.js'

/** A TCP segment as captured. */
export interface Segment {
  /** Number of its frame, and time, s. */
  readonly frame: number
  readonly at: number
  readonly ttl: number
  readonly v6: boolean
  readonly srcPort: number
  readonly dstPort: number
  readonly seq: SeqNum
  readonly ack: SeqNum
  readonly flags: number
  /** Field value. */
  readonly wnd: number
  readonly urgent: number
  /** Octets of data on the link, and what was kept of them; null: only the numbers are left. */
  readonly len: number
  readonly data: Octets | null
  /** Octets of options, padding included. */
  readonly optionLen: number
  /** Options were kept whole; else those below may be there or not. */
  readonly optionsKnown: boolean
  readonly mss: number | null
  /** As sent. */
  readonly scale: number | null
  readonly sackPermitted: boolean
  readonly sack: readonly SackBlock[]
  readonly ts: { readonly val: number; readonly ecr: number } | null
  readonly sum: Sum
}
export interface SegmentLooked {
  readonly segment: Segment | null
  readonly said: readonly Said[]
  readonly unknown: Unknown | null
}

/** Behind the last octet, SYN and FIN counted (RFC 9293 §3.4). */
export const endOf = (s: Segment): SeqNum =>
  add(s.seq, s.len + (s.flags & SYN ? 1 : 0) + (s.flags & FIN ? 1 : 0))
/** Of the first octet of data. */
export const dataAt = (s: Segment): SeqNum => (s.flags & SYN ? add(s.seq, 1) : s.seq)

const NO_SACK: readonly SackBlock[] = []

const optionsSaid = (list: readonly TcpOption[], flags: number): readonly Said[] => {
  const out: Said[] = []
  for (const p of list)
    if (p.tag === 'End' && p.padding.some((b) => b !== 0))
      out.push(said('option-padding', `padding ${[...p.padding].join(' ')}`, 'zeros'))
    else if (p.tag === 'Other' && wrongLength(p.kind, p.data.length + 2))
      out.push(
        said('option-length', `option ${p.kind} of length ${p.data.length + 2}`, 'the length of its kind')
      )
    else if (p.tag === 'Mss' && !(flags & SYN))
      out.push(said('mss-later', `MSS ${p.mss} without SYN`, 'on a SYN only'))
    else if (p.tag === 'WindowScale' && !(flags & SYN))
      out.push(said('scale-later', `window scale ${p.shift} without SYN`, 'on a SYN only'))
    else if (p.tag === 'WindowScale' && p.shift > 14)
      out.push(said('scale-large', `window scale ${p.shift}`, 'at most 14'))
    else if (p.tag === 'SackPermitted' && !(flags & SYN))
      out.push(said('sack-permitted-later', 'SACK permitted without SYN', 'on a SYN only'))
  return out
}

const first = <K extends TcpOption['tag']>(
  list: readonly TcpOption[],
  tag: K
): Extract<TcpOption, { readonly tag: K }> | undefined =>
  list.find((p): p is Extract<TcpOption, { readonly tag: K }> => p.tag === tag)

/** The TCP segment that `p` carries, in frame number `frame` at `at`. */
export const lookAtSegment = (p: IpPacket, frame: number, at: number): SegmentLooked => {
  const { view, off, len } = p.upper
  if (p.upperLen < TCP_LEN || len < TCP_LEN) {
    if (p.upperLen >= TCP_LEN) return { segment: null, said: NOTHING, unknown: 'cut' }
    const of = [said('tcp-header', `${p.upperLen} octets`, 'at least 20')]
    return { segment: null, said: of, unknown: null }
  }
  const header = (view.getUint8(off + 12) >>> 4) * 4
  if (header < TCP_LEN || header > p.upperLen) {
    const seen = `data offset ${header / 4}, segment of ${p.upperLen} octets`
    const of = [said('tcp-header', seen, 'at least 5, within the segment')]
    return { segment: null, said: of, unknown: null }
  }
  const sum = upperSum(p, p.upperLen, 16)
  const flags = view.getUint8(off + 13)
  const optionsKnown = header <= len
  const list: readonly TcpOption[] | string = optionsKnown
    ? decodeTcpOptions(sub(p.upper, TCP_LEN, header - TCP_LEN))
    : []
  const options = typeof list === 'string' ? [] : list
  const ts = first(options, 'Timestamps')
  const reserved = view.getUint8(off + 12) & 0x0e // the lowest is AE (RFC 9768 §3.1)
  const urgent = view.getUint16(off + 18)
  const segment: Segment = {
    frame,
    at,
    ttl: p.ttl,
    v6: p.v6,
    srcPort: view.getUint16(off),
    dstPort: view.getUint16(off + 2),
    seq: seq(view.getUint32(off + 4)),
    ack: seq(view.getUint32(off + 8)),
    flags,
    wnd: view.getUint16(off + 14),
    urgent,
    len: p.upperLen - header,
    data: sub(p.upper, Math.min(header, len), Math.max(0, Math.min(p.upperLen, len) - header)),
    optionLen: header - TCP_LEN,
    optionsKnown: optionsKnown && typeof list !== 'string',
    mss: first(options, 'Mss')?.mss ?? null,
    scale: first(options, 'WindowScale')?.shift ?? null,
    sackPermitted: first(options, 'SackPermitted') !== undefined,
    sack: first(options, 'Sack')?.blocks ?? NO_SACK,
    ts: ts === undefined ? null : { val: ts.val, ecr: ts.ecr },
    sum
  }
  if (sum === 'wrong') return { segment, said: NOTHING, unknown: null }
  const found = [
    ...(typeof list === 'string'
      ? [said('option-length', list, 'at least 2, within the header')]
      : optionsSaid(list, flags)),
    ...(reserved !== 0
      ? [said('reserved-bits', `reserved bits 0x${reserved.toString(16)}`, 'zero')]
      : NOTHING)
  ]
  return { segment, said: found, unknown: optionsKnown ? null : 'cut' }
}
