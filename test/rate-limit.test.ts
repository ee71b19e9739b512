// --limit with the real kernel on both sides: no more than the rate, as receivers see it, and whole (behaviour.md#rate-limits).
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { Guest } from './lib/guest.js'
import { helper, isPeer, net, ok } from './lib/world.js'

const SIZE = 1_500_000
const RATE = 2_000_000
const BURST = 200_000
/** Octets. Windows that were open before, and what a busy machine does to the beginning of a measurement. */
const SLACK = 300_000

const bed = useBed()
let sha = ''

/** curl's words of a transfer: octets, seconds. GETs are summed up by us, PUTs by the server. */
interface Moved {
  readonly octets: number
  readonly seconds: number
  readonly sha: string
}
const curl = (how: 'get' | 'put', url: string): string[] => [
  'sh',
  '-c',
  how === 'get'
    ? `curl -sS --max-time 50 -o - -w '%{stderr}%{time_total}' ${url}/blob | sha256sum`
    : `curl -sS --max-time 50 -T /mnt/w/blob -w '%{stderr}%{time_total}' ${url}/x`
]
const moved = (how: 'get' | 'put', r: { readonly stdout: string; readonly stderr: string }): Moved => {
  const words = r.stdout.trim().split(/\s+/)
  return { octets: SIZE, seconds: Number(r.stderr), sha: words[how === 'get' ? 0 : 1] ?? '' }
}

describe('--limit', { skip: isPeer && 'an option of ours' }, () => {
  test('all flows of a way share it, through the tap and past it, and all that was sent arrives', async () => {
    const block = randomBytes(100_003)
    const blob = Buffer.alloc(SIZE)
    for (let at = 0; at < SIZE; at += block.length) block.copy(blob, at)
    writeFileSync(join(bed.w.dir, 'blob'), blob)
    sha = createHash('sha256').update(blob).digest('hex')
    const server = ['python3', helper('httpd.py'), '/mnt/w']
    await bed.w.start([...server, net.world4, '8085'], { in: 'world', timeout: 100_000 }).sees(/ready/)
    const g = await Guest.open(bed.w, ['-t', '8086:8087', '-T', 'none', '--limit', '2MB'], {
      command: [...server, net.host4, '8087']
    })
    try {
      const outside = `http://${net.world4}:8085`
      const inside = 'http://127.0.0.1:8086'
      const hows = ['get', 'put'] as const
      const all = await Promise.all([
        ...hows.map(async (how) => moved(how, ok(await g.start(curl(how, outside)).wait()))),
        ...hows.map(async (how) =>
          moved(how, ok(await bed.w.start(curl(how, inside), { in: 'host' }).wait()))
        )
      ])
      const [get, put, getPast, putPast] = all as [Moved, Moved, Moved, Moved]
      for (const m of all) assert.equal(m.sha, sha)
      for (const way of [
        [get, putPast],
        [put, getPast]
      ]) {
        const octets = way.reduce((sum, m) => sum + m.octets, 0)
        const seconds = Math.max(...way.map((m) => m.seconds))
        assert.ok(octets <= BURST + RATE * seconds + SLACK, `${octets} octets in ${seconds} s`)
      }
    } finally {
      await g.stop()
    }
  })
})
