import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { dumpRequest } from '../src/codecs/kernel/dump.js'
import {
  type Attribute,
  encodeMessage,
  NetlinkDatagram,
  type NetlinkMessage,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  outcomeOf
} from '../src/codecs/kernel/netlink.js'
import { Neighbour, RTM_GETNEIGH } from '../src/codecs/kernel/rtneigh.js'
import {
  Address,
  AF_INET,
  AF_INET6,
  Link,
  type NextHop,
  Route,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  reader
} from '../src/codecs/kernel/rtnetlink.js'
import { isV4, showAddr } from '../src/codecs/value/inany.js'
import { octetsOfText, textOfOctets } from '../src/codecs/value/octet-text.js'
import { octets } from '../src/codecs/value/octets.js'
import { dump, type NetlinkRequest, readTables } from '../src/runtime/host/host.js'
import {
  arbBytes,
  arbHostile,
  arbInAny4,
  arbInAny6,
  arbMac,
  arbU8,
  arbU16,
  arbU32,
  assertRoundTrip,
  assertTotal,
  plain
} from './arbitraries.js'

const hex = (s: string): Uint8Array => Uint8Array.from(Buffer.from(s.replaceAll(/\s/g, ''), 'hex'))

// --- arbitraries

const arbMessage: fc.Arbitrary<NetlinkMessage> = plain({
  type: arbU16,
  flags: arbU16,
  seq: arbU32,
  pid: arbU32,
  payload: arbBytes(60)
})
/** Of types that none of the codecs has a name for. */
const arbOther: fc.Arbitrary<ReadonlyArray<Attribute>> = fc.array(
  plain<Attribute>({ type: fc.integer({ min: 64, max: 0x3fff }), data: arbBytes(12) }),
  { maxLength: 3 }
)
const arbIndex = fc.integer({ min: 0, max: 0x7fffffff })
/** Any octets but NUL. */
const arbName = (most: number): fc.Arbitrary<string> =>
  fc.uint8Array({ min: 1, minLength: 1, maxLength: most }).map((b) => textOfOctets(b))
const arbLink: fc.Arbitrary<Link> = plain({
  index: arbIndex,
  hardware: arbU16,
  flags: arbU32,
  change: arbU32,
  name: fc.option(arbName(15)),
  altNames: fc.array(arbName(127), { maxLength: 3 }),
  mtu: fc.option(arbU32),
  mac: fc.option(arbMac),
  other: arbOther
})
const arbFamily = fc.constantFrom(AF_INET, AF_INET6)
const addrIn = (family: number) => (family === AF_INET ? arbInAny4 : arbInAny6)
const arbNeighbour: fc.Arbitrary<Neighbour> = arbFamily.chain((family) =>
  plain<Neighbour>({
    family: fc.constant(family),
    index: arbIndex,
    state: arbU16,
    addr: fc.option(addrIn(family)),
    mac: fc.option(arbMac),
    other: arbOther
  })
)
const arbAddress: fc.Arbitrary<Address> = arbFamily.chain((family) =>
  plain<Address>({
    family: fc.constant(family),
    prefixLen: arbU8,
    flags: arbU32,
    scope: arbU8,
    index: arbU32,
    address: fc.option(addrIn(family)),
    local: fc.option(addrIn(family)),
    other: arbOther
  })
)
const arbVia = fc.option(fc.oneof(arbInAny4, arbInAny6))
const arbHop = (family: number): fc.Arbitrary<NextHop> =>
  plain({
    flags: arbU8,
    weight: fc.integer({ min: 1, max: 256 }),
    index: arbIndex,
    gateway: fc.option(addrIn(family)),
    via: arbVia,
    other: arbOther
  })
const arbRoute: fc.Arbitrary<Route> = arbFamily.chain((family) =>
  plain<Route>({
    family: fc.constant(family),
    dstLen: arbU8,
    srcLen: arbU8,
    tos: arbU8,
    table: arbU32,
    protocol: arbU8,
    scope: arbU8,
    type: arbU8,
    flags: arbU32,
    dst: fc.option(addrIn(family)),
    oif: fc.option(arbU32),
    gateway: fc.option(addrIn(family)),
    via: arbVia,
    priority: fc.option(arbU32),
    prefSrc: fc.option(addrIn(family)),
    nextHopId: fc.option(arbU32),
    expires: fc.option(arbU32),
    cacheInfo: fc.option(arbBytes(32)),
    multipath: fc.option(fc.array(arbHop(family), { maxLength: 3 })),
    other: arbOther
  })
)

// --- laws

