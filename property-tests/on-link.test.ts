import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as O from 'fp-ts/lib/Option.js'
import { type Address, AF_INET, AF_INET6 } from '../src/codecs/kernel/rtnetlink.js'
import { type InAny, isLoopback, isUnicast, isV4, parseAddr, showAddr } from '../src/codecs/value/inany.js'
import {
  answerFault,
  type Candidate,
  contains,
  isGroupOn,
  learnAddress,
  linksOf
} from '../src/machines/address/on-link.js'

const at = (text: string): InAny =>
  O.getOrElse<InAny>(() => {
    throw new Error(text)
  })(parseAddr(text))
const address = (index: number, text: string): Address => {
  const [own, len] = text.split('/')
  const a = at(own!)
  return {
    family: isV4(a) ? AF_INET : AF_INET6,
    prefixLen: Number(len),
    flags: 0,
    scope: 0,
    index,
    address: a,
    local: isV4(a) ? a : null,
    other: []
  }
}
/** lo, an Ethernet with two subnets, a VPN, a point-to-point link. */
const LINKS = linksOf([
  address(1, '127.0.0.1/8'),
  address(1, '::1/128'),
  address(2, '198.51.100.2/24'),
  address(2, '192.0.2.2/26'),
  address(2, '2001:db8:9::2/64'),
  address(2, 'fe80::2/64'),
  address(3, '10.0.0.2/8'),
  address(3, 'fe80::3/64'),
  { ...address(4, '203.0.113.1/32'), local: at('203.0.113.1'), address: at('203.0.113.9') }
])
const fault = (from: string, to: string, index: number, fromPort = 1900): string | null =>
  answerFault(LINKS, { from: at(from), to: at(to), index, fromPort })

describe('what is an answer (RFC 6762 §11)', () => {
  test('from a neighbour on the link that was asked, whichever of its subnets', () => {
    assert.equal(fault('198.51.100.9', '198.51.100.2', 2), null)
    assert.equal(fault('192.0.2.9', '198.51.100.2', 2), null)
    assert.equal(fault('2001:db8:9::77', 'fe80::2', 2), null)
    assert.equal(fault('fe80::77', '2001:db8:9::2', 2), null)
    assert.equal(fault('203.0.113.9', '203.0.113.1', 4), null)
  })
  test('not from behind a router', () => {
    for (const from of ['8.8.8.8', '192.0.2.99', '10.1.1.1', '203.0.113.9'])
      assert.equal(fault(from, '198.51.100.2', 2), 'not of this link')
    assert.equal(fault('2001:db8:a::1', '2001:db8:9::2', 2), 'not of this link')
  })
  test('not by another link, nor for another address of ours', () => {
    assert.equal(fault('198.51.100.9', '198.51.100.2', 3), 'another link')
    assert.equal(fault('fe80::77', 'fe80::2', 3), 'another link')
    assert.equal(fault('198.51.100.9', '198.51.100.3', 2), 'not to us')
    for (const to of ['239.9.9.9', '198.51.100.255', '255.255.255.255', 'ff02::fb', '127.0.0.1'])
      assert.equal(fault('198.51.100.9', to, 2), 'not to us')
  })
  test('from the host itself under an address of that link, never under a loopback address', () => {
    assert.equal(fault('198.51.100.2', '198.51.100.2', 1), null)
    assert.equal(fault('198.51.100.9', '198.51.100.2', 1), 'not of this link')
    assert.equal(fault('10.0.0.2', '198.51.100.2', 1), 'not of this link')
    for (const from of ['127.0.0.1', '127.0.0.53', '::1', '0.0.0.0', '239.9.9.9', '255.255.255.255'])
      for (const index of [1, 2]) assert.equal(fault(from, '198.51.100.2', index), 'no peer')
    assert.equal(fault('198.51.100.9', '198.51.100.2', 2, 0), 'no peer')
  })
  test('of the same family (found by the property below)', () => {
    assert.equal(fault('198.51.100.2', '2001:db8:9::2', 1), 'not to us')
  })
  test('what is let in is always unicast, no loopback, to an address of ours, of its family', () => {
    const known = [
      ...LINKS.map((l) => l.own),
      ...['127.0.0.1', '::1', '239.1.1.1', '198.51.100.9', '198.51.100.255', 'fe80::9', '8.8.8.8'].map(at)
    ]
    const any = fc.oneof(
      fc.constantFrom(...known),
      fc
        .tuple(fc.nat(0xffffffff), fc.nat(0xffffffff), fc.nat(0xffffffff), fc.nat(0xffffffff))
        .map((w): InAny => w)
    )
    const candidate: fc.Arbitrary<Candidate> = fc.record({
      from: any,
      to: any,
      index: fc.integer({ min: 0, max: 5 }),
      fromPort: fc.constantFrom(0, 53, 65535)
    })
    let letIn = 0
    fc.assert(
      fc.property(candidate, (c) => {
        if (answerFault(LINKS, c) !== null) return
        letIn++
        assert.ok(isUnicast(c.from) && !isLoopback(c.from) && c.fromPort > 0)
        assert.ok(LINKS.some((l) => showAddr(l.own) === showAddr(c.to)))
        assert.equal(isV4(c.from), isV4(c.to))
      }),
      { numRuns: 20_000 }
    )
    assert.ok(letIn > 20, `${letIn} of 20000`)
  })
})

describe('links', () => {
  test("a subnet's broadcast is a group, where it has one", () => {
    for (const a of [
      '239.9.9.9',
      'ff02::fb',
      '255.255.255.255',
      '198.51.100.255',
      '192.0.2.63',
      '10.255.255.255'
    ])
      assert.ok(isGroupOn(LINKS, at(a)), a)
    for (const a of [
      '198.51.100.254',
      '192.0.2.255',
      '203.0.113.9',
      '8.8.8.8',
      '127.255.255.255',
      'fe80::ffff'
    ])
      assert.ok(!isGroupOn(LINKS, at(a)), a)
  })
  test('learning twice is learning once; what is deleted is gone', () => {
    const a = address(7, '172.16.0.1/12')
    const once = learnAddress(LINKS, a, false)
    assert.deepEqual(learnAddress(once, a, false), once)
    assert.deepEqual(learnAddress(once, a, true), LINKS)
    assert.deepEqual(learnAddress(LINKS, a, true), LINKS)
  })
  test('a prefix contains its address, and less the longer it is', () => {
    const v4 = fc.tuple(fc.constant('4' as const), fc.nat(0xffffffff), fc.nat(32), fc.nat(32))
    const v6 = fc.tuple(fc.constant('6' as const), fc.nat(0xffffffff), fc.nat(128), fc.nat(128))
    fc.assert(
      fc.property(fc.oneof(v4, v6), fc.nat(127), ([v, word, one, two], flip) => {
        const a: InAny = v === '4' ? [0, 0, 0xffff, word] : [0x20010db8, word, 3, word]
        const bit = v === '4' ? 96 + (flip % 32) : flip
        const b = a.map((w, i) =>
          i === bit >> 5 ? (w ^ (1 << (31 - (bit & 31)))) >>> 0 : w
        ) as unknown as InAny
        const [short, long] = [Math.min(one, two), Math.max(one, two)]
        assert.ok(contains({ addr: a, len: long }, a))
        if (contains({ addr: a, len: long }, b)) assert.ok(contains({ addr: a, len: short }, b))
        assert.equal(contains({ addr: a, len: long }, b), (v === '4' ? bit - 96 : bit) >= long)
      })
    )
  })
})
