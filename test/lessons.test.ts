// docs/lessons: what its commands say is what stands there, and its records are those that the simulator makes.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { records } from '../scripts/lesson-records.js'
import { blocksOf, lessons, lessonText, said } from '../scripts/lessons.js'

const AGAIN = "'npx tsx scripts/lessons.ts' makes records and pages again; then read what is said about them"

describe('lessons', () => {
  test('records are as they are made now', () => {
    for (const [path, octets] of records())
      assert.ok(existsSync(path) && readFileSync(path).equals(octets), `${path} is old: ${AGAIN}`)
  })
  for (const name of lessons())
    test(`${name}: its commands say what it shows`, () => {
      const blocks = blocksOf(lessonText(name))
      assert.ok(blocks.length >= 4, `${blocks.length} commands`)
      for (const b of blocks) assert.equal(said(b), b.shown, `${b.command}: ${AGAIN}`)
    })
})
