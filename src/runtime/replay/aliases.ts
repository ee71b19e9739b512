import { createHmac } from 'node:crypto'
import { type InAny, isV4 } from '../../codecs/value/inany.js'
import { BROADCAST_MAC, isGroupMac, type Mac, ZERO_MAC } from '../../codecs/wire/ethernet.js'
import { keyOf } from '../../machines/address/neighbours.js'

// Other addresses, MACs and names in place of those of a session, always the same one for the same. Addresses keep their prefixes as Crypto-PAn
// (Xu et al., "Prefix-preserving IP address anonymization", ICNP 2002) does it: bit n is inverted or not, by a keyed hash of the n bits in
// front of it. So what is on one link stays so. Where a bit decides what kind of an address it is, it is not inverted.

export interface Aliases {
  readonly addr: (a: InAny) => InAny
  readonly mac: (m: Mac) => Mac
  /** One label of a name: other letters, as many. */
  readonly label: (text: string) => string
  /** What may say who somebody is, in a form that nobody reads: other octets, as many. */
  readonly blur: (b: Uint8Array) => Uint8Array
  /** `addr` has this prefix: its link's broadcast address, whose other bits are ones, is to stay that. */
  readonly prefix: (addr: InAny, len: number) => void
}

/** What there is to be replaced. */
export interface Seen {
  readonly addrs: Map<string, InAny>
  readonly macs: Set<Mac>
  readonly labels: Set<string>
  readonly prefixes: Map<string, { readonly addr: InAny; readonly len: number }>
}

type Bits = string
const bitsOf = (word: number, n = 32): Bits => (word >>> 0).toString(2).padStart(n, '0').slice(-n)
const wordOf = (bits: Bits): number => Number.parseInt(bits, 2)
const v4Bits = (text: string): Bits => {
  const [addr, len] = text.split('/')
  const word = addr!.split('.').reduce((w, p) => w * 256 + Number(p), 0)
  return bitsOf(word).slice(0, Number(len))
}

/** Nothing in them says where somebody is: this network, loopback, groups, reserved, broadcast (RFC 6890). */
const SAME4 = ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/4', '240.0.0.0/4'].map(v4Bits)
/** What is in them stays in them: private, shared (RFC 6598), link-local. */
const KINDS4 = ['10.0.0.0/8', '100.64.0.0/10', '169.254.0.0/16', '172.16.0.0/12', '192.168.0.0/16'].map(
  v4Bits
)
const hexBits = (hex: string, len: number): Bits =>
  (hex.match(/.{1,8}/g) ?? [])
    .map((w) => bitsOf(Number.parseInt(w.padEnd(8, '0'), 16)))
    .join('')
    .padEnd(128, '0')
    .slice(0, len)
/** Addresses end in 24 bits that their solicited-node group has as well (RFC 4291 §2.7.1): these are replaced by themselves. */
const UPPER = 104
/** :: and ::1, IPv4-mapped, NAT64 (RFC 6052), global unicast, unique local, link-local, groups. */
const KINDS6 = [
  hexBits('', UPPER),
  hexBits('00000000000000000000ffff', 96),
  hexBits('0064ff9b', 96),
  hexBits('20', 3),
  hexBits('fc', 7),
  hexBits('fe80', 64),
  hexBits('ff', 8)
]
const SOLICITED = hexBits('ff0200000000000000000001ff', UPPER)
const isSame6 = (bits: Bits): boolean =>
  bits.startsWith(KINDS6[0]!) || (bits.startsWith('11111111') && !bits.startsWith(SOLICITED))
const isSame4 = (bits: Bits): boolean => SAME4.some((s) => bits.startsWith(s))

/** Multicast MACs of IPv6 groups end in the group's last 32 bits (RFC 2464 §7). */
const SOLICITED_MAC = 0x3333ff000000
const LOW = 0x1000000
const isSolicitedMac = (m: Mac): boolean => m >= SOLICITED_MAC && m < SOLICITED_MAC + LOW
const isSameMac = (m: Mac): boolean =>
  m === ZERO_MAC || m === BROADCAST_MAC || (isGroupMac(m) && !isSolicitedMac(m))

const isSame = (a: InAny): boolean =>
  isV4(a) ? isSame4(bitsOf(a[3])) : isSame6(a.map((w) => bitsOf(w)).join(''))

/** Notes what it is asked for, and changes nothing. */
export const looker = (): { readonly aliases: Aliases; readonly seen: Seen } => {
  const seen: Seen = { addrs: new Map(), macs: new Set(), labels: new Set(), prefixes: new Map() }
  return {
    seen,
    aliases: {
      addr: (a) => {
        if (!isSame(a)) seen.addrs.set(keyOf(a), a)
        return a
      },
      mac: (m) => {
        if (!isSameMac(m)) seen.macs.add(m)
        return m
      },
      label: (text) => {
        if (text !== '') seen.labels.add(text)
        return text
      },
      blur: (b) => b,
      prefix: (addr, len) => void seen.prefixes.set(`${keyOf(addr)}/${len}`, { addr, len })
    }
  }
}

