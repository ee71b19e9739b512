import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { bytesOf, type Octets, sub } from '../value/octets.js'
import { ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, type Mac, readMac, writeMac } from '../wire/ethernet.js'

// Link types of captures that hold IP, by their numbers (draft-ietf-opsawg-pcaplinktype §2).
export const LINK_NULL = 0
export const LINK_ETHERNET = 1
export const LINK_RAW_BSD = 12
export const LINK_RAW_OPENBSD = 14
export const LINK_RAW = 101
export const LINK_LOOP = 108
export const LINK_LINUX_SLL = 113
export const LINK_IPV4 = 228
export const LINK_IPV6 = 229
export const LINK_LINUX_SLL2 = 276

/** What stands in front of a packet in a capture, as far as it is of interest. */
export interface LinkHeader {
  /** EtherType of the packet, behind any VLAN tags. */
  readonly type: number
  /** Sender's address on the link; null: the link has none, or not of six octets. */
  readonly src: Mac | null
  /** Receiver's address; null: not said. */
  readonly dst: Mac | null
  /** The outermost VLAN, or 0. */
  readonly vlan: number
  /** The interface, where the capture says so of each frame (Linux cooked v2); else 0. */
  readonly ifIndex: number
}
/** A header, and where the packet behind it lies in the input's view. */
export interface LinkAt extends LinkHeader {
  readonly off: number
  readonly len: number
}
/** A whole frame. */
export interface LinkFrame extends LinkHeader {
  readonly payload: Uint8Array
}

const VLAN_TYPES = [0x8100, 0x88a8, 0x9100] // IEEE 802.1Q §9.5
const VLAN_LEN = 4
const SLL_LEN = 16
const SLL2_LEN = 20
/** AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS; AF_INET is 2 everywhere (pcap-linktype(7)). */
const AF_INET = 2
const AF_INET6 = [10, 24, 28, 30]

const NO_LINK = { src: null, dst: null, vlan: 0, ifIndex: 0 } as const

/** Type at `at` of the input, and VLAN tags, which come in front of it. */
const tagged = (o: Octets, at: number, header: Omit<LinkHeader, 'type' | 'vlan'>): LinkAt | string => {
  let type = o.view.getUint16(o.off + at)
  let from = at + 2
  let vlan = 0
  while (VLAN_TYPES.includes(type)) {
    if (from + VLAN_LEN > o.len) return 'link: VLAN tag is cut'
    if (vlan === 0) vlan = o.view.getUint16(o.off + from) & 0xfff
    type = o.view.getUint16(o.off + from + 2)
    from += VLAN_LEN
  }
  return { ...header, type, vlan, off: o.off + from, len: o.len - from }
}

const ip = (o: Octets, from: number, version: number): LinkAt | string => {
  if (version !== 4 && version !== 6) return `link: IP version ${version}`
  const type = version === 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6
  return { ...NO_LINK, type, off: o.off + from, len: o.len - from }
}

/** Host byte order of whoever captured (LINK_NULL): the small one of both readings. */
const family = (o: Octets, linkType: number): LinkAt | string => {
  if (o.len < 4) return 'link: header is short'
  const big = o.view.getUint32(o.off)
  const af = linkType === LINK_LOOP ? big : Math.min(big, o.view.getUint32(o.off, true))
  if (af === AF_INET) return ip(o, 4, 4)
  return AF_INET6.includes(af) ? ip(o, 4, 6) : `link: address family ${af}`
}

const ethernet = (o: Octets): LinkAt | string =>
  o.len < ETH_LEN
    ? 'link: header is short'
    : tagged(o, 12, {
        dst: readMac(o.view, o.off),
        src: readMac(o.view, o.off + 6),
        ifIndex: 0
      })

/** `length` of the sender's address, which begins at `at`. */
const cooked = (o: Octets, at: number, length: number): Mac | null =>
  length === 6 ? readMac(o.view, o.off + at) : null

const sll = (o: Octets): LinkAt | string =>
  o.len < SLL_LEN
    ? 'link: header is short'
    : tagged(o, 14, { src: cooked(o, 6, o.view.getUint16(o.off + 4)), dst: null, ifIndex: 0 })

