import * as E from 'fp-ts/lib/Either.js'
import { type InAny, isMulticast, isUnspecified, sameAddr } from '../../codecs/value/inany.js'
import { type Octets, sameOctets } from '../../codecs/value/octets.js'
import {
  ADVERTISE,
  CONFIRM,
  DECLINE,
  Dhcp6Message,
  type Dhcp6Option,
  encodeOption,
  FQDN_O,
  FQDN_S,
  type Ia,
  type IaAddr,
  type IaTa,
  INFORMATION_REQUEST,
  optionTagged,
  REBIND,
  RELEASE,
  RENEW,
  REPLY,
  REQUEST,
  SOLICIT,
  STATUS_NO_ADDRS_AVAIL,
  STATUS_NO_BINDING,
  STATUS_NO_PREFIX_AVAIL,
  STATUS_NOT_ON_LINK,
  STATUS_SUCCESS,
  type StatusCode
} from '../../codecs/wire/dhcpv6.js'
import { DnsName, nameFromText, searchNames } from '../../codecs/wire/dns-name.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import type { Dhcpv6Silence } from '../../effects/counters.js'
import type { ServiceEffect } from '../../effects/effect.js'
import { dns6Of, type GuestConfig, LEASE_FOREVER, searchOf, servesDhcpv6 } from './guest-config.js'
import { count, info, udp6ToTap } from './service-frame.js'

// DHCPv6 server with one address, for one client (RFC 8415). No history. Corrected against upstream:
// REBIND carries no server identifier (§16.7), CONFIRM gets a status and no addresses (§18.3.3), INFORMATION-REQUEST no
// addresses (§18.3.6), RELEASE and DECLINE are answered (§18.3.7, §18.3.8), Rapid Commit is honoured (§18.3.1), every
// IA that gets nothing is told so, and the reply goes to whom the message came from.

const SERVER_PORT = 547
const CLIENT_PORT = 546
/** Octets of a reply: what one IPv6 packet of 1280 carries behind 48 octets of headers. Options that do not fit go. */
const MAX_REPLY = 1232

// --- is it for us (RFC 8415 §16)

type ServerIdRule = 'ours' | 'absent' | 'ours or absent'
interface Rule {
  readonly name: string
  readonly serverId: ServerIdRule
}
const RULES: { readonly [msgType: number]: Rule } = {
  [SOLICIT]: { name: 'SOLICIT', serverId: 'absent' }, // §16.2
  [REQUEST]: { name: 'REQUEST', serverId: 'ours' }, // §16.4
  [CONFIRM]: { name: 'CONFIRM', serverId: 'absent' }, // §16.5
  [RENEW]: { name: 'RENEW', serverId: 'ours' }, // §16.6
  [REBIND]: { name: 'REBIND', serverId: 'absent' }, // §16.7
  [DECLINE]: { name: 'DECLINE', serverId: 'ours' }, // §16.8
  [RELEASE]: { name: 'RELEASE', serverId: 'ours' }, // §16.9
  [INFORMATION_REQUEST]: { name: 'INFORMATION_REQUEST', serverId: 'ours or absent' } // §16.12
}

/** Why a message is discarded, or null. */
const invalid = (c: GuestConfig, m: Dhcp6Message): Dhcpv6Silence | null => {
  const rule = RULES[m.msgType]
  if (rule === undefined) return 'other message type'
  if (optionTagged(m, 'ClientId') === null && m.msgType !== INFORMATION_REQUEST) return 'no client identifier'
  const id = optionTagged(m, 'ServerId')
  if (id === null) return rule.serverId === 'ours' ? 'no server identifier' : null
  if (rule.serverId === 'absent') return 'server identifier'
  return sameOctets(id.duid, c.serverDuid) ? null : 'other server'
}

// --- identity associations

type AnyIa = Ia | IaTa
const iasOf = (m: Dhcp6Message): ReadonlyArray<AnyIa> =>
  m.options.filter((o): o is AnyIa => o.tag === 'IaNa' || o.tag === 'IaTa' || o.tag === 'IaPd')
const addrsOf = (ia: AnyIa): ReadonlyArray<InAny> =>
  ia.options.flatMap((o) => (o.tag === 'IaAddr' ? [o.addr] : []))

