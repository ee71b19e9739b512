import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import type { Octets } from '../value/octets.js'

/** struct virtio_net_hdr, without num_buffers (virtio 1.2 §5.1.6): stands in front of every frame on the tap. */
export interface VnetHeader {
  readonly flags: number
  readonly gsoType: number
  /** Ethernet + IP + L4 header, octets; a hint. */
  readonly hdrLen: number
  /** Data octets per segment, 0 without GSO. */
  readonly gsoSize: number
  /** Where the checksum starts, from the Ethernet header on. */
  readonly csumStart: number
  /** Where its field lies, from `csumStart` on. */
  readonly csumOffset: number
}

const FLAGS = 0
const GSO_TYPE = 1
const HDR_LEN = 2
const GSO_SIZE = 4
const CSUM_START = 6
const CSUM_OFFSET = 8 // offsets in octets, virtio 1.2 §5.1.6

/** Octets. */
export const VNET_LEN = 10
export const VNET_NEEDS_CSUM = 1
export const VNET_DATA_VALID = 2
export const GSO_NONE = 0
export const GSO_UDP_L4 = 5

/** Segments or datagrams that `len` octets of payload are, `size` octets each (0 = just one). One may be empty. */
export const pieces = (len: number, size: number): number =>
  size > 0 ? Math.max(1, Math.ceil(len / size)) : 1

/**
 * Datagrams in one frame: as many as Linux cuts a program's message into (UDP_MAX_SEGMENTS, include/linux/udp.h; udp(7),
 * UDP_SEGMENT). What says that it holds more was made to have us send 65,507 of one octet.
 */
export const DATAGRAMS_MAX = 128

/** A frame that stands for itself, with all checksums in place. */
export const NO_OFFLOAD: VnetHeader = {
  flags: 0,
  gsoType: 0,
  hdrLen: 0,
  gsoSize: 0,
  csumStart: 0,
  csumOffset: 0
}

export type VnetDrop = 'vnet-short'

export const decodeVnetAt = (view: DataView, off: number, len: number): VnetHeader | VnetDrop =>
  len < VNET_LEN
    ? 'vnet-short'
    : {
        flags: view.getUint8(off + FLAGS),
        gsoType: view.getUint8(off + GSO_TYPE),
        hdrLen: view.getUint16(off + HDR_LEN, true),
        gsoSize: view.getUint16(off + GSO_SIZE, true),
        csumStart: view.getUint16(off + CSUM_START, true),
        csumOffset: view.getUint16(off + CSUM_OFFSET, true)
      }
export const decodeVnet = (o: Octets): VnetHeader | VnetDrop => decodeVnetAt(o.view, o.off, o.len)

/** Returns octets written: 10. */
export const writeVnet = (view: DataView, off: number, h: VnetHeader): number => {
  view.setUint8(off + FLAGS, h.flags)
  view.setUint8(off + GSO_TYPE, h.gsoType)
  view.setUint16(off + HDR_LEN, h.hdrLen, true)
  view.setUint16(off + GSO_SIZE, h.gsoSize, true)
  view.setUint16(off + CSUM_START, h.csumStart, true)
  view.setUint16(off + CSUM_OFFSET, h.csumOffset, true)
  return VNET_LEN
}

/**
 * Shape: 10 octets, little-endian: the tap's own order on x86 and arm64, and virtio 1.x's. What follows is ignored.
 * Left: under 10 octets.   Source: virtio 1.2 §5.1.6, linux/virtio_net.h.
 */
export const VnetHeader: t.Type<VnetHeader, Uint8Array, Octets> = wireCodec('VnetHeader', decodeVnet, (h) => {
  const b = new Uint8Array(VNET_LEN)
  writeVnet(new DataView(b.buffer), 0, h)
  return b
})
