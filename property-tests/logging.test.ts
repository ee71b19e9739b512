// Log lines, the rotation of a file of them, and how often a message may be said.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { fileLine, type Level, LINE_MAX, logHeader, oneLine, stderrLine } from '../src/codecs/log/log-line.js'
import { SYSLOG_MAX, SyslogMessage, severityOf } from '../src/codecs/log/syslog.js'
import { joined, octets } from '../src/codecs/value/octets.js'
import { admit, BURST, type Bucket, EVERY } from '../src/machines/log/log-limiter.js'
import { BLOCK, cutFor, headerOver, LIMIT_MIN } from '../src/machines/log/log-rotation.js'
import { logTo, type Sink } from '../src/runtime/log/log.js'
import { real } from './arbitraries.js'

const utf8 = new TextEncoder()
const text = (b: Uint8Array): string => new TextDecoder().decode(b)
const levels: ReadonlyArray<Level> = ['error', 'warning', 'info', 'debug', 'trace']
const level = fc.constantFrom(...levels)
const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 3000 }),
  fc.string({ unit: 'grapheme', maxLength: 60 })
)
const ms = real(0, 1e12)

describe('a line', () => {
  test('is one, of bounded length, whatever the text holds', () => {
    fc.assert(
      fc.property(ms, level, anyText, (at, l, s) => {
        for (const line of [fileLine(at, l, s), stderrLine(at, l, s), stderrLine(null, l, s), oneLine(s)]) {
          assert.doesNotMatch(line, /[\p{Cc}\u2028\u2029\u202e]/u)
          assert.ok(utf8.encode(`${line}\n`).length <= LINE_MAX)
        }
      })
    )
  })
  test('is as docs/behaviour.md#log-lines has it', () => {
    assert.equal(fileLine(48.9, 'info', 'DHCP: ack'), '0.0489: info:    DHCP: ack')
    assert.equal(fileLine(1000, 'error', 'x'), '1.0000: ERROR:   x')
    assert.equal(fileLine(1000, 'warning', 'x'), '1.0000: WARNING: x')
    assert.equal(fileLine(1000, 'debug', 'x'), '1.0000:          x')
    assert.equal(logHeader('pasta', '1', '/bin/pasta', 7), 'pasta 1: /bin/pasta (7)')
    assert.equal(oneLine('a\n    at b\r\n'), 'a | at b')
  })
})

describe('the system logger', () => {
  test('decode(encode(m)) = m where it fits', () => {
    const message = fc.record(
      {
        severity: level.map(severityOf),
        ident: fc.constantFrom('pasta', 'passt'),
        text: fc.string({ unit: 'grapheme-ascii', maxLength: 500 }).map((s) => oneLine(s))
      },
      { noNullPrototype: true }
    )
    fc.assert(
      fc.property(message, (m) => {
        assert.deepEqual(SyslogMessage.decode(octets(SyslogMessage.encode(m))), E.right(m))
      })
    )
  })
  test('no message is longer than it takes, none ends within a character', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 300, maxLength: 2000 }), (s) => {
        const b = SyslogMessage.encode({ severity: 6, ident: 'pasta', text: s })
        assert.ok(b.length <= SYSLOG_MAX)
        new TextDecoder('utf-8', { fatal: true }).decode(b)
      })
    )
  })
  test('decode is total', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (b) => void SyslogMessage.decode(octets(b))))
    const bad = (s: string): boolean => E.isLeft(SyslogMessage.decode(octets(utf8.encode(s))))
    assert.ok(['', '<30>', '<30>pasta', '<6>pasta: kernel', '<999>pasta: x'].every(bad))
  })
})

