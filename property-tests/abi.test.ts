// The rings' two sides: what native/addon/abi.h says of each record is what src/runtime/abi/ writes and reads.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { ROOT } from '../scripts/generated.js'
import type { InAny } from '../src/codecs/value/inany.js'
import { instant } from '../src/effects/effect.js'
import * as abi from '../src/runtime/abi/abi.js'
import * as effects from '../src/runtime/abi/effects.js'
import * as events from '../src/runtime/abi/events.js'
import { type Rings, ringsOver } from '../src/runtime/abi/rings.js'

const HEADERS = ['native/common/protocol.h', 'native/addon/abi.h'].map((p) =>
  readFileSync(join(ROOT, p), 'utf8')
)
const ABI = HEADERS[1] ?? ''

/** Enumerators of both headers. */
const numbers = new Map(
  HEADERS.flatMap((text) =>
    [
      ...text.replace(/\/\*[\s\S]*?\*\//g, '').matchAll(/\b([A-Z][A-Z0-9_]*) = ([0-9a-fx]+)(?: << (\d+))?/g)
    ].map(([, name = '', value, shift = '0']) => [name, Number(value) * 2 ** Number(shift)] as const)
  )
)
/** What is said in front of an enumerator, in one line. */
const said = (name: string): string => {
  const before = ABI.slice(0, ABI.search(new RegExp(`^\\t${name} = `, 'm'))).trimEnd()
  assert.ok(before.endsWith('*/'), `${name} has no comment`)
  return before.slice(before.lastIndexOf('/*')).replace(/\s+\*?\s*/g, ' ')
}
/** What is said of words that are no record's, in one line. */
const line = (name: string): string =>
  ABI.slice(ABI.search(new RegExp(`^/\\* ${name}\\b`, 'm')))
    .split('*/')[0]
    ?.replace(/\s+\*?\s*/g, ' ') ?? ''
/** First of those words that is called so. */
const wordIn = (name: string, what: string): number =>
  Number(new RegExp(`\\b(\\d+)(?:-\\d+)? ${what}`).exec(line(name))?.[1])
/** First word of what is called so: `7 scope id`, `2-5 dst addr`, `14 = 1 + id`. */
const wordOf = (record: string, what: string): number => {
  const found = new RegExp(`\\b(\\d+)(?:-\\d+)?(?: =)? ${what}`).exec(said(record))
  assert.ok(found !== null, `${record}: no '${what}' in '${said(record)}'`)
  return Number(found[1])
}

describe('numbers', () => {
  const pairs = [
    ...Object.entries(abi.EF).map(([k, v]) => [`EF_${k}`, v] as const),
    ...Object.entries(abi.EV).map(([k, v]) => [`EV_${k}`, v] as const),
    ...Object.entries(abi).flatMap(([k, v]) => (typeof v === 'number' ? [[k, v] as const] : []))
  ]
  test('each of abi.ts is in a header, with the same value', () => {
    assert.ok(pairs.length > 70)
    for (const [name, value] of pairs) assert.equal(numbers.get(name), value, name)
  })
  test('each record of abi.h is in abi.ts', () => {
    const named = new Set(pairs.map(([name]) => name))
    for (const name of numbers.keys())
      if (/^(EF|EV)_/.test(name)) assert.ok(named.has(name) || name === 'EV_LISTEN_ICMP_ERROR', name)
  })
})

const rings: Rings = ringsOver({} as abi.Native, {
  slab: new ArrayBuffer(16),
  effects: new ArrayBuffer(abi.ABI_WORDS * 4),
  events: new ArrayBuffer(abi.ABI_WORDS * 4),
  clock: new ArrayBuffer(16)
})
/** The same with a slab. */
const withSlab = (records: number): Rings =>
  ringsOver({} as abi.Native, {
    slab: new ArrayBuffer(256),
    effects: new ArrayBuffer(records * abi.ABI_WORDS * 4),
    events: new ArrayBuffer(abi.ABI_WORDS * 4),
    clock: new ArrayBuffer(16)
  })
const DST: InAny = [101, 102, 103, 104]
const SRC: InAny = [111, 112, 113, 114]
const target: effects.Target = { dst: DST, dstPort: 120, scope: 121, src: SRC, inNamespace: true }
const payload = { off: 130, len: 131 }

describe('effects: each word is where abi.h says', () => {
  /** `words`: what abi.h calls it, and what must be there. `like`: the record whose words these are as well. */
  const check = (
    name: keyof typeof abi.EF,
    write: (r: Rings) => void,
    words: Readonly<Record<string, number>>,
    like: keyof typeof abi.EF = name
  ): void => {
    test(name, () => {
      rings.effects = 0
      write(rings)
      assert.equal(rings.effects, 1)
      assert.equal(rings.fx[0], abi.EF[name])
      const expected = new Map(Object.entries(words).map(([what, v]) => [wordOf(`EF_${like}`, what), v]))
      for (let i = 2; i < abi.ABI_WORDS; i++) {
        // the rest of an address stands behind its first word
        const addr = [DST, SRC].find((a) => expected.get(i) === a[0])
        if (addr !== undefined) for (let k = 1; k < 4; k++) expected.set(i + k, addr[k] ?? 0)
        if (name === like) assert.equal(rings.fx[i], expected.get(i) ?? 0, `word ${i}`)
        else if (expected.has(i)) assert.equal(rings.fx[i], expected.get(i), `word ${i}`)
      }
    })
  }
  const opened = { 'dst addr': DST[0], 'dst port': 120, 'scope id': 121, 'src addr': SRC[0] }
  const OUT = abi.BIND_OUTBOUND | abi.IN_NAMESPACE
  check('TAP_WRITE', (r) => effects.tapWrite(r, 140, 141), { off: 140, len: 141 })
  check('TCP_CONNECT', (r) => effects.tcpConnect(r, 9, target, 150), { ...opened, mss: 150, flags: OUT })
  check('SEND', (r) => effects.send(r, 9, payload, true), { off: 130, len: 131, flags: abi.SEND_REPORT_ACK })
  check('PEEK', (r) => effects.peek(r, 9, 160, 161, 162, 163, true), {
    'header off': 160,
    'header len': 161,
    budget: 162,
    mss: 163,
    flags: abi.IS_V6
  })
  check('DISCARD', (r) => effects.discard(r, 9, 170), { octets: 170 })
  check('REWIND', (r) => effects.rewind(r, 9, 171), { octets: 171 })
  check(
    'UDP_OPEN',
    (r) => effects.udpOpen(r, 9, target, 180, 181, true),
    { ...opened, flags: OUT },
    'TCP_CONNECT'
  )
  test('UDP_OPEN: its own words', () => {
    assert.equal(rings.fx[8], 180)
    assert.equal(wordOf('EF_UDP_OPEN', 'source port'), 8)
    assert.equal(rings.fx[wordOf('EF_UDP_OPEN', 'listener')], 182)
  })
  check('UDP_SEND', (r) => effects.udpSend(r, 9, payload, 64, 190), {
    off: 130,
    len: 131,
    ttl: 64,
    segment: 190
  })
  check('PING_OPEN', (r) => effects.pingOpen(r, 9, target), { ...opened, flags: OUT }, 'TCP_CONNECT')
  check('PING_SEND', (r) => effects.pingSend(r, 9, payload, 64), { off: 130, len: 131, ttl: 64 })
  check('ADOPT', (r) => effects.adopt(r, 9, 200), { slot: 200 })
  check('REJECT', (r) => effects.reject(r, 201), { slot: 201 })
  check(
    'SPLICE',
    (r) => effects.spliceConnect(r, 9, target, 202, false, -1),
    { ...opened, flags: abi.IN_NAMESPACE },
    'TCP_CONNECT'
  )
  test('SPLICE: its own word', () => {
    assert.equal(rings.fx[8], 202)
    assert.equal(wordOf('EF_SPLICE', 'slot'), 8)
  })
  check(
    'SPLICE',
    (r) => effects.spliceConnect(r, 9, target, 202, true, 7),
    { ...opened, 'dst port': 7, flags: abi.IN_NAMESPACE | abi.FROM_UNIX | abi.TO_UNIX },
    'TCP_CONNECT'
  )
  check('SPLICE_SHUT', (r) => effects.spliceShut(r, 9, 1), { side: 1 })
  check('READ_ALLOW', (r) => effects.readAllow(r, 9, 1, 205), { side: 1, octets: 205 })
  check('UDP_JOIN', (r) => effects.udpJoin(r, 9, 210), { 'other handle': 210 })
  check('LINK_USE', (r) => effects.linkUse(r, 220), { descriptor: 220 })
  check('LINK_REFUSE', (r) => effects.linkRefuse(r, 221), { descriptor: 221 })
  check('NETLINK', (r) => effects.netlinkSend(r, 230, 231), { off: 230, len: 231 })
  check('CAPTURE_NOTE', (r) => effects.captureNote(r, 240, 241, 242), {
    off: 240,
    len: 241,
    frame: 242
  })
  check('VHOST_NEXT', effects.vhostNext, {})
  check('VHOST_REPLY', (r) => effects.vhostReply(r, payload), { off: 130, len: 131 })
  check('VHOST_FEATURES', (r) => effects.vhostFeatures(r, 250n), { features: 250 })
  check('VHOST_REMOVE_REGION', (r) => effects.vhostRemoveRegion(r, { gpa: 251n, size: 252n, user: 253n }), {
    'guest physical address': 251,
    size: 252,
    'user address': 253
  })
  check('VHOST_LOG', (r) => effects.vhostLog(r, 254, 255n, 256n), {
    descriptor: 254,
    size: 255,
    'mmap offset': 256
  })
  check('VHOST_LOG_FD', (r) => effects.vhostLogFd(r, 257), { descriptor: 257 })
  const place = { desc: 260n, used: 261n, avail: 262n, log: 263n, flags: abi.VRING_LOG_USED, size: 264 }
  check('VRING_ADDR', (r) => effects.vringAddr(r, 1, place), {
    ring: 1,
    flags: abi.VRING_LOG_USED,
    desc: 260,
    used: 261,
    avail: 262,
    log: 263,
    'ring size': 264
  })
  check('VRING_BASE', (r) => effects.vringBase(r, 1, 270), { ring: 1, 'next avail index': 270 })
  check('VRING_FD', (r) => effects.vringFd(r, 1, abi.VRING_CALL, 271), {
    ring: 1,
    which: abi.VRING_CALL,
    descriptor: 271
  })
  check('VRING_RUN', (r) => effects.vringRun(r, 1, abi.VRING_ON), { ring: 1, mode: abi.VRING_ON })
  check('VRING_STOP', (r) => effects.vringStop(r, 1), { ring: 1 })
  check('CLOSE_FD', (r) => effects.closeFd(r, 272), { descriptor: 272 })
  check('REPAIR_CLOSE', effects.repairClose, {})
  check('TCP_FREEZE', (r) => effects.tcpFreeze(r, 9), {})
  check('TCP_THAW', (r) => effects.tcpThaw(r, 9), {})
  check('TCP_DUMP', (r) => effects.tcpDump(r, 9), {})
  check('STATE_OPEN', (r) => effects.stateOpen(r, 280, abi.STATE_LOAD), {
    descriptor: 280,
    direction: abi.STATE_LOAD
  })
  check('STATE_WRITE', (r) => effects.stateWrite(r, payload), { off: 130, len: 131 })
  check('STATE_QUEUES', (r) => effects.stateQueues(r, 9), {})
  check('STATE_CLOSE', (r) => effects.stateClose(r, true), { flags: abi.STATE_NOW })
  check('STATE_NEXT', (r) => effects.stateNext(r, 281), { octets: 281 })
  check('TCP_RESTORE_OPEN', (r) => effects.tcpRestoreOpen(r, 9, true, true), {
    flags: abi.IS_V6,
    outbound: abi.BIND_OUTBOUND
  })
  check('TCP_RESTORE_QUEUE', (r) => effects.tcpRestoreQueue(r, 9, payload, abi.QUEUE_RECV), {
    off: 130,
    len: 131,
    queue: abi.QUEUE_RECV
  })
  check('TCP_RESTORE_END', (r) => effects.tcpRestoreEnd(r, 9, true), { flags: abi.RESTORE_SHUT })
  check('TCP_RUN', (r) => effects.tcpRun(r, 9, true, 282), { flags: abi.RUN_SHUT, 'peek offset': 282 })
  check('HAND_OVER_CLOSE', effects.handOverClose, {})
  check('HAND_OVER_HOLD', (r) => effects.handOverHold(r, true), { flags: abi.HAND_HOLD })
  check('HAND_OVER_GUEST', effects.handOverGuest, {})
  check('CONF_CLOSE', (r) => effects.confClose(r, 63), {})
  test('CONF_SEND: octets', () => {
    const bound = withSlab(1)
    effects.confSend(bound, 3, Uint8Array.of(4, 5))
    const word = (what: string): number => bound.fx[wordOf('EF_CONF_SEND', what)] ?? -1
    assert.deepEqual([...bound.slab.subarray(word('off'), word('off') + word('len'))], [4, 5])
    assert.equal(bound.fx[1], 3)
  })
  test('API_SEND: octets', () => {
    const bound = withSlab(1)
    effects.apiSend(bound, Uint8Array.of(4, 5))
    const word = (what: string): number => bound.fx[wordOf('EF_API_SEND', what)] ?? -1
    assert.deepEqual([...bound.slab.subarray(word('off'), word('off') + word('len'))], [4, 5])
  })
  check('GIVE', (r) => effects.give(r, 290), { descriptor: 290 })
  check('TCP_TAKE', (r) => effects.tcpTake(r, 9, 291, true, 292, 293), {
    descriptor: 291,
    flags: abi.RUN_SHUT,
    'peek offset': 292,
    taken: 293
  })
  test('HAND_OVER_ANSWER: octets, and names of descriptors', () => {
    const bound = withSlab(1)
    effects.handOverAnswer(bound, Uint8Array.of(1, 2, 3), [
      [abi.HAND_FLOW, 7],
      [abi.HAND_OVER, 0]
    ])
    const word = (what: string): number => bound.fx[wordOf('EF_HAND_OVER_ANSWER', what)] ?? -1
    assert.deepEqual([...bound.slab.subarray(word('off'), word('off') + word('len'))], [1, 2, 3])
    assert.equal(word('descriptors'), 2)
    const names = [0, 1, 2, 3].map((i) => bound.view.getUint32(word('names off') + 4 * i, true))
    assert.deepEqual(names, [abi.HAND_FLOW, 7, abi.HAND_OVER, 0])
  })
  test('TCP_FREEZE: its kernel goes on hearing', () => {
    rings.effects = 0
    effects.tcpFreeze(rings, 9, true)
    assert.equal(rings.fx[wordOf('EF_TCP_FREEZE', 'flags')], abi.FREEZE_HEARS)
  })
  test('REPAIR: the handles', () => {
    const bound = withSlab(1)
    effects.repair(bound, [9, 0x1ffff], abi.REPAIR_OFF_NO_PROBE)
    const off = bound.fx[wordOf('EF_REPAIR', 'off')] ?? 0
    assert.equal(bound.fx[0], abi.EF.REPAIR)
    assert.equal(bound.fx[wordOf('EF_REPAIR', 'sockets')], 2)
    assert.equal((bound.fx[wordOf('EF_REPAIR', 'command')] ?? 0) >>> 0, abi.REPAIR_OFF_NO_PROBE)
    assert.deepEqual([bound.view.getUint32(off, true), bound.view.getUint32(off + 4, true)], [9, 0x1ffff])
  })
  test('TCP_RESTORE: each word', () => {
    const bound = withSlab(1)
    effects.tcpRestore(bound, 9, {
      own: [1, 2, 3, 4],
      ownPort: 5,
      peer: [6, 7, 8, 9],
      peerPort: 10,
      sndSeq: 0xffff_fff0,
      rcvSeq: 12,
      maxSeg: 13,
      timestamp: 0xffff_fff1,
      window: { sndWl1: 15, sndWnd: 16, maxWindow: 17, rcvWnd: 18, rcvWup: 19 },
      sndScale: 7,
      rcvScale: 8,
      options: 21,
      sndBuf: 22,
      sndOctets: 23
    })
    const off = bound.fx[wordOf('EF_TCP_RESTORE', 'off')] ?? 0
    assert.equal(bound.fx[wordOf('EF_TCP_RESTORE', 'len')], abi.RESTORE_WORDS * 4)
    const at = (what: string, k = 0): number =>
      bound.view.getUint32(off + (wordIn('restore', what) + k) * 4, true)
    assert.deepEqual(
      [0, 1, 2, 3].flatMap((k) => [at('own addr', k), at('peer addr', k)]),
      [1, 6, 2, 7, 3, 8, 4, 9]
    )
    for (const [what, v] of Object.entries({
      'own port': 5,
      'peer port': 10,
      'snd seq': 0xffff_fff0,
      'rcv seq': 12,
      'max seg': 13,
      timestamp: 0xffff_fff1,
      snd_wl1: 15,
      snd_wnd: 16,
      max_window: 17,
      rcv_wnd: 18,
      rcv_wup: 19,
      'window scale': 7 | (8 << 8),
      options: 21,
      sndbuf: 22,
      'snd octets': 23
    }))
      assert.equal(at(what), v, what)
  })
  test('64-bit numbers: the low word first; no descriptor', () => {
    rings.effects = 0
    effects.vhostFeatures(rings, 0x8000_0001_ffff_fffen)
    assert.deepEqual([...rings.fx.subarray(2, 4)], [-2, 0x8000_0001 | 0])
    rings.effects = 0
    effects.vringFd(rings, 0, abi.VRING_KICK, null)
    assert.equal(rings.fx[4] >>> 0, abi.VHOST_NO_FD)
  })
  test('VHOST_MEMORY, VHOST_ADD_REGION: the table', () => {
    const laidOut = /\/\* region: ([^*]*)\*\//.exec(ABI)?.[1] ?? ''
    const inRegion = (what: string): number => Number(new RegExp(`(\\d+) ${what}`).exec(laidOut)?.[1])
    const bound = withSlab(2)
    const one = { gpa: 1n, size: 2n, user: 3n, mmapOffset: 4n, fd: 5 }
    const two = { gpa: 0xffff_ffff_ffff_fff0n, size: 7n, user: 8n, mmapOffset: 9n, fd: 10 }
    effects.vhostMemory(bound, [one, two])
    effects.vhostAddRegion(bound, two)
    for (const [i, [kind, all]] of (
      [
        ['VHOST_MEMORY', [one, two]],
        ['VHOST_ADD_REGION', [two]]
      ] as const
    ).entries()) {
      const at = i * abi.ABI_WORDS
      assert.equal(bound.fx[at], abi.EF[kind])
      assert.equal(bound.fx[at + wordOf(`EF_${kind}`, 'regions')], all.length)
      const off = bound.fx[at + wordOf(`EF_${kind}`, 'off')] ?? 0
      for (const [k, region] of all.entries()) {
        const o = off + k * abi.VHOST_REGION_LEN
        const u64 = (what: string) => bound.view.getBigUint64(o + inRegion(what), true)
        assert.equal(u64('guest physical address'), region.gpa)
        assert.equal(u64('size'), region.size)
        assert.equal(u64('user address'), region.user)
        assert.equal(u64('mmap offset'), region.mmapOffset)
        assert.equal(bound.view.getInt32(o + inRegion('descriptor'), true), region.fd)
      }
    }
  })
})

describe('events: each word is read where abi.h says', () => {
  const ev = rings.ev
  /** A record with these words, by what abi.h calls them. */
  const record = (name: keyof typeof abi.EV, words: Readonly<Record<string, number>>, like = name): void => {
    ev.fill(0)
    ev[0] = abi.EV[name]
    ev[1] = 77
    for (const [what, v] of Object.entries(words)) ev[wordOf(`EV_${like}`, what)] = v
  }
  const address = (name: keyof typeof abi.EV, what: string, a: InAny): void =>
    ev.set(a, wordOf(`EV_${name}`, what))
  const now = instant(5)
  const sock = () => events.sockEvent(ev, 0, now)
  const is = (name: keyof typeof abi.EV, words: Readonly<Record<string, number>>, expected: object): void => {
    record(name, words)
    const got: unknown = sock()
    assert.ok(typeof got === 'object' && got !== null, name)
    for (const [k, v] of Object.entries(expected))
      assert.deepEqual((got as Record<string, unknown>)[k], v, `${name}: ${k}`)
  }
  test('of the guest', () => {
    record('TAP_FRAME', {
      off: 1,
      len: 2,
      'vnet flags': 3 | (4 << 8),
      gso_size: 5,
      'ones complement sum': 6
    })
    const frame = { off: 1, len: 2, flags: 3, gsoType: 4, gsoSize: 5, sum16: 6 }
    assert.deepEqual(events.tapFrame(ev, 0), frame)
    record('TAP_GONE', { errno: 7 })
    assert.equal(events.tapGone(ev, 0), 7)
    record('TAP_DROPPED', { 'frames dropped': 8, errno: 9 })
    assert.deepEqual(events.tapDropped(ev, 0), { frames: 8, errno: 9 })
    record('CAPTURE', { errno: 10, 'frames that are missing': 11 })
    assert.deepEqual(events.captureTrouble(ev, 0), { errno: 10, missing: 11 })
    record('LINK_CLIENT', { descriptor: 12, 'process id': 13, flags: abi.LINK_HUNG_UP })
    assert.deepEqual(events.linkClient(ev, 0), { fd: 12, pid: 13, hungUp: true })
    record('LINK_END', { why: 14, detail: 15 })
    assert.deepEqual(events.linkEnd(ev, 0), { why: 14, detail: 15 })
  })
  test('of the vhost-user front-end', () => {
    record('VHOST_MESSAGE', { off: 1, len: 2, 'number of descriptors': 3, descriptors: 4 })
    const first = wordOf('EV_VHOST_MESSAGE', 'descriptors')
    for (let k = 0; k < 8; k++) ev[first + k] = 10 + k
    const payload = { off: 1, len: 2 }
    assert.deepEqual(events.vhostMessage(ev, 0), { payload, fds: [10, 11, 12], tooManyFds: false })
    ev[wordOf('EV_VHOST_MESSAGE', 'number of descriptors')] = 9
    const fds = [10, 11, 12, 13, 14, 15, 16, 17]
    assert.deepEqual(events.vhostMessage(ev, 0), { payload, fds, tooManyFds: true })
    record('VHOST_DONE', { errno: 3 })
    assert.equal(events.vhostDone(ev, 0), 3)
    record('READ_ASKS', { side: 1, octets: 4 })
    assert.deepEqual(events.readAsks(ev, 0), { side: 1, octets: 4 })
    record('VRING_STOPPED', { ring: 1, 'next avail index': 65535 })
    assert.deepEqual(events.vringStopped(ev, 0), { ring: 1, index: 65535 })
    record('VRING_BROKEN', { ring: 1, why: abi.VRING_LOOP, detail: 0xffffffff })
    assert.deepEqual(events.vringBroken(ev, 0), { ring: 1, why: abi.VRING_LOOP, detail: 0xffffffff })
  })
  test('of migration', () => {
    record('REPAIR_HELPER', { there: 1 })
    assert.equal(events.repairHelper(ev, 0), true)
    record('HAND_OVER_PEER', { there: 1 })
    assert.equal(events.handOverPeer(ev, 0), true)
    record('HAND_OVER_ASKED', { off: 21, len: 22 })
    assert.deepEqual(events.handOverAsked(ev, 0), { off: 21, len: 22 })
    record('CONF_CLIENT', { 'process id': 77, flags: abi.CONF_ALLOWED })
    assert.deepEqual(events.confCame(ev, 0), { pid: 77, allowed: true })
    record('CONF_CLIENT', { 'process id': 77, flags: 0 })
    assert.deepEqual(events.confCame(ev, 0), { pid: 77, allowed: false })
    record('CONF_OCTETS', { off: 23, len: 24 })
    assert.deepEqual(events.confOctets(ev, 0), { off: 23, len: 24 })
    record('API_OCTETS', { off: 25, len: 26 })
    assert.deepEqual(events.apiOctets(ev, 0), { off: 25, len: 26 })
    for (const name of ['REPAIRED', 'TCP_DUMPED', 'STATE_ENDED', 'RESTORED'] as const) {
      record(name, { errno: 32 })
      assert.equal(events.movedErrno(ev, 0), 32)
    }
    for (const name of ['STATE_WRITTEN', 'STATE_PROGRESS'] as const) {
      record(name, { octets: 0xffff_fffe })
      assert.equal(events.stateWritten(ev, 0), 0xffff_fffe)
    }
    record('STATE_OCTETS', { off: 1, len: 2 })
    assert.deepEqual(events.stateOctets(ev, 0), { off: 1, len: 2 })
    const { view } = withSlab(1)
    record('TCP_DUMPED', { off: 16, len: abi.DUMP_WORDS * 4 })
    const put = (what: string, v: number): void => view.setUint32(16 + wordIn('dump', what) * 4, v, true)
    for (let i = 0; i < abi.DUMP_WORDS; i++) view.setUint32(16 + i * 4, 999, true)
    put('snd seq', 0xffff_fff0)
    put('rcv seq', 2)
    put('outq', 3)
    put('outqnsd', 4)
    put('inq', 5)
    put('snd kept', 6)
    put('rcv kept', 7)
    put('max seg', 8)
    put('timestamp', 0xffff_fff1)
    put('snd_wl1', 10)
    put('snd_wnd', 11)
    put('max_window', 12)
    put('rcv_wnd', 13)
    put('rcv_wup', 14)
    put('window scale', 7 | (9 << 8))
    put('state', 16)
    put('options', 17)
    put('sndbuf', 18)
    assert.deepEqual(events.tcpDumped(ev, view, 0), {
      sndSeq: 0xffff_fff0,
      rcvSeq: 2,
      outq: 3,
      outqNsd: 4,
      inq: 5,
      sndKept: 6,
      rcvKept: 7,
      maxSeg: 8,
      timestamp: 0xffff_fff1,
      window: { sndWl1: 10, sndWnd: 11, maxWindow: 12, rcvWnd: 13, rcvWup: 14 },
      sndScale: 7,
      rcvScale: 9,
      state: 16,
      options: 17,
      sndBuf: 18
    })
  })
  test('of listeners', () => {
    record('ACCEPTED', { slot: 1, ports: 2 | (3 << 16), 'scope id': 4 })
    address('ACCEPTED', 'peer addr', DST)
    address('ACCEPTED', 'local addr', SRC)
    const accepted = { listener: 77, slot: 1, peer: DST, peerPort: 2, local: SRC, scope: 4 }
    assert.deepEqual(events.accepted(ev, 0), accepted)
    record('LISTEN_TROUBLE', { errno: 5 })
    assert.equal(events.listenTrouble(ev, 0), 5)
    record('LISTEN_DATAGRAM', { off: 6, len: 7, segment: 8, 'peer port': 9, interface: 10, 'own IPv4': 11 })
    address('LISTEN_DATAGRAM', 'peer addr', DST)
    address('LISTEN_DATAGRAM', 'sent to', SRC)
    assert.deepEqual(events.arrived(ev, 0), {
      handle: 77,
      payload: { off: 6, len: 7 },
      segment: 8,
      peer: DST,
      peerPort: 9,
      sentTo: SRC,
      ifindex: 10,
      own4: 11
    })
    record('BOUND', { port: 12 })
    assert.equal(events.boundPort(ev, 0), 12)
    record('NETLINK', { off: 13, len: 14 })
    assert.deepEqual(events.netlinkDatagram(ev, 0), { off: 13, len: 14 })
  })
  test('of sockets', () => {
    is('SENT', { taken: 1, dropped: 2, errno: 3 }, { type: 'SOCK_SENT', taken: 1, dropped: 2, errno: 3 })
    is(
      'PEEKED',
      { octets: 4, flags: abi.PEEK_EOF, errno: 5 },
      { octets: 4, eof: true, drained: false, errno: 5 }
    )
    is('READY', { flags: abi.READY_OUT }, { readable: false, writable: true, info: null })
    is('ACKED', { octet: 6 }, { octet: 6 })
    is('FAILED', { refused: 1, errno: 7 }, { errno: 7, refused: true })
    is('REFUSED', { errno: 8 }, { errno: 8 })
    is('DATAGRAM', { off: 9, len: 10, segment: 11 }, { payload: { off: 9, len: 10 }, segment: 11 })
    const icmp = { off: 1, len: 2, ee_errno: 3, ee_type: 4, ee_code: 5, ee_info: 6, offender: 7 }
    is('ICMP_ERROR', icmp, {
      quoted: { off: 1, len: 2 },
      errno: 3,
      icmpType: 4,
      code: 5,
      mtu: 6,
      offender: [7, 0, 0, 0]
    })
    is('SPLICE_EOF', { side: 1 }, { side: 1 })
    is('SPLICE_FAILED', { side: 1, errno: 12 }, { side: 1, errno: 12 })
    is('UDP_MOVED', { datagrams: 13 }, { side: 0, datagrams: 13 })
  })
  test('info, moved', () => {
    for (const word of ['4 snd_wnd', '7 rtt', '8 min_rtt', '9 bytes_acked', '10 sndbuf free', '11 sndbuf'])
      assert.ok(line('info').includes(word), word)
    for (const words of [
      '4-5 octets from side 0 to side 1 (low, high word)',
      '6-7 octets from side 1 to side 0'
    ])
      assert.ok(line('moved').includes(words), words)
    record('CONNECTED', {})
    for (let i = 4; i <= 11; i++) ev[i] = 50 + i
    assert.deepEqual(sock(), {
      type: 'SOCK_CONNECTED',
      info: { sndWnd: 54, rtt: 57, minRtt: 58, bytesAcked: 59, sndFree: 60, sndBuf: 61 },
      now
    })
    record('SPLICE_EOF', {})
    for (let i = 4; i <= 7; i++) ev[i] = i
    assert.deepEqual((sock() as { moved?: unknown } | null)?.moved, [4 + 5 * 2 ** 32, 6 + 7 * 2 ** 32])
  })
})

describe('records.h: each name stands at the word that abi.h calls so', () => {
  const RECORDS = readFileSync(join(ROOT, 'native/addon/records.h'), 'utf8')
  interface Field {
    readonly name: string
    readonly words: number
    /** Names of the same words, one of a union. */
    readonly or: ReadonlyArray<string>
  }
  const declared = (body: string): Field[] =>
    [...body.matchAll(/union \{([^}]*)\};|(uint32_t|Info) ([^;]*);/g)].flatMap(
      ([, union, type, list = '']): Field[] => {
        if (union !== undefined) {
          const or = declared(union).map((f) => f.name)
          return [{ name: or[0] ?? '', words: 1, or }]
        }
        return list.split(',').map((one) => {
          const [, name = '', n = '1'] = /^\s*(\w+)(?:\[(\d+)\])?$/.exec(one) ?? []
          assert.notEqual(name, '', list)
          return { name, words: type === 'Info' ? 8 : Number(n), or: [name] }
        })
      }
    )
  /** Of what abi.h calls the word: `scope` of 'scope id', `error` of 'errno', which is a macro. */
  const spoken = (name: string): string => name.replace(/_/g, '[ _]').replace(/^error$/, 'errno')
  const told = (text: string, name: string, at: number, words: number): boolean =>
    new RegExp(
      name === 'moved'
        ? '\\bmoved\\b'
        : `\\b${at}${words === 1 ? '' : `-${at + words - 1}`} ${spoken(name)}\\b`,
      'i'
    ).test(text)
  /** Every word of `body` from `at` on, against what is said of the `records`. */
  const agree = (
    of: string,
    body: string,
    at: number,
    texts: ReadonlyArray<string>,
    most: number = abi.ABI_WORDS
  ): Set<number> => {
    const named = new Set<number>()
    for (const f of declared(body)) {
      if (!f.name.startsWith('unused')) {
        for (const name of f.or)
          assert.ok(
            texts.some((text) => told(text, name, at, f.words)),
            `${of}: ${name} is word ${at}, ${f.words} long, here`
          )
        for (let k = 0; k < f.words; k++) named.add(at + k)
      }
      at += f.words
    }
    assert.ok(at <= most, of)
    return named
  }
  /** Words that abi.h speaks of: `6 dst port`, `2-5 dst addr`, `moved`. */
  const spokenOf = (text: string): number[] => [
    ...[
      ...text.matchAll(/(?<=(?:\/\*|[,;:.]|but|unused,|listener,|received,) )(\d+)(?:-(\d+))? [a-z]/g)
    ].flatMap(([, from, to = from]) =>
      Array.from({ length: Number(to) - Number(from) + 1 }, (_, k) => Number(from) + k)
    ),
    ...(/ moved\b/.test(text) ? [4, 5, 6, 7] : [])
  ]

  const structs = [
    ...RECORDS.matchAll(
      /(?:\/\*\* (EF_[^*]*)\*\/\n)?struct (\w+) : (Head|Event<(\w+)>|Like<(\w+), (\w+)>) \{([\s\S]*?)\};?\n(?=\S|\n)/g
    )
  ].map(([, effects, name = '', , event, like, of, body = '']) => ({
    name,
    kinds: effects?.match(/\w+/g) ?? [event ?? like ?? ''],
    of,
    body
  }))
  const like = (record: string): string[] =>
    /^EF_(UDP_OPEN|PING_OPEN|SPLICE)$/.test(record) ? [said(record), said('EF_TCP_CONNECT')] : [said(record)]

  test('of every record that has words', () => {
    const seen = new Set<string>()
    for (const s of structs) {
      if (s.kinds[0] === '') continue
      const body = s.of === undefined ? s.body : (structs.find((b) => b.name === s.of)?.body ?? '')
      const texts = s.kinds.flatMap(like)
      const named = s.of === undefined && agree(s.name, body, 2, texts)
      for (const kind of s.kinds) {
        assert.ok(!seen.has(kind), kind)
        seen.add(kind)
        if (named !== false)
          for (const word of spokenOf(said(kind)))
            assert.ok(named.has(word), `${kind}: word ${word} has no name`)
      }
    }
    assert.ok(seen.size > 40)
    for (const name of numbers.keys())
      if (
        /^(EF|EV)_/.test(name) &&
        !seen.has(name) &&
        ABI.slice(0, ABI.indexOf(`\t${name} = `))
          .trimEnd()
          .endsWith('*/')
      )
        assert.deepEqual(spokenOf(said(name)), [], `${name} has no struct`)
  })
  test('of info, of a listener to be opened, of what migration puts into the slab', () => {
    const body = (name: string): string =>
      new RegExp(`struct ${name} \\{([^}]*)\\}`).exec(RECORDS)?.[1] ?? assert.fail(name)
    assert.equal(agree('Info', body('Info'), 4, [line('info')]).size, 8)
    assert.equal(
      agree('ListenRecord', body('ListenRecord'), 0, [line('Native.listen')]).size,
      abi.LISTEN_WORDS
    )
    for (const [of, name, words] of [
      ['DumpWords', 'dump', abi.DUMP_WORDS],
      ['RestoreWords', 'restore', abi.RESTORE_WORDS]
    ] as const) {
      const named = agree(of, body(of), 0, [line(name)], words)
      assert.equal(named.size, words)
    }
  })
  test('nothing else in the addon counts words', () => {
    const dir = join(ROOT, 'native/addon')
    for (const file of readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
      if (!/\.(cc|h)$/.test(file) || file === 'records.h') continue
      const text = readFileSync(join(dir, file), 'utf8')
      const counted =
        /\b(e|r|words|effect|effects|event|events)(\[[^\]]*\])?\[\d+\]|\b(post|add|event)(<[^>]*>)?\([^()]*\)\[/.exec(
          text
        )
      assert.equal(counted?.[0], undefined, file)
    }
  })
})
