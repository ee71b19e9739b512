import type { InAny } from '../src/codecs/value/inany.js'
import { seq } from '../src/codecs/value/seq.js'
import { PROTO_TCP, PROTO_UDP, sealPartial } from '../src/codecs/wire/checksum.js'
import { ETH_LEN, ETHERTYPE_IPV4, writeEthernet } from '../src/codecs/wire/ethernet.js'
import { decodeFrame } from '../src/codecs/wire/frame.js'
import { IPV4_LEN, ipv4Header, writeIpv4 } from '../src/codecs/wire/ipv4.js'
import { ACK, decodeTcpAt, TCP_LEN, type TcpSegment, tcpLength, writeTcp } from '../src/codecs/wire/tcp.js'
import { UdpDatagram } from '../src/codecs/wire/udp.js'
import { VNET_LEN, VNET_NEEDS_CSUM } from '../src/codecs/wire/vnet.js'
import type { Effect } from '../src/effects/effect.js'
import type { SockEvent, SockInfo } from '../src/effects/sock-event.js'
import {
  ABI_WORDS,
  EF,
  EV,
  PEEK_DRAINED,
  PEEK_EOF,
  PEEK_TAP_FULL,
  READY_IN,
  READY_INFO,
  READY_OUT,
  READY_RDHUP,
  SEND_REPORT_ACK
} from '../src/runtime/abi/abi.js'
import { GUEST_SERVER, GUEST4, LISTENER } from '../src/runtime/engine/warm-up.js'
import { earliest } from '../src/runtime/flow/deadline.js'
import type { Flow } from '../src/runtime/flow/flow.js'
import { Clock, script } from '../src/simulator/clock.js'
import { Guest } from '../src/simulator/guest.js'
import { Host, type HostScript } from '../src/simulator/host.js'
import type { GuestScript, ToGuest } from '../src/simulator/script.js'
import type { Fate, Scenario } from '../src/simulator/tcp.js'
import { at, type Came, type Recorded } from './recorded.js'
import { addr } from './services-arbitraries.js'

// The simulated guests and hosts on both rings of a world that is recorded: all that lies between native and the machines runs as it
// does in a session, and nothing depends on when or where. So a record that is made here is the same one each time.

/** One TCP connection over IPv4. */
export interface Connection {
  readonly opener: 'guest' | 'host'
  /** It begins then, ms. */
  readonly at: number
  readonly guestPort: number
  readonly peer: InAny
  readonly peerPort: number
  readonly guest: GuestScript
  readonly host: HostScript
  /** What the link does to its frames, one after the other, both ways; then all pass. */
  readonly fates: readonly Fate[]
}
/** Of a scenario: by the rule where the host opens it. */
export const connectionOf = (s: Scenario): Connection => ({
  ...s,
  ...(s.opener === 'host'
    ? { guestPort: GUEST_SERVER, peerPort: 50_000 }
    : { guestPort: 40_000, peerPort: 80 }),
  at: 0,
  peer: addr('203.0.113.80')
})
/** Anything else that comes, ms after the start. */
export interface Happens {
  readonly at: number
  readonly came: Came
}

const GUEST_MAC = 0x020000000002
const OUR_MAC = 0x9a559a559a55
/** ms: a turn's length, a frame's way. */
const TURN = 0.02
const LINK = 0.03

