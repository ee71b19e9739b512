import {
  fromV4,
  type InAny,
  isLinkLocal,
  isUnicast,
  isV4,
  LOOPBACK4,
  LOOPBACK6,
  sameAddr,
  UNSPECIFIED6
} from '../../codecs/value/inany.js'
import { PROTO_TCP, PROTO_UDP } from '../../codecs/wire/checksum.js'
import { BROADCAST_MAC } from '../../codecs/wire/ethernet.js'
import { type CounterName, errnoName } from '../../effects/counters.js'
import type { Instant } from '../../effects/effect.js'
import {
  inwardFlow,
  type SpliceTarget,
  spliceTargetIn,
  spliceTargetOut,
  wantsSplice
} from '../../machines/address/nat-inward.js'
import { isGroupOn } from '../../machines/address/on-link.js'
import { bindReason } from '../../machines/forward/bind-verdict.js'
import { listensAtPath, type Rule } from '../../machines/forward/forward-rules.js'
import { reject as rejectSlot } from '../abi/effects.js'
import { accepted, arrived, listenTrouble } from '../abi/events.js'
import type { Arrival, Flow, FlowAddresses, PairAddresses, TapFlow } from '../flow/flow.js'
import { type Opening, pairProto, yields } from '../flow/kinds.js'
import { count } from '../log/log.js'
import { arrive, deliver } from './deliver.js'
import type { Feature } from './feature.js'
import { findFlow, openFlow } from './open-flow.js'
import { onShortage } from './shortage.js'
import type { World } from './world.js'

// What listeners bring: connections and datagrams that a host peer begins (-t, -u), or a program in the namespace (-T, -U).
// Local ones go from socket to socket, everything else through the tap.

interface Incoming {
  readonly rule: Rule
  readonly arrival: Arrival
  readonly peer: InAny
  readonly peerPort: number
}

/** `why`: a counter; null: it is counted. */
const reject = (w: World, slot: number, why: CounterName | null): void => {
  if (why !== null) count(w.counters, why)
  rejectSlot(w.rings, slot)
}

