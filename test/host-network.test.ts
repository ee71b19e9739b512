// Hosts that are not set up like most: names of interfaces, default routes in other tables, gateways of the other family.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { client, useBed } from './lib/bed.js'
import { isPeer, net, ok, pasta, quietPorts, describe as show } from './lib/world.js'

const LONG = 'uplink-of-the-second-provider'
/** UTF-8, and a name with an octet that is none. */
const UTF8 = 'län0'
const LATIN1 = "l$(printf '\\344')n1"
const bed = useBed({
  hostSetup: `ip link property add dev eth0 altname ${LONG} altname up0
for n in ${UTF8} ${LATIN1} fifteen-octets0; do ip link add $n type veth peer name p$n 2>/dev/null ||
  ip link add $n type veth; ip link set $n up; done
ip addr add 192.0.2.200/24 dev ${UTF8}; ip addr add 192.0.2.201/24 dev ${LATIN1}`
})
const oursOnly = { skip: isPeer && 'upstream does otherwise' }

describe('names of interfaces', oursOnly, () => {
  test('an alternative one wherever an option takes an interface', async () => {
    for (const name of [LONG, 'up0']) {
      assert.match(await bed.w.inside('ip -4 addr show dev eth0', ['-i', name]), /198\.51\.100\.2/)
      const options = ['--outbound-if4', name, '--outbound-if6', name]
      for (const a of [net.world4, net.world6])
        assert.equal((await client(bed.w, ['tcp-read', a, 7006], options)).data, 'ok\n')
      const p = bed.w.startPasta(['--config-net', '-t', `%${name}/7300`], ['sleep', '20'])
      await bed.w.sh('until ss -ltnH sport = :7300 | grep -q %eth0:7300; do sleep 0.05; done')
      await p.stop()
    }
  })
  test('one that nobody has is named; it is not cut off to one that somebody has', async () => {
    for (const options of [
      ['-i', 'fifteen-octets0more'],
      ['-t', '%fifteen-octets0more/7301'],
      ['--outbound-if4', 'fifteen-octets0more']
    ]) {
      const r = await bed.w.run([pasta, ...quietPorts.slice(2), ...options, 'true'])
      assert.equal(r.code, 1, show(r))
      assert.match(r.stderr, /no interface 'fifteen-octets0more'/)
    }
  })
  test('UTF-8 in any locale, and octets that are none', async () => {
    for (const LC_ALL of ['C', 'C.UTF-8'])
      for (const [name, address] of [
        [UTF8, '192.0.2.200'],
        [LATIN1, '192.0.2.201']
      ] as const) {
        const script = `name=${name}; exec ${pasta} ${quietPorts.join(' ')} --config-net -4 -i "$name" --outbound-if4 "$name" -t "%$name/7302" -- sh -ec 'ip -4 addr show dev "$0"' "$name"`
        const r = ok(await bed.w.run(['bash', '-ec', script], { env: { LC_ALL } }))
        assert.ok(r.stdout.includes(address), show(r))
      }
    const made = `exec ${pasta} ${quietPorts.join(' ')} --config-net -I "${LATIN1}" -- sh -ec 'ip link show dev "$0"' "${LATIN1}"`
    ok(await bed.w.run(['bash', '-ec', made]))
    const long = await bed.w.run([pasta, '-I', 'äöüäöüäö', 'true'])
    assert.match(long.stderr, /is not an interface name/, show(long))
  })
})
