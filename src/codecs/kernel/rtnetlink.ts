import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { type InAny, isV4, readV4, readV6, writeV4, writeV6 } from '../value/inany.js'
import { bytesOf, type Octets, octets, sub } from '../value/octets.js'
import { type Mac, readMac, writeMac } from '../wire/ethernet.js'
import {
  type Attribute,
  concat,
  decodeAttributes,
  encodeAttributes,
  LE,
  NLA_F_NESTED,
  NLA_TYPE_MASK,
  textOf,
  textZ,
  u32,
  u32Of
} from './netlink.js'

// linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/if.h
export const RTM_NEWLINK = 16
export const RTM_GETLINK = 18
export const RTM_NEWADDR = 20
export const RTM_DELADDR = 21
export const RTM_DELROUTE = 25
export const RTM_GETADDR = 22
/** Bits of the groups that hear of addresses. */
export const RTMGRP_IFADDR = 0x10 | 0x100
export const RTM_NEWROUTE = 24
export const RTM_GETROUTE = 26
export const AF_UNSPEC = 0
export const AF_INET = 2
export const AF_INET6 = 10

export const IFF_UP = 0x1
export const IFF_NOARP = 0x80

export const IFA_F_NODAD = 0x02
export const IFA_F_DADFAILED = 0x08
export const IFA_F_DEPRECATED = 0x20
export const IFA_F_NOPREFIXROUTE = 0x200

export const RT_TABLE_MAIN = 254
const RT_TABLE_COMPAT = 252
export const RTPROT_KERNEL = 2
export const RTPROT_BOOT = 3
export const RT_SCOPE_UNIVERSE = 0
export const RT_SCOPE_LINK = 253
export const RTN_UNICAST = 1
export const RTN_BLACKHOLE = 6
export const RTN_UNREACHABLE = 7
export const RTN_PROHIBIT = 8
/** Nexthop reachable without a route to it; the only nexthop flag that is configuration rather than state. */
export const RTNH_F_ONLINK = 4

const IFLA = { ADDRESS: 1, IFNAME: 3, MTU: 4, PROP_LIST: 52, ALT_IFNAME: 53 } as const
const IFA = { ADDRESS: 1, LOCAL: 2, FLAGS: 8 } as const
const RTA = {
  DST: 1,
  OIF: 4,
  GATEWAY: 5,
  PRIORITY: 6,
  PREFSRC: 7,
  MULTIPATH: 9,
  CACHEINFO: 12,
  TABLE: 15,
  VIA: 18,
  EXPIRES: 23,
  NH_ID: 30
} as const
export const RTA_SRC = 2
export const RTA_METRICS = 8
export const RTA_UID = 25
/** Of an RTM_GETROUTE that asks for one route: the table it is really in, and the entry as it stands there. */
export const RTM_F_LOOKUP_TABLE = 0x1000
export const RTM_F_FIB_MATCH = 0x2000

// --- values

/** An address of `family`; null when the length does not fit it. */
export const addrOf = (family: number, d: Uint8Array): InAny | null => {
  const v = new DataView(d.buffer, d.byteOffset, d.byteLength)
  if (family === AF_INET && d.length === 4) return readV4(v, 0)
  return family === AF_INET6 && d.length === 16 ? readV6(v, 0) : null
}
export const addrBytes = (family: number, a: InAny): Uint8Array => {
  const b = new Uint8Array(family === AF_INET ? 4 : 16)
  const v = new DataView(b.buffer)
  if (family === AF_INET) writeV4(v, 0, a)
  else writeV6(v, 0, a)
  return b
}
/** struct rtvia: FAMILY 0 (16 bits), address at 2. */
const viaOf = (d: Uint8Array): InAny | null =>
  d.length < 2 ? null : addrOf(new DataView(d.buffer, d.byteOffset).getUint16(0, LE), d.subarray(2))
const viaBytes = (a: InAny): Uint8Array => {
  const family = isV4(a) ? AF_INET : AF_INET6
  return concat([Uint8Array.of(family, 0), addrBytes(family, a)])
}
export const macOf = (d: Uint8Array): Mac | null =>
  d.length === 6 ? readMac(new DataView(d.buffer, d.byteOffset), 0) : null
export const macBytes = (m: Mac): Uint8Array => {
  const b = new Uint8Array(6)
  writeMac(new DataView(b.buffer), 0, m)
  return b
}

