import { isUnspecified } from '../../codecs/value/inany.js'
import type { Octets } from '../../codecs/value/octets.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../codecs/wire/checksum.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import { type DropReason, decodeFrame, type Frame } from '../../codecs/wire/frame.js'
import { ICMP_ECHO_REQUEST } from '../../codecs/wire/icmp.js'
import { ICMP6_ECHO_REQUEST, isNdp } from '../../codecs/wire/icmpv6.js'
import { ACK, RST, SYN, type TcpSegment } from '../../codecs/wire/tcp.js'
import { GSO_NONE, GSO_UDP_L4, VNET_DATA_VALID, VNET_NEEDS_CSUM } from '../../codecs/wire/vnet.js'
import { errnoName } from '../../effects/counters.js'
import type { Instant } from '../../effects/effect.js'
import { hostSideOf } from '../../machines/address/nat.js'
import { resetFor } from '../../machines/tcp/tcp-reset.js'
import { isBelieved } from '../../machines/tcp/tcp-segment.js'
import type { SegmentEvent } from '../../machines/tcp/tcp-tcb.js'
import { tapDropped, tapFrame, tapGone } from '../abi/events.js'
import { type Flow, type FlowAddresses, isPair } from '../flow/flow.js'
import { count } from '../log/log.js'
import { arrive } from './deliver.js'
import type { Claim, Feature } from './feature.js'
import { guestUp } from './guest.js'
import { learnSource } from './learn.js'
import { findFlow, openFlow } from './open-flow.js'
import type { World } from './world.js'
import { prohibitedToTap, segmentToTap } from './write-effect.js'

type IpFrame = Exclude<Frame, { kind: 'arp' }>

/** Addresses of a new flow, or null where the guest asks for something that nobody can give. */
const addresses = (
  w: World,
  f: IpFrame,
  proto: number,
  srcPort: number,
  dstPort: number
): FlowAddresses | null => {
  const to = hostSideOf(w.cfg.nat, proto, f.ip.dst, dstPort)
  if (to === null || isUnspecified(f.ip.src)) return null
  return {
    v6: f.ip.v6,
    guestMac: f.eth.src,
    ourMac: w.cfg.guest.macOf(f.ip.dst),
    guestAddr: f.ip.src,
    guestPort: srcPort,
    ourAddr: f.ip.dst,
    ourPort: dstPort,
    hostAddr: to.dst,
    hostPort: to.dstPort,
    arrival: null
  }
}

/** Answer to a segment that belongs to no connection. False: there is none to it. */
const resetToTap = (w: World, a: FlowAddresses, seg: TcpSegment): boolean => {
  const reset = resetFor(seg)
  if (reset === null) return false
  segmentToTap(w.out, a, {
    ...reset,
    srcPort: seg.dstPort,
    dstPort: seg.srcPort,
    wnd: 0,
    urgent: 0,
    mss: null,
    windowScale: null
  })
  return true
}

/** What is of a flow goes where its last frame came from. */
const cameFrom = (flow: Flow, mac: Mac): void => {
  if (!isPair(flow) && flow.guestMac !== mac) flow.guestMac = mac
}

/** Of a connection. What answers a segment goes where that came from; all else does from then on if its numbers are right. */
const onSegment = (w: World, flow: Flow, mac: Mac, e: SegmentEvent, now: Instant): void => {
  if (flow.kind !== 'tcp' || flow.guestMac === mac) return arrive(w, flow, e, now)
  const at = isBelieved(flow.state.context.tcb, e.seg) ? mac : flow.guestMac
  flow.guestMac = mac
  arrive(w, flow, e, now)
  flow.guestMac = at
}

