// A guest's move that does not go as it should, is given up, or is one of several: what its connections come to (lib/migrate.ts).
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import {
  both,
  type Flows,
  fromOurs,
  isAsked,
  isWhole,
  named,
  net,
  type Pair,
  PORT,
  pairsOf,
  type Scene,
  type SceneOptions,
  scene
} from './lib/migrate.js'
import { sleep, until } from './lib/proc.js'
import { helper, World } from './lib/world.js'

let w: World
before(async () => {
  w = await World.open()
})
after(() => w.close())

const half = (n: number, how: 'dies' | 'silent'): string[] => [
  'python3',
  helper('half_helper.py'),
  `${n}`,
  how
]
/** Which of them still carry something each way; the guest's end of all others is reset. */
const alive = async (s: Scene, flows: Flows): Promise<number> => {
  let n = 0
  for (const [i, conn] of flows.guest.entries()) {
    const one = { guest: [conn], world: [flows.world[i]!] }
    const failure = await s.guest.call('say', { conn, text: 'x' }).then(
      () => '',
      (e: Error) => e.message
    )
    if (
      failure === '' &&
      (await s.world.call('hear', { conn: one.world[0], octets: 1, wait: 5 }).catch(() => '')) === 'x'
    ) {
      await s.talk(one, 'alive')
      n++
    } else
      assert.match(
        `${failure}${await s.guest.call('eof', { conn, wait: 10 })}`,
        /ConnectionResetError|BrokenPipeError/
      )
  }
  return n
}
/** The target will not have it: the guest goes on where it was, with all that it had. */
const refused = async (s: Scene, load: Promise<string>, flows: Flows): Promise<void> => {
  await assert.rejects(load, /error/)
  await s.plug('source')
  await s.hypervisor('cont')
  for (let i = 0; i < 3; i++) await s.talk(flows, `back${i}`)
  await s.talk(await s.someOf(), 'new')
}
/** Stopped and saved, in the dark. */
const saved = async (s: Scene): Promise<void> => {
  await s.hypervisor('stop')
  await s.plug('none')
  await s.hypervisor('save')
}

