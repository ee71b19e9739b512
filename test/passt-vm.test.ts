// passt with real guests: a virtual machine over its socket, from the first DHCP request to QEMU's sudden end.
// The machine is an amd64 one, and so is what tools.mjs fetches for it; other architectures have the namespaces of
// passt-*.test.ts only.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { families, useBed } from './lib/bed.js'
import { ask } from './lib/guest.js'
import { passt } from './lib/passt.js'
import { alive, type Proc, sleep } from './lib/proc.js'
import { linkOptions, overSocket, Vm, vhostUser } from './lib/vm.js'
import { helper, net, ok, type World } from './lib/world.js'

const size = 20_000_000
const blob = randomBytes(size)
const sha = createHash('sha256').update(blob).digest('hex')
const socket = '/mnt/w/passt.socket'

let program: Proc
let vm: Vm
const restartable = passt.includes('/peer/') ? [] : ['--restart-path', '/mnt/w/passt.restart']
const start = (w: World): Proc => {
  const ports = ['-t', '2222:22,2224:24', '-u', '2223:23']
  return w.start([passt, '-f', ...linkOptions, '-s', socket, ...ports, ...restartable], { timeout: 600_000 })
}
const bed = useBed({}, async (w) => {
  writeFileSync(join(w.dir, 'blob'), blob)
  program = start(w)
  await w.sh(`until [ -S ${socket} ]; do sleep 0.02; done`)
  for (const f of families) {
    const argv = ['python3', helper('httpd.py'), '/mnt/w', f.world, '8080']
    await w.start(argv, { in: 'world', timeout: 600_000 }).sees(/ready/)
  }
})

const boot = async (append = ''): Promise<void> => {
  vm = await Vm.boot(bed.w, { network: overSocket(socket), append })
}
const url = (address: string): string =>
  `http://${address.includes(':') ? `[${address}]` : address}:8080/blob`
const target = (address: string, port: number): string =>
  address.includes(':') ? `TCP6:[${address}]:${port}` : `TCP4:${address}:${port}`
/** Servers in the guest: a greeting, an echo of datagrams, a checksum. */
const serve = [
  'socat TCP6-LISTEN:22,fork,reuseaddr,ipv6only=0 EXEC:"echo hello" > /dev/null 2>&1 &',
  'socat UDP6-LISTEN:23,fork,reuseaddr,ipv6only=0 EXEC:cat > /dev/null 2>&1 &',
  'socat TCP6-LISTEN:24,fork,reuseaddr,ipv6only=0 EXEC:sha256sum > /dev/null 2>&1 &',
  'until [ $(netstat -lnt | grep -cE ":(22|24) ") = 2 ] && netstat -lnu | grep -q ":23 "; do sleep 0.1; done'
].join('\n')
const hello = { data: 'hello\n', end: 'eof' }

/** Both directions, both families, but little: whether the guest is connected at all. */
const connected = async (): Promise<void> => {
  for (const f of families) {
    await vm.sh(`ping -c 1 -W 10 ${f.world}`)
    assert.equal(await vm.sh(`socat -u ${target(f.world, 7006)} -`), 'ok\n')
  }
  await vm.sh(serve)
  for (const f of families) assert.deepEqual(await ask(bed.w, 'world', ['tcp-read', f.host, 2222]), hello)
}

/** Configured by DHCP at boot; SLAAC needs no help. */
const boots = async (): Promise<void> => {
  assert.match(await vm.sh('ip -4 -o addr show dev eth0'), new RegExp(`inet ${net.host4}/24 `))
  await vm.sh('until ip -6 -o addr show dev eth0 scope global | grep -q 2001:db8:9:; do sleep 0.1; done')
}

const onAmd64 = { skip: process.arch !== 'x64' && 'the virtual machine is made for amd64' }

