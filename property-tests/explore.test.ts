// Charts explored: alphabets, graphs, sessions. What a terminal shows is docs/explore.md's.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { MACHINES } from '../scripts/diagrams.js'
import { pages, played } from '../scripts/explore-doc.js'
import { ROOT, staleOf } from '../scripts/generated.js'
import type { Alphabet } from '../src/explore/alphabet.js'
import { ALIASES, ALPHABETS } from '../src/explore/alphabets/all.js'
import { leavesOf, rowsOf, rowTaken } from '../src/explore/chart.js'
import { type Graph, graphOf } from '../src/explore/graph.js'
import { graphJson, graphLines, graphTests } from '../src/explore/graph-text.js'
import { literal } from '../src/explore/literal.js'
import { NotParsed, parsed } from '../src/explore/parse.js'
import { savedText } from '../src/explore/saved.js'
import { COMMAND_WORDS, openSession, type Session, said } from '../src/explore/session.js'
import { begin, type Event, isOver, leafOf, movesOf, step } from '../src/explore/world.js'
import { assertTold } from './told.js'

const all = Object.entries(ALPHABETS)
const graphs = new Map<string, Graph>()
const graphBy = (name: string): Graph => {
  const known = graphs.get(name) ?? graphOf(ALPHABETS[name]!)
  graphs.set(name, known)
  return known
}
/** Some way through a machine: its input, and letters by number. */
const arbWalk = (a: Alphabet) =>
  fc
    .tuple(fc.constantFrom(...Object.keys(a.inputs)), fc.array(fc.nat(1000), { maxLength: 30, size: 'max' }))
    .map(([input, choices]) => {
      const names: string[] = []
      const events: Event[] = []
      let w = begin(a, a.inputs[input])
      for (const n of choices) {
        const moves = movesOf(a, w)
        if (moves.length === 0) break
        const { letter, event } = moves[n % moves.length]!
        names.push(letter.name)
        events.push(event)
        w = step(a, w, event)
      }
      return { input, names, events, end: w }
    })
const type = (
  s: Session,
  lines: readonly string[]
): { readonly s: Session; readonly out: readonly string[] } => {
  let at = s
  const out = lines.flatMap((line) => {
    const reply = said(at, line)
    assert(!reply.wrong, `${line}: ${reply.lines}`)
    at = reply.session
    return reply.lines
  })
  return { s: at, out }
}

describe('alphabets', () => {
  test('every machine has one, by its name', () => {
    const ids = Object.values(MACHINES)
      .flat()
      .map((m) => m.id)
    assert.deepEqual(Object.keys(ALPHABETS).sort(), [...ids].sort())
    for (const [name, a] of all) assert.equal(a.machine.id, name)
    for (const to of Object.values(ALIASES)) assert(to in ALPHABETS)
  })
  for (const [name, a] of all)
    test(`${name}: a letter is one thing, and no command; rules name letters`, () => {
      const names = a.letters.map((l) => l.name)
      assert.equal(new Set(names).size, names.length)
      for (const n of names) assert.match(n, /^[a-z][a-z0-9-]*$/)
      assert.deepEqual(
        names.filter((n) => COMMAND_WORDS.includes(n)),
        []
      )
      for (const r of a.world) for (const l of r.letters) assert(names.includes(l), `${r.effect}: ${l}`)
      const kinds = new Set(Object.keys(a.machine.implementations.actions))
      for (const r of a.world) assert(kinds.has(r.effect), `${r.effect} is no effect`)
    })
})

