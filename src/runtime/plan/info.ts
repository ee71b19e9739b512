import { visible } from '../../codecs/text/visible.js'
import { fromV4, type InAny, showAddr } from '../../codecs/value/inany.js'
import { showMac } from '../../codecs/wire/ethernet.js'
import type { FamilyPlan, Plan } from './plan-types.js'

const mask = (bits: number): string => showAddr(fromV4(bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0))

const line = (label: string, a: InAny | null): ReadonlyArray<string> =>
  a === null ? [] : [`    ${label}: ${showAddr(a)}`]
const list = (label: string, items: ReadonlyArray<string>): ReadonlyArray<string> =>
  items.length === 0 ? [] : [`${label}:`, ...items.map((i) => `    ${i}`)]
const block = (title: string, lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : [`${title}:`, ...lines]

const interfaces = (p: Plan): string => {
  const v4 = p.v4?.ifname ?? null
  const v6 = p.v6?.ifname ?? null
  const host = v4 === v6 || v6 === null ? v4 : v4 === null ? v6 : `${v4} (IPv4), ${v6} (IPv6)`
  const outside = `Outbound interface: ${host ?? 'none'}`
  return p.mode === 'passt' ? outside : `${outside}, namespace interface: ${p.tapName}`
}

const outbound = (f: FamilyPlan | null, version: string): ReadonlyArray<string> => {
  if (f === null || (f.outbound === null && f.outboundIf === null)) return []
  const parts = [
    ...(f.outbound === null ? [] : [showAddr(f.outbound)]),
    ...(f.outboundIf === null ? [] : [f.outboundIf])
  ]
  return [`Outbound ${version} sockets: ${parts.join(' on ')}`]
}

/** The summary shown when everything is decided, as in the manual's examples. */
export const infoLines = (p: Plan): ReadonlyArray<string> => {
  const families = [p.v4, p.v6].filter((f) => f !== null)
  const search = list('search', p.search)
  return [
    ...(p.confPath === null ? [] : [`Configuration socket: ${p.confPath}`]),
    ...(p.apiPath === null ? [] : [`API socket: ${p.apiPath}`]),
    interfaces(p),
    ...outbound(p.v4, 'IPv4'),
    ...outbound(p.v6, 'IPv6'),
    'ARP:',
    `    address: ${showMac(p.ownMac)}`,
    ...block(
      'NAT to host loopback',
      families.flatMap((f) => line('from', f.mapHostLoopback))
    ),
    ...block(
      'NAT to host address of guest',
      families.flatMap((f) => line('from', f.mapGuestAddr))
    ),
    ...(p.dhcp && p.v4 !== null
      ? [
          'DHCP:',
          ...line('assign', p.v4.assigned),
          `    mask: ${mask(p.v4.prefixLen)}`,
          ...line('router', p.v4.gateway)
        ]
      : []),
    ...((p.ndp || p.dhcpv6) && p.v6 !== null
      ? [
          'NDP/DHCPv6:',
          ...line('assign', p.v6.assigned),
          ...line('router', p.v6.gateway),
          ...line('our link-local', p.v6.linkLocal)
        ]
      : []),
    ...list(
      'DNS',
      families.flatMap((f) => f.dns.map(showAddr))
    ),
    ...search
  ]
}

/** One line for who asks what this process does; `announcement`: of the guest link, if there is one. */
export const statusText = ({ namespace: ns }: Plan, announcement: ReadonlyArray<string>): string => {
  const what =
    ns.kind === 'none'
      ? (announcement[0] ?? 'Serving a guest')
      : ns.kind === 'spawn'
        ? 'Serving a command'
        : `Serving ${ns.pid === null ? ns.netns : `the namespace of process ${ns.pid}`}`
  return visible(what)
}
