// A newer pasta or passt in the place of one that serves (--restart-path, behaviour.md#restart): connections go on, and where that
// fails the older one does.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rmSync, statSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Status } from '../src/codecs/control/api.js'
import { End, type Flows, isWhole } from './lib/ends.js'
import { passt } from './lib/passt.js'
import { alive, calm, cmdlineOf, kill, type Proc, sessionOf, sleep, statusField, until } from './lib/proc.js'
import { assertReplays } from './lib/replay.js'
import { type Kind, type Restarting, type RestartOptions, restarting } from './lib/restart.js'
import { asShipped, helper, net, ok, World } from './lib/world.js'

let w: World
const ends = {} as { world: End; host: End }
before(async () => {
  w = await World.open()
  ends.world = await End.start(w, [], 'world.ctl', 'world')
  ends.host = await End.start(w, [], 'host.ctl')
})
after(() => w?.close())

const scene = (kind: Kind, o: RestartOptions, use: (s: Restarting) => Promise<void>) =>
  restarting(w, kind, ends, o, use)

/** Streams each way between both ends, begun, and what waits for their end. */
const streams = async (s: Restarting, octets: number): Promise<() => Promise<void>> => {
  const both = [await s.connect(1, 1), await s.connect(1, 1, { v: 6 })]
  const ways = both.flatMap(({ guest, world }, f) =>
    guest.map((g, i) => {
      const [from, a, to, b] =
        i === f ? ([s.guest, g, s.world, world[i]!] as const) : ([s.world, world[i]!, s.guest, g] as const)
      return { from, a, to, b, seed: 2 * f + i }
    })
  )
  for (const { from, a, to, b, seed } of ways) {
    await to.call('drink', { conn: b })
    await from.call('pour', { conn: a, octets, seed, pause: 0.005 })
  }
  const drunk = ({ to, b }: (typeof ways)[number]) => to.call<number>('drunk', { conn: b })
  for (const way of ways) await until('a part of it', async () => (await drunk(way)) > octets / 20)
  return async () => {
    for (const { from, a, to, b } of ways) assert.equal(await isWhole(from, a, to, b), octets)
  }
}
/** Keystrokes until it is called: at least ten more of them are answered. */
const typing = (s: Restarting, flows: Flows): (() => Promise<void>) => {
  let more = Number.POSITIVE_INFINITY
  const done = (async () => {
    for (; more > 0; more--) {
      await s.talk(flows, 'k')
      await sleep(10) // nobody types without a pause; others need the processors
    }
  })()
  done.catch(() => {})
  return async () => {
    more = 10
    await done
  }
}

/** Questions to the API at this socket. Resolves to the body of what succeeds. */
const asking =
  (socketPath: string) =>
  (method: string, path: string, body = ''): Promise<string> =>
    new Promise((resolve, reject) => {
      const q = request({ socketPath, method, path, agent: false, timeout: 20_000 }, (r) => {
        const parts: string[] = []
        r.on('data', (d) => parts.push(String(d)))
        r.on('error', reject)
        r.on('end', () =>
          (r.statusCode ?? 0) < 300 ? resolve(parts.join('')) : reject(new Error(parts.join('')))
        )
      })
      q.on('timeout', () => q.destroy(new Error('no answer')))
      q.on('error', reject)
      q.end(body)
    })

