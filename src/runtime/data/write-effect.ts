import type { InAny } from '../../codecs/value/inany.js'
import {
  PROTO_ICMP,
  PROTO_ICMPV6,
  PROTO_TCP,
  PROTO_UDP,
  sealL4,
  sealPartial
} from '../../codecs/wire/checksum.js'
import {
  BROADCAST_MAC,
  ETH_LEN,
  ETH_MIN,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  type Mac,
  writeEthernet
} from '../../codecs/wire/ethernet.js'
import { MIN_MTU } from '../../codecs/wire/icmpv6.js'
import { IPV4_LEN, ipv4Header, writeIpv4 } from '../../codecs/wire/ipv4.js'
import { IPV6_LEN, ipv6Header, writeIpv6 } from '../../codecs/wire/ipv6.js'
import { ACK, TCP_LEN, type TcpHeader, tcpLength, writeTcp } from '../../codecs/wire/tcp.js'
import { UDP_LEN, writeUdp } from '../../codecs/wire/udp.js'
import {
  GSO_NONE,
  GSO_UDP_L4,
  NO_OFFLOAD,
  pieces,
  VNET_LEN,
  VNET_NEEDS_CSUM,
  writeVnet
} from '../../codecs/wire/vnet.js'
import type { FlowCounter } from '../../effects/counters.js'
import { type Effect, type Instant, instant, type Payload, type TimerName } from '../../effects/effect.js'
import { SIDE_1 } from '../abi/abi.js'
import {
  adopt,
  askInfo,
  awaitWritable,
  closeSock,
  discard,
  keepAlive,
  peek,
  pingOpen,
  pingSend,
  resetSock,
  rewind,
  send,
  shutdownWr,
  spliceClose,
  spliceConnect,
  spliceReset,
  spliceShut,
  type Target,
  tapWrite,
  tcpConnect,
  udpJoin,
  udpOpen,
  udpOpenToGroup,
  udpSend
} from '../abi/effects.js'
import { frameRoom, type Rings, takeFrame, txRoom } from '../abi/rings.js'
import {
  type Arrival,
  type Flow,
  type FlowAddresses,
  isPair,
  type PairFlow,
  type TapFlow
} from '../flow/flow.js'
import { type Counters, count } from '../log/log.js'
import { buildIcmpError } from './icmp-error.js'
import type { Rates } from './rates.js'

/** What the interpreter needs besides the rings. */
export interface Out {
  readonly rings: Rings
  readonly rates: Rates | null
  readonly counters: Counters
  /** Who wants to hear that a frame of a flow is about to go to the guest. */
  readonly sending: ReadonlyArray<(f: TapFlow) => void>
  readonly outbound4: InAny | null
  readonly outbound6: InAny | null
  /** Scope for link-local destinations: index of the template interface. */
  scope6: number
  readonly armTimer: (flow: number, timer: TimerName, at: Instant) => void
  readonly cancelTimer: (flow: number, timer: TimerName) => void
  /** Source port for a UDP flow's socket: the guest's where it is free, else 0. */
  readonly hostPortFor: (flow: TapFlow) => number
  /** Nobody's own address on any of the host's links: multicast, broadcast. */
  readonly isGroup: (addr: InAny) => boolean
  /** Our address on the guest's link, null: none. */
  readonly own: (v6: boolean) => InAny | null
  /** May we tell the guest of one more error of our own now (machines/flow/host-errors.ts)? */
  readonly mayTell: () => boolean
  /** MAC that the guest sees an address at. */
  readonly macOf: (addr: InAny) => Mac
  /** The guest's own, the latest. */
  readonly guestMac: () => Mac
  /** Something is counted that never was before: perhaps the user should know. */
  readonly firstTime: (what: FlowCounter) => void
  /** Guest-side form of the address of a router that sent an ICMP error, or null if it has none. */
  readonly offenderSeenByGuest: (flow: TapFlow, addr: InAny) => InAny | null
  /** IPv4 identification of the next datagram to the guest that may be cut on its way. */
  nextId: number
}

/** As much of a packet as an ICMP error repeats at most (RFC 1812 §4.3.2.3). */
const QUOTED_MAX = 548

/** A whole frame to the guest, behind its virtio-net header. */
const putFrame = (o: Out, at: number, len: number): void => {
  if (takeFrame(o.rings)) tapWrite(o.rings, at, len)
  else count(o.counters, 'frames-over-limit')
}

