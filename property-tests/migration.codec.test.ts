import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import {
  EXTENDED_LEN,
  ExtendedRecord,
  endState,
  FLOW_LEN,
  FlowRecord,
  NEW_READER,
  QUEUE_MAX,
  readState,
  StateAddresses,
  StateCount,
  type StateEvent,
  StateHeader,
  type StateReader
} from '../src/codecs/control/migration.js'
import { bytesOf, joined, type Octets, octets } from '../src/codecs/value/octets.js'
import { seq } from '../src/codecs/value/seq.js'
import {
  arbBytes,
  arbHostile,
  arbU32,
  assertOctets,
  assertRoundTrip,
  assertTotal,
  real
} from './arbitraries.js'
import {
  arbDeviceState,
  arbExtended,
  arbFlowRecord,
  arbStateAddresses,
  arbStateHeader,
  cut,
  type DeviceState,
  encodeState,
  type StateFlow
} from './migration-arbitraries.js'

const laws = <A>(codec: t.Type<A, Uint8Array, Octets>, arb: fc.Arbitrary<A>): void => {
  test(`${codec.name}: decode(encode(a)) = right(a)`, () =>
    fc.assert(fc.property(arb, (a) => assertRoundTrip(codec, a))))
  test(`${codec.name}: hostile octets give Left or a value, nothing outside is read`, () =>
    fc.assert(
      fc.property(arbHostile(arb.map((a) => codec.encode(a))), (b) => assertTotal(codec, b)),
      { numRuns: 1000 }
    ))
}

/** What a reader was told, queues put together; `fault`: what stopped it. */
interface Told {
  readonly events: readonly string[]
  readonly queues: Readonly<Record<string, Uint8Array>>
  readonly fault: string | null
  readonly reader: StateReader
}
const readAll = (pieces: readonly Uint8Array[]): Told => {
  const events: string[] = []
  const queues: Record<string, Uint8Array> = {}
  const emit = (e: StateEvent): void => {
    if (e.type !== 'STATE_QUEUE') {
      events.push(JSON.stringify(e))
      return
    }
    assert.ok(e.octets.len > 0)
    const key = `${e.index} ${e.which}`
    queues[key] = joined([queues[key] ?? new Uint8Array(0), bytesOf(e.octets)])
  }
  let reader: StateReader = NEW_READER
  for (const p of pieces) {
    const next = readState(reader, octets(p.slice()), emit)
    if (typeof next === 'string') return { events, queues, fault: next, reader }
    reader = next
  }
  return { events, queues, fault: null, reader }
}
const wanted = ({ header, addresses, flows }: DeviceState): readonly string[] =>
  [
    { type: 'STATE_HEADER', header },
    { type: 'STATE_ADDRESSES', addresses },
    { type: 'STATE_COUNT', flows: flows.length },
    ...flows.map(({ flow }, index) => ({ type: 'STATE_FLOW', index, flow })),
    ...flows.flatMap(({ extended }, index) => [
      { type: 'STATE_EXTENDED', index, extended },
      { type: 'STATE_FLOW_END', index }
    ]),
    { type: 'STATE_END' }
  ].map((e) => JSON.stringify(e))
const queueOf = (t: Told, index: number, ...which: readonly string[]): Uint8Array =>
  joined(which.map((w) => t.queues[`${index} ${w}`] ?? new Uint8Array(0)))
const isWhole = (t: Told, flows: readonly StateFlow[]): void => {
  for (const [i, f] of flows.entries()) {
    assert.equal(queueOf(t, i, 'unsent').length, f.extended.unsent)
    assertOctets(queueOf(t, i, 'sent', 'unsent'), f.sendQueue)
    assertOctets(queueOf(t, i, 'received'), f.receiveQueue)
  }
}
const cuts = fc.array(real(0, 1), { maxLength: 12 })