describe('graphs', () => {
  for (const [name, a] of all)
    test(`${name}: every state and every transition of the chart is reached, by the way that is given`, () => {
      const g = graphBy(name)
      assert.deepEqual([g.missingLeaves, g.missing.map((r) => r.name)], [[], []])
      assert.equal(g.rows.length, rowsOf(a.machine).length)
      assert.deepEqual([...new Set(g.states.map((s) => s.leaf))].sort(), [...leavesOf(a.machine)].sort())
      for (const s of g.states) {
        let w = begin(a, a.inputs[s.input])
        for (const e of s.events) w = step(a, w, e)
        assert.deepEqual([leafOf(w), a.abstract(w.snapshot.context, leafOf(w))], [s.leaf, s.abstract])
      }
      for (const { row, path } of g.rows) {
        let w = begin(a, a.inputs[path.input])
        for (const e of path.events.slice(0, -1)) w = step(a, w, e)
        assert.equal(rowTaken(a.machine, w.snapshot, path.events.at(-1))?.name, row.name)
      }
    })
  test('what an alphabet does not reach is told', () => {
    const a = ALPHABETS['tcp-splice']!
    const g = graphOf({ ...a, letters: a.letters.filter((l) => l.name !== 'end-1') })
    assert.deepEqual(g.missingLeaves, ['open.initiatorOnly'])
    assert.deepEqual(
      g.missing.map((r) => r.state),
      ['open.both', 'open.targetOnly', 'open.initiatorOnly']
    )
    const lines = graphLines('tcp-splice', g, 1)
    assert(lines.includes('  open.initiatorOnly: never reached'))
    assert.equal(lines.filter((l) => l.endsWith(': never taken')).length, 3)
  })
  test('each state and each transition is an example test, which holds', () => {
    for (const name of ['udp', 'migration-target'])
      for (const { input, events } of graphTests(graphBy(name), ALPHABETS[name]!.inputs)) {
        let w = begin(ALPHABETS[name]!, input)
        const first = w.effects
        const told = events.map((event) => {
          w = step(ALPHABETS[name]!, w, event)
          return { event, state: leafOf(w), effects: w.effects }
        })
        assertTold(name, input, first, told)
      }
  })
})

describe('what is typed', () => {
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 4 },
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.integer(),
      fc.bigInt(),
      fc.string({ unit: 'binary' }),
      fc.boolean(),
      fc.constantFrom(null, undefined),
      fc.array(tie('any'), { maxLength: 3 }),
      fc.dictionary(
        fc.string().filter((k) => k !== '__proto__'),
        tie('any'),
        { maxKeys: 3, noNullPrototype: true }
      )
    )
  })).any
  test('parsed(literal(v)) = v', () =>
    fc.assert(fc.property(value, (v) => assert.deepEqual(parsed(literal(v)), v))))
  test('any text: a value, or what is wrong with it', () =>
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[{}[\]:,'"a-c0-9n\\ -]*$/)), (s) => {
        try {
          parsed(s)
        } catch (e) {
          assert(e instanceof NotParsed && e.message !== '', String(e))
        }
      })
    ))
  test('what people write', () => {
    assert.deepEqual(parsed("{ type: 'X', n: 0x10, big: 5n, list: [1, -2,], 'a b': \"it's\", on: true, }"), {
      type: 'X',
      n: 16,
      big: 5n,
      list: [1, -2],
      'a b': "it's",
      on: true
    })
  })
})

