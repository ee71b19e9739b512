import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import { inBase64 } from '../value/base64.js'
import { wireCodec } from '../value/codec.js'
import { type InAny, isUnspecified, readV6, sameAddr, UNSPECIFIED6, writeV6 } from '../value/inany.js'
import { octetsOfText, textOfOctets } from '../value/octet-text.js'
import { copyOf, joined, type Octets, octets, sub } from '../value/octets.js'

// What is said at a control socket (-c, --conf-path): the server tells all of its rules, the client closes, or tells all that there are to
// be; then the server closes. Nothing is acknowledged, nothing has a length or a type: each side reads what the grammar calls for.
//
//   server part = hello *( pif id, pif info, rules ) 0x00      client part = *( pif id, number of rules, rules ) 0x00
//
// All numbers are in network order, nothing is padded.

/** The one that is spoken; 1 has rules without a target address. */
export const CONF_VERSION = 2
export type ConfVersion = 1 | 2
/** Rules of one table. */
export const CONF_RULES_MAX = 255
/** Tables in a server part; parts about a table in what a client says, where one may come again. */
const TABLES_MAX = 3
const BLOCKS_MAX = 16

export const PIF = { HOST: 1, TAP: 2, SPLICE: 3 } as const

/** Bits of a table's capabilities. */
export const CAP_V4 = 0x01
export const CAP_V6 = 0x02
export const CAP_TCP = 0x04
export const CAP_UDP = 0x08
/** `auto`. */
export const CAP_SCAN = 0x10
/** Listening on an interface. */
export const CAP_DEVICE = 0x20

export interface ConfRule {
  /** Listened on; any address of one IP version: 0.0.0.0 or :: */
  readonly address: InAny
  /** Where it leads instead of the usual address; unspecified of either IP version: nowhere else. */
  readonly target: InAny
  /** Octets, see octet-text.ts; '' = any. */
  readonly ifname: string
  readonly first: number
  readonly last: number
  /** Of `first`. */
  readonly to: number
  readonly proto: 'tcp' | 'udp'
  /** Any address of both IP versions. */
  readonly any: boolean
  /** A port that cannot be had is no error. */
  readonly weak: boolean
  /** Only ports that are listened on at the other side. */
  readonly scan: boolean
}
export interface ConfTable {
  readonly pif: number
  readonly name: string
  readonly capabilities: number
  readonly rules: ReadonlyArray<ConfRule>
}
export interface ServerPart {
  readonly version: ConfVersion
  readonly tables: ReadonlyArray<ConfTable>
}
export interface ConfBlock {
  readonly pif: number
  readonly rules: ReadonlyArray<ConfRule>
}
export type ClientPart = ReadonlyArray<ConfBlock>

// Offsets and lengths in octets
const MAGIC = Uint8Array.of(0x62, 0x61, 0x73, 0x69, 0x6c, 0x3a, 0x73, 0)
const HELLO = { version: 8, pifName: 12, ifname: 16 } as const
const HELLO_LEN = 20
const PIF_NAME = 128
const IFNAME = 16
const PIF_INFO = { capabilities: PIF_NAME, rules: PIF_NAME + 4 } as const
const PIF_INFO_LEN = PIF_NAME + 8
const COUNT_LEN = 4
const ADDRESS_LEN = 16
export const ruleLen = (version: ConfVersion): number => (version === 1 ? 40 : 56)

const TCP = 6
const UDP = 17
const F_ANY = 1
const F_WEAK = 2
const F_SCAN = 4

// --- one rule

/** Text in a field of fixed length: NUL behind it up to the end. null: it has no end, or something behind that. */
const readName = (o: Octets, at: number, len: number): string | null => {
  const field = copyOf(sub(o, at, len))
  const end = field.indexOf(0)
  return end < 0 || field.subarray(end).some((b) => b !== 0) ? null : textOfOctets(field.subarray(0, end))
}
const writeName = (b: Uint8Array, at: number, len: number, name: string): void =>
  b.set(octetsOfText(name).subarray(0, len - 1), at)

