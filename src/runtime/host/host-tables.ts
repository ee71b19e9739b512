import * as E from 'fp-ts/lib/Either.js'
import { dumpRequest } from '../../codecs/kernel/dump.js'
import {
  encodeMessage,
  NetlinkDatagram,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  outcomeOf
} from '../../codecs/kernel/netlink.js'
import * as rt from '../../codecs/kernel/rtnetlink.js'
import { EAGAIN, EPROTO } from '../../codecs/value/errno.js'
import { octets } from '../../codecs/value/octets.js'
import type { Native } from '../abi/abi.js'
import type { Options } from '../cli/option-table.js'
import { withAskedDefaults } from './ask-route.js'
import { deriveHost, type HostConfig, type HostTables, type NetlinkRequest } from './host.js'

// The host's tables while we serve: a datagram at a time, with packets in between. What is yielded is how many ms until the next slice.

export type AskHost = Pick<Native, 'hostAsk' | 'hostAnswer'>
type Slices<A> = Generator<number, A, void>

/** ms between two datagrams, and until one that is not there yet; such waits until it is given up. */
const NEXT = 1
const WAITS = 1000
/** A dump that the kernel calls interrupted is repeated as often; then it is taken as it is. */
const ATTEMPTS = 3

/** Each message of an answer to `take`; the answer from its beginning where `again` is called. 0, or an errno. */
export function* exchange(
  native: AskHost,
  request: Uint8Array,
  take: (m: NetlinkMessage) => void,
  again: () => void
): Slices<number> {
  for (let attempt = 1; ; attempt++) {
    again()
    // Whatever an exchange before has left
    while (typeof native.hostAnswer() !== 'number');
    const refused = native.hostAsk(request)
    if (refused !== 0) return refused
    let interrupted = false
    let errno: number | null = null
    for (let waits = 0; errno === null; ) {
      const datagram = native.hostAnswer()
      if (typeof datagram === 'number') {
        if (datagram !== EAGAIN || ++waits > WAITS) return datagram
        yield NEXT
        continue
      }
      const messages = NetlinkDatagram.decode(octets(datagram))
      if (E.isLeft(messages)) return EPROTO
      for (const m of messages.right) {
        interrupted ||= (m.flags & NLM_F_DUMP_INTR) !== 0
        if (m.type === NLMSG_DONE || m.type === NLMSG_ERROR) errno = outcomeOf(m)?.errno ?? 0
        else take(m)
      }
      if (errno === null) yield NEXT
    }
    if (errno !== 0 || !interrupted || attempt === ATTEMPTS) return errno
  }
}
/** The messages of one type; or an errno. */
function* messagesOf(
  native: AskHost,
  request: Uint8Array,
  type: number
): Slices<ReadonlyArray<NetlinkMessage> | number> {
  let out: NetlinkMessage[] = []
  const errno = yield* exchange(
    native,
    request,
    (m) => {
      if (m.type === type) out.push(m)
    },
    () => {
      out = []
    }
  )
  return errno === 0 ? out : errno
}

/** Of struct rtmsg: table and type. Not decoded are thousands of others. */
const TABLE_AT = 4
const TYPE_AT = 7
/** What is not copied for its type is named (plan/config-net.ts, leftOut()). */
const COPIED_OR_NAMED: ReadonlyArray<number> = [
  rt.RTN_UNICAST,
  rt.RTN_BLACKHOLE,
  rt.RTN_UNREACHABLE,
  rt.RTN_PROHIBIT
]
const isOfMain = (m: NetlinkMessage): boolean =>
  m.type === rt.RTM_NEWROUTE &&
  m.payload[TABLE_AT] === rt.RT_TABLE_MAIN &&
  COPIED_OR_NAMED.includes(m.payload[TYPE_AT] ?? 0)

const keyOf = (b: Uint8Array): string => Buffer.from(b.buffer, b.byteOffset, b.length).toString('latin1')

const decoded = <A>(
  messages: ReadonlyArray<NetlinkMessage>,
  codec: { readonly decode: (o: ReturnType<typeof octets>) => E.Either<unknown, A> }
): ReadonlyArray<A> =>
  messages.flatMap((m) => {
    const a = codec.decode(octets(m.payload))
    return E.isRight(a) ? [a.right] : []
  })

/**
 * Routes by their octets, as the last look has found them: a route that stays is the same object, so that what is made of it
 * is made once (config-net.ts, changes.ts). For a host with thousands of them.
 */
export type KnownRoutes = Map<string, rt.Route>

