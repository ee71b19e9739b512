import * as E from 'fp-ts/lib/Either.js'
import type { Errors } from 'io-ts'
import type { OptionName } from '../../codecs/text/argv.js'
import { looksLikePorts, PortSpec } from '../../codecs/text/port-spec.js'
import { RateLimit } from '../../codecs/text/rate-limit.js'
import { type InAny, isV4 } from '../../codecs/value/inany.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import { MAX_FLOWS } from '../flow/flow-table.js'
import { HALF_OPEN } from '../flow/limits.js'
import type { Limits } from '../flow/quotas.js'
import type { Line, Mode, Pair, VhostFeatures } from './option-types.js'
import * as v from './option-values.js'

/**
 * The command line, valid in itself; null where nothing was said. What the host adds to it is in plan.ts. Each group of options
 * below begins with what they set: its name, its value where nothing is said, and by that its type.
 */
export type Options = Line &
  Readonly<
    ReturnType<typeof generalFields> &
      ReturnType<typeof networkFields> &
      ReturnType<typeof passtFields> &
      ReturnType<typeof forwardingFields> &
      ReturnType<typeof limitFields>
  >

/** Where no option was given. */
export const defaults = (mode: Mode): Options => ({
  mode,
  settings: [],
  positionals: [],
  positionalsAt: 0,
  target: { kind: 'shell' },
  warnings: [],
  ...generalFields(),
  ...networkFields(mode),
  ...passtFields(),
  ...forwardingFields(),
  ...limitFields()
})

const unset = <A>(): A | null => null
const unsetPair = <A>(): Pair<A | null> => ({ v4: null, v6: null })

type Apply = (o: Options, value: string) => E.Either<string, Options>

/** Everything there is to know about one option: names, where it is allowed, what it does, what help says. */
export interface OptionEntry extends OptionName {
  /** `vhost`: passt with --vhost-user. */
  readonly allowed: 'both' | Mode | 'vhost'
  /** Word for the argument in help, null without argument. */
  readonly argument: string | null
  /** Lines; where the modes differ, one text each. */
  readonly help: string | Readonly<Record<Mode, string>>
  /** 2: looked at when all of pass 1 is known, wherever it stands (`-D none` undoes --dns-forward). */
  readonly pass: 1 | 2
  readonly apply: Apply
  /** Ends the program at once with this answer. */
  readonly answer: 'help' | 'version' | 'capabilities' | null
}

type Extra = Partial<Pick<OptionEntry, 'allowed' | 'pass' | 'answer' | 'ours'>>

/** `names`: `-x, --long, --alias`. The first long name is the option's id. */
const entry = (
  names: string,
  argument: string | null,
  help: OptionEntry['help'],
  apply: Apply,
  extra: Extra = {}
): OptionEntry => {
  const all = names.split(', ')
  const long = all.filter((n) => n.startsWith('--')).map((n) => n.slice(2))
  return {
    id: long[0] ?? '',
    long,
    short: all.find((n) => !n.startsWith('--'))?.slice(1) ?? null,
    takesArgument: argument !== null,
    ours: false,
    allowed: 'both',
    argument,
    help,
    pass: 1,
    apply,
    answer: null,
    ...extra
  }
}

const pasta: Extra = { allowed: 'pasta' }
const passt: Extra = { allowed: 'passt' }
const vhost: Extra = { allowed: 'vhost' }

// --- what options do

const patch =
  (p: Partial<Options>): Apply =>
  (o) =>
    E.right({ ...o, ...p })
const deprecated =
  (name: string, p: Partial<Options>): Apply =>
  (o) =>
    E.right({ ...o, ...p, warnings: [...o.warnings, `--${name} is deprecated and will be removed`] })
const set =
  <A>(read: v.Read<A>, put: (a: A, o: Options) => Partial<Options>): Apply =>
  (o, text) =>
    E.map((a: A): Options => ({ ...o, ...put(a, o) }))(read(text))

const inFamily = <A>(pair: Pair<A>, a: InAny, value: A): Pair<A> =>
  isV4(a) ? { ...pair, v4: value } : { ...pair, v6: value }
