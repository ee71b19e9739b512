import type { Instant, TimerName } from '../../effects/effect.js'
import type { SockEvent, SpliceEvent, UdpMoved } from '../../effects/sock-event.js'
import { SIDE_1 } from '../abi/abi.js'
import { flowOf, handleOf, sockEvent } from '../abi/events.js'
import type { Flow, FlowEvent } from '../flow/flow.js'
import { keeping } from '../flow/keeps.js'
import { hasTurnEnd } from '../flow/kinds.js'
import { NAMES, namingOf, readNames } from '../flow/naming.js'
import { count } from '../log/log.js'
import { arrive, deliver, settle } from './deliver.js'
import type { Feature, Taker } from './feature.js'
import { onPortShortage, onShortage } from './shortage.js'
import { TIMERS, type World } from './world.js'

// What flows hear beside the guest's frames: of their sockets, of time, and of the end of a turn.

/** Timers handled in one turn; the rest are due at once in the next, so that traffic goes on beside them. */
const TIMERS_PER_TURN = 64

const timerEvent: Readonly<Record<TimerName, 'TIMER_RTO' | 'TIMER_ACK' | 'TIMER_KEEPALIVE' | 'TIMER_IDLE'>> =
  {
    rto: 'TIMER_RTO',
    ack: 'TIMER_ACK',
    keepalive: 'TIMER_KEEPALIVE',
    idle: 'TIMER_IDLE'
  }

export const expireTimers = (w: World, now: Instant): void => {
  w.wheel.expire(
    now,
    (flow, timer) => {
      const f = w.flows[flow]
      if (f !== undefined) deliver(w, f, { type: timerEvent[TIMERS[timer]], now } as FlowEvent)
    },
    TIMERS_PER_TURN
  )
}

/** Each flow of a kind that asks for it gets a TURN_END behind its events of this turn: coalesced ACKs, peeks and discards. */
export const endTurn = (w: World, now: Instant): void => {
  for (let f = w.touched.pop(); f !== undefined; f = w.touched.pop()) {
    f.touched = false
    if (hasTurnEnd(f) && !f.held && w.flows[f.index] === f)
      deliver(w, f, { type: 'TURN_END', now } as FlowEvent, false)
  }
}

/** A record about a flow's socket to the flow that it names. */
const onSocket = (w: World, i: number, now: Instant, behind: Behind): void => {
  const { ev } = w.rings
  const flow = w.flows[flowOf(ev, i)]
  const event = flow === undefined ? null : sockEvent(ev, i, now)
  if (flow === undefined || event === null) return count(w.counters, 'event-without-flow')
  arrive(w, flow, event, now)
  behind(flow, event, now)
}
/** What else there is to do, once the flow has heard of it. */
type Behind = (f: Flow, e: SockEvent | SpliceEvent | UdpMoved, now: Instant) => void
const nothing: Behind = () => {}

export const flows = (w: World): Feature => {
  /** Flows whose segments the guest link had no room for, until there is some. */
  const refused: Flow[] = []
  const usual: Taker = (i, now) => onSocket(w, i, now, nothing)
  const failure: Behind = (f, e, now) => {
    if (e.type !== 'SOCK_FAILED' && e.type !== 'SPLICE_FAILED') return
    onShortage(w, e.errno, now)
    onPortShortage(w, f, e.errno, now)
  }
  /** Ahead of the flow, which may end by it: the target of a pair is side 1. */
  const refusal =
    (then: Taker): Taker =>
    (i, now) => {
      const { ev } = w.rings
      const f = handleOf(ev, i) < SIDE_1 ? undefined : w.flows[flowOf(ev, i)]
      const e = f === undefined ? null : sockEvent(ev, i, now)
      if (f !== undefined && e !== null) settle(w, f, e)
      then(i, now)
    }
  const peek: Behind = (f, e, now) => {
    if (w.rates !== null && e.type === 'SOCK_PEEKED') w.rates.peeked(f, e.octets, now)
    if (e.type === 'SOCK_PEEKED' && e.tapFull && e.tapTells) refused.push(f)
  }
  return {
    name: 'flows',
    keeps: keeping(
      NAMES,
      () => refused.map(namingOf(w.flows).nameOf),
      (names) => readNames(namingOf(w.flows), refused, names)
    ),
    takes: {
      CONNECTED: usual,
      SENT: usual,
      PEEKED: (i, now) => onSocket(w, i, now, peek),
      READY: usual,
      ACKED: usual,
      FAILED: refusal((i, now) => onSocket(w, i, now, failure)),
      DATAGRAM: usual,
      ICMP_ERROR: refusal(usual),
      INFO: usual,
      SPLICE_CONNECTED: usual,
      SPLICE_EOF: usual,
      SPLICE_FAILED: (i, now) => onSocket(w, i, now, failure),
      UDP_MOVED: usual,
      REFUSED: refusal(usual),
      // Whoever was refused tries again at once
      TAP_ROOM: (_, now) => {
        for (let f = refused.pop(); f !== undefined; f = refused.pop())
          if (w.flows[f.index] === f) deliver(w, f, { type: 'TAP_ROOM', now })
      }
    }
  }
}