describe('records of the device state', () => {
  laws(StateHeader, arbStateHeader)
  laws(StateAddresses, arbStateAddresses)
  laws(StateCount, arbU32)
  laws(FlowRecord, arbFlowRecord)
  laws(ExtendedRecord, arbExtended(QUEUE_MAX))

  const side = (where: number, from: number) => ({
    where,
    own: [from, from + 1, from + 2, from + 3] as const,
    peer: [from + 4, from + 5, from + 6, from + 7] as const,
    ownPort: 0x0102 + from,
    peerPort: 0x0304 + from
  })
  test('each field has its place: a flow', () => {
    const b = FlowRecord.encode({
      sides: [side(2, 0x10), side(1, 0x20)],
      retries: 3,
      guestScale: 7,
      ourScale: 8,
      events: 0x24,
      mss: 1460,
      sndBuf: 0x1234,
      flags: 5,
      dupAck: 6,
      guestWindow: 0x0506,
      ourWindow: 0x0708,
      sndNxt: seq(0x11111111),
      sndUna: seq(0x22222222),
      rcvNxt: seq(0x33333333),
      rcvAcked: seq(0xfffffffe),
      irs: seq(0x44444444)
    })
    const hex = Buffer.from(b).toString('hex')
    const words = (from: number) =>
      [0, 1, 2, 3, 4, 5, 6, 7].map((i) => (from + i).toString(16).padStart(8, '0')).join('')
    assert.equal(b.length, FLOW_LEN)
    // ports are the only little-endian numbers
    assert.equal(
      hex,
      `0201${words(0x10)}12011403${words(0x20)}22012403` +
        '03070824000005b40000123405060506070811111111222222223333' +
        '3333fffffffe44444444'
    )
  })
  test('each field has its place: an extended record', () => {
    const b = ExtendedRecord.encode({
      sndSeq: seq(0x01020304),
      rcvSeq: seq(0x05060708),
      sendQueue: 0x100,
      unsent: 0x10,
      receiveQueue: 0x200,
      mss: 1448,
      timestamp: 0x090a0b0c,
      window: [1, 2, 3, 4, 5],
      sendScale: 7,
      receiveScale: 10,
      state: 8,
      options: 7
    })
    assert.equal(b.length, EXTENDED_LEN)
    assert.equal(
      Buffer.from(b).toString('hex'),
      '0102030405060708000001000000001000000200000005a8090a0b0c' +
        '0000000100000002000000030000000400000005' +
        '070a0807'
    )
  })
  const header = (magic: bigint, version: number, compatible: number): Octets => {
    const v = new DataView(new ArrayBuffer(16))
    v.setBigUint64(0, magic)
    v.setUint32(8, version)
    v.setUint32(12, compatible)
    return octets(new Uint8Array(v.buffer))
  }
  const MAGIC = 0xb1bb1d1b0bb1d1b0n
  test('versions: 2, and what says that 2 can read it', () => {
    const said = (o: Octets): unknown => {
      const r = StateHeader.decode(o)
      return E.isRight(r) ? r.right : r.left[0]?.message
    }
    assert.deepEqual(said(header(MAGIC, 2, 2)), { version: 2, compatible: 2 })
    assert.deepEqual(said(header(MAGIC, 3, 1)), { version: 3, compatible: 1 })
    assert.match(String(said(header(MAGIC, 1, 1))), /version 1, not 2$/)
    assert.match(String(said(header(MAGIC, 3, 3))), /version 3, not 2$/)
    assert.match(String(said(header(MAGIC, 2, 0))), /version 0$/)
    assert.match(String(said(header(MAGIC, 0, 2))), /version 0$/)
    assert.match(String(said(header(MAGIC + 1n, 2, 2))), /magic$/)
    assert.match(String(said(header(MAGIC + (1n << 32n), 2, 2))), /magic$/)
  })
  test('a queue of more than 64 MiB, or with more unsent than it has, is none; but in a connection that is skipped nothing counts', () => {
    const raw = (sendQueue: number, unsent: number, received: number, state: number): Octets => {
      const v = new DataView(new ArrayBuffer(EXTENDED_LEN))
      for (const [i, n] of [sendQueue, unsent, received].entries()) v.setUint32(8 + 4 * i, n)
      v.setUint8(50, state)
      return octets(new Uint8Array(v.buffer))
    }
    const takes = (o: Octets): boolean => E.isRight(ExtendedRecord.decode(o))
    assert.ok(takes(raw(QUEUE_MAX, QUEUE_MAX, QUEUE_MAX, 1)))
    assert.ok(!takes(raw(QUEUE_MAX + 1, 0, 0, 1)))
    assert.ok(!takes(raw(0, 0, QUEUE_MAX + 1, 1)))
    assert.ok(!takes(raw(5, 6, 0, 1)))
    assert.ok(takes(raw(5, 6, 0xffffffff, 0)))
  })
})