function* routes(
  native: AskHost,
  family: number,
  known: KnownRoutes,
  seen: KnownRoutes
): Slices<ReadonlyArray<rt.Route>> {
  const out: rt.Route[] = []
  const take = (m: NetlinkMessage): void => {
    if (!isOfMain(m)) return
    const key = keyOf(m.payload)
    const route = known.get(key) ?? decoded([m], rt.Route)[0]
    if (route === undefined || route.family !== family) return
    seen.set(key, route)
    out.push(route)
  }
  const fresh = (): void => {
    out.length = 0
  }
  const errno = yield* exchange(native, dumpRequest(rt.RTM_GETROUTE, family), take, fresh)
  return errno === 0 ? out : []
}

/** The link of this name, or index. */
function* link(native: AskHost, index: number, name: string | null): Slices<ReadonlyArray<rt.Link>> {
  const payload = rt.Link.encode({
    index,
    hardware: 0,
    flags: 0,
    change: 0,
    name,
    altNames: [],
    mtu: null,
    mac: null,
    other: []
  })
  const request = encodeMessage({
    type: rt.RTM_GETLINK,
    flags: NLM_F_REQUEST | NLM_F_ACK,
    seq: 1,
    pid: 0,
    payload
  })
  const messages = yield* messagesOf(native, request, rt.RTM_NEWLINK)
  return typeof messages === 'number' ? [] : decoded(messages, rt.Link)
}

/** What an answer to one question was, for who asks it as at the start. */
function* answered(native: AskHost, request: Uint8Array): Slices<ReadonlyArray<NetlinkMessage>> {
  const messages = yield* messagesOf(native, request, rt.RTM_NEWROUTE)
  return typeof messages === 'number' ? [] : messages
}

export interface Found {
  /** Of links those that matter alone. */
  readonly tables: HostTables
  readonly host: HostConfig
  readonly routes: KnownRoutes
  /** Entries that it took. */
  readonly cost: number
}

/** Questions may follow from answers; more than once they do not. */
const ROUNDS = 4

/** Names that options give: withOwnNames() has made them own ones. */
const namesIn = (o: Options): ReadonlyArray<string> =>
  [...new Set([o.interface, o.outboundIf.v4, o.outboundIf.v6])].filter((n) => n !== null)

/**
 * What the host has now, and suggests, as engine.ts finds it at the start. null: an interface that options name is not there, or the
 * kernel did not answer. `uid`: as for withAskedDefaults().
 */
export function* lookAtHost(
  native: AskHost,
  o: Options,
  uid: number | null,
  known: KnownRoutes
): Slices<Found | null> {
  const seen: KnownRoutes = new Map()
  const routes4 = yield* routes(native, rt.AF_INET, known, seen)
  const routes6 = yield* routes(native, rt.AF_INET6, known, seen)
  const all = yield* messagesOf(native, dumpRequest(rt.RTM_GETADDR, rt.AF_UNSPEC), rt.RTM_NEWADDR)
  if (typeof all === 'number') return null
  const addresses = decoded(all, rt.Address).filter(
    (a) => a.family === rt.AF_INET || a.family === rt.AF_INET6
  )
  let links: ReadonlyArray<rt.Link> = []
  for (const name of namesIn(o)) links = [...links, ...(yield* link(native, 0, name))]

  // Questions that came up so far have their answers; the others are asked, and all is thought of once more
  const answers = new Map<string, Uint8Array>()
  const open: Uint8Array[] = []
  const request: NetlinkRequest = (question) => {
    const answer = answers.get(keyOf(question))
    if (answer === undefined) open.push(question)
    return answer ?? new Uint8Array(0)
  }
  const think = (): HostTables =>
    withAskedDefaults(request, { links, addresses, routes4, routes6 }, o, uid).tables
  let tables = think()
  for (let round = 0; open.length > 0 && round < ROUNDS; round++) {
    for (const question of open.splice(0))
      answers.set(keyOf(question), NetlinkDatagram.encode(yield* answered(native, question)))
    tables = think()
  }
  const derived = deriveHost(tables, o)
  if (E.isLeft(derived)) return null
  for (const f of [derived.right.v4, derived.right.v6]) {
    const index = f?.index ?? null
    if (index !== null && !links.some((l) => l.index === index))
      links = [...links, ...(yield* link(native, index, null))]
  }
  const host = deriveHost({ ...tables, links }, o)
  if (E.isLeft(host)) return null
  const cost = routes4.length + routes6.length + addresses.length
  return { tables: { ...tables, links }, host: host.right, routes: seen, cost }
}
