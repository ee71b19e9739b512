import { isLeft } from 'fp-ts/lib/Either.js'
import {
  isBroadcast4,
  isLinkLocal,
  isMulticast,
  isUnspecified,
  readV4,
  readV6,
  showAddr
} from '../../codecs/value/inany.js'
import { type Octets, sub } from '../../codecs/value/octets.js'
import { PROTO_ICMP, PROTO_ICMPV6 } from '../../codecs/wire/checksum.js'
import {
  BOOTREPLY,
  BOOTREQUEST,
  DHCPACK,
  DHCPNAK,
  DHCPOFFER,
  DhcpMessage,
  OPT_LEASE,
  OPT_REQUESTED_IP,
  OPT_SERVER_ID,
  OPT_TYPE,
  octetOption,
  optionOf
} from '../../codecs/wire/dhcp.js'
import { isGroupMac, readMac, showMac } from '../../codecs/wire/ethernet.js'
import { ICMP_LEN } from '../../codecs/wire/icmp.js'
import {
  ICMP6_ECHO_REQUEST,
  isNdp,
  MIN_MTU,
  NDP_NEIGHBOUR_ADVERTISEMENT,
  NDP_NEIGHBOUR_SOLICITATION,
  NDP_REDIRECT,
  NDP_ROUTER_ADVERTISEMENT,
  NDP_ROUTER_SOLICITATION
} from '../../codecs/wire/icmpv6.js'
import { IPV4_LEN } from '../../codecs/wire/ipv4.js'
import { IPV6_LEN } from '../../codecs/wire/ipv6.js'
import { UDP_LEN } from '../../codecs/wire/udp.js'
import { type IpPacket, NOTHING, type Said, type Sum, said, sumOf, upperSum } from './packet.js'

// What has no connection: each of these messages is looked at alone.

export interface Datagram {
  readonly said: readonly Said[]
  readonly sum: Sum
}
const datagram = (sum: Sum, of: readonly Said[]): Datagram => ({ said: of, sum })

// --- UDP

/** Ports of tunnels, which may leave the checksum out (RFC 6935 §5): GTP, LISP, VXLAN, Geneve, MPLS, GUE. */
const TUNNELS = new Set([2152, 4341, 4342, 4789, 4790, 6081, 6635, 6080])

/** `sum` is about a field that is there. */
export const lookAtUdp = (p: IpPacket): Datagram => {
  const { view, off, len } = p.upper
  if (len < UDP_LEN) {
    if (p.upperLen >= UDP_LEN) return datagram('unknown', NOTHING)
    return datagram('unknown', [said('udp-length', `${p.upperLen} octets`, 'at least 8')])
  }
  const length = view.getUint16(off + 4) || p.upperLen // 0: jumbogram (RFC 2675 §4), or filled in later
  if (length < UDP_LEN || length > p.upperLen) {
    const seen = `length ${length}, in ${p.upperLen} octets`
    return datagram('unknown', [said('udp-length', seen, '8 to what the packet has')])
  }
  if (view.getUint16(off + 6) === 0) {
    const free = !p.v6 || TUNNELS.has(view.getUint16(off + 2)) || TUNNELS.has(view.getUint16(off))
    return datagram('unknown', free ? NOTHING : [said('udp-unchecked', 'checksum 0', 'a checksum')])
  }
  return datagram(upperSum(p, length, 6), dhcp(p, length))
}

/** Options that only DHCP has: without them it is BOOTP. */
const DHCP_ONLY = [OPT_REQUESTED_IP, OPT_LEASE, OPT_SERVER_ID]

const dhcp = (p: IpPacket, length: number): readonly Said[] => {
  const { view, off, len } = p.upper
  const ports = [view.getUint16(off), view.getUint16(off + 2)]
  if (p.v6 || !(ports.includes(67) && ports.every((n) => n === 67 || n === 68)) || len < length)
    return NOTHING
  const decoded = DhcpMessage.decode(sub(p.upper, UDP_LEN, length - UDP_LEN))
  if (isLeft(decoded)) {
    const why = decoded.left[0]?.message ?? 'malformed'
    return [said('dhcp-format', why, 'a message as in RFC 2131')]
  }
  const m = decoded.right
  const type = octetOption(m, OPT_TYPE)
  if (type === null)
    return DHCP_ONLY.some((code) => optionOf(m, code) !== null)
      ? [said('dhcp-format', 'no message type', 'option 53')]
      : NOTHING
  const answer = type === DHCPOFFER || type === DHCPACK || type === DHCPNAK
  const op = answer ? BOOTREPLY : BOOTREQUEST
  const out: Said[] = []
  if (type <= 8 && m.op !== op) out.push(said('dhcp-op', `op ${m.op}, message type ${type}`, `op ${op}`))
  if (answer && optionOf(m, OPT_SERVER_ID) === null)
    out.push(said('dhcp-server', `message type ${type} without server identifier`, 'option 54'))
  if (type === DHCPOFFER && optionOf(m, OPT_LEASE) === null)
    out.push(said('dhcp-lease', 'an offer without lease time', 'option 51'))
  return out
}

