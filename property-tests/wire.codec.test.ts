import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import { decodePcap, PCAP_ETHERNET, PcapHeader, PcapRecord } from '../src/codecs/log/pcap.js'
import { decodePcapng, PcapngBlock } from '../src/codecs/log/pcapng.js'
import { type Octets, octets } from '../src/codecs/value/octets.js'
import {
  finish,
  finishUdp,
  fold,
  isZeroSum,
  PROTO_ICMP,
  PROTO_ICMPV6,
  PROTO_TCP,
  PROTO_UDP,
  plus,
  pseudoSum4,
  pseudoSum6,
  sealL4,
  sealPartial,
  subtract,
  sum16,
  swap
} from '../src/codecs/wire/checksum.js'
import { EthernetFrame } from '../src/codecs/wire/ethernet.js'
import { IcmpMessage, icmpErrorLength, writeIcmpError } from '../src/codecs/wire/icmp.js'
import { Icmpv6Message, icmpv6ErrorLength, isNdp, writeIcmpv6Error } from '../src/codecs/wire/icmpv6.js'
import { Ipv4Packet } from '../src/codecs/wire/ipv4.js'
import { Ipv6Packet } from '../src/codecs/wire/ipv6.js'
import { decodeTcp, SYN, TcpPacket, tcpLength, writeTcp } from '../src/codecs/wire/tcp.js'
import { decodeUdp, UdpDatagram } from '../src/codecs/wire/udp.js'
import { VnetHeader } from '../src/codecs/wire/vnet.js'
import {
  arbBytes,
  arbEthernetFrame,
  arbHost4,
  arbHost6,
  arbHostile,
  arbIcmpMessage,
  arbInAny4,
  arbInAny6,
  arbIpv4Packet,
  arbIpv6Packet,
  arbPcapHeader,
  arbPcapngBlock,
  arbPcapRecord,
  arbPort,
  arbTcpHeader,
  arbTcpPacket,
  arbU8,
  arbU16,
  arbU32,
  arbUdpDatagram,
  arbVnetHeader,
  assertConfined,
  assertRoundTrip,
  assertTotal,
  plain
} from './arbitraries.js'

/** Round trip and totality, for every wire format of this room. */
const laws = <A>(codec: t.Type<A, Uint8Array, Octets>, arb: fc.Arbitrary<A>, title = ''): void => {
  test(`${codec.name}: decode(encode(a)) = right(a)${title}`, () => {
    fc.assert(fc.property(arb, (a) => assertRoundTrip(codec, a)))
  })
  test(`${codec.name}: hostile octets give Left or a value, nothing outside is read (regression-36)`, () => {
    fc.assert(
      fc.property(arbHostile(arb.map((a) => codec.encode(a))), (b) => assertTotal(codec, b)),
      { numRuns: 400 }
    )
  })
}

describe('wire codecs', () => {
  laws(EthernetFrame, arbEthernetFrame)
  laws(Ipv4Packet, arbIpv4Packet)
  laws(Ipv6Packet, arbIpv6Packet)
  laws(TcpPacket, arbTcpPacket)
  laws(UdpDatagram, arbUdpDatagram, ', empty datagrams included (regression-6)')
  laws(IcmpMessage, arbIcmpMessage, ', identifier 0 included (regression-45)')
  laws(Icmpv6Message, arbIcmpMessage)
  laws(VnetHeader, arbVnetHeader)
  laws(PcapHeader, arbPcapHeader)
  laws(PcapRecord, arbPcapRecord)
  laws(PcapngBlock, arbPcapngBlock)
})

