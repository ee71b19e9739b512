import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { type OptionName, parseArgv, printArgv, type Setting } from '../src/codecs/text/argv.js'

const table: ReadonlyArray<OptionName> = [
  { id: 'tcp', long: ['tcp-ports'], short: 't', takesArgument: true },
  { id: 'v4', long: ['ipv4-only'], short: '4', takesArgument: false },
  { id: 'fore', long: ['foreground'], short: 'f', takesArgument: false },
  { id: 'sock', long: ['socket', 'socket-path'], short: 's', takesArgument: true },
  { id: 'conf', long: ['config-net'], short: null, takesArgument: false },
  { id: 'path', long: ['conf-path'], short: 'c', takesArgument: true }
]
const parse = (...argv: string[]) => parseArgv(table)(argv)
const got = (...settings: [string, string | null][]) => settings.map(([id, value]) => ({ id, value }))

describe('getopt_long(3) rules', () => {
  const good: ReadonlyArray<[string[], [string, string | null][], number]> = [
    [[], [], 0],
    [['echo', '-f'], [], 0],
    [['-f', '--', '-4'], [['fore', null]], 2],
    [['-', '-f'], [], 0],
    [
      ['-4f', 'x'],
      [
        ['v4', null],
        ['fore', null]
      ],
      1
    ],
    [
      ['-4ft22', 'x'],
      [
        ['v4', null],
        ['fore', null],
        ['tcp', '22']
      ],
      1
    ],
    [['-t', '22', 'x'], [['tcp', '22']], 2],
    [
      ['-t', '--', '-f'],
      [
        ['tcp', '--'],
        ['fore', null]
      ],
      3
    ],
    [['--tcp', '22'], [['tcp', '22']], 2],
    [['--tcp='], [['tcp', '']], 1],
    [['--tcp=a=b'], [['tcp', 'a=b']], 1],
    [['--fore'], [['fore', null]], 1],
    [['--socket', 'a'], [['sock', 'a']], 2],
    [['--sock=a'], [['sock', 'a']], 1]
  ]
  for (const [argv, settings, positionals] of good)
    test(JSON.stringify(argv), () =>
      assert.deepEqual(parse(...argv), E.right({ settings: got(...settings), positionals }))
    )

  const bad: ReadonlyArray<[string[], string]> = [
    [['--map-guest-addr=1'], "unrecognized option '--map-guest-addr=1'"],
    [['--conf'], "option '--conf' is ambiguous; possibilities: '--config-net' '--conf-path'"],
    [['--fore=1'], "option '--foreground' doesn't allow an argument"],
    [['--tcp-ports'], "option '--tcp-ports' requires an argument"],
    [['-t'], "option requires an argument -- 't'"],
    [['-4x'], "invalid option -- 'x'"]
  ]
  for (const [argv, message] of bad)
    test(JSON.stringify(argv), () => {
      const r = parse(...argv)
      assert.ok(E.isLeft(r))
      assert.equal(r.left.message, message)
    })

  test('options in front of a fault are reported with it', () =>
    assert.deepEqual(
      parse('-f', '-4x'),
      E.left({ message: "invalid option -- 'x'", settings: got(['fore', null], ['v4', null]) })
    ))
})

const arbSetting: fc.Arbitrary<Setting> = fc
  .constantFrom(...table)
  .chain((o) =>
    o.takesArgument
      ? fc.string().map((value): Setting => ({ id: o.id, value }))
      : fc.constant<Setting>({ id: o.id, value: null })
  )

/** One setting in any of the spellings that getopt takes. */
const arbSpelled = arbSetting.chain((s) => {
  const o = table.find((x) => x.id === s.id)
  assert.ok(o)
  const { short } = o
  const { value } = s
  return fc
    .constantFrom(...o.long, ...(short === null ? [] : [`-${short}`]))
    .chain((name): fc.Arbitrary<{ s: Setting; argv: string[] }> => {
      const dashed = name.startsWith('-') ? name : `--${name}`
      if (value === null) return fc.constant({ s, argv: [dashed] })
      const joined = name.startsWith('-') ? dashed + value : `${dashed}=${value}`
      // an empty rest of a bundle means the next element
      const forms = name.startsWith('-') && value === '' ? [[dashed, value]] : [[dashed, value], [joined]]
      return fc.constantFrom(...forms).map((argv) => ({ s, argv }))
    })
})

test('parse(print(settings) -- rest) gives both back', () =>
  fc.assert(
    fc.property(fc.array(arbSetting), fc.array(fc.string()), (settings, rest) => {
      const argv = [...printArgv(table)(settings), '--', ...rest]
      assert.deepEqual(parseArgv(table)(argv), E.right({ settings, positionals: argv.length - rest.length }))
    })
  ))

test('every spelling means the same', () =>
  fc.assert(
    fc.property(fc.array(arbSpelled), (items) => {
      const argv = items.flatMap((i) => i.argv)
      assert.deepEqual(
        parseArgv(table)(argv),
        E.right({ settings: items.map((i) => i.s), positionals: argv.length })
      )
    })
  ))

test('any argv: a value, positionals in range, nothing behind them read', () =>
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string(), fc.constantFrom('--', '-', '-t', '--tcp', '-4f', '--c'))),
      (argv) => {
        const r = parseArgv(table)(argv)
        if (E.isLeft(r)) return assert.ok(r.left.message.length > 0)
        const { positionals } = r.right
        assert.ok(positionals >= 0 && positionals <= argv.length)
        const cut = parseArgv(table)([...argv.slice(0, positionals), 'stop', '--nonsense'])
        assert.ok(E.isRight(cut))
      }
    )
  ))
