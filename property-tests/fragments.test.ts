import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { octets } from '../src/codecs/value/octets.js'
import { finish, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, sum16 } from '../src/codecs/wire/checksum.js'
import { decodeFragment } from '../src/codecs/wire/fragment.js'
import { decodeFrame } from '../src/codecs/wire/frame.js'
import { GSO_UDP_L4, VNET_DATA_VALID, VNET_LEN, VNET_NEEDS_CSUM } from '../src/codecs/wire/vnet.js'
import { instant } from '../src/effects/effect.js'
import { NO_FRAGMENTS, TIMEOUT_V6 } from '../src/machines/link/reassembly.js'
import { ABI_WORDS, EF, EV, type Native } from '../src/runtime/abi/abi.js'
import { ringsOver } from '../src/runtime/abi/rings.js'
import { install } from '../src/runtime/data/feature.js'
import { fragments, type Waiting } from '../src/runtime/data/fragments.js'
import { guestDown } from '../src/runtime/data/guest.js'
import { createWorld, type World, type WorldConfig } from '../src/runtime/data/world.js'
import { basicFeatures } from '../src/runtime/engine/features.js'
import { handleTurn } from '../src/runtime/engine/loop.js'
import type { Deadline } from '../src/runtime/flow/deadline.js'
import { logTo, type Sink } from '../src/runtime/log/log.js'
import { traceTurns } from '../src/runtime/observe/trace.js'
import { dataLength, fragment, piecesOf, udpFrame } from './fragment-arbitraries.js'
import { build, metaOf } from './frame-spec.js'
import { WORLD_CONFIG } from './world-config.js'

/**
 * A world whose effects nobody carries out: frames of the guest go in, records of the effect ring come out. With what waits of
 * fragments there, and until when.
 */
type Place = World & { readonly held: Waiting; readonly deadline: Deadline }

const worldOf = (more: Partial<WorldConfig> = {}, lines: string[] | null = null): Place => {
  const rings = ringsOver({} as Native, {
    slab: new ArrayBuffer(0x800000),
    effects: new ArrayBuffer(256 * ABI_WORDS * 4),
    events: new ArrayBuffer(16 * ABI_WORDS * 4),
    clock: new ArrayBuffer(16)
  })
  const sinks: Sink[] =
    lines === null ? [] : [{ level: 'trace', write: (_, _level, text) => void lines.push(text) }]
  const log = logTo(sinks, 0, () => 0)
  const w = createWorld({ ...WORLD_CONFIG, ...more }, rings, log, new Map(), new Map(), 64)
  const held: Waiting = { state: NO_FRAGMENTS, pool: null }
  const others = basicFeatures(w).filter((f) => f.name !== 'fragments')
  const it = fragments(w, held)
  install(w.features, [...others, it, ...(lines === null ? [] : [traceTurns(w)])])
  w.guest.up = true
  return Object.assign(w, { held, deadline: it.deadline })
}
/** Where native puts what it reads. */
const AT = 0x600000

/** One frame, one turn: the effects of it. */
const take = (w: World, frame: Uint8Array, offload = 0): void => {
  const r = w.rings
  r.effects = 0
  r.tx = 0
  r.slab.set(frame, AT)
  r.ev.fill(0, 0, ABI_WORDS)
  r.ev.set([EV.TAP_FRAME, 0, AT, frame.length, offload], 0)
  handleTurn(w, 1, instant(1000))
}
const records = (w: World, kind: number): Uint8Array[] => {
  const { fx, slab, effects } = w.rings
  return Array.from({ length: effects }, (_, i) => i * ABI_WORDS)
    .filter((at) => fx[at] === kind)
    .map((at) => slab.slice(fx[at + 2], fx[at + 2]! + fx[at + 3]!))
}
/** The ICMP message that the guest gets: its first 8 octets, and what it quotes. */
const errorOf = (w: World) => {
  const [vnetFrame] = records(w, EF.TAP_WRITE)
  const bytes = (vnetFrame ?? assert.fail('no answer')).subarray(VNET_LEN)
  const f = decodeFrame(octets(bytes), metaOf(octets(bytes)))
  assert.ok(typeof f !== 'string' && (f.kind === 'icmp' || f.kind === 'icmpv6'), JSON.stringify(f))
  return { f, bytes, quote: bytes.subarray(f.l4.payload.off, f.l4.payload.off + f.l4.payload.len) }
}
const counted = (w: World): string[] => [...w.counters.keys()]

