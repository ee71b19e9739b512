import { isV4 } from '../../codecs/value/inany.js'
import { BROADCAST_MAC, readMac, ZERO_MAC } from '../../codecs/wire/ethernet.js'
import type { GuestLink } from '../../machines/address/guest-address.js'
import type { NatConfig } from '../../machines/address/nat.js'
import type { NeighbourConfig } from '../../machines/address/neighbours.js'
import type { Links } from '../../machines/address/on-link.js'
import { UDP_TIMEOUTS } from '../../machines/flow/udp.js'
import { duidLlt, type GuestConfig, LEASE_FOREVER } from '../../machines/services/guest-config.js'
import { windowQuantum } from '../data/rates.js'
import type { WorldConfig } from '../data/world.js'
import type { HashKey } from '../flow/half-sip-hash.js'
import type { Limits } from '../flow/quotas.js'
import type { TapDevice } from '../host/launcher.js'
import type { FamilyPlan, Plan } from '../plan/plan-types.js'

// From the plan, and what was found at the start, to what the world's loop never changes: a pure function, so that two plans can
// be compared by what they lead to.

/** What a world needs of the plan for an IP version. */
export type WorldFamily = Pick<
  FamilyPlan,
  | 'index'
  | 'addressGiven'
  | 'assigned'
  | 'prefixLen'
  | 'gateway'
  | 'own'
  | 'linkLocal'
  | 'dns'
  | 'dnsForward'
  | 'dnsHost'
  | 'mapHostLoopback'
  | 'mapGuestAddr'
  | 'outbound'
>
/** What a world needs of the plan; its features need a little more (features.ts). */
export type WorldPlan = Pick<
  Plan,
  | 'mode'
  | 'link'
  | 'ownMac'
  | 'mtu'
  | 'tcp'
  | 'udp'
  | 'icmp'
  | 'dhcp'
  | 'dhcpv6'
  | 'ndp'
  | 'ra'
  | 'splice'
  | 'spliceOnly'
  | 'hostLoToNsLo'
  | 'rates'
  | 'announceDns'
  | 'announceSearch'
  | 'search'
  | 'hostname'
  | 'fqdn'
  | 'follow'
> & { readonly v4: WorldFamily | null; readonly v6: WorldFamily | null }

const hashKey = (b: Uint8Array, at: number): HashKey => {
  const v = new DataView(b.buffer)
  return [v.getUint32(at), v.getUint32(at + 4)]
}

const familyAddresses = (f: WorldFamily | null) => ({
  assigned: f?.assigned ?? null,
  own: f?.own ?? null,
  loopback: f?.mapHostLoopback ?? null,
  guest: f?.mapGuestAddr ?? null,
  forward: f?.dnsForward ?? null,
  host: f?.dnsHost ?? null
})

const natConfig = (p: WorldPlan): NatConfig => {
  const v4 = familyAddresses(p.v4)
  const v6 = familyAddresses(p.v6)
  return {
    assigned4: v4.assigned,
    assigned6: v6.assigned,
    own4: v4.own,
    own6: v6.own,
    mapHostLoopback4: v4.loopback,
    mapHostLoopback6: v6.loopback,
    mapGuestAddr4: v4.guest,
    mapGuestAddr6: v6.guest,
    dnsForward4: v4.forward,
    dnsForward6: v6.forward,
    dnsHost4: v4.host,
    dnsHost6: v6.host
  }
}

/** s. What may change is asked for anew at half of it (RFC 2131 §4.4.5). */
const LEASE = 240
/** What an option gave stays. */
const leaseOf = (p: WorldPlan, f: WorldFamily | null): number =>
  p.follow && f !== null && !f.addressGiven ? LEASE : LEASE_FOREVER

