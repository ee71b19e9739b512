// The bypass: local connections and datagrams, socket to socket, from the host's loopback into the namespace (-t, -u) and
// from the namespace's loopback to the host (-T, -U).
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { battery, mapped, type Way } from './lib/battery.js'
import { families, useBed } from './lib/bed.js'
import { ask, Guest } from './lib/guest.js'
import { helper, isPeer, net, type World } from './lib/world.js'

let guest: Guest
const bed = useBed({}, async (w) => {
  guest = await Guest.open(w, [...mapped('in'), ...mapped('out')])
})

// An IPv6 datagram's payload length counts the UDP header; the loopback's MTU is 65536.
const largest = (f: { v: number }): number => (f.v === 4 ? 65507 : 65487)
const inward: Way = {
  name: 'host loopback → namespace',
  from: () => 'host',
  to: (f) => f.loopback,
  guest: () => guest,
  server: () => guest.proc,
  datagram: largest
}
const outward: Way = {
  name: 'namespace loopback → host',
  from: () => guest,
  to: (f) => f.loopback,
  guest: () => guest,
  server: () => bed.hostPeer,
  datagram: largest
}
battery(bed, inward)
battery(bed, outward)

interface Seen {
  readonly from: string
  readonly to: string
}
/** Addresses as the server sees them, of a connection and of a datagram. */
const seen = async (w: World, from: 'host' | Guest, to: string, sport: number): Promise<[Seen, string]> => {
  const tcp = await ask(w, from, ['tcp-read', to, 8012])
  const udp = await ask(w, from, ['udp-report', to, 8002, 10, 0, sport])
  assert.equal(udp.replier, to)
  const { from: a, to: b } = JSON.parse(tcp.data as string) as Seen
  return [{ from: a, to: b }, udp.from as string]
}

describe('addresses', () => {
  for (const f of families) {
    test(`IPv${f.v}: inward, the namespace's public address is source and destination`, async () => {
      assert.deepEqual(await seen(bed.w, 'host', f.loopback, 4101), [{ from: f.host, to: f.host }, f.host])
    })
    test(`IPv${f.v}: outward, loopback stays loopback`, async () => {
      const lo = f.loopback
      assert.deepEqual(await seen(bed.w, guest, lo, 4102), [{ from: lo, to: lo }, lo])
    })
  }
  test('inward, any loopback address of the host will do', async () => {
    const there = { from: net.host4, to: net.host4 }
    assert.deepEqual(await seen(bed.w, 'host', '127.0.0.53', 4103), [there, net.host4])
  })
  test('outward, 127.0.0.53 stays 127.0.0.53 (regression-79, regression-92)', async () => {
    const server = bed.w.start(['python3', helper('peer.py'), '127.0.0.53'], { uid: 0 })
    await server.sees(/ready/)
    const [tcp, udp] = await seen(bed.w, guest, '127.0.0.53', 4104)
    await server.stop()
    assert.deepEqual([tcp, udp], [{ from: '127.0.0.1', to: '127.0.0.53' }, '127.0.0.1'])
  })
  test('outward, the public address of the namespace is not forwarded', async () => {
    const r = await ask(bed.w, guest, ['tcp-connect', net.host4, 8006])
    assert.equal(r.error, 'ECONNREFUSED')
  })
  test('inward, what listens on the loopback of the namespace only is not exposed', async () => {
    const server = guest.start(['python3', helper('peer.py'), '127.0.0.1', '::1'])
    try {
      await server.sees(/ready/)
      const script = (port: number) => `ss -ltnH src 127.0.0.1:${port}`
      assert.match(await guest.sh(script(7012)), /LISTEN/)
      for (const f of families)
        assert.deepEqual(await seen(bed.w, 'host', f.loopback, 4105), [{ from: f.host, to: f.host }, f.host])
    } finally {
      await server.stop()
    }
  })
})

describe('--host-lo-to-ns-lo', () => {
  let local: Guest
  before(async () => {
    const options = ['--host-lo-to-ns-lo', '-t', '9001-9014:7001-7014', '-u', '9001-9004:7001-7004']
    local = await Guest.open(bed.w, options, { serve: ['127.0.0.1', '127.0.0.9', '::1'] })
  })
  after(() => local?.stop())
  for (const to of ['127.0.0.1', '127.0.0.9', '::1'])
    test(`${to} leads to the same address in the namespace, from loopback`, async () => {
      const tcp = await ask(bed.w, 'host', ['tcp-read', to, 9012])
      const got = JSON.parse(tcp.data as string) as Seen
      const from = to.includes(':') ? '::1' : '127.0.0.1'
      assert.deepEqual([got.from, got.to], [from, to])
      const udp = await ask(bed.w, 'host', ['udp-report', to, 9002, 10])
      assert.deepEqual([udp.from, udp.replier], [from, to])
    })
})

describe('--splice-only', () => {
  let local: Guest
  before(async () => {
    const ports = ['-t', '9101-9114:7001-7014', '-u', '9101-9104:7001-7004', '-T', '9101-9112:7001-7012']
    local = await Guest.open(bed.w, ['--splice-only', ...ports], { serve: ['127.0.0.1', '::1'] })
  })
  after(() => local?.stop())
  test('the namespace has lo and nothing else', async () => {
    assert.match(await local.sh('ip -o link show'), /^1: lo: <LOOPBACK,UP.*\n$/)
  })
  for (const f of families) {
    test(`IPv${f.v}: loopback to loopback, both ways`, async () => {
      for (const from of ['host', local] as const) {
        const r = await ask(bed.w, from, ['tcp-send', f.loopback, 9102, 1_000_000])
        assert.equal(r.reply, r.expect)
      }
      assert.deepEqual(await ask(bed.w, 'host', ['udp-echo', f.loopback, 9101, 0, 100]), { failed: {} })
    })
    test(`IPv${f.v}: other hosts are refused`, async () => {
      const r = await ask(bed.w, 'world', ['tcp-refused', f.host, 9106])
      assert.ok(['ECONNRESET', 'ECONNREFUSED', 'eof'].includes(r.error as string), JSON.stringify(r))
    })
  }
  test('with --no-splice it is refused', async () => {
    const r = await bed.w.pasta(['--splice-only', '--no-splice'], ['true'])
    assert.equal(r.code, 1)
  })
})

test('the program ends while spliced connections are open: both sides hear of it', {
  skip: isPeer
}, async () => {
  const one = await Guest.open(bed.w, ['-t', '9201-9214:7001-7014'])
  const client = bed.w.start(['python3', helper('client.py'), 'tcp-read', '127.0.0.1', '9213'])
  await bed.w.sh('until ss -Htn state established dport = 9213 | grep -q 9213; do sleep 0.02; done')
  await one.stop()
  const r = await client.wait()
  assert.match(r.stdout, /"end": "(eof|ECONNRESET)"/)
})
