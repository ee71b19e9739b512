import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import {
  effectiveServers,
  isDomain,
  MAX_SEARCH,
  MAX_SERVERS,
  ResolvConf
} from '../src/codecs/text/resolv-conf.js'
import { isUnspecified, showAddr } from '../src/codecs/value/inany.js'
import { arbInAny4, arbInAny6, plain } from './arbitraries.js'

const read = (text: string): ResolvConf => {
  const r = ResolvConf.decode(text)
  assert.ok(E.isRight(r))
  return r.right
}
const servers = (text: string): string[] => [...read(text).servers4, ...read(text).servers6].map(showAddr)

describe('resolv.conf(5)', () => {
  test('blanks, tabs, comments, scopes', () => {
    assert.deepEqual(
      servers('nameserver 192.0.2.1\nnameserver\t192.0.2.2 \nnameserver   192.0.2.3 # third\n'),
      ['192.0.2.1', '192.0.2.2', '192.0.2.3']
    )
    assert.deepEqual(servers('nameserver fe80::1%eth0\r\n'), ['fe80::1'])
    assert.deepEqual(servers('nameserver 192.0.2.1#one\nnameserver 2001:db8::1;one\n'), [
      '192.0.2.1',
      '2001:db8::1'
    ])
  })
  test('every form of inet_aton(3), as the C library reads it', () => {
    for (const [text, address] of [
      ['127.1', '127.0.0.1'],
      ['0x7f.1', '127.0.0.1'],
      ['10.513', '10.0.2.1'],
      ['192.0.513', '192.0.2.1'],
      ['0300.0.02.1', '192.0.2.1'],
      ['3221225985', '192.0.2.1'],
      ['0', '127.0.0.1'],
      ['0xffffffff', '255.255.255.255']
    ] as const)
      assert.deepEqual(servers(`nameserver ${text}`), [address], text)
    for (const text of [
      '256.1',
      '1.2.3.256',
      '1.2.65536',
      '4294967296',
      '1.2.3.4.5',
      '09.1',
      '0x',
      '1.',
      '.1',
      '1e1',
      '-1'
    ])
      assert.deepEqual(servers(`nameserver ${text}`), [], text)
  })
  test('what is no name server line', () =>
    assert.deepEqual(
      servers(
        '# nameserver 192.0.2.1\n;nameserver 192.0.2.1\nnameservers 192.0.2.1\nnameserver\nnameserver x\nNAMESERVER 192.0.2.1'
      ),
      []
    ))
  test('the unspecified address is this machine, and so it is where none is named', () => {
    assert.deepEqual(servers('nameserver ::\nnameserver 0.0.0.0\n'), ['127.0.0.1', '::1'])
    const effective = (text: string): string[] => {
      const r = effectiveServers(read(text))
      return [...r.servers4, ...r.servers6].map(showAddr)
    }
    assert.deepEqual(effective('search a.example\n'), ['127.0.0.1', '::1'])
    assert.deepEqual(effective('nameserver 2001:db8::1\n'), ['2001:db8::1'])
  })
  test('three of each family, in order', () => {
    const text = [1, 2, 3, 4].map((n) => `nameserver 192.0.2.${n}\nnameserver 2001:db8::${n}\n`).join('')
    assert.deepEqual(servers(text), [
      '192.0.2.1',
      '192.0.2.2',
      '192.0.2.3',
      '2001:db8::1',
      '2001:db8::2',
      '2001:db8::3'
    ])
  })
  test('the last search or domain line wins', () => {
    assert.deepEqual(read('search a.example b.example\nsearch\tc.example\n').search, ['c.example'])
    assert.deepEqual(read('search a.example\ndomain d.example e.example\n').search, ['d.example'])
  })
  test('names that no list can carry are passed over', () =>
    assert.deepEqual(read(`search . a..b ${'x'.repeat(64)} ok.example.\n`).search, ['ok.example.']))
})

const arbDomain = fc.domain().filter(isDomain)
const arbConf = plain<ResolvConf>({
  servers4: fc.array(
    arbInAny4.filter((a) => !isUnspecified(a)),
    { maxLength: MAX_SERVERS }
  ),
  servers6: fc.array(
    arbInAny6.filter((a) => !isUnspecified(a)),
    { maxLength: MAX_SERVERS }
  ),
  search: fc.array(arbDomain, { maxLength: MAX_SEARCH })
})

test('decode(encode(r)) = r', () =>
  fc.assert(
    fc.property(arbConf, (r) => assert.deepEqual(ResolvConf.decode(ResolvConf.encode(r)), E.right(r)))
  ))

test('any text: within the limits, and stable when printed', () =>
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc
          .array(fc.tuple(fc.constantFrom('nameserver', 'search', 'domain', 'options', '#', ''), fc.string()))
          .map((lines) => lines.map(([k, v]) => `${k} ${v}`).join('\n'))
      ),
      (text) => {
        const r = read(text)
        assert.ok(
          r.servers4.length <= MAX_SERVERS &&
            r.servers6.length <= MAX_SERVERS &&
            r.search.length <= MAX_SEARCH
        )
        assert.deepEqual(read(ResolvConf.encode(r)), r)
      }
    )
  ))
