// A guest that sends any frames, beside sockets that report anything, through decoder, demultiplexer, machines and interpreter.
// Nothing throws, and no effect names memory that is not there.

import { CONFIG, GUEST_MAC } from '../../property-tests/services-arbitraries.js'
import { WORLD_CONFIG } from '../../property-tests/world-config.js'
import type { InAny } from '../../src/codecs/value/inany.js'
import { add } from '../../src/codecs/value/seq.js'
import {
  finish,
  PROTO_ICMP,
  PROTO_ICMPV6,
  PROTO_TCP,
  PROTO_UDP,
  sealPartial,
  sum16
} from '../../src/codecs/wire/checksum.js'
import {
  ETH_LEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  writeEthernet
} from '../../src/codecs/wire/ethernet.js'
import { ipv4Header, writeIpv4 } from '../../src/codecs/wire/ipv4.js'
import { ipv6Header, writeIpv6 } from '../../src/codecs/wire/ipv6.js'
import { SYN, writeTcp } from '../../src/codecs/wire/tcp.js'
import { UDP_LEN, writeUdp } from '../../src/codecs/wire/udp.js'
import { VNET_NEEDS_CSUM } from '../../src/codecs/wire/vnet.js'
import { type Instant, instant } from '../../src/effects/effect.js'
import { ABI_WORDS, EF, EV, type Native } from '../../src/runtime/abi/abi.js'
import { MAX_EFFECTS, ringsOver } from '../../src/runtime/abi/rings.js'
import { install } from '../../src/runtime/data/feature.js'
import { createWorld, type World } from '../../src/runtime/data/world.js'
import { basicFeatures } from '../../src/runtime/engine/features.js'
import { handleTurn } from '../../src/runtime/engine/loop.js'
import { logTo } from '../../src/runtime/log/log.js'
import { Input } from './input.js'

const SLAB = 0x800000
/** Where the guest's frames of a turn are put, one behind the other; in front of it is the interpreter's part. */
const FRAMES = 0x400000
const FRAME_MAX = 2048
const EVENTS = 32
const TURNS_MAX = 400
/** Behind each input so many turns without an event, ms apart: timers alone. */
const ENDING = 4
const PATIENCE = 3_000_000

const v4 = (n: number): InAny => [0, 0, 0xffff, n]
const HOSTS4: ReadonlyArray<InAny> = [
  0xc0000207, 0xc0000201, 0xc6336409, 0xeffffffa, 0xffffffff, 0xc00002ff, 0, 0x7f000001
].map(v4)
const HOSTS6: ReadonlyArray<InAny> = [
  [0x20010db8, 0x00090000, 0, 2],
  [0x20010db8, 0, 0, 9],
  [0xfe800000, 0, 0, 1],
  [0xfe800000, 0, 0x505400ff, 0xfe123456],
  [0xff020000, 0, 0, 1],
  [0xff020000, 0, 0, 0x10002],
  [0, 0, 0, 0],
  [0, 0, 0, 1]
]
const PORTS = [40000, 80, 53, 67, 68, 546, 547, 5353, 0, 853]

interface Stage {
  readonly w: World
  readonly said: string[]
  now: Instant
  records: number
}

/** The same for each input: what an earlier one left there is as good as any other octets. */
const MEMORY_OF_ALL = {
  slab: new ArrayBuffer(SLAB),
  effects: new ArrayBuffer(MAX_EFFECTS * ABI_WORDS * 4),
  events: new ArrayBuffer(EVENTS * ABI_WORDS * 4),
  clock: new ArrayBuffer(16)
}

const stage = (): Stage => {
  const said: string[] = []
  // Without listen(): only a user's option makes a listener.
  const rings = ringsOver({} as Native, MEMORY_OF_ALL)
  const w = createWorld(
    WORLD_CONFIG,
    rings,
    logTo([{ level: 'trace', write: (_, level, text) => level === 'error' && said.push(text) }], 0, () => 0),
    new Map(),
    new Map(),
    64
  )
  install(w.features, basicFeatures(w))
  return { w, said, now: instant(1), records: 0 }
}

const record = (s: Stage, ...words: ReadonlyArray<number>): void => {
  const at = s.records++ * ABI_WORDS
  s.w.rings.ev.fill(0, at, at + ABI_WORDS)
  s.w.rings.ev.set(words, at)
}

/** Effects that name octets of the slab, by words 2 and 3. */
const MEMORY = new Set<number>([
  EF.TAP_WRITE,
  EF.SEND,
  EF.UDP_SEND,
  EF.PING_SEND,
  EF.NETLINK,
  EF.CAPTURE_NOTE
])
const KINDS = new Set<number>(Object.values(EF))