describe('a guest with the address that DHCP gives it at boot (ip=dhcp)', onAmd64, () => {
  before(() => boot('ip=dhcp'))

  test('address, route, resolver and search list', async () => {
    await boots()
    assert.match(await vm.sh('ip -4 route'), new RegExp(`^default via ${net.gw4} dev eth0`, 'm'))
    const conf = await vm.sh('cat /run/net-eth0.conf')
    assert.match(conf, new RegExp(`^IPV4DNS0='${net.world4}'$`, 'm'))
    assert.match(conf, /^DOMAINSEARCH='example\.net\.?'$/m)
  })
  test('SLAAC: an address and a default route by the advertisement', async () => {
    assert.match(await vm.sh('ip -6 addr show dev eth0'), /inet6 2001:db8:9:0:5054:ff:fe12:3456\/64 /)
    assert.match(await vm.sh('ip -6 route'), /^default via fe80::[0-9a-f:]+ dev eth0/m)
  })
  for (const f of families) {
    test(`IPv${f.v}: ping`, async () => {
      const out = await vm.sh(`ping -c 3 -W 10 -s 1000 ${f.world}`)
      assert.match(out, /3 packets transmitted, 3 packets received/)
    })
    test(`IPv${f.v}: 20 MB from the world, intact`, async () => {
      assert.equal((await vm.sh(`wget -q -O - '${url(f.world)}' | sha256sum`)).split(' ')[0], sha)
    })
    test(`IPv${f.v}: 20 MB to the world, intact`, async () => {
      const out = await vm.sh(`wget -q -O /tmp/blob '${url(f.world)}'
        socat -t 60 - ${target(f.world, 7002)} < /tmp/blob`)
      assert.equal(out.trim(), `${size} ${sha}`)
    })
  }
  test('inbound TCP and UDP to forwarded ports, from another host and from this one', async () => {
    await vm.sh(serve)
    const addresses = [
      ['world', net.host4],
      ['world', net.host6],
      ['host', '127.0.0.1'],
      ['host', '::1']
    ] as const
    for (const [from, to] of addresses) {
      const place = `${from} to ${to}`
      assert.deepEqual(await ask(bed.w, from, ['tcp-read', to, 2222]), hello, place)
      assert.deepEqual(await ask(bed.w, from, ['udp-echo', to, 2223, 1, 1000]), { failed: {} }, place)
    }
  })
  for (const f of families)
    test(`IPv${f.v}: 20 MB through a forwarded port, intact`, async () => {
      const send = `socat -t 60 - ${target(f.host, 2224)} < /mnt/w/blob`
      assert.equal((await bed.w.sh(send, { in: 'world' })).split(' ')[0], sha)
    })
  test('a newer passt takes its place under transfers: no octet is lost', {
    skip: restartable.length === 0 && 'upstream has no such thing'
  }, async () => {
    await vm.sh(`wget -q -O /tmp/blob '${url(net.world4)}'; rm -f /tmp/stop`)
    const again = (name: string, line: string): string =>
      `(until [ -e /tmp/stop ]; do ${line}; done > /tmp/${name} 2>&1; touch /tmp/${name}.ended) &`
    await vm.sh(again('down', `wget -q -O - '${url(net.world6)}' | sha256sum`))
    await vm.sh(again('up', `socat -t 60 - ${target(net.world4, 7002)} < /tmp/blob`))
    // One transfer may have ended, and the next not begun
    await vm.sh(
      `socat -u ${target(net.world4, 7005)} OPEN:/tmp/held,creat & until grep -q hello /tmp/held; do sleep 0.1; done`
    )
    const older = program
    program = start(bed.w)
    await program.sees(/restart: [1-9][0-9]* flows taken over, 0 ended/, 'stderr')
    ok(await older.wait())
    await vm.sh('touch /tmp/stop; until [ -e /tmp/down.ended ] && [ -e /tmp/up.ended ]; do sleep 0.1; done')
    for (const name of ['down', 'up']) {
      const lines = (await vm.sh(`cat /tmp/${name}`)).trim().split('\n')
      for (const line of lines) assert.match(line, new RegExp(sha), name)
    }
    await connected()
  })
  test('the guest reboots: passt goes on', async () => {
    const pid = await program.pid()
    await vm.tell('sleep 0.5; reboot -f')
    await vm.booted()
    await boots()
    await connected()
    assert.ok(alive(pid) && program.running)
  })
  test('QEMU is killed in the middle of a transfer and started again: passt goes on', async () => {
    const pid = await program.pid()
    const get = (address: string): string => `wget -q -O /dev/null '${url(address)}'`
    await vm.tell(`while :; do ${get(net.world4)}; ${get(net.world6)}; done`)
    await sleep(300)
    await vm.stop()
    await boot('ip=dhcp')
    await boots()
    await connected()
    assert.ok(alive(pid) && program.running)
  })
})

describe('a guest with the address that it asks for later', onAmd64, () => {
  before(async () => {
    await vm.stop()
    await boot()
  })
  const told = async (event: string): Promise<string> => vm.sh(`cat /mnt/w/env.${event}`)

  test('udhcpc', async () => {
    await vm.sh('ip link set eth0 up; udhcpc -f -n -q -t 10 -T 2 -i eth0 -O mtu -s /dhcp.sh')
    const env = await told('bound')
    for (const [name, value] of [
      ['ip', net.host4],
      ['mask', '24'],
      ['router', net.gw4],
      ['dns', net.world4],
      ['mtu', '65520']
    ])
      assert.match(env, new RegExp(`^${name}=${value}$`, 'm'))
    await vm.sh(`ping -c 1 -W 10 ${net.world4}`)
  })
  test('DHCPv6: dhclient', async () => {
    await vm.sh('until ip -6 addr show dev eth0 scope link | grep -q fe80; do sleep 0.1; done')
    await vm.sh('dhclient -6 -1 -sf /dhcp.sh -lf /tmp/leases -pf /tmp/pid eth0')
    assert.match(await told('BOUND6'), new RegExp(`^new_ip6_address=${net.host6}$`, 'm'))
    assert.match(await vm.sh('ip -6 -o addr show dev eth0'), new RegExp(`inet6 ${net.host6}/128 `))
    await vm.sh(`ping -c 1 -W 10 ${net.world6}`)
  })
  test('traffic both ways', connected)
})

/** qrap brings a QEMU that knows no better a socket for frames. */
const withQrap = (): void => {
  const qrap = '/mnt/repo/bin/qrap'
  let own: Proc
  before(async () => {
    await vm.stop()
    own = bed.w.start([passt, '-f', '-t', 'none'], { timeout: 600_000 })
    await bed.w.sh('until [ -S /tmp/passt_1.socket ]; do sleep 0.02; done')
  })
  after(async () => {
    await vm.stop()
    await own.stop()
  })
  const ways = [
    ['by number and command', [qrap, '7', 'qemu-system-x86_64'], '-net socket,fd=7 -net nic,model=virtio'],
    ['with what it finds and adds itself', [qrap], '-net none']
  ] as const
  for (const [name, qemu, network] of ways)
    test(name, async () => {
      vm = await Vm.boot(bed.w, { qemu, network: network.split(' '), append: 'ip=dhcp' })
      await boots()
      for (const f of families) await vm.sh(`ping -c 1 -W 10 ${f.world}`)
      await vm.stop()
    })
}
if (!vhostUser) describe('qrap and the first socket that passt finds free', onAmd64, withQrap)