type AddressKey = 'gateway' | 'outbound' | 'dnsForward' | 'dnsHost' | 'mapHostLoopback' | 'mapGuestAddr'
/** One value per family, the last one counts. */
const perFamily = (key: AddressKey, read: v.Read<InAny>): Apply =>
  set(read, (a, o) => ({ [key]: inFamily<InAny | null>(o[key], a, a) }))
const orNone =
  (p: (o: Options) => Partial<Options>, otherwise: Apply): Apply =>
  (o, text) =>
    text === 'none' ? E.right({ ...o, ...p(o) }) : otherwise(o, text)

export const MAX_DNS = 3
export const MAX_SEARCH_OPTIONS = 6
/** Our choice, because upstream refuses longer ones. */
const MAX_SEARCH_TEXT = 1024

const addDns = set(v.addressBut(), (a, o) => {
  const list = [...(isV4(a) ? o.dns.v4 : o.dns.v6), a].slice(0, MAX_DNS)
  return { dns: inFamily(o.dns, a, list), noDns: false }
})

const addSearch: Apply = (o, text) => {
  const names = text.split(/\s+/).filter((n) => n !== '')
  const search = [...(o.search ?? []), ...names]
  if (text.length > MAX_SEARCH_TEXT) return E.left(`is longer than ${MAX_SEARCH_TEXT} characters`)
  if (names.length === 0) return E.left('is empty')
  if (search.length > MAX_SEARCH_OPTIONS) return E.left(`more than ${MAX_SEARCH_OPTIONS} names`)
  return E.right({ ...o, search })
}

const ports =
  (key: keyof Options['ports']): Apply =>
  (o, text) => {
    const spec = PortSpec.decode(text)
    if (E.isLeft(spec)) return E.left(spec.left[0]?.message ?? 'invalid port specification')
    if (o.mode === 'passt' && spec.right.kind === 'ports' && spec.right.auto)
      return E.left("'auto' is for pasta only")
    return E.right({ ...o, ports: { ...o.ports, [key]: [...o.ports[key], spec.right] } })
  }

const stats: Apply = (o, text) =>
  o.foreground
    ? E.map((n: number): Options => ({ ...o, stats: n }))(v.numberIn(0, 0x7fffffff)(text))
    : E.left('needs --foreground in front of it')

const netns = (text: string): string => (text.includes('/') ? text : `/run/netns/${text}`)

/** Smallest log file, octets: room for the part that is cut off at each rotation. */
export const MIN_LOG_SIZE = 5 * 8192
/** Smallest capture, octets: room for the largest frame, and a few others. */
export const MIN_PCAP_SIZE = 131072
/** Smallest record, octets: room for the start and a few turns. */
export const MIN_RECORD_SIZE = 131072
/** Largest IP packet in a frame of 65535 octets with its header of 14. */
export const MAX_MTU = 65521

const plainAddress = v.addressBut('unspecified', 'loopback', 'broadcast')
const mappable = v.addressBut('unspecified', 'loopback', 'multicast', 'broadcast')
const path = (
  key: 'logFile' | 'pcap' | 'record' | 'pidFile' | 'restartPath' | 'confPath' | 'apiPath' | 'userns'
): Apply => set(v.nonEmpty, (p) => ({ [key]: p }))

/** What publishes ports elsewhere gets a word. */
const pcap: Apply = (o, text) =>
  E.map((next: Options): Options => {
    const warning = `--pcap: packets are captured to a file '${text}'; ports are forwarded with -t and -u`
    return looksLikePorts(text) ? { ...next, warnings: [...next.warnings, warning] } : next
  })(path('pcap')(o, text))

// --- the table, in the order of help

