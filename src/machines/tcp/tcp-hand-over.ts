import { add } from '../../codecs/value/seq.js'
import { owe } from './tcb-ack.js'
import { setRoom } from './tcb-peer.js'
import * as rcv from './tcb-rcv.js'
import * as rtx from './tcb-rtx.js'
import * as snd from './tcb-snd.js'
import * as wake from './tcb-wake.js'
import { ourFinAcked } from './tcp-segment.js'
import { sockKnown } from './tcp-sock.js'
import type { Draft, EventOf, Out, Tcb } from './tcp-tcb.js'
import { armAll } from './tcp-timers.js'

// A connection that changes hands (behaviour.md#migration): it is frozen, and thawed if it stays; or it came from elsewhere.

const TIMERS = ['rto', 'ack', 'keepalive', 'idle'] as const
/**
 * FROZEN. What native kept of the guest's octets, and peeks that were under way, are gone. So is every timer: none may fire
 * meanwhile, and what is due is found when the connection goes on.
 */
export const frozen = (d: Draft, _: EventOf<'FROZEN'>, out: Out<'CancelTimer'>): void => {
  for (const timer of TIMERS) out.push({ type: 'CancelTimer', timer })
  rcv.forgetHanded(d)
  snd.forgetPeek(d)
  snd.probed(d)
  setRoom(d, 'unknown')
  rtx.stopped(d)
  wake.stopped(d)
}
/** THAWED. An ACK says where we are; what was not heard meanwhile comes again. */
export const thawed = (d: Draft, e: EventOf<'THAWED'>, out: Out<'ArmTimer'>): void => {
  wake.start(d, e.now)
  rtx.alive(d)
  snd.dataCame(d)
  owe(d)
  armAll(d, e, out)
}

/** SOCK_RESTORED */
export const restored = (d: Draft, e: EventOf<'SOCK_RESTORED'>): void => {
  rcv.restored(d, e.taken, e.unacked)
  if (e.ended && d.finSeq === null) snd.endsAt(d, add(d.discarded, e.unread))
  // Nothing else where nothing can be lost: with thousands of connections everybody waits for all
  if (e.dark || d.rcvAcked !== d.rcvNxt) owe(d)
}
/** SOCK_CONNECTED of a moved one. */
export const resumed = (d: Draft, e: EventOf<'SOCK_CONNECTED'>): void => {
  sockKnown(d, e)
  snd.dataCame(d)
}

/** Where a moved connection goes on. Who finished first is not known once both have: CLOSING ends in TIME-WAIT, to be sure. */
export type ResumesIn = 'established' | 'closeWait' | 'finWait1' | 'finWait2' | 'closing'
export const resumesIn = (t: Tcb): ResumesIn => {
  if (t.finSeq === null) return t.rcvFin === 1 ? 'closeWait' : 'established'
  if (t.rcvFin === 1) return 'closing'
  return ourFinAcked(t) ? 'finWait2' : 'finWait1'
}
