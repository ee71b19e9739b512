import * as E from 'fp-ts/lib/Either.js'
import { encodeMessage, NLM_F_ACK, NLM_F_REQUEST, u32 } from '../../codecs/kernel/netlink.js'
import * as rt from '../../codecs/kernel/rtnetlink.js'
import { fromV4, type InAny } from '../../codecs/value/inany.js'
import { octets } from '../../codecs/value/octets.js'
import type { Options } from '../cli/option-table.js'
import {
  AF,
  ask,
  defaultVia,
  type Family,
  type HostTables,
  type NetlinkRequest,
  own,
  templateIndex
} from './host.js'

// Where the main table has no default route, one may stand in another that rules lead to (ip-rule(8)): a host with several uplinks,
// wg-quick(8). The kernel is asked which way it would go, under the rules for our own sockets.

/**
 * Far away for every host, and sent nothing: an address of a.root-servers.net. One of those for documentation would not do, since
 * hosts have routes against them (RFC 6890).
 */
const FAR: Readonly<Record<Family, InAny>> = {
  v4: fromV4(0xc6290004), // 198.41.0.4
  v6: [0x20010503, 0xba3e0000, 0, 0x00020030] // 2001:503:ba3e::2:30
}

interface Question {
  readonly family: Family
  /** Our sockets' user; null: that of whoever asks. */
  readonly uid: number | null
  readonly oif: number | null
  readonly src: InAny | null
}

/** RTM_GETROUTE for one destination: the entry of the table that matched. */
export const routeQuestion = ({ family, uid, oif, src }: Question): Uint8Array => {
  const payload = rt.Route.encode({
    ...rt.ANY_ROUTE,
    family: AF[family],
    dst: FAR[family],
    dstLen: family === 'v4' ? 32 : 128,
    srcLen: src === null ? 0 : family === 'v4' ? 32 : 128,
    flags: rt.RTM_F_LOOKUP_TABLE | rt.RTM_F_FIB_MATCH,
    oif,
    other: [...rt.attr(rt.RTA_SRC, src, (a) => rt.addrBytes(AF[family], a)), ...rt.attr(rt.RTA_UID, uid, u32)]
  })
  return encodeMessage({ type: rt.RTM_GETROUTE, flags: NLM_F_REQUEST | NLM_F_ACK, seq: 1, pid: 0, payload })
}

/** A default route of the main table that leads the same way. */
const asDefault = (r: rt.Route): rt.Route => ({
  ...r,
  dst: null,
  dstLen: 0,
  srcLen: 0,
  tos: 0,
  table: rt.RT_TABLE_MAIN,
  other: r.other.filter((a) => a.type === rt.RTA_METRICS)
})

const answered = (request: NetlinkRequest, q: Question): E.Either<string, rt.Route> => {
  const answer = ask(request)(routeQuestion(q))
  if (E.isLeft(answer)) return E.left(answer.left.message)
  const found = answer.right
    .filter((m) => m.type === rt.RTM_NEWROUTE)
    .flatMap((m) => {
      const r = rt.Route.decode(octets(m.payload))
      return E.isRight(r) && r.right.family === AF[q.family] && r.right.type === rt.RTN_UNICAST
        ? [r.right]
        : []
    })[0]
  return found === undefined ? E.left('the kernel names none') : E.right(asDefault(found))
}

export interface Asked {
  readonly tables: HostTables
  /** For level info. */
  readonly notices: ReadonlyArray<string>
}

/**
 * `tables` with the default routes that the kernel goes by, of each IP version that is on and has none in its main table; with a
 * named template, of those through it. `uid`: our sockets' user, for rules by user; null: that of whoever asks.
 */
export const withAskedDefaults = (
  request: NetlinkRequest,
  tables: HostTables,
  o: Options,
  uid: number | null
): Asked => {
  /** null: there is no need. */
  const asked = (family: Family, routes: ReadonlyArray<rt.Route>): E.Either<string, rt.Route> | null => {
    const oif = templateIndex(tables.links, o, family)
    const off = o.families !== 'both' && o.families !== family
    if (off || defaultVia(routes, oif) !== undefined) return null
    // with several uplinks it may be that only sources have rules
    const here = tables.addresses.filter((a) => a.index === oif && a.family === AF[family]).map(own)
    const sources = [o.outbound[family], ...here.filter((a) => a !== null)]
    const answers = sources.map((src) => answered(request, { family, uid, oif, src }))
    return answers.find(E.isRight) ?? answers[0]
  }
  const v4 = asked('v4', tables.routes4)
  const v6 = asked('v6', tables.routes6)
  const found = (r: typeof v4): ReadonlyArray<rt.Route> => (r !== null && E.isRight(r) ? [r.right] : [])
  const notice = (r: typeof v4, label: string): ReadonlyArray<string> =>
    r !== null && E.isLeft(r) ? [`no default route for ${label}: ${r.left}`] : []
  return {
    tables: {
      ...tables,
      routes4: [...tables.routes4, ...found(v4)],
      routes6: [...tables.routes6, ...found(v6)]
    },
    notices: [...notice(v4, 'IPv4'), ...notice(v6, 'IPv6')]
  }
}
