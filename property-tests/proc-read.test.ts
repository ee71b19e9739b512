// Reading /proc/net as the kernel gives it: whole lines, a page at a time.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { contents } from '../src/runtime/listeners.js'

const PAGE = 4096
/** A seq_file: a read gives whole lines, as many as fit a page, and begins at the position; the calls are counted. */
const seqFile = (lines: ReadonlyArray<string>) => {
  const text = new TextEncoder().encode(lines.join(''))
  const ends: number[] = []
  for (const l of lines) ends.push((ends.at(-1) ?? 0) + l.length)
  const file = { text, calls: 0 }
  const read = (_: number, into: Uint8Array, at: number, most: number, from: number): number => {
    file.calls++
    const page = ends.filter((e) => e > from && e <= from + PAGE).at(-1) ?? from
    const n = Math.min(most, page - from)
    into.set(text.subarray(from, from + n), at)
    return n
  }
  return { file, read }
}

test('everything is read, and the end is not looked for where it is known', () => {
  const line = fc.integer({ min: 128, max: 256 }).map((n) => `${'x'.repeat(n - 1)}\n`)
  fc.assert(
    fc.property(fc.array(line, { maxLength: 1000 }), (lines) => {
      const { file, read } = seqFile(lines)
      assert.deepEqual(contents(0, read), file.text)
      // at most one that brings nothing, behind a page that was more than half full
      assert.ok(file.calls <= Math.ceil(file.text.length / (PAGE - 256)) + 2)
    }),
    { numRuns: 200 }
  )
})
test('a short table takes one read', () => {
  for (const n of [0, 1, 10]) {
    const { file, read } = seqFile(Array(n).fill(`${'x'.repeat(149)}\n`))
    assert.equal(contents(0, read).length, 150 * n)
    assert.equal(file.calls, 1)
  }
})
