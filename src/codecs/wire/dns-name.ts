import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import type { Octets } from '../value/octets.js'

/**
 * A domain name as its labels, root label left out: `www.example` is ['www', 'example'], the root is []. One character
 * per octet (code units 0-255), so that any label of the wire survives. Invariant: labels of 1-63 octets, 255 octets on
 * the wire with length octets and root label (RFC 1035 §2.3.4).
 */
export type DnsName = ReadonlyArray<string>

const MAX_LABEL = 63
/** Octets on the wire, root label included. RFC 1035 §2.3.4 */
export const MAX_NAME = 255
/** Top two bits of a length octet that make it a pointer, RFC 1035 §4.1.4 */
const POINTER = 0xc0
/** A pointer's offset has 14 bits. */
const MAX_POINTER = 0x3fff
/** One per label of the longest name; without it a list of pointers to pointers takes quadratic time. */
const MAX_HOPS = 127

/** Octets of the uncompressed wire form, root label included. */
export const nameLen = (n: DnsName): number => n.reduce((sum, label) => sum + 1 + label.length, 1)

// --- text

/**
 * A name as written in options and in resolv.conf: dot-separated, one trailing dot allowed, `.` is the root. Printable
 * ASCII without blank only; internationalised names come as their A-labels (RFC 5890 §2.3.2.1).
 * Left: an empty label, one over 63 octets, more than 253 characters, other characters.
 */
export const nameFromText = (text: string): E.Either<string, DnsName> => {
  if (text === '.') return E.right([])
  if (!/^[\x21-\x7e]+$/.test(text)) return E.left('empty, or not printable ASCII')
  const labels = text.replace(/\.$/, '').split('.')
  if (labels.some((l) => l.length === 0)) return E.left('empty label')
  if (labels.some((l) => l.length > MAX_LABEL)) return E.left(`label over ${MAX_LABEL} octets`)
  return nameLen(labels) > MAX_NAME ? E.left(`name over ${MAX_NAME} octets`) : E.right(labels)
}
/** Without trailing dot; the root is `.`. */
export const nameToText = (n: DnsName): string => (n.length === 0 ? '.' : n.join('.'))

/** Those of `texts` that are names and not the root, which is of no use as a search domain. */
export const searchNames = (texts: ReadonlyArray<string>): ReadonlyArray<DnsName> =>
  texts.flatMap((text) => {
    const n = nameFromText(text)
    return E.isRight(n) && n.right.length > 0 ? [n.right] : []
  })

// --- wire

const textAt = (o: Octets, at: number, len: number): string => {
  let s = ''
  for (let i = 0; i < len; i++) s += String.fromCharCode(o.view.getUint8(o.off + at + i))
  return s
}

/**
 * The name at `at`, and where its own octets end. Pointers count from the start of `o` and must point before the place
 * that they were followed to, so that every chain ends; `pointers: false` refuses them.
 * Failure (a reason): runs out of `o`; over 255 octets; reserved label type; a pointer forward or to itself.
 * Source: RFC 1035 §3.1, §4.1.4; RFC 3397 §2 (offsets are within the option's data).
 */
export const readName = (
  o: Octets,
  at: number,
  pointers: boolean
): { readonly name: DnsName; readonly next: number } | string => {
  const name: string[] = []
  let i = at
  let next = -1
  let limit = at // a pointer must lead below this
  let octets = 1
  let hops = 0
  for (;;) {
    if (i >= o.len) return 'name without end'
    const len = o.view.getUint8(o.off + i)
    if (len === 0) return { name, next: next < 0 ? i + 1 : next }
    if (len >= POINTER) {
      if (!pointers) return 'compressed name'
      if (i + 2 > o.len) return 'pointer cut off'
      const to = o.view.getUint16(o.off + i) & MAX_POINTER
      if (to >= limit || ++hops > MAX_HOPS) return 'pointer does not lead back, or too many'
      if (next < 0) next = i + 2
      limit = i = to
      continue
    }
    if (len > MAX_LABEL) return 'reserved label type'
    if (i + 1 + len > o.len) return 'label cut off'
    octets += 1 + len
    if (octets > MAX_NAME) return `name over ${MAX_NAME} octets`
    name.push(textAt(o, i + 1, len))
    i += 1 + len
  }
}

const pushLabel = (out: number[], label: string): void => {
  out.push(label.length)
  for (let i = 0; i < label.length; i++) out.push(label.charCodeAt(i))
}

/** Appends `n`; with `seen` (suffix -> offset in `out`) known endings become pointers, and new ones are remembered. */
const pushName = (out: number[], n: DnsName, seen: Map<string, number> | null): void => {
  for (let i = 0; i < n.length; i++) {
    const suffix = JSON.stringify(n.slice(i)) // an unambiguous key: labels may hold dots
    const at = seen?.get(suffix)
    if (at !== undefined) {
      out.push(POINTER | (at >>> 8), at & 0xff)
      return
    }
    if (out.length <= MAX_POINTER) seen?.set(suffix, out.length)
    pushLabel(out, n[i])
  }
  out.push(0)
}

/** One name, uncompressed. Law: decode(encode(n)) = right(n). Left: also anything behind the name. */
export const DnsName: t.Type<DnsName, Uint8Array, Octets> = wireCodec(
  'DnsName',
  (o) => {
    const r = readName(o, 0, false)
    if (typeof r === 'string') return r
    return r.next === o.len ? r.name : 'octets behind the name'
  },
  (n) => {
    const out: number[] = []
    pushName(out, n, null)
    return Uint8Array.from(out)
  }
)

/** Names other than the root. */
export type NameList = ReadonlyArray<DnsName>

const listCodec = (name: string, pointers: boolean, padded: boolean): t.Type<NameList, Uint8Array, Octets> =>
  wireCodec<NameList>(
    name,
    (o) => {
      const names: DnsName[] = []
      for (let at = 0; at < o.len; ) {
        const r = readName(o, at, pointers)
        if (typeof r === 'string') return r
        if (r.name.length > 0) names.push(r.name)
        else if (!padded) return 'root in a list of names'
        at = r.next
      }
      return names
    },
    (names) => {
      const out: number[] = []
      const seen = pointers ? new Map<string, number>() : null
      for (const n of names) pushName(out, n, seen)
      return Uint8Array.from(out)
    }
  )

/**
 * DHCP domain search (option 119), compressed. The data must be whole: joined by RFC 3396 first.
 * Law: decode(encode(l)) = right(l).   Source: RFC 3397 §2, RFC 1035 §4.1.4
 */
export const SearchList: t.Type<NameList, Uint8Array, Octets> = listCodec('SearchList', true, false)
/** DHCPv6 domain search (option 24): no compression (RFC 8415 §10). */
export const PlainNameList: t.Type<NameList, Uint8Array, Octets> = listCodec('PlainNameList', false, false)
/** Names of the DNSSL option (RFC 8106 §5.2): no compression, zero octets behind them are padding. Encoding adds none. */
export const PaddedNameList: t.Type<NameList, Uint8Array, Octets> = listCodec('PaddedNameList', false, true)
