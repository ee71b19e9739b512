import * as E from 'fp-ts/lib/Either.js'
import * as O from 'fp-ts/lib/Option.js'
import * as t from 'io-ts'
import { type InAny, isV4, parseAddr, showAddr } from './inany.js'

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
      /** Only those that something listens on at the other side, looked at every second. */
      readonly auto: boolean
      /** Every port that is not ephemeral, besides those in `items`: for `all`, `auto`, or exclusions alone. */
      readonly all: boolean
      /** For `all:ADDRESS`. */
      readonly allAddress: InAny | null
      readonly items: ReadonlyArray<PortItem>
      /** Never listened on, wherever it stands in the list. */
      readonly excluded: ReadonlyArray<PortRange>
    }

type Ports = Extract<PortSpec, { kind: 'ports' }>

const port = (text: string): E.Either<string, number> =>
  /^[0-9]{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65535
    ? E.right(Number(text))
    : E.left(`invalid port '${text}'`)

const range = (text: string): E.Either<string, PortRange> => {
  const [a = '', b, ...more] = text.split('-')
  if (more.length > 0) return E.left(`invalid port range '${text}'`)
  const first = port(a)
  if (E.isLeft(first)) return first
  const last = b === undefined ? first : port(b)
  if (E.isLeft(last)) return last
  if (last.right < first.right) return E.left(`invalid port range '${text}'`)
  return E.right({ first: first.right, last: last.right })
}

/** IPv4, IPv6, or either in brackets. */
const address = (text: string): E.Either<string, InAny> => {
  const bare = /^\[(.*)\]$/.exec(text)?.[1] ?? text
  return E.fromOption(() => `invalid address '${text}'`)(parseAddr(bare))
}

/** `[ADDR/]RANGE` or `ADDR`, behind the colon of an item; a missing range is that of the source. */
const target = (text: string, from: PortRange): E.Either<string, PortItem> => {
  const slash = text.lastIndexOf('/')
  const alone = slash < 0 ? range(text) : E.left('')
  const addressText = slash < 0 ? (E.isRight(alone) ? null : text) : text.slice(0, slash)
  // neither a range nor an address: the range's complaint is the clearer one
  if (slash < 0 && E.isLeft(alone) && O.isNone(parseAddr(text.replace(/^\[|\]$/g, '')))) return alone
  const addr = addressText === null ? E.right(null) : address(addressText)
  if (E.isLeft(addr)) return addr
  const to = slash < 0 ? (E.isRight(alone) ? alone : E.right(from)) : range(text.slice(slash + 1))
  if (E.isLeft(to)) return to
  if (to.right.last - to.right.first !== from.last - from.first)
    return E.left(`mapped range '${text}' differs in length from ${from.first}-${from.last}`)
  return E.right({ from, to: to.right.first, address: addr.right })
}

const item = (text: string): E.Either<string, PortItem> => {
  const colon = text.indexOf(':')
  const from = range(colon < 0 ? text : text.slice(0, colon))
  if (E.isLeft(from)) return from
  return colon < 0
    ? E.right({ from: from.right, to: from.right.first, address: null })
    : target(text.slice(colon + 1), from.right)
}

/**
 * Split at the slash that ends a bind address. `8000:192.0.2.5/6000` has none: its slash belongs to an item. Where
 * both readings are possible (`8000:1::2/80`) it is a bind address; brackets tell otherwise.
 */
const bindOf = (text: string): { readonly bind: string | null; readonly list: string } => {
  const slash = text.indexOf('/')
  const before = text.slice(0, Math.max(slash, 0))
  const isItem = E.isLeft(address(before.split('%')[0] ?? '')) && /,|^([0-9-]+|all):/.test(before)
  return slash < 0 || isItem ? { bind: null, list: text } : { bind: before, list: text.slice(slash + 1) }
}

const withBind = (bind: string | null): E.Either<string, Pick<Ports, 'bind' | 'ifname'>> => {
  if (bind === null) return E.right({ bind: null, ifname: null })
  const percent = bind.indexOf('%')
  const ifname = percent < 0 ? null : bind.slice(percent + 1)
  if (ifname !== null && (ifname.length < 1 || ifname.length > 15))
    return E.left(`invalid interface name '${ifname}'`)
  if (percent === 0) return E.right({ bind: null, ifname })
  const addr = address(percent < 0 ? bind : bind.slice(0, percent))
  return E.isLeft(addr) ? addr : E.right({ bind: addr.right, ifname })
}

/** One element of the list, added to what was read before. */
const element = (so: Ports, text: string): E.Either<string, Ports> => {
  if (text === 'auto') return E.right({ ...so, auto: true })
  if (text === 'all') return E.right({ ...so, all: true })
  if (text.startsWith('all:'))
    return E.map((a: InAny): Ports => ({ ...so, all: true, allAddress: a }))(address(text.slice(4)))
  if (text.startsWith('~'))
    return E.map((r: PortRange): Ports => ({ ...so, excluded: [...so.excluded, r] }))(range(text.slice(1)))
  return E.map((i: PortItem): Ports => ({ ...so, items: [...so.items, i] }))(item(text))
}

const parse = (text: string): E.Either<string, PortSpec> => {
  if (text === 'none') return E.right({ kind: 'none' })
  const { bind, list } = bindOf(text)
  const bound = withBind(bind)
  if (E.isLeft(bound)) return bound
  let so: Ports = {
    kind: 'ports',
    ...bound.right,
    auto: false,
    all: false,
    allAddress: null,
    items: [],
    excluded: []
  }
  for (const part of list.split(',')) {
    const next = element(so, part)
    if (E.isLeft(next)) return next
    so = next.right
  }
  if (
    so.bind !== null &&
    so.items.some((i) => i.address !== null && isV4(i.address) !== isV4(so.bind ?? i.address))
  )
    return E.left('listening address and target address are of different families')
  return E.right(so.items.length === 0 ? { ...so, all: true } : so)
}

const showRange = (r: PortRange): string => (r.first === r.last ? `${r.first}` : `${r.first}-${r.last}`)

const print = (s: PortSpec): string => {
  if (s.kind === 'none') return 'none'
  const ifname = s.ifname === null ? '' : `%${s.ifname}`
  const bind = s.bind === null ? ifname : `[${showAddr(s.bind)}]${ifname}`
  const targetOf = (i: PortItem): string => {
    const to = showRange({ first: i.to, last: i.to + i.from.last - i.from.first })
    return i.address === null ? `:${to}` : `:[${showAddr(i.address)}]/${to}`
  }
  const all = s.allAddress === null ? 'all' : `all:[${showAddr(s.allAddress)}]`
  const list = [
    ...(s.auto ? ['auto'] : []),
    ...(s.all ? [all] : []),
    ...s.items.map((i) => showRange(i.from) + targetOf(i)),
    ...s.excluded.map((r) => `~${showRange(r)}`)
  ].join(',')
  return bind === '' ? list : `${bind}/${list}`
}

/**
 * Port forwarding specification: `none`, or `[BIND/]LIST` as the manual describes under -t.
 * Left: port 0 or over 65535, a range backwards or mapped to one of other length, an empty element, an address of the
 * wrong family. Law: decode(encode(s)) = right(s).   Source: passt(1) -t; `auto` and `all` inside lists as newer releases
 */
export const PortSpec = new t.Type<PortSpec, string, string>(
  'PortSpec',
  (u): u is PortSpec => typeof u === 'object' && u !== null && 'kind' in u,
  (text, context) => {
    const spec = parse(text)
    return E.isLeft(spec) ? t.failure(text, context, spec.left) : t.success(spec.right)
  },
  print
)
