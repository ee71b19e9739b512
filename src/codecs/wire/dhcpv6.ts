import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { type InAny, readV6, writeV6 } from '../value/inany.js'
import { bytesOf, copyOf, joined, type Octets, sub } from '../value/octets.js'
import { type NameList, PlainNameList } from './dns-name.js'

/** Message types, RFC 8415 §7.3 */
export const SOLICIT = 1
export const ADVERTISE = 2
export const REQUEST = 3
export const CONFIRM = 4
export const RENEW = 5
export const REBIND = 6
export const REPLY = 7
export const RELEASE = 8
export const DECLINE = 9
export const INFORMATION_REQUEST = 11
const RELAY_FORW = 12
const RELAY_REPL = 13

/** Status codes, RFC 8415 §21.13 */
export const STATUS_SUCCESS = 0
export const STATUS_NO_ADDRS_AVAIL = 2
export const STATUS_NO_BINDING = 3
export const STATUS_NOT_ON_LINK = 4
export const STATUS_NO_PREFIX_AVAIL = 6

/** Flags of the Client FQDN option, RFC 4704 §4.1 */
export const FQDN_S = 0x01
export const FQDN_O = 0x02

/** An option that has no structure here, or stands where it has none. */
interface Opaque {
  readonly tag: 'Opaque'
  readonly code: number
  readonly data: Uint8Array
}
/** §21.13. `message` is UTF-8 on the wire; one character per octet here. */
export interface StatusCode {
  readonly tag: 'StatusCode'
  readonly status: number
  readonly message: string
}
/** §21.6; only inside IA_NA and IA_TA. Lifetimes in s. */
export interface IaAddr {
  readonly tag: 'IaAddr'
  readonly addr: InAny
  readonly preferred: number
  readonly valid: number
  readonly options: ReadonlyArray<StatusCode | Opaque>
}
export type IaOption = IaAddr | StatusCode | Opaque
/** §21.4, and §21.21 for prefix delegation, whose prefixes stay opaque. T1, T2 in s. */
export interface Ia {
  readonly tag: 'IaNa' | 'IaPd'
  readonly iaid: number
  readonly t1: number
  readonly t2: number
  readonly options: ReadonlyArray<IaOption>
}
/** §21.5 */
export interface IaTa {
  readonly tag: 'IaTa'
  readonly iaid: number
  readonly options: ReadonlyArray<IaOption>
}
export type Dhcp6Option =
  /** §21.2, §21.3; a DUID of 1-130 octets (§11.1). */
  | { readonly tag: 'ClientId'; readonly duid: Uint8Array }
  | { readonly tag: 'ServerId'; readonly duid: Uint8Array }
  | Ia
  | IaTa
  | StatusCode
  /** §21.7 */
  | { readonly tag: 'OptionRequest'; readonly codes: ReadonlyArray<number> }
  /** §21.14 */
  | { readonly tag: 'RapidCommit' }
  /** RFC 3646 §3 */
  | { readonly tag: 'DnsServers'; readonly addrs: ReadonlyArray<InAny> }
  /** RFC 3646 §4 */
  | { readonly tag: 'DomainList'; readonly names: NameList }
  /** RFC 4704 §4; the name as it stands, since a partial one has no root label. */
  | { readonly tag: 'ClientFqdn'; readonly flags: number; readonly name: Uint8Array }
  | Opaque

/** A message between client and server (§8). */
export interface Dhcp6Message {
  readonly msgType: number
  /** 24 bits */
  readonly xid: number
  readonly options: ReadonlyArray<Dhcp6Option>
}

const CODES = {
  ClientId: 1,
  ServerId: 2,
  IaNa: 3,
  IaTa: 4,
  IaAddr: 5,
  OptionRequest: 6,
  StatusCode: 13,
  RapidCommit: 14,
  DnsServers: 23,
  DomainList: 24,
  IaPd: 25,
  ClientFqdn: 39
} as const
/** DUID with its 2-octet type, §11.1 */
const MAX_DUID = 130
const HEADER_LEN = 4
const OPTION_HEADER_LEN = 4