const onTcp = (w: World, f: Extract<Frame, { kind: 'tcp' }>, gsoSize: number, now: Instant): void => {
  const seg = f.l4
  const known = findFlow(w, PROTO_TCP, f.ip.src, seg.srcPort, f.ip.dst, seg.dstPort)
  if (known !== undefined) {
    onSegment(w, known, f.eth.src, { type: 'TAP_SEGMENT', seg, segment: gsoSize, now }, now)
    // A SYN that ended a connection in TIME-WAIT opens the next one with these ports (RFC 9293 §3.10.7.4; #regression-16).
    if (w.flows[known.index] === known || (seg.flags & (SYN | ACK | RST)) !== SYN) return
  }
  const ends = addresses(w, f, PROTO_TCP, seg.srcPort, seg.dstPort)
  if ((seg.flags & (SYN | ACK | RST)) !== SYN) {
    if (ends === null || !resetToTap(w, ends, seg)) count(w.counters, 'drop-tcp-no-flow')
    return
  }
  if (ends === null) return count(w.counters, 'drop-unroutable')
  const opened = openFlow(w, { kind: 'tcp', ends, syn: seg }, now)
  if (typeof opened !== 'string') return
  if (opened === 'place') return count(w.counters, 'drop-flow-table-full')
  // A SYN comes again, when others may have been answered; of all else there will be no more so soon.
  if (opened !== 'halfOut') resetToTap(w, ends, seg)
}

const onUdp = (w: World, f: Extract<Frame, { kind: 'udp' }>, gsoSize: number, now: Instant): void => {
  const { srcPort, dstPort, payload } = f.l4
  let flow = findFlow(w, PROTO_UDP, f.ip.src, srcPort, f.ip.dst, dstPort)
  if (flow === undefined) {
    const ends = addresses(w, f, PROTO_UDP, srcPort, dstPort)
    if (ends === null) return count(w.counters, 'drop-unroutable')
    const opened = openFlow(w, { kind: 'udp', ends, syn: null }, now)
    if (opened === 'place') return count(w.counters, 'drop-flow-table-full')
    if (typeof opened === 'string') return prohibitedToTap(w.out, ends, 'udp', payload)
    flow = opened
  }
  cameFrom(flow, f.eth.src)
  arrive(w, flow, { type: 'TAP_DATAGRAM', payload, ttl: f.ip.ttl, segment: gsoSize, now }, now)
}

const onEcho = (w: World, f: Extract<Frame, { kind: 'icmp' | 'icmpv6' }>, now: Instant): void => {
  const id = f.l4.id
  const proto = f.ip.v6 ? PROTO_ICMPV6 : PROTO_ICMP
  let flow = findFlow(w, proto, f.ip.src, id, f.ip.dst, id)
  if (flow === undefined) {
    const ends = addresses(w, f, proto, id, id)
    if (ends === null) return count(w.counters, 'drop-unroutable')
    const opened = openFlow(w, { kind: 'ping', ends, syn: null }, now)
    if (opened === 'place') return count(w.counters, 'drop-flow-table-full')
    if (typeof opened === 'string') return prohibitedToTap(w.out, ends, 'ping', f.ip)
    flow = opened
  }
  cameFrom(flow, f.eth.src)
  arrive(
    w,
    flow,
    {
      type: 'TAP_ECHO',
      payload: { off: f.ip.off, len: f.ip.len },
      ttl: f.ip.ttl,
      seq: f.l4.seq,
      now
    },
    now
  )
}

/** Is it a feature's? */
const isClaimed = <F extends Frame>(claims: ReadonlyArray<Claim<F>>, f: F, now: Instant): boolean => {
  for (let i = 0; i < claims.length; i++) if (claims[i](f, now)) return true
  return false
}

