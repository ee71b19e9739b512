import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { BROADCAST4, sameAddr, showAddr, UNSPECIFIED4 } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { addrOption, DhcpMessage, type DhcpOption, optionLen, optionOf } from '../src/codecs/wire/dhcp.js'
import { SearchList } from '../src/codecs/wire/dns-name.js'
import { fitting, inRequestedOrder } from '../src/machines/services/dhcp.js'
import type { GuestConfig } from '../src/machines/services/guest-config.js'
import { answerDhcp } from '../src/machines/services/services.js'
import {
  arbBytes,
  arbHostile,
  arbInAny4,
  arbMac,
  arbU8,
  assertRoundTrip,
  assertTotal
} from './arbitraries.js'
import {
  addr,
  arbConfig,
  arbDhcp,
  CONFIG,
  countsOf,
  dataOf,
  decoded,
  frameOf,
  framesOf,
  GUEST_MAC,
  hex,
  OWN_MAC,
  udpOf
} from './services-arbitraries.js'

const ASSIGNED = addr('192.0.2.7')
const OURS = [192, 0, 2, 1]
const option = (code: number, ...data: number[]): DhcpOption => ({ code, data: Uint8Array.from(data) })
const type = (n: number): DhcpOption => option(53, n)

/** A client's message; `of` holds what differs. */
const message = (options: ReadonlyArray<DhcpOption>, of: Partial<DhcpMessage> = {}): DhcpMessage => ({
  op: 1,
  htype: 1,
  hlen: 6,
  hops: 3,
  xid: 0x91c46f3c,
  secs: 7,
  flags: 0,
  ciaddr: UNSPECIFIED4,
  yiaddr: UNSPECIFIED4,
  siaddr: UNSPECIFIED4,
  giaddr: UNSPECIFIED4,
  chaddr: hex('525400123456 00000000000000000000'),
  sname: new Uint8Array(64),
  file: new Uint8Array(128),
  options,
  ...of
})

interface Reply {
  readonly m: DhcpMessage
  readonly dst: string
}
const replyIn = (frame: Uint8Array): Reply => {
  const f = udpOf(frame)
  assert.deepEqual([f.l4.srcPort, f.l4.dstPort], [67, 68])
  const m = DhcpMessage.decode(dataOf(frame, f.l4.payload))
  return E.isRight(m) ? { m: m.right, dst: showAddr(f.ip.dst) } : assert.fail('our own reply does not decode')
}
const ask = (m: DhcpMessage, c: Partial<GuestConfig> = {}): Reply =>
  replyIn(frameOf(answerDhcp({ ...CONFIG, ...c })(m, GUEST_MAC)))
const codes = ({ m }: Reply): number[] => m.options.map((o) => o.code)
const numbers = ({ m }: Reply, code: number): number[] | null => {
  const data = optionOf(m, code)
  return data === null ? null : [...data]
}
const silent = (what: string, m: DhcpMessage, c: Partial<GuestConfig> = {}): void => {
  const effects = answerDhcp({ ...CONFIG, ...c })(m, GUEST_MAC)
  assert.deepEqual(framesOf(effects), [])
  assert.deepEqual(countsOf(effects), [what])
}
/** Captured octets: the start of the header, zeros up to the cookie, then cookie and options, padded to 300. */
const captured = (head: string, tail: string): Uint8Array => {
  const b = new Uint8Array(300)
  b.set(hex(head))
  b.set(hex(tail), 236)
  return b
}
const parse = (b: Uint8Array): DhcpMessage => {
  const m = DhcpMessage.decode(octets(b))
  return E.isRight(m) ? m.right : assert.fail('does not decode')
}

const UDHCPC = captured(
  '01010600 91c46f3c 0000 0000 00000000 00000000 00000000 00000000 525400123456',
  '63825363 350101 3902 0240 3707 0103060c0f1c2a 3c0c 756468637020312e33352e30 3d07 01525400123456 ff'
)
const DHCLIENT = captured(
  '01010600 b5d6266c 0000 0000 00000000 00000000 00000000 00000000 525400123456',
  '63825363 350101 0c02 766d 370d 011c02030f06770c2c2f1a792a ff'
)