// --- ICMP

const ICMP_ERRORS = new Set([3, 4, 5, 11, 12])
/** Types of ICMP that answer a request, or are one (RFC 1122 §3.2.2). */
const isError = (v6: boolean, type: number): boolean =>
  v6 ? type < ICMP6_ECHO_REQUEST : ICMP_ERRORS.has(type)

/** What is wrong with an error, by what it quotes. `o`: what was kept of the message, of `len` octets on the link. */
const quoted = (v6: boolean, type: number, code: number, o: Octets, len: number): readonly Said[] => {
  const out: Said[] = []
  const header = v6 ? IPV6_LEN : IPV4_LEN
  const { view, off } = o
  const at = off + ICMP_LEN
  if (v6 && len + IPV6_LEN > MIN_MTU)
    out.push(said('icmp-large', `an error of ${len + IPV6_LEN} octets`, `at most ${MIN_MTU}`))
  if (len < ICMP_LEN + header + (v6 ? 0 : 8)) {
    out.push(said('icmp-short', `${len - ICMP_LEN} octets of the packet`, `at least ${header + 8}`))
    return out
  }
  if (o.len < ICMP_LEN + header || view.getUint8(at) >>> 4 !== (v6 ? 6 : 4)) return out
  const ihl = v6 ? IPV6_LEN : (view.getUint8(at) & 15) * 4
  if (!v6 && len < ICMP_LEN + ihl + 8) {
    out.push(said('icmp-short', `${len - ICMP_LEN} octets of the packet`, `at least ${ihl + 8}`))
    return out
  }
  const dst = v6 ? readV6(view, at + 24) : readV4(view, at + 16)
  // RFC 4443 §2.4 (e.3): Packet Too Big, and Parameter Problem code 2, are sent for multicast as well.
  const allowed = v6 && (type === 2 || (type === 4 && code === 2))
  if ((isMulticast(dst) || isBroadcast4(dst)) && !allowed)
    out.push(said('icmp-of-many', `about a packet to ${showAddr(dst)}`, 'no error about it'))
  const proto = view.getUint8(at + (v6 ? 6 : 9))
  if (proto === (v6 ? PROTO_ICMPV6 : PROTO_ICMP) && o.len > ICMP_LEN + ihl) {
    const about = view.getUint8(at + ihl)
    if (isError(v6, about))
      out.push(said('icmp-of-icmp', `about an ICMP message of type ${about}`, 'no error'))
  }
  return out
}

/** An echo, for whoever remembers requests; null: it is none, or not whole. */
export interface Echo {
  readonly reply: boolean
  readonly id: number
  readonly seq: number
  readonly data: Octets
}
export const echoOf = (p: IpPacket): Echo | null => {
  const { view, off, len } = p.upper
  if (len < p.upperLen || len < ICMP_LEN) return null
  const type = view.getUint8(off)
  const reply = p.v6 ? type === 129 : type === 0
  if (!reply && !(p.v6 ? type === 128 : type === 8)) return null
  return { reply, id: view.getUint16(off + 4), seq: view.getUint16(off + 6), data: sub(p.upper, ICMP_LEN) }
}

export const lookAtIcmp = (p: IpPacket): Datagram => {
  const { view, off, len } = p.upper
  const v6 = p.proto === PROTO_ICMPV6
  const least = v6 ? 4 : ICMP_LEN
  if (p.upperLen < least)
    return datagram('unknown', [said('icmp-short', `${p.upperLen} octets`, `at least ${least}`)])
  if (len < ICMP_LEN) return datagram('unknown', NOTHING)
  const sum = v6 ? upperSum(p, p.upperLen, 2) : sumOf(p.upper, p.upperLen, 2, 0, 0)
  const type = view.getUint8(off)
  const code = view.getUint8(off + 1)
  if (isError(v6, type)) return datagram(sum, quoted(v6, type, code, p.upper, p.upperLen))
  return datagram(sum, v6 && isNdp(type) ? ndp(p, type, code) : NOTHING)
}

