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
