import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { fromV4, type InAny, LOOPBACK6, writeV6 } from '../src/codecs/value/inany.js'
import { type Octets, octets } from '../src/codecs/value/octets.js'
import { PROTO_ICMP, PROTO_TCP, PROTO_UDP } from '../src/codecs/wire/checksum.js'
import { type DropReason, decodeFrame, type Frame, type FrameMeta } from '../src/codecs/wire/frame.js'
import { MAX_EXTENSIONS } from '../src/codecs/wire/ipv6.js'
import { TcpPacket } from '../src/codecs/wire/tcp.js'
import { UdpDatagram } from '../src/codecs/wire/udp.js'
import { DATAGRAMS_MAX } from '../src/codecs/wire/vnet.js'
import { arbBytes, arbHostile, arbU8, arbU32, assertConfined, embed } from './arbitraries.js'
import {
  arbFrame,
  arbFrame4,
  arbFrame6,
  build,
  checksumAt,
  type Extension,
  type FrameSpec,
  metaOf,
  NEEDS_CSUM,
  sealIpv4
} from './frame-spec.js'

const KIND = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6' } as const
const decode = (o: Octets): Frame | DropReason => decodeFrame(o, metaOf(o))
const decodeBytes = (b: Uint8Array, meta?: FrameMeta): Frame | DropReason =>
  decodeFrame(octets(b), meta ?? metaOf(octets(b)))
const dataLen = (s: FrameSpec): number => s.l4.length - (s.proto === PROTO_TCP ? (s.l4[12]! >>> 4) * 4 : 8)

/** `f` is what `s` says, at `off` in its buffer. */
const assertIs = (f: Frame | DropReason, s: FrameSpec, off: number): void => {
  const b = build(s)
  if (typeof f === 'string') assert.fail(f)
  if (f.kind === 'arp' || f.kind === 'other') assert.fail(f.kind)
  assert.equal(f.kind, KIND[s.proto as keyof typeof KIND])
  assert.deepEqual(f.eth, { dst: s.dst, src: s.src, type: s.v6 ? 0x86dd : 0x0800 })
  assert.deepEqual(f.ip, {
    src: s.from,
    dst: s.to,
    ttl: s.ttl,
    v6: s.v6,
    proto: s.proto,
    flowLabel: s.flowLabel,
    off: off + b.l4,
    len: b.end - b.l4
  })
  const data = { off: off + b.l4 + s.l4.length - dataLen(s), len: dataLen(s) }
  assert.deepEqual(f.l4.payload, data)
  if (f.kind === 'tcp' || f.kind === 'udp') {
    assert.deepEqual([f.l4.srcPort, f.l4.dstPort], [(s.l4[0]! << 8) | s.l4[1]!, (s.l4[2]! << 8) | s.l4[3]!])
  } else assert.deepEqual([f.l4.type, f.l4.code], [s.l4[0], s.l4[1]])
}

const udpOf = (payload: Uint8Array): Uint8Array =>
  UdpDatagram.encode({ srcPort: 1000, dstPort: 2000, payload })
const NONE = new Uint8Array(0)
const HOST6: InAny = [0x20010db8, 0, 0, 1]
const PEER6: InAny = [0x20010db8, 0, 0, 2]
const spec4: FrameSpec = {
  dst: 0x9a5500000001,
  src: 0x525400000002,
  v6: false,
  from: fromV4(0xc0000202),
  to: fromV4(0xc6336401),
  ttl: 64,
  tos: 0,
  flowLabel: 0,
  proto: PROTO_UDP,
  options: NONE,
  extensions: [],
  l4: udpOf(Uint8Array.of(1, 2, 3)),
  surplus: NONE,
  padding: NONE
}
const spec6: FrameSpec = { ...spec4, v6: true, from: HOST6, to: PEER6 }
const drop = (s: FrameSpec, change?: (b: Uint8Array) => void): Frame | DropReason => {
  const { bytes } = build(s)
  change?.(bytes)
  return decodeBytes(bytes)
}

describe('datagrams of one frame', () => {
  const frame = (base: FrameSpec, octets: number, gsoSize: number): Frame | DropReason =>
    decodeBytes(build({ ...base, l4: udpOf(new Uint8Array(octets)) }).bytes, { ...NEEDS_CSUM, gsoSize })
  test('are as many as Linux cuts of a message, or it is dropped by name', () => {
    fc.assert(
      fc.property(fc.boolean(), fc.nat(65_000), fc.nat(65_535), (v6, octets, size) => {
        const base = v6 ? spec6 : spec4
        const f = frame(base, octets, size)
        if (size > 0 && octets > size * DATAGRAMS_MAX) assert.equal(f, 'udp-segments')
        else assertIs(f, { ...base, l4: udpOf(new Uint8Array(octets)) }, 0)
      })
    )
  })
  test('65,507 of one octet each: one frame, and a system call for each in one turn', () => {
    assert.equal(frame(spec4, 65_507, 1), 'udp-segments')
  })
  test('128 and an end, 129', () => {
    for (const base of [spec4, spec6]) {
      assert.notEqual(frame(base, 128 * 500, 500), 'udp-segments')
      assert.equal(frame(base, 128 * 500 + 1, 500), 'udp-segments')
    }
  })
  test('the size says nothing of other protocols', () => {
    fc.assert(
      fc.property(arbFrame, fc.integer({ min: 1, max: 65_535 }), (s, gsoSize) => {
        if (s.proto === PROTO_UDP) return
        assertIs(decodeBytes(build(s).bytes, { ...NEEDS_CSUM, gsoSize }), s, 0)
      })
    )
  })
})

