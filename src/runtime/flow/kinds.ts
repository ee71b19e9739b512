import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../codecs/wire/checksum.js'
import type { TcpSegment } from '../../codecs/wire/tcp.js'
import type { Effect, Instant } from '../../effects/effect.js'
import { pingMachine } from '../../machines/flow/ping.js'
import { tcpSpliceMachine } from '../../machines/flow/tcp-splice.js'
import { udpMachine } from '../../machines/flow/udp.js'
import { udpSpliceMachine } from '../../machines/flow/udp-splice.js'
import { tcpMachine } from '../../machines/tcp/tcp.js'
import type { Moved } from '../../machines/tcp/tcp-tcb.js'
import { SIDE_1 } from '../abi/abi.js'
import { type Compiled, compile, type State } from '../machine/compile.js'
import {
  type Flow,
  type FlowAddresses,
  type FlowEvent,
  type PairAddresses,
  type PairFlow,
  pairFlow,
  tapFlow
} from './flow.js'
import type { HashKey } from './half-sip-hash.js'
import type { Sequence } from './initial-sequence.js'
import type { Taking } from './quotas.js'

// All there is to know of each kind of flow, beside what its machine does and how its effects become records
// (data/write-effect.ts). A new kind is an entry here, and its effects there.

/** What the beginning of a flow needs of the configuration. */
export interface FlowConfig {
  readonly mss4: number
  readonly mss6: number
  readonly issKey: HashKey
  /** Octets that a new TCP connection's guest may send at once, by a rate limit; 0: there is none. */
  readonly quantum: (ends: FlowAddresses) => number
  readonly udpTimeouts: { readonly oneWay: number; readonly stream: number }
}

/** Where a flow of this kind comes from and goes to. */
type EndsOf<K extends Flow['kind']> = K extends PairFlow['kind'] ? PairAddresses : FlowAddresses
type FlowOf<K extends Flow['kind']> = Extract<Flow, { readonly kind: K }>

/**
 * What a flow is to be. `syn`: of a connection that the guest begins; null: a host peer began it, or it is none. `moved`: it was
 * open elsewhere.
 */
export type Opening = {
  readonly [K in Flow['kind']]: {
    readonly kind: K
    readonly ends: EndsOf<K>
    readonly syn: K extends 'tcp' ? TcpSegment | null : null
    readonly moved?: K extends 'tcp' ? Moved : undefined
  }
}[Flow['kind']]
type OpeningOf<K extends Flow['kind']> = Extract<Opening, { readonly kind: K }>

interface Kind<K extends Flow['kind']> {
  readonly machine: Compiled<FlowOf<K>['state']['context'], never, never>
  /** Its machine's first state; the effects of that are appended to `out`. */
  readonly start: (
    o: OpeningOf<K>,
    cfg: FlowConfig,
    now: Instant,
    out: Effect[],
    initialSequence: Sequence
  ) => State<FlowOf<K>['state']['context']>
  /** Protocol number in the flow table. */
  readonly proto: (ends: EndsOf<K>) => number
  /** What it takes of the host (quotas.ts). */
  readonly takes: (ends: EndsOf<K>) => Taking
  /** Leaves in which whom it is for has not accepted it yet. */
  readonly waits: (ends: EndsOf<K>) => ReadonlyArray<number>
  /** Leaves in which it only waits for what may still come for its addresses, and gives them up to a new flow. */
  readonly yields: ReadonlyArray<number>
  /** Each turn in which it had an event ends with a TURN_END. */
  readonly turnEnd: boolean
  /** Its sockets' handles: where it is forgotten, they are closed. */
  readonly handles: (index: number) => ReadonlyArray<number>
  /** In messages and captures. */
  readonly title: (ends: EndsOf<K>) => string
}

const leaves = (m: { readonly leaves: ReadonlyArray<string> }, ...names: ReadonlyArray<string>) =>
  names.map((name) => m.leaves.indexOf(name))
const oneSocket = (index: number): ReadonlyArray<number> => [index]
const never = (): ReadonlyArray<number> => []
const began = <A>(ends: FlowAddresses, byGuest: A, byPeer: A): A => (ends.arrival === null ? byGuest : byPeer)
const leads = <A>(ends: PairAddresses, out: A, into: A): A => (ends.side1.inNamespace ? into : out)

/** Compiled once, at start: an unsupported feature in a chart fails here and by name. */
export const machines = {
  tcp: compile(tcpMachine),
  udp: compile(udpMachine),
  ping: compile(pingMachine),
  'tcp-splice': compile(tcpSpliceMachine),
  'udp-splice': compile(udpSpliceMachine)
}

const TCP_OUT = leaves(machines.tcp, 'connecting')
const TCP_IN = leaves(machines.tcp, 'connecting', 'synSent', 'synRcvd')
const PAIR_WAITS = leaves(machines['tcp-splice'], 'connecting')
/** Protocol numbers of pairs in the flow table: no packet of the guest can name them. `into`: the namespace. */
export const pairProto = (proto: number, into: boolean): number => proto | (into ? 0x100 : 0x200)