describe('the device state, read in pieces', () => {
  test('wherever it is cut, each part is told once, in order', () =>
    fc.assert(
      fc.property(arbDeviceState, cuts, (state, shares) => {
        const t = readAll(cut(encodeState(state), shares))
        assert.equal(t.fault, null)
        assert.deepEqual(t.events, wanted(state))
        assert.equal(endState(t.reader), null)
        isWhole(t, state.flows)
      })
    ))
  test('octet by octet as well', () =>
    fc.assert(
      fc.property(arbDeviceState, (state) => {
        const t = readAll([...encodeState(state)].map((x) => Uint8Array.of(x)))
        assert.deepEqual(t.events, wanted(state))
        isWhole(t, state.flows)
      }),
      { numRuns: 20 }
    ))
  test('an end too early is named, at every octet', () =>
    fc.assert(
      fc.property(arbDeviceState, (state) => {
        const all = encodeState(state)
        for (let n = 0; n < all.length; n++) {
          const t = readAll([all.subarray(0, n)])
          assert.equal(t.fault, null)
          assert.match(endState(t.reader) ?? '', /^device state that ends within \w/)
        }
      }),
      { numRuns: 10 }
    ))
  test('octets behind the last connection are a fault, unless the writer is newer', () =>
    fc.assert(
      fc.property(arbDeviceState, arbBytes(20, 1), cuts, (state, more, shares) => {
        const t = readAll(cut(joined([encodeState(state), more]), shares))
        assert.equal(t.fault === null, state.header.version > 2)
        assert.deepEqual(t.events, wanted(state))
      })
    ))
  test('hostile streams: a fault or events, never a throw, the same wherever they are cut', () =>
    fc.assert(
      fc.property(arbHostile(arbDeviceState.map(encodeState)), cuts, (raw, shares) => {
        const [whole, pieces] = [readAll([raw]), readAll(cut(raw, shares))]
        assert.deepEqual(pieces.events, whole.events)
        assert.equal(pieces.fault, whole.fault)
        assert.deepEqual(Object.keys(pieces.queues), Object.keys(whole.queues))
        for (const k of Object.keys(whole.queues)) assertOctets(pieces.queues[k]!, whole.queues[k]!)
      }),
      { numRuns: 1000 }
    ))
  test('a record is told whole however many come: nothing is kept but the part of one', () => {
    const n = 1000
    const prelude = joined([
      StateHeader.encode({ version: 2, compatible: 2 }),
      new Uint8Array(42),
      StateCount.encode(0xffffffff)
    ])
    let seen = 0
    let r: StateReader | string = NEW_READER
    for (const p of [prelude, ...Array.from({ length: n }, () => new Uint8Array(FLOW_LEN + 1))]) {
      r = readState(r as StateReader, octets(p), (e) => void (e.type === 'STATE_FLOW' && seen++))
      assert.ok(typeof r !== 'string' && r.kept.length < FLOW_LEN)
    }
    assert.equal(seen, n + Math.floor(n / FLOW_LEN))
  })
})
