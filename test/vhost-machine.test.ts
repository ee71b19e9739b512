// passt --vhost-user, and what a hypervisor does to its guest: pause, reset, link off and on, another client.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { OFFERS } from '../src/machines/link/vhost-session.js'
import './lib/vhost-mode.js'
import { families, useBed } from './lib/bed.js'
import { passt } from './lib/passt.js'
import { alive, calm, type Proc, sleep, until } from './lib/proc.js'
import { linkOptions, overSocket, Vm } from './lib/vm.js'
import { asShipped, helper, net } from './lib/world.js'

asShipped()

const blob = randomBytes(20_000_000)
const sha = createHash('sha256').update(blob).digest('hex')
const socket = '/mnt/w/passt.socket'
const bed = useBed({}, async (w) => {
  writeFileSync(join(w.dir, 'blob'), blob)
  for (const f of families) {
    const argv = ['python3', helper('httpd.py'), '/mnt/w', f.world, '8080']
    await w.start(argv, { in: 'world', timeout: 600_000 }).sees(/ready/)
  }
})
let program: Proc
let vm: Vm

const connected = async (): Promise<void> => {
  for (const f of families) {
    await vm.sh(`ping -c 1 -W 10 ${f.world}`)
    const url = `http://${f.v === 6 ? `[${f.world}]` : f.world}:8080/blob`
    assert.equal((await vm.sh(`wget -q -O - '${url}' | sha256sum`)).split(' ')[0], sha)
  }
}
const fetch = `wget -q -O - http://${net.world4}:8080/blob`
/** Downloads of the guest's, one after the other, until they are called to an end: however fast they are, one goes on meanwhile. */
const downloads = async (): Promise<() => Promise<void>> => {
  await vm.sh(`rm -f /tmp/stop /tmp/ended
    (until [ -e /tmp/stop ]; do ${fetch} | sha256sum; done > /tmp/sums; touch /tmp/ended) &`)
  return async () => {
    const sums = await vm.sh(
      'touch /tmp/stop; until [ -e /tmp/ended ]; do sleep 0.1; done; sort -u /tmp/sums'
    )
    assert.equal(sums, `${sha}  -\n`)
  }
}

/** With room for more memory, and with another passt if this one goes. */
const boot = (): Promise<Vm> => {
  const again = overSocket(socket).map((word) => word.replace('socket,id=c,', 'socket,id=c,reconnect=1,'))
  return Vm.boot(bed.w, { network: [...again, '-m', '256,slots=2,maxmem=1G'], append: 'ip=dhcp' })
}
const startPasst = async (features: string): Promise<void> => {
  program = bed.w.start(
    [passt, '-f', '-d', ...linkOptions, '--vhost-user-features', features, '-s', socket],
    {
      timeout: 600_000
    }
  )
  await bed.w.sh(`until [ -S ${socket} ]; do sleep 0.02; done`)
}
const start = async (features: string): Promise<void> => {
  await startPasst(features)
  vm = await boot()
}
const stop = async (): Promise<void> => {
  await vm.stop()
  await program.stop('SIGTERM')
  await bed.w.sh(`rm -f ${socket}`)
}

// The machine is made for amd64
const onAmd64 = { skip: process.arch !== 'x64' && 'the virtual machine is made for amd64' }
for (const features of ['all', 'upstream'] as const)
  describe(`features: ${features}`, onAmd64, () => {
    before(() => start(features))
    after(stop)

    test('traffic both ways', connected)
    test('what is in force is what the driver took of the offer', () => {
      const seen = [...program.stderr.matchAll(/vhost-user: features 0x([0-9a-f]+)/g)].at(-1)
      assert.ok(seen, program.stderr)
      const offer = OFFERS[features].features
      const inForce = BigInt(`0x${seen[1]}`)
      assert.equal(inForce & ~offer, 0n)
      // Linux takes at least these (virtio_net's features, and virtio_pci's VERSION_1)
      for (const bit of features === 'all' ? [0n, 1n, 7n, 8n, 11n, 12n, 15n, 28n, 29n, 32n] : [1n, 15n, 32n])
        assert.equal((inForce >> bit) & 1n, 1n, `bit ${bit} of 0x${inForce.toString(16)}`)
    })
    if (features === 'upstream') return // what follows does not ask for features, and a boot takes its time
    test('paused in the middle of a transfer, and continued: it goes on', async () => {
      const allArrived = await downloads()
      await sleep(200)
      for (let i = 0; i < 5; i++) {
        await vm.monitor('stop')
        await sleep(100)
        await vm.monitor('cont')
        await sleep(50)
      }
      await vm.monitor('stop')
      await calm([await program.pid()], 0.1)
      await vm.monitor('cont')
      await allArrived()
    })
    test('link off and on in the middle of a transfer: it goes on', async () => {
      const allArrived = await downloads()
      await sleep(200)
      await vm.monitor('set_link n off')
      await sleep(300)
      await vm.monitor('set_link n on')
      await allArrived()
    })
    test('memory plugged in, in the middle of a transfer: it goes on', async () => {
      const allArrived = await downloads()
      await sleep(200)
      for (const n of [1, 2]) {
        const said = await vm.monitor(`object_add memory-backend-memfd,id=m${n},share=on,size=128M`)
        assert.doesNotMatch(said, /Error/)
        assert.doesNotMatch(await vm.monitor(`device_add pc-dimm,id=d${n},memdev=m${n}`), /Error/)
      }
      await allArrived()
      const regions = await vm.monitor('info memory-devices')
      assert.equal(regions.match(/Memory device \[dimm\]/g)?.length, 2, regions)
    })
    test('the driver is unbound and bound again', async () => {
      const out = await vm.sh(`
        cd /sys/bus/virtio/drivers/virtio_net; d=$(ls -d virtio*)
        for n in 1 2 3; do echo $d > unbind; echo $d > bind; done
        until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done
        ip link set eth0 up; until [ "$(cat /sys/class/net/eth0/operstate)" = up ]; do sleep 0.1; done
        udhcpc -f -n -q -t 10 -T 2 -i eth0 -s /dhcp.sh; echo bound`)
      assert.match(out, /bound/)
      await vm.sh(
        `ip addr add ${net.host4}/24 dev eth0 2> /dev/null || :; ip route replace default via ${net.gw4} dev eth0`
      )
      await vm.sh(`ping -c 1 -W 10 ${net.world4}`)
    })
    test('another client is turned away', async () => {
      const r = await bed.w.sh(`timeout 5 socat -u UNIX-CONNECT:${socket} - | wc -c`)
      assert.equal(r.trim(), '0')
      await vm.sh(`ping -c 1 -W 10 ${net.world4}`)
    })
    test('reset in the middle of a transfer', async () => {
      const pid = await program.pid()
      await vm.tell(`while :; do ${fetch} > /dev/null; done`)
      await sleep(200)
      await vm.monitor('system_reset')
      await vm.booted()
      await vm.sh('until ip -6 -o addr show dev eth0 scope global | grep -q 2001:db8:9:; do sleep 0.1; done')
      await connected()
      assert.ok(alive(pid) && program.running)
    })
    test('passt ends and is started again: the machine goes on', async () => {
      await program.stop('SIGTERM')
      await startPasst(features)
      await vm.sh(`until ping -c 1 -W 1 ${net.world4}; do true; done`)
      await connected()
    })
    test('nobody is left when it has gone: no message but that', async () => {
      await vm.stop()
      await until('a word about it', () => /client closed the connection|client is gone/.test(program.stderr))
      assert.doesNotMatch(program.stderr, /broken|cannot be|internal error/)
    })
  })
