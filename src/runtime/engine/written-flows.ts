import * as t from 'io-ts'
import { Addr, MacAddr, Place, Real } from '../../codecs/log/written.js'
import { orNull } from '../../codecs/value/or-null.js'
import { PATTERN, type Tcb } from '../../machines/tcp/tcp-tcb.js'
import {
  type Arrival,
  type Endpoint,
  type Flow,
  type FlowAddresses,
  type PairAddresses,
  pairFlow,
  tapFlow
} from '../flow/flow.js'
import { Moment, stateAt } from '../flow/keeps.js'
import { leafOf, machines } from '../flow/kinds.js'

// Flows as a record has them that begins in the middle: of each its addresses, and its machine's leaf and context. No path, as in all of a record.

const ArrivalKept = t.type({ listener: t.number, addr: Addr, port: Place, scope: Place, slot: t.number })
const Unix = orNull(t.type({ path: t.string, number: t.number }))
const EndpointKept = t.type({
  inNamespace: t.boolean,
  dst: Addr,
  dstPort: Place,
  scope: Place,
  src: orNull(Addr),
  srcPort: Place,
  unix: Unix
})
const PairEnds = t.type({ arrival: ArrivalKept, side0: EndpointKept, side1: EndpointKept })
const TapEnds = t.type({
  v6: t.boolean,
  guestMac: MacAddr,
  ourMac: MacAddr,
  guestAddr: Addr,
  guestPort: Place,
  ourAddr: Addr,
  ourPort: Place,
  hostAddr: Addr,
  hostPort: Place,
  arrival: orNull(ArrivalKept)
})

const Timeouts = t.type({ oneWay: Real, stream: Real })
/** Of a TCP connection: values in the order of its fields (`TCP_FIELDS`), so that thousands of them are short. */
const Row = t.array(t.union([Real, t.boolean, t.null, t.string]))
const OF_KIND = {
  udp: t.type({
    v6: t.boolean,
    timeouts: Timeouts,
    openedAt: Moment,
    lastActivity: Moment,
    fromGuest: Place,
    fromPeer: Place
  }),
  ping: t.type({ v6: t.boolean, id: Place, openedAt: Moment, lastRequest: Moment, lastSeq: t.number }),
  'tcp-splice': t.type({ openedAt: Moment, moved: t.tuple([Real, Real]) }),
  'udp-splice': t.type({
    timeouts: Timeouts,
    lastActivity: Moment,
    fromInitiator: Place,
    fromTarget: Place
  })
} as const

export const TCP_FIELDS: ReadonlyArray<keyof Tcb> = Object.keys(PATTERN) as (keyof Tcb)[]

const kind = <K extends Flow['kind'], C extends t.Mixed, E extends t.Mixed>(k: K, context: C, ends: E) =>
  t.type({
    kind: t.literal(k),
    index: Place,
    sockOpen: t.boolean,
    held: t.boolean,
    leaf: t.string,
    context,
    ends
  })
export const FlowKept = t.union([
  kind('tcp', Row, TapEnds),
  kind('udp', OF_KIND.udp, TapEnds),
  kind('ping', OF_KIND.ping, TapEnds),
  kind('tcp-splice', OF_KIND['tcp-splice'], PairEnds),
  kind('udp-splice', OF_KIND['udp-splice'], PairEnds)
])
export type FlowKept = t.TypeOf<typeof FlowKept>

// Written by hand: io-ts would look which kind each flow, and each of its numbers, is of, and take ten times as long.

