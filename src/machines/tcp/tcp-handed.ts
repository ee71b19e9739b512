import { distance } from '../../codecs/value/seq.js'
import type { Moved, Tcb } from './tcp-tcb.js'

// A connection whose socket itself changes hands (behaviour.md#restart): its kernel knows its numbers, and goes on counting. tcp-move.ts has
// those of the guest's side.

/** Octets that the socket took since octet 0 of tcpi_bytes_acked, which counts our SYN (modulo 2^32); those its peer has not acknowledged. */
export const handedOf = (t: Tcb): { readonly taken: number; readonly unacked: number } => {
  const syn = t.fromHost || t.moved ? 0 : 1
  return {
    taken: (distance(t.rcvTaken, t.octetsFrom) + syn) >>> 0,
    unacked: Math.max(0, distance(t.rcvTaken, t.rcvConfirmed))
  }
}

/** Octets of its receive queue that the guest was sent already. */
export const peekedOf = (m: Moved): number => Math.max(0, distance(m.finSeq ?? m.sndMax, m.discarded))
