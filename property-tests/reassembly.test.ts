import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { bytesOf, octets } from '../src/codecs/value/octets.js'
import {
  decodeFragment,
  type Fragment,
  type FragmentDrop,
  joinFragments
} from '../src/codecs/wire/fragment.js'
import { decodeFrame } from '../src/codecs/wire/frame.js'
import { instant } from '../src/effects/effect.js'
import {
  FRAGMENTS_MAX,
  HEAD_MAX,
  NO_FRAGMENTS,
  nextDeadline,
  onFragment,
  onTime,
  type Reassembly,
  type ReassemblyEffect,
  SLOT_LEN,
  SLOTS,
  TIMEOUT_V4,
  TIMEOUT_V6
} from '../src/machines/link/reassembly.js'
import { arbBytes, arbHostile, assertConfined, assertOctets } from './arbitraries.js'
import {
  arbCut,
  type Cut,
  dataLength,
  fragment,
  type Piece,
  piecesOf,
  udpFrame
} from './fragment-arbitraries.js'
import { arbFrame, build, type Extension, metaOf, sealIpv4 } from './frame-spec.js'

const decode = (b: Uint8Array): Fragment | FragmentDrop => decodeFragment(octets(b))
const decoded = (b: Uint8Array): Fragment => {
  const f = decode(b)
  return typeof f === 'string' ? assert.fail(f) : f
}

/** Carries effects out as the runtime does, in memory of its own. */
class Pool {
  state: Reassembly = NO_FRAGMENTS
  now = instant(1000)
  readonly octets = new Uint8Array(SLOTS * SLOT_LEN)
  readonly whole: Uint8Array[] = []
  readonly counters = new Map<string, number>()
  readonly errors: ReassemblyEffect[] = []

  carryOut(effects: ReadonlyArray<ReassemblyEffect>, frame: Uint8Array): void {
    for (const e of effects) {
      if (e.type === 'Count') this.counters.set(e.what, (this.counters.get(e.what) ?? 0) + 1)
      if (e.type === 'TimeExceeded' || e.type === 'ParameterProblem') this.errors.push(e)
      if (e.type === 'Count' || e.type === 'ParameterProblem') continue
      assert.ok(Number.isInteger(e.slot) && e.slot >= 0 && e.slot < SLOTS)
      const at = e.slot * SLOT_LEN + HEAD_MAX
      if (e.type === 'Keep') {
        assert.ok(e.at >= 0 && HEAD_MAX + e.at + e.data.len <= SLOT_LEN)
        assert.ok(e.data.off + e.data.len <= frame.length)
        this.octets.set(frame.subarray(e.data.off, e.data.off + e.data.len), at + e.at)
      }
      if (e.type === 'KeepHead') {
        assert.ok(e.head.len <= HEAD_MAX)
        this.octets.set(frame.subarray(e.head.off, e.head.off + e.head.len), at - e.head.len)
      }
      if (e.type === 'Join') {
        const b = this.octets.slice(at - e.head.headLen, at + e.octets)
        this.whole.push(bytesOf(joinFragments(octets(b), e.head)))
      }
    }
  }
  take(frame: Uint8Array): string {
    const f = decode(frame)
    if (typeof f === 'string') return f
    const { state, effects } = onFragment(this.state, f, this.now)
    this.state = state
    this.carryOut(effects, frame)
    this.holds()
    return 'taken'
  }
  time(at: number): void {
    this.now = instant(at)
    const { state, effects } = onTime(this.state, this.now)
    this.state = state
    this.carryOut(effects, new Uint8Array(0))
    this.holds()
  }
  /** What is true of every state. */
  holds(): void {
    assert.ok(this.state.length <= SLOTS)
    assert.equal(new Set(this.state.map((d) => d.slot)).size, this.state.length)
    for (const d of this.state) {
      assert.ok(d.ranges.length <= FRAGMENTS_MAX)
      let end = 0
      let octets = 0
      for (const r of d.ranges) {
        assert.ok(r.start >= end && r.end > r.start && r.end <= 65535)
        end = r.end
        octets += r.end - r.start
      }
      assert.equal(d.octets, octets)
      assert.ok(d.total === null || end <= d.total, 'data behind the last fragment')
      assert.ok(d.deadline > this.now)
    }
  }
  count(what: string): number {
    return this.counters.get(what) ?? 0
  }
}

