import * as E from 'fp-ts/lib/Either.js'
import {
  BROADCAST4,
  type InAny,
  isLoopback,
  isUnicast,
  isUnspecified,
  sameAddr,
  UNSPECIFIED4,
  v4Word
} from '../../codecs/value/inany.js'
import {
  addrOption,
  addrsOption,
  BOOTREPLY,
  BOOTREQUEST,
  DHCPACK,
  DHCPDISCOVER,
  DHCPINFORM,
  DHCPNAK,
  DHCPOFFER,
  DHCPREQUEST,
  DhcpMessage,
  type DhcpOption,
  FLAG_BROADCAST,
  OPT_CLIENT_ID,
  OPT_DNS,
  OPT_FQDN,
  OPT_HOSTNAME,
  OPT_LEASE,
  OPT_MASK,
  OPT_MTU,
  OPT_PARAMETERS,
  OPT_RAPID_COMMIT,
  OPT_REQUESTED_IP,
  OPT_ROUTER,
  OPT_ROUTES,
  OPT_SEARCH,
  OPT_SERVER_ID,
  OPT_TYPE,
  octetOption,
  octetsOption,
  optionLen,
  optionOf,
  u16Option,
  u32Option
} from '../../codecs/wire/dhcp.js'
import { DnsName, nameFromText, nameToText, SearchList, searchNames } from '../../codecs/wire/dns-name.js'
import { type Mac, showMac } from '../../codecs/wire/ethernet.js'
import type { DhcpSilence } from '../../effects/counters.js'
import type { ServiceEffect } from '../../effects/effect.js'
import { dns4Of, type GuestConfig, type GuestV4, searchOf } from './guest-config.js'
import { count, info, udp4ToTap } from './service-frame.js'

// DHCP server with one lease that never ends, for one client (RFC 2131), and BOOTP (RFC 951). No history: whoever asks
// is given the assigned address. Unlike upstream, which acknowledges every request, one for another address gets a
// DHCPNAK, so that a client coming from elsewhere starts over at once, and one for another server gets silence.

const SERVER_PORT = 67
const CLIENT_PORT = 68
/** Octets of options, without cookie and end: 576-octet datagram (RFC 2131 §2) less headers and both. */
const MAX_OPTIONS = 307
/** Flags of option 81, RFC 4702 §2.1 */
const FQDN_S = 0x01
const FQDN_O = 0x02
const FQDN_E = 0x04
const RCODE_UNUSED = 255

// --- what to answer

type Reply = 'offer' | 'ack' | 'rapid ack' | 'nak' | 'inform ack'
type Disposition = { readonly reply: Reply } | { readonly drop: DhcpSilence }

/** RFC 2131 §4.3.2: DHCPREQUEST in SELECTING, INIT-REBOOT, RENEWING, REBINDING; they differ in what is filled in. */
const requested = (v4: GuestV4, m: DhcpMessage): Disposition => {
  const server = addrOption(m, OPT_SERVER_ID)
  if (server !== null && !sameAddr(server, v4.own)) return { drop: 'other server' }
  const wanted = addrOption(m, OPT_REQUESTED_IP) ?? m.ciaddr
  // A client that names no address at all is out of spec, and gets what it would get anyway.
  return { reply: isUnspecified(wanted) || sameAddr(wanted, v4.assigned) ? 'ack' : 'nak' }
}

const disposition = (v4: GuestV4, m: DhcpMessage): Disposition => {
  if (m.op !== BOOTREQUEST) return { drop: 'not a request' }
  const type = octetOption(m, OPT_TYPE)
  switch (type) {
    case null: // BOOTP
      return { reply: 'ack' }
    case DHCPDISCOVER:
      return { reply: optionOf(m, OPT_RAPID_COMMIT) === null ? 'offer' : 'rapid ack' } // RFC 4039 §3.1
    case DHCPREQUEST:
      return requested(v4, m)
    case DHCPINFORM:
      return { reply: 'inform ack' }
    default: // DECLINE and RELEASE get no answer (RFC 2131 §4.3.3, §4.3.4), the others are not for servers
      return { drop: 'other message type' }
  }
}

// --- options

