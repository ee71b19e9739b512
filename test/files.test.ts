// Files that the user names, and another user was there first: pid file, log file, capture, socket.
import assert from 'node:assert/strict'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { decodePcap } from '../src/codecs/log/pcap.js'
import { decodePcapng } from '../src/codecs/log/pcapng.js'
import { octets } from '../src/codecs/value/octets.js'
import { passt } from './lib/passt.js'
import { isPeer, net, ok, pasta, quietPorts, describe as show, World } from './lib/world.js'

const oursOnly = { skip: isPeer && 'upstream does otherwise' }
const root = { uid: 0 }
const other = { uid: 1001 }
let w: World
before(async () => {
  w = await World.open()
})
after(() => w.close())

const outside = (path: string): string => join(w.dir, path.slice('/mnt/w/'.length))
const text = (path: string): string => readFileSync(outside(path), 'utf8')
const start = (options: ReadonlyArray<string>, o = {}) =>
  w.run([pasta, ...quietPorts, '--config-net', ...options, '--', 'ping', '-c', '1', net.world4], o)

let count = 0
/** A name in a directory where everybody may write. */
const fresh = (): string => `/mnt/w/file${++count}`
/** What another user puts there first; `$0` is the name, `$1` a file of the victim's. */
const GOES_ON = new Set(['-p', '--record'])
const TRAPS: ReadonlyArray<readonly [string, string, RegExp]> = [
  [
    'a symbolic link',
    'ln -s "$1" "$0"',
    /symbolic link file\d+ in it belongs to another user \(user (1001|not known here)\): name the file that it leads to/
  ],
  [
    'a directory that is a link',
    'ln -s /mnt/w "$0"',
    /symbolic link file\d+ in it belongs to another user \(user (1001|not known here)\): name the file that it leads to/
  ],
  ['a file', ': > "$0"; chmod 666 "$0"', /belongs to another user \(user (1001|not known here), mode 0666\)/],
  ['a pipe', 'mkfifo -m 666 "$0"', /belongs to another user \(user (1001|not known here), mode 0666\)/]
]

for (const [who, o] of [
  ['root', root],
  ['a user', {}]
] as const)
  describe(`${who} names a place where another user was first`, oursOnly, () => {
    for (const option of ['-P', '-l', '-p', '--record'])
      for (const [what, trap, message] of TRAPS)
        test(`${option}: ${what} is refused`, async () => {
          const [name, victim] = [fresh(), fresh()]
          ok(await w.run(['sh', '-ec', 'echo precious > "$0"', victim], o))
          ok(await w.run(['sh', '-ec', trap, name, victim], other))
          const path = what.startsWith('a directory') ? `${name}/${victim.split('/').at(-1)}` : name
          const r = await start([option, path], o)
          // a capture, or a record, is not what a start depends on
          assert.equal(r.code, GOES_ON.has(option) ? 0 : 1, show(r))
          assert.match(r.stderr, message)
          assert.match(r.stderr, new RegExp(path))
          assert.equal(text(victim), 'precious\n')
          if (what === 'a file') assert.equal(text(name), '')
        })
    test('a second name of a file of his own is refused, and so is one that others may write', async () => {
      for (const [lines, message] of [
        [
          'echo precious > "$0"; ln "$0" "$0.too"',
          /has other names \(.*hard links: 2\): remove it, or name another one/
        ],
        ['echo precious > "$0"; chmod 622 "$0"', /others may write .*mode 0622/]
      ] as const)
        for (const option of ['-P', '-l', '-p', '--record']) {
          const name = fresh()
          ok(await w.run(['sh', '-ec', lines, name], o))
          const r = await start([option, name], o)
          assert.equal(r.code, GOES_ON.has(option) ? 0 : 1, show(r))
          assert.match(r.stderr, message)
          assert.equal(text(name), 'precious\n')
        }
    })
    test('what is his own is taken: a file, a link to one, a link to a place for one', async () => {
      const [file, link, dangling] = [fresh(), fresh(), fresh()]
      const lines = 'cd /mnt/w; echo old > "$0"; chmod 644 "$0"; ln -s "$0" "$1"; ln -s "$2.made" "$2"'
      ok(
        await w.run(['sh', '-ec', lines, ...[file, link, dangling].map((p) => p.slice('/mnt/w/'.length))], o)
      )
      for (const name of [file, link, dangling]) {
        ok(await start(['-P', name], o))
        assert.match(text(name), /^\d+\n$/)
        ok(await start(['-l', name], o))
        assert.match(text(name), /^pasta \S+: /)
        ok(await start(['-p', name], o))
        assert.equal(readFileSync(outside(name)).readUInt32LE(0), 0xa1b2c3d4)
      }
      assert.equal(statSync(outside(file)).mode & 0o777, 0o644)
      assert.equal(statSync(outside(dangling)).mode & 0o777, 0o600)
    })
    test('/dev/stdout and /dev/fd/1, a pipe or a file; /dev/null', async () => {
      for (const path of ['/dev/stdout', '/dev/fd/1', '/proc/self/fd/1']) {
        const piped = ['sh', '-ec', '"$@" | cat', '-', pasta, ...quietPorts]
        assert.match(ok(await w.run([...piped, '-l', path, '--', 'true'], o)).stdout, /^pasta \S+: /)
        assert.match(ok(await w.run([...piped, '-P', path, '--', 'true'], o)).stdout, /^\d+$/m)
      }
      const name = fresh()
      const argv = ['sh', '-ec', 'umask 0; exec > "$0"; exec "$@"', name, pasta, ...quietPorts]
      ok(await w.run([...argv, '-P', '/dev/stdout', '--', 'true'], o))
      assert.match(text(name), /^\d+\n$/)
      ok(await start(['-l', '/dev/null', '-P', '/dev/null', '-p', '/dev/null'], o))
    })
    test('new files have mode 0600 whatever the umask', async () => {
      const names = [fresh(), fresh(), fresh()] as const
      const options = ['-P', names[0], '-l', names[1], '-p', names[2]]
      const argv = ['sh', '-ec', 'umask 0; exec "$@"', '-', pasta, ...quietPorts, ...options, '--', 'true']
      ok(await w.run(argv, o))
      for (const name of names) assert.equal(statSync(outside(name)).mode & 0o7777, 0o600)
    })
  })

