import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { inflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { MACHINES } from '../scripts/diagrams.js'
import { fromV4 } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { add } from '../src/codecs/value/seq.js'
import { PROTO_TCP } from '../src/codecs/wire/checksum.js'
import { ACK, FIN, SYN, TcpPacket } from '../src/codecs/wire/tcp.js'
import {
  type Chart,
  COUNT,
  type Columns,
  columnsOf,
  decodePage,
  encodePage,
  FROM_GUEST,
  FROM_HOST,
  KINDS,
  type PageData,
  Patterns,
  type RowDraft,
  STEP,
  TO_GUEST,
  TO_HOST,
  textOf
} from '../src/page/data.js'
import { type Box, layoutOf, pathOf, spread } from '../src/page/layout.js'
import {
  brief,
  changesState,
  clauseParts,
  flowEntries,
  flowsShown,
  labelOf,
  marksOf,
  nextChange,
  parsePlace,
  placeOf,
  placeText,
  plotsOf,
  rangeOf,
  rowsShown,
  SORTS,
  startsOf,
  stateAt,
  stateName,
  stepOf,
  stepText,
  takenBy,
  valueOn,
  valuesAt
} from '../src/page/model.js'
import { filled, patternOf, placesIn } from '../src/page/texts.js'
import { ABI_WORDS, EV, PEEK_EOF, READY_IN, READY_RDHUP } from '../src/runtime/abi/abi.js'
import type { World } from '../src/runtime/data/world.js'
import { openConnection, type Stage } from '../src/runtime/engine/warm-up.js'
import { flowEnds } from '../src/runtime/flow/flow-text.js'
import { leafOf, titleOf } from '../src/runtime/flow/kinds.js'
import { chartOf } from '../src/runtime/replay/chart-of.js'
import { replayAll } from '../src/runtime/replay/main.js'
import { page, pageHtml } from '../src/runtime/replay/page.js'
import { openRecording } from '../src/runtime/replay/recording.js'
import { effectText, eventText } from '../src/runtime/replay/show.js'
import { useXstate } from '../src/runtime/replay/under-xstate.js'
import { repo } from '../test/lib/cache.js'
import { udpFrame } from './fragment-arbitraries.js'
import { build, metaOf } from './frame-spec.js'
import { act, arbActs } from './record-arbitraries.js'
import { at, recordOf } from './recorded.js'

interface Paged {
  readonly data: PageData
  /** Texts of both rings, in the order of turns. */
  readonly texts: ReadonlyArray<string>
  readonly world: World
}
const paged = (file: Uint8Array): Paged => {
  const r = openRecording(octets(file))
  if (E.isLeft(r)) assert.fail(r.left)
  const pages = page()
  const texts: string[] = []
  let done = (): void => {}
  let world: World | null = null
  replayAll(
    r.right.recording,
    r.right.end,
    { until: Number.POSITIVE_INFINITY },
    [
      pages.turn,
      (_, { turn, made }) => {
        texts.push(...turn.events.map(eventText), ...made.flat().map((m) => effectText(m.record)))
      }
    ],
    (p) => {
      world = p.world
      done = pages.watch(p)
    }
  )
  done()
  assert.ok(world !== null, 'it was watched')
  return { data: pages.data(['a heading'], null), texts, world }
}
const recorded = (acts: Parameters<typeof act>[1], rounds = 1): Uint8Array =>
  recordOf((r) => act(r, acts, rounds))
const everyRow = ({ columns }: PageData): ReadonlyArray<number> => [...columns.kind.keys()]
const subjects = (d: PageData): ReadonlyArray<number> => [...d.facts.subjects.keys()]

describe('texts', () => {
  const arbText = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc
      .array(
        fc.oneof(
          fc.constantFrom(
            ' ',
            '\n',
            ': ',
            ', ',
            '(',
            ')',
            '.',
            '-',
            '\u0001',
            '\u0002',
            '\u0003',
            '0',
            '00',
            '4294967296',
            '1.050',
            '1.5'
          ),
          fc.nat().map(String),
          fc.string()
        )
      )
      .map((parts) => parts.join(''))
  )
  test('a pattern with its numbers is the text again', () => {
    fc.assert(
      fc.property(arbText, fc.array(fc.nat()), (text, front) => {
        const numbers = [...front]
        const pattern = patternOf(text, numbers)
        assert.equal(filled(pattern, numbers, front.length), text)
        assert.equal(numbers.length - front.length, placesIn(pattern))
      }),
      { numRuns: 500 }
    )
  })
  test('that differ in numbers have one pattern', () => {
    const of = (n: number, ms: string): string => patternOf(`SEND len ${n}: in ${ms} ms, ${n} times`, [])
    assert.equal(of(1, '0.050'), of(4_000_000_000, '17.999'))
  })
})