/** `frame` with the Identification and DF of `got`, which is what comes out of its fragments. */
const identifiedAs = (got: Uint8Array, frame: Uint8Array): Uint8Array => {
  const want = frame.slice()
  if (want[12] === 0x08) {
    want.set([0, 0], 20)
    want.set(got.subarray(18, 20), 18)
    sealIpv4(want)
  }
  return want
}
const isSame = (got: Uint8Array, frame: Uint8Array): boolean =>
  Buffer.compare(got, identifiedAs(got, frame)) === 0
/** Identification and DF aside, what was cut is what comes out. */
const assertSame = (got: Uint8Array, frame: Uint8Array): void => {
  assertOctets(got, identifiedAs(got, frame))
  const f = decodeFrame(octets(got), metaOf(octets(got)))
  assert.ok(typeof f !== 'string', String(f))
}

/** The same, in another order and some of them twice. */
const shuffled = (pieces: ReadonlyArray<Piece>): fc.Arbitrary<Piece[]> =>
  fc.tuple(...pieces.map(() => fc.tuple(fc.nat(1000), fc.option(fc.nat(1000))))).map((keys) =>
    keys
      .flatMap(([key, again], i) => [[key, i] as const, ...(again === null ? [] : [[again, i] as const])])
      .sort(([a], [b]) => a - b)
      .map(([, i]) => pieces[i]!)
  )
const arbSent = arbCut.chain((c) => shuffled(c.pieces).map((sent) => ({ ...c, sent })))
const fragmentsOf = (c: Cut, id: number, pieces: ReadonlyArray<Piece> = c.pieces): Uint8Array[] =>
  pieces.map((p) => fragment(c.frame, id, p))

describe('a datagram in fragments', () => {
  test('cut anywhere, in any order, some fragments twice: comes out as it was', () => {
    fc.assert(
      fc.property(arbSent, fc.nat(0xffff), (c, id) => {
        const pool = new Pool()
        for (const f of fragmentsOf(c, id, c.sent)) assert.equal(pool.take(f), 'taken')
        // Twice if all of its fragments come again once it is there: a datagram may
        assert.ok(pool.whole.length === 1 || pool.whole.length === 2)
        for (const got of pool.whole) assertSame(got, c.frame)
        assert.equal(pool.count('datagram-joined'), pool.whole.length)
        assert.equal([...pool.counters.keys()].filter((k) => k.startsWith('drop')).length, 0)
      }),
      { numRuns: 150 }
    )
  })
  test('several at a time, their fragments mixed: each as it was', () => {
    fc.assert(
      fc.property(
        fc.array(arbCut, { minLength: 2, maxLength: 6 }).chain((cuts) =>
          fc
            .shuffledSubarray(
              cuts.flatMap((c, id) => fragmentsOf(c, id)),
              { minLength: cuts.reduce((n, c) => n + c.pieces.length, 0) }
            )
            .map((sent) => ({ cuts, sent }))
        ),
        ({ cuts, sent }) => {
          const pool = new Pool()
          for (const f of sent) pool.take(f)
          assert.equal(pool.whole.length, cuts.length)
          for (const c of cuts) assert.ok(pool.whole.some((got) => isSame(got, c.frame)))
          for (const got of pool.whole)
            assert.equal(typeof decodeFrame(octets(got), metaOf(octets(got))), 'object')
          assert.equal(pool.state.length, 0)
        }
      ),
      { numRuns: 60 }
    )
  })
  test('link padding behind a fragment is not data', () => {
    const { bytes } = build(
      udpFrame(
        false,
        Uint8Array.from({ length: 30 }, (_, i) => i)
      )
    )
    const pool = new Pool()
    for (const p of piecesOf(dataLength(bytes), [16, 32]))
      pool.take(Uint8Array.from([...fragment(bytes, 7, p), 9, 9, 9]))
    assertSame(pool.whole[0]!, bytes)
  })
  test('the largest there is, in the smallest fragments that a link may ask for', () => {
    for (const v6 of [false, true]) {
      const { bytes } = build(udpFrame(v6, new Uint8Array(65507).fill(7)))
      const all = dataLength(bytes)
      const pool = new Pool()
      for (const p of piecesOf(
        all,
        Array.from({ length: 1400 }, (_, i) => i * 48)
      ).reverse())
        pool.take(fragment(bytes, 1, p))
      assertSame(pool.whole[0]!, bytes)
    }
  })
})

