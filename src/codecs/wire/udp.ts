import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { bytesOf, type Octets, sub } from '../value/octets.js'

export interface UdpPorts {
  readonly srcPort: number
  readonly dstPort: number
}
/** A decoded UDP header and where its data lies in the input's view. */
export interface UdpHeader extends UdpPorts {
  /** As found; 0 = none sent (RFC 768), legal over IPv4 only (RFC 8200 §8.1). */
  readonly checksum: number
  readonly payload: { readonly off: number; readonly len: number }
}
export interface UdpDatagram extends UdpPorts {
  /** Decoded, it is a view of the input. */
  readonly payload: Uint8Array
}

const SRC_PORT = 0
const DST_PORT = 2
const LENGTH = 4
const CHECKSUM = 6 // offsets in octets, RFC 768

/** Octets. */
export const UDP_LEN = 8

export type UdpDrop = 'udp-short' | 'udp-length' | 'udp-port-zero'

/** Empty datagrams are valid (#regression-6). */
export const decodeUdpAt = (view: DataView, off: number, len: number): UdpHeader | UdpDrop => {
  if (len < UDP_LEN) return 'udp-short'
  const length = view.getUint16(off + LENGTH)
  if (length < UDP_LEN || length > len) return 'udp-length'
  const srcPort = view.getUint16(off + SRC_PORT)
  const dstPort = view.getUint16(off + DST_PORT)
  if (srcPort === 0 || dstPort === 0) return 'udp-port-zero'
  return {
    srcPort,
    dstPort,
    checksum: view.getUint16(off + CHECKSUM),
    payload: { off: off + UDP_LEN, len: length - UDP_LEN }
  }
}
/** `o`: exactly the IP payload. A string is the reason for the drop. */
export const decodeUdp = (o: Octets): UdpHeader | UdpDrop => decodeUdpAt(o.view, o.off, o.len)

/** Header for `payloadLen` octets of data; the checksum field is left at 0 (see `sealL4`). Returns octets written: 8. */
export const writeUdp = (view: DataView, off: number, h: UdpPorts, payloadLen: number): number => {
  view.setUint16(off + SRC_PORT, h.srcPort)
  view.setUint16(off + DST_PORT, h.dstPort)
  view.setUint16(off + LENGTH, UDP_LEN + payloadLen)
  view.setUint16(off + CHECKSUM, 0)
  return UDP_LEN
}

/**
 * Shape: 8-octet header, data; octets behind LENGTH are not data (RFC 9868 §5 calls them the surplus area), dropped.
 * Left: under 8 octets; LENGTH outside [8, input]; a port 0. Checksum: frame.ts, it needs the pseudo-header.
 * Law: decode(encode(d)) = right(d).   Source: RFC 768, Format.
 */
export const UdpDatagram: t.Type<UdpDatagram, Uint8Array, Octets> = wireCodec(
  'UdpDatagram',
  (o) => {
    const h = decodeUdp(o)
    if (typeof h === 'string') return h
    const { srcPort, dstPort, payload } = h
    return { srcPort, dstPort, payload: bytesOf(sub(o, payload.off - o.off, payload.len)) }
  },
  (d) => {
    const b = new Uint8Array(UDP_LEN + d.payload.length)
    b.set(d.payload, writeUdp(new DataView(b.buffer), 0, d, d.payload.length))
    return b
  }
)
