import { distance, type SeqNum } from '../../codecs/value/seq.js'
import type { Flow, PairFlow, TcpFlow } from '../flow/flow.js'

// Octets of data that a flow has moved, by what it knows anyway: nothing is counted for whoever looks on.

const sinceSyn = (at: SeqNum, initial: SeqNum): number => (at - initial - 1) >>> 0
const finTaken = ({ finSeq, sndUna }: TcpFlow['state']['context']['tcb']): boolean =>
  finSeq !== null && distance(sndUna, finSeq) > 0

/** Acknowledged by the guest, modulo 2^32. A FIN has a number of its own and is no octet. */
export const tcpToGuest = (f: TcpFlow): number => {
  const { tcb } = f.state.context
  const synced = tcb.heardSyn && tcb.sndUna !== tcb.iss
  return synced ? sinceSyn(tcb.sndUna, tcb.iss) - (finTaken(tcb) ? 1 : 0) : 0
}
/** Taken for the peer, modulo 2^32. */
export const tcpToPeer = (f: TcpFlow): number => {
  const { tcb } = f.state.context
  return tcb.heardSyn ? sinceSyn(tcb.rcvTaken, tcb.irs) : 0
}

/** [to the guest, to the peer] of what went from side 0 to side 1, and back. */
export const pairWays = (f: PairFlow, on: number, back: number): readonly [number, number] =>
  f.side1.inNamespace ? [on, back] : [back, on]

/** Are its octets counted at all? */
export const isCounted = (f: Pick<Flow, 'kind'>): boolean => f.kind === 'tcp' || f.kind === 'tcp-splice'
