import { getSystemErrorName } from 'node:util'
import { EACCES, EADDRNOTAVAIL, isShortage } from '../../codecs/value/errno.js'
import type { Log } from '../log/log.js'
import type { Flow, FlowEvent } from './flow.js'
import { flowEnds, flowName } from './flow-text.js'

// The life of flows in the log (behaviour.md#flow-messages): begin, every change of state and end at debug; what keeps a
// flow from working and is not the peer's doing as a warning, which is limited like everything that a guest can cause.

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

/** To whom it is said what a flow does. */
export type FlowSay = (f: Flow, text: string) => void
/** Who asks for debugging wants to know it of all. */
export const debugSay =
  (log: Log): FlowSay =>
  (_, text) =>
    log.at('debug', text)

/** A flow has begun: who it is, and what it is translated to. */
export const logBegin = (say: FlowSay, f: Flow, leaf: string): void => {
  say(f, `${flowName(f)}: NEW -> ${stateName(leaf)}`)
  say(f, `${flowName(f)}:     ${flowEnds(f)}`)
}

/** A step from one state into another. */
export const logChange = (say: FlowSay, f: Flow, event: string, from: string, to: string): void =>
  say(f, `${flowName(f)}: ${event}: ${stateName(from)} -> ${stateName(to)}`)

/**
 * These have lines of their own: what runs out (shortage.ts), ping sockets that are not permitted (world.ts), ports that are used
 * up (admission.ts).
 */
const toldElsewhere = (f: Flow, errno: number): boolean =>
  isShortage(errno) ||
  (errno === EACCES && f.kind === 'ping') ||
  (errno === EADDRNOTAVAIL && (f.kind === 'tcp' || f.kind === 'tcp-splice'))

/** When flows of a kind last failed with an errno, ms. */
export type Failures = Map<`${Flow['kind']} ${string}`, number>
/** ms without one of a kind until it is worth a word again. */
const QUIET = 60_000

/** Its socket failed: each at debug, the first of its kind as a warning. */
export const logFailure = (
  log: Log,
  failures: Failures,
  f: Flow,
  e: Extract<FlowEvent, { readonly errno: number }>,
  say: FlowSay = debugSay(log)
): void => {
  const name = getSystemErrorName(-e.errno)
  const text = `${flowName(f)}: ${name}: ${flowEnds(f)}`
  if (ORDINARY.has(name) || toldElsewhere(f, e.errno)) return say(f, text)
  const last = failures.get(`${f.kind} ${name}`) ?? Number.NEGATIVE_INFINITY
  failures.set(`${f.kind} ${name}`, e.now)
  if (e.now < last + QUIET) say(f, text)
  else log.event('flow', 'warning', `${text} (more like this are said with --debug)`)
}
