// How often one kind of message may be said. What a guest does must not fill a disk or drown other messages: each kind
// has a token bucket of its own, and says how many were left out once it may speak again. Kinds are a closed set (runtime/log/log.ts).

/** State of one kind: immutable, made by `admit` only. */
export interface Bucket {
  readonly tokens: number
  /** ms, when `tokens` was right. */
  readonly at: number
  /** Left out since the last one said. */
  readonly suppressed: number
}

/** Messages in a row. */
export const BURST = 20
/** ms for one more. */
export const EVERY = 5000

/**
 * Of a message at `now` (ms, any clock that seldom steps back). `said`: it may be said, after mentioning that so many
 * were suppressed; null: it is one of them.
 * Law: in any span of T ms at most BURST + T / EVERY are said; nothing is left out uncounted.
 */
export const admit = (
  b: Bucket | undefined,
  now: number
): { readonly bucket: Bucket; readonly said: { readonly suppressed: number } | null } => {
  if (b === undefined)
    return { bucket: { tokens: BURST - 1, at: now, suppressed: 0 }, said: { suppressed: 0 } }
  const tokens = Math.min(BURST, b.tokens + Math.max(0, now - b.at) / EVERY)
  return tokens < 1
    ? { bucket: { tokens, at: now, suppressed: b.suppressed + 1 }, said: null }
    : { bucket: { tokens: tokens - 1, at: now, suppressed: 0 }, said: { suppressed: b.suppressed } }
}