const readRule = (o: Octets, version: ConfVersion): ConfRule | string => {
  const shift = version === 1 ? 0 : ADDRESS_LEN
  const at = o.off + ADDRESS_LEN + shift + IFNAME
  const ifname = readName(o, ADDRESS_LEN + shift, IFNAME)
  const proto = o.view.getUint8(at + 6)
  const flags = o.view.getUint8(at + 7)
  if (ifname === null) return 'a name of an interface that does not end'
  if (proto !== TCP && proto !== UDP) return `a rule for IP protocol ${proto}`
  if ((flags & ~(F_ANY | F_WEAK | F_SCAN)) !== 0) return `a rule with flags 0x${flags.toString(16)}`
  return {
    address: readV6(o.view, o.off),
    target: version === 1 ? UNSPECIFIED6 : readV6(o.view, o.off + ADDRESS_LEN),
    ifname,
    first: o.view.getUint16(at),
    last: o.view.getUint16(at + 2),
    to: o.view.getUint16(at + 4),
    proto: proto === TCP ? 'tcp' : 'udp',
    any: (flags & F_ANY) !== 0,
    weak: (flags & F_WEAK) !== 0,
    scan: (flags & F_SCAN) !== 0
  }
}
const writeRule = (r: ConfRule, version: ConfVersion): Uint8Array => {
  const b = new Uint8Array(ruleLen(version))
  const v = new DataView(b.buffer)
  const shift = version === 1 ? 0 : ADDRESS_LEN
  const at = ADDRESS_LEN + shift + IFNAME
  writeV6(v, 0, r.address)
  if (version !== 1) writeV6(v, ADDRESS_LEN, r.target)
  writeName(b, ADDRESS_LEN + shift, IFNAME, r.ifname)
  v.setUint16(at, r.first)
  v.setUint16(at + 2, r.last)
  v.setUint16(at + 4, r.to)
  v.setUint8(at + 6, r.proto === 'tcp' ? TCP : UDP)
  v.setUint8(at + 7, (r.any ? F_ANY : 0) | (r.weak ? F_WEAK : 0) | (r.scan ? F_SCAN : 0))
  return b
}

// --- reading, cut anywhere

/** Of a whole grammar: what was read, how many octets are needed next, and what they lead to. */
interface Place<A> {
  readonly value: A
  /** 0: all is there. */
  readonly need: number
  readonly next: (o: Octets) => Place<A> | string
}
/** What came of a stream so far. */
export interface ConfReader<A> {
  readonly place: Place<A>
  /** Fewer octets than are needed next. */
  readonly held: Uint8Array
}
export const isWhole = (r: ConfReader<unknown>): boolean => r.place.need === 0

/** More octets. A string: what is wrong with them. What comes behind the end is left alone. */
export const readOn = <A>(r: ConfReader<A>, more: Uint8Array): ConfReader<A> | string => {
  const all = joined([r.held, more])
  const o = octets(all)
  let { place } = r
  let at = 0
  while (place.need > 0 && at + place.need <= o.len) {
    const next = place.next(sub(o, at, place.need))
    if (typeof next === 'string') return next
    at += place.need
    place = next
  }
  return { place, held: place.need === 0 ? new Uint8Array(0) : all.slice(at) }
}

const end = <A>(value: A): Place<A> => ({ value, need: 0, next: () => 'nothing more is to come' })

/** `left` rules, then `then`. */
const rulesThen = <A>(
  value: A,
  left: number,
  version: ConfVersion,
  add: (a: A, r: ConfRule) => A,
  then: (a: A) => Place<A>
): Place<A> =>
  left === 0
    ? then(value)
    : {
        value,
        need: ruleLen(version),
        next: (o) => {
          const r = readRule(o, version)
          return typeof r === 'string' ? r : rulesThen(add(value, r), left - 1, version, add, then)
        }
      }

/** With `more` in the last of the list. */
const inLast = <B extends ConfBlock>(list: ReadonlyArray<B>, r: ConfRule): ReadonlyArray<B> =>
  list.map((b, i) => (i === list.length - 1 ? { ...b, rules: [...b.rules, r] } : b))
const tooMany = (n: number): string | null =>
  n > CONF_RULES_MAX ? `${n} rules in one table, where ${CONF_RULES_MAX} are possible` : null

const blocks = (value: ClientPart, version: ConfVersion): Place<ClientPart> => ({
  value,
  need: 1,
  next: (o) => {
    const pif = o.view.getUint8(o.off)
    if (pif === 0) return end(value)
    if (value.length >= BLOCKS_MAX) return 'too many tables'
    return {
      value,
      need: COUNT_LEN,
      next: (c) => {
        const n = c.view.getUint32(c.off)
        return (
          tooMany(n) ??
          rulesThen<ClientPart>([...value, { pif, rules: [] }], n, version, inLast, (v) => blocks(v, version))
        )
      }
    }
  }
})

const tables = (value: ServerPart): Place<ServerPart> => ({
  value,
  need: 1,
  next: (o) => {
    const pif = o.view.getUint8(o.off)
    if (pif === 0) return end(value)
    if (value.tables.length >= TABLES_MAX) return 'Too many tables from server'
    if (value.tables.some((one) => one.pif === pif)) return `Table ${pif} comes twice from server`
    return { value, need: PIF_INFO_LEN, next: (info) => table(value, pif, info) }
  }
})
const table = (value: ServerPart, pif: number, o: Octets): Place<ServerPart> | string => {
  const name = readName(o, 0, PIF_NAME)
  if (name === null) return "A table's name from server does not end"
  if (value.tables.some((one) => one.name === name)) return `Table ${name} comes twice from server`
  const n = o.view.getUint32(o.off + PIF_INFO.rules)
  const capabilities = o.view.getUint32(o.off + PIF_INFO.capabilities)
  const begun: ServerPart = { ...value, tables: [...value.tables, { pif, name, capabilities, rules: [] }] }
  const add = (v: ServerPart, r: ConfRule): ServerPart => ({ ...v, tables: inLast(v.tables, r) })
  return tooMany(n) ?? rulesThen(begun, n, value.version, add, tables)
}

