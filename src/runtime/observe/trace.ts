import * as E from 'fp-ts/lib/Either.js'
import { type InAny, showAddr } from '../../codecs/value/inany.js'
import type { Octets } from '../../codecs/value/octets.js'
import { unsigned } from '../../codecs/value/seq.js'
import { ARP_REPLY, ARP_REQUEST, ArpPacket } from '../../codecs/wire/arp.js'
import { ETH_LEN, showMac } from '../../codecs/wire/ethernet.js'
import type { Fragment } from '../../codecs/wire/fragment.js'
import { type DropReason, decodeFrame, type Frame } from '../../codecs/wire/frame.js'
import type { IcmpAt } from '../../codecs/wire/icmp.js'
import { IPV4_LEN } from '../../codecs/wire/ipv4.js'
import { IPV6_LEN } from '../../codecs/wire/ipv6.js'
import { ACK, decodeTcpAt, FIN, PSH, RST, SYN, TCP_LEN, type TcpSegment, URG } from '../../codecs/wire/tcp.js'
import { VNET_LEN } from '../../codecs/wire/vnet.js'
import { ABI_WORDS, EF, EV, IS_V6, SIDE_1 } from '../abi/abi.js'
import type { World } from '../data/world.js'

// --trace: one line for each packet from and to the guest, by the codecs, in tcpdump's manner.

const FLAGS: ReadonlyArray<readonly [number, string]> = [
  [SYN, 'S'],
  [FIN, 'F'],
  [RST, 'R'],
  [PSH, 'P'],
  [URG, 'U'],
  [ACK, '.']
]
/** RFC 792; RFC 4443, RFC 4861, RFC 3810 */
const ICMP_TYPES: Readonly<Record<number, string>> = {
  0: 'echo reply',
  3: 'destination unreachable',
  5: 'redirect',
  8: 'echo request',
  11: 'time exceeded',
  12: 'parameter problem'
}
const ICMPV6_TYPES: Readonly<Record<number, string>> = {
  1: 'destination unreachable',
  2: 'packet too big',
  3: 'time exceeded',
  4: 'parameter problem',
  128: 'echo request',
  129: 'echo reply',
  131: 'multicast listener report',
  132: 'multicast listener done',
  133: 'router solicitation',
  134: 'router advertisement',
  135: 'neighbor solicitation',
  136: 'neighbor advertisement',
  143: 'multicast listener report v2'
}
const ECHOES: ReadonlySet<string> = new Set(['echo request', 'echo reply'])

const end = (a: InAny, port: number): string =>
  `${a[2] === 0xffff && a[0] === 0 && a[1] === 0 ? showAddr(a) : `[${showAddr(a)}]`}:${port}`

const showTcp = (s: TcpSegment): string => {
  const flags = FLAGS.filter(([bit]) => (s.flags & bit) !== 0).map(([, name]) => name)
  const options = [
    ...(s.mss === null ? [] : [` mss ${s.mss}`]),
    ...(s.windowScale === null ? [] : [` wscale ${s.windowScale}`])
  ].join('')
  return `[${flags.join('')}] seq ${unsigned(s.seq)} ack ${unsigned(s.ack)} win ${s.wnd}${options} len ${s.payload.len}`
}

const showIcmp = (h: IcmpAt, names: Readonly<Record<number, string>>): string => {
  const name = names[h.type] ?? `type ${h.type}`
  return ECHOES.has(name) ? `${name} id ${h.id} seq ${h.seq} len ${h.payload.len}` : `${name} code ${h.code}`
}

const showArp = (o: Octets): string => {
  const p = ArpPacket.decode(o)
  if (E.isLeft(p)) return 'ARP malformed'
  const { op, sha, spa, tpa } = p.right
  if (op === ARP_REQUEST) return `ARP who has ${showAddr(tpa)}? tell ${showAddr(spa)} (${showMac(sha)})`
  return op === ARP_REPLY ? `ARP ${showAddr(spa)} is at ${showMac(sha)}` : `ARP operation ${op}`
}

