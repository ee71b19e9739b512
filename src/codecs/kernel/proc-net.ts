import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import { textCodec } from '../value/codec.js'
import type { InAny } from '../value/inany.js'
import { addPort, emptyPorts, type PortSet } from '../value/port-set.js'

/** Which of the four files; the two of a protocol share a format but for the length of addresses. */
export type ProcNetKind = 'tcp' | 'tcp6' | 'udp' | 'udp6'

/** A socket as /proc/net shows it. */
export interface ProcSocket {
  /** Local address; IPv4 in tcp6 is v4-mapped. */
  readonly addr: InAny
  readonly port: number
  readonly peer: InAny
  readonly peerPort: number
  /** Of enum tcp_states, 0..0xff; UDP uses ESTABLISHED for connected sockets and CLOSE for others. */
  readonly state: number
  readonly uid: number
  /** 0: nobody has it open any more. */
  readonly inode: number
}

/** Waiting for connections, or for datagrams from anybody. Source: include/net/tcp_states.h */
const TCP_LISTEN = 0x0a
const UDP_UNCONNECTED = 0x07

const is6 = (kind: ProcNetKind): boolean => kind.endsWith('6')
const isTcp = (kind: ProcNetKind): boolean => kind.startsWith('tcp')
export const listeningState = (kind: ProcNetKind): number => (isTcp(kind) ? TCP_LISTEN : UDP_UNCONNECTED)
export const isListening = (kind: ProcNetKind, s: ProcSocket): boolean =>
  s.state === listeningState(kind) && s.port !== 0

/** Addresses are printed as the words that the machine sees in them, so in its own order. */
const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1
const swap = (w: number): number =>
  ((w << 24) | ((w & 0xff00) << 8) | ((w >>> 8) & 0xff00) | (w >>> 24)) >>> 0
const hostOrder = (w: number): number => (LITTLE_ENDIAN ? swap(w) : w)

// --- reading

const addressOf = (hex: string): InAny => {
  const word = (i: number): number => hostOrder(Number.parseInt(hex.slice(8 * i, 8 * i + 8), 16))
  return hex.length === 8 ? [0, 0, 0xffff, word(0)] : [word(0), word(1), word(2), word(3)]
}

const LINE = (digits: number): RegExp =>
  new RegExp(
    `^ *[0-9]+: ([0-9A-F]{${digits}}):([0-9A-F]{4}) ([0-9A-F]{${digits}}):([0-9A-F]{4}) ([0-9A-F]{2})` +
      ' [0-9A-F]+:[0-9A-F]+ [0-9A-F]+:[0-9A-F]+ [0-9A-F]+ +([0-9]{1,10}) +[0-9]+ +([0-9]{1,15})(?: |$)'
  )
const LINE4 = LINE(8)
const LINE6 = LINE(32)

const socketOf = (kind: ProcNetKind, line: string): ProcSocket | null => {
  const m = (is6(kind) ? LINE6 : LINE4).exec(line)
  if (m === null) return null
  const [, addr = '', port = '', peer = '', peerPort = '', state = '', uid = '', inode = ''] = m
  return {
    addr: addressOf(addr),
    port: Number.parseInt(port, 16),
    peer: addressOf(peer),
    peerPort: Number.parseInt(peerPort, 16),
    state: Number.parseInt(state, 16),
    uid: Number(uid),
    inode: Number(inode)
  }
}

// --- printing

const hex = (n: number, digits: number): string => n.toString(16).toUpperCase().padStart(digits, '0')
const showWords = (kind: ProcNetKind, a: InAny): string =>
  (is6(kind) ? a : [a[3]]).map((w) => hex(hostOrder(w), 8)).join('')
const HEADER: Readonly<Record<'tcp' | 'udp', string>> = {
  tcp: ' st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
  udp: ' st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops'
}
/** Columns to which the kernel fills lines with blanks; the files for IPv6 it does not. */
const WIDTH = { tcp: 149, udp: 127, tcp6: 0, udp6: 0 } as const

const showSocket = (kind: ProcNetKind, s: ProcSocket, index: number): string => {
  const ends = `${showWords(kind, s.addr)}:${hex(s.port, 4)} ${showWords(kind, s.peer)}:${hex(s.peerPort, 4)}`
  const numbers = `${String(s.uid).padStart(5)} ${'0'.padStart(8)} ${s.inode}`
  const rest = isTcp(kind) ? '1 0000000000000000 100 0 0 10 0' : '2 0000000000000000 0'
  const line = `${String(index).padStart(4)}: ${ends} ${hex(s.state, 2)} 00000000:00000000 00:00000000 00000000 ${numbers} ${rest}`
  return line.padEnd(WIDTH[kind])
}

