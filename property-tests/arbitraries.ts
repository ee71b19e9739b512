import assert from 'node:assert/strict'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import type { PcapHeader, PcapRecord } from '../src/codecs/log/pcap.js'
import type { PcapngBlock } from '../src/codecs/log/pcapng.js'
import { fromV4, type InAny, isV4 } from '../src/codecs/value/inany.js'
import { type Octets, octets } from '../src/codecs/value/octets.js'
import { type SeqNum, seq } from '../src/codecs/value/seq.js'
import type { EthernetFrame, EthernetHeader, Mac } from '../src/codecs/wire/ethernet.js'
import type { IcmpMessage } from '../src/codecs/wire/icmp.js'
import type { Ipv4Packet } from '../src/codecs/wire/ipv4.js'
import type { Ipv6Packet } from '../src/codecs/wire/ipv6.js'
import { SYN, type TcpHeader, type TcpPacket, type TcpSegment } from '../src/codecs/wire/tcp.js'
import type { UdpDatagram } from '../src/codecs/wire/udp.js'
import type { VnetHeader } from '../src/codecs/wire/vnet.js'

/** Shared arbitraries of the wire formats, and the two checks that every codec has to pass. */

/** fc.record with ordinary prototypes, as deepEqual compares those too. */
export const plain = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>

// --- numbers and octets

export const arbU8 = fc.integer({ min: 0, max: 0xff })
export const arbU16 = fc.integer({ min: 0, max: 0xffff })
/** Favours words where signed and unsigned arithmetic differ. */
export const arbU32 = fc.oneof(
  fc.integer({ min: 0, max: 0xffffffff }),
  fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff)
)
/**
 * A number between `min` and `max`, anywhere between them, fractions included; `below`: never `max` itself. Not fc.double, which
 * takes each double for as likely as the next: half of those from 0 to 1e6 are smaller than 1e-150.
 */
export const real = (min: number, max: number, below = false): fc.Arbitrary<number> =>
  fc.oneof(
    fc.nat(0xffff_ffff).map((n) => min + (n / 2 ** 32) * (max - min)),
    fc.constantFrom(min, ...(below ? [] : [max]))
  )
export const arbPort = fc.integer({ min: 1, max: 0xffff })
export const arbSeq: fc.Arbitrary<SeqNum> = arbU32.map(seq)
export const arbBytes = (max: number, min = 0): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: min, maxLength: max })

// --- addresses

export const arbMac: fc.Arbitrary<Mac> = fc.oneof(
  fc.integer({ min: 0, max: 0xffffffffffff }),
  fc.constantFrom(0, 0xffffffffffff, 0x010000000000, 0x0000ffffffff)
)
export const arbInAny4: fc.Arbitrary<InAny> = fc
  .oneof(arbU32, fc.constantFrom(0, 0xffffffff, 0x7f000001, 0xa9fe0101, 0xe00000fb, 0x0a000001))
  .map(fromV4)
const arbWord6 = fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, arbU16, arbU32)
/** Never v4-mapped; zero words are common, for the sake of `::`. */
export const arbInAny6: fc.Arbitrary<InAny> = fc
  .oneof(
    fc.tuple(arbWord6, arbWord6, arbWord6, arbWord6),
    fc.constantFrom<[number, number, number, number]>(
      [0, 0, 0, 0],
      [0, 0, 0, 1],
      [0xfe800000, 0, 0, 1],
      [0xff020000, 0, 0, 0xfb],
      [0x20010db8, 0, 0, 1]
    )
  )
  .filter((a) => !isV4(a))
export const arbInAny: fc.Arbitrary<InAny> = fc.oneof(arbInAny4, arbInAny6)
/** Addresses that a guest may use as its own and as its peer's: unicast, not loopback. */
export const arbHost4: fc.Arbitrary<InAny> = fc
  .integer({ min: 0x01000000, max: 0xdfffffff })
  .filter((w) => w >>> 24 !== 127)
  .map(fromV4)
export const arbHost6: fc.Arbitrary<InAny> = fc
  .tuple(fc.integer({ min: 0x20000000, max: 0xfeffffff }), arbU32, arbU32, arbU32)
  .map(([a, b, c, d]) => [a, b, c, d] as const)

// --- packets

