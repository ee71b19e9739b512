import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { type ConfRule, clientPart, ServerPart } from '../src/codecs/control/conf.js'
import {
  CHUNK_HEADER,
  encodeRecording,
  RECORD_HEADER,
  RecordItem,
  recordHeader,
  recordItems,
  sealChunk
} from '../src/codecs/log/record.js'
import { octets } from '../src/codecs/value/octets.js'
import { decodeFragment } from '../src/codecs/wire/fragment.js'
import { decodeFrame } from '../src/codecs/wire/frame.js'
import { instant } from '../src/effects/effect.js'
import { CONF_WAIT } from '../src/machines/forward/conf-client.js'
import { toConfRule } from '../src/machines/forward/conf-rules.js'
import {
  ABI_WORDS,
  BIND_OUTBOUND,
  EF,
  EV,
  IN_NAMESPACE,
  PEEK_DRAINED,
  PEEK_EOF,
  READY_IN,
  READY_OUT,
  READY_RDHUP,
  SEND_REPORT_ACK,
  STATE_LOAD
} from '../src/runtime/abi/abi.js'
import { stateOpen } from '../src/runtime/abi/effects.js'
import { parseStart, startText } from '../src/runtime/engine/start-record.js'
import { RULE } from '../src/runtime/engine/warm-up.js'
import { machines } from '../src/runtime/flow/kinds.js'
import { ASK } from '../src/runtime/record/answers.js'
import { kept, keptOfFrame } from '../src/runtime/record/kept.js'
import { flowOfEffect } from '../src/runtime/replay/flow-of.js'
import { openRecording } from '../src/runtime/replay/recording.js'
import { replayer, Unplayable } from '../src/runtime/replay/replayer.js'
import { EFFECT_WORDS, EVENT_WORDS, effectText, eventText } from '../src/runtime/replay/show.js'
import { shrunk } from '../src/runtime/replay/shrink.js'
import { useXstate } from '../src/runtime/replay/under-xstate.js'
import { repo } from '../test/lib/cache.js'
import {
  arbBytes,
  arbHostile,
  arbMutated,
  assertOctets,
  assertRoundTrip,
  assertTotal,
  plain,
  real
} from './arbitraries.js'
import { arbCut, fragment } from './fragment-arbitraries.js'
import { arbFrame, build, metaOf } from './frame-spec.js'
import { unacknowledged } from './migration-streams.js'
import { connectionOf, type Ends, play } from './played.js'
import { type Act, act, arbActs } from './record-arbitraries.js'
import { opened, recordOf, replayed, START } from './recorded.js'
import { holds, scenario } from './tcp-arbitraries.js'

const RUNS = Number(process.env.FC_RUNS ?? 40)
const written = (acts: ReadonlyArray<Act>, payload = false, rounds = 1): Uint8Array =>
  recordOf((r) => act(r, acts, rounds), { start: { ...START, payload } })

/** Every turn, every effect and every counter is as recorded. */
const assertSame = (file: Uint8Array): void => {
  const { turns, end } = opened(file)
  assert.deepEqual([end.cut, end.why], [null, 'error'])
  const { all, counters } = replayed(file)
  assert.deepEqual(all.at(-1)?.difference ?? null, null)
  assert.equal(all.length, turns.length)
  assert.deepEqual(counters, end.counters)
}

describe('a record replays exactly', () => {
  test('what the warm-up does: every effect is the same', () => {
    const file = written([], false, 6)
    assertSame(file)
    const { turns } = opened(file)
    const effects = turns.reduce((n, t) => n + t.effects.flat().length, 0)
    assert.ok(turns.length > 300 && effects > 300, `${turns.length} turns, ${effects} effects`)
    assert.ok(turns.some((t) => t.events.some((e) => e.words[0] === EV.SPLICE_EOF)))
  })
  test("any run, with users' data and without", () => {
    fc.assert(
      fc.property(arbActs, fc.boolean(), (acts, payload) => assertSame(written(acts, payload))),
      { numRuns: RUNS, endOnFailure: true }
    )
  })
  test('any connection between a simulated guest and a simulated host', () => {
    let complete = 0
    holds(
      scenario(false),
      (s) => {
        const c = connectionOf(s)
        let all: ReadonlyArray<Ends> = []
        const file = recordOf((r) => {
          all = play(r, [c])
        })
        assertSame(file)
        if (all[0]!.guest.delivered === s.host.sends && all[0]!.host.received === s.guest.sends) complete++
      },
      RUNS / 2
    )
    assert.ok(complete > RUNS / 3, `${complete} of ${RUNS / 2} are complete`)
  })
  test('any run under xstate', () => {
    fc.assert(
      fc.property(arbActs, (acts) => {
        const file = written(acts)
        const undo = useXstate()
        try {
          assertSame(file)
        } finally {
          undo()
        }
      }),
      { numRuns: RUNS / 4, endOnFailure: true }
    )
  })
})

