// A tap that somebody else has made, as RootlessKit does: it is attached while the engine still starts, and what is sent then is kept.
import assert from 'node:assert/strict'
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { compiled } from './lib/cache.js'
import { type Proc, until } from './lib/proc.js'
import { isPeer, net, ok, pasta, describe as show } from './lib/world.js'

const oursOnly = { skip: isPeer && 'upstream does otherwise' }
/** Node, once /mnt/w/go exists: a start that takes as long as a test wants. */
const SLOW = '#!/bin/sh\nuntil [ -e /mnt/w/go ]; do sleep 0.01; done\nexec node "$@"\n'
const bed = useBed({}, (w) => {
  writeFileSync(join(w.dir, 'slow-node'), SLOW)
  chmodSync(join(w.dir, 'slow-node'), 0o755)
})

interface Target {
  readonly proc: Proc
  readonly pid: number
}
/** Namespaces of an ordinary user, with what `lines` make in them. */
const target = (lines: string): Promise<Target> => bed.w.namespaces(1000, lines)
const inside = (t: Target, script: string): Promise<string> =>
  bed.w
    .run(['nsenter', '-t', `${t.pid}`, '-U', '-n', '--preserve-credentials', 'sh', '-ec', script])
    .then((r) => ok(r).stdout)

const TAP = `ip link set lo up; ip tuntap add name tap0 mode tap; ip link set tap0 up
  ip addr add 10.0.2.100/24 dev tap0; ip route add default via 10.0.2.2`
/** RootlessKit's line (docs/drivers.md). */
const LINE = [
  ...['--foreground', '--stderr', '--ns-ifname=tap0', '--mtu=65520', '--no-dhcp', '--no-ra'],
  ...['--address=10.0.2.100', '--netmask=24', '--gateway=10.0.2.2', '--dns-forward=10.0.2.3', '--no-map-gw'],
  ...['--ipv4-only', '--tcp-ports=none', '--udp-ports=none', '-T', 'none', '-U', 'none']
]
/** One datagram, once; the answer's length. */
const ASK = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(30)
s.sendto(b"early", ("${net.world4}", 7001))
print("sent", flush=True)
print("answer", len(s.recv(100)), flush=True)`

const hasCarrier = async (t: Target): Promise<boolean> =>
  /LOWER_UP/.test(await inside(t, 'ip -o link show tap0'))
const start = (options: ReadonlyArray<string>) =>
  bed.w.start([pasta, ...options], { env: { PASST_NODE: '/mnt/w/slow-node' } })
const go = (): void => writeFileSync(join(bed.w.dir, 'go'), '')
const ended = async (proc: Proc, t: Target): Promise<void> => {
  await proc.stop('SIGTERM')
  await t.proc.stop()
  rmSync(join(bed.w.dir, 'go'), { force: true })
}

describe('a tap that exists', oursOnly, () => {
  for (const [how, where] of [
    ['a PID', (t: Target) => [`${t.pid}`]],
    ['paths', (t: Target) => ['--userns', `/proc/${t.pid}/ns/user`, `--netns=/proc/${t.pid}/ns/net`]]
  ] as const)
    test(`by ${how}: has carrier before the engine runs; what is sent then is answered`, async () => {
      const t = await target(TAP)
      const proc = start([...LINE, ...where(t)])
      await until('carrier', () => hasCarrier(t))
      const ask = bed.w.start([
        'nsenter',
        '-t',
        `${t.pid}`,
        '-U',
        '-n',
        '--preserve-credentials',
        'python3',
        '-c',
        ASK
      ])
      await ask.sees(/sent/)
      go()
      assert.match(ok(await ask.wait()).stdout, /answer 5/)
      assert.equal(await inside(t, 'ip -o link | wc -l'), '2\n')
      await ended(proc, t)
    })
  test('the helper has the right to attach it, and no other', async () => {
    const preload = compiled('test/lib/attaching.cc', ['-shared', '-fPIC'])
    const t = await target(TAP)
    const env = { PASST_NODE: '/mnt/w/slow-node', LD_PRELOAD: preload }
    const proc = bed.w.start([pasta, ...LINE, `${t.pid}`], { env })
    await until('carrier', () => hasCarrier(t))
    const status = readFileSync(join(bed.w.dir, 'attaching'), 'utf8')
    const field = (name: string) => new RegExp(`^${name}:\\s*(\\w+)`, 'm').exec(status)?.[1]
    const sets = ['CapPrm', 'CapEff', 'CapInh', 'CapAmb', 'CapBnd'].map((set) => Number(`0x${field(set)}`))
    const NET_ADMIN = 1 << 12
    assert.deepEqual([field('NoNewPrivs'), sets], ['1', [NET_ADMIN, NET_ADMIN, 0, 0, 0]])
    go()
    await ended(proc, t)
  })
  test('is let go again when the engine refuses to start', async () => {
    const t = await target(TAP)
    const proc = start([...LINE, '--mtu=1', '--address=nonsense', `${t.pid}`])
    await until('carrier', () => hasCarrier(t))
    go()
    const r = await proc.wait()
    assert.equal(r.code, 1, show(r))
    assert.equal(await hasCarrier(t), false)
    await ended(proc, t)
  })
  test('that another program has: the message is that of the usual way', async () => {
    const t = await target(TAP)
    go()
    const first = start([...LINE, `${t.pid}`])
    await until('carrier', () => hasCarrier(t))
    const r = await start([...LINE, `${t.pid}`]).wait()
    assert.equal(r.code, 1, show(r))
    assert.match(r.stderr, /Cannot create tap interface tap0: Device or resource busy/)
    await ended(first, t)
  })
})

describe('nothing is made, and nothing else is attached', oursOnly, () => {
  for (const [what, lines, options] of [
    ['no interface of that name', 'ip link set lo up', LINE],
    ['no tap', 'ip link add tap0 type veth peer name tap2', LINE],
    ['a tun', 'ip tuntap add name tap0 mode tun; ip link set tap0 up', LINE],
    ['another tap', TAP, [...LINE, '--ns-ifname=tap1']],
    ['--netns-only', TAP, [...LINE, '--netns-only']],
    ['--help', TAP, [...LINE, '--help']]
  ] as const)
    test(what, async () => {
      const t = await target(lines)
      const look = () => inside(t, 'ip -o link')
      const before = await look()
      const proc = start([...options, `${t.pid}`])
      await until('the engine', () => bed.w.processes().some((p) => p.includes('slow-node')))
      // the launcher, and the helper for the engine's root
      const ours = () => bed.w.processes().filter((p) => /^\d+ \/mnt\/repo\/bin\/pasta/.test(p))
      await until('the end of the helper', () => ours().length <= 2)
      assert.equal(await look(), before)
      go()
      await ended(proc, t)
    })
})
