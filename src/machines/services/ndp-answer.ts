import * as E from 'fp-ts/lib/Either.js'
import { type InAny, isMulticast, isUnspecified, sameAddr, UNSPECIFIED6 } from '../../codecs/value/inany.js'
import type { Octets } from '../../codecs/value/octets.js'
import { searchNames } from '../../codecs/wire/dns-name.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import { encodeNdpOption, NdpMessage, type NdpOption } from '../../codecs/wire/ndp.js'
import type { NdpSilence } from '../../effects/counters.js'
import type { ServiceEffect } from '../../effects/effect.js'
import { dns6Of, type GuestConfig, searchOf, servesDhcpv6 } from './guest-config.js'
import { count, info, multicastMac, ndpFrame, toTap } from './service-frame.js'

// Neighbour Discovery towards the guest (RFC 4861): answers without history, and the frames that the machine in ndp.ts
// sends.
// The ICMPv6 checksum was verified with every other (codecs/wire/frame.ts).

/** ff02::1, RFC 4291 §2.7.1 */
export const ALL_NODES: InAny = [0xff020000, 0, 0, 1]
/** ff02::1:ffXX:XXXX, RFC 4291 §2.7.1 */
export const solicitedNode = (a: InAny): InAny => [0xff020000, 0, 1, (0xff000000 | (a[3] & 0xffffff)) >>> 0]

const INFINITE = 0xffffffff
/** s; above the 9000 of RFC 4861 §6.2.1 as RFC 8319 §4 allows */
const ROUTER_LIFETIME = 65535
const PREFIX_LEN = 64
/** Octets of an RA: what one packet of 1280, IPv6's least MTU, carries. */
const MAX_RA = 1240

// --- frames

/** `addr` without the bits behind the prefix: the sender must clear them (RFC 4861 §4.6.2). */
const prefixOf = (addr: InAny): InAny => [addr[0], addr[1], 0, 0]

/** As many search domains as fit `octets` of DNSSL option; no option without one (RFC 8106 §5.2). */
const dnssl = (texts: ReadonlyArray<string>, octets: number): ReadonlyArray<NdpOption> => {
  for (let names = searchNames(texts); names.length > 0; names = names.slice(0, -1)) {
    const option = { tag: 'Dnssl', lifetime: INFINITE, names } as const
    if (encodeNdpOption(option).length <= octets) return [option]
  }
  return []
}

/** What was announced before and holds no longer: prefixes by an address in each, resolvers. */
export interface Former {
  readonly prefixes: ReadonlyArray<InAny>
  readonly dns: ReadonlyArray<InAny>
}
export const NOTHING_FORMER: Former = { prefixes: [], dns: [] }

/**
 * s. An address of such a prefix is deprecated at once, and valid for as long as a router can make it (RFC 4862 §5.5.3 e): what it is used
 * for goes on.
 */
const FORMER_VALID = 7200

const prefixOption = (addr: InAny, valid: number, preferred: number): NdpOption => ({
  tag: 'Prefix',
  prefixLen: PREFIX_LEN,
  onLink: true,
  autonomous: true,
  valid,
  preferred,
  prefix: prefixOf(addr)
})

/**
 * Router advertisement from our link-local address. M says what is the case: addresses by DHCPv6. In local mode there is
 * no prefix to announce. Search domains go with resolvers only (behaviour.md#resolvers).
 */
