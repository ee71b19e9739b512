import fc from 'fast-check'
import type { CapturedFrame } from '../src/codecs/log/capture-file.js'
import { LINK_ETHERNET, linkFrame } from '../src/codecs/log/link-layer.js'
import { PCAP_ETHERNET, PcapHeader, PcapRecord } from '../src/codecs/log/pcap.js'
import type { InAny } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { add, distance, le, lt, max, type SeqNum, seq } from '../src/codecs/value/seq.js'
import { PROTO_TCP, sealL4, sealPartial } from '../src/codecs/wire/checksum.js'
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../src/codecs/wire/ethernet.js'
import { Ipv4Packet } from '../src/codecs/wire/ipv4.js'
import { Ipv6Packet } from '../src/codecs/wire/ipv6.js'
import { ACK, FIN, PSH, RST, SYN } from '../src/codecs/wire/tcp.js'
import { encodeTcpOptions, type SackBlock, type TcpOption } from '../src/codecs/wire/tcp-options.js'
import { createJudge, type Judge } from '../src/machines/judge/judge.js'
import { judgedEndpointMachine } from '../src/machines/judge/judged-endpoint.js'
import type { Finding } from '../src/machines/judge/rules.js'
import { compile } from '../src/runtime/machine/compile.js'
import { plain } from './arbitraries.js'

/** Conversations of two honest TCPs, as a capture between them sees them, and captures of them. */

// --- packets

/** A segment of a trace, before it is octets. */
export interface Spec {
  /** s */
  readonly at: number
  readonly by: 0 | 1
  readonly flags: number
  readonly seq: SeqNum
  readonly ack: SeqNum
  /** Field value. */
  readonly wnd: number
  readonly options: readonly TcpOption[]
  readonly payload: Uint8Array
  readonly urgent?: number
  readonly ttl?: number
  /** In place of `options`. */
  readonly rawOptions?: Uint8Array
  readonly reserved?: number
  /** Added to the checksum; or the interface fills it in. */
  readonly sum?: number | 'partial'
  /** What it is there for. */
  readonly is: string
}
export interface Trace {
  readonly v6: boolean
  readonly specs: readonly Spec[]
}

const ends = (v6: boolean): readonly [InAny, InAny] =>
  v6
    ? [
        [0x20010db8, 0, 0, 1],
        [0x20010db8, 0, 0, 2]
      ]
    : [
        [0, 0, 0xffff, 0xc6336401],
        [0, 0, 0xffff, 0xc6336402]
      ]
const PORTS = [40000, 80] as const

const padded = (b: Uint8Array): Uint8Array => {
  const out = new Uint8Array((b.length + 3) & ~3).fill(1)
  out.set(b)
  return out
}
export const segmentOf = (t: Trace, s: Spec): Uint8Array => {
  const options = s.rawOptions ?? padded(encodeTcpOptions(s.options))
  const b = new Uint8Array(20 + options.length + s.payload.length)
  const v = new DataView(b.buffer)
  v.setUint16(0, PORTS[s.by])
  v.setUint16(2, PORTS[1 - s.by]!)
  v.setUint32(4, s.seq)
  v.setUint32(8, s.ack)
  v.setUint8(12, (((20 + options.length) / 4) << 4) | (s.reserved ?? 0))
  v.setUint8(13, s.flags)
  v.setUint16(14, s.wnd)
  v.setUint16(18, s.urgent ?? 0)
  b.set(options, 20)
  b.set(s.payload, 20 + options.length)
  const [src, dst] = [ends(t.v6)[s.by], ends(t.v6)[1 - s.by]!]
  if (s.sum === 'partial') sealPartial(v, 0, b.length, PROTO_TCP, src, dst)
  else {
    sealL4(v, 0, b.length, PROTO_TCP, src, dst)
    if (s.sum !== undefined) v.setUint16(16, v.getUint16(16) + s.sum)
  }
  return b
}
/** Octets of an IP packet. */
export const ipOf = (
  v6: boolean,
  by: 0 | 1,
  proto: number,
  payload: Uint8Array,
  more: { readonly ttl?: number; readonly src?: InAny; readonly dst?: InAny } = {}
): Uint8Array => {
  const src = more.src ?? ends(v6)[by]
  const dst = more.dst ?? ends(v6)[1 - by]!
  const ttl = more.ttl ?? 64
  return v6
    ? Ipv6Packet.encode({ src, dst, proto, hopLimit: ttl, trafficClass: 0, flowLabel: 0, payload })
    : Ipv4Packet.encode({ src, dst, proto, ttl, tos: 0, payload })
}
export const ethernet = (v6: boolean, packet: Uint8Array, type?: number): Uint8Array =>
  linkFrame(LINK_ETHERNET).encode({
    type: type ?? (v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4),
    src: 0x020000000001,
    dst: 0x020000000002,
    vlan: 0,
    ifIndex: 0,
    payload: packet
  })
