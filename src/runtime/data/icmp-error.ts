import type { InAny } from '../../codecs/value/inany.js'
import type { Octets } from '../../codecs/value/octets.js'
import { octets } from '../../codecs/value/octets.js'
import { PROTO_ICMP, PROTO_ICMPV6, sealL4 } from '../../codecs/wire/checksum.js'
import {
  ICMP_ECHO_REQUEST,
  ICMP_LEN,
  type IcmpError,
  icmpErrorLength,
  writeIcmp,
  writeIcmpError
} from '../../codecs/wire/icmp.js'
import { ICMP6_ECHO_REQUEST, icmpv6ErrorLength, writeIcmpv6Error } from '../../codecs/wire/icmpv6.js'
import { IPV4_LEN, ipv4Header, writeIpv4 } from '../../codecs/wire/ipv4.js'
import { IPV6_LEN, ipv6Header, writeIpv6 } from '../../codecs/wire/ipv6.js'
import type { Effect } from '../../effects/effect.js'
import type { FlowAddresses, TapFlow } from '../flow/flow.js'

type ErrorToTap = Extract<Effect, { type: 'IcmpErrorToTap' }>

const about = (f: FlowAddresses, e: ErrorToTap, payload: Octets): IcmpError => ({
  type: e.icmpType,
  code: e.code,
  mtu: e.mtu,
  quote: { src: f.guestAddr, dst: f.ourAddr, srcPort: f.guestPort, dstPort: f.ourPort, payload }
})

const udpError = (f: FlowAddresses, e: ErrorToTap, quoted: Uint8Array, src: InAny): Uint8Array => {
  const error = about(f, e, octets(quoted))
  const b = new Uint8Array(f.v6 ? icmpv6ErrorLength(error) : icmpErrorLength(error))
  const view = new DataView(b.buffer)
  if (f.v6) writeIcmpv6Error(view, 0, { ...error, flowLabel: 0 }, src, f.guestAddr)
  else writeIcmpError(view, 0, error)
  return b
}

/** Sequence number of an echo message, if that much was quoted. */
const echoSeq = (q: Uint8Array): number => (q.length >= ICMP_LEN ? (q[6] << 8) | q[7] : 0)

/** The quotation of an echo request is its ICMP header, with the identifier that the guest chose (RFC 792). */
const pingError = (f: FlowAddresses, e: ErrorToTap, quoted: Uint8Array): Uint8Array => {
  const ip = f.v6 ? IPV6_LEN : IPV4_LEN
  const b = new Uint8Array(ICMP_LEN + ip + ICMP_LEN)
  const view = new DataView(b.buffer)
  writeIcmp(view, 0, { type: e.icmpType, code: e.code, id: f.v6 ? e.mtu >>> 16 : 0, seq: e.mtu & 0xffff })
  if (f.v6) writeIpv6(view, ICMP_LEN, ipv6Header(f.guestAddr, f.ourAddr, PROTO_ICMPV6), ICMP_LEN)
  else writeIpv4(view, ICMP_LEN, ipv4Header(f.guestAddr, f.ourAddr, PROTO_ICMP), ICMP_LEN)
  const type = f.v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO_REQUEST
  writeIcmp(view, ICMP_LEN + ip, { type, code: 0, id: f.guestPort, seq: e.seq ?? echoSeq(quoted) })
  sealL4(view, ICMP_LEN + ip, ICMP_LEN, f.v6 ? PROTO_ICMPV6 : PROTO_ICMP, f.guestAddr, f.ourAddr)
  return b
}

/**
 * The ICMP or ICMPv6 message that tells the guest of an error about a packet of `f`; outer checksum left to the caller,
 * who knows the source address. `quoted`: what the kernel's error queue had of it (UDP: data, ping: ICMP message).
 */
export const buildIcmpError = (
  f: FlowAddresses & Pick<TapFlow, 'kind'>,
  e: ErrorToTap,
  quoted: Uint8Array,
  src: InAny
): Uint8Array => (f.kind === 'ping' ? pingError(f, e, quoted) : udpError(f, e, quoted, src))
