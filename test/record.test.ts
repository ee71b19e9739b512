// --record on real sessions, and passt-replay on what they wrote: every effect is the same.
import assert from 'node:assert/strict'
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import * as O from 'fp-ts/lib/Option.js'
import { parseAddr, writeV6 } from '../src/codecs/value/inany.js'
import { useBed } from './lib/bed.js'
import { until } from './lib/proc.js'
import { replay } from './lib/replay.js'
import {
  asShipped,
  helper,
  isPasst,
  isPeer,
  net,
  ok,
  pasta,
  quietPorts,
  describe as show
} from './lib/world.js'

asShipped()

const bed = useBed()
const oursOnly = { skip: isPeer && 'upstream has no records' }
const py = `python3 ${helper('client.py')}`
const path = (name: string): string => join(bed.w.dir, name)

interface Outcome {
  readonly turns: number
  readonly events: number
  readonly effects: number
  readonly same: boolean
  readonly cut: string | null
  readonly end: string | null
  readonly begins: string
  readonly flows: ReadonlyArray<{ readonly index: number; readonly state: string }>
}
const outcome = (...args: string[]): Outcome => {
  const r = replay('--json', ...args)
  assert.ok(r.status !== 2 && r.status !== null, r.err)
  return JSON.parse(r.out.trim().split('\n').at(-1)!) as Outcome
}
/** Exactly as recorded, by the tables and by xstate. */
const assertSame = (name: string): Outcome => {
  for (const how of [[], ['--xstate']]) {
    const r = replay(...how, path(name))
    assert.equal(r.status, 0, r.out + r.err)
    assert.match(r.out, /^replays exactly/m)
  }
  return outcome(path(name))
}

/** Everything that the pure part knows of, both families. */
const traffic = [
  ...[net.world4, net.world6].flatMap((to) => [
    `ping -n -c 2 -i 0.1 ${to}`,
    `ping -n -c 1 -s 3000 ${to}`,
    `${py} tcp-get ${to} 7003 3000000`,
    `${py} tcp-send ${to} 7004 3000000`,
    `${py} udp-echo ${to} 7001 10`
  ]),
  // nobody is there
  `${py} tcp-read ${net.world4} 7 || true`,
  'ip neigh flush all'
].join('; ')

const octetsOf6 = (text: string): Buffer => {
  const a = parseAddr(text)
  assert.ok(O.isSome(a))
  const view = new DataView(new ArrayBuffer(16))
  writeV6(view, 0, a.value)
  return Buffer.from(view.buffer)
}
const SECRET = 'secret-of-ours'
const saySecret = `echo ${SECRET} | timeout 2 nc -u -w 1 ${net.world4} 7001 || true`

describe('a session', () => {
  test('of TCP, UDP, pings and fragments: replays exactly, and has no data in it', oursOnly, async () => {
    await bed.w.inside(`${traffic}; ${saySecret}`, ['-m', '1500', '--record', '/mnt/w/a.rec'])
    const o = assertSame('a.rec')
    assert.ok(o.events > 120 && o.effects > 60 && o.turns > 120, JSON.stringify(o))
    assert.equal(o.end, 'stop')
    const { size, mode } = statSync(path('a.rec'))
    assert.ok(size < 600_000, `${size} octets for 12 MB of data`)
    assert.equal(mode & 0o777, 0o600)
    assert.ok(!readFileSync(path('a.rec')).includes(SECRET))
    // With other addresses as well
    const anonymize = replay('--anonymize', path('n.rec'), path('a.rec'))
    assert.equal(anonymize.status, 0, anonymize.err)
    assert.ok(outcome(path('n.rec')).same)
    const world6 = octetsOf6(net.world6)
    assert.ok(readFileSync(path('a.rec')).includes(world6))
    assert.ok(!readFileSync(path('n.rec')).includes(world6))
  })
  test("with users' data, and a capture beside it", oursOnly, async () => {
    await bed.w.inside(saySecret, ['--record', '/mnt/w/b.rec', '--record-payload', '-p', '/mnt/w/b.pcapng'])
    assertSame('b.rec')
    assert.ok(readFileSync(path('b.rec')).includes(SECRET))
  })
})

