// A member of a native structure that nothing sets holds what the stack held: no test sees it before the compiler moves something.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { repo } from '../test/lib/cache.js'

const BODY = /\b(?:struct|class)(?: alignas\(\w+\))? ?(\w*) (?:final )?\{\n([\s\S]*?)\n\t*\}/g
/** A member that is not of a class, without a value. */
const UNSET =
  /^\t+(?:const )?(?:bool|char|int|long|short|size_t|unsigned(?: char)?|u?int\d+_t|(?:pid|uid|gid|time)_t|[\w:<> ]+ ?\*)( ?\w+(?:\[\w+\])?[^=;()]*);/gm

const unset = (text: string): string[] =>
  [...text.replace(/\/\*[\s\S]*?\*\//g, '').matchAll(BODY)]
    .filter(([, name, body]) => name === '' || !new RegExp(`\\b${name}\\(`).test(body!))
    .flatMap(([, name, body]) => [...body!.matchAll(UNSET)].map(([line]) => `${name}: ${line.trim()}`))

test('what the look finds', () => {
  assert.deepEqual(unset('struct A {\n\tint a;\n\tbool b = false;\n\tstd::string s;\n\tint f();\n};'), [
    'A: int a;'
  ])
  assert.deepEqual(unset('struct A {\n\tA(int a) : a_(a) {}\n\tint a_;\n};'), [])
  assert.deepEqual(
    unset('struct A {\n\tuint32_t a, b;\n\tconst char *t;\n\tunsigned char m[6];\n};').length,
    3
  )
})
for (const room of ['common', 'launcher', 'qrap', 'repair'])
  test(`native/${room}: every member has a value from the start on`, () => {
    const dir = join(repo, 'native', room)
    const files = readdirSync(dir).filter((file) => /\.(h|cc)$/.test(file))
    const found = files.flatMap((file) =>
      unset(readFileSync(join(dir, file), 'utf8')).map((member) => `${file}: ${member}`)
    )
    assert.deepEqual(found, [])
  })
