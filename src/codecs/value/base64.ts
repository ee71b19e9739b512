import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import { textCodec } from './codec.js'

/** Octets as base64 (RFC 4648, section 4), whole groups of four. Law: decode(encode(b)) = right(b). */
export const Base64 = textCodec<Uint8Array>(
  'octets',
  (text) =>
    text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text)
      ? E.right(new Uint8Array(Buffer.from(text, 'base64')))
      : E.left('no base64'),
  (b) => Buffer.from(b.buffer, b.byteOffset, b.byteLength).toString('base64')
)
/** What `read` makes of octets, in base64. */
export const inBase64 = <A>(
  name: string,
  read: (b: Uint8Array) => A | null,
  write: (a: A) => Uint8Array
): t.Type<A, string, unknown> =>
  textCodec<A>(
    name,
    (text) => {
      const b = Base64.decode(text)
      return E.fromNullable(`no ${name}`)(E.isRight(b) ? read(b.right) : null)
    },
    (a) => Base64.encode(write(a))
  )