describe('RFC 5722: overlap', () => {
  /** What is there of a datagram, then a fragment that begins inside one of these, then all of it. */
  const arbOverlap = arbCut
    .chain((c) =>
      fc
        .tuple(
          shuffled(c.pieces.slice(1)),
          shuffled(c.pieces),
          fc.nat(1000),
          fc.nat(8200),
          fc.nat(8200),
          fc.boolean()
        )
        .map(([before, all, which, a, b, more]) => {
          const p = before[which % before.length]!
          const start = p.start + ((a * 8) % ((p.end - p.start + 7) & ~7))
          const end = Math.min(c.pieces.at(-1)!.end, start + 8 + b * 8)
          const bad = { start, end, more: end % 8 === 0 && more }
          return { c, before, bad, all }
        })
    )
    .filter(({ before, bad }) =>
      before.every((p) => p.start !== bad.start || p.end !== bad.end || p.more !== bad.more)
    )
  test('nothing of the datagram comes out, whatever comes behind; only copies are tolerated', () => {
    fc.assert(
      fc.property(arbOverlap, ({ c, before, bad, all }) => {
        const pool = new Pool()
        for (const f of fragmentsOf(c, 5, [...before, bad, ...all])) pool.take(f)
        assert.equal(pool.count('drop-fragment-overlap'), 1)
        assert.equal(pool.whole.length, 0)
        pool.time(1e6)
        assert.deepEqual(pool.errors, [])
        assert.equal(pool.count('drop-fragment-timeout'), 0)
        for (const f of fragmentsOf(c, 5)) pool.take(f)
        assertSame(pool.whole[0]!, c.frame)
      }),
      { numRuns: 150 }
    )
  })
  test('the first fragment again, longer than it was', () => {
    const { bytes } = build(udpFrame(true, new Uint8Array(100)))
    const pool = new Pool()
    for (const [start, end] of [
      [0, 40],
      [0, 48],
      [40, 108],
      [48, 108]
    ] as const)
      pool.take(fragment(bytes, 9, { start, end, more: end < 108 }))
    assert.equal(pool.whole.length, 0)
  })
  const { bytes } = build(
    udpFrame(
      false,
      Uint8Array.from({ length: 100 }, (_, i) => i)
    )
  )
  const send = (pieces: ReadonlyArray<readonly [number, number, boolean]>): Pool => {
    const pool = new Pool()
    for (const [start, end, more] of pieces) pool.take(fragment(bytes, 9, { start, end, more }))
    return pool
  }
  test('a second last fragment, data behind the last one, a last one that ends before data: contradictions', () => {
    for (const pieces of [
      [
        [0, 40, true],
        [48, 108, false],
        [40, 48, false]
      ],
      [
        [0, 40, true],
        [56, 96, false],
        [96, 108, false]
      ],
      [
        [0, 40, true],
        [56, 96, false],
        [96, 104, true]
      ],
      [
        [0, 40, true],
        [96, 108, false],
        [40, 96, false]
      ],
      [
        [0, 48, true],
        [40, 108, false],
        [48, 108, false]
      ]
    ] as const) {
      const pool = send([...pieces, [0, 40, true], [40, 108, false]])
      assert.equal(pool.whole.length, 0)
      assert.equal(pool.count('drop-fragment-overlap'), 1)
    }
  })
  test('as many octets as the last one says, but not these: a hole does not pass for complete', () => {
    for (const pieces of [
      [
        [0, 40, true],
        [56, 64, true],
        [48, 56, false]
      ],
      [
        [0, 40, true],
        [48, 56, false],
        [56, 64, true]
      ]
    ] as const) {
      const pool = send(pieces)
      assert.equal(pool.whole.length, 0)
      assert.equal(pool.count('drop-fragment-overlap'), 1)
    }
  })
  test('teardrop: a fragment inside another one', () => {
    assert.equal(
      send([
        [0, 40, true],
        [24, 32, false],
        [40, 108, false]
      ]).whole.length,
      0
    )
  })
})

