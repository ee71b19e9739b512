// Captures of both formats, both byte orders, any link type, read in pieces of any size.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import {
  BLOCK_MAX,
  type CapturedFrame,
  type CaptureFormat,
  NEW_CAPTURE,
  nextInCapture
} from '../src/codecs/log/capture-file.js'
import {
  LINK_ETHERNET,
  LINK_IPV4,
  LINK_LINUX_SLL,
  LINK_LINUX_SLL2,
  LINK_LOOP,
  LINK_NULL,
  LINK_RAW,
  type LinkFrame,
  linkFrame
} from '../src/codecs/log/link-layer.js'
import { PcapHeader } from '../src/codecs/log/pcap.js'
import { PcapngBlock } from '../src/codecs/log/pcapng.js'
import { bytesOf, octets } from '../src/codecs/value/octets.js'
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../src/codecs/wire/ethernet.js'
import { type TcpOption, TcpOptions } from '../src/codecs/wire/tcp-options.js'
import {
  arbBytes,
  arbHostile,
  arbMac,
  arbSeq,
  arbU8,
  arbU16,
  arbU32,
  assertRoundTrip,
  assertTotal,
  plain
} from './arbitraries.js'

interface Read {
  readonly frames: readonly CapturedFrame[]
  readonly end: 'end' | 'cut' | string
}
/** All of a file that comes in pieces of `piece` octets: frames, and how it ended. */
const readAll = (file: Uint8Array, piece: number): Read => {
  const frames: CapturedFrame[] = []
  let format: CaptureFormat = NEW_CAPTURE
  let have = 0
  let at = 0
  for (let steps = 0; ; steps++) {
    assert.ok(steps <= file.length + 1, 'each step goes on')
    if (at === file.length) return { frames, end: 'end' }
    const s = nextInCapture(format, octets(Uint8Array.from(file.subarray(at, Math.max(at, have)))))
    if (s.tag === 'Fault') return { frames, end: s.reason }
    if (s.tag === 'More') {
      assert.ok(s.need > have - at && s.need <= BLOCK_MAX + 16, `${s.need}`)
      if (have === file.length) return { frames, end: 'cut' }
      have = Math.min(file.length, Math.max(have + piece, at + s.need))
      continue
    }
    assert.ok(s.used >= 8 && at + s.used <= have)
    if (s.tag === 'Frame') frames.push(s.frame)
    if (s.tag === 'Format') format = s.format
    at += s.used
  }
}

interface Frame {
  readonly seconds: number
  /** µs or ns */
  readonly part: number
  readonly bytes: Uint8Array
  readonly more: number
}
const arbFrame: fc.Arbitrary<Frame> = plain({
  seconds: fc.nat(0x7fffffff),
  part: fc.nat(999_999),
  bytes: arbBytes(40),
  more: fc.nat(100)
})

const u32 = (little: boolean, ...words: number[]): Buffer => {
  const b = Buffer.alloc(4 * words.length)
  for (const [i, w] of words.entries()) little ? b.writeUInt32LE(w, 4 * i) : b.writeUInt32BE(w, 4 * i)
  return b
}
const pcap = (little: boolean, nanos: boolean, linkType: number, frames: readonly Frame[]): Buffer =>
  Buffer.concat([
    PcapHeader.encode({ littleEndian: little, nanos, snapLen: 0, linkType }),
    ...frames.flatMap((f) => [
      u32(little, f.seconds, f.part, f.bytes.length, f.bytes.length + f.more),
      f.bytes
    ])
  ])

const padded = (b: Uint8Array): Buffer => Buffer.concat([b, Buffer.alloc(-b.length & 3)])
const pcapng = (little: boolean, resolution: number, linkType: number, frames: readonly Frame[]): Buffer => {
  const block = (code: number, ...body: Uint8Array[]): Buffer => {
    const all = Buffer.concat(body)
    return Buffer.concat([u32(little, code, all.length + 12), all, u32(little, all.length + 12)])
  }
  const u16 = (...words: number[]): Buffer => {
    const b = Buffer.alloc(2 * words.length)
    for (const [i, w] of words.entries()) little ? b.writeUInt16LE(w, 2 * i) : b.writeUInt16BE(w, 2 * i)
    return b
  }
  const perSecond = resolution === 0x94 ? 2 ** 20 : 10 ** resolution
  return Buffer.concat([
    block(0x0a0d0d0a, u32(little, 0x1a2b3c4d), u16(1, 0), u32(little, 0xffffffff, 0xffffffff)),
    block(1, u16(linkType, 0), u32(little, 0), u16(9, 1), Buffer.from([resolution, 0, 0, 0]), u16(0, 0)),
    block(4, u32(little, 0)), // names, of no interest
    ...frames.map((f) => {
      const time = BigInt(f.seconds) * BigInt(perSecond) + BigInt(f.part)
      const words = [0, Number(time >> 32n), Number(time & 0xffffffffn), f.bytes.length]
      return block(6, u32(little, ...words, f.bytes.length + f.more), padded(f.bytes))
    })
  ])
}

