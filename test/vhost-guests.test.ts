// passt --vhost-user with guests that are no freshly booted Linux: one that waits, one whose memory grows, one whose passt
// is another now, and iPXE, which takes no checksum for granted.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import './lib/vhost-mode.js'
import { families, useBed } from './lib/bed.js'
import { passt } from './lib/passt.js'
import { calm, type Proc, sleep, until } from './lib/proc.js'
import { overSocket, Vm } from './lib/vm.js'
import { helper, net, type World } from './lib/world.js'

const blob = randomBytes(30_000_000)
const sha = createHash('sha256').update(blob).digest('hex')
const socket = '/mnt/w/passt.socket'
const onAmd64 = { skip: process.arch !== 'x64' && 'the virtual machine is made for amd64' }

let program: Proc
const start = async (w: World): Promise<void> => {
  program = w.start([passt, '-f', '--vhost-user', '-s', socket, '-t', 'none', '-u', 'none'], {
    timeout: 600_000
  })
  await w.sh(`until [ -S ${socket} ]; do sleep 0.02; done`)
}
const bed = useBed({}, async (w) => {
  writeFileSync(join(w.dir, 'blob'), blob)
  writeFileSync(join(w.dir, 'kernel'), blob.subarray(0, 1_234_567))
  for (const f of families) {
    const argv = ['python3', helper('httpd.py'), '/mnt/w', f.world, '8080']
    await w.start(argv, { in: 'world', timeout: 600_000 }).sees(/ready/)
  }
  await start(w)
})

describe('a virtual machine', onAmd64, () => {
  let vm: Vm
  before(async () => {
    const again = overSocket(socket).map((word) => word.replace('socket,id=c,', 'socket,id=c,reconnect=1,'))
    const network = [...again, '-m', '256M,slots=2,maxmem=1G']
    vm = await Vm.boot(bed.w, { network, append: 'ip=dhcp' })
  })
  after(async () => {
    await vm?.stop()
  })
  const download = `wget -q -O - http://${net.world4}:8080/blob | sha256sum`
  /** An intact download while `what` is done to the machine. */
  const survives = async (what: () => Promise<unknown>): Promise<void> => {
    const loading = vm.sh(download, 120_000)
    await sleep(300)
    await what()
    assert.equal((await loading).split(' ')[0], sha)
    for (const f of families) await vm.sh(`ping -c 1 -W 10 ${f.world}`)
  }

  test('that is paused for a while: no processor time, and the transfer goes on', () =>
    survives(async () => {
      await vm.monitor('stop')
      await calm([await program.pid()], 0.1)
      await vm.monitor('cont')
    }))
  test('whose memory grows while a transfer runs', () =>
    survives(async () => {
      const said = [
        await vm.monitor('object_add memory-backend-memfd,id=more,size=128M,share=on'),
        await vm.monitor('device_add pc-dimm,id=dimm,memdev=more')
      ]
      for (const s of said) assert.doesNotMatch(s, /error/i)
    }))
  test('whose passt ends and is started again', async () => {
    await program.stop('SIGTERM')
    await start(bed.w)
    await vm.sh(`until ping -c 1 -W 1 ${net.world4}; do true; done`)
    await survives(async () => {})
  })
})

describe('iPXE', onAmd64, () => {
  test('gets an address and a file', async () => {
    const argv = [
      ...['qemu-system-x86_64', '-accel', 'tcg', '-display', 'none', '-nodefaults', '-no-user-config'],
      ...['-m', '256', '-machine', 'pc,graphics=off'],
      ...[
        '-chardev',
        'socket,id=serial,path=/mnt/w/ipxe.serial,server=on,wait=off',
        '-serial',
        'chardev:serial'
      ],
      ...overSocket(socket).map((word) => word.replace('romfile=,', 'bootindex=1,'))
    ]
    const qemu = bed.w.start(argv, { timeout: 240_000 })
    let said = ''
    const console = await until('a serial port of QEMU', () => open(join(bed.w.dir, 'ipxe.serial')))
    try {
      console.setEncoding('latin1').on('data', (s: string) => {
        said += s
      })
      const sees = (what: RegExp): Promise<unknown> =>
        until(`${what}`, () => what.test(said), 90_000).catch((e: Error) => {
          throw new Error(`${e.message}\nQEMU: ${qemu.stderr}\nconsole: ${said.slice(-3000)}`)
        })
      await sees(/Ctrl-B/)
      console.write('\x02')
      await sees(/iPXE>/)
      // Its keyboard has room for few keys.
      for (const key of `dhcp && imgfetch http://${net.world4}:8080/kernel && imgstat\r`) {
        const echoed = said.length
        console.write(key)
        await until('an echo', () => said.length > echoed)
      }
      await sees(/kernel : 1234567 bytes/)
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
