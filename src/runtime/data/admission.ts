import type { Instant } from '../../effects/effect.js'
import type { Flow } from '../flow/flow.js'
import { type Quotas, type Resource, seconds, type Taking } from '../flow/quotas.js'
import { count, type Log } from '../log/log.js'
import { deliver } from './deliver.js'
import type { World } from './world.js'

// Is there room for one more flow? Idle ones give way (quotas.ts), else it is refused: counted, and said once.

/** Flows that give way to one: some free nothing that it needs, where they share a port. */
const GIVING_WAY = 16

const WORDS: Readonly<Record<Resource, readonly [string, string]>> = {
  flows: ['flows', 'flows'],
  files: ['descriptors of flows', 'files'],
  memory: ['octets in the buffers of sockets', 'memory'],
  udpPorts: ['local UDP ports', 'ports'],
  tcpPorts: ['local TCP ports', 'ports'],
  pingIds: ['ping sockets', 'ports'],
  halfOut: ["connections of the guest's that wait for their peer", 'half-open'],
  halfIn: ['connections that wait for the guest', 'half-open']
}

/** The counter of what a limit refused. */
export const refusedBy = (r: Resource): `limit-${Resource}` => `limit-${r}`

const say = (log: Log, q: Quotas, r: Resource): void => {
  const [what, option] = WORDS[r]
  log.event(
    'limit',
    'warning',
    `limit reached: ${q.limitOf(r)} ${what}, and none is idle; new ones are refused (--limit-${option})`
  )
}

/** A limit was met: said once, and again when it has been left in between. */
export const sayMet = (log: Log, q: Quotas, r: Resource): void => {
  if (q.met(r)) say(log, q, r)
}

/** ms that a connection which has ended may keep its port: TIME-WAIT in Linux. */
const PORT_KEPT = 60_000

/**
 * The kernel had none of the guest's ports left, or, `bound` to an address by --outbound, no such address: said once, and
 * again when connections could be made for a while.
 */
export const sayOutOfPorts = (w: World, bound: boolean, now: Instant): void => {
  if (now >= w.saidAt.ports + PORT_KEPT)
    if (bound)
      w.log.event(
        'limit',
        'warning',
        'cannot connect: no port is left, or the address that --outbound names is not on this machine any more'
      )
    else say(w.log, w.quotas, 'tcpPorts')
  w.saidAt.ports = now
}

/** The flow is told to end, as by a timeout. */
export const giveWay = (w: World, f: Flow, now: Instant): void => {
  count(w.counters, 'gave-way')
  deliver(w, f, { type: 'STOP', now }, false)
}

/** End the flow that has been idle for longest, for want of `r`, for such a flow. False: none is idle. */
export const makeWay = (w: World, r: Resource, now: Instant, t: Taking | null): boolean => {
  const i = w.quotas.givesWay(r, seconds(now), t)
  const f = i < 0 ? undefined : w.flows[i]
  if (f === undefined) return false
  giveWay(w, f, now)
  return w.flows[i] !== f
}

/** null: there is room for such a flow, perhaps by now. Else what it lacks; that is counted and said. */
export const admit = (w: World, t: Taking, now: Instant): Resource | null => {
  let lack = w.quotas.lacks(t)
  for (let i = 0; lack !== null && i < GIVING_WAY && makeWay(w, lack, now, t); i++) lack = w.quotas.lacks(t)
  if (lack === null) return null
  count(w.counters, refusedBy(lack))
  sayMet(w.log, w.quotas, lack)
  return lack
}
