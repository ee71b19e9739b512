// Man pages and shell completions: fresh, and with every option of their mode and no other.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { bash, files, fish, zsh } from '../scripts/completions.js'
import { ROOT, staleOf } from '../scripts/generated.js'
import { files as launcherOptions } from '../scripts/launcher-options.js'
import { page, pages, readTexts } from '../scripts/manual.js'
import { shownIn } from '../src/runtime/cli/help.js'
import { OPTION_TABLE, type OptionEntry } from '../src/runtime/cli/option-table.js'

const MODES = ['passt', 'pasta'] as const

describe('man', () => {
  test("is what its sources say (else: 'npx tsx scripts/manual.ts')", () =>
    assert.deepEqual(staleOf(pages()), []))
  for (const mode of MODES)
    test(`${mode}(1) has every option of the mode, and no other`, () => {
      const described = [...page(mode).matchAll(/^\.It (Fl .*)$/gm)].map(([, l]) => l!)
      const names = (line: string) => [...line.matchAll(/Fl (\S+)/g)].map(([, n]) => `-${n}`)
      const expected = OPTION_TABLE.filter((e) => shownIn(e, mode))
      assert.deepEqual(
        described.map(names),
        expected.map((e) => [...(e.short === null ? [] : [`-${e.short}`]), ...e.long.map((l) => `--${l}`)])
      )
      for (const [i, e] of expected.entries())
        assert.equal(/ Ar (\S+)$/.exec(described[i]!)?.[1] ?? null, e.argument, e.id)
    })
  test('options that are named in a text exist', () => {
    for (const mode of MODES)
      for (const [, name] of page(mode).matchAll(/\bFl (-?[\w-]+)/g)) {
        const known = OPTION_TABLE.some((e) => e.short === name || e.long.some((l) => `-${l}` === name))
        assert.ok(known || name === 'Ns', name)
      }
  })
  test('no text without an option', () => {
    const ids = new Set<string>(OPTION_TABLE.map((e: OptionEntry) => e.id))
    const text = readFileSync(join(ROOT, 'man/src/options.mdoc'), 'utf8')
    for (const key of readTexts(text).keys()) {
      const [id = '', mode = 'passt', ...more] = key.split(' ')
      assert.ok(ids.has(id) && (mode === 'passt' || mode === 'pasta') && more.length === 0, key)
    }
  })
  test('a text that stands twice is an error', () => {
    assert.throws(() => readTexts('@ a\nx\n@ a\ny\n'), /twice/)
    assert.deepEqual(
      [...readTexts('.\\" x\n@ a\nx\ny\n@ a pasta\nz\n')],
      [
        ['a', 'x\ny'],
        ['a pasta', 'z']
      ]
    )
  })
})

test("the launcher's table of options is fresh (else: 'npx tsx scripts/launcher-options.ts')", () =>
  assert.deepEqual(staleOf(launcherOptions()), []))

describe('completions', () => {
  test("are what the option table says (else: 'npx tsx scripts/completions.ts')", () =>
    assert.deepEqual(staleOf(files()), []))
  for (const mode of MODES)
    for (const [shell, text] of [
      ['bash', bash(mode)],
      ['zsh', zsh(mode)],
      ['fish', fish(mode)]
    ] as const)
      test(`${shell}, ${mode}: every option of the mode, and no other`, () => {
        for (const e of OPTION_TABLE)
          for (const l of e.long) {
            const name = shell === 'fish' ? `-l ${l}` : `--${l}`
            assert.equal(
              new RegExp(`${name}(?![\\w-])`).test(
                // zsh and fish show help, which may name other options
                shell === 'zsh' ? text.replace(/\[.*?(?<!\\)\]/g, '') : text.replace(/ -d '.*$/gm, '')
              ),
              shownIn(e, mode),
              name
            )
          }
      })
})
