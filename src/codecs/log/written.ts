import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { type InAny, isInAny } from '../value/inany.js'
import { isMac, type Mac } from '../wire/ethernet.js'

// Values of a world in a record, as JSON (docs/replay.md, In the middle). What says who somebody is has a form of its own, whatever it is a
// part of: so it is found, and written anew, where a record becomes anonymous.

const text = <A>(
  name: string,
  is: (u: unknown) => u is A,
  write: (a: A) => string,
  read: (s: string) => A | null
): t.Type<A, string, unknown> =>
  new t.Type(
    name,
    is,
    (u, c) => {
      const a = typeof u === 'string' ? read(u) : null
      return a === null ? t.failure(u, c) : t.success(a)
    },
    write
  )

/** A place in a list or table, or another count. */
export const Place = t.refinement(t.number, (n) => Number.isSafeInteger(n) && n >= 0, 'Place')
export const Places = t.array(Place)

const isNumber = (u: unknown): u is number => typeof u === 'number' && !Number.isNaN(u)
const ENDLESS = { Infinity: Number.POSITIVE_INFINITY, '-Infinity': Number.NEGATIVE_INFINITY } as const
/** Any number but NaN: JSON has no infinity. Law: decode(encode(n)) = right(n), but that -0 is 0. */
export const Real: t.Type<number, number | string, unknown> = new t.Type(
  'Real',
  isNumber,
  (u, c) => {
    if (isNumber(u)) return t.success(u)
    return u === 'Infinity' || u === '-Infinity' ? t.success(ENDLESS[u]) : t.failure(u, c)
  },
  (n) => (Number.isFinite(n) ? n : String(n))
)

const ADDRESS = /^ip:([0-9a-f]{1,8})\.([0-9a-f]{1,8})\.([0-9a-f]{1,8})\.([0-9a-f]{1,8})$/
const hex = (n: number): string => (n >>> 0).toString(16)
/** 'ip:0.0.ffff.c6336402'. Law: decode(encode(a)) = right(a). */
export const Addr = text<InAny>(
  'Addr',
  isInAny,
  (a) => `ip:${hex(a[0])}.${hex(a[1])}.${hex(a[2])}.${hex(a[3])}`,
  (s) => {
    const m = ADDRESS.exec(s)
    if (m === null) return null
    const [a = 0, b = 0, c = 0, d = 0] = m.slice(1).map((word) => Number.parseInt(word, 16))
    return [a, b, c, d]
  }
)

const MAC = /^mac:([0-9a-f]{1,12})$/
/** 'mac:20000000002'. Law: decode(encode(m)) = right(m). */
export const MacAddr = text<Mac>(
  'MacAddr',
  isMac,
  (m) => `mac:${m.toString(16)}`,
  (s) => {
    const m = MAC.exec(s)?.[1]
    return m === undefined ? null : (Number.parseInt(m, 16) as Mac)
  }
)

const HEX = /^(?:[0-9a-f]{2})*$/
/** Octets as hexadecimal digits. Law: decode(encode(b)) = right(b). */
export const HexOctets = text<Uint8Array>(
  'HexOctets',
  (u): u is Uint8Array => u instanceof Uint8Array,
  (b) => Buffer.from(b.buffer, b.byteOffset, b.length).toString('hex'),
  (s) => (HEX.test(s) ? new Uint8Array(Buffer.from(s, 'hex')) : null)
)

const isBigInt = (u: unknown): u is bigint => typeof u === 'bigint'
/** Law: decode(encode(n)) = right(n). */
export const Big = text<bigint>(
  'Big',
  isBigInt,
  (n) => n.toString(),
  (s) => (/^\d{1,20}$/.test(s) ? BigInt(s) : null)
)

/** `u` by the codec `of`, null: it is none. */
export const readBy = <A>(of: t.Type<A, unknown, unknown>, u: unknown): A | null => {
  const r = of.decode(u)
  return E.isRight(r) ? r.right : null
}