const ascii = (s: string): Uint8Array => Uint8Array.from(s, (c) => c.charCodeAt(0))
const isHostname = (s: string | null): s is string => s !== null && /^[\x21-\x7e]{1,255}$/.test(s)

/** gw/32 on the link, then the default route through it (RFC 3442): for a router outside the guest's subnet. */
const viaRouter = (gw: InAny): DhcpOption => {
  const w = v4Word(gw)
  const octets = [w >>> 24, (w >>> 16) & 0xff, (w >>> 8) & 0xff, w & 0xff]
  return octetsOption(OPT_ROUTES, [32, ...octets, 0, 0, 0, 0, 0, ...octets])
}
const maskWord = (prefixLen: number): number => (prefixLen === 0 ? 0 : (0xffffffff << (32 - prefixLen)) >>> 0)
const onSubnet = (v4: GuestV4, a: InAny): boolean =>
  ((v4Word(a) ^ v4Word(v4.assigned)) & maskWord(v4.prefixLen)) === 0

/**
 * Client FQDN (RFC 4702 §2): E and the encoding follow the client (§4); O says that we do not do the A update which it
 * asked for with S. Without its asking: wire format.
 */
const fqdnOption = (text: string, asked: number | null): ReadonlyArray<DhcpOption> => {
  const name = nameFromText(text)
  if (E.isLeft(name)) return []
  const wire = asked === null || (asked & FQDN_E) !== 0
  const flags = (wire ? FQDN_E : 0) | (asked !== null && (asked & FQDN_S) !== 0 ? FQDN_O : 0)
  const data = [
    flags,
    RCODE_UNUSED,
    RCODE_UNUSED,
    ...(wire ? DnsName.encode(name.right) : ascii(nameToText(name.right)))
  ]
  return data.length > 255 ? [] : [octetsOption(OPT_FQDN, data)]
}

/** Configuration for the client, ascending by code; the lease apart. */
const configuration = (c: GuestConfig, v4: GuestV4, m: DhcpMessage): ReadonlyArray<DhcpOption> => {
  const dns = dns4Of(c)
  const names = searchNames(searchOf(c))
  return [
    u32Option(OPT_MASK, maskWord(v4.prefixLen)),
    ...(v4.gateway === null ? [] : [addrsOption(OPT_ROUTER, [v4.gateway])]),
    ...(dns.length === 0 ? [] : [addrsOption(OPT_DNS, dns)]),
    ...(isHostname(c.hostname) ? [octetsOption(OPT_HOSTNAME, ascii(c.hostname))] : []),
    ...(c.mtu === 0 ? [] : [u16Option(OPT_MTU, c.mtu)]),
    ...(c.fqdn === null ? [] : fqdnOption(c.fqdn, octetOption(m, OPT_FQDN))),
    ...(names.length === 0 ? [] : [octetsOption(OPT_SEARCH, SearchList.encode(names))]),
    ...(v4.gateway === null || onSubnet(v4, v4.gateway) ? [] : [viaRouter(v4.gateway)])
  ]
}

const TYPE_OF: { readonly [R in Reply]: number } = {
  offer: DHCPOFFER,
  ack: DHCPACK,
  'rapid ack': DHCPACK,
  nak: DHCPNAK,
  'inform ack': DHCPACK
}

/** Everything that goes into a reply, ascending by code (RFC 2131 table 3). */
const available = (c: GuestConfig, v4: GuestV4, m: DhcpMessage, reply: Reply): ReadonlyArray<DhcpOption> => {
  const id = optionOf(m, OPT_CLIENT_ID)
  const all = [
    octetsOption(OPT_TYPE, [TYPE_OF[reply]]),
    addrsOption(OPT_SERVER_ID, [v4.own]),
    ...(id === null || id.length === 0 || id.length > 255 ? [] : [octetsOption(OPT_CLIENT_ID, id)]), // RFC 6842 §3
    ...(reply === 'nak' ? [] : configuration(c, v4, m)),
    ...(reply === 'nak' || reply === 'inform ack' ? [] : [u32Option(OPT_LEASE, c.lease4)]), // §4.3.5
    ...(reply === 'rapid ack' ? [octetsOption(OPT_RAPID_COMMIT, [])] : [])
  ]
  return all.sort((a, b) => a.code - b.code)
}