describe('DHCP codec', () => {
  test('decode . encode = id, options over 255 octets included (RFC 3396)', () =>
    fc.assert(fc.property(arbDhcp, (m) => assertRoundTrip(DhcpMessage, m))))
  test('hostile octets: Left or a value', () =>
    fc.assert(
      fc.property(arbHostile(arbDhcp.map(DhcpMessage.encode)), (b) => assertTotal(DhcpMessage, b)),
      {
        numRuns: 300
      }
    ))
  test('hostile options fields behind a good header', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constantFrom(0, 1, 2, 3, 52, 53, 55, 255), arbU8), { maxLength: 80 }),
        (tail) =>
          assertTotal(
            DhcpMessage,
            Uint8Array.from([...DhcpMessage.encode(message([])).slice(0, 240), ...tail])
          )
      )
    )
  })
  test('DISCOVER of busybox udhcpc and of dhclient', () => {
    const m = parse(UDHCPC)
    assert.equal(m.xid, 0x91c46f3c)
    assert.deepEqual(
      m.options.map((o) => o.code),
      [53, 57, 55, 60, 61]
    )
    assert.deepEqual(optionOf(m, 55), hex('0103060c0f1c2a'))
    assert.deepEqual(
      parse(DHCLIENT).options.map((o) => o.code),
      [53, 12, 55]
    )
  })
  test('pad options anywhere, in odd numbers (upstream dropped such messages)', () => {
    const b = captured('01010600 00000001', '63825363 00 00 00 350103 00 3204 c0000207 00 ff')
    assert.deepEqual(parse(b).options, [type(3), option(50, 192, 0, 2, 7)])
  })
  test('overload: options go on in file, then in sname; pieces join (RFC 2131 §4.1, RFC 3396)', () => {
    const b = captured('01010600 00000001', '63825363 340103 350101 3702 0103 ff')
    b.set(hex('3701 06 ff'), 108) // file
    b.set(hex('0c01 61 3701 0c ff'), 44) // sname
    const m = parse(b)
    assert.deepEqual(m.options, [type(1), option(55, 1, 3, 6, 12), option(12, 0x61)])
    assert.deepEqual([m.sname, m.file], [new Uint8Array(64), new Uint8Array(128)])
  })
  test('an option that runs out of its field spoils the message', () => {
    for (const bad of ['63825363 3501', '63825363 3237'])
      assert.ok(E.isLeft(DhcpMessage.decode(octets(captured('01010600', bad).slice(0, 242)))), bad)
    const b = captured('01010600', '63825363 340101 350101 ff')
    assert.deepEqual(parse(b).options, [type(1)])
    b.set(hex('0cff 61'), 108) // file holds 128 octets
    assert.ok(E.isLeft(DhcpMessage.decode(octets(b))))
  })
  test('at least 300 octets', () => assert.equal(DhcpMessage.encode(message([type(1)])).length, 300))
})