describe('data', () => {
  const arbRow: fc.Arbitrary<RowDraft> = fc.record({
    turn: fc.nat(9),
    kind: fc.nat(KINDS - 1),
    text: fc.string(),
    taken: fc.integer({ min: -1, max: 99 }),
    state: fc.integer({ min: -1, max: 99 }),
    changes: fc.array(fc.tuple(fc.nat(255), fc.double())).map((list) => list.flat())
  })
  test('is what it was once it is read again', () => {
    fc.assert(
      fc.property(fc.array(fc.array(arbRow)), fc.array(fc.string({ unit: 'binary' })), (rows, heading) => {
        const patterns = new Patterns()
        const columns = columnsOf([0, 1.5], rows, patterns)
        const facts = { heading, difference: [], charts: [], subjects: [], patterns: patterns.list }
        const d = decodePage(encodePage({ facts, columns }))
        assert.deepEqual(d, { facts, columns })
        for (const [i, r] of rows.flat().entries()) {
          assert.equal(textOf(d, i), r.text)
          const from: number = d.columns.changesAt[i]!
          const to: number = d.columns.changesAt[i + 1]!
          const changes: (readonly [number | undefined, number | undefined])[] = Array.from(
            { length: to - from },
            (_, k) => [d.columns.field[from + k], d.columns.value[from + k]]
          )
          assert.deepEqual(changes.flat(), r.changes)
        }
      })
    )
  })
})

/** What must hold of the page of any run. */
const assertTold = ({ data: d, texts, world }: Paged): void => {
  const isRing = (r: number): boolean => d.columns.kind[r]! <= TO_HOST
  const sorted = (list: ReadonlyArray<string>): ReadonlyArray<string> => [...list].sort()
  assert.deepEqual(
    sorted(
      everyRow(d)
        .filter(isRing)
        .map((r) => textOf(d, r))
    ),
    sorted(texts),
    'every record of both rings is one row'
  )
  for (const s of subjects(d)) {
    const [from, to] = rangeOf(d, s)
    const chart = d.facts.charts[d.facts.subjects[s]!.chart]
    for (let r = from; r < to; r++) {
      if (r > from) assert.ok(d.columns.turn[r]! >= d.columns.turn[r - 1]!, 'rows are in time')
      if (d.columns.kind[r] !== STEP) continue
      const [before, after] = [stateAt(d, s, r - 1), d.columns.state[r]!]
      const node = chart?.nodes[after]
      assert.ok(node !== undefined && node.initial === -1, 'a leaf of its chart')
      const taken = takenBy(d, s, r)
      if (taken === null) {
        assert.ok(before === -1 || before === after, 'nothing is taken, nothing changes')
        continue
      }
      assert.ok(taken.clause !== '', 'it has a clause')
      const inside = (n: number, of: number): boolean =>
        n === of || (n > 0 && inside(chart!.nodes[n]!.parent, of))
      assert.ok(inside(before, taken.state), `${taken.event}: it is of the state, or of one around it`)
      assert.ok([stepText(d, r).event, '*'].includes(taken.event), `${taken.event} is the event`)
      if (taken.target < 0) assert.equal(after, before)
      else assert.ok(inside(after, taken.target), `${taken.event}: it leads there`)
    }
  }
  // Flows that are still open are as the page says
  const last = new Map(d.facts.subjects.map((one, s) => [`${one.title} ${one.ends}`, s]))
  for (const f of world.flows) {
    if (f === undefined) continue
    const s = last.get(`${titleOf(f)} ${f.index} ${flowEnds(f)}`)
    const [from, to] = s === undefined ? [0, 0] : rangeOf(d, s)
    assert.ok(s !== undefined && to > from, flowEnds(f))
    const chart = d.facts.charts[d.facts.subjects[s]!.chart]!
    const keys: string[] = []
    for (let n = d.facts.subjects[s]!.state; n > 0; n = chart.nodes[n]!.parent)
      keys.unshift(chart.nodes[n]!.key)
    assert.equal(keys.join('.'), leafOf(f, f.state.node))
    if (f.kind !== 'tcp') continue
    const values = valuesAt(d, s, to - 1)
    const value = (name: string): number => values[chart.fields.findIndex((x) => x.name === name)]!
    const { tcb } = f.state.context
    assert.deepEqual(
      [value('SND.UNA'), value('RCV.NXT'), value('SND.WND'), value('RTO')],
      [tcb.sndUna >>> 0, tcb.rcvNxt >>> 0, tcb.sndWnd, tcb.rto]
    )
    if (tcb.tapAliveAt !== 0) {
      const at = value('tapAliveAt') + (world.rings.clock[0]! - d.columns.ms.at(-1)!)
      assert.ok(Math.abs(at - tcb.tapAliveAt) < 0.002, `${at}, not ${tcb.tapAliveAt}`)
    }
  }
}

