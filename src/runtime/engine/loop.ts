import { errnoName } from '../../effects/counters.js'
import { type Instant, instant, type TimerName } from '../../effects/effect.js'
import { EV } from '../abi/abi.js'
import { flowOf, kindOf, sockEvent, tapDropped, tapGone } from '../abi/events.js'
import { turn } from '../abi/rings.js'
import { arrive, deliver, survive } from '../data/deliver.js'
import { onTapFrame } from '../data/demux.js'
import { onAccepted, onListenDatagram, onListenTrouble } from '../data/forward.js'
import { fragmentTimer } from '../data/fragments.js'
import { onAnswer, onBound } from '../data/group-replies.js'
import { onPortShortage, onShortage } from '../data/shortage.js'
import { measureMemory, measuringDue } from '../data/socket-memory.js'
import { TIMERS, type World } from '../data/world.js'
import type { FlowEvent } from '../flow/flow.js'
import { scanTimer } from '../host/listeners.js'
import { count } from '../log/log.js'
import { onCapture } from '../observe/capture.js'
import type { Watch } from '../observe/watch.js'
import { neighbourTimer, onNetlink } from '../services/neighbours.js'
import { linkReady, serviceTimer } from '../services/serve.js'
import { onLinkClient, onLinkEnd, onTapRoom } from './guest-link.js'
import { createTidy } from './tidy.js'

/** Timers handled in one turn; the rest are due at once in the next, so that traffic goes on beside them. */
const TIMERS_PER_TURN = 64

const timerEvent: Readonly<Record<TimerName, 'TIMER_RTO' | 'TIMER_ACK' | 'TIMER_KEEPALIVE' | 'TIMER_IDLE'>> =
  {
    rto: 'TIMER_RTO',
    ack: 'TIMER_ACK',
    keepalive: 'TIMER_KEEPALIVE',
    idle: 'TIMER_IDLE'
  }

/** Why the loop ended. */
export type Ended =
  /** The launcher closed its end or asked us to stop. */
  { readonly why: 'stop' } | { readonly why: 'tap-gone'; readonly errno: number }

const onTapDropped = (w: World, record: number): void => {
  const { frames, errno } = tapDropped(w.rings.ev, record)
  count(w.counters, `tap-refused-${errnoName(errno)}`, frames)
}

const onEvent = (w: World, i: number, now: Instant): Ended | null => {
  const ev = w.rings.ev
  switch (kindOf(ev, i)) {
    case EV.TAP_FRAME:
      if (!w.linkReady) linkReady(w, now)
      onTapFrame(w, i, now)
      return null
    case EV.TAP_DROPPED:
      onTapDropped(w, i)
      return null
    case EV.TAP_GONE:
      return { why: 'tap-gone', errno: tapGone(ev, i) }
    case EV.CTL:
      // The launcher never speaks unasked: whatever comes means the end.
      return { why: 'stop' }
    case EV.CAPTURE:
      onCapture(w, i)
      return null
    case EV.LINK_CLIENT:
      onLinkClient(w, i, now)
      return null
    case EV.LINK_END:
      return onLinkEnd(w, i, now) ? { why: 'stop' } : null
    case EV.TAP_ROOM:
      onTapRoom(w, now)
      return null
    case EV.NETLINK:
      onNetlink(w, i, now)
      return null
    case EV.BOUND:
      onBound(w, i)
      return null
    case EV.ANSWER:
      onAnswer(w, i, now)
      return null
    case EV.ACCEPTED:
      onAccepted(w, i, now)
      return null
    case EV.LISTEN_DATAGRAM:
      onListenDatagram(w, i, now)
      return null
    case EV.LISTEN_ICMP_ERROR:
      // About a datagram that a flow's own socket did not send: nobody waits for it (flows.md §4.4)
      count(w.counters, 'listen-icmp-error')
      return null
    case EV.LISTEN_TROUBLE:
      onListenTrouble(w, i, now)
      return null
    default: {
      const flow = w.flows[flowOf(ev, i)]
      const event = flow === undefined ? null : sockEvent(ev, i, now)
      if (flow === undefined || event === null) {
        count(w.counters, 'event-without-flow')
        return null
      }
      arrive(w, flow, event, now)
      if (event.type === 'SOCK_FAILED' || event.type === 'SPLICE_FAILED') {
        onShortage(w, event.errno, now)
        onPortShortage(w, flow, event.errno, now)
      }
      if (event.type === 'SOCK_PEEKED' && event.tapFull && w.guestLink !== null) w.refused.push(flow)
      return null
    }
  }
}

