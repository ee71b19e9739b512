// The option table against the manual, option by option.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import * as E from 'fp-ts/lib/Either.js'
import { parseArgv } from '../src/codecs/text/argv.js'
import { defaults, OPTION_TABLE, type OptionEntry } from '../src/runtime/cli/option-table.js'
import type { Mode } from '../src/runtime/cli/option-types.js'
import { parseOptions } from '../src/runtime/cli/options.js'
import { MANUAL, type ManualOption, optionsOfManual, readOption } from './manual-options.js'

/** The manual cannot be part of this (its licence is another). Who has a copy names it, and the list is held against it. */
const manual = process.env.PASST_MANUAL

const namesOf = (e: OptionEntry): ReadonlyArray<string> =>
  [...(e.short === null ? [] : [`-${e.short}`]), ...e.long.map((l) => `--${l}`)].sort()
const entryOf = (o: ManualOption): OptionEntry | undefined =>
  OPTION_TABLE.find((e) => namesOf(e).includes(o.names[0]!))

/** Where the manual's list and what programs accept are not the same (behaviour.md#options-by-mode). */
const ELSEWHERE: Readonly<Record<string, OptionEntry['allowed']>> = {
  // described among those for both, for one mode each by their text
  'no-dhcp-dns': 'passt',
  'no-dhcp-search': 'passt',
  'dhcp-dns': 'pasta',
  'dhcp-search': 'pasta',
  // accepted in silence by the other mode
  fd: 'both',
  'print-capabilities': 'both',
  'no-splice': 'both',
  // `none` goes anywhere, a path with vhost-user only
  'repair-path': 'both',
  'migrate-exit': 'vhost',
  'migrate-no-linger': 'vhost',
  'vhost-user-features': 'vhost',
  // described twice
  'tcp-ports': 'both',
  'udp-ports': 'both'
}
/** Newer than the manual, used by the programs that start us (docs/drivers.md). */
const NEWER = [
  readOption('both')('-c, --conf-path ARG'),
  readOption('both')('--chroot-fallback'),
  readOption('pasta')('--splice-only'),
  readOption('pasta')('--no-pidns')
]
/** No other release has them. */
const OURS = [
  readOption('both')('--error-fd ARG'),
  readOption('both')('--api ARG'),
  readOption('both')('--pcap-size ARG'),
  readOption('both')('--record ARG'),
  readOption('both')('--record-size ARG'),
  readOption('both')('--record-payload'),
  readOption('both')('--record-paused'),
  readOption('both')('--restart-path ARG'),
  readOption('both')('--no-follow'),
  readOption('passt')('--vhost-user-features ARG'),
  readOption('both')('--limit ARG'),
  readOption('both')('--limit-flows ARG'),
  readOption('both')('--limit-files ARG'),
  readOption('both')('--limit-memory ARG'),
  readOption('both')('--limit-ports ARG'),
  readOption('both')('--limit-half-open ARG')
]

describe('every option of the manual, of newer releases, and of ours', () => {
  if (manual !== undefined)
    test('the list is that of the manual itself', () =>
      assert.deepEqual(MANUAL, optionsOfManual(readFileSync(manual, 'utf8'))))
  for (const o of [...MANUAL, ...NEWER, ...OURS])
    test(`${o.names.join(', ')} (${o.section})`, () => {
      const e = entryOf(o)
      assert.ok(e !== undefined, 'is not in the table')
      assert.deepEqual(namesOf(e), o.names)
      assert.equal(e.takesArgument, o.takesArgument)
      assert.equal(e.allowed, ELSEWHERE[e.id] ?? o.section)
      const help = typeof e.help === 'string' ? e.help : e.help.passt
      assert.equal(help.startsWith('Deprecated'), o.deprecated, help)
    })
  test('ours take no abbreviation from the others', () => {
    const ids = OPTION_TABLE.filter((e) => e.ours).flatMap(namesOf)
    assert.deepEqual(
      ids,
      OURS.flatMap((o) => o.names)
    )
    for (const [given, id] of [
      ['--pca=/x', 'pcap'],
      ['--pc=/x', 'pcap'],
      ['--pcap=/x', 'pcap'],
      ['--pcap-=131072', 'pcap-size']
    ] as const) {
      const line = parseArgv(OPTION_TABLE)([given])
      assert.equal(E.isRight(line) && line.right.settings[0]?.id, id, given)
    }
  })
  test('nothing else is in the table', () => {
    const known = new Set([...MANUAL, ...NEWER, ...OURS].flatMap((o) => o.names))
    assert.deepEqual(
      OPTION_TABLE.flatMap(namesOf).filter((n) => !known.has(n)),
      []
    )
  })
})