describe('rules that change', () => {
  const ServerSaid = (b: Uint8Array): ServerPart =>
    E.getOrElse((): ServerPart => assert.fail('no server part'))(ServerPart.decode(octets(b)))
  const rule = (port: number): ConfRule => ({ ...toConfRule(RULE), first: port, last: port, to: port })
  test('what clients say, what becomes of it, and the listeners after that', () => {
    let slices = 0
    const file = recordOf(
      ({ w, turn, listen }) => {
        const { slab, ev } = w.rings
        const event = (...words: ReadonlyArray<number>): void => {
          ev.fill(0, 0, ABI_WORDS)
          ev.set(words)
        }
        const say = (client: number, b: Uint8Array, now: number): void => {
          const off = slab.length - b.length
          slab.set(b, off)
          event(EV.CONF_OCTETS, client, off, b.length)
          turn(1, instant(now))
        }
        const came = (client: number, flags: number, now: number): void => {
          event(EV.CONF_CLIENT, client, 77, flags)
          turn(1, instant(now))
        }
        came(0, 1, 10)
        came(1, 0, 11)
        const request = clientPart(2).encode([
          { pif: 1, rules: [rule(7), rule(8)] },
          { pif: 3, rules: [] }
        ])
        say(0, request.subarray(0, 60), 12)
        say(0, request.subarray(60), 13)
        turn(0, instant(14))
        listen(99, true)
        turn(0, instant(15))
        came(2, 1, 16)
        say(2, Uint8Array.of(9, 9, 9, 9, 9), 17)
        came(3, 1, 18)
        turn(0, instant(18 + CONF_WAIT))
      },
      {
        start: { ...START, plan: { ...START.plan, confPath: '' } },
        door: { begin: () => {}, go: () => (++slices < 2 ? null : '') }
      }
    )
    assertSame(file)
    assert.equal(slices, 2)
    const told = opened(file)
      .turns.flatMap((t) => t.effects.flat())
      .flatMap((e) => (e.words[0] === EF.CONF_SEND && e.kept !== null ? [ServerSaid(e.kept.head)] : []))
    assert.deepEqual(
      told.map((s) => s.tables.map((one) => [one.name, one.rules.map((r) => r.first)])),
      [
        [
          ['HOST', START.rules.filter((r) => r.direction === 'in').map((r) => r.first)],
          ['SPLICE', START.rules.filter((r) => r.direction === 'out').map((r) => r.first)]
        ],
        [
          ['HOST', [7, 8]],
          ['SPLICE', []]
        ],
        [
          ['HOST', [7, 8]],
          ['SPLICE', []]
        ]
      ]
    )
  })
})