/** Whom the warm-up's guest talks to. */
const PEER = fromV4(0xc6336409)

const keyAt = (d: PageData, chart: string, key: string): number =>
  d.facts.charts.find((c) => c.id === chart)!.nodes.findIndex((n) => n.key === key)

const whole = paged(recorded([], 4))

describe('the page of a run', () => {
  test('that has some of everything', () => {
    assertTold(whole)
    const d = whole.data
    assert.deepEqual(d.facts.charts.map((c) => c.id).sort(), ['ndp', 'tcp', 'tcp-splice', 'udp'])
    assert.ok(d.facts.subjects.length > 15, `${d.facts.subjects.length}`)
  })
  test('of any run; it is the same under xstate', () => {
    fc.assert(
      fc.property(arbActs, (acts) => {
        const file = recorded(acts)
        const by = paged(file)
        assertTold(by)
        const undo = useXstate()
        try {
          const other = paged(file).data
          assert.deepEqual(Buffer.from(encodePage(other)).equals(encodePage(by.data)), true)
        } finally {
          undo()
        }
      }),
      { numRuns: Number(process.env.FC_RUNS ?? 30) / 3, endOnFailure: true, includeErrorInReport: true }
    )
  })
  test('with flows in the place of others: what each asks for is its own', () => {
    const file = recordOf((r) => {
      let now = 1
      const s: Stage = { w: r.w, v6: false, now: at(now), handle: r.turn }
      const index = openConnection(s, 40000)
      const came = (words: ReadonlyArray<number>, frame: Uint8Array | null): void => {
        const { ev, slab } = r.w.rings
        ev.fill(0, 0, ABI_WORDS)
        ev.set(words)
        if (frame !== null) {
          const off = 4 << 20
          slab.set(frame, off)
          ev.set([off, frame.length], 2)
          ev[7] = metaOf(octets(frame)).sum16
        }
        now += 1000
        r.turn(1, at(now))
      }
      const guest = (flags: number, seqBy: number): void => {
        const f = r.w.flows[index]
        assert.ok(f?.kind === 'tcp', 'it is there')
        const { rcvNxt, sndNxt } = f.state.context.tcb
        const l4 = TcpPacket.encode({
          ...{
            srcPort: 40000,
            dstPort: 80,
            seq: add(rcvNxt, seqBy),
            ack: sndNxt,
            flags,
            wnd: 500,
            urgent: 0
          },
          ...{ mss: null, windowScale: null, payload: new Uint8Array() }
        })
        came(
          [EV.TAP_FRAME],
          build({ ...udpFrame(false, new Uint8Array()), to: PEER, proto: PROTO_TCP, l4 }).bytes
        )
      }
      came([EV.READY, index, READY_IN | READY_RDHUP], null)
      came([EV.PEEKED, index, 0, PEEK_EOF], null)
      guest(ACK | FIN, 0)
      // It waits, and is opened anew (RFC 9293 §3.6.1)
      guest(SYN, 100_000)
    })
    const connects = (d: PageData, s: number): number => {
      const [from, to] = rangeOf(d, s)
      return Array.from({ length: to - from }, (_, i) => textOf(d, from + i)).filter((t) =>
        t.startsWith('TCP_CONNECT')
      ).length
    }
    const byGuest = (d: PageData): ReadonlyArray<number> =>
      subjects(d).filter(
        (s) =>
          /^TCP connection \d/.test(d.facts.subjects[s]!.title) && d.facts.subjects[s]!.ends.startsWith('TAP')
      )
    for (const { data: d } of [whole, paged(file)])
      for (const s of byGuest(d)) assert.equal(connects(d, s), 1, d.facts.subjects[s]!.title)
    const { data: d } = paged(file)
    assert.deepEqual(
      byGuest(d).map((s) => stateAt(d, s, rangeOf(d, s)[1] - 1)),
      ['closed', 'connecting'].map((key) => keyAt(d, 'tcp', key))
    )
    const titles = byGuest(whole.data).map((s) => whole.data.facts.subjects[s]!.title)
    assert.ok(new Set(titles).size < titles.length, 'a place was taken twice')
  })
  test('has drops with their reasons, at the frame that was dropped', () => {
    const frame = { words: [1, 0, 0, 0, 0, 0, 0, 0], octets: new Uint8Array(60).fill(1) }
    const { data: d } = paged(recorded([{ came: [frame], after: 1, listener: null }]))
    const nobody = d.facts.subjects.length - 1
    const [from, to] = rangeOf(d, nobody)
    const rows = Array.from({ length: to - from }, (_, i) => from + i)
    const drop = rows.findIndex((r) => d.columns.kind[r] === COUNT && textOf(d, r).startsWith('drop-'))
    assert.ok(drop > 0, rows.map((r) => textOf(d, r)).join('\n'))
    assert.equal(d.columns.kind[rows[drop - 1]!], FROM_GUEST)
  })
})