export const arbEthernetHeader: fc.Arbitrary<EthernetHeader> = plain({
  dst: arbMac,
  src: arbMac,
  type: arbU16
})
export const arbEthernetFrame: fc.Arbitrary<EthernetFrame> = plain({
  dst: arbMac,
  src: arbMac,
  type: arbU16,
  payload: arbBytes(64)
})
export const arbIpv4Packet: fc.Arbitrary<Ipv4Packet> = plain({
  src: arbInAny4,
  dst: arbInAny4,
  proto: arbU8,
  ttl: arbU8,
  tos: arbU8,
  payload: arbBytes(64)
})
/** Next-header values that name an extension header, AH, ESP or nothing. */
export const EXTENSION_LIKE = [0, 43, 44, 50, 51, 59, 60, 135, 139, 140, 253, 254]
export const arbUpperProto = arbU8.filter((p) => !EXTENSION_LIKE.includes(p))
export const arbFlowLabel = fc.integer({ min: 0, max: 0xfffff })
export const arbIpv6Packet: fc.Arbitrary<Ipv6Packet> = plain({
  src: arbInAny6,
  dst: arbInAny6,
  proto: arbUpperProto,
  hopLimit: arbU8,
  trafficClass: arbU8,
  flowLabel: arbFlowLabel,
  payload: arbBytes(64)
})
/** Options only together with SYN, as the codec reads them there only. */
export const arbTcpHeader: fc.Arbitrary<TcpHeader> = plain<TcpHeader>({
  srcPort: arbPort,
  dstPort: arbPort,
  seq: arbSeq,
  ack: arbSeq,
  flags: arbU8,
  wnd: arbU16,
  urgent: arbU16,
  mss: fc.option(arbU16),
  windowScale: fc.option(fc.integer({ min: 0, max: 14 }))
}).map((h) => (h.flags & SYN ? h : { ...h, mss: null, windowScale: null }))
export const arbTcpPacket: fc.Arbitrary<TcpPacket> = fc
  .tuple(arbTcpHeader, arbBytes(64))
  .map(([h, payload]) => ({ ...h, payload }))
/** As decoded, with data somewhere in a slab of 1 MiB. */
export const arbTcpSegment: fc.Arbitrary<TcpSegment> = fc
  .tuple(arbTcpHeader, plain({ off: fc.nat(0xfffff), len: arbU16 }))
  .map(([h, payload]) => ({ ...h, payload }))
export const arbUdpDatagram: fc.Arbitrary<UdpDatagram> = plain({
  srcPort: arbPort,
  dstPort: arbPort,
  payload: arbBytes(64)
})
export const arbIcmpMessage: fc.Arbitrary<IcmpMessage> = plain({
  type: arbU8,
  code: arbU8,
  id: arbU16,
  seq: arbU16,
  payload: arbBytes(64)
})
export const arbVnetHeader: fc.Arbitrary<VnetHeader> = plain({
  flags: arbU8,
  gsoType: arbU8,
  hdrLen: arbU16,
  gsoSize: arbU16,
  csumStart: arbU16,
  csumOffset: arbU16
})
export const arbPcapHeader: fc.Arbitrary<PcapHeader> = plain({
  littleEndian: fc.boolean(),
  nanos: fc.boolean(),
  snapLen: arbU32,
  linkType: arbU32
})
export const arbPcapRecord: fc.Arbitrary<PcapRecord> = plain({
  seconds: arbU32,
  micros: arbU32,
  originalLen: arbU32,
  frame: arbBytes(64)
})

const arbWords = fc.array(fc.uint8Array({ minLength: 4, maxLength: 4 }), { maxLength: 8 })
const arbText = fc.string({ unit: 'grapheme', maxLength: 20 })
export const arbPcapngBlock: fc.Arbitrary<PcapngBlock> = fc.oneof(
  plain({ type: fc.constant('Section' as const), application: arbText }),
  plain({
    type: fc.constant('Interface' as const),
    linkType: arbU16,
    snapLen: arbU32,
    name: arbText,
    resolution: arbU8
  }),
  plain({
    type: fc.constant('Packet' as const),
    interface: arbU32,
    time: fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
    frame: arbBytes(64),
    originalLen: arbU32,
    direction: fc.constantFrom(null, 'in' as const, 'out' as const),
    comments: fc.array(arbText, { maxLength: 3 })
  }),
  plain({ frame: arbBytes(64) }).map(({ frame }) => ({
    type: 'SimplePacket' as const,
    originalLen: frame.length,
    frame
  })),
  plain({
    type: fc.constant('Statistics' as const),
    interface: arbU32,
    dropped: fc.option(fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }))
  }),
  plain({
    type: fc.constant('Other' as const),
    code: fc.integer({ min: 7, max: 0xffff }),
    body: arbWords.map((w) => Uint8Array.from(w.flatMap((x) => [...x])))
  })
)

