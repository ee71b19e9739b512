import type { Kept, RingRecord } from '../../codecs/log/record.js'
import { fromV4, readV6, v4Word, writeV6 } from '../../codecs/value/inany.js'
import {
  checksumOffset,
  PROTO_ICMP,
  PROTO_ICMPV6,
  PROTO_TCP,
  PROTO_UDP,
  plus,
  subtract,
  sum16,
  swap
} from '../../codecs/wire/checksum.js'
import {
  ETH_LEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  readMac,
  writeMac
} from '../../codecs/wire/ethernet.js'
import { isNdp } from '../../codecs/wire/icmpv6.js'
import { IPV4_LEN } from '../../codecs/wire/ipv4.js'
import { FRAGMENT_HEADER, IPV6_LEN, isExtension } from '../../codecs/wire/ipv6.js'
import { UDP_LEN } from '../../codecs/wire/udp.js'
import { VNET_NEEDS_CSUM } from '../../codecs/wire/vnet.js'
import { EV } from '../abi/abi.js'
import type { Aliases } from './aliases.js'
import { EVENT_WORDS } from './show.js'

// What came in, with aliases for what says who somebody is (aliases.ts). Octets stay where they are and as many; what no decoder here looks
// at becomes zeros; checksums are as right, or as wrong, as they were. Total: whatever the octets are.

interface At {
  readonly b: Uint8Array
  readonly v: DataView
  readonly a: Aliases
}
const over = (b: Uint8Array, a: Aliases): At => ({
  b,
  v: new DataView(b.buffer, b.byteOffset, b.byteLength),
  a
})
/** Zeros in place of what is there of octets [from, to). */
const clear = ({ b }: At, from: number, to: number): void =>
  void b.fill(0, Math.min(from, b.length), Math.min(to, b.length))
/** Are octets [at, at + n) there? What is there of them is cleared, if not. */
const has = (m: At, at: number, n: number): boolean => {
  if (at + n <= m.b.length) return true
  clear(m, at, m.b.length)
  return false
}
const v4 = (m: At, at: number): void => {
  if (has(m, at, 4)) m.v.setUint32(at, v4Word(m.a.addr(fromV4(m.v.getUint32(at)))))
}
const v6 = (m: At, at: number): void => {
  if (has(m, at, 16)) writeV6(m.v, at, m.a.addr(readV6(m.v, at)))
}
const mac = (m: At, at: number): void => {
  if (has(m, at, 6)) writeMac(m.v, at, m.a.mac(readMac(m.v, at)))
}
const blur = (m: At, from: number, to: number): void => {
  const end = Math.min(to, m.b.length)
  if (from < end) m.b.set(m.a.blur(m.b.slice(from, end)), from)
}
/** Labels of names (RFC 1035 §3.1) in [from, to), up to what is none. */
const names = (m: At, from: number, to: number): void => {
  for (let at = from; at < to; ) {
    const n = m.b[at]!
    if (n > 63 || at + 1 + n > to) return clear(m, at, to)
    const text = Buffer.from(m.b.subarray(at + 1, at + 1 + n)).toString('latin1')
    const alias = m.a.label(text)
    m.b.set(Buffer.from(alias.padEnd(n).slice(0, n), 'latin1'), at + 1)
    at += 1 + n
  }
}

// --- messages to ourselves

const arp = (m: At, at: number): void => {
  const ethernet =
    at + 8 <= m.b.length && m.v.getUint32(at) === 0x00010800 && m.v.getUint16(at + 4) === 0x0604
  if (!ethernet || m.b.length < at + 28) return clear(m, at + 8, m.b.length)
  mac(m, at + 8)
  v4(m, at + 14)
  mac(m, at + 18)
  v4(m, at + 24)
  clear(m, at + 28, m.b.length)
}