for (const v6 of [false, true]) {
  const data = Uint8Array.from({ length: 4000 }, (_, i) => i * 7)
  const spec = udpFrame(v6, data)
  const { bytes } = build(spec)
  const pieces = piecesOf(dataLength(bytes), [1480, 2960]).map((p) => fragment(bytes, 77, p))
  const [one, two, three] = pieces as [Uint8Array, Uint8Array, Uint8Array]

  describe(`IPv${v6 ? 6 : 4}`, () => {
    test('one UdpToSock with the whole payload, when the last fragment comes', () => {
      const w = worldOf()
      assert.equal(w.held.pool, null)
      take(w, three)
      take(w, one)
      assert.equal(w.rings.effects, 0)
      take(w, two)
      assert.deepEqual(records(w, EF.UDP_SEND), [data])
      assert.equal(w.deadline.at, Number.POSITIVE_INFINITY)
    })
    test('the checksum is verified over the whole', () => {
      const w = worldOf()
      two[two.length - 1]! ^= 1
      for (const p of pieces) take(w, p)
      two[two.length - 1]! ^= 1
      assert.deepEqual(records(w, EF.UDP_SEND), [])
      assert.ok(counted(w).includes('drop-udp-checksum'))
    })
    test('with a checksum to complete, or segments to cut: dropped; one that was verified: not', () => {
      for (const offload of [VNET_NEEDS_CSUM, GSO_UDP_L4 << 8]) {
        const w = worldOf()
        take(w, one, offload)
        assert.deepEqual(counted(w), ['drop-fragment-offload'])
        assert.equal(w.held.state.length, 0)
      }
      const w = worldOf()
      for (const p of pieces) take(w, p, VNET_DATA_VALID)
      assert.equal(records(w, EF.UDP_SEND).length, 1)
    })
    test('of a family that is switched off: dropped', () => {
      const w = worldOf(v6 ? { v6: false } : { v4: false })
      take(w, one)
      assert.deepEqual(counted(w), ['drop-family-disabled'])
    })
    test('time exceeded quotes the first fragment as it came', () => {
      const w = worldOf()
      take(w, two)
      take(w, one)
      w.rings.effects = 0
      handleTurn(w, 0, instant(w.deadline.at - 1))
      assert.equal(w.rings.effects, 0)
      handleTurn(w, 0, instant(w.deadline.at))
      const { f, bytes: sent, quote } = errorOf(w)
      assert.deepEqual([f.l4.type, f.l4.code], v6 ? [3, 1] : [11, 1])
      assert.deepEqual([f.ip.src, f.ip.dst, f.eth.dst], [spec.to, spec.from, spec.src])
      assert.equal(sent.length - 14, v6 ? 1280 : 576)
      assert.deepEqual(quote, one.subarray(14, 14 + quote.length))
      assert.equal(w.deadline.at, Number.POSITIVE_INFINITY)
    })
    test('another guest gets nothing of it', () => {
      const w = worldOf()
      take(w, one)
      take(w, two)
      guestDown(w)
      take(w, three)
      assert.deepEqual(records(w, EF.UDP_SEND), [])
    })
  })
}

