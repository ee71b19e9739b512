// A log file that never grows past its limit: the oldest lines make room, in the same file, so that whoever has it open
// (tail -f) keeps the right one. Decisions only; runtime/log/log-file.ts carries them out (behaviour.md#log-rotation).

/** Share of the file that goes at once: cutting is dear, and should be rare. */
const SHARE = 0.3
/** What filesystems that can cut at the start want a cut to be a multiple of (fallocate(2), FALLOC_FL_COLLAPSE_RANGE). */
export const BLOCK = 4096
/** The smallest limit that the command line takes (passt(1), --log-size). */
export const LIMIT_MIN = 40960

/**
 * Octets to cut off the start of a file of `size` octets before `line` more are written; 0: there is room.
 * Law: with limit >= LIMIT_MIN, line <= BLOCK and size <= limit: size - cut + line <= limit, and 0 <= cut < size.
 */
export const cutFor = (size: number, line: number, limit: number): number =>
  size + line <= limit ? 0 : Math.ceil((size * SHARE) / BLOCK) * BLOCK

const NEWLINE = 0x0a
const BLANK = 0x20

/**
 * The start of a file that was cut, made new: `header` in place of the line that the cut went through, and of as many
 * whole ones as it needs, blanks up to the last one's end. `start`: the first octets of the file, more than the header
 * has. Returns octets to be written at 0; never longer than `start`.
 * Law: ends with a line's end; no line of the rest is torn.
 */
export const headerOver = (start: Uint8Array, header: Uint8Array): Uint8Array => {
  const found = start.indexOf(NEWLINE, header.length)
  const end = found < 0 ? start.length - 1 : found
  const out = new Uint8Array(Math.max(0, end + 1)).fill(BLANK)
  out.set(header.subarray(0, Math.max(0, end)))
  if (end >= 0) out[end] = NEWLINE
  return out
}
