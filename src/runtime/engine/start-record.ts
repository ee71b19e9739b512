import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { failure } from 'io-ts/lib/PathReporter.js'
import { RateLimit } from '../../codecs/text/rate-limit.js'
import { orNull } from '../../codecs/value/or-null.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import type { Rule } from '../../machines/forward/forward-rules.js'
import type { FeaturePlan } from './features.js'
import type { Found, WorldPlan } from './world-config.js'
import { address, addrOr, family, onLink, writtenFamily, writtenLinks } from './written-plan.js'

// The first item of a record (codecs/log/record.ts): what the world is made of. Of the plan what its world and its features need, so no paths, no
// names of users, no command.

/** What was decided and found at the start, and who writes. */
export interface StartRecord {
  readonly version: string
  /** Of Node, of the kernel and the machine: for people. */
  readonly host: string
  /** When: ISO 8601. */
  readonly date: string
  /** Users' data is in it as well. */
  readonly payload: boolean
  readonly plan: WorldPlan & FeaturePlan
  readonly found: Omit<Found, 'macOf'>
  readonly rules: ReadonlyArray<Rule>
  /** The kernel tells of its neighbours. */
  readonly neighbours: boolean
  /** The guest link's client that is there from the start. */
  readonly client: number | null
  /** Of a record that was shrunk to one flow: its index as recorded; -1: to what is no flow's. */
  readonly only?: number
  /** Addresses, names and the secret are others than in the session: initial sequence numbers are answers. */
  readonly aliased?: boolean
}

const { array, boolean, literal, number, string, type } = t
/** JSON has no infinity. */
const amount = t.union([number, literal('infinite')])
const count = t.refinement(number, (n) => Number.isInteger(n) && n >= 0)
const octets = array(t.refinement(number, (n) => Number.isInteger(n) && n >= 0 && n < 256))

const plan = type({
  mode: t.union([literal('passt'), literal('pasta')]),
  link: boolean,
  vhostUser: orNull(t.union([literal('all'), literal('upstream')])),
  oneOff: boolean,
  migrateExit: boolean,
  migrateNoLinger: boolean,
  pcap: orNull(t.union([literal('pcap'), literal('pcapng')])),
  /** '': there is one; records of before there was that say nothing. */
  confPath: t.union([string, t.null, t.undefined]),
  apiPath: t.union([string, t.null, t.undefined]),
  /** As options; records of before there was --limit have none. */
  rates: t.union([array(RateLimit), t.undefined]),
  ownMac: number,
  mtu: number,
  v4: orNull(family),
  v6: orNull(family),
  tcp: boolean,
  udp: boolean,
  icmp: boolean,
  dhcp: boolean,
  dhcpv6: boolean,
  ndp: boolean,
  ra: boolean,
  splice: boolean,
  spliceOnly: boolean,
  hostLoToNsLo: boolean,
  announceDns: boolean,
  announceSearch: boolean,
  search: array(string),
  hostname: orNull(string),
  fqdn: orNull(string),
  /** Records of before there was that say nothing. */
  follow: t.union([boolean, t.undefined])
})
const rule = type({
  proto: t.union([literal('tcp'), literal('udp')]),
  direction: t.union([literal('in'), literal('out')]),
  bind: orNull(address),
  v6only: boolean,
  ifname: orNull(string),
  first: number,
  last: number,
  to: number,
  toAddress: orNull(address),
  weak: boolean,
  scan: boolean,
  spec: number,
  /** '': it has a name, or a path. Records of before there was that say nothing. */
  given: t.union([string, t.null, t.undefined]),
  unix: t.union([type({ path: string, number }), t.null, t.undefined])
})
const written = t.intersection([
  type({
    version: string,
    host: string,
    date: string,
    payload: boolean,
    plan,
    found: type({
      tap: orNull(type({ mac: octets, index: number })),
      links: array(onLink),
      limits: type({ flows: amount, files: amount, memory: amount, ports: amount, halfOpen: amount }),
      sharedTcpPorts: boolean,
      bothSides: boolean,
      secret: octets,
      now: number
    }),
    rules: array(rule),
    neighbours: boolean,
    client: orNull(count)
  }),
  t.partial({ only: number, aliased: boolean })
])
type Written = t.TypeOf<typeof written>

const toAmount = (n: number): number | 'infinite' => (n === Number.POSITIVE_INFINITY ? 'infinite' : n)
const ofAmount = (n: number | 'infinite'): number => (n === 'infinite' ? Number.POSITIVE_INFINITY : n)
const pcapOf = (path: string | null): 'pcap' | 'pcapng' | null =>
  path === null ? null : path.endsWith('.pcapng') ? 'pcapng' : 'pcap'