const generalFields = () => ({
  debug: false,
  trace: false,
  /** On standard error: asked for, or because a command writes there. */
  quiet: false,
  /** -q */
  quietAsked: false,
  foreground: false,
  /** s between rows of statistics, 0 for none. */
  stats: 0,
  logFile: unset<string>(),
  /** Octets. */
  logSize: 1 << 20,
  runAs: unset<v.RunAs>(),
  confPath: unset<string>(),
  apiPath: unset<string>(),
  errorFd: unset<number>(),
  pcap: unset<string>(),
  /** Octets. */
  pcapSize: unset<number>(),
  record: unset<string>(),
  /** Octets. */
  recordSize: 2 ** 30,
  recordPayload: false,
  recordPaused: false,
  pidFile: unset<string>(),
  restartPath: unset<string>()
})
const general: ReadonlyArray<OptionEntry> = [
  entry(
    '-d, --debug',
    null,
    "Be verbose, don't log to the system logger",
    patch({ debug: true, quiet: false })
  ),
  entry(
    '--trace',
    null,
    'Be extra verbose, show single packets',
    patch({ trace: true, debug: true, quiet: false })
  ),
  entry('--stats', 'DELAY', 'Show event statistics, at most every DELAY seconds', stats),
  entry(
    '-q, --quiet',
    null,
    "Don't print informational messages",
    patch({ quiet: true, debug: false, trace: false })
  ),
  entry('-f, --foreground', null, "Don't run in background", patch({ foreground: true })),
  entry('-e, --stderr', null, 'Deprecated, no effect', deprecated('stderr', {})),
  entry('-l, --log-file', 'PATH', 'Log to file PATH, not to the system logger', path('logFile')),
  entry(
    '--log-size',
    'SIZE',
    'Limit log file to SIZE bytes\ndefault: 1 MiB',
    set(v.numberIn(MIN_LOG_SIZE, 0x7fffffff), (logSize) => ({ logSize }))
  ),
  entry(
    '--runas',
    'UID|UID:GID|LOGIN|LOGIN:GROUP',
    'Run as this user\ndefault: nobody, if started as root',
    set(v.runAs, (runAs) => ({ runAs }))
  ),
  entry(
    '--error-fd',
    'FD',
    'Report an error at start to FD, as a line of JSON',
    set(v.numberIn(0, 0x7fffffff), (errorFd) => ({ errorFd })),
    { ours: true }
  ),
  entry('-c, --conf-path', 'PATH', 'Control socket for reconfiguration', path('confPath')),
  entry('--api', 'PATH', 'Serve status, flows, rules and counters over HTTP at PATH', path('apiPath'), {
    ours: true
  }),
  entry('-h, --help', null, 'Show this help and exit', patch({}), { answer: 'help' }),
  entry('--version', null, 'Show version and exit', patch({}), { answer: 'version' }),
  entry('-p, --pcap', 'FILE', 'Capture guest-side packets to FILE', pcap),
  entry(
    '--pcap-size',
    'SIZE',
    'End the capture before it exceeds SIZE bytes\ndefault: no limit',
    set(v.numberIn(MIN_PCAP_SIZE, Number.MAX_SAFE_INTEGER), (pcapSize) => ({ pcapSize })),
    { ours: true }
  ),
  entry('--record', 'FILE', 'Record what happens to FILE, for passt-replay(1)', path('record'), {
    ours: true
  }),
  entry(
    '--record-size',
    'SIZE',
    'Keep the newest of the record, SIZE bytes at most\ndefault: 1GiB',
    set(v.numberIn(MIN_RECORD_SIZE, Number.MAX_SAFE_INTEGER), (recordSize) => ({ recordSize })),
    { ours: true }
  ),
  entry('--record-payload', null, "Record users' data, not only lengths", patch({ recordPayload: true }), {
    ours: true
  }),
  entry('--record-paused', null, 'Record nothing until the API is asked to', patch({ recordPaused: true }), {
    ours: true
  }),
  entry('-P, --pid', 'FILE', 'Write own PID to FILE', path('pidFile')),
  entry(
    '--restart-path',
    'PATH',
    'Take the place of who serves at PATH, if somebody does;\nhand over there to whoever is to take ours',
    path('restartPath'),
    { ours: true }
  )
]