describe('fragments that are refused', () => {
  const frames = [false, true].map((v6) => build(udpFrame(v6, new Uint8Array(3000))).bytes)
  const [v4, v6] = frames as [Uint8Array, Uint8Array]
  const problems = (pool: Pool) =>
    pool.errors.map((e) => (e.type === 'ParameterProblem' ? [e.problem.code, e.problem.pointer] : e.type))
  test('not the last one, and no multiple of 8: RFC 8200 §4.5, code 0, at Payload Length', () => {
    for (const b of frames) {
      const pool = new Pool()
      pool.take(fragment(b, 1, { start: 0, end: 1001, more: true }))
      assert.equal(pool.count('drop-fragment-length'), 1)
      assert.deepEqual(problems(pool), b === v6 ? [[0, 4]] : [])
      assert.equal(pool.state.length, 0)
    }
  })
  test('ping of death: beyond what a datagram may be; RFC 8200 §4.5, code 0, at Fragment Offset', () => {
    for (const b of frames) {
      const pool = new Pool()
      const f = fragment(b, 1, { start: 0, end: 16, more: false })
      new DataView(f.buffer).setUint16(b === v6 ? 56 : 20, b === v6 ? 0xfff8 : 0x1fff)
      if (b === v4) sealIpv4(f)
      pool.take(f)
      assert.equal(pool.count('drop-fragment-too-long'), 1)
      assert.deepEqual(problems(pool), b === v6 ? [[0, 42]] : [])
    }
  })
  test('too long only with the first one’s headers, which come last', () => {
    const { bytes } = build({ ...udpFrame(false, new Uint8Array(65507 - 4)), options: new Uint8Array(0) })
    const long = build({ ...udpFrame(false, new Uint8Array(100)), options: new Uint8Array(40).fill(1) }).bytes
    const pool = new Pool()
    pool.take(fragment(bytes, 3, { start: 64, end: dataLength(bytes), more: false }))
    pool.take(fragment(long, 3, { start: 0, end: 64, more: true }))
    assert.equal(pool.whole.length, 0)
    assert.equal(pool.count('drop-fragment-too-long'), 1)
  })
  test('headers cut (RFC 1858 §3, RFC 7112 §5): RFC 8200 §4.5, code 3', () => {
    const chain: Extension[] = [{ type: 60, body: new Uint8Array(6) }]
    const tcp = new Uint8Array(60)
    tcp[12] = 0x50
    const cut = [
      fragment(build({ ...udpFrame(false, NONE), proto: 6, l4: tcp }).bytes, 1, {
        start: 0,
        end: 16,
        more: true
      }),
      fragment(build({ ...udpFrame(true, NONE), proto: 6, l4: tcp }).bytes, 1, {
        start: 0,
        end: 16,
        more: true
      }),
      fragment(build({ ...udpFrame(true, new Uint8Array(30)), extensions: chain }).bytes, 1, {
        start: 0,
        end: 8,
        more: true
      })
    ]
    for (const f of cut) {
      const pool = new Pool()
      pool.take(f)
      assert.equal(pool.count('drop-fragment-headers-cut'), 1)
      assert.deepEqual(problems(pool), f[12] === 0x86 ? [[3, 0]] : [])
    }
  })
  test('without data', () => {
    for (const b of frames) {
      const pool = new Pool()
      pool.take(fragment(b, 1, { start: 8, end: 8, more: true }))
      assert.equal(pool.count('drop-fragment-empty'), 1)
    }
  })
  test('no error about what went to a group, or is an error itself', () => {
    const group = udpFrame(true, new Uint8Array(50))
    const error = {
      ...udpFrame(true, NONE),
      proto: 58,
      l4: Uint8Array.from({ length: 64 }, (_, i) => (i === 0 ? 1 : 0))
    }
    for (const s of [{ ...group, to: [0xff020000, 0, 0, 1] as const }, error]) {
      const pool = new Pool()
      pool.take(fragment(build(s).bytes, 1, { start: 0, end: 33, more: true }))
      assert.equal(pool.count('drop-fragment-length'), 1)
      assert.deepEqual(pool.errors, [])
      pool.take(fragment(build(s).bytes, 2, { start: 0, end: 32, more: true }))
      pool.time(1e6)
      assert.deepEqual(pool.errors, [])
      assert.equal(pool.count('drop-fragment-timeout'), 1)
    }
  })
})

const NONE = new Uint8Array(0)

