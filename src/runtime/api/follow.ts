import type { ServerResponse } from 'node:http'
import type { Engine } from './engine-line.js'
import { type Filter, passes } from './filter.js'

// Begin and end of flows, to those who follow them (GET /v1/events): a line of JSON each. The engine is asked again and again, as long as anybody
// follows. Who does not read as fast as events come loses some, and is told how many.

/** ms from a question to the next one, far below EVENTS_WAIT; from a line to an empty one, by which both sides know that the other is there. */
const PERIOD = 100
const IDLE = 3000

interface Follower {
  readonly r: ServerResponse
  readonly filter: Filter
  lost: number
  saidAt: number
}

export interface Following {
  readonly add: (r: ServerResponse, filter: Filter) => void
}
/** `now`: ms. */
export const following = (engine: Engine, now: () => number = () => performance.now()): Following => {
  const followers = new Set<Follower>()
  let asks = false
  const say = (f: Follower, line: string): void => {
    f.r.write(`${line}\n`)
    f.saidAt = now()
  }
  const tell = (f: Follower, lines: ReadonlyArray<string>, lost: number): void => {
    if (f.r.writableNeedDrain) {
      f.lost += lines.length + lost
      return
    }
    f.lost += lost
    if (f.lost > 0) say(f, JSON.stringify({ event: 'lost', count: f.lost }))
    f.lost = 0
    for (const line of lines) say(f, line)
    if (now() - f.saidAt > IDLE) say(f, '')
  }
  const ask = async (): Promise<void> => {
    for (let from = -1; followers.size > 0; ) {
      const { events, lost, next, more } = await engine.ask<'events'>({ ask: 'events', from })
      from = next
      const lines = events.map((e) => JSON.stringify(e))
      for (const f of followers)
        tell(
          f,
          lines.filter((_, i) => passes(f.filter, events[i]!.flow)),
          lost
        )
      if (!more) await new Promise((resolve) => setTimeout(resolve, PERIOD))
    }
    asks = false
  }
  return {
    add: (r, filter) => {
      const f: Follower = { r, filter, lost: 0, saidAt: now() }
      followers.add(f)
      r.on('close', () => followers.delete(f))
      if (asks) return
      asks = true
      void ask()
    }
  }
}