export const frameOf = (t: Trace, s: Spec): Uint8Array =>
  ethernet(t.v6, ipOf(t.v6, s.by, PROTO_TCP, segmentOf(t, s), s.ttl === undefined ? {} : { ttl: s.ttl }))

export const captured = (at: number, bytes: Uint8Array, keep = bytes.length): CapturedFrame => ({
  at,
  linkType: LINK_ETHERNET,
  interface: 0,
  frame: octets(bytes.subarray(0, keep)),
  originalLen: bytes.length
})
export const capture = (t: Trace): readonly CapturedFrame[] =>
  t.specs.map((s) => captured(s.at, frameOf(t, s)))
export const pcapOf = (frames: readonly CapturedFrame[]): Uint8Array =>
  Buffer.concat([
    PcapHeader.encode(PCAP_ETHERNET),
    ...frames.map((f) =>
      PcapRecord.encode({
        seconds: Math.floor(f.at),
        micros: Math.round((f.at % 1) * 1e6) % 1_000_000,
        originalLen: f.originalLen,
        frame: new Uint8Array(f.frame.view.buffer, f.frame.view.byteOffset + f.frame.off, f.frame.len)
      })
    )
  ])

export const lifecycle = compile(judgedEndpointMachine)
export const judgeAll = (
  frames: readonly CapturedFrame[],
  judge: Judge = createJudge(lifecycle)
): Finding[] => frames.flatMap((f) => [...judge.frame(f)]).sort((a, b) => a.frame - b.frame)

// --- two honest TCPs

export interface Config {
  readonly v6: boolean
  readonly iss: readonly [SeqNum, SeqNum]
  readonly mss: readonly [number | null, number | null]
  readonly scale: readonly [number | null, number | null]
  readonly sack: boolean
  readonly ts: readonly [boolean, boolean]
  readonly tsBase: readonly [number, number]
  /** Octets of the receive buffers. */
  readonly buffer: number
  /** s: from one frame to the next within an exchange. */
  readonly pace: number
  readonly sizes: readonly number[]
  readonly salt: number
}
export const arbConfig: fc.Arbitrary<Config> = plain({
  v6: fc.boolean(),
  iss: fc.tuple(fc.integer().map(seq), fc.constantFrom(-3, -2, -1, 0, 5).map(seq)),
  mss: fc.tuple(fc.constantFrom(1460, 1400, 536, null), fc.constantFrom(1460, 900)),
  scale: fc.tuple(fc.option(fc.integer({ min: 0, max: 9 })), fc.option(fc.integer({ min: 0, max: 9 }))),
  sack: fc.boolean(),
  ts: fc.tuple(fc.boolean(), fc.boolean()),
  tsBase: fc.tuple(fc.nat(0xffffffff), fc.constantFrom(0, 0xffffff00)),
  buffer: fc.integer({ min: 6_000, max: 12_000 }),
  pace: fc.constantFrom(0.012, 0.02, 0.04),
  sizes: fc.array(fc.integer({ min: 2, max: 500 }), { minLength: 6, maxLength: 12 }),
  salt: fc.nat(255)
}) as fc.Arbitrary<Config>

interface End {
  una: SeqNum
  nxt: SeqNum
  rcvNxt: SeqNum
  /** Octets that are not read. */
  unread: number
  /** Octets ahead of a gap. */
  ahead: { from: SeqNum; to: SeqNum }[]
  /** Edge of the window that it was offered, and that it offers. */
  edge: SeqNum
  offers: SeqNum
  tsRecent: number
  fin: SeqNum | null
}

export class Talk {
  readonly specs: Spec[] = []
  at = 1_000_000
  private readonly ends: [End, End]
  private readonly scaled: boolean
  private readonly stamps: boolean
  reads = true

  constructor(
    readonly c: Config,
    private readonly began = 1_000_000
  ) {
    const end = (i: 0 | 1): End => ({
      una: c.iss[i],
      nxt: c.iss[i],
      rcvNxt: seq(0),
      unread: 0,
      ahead: [],
      edge: seq(0),
      offers: seq(0),
      tsRecent: 0,
      fin: null
    })
    this.ends = [end(0), end(1)]
    this.scaled = c.scale[0] !== null && c.scale[1] !== null
    // A SYN,ACK has timestamps if the SYN had.
    this.stamps = c.ts[0] && c.ts[1]
  }