// --- NDP

const FIXED: Readonly<Record<number, number>> = {
  [NDP_ROUTER_SOLICITATION]: 8,
  [NDP_ROUTER_ADVERTISEMENT]: 16,
  [NDP_NEIGHBOUR_SOLICITATION]: 24,
  [NDP_NEIGHBOUR_ADVERTISEMENT]: 24,
  [NDP_REDIRECT]: 40
}
const SOURCE_LLA = 1

/** Types of the options behind `from`; a string: why they are malformed. */
const ndpOptions = (o: Octets, from: number): readonly number[] | string => {
  const out: number[] = []
  for (let at = from; at < o.len; ) {
    const length = at + 2 <= o.len ? o.view.getUint8(o.off + at + 1) * 8 : -1
    if (length <= 0) return length === 0 ? 'an option of length 0' : 'an option is cut'
    if (at + length > o.len) return `an option of ${length} octets, with ${o.len - at} left`
    out.push(o.view.getUint8(o.off + at))
    at += length
  }
  return out
}

const ndp = (p: IpPacket, type: number, code: number): readonly Said[] => {
  const { view, off, len } = p.upper
  const out: Said[] = []
  const fixed = FIXED[type] ?? 8
  if (p.ttl !== 255) out.push(said('ndp-hops', `hop limit ${p.ttl}`, '255'))
  if (code !== 0) out.push(said('ndp-code', `code ${code}`, '0'))
  if (p.upperLen < fixed)
    return [...out, said('ndp-options', `${p.upperLen} octets`, `at least ${fixed} for type ${type}`)]
  if (len < p.upperLen) return out
  const options = ndpOptions(p.upper, fixed)
  if (typeof options === 'string') return [...out, said('ndp-options', options, 'options that fit')]
  if (type === NDP_ROUTER_ADVERTISEMENT && !isLinkLocal(p.src))
    out.push(said('ndp-router', `source ${showAddr(p.src)}`, 'a link-local address'))
  if (type !== NDP_NEIGHBOUR_SOLICITATION && type !== NDP_NEIGHBOUR_ADVERTISEMENT) return out
  const target = readV6(view, off + 8)
  if (isMulticast(target)) out.push(said('ndp-target', `target ${showAddr(target)}`, 'no multicast address'))
  if (type === NDP_NEIGHBOUR_ADVERTISEMENT) {
    if (isMulticast(p.dst) && (view.getUint8(off + 4) & 0x40) !== 0)
      out.push(said('ndp-solicited', `solicited, to ${showAddr(p.dst)}`, 'not solicited'))
    return out
  }
  if (!isUnspecified(p.src)) return out
  const [a, b, c, d] = p.dst
  const solicitedNode = a === 0xff020000 && b === 0 && c === 1 && d >>> 24 === 0xff
  if (!solicitedNode)
    out.push(said('ndp-probe', `to ${showAddr(p.dst)}, without source`, 'to a solicited-node address'))
  if (options.includes(SOURCE_LLA))
    out.push(said('ndp-probe', 'a source link-layer address, without source', 'none'))
  return out
}

// --- ARP

/** `o`: what was kept behind the link's header. */
export const lookAtArp = (o: Octets): readonly Said[] => {
  if (o.len < 8 || o.view.getUint16(o.off) !== 1) return NOTHING
  const { view, off } = o
  const [protocol, hardware, length] = [
    view.getUint16(off + 2),
    view.getUint8(off + 4),
    view.getUint8(off + 5)
  ]
  if (hardware !== 6 || (protocol === 0x0800 && length !== 4)) {
    const seen = `protocol 0x${protocol.toString(16)}, addresses of ${hardware} and ${length} octets`
    return [said('arp-format', seen, 'addresses of 6 and 4 octets')]
  }
  if (o.len < 14) return NOTHING
  const sha = readMac(view, off + 8)
  return isGroupMac(sha)
    ? [said('arp-sender', `hardware address ${showMac(sha)}`, 'an address of one interface')]
    : NOTHING
}