describe('a difference is found where it is', () => {
  const file = written([], false, 2)
  const items = [...recordItems(octets(file))]
  const turnOf = (place: number): number => items.slice(0, place + 1).filter((i) => i.type === 'Turn').length
  const placesOf = (type: RecordItem['type']): ReadonlyArray<number> =>
    items.flatMap((i, place) => (i.type === type ? [place] : []))

  test('an effect whose words, or octets, are others', () => {
    const places = placesOf('Effect')
    fc.assert(
      fc.property(
        fc.nat(places.length - 1),
        fc.integer({ min: 1, max: 15 }),
        fc.boolean(),
        (n, word, inOctets) => {
          const place = places[n]!
          const was = items[place]!
          if (was.type !== 'Effect') return
          const head = was.kept?.head.slice()
          if (inOctets && head !== undefined && head.length > 0) head[word % head.length]! ^= 1
          const now =
            inOctets && was.kept !== null && head !== undefined
              ? { ...was, kept: { ...was.kept, head } }
              : { ...was, words: was.words.map((w, i) => (i === word ? w ^ 1 : w)) }
          const { all } = replayed(
            encodeRecording([...items.slice(0, place), now, ...items.slice(place + 1)])
          )
          const d = all.at(-1)?.difference
          assert.equal(d?.turn, turnOf(place))
          assert.deepEqual(d?.recorded?.words, now.words)
          assert.deepEqual(d?.made?.words, was.words)
        }
      ),
      { numRuns: 20 }
    )
  })
  test('an effect that is missing, or too many', () => {
    const turns = opened(file).turns.filter((t) => t.effects.length > 0 && !t.isLast)
    for (const more of [true, false]) {
      const turn = turns[turns.length >> 1]!
      const at = items.findIndex((i, place) => i.type === 'Effects' && turnOf(place) === turn.index)
      const n = turn.effects[0]!.length + (more ? 1 : -1)
      const copy = [...items]
      copy[at] = { type: 'Effects', effects: n }
      if (more) copy.splice(at + 1, 0, items[at + 1]!)
      else copy.splice(at + 1, 1)
      const d = replayed(encodeRecording(copy)).all.at(-1)?.difference
      assert.equal(d?.turn, turn.index)
    }
  })
  test('a machine that does less: the event that it happens with, and its flow', () => {
    const udp = machines.udp
    const { step } = udp
    udp.step = (s, e, out) => {
      const next = step(s, e, out)
      if (e.type === 'SOCK_DATAGRAM') out.pop()
      return next
    }
    try {
      const last = replayed(file).all.at(-1)
      const d = last?.difference
      assert.equal(d?.recorded?.words[0], EF.TAP_WRITE)
      assert.equal(d?.made, null)
      const first = opened(file).turns.find((t) => t.events.some((e) => e.words[0] === EV.DATAGRAM))
      assert.equal(d?.turn, first?.index)
    } finally {
      udp.step = step
    }
  })
  test('the least that shows it: one flow, few turns; and it replays exactly by the machine that was recorded', () => {
    const cases: ReadonlyArray<readonly [keyof typeof machines, string, number]> = [
      ['udp', 'SOCK_DATAGRAM', 3],
      ['tcp', 'TURN_END', 12],
      ['tcp-splice', 'SPLICE_EOF', 4]
    ]
    for (const [kind, event, most] of cases) {
      const machine = machines[kind] as unknown as {
        step: (s: never, e: { type: string }, out: unknown[]) => never
      }
      const { step } = machine
      let small: ReturnType<typeof shrunk> = null
      machine.step = (s, e, out) => {
        const next = step(s, e, out)
        if (e.type === event) out.pop()
        return next
      }
      try {
        assert.notEqual(replayed(file).all.at(-1)?.difference, null, `${kind}: found`)
        small = shrunk(octets(file))
        assert.ok(small !== null && small.turns <= most, `${kind}: ${small?.turns} turns`)
        assert.notEqual(replayed(small.file).all.at(-1)?.difference, null, kind)
      } finally {
        machine.step = step
      }
      assert.equal(replayed(small.file).all.at(-1)?.difference, null, kind)
      assert.equal(shrunk(octets(small.file)), null)
    }
  })
  test('something else is asked for', () => {
    const place = placesOf('Answer')[0]!
    const was = items[place]!
    assert.ok(was.type === 'Answer' && was.to === ASK.RANDOM)
    const without = [...items.slice(0, place), ...items.slice(place + 1)]
    const other = [...items.slice(0, place), { ...was, to: ASK.MEMORY_OF }, ...items.slice(place + 1)]
    for (const [list, what] of [
      [without, 'RANDOM was asked for, which the record has no answer to'],
      [other, 'RANDOM was asked for in place of MEMORY_OF']
    ] as const) {
      const d = replayed(encodeRecording(list)).all.at(-1)?.difference
      assert.deepEqual([d?.turn, d?.what], [turnOf(place), what])
    }
  })
})