const networkFields = (mode: Mode) => ({
  /** Octets. */
  mtu: unset<number>(),
  address: unsetPair<v.AddressAndLength>(),
  /** Prefix length, IPv4. */
  netmask: unset<number>(),
  mac: unset<Mac>(),
  gateway: unsetPair<InAny>(),
  interface: unset<string>(),
  outbound: unsetPair<InAny>(),
  outboundIf: unsetPair<string>(),
  dns: { v4: [], v6: [] } as Pair<ReadonlyArray<InAny>>,
  /** `-D none` */
  noDns: false,
  dnsForward: unsetPair<InAny>(),
  dnsHost: unsetPair<InAny>(),
  /** Empty: none wanted. */
  search: unset<ReadonlyArray<string>>(),
  dhcpDns: mode === 'passt',
  dhcpSearch: mode === 'passt',
  tcp: true,
  udp: true,
  icmp: true,
  dhcp: true,
  dhcpv6: true,
  ndp: true,
  ra: true,
  freebind: false,
  mapHostLoopback: unsetPair<InAny>(),
  mapGw: true,
  mapGuestAddr: unsetPair<InAny>(),
  families: 'both' as 'both' | 'v4' | 'v6',
  hostname: unset<string>(),
  fqdn: unset<string>(),
  chrootFallback: false,
  follow: true
})
const network: ReadonlyArray<OptionEntry> = [
  entry(
    '-m, --mtu',
    'MTU',
    'Assign MTU via DHCP and NDP, 0 for none\ndefault: 65520',
    set(v.numberIn(0, MAX_MTU), (mtu) => ({ mtu }))
  ),
  entry(
    '-a, --address',
    'ADDR[/LEN]',
    'Assign IPv4 or IPv6 address ADDR, once each\ndefault: from host interfaces',
    set(v.assignable, (a, o) => ({ address: inFamily<v.AddressAndLength | null>(o.address, a.address, a) }))
  ),
  entry(
    '-n, --netmask',
    'MASK',
    'Assign IPv4 MASK, dotted or number of bits\ndefault: from matching host address',
    set(v.netmask, (netmask) => ({ netmask }))
  ),
  entry(
    '-M, --mac-addr',
    'ADDR',
    'Use source MAC address ADDR\ndefault: 9a:55:9a:55:9a:55',
    set(v.mac, (mac) => ({ mac }))
  ),
  entry(
    '-g, --gateway',
    'ADDR',
    'Assign IPv4 or IPv6 gateway ADDR, once each\ndefault: from default routes',
    perFamily('gateway', plainAddress)
  ),
  entry(
    '-i, --interface',
    'NAME',
    'Derive addresses and routes from interface NAME\ndefault: that of the default routes',
    set(v.interfaceName, (name) => ({ interface: name }))
  ),
  entry(
    '-o, --outbound',
    'ADDR',
    'Bind outbound sockets to ADDR, once for each IP version\ndefault: as routing says',
    perFamily('outbound', v.outbound)
  ),
  entry(
    '--outbound-if4',
    'NAME',
    'Bind IPv4 outbound sockets to interface NAME',
    set(v.interfaceName, (v4, o) => ({ outboundIf: { ...o.outboundIf, v4 } }))
  ),
  entry(
    '--outbound-if6',
    'NAME',
    'Bind IPv6 outbound sockets to interface NAME',
    set(v.interfaceName, (v6, o) => ({ outboundIf: { ...o.outboundIf, v6 } }))
  ),
  entry(
    '-D, --dns',
    'ADDR',
    'Give ADDR as name server, can be repeated; none for none\ndefault: from /etc/resolv.conf',
    orNone(
      () => ({
        noDns: true,
        dns: { v4: [], v6: [] },
        dnsForward: { v4: null, v6: null },
        dnsHost: { v4: null, v6: null }
      }),
      addDns
    ),
    { pass: 2 }
  ),
  entry('--dns-forward', 'ADDR', 'Forward DNS queries sent to ADDR', perFamily('dnsForward', plainAddress)),
  entry(
    '--dns-host',
    'ADDR',
    'Name server on the host for --dns-forward\ndefault: first of /etc/resolv.conf',
    perFamily('dnsHost', v.addressBut('unspecified', 'broadcast'))
  ),
  entry(
    '-S, --search',
    'LIST',
    'Domain search list, can be repeated; none for none\ndefault: from /etc/resolv.conf',
    orNone(() => ({ search: [] }), addSearch)
  ),
  entry(
    '--no-follow',
    null,
    'Stay with what the host had at the start\ndefault: follow its addresses, routes and resolv.conf',
    patch({ follow: false }),
    { ours: true }
  ),
  entry(
    '--no-dhcp-dns',
    null,
    "Don't give name servers via DHCP, DHCPv6 and NDP",
    patch({ dhcpDns: false }),
    passt
  ),
  entry('--dhcp-dns', null, 'Give name servers via DHCP, DHCPv6 and NDP', patch({ dhcpDns: true }), pasta),
  entry(
    '--no-dhcp-search',
    null,
    "Don't give the search list via DHCP, DHCPv6 and NDP",
    patch({ dhcpSearch: false }),
    passt
  ),
  entry(
    '--dhcp-search',
    null,
    'Give the search list via DHCP, DHCPv6 and NDP',
    patch({ dhcpSearch: true }),
    pasta
  ),
  entry('--no-tcp', null, 'Disable TCP', patch({ tcp: false })),
  entry('--no-udp', null, 'Disable UDP', patch({ udp: false })),
  entry('--no-icmp', null, 'Disable ICMP and ICMPv6, implies --no-ndp', patch({ icmp: false, ndp: false })),
  entry('--no-dhcp', null, 'Disable the DHCP server', patch({ dhcp: false })),
  entry('--no-dhcpv6', null, 'Disable the DHCPv6 server', patch({ dhcpv6: false })),
  entry('--no-ndp', null, 'Disable neighbour discovery', patch({ ndp: false })),
  entry('--no-ra', null, 'Disable router advertisements', patch({ ra: false })),
  entry('--freebind', null, 'Let -t and -u bind addresses the host does not have', patch({ freebind: true })),
  entry(
    '--map-host-loopback',
    'ADDR',
    'Translate ADDR to refer to the host; none for none\ndefault: the gateway',
    orNone(
      () => ({ mapHostLoopback: { v4: null, v6: null }, mapGw: false }),
      perFamily('mapHostLoopback', mappable)
    )
  ),
  entry('--no-map-gw', null, "Don't map the gateway address to the host", patch({ mapGw: false })),
  entry(
    '--map-guest-addr',
    'ADDR',
    "Translate ADDR to the guest's address on the host; none for none\ndefault: none",
    orNone(() => ({ mapGuestAddr: { v4: null, v6: null } }), perFamily('mapGuestAddr', mappable))
  ),
  entry('-4, --ipv4-only', null, 'IPv4 only', patch({ families: 'v4' })),
  entry('-6, --ipv6-only', null, 'IPv6 only', patch({ families: 'v6' })),
  entry(
    '-H, --hostname',
    'NAME',
    { passt: 'Give NAME via DHCP option 12', pasta: 'Give NAME via DHCP option 12, and to a new namespace' },
    set(v.hostName, (hostname) => ({ hostname }))
  ),
  entry(
    '--fqdn',
    'NAME',
    'Give NAME via DHCP option 81 and DHCPv6 option 39',
    set(v.hostName, (fqdn) => ({ fqdn }))
  ),
  entry(
    '--chroot-fallback',
    null,
    'Isolate with chroot() where pivot_root() is refused',
    patch({ chrootFallback: true })
  )
]

