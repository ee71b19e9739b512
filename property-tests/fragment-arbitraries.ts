import fc from 'fast-check'
import { fromV4, type InAny } from '../src/codecs/value/inany.js'
import { PROTO_TCP, PROTO_UDP } from '../src/codecs/wire/checksum.js'
import { ETH_LEN } from '../src/codecs/wire/ethernet.js'
import { IPV6_LEN } from '../src/codecs/wire/ipv6.js'
import { UdpDatagram } from '../src/codecs/wire/udp.js'
import { arbFrame, build, type FrameSpec, sealIpv4 } from './frame-spec.js'

/** Whole frames, cut into fragments as a guest's kernel does, or as an attacker would. */

/** Octets of a frame that stand in each of its fragments; IPv6 (RFC 8200 §4.5): hop-by-hop and routing headers as well. */
const perFragment = (frame: Uint8Array): { readonly len: number; readonly link: number } => {
  if (frame[12] === 0x08) return { len: ETH_LEN + (frame[ETH_LEN]! & 15) * 4, link: 0 }
  let link = ETH_LEN + 6
  let at = ETH_LEN + IPV6_LEN
  while (frame[link] === 0 || frame[link] === 43) {
    link = at
    at += (frame[at + 1]! + 1) * 8
  }
  return { len: at, link }
}
/** Octets of a frame without link padding that fragments divide among them. */
export const dataLength = (frame: Uint8Array): number => frame.length - perFragment(frame).len

export interface Piece {
  readonly start: number
  readonly end: number
  readonly more: boolean
}
/** Octets [start, end) of the data of `frame`. */
export const fragment = (frame: Uint8Array, id: number, { start, end, more }: Piece): Uint8Array => {
  const v6 = frame[12] === 0x86
  const { len, link } = perFragment(frame)
  const head = len + (v6 ? 8 : 0)
  const b = new Uint8Array(head + end - start)
  const view = new DataView(b.buffer)
  b.set(frame.subarray(0, len))
  b.set(frame.subarray(len + start, len + end), head)
  if (v6) {
    b[link] = 44
    view.setUint8(len, frame[link]!)
    view.setUint16(len + 2, start | (more ? 1 : 0))
    view.setUint32(len + 4, id)
    view.setUint16(ETH_LEN + 4, b.length - ETH_LEN - IPV6_LEN)
  } else {
    view.setUint16(ETH_LEN + 2, b.length - ETH_LEN)
    view.setUint16(ETH_LEN + 4, id & 0xffff)
    view.setUint16(ETH_LEN + 6, (start >>> 3) | (more ? 0x2000 : 0))
    sealIpv4(b)
  }
  return b
}
/** [0, all) cut at these places, multiples of 8. */
export const piecesOf = (all: number, cuts: ReadonlyArray<number>): Piece[] => {
  const inside = [...new Set(cuts)].filter((c) => c > 0 && c < all).sort((a, b) => a - b)
  const at = [0, ...inside, all]
  return at.slice(1).map((end, i) => ({ start: at[i]!, end, more: end < all }))
}

const NONE = new Uint8Array(0)
const HOST6: InAny = [0x20010db8, 0, 0, 2]
const PEER6: InAny = [0x20010db8, 0, 0, 3]
export const udpFrame = (v6: boolean, payload: Uint8Array, srcPort = 1000): FrameSpec => ({
  dst: 0x9a5500000001,
  src: 0x525400000002,
  v6,
  from: v6 ? HOST6 : fromV4(0xc6336402),
  to: v6 ? PEER6 : fromV4(0xc6336403),
  ttl: 64,
  tos: 0,
  flowLabel: 0,
  proto: PROTO_UDP,
  options: NONE,
  extensions: [],
  l4: UdpDatagram.encode({ srcPort, dstPort: 2000, payload }),
  surplus: NONE,
  padding: NONE
})
const arbLarge = fc
  .tuple(fc.boolean(), fc.oneof(fc.integer({ min: 0, max: 4000 }), fc.integer({ min: 60000, max: 65507 })))
  .map(([v6, n]) =>
    udpFrame(
      v6,
      Uint8Array.from({ length: n }, (_, i) => i ^ (i >>> 8))
    )
  )

export interface Cut {
  readonly spec: FrameSpec
  /** Without link padding. */
  readonly frame: Uint8Array
  readonly pieces: ReadonlyArray<Piece>
}
/** A frame in two fragments or more, the first of which has all headers. */
export const arbCut: fc.Arbitrary<Cut> = fc
  .oneof(arbFrame, arbLarge)
  .map((s) => ({ ...s, padding: NONE }))
  .chain((spec) => {
    const { bytes, l4 } = build(spec)
    const all = dataLength(bytes)
    const headers = l4 - (bytes.length - all) + (spec.proto === PROTO_TCP ? 20 : 8)
    return fc
      .array(fc.integer({ min: Math.ceil(headers / 8), max: Math.max(Math.ceil(headers / 8), all >>> 3) }), {
        minLength: 1,
        maxLength: 12
      })
      .map((at) => ({
        spec,
        frame: bytes,
        pieces: piecesOf(
          all,
          at.map((n) => n * 8)
        )
      }))
  })
  .filter((c) => c.pieces.length > 1)
