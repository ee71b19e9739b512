import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { octets } from '../src/codecs/value/octets.js'
import { seq } from '../src/codecs/value/seq.js'
import { PROTO_TCP } from '../src/codecs/wire/checksum.js'
import { decodeFrame } from '../src/codecs/wire/frame.js'
import { ACK, RST, SYN, TcpPacket } from '../src/codecs/wire/tcp.js'
import { VNET_LEN, VNET_NEEDS_CSUM } from '../src/codecs/wire/vnet.js'
import { instant } from '../src/effects/effect.js'
import { NO_NEIGHBOURS } from '../src/machines/address/neighbours.js'
import { ABI_WORDS, EF, EV, type Native } from '../src/runtime/abi/abi.js'
import { ringsOver } from '../src/runtime/abi/rings.js'
import { type Feature, install } from '../src/runtime/data/feature.js'
import { createWorld, type World } from '../src/runtime/data/world.js'
import { apiOf } from '../src/runtime/engine/api.js'
import { allFeatures, basicFeatures } from '../src/runtime/engine/features.js'
import { linkClientOf } from '../src/runtime/engine/guest-link.js'
import { rulesNow } from '../src/runtime/engine/live-rules.js'
import { handleTurn } from '../src/runtime/engine/loop.js'
import { Deadline, earliest } from '../src/runtime/flow/deadline.js'
import type { Flow } from '../src/runtime/flow/flow.js'
import type { Opening } from '../src/runtime/flow/kinds.js'
import { logTo } from '../src/runtime/log/log.js'
import { statsTurns } from '../src/runtime/observe/stats.js'
import type { Plan } from '../src/runtime/plan/plan-types.js'
import { assertOctets } from './arbitraries.js'
import { udpFrame } from './fragment-arbitraries.js'
import { build, type FrameSpec, NEEDS_CSUM } from './frame-spec.js'
import { START } from './recorded.js'
import { WORLD_CONFIG } from './world-config.js'

const SLAB = 0x40000
const place = (): World =>
  createWorld(
    WORLD_CONFIG,
    ringsOver({} as Native, {
      slab: new ArrayBuffer(SLAB),
      effects: new ArrayBuffer(64 * ABI_WORDS * 4),
      events: new ArrayBuffer(8 * ABI_WORDS * 4),
      clock: new ArrayBuffer(16)
    }),
    logTo([], 0, () => 0),
    new Map(),
    new Map(),
    64
  )
const EVERYTHING = {
  link: { kind: 'socket', path: null },
  vhostUser: 'all',
  oneOff: false,
  migrateExit: false,
  migrateNoLinger: false,
  pcap: 'x.pcapng',
  confPath: '/x',
  apiPath: '/y',
  trace: true,
  stats: 1
} as const
const NEIGHBOURS = {
  config: { ownMac: 2, nat: WORLD_CONFIG.nat, index4: 1, index6: 1 },
  table: NO_NEIGHBOURS
}

const HERE = { mode: 'passt', guest: null, conf: null, api: () => null, rules: rulesNow([]), left: () => {} }

test('each record that native can write has one feature that takes it', () => {
  const w = place()
  const all = allFeatures(w, EVERYTHING, {
    neighbours: NEIGHBOURS,
    host: START,
    follow: null,
    portScan: null,
    rules: { now: rulesNow([]), door: { begin: () => {}, go: () => '' } },
    client: linkClientOf(null),
    here: HERE,
    life: null,
    api: apiOf(w, { mode: 'pasta' } as Plan, null, rulesNow([]), () => new Float64Array(), null)
  })
  install(w.features, all)
  const taken = all.flatMap((f) => Object.keys(f.takes ?? {}))
  // SPLICE_MOVED answers what nobody asks
  const written = Object.keys(EV).filter((name) => name !== 'SPLICE_MOVED')
  assert.deepEqual(taken.sort(), written.sort())
})

test('two that take the same are refused, by name', () => {
  const w = place()
  const one: Feature = { name: 'one', takes: { BOUND: () => {} } }
  assert.throws(() => install(w.features, [one, { ...one, name: 'two' }]), /BOUND: both 'one' and 'two'/)
})

test('what nobody takes is counted', () => {
  const w = place()
  w.rings.ev[0] = EV.NETLINK
  handleTurn(w, 1, instant(1))
  assert.equal(w.counters.get('event-without-flow'), 1)
})

test('a feature that fails in its time holds up no other', () => {
  const w = place()
  let ran = 0
  const bad: Feature = {
    name: 'bad',
    deadline: new Deadline(5),
    onTime: () => {
      throw new Error('a bug')
    }
  }
  const good: Feature = { name: 'good', deadline: new Deadline(5), onTime: () => void ran++ }
  install(w.features, [bad, good])
  handleTurn(w, 0, instant(4))
  assert.equal(ran, 0)
  handleTurn(w, 0, instant(5))
  assert.deepEqual([ran, w.counters.get('internal-error')], [1, 1])
})