const status = (code: number, message: string): StatusCode => ({ tag: 'StatusCode', status: code, message })
/** `ia` holding `options` only; T1 = T2 = 0 leaves renewing to the client, which has nothing to renew (§21.4). */
const holding = (ia: AnyIa, options: ReadonlyArray<IaAddr | StatusCode>): AnyIa =>
  ia.tag === 'IaTa' ? { ...ia, options } : { ...ia, t1: 0, t2: 0, options }
const refused = (ia: AnyIa): AnyIa =>
  holding(ia, [
    ia.tag === 'IaPd'
      ? status(STATUS_NO_PREFIX_AVAIL, 'no prefix delegation here')
      : status(STATUS_NO_ADDRS_AVAIL, 'the one address is taken')
  ])
const address = (addr: InAny, lifetime: number): IaAddr => ({
  tag: 'IaAddr',
  addr,
  preferred: lifetime,
  valid: lifetime,
  options: []
})
/** A part of the lease, as §21.4 recommends; an endless one has no such times. */
const partOf = (lease: number, part: number): number =>
  lease === LEASE_FOREVER ? LEASE_FOREVER : Math.floor(lease * part)
/** The lease, and other addresses that the client held ended at once (§18.3.4, §18.3.5). */
const granted = (ia: Ia, lease: number, assigned: InAny, ended: ReadonlyArray<InAny>): AnyIa => ({
  ...ia,
  t1: partOf(lease, 0.5),
  t2: partOf(lease, 0.8),
  options: [address(assigned, lease), ...ended.map((a) => address(a, 0))]
})

/**
 * Each IA of a SOLICIT, REQUEST, RENEW or REBIND with its answer. One IA_NA gets the address: the first that names it,
 * else the first. A REQUEST for addresses that are not ours is told NotOnLink (§18.3.2); in a SOLICIT they are hints.
 */
const answeredIas = (m: Dhcp6Message, lease: number, assigned: InAny): ReadonlyArray<AnyIa> => {
  const ias = iasOf(m)
  const isOurs = (a: InAny): boolean => sameAddr(a, assigned)
  const nas = ias.filter((ia): ia is Ia => ia.tag === 'IaNa')
  const holder = nas.find((ia) => addrsOf(ia).some(isOurs)) ?? nas[0]
  return ias.map((ia) => {
    const others = addrsOf(ia).filter((a) => !isOurs(a))
    if (m.msgType === REQUEST && others.length > 0 && ia.tag !== 'IaPd')
      return holding(ia, [status(STATUS_NOT_ON_LINK, 'not the address of this link')])
    const ended = m.msgType === RENEW || m.msgType === REBIND ? others : []
    return ia === holder ? granted(holder, lease, assigned, ended) : refused(ia)
  })
}
const isNotOnLink = (ia: AnyIa): boolean =>
  ia.options.some((o) => o.tag === 'StatusCode' && o.status === STATUS_NOT_ON_LINK)

// --- configuration

/** Resolvers, search list and name; O tells a client that set S that we do no AAAA update for it (RFC 4704 §6). */
const configuration = (c: GuestConfig, m: Dhcp6Message): ReadonlyArray<Dhcp6Option> => {
  const addrs = dns6Of(c)
  const names = searchNames(searchOf(c))
  const fqdn = c.fqdn === null ? null : nameFromText(c.fqdn)
  const flags = ((optionTagged(m, 'ClientFqdn')?.flags ?? 0) & FQDN_S) !== 0 ? FQDN_O : 0
  return [
    ...(addrs.length === 0 ? [] : [{ tag: 'DnsServers', addrs } as const]),
    ...(names.length === 0 ? [] : [{ tag: 'DomainList', names } as const]),
    ...(fqdn === null || E.isLeft(fqdn)
      ? []
      : [{ tag: 'ClientFqdn', flags, name: DnsName.encode(fqdn.right) } as const])
  ]
}

// --- the reply

interface Answer {
  readonly msgType: number
  /** Between server and client identifier. */
  readonly ias: ReadonlyArray<Dhcp6Option>
  /** Behind the client identifier. */
  readonly rest: ReadonlyArray<Dhcp6Option>
}

/** §18.3.3: are the addresses right for this link? None to judge by: no answer. */
const confirmed = (m: Dhcp6Message, assigned: InAny): Answer | null => {
  const addrs = iasOf(m).flatMap(addrsOf)
  if (addrs.length === 0) return null
  const right = addrs.every((a) => sameAddr(a, assigned))
  const outcome = right
    ? status(STATUS_SUCCESS, '')
    : status(STATUS_NOT_ON_LINK, 'not the address of this link')
  return { msgType: REPLY, ias: [], rest: [outcome] }
}

