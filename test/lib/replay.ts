import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { repo } from './cache.js'

/** What passt-replay says, and its status; null: it took too long. */
export const replay = (
  ...argv: string[]
): { readonly status: number | null; readonly out: string; readonly err: string } => {
  const r = spawnSync(join(repo, 'bin/passt-replay'), argv, { encoding: 'utf8' })
  return { status: r.status, out: r.stdout, err: r.stderr }
}

/** On the programs of this tree: every effect is as recorded. */
export const assertReplays = (file: string): void => {
  const r = replay(file)
  assert.equal(r.status, 0, r.out + r.err)
  assert.match(r.out, /^replays exactly/m)
}
