import { type Level, RANK } from '../../codecs/log/log-line.js'
import type { CounterName } from '../../effects/counters.js'
import { admit, type Bucket } from '../../machines/log/log-limiter.js'

export type { Level }

/** Where lines go. `write` never waits and never throws; what cannot be taken is lost and counted by the sink. */
export interface Sink {
  /** The least important level that it shows. */
  readonly level: Level
  readonly write: (ms: number, level: Level, text: string) => void
}

export interface Log {
  /** A message of the start, or one that says itself how often it comes. */
  readonly at: (level: Level, text: string) => void
  /**
   * A message that something outside can cause at will: at most so many of each kind (machines/log/log-limiter.ts). `more`: its other lines,
   * which are said if it is.
   */
  readonly event: (kind: EventKind, level: Level, text: string, more?: ReadonlyArray<string>) => void
  /** What somebody has asked for while all runs: for every sink, whatever its level. Who asks says how much it may be. */
  readonly asked: (text: string) => void
  /** Is there any sink? In background there may be none. */
  readonly heard: () => boolean
  readonly enabled: (level: Level) => boolean
}

/** Kinds of messages that a guest, or somebody else outside, can cause: a closed set, so that all of them together are limited. */
export const EVENT_KINDS = [
  'flow',
  'limit',
  'migration',
  'internal',
  'capture',
  'link',
  'ports',
  'control',
  'control client',
  'follow',
  'rules',
  'DHCP',
  'DHCPv6',
  'NDP'
] as const
export type EventKind = (typeof EVENT_KINDS)[number]

/**
 * Lines to all sinks, synchronously: the loop never returns to libuv, so nothing may be left for later. `sinks` is looked
 * at for each line: they change when the program goes to background. `now`: ms.
 */
export const logTo = (sinks: ReadonlyArray<Sink>, startMs: number, now: () => number): Log => {
  const buckets = new Map<EventKind, Bucket>()
  const enabled = (level: Level): boolean => sinks.some((s) => RANK[level] <= RANK[s.level])
  const at = (level: Level, text: string): void => {
    const ms = now() - startMs
    for (const s of sinks) if (RANK[level] <= RANK[s.level]) s.write(ms, level, text)
  }
  return {
    enabled,
    at,
    heard: () => sinks.length > 0,
    asked: (text) => {
      const ms = now() - startMs
      for (const s of sinks) s.write(ms, 'info', text)
    },
    event: (kind, level, text, more) => {
      if (!enabled(level)) return
      // Who asks for debugging wants to see all of it
      if (RANK[level] >= RANK.debug) at(level, text)
      else {
        const { bucket, said } = admit(buckets.get(kind), now())
        buckets.set(kind, bucket)
        if (said === null) return
        at(level, said.suppressed === 0 ? text : `${text} (${said.suppressed} more like this suppressed)`)
      }
      if (more !== undefined) for (const line of more) at(level, line)
    }
  }
}

/** Counters by name: every drop and every oddity is one. */
export type Counters = Map<CounterName, number>
export const count = (c: Counters, what: CounterName, by = 1): void => {
  c.set(what, (c.get(what) ?? 0) + by)
}
export const showCounters = (c: Counters): string =>
  [...c.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => `${k}=${v}`)
    .join(' ')