/** The peer, for a socket of what the guest began. */
const peerOf = (o: Out, f: TapFlow): Target => ({
  inNamespace: false,
  dst: f.hostAddr,
  dstPort: f.hostPort,
  scope: o.scope6,
  src: f.v6 ? o.outbound6 : o.outbound4
})

/** Connected to the peer; towards a group, open to those that answer. */
const openUdp = (o: Out, f: TapFlow): void => {
  const limit = o.rates?.limitsUdp(f) ?? 0
  if (o.isGroup(f.hostAddr)) udpOpenToGroup(o.rings, f.index, peerOf(o, f), limit)
  else udpOpen(o.rings, f.index, peerOf(o, f), o.hostPortFor(f), -1, true, limit)
}

/** A UDP socket of the host that answers from the address a host peer sent to (#regression-65). */
const openArrived = (o: Out, f: TapFlow, a: Arrival): void => {
  const peer = { inNamespace: false, dst: f.hostAddr, dstPort: f.hostPort, scope: a.scope, src: a.addr }
  udpOpen(o.rings, f.index, peer, a.port, a.listener, false, o.rates?.limitsUdp(f) ?? 0)
}

/** Octets in front of the L4 header, without virtio-net. */
const l4Start = (v6: boolean): number => ETH_LEN + (v6 ? IPV6_LEN : IPV4_LEN)

/** All that headers need of a flow's addresses; of an answer to what belongs to none as well. */
export type Ends = Pick<FlowAddresses, 'v6' | 'guestMac' | 'ourMac' | 'guestAddr' | 'ourAddr'>

/** Ethernet and IP headers of a packet from our side of `f` to the guest, at `at`. Returns where L4 begins. */
const writeHeaders = (
  o: Out,
  view: DataView,
  at: number,
  f: Ends,
  proto: number,
  l4Len: number,
  src: InAny = f.ourAddr,
  id = 0
): number => {
  const dst = f.guestMac === BROADCAST_MAC ? o.guestMac() : f.guestMac
  writeEthernet(view, at, { dst, src: f.ourMac, type: f.v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4 })
  const ip = at + ETH_LEN
  return f.v6
    ? ip + writeIpv6(view, ip, ipv6Header(src, f.guestAddr, proto), l4Len)
    : ip + writeIpv4(view, ip, ipv4Header(src, f.guestAddr, proto), l4Len, id)
}

/** Octets of an IPv4 packet that any link behind the guest's carries whole: IPv6 asks that much of each. */
const ANY_LINK = MIN_MTU

/**
 * Identification of `n` datagrams of `len` octets each. The network has cut what is longer than a link of its own, and would
 * cut it again behind a guest that routes; with DF that guest tells us, who have nobody to tell. 0: short, so DF.
 */
const identify = (o: Out, v6: boolean, len: number, n: number): number => {
  if (v6 || len <= ANY_LINK) return 0
  const id = o.nextId
  o.nextId = id + n > 0xffff ? 1 : id + n
  return id
}

/** A frame whose L4 checksum is left to the tap (or to native where the tap does not do it). */
const writePartialVnet = (
  view: DataView,
  at: number,
  v6: boolean,
  field: number,
  gso: number,
  size: number,
  l4Header: number
): void => {
  writeVnet(view, at, {
    flags: VNET_NEEDS_CSUM,
    gsoType: gso,
    hdrLen: gso === GSO_NONE ? 0 : l4Start(v6) + l4Header,
    gsoSize: size,
    csumStart: l4Start(v6),
    csumOffset: field
  })
}

/** Zeros up to the shortest Ethernet frame. Returns the frame's length. */
const pad = (r: Rings, frame: number, len: number): number => {
  if (len >= ETH_MIN) return len
  r.slab.fill(0, frame + len, frame + ETH_MIN)
  return ETH_MIN
}

/** A TCP segment without payload to the guest; also for segments that belong to no flow (RST). */
export const segmentToTap = (o: Out, f: FlowAddresses, h: TcpHeader): void => {
  const r = o.rings
  const at = frameRoom(r, VNET_LEN + l4Start(true) + 60)
  if (at < 0) return count(o.counters, 'frames-over-limit')
  const frame = at + VNET_LEN
  const len = tcpLength(h)
  writePartialVnet(r.view, at, f.v6, 16, GSO_NONE, 0, 0)
  const l4 = writeHeaders(o, r.view, frame, f, PROTO_TCP, len)
  writeTcp(r.view, l4, h)
  sealPartial(r.view, l4, len, PROTO_TCP, f.ourAddr, f.guestAddr)
  putFrame(o, at, VNET_LEN + pad(r, frame, l4 + len - frame))
}

