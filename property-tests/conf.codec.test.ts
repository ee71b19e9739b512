import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import {
  type ClientPart,
  type ConfReader,
  type ConfRule,
  clientPart,
  clientReader,
  confRule,
  isWhole,
  readOn,
  ServerPart,
  sameConfRule,
  serverReader
} from '../src/codecs/control/conf.js'
import { fromV4, UNSPECIFIED6 } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { arbHostile, assertOctets, assertRoundTrip, assertTotal } from './arbitraries.js'
import { arbClientPart, arbConfRule, arbServerPart } from './conf-arbitraries.js'

// The control socket's octets (pesto(1)): what both sides say, in any pieces, and what is none of it.

const ClientPart2 = clientPart(2)
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replace(/\s/g, ''), 'hex'))
const zeros = (n: number): string => '00'.repeat(n)

/** In pieces, cut where `cuts` says. */
const inPieces = <A>(
  reader: ConfReader<A>,
  b: Uint8Array,
  cuts: ReadonlyArray<number>
): ConfReader<A> | string => {
  let r: ConfReader<A> | string = reader
  let at = 0
  for (const cut of [...cuts.map((c) => c % (b.length + 1)), b.length].sort((x, y) => x - y)) {
    if (typeof r === 'string') return r
    r = readOn(r, b.subarray(at, cut))
    at = cut
  }
  return r
}
const arbCuts = fc.array(fc.nat(), { maxLength: 12 })

describe('laws', () => {
  test('a rule, in both versions', () => {
    fc.assert(fc.property(arbConfRule(true), (r) => assertRoundTrip(confRule(2), r)))
    fc.assert(fc.property(arbConfRule(false), (r) => assertRoundTrip(confRule(1), r)))
  })
  test('flags and protocols that nobody knows are no rule', () => {
    fc.assert(
      fc.property(arbConfRule(true), fc.integer({ min: 8, max: 255 }), fc.nat(255), (r, flags, proto) => {
        const said = (fromEnd: number, value: number): string => {
          const b = confRule(2).encode(r).slice()
          b[b.length - fromEnd] = value
          const got = confRule(2).decode(octets(b))
          return E.isLeft(got) ? (got.left[0]?.message ?? '') : 'a rule'
        }
        assert.match(said(1, flags), new RegExp(`^a rule with flags 0x${flags.toString(16)}$`))
        fc.pre(proto !== 6 && proto !== 17)
        assert.match(said(2, proto), new RegExp(`^a rule for IP protocol ${proto}$`))
      })
    )
  })
  test('rules are the same if their octets are', () => {
    const arb = arbConfRule(true)
    const fields = Object.keys(fc.sample(arb, 1)[0]!) as ReadonlyArray<keyof ConfRule>
    const octetsOf = (r: ConfRule): Buffer => Buffer.from(confRule(2).encode(r))
    fc.assert(
      fc.property(arb, arb, fc.subarray([...fields], { maxLength: 2 }), (a, other, taken) => {
        const b = { ...a, ...Object.fromEntries(taken.map((f) => [f, other[f]])) }
        assert.equal(sameConfRule(a, b), octetsOf(a).equals(octetsOf(b)))
      })
    )
  })
  test('both parts', () => {
    fc.assert(fc.property(arbServerPart, (s) => assertRoundTrip(ServerPart, s)))
    fc.assert(fc.property(arbClientPart, (c) => assertRoundTrip(ClientPart2, c)))
  })
  test('cut anywhere, they are the same', () => {
    fc.assert(
      fc.property(arbClientPart, arbCuts, (c, cuts) => {
        const r = inPieces(clientReader(), ClientPart2.encode(c), cuts)
        assert.ok(typeof r !== 'string' && isWhole(r))
        assert.deepEqual(r.place.value, c)
      })
    )
    fc.assert(
      fc.property(arbServerPart, arbCuts, (s, cuts) => {
        const r = inPieces(serverReader(), ServerPart.encode(s), cuts)
        assert.ok(typeof r !== 'string' && isWhole(r))
        assert.deepEqual(r.place.value, s)
      })
    )
  })
  test('a part that is cut is never whole', () => {
    fc.assert(
      fc.property(arbClientPart, fc.nat(), (c, n) => {
        const b = ClientPart2.encode(c)
        const r = readOn(clientReader(), b.subarray(0, n % b.length))
        assert.ok(typeof r !== 'string' && !isWhole(r))
      })
    )
  })
  test('whatever comes is a part, or named; what is one has these octets and no others', () => {
    for (const [codec, arb] of [
      [ServerPart, arbServerPart.map((s) => ServerPart.encode(s))],
      [ClientPart2, arbClientPart.map((c) => ClientPart2.encode(c))]
    ] as const)
      fc.assert(
        fc.property(arbHostile(arb), (b) => {
          assertTotal(codec as typeof ServerPart, b)
          const got = codec.decode(octets(b))
          if (E.isLeft(got)) return
          const again = codec.encode(got.right as never)
          assertOctets(again, b.slice(0, again.length))
        })
      )
  })
})

