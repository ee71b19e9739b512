// What a capture does not show is no finding: it begins late, misses frames, has them twice, late or cut. And any octets.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type CapturedFrame, NEW_CAPTURE, nextInCapture } from '../src/codecs/log/capture-file.js'
import { bytesOf, octets, sub } from '../src/codecs/value/octets.js'
import { seq } from '../src/codecs/value/seq.js'
import { createJudge, LIMITS } from '../src/machines/judge/judge.js'
import { arbMutated } from './arbitraries.js'
import { showSpec } from './judge-faults.js'
import {
  arbConfig,
  type Config,
  capture,
  captured,
  conversation,
  type Ending,
  frameOf,
  judgeAll,
  lifecycle,
  pcapOf,
  type Spec,
  type Trace
} from './judge-traces.js'

const arbEnding = fc.constantFrom<Ending>('close', 'half', 'reset', 'open')
type Case = readonly [Config, Ending]
const arbCase: fc.Arbitrary<Case> = fc.tuple(arbConfig, arbEnding)
const traceOf = ([c, ending]: Case): Trace => conversation(c, ending)

/** Frames as they would be without what is done to them. */
const none = (t: Trace, specs: readonly Spec[], keep?: number): void => {
  const changed = { ...t, specs }
  const frames = specs.map((s) => captured(s.at, frameOf(changed, s), keep))
  const found = judgeAll(frames)
  assert.deepEqual(
    found.map((f) => `${f.rule} at ${showSpec(specs[f.frame - 1]!)}: ${f.seen}; ${f.allowed}`),
    []
  )
}
/** Any of them, one in `n`. */
const arbSome = (n: number): fc.Arbitrary<() => boolean> =>
  fc.infiniteStream(fc.nat(n - 1)).map((x) => () => x.next().value === 0)
/** What is done to an honest trace leaves no finding. */
const harmless = (
  numRuns: number,
  done: fc.Arbitrary<(t: Trace) => readonly Spec[]>,
  keep: fc.Arbitrary<number | undefined> = fc.constant(undefined)
): void =>
  fc.assert(
    fc.property(arbCase, done, keep, (of, f, kept) => {
      const t = traceOf(of)
      none(t, f(t), kept)
    }),
    { numRuns }
  )
/** Each pair of neighbours of which `may` says so is exchanged, if chance says so as well; the times stay. */
const exchanged = (
  t: Trace,
  some: () => boolean,
  may: (a: Spec, b: Spec) => boolean,
  apart?: number
): Spec[] => {
  const specs = [...t.specs]
  for (let i = 0; i + 1 < specs.length; i++) {
    const [a, b] = [specs[i]!, specs[i + 1]!]
    if (!may(a, b) || !some()) continue
    specs[i] = { ...b, at: a.at }
    specs[i + 1] = { ...a, at: apart === undefined ? b.at : a.at + apart }
    i++
  }
  return specs
}

