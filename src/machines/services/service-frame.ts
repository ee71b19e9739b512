import type { InAny } from '../../codecs/value/inany.js'
import { ArpPacket } from '../../codecs/wire/arp.js'
import { PROTO_ICMPV6, PROTO_UDP, sealL4 } from '../../codecs/wire/checksum.js'
import {
  ETH_LEN,
  ETH_MIN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  type Mac,
  writeEthernet
} from '../../codecs/wire/ethernet.js'
import { IPV4_LEN, ipv4Header, writeIpv4 } from '../../codecs/wire/ipv4.js'
import { IPV6_LEN, ipv6Header, writeIpv6 } from '../../codecs/wire/ipv6.js'
import { NdpMessage } from '../../codecs/wire/ndp.js'
import { UDP_LEN, type UdpPorts, writeUdp } from '../../codecs/wire/udp.js'
import type { ServiceCounter } from '../../effects/counters.js'
import type { Service, ServiceEffect } from '../../effects/effect.js'

// Whole frames for the guest: headers, checksums, padding with zeros to 60 octets (IEEE 802.3 §4.2.3.3; #regression-78).

/** Source and destination of one frame on the link. */
export interface Link {
  readonly dst: Mac
  readonly src: Mac
}
export interface Addresses {
  readonly src: InAny
  readonly dst: InAny
}

const frame = (link: Link, type: number, octets: number): DataView => {
  const view = new DataView(new ArrayBuffer(Math.max(ETH_MIN, ETH_LEN + octets)))
  writeEthernet(view, 0, { ...link, type })
  return view
}
const put = (view: DataView, at: number, b: Uint8Array): void => new Uint8Array(view.buffer).set(b, at)
const bytes = (view: DataView): Uint8Array => new Uint8Array(view.buffer)
export const toTap = (octets: Uint8Array): ServiceEffect => ({ type: 'FrameToTap', frame: octets })

export const arpToTap = (link: Link, p: ArpPacket): ServiceEffect => {
  const b = ArpPacket.encode(p)
  const view = frame(link, ETHERTYPE_ARP, b.length)
  put(view, ETH_LEN, b)
  return toTap(bytes(view))
}

/** ICMPv6 with hop limit 255, as RFC 4861 §7.1 wants it. */
export const ndpFrame = (link: Link, ip: Addresses, m: NdpMessage): Uint8Array => {
  const b = NdpMessage.encode(m)
  const view = frame(link, ETHERTYPE_IPV6, IPV6_LEN + b.length)
  writeIpv6(view, ETH_LEN, ipv6Header(ip.src, ip.dst, PROTO_ICMPV6), b.length)
  put(view, ETH_LEN + IPV6_LEN, b)
  sealL4(view, ETH_LEN + IPV6_LEN, b.length, PROTO_ICMPV6, ip.src, ip.dst)
  return bytes(view)
}

/** UDP datagram of at most 65507 octets of data. */
export const udp4ToTap = (link: Link, ip: Addresses, ports: UdpPorts, data: Uint8Array): ServiceEffect => {
  const l4 = ETH_LEN + IPV4_LEN
  const view = frame(link, ETHERTYPE_IPV4, IPV4_LEN + UDP_LEN + data.length)
  writeIpv4(view, ETH_LEN, ipv4Header(ip.src, ip.dst, PROTO_UDP), UDP_LEN + data.length)
  writeUdp(view, l4, ports, data.length)
  put(view, l4 + UDP_LEN, data)
  sealL4(view, l4, UDP_LEN + data.length, PROTO_UDP, ip.src, ip.dst)
  return toTap(bytes(view))
}
export const udp6ToTap = (link: Link, ip: Addresses, ports: UdpPorts, data: Uint8Array): ServiceEffect => {
  const l4 = ETH_LEN + IPV6_LEN
  const view = frame(link, ETHERTYPE_IPV6, IPV6_LEN + UDP_LEN + data.length)
  writeIpv6(view, ETH_LEN, ipv6Header(ip.src, ip.dst, PROTO_UDP), UDP_LEN + data.length)
  writeUdp(view, l4, ports, data.length)
  put(view, l4 + UDP_LEN, data)
  sealL4(view, l4, UDP_LEN + data.length, PROTO_UDP, ip.src, ip.dst)
  return toTap(bytes(view))
}

/** Ethernet multicast address of an IPv6 multicast address: 33:33 and its last 32 bits (RFC 2464 §7). */
export const multicastMac = (a: InAny): Mac => 0x333300000000 + a[3]

export const count = (what: ServiceCounter): ServiceEffect => ({ type: 'Count', what })
export const info = (service: Service, text: string): ServiceEffect => ({
  type: 'Log',
  service,
  level: 'info',
  text
})