type Written<C extends t.Mixed> = t.OutputOf<C>
const arrivalOf = (a: Arrival): Written<typeof ArrivalKept> => ({
  listener: a.listener,
  addr: Addr.encode(a.addr),
  port: a.port,
  scope: a.scope,
  slot: a.slot
})
const endpointOf = (e: Endpoint): Written<typeof EndpointKept> => ({
  inNamespace: e.inNamespace,
  dst: Addr.encode(e.dst),
  dstPort: e.dstPort,
  scope: e.scope,
  src: e.src === null ? null : Addr.encode(e.src),
  srcPort: e.srcPort,
  unix: e.unix === null ? null : { path: '', number: e.unix.number }
})
const pairEnds = (f: PairAddresses): Written<typeof PairEnds> => ({
  arrival: arrivalOf(f.arrival),
  side0: endpointOf(f.side0),
  side1: endpointOf(f.side1)
})
const tapEnds = (f: FlowAddresses): Written<typeof TapEnds> => ({
  v6: f.v6,
  guestMac: MacAddr.encode(f.guestMac),
  ourMac: MacAddr.encode(f.ourMac),
  guestAddr: Addr.encode(f.guestAddr),
  guestPort: f.guestPort,
  ourAddr: Addr.encode(f.ourAddr),
  ourPort: f.ourPort,
  hostAddr: Addr.encode(f.hostAddr),
  hostPort: f.hostPort,
  arrival: f.arrival === null ? null : arrivalOf(f.arrival)
})
const rowOf = (b: Tcb): Written<typeof Row> => {
  const row: Written<typeof Row> = []
  for (const field of TCP_FIELDS) {
    const value = b[field]
    row.push(typeof value === 'number' ? Real.encode(value) : value)
  }
  return row
}

/** As `FlowKept` would encode it. */
export const writtenFlow = (f: Flow): Written<typeof FlowKept> => {
  const { index, sockOpen, held } = f
  const of = { index, sockOpen, held, leaf: leafOf(f, f.state.node) }
  switch (f.kind) {
    case 'tcp':
      return { kind: f.kind, ...of, context: rowOf(f.state.context.tcb), ends: tapEnds(f) }
    case 'udp':
      return { kind: f.kind, ...of, context: OF_KIND.udp.encode(f.state.context), ends: tapEnds(f) }
    case 'ping':
      return { kind: f.kind, ...of, context: OF_KIND.ping.encode(f.state.context), ends: tapEnds(f) }
    case 'tcp-splice': {
      const { openedAt, moved } = f.state.context
      const context = OF_KIND['tcp-splice'].encode({ openedAt, moved: [moved[0], moved[1]] })
      return { kind: f.kind, ...of, context, ends: pairEnds(f) }
    }
    case 'udp-splice':
      return {
        kind: f.kind,
        ...of,
        context: OF_KIND['udp-splice'].encode(f.state.context),
        ends: pairEnds(f)
      }
  }
}

const kindOf = (u: unknown): string => (typeof u === 'boolean' || typeof u === 'string' ? typeof u : 'number')
const isBlock = (row: t.TypeOf<typeof Row>): boolean =>
  row.length === TCP_FIELDS.length &&
  TCP_FIELDS.every((field, i) => kindOf(PATTERN[field]) === kindOf(row[i]))
const blockOf = (row: t.TypeOf<typeof Row>): Tcb =>
  Object.fromEntries(TCP_FIELDS.map((field, i) => [field, row[i]])) as unknown as Tcb

/** null: its machine has no such state. */
export const flowOfKept = (k: FlowKept): Flow | null => {
  const made = begun(k)
  if (made === null) return null
  made.sockOpen = k.sockOpen
  made.held = k.held
  return made
}
const begun = (k: FlowKept): Flow | null => {
  switch (k.kind) {
    case 'tcp': {
      const state = isBlock(k.context) ? stateAt(machines.tcp, k.leaf, { tcb: blockOf(k.context) }) : null
      return state === null ? null : tapFlow('tcp', k.index, k.ends, state)
    }
    case 'udp': {
      const state = stateAt(machines.udp, k.leaf, k.context)
      return state === null ? null : tapFlow('udp', k.index, k.ends, state)
    }
    case 'ping': {
      const state = stateAt(machines.ping, k.leaf, k.context)
      return state === null ? null : tapFlow('ping', k.index, k.ends, state)
    }
    case 'tcp-splice': {
      const state = stateAt(machines['tcp-splice'], k.leaf, k.context)
      return state === null ? null : pairFlow('tcp-splice', k.index, k.ends, state)
    }
    case 'udp-splice': {
      const state = stateAt(machines['udp-splice'], k.leaf, k.context)
      return state === null ? null : pairFlow('udp-splice', k.index, k.ends, state)
    }
  }
}
