import type { Setting } from '../../codecs/text/argv.js'
import type { PortSpec } from '../../codecs/text/port-spec.js'
import type { InAny } from '../../codecs/value/inany.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import type { Limits } from '../flow/quotas.js'
import type { AddressAndLength, RunAs } from './option-values.js'

export type Mode = 'passt' | 'pasta'
export type VhostFeatures = 'all' | 'upstream'

/** One value for each IP version. */
export interface Pair<A> {
  readonly v4: A
  readonly v6: A
}

/** Which namespace, as the arguments behind the options say. */
export type Target =
  | { readonly kind: 'shell' }
  | { readonly kind: 'command'; readonly argv: ReadonlyArray<string> }
  | { readonly kind: 'pid'; readonly pid: number }
  | { readonly kind: 'netns'; readonly path: string }

/** The command line, valid in itself; null where nothing was said. What the host adds to it is in plan.ts. */
export interface Options {
  readonly mode: Mode
  /** What this was made from, in order. */
  readonly settings: ReadonlyArray<Setting>
  readonly positionals: ReadonlyArray<string>
  /** Index in argv of the first positional; argv.length without. */
  readonly positionalsAt: number
  /** Of no meaning for passt. */
  readonly target: Target
  /** To be shown once, at level warning. */
  readonly warnings: ReadonlyArray<string>
  readonly debug: boolean
  readonly trace: boolean
  /** On standard error: asked for, or because a command writes there. */
  readonly quiet: boolean
  /** -q */
  readonly quietAsked: boolean
  readonly foreground: boolean
  /** s between rows of statistics, 0 for none. */
  readonly stats: number
  readonly logFile: string | null
  /** Octets. */
  readonly logSize: number
  readonly runAs: RunAs | null
  readonly confPath: string | null
  readonly pcap: string | null
  /** Octets. */
  readonly pcapSize: number | null
  readonly pidFile: string | null
  /** Octets. */
  readonly mtu: number | null
  readonly address: Pair<AddressAndLength | null>
  /** Prefix length, IPv4. */
  readonly netmask: number | null
  readonly mac: Mac | null
  readonly gateway: Pair<InAny | null>
  readonly interface: string | null
  readonly outbound: Pair<InAny | null>
  readonly outboundIf: Pair<string | null>
  readonly dns: Pair<ReadonlyArray<InAny>>
  /** `-D none` */
  readonly noDns: boolean
  readonly dnsForward: Pair<InAny | null>
  readonly dnsHost: Pair<InAny | null>
  /** Empty: none wanted. */
  readonly search: ReadonlyArray<string> | null
  readonly dhcpDns: boolean
  readonly dhcpSearch: boolean
  readonly tcp: boolean
  readonly udp: boolean
  readonly icmp: boolean
  readonly dhcp: boolean
  readonly dhcpv6: boolean
  readonly ndp: boolean
  readonly ra: boolean
  readonly freebind: boolean
  readonly mapHostLoopback: Pair<InAny | null>
  readonly mapGw: boolean
  readonly mapGuestAddr: Pair<InAny | null>
  readonly families: 'both' | 'v4' | 'v6'
  readonly hostname: string | null
  readonly fqdn: string | null
  readonly chrootFallback: boolean
  /** As given, in order; nothing given is an empty list. */
  readonly ports: Readonly<Record<'tcpIn' | 'udpIn' | 'tcpOut' | 'udpOut', ReadonlyArray<PortSpec>>>
  readonly nsIfname: string | null
  readonly hostLoToNsLo: boolean
  readonly userns: string | null
  readonly netns: string | null
  readonly netnsOnly: boolean
  readonly netnsQuit: boolean
  readonly configNet: boolean
  readonly copyRoutes: boolean
  readonly copyAddrs: boolean
  readonly nsMac: Mac | null
  readonly splice: boolean
  readonly spliceOnly: boolean
  readonly pidns: boolean
  readonly socketPath: string | null
  readonly fd: number | null
  readonly oneOff: boolean
  readonly vhostUser: boolean
  /** What a front-end is offered: all that there is, or what every passt has. */
  readonly vhostFeatures: VhostFeatures
  /** 'none': switched off. */
  readonly repairPath: string | null
  readonly migrateExit: boolean
  readonly migrateNoLinger: boolean
  /** Of what the guest may take of the host (quotas.ts): where an option says. */
  readonly limits: Partial<Limits>
}
