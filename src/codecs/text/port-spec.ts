import * as E from 'fp-ts/lib/Either.js'
import { textCodec } from '../value/codec.js'
import { type InAny, isUnicast, isUnspecified, isV4, parseAddr, showAddr } from '../value/inany.js'
import { isIfname } from './ifname.js'
import { isFdName, MAX_FD, MIN_FD } from './listen-fds.js'
import { cut, type Fault, type Span, showFault, span } from './text-fault.js'

/** Ports first..last, both included, 1..65535. */
export interface PortRange {
  readonly first: number
  readonly last: number
}

/** A range of ports to listen on, and where they lead. */
export interface PortItem {
  readonly from: PortRange
  /** First target port: port p leads to `to + p - from.first`. */
  readonly to: number
  /** Destination address instead of the usual one, or null. */
  readonly address: InAny | null
}

/** Argument of -t, -u, -T and -U. */
export type PortSpec =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'ports'
      /** Address to listen on, null for any. */
      readonly bind: InAny | null
      /** Interface to listen on, null for any. */
      readonly ifname: string | null
      /** Only those that something listens on at the other side, looked at every second; goes for the whole list. */
      readonly auto: boolean
      /** Every port that is not ephemeral, besides those in `items`: for `all`, or without any item. */
      readonly all: boolean
      /** For `all:ADDRESS`. */
      readonly allAddress: InAny | null
      /** No port is in two of them, but for excluded ones. */
      readonly items: ReadonlyArray<PortItem>
      /** Never listened on, wherever it stands in the list. */
      readonly excluded: ReadonlyArray<PortRange>
    }
  | FdSpec
  | UnixSpec
  | ToUnixSpec

/** What comes to a UNIX stream socket at this path. */
export interface UnixSpec {
  readonly kind: 'unix'
  readonly path: string
  readonly to: number
  /** Instead of the usual address, or null. */
  readonly address: InAny | null
}
/** A port that leads to a UNIX stream socket. */
export interface ToUnixSpec {
  readonly kind: 'to-unix'
  readonly port: number
  readonly path: string
}

/** What comes to a socket that the program was started with. */
export interface FdSpec {
  readonly kind: 'fd'
  /** Its descriptor, MIN_FD..MAX_FD; or the name that it was given, which is no number (sd_listen_fds(3), LISTEN_FDNAMES). */
  readonly fd: number | string
  /** Where it leads. */
  readonly to: number
  /** Instead of the usual address, or null. */
  readonly address: InAny | null
}

type Ports = Extract<PortSpec, { kind: 'ports' }>
type Read<A> = E.Either<Fault, A>

const fault = (message: string, at: number): Read<never> => E.left({ message, at })
const MAX_PORT = 65535

// --- ports

/** As strtoul(3) reads it, decimal: blanks and a plus sign may stand in front. */
const port = (s: Span): Read<number> => {
  const lead = /^[ \t-\r]*\+?/.exec(s.text)?.[0].length ?? 0
  const digits = /^[0-9]*/.exec(s.text.slice(lead))?.[0] ?? ''
  const n = Number(digits)
  const end = lead + digits.length
  if (digits === '' || end < s.text.length) return fault(`invalid port '${s.text}'`, s.at + end)
  return n >= 1 && n <= MAX_PORT ? E.right(n) : fault(`invalid port '${s.text}'`, s.at + lead)
}

const range = (s: Span): Read<PortRange> => {
  const dash = s.text.indexOf('-')
  const first = port(dash < 0 ? s : cut(s, 0, dash))
  if (E.isLeft(first)) return first
  const last = dash < 0 ? first : port(cut(s, dash + 1))
  if (E.isLeft(last)) return last
  return last.right < first.right
    ? fault(`port range '${s.text}' runs backwards`, s.at + dash + 1)
    : E.right({ first: first.right, last: last.right })
}

// --- addresses

/** IPv4, IPv6, or either in brackets. Points at what no address contains, else at its start. */
const address = (s: Span): Read<InAny> => {
  const bare = /^\[(.*)\]$/.exec(s.text)?.[1] ?? s.text
  const odd = /^\[?[0-9a-fA-F:.]*\]?/.exec(s.text)?.[0].length ?? 0
  return E.fromOption(() => ({
    message: `invalid address '${s.text}'`,
    at: odd < s.text.length ? s.at + odd : s.at
  }))(parseAddr(bare))
}

