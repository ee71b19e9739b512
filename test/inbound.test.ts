// Connections and datagrams that begin on the host's side and go through the tap.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { battery, mapped, type Way } from './lib/battery.js'
import { families, useBed } from './lib/bed.js'
import { ask, Guest, type Place } from './lib/guest.js'
import { until } from './lib/proc.js'
import { helper, isPeer, net } from './lib/world.js'

const second4 = '198.51.100.22'
const second6 = '2001:db8:9::22'
let guest: Guest
const bed = useBed(
  // The namespace gets only the first addresses, see -a.
  { hostSetup: `ip addr add ${second4}/24 dev eth0; ip -6 addr add ${second6}/64 dev eth0 nodad` },
  async (w) => {
    guest = await Guest.open(w, [
      '-a',
      net.host4,
      '-n',
      '24',
      '-a',
      net.host6,
      ...mapped('in'),
      '-t',
      '8020:7020'
    ])
  }
)
const oursOnly = { skip: isPeer && 'upstream is weak here' }

const fromWorld: Way = {
  name: 'another host → namespace, through the tap',
  from: () => 'world',
  to: (f) => f.host,
  guest: () => guest,
  server: () => guest.proc,
  datagram: () => 65000,
  slowUpstream: true
}
battery(bed, fromWorld)

/** Says from where and to where its first connection came. */
const oneVisitor = `import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
s.bind(("::", 7020)); s.listen()
print("ready", flush=True)
c, peer = s.accept()
print(peer[0].split("%")[0], c.getsockname()[0].split("%")[0], flush=True)`

interface Seen {
  readonly from: string
  readonly port: number
  readonly to: string
}
const tcpSeen = async (from: Place, to: string, port = 8012): Promise<Seen> =>
  JSON.parse((await ask(bed.w, from, ['tcp-read', to, port])).data as string) as Seen

let lastPort = 4600
const freshPort = (): number => ++lastPort

describe('addresses', () => {
  for (const f of families) {
    test(`IPv${f.v}: the client's address and port are kept`, async () => {
      const seen = await tcpSeen('far', f.host)
      assert.deepEqual([seen.from, seen.to], [f.far, f.host])
      const sport = freshPort()
      const udp = await ask(bed.w, 'far', ['udp-report', f.host, 8002, 10, 0, sport])
      assert.deepEqual([udp.from, udp.port, udp.replier], [f.far, sport, f.host])
    })
    test(`IPv${f.v}: the host by its own address comes as the gateway`, async () => {
      assert.equal((await tcpSeen('host', f.host)).from, f.gw)
      const udp = await ask(bed.w, 'host', ['udp-report', f.host, 8002, 10, 0, freshPort()])
      assert.deepEqual([udp.from, udp.replier], [f.gw, f.host])
    })
    test(`IPv${f.v}: replies from the address that was asked, with several on the host (regression-65)`, async () => {
      const other = f.v === 4 ? second4 : second6
      const one = freshPort()
      for (const sport of [freshPort(), freshPort(), freshPort(), ...(isPeer ? [] : [one, one, one])])
        for (const to of [other, f.host]) {
          const r = await ask(bed.w, 'far', ['udp-report', to, 8002, 10, 0, sport])
          assert.deepEqual([r.from, r.port, r.replier], [f.far, sport, to])
        }
      assert.equal((await tcpSeen('far', other)).to, f.host)
    })
  }
  test('a link-local client stays link-local', async () => {
    const linkLocal = (line: string): string => /fe80::[0-9a-f:]+/.exec(line)![0]
    const show = (dev: string) => `ip -6 -o addr show dev ${dev} scope link`
    const server = guest.start(['python3', '-c', oneVisitor])
    try {
      await server.sees(/ready/)
      const to = linkLocal(await bed.w.sh(show('eth0')))
      await bed.w.sh(`echo x | timeout 5 socat -u - 'TCP6:[${to}%toworld]:8020'`, { in: 'world' })
      const [, from, at] = await server.sees(/(fe80\S+) (\S+)/)
      assert.equal(from, linkLocal(await bed.w.sh(show('toworld'), { in: 'world' })))
      assert.equal(at, linkLocal(await guest.sh(show('eth0'))))
    } finally {
      await server.stop()
    }
  })
})

/** All from one port, of which both addresses are the gateway to the guest; each says a letter, and hears it. */
const alike = `import socket, sys
all = []
for at in sys.argv[1:]:
    for port in 8101, 8121:
        s = socket.socket(socket.AF_INET6 if ":" in at else socket.AF_INET); s.settimeout(10)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((at, 4999)); s.connect((at, port)); all.append(s)
for s, letter in zip(all, "abcd"): s.sendall(letter.encode())
print("".join(s.recv(1).decode() for s in all))`