test('a value is what its octets say again: nothing that is left out, added, out of range or of another type', () => {
  fc.assert(
    fc.property(
      arbUdpDatagram,
      fc.constantFrom(-1, 0x10000, 1.5, Number.NaN, '1', null, undefined),
      (d, odd) => {
        assert.ok(UdpDatagram.is(d), 'whole')
        assert.ok(UdpDatagram.is({ ...d, payload: Buffer.from(d.payload) }), 'whatever holds the octets')
        for (const key of Object.keys(d) as Array<keyof typeof d>) {
          assert.ok(!UdpDatagram.is({ ...d, [key]: odd }), `${key}: ${odd}`)
          const { [key]: _, ...rest } = d
          assert.ok(!UdpDatagram.is(rest), `without ${key}`)
        }
        assert.ok(!UdpDatagram.is({ ...d, more: 0 }), 'with more')
        assert.ok(!UdpDatagram.is({ ...d, payload: [...d.payload] }), 'octets in a list')
        assert.ok(!UdpDatagram.is(Object.assign(Object.create({ more: 0 }), d)), 'more in its prototype')
      }
    )
  )
  for (const other of [null, undefined, 1, 'text', [], [1, 2, Uint8Array.of(7, 8)]])
    assert.ok(!UdpDatagram.is(other), `${other}`)
})

test('Neighbour Discovery has five types (RFC 4861 §4)', () => {
  assert.deepEqual(
    Array.from({ length: 256 }, (_, type) => type).filter((type) => isNdp(type)),
    [133, 134, 135, 136, 137]
  )
})

describe('checksum (RFC 1071)', () => {
  const view = (b: Uint8Array): DataView => new DataView(b.buffer, b.byteOffset, b.byteLength)
  const naive = (b: Uint8Array): number => {
    let s = 0
    for (let i = 0; i < b.length; i += 2) {
      s += (b[i]! << 8) | (b[i + 1] ?? 0)
      s = (s & 0xffff) + (s >>> 16)
    }
    return s
  }
  test('RFC 1071 §3 example, and a known IPv4 header', () => {
    assert.equal(sum16(view(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7)), 0, 8), 0xddf2)
    const header = Buffer.from('450000730000400040110000c0a80001c0a800c7', 'hex')
    assert.equal(finish(sum16(view(header), 0, 20)), 0xb861)
  })
  test('equals the word by word sum, at odd places and lengths too (regression-52)', () => {
    fc.assert(
      fc.property(arbBytes(300), fc.nat(9), (b, at) => {
        const shifted = new Uint8Array(at + b.length)
        shifted.set(b, at)
        assert.equal(sum16(view(shifted), at, b.length), naive(b))
      }),
      { numRuns: 300 }
    )
  })
  test('of a whole = of its parts, the second swapped behind an odd first (regression-52)', () => {
    fc.assert(
      fc.property(arbBytes(99), arbBytes(99), (a, b) => {
        const whole = Uint8Array.from([...a, ...b])
        const second = sum16(view(b), 0, b.length)
        const parts = plus(sum16(view(a), 0, a.length), a.length & 1 ? swap(second) : second)
        assert.equal(sum16(view(whole), 0, whole.length), parts)
      }),
      { numRuns: 300 }
    )
  })
  test('subtract undoes plus; a sum with its own checksum is zero', () => {
    const norm = (s: number): number => s % 0xffff
    fc.assert(
      fc.property(arbU16, arbU16, arbU32, (a, b, big) => {
        assert.equal(norm(subtract(plus(a, b), b)), norm(a))
        assert.equal(norm(fold(big)), norm(big))
        assert.ok(isZeroSum(plus(fold(big), finish(big))))
        assert.ok(isZeroSum(plus(fold(big), finishUdp(big))))
        assert.notEqual(finishUdp(big), 0)
      })
    )
  })
  test('64 kB of 0xff do not overflow', () => {
    const b = new Uint8Array(65535).fill(0xff)
    assert.equal(sum16(view(b), 0, b.length), naive(b))
  })
  test('sealL4 makes message + pseudo-header zero, whatever the field held before (regression-8)', () => {
    const arb = fc.constantFrom(PROTO_TCP, PROTO_UDP, PROTO_ICMP, PROTO_ICMPV6)
    fc.assert(
      fc.property(
        arb,
        arbBytes(80, 20),
        arbInAny4,
        arbInAny4,
        arbInAny6,
        arbInAny6,
        (proto, l4, s4, d4, s6, d6) => {
          for (const [s, d, pseudo] of [
            [s4, d4, pseudoSum4(s4, d4, proto, l4.length)],
            [s6, d6, pseudoSum6(s6, d6, proto, l4.length)]
          ] as const) {
            const b = l4.slice()
            sealL4(view(b), 0, b.length, proto, s, d)
            assert.ok(isZeroSum(sum16(view(b), 0, b.length, proto === PROTO_ICMP ? 0 : pseudo)))
            // what the device does with VIRTIO_NET_HDR_F_NEEDS_CSUM arrives at the same octets
            if (proto !== PROTO_TCP && proto !== PROTO_UDP) continue
            const p = l4.slice()
            sealPartial(view(p), 0, p.length, proto, s, d)
            const at = proto === PROTO_TCP ? 16 : 6
            const done = finish(sum16(view(p), 0, p.length))
            view(p).setUint16(at, proto === PROTO_UDP ? done || 0xffff : done)
            assert.deepEqual(p, b)
          }
        }
      )
    )
  })
})

