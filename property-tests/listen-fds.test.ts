// What a service manager says of the sockets that it hands over (sd_listen_fds(3)).
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { isFdName, parseListenFds } from '../src/codecs/text/listen-fds.js'
import { arbFdName } from './port-arbitraries.js'

test('as many as LISTEN_FDS says, from 3 on, by their names', () =>
  fc.assert(
    fc.property(fc.array(fc.oneof(arbFdName, fc.constant('')), { maxLength: 8 }), (names) =>
      assert.deepEqual(
        parseListenFds(`${names.length}`, names.join(':')),
        E.right(names.map((name, i) => ({ fd: 3 + i, name })))
      )
    )
  ))
test('without names: unknown, as sd_listen_fds_with_names(3) has it', () => {
  assert.deepEqual(parseListenFds(undefined, 'web'), E.right([]))
  assert.deepEqual(parseListenFds('0', undefined), E.right([]))
  assert.deepEqual(
    parseListenFds('2', undefined),
    E.right([
      { fd: 3, name: 'unknown' },
      { fd: 4, name: 'unknown' }
    ])
  )
})
test('refused', () => {
  const rows: ReadonlyArray<readonly [string, string | undefined, string]> = [
    ['', undefined, "LISTEN_FDS is ''"],
    ['-1', undefined, "LISTEN_FDS is '-1'"],
    ['1x', 'web', "LISTEN_FDS is '1x'"],
    ['65537', undefined, "LISTEN_FDS is '65537'"],
    ['1', 'web:dns', 'LISTEN_FDNAMES has 2 names for 1 descriptors'],
    ['2', 'web', 'LISTEN_FDNAMES has 1 names for 2 descriptors'],
    ['1', '\u00e4', "LISTEN_FDNAMES has the name '\u00e4'"]
  ]
  for (const [count, names, why] of rows) assert.deepEqual(parseListenFds(count, names), E.left(why))
})
test('a name: 1 to 255 printable characters of ASCII but colons (systemd.socket(5))', () => {
  for (const name of ['web', 'a b', '~', '9', 'x'.repeat(255)]) assert.ok(isFdName(name), name)
  for (const name of ['', ':', 'a:b', '\t', '\u007f', 'x'.repeat(256)]) assert.ok(!isFdName(name), name)
})