const turn = (s: Stage): void => {
  const { rings, counters, flows } = s.w
  handleTurn(s.w, s.records, s.now)
  s.records = 0
  if (counters.has('internal-error')) throw new Error(s.said.join('\n'))
  for (let i = 0; i < rings.effects; i++) {
    const [kind, , off, len] = rings.fx.subarray(i * ABI_WORDS)
    if (!KINDS.has(kind)) throw new Error(`effect ${kind}`)
    if (MEMORY.has(kind) && (off < 0 || len < 0 || off + len > SLAB))
      throw new Error(`effect ${kind} names ${len} octets at ${off}`)
  }
  if (flows.length > 64) throw new Error(`${flows.length} flows`)
  rings.effects = 0
  rings.tx = 0
}

/** The `len` octets at `off` as a frame of the guest. */
const frame = (s: Stage, off: number, len: number, flags: number, gsoSize: number): void =>
  record(
    s,
    EV.TAP_FRAME,
    0,
    off,
    len,
    flags,
    gsoSize,
    0,
    flags & VNET_NEEDS_CSUM || len < ETH_LEN ? 0 : sum16(s.w.rings.view, off + ETH_LEN, len - ETH_LEN)
  )
const room = (s: Stage): number => FRAMES + s.records * FRAME_MAX

/** Octets as they come. */
const raw = (s: Stage, i: Input): void => {
  const octets = i.octets(i.u16() % FRAME_MAX)
  const off = room(s)
  s.w.rings.slab.set(octets, off)
  frame(s, off, octets.length, i.u8() & 1 ? VNET_NEEDS_CSUM : i.u8() << 8, i.u16())
}

/** Headers that hold together around octets as they come, a few of all those changed. */
const shaped = (s: Stage, i: Input): void => {
  const { view, slab } = s.w.rings
  const kind = i.u8()
  const v6 = (kind & 1) === 1
  const proto = [PROTO_UDP, PROTO_TCP, v6 ? PROTO_ICMPV6 : PROTO_ICMP, i.u8(), PROTO_UDP][(kind >> 1) % 5]
  const hosts = v6 ? HOSTS6 : HOSTS4
  const [src, dst] = [i.pick(hosts), i.pick(hosts)]
  const [srcPort, dstPort] = [i.pick(PORTS), i.pick(PORTS)]
  const payload = i.octets(i.u16() % 1024)
  const off = room(s)
  const type = kind >= 250 ? ETHERTYPE_ARP : v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4
  writeEthernet(view, off, { dst: CONFIG.ownMac, src: GUEST_MAC, type })
  const l4 = off + ETH_LEN + (type === ETHERTYPE_ARP ? 0 : v6 ? 40 : 20)
  let at = l4
  if (type !== ETHERTYPE_ARP && proto === PROTO_TCP)
    at += writeTcp(view, l4, {
      srcPort,
      dstPort,
      seq: i.i32() as never,
      ack: i.i32() as never,
      flags: i.u8(),
      wnd: i.u16(),
      urgent: 0,
      mss: i.u8() & 1 ? i.u16() : null,
      windowScale: i.u8() & 1 ? i.u8() % 15 : null
    })
  if (type !== ETHERTYPE_ARP && proto === PROTO_UDP) {
    writeUdp(view, l4, { srcPort, dstPort }, payload.length)
    at += UDP_LEN
  }
  slab.set(payload, at)
  const end = at + payload.length
  if (type === ETHERTYPE_IPV4) writeIpv4(view, off + ETH_LEN, ipv4Header(src, dst, proto, i.u8()), end - l4)
  if (type === ETHERTYPE_IPV6)
    writeIpv6(view, off + ETH_LEN, ipv6Header(src, dst, proto, 0, i.u8()), end - l4)

  for (let n = i.u8() & 3; n > 0; n--) slab[off + (i.u8() % Math.max(1, end - off))] = i.u8()
  frame(s, off, end - off, VNET_NEEDS_CSUM | (i.u8() & 1 ? 5 << 8 : 0), i.u8() & 1 ? i.u16() : 0)
}

