import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { type InAny, readV6, writeV6 } from '../value/inany.js'
import { copyOf, joined, type Octets, sub } from '../value/octets.js'
import { type NameList, PaddedNameList } from './dns-name.js'
import { type Mac, readMac, writeMac } from './ethernet.js'
import {
  NDP_NEIGHBOUR_ADVERTISEMENT,
  NDP_NEIGHBOUR_SOLICITATION,
  NDP_ROUTER_ADVERTISEMENT,
  NDP_ROUTER_SOLICITATION
} from './icmpv6.js'

/** Option lifetimes in s; 0xffffffff is infinity. */
export type NdpOption =
  /** RFC 4861 §4.6.1, types 1 and 2, for Ethernet (RFC 2464 §6) */
  | { readonly tag: 'SourceLla' | 'TargetLla'; readonly mac: Mac }
  /** §4.6.2 */
  | {
      readonly tag: 'Prefix'
      readonly prefixLen: number
      readonly onLink: boolean
      readonly autonomous: boolean
      readonly valid: number
      readonly preferred: number
      readonly prefix: InAny
    }
  /** §4.6.4 */
  | { readonly tag: 'Mtu'; readonly mtu: number }
  /** RFC 8106 §5.1; one address at least */
  | { readonly tag: 'Rdnss'; readonly lifetime: number; readonly addrs: ReadonlyArray<InAny> }
  /** RFC 8106 §5.2; one name at least */
  | { readonly tag: 'Dnssl'; readonly lifetime: number; readonly names: NameList }
  /** Any other; `data` without type and length is 8n + 6 octets. */
  | { readonly tag: 'Opaque'; readonly type: number; readonly data: Uint8Array }

export type NdpMessage =
  | { readonly tag: 'RouterSolicit'; readonly options: ReadonlyArray<NdpOption> }
  | {
      readonly tag: 'RouterAdvert'
      readonly hopLimit: number
      readonly managed: boolean
      readonly otherConfig: boolean
      /** s */
      readonly lifetime: number
      /** ms */
      readonly reachable: number
      /** ms */
      readonly retrans: number
      readonly options: ReadonlyArray<NdpOption>
    }
  | { readonly tag: 'NeighbourSolicit'; readonly target: InAny; readonly options: ReadonlyArray<NdpOption> }
  | {
      readonly tag: 'NeighbourAdvert'
      readonly router: boolean
      readonly solicited: boolean
      readonly override: boolean
      readonly target: InAny
      readonly options: ReadonlyArray<NdpOption>
    }

const OPT_SOURCE_LLA = 1
const OPT_TARGET_LLA = 2
const OPT_PREFIX = 3
const OPT_MTU = 5
const OPT_RDNSS = 25
const OPT_DNSSL = 31

/** Octets in front of the options, by ICMPv6 type. */
const FIXED_LEN: { readonly [type: number]: number } = {
  [NDP_ROUTER_SOLICITATION]: 8,
  [NDP_ROUTER_ADVERTISEMENT]: 16,
  [NDP_NEIGHBOUR_SOLICITATION]: 24,
  [NDP_NEIGHBOUR_ADVERTISEMENT]: 24
}

// --- decoding

/** `o` is one option, type and length included, `o.len` a positive multiple of 8. */
const optionAt = (o: Octets): NdpOption | string => {
  const { view, off } = o
  const type = view.getUint8(off)
  if ((type === OPT_SOURCE_LLA || type === OPT_TARGET_LLA) && o.len === 8)
    return { tag: type === OPT_SOURCE_LLA ? 'SourceLla' : 'TargetLla', mac: readMac(view, off + 2) }
  if (type === OPT_PREFIX && o.len === 32) {
    const flags = view.getUint8(off + 3)
    return {
      tag: 'Prefix',
      prefixLen: view.getUint8(off + 2),
      onLink: (flags & 0x80) !== 0,
      autonomous: (flags & 0x40) !== 0,
      valid: view.getUint32(off + 4),
      preferred: view.getUint32(off + 8),
      prefix: readV6(view, off + 16)
    }
  }
  if (type === OPT_MTU && o.len === 8) return { tag: 'Mtu', mtu: view.getUint32(off + 4) }
  if (type === OPT_RDNSS && o.len >= 24 && o.len % 16 === 8) {
    const addrs = Array.from({ length: (o.len - 8) / 16 }, (_, i) => readV6(view, off + 8 + 16 * i))
    return { tag: 'Rdnss', lifetime: view.getUint32(off + 4), addrs }
  }
  if (type === OPT_DNSSL && o.len >= 16) {
    const names = PaddedNameList.decode(sub(o, 8))
    if (E.isLeft(names) || names.right.length === 0) return 'malformed DNSSL'
    return { tag: 'Dnssl', lifetime: view.getUint32(off + 4), names: names.right }
  }
  return { tag: 'Opaque', type, data: copyOf(sub(o, 2)) }
}

const optionsAt = (o: Octets): ReadonlyArray<NdpOption> | string => {
  const out: NdpOption[] = []
  for (let i = 0; i < o.len; ) {
    if (i + 8 > o.len) return 'option cut off'
    const len = 8 * o.view.getUint8(o.off + i + 1)
    if (len === 0) return 'option of length 0' // the whole message is to be discarded, §4.6
    if (i + len > o.len) return 'option runs out of the message'
    const option = optionAt(sub(o, i, len))
    if (typeof option === 'string') return option
    out.push(option)
    i += len
  }
  return out
}

