// The host changes while pasta serves: what the namespace, and flows, have of it (behaviour.md#following).
import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { bridged, passt } from './lib/passt.js'
import { type Proc, until } from './lib/proc.js'
import { helper, isPeer, net, ok, pasta, quietPorts } from './lib/world.js'

const NEW4 = '198.51.100.7'
const NEW6 = '2001:db8:9::7'
/** The host's other address, of which nothing is derived. */
const OTHER4 = '198.51.100.9'

/** Sends a line every 0.1 s, as many as that and more until the file `gate` is there; says then how many, or why not. */
const slowServer = (lines: number, gate = '/'): string => `
import os, socket, time
s = socket.create_server(("${net.world4}", 7700), reuse_port=True)
print("ready", flush=True)
c, _ = s.accept()
n = 0
try:
  while n < ${lines} or not os.path.exists("${gate}"): c.sendall(b"%d\\n" % n); n += 1; time.sleep(0.1)
  c.close(); print("sent", n, flush=True)
except OSError as e: print("broke", e.errno, flush=True)
`
const SLOW_CLIENT = `
import socket
c = socket.create_connection(("${net.world4}", 7700)); c.settimeout(30); got = b""
print("connected", c.getsockname()[0], flush=True)
try:
  while True:
    b = c.recv(4096)
    if not b: break
    got += b
  print("lines", got.count(b"\\n"), flush=True)
except OSError as e: print("error", e.errno, flush=True)
`

