import type { InAny } from '../../codecs/value/inany.js'
import { type SeqNum, seq } from '../../codecs/value/seq.js'
import { PROTO_UDP } from '../../codecs/wire/checksum.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import type { Effect, Instant, ServiceEffect, TimerName } from '../../effects/effect.js'
import type { Announced, GuestLink } from '../../machines/address/guest-address.js'
import { type NatConfig, reverseSource } from '../../machines/address/nat.js'
import { isGroupOn, type Links } from '../../machines/address/on-link.js'
import { ERROR_BURST, type ErrorBudget, spendError } from '../../machines/flow/host-errors.js'
import { pingMachine } from '../../machines/flow/ping.js'
import { tcpSpliceMachine } from '../../machines/flow/tcp-splice.js'
import { udpMachine } from '../../machines/flow/udp.js'
import { udpSpliceMachine } from '../../machines/flow/udp-splice.js'
import type { LinkContext } from '../../machines/link/guest-link.js'
import type { GuestConfig } from '../../machines/services/guest-config.js'
import { ndpMachine, type RouterAdvertContext } from '../../machines/services/ndp.js'
import { tcpMachine } from '../../machines/tcp/tcp.js'
import type { Rings } from '../abi/rings.js'
import type { Flow, FlowAddresses } from '../flow/flow.js'
import { createFlowTable, type FlowTable, MAX_FLOWS } from '../flow/flow-table.js'
import { type HashKey, halfSipHash24 } from '../flow/half-sip-hash.js'
import { createQuotas, type Limits, type Quotas } from '../flow/quotas.js'
import { createTimerWheel, type TimerWheel } from '../flow/timer-wheel.js'
import type { IdPool, Listeners, ListenPlace, Scanning } from '../host/listeners.js'
import type { Counters, Log } from '../log/log.js'
import { compile, type State } from '../machine/compile.js'
import { type Copier, copier, type Fields } from '../machine/copier.js'
import { flowComments, NO_CAPTURE } from '../observe/capture.js'
import type { NeighbourWatch } from '../services/neighbours.js'
import { type Fragments, noFragments } from './fragments.js'
import type { Out } from './interpret.js'

/** Compiled once, at start: an unsupported feature in a chart fails here and by name. */
export const machines = {
  tcp: compile(tcpMachine),
  udp: compile(udpMachine),
  ping: compile(pingMachine),
  tcpSplice: compile(tcpSpliceMachine),
  udpSplice: compile(udpSpliceMachine),
  ndp: compile<typeof ndpMachine, ServiceEffect>(ndpMachine)
}

/** Everything that the loop needs to know and never changes. */
export interface WorldConfig {
  readonly guestMac: Mac
  readonly guest: GuestConfig
  readonly guestLink: GuestLink
  readonly nat: NatConfig
  readonly outbound4: InAny | null
  readonly outbound6: InAny | null
  readonly scope6: number
  readonly tcp: boolean
  readonly udp: boolean
  readonly icmp: boolean
  readonly v4: boolean
  readonly v6: boolean
  /** MSS that we may offer the guest. */
  readonly mss4: number
  readonly mss6: number
  /** Random: keys of the flow hash, and of initial sequence numbers (RFC 6528). */
  readonly hashKey: HashKey
  readonly issKey: HashKey
  readonly forward: {
    readonly mode: 'passt' | 'pasta'
    readonly splice: boolean
    readonly spliceOnly: boolean
    readonly hostLoToNsLo: boolean
    /** Index of the tap in the namespace: scope of link-local addresses there. */
    readonly tapIndex: number
  }
  readonly udpTimeouts: { readonly oneWay: number; readonly stream: number }
  /** What all flows may take of the host; `sharedTcpPorts`: see quotas.ts. */
  readonly limits: Limits
  readonly sharedTcpPorts: boolean
  /** Host peers may begin flows: an option forwards ports to the guest. */
  readonly bothSides: boolean
  /** The capture has room for comments (pcapng). */
  readonly flowComments: boolean
}

/** The engine's only mutable state, all of it. */
export interface World {
  readonly cfg: WorldConfig
  readonly rings: Rings
  readonly out: Out
  readonly log: Log
  /** Of the log, as constants: looked at for each packet. */
  readonly debugging: boolean
  readonly tracing: boolean
  readonly counters: Counters
  readonly table: FlowTable
  readonly flows: (Flow | undefined)[]
  readonly quotas: Quotas
  /** When the next flows are measured, and from which one on (socket-memory.ts). */
  readonly measuring: { at: number; from: number }
  readonly wheel: TimerWheel
  /** Flows that got an event in this turn: their TURN_END is due. */
  readonly touched: Flow[]
  /** The flow whose machine is running, for whoever cleans up behind an exception. */
  stepping: Flow | null
  /** Offset in the slab of the guest's frame that is being handled. */
  frameAt: number
  /** Scratch for the effects of one step. */
  readonly effects: Effect[]
  /** What it is known by until it sends something: the tap's own. */
  guestMac: Mac
  readonly listeners: Listeners
  readonly listenerIds: IdPool
  /** Addresses that the guest said to be its own. */
  announced: Announced
  /** What lies on the host's links. */
  links: Links
  /** Automatic ports; null: none. */
  scanning: Scanning | null
  seen4: InAny | null
  seen6: InAny | null
  seenLinkLocal: InAny | null
  /** Router advertisements; their deadline, or null. */
  ra: State<RouterAdvertContext>
  raAt: Instant | null
  linkReady: boolean
  /** The guest's datagrams that are not complete. */
  readonly fragments: Fragments
  /** The host's neighbours; null: nobody tells of them. */
  neighbours: NeighbourWatch | null
  /** In place of a tap: who is at its other end; null: there is a tap. */
  guestLink: State<LinkContext> | null
  /** Flows whose segments the guest link had no room for, until there is some. */
  readonly refused: Flow[]
  /** When it was last said that something has run out (shortage.ts). */
  shortageSaidAt: number
  /** When the kernel last had no port for a connection (admission.ts). */
  portsOutAt: number
}

