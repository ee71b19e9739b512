// UDP from the namespace outward, through the tap.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { client, families, logged, useBed } from './lib/bed.js'
import { calm } from './lib/proc.js'
import { helper, isPeer, net, ok } from './lib/world.js'

const bed = useBed()
const oursOnly = { skip: isPeer && 'upstream is weak here' }

describe('datagrams', () => {
  for (const f of families) {
    test(`IPv${f.v}: empty and small ones there and back (regression-6)`, async () => {
      assert.deepEqual(await client(bed.w, ['udp-echo', f.world, 7001, 0, 1, 2, 3, 1372, 1452]), {
        failed: {}
      })
    })
    // MTU 65520: up to 65492 octets fit one IPv4 frame and 65472 one IPv6 frame. What is larger: fragments.test.ts
    test(`IPv${f.v}: large ones, up to what fits the MTU of 65520`, async () => {
      const most = f.v === 4 ? 65492 : 65472
      assert.deepEqual(
        await client(bed.w, ['udp-echo', f.world, 7001, 1473, 8192, 16356, 32768, 60000, most]),
        {
          failed: {}
        }
      )
    })
    // Beyond the guest's MTU as well: the kernel takes such a frame from a tap
    for (const mtu of ['1500', '65520'])
      test(`IPv${f.v}: the maximum from the other side, MTU ${mtu}`, async () => {
        for (const len of f.v === 4 ? [65492, 65507] : [65472, 65527])
          assert.deepEqual(await client(bed.w, ['udp-sized', f.world, 7003, len], ['-m', mtu]), {
            len,
            same: true
          })
      })
    test(`IPv${f.v}: source port kept, contents kept, host's address as source`, async () => {
      const r = await client(bed.w, ['udp-report', f.world, 7002, 1000, 0, 4444])
      assert.deepEqual(
        [r.port, r.local, r.from, r.replier, r.len, r.sha === r.sent_sha],
        [4444, 4444, f.host, f.world, 1000, true]
      )
    })
    test(`IPv${f.v}: TTL is carried outward`, async () => {
      for (const ttl of [33, 21]) {
        const r = await client(bed.w, ['udp-report', f.world, 7002, 10, ttl])
        assert.equal(r.ttl, ttl)
      }
    })
    test(`IPv${f.v}: 300 flows at a time (regression-27, regression-70)`, async () => {
      assert.deepEqual(await client(bed.w, ['udp-many', f.world, 7001, 300]), { ok: 300 })
    })
    test(`IPv${f.v}: iperf3 delivers`, async () => {
      const server = bed.w.start(['iperf3', '-s', '-1', '-B', f.world, '--forceflush'], {
        in: 'world'
      })
      await server.sees(/listening/)
      const out = await bed.w.inside(`iperf3 -c ${f.world} -u -b 50M -l 1372 -t 1 -J`, [], {
        timeout: 60_000
      })
      await server.stop()
      const { end } = JSON.parse(out) as { end: { sum: { packets: number; lost_packets: number } } }
      assert.ok(end.sum.packets > 100, out)
      assert.ok(
        end.sum.lost_packets < end.sum.packets / 2,
        `${end.sum.lost_packets} of ${end.sum.packets} lost`
      )
    })
  }
})

describe('errors', () => {
  for (const f of families) {
    test(`IPv${f.v}: port unreachable reaches the sender (regression-38, regression-64)`, async () => {
      const r = await client(bed.w, ['udp-error', f.world, 7999])
      assert.equal(r.error, 'ECONNREFUSED') // and not what client.py says after 5 s
    })
    test(`IPv${f.v}: port unreachable one hop further`, async () => {
      assert.equal((await client(bed.w, ['udp-error', f.far, 7999])).error, 'ECONNREFUSED')
    })
    test(`IPv${f.v}: packet too big tells the guest the path's MTU`, async () => {
      // The link to "far" has an MTU of 1400; the first datagram teaches the host, a later one the guest.
      const one = `python3 ${helper('client.py')} udp-error ${f.far} 7001 1440 1`
      const out = await bed.w.inside(`${one}; ${one}; ${one}`, ['-m', '1500'])
      const seen = out
        .trim()
        .split('\n')
        .map((s) => JSON.parse(s) as { error: string; mtu: number })
      assert.ok(
        seen.some((r) => r.error === 'EMSGSIZE' && r.mtu === 1400),
        out
      )
    })
    test(`IPv${f.v}: errors do not spin the program (regression-38)`, async () => {
      const lines = Array.from(
        { length: 20 },
        () => `python3 ${helper('client.py')} udp-error ${f.world} 7999 >/dev/null`
      )
      const proc = bed.w.startPasta(
        ['--config-net'],
        ['sh', '-ec', `${lines.join('\n')}\necho done; sleep 1000`]
      )
      await proc.sees(/done/, 'stdout', 40_000)
      await calm(bed.w.pidsInside(), 0.3, 1000)
      await proc.stop()
    })
  }
})

describe('traceroute', () => {
  for (const f of families)
    test(`IPv${f.v}: UDP traceroute shows both hops`, async () => {
      const out = await bed.w.inside(`traceroute -${f.v} -n -q 1 -w 3 -m 4 ${f.far}`)
      const hops = out.split('\n').filter((line) => /^ *\d+ /.test(line))
      assert.match(hops[0]!, f.v === 4 ? /198\.51\.100\.[13] / : /2001:db8:9::[13] /)
      assert.match(hops[1]!, new RegExp(`${f.far.replace(/\./g, '\\.')} `))
      assert.equal(hops.length, 2, out)
    })
})

describe('multicast and broadcast', () => {
  const listener = (group: string) => `import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 5353))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("${group}") + socket.inet_aton("${net.world4}"))
print("ready", flush=True)
data, peer = s.recvfrom(100)
print(data.decode(), peer[0], flush=True)
s.sendto(b"answer", peer)
`
  test(
    'a query to a multicast group goes out, the unicast answer comes back (regression-28, regression-48, regression-K)',
    oursOnly,
    async () => {
      const server = bed.w.start(['python3', '-c', listener('224.0.0.251')], { in: 'world' })
      await server.sees(/ready/)
      const guest = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.sendto(b"question", ("224.0.0.251", 5353))
print(*s.recvfrom(100))`
      const r = await bed.w.pasta(['--config-net'], ['python3', '-c', guest])
      await server.stop()
      assert.match(server.stdout, new RegExp(`question ${net.host4}`))
      assert.match(ok(r).stdout, /b'answer'/)
    }
  )
  test('broadcast from the guest does not end the program (regression-28, regression-L)', async () => {
    const guest = `import socket
for to in ("255.255.255.255", "198.51.100.255"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.sendto(b"x", (to, 9))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.sendto(b"still here", ("${net.world4}", 7001))
print(s.recv(100).decode())`
    const r = await bed.w.pasta(['--config-net'], ['python3', '-c', guest])
    assert.equal(ok(r).stdout, 'still here\n')
  })
})

test('datagrams without an answer all arrive', async () => {
  const from = bed.peer.stdout.length
  const guest = `import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(50):
    s.sendto(bytes(n), ("${net.world4}", 7004)); time.sleep(0.002)
# The answer to this one comes behind all of them.
s.settimeout(20); s.sendto(b"last", ("${net.world4}", 7001)); s.recv(100)`
  ok(await bed.w.pasta(['--config-net'], ['python3', '-c', guest]))
  for (let n = 0; n < 50; n++) await logged(bed.peer, { udp: 7004, len: n }, from)
})
