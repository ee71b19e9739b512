import { EADDRNOTAVAIL, isShortage } from '../../codecs/value/errno.js'
import { errnoName } from '../../effects/counters.js'
import type { Instant } from '../../effects/effect.js'
import { bindReason } from '../../machines/forward/bind-verdict.js'
import type { Flow } from '../flow/flow.js'
import { count } from '../log/log.js'
import { makeWay, refusedBy, sayOutOfPorts } from './admission.js'
import type { World } from './world.js'

// What runs out is not ours to make more of: the flow that needed it fails, everything else goes on, and it is said.

/** ms between two lines about it; every one is counted. */
const SAID_EVERY = 30_000

/** The kernel had no port left of those that are the guest's, or nothing of that address is here any more. */
export const onPortShortage = (w: World, f: Flow, errno: number, now: Instant): void => {
  if (errno !== EADDRNOTAVAIL || (f.kind !== 'tcp' && f.kind !== 'tcp-splice')) return
  count(w.counters, refusedBy('tcpPorts'))
  sayOutOfPorts(w, f.kind === 'tcp' && (f.v6 ? w.cfg.outbound6 : w.cfg.outbound4) !== null, now)
}

/** A socket was refused with `errno`. False: not for lack of anything. */
export const onShortage = (w: World, errno: number, now: Instant): boolean => {
  if (!isShortage(errno)) return false
  count(w.counters, `shortage-${errnoName(errno)}`)
  // What is idle makes room for whoever comes next
  makeWay(w, 'files', now, null)
  if (now >= w.saidAt.shortage + SAID_EVERY) {
    w.saidAt.shortage = now
    w.log.at('warning', `${bindReason(errno, 0)}: some connections fail or wait, going on`)
  }
  return true
}
