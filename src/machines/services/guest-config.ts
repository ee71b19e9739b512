import type { InAny } from '../../codecs/value/inany.js'
import type { Mac } from '../../codecs/wire/ethernet.js'

/** IPv4 as the guest is to be configured. */
export interface GuestV4 {
  readonly assigned: InAny
  /** 0-32 */
  readonly prefixLen: number
  /** null: no default router is known, and DHCP is off (behaviour.md#no-router). */
  readonly gateway: InAny | null
  /** Our address on the guest's link: source of DHCP and ARP probes, server identifier. The gateway, where there is one. */
  readonly own: InAny
}
/** IPv6 as the guest is to be configured; its prefix is always 64. */
export interface GuestV6 {
  /** null: local mode, no global address; the guest keeps to its link-local one. */
  readonly assigned: InAny | null
  /** Our link-local address: the guest's router, source of all NDP and DHCPv6. */
  readonly ownLinkLocal: InAny
}

/**
 * What the answering services know. Immutable: the runtime makes another one when something changes, `macOf` aside,
 * which is a look-up in the runtime's neighbour table and must have no effect.
 */
export interface GuestConfig {
  readonly ownMac: Mac
  /** null: the family is off. */
  readonly v4: GuestV4 | null
  readonly v6: GuestV6 | null
  /** Octets; 0: do not announce one. */
  readonly mtu: number
  /** Resolvers to offer, at most three are. */
  readonly dns4: ReadonlyArray<InAny>
  readonly dns6: ReadonlyArray<InAny>
  /** Search domains as text; what is no name is left out. */
  readonly search: ReadonlyArray<string>
  readonly announceDns: boolean
  readonly announceSearch: boolean
  /** s that DHCP and DHCPv6 give addresses for; LEASE_FOREVER. */
  readonly lease4: number
  readonly lease6: number
  readonly hostname: string | null
  readonly fqdn: string | null
  readonly noDhcp: boolean
  readonly noDhcpv6: boolean
  /** Also set by --no-icmp (behaviour.md#no-router). */
  readonly noNdp: boolean
  /** Also set by --config-net (behaviour.md#no-router). */
  readonly noRa: boolean
  /** DUID-LLT of 14 octets, RFC 8415 §11.2 */
  readonly serverDuid: Uint8Array
  /** MAC that the guest is to see for an address: neighbour's, else gateway's, else our own (behaviour.md#neighbours). */
  readonly macOf: (a: InAny) => Mac
}

/** Of DHCP (RFC 2132 §9.2) and DHCPv6 (RFC 8415 §7.7). */
export const LEASE_FOREVER = 0xffffffff

/** At most three resolvers of a family, if they are to be announced (behaviour.md#resolvers). */
const MAX_DNS = 3
export const dns4Of = (c: GuestConfig): ReadonlyArray<InAny> =>
  c.announceDns ? c.dns4.slice(0, MAX_DNS) : []
export const dns6Of = (c: GuestConfig): ReadonlyArray<InAny> =>
  c.announceDns ? c.dns6.slice(0, MAX_DNS) : []
export const searchOf = (c: GuestConfig): ReadonlyArray<string> => (c.announceSearch ? c.search : [])

/** DHCPv6 has an address to give. */
export const servesDhcpv6 = (c: GuestConfig): boolean =>
  !c.noDhcpv6 && c.v6 !== null && c.v6.assigned !== null

/** Seconds from the Unix epoch to 2000-01-01 UTC. */
const EPOCH_2000 = 946684800
/**
 * Our DHCPv6 identity: type 1, hardware type 1, time in s since 2000 mod 2^32, MAC (RFC 8415 §11.2).
 * `unixSeconds`: when the process started.
 */
export const duidLlt = (mac: Mac, unixSeconds: number): Uint8Array => {
  const view = new DataView(new ArrayBuffer(14))
  view.setUint16(0, 1)
  view.setUint16(2, 1)
  view.setUint32(4, Math.max(0, Math.floor(unixSeconds) - EPOCH_2000) % 0x100000000)
  view.setUint16(8, Math.floor(mac / 0x100000000))
  view.setUint32(10, mac % 0x100000000)
  return new Uint8Array(view.buffer)
}