const guestConfig = (p: WorldPlan, now: number, macOf: GuestConfig['macOf']): GuestConfig => ({
  ownMac: p.ownMac,
  v4:
    p.v4 === null || p.v4.assigned === null
      ? null
      : {
          assigned: p.v4.assigned,
          prefixLen: p.v4.prefixLen,
          gateway: p.v4.gateway,
          own: p.v4.own ?? p.v4.assigned
        },
  v6:
    p.v6 === null || p.v6.linkLocal === null
      ? null
      : { assigned: p.v6.assigned, ownLinkLocal: p.v6.linkLocal },
  mtu: p.mtu,
  dns4: p.v4?.dns ?? [],
  dns6: p.v6?.dns ?? [],
  search: p.search,
  announceDns: p.announceDns,
  announceSearch: p.announceSearch,
  lease4: leaseOf(p, p.v4),
  lease6: leaseOf(p, p.v6),
  hostname: p.hostname,
  fqdn: p.fqdn,
  noDhcp: !p.dhcp,
  noDhcpv6: !p.dhcpv6,
  noNdp: !p.ndp,
  noRa: !p.ra,
  serverDuid: duidLlt(p.ownMac, now),
  macOf
})

/** What the guest's addresses are from: what is assigned, and the template's other prefixes where -a does not say otherwise. */
const guestPrefixes = (p: WorldPlan, links: Links): GuestLink => ({
  fixed4: p.v4?.addressGiven ?? false,
  fixed6: p.v6?.addressGiven ?? false,
  prefixes: [p.v4, p.v6].flatMap((f) => [
    ...(f === null || f.assigned === null ? [] : [{ addr: f.assigned, len: f.prefixLen }]),
    ...(f === null || f.addressGiven
      ? []
      : links.filter((l) => l.index === f.index && isV4(l.own) === (f === p.v4)).map((l) => l.prefix))
  ])
})

/** Ethernet's own MTU, for a guest that was told none. */
const MTU_UNTOLD = 1500
/** What the plan does not say: what the start has found and opened. */
export interface Found {
  /** null: there is none, as for a guest link or with --splice-only. */
  readonly tap: Pick<TapDevice, 'mac' | 'index'> | null
  readonly links: Links
  readonly limits: Limits
  /** See quotas.ts. */
  readonly sharedTcpPorts: boolean
  /** A rule forwards ports to the guest. */
  readonly bothSides: boolean
  /** 16 random octets. */
  readonly secret: Uint8Array
  /** s since 1970. */
  readonly now: number
  readonly macOf: GuestConfig['macOf']
}

export const worldConfig = (p: WorldPlan, found: Found): WorldConfig => {
  const { tap, limits, sharedTcpPorts, bothSides, secret } = found
  const mtu = p.mtu === 0 ? MTU_UNTOLD : p.mtu
  return {
    guest: guestConfig(p, found.now, found.macOf),
    guestLink: guestPrefixes(p, found.links),
    guestMac:
      p.link !== null
        ? BROADCAST_MAC
        : tap === null
          ? ZERO_MAC
          : readMac(new DataView(tap.mac.buffer, tap.mac.byteOffset), 0),
    forward: {
      mode: p.mode,
      splice: p.splice,
      spliceOnly: p.spliceOnly,
      hostLoToNsLo: p.hostLoToNsLo,
      tapIndex: tap?.index ?? 0
    },
    nat: natConfig(p),
    outbound4: p.v4?.outbound ?? null,
    outbound6: p.v6?.outbound ?? null,
    scope6: p.v6?.index ?? 0,
    tcp: p.tcp,
    udp: p.udp,
    icmp: p.icmp,
    v4: p.v4 !== null,
    v6: p.v6 !== null,
    mss4: Math.max(mtu - 40, 88),
    mss6: Math.max(mtu - 60, 88),
    hashKey: hashKey(secret, 0),
    issKey: hashKey(secret, 8),
    udpTimeouts: UDP_TIMEOUTS,
    limits,
    sharedTcpPorts,
    rates: p.rates,
    quantum: windowQuantum(p.rates),
    bothSides
  }
}

export const neighbourConfig = (p: WorldPlan): NeighbourConfig => ({
  ownMac: p.ownMac,
  nat: natConfig(p),
  index4: p.v4?.index ?? 0,
  index6: p.v6?.index ?? 0
})
