// Sockets that the program is started with (behaviour.md#sockets-by-descriptor), by number and as a service manager hands them over.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { ask, type Place, waiting } from './lib/guest.js'
import { passt } from './lib/passt.js'
import { type Proc, until } from './lib/proc.js'
import { replay } from './lib/replay.js'
import { helper, isPeer, net, ok, pasta, type RunOptions, describe as show } from './lib/world.js'

const bed = useBed()
const ours = { skip: isPeer && 'upstream takes no such sockets' }

/** argv of a program that is started with these sockets, which root has made. */
const activated = (
  uid: number,
  sockets: ReadonlyArray<string>,
  command: ReadonlyArray<string>
): ReadonlyArray<string> => ['python3', helper('activate.py'), `${uid}`, ...sockets, '--', ...command]
const peer = ['python3', helper('peer.py'), net.host4, net.host6]
const start = (
  uid: number,
  sockets: ReadonlyArray<string>,
  options: ReadonlyArray<string>,
  command: ReadonlyArray<string>,
  o: RunOptions = {}
): Proc =>
  bed.w.start(
    activated(uid, sockets, [pasta, '--config-net', ...quietBut(options), ...options, '--', ...command]),
    {
      uid: 0,
      ...o
    }
  )
const quietBut = (options: ReadonlyArray<string>): ReadonlyArray<string> =>
  ['-t', '-u', '-T', '-U'].filter((name) => !options.includes(name)).flatMap((name) => [name, 'none'])
const read = async (from: Place, address: string, port: number): Promise<unknown> =>
  (await ask(bed.w, from, ['tcp-read', address, port])).data
const pesto = (conf: string, ...args: ReadonlyArray<string>) =>
  bed.w.run(['/mnt/repo/bin/pesto', ...args, conf], { uid: 0 })