/**
 * In the order of the parameter request list (option 55), message type in front if the list does not place it, then the
 * rest ascending; without a list all ascending. The list only orders: it cannot suppress anything.
 */
export const inRequestedOrder = (
  options: ReadonlyArray<DhcpOption>,
  list: Uint8Array | null
): ReadonlyArray<DhcpOption> => {
  if (list === null) return options
  const first = list.includes(OPT_TYPE) ? [...list] : [OPT_TYPE, ...list]
  const rank = new Map<number, number>()
  for (const code of first) if (!rank.has(code)) rank.set(code, rank.size)
  const place = (o: DhcpOption): number => rank.get(o.code) ?? 256 + o.code
  return [...options].sort((a, b) => place(a) - place(b))
}

/** Options that the reply is no DHCP message without: they have their room before the others. */
const ESSENTIAL = new Set([OPT_TYPE, OPT_SERVER_ID, OPT_LEASE, OPT_MASK, OPT_ROUTER, OPT_RAPID_COMMIT])

/** As many as fit MAX_OPTIONS, order kept. An option that does not fit is left out, later shorter ones may fit. */
export const fitting = (options: ReadonlyArray<DhcpOption>): ReadonlyArray<DhcpOption> => {
  let room = MAX_OPTIONS
  for (const o of options) if (ESSENTIAL.has(o.code)) room -= optionLen(o)
  return options.filter((o) => {
    if (ESSENTIAL.has(o.code)) return true
    if (optionLen(o) > room) return false
    room -= optionLen(o)
    return true
  })
}

// --- the reply

/** RFC 2131 §4.1: to ciaddr if that is one, else as the broadcast flag says; a DHCPNAK is always broadcast. */
const destination = (v4: GuestV4, m: DhcpMessage, reply: Reply): InAny => {
  if (reply === 'nak') return BROADCAST4
  if (isUnicast(m.ciaddr) && !isLoopback(m.ciaddr)) return m.ciaddr
  if (reply === 'inform ack' || (m.flags & FLAG_BROADCAST) !== 0) return BROADCAST4
  return v4.assigned
}

const replyTo = (c: GuestConfig, v4: GuestV4, m: DhcpMessage, reply: Reply): DhcpMessage => ({
  op: BOOTREPLY,
  htype: m.htype,
  hlen: m.hlen,
  hops: 0,
  xid: m.xid,
  secs: 0,
  flags: m.flags,
  ciaddr: reply === 'nak' ? UNSPECIFIED4 : m.ciaddr,
  yiaddr: reply === 'nak' || reply === 'inform ack' ? UNSPECIFIED4 : v4.assigned,
  siaddr: UNSPECIFIED4,
  giaddr: m.giaddr,
  chaddr: m.chaddr,
  sname: new Uint8Array(64),
  file: new Uint8Array(128),
  options: fitting(inRequestedOrder(available(c, v4, m, reply), optionOf(m, OPT_PARAMETERS)))
})

const WORDS: { readonly [R in Reply]: string } = {
  offer: 'offer to discover',
  ack: 'ack to request',
  'rapid ack': 'ack to discover (Rapid Commit)',
  nak: 'nak to request for another address',
  'inform ack': 'ack to inform'
}

/** `srcMac`: source of the frame; the reply goes there, not to chaddr, a broadcast one included. */
export const answerDhcp =
  (c: GuestConfig) =>
  (m: DhcpMessage, srcMac: Mac): ReadonlyArray<ServiceEffect> => {
    if (c.noDhcp || c.v4 === null || c.v4.gateway === null) return [count('dhcp: off')]
    const what = disposition(c.v4, m)
    if ('drop' in what) return [count(`dhcp: ${what.drop}`)]
    const data = DhcpMessage.encode(replyTo(c, c.v4, m, what.reply))
    const ip = { src: c.v4.own, dst: destination(c.v4, m, what.reply) }
    const ports = { srcPort: SERVER_PORT, dstPort: CLIENT_PORT }
    return [
      info('DHCP', `${WORDS[what.reply]} from ${showMac(srcMac)}`),
      udp4ToTap({ dst: srcMac, src: c.ownMac }, ip, ports, data)
    ]
  }
