// Where messages go: standard error, the system logger, a log file that never grows past its limit, a full disk.
import assert from 'node:assert/strict'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { kill, type Proc, until } from './lib/proc.js'
import { helper, isPeer, net, ok, pasta, quietPorts, describe as show } from './lib/world.js'

// A /dev of our own, so that a system logger can be in it; and a disk of 64 KiB.
let logger: Proc
const bed = useBed(
  {
    hostSetup: `mkdir /run/dev /run/small
      mount -t tmpfs -o mode=755 tmpfs /run/dev
      cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /run/dev
      mkdir /run/dev/net; mknod -m 666 /run/dev/net/tun c 10 200; ln -s /proc/self/fd /run/dev/fd
      mount --bind /run/dev /dev
      mount -t tmpfs -o mode=1777,size=64k tmpfs /run/small`
  },
  async (w) => {
    logger = w.start(['python3', helper('syslog.py'), '/dev/log'], { uid: 0, timeout: 900_000 })
    await logger.sees(/ready/)
  }
)
const oursOnly = { skip: isPeer && 'upstream does otherwise' }
const DHCP = 'busybox udhcpc -f -q -n -i eth0 -s /bin/true >/dev/null 2>&1'
/** The namespace's own interface up, a DHCP transaction, and `more`. */
const script = (more = ''): string => `ip link set eth0 up; ${DHCP}; ${more}`

/** What the system logger gets while `run` goes on. */
const logged = async (run: () => Promise<unknown>): Promise<string[]> => {
  const from = logger.stdout.length
  await run()
  return logger.stdout
    .slice(from)
    .split('\n')
    .filter((l) => l !== '')
    .map((l) => JSON.parse(l) as string)
}
const file = (name: string): string =>
  existsSync(join(bed.w.dir, name)) ? readFileSync(join(bed.w.dir, name), 'utf8') : ''

const into = (pid: number, lines: string) =>
  bed.w.run(['nsenter', '-t', `${pid}`, '-U', '-n', '--preserve-credentials', 'sh', '-ec', lines], {
    uid: 1000
  })

describe('the system logger', () => {
  test('gets what happens, as <PRI>ident: text, and so does nobody else', async () => {
    const lines = await logged(async () => {
      const r = ok(await bed.w.pasta([], ['sh', '-ec', script()]))
      assert.equal(r.stderr, '')
    })
    assert.match(lines.join('\n'), /^<\d+> ?pasta: DHCP/m)
    if (!isPeer)
      assert.ok(
        lines.every((l) => /^<(27|28|30)>pasta: *\S/.test(l)),
        lines.join('\n')
      )
  })
  test('not with -d, which shows it on standard error, nor with a log file', async () => {
    const lines = await logged(async () => {
      const r = ok(await bed.w.pasta(['-d'], ['sh', '-ec', script()]))
      assert.match(r.stderr, /^\d+\.\d{4}: .*DHCP/m)
      ok(await bed.w.pasta(['-l', '/mnt/w/a.log'], ['sh', '-ec', script()]))
    })
    assert.deepEqual(lines, [])
  })
  test('-q: no information', async () => {
    assert.deepEqual(await logged(() => bed.w.pasta(['-q'], ['sh', '-ec', script()])), [])
  })
  test('hears why we ended as well', oursOnly, async () => {
    const lines = await logged(() => bed.w.run([pasta, ...quietPorts, '-I', 'lo', 'true']))
    assert.match(lines.join('\n'), /^<27>pasta: /m)
  })
  test('missing, or not reading: nobody waits for it', async () => {
    await bed.w.sh('mv /dev/log /dev/log.away')
    ok(await bed.w.pasta([], ['sh', '-ec', script()]))
    const deaf = bed.w.start(['python3', helper('syslog.py'), '/dev/log', 'deaf'], { uid: 0 })
    await deaf.sees(/ready/)
    for (let i = 0; i < 2; i++) ok(await bed.w.pasta([], ['sh', '-ec', script()]))
    await deaf.stop()
    await bed.w.sh('mv /dev/log.away /dev/log')
  })
  test('in background: hears it, while standard error is closed', async () => {
    const target = await bed.w.namespaces()
    const lines = await logged(async () => {
      const r = ok(await bed.w.run([pasta, ...quietPorts, '-I', 'eth0', `${target.pid}`]))
      assert.doesNotMatch(r.stderr, /DHCP: (ack|offer)/)
      ok(await into(target.pid, script()))
    })
    assert.match(lines.join('\n'), /^<\d+> ?pasta: DHCP/m)
    await target.proc.stop()
  })
  test('a guest cannot flood it', oursOnly, async () => {
    // what was left out is said once there is a token again, which takes 5 s (machines/log/log-limiter.ts)
    const lines = await logged(() =>
      bed.w.pasta(
        [],
        [
          'sh',
          '-ec',
          `ip link set eth0 up; i=0
      while [ $i -lt 60 ]; do ${DHCP}; i=$((i + 1)); done
      sleep 5.2; ${DHCP}`
        ]
      )
    )
    const heard = lines.filter((l) => l.includes('DHCP'))
    assert.ok(heard.length >= 20 && heard.length < 60, `${heard.length} lines for 120 messages`)
    assert.match(lines.join('\n'), /\d+ more like this suppressed/)
  })
})