/** §18.3.7, §18.3.8: nothing is kept here, so nothing changes; what was never given has no binding. */
const released = (m: Dhcp6Message, assigned: InAny): Answer => {
  const known = (ia: AnyIa): boolean => ia.tag === 'IaNa' && addrsOf(ia).some((a) => sameAddr(a, assigned))
  const unknown = iasOf(m).filter((ia) => !known(ia))
  return {
    msgType: REPLY,
    ias: unknown.map((ia) => holding(ia, [status(STATUS_NO_BINDING, '')])),
    rest: [status(STATUS_SUCCESS, '')]
  }
}

const answerTo = (c: GuestConfig, assigned: InAny, m: Dhcp6Message): Answer | null => {
  switch (m.msgType) {
    case CONFIRM:
      return confirmed(m, assigned)
    case RELEASE:
    case DECLINE:
      return released(m, assigned)
    case INFORMATION_REQUEST:
      // §16.12: one that holds an IA is discarded.
      return iasOf(m).length > 0 ? null : { msgType: REPLY, ias: [], rest: configuration(c, m) }
    default: {
      const ias = answeredIas(m, c.lease6, assigned)
      const rapid = m.msgType === SOLICIT && optionTagged(m, 'RapidCommit') !== null
      const rest = [
        ...(rapid ? [{ tag: 'RapidCommit' } as const] : []),
        ...(ias.some(isNotOnLink) ? [] : configuration(c, m))
      ]
      return { msgType: m.msgType === SOLICIT && !rapid ? ADVERTISE : REPLY, ias, rest }
    }
  }
}

/** Server identifier, IAs, client identifier, the rest: upstream's order. Identifiers have their room before others. */
const assemble = (c: GuestConfig, m: Dhcp6Message, answer: Answer): Dhcp6Message => {
  const client = optionTagged(m, 'ClientId')
  const serverId = { tag: 'ServerId', duid: c.serverDuid } as const
  const ids = client === null ? [serverId] : [serverId, client]
  let room = MAX_REPLY - 4 - ids.reduce((n, o) => n + encodeOption(o).length, 0)
  const fits = (o: Dhcp6Option): boolean => {
    const octets = encodeOption(o).length
    if (octets > room) return false
    room -= octets
    return true
  }
  return {
    msgType: answer.msgType,
    xid: m.xid,
    options: [
      serverId,
      ...answer.ias.filter(fits),
      ...(client === null ? [] : [client]),
      ...answer.rest.filter(fits)
    ]
  }
}

const NAMES: { readonly [msgType: number]: string } = { [ADVERTISE]: 'ADVERTISE', [REPLY]: 'REPLY' }

/** Addresses of the datagram, as the guest sent it; ports 547 and whatever. */
export interface Dhcp6Source {
  readonly src: InAny
  readonly dst: InAny
}

/** `payload`: exactly the UDP data. The reply goes to the sender's address, port 546 (§7.2). */
export const answerDhcpv6 =
  (c: GuestConfig) =>
  (payload: Octets, from: Dhcp6Source, srcMac: Mac): ReadonlyArray<ServiceEffect> => {
    if (!servesDhcpv6(c) || c.v6 === null || c.v6.assigned === null) return [count('dhcpv6: off')]
    if (!isMulticast(from.dst)) return [count('dhcpv6: unicast')] // we never send the Server Unicast option, §18.4
    if (isUnspecified(from.src)) return [count('dhcpv6: no source')]
    const decoded = Dhcp6Message.decode(payload)
    if (E.isLeft(decoded)) return [count('dhcpv6: malformed')]
    const m = decoded.right
    const drop = invalid(c, m)
    if (drop !== null) return [count(`dhcpv6: ${drop}`)]
    const answer = answerTo(c, c.v6.assigned, m)
    if (answer === null) return [count('dhcpv6: nothing to say')]
    const data = Dhcp6Message.encode(assemble(c, m, answer))
    const ip = { src: c.v6.ownLinkLocal, dst: from.src }
    const ports = { srcPort: SERVER_PORT, dstPort: CLIENT_PORT }
    return [
      info('DHCPv6', `received ${RULES[m.msgType].name}, sending ${NAMES[answer.msgType]}`),
      udp6ToTap({ dst: srcMac, src: c.ownMac }, ip, ports, data)
    ]
  }