/** What our server looks at, and is no address (RFC 2132): overload, type, parameters, size, times, rapid commit. */
const KEPT4 = new Set([52, 53, 55, 57, 51, 58, 59, 80])
const ADDRESSES4 = new Set([50, 54])
const CLIENT_ID = 61
const FQDN = 81
const dhcpOptions = (m: At, from: number, to: number): void => {
  for (let at = from; at < to; ) {
    const code = m.b[at]!
    if (code === 0) {
      at++
      continue
    }
    if (code === 255 || at + 2 > to || at + 2 + m.b[at + 1]! > to) return clear(m, at + 1, to)
    const len = m.b[at + 1]!
    const data = at + 2
    if (ADDRESSES4.has(code) && len === 4) v4(m, data)
    else if (code === CLIENT_ID && len === 7 && m.b[data] === 1) mac(m, data + 1)
    else if (code === CLIENT_ID) blur(m, data + 1, data + len)
    // The flags are looked at
    else if (code === FQDN) clear(m, data + 1, data + len)
    else if (!KEPT4.has(code)) clear(m, data, data + len)
    at = data + len
  }
}
/** RFC 2131 §2. `end`: of what is there. */
const dhcp = (m: At, at: number, end: number): void => {
  if (end - at < 240) return clear(m, at, end)
  for (const field of [12, 16, 20, 24]) v4(m, at + field)
  const ethernet = m.b[at + 1] === 1 && m.b[at + 2] === 6
  if (ethernet) mac(m, at + 28)
  clear(m, at + (ethernet ? 34 : 28), at + 44)
  if (m.v.getUint32(at + 236) !== 0x63825363) {
    clear(m, at + 44, at + 236)
    return clear(m, at + 240, end)
  }
  let overload = 0
  for (let i = at + 240; i + 2 < end && m.b[i] !== 255; ) {
    if (m.b[i] === 52) overload = m.b[i + 2]!
    i += m.b[i] === 0 ? 1 : 2 + m.b[i + 1]!
  }
  if ((overload & 2) === 0) clear(m, at + 44, at + 108)
  else dhcpOptions(m, at + 44, at + 108)
  if ((overload & 1) === 0) clear(m, at + 108, at + 236)
  else dhcpOptions(m, at + 108, at + 236)
  dhcpOptions(m, at + 240, end)
}

/** RFC 8415 §11 */
const duid = (m: At, at: number, len: number): void => {
  const type = len >= 2 ? m.v.getUint16(at) : 0
  if (type === 1 && len === 14) mac(m, at + 8)
  else if (type === 3 && len === 10) mac(m, at + 4)
  else blur(m, at + 2, at + len)
}
/** Octets in front of the options that these hold (RFC 8415 §21): IA_NA, IA_TA, IAADDR, IA_PD. */
const HOLDS = new Map([
  [3, 12],
  [4, 4],
  [5, 24],
  [25, 12]
])
/** Option request, preference, elapsed time, rapid commit, status, reconfigure accept. */
const KEPT6 = new Set([6, 7, 8, 14, 13, 20])
const dhcp6Options = (m: At, from: number, to: number): void => {
  let at = from
  for (; at + 4 <= to; ) {
    const code = m.v.getUint16(at)
    const len = m.v.getUint16(at + 2)
    const data = at + 4
    const end = data + len
    if (end > to) break
    const holds = HOLDS.get(code)
    if (code === 1 || code === 2) duid(m, data, len)
    else if (holds !== undefined && len >= holds) {
      // An IAID is often the end of a MAC
      if (code === 5) v6(m, data)
      else blur(m, data, data + 4)
      dhcp6Options(m, data + holds, end)
    } else if (code === 39 && len > 0) names(m, data + 1, end)
    else if (!KEPT6.has(code)) clear(m, data, end)
    at = end
  }
  clear(m, at + 4, to)
}
/** RFC 8415 §8. Relays' messages (§9) are not for us. */
const dhcp6 = (m: At, at: number, end: number): void =>
  m.b[at] === 12 || m.b[at] === 13 ? clear(m, at + 1, end) : dhcp6Options(m, at + 4, end)