describe('--no-splice', () => {
  let other: Guest
  before(async () => {
    const options = ['--no-splice', '-t', '8101-8114:7001-7014,8121:7001', '-u', '8101-8104:7001-7004']
    other = await Guest.open(bed.w, ['-a', net.host4, '-n', '24', '-a', net.host6, ...options])
  })
  after(() => other?.stop())
  for (const f of families) {
    test(`IPv${f.v}: loopback goes through the tap, too, and comes as the gateway`, async () => {
      const seen = await tcpSeen('host', f.loopback, 8112)
      assert.deepEqual([seen.from, seen.to], [f.gw, f.host])
      const udp = await ask(bed.w, 'host', ['udp-report', f.loopback, 8102, 10])
      assert.deepEqual([udp.from, udp.replier], [f.gw, f.loopback])
    })
    test(
      `IPv${f.v}: clients that look alike have a connection each, also by two ports`,
      oursOnly,
      async () => {
        const r = await bed.w.run(['python3', '-c', alike, f.loopback, f.host], { in: 'host' })
        assert.equal(r.stdout, 'abcd\n', r.stderr)
      }
    )
    test(`IPv${f.v}: 20 MB both ways`, oursOnly, async () => {
      const up = await ask(bed.w, 'host', ['tcp-send', f.loopback, 8102, 20_000_000])
      assert.equal(up.reply, up.expect)
      const down = await ask(bed.w, 'host', ['tcp-get', f.loopback, 8103, 20_000_000])
      assert.equal(down.same, true)
    })
  }
})

test('--map-host-loopback: loopback comes as that address', async () => {
  const map = ['--map-host-loopback', '198.51.100.99', '--map-host-loopback', '2001:db8:9::99']
  const other = await Guest.open(bed.w, [
    ...['-a', net.host4, '-n', '24', '-a', net.host6, '--no-splice', ...map],
    ...['-t', '8201-8214:7001-7014']
  ])
  try {
    assert.equal((await tcpSeen('host', '127.0.0.1', 8212)).from, '198.51.100.99')
    assert.equal((await tcpSeen('host', '::1', 8212)).from, '2001:db8:9::99')
  } finally {
    await other.stop()
  }
})

describe('a guest that does not answer at first (regression-71)', () => {
  for (const f of families)
    test(`IPv${f.v}: SYN is sent again, what the client sent meanwhile arrives`, async () => {
      const port = 7050 + f.v
      const one = await Guest.open(
        bed.w,
        ['-a', net.host4, '-n', '24', '-a', net.host6, '-t', `${port + 1000}:${port}`],
        {
          command: ['python3', helper('deaf.py'), f.host, `${port}`, '2.5']
        }
      )
      try {
        const r = await ask(bed.w, 'world', ['tcp-echo', f.host, port + 1000, 100_000])
        assert.deepEqual(r, { same: true, word: 'bye' })
        const [line] = await one.proc.sees(/\{.*\}/)
        const { syns, came } = JSON.parse(line) as { syns: number[]; came: number }
        assert.equal(came, 100_000)
        assert.ok(syns.length >= 3 && syns.length <= 8, `${syns.length} SYNs`)
        if (!isPeer) assert.equal(new Set(syns).size, 1, `sequence numbers ${syns} (regression-B)`)
      } finally {
        await one.stop()
      }
    })
})

describe('multicast', () => {
  /** Tells each time how many it has had; who sends, tells so once nothing more has come for a while. */
  const member = (name: string, address: string, sends: boolean): string => `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("${sends ? '' : '224.0.0.251'}", ${name === 'host' ? 5354 : 5353}))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.0.251") + socket.inet_aton("${address}"))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
print("ready", flush=True)
n = 0
${sends ? 's.sendto(b"question", ("224.0.0.251", 5353)); s.settimeout(2.5)' : ''}
while True:
    try:
        s.recv(100); n += 1
        print("${name} had", n, flush=True)
    except OSError:
        print("${name} had", n, "in all", flush=True)
        s.settimeout(None)`
  test('what the guest sends to a group and the host hears does not come round again (regression-91)', async () => {
    const python = (script: string) => ['python3', '-c', script]
    const world = bed.w.start(python(member('world', net.world4, false)), { in: 'world' })
    // The host is in the group, so the forwarding listener hears it as well. Its port is its own.
    const host = bed.w.start(python(member('host', net.host4, false)), { uid: 0 })
    await Promise.all([world.sees(/ready/), host.sees(/ready/)])
    const one = await Guest.open(bed.w, ['-a', net.host4, '-n', '24', '-u', '5353'], {
      command: python(member('guest', net.host4, true))
    })
    try {
      await world.sees(/world had 1/)
      const [, back] = await one.proc.sees(/guest had (\d+) in all/)
      assert.ok(Number(back) <= 1, `${back} came back`)
      assert.equal(world.stdout, 'ready\nworld had 1\n')
      await one.calm(0.3)
    } finally {
      await Promise.all([one.stop(), world.stop(), host.stop()])
    }
  })
})

test('the guest speaks first: its address as last seen is where connections go', oursOnly, async () => {
  // 198.51.100.77 is added to the namespace later, and used: what comes in goes there from then on. Not so with -a, which
  // says what the address is (guest-address.test.ts).
  const one = await Guest.open(bed.w, ['-t', '8301:7012'], {
    serve: [net.host4]
  })
  try {
    assert.equal((await tcpSeen('world', net.host4, 8301)).to, net.host4)
    await one.sh(`ip addr add 198.51.100.77/24 dev eth0`)
    const server = one.start(['python3', helper('peer.py'), '198.51.100.77'])
    await server.sees(/ready/)
    await one.sh(`socat -u - TCP:${net.world4}:7006,bind=198.51.100.77 < /dev/null`)
    await until(
      'the new address to be used',
      async () => (await tcpSeen('world', net.host4, 8301)).to === '198.51.100.77'
    )
    await server.stop()
  } finally {
    await one.stop()
  }
})