/** One line for a decoded frame in `view`. */
export const showFrame = (view: DataView, f: Frame): string => {
  if (f.kind === 'arp') return showArp({ view, off: f.off, len: f.len })
  const { src, dst } = f.ip
  switch (f.kind) {
    case 'tcp':
      return `TCP ${end(src, f.l4.srcPort)} > ${end(dst, f.l4.dstPort)} ${showTcp(f.l4)}`
    case 'udp':
      return `UDP ${end(src, f.l4.srcPort)} > ${end(dst, f.l4.dstPort)} len ${f.l4.payload.len}`
    case 'icmp':
      return `ICMP ${showAddr(src)} > ${showAddr(dst)} ${showIcmp(f.l4, ICMP_TYPES)}`
    case 'icmpv6':
      return `ICMPv6 ${showAddr(src)} > ${showAddr(dst)} ${showIcmp(f.l4, ICMPV6_TYPES)}`
    case 'other':
      return `IP ${showAddr(src)} > ${showAddr(dst)} protocol ${f.ip.proto} len ${f.ip.len}`
  }
}

/** A frame of the guest, decoded or not. */
export const traceFromGuest = (w: World, o: Octets, f: Frame | DropReason): void =>
  w.log.at(
    'trace',
    typeof f === 'string'
      ? `from guest: ${o.len} octets dropped: ${f}`
      : `from guest: ${showFrame(o.view, f)}`
  )

/** A fragment of a datagram of the guest. */
export const traceFragment = (w: World, f: Fragment): void =>
  w.log.at(
    'trace',
    `from guest: fragment ${showAddr(f.src)} > ${showAddr(f.dst)} id ${f.id} octets ${f.start}-${f.end}${f.more ? '+' : ''}`
  )

/** Frames that we made stand in the ring with their checksums still to be completed. */
const TRUSTED = { needsCsum: true, sum16: 0, gsoSize: 0 }

const traceWrite = (w: World, at: number): void => {
  const { fx, view } = w.rings
  const o = { view, off: fx[at + 2] + VNET_LEN, len: fx[at + 3] - VNET_LEN }
  const f = decodeFrame(o, TRUSTED)
  w.log.at('trace', `to guest: ${typeof f === 'string' ? `${o.len} octets (${f})` : showFrame(view, f)}`)
}

/** What native makes of a socket's data: the header is ours, how much there was is told by EV.PEEKED. */
type Peeks = Map<number, string>
const rememberPeek = (w: World, at: number, peeks: Peeks): void => {
  const { fx, view } = w.rings
  const l4 = fx[at + 2] + VNET_LEN + ETH_LEN + (fx[at + 6] & IS_V6 ? IPV6_LEN : IPV4_LEN)
  const h = decodeTcpAt(view, l4, TCP_LEN)
  if (typeof h !== 'string')
    peeks.set(fx[at + 1], `[.] seq ${unsigned(h.seq)} ack ${unsigned(h.ack)} win ${h.wnd}`)
}
const tracePeeked = (w: World, at: number, peeks: Peeks): void => {
  const ev = w.rings.ev
  const f = w.flows[ev[at + 1] % SIDE_1]
  const header = peeks.get(ev[at + 1])
  peeks.delete(ev[at + 1])
  if (f?.kind !== 'tcp' || header === undefined || ev[at + 2] === 0) return
  const ends = `${end(f.ourAddr, f.ourPort)} > ${end(f.guestAddr, f.guestPort)}`
  w.log.at('trace', `to guest: TCP ${ends} ${header} len ${ev[at + 2]}, in segments`)
}

/** What --trace looks at beside the guest's own frames: effects before a turn, events behind it. */
export const traceTurns = (w: World) => {
  const peeks: Peeks = new Map()
  return {
    effects: (): void => {
      for (let at = 0; at < w.rings.effects * ABI_WORDS; at += ABI_WORDS) {
        if (w.rings.fx[at] === EF.TAP_WRITE) traceWrite(w, at)
        else if (w.rings.fx[at] === EF.PEEK) rememberPeek(w, at, peeks)
      }
    },
    events: (n: number): void => {
      for (let i = 0; i < n; i++)
        if (w.rings.ev[i * ABI_WORDS] === EV.PEEKED) tracePeeked(w, i * ABI_WORDS, peeks)
    }
  }
}
