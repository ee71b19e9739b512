import { strict as assert } from 'node:assert'
import { test } from 'node:test'
import fc from 'fast-check'
import { Flow, type Happening, INFO, ISS, of } from '../../../property-tests/tcp-flow.js'
import type { Effect } from '../../../src/effects/effect.js'

// Lesson 2: no octet beyond what the guest has offered, but one, which asks whether there is room again.

/** The guest counts its window in these (RFC 7323): its SYN said 7. */
const UNIT = 1 << 7

/** Of what it was offered and has not acknowledged, the guest keeps so much; it offers so much more. In units. */
const units = fc.constantFrom(0, 0, 0, 1, 5, 20)
const answer = fc.record({ keeps: units, offers: units, late: fc.boolean() })

const property = (begin: () => Flow) =>
  fc.property(fc.array(answer, { minLength: 1, maxLength: 20 }), (answers) => {
    const flow = begin()
    flow.turn({ type: 'SOCK_CONNECTED', info: INFO })
    // Numbers count from our ISS, as RFC 9293 §3.3.1 calls them: first octet unacknowledged, next one, right edge
    let una = 1
    let nxt = 1
    let edge = una + 10 * UNIT
    /** The peer has more data than anybody wants. */
    const carryOut = (effects: Effect[]): void => {
      for (const { seq, octets } of of(effects, 'PeekToTap')) {
        const end = seq - ISS + octets
        const isProbe = octets === 1 && una === edge
        assert(end <= edge || isProbe, `octets up to ${end}, offered are those up to ${edge}`)
        nxt = Math.max(nxt, end)
        carryOut(flow.peeked(octets, { drained: false }))
      }
    }
    carryOut(flow.tap(1, una, { wnd: (edge - una) / UNIT }))
    carryOut(flow.readable())
    for (const { keeps, offers, late } of answers) {
      if (late) carryOut(flow.rto())
      const ack = edge - keeps * UNIT
      if (ack >= una && ack <= nxt) una = ack
      edge += offers * UNIT
      carryOut(flow.tap(1, una, { wnd: (edge - una) / UNIT }))
    }
  })

/** It counts to the edge, and includes it. */
class OffByOne extends Flow {
  override turn(...events: readonly Happening[]): Effect[] {
    return super.turn(...events).map((e) => (e.type === 'PeekToTap' ? { ...e, octets: e.octets + 1 } : e))
  }
}

test('no octet beyond the window, but the one of a probe', () => fc.assert(property(() => new Flow())))
test('one octet too many is found', () => assert(fc.check(property(() => new OffByOne())).failed))