  end(i: 0 | 1): Readonly<End> {
    return this.ends[i]
  }
  wait(s: number): void {
    this.at += s
  }
  /** Octets of data that fit into a segment of `by`. */
  fits(by: 0 | 1): number {
    const mss = this.c.mss[1 - by] ?? (this.c.v6 ? 1220 : 536)
    return mss - (this.stamps ? 12 : 0) - 0
  }
  octets(by: 0 | 1, from: SeqNum, len: number): Uint8Array {
    const at = distance(from, this.c.iss[by])
    const b = new Uint8Array(len)
    for (let i = 0; i < len; i++) b[i] = (at + i) * 7 + by * 13 + this.c.salt
    return b
  }

  private options(by: 0 | 1, flags: number): TcpOption[] {
    const { c } = this
    const me = this.ends[by]
    const out: TcpOption[] = []
    const syn = (flags & SYN) !== 0
    const first = syn && !(flags & ACK)
    if (syn && c.mss[by] !== null) out.push({ tag: 'Mss', mss: c.mss[by]! })
    if (syn && c.scale[by] !== null && (first || c.scale[0] !== null))
      out.push({ tag: 'WindowScale', shift: c.scale[by]! })
    if (syn && c.sack) out.push({ tag: 'SackPermitted' })
    const stamped = first ? c.ts[by] : this.stamps
    if (stamped)
      out.push({
        tag: 'Timestamps',
        val: (c.tsBase[by] + Math.floor((this.at - this.began) * 1000)) >>> 0,
        ecr: flags & ACK ? me.tsRecent : 0
      })
    if (c.sack && !syn && me.ahead.length > 0) out.push({ tag: 'Sack', blocks: this.blocks(by) })
    return out
  }
  private blocks(by: 0 | 1): SackBlock[] {
    const blocks: SackBlock[] = []
    const sorted = [...this.ends[by].ahead].sort((a, b) => distance(a.from, b.from))
    for (const r of sorted) {
      const last = blocks.at(-1)
      if (last !== undefined && le(r.from, last.right))
        blocks[blocks.length - 1] = { left: last.left, right: max(last.right, r.to) }
      else blocks.push({ left: r.from, right: r.to })
    }
    return blocks.slice(0, 3)
  }
  private window(by: 0 | 1, flags: number): number {
    const me = this.ends[by]
    const shift = flags & SYN || !this.scaled ? 0 : this.c.scale[by]!
    const field = Math.min(65535, Math.max(0, this.c.buffer - me.unread) >> shift)
    if (flags & ACK) me.offers = max(me.offers, add(me.rcvNxt, field << shift))
    return field
  }

  /** One segment from `seq` on; `lost`: behind the capture. */
  emit(
    by: 0 | 1,
    is: string,
    flags: number,
    from: SeqNum,
    payload: Uint8Array,
    lost = false,
    more: Partial<Spec> = {}
  ): void {
    this.at += this.c.pace
    const me = this.ends[by]
    const spec: Spec = {
      at: this.at,
      by,
      flags,
      seq: from,
      ack: flags & ACK ? me.rcvNxt : seq(0),
      wnd: flags & RST ? 0 : this.window(by, flags),
      options: flags & RST ? [] : this.options(by, flags),
      payload,
      is,
      ...more
    }
    this.specs.push(spec)
    const end = add(from, payload.length + (flags & SYN ? 1 : 0) + (flags & FIN ? 1 : 0))
    if (!(flags & RST)) me.nxt = max(me.nxt, end)
    if (!lost) this.hear(by === 0 ? 1 : 0, spec, end)
  }
  private hear(to: 0 | 1, s: Spec, end: SeqNum): void {
    const me = this.ends[to]
    if (s.flags & RST) return
    if (s.flags & SYN) {
      me.rcvNxt = end
      me.offers = end
      me.edge = add(me.una, s.wnd)
    }
    const ts = s.options.find((o) => o.tag === 'Timestamps')
    if (ts?.tag === 'Timestamps' && le(s.seq, me.rcvNxt)) me.tsRecent = ts.val
    if (s.flags & ACK) {
      me.una = max(me.una, s.ack)
      const shift = s.flags & SYN || !this.scaled ? 0 : this.c.scale[1 - to]!
      me.edge = s.flags & SYN ? add(s.ack, s.wnd) : max(me.edge, add(s.ack, s.wnd << shift))
    }
    if (s.flags & SYN || (s.payload.length === 0 && !(s.flags & FIN))) return
    if (!le(end, me.offers) && !(s.flags & FIN)) return // a probe, not taken
    if (lt(me.rcvNxt, s.seq)) {
      me.ahead.push({ from: s.seq, to: end })
      return
    }
    if (!lt(me.rcvNxt, end)) return
    const before = me.rcvNxt
    me.rcvNxt = end
    for (const r of [...me.ahead].sort((a, b) => distance(a.from, b.from)))
      if (le(r.from, me.rcvNxt)) me.rcvNxt = max(me.rcvNxt, r.to)
    me.ahead = me.ahead.filter((r) => lt(me.rcvNxt, r.to))
    if (!this.reads) me.unread += distance(me.rcvNxt, before)
  }