describe('a log file', () => {
  const HEADER = 'pasta 0.1.0: /usr/bin/pasta (4711)'
  /** The file as octets: what runtime/log/log-file.ts does with the same decisions. */
  const append = (file: Uint8Array, line: string, limit: number): Uint8Array => {
    const b = utf8.encode(`${line}\n`)
    const cut = cutFor(file.length, b.length, limit)
    const rest = file.slice(cut)
    if (cut > 0) rest.set(headerOver(rest.subarray(0, 2 * BLOCK), utf8.encode(`${HEADER} - log truncated`)))
    return joined([rest, b])
  }
  test('stays below its limit, starts with the header, and holds the latest lines whole and in order', () => {
    const word = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 12 })
    const line = fc
      .tuple(word, fc.integer({ min: 200, max: 1500 }))
      .map(([w, length]) => w.repeat(length).slice(0, length))
    const lines = fc.array(line, { minLength: 60, maxLength: 200 })
    fc.assert(
      fc.property(lines, fc.integer({ min: LIMIT_MIN, max: 2 * LIMIT_MIN }), (all, limit) => {
        const said = all.map((s, i) => fileLine(i, 'info', `${i} ${s}`))
        let file = utf8.encode(`${HEADER}\n`)
        let cuts = 0
        for (const line of said) {
          const before = file.length
          file = append(file, line, limit) as typeof file
          if (file.length < before) cuts++
          assert.ok(file.length <= limit)
        }
        const [first, ...rest] = text(file).replace(/\n$/, '').split('\n')
        assert.ok(first!.startsWith(HEADER))
        assert.deepEqual(rest, said.slice(said.length - rest.length))
        assert.ok(rest.length > 0 && (cuts > 0 || rest.length === said.length))
      }),
      { numRuns: 30 }
    )
  })
  test('a cut leaves room, takes less than all, and is what filesystems can cut', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: LIMIT_MIN, max: 1 << 24 }),
        fc.integer({ min: 1, max: BLOCK }),
        real(0, 1),
        (limit, line, share) => {
          const size = Math.floor(limit * share)
          const cut = cutFor(size, line, limit)
          assert.ok(cut >= 0 && (cut < size || cut === 0) && cut % BLOCK === 0)
          assert.ok(size - cut + line <= limit)
          assert.equal(cut === 0, size + line <= limit)
        }
      )
    )
  })
  test('the header never runs past what it replaces', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 100 }), (start, header) => {
        const out = headerOver(start, header)
        assert.ok(out.length <= start.length)
        if (start.length > 0) assert.equal(out.at(-1), 0x0a)
      })
    )
  })
})

describe('how often', () => {
  const steps = fc.array(fc.integer({ min: -100, max: 20_000 }), { maxLength: 300 })
  test('BURST in a row, then one each EVERY ms; nothing is left out uncounted', () => {
    fc.assert(
      fc.property(steps, (gaps) => {
        let b: Bucket | undefined
        let now = 0
        let said = 0
        let told = 0
        const times: number[] = []
        for (const gap of gaps) {
          now += gap
          const r = admit(b, now)
          b = r.bucket
          if (r.said === null) continue
          said++
          told += r.said.suppressed
          times.push(now)
        }
        assert.equal(said + told + (b?.suppressed ?? 0), gaps.length)
        // as far as the clock went forward
        const forward = gaps.reduce((sum, g) => sum + Math.max(0, g), 0)
        assert.ok(said <= BURST + forward / EVERY)
      })
    )
  })
  test('after a pause it speaks again, and says how many it left out', () => {
    let b: Bucket | undefined
    for (let i = 0; i < BURST + 7; i++) b = admit(b, 0).bucket
    assert.deepEqual(admit(b, EVERY).said, { suppressed: 7 })
  })
  test('each kind on its own; what debugging asks for is not limited', () => {
    const lines: string[] = []
    const sink: Sink = { level: 'debug', write: (_, l, s) => void lines.push(`${l} ${s}`) }
    let now = 0
    const log = logTo([sink], 0, () => now)
    for (let i = 0; i < 100; i++) {
      log.event('DHCP', 'info', 'A')
      log.event('flow', 'warning', 'B')
      log.event('NDP', 'debug', 'C')
    }
    const n = (of: string): number => lines.filter((l) => l === of).length
    assert.deepEqual([n('info A'), n('warning B'), n('debug C')], [BURST, BURST, 100])
    now = EVERY
    log.event('DHCP', 'info', 'A')
    assert.equal(lines.at(-1), 'info A (80 more like this suppressed)')
  })
  test('other lines of a message are said if it is', () => {
    const lines: string[] = []
    const log = logTo([{ level: 'info', write: (_, __, text) => void lines.push(text) }], 0, () => 0)
    const rest = Array.from({ length: 2 * BURST }, (_, i) => `${i}`)
    for (let i = 0; i <= BURST; i++) log.event('rules', 'info', 'list', rest)
    assert.equal(lines.length, BURST * (1 + rest.length))
    assert.deepEqual(lines.slice(0, 1 + rest.length), ['list', ...rest])
    log.event('rules', 'debug', 'list', rest)
    assert.equal(lines.length, BURST * (1 + rest.length), 'a level that nobody wants')
  })
  test('a sink sees its level and what is more important', () => {
    const seen: Level[] = []
    const log = logTo([{ level: 'warning', write: (_, l) => void seen.push(l) }], 0, () => 0)
    for (const l of levels) log.at(l, 'x')
    assert.deepEqual(seen, ['error', 'warning'])
    assert.deepEqual(levels.map(log.enabled), [true, true, false, false, false])
  })
})