const sll2 = (o: Octets): LinkAt | string => {
  if (o.len < SLL2_LEN) return 'link: header is short'
  const src = cooked(o, 12, o.view.getUint8(o.off + 11))
  const at = { src, dst: null, vlan: 0, ifIndex: o.view.getUint32(o.off + 4) }
  return { ...at, type: o.view.getUint16(o.off), off: o.off + SLL2_LEN, len: o.len - SLL2_LEN }
}

/** What the frame `o` holds, by the capture's link type. A string says why that is not known. */
export const decodeLink = (linkType: number, o: Octets): LinkAt | string => {
  switch (linkType) {
    case LINK_ETHERNET:
      return ethernet(o)
    case LINK_RAW:
    case LINK_RAW_BSD:
    case LINK_RAW_OPENBSD:
    case LINK_IPV4:
    case LINK_IPV6:
      return o.len === 0 ? 'link: empty' : ip(o, 0, o.view.getUint8(o.off) >>> 4)
    case LINK_NULL:
    case LINK_LOOP:
      return family(o, linkType)
    case LINK_LINUX_SLL:
      return sll(o)
    case LINK_LINUX_SLL2:
      return sll2(o)
    default:
      return `link: type ${linkType}`
  }
}

/** Octets in front of the packet; tags are written on Ethernet and Linux cooked v1. */
const headerOf = (linkType: number, f: LinkFrame): Uint8Array => {
  const tag = f.vlan === 0 ? 0 : VLAN_LEN
  const typed = (b: Uint8Array, at: number): Uint8Array => {
    const v = new DataView(b.buffer)
    if (tag > 0) {
      v.setUint16(at, VLAN_TYPES[0]!)
      v.setUint16(at + 2, f.vlan)
    }
    v.setUint16(at + tag, f.type)
    return b
  }
  switch (linkType) {
    case LINK_ETHERNET: {
      const b = typed(new Uint8Array(ETH_LEN + tag), 12)
      writeMac(new DataView(b.buffer), 0, f.dst ?? 0)
      writeMac(new DataView(b.buffer), 6, f.src ?? 0)
      return b
    }
    case LINK_LINUX_SLL: {
      const b = typed(new Uint8Array(SLL_LEN + tag), 14)
      const v = new DataView(b.buffer)
      v.setUint16(2, 1) // ARPHRD_ETHER
      v.setUint16(4, f.src === null ? 0 : 6)
      writeMac(v, 6, f.src ?? 0)
      return b
    }
    case LINK_LINUX_SLL2: {
      const b = new Uint8Array(SLL2_LEN)
      const v = new DataView(b.buffer)
      v.setUint16(0, f.type)
      v.setUint32(4, f.ifIndex)
      v.setUint16(8, 1)
      v.setUint8(11, f.src === null ? 0 : 6)
      writeMac(v, 12, f.src ?? 0)
      return b
    }
    case LINK_NULL:
    case LINK_LOOP: {
      const b = new Uint8Array(4)
      new DataView(b.buffer).setUint32(0, f.type === ETHERTYPE_IPV6 ? 10 : 2, linkType === LINK_NULL)
      return b
    }
    default:
      return new Uint8Array(0)
  }
}

/**
 * A frame of a capture of this link type. Decoded, `payload` is a view of the input.
 * Left: cut, another link type than those above, another address family or version of IP.
 * Law: decode(encode(f)) = right(f), for what the link type can say.
 * Source: draft-ietf-opsawg-pcaplinktype §2, pcap-linktype(7); IEEE 802.3 §3, 802.1Q §9.
 */
export const linkFrame = (linkType: number): t.Type<LinkFrame, Uint8Array, Octets> =>
  wireCodec(
    `LinkFrame ${linkType}`,
    (o) => {
      const at = decodeLink(linkType, o)
      if (typeof at === 'string') return at
      const { off, len, ...header } = at
      return { ...header, payload: bytesOf(sub(o, off - o.off, len)) }
    },
    (f) => {
      const head = headerOf(linkType, f)
      const b = new Uint8Array(head.length + f.payload.length)
      b.set(head)
      b.set(f.payload, head.length)
      return b
    }
  )
