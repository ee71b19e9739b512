// docs/security.md: each claim names a test that is there, and its lists are those of the filters.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { ROOT, staleOf } from '../scripts/generated.js'
import { groupsOf, securityFiles } from '../scripts/security.js'

const page = readFileSync(join(ROOT, 'docs/security.md'), 'utf8')

describe('docs/security.md', () => {
  test('the lists are fresh (npx tsx scripts/security.ts)', () =>
    assert.deepEqual(staleOf(securityFiles()), []))
  test('each line of what somebody cannot do names a test', () => {
    const tables = page.split(/^\| cannot \| shown by \|\n\|---\|---\|\n/m).slice(1)
    const rows = tables.flatMap((t) => (t.split('\n\n')[0] ?? '').split('\n').filter((l) => l !== ''))
    assert.ok(rows.length > 20, `${rows.length}`)
    for (const row of rows) assert.match(row, /\| `[^`]+` "[^"]+"/)
  })
  for (const [, file, title] of page.matchAll(/`((?:test|property-tests|native|fuzz)\/[\w./-]+)` "([^"]+)"/g))
    test(`${file}: ${title}`, () => {
      const text = readFileSync(join(ROOT, file!), 'utf8')
      assert.ok(text.includes(title!), `${file} does not have '${title}'`)
    })
  test("the engine gets of the caller's environment what the page names", () => {
    const source = (file: string): string => readFileSync(join(ROOT, 'native/launcher', file), 'utf8')
    const allowed = /^#define ENGINE_ALLOWED (.*)$/m.exec(source('engine-options.h'))![1]!
    const collected = [...source('node.cc').matchAll(/collect\(\{ (.*?) \}/g)].map(([, names]) => names!)
    const given = collected
      .join()
      .replace('ENGINE_ALLOWED', allowed)
      .match(/[A-Z_]+/g)!
    const row = page.split('\n').find((l) => l.startsWith("| the caller's environment |"))!
    assert.deepEqual([...row.matchAll(/`(\w+)`/g)].map(([, name]) => name).sort(), given.sort())
  })
  test('a list is read whole: as many calls as it has lines that begin with a macro', () => {
    const list = readFileSync(join(ROOT, 'native/addon/seccomp-calls.def'), 'utf8')
    const lines = new Set(
      [...list.matchAll(/^\s*(?:ALLOW|ALLOW_IF|REFUSE|KILL)\((\w+)/gm)].map(([, call]) => call)
    )
    const read = groupsOf(list).flatMap((g) => g.calls.map((c) => c.replace(/[* ].*/, '')))
    assert.deepEqual(new Set(read), lines)
  })
})
