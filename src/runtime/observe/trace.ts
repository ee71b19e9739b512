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
import {
  ACK,
  CWR,
  decodeTcpAt,
  ECE,
  FIN,
  PSH,
  RST,
  SYN,
  TCP_LEN,
  type TcpSegment,
  URG
} from '../../codecs/wire/tcp.js'
import { VNET_LEN } from '../../codecs/wire/vnet.js'
import { EF, EV } from '../abi/abi.js'
import { effectKind, peekAsked, tapWritten } from '../abi/effects.js'
import { flowOf, handleOf, kindOf, peekedOctets } from '../abi/events.js'
import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import type { Flow } from '../flow/flow.js'

// One line for each packet from and to the guest, by the codecs, in tcpdump's manner: of all with --trace, of some by the API (live-trace.ts).

/** Of which packets, and to whom it is told. What says yes is told, and may be counted. */
export interface Sight {
  /** null: what is no IP packet, or none that could be decoded. */
  readonly frame: (f: IpFrame | Fragment | null) => boolean
  /** What goes to the guest of a flow, many segments at once. */
  readonly flow: (f: Flow) => boolean
  readonly say: (text: string) => void
}
export type IpFrame = Exclude<Frame, { kind: 'arp' }>
const everything = (w: World): Sight => ({
  frame: () => true,
  flow: () => true,
  say: (text) => w.log.at('trace', text)
})
const ipOf = (f: Frame | DropReason): IpFrame | null => (typeof f === 'string' || f.kind === 'arp' ? null : f)

const FLAGS: ReadonlyArray<readonly [number, string]> = [
  [SYN, 'S'],
  [FIN, 'F'],
  [RST, 'R'],
  [PSH, 'P'],
  [URG, 'U'],
  [ACK, '.'],
  [ECE, 'E'],
  [CWR, 'W']
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

/** '[S.]' */
export const showFlags = (flags: number): string =>
  `[${FLAGS.filter(([bit]) => (flags & bit) !== 0)
    .map(([, name]) => name)
    .join('')}]`

const showTcp = (s: TcpSegment): string => {
  const options = [
    ...(s.mss === null ? [] : [` mss ${s.mss}`]),
    ...(s.windowScale === null ? [] : [` wscale ${s.windowScale}`])
  ].join('')
  return `${showFlags(s.flags)} seq ${unsigned(s.seq)} ack ${unsigned(s.ack)} win ${s.wnd}${options} len ${s.payload.len}`
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
const traceFromGuest = (s: Sight, o: Octets, f: Frame | DropReason): void => {
  if (!s.frame(ipOf(f))) return
  s.say(
    typeof f === 'string'
      ? `from guest: ${o.len} octets dropped: ${f}`
      : `from guest: ${showFrame(o.view, f)}`
  )
}

/** A fragment of a datagram of the guest. */
const traceFragment = (s: Sight, f: Fragment): void => {
  if (!s.frame(f)) return
  s.say(
    `from guest: fragment ${showAddr(f.src)} > ${showAddr(f.dst)} id ${f.id} octets ${f.start}-${f.end}${f.more ? '+' : ''}`
  )
}

/** Frames that we made stand in the ring with their checksums still to be completed. */
const TRUSTED = { needsCsum: true, sum16: 0, gsoSize: 0 }

const traceWrite = (w: World, s: Sight, record: number): void => {
  const { view } = w.rings
  const { off, len } = tapWritten(w.rings, record)
  const o = { view, off: off + VNET_LEN, len: len - VNET_LEN }
  const f = decodeFrame(o, TRUSTED)
  if (!s.frame(ipOf(f))) return
  s.say(`to guest: ${typeof f === 'string' ? `${o.len} octets (${f})` : showFrame(view, f)}`)
}

/** What native makes of a socket's data: the header is ours, how much there was is told by EV.PEEKED. */
type Peeks = Map<number, string>
const rememberPeek = (w: World, s: Sight, record: number, peeks: Peeks): void => {
  const { handle, off, v6 } = peekAsked(w.rings, record)
  const flow = w.flows[handle]
  if (flow === undefined || !s.flow(flow)) return
  const l4 = off + VNET_LEN + ETH_LEN + (v6 ? IPV6_LEN : IPV4_LEN)
  const h = decodeTcpAt(w.rings.view, l4, TCP_LEN)
  if (typeof h !== 'string')
    peeks.set(handle, `[.] seq ${unsigned(h.seq)} ack ${unsigned(h.ack)} win ${h.wnd}`)
}
const tracePeeked = (w: World, s: Sight, record: number, peeks: Peeks): void => {
  const { ev } = w.rings
  const f = w.flows[flowOf(ev, record)]
  const header = peeks.get(handleOf(ev, record))
  const octets = peekedOctets(ev, record)
  peeks.delete(handleOf(ev, record))
  if (f?.kind !== 'tcp' || header === undefined || octets === 0) return
  const ends = `${end(f.ourAddr, f.ourPort)} > ${end(f.guestAddr, f.guestPort)}`
  s.say(`to guest: TCP ${ends} ${header} len ${octets}, in segments`)
}

/** The guest's frames as they come; ours as effects before a turn, and events behind it. */
export const traceTurns = (w: World, sight: Sight = everything(w)): Feature => {
  const peeks: Peeks = new Map()
  return {
    name: 'trace',
    frameCame: (frame, what) =>
      typeof what !== 'string' && 'headLen' in what
        ? traceFragment(sight, what)
        : traceFromGuest(sight, frame, what),
    effects: (): void => {
      for (let i = 0; i < w.rings.effects; i++) {
        const kind = effectKind(w.rings, i)
        if (kind === EF.TAP_WRITE) traceWrite(w, sight, i)
        else if (kind === EF.PEEK) rememberPeek(w, sight, i, peeks)
      }
    },
    events: (n: number): void => {
      for (let i = 0; i < n; i++) if (kindOf(w.rings.ev, i) === EV.PEEKED) tracePeeked(w, sight, i, peeks)
    }
  }
}
