import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { encodeRecording, type RecordItem, type RingRecord, recordItems } from '../src/codecs/log/record.js'
import { fromV4, type InAny, isLinkLocal, isLoopback, isMulticast, isV4 } from '../src/codecs/value/inany.js'
import { octets, sub } from '../src/codecs/value/octets.js'
import { DhcpMessage } from '../src/codecs/wire/dhcp.js'
import { Dhcp6Message } from '../src/codecs/wire/dhcpv6.js'
import { isGroupMac } from '../src/codecs/wire/ethernet.js'
import { decodeFrame } from '../src/codecs/wire/frame.js'
import { UdpDatagram } from '../src/codecs/wire/udp.js'
import { EV } from '../src/runtime/abi/abi.js'
import { startText } from '../src/runtime/engine/start-record.js'
import { GUEST4, GUEST6 } from '../src/runtime/engine/warm-up.js'
import { ASK } from '../src/runtime/record/answers.js'
import { type Aliases, aliasesBy, looker } from '../src/runtime/replay/aliases.js'
import { anonymized } from '../src/runtime/replay/anonymize.js'
import { openRecording } from '../src/runtime/replay/recording.js'
import { replayer, Unplayable } from '../src/runtime/replay/replayer.js'
import { rewrite } from '../src/runtime/replay/rewrite.js'
import { udpFrame } from './fragment-arbitraries.js'
import { build, metaOf } from './frame-spec.js'
import { act, arbActs } from './record-arbitraries.js'
import { opened, recordOf, replayed, START } from './recorded.js'
import { addr } from './services-arbitraries.js'

const RUNS = Number(process.env.FC_RUNS ?? 40)
const arbKey = fc.uint8Array({ minLength: 32, maxLength: 32 })

describe('aliases', () => {
  const arbWord = fc.integer({ min: 0, max: 0xffffffff })
  /** Neighbours among them. */
  const near = (arb: fc.Arbitrary<InAny>): fc.Arbitrary<InAny[]> =>
    fc.array(
      fc
        .tuple(arb, fc.nat(255))
        .chain(([a, n]) => fc.constantFrom(a, [a[0], a[1], a[2], (a[3] ^ n) >>> 0] as InAny)),
      { minLength: 2, maxLength: 8 }
    )
  const arbV4 = fc
    .oneof(arbWord, fc.constantFrom(0x7f000001, 0x0a000001, 0xc0a80101, 0xa9fe0001, 0xe0000001, 0xffffffff))
    .map(fromV4)
  const arbV6 = fc.oneof(
    fc.tuple(arbWord, arbWord, arbWord, arbWord).map((w): InAny => w),
    fc
      .tuple(
        fc.constantFrom(0xfe800000, 0x20010db8, 0xfd000000, 0xff020000),
        fc.constant(0),
        fc.nat(1),
        arbWord
      )
      .map((w): InAny => w),
    fc.constantFrom(addr('::'), addr('::1'), addr('ff02::1:ff00:1'))
  )
  const common = (a: InAny, b: InAny): number => {
    const bits = (x: InAny): string => x.map((w) => w.toString(2).padStart(32, '0')).join('')
    const [p, q] = [bits(a), bits(b)]
    let n = 0
    while (n < 128 && p[n] === q[n]) n++
    return n
  }
  test('one for each, what is common at the front stays so, and so does what kind of address it is', () => {
    for (const arb of [near(arbV4), near(arbV6)])
      fc.assert(
        fc.property(arbKey, arb, (key, all) => {
          const look = looker()
          for (const a of all) look.aliases.addr(a)
          const by = aliasesBy(key, look.seen)
          const again = aliasesBy(key, look.seen)
          for (const a of all) {
            const x = by.addr(a)
            assert.deepEqual(again.addr(a), x)
            for (const is of [isV4, isLoopback, isMulticast, isLinkLocal]) assert.equal(is(x), is(a))
            // The last 24 bits of a group are those of an address
            for (const b of all)
              if (!isMulticast(a) || !isMulticast(b)) assert.equal(common(x, by.addr(b)), common(a, b))
          }
        }),
        { numRuns: 60 }
      )
  })
  test('private addresses stay private, and a broadcast address stays one', () => {
    fc.assert(
      fc.property(arbKey, fc.nat(0xffffff), fc.integer({ min: 1, max: 30 }), (key, n, len) => {
        const look = looker()
        const own = fromV4(0x0a000000 + n)
        const mask = (0xffffffff << (32 - len)) >>> 0
        const all = fromV4((own[3] | ~mask) >>> 0)
        look.aliases.prefix(own, len)
        const by = aliasesBy(key, look.seen)
        assert.equal(by.addr(own)[3] >>> 24, 10)
        assert.equal(by.addr(all)[3], ((by.addr(own)[3] & mask) | ~mask) >>> 0)
        const home = fromV4(0xc0a80000 + (n & 0xffff))
        assert.equal(by.addr(home)[3] >>> 16, 0xc0a8)
      })
    )
  })
  test('MACs and labels: one for each, none that there is', () => {
    fc.assert(
      fc.property(
        arbKey,
        fc.uniqueArray(fc.integer({ min: 1, max: 0xfffffffffffe }), { maxLength: 20 }),
        fc.uniqueArray(fc.string({ minLength: 1, maxLength: 12 }), { maxLength: 20 }),
        (key, macs, labels) => {
          const look = looker()
          macs.forEach(look.aliases.mac)
          labels.forEach(look.aliases.label)
          const by = aliasesBy(key, look.seen)
          const other = macs.map(by.mac)
          assert.equal(new Set(other).size, macs.length)
          for (const [i, m] of macs.entries()) {
            assert.equal(isGroupMac(other[i]!), isGroupMac(m))
            if (!isGroupMac(m)) assert.ok(!macs.includes(other[i]!))
          }
          assert.equal(new Set(labels.map(by.label)).size, labels.length)
          for (const l of labels) assert.ok(!labels.includes(by.label(l)))
        }
      )
    )
  })
})