const assertSame = (read: Read, frames: readonly Frame[], linkType: number, perSecond: number): void => {
  assert.equal(read.end, 'end')
  assert.equal(read.frames.length, frames.length)
  for (const [i, f] of frames.entries()) {
    const got = read.frames[i]!
    assert.deepEqual(Buffer.from(bytesOf(got.frame)), Buffer.from(f.bytes))
    assert.equal(got.originalLen, f.bytes.length + f.more)
    assert.equal(got.linkType, linkType)
    assert.ok(Math.abs(got.at - (f.seconds + f.part / perSecond)) < 1e-6)
  }
}

describe('captures', () => {
  const arbFrames = fc.array(arbFrame, { maxLength: 6 })
  const arbPiece = fc.integer({ min: 1, max: 200 })
  test('pcap: both byte orders, µs and ns (draft-ietf-opsawg-pcap §4)', () =>
    fc.assert(
      fc.property(arbFrames, fc.boolean(), fc.boolean(), arbU16, arbPiece, (frames, little, nanos, link, n) =>
        assertSame(readAll(pcap(little, nanos, link, frames), n), frames, link, nanos ? 1e9 : 1e6)
      )
    ))
  test('pcapng: both byte orders, any resolution (draft-ietf-opsawg-pcapng §4)', () =>
    fc.assert(
      fc.property(
        arbFrames,
        fc.boolean(),
        fc.constantFrom(6, 9, 0x94),
        arbU16,
        arbPiece,
        (frames, little, resolution, link, n) => {
          const perSecond = resolution === 0x94 ? 2 ** 20 : 10 ** resolution
          assertSame(readAll(pcapng(little, resolution, link, frames), n), frames, link, perSecond)
        }
      )
    ))
  test('cut anywhere, the frames before the cut come', () =>
    fc.assert(
      fc.property(arbFrames, fc.boolean(), fc.boolean(), fc.nat(1000), (frames, little, ng, cut) => {
        const whole = ng ? pcapng(little, 6, 1, frames) : pcap(little, false, 1, frames)
        const part = readAll(whole.subarray(0, cut % (whole.length + 1)), 7)
        assert.ok(part.end === 'end' || part.end === 'cut', part.end)
        const read = (r: Read) =>
          r.frames.map((f) => [f.at, f.originalLen, Buffer.from(bytesOf(f.frame)).toString('hex')])
        assert.deepEqual(read(part), read(readAll(whole, 7)).slice(0, part.frames.length))
      })
    ))
  test('any octets come to an end, and nothing outside of them is read', () =>
    fc.assert(
      fc.property(
        arbHostile(
          fc
            .tuple(arbFrames, fc.boolean(), fc.boolean())
            .map(([f, little, ng]) =>
              Uint8Array.from(ng ? pcapng(little, 6, 1, f) : pcap(little, true, 1, f))
            )
        ),
        (bytes) => {
          readAll(bytes, 50)
        }
      ),
      { numRuns: 1000 }
    ))
})

describe('link layers', () => {
  const NONE = { src: null, dst: null, vlan: 0, ifIndex: 0 }
  const v4 = Uint8Array.of(0x45, 1, 2, 3)
  const v6 = Uint8Array.of(0x60, 1, 2)
  const arbLink: fc.Arbitrary<LinkFrame> = plain({
    type: fc.constantFrom(ETHERTYPE_IPV4, ETHERTYPE_IPV6, 0x0806, 0x88cc),
    src: arbMac,
    dst: arbMac,
    vlan: fc.nat(0xfff),
    ifIndex: arbU32,
    payload: arbBytes(40)
  })
  const cases: readonly (readonly [number, fc.Arbitrary<LinkFrame>])[] = [
    [LINK_ETHERNET, arbLink.map((f) => ({ ...f, ifIndex: 0 }))],
    [LINK_LINUX_SLL, arbLink.map((f) => ({ ...f, ifIndex: 0, dst: null }))],
    [LINK_LINUX_SLL2, arbLink.map((f) => ({ ...f, vlan: 0, dst: null }))],
    ...[LINK_NULL, LINK_LOOP, LINK_RAW, LINK_IPV4].map(
      (type) =>
        [
          type,
          fc.boolean().map((six) => ({
            ...NONE,
            type: six ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4,
            payload: six ? v6 : v4
          }))
        ] as const
    )
  ]
  for (const [type, arb] of cases)
    test(`link type ${type}: round trip; any octets`, () => {
      const codec = linkFrame(type)
      fc.assert(fc.property(arb, (f) => assertRoundTrip(codec, f)))
      fc.assert(fc.property(arbHostile(arb.map((f) => codec.encode(f))), (b) => assertTotal(codec, b)))
    })
})

