import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { type InAny, readV4, writeV4 } from '../value/inany.js'
import { copyOf, joined, type Octets, sub } from '../value/octets.js'

/** One option; `data` is whole, however many pieces it came in. */
export interface DhcpOption {
  /** 1-254, and not 52: pad, end and overload belong to the encoding. */
  readonly code: number
  readonly data: Uint8Array
}

/** A DHCP or BOOTP message. Names as in RFC 2131 §2, figure 1. */
export interface DhcpMessage {
  readonly op: number
  readonly htype: number
  /** 0-16 */
  readonly hlen: number
  readonly hops: number
  readonly xid: number
  readonly secs: number
  readonly flags: number
  readonly ciaddr: InAny
  readonly yiaddr: InAny
  readonly siaddr: InAny
  readonly giaddr: InAny
  /** 16 octets, of which `hlen` count. */
  readonly chaddr: Uint8Array
  /** 64 octets; zeros where it carried options. */
  readonly sname: Uint8Array
  /** 128 octets; zeros where it carried options. */
  readonly file: Uint8Array
  /** In the order in which codes first appeared, each code once. */
  readonly options: ReadonlyArray<DhcpOption>
}

export const BOOTREQUEST = 1
export const BOOTREPLY = 2
/** Broadcast flag, RFC 2131 §2 figure 2 */
export const FLAG_BROADCAST = 0x8000

/** Values of option 53, RFC 2132 §9.6 */
export const DHCPDISCOVER = 1
export const DHCPOFFER = 2
export const DHCPREQUEST = 3
export const DHCPACK = 5
export const DHCPNAK = 6
export const DHCPINFORM = 8

/** Option codes, RFC 2132 unless named. */
export const OPT_MASK = 1
export const OPT_ROUTER = 3
export const OPT_DNS = 6
export const OPT_HOSTNAME = 12
export const OPT_MTU = 26
export const OPT_REQUESTED_IP = 50
export const OPT_LEASE = 51
export const OPT_OVERLOAD = 52
export const OPT_TYPE = 53
export const OPT_SERVER_ID = 54
export const OPT_PARAMETERS = 55
export const OPT_CLIENT_ID = 61
/** RFC 4039 */
export const OPT_RAPID_COMMIT = 80
/** RFC 4702 */
export const OPT_FQDN = 81
/** RFC 3397 */
export const OPT_SEARCH = 119
/** RFC 3442 */
export const OPT_ROUTES = 121
const OPT_PAD = 0
const OPT_END = 255

// Offsets in octets, RFC 2131 §2
const OP = 0
const HTYPE = 1
const HLEN = 2
const HOPS = 3
const XID = 4
const SECS = 8
const FLAGS = 10
const CIADDR = 12
const YIADDR = 16
const SIADDR = 20
const GIADDR = 24
const CHADDR = 28
const SNAME = 44
const FILE = 108
const COOKIE = 236
const OPTIONS = 240
const CHADDR_LEN = 16
const SNAME_LEN = 64
const FILE_LEN = 128
/** 99.130.83.99, RFC 2131 §3 */
const MAGIC = 0x63825363
/** Least octets behind the cookie: BOOTP's vendor area of 64 holds cookie and options (RFC 951 §3, RFC 1497). */
const MIN_OPTIONS = 60

/** Appends the pieces of one options field to `pieces`; a reason if an option runs out of it. */
const collect = (o: Octets, pieces: Map<number, Uint8Array[]>): string | null => {
  for (let i = 0; i < o.len; ) {
    const code = o.view.getUint8(o.off + i)
    if (code === OPT_PAD) {
      i++
      continue
    }
    if (code === OPT_END) return null
    if (i + 2 > o.len) return `option ${code} without length`
    const len = o.view.getUint8(o.off + i + 1)
    if (i + 2 + len > o.len) return `option ${code} of ${len} octets runs out of its field`
    const piece = copyOf(sub(o, i + 2, len))
    const known = pieces.get(code)
    if (known === undefined) pieces.set(code, [piece])
    else known.push(piece)
    i += 2 + len
  }
  return null // a missing end option is tolerated: BOOTP (RFC 1497) fields may be full
}

interface Fields {
  readonly options: ReadonlyArray<DhcpOption>
  /** Bit 0: file carried options, bit 1: sname did. */
  readonly overload: number
}

/** Options field, then file, then sname, as far as option 52 says (RFC 2131 §4.1); pieces joined (RFC 3396 §5, §7). */
const optionsOf = (o: Octets): Fields | string => {
  if (o.view.getUint32(o.off + COOKIE) !== MAGIC) return { options: [], overload: 0 } // BOOTP (RFC 951)
  const pieces = new Map<number, Uint8Array[]>()
  const bad = collect(sub(o, OPTIONS), pieces)
  if (bad !== null) return bad
  const overload = pieces.get(OPT_OVERLOAD)?.[0][0] ?? 0
  if (overload > 3) return `overload ${overload}`
  const inFile = (overload & 1) === 0 ? null : collect(sub(o, FILE, FILE_LEN), pieces)
  const inSname = (overload & 2) === 0 ? null : collect(sub(o, SNAME, SNAME_LEN), pieces)
  if (inFile !== null || inSname !== null) return inFile ?? inSname ?? ''
  pieces.delete(OPT_OVERLOAD)
  return { options: [...pieces].map(([code, parts]) => ({ code, data: joined(parts) })), overload }
}

