/**
 * A TCP sequence number, modulo 2^32 (RFC 9293 §3.4), as a signed 32-bit integer: V8 keeps those in a field as they are, and
 * has to allocate for what is larger. Compare with `lt`/`le`; plain `<` on it is a bug.
 */
export type SeqNum = number & { readonly SeqNum: unique symbol }

export const seq = (n: number): SeqNum => (n | 0) as SeqNum
export const add = (a: SeqNum, octets: number): SeqNum => ((a + octets) | 0) as SeqNum
/** Not add(a, -octets): V8 has to allocate for -0, and compiles again for it. */
export const sub = (a: SeqNum, octets: number): SeqNum => ((a - octets) | 0) as SeqNum
/** As the wire has it, and people read it: in [0, 2^32). */
export const unsigned = (a: SeqNum): number => a >>> 0
/** Signed octets from `b` to `a`, in [-2^31, 2^31): positive when `a` is later. */
export const distance = (a: SeqNum, b: SeqNum): number => (a - b) | 0
export const lt = (a: SeqNum, b: SeqNum): boolean => ((a - b) | 0) < 0
export const le = (a: SeqNum, b: SeqNum): boolean => ((a - b) | 0) <= 0
export const max = (a: SeqNum, b: SeqNum): SeqNum => (lt(a, b) ? b : a)