const hello = (o: Octets): Place<ServerPart> | string => {
  const word = (at: number): number => o.view.getUint32(o.off + at)
  if (MAGIC.some((m, i) => o.view.getUint8(o.off + i) !== m)) return 'Bad magic number from server'
  const version = word(HELLO.version)
  if (version === 0) return 'Unsupported experimental server protocol'
  if (version > CONF_VERSION) return `Unknown server protocol version ${version} > ${CONF_VERSION}`
  if (word(HELLO.pifName) !== PIF_NAME || word(HELLO.ifname) !== IFNAME)
    return `Names of ${word(HELLO.pifName)} and ${word(HELLO.ifname)} octets from server`
  return tables({ version: version === 1 ? 1 : 2, tables: [] })
}

const nothing = new Uint8Array(0)
export const clientReader = (version: ConfVersion = CONF_VERSION): ConfReader<ClientPart> => ({
  place: blocks([], version),
  held: nothing
})
export const serverReader = (): ConfReader<ServerPart> => ({
  place: { value: { version: CONF_VERSION, tables: [] }, need: HELLO_LEN, next: hello },
  held: nothing
})

// --- whole parts

const word = (n: number): Uint8Array => {
  const b = new Uint8Array(4)
  new DataView(b.buffer).setUint32(0, n)
  return b
}
const rulesOctets = (rules: ReadonlyArray<ConfRule>, version: ConfVersion): ReadonlyArray<Uint8Array> =>
  rules.map((r) => writeRule(r, version))

const encodeServer = (s: ServerPart): Uint8Array =>
  joined([
    MAGIC,
    word(s.version),
    word(PIF_NAME),
    word(IFNAME),
    ...s.tables.flatMap((one) => {
      const info = new Uint8Array(PIF_INFO_LEN)
      writeName(info, 0, PIF_NAME, one.name)
      info.set(word(one.capabilities), PIF_INFO.capabilities)
      info.set(word(one.rules.length), PIF_INFO.rules)
      return [Uint8Array.of(one.pif), info, ...rulesOctets(one.rules, s.version)]
    }),
    Uint8Array.of(0)
  ])
const encodeClient = (c: ClientPart, version: ConfVersion): Uint8Array =>
  joined([
    ...c.flatMap((b) => [Uint8Array.of(b.pif), word(b.rules.length), ...rulesOctets(b.rules, version)]),
    Uint8Array.of(0)
  ])

const whole = <A>(reader: ConfReader<A>, o: Octets): A | string => {
  const r = readOn(reader, copyOf(o))
  if (typeof r === 'string') return r
  return isWhole(r) ? r.place.value : `cut: ${r.place.need - r.held.length} octets are missing`
}

/** Octets of one rule (56; 40 with version 1). Left: another IP protocol, a flag that there is not, a name that does not end. */
export const confRule = (version: ConfVersion): t.Type<ConfRule, Uint8Array, Octets> =>
  wireCodec(
    'ConfRule',
    (o) => (o.len < ruleLen(version) ? 'cut' : readRule(o, version)),
    (r) => writeRule(r, version)
  )

/**
 * All that a server says: 20 octets of greeting; of each table 1 octet of id, 136 of name, capabilities and number, its rules; a zero.
 * Octets behind that are left alone. Left: what is wrong, for people. Total.
 * Laws: decode(encode(s)) = right(s), with version 1 without targets; encode(decode(b)) = b.   Source: pesto(1)
 */
export const ServerPart: t.Type<ServerPart, Uint8Array, Octets> = wireCodec(
  'ServerPart',
  (o) => whole(serverReader(), o),
  encodeServer
)

/** All that a client says, by the version that the server told. Laws as above. */
export const clientPart = (version: ConfVersion): t.Type<ClientPart, Uint8Array, Octets> =>
  wireCodec(
    'ClientPart',
    (o) => whole(clientReader(version), o),
    (c) => encodeClient(c, version)
  )

/** Of rules that the codec takes. Law: their octets are the same. */
export const sameConfRule = (a: ConfRule, b: ConfRule): boolean =>
  a.first === b.first &&
  a.last === b.last &&
  a.to === b.to &&
  a.proto === b.proto &&
  a.any === b.any &&
  a.weak === b.weak &&
  a.scan === b.scan &&
  a.ifname === b.ifname &&
  sameAddr(a.address, b.address) &&
  sameAddr(a.target, b.target)
/** Does it say where it leads? */
export const hasTarget = (r: ConfRule): boolean => !isUnspecified(r.target)

/** A whole client part of this version; null: it is none. */
export const clientPartOf = (b: Uint8Array): ClientPart | null => {
  const part = clientPart(CONF_VERSION).decode(octets(b))
  return E.isRight(part) ? part.right : null
}
/** All that a client of this version says, in base64: rules as part of a line of JSON. Law: decode(encode(a)) = right(a). */
export const RulesText = inBase64<ClientPart>('rules', clientPartOf, (part) =>
  clientPart(CONF_VERSION).encode(part)
)