describe('TCP options', () => {
  const withOptions = (flags: number, options: ReadonlyArray<number>): Octets => {
    const padded = [...options, ...new Array<number>((4 - (options.length % 4)) % 4).fill(0)]
    const b = new Uint8Array(20 + padded.length)
    b.set([0x12, 0x34, 0x00, 0x50, 0, 0, 0, 1, 0, 0, 0, 2, ((20 + padded.length) / 4) << 4, flags, 1, 0])
    b.set(padded, 20)
    return octets(b)
  }
  const read = (flags: number, options: ReadonlyArray<number>): readonly [number | null, number | null] => {
    const s = decodeTcp(withOptions(flags, options))
    if (typeof s === 'string') throw new Error(s)
    return [s.mss, s.windowScale]
  }
  const mss = [2, 4, 0x05, 0xb4]
  const scale = [3, 3, 7]
  test('what Linux sends: MSS, SACK-permitted, timestamps, NOP, window scale', () => {
    assert.deepEqual(read(SYN, [...mss, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, ...scale]), [1460, 7])
  })
  test('window scale above 14 counts as 14 (RFC 7323 §2.3)', () => {
    assert.deepEqual(read(SYN, [3, 3, 15]), [null, 14])
    assert.deepEqual(read(SYN, [3, 3, 255]), [null, 14])
  })
  test('not on SYN: ignored (RFC 9293 §3.7.1, RFC 7323 §2.2)', () => {
    assert.deepEqual(read(0x10, [...mss, ...scale]), [null, null])
  })
  test('malformed lengths: absent from there on', () => {
    assert.deepEqual(read(SYN, [...mss, 8, 0, 0, 0, ...scale]), [1460, null])
    assert.deepEqual(read(SYN, [8, 1, ...mss]), [null, null])
    assert.deepEqual(read(SYN, [...scale, 8, 40, 0, 0]), [null, 7])
    assert.deepEqual(read(SYN, [2, 3, 5, ...scale]), [null, 7])
    assert.deepEqual(read(SYN, [1, 1, 1, 2]), [null, null])
    assert.deepEqual(read(SYN, [1, 1, 2, 4]), [null, null])
    assert.deepEqual(read(SYN, [1, 1, 3, 3]), [null, null])
    assert.deepEqual(read(SYN, [0, ...mss]), [null, null])
  })
  test('any octets as options: no throw, nothing outside is read', () => {
    fc.assert(
      fc.property(arbBytes(40), (b) => {
        const o = withOptions(SYN, [...b])
        assertConfined(decodeTcp, new Uint8Array(o.view.buffer))
      }),
      { numRuns: 500 }
    )
  })
  test('writeTcp writes in place just what tcpLength says', () => {
    fc.assert(
      fc.property(arbTcpHeader, fc.nat(5), (h, at) => {
        const b = new Uint8Array(64).fill(0xee)
        const len = writeTcp(new DataView(b.buffer), at, h)
        assert.equal(len, tcpLength(h))
        assert.ok(b.every((x, i) => (i >= at && i < at + len) || x === 0xee))
        assert.deepEqual(decodeTcp({ view: new DataView(b.buffer), off: at, len }), {
          ...h,
          payload: { off: at + len, len: 0 }
        })
      })
    )
  })
})

