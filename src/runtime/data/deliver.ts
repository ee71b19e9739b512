import type { Effect, Instant } from '../../effects/effect.js'
import { SIDE_1 } from '../abi/abi.js'
import { closeSock, resetSock } from '../abi/effects.js'
import type {
  Flow,
  FlowEvent,
  PingEvent,
  TcpEvent,
  TcpSpliceEvent,
  UdpEvent,
  UdpSpliceEvent
} from '../flow/flow.js'
import { logBegin, logChange, logFailure } from '../flow/flow-log.js'
import { seconds, type Taking } from '../flow/quotas.js'
import { count } from '../log/log.js'
import { interpret } from './interpret.js'
import { machines, type World } from './world.js'

const leavesOf = (f: Flow): ReadonlyArray<string> => {
  switch (f.kind) {
    case 'tcp-splice':
      return machines.tcpSplice.leaves
    case 'udp-splice':
      return machines.udpSplice.leaves
    default:
      return machines[f.kind].leaves
  }
}

const isFinal = (f: Flow): boolean => {
  switch (f.kind) {
    case 'tcp':
      return machines.tcp.isFinal(f.state)
    case 'udp':
      return machines.udp.isFinal(f.state)
    case 'ping':
      return machines.ping.isFinal(f.state)
    case 'tcp-splice':
      return machines.tcpSplice.isFinal(f.state)
    case 'udp-splice':
      return machines.udpSplice.isFinal(f.state)
  }
}

const nodes = (m: { readonly leaves: ReadonlyArray<string> }, ...names: ReadonlyArray<string>) =>
  names.map((name) => m.leaves.indexOf(name))
const TCP_OUT = nodes(machines.tcp, 'connecting')
const TCP_IN = nodes(machines.tcp, 'connecting', 'synSent', 'synRcvd')
const PAIR = nodes(machines.tcpSplice, 'connecting')
/** A connection that whom it is for has not accepted yet. */
const isWaiting = (f: Flow): boolean => {
  switch (f.kind) {
    case 'tcp':
      return (f.arrival === null ? TCP_OUT : TCP_IN).includes(f.state.node)
    case 'tcp-splice':
      return PAIR.includes(f.state.node)
    default:
      return false
  }
}

/** Step the flow's own machine; the kinds differ in type only. */
const step = (f: Flow, e: FlowEvent, out: Effect[]): void => {
  switch (f.kind) {
    case 'tcp':
      f.state = machines.tcp.step(f.state, e as TcpEvent, out)
      return
    case 'udp':
      f.state = machines.udp.step(f.state, e as UdpEvent, out)
      return
    case 'ping':
      f.state = machines.ping.step(f.state, e as PingEvent, out)
      return
    case 'tcp-splice':
      f.state = machines.tcpSplice.step(f.state, e as TcpSpliceEvent, out)
      return
    case 'udp-splice':
      f.state = machines.udpSplice.step(f.state, e as UdpSpliceEvent, out)
  }
}

/** Carry a step's effects to the ring; a flow in a final state stops matching look-ups at once. */
const settle = (w: World, f: Flow, done: boolean, touch: boolean): void => {
  const had = f.sockOpen
  for (const e of w.effects) interpret(w.out, f, e)
  if (had && !f.sockOpen && !done) w.quotas.released(f.index)
  while (w.effects.length > 0) w.effects.pop() // to set the length gives its memory away: 40 ns more
  if (done) endFlow(w, f)
  else if (touch && !f.touched) {
    f.touched = true
    w.touched.push(f)
  }
}

/** (flow, event) -> flow', effects in the ring. `touch`: its TURN_END is due, if it is none itself. */
export const deliver = (w: World, f: Flow, e: FlowEvent, touch = true): void => {
  const before = f.state
  w.stepping = f
  step(f, e, w.effects)
  w.stepping = null
  if (e.type === 'SOCK_FAILED' || e.type === 'SPLICE_FAILED') logFailure(w.log, f, e)
  if (w.debugging && before.node !== f.state.node)
    logChange(w.log, f, e.type, leavesOf(f)[before.node], leavesOf(f)[f.state.node])
  if (before.node !== f.state.node && w.quotas.isHalfOpen(f.index) && !isWaiting(f))
    w.quotas.accepted(f.index)
  settle(w, f, isFinal(f), touch)
}

/** Something came for the flow: it is in use. Who has an end of its own, as a connection has, is not asked for that. */
export const arrive = (w: World, f: Flow, e: FlowEvent, now: Instant): void => {
  if (f.kind === 'tcp' || f.kind === 'tcp-splice') return deliver(w, f, e)
  w.quotas.use(f.index, seconds(now))
  if (e.type === 'TAP_DATAGRAM' || (e.type === 'UDP_MOVED' && e.side === 1)) w.quotas.answered(f.index)
  deliver(w, f, e)
}

/** What a flow takes of the host. */
const takingOf = (f: Flow): Taking => {
  switch (f.kind) {
    case 'tcp':
      return f.arrival === null ? 'tcpOut' : 'tcpIn'
    case 'udp':
      return f.arrival === null ? 'udpOut' : 'udpIn'
    case 'ping':
      return 'ping'
    case 'tcp-splice':
      return f.side1.inNamespace ? 'tcpPairIn' : 'tcpPairOut'
    case 'udp-splice':
      return f.side1.inNamespace ? 'udpPairIn' : 'udpPairOut'
  }
}

/**
 * Enter a flow whose machine was just started: its first effects are in `w.effects`. There is room for it (admission.ts).
 */
export const begin = (w: World, f: Flow, now: Instant): void => {
  w.flows[f.index] = f
  w.quotas.open(f.index, takingOf(f), seconds(now))
  w.out.capture.began(f, w.frameAt)
  if (w.debugging) logBegin(w.log, f, leavesOf(f)[f.state.node])
  settle(w, f, isFinal(f), true)
}

const closeSockets = (w: World, f: Flow, how: typeof closeSock): void => {
  how(w.rings, f.index)
  if (f.kind === 'udp-splice') how(w.rings, f.index + SIDE_1)
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
}

/**
 * An exception while an event was handled is a bug of ours, and a guest may have found it: the flow it happened in is
 * reset, everything else goes on.
 */
export const survive = (w: World, e: unknown): void => {
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