for (const p of pairsOf('ours>ours'))
  describe(named(p), () => {
    const trouble = (
      name: string,
      use: (s: Scene) => Promise<void>,
      o: SceneOptions = {},
      holds?: (p: Pair) => boolean
    ) => {
      if (isAsked(p, holds)) test(name, () => scene(w, p, o, use))
    }

    trouble('no connections: nobody needs a helper', async (s) => {
      await s.prepareTarget(false)
      await s.move()
      await s.talk(await s.someOf(), 'new')
    })
    trouble('no helper at the source: the guest moves, its connections end, new ones are made', async (s) => {
      const flows = await s.someOf()
      await s.prepareTarget(false)
      await s.move()
      assert.equal(await alive(s, flows), 0)
      await s.talk(await s.someOf(), 'new')
    })
    trouble(
      'no helper at the target: it is refused, and the source goes on with all connections',
      async (s) => {
        const flows = await s.someOf()
        await s.source.help()
        await s.prepareTarget(false)
        await saved(s)
        await refused(s, s.hypervisor(`load ${s.target.socket}`), flows)
      },
      {},
      fromOurs
    )
    trouble(
      'the helper of the source dies between two batches: what it has done moves, the others end',
      async (s) => {
        const flows = await s.connect(150, 150)
        await s.source.help(half(1, 'dies'))
        await s.prepareTarget()
        await s.move()
        const n = await alive(s, flows)
        assert.ok(n >= 250 && n < 300, `${n} of 300`)
        await s.talk(await s.someOf(), 'new')
      },
      {},
      fromOurs
    )
    trouble(
      'the helper of the source says nothing: as without one',
      async (s) => {
        const flows = await s.someOf()
        await s.source.help(half(0, 'silent'))
        await s.prepareTarget()
        await s.move()
        assert.equal(await alive(s, flows), 0)
        await s.talk(await s.someOf(), 'new')
      },
      {},
      fromOurs
    )
    for (const how of ['dies', 'silent'] as const)
      trouble(
        `the helper of the target ${how === 'dies' ? 'dies' : 'is silent'}: it is refused, and the source goes on`,
        async (s) => {
          const flows = await s.someOf()
          await s.source.help()
          await s.prepareTarget(false)
          await s.target.help(half(0, how))
          await saved(s)
          await refused(s, s.hypervisor(`load ${s.target.socket}`), flows)
        },
        {},
        both
      )
    trouble('given up before the state was saved', async (s) => {
      const flows = await s.someOf()
      await s.source.help()
      await s.hypervisor('stop')
      await s.hypervisor('cont')
      for (let i = 0; i < 3; i++) await s.talk(flows, `back${i}`)
    })
    for (const octets of [0, 24_000_000])
      trouble(
        `given up after the state was saved${octets > 0 ? ', with bulk both ways' : ''}; then moved`,
        async (s) => {
          const flows = await s.someOf()
          await s.talk(flows, 'a')
          await s.source.help()
          await s.prepareTarget()
          const bulk = await s.connect(1, 1)
          const ways = [
            [s.guest, bulk.guest[0]!, s.world, bulk.world[0]!],
            [s.world, bulk.world[1]!, s.guest, bulk.guest[1]!]
          ] as const
          for (const [from, a, to, b] of ways) {
            await to.call('drink', { conn: b })
            await from.call('pour', { conn: a, octets, seed: a, pause: 0.01 })
          }
          for (const [, , to, b] of ways)
            await until(
              'a part of it',
              async () => (await to.call<number>('drunk', { conn: b })) >= octets / 20
            )
          for (let i = 0; i < 2; i++) {
            await s.hypervisor('stop')
            await s.hypervisor('save')
            await s.hypervisor('cont')
            await s.talk(flows, `back${i}`)
            await s.talk(await s.someOf(), 'new')
            await s.source.helped()
          }
          await s.move()
          await s.talk(flows, 'moved')
          for (const [from, a, to, b] of ways) {
            await isWhole(from, a, to, b)
          }
        },
        {},
        fromOurs
      )
    trouble(
      'given up after the target had it all',
      async (s) => {
        const flows = await s.someOf()
        await s.talk(flows, 'a')
        await s.source.help()
        await s.prepareTarget()
        await saved(s)
        await s.hypervisor(`load ${s.target.socket}`)
        await s.hypervisor('back')
        await sleep(300)
        await s.plug('source')
        await s.hypervisor('cont')
        for (let i = 0; i < 3; i++) await s.talk(flows, `back${i}`)
        await s.talk(await s.someOf(), 'new')
      },
      {},
      fromOurs
    )
    for (const back of [false, true])
      trouble(
        `given up while the guest was paused anyway: saved once more, then ${back ? 'it goes on' : 'moved'}`,
        async (s) => {
          const flows = await s.someOf()
          await s.talk(flows, 'a')
          await s.source.help()
          await s.prepareTarget()
          await saved(s)
          await s.hypervisor('save')
          if (!back) await s.hypervisor(`load ${s.target.socket}`)
          await s.plug(back ? 'source' : 'target')
          await s.hypervisor('cont')
          for (let i = 0; i < 3; i++) await s.talk(flows, `b${i}`)
          await s.talk(await s.someOf(), 'new')
        },
        {},
        both
      )
    trouble(
      'moved on without having run at the target: back where it was, with all connections',
      async (s) => {
        const flows = await s.someOf()
        await s.talk(flows, 'a')
        await s.source.help()
        await s.prepareTarget()
        await saved(s)
        await s.hypervisor(`load ${s.target.socket}`)
        await s.hypervisor('forget')
        await s.hypervisor('save')
        await s.source.help()
        await s.hypervisor(`load ${s.source.socket}`)
        await s.plug('source')
        await s.hypervisor('cont')
        await s.hypervisor('forget')
        for (let i = 0; i < 3; i++) await s.talk(flows, `b${i}`)
        await s.talk(await s.someOf(), 'new')
      },
      {},
      both
    )
    for (const fresh of [false, true])
      trouble(
        `there and back, to ${fresh ? 'another' : 'the same'} process`,
        async (s) => {
          const flows = await s.someOf()
          await s.source.help()
          await s.prepareTarget()
          await s.talk(flows, 'a')
          await s.move()
          await s.talk(flows, 'b')
          if (fresh) await s.restartSource()
          for (const host of [s.source, s.target]) await host.helped()
          await s.move('dark', s.source)
          for (let i = 0; i < 5; i++) await s.talk(flows, `back${i}`)
          await s.talk(await s.someOf(), 'new')
        },
        {},
        fresh ? undefined : fromOurs
      )
    trouble(
      'a state that is cut, or is none: refused each time; the whole one is taken',
      async (s) => {
        const flows = await s.someOf()
        await s.talk(flows, 'a')
        await s.source.help()
        await s.prepareTarget(false)
        await s.hypervisor('stop')
        await s.plug('none')
        await s.hypervisor('save /mnt/w/whole')
        const whole = readFileSync(join(w.dir, 'whole'))
        const records = 62 + 112 * flows.guest.length
        const cuts = [
          0,
          7,
          15,
          16,
          57,
          58,
          61,
          62,
          100,
          174,
          records - 1,
          records,
          records + 51,
          records + 52,
          whole.length - 1
        ]
        const changed = (at: number, ...octets: number[]) => {
          const b = Buffer.from(whole)
          b.set(octets, at)
          return b
        }
        const states = [
          ...cuts.map((n) => whole.subarray(0, n)),
          changed(0, 0),
          changed(11, 1),
          changed(12, 0, 0, 0, 9),
          changed(58, 255, 255, 255, 255),
          changed(records + 8, 255, 255, 255, 255),
          changed(records + 15, 9)
        ]
        for (const [i, state] of states.entries()) {
          writeFileSync(join(w.dir, 'state'), state)
          await s.hypervisor('state /mnt/w/state')
          await s.target.helped()
          await assert.rejects(s.hypervisor(`load ${s.target.socket}`), /CHECK_DEVICE_STATE/, `state ${i}`)
        }
        await s.hypervisor('state /mnt/w/whole')
        await s.target.helped()
        await s.hypervisor(`load ${s.target.socket}`)
        await s.plug('target')
        await s.hypervisor('cont')
        for (let i = 0; i < 3; i++) await s.talk(flows, `b${i}`)
      },
      {},
      both
    )
    trouble(
      "a state of somebody who wants more than the target's options let in: that is reset, the rest goes on",
      async (s) => {
        const flows = await s.someOf()
        await s.source.help()
        await s.prepareTarget()
        await s.hypervisor('stop')
        await s.plug('none')
        await s.hypervisor('save /mnt/w/whole')
        const state = readFileSync(join(w.dir, 'whole'))
        // Of each direction one connection is now with this host's loopback interface (codecs/control/migration.ts)
        const loopback = [...Array<number>(10).fill(0), 255, 255, 127, 0, 0, 1]
        const reach = new Set<boolean>()
        for (let i = 0; i < flows.guest.length; i++) {
          const at = 62 + 112 * i
          const fromHost = state[at] === 1
          const host = at + (fromHost ? 2 : 38)
          if (state.readUInt16BE(host + 10) !== 0xffff || reach.has(fromHost)) continue
          reach.add(fromHost)
          state.set([...loopback, ...loopback], host)
          state.writeUInt16LE(PORT + 100, host + 32)
        }
        assert.equal(reach.size, 2)
        writeFileSync(join(w.dir, 'state'), state)
        await s.hypervisor('state /mnt/w/state')
        await s.hypervisor(`load ${s.target.socket}`)
        assert.doesNotMatch(await s.target.sockets(), /127\.0\.0\.1/)
        await s.plug('target')
        await s.hypervisor('cont')
        await s.target.passt.sees(
          /2 connections moved, 2 dropped \(2 not allowed by the options here\)/,
          'stderr'
        )
        assert.equal(await alive(s, flows), 2)
        await s.talk(await s.someOf(), 'new')
      },
      { targetOptions: ['--no-map-gw'] },
      both
    )
    for (const stop of ['16', '16+', '2000', '2000+'])
      trouble(
        `the reader of the state ${stop.endsWith('+') ? 'stalls, then' : ''} goes after ${stop.replace('+', '')} octets: the guest goes on with its connections`,
        async (s) => {
          const flows = await s.someOf()
          const heavy = await s.connect(0, 1)
          await s.world.call('pour', { conn: heavy.world[0]!, octets: 8_000_000, seed: 3 })
          await s.source.help()
          const full = async () =>
            [...(await s.source.sockets()).matchAll(/^ESTAB +(\d+)/gm)].some(([, n]) => Number(n) > 50_000)
          await until('a full queue', full)
          await s.hypervisor('stop')
          await assert.rejects(s.hypervisor(`save - ${stop}`), /CHECK_DEVICE_STATE/)
          await s.hypervisor('cont')
          for (let i = 0; i < 3; i++) await s.talk(flows, `back${i}`)
          await s.guest.call('drink', { conn: heavy.guest[0]! })
          await isWhole(s.world, heavy.world[0]!, s.guest, heavy.guest[0]!)
          await s.talk(await s.someOf(), 'new')
        },
        {},
        fromOurs
      )
    trouble(
      '--one-off is off once the guest has moved',
      async (s) => {
        const flows = await s.someOf()
        await s.source.help()
        await s.prepareTarget()
        await s.move()
        await s.talk(flows, 'b')
        await s.source.passt.sees(/Migration complete/, 'stderr')
        await sleep(500)
        assert.ok(s.source.passt.running)
      },
      { sourceOptions: ['-1'] }
    )
    trouble(
      '--migrate-exit: the end, and connections go on',
      async (s) => {
        const flows = await s.someOf()
        await s.source.help()
        await s.prepareTarget()
        await s.move()
        const r = await s.source.passt.wait()
        assert.equal(r.code, 0)
        assert.match(r.stderr, /Migration complete, exiting/)
        for (let i = 0; i < 5; i++) await s.talk(flows, `b${i}`)
      },
      { sourceOptions: ['--migrate-exit'] }
    )
    trouble('datagrams: the first one at the target begins a flow', async (s) => {
      const peer = w.start([...s.in(s.worldNs), 'python3', helper('peer.py'), net.world4, net.world6], {
        uid: 0,
        timeout: 300_000
      })
      await peer.sees(/ready/)
      const ask = async (): Promise<void> => {
        for (const [family, to] of [
          ['AF_INET', net.world4],
          ['AF_INET6', net.world6]
        ]) {
          const lines = `import socket
s = socket.socket(socket.${family}, socket.SOCK_DGRAM)
s.bind(('', 5555)); s.settimeout(10); s.sendto(b'datagram', ('${to}', 7001)); print(s.recv(100))`
          assert.match(await w.sh(`${s.in(s.guestNs).join(' ')} python3 -c "${lines}"`), /datagram/)
        }
        await w.sh(`${s.in(s.guestNs).join(' ')} ping -c 1 -W 10 ${net.world4}`)
      }
      try {
        await ask()
        await s.prepareTarget(false)
        await s.move()
        await ask()
      } finally {
        await peer.stop()
      }
    })
    trouble(
      'the report, at both ends',
      async (s) => {
        await s.someOf()
        await s.source.help()
        await s.prepareTarget()
        await s.move()
        for (const host of [s.source, s.target])
          await host.passt.sees(/migration: 4 connections moved/i, 'stderr')
      },
      {},
      both
    )
  })