/** A destination: null for 0.0.0.0 and ::, else somebody's own address, of the family that is listened on (`bind`; null: not known here). */
const toAddress = (s: Span, bind: InAny | null): Read<InAny | null> => {
  const a = address(s)
  if (E.isLeft(a)) return a
  if (isUnspecified(a.right)) return E.right(null)
  if (!isUnicast(a.right)) return fault(`invalid target address '${s.text}'`, s.at)
  return bind === null || isV4(bind) === isV4(a.right)
    ? a
    : fault(`target '${s.text}' is not of the listening address' IP version`, s.at)
}

/** Any address of both IP versions. */
const ANY = new Set(['', '*', '[*]'])

const bound = (s: Span): Read<Pick<Ports, 'bind' | 'ifname'>> => {
  const percent = s.text.indexOf('%')
  const ifname = percent < 0 ? null : s.text.slice(percent + 1)
  const where = percent < 0 ? s : cut(s, 0, percent)
  const addr = ANY.has(where.text) ? null : address(where)
  if (addr !== null && E.isLeft(addr)) return addr
  return ifname !== null && !isIfname(ifname)
    ? fault(`invalid interface name '${ifname}'`, s.at + percent + 1)
    : E.right({ bind: addr === null ? null : addr.right, ifname })
}

/**
 * Index of the slash that ends a listening address, -1 without one. The slash in `8000:192.0.2.5/6000` belongs to an
 * item. Where both readings are possible (`8000:1::2/80`) it is a listening address; brackets tell otherwise.
 */
const bindEnd = (text: string): number => {
  const slash = text.indexOf('/')
  const head = text.slice(0, Math.max(slash, 0))
  const looksLikeList = /^(~|all\b|auto\b|[ \t-\r]*\+?[0-9]+(-[^:,]*)?[:,])/.test(head) && !head.includes('%')
  return looksLikeList && E.isLeft(address(span(head))) ? -1 : slash
}

// --- the list

