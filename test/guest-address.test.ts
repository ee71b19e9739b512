// Whose address is the guest's: where published ports go when others send through it (machines/address/guest-address.ts).
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { Guest } from './lib/guest.js'
import { until } from './lib/proc.js'
import { isPeer, net } from './lib/world.js'

const bed = useBed()
const oursOnly = { skip: isPeer && 'upstream takes every source for the guest' }
const options = ['-t', '8080', '--no-map-gw']

/** A guest that says under which of its addresses a connection came to port 8080. */
const open = async (more: string[] = []) => {
  const lines = `import socket
s = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    c, peer = s.accept(); c.sendall(c.getsockname()[0].replace("::ffff:", "").encode() + b"\\n"); c.close()
`
  writeFileSync(join(bed.w.dir, 'where.py'), lines)
  return Guest.open(bed.w, [...options, ...more], { command: ['python3', '/mnt/w/where.py'] })
}
/** Where a connection of "world" ends, '' where nobody answers. */
const where = async (v: 4 | 6): Promise<string> => {
  const to = v === 4 ? `TCP4:${net.host4}:8080` : `TCP6:[${net.host6}]:8080`
  const r = await bed.w.run(['socat', '-T', '3', '-u', `${to},connect-timeout=3`, 'STDOUT'], { in: 'world' })
  return r.stdout.trim()
}
const becomes = (v: 4 | 6, address: string) =>
  until(`connections come to ${address}`, async () => (await where(v)) === address)

/** A network behind the guest, whose packets it forwards as they are; `inside` runs there. */
const nested = (inside: string) => `unshare -n sleep 600 & p=$!
until [ "$(readlink /proc/$p/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link add v0 type veth peer name v1 netns $p
ip addr add 10.88.0.1/24 dev v0; ip -6 addr add 2001:db8:88::1/64 dev v0 nodad; ip link set v0 up
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
in_nested() { nsenter -t $p -n "$@"; }
in_nested ip addr add 10.88.0.5/24 dev v1; in_nested ip -6 addr add 2001:db8:88::5/64 dev v1 nodad
in_nested ip link set v1 up; in_nested ip link set lo up
in_nested ip route add default via 10.88.0.1; in_nested ip -6 route add default via 2001:db8:88::1
${inside}
kill $p`
const echo = (v: 4 | 6) =>
  `echo hello | socat -T 3 - UDP${v}:${v === 4 ? net.world4 : `[${net.world6}]`}:7001`

describe('a network behind the guest', () => {
  for (const v of [4, 6] as const)
    test(
      `IPv${v}: its packets are answered, and published ports still come to the guest`,
      oursOnly,
      async () => {
        const g = await open()
        const own = v === 4 ? net.host4 : net.host6
        assert.equal(await where(v), own)
        const out = await g.sh(nested(`in_nested sh -c ${JSON.stringify(echo(v))}`))
        assert.equal(out, 'hello\n')
        assert.equal(await where(v), own)
        await g.stop()
      }
    )
})

test(
  'what is bridged behind the guest takes no published port by announcing an address of another network',
  oursOnly,
  async () => {
    const g = await open()
    assert.equal(await where(4), net.host4)
    await g.sh(`python3 - <<'END'
import socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind(("eth0", 0))
mac, address = bytes.fromhex("029999999999"), socket.inet_aton("10.9.9.9")
arp = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + mac + address + bytes(6) + address
for _ in range(5):
    s.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + arp)
END`)
    assert.equal(await where(4), net.host4)
    await g.stop()
  }
)

describe('addresses of its own', () => {
  const send = (v: 4 | 6, from: string) =>
    `echo hello | socat -T 3 - UDP${v}:${v === 4 ? net.world4 : `[${net.world6}]`}:7001,bind=${v === 4 ? from : `[${from}]`}`
  test('IPv4: another one of the subnet', async () => {
    const g = await open()
    await g.sh(`ip addr add 198.51.100.77/24 dev eth0; ${send(4, '198.51.100.77')}`)
    assert.equal(await where(4), '198.51.100.77')
    await g.stop()
  })
  test('IPv6: another one of the prefix, as SLAAC and privacy extensions make them', async () => {
    const g = await open()
    await g.sh(`ip -6 addr add 2001:db8:9::aaaa:77/64 dev eth0 nodad; ${send(6, '2001:db8:9::aaaa:77')}`)
    assert.equal(await where(6), '2001:db8:9::aaaa:77')
    await g.stop()
  })
  test('IPv4: one of another subnet, by ARP', async () => {
    const g = await open()
    await g.sh(`ip addr flush dev eth0 scope global; ip addr add 10.7.7.7/24 dev eth0
ip route add default via 10.7.7.1; ${send(4, '10.7.7.7')}`)
    assert.equal(await where(4), '10.7.7.7')
    await g.stop()
  })
  test('IPv6: one of another prefix, by duplicate address detection', async () => {
    const g = await open()
    await g.sh('sysctl -qw net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.eth0.dad_transmits=1')
    await g.sh(`ip -6 addr add 2001:db8:77::7/64 dev eth0
until ! ip -6 addr show dev eth0 tentative | grep -q 2001:db8:77; do sleep 0.1; done; ${send(6, '2001:db8:77::7')}`)
    await becomes(6, '2001:db8:77::7')
    await g.stop()
  })
  test('with -a it is the one that was given', oursOnly, async () => {
    const g = await open(['-a', '198.51.100.50', '-n', '24', '-g', net.gw4])
    assert.equal(await where(4), '198.51.100.50')
    await g.sh(`ip addr add 198.51.100.77/24 dev eth0; ${send(4, '198.51.100.77')}`)
    assert.equal(await where(4), '198.51.100.50')
    await g.stop()
  })
})
