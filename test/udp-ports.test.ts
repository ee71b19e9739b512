// UDP ports that options open: ours alone, from the first flow to the last, and none of their datagrams goes astray.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { Guest } from './lib/guest.js'
import { isPeer, net, type World } from './lib/world.js'

const bed = useBed()
const oursOnly = { skip: isPeer && "upstream's listeners are its user's to share" }
const PORT = 8890

/** argv of a program whose lines lie in a file. */
const program = (w: World, name: string, lines: string, ...args: (string | number)[]): string[] => {
  writeFileSync(join(w.dir, name), `import select, socket, sys\n${lines}`)
  return ['python3', `/mnt/w/${name}`, ...args.map(String)]
}
/** In the guest: echoes; at "go ADDRESS FIRST COUNT" it writes to so many ports from its own. */
const echo = () =>
  program(
    bed.w,
    'echo.py',
    `s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
s.bind(("::", ${PORT})); print("ready", flush=True)
while True:
    data, peer = s.recvfrom(2000)
    if data.startswith(b"go "):
        _, to, first, count = data.decode().split()
        to = to if ":" in to else "::ffff:" + to
        for n in range(int(count)): s.sendto(b"begun", (to, int(first) + n))
    else: s.sendto(data, peer)
`
  )
/**
 * Flows from the world: as many sockets as asked for, a datagram of each at once; all must come back, from where they went to.
 * With `begun`, the guest begins so many flows from its port meanwhile. Then it stays, with all of them open.
 */
const flows = (to: string, own: string, count: number, begun = 0) =>
  program(
    bed.w,
    `flows-${to}.py`,
    `to, own, count, begun = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
family = socket.AF_INET6 if ":" in to else socket.AF_INET
def sock(port=0):
    s = socket.socket(family, socket.SOCK_DGRAM); s.bind((own, port)); return s
there = [sock(20000 + n) for n in range(begun)]
here = [sock() for n in range(count)]
for r in range(2):
    if begun and not r: sock().sendto(b"go %s 20000 %d" % (own.encode(), begun), (to, ${PORT}))
    for n, s in enumerate(here): s.sendto(b"%d-%d" % (r, n), (to, ${PORT}))
    for n, s in enumerate(here):
        s.settimeout(5)
        try:
            data, peer = s.recvfrom(100)
            if data != b"%d-%d" % (r, n) or peer[:2] != (to, ${PORT}): print("wrong", n, data, peer, flush=True)
        except TimeoutError: print("lost", r, n, flush=True)
for s in there:
    s.settimeout(5)
    try:
        data, peer = s.recvfrom(100)
        if peer[:2] != (to, ${PORT}): print("wrong", data, peer, flush=True)
    except TimeoutError: print("lost", s.getsockname(), flush=True)
print("done", flush=True); sys.stdin.read()
`,
    to,
    own,
    count,
    begun
  )
/** Binds the port in every way there is, and prints what succeeded. */
const THIEF = `for address in sys.argv[1:]:
    for options in ((), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)):
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        for o in options: s.setsockopt(socket.SOL_SOCKET, o, 1)
        try: s.bind((address, ${PORT})); print("taken", address, options)
        except OSError as e:
            if e.errno != 98: print(address, options, e)
        s.close()
`
const steal = async (uid: number, addresses: ReadonlyArray<string>): Promise<string> => {
  const r = await bed.w.run(program(bed.w, 'thief.py', THIEF, ...addresses), { in: 'host', uid })
  assert.equal(r.stderr, '')
  return r.stdout
}

const EVERYWHERE = ['0.0.0.0', '::', '127.0.0.1', '::1', net.host4, net.host6]
// Listeners are root's, what answers from their ports is another user's; a program of that one is the thief
for (const [uid, thief] of [
  [0, 65534],
  [1000, 1000]
] as const)
  describe(`nobody else has a share, not even by the same user; started by user ${uid}`, () => {
    for (const [spec, reached, addresses] of [
      [`${PORT}`, [net.host4, net.host6], EVERYWHERE],
      [`${net.host4}/${PORT}`, [net.host4], ['0.0.0.0', '::ffff:0.0.0.0', net.host4]],
      [`${net.host6}/${PORT}`, [net.host6], ['::', net.host6]],
      [`%eth0/${PORT}`, [net.host4, net.host6], EVERYWHERE]
    ] as const)
      test(`-u ${spec}`, oursOnly, async () => {
        const g = await Guest.open(bed.w, ['-u', spec], { uid, command: echo() })
        const look = async (when: string) => assert.equal(await steal(thief, addresses), '', when)
        await look('before flows')
        for (const to of reached) {
          const own = to === net.host4 ? net.world4 : net.world6
          const peers = bed.w.start(flows(to, own, 20, 20), { in: 'world' })
          await peers.sees(/done/)
          assert.equal(peers.stdout.trim(), 'done')
          await look(`with flows to ${to}`)
          await peers.stop()
        }
        await look('behind flows')
        await g.stop()
      })
    test('spliced', oursOnly, async () => {
      const g = await Guest.open(bed.w, ['-u', `${PORT}`], { uid, command: echo() })
      for (const to of ['127.0.0.1', '::1']) {
        const peers = bed.w.start(flows(to, to, 50), { in: 'host' })
        await peers.sees(/done/)
        assert.equal(peers.stdout.trim(), 'done')
        assert.equal(await steal(thief, EVERYWHERE), '', to)
        await peers.stop()
      }
      await g.stop()
    })
  })

describe('no datagram is lost', () => {
  for (const [to, own] of [
    [net.host4, net.world4],
    [net.host6, net.world6]
  ] as const)
    test(
      `while 200 flows begin at once, and 200 of the guest's from that port: ${to}`,
      oursOnly,
      async () => {
        const g = await Guest.open(bed.w, ['-u', `${PORT}`], { command: echo() })
        const peers = bed.w.start(flows(to, own, 200, 200), { in: 'world' })
        await peers.sees(/done/)
        assert.equal(peers.stdout.trim(), 'done')
        await peers.stop()
        await g.stop()
      }
    )
})
