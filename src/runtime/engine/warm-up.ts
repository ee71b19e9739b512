import { fromV4, type InAny, LOOPBACK4, LOOPBACK6 } from '../../codecs/value/inany.js'
import { add, type SeqNum, seq } from '../../codecs/value/seq.js'
import { ARP_LEN, ARP_REQUEST, ArpPacket } from '../../codecs/wire/arp.js'
import { PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, sealL4, sealPartial, sum16 } from '../../codecs/wire/checksum.js'
import {
  BROADCAST_MAC,
  ETH_LEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  writeEthernet
} from '../../codecs/wire/ethernet.js'
import { IPV4_LEN, ipv4Header, writeIpv4 } from '../../codecs/wire/ipv4.js'
import { IPV6_LEN, ipv6Header, writeIpv6 } from '../../codecs/wire/ipv6.js'
import { NdpMessage } from '../../codecs/wire/ndp.js'
import { ACK, FIN, PSH, SYN, type TcpHeader, tcpLength, writeTcp } from '../../codecs/wire/tcp.js'
import { UDP_LEN, writeUdp } from '../../codecs/wire/udp.js'
import { VNET_NEEDS_CSUM } from '../../codecs/wire/vnet.js'
import { type Instant, instant } from '../../effects/effect.js'
import { UNMAPPED } from '../../machines/address/nat.js'
import type { Rule } from '../../machines/forward/forward-rules.js'
import {
  ABI_WORDS,
  EV,
  type Native,
  PEEK_DRAINED,
  PEEK_EOF,
  READY_IN,
  READY_OUT,
  READY_RDHUP
} from '../abi/abi.js'
import { dropEffects, ringsOver } from '../abi/rings.js'
import { type Feature, install } from '../data/feature.js'
import { NO_QUANTUM } from '../data/rates.js'
import { createWorld, type World, type WorldConfig } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import type { Limits } from '../flow/quotas.js'
import { logTo } from '../log/log.js'
import { basicFeatures } from './features.js'
import { handleTurn } from './loop.js'

// V8 runs a function slowly until it has seen it often, so a guest's first few hundred connections would take ten times as
// long as the ones behind. Here made-up guests talk to made-up hosts, through the same decoder, machines and
// interpreter, in a world of their own whose effects nobody carries out: what the first real packet meets is warm.
// Done in slices while nothing real happens; about 0.4 s of CPU time, once.

export const GUEST4 = fromV4(0xc6336402) // 198.51.100.2, RFC 5737
const PEER4 = fromV4(0xc6336409)
export const GUEST6: InAny = [0x20010db8, 0, 0, 2] // RFC 3849
const PEER6: InAny = [0x20010db8, 0, 0, 9]
const GUEST_LINK = {
  fixed4: false,
  fixed6: false,
  prefixes: [
    { addr: GUEST4, len: 24 },
    { addr: GUEST6, len: 64 }
  ]
}
const GUEST_PORT = 40000
const PEER_PORT = 80
const GUEST_MAC = 0x020000000002
const OUR_MAC = 0x9a559a559a55
/** Where frames are put: behind what the interpreter may write. */
const AT = 0x80000
const SLAB = 0x100000
/** Cycles of two connections with requests, answers, bulk and an end; and of datagrams both ways. */
const CONNECTIONS = 300
const ROUNDS = 4
/** In how many cycles the gateway is asked for once. */
const NEIGHBOURLY = 8
/** Octets that the peer sends in bulk at a time, how often, and the acknowledgements for each; segments of the guest at a time. */
const BULK = 20_000
const BULKS = 8
const BULK_ACKS = 4
const SEGMENTS = 4
/** Ends of the connection that the peer begins. */
const PEER_CLIENT = 50000
export const GUEST_SERVER = 8080
export const LISTENER = 0
const FLOWS = 64
/** Carries nothing out, a full ring neither. */
const NOBODY = { carryOut: () => {} } as Partial<Native> as Native
/** Whatever options say. */
const LIMITS: Limits = {
  flows: FLOWS,
  files: FLOWS,
  memory: Number.POSITIVE_INFINITY,
  ports: FLOWS,
  halfOpen: FLOWS
}

export const RULE: Rule = {
  proto: 'tcp',
  direction: 'in',
  bind: null,
  v6only: false,
  ifname: null,
  first: GUEST_SERVER,
  last: GUEST_SERVER,
  to: GUEST_SERVER,
  toAddress: null,
  weak: false,
  scan: false,
  spec: 0,
  given: null,
  unix: null
}

