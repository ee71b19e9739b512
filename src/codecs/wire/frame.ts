import { type InAny, isLoopback, isMulticast } from '../value/inany.js'
import type { Octets } from '../value/octets.js'
import {
  isZeroSum,
  PROTO_ICMP,
  PROTO_ICMPV6,
  PROTO_TCP,
  PROTO_UDP,
  plus,
  pseudoSum,
  subtract,
  sum16,
  swap
} from './checksum.js'
import {
  decodeEthernetAt,
  ETH_LEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  type EthernetDrop,
  type EthernetHeader
} from './ethernet.js'
import { decodeIcmpAt, type IcmpAt, type IcmpDrop } from './icmp.js'
import { decodeIpv4At, type Ipv4Drop } from './ipv4.js'
import { decodeIpv6At, type Ipv6Drop } from './ipv6.js'
import { decodeTcpAt, type TcpDrop, type TcpSegment } from './tcp.js'
import { decodeUdpAt, type UdpDrop, type UdpHeader } from './udp.js'
import { DATAGRAMS_MAX, pieces } from './vnet.js'

/** What the link said about a frame: the words of EV_TAP_FRAME (native/addon/abi.h). */
export interface FrameMeta {
  /** VIRTIO_NET_HDR_F_NEEDS_CSUM: the L4 checksum is not there yet, and is not verified. */
  readonly needsCsum: boolean
  /** Otherwise: ones' complement sum of all octets of the frame from 14 on, folded, not inverted (`sum16`). */
  readonly sum16: number
  /** UDP: octets of each of the datagrams that the frame holds; 0: it is one. */
  readonly gsoSize: number
}

export interface FrameIp {
  readonly src: InAny
  readonly dst: InAny
  /** IPv4 TTL or IPv6 hop limit. */
  readonly ttl: number
  readonly v6: boolean
  /** Upper-layer protocol, behind any extension headers. */
  readonly proto: number
  /** 20 bits; 0 for IPv4. */
  readonly flowLabel: number
  /** The L4 part in the input's view: header and data, without link padding. */
  readonly off: number
  readonly len: number
}

/** A frame of the guest that passed every check of behaviour.md#input-checks which needs no configuration. */
export type Frame =
  | { readonly kind: 'tcp'; readonly eth: EthernetHeader; readonly ip: FrameIp; readonly l4: TcpSegment }
  /** DHCP and DHCPv6 included. */
  | { readonly kind: 'udp'; readonly eth: EthernetHeader; readonly ip: FrameIp; readonly l4: UdpHeader }
  | { readonly kind: 'icmp'; readonly eth: EthernetHeader; readonly ip: FrameIp; readonly l4: IcmpAt }
  /** NDP included (`isNdp(l4.type)`). */
  | { readonly kind: 'icmpv6'; readonly eth: EthernetHeader; readonly ip: FrameIp; readonly l4: IcmpAt }
  /** Everything behind the Ethernet header, for the ARP codec. */
  | { readonly kind: 'arp'; readonly eth: EthernetHeader; readonly off: number; readonly len: number }
  /** An IP packet of a protocol that we do not carry (IGMP, GRE, SCTP, …). */
  | { readonly kind: 'other'; readonly eth: EthernetHeader; readonly ip: FrameIp }

/** Why a frame went no further; the caller counts each by its name. */
export type DropReason =
  | EthernetDrop
  | 'eth-type'
  | Ipv4Drop
  | Ipv6Drop
  | 'ip-loopback'
  | 'ip-source-multicast'
  | TcpDrop
  | 'tcp-checksum'
  | UdpDrop
  | 'udp-checksum'
  | 'udp-checksum-missing'
  | 'udp-segments'
  | IcmpDrop
  | 'icmp-checksum'
  | 'icmpv6-checksum'

/**
 * Sum over the L4 octets [l4, l4 + len) of the frame `o`, from that over everything behind the Ethernet header: what
 * stands before and behind them is taken off, so that the data is never read here. What follows an odd number of octets
 * counts with its halves swapped (#regression-52).
 */
const l4Sum = (o: Octets, meta: FrameMeta, l4: number, len: number): number => {
  const start = o.off + ETH_LEN
  const behind = l4 + len
  let sum = subtract(meta.sum16, sum16(o.view, start, l4 - start))
  const rest = o.off + o.len - behind
  if (rest > 0) {
    const padding = sum16(o.view, behind, rest)
    sum = subtract(sum, (behind - start) & 1 ? swap(padding) : padding)
  }
  return sum
}

/** TCP, UDP, ICMPv6: with the pseudo-header. `len`: L4 octets. */
const checksumOk = (o: Octets, meta: FrameMeta, ip: FrameIp, len: number): boolean =>
  meta.needsCsum || isZeroSum(plus(pseudoSum(ip.src, ip.dst, ip.proto, len), l4Sum(o, meta, ip.off, len)))