/** The addresses of a flow that a host peer begins with the guest; null: it has none there. */
const towardsGuest = (w: World, i: Incoming): FlowAddresses | null => {
  const to = inwardFlow(w.cfg.nat, w.guest, i.rule, i.peer, i.arrival.port)
  if (to === null) return null
  return {
    v6: !isV4(to.dst),
    guestMac: BROADCAST_MAC,
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
    ? spliceTargetIn(w.cfg.nat, w.guest, w.cfg.forward.hostLoToNsLo, i.rule, addr, port)
    : spliceTargetOut(i.rule, i.peer, addr, port)
}

const pastTap = (w: World, i: Incoming): boolean =>
  i.rule.direction === 'out' || wantsSplice(w.cfg.forward.mode, w.cfg.forward.splice, i.peer)

/** Both ends of a pair. `keepPort`: the target sees the port that the peer has (UDP). */
const pairOf = (w: World, i: Incoming, t: SpliceTarget, keepPort: boolean): PairAddresses => {
  const there = i.rule.direction === 'in'
  const { unix } = i.rule
  return {
    arrival: i.arrival,
    side0: {
      inNamespace: !there,
      dst: i.peer,
      dstPort: i.peerPort,
      scope: i.arrival.scope,
      src: i.arrival.addr,
      srcPort: i.arrival.port,
      unix: there ? unix : null
    },
    side1: {
      inNamespace: there,
      dst: t.dst,
      dstPort: t.dstPort,
      scope: t.tapScope ? w.cfg.forward.tapIndex : 0,
      src: t.src,
      srcPort: keepPort ? i.peerPort : 0,
      unix: there ? null : unix
    }
  }
}

// --- TCP

const acceptPair = (w: World, i: Incoming, now: Instant): void => {
  const target = pairTarget(w, i)
  if (target === null) return reject(w, i.arrival.slot, 'forward-refused')
  const opened = openFlow(w, { kind: 'tcp-splice', ends: pairOf(w, i, target, false), syn: null }, now)
  if (typeof opened === 'string') reject(w, i.arrival.slot, opened === 'place' ? 'forward-table-full' : null)
}

/** Ports to try: the dynamic ones (RFC 6335 §6), and how many of them. */
const FIRST_DYNAMIC = 0xc000
const TRIES = 16

/**
 * The same with a source port that no other connection has towards the guest: two peers may look alike to it, and two ports of
 * the host may lead to one of its. null: none was found.
 */
const distinct = (w: World, a: FlowAddresses): FlowAddresses | null => {
  let { ourPort } = a
  for (let tried = 0; tried < TRIES; tried++) {
    const other = findFlow(w, PROTO_TCP, a.guestAddr, a.guestPort, a.ourAddr, ourPort)
    if (other === undefined || yields(other)) return ourPort === a.ourPort ? a : { ...a, ourPort }
    ourPort = FIRST_DYNAMIC + Math.floor(w.outside.random() * (0x10000 - FIRST_DYNAMIC))
  }
  return null
}

const acceptTap = (w: World, i: Incoming, now: Instant): void => {
  if (w.cfg.forward.spliceOnly) return reject(w, i.arrival.slot, 'forward-refused')
  const wanted = towardsGuest(w, i)
  const ends = wanted === null ? null : distinct(w, wanted)
  if (ends === null) return reject(w, i.arrival.slot, 'forward-unroutable')
  const opened = openFlow(w, { kind: 'tcp', ends, syn: null }, now)
  if (typeof opened === 'string') reject(w, i.arrival.slot, opened === 'place' ? 'forward-table-full' : null)
}

/**
 * By a path: its peer has no address, so a number stands for it in the flow table. To IPv4 if that is there, unless the rule says where.
 */
const acceptUnix = (w: World, rule: Rule, listener: number, slot: number, now: Instant): void => {
  const to = rule.toAddress
  const addr = (to === null ? w.cfg.v4 : isV4(to)) ? LOOPBACK4 : LOOPBACK6
  w.unixPeers = (w.unixPeers + 1) | 0
  const arrival: Arrival = { listener, addr, port: rule.first, scope: 0, slot }
  acceptPair(w, { rule, arrival, peer: [0, 0, 0, w.unixPeers], peerPort: 0 }, now)
}

/** EV_ACCEPTED */
const onAccepted = (w: World, record: number, now: Instant): void => {
  const { listener, slot, peer, peerPort, local, scope } = accepted(w.rings.ev, record)
  const known = w.listeners.get(listener)
  if (known === undefined) return reject(w, slot, 'forward-no-listener')
  if (listensAtPath(known.rule) !== null) return acceptUnix(w, known.rule, listener, slot, now)
  if (!isUnicast(peer) || peerPort === 0) return reject(w, slot, 'forward-bad-peer')
  const arrival: Arrival = { listener, addr: local, port: known.port, scope, slot }
  const i: Incoming = { rule: known.rule, arrival, peer, peerPort }
  if (pastTap(w, i)) acceptPair(w, i, now)
  else acceptTap(w, i, now)
}

// --- UDP

/** Would answers of `f` go to this peer, and leave from where it asked? From a group nobody answers, so any address will do. */
const answers = (f: TapFlow, { arrival, peer }: Incoming, toGroup: boolean): boolean => {
  if (!sameAddr(f.hostAddr, peer)) return false
  // The guest began it, and no datagram from outside ends that
  if (f.arrival === null) return true
  const { addr, port, scope } = f.arrival
  return port === arrival.port && scope === arrival.scope && (toGroup || sameAddr(addr, arrival.addr))
}

/**
 * The flow that a host peer's datagram belongs to, open from here on; undefined: there is none, and that is counted. The guest
 * cannot say which of two it answers that look alike, so the newer one ends the older.
 */
const flowToTap = (w: World, i: Incoming, toGroup: boolean, now: Instant): Flow | undefined => {
  if (w.cfg.forward.spliceOnly) return void count(w.counters, 'forward-refused')
  const ends = towardsGuest(w, i)
  if (ends === null) return void count(w.counters, 'forward-unroutable')
  const old = findFlow(w, PROTO_UDP, ends.guestAddr, ends.guestPort, ends.ourAddr, ends.ourPort)
  if (old?.kind === 'udp') {
    if (answers(old, i, toGroup)) return old
    deliver(w, old, { type: 'STOP', now })
  }
  return opened(w, { kind: 'udp', ends, syn: null }, now)
}

const flowPastTap = (w: World, i: Incoming, now: Instant): Flow | undefined => {
  const proto = pairProto(PROTO_UDP, i.rule.direction === 'in')
  const old = findFlow(w, proto, i.peer, i.peerPort, i.arrival.addr, i.arrival.port)
  if (old !== undefined) return old
  const target = pairTarget(w, i)
  if (target === null) return void count(w.counters, 'forward-refused')
  return opened(w, { kind: 'udp-splice', ends: pairOf(w, i, target, true), syn: null }, now)
}

const opened = (w: World, o: Opening, now: Instant): Flow | undefined => {
  const f = openFlow(w, o, now)
  if (typeof f !== 'string') return f
  if (f === 'place') count(w.counters, 'forward-table-full')
  return undefined
}

/** Ours, heard again because a group that the guest sends to is listened to here as well (#regression-91)? */
const isEcho = (w: World, group: InAny, port: number, peerPort: number): boolean =>
  isGroupOn(w.links, group) && w.table.claimed(PROTO_UDP, group, port, peerPort) >= 0

/** EV_LISTEN_DATAGRAM */
const onListenDatagram = (w: World, record: number, now: Instant): void => {
  const { handle, payload, segment, peer, peerPort, sentTo, ifindex, own4 } = arrived(w.rings.ev, record)
  const listener = w.listeners.get(handle)
  if (listener === undefined) return count(w.counters, 'forward-no-listener')
  if (!isUnicast(peer) || peerPort === 0) return count(w.counters, 'forward-bad-peer')
  if (isEcho(w, sentTo, listener.port, peerPort)) return count(w.counters, 'forward-echo')
  // A group is no address to answer from: let the kernel choose one, or take the interface's.
  const toGroup = !isUnicast(sentTo)
  const answerFrom: InAny = !toGroup ? sentTo : isV4(peer) ? fromV4(own4) : UNSPECIFIED6
  const scope = isLinkLocal(peer) && !isV4(peer) ? ifindex : 0
  const arrival: Arrival = { listener: handle, addr: answerFrom, port: listener.port, scope, slot: -1 }
  const i: Incoming = { rule: listener.rule, arrival, peer, peerPort }
  const f = pastTap(w, i) ? flowPastTap(w, i, now) : flowToTap(w, i, toGroup, now)
  if (f === undefined) return
  if (w.rates !== null && !w.rates.cameIn(f, payload, segment, now)) return count(w.counters, 'limit-rate')
  arrive(w, f, { type: 'SOCK_DATAGRAM', payload, segment, now }, now)
}

/** EV_LISTEN_TROUBLE: a lack of something, which passes; or an error of the listener itself, said once of each kind. */
const onListenTrouble = (w: World, record: number, now: Instant): void => {
  const errno = listenTrouble(w.rings.ev, record)
  const what = `listen-trouble-${errnoName(errno)}` as const
  if (!onShortage(w, errno, now) && !w.counters.has(what))
    w.log.at('warning', `cannot accept connections: ${bindReason(errno, 0)}; going on`)
  count(w.counters, what)
}

/** What listeners bring. */
export const listeners = (w: World): Feature => ({
  name: 'listeners',
  keeps: null,
  takes: {
    ACCEPTED: (i, now) => onAccepted(w, i, now),
    LISTEN_DATAGRAM: (i, now) => onListenDatagram(w, i, now),
    // About a datagram that a flow's own socket did not send: nobody waits for it (behaviour.md#icmp-errors)
    LISTEN_ICMP_ERROR: () => count(w.counters, 'listen-icmp-error'),
    LISTEN_TROUBLE: (i, now) => onListenTrouble(w, i, now)
  }
})
