import type { Instant } from '../../effects/effect.js'
import { closeSock, resetSock } from '../abi/effects.js'
import type { Flow, FlowEvent } from '../flow/flow.js'
import { logBegin, logChange, logFailure } from '../flow/flow-log.js'
import { handlesOf, isFinal, isWaiting, leafOf, stepFlow } from '../flow/kinds.js'
import { seconds, type Taking } from '../flow/quotas.js'
import { count } from '../log/log.js'
import type { World } from './world.js'
import { writeEffect } from './write-effect.js'

/** Carry a step's effects to the ring; a flow in a final state stops matching look-ups at once. */
const finishStep = (w: World, f: Flow, done: boolean, touch: boolean): void => {
  const had = f.sockOpen
  for (const e of w.effects) writeEffect(w.out, f, e)
  if (had && !f.sockOpen && !done) w.quotas.released(f.index)
  while (w.effects.length > 0) w.effects.pop() // to set the length gives its memory away: 40 ns more
  if (done) endFlow(w, f)
  else if (touch && !f.touched) {
    f.touched = true
    w.touched.push(f)
  }
}

/** Whoever wants to know what flows find of whom they are for (Feature.settled). */
export const settle = (w: World, f: Flow, e: FlowEvent): void => {
  const { settled } = w.features
  for (let i = 0; i < settled.length; i++) settled[i](f, e)
}

/** (flow, event) -> flow', effects in the ring. `touch`: note it for the end of the turn. */
export const deliver = (w: World, f: Flow, e: FlowEvent, touch = true): void => {
  const before = f.state
  w.stepping = f
  stepFlow(f, e, w.effects)
  w.stepping = null
  if (e.type === 'SOCK_FAILED' || e.type === 'SPLICE_FAILED') logFailure(w.log, w.failures, f, e, w.flowSay)
  if (w.debugging && before.node !== f.state.node)
    logChange(w.flowSay, f, e.type, leafOf(f, before.node), leafOf(f, f.state.node))
  if (before.node !== f.state.node && w.quotas.isHalfOpen(f.index) && !isWaiting(f)) {
    w.quotas.accepted(f.index)
    settle(w, f, e)
  }
  finishStep(w, f, isFinal(f), touch)
}

/** Something came for the flow: it is in use. Who has an end of its own, as a connection has, is not asked for that. */
export const arrive = (w: World, f: Flow, e: FlowEvent, now: Instant): void => {
  if (f.kind === 'tcp' || f.kind === 'tcp-splice') return deliver(w, f, e)
  w.quotas.use(f.index, seconds(now))
  if (e.type === 'TAP_DATAGRAM' || (e.type === 'UDP_MOVED' && e.side === 1)) {
    const first = w.quotas.answered(f.index)
    // What is moved past us is told once a second
    if (first || e.type === 'UDP_MOVED') settle(w, f, e)
  }
  deliver(w, f, e)
}

/** Enter a flow whose machine was just started, at a place in the table; its first effects are in `w.effects`. */
export const enter = (w: World, f: Flow, t: Taking, now: Instant): void => {
  const { flowBegan } = w.features
  w.flows[f.index] = f
  w.quotas.open(f.index, t, seconds(now))
  for (let i = 0; i < flowBegan.length; i++) flowBegan[i](f, w.frameAt)
  if (w.debugging) logBegin(w.flowSay, f, leafOf(f, f.state.node))
  finishStep(w, f, isFinal(f), true)
}

const closeSockets = (w: World, f: Flow, how: typeof closeSock): void => {
  for (const handle of handlesOf(f)) how(w.rings, handle)
}

const endFlow = (w: World, f: Flow): void => {
  if (w.flows[f.index] !== f) return
  w.table.close(f.index)
  w.quotas.close(f.index)
  w.wheel.cancelAll(f.index)
  w.flows[f.index] = undefined
  if (f.sockOpen) {
    // A machine ends with its socket closed; if one forgets, nothing may leak.
    f.sockOpen = false
    count(w.counters, 'flow-ended-with-open-socket')
    closeSockets(w, f, closeSock)
  }
  const { flowEnded } = w.features
  for (let i = 0; i < flowEnded.length; i++) flowEnded[i](f)
}

/**
 * An exception is a bug of ours, and a guest may have found it: the flow whose machine it happened in is reset, everything else
 * goes on.
 */
export const contain = (w: World, e: unknown): void => {
  count(w.counters, 'internal-error')
  w.log.event(
    'internal',
    'error',
    `internal error: ${e instanceof Error ? (e.stack ?? e.message) : String(e)}`
  )
  const f = w.stepping
  w.stepping = null
  w.effects.length = 0
  if (f === null || w.flows[f.index] !== f) return
  if (f.sockOpen) closeSockets(w, f, resetSock)
  f.sockOpen = false
  endFlow(w, f)
}
