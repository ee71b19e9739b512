import * as O from 'fp-ts/lib/Option.js'
import type { NoTrace, Trace, TraceInfo } from '../../codecs/control/api.js'
import { type InAny, parseAddr, sameAddr } from '../../codecs/value/inany.js'
import type { Fragment } from '../../codecs/wire/fragment.js'
import { type Bucket, bucket, filled, type Rate, spend } from '../../machines/limit/token-bucket.js'
import { admit, type Bucket as Ends } from '../../machines/log/log-limiter.js'
import { type Feature, lookOn } from '../data/feature.js'
import type { World } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import { type Flow, isPair, type PairFlow, type TapFlow } from '../flow/flow.js'
import { debugSay } from '../flow/flow-log.js'
import { type IpFrame, traceTurns } from './trace.js'

// Flows and packets are told of while all runs, on request (behaviour.md#tracing): what --debug and --trace tell of all from the start. Only
// somebody who asks makes that there is anything on the data path. What it says changes nothing, so a record knows nothing of it.

/** Lines in a row, and a ms: the log of one that is forgotten grows by some 10 kB a second, for LASTS. */
const LINES: Rate = { perMs: 0.1, burst: 500 }
/** ms */
export const LASTS = 3_600_000
const OFF: Trace = { flows: false, packets: false, flow: null, port: null, address: null }
const isOn = (t: Trace): boolean => t.flows || t.packets

/** Ports of a packet, an identifier for both where it has that; -1: none. */
const srcPortOf = (f: IpFrame): number =>
  f.kind === 'other' ? -1 : f.kind === 'tcp' || f.kind === 'udp' ? f.l4.srcPort : f.l4.id
const dstPortOf = (f: IpFrame): number =>
  f.kind === 'other' ? -1 : f.kind === 'tcp' || f.kind === 'udp' ? f.l4.dstPort : f.l4.id
const isOfKind = (f: IpFrame, flow: TapFlow): boolean =>
  flow.kind === 'ping' ? f.kind === 'icmp' || f.kind === 'icmpv6' : f.kind === flow.kind
const isOfFlow = (f: IpFrame, flow: TapFlow): boolean => {
  const ping = flow.kind === 'ping'
  const is = (guest: InAny, guestPort: number, peer: InAny, peerPort: number): boolean =>
    guestPort === flow.guestPort &&
    (ping || peerPort === flow.ourPort) &&
    sameAddr(guest, flow.guestAddr) &&
    sameAddr(peer, flow.ourAddr)
  const [from, to] = [srcPortOf(f), dstPortOf(f)]
  return isOfKind(f, flow) && (is(f.ip.src, from, f.ip.dst, to) || is(f.ip.dst, to, f.ip.src, from))
}

const pairHasPort = ({ side0, side1, arrival }: PairFlow, port: number): boolean =>
  side0.dstPort === port || side1.dstPort === port || arrival.port === port
const pairHasAddr = ({ side0, side1, arrival }: PairFlow, a: InAny): boolean =>
  sameAddr(side0.dst, a) || sameAddr(side1.dst, a) || sameAddr(arrival.addr, a)
const hasPort = (f: Flow, port: number): boolean =>
  isPair(f) ? pairHasPort(f, port) : [f.guestPort, f.ourPort, f.hostPort, f.arrival?.port].includes(port)
const hasAddr = (f: Flow, a: InAny): boolean =>
  isPair(f)
    ? pairHasAddr(f, a)
    : sameAddr(f.guestAddr, a) || sameAddr(f.ourAddr, a) || sameAddr(f.hostAddr, a)

export interface LiveTrace {
  readonly feature: Feature
  /** What is on from here on; null: as it was. */
  readonly ask: (t: Trace | null, now: number) => TraceInfo | NoTrace
}

export const liveTrace = (w: World): LiveTrace => {
  const deadline = new Deadline()
  let on = OFF
  let port = -1
  let address: InAny | null = null
  let flow: Flow | null = null
  let tokens: Bucket = bucket(LINES, 0)
  let lines = 0
  let lost = 0
  /** Of `lost`, not said yet. */
  let unsaid = 0
  let ends: Ends | undefined
  let stop: () => void = () => {}
  const debugs = w.debugging
  const toLog = debugSay(w.log)

  /** One more line, if there are not too many. */
  const may = (): boolean => {
    tokens = filled(LINES, tokens, w.rings.clock[0])
    if (tokens.tokens < 1) {
      lost++
      unsaid++
      return false
    }
    tokens = spend(LINES, tokens, 1)
    return true
  }
  const say = (text: string): void => {
    w.log.asked(`trace: ${text}${unsaid === 0 ? '' : ` (${unsaid} lines before this one were left out)`}`)
    unsaid = 0
    lines++
  }
  /** Who asks for another trace again and again has no more lines by that. */
  const sayEnd = (now: number): void => {
    const { bucket: left, said } = admit(ends, now)
    ends = left
    if (said !== null) say('the end')
  }
  const seesFlow = (f: Flow): boolean =>
    (flow === null || flow === f) &&
    (port < 0 || hasPort(f, port)) &&
    (address === null || hasAddr(f, address))
  const seesFrame = (f: IpFrame | Fragment | null): boolean => {
    if (f === null) return flow === null && port < 0 && address === null
    const fragment = 'headLen' in f
    const { src, dst } = fragment ? f : f.ip
    if (address !== null && !sameAddr(src, address) && !sameAddr(dst, address)) return false
    if (fragment) return flow === null && port < 0
    if (port >= 0 && srcPortOf(f) !== port && dstPortOf(f) !== port) return false
    return flow === null || (!isPair(flow) && isOfFlow(f, flow))
  }
  /** Anew for each request: what another one waited for is none of its lines. */
  const packets = (): Feature =>
    traceTurns(w, { frame: (f) => seesFrame(f) && may(), flow: (f) => seesFlow(f) && may(), say })

  const set = (t: Trace, now: number): void => {
    stop()
    if (unsaid > 0) sayEnd(now)
    on = t
    port = t.port ?? -1
    const parsed = t.address === null ? O.none : parseAddr(t.address)
    address = O.isSome(parsed) ? parsed.value : null
    flow = t.flow === null ? null : (w.flows[t.flow] ?? null)
    lines = 0
    lost = 0
    deadline.at = isOn(t) ? now + LASTS : Number.POSITIVE_INFINITY
    // What the options ask for is told of all anyway
    const flowsToo = t.flows && !debugs
    w.debugging = debugs || flowsToo
    w.flowSay = !flowsToo
      ? toLog
      : (f, text) => {
          if (seesFlow(f) && may()) say(text)
        }
    stop = t.packets && !w.log.enabled('trace') ? lookOn(w.features, packets()) : () => {}
  }
  const info = (now: number): TraceInfo => ({
    ...on,
    endsInMs: isOn(on) ? Math.max(0, deadline.at - now) : null,
    lines,
    lost
  })
  return {
    feature: {
      name: 'tracing while all runs',
      deadline,
      onTime: (now) => {
        const { flow: id } = on
        set(OFF, now)
        const why = id === null ? 'its hour is over' : `flow ${id} has, or its hour is over`
        w.log.asked(`tracing has ended: ${why}`)
      },
      // Its place is another one's from here on
      flowEnded: (f) => {
        if (f === flow) deadline.at = 0
      }
    },
    ask: (t, now) => {
      if (t === null) return info(now)
      if (!isOn(t)) set(OFF, now)
      else if (t.flow !== null && w.flows[t.flow] === undefined) return 'no flow'
      else if (!w.log.heard()) return 'no log'
      else set(t, now)
      return info(now)
    }
  }
}
