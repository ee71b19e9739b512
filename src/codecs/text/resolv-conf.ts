import * as E from 'fp-ts/lib/Either.js'
import * as O from 'fp-ts/lib/Option.js'
import { textCodec } from '../value/codec.js'
import {
  fromV4,
  type InAny,
  isUnspecified,
  isV4,
  LOOPBACK4,
  LOOPBACK6,
  parseAddr,
  showAddr
} from '../value/inany.js'

/** What we take from resolv.conf(5), in file order. */
export interface ResolvConf {
  /** IPv4 name servers, at most MAX_SERVERS. */
  readonly servers4: ReadonlyArray<InAny>
  /** IPv6 name servers, at most MAX_SERVERS; a scope (`%eth0`) means nothing to a guest and is cut off. */
  readonly servers6: ReadonlyArray<InAny>
  /** Names as written, at most MAX_SEARCH. */
  readonly search: ReadonlyArray<string>
}

/** Per family: MAXNS of glibc. */
export const MAX_SERVERS = 3
/** MAXDNSRCH of glibc. */
export const MAX_SEARCH = 6
/** Octets of a domain name in text, without the final dot (RFC 1035 §2.3.4). */
export const MAX_NAME = 253

/** A name that a search list can carry: something besides the root, not too long, no empty label, labels up to 63. */
export const isDomain = (name: string): boolean => {
  const plain = name.endsWith('.') ? name.slice(0, -1) : name
  return (
    plain.length > 0 &&
    plain.length <= MAX_NAME &&
    plain.split('.').every((l) => l.length > 0 && l.length <= 63)
  )
}

/** NaN if it is none. */
const numberOf = (text: string): number =>
  /^(0x[0-9a-f]+|[1-9]\d*|0)$/i.test(text)
    ? Number(text)
    : /^0[0-7]+$/.test(text)
      ? Number.parseInt(text, 8)
      : NaN

/** One to four numbers, decimal, octal or hexadecimal; the last is all that is left of the 32 bits.   Source: inet_aton(3) */
const inetAton = (text: string): InAny | null => {
  const numbers = text.split('.').map(numberOf)
  const last = numbers.pop() ?? NaN
  const fits = numbers.length < 4 && numbers.every((n) => n <= 255) && last < 2 ** (32 - 8 * numbers.length)
  return fits ? fromV4(numbers.reduce((sum, n, i) => sum + n * 2 ** (24 - 8 * i), last)) : null
}

/** IPv4 in all forms that the host's own resolver takes; 0.0.0.0 and :: are this machine, as for connect(2) on Linux. */
const server = (text: string): InAny | null => {
  const addr = inetAton(text) ?? O.toNullable(parseAddr(text.split('%')[0] ?? ''))
  if (addr === null) return null
  return isUnspecified(addr) ? (isV4(addr) ? LOOPBACK4 : LOOPBACK6) : addr
}

const read = (text: string): ResolvConf => {
  const servers: InAny[] = []
  let search: ReadonlyArray<string> = []
  for (const line of text.split(/\r?\n/)) {
    const [keyword = '', ...values] = line.split(/[ \t]+/)
    if (keyword === 'nameserver') {
      const addr = server(values[0]?.split(/[#;]/)[0] ?? '')
      if (addr !== null) servers.push(addr)
    }
    // the last `search` or `domain` wins, resolv.conf(5); `domain` is a list of one
    if (keyword === 'search') search = values.filter(isDomain)
    if (keyword === 'domain') search = values.slice(0, 1).filter(isDomain)
  }
  return {
    servers4: servers.filter(isV4).slice(0, MAX_SERVERS),
    servers6: servers.filter((a) => !isV4(a)).slice(0, MAX_SERVERS),
    search: search.slice(0, MAX_SEARCH)
  }
}

export const EMPTY_RESOLV_CONF: ResolvConf = { servers4: [], servers6: [], search: [] }

export const namesServers = (r: ResolvConf): boolean => r.servers4.length + r.servers6.length > 0

/** Whom programs of this machine ask: the name server on it, if none is named.   Source: resolv.conf(5), nameserver */
export const effectiveServers = (r: ResolvConf): ResolvConf =>
  namesServers(r) ? r : { ...r, servers4: [LOOPBACK4], servers6: [LOOPBACK6] }

/**
 * The text of /etc/resolv.conf. Total: lines that cannot be used are passed over, like other resolvers do. Keywords
 * start a line, blanks and tabs separate; whatever follows a name server's address is comment.
 * Law: decode(encode(r)) = right(r) for r within the limits above.   Source: resolv.conf(5)
 */
export const ResolvConf = textCodec<ResolvConf>(
  'ResolvConf',
  (text) => E.right(read(text)),
  (r) =>
    [
      ...[...r.servers4, ...r.servers6].map((a) => `nameserver ${showAddr(a)}\n`),
      ...(r.search.length > 0 ? [`search ${r.search.join(' ')}\n`] : [])
    ].join('')
)
