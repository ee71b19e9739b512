import * as E from 'fp-ts/lib/Either.js'
import { textCodec } from '../value/codec.js'
import { type PortRange, showRange } from './port-spec.js'

/** Towards the guest, or from it. */
export type Way = 'in' | 'out'

/** Argument of --limit. */
export interface RateLimit {
  /** Of flows that came by a forwarded port of these; null: of all. */
  readonly ports: { readonly proto: 'tcp' | 'udp'; readonly range: PortRange } | null
  /** Octets of users' data a second. */
  readonly rate: number
  /** Octets that may come at once; null: defaultBurst(). */
  readonly burst: number | null
  /** null: each way as much. */
  readonly way: Way | null
}

/** Octets a second: less makes no sense for TCP, more is no limit. */
export const LEAST_RATE = 1000
export const MOST_RATE = 1e11
const MOST_BURST = 2 ** 30
/** What a burst must hold: a full segment or two, and what comes while we are not looked at. */
export const leastBurst = (rate: number): number => Math.max(4096, Math.ceil(rate / 100))
/** A tenth of a second. */
export const defaultBurst = (rate: number): number =>
  Math.min(MOST_BURST, Math.max(65_536, Math.ceil(rate / 10)))

const PREFIX: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9 }
/** Octets. `bit` is spelled out and `B` is a capital, so that nobody takes one for the other. */
const amount = (text: string): number | null => {
  const m = /^([0-9]+(?:\.[0-9]+)?)([kKmMgG]?)(bit|B)$/.exec(text)
  if (m === null) return null
  return Math.floor((Number(m[1]) * (PREFIX[m[2].toLowerCase()] ?? 1)) / (m[3] === 'bit' ? 8 : 1))
}

const rateOf = (text: string): E.Either<string, number> => {
  const rate = amount(text.endsWith('/s') ? text.slice(0, -2) : text)
  if (rate === null)
    return E.left(`'${text}' is no rate such as 10Mbit (bits a second) or 10MB (bytes a second)`)
  return rate >= LEAST_RATE && rate <= MOST_RATE
    ? E.right(rate)
    : E.left(`${text} is not in ${LEAST_RATE / 1e3}kB..${MOST_RATE / 1e9}GB a second`)
}
const burstOf = (text: string, rate: number): E.Either<string, number> => {
  const burst = /^[0-9]+$/.test(text) ? Number(text) : amount(text)
  if (burst === null) return E.left(`'${text}' is no size such as 64kB`)
  const least = leastBurst(rate)
  return burst >= least && burst <= MOST_BURST
    ? E.right(burst)
    : E.left(`a burst of ${text} is not in ${least}..${MOST_BURST} bytes, for this rate`)
}
const portsOf = (text: string): RateLimit['ports'] => {
  const m = /^(tcp|udp):([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text)
  if (m === null) return null
  const first = Number(m[2])
  const last = m[3] === undefined ? first : Number(m[3])
  return first >= 1 && first <= last && last <= 65_535
    ? { proto: m[1] as 'tcp' | 'udp', range: { first, last } }
    : null
}

const read = (text: string): E.Either<string, RateLimit> => {
  const [head = '', ...more] = text.split(',')
  const equals = head.indexOf('=')
  const ports = equals < 0 ? null : portsOf(head.slice(0, equals))
  if (equals >= 0 && ports === null)
    return E.left(`'${head.slice(0, equals)}' is no tcp:PORT[-PORT] or udp:PORT[-PORT]`)
  const rate = rateOf(head.slice(equals + 1))
  if (E.isLeft(rate)) return rate
  let burst: number | null = null
  let way: Way | null = null
  for (const word of more)
    if (word === 'in' || word === 'out') {
      if (way !== null) return E.left('in and out: one of them, or neither for both ways')
      way = word
    } else if (word.startsWith('burst=') && burst === null) {
      const octets = burstOf(word.slice('burst='.length), rate.right)
      if (E.isLeft(octets)) return octets
      burst = octets.right
    } else return E.left(`'${word}' is none of burst=SIZE, in, out`)
  return E.right({ ports, rate: rate.right, burst, way })
}

const show = ({ ports, rate, burst, way }: RateLimit): string => {
  const whose = ports === null ? '' : `${ports.proto}:${showRange(ports.range)}=`
  return [
    `${whose}${rate}B`,
    ...(burst === null ? [] : [`burst=${burst}`]),
    ...(way === null ? [] : [way])
  ].join(',')
}

/**
 * `[tcp:PORT[-PORT]=|udp:PORT[-PORT]=]RATE[,burst=SIZE][,in|,out]`. Prefixes are decimal (k, M, G), the unit is `bit` or `B`; `/s` may
 * follow a rate, a SIZE without a unit is octets. Left: what is wrong, in words.   Law: decode(encode(l)) = right(l).
 */
export const RateLimit = textCodec('RateLimit', read, show)
