import * as t from 'io-ts'
import { Place, Real } from '../../codecs/log/written.js'

/** Timers per flow: one for each TimerName. */
export const TIMERS_PER_FLOW = 4

/**
 * Deadlines of all flows, one per (flow, timer). Arming, arming again and cancelling take constant time and allocate
 * nothing. Law: a timer fires once, never before its deadline, and at the first `expire` that is a tick (0.25 ms) or more
 * behind it, `max` permitting.
 */
export interface TimerWheel {
  /** Armed timers. */
  readonly size: number
  /** `at`: ms on the clock that `expire` is told; in the past: fires at the next `expire`. Replaces what was armed. */
  arm(flow: number, timer: number, at: number): void
  cancel(flow: number, timer: number): void
  cancelAll(flow: number): void
  /** ms to sleep at most, 0 = some are due, -1 = nothing armed. May name an earlier moment than the earliest deadline. */
  next(now: number): number
  /**
   * Fire what is due, at most `max`; the rest stays due. `fire` may arm and cancel anything. Returns how many fired. A
   * clock that goes back fires nothing early; a jump ahead fires everything on its way in order of its ticks.
   */
  expire(now: number, fire: (flow: number, timer: number) => void, max: number): number
  /** All that is armed, and when: between two turns. Law: a wheel that has read it fires the same timers, in the same order. */
  kept(): WheelKept
  /** Of an empty wheel. False: that is of no wheel of this size. */
  read(k: WheelKept): boolean
}

export const WheelKept = t.type({
  /** Tick up to which all was fired. */
  at: Place,
  /** Slot, timer (its number among all of all flows), deadline: in the order of each slot's list. */
  timers: t.array(t.tuple([Place, Place, Real]))
})
export type WheelKept = t.TypeOf<typeof WheelKept>

/** ms. Deadlines are rounded up to it, so nothing fires early and nothing more than this late. */
const TICK = 0.25
const BITS = 6
const SLOTS = 1 << BITS
const LEVELS = 5
/** Ticks per slot of each level: 0.25 ms, 16 ms, 1 s, 65 s, 70 min. What is beyond the last level waits in it. */
const WIDTH = Array.from({ length: LEVELS }, (_, l) => SLOTS ** l)
const REACH = SLOTS ** LEVELS - 1
const NONE = 0

