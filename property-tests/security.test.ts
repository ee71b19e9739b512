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
  test('a list is read whole: as many calls as it has lines that begin with a macro', () => {
    const list = readFileSync(join(ROOT, 'native/addon/seccomp-calls.def'), 'utf8')
    const lines = new Set(
      [...list.matchAll(/^\s*(?:ALLOW|ALLOW_IF|REFUSE|KILL)\((\w+)/gm)].map(([, call]) => call)
    )
    const read = groupsOf(list).flatMap((g) => g.calls.map((c) => c.replace(/[* ].*/, '')))
    assert.deepEqual(new Set(read), lines)
  })
})