describe('standard error', () => {
  test('-f: what happens; -q: only what is wrong', oursOnly, async () => {
    const target = await bed.w.namespaces()
    for (const [options, wanted] of [
      [['-f'], true],
      [['-f', '-q'], false]
    ] as const) {
      const proc = bed.w.start([
        pasta,
        ...quietPorts,
        ...options,
        '-I',
        'eth0',
        '-P',
        '/mnt/w/pid',
        `${target.pid}`
      ])
      await until('the pid file', () => file('pid') !== '')
      ok(await into(target.pid, script()))
      kill(await proc.pid(), 'SIGTERM')
      const r = await proc.wait()
      assert.equal(/DHCP: ack/.test(r.stderr), wanted, show(r))
      await bed.w.sh('rm /mnt/w/pid')
    }
    await target.proc.stop()
  })
  test('that nobody reads stops no traffic', oursOnly, async () => {
    // a pipe that the shell itself keeps open: full after 64 KiB
    const get = `sh -c 'ping -q -f -c 2000 ${net.world4}; python3 ${helper('client.py')} tcp-get ${net.world4} 7003 1000000'`
    const lines = `mkfifo /tmp/full; exec 4<>/tmp/full; ${pasta} ${quietPorts.join(' ')} --config-net --trace -- ${get} 2>&4
      timeout 30 head -c 60001 /tmp/full | wc -c`
    const r = ok(await bed.w.run(['sh', '-c', lines]))
    assert.match(r.stdout, / 0% packet loss[\s\S]*"octets": 1000000/)
    assert.ok(Number(r.stdout.trim().split('\n').at(-1)) > 60_000, show(r))
  })
})