const GUESTS = {
  netns: 'pasta, by netns',
  pid: 'pasta, by pid',
  passt: 'passt',
  vhost: 'passt, by rings (vhost-user)'
} as const
for (const kind of ['netns', 'pid', 'passt', 'vhost'] as const)
  describe(`a guest of ${GUESTS[kind]}`, () => {
    test('connections go on: idle, half-closed, unread, typed on, streams in both directions and families', () =>
      scene(kind, {}, async (s) => {
        const idle = await s.someOf()
        const shutByGuest = await s.someOf()
        const shutByPeer = await s.someOf()
        for (const conn of shutByGuest.guest) await s.guest.call('shut', { conn })
        for (const conn of shutByPeer.world) await s.world.call('shut', { conn })
        for (const conn of shutByGuest.world) assert.equal(await s.world.call('eof', { conn }), true)
        for (const conn of shutByPeer.guest) assert.equal(await s.guest.call('eof', { conn }), true)
        // What neither side reads fills every buffer on the way
        const full = await s.connect(2, 0, { rcvbuf: 4096 })
        const floods = [
          [
            s.guest,
            full.guest[0]!,
            s.world,
            full.world[0]!,
            await s.guest.call<number>('flood', { conn: full.guest[0]! })
          ],
          [
            s.world,
            full.world[1]!,
            s.guest,
            full.guest[1]!,
            await s.world.call<number>('flood', { conn: full.world[1]! })
          ]
        ] as const
        const strokes = typing(s, await s.someOf())
        const whole = await streams(s, 16_000_000)

        await s.replace()

        await strokes()
        await s.talk(idle, 'a')
        for (const [i, conn] of shutByGuest.world.entries()) {
          await s.world.call('say', { conn, text: 'to the rest' })
          assert.equal(await s.guest.call('hear', { conn: shutByGuest.guest[i]!, octets: 11 }), 'to the rest')
          await s.world.call('shut', { conn })
          assert.equal(await s.guest.call('eof', { conn: shutByGuest.guest[i]! }), true)
        }
        for (const [i, conn] of shutByPeer.guest.entries()) {
          await s.guest.call('say', { conn, text: 'to the rest' })
          assert.equal(await s.world.call('hear', { conn: shutByPeer.world[i]!, octets: 11 }), 'to the rest')
          await s.guest.call('shut', { conn })
          assert.equal(await s.world.call('eof', { conn: shutByPeer.world[i]! }), true)
        }
        for (const [, , to, conn, octets] of floods) {
          const text = await to.call<string>('hear', { conn, octets })
          assert.ok(
            text === '0123456789'.repeat(octets / 10 + 1).slice(0, octets),
            'the flood is not what was sent'
          )
        }
        await whole()
        await s.talk(await s.someOf(), 'new')
      }))
  })

describe('what is past the tap, and what begins meanwhile', () => {
  test("spliced connections stay with the older ones, through three restarts; listeners are the newest one's", () =>
    scene('pid', {}, async (s) => {
      const there = s.port + 1
      await s.host.call('listen', { port: there })
      // A rate limit goes on in the older ones
      const options = ['-T', `${there}`, '-U', `${there}`, '--limit', '200kB,burst=4096']
      const answering = await s.host.call<number>('datagrams', { at: '127.0.0.1', own: there })
      const asking = await s.guest.call<number>('datagrams', { to: '127.0.0.1', port: there })
      const ask = async (text: string): Promise<void> => {
        await s.guest.call('say', { conn: asking, text })
        const [said, address, port] = await s.host.call<[string, string, number]>('hear_from', {
          conn: answering
        })
        assert.equal(said, text)
        await s.host.call('say_to', { conn: answering, to: address, port, text })
        assert.equal((await heardFrom(s.guest, asking))[0], text)
      }
      await s.replace(options)
      const mine: number[] = []
      const theirs: number[] = []
      const spliced = async (text: string): Promise<() => Promise<void>> => {
        const [inner] = await s.guest.call<number[]>('connect', { to: '127.0.0.1', port: there })
        const [outer] = await s.host.call<number[]>('accept', { port: there })
        const [from] = await s.host.call<number[]>('connect', { to: '127.0.0.1', port: s.port })
        const [to] = await s.guest.call<number[]>('accept', { port: s.port })
        mine.push(inner!, to!)
        theirs.push(outer!, from!)
        const talk = async () => {
          for (const [end, a, other, b] of [
            [s.guest, inner, s.host, outer],
            [s.host, outer, s.guest, inner],
            [s.host, from, s.guest, to],
            [s.guest, to, s.host, from]
          ] as const) {
            await end.call('say', { conn: a, text })
            assert.equal(await other.call('hear', { conn: b, octets: text.length }), text)
          }
        }
        await talk()
        return talk
      }
      const flows = await s.someOf()
      const talks = []
      const older: Proc[] = []
      for (let i = 0; i < 3; i++) {
        talks.push(await spliced(`spliced${i}`.padEnd(6000)))
        older.push(await s.restart(options))
        for (const talk of talks) await talk()
        await ask(`${i}`)
        await s.talk(flows, `${i}`)
      }
      await s.talk(await s.someOf(), 'new')
      // What the newest one reads wakes none of the others
      await calm((await Promise.all(older.map((p) => s.processes(p)))).flat(), 0.1)
      await s.guest.call('close', { conns: mine })
      await s.host.call('close', { conns: theirs })
      for (const p of older) ok(await p.wait())
      await s.talk(flows, 'z')
    }))
})