/** Hierarchical timing wheel (Varghese and Lauck 1987, scheme 7), with a bit per slot so that empty ones cost nothing. */
export const createTimerWheel = (flows: number, now = 0): TimerWheel => {
  const timers = flows * TIMERS_PER_FLOW
  const deadline = new Float64Array(timers)
  // Doubly linked list in each slot, ids + 1. Untouched pages of these arrays take no memory.
  const next = new Int32Array(timers)
  const prev = new Int32Array(timers)
  /** Slot + 1, or NONE: not armed. */
  const slotOf = new Uint16Array(timers)
  const head = new Int32Array(LEVELS * SLOTS)
  const tail = new Int32Array(LEVELS * SLOTS)
  /** Two words a level. */
  const occupied = new Int32Array(LEVELS * 2)
  /** Tick up to which everything has been fired, or is being fired. */
  let at = Math.floor(now / TICK)
  let size = 0

  const unlink = (id: number): void => {
    const slot = slotOf[id] - 1
    const p = prev[id]
    const n = next[id]
    if (p === NONE) head[slot] = n
    else next[p - 1] = n
    if (n === NONE) tail[slot] = p
    else prev[n - 1] = p
    if (head[slot] === NONE) occupied[slot >> 5] &= ~(1 << (slot & 31))
    slotOf[id] = NONE
  }
  const link = (id: number): void => {
    const due = Math.max(at, Math.ceil(deadline[id] / TICK))
    const delta = Math.min(due - at, REACH)
    let level = 0
    while (delta >= SLOTS * WIDTH[level]) level++
    append(id, level * SLOTS + (Math.floor((at + delta) / WIDTH[level]) % SLOTS))
  }
  const append = (id: number, slot: number): void => {
    const last = tail[slot]
    prev[id] = last
    next[id] = NONE
    if (last === NONE) head[slot] = id + 1
    else next[last - 1] = id + 1
    tail[slot] = id + 1
    slotOf[id] = slot + 1
    occupied[slot >> 5] |= 1 << (slot & 31)
  }
  const drop = (id: number): void => {
    if (slotOf[id] === NONE) return
    unlink(id)
    size--
  }

  /** Slots from `from` to the next occupied one of a level, going round; SLOTS if all are empty. */
  const ahead = (level: number, from: number): number => {
    for (let i = 0, s = from; i < SLOTS; ) {
      const word = occupied[level * 2 + (s >> 5)] >>> (s & 31)
      if (word !== 0) {
        return Math.min(SLOTS, i + 31 - Math.clz32(word & -word))
      }
      const step = 32 - (s & 31)
      i += step
      s = (s + step) & (SLOTS - 1)
    }
    return SLOTS
  }
  /**
   * First tick at which there is something to do: fire a slot of level 0, or spread one of a higher level. In those the
   * slot of the present was spread when it began, so what it holds is a whole turn ahead.
   */
  const nextTick = (): number => {
    if (size === 0) return Number.POSITIVE_INFINITY
    const d0 = ahead(0, at % SLOTS)
    let first = d0 < SLOTS ? at + d0 : Number.POSITIVE_INFINITY
    for (let level = 1; level < LEVELS; level++) {
      const cur = Math.floor(at / WIDTH[level])
      const d = ahead(level, (cur + 1) % SLOTS)
      if (d < SLOTS) first = Math.min(first, (cur + 1 + d) * WIDTH[level])
    }
    return first
  }
  /** Everything in a slot of a higher level, which begins at `at`, goes to where it belongs now. */
  const spread = (): void => {
    for (let level = LEVELS - 1; level > 0; level--) {
      if (at % WIDTH[level] !== 0) continue
      const slot = level * SLOTS + ((at / WIDTH[level]) % SLOTS)
      // The end is fixed first: what is still out of reach comes back to the end of the same slot.
      const last = tail[slot]
      for (let id = head[slot]; id !== NONE; ) {
        const following = id === last ? NONE : next[id - 1]
        unlink(id - 1)
        link(id - 1)
        id = following
      }
    }
  }

  return {
    get size() {
      return size
    },
    arm: (flow, timer, when) => {
      const id = flow * TIMERS_PER_FLOW + timer
      if (slotOf[id] === NONE) size++
      else unlink(id)
      deadline[id] = when
      link(id)
    },
    cancel: (flow, timer) => drop(flow * TIMERS_PER_FLOW + timer),
    cancelAll: (flow) => {
      for (let t = 0; t < TIMERS_PER_FLOW; t++) drop(flow * TIMERS_PER_FLOW + t)
    },
    next: (now) => {
      const tick = nextTick()
      return tick === Number.POSITIVE_INFINITY ? -1 : Math.max(0, tick * TICK - now)
    },
    expire: (now, fire, max) => {
      const target = Math.floor(now / TICK)
      let fired = 0
      while (fired < max) {
        const tick = nextTick()
        if (tick > target) {
          at = Math.max(at, target)
          break
        }
        if (tick > at) {
          at = tick
          spread()
        }
        const slot = at % SLOTS
        while (fired < max && head[slot] !== NONE) {
          const id = head[slot] - 1
          drop(id)
          fired++
          fire(Math.floor(id / TIMERS_PER_FLOW), id % TIMERS_PER_FLOW)
        }
      }
      return fired
    },
    kept: () => {
      const all: WheelKept['timers'] = []
      for (let slot = 0; slot < head.length; slot++)
        for (let id = head[slot]; id !== NONE; id = next[id - 1]) all.push([slot, id - 1, deadline[id - 1]])
      return { at, timers: all }
    },
    read: (k) => {
      at = k.at
      for (const [slot, id, when] of k.timers) {
        if (slot >= head.length || id >= timers || slotOf[id] !== NONE) return false
        deadline[id] = when
        append(id, slot)
        size++
      }
      return true
    }
  }
}
