// passt --vhost-user with a guest that is no Linux: iPXE, which takes no checksum for granted. Linux is in vhost-machine.test.ts.
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import './lib/vhost-mode.js'
import { families, useBed } from './lib/bed.js'
import { passt } from './lib/passt.js'
import { until } from './lib/proc.js'
import { overSocket } from './lib/vm.js'
import { helper, net } from './lib/world.js'

const socket = '/mnt/w/passt.socket'
const onAmd64 = { skip: process.arch !== 'x64' && 'the virtual machine is made for amd64' }

const bed = useBed({}, async (w) => {
  writeFileSync(join(w.dir, 'kernel'), randomBytes(1_234_567))
  for (const f of families) {
    const argv = ['python3', helper('httpd.py'), '/mnt/w', f.world, '8080']
    await w.start(argv, { in: 'world', timeout: 600_000 }).sees(/ready/)
  }
  w.start([passt, '-f', '--vhost-user', '-s', socket, '-t', 'none', '-u', 'none'], { timeout: 600_000 })
  await w.sh(`until [ -S ${socket} ]; do sleep 0.02; done`)
})

describe('iPXE', onAmd64, () => {
  test('gets an address and a file (regression-V3, regression-V8)', async () => {
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
