// The guest link with vhost-user, from records of the event ring to records of the effect ring.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as E from 'fp-ts/lib/Either.js'
import { VHOST_ID, VhostMessage, VhostReply, type VhostRequest } from '../src/codecs/control/vhost-user.js'
import { sum16 } from '../src/codecs/wire/checksum.js'
import { ETH_LEN } from '../src/codecs/wire/ethernet.js'
import { decodeFrame } from '../src/codecs/wire/frame.js'
import { VNET_LEN } from '../src/codecs/wire/vnet.js'
import { instant } from '../src/effects/effect.js'
import { OFFERS } from '../src/machines/link/vhost-session.js'
import { BURST } from '../src/machines/log/log-limiter.js'
import {
  ABI_WORDS,
  EF,
  EV,
  LINK_BAD_LENGTH,
  LINK_HUNG_UP,
  type Native,
  VHOST_NO_FD,
  VRING_BAD_INDEX,
  VRING_CALL,
  VRING_DISCARD,
  VRING_KICK,
  VRING_LOG_USED,
  VRING_OFF,
  VRING_ON
} from '../src/runtime/abi/abi.js'
import { dropEffects, ringsOver } from '../src/runtime/abi/rings.js'
import { install } from '../src/runtime/data/feature.js'
import { createWorld, type World } from '../src/runtime/data/world.js'
import { guestLink, linkClientOf } from '../src/runtime/engine/guest-link.js'
import { handleTurn } from '../src/runtime/engine/loop.js'
import { logTo } from '../src/runtime/log/log.js'
import { WORLD_CONFIG } from './world-config.js'

const NAMES = new Map(Object.entries(EF).map(([name, kind]) => [kind as number, name]))
const AT = 5 << 20

class Bed {
  readonly said: string[] = []
  readonly heard: string[] = []
  readonly w: World
  private at = AT
  constructor(oneOff = false, given: number | null = null) {
    const rings = ringsOver({} as Native, {
      slab: new ArrayBuffer(6 << 20),
      effects: new ArrayBuffer(512 * ABI_WORDS * 4),
      events: new ArrayBuffer(32 * ABI_WORDS * 4),
      clock: new ArrayBuffer(16)
    })
    const log = logTo(
      [{ level: 'info', write: (_, level, text) => this.said.push(`${level} ${text}`) }],
      0,
      () => 0
    )
    this.w = createWorld(WORLD_CONFIG, rings, log, new Map(), new Map(), 64)
    install(this.w.features, [
      ...guestLink(this.w, oneOff, linkClientOf(given), { offer: OFFERS.all, exit: false, linger: true }),
      {
        name: 'ears',
        guestUp: () => void this.heard.push('up'),
        guestDown: () => void this.heard.push('down')
      }
    ])
  }
  /** Records of one turn; the words of the effects that come of it, by name. */
  turn(...records: ReadonlyArray<ReadonlyArray<number>>): ReadonlyArray<readonly [string, ...number[]]> {
    const r = this.w.rings
    dropEffects(r)
    r.ev.fill(0)
    for (const [i, words] of records.entries()) r.ev.set(words, i * ABI_WORDS)
    handleTurn(this.w, records.length, instant(1))
    return Array.from({ length: r.effects }, (_, i) => {
      const words = [...r.fx.subarray(i * ABI_WORDS, (i + 1) * ABI_WORDS)]
      return [NAMES.get(words[0]!)!, ...words.slice(2)] as const
    })
  }
  message(m: VhostRequest, fds: ReadonlyArray<number> = [], needReply = false): number[] {
    const octets = VhostMessage.encode({ ...m, needReply })
    this.w.rings.slab.set(octets, this.at)
    const record = [EV.VHOST_MESSAGE, 0, this.at, octets.length, fds.length, ...fds]
    this.at += 256
    return record
  }
  /** What a message leads to. */
  say(m: VhostRequest, fds: ReadonlyArray<number> = [], needReply = false) {
    return this.turn(this.message(m, fds, needReply))
  }
  reply(e: readonly [string, ...number[]]): VhostReply {
    assert.equal(e[0], 'VHOST_REPLY')
    const r = VhostReply.decode({ view: this.w.rings.view, off: e[1]!, len: e[2]! })
    assert.ok(E.isRight(r))
    return r.right
  }
}
const client = (fd: number, hungUp = false): number[] => [EV.LINK_CLIENT, 0, fd, 0, hungUp ? LINK_HUNG_UP : 0]
const done = (errno = 0): number[] => [EV.VHOST_DONE, ...Array<number>(12).fill(0), errno]
const kinds = (all: ReadonlyArray<readonly [string, ...number[]]>): string[] => all.map(([kind]) => kind)
const region = { gpa: 0n, size: 1n << 30n, user: 0x7f00_0000_0000n, offset: 0n }
const addresses = {
  logged: true,
  desc: 0x7f00_0000_1000n,
  used: 0x7f00_0000_3000n,
  avail: 0x7f00_0000_2000n,
  log: 0x3000n
}

