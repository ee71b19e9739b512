import type { RateLimit } from '../../codecs/text/rate-limit.js'
import type { InAny } from '../../codecs/value/inany.js'
import type { Octets } from '../../codecs/value/octets.js'
import { PROTO_UDP, sum16 } from '../../codecs/wire/checksum.js'
import { ETH_LEN, type Mac } from '../../codecs/wire/ethernet.js'
import { type DropReason, decodeFrame, type Frame } from '../../codecs/wire/frame.js'
import type { Effect, Instant, TimerName } from '../../effects/effect.js'
import type { Announced, GuestLink } from '../../machines/address/guest-address.js'
import { type NatConfig, reverseSource } from '../../machines/address/nat.js'
import type { Seen } from '../../machines/address/nat-inward.js'
import { isGroupOn, type Links } from '../../machines/address/on-link.js'
import { ERROR_BURST, type ErrorBudget, spendError } from '../../machines/flow/host-errors.js'
import { limitsOf } from '../../machines/limit/limits.js'
import type { GuestConfig } from '../../machines/services/guest-config.js'
import type { Rings } from '../abi/rings.js'
import type { Flow } from '../flow/flow.js'
import { debugSay, type Failures, type FlowSay } from '../flow/flow-log.js'
import { createFlowTable, type FlowTable, MAX_FLOWS } from '../flow/flow-table.js'
import type { HashKey } from '../flow/half-sip-hash.js'
import { initialSequence, type Sequence } from '../flow/initial-sequence.js'
import type { FlowConfig } from '../flow/kinds.js'
import type { Listeners } from '../flow/listener.js'
import { createQuotas, type Limits, type Quotas } from '../flow/quotas.js'
import { createTimerWheel, type TimerWheel } from '../flow/timer-wheel.js'
import { type Counters, count, type Log } from '../log/log.js'
import { type Copier, copier, type Fields } from '../machine/copier.js'
import { type Features, noFeatures } from './feature.js'
import { Rates } from './rates.js'
import type { Out } from './write-effect.js'

/** Everything that the loop needs to know. Another one takes its place as a whole, where the host is followed (reconfigure()). */
export interface WorldConfig extends FlowConfig {
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
  /** Random, as is the key of initial sequence numbers. */
  readonly hashKey: HashKey
  readonly forward: {
    readonly mode: 'passt' | 'pasta'
    readonly splice: boolean
    readonly spliceOnly: boolean
    readonly hostLoToNsLo: boolean
    /** Index of the tap in the namespace: scope of link-local addresses there. */
    readonly tapIndex: number
  }
  /** What all flows may take of the host; `sharedTcpPorts`: see quotas.ts. */
  readonly limits: Limits
  readonly sharedTcpPorts: boolean
  /** --limit, in order. */
  readonly rates: ReadonlyArray<RateLimit>
  /** Host peers may begin flows: an option forwards ports to the guest. */
  readonly bothSides: boolean
}

/** What handlers ask for that is no function of what came: so that it can be recorded and played (runtime/record/answers.ts). */
export interface Outside {
  /** Uniform in [0, 1), and no secret. */
  readonly random: () => number
  /** A datagram that was put together: its checksum covers data, which a record does not have. */
  readonly decodeWhole: (whole: Octets) => Frame | DropReason
  /** A keyed hash of addresses, which are others in a record that has aliases. */
  readonly initialSequence: Sequence
}
export const OUTSIDE: Outside = {
  random: Math.random,
  decodeWhole: (whole) => {
    const sum = sum16(whole.view, whole.off + ETH_LEN, whole.len - ETH_LEN)
    return decodeFrame(whole, { needsCsum: false, sum16: sum, gsoSize: 0 })
  },
  initialSequence
}

/** Why the loop ends. */
export type Ended =
  /** The launcher closed its end or asked us to stop. */
  { readonly why: 'stop' } | { readonly why: 'tap-gone'; readonly errno: number }

/** The guest, as far as it was heard of: where what comes in for it goes (learn.ts). */
export interface Guest extends Seen {
  v4: InAny | null
  v6: InAny | null
  linkLocal6: InAny | null
  /** What it is known by until it sends something: the tap's own. */
  mac: Mac
  /** Addresses that it said to be its own. */
  announced: Announced
  /** Somebody is at the other end of its link. */
  up: boolean
}