describe('valid frames', () => {
  test('come out as they were built: options, extension headers (regression-D), padding (regression-M), empty UDP (regression-6), odd places and lengths (regression-36, regression-52)', () => {
    fc.assert(
      fc.property(arbFrame, fc.nat(9), (s, off) => {
        assertIs(decode(embed(build(s).bytes, off, 0xa5)), s, off)
      }),
      { numRuns: 1000 }
    )
  })
  test('NEEDS_CSUM: any L4 checksum will do, 0 over IPv6 too', () => {
    fc.assert(
      fc.property(arbFrame, arbU8, arbU8, (s, hi, lo) => {
        const b = build(s)
        b.bytes.set([hi, lo], checksumAt(s, b))
        assertIs(decodeBytes(b.bytes, NEEDS_CSUM), s, 0)
        b.bytes.set([0, 0], checksumAt(s, b))
        assertIs(decodeBytes(b.bytes, NEEDS_CSUM), s, 0)
      })
    )
  })
  test('regression-M: minimum-size frames of both families, padded with zeros or not with zeros', () => {
    for (const base of [spec4, spec6]) {
      for (const fill of [0, 0xff]) {
        for (const n of [0, 1, 2, 3, 17]) {
          const s = { ...base, padding: new Uint8Array(n).fill(fill) }
          assertIs(decodeBytes(build(s).bytes), s, 0)
        }
      }
    }
  })
  test('regression-D: each extension header alone leaves the ports where they are', () => {
    for (const type of [0, 43, 44, 60, 135, 139, 140, 253, 254]) {
      for (const size of type === 44 ? [6] : [6, 14, 254]) {
        const s = { ...spec6, extensions: [{ type, body: new Uint8Array(size) }] }
        assertIs(decodeBytes(build(s).bytes), s, 0)
      }
    }
  })
  test('regression-6: an empty datagram is one', () => {
    for (const base of [spec4, spec6]) {
      const s = { ...base, l4: udpOf(NONE) }
      const f = decodeBytes(build(s).bytes)
      assertIs(f, s, 0)
      assert.ok(typeof f !== 'string' && f.kind === 'udp' && f.l4.payload.len === 0)
    }
  })
  test('UDP over IPv4 without checksum is taken, over IPv6 it is not (RFC 768, RFC 8200 §8.1)', () => {
    const none = (b: Uint8Array): void => b.set([0, 0], b.length - 5)
    assert.equal(typeof drop(spec4, none), 'object')
    assert.equal(drop(spec6, none), 'udp-checksum-missing')
  })
  test('ARP and unknown IP protocols are handed on', () => {
    const arp = build(spec4).bytes
    arp.set([8, 6], 12)
    const f = decodeBytes(arp)
    assert.ok(typeof f !== 'string' && f.kind === 'arp' && f.off === 14 && f.len === arp.length - 14)
    for (const s of [spec4, spec6]) {
      const g = drop({ ...s, proto: 47 })
      assert.ok(typeof g !== 'string' && g.kind === 'other' && g.ip.proto === 47)
    }
    const icmp6in4 = drop({ ...spec4, proto: 58 })
    assert.ok(typeof icmp6in4 !== 'string' && icmp6in4.kind === 'other')
    const icmp4in6 = drop({ ...spec6, proto: PROTO_ICMP })
    assert.ok(typeof icmp4in6 !== 'string' && icmp4in6.kind === 'other')
  })
})