/**
 * Attributes taken apart: `take` gives the value of the first one of a type if it can be read; `rest` has whatever
 * nobody took, in order and untouched, so that it can be given back to the kernel.
 */
export const reader = (attributes: ReadonlyArray<Attribute>) => {
  const taken = new Set<Attribute>()
  return {
    take: <A>(type: number, read: (d: Uint8Array) => A | null): A | null => {
      const a = attributes.find((x) => (x.type & NLA_TYPE_MASK) === type)
      const value = a === undefined ? null : read(a.data)
      if (a !== undefined && value !== null) taken.add(a)
      return value
    },
    rest: (): ReadonlyArray<Attribute> => attributes.filter((a) => !taken.has(a))
  }
}
/** No attribute for null. */
export const attr = <A>(
  type: number,
  value: A | null,
  bytes: (a: A) => Uint8Array
): ReadonlyArray<Attribute> => (value === null ? [] : [{ type, data: bytes(value) }])

// --- links

export interface Link {
  readonly index: number
  /** ARPHRD_*: 1 Ethernet, 772 loopback */
  readonly hardware: number
  /** IFF_* */
  readonly flags: number
  /** Which of `flags` a request changes; in answers all bits. */
  readonly change: number
  readonly name: string | null
  /** Further names of the same interface, up to ALTIFNAMSIZ - 1 octets each (ip-link(8), property). */
  readonly altNames: ReadonlyArray<string>
  /** Octets. */
  readonly mtu: number | null
  readonly mac: Mac | null
  readonly other: ReadonlyArray<Attribute>
}

const altNamesOf = (d: Uint8Array): ReadonlyArray<string> | null => {
  const properties = decodeAttributes(octets(d))
  return typeof properties === 'string'
    ? null
    : properties.filter((a) => a.type === IFLA.ALT_IFNAME).map((a) => textOf(a.data))
}
const altNameBytes = (names: ReadonlyArray<string>): Uint8Array =>
  encodeAttributes(names.map((name) => ({ type: IFLA.ALT_IFNAME, data: textZ(name) })))

/**
 * Payload of RTM_NEWLINK. struct ifinfomsg: FAMILY 0, TYPE 2, INDEX 4, FLAGS 8, CHANGE 12; attributes at 16.
 * Left: shorter than that, or an attribute out of bounds. Law: decode(encode(l)) = right(l).   Source: rtnetlink(7)
 */
export const Link: t.Type<Link, Uint8Array, Octets> = wireCodec(
  'Link',
  (o) => {
    if (o.len < 16) return `link of ${o.len} octets`
    const attributes = decodeAttributes(sub(o, 16))
    if (typeof attributes === 'string') return attributes
    const a = reader(attributes)
    return {
      index: o.view.getInt32(o.off + 4, LE),
      hardware: o.view.getUint16(o.off + 2, LE),
      flags: o.view.getUint32(o.off + 8, LE),
      change: o.view.getUint32(o.off + 12, LE),
      name: a.take(IFLA.IFNAME, textOf),
      altNames: a.take(IFLA.PROP_LIST, altNamesOf) ?? [],
      mtu: a.take(IFLA.MTU, u32Of),
      mac: a.take(IFLA.ADDRESS, macOf),
      other: a.rest()
    }
  },
  (l) => {
    const h = new Uint8Array(16)
    const v = new DataView(h.buffer)
    v.setUint16(2, l.hardware, LE)
    v.setInt32(4, l.index, LE)
    v.setUint32(8, l.flags, LE)
    v.setUint32(12, l.change, LE)
    const attributes = [
      ...attr(IFLA.IFNAME, l.name, textZ),
      ...attr(IFLA.PROP_LIST | NLA_F_NESTED, l.altNames.length > 0 ? l.altNames : null, altNameBytes),
      ...attr(IFLA.MTU, l.mtu, u32),
      ...attr(IFLA.ADDRESS, l.mac, macBytes),
      ...l.other
    ]
    return concat([h, encodeAttributes(attributes)])
  }
)

// --- addresses

export interface Address {
  readonly family: number
  readonly prefixLen: number
  /** IFA_F_*, all 32 bits (IFA_FLAGS where the kernel sends it). */
  readonly flags: number
  /** RT_SCOPE_* */
  readonly scope: number
  readonly index: number
  /** IFA_ADDRESS: the peer's on a point-to-point link, otherwise our own. Its prefix gets the kernel's route. */
  readonly address: InAny | null
  /** IFA_LOCAL: our own address, IPv4 only. */
  readonly local: InAny | null
  readonly other: ReadonlyArray<Attribute>
}

