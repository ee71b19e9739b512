// TCP from the namespace outward, through the tap, against the real kernel on both sides.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { client, families, logged, useBed } from './lib/bed.js'
import { quickly, until } from './lib/proc.js'
import { asShipped, helper, isPasst, isPeer, net, ok } from './lib/world.js'

if (!isPasst) asShipped()

const bed = useBed()
/** What upstream is known not to do: asked of ours only. */
const oursOnly = { skip: isPeer && 'upstream is weak here' }
const url = (address: string, port: number, path: string): string =>
  `http://${address.includes(':') ? `[${address}]` : address}:${port}/${path}`

describe('bulk', () => {
  const size = 100 * 1024 * 1024
  let sha = ''
  before(async () => {
    // Octets that repeat with no period that a page, a segment or a buffer has.
    const block = randomBytes(1_000_003)
    const blob = Buffer.alloc(size)
    for (let at = 0; at < size; at += block.length) block.copy(blob, at)
    writeFileSync(join(bed.w.dir, 'blob'), blob)
    sha = createHash('sha256').update(blob).digest('hex')
    for (const f of families) {
      const argv = ['python3', helper('httpd.py'), '/mnt/w', f.world, '8080']
      await bed.w.start(argv, { in: 'world', timeout: 900_000 }).sees(/ready/)
    }
  })
  for (const f of families) {
    test(`IPv${f.v}: curl GETs 100 MB intact (regression-11, regression-18, regression-19, regression-20, regression-47, regression-49, regression-59)`, async () => {
      const command = `curl -sS --max-time 50 ${url(f.world, 8080, 'blob')} | sha256sum`
      assert.equal((await bed.w.inside(command)).split(' ')[0], sha)
    })
    test(
      `IPv${f.v}: curl PUTs 100 MB intact (regression-2, regression-69, regression-72, regression-74, regression-76, regression-85, regression-A)`,
      oursOnly,
      async () => {
        const command = `curl -sS --max-time 50 -T /mnt/w/blob ${url(f.world, 8080, 'x')}`
        assert.equal(await bed.w.inside(command), `${size} ${sha}\n`)
      }
    )
    test(`IPv${f.v}: GET and PUT at the same time at MTU 1500`, oursOnly, async () => {
      const both = `curl -sS --max-time 80 ${url(f.world, 8080, 'blob')} | sha256sum > /tmp/got-$$ & get=$!
        curl -sS --max-time 80 --data-binary @/mnt/w/blob ${url(f.world, 8080, 'x')}; wait $get; cat /tmp/got-$$`
      const [up, down] = (await bed.w.inside(both, ['-m', '1500'], { timeout: 90_000 })).split('\n')
      assert.equal(up, `${size} ${sha}`)
      assert.equal(down!.split(' ')[0], sha)
    })
    for (const [direction, flag] of [
      ['out', ''],
      ['in', '-R']
    ] as const)
      test(`IPv${f.v}: iperf3 ${direction}, four streams`, async () => {
        const server = bed.w.start(['iperf3', '-s', '-1', '-B', f.world, '--forceflush'], {
          in: 'world'
        })
        await server.sees(/listening/)
        const out = await bed.w.inside(`iperf3 -c ${f.world} -t 1 -P 4 -J ${flag}`)
        await server.stop()
        const { end } = JSON.parse(out) as { end: { sum_received: { bytes: number } } }
        assert.ok(end.sum_received.bytes > 0, out)
      })
  }
})