const tcp = (o: Octets, meta: FrameMeta, eth: EthernetHeader, ip: FrameIp): Frame | DropReason => {
  const l4 = decodeTcpAt(o.view, ip.off, ip.len)
  if (typeof l4 === 'string') return l4
  return checksumOk(o, meta, ip, ip.len) ? { kind: 'tcp', eth, ip, l4 } : 'tcp-checksum'
}

/** UDP's checksum covers its own length, which may be less than what IP carries. */
const udp = (o: Octets, meta: FrameMeta, eth: EthernetHeader, ip: FrameIp): Frame | DropReason => {
  const l4 = decodeUdpAt(o.view, ip.off, ip.len)
  if (typeof l4 === 'string') return l4
  if (pieces(l4.payload.len, meta.gsoSize) > DATAGRAMS_MAX) return 'udp-segments'
  if (l4.checksum === 0 && !meta.needsCsum) {
    return ip.v6 ? 'udp-checksum-missing' : { kind: 'udp', eth, ip, l4 } // RFC 8200 §8.1, RFC 768
  }
  const len = l4.payload.off + l4.payload.len - ip.off
  return checksumOk(o, meta, ip, len) ? { kind: 'udp', eth, ip, l4 } : 'udp-checksum'
}

const icmp = (o: Octets, meta: FrameMeta, eth: EthernetHeader, ip: FrameIp): Frame | DropReason => {
  const l4 = decodeIcmpAt(o.view, ip.off, ip.len)
  if (typeof l4 === 'string') return l4
  const ok = meta.needsCsum || isZeroSum(l4Sum(o, meta, ip.off, ip.len))
  return ok ? { kind: 'icmp', eth, ip, l4 } : 'icmp-checksum'
}

const icmpv6 = (o: Octets, meta: FrameMeta, eth: EthernetHeader, ip: FrameIp): Frame | DropReason => {
  const l4 = decodeIcmpAt(o.view, ip.off, ip.len)
  if (typeof l4 === 'string') return l4
  return checksumOk(o, meta, ip, ip.len) ? { kind: 'icmpv6', eth, ip, l4 } : 'icmpv6-checksum'
}

const upper = (o: Octets, meta: FrameMeta, eth: EthernetHeader, ip: FrameIp): Frame | DropReason => {
  if (isLoopback(ip.src) || isLoopback(ip.dst)) return 'ip-loopback'
  if (isMulticast(ip.src)) return 'ip-source-multicast' // RFC 1122 §3.2.1.3, RFC 4291 §2.7
  if (ip.proto === PROTO_TCP) return tcp(o, meta, eth, ip)
  if (ip.proto === PROTO_UDP) return udp(o, meta, eth, ip)
  if (ip.proto === PROTO_ICMP && !ip.v6) return icmp(o, meta, eth, ip)
  if (ip.proto === PROTO_ICMPV6 && ip.v6) return icmpv6(o, meta, eth, ip)
  return { kind: 'other', eth, ip }
}

const ipv4 = (o: Octets, meta: FrameMeta, eth: EthernetHeader): Frame | DropReason => {
  const h = decodeIpv4At(o.view, o.off + ETH_LEN, o.len - ETH_LEN)
  if (typeof h === 'string') return h
  const { src, dst, ttl, proto, off, len } = h
  return upper(o, meta, eth, { src, dst, ttl, v6: false, proto, flowLabel: 0, off, len })
}

const ipv6 = (o: Octets, meta: FrameMeta, eth: EthernetHeader): Frame | DropReason => {
  const h = decodeIpv6At(o.view, o.off + ETH_LEN, o.len - ETH_LEN)
  if (typeof h === 'string') return h
  const { src, dst, hopLimit, proto, flowLabel, off, len } = h
  return upper(o, meta, eth, { src, dst, ttl: hopLimit, v6: true, proto, flowLabel, off, len })
}

/**
 * The one entry of the data path. `o`: one frame from its Ethernet header on, without FCS. Total: any octets give a frame
 * or a named reason, reading inside `o` only. Offsets in the result count from the start of `o.view`.
 * Left to the caller, who has the configuration: families and protocols switched off, the mode's frame limit,
 * unspecified addresses.   Source: behaviour.md#input-checks; #regression-6, #regression-36,
 * #regression-52, #regression-D, #regression-M.
 */
export const decodeFrame = (o: Octets, meta: FrameMeta): Frame | DropReason => {
  const eth = decodeEthernetAt(o.view, o.off, o.len)
  if (typeof eth === 'string') return eth
  switch (eth.type) {
    case ETHERTYPE_IPV4:
      return ipv4(o, meta, eth)
    case ETHERTYPE_IPV6:
      return ipv6(o, meta, eth)
    case ETHERTYPE_ARP:
      return { kind: 'arp', eth, off: o.off + ETH_LEN, len: o.len - ETH_LEN }
    default:
      return 'eth-type'
  }
}
