// Questions of the guest to groups: who answers is heard, and nobody else (machines/address/on-link.ts).
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { Guest } from './lib/guest.js'
import type { Proc } from './lib/proc.js'
import { isPeer, net, type Where, type World } from './lib/world.js'

const bed = useBed()
const oursOnly = { skip: isPeer && 'upstream hears no answers' }

const BOTH = `import socket, struct, sys
def sock(a):
    s = socket.socket(socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return s
def show(peer): return peer[0].split("%")[0], peer[1]
`
/** argv of a program, whose lines lie in a file: the bed looks for processes by one line. */
const program = (w: World, name: string, lines: string, ...args: (string | number)[]): string[] => {
  writeFileSync(join(w.dir, name), BOTH + lines)
  return ['python3', `/mnt/w/${name}`, ...args.map(String)]
}
/** Asks a group from a port again and again, and prints who is heard: ADDRESS PORT TEXT. */
const asking = (group: string, port: number, from = 4444) =>
  program(
    bed.w,
    `ask-${from}.py`,
    `group, port, own = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
s = sock(group); s.bind(("", own)); s.settimeout(0.1)
if ":" in group: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
print("ready", flush=True)
while True:
    s.sendto(b"question", (group, port))
    try:
        while True:
            data, peer = s.recvfrom(2000); print(*show(peer), data.decode(), flush=True)
    except TimeoutError: pass
`,
    group,
    port,
    from
  )
/** Hears a group on a device, prints the askers, and answers them from `own`. */
const member = (group: string, port: number, own: string, device: string) =>
  program(
    bed.w,
    `member-${port}.py`,
    `group, port, own, device = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
s = sock(group); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", port))
index = socket.if_nametoindex(device)
if ":" in group: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", index))
elif group.startswith("2") and not group.endswith("255"):
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("=4s4si", socket.inet_aton(group), bytes(4), index))
a = sock(own); a.bind((own, 0, 0, index) if ":" in own else (own, 0))
print("ready", flush=True)
while True:
    data, peer = s.recvfrom(2000); print("asker", *show(peer), flush=True)
    a.sendto(b"answer", peer)
`,
    group,
    port,
    own,
    device
  )
/** Datagrams with a text, `TO PORT TEXT` each, from an address; all from one program. */
const send = async (from: Where, own: string, what: ReadonlyArray<string>) => {
  const lines = `s = sock(sys.argv[1]); s.bind((sys.argv[1], 0))
for one in sys.argv[2:]:
    to, port, text = one.split(); s.sendto(text.encode(), (to, int(port)))
`
  await bed.w.sh(program(bed.w, 'send.py', lines, own, ...what.map((x) => `'${x}'`)).join(' '), { in: from })
}
const heard = (p: Proc): string[][] =>
  p.stdout
    .split('\n')
    .filter((l) => l !== '' && l !== 'ready')
    .map((l) => l.split(' '))
const texts = (p: Proc): string[] => [...new Set(heard(p).map((l) => l[2]!))].sort()

describe('who is heard', () => {
  test(
    'a neighbour, on the port of the question; no routed host, no loopback, not the port of the guest',
    oursOnly,
    async () => {
      const server = bed.w.start(member('239.9.9.9', 9999, net.world4, 'toworld'), { in: 'world' })
      await server.sees(/ready/)
      const g = await Guest.open(bed.w, ['--no-map-gw'], { command: asking('239.9.9.9', 9999) })
      await g.proc.sees(/answer/)
      const [, asker, port] = await server.sees(/asker (\S+) (\d+)/)
      assert.equal(asker, net.host4)
      assert.notEqual(port, '4444')
      const ports = [4444, Number(port)]
      await send(
        'far',
        net.far4,
        ports.map((p) => `${net.host4} ${p} routed`)
      )
      await send(
        'host',
        '127.0.0.1',
        ports.flatMap((p) => [`127.0.0.1 ${p} loopback`, `${net.host4} ${p} loopback`])
      )
      await send('world', net.world4, [
        `${net.host4} 4444 wrong-port`,
        `198.51.100.255 ${port} broadcast`,
        `239.9.9.9 ${port} to-the-group`,
        // behind all the others
        `${net.host4} ${port} last`
      ])
      await g.proc.sees(/last/)
      assert.deepEqual(texts(g.proc), ['answer', 'last'])
      assert.ok(heard(g.proc).every(([from]) => from === net.world4))
      await g.stop()
      await server.stop()
    }
  )
  for (const options of [[], ['-6'], ['--outbound-if6', 'eth0'], ['-o', net.host6]])
    test(
      `IPv6: a neighbour by its link-local address, with ${options.join(' ') || 'no option'}`,
      oursOnly,
      async () => {
        const [link] = JSON.parse(
          await bed.w.sh('ip -j -6 addr show dev toworld scope link', { in: 'world' })
        ) as {
          addr_info: { local?: string }[]
        }[]
        const own = link!.addr_info.map((a) => a.local).find((a) => a?.startsWith('fe80'))!
        const server = bed.w.start(member('ff02::9:9', 9998, own, 'toworld'), { in: 'world' })
        await server.sees(/ready/)
        const g = await Guest.open(bed.w, options, { command: asking('ff02::9:9', 9998), serve: [] })
        await g.proc.sees(new RegExp(`^${own} \\d+ answer$`, 'm'))
        await g.stop()
        await server.stop()
      }
    )
  for (const to of ['255.255.255.255', '198.51.100.255'])
    test(`a broadcast to ${to} is answered like any group`, oursOnly, async () => {
      const server = bed.w.start(member(to, 9997, net.world4, 'toworld'), { in: 'world' })
      await server.sees(/ready/)
      const g = await Guest.open(bed.w, [], { command: asking(to, 9997) })
      await g.proc.sees(new RegExp(`^${net.world4} \\d+ answer$`, 'm'))
      await g.stop()
      await server.stop()
    })
  for (const options of [['-4'], ['-o', net.host4], ['--outbound-if4', 'eth0']])
    test(`the same with ${options.join(' ')}`, oursOnly, async () => {
      const server = bed.w.start(member('239.9.9.9', 9996, net.world4, 'toworld'), { in: 'world' })
      await server.sees(/ready/)
      const g = await Guest.open(bed.w, options, { command: asking('239.9.9.9', 9996), serve: [] })
      await g.proc.sees(new RegExp(`^${net.world4} \\d+ answer$`, 'm'))
      await g.stop()
      await server.stop()
    })
  test('--no-udp: no question leaves', async () => {
    const server = bed.w.start(member('239.9.9.9', 9995, net.world4, 'toworld'), { in: 'world' })
    await server.sees(/ready/)
    const g = await Guest.open(bed.w, ['--no-udp'], { command: asking('239.9.9.9', 9995) })
    // in the order of the tap: questions of 0.1 s each came before the last of these
    await g.sh(`ping -n -c 4 -i 0.2 ${net.world4}`)
    assert.doesNotMatch(server.stdout, /asker/)
    assert.equal((await bed.w.sh('ss -Hulnp')).split('\n').filter((l) => /node/.test(l)).length, 0)
    await g.stop()
    await server.stop()
  })
})

