// Which resolver the guest gets when /etc/resolv.conf names none: the one on this machine, resolv.conf(5).
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import type { Result } from './lib/proc.js'
import { helper, isPeer, net, ok, pasta, quietPorts, describe as show } from './lib/world.js'

const bed = useBed()
const forward = { 4: '198.51.100.53', 6: '2001:db8:9::53' } as const

/** Runs a command as an ordinary user where shell lines have made an /etc/resolv.conf, or not. */
const withFile = (make: string, command: ReadonlyArray<string>): Promise<Result> =>
  bed.w.run(
    [
      ...['unshare', '--mount', 'sh', '-ec'],
      `e=$(mktemp -d); chmod 755 $e
for f in passwd group nsswitch.conf ld.so.cache alternatives; do ! [ -e /etc/$f ] || cp -a /etc/$f $e; done
cd $e; ${make}; mount --bind $e /etc; cd /
exec setpriv --reuid 1000 --regid 1000 --clear-groups -- "$@"`,
      '-',
      ...command
    ],
    { uid: 0 }
  )
const pastaWith = (make: string, options: ReadonlyArray<string>, command: ReadonlyArray<string>) =>
  withFile(make, [pasta, ...quietPorts, '--config-net', ...options, '--', ...command])
const ask = (server: string): string[] => [
  'python3',
  helper('client.py'),
  'dns',
  server,
  '53',
  'A/test.example'
]

describe('no name server in /etc/resolv.conf', { skip: isPeer && 'upstream does otherwise' }, () => {
  before(async () => {
    const options =
      '--no-daemon --no-resolv --no-hosts --user=root --pid-file= --bind-interfaces --conf-file=/dev/null'
    const listen = [
      '--listen-address=127.0.0.1',
      '--listen-address=::1',
      '--address=/test.example/192.0.2.77'
    ]
    bed.w.start(['dnsmasq', ...options.split(' '), ...listen], { uid: 0, timeout: 900_000 })
    await bed.w.sh('until ss -lunH | grep -q ::1.:53; do sleep 0.05; done')
  })
  const kinds: ReadonlyArray<readonly [string, string, RegExp]> = [
    ['no file', 'true', /no such file/],
    ['a dangling link', 'ln -s ../run/systemd/resolve/stub-resolv.conf resolv.conf', /no such file/],
    ['a directory', 'mkdir resolv.conf', /\(it is a directory\): using the name server on this machine/],
    ['a pipe that nobody writes to', 'mkfifo resolv.conf; chmod 666 resolv.conf', /no name server/],
    [
      'a file that the user may not read',
      'echo nameserver 192.0.2.1 > resolv.conf; chmod 0 resolv.conf',
      /permission denied/
    ],
    ['an empty file', ': > resolv.conf', /no name server/],
    ['/dev/null', 'ln -s /dev/null resolv.conf', /no name server/],
    ['an endless one', 'ln -s /dev/zero resolv.conf', /longer than/],
    ['octets', 'head -c 100000 /dev/urandom > resolv.conf', /no name server/],
    ['comments', 'echo "# nameserver 192.0.2.1" > resolv.conf', /no name server/],
    ['a name in place of an address', 'echo nameserver localhost > resolv.conf', /no name server/]
  ]
  for (const [what, make, why] of kinds)
    test(`${what}: this machine is asked, over IPv4 and IPv6`, async () => {
      for (const v of [4, 6] as const) {
        const r = ok(await pastaWith(make, ['--dns-forward', forward[v]], ask(forward[v])))
        const answer = { id: true, rcode: 0, answers: ['192.0.2.77'], replier: forward[v] }
        assert.deepEqual(JSON.parse(r.stdout), answer, show(r))
        assert.match(r.stderr, why)
        assert.match(r.stderr, /^warning: [^\n]*\/etc\/resolv\.conf[^\n]*\n$/, 'one line')
      }
    })
  for (const [line, v] of [
    ['nameserver 0.0.0.0', 4],
    ['nameserver ::', 6]
  ] as const)
    test(`${line}: the same, without a word`, async () => {
      const make = `echo ${line} > resolv.conf`
      for (const [server, options] of [
        [forward[v], ['--dns-forward', forward[v]]],
        [v === 4 ? net.gw4 : net.gw6, []]
      ] as const) {
        const r = ok(await pastaWith(make, options, ask(server)))
        assert.deepEqual((JSON.parse(r.stdout) as { answers: unknown }).answers, ['192.0.2.77'], show(r))
        assert.equal(r.stderr, '')
      }
    })
  test('what a server at the end of a long file is for', async () => {
    const make = `{ yes '# filler' | head -c 100000; echo; echo nameserver 127.0.0.1; } > resolv.conf`
    const r = ok(await pastaWith(make, [], ask(net.gw4)))
    assert.deepEqual((JSON.parse(r.stdout) as { answers: unknown }).answers, ['192.0.2.77'], show(r))
    assert.equal(r.stderr, '')
  })
})