/** One world, one guest: every call hands over one turn, whose effects vanish behind `look`. */
export interface Stage {
  readonly w: World
  readonly v6: boolean
  now: Instant
  readonly look?: () => void
  /** In place of all that a turn does: that is somebody else's. */
  readonly handle?: (n: number, now: Instant) => void
}

export const record = (s: Stage, i: number, ...words: ReadonlyArray<number>): void => {
  s.w.rings.ev.fill(0, i * ABI_WORDS, (i + 1) * ABI_WORDS)
  s.w.rings.ev.set(words, i * ABI_WORDS)
}

/** A turn with `n` records; its effects vanish. */
export const turn = (s: Stage, n: number): void => {
  s.now = instant(s.now + 0.05)
  if (s.handle !== undefined) return s.handle(n, s.now)
  handleTurn(s.w, n, s.now)
  s.look?.()
  const { effects } = s.w.features
  for (let i = 0; i < effects.length; i++) effects[i]()
  dropEffects(s.w.rings)
}

/** Ethernet and IP in front of `len` octets of L4; returns where those begin. */
const headers = (s: Stage, proto: number, len: number, hopLimit = 64): number => {
  const v = s.w.rings.view
  writeEthernet(v, AT, { dst: OUR_MAC, src: GUEST_MAC, type: s.v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4 })
  if (s.v6) writeIpv6(v, AT + ETH_LEN, ipv6Header(GUEST6, PEER6, proto, 0, hopLimit), len)
  else writeIpv4(v, AT + ETH_LEN, ipv4Header(GUEST4, PEER4, proto, 64), len)
  return AT + ETH_LEN + (s.v6 ? IPV6_LEN : IPV4_LEN)
}
const frame = (s: Stage, l4: number, len: number): void => {
  record(s, 0, EV.TAP_FRAME, 0, AT, l4 + len - AT, VNET_NEEDS_CSUM)
  turn(s, 1)
}
/** One with its checksum, which native has summed up. */
const summed = (s: Stage, l4: number, len: number): void => {
  const sum = sum16(s.w.rings.view, AT + ETH_LEN, l4 + len - AT - ETH_LEN)
  record(s, 0, EV.TAP_FRAME, 0, AT, l4 + len - AT, 0, 0, 0, sum)
  turn(s, 1)
}

/** What the guest's kernel asks before all else, and now and then: who has its gateway's address; what the link is like. */
const neighbour = (s: Stage): void => {
  const { slab, view } = s.w.rings
  if (s.v6) {
    for (const m of [
      { tag: 'RouterSolicit', options: [] },
      { tag: 'NeighbourSolicit', target: PEER6, options: [{ tag: 'SourceLla', mac: GUEST_MAC }] }
    ] as const) {
      const message = NdpMessage.encode(m)
      const l4 = headers(s, PROTO_ICMPV6, message.length, 255)
      slab.set(message, l4)
      frame(s, l4, message.length)
    }
    return
  }
  const request = { op: ARP_REQUEST, sha: GUEST_MAC, spa: GUEST4, tha: 0, tpa: PEER4 }
  writeEthernet(view, AT, { dst: BROADCAST_MAC, src: GUEST_MAC, type: ETHERTYPE_ARP })
  slab.set(ArpPacket.encode(request), AT + ETH_LEN)
  record(s, 0, EV.TAP_FRAME, 0, AT, ETH_LEN + ARP_LEN, 0)
  turn(s, 1)
}

/** A connection as its guest sees it: SND.NXT, and the octet that it expects next. */
interface Conn {
  readonly guestPort: number
  readonly peerPort: number
  flow: number
  nxt: SeqNum
  una: SeqNum
}
/** The guest's next segment. Behind the end its kernel has no socket any more, and sums it up itself. */
const tcp = (s: Stage, c: Conn, flags: number, payload: number, late = false): void => {
  const h: TcpHeader = {
    srcPort: c.guestPort,
    dstPort: c.peerPort,
    seq: c.nxt,
    ack: c.una,
    flags,
    wnd: 500,
    urgent: 0,
    mss: flags & SYN ? 1460 : null,
    windowScale: flags & SYN ? 7 : null
  }
  const len = tcpLength(h) + payload
  const l4 = headers(s, PROTO_TCP, len)
  writeTcp(s.w.rings.view, l4, h)
  const seal = late ? sealL4 : sealPartial
  seal(s.w.rings.view, l4, len, PROTO_TCP, s.v6 ? GUEST6 : GUEST4, s.v6 ? PEER6 : PEER4)
  if (late) summed(s, l4, len)
  else frame(s, l4, len)
  c.nxt = add(c.nxt, payload + (flags & (SYN | FIN) ? 1 : 0))
}