export const routerAdvert = (
  c: GuestConfig,
  assigned: InAny | null,
  former: Former = NOTHING_FORMER
): NdpMessage => {
  const addrs = dns6Of(c)
  const options: ReadonlyArray<NdpOption> = [
    ...(assigned === null ? [] : [prefixOption(assigned, INFINITE, INFINITE)]),
    ...former.prefixes.map((a) => prefixOption(a, FORMER_VALID, 0)),
    { tag: 'SourceLla', mac: c.ownMac },
    ...(c.mtu === 0 ? [] : [{ tag: 'Mtu', mtu: c.mtu } as const]),
    ...(addrs.length === 0 ? [] : [{ tag: 'Rdnss', lifetime: INFINITE, addrs } as const]),
    // RFC 8106 §5.1: no longer to be used
    ...(former.dns.length === 0 ? [] : [{ tag: 'Rdnss', lifetime: 0, addrs: former.dns } as const])
  ]
  const room = MAX_RA - 16 - options.reduce((n, o) => n + encodeNdpOption(o).length, 0)
  return {
    tag: 'RouterAdvert',
    hopLimit: 255,
    managed: servesDhcpv6(c),
    otherConfig: false,
    lifetime: ROUTER_LIFETIME,
    reachable: 0,
    retrans: 0,
    options: [...options, ...(addrs.length === 0 ? [] : dnssl(searchOf(c), room))]
  }
}

/**
 * An RA to `dst`, to all nodes where that is unspecified (RFC 4861 §6.2.6). `mac`: where a unicast one goes. The machine
 * does not ask for one while IPv6 is off.
 */
export const routerAdvertFrame = (
  c: GuestConfig,
  dst: InAny,
  mac: Mac,
  former: Former = NOTHING_FORMER
): Uint8Array => {
  const to = isUnspecified(dst) ? ALL_NODES : dst
  const link = { dst: isMulticast(to) ? multicastMac(to) : mac, src: c.ownMac }
  const src = c.v6?.ownLinkLocal ?? UNSPECIFIED6
  return ndpFrame(link, { src, dst: to }, routerAdvert(c, c.v6?.assigned ?? null, former))
}

/** The router that we were is none any more: its last word (RFC 4861 §6.2.5). Nothing where it has said nothing. */
export const farewell = (c: GuestConfig): ReadonlyArray<ServiceEffect> => {
  if (c.noNdp || c.noRa || c.v6 === null) return []
  const link = { dst: multicastMac(ALL_NODES), src: c.ownMac }
  const last: NdpMessage = {
    tag: 'RouterAdvert',
    hopLimit: 0,
    managed: false,
    otherConfig: false,
    lifetime: 0,
    reachable: 0,
    retrans: 0,
    options: []
  }
  return [toTap(ndpFrame(link, { src: c.v6.ownLinkLocal, dst: ALL_NODES }, last))]
}

/**
 * Asks for the guest's address, so that its answer tells us its MAC. Unicast, and then without the source link-layer
 * address (RFC 4861 §4.3 wants it in multicasts only), as upstream does; `guestMac`: all ones while unknown. Nothing in
 * local mode, where there is no address to ask for yet.
 */
export const nsProbe = (c: GuestConfig, guestMac: Mac): ReadonlyArray<ServiceEffect> => {
  if (c.noNdp || c.v6 === null || c.v6.assigned === null) return []
  const target = c.v6.assigned
  const m = { tag: 'NeighbourSolicit', target, options: [] } as const
  return [toTap(ndpFrame({ dst: guestMac, src: c.ownMac }, { src: c.v6.ownLinkLocal, dst: target }, m))]
}

/** Unsolicited NA (RFC 4861 §7.2.6: multicast, S clear): `addr` is at `mac`, whatever the guest believed. */
export const naAnnouncement = (c: GuestConfig, addr: InAny, mac: Mac): ReadonlyArray<ServiceEffect> => {
  if (c.noNdp || c.v6 === null) return []
  const link = { dst: multicastMac(ALL_NODES), src: c.ownMac }
  return [toTap(ndpFrame(link, { src: c.v6.ownLinkLocal, dst: ALL_NODES }, advert(addr, mac, false)))]
}

const advert = (target: InAny, mac: Mac, solicited: boolean): NdpMessage => ({
  tag: 'NeighbourAdvert',
  router: true,
  solicited,
  override: true,
  target,
  options: [{ tag: 'TargetLla', mac }]
})