/** Every turn, every effect and every counter is as recorded. */
const assertSame = (file: Uint8Array): void => {
  const { turns, end } = opened(file)
  const { all, counters } = replayed(file)
  assert.deepEqual(all.at(-1)?.difference ?? null, null)
  assert.equal(all.length, turns.length)
  assert.deepEqual(counters, end.counters)
}
/** With the effects that its events lead to now; null: they cannot be played. */
const remade = (file: Uint8Array): Uint8Array | null => {
  const r = openRecording(octets(file))
  if (E.isLeft(r)) return null
  const { recording } = r.right
  try {
    const p = replayer(recording)
    const items: RecordItem[] = [{ type: 'Start', json: startText(recording.start) }, ...recording.listeners]
    for (const t of recording.turns) {
      const { made, answers } = p.turn(t)
      items.push(
        { type: 'Turn', now: t.now, events: t.events.length },
        ...t.events.map((e): RecordItem => ({ ...e, type: 'Event' })),
        ...answers.filter((one) => one.to !== ASK.INITIAL_SEQUENCE),
        ...made.flatMap((part): RecordItem[] => [
          { type: 'Effects', effects: part.length },
          ...part.map(({ record }): RecordItem => ({ ...record, type: 'Effect' }))
        ]),
        ...t.listeners
      )
    }
    const counters = Object.fromEntries(p.world.counters)
    return encodeRecording([...items, { type: 'End', json: JSON.stringify({ why: 'stop', counters }) }])
  } catch (e) {
    if (!(e instanceof Unplayable)) throw e
    return null
  }
}
const written = (acts: Parameters<typeof act>[1], rounds: number): Uint8Array =>
  recordOf((r) => act(r, acts, rounds))