/** Where an option stands decides which codes have structure there; nesting therefore ends at depth 3. */
type Level = 'message' | 'ia' | 'address'
const LEVELS: { readonly [L in Level]: ReadonlySet<number> } = {
  message: new Set([1, 2, 3, 4, 6, 13, 14, 23, 24, 25, 39]),
  ia: new Set([5, 13]),
  address: new Set([13])
}

const latin1 = (o: Octets): string => String.fromCharCode(...bytesOf(o).subarray(0, 1024))
const u32 = (o: Octets, at: number): number => o.view.getUint32(o.off + at)

/** All options of `o`, or the reason why one is malformed. */
const optionsAt = (o: Octets, level: Level): ReadonlyArray<Dhcp6Option | IaAddr> | string => {
  const out: (Dhcp6Option | IaAddr)[] = []
  for (let i = 0; i < o.len; ) {
    if (i + OPTION_HEADER_LEN > o.len) return 'option cut off'
    const code = o.view.getUint16(o.off + i)
    const len = o.view.getUint16(o.off + i + 2)
    if (i + OPTION_HEADER_LEN + len > o.len) return `option ${code} of ${len} octets runs out of its field`
    const data = sub(o, i + OPTION_HEADER_LEN, len)
    const option = LEVELS[level].has(code)
      ? optionOf(code, data)
      : ({ tag: 'Opaque', code, data: copyOf(data) } as const)
    if (typeof option === 'string') return `option ${code}: ${option}`
    out.push(option)
    i += OPTION_HEADER_LEN + len
  }
  return out
}

/** One option with structure; `code` is one of LEVELS. */
const optionOf = (code: number, o: Octets): Dhcp6Option | IaAddr | string => {
  switch (code) {
    case CODES.ClientId:
    case CODES.ServerId:
      if (o.len < 1 || o.len > MAX_DUID) return `DUID of ${o.len} octets`
      return { tag: code === CODES.ClientId ? 'ClientId' : 'ServerId', duid: copyOf(o) }
    case CODES.IaNa:
    case CODES.IaPd: {
      if (o.len < 12) return 'under 12 octets'
      const options = optionsAt(sub(o, 12), 'ia') as ReadonlyArray<IaOption> | string
      if (typeof options === 'string') return options
      const tag = code === CODES.IaNa ? 'IaNa' : 'IaPd'
      return { tag, iaid: u32(o, 0), t1: u32(o, 4), t2: u32(o, 8), options }
    }
    case CODES.IaTa: {
      if (o.len < 4) return 'under 4 octets'
      const options = optionsAt(sub(o, 4), 'ia') as ReadonlyArray<IaOption> | string
      return typeof options === 'string' ? options : { tag: 'IaTa', iaid: u32(o, 0), options }
    }
    case CODES.IaAddr: {
      if (o.len < 24) return 'under 24 octets'
      const options = optionsAt(sub(o, 24), 'address') as ReadonlyArray<StatusCode | Opaque> | string
      if (typeof options === 'string') return options
      return { tag: 'IaAddr', addr: readV6(o.view, o.off), preferred: u32(o, 16), valid: u32(o, 20), options }
    }
    case CODES.OptionRequest:
      if (o.len % 2 !== 0) return 'odd length'
      return {
        tag: 'OptionRequest',
        codes: Array.from({ length: o.len / 2 }, (_, i) => o.view.getUint16(o.off + 2 * i))
      }
    case CODES.StatusCode:
      if (o.len < 2 || o.len > 1026) return `${o.len} octets`
      return { tag: 'StatusCode', status: o.view.getUint16(o.off), message: latin1(sub(o, 2)) }
    case CODES.RapidCommit:
      return o.len === 0 ? { tag: 'RapidCommit' } : 'not empty'
    case CODES.DnsServers:
      if (o.len % 16 !== 0) return 'not a multiple of 16 octets'
      return {
        tag: 'DnsServers',
        addrs: Array.from({ length: o.len / 16 }, (_, i) => readV6(o.view, o.off + 16 * i))
      }
    case CODES.DomainList: {
      const names = PlainNameList.decode(o)
      return E.isLeft(names) ? 'malformed names' : { tag: 'DomainList', names: names.right }
    }
    default: // CODES.ClientFqdn
      if (o.len < 1) return 'empty'
      return { tag: 'ClientFqdn', flags: o.view.getUint8(o.off), name: copyOf(sub(o, 1)) }
  }
}

