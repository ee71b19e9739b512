import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fromV4 } from '../src/codecs/value/inany.js'
import { seq } from '../src/codecs/value/seq.js'
import { ACK } from '../src/codecs/wire/tcp.js'
import type { Effect } from '../src/effects/effect.js'
import { ABI_WORDS, EF, type Native } from '../src/runtime/abi/abi.js'
import { dropEffects, openRings, type Rings } from '../src/runtime/abi/rings.js'
import { frameToTap, type Out, writeEffect } from '../src/runtime/data/write-effect.js'
import { type TcpFlow, tapFlow } from '../src/runtime/flow/flow.js'
import type { Counters } from '../src/runtime/log/log.js'

/** The rings of the program itself, in plain memory. */
const native = {
  open: (o: Parameters<Native['open']>[0]) => ({
    slab: new ArrayBuffer(o.txSize + o.rxSize),
    effects: new ArrayBuffer(o.effects * ABI_WORDS * 4),
    events: new ArrayBuffer(o.events * ABI_WORDS * 4),
    clock: new ArrayBuffer(16)
  }),
  carryOut: (n: number): void => {
    carried.push(...kindsInRing(n))
  }
} as Native
/** Kinds of the effects that were carried out, in order. */
const carried: number[] = []
const rings: Rings = openRings(native, 1)
const kindsInRing = (n: number): number[] => Array.from({ length: n }, (_, i) => rings.fx[i * ABI_WORDS]!)

const flow = (index: number): TcpFlow => {
  const a = {
    v6: false,
    guestMac: 2,
    ourMac: 4,
    guestAddr: fromV4(0xc6336402),
    guestPort: 1,
    ourAddr: fromV4(0xc6336409),
    ourPort: 2,
    hostAddr: fromV4(0xc6336409),
    hostPort: 2,
    arrival: null
  }
  return tapFlow('tcp', index, a, {} as TcpFlow['state'])
}

/** What one event, or one TURN_END, can do to the socket of its flow: more than any really does. */
const SOCKET: readonly Effect[] = [
  { type: 'DiscardFromSock', octets: 1 },
  { type: 'RewindPeek', octets: 0 },
  { type: 'PeekToTap', seq: seq(1), ack: seq(1), wnd: 1, octets: 1, mss: 1460 },
  { type: 'AwaitWritable' },
  { type: 'QueryInfo' },
  { type: 'KeepAlive' },
  { type: 'ShutdownWr' },
  { type: 'CloseSock' }
]
const KINDS = [
  EF.DISCARD,
  EF.REWIND,
  EF.PEEK,
  EF.AWAIT_WRITABLE,
  EF.INFO,
  EF.KEEPALIVE,
  EF.SHUTDOWN_WR,
  EF.CLOSE
]
const BARE: Effect = {
  type: 'SegmentToTap',
  seq: seq(1),
  ack: seq(1),
  flags: ACK,
  wnd: 1,
  mss: null,
  windowScale: null
}

/** Before each flow's own effects: segments without payload, and frames of so many octets. */
type Owed = { readonly bare: number; readonly long: readonly number[] }
const owed: fc.Arbitrary<Owed> = fc.record({
  bare: fc.integer({ min: 0, max: 128 }),
  long: fc.array(fc.integer({ min: 60, max: 65_549 }), { maxLength: 4 })
})

/** A turn of `flows` flows, what is owed taken in a circle; gives the effects in the ring by kind, and what was counted. */
const aTurn = (flows: number, all: readonly Owed[]) => {
  const counters: Counters = new Map()
  const out = { rings, rates: null, counters, sending: [] } as unknown as Out
  dropEffects(rings)
  carried.length = 0
  let frames = 0
  for (let i = 0; i < flows; i++) {
    const f = flow(i)
    const { bare, long } = all[i % all.length]!
    for (const n of long) frameToTap(out, new Uint8Array(n))
    for (let k = 0; k < bare; k++) writeEffect(out, f, BARE)
    frames += bare + long.length
    for (const e of SOCKET) writeEffect(out, f, e)
  }
  carried.push(...kindsInRing(rings.effects))
  const done = new Map<number, number>()
  for (const kind of carried) done.set(kind, (done.get(kind) ?? 0) + 1)
  return { done, frames, counters, order: carried.filter((k) => k !== EF.TAP_WRITE) }
}

const holds = (flows: number, all: readonly Owed[]): void => {
  const { done, frames, counters, order } = aTurn(flows, all)
  assert.equal(order.length, flows * KINDS.length)
  assert.ok(
    order.every((kind, i) => kind === KINDS[i % KINDS.length]),
    'in the order in which they were asked for'
  )
  assert.equal((done.get(EF.TAP_WRITE) ?? 0) + (counters.get('frames-over-limit') ?? 0), frames)
}

test('however many frames a turn owes the guest, nothing that is done to a socket is lost, and each lost frame is counted', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1000 }), fc.array(owed, { minLength: 1, maxLength: 20 }), holds),
    { numRuns: 30 }
  )
})
test('… an answer to each of the segments that 128 frames claim to hold, then the end of all', () => {
  holds(1000, [{ bare: 128, long: [] }])
})
test('… what 60,000 flows want at once', () => {
  holds(60_000, [{ bare: 0, long: [] }])
})
test('… answers to pings of the largest size', () => {
  holds(1000, [{ bare: 0, long: [65_549] }])
})
