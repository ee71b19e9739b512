import type { InAny } from '../../codecs/value/inany.js'
import { NO_RTT, type SockInfo } from '../../effects/sock-event.js'
import { ABI_WORDS, type Native } from './abi.js'

/** Octets of the slab that JS writes: header templates and small frames of one turn. */
const TX_SIZE = 4 << 20
/** Octets of the slab that native reads into; only what is touched becomes resident. */
const RX_SIZE = 8 << 20
export const MAX_EFFECTS = 16384
// A guest can make us owe it more frames than a turn has room for (an answer to each segment that it says a frame holds). A
// frame may be lost, both sides of a connection are made for that; what is done to a socket is asked for once. So frames leave
// room for all that: 512 events and as many TURN_ENDs, at most 8 effects each, and one header template for each peek.
export const FRAME_EFFECTS = MAX_EFFECTS / 2
const FRAME_TX = TX_SIZE - (256 << 10)
const MAX_EVENTS = 512

/** Both rings and the slab, as JS sees them. `effects` counts the records written since the last turn. */
export interface Rings {
  readonly native: Native
  readonly slab: Uint8Array
  readonly view: DataView
  readonly fx: Int32Array
  readonly ev: Int32Array
  readonly clock: Float64Array
  effects: number
  /** Next free octet of the JS part of the slab. */
  tx: number
}

export const openRings = (native: Native, handles: number): Rings =>
  ringsOver(
    native,
    native.open({ txSize: TX_SIZE, rxSize: RX_SIZE, handles, effects: MAX_EFFECTS, events: MAX_EVENTS })
  )

/** Rings in memory that is there already. */
export const ringsOver = (native: Native, m: ReturnType<Native['open']>): Rings => ({
  native,
  slab: new Uint8Array(m.slab),
  view: new DataView(m.slab),
  fx: new Int32Array(m.effects),
  ev: new Int32Array(m.events),
  clock: new Float64Array(m.clock),
  effects: 0,
  tx: 0
})

/** Index of the first word of the next effect record, kind and handle filled in, the rest zero. -1: the ring is full. */
export const nextEffect = (r: Rings, kind: number, handle: number): number => {
  if (r.effects >= MAX_EFFECTS) return -1
  const at = r.effects++ * ABI_WORDS
  const fx = r.fx
  fx[at] = kind
  fx[at + 1] = handle
  // a loop of stores: TypedArray.fill() costs more to call than 14 words to clear
  for (let i = at + 2; i < at + ABI_WORDS; i++) fx[i] = 0
  return at
}

/** An address at word `at` of the effect ring. */
export const putAddr = (r: Rings, at: number, a: InAny): void => {
  const fx = r.fx
  fx[at] = a[0]
  fx[at + 1] = a[1]
  fx[at + 2] = a[2]
  fx[at + 3] = a[3]
}

/** Room for `octets` in the JS part of the slab, or -1. */
export const txRoom = (r: Rings, octets: number): number => {
  if (r.tx + octets > TX_SIZE) return -1
  const at = r.tx
  r.tx += (octets + 7) & ~7
  return at
}

/** Is there room for one more frame to the guest? */
export const frameFits = (r: Rings): boolean => r.effects < FRAME_EFFECTS

/** `txRoom` for a frame to the guest. */
export const frameRoom = (r: Rings, octets: number): number =>
  r.tx + octets > FRAME_TX ? -1 : txRoom(r, octets)

/** Hand the effects over, wait up to `timeoutMs`, and count the events that came. */
export const turn = (r: Rings, timeoutMs: number): number => {
  const n = r.native.turn(r.effects, timeoutMs)
  r.effects = 0
  r.tx = 0
  return n
}

/** Words 4-11 of an event record (native/addon/abi.h, "info"). */
export const infoAt = (ev: Int32Array, at: number): SockInfo => ({
  sndWnd: ev[at + 4] >>> 0,
  rtt: ev[at + 7] >>> 0,
  minRtt: ev[at + 8] & NO_RTT,
  bytesAcked: ev[at + 9] >>> 0,
  sndFree: ev[at + 10],
  sndBuf: ev[at + 11]
})