const writtenRule = (r: Rule): t.TypeOf<typeof rule> => ({
  ...r,
  bind: addrOr(r.bind),
  toAddress: addrOr(r.toAddress),
  given: r.given === null ? null : '',
  unix: r.unix === null ? null : { ...r.unix, path: '' }
})
const ofWrittenRule = (r: t.TypeOf<typeof rule>): Rule => ({
  ...r,
  given: r.given ?? null,
  unix: r.unix ?? null
})
const toWritten = (s: StartRecord): Written => {
  const { plan: p, found: f } = s
  return {
    version: s.version,
    host: s.host,
    date: s.date,
    payload: s.payload,
    plan: {
      mode: p.mode,
      link: p.link !== null,
      vhostUser: p.vhostUser,
      oneOff: p.oneOff,
      migrateExit: p.migrateExit,
      migrateNoLinger: p.migrateNoLinger,
      pcap: pcapOf(p.pcap),
      confPath: p.confPath === null ? null : '',
      apiPath: p.apiPath === null ? undefined : '',
      rates: p.rates.length === 0 ? undefined : [...p.rates],
      ownMac: p.ownMac,
      mtu: p.mtu,
      v4: writtenFamily(p.v4),
      v6: writtenFamily(p.v6),
      tcp: p.tcp,
      udp: p.udp,
      icmp: p.icmp,
      dhcp: p.dhcp,
      dhcpv6: p.dhcpv6,
      ndp: p.ndp,
      ra: p.ra,
      splice: p.splice,
      spliceOnly: p.spliceOnly,
      hostLoToNsLo: p.hostLoToNsLo,
      announceDns: p.announceDns,
      announceSearch: p.announceSearch,
      search: [...p.search],
      hostname: p.hostname,
      fqdn: p.fqdn,
      follow: p.follow
    },
    found: {
      tap: f.tap === null ? null : { mac: [...f.tap.mac], index: f.tap.index },
      links: writtenLinks(f.links),
      limits: {
        flows: toAmount(f.limits.flows),
        files: toAmount(f.limits.files),
        memory: toAmount(f.limits.memory),
        ports: toAmount(f.limits.ports),
        halfOpen: toAmount(f.limits.halfOpen)
      },
      sharedTcpPorts: f.sharedTcpPorts,
      bothSides: f.bothSides,
      secret: [...f.secret],
      now: f.now
    },
    rules: s.rules.map(writtenRule),
    neighbours: s.neighbours,
    client: s.client,
    ...(s.only === undefined ? {} : { only: s.only }),
    ...(s.aliased === undefined ? {} : { aliased: s.aliased })
  }
}

const SECRET = 16
const MAC = 6
/** What the types do not say. null: nothing is wrong. */
const faultIn = (w: Written): string | null => {
  if (w.found.secret.length !== SECRET) return `found.secret has ${w.found.secret.length} octets`
  if (w.found.tap !== null && w.found.tap.mac.length !== MAC) return 'found.tap.mac is no MAC'
  return null
}

const ofWritten = (w: Written): StartRecord => ({
  ...w,
  rules: w.rules.map(ofWrittenRule),
  plan: {
    ...w.plan,
    link: w.plan.link ? { kind: 'socket', path: null } : null,
    pcap: w.plan.pcap === null ? null : `.${w.plan.pcap}`,
    confPath: w.plan.confPath ?? null,
    follow: w.plan.follow ?? false,
    apiPath: w.plan.apiPath ?? null,
    rates: w.plan.rates ?? [],
    ownMac: w.plan.ownMac as Mac
  },
  found: {
    ...w.found,
    tap: w.found.tap === null ? null : { mac: Uint8Array.from(w.found.tap.mac), index: w.found.tap.index },
    limits: {
      flows: ofAmount(w.found.limits.flows),
      files: ofAmount(w.found.limits.files),
      memory: ofAmount(w.found.limits.memory),
      ports: ofAmount(w.found.limits.ports),
      halfOpen: ofAmount(w.found.limits.halfOpen)
    },
    secret: Uint8Array.from(w.found.secret)
  }
})

export const startText = (s: StartRecord): string => JSON.stringify(written.encode(toWritten(s)))

/** A rule that came later. */
export const ruleText = (r: Rule): string => JSON.stringify(writtenRule(r))
/** null: it is none. */
export const parseRule = (json: string): Rule | null => {
  try {
    const r = rule.decode(JSON.parse(json))
    return E.isRight(r) ? ofWrittenRule(r.right) : null
  } catch {
    return null
  }
}

/** Left: why it is none, in words. Law: parseStart(startText(s)) = right(s), paths aside. */
export const parseStart = (json: string): E.Either<string, StartRecord> => {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    return E.left('its start is no JSON')
  }
  const w = written.decode(value)
  if (E.isLeft(w)) return E.left(`its start does not fit: ${failure(w.left)[0]}`)
  const fault = faultIn(w.right)
  return fault === null ? E.right(ofWritten(w.right)) : E.left(`its start does not fit: ${fault}`)
}
