import * as E from 'fp-ts/lib/Either.js'
import { type InAny, isUnspecified, isV4 } from '../../codecs/value/inany.js'

// Sockets that we were started with, and are to listen at (behaviour.md#sockets-by-descriptor): what each must be, and where it listens.

/** What the kernel says of a socket: socket(7). Numbers are Linux's. */
export interface SocketFacts {
  /** SO_DOMAIN, SO_TYPE, SO_PROTOCOL. */
  readonly domain: number
  readonly type: number
  readonly protocol: number
  /** SO_ACCEPTCONN. */
  readonly listens: boolean
  /** It has a peer. */
  readonly connected: boolean
  /** Where it is bound; unspecified, 0: nowhere. Of other domains than IPv4 and IPv6 as well. */
  readonly addr: InAny
  readonly port: number
  /** IPV6_V6ONLY. */
  readonly v6only: boolean
  /** SO_BINDTODEVICE; null: none. */
  readonly device: string | null
}

/** Where one of them hears, in the words of a rule. */
export interface GivenSocket {
  readonly proto: 'tcp' | 'udp'
  readonly bind: InAny | null
  readonly v6only: boolean
  readonly ifname: string | null
  readonly port: number
}
/** By number or name, as in a specification: each socket, or what is wrong with it. Not there: nobody has handed such a one over. */
export type Given = ReadonlyMap<string, ReadonlyArray<E.Either<string, GivenSocket>>>
export const NOTHING_GIVEN: Given = new Map()

const AF = { UNIX: 1, INET: 2, INET6: 10 } as const
const SOCK = { STREAM: 1, DGRAM: 2 } as const
const IPPROTO = { TCP: 6, UDP: 17 } as const

const kindFault = (f: SocketFacts): string | null => {
  if (f.domain === AF.UNIX) return 'it is a UNIX socket'
  if (f.domain !== AF.INET && f.domain !== AF.INET6) return `it is of address family ${f.domain}`
  if (f.type === SOCK.STREAM && f.protocol === IPPROTO.TCP) return null
  if (f.type === SOCK.DGRAM && f.protocol === IPPROTO.UDP) return null
  return `it is neither TCP nor UDP (type ${f.type}, protocol ${f.protocol})`
}

/**
 * Left: why nobody can be heard by it. `unprivileged`: first port that every user may bind (ip_unprivileged_port_start): a UDP flow answers
 * from a socket of its own at the same port, and is opened when no right is left.
 */
export const givenSocket = (f: SocketFacts, unprivileged: number): E.Either<string, GivenSocket> => {
  const odd = kindFault(f)
  if (odd !== null) return E.left(odd)
  if (f.connected) return E.left('it is connected')
  const proto = f.type === SOCK.STREAM ? 'tcp' : 'udp'
  if (proto === 'tcp' && !f.listens) return E.left('it does not listen')
  if (f.port === 0) return E.left('it is not bound')
  if (proto === 'udp' && f.port < unprivileged)
    return E.left(
      `answers come from sockets of our own at its port ${f.port}, which we may not bind (sysctl net.ipv4.ip_unprivileged_port_start=${f.port} allows it)`
    )
  const v6 = f.domain === AF.INET6
  const dual = v6 && !f.v6only && isUnspecified(f.addr)
  return E.right({
    proto,
    bind: dual ? null : f.addr,
    v6only: !dual && !isV4(f.addr),
    ifname: f.device,
    port: f.port
  })
}
