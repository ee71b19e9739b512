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

/** The messages of an answer that `keeps` names; or an errno. */
export function* exchange(
  native: AskHost,
  request: Uint8Array,
  keeps: (m: NetlinkMessage) => boolean
): Slices<ReadonlyArray<NetlinkMessage> | number> {
  for (let attempt = 1; ; attempt++) {
    // Whatever an exchange before has left
    while (typeof native.hostAnswer() !== 'number');
    const refused = native.hostAsk(request)
    if (refused !== 0) return refused
    const out: NetlinkMessage[] = []
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
        else if (keeps(m)) out.push(m)
      }
      if (errno === null) yield NEXT
    }
    if (errno !== 0) return errno
    if (!interrupted || attempt === ATTEMPTS) return out
  }
}

/** Of struct rtmsg: table and type. Not decoded are thousands of others. */
const TABLE_AT = 4
const TYPE_AT = 7
const isOfMain = (m: NetlinkMessage): boolean =>
  m.type === rt.RTM_NEWROUTE &&
  m.payload[TABLE_AT] === rt.RT_TABLE_MAIN &&
  m.payload[TYPE_AT] === rt.RTN_UNICAST

const decoded = <A>(
  messages: ReadonlyArray<NetlinkMessage>,
  codec: { readonly decode: (o: ReturnType<typeof octets>) => E.Either<unknown, A> }
): ReadonlyArray<A> =>
  messages.flatMap((m) => {
    const a = codec.decode(octets(m.payload))
    return E.isRight(a) ? [a.right] : []
  })

/** Routes that are decoded in one slice. */
const ROUTES = 64
function* routes(native: AskHost, family: number): Slices<ReadonlyArray<rt.Route>> {
  const messages = yield* exchange(native, dumpRequest(rt.RTM_GETROUTE, family), isOfMain)
  if (typeof messages === 'number') return []
  const out: rt.Route[] = []
  for (let at = 0; at < messages.length; at += ROUTES) {
    out.push(...decoded(messages.slice(at, at + ROUTES), rt.Route).filter((r) => r.family === family))
    yield 0
  }
  return out
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
  const messages = yield* exchange(native, request, (m) => m.type === rt.RTM_NEWLINK)
  return typeof messages === 'number' ? [] : decoded(messages, rt.Link)
}

/** What an answer to one question was, for who asks it as at the start. */
function* answered(native: AskHost, request: Uint8Array): Slices<ReadonlyArray<NetlinkMessage>> {
  const messages = yield* exchange(native, request, () => true)
  return typeof messages === 'number' ? [] : messages
}
const keyOf = (request: Uint8Array): string => Buffer.from(request).toString('latin1')

export interface Found {
  /** Of links those that matter alone. */
  readonly tables: HostTables
  readonly host: HostConfig
  /** Messages that it took. */
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
export function* lookAtHost(native: AskHost, o: Options, uid: number | null): Slices<Found | null> {
  const routes4 = yield* routes(native, rt.AF_INET)
  const routes6 = yield* routes(native, rt.AF_INET6)
  const all = yield* exchange(
    native,
    dumpRequest(rt.RTM_GETADDR, rt.AF_UNSPEC),
    (m) => m.type === rt.RTM_NEWADDR
  )
  if (typeof all === 'number') return null
  const addresses = decoded(all, rt.Address).filter(
    (a) => a.family === rt.AF_INET || a.family === rt.AF_INET6
  )
  let links: ReadonlyArray<rt.Link> = []
  for (const name of namesIn(o)) links = [...links, ...(yield* link(native, 0, name))]

  // Questions that came up so far have their answers; the others are asked, and all is thought of once more
  const known = new Map<string, Uint8Array>()
  const open: Uint8Array[] = []
  const request: NetlinkRequest = (question) => {
    const answer = known.get(keyOf(question))
    if (answer === undefined) open.push(question)
    return answer ?? new Uint8Array(0)
  }
  const think = (): HostTables =>
    withAskedDefaults(request, { links, addresses, routes4, routes6 }, o, uid).tables
  let tables = think()
  for (let round = 0; open.length > 0 && round < ROUNDS; round++) {
    for (const question of open.splice(0))
      known.set(keyOf(question), NetlinkDatagram.encode(yield* answered(native, question)))
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
  return { tables: { ...tables, links }, host: host.right, cost }
}
