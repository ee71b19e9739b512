// The wall clock may jump: it is for what people and other programs read, never for how long something takes.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { ROOT } from '../scripts/generated.js'
import { createTimerWheel } from '../src/runtime/flow/timer-wheel.js'

/** What may look at it, and what for. */
const ALLOWED: Readonly<Record<string, string>> = {
  'src/runtime/engine/engine.ts': "the time in the DHCPv6 server's DUID",
  'src/runtime/engine/open-record.ts': 'when a record began',
  'src/runtime/log/log-file.ts': 'when the log was cut',
  'src/codecs/log/pcap.ts': 'a name in a comment',
  'native/addon/pcap.cc': 'time stamps of captured frames'
}
const WALL =
  /\bDate\.now\b|\bnew Date\(\)|CLOCK_REALTIME|gettimeofday|\btime\((NULL|nullptr|0)\)|system_clock/

const sources = (dir: string): string[] =>
  readdirSync(join(ROOT, dir), { recursive: true, encoding: 'utf8' })
    .map((f) => join(dir, f))
    .filter((f) => /\.(ts|cc|h)$/.test(f) && !f.startsWith('native/test/'))

test('nobody else looks at the wall clock', () => {
  const found = ['src', 'native']
    .flatMap(sources)
    .filter((f) => WALL.test(readFileSync(join(ROOT, f), 'utf8')))
  assert.ok(found.includes('src/runtime/engine/engine.ts'), 'the pattern finds what is there')
  assert.deepEqual(
    found.filter((f) => !(f in ALLOWED)),
    []
  )
})

test('after a suspend of any length every timer that came due fires once, and the others keep their time', () =>
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 10 * 86_400_000 }), { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 0, max: 10 * 86_400_000 }),
      (deadlines, slept) => {
        const wheel = createTimerWheel(deadlines.length)
        for (const [flow, at] of deadlines.entries()) wheel.arm(flow, 0, at)
        const fired = new Map<number, number>()
        const expire = (now: number) =>
          wheel.expire(now, (flow) => fired.set(flow, (fired.get(flow) ?? 0) + 1), Number.POSITIVE_INFINITY)
        expire(slept)
        for (const [flow, at] of deadlines.entries()) {
          if (at > slept) assert.equal(fired.has(flow), false, 'early')
          else if (at <= slept - 1) assert.equal(fired.get(flow), 1)
        }
        expire(20 * 86_400_000)
        assert.deepEqual(
          [...fired.values()],
          deadlines.map(() => 1)
        )
        assert.equal(wheel.size, 0)
      }
    )
  ))