/** The peer's own end, by its port. */
const heardFrom = async (end: End, conn: number): Promise<readonly [string, number]> => {
  const [text, , port] = await end.call<[string, string, number]>('hear_from', { conn })
  return [text, port]
}

for (const kind of ['netns', 'pid'] as const)
  describe(`the moment of the take-over, by ${kind}`, () => {
    for (const v of [4, 6] as const)
      test(`whoever connects, and datagrams, wait for the newer one; UDP flows keep their ports, over IPv${v}`, async () => {
        await scene(kind, {}, async (s) => {
          const own = s.datagrams
          const [host, world] = v === 4 ? [net.host4, net.world4] : [net.host6, net.world6]
          const inner = await s.guest.call<number>('datagrams', { at: host, own })
          const outer = await s.world.call<number>('datagrams', { to: host, port: own })
          const asking = await s.guest.call<number>('datagrams', { to: world, port: own })
          const asked = await s.world.call<number>('datagrams', { at: world, own })
          const seen: string[] = []
          const exchange = async (text: string): Promise<void> => {
            await s.world.call('say', { conn: outer, text })
            const [, address, port] = await s.guest.call<[string, string, number]>('hear_from', {
              conn: inner
            })
            await s.guest.call('say_to', { conn: inner, to: address, port, text })
            assert.equal((await heardFrom(s.world, outer))[0], text)
            await s.guest.call('say', { conn: asking, text })
            const [, from, source] = await s.world.call<[string, string, number]>('hear_from', {
              conn: asked
            })
            await s.world.call('say_to', { conn: asked, to: from, port: source, text })
            assert.equal((await heardFrom(s.guest, asking))[0], text)
            seen.push(`${address} ${port} ${from} ${source}`)
          }
          await exchange('before')
          const flows = await s.someOf()

          const { newer, go } = await s.reaches('done')
          const before = s.now
          const early = await s.world.call<number[]>('connect', { to: host, port: s.port, n: 20 })
          for (const conn of early) await s.world.call('say', { conn, text: 'early' })
          await s.guest.call('say', { conn: asking, text: 'meanwhile' })
          await s.world.call('say', { conn: outer, text: 'meanwhile' })
          await go()
          s.now = newer

          ok(await before.wait())
          const late = await s.guest.call<number[]>('accept', { port: s.port, n: 20 })
          for (const conn of late) assert.equal(await s.guest.call('hear', { conn, octets: 5 }), 'early')
          assert.equal((await heardFrom(s.world, asked))[0], 'meanwhile')
          assert.equal((await heardFrom(s.guest, inner))[0], 'meanwhile')
          await exchange('after')
          assert.equal(seen[1], seen[0])
          await s.talk(flows, 'a')
        })
      })
  })

describe('in background', () => {
  test('the same command line starts it and replaces it; the caller goes on when the newer one serves', () =>
    scene('pid', {}, async (s) => {
      const flows = await s.someOf()
      const file = `/mnt/w/${s.name}.background`
      const argv = s.argv(['-P', file]).filter((word) => word !== '-f')
      for (const text of ['a', 'b']) {
        ok(await w.run(argv, { uid: s.user }))
        if (s.now.running) ok(await s.now.wait())
        await s.talk(flows, text)
        await s.talk(await s.someOf(), 'new')
      }
      const pid = w.outerPid(Number(await w.sh(`cat ${file}`)))
      assert.equal(sessionOf(pid), pid)
      await until(
        "one pasta is left, and its resolver's watcher",
        () => w.processes().filter((p) => p.includes(s.path) && !p.includes('engine')).length === 2
      )
      kill(pid, 'SIGTERM')
      await until('its end', () => !alive(pid))
    }))
})