/** The state of all flows, of the guest, and of what features share. What a feature has beside it is its own (feature.ts). */
export interface World {
  cfg: WorldConfig
  readonly rings: Rings
  readonly out: Out
  readonly log: Log
  /** Somebody wants to know what flows do; looked at for each packet. */
  debugging: boolean
  /** And is told it. */
  flowSay: FlowSay
  readonly counters: Counters
  readonly features: Features
  readonly table: FlowTable
  readonly flows: (Flow | undefined)[]
  readonly quotas: Quotas
  /** null: there is no --limit. */
  readonly rates: Rates | null
  readonly wheel: TimerWheel
  /** Flows that got an event in this turn; some kinds get TURN_END at its end. */
  readonly touched: Flow[]
  /** The flow whose machine is running, for whoever cleans up behind an exception. */
  stepping: Flow | null
  /** Offset in the slab of the guest's frame that is being handled. */
  frameAt: number
  /** Scratch for the effects of one step. */
  readonly effects: Effect[]
  readonly guest: Guest
  readonly listeners: Listeners
  /** What lies on the host's links. */
  links: Links
  /** When it was last said that something has run out, and that the kernel had no port (shortage.ts, admission.ts). */
  readonly saidAt: { shortage: number; ports: number }
  /** For ICMP errors of our own. */
  errors: ErrorBudget
  /** Which sockets failed lately, and how. */
  readonly failures: Failures
  readonly outside: Outside
  /** Number of the last one that came by a UNIX socket (forward.ts). */
  unixPeers: number
  /** The loop is to end with this turn. */
  ended: Ended | null
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

const configOf = (given: WorldConfig): WorldConfig =>
  shaped(configs, { ...given, nat: shaped(nats, given.nat) })

/** Another configuration, that of flows that are there aside: they know all their addresses. */
export const exchangeConfig = (w: World, given: WorldConfig): void => {
  w.cfg = configOf(given)
  w.out.scope6 = w.cfg.scope6
}
/** The same, and who cares is told. */
export const reconfigure = (w: World, given: WorldConfig, now: Instant): void => {
  exchangeConfig(w, given)
  const { reconfigured } = w.features
  for (const hear of reconfigured) hear(now)
}

/** The configurations of all worlds have one shape, however they were put together: for that V8 compiles (warm-up.ts). */
export const createWorld = (
  given: WorldConfig,
  rings: Rings,
  log: Log,
  counters: Counters,
  listeners: Listeners,
  maxFlows: number = MAX_FLOWS,
  outside: Outside = OUTSIDE
): World => {
  const cfg = configOf(given)
  const table = createFlowTable(cfg.hashKey, maxFlows)
  const wheel = createTimerWheel(maxFlows)
  const features = noFeatures(() => count(counters, 'event-without-flow'))
  const guest: Guest = {
    v4: cfg.nat.assigned4,
    v6: cfg.nat.assigned6,
    linkLocal6: null,
    mac: cfg.guestMac,
    announced: [],
    up: false
  }
  const rates = cfg.rates.length === 0 ? null : new Rates(limitsOf(cfg.rates), maxFlows, rings.clock[0])
  const out: Out = {
    rings,
    rates,
    counters,
    sending: features.sending,
    outbound4: cfg.outbound4,
    outbound6: cfg.outbound6,
    scope6: cfg.scope6,
    armTimer: (flow, timer, at) => wheel.arm(flow, timerIndex[timer], at),
    cancelTimer: (flow, timer) => wheel.cancel(flow, timerIndex[timer]),
    // Two guest-side addresses may stand for one host address: then only one flow can keep the guest's port.
    hostPortFor: (f) =>
      table.claim(f.index, PROTO_UDP, f.hostAddr, f.hostPort, f.guestPort) ? f.guestPort : 0,
    isGroup: (a) => isGroupOn(world.links, a),
    own: (v6) => (v6 ? world.cfg.nat.own6 : world.cfg.nat.own4),
    mayTell: () => {
      const left = spendError(world.errors, rings.clock[0])
      if (left === null) return false
      world.errors = left
      return true
    },
    macOf: cfg.guest.macOf,
    guestMac: () => guest.mac,
    firstTime: (what) => {
      const text = ADVICE[what]
      if (text !== undefined) log.at('warning', text)
    },
    offenderSeenByGuest: (f, addr) => reverseSource(world.cfg.nat, f, addr, f.v6 ? guest.v6 : guest.v4),
    nextId: 1
  }
  const world: World = {
    cfg,
    rings,
    out,
    log,
    debugging: log.enabled('debug'),
    flowSay: debugSay(log),
    counters,
    features,
    table,
    flows: list(),
    rates,
    quotas: createQuotas(cfg.limits, maxFlows, cfg.sharedTcpPorts, cfg.bothSides),
    wheel,
    touched: list(),
    stepping: null,
    frameAt: 0,
    effects: list(),
    guest,
    listeners,
    links: [],
    saidAt: { shortage: Number.NEGATIVE_INFINITY, ports: Number.NEGATIVE_INFINITY },
    errors: { tokens: ERROR_BURST, at: 0 },
    failures: new Map(),
    outside,
    unixPeers: 0,
    ended: null
  }
  // To V8 a field that has changed once: what it compiles for one that never does would be thrown away at the first change
  world.cfg = configOf(cfg)
  world.debugging = !world.debugging
  world.debugging = !world.debugging
  world.flowSay = debugSay(log)
  return world
}