/** An argument that the option takes, so that nothing but the mode can be wrong. */
const GOOD: Readonly<Record<string, string>> = {
  stats: '1',
  'log-file': '/x',
  'log-size': '65536',
  runas: '1:2',
  'conf-path': '/x',
  api: '/x',
  pcap: '/x',
  'pcap-size': '131072',
  record: '/x',
  'record-size': '131072',
  pid: '/x',
  'error-fd': '3',
  'restart-path': '/x',
  mtu: '1500',
  address: '192.0.2.1',
  netmask: '24',
  'mac-addr': '02:00:00:00:00:01',
  gateway: '192.0.2.2',
  interface: 'eth0',
  outbound: '192.0.2.3',
  'outbound-if4': 'eth0',
  'outbound-if6': 'eth0',
  dns: '192.0.2.4',
  'dns-forward': '192.0.2.5',
  'dns-host': '127.0.0.1',
  search: 'example.net',
  'map-host-loopback': '192.0.2.6',
  'map-guest-addr': '192.0.2.7',
  hostname: 'guest',
  fqdn: 'guest.example.net',
  socket: '/x',
  fd: '5',
  'repair-path': 'none',
  'vhost-user-features': 'upstream',
  'tcp-ports': '22',
  'udp-ports': '22',
  'tcp-ns': '22',
  'udp-ns': '22',
  'ns-ifname': 'tap9',
  userns: '/x',
  netns: '/x',
  'ns-mac-addr': '02:00:00:00:00:02',
  limit: '10Mbit',
  'limit-flows': '100',
  'limit-files': '100',
  'limit-memory': '100',
  'limit-ports': '100',
  'limit-half-open': '100'
}
/** What has to stand with an option to make sense. */
const WITH: Readonly<Record<string, ReadonlyArray<string>>> = {
  'record-paused': ['--record=/x', '--api=/y'],
  stats: ['-f'],
  'no-copy-routes': ['--config-net'],
  'no-copy-addrs': ['--config-net'],
  userns: ['--netns=/x']
}

describe('in its mode an option is taken, in the other one it is refused', () => {
  for (const mode of ['passt', 'pasta'] as const)
    for (const e of OPTION_TABLE)
      for (const name of namesOf(e))
        test(`${mode} ${name}`, () => {
          const long = name.startsWith('--')
          const value = GOOD[e.id]
          assert.equal(value !== undefined, e.takesArgument, 'GOOD has an argument where one is taken')
          const forms: ReadonlyArray<ReadonlyArray<string>> =
            value === undefined ? [[name]] : [[name, value], [`${name}${long ? '=' : ''}${value}`]]
          for (const form of forms) {
            const allowed = e.allowed === 'both' || e.allowed === mode
            const r = parseOptions(mode, [...(allowed ? (WITH[e.id] ?? []) : []), ...form])
            if (!allowed) {
              assert.ok(E.isLeft(r), 'refused')
              assert.match(r.left.message, / mode only$/)
              assert.equal(r.left.usage, null)
            } else {
              assert.ok(E.isRight(r), E.isLeft(r) ? r.left.message : '')
              const o = r.right
              if (e.answer !== null) assert.equal(o.tag, 'Print')
              else assert.ok(o.tag === 'Run' && o.options.settings.some((s) => s.id === e.id))
            }
          }
          if (!e.takesArgument && long) {
            const r = parseOptions(mode, [`${name}=x`])
            assert.match(E.isLeft(r) ? r.left.message : 'accepted', /doesn't allow an argument/)
          }
          if (e.takesArgument) {
            const r = parseOptions(mode, [name])
            assert.match(E.isLeft(r) ? r.left.message : 'accepted', /requires an argument/)
          }
        })
  test('with --vhost-user those for it are taken', () => {
    const r = parseOptions('passt', [
      '--migrate-exit',
      '--repair-path=/x',
      '--vhost-user',
      '--migrate-no-linger'
    ])
    assert.ok(E.isRight(r) && r.right.tag === 'Run')
    assert.equal(r.right.options.warnings.length, 2)
  })
})

describe('what goes without saying (the manual, Default is)', () => {
  const run = (mode: Mode, ...argv: string[]) => {
    const r = parseOptions(mode, argv)
    assert.ok(E.isRight(r) && r.right.tag === 'Run', E.isLeft(r) ? r.left.message : '')
    return r.right.options
  }
  for (const mode of ['passt', 'pasta'] as const)
    test(mode, () => {
      const o = run(mode, ...(mode === 'pasta' ? ['--netns=x'] : []))
      assert.deepEqual(
        { ...o, settings: [], positionalsAt: 0, target: { kind: 'shell' }, netns: null },
        {
          ...defaults(mode)
        }
      )
      assert.equal(o.logSize, 1_048_576)
      assert.deepEqual([o.dhcpDns, o.dhcpSearch], mode === 'passt' ? [true, true] : [false, false])
      assert.deepEqual(
        [o.foreground, o.oneOff, o.configNet, o.netnsQuit, o.splice],
        [false, false, false, true, true]
      )
    })
})
