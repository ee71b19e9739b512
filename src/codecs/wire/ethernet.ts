import * as O from 'fp-ts/lib/Option.js'
import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { bytesOf, type Octets, sub } from '../value/octets.js'

/** A MAC address as a 48-bit integer, first octet on top: comparable with ===, usable as a Map key. */
export type Mac = number

export const BROADCAST_MAC: Mac = 0xffffffffffff
export const ZERO_MAC: Mac = 0

/** Exactly `xx:xx:xx:xx:xx:xx`, 17 characters, hexadecimal in either case. */
export const parseMac = (text: string): O.Option<Mac> =>
  /^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)
    ? O.some(Number.parseInt(text.replaceAll(':', ''), 16))
    : O.none
/** Law: parseMac(showMac(m)) = some(m). */
export const showMac = (m: Mac): string =>
  m
    .toString(16)
    .padStart(12, '0')
    .replace(/..(?=.)/g, '$&:')

/** Individual/group bit (IEEE 802 §8.2): multicast and broadcast. */
export const isGroupMac = (m: Mac): boolean => (Math.floor(m / 0x10000000000) & 1) === 1
export const isMac = (u: unknown): u is Mac =>
  Number.isSafeInteger(u) && Number(u) >= 0 && Number(u) <= BROADCAST_MAC

export const readMac = (view: DataView, off: number): Mac =>
  view.getUint16(off) * 0x100000000 + view.getUint32(off + 2)
/** Returns octets written: 6. */
export const writeMac = (view: DataView, off: number, m: Mac): number => {
  view.setUint16(off, Math.floor(m / 0x100000000))
  view.setUint32(off + 2, m % 0x100000000)
  return 6
}

export const ETHERTYPE_IPV4 = 0x0800
export const ETHERTYPE_ARP = 0x0806
export const ETHERTYPE_IPV6 = 0x86dd

/** Octets. */
export const ETH_LEN = 14
/** Shortest frame without FCS (IEEE 802.3 §4.2.3.3): shorter ones are padded with zeros (#regression-78). */
export const ETH_MIN = 60

export interface EthernetHeader {
  readonly dst: Mac
  readonly src: Mac
  readonly type: number
}
export interface EthernetFrame extends EthernetHeader {
  /** Behind the header, padding included; decoded, it is a view of the input. */
  readonly payload: Uint8Array
}

const DST = 0
const SRC = 6
const TYPE = 12 // offsets in octets, IEEE 802.3 §3.1.1

export type EthernetDrop = 'eth-short'

export const decodeEthernetAt = (view: DataView, off: number, len: number): EthernetHeader | EthernetDrop =>
  len < ETH_LEN
    ? 'eth-short'
    : { dst: readMac(view, off + DST), src: readMac(view, off + SRC), type: view.getUint16(off + TYPE) }
export const decodeEthernet = (o: Octets): EthernetHeader | EthernetDrop =>
  decodeEthernetAt(o.view, o.off, o.len)

/** Returns octets written: 14. */
export const writeEthernet = (view: DataView, off: number, h: EthernetHeader): number => {
  writeMac(view, off + DST, h.dst)
  writeMac(view, off + SRC, h.src)
  view.setUint16(off + TYPE, h.type)
  return ETH_LEN
}

/**
 * Shape: destination (6), source (6), EtherType (2), payload. No FCS, no VLAN tag: 0x8100 is an EtherType like any other.
 * Left: under 14 octets. Encoding does not pad.   Source: IEEE 802.3 §3.
 */
export const EthernetFrame: t.Type<EthernetFrame, Uint8Array, Octets> = wireCodec(
  'EthernetFrame',
  (o) => {
    const h = decodeEthernet(o)
    return typeof h === 'string' ? h : { ...h, payload: bytesOf(sub(o, ETH_LEN)) }
  },
  (f) => {
    const b = new Uint8Array(ETH_LEN + f.payload.length)
    writeEthernet(new DataView(b.buffer), 0, f)
    b.set(f.payload, ETH_LEN)
    return b
  }
)
