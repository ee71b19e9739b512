import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { showAddr } from '../src/codecs/value/inany.js'
import { helpText, versionText } from '../src/runtime/cli/help.js'
import { OPTION_TABLE, type OptionEntry } from '../src/runtime/cli/option-table.js'
import type { Mode, Options } from '../src/runtime/cli/option-types.js'
import { optionsCodec, parseOptions } from '../src/runtime/cli/options.js'

const ok = (...argv: string[]): Options => {
  const r = parseOptions('pasta', argv)
  assert.ok(E.isRight(r), E.isLeft(r) ? r.left.message : '')
  assert.ok(r.right.tag === 'Run')
  return r.right.options
}
/** A blank at the end is an empty argument. */
const words = (line: string): string[] =>
  line.split(' ').filter((w, i, all) => w !== '' || i === all.length - 1)
const failure = (program: string, argv: ReadonlyArray<string>): string => {
  const r = parseOptions(program, argv)
  return E.isLeft(r) ? r.left.message : 'accepted'
}

describe('refused, with the words that say why', () => {
  const rows: ReadonlyArray<[string, RegExp]> = [
    ['-m 65522', /^--mtu: 65522 is not in 0..65521$/],
    ['-m x', /not a number/],
    ['-n 255.0.255.0', /not a netmask/],
    ['-n 33', /not in 0..32/],
    ['-a 0.0.0.0', /unspecified/],
    ['-a 127.0.0.1', /loopback/],
    ['-a 224.0.0.1', /multicast/],
    ['-a 255.255.255.255', /broadcast/],
    ['-a ::192.0.2.1', /IPv4-compatible/],
    ['-a 192.0.2.1/33', /prefix length/],
    ['-a ::ffff:192.0.2.1/95', /prefix length/],
    ['-a 192.0.2.1/24 -n 24', /exclude each other/],
    ['-n 24 -a 192.0.2.1/24', /exclude each other/],
    ['-g ::1', /loopback/],
    ['-o 224.0.0.1', /multicast/],
    ['-o ::1', /loopback/],
    ['-o ::ffff:192.0.2.1', /mapped/],
    ['-M 1:2:3:4:5:6', /MAC/],
    ['-D 192.0.2', /not an IP address/],
    ['--dns-forward 127.0.0.1', /loopback/],
    ['--map-guest-addr 224.0.0.1', /multicast/],
    ['-S a -S b -S c -S d -S e -S f -S g', /more than 6/],
    [`-H ${'x'.repeat(254)}`, /253/],
    [`--fqdn ${'x'.repeat(254)}`, /253/],
    ['-I 0123456789abcdef', /interface name/],
    ['-I a/b', /interface name/],
    ['--log-size 40959', /40960/],
    ['--stats 1', /--foreground/],
    ['-F 2', /standard stream/],
    ['-t 22,', /--tcp-ports: invalid port ''/],
    ['-t 22 --no-tcp', /--no-tcp/],
    ['-U 22 --no-udp', /--no-udp/],
    ['--splice-only --no-splice', /exclude/],
    ['--host-lo-to-ns-lo --no-splice', /exclude/],
    ['--no-copy-routes', /--config-net/],
    ['--no-copy-addrs', /--config-net/],
    ['--netns x 1', /exclude/],
    ['--no-pidns 1', /commands only/],
    ['--userns /x true', /--userns needs/],
    ['-s x', /passt mode only/],
    ['-1', /passt mode only/],
    ['--no-dhcp-dns', /passt mode only/],
    ['--migrate-exit', /vhost-user mode only/],
    ['--repair-path x', /vhost-user/],
    ['-I ', /interface name/],
    ['-t 127.0.0.1:8080:80', /write '127\.0\.0\.1\/8080:80'/],
    [`--outbound-if4 ${'x'.repeat(128)}`, /interface name/],
    ['-I äöüäöüäö', /interface name/],
    ['-g 255.255.255.255', /broadcast/],
    ['-g 0.0.0.0', /unspecified/],
    ['-o 0.0.0.0', /unspecified/],
    ['-o ::192.0.2.1', /IPv4-compatible/],
    ['--dns-host 0.0.0.0', /unspecified/],
    ['--map-host-loopback 127.0.0.1', /loopback/],
    ['--map-guest-addr ::', /unspecified/],
    ['--fd x', /not a number/],
    ['--log-size 0', /40960/],
    ['--runas 0:', /UID\[:GID\]/],
    ['--migrate-no-linger', /vhost-user mode only/],
    ['-- -5', /invalid PID/],
    ['99999999999', /invalid PID/]
  ]
  for (const [line, why] of rows)
    test(line.slice(0, 60), () => assert.match(failure('pasta', words(line)), why))
  test('in passt mode', () => {
    for (const o of words('--config-net --netns-only --dhcp-dns --no-netns-quit --splice-only --no-pidns'))
      assert.match(failure('passt', [o]), /pasta mode only/)
    assert.match(failure('passt', ['x']), /no arguments/)
    assert.match(failure('passt', ['-t', 'auto']), /pasta only/)
    assert.match(failure('/bin/foo', []), /neither passt nor pasta/)
  })
})

