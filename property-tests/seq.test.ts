import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { add, distance, le, lt, max, seq, unsigned } from '../src/codecs/value/seq.js'
import { arbSeq } from './arbitraries.js'

const arbStep = fc.integer({ min: -0x7fffffff, max: 0x7fffffff })

describe('sequence numbers modulo 2^32 (RFC 9293 §3.4)', () => {
  test('distance undoes add, across the wrap too', () => {
    fc.assert(
      fc.property(arbSeq, arbStep, (a, n) => {
        const b = add(a, n)
        assert.equal(b, b | 0)
        assert.equal(distance(b, a), n)
        assert.equal(add(b, -n), a)
        assert.equal(lt(a, b), n > 0)
        assert.equal(le(a, b), n >= 0)
        assert.ok(le(a, a), 'equal')
        assert.equal(max(a, b), n > 0 ? b : a)
      })
    )
  })
  test('the wire has them unsigned', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 0xffffffff }), (n) => assert.equal(unsigned(seq(n)), n)))
  })
  test('2^32 is 0', () => assert.equal(add(seq(0xffffffff), 1), 0))
})
