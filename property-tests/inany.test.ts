import assert from 'node:assert/strict'
import { isIPv4, isIPv6 } from 'node:net'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as O from 'fp-ts/lib/Option.js'
import {
  fromV4,
  type InAny,
  isBroadcast4,
  isInAny,
  isLinkLocal,
  isLoopback,
  isMulticast,
  isUnspecified,
  isV4,
  parseAddr,
  readV4,
  readV6,
  sameAddr,
  showAddr,
  UNSPECIFIED4,
  UNSPECIFIED6,
  writeV4,
  writeV6
} from '../src/codecs/value/inany.js'
import { isGroupMac, parseMac, readMac, showMac, writeMac } from '../src/codecs/wire/ethernet.js'
import { arbBytes, arbInAny, arbInAny4, arbInAny6, arbMac } from './arbitraries.js'

const ip = (text: string): InAny => {
  const a = parseAddr(text)
  if (O.isNone(a)) throw new Error(`not an address: ${text}`)
  return a.value
}

/** Any text form of RFC 4291 §2.2 for eight groups: the gap at any run of zeros, padded or upper-case groups, dotted tail. */
const arbForm = fc
  .tuple(arbInAny, fc.nat(7), fc.nat(8), fc.boolean(), fc.boolean(), fc.boolean())
  .map(([a, from, n, upper, pad, dotted]) => {
    const g = a.flatMap((w) => [w >>> 16, w & 0xffff])
    const text = g
      .map((x) => x.toString(16).padStart(pad ? 4 : 1, '0'))
      .map((s) => (upper ? s.toUpperCase() : s))
    const tail = dotted ? [`${g[6]! >>> 8}.${g[6]! & 255}.${g[7]! >>> 8}.${g[7]! & 255}`] : text.slice(6)
    const all = [...text.slice(0, 6), ...tail]
    const to = from + n
    const gap = n > 0 && to <= (dotted ? 6 : 8) && g.slice(from, to).every((x) => x === 0)
    return { a, text: gap ? `${all.slice(0, from).join(':')}::${all.slice(to).join(':')}` : all.join(':') }
  })

describe('addresses', () => {
  test('parseAddr(showAddr(a)) = a', () => {
    fc.assert(fc.property(arbInAny, (a) => assert.deepEqual(parseAddr(showAddr(a)), O.some(a))))
  })
  test('every text form of RFC 4291 §2.2 is read', () => {
    fc.assert(
      fc.property(arbForm, ({ a, text }) => {
        assert.ok(isIPv6(text), text)
        assert.deepEqual(parseAddr(text), O.some(a), text)
      })
    )
  })
  test('takes what node:net takes, and nothing else', () => {
    const junk = fc.string({ unit: fc.constantFrom(...'0123456789abcfF:.:::.% x/'), maxLength: 48 })
    const nearly = fc
      .tuple(arbForm, fc.nat(50), fc.constantFrom('', ':', '.', '0', 'g', '1.2.3.4', '::'))
      .map(([{ text }, at, s]) => text.slice(0, at) + s + text.slice(at))
    fc.assert(
      fc.property(fc.oneof(junk, nearly, fc.string()), (text) => {
        const want = isIPv4(text) || (isIPv6(text) && !text.includes('%'))
        assert.equal(O.isSome(parseAddr(text)), want, text)
      }),
      { numRuns: 2000 }
    )
  })
  test('RFC 5952 §4 examples', () => {
    for (const [text, canonical] of [
      ['2001:0db8:0000:0000:0001:0000:0000:0001', '2001:db8::1:0:0:1'],
      ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
      ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
      ['2001:DB8::AAAA', '2001:db8::aaaa'],
      ['0:0:0:0:0:0:0:0', '::'],
      ['0:0:0:0:0:0:0:1', '::1'],
      ['1:0:0:0:0:0:0:0', '1::'],
      ['::ffff:192.0.2.1', '192.0.2.1'],
      ['::ffff:c000:201', '192.0.2.1'],
      ['64:ff9b::192.0.2.33', '64:ff9b::c000:221']
    ] as const) {
      assert.equal(showAddr(ip(text)), canonical)
    }
  })
  test('not addresses', () => {
    for (const text of [
      '',
      '1.2.3',
      '1.2.3.4.5',
      '01.2.3.4',
      '256.1.1.1',
      '1.2.3.4 ',
      ':',
      ':::',
      '1::2::3',
      '12345::'
    ]) {
      assert.deepEqual(parseAddr(text), O.none, text)
    }
    for (const text of [
      '1:2:3:4:5:6:7',
      '1:2:3:4:5:6:7:8:9',
      '1:2:3:4:5:6:7:8::',
      'fe80::1%eth0',
      '::1/128',
      '1.2.3.4::',
      '::1.2.3',
      '[::1]'
    ]) {
      assert.deepEqual(parseAddr(text), O.none, text)
    }
  })
  test('predicates by example', () => {
    const rows: ReadonlyArray<readonly [string, string]> = [
      ['127.0.0.1', 'loopback'],
      ['127.255.0.9', 'loopback'],
      ['::1', 'loopback'],
      ['0.0.0.0', 'unspecified'],
      ['::', 'unspecified'],
      ['224.0.0.1', 'multicast'],
      ['239.255.255.250', 'multicast'],
      ['ff02::1', 'multicast'],
      ['169.254.1.2', 'link-local'],
      ['fe80::1', 'link-local'],
      ['febf::1', 'link-local'],
      ['255.255.255.255', 'broadcast'],
      ['fec0::1', ''],
      ['240.0.0.1', ''],
      ['128.0.0.1', ''],
      ['::2', ''],
      ['::7f00:1', ''],
      ['10.0.0.255', ''],
      ['0.0.0.1', '']
    ]
    for (const [text, want] of rows) {
      const a = ip(text)
      const got = [
        isLoopback(a) && 'loopback',
        isUnspecified(a) && 'unspecified',
        isMulticast(a) && 'multicast',
        isLinkLocal(a) && 'link-local',
        isBroadcast4(a) && 'broadcast'
      ].filter(Boolean)
      assert.deepEqual(got, want === '' ? [] : [want], text)
    }
  })
  test('at most one of the classes holds', () => {
    fc.assert(
      fc.property(arbInAny, (a) => {
        const n = [isLoopback, isUnspecified, isMulticast, isLinkLocal, isBroadcast4].filter((p) =>
          p(a)
        ).length
        assert.ok(n <= 1)
        assert.equal(isUnspecified(a), sameAddr(a, isV4(a) ? UNSPECIFIED4 : UNSPECIFIED6))
      })
    )
  })
  test('readV4(writeV4(a)) = a, readV6(writeV6(a)) = a', () => {
    const view = new DataView(new ArrayBuffer(24))
    fc.assert(
      fc.property(arbInAny4, arbInAny6, fc.nat(3), (a4, a6, off) => {
        assert.equal(writeV4(view, off, a4), 4)
        assert.deepEqual(readV4(view, off), a4)
        assert.equal(writeV6(view, off, a6), 16)
        assert.deepEqual(readV6(view, off), a6)
      })
    )
    writeV4(view, 0, fromV4(0xc0000201))
    assert.deepEqual([...new Uint8Array(view.buffer, 0, 4)], [192, 0, 2, 1])
  })
})