const ndpOptions = (m: At, from: number, to: number): void => {
  for (let at = from; at + 2 <= to; ) {
    const type = m.b[at]!
    const len = m.b[at + 1]! * 8
    if (len === 0 || at + len > to) return clear(m, at + 2, to)
    if ((type === 1 || type === 2) && len === 8) mac(m, at + 2)
    else if (type === 3 && len === 32) v6(m, at + 16)
    else if (type === 25) for (let i = at + 8; i + 16 <= at + len; i += 16) v6(m, i)
    else if (type === 31) names(m, at + 8, at + len)
    else if (type !== 5) clear(m, at + 2, at + len)
    at += len
  }
}
/** Octets in front of options, and addresses in them (RFC 4861 §4): RS, RA, NS, NA, redirect. */
const NDP: Readonly<Record<number, readonly [number, ReadonlyArray<number>]>> = {
  133: [8, []],
  134: [16, []],
  135: [24, [8]],
  136: [24, [8]],
  137: [40, [8, 24]]
}
const ndp = (m: At, at: number, end: number): void => {
  const [fixed, addrs] = NDP[m.b[at]!]!
  if (end - at < fixed) return clear(m, at + 8, end)
  for (const field of addrs) v6(m, at + field)
  ndpOptions(m, at + fixed, end)
}

// --- frames

/** What a sum over these octets changes by: a ones' complement number. */
const change = (before: DataView, after: DataView, from: number, to: number): number =>
  from >= to ? 0 : subtract(sum16(after, from, to - from), sum16(before, from, to - from))

interface Packet {
  readonly m: At
  /** The same octets, as they were. */
  readonly was: DataView
  /** The checksum of the upper layer is not there yet: its field has the pseudo-header's sum. */
  readonly partial: boolean
}

const DHCP_PORT = 67
const DHCP6_PORT = 547
const ICMP_REDIRECT = 5
/** The upper layer at `l4`, as far as `end`; `pseudo`: what the pseudo-header's sum has changed by. */
const upper = (p: Packet, l4: number, end: number, proto: number, v6: boolean, pseudo: number): void => {
  const { m, was } = p
  const isUdp = proto === PROTO_UDP && Math.min(end, m.b.length) - l4 >= UDP_LEN
  // What is behind UDP's own length (RFC 9868) is not summed up
  const data = isUdp ? Math.min(end, l4 + Math.max(UDP_LEN, m.v.getUint16(l4 + 4))) : end
  const there = Math.min(data, m.b.length)
  clear(m, data, m.b.length)
  if (isUdp && m.v.getUint16(l4 + 2) === (v6 ? DHCP6_PORT : DHCP_PORT)) {
    if (v6) dhcp6(m, l4 + UDP_LEN, there)
    else dhcp(m, l4 + UDP_LEN, there)
  }
  if (proto === PROTO_ICMP && m.b[l4] === ICMP_REDIRECT) v4(m, l4 + 4)
  if (proto === PROTO_ICMPV6 && v6 && there > l4 && isNdp(m.b[l4]!)) ndp(m, l4, there)
  if (![PROTO_TCP, PROTO_UDP, PROTO_ICMP, PROTO_ICMPV6].includes(proto)) return clear(m, l4, there)
  const at = l4 + checksumOffset(proto)
  if (at + 2 > there) return
  const field = m.v.getUint16(at)
  const byAddresses = proto === PROTO_ICMP ? 0 : pseudo
  if (p.partial) return m.v.setUint16(at, plus(field, byAddresses))
  if (proto === PROTO_UDP && field === 0) return
  // RFC 1624 §3: HC' = ~(~HC + ~m + m')
  const sum = plus(field ^ 0xffff, plus(byAddresses, change(was, m.v, l4, there)))
  m.v.setUint16(at, sum ^ 0xffff || (proto === PROTO_UDP ? 0xffff : 0))
}

const ipv4 = (p: Packet, ip: number, len: number): void => {
  const { m, was } = p
  if (m.b.length < ip + IPV4_LEN) return clear(m, ip + 10, m.b.length)
  const ihl = (m.b[ip]! & 15) * 4
  const total = m.v.getUint16(ip + 2)
  v4(m, ip + 12)
  v4(m, ip + 16)
  const header = Math.min(ip + Math.max(ihl, IPV4_LEN), m.b.length)
  // Routes that were taken, and are to be (RFC 791 §3.1)
  clear(m, ip + IPV4_LEN, header)
  const sum = plus(m.v.getUint16(ip + 10) ^ 0xffff, change(was, m.v, ip, header))
  m.v.setUint16(ip + 10, sum ^ 0xffff)
  if (m.b[ip]! >>> 4 !== 4 || ihl < IPV4_LEN || total < ihl || total > len - ip)
    return clear(m, header, m.b.length)
  clear(m, ip + total, m.b.length)
  if ((m.v.getUint16(ip + 6) & 0x1fff) === 0)
    upper(p, ip + ihl, ip + total, m.b[ip + 9]!, false, change(was, m.v, ip + 12, ip + 20))
}