describe('accepted', () => {
  test('podman', () => {
    const o = ok(
      ...words('--config-net --dns-forward 169.254.1.1 -t none -u none -T none -U none --no-map-gw --quiet'),
      ...words('--netns /run/user/1000/netns/netns-1 --map-guest-addr 169.254.1.2')
    )
    assert.deepEqual(o.target, { kind: 'netns', path: '/run/user/1000/netns/netns-1' })
    assert.deepEqual([o.configNet, o.mapGw, o.quiet, o.foreground], [true, false, true, false])
    assert.equal(showAddr(o.mapGuestAddr.v4 ?? [0, 0, 0, 0]), '169.254.1.2')
  })
  test('RootlessKit', () => {
    const o = ok(
      ...words('--stderr --ns-ifname=tap0 --mtu=65520 --config-net --address=10.0.2.100 --netmask=24'),
      ...words(
        '--gateway=10.0.2.2 --dns-forward=10.0.2.3 --no-map-gw --ipv4-only --tcp-ports=auto --udp-ports=auto 1234'
      )
    )
    assert.deepEqual(o.target, { kind: 'pid', pid: 1234 })
    assert.deepEqual([o.nsIfname, o.mtu, o.netmask, o.families], ['tap0', 65520, 24, 'v4'])
    assert.equal(o.warnings.length, 1)
  })
  test('-p is --pcap: who means ports by it is told', () => {
    for (const value of ['80', '8080:80', '127.0.0.1:8080:80', '53/udp'])
      assert.match(
        ok('-p', value).warnings.join(),
        /captured to a file '.*'; ports are forwarded with -t and -u/
      )
    for (const value of ['80.pcap', './80', 'all', '/tmp/x']) assert.deepEqual(ok('-p', value).warnings, [])
  })
  test('libvirt, Lix: one value per family, the last one counts', () => {
    const o = ok('-g', '192.0.2.1', '-g', 'fe80::1', '-g', '192.0.2.9', '-4', '-6', 'true')
    assert.deepEqual(
      [o.gateway.v4, o.gateway.v6].map((a) => a && showAddr(a)),
      ['192.0.2.9', 'fe80::1']
    )
    assert.equal(o.families, 'v6')
  })
  test('C notation of numbers, masks, mapped addresses', () => {
    assert.equal(ok('-m', '0x5dc').mtu, 1500)
    assert.equal(ok('-n', '255.255.240.0').netmask, 20)
    assert.equal(ok('-n', '0').netmask, 0)
    assert.deepEqual(ok('-a', '::ffff:192.0.2.1/120').address.v4?.prefixLen, 24)
    assert.equal(ok('-o', '127.0.0.1').outbound.v4?.[3], 0x7f000001)
  })
  test('-D none undoes what stands anywhere, an address behind it counts again', () => {
    const o = ok(...words('-D 192.0.2.1 -D none --dns-forward 192.0.2.3 --dns-host 192.0.2.4'))
    assert.deepEqual([o.noDns, o.dns.v4, o.dnsForward.v4, o.dnsHost.v4], [true, [], null, null])
    assert.deepEqual(ok(...words('-D none -D 192.0.2.1')).dns.v4.map(showAddr), ['192.0.2.1'])
    assert.equal(ok(...words('-D 192.0.2.1 -D 192.0.2.2 -D 192.0.2.3 -D 192.0.2.4')).dns.v4.length, 3)
  })
  test('-S takes a list', () => {
    assert.deepEqual(ok('-S', 'a.example b.example', '-S', 'c.example').search, [
      'a.example',
      'b.example',
      'c.example'
    ])
    assert.deepEqual(ok('-S', 'a.example', '-S', 'none').search, [])
    assert.equal(ok().search, null)
  })
  test('--map-host-loopback none means no gateway map either; an address behind it stands alone', () => {
    const o = ok(...words('--map-host-loopback none --map-host-loopback 192.0.2.7'))
    assert.deepEqual([o.mapGw, o.mapHostLoopback.v4?.[3], o.mapHostLoopback.v6], [false, 0xc0000207, null])
  })
  test('one value per family, the last one of each', () => {
    const four = ['192.0.2.8', '192.0.2.9']
    const six = ['2001:db8::8', '2001:db8::9']
    const shown = (a: ReadonlyArray<number> | null) => a && showAddr(a as [number, number, number, number])
    for (const [option, key] of [
      ['-g', 'gateway'],
      ['-o', 'outbound'],
      ['--dns-forward', 'dnsForward'],
      ['--dns-host', 'dnsHost'],
      ['--map-host-loopback', 'mapHostLoopback'],
      ['--map-guest-addr', 'mapGuestAddr']
    ] as const) {
      const { v4, v6 } = ok(...[...four, ...six].flatMap((a) => [option, a]), '1')[key]
      assert.deepEqual([shown(v4), shown(v6)], ['192.0.2.9', '2001:db8::9'], option)
    }
    const { v4, v6 } = ok('-a', four[0]!, '-a', six[0]!, '-a', four[1]!, '1').address
    assert.deepEqual([shown(v4?.address ?? null), shown(v6?.address ?? null)], [four[1], six[0]])
  })
  test('-s and -F undo each other, but what -F implies stays', () => {
    const passt = (...argv: string[]) => {
      const r = parseOptions('passt', argv)
      assert.ok(E.isRight(r) && r.right.tag === 'Run')
      return [r.right.options.socketPath, r.right.options.fd, r.right.options.oneOff]
    }
    assert.deepEqual(passt('-s', '/x', '-F', '5'), [null, 5, true])
    assert.deepEqual(passt('-F', '5', '-s', '/x'), ['/x', null, true])
    assert.deepEqual(passt('-s', '/x', '-s', '/y'), ['/y', null, false])
  })
  test('--userns and --netns-only: the last one', () => {
    const last = (...argv: string[]) => {
      const o = ok('--netns', 'x', ...argv)
      return [o.userns, o.netnsOnly]
    }
    assert.deepEqual(last('--netns-only', '--userns', '/u'), ['/u', false])
    assert.deepEqual(last('--userns', '/u', '--netns-only'), [null, true])
  })
  test('-t none goes with --no-tcp, --runas takes names and numbers, long names end at 253', () => {
    assert.equal(ok(...words('-t none --no-tcp 1')).tcp, false)
    assert.deepEqual(ok(...words('--runas 0x10:daemon 1')).runAs, { user: 16, group: 'daemon' })
    assert.deepEqual(ok(...words('--runas nobody 1')).runAs, { user: 'nobody', group: null })
    assert.equal(ok('--fqdn', 'x'.repeat(253), '1').fqdn?.length, 253)
    assert.deepEqual([ok('-H', 'a', '-H', '', '1').hostname, ok('--fqdn', '', '1').fqdn], [null, null])
    assert.deepEqual(ok('-D', '0.0.0.0', '1').dns.v4.map(showAddr), ['0.0.0.0'])
    assert.equal(ok('-I', 'x'.repeat(15), '1').nsIfname?.length, 15)
    assert.equal(ok('--log-size', '40960', '1').logSize, 40960)
  })
  test("options behind a command are the command's, --vhost-user too", () => {
    const o = ok('echo', '--vhost-user', '-F', '/')
    assert.deepEqual([o.mode, o.fd, o.positionals.length], ['pasta', null, 4])
  })
  test('-d and -q: the last one', () => {
    assert.deepEqual([ok('-q', '--trace', '1').quiet, ok('--trace', '1').debug], [false, true])
    assert.deepEqual([ok('-d', '-q', '1').debug, ok('-d', '-q', '1').quiet], [false, true])
  })
  test('a command is silent and in the foreground, unless -d', () => {
    assert.deepEqual([ok('true').foreground, ok('true').quiet, ok('-d', 'true').quiet], [true, true, false])
    assert.deepEqual(ok('echo', '-n', '-d').target, { kind: 'command', argv: ['echo', '-n', '-d'] })
    assert.equal(ok('-4', '--', 'true').positionalsAt, 2)
  })
  test('PID or command', () => {
    assert.deepEqual(ok('12x').target, { kind: 'command', argv: ['12x'] })
    assert.deepEqual(ok('1', 'true').target, { kind: 'command', argv: ['1', 'true'] })
    assert.deepEqual(ok('--netns=blue').target, { kind: 'netns', path: '/run/netns/blue' })
  })
  test('the name decides; --vhost-user makes passt of what is neither, and is not for pasta', () => {
    const run = (argv0: string, ...argv: string[]) => {
      const r = parseOptions(argv0, argv)
      return E.isRight(r) && r.right.tag === 'Run' ? r.right.options : null
    }
    assert.equal(run('/bin/foo', '--vhost-user', '--repair-path', '/x')?.mode, 'passt')
    assert.equal(failure('pasta', ['--vhost-user']), '--vhost-user is for passt mode only')
    assert.equal(failure('pasta', ['true', '--vhost-user']), 'accepted')
    assert.equal(run('passt', '--vhost-user')?.vhostFeatures, 'all')
    const upstream = run('passt', '--vhost-user-features=upstream', '--vhost-user')
    assert.deepEqual([upstream?.vhostUser, upstream?.vhostFeatures], [true, 'upstream'])
    assert.match(failure('passt', ['--vhost-user-features', 'all']), /vhost-user mode only$/)
    assert.match(
      failure('passt', words('--vhost-user --vhost-user-features x')),
      /'x' is none of all, upstream$/
    )
    assert.equal(failure('/a/xpastax', []), 'accepted')
    assert.equal(failure('passt.avx2', []), 'accepted')
  })
})

