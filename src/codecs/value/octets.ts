import * as t from 'io-ts'

/**
 * A range of octets inside a larger buffer, so that headers are decoded in place and nothing is copied.
 * Invariant: 0 <= off, off + len <= view.byteLength. Every codec of a wire format decodes from one of these.
 */
export interface Octets {
  readonly view: DataView
  /** First octet, counted from the start of `view`. */
  readonly off: number
  readonly len: number
}

/** All of `bytes`, without a copy. */
export const octets = (bytes: Uint8Array): Octets => ({
  view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
  off: 0,
  len: bytes.byteLength
})

/** From `from` (relative to `o`) to its end, or `len` octets of it. The caller has checked the bounds. */
export const sub = (o: Octets, from: number, len: number = o.len - from): Octets => ({
  view: o.view,
  off: o.off + from,
  len
})

/** A copy that shares no memory with `o`. */
export const copyOf = (o: Octets): Uint8Array => bytesOf(o).slice()

/** The same octets as a Uint8Array, sharing memory. */
export const bytesOf = (o: Octets): Uint8Array =>
  new Uint8Array(o.view.buffer, o.view.byteOffset + o.off, o.len)

/** One behind the other, as a copy. */
export const joined = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const p of parts) {
    all.set(p, at)
    at += p.length
  }
  return all
}

export const sameOctets = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((octet, i) => octet === b[i])

const isObject = (u: unknown): u is Readonly<Record<string, unknown>> => typeof u === 'object' && u !== null
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

/**
 * The only way wire codecs are made: `decode` reports a failure as a reason in words, `encode` gives fresh octets. A value is an A
 * when its octets say the same again.
 * Law: decode(octets(encode(a))) = right(a). Total: decode never throws and never reads outside its input.
 */
export const wireCodec = <A>(
  name: string,
  decode: (o: Octets) => A | string,
  encode: (a: A) => Uint8Array
): t.Type<A, Uint8Array, Octets> =>
  new t.Type<A, Uint8Array, Octets>(
    name,
    (u): u is A => {
      try {
        return same(decode(octets(encode(u as A))), u)
      } catch {
        return false // no octets can say that
      }
    },
    (o, context) => {
      const a = decode(o)
      return typeof a === 'string' ? t.failure(o, context, a) : t.success(a)
    },
    encode
  )
