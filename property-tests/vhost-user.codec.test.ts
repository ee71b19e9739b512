import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import type * as t from 'io-ts'
import {
  descriptorsOf,
  VHOST_HEADER,
  VHOST_ID,
  VhostMessage,
  VhostReply
} from '../src/codecs/control/vhost-user.js'
import { type Octets, octets } from '../src/codecs/value/octets.js'
import { vhostEvents } from '../src/machines/link/vhost-events.js'
import { arbBytes, arbHostile, assertRoundTrip, assertTotal } from './arbitraries.js'
import { arbVhostMessage, arbVhostReply } from './vhost-arbitraries.js'

const laws = <A>(codec: t.Type<A, Uint8Array, Octets>, arb: fc.Arbitrary<A>): void => {
  test(`${codec.name}: decode(encode(a)) = right(a)`, () =>
    fc.assert(fc.property(arb, (a) => assertRoundTrip(codec, a))))
  test(`${codec.name}: hostile octets give Left or a value, nothing outside is read`, () =>
    fc.assert(
      fc.property(arbHostile(arb.map((a) => codec.encode(a))), (b) => assertTotal(codec, b)),
      { numRuns: 1000 }
    ))
}

/** A message as the front-end sends it: `flags` without the version. */
const message = (id: number, payload: ReadonlyArray<number | bigint>, flags = 0): Octets => {
  const sizes = payload.map((x) => (typeof x === 'bigint' ? 8 : 4))
  const size = sizes.reduce((a, b) => a + b, 0)
  const v = new DataView(new ArrayBuffer(VHOST_HEADER + size))
  for (const [i, w] of [id, 1 | flags, size].entries()) v.setUint32(i * 4, w, true)
  let at = VHOST_HEADER
  for (const x of payload) {
    if (typeof x === 'bigint') v.setBigUint64(at, x, true)
    else v.setUint32(at, x, true)
    at += typeof x === 'bigint' ? 8 : 4
  }
  return octets(new Uint8Array(v.buffer))
}
const decoded = (o: Octets): unknown => {
  const r = VhostMessage.decode(o)
  return E.isRight(r) ? r.right : r.left[0]?.message
}

