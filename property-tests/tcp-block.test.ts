import { strict as assert } from 'node:assert'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { seq } from '../src/codecs/value/seq.js'
import { instant } from '../src/effects/effect.js'
import { GROUPS, initialTcb, PATTERN } from '../src/machines/tcp/tcp-tcb.js'

// The groups of the block: who may change what, and how V8 sees it.

const DIR = dirname(fileURLToPath(new URL('../src/machines/tcp/tcp-tcb.ts', import.meta.url)))
const files = readdirSync(DIR).filter((f) => /^(tcb|tcp)(-\w+)?\.ts$/.test(f))
const fieldsOf = Object.entries(GROUPS).map(([group, fields]) => [group, Object.keys(fields)] as const)
const ownerOf = new Map(fieldsOf.flatMap(([group, fields]) => fields.map((f) => [f, `tcb-${group}.ts`])))

/** Fields assigned to, counted up or merged in this text, behind whatever name. */
const written = (text: string): readonly string[] =>
  [
    ...text.matchAll(
      /(?:\.(\w+)\s*(?:[-+*/|&]|\*\*|<<|>>|\?\?)?=(?![=>])|\.(\w+)(?:\+\+|--)|(?:\+\+|--)\w+\.(\w+))/g
    )
  ].map((m) => m[1] ?? m[2] ?? m[3])

describe('the TCP block', () => {
  test("a group's fields are changed in its own file, and nowhere else", () => {
    assert.deepEqual(written('d.a = 1; d.b += 2; d.c++; --d.e; if (d.f === 1 || d.g >= 2) x = (y) => y.h'), [
      'a',
      'b',
      'c',
      'e'
    ])
    const seen = new Set<string>()
    for (const file of files) {
      const text = readFileSync(join(DIR, file), 'utf8')
      assert.doesNotMatch(text, /Object\.assign\(d\b/, file)
      if (!file.startsWith('tcb-')) assert.doesNotMatch(text, /\bOwn\b/, file)
      for (const field of written(text)) {
        const owner = ownerOf.get(field)
        assert(owner === undefined || owner === file, `${file} changes ${field}, which is ${owner}'s`)
        seen.add(field)
      }
    }
    assert.deepEqual(
      [...ownerOf.keys()].filter((f) => !seen.has(f)),
      [],
      'nobody changes these'
    )
  })
  test('no field is in two groups, and the block has no others', () => {
    const fields = fieldsOf.flatMap(([, list]) => list)
    assert.equal(new Set(fields).size, fields.length)
    assert.deepEqual(Object.keys(PATTERN).sort(), fields.sort())
  })
  test('all blocks have their fields in one order: one shape', () => {
    const base = { iss: seq(1), mss: 1460, now: instant(1) }
    const t = initialTcb({ from: 'host', ...base })
    assert.deepEqual(Object.keys(t), Object.keys(PATTERN))
  })
})
