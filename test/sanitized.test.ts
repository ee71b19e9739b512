// The native part's own tests (native/test), built with AddressSanitizer and UBSan.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { repo } from './lib/cache.js'

test('the native tests, under sanitizers', () => {
  const options = { cwd: repo, encoding: 'utf8', maxBuffer: 1 << 26, timeout: 800_000 } as const
  const r = spawnSync('bash', ['native/test/run'], options)
  assert.equal(r.status, 0, `${r.error ?? r.signal ?? ''}${r.stdout.slice(-2000)}${r.stderr.slice(-8000)}`)
  assert.match(r.stdout, /^\d{3,} tests$/m)
})
