// Records that begin in the middle of a run: a world that is written and read again does what the first one does.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { encodeRecording, type RecordItem, recordItems, windowsIn } from '../src/codecs/log/record.js'
import { octets } from '../src/codecs/value/octets.js'
import { EV } from '../src/runtime/abi/abi.js'
import { actingFeatures } from '../src/runtime/engine/features.js'
import { linkClientOf } from '../src/runtime/engine/guest-link.js'
import { rulesNow } from '../src/runtime/engine/live-rules.js'
import type { StartRecord } from '../src/runtime/engine/start-record.js'
import { machines } from '../src/runtime/flow/kinds.js'
import { anonymized } from '../src/runtime/replay/anonymize.js'
import { replayAll } from '../src/runtime/replay/main.js'
import { page } from '../src/runtime/replay/page.js'
import { openRecording } from '../src/runtime/replay/recording.js'
import { Unplayable } from '../src/runtime/replay/replayer.js'
import { shrunk } from '../src/runtime/replay/shrink.js'
import { useXstate } from '../src/runtime/replay/under-xstate.js'
import { connectionOf, datagram, play } from './played.js'
import { act, arbActs } from './record-arbitraries.js'
import { LIMITED, NOT_SHOWN, SCENARIOS, type Scenario, Scene, VHOST } from './record-scenes.js'
import { opened, type Recorded, type RecordOptions, recordOf, replayed, START } from './recorded.js'
import { addr } from './services-arbitraries.js'
import { holds, scenario } from './tcp-arbitraries.js'

const RUNS = Number(process.env.FC_RUNS ?? 40)

/** The same, and told of each turn. */
const told = (r: Recorded, turn: () => void): Recorded => ({
  ...r,
  turn: (...a) => {
    turn()
    return r.turn(...a)
  },
  come: (...a) => {
    turn()
    return r.come(...a)
  }
})
/** Turns that `run` has. */
const turnsOf = (run: (r: Recorded) => void, o: RecordOptions): number => {
  let n = 0
  recordOf((r) => run(told(r, () => n++)), o)
  return n
}
/** Whatever turn it begins behind, every effect and every counter is as recorded. `at`: of all turns, in [0, 1). */
const assertSameFrom = (run: (r: Recorded) => void, at: number, o: RecordOptions = {}): void => {
  const from = 1 + Math.floor(at * turnsOf(run, o))
  let turns = 0
  const file = recordOf((r) => run(told(r, () => turns++)), { ...o, from })
  // A turn that only a record makes may take the place of the last one
  if (turns < from) return
  const { turns: left, end, hasWorld } = opened(file)
  assert.deepEqual([end.cut, end.why, hasWorld], [null, 'error', true])
  assert.equal(left.length, turns - from)
  const { all, counters } = replayed(file)
  assert.deepEqual(all.at(-1)?.difference ?? null, null, `from turn ${from} of ${turns}`)
  assert.equal(all.length, left.length)
  assert.deepEqual(counters, end.counters)
}
const arbPlace = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true })

describe('a record that begins behind any turn replays exactly', () => {
  test('of what the warm-up does', () => {
    fc.assert(
      fc.property(arbPlace, (at) => assertSameFrom((r) => act(r, [], 4), at)),
      { numRuns: RUNS / 4 }
    )
  })
  test('of any run', () => {
    fc.assert(
      fc.property(arbActs, arbPlace, fc.boolean(), (acts, at, payload) =>
        assertSameFrom((r) => act(r, acts), at, { start: { ...START, payload } })
      ),
      { numRuns: RUNS / 2 }
    )
  })
  test('of any connection between a simulated guest and a simulated host', () => {
    const places = fc.sample(arbPlace, RUNS)
    let n = 0
    holds(
      scenario(false),
      (s) => {
        const c = connectionOf(s)
        // With a rate limit as well, which goes by the same clock
        const start = n % 3 === 0 ? LIMITED : START
        assertSameFrom(
          (r) => void play(r, [c], [], n % 3 === 0 ? 20_000 : undefined),
          places[n++ % places.length]!,
          { start }
        )
      },
      RUNS / 4
    )
  })
})

