/** Two 32-bit words, random and secret: who cannot know it cannot choose addresses that collide. */
export type HashKey = readonly [number, number]

/**
 * HalfSipHash-2-4 with 32 bits of output over the first `n` words of `m`, each standing for its four octets in
 * little-endian order. Result: unsigned 32 bits. The family of keyed hashes for short inputs of Aumasson and Bernstein
 * («SipHash: a fast short-input PRF», 2012); the Half variant is theirs for 32-bit machines, which is what |0 makes of V8.
 */
export const halfSipHash24 = (key: HashKey, m: Uint32Array, n: number): number => {
  const k0 = key[0] | 0
  const k1 = key[1] | 0
  let v0 = k0
  let v1 = k1
  let v2 = k0 ^ 0x6c796765
  let v3 = k1 ^ 0x74656462
  // Rounds: two for each word, two for the length, four to finish.
  const rounds = n * 2 + 6
  let word = 0
  for (let r = 0; r < rounds; r++) {
    if ((r & 1) === 0 && r <= n * 2) {
      word = r === n * 2 ? n << 26 : m[r >>> 1] | 0
      v3 ^= word
    }
    v0 = (v0 + v1) | 0
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
    v0 = (v0 << 16) | (v0 >>> 16)
    v2 = (v2 + v3) | 0
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
    v0 = (v0 + v3) | 0
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
    v2 = (v2 + v1) | 0
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
    v2 = (v2 << 16) | (v2 >>> 16)
    if ((r & 1) === 1 && r <= n * 2 + 1) {
      v0 ^= word
      if (r === n * 2 + 1) v2 ^= 0xff
    }
  }
  return (v1 ^ v3) >>> 0
}