describe('broken frames', () => {
  test('one flipped bit in the L4 part: dropped', () => {
    fc.assert(
      fc.property(arbFrame, fc.nat(0xffff), fc.nat(7), (s, i, bit) => {
        const b = build({ ...s, surplus: NONE })
        const at = b.l4 + (i % s.l4.length)
        b.bytes[at]! ^= 1 << bit
        const sumAt = checksumAt(s, b)
        fc.pre(s.v6 || s.proto !== PROTO_UDP || b.bytes[sumAt] !== 0 || b.bytes[sumAt + 1] !== 0)
        assert.equal(typeof decodeBytes(b.bytes), 'string')
      }),
      { numRuns: 500 }
    )
  })
  test('one flipped bit in the IPv4 header: dropped', () => {
    fc.assert(
      fc.property(arbFrame4, fc.nat(0xff), fc.nat(7), (s, i, bit) => {
        const b = build(s)
        b.bytes[14 + (i % (b.l4 - 14))]! ^= 1 << bit
        assert.match(String(decodeBytes(b.bytes)), /^ip4-/)
      }),
      { numRuns: 300 }
    )
  })
  test('one flipped bit in the padding changes nothing (regression-52: odd places)', () => {
    fc.assert(
      fc.property(arbFrame, arbBytes(46, 1), fc.nat(45), fc.nat(7), (s0, padding, i, bit) => {
        const s = { ...s0, padding }
        const b = build(s)
        b.bytes[b.end + (i % padding.length)]! ^= 1 << bit
        assertIs(decodeBytes(b.bytes), s, 0)
      })
    )
  })
  test('cut anywhere before the end of the IP packet: dropped', () => {
    fc.assert(
      fc.property(arbFrame, fc.nat(0xffff), (s, n) => {
        const b = build(s)
        assert.equal(typeof decodeBytes(b.bytes.slice(0, n % b.end)), 'string')
      })
    )
  })
  test('IPv4 fragments and the reserved bit: dropped, each by its name', () => {
    fc.assert(
      fc.property(arbFrame4, fc.integer({ min: 1, max: 0xffff }), (s, bits) => {
        const field = bits & 0xbfff ? bits : bits | 1
        const b = build(s).bytes
        b.set([field >>> 8, field & 0xff], 20)
        sealIpv4(b)
        assert.equal(decodeBytes(b), field & 0x8000 ? 'ip4-reserved-bit' : 'ip4-fragment')
      })
    )
  })
  test('IPv6 fragments that are not atomic: dropped, anywhere in the chain', () => {
    fc.assert(
      fc.property(arbFrame6, fc.nat(5), fc.integer({ min: 0, max: 0xffff }), (s, i, bits) => {
        const offsetAndM = bits & 0xfff9 ? bits : bits | 1
        const body = Uint8Array.of(offsetAndM >>> 8, offsetAndM & 0xff, 0, 0, 0, 1)
        const extensions = [
          ...s.extensions.slice(0, i),
          { type: 44, reserved: 0, body },
          ...s.extensions.slice(i)
        ]
        assert.equal(drop({ ...s, extensions }), 'ip6-fragment')
      })
    )
  })
  test('AH, ESP and no-next-header: dropped, directly or behind others', () => {
    fc.assert(
      fc.property(arbFrame6, fc.constantFrom(50, 51, 59), (s, proto) => {
        assert.equal(drop({ ...s, proto }), proto === 59 ? 'ip6-no-next-header' : 'ip6-ipsec')
      })
    )
  })
  test('extension headers: a length past the end, an endless chain', () => {
    const one: Extension = { type: 60, body: new Uint8Array(6) }
    assert.equal(
      drop({ ...spec6, extensions: [one] }, (b) => b.set([255], 55)),
      'ip6-extension-length'
    )
    const many = (n: number): FrameSpec => ({ ...spec6, extensions: new Array<Extension>(n).fill(one) })
    assertIs(drop(many(MAX_EXTENSIONS)), many(MAX_EXTENSIONS), 0)
    assert.equal(drop(many(MAX_EXTENSIONS + 1)), 'ip6-extension-chain')
    const zeros = new Uint8Array(65549) // hop-by-hop up to the end of the longest packet
    zeros.set([0x86, 0xdd, 0x60, 0, 0, 0, 0xff, 0xd7], 12)
    assert.equal(decodeBytes(zeros), 'ip6-extension-chain')
  })
  test('each remaining reason, by example', () => {
    const rows: ReadonlyArray<readonly [DropReason, Frame | DropReason]> = [
      ['eth-short', decodeBytes(new Uint8Array(13))],
      ['eth-type', drop(spec4, (b) => b.set([0x81, 0x00], 12))],
      ['ip4-short', decodeBytes(build(spec4).bytes.slice(0, 33))],
      ['ip4-version', drop(spec4, (b) => b.set([0x65], 14))],
      ['ip4-header-length', drop(spec4, (b) => b.set([0x44], 14))],
      ['ip4-header-length', drop(spec4, (b) => b.set([0x4f], 14))],
      ['ip4-total-length', drop(spec4, (b) => b.set([0, 19], 16))],
      ['ip4-total-length', drop(spec4, (b) => b.set([1, 0], 16))],
      ['ip4-checksum', drop(spec4, (b) => b.set([1, 2], 24))],
      ['ip6-short', decodeBytes(build(spec6).bytes.slice(0, 53))],
      ['ip6-version', drop(spec6, (b) => b.set([0x45], 14))],
      ['ip6-payload-length', drop(spec6, (b) => b.set([1, 0], 18))],
      ['ip-loopback', drop({ ...spec4, to: fromV4(0x7f000001) })],
      ['ip-loopback', drop({ ...spec4, from: fromV4(0x7fffffff) })],
      ['ip-loopback', drop({ ...spec6, to: LOOPBACK6 })],
      ['ip-loopback', drop({ ...spec6, from: LOOPBACK6 })],
      ['ip6-mapped-address', drop({ ...spec6, to: fromV4(0x7f000001) })],
      ['ip6-mapped-address', drop({ ...spec6, from: fromV4(0xc0000201) })],
      ['ip-source-multicast', drop({ ...spec4, from: fromV4(0xe0000001) })],
      ['tcp-short', drop({ ...spec4, proto: PROTO_TCP, l4: new Uint8Array(19) })],
      ['tcp-data-offset', drop({ ...spec4, proto: PROTO_TCP, l4: new Uint8Array(20) })],
      [
        'udp-short',
        drop(spec4, (b) => {
          b.set([0, 27], 16)
          sealIpv4(b)
        })
      ],
      ['udp-length', drop(spec4, (b) => b.set([0, 7], 38))],
      ['udp-port-zero', drop(spec4, (b) => b.set([0, 0], 36))],
      ['udp-checksum', drop(spec4, (b) => b.set([9, 9], 40))],
      ['icmp-short', drop({ ...spec4, proto: PROTO_ICMP, l4: new Uint8Array(7) })]
    ]
    for (const [want, got] of rows) assert.equal(got, want)
  })
  test('regression-40: TCP to or from port 0 is dropped by name', () => {
    const l4 = TcpPacket.encode({
      srcPort: 1,
      dstPort: 1,
      seq: 0 as never,
      ack: 0 as never,
      flags: 2,
      wnd: 0,
      urgent: 0,
      mss: null,
      windowScale: null,
      payload: NONE
    })
    for (const at of [0, 2]) {
      const broken = l4.slice()
      broken.fill(0, at, at + 2)
      assert.equal(drop({ ...spec6, proto: PROTO_TCP, l4: broken }), 'tcp-port-zero')
    }
  })
  test('v4-mapped is what has all 96 bits of it, as a source too', () => {
    fc.assert(
      fc.property(fc.nat(1), fc.nat(1), arbU32, (a, b, d) => {
        const got = drop({ ...spec6, from: [a, b, 0xffff, d] })
        assert.equal(got === 'ip6-mapped-address', a + b === 0, `${a} ${b}`)
      })
    )
  })
  test('a v4-mapped destination in an IPv6 header never passes for IPv4', () => {
    fc.assert(
      fc.property(arbFrame6, fc.integer({ min: 0, max: 0xffffffff }), fc.boolean(), (s, w, source) => {
        const b = build(s).bytes
        writeV6(new DataView(b.buffer), source ? 22 : 38, fromV4(w))
        assert.equal(decodeBytes(b, NEEDS_CSUM), 'ip6-mapped-address')
      })
    )
  })
})