const decode = (o: Octets): Dhcp6Message | string => {
  if (o.len < HEADER_LEN) return `need ${HEADER_LEN} octets, have ${o.len}`
  const msgType = o.view.getUint8(o.off)
  if (msgType === RELAY_FORW || msgType === RELAY_REPL) return 'relay message' // another header, §9
  const options = optionsAt(sub(o, HEADER_LEN), 'message') as ReadonlyArray<Dhcp6Option> | string
  return typeof options === 'string' ? options : { msgType, xid: u32(o, 0) & 0xffffff, options }
}

// --- encoding

const words32 = (...words: number[]): Uint8Array => {
  const view = new DataView(new ArrayBuffer(4 * words.length))
  for (const [i, w] of words.entries()) view.setUint32(4 * i, w)
  return new Uint8Array(view.buffer)
}
const words16 = (...words: number[]): Uint8Array => Uint8Array.from(words.flatMap((w) => [w >>> 8, w & 0xff]))
const addrs16 = (addrs: ReadonlyArray<InAny>): Uint8Array => {
  const view = new DataView(new ArrayBuffer(16 * addrs.length))
  for (const [i, a] of addrs.entries()) writeV6(view, 16 * i, a)
  return new Uint8Array(view.buffer)
}
const text = (s: string): Uint8Array => Uint8Array.from(s, (c) => c.charCodeAt(0))

const dataOf = (o: Dhcp6Option | IaAddr): Uint8Array => {
  switch (o.tag) {
    case 'ClientId':
    case 'ServerId':
      return o.duid
    case 'IaNa':
    case 'IaPd':
      return joined([words32(o.iaid, o.t1, o.t2), ...o.options.map(encodeOption)])
    case 'IaTa':
      return joined([words32(o.iaid), ...o.options.map(encodeOption)])
    case 'IaAddr':
      return joined([addrs16([o.addr]), words32(o.preferred, o.valid), ...o.options.map(encodeOption)])
    case 'StatusCode':
      return joined([words16(o.status), text(o.message)])
    case 'OptionRequest':
      return words16(...o.codes)
    case 'RapidCommit':
      return new Uint8Array(0)
    case 'DnsServers':
      return addrs16(o.addrs)
    case 'DomainList':
      return PlainNameList.encode(o.names)
    case 'ClientFqdn':
      return joined([Uint8Array.of(o.flags), o.name])
    case 'Opaque':
      return o.data
  }
}

/** Code, length, data (§21.1). */
export const encodeOption = (o: Dhcp6Option | IaAddr): Uint8Array => {
  const data = dataOf(o)
  return joined([words16(o.tag === 'Opaque' ? o.code : CODES[o.tag], data.length), data])
}

/**
 * Shape: message type (1), transaction id (3), options; IA_NA, IA_TA, IA_PD and IAADDR hold options in turn. An option
 * is structured where the RFC lets it stand and `Opaque` elsewhere, so nothing on the wire nests without bound.
 * Left: under 4 octets; relay messages; an option that runs out of its field or whose data is malformed (§16 allows to
 * discard the message then).
 * Law: decode(encode(m)) = right(m).   Source: RFC 8415 §8, §21; RFC 3646; RFC 4704
 */
export const Dhcp6Message: t.Type<Dhcp6Message, Uint8Array, Octets> = wireCodec('Dhcp6Message', decode, (m) =>
  joined([words32(((m.msgType << 24) | m.xid) >>> 0), ...m.options.map(encodeOption)])
)

/** The first option with this tag. */
export const optionTagged = <T extends Dhcp6Option['tag']>(
  m: Dhcp6Message,
  tag: T
): Extract<Dhcp6Option, { tag: T }> | null =>
  (m.options.find((o) => o.tag === tag) as Extract<Dhcp6Option, { tag: T }> | undefined) ?? null
