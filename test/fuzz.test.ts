// Every fuzz target for a bounded number of inputs, its seeds and all that was ever found first (fuzz/README.md).
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { repo } from './lib/cache.js'

/** Inputs, by how long one takes. */
const RUNS: Readonly<Record<string, number>> = {
  frames: 2000,
  options: 10_000,
  files: 10_000,
  frame: 100_000,
  link: 3000,
  launcher: 20_000,
  vhost: 5000
}
const node = (args: ReadonlyArray<string>) =>
  spawnSync(process.execPath, args, { cwd: repo, encoding: 'utf8', timeout: 800_000 })

describe('fuzz targets', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'fuzz-'))
  after(() => rmSync(scratch, { recursive: true }))

  test('each one is run here', () => {
    const names = ['targets', 'native'].flatMap((dir) =>
      readdirSync(join(repo, 'fuzz', dir)).flatMap((f) => /^(.+)\.fuzz\.(?:ts|cc)$/.exec(f)?.[1] ?? [])
    )
    assert.deepEqual(names.sort(), Object.keys(RUNS).sort())
  })
  for (const [name, runs] of Object.entries(RUNS))
    test(`${name}: ${runs} inputs`, () => {
      const r = node(['fuzz/run.mjs', '--runs', `${runs}`, '--fresh', name])
      assert.equal(r.status, 0, r.stderr.slice(-4000))
      assert.match(r.stderr, new RegExp(`Done ${runs} runs`))
    })

  test('what throws ends the run, and its input is kept: the driver finds four octets by coverage', () => {
    const bundle = join(scratch, 'planted.cjs')
    writeFileSync(
      bundle,
      `const s = { 0: 0, 1: 0, 2: 0, 3: 0, 4: 0 }
      globalThis.COVERAGE = { planted: { s, f: {}, b: {} } }
      exports.fuzz = (data) => {
        s[0]++
        let i = 0
        for (const octet of Buffer.from('pas\\n')) {
          if (data[i] !== octet) return
          s[++i]++
        }
        throw new Error('the planted fault')
      }`
    )
    const r = node(['fuzz/drive.cjs', bundle, '-runs=2000000', '-seed=1', `-artifact_prefix=${scratch}/`])
    assert.notEqual(r.status, 0)
    assert.match(r.stderr, /the planted fault/)
    const kept = readdirSync(scratch).filter((f) => f.startsWith('crash-'))
    assert.equal(kept.length, 1)
    assert.equal(readFileSync(join(scratch, kept[0]), 'latin1').slice(0, 4), 'pas\n')
  })
})