// The same for every link
if (!isPasst) {
  describe('a session of pasta', () => {
    test(
      'whose address comes by DHCP, with automatic ports and connections past the tap',
      oursOnly,
      async () => {
        const dhclient = `dhclient -1 -sf ${helper('dhcp.sh')} -lf /mnt/w/leases -pf /mnt/w/pid eth0 2>&1`
        const lines = [
          `rm -f /mnt/w/leases; ${dhclient}; (timeout 60 nc -l 9080 </dev/null >/dev/null; echo got) &`,
          `echo up; ${py} tcp-get ${net.world4} 7003 100000; ${py} tcp-get 127.0.0.1 7003 100000; wait`
        ].join('\n')
        const proc = bed.w.startPasta(
          ['--record', '/mnt/w/d.rec', '-t', 'auto', '-T', '7003'],
          ['sh', '-ec', lines]
        )
        await proc.sees(/up/)
        const knock = `for i in $(seq 500); do echo x | nc -N ${net.host4} 9080 && exit 0; sleep 0.1; done; exit 1`
        ok(await bed.w.run(['sh', '-c', knock], { in: 'world' }))
        ok(await proc.wait())
        assertSame('d.rec')
        const step = replay('--step', path('d.rec'))
        for (const what of [/ACCEPTED/, /SPLICE_EOF/, /TAP_FRAME .*UDP \[?0.0.0.0\]?:68/])
          assert.match(step.out, what)
        // The same with other addresses
        const anonymize = replay('--anonymize', path('n.rec'), path('d.rec'))
        assert.equal(anonymize.status, 0, anonymize.err)
        assert.ok(outcome(path('n.rec')).same)
        const shown = replay('--step', path('n.rec')).out
        for (const address of [net.world4, net.host4, net.gw4]) {
          assert.ok(step.out.includes(`${address}`), address)
          assert.ok(!shown.includes(`${address}:`), address)
        }
      }
    )
    test('that is killed: replays up to its last fifth of a second', oursOnly, async () => {
      const proc = bed.w.startPasta(
        ['--config-net', '--record', '/mnt/w/k.rec'],
        ['sh', '-ec', `${py} tcp-get ${net.world4} 7003 300000; sleep 0.5; echo done; sleep 100`]
      )
      await proc.sees(/done/)
      const engine = bed.w.processes().find((line) => /engine\.cjs/.test(line))
      assert.ok(engine !== undefined)
      process.kill(Number(engine.split(' ')[0]), 'SIGKILL')
      await proc.wait()
      const r = replay(path('k.rec'))
      assert.equal(r.status, 0, r.out)
      assert.match(r.out, /^the record ends early: nobody wrote its end/m)
      assert.ok(outcome(path('k.rec')).events > 20)
      const file = readFileSync(path('k.rec'))
      for (const less of [1, 5, 300]) {
        writeFileSync(path('cut.rec'), file.subarray(0, file.length - less))
        const cut = replay(path('cut.rec'))
        assert.equal(cut.status, 0, cut.out)
        assert.match(cut.out, /^the record ends early: the last chunk is cut/m)
      }
    })
  })

  test(
    'a record ends where another process takes its place, whose own begins there, with its flows',
    oursOnly,
    async () => {
      ok(await bed.w.run(['ip', 'netns', 'add', 'guest'], { uid: 0 }))
      const options = (name: string): string[] => [
        ...[pasta, ...quietPorts, '-f', '--runas', '0', '--config-net', '--netns', '/run/netns/guest'],
        ...[
          '--restart-path',
          '/mnt/w/restart.socket',
          '--record',
          `/mnt/w/${name}.rec`,
          '-P',
          `/mnt/w/${name}.pid`
        ]
      ]
      const former = bed.w.start(options('former'), { uid: 0 })
      await until('it serves', () => existsSync(path('former.pid')))
      const get = ['python3', helper('client.py'), 'tcp-get', net.world4, '7003', '30000']
      ok(await bed.w.run(['ip', 'netns', 'exec', 'guest', ...get], { uid: 0 }))
      const lines = `(echo before; until [ -e /mnt/w/go ]; do sleep 0.05; done; echo behind) | nc -N ${net.world4} 7001`
      const stays = bed.w.start(['ip', 'netns', 'exec', 'guest', 'sh', '-c', lines], { uid: 0 })
      await stays.sees(/before/)
      const next = bed.w.start(options('next'), { uid: 0 })
      ok(await former.wait())
      assert.match(assertSame('former.rec').end ?? '', /restart/)
      await next.sees(/restart: \d+ flows taken over/, 'stderr')
      writeFileSync(path('go'), '')
      await stays.sees(/behind/)
      ok(await bed.w.run(['ip', 'netns', 'exec', 'guest', ...get], { uid: 0 }))
      await until('it is written', () => outcome(path('next.rec')).events > 20)
      await next.stop('SIGTERM')
      const o = assertSame('next.rec')
      assert.equal(o.begins, 'middle')
    }
  )

  describe('the file', () => {
    test('has no more than --record-size: the oldest makes room for the newest', oursOnly, async () => {
      const lines = `ping -n -q -f -c 1500 ${net.world4}; ${traffic}`
      const options = ['--config-net', '-m', '1500', '--record', '/mnt/w/s.rec', '--record-size', '131072']
      const r = await bed.w.pasta(options, ['sh', '-ec', lines])
      assert.doesNotMatch(ok(r).stderr, /record ended/, show(r))
      assert.ok(statSync(path('s.rec')).size <= 131072)
      const o = assertSame('s.rec')
      assert.deepEqual([o.begins, o.end], ['middle', 'stop'])
      assert.ok(o.turns > 50, `${o.turns}`)
    })
    test('of a pipe ends at --record-size, with one message; traffic goes on', oursOnly, async () => {
      const lines = `ping -n -q -f -c 1500 ${net.world4}`
      await bed.w.sh('rm -f /mnt/w/pipe; mkfifo /mnt/w/pipe; chown 1000 /mnt/w/pipe')
      const reader = bed.w.start(['sh', '-c', 'cat /mnt/w/pipe > /mnt/w/piped.rec'])
      const options = ['--config-net', '--record', '/mnt/w/pipe', '--record-size', '131072']
      const r = await bed.w.pasta(options, ['sh', '-ec', lines])
      ok(await reader.wait())
      assert.equal(ok(r).stderr.match(/record ended/g)?.length, 1, show(r))
      assert.ok(statSync(path('piped.rec')).size <= 131072)
      const o = replay(path('piped.rec'))
      assert.equal(o.status, 0, o.out)
      assert.match(o.out, /--record-size was reached/)
    })
    test('that cannot be written is reported, and the command runs', oursOnly, async () => {
      const r = await bed.w.pasta(['--config-net', '--record', '/dev/full'], ['true'])
      assert.match(ok(r).stderr, /^error: record ended: ENOSPC; traffic goes on$/m)
      const where = await bed.w.pasta(['--record', '/nowhere/x'], ['true'])
      assert.match(ok(where).stderr, /cannot write the record \/nowhere\/x: /)
    })
  })

  describe('passt-replay', () => {
    test('shows flows, steps, and what it cannot read', oursOnly, async () => {
      await bed.w.inside(`${py} tcp-get ${net.world4} 7003 10000`, ['--record', '/mnt/w/t.rec'])
      const file = path('t.rec')
      const step = replay('--step', '--flow', '0', file)
      assert.match(step.out, /^ {2}> TAP_FRAME .*TCP 198\.51\.100\.2:\d+ > 198\.51\.100\.3:7003 \[S\]/m)
      assert.match(step.out, /^ {4}Flow 0 \(TCP connection\): SOCK_CONNECTED: CONNECTING -> SYN_RCVD$/m)
      const turns = [...step.out.matchAll(/^turn (\d+) /gm)].map(([, n]) => n!)
      const until = replay('--until', turns[3]!, file)
      assert.match(until.out, /^Flow 0 \(TCP connection\): TAP \[198\.51\.100\.2\]:\d+ -> .*, ESTABLISHED$/m)
      for (const [args, what] of [
        [['/etc/passwd'], /not a file of --record/],
        [['/nowhere'], /ENOENT/],
        [['--until', 'x', file], /--until needs a number/],
        [['--what', file], /unrecognized option '--what'/],
        [[], /which record\?/],
        [[file, '--step'], /one record at a time, behind all options/],
        [['--shrink', path('o.rec'), file], /nothing differs/]
      ] as const) {
        const r = replay(...args)
        assert.equal(r.status, 2, args.join(' '))
        assert.match(r.err, what)
      }
    })
    test('needs nothing that only the one who wrote it has', oursOnly, async () => {
      chmodSync(path('t.rec'), 0o644)
      const lines = `unshare -n setpriv --reuid 65534 --clear-groups ${pasta.replace(/pasta$/, 'passt-replay')} /mnt/w/t.rec`
      assert.match(await bed.w.sh(lines), /replays exactly/)
    })
  })
}