describe('UDP', () => {
  const udp = (srcPort: number, dstPort: number, length: number, have: number): Octets => {
    const b = new Uint8Array(have)
    const v = new DataView(b.buffer)
    for (const [i, n] of [srcPort, dstPort, length].entries()) v.setUint16(2 * i, n)
    return octets(b)
  }
  test('lengths and ports', () => {
    assert.deepEqual(decodeUdp(udp(1, 2, 8, 8)), {
      srcPort: 1,
      dstPort: 2,
      checksum: 0,
      payload: { off: 8, len: 0 }
    })
    assert.deepEqual(decodeUdp(udp(1, 2, 9, 20)), {
      srcPort: 1,
      dstPort: 2,
      checksum: 0,
      payload: { off: 8, len: 1 }
    })
    assert.equal(decodeUdp(udp(1, 2, 7, 20)), 'udp-length')
    assert.equal(decodeUdp(udp(1, 2, 0, 20)), 'udp-length')
    assert.equal(decodeUdp(udp(1, 2, 21, 20)), 'udp-length')
    assert.equal(decodeUdp(udp(0, 2, 8, 8)), 'udp-port-zero')
    assert.equal(decodeUdp(udp(1, 0, 8, 8)), 'udp-port-zero')
    assert.equal(decodeUdp(octets(new Uint8Array(7))), 'udp-short')
  })
})

describe('ICMP errors to the guest (behaviour.md#icmp-errors)', () => {
  const arbError = (host: typeof arbHost4) =>
    plain({
      type: arbU8,
      code: arbU8,
      mtu: arbU16,
      flowLabel: fc.constant(0),
      quote: fc.record({
        src: host,
        dst: host,
        srcPort: arbPort,
        dstPort: arbPort,
        payload: arbBytes(1500).map(octets)
      })
    })
  test('ICMP: 8 octets of data behind a valid IPv4 and UDP header', () => {
    fc.assert(
      fc.property(arbError(arbHost4), (e) => {
        const b = new Uint8Array(80)
        const v = new DataView(b.buffer)
        const len = writeIcmpError(v, 0, e)
        assert.equal(len, icmpErrorLength(e))
        assert.equal(len, 36 + Math.min(8, e.quote.payload.len))
        assert.ok(isZeroSum(sum16(v, 0, len)))
        assert.ok(isZeroSum(sum16(v, 8, 20)), 'quoted IPv4 header')
        assert.equal(v.getUint32(4), e.mtu)
        assert.equal(v.getUint16(10), 28 + e.quote.payload.len)
        assert.deepEqual(
          [v.getUint16(28), v.getUint16(30), v.getUint16(34)],
          [e.quote.srcPort, e.quote.dstPort, 0]
        )
      })
    )
  })
  test('ICMPv6: at most 1280 octets with its IPv6 header (RFC 4443 §2.4 (c)); a whole quote decodes', () => {
    fc.assert(
      fc.property(arbError(arbHost6), arbHost6, arbHost6, (e, src, dst) => {
        const b = new Uint8Array(1400)
        const v = new DataView(b.buffer)
        const len = writeIcmpv6Error(v, 0, e, src, dst)
        assert.equal(len, icmpv6ErrorLength(e))
        assert.ok(len + 40 <= 1280)
        assert.ok(isZeroSum(sum16(v, 0, len, pseudoSum6(src, dst, PROTO_ICMPV6, len))))
        const p = Ipv6Packet.decode({ view: v, off: 8, len: len - 8 })
        assert.equal(p._tag, e.quote.payload.len + 96 <= 1280 ? 'Right' : 'Left')
        if (p._tag === 'Right') {
          const d = octets(p.right.payload)
          assert.ok(
            isZeroSum(sum16(d.view, 0, d.len, pseudoSum6(e.quote.src, e.quote.dst, PROTO_UDP, d.len)))
          )
        }
      })
    )
  })
})