describe('sessions', () => {
  for (const [name, a] of all)
    test(`${name}: letters lead where the machine goes; back is where it was; any line is answered`, () =>
      fc.assert(
        fc.property(arbWalk(a), fc.nat(30), fc.string(), (walk, n, anything) => {
          const first = openSession(name, walk.input).session
          const { s } = type(first, walk.names)
          assert.equal(s.steps.length, walk.names.length)
          assert.equal(leafOf(s.steps.at(-1)?.after ?? s.beginning), leafOf(walk.end))
          assert.deepEqual(
            s.steps.at(-1)?.after.snapshot.context ?? {},
            s.steps.length === 0 ? {} : walk.end.snapshot.context
          )
          const back = said(s, `back ${n}`).session
          assert.deepEqual(back.steps, s.steps.slice(0, Math.max(0, s.steps.length - n)))
          for (const line of [anything, 'events', 'all', 'state', 'help', `{ ${anything}`])
            assert(said(s, line).lines.every((l) => typeof l === 'string'))
        }),
        { numRuns: 15 }
      ))
  const tcp = (): Session => openSession('tcp').session
  test('the world answers: its steps are not counted as mine', () => {
    const { s } = type(tcp(), ['world', 'connected', 'ack', 'data', 'turn'])
    assert.deepEqual(
      s.steps.map((x) => `${x.said}${x.byRule ? ' *' : ''}`),
      ['connected', 'ack', 'data', 'sent *', 'turn']
    )
    assert.equal(type(s, ['back 2']).s.steps.length, 2)
  })
  test('a world without rest is stopped', () => {
    const { s, out } = type(tcp(), [
      'connected',
      'ack',
      'when PeekToTap: peeked readable turn',
      'readable',
      'turn'
    ])
    assert.equal(out.at(-1), 'the world was stopped after 60 steps')
    assert.equal(type(s, ['back']).s.steps.length, 3)
  })
  test('fields differ from the letter', () => {
    const { s } = type(tcp(), [
      'connected',
      'ack wnd=7',
      "{ type: 'TAP_SEGMENT', seg: { payload: { len: 3 } } }",
      'wait 50',
      'turn'
    ])
    const [, ack, data, turn] = s.steps
    assert.equal((ack!.event as unknown as { seg: { wnd: number } }).seg.wnd, 7)
    assert.deepEqual((data!.event as unknown as { seg: { payload: object } }).seg.payload, {
      off: 54,
      len: 3
    })
    assert.equal(turn!.event.now, Number(data!.after.now) + 50)
  })
  test('what makes no sense is said, and changes nothing', () => {
    const s = tcp()
    for (const line of [
      'nothing',
      '99',
      'sent',
      'turn x',
      'turn x=1',
      'connected sndWnd=[',
      '{ type: 1 }',
      '{',
      'when',
      'when X: nothing',
      'start nowhere',
      'save',
      'wait long',
      'back x'
    ]) {
      const r = said(s, line)
      assert(r.wrong && r.lines.length > 0, line)
      assert.equal(r.session, s)
    }
  })
  test('over is over', () => {
    const { s } = type(tcp(), ['rst', 'stop'].slice(0, 1))
    assert(isOver(s.steps.at(-1)!.after))
    assert(said(s, 'turn').wrong)
    assert.deepEqual(said(s, 'events').lines, [])
  })
})

describe('docs/explore.md', () => {
  test("shows what is said (else: 'npx tsx scripts/explore-doc.ts')", () =>
    assert.deepEqual(staleOf(pages()), []))
  test('has every command, and every machine', () => {
    const text = readFileSync(join(ROOT, 'docs/explore.md'), 'utf8')
    for (const word of [...COMMAND_WORDS.filter((w) => w !== 'help'), ...Object.keys(ALPHABETS)])
      assert.match(text, new RegExp(`\`${word}\\b`), word)
  })
})

const explore = (args: readonly string[], input = '') => {
  const argv = ['--import', 'tsx', join(ROOT, 'scripts/explore.ts'), ...args]
  const env = { ...process.env, INIT_CWD: ROOT }
  return spawnSync(process.execPath, argv, { cwd: ROOT, input, encoding: 'utf8', env })
}