describe('connections', () => {
  for (const f of families) {
    test(`IPv${f.v}: server speaks first, handshake is acknowledged at once (regression-17)`, async () => {
      assert.deepEqual(await client(bed.w, ['tcp-read', f.world, 7006]), { data: 'ok\n', end: 'eof' })
      const late = await client(bed.w, ['tcp-read', f.world, 7009, 'quit'])
      assert.deepEqual(late, { data: '220 ready\r\nQUIT\n', end: 'eof' })
    })
    test(`IPv${f.v}: refused at once (regression-30, regression-77)`, async () => {
      await quickly(900, async () => {
        const r = await client(bed.w, ['tcp-connect', f.world, 7999])
        assert.equal(r.error, 'ECONNREFUSED')
        return r.ms as number // a SYN is retransmitted after a second
      })
    })
    test(`IPv${f.v}: unreachable network is an error at once`, async () => {
      const address = f.v === 4 ? '203.0.113.77' : '2001:db8:dead::1'
      await bed.w.sh(
        f.v === 4 ? `ip route add unreachable ${address}` : `ip -6 route add unreachable ${address}`
      )
      await quickly(900, async () => {
        const r = await client(bed.w, ['tcp-connect', address, 80])
        assert.ok(
          ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH'].includes(r.error as string),
          JSON.stringify(r)
        )
        return r.ms as number
      })
    })
    test(`IPv${f.v}: 200 connections at a time (regression-16, regression-27, regression-41, regression-70)`, async () => {
      assert.deepEqual(await client(bed.w, ['tcp-parallel', f.world, 7001, 200]), { ok: 200 })
    })
    test(`IPv${f.v}: tiny exchanges end (regression-62)`, async () => {
      for (const n of [0, 1, 2]) {
        await quickly(5000, async () => {
          const r = await client(bed.w, ['tcp-send', f.world, 7002, n])
          assert.equal(r.reply, r.expect)
          return r.ms as number
        })
      }
    })
    test(`IPv${f.v}: idle in the middle of a connection`, async () => {
      assert.deepEqual(await client(bed.w, ['tcp-idle', f.world, 7001, 2]), { first: 'one', second: 'two' })
    })
  }
})

describe('closing', () => {
  for (const f of families) {
    test(`IPv${f.v}: guest closes its half first, the answer still comes (regression-3, regression-4, regression-55, regression-69)`, async () => {
      const r = await client(bed.w, ['tcp-send', f.world, 7002, 3_000_000])
      assert.equal(r.reply, r.expect)
    })
    test(`IPv${f.v}: server closes its half first, the guest's data still goes (regression-67, regression-68, regression-83)`, async () => {
      const from = bed.peer.stdout.length
      const r = await client(bed.w, ['tcp-after-fin', f.world, 7011, 500_000])
      assert.equal(r.early, 0)
      await logged(bed.peer, { port: 7011, octets: 500_000, sha: r.sha }, from)
    })
    test(`IPv${f.v}: server sends and closes its half, the guest sends on`, async () => {
      const from = bed.peer.stdout.length
      const r = await client(bed.w, ['tcp-get', f.world, 7003, 1_000_000, 0, 0, 50_000])
      assert.equal(r.same, true)
      await logged(bed.peer, { port: 7003, after_fin: 50_000, sha: r.tail_sha }, from)
    })
    test(`IPv${f.v}: reset by the server reaches the guest`, async () => {
      const r = await client(bed.w, ['tcp-read', f.world, 7004, 'x'])
      assert.deepEqual(r, { data: '', end: 'ECONNRESET' })
    })
    test(`IPv${f.v}: what the server said before it reset is the guest's, however late it reads (regression-4, regression-86)`, async () => {
      const r = await client(bed.w, ['tcp-late', f.world, 7015])
      assert.deepEqual(r, { octets: 30_000, same: true, end: 'ECONNRESET' })
    })
    test(`IPv${f.v}: reset by the guest reaches the server (regression-82)`, async () => {
      const from = bed.peer.stdout.length
      assert.deepEqual(await client(bed.w, ['tcp-abort', f.world, 7005]), { hello: 'hello' })
      await logged(bed.peer, { port: 7005, end: 'reset' }, from)
    })
    test(`IPv${f.v}: nothing stays behind: the host has no connection left afterwards (regression-5, regression-70, regression-84)`, async () => {
      const proc = bed.w.startPasta(
        ['--config-net'],
        ['sh', '-ec', `python3 ${helper('client.py')} tcp-parallel ${f.world} 7001 50; echo done; sleep 1000`]
      )
      await proc.sees(/done/)
      const open = () => bed.w.sh(`ss -tnpH state established state close-wait state fin-wait-2 || true`)
      await until('no connection', async () => (await open()).trim() === '')
      await proc.stop()
    })
  }
})