describe('the host changes', { skip: isPeer && 'upstream does not follow' }, () => {
  const bed = useBed({
    resolv: 'nameserver 192.0.2.250\n',
    hostSetup: 'echo 1 > /proc/sys/net/ipv4/conf/eth0/promote_secondaries'
  })
  let sessions = 0
  /** A pasta whose command runs the files that it finds, as root of its namespace. */
  const session = async (
    options: ReadonlyArray<string>,
    argv = (o: ReadonlyArray<string>, command: ReadonlyArray<string>): ReadonlyArray<string> => [
      ...[pasta, ...quietPorts, '-d', '--config-net', ...o, '--'],
      ...command
    ],
    uid = 1000
  ): Promise<Session> => {
    const dir = `s${sessions++}`
    mkdirSync(join(bed.w.dir, dir))
    chmodSync(join(bed.w.dir, dir), 0o777)
    const obey = `cd /mnt/w/${dir}; n=0; echo begun
      while ! [ -e stop ]; do
        if [ -e job.$n ]; then sh job.$n > out.$n 2>&1; : > end.$n; n=$((n + 1)); fi
        sleep 0.05
      done`
    const proc = bed.w.start(argv(options, ['sh', '-c', obey]), { uid })
    await proc.sees(/^begun$/m)
    return new Session(proc, join(bed.w.dir, dir))
  }

  test('another address and router, while flows go on that have others', async () => {
    await bed.w.sh(`ip addr add ${OTHER4}/32 dev lo; ip route add unreachable 203.0.113.64/27`)
    const s = await session(['-o', OTHER4, '--api', '/mnt/w/follow.api', '--record', '/mnt/w/follow.rec'])
    const status = async (): Promise<string> =>
      ok(await bed.w.run(['/mnt/repo/bin/passt-ctl', 'status', '/mnt/w/follow.api'])).stdout
    const first = await status()
    assert.match(first, new RegExp(`^namespace: ${net.host4}/24 `, 'm'))
    assert.match(first, new RegExp(`^    0\\.0\\.0\\.0/0 via ${net.gw4}`, 'm'))
    const leftOut = /^ {4}left out: unreachable route 203\.0\.113\.64\/27: /m
    assert.match(first, leftOut)
    const server = bed.w.start(['python3', '-c', slowServer(60, '/mnt/w/looked')], { in: 'world', uid: 0 })
    await server.sees(/ready/)
    await s.sh(`python3 -c '${SLOW_CLIENT}' > /tmp/slow & `)
    await until('the download', async () => (await s.sh('cat /tmp/slow')).includes('connected'))
    // What its owner adds stays; what he takes away stays away
    await s.sh('ip addr add 10.9.9.9/32 dev eth0; ip route add 203.0.113.99 dev eth0 metric 7')
    await bed.w.sh(`ip addr add ${NEW4}/24 dev eth0; ip addr del ${net.host4}/24 dev eth0
      ip -6 addr add ${NEW6}/64 dev eth0 nodad; ip -6 addr del ${net.host6}/64 dev eth0
      ip route replace default via ${net.world4}`)
    await s.says(new RegExp(`the host has changed: ${NEW4}/24, router ${net.world4}[^\\n]*; ${NEW6}/64`))
    const now = await status()
    assert.match(now, new RegExp(`^IPv4: ${NEW4}/24 by ${net.world4} `, 'm'))
    assert.match(now, new RegExp(`^namespace: .*${NEW4}/24`, 'm'))
    assert.match(now, new RegExp(`^    0\\.0\\.0\\.0/0 via ${net.world4}`, 'm'))
    assert.match(now, leftOut)
    const during = await s.sh('ip -o addr show dev eth0; ip route; ip -6 route show default')
    assert.match(during, new RegExp(`inet ${NEW4}/24 `))
    assert.match(during, new RegExp(`inet ${net.host4}/32 scope host`), 'the download has it')
    assert.match(during, new RegExp(`inet6 ${NEW6}/64 `))
    assert.doesNotMatch(during, new RegExp(`inet6 ${net.host6}/`))
    assert.match(during, new RegExp(`^default via ${net.world4} dev eth0`, 'm'))
    assert.doesNotMatch(during, new RegExp(`via ${net.gw4}`))
    assert.match(during, /inet 10\.9\.9\.9\/32/)
    assert.match(during, /^203\.0\.113\.99 dev eth0 .*metric 7/m)
    // New flows have the new address
    const from = await s.sh(
      `python3 -c 'import socket; c = socket.socket(2, 2); c.connect(("${net.far4}", 9)); print(c.getsockname()[0])'`
    )
    assert.match(from, new RegExp(`^${NEW4}$`, 'm'))
    await bed.w.sh('touch /mnt/w/looked')
    const sent = (await server.sees(/sent (\d+)/))[1]!
    await until('its end', async () => (await s.sh('cat /tmp/slow')).includes('lines'))
    assert.match(await s.sh('cat /tmp/slow'), new RegExp(`connected ${net.host4}\nlines ${sent}\n`))
    await until('the old address gone', async () => !(await s.sh('ip -o addr')).includes(`${net.host4}/`))
    // Its owner's will, with the next change
    await s.sh(`ip addr del ${NEW4}/24 dev eth0`)
    await bed.w.sh(`ip -6 addr add ${net.host6}/64 dev eth0 nodad; ip -6 addr del ${NEW6}/64 dev eth0`)
    await s.says(new RegExp(`the host has changed: ${NEW4}/24[^\\n]*; ${net.host6}/64`))
    assert.doesNotMatch(await s.sh('ip -o addr'), new RegExp(`${NEW4}/`))
    await s.end()
    const replay = await bed.w.run(['/mnt/repo/bin/passt-replay', '/mnt/w/follow.rec'], { uid: 0 })
    assert.match(replay.stdout, /replays exactly/, replay.stderr)
    await bed.w.sh(`ip route del unreachable 203.0.113.64/27; ip addr del ${NEW4}/24 dev eth0; ip addr del ${OTHER4}/32 dev lo; ip addr add ${net.host4}/24 dev eth0
      ip route replace default via ${net.gw4}`)
  })

  test('flows from an address that another one has taken the place of end; a link that goes down and comes up keeps all', async () => {
    const s = await session([])
    const server = bed.w.start(['python3', '-c', slowServer(900)], { in: 'world', uid: 0 })
    await server.sees(/ready/)
    await s.sh(`python3 -c '${SLOW_CLIENT}' > /tmp/slow2 & `)
    await until('the download', async () => (await s.sh('cat /tmp/slow2')).includes('connected'))
    await until('no address is tentative', async () => !(await s.sh('ip -o addr')).includes('tentative'))
    const before = await s.sh('ip -o addr show dev eth0; ip route; ip -6 route')
    await bed.w.sh(`ip addr del ${net.host4}/24 dev eth0; ip link set eth0 down; sleep 12; ip link set eth0 up; ip addr add ${net.host4}/24 dev eth0
      ip -6 addr add ${net.host6}/64 dev eth0 nodad; ip route add default via ${net.gw4}; ip -6 route add default via ${net.gw6}`)
    await new Promise((done) => setTimeout(done, 2500))
    assert.equal(await s.sh('ip -o addr show dev eth0; ip route; ip -6 route'), before)
    assert.doesNotMatch(await s.sh('cat /tmp/slow2'), /error/)
    await bed.w.sh(
      `ip addr add ${NEW4}/24 dev eth0; ip addr del ${net.host4}/24 dev eth0; ip route replace default via ${net.gw4}`
    )
    await s.says(new RegExp(`the host has no longer ${net.host4}`))
    await until('a reset', async () => (await s.sh('cat /tmp/slow2')).includes('error 104'))
    assert.match(await s.end(), /source-gone=1/)
    await bed.w.sh(
      `ip addr add ${net.host4}/24 dev eth0; ip addr del ${NEW4}/24 dev eth0; ip route replace default via ${net.gw4}`
    )
  })

  test('started without a network: local mode until it comes', async () => {
    await bed.w.sh('ip link set eth0 down')
    const s = await session(['-I', 'eth0'])
    assert.match(await s.sh('ip -o addr show dev eth0'), /inet 169\.254\.2\.1\/16/)
    await bed.w.sh(`ip link set eth0 up; ip -6 addr add ${net.host6}/64 dev eth0 nodad
      ip route add default via ${net.gw4}; ip -6 route add default via ${net.gw6}`)
    await s.says(
      new RegExp(`the host has changed: ${net.host4}/24, router ${net.gw4}[^\\n]*; ${net.host6}/64`)
    )
    const is = await s.sh('ip -o addr show dev eth0; ip route; ip -6 route show default')
    assert.doesNotMatch(is, /169\.254/)
    assert.match(is, new RegExp(`inet ${net.host4}/24 `))
    assert.match(is, new RegExp(`^default via ${net.gw4} dev eth0`, 'm'))
    assert.match(is, new RegExp(`^default via ${net.gw6} dev eth0`, 'm'))
    await s.sh(
      `python3 -c 'import socket; socket.create_connection(("${net.world4}", 7))' || ping -c 1 -W 2 ${net.world4}`
    )
    await s.end()
  })

  test('resolv.conf: written to, replaced, and by way of links that lead elsewhere', async () => {
    const dir = (name: string): string => join(bed.w.dir, name)
    for (const name of ['etc', 'stub', 'other']) mkdirSync(dir(name))
    const server = (name: string, file: string, a: string): void =>
      writeFileSync(join(dir(name), file), `nameserver ${a}\n`)
    const nobody = '192.0.2.251'
    server('stub', 'resolv', nobody)
    server('other', 'resolv', nobody)
    symlinkSync('../mnt/w/stub/link', join(dir('etc'), 'resolv.conf'))
    symlinkSync('resolv', join(dir('stub'), 'link'))
    const options =
      '--no-daemon --no-resolv --no-hosts --user=root --pid-file= --bind-interfaces --conf-file=/dev/null'
    for (const [where, address, answer] of [
      ['world', net.world4, '192.0.2.77'],
      ['far', net.far4, '192.0.2.78']
    ] as const) {
      const its = [`--listen-address=${address}`, `--address=/test.example/${answer}`]
      bed.w.start(['dnsmasq', ...options.split(' '), ...its], { in: where, uid: 0 })
    }
    const s = await session(
      ['--dns-forward', '198.51.100.53'],
      (o, command) => [
        ...['unshare', '--mount', 'sh', '-ec'],
        `cd /mnt/w/etc; for f in passwd group nsswitch.conf ld.so.cache alternatives; do ! [ -e /etc/$f ] || cp -a /etc/$f .; done
        mount --bind . /etc; cd /; exec setpriv --reuid 1000 --regid 1000 --clear-groups -- "$@"`,
        '-',
        ...[pasta, ...quietPorts, '-d', '--config-net', ...o, '--'],
        ...command
      ],
      0
    )
    const answered = async (by: string): Promise<boolean> =>
      (await s.sh(`timeout 5 python3 ${helper('client.py')} dns 198.51.100.53 53 A/test.example`)).includes(
        by
      )
    const changes: ReadonlyArray<readonly [string, (a: string) => void]> = [
      ['written to', (a) => server('stub', 'resolv', a)],
      [
        'replaced',
        (a) => {
          server('stub', 'new', a)
          renameSync(join(dir('stub'), 'new'), join(dir('stub'), 'resolv'))
        }
      ],
      [
        'a link that leads to another file',
        (a) => {
          server('other', 'resolv', a)
          symlinkSync('../other/resolv', join(dir('stub'), 'next'))
          renameSync(join(dir('stub'), 'next'), join(dir('stub'), 'link'))
        }
      ],
      [
        'a directory that is made anew',
        (a) => {
          rmSync(dir('other'), { recursive: true })
          mkdirSync(dir('other'))
          server('other', 'resolv', a)
        }
      ]
    ]
    for (const [what, change] of changes) {
      change(net.world4)
      await until(`an answer: ${what}`, () => answered('192.0.2.77'))
      change(net.far4)
      await until(`the other's answer: ${what}`, () => answered('192.0.2.78'))
    }
    await s.end()
  })

  test('a DHCP client that renews keeps its address where no router is left, is refused one that the host has lost, and gets the new one', async () => {
    const s = await session([], (o, command) => [pasta, ...quietPorts, '-d', ...o, '--', ...command])
    writeFileSync(
      join(bed.w.dir, 'lease.sh'),
      `#!/bin/sh
echo "$1 $ip" >> /mnt/w/leases.seen
case $1 in
deconfig) /bin/ip -4 addr flush dev "$interface" ;;
bound) /bin/ip addr add "$ip/$mask" dev "$interface"; /bin/ip route add default via "$router" ;;
esac
`,
      { mode: 0o755 }
    )
    writeFileSync(join(bed.w.dir, 'leases.seen'), '')
    chmodSync(join(bed.w.dir, 'leases.seen'), 0o666)
    const seen = (): string => readFileSync(join(bed.w.dir, 'leases.seen'), 'utf8')
    await s.sh(`ip link set eth0 up
      busybox udhcpc -f -i eth0 -t 10 -T 1 -A 1 -s /mnt/w/lease.sh > /tmp/udhcpc 2>&1 & echo $! > /tmp/udhcpc.pid`)
    await until('a lease', () => seen().includes(`bound ${net.host4}`))
    assert.match(await s.sh('cat /tmp/udhcpc'), /lease time 240/)
    // At its time T1 (RFC 2131 §4.4.5), which is not waited for
    const renew = 'kill -USR1 $(cat /tmp/udhcpc.pid)'
    await s.sh(renew)
    const renewals = (): number => seen().split(`renew ${net.host4}`).length - 1
    await until('a renewal', () => renewals() === 1)
    // As a VPN's tunnel: for good, once a router has been waited for
    await bed.w.sh('ip route replace default dev eth0; sleep 8')
    await s.sh(renew)
    await until('a renewal without a router', () => renewals() === 2)
    await bed.w.sh(`ip route replace default via ${net.gw4}`)
    await bed.w.sh(`ip addr add ${NEW4}/24 dev eth0; ip addr del ${net.host4}/24 dev eth0`)
    await s.says(new RegExp(`the host has changed: ${NEW4}/24`))
    await s.sh(renew)
    await until('another lease', () => seen().includes(`bound ${NEW4}`))
    assert.match(seen(), new RegExp(`renew ${net.host4}\n(deconfig.*\n|nak.*\n)+bound ${NEW4}`))
    assert.match(await s.sh('ip -4 -o addr show dev eth0'), new RegExp(`inet ${NEW4}/24 `))
    await s.sh('kill $(cat /tmp/udhcpc.pid)')
    await bed.w.sh(`ip addr del ${NEW4}/24 dev eth0; ip addr add ${net.host4}/24 dev eth0
      ip route replace default via ${net.gw4}`)
    await s.end()
  })

  test("passt's guest is told at once: another prefix, and the old one is deprecated", async () => {
    const s = await session(['-f', '-d'], (o, command) => bridged(passt, o, command, net))
    await s.sh(`echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; echo 2 > /proc/sys/net/ipv6/conf/eth0/accept_ra
      ip link set eth0 up`)
    const addresses = (): Promise<string> => s.sh('ip -6 -o addr show dev eth0 scope global')
    await until('an address', async () => (await addresses()).includes('2001:db8:9:'))
    const old = /2001:db8:9:[^\n]*/
    assert.doesNotMatch(old.exec(await addresses())![0], /deprecated/)
    await bed.w.sh(`ip -6 addr add 2001:db8:7::2/64 dev eth0 nodad; ip -6 addr del ${net.host6}/64 dev eth0`)
    await until('another one', async () => (await addresses()).includes('2001:db8:7:'))
    assert.match(old.exec(await addresses())![0], /deprecated/)
    await bed.w.sh(`ip -6 addr add ${net.host6}/64 dev eth0 nodad; ip -6 addr del 2001:db8:7::2/64 dev eth0`)
    await s.end()
  })
})

class Session {
  private n = 0
  constructor(
    readonly p: Proc,
    private readonly dir: string
  ) {}
  /** What shell lines write. */
  async sh(lines: string): Promise<string> {
    const n = this.n++
    writeFileSync(join(this.dir, 'next'), lines)
    renameSync(join(this.dir, 'next'), join(this.dir, `job.${n}`))
    await until(lines, () => existsSync(join(this.dir, `end.${n}`)))
    return readFileSync(join(this.dir, `out.${n}`), 'utf8')
  }
  /** Waits until pasta says this. */
  async says(pattern: RegExp): Promise<void> {
    await this.p.sees(pattern, 'stderr')
  }
  /** What pasta has said. */
  async end(): Promise<string> {
    writeFileSync(join(this.dir, 'stop'), '')
    return (await this.p.wait()).stderr
  }
}