test('what is no capture is told apart from one that cannot be read', () => {
  const said = (hex: string): string => {
    const step = nextInCapture(NEW_CAPTURE, octets(Uint8Array.from(Buffer.from(hex.padEnd(48, '0'), 'hex'))))
    return step.tag === 'Fault' ? step.reason : step.tag
  }
  assert.equal(said('7f454c46'), 'neither pcap nor pcapng')
  assert.equal(said('d4c3b2a102000400'), 'Format')
  assert.match(said('d4c3b2a109000400'), /^pcap: /)
})
test('a sender is one of six octets; a simple packet has its length (draft-ietf-opsawg-pcapng §4.4)', () => {
  const from = (length: number): unknown => {
    const head = Buffer.alloc(18)
    head.writeUInt16BE(length, 4)
    head.writeUInt16BE(0x0800, 14)
    const r = linkFrame(LINK_LINUX_SLL).decode(octets(Uint8Array.from(head)))
    return E.isRight(r) ? r.right.src : r
  }
  assert.deepEqual([from(6), from(0), from(8)], [0, null, null])
  const simple = (length: number): string => {
    const block = PcapngBlock.encode({ type: 'Other', code: 3, body: new Uint8Array(length) })
    return PcapngBlock.decode(octets(block))._tag
  }
  assert.deepEqual([simple(0), simple(4)], ['Left', 'Right'])
})

test('of the two loopbacks one has the order of whoever captured, the other that of the network (pcap-linktype(7))', () => {
  const read = (type: number, hex: string): string => {
    const r = linkFrame(type).decode(octets(Uint8Array.from(Buffer.from(hex, 'hex'))))
    return E.isLeft(r) ? 'none' : `${r.right.type.toString(16)} ${r.right.payload.length}`
  }
  for (const [hex, host, network] of [
    ['00000002', '800 0', '800 0'],
    ['02000000', '800 0', 'none'],
    ['0000000260', '800 1', '800 1'],
    ['1e000000', '86dd 0', 'none'],
    ['0000001c', '86dd 0', '86dd 0'],
    ['00000018', '86dd 0', '86dd 0'],
    ['00000003', 'none', 'none'],
    ['000002', 'none', 'none']
  ] as const)
    assert.deepEqual([read(LINK_NULL, hex), read(LINK_LOOP, hex)], [host, network], hex)
})

describe('TCP options', () => {
  const arbOption: fc.Arbitrary<TcpOption> = fc.oneof(
    fc.constant({ tag: 'Nop' as const }),
    plain({ tag: fc.constant('Mss' as const), mss: arbU16 }),
    plain({ tag: fc.constant('WindowScale' as const), shift: arbU8 }),
    fc.constant({ tag: 'SackPermitted' as const }),
    plain({
      tag: fc.constant('Sack' as const),
      blocks: fc.array(plain({ left: arbSeq, right: arbSeq }), { minLength: 1, maxLength: 4 })
    }),
    plain({ tag: fc.constant('Timestamps' as const), val: arbU32, ecr: arbU32 }),
    plain({ tag: fc.constant('Other' as const), kind: fc.integer({ min: 9, max: 255 }), data: arbBytes(10) })
  )
  test('round trip; any octets (RFC 9293 §3.2)', () => {
    const arb = fc
      .tuple(fc.array(arbOption, { maxLength: 5 }), fc.option(arbBytes(3)))
      .map(([list, padding]) => (padding === null ? list : [...list, { tag: 'End' as const, padding }]))
    fc.assert(fc.property(arb, (list) => assertRoundTrip(TcpOptions, list)))
    fc.assert(
      fc.property(arbHostile(arb.map((l) => TcpOptions.encode(l))), (b) => assertTotal(TcpOptions, b))
    )
  })
})
