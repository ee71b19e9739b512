// What a guest can cause to be said and counted: however many frames it sends, so many lines in a time, and names of ours.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { fromV4 } from '../src/codecs/value/inany.js'
import { PROTO_UDP, sealL4 } from '../src/codecs/wire/checksum.js'
import { DhcpMessage } from '../src/codecs/wire/dhcp.js'
import { ETH_LEN, ETHERTYPE_IPV4, writeEthernet } from '../src/codecs/wire/ethernet.js'
import { IPV4_LEN, ipv4Header, writeIpv4 } from '../src/codecs/wire/ipv4.js'
import { UDP_LEN, writeUdp } from '../src/codecs/wire/udp.js'
import { VNET_NEEDS_CSUM } from '../src/codecs/wire/vnet.js'
import { instant } from '../src/effects/effect.js'
import { ERROR_BURST, ERROR_EVERY } from '../src/machines/flow/host-errors.js'
import { BURST, EVERY } from '../src/machines/log/log-limiter.js'
import { ABI_WORDS, EF, EV, type Native } from '../src/runtime/abi/abi.js'
import { ringsOver } from '../src/runtime/abi/rings.js'
import { install } from '../src/runtime/data/feature.js'
import { createWorld, type World } from '../src/runtime/data/world.js'
import { basicFeatures } from '../src/runtime/engine/features.js'
import { handleTurn } from '../src/runtime/engine/loop.js'
import { EVENT_KINDS, logTo } from '../src/runtime/log/log.js'
import { NOTICE_EVERY, NOTICED } from '../src/runtime/observe/notices.js'
import { observers } from '../src/runtime/observe/watch.js'
import { arbHostile } from './arbitraries.js'
import { fragment, udpFrame } from './fragment-arbitraries.js'
import { arbFrame, build, sealIpv4 } from './frame-spec.js'
import { arbDhcp, GUEST_MAC, OWN_MAC } from './services-arbitraries.js'
import { WORLD_CONFIG } from './world-config.js'

const AT = 0x80000
const GUEST = fromV4(0xc6336402)
const PEER = fromV4(0xc6336403)

/** A world that nobody carries out effects for, and what is said in it. */
const guestWorld = (): {
  readonly w: World
  readonly lines: string[]
  /** `flags`: of its virtio-net header. */
  send(frame: Uint8Array, ms: number, flags?: number): void
} => {
  const lines: string[] = []
  let now = 1
  const native = { listen: () => Int32Array.of(0), closeListener: () => true } as Partial<Native> as Native
  const rings = ringsOver(native, {
    slab: new ArrayBuffer(0x100000),
    effects: new ArrayBuffer(4096 * ABI_WORDS * 4),
    events: new ArrayBuffer(16 * ABI_WORDS * 4),
    clock: new ArrayBuffer(16)
  })
  const log = logTo(
    [{ level: 'info', write: (_, level, text) => void lines.push(`${level} ${text}`) }],
    0,
    () => now
  )
  const w = createWorld(WORLD_CONFIG, rings, log, new Map(), new Map(), 64)
  install(w.features, [...basicFeatures(w), ...observers(w, { trace: false, stats: 0 })])
  return {
    w,
    lines,
    send: (frame, ms, flags = VNET_NEEDS_CSUM) => {
      now += ms
      rings.slab.set(frame, AT)
      rings.ev.fill(0, 0, ABI_WORDS)
      rings.ev.set([EV.TAP_FRAME, 0, AT, frame.length, flags])
      for (const look of w.features.effects) look()
      rings.effects = 0
      rings.tx = 0
      handleTurn(w, 1, instant(now))
    }
  }
}

/** An IPv4 packet of UDP from the guest; `fragment`: more fragments follow, and this is its identification. */
const udp4 = (dstPort: number, data: Uint8Array, fragment: number | null = null): Uint8Array => {
  const len = UDP_LEN + data.length
  const frame = new Uint8Array(ETH_LEN + IPV4_LEN + len)
  const v = new DataView(frame.buffer)
  writeEthernet(v, 0, { dst: OWN_MAC, src: GUEST_MAC, type: ETHERTYPE_IPV4 })
  writeIpv4(v, ETH_LEN, ipv4Header(GUEST, PEER, PROTO_UDP, 64), len)
  const l4 = ETH_LEN + IPV4_LEN
  frame.set(data, l4 + UDP_LEN)
  writeUdp(v, l4, { srcPort: 68, dstPort }, data.length)
  sealL4(v, l4, len, PROTO_UDP, GUEST, PEER)
  if (fragment !== null) {
    v.setUint16(ETH_LEN + 4, fragment)
    v.setUint16(ETH_LEN + 6, 0x2000)
    sealIpv4(frame)
  }
  return frame
}
const dhcp = (type: number): Uint8Array =>
  udp4(
    67,
    DhcpMessage.encode({
      op: 1,
      htype: 1,
      hlen: 6,
      hops: 0,
      xid: type,
      secs: 0,
      flags: 0,
      ciaddr: fromV4(0),
      yiaddr: fromV4(0),
      siaddr: fromV4(0),
      giaddr: fromV4(0),
      chaddr: new Uint8Array(16),
      sname: new Uint8Array(64),
      file: new Uint8Array(128),
      options: [{ code: 53, data: Uint8Array.of(type) }]
    })
  )