describe('the socket', oursOnly, () => {
  const bind = 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])'
  test('of another user is not replaced though nobody serves it', async () => {
    for (const o of [root, {}]) {
      const path = fresh()
      ok(await w.run(['python3', '-c', bind, path], other))
      const r = await w.run([passt, '-f', '-s', path], o)
      assert.equal(r.code, 1, show(r))
      assert.match(
        r.stderr,
        /a socket of another user's \(user (1001|not known here)\) is there, which nobody serves/
      )
      assert.ok(existsSync(outside(path)))
    }
  })
  test("behind another user's link is not made", async () => {
    const dir = fresh()
    ok(await w.run(['ln', '-s', '/mnt/w', dir], other))
    const r = await w.run([passt, '-f', '-s', `${dir}/x.socket`], root)
    assert.equal(r.code, 1, show(r))
    assert.match(r.stderr, /belongs to another user \(user (1001|not known here)\)/)
  })
  for (const [umask, mode, said] of [
    ['077', 0o700, false],
    ['022', 0o755, false],
    ['002', 0o775, true],
    ['000', 0o777, true]
  ] as const)
    test(`with umask ${umask}: others ${said ? 'may connect, which is said once' : 'may not connect'}`, async () => {
      const path = fresh()
      const proc = w.start(['sh', '-ec', `umask ${umask}; exec "$@"`, '-', passt, '-f', '-s', path])
      await proc.sees(/bound at/, 'stderr')
      assert.equal(statSync(outside(path)).mode & 0o777, mode)
      const r = await proc.stop('SIGTERM')
      assert.equal(r.stderr.match(/other users may connect/g)?.length ?? 0, said ? 1 : 0, show(r))
    })
})

describe('--pcap-size', oursOnly, () => {
  for (const kind of ['pcap', 'pcapng'])
    test(`${kind}: the capture ends before it is larger, between two frames; traffic goes on`, async () => {
      const path = `${fresh()}.${kind}`
      const ping = ['sh', '-c', `ping -q -f -c 300 -s 1000 ${net.world4}; ping -q -c 1 -W 10 ${net.world4}`]
      const options = ['--config-net', '-m', '1500', '-p', path, '--pcap-size', '131072']
      const r = ok(await w.run([pasta, ...quietPorts, ...options, '--', ...ping]))
      assert.match(r.stdout, /300 packets transmitted[\s\S]*1 packets transmitted, 1 received/)
      assert.equal(r.stderr.match(/capture ended: no room for the next frame/g)?.length, 1, show(r))
      const b = octets(Uint8Array.from(readFileSync(outside(path))))
      assert.ok(b.len > 131072 - 1200 && b.len <= 131072, `${b.len} octets`)
      const records = kind === 'pcap' ? decodePcap(b) : decodePcapng(b)
      assert.ok(typeof records !== 'string', String(records))
    })
  test('too small a size is an error', async () => {
    const r = await start(['-p', fresh(), '--pcap-size', '131071'])
    assert.equal(r.code, 1)
    assert.match(r.stderr, /--pcap-size: 131071 is not in 131072\.\./)
  })
})