describe('300 connections, and other ports', () => {
  test('three restarts in a row', () =>
    scene('netns', {}, async (s) => {
      const flows = await s.connect(150, 150)
      for (const text of ['a', 'b', 'c']) {
        await s.replace()
        await s.talk(flows, text)
      }
    }))
  test('ports that are new are open, those that are not there any more are closed', () =>
    scene('pid', {}, async (s) => {
      const [kept, fresh] = [s.port, s.port + 1]
      await s.guest.call('listen', { port: fresh })
      const reaches = async (port: number): Promise<boolean> => {
        const made = s.world.call('connect', { to: net.host4, port })
        return made.then(
          () => true,
          (e: Error) => !/ConnectionRefused/.test(e.message)
        )
      }
      for (const [ports, open] of [
        [`${kept},${fresh}`, [true, true]],
        [`${fresh}`, [false, true]],
        ['auto', [true, true]],
        ['auto', [true, true]]
      ] as const) {
        await s.replace(['-t', ports])
        assert.deepEqual([await reaches(kept), await reaches(fresh)], open, ports)
      }
    }))
  test('-o: what the guest has begun from another address begins anew', () =>
    scene('netns', {}, async (s) => {
      const other = '198.51.100.77'
      await w.sh(`ip addr add ${other}/24 dev eth0`)
      try {
        const own = s.datagrams + 1
        const outward = await s.connect(1, 0)
        const asking = await s.guest.call<number>('datagrams', { to: net.world4, port: own })
        const asked = await s.world.call<number>('datagrams', { at: net.world4, own })
        const comesFrom = async (text: string): Promise<string> => {
          await s.guest.call('say', { conn: asking, text })
          const [said, from] = await s.world.call<[string, string, number]>('hear_from', { conn: asked })
          assert.equal(said, text)
          return from
        }
        assert.equal(await comesFrom('a'), net.host4)
        await s.replace(['-o', net.host4])
        assert.equal(await comesFrom('b'), net.host4)
        await s.talk(outward, 'b')
        await s.replace(['-o', other])
        assert.equal(await comesFrom('c'), other)
        assert.equal(await s.world.call('eof', { conn: outward.world[0]! }), 'ConnectionResetError')
      } finally {
        await w.sh(`ip addr del ${other}/24 dev eth0`)
      }
    }))
  test('what options forbid is reset at both ends, and nothing else', () =>
    scene('netns', {}, async (s) => {
      const outward = await s.connect(1, 0)
      const inward = await s.connect(0, 1)
      await s.replace(['-t', 'none'])
      await s.talk(outward, 'a')
      assert.equal(await s.world.call('eof', { conn: inward.world[0]! }), 'ConnectionResetError')
      assert.equal(await s.guest.call('eof', { conn: inward.guest[0]! }), 'ConnectionResetError')
    }))
})

/** The process of the API, of these: there is one. */
const apiOf = async (s: Restarting, p: Proc): Promise<number> => {
  const found = (await s.processes(p)).filter((one) => cmdlineOf(one).includes('api.cjs'))
  assert.equal(found.length, 1)
  return found[0]!
}