/** Lines that there may be in `ms`: of each kind of message, and of what is noticed. */
const most = (ms: number): number =>
  EVENT_KINDS.length * (BURST + ms / EVERY) + NOTICED.length * (2 + ms / NOTICE_EVERY)

describe('messages that a guest causes', () => {
  test('a name that was never counted before does not open the limit again', () => {
    const g = guestWorld()
    const changed = (at: number, to: number): Uint8Array => {
      const f = udp4(9, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18))
      f[at] = to
      return f
    }
    const ip = ETH_LEN
    const others = [
      new Uint8Array(10),
      changed(12, 0x77),
      changed(ip, 0x55),
      changed(ip, 0x41),
      changed(ip + 2, 0xff),
      changed(ip + 6, 0x80),
      changed(ip + 10, 0xff),
      dhcp(200)
    ]
    for (const [i, other] of others.entries()) {
      // Two first fragments of one datagram contradict each other
      g.send(udp4(7, new Uint8Array(8), i), 50, 0)
      g.send(udp4(7, new Uint8Array(16), i), 50, 0)
      g.send(other, 100)
    }
    assert.ok(g.w.counters.size > others.length, [...g.w.counters.keys()].join(', '))
    const noticed = g.lines.filter((l) => /fragments contradict/.test(l))
    assert.equal(noticed.length, 1, noticed.join('\n'))
  })
  test('errors about its fragments: no more of them than of all others (RFC 4443 §2.4 (f))', () => {
    const g = guestWorld()
    const { bytes } = build(udpFrame(true, new Uint8Array(100)))
    const { w } = g
    let told = 0
    for (let id = 0; id < 1000; id++) {
      // In the middle of a datagram, and no multiple of 8 octets long
      g.send(fragment(bytes, id, { start: 0, end: 41, more: true }), id % 10 === 0 ? 1 : 0, 0)
      for (let i = 0; i < w.rings.effects; i++) if (w.rings.fx[i * ABI_WORDS] === EF.TAP_WRITE) told++
    }
    assert.equal(w.counters.get('drop-fragment-length'), 1000)
    assert.ok(told >= ERROR_BURST && told <= ERROR_BURST + 100 / ERROR_EVERY, `${told} errors in 100 ms`)
    assert.equal(w.counters.get('icmp-error-withheld'), 1000 - told)
  })
  test('names that it is counted by are ours, whatever it writes into its messages', () => {
    const g = guestWorld()
    for (let type = 0; type < 256; type++) g.send(dhcp(type), 10)
    const names = [...g.w.counters.keys()]
    assert.ok(names.length < 10, names.join(', '))
  })
  test('whatever it sends: at most so many lines in a time, and counters of a closed set', () => {
    const frame = fc.oneof(
      arbFrame.map((s) => build(s).bytes),
      arbHostile(arbFrame.map((s) => build(s).bytes)),
      arbDhcp.map((m) => udp4(67, DhcpMessage.encode(m))),
      fc.integer({ min: 0, max: 255 }).map(dhcp),
      fc.uint8Array({ maxLength: 100 }).map((b) => udp4(7, b, 1))
    )
    const steps = fc.array(fc.tuple(frame, fc.integer({ min: 0, max: 200 })), {
      minLength: 100,
      maxLength: 400
    })
    const names = new Set<string>()
    fc.assert(
      fc.property(steps, (list) => {
        const g = guestWorld()
        let ms = 0
        for (const [f, gap] of list) {
          g.send(f.subarray(0, 60_000), gap)
          ms += gap
        }
        assert.ok(g.lines.length <= most(ms), `${g.lines.length} lines in ${ms} ms`)
        for (const name of g.w.counters.keys()) names.add(name)
      }),
      { numRuns: 30 }
    )
    for (const name of names) assert.doesNotMatch(name, /\d{2}/, 'a number of the guest makes a name')
  })
})