const ROUTING = 43
const ipv6 = (p: Packet, ip: number, len: number): void => {
  const { m, was } = p
  if (m.b.length < ip + IPV6_LEN) return clear(m, ip + 8, m.b.length)
  v6(m, ip + 8)
  v6(m, ip + 24)
  const payload = m.v.getUint16(ip + 4)
  if (m.b[ip]! >>> 4 !== 6 || payload > len - ip - IPV6_LEN) return clear(m, ip + IPV6_LEN, m.b.length)
  clear(m, ip + IPV6_LEN + payload, m.b.length)
  const end = Math.min(ip + IPV6_LEN + payload, m.b.length)
  let at = ip + IPV6_LEN
  let next = m.b[ip + 6]!
  while ((next === FRAGMENT_HEADER || isExtension(next)) && at + 8 <= end) {
    const kind = next
    next = m.b[at]!
    if (kind === FRAGMENT_HEADER) {
      if ((m.v.getUint16(at + 2) & 0xfff8) !== 0) return
      at += 8
      continue
    }
    const to = at + (m.b[at + 1]! + 1) * 8
    clear(m, at + (kind === ROUTING ? 4 : 2), Math.min(to, end))
    at = to
  }
  if (at < end) upper(p, at, ip + IPV6_LEN + payload, next, true, change(was, m.v, ip + 8, ip + 40))
}

/** Words of EV_TAP_FRAME (native/addon/records.h). */
const LEN = 3
const VNET_FLAGS = 4
const SUM = 7
const frame = ({ words, kept }: RingRecord & { readonly kept: Kept }, a: Aliases): RingRecord => {
  const len = words[LEN]!
  const head = kept.head.slice()
  const m = over(head, a)
  const before = new DataView(kept.head.buffer, kept.head.byteOffset, kept.head.byteLength)
  const partial = (words[VNET_FLAGS]! & VNET_NEEDS_CSUM) !== 0
  const p: Packet = { m, was: before, partial }
  mac(m, 0)
  mac(m, 6)
  const type = head.length < ETH_LEN ? 0 : m.v.getUint16(12)
  if (type === ETHERTYPE_IPV4) ipv4(p, ETH_LEN, len)
  else if (type === ETHERTYPE_IPV6) ipv6(p, ETH_LEN, len)
  else if (type === ETHERTYPE_ARP) arp(m, ETH_LEN)
  else clear(m, ETH_LEN, head.length)
  // What lies behind the packet is taken off the sum by reading it
  const tail = new Uint8Array(kept.tail.length)
  if (partial || words[SUM] === 0) return { words, kept: { ...kept, head, tail } }
  const behind = sum16(
    new DataView(kept.tail.buffer, kept.tail.byteOffset, kept.tail.byteLength),
    0,
    tail.length
  )
  const sum = subtract(
    plus(words[SUM]!, change(before, m.v, ETH_LEN, head.length)),
    ((len - tail.length - ETH_LEN) & 1) !== 0 ? swap(behind) : behind
  )
  return { words: words.map((w, i) => (i === SUM ? sum : w)), kept: { ...kept, head, tail } }
}

// --- messages of the kernel, and of a hypervisor