describe('pcap', () => {
  test('a capture file reads back, cut anywhere it gives a reason', () => {
    fc.assert(
      fc.property(fc.array(arbPcapRecord, { maxLength: 5 }), fc.nat(400), (records, cut) => {
        const file = Buffer.concat([
          PcapHeader.encode(PCAP_ETHERNET),
          ...records.map((r) => PcapRecord.encode(r))
        ])
        assert.deepEqual(decodePcap(octets(file)), records)
        const part = assertConfined(decodePcap, Uint8Array.from(file.subarray(0, cut)))
        if (typeof part !== 'string') assert.deepEqual(part, records.slice(0, part.length))
      })
    )
  })
  test('the header in octets', () => {
    assert.equal(
      Buffer.from(PcapHeader.encode(PCAP_ETHERNET)).toString('hex'),
      'd4c3b2a10200040000000000000000000000040001000000'
    )
  })
})

describe('pcapng', () => {
  const section = PcapngBlock.encode({ type: 'Section', application: 'pasta' })
  test('a capture file reads back, cut anywhere it gives a reason', () => {
    fc.assert(
      fc.property(fc.array(arbPcapngBlock, { maxLength: 5 }), fc.nat(400), (blocks, cut) => {
        const file = Buffer.concat([section, ...blocks.map((b) => PcapngBlock.encode(b))])
        const all = [{ type: 'Section', application: 'pasta' }, ...blocks]
        assert.deepEqual(decodePcapng(octets(file)), all)
        const part = assertConfined(decodePcapng, Uint8Array.from(file.subarray(0, cut)))
        if (typeof part !== 'string') assert.deepEqual(part, all.slice(0, part.length))
      })
    )
  })
  test('blocks in octets (draft-ietf-opsawg-pcapng §4.1, §4.2)', () => {
    const hex = (b: Parameters<typeof PcapngBlock.encode>[0]): string =>
      Buffer.from(PcapngBlock.encode(b)).toString('hex')
    assert.equal(
      hex({ type: 'Section', application: '' }),
      '0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000'
    )
    assert.equal(
      hex({ type: 'Interface', linkType: 1, snapLen: 0, name: 'eth0', resolution: 9 }),
      '010000002800000001000000000000000200040065746830090001000900000000000000' + '28000000'
    )
  })
  test('options end with their end or with the block (§3.5); nothing behind the end is one', () => {
    const named = '0200' + '0400' + '65746830'
    const micros = '0900' + '0100' + '06000000'
    for (const [options, name] of [
      [`${named}${micros}`, 'eth0'],
      [`${micros}${named}`, 'eth0'],
      [`${named}00000000${micros.replace('06', '09')}`, 'eth0'],
      [`00000000${named}`, ''],
      [`01000000${named}`, 'eth0'],
      ['', ''],
      ['0200', null],
      ['02000400657468', null],
      ['020005006574683065', null],
      ['0200050065746830', null],
      [`${named}020001`, null]
    ] as const) {
      const body = Uint8Array.from(Buffer.from(`0100000000000000${options}`, 'hex'))
      const r = PcapngBlock.decode(octets(PcapngBlock.encode({ type: 'Other', code: 1, body })))
      if (name === null) assert.equal(r._tag, 'Left', options)
      else
        assert.deepEqual(
          r,
          E.right({ type: 'Interface', linkType: 1, snapLen: 0, name, resolution: 6 }),
          options
        )
    }
  })
})