describe('the API (--api) goes along', () => {
  for (const kind of ['netns', 'pid', 'passt'] as const)
    test(`nobody is turned away, rules are as they were changed, and who fails to take the place changes nothing, by ${kind}`, async () => {
      const name = `/mnt/w/${kind}.api`
      await scene(kind, { options: ['--api', name] }, async (s) => {
        const ask = asking(join(w.dir, `${kind}.api`))
        const status = async (): Promise<Status> => JSON.parse(await ask('GET', '/v1/status')) as Status
        const flows = await s.connect(20, 20)
        const added = s.port + 9
        await ask('POST', '/v1/rules', JSON.stringify({ direction: 'in', proto: 'tcp', firstPort: added }))
        const first = await status()

        // Whoever asks meanwhile is heard by one of both, or hung up on by the one that ends: there is always somebody
        let more = true
        const told = new Set<number>()
        const others = (async () => {
          for (; more; await sleep(5))
            await status().then(
              ({ pid }) => void told.add(pid),
              (e: Error) => assert.match(e.message, /ECONNRESET|socket hang up|EPIPE/)
            )
        })()
        const following = assert.rejects(ask('GET', '/v1/events'), /aborted|ECONNRESET|hang up/)
        following.catch(() => {})
        const before = s.now
        await s.reaches('take', ['--api', name], true).then(async ({ newer, go }) => {
          await go()
          assert.equal((await newer.wait()).code, 1)
        })
        assert.equal((await status()).pid, first.pid)
        ok(await (await s.restart(['--api', name])).wait())
        assert.ok(!before.running, 'the older one has ended')
        await following
        more = false
        await others
        const { pid } = await status()
        assert.notEqual(pid, first.pid)
        assert.deepEqual([...told.add(pid)], [first.pid, pid], 'nobody else answers')
        await ask('DELETE', `/v1/rules/in-tcp-${added}`)
        await s.talk(flows, 'a')
        await apiOf(s, s.now)

        if (kind !== 'netns') return
        // Elsewhere, and nowhere
        await s.replace(['--api', `${name}.other`])
        const there = asking(join(w.dir, `${kind}.api.other`))
        assert.equal((JSON.parse(await there('GET', '/v1/status')) as Status).mode, first.mode)
        await assert.rejects(status(), /ECONNREFUSED/)
        await s.replace()
        await assert.rejects(there('GET', '/v1/status'), /ECONNREFUSED/)
        await s.replace(['--api', name])
        assert.equal((await status()).mode, first.mode)
        await s.talk(flows, 'b')
      })
    })
})

/** Their names, of what `GET /v1/rules` answers. */
const rulesOf = (answer: string): ReadonlyArray<string> => answer.match(/"id":"[^"]*"/g) ?? []
describe('a process of the API that has ended takes nobody along', () => {
  for (const kind of ['netns', 'passt'] as const) {
    test(`the older one's: whoever comes next has its own, and rules as they were changed, by ${kind}`, async () => {
      const name = `/mnt/w/${kind}.ended.api`
      await scene(kind, { options: ['--api', name] }, async (s) => {
        const ask = asking(join(w.dir, `${kind}.ended.api`))
        const flows = await s.connect(3, 3)
        const rule = { direction: 'in', proto: 'tcp', firstPort: s.port + 9 }
        await ask('POST', '/v1/rules', JSON.stringify(rule))
        kill(await apiOf(s, s.now), 'SIGKILL')
        await s.now.sees(/process of the API \(--api\) has ended/, 'stderr')
        await s.replace(['--api', name])
        assert.match(await ask('GET', '/v1/rules'), new RegExp(`"in-tcp-${s.port + 9}"`))
        await s.talk(flows, 'a')
      })
    })
    test(`the newer one's, while it takes the place: it serves without, by ${kind}`, async () => {
      const name = `/mnt/w/${kind}.late.api`
      await scene(kind, { options: ['--api', name] }, async (s) => {
        const ask = asking(join(w.dir, `${kind}.late.api`))
        const flows = await s.connect(3, 3)
        const { newer, go } = await s.reaches('take', ['--api', name])
        kill(await apiOf(s, newer), 'SIGKILL')
        await go()
        await newer.sees(/restart: \d+ flows taken over/, 'stderr')
        s.now = newer
        await newer.sees(/process of the API \(--api\) has ended/, 'stderr')
        await assert.rejects(ask('GET', '/v1/status'), /ECONNREFUSED|ECONNRESET/)
        await s.talk(flows, 'a')
        assert.ok(newer.running)
      })
    })
  }
})
test('a socket whose file is gone is made anew, and one whose file is another one is nobody else to take', async () => {
  const [name, control] = ['/mnt/w/gone.api', '/mnt/w/gone.conf']
  const options = ['--api', name, '-c', control]
  await scene('netns', { options }, async (s) => {
    const ask = asking(join(w.dir, 'gone.api'))
    for (const path of [name, control]) {
      const file = join(w.dir, path.replace('/mnt/w/', ''))
      rmSync(file)
      await s.replace(options)
      assert.ok(statSync(file).isSocket())
      await ask('GET', '/v1/status')
      rmSync(file)
      const other = createServer().listen(file)
      await once(other, 'listening')
      await s.fails(/already in use/i, options)
      other.close()
      await once(other, 'close')
    }
    await s.replace(options)
    await ask('GET', '/v1/status')
  })
})
test('the API while a place is taken: questions are answered, changes refused, and none comes later', async () => {
  const name = '/mnt/w/meanwhile.api'
  const options = ['--api', name, '--record', '/mnt/w/meanwhile.rec']
  await scene('netns', { options }, async (s) => {
    const ask = asking(join(w.dir, 'meanwhile.api'))
    const rule = { direction: 'in', proto: 'tcp', firstPort: s.port + 9 }
    const before = await ask('GET', '/v1/rules')
    const { newer, go } = await s.reaches('take', ['--api', name], true)
    await assert.rejects(
      ask('POST', '/v1/rules', JSON.stringify(rule)),
      /another process is taking our place/
    )
    await ask('GET', '/v1/status')
    await go()
    assert.equal((await newer.wait()).code, 1)
    assert.deepEqual(rulesOf(await ask('GET', '/v1/rules')), rulesOf(before))
    await ask('POST', '/v1/rules', JSON.stringify(rule))
    // However the place of the socket is written
    await s.replace(['--api', '/mnt/w/../w/meanwhile.api'])
    assert.match(await ask('GET', '/v1/rules'), new RegExp(`"in-tcp-${s.port + 9}"`))
    assertReplays(join(w.dir, 'meanwhile.rec'))
  })
})

