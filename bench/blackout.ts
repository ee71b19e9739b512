// npm run bench:blackout [-- --rounds N] [--restart]
//
// How long a connection stands still while its guest moves to another passt, ours and upstream's in one run, alternating. There is no
// hypervisor: it is the scene of test/lib/migrate.ts, and no cable is plugged in until the target has the state. An octet each
// ms, in either direction; the longest time without one is what counts. --restart: while a newer pasta takes an older one's place, ours alone.
import assert from 'node:assert/strict'
import { End, type Ends } from '../test/lib/ends.js'
import { pairOf, scene } from '../test/lib/migrate.js'
import { restarting } from '../test/lib/restart.js'
import { World } from '../test/lib/world.js'
import { argumentsOf, countOf } from './arguments.js'
import { median } from './report.js'

const args = argumentsOf({
  rounds: { type: 'string', default: '3' },
  restart: { type: 'boolean', default: false }
})
const rounds = countOf('rounds', args.rounds)
/** Octets: more than the change takes, ms. */
const TICKS = args.restart ? 6000 : 1500

/** ms of silence at the guest, and at the peer. */
const silence = async (
  s: Pick<Ends, 'guest' | 'world'>,
  conn: readonly [number, number],
  between: () => Promise<void>
) => {
  const [guest, world] = conn
  const octets = TICKS
  await s.guest.call('gaps', { conn: guest, octets })
  await s.world.call('gaps', { conn: world, octets })
  await s.world.call('tick', { conn: world, ms: 1, octets })
  await s.guest.call('tick', { conn: guest, ms: 1, octets })
  await between()
  const at = async (end: 'guest' | 'world', c: number) => {
    const ms = await s[end].call<number>('done', { job: `gaps${c}` })
    assert.equal(typeof ms, 'number', `${end}: ${JSON.stringify(ms)}`)
    return ms
  }
  return [await at('guest', guest), await at('world', world)] as const
}

const measure = async (w: World, moves: string, flows: number): Promise<readonly number[]> => {
  let result: readonly number[] = []
  await scene(w, pairOf(moves), {}, async (s) => {
    const all = await s.connect(flows, 0)
    await s.source.help()
    await s.prepareTarget()
    await s.talk(all, 'a')
    const conn = [all.guest[0]!, all.world[0]!] as const
    // Both passts are past their start
    await new Promise((done) => setTimeout(done, 3000))
    result = await silence(s, conn, async () => {
      await new Promise((done) => setTimeout(done, 400))
      await s.move('dark')
    })
    // None is lost
    await s.talk(all, 'b')
  })
  return result
}

let measured = 0
/** The same around a restart. */
const measureRestart = async (w: World, flows: number): Promise<readonly number[]> => {
  const ends = {
    world: await End.start(w, [], `world${++measured}.ctl`, 'world'),
    host: await End.start(w, [], `host${measured}.ctl`)
  }
  let result: readonly number[] = []
  await restarting(w, 'netns', ends, {}, async (s) => {
    const all = await s.connect(flows, 0)
    await s.talk(all, 'a')
    await new Promise((done) => setTimeout(done, 3000))
    result = await silence(s.ends, [all.guest[0]!, all.world[0]!], async () => {
      await s.replace()
    })
    await s.talk(all, 'b')
  })
  for (const e of Object.values(ends)) await e.proc.stop()
  return result
}

const w = await World.open()
try {
  console.log('| connections | who | at the guest, ms | at the peer, ms |\n|---|---|---|---|')
  for (const flows of [1, 100, 1000]) {
    const samples = new Map<string, (readonly number[])[]>()
    for (let round = 0; round < rounds; round++)
      for (const who of args.restart
        ? ['ours']
        : round % 2 === 0
          ? ['ours', 'upstream']
          : ['upstream', 'ours']) {
        const under = args.restart ? measureRestart(w, flows) : measure(w, `${who}>${who}`, flows)
        const got = await under.catch((e: unknown) => {
          console.error(`${who}, ${flows}: ${e instanceof Error ? e.message.split('\n')[0] : String(e)}`)
          return [Number.NaN, Number.NaN]
        })
        samples.set(who, [...(samples.get(who) ?? []), got])
      }
    for (const [who, all] of samples) {
      const m = [0, 1].map((i) => median(all.map((one) => one[i]!)).toFixed(0))
      console.log(`| ${flows} | ${who} | ${m[0]} | ${m[1]} |`)
    }
  }
} finally {
  await w.close()
}
