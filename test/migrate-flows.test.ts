// What becomes of TCP connections when their guest moves to another passt (lib/migrate.ts): all of them go on.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import {
  ALL_PAIRS,
  both,
  type Flows,
  fromOurs,
  isAsked,
  isWhole,
  named,
  ours,
  type Pair,
  pairsOf,
  type Scene,
  type SceneOptions,
  type Side,
  scene,
  toOurs,
  upstream
} from './lib/migrate.js'
import { sleep, until } from './lib/proc.js'
import { World } from './lib/world.js'

let w: World
before(async () => {
  w = await World.open()
})
after(() => w.close())

/** Both ends of a move are there, with helpers. */
const ready = async (s: Scene): Promise<void> => {
  await s.source.help()
  await s.prepareTarget()
}
/** What the guest's kernel has sent is acknowledged. */
const acknowledged = (s: Scene, { guest }: Flows): Promise<boolean> =>
  until('all that the guest sent is acknowledged', async () => {
    const outq = await Promise.all(guest.map((conn) => s.guest.call<{ outq: number }>('info', { conn })))
    return outq.every((i) => i.outq === 0)
  })

for (const p of pairsOf(ALL_PAIRS))
  describe(named(p), () => {
    const moving = (
      name: string,
      use: (s: Scene) => Promise<void>,
      o: SceneOptions = {},
      holds?: (p: Pair) => boolean,
      always = false
    ) => {
      if (isAsked(p, holds, always)) test(name, () => scene(w, p, o, use))
    }
    /** From upstream as well; to it, where `to`. */
    const everywhere = (name: string, use: (s: Scene) => Promise<void>, to = false) =>
      moving(name, use, {}, undefined, to || toOurs(p))

    everywhere(
      'idle connections, then new ones',
      async (s) => {
        const flows = await s.someOf()
        await ready(s)
        await s.move()
        await sleep(1000)
        for (let i = 0; i < 5; i++) await s.talk(flows, `idle${i}`)
        await s.talk(await s.someOf(), 'new')
      },
      true
    )
    moving('keystrokes before and after', async (s) => {
      const flows = await s.someOf()
      await ready(s)
      for (let i = 0; i < 10; i++) await s.talk(flows, `${i % 10}`)
      await s.move()
      for (let i = 0; i < 40; i++) await s.talk(flows, `${i % 10}`)
    })
    moving(
      'keystrokes all the while',
      async (s) => {
        const flows = await s.someOf()
        await ready(s)
        let moved = false
        let strokes = 0
        const typing = (async () => {
          for (let more = 20; more > 0; strokes++) {
            await s.talk(flows, 'k')
            await sleep(10)
            if (moved) more--
          }
        })()
        await until('some keystrokes', () => strokes > 5)
        await s.move()
        moved = true
        await typing
      },
      {},
      toOurs
    )
    for (const v of [4, 6] as const)
      moving(`bulk both ways over IPv${v}, sums compared`, async (s) => {
        const octets = 32_000_000
        const flows = await s.connect(2, 2, { v })
        await ready(s)
        const ways = flows.guest.map((g, i) => {
          const [from, a, to, b] =
            i % 2 === 0
              ? ([s.guest, g, s.world, flows.world[i]!] as const)
              : ([s.world, flows.world[i]!, s.guest, g] as const)
          return { from, a, to, b, seed: i }
        })
        for (const { from, a, to, b, seed } of ways) {
          await to.call('drink', { conn: b })
          await from.call('pour', { conn: a, octets, seed, pause: 0.01 })
        }
        for (const { to, b } of ways)
          await until('a part of it', async () => (await to.call<number>('drunk', { conn: b })) > octets / 20)
        await s.move()
        for (const { to, b } of ways)
          assert.ok((await to.call<number>('drunk', { conn: b })) < octets, 'the move was too late')
        for (const { from, a, to, b } of ways) {
          assert.equal(await isWhole(from, a, to, b), octets)
        }
      })
    everywhere('300 connections: two batches of the helper', async (s) => {
      const flows = await s.connect(150, 150)
      await ready(s)
      await s.talk(flows, 'a')
      await s.move()
      for (const text of ['b', 'c']) await s.talk(flows, text)
    })
    everywhere("300 connections, with the other side's helper", async (s) => {
      const flows = await s.connect(150, 150)
      const other = (side: Side) => (side === ours ? upstream : ours).repair
      await s.source.help([other(p.source)])
      await s.prepareTarget(false)
      await s.target.help([other(p.target)])
      await s.move()
      for (const text of ['b', 'c']) await s.talk(flows, text)
    })
    for (const [who, first, other] of [
      ['guest', 'guest', 'world'],
      ['peer', 'world', 'guest']
    ] as const)
      moving(`the ${who} has finished: it hears the rest, and the end`, async (s) => {
        const flows = await s.someOf()
        await ready(s)
        for (const conn of flows[first]) await s[first].call('shut', { conn })
        for (const conn of flows[other]) assert.equal(await s[other].call('eof', { conn }), true)
        await s.move()
        for (const [i, conn] of flows[other].entries()) {
          await s[other].call('say', { conn, text: 'to a half-closed one' })
          assert.equal(
            await s[first].call('hear', { conn: flows[first][i]!, octets: 20 }),
            'to a half-closed one'
          )
          await s[other].call('shut', { conn })
          assert.equal(await s[first].call('eof', { conn: flows[first][i]! }), true)
        }
      })
    moving(
      'the guest has finished and nobody has taken note: the end comes over',
      async (s) => {
        const flows = await s.someOf()
        await ready(s)
        // The host's kernel cannot get it across
        await s.plug('none')
        for (const conn of flows.guest) await s.guest.call('shut', { conn })
        await sleep(300)
        await s.move()
        for (const conn of flows.world) assert.equal(await s.world.call('eof', { conn }), true)
        for (const [i, conn] of flows.world.entries()) {
          await s.world.call('say', { conn, text: 'more' })
          assert.equal(await s.guest.call('hear', { conn: flows.guest[i]!, octets: 4 }), 'more')
        }
      },
      {},
      fromOurs
    )
    moving('what nobody reads yet, in either direction, comes whole', async (s) => {
      const flows = await s.connect(1, 1)
      await ready(s)
      const ways = [
        [s.guest, flows.guest[0]!, s.world, flows.world[0]!],
        [s.world, flows.world[1]!, s.guest, flows.guest[1]!]
      ] as const
      for (const [from, a] of ways) await from.call('pour', { conn: a, octets: 30_000_000, seed: a })
      await sleep(1500)
      await s.move()
      await sleep(500)
      for (const [from, a, to, b] of ways) {
        await to.call('drink', { conn: b })
        await isWhole(from, a, to, b)
      }
    })
    moving(
      'without window scaling, SACK and timestamps',
      async (s) => {
        const flows = await s.someOf()
        await ready(s)
        await s.talk(flows, 'a')
        const conn = flows.world[0]!
        assert.equal((await s.world.call<{ options: number }>('info', { conn })).options & 7, 0)
        await s.move()
        for (let i = 0; i < 5; i++) await s.talk(flows, `b${i}`)
        const [a, b] = [flows.guest[1]!, flows.world[1]!]
        await s.world.call('pour', { conn: b, octets: 3_000_000, seed: 1 })
        await s.guest.call('drink', { conn: a })
        await isWhole(s.world, b, s.guest, a)
      },
      { setup: 'for o in window_scaling sack timestamps; do echo 0 > /proc/sys/net/ipv4/tcp_$o; done' }
    )
    moving(
      'with timestamps and without SACK',
      async (s) => {
        const flows = await s.someOf()
        await ready(s)
        await s.talk(flows, 'a')
        await s.move()
        for (let i = 0; i < 5; i++) await s.talk(flows, `b${i}`)
      },
      { setup: 'echo 0 > /proc/sys/net/ipv4/tcp_sack' }
    )
    moving(
      'both on one host',
      async (s) => {
        const flows = await s.someOf()
        await ready(s)
        await s.move()
        for (let i = 0; i < 5; i++) await s.talk(flows, `b${i}`)
      },
      { oneHost: true, sourceOptions: ['--migrate-no-linger'] }
    )
    moving(
      "keystrokes under Nagle's algorithm, after much that the guest has sent",
      async (s) => {
        const flows = await s.someOf()
        await ready(s)
        await s.guest.call('nagle', { conns: flows.guest })
        await s.talk(flows, 'much'.repeat(500))
        await s.move()
        for (let i = 0; i < 40; i++) await s.talk(flows, `${i % 10}`)
      },
      {},
      toOurs
    )
    moving(
      'what the guest sends after a move is acknowledged',
      async (s) => {
        const flows = await s.someOf()
        await ready(s)
        await s.talk(flows, 'a')
        await s.move()
        for (let i = 0; i < 5; i++) await s.talk(flows, `b${i}`)
        await acknowledged(s, flows)
        const octets = 20_000_000
        for (const [i, conn] of flows.guest.entries()) {
          await s.world.call('drink', { conn: flows.world[i]! })
          await s.guest.call('pour', { conn, octets, seed: i })
        }
        for (const [i, conn] of flows.guest.entries()) {
          await isWhole(s.guest, conn, s.world, flows.world[i]!)
        }
      },
      {},
      toOurs
    )
    moving(
      'the peer has finished behind data that the guest does not read: all of it, then the end',
      async (s) => {
        const flows = await s.connect(1, 1, { rcvbuf: 8192 })
        await ready(s)
        const octets = 50_000
        for (const [i, conn] of flows.world.entries()) await s.world.call('pour', { conn, octets, seed: i })
        await until('a receive queue of the source that has the end', async () =>
          /CLOSE-WAIT/.test(await s.source.sockets())
        )
        await s.move()
        for (const [i, conn] of flows.guest.entries()) {
          await s.guest.call('drink', { conn })
          await isWhole(s.world, flows.world[i]!, s.guest, conn)
          await s.guest.call('say', { conn, text: 'thanks' })
          await s.guest.call('shut', { conn })
          assert.equal(await s.world.call('hear', { conn: flows.world[i]!, octets: 7 }), 'thanks')
        }
      },
      {},
      both
    )
    moving(
      'bulk both ways; the network stays up at the source until the guest runs again',
      async (s) => {
        const octets = 32_000_000
        const flows = await s.connect(0, 2)
        await ready(s)
        for (const [i, conn] of flows.world.entries()) {
          await s.guest.call('drink', { conn: flows.guest[i]! })
          await s.world.call('pour', { conn, octets, seed: i, pause: 0.01 })
        }
        for (const conn of flows.guest)
          await until(
            'a part of it',
            async () => (await s.guest.call<number>('drunk', { conn })) > octets / 20
          )
        await s.move('late')
        for (const [i, conn] of flows.world.entries()) {
          await isWhole(s.world, conn, s.guest, flows.guest[i]!)
        }
      },
      {},
      fromOurs
    )
  })