/** Each flow that had an event this turn gets its TURN_END: coalesced ACKs, peeks and discards. */
const endTurn = (w: World, now: Instant): void => {
  for (let f = w.touched.pop(); f !== undefined; f = w.touched.pop()) {
    f.touched = false
    if (f.kind === 'tcp' && w.flows[f.index] === f) deliver(w, f, { type: 'TURN_END', now }, false)
  }
}

const expireTimers = (w: World, now: Instant): void => {
  w.wheel.expire(
    now,
    (flow, timer) => {
      const f = w.flows[flow]
      if (f !== undefined) deliver(w, f, { type: timerEvent[TIMERS[timer]], now } as FlowEvent)
    },
    TIMERS_PER_TURN
  )
}

/** ms until something is due; -1: nothing is. */
const timeout = (w: World, now: Instant): number => {
  const flows = w.wheel.next(now)
  const others = Math.min(
    w.raAt ?? Number.POSITIVE_INFINITY,
    w.fragments.at,
    measuringDue(w),
    w.neighbours?.dumpAt ?? Number.POSITIVE_INFINITY,
    w.scanning?.scanner.at ?? Number.POSITIVE_INFINITY
  )
  if (others === Number.POSITIVE_INFINITY) return flows
  const service = Math.max(0, others - now)
  return flows < 0 ? service : Math.min(flows, service)
}

/** Everything that one turn's `n` event records lead to: flows stepped, effects in the ring. */
export const handleTurn = (w: World, n: number, now: Instant): Ended | null => {
  let ended: Ended | null = null
  for (let i = 0; i < n; i++)
    try {
      ended = onEvent(w, i, now) ?? ended
    } catch (e) {
      survive(w, e)
    }
  try {
    expireTimers(w, now)
    endTurn(w, now)
  } catch (e) {
    survive(w, e)
  }
  w.table.sweep()
  return ended
}

/** ms. Idle work begins after this long without an event, and looks up this often. */
const QUIET = 1
/** ms. So much later while native moves octets past the tap, without an event. */
const BUSY = 20

/** The earlier of two waits; -1: none. */
const earlier = (a: number, b: number): number => (a < 0 ? b : b < 0 ? a : Math.min(a, b))

/**
 * Turn after turn until the end. Never returns to libuv in between: every wait is native's. `idle`: see warm-up.ts;
 * `collect`: see tidy.ts; `watches`: see watch.ts.
 */
export const loop = (
  w: World,
  idle: Iterator<void>,
  collect: () => void,
  watches: ReadonlyArray<Watch>
): Ended => {
  const native = w.rings.native
  const tidy = createTidy(collect)
  let now = instant(native.now())
  let resting = false
  let quiet = false
  let busy = false
  w.rings.watch = () => {
    for (const watch of watches) watch.effects()
  }
  for (;;) {
    const due = earlier(timeout(w, now), tidy.due(now))
    const look = quiet ? 0 : busy ? BUSY : QUIET
    const wait = resting ? due : due < 0 ? look : Math.min(due, look)
    const moved = w.rings.clock[1]
    const n = turn(w.rings, wait)
    now = instant(w.rings.clock[0])
    for (const watch of watches) watch.events(n, now)
    const ended = handleTurn(w, n, now)
    if (ended !== null) return ended
    serviceTimer(w, now)
    fragmentTimer(w, now)
    neighbourTimer(w, now)
    if (now >= w.measuring.at && w.table.size > 0) measureMemory(w, now)
    if (w.scanning !== null) scanTimer(w.scanning, now)
    tidy.turn(n, now)
    busy = w.rings.clock[1] !== moved
    quiet = n === 0 && !busy
    if (resting || !quiet) continue
    for (const until = now + QUIET; !resting && native.now() < until; ) resting = idle.next().done === true
  }
}
