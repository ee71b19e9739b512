// Other programs that start ours, from newer Debians: rootlesskit (Docker, nerdctl, k3s) and QEMU's own passt back-end, which
// came with 10.1. docs/drivers.md has the ones that are tried by hand.
import assert from 'node:assert/strict'
import { dirname } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { families } from './lib/bed.js'
import { Box } from './lib/box.js'
import { ask } from './lib/guest.js'
import { passt } from './lib/passt.js'
import { cmdlineOf, kill, statusField, until } from './lib/proc.js'
import { sharedMemory, Vm } from './lib/vm.js'
import { helper, net, ok, pasta, describe as show } from './lib/world.js'

const serve = (box: Box) =>
  box.w
    .start(['python3', helper('peer.py'), net.world4, net.world6], { in: 'world', timeout: 900_000 })
    .sees(/ready/)
/** Processes whose command line matches, as seen from outside. */
const running = (box: Box, pattern: RegExp): number[] =>
  box.w.pidsInside().filter((pid) => pattern.test(cmdlineOf(pid)))
const target = (address: string, port: number): string =>
  address.includes(':') ? `TCP6:[${address}]:${port}` : `TCP4:${address}:${port}`

describe('rootlesskit --net=pasta', () => {
  let box: Box
  before(async () => {
    box = await Box.open({ packages: ['rootlesskit', 'uidmap', 'socat', 'netbase'] })
    await serve(box)
  })
  after(() => box?.close())
  const kit = (options: ReadonlyArray<string>, script: string) =>
    box.start(['rootlesskit', '--net=pasta', '--copy-up=/etc', ...options, 'sh', '-ec', script], {
      env: { PATH: `${dirname(pasta)}:/usr/sbin:/usr/bin` }
    })
  const ended = () =>
    until('the end of pasta', () => running(box, /^(\S*\/)?pasta --foreground/).length === 0)
  const inside = `ip -o -4 addr; ip route; socat - ${target(net.world4, 7006)} < /dev/null`
  const expected = [/tap0\s+inet 10\.0\.2\.100\/24 /, /default via 10\.0\.2\.2 dev tap0/, /^ok$/m]

  test('its namespace', async () => {
    const r = ok(await kit(['--disable-host-loopback'], `${inside}; cat /etc/resolv.conf`).wait())
    for (const e of [...expected, /^nameserver 10\.0\.2\.3$/m]) assert.match(r.stdout, e)
    await ended()
  })
  test('a detached namespace', async () => {
    const script = `nsenter -n$ROOTLESSKIT_STATE_DIR/netns sh -ec '${inside}'`
    const r = ok(await kit(['--detach-netns'], script).wait())
    for (const e of expected) assert.match(r.stdout, e)
    await ended()
  })
  test('ports of themselves', async () => {
    const server = 'socat TCP4-LISTEN:8080,fork,reuseaddr SYSTEM:"printf inside"'
    const proc = kit(['--port-driver=implicit'], `echo started; exec ${server}`)
    await proc.sees(/started/)
    const get = async () =>
      (await box.w.run(['socat', '-u', target(net.host4, 8080), '-'], { in: 'world' })).stdout
    await until('an answer from inside', async () => (await get()) === 'inside')
    await proc.stop('SIGTERM')
    await ended()
  })
  test('pasta that cannot start: its reason is in the log of rootlesskit, which goes on', async () => {
    const r = ok(await kit(['--debug', '--cidr=127.0.0.0/24'], 'sleep 1').wait())
    assert.match(r.stderr, /network\/pasta: .*127\.0\.0\.100/)
    await ended()
  })
})

describe("QEMU's -netdev passt", () => {
  let box: Box
  before(async () => {
    box = await Box.open({ suite: 'forky', packages: ['qemu-system-x86', 'seabios'] })
    await serve(box)
  })
  after(() => box?.close())
  const boot = (options: ReadonlyArray<string>, append = '', more: ReadonlyArray<string> = []): Promise<Vm> =>
    Vm.boot(box.w, {
      qemu: box.enter(['qemu-system-x86_64']),
      uid: 0,
      network: [
        ...more,
        ...['-netdev', ['passt', 'id=n', `path=${passt}`, ...options].join(',')],
        ...['-device', 'virtio-net-pci,netdev=n,romfile=']
      ],
      append
    })
  const program = /^(\S*\/)?passt (--vhost-user )?--quiet/
  const connected = async (vm: Vm): Promise<void> => {
    for (const f of families) assert.equal(await vm.sh(`socat -u ${target(f.world, 7006)} -`), 'ok\n')
    await vm.sh(
      'socat TCP6-LISTEN:22,fork,reuseaddr,ipv6only=0 EXEC:"echo hello" > /dev/null 2>&1 & until netstat -lnt | grep -q ":22 "; do sleep 0.1; done'
    )
    for (const f of families)
      assert.deepEqual(await ask(box.w, 'world', ['tcp-read', f.host, 2222]), { data: 'hello\n', end: 'eof' })
  }

  test('a guest, configured by DHCP; passt killed: QEMU starts another; QEMU ends: passt ends', async () => {
    const vm = await boot(
      ['mtu=1500', 'tcp-ports=2222:22', 'fqdn=vm.example.org', 'search=example.org'],
      'ip=dhcp'
    )
    try {
      assert.match(await vm.sh('ip -o addr show dev eth0'), new RegExp(`inet ${net.host4}/24 `))
      await connected(vm)
      // All processes of that name, as killall(1) does
      const old = running(box, program)
      for (const pid of old) kill(pid, 'SIGTERM')
      await until('another passt', () =>
        running(box, program).some((pid) => !old.includes(pid) && statusField(pid, 'Pid'))
      )
      await until('the old one is gone', () => !running(box, program).some((pid) => old.includes(pid)))
      await connected(vm)
    } finally {
      await vm.stop()
    }
    await until('the end of passt', () => running(box, program).length === 0)
  })
  test('vhost-user=on: the same by memory that is shared; and paused', async () => {
    const vm = await boot(['vhost-user=on', 'tcp-ports=2222:22'], 'ip=dhcp', sharedMemory)
    try {
      assert.match(cmdlineOf(running(box, program)[0]!), /--vhost-user/)
      assert.match(await vm.sh('ip -o addr show dev eth0'), new RegExp(`inet ${net.host4}/24 `))
      await connected(vm)
      for (const line of ['stop', 'cont']) await vm.monitor(line)
      await connected(vm)
    } finally {
      await vm.stop()
    }
    await until('the end of passt', () => running(box, program).length === 0)
  })
  const refused: ReadonlyArray<readonly [string, RegExp]> = [
    ['tcp-ports=22', /TCP port (\*\/)?22: Permission denied/],
    ['address=224.0.0.1', /224\.0\.0\.1/],
    ['interface=nope0', /nope0/]
  ]
  for (const [option, expected] of refused)
    test(`${option}: why not, and no guest`, async () => {
      const argv = ['qemu-system-x86_64', '-display', 'none', '-nodefaults', '-S']
      const r = await box.run([...argv, '-netdev', `passt,id=n,path=${passt},${option}`])
      assert.equal(r.code, 1, show(r))
      assert.match(r.stderr, expected)
      assert.match(r.stderr, /Passt exited with code 1/)
    })
})