describe('what is shown of it', () => {
  const d = whole.data
  test('rows: all, or those that say something; each is found again', () => {
    for (const s of subjects(d)) {
      const [from, to] = rangeOf(d, s)
      const all = rowsShown(d, s, true)
      assert.deepEqual(
        [...all],
        Array.from({ length: to - from }, (_, i) => from + i)
      )
      const some = rowsShown(d, s, false)
      for (const r of all) {
        const place = placeOf(some, r)
        assert.ok(place === some.length || some[place]! >= r, `${place} for ${r}`)
        if (some[place] === r) continue
        assert.equal(d.columns.kind[r], STEP)
        assert.deepEqual(stepText(d, r).effects, [])
        assert.ok(!changesState(d, s, r), 'what is left out changes nothing')
      }
      let place = 0
      const changes: number[] = []
      for (;;) {
        const next = nextChange(d, s, some, place, 1)
        if (next <= place) break
        place = next
        if (changesState(d, s, some[place]!)) changes.push(some[place]!)
        else break
      }
      assert.deepEqual(
        changes,
        [...some.subarray(1)].filter((r) => changesState(d, s, r))
      )
    }
  })
  test('an arrow belongs to a step of its turn, of the same flow', () => {
    for (const s of subjects(d))
      for (const r of rowsShown(d, s, true)) {
        const step = stepOf(d, s, r)
        if (step < 0) continue
        assert.equal(d.columns.kind[step], STEP)
        assert.equal(d.columns.turn[step], d.columns.turn[r])
        const isCause = [FROM_GUEST, FROM_HOST].includes(d.columns.kind[r]!)
        assert.ok(step === r || step > r === isCause, `${step} for ${r}`)
      }
  })
  test('lines hold what the numbers are, at any row', () => {
    let lines = 0
    for (const s of subjects(d)) {
      const fields = d.facts.charts[d.facts.subjects[s]!.chart]?.fields ?? []
      const [from, to] = rangeOf(d, s)
      for (const l of plotsOf(d, s).flatMap((p) => p.lines)) {
        assert.equal(l.rows.length, l.values.length)
        lines++
        const field = fields.findIndex((f) => f.name === l.name && f.type === 'number')
        if (field < 0) continue
        for (let r = from; r < to; r += 7) {
          const v = valueOn(l, r)
          const own = valuesAt(d, s, r)[field]
          assert.ok(Number.isNaN(v) || v === own, `${l.name} at ${r}: ${v}, not ${own}`)
        }
      }
    }
    assert.ok(lines > 50, `${lines}`)
  })
  test('labels of a flow have no ends, and numbers from the first octet on', () => {
    const s = d.facts.subjects.findIndex((x) => x.title.startsWith('TCP connection 0'))
    const starts = startsOf(d, s)
    assert.ok(starts !== null, 'ISS and IRS are known')
    const labels = [...rowsShown(d, s, false)]
      .filter((r) => [FROM_GUEST, TO_GUEST].includes(d.columns.kind[r]!))
      .map((r) => labelOf(textOf(d, r), d.columns.kind[r]!, true, starts))
    assert.match(labels[0]!, /^\[S\] seq 0 win 500 mss 1460 wscale 7 len 0$/)
    assert.match(labels[1]!, /^\[S\.\] seq 0 ack 1 /)
    assert.match(labels[2]!, /^\[\.\] seq 1 ack 1 win 500 len 0$/)
    for (const one of labels) assert.ok(!one.includes('198.51.100'), one)
  })
  test('what sockets are ready for is said in words', () => {
    const labels = Array.from({ length: d.columns.kind.length }, (_, r) => r)
      .filter((r) => d.columns.kind[r] === FROM_HOST && /^(READY|PEEKED) .*flags/.test(textOf(d, r)))
      .map((r) => labelOf(textOf(d, r), FROM_HOST, true, null))
    assert.ok(labels.includes('READY readable, its peer has ended'), labels.join('; '))
    assert.ok(
      labels.some((l) => /^PEEKED.* the end/.test(l)),
      labels.join('; ')
    )
    for (const one of labels) assert.ok(!one.includes('flags'), one)
  })
  test('flows: filtered by words, sorted by any column', () => {
    const all = flowEntries(d)
    fc.assert(
      fc.property(
        fc.constantFrom(...SORTS),
        fc.boolean(),
        fc.constantFrom('', 'tcp', 'closed 40001', 'none of them'),
        (by, falling, filter) => {
          const shown = flowsShown(all, filter, by, falling)
          const words = filter.split(' ')
          assert.deepEqual(
            shown.map((f) => f.subject).sort((a, b) => a - b),
            all
              .filter((f) => words.every((w) => `${f.title} ${f.ends} ${f.state}`.toLowerCase().includes(w)))
              .map((f) => f.subject)
          )
          const keys = shown.map((f) => f[by])
          if (typeof keys[0] !== 'number') return
          const rising = [...keys].sort((a, b) => Number(a) - Number(b))
          assert.deepEqual(keys, falling ? rising.reverse() : rising)
        }
      )
    )
  })
  test('places in the address of the page', () => {
    fc.assert(
      fc.property(fc.nat(99_999), fc.nat(999_999), fc.string(), (subject, offset, other) => {
        assert.deepEqual(parsePlace(placeText(subject, offset)), { subject, offset })
        const p = parsePlace(other)
        assert.ok((p.subject ?? 0) >= 0 && p.offset >= 0, JSON.stringify(p))
      })
    )
  })
  test('marks of an axis are round, few, and within it', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1e9, noNaN: true }),
        fc.double({ min: 1e-3, max: 1e9, noNaN: true }),
        fc.integer({ min: 1, max: 6 }),
        (from, more, n) => {
          const to = from + more
          const marks = marksOf(from, to, n)
          assert.ok(marks.length <= n + 1, `${marks}`)
          const slack = to * 1e-9
          for (const m of marks) assert.ok(m >= from - slack && m <= to + slack && brief(m) !== '', `${m}`)
        }
      )
    )
  })
  test('a clause is all there; only its RFCs lead somewhere', () => {
    const clauses = d.facts.charts.flatMap((c) => c.rows.map((r) => r.clause))
    for (const clause of clauses) {
      const parts = clauseParts(clause)
      assert.equal(parts.map((p) => p.text).join(''), clause)
      for (const p of parts)
        assert.ok(
          p.href === null || /^https:\/\/www\.rfc-editor\.org\/rfc\/rfc\d+(#section-[\d.]*\d)?$/.test(p.href),
          p.text
        )
    }
    assert.deepEqual(clauseParts('RFC 9293 §3.10.7.4, first.')[0], {
      text: 'RFC 9293 §3.10.7.4',
      href: 'https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4'
    })
  })
})

