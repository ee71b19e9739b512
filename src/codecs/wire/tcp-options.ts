import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { bytesOf, type Octets, sub } from '../value/octets.js'
import { type SeqNum, seq } from '../value/seq.js'

/** [left, right): octets that were received (RFC 2018 §3). */
export interface SackBlock {
  readonly left: SeqNum
  readonly right: SeqNum
}
/** Kinds by number: RFC 9293 §3.2, RFC 7323 §2.2 and §3.2, RFC 2018 §2 and §3. */
export type TcpOption =
  | { readonly tag: 'Nop' }
  /** The end of the list; `padding` is what stands behind it. */
  | { readonly tag: 'End'; readonly padding: Uint8Array }
  | { readonly tag: 'Mss'; readonly mss: number }
  /** As sent: it may be above 14. */
  | { readonly tag: 'WindowScale'; readonly shift: number }
  | { readonly tag: 'SackPermitted' }
  | { readonly tag: 'Sack'; readonly blocks: readonly SackBlock[] }
  /** Both unsigned. */
  | { readonly tag: 'Timestamps'; readonly val: number; readonly ecr: number }
  /** Any other kind, or one of those above with a length that it cannot have. `data` is without kind and length. */
  | { readonly tag: 'Other'; readonly kind: number; readonly data: Uint8Array }

const END = 0
const NOP = 1
const MSS = 2
const WINDOW_SCALE = 3
const SACK_PERMITTED = 4
const SACK = 5
const TIMESTAMPS = 8

/** Lengths, octets, of the kinds that have one only. */
export const OPTION_LENGTHS: Readonly<Record<number, number>> = {
  [MSS]: 4,
  [WINDOW_SCALE]: 3,
  [SACK_PERMITTED]: 2,
  [TIMESTAMPS]: 10
}
/** Has this kind, with so many octets, a wrong length? */
export const wrongLength = (kind: number, length: number): boolean =>
  kind === SACK
    ? length < 10 || (length - 2) % 8 !== 0
    : OPTION_LENGTHS[kind] !== undefined && OPTION_LENGTHS[kind] !== length

const optionAt = (o: Octets, kind: number): TcpOption => {
  const { view, off, len } = o
  if (!wrongLength(kind, len))
    switch (kind) {
      case MSS:
        return { tag: 'Mss', mss: view.getUint16(off + 2) }
      case WINDOW_SCALE:
        return { tag: 'WindowScale', shift: view.getUint8(off + 2) }
      case SACK_PERMITTED:
        return { tag: 'SackPermitted' }
      case TIMESTAMPS:
        return { tag: 'Timestamps', val: view.getUint32(off + 2), ecr: view.getUint32(off + 6) }
      case SACK: {
        const blocks: SackBlock[] = []
        for (let at = 2; at < len; at += 8)
          blocks.push({ left: seq(view.getUint32(off + at)), right: seq(view.getUint32(off + at + 4)) })
        return { tag: 'Sack', blocks }
      }
    }
  return { tag: 'Other', kind, data: bytesOf(sub(o, 2)) }
}

/** `o`: exactly the header's options. A string says where they are malformed. */
export const decodeTcpOptions = (o: Octets): readonly TcpOption[] | string => {
  const out: TcpOption[] = []
  for (let at = 0; at < o.len; ) {
    const kind = o.view.getUint8(o.off + at)
    if (kind === END) {
      out.push({ tag: 'End', padding: bytesOf(sub(o, at + 1)) })
      return out
    }
    if (kind === NOP) {
      out.push({ tag: 'Nop' })
      at++
      continue
    }
    if (at + 2 > o.len) return `option ${kind} without a length`
    const len = o.view.getUint8(o.off + at + 1)
    if (len < 2) return `option ${kind} of length ${len}`
    if (at + len > o.len) return `option ${kind} of length ${len}, with ${o.len - at} octets left`
    out.push(optionAt(sub(o, at, len), kind))
    at += len
  }
  return out
}

const numbers = (kind: number, length: number, fill: (v: DataView) => void): Uint8Array => {
  const b = new Uint8Array(length)
  b[0] = kind
  b[1] = length
  fill(new DataView(b.buffer))
  return b
}
const encodeOption = (p: TcpOption): Uint8Array => {
  switch (p.tag) {
    case 'Nop':
      return Uint8Array.of(NOP)
    case 'End':
      return Uint8Array.from([END, ...p.padding])
    case 'Mss':
      return numbers(MSS, 4, (v) => v.setUint16(2, p.mss))
    case 'WindowScale':
      return numbers(WINDOW_SCALE, 3, (v) => v.setUint8(2, p.shift))
    case 'SackPermitted':
      return numbers(SACK_PERMITTED, 2, () => {})
    case 'Timestamps':
      return numbers(TIMESTAMPS, 10, (v) => {
        v.setUint32(2, p.val)
        v.setUint32(6, p.ecr)
      })
    case 'Sack':
      return numbers(SACK, 2 + 8 * p.blocks.length, (v) => {
        for (const [i, b] of p.blocks.entries()) {
          v.setUint32(2 + 8 * i, b.left)
          v.setUint32(6 + 8 * i, b.right)
        }
      })
    case 'Other':
      return Uint8Array.from([p.kind, p.data.length + 2, ...p.data])
  }
}
/** One after the other, without padding. */
export const encodeTcpOptions = (list: readonly TcpOption[]): Uint8Array =>
  Uint8Array.from(list.flatMap((p) => [...encodeOption(p)]))

/**
 * All options of a header, in order. What follows End is padding. Left: a length below 2, or past the end.
 * Law: decode(encode(l)) = right(l).   Source: RFC 9293 §3.2.
 */
export const TcpOptions: t.Type<readonly TcpOption[], Uint8Array, Octets> = wireCodec(
  'TcpOptions',
  decodeTcpOptions,
  encodeTcpOptions
)
