import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { PortSpec, parsePortSpec } from '../src/codecs/text/port-spec.js'
import { arbSpec } from './port-arbitraries.js'

const reason = (text: string): string =>
  E.fold(
    (errors: ReadonlyArray<{ readonly message?: string | undefined }>) => errors[0]?.message ?? '',
    () => 'accepted'
  )(PortSpec.decode(text))
const show = (text: string): string =>
  E.fold<unknown, PortSpec, string>(() => 'error', PortSpec.encode)(PortSpec.decode(text))

describe('passt(1), -t, and what newer releases add: text and canonical text', () => {
  const rows: ReadonlyArray<readonly [string, string]> = [
    ['none', 'none'],
    ['auto', 'auto'],
    ['all', 'all'],
    ['22', '22'],
    ['22:23', '22:23'],
    ['22:22', '22'],
    ['22,25', '22,25'],
    ['22-22', '22'],
    ['22-80:32-90', '22-80:32-90'],
    ['192.0.2.1/22', '[192.0.2.1]/22'],
    ['[192.0.2.1]/22', '[192.0.2.1]/22'],
    ['192.0.2.1%eth0/22', '[192.0.2.1]%eth0/22'],
    ['[192.0.2.1]%eth0/22', '[192.0.2.1]%eth0/22'],
    ['%eth0/22', '%eth0/22'],
    ['%a,b~%/22', '%a,b~%/22'],
    ['::1/22', '[::1]/22'],
    ['fe80::1%eth0/22', '[fe80::1]%eth0/22'],
    ['::ffff:192.0.2.1/22', '[192.0.2.1]/22'],
    ['2000-5000,~3000-3010', '2000-5000,~3000-3010'],
    ['~3000-3010,2000-5000', '2000-5000,~3000-3010'],
    ['192.0.2.1/20-30,~25', '[192.0.2.1]/20-30,~25'],
    ['~20000-20010', '~20000-20010'],
    ['all,~20000-20010', '~20000-20010'],
    ['~1-5,~3-9', '~1-5,~3-9'],
    ['20-30,25:99,~25', '20-30,25:99,~25'],
    ['8000,auto,9000-9010:9100-9110', 'auto,8000,9000-9010:9100-9110'],
    ['127.0.0.1/auto,~22', '[127.0.0.1]/auto,~22'],
    ['all,auto', 'auto'],
    ['auto,all,22', 'auto,all,22'],
    ['8000:192.0.2.5/6000', '8000:[192.0.2.5]/6000'],
    ['22,8000:192.0.2.5/6000', '22,8000:[192.0.2.5]/6000'],
    ['~22,8000:192.0.2.5/6000', '8000:[192.0.2.5]/6000,~22'],
    ['0.0.0.0/8000:192.0.2.5', '[0.0.0.0]/8000:[192.0.2.5]'],
    ['8000:[2001:db8::5]/8000', '8000:[2001:db8::5]'],
    ['8000:2001:db8::5', '8000:[2001:db8::5]'],
    ['[::]/8000-8001:2001:db8::5/80-81', '[::]/8000-8001:[2001:db8::5]/80-81'],
    ['8000:1::2/80', '[8000:1::2]/80'],
    ['8000:[1::2]/80', '8000:[1::2]/80'],
    ['all:192.0.2.5', 'all:[192.0.2.5]'],
    ['all:192.0.2.5,~22,8000:192.0.2.6/80', 'all:[192.0.2.5],8000:[192.0.2.6]/80,~22'],
    ['/22', '22'],
    ['*/22', '22'],
    ['[*]/22', '22'],
    ['*%eth0/22', '%eth0/22'],
    ['::/8080:80', '[::]/8080:80'],
    ['8000:0.0.0.0', '8000'],
    ['0.0.0.0/5:0.0.0.0/6', '[0.0.0.0]/5:6'],
    [' 22, +25', '22,25'],
    ['0022-00000080', '22-80'],
    ['fd:3:8080', 'fd:3:8080'],
    ['fd:04:53', 'fd:4:53'],
    ['fd:web.socket:80', 'fd:web.socket:80'],
    ['fd:a,b/c d:80', 'fd:a,b/c d:80'],
    ['fd:3:192.0.2.5/80', 'fd:3:[192.0.2.5]/80'],
    ['fd:web:[2001:db8::5]/80', 'fd:web:[2001:db8::5]/80'],
    ['fd:3:0.0.0.0/80', 'fd:3:80'],
    ['unix:/run/x.sock:80', 'unix:/run/x.sock:80'],
    ['unix:/a:b/c d,e:0080', 'unix:/a:b/c d,e:80'],
    ['unix:/x:192.0.2.5/80', 'unix:/x:[192.0.2.5]/80'],
    ['unix:/x:[2001:db8::5]/80', 'unix:/x:[2001:db8::5]/80'],
    ['unix:/:[:[::1]/1', 'unix:/:[:[::1]/1'],
    ['5432:unix:/run/postgresql/.s.PGSQL.5432', '5432:unix:/run/postgresql/.s.PGSQL.5432'],
    ['80:unix:/a:b:80', '80:unix:/a:b:80']
  ]
  for (const [text, canonical] of rows) test(text, () => assert.equal(show(text), canonical))
})