describe('sockets that it is started with', ours, () => {
  for (const uid of [0, 1000])
    test(`by user ${uid}: lead to the guest, by tap and past it, are listed, and stay`, async () => {
      const sockets = [
        'web=tcp@127.0.0.1/80',
        'web=tcp@::/8800',
        'dns=udp@::/5353',
        'other=tcp@127.0.0.1/8801'
      ]
      const conf = `/mnt/w/given-${uid}.conf`
      const ports = ['-t', 'fd:web:7006', '-u', 'fd:dns:7002']
      const options = ['-d', '-c', conf, '--record', `/mnt/w/given-${uid}.rec`, ...ports]
      const proc = start(uid, sockets, options, peer)
      await proc.sees(/ready/)
      assert.match(proc.stderr, /sockets of LISTEN_FDS that no -t or -u names are closed: 6 \(other\)/)

      assert.equal(await read('host', '127.0.0.1', 80), 'ok\n')
      assert.equal(await read('host', '::1', 8800), 'ok\n')
      assert.equal(await read('world', net.host4, 8800), 'ok\n')
      assert.equal(await read('world', net.host6, 8800), 'ok\n')
      // connected: the answer comes from where the question went
      for (const [from, address] of [
        ['world', net.host4],
        ['world', net.host6],
        ['host', '127.0.0.1']
      ] as const)
        assert.equal((await ask(bed.w, from, ['udp-report', address, 5353, 77])).len, 77)

      const rules = ['TCP [127.0.0.1]:80  =>  7006', 'TCP [*]:8800  =>  7006', 'UDP [*]:5353  =>  7002'].map(
        (line) => `    ${line} `
      )
      const listed = async () =>
        ok(await pesto(conf))
          .stdout.split('\n')
          .slice(2, 2 + rules.length)
      assert.deepEqual(await listed(), rules)
      // in place of all rules: the others are done; then the same again, and one that is in the way
      const replaced = await pesto(conf, '-t', '8802', '-u', 'none')
      assert.equal(replaced.code, 1)
      assert.match(
        replaced.stderr,
        /^The server has not done it, and its log says why:\nTCP \[127\.0\.0\.1\]:80 /
      )
      await proc.sees(
        /TCP \[127\.0\.0\.1\]:80 {2}=> {2}7006 listens by a descriptor .* \(web\): it stays/,
        'stderr'
      )
      assert.deepEqual(await listed(), rules)
      const tcp = async () => (await waiting(bed.w, 'host', 'tcp')).filter((l) => / (80|88..)$/.test(l))
      const listens = await tcp()
      assert.deepEqual(listens, ['* 8800', '* 8802', '127.0.0.1 80'])
      ok(await pesto(conf, '--add', '-t', '127.0.0.1/80:7006'))
      const refused = await pesto(conf, '--add', '-t', '127.0.0.1/80:81')
      assert.match(refused.stderr, /conflict/)
      assert.deepEqual(await tcp(), listens)
      assert.equal(await read('host', '127.0.0.1', 80), 'ok\n')

      await proc.stop()
      await until('the record to be whole', () => {
        const r = replay(join(bed.w.dir, `given-${uid}.rec`))
        return r.status === 0 && /^replays exactly/m.test(r.out)
      })
    })

  test('neither they nor what is said of them reach the command', async () => {
    for (const via of ['', 'other', 'number']) {
      const options = ['-t', via === 'other' ? 'none' : 'fd:3:7006', '--no-pidns']
      const script = 'ls -l /proc/$$/fd; env'
      const proc = start(1000, ['web=tcp@127.0.0.1/8810'], options, ['sh', '-ec', script], {
        env: { VIA: via }
      })
      const r = ok(await proc.wait())
      assert.doesNotMatch(r.stdout, / ([3-9]|\d\d+) -> socket:|LISTEN_/)
      assert.match(r.stdout, /^PATH=/m)
    }
  })
  test('passt: a connection from the world', async () => {
    const argv = [
      passt,
      '-f',
      '-d',
      '-s',
      '/mnt/w/given.socket',
      '-P',
      '/mnt/w/given.pid',
      '-t',
      'fd:web:22',
      '-u',
      'none'
    ]
    const proc = bed.w.start(activated(1000, ['web=tcp@::/8811'], argv), { uid: 0 })
    await until('it serves', async () => (await bed.w.sh('cat /mnt/w/given.pid 2>/dev/null || :')) !== '')
    const r = await ask(bed.w, 'world', ['tcp-connect', net.host4, 8811])
    assert.equal(r.error, null, 'accepted; nobody is at the link')
    await proc.sees(/Flow \d+ \(TCP connection\)/, 'stderr')
    await proc.stop()
  })
  const refusals: ReadonlyArray<readonly [string, string, string, RegExp, string?]> = [
    [
      'not there',
      'a=tcp@127.0.0.1/8820',
      '-t fd:4:80',
      /--tcp-ports fd:4:80: we were started without such a descriptor/
    ],
    [
      'a name that nobody has',
      'a=tcp@127.0.0.1/8820',
      '-t fd:b:80',
      /we were started without such a descriptor/
    ],
    [
      'names for another process',
      'a=tcp@127.0.0.1/8820',
      '-t fd:a:80',
      /we were started without such a/,
      'other'
    ],
    ['no socket', 'a=file', '-t fd:3:80', /fd:3:80: it is no socket/, 'number'],
    ['a UNIX socket', 'a=unix@/tmp/given', '-t fd:a:80', /it is a UNIX socket/],
    ['it does not listen', 'a=bound@127.0.0.1/8820', '-t fd:3:80', /it does not listen/],
    ['UDP for TCP', 'a=udp@127.0.0.1/8820', '-t fd:a:80', /it is no TCP socket/],
    ['TCP for UDP', 'a=tcp@127.0.0.1/8820', '-u fd:a:80', /it is no UDP socket/],
    [
      'a UDP port that answers cannot come from',
      'a=udp@127.0.0.1/53',
      '-u fd:a:53',
      /at its port 53, which we may not bind/
    ],
    ['in the namespace', 'a=tcp@127.0.0.1/8820', '-T fd:a:80', /are for -t and -u only/]
  ]
  for (const [what, socket, option, says, via] of refusals)
    test(`refused: ${what}`, async () => {
      const o = via === undefined ? {} : { env: { VIA: via } }
      const r = await start(1000, [socket], option.split(' '), ['true'], o).wait()
      assert.equal(r.code, 1, show(r))
      assert.match(r.stderr, says)
      await bed.w.sh('rm -f /tmp/given')
    })
  test('handed over to who takes our place (--restart-path), who need not have them', async () => {
    const netns = await bed.w.namespaces()
    const server = ['nsenter', '-t', `${netns.pid}`, '-U', '-n', '--']
    const common = [
      '-f',
      '--config-net',
      '--restart-path',
      '/mnt/w/given.restart',
      '-u',
      'none',
      '-T',
      'none',
      '-U',
      'none'
    ]
    const argv = (pid: string) => [pasta, ...common, '-t', 'fd:web:7006', '-P', pid, `${netns.pid}`]
    const serves = (pid: string) =>
      until('it serves', async () => (await bed.w.sh(`cat ${pid} 2>/dev/null || :`)) !== '')
    const first = bed.w.start(activated(1000, ['web=tcp@::/8830'], argv('/mnt/w/given.pid1')), { uid: 0 })
    await serves('/mnt/w/given.pid1')
    const guest = bed.w.start([...server, ...peer], { uid: 0 })
    await guest.sees(/ready/)
    assert.equal(await read('world', net.host4, 8830), 'ok\n')
    const second = bed.w.start(argv('/mnt/w/given.pid2'))
    await serves('/mnt/w/given.pid2')
    ok(await first.wait())
    assert.equal(await read('world', net.host4, 8830), 'ok\n')
    await second.stop()
    await guest.stop()
    await netns.proc.stop()
  })
})