// --- mutation

/** One lie told about octets: bits flipped, cut or grown, or one 16-bit field overwritten. */
export type Mutation = (bytes: Uint8Array) => Uint8Array
const overwrite = (b: Uint8Array, at: number, value: ReadonlyArray<number>): Uint8Array => {
  const out = b.slice()
  for (const [i, v] of value.entries()) if (at + i < out.length) out[at + i] = v
  return out
}
const arbMutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.tuple(fc.nat(511), fc.nat(7)).map(
    ([i, bit]): Mutation =>
      (b) =>
        b.length === 0 ? b : overwrite(b, i % b.length, [b[i % b.length]! ^ (1 << bit)])
  ),
  fc.nat(511).map(
    (n): Mutation =>
      (b) =>
        b.slice(0, n % (b.length + 1))
  ),
  arbBytes(24).map(
    (tail): Mutation =>
      (b) =>
        Uint8Array.from([...b, ...tail])
  ),
  fc.tuple(fc.nat(63), fc.oneof(fc.constantFrom(0, 1, 7, 8, 20, 0xff, 0xffff), arbU16)).map(
    ([at, v]): Mutation =>
      (b) =>
        overwrite(b, at, [v >>> 8, v & 0xff])
  ),
  fc.tuple(fc.nat(63), arbU8).map(
    ([at, v]): Mutation =>
      (b) =>
        overwrite(b, at, [v])
  )
)
/** Octets of `valid` after one to four lies. */
export const arbMutated = (valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(valid, fc.array(arbMutation, { minLength: 1, maxLength: 4 }))
    .map(([b, lies]) => lies.reduce((acc, lie) => lie(acc), b))
/** Valid, mutated and random octets. */
export const arbHostile = (valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> =>
  fc.oneof({ weight: 4, arbitrary: arbMutated(valid) }, { weight: 1, arbitrary: valid }, arbBytes(128))

// --- the two checks

/** The same octets inside a larger buffer, `before` octets in, everything around them set to `poison`. */
export const embed = (bytes: Uint8Array, before: number, poison: number): Octets => {
  const b = new Uint8Array(before + bytes.length + 97).fill(poison)
  b.set(bytes, before)
  return { view: new DataView(b.buffer), off: before, len: bytes.length }
}

/** Law of `wireCodec`: decode(octets(encode(a))) = right(a). */
export const assertRoundTrip = <A>(codec: t.Type<A, Uint8Array, Octets>, a: A): void => {
  assert.ok(codec.is(a), `${codec.name}.is rejects a value of its own`)
  assert.deepEqual(codec.decode(octets(codec.encode(a))), E.right(a))
}

/**
 * The same octets; else where they begin to differ. assert.deepEqual() would draw the difference of two whole datagrams,
 * which takes newer releases of Node minutes and all memory.
 */
export const assertOctets = (got: Uint8Array, want: Uint8Array): void => {
  if (Buffer.compare(got, want) === 0) return
  const at = want.findIndex((octet, i) => got[i] !== octet)
  const near = (b: Uint8Array): string =>
    Buffer.from(b.subarray(Math.max(0, at), Math.max(0, at) + 16)).toString('hex')
  assert.fail(
    at < 0
      ? `${got.length} octets, not ${want.length}`
      : `${got.length} of ${want.length} octets, at ${at}: ${near(got)}, not ${near(want)}`
  )
}

/**
 * Total and confined: no throw (an exact-size DataView throws on any read outside), and the same result whatever lies
 * around the octets, at an even and at an odd place (#regression-36).
 */
export const assertConfined = <R>(decode: (o: Octets) => R, bytes: Uint8Array): R => {
  const exact = decode(octets(bytes.slice()))
  for (const before of [0, 3, 32]) {
    const [a, b] = [0x00, 0xff].map((poison) => decode(embed(bytes, before, poison)))
    assert.deepEqual(a, b, 'the result depends on octets outside the input')
    if (before === 0) assert.deepEqual(a, exact)
  }
  return exact
}

/** For a codec: Left or Right only, and the value of a Right is one (`is`). */
export const assertTotal = <A>(codec: t.Type<A, Uint8Array, Octets>, bytes: Uint8Array): void => {
  const strip = (o: Octets): unknown => {
    const r = codec.decode(o)
    return E.isLeft(r) ? { left: r.left.map((e) => e.message) } : r.right
  }
  assertConfined(strip, bytes)
  const r = codec.decode(octets(bytes))
  if (E.isRight(r)) assert.ok(codec.is(r.right))
}