describe('who fails to take a place: the older one goes on as if nothing had been', () => {
  for (const kind of ['pid', 'passt', 'vhost'] as const)
    test(`a newer one that is gone after any question, by ${kind}`, () =>
      scene(kind, {}, async (s) => {
        const flows = await s.connect(30, 30)
        const whole = await streams(s, 2_000_000)
        const strokes = typing(s, await s.someOf())
        const asks = kind === 'vhost' ? ['session', 'done'] : ['listeners', 'take', 'flows', 'done']
        for (const ask of asks) {
          const { newer, go } = await s.reaches(ask, [], true)
          await go()
          const r = await newer.wait()
          assert.equal(r.code, 1)
          assert.match(r.stderr, /cannot take over.*\n$/)
        }
        await strokes()
        await whole()
        await s.talk(flows, 'a')
        await s.replace()
        await s.talk(flows, 'b')
      }))
  test('scripted ones, that end, hang, ask out of order or what is no question: no descriptor is left', () =>
    scene('pid', {}, async (s) => {
      const flows = await s.connect(60, 20)
      const { path } = s
      const before = await s.descriptors(s.now)
      const steps = async (...all: string[]): Promise<string> =>
        ok(await s.scripted(['script', '1', path, ...all]).wait()).stdout
      assert.match(await steps('flows'), /hung up|refused/)
      assert.match(await steps('begin', 'done'), /hung up|refused/)
      assert.match(await steps('begin', 'take', 'take'), /hung up|refused/)
      assert.match(await steps('begin', 'garbage', 'hang'), /hung up/)
      assert.match(await steps('begin', 'take', 'garbage', 'hang'), /hung up/)
      assert.match(await steps('begin:passt', 'hang'), /this is pasta/)
      assert.match(
        await steps('begin', 'listeners:1000', 'take', 'flows:100000', 'rest:1000', 'hang'),
        /hung up/
      )
      await steps('flood')
      await s.talk(flows, 'a')
      ok(await s.scripted(['script', '50', path, 'begin', 'listeners', 'take', 'flows:0', 'flows:48']).wait())
      await s.talk(flows, 'b')
      const hanging = s.scripted(['script', '1', path, 'begin', 'take', 'hang'])
      await hanging.sees(/"take"/)
      ok(await hanging.wait())
      await s.talk(flows, 'c')
      const first = s.scripted(['script', '1', path, 'begin', 'stay', 'take', 'flows'])
      await first.sees(/^here$/m)
      assert.match(await steps('begin'), /hung up|refused/)
      await first.signal('SIGUSR1')
      assert.match(ok(await first.wait()).stdout, /"flows"/)
      await s.talk(flows, 'd')
      await until('as many descriptors as before', async () => (await s.descriptors(s.now)) === before)
      assert.match(s.now.stderr, /restart: whoever was to take our place is gone: we go on/)
    }))
  test('the older one is killed in between: the newer one says so and ends', () =>
    scene('pid', {}, async (s) => {
      await s.someOf()
      const { newer, go } = await s.reaches('flows')
      await s.now.stop()
      await go()
      const r = await newer.wait()
      assert.equal(r.code, 1)
      assert.match(r.stderr, /cannot take over: .*\n$/)
    }))
  test('ports that are taken, another mode, another namespace, another way to the guest, a command', () =>
    scene('pid', {}, async (s) => {
      const flows = await s.someOf()
      const pidFile = `/mnt/w/${s.name}.pidfile`
      await s.replace(['-P', pidFile])
      const pid = await w.sh(`cat ${pidFile}`)
      const taken = s.port + 7
      await s.host.call('listen', { port: taken })
      await s.fails(/port/, ['-t', `${s.port},${taken}`, '-P', pidFile])
      await s.fails(/this is pasta/, [], { argv: [passt, '-f', '--restart-path', s.path, '-s', s.socket] })
      await s.fails(/namespace/, [], { place: ['--', 'true'] })
      await s.fails(/another way/, ['--splice-only'])
      await scene('pid', { idle: true }, async (other) => {
        await s.fails(/not the one that is served/, [], { place: other.place })
        await other.inside('ip tuntap add eth0 mode tap')
        await s.fails(/not the one that is served/, [], { place: other.place })
      })
      assert.equal(await w.sh(`cat ${pidFile}`), pid)
      await s.talk(flows, 'a')
      await s.talk(await s.someOf(), 'new')
    }))
  test('paths and users', () =>
    scene('pid', { options: [] }, async (s) => {
      await w.sh(
        `cd /mnt/w; echo mine > file; chown 1000 file; ln -sf file link; ln -sf ${s.path} tosocket; chown -h 1000 link tosocket`
      )
      assert.match(await w.sh(`stat -c '%a %u' ${s.path}`), /^600 1000$/m)
      for (const uid of [0, 1001]) await s.fails(/another user|ermission/, [], { uid })
      for (const path of ['/mnt/w/file', '/mnt/w/link', '/mnt/w/tosocket', `/mnt/w/${'x'.repeat(101)}`])
        await s.fails(/--restart-path/, [], { path })
      assert.equal(await w.sh('cat /mnt/w/file'), 'mine\n')
      const other = w.start(['python3', helper('hand_over.py'), 'script', '1', s.path, 'begin'], {
        uid: 1001
      })
      assert.match((await other.wait()).stderr, /PermissionError/)
      await s.talk(await s.someOf(), 'a')
    }))
})