describe('what is kept', () => {
  const assertEnough = (bytes: Uint8Array): void => {
    const o = octets(bytes)
    const meta = metaOf(o)
    for (const needsCsum of [true, false]) {
      assert.ok(keptOfFrame(o.view, 0, bytes.length) || bytes.length === 0)
      const { head, tail } = kept
      const less = bytes.map((octet, i) => (i < head || i >= bytes.length - tail ? octet : 0xa5))
      const masked = octets(less)
      assert.deepEqual(decodeFrame(masked, { ...meta, needsCsum }), decodeFrame(o, { ...meta, needsCsum }))
      assert.deepEqual(decodeFragment(masked), decodeFragment(o))
    }
  }
  test('of a frame is all that decoders read', () => {
    fc.assert(fc.property(arbHostile(arbFrame.map((s) => build(s).bytes)), assertEnough), { numRuns: 2000 })
  })
  test('of a fragment as well', () => {
    const whole = arbCut.filter((c) => c.frame.length < 5000)
    fc.assert(
      fc.property(whole, ({ frame, pieces }) => {
        for (const p of pieces) assertEnough(fragment(frame, 7, p))
      }),
      { numRuns: 300 }
    )
  })
  test("of users' data is nothing: not in the file, wherever it goes", () => {
    const secret = Uint8Array.from('no secret is in here', (c) => c.charCodeAt(0))
    const has = (file: Uint8Array): boolean => Buffer.from(file).includes(Buffer.from(secret))
    const frames = arbFrame.map((s) => {
      const n = s.proto === 6 ? (s.l4[12]! >> 4) * 4 : 8
      const l4 = new Uint8Array(Math.min(n, s.l4.length) + secret.length)
      l4.set(s.l4.subarray(0, n))
      l4.set(secret, l4.length - secret.length)
      if (s.proto === 17) new DataView(l4.buffer).setUint16(4, l4.length)
      return { ...s, l4, surplus: new Uint8Array(), padding: new Uint8Array() }
    })
    const ours = (proto: number, port: number): boolean =>
      (proto === 17 && (port === 67 || port === 547)) || proto === 58
    let seen = 0
    fc.assert(
      fc.property(frames, fc.boolean(), (spec, payload) => {
        if (![6, 17, 1].includes(spec.proto) || ours(spec.proto, (spec.l4[2]! << 8) | spec.l4[3]!)) return
        const { bytes } = build(spec)
        const words = [EV.TAP_FRAME, 0, 0, 0, 1, 0, 0, 0]
        const file = written([{ came: [{ words, octets: bytes }], after: 1, listener: null }], payload, 0)
        assert.equal(has(file), payload)
        seen++
      }),
      { numRuns: 60 }
    )
    assert.ok(seen > 20, `${seen}`)
  })
})

test('of a guest that comes, what waits in its sockets is zeros, however its state is cut', () => {
  const waits = 'abcde'
  const stream = unacknowledged
  assert.ok(Buffer.from(stream).includes(waits))
  fc.assert(
    fc.property(fc.integer({ min: 1, max: stream.length }), fc.boolean(), (size, payload) => {
      const file = recordOf(
        (r) => {
          stateOpen(r.w.rings, 9, STATE_LOAD)
          for (let at = 0; at < stream.length; at += size) {
            const piece = stream.subarray(at, at + size)
            r.w.rings.slab.set(piece, 1000)
            r.w.rings.ev.set([EV.STATE_OCTETS, 0, 1000, piece.length])
            r.turn(1, instant(at + 1))
          }
        },
        { start: { ...START, payload } }
      )
      const kept = opened(file).turns.flatMap((t) => t.events.flatMap((e) => [...(e.kept?.head ?? [])]))
      const end = stream.length - waits.length
      assertOctets(Uint8Array.from(kept.slice(0, end)), stream.subarray(0, end))
      assert.equal(Buffer.from(kept.slice(end)).toString(), payload ? waits : '\0'.repeat(waits.length))
    }),
    { numRuns: 30 }
  )
})