describe('decode(encode(a)) = a', () => {
  test('datagram', () =>
    fc.assert(
      fc.property(fc.array(arbMessage, { maxLength: 4 }), (ms) => assertRoundTrip(NetlinkDatagram, ms))
    ))
  test('names: any octets, and text as people write it', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 15 }),
          fc.string({ unit: 'binary' }).map((s) => octetsOfText(s))
        ),
        (b) => assert.deepEqual(octetsOfText(textOfOctets(b)), b)
      )
    )
    const bytes = (s: string): Uint8Array => Uint8Array.from(Buffer.from(s))
    assert.deepEqual(octetsOfText('län0\ufffd'), bytes('län0\ufffd'))
    for (const text of ['län0\ufeff\ufffd', '\ufefflän0']) assert.equal(textOfOctets(bytes(text)), text)
    assert.equal(textOfOctets(hex('6c e4 6e 30 ed b2 80 c3')), 'l\udce4n0\udced\udcb2\udc80\udcc3')
  })
  test('link', () => fc.assert(fc.property(arbLink, (l) => assertRoundTrip(Link, l))))
  test('neighbour', () => fc.assert(fc.property(arbNeighbour, (n) => assertRoundTrip(Neighbour, n))))
  test('address', () => fc.assert(fc.property(arbAddress, (a) => assertRoundTrip(Address, a))))
  test('route', () => fc.assert(fc.property(arbRoute, (r) => assertRoundTrip(Route, r))))
})

describe('arbitrary and mutated octets: Left or a value, nothing read outside', () => {
  test('datagram', () =>
    fc.assert(
      fc.property(arbHostile(fc.array(arbMessage, { maxLength: 4 }).map(NetlinkDatagram.encode)), (b) => {
        assertTotal(NetlinkDatagram, b)
        const r = NetlinkDatagram.decode(octets(b))
        if (E.isRight(r)) for (const m of r.right) outcomeOf(m)
      })
    ))
  test('outcome', () =>
    fc.assert(
      fc.property(fc.constantFrom(NLMSG_ERROR, NLMSG_DONE), arbU16, arbBytes(80), (type, flags, payload) => {
        const o = outcomeOf({ type, flags, seq: 0, pid: 0, payload })
        assert.ok(o !== null && o.errno >= 0)
      })
    ))
  test('link', () =>
    fc.assert(fc.property(arbHostile(arbLink.map(Link.encode)), (b) => assertTotal(Link, b))))
  test('address', () =>
    fc.assert(fc.property(arbHostile(arbAddress.map(Address.encode)), (b) => assertTotal(Address, b))))
  test('neighbour', () =>
    fc.assert(fc.property(arbHostile(arbNeighbour.map(Neighbour.encode)), (b) => assertTotal(Neighbour, b))))
  test('route', () =>
    fc.assert(fc.property(arbHostile(arbRoute.map(Route.encode)), (b) => assertTotal(Route, b))))
})

// --- octets from a kernel

test('a default route as Linux sends it', () => {
  // ip route: default via 198.51.100.1 dev (index 2) proto static metric 100
  const r = Route.decode(
    octets(
      hex(`02 00 00 00 fe 04 00 01 00000000
           0800 0f00 fe000000  0800 0600 64000000  0800 0500 c6336401  0800 0400 02000000`)
    )
  )
  assert.ok(E.isRight(r))
  const { table, dstLen, gateway, oif, priority, other } = r.right
  assert.deepEqual(
    { table, dstLen, gateway: gateway && showAddr(gateway), oif, priority, other },
    { table: 254, dstLen: 0, gateway: '198.51.100.1', oif: 2, priority: 100, other: [] }
  )
})

test('a next hop of another family that is cut short is given back as it came', () => {
  for (const [cut, read] of [
    ['0500 1200 02', false],
    ['0400 1200', false],
    ['0600 1200 0200', false],
    ['0900 1200 0200 c63364', false],
    ['0a00 1200 0200 c6336401', true]
  ] as const) {
    const attribute = hex(cut)
    const padded = [...attribute, ...new Uint8Array(-attribute.length & 3)]
    const r = Route.decode(octets(Uint8Array.of(...hex('0a 00 00 00 fe 04 00 01 00000000'), ...padded)))
    assert.ok(E.isRight(r), cut)
    assert.deepEqual(
      [r.right.via && showAddr(r.right.via), r.right.other],
      read ? ['198.51.100.1', []] : [null, [{ type: 18, data: attribute.slice(4) }]],
      cut
    )
  }
})

test('a message is as long as its header at least, and no longer than what came', () => {
  const read = (length: number) => {
    const b = encodeMessage({ type: 16, flags: 0, seq: 1, pid: 0, payload: Uint8Array.of(1, 2, 3, 4) })
    new DataView(b.buffer, b.byteOffset).setUint32(0, length, true)
    const r = NetlinkDatagram.decode(octets(b))
    return E.isLeft(r) ? null : r.right[0]?.payload.length
  }
  assert.deepEqual([0, 4, 15, 16, 17, 20, 21].map(read), [null, null, null, null, 1, 4, null])
})