test('the loop wakes for the earliest deadline of those that wake it', () => {
  const of = (...list: Deadline[]): number => earliest(list.map((deadline) => ({ deadline })))
  assert.equal(of(), Number.POSITIVE_INFINITY)
  assert.equal(of(new Deadline(7), new Deadline(3, false), new Deadline(5)), 5)
})

describe('what may be asked of flows', () => {
  const udp = udpFrame(false, Uint8Array.of(1, 2, 3))
  const syn: FrameSpec = {
    ...udp,
    proto: PROTO_TCP,
    l4: TcpPacket.encode({
      srcPort: 1000,
      dstPort: 80,
      seq: seq(7),
      ack: seq(0),
      flags: SYN,
      wnd: 1000,
      urgent: 0,
      mss: 1460,
      windowScale: null,
      payload: new Uint8Array()
    })
  }
  /** A world in which the guest sends; each time the frames that it got, decoded. */
  const guest = (f: Omit<Feature, 'name'>) => {
    const w = place()
    install(w.features, [...basicFeatures(w), { name: 'asked', ...f }])
    const framesOut = (): Uint8Array[] => {
      const frames: Uint8Array[] = []
      for (let i = 0; i < w.rings.effects; i++) {
        const [kind, , off = 0, len = 0] = w.rings.fx.subarray(i * ABI_WORDS)
        if (kind === EF.TAP_WRITE) frames.push(w.rings.slab.slice(off + VNET_LEN, off + len))
      }
      return frames
    }
    const send = (frame: FrameSpec, ms = 1) => {
      const { bytes } = build(frame)
      const at = SLAB / 2
      w.rings.effects = 0
      w.rings.tx = 0
      w.rings.slab.set(bytes, at)
      w.rings.ev.fill(0, 0, ABI_WORDS)
      w.rings.ev.set([EV.TAP_FRAME, 0, at, bytes.length, VNET_NEEDS_CSUM])
      handleTurn(w, 1, instant(ms))
      const kinds = Array.from({ length: w.rings.effects }, (_, i) => w.rings.fx[i * ABI_WORDS] ?? 0)
      return { kinds, frames: framesOut().map((f) => decodeFrame(octets(f), NEEDS_CSUM)) }
    }
    return { w, send, framesOut }
  }

  test('a policy refuses a connection: it is reset, and nothing was done for it', () => {
    const asked: Opening[] = []
    const began: Flow[] = []
    const { w, send } = guest({
      mayOpen: (o) => {
        asked.push(o)
        return false
      },
      flowBegan: (f) => void began.push(f)
    })
    const { kinds, frames } = send(syn)
    assert.deepEqual(kinds, [EF.TAP_WRITE])
    const [reset] = frames
    assert.ok(typeof reset !== 'string' && reset?.kind === 'tcp')
    assert.deepEqual([reset.l4.flags, reset.l4.ack], [RST | ACK, 8])
    assert.deepEqual(
      asked.map((o) => [o.kind, o.kind === 'tcp' && o.syn?.dstPort]),
      [['tcp', 80]]
    )
    assert.deepEqual([w.counters.get('refused-by-policy'), began.length, w.flows.length], [1, 0, 0])
  })

  test('a policy refuses datagrams: their sender is told that communication is prohibited', () => {
    const { send } = guest({ mayOpen: (o) => o.kind !== 'udp' })
    const { kinds, frames } = send(udp)
    assert.deepEqual(kinds, [EF.TAP_WRITE])
    const [told] = frames
    // RFC 1812 §5.2.7.1: 13, communication administratively prohibited
    assert.ok(typeof told !== 'string' && told?.kind === 'icmp')
    assert.deepEqual([told.l4.type, told.l4.code], [3, 13])
    assert.ok(send(syn, 2).kinds.includes(EF.TCP_CONNECT))
  })

  test('one that says no is enough; who comes behind it is not asked', () => {
    let asked = 0
    const w = place()
    const says = (name: string, yes: boolean): Feature => ({ name, mayOpen: () => asked++ >= 0 && yes })
    install(w.features, [...basicFeatures(w), says('yes', true), says('no', false), says('behind', true)])
    assert.deepEqual(
      w.features.mayOpen.map((f) => f({} as Opening, instant(1))),
      [true, false, true]
    )
    asked = 0
    w.rings.slab.set(build(syn).bytes, 0x100)
    w.rings.ev.set([EV.TAP_FRAME, 0, 0x100, build(syn).bytes.length, VNET_NEEDS_CSUM])
    handleTurn(w, 1, instant(1))
    assert.equal(asked, 2)
  })

  test('a flow that began ends once, when its place is free; whoever ended it', () => {
    const began: Flow[] = []
    const ended: Flow[] = []
    const { w, send } = guest({
      flowBegan: (f) => void began.push(f),
      flowEnded: (f) => {
        assert.equal(w.flows[f.index], undefined)
        ended.push(f)
      }
    })
    send(syn)
    send(udp, 2)
    assert.deepEqual([began.map((f) => f.kind), ended], [['tcp', 'udp'], []])
    // the connection by a record about its socket, the other one by its timer
    w.rings.effects = 0
    w.rings.ev.fill(0, 0, ABI_WORDS)
    w.rings.ev.set([EV.FAILED, began[0]?.index ?? -1])
    w.rings.ev[13] = 111
    handleTurn(w, 1, instant(3))
    assert.deepEqual(ended, began.slice(0, 1))
    handleTurn(w, 0, instant(200_000))
    assert.deepEqual(ended, began)
    handleTurn(w, 0, instant(400_000))
    assert.equal(ended.length, 2)
    for (const bug of ['effect-misplaced', 'flow-ended-with-open-socket', 'internal-error'] as const)
      assert.equal(w.counters.get(bug), undefined, bug)
  })

  test('an answer from the host is one frame to the guest, with its octets and length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1400 }), (answer) => {
        const { w, send, framesOut } = guest({})
        send(udp)
        const at = SLAB / 2 + 256
        w.rings.effects = 0
        w.rings.tx = 0
        w.rings.slab.set(answer, at)
        w.rings.ev.fill(0, 0, ABI_WORDS)
        w.rings.ev.set([EV.DATAGRAM, w.flows.find((f) => f !== undefined)?.index ?? -1, at, answer.length])
        handleTurn(w, 1, instant(2))
        const [frame] = framesOut()
        assert.equal(framesOut().length, 1)
        // 60 octets at least (IEEE 802.3 §4.2.3.3)
        assert.equal(frame?.length, Math.max(60, 14 + 20 + 8 + answer.length))
        const f = decodeFrame(octets(frame), NEEDS_CSUM)
        assert.ok(typeof f !== 'string' && f.kind === 'udp')
        assert.deepEqual([f.l4.srcPort, f.l4.dstPort, f.l4.payload.len], [2000, 1000, answer.length])
        assertOctets(frame.slice(f.l4.payload.off, f.l4.payload.off + answer.length), answer)
      }),
      { numRuns: 50 }
    )
  })

  test('--stats: what a turn brought, in a row; turns without an event say and count nothing', () => {
    const lines: string[] = []
    const { w, send } = guest({})
    install(w.features, [statsTurns(w, 10, (l) => void lines.push(l))])
    const rows = (): number[][] => lines.slice(1).map((l) => l.trim().split(/ +/).map(Number))
    handleTurn(w, 0, instant(1))
    assert.deepEqual(lines, [])
    send(udp, 2)
    // what the turn's records lead to is in the next row
    assert.deepEqual(rows(), [[1, 1, 0, 0, 0, 0, 0, 0, 0, 0]])
    // within the delay: in the next row, with a drop that the limits name, and a record about the flow's socket
    send({ ...udp, proto: 200 }, 3)
    handleTurn(w, 0, instant(13))
    assert.equal(rows().length, 1)
    w.rings.ev.fill(0, 0, ABI_WORDS)
    w.rings.ev.set([EV.REFUSED, w.flows.find((f) => f !== undefined)?.index ?? -1])
    handleTurn(w, 1, instant(14))
    assert.deepEqual(rows().slice(1), [[2, 1, 0, 0, 1, 0, 0, 0, 1, 1]])
    // a listener's number is no flow's; the refusal is counted as a drop
    w.rings.ev[0] = EV.LISTEN_TROUBLE
    handleTurn(w, 1, instant(30))
    assert.deepEqual(rows().slice(2), [[1, 0, 0, 0, 0, 0, 0, 0, 1, 1]])
  })

  test('a bug in a machine ends its flow, and that is told', () => {
    const began: Flow[] = []
    const ended: Flow[] = []
    const { w, send } = guest({ flowBegan: (f) => void began.push(f), flowEnded: (f) => void ended.push(f) })
    send(udp)
    const [f] = began
    assert.ok(f !== undefined)
    const { state } = f
    let reads = 0
    // as its machine steps
    Object.defineProperty(f, 'state', { get: () => (reads++ === 0 ? state : assert.fail('a bug')) })
    send(udp, 2)
    assert.deepEqual([ended, w.counters.get('internal-error')], [began, 1])
  })
})