/** A guest's segment as its kernel hands it to a tap with checksum offload; its data are zeros. */
export const segmentFrame = (s: TcpSegment, peer: InAny): Came => {
  const len = tcpLength(s) + s.payload.len
  const octets = new Uint8Array(ETH_LEN + IPV4_LEN + len)
  const view = new DataView(octets.buffer)
  writeEthernet(view, 0, { dst: OUR_MAC, src: GUEST_MAC, type: ETHERTYPE_IPV4 })
  writeIpv4(view, ETH_LEN, ipv4Header(GUEST4, peer, PROTO_TCP, 64), len)
  writeTcp(view, ETH_LEN + IPV4_LEN, s)
  sealPartial(view, ETH_LEN + IPV4_LEN, len, PROTO_TCP, GUEST4, peer)
  return { words: [EV.TAP_FRAME, 0, 0, 0, VNET_NEEDS_CSUM], octets }
}
/** A message of the guest's in an IPv4 packet, as its kernel hands it to the tap: with checksum offload, if it is UDP. */
export const packet = (proto: number, to: InAny, message: Uint8Array): Came => {
  const octets = new Uint8Array(ETH_LEN + IPV4_LEN + message.length)
  const view = new DataView(octets.buffer)
  writeEthernet(view, 0, { dst: OUR_MAC, src: GUEST_MAC, type: ETHERTYPE_IPV4 })
  writeIpv4(view, ETH_LEN, ipv4Header(GUEST4, to, proto, 64), message.length)
  octets.set(message, ETH_LEN + IPV4_LEN)
  if (proto === PROTO_UDP) sealPartial(view, ETH_LEN + IPV4_LEN, message.length, proto, GUEST4, to)
  return { words: [EV.TAP_FRAME, 0, 0, 0, VNET_NEEDS_CSUM], octets }
}
/** One of so many zeros. */
export const datagram = (srcPort: number, to: InAny, dstPort: number, octets: number): Came =>
  packet(PROTO_UDP, to, UdpDatagram.encode({ srcPort, dstPort, payload: new Uint8Array(octets) }))
const infoWords = (i: SockInfo): number[] => [
  i.sndWnd,
  7,
  1448,
  i.rtt,
  i.minRtt,
  i.bytesAcked,
  i.sndFree,
  i.sndBuf
]
const flagsOf = (...list: ReadonlyArray<readonly [boolean, number]>): number =>
  list.reduce((sum, [on, bit]) => sum | (on ? bit : 0), 0)
const NO_INFO = [0, 0, 0, 0, 0, 0, 0, 0]
/** The words of native/addon/abi.h. */
const wordsOf = (e: SockEvent, h: number): ReadonlyArray<number> => {
  switch (e.type) {
    case 'SOCK_CONNECTED':
      return [EV.CONNECTED, h, 0, 0, ...infoWords(e.info)]
    case 'SOCK_SENT':
      return [EV.SENT, h, e.taken, 0, ...infoWords(e.info), e.dropped, e.errno]
    case 'SOCK_PEEKED': {
      const flags = flagsOf([e.eof, PEEK_EOF], [e.drained, PEEK_DRAINED], [e.tapFull, PEEK_TAP_FULL])
      return [EV.PEEKED, h, e.octets, flags, ...NO_INFO, 0, e.errno]
    }
    case 'SOCK_READY': {
      const { info } = e
      const is = flagsOf([e.readable, READY_IN], [e.writable, READY_OUT], [e.rdhup, READY_RDHUP])
      return [
        EV.READY,
        h,
        is | (info === null ? 0 : READY_INFO),
        0,
        ...(info === null ? [] : infoWords(info))
      ]
    }
    case 'SOCK_ACKED':
      return [EV.ACKED, h, e.octet]
    case 'SOCK_INFO':
      return [EV.INFO, h, 0, 0, ...infoWords(e.info)]
    case 'SOCK_FAILED':
      return [EV.FAILED, h, 0, 0, ...NO_INFO, 0, e.errno]
    default:
      throw new Error(`${e.type} is not of a TCP socket`)
  }
}

