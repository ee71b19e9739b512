import { ARP_LEN } from '../../codecs/wire/arp.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, sum16 } from '../../codecs/wire/checksum.js'
import { ETH_LEN, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../codecs/wire/ethernet.js'
import { ICMP_LEN, ICMP_TIME_EXCEEDED, ICMP_UNREACHABLE } from '../../codecs/wire/icmp.js'
import { ICMP6_PARAMETER_PROBLEM, isNdp } from '../../codecs/wire/icmpv6.js'
import { IPV4_LEN } from '../../codecs/wire/ipv4.js'
import { FRAGMENT_HEADER, IPV6_LEN, isExtension } from '../../codecs/wire/ipv6.js'
import { TCP_LEN } from '../../codecs/wire/tcp.js'
import { UDP_LEN } from '../../codecs/wire/udp.js'
import { VNET_LEN } from '../../codecs/wire/vnet.js'
import { ABI_WORDS, EF, EV, VHOST_REGION_LEN } from '../abi/abi.js'
import { flowOf } from '../abi/events.js'
import type { Flow } from '../flow/flow.js'

// Which of the octets that records of both rings name are written down: those that a decoder reads, and no user's data. Of a packet those
// are its headers; of messages to

/** One for all, since there is one for each packet: octets [off, off + head) and [off + len - tail, off + len). */
export interface Octets {
  off: number
  len: number
  head: number
  tail: number
  /** Those in between: null: nobody reads them. */
  sum: number | null
  /** Places of two octets each, from `off` on, whose value depends on user data: 0 in the record. -1: none. */
  blank: number
  blankInner: number
}
const k: Octets = { off: 0, len: 0, head: 0, tail: 0, sum: null, blank: -1, blankInner: -1 }
/** `kept` is the answer of the last call below that said true. */
export const kept: Readonly<Octets> = k

const whole = (off: number, len: number): boolean => {
  k.off = off
  k.len = len
  k.head = len
  k.tail = 0
  k.sum = null
  k.blank = -1
  k.blankInner = -1
  return len > 0
}
/** The first `head` octets and the last `tail` ones of what `whole` was told of. */
const ends = (head: number, tail: number): void => {
  const all = tail > 0xffff || head + tail >= k.len
  k.head = all ? k.len : head
  k.tail = all ? 0 : tail
}

const DHCP_SERVER = 67
const DHCPV6_SERVER = 547
const ALL = -1

/** Octets of an L4 header at `l4`, of `len` that are there; ALL: the whole message is for us. `port`: where the port stands that says so. */
const l4Head = (
  view: DataView,
  l4: number,
  len: number,
  proto: number,
  v6: boolean,
  port: number
): number => {
  switch (proto) {
    case PROTO_TCP:
      return len < TCP_LEN ? len : Math.max(TCP_LEN, (view.getUint8(l4 + 12) >> 4) * 4)
    case PROTO_UDP:
      return len >= UDP_LEN && view.getUint16(l4 + port) === (v6 ? DHCPV6_SERVER : DHCP_SERVER)
        ? ALL
        : UDP_LEN
    case PROTO_ICMPV6:
      return v6 && len > 0 && isNdp(view.getUint8(l4)) ? ALL : ICMP_LEN
    default:
      return ICMP_LEN
  }
}
/** An error of ours: what it is about, and no sum over data. */
const ownError = (view: DataView, l4: number, len: number, v6: boolean): void => {
  const type = view.getUint8(l4)
  if (v6 ? type === 0 || type > ICMP6_PARAMETER_PROBLEM : !ERRORS.has(type)) return
  const inner = l4 + ICMP_LEN + (v6 ? IPV6_LEN : IPV4_LEN)
  ends(Math.min(inner + UDP_LEN, l4 + len) - k.off, k.tail)
  k.blank = l4 + 2 - k.off
  if (inner + UDP_LEN <= l4 + len) k.blankInner = inner + 6 - k.off
}
const ERRORS = new Set([ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED])
const SOURCE = 0
const DESTINATION = 2
/** `head` octets of headers up to the L4 header at `l4`, of which `len` are there. */
const upper = (view: DataView, l4: number, end: number, proto: number, v6: boolean, port: number): void => {
  const len = end - l4
  const n = l4Head(view, l4, len, proto, v6, port)
  if (n === ALL) return
  const head = Math.min(l4 + n, end) - k.off
  // What is behind UDP's own length (RFC 9868) is taken off the sum by reading it, as padding is
  const data = proto === PROTO_UDP && len >= UDP_LEN ? Math.max(UDP_LEN, view.getUint16(l4 + 4)) : len
  ends(head, k.off + k.len - Math.min(end, l4 + data))
  if (port === SOURCE && proto === (v6 ? PROTO_ICMPV6 : PROTO_ICMP) && len > ICMP_LEN)
    ownError(view, l4, len, v6)
}

/** TCP options at most. Those of a first fragment that has no more than the header may lie in the second one (RFC 1858 §3). */
const TCP_OPTIONS = 40
/** A fragment's data, from `at` to `end`. */
const laterFragment = (at: number, end: number, options: number): void =>
  ends(Math.min(at + options, end) - k.off, k.off + k.len - end)

const FRAGMENT_OFFSET = 0x1fff
const ipv4 = (view: DataView, ip: number, rest: number, port: number): void => {
  if (rest < IPV4_LEN) return
  const ihl = (view.getUint8(ip) & 0xf) * 4
  const total = view.getUint16(ip + 2)
  if (view.getUint8(ip) >>> 4 !== 4 || ihl < IPV4_LEN || total < ihl || total > rest)
    return ends(Math.min(ETH_LEN + Math.max(ihl, IPV4_LEN), k.len), 0)
  const bits = view.getUint16(ip + 6)
  const end = ip + total
  const l4 = ip + ihl
  if ((bits & FRAGMENT_OFFSET) === 0) return upper(view, l4, end, view.getUint8(ip + 9), false, port)
  const start = (bits & FRAGMENT_OFFSET) * 8
  const options = view.getUint8(ip + 9) === PROTO_TCP ? TCP_LEN + TCP_OPTIONS - start : 0
  laterFragment(l4, end, Math.max(0, options))
}

const ipv6 = (view: DataView, ip: number, rest: number, port: number): void => {
  if (rest < IPV6_LEN) return
  const payload = view.getUint16(ip + 4)
  if (view.getUint8(ip) >>> 4 !== 6 || payload > rest - IPV6_LEN) return ends(ETH_LEN + IPV6_LEN, 0)
  const end = ip + IPV6_LEN + payload
  let at = ip + IPV6_LEN
  let next = view.getUint8(ip + 6)
  // As the decoders walk (codecs/wire/ipv6.ts, fragment.ts), without their reasons to stop
  while ((next === FRAGMENT_HEADER || isExtension(next)) && at + 8 <= end) {
    const kind = next
    next = view.getUint8(at)
    if (kind !== FRAGMENT_HEADER) at += (view.getUint8(at + 1) + 1) * 8
    else {
      const bits = view.getUint16(at + 2)
      at += 8
      // Where TCP's header began is known to the first one only
      if ((bits & 0xfff8) !== 0)
        return laterFragment(at, end, next === PROTO_UDP || next === PROTO_ICMPV6 ? 0 : TCP_OPTIONS)
    }
  }
  if (at <= end) upper(view, at, end, next, true, port)
}

/** Of a frame; `port`: that of the two which is ours, in DHCP. */
const frame = (view: DataView, off: number, len: number, port: number): boolean => {
  whole(off, len)
  if (len < ETH_LEN) return len > 0
  switch (view.getUint16(off + 12)) {
    case ETHERTYPE_IPV4:
      ipv4(view, off + ETH_LEN, len - ETH_LEN, port)
      break
    case ETHERTYPE_IPV6:
      ipv6(view, off + ETH_LEN, len - ETH_LEN, port)
      break
    case ETHERTYPE_ARP:
      ends(Math.min(len, ETH_LEN + ARP_LEN), 0)
      break
    default:
      ends(ETH_LEN, 0)
  }
  return true
}

/** A frame of the guest's: what `decodeFrame` and `decodeFragment` read of it. */
export const keptOfFrame = (view: DataView, off: number, len: number): boolean =>
  frame(view, off, len, DESTINATION)

/** Of a frame to the guest, behind its virtio-net header: what we write, without user data and what is summed up from it. */
const keptOfOurs = (view: DataView, off: number, len: number): boolean => {
  frame(view, off + VNET_LEN, len - VNET_LEN, SOURCE)
  k.off -= VNET_LEN
  k.len += VNET_LEN
  k.head += VNET_LEN
  if (k.blank >= 0) k.blank += VNET_LEN
  if (k.blankInner >= 0) k.blankInner += VNET_LEN
  return true
}

/** An ICMP message of a ping socket, or one that is quoted. */
const ping = (view: DataView, off: number, len: number, isSealed: boolean): boolean => {
  if (!whole(off, len)) return false
  const head = Math.min(len, ICMP_LEN)
  ends(head, 0)
  if (isSealed && head < len) k.sum = sum16(view, off + head, len - head)
  return true
}

/** Has event record `i` octets that are to be written down? Then `kept` says which. `data`: user data as well. */
export const keptOfEvent = (
  view: DataView,
  ev: Int32Array,
  i: number,
  flows: ReadonlyArray<Flow | undefined>,
  data: boolean
): boolean => {
  const at = i * ABI_WORDS
  const off = ev[at + 2]
  const len = ev[at + 3]
  switch (ev[at]) {
    case EV.TAP_FRAME:
      return data ? whole(off, len) : keptOfFrame(view, off, len)
    case EV.CONF_OCTETS:
    case EV.API_OCTETS:
    case EV.NETLINK:
    case EV.HOST:
    case EV.VHOST_MESSAGE:
    case EV.STATE_OCTETS:
      return whole(off, len)
    case EV.TCP_DUMPED:
      return ev[at + 13] === 0 && whole(off, len)
    case EV.DATAGRAM:
      if (data) return whole(off, len)
      return flows[flowOf(ev, i)]?.kind === 'ping' && ping(view, off, len, true)
    case EV.ICMP_ERROR:
      if (data) return whole(off, len)
      return flows[flowOf(ev, i)]?.kind === 'ping' && ping(view, off, len, false)
    case EV.LISTEN_DATAGRAM:
    case EV.ANSWER:
    case EV.LISTEN_ICMP_ERROR:
      return data && whole(off, len)
    default:
      return false
  }
}

/** The same of the effect record at word `at`. */
export const keptOfEffect = (view: DataView, fx: Int32Array, at: number): boolean => {
  const off = fx[at + 2]
  const len = fx[at + 3]
  switch (fx[at]) {
    case EF.TAP_WRITE:
      return keptOfOurs(view, off, len)
    case EF.PEEK:
      return whole(off, len + VNET_LEN)
    case EF.CONF_SEND:
    case EF.NETLINK:
    case EF.CAPTURE_NOTE:
    case EF.VHOST_REPLY:
    case EF.STATE_WRITE:
    case EF.TCP_RESTORE:
      return whole(off, len)
    case EF.REPAIR:
      return whole(off, len * 4)
    case EF.VHOST_MEMORY:
    case EF.VHOST_ADD_REGION:
      return whole(off, len * VHOST_REGION_LEN)
    default:
      return false
  }
}