describe('what is left of a session', () => {
  const v4 = (a: InAny): Uint8Array => Uint8Array.of(a[3] >>> 24, a[3] >>> 16, a[3] >>> 8, a[3])
  const v6 = (a: InAny): Uint8Array =>
    Uint8Array.from(a.flatMap((w) => [w >>> 24, (w >>> 16) & 255, (w >>> 8) & 255, w & 255]))
  const GUEST6_OCTETS = v6(GUEST6)
  /** As a ring has its words. */
  const turned = (b: Uint8Array): Uint8Array => Uint8Array.from(b, (_, i) => b[(i & ~3) + 3 - (i & 3)]!)
  const mac = (m: number): Uint8Array =>
    Uint8Array.from({ length: 6 }, (_, i) => Math.floor(m / 256 ** (5 - i)) % 256)
  const text = (t: string): Uint8Array => Uint8Array.from(t, (c) => c.charCodeAt(0))
  const has = (file: Uint8Array, what: Uint8Array): boolean => Buffer.from(file).includes(Buffer.from(what))
  const key = Uint8Array.from({ length: 32 }, (_, i) => i)
  const file = recordOf((r) => act(r, [], 2), {
    start: { ...START, host: 'Node 20, Linux 6.1.0-of-somebody, x64' }
  })
  const other = anonymized(octets(file), key)

  test('is no address, MAC or name of it, and not its secret', () => {
    const { plan, found } = START
    const names = [...plan.search.flatMap((n) => n.split('.')), plan.hostname!, 'of-somebody']
    const found4 = [GUEST4, addr('198.51.100.9'), addr('198.51.100.1'), addr('198.51.100.53')]
    const found6 = [GUEST6, addr('2001:db8::9')]
    const macs = [plan.ownMac, 0x020000000002]
    const there = [
      ...found4.slice(0, 2).map(v4),
      ...found4.slice(0, 2).map((a) => turned(v4(a))),
      ...found6.map(v6),
      ...macs.map(mac),
      ...names.map(text)
    ]
    for (const octetsOf of there) {
      assert.ok(has(file, octetsOf), `${octetsOf} is in the record`)
      assert.ok(!has(other, octetsOf), `${octetsOf} is not in the other one`)
    }
    for (const a of found6) assert.ok(!has(other, turned(v6(a))))
    for (const a of found4) {
      assert.ok(!has(other, v4(a)) && !has(other, turned(v4(a))))
      assert.ok(!has(other, text(`${a[3]}`)), 'nor in its start')
    }
    assert.ok(has(file, text(`${found.secret}`)))
    assert.deepEqual(
      [...opened(other).start.found.secret],
      Array.from({ length: 16 }, () => 0)
    )
  })
  test('messages of any kind: no address of them, wherever it is', () => {
    const frames = fc
      .sample(arbActs, { numRuns: 60, seed: 7 })
      .flat()
      .flatMap(({ came }) => came)
    const look = looker()
    const is = (e: RingRecord, by: Aliases): Uint8Array => rewrite(e, by).kept!.head
    const records = frames.flatMap(({ words, octets: b }): RingRecord[] =>
      b === null || (words[0] !== EV.TAP_FRAME && words[0] !== EV.NETLINK)
        ? []
        : [
            {
              words: [...words.slice(0, 3), b.length, ...words.slice(4)],
              kept: { head: b, tail: new Uint8Array(), sum: null }
            }
          ]
    )
    for (const e of records) is(e, look.aliases)
    const by = aliasesBy(key, look.seen)
    // Not what is in many a header
    const isRare = (b: Uint8Array): boolean => new Set(b).size > 3
    let seen = 0
    for (const e of records) {
      const mine = looker()
      is(e, mine.aliases)
      const out = is(e, by)
      // Twice the same is the same; and what was looked at is gone
      assert.deepEqual([...is(e, by)], [...out])
      for (const m of mine.seen.macs) if (isRare(mac(m))) assert.ok(!has(out, mac(m)), `${m}`)
      for (const a of mine.seen.addrs.values()) {
        const inIt = isV4(a) ? v4(a) : v6(a)
        if (!isRare(inIt)) continue
        seen++
        assert.ok(!has(out, inIt), `${a} in ${out}`)
      }
    }
    assert.ok(seen > 300, `${seen} addresses`)
  })
  test('what a client says of itself', () => {
    const name = 'ours-laptop'
    const self = 0x00163e123456
    const client = Uint8Array.of(1, ...mac(self))
    const option = (code: number, data: Uint8Array): Uint8Array => Uint8Array.of(code, data.length, ...data)
    const dhcp = new Uint8Array(400)
    dhcp.set([1, 1, 6, 0, 1, 2, 3, 4])
    dhcp.set(v4(GUEST4), 12)
    dhcp.set(mac(self), 28)
    dhcp.set(text(`${name}.img`), 108)
    dhcp.set([99, 130, 83, 99, ...option(53, Uint8Array.of(3)), ...option(12, text(name))], 236)
    dhcp.set([...option(50, v4(GUEST4)), ...option(61, client), ...option(60, text(name)), 255], 256)
    const option6 = (code: number, data: Uint8Array): Uint8Array =>
      Uint8Array.of(0, code, 0, data.length, ...data)
    const duid = Uint8Array.of(0, 1, 0, 1, 9, 9, 9, 9, ...mac(self))
    const iaid = mac(self).slice(2)
    const ia = Uint8Array.of(
      ...iaid,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      ...option6(5, Uint8Array.of(...v6(GUEST6), ...new Uint8Array(8)))
    )
    const fqdn = Uint8Array.of(0, name.length, ...text(name), 0)
    const dhcp6 = Uint8Array.of(
      1,
      1,
      2,
      3,
      ...option6(1, duid),
      ...option6(3, ia),
      ...option6(39, fqdn),
      ...option6(16, text(name))
    )
    for (const [v6, port, data] of [
      [false, 67, dhcp],
      [true, 547, dhcp6]
    ] as const) {
      const { bytes } = build({
        ...udpFrame(v6, new Uint8Array()),
        l4: UdpDatagram.encode({ srcPort: port + 1, dstPort: port, payload: data }),
        // A route that was recorded (RFC 791 §3.1), padding options (RFC 8200 §4.2), and what lies behind it all
        options: v6 ? new Uint8Array() : Uint8Array.of(7, 7, 8, ...v4(GUEST4), 0),
        extensions: v6 ? [{ type: 60, body: Uint8Array.of(1, 16, ...GUEST6_OCTETS, 0, 0, 0, 0) }] : [],
        surplus: text(name),
        padding: text(name)
      })
      const e: RingRecord = {
        words: [EV.TAP_FRAME, 0, 0, bytes.length, 0, 0, 0, metaOf(octets(bytes)).sum16],
        kept: { head: bytes, tail: new Uint8Array(), sum: null }
      }
      const look = looker()
      rewrite(e, look.aliases)
      const { words, kept } = rewrite(e, aliasesBy(key, look.seen))
      const out = kept!.head
      for (const gone of [text(name), mac(self), iaid, v6 ? GUEST6_OCTETS : v4(GUEST4)]) {
        assert.ok(has(bytes, gone), `${gone} was there`)
        assert.ok(!has(out, gone), `${gone} in ${out}`)
      }
      // As whole as it was
      const frame = decodeFrame(octets(out), { needsCsum: false, sum16: words[7]!, gsoSize: 0 })
      assert.ok(typeof frame !== 'string' && frame.kind === 'udp', `${frame}`)
      assert.equal(metaOf(octets(out)).sum16 % 0xffff, words[7]! % 0xffff)
      const message = sub(octets(out), out.length - data.length - 2 * name.length, data.length)
      const decoded: E.Either<unknown, unknown> = v6
        ? Dhcp6Message.decode(message)
        : DhcpMessage.decode(message)
      assert.ok(E.isRight(decoded), 'decoded')
    }
  })
  test('is refused where it cannot be done', () => {
    const payload = recordOf((r) => act(r, [], 1), { start: { ...START, payload: true } })
    const items = [...recordItems(octets(file))]
    const changed = items.map((i) =>
      i.type === 'Effect' ? { ...i, words: i.words.map((w, n) => (n === 15 ? w ^ 1 : w)) } : i
    )
    for (const [bytes, why] of [
      [payload, /users' data/],
      [other, /anonymous already/],
      [encodeRecording(changed), /differs/]
    ] as const)
      assert.throws(() => anonymized(octets(bytes), key), why)
  })
})

test('an anonymous record replays exactly, turn by turn as the one that it is made of', () => {
  fc.assert(
    fc.property(arbActs, arbKey, (acts, key) => {
      const file = written(acts, 1)
      const other = anonymized(octets(file), key)
      assertSame(other)
      const [a, b] = [opened(file).turns, opened(other).turns]
      assert.equal(b.length, a.length)
      for (const [i, t] of a.entries())
        assert.deepEqual(
          b[i]!.effects.map((part) => part.map((e) => e.words[0])),
          t.effects.map((part) => part.map((e) => e.words[0]))
        )
    }),
    { numRuns: Math.ceil(RUNS / 4), endOnFailure: true }
  )
})

test('of octets and words of any kind: an anonymous record that replays exactly, or why there is none', () => {
  const items = [...recordItems(octets(written([], 1)))]
  const places = items.flatMap((i, place) => (i.type === 'Event' ? [place] : []))
  const arbChange = fc.tuple(
    fc.nat(places.length - 1),
    fc.boolean(),
    fc.nat(),
    fc.integer({ min: 0, max: 255 })
  )
  let done = 0
  fc.assert(
    fc.property(fc.array(arbChange, { minLength: 1, maxLength: 3 }), arbKey, (changes, key) => {
      const copy = [...items]
      for (const [n, inOctets, at, value] of changes) {
        const e = copy[places[n]!]!
        if (e.type !== 'Event') continue
        const head = e.kept?.head.slice()
        if (head !== undefined && inOctets && head.length > 0) head[at % head.length] = value
        const words = e.words.map((w, i) => (!inOctets && i === at % 16 ? value : w))
        copy[places[n]!] = { ...e, words, kept: e.kept === null ? null : { ...e.kept, head: head! } }
      }
      // What the machines make of these is what is recorded
      const changed = remade(encodeRecording(copy))
      if (changed === null) return
      try {
        assertSame(anonymized(octets(changed), key))
        done++
      } catch (e) {
        if (!(e instanceof Unplayable)) throw e
      }
    }),
    { numRuns: Math.ceil(RUNS / 3) }
  )
  assert.ok(done > RUNS / 8, `${done}`)
})