export const TIMERS: readonly TimerName[] = ['rto', 'ack', 'keepalive', 'idle']
const timerIndex: Readonly<Record<TimerName, number>> = { rto: 0, ack: 1, keepalive: 2, idle: 3 }

/** Said once, the first time it is counted. */
const ADVICE: Readonly<Record<string, string>> = {
  'ping-not-permitted':
    'cannot open a ping socket: net.ipv4.ping_group_range does not include our group (icmp(7)); echo requests are dropped'
}

const configs = copier()
const nats = copier()
/** A copy whose shape all copies by this copier have. */
const shaped = <T extends object>(by: Copier, o: T): T => {
  by.learn(o as Fields)
  return by.copy(o as Fields) as T
}

/** An empty list of objects. To V8 `[]` is one of small integers until it has held something else, and code for that is thrown away then. */
const list = <T>(): T[] => {
  const l: (T | null)[] = [null]
  l.pop()
  return l as T[]
}

/** The configurations of all worlds have one shape, however they were put together: for that V8 compiles (warm-up.ts). */
export const createWorld = (
  given: WorldConfig,
  rings: Rings,
  log: Log,
  counters: Counters,
  place: Pick<ListenPlace, 'listeners' | 'listenerIds'>,
  maxFlows: number = MAX_FLOWS
): World => {
  const cfg = shaped(configs, { ...given, nat: shaped(nats, given.nat) })
  const table = createFlowTable(cfg.hashKey, maxFlows)
  const wheel = createTimerWheel(maxFlows)
  let errors: ErrorBudget = { tokens: ERROR_BURST, at: 0 }
  const out: Out = {
    rings,
    counters,
    capture: cfg.flowComments ? flowComments(rings) : NO_CAPTURE,
    outbound4: cfg.outbound4,
    outbound6: cfg.outbound6,
    scope6: cfg.scope6,
    armTimer: (flow, timer, at) => wheel.arm(flow, timerIndex[timer], at),
    cancelTimer: (flow, timer) => wheel.cancel(flow, timerIndex[timer]),
    // Two guest-side addresses may stand for one host address: then only one flow can keep the guest's port.
    hostPortFor: (f) =>
      table.claim(f.index, PROTO_UDP, f.hostAddr, f.hostPort, f.guestPort) ? f.guestPort : 0,
    isGroup: (a) => isGroupOn(world.links, a),
    own: (v6) => (v6 ? cfg.nat.own6 : cfg.nat.own4),
    mayTell: () => {
      const left = spendError(errors, rings.clock[0])
      errors = left ?? errors
      return left !== null
    },
    macOf: cfg.guest.macOf,
    firstTime: (what) => {
      const text = ADVICE[what]
      if (text !== undefined) log.at('warning', text)
    },
    offenderSeenByGuest: (f, addr) => reverseSource(cfg.nat, f, addr, f.v6 ? world.seen6 : world.seen4),
    nextId: 1
  }
  const world: World = {
    cfg,
    rings,
    out,
    log,
    debugging: log.enabled('debug'),
    tracing: log.enabled('trace'),
    counters,
    table,
    flows: list(),
    quotas: createQuotas(cfg.limits, maxFlows, cfg.sharedTcpPorts, cfg.bothSides),
    measuring: { at: Number.NEGATIVE_INFINITY, from: 0 },
    wheel,
    touched: list(),
    stepping: null,
    frameAt: 0,
    effects: list(),
    guestMac: cfg.guestMac,
    listeners: place.listeners,
    listenerIds: place.listenerIds,
    announced: [],
    links: [],
    scanning: null,
    seen4: cfg.nat.assigned4,
    seen6: cfg.nat.assigned6,
    seenLinkLocal: null,
    ra: machines.ndp.start({ config: cfg.guest }, []),
    raAt: null,
    linkReady: false,
    fragments: noFragments(),
    neighbours: null,
    guestLink: null,
    refused: list(),
    shortageSaidAt: Number.NEGATIVE_INFINITY,
    portsOutAt: Number.NEGATIVE_INFINITY
  }
  return world
}

const issWords = new Uint32Array(10)
/** RFC 6528: a keyed hash of the addresses, plus a clock of 4 µs. */
export const initialSequence = (w: World, f: FlowAddresses, now: Instant): SeqNum => {
  issWords.set(f.guestAddr, 0)
  issWords.set(f.ourAddr, 4)
  issWords[8] = (f.guestPort << 16) | f.ourPort
  return seq(halfSipHash24(w.cfg.issKey, issWords, 9) + Math.floor(now * 250))
}