describe('no finding', () => {
  test('in a capture that begins in the middle', () =>
    harmless(
      60,
      fc.nat().map((n) => (t) => t.specs.slice(n % t.specs.length))
    ))
  test('in a capture that misses frames', () =>
    harmless(
      150,
      arbSome(12).map((some) => (t) => t.specs.filter(() => !some()))
    ))
  const quiet: Config = {
    v6: false,
    iss: [seq(0), seq(-3)],
    mss: [1460, 1460],
    scale: [null, null],
    sack: true,
    ts: [false, false],
    tsBase: [0, 0],
    buffer: 6000,
    pace: 0.012,
    sizes: [2, 2, 2, 2, 2, 2],
    salt: 0
  }
  for (const [what, first, count] of [
    ['data, where a keep-alive then has an old number', 'goes-on', 2],
    ['data, of which some is sent again, and SACK tells of the rest', 'bulk', 6]
  ] as const)
    test(`in a capture that misses ${what}`, () => {
      const { specs, ...t } = conversation(quiet, 'close')
      const from = specs.findIndex((s) => s.is === first)
      const missed = specs.slice(from, from + count).filter((s) => s.is !== 'duplicate')
      none(
        { ...t, specs },
        specs.filter((s) => !missed.includes(s))
      )
    })
  test('in a capture of one direction only', () =>
    harmless(
      40,
      fc.nat(1).map((by) => (t) => t.specs.filter((s) => s.by === by))
    ))
  test('where frames are doubled', () =>
    harmless(
      60,
      arbSome(6).map(
        (some) => (t) => t.specs.flatMap((s) => (some() ? [s, { ...s, at: s.at + 0.001 }] : [s]))
      )
    ))
  test('where a frame is overtaken by the next one', () =>
    harmless(
      100,
      arbSome(3).map((some) => (t) => exchanged(t, some, (a, b) => a.by === b.by && b.at - a.at < 0.2))
    ))
  test('where the frames of several queues of a card are shuffled', () =>
    harmless(
      100,
      arbSome(6).map((some) => (t) => exchanged(t, some, (a, b) => a.by !== b.by, 0.001))
    ))
  test('where frames are cut', () =>
    harmless(
      60,
      fc.constant((t: Trace) => t.specs),
      fc.integer({ min: 14, max: 200 })
    ))
  test('where an interface fills in checksums, or they are all wrong', () =>
    harmless(
      40,
      fc.constantFrom('partial' as const, 1).map((sum) => (t) => t.specs.map((s) => ({ ...s, sum })))
    ))
})

describe('hostile captures', () => {
  const arbFrames: fc.Arbitrary<readonly CapturedFrame[]> = arbCase.chain((of) =>
    fc.tuple(
      ...capture(traceOf(of))
        .slice(0, 40)
        .map((f) =>
          fc
            .tuple(arbMutated(fc.constant(bytesOf(f.frame))), fc.nat(3))
            .map(([b, n]) => (n === 0 ? captured(f.at, b) : f))
        )
    )
  )
  test('any octets are judged, or unknown', () =>
    fc.assert(
      fc.property(arbFrames, (frames) => {
        const judge = createJudge(lifecycle)
        for (const f of judgeAll(frames, judge)) assert.ok(f.frame >= 1 && f.frame <= frames.length)
        assert.equal(judge.counts().frames, frames.length)
      }),
      { numRuns: 60 }
    ))
  test('any file comes to an end', () =>
    fc.assert(
      fc.property(
        arbCase.chain((of) => arbMutated(fc.constant(pcapOf(capture(traceOf(of)).slice(0, 30))))),
        (bytes) => {
          const judge = createJudge(lifecycle)
          let format = NEW_CAPTURE
          for (let at = 0; at < bytes.length; ) {
            const s = nextInCapture(format, sub(octets(bytes), at))
            if (s.tag === 'Fault' || s.tag === 'More') break
            if (s.tag === 'Format') format = s.format
            if (s.tag === 'Frame') judge.frame(s.frame)
            at += s.used
          }
        }
      ),
      { numRuns: 100 }
    ))
  test('connections and octets are bounded', () => {
    const [c] = fc.sample(arbConfig, { numRuns: 1, seed: 7 })
    const t = { ...conversation(c!, 'open'), v6: false }
    const limits = { ...LIMITS, connections: 50, octets: 2000 }
    const judge = createJudge(lifecycle, limits)
    const used: number[] = []
    for (let port = 1; port <= 2000; port++)
      for (const s of t.specs.slice(0, 4)) {
        const b = frameOf(t, s)
        new DataView(b.buffer).setUint16(34 + (s.by === 0 ? 0 : 2), port)
        judge.frame(captured(s.at, b))
        if (port % 500 === 0) used.push(judge.kept().connections, judge.kept().octets)
      }
    assert.ok(
      used.every((n, i) => n <= (i % 2 === 0 ? 50 : 2000 + 50 * 1460)),
      used.join(' ')
    )
    assert.equal(judge.counts().unknown.forgotten, 1950)
  })
})
