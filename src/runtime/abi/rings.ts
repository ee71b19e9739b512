import type { InAny } from '../../codecs/value/inany.js'
import { ABI_WORDS, type Native } from './abi.js'

/** Octets of the slab that JS writes: header templates and small frames of one turn. */
const TX_SIZE = 4 << 20
/** Octets of the slab that native reads into; only what is touched becomes resident. */
const RX_SIZE = 8 << 20
export const MAX_EFFECTS = 16384
// What is done to a socket is asked for once, so it is never lost: a full ring is carried out early. A frame may be lost, both
// sides of a connection are made for that. A guest can make us owe it any number of them (an answer to each segment that it
// says a frame holds), so they have a part of the ring and of the slab: that bounds what a turn does for it.
export const FRAME_EFFECTS = MAX_EFFECTS / 2
const FRAME_TX = TX_SIZE - (256 << 10)
export const MAX_EVENTS = 512

/**
 * What may be asked of native while the loop runs. An answer that something depends on can be recorded and played: record/answers.ts has
 * those, and what is added here is to be added there.
 */
export type LoopNative = Pick<
  Native,
  | 'open'
  | 'turn'
  | 'carryOut'
  | 'now'
  | 'writeNow'
  | 'memoryOf'
  | 'localEnds'
  | 'pauseListener'
  | 'resumeListener'
  // Of a hand-over (engine/hand-over.ts, take-over.ts), which is in no record
  | 'closeHard'
  | 'localEnd'
  | 'linkRest'
  | 'vhostHeld'
  | 'closeListener'
>

/** Both rings and the slab, as JS sees them. `effects` counts the records written since the last turn. */
export interface Rings {
  readonly native: LoopNative
  readonly slab: Uint8Array
  readonly view: DataView
  readonly fx: Int32Array
  readonly ev: Int32Array
  readonly clock: Float64Array
  effects: number
  /** Next free octet of the JS part of the slab. */
  tx: number
  /** Frames to the guest in this turn, and octets that they took. */
  frames: number
  frameOctets: number
  /** Looks at the effects before they are carried out. */
  watch: () => void
}

export const openRings = (native: LoopNative, handles: number): Rings =>
  ringsOver(
    native,
    native.open({ txSize: TX_SIZE, rxSize: RX_SIZE, handles, effects: MAX_EFFECTS, events: MAX_EVENTS })
  )

/** Rings in memory that is there already. */
export const ringsOver = (native: LoopNative, m: ReturnType<LoopNative['open']>): Rings => ({
  native,
  slab: new Uint8Array(m.slab),
  view: new DataView(m.slab),
  fx: new Int32Array(m.effects),
  ev: new Int32Array(m.events),
  clock: new Float64Array(m.clock),
  effects: 0,
  tx: 0,
  frames: 0,
  frameOctets: 0,
  watch: () => {}
})

/** Effects that are there are carried out, in order; what comes of them are events of the next turn. */
export const carryOut = (r: Rings): void => {
  r.watch()
  r.native.carryOut(r.effects)
  r.effects = 0
}

/** Index of the first word of the next effect record, kind and handle filled in, the rest zero. */
export const nextEffect = (r: Rings, kind: number, handle: number): number => {
  if (r.effects >= MAX_EFFECTS) carryOut(r)
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

/** Room for `octets` in the JS part of the slab, until the effects that name it are carried out. At most TX_SIZE. */
export const txRoom = (r: Rings, octets: number): number => {
  if (r.tx + octets > TX_SIZE) {
    carryOut(r)
    r.tx = 0
  }
  const at = r.tx
  r.tx += (octets + 7) & ~7
  return at
}

/** `txRoom` for a frame to the guest; -1: this turn has no more for frames. */
export const frameRoom = (r: Rings, octets: number): number => {
  if (r.frameOctets + octets > FRAME_TX) return -1
  r.frameOctets += (octets + 7) & ~7
  return txRoom(r, octets)
}

/** Is there room for one more frame to the guest? It is counted in. */
export const takeFrame = (r: Rings): boolean => r.frames < FRAME_EFFECTS && ++r.frames > 0

const begin = (r: Rings): void => {
  r.effects = 0
  r.tx = 0
  r.frames = 0
  r.frameOctets = 0
}

/** Forget this turn's effects: nobody carries them out. */
export const dropEffects = begin

/** Hand the effects over, wait up to `timeoutMs`, and count the events that came. */
export const turn = (r: Rings, timeoutMs: number): number => {
  r.watch()
  const n = r.native.turn(r.effects, timeoutMs)
  begin(r)
  return n
}
