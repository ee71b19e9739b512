import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { isV4 } from '../src/codecs/inany.js'
import { type PortItem, type PortRange, PortSpec } from '../src/codecs/port-spec.js'
import { arbInAny, plain } from './arbitraries.js'

const show = (text: string): string =>
  E.fold<unknown, PortSpec, string>(() => 'error', PortSpec.encode)(PortSpec.decode(text))

describe('passt(1), -t', () => {
  const rows: ReadonlyArray<[string, string]> = [
    ['none', 'none'],
    ['auto', 'auto,all'],
    ['22', '22:22'],
    ['22:23', '22:23'],
    ['22,25', '22:22,25:25'],
    ['22-80:32-90', '22-80:32-90'],
    ['192.0.2.1/22', '[192.0.2.1]/22:22'],
    ['192.0.2.1%eth0/22', '[192.0.2.1]%eth0/22:22'],
    ['%eth0/22', '%eth0/22:22'],
    ['::1/22', '[::1]/22:22'],
    ['2000-5000,~3000-3010', '2000-5000:2000-5000,~3000-3010'],
    ['~20000-20010', 'all,~20000-20010'],
    ['8000:192.0.2.5/6000', '8000:[192.0.2.5]/6000'],
    ['0.0.0.0/8000:192.0.2.5', '[0.0.0.0]/8000:[192.0.2.5]/8000']
  ]
  for (const [text, canonical] of rows) test(text, () => assert.equal(show(text), canonical))
  for (const text of [
    '',
    '0',
    '65536',
    '8000:0',
    '22,',
    '22:23:24',
    '5-1',
    '1-3:7-8',
    '65535:65536',
    'bogus/22',
    '22/',
    '~22:5',
    '22x',
    '+22',
    '192.0.2.1/22:[::1]/22',
    'none,22',
    '%/22',
    '%0123456789abcdef/22'
  ])
    test(`refused: ${JSON.stringify(text)}`, () => assert.equal(show(text), 'error'))
})

const arbRange: fc.Arbitrary<PortRange> = fc
  .tuple(fc.integer({ min: 1, max: 65535 }), fc.integer({ min: 0, max: 200 }))
  .map(([first, n]) => ({ first, last: Math.min(65535, first + n) }))
const arbItem = (v4: boolean | null): fc.Arbitrary<PortItem> =>
  arbRange.chain((from) =>
    plain<PortItem>({
      from: fc.constant(from),
      to: fc.integer({ min: 1, max: 65535 - (from.last - from.first) }),
      address: fc.option(arbInAny.filter((a) => v4 === null || isV4(a) === v4))
    })
  )
const arbSpec: fc.Arbitrary<PortSpec> = fc.oneof(
  fc.constant<PortSpec>({ kind: 'none' }),
  fc.option(arbInAny).chain((bind) =>
    plain<Extract<PortSpec, { kind: 'ports' }>>({
      kind: fc.constant('ports'),
      bind: fc.constant(bind),
      ifname: fc.option(fc.stringMatching(/^[a-z0-9.]{1,15}$/)),
      auto: fc.boolean(),
      all: fc.boolean(),
      allAddress: fc.constant(null),
      items: fc.array(arbItem(bind === null ? null : isV4(bind)), { maxLength: 4 }),
      excluded: fc.array(arbRange, { maxLength: 3 })
    }).map((s) => (s.items.length === 0 ? { ...s, all: true } : s))
  )
)

test('decode(encode(s)) = s', () =>
  fc.assert(fc.property(arbSpec, (s) => assert.deepEqual(PortSpec.decode(PortSpec.encode(s)), E.right(s)))))

test('any text: a value or a reason, and what is understood prints to the same', () =>
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9~,:%/[\].-]{0,20}$/)), (text) => {
      const r = PortSpec.decode(text)
      if (E.isRight(r)) assert.deepEqual(PortSpec.decode(PortSpec.encode(r.right)), r)
    })
  ))