/** `[ADDR/]RANGE` or `ADDR`, behind the colon of an item; a missing range is that of the source. */
const target = (s: Span, from: PortRange, bind: InAny | null): Read<PortItem> => {
  const slash = s.text.lastIndexOf('/')
  const justAddress = slash < 0 && /[[.]|:.*:/.test(s.text)
  const addr = justAddress ? s : slash < 0 ? null : cut(s, 0, slash)
  const a = addr === null ? E.right(null) : toAddress(addr, bind)
  if (E.isLeft(a)) return a
  const ports = cut(s, slash + 1)
  const to = justAddress ? E.right(from) : range(ports)
  if (E.isLeft(to)) return to
  return to.right.last - to.right.first === from.last - from.first
    ? E.right({ from, to: to.right.first, address: a.right })
    : fault(`target range '${ports.text}' is not as long as ${from.first}-${from.last}`, ports.at)
}

const item = (s: Span, bind: InAny | null): Read<PortItem> => {
  const colon = s.text.indexOf(':')
  const from = range(colon < 0 ? s : cut(s, 0, colon))
  if (E.isLeft(from)) return from
  return colon < 0
    ? E.right({ from: from.right, to: from.right.first, address: null })
    : target(cut(s, colon + 1), from.right, bind)
}

/** One element of the list, added to what was read before. */
const element = (so: Ports, s: Span): Read<Ports> => {
  const twice = (word: string): Read<never> => fault(`'${word}' given twice`, s.at)
  if (s.text === 'auto') return so.auto ? twice('auto') : E.right({ ...so, auto: true })
  if (s.text === 'none') return fault("'none' does not go with anything else", s.at)
  if (s.text === 'all') return so.all ? twice('all') : E.right({ ...so, all: true })
  if (s.text.startsWith('all:'))
    return so.all
      ? twice('all')
      : E.map((a: InAny | null): Ports => ({ ...so, all: true, allAddress: a }))(
          toAddress(cut(s, 4), so.bind)
        )
  if (s.text.startsWith('~'))
    return E.map((r: PortRange): Ports => ({ ...so, excluded: [...so.excluded, r] }))(range(cut(s, 1)))
  return E.map((i: PortItem): Ports => ({ ...so, items: [...so.items, i] }))(item(s, so.bind))
}

/** First port that stands in two items, and the index of the later one. */
const repeated = (s: Ports): { readonly port: number; readonly item: number } | null => {
  const seen = new Uint8Array(MAX_PORT + 1)
  for (const r of s.excluded) seen.fill(2, r.first, r.last + 1)
  for (const [index, { from }] of s.items.entries())
    for (let p = from.first; p <= from.last; p++) {
      if (seen[p] === 1) return { port: p, item: index }
      if (seen[p] === 0) seen[p] = 1
    }
  return null
}

// --- sockets that are there already

const FD = 'fd:'
/** `[ADDR/]PORT`. */
const oneTarget = (s: Span): Read<Pick<FdSpec, 'to' | 'address'>> => {
  const slash = s.text.lastIndexOf('/')
  const address = slash < 0 ? E.right(null) : toAddress(cut(s, 0, slash), null)
  if (E.isLeft(address)) return address
  return E.map((to: number) => ({ to, address: address.right }))(port(cut(s, slash + 1)))
}
const descriptor = (s: Span): Read<number | string> => {
  if (!/^[0-9]+$/.test(s.text))
    return isFdName(s.text) ? E.right(s.text) : fault(`invalid name of a descriptor '${s.text}'`, s.at)
  const n = Number(s.text)
  return n >= MIN_FD && n <= MAX_FD
    ? E.right(n)
    : fault(`descriptor ${s.text} is ${n < MIN_FD ? 'a standard stream' : 'none'}`, s.at)
}
/** What is behind `fd:`. */
const fdSpec = (s: Span): Read<FdSpec> => {
  const colon = s.text.indexOf(':')
  const fd = descriptor(colon < 0 ? s : cut(s, 0, colon))
  if (E.isLeft(fd)) return fd
  if (colon < 0)
    return fault(`no port behind the descriptor, as in ${FD}${fd.right}:80`, s.at + s.text.length)
  return E.map((to: Pick<FdSpec, 'to' | 'address'>): FdSpec => ({ kind: 'fd', fd: fd.right, ...to }))(
    oneTarget(cut(s, colon + 1))
  )
}

const UNIX = 'unix:'
/** sun_path, without the NUL behind it (unix(7)). */
export const MAX_PATH = 107
export const isUnixPath = (path: string): boolean =>
  path.startsWith('/') && !path.includes('\0') && new TextEncoder().encode(path).length <= MAX_PATH
const unixPath = (s: Span): Read<string> =>
  isUnixPath(s.text)
    ? E.right(s.text)
    : fault(`'${s.text}' is no absolute path of at most ${MAX_PATH} octets`, s.at)
/** What is behind `unix:`: a path may have colons in it, a target has some in brackets only. */
const unixSpec = (s: Span): Read<UnixSpec> => {
  const bracketed = /:\[[^[\]]*\]\/[^:/]*$/.exec(s.text)
  const colon = bracketed?.index ?? s.text.lastIndexOf(':')
  const path = unixPath(colon < 0 ? s : cut(s, 0, colon))
  if (E.isLeft(path)) return path
  if (colon < 0) return fault(`no port behind the path, as in ${UNIX}${path.right}:80`, s.at + s.text.length)
  return E.map((to: Pick<FdSpec, 'to' | 'address'>): UnixSpec => ({ kind: 'unix', path: path.right, ...to }))(
    oneTarget(cut(s, colon + 1))
  )
}
/** `PORT:unix:PATH`; `colon`: the first one. */
const toUnixSpec = (s: Span, colon: number): Read<ToUnixSpec> => {
  const from = port(cut(s, 0, colon))
  if (E.isLeft(from)) return from
  return E.map((path: string): ToUnixSpec => ({ kind: 'to-unix', port: from.right, path }))(
    unixPath(cut(s, colon + 1 + UNIX.length))
  )
}

/** What `-p` of container engines takes, `ADDR:PORTS[:PORTS][/PROTO]`, as it is written here. */
const asWrittenHere = (text: string): string =>
  text.replace(/^([0-9.]+\.[0-9.]+|\[[^\]]*\]):(?=[0-9])/, '$1/').replace(/\/(tcp|udp)$/, '')

