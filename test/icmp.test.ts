// Echo through ping sockets, by raw sockets, ping(8), busybox and traceroute.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { client, families, useBed } from './lib/bed.js'
import { isPeer, net, ok, describe as show, withWorld } from './lib/world.js'

const bed = useBed()
const oursOnly = { skip: isPeer && 'upstream does not do this' }

/** Five requests at once. Once one was answered, ping(8) waits for the others no longer than its interval. */
const five = (v: 4 | 6, to: string) => `ping -${v} -n -c 5 -l 5 -i 10 -W 10 ${to}`

for (const f of families) {
  const reply = f.v === 4 ? 0 : 129
  const good = { type: reply, from: f.world, same: true, checksum: true }
  describe(`IPv${f.v}`, () => {
    test('identifier and sequence kept, also 0 (regression-7, regression-8, regression-22, regression-45)', async () => {
      for (const [id, sequence] of [
        [0, 0],
        [0, 1],
        [1, 0],
        [0x1234, 0xffff],
        [0xffff, 7]
      ] as const)
        assert.deepEqual(await client(bed.w, ['icmp-echo', f.world, id, sequence, 56]), good)
    })
    test('sizes from nothing to large', async () => {
      for (const size of [0, 1, 57, 1400, 20000, 60000])
        assert.deepEqual(await client(bed.w, ['icmp-echo', f.world, 77, 1, size]), good, `size ${size}`)
    })
    test('ping sends and gets five', async () => {
      const out = await bed.w.inside(five(f.v, f.world))
      assert.match(out, /5 packets transmitted, 5 received/)
    })
    test('busybox ping, whose sequence starts at 0 (regression-7)', async () => {
      const out = await bed.w.inside(`busybox ping${f.v === 6 ? '6' : ''} -c 2 -W 2 ${f.world}`)
      assert.match(out, /2 packets transmitted, 2 packets received/)
      assert.match(out, /seq=0 /)
    })
    test('one hop further, and the gateway answers as itself', async () => {
      assert.deepEqual(await client(bed.w, ['icmp-echo', f.far, 5, 5, 8]), { ...good, from: f.far })
      assert.deepEqual(await client(bed.w, ['icmp-echo', f.gw, 5, 5, 8]), { ...good, from: f.gw })
    })
    test('several at a time, each gets its own', async () => {
      const pings = Array.from({ length: 8 }, () => `${five(f.v, f.world)} & p="$p $!"`)
      const out = await bed.w.inside(`${pings.join('\n')}\nfor x in $p; do wait $x; done`)
      assert.equal(out.match(/5 packets transmitted, 5 received/g)?.length, 8, out)
    })
    test('time exceeded is relayed', oursOnly, async () => {
      const r = await client(bed.w, ['icmp-echo', f.far, 9, 1, 16, 1])
      assert.equal(r.type, f.v === 4 ? 11 : 3, JSON.stringify(r))
      assert.match(r.from as string, f.v === 4 ? /^198\.51\.100\.[13]$/ : /^2001:db8:9::[13]$/)
    })
    test('traceroute -I shows both hops', oursOnly, async () => {
      const out = await bed.w.inside(`traceroute -${f.v} -I -n -q 1 -w 3 -m 4 ${f.far}`)
      const hops = out.split('\n').filter((line) => /^ *\d+ /.test(line))
      assert.equal(hops.length, 2, out)
      assert.ok(hops[1]!.includes(f.far), out)
    })
    test('nobody there: no answer, and the program goes on', async () => {
      const nobody = f.v === 4 ? '198.51.100.200' : '2001:db8:9::200'
      const r = await bed.w.pasta(
        ['--config-net'],
        ['sh', '-c', `ping -n -c 1 -W 1 ${nobody}; ping -n -c 1 -W 2 ${f.world}`]
      )
      assert.match(ok(r).stdout, /1 packets transmitted, 0 received[\s\S]*1 packets transmitted, 1 received/)
    })
  })
}

test('--no-icmp: echo goes nowhere, TCP still works', async () => {
  const r = await client(bed.w, ['icmp-echo', net.world4, 3, 3, 8], ['--no-icmp'])
  assert.equal(r.type, null)
  assert.equal((await client(bed.w, ['tcp-read', net.world4, 7006], ['--no-icmp'])).data, 'ok\n')
})

test('without permission for ping sockets: a warning that names the sysctl, TCP still works', async () => {
  await withWorld(
    async (w) => {
      const server = w.start(['socat', 'TCP-LISTEN:7006,reuseaddr,fork', 'EXEC:echo ok'], {
        in: 'world'
      })
      await w.sh('until ss -ltnH | grep -q 7006; do sleep 0.05; done', { in: 'world' })
      const script = `ping -n -c 1 -W 1 ${net.world4}; socat -u TCP:${net.world4}:7006 -`
      const r = await w.pasta(['--config-net', '-d'], ['sh', '-c', script])
      assert.match(r.stdout, /0 received[\s\S]*ok/, show(r))
      if (!isPeer) assert.match(r.stderr, /ping_group_range/, show(r))
      // one line for all of them; each is a flow of its own
      const many = `for n in 1 2 3; do ping -n -c 1 -W 1 ${net.world4}; done`
      const quiet = await w.pasta(['--config-net', '-q'], ['sh', '-c', many])
      if (!isPeer) assert.match(quiet.stderr, /^warning: [^\n]*ping_group_range[^\n]*\n$/, show(quiet))
      await server.stop()
    },
    { hostSetup: `echo '1 0' > /proc/sys/net/ipv4/ping_group_range` }
  )
})