describe('vhost-user messages', () => {
  laws(VhostMessage, arbVhostMessage())
  laws(VhostReply, arbVhostReply)

  test('octets of the specification', () => {
    assert.deepEqual(decoded(message(1, [])), { type: 'GET_FEATURES', needReply: false })
    assert.deepEqual(decoded(message(2, [0x1_4400_8002n], 8)), {
      type: 'SET_FEATURES',
      needReply: true,
      features: 0x1_4400_8002n
    })
    assert.deepEqual(decoded(message(5, [1, 0, 0n, 0x8000_0000n, 0x7f00_0000_0000n, 4096n])), {
      type: 'SET_MEM_TABLE',
      needReply: false,
      regions: [{ gpa: 0n, size: 0x8000_0000n, user: 0x7f00_0000_0000n, offset: 4096n }]
    })
    assert.deepEqual(decoded(message(9, [1, 1, 1n, 2n, 3n, 4n])), {
      type: 'SET_VRING_ADDR',
      needReply: false,
      ring: 1,
      addresses: { logged: true, desc: 1n, used: 2n, avail: 3n, log: 4n }
    })
    assert.deepEqual(decoded(message(12, [0x101n])), {
      type: 'SET_VRING_KICK',
      needReply: false,
      ring: 1,
      none: true
    })
    assert.deepEqual(decoded(message(19, [0x0000_5634_1200_5452n])), {
      type: 'SEND_RARP',
      needReply: false,
      mac: 0x525400123456
    })
    assert.deepEqual(
      [...VhostReply.encode({ type: 'VRING_BASE', ring: 1, next: 258 })],
      [11, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0]
    )
    assert.deepEqual(
      [...VhostReply.encode({ type: 'VALUE', id: 17, value: 1n })].slice(0, 13),
      [17, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1]
    )
  })

  test('as many regions as there may be', () => {
    const regions = Array.from({ length: 8 }, (_, i) => [BigInt(i) << 32n, 4096n, BigInt(i) << 40n, 0n])
    const { regions: read } = decoded(message(5, [8, 0, ...regions.flat()])) as { regions: unknown[] }
    assert.equal(read.length, 8)
  })

  const malformed: ReadonlyArray<readonly [string, Octets, RegExp]> = [
    ['half a header', octets(new Uint8Array(11)), /^11 octets, a header has 12$/],
    ['version 2', message(1, [], 3), /^version 3, not 1$/],
    ['a reply', message(1, [0n], 4), /^GET_FEATURES: it is a reply$/],
    ['another size', message(2, [0n, 0n]), /^SET_FEATURES: 16 octets, not 8$/],
    ['a table of no octets', message(5, []), /^SET_MEM_TABLE: 0 octets/],
    ['no regions', message(5, [0, 0]), /^SET_MEM_TABLE: no memory regions$/],
    ['9 regions', message(5, [9, 0]), /^SET_MEM_TABLE: 9 memory regions, at most 8$/],
    ['fewer regions than said', message(5, [2, 0, 0n, 1n, 0n, 0n]), /^SET_MEM_TABLE: 40 octets for 2/],
    ['a region of no octets', message(5, [1, 0, 0n, 0n, 0n, 0n]), /of no octets$/],
    ['a region beyond 64 bits', message(5, [1, 0, 1n, (1n << 64n) - 1n, 2n, 0n]), /beyond 64 bits$/],
    ['an added region beyond 64 bits', message(37, [0n, 0n, 2n, 0n, (1n << 64n) - 1n]), /beyond 64 bits$/],
    ['an empty log', message(6, [0n, 0n]), /^SET_LOG_BASE: log of no octets$/],
    ['ring 2', message(11, [2, 0]), /^GET_VRING_BASE: ring 2, there are 2$/],
    ['kick of ring 255', message(12, [0xffn]), /^SET_VRING_KICK: ring 255/],
    ['addresses of ring 2', message(9, [2, 0, 0n, 0n, 0n, 0n]), /^SET_VRING_ADDR: ring 2/],
    ['a ring of 0', message(8, [0, 0]), /^SET_VRING_NUM: ring of 0 entries$/],
    ['a ring of 3', message(8, [0, 3]), /ring of 3 entries$/],
    ['a ring of 65536', message(8, [0, 65536]), /ring of 65536 entries$/],
    ['a ring of 2^31', message(8, [0, 0x80000000]), /ring of 2147483648 entries$/],
    ['base 65536', message(10, [0, 65536]), /ring index 65536$/],
    ['enable 2', message(18, [0, 2]), /enable is 2$/]
  ]
  for (const [what, o, why] of malformed)
    test(`malformed: ${what}`, () => assert.match(String(decoded(o)), why))
  test('one octet of payload too few or too many, for every request that has a size', () => {
    for (const [name, id] of Object.entries(VHOST_ID)) {
      if (name === 'SET_MEM_TABLE') continue
      const words = (n: number) =>
        message(
          id,
          Array.from({ length: n }, () => 0)
        )
      const sizes = Array.from({ length: 16 }, (_, n) => String(decoded(words(n)))).filter(
        (s) => !/octets, not/.test(s)
      )
      assert.equal(sizes.length, 1, name)
    }
  })
})

describe('what a message is to the session', () => {
  const fds = fc.uniqueArray(fc.integer({ min: 3, max: 40 }), { maxLength: 8 })
  test('each descriptor is in one event, once; the request gets as many as belong to it', () =>
    fc.assert(
      fc.property(
        fc.oneof(
          arbVhostMessage().map((m) => VhostMessage.encode(m)),
          arbBytes(64)
        ),
        fds,
        fc.boolean(),
        (octetsOf, list, full) => {
          const more = full && list.length === 8
          const events = vhostEvents(octets(octetsOf), list, more)
          assert.deepEqual(
            events.flatMap((e) => ('fds' in e ? e.fds : [])),
            list
          )
          const last = events.at(-1)!
          if (last.type === 'MALFORMED') return assert.equal(events.length, 1)
          assert.ok('needReply' in last)
          assert.equal(last.fds.length, descriptorsOf(last))
        }
      )
    ))
  test('descriptors that do not suit', () => {
    const text = (o: Octets, list: ReadonlyArray<number>, more = false): unknown => {
      const [e] = vhostEvents(o, list, more)
      return e?.type === 'MALFORMED' ? e.text : e?.type
    }
    const kick = message(12, [0n])
    assert.equal(text(kick, []), 'SET_VRING_KICK: 0 descriptors, not 1')
    assert.equal(text(kick, [5, 6]), 'SET_VRING_KICK: 2 descriptors, not 1')
    assert.equal(text(message(5, [1, 0, 0n, 1n, 0n, 0n]), []), 'SET_MEM_TABLE: 0 descriptors, not 1')
    assert.equal(text(message(12, [0x100n]), [5]), 'SPARE_FDS')
    assert.equal(text(message(1, []), [1, 2, 3, 4, 5, 6, 7, 8], true), 'SPARE_FDS')
    assert.equal(text(kick, [1, 2, 3, 4, 5, 6, 7, 8], true), 'SET_VRING_KICK: more than 8 descriptors, not 1')
  })
})
