import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as O from 'fp-ts/lib/Option.js'
import { type InAny, isLoopback, isUnicast, parseAddr } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { NdpMessage } from '../src/codecs/wire/ndp.js'
import {
  type Announced,
  announce,
  announcedByNdp,
  type GuestLink,
  isGuests,
  MAX_ANNOUNCED
} from '../src/machines/address/guest-address.js'

const at = (text: string): InAny =>
  O.getOrElse<InAny>(() => {
    throw new Error(text)
  })(parseAddr(text))
const ASSIGNED = at('198.51.100.2')
const prefixes = [
  { addr: ASSIGNED, len: 24 },
  { addr: at('2001:db8:9::2'), len: 64 }
]
const free: GuestLink = { fixed4: false, fixed6: false, prefixes }
const given: GuestLink = { fixed4: true, fixed6: true, prefixes }
const says = (c: GuestLink, text: string, announced: Announced = []): boolean =>
  isGuests(c, ASSIGNED, announced, at(text))
/** Every 32 bits are likely to be next to one of these. */
const word = fc.oneof(
  fc.nat(0xffffffff),
  fc.constantFrom(0, 0xffff, 0xffffffff, 0x7f000001, 0xe0000001, 0xc6336402)
)
const any: fc.Arbitrary<InAny> = fc.oneof(
  fc.tuple(word, word, word, word).map((w): InAny => w),
  word.map((w): InAny => [0, 0, 0xffff, w])
)

describe('whose address it is', () => {
  test("the assigned one, those on the link's prefix, link-local ones", () => {
    for (const a of ['198.51.100.2', '198.51.100.77', '2001:db8:9::2', '2001:db8:9:0:1:2:3:4', 'fe80::5'])
      assert.ok(says(free, a), a)
  })
  test('not those behind it, unless they are announced', () => {
    for (const a of ['10.88.0.5', '198.51.101.2', '2001:db8:88::5', '169.254.1.1']) {
      assert.ok(!says(free, a), a)
      assert.ok(says(free, a, announce(free, [], at(a))), a)
    }
  })
  test('with -a no other IPv4 address, no other IPv6 prefix', () => {
    for (const a of ['198.51.100.77', '10.88.0.5', '2001:db8:88::5'])
      assert.ok(!says(given, a, announce(given, [], at(a))), a)
    for (const a of ['198.51.100.2', '2001:db8:9::77', 'fe80::5']) assert.ok(says(given, a), a)
  })
  test('never loopback, unspecified or a group, whatever was announced; and the memory for announcements is bounded', () => {
    fc.assert(
      fc.property(fc.boolean(), fc.array(any, { maxLength: 40 }), (fixed, list) => {
        const c = fixed ? given : free
        const announced = list.reduce<Announced>((known, a) => announce(c, known, a), [])
        assert.ok(announced.length <= MAX_ANNOUNCED)
        for (const a of list)
          if (isGuests(c, ASSIGNED, announced, a)) assert.ok(isUnicast(a) && !isLoopback(a))
        const last = list.at(-1)
        if (!fixed && last !== undefined && isUnicast(last) && !isLoopback(last))
          assert.ok(isGuests(c, ASSIGNED, announced, last))
      })
    )
  })
})

describe('announcements by NDP (RFC 4861)', () => {
  const MAC = 0x020000000002
  const from = { src: at('fe80::5'), dst: at('ff02::1'), ttl: 255 }
  const target = at('2001:db8:77::7')
  const said = (m: NdpMessage, f = from): InAny | null => announcedByNdp(octets(NdpMessage.encode(m)), f, MAC)
  const ns: NdpMessage = { tag: 'NeighbourSolicit', target, options: [{ tag: 'SourceLla', mac: MAC }] }
  const na: NdpMessage = {
    tag: 'NeighbourAdvert',
    router: false,
    solicited: false,
    override: true,
    target,
    options: [{ tag: 'TargetLla', mac: MAC }]
  }
  test('a solicitation has it as source, an advertisement and duplicate address detection as target', () => {
    assert.deepEqual(said(ns), from.src)
    assert.deepEqual(said(na), target)
    assert.deepEqual(said({ ...ns, options: [] }, { ...from, src: at('::') }), target)
  })
  test("none in another's name, through a router, or in messages of other kinds", () => {
    assert.equal(said({ ...na, options: [{ tag: 'TargetLla', mac: MAC + 1 }] }), null)
    assert.equal(said({ ...ns, options: [{ tag: 'SourceLla', mac: MAC + 1 }] }), null)
    assert.equal(said(na, { ...from, ttl: 254 }), null)
    assert.equal(said({ tag: 'RouterSolicit', options: [] }), null)
    assert.equal(announcedByNdp(octets(Uint8Array.of(136, 0, 0)), from, MAC), null)
  })
})