/** What the peer offers; it may be less than before. */
const WINDOW = 65536
const LESS = 65000
/** peer scale, snd_mss, rtt, min_rtt, bytes_acked, sndbuf free, sndbuf */
const INFO = [7, 1448, 100, 100, 1, 80000, 87040] as const
const sock = (s: Stage, kind: number, flow: number, w2: number, w3: number, wnd = WINDOW): void => {
  record(s, 0, kind, flow, w2, w3, wnd, ...INFO)
  turn(s, 1)
}

const answer = (s: Stage, c: Conn): void => {
  sock(s, EV.READY, c.flow, READY_IN, 0)
  sock(s, EV.PEEKED, c.flow, 100, PEEK_DRAINED)
  c.una = add(c.una, 100)
  tcp(s, c, ACK, 0)
}

/** What keeps both sides busy: many acknowledgements for what was peeked, many segments for what was sent. */
const bulk = (s: Stage, c: Conn): void => {
  sock(s, EV.READY, c.flow, READY_IN, 0)
  for (let i = 0; i < BULKS; i++) {
    sock(s, EV.PEEKED, c.flow, BULK, i < BULKS - 1 ? 0 : PEEK_DRAINED)
    for (let acks = 0; acks < BULK_ACKS; acks++) {
      c.una = add(c.una, BULK / BULK_ACKS)
      tcp(s, c, ACK, 0)
    }
  }
  for (let i = 0; i < SEGMENTS; i++) tcp(s, c, ACK, 1000)
  sock(s, EV.SENT, c.flow, SEGMENTS * 1000, 0)
}

/** A request and its answer. */
const exchange = (s: Stage, c: Conn): void => {
  tcp(s, c, ACK | PSH, 100)
  sock(s, EV.SENT, c.flow, 100, 0, LESS)
  sock(s, EV.READY, c.flow, READY_OUT, 0)
  answer(s, c)
}

/** The end: by the guest, then the peer. */
const end = (s: Stage, c: Conn): void => {
  tcp(s, c, ACK | FIN, 0)
  sock(s, EV.READY, c.flow, READY_IN | READY_RDHUP, 0)
  sock(s, EV.PEEKED, c.flow, 0, PEEK_EOF)
  c.una = add(c.una, 1)
  tcp(s, c, ACK, 0, true)
}

/** Requests and answers, bulk, and the end. */
const converse = (s: Stage, c: Conn): void => {
  for (let i = 0; i < ROUNDS; i++) exchange(s, c)
  bulk(s, c)
  end(s, c)
}

/** The TCP flow that there is, once its first turn is over: with the sequence number behind our SYN. */
const opened = (s: Stage, c: Conn): boolean => {
  c.flow = s.w.flows.findIndex((f) => f?.kind === 'tcp' && f.guestPort === c.guestPort)
  const f = s.w.flows[c.flow]
  if (f?.kind !== 'tcp') return false
  c.una = add(f.state.context.tcb.iss, 1)
  return true
}

const connection = (guestPort: number, peerPort: number, isn: number): Conn => ({
  guestPort,
  peerPort,
  flow: -1,
  nxt: seq(isn),
  una: seq(0)
})

/** A connection of the guest's, open and with something said on it: its flow, -1: there is none. */
export const openConnection = (s: Stage, port: number): number => {
  const c = guestConnects(s, port)
  if (c === null) return -1
  accepted(s, c)
  exchange(s, c)
  return c.flow
}
/** A connection that the guest begins, from a port: what it is when the peer has not answered; null: there is none. */
const guestConnects = (s: Stage, port: number): Conn | null => {
  const c = connection(port, PEER_PORT, 0xfffffff0)
  tcp(s, c, SYN, 0)
  return opened(s, c) ? c : null
}
const accepted = (s: Stage, c: Conn): void => {
  sock(s, EV.CONNECTED, c.flow, 0, 0)
  tcp(s, c, ACK, 0)
}
/** Two beside each other, so that timers and lists have more than one entry; one of them brief, as most are. */
const pair = (s: Stage): void => {
  const long = guestConnects(s, GUEST_PORT)
  const brief = guestConnects(s, GUEST_PORT + 1)
  if (long === null || brief === null) return
  accepted(s, brief)
  accepted(s, long)
  exchange(s, brief)
  end(s, brief)
  converse(s, long)
}