/** Key by key: a spread costs more than all the rest of a segment (runtime/machine/copier.ts). */
const headerOf = (f: TapFlow, e: Extract<Effect, { type: 'SegmentToTap' }>): TcpHeader => ({
  srcPort: f.ourPort,
  dstPort: f.guestPort,
  seq: e.seq,
  ack: e.ack,
  flags: e.flags,
  wnd: e.wnd,
  urgent: 0,
  mss: e.mss,
  windowScale: e.windowScale
})

/** The header in front of each segment that native makes of peeked data; it fills in lengths, SEQ and checksums. */
const peekToTap = (o: Out, f: TapFlow, e: Extract<Effect, { type: 'PeekToTap' }>): void => {
  const r = o.rings
  const octets = o.rates === null ? e.octets : o.rates.mayPeek(f, e.octets, e.mss, instant(r.clock[0]))
  if (octets === 0) return
  const at = txRoom(r, VNET_LEN + l4Start(true) + TCP_LEN)
  const frame = at + VNET_LEN
  writeVnet(r.view, at, NO_OFFLOAD)
  const l4 = writeHeaders(o, r.view, frame, f, PROTO_TCP, 0)
  writeTcp(r.view, l4, {
    srcPort: f.ourPort,
    dstPort: f.guestPort,
    seq: e.seq,
    ack: e.ack,
    flags: ACK,
    wnd: e.wnd,
    urgent: 0,
    mss: null,
    windowScale: null
  })
  peek(r, f.index, at, l4 + TCP_LEN - frame, octets, e.mss, f.v6)
}

/** Datagram to the guest, its headers written in front of the payload where native read it (128 octets of headroom). */
const udpToTap = (o: Out, f: FlowAddresses, p: Payload, segment: number): void => {
  const r = o.rings
  const headers = l4Start(f.v6) + UDP_LEN
  let payload = p.off
  if (headers + p.len < ETH_MIN) {
    // Padding goes behind the payload, where the next datagram may lie: tiny ones move.
    const at = frameRoom(r, 128 + ETH_MIN)
    if (at < 0) return count(o.counters, 'frames-over-limit')
    payload = at + 128
    r.slab.copyWithin(payload, p.off, p.off + p.len)
  }
  const frame = payload - headers
  const gso = segment > 0 && segment < p.len
  writePartialVnet(r.view, frame - VNET_LEN, f.v6, 6, gso ? GSO_UDP_L4 : GSO_NONE, gso ? segment : 0, UDP_LEN)
  const each = gso ? segment : p.len
  const id = identify(o, f.v6, IPV4_LEN + UDP_LEN + each, pieces(p.len, each))
  const l4 = writeHeaders(o, r.view, frame, f, PROTO_UDP, UDP_LEN + p.len, f.ourAddr, id)
  writeUdp(r.view, l4, { srcPort: f.ourPort, dstPort: f.guestPort }, p.len)
  sealPartial(r.view, l4, UDP_LEN + p.len, PROTO_UDP, f.ourAddr, f.guestAddr)
  putFrame(o, frame - VNET_LEN, VNET_LEN + pad(r, frame, headers + p.len))
}

/** The guest's side of `f`, with somebody else as its peer. */
const answerer = (o: Out, f: FlowAddresses, from: InAny, port: number): FlowAddresses => ({
  v6: f.v6,
  guestMac: f.guestMac,
  ourMac: o.macOf(from),
  guestAddr: f.guestAddr,
  guestPort: f.guestPort,
  ourAddr: from,
  ourPort: port,
  hostAddr: f.hostAddr,
  hostPort: f.hostPort,
  arrival: null
})

/** A whole frame, checksums done, from outside the slab. */
export const frameToTap = (o: Out, bytes: Uint8Array): void => {
  const r = o.rings
  const at = frameRoom(r, VNET_LEN + Math.max(bytes.length, ETH_MIN))
  if (at < 0) return count(o.counters, 'frames-over-limit')
  writeVnet(r.view, at, NO_OFFLOAD)
  r.slab.set(bytes, at + VNET_LEN)
  putFrame(o, at, VNET_LEN + pad(r, at + VNET_LEN, bytes.length))
}