const SERVICE = `s = sock("."); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 5353)); print("ready", flush=True)
while True:
    data, peer = s.recvfrom(100); print(data.decode(), flush=True)
`
describe('ports of the host', () => {
  for (const [what, to] of [
    ['a question to a group', '224.0.0.251'],
    ['a datagram to one host', net.world4]
  ] as const)
    test(`a service that shares its port keeps all its queries beside ${what}`, async () => {
      const service = bed.w.start(program(bed.w, 'service.py', SERVICE), { in: 'host' })
      await service.sees(/ready/)
      const sink = bed.w.start(['socat', '-u', 'UDP4-RECV:5353,reuseaddr', 'STDOUT'], { in: 'world' })
      const g = await Guest.open(bed.w, ['--no-map-gw'], { command: asking(to, 5353, 5353) })
      if (to === net.world4) await sink.sees(/question/)
      const script = `ss -Hulpn | grep -c ':5353 ' || true`
      assert.equal((await bed.w.sh(script)).trim(), '1', await bed.w.sh('ss -Hulpn'))
      const from = bed.w.start(
        program(
          bed.w,
          'queries.py',
          `s = sock("."); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("${net.world4}", 5353))
for n in range(200): s.sendto(b"query-%d-" % n, ("${net.host4}", 5353))
`
        ),
        { in: 'world' }
      )
      await from.wait()
      await service.sees(/query-199-/)
      for (let n = 0; n < 200; n++) assert.ok(service.stdout.includes(`query-${n}-`), `query ${n}`)
      await g.stop()
      await service.stop()
      await sink.stop()
    })
  // One that only root may have, and one that somebody has
  test('a port of the guest that the host cannot give is another one on the host', oursOnly, async () => {
    const blocker = bed.w.start(['socat', '-u', 'UDP4-RECV:4445', 'STDOUT'], { in: 'host' })
    await bed.w.sh('until ss -Huln | grep -q :4445; do sleep 0.05; done')
    const ask = (port: number) => `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", ${port})); s.settimeout(10)
s.sendto(b"hi", ("${net.world4}", 7001)); print(s.recv(10))`
    for (const port of [123, 4445])
      assert.match(
        (await bed.w.pasta(['--config-net'], ['python3', '-c', ask(port)])).stdout,
        /b'hi'/,
        `${port}`
      )
    await blocker.stop()
  })
  // Listeners are root's, what answers from their ports is another user's
  for (const uid of [0, 1000])
    test(`an open port is answered from that port, started by user ${uid}`, async () => {
      const g = await Guest.open(bed.w, ['-u', '8701:7001'], { serve: [net.host4], uid })
      const r = bed.w.start(['socat', '-t', '20', '-', `UDP4:${net.host4}:8701`], {
        in: 'world',
        input: 'hello'
      })
      await r.sees(/hello/)
      await r.stop()
      await g.stop()
    })
  test("a port that an option opens is nobody else's to share", async () => {
    const g = await Guest.open(bed.w, ['-u', '5000'], { serve: [net.host4] })
    const take = (address: string) =>
      bed.w.run(
        [
          'python3',
          '-c',
          `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(("${address}", 5000))`
        ],
        { in: 'host', uid: 1234 }
      )
    for (const address of ['0.0.0.0', net.host4, '127.0.0.1']) {
      const r = await take(address)
      assert.match(r.stderr, /Address already in use/, `${address}: ${r.stderr}`)
    }
    await g.stop()
  })
})