describe('DHCP answers (behaviour.md#dhcp)', () => {
  test('DISCOVER of udhcpc: OFFER, options in the order of option 55', () => {
    const frame = frameOf(answerDhcp(CONFIG)(parse(UDHCPC), GUEST_MAC))
    assert.ok(frame.length >= 342)
    assert.deepEqual(decoded(frame).eth, { dst: GUEST_MAC, src: OWN_MAC, type: 0x0800 })
    const r = replyIn(frame)
    assert.equal(r.dst, '192.0.2.7')
    assert.deepEqual([r.m.op, r.m.hops, r.m.secs, r.m.xid], [2, 0, 0, 0x91c46f3c])
    assert.ok(sameAddr(r.m.yiaddr, ASSIGNED))
    assert.deepEqual(codes(r), [53, 1, 3, 6, 26, 51, 54, 61, 119])
    assert.deepEqual(numbers(r, 53), [2])
    assert.deepEqual(numbers(r, 1), [255, 255, 255, 0])
    assert.deepEqual(numbers(r, 3), OURS)
    assert.deepEqual(numbers(r, 6), [192, 0, 2, 53])
    assert.deepEqual(numbers(r, 26), [0xff, 0xf0])
    assert.deepEqual(numbers(r, 51), [255, 255, 255, 255], 'regression-14: the lease never ends')
    assert.deepEqual(numbers(r, 54), OURS)
    assert.deepEqual(numbers(r, 61), [1, ...hex('525400123456')], 'RFC 6842')
    const names = SearchList.decode(octets(optionOf(r.m, 119) ?? new Uint8Array(1)))
    assert.deepEqual(
      names,
      E.right([
        ['example', 'com'],
        ['lab', 'example', 'com']
      ])
    )
  })
  test('without option 55 ascending; 53 where the list has it', () => {
    assert.deepEqual(codes(ask(message([type(1)]))), [1, 3, 6, 26, 51, 53, 54, 119])
    assert.deepEqual(
      codes(ask(message([type(3), option(55, 119, 53, 3, 3, 42)]))),
      [119, 53, 3, 1, 6, 26, 51, 54]
    )
  })
  test('header fields come back; the broadcast flag decides where to', () => {
    const r = ask(message([type(1)], { flags: 0x8000, giaddr: addr('192.0.2.200'), htype: 6, hlen: 16 }))
    assert.equal(r.dst, '255.255.255.255')
    assert.deepEqual([r.m.flags, showAddr(r.m.giaddr), r.m.htype, r.m.hlen], [0x8000, '192.0.2.200', 6, 16])
    assert.deepEqual(r.m.chaddr, hex('525400123456 00000000000000000000'))
  })
  test('DISCOVER with Rapid Commit: ACK and option 80 (RFC 4039)', () => {
    const r = ask(message([type(1), option(80)]))
    assert.deepEqual([numbers(r, 53), numbers(r, 80)], [[5], []])
    assert.equal(numbers(ask(message([type(3), option(80)])), 80), null)
  })
  test('REQUEST: ACK in SELECTING, INIT-REBOOT, RENEWING; and BOOTP, which has no type', () => {
    const ack = (m: DhcpMessage): Reply => {
      const r = ask(m)
      assert.deepEqual(numbers(r, 53), [5])
      assert.ok(sameAddr(r.m.yiaddr, ASSIGNED))
      return r
    }
    ack(message([type(3), option(54, ...OURS), option(50, 192, 0, 2, 7)]))
    ack(message([type(3), option(50, 192, 0, 2, 7)]))
    assert.equal(
      ack(message([type(3)], { ciaddr: ASSIGNED, flags: 0x8000 })).dst,
      '192.0.2.7',
      'RFC 2131 §4.1'
    )
    ack(message([type(3)]))
    ack(message([]))
  })
  test('REQUEST for another address: NAK, broadcast, with nothing but identifiers (RFC 2131 §4.3.2)', () => {
    for (const m of [
      message([type(3), option(50, 10, 0, 2, 15), option(61, 1, 2)]),
      message([type(3), option(54, ...OURS), option(50, 10, 0, 2, 15), option(61, 1, 2)]),
      message([type(3), option(61, 1, 2)], { ciaddr: addr('10.0.2.15') })
    ]) {
      const r = ask(m)
      assert.deepEqual([numbers(r, 53), codes(r)], [[6], [53, 54, 61]])
      assert.deepEqual([r.m.yiaddr, r.m.ciaddr, r.dst], [UNSPECIFIED4, UNSPECIFIED4, showAddr(BROADCAST4)])
    }
  })
  test('an address that may change has an end; its renewal behind that is a NAK, and then there is the new one', () => {
    const follows = { lease4: 240 }
    assert.deepEqual(numbers(ask(message([type(1)]), follows), 51), [0, 0, 0, 240])
    const later = { ...follows, v4: { ...CONFIG.v4!, assigned: addr('192.0.2.99') } }
    assert.deepEqual(numbers(ask(message([type(3)], { ciaddr: ASSIGNED }), later), 53), [6])
    assert.ok(sameAddr(ask(message([type(1)]), later).m.yiaddr, addr('192.0.2.99')))
  })
  test('INFORM: ACK to ciaddr without address and lease (RFC 2131 §4.3.5)', () => {
    const r = ask(message([type(8)], { ciaddr: addr('192.0.2.44') }))
    assert.deepEqual([numbers(r, 53), r.dst, r.m.yiaddr], [[5], '192.0.2.44', UNSPECIFIED4])
    assert.deepEqual(codes(r), [1, 3, 6, 26, 53, 54, 119])
  })
  test('silent, and counted: other server, DECLINE, RELEASE, replies, switched off', () => {
    silent('dhcp: other server', message([type(3), option(54, 10, 0, 2, 2), option(50, 192, 0, 2, 7)]))
    for (const n of [2, 4, 5, 6, 7, 9, 13]) silent('dhcp: other message type', message([type(n)]))
    silent('dhcp: not a request', message([type(1)], { op: 2 }))
    silent('dhcp: off', message([type(1)]), { noDhcp: true })
    silent('dhcp: off', message([type(1)]), { v4: null })
    silent('dhcp: off', message([type(1)]), {
      v4: { assigned: ASSIGNED, prefixLen: 24, gateway: null, own: addr('169.254.2.2') }
    })
  })
  test('a router outside the subnet comes with routes (RFC 3442)', () => {
    const v4 = { assigned: ASSIGNED, prefixLen: 32, gateway: addr('192.0.2.1'), own: addr('192.0.2.1') }
    assert.deepEqual(numbers(ask(message([type(1)]), { v4 }), 121), [
      ...[32, 192, 0, 2, 1, 0, 0, 0, 0],
      ...[0, 192, 0, 2, 1]
    ])
    assert.equal(numbers(ask(message([type(1)]), { v4: { ...v4, prefixLen: 0 } }), 121), null)
  })
  test('name, FQDN: E and the encoding follow the client, O answers its S (RFC 4702 §2.1, §4)', () => {
    const c = { hostname: 'vm', fqdn: 'vm.lab.' }
    const plain = ask(message([type(1)]), c)
    assert.deepEqual(numbers(plain, 12), [...hex('766d')])
    assert.deepEqual(numbers(plain, 81), [4, 255, 255, ...hex('02766d 03 6c6162 00')])
    assert.deepEqual(numbers(ask(message([type(1), option(81, 5, 0, 0)]), c), 81)?.[0], 6)
    assert.deepEqual(numbers(ask(message([type(1), option(81, 4, 0, 0)]), c), 81)?.[0], 4)
    assert.deepEqual(numbers(ask(message([type(1), option(81, 1, 0, 0)]), c), 81), [
      2,
      255,
      255,
      ...hex('766d2e6c6162')
    ])
  })
  test('what is not to be announced is not there', () => {
    assert.deepEqual(
      codes(ask(message([type(1)]), { announceDns: false, announceSearch: false, mtu: 0 })),
      [1, 3, 51, 53, 54]
    )
    assert.equal(numbers(ask(message([type(1)]), { search: ['.', 'a..b'] }), 119), null)
  })

  test('order: a permutation; 53 in front or where asked, asked ones in order, the rest ascending', () => {
    const arbOptions = fc
      .uniqueArray(fc.constantFrom(1, 3, 6, 12, 26, 51, 53, 54, 119), { maxLength: 9 })
      .map((list) => list.sort((a, b) => a - b).map((code) => option(code)))
    const arbList = fc.uint8Array({ maxLength: 12, max: 130 })
    fc.assert(
      fc.property(arbOptions, arbList, (options, list) => {
        const got = inRequestedOrder(options, list).map((o) => o.code)
        const have = new Set(options.map((o) => o.code))
        const asked = [...new Set(list.includes(53) ? list : [53, ...list])].filter((code) => have.has(code))
        assert.deepEqual(got, [...asked, ...[...have].filter((code) => !asked.includes(code))])
      })
    )
  })
  test('size: the message type and the lease always fit, the whole is at most 307 octets', () => {
    const arbOptions = fc
      .uniqueArray(fc.integer({ min: 1, max: 254 }), { maxLength: 20 })
      .chain((list) =>
        fc.tuple(
          ...list.map((code) => (code <= 54 ? arbBytes(4, 4) : arbBytes(255)).map((data) => ({ code, data })))
        )
      )
      .filter((list) => list.filter((o) => o.code <= 54).length < 30)
    fc.assert(
      fc.property(arbOptions, (list) => {
        const kept = fitting(list)
        assert.ok(kept.reduce((n, o) => n + optionLen(o), 0) <= 307)
        for (const o of list) if (o.code === 53 || o.code === 51) assert.ok(kept.includes(o))
      })
    )
  })
  test('any message: at most one frame, a reply to it of at most 576 octets, that our own data path accepts', () => {
    const client = fc
      .tuple(arbDhcp, fc.option(fc.integer({ min: 1, max: 9 })), fc.option(arbInAny4))
      .map(([m, n, wanted]) => {
        const rest = m.options.filter((o) => o.code !== 53 && o.code !== 50)
        const words =
          wanted === null ? [] : [option(50, wanted[3] >>> 24, (wanted[3] >>> 16) & 255, 0, wanted[3] & 255)]
        return { ...m, op: 1, options: [...rest, ...(n === null ? [] : [type(n)]), ...words] }
      })
    fc.assert(
      fc.property(arbConfig, fc.oneof(client, arbDhcp), arbMac, (c, m, mac) => {
        const effects = answerDhcp(c)(m, mac)
        assert.equal(framesOf(effects).length + countsOf(effects).length, 1)
        for (const frame of framesOf(effects)) {
          assert.ok(frame.length >= 342 && frame.length <= 14 + 576)
          assert.equal(decoded(frame).eth.dst, mac)
          const { m: r } = replyIn(frame)
          assert.deepEqual([r.op, r.xid, r.chaddr], [2, m.xid, m.chaddr])
          const server = addrOption(r, 54)
          assert.ok(c.v4 !== null && server !== null && sameAddr(server, c.v4.own))
          assert.ok([2, 5, 6].includes(optionOf(r, 53)?.[0] ?? 0))
        }
      }),
      { numRuns: 300 }
    )
  })
})