const passtFields = () => ({
  socketPath: unset<string>(),
  fd: unset<number>(),
  oneOff: false,
  vhostUser: false,
  /** What a front-end is offered: all that there is, or what every passt has. */
  vhostFeatures: 'all' as VhostFeatures,
  /** 'none': switched off. */
  repairPath: unset<string>(),
  migrateExit: false,
  migrateNoLinger: false
})
const forPasst: ReadonlyArray<OptionEntry> = [
  entry(
    '-s, --socket, --socket-path',
    'PATH',
    'UNIX domain socket for the hypervisor\ndefault: /tmp/passt_1.socket and up',
    set(v.nonEmpty, (p) => ({ socketPath: p, fd: null })),
    passt
  ),
  entry('-F, --fd', 'FD', 'Use FD as connected socket', (o, text) =>
    E.chain((fd: number) =>
      fd === 1 || fd === 2
        ? E.left(`${fd} is a standard stream`)
        : E.right<string, Options>({ ...o, fd, socketPath: null, oneOff: true })
    )(v.numberIn(0, 0x7fffffff)(text))
  ),
  entry('-1, --one-off', null, 'Quit once the first client is gone', patch({ oneOff: true }), passt),
  entry('--vhost-user', null, 'Speak vhost-user on the socket', patch({ vhostUser: true }), passt),
  entry('--print-capabilities', null, 'Show vhost-user back-end capabilities and exit', patch({}), {
    answer: 'capabilities'
  }),
  entry(
    '--vhost-user-features',
    'SET',
    'Offer features to the guest: all, or upstream for those\nthat it can move to any other passt with\ndefault: all',
    set(v.oneOf('all', 'upstream'), (vhostFeatures) => ({ vhostFeatures })),
    { ours: true, ...vhost }
  ),
  entry(
    '--repair-path',
    'PATH',
    'Socket for passt-repair; none for none\ndefault: that of --socket with .repair added',
    orNone(
      () => ({ repairPath: 'none' }),
      (o, p) =>
        o.vhostUser
          ? E.map((repairPath: string): Options => ({ ...o, repairPath }))(v.nonEmpty(p))
          : E.left('is for vhost-user mode only')
    )
  ),
  entry(
    '--migrate-exit',
    null,
    'Deprecated: exit after migration',
    deprecated('migrate-exit', { migrateExit: true }),
    vhost
  ),
  entry(
    '--migrate-no-linger',
    null,
    'Deprecated: close sockets after migration',
    deprecated('migrate-no-linger', { migrateNoLinger: true }),
    vhost
  )
]