/** Keys that are tried. */
const TRIES = 64
const LETTERS = 'abcdefghijklmnopqrstuvwxyz'

const keyed = (key: Uint8Array, seen: Seen): Aliases => {
  const hash = (what: string): Buffer => createHmac('sha256', key).update(what).digest()
  /** Bits in front of which nothing is inverted. */
  const still4 = new Set<Bits>()
  const still6 = new Set<Bits>()
  const keep = (still: Set<Bits>, bits: Bits, from = 0): void => {
    for (let n = from; n < bits.length; n++) still.add(bits.slice(0, n))
  }
  for (const bits of [...SAME4, ...KINDS4]) keep(still4, bits)
  for (const bits of KINDS6) keep(still6, bits)
  for (const { addr, len } of seen.prefixes.values()) {
    if (!isV4(addr)) continue
    const bits = bitsOf(addr[3]).slice(0, len)
    keep(still4, bits.padEnd(32, '1'), len)
  }
  const memo = <K, A>(map: Map<K, A>, k: K, make: () => A): A => {
    const known = map.get(k)
    if (known !== undefined) return known
    const a = make()
    map.set(k, a)
    return a
  }
  const inverted = new Map<string, boolean>()
  const isInverted = (space: string, front: Bits): boolean =>
    memo(inverted, space + front, () => (hash(space + front)[0]! & 1) === 1)
  const tree = (space: string, bits: Bits, still: ReadonlySet<Bits>): Bits => {
    let out = ''
    for (let n = 0; n < bits.length; n++) {
      const front = bits.slice(0, n)
      const turn = !still.has(front) && isInverted(space, front)
      out += turn === (bits[n] === '1') ? '0' : '1'
    }
    return out
  }
  const NONE: ReadonlySet<Bits> = new Set()
  const low = (bits: Bits): Bits => tree('low:', bits, NONE)
  const addrs = new Map<string, InAny>()
  const fresh = (a: InAny): InAny => {
    if (isSame(a)) return a
    if (isV4(a)) return [0, 0, 0xffff, wordOf(tree('v4:', bitsOf(a[3]), still4))]
    const bits = a.map((w) => bitsOf(w)).join('')
    const all =
      (bits.startsWith(SOLICITED) ? SOLICITED : tree('v6:', bits.slice(0, UPPER), still6)) +
      low(bits.slice(UPPER))
    return [
      wordOf(all.slice(0, 32)),
      wordOf(all.slice(32, 64)),
      wordOf(all.slice(64, 96)),
      wordOf(all.slice(96))
    ]
  }
  /** The first that `make` gives for a number, and that is nobody's. */
  const unused = <A>(taken: Set<A>, own: ReadonlySet<A>, make: (i: number) => A): A => {
    for (let i = 0; ; i++) {
      const one = make(i)
      if (taken.has(one) || own.has(one)) continue
      taken.add(one)
      return one
    }
  }
  const macs = new Map<Mac, Mac>()
  const takenMacs = new Set<Mac>()
  const freshMac = (m: Mac): Mac => {
    if (isSameMac(m)) return m
    if (isSolicitedMac(m)) return SOLICITED_MAC + wordOf(low(bitsOf(m % LOW, 24)))
    // The two bits that say what kind of an address it is (IEEE 802)
    const kind = Math.floor(m / 2 ** 40) & 3
    return unused(takenMacs, seen.macs, (i) => {
      const h = hash(`mac:${m}:${i}`)
      return ((h[0]! & 0xfc) | kind) * 2 ** 40 + h.readUIntBE(1, 5)
    })
  }
  const labels = new Map<string, string>()
  const takenLabels = new Set<string>()
  const freshLabel = (text: string): string =>
    unused(takenLabels, seen.labels, (i) => {
      const h = hash(`label:${text}:${i}`)
      // Where there are too few of that length it is longer
      const n = text.length + Math.floor(i / 256)
      return Array.from({ length: n }, (_, k) => LETTERS[(h[k % 32]! + k) % 26]).join('')
    })
  return {
    addr: (a) => memo(addrs, keyOf(a), () => fresh(a)),
    mac: (m) => memo(macs, m, () => freshMac(m)),
    label: (text) => (text === '' ? '' : memo(labels, text, () => freshLabel(text))),
    blur: (b) => {
      const name = `blur:${Buffer.from(b).toString('hex')}`
      const h = hash(name)
      return b.map((_, i) => h[i % 32]! ^ (i >> 5))
    },
    prefix: () => {}
  }
}

/**
 * Of a key, 32 octets. Among keys that follow from it one is taken by which no address is the alias of another that there is, if there is
 * one; where all of a small network is in use, there is none.
 * Laws: injective; two addresses have as many bits in common at the front as before; loopback, private, link-local, unique local and group
 * addresses, global and local MACs stay that.
 */
export const aliasesBy = (key: Uint8Array, seen: Seen): Aliases => {
  for (let i = 0; ; i++) {
    const one = createHmac('sha256', key).update(`key:${i}`).digest()
    const a = keyed(one, seen)
    if (i === TRIES || [...seen.addrs.values()].every((x) => !seen.addrs.has(keyOf(a.addr(x))))) return a
  }
}
