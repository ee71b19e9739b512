import fc from 'fast-check'
import type { InAny } from '../src/codecs/value/inany.js'
import type { Octets } from '../src/codecs/value/octets.js'
import {
  checksumOffset,
  finish,
  PROTO_ICMP,
  PROTO_ICMPV6,
  PROTO_TCP,
  PROTO_UDP,
  sealL4,
  sum16
} from '../src/codecs/wire/checksum.js'
import {
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  type EthernetHeader,
  writeEthernet
} from '../src/codecs/wire/ethernet.js'
import type { FrameMeta } from '../src/codecs/wire/frame.js'
import { IcmpMessage } from '../src/codecs/wire/icmp.js'
import { Icmpv6Message } from '../src/codecs/wire/icmpv6.js'
import { writeIpv4 } from '../src/codecs/wire/ipv4.js'
import { writeIpv6 } from '../src/codecs/wire/ipv6.js'
import { TcpPacket } from '../src/codecs/wire/tcp.js'
import { UdpDatagram } from '../src/codecs/wire/udp.js'
import {
  arbBytes,
  arbFlowLabel,
  arbHost4,
  arbHost6,
  arbIcmpMessage,
  arbMac,
  arbTcpPacket,
  arbU8,
  arbUdpDatagram,
  plain
} from './arbitraries.js'

/** Whole valid frames for the tests of decodeFrame: what goes in, and the octets a guest would send for it. */

export interface Extension {
  readonly type: number
  /** Second octet of a fragment header, whose length is fixed; that of the others follows from `body`. */
  readonly reserved?: number
  /** Everything behind the first two octets: 6 + 8n octets. */
  readonly body: Uint8Array
}
export interface FrameSpec {
  readonly dst: number
  readonly src: number
  readonly v6: boolean
  readonly from: InAny
  readonly to: InAny
  readonly ttl: number
  readonly tos: number
  readonly flowLabel: number
  readonly proto: number
  /** IPv4 options, a multiple of 4 octets. */
  readonly options: Uint8Array
  readonly extensions: ReadonlyArray<Extension>
  /** L4 header and data, the checksum field not yet filled in. */
  readonly l4: Uint8Array
  /** UDP octets behind LENGTH (RFC 9868): part of the IP payload, not of the checksum. */
  readonly surplus: Uint8Array
  /** Link padding. */
  readonly padding: Uint8Array
}

export interface Built {
  readonly bytes: Uint8Array
  /** Offset of the L4 part. */
  readonly l4: number
  /** Its end: where padding starts. */
  readonly end: number
}

const chain = (s: FrameSpec): Uint8Array => {
  const parts = s.extensions.map((e, i) => {
    const next = s.extensions[i + 1]?.type ?? s.proto
    return Uint8Array.of(next, e.reserved ?? (e.body.length + 2) / 8 - 1, ...e.body)
  })
  return Uint8Array.from(parts.flatMap((p) => [...p]))
}

/** The frame, with right checksums. */
export const build = (s: FrameSpec): Built => {
  const extra = s.v6 ? chain(s) : s.options
  const ipLen = s.v6 ? 40 : 20
  const l4 = 14 + ipLen + extra.length
  const end = l4 + s.l4.length + s.surplus.length
  const bytes = new Uint8Array(end + s.padding.length)
  const view = new DataView(bytes.buffer)
  const eth: EthernetHeader = { dst: s.dst, src: s.src, type: s.v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4 }
  writeEthernet(view, 0, eth)
  bytes.set(extra, 14 + ipLen)
  bytes.set(s.l4, l4)
  bytes.set(s.surplus, l4 + s.l4.length)
  bytes.set(s.padding, end)
  sealL4(view, l4, s.l4.length, s.proto, s.from, s.to)
  const payload = end - 14 - ipLen
  if (s.v6) {
    const proto = s.extensions[0]?.type ?? s.proto
    const h = { src: s.from, dst: s.to, proto, hopLimit: s.ttl, trafficClass: s.tos, flowLabel: s.flowLabel }
    writeIpv6(view, 14, h, payload)
  } else {
    writeIpv4(view, 14, { src: s.from, dst: s.to, proto: s.proto, ttl: s.ttl, tos: s.tos }, payload)
    view.setUint8(14, 0x45 + s.options.length / 4)
    sealIpv4(bytes)
  }
  return { bytes, l4, end }
}

