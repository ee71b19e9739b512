import type { Address } from '../../codecs/kernel/rtnetlink.js'
import {
  type InAny,
  isBroadcast4,
  isLoopback,
  isMulticast,
  isUnicast,
  isV4,
  sameAddr
} from '../../codecs/value/inany.js'
import type { AnswerFault } from '../../effects/counters.js'

// What lies on the host's links, by the addresses of its interfaces, and who may answer a question to a group.

/** An address of an interface and the prefix that it makes on-link there. */
export interface OnLink {
  readonly index: number
  readonly own: InAny
  readonly prefix: Prefix
}
export interface Prefix {
  readonly addr: InAny
  /** Of 32 for IPv4. */
  readonly len: number
}
export type Links = ReadonlyArray<OnLink>

const LOOPBACK_INDEX = 1
/** A host with more addresses than this has no further neighbours, rather than us no memory. */
export const MAX_LINKS = 4096

/** Bit mask of word `i` of an address under a prefix of `bits` of 128. */
const maskOf = (bits: number, i: number): number => {
  const n = Math.min(32, Math.max(0, bits - 32 * i))
  return n === 0 ? 0 : (0xffffffff << (32 - n)) >>> 0
}
const bitsOf = (p: Prefix): number => (isV4(p.addr) ? p.len + 96 : p.len)

/** Law: contains(p, p.addr); a longer prefix of the same address contains no more. */
export const contains = (p: Prefix, a: InAny): boolean => {
  if (isV4(p.addr) !== isV4(a)) return false
  const bits = bitsOf(p)
  return a.every((word, i) => ((word ^ p.addr[i]) & maskOf(bits, i)) === 0)
}

/** The subnet's own broadcast address (RFC 1122 §3.2.1.3 d); null: it has none (RFC 3021 §2.1). */
const broadcastOf = (p: Prefix): InAny | null =>
  isV4(p.addr) && p.len < 31 ? [0, 0, 0xffff, (p.addr[3] | ~maskOf(bitsOf(p), 3)) >>> 0] : null

const entryOf = (a: Address): OnLink | null => {
  const own = a.local ?? a.address
  const addr = a.address ?? a.local
  if (own === null || addr === null || a.index === LOOPBACK_INDEX || !isUnicast(own) || isLoopback(own))
    return null
  return { index: a.index, own, prefix: { addr, len: a.prefixLen } }
}
const same = (a: OnLink, b: OnLink): boolean =>
  a.index === b.index && sameAddr(a.own, b.own) && a.prefix.len === b.prefix.len

/** An address as the kernel tells of it; `deleted`: RTM_DELADDR. Law: learning twice is learning once. */
export const learnAddress = (links: Links, a: Address, deleted: boolean): Links => {
  const e = entryOf(a)
  if (e === null) return links
  const others = links.filter((l) => !same(l, e))
  return deleted || others.length >= MAX_LINKS ? others : [...others, e]
}

/** Of several at once. */
export const linksOf = (addresses: ReadonlyArray<Address>): Links =>
  addresses.reduce<Links>((links, a) => learnAddress(links, a, false), [])

/** Is this nobody's own address: a group, or everybody on a link? */
export const isGroupOn = (links: Links, a: InAny): boolean =>
  isMulticast(a) ||
  isBroadcast4(a) ||
  links.some((l) => {
    const all = broadcastOf(l.prefix)
    return all !== null && sameAddr(a, all)
  })

/** A datagram that came to the socket of a question. */
export interface Candidate {
  readonly from: InAny
  readonly fromPort: number
  /** Address that it was sent to, and interface that it came in by. */
  readonly to: InAny
  readonly index: number
}

/**
 * Is it an answer? Null: yes; else why not, in words. The rule is RFC 6762 §11's for mDNS, taken for every group: it is to
 * our own address, by the interface that has it, and from an address that is on-link there. The host itself, which comes by
 * way of lo, is a neighbour under an address of that interface, and never under a loopback address.
 */
export const answerFault = (links: Links, c: Candidate): AnswerFault | null => {
  if (!isUnicast(c.from) || isLoopback(c.from) || c.fromPort === 0) return 'no peer'
  if (isV4(c.from) !== isV4(c.to)) return 'not to us'
  const at = links.find((l) => sameAddr(l.own, c.to))
  if (at === undefined) return 'not to us'
  const here = links.filter((l) => l.index === at.index)
  if (c.index === LOOPBACK_INDEX) return here.some((l) => sameAddr(l.own, c.from)) ? null : 'not of this link'
  if (c.index !== at.index) return 'another link'
  return here.some((l) => contains(l.prefix, c.from)) ? null : 'not of this link'
}