// --- answers

/** Header fields of an NDP message as the guest sent it. */
export interface NdpSource {
  readonly src: InAny
  readonly dst: InAny
  /** Hop limit. */
  readonly ttl: number
}

/** A valid RS, for the machine in ndp.ts: who to answer. */
export interface RouterSolicitation {
  readonly src: InAny
  readonly srcMac: Mac
}
export interface NdpAnswer {
  readonly effects: ReadonlyArray<ServiceEffect>
  /** To be made an RS_RECEIVED event; null if the message was no valid RS. */
  readonly solicitation: RouterSolicitation | null
}
const answer = (...effects: ServiceEffect[]): NdpAnswer => ({ effects, solicitation: null })

const hasSourceLla = (m: NdpMessage): boolean => m.options.some((o) => o.tag === 'SourceLla')

/** Why a solicitation is invalid (RFC 4861 §7.1.1), or null. */
const invalidNs = (target: InAny, m: NdpMessage, from: NdpSource): NdpSilence | null => {
  if (isMulticast(target)) return 'NS for multicast'
  if (!isUnspecified(from.src)) return null
  if (hasSourceLla(m)) return 'NS from :: with link-layer address'
  return sameAddr(from.dst, solicitedNode(target)) ? null : 'NS from :: not to solicited-node'
}

type NeighbourSolicit = Extract<NdpMessage, { tag: 'NeighbourSolicit' }>
/**
 * Everything the guest asks for is behind us, so every target resolves but its own addresses: those it assigns itself
 * and those it just used as source. Duplicate address detection (source ::) must find every address free.
 */
const answerNs = (c: GuestConfig, m: NeighbourSolicit, from: NdpSource, srcMac: Mac): NdpAnswer => {
  if (c.v6 === null) return answer(count('ndp: off'))
  const bad = invalidNs(m.target, m, from)
  if (bad !== null) return answer(count(`ndp: ${bad}`))
  if (isUnspecified(from.src)) return answer(count('ndp: duplicate address detection'))
  const own = sameAddr(m.target, from.src) || (c.v6.assigned !== null && sameAddr(m.target, c.v6.assigned))
  if (own) return answer(count('ndp: assigned address'))
  const link = { dst: srcMac, src: c.ownMac }
  const na = advert(m.target, c.macOf(m.target), true)
  return answer(
    info('NDP', 'received NS, sending NA'),
    toTap(ndpFrame(link, { src: c.v6.ownLinkLocal, dst: from.src }, na))
  )
}

/** Valid by RFC 4861 §6.1.1; the answer is ndp.ts's. */
const answerRs = (c: GuestConfig, m: NdpMessage, from: NdpSource, srcMac: Mac): NdpAnswer => {
  if (c.noRa) return answer(count('ndp: RA off'))
  if (isUnspecified(from.src) && hasSourceLla(m))
    return answer(count('ndp: RS from :: with link-layer address'))
  return { effects: [], solicitation: { src: from.src, srcMac } }
}

/** `message`: ICMPv6 from the type octet on, types 133 to 137. Adverts and redirects of the guest change nothing. */
export const answerNdp =
  (c: GuestConfig) =>
  (message: Octets, from: NdpSource, srcMac: Mac): NdpAnswer => {
    if (c.noNdp || c.v6 === null) return answer(count('ndp: off'))
    if (from.ttl !== 255) return answer(count('ndp: hop limit')) // came through a router, §6.1, §7.1
    const decoded = NdpMessage.decode(message)
    if (E.isLeft(decoded)) return answer(count('ndp: malformed'))
    const m = decoded.right
    if (m.tag === 'NeighbourSolicit') return answerNs(c, m, from, srcMac)
    if (m.tag === 'RouterSolicit') return answerRs(c, m, from, srcMac)
    return answer(count('ndp: not a solicitation'))
  }