/** A segment of a connection that there is, near what it expects. */
const segment = (s: Stage, i: Input): void => {
  const connections = s.w.flows.filter((f) => f?.kind === 'tcp')
  const f = connections[i.u8() % Math.max(1, connections.length)]
  if (f?.kind !== 'tcp') return
  const { view, slab } = s.w.rings
  const tcb = f.state.context.tcb
  const off = room(s)
  const payload = i.octets(i.u8())
  const l4 = off + ETH_LEN + (f.v6 ? 40 : 20)
  const flags = i.u8()
  const len = writeTcp(view, l4, {
    srcPort: f.guestPort,
    dstPort: f.ourPort,
    seq: add(tcb.rcvNxt, (i.u8() << 24) >> 24),
    ack: add(tcb.sndNxt, (i.u8() << 24) >> 24),
    flags,
    wnd: i.u16(),
    urgent: 0,
    mss: flags & SYN ? 1460 : null,
    windowScale: flags & SYN ? 7 : null
  })
  slab.set(payload, l4 + len)
  const all = len + payload.length
  writeEthernet(view, off, {
    dst: CONFIG.ownMac,
    src: GUEST_MAC,
    type: f.v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4
  })
  if (f.v6) writeIpv6(view, off + ETH_LEN, ipv6Header(f.guestAddr, f.ourAddr, PROTO_TCP, 0, 64), all)
  else writeIpv4(view, off + ETH_LEN, ipv4Header(f.guestAddr, f.ourAddr, PROTO_TCP, 64), all)
  sealPartial(view, l4, all, PROTO_TCP, f.guestAddr, f.ourAddr)
  frame(s, off, l4 + all - off, VNET_NEEDS_CSUM, i.u8() & 1 ? i.u16() : 0)
}

/** A fragment of one of a few datagrams: near each other, so that they meet, overlap and contradict each other. */
const fragment = (s: Stage, i: Input): void => {
  const { view, slab } = s.w.rings
  const kind = i.u8()
  const v6 = (kind & 1) === 1
  const start = i.u8() & 0x80 ? 0xff00 + (i.u8() & 0xf8) : (i.u8() % 24) * 8
  const payload = i.octets((i.u8() % 24) * 8 + (kind & 0x70 ? 0 : i.u8() & 7))
  const field = v6 ? start | (kind >> 7) : (start >>> 3) | ((kind >> 7) << 13)
  const off = room(s)
  const ip = off + ETH_LEN
  const data = ip + (v6 ? 48 : 20)
  writeEthernet(view, off, { dst: CONFIG.ownMac, src: GUEST_MAC, type: v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4 })
  if (v6) {
    writeIpv6(view, ip, ipv6Header(HOSTS6[0], HOSTS6[1], 44), 8 + payload.length)
    view.setUint8(ip + 40, i.pick([PROTO_UDP, PROTO_ICMPV6, PROTO_TCP, 0, 44, 60]))
    view.setUint16(ip + 42, field)
    view.setUint32(ip + 44, kind & 2)
  } else {
    writeIpv4(view, ip, ipv4Header(HOSTS4[0], HOSTS4[2], i.pick([PROTO_UDP, PROTO_ICMP])), payload.length)
    view.setUint16(ip + 4, kind & 2)
    view.setUint16(ip + 6, field)
    view.setUint16(ip + 10, 0)
    view.setUint16(ip + 10, finish(sum16(view, ip, 20)))
  }
  slab.set(payload, data)
  frame(s, off, data + payload.length - off, 0, 0)
}

const errno = (i: Input): number => 1 + (i.u8() % 133)
const SOCK_EVENTS = [
  EV.CONNECTED,
  EV.SENT,
  EV.PEEKED,
  EV.READY,
  EV.ACKED,
  EV.FAILED,
  EV.INFO,
  EV.DATAGRAM,
  EV.ICMP_ERROR,
  EV.TAP_ROOM,
  EV.TAP_DROPPED
]
/** What native may say of the sockets that there are: its counts are sizes, its memory is inside the slab. */
const sock = (s: Stage, i: Input): void => {
  const open = s.w.flows.flatMap((f) => (f === undefined ? [] : [f.index]))
  const kind = i.pick(SOCK_EVENTS)
  const memory = kind === EV.DATAGRAM || kind === EV.ICMP_ERROR
  record(
    s,
    kind,
    open[i.u8() % Math.max(1, open.length)] ?? 0,
    memory ? FRAMES : i.u16() & 0xffff,
    memory ? i.u16() : i.u16() & 0xff,
    ...[kind === EV.ICMP_ERROR ? errno(i) : i.u16() << 4, i.u8() % 15, i.u16(), i.u16(), i.u16(), i.i32()],
    ...[i.u16() << 2, i.u16() << 3, i.u16(), kind === EV.FAILED ? errno(i) : i.u8() & 1 ? errno(i) : 0]
  )
}

const OPS = [raw, shaped, segment, sock, fragment]

export const fuzz = (data: Uint8Array): void => {
  const i = new Input(data)
  const s = stage()
  for (let turns = 0; !i.done && turns < TURNS_MAX; ) {
    const op = i.u8()
    if (op < 0xc0 && s.records < EVENTS) {
      OPS[op % OPS.length](s, i)
      continue
    }
    s.now = instant(s.now + (op & 1 ? i.u16() : 1))
    turn(s)
    turns++
  }
  turn(s)
  for (let n = 0; n < ENDING; n++) {
    s.now = instant(s.now + PATIENCE)
    turn(s)
  }
}