test('a first fragment has the whole header of its upper layer, or not: of TCP 20 octets, of UDP and ICMP 8 (RFC 8200 §5)', () => {
  const whole = (v6: boolean, proto: number, octetsOfData: number): boolean => {
    const { bytes } = build(udpFrame(v6, new Uint8Array(64)))
    const cut = fragment(bytes, 7, { start: 0, end: octetsOfData, more: true })
    cut[v6 ? 54 : 23] = proto
    if (!v6) {
      cut.fill(0, 24, 26)
      const view = new DataView(cut.buffer, cut.byteOffset)
      view.setUint16(24, finish(sum16(view, 14, 20)))
    }
    const f = decodeFragment(octets(cut))
    return typeof f === 'string' ? assert.fail(f) : f.headersWhole
  }
  for (const v6 of [false, true])
    for (const [proto, need] of [
      [PROTO_TCP, 24], // a fragment's data come in eights
      [PROTO_UDP, 8],
      [v6 ? PROTO_ICMPV6 : PROTO_ICMP, 8],
      [132, 0]
    ] as const)
      for (const octetsOfData of [0, 8, 16, 24])
        assert.equal(whole(v6, proto, octetsOfData), octetsOfData >= need, `${v6} ${proto} ${octetsOfData}`)
})

test('IPv6: a fragment header may stand behind atomic ones and others, but not behind any number (RFC 6946, RFC 8200 §4.1)', () => {
  const { bytes } = build(udpFrame(true, new Uint8Array(64)))
  const first = fragment(bytes, 7, { start: 0, end: 16, more: true })
  /** What is read with `n` headers of that kind in front, 8 octets each; the last one is an atomic fragment's or of options. */
  const behind = (n: number, kind: number, reserved: number): unknown => {
    const chain = Array.from({ length: n }, () => [44, reserved, 0, 0, 0, 0, 0, 1])
    for (const [i, h] of chain.entries()) h[0] = i === n - 1 ? 44 : kind
    const b = Uint8Array.from([...first.subarray(0, 54), ...chain.flat(), ...first.subarray(54)])
    b[20] = n === 0 ? 44 : kind
    new DataView(b.buffer).setUint16(18, b.length - 54)
    const f = decodeFragment(octets(b))
    return typeof f === 'string' ? f : [f.id, f.start, f.end, f.more, f.headLen]
  }
  const DESTINATION = 60
  for (const n of [0, 1, 2, 31]) {
    const at = [7, 0, 16, true, 62 + 8 * n]
    assert.deepEqual(behind(n, 44, 0), at, `${n}`)
    // What is reserved is no length
    assert.deepEqual(behind(n, 44, 9), at, `${n}`)
    assert.deepEqual(behind(n, DESTINATION, 0), at, `${n}`)
  }
  for (const kind of [44, DESTINATION]) assert.equal(behind(32, kind, 0), 'not-a-fragment')
  // Of what the first one holds behind it
  const whole = (proto: number, data: ReadonlyArray<number>): unknown => {
    const b = Uint8Array.from(first)
    b[54] = proto
    b.set(data, 62)
    const f = decodeFragment(octets(b))
    return typeof f === 'string' ? f : [f.headersWhole, f.icmpError]
  }
  const NO_NEXT = 59
  assert.deepEqual(whole(NO_NEXT, []), [true, false])
  assert.deepEqual(whole(DESTINATION, [NO_NEXT, 0]), [true, false])
  assert.deepEqual(whole(DESTINATION, [NO_NEXT, 2]), [false, false])
})