/** A frame of an enabled family to its feature or flow; what nobody wants is counted by name. */
const route = (w: World, f: IpFrame, gsoType: number, gsoSize: number, now: Instant): void => {
  const { claims } = w.features
  switch (f.kind) {
    case 'tcp':
      if (isClaimed(claims.tcp, f, now)) return
      return w.cfg.tcp ? onTcp(w, f, gsoSize, now) : count(w.counters, 'drop-tcp-disabled')
    case 'udp':
      if (isClaimed(claims.udp, f, now)) return
      return w.cfg.udp
        ? onUdp(w, f, gsoType === GSO_UDP_L4 ? gsoSize : 0, now)
        : count(w.counters, 'drop-udp-disabled')
    case 'icmp':
      if (isClaimed(claims.icmp, f, now)) return
      if (!w.cfg.icmp) return count(w.counters, 'drop-icmp-disabled')
      return f.l4.type === ICMP_ECHO_REQUEST ? onEcho(w, f, now) : count(w.counters, 'drop-icmp-type')
    case 'icmpv6':
      if (isClaimed(claims.icmpv6, f, now)) return
      if (!w.cfg.icmp) return count(w.counters, 'drop-icmp-disabled')
      return f.l4.type === ICMP6_ECHO_REQUEST ? onEcho(w, f, now) : count(w.counters, 'drop-icmpv6-type')
    case 'other':
      if (!isClaimed(claims.other, f, now)) count(w.counters, 'drop-ip-protocol')
  }
}

/** A frame that stands for itself: learn, route. */
const accept = (w: World, f: Frame, gsoType: number, gsoSize: number, now: Instant): void => {
  if (f.kind === 'arp') return void isClaimed(w.features.claims.arp, f, now)
  if (!(f.ip.v6 ? w.cfg.v6 : w.cfg.v4)) return count(w.counters, 'drop-family-disabled')
  learnSource(w, f)
  route(w, f, gsoType, gsoSize, now)
}

/** Whoever looks on hears of it. */
const tell = (w: World, frame: Octets, what: Frame | DropReason): void => {
  const { frameCame } = w.features
  for (let i = 0; i < frameCame.length; i++) frameCame[i](frame, what)
}

/** A fragment. The datagram that it completes is decoded as if it had come in one frame. */
const acceptFragment = (w: World, where: Octets, offload: boolean, now: Instant): void => {
  const whole = w.features.reassemble?.(where, offload, now) ?? null
  if (whole === null) return
  const frame = w.outside.decodeWhole(whole)
  tell(w, whole, frame)
  if (typeof frame === 'string') return count(w.counters, `drop-${frame}`)
  // RFC 6980 §5
  if (frame.kind === 'icmpv6' && isNdp(frame.l4.type)) return count(w.counters, 'drop-ndp-fragmented')
  accept(w, frame, GSO_NONE, 0, now)
}

/** A frame that is no packet of its own: a fragment, or dropped. */
const unaccepted = (w: World, where: Octets, why: DropReason, offload: boolean, now: Instant): void => {
  if (why === 'ip4-fragment' || why === 'ip6-fragment') return acceptFragment(w, where, offload, now)
  tell(w, where, why)
  count(w.counters, `drop-${why}`)
}

/** An EV_TAP_FRAME record: decode in place, learn, route. Early drops are counted by their reason. */
const onTapFrame = (w: World, record: number, now: Instant): void => {
  const { off, len, flags, gsoType, gsoSize, sum16 } = tapFrame(w.rings.ev, record)
  const where: Octets = { view: w.rings.view, off, len }
  w.frameAt = off
  const frame = decodeFrame(where, {
    needsCsum: (flags & VNET_NEEDS_CSUM) !== 0,
    sum16,
    gsoSize: gsoType === GSO_UDP_L4 ? gsoSize : 0
  })
  if (typeof frame === 'string')
    return unaccepted(w, where, frame, (flags & ~VNET_DATA_VALID) !== 0 || gsoType !== GSO_NONE, now)
  tell(w, where, frame)
  accept(w, frame, gsoType, gsoSize, now)
}

const onTapDropped = (w: World, record: number): void => {
  const { frames, errno } = tapDropped(w.rings.ev, record)
  count(w.counters, `tap-refused-${errnoName(errno)}`, frames)
}

/** What the guest's link brings. */
export const guestFrames = (w: World): Feature => ({
  name: "the guest's frames",
  keeps: null,
  takes: {
    TAP_FRAME: (i, now) => {
      if (!w.guest.up) guestUp(w, now)
      onTapFrame(w, i, now)
    },
    TAP_DROPPED: (i) => onTapDropped(w, i),
    TAP_GONE: (i) => {
      w.ended = { why: 'tap-gone', errno: tapGone(w.rings.ev, i) }
    }
  }
})