/** Whether somebody means ports by it, in either form. */
export const looksLikePorts = (text: string): boolean =>
  /^[0-9[]/.test(text) && E.isRight(parseAsIs(asWrittenHere(text)))

/** `[BIND/]LIST` or `none`. Left: what is wrong, and the index of the character where it shows, text.length at most. */
export const parsePortSpec = (text: string): Read<PortSpec> => {
  const spec = parseAsIs(text)
  const here = asWrittenHere(text)
  if (E.isRight(spec) || here === text || E.isLeft(parseAsIs(here))) return spec
  const at = text.split('').findIndex((c, i) => c !== here[i])
  return fault(`write '${here}', TCP with -t and UDP with -u; it differs`, at)
}

const parseAsIs = (text: string): Read<PortSpec> => {
  if (text === 'none') return E.right({ kind: 'none' })
  if (text.startsWith(FD)) return fdSpec(cut(span(text), FD.length))
  if (text.startsWith(UNIX)) return unixSpec(cut(span(text), UNIX.length))
  const colon = text.indexOf(':')
  if (text.startsWith(UNIX, colon + 1)) return toUnixSpec(span(text), colon)
  const slash = bindEnd(text)
  const on = slash < 0 ? E.right({ bind: null, ifname: null }) : bound(cut(span(text), 0, slash))
  if (E.isLeft(on)) return on
  const nothing = { auto: false, all: false, allAddress: null, items: [], excluded: [] }
  let so: Ports = { kind: 'ports', ...on.right, ...nothing }
  const itemAt: number[] = []
  let at = slash + 1
  for (const part of text.slice(at).split(',')) {
    const next = element(so, { text: part, at })
    if (E.isLeft(next)) return next
    if (next.right.items.length > so.items.length) itemAt.push(at)
    so = next.right
    at += part.length + 1
  }
  const double = repeated(so)
  if (double !== null) return fault(`port ${double.port} given twice`, itemAt[double.item] ?? 0)
  return E.right(so.items.length === 0 ? { ...so, all: true } : so)
}

// --- printing

export const showRange = (r: PortRange): string =>
  r.first === r.last ? `${r.first}` : `${r.first}-${r.last}`

const showItem = (i: PortItem): string => {
  const from = showRange(i.from)
  const to = showRange({ first: i.to, last: i.to + i.from.last - i.from.first })
  if (i.address === null) return from === to ? from : `${from}:${to}`
  return from === to ? `${from}:[${showAddr(i.address)}]` : `${from}:[${showAddr(i.address)}]/${to}`
}

/** A socket's target. */
const showTarget = (s: Pick<FdSpec, 'to' | 'address'>): string =>
  s.address === null ? `${s.to}` : `[${showAddr(s.address)}]/${s.to}`

/** Canonical: address, then auto, all, items as given, exclusions as given; nothing that goes without saying. */
const print = (s: PortSpec): string => {
  if (s.kind === 'none') return 'none'
  if (s.kind === 'fd') return `${FD}${s.fd}:${showTarget(s)}`
  if (s.kind === 'unix') return `${UNIX}${s.path}:${showTarget(s)}`
  if (s.kind === 'to-unix') return `${s.port}:${UNIX}${s.path}`
  const ifname = s.ifname === null ? '' : `%${s.ifname}`
  const bind = s.bind === null ? ifname : `[${showAddr(s.bind)}]${ifname}`
  const implied = s.items.length === 0 && s.allAddress === null && (s.auto || s.excluded.length > 0)
  const all = s.allAddress === null ? 'all' : `all:[${showAddr(s.allAddress)}]`
  const list = [
    ...(s.auto ? ['auto'] : []),
    ...(s.all && !implied ? [all] : []),
    ...s.items.map(showItem),
    ...s.excluded.map((r) => `~${showRange(r)}`)
  ].join(',')
  return bind === '' ? list : `${bind}/${list}`
}

/**
 * Port forwarding specification:
 *
 *   spec    = "none" / [ bind "/" ] element *( "," element )
 *           / "fd:" ( number / name ) ":" socket / "unix:" path ":" socket / port ":unix:" path
 *   bind    = [ addr / "*" / "[*]" ] [ "%" ifname ]
 *   element = range [ ":" target ] / "~" range / "all" [ ":" addr ] / "auto"
 *   target  = [ addr "/" ] range / addr
 *   socket  = [ addr "/" ] port
 *   range   = port [ "-" port ]
 *   addr    = IPv4 / IPv6 / "[" ( IPv4 / IPv6 ) "]"
 *
 * Left: three lines, the first sufficient in itself, the others pointing at the character: a port of 0 or over 65535, a
 * range backwards or mapped to one of other length, an empty element, a port given twice, an address of another family, a standard stream, a
 * path that is not absolute or longer than an address of a socket.
 * What depends on the host or on other options is said by machines/forward/forward-rules.ts.
 * Law: decode(encode(s)) = right(s).   Source: passt(1) -t; `auto`, `all` and addresses in lists as newer releases
 */
export const PortSpec = textCodec<PortSpec>(
  'PortSpec',
  (text) => E.mapLeft((wrong: Fault) => showFault(text, wrong))(parsePortSpec(text)),
  print
)
