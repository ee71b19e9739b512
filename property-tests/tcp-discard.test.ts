import { strict as assert } from 'node:assert'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { seq } from '../src/codecs/value/seq.js'
import { instant } from '../src/effects/effect.js'
import { discard } from '../src/machines/tcp/tcp-output.js'
import { type Draft, draftOf, initialTcb } from '../src/machines/tcp/tcp-tcb.js'

describe('what the guest acknowledged is dropped from the queue', () => {
  test('but nothing behind the first octet of a peek under way, which native looks for by its place', () => {
    const block = initialTcb({ origin: 'host', iss: seq(0), mss: 1460, now: instant(0) } as never)
    const arbAhead = fc.nat(1 << 20)
    fc.assert(
      fc.property(fc.integer(), arbAhead, arbAhead, fc.boolean(), (base, ahead, acked, peeking) => {
        const dropped = (d: Draft): number => {
          const out: { readonly octets: number }[] = []
          discard(d, out as never)
          return out.reduce((sum, e) => sum + e.octets, 0)
        }
        const queue = { finSeq: null, discarded: seq(base), sndUna: seq(base + acked) }
        const d = draftOf({ ...block, ...queue, peeking, peekSeq: seq(base + ahead) })
        const first = dropped(d)
        assert.equal(first, peeking ? Math.min(ahead, acked) : acked)
        // The rest, once it is over
        assert.equal(first + dropped(draftOf({ ...d, peeking: false })), acked)
      })
    )
  })
})
