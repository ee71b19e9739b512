// passt --vhost-user with every kind of ring that a guest may have: sizes, layouts of buffers, features, memory. Real
// traffic of this kernel's goes through each, and what passt may not do on a ring ends the front-end (vhost-frontend.cc).
import './lib/vhost-mode.js'
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { families, useBed } from './lib/bed.js'
import { ask, clientProc, Guest } from './lib/guest.js'
import { vhostUser } from './lib/passt.js'
import { sleep, until } from './lib/proc.js'
import { isPeer, net } from './lib/world.js'

const bed = useBed()
const ports = ['-t', '8001-8003:7001-7003', '-u', '8001:7001']
let controls = 0

/** A guest with those options of vhost-frontend.cc, and what a hypervisor can do with it. */
class Machine {
  private constructor(
    readonly guest: Guest,
    private readonly socket: string
  ) {}

  static async open(frontend: string, passt: ReadonlyArray<string> = []): Promise<Machine> {
    const name = `control-${++controls}`
    const words = frontend.split(' ').filter((word) => word !== '')
    const link = vhostUser(...words, '--control', `/mnt/w/${name}`)
    return new Machine(await Guest.open(bed.w, [...ports, ...passt], { link }), join(bed.w.dir, name))
  }

  /** What the front-end answers to a command; throws what it reports as an error. */
  async control(command: string): Promise<string> {
    const answer = await new Promise<string>((done, fail) => {
      let s = ''
      const c = connect(this.socket, () => c.end(command))
      c.setEncoding('utf8').on('data', (d: string) => {
        s += d
      })
      c.on('error', fail).on('close', () => done(s))
    })
    assert.match(answer, /^ok /, `${command}: ${answer}${this.guest.proc.stderr.slice(-2000)}`)
    return answer.slice(3).trim()
  }

  async stats(): Promise<Stats> {
    return JSON.parse(await this.control('stats')) as Stats
  }

  /** A little of everything, in both directions, each in the families that are given. */
  async works(
    octets = 300_000,
    [outward, inward]: readonly [Families, Families] = [families, families]
  ): Promise<void> {
    const { w } = bed
    const ways = [
      ...outward.map((f) => [this.guest, f.world, f.v] as const),
      ...inward.map((f) => ['world', f.host, f.v] as const)
    ]
    for (const [from, to, v] of ways) {
      const many = isPeer ? 100_000 : octets // #regression-A
      const place = `${from === 'world' ? 'to' : 'from'} the guest, IPv${v}`
      const port = (n: number): number => (from === 'world' ? 1000 : 0) + n
      const sent = await ask(w, from, ['tcp-send', to, port(7002), many])
      assert.equal(sent.reply, sent.expect, place)
      const got = await ask(w, from, ['tcp-get', to, port(7003), octets])
      assert.deepEqual([got.octets, got.same], [octets, true], place)
      // Upstream takes no fragments.
      const sizes = [0, 1, 2, 17, 18, 19, 1000, 1452, ...(isPeer ? [] : [9000, 60000])]
      assert.deepEqual(await ask(w, from, ['udp-echo', to, port(7001), ...sizes]), { failed: {} }, place)
    }
  }

  stop(): Promise<unknown> {
    return this.guest.stop()
  }
}
type Families = ReadonlyArray<(typeof families)[number]>
interface Counters {
  readonly frames: number
  readonly octets: number
  readonly segments: number
  readonly kicks: number
  readonly calls: number
}
interface Stats {
  readonly features: string
  readonly rx: Counters
  readonly tx: Counters
}

describe('rings', () => {
  const rings: ReadonlyArray<readonly [string, string]> = [
    ['all features that are offered', ''],
    ["upstream's features", '--features upstream'],
    ['two regions', '--regions 2'],
    ['none but VERSION_1', '--features none'],
    ['no mergeable buffers', '--features all,-mrg'],
    ['no mergeable buffers and no offload', '--features none,event_idx,indirect'],
    ['no sums left out towards the guest', '--features all,-guest_csum'],
    ['no sums left out by the guest', '--features all,-csum'],
    ['no indirect descriptors', '--features all,-indirect'],
    ['no event index', '--features all,-event_idx'],
    ['2 entries', '--ring 2 --rx 65566'],
    ['8 entries', '--ring 8 --rx 12000'],
    ['1024 entries', '--ring 1024'],
    ['32768 entries', '--ring 32768 --slots 32768 --rx 100 --tx 66000'],
    ['indices that wrap', '--base 65530'],
    ['indices that wrap, a small ring', '--base 65535 --ring 4 --rx 20000'],
    ['headers apart (regression-V8)', '--rx 12,1600 --tx 12,66000'],
    ['headers cut', '--rx 5,7,1600 --tx 11,1,66000'],
    ['headers cut, no mergeable buffers', '--features all,-mrg --rx 1,10,2,66000 --tx 3,66000'],
    ['descriptors of 1 octet', '--ring 2048 --slots 2048 --rx 1x64 --tx 1x100,66000'],
    [
      'descriptors of 1 octet in the ring itself',
      '--features all,-indirect --ring 32768 --slots 32768 --rx 1x12,100 --tx 1x15,66000'
    ],
    ['many small buffers to a frame', '--ring 1024 --slots 1024 --rx 80'],
    ['buffers that a frame fits exactly (regression-V10)', '--rx 1526'],
    ['buffers that a frame exceeds by one octet', '--rx 1525'],
    ['chains across regions', '--regions 5 --rx 12,700,900 --tx 66,1000,30000,40000'],
    ['buffers across adjacent regions', '--regions 7 --adjacent --slots 64'],
    ['a table in one message, no memory slots', '--regions 4 --protocol all,-mem_slots'],
    ['no acknowledgements, no other protocol features', '--regions 2 --protocol none']
  ]
  // Both families from both sides where offloads are what differs. A ring's shape shows in one of these four ways and at one MTU,
  // since octets go over both rings whoever begins: they alternate from shape to shape.
  const offloads = 8
  rings.forEach(([title, frontend], n) => {
    const family = [families[(n >> 1) & 1]!]
    const ways = n % 2 === 0 ? ([family, []] as const) : ([[], family] as const)
    const mtus = n < offloads ? [1500, 65520] : [n % 3 === 0 ? 65520 : 1500]
    for (const mtu of mtus)
      test(`${title}, MTU ${mtu}`, async () => {
        const m = await Machine.open(frontend, ['-m', `${mtu}`])
        try {
          await m.works(300_000, n < offloads && mtu === 1500 ? [families, families] : ways)
        } finally {
          await m.stop()
        }
      })
  })
})

