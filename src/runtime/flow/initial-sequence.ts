import { type SeqNum, seq } from '../../codecs/value/seq.js'
import type { Instant } from '../../effects/effect.js'
import type { FlowAddresses } from './flow.js'
import { type HashKey, halfSipHash24 } from './half-sip-hash.js'

const words = new Uint32Array(10)
/** Of a connection of ours. */
export type Sequence = (key: HashKey, f: FlowAddresses, now: Instant) => SeqNum
/** RFC 6528: a keyed hash of the addresses, plus a clock of 4 µs. */
export const initialSequence: Sequence = (key, f, now) => {
  words.set(f.guestAddr, 0)
  words.set(f.ourAddr, 4)
  words[8] = (f.guestPort << 16) | f.ourPort
  return seq(halfSipHash24(key, words, 9) + Math.floor(now * 250))
}