describe('MAC addresses', () => {
  test('parseMac(showMac(m)) = m, readMac(writeMac(m)) = m', () => {
    const view = new DataView(new ArrayBuffer(9))
    fc.assert(
      fc.property(arbMac, fc.nat(3), (m, off) => {
        const text = showMac(m)
        assert.match(text, /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/)
        assert.deepEqual(parseMac(text), O.some(m))
        assert.deepEqual(parseMac(text.toUpperCase()), O.some(m))
        assert.equal(writeMac(view, off, m), 6)
        assert.equal(readMac(view, off), m)
        assert.equal(isGroupMac(m), (view.getUint8(off) & 1) === 1)
      })
    )
  })
  test('only seventeen characters of the one form', () => {
    for (const s of [
      '',
      '1:2:3:4:5:6',
      '00-11-22-33-44-55',
      '00:11:22:33:44',
      '00:11:22:33:44:5',
      '00:11:22:33:44:55 ',
      '00:11:22:33:44:5g',
      '001122334455'
    ]) {
      assert.deepEqual(parseMac(s), O.none, s)
    }
    fc.assert(
      fc.property(arbBytes(20), (b) => assert.ok(O.isNone(parseMac(Buffer.from(b).toString('latin1')))))
    )
  })
})

test('IPv4 is ::ffff:0:0/96 (RFC 4291 §2.5.5.2), and no address that differs in one bit of that', () => {
  fc.assert(
    fc.property(arbInAny4, fc.nat(95), (a, bit) => {
      assert.ok(isV4(a))
      const other = a.map((w, i) => (i === bit >>> 5 ? (w ^ (1 << (bit & 31))) >>> 0 : w))
      assert.ok(!isV4(other as unknown as InAny), `${other}`)
    })
  )
  assert.deepEqual(
    ['::', '0.0.0.0', '::1:0:0', '::fffe:0:0', '::1'].map((s) => isUnspecified(ip(s))),
    [true, true, false, false, false]
  )
})

test('an address is four words of 32 bits, and nothing else is one', () => {
  fc.assert(
    fc.property(arbInAny, fc.nat(3), fc.constantFrom(-1, 2 ** 32, 0.5, '1', null), (a, at, odd) => {
      assert.ok(isInAny(a), 'four words')
      assert.ok(!isInAny(a.map((w, i) => (i === at ? odd : w))), `${odd}`)
      for (const other of [a.slice(1), [...a, 0], Object.assign({}, a), Uint32Array.from(a), null, undefined])
        assert.ok(!isInAny(other), `${other}`)
    })
  )
  assert.ok(isInAny([0, 0xffffffff, 0, 0xffffffff]), 'the smallest and the largest')
})