describe('npm run explore', () => {
  test('lines from standard input, or from a file; what is saved is a test that passes, and fails for another machine', () => {
    const dir = mkdtempSync(join(tmpdir(), 'passt-explore-'))
    try {
      const [script, file] = [join(dir, 'lines'), join(dir, 'saved.test.ts')]
      const lines = `world\nmemory\nconnected\nmemory # and done\nring-size\nkick\nsave ${file}\n`
      writeFileSync(script, lines)
      const piped = explore(['vhost-user'], lines)
      assert.equal(piped.status, 0, piped.stderr)
      assert.match(piped.stdout, /^#\d+ done {2}\(the world\)/m)
      const read = explore(['vhost-user', '--script', script])
      assert.equal(read.stdout, piped.stdout)
      const [world, rest] = [join(dir, 'world'), join(dir, 'rest')]
      writeFileSync(world, lines.split('\n').slice(0, 2).join('\n'))
      writeFileSync(rest, lines.split('\n').slice(2).join('\n'))
      assert.equal(explore(['vhost-user', '--world', world, '--script', rest]).stdout, piped.stdout)
      // As its own program, not as a part of this one
      const { NODE_TEST_CONTEXT: _, ...env } = process.env
      const run = () =>
        spawnSync(process.execPath, ['--import', 'tsx', file], { cwd: ROOT, encoding: 'utf8', env })
      const passed = run()
      assert.equal(passed.status, 0, passed.stdout)
      writeFileSync(
        file,
        readFileSync(file, 'utf8').replace("state: 'session.applying'", "state: 'session.serving'")
      )
      assert.equal(run().status, 1)
    } finally {
      rmSync(dir, { recursive: true })
    }
  })
  test('in a terminal: a prompt, and a line that makes no sense is told and no more', () => {
    const argv = ['-qec', `${process.execPath} --import tsx scripts/explore.ts udp`, '/dev/null']
    const r = spawnSync('script', argv, {
      cwd: ROOT,
      input: 'datagram\nnothing\nidle\nquit\n',
      encoding: 'utf8'
    })
    assert.equal(r.status, 0, r.stderr)
    assert.match(r.stdout, /udp> /)
    assert.match(r.stdout, /nothing is called 'nothing'[\s\S]*closed \(the end\)/)
  })
  test('a session says what the page shows', () => {
    const typed = 'datagram\nidle\n'
    const shown = typed.replace(/^(?=.)/gm, '> ')
    assert.equal(explore(['udp'], typed).stdout, `${played('udp', shown).join('\n')}\n`)
  })
  test('a line that makes no sense ends it with status 1; so does another machine', () => {
    const r = explore(['udp'], 'datagram\nnothing\ndatagram\n')
    assert.equal(r.status, 1)
    assert.match(r.stdout, /nothing is called 'nothing'/)
    assert.doesNotMatch(r.stdout, /^#2/m)
    for (const args of [['xyz'], ['tcp', '--input', 'nobody']]) assert.equal(explore(args).status, 1)
  })
  test('brief: a part of what is shown in full, and whatever comes of a step is in it', () => {
    const typed = ['datagram', 'answer', 'wait 40000', 'idle']
    const { out: full } = type(openSession('udp').session, typed)
    const { s, out: brief } = type(openSession('udp').session, ['brief', ...typed])
    const all = full.join('\n')
    for (const line of brief) assert(all.includes(line.replace(/ {2}\S+ → .*/, '')), line)
    const isEffect = (line: string): boolean => /^ {2}effects| {10}[A-Z]/.test(line)
    assert.deepEqual(brief.filter(isEffect), full.filter(isEffect))
    assert.match(brief.join('\n'), /open\.opening → open\.oneWay/)
    assert.doesNotMatch(brief.join('\n'), /numbers|event/)
    assert.deepEqual(type(s, ['full', 'start', ...typed]).out.slice(-full.length), full)
  })
  test('--graph: as text and as JSON', () => {
    const text = explore(['udp', '--graph'])
    assert.equal(text.status, 0, text.stderr)
    assert.equal(text.stdout, `${graphLines('udp', graphBy('udp'), 1).join('\n')}\n`)
    const json = explore(['udp', '--graph', '--json'])
    assert.equal(json.stdout, `${graphJson('udp', graphBy('udp'))}\n`)
    const { transitions, states } = JSON.parse(json.stdout)
    assert.equal(transitions.length, graphBy('udp').rows.length)
    assert.equal(states.length, graphBy('udp').states.length)
  })
  test('values of every kind are saved as they were', () => {
    for (const name of ['migration-target', 'port-scan', 'vhost-session']) {
      const text = savedText(name, '..', graphTests(graphBy(name), ALPHABETS[name]!.inputs))
      assert.doesNotMatch(text, /\[object|undefined: /)
    }
  })
})
