// Names that are octets to the kernel and text to people: of interfaces, files, namespaces. As a string each is what UTF-8 makes
// of it; an octet that is no part of UTF-8 becomes one of 128 lone surrogates, so that nothing is lost on the way back.

import { sameOctets } from './octets.js'

const ESCAPE = 0xdc00
const ESCAPED = /[\udc80-\udcff]/
/** A byte order mark is a character like others. */
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const encoder = new TextEncoder()

const isExact = (b: Uint8Array, text: string): boolean => sameOctets(b, encoder.encode(text))

/** Total. Law: octetsOfText(textOfOctets(b)) = b.   Source: RFC 3629; the escapes are those of Python's PEP 383 */
export const textOfOctets = (b: Uint8Array): string => {
  const whole = decoder.decode(b)
  if (!whole.includes('\ufffd')) return whole
  let out = ''
  for (let at = 0; at < b.length; ) {
    const pieces = [1, 2, 3, 4].map((n) => b.subarray(at, at + n))
    const piece = pieces.find((p) => isExact(p, decoder.decode(p)))
    out += piece === undefined ? String.fromCharCode(ESCAPE + (b[at] ?? 0)) : decoder.decode(piece)
    at += piece?.length ?? 1
  }
  return out
}

/** Surrogates that stand for no octet become U+FFFD, as everywhere. */
export const octetsOfText = (s: string): Uint8Array =>
  ESCAPED.test(s)
    ? Uint8Array.from(
        Array.from(s).flatMap((c) =>
          c.length === 1 && ESCAPED.test(c) ? [c.charCodeAt(0) - ESCAPE] : [...encoder.encode(c)]
        )
      )
    : encoder.encode(s)