describe('hostile octets', () => {
  const inside = (o: Octets, r: { readonly off: number; readonly len: number }): void => {
    assert.ok(r.len >= 0 && r.off >= o.off && r.off + r.len <= o.off + o.len, `${r.off}+${r.len} outside`)
  }
  const check = (o: Octets, f: Frame | DropReason): void => {
    if (typeof f === 'string') return
    inside(o, f.kind === 'arp' ? f : f.ip)
    if (f.kind !== 'arp' && f.kind !== 'other') inside(o, f.l4.payload)
  }
  const valid = arbFrame.map((s) => build(s).bytes)
  for (const [name, meta] of [
    ['verifying', metaOf],
    ['NEEDS_CSUM', () => NEEDS_CSUM]
  ] as const) {
    test(`${name}: a frame or a named reason, ranges inside, nothing read outside`, () => {
      fc.assert(
        fc.property(arbHostile(valid), (b) => {
          assertConfined((o) => {
            const f = decodeFrame(o, meta(o))
            check(o, f)
            return f
          }, b)
        }),
        { numRuns: 1500 }
      )
    })
  }
  test('behind a right IPv4 header: mutated L4 parts', () => {
    fc.assert(
      fc.property(arbFrame4, arbHostile(fc.constant(udpOf(Uint8Array.of(1, 2, 3)))), (s, l4) => {
        fc.pre(l4.length >= 8)
        const o = octets(build({ ...s, l4: l4.length < 20 && s.proto === PROTO_TCP ? s.l4 : l4 }).bytes)
        check(o, decodeFrame(o, NEEDS_CSUM))
        check(o, decode(o))
      }),
      { numRuns: 500 }
    )
  })
})
