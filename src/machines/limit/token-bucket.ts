// A token bucket: what may pass is what time has brought, and no more than `burst` of that at once. A token is an octet.
// Pure: time is an argument, in ms of any clock; one that steps back brings nothing.

export interface Rate {
  /** Octets a ms. */
  readonly perMs: number
  /** Octets: tokens at most. */
  readonly burst: number
}
/** Immutable. */
export interface Bucket {
  /** Below 0: owed, for what could not be held back. */
  readonly tokens: number
  /** ms, when `tokens` was right. */
  readonly at: number
}

/** Full. */
export const bucket = (r: Rate, now: number): Bucket => ({ tokens: r.burst, at: now })

export const filled = (r: Rate, b: Bucket, now: number): Bucket =>
  now <= b.at ? b : { tokens: Math.min(r.burst, b.tokens + (now - b.at) * r.perMs), at: now }

/**
 * `octets` pass at b.at, whether the tokens are there or not; who can wait has looked. Negative: so many that were taken did not pass.
 * Law: where it is asked for no more than there is, in any span of T ms no more than perMs * T + burst pass, and what was taken in
 * front of it.
 */
export const spend = (r: Rate, b: Bucket, octets: number): Bucket => ({
  tokens: Math.min(r.burst, b.tokens - octets),
  at: b.at
})

/** ms from b.at on until there are `octets`. */
export const wait = (r: Rate, b: Bucket, octets: number): number => Math.max(0, (octets - b.tokens) / r.perMs)
