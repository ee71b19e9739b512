import { fromV4, type InAny, isLinkLocal, isUnicast, isV4, UNSPECIFIED6 } from '../../codecs/value/inany.js'
import { PROTO_TCP, PROTO_UDP } from '../../codecs/wire/checksum.js'
import { type CounterName, errnoName } from '../../effects/counters.js'
import type { Instant, Payload } from '../../effects/effect.js'
import {
  inwardFlow,
  type Seen,
  type SpliceTarget,
  spliceTargetIn,
  spliceTargetOut,
  wantsSplice
} from '../../machines/address/nat-inward.js'
import { isGroupOn } from '../../machines/address/on-link.js'
import { bindReason } from '../../machines/forward/bind-verdict.js'
import type { Rule } from '../../machines/forward/forward-rules.js'
import { reject as rejectSlot } from '../abi/effects.js'
import { accepted, arrived, listenTrouble } from '../abi/events.js'
import { type Arrival, type Endpoint, type FlowAddresses, tapFlow } from '../flow/flow.js'
import { count } from '../log/log.js'
import { admit } from './admission.js'
import { arrive, begin, deliver } from './deliver.js'
import { onShortage } from './shortage.js'
import { initialSequence, machines, type World } from './world.js'

// What listeners bring: connections and datagrams that a host peer begins (-t, -u), or a program in the namespace (-T, -U).
// Local ones go from socket to socket, everything else through the tap.

/** Protocol numbers of the flow table for pairs, which no packet of the guest can name: by direction. */
const PAIR = { in: 0x100, out: 0x200 } as const

interface Incoming {
  readonly rule: Rule
  readonly arrival: Arrival
  readonly peer: InAny
  readonly peerPort: number
}

/** Addresses that the guest was seen to use. */
export const seenOf = (w: World): Seen => ({ v4: w.seen4, v6: w.seen6, linkLocal6: w.seenLinkLocal })

/** `why`: a counter; null: it is counted. */
const reject = (w: World, slot: number, why: CounterName | null): void => {
  if (why !== null) count(w.counters, why)
  rejectSlot(w.rings, slot)
}

/** The flow with this guest side, or of this pair. */
const known = (w: World, proto: number, src: InAny, srcPort: number, dst: InAny, dstPort: number) => {
  const index = w.table.find(proto, src, srcPort, dst, dstPort)
  return index < 0 ? undefined : w.flows[index]
}

/** The tap side of a flow that a host peer begins, with its place in the table; null where it cannot be. */
const inward = (
  w: World,
  proto: number,
  i: Incoming,
  now: Instant
): (FlowAddresses & { readonly index: number }) | null => {
  const to = inwardFlow(w.cfg.nat, seenOf(w), i.rule, i.peer, i.arrival.port)
  if (to === null) return null
  const old = known(w, proto, to.dst, to.dstPort, to.src, i.peerPort)
  // A client that uses its port again so soon begins anew (RFC 9293 §3.6.1).
  if (old?.kind === 'tcp' && machines.tcp.value(old.state) === 'timeWait')
    deliver(w, old, { type: 'STOP', now })
  const index = w.table.insert(proto, to.dst, to.dstPort, to.src, i.peerPort)
  if (index < 0) return null
  return {
    index,
    v6: !isV4(to.dst),
    guestMac: w.guestMac,
    ourMac: w.cfg.guest.macOf(to.src),
    guestAddr: to.dst,
    guestPort: to.dstPort,
    ourAddr: to.src,
    ourPort: i.peerPort,
    hostAddr: i.peer,
    hostPort: i.peerPort,
    arrival: i.arrival
  }
}

/** Where a local flow goes past the tap; null: it does not, or nobody is there. */
const pairTarget = (w: World, i: Incoming): SpliceTarget | null => {
  const { addr, port } = i.arrival
  return i.rule.direction === 'in'
    ? spliceTargetIn(w.cfg.nat, seenOf(w), w.cfg.forward.hostLoToNsLo, i.rule, addr, port)
    : spliceTargetOut(i.rule, i.peer, addr, port)
}

const pastTap = (w: World, i: Incoming): boolean =>
  i.rule.direction === 'out' || wantsSplice(w.cfg.forward.mode, w.cfg.forward.splice, i.peer)

/** Both ends of a pair. `keepPort`: the target sees the port that the peer has (UDP). */
const endpoints = (
  w: World,
  i: Incoming,
  t: SpliceTarget,
  keepPort: boolean
): { side0: Endpoint; side1: Endpoint } => {
  const there = i.rule.direction === 'in'
  return {
    side0: {
      inNamespace: !there,
      dst: i.peer,
      dstPort: i.peerPort,
      scope: i.arrival.scope,
      src: i.arrival.addr,
      srcPort: i.arrival.port
    },
    side1: {
      inNamespace: there,
      dst: t.dst,
      dstPort: t.dstPort,
      scope: t.tapScope ? w.cfg.forward.tapIndex : 0,
      src: t.src,
      srcPort: keepPort ? i.peerPort : 0
    }
  }
}

const pairIndex = (w: World, proto: number, i: Incoming): number =>
  w.table.insert(proto | PAIR[i.rule.direction], i.peer, i.peerPort, i.arrival.addr, i.arrival.port)

// --- TCP

const acceptPair = (w: World, i: Incoming, now: Instant): void => {
  const target = pairTarget(w, i)
  if (target === null) return reject(w, i.arrival.slot, 'forward-refused')
  const taking = i.rule.direction === 'in' ? 'tcpPairIn' : 'tcpPairOut'
  if (admit(w, taking, now) !== null) return reject(w, i.arrival.slot, null)
  const index = pairIndex(w, PROTO_TCP, i)
  if (index < 0) return reject(w, i.arrival.slot, 'forward-table-full')
  const state = machines.tcpSplice.start({ now }, w.effects)
  const sides = endpoints(w, i, target, false)
  begin(
    w,
    { kind: 'tcp-splice', index, arrival: i.arrival, ...sides, touched: false, sockOpen: false, state },
    now
  )
}