const RTM_NEWADDR = 20
const RTM_DELADDR = 21
const RTM_NEWNEIGH = 28
const RTM_DELNEIGH = 29
const NLMSG_HEADER = 16
const attributes = (
  m: At,
  from: number,
  to: number,
  each: (type: number, at: number, len: number) => void
): void => {
  for (let at = from; at + 4 <= to; ) {
    const len = m.v.getUint16(at, true)
    if (len < 4 || at + len > to) return clear(m, at + 4, to)
    each(m.v.getUint16(at + 2, true) & 0x3fff, at + 4, len - 4)
    at += (len + 3) & ~3
  }
}
const address = (m: At, at: number, len: number): boolean => {
  if (len === 4) v4(m, at)
  else if (len === 16) v6(m, at)
  return len === 4 || len === 16
}
/** rtnetlink(7) */
const netlink = (b: Uint8Array, a: Aliases): void => {
  const m = over(b, a)
  for (let at = 0; at + NLMSG_HEADER <= b.length; ) {
    const len = m.v.getUint32(at, true)
    const type = m.v.getUint16(at + 4, true)
    if (len < NLMSG_HEADER || at + len > b.length) return clear(m, at + NLMSG_HEADER, b.length)
    const data = at + NLMSG_HEADER
    const end = at + len
    if (type === RTM_NEWNEIGH || type === RTM_DELNEIGH)
      attributes(m, data + 12, end, (kind, from, n) => {
        if (kind === 1 && address(m, from, n)) return
        if (kind === 2 && n === 6) mac(m, from)
        else clear(m, from, from + n)
      })
    else if (type === RTM_NEWADDR || type === RTM_DELADDR)
      attributes(m, data + 8, end, (kind, from, n) => {
        if (kind === 1 && n === 4) a.prefix(fromV4(m.v.getUint32(from)), b[data + 1]!)
        if (![1, 2, 4, 5, 7].includes(kind) || !address(m, from, n))
          if (kind !== 8 && kind !== 6)
            // Flags and times
            clear(m, from, from + n)
      })
    // NLMSG_ERROR: which error
    else clear(m, data + 4, end)
    at += (len + 3) & ~3
  }
}
const SEND_RARP = 19
const VHOST_HEADER = 12
/** vhost-user.rst, VHOST_USER_SEND_RARP */
const vhost = (b: Uint8Array, a: Aliases): void => {
  const m = over(b, a)
  if (b.length < VHOST_HEADER || m.v.getUint32(0, true) !== SEND_RARP) return
  mac(m, VHOST_HEADER)
}

// --- records of the event ring

/** Places of addresses in the words of each kind; `v4`: of one that is a word. */
const PLACES = new Map(
  Object.entries(EVENT_WORDS).map(([name, text]) => {
    const addrs: number[] = []
    const own: number[] = []
    let i = 2
    for (const word of text.split(' ').filter((w) => w !== '')) {
      if (word === 'own_ipv4') own.push(i)
      if (!word.endsWith('[4]')) i++
      else {
        if (word !== 'moved[4]') addrs.push(i)
        i += 4
      }
    }
    return [EV[name as keyof typeof EV] as number, { addrs, own }] as const
  })
)

/** In these lies the state of a guest that moves. */
export const isOfMove = (kind: number): boolean =>
  kind === EV.STATE_OCTETS || kind === EV.TCP_DUMPED || kind === EV.RESTORED

/** The four words of an address at `at`, as a ring has them. */
export const aliasWords = (words: number[], at: number, a: Aliases): void => {
  const [w0, w1, w2, w3] = words.slice(at, at + 4).map((w) => w >>> 0)
  a.addr([w0!, w1!, w2!, w3!]).forEach((w, i) => {
    words[at + i] = w | 0
  })
}
export const rewrite = (e: RingRecord, a: Aliases): RingRecord => {
  const kind = e.words[0]!
  if (kind === EV.TAP_FRAME) return e.kept === null ? e : frame({ ...e, kept: e.kept }, a)
  const words = [...e.words]
  const places = PLACES.get(kind)
  for (const at of places?.addrs ?? []) aliasWords(words, at, a)
  for (const at of places?.own ?? []) words[at] = v4Word(a.addr(fromV4(words[at]! >>> 0))) | 0
  if (e.kept === null || (kind !== EV.NETLINK && kind !== EV.VHOST_MESSAGE)) return { words, kept: e.kept }
  const head = e.kept.head.slice()
  if (kind === EV.NETLINK) netlink(head, a)
  else vhost(head, a)
  return { words, kept: { ...e.kept, head } }
}