const KINDS: { readonly [K in Flow['kind']]: Kind<K> } = {
  tcp: {
    machine: machines.tcp,
    start: ({ ends, syn, moved }, cfg, now, out, initialSequence) => {
      const quantum = cfg.quantum(ends)
      if (moved !== undefined) {
        const mss = ends.v6 ? cfg.mss6 : cfg.mss4
        return machines.tcp.start({ from: 'move', now, mss, v6: ends.v6, quantum, moved }, out)
      }
      const iss = initialSequence(cfg.issKey, ends, now)
      const mss = ends.v6 ? cfg.mss6 : cfg.mss4
      return machines.tcp.start(
        syn === null
          ? { from: 'host', now, iss, mss, v6: ends.v6, quantum }
          : { from: 'guest', now, iss, syn, mss, v6: ends.v6, quantum },
        out
      )
    },
    proto: () => PROTO_TCP,
    takes: (ends) => began(ends, 'tcpOut', 'tcpIn'),
    waits: (ends) => began(ends, TCP_OUT, TCP_IN),
    yields: leaves(machines.tcp, 'timeWait'),
    turnEnd: true,
    handles: oneSocket,
    title: () => 'TCP connection'
  },
  udp: {
    machine: machines.udp,
    start: ({ ends }, cfg, now, out) =>
      machines.udp.start({ now, v6: ends.v6, timeouts: cfg.udpTimeouts }, out),
    proto: () => PROTO_UDP,
    takes: (ends) => began(ends, 'udpOut', 'udpIn'),
    waits: never,
    yields: [],
    turnEnd: false,
    handles: oneSocket,
    title: () => 'UDP flow'
  },
  ping: {
    machine: machines.ping,
    start: ({ ends }, _, now, out) => machines.ping.start({ now, id: ends.guestPort, v6: ends.v6 }, out),
    proto: (ends) => (ends.v6 ? PROTO_ICMPV6 : PROTO_ICMP),
    takes: () => 'ping',
    waits: never,
    yields: [],
    turnEnd: false,
    handles: oneSocket,
    title: (ends) => (ends.v6 ? 'ICMPv6 ping' : 'ICMP ping')
  },
  'tcp-splice': {
    machine: machines['tcp-splice'],
    start: (_o, _cfg, now, out) => machines['tcp-splice'].start({ now }, out),
    proto: (ends) => pairProto(PROTO_TCP, ends.side1.inNamespace),
    takes: (ends) => leads(ends, 'tcpPairOut', 'tcpPairIn'),
    waits: () => PAIR_WAITS,
    yields: [],
    turnEnd: false,
    handles: oneSocket,
    title: () => 'TCP connection (spliced)'
  },
  'udp-splice': {
    machine: machines['udp-splice'],
    start: (_, cfg, now, out) => machines['udp-splice'].start({ now, timeouts: cfg.udpTimeouts }, out),
    proto: (ends) => pairProto(PROTO_UDP, ends.side1.inNamespace),
    takes: (ends) => leads(ends, 'udpPairOut', 'udpPairIn'),
    waits: never,
    yields: [],
    turnEnd: false,
    handles: (index) => [index, index + SIDE_1],
    title: () => 'UDP flow (spliced)'
  }
}

// --- the same for whoever has a flow, or is about to have one, of any kind

/** A kind's entry, for flows that are of that kind. */
interface AnyKind {
  readonly machine: Compiled<unknown, FlowEvent, never>
  readonly start: (
    o: Opening,
    cfg: FlowConfig,
    now: Instant,
    out: Effect[],
    initialSequence: Sequence
  ) => never
  readonly proto: (ends: FlowAddresses | PairAddresses) => number
  readonly takes: (ends: FlowAddresses | PairAddresses) => Taking
  readonly waits: (ends: FlowAddresses | PairAddresses) => ReadonlyArray<number>
  readonly yields: ReadonlyArray<number>
  readonly turnEnd: boolean
  readonly handles: (index: number) => ReadonlyArray<number>
  readonly title: (ends: FlowAddresses | PairAddresses) => string
}
const TABLE = KINDS as unknown as Readonly<Record<Flow['kind'], AnyKind>>

/** (flow, event) -> flow', effects appended to `out`. */
export const stepFlow = (f: Flow, e: FlowEvent, out: Effect[]): void => {
  f.state = TABLE[f.kind].machine.step(f.state, e, out) as never
}

/** Its machine is in a final state. */
export const isFinal = (f: Flow): boolean => TABLE[f.kind].machine.isFinal(f.state)

/** A connection that whom it is for has not accepted yet. */
export const isWaiting = (f: Flow): boolean => TABLE[f.kind].waits(f).includes(f.state.node)

/** It may end at once for a new flow with its addresses. */
export const yields = (f: Flow): boolean => TABLE[f.kind].yields.includes(f.state.node)

export const hasTurnEnd = (f: Flow): boolean => TABLE[f.kind].turnEnd

/** Name of a leaf of its machine, `node` of a state. */
export const leafOf = (f: Flow, node: number): string => TABLE[f.kind].machine.leaves[node]

export const takingOf = (o: Opening): Taking => TABLE[o.kind].takes(o.ends)

/** Protocol number in the flow table. */
export const protoOf = (o: Opening): number => TABLE[o.kind].proto(o.ends)

export const protoOfFlow = (f: Flow): number => TABLE[f.kind].proto(f)

export const handlesOf = (f: Flow): ReadonlyArray<number> => TABLE[f.kind].handles(f.index)

/** 'UDP flow' */
export const titleOf = (f: Flow): string => TABLE[f.kind].title(f)

/** The flow, its machine started: the effects of that are appended to `out`. */
export const startFlow = (
  o: Opening,
  index: number,
  cfg: FlowConfig,
  now: Instant,
  out: Effect[],
  initialSequence: Sequence
): Flow => {
  const state = TABLE[o.kind].start(o, cfg, now, out, initialSequence)
  return o.kind === 'tcp-splice' || o.kind === 'udp-splice'
    ? pairFlow(o.kind, index, o.ends, state)
    : tapFlow(o.kind, index, o.ends, state)
}