test('ICMPv6 parameter problem: code, pointer and the fragment as it came (RFC 8200 §4.5)', () => {
  const { bytes } = build(udpFrame(true, new Uint8Array(100)))
  const f = fragment(bytes, 1, { start: 0, end: 33, more: true })
  const w = worldOf()
  take(w, Uint8Array.from([...f, 0, 0, 0]))
  const e = errorOf(w)
  assert.deepEqual([e.f.l4.type, e.f.l4.code, e.f.l4.id, e.f.l4.seq], [4, 0, 0, 4])
  assert.deepEqual(e.quote, f.subarray(14))
})
test('Neighbour Discovery in fragments is ignored (RFC 6980 §5)', () => {
  const l4 = new Uint8Array(40)
  l4[0] = 135
  const { bytes } = build({ ...udpFrame(true, new Uint8Array(0)), proto: PROTO_ICMPV6, l4, ttl: 255 })
  const w = worldOf()
  for (const p of piecesOf(40, [24])) take(w, fragment(bytes, 1, p))
  assert.ok(counted(w).includes('drop-ndp-fragmented'))
  assert.equal(w.rings.effects, 0)
})
test('a fragment inside of what was put together is not taken apart again', () => {
  const inner = build(udpFrame(true, new Uint8Array(60))).bytes
  const nested = fragment(inner, 5, { start: 0, end: 64, more: true })
  const w = worldOf()
  for (const p of piecesOf(dataLength(nested), [32])) take(w, fragment(nested, 6, p))
  assert.ok(counted(w).includes('drop-ip6-fragment'), counted(w).join())
  assert.equal(w.held.state.length, 0)
})
test('--trace shows each fragment, and what they make', () => {
  const lines: string[] = []
  const w = worldOf({}, lines)
  const { bytes } = build(udpFrame(false, new Uint8Array(100)))
  for (const p of piecesOf(dataLength(bytes), [48])) take(w, fragment(bytes, 9, p))
  assert.deepEqual(
    lines.filter((l) => l.startsWith('from guest')),
    [
      'from guest: fragment 198.51.100.2 > 198.51.100.3 id 9 octets 0-48+',
      'from guest: fragment 198.51.100.2 > 198.51.100.3 id 9 octets 48-108',
      'from guest: UDP 198.51.100.2:1000 > 198.51.100.3:2000 len 100'
    ]
  )
})
test('the loop wakes for the deadline', () => {
  const w = worldOf()
  take(w, fragment(build(udpFrame(true, new Uint8Array(100))).bytes, 1, { start: 0, end: 48, more: true }))
  assert.equal(w.deadline.at, 1000 + TIMEOUT_V6)
})

describe('towards the guest', () => {
  /** Datagrams of the peer's, one turn each: the IPv4 header's identification and DF. */
  const sent = (v6: boolean, ...datagrams: ReadonlyArray<readonly [number, number]>) => {
    const w = worldOf()
    take(w, build(udpFrame(v6, new Uint8Array(1))).bytes, VNET_NEEDS_CSUM)
    const { ev, view, fx } = w.rings
    return datagrams.map(([len, segment]) => {
      w.rings.effects = 0
      w.rings.tx = 0
      ev.fill(0, 0, ABI_WORDS)
      ev.set([EV.DATAGRAM, 0, AT + 256, len, segment], 0)
      handleTurn(w, 1, instant(1001))
      assert.equal(fx[0], EF.TAP_WRITE)
      const ip = fx[2]! + VNET_LEN + 14
      return { id: view.getUint16(ip + 4), df: view.getUint16(ip + 6) === 0x4000 }
    })
  }
  test('IPv4: what may not fit a link behind a guest that routes has no DF, and a number of its own', () => {
    const got = sent(false, [1252, 0], [1253, 0], [3000, 1000], [4000, 1400], [60000, 0], [0, 0])
    assert.deepEqual(got, [
      { id: 0, df: true },
      { id: 1, df: false },
      { id: 0, df: true },
      { id: 2, df: false },
      { id: 5, df: false },
      { id: 0, df: true }
    ])
  })
  test('the numbers go round, without 0', () => {
    const got = sent(false, ...Array.from({ length: 70_000 }, () => [2000, 0] as const))
    assert.ok(got.every((g) => g.id > 0 && !g.df))
    for (const [i, g] of got.entries()) if (i > 0) assert.notEqual(g.id, got[i - 1]!.id)
  })
})
