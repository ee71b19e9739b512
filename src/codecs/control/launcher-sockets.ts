import { type InAny, readV6, writeV6 } from '../value/inany.js'
import { octetsOfText } from '../value/octet-text.js'
import type { Octets } from '../value/octets.js'
import { textAt, wordAt } from './launcher-fields.js'

// Parts of the launcher's messages that concern sockets made inside the namespace (native/launcher/protocol.h).

/** Most sockets of one request; also the most descriptors of any message. */
export const SOCKETS_MAX = 64
/** Most listeners of one request; each may need two sockets. */
export const LISTEN_MAX = 32

/** Family and protocol of a socket. */
export interface SocketKind {
  readonly v6: boolean
  readonly proto: 'tcp' | 'udp'
}
/** One listener to be made inside the namespace. */
export interface ListenOrder {
  readonly proto: 'tcp' | 'udp'
  /** Of an IPv6 address: do not hear IPv4. `::` without it is 0.0.0.0 where there is no IPv6. */
  readonly v6only: boolean
  /** 1..65535; low ones as well. */
  readonly port: number
  readonly addr: InAny
  /** For SO_BINDTODEVICE, '' = any. */
  readonly device: string
}
/** Outcome of one ListenOrder: 0 or an errno, and how many of the descriptors are its own (2 only if split). */
export interface ListenOutcome {
  readonly errno: number
  readonly sockets: number
}

/** Files of /proc/net that list sockets (proc_pid_net(5)), in the order of the wire's bits. */
export const PROCNET_FILES = ['tcp', 'tcp6', 'udp', 'udp6'] as const
export type ProcNetFile = (typeof PROCNET_FILES)[number]

const LISTEN_V6ONLY = 1
/** Offsets in a listener, octets. */
const ADDR = 12
const DEVICE = 28
/** Linux's numbers: socket(2), and those of IANA for protocols. */
const FAMILY = { v4: 2, v6: 10 } as const
const SOCK_TYPE = { tcp: 1, udp: 2 } as const
const PROTO = { tcp: 6, udp: 17 } as const

/** As in socket(2): family, type. */
export const socketWords = (k: SocketKind): [number, number] => [
  k.v6 ? FAMILY.v6 : FAMILY.v4,
  SOCK_TYPE[k.proto]
]
/** `null`: neither IPv4 nor IPv6, TCP nor UDP. */
export const socketKind = (family: number, type: number): SocketKind | null =>
  (family === FAMILY.v4 || family === FAMILY.v6) && (type === SOCK_TYPE.tcp || type === SOCK_TYPE.udp)
    ? { v6: family === FAMILY.v6, proto: type === SOCK_TYPE.tcp ? 'tcp' : 'udp' }
    : null

/** u32 count; for each u32 protocol, u32 flags, u32 port, 16 octets address in network order, str device. */
export const encodeListeners = (listeners: ReadonlyArray<ListenOrder>): Uint8Array => {
  // In place: with all ports forwarded there are some ten thousand
  const devices = listeners.map((l) => octetsOfText(l.device))
  const b = new Uint8Array(devices.reduce((n, d) => n + DEVICE + 4 + d.length, 4))
  const v = new DataView(b.buffer)
  v.setUint32(0, listeners.length, true)
  let at = 4
  for (const [i, l] of listeners.entries()) {
    v.setUint32(at, PROTO[l.proto], true)
    v.setUint32(at + 4, l.v6only ? LISTEN_V6ONLY : 0, true)
    v.setUint32(at + 8, l.port, true)
    writeV6(v, at + ADDR, l.addr)
    v.setUint32(at + DEVICE, devices[i].length, true)
    b.set(devices[i], at + DEVICE + 4)
    at += DEVICE + 4 + devices[i].length
  }
  return b
}
/** u32 count (1..LISTEN_MAX), that many listeners, nothing more; else `null`. */
export const decodeListeners = (o: Octets): ReadonlyArray<ListenOrder> | null => {
  const count = wordAt(o, 0)
  if (count === null || count < 1 || count > LISTEN_MAX) return null
  const listeners: ListenOrder[] = []
  let at = 4
  for (let i = 0; i < count; i++) {
    const device = textAt(o, at + DEVICE)
    if (device === null) return null
    const [proto, flags, port] = [0, 4, 8].map((off) => o.view.getUint32(o.off + at + off, true))
    if ((proto !== PROTO.tcp && proto !== PROTO.udp) || port < 1 || port > 0xffff) return null
    listeners.push({
      proto: proto === PROTO.tcp ? 'tcp' : 'udp',
      v6only: (flags & LISTEN_V6ONLY) !== 0,
      port,
      addr: readV6(o.view, o.off + at + ADDR),
      device: device.text
    })
    at = device.end
  }
  return at === o.len ? listeners : null
}
/** u32 errno, u32 sockets for each listener; `null`: not a whole number of them, or too many. */
export const decodeOutcomes = (o: Octets): ReadonlyArray<ListenOutcome> | null => {
  if (o.len === 0 || o.len % 8 !== 0 || o.len > 8 * LISTEN_MAX) return null
  return Array.from({ length: o.len / 8 }, (_, i) => ({
    errno: o.view.getUint32(o.off + i * 8, true),
    sockets: o.view.getUint32(o.off + i * 8 + 4, true)
  }))
}