/** One that the peer begins. */
const peerConnects = (s: Stage): void => {
  const c = connection(GUEST_SERVER, PEER_CLIENT, 0x7ffffff0)
  const [peer, guest] = s.v6 ? [PEER6, GUEST6] : [PEER4, GUEST4]
  record(s, 0, EV.ACCEPTED, LISTENER, 0, PEER_CLIENT, ...peer, ...guest, 0)
  turn(s, 1)
  if (!opened(s, c)) return
  sock(s, EV.CONNECTED, c.flow, 0, 0)
  tcp(s, c, SYN | ACK, 0)
  converse(s, c)
}

/** A connection past the tap: both ends are sockets, and both end. */
const pairConnects = (s: Stage): void => {
  const lo = s.v6 ? LOOPBACK6 : LOOPBACK4
  record(s, 0, EV.ACCEPTED, LISTENER, 0, PEER_CLIENT, ...lo, ...lo, 0)
  turn(s, 1)
  const flow = s.w.flows.findIndex((f) => f?.kind === 'tcp-splice')
  if (flow < 0) return
  record(s, 0, EV.SPLICE_CONNECTED, flow)
  turn(s, 1)
  for (const side of [0, 1]) {
    record(s, 0, EV.SPLICE_EOF, flow, side)
    turn(s, 1)
  }
}

const datagrams = (s: Stage): void => {
  const len = UDP_LEN + 100
  for (let i = 0; i < ROUNDS; i++) {
    const l4 = headers(s, PROTO_UDP, len)
    writeUdp(s.w.rings.view, l4, { srcPort: GUEST_PORT, dstPort: PEER_PORT }, 100)
    frame(s, l4, len)
    const flow = s.w.flows.findIndex((f) => f?.kind === 'udp')
    record(s, 0, EV.DATAGRAM, flow, AT + 256, 100)
    turn(s, 1)
  }
}

/** All that a guest does, once. `asks`: for its gateway as well; `past`: past the tap too. */
export const everything = (s: Stage, asks: boolean, past: boolean): void => {
  if (asks) neighbour(s)
  pair(s)
  peerConnects(s)
  if (past) pairConnects(s)
  datagrams(s)
}

/** Two that look at each turn and are due now and then, as others are in a real world: V8 has to know that there are several. */
const lookersOn = (): ReadonlyArray<Feature> => {
  const one = new Deadline(0)
  const other = new Deadline(0)
  const later = (d: Deadline, now: Instant): void => {
    d.at = now + 0.5
  }
  return [
    { name: 'one', events: () => {}, deadline: one, onTime: (now) => later(one, now) },
    { name: 'other', events: () => {}, deadline: other, onTime: (now) => later(other, now) }
  ]
}

/** Without features. `native`: whom its effects would go to. */
export const madeUpWorld = (cfg: WorldConfig, native: Native): World => {
  const rings = ringsOver(native, {
    slab: new ArrayBuffer(SLAB),
    effects: new ArrayBuffer(256 * ABI_WORDS * 4),
    events: new ArrayBuffer(16 * ABI_WORDS * 4),
    clock: new ArrayBuffer(16)
  })
  const all = { tcp: true, udp: true, icmp: true, v4: true, v6: true }
  return createWorld(
    {
      ...cfg,
      ...all,
      guestLink: GUEST_LINK,
      limits: LIMITS,
      rates: [],
      quantum: NO_QUANTUM,
      nat: { ...cfg.nat, ...UNMAPPED }
    },
    rings,
    logTo([], 0, () => 0),
    new Map(),
    new Map([[LISTENER, { rule: RULE, port: GUEST_SERVER }]]),
    FLOWS
  )
}

/**
 * Yields now and then; done when it ends. Nothing of it touches the real world: its flows, table, timers and counters go
 * when it goes. `more`: a feature that looks at each turn as well. Returns its worlds, for whoever wants to know how it went.
 */
export function* warmUp(
  cfg: WorldConfig,
  more: ((w: World) => Feature) | null = null
): Generator<void, ReadonlyArray<World>> {
  const stage = (v6: boolean): Stage => {
    const w = madeUpWorld(cfg, NOBODY)
    install(w.features, [...basicFeatures(w), ...lookersOn(), ...(more === null ? [] : [more(w)])])
    return { w, v6, now: instant(1) }
  }
  const stages = [stage(false), stage(true)]
  const past = cfg.forward.mode === 'pasta' && cfg.forward.splice
  for (let i = 0; i < CONNECTIONS; i++) {
    everything(stages[i & 1], i % NEIGHBOURLY < stages.length, past)
    yield
  }
  return stages.map((s) => s.w)
}