describe('a chart as it is drawn', () => {
  const isApart = (a: Box, b: Box): boolean =>
    a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y
  const isIn = (a: Box, b: Box): boolean =>
    a.x >= b.x - 0.01 && a.y >= b.y - 0.01 && a.x + a.w <= b.x + b.w + 0.01 && a.y + a.h <= b.y + b.h + 0.01
  const assertDrawn = (c: Chart): void => {
    const { boxes, anywhere, routes, width, height } = layoutOf(c)
    for (const [n, node] of c.nodes.entries()) {
      if (n === 0) continue
      assert.ok(isIn(boxes[n]!, boxes[node.parent]!), `${node.key} is in what is around it`)
      for (const [m, other] of c.nodes.entries())
        if (m > n && other.parent === node.parent)
          assert.ok(isApart(boxes[n]!, boxes[m]!), `${node.key} and ${other.key} are apart`)
      if (anywhere !== null && node.parent === 0)
        assert.ok(isApart(boxes[n]!, anywhere), `${node.key} is apart from any state`)
    }
    const drawn = new Set(routes.map((r) => r.arrow))
    for (const a of c.arrows) {
      const inside = (n: number, of: number): boolean => n === of || (n > 0 && inside(c.nodes[n]!.parent, of))
      if (a.to === 0 || inside(a.from, a.to) || (a.from !== 0 && inside(a.to, a.from))) continue
      assert.ok(drawn.has(a), `${c.nodes[a.from]!.key} -> ${c.nodes[a.to]!.key} is drawn`)
    }
    for (const { points } of routes) {
      assert.match(pathOf(points), /^M[\d. -]+(?:C[\d. -]+)+$/)
      for (const p of points)
        assert.ok(p.x >= 0 && p.x <= width && p.y >= 0 && p.y <= height, JSON.stringify(p))
    }
  }
  test('of every machine', () => {
    for (const m of Object.values(MACHINES).flat()) assertDrawn({ ...chartOf(m).chart, fields: [] })
  })
  test('of any shape', () => {
    const arbChart = fc.integer({ min: 1, max: 14 }).chain((n) =>
      fc
        .tuple(
          fc.array(fc.nat(), { minLength: n, maxLength: n }),
          fc.array(fc.tuple(fc.nat(n), fc.nat(n)), { maxLength: 30 }),
          fc.array(fc.string({ minLength: 1, maxLength: 24 }), { minLength: n, maxLength: n })
        )
        .map(([parents, arrows, keys]): Chart => {
          const parent = [-1, ...parents.map((p, i) => p % (i + 1))]
          const nodes = parent.map((p, i) => ({
            key: keys[i - 1] ?? '',
            parent: p,
            type: parent.includes(i) ? 'compound' : 'atomic',
            description: '',
            initial: parent.indexOf(i)
          }))
          const unique = [
            ...new Map(arrows.map(([from, to]) => [`${from} ${to}`, { from, to, causes: [] }])).values()
          ]
          return { id: 'any', description: '', nodes, rows: [], arrows: unique, fields: [] }
        })
    )
    fc.assert(fc.property(arbChart, assertDrawn), { numRuns: 200 })
  })
  test('spread: apart as asked for, and nowhere nearer to what was wanted', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: -99, max: 99 }), fc.nat(20)), { minLength: 1, maxLength: 8 }),
        (list) => {
          const wanted = list.map(([w]) => w)
          const apart = list.slice(1).map(([, a]) => a)
          const x = spread(wanted, apart)
          for (const [i, a] of apart.entries()) assert.ok(x[i + 1]! - x[i]! >= a - 1e-9, `${x}`)
          const cost = (at: ReadonlyArray<number>): number =>
            at.reduce((sum, v, i) => sum + (v - wanted[i]!) ** 2, 0)
          // Moved a little, alone or with all that are on one side, it only gets worse
          for (let i = 0; i < x.length; i++)
            for (const by of [-0.01, 0.01])
              for (const moved of [
                x.map((v, k) => (k >= i ? v + by : v)),
                x.map((v, k) => (k <= i ? v + by : v))
              ])
                if (apart.every((a, k) => moved[k + 1]! - moved[k]! >= a))
                  assert.ok(cost(moved) >= cost(x) - 1e-9, `${moved}, not ${x}`)
        }
      )
    )
  })
  test('names of states as RFC 9293 has them', () =>
    assert.deepEqual(['finWait1', 'established'].map(stateName), ['FIN_WAIT_1', 'ESTABLISHED']))
})