describe('a log file', () => {
  test('header, tags, levels; mode 0600; start-up lines as well', async () => {
    ok(await bed.w.pasta(['-l', '/mnt/w/b.log'], ['sh', '-ec', script()]))
    const [first, ...rest] = file('b.log').trimEnd().split('\n')
    assert.match(first!, /^pasta \S+: \S*\/\S+ \(\d+\)$/)
    assert.ok(
      rest.every((l) => /^\d+\.\d{4}: (ERROR: {3}|WARNING: |info: {4}| {9})\S?/.test(l)),
      rest.join('\n')
    )
    assert.match(rest.join('\n'), /^\d+\.\d{4}: info: {4}DHCP/m)
    assert.equal(statSync(join(bed.w.dir, 'b.log')).mode & 0o777, 0o600)
    ok(await bed.w.pasta(['-q', '-l', '/mnt/w/b.log'], ['sh', '-ec', script()]))
    assert.doesNotMatch(file('b.log'), /info/)
    ok(await bed.w.pasta(['-d', '-l', '/mnt/w/b.log'], ['sh', '-ec', script()]))
    assert.match(file('b.log'), /^\d+\.\d{4}: {10}\S/m)
  })
  test('that cannot be written: status 1', async () => {
    const r = await bed.w.pasta(['-l', '/nonexistent/x.log'], ['true'])
    assert.equal(r.code, 1, show(r))
    assert.match(r.stderr, /nonexistent/)
    assert.equal((await bed.w.pasta(['-l', '/mnt/w'], ['true'])).code, 1)
    const full = await bed.w.pasta(['-l', '/dev/full'], ['true'])
    assert.equal(full.code, 1, show(full))
    if (!isPeer)
      assert.match(full.stderr, /cannot write the log file \/dev\/full: ENOSPC, no space left on device$/m)
  })
  for (const place of ['/mnt/w', '/tmp'])
    test(`never grows past its limit, and is the same file (${place})`, async () => {
      const path = `${place}/c.log`
      await bed.w.sh(`rm -f ${path}; : > ${path}; chown 1000 ${path}`)
      const inode = () => bed.w.sh(`stat -c %i ${path}`)
      const old = await inode()
      const more = `ip addr add ${net.host4}/24 dev eth0; ip route add default via ${net.gw4}; ping -f -c 1500 -W 1 ${net.world4} >/dev/null || true`
      const proc = bed.w.startPasta(
        ['--trace', '-l', path, '--log-size', '40960'],
        ['sh', '-ec', script(more)]
      )
      let most = 0
      while (proc.running) most = Math.max(most, Number(await bed.w.sh(`stat -c %s ${path}`)))
      ok(await proc.wait())
      assert.ok(most > 20_000 && most <= 40_960, `${most} octets`)
      assert.equal(await inode(), old)
      const [first, second, ...rest] = (await bed.w.sh(`cat ${path}`)).trimEnd().split('\n')
      assert.match(first!, /^pasta \S+: \S*\/\S+ \(\d+\) - log truncated at \S+ *$/)
      for (const line of [second!, ...rest]) assert.match(line, /^\d+\.\d{4}: .{9}/)
      const times = rest.map((l) => Number(l.split(':')[0]))
      assert.deepEqual(
        times,
        [...times].sort((a, b) => a - b)
      )
    })
  test('on a full disk costs lines, not traffic; what was lost is said', oursOnly, async () => {
    const r = await bed.w.pasta(
      ['--config-net', '--trace', '-l', '/run/small/d.log'],
      [
        'sh',
        '-ec',
        `python3 ${helper('client.py')} tcp-get ${net.world4} 7003 1000000
        dd if=/dev/zero of=/run/small/fill bs=1k 2>/dev/null || true
        for i in 1 2 3; do python3 ${helper('client.py')} tcp-get ${net.world4} 7003 1000000; ping -c 1 ${net.world4}; done
        rm /run/small/fill
        ping -c 1 ${net.world4}`
      ]
    )
    assert.equal((ok(r).stdout.match(/"octets": 1000000/g) ?? []).length, 4, show(r))
    const text = await bed.w.sh('cat /run/small/d.log; rm /run/small/d.log')
    assert.match(text, /WARNING: \d+ lines could not be written/)
    assert.ok(
      text
        .split('\n')
        .slice(1, -1)
        .every((l) => /^\d+\.\d{4}: /.test(l))
    )
  })
})