/** The two ends of a connection. */
export interface Ends {
  readonly guest: Guest
  readonly host: Host
}
class Line implements Ends {
  flow: Flow | null = null
  /** Of its flow, and in the turn before; -1: there is none yet, or none any more. */
  handle = -1
  before = -1
  readonly guest: Guest
  readonly host: Host
  private readonly fate: () => Fate
  constructor(
    private readonly clock: Clock,
    readonly c: Connection,
    came: (line: Line, what: TcpSegment | SockEvent) => void
  ) {
    this.fate = script(c.fates, 'pass' as Fate)
    this.guest = new Guest(clock, c.guest, (s) => {
      const seg = { ...s, srcPort: c.guestPort, dstPort: c.peerPort }
      this.carry(() => came(this, seg))
    })
    this.host = new Host(
      clock,
      c.host,
      (e) => came(this, e),
      (f) =>
        this.toGuest({ ...f, seq: seq(f.seq), ack: seq(f.ack), flags: ACK, mss: null, windowScale: null }),
      () => this.guest.delivered
    )
  }
  toGuest(s: ToGuest): void {
    this.carry(() => this.guest.receive(s))
  }
  private carry(arrive: () => void): void {
    const fate = this.fate()
    if (fate === 'lose') return
    if (fate === 'double') this.clock.after(LINK * 2, arrive)
    this.clock.after(typeof fate === 'object' ? fate.delay : LINK, arrive)
  }
}

/** Where a payload in the slab is in its stream. */
interface Placed {
  readonly line: Line
  readonly off: number
  readonly len: number
  readonly pos: number
}

/** `line` null: whatever it is, it comes as it is. */
interface Arrival {
  readonly line: Line | null
  readonly what: Came | TcpSegment | SockEvent
}
/** Records of one turn. */
const AT_ONCE = 256

class Stage {
  private readonly clock = new Clock()
  private readonly lines: readonly Line[]
  private waiting: Arrival[] = []
  private turnDue = false
  private placed: Placed[] = []
  private wake = 0

  constructor(
    private readonly r: Recorded,
    connections: readonly Connection[],
    happens: readonly Happens[]
  ) {
    const { clock } = this
    this.lines = connections.map((c) => new Line(clock, c, (line, what) => this.came(line, what)))
    connections.forEach((c, i) => {
      clock.after(c.at, () => {
        const line = this.lines[i]
        line.guest.start(c.opener === 'guest')
        if (c.opener === 'host') this.came(null, { words: acceptedWords(c, i), octets: null })
      })
    })
    for (const h of happens) clock.after(h.at, () => this.came(null, h.came))
  }
  run(ms: number): ReadonlyArray<Ends> {
    let over = false
    this.clock.after(ms, () => {
      over = true
    })
    while (!over && this.clock.step());
    return this.lines
  }