describe('a file', () => {
  const arbWords = fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), {
    minLength: 15,
    maxLength: 15
  })
  const arbRing = plain({
    words: fc.tuple(fc.integer({ min: 0, max: 255 }), arbWords).map(([k, w]) => [k, ...w]),
    kept: fc.option(
      plain({
        head: arbBytes(100),
        tail: arbBytes(20),
        sum: fc.option(fc.integer({ min: 0, max: 0xffff }))
      })
    )
  })
  const arbSmall = fc.integer({ min: 0, max: 0xffff })
  const arbItem: fc.Arbitrary<RecordItem> = fc.oneof(
    fc.string().map((json) => ({ type: 'Start' as const, json })),
    fc.string().map((json) => ({ type: 'World' as const, json })),
    fc.tuple(arbSmall, real(0, 1e12)).map(([number, end]) => ({ type: 'Window' as const, number, end })),
    fc.string().map((json) => ({ type: 'End' as const, json })),
    fc
      .tuple(arbSmall, fc.option(arbSmall), arbSmall)
      .map(([id, rule, port]) => ({ type: 'Listener' as const, id, rule, port })),
    fc.tuple(real(0, 1e12), arbSmall).map(([now, events]) => ({ type: 'Turn' as const, now, events })),
    arbSmall.map((effects) => ({ type: 'Effects' as const, effects })),
    fc
      .tuple(arbSmall, arbBytes(40), arbBytes(40))
      .map(([to, asked, answer]) => ({ type: 'Answer' as const, to, asked, answer })),
    arbRing.map((r) => ({ type: 'Event' as const, ...r })),
    arbRing.map((r) => ({ type: 'Effect' as const, ...r }))
  )
  test('item: decode behind encode gives the same; any octets give one or a reason', () => {
    fc.assert(fc.property(arbItem, (i) => assertRoundTrip(RecordItem, i)))
    fc.assert(fc.property(arbHostile(arbItem.map(RecordItem.encode)), (b) => assertTotal(RecordItem, b)))
  })
  test('all its items, whatever the size of its chunks', () => {
    fc.assert(
      fc.property(
        fc.array(arbItem, { maxLength: 30 }),
        fc.integer({ min: 16, max: 4000 }),
        (items, chunk) => {
          assert.deepEqual([...recordItems(octets(encodeRecording(items, chunk)))], items)
        }
      )
    )
  })
  test('chunks are as long as was asked for, or as one item more; what was read is a copy', () => {
    const item: RecordItem = {
      type: 'Answer',
      to: 1,
      asked: Uint8Array.of(1, 2, 3),
      answer: new Uint8Array()
    }
    const file = encodeRecording(
      Array.from({ length: 9 }, () => item),
      64
    )
    const one = RecordItem.encode(item).length
    const lengths: number[] = []
    const v = octets(file).view
    for (let at = RECORD_HEADER; at < file.length; at += CHUNK_HEADER + v.getUint32(at + 4, true))
      lengths.push(CHUNK_HEADER + v.getUint32(at + 4, true))
    assert.equal(
      lengths.reduce((a, b) => a + b),
      file.length - RECORD_HEADER
    )
    for (const [i, n] of lengths.entries())
      assert.ok(n < 64 + one && (n >= 64 || i === lengths.length - 1), `${lengths}`)
    // No chunk for nothing
    assert.equal(encodeRecording([], 64).length, RECORD_HEADER)
    const [read] = recordItems(octets(file))
    file.fill(0xff)
    assert.deepEqual(read, item)
  })
  test('of a ring record there are the words that are not zero', () => {
    const words = (n: number) => [3, ...Array.from({ length: 15 }, (_, i) => (i < n ? i + 1 : 0))]
    const none = RecordItem.encode({ type: 'Event', words: words(0), kept: null }).length
    for (const n of [1, 7, 15])
      assert.equal(RecordItem.encode({ type: 'Event', words: words(n), kept: null }).length, none + 4 * n)
  })
  test('its start: as it was', () => {
    const start = parseStart(startText(START))
    assert.deepEqual(start, E.right({ ...START, plan: { ...START.plan, pcap: '.pcapng' } }))
    for (const text of ['', '{}', 'null', startText(START).replace('"mtu":65520', '"mtu":"x"')])
      assert.ok(E.isLeft(parseStart(text)))
  })

  const whole = written([], false, 2)
  const turns = opened(whole).turns
  test('cut or changed anywhere: a reason in words, or what is whole in front of that', () => {
    fc.assert(
      fc.property(arbMutated(fc.constant(whole)), (bytes) => {
        const r = openRecording(octets(bytes))
        if (E.isLeft(r)) return assert.match(r.left, /^[a-z' ]{8,}/)
        const some = [...r.right.recording.turns]
        assert.ok(some.length <= turns.length)
        for (const [i, t] of some.entries()) assert.equal(t.now, turns[i]?.now)
        if (some.length < turns.length) assert.ok(r.right.end.cut !== null || r.right.end.why === null)
      }),
      { numRuns: 200 }
    )
  })
  test('of any items in any order, sealed well: a reason, a difference or a prefix, and no crash', () => {
    const items = [...recordItems(octets(whole))]
    const words = new Int32Array(1 << 18)
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(items.length - 1), fc.oneof(arbItem, fc.constant(null))), {
          minLength: 1,
          maxLength: 5
        }),
        fc.option(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }))),
        (changes, octet) => {
          const copy = [...items]
          for (const [at, item] of changes)
            if (item === null) copy.splice(at % copy.length, 1)
            else copy[at % copy.length] = item
          const file = encodeRecording(copy, 1 << 30)
          if (octet !== null)
            file[RECORD_HEADER + 12 + (octet[0] % (file.length - RECORD_HEADER - 12))] = octet[1]
          const bytes = new Uint8Array(words.buffer)
          bytes.set(file.subarray(RECORD_HEADER))
          const chunk = sealChunk({ words, bytes, at: (file.length - RECORD_HEADER) / 4 })
          const sealed = new Uint8Array(RECORD_HEADER + chunk.length)
          sealed.set(recordHeader())
          sealed.set(chunk, RECORD_HEADER)
          const r = openRecording(octets(sealed))
          if (E.isLeft(r)) return
          try {
            const p = replayer(r.right.recording)
            for (const t of r.right.recording.turns) if (p.turn(t).difference !== null) break
          } catch (e) {
            if (!(e instanceof Unplayable)) throw e
          }
        }
      ),
      { numRuns: 60 }
    )
  })
  test('ends at its size, in front of what would exceed it, which is said', () => {
    for (const size of [131072, 200_000]) {
      const said: (number | null)[] = []
      const file = recordOf((r) => act(r, [], 12), { size, said: (errno) => said.push(errno) })
      assert.ok(file.length <= size && file.length > size - 80_000, `${file.length} of ${size}`)
      assert.deepEqual(said, [null])
      const { all } = replayed(file)
      assert.equal(all.at(-1)?.difference, null)
      assert.equal(opened(file).end.why, 'size')
    }
  })
})