describe('flows', () => {
  const py = `python3 ${helper('client.py')}`
  const all = `${py} tcp-get ${net.world4} 7003 1000; ${py} tcp-refused ${net.world4} 9; ping -c 1 ${net.world6}; ${py} udp-echo ${net.world6} 7001 10`
  const ends = (from: string, to: string): string =>
    `TAP \\[${from}\\]:\\d+ -> \\[${to}\\]:\\d+ => HOST \\S+( -> \\[${to}\\]:\\d+)?`.replaceAll('.', '\\.')
  test('-d: begin with both sides, every state by its name, end', oursOnly, async () => {
    const { stderr } = ok(await bed.w.pasta(['--config-net', '-d'], ['sh', '-ec', all]))
    assert.match(stderr, new RegExp(`Flow \\d+ \\(TCP connection\\): +${ends(net.host4, net.world4)}`))
    assert.match(stderr, new RegExp(`Flow \\d+ \\(ICMPv6 ping\\): +${ends(net.host6, net.world6)}`))
    assert.match(stderr, new RegExp(`Flow \\d+ \\(UDP flow\\): +${ends(net.host6, net.world6)}`))
    const flow = /(Flow \d+ \(TCP connection\)): NEW -> CONNECTING/.exec(stderr)![1]!
    const states = [
      ...stderr.matchAll(/^\d+\.\d{4}: (Flow \d+ \(TCP connection\)): [A-Z_]+: (\w+) -> (\w+)$/gm)
    ]
      .filter((m) => m[1] === flow)
      .map((m) => m[3])
    assert.deepEqual(states.slice(0, 2), ['SYN_RCVD', 'ESTABLISHED'])
    assert.ok(states.includes('TIME_WAIT') || states.includes('LAST_ACK'), states.join(' '))
    assert.match(stderr, /Flow \d+ \(TCP connection\): ECONNREFUSED: TAP/)
    assert.doesNotMatch(stderr, /(from|to) guest/)
  })
  test('--trace: each packet, both ways, by the codecs', oursOnly, async () => {
    const { stderr } = ok(await bed.w.pasta(['--config-net', '--trace'], ['sh', '-ec', all]))
    for (const line of [
      /from guest: ARP who has 198\.51\.100\.3\? tell 198\.51\.100\.2/,
      /to guest: ARP 198\.51\.100\.3 is at /,
      /from guest: TCP 198\.51\.100\.2:\d+ > 198\.51\.100\.3:7003 \[S\] seq \d+ ack 0 win \d+ mss \d+ wscale \d+ len 0/,
      /to guest: TCP 198\.51\.100\.3:7003 > 198\.51\.100\.2:\d+ \[S\.\] seq/,
      /to guest: TCP 198\.51\.100\.3:7003 > 198\.51\.100\.2:\d+ \[\.\] seq \d+ ack \d+ win \d+ len 1000/,
      /to guest: TCP 198\.51\.100\.3:9 > 198\.51\.100\.2:\d+ \[R\.\]/,
      /from guest: ICMPv6 2001:db8:9::2 > 2001:db8:9::3 echo request id \d+ seq 1 len 56/,
      /to guest: ICMPv6 2001:db8:9::3 > 2001:db8:9::2 echo reply id \d+ seq 1 len 56/,
      /from guest: UDP \[2001:db8:9::2\]:\d+ > \[2001:db8:9::3\]:7001 len 10/,
      /to guest: UDP \[2001:db8:9::3\]:7001 > \[2001:db8:9::2\]:\d+ len 10/
    ])
      assert.match(stderr, line)
  })
  test('fragments that contradict each other: dropped, and said so', oursOnly, async () => {
    const lines = await logged(() =>
      bed.w.pasta(['--config-net'], ['python3', helper('wire.py'), 'fragments-v4'])
    )
    const said = lines.filter((l) => l.includes('fragments'))
    assert.deepEqual(said, [
      '<28>pasta: 1 datagrams of the guest dropped: their fragments contradict each other'
    ])
  })
  test('--stats: a table, a row a second at most', oursOnly, async () => {
    const started = Date.now()
    const r = ok(
      await bed.w.pasta(
        ['-f', '--stats', '1', '--config-net'],
        ['sh', '-ec', `ping -c 30 -i 0.1 ${net.world4}`]
      )
    )
    const lines = r.stderr.split('\n').filter((l) => /^( *\S+ ?){10}$/.test(l))
    assert.match(lines[0]!, /^ turns +in +out +tcp +udp +ping splice listen +drops +flows$/)
    const rows = lines.slice(1).map((l) => l.trim().split(/ +/).map(Number))
    assert.ok(rows.length >= 2 && rows.length <= (Date.now() - started) / 1000 + 2, r.stderr)
    const pings = rows.reduce((n, row) => n + row[5]!, 0)
    assert.ok(pings > 10 && pings <= 60, r.stderr)
  })
})
