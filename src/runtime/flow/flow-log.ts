import { getSystemErrorName } from 'node:util'
import type { Log } from '../log/log.js'
import type { Flow, FlowEvent } from './flow.js'
import { flowEnds, flowName } from './flow-text.js'

// The life of flows in the log (flows.md §1.3): begin, every change of state and end at debug; what keeps a flow from
// working and is not the peer's doing as a warning, which is limited like everything that a guest can cause.

/** 'open.finWait1' -> 'FIN_WAIT_1', as RFC 9293 §3.3.2 has it. */
export const stateName = (leaf: string): string =>
  leaf
    .slice(leaf.lastIndexOf('.') + 1)
    .replace(/([a-z])([A-Z0-9])/g, '$1_$2')
    .toUpperCase()

/** A peer or a router says no: the guest is told, nobody else need be. */
const ORDINARY = new Set([
  'EPIPE',
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTCONN',
  'EPROTO'
])

/** A flow has begun: who it is, and what it is translated to. */
export const logBegin = (log: Log, f: Flow, leaf: string): void => {
  log.at('debug', `${flowName(f)}: NEW -> ${stateName(leaf)}`)
  log.at('debug', `${flowName(f)}:     ${flowEnds(f)}`)
}

/** A step from one state into another. */
export const logChange = (log: Log, f: Flow, event: string, from: string, to: string): void =>
  log.at('debug', `${flowName(f)}: ${event}: ${stateName(from)} -> ${stateName(to)}`)

/** Its socket failed. */
export const logFailure = (log: Log, f: Flow, e: Extract<FlowEvent, { readonly errno: number }>): void => {
  const name = getSystemErrorName(-e.errno)
  log.event('flow', ORDINARY.has(name) ? 'debug' : 'warning', `${flowName(f)}: ${name}: ${flowEnds(f)}`)
}