type World = Record<string, unknown>
/** The file with another world, if `edit` says so. */
const edited = (file: Uint8Array, edit: (w: World) => void): Uint8Array =>
  encodeRecording(
    [...recordItems(octets(file))].map((i): RecordItem => {
      if (i.type !== 'World') return i
      const w = JSON.parse(i.json) as World
      edit(w)
      return { ...i, json: JSON.stringify(w) }
    })
  )
const worldOf = (file: Uint8Array): World => {
  const item = [...recordItems(octets(file))].find((i) => i.type === 'World')
  assert.ok(item?.type === 'World')
  return JSON.parse(item.json) as World
}
/** What becomes of it: null: all is as recorded. */
const otherwise = (file: Uint8Array): string | null => {
  try {
    const { all, counters } = replayed(file)
    const d = all.at(-1)?.difference ?? null
    if (d !== null) return d.what
    return isDeepStrictEqual(counters, opened(file).end.counters) ? null : 'counters'
  } catch (e) {
    if (e instanceof Unplayable) return e.message
    throw e
  }
}
const at = (w: World, path: string): unknown =>
  path.split('/').reduce((o: unknown, key) => (o as World | undefined)?.[key], w)
const put = (w: World, path: string, value: unknown): void => {
  const keys = path.split('/')
  const of = keys.slice(0, -1).reduce((o, key) => o[key] as World, w)
  // A copy: the next change may be inside it, and the value comes again
  of[keys.at(-1)!] = structuredClone(value)
}
/** Up to its middle, from there on, and what a world has that has just begun. */
const middleOf = ({
  start = START,
  before,
  after
}: Scenario): { readonly file: Uint8Array; readonly fresh: World } => {
  const run = (r: Recorded): void => {
    const s = new Scene(r)
    before(s)
    after(s)
  }
  const from = turnsOf((r) => before(new Scene(r)), { start })
  const fresh = recordOf((r) => new Scene(r).turn(), { start, from: 1 })
  return { file: recordOf(run, { start, from }), fresh: worldOf(fresh) }
}

describe('of the world nothing is left out', () => {
  for (const [name, s] of Object.entries(SCENARIOS))
    test(name, () => {
      const { file, fresh } = middleOf(s)
      assert.equal(otherwise(file), null)
      const undo = useXstate()
      try {
        assert.equal(otherwise(file), null, 'under xstate')
      } finally {
        undo()
      }
      for (const [path, left] of Object.entries(s.lose)) {
        const lost = edited(file, (w) =>
          put(w, path, left === null ? at(fresh, path) : left(at(w, path) as never))
        )
        assert.notEqual(otherwise(lost), null, `${path} makes no difference`)
      }
    })
  test('each part is one of those, or there is a reason', () => {
    const shown = new Set(Object.values(SCENARIOS).flatMap(({ lose }) => Object.keys(lose)))
    const parts = ({ plan, ...start }: StartRecord): ReadonlyArray<string> => {
      const all = { ...start, plan: { ...plan, confPath: '', apiPath: '' } }
      const w = worldOf(recordOf((r) => new Scene(r).turn(), { start: all, from: 1 }))
      return Object.keys(w).flatMap((key) =>
        ['features', 'table', 'wheel', 'quotas'].includes(key)
          ? Object.keys(w[key] as World).map((k) => `${key}/${k}`)
          : [key]
      )
    }
    const isShown = (part: string): boolean =>
      part in NOT_SHOWN || [...shown].some((path) => path === part || path.startsWith(`${part}/`))
    for (const start of [LIMITED, VHOST])
      assert.deepEqual(
        parts(start).filter((p) => !isShown(p)),
        []
      )
  })
  test('each feature that has a say tells what it keeps', () => {
    for (const { plan, ...start } of [LIMITED, VHOST])
      recordOf(
        ({ w }) => {
          const o = {
            ...{ neighbours: null, host: { ...start, plan }, follow: null, portScan: null, api: null },
            ...{
              client: linkClientOf(null),
              rules: { now: rulesNow([]), door: { begin: () => {}, go: () => '' } }
            }
          }
          const all = actingFeatures(w, { ...plan, confPath: '', apiPath: '' }, o)
          assert.deepEqual(
            all.flatMap((f) => (f.keeps === undefined ? [f.name] : [])),
            []
          )
        },
        { start: { ...start, plan } }
      )
  })
})

