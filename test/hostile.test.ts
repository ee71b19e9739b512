// A guest is an adversary: malformed frames are dropped and counted, traffic goes on, nothing grows or stops.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { calm, exeOf, rss } from './lib/proc.js'
import { helper, isPeer, net, describe as show } from './lib/world.js'

const bed = useBed()
const py = `python3 ${helper('client.py')}`
/** Not part of the program: what runs in the namespace, and what has just ended, whose name is empty. */
const guests = /^$|\/(sh|dash|bash|sleep|python3[.\d]*)$/

/** Sum of the counters whose names say "drop", as printed at debug level at the end. */
const dropped = (stderr: string): number =>
  [...stderr.matchAll(/\bdrop[\w-]*=(\d+)/g)].reduce((sum, m) => sum + Number(m[1]), 0)

const check = [
  `${py} tcp-get ${net.world4} 7003 2000000`,
  `${py} tcp-get ${net.world6} 7003 2000000`,
  `${py} tcp-send ${net.world4} 7002 200000`,
  `${py} udp-echo ${net.world4} 7001 0 100 1400`,
  `${py} udp-echo ${net.world6} 7001 0 100 1400`,
  `${py} icmp-echo ${net.world4} 7 7 56`,
  `${py} icmp-echo ${net.world6} 7 7 56`
].join('\n')
const checked = (output: string): void => {
  const lines = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  assert.deepEqual(
    lines.map((r) => r.same ?? (r.expect === undefined ? r.failed : r.reply === r.expect)),
    [true, true, true, {}, {}, true, true],
    output
  )
}

let attacks = 0
/** One pasta under attack: frames, check, again, check; memory and time looked at from outside. */
const attack = async (count: number, options: string[]): Promise<void> => {
  const before = new Set(bed.w.pidsInside())
  const gate = `go-${++attacks}`
  const step = (n: number): string => `echo step ${n}; until [ -e /mnt/w/${gate}-${n} ]; do sleep 0.05; done`
  const hostile = (seed: number): string => `python3 ${helper('hostile.py')} eth0 ${count} ${seed}`
  const script = `
${check}
${hostile(1)}
${check}
${step(1)}
${hostile(2)}
${step(2)}
${check}
echo all done`
  const proc = bed.w.startPasta(['-d', '--config-net', ...options], ['sh', '-ec', script], {
    timeout: 150_000
  })
  const go = (n: number): void => writeFileSync(join(bed.w.dir, `${gate}-${n}`), '')
  const engine = (): number[] =>
    bed.w.pidsInside().filter((pid) => !before.has(pid) && !guests.test(exeOf(pid)))
  const memory = (): number => engine().reduce((sum, pid) => sum + rss(pid), 0)
  await proc.sees(/^step 1$/m, 'stdout', 90_000)
  const pids = engine()
  assert.ok(pids.length > 0, 'no process of the program')
  const warm = memory()
  go(1)
  await proc.sees(/^step 2$/m, 'stdout', 90_000)
  const grown = memory() - warm
  assert.deepEqual(engine(), pids, 'the same processes are running')
  assert.ok(grown < 12 * 1024, `resident memory grew by ${grown} KiB from ${warm} KiB over ${count} frames`)
  await calm(pids, 0.4, 1000)
  go(2)
  const r = await proc.wait()
  assert.equal(r.code, 0, show(r))
  assert.match(r.stdout, /^all done$/m)
  const outputs = r.stdout.split('\n').filter((line) => line.startsWith('{'))
  const frames = outputs.filter((line) => line.includes('"sent"'))
  assert.equal(frames.length, 2)
  for (const line of frames) assert.ok((JSON.parse(line) as { sent: number }).sent >= count, line)
  const checks = outputs.filter((line) => !line.includes('"sent"'))
  for (let i = 0; i < 3; i++) checked(checks.slice(i * 7, i * 7 + 7).join('\n'))
  assert.equal(checks.length, 21)
  if (!isPeer) {
    const n = dropped(r.stderr)
    assert.ok(n >= count / 4, `${n} drops counted of ${2 * count} malformed frames\n${show(r)}`)
  }
  assert.doesNotMatch(r.stderr, /TypeError|RangeError|ReferenceError|ERR_|Assertion|Segmentation/, show(r))
}

describe('malformed frames', () => {
  test('20,000 of them, twice: dropped and counted, traffic goes on, memory stays (regression-13, regression-35, regression-40, regression-52)', async () => {
    await attack(20_000, [])
  })
  test('at MTU 1500, while they are captured', async () => {
    await attack(2_000, ['-m', '1500', '-p', '/mnt/w/hostile.pcap'])
    await bed.w.sh('tcpdump -nn -r /mnt/w/hostile.pcap 2>&1 | tail -n 1 >&2; rm /mnt/w/hostile.pcap')
  })
  test('with the services on, without --config-net', async () => {
    const script = `ip link set eth0 up; python3 ${helper('hostile.py')} eth0 3000 5
      busybox udhcpc -f -n -q -t 5 -T 1 -i eth0 -s ${helper('dhcp.sh')} >&2; ${py} tcp-read ${net.world4} 7006`
    const r = await bed.w.pasta(['-d', '--dhcp-dns', '--dhcp-search'], ['sh', '-ec', script])
    assert.equal(r.code, 0, show(r))
    assert.match(r.stdout, /"data": "ok\\n"/)
  })
})

test('the interface goes down and up again: the program goes on (regression-13, regression-35)', async () => {
  const script = `${py} tcp-read ${net.world4} 7006; ip link set eth0 down; sleep 0.5; ip link set eth0 up
    ip route replace default via ${net.gw4} dev eth0; ${py} tcp-read ${net.world4} 7006`
  const out = await bed.w.inside(script, ['-4'])
  assert.equal(out.match(/"data": "ok\\n"/g)?.length, 2, out)
})

test('a flood of connections that nobody finishes, then traffic', async () => {
  const flood = `import socket, random
socks = []
for i in range(600):
    s = socket.socket(); s.setblocking(False); s.connect_ex(("${net.world4}", 7001)); socks.append(s)
for i in range(600):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"x", ("${net.world4}", 7004)); socks.append(s)
for s in socks[::2]: s.close()
import time; time.sleep(0.5)`
  const r = await bed.w.inside(`python3 -c '${flood}'; ${check}`)
  checked(r)
})