/** An ICMP or ICMPv6 message from our side of `f`. */
export const icmpToTap = (o: Out, f: Ends, message: Uint8Array, src: InAny): void => {
  const proto = f.v6 ? PROTO_ICMPV6 : PROTO_ICMP
  const frame = new Uint8Array(l4Start(f.v6) + message.length)
  const view = new DataView(frame.buffer)
  const id = identify(o, f.v6, IPV4_LEN + message.length, 1)
  const l4 = writeHeaders(o, view, 0, f, proto, message.length, src, id)
  frame.set(message, l4)
  sealL4(view, l4, message.length, proto, src, f.guestAddr)
  frameToTap(o, frame)
}

const echoReplyToTap = (o: Out, f: TapFlow, p: Payload, id: number): void => {
  const message = o.rings.slab.slice(p.off, p.off + p.len)
  if (message.length < 8) return count(o.counters, 'echo-reply-short')
  new DataView(message.buffer).setUint16(4, id)
  icmpToTap(o, f, message, f.ourAddr)
}

const icmpErrorToTap = (o: Out, f: TapFlow, e: Extract<Effect, { type: 'IcmpErrorToTap' }>): void => {
  if (e.offender === null && (o.isGroup(f.hostAddr) || !o.mayTell()))
    return count(o.counters, 'icmp-error-withheld')
  const src = e.offender === null ? (o.own(f.v6) ?? f.ourAddr) : o.offenderSeenByGuest(f, e.offender)
  if (src === null) return count(o.counters, 'icmp-error-untranslatable')
  const quoted = o.rings.slab.subarray(e.quoted.off, e.quoted.off + e.quoted.len)
  icmpToTap(o, f, buildIcmpError(f, e, quoted, src), src)
}

/**
 * There is no room for a flow: destination unreachable, communication administratively prohibited, as from the peer
 * (RFC 5508 §6, REQ-8; RFC 1812 §5.2.7.1, RFC 4443 §3.1). `quoted`: data of a datagram, or an echo request.
 */
export const prohibitedToTap = (o: Out, f: FlowAddresses, kind: 'udp' | 'ping', quoted: Payload): void => {
  const [icmpType, code] = f.v6 ? [1, 1] : [3, 13]
  const e = { type: 'IcmpErrorToTap', icmpType, code, mtu: 0, offender: f.hostAddr, quoted } as const
  const octets = o.rings.slab.subarray(quoted.off, quoted.off + Math.min(quoted.len, QUOTED_MAX))
  icmpToTap(o, f, buildIcmpError({ ...f, kind }, e, octets, f.ourAddr), f.ourAddr)
}

const tellSending = (o: Out, f: TapFlow): void => {
  for (let i = 0; i < o.sending.length; i++) o.sending[i](f)
}

/** Write one effect of `f` into the ring. */
export const writeEffect = (o: Out, f: Flow, e: Effect): void => {
  if (isPair(f)) writePairEffect(o, f, e)
  else writeTapEffect(o, f, e)
}

/** Effects of every kind of flow. */
const writeCommonEffect = (o: Out, f: Flow, e: Effect): void => {
  switch (e.type) {
    case 'ArmTimer':
      return o.armTimer(f.index, e.timer, e.at)
    case 'CancelTimer':
      return o.cancelTimer(f.index, e.timer)
    case 'Count':
      if (!o.counters.has(e.what)) o.firstTime(e.what)
      return count(o.counters, e.what)
    default: {
      const open = isPair(f) ? openOrClosePair(o, f, e) : openOrCloseSock(o, f, e)
      if (open === null) count(o.counters, 'effect-misplaced')
      else f.sockOpen = open
    }
  }
}

const openSide = (o: Out, f: PairFlow, side: 0 | 1): void => {
  const e = side === 0 ? f.side0 : f.side1
  // What slips in between bind() and connect() is a new flow's (#regression-66)
  const listener = side === 0 ? f.arrival.listener : -1
  const limit = o.rates?.limitsSide(f, side) ?? 0
  udpOpen(o.rings, f.index + side * SIDE_1, e, e.srcPort, listener, false, limit)
}

