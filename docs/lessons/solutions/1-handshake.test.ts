import { strict as assert } from 'node:assert'
import { test } from 'node:test'
import fc from 'fast-check'
import { Flow, type Happening, INFO, IRS, ISS, segs } from '../../../property-tests/tcp-flow.js'
import { add, seq } from '../../../src/codecs/value/seq.js'
import { ACK, SYN } from '../../../src/codecs/wire/tcp.js'
import type { Effect } from '../../../src/effects/effect.js'

// Lesson 1: the guest gets no SYN,ACK before the peer has accepted, and the same one each time after that.

const synAcks = (effects: Effect[]) => segs(effects).filter((s) => s.flags === (SYN | ACK))

/** What a guest may do while it waits. */
const early = fc.constantFrom(
  (f: Flow) => f.tap(0, 0, { flags: SYN }),
  (f: Flow) => f.tap(1, 0, { len: 10 }),
  (f: Flow) => f.readable()
)
/** What makes us send it once more. */
const again = fc.constantFrom(
  (f: Flow) => f.tap(0, 0, { flags: SYN }),
  (f: Flow) => f.rto()
)

const property = (begin: () => Flow) =>
  fc.property(fc.array(early), fc.array(again, { maxLength: 6 }), (before, after) => {
    const flow = begin()
    for (const happens of before) assert.deepEqual(synAcks(happens(flow)), [])
    const first = synAcks(flow.turn({ type: 'SOCK_CONNECTED', info: INFO }))
    assert.deepEqual(first, [{ seq: 0, ack: 1, flags: SYN | ACK }])
    for (const happens of after) assert.deepEqual(synAcks(happens(flow)), first)
  })

/** It says yes to whoever asks. */
class Eager extends Flow {
  override turn(...events: readonly Happening[]): Effect[] {
    const out = super.turn(...events)
    const asked = events.some((e) => e.type === 'TAP_SEGMENT' && e.seg.flags === SYN)
    if (!asked || out.length > 0) return out
    const ours = { seq: seq(ISS), ack: add(seq(IRS), 1), flags: SYN | ACK }
    return [{ type: 'SegmentToTap', ...ours, wnd: 40_000, mss: 1460, windowScale: 8 }]
  }
}

test('no SYN,ACK before the peer has accepted, and one only', () => fc.assert(property(() => new Flow())))
test('an eager TCP is found out', () => assert(fc.check(property(() => new Eager())).failed))