describe("a command of pasta's", () => {
  test('its status and signals are handed on by the older one, and nothing stays', () =>
    scene('pid', { idle: true }, async (s) => {
      const lines = 'trap "exit 7" USR1; echo up; while :; do sleep 0.05; done'
      const first = s.start([], { place: ['--', 'sh', '-c', lines] })
      await first.sees(/^up$/m)
      const inner = await until('the command', () =>
        w.pidsInside().find((p) => cmdlineOf(p).startsWith('sh -c trap'))
      )
      const place = [statusField(inner, 'NSpid')!.split(/\s+/)[1]!]
      const second = s.start([], { place })
      await second.sees(/restart: 0 flows taken over/, 'stderr')
      await until(
        'the older engine is gone',
        async () => !(await s.processes(first)).some((p) => cmdlineOf(p).includes('engine'))
      )
      assert.ok(first.running)
      await first.signal('SIGUSR1')
      assert.equal((await first.wait()).code, 7)
      ok(await second.wait())
      assert.deepEqual(
        w.processes().filter((p) => /pasta/.test(p) && p.includes(s.path)),
        []
      )
    }))
})

describe("passt's rings (vhost-user)", () => {
  test('130 flows; rings stopped, dirty log, memory in pieces; nothing stays open; passt-repair; a guest that moves', () =>
    scene('vhost', { card: ['--regions', '5', '--ring', '64', '--slots', '64'] }, async (s) => {
      const flows = await s.connect(65, 65)
      await s.hypervisor('log-on')
      await s.replace()
      const open = await s.descriptors(s.now)
      await s.talk(flows, 'a')
      await s.hypervisor('log-check')
      await s.hypervisor('log-off')
      await s.hypervisor('stop')
      await s.replace()
      await s.hypervisor('cont')
      await s.talk(flows, 'b')
      await until('as many descriptors as before', async () => (await s.descriptors(s.now)) === open)
      await s.hypervisor('memory')
      await s.talk(flows, 'c')
      await s.fails(/features that are not offered/, ['--vhost-user-features', 'upstream'])
      await s.talk(flows, 'd')
      const repair = w.start(['/mnt/repo/bin/passt-repair', `${s.socket}.repair`], {
        uid: 0
      })
      await s.hypervisor('stop')
      await s.hypervisor('save')
      assert.match(s.now.stderr, /130 connections moved/)
      await s.fails(/being moved/, [])
      await s.hypervisor('cont')
      await s.talk(flows, 'e')
      await repair.stop()
    }))
  test('a message in pieces, a ring that is disabled or stopped, a kick that nobody hears', () =>
    scene('vhost', { bare: true }, async (s) => {
      const argv = ['python3', helper('vhost_messages.py'), 'replaced', s.socket]
      const hypervisor = w.start(argv, { uid: 0 })
      const goOn = async (): Promise<void> => {
        hypervisor.stdout = ''
        await hypervisor.signal('SIGUSR1')
      }
      for (const _ of ['disabled', 'stopped']) {
        await hypervisor.sees(/^now$/m)
        await s.replace()
        await goOn()
      }
      for (const fails of [true, false]) {
        await hypervisor.sees(/^now$/m)
        const { newer, go } = await s.reaches('done', [], fails)
        await goOn()
        await hypervisor.sees(/^asked$/m)
        await go()
        await goOn()
        if (!fails) ok(await s.now.wait())
        else assert.equal((await newer.wait()).code, 1)
        s.now = fails ? s.now : newer
      }
      ok(await hypervisor.wait())
      await s.fails(/another way/, [], { argv: [passt, '-f', '--restart-path', s.path, '-s', s.socket] })
    }))
})