/** Effects that open or close a pair's sockets. Is it open behind that? null: none of these. */
const openOrClosePair = (o: Out, f: PairFlow, e: Effect): boolean | null => {
  switch (e.type) {
    case 'SpliceConnect':
      spliceConnect(
        o.rings,
        f.index,
        f.side1,
        f.arrival.slot,
        f.side0.unix !== null,
        f.side1.unix === null ? -1 : f.side1.unix.number,
        o.rates?.limitsPair(f) ?? 0
      )
      return true
    case 'UdpOpenSide':
      openSide(o, f, e.side)
      return true
    case 'SpliceClose':
      spliceClose(o.rings, f.index)
      return false
    case 'SpliceReset':
      spliceReset(o.rings, f.index)
      return false
    case 'UdpCloseBoth':
      closeSock(o.rings, f.index)
      closeSock(o.rings, f.index + SIDE_1)
      return false
    default:
      return null
  }
}

const writePairEffect = (o: Out, f: PairFlow, e: Effect): void => {
  switch (e.type) {
    case 'SpliceShut':
      return spliceShut(o.rings, f.index, e.side)
    case 'UdpJoin':
      return udpJoin(o.rings, f.index, f.index + SIDE_1)
    case 'UdpToSide':
      return udpSend(o.rings, f.index + e.side * SIDE_1, e.payload, 0, e.segment)
    default:
      writeCommonEffect(o, f, e)
  }
}

/** Effects that open or close a flow's socket. Is it open behind that? null: none of these. */
const openOrCloseSock = (o: Out, f: TapFlow, e: Effect): boolean | null => {
  switch (e.type) {
    case 'SockAdopt':
      adopt(o.rings, f.index, f.arrival?.slot ?? -1)
      return true
    case 'TcpConnect':
      tcpConnect(o.rings, f.index, peerOf(o, f), e.mss)
      return true
    case 'UdpOpen':
      if (f.arrival === null) openUdp(o, f)
      else openArrived(o, f, f.arrival)
      return true
    case 'PingOpen':
      pingOpen(o.rings, f.index, peerOf(o, f))
      return true
    case 'CloseSock':
      closeSock(o.rings, f.index)
      return false
    case 'ResetSock':
      resetSock(o.rings, f.index)
      return false
    default:
      return null
  }
}

/** A datagram of the guest's that a rate limit does not let through: it cannot wait. */
const held = (o: Out, f: TapFlow, p: Payload, segment: number): boolean =>
  o.rates !== null && !o.rates.maySend(f, p, segment, instant(o.rings.clock[0]))

const writeTapEffect = (o: Out, f: TapFlow, e: Effect): void => {
  switch (e.type) {
    case 'SendToSock':
      if (o.rates !== null) o.rates.arrived(f, e.payload.len, instant(o.rings.clock[0]))
      return send(o.rings, f.index, e.payload, e.reportAck)
    case 'PeekToTap':
      return peekToTap(o, f, e)
    case 'SegmentToTap':
      tellSending(o, f)
      return segmentToTap(o, f, headerOf(f, e))
    case 'DiscardFromSock':
      return discard(o.rings, f.index, e.octets)
    case 'RewindPeek':
      return rewind(o.rings, f.index, e.octets)
    case 'UdpToSock':
      if (held(o, f, e.payload, e.segment)) return count(o.counters, 'limit-rate')
      return udpSend(o.rings, f.index, e.payload, e.ttl, e.segment)
    case 'UdpToTap':
      tellSending(o, f)
      return udpToTap(o, f, e.payload, e.segment)
    case 'UdpAnswerToTap':
      return udpToTap(o, answerer(o, f, e.from, e.fromPort), e.payload, e.segment)
    case 'PingToSock':
      if (held(o, f, e.payload, 0)) return count(o.counters, 'limit-rate')
      return pingSend(o.rings, f.index, e.payload, e.ttl)
    case 'EchoReplyToTap':
      o.rates?.cameIn(f, e.payload, 0, instant(o.rings.clock[0]))
      return echoReplyToTap(o, f, e.payload, e.id)
    case 'IcmpErrorToTap':
      return icmpErrorToTap(o, f, e)
    case 'ShutdownWr':
      return shutdownWr(o.rings, f.index)
    case 'AwaitWritable':
      return awaitWritable(o.rings, f.index)
    case 'KeepAlive':
      return keepAlive(o.rings, f.index)
    case 'QueryInfo':
      return askInfo(o.rings, f.index)
    case 'AskTokens':
      return o.rates?.askWindow(f, e.octets, instant(o.rings.clock[0]))
    default:
      writeCommonEffect(o, f, e)
  }
}