describe('time and memory', () => {
  test('after 30 s (IPv4) or 60 s (IPv6) from the first that came: told to the sender, if it was the first fragment', () => {
    for (const v6 of [false, true])
      for (const first of [true, false]) {
        const { bytes } = build(udpFrame(v6, new Uint8Array(3000)))
        const pool = new Pool()
        const start = pool.now
        const part = first ? { start: 0, end: 1480, more: true } : { start: 1480, end: 2960, more: true }
        pool.take(fragment(bytes, 1, part))
        const due = start + (v6 ? TIMEOUT_V6 : TIMEOUT_V4)
        assert.equal(nextDeadline(pool.state), due)
        pool.time(due - 1)
        assert.equal(pool.state.length, 1)
        pool.time(due)
        assert.equal(pool.state.length, 0)
        assert.equal(nextDeadline(pool.state), null)
        assert.equal(pool.count('drop-fragment-timeout'), 1)
        assert.deepEqual(
          pool.errors.map((e) => e.type),
          first ? ['TimeExceeded'] : []
        )
      }
  })
  test('later fragments do not buy time', () => {
    const { bytes } = build(udpFrame(false, new Uint8Array(3000)))
    const pool = new Pool()
    for (let i = 0; i < 20; i++) {
      pool.now = instant(1000 + i * 1000)
      pool.take(fragment(bytes, 1, { start: i * 40, end: i * 40 + 40, more: true }))
    }
    assert.equal(nextDeadline(pool.state), 1000 + TIMEOUT_V4)
  })
  test('one more than there is room for: the oldest gives way', () => {
    const { bytes } = build(udpFrame(false, new Uint8Array(3000)))
    const pool = new Pool()
    for (let id = 0; id <= SLOTS; id++) pool.take(fragment(bytes, id, { start: 0, end: 1480, more: true }))
    assert.equal(pool.count('drop-fragment-crowded'), 1)
    for (let id = 1; id <= SLOTS; id++)
      pool.take(fragment(bytes, id, { start: 1480, end: dataLength(bytes), more: false }))
    assert.equal(pool.whole.length, SLOTS)
    assert.equal(pool.state.length, 0)
    for (const got of pool.whole) assertSame(got, bytes)
  })
  test('any hostile sequence: bounds hold, and what comes out is what some sender sent', () => {
    const arbPiece: fc.Arbitrary<Piece> = fc
      .tuple(fc.nat(30), fc.nat(20), fc.boolean(), fc.nat(9))
      .map(([at, n, more, odd]) => ({
        start: at * 8,
        end: Math.min(248, at * 8 + n * 8 + (odd === 0 ? 3 : 0)),
        more
      }))
      .filter((p) => p.end >= p.start)
    const arbStep = fc.oneof(
      { weight: 9, arbitrary: fc.tuple(arbPiece, fc.nat(100), fc.boolean()) },
      { weight: 1, arbitrary: fc.nat(40_000) }
    )
    const sources = [false, true].map(
      (v6) =>
        build(
          udpFrame(
            v6,
            Uint8Array.from({ length: 240 }, (_, i) => i)
          )
        ).bytes
    )
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 300 }), (steps) => {
        const pool = new Pool()
        for (const s of steps)
          if (typeof s === 'number') pool.time(pool.now + s)
          else pool.take(fragment(sources[s[2] ? 1 : 0]!, s[1] % 97, s[0]))
        for (const got of pool.whole) {
          const data = dataLength(got)
          const from = sources[got[12] === 0x86 ? 1 : 0]!
          const skip = got.length - data
          assertOctets(got.subarray(skip), from.subarray(skip, skip + data))
        }
      }),
      { numRuns: 200 }
    )
  })
})

describe('the codec', () => {
  test('total and confined on any octets', () => {
    const frames = arbCut.map((c) => fragment(c.frame, 1, c.pieces[0]!).slice(0, 400))
    fc.assert(
      fc.property(
        fc.oneof(arbHostile(frames), arbHostile(arbFrame.map((s) => build(s).bytes)), arbBytes(128)),
        (b) => {
          const pool = new Pool()
          const f = assertConfined((o) => {
            const got = decodeFragment(o)
            return typeof got === 'string' ? got : { ...got, off: got.off - o.off }
          }, b)
          if (typeof f !== 'string') pool.take(b)
        }
      ),
      { numRuns: 1000 }
    )
  })
  test('says of a frame that it is none only where decodeFrame does not say that it is one', () => {
    fc.assert(
      fc.property(arbFrame, (s) => {
        assert.equal(decode(build(s).bytes), 'not-a-fragment')
      })
    )
  })
  test('an IPv4 header with a wrong checksum is no fragment of anything', () => {
    const b = fragment(build(udpFrame(false, new Uint8Array(100))).bytes, 1, {
      start: 0,
      end: 48,
      more: true
    })
    b[24]! ^= 1
    assert.equal(decode(b), 'ip4-checksum')
  })
  test('IPv6: behind an atomic fragment header, and behind headers that each fragment has', () => {
    for (const extensions of [
      [
        { type: 0, body: new Uint8Array(14) },
        { type: 43, body: new Uint8Array(6) }
      ],
      [{ type: 60, body: new Uint8Array(6) }]
    ]) {
      const { bytes } = build({ ...udpFrame(true, new Uint8Array(100).fill(3)), extensions })
      const pool = new Pool()
      for (const p of piecesOf(dataLength(bytes), [48, 96])) pool.take(fragment(bytes, 1, p))
      assertSame(pool.whole[0]!, bytes)
    }
    assert.equal(
      decoded(fragment(build(udpFrame(true, NONE)).bytes, 0xffffffff, { start: 0, end: 8, more: true })).id,
      0xffffffff
    )
  })
})
