// A virtual machine that QEMU moves from one passt to another, with its connections. What exactly they go through is in the other
// migrate-*.test.ts; here the hypervisor is the real one. QEMU has device states of vhost-user cards since 10.1, so it is a newer Debian's.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Box } from './lib/box.js'
import {
  ALL_PAIRS,
  both,
  fromOurs,
  type Host,
  isAsked,
  isUpstream,
  isWhole,
  named,
  net,
  type Pair,
  PORT,
  pairsOf,
  type Scene,
  scene,
  toOurs
} from './lib/migrate.js'
import { until } from './lib/proc.js'
import { sharedMemory, Vm } from './lib/vm.js'
import { asShipped } from './lib/world.js'

asShipped()

let box: Box
before(async () => {
  box = await Box.open({ suite: 'forky', packages: ['qemu-system-x86', 'seabios'] })
})
after(() => box?.close())

const machine = (socket: string, incoming?: string): Promise<Vm> =>
  Vm.boot(box.w, {
    qemu: box.enter(['qemu-system-x86_64'], 0),
    uid: 0,
    append: 'ip=dhcp',
    network: [
      ...sharedMemory,
      ...['-chardev', `socket,id=c,path=${socket}`, '-netdev', 'vhost-user,id=n,chardev=c'],
      ...['-device', 'virtio-net-pci,netdev=n,romfile=,mac=52:54:00:12:34:56']
    ],
    ...(incoming === undefined ? {} : { incoming })
  })
/** In the guest, all echo what they get: `outward` connections that it has made, and a server. */
const echoes = async (vm: Vm, outward: number): Promise<void> => {
  await vm.sh(`
socat TCP-LISTEN:${PORT},fork,reuseaddr,backlog=400 PIPE > /dev/null 2>&1 &
until netstat -lnt | grep -q ':${PORT} '; do sleep 0.1; done
for i in $(seq ${outward}); do socat TCP:${net.world4}:${PORT} PIPE > /dev/null 2>&1 & done`)
}
/** The world's ends of so many connections that the guest has made, and of others that were made to it. */
const connect = async (s: Scene, vm: Vm, outward: number, inward: number): Promise<number[]> => {
  const accepted = s.world.call<number[]>('accept', { port: PORT, n: outward })
  await echoes(vm, outward)
  const made = await s.world.call<number[]>('connect', { to: net.host4, port: PORT, n: inward })
  return [...(await accepted), ...made]
}
/** What the world says comes back, on each. */
const talk = async (s: Scene, conns: ReadonlyArray<number>, text: string): Promise<void> => {
  await s.world.call('say_all', { conns, text })
  assert.deepEqual(
    await s.world.call('hear_all', { conns, length: text.length }),
    conns.map((c) => `${text}${`${c}`.padStart(6, '0')}`)
  )
}
interface Moving {
  readonly s: Scene
  /** The world's ends. */
  readonly conns: ReadonlyArray<number>
  readonly vm: Vm
  readonly boot: (socket: string, from?: string) => Promise<Vm>
  readonly move: (vm: Vm, to: Host) => Promise<Vm>
}
const incoming = 'unix:/mnt/w/incoming'

