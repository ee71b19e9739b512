import * as E from 'fp-ts/lib/Either.js'
import {
  type InAny,
  isLinkLocal,
  isLoopback,
  isUnicast,
  isUnspecified,
  isV4,
  sameAddr
} from '../../codecs/value/inany.js'
import type { Octets } from '../../codecs/value/octets.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import { NdpMessage } from '../../codecs/wire/ndp.js'
import type { NdpSource } from '../services/ndp-answer.js'
import { contains, type Prefix } from './on-link.js'

// Whose address is the guest's? Packets of others pass through it as well: of a VPN's clients, of a network behind a nested
// router. Where they are not masqueraded they are answered, but what comes in for the guest is not for them. Its own are those
// assigned, those on the link's prefix (SLAAC, RFC 8981 privacy addresses, others of a subnet), and those that it announces by
// ARP or NDP with its own MAC, which a router does for no other's. What is bridged behind the guest has a MAC of its own: beyond the
// prefix it announces nothing that counts (learn.ts).

export interface GuestLink {
  /** -a, --address: no other IPv4 address is the guest's. */
  readonly fixed4: boolean
  /** -a, --address: no other IPv6 address beyond the prefix that goes with it (SLAAC). */
  readonly fixed6: boolean
  /** On the guest's link, assigned addresses included. */
  readonly prefixes: ReadonlyArray<Prefix>
}
/** Addresses that were announced, the last one first. */
export type Announced = ReadonlyArray<InAny>
export const MAX_ANNOUNCED = 16

const usable = (a: InAny): boolean => isUnicast(a) && !isLoopback(a)
const fixed = (c: GuestLink, a: InAny): boolean => (isV4(a) ? c.fixed4 : c.fixed6)

/** May packets from `a` be the guest's own? Law: never loopback, unspecified or a group. */
export const isGuests = (c: GuestLink, assigned4: InAny | null, announced: Announced, a: InAny): boolean => {
  if (!usable(a)) return false
  if (!isV4(a) && isLinkLocal(a)) return true // no router forwards it (RFC 4291 §2.5.6)
  if (isV4(a) && c.fixed4) return assigned4 !== null && sameAddr(a, assigned4)
  return c.prefixes.some((p) => contains(p, a)) || announced.some((b) => sameAddr(a, b))
}

/** On the guest's link, by prefix. */
export const isOnLink = (c: GuestLink, a: InAny): boolean =>
  (!isV4(a) && isLinkLocal(a)) || c.prefixes.some((p) => contains(p, a))

/** One more announcement. Where -a rules, nothing new is learnt. */
export const announce = (c: GuestLink, announced: Announced, a: InAny): Announced =>
  !usable(a) || fixed(c, a) || (announced[0] !== undefined && sameAddr(announced[0], a))
    ? announced
    : [a, ...announced.filter((b) => !sameAddr(a, b))].slice(0, MAX_ANNOUNCED)

/**
 * The address that an NDP message says to be its sender's; null: none. Solicitations have it as source (RFC 4861 §7.2.2),
 * duplicate address detection (source ::) and advertisements as target.
 */
export const announcedByNdp = (message: Octets, from: NdpSource, srcMac: Mac): InAny | null => {
  const decoded = NdpMessage.decode(message)
  if (from.ttl !== 255 || E.isLeft(decoded)) return null
  const m = decoded.right
  if (m.tag !== 'NeighbourSolicit' && m.tag !== 'NeighbourAdvert') return null
  const others = m.options.some((o) => (o.tag === 'SourceLla' || o.tag === 'TargetLla') && o.mac !== srcMac)
  if (others) return null
  return m.tag === 'NeighbourAdvert' || isUnspecified(from.src) ? m.target : from.src
}