const acceptTap = (w: World, i: Incoming, now: Instant): void => {
  if (w.cfg.forward.spliceOnly) return reject(w, i.arrival.slot, 'forward-refused')
  if (admit(w, 'tcpIn', now) !== null) return reject(w, i.arrival.slot, null)
  const a = inward(w, PROTO_TCP, i, now)
  if (a === null) return reject(w, i.arrival.slot, 'forward-unroutable')
  const mss = a.v6 ? w.cfg.mss6 : w.cfg.mss4
  const state = machines.tcp.start(
    { from: 'host', now, iss: initialSequence(w, a, now), mss, v6: a.v6 },
    w.effects
  )
  begin(w, tapFlow('tcp', a.index, a, state), now)
}

/** EV_ACCEPTED */
export const onAccepted = (w: World, record: number, now: Instant): void => {
  const { listener, slot, peer, peerPort, local, scope } = accepted(w.rings.ev, record)
  const known = w.listeners.get(listener)
  if (known === undefined) return reject(w, slot, 'forward-no-listener')
  if (!isUnicast(peer) || peerPort === 0) return reject(w, slot, 'forward-bad-peer')
  const arrival: Arrival = { listener, addr: local, port: known.port, scope, slot }
  const i: Incoming = { rule: known.rule, arrival, peer, peerPort }
  if (pastTap(w, i)) acceptPair(w, i, now)
  else acceptTap(w, i, now)
}

// --- UDP

const datagramToTap = (w: World, i: Incoming, now: Instant, payload: Payload, segment: number): void => {
  if (w.cfg.forward.spliceOnly) return count(w.counters, 'forward-refused')
  const to = inwardFlow(w.cfg.nat, seenOf(w), i.rule, i.peer, i.arrival.port)
  if (to === null) return count(w.counters, 'forward-unroutable')
  let f = known(w, PROTO_UDP, to.dst, to.dstPort, to.src, i.peerPort)
  if (f === undefined) {
    if (admit(w, 'udpIn', now) !== null) return
    const a = inward(w, PROTO_UDP, i, now)
    if (a === null) return count(w.counters, 'forward-table-full')
    const state = machines.udp.start({ now, v6: a.v6, timeouts: w.cfg.udpTimeouts }, w.effects)
    f = tapFlow('udp', a.index, a, state)
    begin(w, f, now)
  }
  arrive(w, f, { type: 'SOCK_DATAGRAM', payload, segment, now }, now)
}

const datagramToPair = (w: World, i: Incoming, now: Instant, payload: Payload, segment: number): void => {
  let f = known(w, PROTO_UDP | PAIR[i.rule.direction], i.peer, i.peerPort, i.arrival.addr, i.arrival.port)
  if (f === undefined) {
    const target = pairTarget(w, i)
    if (target === null) return count(w.counters, 'forward-refused')
    if (admit(w, i.rule.direction === 'in' ? 'udpPairIn' : 'udpPairOut', now) !== null) return
    const index = pairIndex(w, PROTO_UDP, i)
    if (index < 0) return count(w.counters, 'forward-table-full')
    const sides = endpoints(w, i, target, true)
    const state = machines.udpSplice.start({ now, timeouts: w.cfg.udpTimeouts }, w.effects)
    f = { kind: 'udp-splice', index, arrival: i.arrival, ...sides, touched: false, sockOpen: false, state }
    begin(w, f, now)
  }
  arrive(w, f, { type: 'SOCK_DATAGRAM', payload, segment, now }, now)
}

/** Ours, heard again because a group that the guest sends to is listened to here as well (row 91)? */
const isEcho = (w: World, group: InAny, port: number, peerPort: number): boolean =>
  isGroupOn(w.links, group) && w.table.claimed(PROTO_UDP, group, port, peerPort) >= 0

/** EV_LISTEN_DATAGRAM */
export const onListenDatagram = (w: World, record: number, now: Instant): void => {
  const { handle, payload, segment, peer, peerPort, sentTo, ifindex, own4 } = arrived(w.rings.ev, record)
  const listener = w.listeners.get(handle)
  if (listener === undefined) return count(w.counters, 'forward-no-listener')
  if (!isUnicast(peer) || peerPort === 0) return count(w.counters, 'forward-bad-peer')
  if (isEcho(w, sentTo, listener.port, peerPort)) return count(w.counters, 'forward-echo')
  // A group is no address to answer from: let the kernel choose one, or take the interface's.
  const answerFrom: InAny = isUnicast(sentTo) ? sentTo : isV4(peer) ? fromV4(own4) : UNSPECIFIED6
  const scope = isLinkLocal(peer) && !isV4(peer) ? ifindex : 0
  const arrival: Arrival = { listener: handle, addr: answerFrom, port: listener.port, scope, slot: -1 }
  const i: Incoming = { rule: listener.rule, arrival, peer, peerPort }
  const to = pastTap(w, i) ? datagramToPair : datagramToTap
  to(w, i, now, payload, segment)
}

/** EV_LISTEN_TROUBLE: a lack of something, which passes; or an error of the listener itself, said once of each kind. */
export const onListenTrouble = (w: World, record: number, now: Instant): void => {
  const errno = listenTrouble(w.rings.ev, record)
  const what = `listen-trouble-${errnoName(errno)}` as const
  if (!onShortage(w, errno, now) && !w.counters.has(what))
    w.log.at('warning', `cannot accept connections: ${bindReason(errno, 0)}; going on`)
  count(w.counters, what)
}
