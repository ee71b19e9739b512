import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { octetsOfText } from '../src/codecs/value/octet-text.js'
import { lastArguments } from '../src/runtime/cli/arguments.js'
import { arbBytes } from './arbitraries.js'

const cmdline = (args: ReadonlyArray<string>): Uint8Array =>
  Uint8Array.from(args.flatMap((a) => [...octetsOfText(a), 0]))

test('the last arguments, whatever stands in front of them and whatever octets they are', () => {
  const arbArgument = fc.oneof(
    fc.string({ unit: 'binary' }).map((s) => s.replaceAll('\0', '')),
    fc.constantFrom('', 'l\udce4n0', 'län0')
  )
  fc.assert(
    fc.property(fc.array(arbArgument, { minLength: 1 }), fc.array(arbArgument), (before, args) =>
      assert.deepEqual(lastArguments(cmdline([...before, ...args]), args.length), args)
    )
  )
})
test('fewer than there should be: none', () => {
  assert.equal(lastArguments(cmdline(['node', 'x']), 2), null)
  fc.assert(fc.property(arbBytes(40), fc.nat(5), (b, n) => (lastArguments(b, n)?.length ?? n) === n))
})