for (const p of pairsOf(ALL_PAIRS))
  describe(named(p), { skip: process.arch !== 'x64' && 'the virtual machine is made for amd64' }, () => {
    /** A machine with connections; `use` gets it, and how it moves. Machines of `boot` end with the test. */
    const moving = (
      name: string,
      [outward, inward]: readonly [number, number],
      use: (m: Moving) => Promise<void>,
      holds?: (p: Pair) => boolean,
      always = false
    ) => {
      if (!isAsked(p, holds, always)) return
      test(name, () =>
        scene(box.w, p, { noGuest: true, options: ['-4'] }, async (s) => {
          const vms: Vm[] = []
          const boot = async (socket: string, from?: string): Promise<Vm> => {
            const vm = await machine(socket, from)
            vms.push(vm)
            return vm
          }
          const move = async (vm: Vm, to: Host): Promise<Vm> => {
            for (const host of [s.source, s.target]) await host.helped()
            const next = await boot(to.socket, incoming)
            await s.plug('none')
            assert.equal(await vm.migrate(incoming), 'completed', next.proc.stderr)
            // The source has sent all; before the target has read it, its host would reset what comes
            await until('the machine runs at the target', async () =>
              /running/.test(await next.monitor('info status'))
            )
            await s.plug(to.role)
            await vm.stop()
            return next
          }
          try {
            const vm = await boot(s.source.socket)
            const conns = await connect(s, vm, outward, inward)
            await talk(s, conns, 'before')
            await use({ s, conns, vm, boot, move })
          } finally {
            await Promise.all(vms.map((vm) => vm.stop()))
          }
        })
      )
    }
    moving(
      'idle connections and keystrokes, then new ones',
      [2, 2],
      async ({ s, conns, vm: old, move }) => {
        await s.prepareTarget()
        const vm = await move(old, s.target)
        // Upstream acknowledges to the guest only what goes beyond all that it had sent before: by Nagle's algorithm that is the end
        const strokes = isUpstream(p.target) ? 1 : 20
        for (let i = 0; i < strokes; i++) await talk(s, conns, `${i % 10}`)
        const more = await s.world.call<number[]>('connect', { to: net.host4, port: PORT, n: 2 })
        await talk(s, more, 'new')
        await vm.sh(`ping -c 1 -W 10 ${net.world4}`)
      },
      undefined,
      toOurs(p)
    )
    moving(
      'bulk both ways, and connections that end meanwhile',
      [3, 3],
      async ({ s, conns, vm: old, move }) => {
        await s.prepareTarget()
        const octets = 30_000_000
        const bulk = [conns[0]!, conns[3]!]
        for (const conn of bulk) {
          await s.world.call('drink', { conn })
          await s.world.call('pour', { conn, octets, seed: conn, pause: 0.05 })
        }
        for (const conn of bulk)
          await until(
            'a part of it',
            async () => (await s.world.call<number>('drunk', { conn })) > octets / 30
          )
        await s.world.call('shut', { conn: conns[1]! })
        const vm = await move(old, s.target)
        for (const conn of bulk)
          assert.ok((await s.world.call<number>('drunk', { conn })) < octets, 'the move was too late')
        assert.equal(await s.world.call('eof', { conn: conns[1]! }), true)
        await s.world.call('shut', { conn: conns[4]! })
        assert.equal(await s.world.call('eof', { conn: conns[4]! }), true)
        for (const conn of bulk) await isWhole(s.world, conn, s.world, conn)
        await talk(s, [conns[2]!, conns[5]!], 'after')
        await vm.sh('true')
      }
    )
    moving('300 connections', [50, 250], async ({ s, conns, vm, move }) => {
      await s.prepareTarget()
      await move(vm, s.target)
      await talk(s, conns, 'after')
    })
    moving(
      'there and back, to the same passt',
      [2, 2],
      async ({ s, conns, vm, move }) => {
        await s.prepareTarget()
        const there = await move(vm, s.target)
        await talk(s, conns, 'there')
        await move(there, s.source)
        for (let i = 0; i < 5; i++) await talk(s, conns, `back${i}`)
      },
      both
    )
    moving('given up by the hypervisor', [2, 2], async ({ s, conns, vm, boot }) => {
      await s.source.help()
      await s.prepareTarget()
      await boot(s.target.socket, incoming)
      await vm.monitor('migrate_set_parameter max-bandwidth 1M')
      await vm.monitor(`migrate -d ${incoming}`)
      await talk(s, conns, 'meanwhile')
      await vm.monitor('migrate_cancel')
      for (let i = 0; i < 5; i++) await talk(s, conns, `back${i}`)
    })
    moving(
      'the target cannot take it: the machine goes on where it was',
      [2, 2],
      async ({ s, conns, vm, boot }) => {
        await s.source.help()
        await s.prepareTarget(false)
        const target = await boot(s.target.socket, incoming)
        await s.plug('none')
        await vm.migrate(incoming)
        await target.proc.wait()
        await s.plug('source')
        // QEMU does not hear of it, who drives it does
        await vm.monitor('cont')
        for (let i = 0; i < 5; i++) await talk(s, conns, `back${i}`)
      },
      fromOurs
    )
  })