const forwardingFields = () => ({
  /** As given, in order; nothing given is an empty list. */
  ports: { tcpIn: [], udpIn: [], tcpOut: [], udpOut: [] } as Readonly<
    Record<'tcpIn' | 'udpIn' | 'tcpOut' | 'udpOut', ReadonlyArray<PortSpec>>
  >,
  nsIfname: unset<string>(),
  hostLoToNsLo: false,
  userns: unset<string>(),
  netns: unset<string>(),
  netnsOnly: false,
  netnsQuit: true,
  configNet: false,
  copyRoutes: true,
  copyAddrs: true,
  nsMac: unset<Mac>(),
  splice: true,
  spliceOnly: false,
  pidns: true
})
const SPEC = 'none, all, or PORTS: e.g. 22, 22:23, 20-30,~25, 192.0.2.1%eth0/22, fd:3:22'
const PASTA_SPEC = `none, auto, ${SPEC.slice(6)}`
const forPasta: ReadonlyArray<OptionEntry> = [
  entry(
    '-t, --tcp-ports',
    'SPEC',
    {
      passt: `Forward TCP ports to the guest\n${SPEC}\ndefault: none`,
      pasta: `Forward TCP ports to the namespace\n${PASTA_SPEC}\ndefault: auto`
    },
    ports('tcpIn'),
    { pass: 2 }
  ),
  entry(
    '-u, --udp-ports',
    'SPEC',
    {
      passt: 'Forward UDP ports to the guest, as -t\ndefault: none',
      pasta: 'Forward UDP ports to the namespace, as -t\ndefault: auto'
    },
    ports('udpIn'),
    { pass: 2 }
  ),
  entry(
    '-T, --tcp-ns',
    'SPEC',
    'Forward TCP ports from the namespace, as -t\ndefault: auto',
    ports('tcpOut'),
    { pass: 2, ...pasta }
  ),
  entry(
    '-U, --udp-ns',
    'SPEC',
    'Forward UDP ports from the namespace, as -t\ndefault: auto',
    ports('udpOut'),
    { pass: 2, ...pasta }
  ),
  entry(
    '-I, --ns-ifname',
    'NAME',
    'Name of the interface in the namespace\ndefault: as on the host, or tap0',
    set(v.newInterfaceName, (nsIfname) => ({ nsIfname })),
    pasta
  ),
  entry(
    '--host-lo-to-ns-lo',
    null,
    'Forward host loopback to namespace loopback',
    patch({ hostLoToNsLo: true }),
    pasta
  ),
  entry(
    '--userns',
    'PATH',
    'User namespace to join',
    set(v.nonEmpty, (userns) => ({ userns, netnsOnly: false })),
    pasta
  ),
  entry(
    '--netns',
    'PATH|NAME',
    'Network namespace to join',
    set(v.nonEmpty, (p) => ({ netns: netns(p) })),
    pasta
  ),
  entry(
    '--netns-only',
    null,
    "Don't join or create a user namespace",
    patch({ netnsOnly: true, userns: null }),
    pasta
  ),
  entry('--no-netns-quit', null, "Don't quit when the namespace goes", patch({ netnsQuit: false }), pasta),
  entry('--config-net', null, 'Configure the interface in the namespace', patch({ configNet: true }), pasta),
  entry(
    '--no-copy-routes',
    null,
    "Deprecated: with --config-net, don't copy routes",
    deprecated('no-copy-routes', { copyRoutes: false }),
    pasta
  ),
  entry(
    '--no-copy-addrs',
    null,
    "Deprecated: with --config-net, don't copy addresses",
    deprecated('no-copy-addrs', { copyAddrs: false }),
    pasta
  ),
  entry(
    '--ns-mac-addr',
    'ADDR',
    'MAC address of the interface in the namespace',
    set(v.mac, (nsMac) => ({ nsMac })),
    pasta
  ),
  entry('--no-splice', null, 'Disable the bypass path for local traffic', patch({ splice: false })),
  entry(
    '--splice-only',
    null,
    'No tap interface, forward local traffic only',
    patch({ spliceOnly: true, hostLoToNsLo: true, icmp: false, ndp: false }),
    pasta
  ),
  entry('--no-pidns', null, "Don't create a PID namespace for the command", patch({ pidns: false }), pasta)
]