describe('a record that begins in the middle', () => {
  const key = new Uint8Array(32).fill(7)
  const clientOf = (s: Scene, words: ReadonlyArray<number>): void => s.turn({ words, octets: null })

  test('waits while clients change rules, and begins when they have gone', () => {
    const start = { ...START, plan: { ...START.plan, confPath: '' } }
    let here = 0
    const file = recordOf(
      (r) => {
        const s = new Scene(r)
        clientOf(s, [EV.CONF_CLIENT, 0, 77, 1])
        s.turn(datagram(1000, addr('203.0.113.9'), 53, 4))
        s.wait(5000)
        // Whoever says nothing is sent away
        s.wait(6000)
        s.wait(20)
        here = s.now
        s.turn(datagram(1001, addr('203.0.113.9'), 53, 4))
      },
      { start, from: 2 }
    )
    const { turns, hasWorld } = opened(file)
    assert.ok(hasWorld)
    assert.deepEqual(
      turns.map((t) => t.now),
      [here, here + 0.05]
    )
    assert.equal(otherwise(file), null)
  })
  test('is begun anew: nothing of what was there is left', () => {
    const file = recordOf(
      (r) => {
        for (let n = 0; n < 3; n++) act(r, [], 1)
      },
      { from: 40, again: 90 }
    )
    assert.equal(otherwise(file), null)
    const { turns } = opened(file)
    assert.equal(turns[0]?.index, 1)
  })
  test('with other addresses: none of those that there were, in its world neither, and it replays exactly', () => {
    const names =
      /tables are asked|goes to where|broadcast|without an address|front-end|fragment|host is another/
    for (const [name, s] of Object.entries(SCENARIOS).filter(([n]) => names.test(n))) {
      const { file } = middleOf(s)
      const give = (): Uint8Array => anonymized(octets(file), key)
      const waits = name.includes('fragment')
      if (waits || name === 'the host is another one') assert.throws(give, Unplayable, name)
      else {
        const other = give()
        assert.equal(otherwise(other), null, name)
        const texts = (w: World): ReadonlyArray<string> =>
          JSON.stringify(w).match(/(?:ip|mac):[0-9a-f.]+/g) ?? []
        const was = new Set(texts(worldOf(file)))
        const left = texts(worldOf(other)).filter((a) => was.has(a))
        // Unspecified, loopback and group addresses say nothing
        assert.deepEqual(
          left.filter(
            (a) =>
              !/^(ip:0\.0\.0\.[01]|ip:0\.0\.ffff\.(0|7f[0-9a-f]{6})|ip:ff.*|mac:ffffffffffff|mac:0)$/.test(a)
          ),
          [],
          name
        )
      }
    }
  })
  test('is shrunk, and made a page of, as others are', () => {
    const { file } = middleOf(SCENARIOS['a place rests before it is given away']!)
    const { udp } = machines
    const { step } = udp
    udp.step = (s, e, out) => {
      const next = step(s, e, out)
      if (e.type === 'TAP_DATAGRAM') out.pop()
      return next
    }
    try {
      const small = shrunk(octets(file))
      assert.ok(small !== null && small.turns <= 2, `${small?.turns}`)
      assert.notEqual(otherwise(small.file), null)
    } finally {
      udp.step = step
    }
    const r = openRecording(octets(file))
    assert.ok(E.isRight(r))
    const p = page()
    const outcome = replayAll(r.right.recording, r.right.end, { until: 1e9 }, [p.turn], p.watch)
    assert.equal(outcome.difference, null)
    const { facts } = p.data([], null)
    const { title, ends, state, chart } = facts.subjects[0]!
    assert.deepEqual([title, facts.charts[chart]?.id ?? 'udp', state >= 0], ['UDP flow 1', 'udp', true])
    assert.match(ends, /203\.0\.113\.2/)
  })
  test('whatever its world is: a reason, a difference or a prefix, and no crash', () => {
    const files = Object.values(SCENARIOS).map((s) => middleOf(s).file)
    const arbValue = fc.oneof(
      fc.constantFrom<unknown>(null, true, -1, 0, 1, 2 ** 31, 1e300, '', 'Infinity', '-Infinity', [], {}),
      fc.jsonValue({ maxDepth: 2 })
    )
    const pathsOf = (u: unknown, path: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> =>
      typeof u !== 'object' || u === null
        ? [path]
        : [path, ...Object.entries(u).flatMap(([k, v]) => pathsOf(v, [...path, k]))]
    const all = files.map((file) =>
      pathsOf(worldOf(file), [])
        .slice(1)
        .map((p) => p.join('/'))
    )
    fc.assert(
      fc.property(
        fc.nat(files.length - 1),
        fc.array(fc.tuple(fc.nat(), arbValue), { minLength: 1, maxLength: 3 }),
        (n, changes) => {
          const file = edited(files[n]!, (w) => {
            for (const [i, value] of changes)
              try {
                put(w, all[n]![i % all[n]!.length]!, value)
              } catch {
                // what it was in is no more
              }
          })
          otherwise(file)
        }
      ),
      { numRuns: RUNS * 2 }
    )
  })
})

describe('a file with two windows', () => {
  const size = 131_072
  const long = (r: Recorded): void => act(r, [], 40)
  test('has the newest turns, at least half of what it may have, and replays exactly; no octet more', () => {
    let all = 0
    const said: (number | null)[] = []
    const file = recordOf((r) => long(told(r, () => all++)), {
      size,
      windows: true,
      said: (errno) => said.push(errno)
    })
    assert.ok(file.length <= size && file.length > size / 2, `${file.length}`)
    assert.equal(windowsIn(octets(file)), 2)
    const { turns, end, hasWorld } = opened(file)
    assert.deepEqual([end.cut, end.why, hasWorld, said], [null, 'error', true, []])
    assert.ok(turns.length > 100 && turns.length < all / 2, `${turns.length} of ${all}`)
    assert.equal(otherwise(file), null)
    const unlimited = opened(recordOf(long)).turns
    assert.deepEqual(
      turns.map((t) => t.now),
      unlimited.slice(-turns.length).map((t) => t.now)
    )
  })
  test('can be read whenever its writer dies, in the middle of a chunk as well', () => {
    const files: Uint8Array[] = []
    recordOf(long, {
      size,
      windows: true,
      wrote: (file, place, chunk) => {
        file.set(chunk.subarray(0, chunk.length >> 1), place)
        files.push(file)
      }
    })
    let least = Number.POSITIVE_INFINITY
    // The header of the file, and its first chunk
    for (const file of files.slice(2).filter((_, i) => i % 9 === 0)) {
      const { all } = replayed(file)
      assert.equal(all.at(-1)?.difference ?? null, null)
      if (windowsIn(octets(file)) > 0 && file.length > size / 2) least = Math.min(least, all.length)
    }
    assert.ok(least > 50, `${least}`)
  })
  test('goes on behind a gap, where more came at once than it had room for', () => {
    let turns = 0
    const file = recordOf(
      (r) => {
        const s = new Scene(r)
        for (let round = 0; round < 60; round++) {
          s.turn(...Array.from({ length: 250 }, (_, n) => datagram(1000, addr('203.0.113.9'), 53, n & 3)))
          turns++
        }
      },
      { size, windows: true }
    )
    assert.ok(file.length <= size)
    assert.equal(otherwise(file), null)
    assert.ok(opened(file).turns.length < turns)
  })
  test('ends where a world takes more than half of a window', () => {
    const said: (number | null)[] = []
    const limits = { flows: 2000, files: 2000, memory: 1e9, ports: 2000, halfOpen: 2000 }
    const file = recordOf(
      (r) => {
        const s = new Scene(r)
        for (let n = 0; n < 1500; n++) s.turn(datagram(1000 + n, addr('203.0.113.9'), 53, 4))
      },
      {
        size,
        windows: true,
        said: (errno) => said.push(errno),
        start: { ...START, found: { ...START.found, limits } }
      }
    )
    assert.deepEqual([said, opened(file).end.why], [[null], 'size'])
    assert.equal(replayed(file).all.at(-1)?.difference, null)
  })
})