describe('flow control', () => {
  for (const f of families) {
    test(`IPv${f.v}: slow reader at the server (regression-34, regression-57, regression-73, regression-76)`, async () => {
      const r = await client(bed.w, ['tcp-send', f.world, 7007, 4_000_000])
      assert.equal(r.reply, r.expect)
    })
    test(`IPv${f.v}: server that does not read for a while: zero window towards the guest (regression-57, regression-76)`, async () => {
      const r = await client(bed.w, ['tcp-send', f.world, 7008, 8_000_000])
      assert.equal(r.reply, r.expect)
    })
    test(`IPv${f.v}: slow reader in the guest, small buffer: zero window towards us (regression-9, regression-34, regression-47, regression-55)`, async () => {
      const r = await client(bed.w, ['tcp-get', f.world, 7003, 1_500_000, 8192, 0.003])
      assert.deepEqual([r.octets, r.same], [1_500_000, true])
    })
    test(`IPv${f.v}: many small writes with pauses (regression-44, regression-50)`, async () => {
      const r = await client(bed.w, ['tcp-send', f.world, 7002, 400_000, 0.002])
      assert.equal(r.reply, r.expect)
    })
    for (const mtu of [1280, 1500, 9000, 16384, 65520])
      test(`IPv${f.v}: 4 MB both ways at MTU ${mtu}`, async () => {
        const up = await client(
          bed.w,
          ['tcp-send', f.world, 7002, isPeer ? 100_000 : 4_000_000],
          ['-m', `${mtu}`]
        )
        assert.equal(up.reply, up.expect)
        const down = await client(bed.w, ['tcp-get', f.world, 7003, 4_000_000], ['-m', `${mtu}`])
        assert.deepEqual([down.octets, down.same], [4_000_000, true])
      })
  }
})

describe('urgent data', () => {
  for (const f of families) {
    test(`IPv${f.v}: from the server, the stream stays whole (regression-E)`, oursOnly, async () => {
      assert.deepEqual(await client(bed.w, ['tcp-oob', f.world, 7010]), { data: 'before-!-after' })
    })
    test(`IPv${f.v}: from the guest, the octets stay in line`, async () => {
      const r = await client(bed.w, ['tcp-send-oob', f.world, 7002])
      assert.equal(r.reply, r.expect)
    })
  }
})

describe('addresses', () => {
  for (const f of families) {
    test(`IPv${f.v}: the server sees the host's address`, async () => {
      const r = await client(bed.w, ['tcp-read', f.world, 7012])
      const seen = JSON.parse(r.data as string) as { from: string; to: string }
      assert.deepEqual([seen.from, seen.to], [f.host, f.world])
    })
    test(`IPv${f.v}: a server one hop further`, async () => {
      const r = await client(bed.w, ['tcp-send', f.far, 7002, 300_000])
      assert.equal(r.reply, r.expect)
    })
  }
  test('a server on a link-local IPv6 address', async () => {
    const line = await bed.w.sh('ip -6 -o addr show dev toworld scope link', { in: 'world' })
    const linkLocal = /fe80::[0-9a-f:]+/.exec(line)![0]
    const server = bed.w.start(
      ['socat', '-u', 'EXEC:echo found', `TCP6-LISTEN:7100,bind=[${linkLocal}%toworld]`],
      { in: 'world' }
    )
    await bed.w.sh('until ss -ltnH | grep -q 7100; do sleep 0.05; done', { in: 'world' })
    const out = await bed.w.inside(`socat -u TCP6:[${linkLocal}%eth0]:7100 -`)
    await server.stop()
    assert.equal(out, 'found\n')
  })
})

test('an established connection survives SIGSTOP of the guest process and goes on (regression-9, regression-57)', async () => {
  const script = `python3 ${helper('client.py')} tcp-get-gated ${net.world4} 7003 20000000 /mnt/w/go-on > /mnt/w/got & p=$!
    until grep -q 'under way' /mnt/w/got; do sleep 0.05; done
    kill -STOP $p; sleep 3; kill -CONT $p; touch /mnt/w/go-on; wait $p; cat /mnt/w/got`
  const r = ok(await bed.w.pasta(['--config-net'], ['sh', '-ec', script]))
  assert.match(r.stdout, /"same": true/)
})