const limitFields = () => ({
  /** Of what the guest may take of the host (quotas.ts): where an option says. */
  limits: {} as Partial<Limits>,
  rates: [] as ReadonlyArray<RateLimit>
})
const limit = (key: keyof Limits, max: number, unit = 1): Apply =>
  set(v.numberIn(1, max), (n, o) => ({ limits: { ...o.limits, [key]: n * unit } }))
const rateLimit: v.Read<RateLimit> = (text) =>
  E.mapLeft((errors: Errors) => errors[0]?.message ?? '')(RateLimit.decode(text))
/** Ours alone: what all flows of a guest take of the host together. */
const limits: ReadonlyArray<OptionEntry> = [
  entry(
    '--limit',
    'RATE',
    "At most RATE of users' data each way, as in 10Mbit or 1.5MB,burst=64kB,in\nof a forwarded port: tcp:8080=10Mbit\ndefault: no limit",
    set(rateLimit, (l, o) => ({ rates: [...o.rates, l] }))
  ),
  entry('--limit-flows', 'COUNT', `At most COUNT flows\ndefault: ${MAX_FLOWS}`, limit('flows', MAX_FLOWS)),
  entry(
    '--limit-files',
    'COUNT',
    'At most COUNT descriptors for flows\ndefault: as RLIMIT_NOFILE allows',
    limit('files', 0x7fffffff)
  ),
  entry(
    '--limit-memory',
    'MIB',
    'At most MIB MiB in the buffers of sockets\ndefault: half of what Linux lets TCP have',
    limit('memory', 1 << 20, 1 << 20)
  ),
  entry(
    '--limit-ports',
    'COUNT',
    'At most COUNT local ports, of UDP and TCP each\ndefault: half of the ephemeral ports',
    limit('ports', 0xffff)
  ),
  entry(
    '--limit-half-open',
    'COUNT',
    `At most COUNT TCP connections not yet accepted, each way\ndefault: ${HALF_OPEN}`,
    limit('halfOpen', MAX_FLOWS)
  )
].map((e) => ({ ...e, ours: true }))

/** Groups as help shows them; -t and -u stand with those of pasta but are for both. */
export const OPTION_GROUPS: ReadonlyArray<{
  readonly title: string
  readonly entries: ReadonlyArray<OptionEntry>
}> = [
  { title: 'General', entries: general },
  { title: 'Network', entries: network },
  { title: 'passt', entries: forPasst },
  { title: 'Forwarding and namespace', entries: forPasta },
  { title: 'Limits', entries: limits }
]

/** Every option of the manual, those that clients use from newer releases, and ours. */
export const OPTION_TABLE: ReadonlyArray<OptionEntry> = OPTION_GROUPS.flatMap((g) => g.entries)