describe('a machine under load', () => {
  let m: Machine
  before(async () => {
    m = await Machine.open('--regions 3 --reconnect')
  })
  after(async () => {
    await m?.stop()
  })
  /** While octets go both ways, each of which must arrive, through a guest whose hypervisor does `what`. */
  const meanwhile = async (what: () => Promise<unknown>, times: number): Promise<void> => {
    const octets = isPeer ? 5_000_000 : 40_000_000
    let more = true
    const send = async (): Promise<void> => {
      const sent = await ask(bed.w, m.guest, ['tcp-send', net.world4, 7002, octets])
      assert.equal(sent.reply, sent.expect)
      if (more) await send()
    }
    const get = async (): Promise<void> => {
      const got = await ask(bed.w, m.guest, ['tcp-get', net.world6, 7003, octets])
      assert.deepEqual([got.octets, got.same], [octets, true])
      if (more) await get()
    }
    const operate = async (): Promise<void> => {
      for (let n = 0; n < times; n++) {
        await sleep(20)
        await what()
      }
    }
    // However fast they are, octets move until the last time
    await Promise.all([
      send(),
      get(),
      operate().finally(() => {
        more = false
      })
    ])
  }
  test('paused and continued, again and again: not an octet is lost', () =>
    meanwhile(async () => {
      await m.control('stop')
      await m.control('cont')
    }, 50))
  test('its memory changes while the rings run', () => meanwhile(() => m.control('memory'), 50))
  test('dirty log: each page that passt writes to is marked, and no other', async () => {
    await m.control('log-on')
    let pages = 0
    await meanwhile(async () => {
      pages += Number(/^(\d+) pages changed/.exec(await m.control('log-check'))![1])
    }, 20)
    assert.ok(pages > 20, `${pages}`)
    await m.control('log-off')
  })
  test('it reboots: what was on the rings is lost, and TCP mends it', () =>
    meanwhile(() => m.control('reset'), 20))
  test('its connection to passt is lost and made again', () => meanwhile(() => m.control('reconnect'), 20))
  test('works as on the first day', () => m.works())
  test('100 times reset and restarted, nothing leaks', async () => {
    const before = m.guest.descriptors()
    for (let n = 0; n < 100; n++) await m.control(n % 2 === 0 ? 'reset' : 'reconnect')
    await until('as many descriptors as before', () => m.guest.descriptors() <= before)
    await m.works(100_000)
  })
  test('paused, with datagrams and connections on their way to it: no processor time, and then it goes on (regression-V5)', async () => {
    await m.control('stop')
    const waiting = clientProc(bed.w, 'world', ['tcp-send', net.host4, 8002, 100_000], 60_000)
    await ask(bed.w, 'world', ['udp-shout', net.host4, 8001, 100])
    await m.guest.calm(0.1)
    await m.control('cont')
    const r = await waiting.wait()
    assert.equal(r.code, 0, r.stderr)
  })
})

describe('offloads', { skip: isPeer && 'upstream has none' }, () => {
  test('at an MTU of 1500 big segments go both ways, and few of them', async () => {
    const m = await Machine.open('', ['-m', '1500'])
    try {
      const octets = 20_000_000
      await ask(bed.w, m.guest, ['tcp-send', net.world4, 7002, octets])
      await ask(bed.w, m.guest, ['tcp-get', net.world4, 7003, octets])
      const { rx, tx } = await m.stats()
      assert.ok(rx.segments > 0)
      for (const c of [rx, tx]) assert.ok(c.frames < octets / 4000, JSON.stringify(c))
    } finally {
      await m.stop()
    }
  })
})