/** As QEMU does it, up to where frames flow. */
const start = (b: Bed): void => {
  b.turn(client(9))
  for (const ring of [0, 1]) b.say({ type: 'SET_VRING_ENABLE', ring, enable: true })
  b.say({ type: 'SET_FEATURES', features: OFFERS.all.features })
  b.say({ type: 'SET_MEM_TABLE', regions: [region] }, [20], true)
  b.turn(done())
  for (const ring of [0, 1]) {
    b.say({ type: 'SET_VRING_NUM', ring, entries: 256 })
    b.say({ type: 'SET_VRING_BASE', ring, next: 0 })
    b.say({ type: 'SET_VRING_ADDR', ring, addresses })
    b.turn(done())
    b.say({ type: 'SET_VRING_KICK', ring, none: false }, [30 + ring])
    b.say({ type: 'SET_VRING_CALL', ring, none: false }, [40 + ring])
  }
}

describe('a vhost-user front-end on the guest link', () => {
  test('every effect, word by word', () => {
    const b = new Bed()
    assert.deepEqual(kinds(b.turn(client(9))), ['LINK_USE'])
    const [reply, next] = b.say({ type: 'GET_FEATURES' })
    assert.deepEqual(b.reply(reply!), { type: 'VALUE', id: 1, value: OFFERS.all.features })
    assert.equal(next?.[0], 'VHOST_NEXT')
    const words = (e: ReadonlyArray<readonly [string, ...number[]]>, n: number) => e.map((x) => x.slice(0, n))

    const table = b.say({ type: 'SET_MEM_TABLE', regions: [region] }, [20], true)
    assert.deepEqual(kinds(table), ['VHOST_MEMORY'])
    const at = table[0]![1]!
    const { view } = b.w.rings
    assert.deepEqual(
      [0, 8, 16, 24].map((o) => view.getBigUint64(at + o, true)),
      [region.gpa, region.size, region.user, region.offset]
    )
    assert.equal(view.getUint32(at + 32, true), 20)
    const acked = b.turn(done())
    assert.deepEqual(b.reply(acked[0]!), { type: 'VALUE', id: 5, value: 0n })
    assert.deepEqual(kinds(acked), ['VHOST_REPLY', 'VHOST_NEXT'])

    assert.deepEqual(kinds(b.say({ type: 'SET_VRING_NUM', ring: 1, entries: 512 })), ['VHOST_NEXT'])
    assert.deepEqual(words(b.say({ type: 'SET_VRING_BASE', ring: 1, next: 65530 }), 3), [
      ['VRING_BASE', 1, 65530],
      ['VHOST_NEXT', 0, 0]
    ])
    assert.deepEqual(words(b.say({ type: 'SET_VRING_ADDR', ring: 1, addresses }), 12), [
      ['VRING_ADDR', 1, VRING_LOG_USED, 0x1000, 0x7f00, 0x3000, 0x7f00, 0x2000, 0x7f00, 0x3000, 0, 512],
      ['VRING_RUN', 1, VRING_OFF, ...Array(9).fill(0)]
    ])
    assert.deepEqual(kinds(b.turn(done())), ['VHOST_NEXT'])
    assert.deepEqual(words(b.say({ type: 'SET_VRING_KICK', ring: 1, none: false }, [31]), 4), [
      ['VRING_FD', 1, VRING_KICK, 31],
      ['VRING_RUN', 1, VRING_DISCARD, 0],
      ['VHOST_NEXT', 0, 0, 0]
    ])
    assert.deepEqual(words(b.say({ type: 'SET_VRING_CALL', ring: 1, none: true }), 4), [
      ['VRING_FD', 1, VRING_CALL, VHOST_NO_FD | 0],
      ['VHOST_NEXT', 0, 0, 0]
    ])
    assert.deepEqual(words(b.say({ type: 'SET_VRING_ENABLE', ring: 1, enable: true }), 3), [
      ['VRING_RUN', 1, VRING_ON],
      ['VHOST_NEXT', 0, 0]
    ])
    assert.deepEqual(words(b.say({ type: 'SET_FEATURES', features: (1n << 32n) | (1n << 30n) | 2n }), 3), [
      ['VHOST_FEATURES', 0x40000002, 1],
      ['VHOST_NEXT', 0, 0]
    ])
    assert.deepEqual(words(b.say({ type: 'SET_LOG_BASE', size: 0x1_0000_0001n, offset: 4096n }, [50]), 6), [
      ['VHOST_LOG', 50, 0, 1, 1, 4096]
    ])
    assert.deepEqual(b.reply(b.turn(done())[0]!), { type: 'VALUE', id: 6, value: 0n })
    assert.deepEqual(words(b.say({ type: 'SET_LOG_FD' }, [51]), 2)[0], ['VHOST_LOG_FD', 51])
    assert.deepEqual(kinds(b.say({ type: 'ADD_MEM_REG', region }, [52])), ['VHOST_ADD_REGION'])
    b.turn(done())
    assert.deepEqual(words(b.say({ type: 'REM_MEM_REG', region }), 7)[0], [
      'VHOST_REMOVE_REGION',
      0,
      0,
      1 << 30,
      0,
      0,
      0x7f00
    ])
    b.turn(done())
    assert.deepEqual(words(b.say({ type: 'GET_VRING_BASE', ring: 1 }), 2), [['VRING_STOP', 1]])
    const [base] = b.turn([EV.VRING_STOPPED, 0, 1, 65533])
    assert.deepEqual(b.reply(base!), { type: 'VRING_BASE', ring: 1, next: 65533 })
    assert.deepEqual(words(b.say({ type: 'SET_DEVICE_STATE_FD', direction: 0, phase: 1 }, [60]), 2)[0], [
      'CLOSE_FD',
      60
    ])
    assert.deepEqual(
      b.say({ type: 'SET_OWNER' }, [61, 62]).map((e) => e.slice(0, 2)),
      [
        ['CLOSE_FD', 61],
        ['CLOSE_FD', 62],
        ['VHOST_NEXT', 0]
      ]
    )
    assert.deepEqual(b.said, ['info accepted connection'])
  })

  test('a guest is there when it can be sent frames, and is asked for its addresses then', () => {
    const b = new Bed()
    start(b)
    assert.deepEqual(b.heard, ['up'])
    assert.ok(b.w.guest.up)
    b.say({ type: 'GET_VRING_BASE', ring: 0 })
    b.turn([EV.VRING_STOPPED, 0, 0, 7])
    assert.deepEqual(b.heard, ['up', 'down'])
    const again = b.say({ type: 'SET_VRING_KICK', ring: 0, none: false }, [33])
    assert.deepEqual(b.heard, ['up', 'down', 'up'])
    const probes = again.filter(([kind]) => kind === 'TAP_WRITE')
    assert.ok(probes.length > 0)
    assert.ok(kinds(again).indexOf('VRING_RUN') < kinds(again).indexOf('TAP_WRITE'))
    // and by no one's leave is anything left to the guest (regression-V19)
    const { view, slab } = b.w.rings
    for (const [, off, len] of probes) {
      assert.deepEqual([...slab.subarray(off, off! + VNET_LEN)], Array(VNET_LEN).fill(0))
      const frame = { view, off: off! + VNET_LEN, len: len! - VNET_LEN }
      const sum = sum16(view, frame.off + ETH_LEN, frame.len - ETH_LEN)
      assert.equal(typeof decodeFrame(frame, { needsCsum: false, sum16: sum, gsoSize: 0 }), 'object')
    }
    b.turn([EV.LINK_END, 0, 0, 0])
    assert.deepEqual(b.heard, ['up', 'down', 'up', 'down'])
  })

  test('a message that cannot be: one message, all descriptors closed, and the next client is served', () => {
    const b = new Bed()
    start(b)
    b.said.length = 0
    const end = b.say({ type: 'SET_VRING_KICK', ring: 0, none: false }, [70, 71])
    assert.deepEqual(
      end.map((e) => e.slice(0, 2)),
      [
        ['CLOSE_FD', 70],
        ['CLOSE_FD', 71],
        ['LINK_CLOSE', 0]
      ]
    )
    assert.deepEqual(b.said, [
      'error client sent a vhost-user message that cannot be: SET_VRING_KICK: 2 descriptors, not 1: closing the connection'
    ])
    assert.deepEqual([b.heard.at(-1), b.w.ended], ['down', null])
    assert.deepEqual(kinds(b.turn(client(10))), ['LINK_USE'])
    assert.deepEqual(kinds(b.say({ type: 'GET_QUEUE_NUM' })), ['VHOST_REPLY', 'VHOST_NEXT'])
  })
  test('so with a broken ring, a failure that nobody can be told, an old driver, a message too long', () => {
    const last = (of: (b: Bed) => unknown): string => {
      const b = new Bed()
      start(b)
      of(b)
      assert.equal(b.heard.at(-1), 'down')
      assert.deepEqual(kinds(b.turn(client(10))), ['LINK_USE'])
      return b.said.find((s) => s.startsWith('error')) ?? ''
    }
    assert.equal(
      last((b) => b.turn([EV.VRING_BROKEN, 0, 1, VRING_BAD_INDEX, 0xffff])),
      'error client has a broken transmit ring: an index that cannot be (0xffff): closing the connection'
    )
    assert.match(
      last((b) => {
        b.say({ type: 'SET_MEM_TABLE', regions: [region] }, [20])
        b.turn(done(22))
      }),
      /^error client sent SET_MEM_TABLE, which failed: .*: closing the connection$/
    )
    assert.match(
      last((b) => b.say({ type: 'SET_FEATURES', features: 0n })),
      /^error client has a driver older than virtio 1\.0/
    )
    assert.equal(
      last((b) => b.turn([EV.LINK_END, 0, LINK_BAD_LENGTH, 5000])),
      'error client sent a vhost-user message of 5000 octets, which cannot be: closing the connection'
    )
  })
  test('what can be told is told, and the session goes on', () => {
    const b = new Bed()
    start(b)
    b.say({ type: 'SET_MEM_TABLE', regions: [region] }, [20], true)
    const [reply] = b.turn(done(22))
    assert.deepEqual(b.reply(reply!), { type: 'VALUE', id: VHOST_ID.SET_MEM_TABLE, value: 1n })
    assert.match(b.said.at(-1)!, /^warning vhost-user: SET_MEM_TABLE: /)
    assert.deepEqual(b.heard, ['up'])
  })

  test("what a turn still tells of a client that was replaced is not the next one's", () => {
    const b = new Bed()
    start(b)
    // the one has sent nonsense and is gone, the other one waits
    const turn = b.turn(
      client(10, true),
      b.message({ type: 'SET_VRING_KICK', ring: 0, none: false }, []),
      b.message({ type: 'SET_VRING_KICK', ring: 0, none: false }, [80]),
      done(22),
      [EV.VRING_STOPPED, 0, 0, 7],
      [EV.VRING_BROKEN, 0, 0, 1, 0],
      [EV.LINK_END, 0, 0, 0]
    )
    assert.deepEqual(kinds(turn), ['LINK_USE', 'CLOSE_FD'])
    assert.equal(turn[0]?.[1], 10)
    assert.deepEqual(kinds(b.say({ type: 'GET_QUEUE_NUM' })), ['VHOST_REPLY', 'VHOST_NEXT'])
  })
  /** A guest whose rings are stopped. */
  const stopped = (): Bed & { stop: () => void; save: (fd: number) => void } => {
    const b = new Bed()
    b.w.rings.native.localEnds = () => new Int32Array(0) as never
    start(b)
    const stop = (): void => {
      for (const ring of [0, 1]) {
        b.say({ type: 'GET_VRING_BASE', ring })
        b.turn([EV.VRING_STOPPED, 0, ring, 0])
      }
    }
    const save = (fd: number): void => {
      assert.ok(
        kinds(b.say({ type: 'SET_DEVICE_STATE_FD', direction: 0, phase: 0 }, [fd])).includes('STATE_OPEN')
      )
      for (let i = 0; i < 4; i++) b.turn()
      b.turn([EV.STATE_ENDED, 0, 0])
      const [answer] = b.say({ type: 'CHECK_DEVICE_STATE' })
      assert.deepEqual(b.reply(answer!), { type: 'VALUE', id: VHOST_ID.CHECK_DEVICE_STATE, value: 0n })
    }
    stop()
    return Object.assign(b, { stop, save })
  }
  test('a guest that is saved again and again fills no log', () => {
    const b = stopped()
    for (let i = 0; i < 5 * BURST; i++) b.save(50 + i)
    const said = b.said.filter((text) => /^info [Mm]igration/.test(text))
    assert.ok(said.length > 0 && said.length <= 2 * BURST, `${said.length} lines`)
  })
  test('a guest that was saved is no place for another one, and goes on when its rings do', () => {
    const b = stopped()
    const { stop, save } = b
    const load = (fd: number): string[] =>
      kinds(b.say({ type: 'SET_DEVICE_STATE_FD', direction: 1, phase: 0 }, [fd]))
    const taken = (): number => b.said.filter((text) => /taken back, the guest stays/.test(text)).length
    save(50)
    assert.ok(load(51).includes('CLOSE_FD'))
    const [answer] = b.say({ type: 'CHECK_DEVICE_STATE' })
    assert.deepEqual(b.reply(answer!), { type: 'VALUE', id: VHOST_ID.CHECK_DEVICE_STATE, value: 1n })
    // Its listeners and all the rest come back
    b.say({ type: 'SET_VRING_KICK', ring: 0, none: false }, [52])
    assert.equal(taken(), 1)
    stop()
    assert.ok(load(53).includes('STATE_OPEN'))
  })
  test('one-off: a session that cannot go on is the end of the program', () => {
    const b = new Bed(true)
    start(b)
    b.say({ type: 'SET_VRING_KICK', ring: 0, none: false }, [])
    assert.deepEqual(b.w.ended, { why: 'stop' })
  })
})
