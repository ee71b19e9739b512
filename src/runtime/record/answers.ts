import type { Octets } from '../../codecs/value/octets.js'
import { seq } from '../../codecs/value/seq.js'
import { type DropReason, decodeFrame, type Frame } from '../../codecs/wire/frame.js'
import type { Rule } from '../../machines/forward/forward-rules.js'
import type { Rings } from '../abi/rings.js'
import { OUTSIDE, type Outside } from '../data/world.js'
import type { FlowAddresses } from '../flow/flow.js'

// Handlers ask for little beside what the event ring brings: everything that they can ask goes through here, so that it can be recorded and
// played. `Rings.native` has no other methods (abi/rings.ts), and the world has the rest (data/world.ts, Outside).

/** What is asked for, as numbered in the file. */
export const ASK = {
  RANDOM: 1,
  MEMORY_OF: 2,
  LOCAL_ENDS: 3,
  PAUSE: 4,
  RESUME: 5,
  DECODE_WHOLE: 6,
  INITIAL_SEQUENCE: 7,
  RULES: 8
} as const
export type Ask = (typeof ASK)[keyof typeof ASK]
/** The answer to `what`, as octets; `real`: what gives it. */
export type Door = (what: Ask, asked: Uint8Array, real: () => Uint8Array) => Uint8Array

const octetsOf = (a: Int32Array | Float64Array): Uint8Array =>
  new Uint8Array(a.buffer, a.byteOffset, a.byteLength)
const float64s = (b: Uint8Array): Float64Array =>
  new Float64Array(b.buffer.slice(b.byteOffset, b.byteOffset + (b.length & ~7)))
const int32s = (b: Uint8Array): Int32Array =>
  new Int32Array(b.buffer.slice(b.byteOffset, b.byteOffset + (b.length & ~3)))
const word = (n: number): Uint8Array => octetsOf(Int32Array.of(n))
const NOTHING = new Uint8Array(0)

/** The same, every answer by way of `door`. */
export const throughDoor = <N extends Rings['native']>(native: N, door: Door): N => ({
  ...native,
  memoryOf: (flows: Int32Array, freeze: boolean) =>
    float64s(
      door(ASK.MEMORY_OF, octetsOf(Int32Array.of(freeze ? 1 : 0, ...flows)), () =>
        octetsOf(native.memoryOf(flows, freeze))
      )
    ),
  localEnds: (flows: Int32Array) =>
    int32s(door(ASK.LOCAL_ENDS, octetsOf(flows), () => octetsOf(native.localEnds(flows)))),
  pauseListener: (id: number) =>
    int32s(door(ASK.PAUSE, word(id), () => word(native.pauseListener(id) ? 1 : 0)))[0] === 1,
  resumeListener: (id: number) =>
    int32s(door(ASK.RESUME, word(id), () => word(native.resumeListener(id))))[0] ?? 0
})

/** Its headers are there, and what was found when its data were: '' for nothing that is wrong. */
const decodeAsFound = (whole: Octets, found: string): Frame | DropReason =>
  found === '' ? decodeFrame(whole, { needsCsum: true, sum16: 0, gsoSize: 0 }) : (found as DropReason)

/** Which connection's: its two ports. */
const portsOf = (f: FlowAddresses): Uint8Array => word((f.guestPort << 16) | f.ourPort)

/**
 * What the world asks for, by way of `door`. Initial sequence numbers follow from the session's secret, so they are in a record that
 * does not have that (`hasSecret`).
 */
export const outsideThrough = (door: Door, hasSecret: boolean): Outside => ({
  initialSequence: hasSecret
    ? OUTSIDE.initialSequence
    : (key, f, now) =>
        seq(
          int32s(
            door(ASK.INITIAL_SEQUENCE, portsOf(f), () => word(OUTSIDE.initialSequence(key, f, now)))
          )[0] ?? 0
        ),
  random: () =>
    float64s(door(ASK.RANDOM, NOTHING, () => octetsOf(Float64Array.of(OUTSIDE.random()))))[0] ?? 0,
  decodeWhole: (whole) => {
    let frame: Frame | DropReason | null = null
    const found = door(ASK.DECODE_WHOLE, NOTHING, () => {
      frame = OUTSIDE.decodeWhole(whole)
      return new TextEncoder().encode(typeof frame === 'string' ? frame : '')
    })
    return frame ?? decodeAsFound(whole, new TextDecoder().decode(found))
  }
})

/** Who makes other rules count: their listeners are no part of the world (host/live-listeners.ts). */
export interface AskRules {
  readonly begin: (rules: ReadonlyArray<Rule>) => void
  /** A slice. null: there is more; '': all is done; else why all is as it was. */
  readonly go: () => string | null
}
/** The same by way of `door`: no octet: there is more; one, and what it says. */
export const rulesThrough = (door: Door, real: AskRules): AskRules => ({
  begin: real.begin,
  go: () => {
    const answer = door(ASK.RULES, NOTHING, () => {
      const said = real.go()
      return said === null ? NOTHING : new TextEncoder().encode(`.${said}`)
    })
    return answer[0] === DOT ? new TextDecoder().decode(answer.subarray(1)) : null
  }
})
const DOT = 0x2e
