import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { type InAny, readV4, writeV4 } from '../value/inany.js'
import type { Octets } from '../value/octets.js'
import { type Mac, readMac, writeMac } from './ethernet.js'

export const ARP_REQUEST = 1
export const ARP_REPLY = 2

/** ARP for IPv4 over Ethernet. Names as in RFC 826: sender/target, hardware/protocol address. */
export interface ArpPacket {
  readonly op: number
  readonly sha: Mac
  readonly spa: InAny
  readonly tha: Mac
  readonly tpa: InAny
}

// Offsets in octets, RFC 826 «Packet format»
const HTYPE = 0
const PTYPE = 2
const HLEN = 4
const PLEN = 5
const OP = 6
const SHA = 8
const SPA = 14
const THA = 18
const TPA = 24
/** Octets. */
export const ARP_LEN = 28

const HTYPE_ETHERNET = 1
const PTYPE_IPV4 = 0x0800

/**
 * Shape: 28 octets; what follows is Ethernet padding and dropped.
 * Left: shorter; hardware type not Ethernet, protocol not IPv4, address lengths not 6 and 4. Any operation decodes.
 * Law: decode(encode(p)) = right(p).   Source: RFC 826
 */
export const ArpPacket: t.Type<ArpPacket, Uint8Array, Octets> = wireCodec(
  'ArpPacket',
  ({ view, off, len }) => {
    if (len < ARP_LEN) return `need ${ARP_LEN} octets, have ${len}`
    if (view.getUint16(off + HTYPE) !== HTYPE_ETHERNET) return 'hardware type not Ethernet'
    if (view.getUint16(off + PTYPE) !== PTYPE_IPV4) return 'protocol type not IPv4'
    if (view.getUint8(off + HLEN) !== 6 || view.getUint8(off + PLEN) !== 4)
      return 'address lengths not 6 and 4'
    return {
      op: view.getUint16(off + OP),
      sha: readMac(view, off + SHA),
      spa: readV4(view, off + SPA),
      tha: readMac(view, off + THA),
      tpa: readV4(view, off + TPA)
    }
  },
  (p) => {
    const b = new Uint8Array(ARP_LEN)
    const view = new DataView(b.buffer)
    view.setUint16(HTYPE, HTYPE_ETHERNET)
    view.setUint16(PTYPE, PTYPE_IPV4)
    view.setUint8(HLEN, 6)
    view.setUint8(PLEN, 4)
    view.setUint16(OP, p.op)
    writeMac(view, SHA, p.sha)
    writeV4(view, SPA, p.spa)
    writeMac(view, THA, p.tha)
    writeV4(view, TPA, p.tpa)
    return b
  }
)
