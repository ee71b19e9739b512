import type { RateLimit } from '../../codecs/text/rate-limit.js'
import type { InAny } from '../../codecs/value/inany.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import type { PortOptions } from '../../machines/forward/forward-rules.js'
import type { Mode, VhostFeatures } from '../cli/option-types.js'
import type { RunAs } from '../cli/option-values.js'
import type { Limits } from '../flow/quotas.js'

/** Everything about one IP version. Addresses that end in null do not exist: no map, no rule. */
export interface FamilyPlan {
  /** Template interface on the host: where addresses come from, and the scope of link-local destinations. */
  readonly index: number | null
  readonly ifname: string | null
  /** Nothing usable on the host: link-local addresses instead (passt(1), Local mode). */
  readonly local: boolean
  /** By -a, --address. */
  readonly addressGiven: boolean
  /** To be the guest's. null: IPv6 in local mode, the guest's own link-local address counts then. */
  readonly assigned: InAny | null
  readonly prefixLen: number
  readonly gateway: InAny | null
  /** Whom the guest sees in place of host addresses that it could not answer to; also sender of our own messages (IPv4). */
  readonly own: InAny | null
  /** IPv6: source of our NDP and DHCPv6. */
  readonly linkLocal: InAny | null
  /** Name servers to tell the guest, if `announceDns`. */
  readonly dns: ReadonlyArray<InAny>
  /** The DNS rule exists when both are there: guest's queries to `dnsForward` go to `dnsHost`. */
  readonly dnsForward: InAny | null
  readonly dnsHost: InAny | null
  readonly mapHostLoopback: InAny | null
  readonly mapGuestAddr: InAny | null
  /** Source of outbound sockets, null: the kernel's choice. */
  readonly outbound: InAny | null
  /** Interface of outbound sockets, null: the kernel's choice. */
  readonly outboundIf: string | null
  /** With `configNet`: all of the template's, or the one `assigned`, or just the default route. */
  readonly copyAddresses: boolean
  readonly copyRoutes: boolean
}

export type NamespacePlan =
  /** passt: nothing but the host's. */
  | { readonly kind: 'none' }
  | {
      readonly kind: 'spawn'
      /** Where the command begins in argv; null: the user's shell. */
      readonly argvIndex: number | null
      readonly newUserns: boolean
      readonly newPidns: boolean
    }
  | {
      readonly kind: 'join'
      readonly netns: string
      /** null: none is joined. */
      readonly userns: string | null
      readonly pid: number | null
      readonly quitWithNamespace: boolean
    }

/** passt's end of the guest's network, or --fd in place of a tap. */
export type LinkPlan =
  /** null: the first default path that is free. */
  { readonly kind: 'socket'; readonly path: string | null } | { readonly kind: 'fd'; readonly fd: number }

/** Where passt-repair(1) finds us. `beside`: the path of the link's socket, whichever that becomes, with REPAIR_SUFFIX. */
export type RepairPath = { readonly kind: 'path'; readonly path: string } | { readonly kind: 'beside' }

export interface Plan {
  readonly mode: Mode
  readonly namespace: NamespacePlan
  /** null: a tap. */
  readonly link: LinkPlan | null
  /** The link's client speaks vhost-user, and is offered this; null: it sends frames. */
  readonly vhostUser: VhostFeatures | null
  /** null: nowhere. Never without vhostUser, nor with an inherited descriptor. */
  readonly repairPath: RepairPath | null
  /** As the source of a move: our end, once the state is with the hypervisor. */
  readonly migrateExit: boolean
  /** As the source of a move: sockets are closed then, and not kept to swallow what comes late. */
  readonly migrateNoLinger: boolean
  /** With a link: the end of its first client is ours. */
  readonly oneOff: boolean
  readonly foreground: boolean
  readonly quiet: boolean
  readonly debug: boolean
  readonly trace: boolean
  /** s */
  readonly stats: number
  readonly logFile: string | null
  /** Octets. */
  readonly logSize: number
  readonly pidFile: string | null
  /** Where whoever serves there is replaced, and we are to be. */
  readonly restartPath: string | null
  /** Where rules can be looked at and changed. */
  readonly confPath: string | null
  /** Where the API is served. Never with restartPath. */
  readonly apiPath: string | null
  readonly pcap: string | null
  readonly pcapSize: number | null
  readonly record: string | null
  /** Octets. */
  readonly recordSize: number
  /** With users' data. */
  readonly recordPayload: boolean
  /** Nothing is written until somebody asks for it. */
  readonly recordPaused: boolean
  readonly runAs: RunAs | null
  readonly chrootFallback: boolean
  /** What was derived from the host is derived again when that changes. */
  readonly follow: boolean
  /** Octets; 0: not to be assigned. */
  readonly mtu: number
  readonly ownMac: Mac
  /** null: the kernel's choice. */
  readonly nsMac: Mac | null
  readonly tapName: string
  readonly configNet: boolean
  /** null: that IP version is off. */
  readonly v4: FamilyPlan | null
  readonly v6: FamilyPlan | null
  /** -6: an IPv6 that cannot be configured is an error. */
  readonly v6Only: boolean
  readonly tcp: boolean
  readonly udp: boolean
  readonly icmp: boolean
  readonly dhcp: boolean
  readonly dhcpv6: boolean
  readonly ndp: boolean
  readonly ra: boolean
  /** Port options as given, and what they need (machines/forward/forward-rules.ts). */
  readonly ports: PortOptions
  readonly freebind: boolean
  /** What options say of them. */
  readonly limits: Partial<Limits>
  /** --limit, in order. */
  readonly rates: ReadonlyArray<RateLimit>
  /** Local traffic past the tap; with `spliceOnly` there is no tap. */
  readonly splice: boolean
  readonly spliceOnly: boolean
  readonly hostLoToNsLo: boolean
  readonly announceDns: boolean
  readonly announceSearch: boolean
  readonly search: ReadonlyArray<string>
  /** DHCP option 12, and the name of a new UTS namespace. */
  readonly hostname: string | null
  readonly fqdn: string | null
  /** For stderr before anything else, at level warning. */
  readonly warnings: ReadonlyArray<string>
  /** What was decided, at level info. */
  readonly info: ReadonlyArray<string>
}
