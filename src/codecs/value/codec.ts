import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { type Octets, octets, sameOctets } from './octets.js'

// How codecs are made here: of a reader and a writer. What a value must be like is said once, by the reader: a value is one of the
// codec's (`is`) when what is written of it reads as the same value again.

export const isObject = (u: unknown): u is Readonly<Record<string, unknown>> =>
  typeof u === 'object' && u !== null
/** Of what codecs give: numbers, texts, octets, and lists and records of them. -0 is 0. */
const same = (a: unknown, b: unknown): boolean => {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return sameOctets(a, b)
  if (!isObject(a) || !isObject(b)) return a === b
  const keys = Object.keys(a)
  return (
    Object.getPrototypeOf(a) === Object.getPrototypeOf(b) &&
    keys.length === Object.keys(b).length &&
    keys.every((k) => Object.hasOwn(b, k) && same(a[k], b[k]))
  )
}
/** `again`: what is read of what is written. */
const isByLaw =
  <A>(again: (a: A) => E.Either<string, A>) =>
  (u: unknown): u is A => {
    try {
      return same(again(u as A), E.right(u))
    } catch {
      return false // nothing that can be written says that
    }
  }

const lawful = <A, O, I>(
  name: string,
  decode: (i: I) => E.Either<string, A>,
  encode: (a: A) => O,
  inputOf: (o: O) => I
): t.Type<A, O, I> =>
  new t.Type<A, O, I>(
    name,
    isByLaw((a) => decode(inputOf(encode(a)))),
    (i, context) => {
      const a = decode(i)
      return E.isLeft(a) ? t.failure(i, context, a.left) : t.success(a.right)
    },
    encode
  )

/**
 * The only way wire codecs are made: `decode` reports a failure as a reason in words, `encode` gives fresh octets.
 * Law: decode(octets(encode(a))) = right(a). Total: decode never throws and never reads outside its input.
 */
export const wireCodec = <A>(
  name: string,
  decode: (o: Octets) => A | string,
  encode: (a: A) => Uint8Array
): t.Type<A, Uint8Array, Octets> =>
  lawful(
    name,
    (o) => {
      const a = decode(o)
      return typeof a === 'string' ? E.left(a) : E.right(a)
    },
    encode,
    octets
  )

/** The same for what is written as text. Law: decode(encode(a)) = right(a). Total: decode never throws, whatever it is given. */
export const textCodec = <A>(
  name: string,
  decode: (text: string) => E.Either<string, A>,
  encode: (a: A) => string
): t.Type<A, string, unknown> =>
  lawful<A, string, unknown>(
    name,
    (u) => (typeof u === 'string' ? decode(u) : E.left('is no text')),
    encode,
    (text) => text
  )