/**
 * Text of /proc/net/KIND ⇄ its sockets, of any state. Lines that are not a socket's (the header, half a line at the end of
 * a short read) are left out; never a failure.
 * Law: decode(encode(s)) = right(s).   Source: proc(5), net/ipv4/tcp_ipv4.c and udp.c (seq_show), IPv6 likewise
 */
export const procNet = (kind: ProcNetKind): t.Type<ReadonlyArray<ProcSocket>, string, unknown> =>
  textCodec<ReadonlyArray<ProcSocket>>(
    `/proc/net/${kind}`,
    (text) => E.right(text.split('\n').flatMap((line) => socketOf(kind, line) ?? [])),
    (sockets) => {
      const family = isTcp(kind) ? 'tcp' : 'udp'
      const gap = is6(kind) ? ' '.repeat(25) : ' '
      const header = `  sl  local_address ${gap}${is6(kind) ? 'remote_address' : 'rem_address'}${is6(kind) ? ' '.repeat(24) : '  '}${HEADER[family]}`
      return `${[header.padEnd(WIDTH[kind]), ...sockets.map((s, i) => showSocket(kind, s, i))].join('\n')}\n`
    }
  )

// --- ports only, from octets

const NL = 10
const SPACE = 32
const COLON = 58
/** Value of an upper-case hexadecimal digit, -1 for anything else. */
const nibble = (c: number): number => (c >= 48 && c <= 57 ? c - 48 : c >= 65 && c <= 70 ? c - 55 : -1)

/** `digits` hexadecimal digits at `at`, -1 if there is anything else among them. */
const hexAt = (b: Uint8Array, at: number, digits: number): number => {
  let n = 0
  for (let i = 0; i < digits; i++) {
    const v = nibble(b[at + i] ?? 0)
    if (v < 0) return -1
    n = n * 16 + v
  }
  return n
}

/** The port of the line [at, end) if somebody listens on it, 0 if it is another socket's, -1 if it is none. */
const portOfLine = (b: Uint8Array, at: number, end: number, digits: number, state: number): number => {
  let i = at
  while (b[i] === SPACE) i++
  while (i < end && b[i] !== COLON) i++
  // `: ADDRESS:PORT ADDRESS:PORT ST `
  const port = i + 2 + digits + 1
  const st = port + 5 + digits + 6
  if (
    st + 2 >= end ||
    b[port - 1] !== COLON ||
    b[port + 4] !== SPACE ||
    b[st - 1] !== SPACE ||
    b[st + 2] !== SPACE
  )
    return -1
  const found = hexAt(b, st, 2)
  if (found < 0) return -1
  if (found !== state) return 0
  const p = hexAt(b, port, 4)
  return p > 0 ? p : -1
}

/**
 * Ports in /proc/net/KIND that somebody listens on, whatever the address; added to `into`, for the two files of a
 * protocol. Looks at a few octets a line, for tables of many thousands of connections. The same ports as those of
 * procNet(kind).decode() that are `isListening`, but for lines broken off or otherwise malformed behind the state.
 */
export const listeningPorts = (b: Uint8Array, kind: ProcNetKind, into: PortSet = emptyPorts()): PortSet => {
  const digits = is6(kind) ? 32 : 8
  const state = listeningState(kind)
  let end = -1
  for (let at = 0; at < b.length; at = end + 1) {
    end = b.indexOf(NL, at)
    if (end < 0) end = b.length
    const p = portOfLine(b, at, end, digits, state)
    if (p > 0) addPort(into, p)
  }
  return into
}

/**
 * The same of a file that is read piece by piece. `b`: what the last call gave back, and the next piece; `last`: there is no
 * more. Gives the line that has only begun, or null where nothing more is to be read: at the end, and for TCP behind the
 * listening sockets, which come first (Documentation/networking/proc_net_tcp.rst).
 */
export const listeningPortsSoFar = (
  b: Uint8Array,
  kind: ProcNetKind,
  into: PortSet,
  last: boolean
): Uint8Array | null => {
  const digits = is6(kind) ? 32 : 8
  const state = listeningState(kind)
  let at = 0
  for (let end = b.indexOf(NL); end >= 0; at = end + 1, end = b.indexOf(NL, at)) {
    const p = portOfLine(b, at, end, digits, state)
    if (p > 0) addPort(into, p)
    if (p === 0 && isTcp(kind)) return null
  }
  if (!last) return b.slice(at)
  listeningPorts(b.subarray(at), kind, into)
  return null
}