/**
 * Payload of RTM_NEWADDR. struct ifaddrmsg: FAMILY 0, PREFIXLEN 1, FLAGS 2, SCOPE 3, INDEX 4; attributes at 8.
 * Left: shorter than that, or an attribute out of bounds. Law: decode(encode(a)) = right(a).   Source: rtnetlink(7)
 */
export const Address: t.Type<Address, Uint8Array, Octets> = wireCodec(
  'Address',
  (o) => {
    if (o.len < 8) return `address of ${o.len} octets`
    const attributes = decodeAttributes(sub(o, 8))
    if (typeof attributes === 'string') return attributes
    const a = reader(attributes)
    const family = o.view.getUint8(o.off)
    return {
      family,
      prefixLen: o.view.getUint8(o.off + 1),
      flags: a.take(IFA.FLAGS, u32Of) ?? o.view.getUint8(o.off + 2),
      scope: o.view.getUint8(o.off + 3),
      index: o.view.getUint32(o.off + 4, LE),
      address: a.take(IFA.ADDRESS, (d) => addrOf(family, d)),
      local: a.take(IFA.LOCAL, (d) => addrOf(family, d)),
      other: a.rest()
    }
  },
  (a) => {
    const h = Uint8Array.of(a.family, a.prefixLen, a.flags & 0xff, a.scope, 0, 0, 0, 0)
    new DataView(h.buffer).setUint32(4, a.index, LE)
    const attributes = [
      ...attr(IFA.ADDRESS, a.address, (x) => addrBytes(a.family, x)),
      ...attr(IFA.LOCAL, a.local, (x) => addrBytes(a.family, x)),
      { type: IFA.FLAGS, data: u32(a.flags) },
      ...a.other
    ]
    return concat([h, encodeAttributes(attributes)])
  }
)

// --- routes

export interface NextHop {
  /** RTNH_F_* */
  readonly flags: number
  /** 1..256, as ip-route(8) shows it. */
  readonly weight: number
  readonly index: number
  readonly gateway: InAny | null
  readonly via: InAny | null
  readonly other: ReadonlyArray<Attribute>
}

export interface Route {
  readonly family: number
  /** Prefix length of `dst`; 0 is a default route. */
  readonly dstLen: number
  readonly srcLen: number
  readonly tos: number
  /** RTA_TABLE, else the 8-bit field. */
  readonly table: number
  readonly protocol: number
  readonly scope: number
  /** RTN_* */
  readonly type: number
  /** RTM_F_* and RTNH_F_* */
  readonly flags: number
  readonly dst: InAny | null
  readonly oif: number | null
  readonly gateway: InAny | null
  /** Gateway of the other family (RTA_VIA, RFC 5549). */
  readonly via: InAny | null
  /** Metric. */
  readonly priority: number | null
  readonly prefSrc: InAny | null
  /** Id of a nexthop object of this namespace. */
  readonly nextHopId: number | null
  /** s; remaining life of an IPv6 route, in requests. */
  readonly expires: number | null
  /** struct rta_cacheinfo, how answers tell the remaining life. */
  readonly cacheInfo: Uint8Array | null
  readonly multipath: ReadonlyArray<NextHop> | null
  readonly other: ReadonlyArray<Attribute>
}

/** A route of which nothing is said. */
export const ANY_ROUTE: Route = {
  family: AF_UNSPEC,
  dstLen: 0,
  srcLen: 0,
  tos: 0,
  table: 0,
  protocol: 0,
  scope: RT_SCOPE_UNIVERSE,
  type: 0,
  flags: 0,
  dst: null,
  oif: null,
  gateway: null,
  via: null,
  priority: null,
  prefSrc: null,
  nextHopId: null,
  expires: null,
  cacheInfo: null,
  multipath: null,
  other: []
}

/** struct rtnexthop: LEN 0, FLAGS 2, HOPS 3, IFINDEX 4; attributes at 8. null: a length out of bounds. */
const nextHopsOf =
  (family: number) =>
  (d: Uint8Array): ReadonlyArray<NextHop> | null => {
    const o = octets(d)
    const out: NextHop[] = []
    for (let at = 0; at < o.len; ) {
      const left = o.len - at
      const len = left < 8 ? 0 : o.view.getUint16(o.off + at, LE)
      if (len < 8 || len > left) return null
      const attributes = decodeAttributes(sub(o, at + 8, len - 8))
      if (typeof attributes === 'string') return null
      const a = reader(attributes)
      out.push({
        flags: o.view.getUint8(o.off + at + 2),
        weight: o.view.getUint8(o.off + at + 3) + 1,
        index: o.view.getInt32(o.off + at + 4, LE),
        gateway: a.take(RTA.GATEWAY, (x) => addrOf(family, x)),
        via: a.take(RTA.VIA, viaOf),
        other: a.rest()
      })
      at += Math.min((len + 3) & ~3, left)
    }
    return out
  }

