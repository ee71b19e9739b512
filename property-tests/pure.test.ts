import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { repo } from '../test/lib/cache.js'

// Machines, codecs and what is between them and the ring ask nobody but their arguments: so a record of those replays (docs/replay.md).

test('nothing that is no function of what came, but by the door', () => {
  const sources = (dir: string): ReadonlyArray<string> =>
    readdirSync(join(repo, dir), { withFileTypes: true }).flatMap((e) =>
      e.isDirectory() ? sources(join(dir, e.name)) : [join(dir, e.name)]
    )
  const rooms = [
    'machines',
    'codecs',
    'effects',
    'runtime/data',
    'runtime/flow',
    'runtime/services',
    'runtime/machine'
  ]
  const files = [
    ...rooms.flatMap((room) => sources(`src/${room}`)),
    ...['guest-link', 'vhost', 'migrate', 'migrate-in', 'migrate-out', 'loop', 'features'].map(
      (f) => `src/runtime/engine/${f}.ts`
    )
  ]
  const chance = /Math\.random|new Date|Date\.now|performance\.now|\bprocess\.[a-z]|hrtime|'node:(?!util')/
  const found = files.filter((f) =>
    chance.test(readFileSync(join(repo, f), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, ''))
  )
  // World.outside, which a record has
  assert.deepEqual(found, ['src/runtime/data/world.ts'])
})