const decode = (o: Octets): DhcpMessage | string => {
  const { view, off, len } = o
  if (len < OPTIONS) return `need ${OPTIONS} octets, have ${len}`
  const hlen = view.getUint8(off + HLEN)
  if (hlen > CHADDR_LEN) return `hardware address of ${hlen} octets`
  const fields = optionsOf(o)
  if (typeof fields === 'string') return fields
  const { options, overload } = fields
  return {
    op: view.getUint8(off + OP),
    htype: view.getUint8(off + HTYPE),
    hlen,
    hops: view.getUint8(off + HOPS),
    xid: view.getUint32(off + XID),
    secs: view.getUint16(off + SECS),
    flags: view.getUint16(off + FLAGS),
    ciaddr: readV4(view, off + CIADDR),
    yiaddr: readV4(view, off + YIADDR),
    siaddr: readV4(view, off + SIADDR),
    giaddr: readV4(view, off + GIADDR),
    chaddr: copyOf(sub(o, CHADDR, CHADDR_LEN)),
    sname: (overload & 2) === 0 ? copyOf(sub(o, SNAME, SNAME_LEN)) : new Uint8Array(SNAME_LEN),
    file: (overload & 1) === 0 ? copyOf(sub(o, FILE, FILE_LEN)) : new Uint8Array(FILE_LEN),
    options
  }
}

/** Octets an option takes, split into pieces of 255 (RFC 3396 §6); an empty one is a piece as well. */
export const optionLen = ({ data }: DhcpOption): number =>
  data.length + 2 * Math.max(1, Math.ceil(data.length / 255))

const pushOption = (b: Uint8Array, at: number, { code, data }: DhcpOption): number => {
  let i = at
  let from = 0
  do {
    const piece = data.subarray(from, from + 255)
    b[i] = code
    b[i + 1] = piece.length
    b.set(piece, i + 2)
    i += 2 + piece.length
    from += 255
  } while (from < data.length)
  return i
}

const encode = (m: DhcpMessage): Uint8Array => {
  const used = m.options.reduce((n, o) => n + optionLen(o), 1)
  const b = new Uint8Array(OPTIONS + Math.max(used, MIN_OPTIONS))
  const view = new DataView(b.buffer)
  view.setUint8(OP, m.op)
  view.setUint8(HTYPE, m.htype)
  view.setUint8(HLEN, m.hlen)
  view.setUint8(HOPS, m.hops)
  view.setUint32(XID, m.xid)
  view.setUint16(SECS, m.secs)
  view.setUint16(FLAGS, m.flags)
  writeV4(view, CIADDR, m.ciaddr)
  writeV4(view, YIADDR, m.yiaddr)
  writeV4(view, SIADDR, m.siaddr)
  writeV4(view, GIADDR, m.giaddr)
  b.set(m.chaddr, CHADDR)
  b.set(m.sname, SNAME)
  b.set(m.file, FILE)
  view.setUint32(COOKIE, MAGIC)
  b[m.options.reduce((at, o) => pushOption(b, at, o), OPTIONS)] = OPT_END
  return b
}

/**
 * Shape: 236 octets of header, magic cookie (4), options. Encoding never overloads sname or file, ends with option 255
 * and pads the options with zeros to 60 octets.
 * Another cookie: a BOOTP message, options are [] (RFC 951 leaves the vendor area to the vendor).
 * Left: under 240 octets; hlen over 16; an option that runs out of its field; overload over 3.
 * Law: decode(encode(m)) = right(m).   Source: RFC 2131 §2, RFC 2132 §2, §9.3, RFC 3396
 */
export const DhcpMessage: t.Type<DhcpMessage, Uint8Array, Octets> = wireCodec('DhcpMessage', decode, encode)

// --- reading single options; null where absent or of the wrong length

export const optionOf = (m: DhcpMessage, code: number): Uint8Array | null =>
  m.options.find((o) => o.code === code)?.data ?? null
/** First octet of an option of any length but 0. */
export const octetOption = (m: DhcpMessage, code: number): number | null => optionOf(m, code)?.[0] ?? null
export const addrOption = (m: DhcpMessage, code: number): InAny | null => {
  const d = optionOf(m, code)
  return d?.length === 4 ? readV4(new DataView(d.buffer, d.byteOffset, 4), 0) : null
}

// --- making single options

export const octetsOption = (code: number, data: Uint8Array | ReadonlyArray<number>): DhcpOption => ({
  code,
  data: Uint8Array.from(data)
})
export const addrsOption = (code: number, addrs: ReadonlyArray<InAny>): DhcpOption => {
  const data = new Uint8Array(4 * addrs.length)
  const view = new DataView(data.buffer)
  for (const [i, a] of addrs.entries()) writeV4(view, 4 * i, a)
  return { code, data }
}
export const u16Option = (code: number, n: number): DhcpOption => octetsOption(code, [n >>> 8, n & 0xff])
export const u32Option = (code: number, n: number): DhcpOption =>
  octetsOption(code, [n >>> 24, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff])
