import { type InAny, isUnspecified } from '../../codecs/value/inany.js'
import type { Octets } from '../../codecs/value/octets.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, sum16 } from '../../codecs/wire/checksum.js'
import { ETH_LEN } from '../../codecs/wire/ethernet.js'
import { type DropReason, decodeFrame, type Frame } from '../../codecs/wire/frame.js'
import { ICMP_ECHO_REQUEST } from '../../codecs/wire/icmp.js'
import { ICMP6_ECHO_REQUEST, isNdp } from '../../codecs/wire/icmpv6.js'
import { ACK, RST, SYN, type TcpSegment } from '../../codecs/wire/tcp.js'
import { GSO_NONE, GSO_UDP_L4, VNET_DATA_VALID, VNET_NEEDS_CSUM } from '../../codecs/wire/vnet.js'
import type { Instant } from '../../effects/effect.js'
import { outward } from '../../machines/address/nat.js'
import { resetFor } from '../../machines/tcp/tcp-reset.js'
import { tapFrame } from '../abi/events.js'
import { type Flow, type FlowAddresses, tapFlow } from '../flow/flow.js'
import type { Resource } from '../flow/quotas.js'
import { count } from '../log/log.js'
import { traceFromGuest } from '../observe/trace.js'
import { learnSource } from '../services/learn.js'
import { serve } from '../services/serve.js'
import { admit } from './admission.js'
import { arrive, begin } from './deliver.js'
import { collectFragment } from './fragments.js'
import { prohibitedToTap, segmentToTap } from './interpret.js'
import { initialSequence, machines, type World } from './world.js'

type IpFrame = Exclude<Frame, { kind: 'arp' }>