/** Make the IPv4 header checksum right again after a change. */
export const sealIpv4 = (frame: Uint8Array): void => {
  const view = new DataView(frame.buffer, frame.byteOffset)
  view.setUint16(24, 0)
  view.setUint16(24, finish(sum16(view, 14, (view.getUint8(14) & 15) * 4)))
}

/** What native tells about a frame without NEEDS_CSUM. */
export const metaOf = (o: Octets): FrameMeta => ({
  needsCsum: false,
  sum16: o.len > 14 ? sum16(o.view, o.off + 14, o.len - 14) : 0,
  gsoSize: 0
})
export const NEEDS_CSUM: FrameMeta = { needsCsum: true, sum16: 0, gsoSize: 0 }

/** Offset of the checksum field in the frame. */
export const checksumAt = (s: FrameSpec, b: Built): number => b.l4 + checksumOffset(s.proto)

const EXTENSIONS = [0, 43, 60, 135, 139, 140, 253, 254]
export const arbExtension: fc.Arbitrary<Extension> = fc.oneof(
  plain<Extension>({
    type: fc.constantFrom(...EXTENSIONS),
    body: fc.nat(3).chain((n) => arbBytes(6 + 8 * n, 6 + 8 * n))
  }),
  // atomic fragment: reserved octet, offset 0 and M clear with any reserved bits, identification (RFC 6946)
  fc
    .tuple(arbU8, fc.constantFrom(0, 2, 4, 6), arbBytes(4, 4))
    .map(([reserved, bits, id]) => ({ type: 44, reserved, body: Uint8Array.of(0, bits, ...id) }))
)

interface L4 {
  readonly proto: number
  readonly l4: Uint8Array
  readonly surplus: Uint8Array
}
const NONE = new Uint8Array(0)
const l4 = (proto: number, bytes: Uint8Array, surplus: Uint8Array = NONE): L4 => ({
  proto,
  l4: bytes,
  surplus
})
const arbUdp = fc
  .tuple(arbUdpDatagram, fc.oneof({ weight: 3, arbitrary: fc.constant(NONE) }, arbBytes(9)))
  .map(([d, surplus]) => l4(PROTO_UDP, UdpDatagram.encode(d), surplus))
const arbTcp = arbTcpPacket.map((p) => l4(PROTO_TCP, TcpPacket.encode(p)))
const arbPadding = fc.oneof(fc.constant(NONE), arbBytes(46))
const common = { dst: arbMac, src: arbMac, ttl: arbU8, tos: arbU8, padding: arbPadding }

export const arbFrame4: fc.Arbitrary<FrameSpec> = fc
  .tuple(
    plain({
      ...common,
      from: arbHost4,
      to: arbHost4,
      options: fc.nat(10).chain((n) => arbBytes(4 * n, 4 * n))
    }),
    fc.oneof(
      arbTcp,
      arbUdp,
      arbIcmpMessage.map((m) => l4(PROTO_ICMP, IcmpMessage.encode(m)))
    )
  )
  .map(([ip, up]) => ({ ...ip, ...up, v6: false, flowLabel: 0, extensions: [] }))
export const arbFrame6: fc.Arbitrary<FrameSpec> = fc
  .tuple(
    plain({
      ...common,
      from: arbHost6,
      to: arbHost6,
      flowLabel: arbFlowLabel,
      extensions: fc.array(arbExtension, { maxLength: 5 })
    }),
    fc.oneof(
      arbTcp,
      arbUdp,
      arbIcmpMessage.map((m) => l4(PROTO_ICMPV6, Icmpv6Message.encode(m)))
    )
  )
  .map(([ip, up]) => ({ ...ip, ...up, v6: true, options: NONE }))
export const arbFrame: fc.Arbitrary<FrameSpec> = fc.oneof(arbFrame4, arbFrame6)