describe('refused, and where: the character behind the mark', () => {
  const rows: ReadonlyArray<readonly [string, RegExp]> = [
    ['^', /^invalid port '' at the end of ''/],
    ['^0', /^invalid port '0' at character 1 of '0'/],
    ['^65536', /invalid port/],
    ['22,^70000', /^invalid port '70000' at character 4 of '22,70000'/],
    ['8000:^0', /invalid port '0'/],
    [
      '127.0.0.1^:8080:80',
      /^write '127.0.0.1\/8080:80', TCP with -t and UDP with -u; it differs at character 10 of '127/
    ],
    ['0.0.0.0^:53/udp', /^write '0.0.0.0\/53'/],
    ['[::1]^:8080:80', /^write '\[::1\]\/8080:80'/],
    ['8080:80^/tcp', /^write '8080:80'/],
    ['127^.0.0.1:x:80', /invalid port '127.0.0.1'/],
    ['22,^', /^invalid port '' at the end of '22,'/],
    ['22,^,23', /invalid port ''/],
    ['^,22', /invalid port ''/],
    ['22:23^:24', /invalid port '23:24'/],
    ['22:^', /invalid port ''/],
    ['5-^1', /port range '5-1' runs backwards/],
    ['5-^', /invalid port ''/],
    ['^-5', /invalid port ''/],
    ['1-2^-3', /invalid port '2-3'/],
    ['1-3:^7-8', /target range '7-8' is not as long as 1-3/],
    ['20-30:^40', /not as long/],
    ['65535:^65536', /invalid port '65536'/],
    ['65534-65535:65535-^65536', /invalid port '65536'/],
    ['b^ogus/22', /invalid address 'bogus'/],
    ['^22/', /invalid address '22'/],
    ['^192.0.2.256/22', /invalid address '192.0.2.256'/],
    ['192.0.2.1/^', /invalid port ''/],
    ['192.0.2.1/^none', /'none' does not go with anything else/],
    ['~22^:5', /invalid port '22:5'/],
    ['~^', /invalid port ''/],
    ['~^all', /invalid port 'all'/],
    ['22^x', /invalid port '22x'/],
    ['22 ^', /invalid port '22 '/],
    ['^auto ', /invalid port 'auto '/],
    ['^ALL', /invalid port 'ALL'/],
    ['192.0.2.1/22:^[::1]/22', /target '\[::1\]' is not of the listening address' IP version/],
    ['::/all:^192.0.2.1', /not of the listening address' IP version/],
    ['0.0.0.0/22:^192.0.2', /invalid address '192.0.2'/],
    ['8000:^[ff02::1]/80', /invalid target address '\[ff02::1\]'/],
    ['8000:^/80', /invalid address ''/],
    ['all:^', /invalid address ''/],
    ['all:^8000', /invalid address '8000'/],
    ['^none,22', /'none' does not go/],
    ['22,^none', /'none' does not go/],
    ['auto,^auto', /'auto' given twice/],
    ['all,^all:192.0.2.1', /'all' given twice/],
    ['8000,^8000', /port 8000 given twice/],
    ['1-10,20,^5-30,~6-10', /port 5 given twice/],
    ['%^/22', /invalid interface name ''/],
    [`%^${'ä'.repeat(64)}/22`, /invalid interface name 'ä+'/],
    ['127.0.0.1%^a b/22', /invalid interface name 'a b'/],
    ['%^../22', /invalid interface name '..'/],
    ['[::1^%eth0]/22', /invalid address '\[::1'/],
    ['unix:^', /'' is no absolute path of at most 107 octets/],
    ['unix:^x:80', /'x' is no absolute path/],
    [`unix:^/${'ä'.repeat(54)}:80`, /is no absolute path of at most 107 octets/],
    ['unix:/x^', /no port behind the path, as in unix:\/x:80 at the end/],
    ['unix:/x:^', /invalid port ''/],
    ['unix:/x:80^-81', /invalid port '80-81'/],
    ['unix:/x:b^ogus/80', /invalid address 'bogus'/],
    ['80:unix:^x', /'x' is no absolute path/],
    ['80^-81:unix:/x', /invalid port/],
    ['80^,81:unix:/x', /invalid port/],
    ['fd:^', /invalid name of a descriptor ''/],
    ['fd:^:80', /invalid name of a descriptor ''/],
    ['fd:^ä:80', /invalid name of a descriptor 'ä'/],
    ['fd:^2:80', /descriptor 2 is a standard stream/],
    ['fd:^2147483648:80', /descriptor 2147483648 is none/],
    ['fd:3^', /no port behind the descriptor, as in fd:3:80 at the end/],
    ['fd:3:^', /invalid port ''/],
    ['fd:3:^0', /invalid port '0'/],
    ['fd:3:80^-81', /invalid port '80-81'/],
    ['fd:3:80^,81', /invalid port '80,81'/],
    ['fd:3:b^ogus/80', /invalid address 'bogus'/],
    ['fd:3:^[ff02::1]/80', /invalid target address/],
    ['22,^fd:3:80', /invalid port/],
    ['22\n^', /invalid port '22\?' at character 3/]
  ]
  for (const [marked, message] of rows.map(([m, r]) => [m, r] as const)) {
    const at = marked.indexOf('^')
    const text = marked.slice(0, at) + marked.slice(at + 1)
    test(`refused: ${JSON.stringify(text)}`, () => {
      const r = parsePortSpec(text)
      assert.ok(E.isLeft(r), 'accepted')
      assert.match(reason(text), message)
      // a trailing blank or line end is itself the offender
      const want = /[ \n]$/.test(text) && at === text.length ? at - 1 : text === '[::1%eth0]/22' ? 0 : at
      assert.equal(r.left.at, want)
    })
  }
  test('the caret stands under the character', () =>
    assert.equal(
      reason('22,70000'),
      "invalid port '70000' at character 4 of '22,70000'\n    22,70000\n       ^"
    ))
})

test('decode(encode(s)) = s', () =>
  fc.assert(
    fc.property(arbSpec, (s) => {
      assert.ok(PortSpec.is(s))
      assert.deepEqual(PortSpec.decode(PortSpec.encode(s)), E.right(s))
    }),
    { numRuns: 2000 }
  ))

test('only text is read', () => {
  for (const none of [null, undefined, 22, ['22'], {}])
    assert.ok(E.isLeft(PortSpec.decode(none)) && !PortSpec.is(none), `${none}`)
})
test('a value is what its text says again', () =>
  fc.assert(
    fc.property(
      arbSpec.filter((s) => s.kind !== 'none'),
      fc.constantFrom<unknown>(null, undefined, 0, 65536, 1.5, '', 'x y', [], {}),
      fc.nat(),
      (s, odd, which) => {
        const keys = Object.keys(s).filter((k) => JSON.stringify(s[k as never]) !== JSON.stringify(odd))
        const key = keys[which % keys.length]!
        const other = { ...s, [key]: odd }
        if (PortSpec.is(other)) assert.deepEqual(PortSpec.decode(PortSpec.encode(other)), E.right(other))
        const { [key as keyof PortSpec]: _, ...rest } = s
        assert.ok(!PortSpec.is(rest), `without ${key}`)
        assert.ok(!PortSpec.is({ ...s, more: 1 }), 'with more')
      }
    )
  ))
const arbText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.stringMatching(/^[0-9~,:%/[\].-]{0,20}$/),
  fc
    .array(
      fc.constantFrom(
        ...[
          '22',
          '65536',
          '1-5',
          '~',
          ',',
          ':',
          '/',
          '%',
          'all',
          'auto',
          'none',
          'fd:',
          'unix:',
          '/x',
          '[',
          ']',
          '::1',
          '192.0.2.1'
        ],
        ...['eth0', '-', '0', ' ', '+', 'fe80::1', '8000']
      ),
      { maxLength: 12 }
    )
    .map((parts) => parts.join('')),
  // one change to a valid one
  fc
    .tuple(arbSpec.map(PortSpec.encode), fc.nat(), fc.nat(2), fc.constantFrom(...'0:,~-/%[]ax \n\u0000'))
    .map(([text, where, drop, put]) => {
      const i = where % (text.length + 1)
      return text.slice(0, i) + put + text.slice(i + drop)
    })
)

test('any text: a value that prints to itself, or a fault at a character of the text or its end', () =>
  fc.assert(
    fc.property(arbText, (text) => {
      const r = parsePortSpec(text)
      if (E.isRight(r)) {
        assert.deepEqual(PortSpec.decode(PortSpec.encode(r.right)), r)
        assert.equal(PortSpec.encode(r.right), show(PortSpec.encode(r.right)))
      } else {
        assert.ok(r.left.at >= 0 && r.left.at <= text.length)
        const [first = '', shown = '', caret = '', ...more] = reason(text).split('\n')
        assert.equal(more.length, 0)
        assert.ok(first.includes(shown.slice(4)))
        const column = caret.indexOf('^')
        assert.ok(column >= 4 && column <= shown.length)
        if (r.left.at < text.length && /[\x21-\x7e]/.test(text[r.left.at] ?? ''))
          assert.equal(shown[column], text[r.left.at])
      }
    }),
    { numRuns: 3000 }
  ))

test('a long specification is shown around the fault', () => {
  const text = `${Array.from({ length: 500 }, (_, i) => i + 1).join(',')},x,${Array.from({ length: 500 }, (_, i) => i + 600).join(',')}`
  const [first = '', shown = '', caret = ''] = reason(text).split('\n')
  assert.ok(first.length < 150)
  assert.equal(shown[caret.indexOf('^')], 'x')
})