  open(): void {
    this.emit(0, 'syn', SYN, this.c.iss[0], new Uint8Array(0))
    this.emit(1, 'synAck', SYN | ACK, this.c.iss[1], new Uint8Array(0))
    this.emit(0, 'ack', ACK, this.end(0).nxt, new Uint8Array(0))
  }
  data(by: 0 | 1, len: number, is = 'data', lost = false, flags = 0): void {
    const from = this.end(by).nxt
    const room = distance(this.end(by).edge, from)
    const n = Math.min(len, this.fits(by), room)
    if (n > 0) this.emit(by, is, ACK | PSH | flags, from, this.octets(by, from, n), lost)
  }
  again(by: 0 | 1, from: SeqNum, len: number, is = 'again', lost = false): void {
    this.emit(by, is, ACK, from, this.octets(by, from, len), lost)
  }
  ack(by: 0 | 1, is = 'ack', more: Partial<Spec> = {}): void {
    this.emit(by, is, ACK, this.end(by).nxt, new Uint8Array(0), false, more)
  }
  fin(by: 0 | 1, is = 'fin'): void {
    this.emit(by, is, ACK | FIN, this.end(by).nxt, new Uint8Array(0))
  }
  reset(by: 0 | 1): void {
    this.emit(by, 'reset', RST, this.end(by).nxt, new Uint8Array(0))
  }
  read(by: 0 | 1): void {
    this.ends[by].unread = 0
  }
}

/** How a conversation ends. */
export type Ending = 'close' | 'half' | 'reset' | 'open'

/** All that may happen between two honest ends, in the order of the parts of this function. */
export const conversation = (c: Config, ending: Ending): Trace => {
  const t = new Talk(c)
  t.open()
  const sizes = [...c.sizes]
  const size = (): number => {
    const n = sizes.shift() ?? 100
    sizes.push(n)
    return n
  }
  // Request and answer, four times.
  for (let i = 0; i < 4; i++) {
    t.data(0, size(), 'request')
    t.ack(1, 'answer')
    t.data(1, size(), 'response')
    t.ack(0, 'answer')
  }
  // Bulk; the first of five is lost, and sent again after duplicate acknowledgements.
  const hole = t.end(1).nxt
  const gap = Math.min(400, t.fits(1))
  t.data(1, gap, 'bulk', true)
  for (let i = 0; i < 3; i++) {
    t.data(1, gap, 'bulk')
    t.ack(0, 'duplicate')
  }
  t.again(1, hole, gap)
  t.ack(0, 'answers')
  // Nothing gets through, for four time-outs.
  const first = t.end(0).nxt
  t.data(0, 300, 'data', true)
  for (const s of [0.3, 0.6, 1.2, 2.4]) {
    t.wait(s)
    t.again(0, first, 300, 'timeout', s < 2.4)
  }
  t.ack(1, 'answers')
  // The receiver does not read: the window closes, is probed, and opens.
  t.reads = false
  for (let i = 0; i < 200 && lt(t.end(0).nxt, t.end(0).edge); i++) {
    t.data(0, t.fits(0), 'fill')
    t.ack(1, 'filled')
  }
  for (const s of [0.3, 0.6, 1.2, 2.4]) {
    t.wait(s)
    t.emit(0, 'probe', ACK, t.end(0).una, t.octets(0, t.end(0).una, 1), true)
    t.ack(1, 'closed')
  }
  t.reads = true
  t.read(1)
  t.ack(1, 'update')
  t.again(0, t.end(0).una, Math.min(200, t.fits(0)), 'goes-on')
  t.ack(1, 'answers')
  // Silence, and keep-alives of both kinds.
  t.wait(20)
  t.emit(0, 'keep-alive', ACK, add(t.end(0).nxt, -1), new Uint8Array(0))
  t.ack(1, 'answers')
  t.wait(20)
  t.emit(0, 'keep-alive', ACK, add(t.end(0).nxt, -1), Uint8Array.of(0xa5))
  t.ack(1, 'answers')
  t.data(1, size(), 'last')
  t.ack(0, 'answers')
  if (ending === 'reset') t.reset(0)
  if (ending === 'close' || ending === 'half') {
    t.fin(0)
    t.ack(1, 'acks-fin')
    if (ending === 'half') {
      t.data(1, size(), 'data')
      t.ack(0, 'answers')
    }
    t.fin(1, 'fin-2')
    t.ack(0, 'acks-fin-2')
  }
  return { v6: c.v6, specs: t.specs }
}
