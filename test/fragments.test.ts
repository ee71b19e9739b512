// Datagrams above the guest's MTU: fragments from the guest are put together, whatever the MTU, and ping's as well.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { client, families, useBed } from './lib/bed.js'
import { helper, isPeer, net } from './lib/world.js'

const bed = useBed()
const oursOnly = { skip: isPeer && 'upstream drops fragments' }

for (const f of families) {
  describe(`IPv${f.v}`, oursOnly, () => {
    const header = f.v === 4 ? 20 : 40
    for (const mtu of [1500, 65520]) {
      const most = mtu - header - 8
      test(`MTU ${mtu}: UDP there and back, from what just does not fit to the most`, async () => {
        const sizes = [1, most, most + 1, most + 2, 3000, 9001, 65492, 65507]
        const r = await client(bed.w, ['udp-echo', f.world, 7001, ...sizes], ['-m', `${mtu}`])
        assert.deepEqual(r, { failed: {} })
      })
      test(`MTU ${mtu}: ping -s 8000 and the largest`, async () => {
        // One may be lost: the kernels hold few fragments for a neighbour that they do not know yet, or for a slow reader
        for (const size of [8000, 65507]) {
          const line = `ping -${f.v} -n -i 0.2 -W 2 -c 4 -s ${size} ${f.world}`
          assert.match(await bed.w.inside(line, ['-m', `${mtu}`]), /4 packets transmitted, [1-4] received/)
        }
      })
    }
    test('one hop further, whose link has an MTU of 1400', async () => {
      // Where the host still has to learn the path's MTU, a datagram or two are lost
      const r = await client(bed.w, ['udp-echo', f.far, 7001, 1473, 8000, 65507], ['-m', '1500'])
      assert.deepEqual(r, { failed: {} })
    })
  })
}

/** A network behind the namespace, with a smaller MTU: a container's bridge, a VPN. */
const behind = (args: string) => `
echo 1 > /proc/sys/net/ipv4/ip_forward
unshare -n sleep 60 & inner=$!
trap 'kill $inner' EXIT
until [ "$(readlink /proc/$inner/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link add v0 mtu 1400 type veth peer name v1 mtu 1400 netns $inner
ip addr add 10.9.9.1/24 dev v0
ip link set v0 up
nsenter -t $inner -n sh -ec 'ip addr add 10.9.9.2/24 dev v1; ip link set v1 up; ip route add default via 10.9.9.1'
nsenter -t $inner -n python3 ${helper('client.py')} ${args}`

test(
  'behind a guest that routes, whose network has an MTU of 1400: larger answers arrive',
  oursOnly,
  async () => {
    const out = await bed.w.inside(behind(`udp-echo ${net.world4} 7001 1000 1372 1373 4000 65507`))
    assert.deepEqual(JSON.parse(out), { failed: {} })
  }
)