const nextHopBytes =
  (family: number) =>
  (hops: ReadonlyArray<NextHop>): Uint8Array =>
    concat(
      hops.map((n) => {
        const attributes = encodeAttributes([
          ...attr(RTA.GATEWAY, n.gateway, (x) => addrBytes(family, x)),
          ...attr(RTA.VIA, n.via, viaBytes),
          ...n.other
        ])
        const h = Uint8Array.of(0, 0, n.flags, n.weight - 1, 0, 0, 0, 0)
        const v = new DataView(h.buffer)
        v.setUint16(0, 8 + attributes.length, LE)
        v.setInt32(4, n.index, LE)
        return concat([h, attributes])
      })
    )

/**
 * Payload of RTM_NEWROUTE. struct rtmsg: FAMILY 0, DST_LEN 1, SRC_LEN 2, TOS 3, TABLE 4, PROTOCOL 5, SCOPE 6, TYPE 7,
 * FLAGS 8; attributes at 12. What is not named here stays raw in `other`, so that a copy of a route is faithful.
 * Left: shorter than that, or an attribute out of bounds. Law: decode(encode(r)) = right(r).   Source: rtnetlink(7)
 */
export const Route: t.Type<Route, Uint8Array, Octets> = wireCodec(
  'Route',
  (o) => {
    if (o.len < 12) return `route of ${o.len} octets`
    const attributes = decodeAttributes(sub(o, 12))
    if (typeof attributes === 'string') return attributes
    const a = reader(attributes)
    const [family = 0, dstLen = 0, srcLen = 0, tos = 0, table = 0, protocol = 0, scope = 0, type = 0] =
      bytesOf(o)
    const addr = (d: Uint8Array): InAny | null => addrOf(family, d)
    return {
      family,
      dstLen,
      srcLen,
      tos,
      table: a.take(RTA.TABLE, u32Of) ?? table,
      protocol,
      scope,
      type,
      flags: o.view.getUint32(o.off + 8, LE),
      dst: a.take(RTA.DST, addr),
      oif: a.take(RTA.OIF, u32Of),
      gateway: a.take(RTA.GATEWAY, addr),
      via: a.take(RTA.VIA, viaOf),
      priority: a.take(RTA.PRIORITY, u32Of),
      prefSrc: a.take(RTA.PREFSRC, addr),
      nextHopId: a.take(RTA.NH_ID, u32Of),
      expires: a.take(RTA.EXPIRES, u32Of),
      cacheInfo: a.take(RTA.CACHEINFO, (d) => d),
      multipath: a.take(RTA.MULTIPATH, nextHopsOf(family)),
      other: a.rest()
    }
  },
  (r) => {
    const table = r.table < 256 ? r.table : RT_TABLE_COMPAT
    const h = Uint8Array.of(
      r.family,
      r.dstLen,
      r.srcLen,
      r.tos,
      table,
      r.protocol,
      r.scope,
      r.type,
      0,
      0,
      0,
      0
    )
    new DataView(h.buffer).setUint32(8, r.flags, LE)
    const addr = (x: InAny): Uint8Array => addrBytes(r.family, x)
    const attributes = [
      { type: RTA.TABLE, data: u32(r.table) },
      ...attr(RTA.DST, r.dst, addr),
      ...attr(RTA.OIF, r.oif, u32),
      ...attr(RTA.GATEWAY, r.gateway, addr),
      ...attr(RTA.VIA, r.via, viaBytes),
      ...attr(RTA.PRIORITY, r.priority, u32),
      ...attr(RTA.PREFSRC, r.prefSrc, addr),
      ...attr(RTA.NH_ID, r.nextHopId, u32),
      ...attr(RTA.EXPIRES, r.expires, u32),
      ...attr(RTA.CACHEINFO, r.cacheInfo, (x) => x),
      ...attr(RTA.MULTIPATH, r.multipath, nextHopBytes(r.family)),
      ...r.other
    ]
    return concat([h, encodeAttributes(attributes)])
  }
)