test('flags are shown by their names, a word that is of each kind by that of its kind', () => {
  const event = (...words: number[]): string => eventText({ words, kept: null })
  const effect = (...words: number[]): string => effectText({ words, kept: null })
  assert.equal(event(EV.READY, 0, READY_IN | READY_RDHUP), 'READY handle 0 flags in,rdhup')
  assert.equal(
    event(EV.PEEKED, 3, 100, PEEK_EOF | PEEK_DRAINED),
    'PEEKED handle 3 octets 100 flags eof,drained'
  )
  assert.equal(event(EV.READY, 0, READY_OUT | 0x40), 'READY handle 0 flags out,0x40')
  assert.equal(effect(EF.SEND, 0, 64, 10, SEND_REPORT_ACK), 'SEND handle 0 off 0x40 len 10 flags report_ack')
  assert.equal(event(EV.TAP_GONE, 0, 5), 'TAP_GONE error 5')
  const opening = [0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, BIND_OUTBOUND | IN_NAMESPACE]
  const flags = 'flags bind_outbound,in_namespace'
  assert.equal(effect(EF.TCP_CONNECT, 1, ...opening), `TCP_CONNECT handle 1 mss 7 ${flags}`)
  assert.equal(effect(EF.UDP_OPEN, 1, ...opening), `UDP_OPEN handle 1 source_port 7 ${flags}`)
  assert.equal(effect(EF.SPLICE, 1, ...opening), `SPLICE handle 1 slot 7 ${flags}`)
})

