// What an errno means, and what to do: the same words from the launcher and from the engine.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { errorText, failureText } from '../src/runtime/log/error-text.js'
import { repo } from '../test/lib/cache.js'

const numbers: Readonly<Record<string, number>> = constants.errno
const FAULT = readFileSync(join(repo, 'native/common/fault.h'), 'utf8')
/** errno -> advice of fault.h. */
const native = new Map(
  [...FAULT.matchAll(/case (E\w+): return "( \(.*\))";/g)].map(([, name, advice]) => [
    numbers[name!]!,
    advice!
  ])
)

test('advice is the same in native/common/fault.h, but for what a filter of system calls refuses', () => {
  assert.ok(native.size >= 5)
  for (const errno of Object.values(numbers)) {
    const advice = failureText(errno).slice(errorText(errno).length)
    if (/^ \(a filter of system calls/.test(advice)) assert.equal(native.get(errno), undefined)
    else assert.equal(advice, native.get(errno) ?? '', errorText(errno))
  }
})