const decode = (o: Octets): NdpMessage | string => {
  const { view, off } = o
  if (o.len < 8) return `need 8 octets, have ${o.len}`
  const type = view.getUint8(off)
  const fixed = FIXED_LEN[type]
  if (fixed === undefined) return `ICMPv6 type ${type}`
  if (view.getUint8(off + 1) !== 0) return 'code not 0'
  if (o.len < fixed) return `need ${fixed} octets, have ${o.len}`
  const options = optionsAt(sub(o, fixed))
  if (typeof options === 'string') return options
  if (type === NDP_ROUTER_SOLICITATION) return { tag: 'RouterSolicit', options }
  if (type === NDP_ROUTER_ADVERTISEMENT) {
    const flags = view.getUint8(off + 5)
    return {
      tag: 'RouterAdvert',
      hopLimit: view.getUint8(off + 4),
      managed: (flags & 0x80) !== 0,
      otherConfig: (flags & 0x40) !== 0,
      lifetime: view.getUint16(off + 6),
      reachable: view.getUint32(off + 8),
      retrans: view.getUint32(off + 12),
      options
    }
  }
  const target = readV6(view, off + 8)
  if (type === NDP_NEIGHBOUR_SOLICITATION) return { tag: 'NeighbourSolicit', target, options }
  const flags = view.getUint8(off + 4)
  return {
    tag: 'NeighbourAdvert',
    router: (flags & 0x80) !== 0,
    solicited: (flags & 0x40) !== 0,
    override: (flags & 0x20) !== 0,
    target,
    options
  }
}

// --- encoding

const fresh = (type: number, octets: number): DataView => {
  const view = new DataView(new ArrayBuffer(octets))
  view.setUint8(0, type)
  return view
}
const bytes = (view: DataView): Uint8Array => new Uint8Array(view.buffer)
/** An option's buffer, its length field set. */
const option = (type: number, octets: number): DataView => {
  const view = fresh(type, octets)
  view.setUint8(1, octets / 8)
  return view
}

/** Octets of an option with `data` octets behind its first 8: whole units of 8, and no more (§4.6). */
const withUnits = (data: number): number => 8 + 8 * Math.ceil(data / 8)

export const encodeNdpOption = (o: NdpOption): Uint8Array => {
  switch (o.tag) {
    case 'SourceLla':
    case 'TargetLla': {
      const view = option(o.tag === 'SourceLla' ? OPT_SOURCE_LLA : OPT_TARGET_LLA, 8)
      writeMac(view, 2, o.mac)
      return bytes(view)
    }
    case 'Prefix': {
      const view = option(OPT_PREFIX, 32)
      view.setUint8(2, o.prefixLen)
      view.setUint8(3, (o.onLink ? 0x80 : 0) | (o.autonomous ? 0x40 : 0))
      view.setUint32(4, o.valid)
      view.setUint32(8, o.preferred)
      writeV6(view, 16, o.prefix)
      return bytes(view)
    }
    case 'Mtu': {
      const view = option(OPT_MTU, 8)
      view.setUint32(4, o.mtu)
      return bytes(view)
    }
    case 'Rdnss': {
      const view = option(OPT_RDNSS, 8 + 16 * o.addrs.length)
      view.setUint32(4, o.lifetime)
      for (const [i, a] of o.addrs.entries()) writeV6(view, 8 + 16 * i, a)
      return bytes(view)
    }
    case 'Dnssl': {
      const names = PaddedNameList.encode(o.names)
      const view = option(OPT_DNSSL, withUnits(names.length))
      view.setUint32(4, o.lifetime)
      bytes(view).set(names, 8)
      return bytes(view)
    }
    case 'Opaque': {
      const view = option(o.type, 2 + o.data.length)
      bytes(view).set(o.data, 2)
      return bytes(view)
    }
  }
}

const fixedPart = (m: NdpMessage): DataView => {
  switch (m.tag) {
    case 'RouterSolicit':
      return fresh(NDP_ROUTER_SOLICITATION, 8)
    case 'RouterAdvert': {
      const view = fresh(NDP_ROUTER_ADVERTISEMENT, 16)
      view.setUint8(4, m.hopLimit)
      view.setUint8(5, (m.managed ? 0x80 : 0) | (m.otherConfig ? 0x40 : 0))
      view.setUint16(6, m.lifetime)
      view.setUint32(8, m.reachable)
      view.setUint32(12, m.retrans)
      return view
    }
    case 'NeighbourSolicit': {
      const view = fresh(NDP_NEIGHBOUR_SOLICITATION, 24)
      writeV6(view, 8, m.target)
      return view
    }
    case 'NeighbourAdvert': {
      const view = fresh(NDP_NEIGHBOUR_ADVERTISEMENT, 24)
      view.setUint8(4, (m.router ? 0x80 : 0) | (m.solicited ? 0x40 : 0) | (m.override ? 0x20 : 0))
      writeV6(view, 8, m.target)
      return view
    }
  }
}

const encode = (m: NdpMessage): Uint8Array => joined([bytes(fixedPart(m)), ...m.options.map(encodeNdpOption)])

/**
 * Shape: an ICMPv6 message from its type octet on: type, code, checksum (2), fixed part, options in units of 8 octets.
 * The checksum is encoded as 0 and not looked at: it needs the addresses (checksum.ts).
 * Left: other types; code not 0; too short; an option of length 0 or that runs out of the message; malformed DNSSL.
 * Law: decode(encode(m)) = right(m).   Source: RFC 4861 §4, RFC 8106 §5
 */
export const NdpMessage: t.Type<NdpMessage, Uint8Array, Octets> = wireCodec('NdpMessage', decode, encode)