  private came(line: Line | null, what: Came | TcpSegment | SockEvent): void {
    this.waiting.push({ line, what })
    this.turnIn(TURN)
  }
  private turnIn(ms: number): void {
    if (this.turnDue) return
    this.turnDue = true
    this.clock.after(ms, () => this.turn())
  }
  private turn(): void {
    this.turnDue = false
    const { w } = this.r
    const waiting = this.waiting.splice(0, AT_ONCE)
    // Results and readiness first, as native has them; no socket has anything to tell before its flow is there
    const isSegment = ({ line, what }: Arrival): boolean => line !== null && !('type' in what)
    const ready = waiting.filter((a) => !isSegment(a) && (a.line === null || a.line.handle >= 0))
    const segments = waiting.filter(isSegment)
    const now = at(this.clock.now)
    const places = this.r.come(
      [...ready, ...segments].map(({ line, what }) =>
        line === null
          ? (what as Came)
          : 'type' in what
            ? { words: wordsOf(what as SockEvent, line.handle), octets: null }
            : segmentFrame(what as TcpSegment, line.c.peer)
      ),
      now
    )
    this.placed = segments.map(({ line, what }, i) => {
      const { payload, ...h } = what as TcpSegment
      const off = places[ready.length + i]! + ETH_LEN + IPV4_LEN + tcpLength(h)
      return { line: line!, off, len: payload.len, pos: payload.off }
    })
    this.name()
    this.carryOut()
    for (const line of this.lines) line.host.results()
    if (this.waiting.length > 0) this.turnIn(TURN)
    const flows = w.wheel.next(now)
    const features = earliest(w.features.timed) - now
    const due = Math.min(flows < 0 ? Number.POSITIVE_INFINITY : flows, features)
    const id = ++this.wake
    if (Number.isFinite(due) && !this.turnDue)
      this.clock.after(Math.max(due, TURN), () => {
        if (id === this.wake && !this.turnDue) this.turn()
      })
  }
  /** Which flow is whose. A line has one: if a SYN comes late and begins another, nobody answers for its socket. */
  private name(): void {
    const { flows } = this.r.w
    for (const line of this.lines) {
      line.flow ??=
        flows.find(
          (f) => f?.kind === 'tcp' && f.guestPort === line.c.guestPort && f.ourPort === line.c.peerPort
        ) ?? null
      line.before = line.handle
      line.handle = line.flow === null ? -1 : flows.indexOf(line.flow)
    }
  }
  private carryOut(): void {
    const { rings } = this.r.w
    for (let i = 0; i < rings.effects; i++) {
      const words = rings.fx.subarray(i * ABI_WORDS, (i + 1) * ABI_WORDS)
      if (words[0] === EF.TAP_WRITE) this.write(words[2], words[3])
      else this.ofSocket(words)
    }
  }
  /** A frame to the guest, without data. */
  private write(off: number, len: number): void {
    const { view } = this.r.w.rings
    const f = decodeFrame(
      { view, off: off + VNET_LEN, len: len - VNET_LEN },
      { needsCsum: true, sum16: 0, gsoSize: 0 }
    )
    if (typeof f === 'string' || f.kind !== 'tcp') return
    const { l4 } = f
    const line = this.lines.find(({ c }) => c.guestPort === l4.dstPort && c.peerPort === l4.srcPort)
    line?.toGuest({ ...l4, pos: 0, len: 0 })
  }
  private ofSocket(words: Int32Array): void {
    const line = this.lines.find((l) => l.handle === words[1] || (l.handle < 0 && l.before === words[1]))
    if (line === undefined) return
    for (const e of this.effectsOf(words)) line.host.carryOut(e)
  }
  private effectsOf(words: Int32Array): readonly Effect[] {
    const [kind, , w2, w3, w4, w5] = words
    switch (kind) {
      case EF.TCP_CONNECT:
        return [{ type: 'TcpConnect', mss: words[8] }]
      case EF.ADOPT:
        return [{ type: 'SockAdopt' }]
      case EF.SEND: {
        const p = this.placed.find((x) => w2 >= x.off && w2 < x.off + x.len)
        if (p === undefined) throw new Error('sends what no segment had')
        const payload = { off: p.pos + w2 - p.off, len: w3 }
        return [{ type: 'SendToSock', payload, reportAck: (w4 & SEND_REPORT_ACK) !== 0 }]
      }
      case EF.PEEK: {
        const h = decodeTcpAt(this.r.w.rings.view, w2 + VNET_LEN + w3 - TCP_LEN, TCP_LEN)
        if (typeof h === 'string') throw new Error(h)
        return [{ type: 'PeekToTap', octets: w4, mss: w5, seq: h.seq, ack: h.ack, wnd: h.wnd }]
      }
      case EF.DISCARD:
        return [{ type: 'DiscardFromSock', octets: w2 }]
      case EF.REWIND:
        return [{ type: 'RewindPeek', octets: w2 }]
      case EF.SHUTDOWN_WR:
        return [{ type: 'ShutdownWr' }]
      case EF.AWAIT_WRITABLE:
        return [{ type: 'AwaitWritable' }]
      case EF.INFO:
        return [{ type: 'QueryInfo' }]
      case EF.CLOSE:
        return [{ type: 'CloseSock' }]
      case EF.RESET:
        return [{ type: 'ResetSock' }]
      default:
        return []
    }
  }
}
const acceptedWords = (c: Connection, slot: number): ReadonlyArray<number> => [
  ...[EV.ACCEPTED, LISTENER, slot, c.peerPort],
  ...c.peer.map((w) => w | 0),
  ...[0, 0, 0xffff, 0xc6336409 | 0]
]

/** All of them, on one world. Returns their ends, as they are when nothing happens any more, or `ms` have passed. */
export const play = (
  r: Recorded,
  connections: readonly Connection[],
  happens: readonly Happens[] = [],
  ms = 400_000
): ReadonlyArray<Ends> => new Stage(r, connections, happens).run(ms)
