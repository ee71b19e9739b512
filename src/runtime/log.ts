import { writeSync } from 'node:fs'

/** Levels as in the manual: -q shows warnings and errors, default also info, -d debug, --trace single packets. */
export type Level = 'error' | 'warning' | 'info' | 'debug' | 'trace'
const RANK: Readonly<Record<Level, number>> = { error: 0, warning: 1, info: 2, debug: 3, trace: 4 }

export interface Log {
  readonly at: (level: Level, text: string) => void
  readonly enabled: (level: Level) => boolean
}

/**
 * Lines to standard error, synchronously: the loop never returns to libuv, so nothing may be left for later.
 * At debug and above each line carries the seconds since start. A closed stderr is no reason to stop.
 */
export const logTo = (fd: number, verbosity: Level, startMs: number, now: () => number): Log => {
  const max = RANK[verbosity]
  const stamped = max >= RANK.debug
  return {
    enabled: (level) => RANK[level] <= max,
    at: (level, text) => {
      if (RANK[level] > max) return
      const stamp = stamped ? `${((now() - startMs) / 1000).toFixed(4)}: ` : ''
      try {
        writeSync(fd, `${stamp}${level === 'error' || level === 'warning' ? `${level}: ` : ''}${text}\n`)
      } catch {
        // EAGAIN, EPIPE, EBADF: a log line may be lost, traffic may not
      }
    }
  }
}

/** Counters by name: every drop and every oddity is one. */
export type Counters = Map<string, number>
export const count = (c: Counters, what: string, by = 1): void => {
  c.set(what, (c.get(what) ?? 0) + by)
}
export const showCounters = (c: Counters): string =>
  [...c.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => `${k}=${v}`)
    .join(' ')