describe('octets', () => {
  const rule: ConfRule = {
    address: fromV4(0x7f000001),
    target: UNSPECIFIED6,
    ifname: '',
    first: 8080,
    last: 8080,
    to: 80,
    proto: 'tcp',
    any: false,
    weak: false,
    scan: false
  }
  test('a greeting with two empty tables', () => {
    const server: ServerPart = {
      version: 2,
      tables: [
        { pif: 1, name: 'HOST', capabilities: 0x3f, rules: [] },
        { pif: 3, name: 'SPLICE', capabilities: 0x3f, rules: [] }
      ]
    }
    const want = hex(
      `62 61 73 69 6c 3a 73 00 00000002 00000080 00000010
       01 48 4f 53 54 ${zeros(124)} 0000003f 00000000
       03 53 50 4c 49 43 45 ${zeros(122)} 0000003f 00000000 00`
    )
    assertOctets(ServerPart.encode(server), want)
  })
  test('a client that wants 127.0.0.1/8080:80', () => {
    const said: ClientPart = [
      { pif: 1, rules: [rule] },
      { pif: 3, rules: [] }
    ]
    const want = hex(
      `01 00000001 ${zeros(10)}ffff7f000001 ${zeros(16)} ${zeros(16)} 1f90 1f90 0050 06 00
       03 00000000 00`
    )
    assertOctets(ClientPart2.encode(said), want)
  })
  test('version 1 has no target address', () => {
    const want = hex(`${zeros(10)}ffff7f000001 ${zeros(16)} 1f90 1f90 0050 06 00`)
    assertOctets(confRule(1).encode(rule), want)
  })
  const refused = (text: string, said: RegExp): void => {
    const r = readOn(serverReader(), hex(text))
    assert.ok(typeof r === 'string' && said.test(r), String(r))
  }
  test('other greetings are refused', () => {
    refused(`62 61 73 69 6c 3a 73 01 00000002 00000080 00000010`, /^Bad magic number from server$/)
    refused(`62 61 73 69 6c 3a 73 00 00000003 00000080 00000010`, /^Unknown server protocol version 3 > 2$/)
    refused(
      `62 61 73 69 6c 3a 73 00 00000000 00000080 00000010`,
      /^Unsupported experimental server protocol$/
    )
    refused(`62 61 73 69 6c 3a 73 00 00000002 00000081 00000010`, /129 and 16 octets/)
  })
  test('four tables of a server, two of one number or name', () => {
    const greeting = '62 61 73 69 6c 3a 73 00 00000002 00000080 00000010'
    const table = (pif: number, letter: number): string =>
      `0${pif} ${letter.toString(16)} ${zeros(127)} 0000003f 00000000`
    const three = [table(1, 0x41), table(2, 0x42), table(3, 0x43)]
    assert.notEqual(typeof readOn(serverReader(), hex(`${greeting} ${three.join('')} 00`)), 'string')
    refused(`${greeting} ${three.join('')} ${table(4, 0x44)} 00`, /^Too many tables from server$/)
    refused(`${greeting} ${table(2, 0x41)} ${table(2, 0x42)} 00`, /^Table 2 comes twice from server$/)
    refused(`${greeting} ${table(1, 0x41)} ${table(2, 0x41)} 00`, /^Table A comes twice from server$/)
  })
  test('more rules than a table may have, and no end of tables', () => {
    const many = readOn(clientReader(), hex('01 00000100'))
    assert.match(String(many), /^256 rules in one table/)
    assert.equal(readOn(clientReader(), hex('01 00000000'.repeat(17))), 'too many tables')
  })
})
