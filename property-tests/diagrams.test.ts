import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type AnyStateMachine, createMachine, not } from 'xstate'
import { MACHINES, page, pages, stale } from '../scripts/diagrams.js'
import { ROOT } from '../scripts/generated.js'

describe('docs/machines', () => {
  test("is what the definitions say (else: 'npx tsx scripts/diagrams.ts')", () =>
    assert.deepEqual(stale(), []))
  test('every chart of src/machines has its page, which names the file', () => {
    const dir = join(ROOT, 'src', 'machines')
    const charts = readdirSync(dir, { recursive: true, encoding: 'utf8' })
      .filter((f) => f.endsWith('.ts') && readFileSync(join(dir, f), 'utf8').includes('createMachine('))
      .map((f) => `src/machines/${f}`)
    assert(charts.length > 7)
    const named = pages().map(({ text }) => /^Made from (\S+) by/m.exec(text)?.[1] ?? '')
    assert.deepEqual(named.sort(), charts.sort())
  })
  test('every state of a machine is in its diagram, and has its events below', () => {
    const below = (n: AnyStateMachine['root']): AnyStateMachine['root'][] =>
      Object.values(n.states).flatMap((s) => [s, ...below(s)])
    for (const m of Object.values(MACHINES).flat()) {
      const text = page(m)
      const drawn = text.slice(text.indexOf('```mermaid'), text.lastIndexOf('```'))
      assert.match(drawn, /^```mermaid\nstateDiagram-v2\n {2}\[\*\] --> /)
      for (const { path, transitions } of below(m.root)) {
        assert.ok(drawn.includes(`state "${path.at(-1)}" as ${path.join('_')}\n`), `${m.id}: ${path}`)
        const [, part = ''] = text.split(new RegExp(`^### ${path.join('\\.')}(?: .*)?$`, 'm'))
        for (const [event] of transitions)
          assert.ok(
            part.includes(event === '*' ? '\n| any other |' : `| \`${event}\` |`),
            `${m.id}: ${path} on ${event}`
          )
      }
    }
  })
  test('composite states, arrows across them, guards, every state, the end', () => {
    const m = createMachine({
      id: 'toy',
      description: 'A toy.',
      initial: 'a',
      on: { STOP: '.z' },
      states: {
        a: {
          initial: 'b',
          states: {
            b: { on: { GO: { target: 'c', guard: not('no') }, OUT: '#toy.z' } },
            c: { entry: { type: 'Count', params: { what: 'x' } } }
          }
        },
        z: { type: 'final' }
      }
    })
    const text = page(m as AnyStateMachine, 'made-up.ts')
    const drawn = text.slice(text.indexOf('```mermaid'), text.lastIndexOf('```'))
    assert.equal(
      drawn,
      [
        '```mermaid',
        'stateDiagram-v2',
        '  [*] --> a',
        '  state "a" as a',
        '  state a {',
        '    [*] --> a_b',
        '    state "b" as a_b',
        '    state "c" as a_c',
        '    a_b --> a_c : GO [not(no)]',
        '  }',
        '  state "z" as z',
        '  a_b --> z : OUT',
        '  z --> [*]',
        '  state "any state" as anywhere',
        '  anywhere --> z : STOP',
        ''
      ].join('\n')
    )
    assert.match(text, /^A toy\.$/m)
    assert.match(text, /On entry: `Count\(x\)`/)
  })
})