test('an effect is of a flow, or of none: of none what is said to a client, a helper, a hypervisor, another process', () => {
  const ofNone =
    /^(TAP_WRITE|REJECT|NETLINK|CAPTURE_NOTE|CLOSE_FD|GIVE|STATE_(OPEN|WRITE|CLOSE|NEXT)|(LINK|VHOST|VRING|REPAIR|HAND_OVER|CONF)(_.*)?)$/
  for (const [name, kind] of Object.entries(EF)) {
    const flow = flowOfEffect({ words: [kind, 3], kept: null })
    assert.equal(flow, ofNone.test(name) ? null : 3, name)
  }
})

test('words are called as native calls them (native/addon/records.h)', () => {
  const text = readFileSync(join(repo, 'native/addon/records.h'), 'utf8')
  /** Names of each word from the third one on, by its place. */
  const namesIn = (body: string): string[] =>
    [...body.matchAll(/union \{\s*uint32_t ([^;]*);\s*\};|(uint32_t|Info) ([^;]*);/g)].flatMap(
      ([, union, type, list]) => {
        if (union !== undefined) return [union.replace(/, /g, '|')]
        if (type === 'Info') return namesIn(/struct Info \{([^}]*)\}/.exec(text)![1]!)
        return list!.split(/,\s*/).flatMap((one) => {
          const [, name, n] = /^(\w+)(?:\[(\d+)\])?$/.exec(one)!
          const shown = name!.startsWith('unused') ? '-' : name!
          return n === undefined
            ? [shown]
            : Array.from({ length: Number(n) }, (_, i) => (shown === '-' || i > 0 ? '-' : `${shown}[${n}]`))
        })
      }
    )
  const [fx, ev] = [
    /namespace fx \{([\s\S]*?)\n\} \/\/ namespace/,
    /namespace ev \{([\s\S]*?)\n\} \/\/ namespace/
  ].map((p) => p.exec(text)![1]!)
  const native = new Map<string, string[]>()
  for (const [, kinds, body] of fx!.matchAll(/\/\*\*([^*]*)\*\/\nstruct \w+ : Head \{([\s\S]*?)\n\};/g))
    for (const [kind] of kinds!.matchAll(/EF_\w+/g)) native.set(kind, namesIn(body!))
  const structs = new Map<string, string[]>()
  for (const [, name, how, kind, base, body] of ev!.matchAll(
    /struct (\w+) : (Event|Like)<(\w+)(?:, (\w+))?> \{([\s\S]*?)\};/g
  )) {
    structs.set(name!, how === 'Like' ? structs.get(base!)! : namesIn(body!))
    native.set(kind!, structs.get(name!)!)
  }
  for (const [prefix, table] of [
    ['EF_', EFFECT_WORDS],
    ['EV_', EVENT_WORDS]
  ] as const)
    for (const [kind, words] of Object.entries(table)) {
      const ours = words.split(' ').filter((w) => w !== '')
      const flat = ours.flatMap((w) => (w.endsWith('[4]') ? [w, '-', '-', '-'] : [w]))
      const theirs = native.get(prefix + kind) ?? []
      for (const [i, name] of flat.entries())
        assert.ok(
          theirs[i] === name || theirs[i]?.split('|').includes(name) || name === '-',
          `${kind}: ${name}, not ${theirs[i]}`
        )
    }
  assert.ok(native.size > 80, `${native.size}`)
})

describe('records that are kept: of faults that were mended, and of the lessons', () => {
  const kept = ['property-tests/records', 'docs/lessons/records'].flatMap((dir) =>
    readdirSync(join(repo, dir)).map((name) => join(dir, name))
  )
  for (const name of kept.filter((f) => f.endsWith('.rec')))
    for (const use of [() => () => {}, useXstate])
      test(`${name}${use === useXstate ? ', under xstate' : ''}`, () => {
        const done = use()
        try {
          assert.equal(replayed(new Uint8Array(readFileSync(join(repo, name)))).all.at(-1)?.difference, null)
        } finally {
          done()
        }
      })
})