test('of the properties of a link its names are read, and numbers of 32 bits have four octets', () => {
  const attribute = (type: number, data: Uint8Array): number[] => [
    ...new Uint8Array(Uint16Array.of(4 + data.length, type).buffer),
    ...data,
    ...new Uint8Array(-data.length & 3)
  ]
  const name = Uint8Array.from(Buffer.from('wan')) // a NUL may end it, or the attribute
  const [IFLA_MTU, IFLA_PROP_LIST, IFLA_ALT_IFNAME] = [4, 52, 53]
  const properties = Uint8Array.from([...attribute(99, name), ...attribute(IFLA_ALT_IFNAME, name)])
  const read = (mtu: Uint8Array) => {
    const attributes = [...attribute(IFLA_MTU, mtu), ...attribute(IFLA_PROP_LIST | 0x8000, properties)]
    const r = Link.decode(octets(Uint8Array.from([...new Uint8Array(16), ...attributes])))
    return E.isRight(r) ? [r.right.mtu, r.right.altNames, r.right.other.length] : null
  }
  assert.deepEqual(read(Uint8Array.of(0xdc, 5, 0, 0)), [1500, ['wan'], 0])
  assert.deepEqual(read(Uint8Array.of(0xdc, 5, 0, 0, 0, 0, 0, 0)), [null, ['wan'], 1])
})

test('an attribute that cannot be read is given back as it came, like one that nobody asked for', () =>
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.nat(20), { minLength: 1, maxLength: 6 }),
      fc.nat(20),
      fc.boolean(),
      (types, type, good) => {
        const all = types.map((t) => ({ type: t, data: Uint8Array.of(t) }))
        const r = reader(all)
        assert.equal(
          r.take(type, () => (good ? 1 : null)),
          good && types.includes(type) ? 1 : null
        )
        assert.deepEqual(
          r.rest(),
          all.filter((a) => a.type !== type || !good)
        )
      }
    )
  ))

test('the explanation in an extended acknowledgement', () => {
  const text = hex('1a000100 4e6578 74686f702068617320696e76616c696400 0000 00'.replaceAll(' ', ''))
  const payload = Uint8Array.from([
    ...hex('9bffffff'),
    ...hex('1c000000 1800 0506 01000000 00000000'),
    ...text
  ])
  const o = outcomeOf({ type: NLMSG_ERROR, flags: NLM_F_CAPPED | NLM_F_ACK_TLVS, seq: 1, pid: 0, payload })
  assert.deepEqual(o, { errno: 101, message: 'Nexthop has invalid' })
})

// --- dumps

test('all of a table is asked for by a whole header of its kind, zero but for the family', () => {
  // struct ifinfomsg, ifaddrmsg, rtmsg, ndmsg (rtnetlink(7)); NLM_F_REQUEST | NLM_F_DUMP
  for (const [type, length] of [
    [RTM_GETLINK, 16],
    [RTM_GETADDR, 8],
    [RTM_GETROUTE, 12],
    [RTM_GETNEIGH, 12]
  ] as const) {
    const payload = new Uint8Array(length)
    payload[0] = AF_INET6
    assert.deepEqual(
      NetlinkDatagram.decode(octets(dumpRequest(type, AF_INET6))),
      E.right([{ type, flags: 0x301, seq: 1, pid: 0, payload }])
    )
  }
})

const done = encodeMessage({ type: NLMSG_DONE, flags: 2, seq: 1, pid: 0, payload: new Uint8Array(4) })
const errorOf = (errno: number): Uint8Array => {
  const payload = new Uint8Array(20)
  new DataView(payload.buffer).setInt32(0, -errno, true)
  return encodeMessage({ type: NLMSG_ERROR, flags: 0, seq: 1, pid: 0, payload })
}
const routes = (request: NetlinkRequest) => dump(request, RTM_GETROUTE, RTM_NEWROUTE, AF_INET, Route)

test('regression-87: an interrupted dump is read again, and taken as it is if it never ends well', () =>
  fc.assert(
    fc.property(
      fc.array(arbRoute, { maxLength: 3 }),
      fc.integer({ min: 0, max: 20 }),
      (rs, interruptions) => {
        let left = interruptions
        let calls = 0
        const r = routes(() => {
          calls++
          const flags = left-- > 0 ? NLM_F_DUMP_INTR : 0
          return Buffer.concat([
            ...rs.map((x) =>
              encodeMessage({ type: RTM_NEWROUTE, flags, seq: 1, pid: 0, payload: Route.encode(x) })
            ),
            done
          ])
        })
        assert.deepEqual(r, E.right(rs))
        if (rs.length > 0) assert.equal(calls, Math.min(interruptions + 1, 8))
      }
    )
  ))

test('regression-80: without IPv6 in the kernel its tables are empty', () => {
  const tables = readTables((b) => (b[16] === AF_INET6 ? errorOf(97) : done))
  assert.deepEqual(tables, E.right({ links: [], addresses: [], routes4: [], routes6: [] }))
})

test('whatever the transport does: a reason or a value', () =>
  fc.assert(
    fc.property(
      fc.array(arbHostile(fc.array(arbMessage).map(NetlinkDatagram.encode))),
      fc.boolean(),
      (answer, broken) => {
        const r = readTables(() => {
          if (broken) throw Object.assign(new Error('EPERM'), { errno: 1 })
          return Buffer.concat(answer)
        })
        if (broken) assert.match(E.isLeft(r) ? r.left : '', /^cannot ask the kernel for interfaces: EPERM, /)
        if (E.isRight(r)) assert.ok(r.right.routes4.every((x) => x.dst === null || isV4(x.dst)))
      }
    )
  ))
