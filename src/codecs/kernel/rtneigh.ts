import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import type { InAny } from '../value/inany.js'
import { type Octets, sub } from '../value/octets.js'
import type { Mac } from '../wire/ethernet.js'
import { type Attribute, concat, decodeAttributes, encodeAttributes, LE } from './netlink.js'
import { addrBytes, addrOf, attr, macBytes, macOf, reader } from './rtnetlink.js'

// linux/neighbour.h, linux/rtnetlink.h
export const RTM_NEWNEIGH = 28
export const RTM_DELNEIGH = 29
export const RTM_GETNEIGH = 30
/** Bit of the group that hears of neighbours. */
export const RTMGRP_NEIGH = 4

export const NUD_INCOMPLETE = 0x01
export const NUD_REACHABLE = 0x02
export const NUD_STALE = 0x04
export const NUD_DELAY = 0x08
export const NUD_PROBE = 0x10
export const NUD_FAILED = 0x20
export const NUD_NOARP = 0x40
export const NUD_PERMANENT = 0x80

const NDA = { DST: 1, LLADDR: 2 } as const

export interface Neighbour {
  readonly family: number
  /** Interface. */
  readonly index: number
  /** NUD_* */
  readonly state: number
  readonly addr: InAny | null
  /** null: unknown, or not that of an Ethernet. */
  readonly mac: Mac | null
  readonly other: ReadonlyArray<Attribute>
}

/**
 * Payload of RTM_NEWNEIGH and RTM_DELNEIGH. struct ndmsg: FAMILY 0, IFINDEX 4, STATE 8, FLAGS 10, TYPE 11; attributes at 12.
 * Left: shorter than that, or an attribute out of bounds. Law: decode(encode(n)) = right(n).   Source: rtnetlink(7)
 */
export const Neighbour: t.Type<Neighbour, Uint8Array, Octets> = wireCodec(
  'Neighbour',
  (o) => {
    if (o.len < 12) return `neighbour of ${o.len} octets`
    const attributes = decodeAttributes(sub(o, 12))
    if (typeof attributes === 'string') return attributes
    const a = reader(attributes)
    const family = o.view.getUint8(o.off)
    return {
      family,
      index: o.view.getInt32(o.off + 4, LE),
      state: o.view.getUint16(o.off + 8, LE),
      addr: a.take(NDA.DST, (d) => addrOf(family, d)),
      mac: a.take(NDA.LLADDR, macOf),
      other: a.rest()
    }
  },
  (n) => {
    const h = new Uint8Array(12)
    const v = new DataView(h.buffer)
    v.setUint8(0, n.family)
    v.setInt32(4, n.index, LE)
    v.setUint16(8, n.state, LE)
    const attributes = [
      ...attr(NDA.DST, n.addr, (x) => addrBytes(n.family, x)),
      ...attr(NDA.LLADDR, n.mac, macBytes),
      ...n.other
    ]
    return concat([h, encodeAttributes(attributes)])
  }
)
