import { readFileSync } from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import type { NamedFd } from '../../codecs/text/listen-fds.js'
import type { PortSpec } from '../../codecs/text/port-spec.js'
import { EBADF, ENOTSOCK } from '../../codecs/value/errno.js'
import { textOfOctets } from '../../codecs/value/octet-text.js'
import type { PortOptions } from '../../machines/forward/forward-rules.js'
import {
  type Given,
  type GivenSocket,
  givenSocket,
  type SocketFacts
} from '../../machines/forward/given-sockets.js'
import type { Native } from '../abi/abi.js'
import { errnoOf, failureText } from '../log/error-text.js'
import { type Inherited, withGiven } from './inherited.js'
import type { Launcher } from './launcher.js'

// Sockets that we were started with (behaviour.md#sockets-by-descriptor): taken from the launcher, looked at, and set aside for their rules.

/** net.ipv4.ip_unprivileged_port_start (ip-sysctl.rst) where we start. */
const unprivilegedPort = (): number => {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'))
  } catch {
    return 1024
  }
}

const factsOf = (native: Pick<Native, 'socketFacts'>, fd: number): SocketFacts => {
  const { words, device } = native.socketFacts(fd)
  const [domain, type, protocol, listens, connected, v6only, a, b, c, d, port] = words
  return {
    domain,
    type,
    protocol,
    listens: listens !== 0,
    connected: connected !== 0,
    v6only: v6only !== 0,
    addr: [a, b, c, d],
    port,
    device: device.length === 0 ? null : textOfOctets(device)
  }
}

export interface GivenHere {
  readonly given: Given
  /** Their descriptors with those of the process whose place we take. */
  readonly inherited: Inherited
  /** At level warning. */
  readonly warnings: ReadonlyArray<string>
}

type FdOf = Extract<PortSpec, { readonly kind: 'fd' }>['fd']
/** What specifications name, each once. */
const named = ({ tcpIn, udpIn }: PortOptions): ReadonlyArray<FdOf> => [
  ...new Set([...tcpIn, ...udpIn].flatMap((s) => (s.kind === 'fd' ? [s.fd] : [])))
]

/**
 * Only before Launcher.setup(). `listen`: what a service manager has handed over. What is not here may be with the process whose place we
 * take: `former`. What is wrong with a socket stands in its place, for whoever wants to listen by it.
 */
export const givenSockets = (
  native: Pick<Native, 'socketFacts'>,
  l: Pick<Launcher, 'inherited'>,
  ports: PortOptions,
  listen: ReadonlyArray<NamedFd>,
  former: Inherited
): GivenHere => {
  const wanted = named(ports)
  const unprivileged = unprivilegedPort()
  const looked = new Map<number, E.Either<string, GivenSocket> | null>()
  const mine: (readonly [GivenSocket, number])[] = []
  /** null: there is no such descriptor. */
  const look = (number: number): E.Either<string, GivenSocket> | null => {
    const fd = l.inherited(number)
    if (E.isLeft(fd)) return fd.left.errno === EBADF ? null : E.left(fd.left.text)
    const facts = E.tryCatch(
      () => factsOf(native, fd.right),
      (e) => (errnoOf(e) === ENOTSOCK ? 'it is no socket' : failureText(errnoOf(e)))
    )
    const socket = E.isLeft(facts) ? facts : givenSocket(facts.right, unprivileged)
    if (E.isRight(socket)) mine.push([socket.right, fd.right])
    return socket
  }
  const lookOnce = (number: number): E.Either<string, GivenSocket> | null => {
    const before = looked.get(number)
    if (before !== undefined) return before
    const socket = look(number)
    looked.set(number, socket)
    return socket
  }
  const given = new Map<string, ReadonlyArray<E.Either<string, GivenSocket>>>()
  for (const fd of wanted) {
    const numbers = typeof fd === 'number' ? [fd] : listen.filter((n) => n.name === fd).map((n) => n.fd)
    const here = numbers.flatMap((n) => lookOnce(n) ?? [])
    const there = former.given
      .filter((g) => g.name === `${fd}`)
      .map((g) => E.right<string, GivenSocket>(g.socket))
    given.set(`${fd}`, here.length > 0 ? here : there)
  }
  const unused = listen.filter((n) => !looked.has(n.fd)).map((n) => `${n.fd} (${n.name})`)
  return {
    given,
    inherited: withGiven(former, mine),
    warnings:
      unused.length === 0
        ? []
        : [`sockets of LISTEN_FDS that no -t or -u names are closed: ${unused.join(', ')}`]
  }
}
