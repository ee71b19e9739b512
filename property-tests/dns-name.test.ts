import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { octets } from '../src/codecs/value/octets.js'
import {
  DnsName,
  nameFromText,
  nameToText,
  PaddedNameList,
  PlainNameList,
  readName,
  SearchList,
  searchNames
} from '../src/codecs/wire/dns-name.js'
import { arbBytes, arbHostile, assertRoundTrip, assertTotal } from './arbitraries.js'
import { arbHostText, arbName, arbNames, hex } from './services-arbitraries.js'

describe('domain names', () => {
  test('decode . encode = id: single names and all kinds of lists', () => {
    fc.assert(fc.property(arbName, (n) => assertRoundTrip(DnsName, n)))
    for (const codec of [SearchList, PlainNameList, PaddedNameList])
      fc.assert(fc.property(arbNames, (l) => assertRoundTrip(codec, l)))
  })

  test('hostile octets: Left or a value, nothing read outside', () => {
    fc.assert(fc.property(arbHostile(arbName.map(DnsName.encode)), (b) => assertTotal(DnsName, b)))
    for (const codec of [SearchList, PlainNameList, PaddedNameList])
      fc.assert(fc.property(arbHostile(arbNames.map(codec.encode)), (b) => assertTotal(codec, b)))
  })

  test('compression never makes a list longer', () => {
    fc.assert(
      fc.property(arbNames, (l) => assert.ok(SearchList.encode(l).length <= PlainNameList.encode(l).length))
    )
  })

  test('padding with zeros changes nothing in DNSSL, and is no name elsewhere', () => {
    fc.assert(
      fc.property(arbNames, fc.integer({ min: 1, max: 7 }), (l, pad) => {
        const padded = octets(Uint8Array.from([...PlainNameList.encode(l), ...new Uint8Array(pad)]))
        assert.deepEqual(PaddedNameList.decode(padded), E.right(l))
        assert.ok(E.isLeft(PlainNameList.decode(padded)))
      })
    )
  })

  test('RFC 3397 §2: eng.apple.com. and marketing.apple.com., compressed', () => {
    const wire = hex('03 65 6e 67 05 61 70 70 6c 65 03 63 6f 6d 00 09 6d 61 72 6b 65 74 69 6e 67 c0 04')
    const names = [
      ['eng', 'apple', 'com'],
      ['marketing', 'apple', 'com']
    ]
    assert.deepEqual(SearchList.decode(octets(wire)), E.right(names))
    assert.deepEqual(SearchList.encode(names), wire)
  })

  test('RFC 1035 §4.1.4: pointers only lead back', () => {
    for (const loop of ['c000', '0161c000', '0161c002', 'c004 0161 00', '01 61 c0', '40', '80 00'])
      assert.equal(typeof readName(octets(hex(loop)), 0, true), 'string', loop)
    // a chain of pointers, each to the one before: cut off at the number of labels that a name can have
    const chain = [0x01, 0x61, 0x00]
    for (let at = 0; at < 3 + 2 * 127; at = chain.length - 2) chain.push(0xc0 | (at >>> 8), at & 0xff)
    const last = chain.length - 2
    assert.equal(typeof readName(octets(Uint8Array.from(chain)), last, true), 'string')
    assert.deepEqual(readName(octets(Uint8Array.from(chain)), last - 4, true), {
      name: ['a'],
      next: last - 2
    })
  })

  test('names of 255 octets pass, of 256 do not', () => {
    const labels = (last: number): string[] => [
      'a'.repeat(63),
      'b'.repeat(63),
      'c'.repeat(63),
      'd'.repeat(last)
    ]
    assert.ok(DnsName.is(labels(61)))
    assert.ok(!DnsName.is(labels(62)))
    assert.ok(E.isLeft(DnsName.decode(octets(DnsName.encode(labels(62))))))
    assert.ok(E.isRight(nameFromText(labels(61).join('.'))))
    assert.ok(E.isLeft(nameFromText(labels(62).join('.'))))
  })

  test('text: a trailing dot is the same name; what is no name is told apart', () => {
    assert.deepEqual(nameFromText('lab.example.'), nameFromText('lab.example'))
    assert.deepEqual(nameFromText('.'), E.right([]))
    for (const bad of ['', '..', '.a', 'a..b', 'a b', 'nö', 'x'.repeat(64), `lab.${'x'.repeat(64)}`])
      assert.ok(E.isLeft(nameFromText(bad)))
    assert.deepEqual(searchNames(['example.com', '.', '', 'a..b', 'lab.']), [['example', 'com'], ['lab']])
    fc.assert(
      fc.property(arbHostText, (text) => {
        const n = nameFromText(text)
        if (E.isRight(n)) {
          assert.ok(DnsName.is(n.right))
          assert.deepEqual(nameFromText(nameToText(n.right)), n)
        }
      })
    )
  })

  test('long random lists end quickly', () => {
    fc.assert(
      fc.property(arbBytes(4000, 2000), (b) => {
        SearchList.decode(octets(b.map((x) => (x & 1 ? 0xc0 : x))))
      }),
      { numRuns: 30 }
    )
  })
})