describe('--help and --version', () => {
  test('act in order', () => {
    assert.deepEqual(
      parseOptions('pasta', ['--host-lo-to-ns-lo', '--version', '--bogus']),
      E.right({ tag: 'Print', text: versionText('pasta') })
    )
    const first = parseOptions('pasta', ['--bogus', '--version'])
    assert.deepEqual(first, E.left({ message: "unrecognized option '--bogus'", usage: helpText('pasta') }))
    assert.match(failure('pasta', ['-m', '-1', '--version']), /--mtu/)
  })
  test('--print-capabilities prints JSON in either mode, whatever stands behind it', () => {
    for (const mode of ['passt', 'pasta'] as const)
      for (const argv of [['--print-capabilities'], ['-q', '--print-capabilities', '--bogus']]) {
        const r = parseOptions(mode, argv)
        assert.ok(E.isRight(r) && r.right.tag === 'Print')
        assert.equal(r.right.text, '{\n  "type": "net"\n}\n')
        assert.deepEqual(JSON.parse(r.right.text), { type: 'net' })
      }
  })
  test('the first line of the version is mode and number, that of package.json', () => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
    assert.equal(versionText('passt').split('\n')[0], `passt ${version}`)
  })
  const visible = (e: OptionEntry, mode: Mode): boolean =>
    e.allowed === 'both' || (e.allowed === 'vhost' ? mode === 'passt' : e.allowed === mode)
  for (const mode of ['passt', 'pasta'] as const)
    test(`every option of ${mode} is in its help, the other's are not`, () => {
      const shown = helpText(mode)
        .split('\n')
        .filter((l) => /^ {2,6}-/.test(l))
      for (const e of OPTION_TABLE)
        for (const l of e.long) {
          const line = shown.find((s) => s.split(/[ ,]+/).includes(`--${l}`))
          assert.equal(line !== undefined, visible(e, mode), l)
          if (line !== undefined && e.short !== null) assert.ok(line.trim().startsWith(`-${e.short},`), l)
        }
      assert.ok(
        helpText(mode)
          .split('\n')
          .every((l) => l.length <= 120)
      )
    })
  test('no name twice in the table', () => {
    const names = OPTION_TABLE.flatMap((e) => [...e.long, ...(e.short === null ? [] : [e.short])])
    assert.equal(new Set(names).size, names.length)
  })
})

