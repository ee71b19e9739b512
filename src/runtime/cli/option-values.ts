import * as E from 'fp-ts/lib/Either.js'
import * as O from 'fp-ts/lib/Option.js'
import { isIfname, isNoLonger, MAX_ALT_IFNAME, MAX_IFNAME } from '../../codecs/text/ifname.js'
import { MAX_NAME } from '../../codecs/text/resolv-conf.js'
import {
  type InAny,
  isBroadcast4,
  isLoopback,
  isMulticast,
  isUnspecified,
  isV4,
  parseAddr,
  v4Word
} from '../../codecs/value/inany.js'
import { type Mac, parseMac } from '../../codecs/wire/ethernet.js'

/** Reads an option's argument. Left: what is wrong with it, in words that fit behind the option's name. */
export type Read<A> = (text: string) => E.Either<string, A>

/** A whole number in C notation, as strtol(3) with base 0 takes it: 10, 0xa, 012; blanks in front, sign allowed. */
export const cNumber: Read<number> = (text) => {
  const m = /^\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.exec(text)
  if (m === null) return E.left(`'${text}' is not a number`)
  const digits = m[2] ?? ''
  const value = Number.parseInt(digits, /^0[xX]/.test(digits) ? 16 : digits.startsWith('0') ? 8 : 10)
  return Number.isSafeInteger(value)
    ? E.right(m[1] === '-' ? -value : value)
    : E.left(`${text} is out of range`)
}

/** One of these words. */
export const oneOf =
  <T extends string>(...words: ReadonlyArray<T>): Read<T> =>
  (text) => {
    const word = words.find((w) => w === text)
    return word === undefined ? E.left(`'${text}' is none of ${words.join(', ')}`) : E.right(word)
  }

export const numberIn =
  (min: number, max: number): Read<number> =>
  (text) =>
    E.chain((n: number) => (n >= min && n <= max ? E.right(n) : E.left(`${text} is not in ${min}..${max}`)))(
      cNumber(text)
    )

/** Deprecated IPv4-compatible IPv6 address, ::a.b.c.d (RFC 4291 §2.5.5.1), besides :: and ::1. */
const isCompatible = (a: InAny): boolean => a[0] === 0 && a[1] === 0 && a[2] === 0 && a[3] > 1

/** Kinds of addresses that an option may refuse. */
const KINDS = {
  unspecified: isUnspecified,
  loopback: isLoopback,
  loopback6: (a: InAny) => !isV4(a) && isLoopback(a),
  multicast: isMulticast,
  broadcast: isBroadcast4,
  'IPv4-compatible': isCompatible
} as const

/** IPv4 or IPv6, none of the kinds named. */
export const addressBut =
  (...refused: ReadonlyArray<keyof typeof KINDS>): Read<InAny> =>
  (text) => {
    const a = parseAddr(text)
    if (O.isNone(a)) return E.left(`'${text}' is not an IP address`)
    const kind = refused.find((k) => KINDS[k](a.value))
    return kind === undefined ? E.right(a.value) : E.left(`${text} is ${kind.replace('6', '')}`)
  }

export interface AddressAndLength {
  readonly address: InAny
  /** Given with the address, or null. */
  readonly prefixLen: number | null
}

/** `ADDR[/LEN]` for -a. A v4-mapped address is IPv4 and its length counts from 96. */
export const assignable: Read<AddressAndLength> = (text) => {
  const slash = text.indexOf('/')
  const bare = slash < 0 ? text : text.slice(0, slash)
  const addr = addressBut('unspecified', 'loopback', 'multicast', 'broadcast', 'IPv4-compatible')(bare)
  if (E.isLeft(addr) || slash < 0) return E.map((address: InAny) => ({ address, prefixLen: null }))(addr)
  const digits = text.slice(slash + 1)
  const base = isV4(addr.right) && bare.includes(':') ? 96 : 0
  const prefixLen = /^[0-9]{1,3}$/.test(digits) ? Number(digits) - base : -1
  return prefixLen >= 0 && prefixLen <= (isV4(addr.right) ? 32 : 128)
    ? E.right({ address: addr.right, prefixLen })
    : E.left(`'${digits}' is not a prefix length`)
}

/** Source address of outbound sockets: IPv4 loopback is allowed, v4-mapped is not. */
export const outbound: Read<InAny> = (text) =>
  E.chain((a: InAny) =>
    isV4(a) && text.includes(':') ? E.left<string, InAny>(`${text} is IPv4-mapped`) : E.right(a)
  )(addressBut('unspecified', 'loopback6', 'multicast', 'broadcast', 'IPv4-compatible')(text))

/** IPv4 mask as contiguous dotted quad or number of bits; gives the bits. */
export const netmask: Read<number> = (text) => {
  const a = parseAddr(text)
  if (O.isNone(a)) return numberIn(0, 32)(text)
  const inverse = ~v4Word(a.value) >>> 0
  return isV4(a.value) && (inverse & (inverse + 1)) === 0
    ? E.right(Math.clz32(inverse))
    : E.left(`${text} is not a netmask`)
}

export const mac: Read<Mac> = (text) => E.fromOption(() => `'${text}' is not a MAC address`)(parseMac(text))

export const nonEmpty: Read<string> = (text) => (text === '' ? E.left('is empty') : E.right(text))

const nameIf =
  (is: (name: string) => boolean): Read<string> =>
  (text) =>
    is(text) ? E.right(text) : E.left(`'${text}' is not an interface name`)
/** Length only: an interface may come up later. */
export const interfaceName: Read<string> = nameIf((n) => n !== '' && isNoLonger(n, MAX_ALT_IFNAME))
/** A name that the kernel will give to a new interface. */
export const newInterfaceName: Read<string> = nameIf((n) => isNoLonger(n, MAX_IFNAME) && isIfname(n))

/** Empty: null, no name. */
export const hostName: Read<string | null> = (text) =>
  text.length <= MAX_NAME
    ? E.right(text === '' ? null : text)
    : E.left(`has more than ${MAX_NAME} characters`)

/** Whom to become: names are looked up later, by the launcher. */
export interface RunAs {
  readonly user: string | number
  readonly group: string | number | null
}

/** `UID`, `UID:GID`, `LOGIN`, `LOGIN:GROUP` or mixes. */
export const runAs: Read<RunAs> = (text) => {
  const [user = '', group, ...more] = text.split(':')
  if (user === '' || group === '' || more.length > 0)
    return E.left(`'${text}' is not UID[:GID] or LOGIN[:GROUP]`)
  const id = (s: string): string | number => {
    const n = cNumber(s)
    return E.isRight(n) && n.right >= 0 && n.right < 0xffffffff ? n.right : s
  }
  return E.right({ user: id(user), group: group === undefined ? null : id(group) })
}