describe('the file', () => {
  const around = (html: string): readonly [string, string, string] => {
    const [, before, data, behind] = /^([\s\S]*id="data">)([^<]*)(<[\s\S]*)$/.exec(html)!
    return [before!, data!, behind!]
  }
  const empty: Columns = columnsOf([], [], new Patterns())
  const hostile = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom(
      '</script><script>alert(1)</script>',
      '<!--<script>',
      '"><img src=x onerror=alert(1)>',
      '\u2028'
    )
  )
  test('nothing that a record says is in it but as base64', () => {
    const [before, , behind] = around(
      pageHtml({ facts: { ...whole.data.facts }, columns: empty }, 'script()', 'a{}')
    )
    fc.assert(
      fc.property(fc.array(hostile), hostile, hostile, (heading, title, ends) => {
        const facts = {
          ...whole.data.facts,
          heading,
          difference: heading,
          patterns: heading,
          subjects: [{ title, ends, chart: -1, from: 0, state: -1 }]
        }
        const html = pageHtml({ facts, columns: empty }, 'script()', 'a{}')
        const [b, data, e] = around(html)
        assert.deepEqual([b, e], [before, behind])
        assert.match(data, /^[A-Za-z0-9+/]+=*$/)
        const read = decodePage(new Uint8Array(inflateRawSync(Buffer.from(data, 'base64'))))
        assert.deepEqual(read.facts, JSON.parse(JSON.stringify(facts)))
      }),
      { numRuns: 50 }
    )
  })
  test('its policy lets nothing be fetched, and no other script run', () => {
    const html = pageHtml({ facts: whole.data.facts, columns: empty }, 'script()', 'a{}')
    const policy = /Content-Security-Policy" content="([^"]*)"/.exec(html)![1]!
    assert.match(
      policy,
      /^default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; base-uri 'none'/
    )
    assert.match(policy, /require-trusted-types-for 'script'; trusted-types 'none'$/)
    assert.ok(!/unsafe|https?:/.test(policy), policy)
    assert.ok(html.indexOf('Content-Security-Policy') < html.indexOf('<style'), 'it stands in front')
  })
  test("the page's sources turn no text into markup", () => {
    const dir = join(repo, 'src/page')
    const files = readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((f) => f.endsWith('.ts'))
    assert.ok(files.length > 8, `${files.length}`)
    for (const f of files)
      assert.ok(
        !/innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|\beval\b|new Function|setHTML|DOMParser|createContextualFragment/.test(
          readFileSync(join(dir, f), 'utf8')
        ),
        f
      )
  })
})