const arbValue = fc.oneof(
  fc.string(),
  fc.constantFrom(
    'none',
    'auto',
    '22',
    '1500',
    '24',
    '192.0.2.1',
    '2001:db8::1',
    'fe80::1',
    'eth0',
    'a.example',
    '9a:55:9a:55:9a:55'
  )
)
const arbArgv = fc
  .array(
    fc.constantFrom(...OPTION_TABLE).chain((e) => {
      const name = `--${e.long[0]}`
      return e.takesArgument ? arbValue.map((v): string[] => [name, v]) : fc.constant<string[]>([name])
    }),
    { maxLength: 6 }
  )
  .chain((options) =>
    fc.array(fc.string(), { maxLength: 3 }).map((rest) => [...options.flat(), '--', ...rest])
  )

describe('any command line', () => {
  for (const mode of ['passt', 'pasta'] as const) {
    const codec = optionsCodec(mode)
    test(`${mode}: options or one line of reason`, () =>
      fc.assert(
        fc.property(fc.oneof(arbArgv, fc.array(fc.string())), (argv) => {
          const r = parseOptions(mode, argv)
          if (E.isLeft(r)) assert.ok(r.left.message.length > 0)
        })
      ))
    test(`${mode}: decode(encode(o)) = o`, () =>
      fc.assert(
        fc.property(arbArgv, (argv) => {
          const r = codec.decode(argv)
          if (E.isLeft(r) || r.right.mode !== mode) return
          const again = codec.decode(codec.encode(r.right))
          assert.deepEqual(
            E.map((o: Options) => ({ ...o, positionalsAt: 0 }))(again),
            E.right({ ...r.right, positionalsAt: 0 })
          )
        }),
        { numRuns: 500 }
      ))
  }
})