describe("passt's stream", () => {
  test('a client that reads nothing: what is not sent is sent by the newer one, in step', () =>
    scene('passt', {}, async (s) => {
      const { guest, world } = await s.connect(0, 1)
      await s.guest.call('drink', { conn: guest[0]! })
      await s.stopCard(true)
      await s.world.call('pour', { conn: world[0]!, octets: 16_000_000, seed: 1 })
      let before = -1
      await until('nothing moves any more', async () => {
        const { outq } = await s.world.call<{ outq: number }>('info', { conn: world[0]! })
        const still = outq > 0 && outq === before
        before = outq
        return still
      })
      await s.replace()
      await s.replace()
      await s.stopCard(false)
      assert.equal(await isWhole(s.world, world[0]!, s.guest, guest[0]!), 16_000_000)
    }))
  test('half a frame before, the rest after; whoever connects later; --one-off', () =>
    scene('passt', { bare: true }, async (s) => {
      const client = w.start(['python3', helper('stream.py'), 'replaced', s.socket])
      for (const _ of [1, 2]) {
        await client.sees(/^half$/m)
        await s.replace()
        client.stdout = ''
        await client.signal('SIGUSR1')
      }
      ok(await client.wait())
      await s.replace(['-1'])
      ok(await w.run(['python3', helper('stream.py'), 'probed', s.socket]))
      ok(await s.now.wait())
    }))
})

describe('as it ships: the newer one warms up before it takes the place', () => {
  before(asShipped)
  for (const kind of ['netns', 'vhost'] as const)
    test(kind, () =>
      scene(kind, {}, async (s) => {
        const flows = await s.connect(5, 5)
        await s.replace()
        await s.talk(flows, 'a')
      })
    )
})