/** Addresses of a new flow, or null where the guest asks for something that nobody can give. */
const addresses = (
  w: World,
  f: IpFrame,
  proto: number,
  srcPort: number,
  dstPort: number
): FlowAddresses | null => {
  const to = outward(w.cfg.nat, proto, f.ip.dst, dstPort)
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

/** A place in the table. */
interface Placed {
  readonly index: number
  readonly a: FlowAddresses
}

/**
 * Put a flow into the table; null when there is no room or the addresses will not do. Both are counted; whom there is no
 * room for `refuse` tells, what it lacks is counted.
 */
const place = (
  w: World,
  f: IpFrame,
  proto: number,
  srcPort: number,
  dstPort: number,
  now: Instant,
  taking: 'tcpOut' | 'udpOut' | 'ping',
  refuse: (a: FlowAddresses, lack: Resource) => void
): Placed | null => {
  const a = addresses(w, f, proto, srcPort, dstPort)
  if (a === null) {
    count(w.counters, 'drop-unroutable')
    return null
  }
  const lack = admit(w, taking, now)
  if (lack !== null) {
    refuse(a, lack)
    return null
  }
  const index = w.table.insert(proto, f.ip.src, srcPort, f.ip.dst, dstPort)
  if (index < 0) {
    count(w.counters, 'drop-flow-table-full')
    return null
  }
  return { index, a }
}

const find = (
  w: World,
  proto: number,
  src: InAny,
  srcPort: number,
  dst: InAny,
  dstPort: number
): Flow | undefined => {
  const i = w.table.find(proto, src, srcPort, dst, dstPort)
  return i < 0 ? undefined : w.flows[i]
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

const onTcp = (w: World, f: Extract<Frame, { kind: 'tcp' }>, gsoSize: number, now: Instant): void => {
  const seg = f.l4
  const known = find(w, PROTO_TCP, f.ip.src, seg.srcPort, f.ip.dst, seg.dstPort)
  if (known !== undefined) {
    arrive(w, known, { type: 'TAP_SEGMENT', seg, segment: gsoSize, now }, now)
    // A SYN that ended a connection in TIME-WAIT opens the next one with these ports (RFC 9293 §3.10.7.4; row 16).
    if (w.flows[known.index] === known || (seg.flags & (SYN | ACK | RST)) !== SYN) return
  }
  if ((seg.flags & (SYN | ACK | RST)) !== SYN) {
    const a = addresses(w, f, PROTO_TCP, seg.srcPort, seg.dstPort)
    if (a === null || !resetToTap(w, a, seg)) count(w.counters, 'drop-tcp-no-flow')
    return
  }
  const placed = place(w, f, PROTO_TCP, seg.srcPort, seg.dstPort, now, 'tcpOut', (a, lack) => {
    // A SYN comes again, when others may have been answered; of all else there will be no more so soon.
    if (lack !== 'halfOut') resetToTap(w, a, seg)
  })
  if (placed === null) return
  const { index, a } = placed
  const input = {
    from: 'guest',
    now,
    iss: initialSequence(w, a, now),
    syn: seg,
    mss: a.v6 ? w.cfg.mss6 : w.cfg.mss4,
    v6: a.v6
  } as const
  begin(w, tapFlow('tcp', index, a, machines.tcp.start(input, w.effects)), now)
}

const onUdp = (w: World, f: Extract<Frame, { kind: 'udp' }>, gsoSize: number, now: Instant): void => {
  const { srcPort, dstPort, payload } = f.l4
  let flow = find(w, PROTO_UDP, f.ip.src, srcPort, f.ip.dst, dstPort)
  if (flow === undefined) {
    const placed = place(w, f, PROTO_UDP, srcPort, dstPort, now, 'udpOut', (a) =>
      prohibitedToTap(w.out, a, 'udp', payload)
    )
    if (placed === null) return
    const { index, a } = placed
    const state = machines.udp.start({ now, v6: a.v6, timeouts: w.cfg.udpTimeouts }, w.effects)
    flow = tapFlow('udp', index, a, state)
    begin(w, flow, now)
  }
  arrive(w, flow, { type: 'TAP_DATAGRAM', payload, ttl: f.ip.ttl, segment: gsoSize, now }, now)
}

const onEcho = (w: World, f: Extract<Frame, { kind: 'icmp' | 'icmpv6' }>, now: Instant): void => {
  const id = f.l4.id
  const proto = f.ip.v6 ? PROTO_ICMPV6 : PROTO_ICMP
  let flow = find(w, proto, f.ip.src, id, f.ip.dst, id)
  if (flow === undefined) {
    const placed = place(w, f, proto, id, id, now, 'ping', (a) => prohibitedToTap(w.out, a, 'ping', f.ip))
    if (placed === null) return
    const { index, a } = placed
    const state = machines.ping.start({ now, id, v6: a.v6 }, w.effects)
    flow = tapFlow('ping', index, a, state)
    begin(w, flow, now)
  }
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

/** A frame of an enabled family to its flow or service; what nobody wants is counted by name. */
const route = (w: World, f: Frame, gsoType: number, gsoSize: number, now: Instant): void => {
  if (f.kind === 'arp' || serve(w, f, now)) return
  switch (f.kind) {
    case 'tcp':
      return w.cfg.tcp ? onTcp(w, f, gsoSize, now) : count(w.counters, 'drop-tcp-disabled')
    case 'udp':
      return w.cfg.udp
        ? onUdp(w, f, gsoType === GSO_UDP_L4 ? gsoSize : 0, now)
        : count(w.counters, 'drop-udp-disabled')
    case 'icmp':
      if (!w.cfg.icmp) return count(w.counters, 'drop-icmp-disabled')
      return f.l4.type === ICMP_ECHO_REQUEST ? onEcho(w, f, now) : count(w.counters, 'drop-icmp-type')
    case 'icmpv6':
      if (!w.cfg.icmp) return count(w.counters, 'drop-icmp-disabled')
      return f.l4.type === ICMP6_ECHO_REQUEST ? onEcho(w, f, now) : count(w.counters, 'drop-icmpv6-type')
    case 'other':
      return count(w.counters, 'drop-ip-protocol')
  }
}

/** A frame that stands for itself: learn, route. */
const accept = (w: World, frame: Frame, gsoType: number, gsoSize: number, now: Instant): void => {
  if (frame.kind !== 'arp' && !(frame.ip.v6 ? w.cfg.v6 : w.cfg.v4))
    return count(w.counters, 'drop-family-disabled')
  if (frame.kind === 'arp') return void serve(w, frame, now)
  learnSource(w, frame)
  route(w, frame, gsoType, gsoSize, now)
}

/** A fragment. The datagram that it completes is decoded as if it had come in one frame. */
const acceptFragment = (w: World, where: Octets, offload: boolean, now: Instant): void => {
  const whole = collectFragment(w, where, offload, now)
  if (whole === null) return
  const sum = sum16(whole.view, whole.off + ETH_LEN, whole.len - ETH_LEN)
  const frame = decodeFrame(whole, { needsCsum: false, sum16: sum, gsoSize: 0 })
  if (w.tracing) traceFromGuest(w, whole, frame)
  if (typeof frame === 'string') return count(w.counters, `drop-${frame}`)
  // RFC 6980 §5
  if (frame.kind === 'icmpv6' && isNdp(frame.l4.type)) return count(w.counters, 'drop-ndp-fragmented')
  accept(w, frame, GSO_NONE, 0, now)
}

/** A frame that is no packet of its own: a fragment, or dropped. */
const unaccepted = (w: World, where: Octets, why: DropReason, offload: boolean, now: Instant): void => {
  if (why === 'ip4-fragment' || why === 'ip6-fragment') return acceptFragment(w, where, offload, now)
  if (w.tracing) traceFromGuest(w, where, why)
  count(w.counters, `drop-${why}`)
}

/** An EV_TAP_FRAME record: decode in place, learn, route. Early drops are counted by their reason. */
export const onTapFrame = (w: World, record: number, now: Instant): void => {
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
  if (w.tracing) traceFromGuest(w, where, frame)
  accept(w, frame, gsoType, gsoSize, now)
}
