// What QEMU does with a machine whose card is passt --vhost-user, while a transfer runs: reset, pause, unplugged cable, another
// driver, more memory. And a guest that is no Linux: iPXE, which takes no checksum for granted.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { families, useBed } from './lib/bed.js'
import { passt } from './lib/passt.js'
import { alive, calm, type Proc, sleep, until } from './lib/proc.js'
import { overRings, Vm } from './lib/vm.js'
import { helper, net } from './lib/world.js'

const size = 30_000_000
const blob = randomBytes(size)
const sha = createHash('sha256').update(blob).digest('hex')
const socket = '/mnt/w/passt.socket'
const onAmd64 = { skip: process.arch !== 'x64' && 'the virtual machine is made for amd64' }

let program: Proc
const bed = useBed({}, async (w) => {
  writeFileSync(join(w.dir, 'blob'), blob)
  program = w.start([passt, '-f', '--vhost-user', '-s', socket, '-t', 'none', '-u', 'none'], {
    timeout: 600_000
  })
  await w.sh(`until [ -S ${socket} ]; do sleep 0.02; done`)
  for (const f of families) {
    const argv = ['python3', helper('httpd.py'), '/mnt/w', f.world, '8080']
    await w.start(argv, { in: 'world', timeout: 600_000 }).sees(/ready/)
  }
})

describe('while a transfer runs', onAmd64, () => {
  let vm: Vm
  before(async () => {
    vm = await Vm.boot(bed.w, { network: overRings(socket), append: 'ip=dhcp' })
  })
  after(async () => {
    await vm?.stop()
  })
  const download = `wget -q -O - http://${net.world4}:8080/blob | sha256sum`
  const works = async (): Promise<void> => {
    for (const f of families) await vm.sh(`ping -c 1 -W 10 ${f.world}`)
  }
  /** An intact download while `what` is done to the machine. */
  const survives = async (what: () => Promise<void>): Promise<void> => {
    const loading = vm.sh(download, 120_000)
    await sleep(300)
    await what()
    assert.equal((await loading).split(' ')[0], sha)
    await works()
  }

  test('stop and cont, again and again', () =>
    survives(async () => {
      for (let n = 0; n < 10; n++) {
        await vm.tellQemu('stop')
        await sleep(50)
        await vm.tellQemu('cont')
        await sleep(100)
      }
    }))
  test('stopped: no processor time', async () => {
    await survives(async () => {
      await vm.tellQemu('stop')
      await calm([await program.pid()], 0.1)
      await vm.tellQemu('cont')
    })
  })
  test('set_link off and on', () =>
    survives(async () => {
      for (let n = 0; n < 3; n++) {
        await vm.tellQemu('set_link', { name: 'n', up: false })
        await sleep(200)
        await vm.tellQemu('set_link', { name: 'n', up: true })
        await sleep(300)
      }
    }))
  test('more memory is plugged in', () =>
    survives(async () => {
      const more = { 'qom-type': 'memory-backend-memfd', id: 'more', size: 128 << 20, share: true }
      await vm.tellQemu('object-add', more)
      await vm.tellQemu('device_add', { driver: 'pc-dimm', id: 'dimm', memdev: 'more' })
    }))
  test('the driver is unbound and bound', async () => {
    await vm.sh(`(${download} > /dev/null 2>&1 &)
      d=$(basename $(readlink /sys/class/net/eth0/device))
      for n in 1 2 3; do
        sleep 0.3
        echo $d > /sys/bus/virtio/drivers/virtio_net/unbind
        echo $d > /sys/bus/virtio/drivers/virtio_net/bind
        until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done
        echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
        ip link set eth0 up
        ipconfig -t 20 -c dhcp eth0
      done
      until ip -6 -o addr show dev eth0 scope global | grep -q 2001:db8:9:; do sleep 0.1; done`)
    await works()
  })
  for (const [title, reset] of [
    ['system_reset', () => vm.tellQemu('system_reset')],
    ['the guest reboots itself', async () => vm.tell('reboot -f')]
  ] as const)
    test(title, async () => {
      const pid = await program.pid()
      if (title === 'system_reset') vm.tell(download)
      await sleep(500)
      await reset()
      await vm.booted()
      await vm.sh('until ip -6 -o addr show dev eth0 scope global | grep -q 2001:db8:9:; do sleep 0.1; done')
      await works()
      assert.equal((await vm.sh(download)).split(' ')[0], sha)
      assert.ok(alive(pid) && program.running)
    })
})

describe('iPXE', onAmd64, () => {
  test('gets an address, a name server and a file', async () => {
    writeFileSync(join(bed.w.dir, 'kernel'), blob.subarray(0, 1_234_567))
    const rom = '/usr/lib/ipxe/qemu/efi-virtio.rom'
    assert.ok(existsSync(rom), `no ${rom}: apt-get install ipxe-qemu`)
    const argv = [
      ...['qemu-system-x86_64', '-accel', 'tcg', '-display', 'none', '-nodefaults', '-no-user-config'],
      ...['-machine', 'pc,graphics=off'],
      ...[
        '-chardev',
        'socket,id=serial,path=/mnt/w/ipxe.serial,server=on,wait=off',
        '-serial',
        'chardev:serial'
      ],
      ...overRings(socket).map((word) => word.replace('romfile=,', 'bootindex=1,'))
    ]
    const qemu = bed.w.start(argv, { timeout: 180_000 })
    let said = ''
    const console = await until('a serial port of QEMU', () => open(join(bed.w.dir, 'ipxe.serial')))
    try {
      console.setEncoding('latin1').on('data', (s: string) => {
        said += s
      })
      const sees = (what: RegExp, ms: number): Promise<unknown> =>
        until(`${what}`, () => what.test(said), ms).catch((e: Error) => {
          throw new Error(`${e.message}\nQEMU: ${qemu.stderr}\nconsole: ${said.slice(-3000)}`)
        })
      await sees(/Ctrl-B/, 60_000)
      console.write('\x02')
      await sees(/iPXE>/, 30_000)
      console.write(
        `dhcp && imgfetch http://${net.world4}:8080/kernel && imgstat && echo all-is-\${net0/ip}-well\r`
      )
      await sees(new RegExp(`all-is-${net.host4}-well`), 60_000)
      assert.match(said, /kernel : 1234567 bytes/)
    } finally {
      console.destroy()
      await qemu.stop()
    }
  })
})

const open = (path: string): Promise<Socket | undefined> =>
  new Promise((done) => {
    const s = connect(path)
    s.once('connect', () => done(s)).once('error', () => done(undefined))
  })
