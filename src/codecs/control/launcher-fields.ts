import { octetsOfText, textOfOctets } from '../value/octet-text.js'
import { bytesOf, joined, type Octets, sub } from '../value/octets.js'

// Words and strings of the launcher's messages (native/common/protocol.h): u32 little-endian; str: u32 length, octets.

/** Words, little-endian. */
export const u32 = (...words: ReadonlyArray<number>): Uint8Array => {
  const b = new Uint8Array(words.length * 4)
  const v = new DataView(b.buffer)
  for (const [i, w] of words.entries()) v.setUint32(i * 4, w, true)
  return b
}
/** Length, then octets. */
export const str = (s: string): ReadonlyArray<Uint8Array> => {
  const b = octetsOfText(s)
  return [u32(b.length), b]
}
export const join = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => joined(parts)

/** The word at `at` of `o`; `null` past the end. */
export const wordAt = (o: Octets, at: number): number | null =>
  o.len - at < 4 ? null : o.view.getUint32(o.off + at, true)
/** The string at `at`, and where it ends; `null` when octets are missing or one is NUL. */
export const textAt = (o: Octets, at: number): { text: string; end: number } | null => {
  const n = wordAt(o, at)
  if (n === null || o.len - at - 4 < n) return null
  const b = bytesOf(sub(o, at + 4, n))
  return b.includes(0) ? null : { text: textOfOctets(b), end: at + 4 + n }
}

/** Words and strings one after the other; `null` also when octets are left over. */
export const fields = (o: Octets, words: number, strings: number): { w: number[]; s: string[] } | null => {
  const w: number[] = []
  const s: string[] = []
  if (o.len < words * 4) return null
  for (let i = 0; i < words; i++) w.push(o.view.getUint32(o.off + i * 4, true))
  let at = words * 4
  for (let i = 0; i < strings; i++) {
    const t = textAt(o, at)
    if (t === null) return null
    s.push(t.text)
    at = t.end
  }
  return at === o.len ? { w, s } : null
}
