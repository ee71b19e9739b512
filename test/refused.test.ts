// Destinations that the host's routes forbid: the guest is told at once, as a program on the host is (ip-route(8)).
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { client, useBed } from './lib/bed.js'
import { Guest } from './lib/guest.js'
import { isPeer, net } from './lib/world.js'

const ROUTES = [
  ['prohibit', '192.0.2.1', '2001:db8:f::1'],
  ['unreachable', '192.0.2.2', '2001:db8:f::2'],
  ['blackhole', '192.0.2.3', '2001:db8:f::3'],
  ['throw', '192.0.2.4', '2001:db8:f::4']
] as const
/** errno that the guest's kernel makes of it: all that IPv4's codes leave is host unreachable, and IPv6's a prohibition. */
const EXPECTED = {
  4: {
    prohibit: 'EHOSTUNREACH',
    unreachable: 'EHOSTUNREACH',
    blackhole: 'EHOSTUNREACH',
    throw: 'ENETUNREACH'
  },
  6: { prohibit: 'EACCES', unreachable: 'EACCES', blackhole: 'EACCES', throw: 'ENETUNREACH' }
} as const
const bed = useBed({
  hostSetup: ROUTES.map(([kind, v4, v6]) => `ip route add ${kind} ${v4}; ip -6 route add ${kind} ${v6}`).join(
    '\n'
  )
})
const oursOnly = { skip: isPeer && 'upstream says nothing' }
const TYPES = {
  4: [3, { prohibit: 13, unreachable: 13, blackhole: 13, throw: 0 }],
  6: [1, { prohibit: 1, unreachable: 6, blackhole: 6, throw: 0 }]
} as const

for (const [kind, v4, v6] of ROUTES)
  for (const v of [4, 6] as const)
    describe(`${kind}, IPv${v}`, () => {
      const to = v === 4 ? v4 : v6
      test('UDP', oursOnly, async () => {
        // Net unreachable is a soft error (RFC 1122 §3.2.2.1): the kernel tells those that ask, as resolvers do
        const script = `import errno, socket
v6 = ${v === 6 ? 'True' : 'False'}
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
s.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, 25 if v6 else 11, 1)
s.connect(("${to}", 7001)); s.send(b"x")
try: s.recv(1)
except TimeoutError: print("timeout")
except OSError as e: print(errno.errorcode[e.errno])`
        assert.equal(await bed.w.inside(`python3 - <<'END'\n${script}\nEND`), `${EXPECTED[v][kind]}\n`)
      })
      // A plain program's kernel hands on what is hard only (RFC 1122 §4.1.3.3); no way at the moment is not
      if (kind !== 'throw')
        test('UDP, from a program that does not ask for errors', oursOnly, async () => {
          const script = `import errno, socket
s = socket.socket(socket.${v === 6 ? 'AF_INET6' : 'AF_INET'}, socket.SOCK_DGRAM); s.settimeout(10)
s.connect(("${to}", 7001)); s.send(b"x")
try: s.recv(1)
except TimeoutError: print("timeout")
except OSError as e: print(errno.errorcode[e.errno])`
          assert.equal(await bed.w.inside(`python3 - <<'END'\n${script}\nEND`), `${EXPECTED[v][kind]}\n`)
        })
      test('echo', oursOnly, async () => {
        const r = await client(bed.w, ['icmp-echo', to, 9, 77, 16])
        const [type, codes] = TYPES[v]
        assert.equal(r.type, type, JSON.stringify(r))
        assert.equal(r.code, codes[kind])
      })
    })

test('a flow that goes on when the route is forbidden is told as well', oursOnly, async () => {
  const script = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.IPPROTO_IP, 11, 1); s.connect(("${net.world4}", 7001)); s.settimeout(10)
s.send(b"x"); s.recv(1); print("ready", flush=True)
`
  const g = await Guest.open(bed.w, [], { serve: [] })
  const p = g.start(
    [
      'python3',
      '-c',
      `${script}
while True:
    try:
        s.send(b"y"); s.recv(1)
    except OSError as e:
        print(e.errno, flush=True); break`
    ],
    { input: '' }
  )
  await p.sees(/ready/)
  await bed.w.sh(`ip route add blackhole ${net.world4}`)
  try {
    await p.sees(/113/)
  } finally {
    await bed.w.sh(`ip route del ${net.world4}`)
    await g.stop()
  }
})

test('nothing about groups (RFC 1122 §3.2.2), and nobody is told without end', oursOnly, async () => {
  const script = `import socket, struct, time
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); raw.settimeout(15)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"x", ("239.1.1.1", 9))
t = time.monotonic()
for n in range(3000): s.sendto(b"x", ("192.0.2.1", 1024 + n))
n, other = 0, 0
try:
    while True:
        b = raw.recv(2000)
        if b[20] == 3 and b[21] == 13: n += 1
        else: other += 1
        if n == 50: raw.settimeout(1) # what there must be has come, however slow the machine is
except OSError: pass
print(n, other, round((time.monotonic() - t) * 1000))`
  await bed.w.sh('ip route add unreachable 239.1.1.1')
  const out = await bed.w.inside(`python3 - <<'END'\n${script}\nEND`)
  await bed.w.sh('ip route del unreachable 239.1.1.1')
  const [told, other, ms] = out.trim().split(' ').map(Number)
  assert.equal(other, 0)
  assert.ok(told! >= 50 && told! <= 50 + ms!, out)
})
