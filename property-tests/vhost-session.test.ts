import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  type RingAddresses,
  VHOST_ID,
  VHOST_RINGS,
  VhostMessage,
  type VhostReply,
  type VhostRequest
} from '../src/codecs/control/vhost-user.js'
import { octets } from '../src/codecs/value/octets.js'
import { vhostEvents } from '../src/machines/link/vhost-events.js'
import {
  inForce,
  OFFERS,
  type RingMode,
  type VhostEffect,
  type VhostEvent,
  type VhostOffer,
  vhostSessionMachine
} from '../src/machines/link/vhost-session.js'
import { compile } from '../src/runtime/machine/compile.js'
import { readable, sameAsXstate, untilAllTaken } from './same-as-xstate.js'
import { arbFeatures, arbVhostMessage } from './vhost-arbitraries.js'

const machine = compile<typeof vhostSessionMachine, VhostEffect>(vhostSessionMachine)
const offer = fc.constantFrom(OFFERS.all, OFFERS.upstream)
const ENOMEM = 12

// --- native, as far as the session needs it, and what the session did with it

class Bed {
  state
  readonly replies: VhostReply[] = []
  readonly open = new Set<number>()
  modes: RingMode[] = []
  addresses: (RingAddresses | null)[] = []
  bases: number[] = []
  features = 0n
  usable = false
  broken = 0
  dealt = 0
  transfers = 0
  resumed = 0
  readonly checks: boolean[] = []
  /** Kinds of effects. */
  readonly told: string[] = []
  /** What native has to say; one errno for all that the message asks for. */
  private readonly results: VhostEvent[] = []
  errno = 0
  constructor(readonly offer: VhostOffer) {
    this.state = machine.start({ offer }, [])
    this.clear()
  }
  private clear(): void {
    this.modes = Array.from({ length: VHOST_RINGS }, () => 'stopped')
    this.addresses = Array.from({ length: VHOST_RINGS }, () => null)
    this.bases = Array.from({ length: VHOST_RINGS }, () => 0)
    this.features = 0n
    this.results.length = 0
  }
  private take(fd: number | null): void {
    if (fd !== null) assert.ok(this.open.delete(fd), `descriptor ${fd} again, or nobody's`)
  }
  private done(): void {
    this.results.push({ type: 'DONE', errno: this.errno })
  }
  private carryOut(e: VhostEffect): void {
    this.told.push(e.type)
    switch (e.type) {
      case 'VhostDealt':
        this.dealt++
        if (e.reply !== null) this.replies.push(e.reply)
        return
      case 'VhostFeatures':
        this.features = e.features
        return
      case 'VhostMemory':
        assert.equal(e.fds.length, e.regions.length)
        for (const fd of e.fds) this.take(fd)
        return this.done()
      case 'VhostAddRegion':
        this.take(e.fd)
        return this.done()
      case 'VhostLog':
        this.take(e.fd)
        return this.done()
      case 'VhostRemoveRegion':
        return this.done()
      case 'VringAddr':
        assert.ok(e.entries > 0)
        if (this.errno === 0)
          this.addresses[e.ring] = {
            logged: e.logged,
            desc: e.desc,
            used: e.used,
            avail: e.avail,
            log: e.log
          }
        return this.done()
      case 'VhostLogFd':
      case 'VringFd':
        return this.take(e.fd)
      case 'VringBase':
        this.bases[e.ring] = e.next
        return
      case 'VringRun':
        this.modes[e.ring] = e.mode
        return
      case 'VringStop':
        this.modes[e.ring] = 'stopped'
        this.results.push({ type: 'VRING_STOPPED', ring: e.ring, next: this.bases[e.ring]! })
        return
      case 'VhostCloseFds':
        for (const fd of e.fds) this.take(fd)
        return
      case 'VhostRx':
        this.usable = e.usable
        return
      case 'VhostBroken':
        this.broken++
        return this.clear()
      case 'StateTransfer':
        this.transfers++
        return this.take(e.fd)
      case 'StateChecked':
        this.checks.push(e.ok)
        return
      case 'StateResumed':
        this.resumed++
        return
      case 'VhostUnknown':
      case 'VhostFailed':
        return
    }
  }
  step(e: VhostEvent): void {
    const out: VhostEffect[] = []
    this.state = machine.step(this.state, e, out)
    for (const one of out) this.carryOut(one)
    if (e.type === 'DISCONNECTED') this.clear()
  }
  /** Until nothing more comes of it. */
  settle(): void {
    for (let e = this.results.shift(); e !== undefined; e = this.results.shift()) this.step(e)
  }
  get value(): string {
    return machine.value(this.state)
  }
}

// --- the model: what vhost-user.rst says of each message, without a word on how

interface ModelRing {
  started: boolean
  enabled: boolean
  entries: number
  base: number
  told: RingAddresses | null
}
const newRings = (): ModelRing[] =>
  Array.from({ length: VHOST_RINGS }, () => ({
    started: false,
    enabled: false,
    entries: 0,
    base: 0,
    told: null
  }))
class Model {
  connected = false
  features = 0n
  memory = false
  /** A failure may leave a ring without its addresses. */
  anyFailed = false
  rings = newRings()
  /** Rings whose addresses came before their size or the memory. */
  readonly waiting = new Set<number>()
  /** Of the guest's state: transfers that began, whether one runs, how the last one went, and if it was a save. */
  transfers = 0
  running = false
  outcome: boolean | null = null
  saved = false
  /** The last transfer was one. */
  saving = false
  resumed = 0
  /** CHECK_DEVICE_STATE waits for its answer. */
  checking = false
  constructor(readonly offer: VhostOffer) {}
  leave(connected: boolean): void {
    this.connected = connected
    this.features = 0n
    this.memory = false
    this.anyFailed = false
    this.rings = newRings()
    this.waiting.clear()
    this.stays()
    this.checking = false
  }
  /** No transfer counts any more. */
  stays(): void {
    this.running = false
    this.outcome = null
    this.saved = false
  }
  mode(r: ModelRing): RingMode {
    return r.started ? (r.enabled ? 'enabled' : 'disabled') : 'stopped'
  }
  /** Native is asked to do something about it. */
  works(m: VhostRequest): boolean {
    if (m.type === 'SET_VRING_ADDR') return this.memory && this.rings[m.ring]!.entries > 0
    if (m.type === 'SET_VRING_NUM') return this.memory && this.pending(m.ring)
    return ['SET_MEM_TABLE', 'ADD_MEM_REG', 'REM_MEM_REG', 'SET_LOG_BASE'].includes(m.type)
  }
  pending(ring: number): boolean {
    return this.waiting.has(ring)
  }
  /** `ends`: the session is over. */
  receive(
    m: VhostMessage,
    errno: number
  ): { readonly reply: bigint | 'base' | null; readonly ends: boolean } {
    const own = (v: bigint) => ({ reply: v, ends: false })
    const acked = (v = 0n) => ({ reply: m.needReply ? v : null, ends: false })
    const failed = errno !== 0 && this.works(m)
    switch (m.type) {
      case 'GET_FEATURES':
        return own(this.offer.features)
      case 'GET_PROTOCOL_FEATURES':
        return own(this.offer.protocol)
      case 'GET_QUEUE_NUM':
        return own(1n)
      case 'GET_MAX_MEM_SLOTS':
        return own(32n)
      case 'SET_DEVICE_STATE_FD': {
        const stopped = this.rings.every((r) => !r.started)
        if (m.phase !== 0 || m.direction > 1 || this.running || !stopped) return own(0x101n)
        this.transfers++
        this.running = true
        this.outcome = null
        this.saving = m.direction === 0
        this.saved ||= this.saving
        return own(0x100n)
      }
      case 'CHECK_DEVICE_STATE':
        this.checking = this.running
        return this.running ? { reply: null, ends: false } : own(this.outcome === true ? 0n : 1n)
      case 'OTHER':
        return acked(1n)
      case 'SET_FEATURES':
        if (((m.features >> 32n) & 1n) === 0n) return { reply: null, ends: true }
        this.features = inForce(this.offer, m.features)
        if (((m.features >> 30n) & 1n) === 0n) for (const r of this.rings) r.enabled = true
        return acked()
      case 'SET_VRING_ENABLE':
        this.rings[m.ring]!.enabled = m.enable
        return acked()
      case 'SET_VRING_KICK':
        this.rings[m.ring]!.started = true
        if (this.saved) {
          this.resumed++
          if (this.saving) this.stays()
          this.saved = false
        }
        return acked()
      case 'GET_VRING_BASE':
        this.rings[m.ring]!.started = false
        return { reply: 'base', ends: false }
      case 'SET_VRING_BASE':
        this.rings[m.ring]!.base = m.next
        return acked()
      case 'SET_LOG_BASE':
        return { reply: failed ? null : 0n, ends: failed }
      case 'SET_VRING_ADDR':
      case 'SET_VRING_NUM':
      case 'SET_MEM_TABLE':
      case 'ADD_MEM_REG':
      case 'REM_MEM_REG':
        if (m.type === 'SET_VRING_NUM') this.rings[m.ring]!.entries = m.entries
        if (m.type === 'SET_VRING_ADDR') {
          this.rings[m.ring]!.told = m.addresses
          this.waiting.add(m.ring)
        }
        if (failed) {
          this.anyFailed = true
          // Native was given the addresses, and nobody keeps those that it refused
          if (m.type === 'SET_VRING_ADDR' || m.type === 'SET_VRING_NUM') this.waiting.delete(m.ring)
          return { reply: m.needReply ? 1n : null, ends: !m.needReply }
        }
        if (m.type === 'SET_MEM_TABLE' || m.type === 'ADD_MEM_REG') this.memory = true
        for (const ring of [...this.waiting])
          if (this.memory && this.rings[ring]!.entries > 0) this.waiting.delete(ring)
        return acked()
      default:
        return acked()
    }
  }
}

type Command =
  | { readonly do: 'connect' | 'leave' }
  | {
      readonly do: 'message'
      readonly m: VhostMessage
      readonly fds: 'right' | number
      readonly spoilt: boolean
      readonly errno: number
    }
  | { readonly do: 'break'; readonly ring: number }
  | { readonly do: 'transferred'; readonly ok: boolean }
/** Both rings stop, the state moves: requests that chance brings together too seldom. */
const arbTransfer: fc.Arbitrary<VhostMessage> = fc.oneof(
  fc.tuple(fc.nat(2), fc.constantFrom(0, 0, 0, 1)).map(
    ([direction, phase]): VhostMessage => ({
      type: 'SET_DEVICE_STATE_FD',
      direction,
      phase,
      needReply: false
    })
  ),
  fc.constant<VhostMessage>({ type: 'CHECK_DEVICE_STATE', needReply: false }),
  fc.nat(VHOST_RINGS - 1).map((ring): VhostMessage => ({ type: 'GET_VRING_BASE', ring, needReply: false })),
  fc
    .nat(VHOST_RINGS - 1)
    .map((ring): VhostMessage => ({ type: 'SET_VRING_KICK', ring, none: true, needReply: false }))
)
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 1, arbitrary: fc.constantFrom<Command>({ do: 'connect' }, { do: 'leave' }) },
  { weight: 1, arbitrary: fc.nat(VHOST_RINGS - 1).map((ring): Command => ({ do: 'break', ring })) },
  { weight: 3, arbitrary: fc.boolean().map((ok): Command => ({ do: 'transferred', ok })) },
  {
    weight: 30,
    arbitrary: fc
      .tuple(
        fc.oneof({ weight: 6, arbitrary: arbVhostMessage(3) }, { weight: 1, arbitrary: arbTransfer }),
        fc.oneof({ weight: 20, arbitrary: fc.constant('right' as const) }, fc.nat(3)),
        fc.nat(40).map((n) => n === 0),
        fc.nat(8).map((n) => (n === 0 ? ENOMEM : 0))
      )
      .map(([m, fds, spoilt, errno]): Command => ({ do: 'message', m, fds, spoilt, errno }))
  }
)

/** Messages that take none have no wrong number of descriptors. */
const wanted = (m: VhostRequest): number => {
  if (m.type === 'SET_MEM_TABLE') return m.regions.length
  if ('none' in m) return m.none ? 0 : 1
  return ['SET_LOG_BASE', 'SET_LOG_FD', 'ADD_MEM_REG', 'SET_DEVICE_STATE_FD'].includes(m.type) ? 1 : 0
}

const replyOf = (r: VhostReply): readonly [number, bigint] =>
  r.type === 'VALUE' ? [r.id, r.value] : [VHOST_ID.GET_VRING_BASE, BigInt(r.next)]

const check = (given: VhostOffer, commands: ReadonlyArray<Command>): void => {
  const bed = new Bed(given)
  const model = new Model(given)
  let nextFd = 3
  for (const c of commands) {
    const before = { replies: bed.replies.length, dealt: bed.dealt, broken: bed.broken }
    bed.errno = c.do === 'message' ? c.errno : 0
    let want: { readonly reply: bigint | 'base' | null; readonly ends: boolean } | null = null
    let asked: VhostMessage | null = null
    if (c.do === 'message') {
      // in lock-step: the next one comes when this one is dealt with
      if (model.checking) continue
      const n = c.fds === 'right' ? wanted(c.m) : c.fds
      const fds = Array.from({ length: n }, () => nextFd++)
      for (const fd of fds) bed.open.add(fd)
      const raw = VhostMessage.encode(c.m)
      if (c.spoilt) raw[4] = 2
      for (const e of vhostEvents(octets(raw), fds, false)) bed.step(e)
      bed.settle()
      if (model.connected) {
        const wrong = c.spoilt || (wanted(c.m) > 0 && n !== wanted(c.m))
        want = wrong ? { reply: null, ends: true } : model.receive(c.m, c.errno)
        asked = c.m
        if (want.ends) model.leave(false)
      } else assert.equal(bed.dealt, before.dealt)
    } else if (c.do === 'transferred') {
      if (!model.running) continue
      bed.step({ type: 'TRANSFER_DONE', ok: c.ok })
      model.running = false
      model.outcome = c.ok
      if (model.checking) {
        model.checking = false
        assert.deepEqual(bed.replies.slice(before.replies).map(replyOf), [[43, c.ok ? 0n : 1n]])
        assert.equal(bed.checks.at(-1), c.ok)
      }
    } else if (c.do !== 'break') {
      if ((c.do === 'connect') === model.connected) continue
      bed.step({ type: c.do === 'connect' ? 'CONNECTED' : 'DISCONNECTED' })
      model.leave(c.do === 'connect')
    } else {
      const runs = model.connected && model.rings[c.ring]!.started
      bed.step({ type: 'VRING_BROKEN', ring: c.ring, reason: 1, detail: 7 })
      assert.equal(bed.broken - before.broken, runs ? 1 : 0)
      if (runs) model.leave(false)
    }
    // Every descriptor that came has gone one way
    assert.deepEqual([...bed.open], [])
    const value = model.checking ? 'session.checking' : model.connected ? 'session.serving' : 'idle'
    assert.equal(bed.value, value)
    assert.equal(bed.transfers, model.transfers)
    assert.equal(bed.resumed, model.resumed)
    if (asked !== null && want !== null) {
      // Each message is dealt with once, or the last one of its session
      assert.equal(bed.dealt - before.dealt, want.ends || model.checking ? 0 : 1)
      assert.equal(bed.broken - before.broken, want.ends ? 1 : 0)
      const base = 'ring' in asked ? BigInt(model.rings[asked.ring]?.base ?? 0) : 0n
      const reply = want.reply === 'base' ? base : want.reply
      const id = asked.type === 'OTHER' ? asked.id : VHOST_ID[asked.type]
      assert.deepEqual(bed.replies.slice(before.replies).map(replyOf), reply === null ? [] : [[id, reply]])
    }
    assert.deepEqual(
      bed.modes,
      model.rings.map((r) => model.mode(r))
    )
    assert.equal(bed.features, model.features)
    assert.equal(bed.usable, model.mode(model.rings[0]!) === 'enabled')
    if (!model.anyFailed)
      assert.deepEqual(
        bed.addresses,
        model.rings.map((r, i) => (model.pending(i) ? bed.addresses[i] : r.told))
      )
  }
}

// --- any events, in and out of turn

const fd = fc.integer({ min: 3, max: 20 })
const arbRequest = arbVhostMessage(2).map((m): VhostEvent => {
  const fds = Array.from({ length: wanted(m) }, (_, i) => 3 + i)
  return { ...m, fds }
})
const arbEvent: fc.Arbitrary<VhostEvent> = fc.oneof(
  {
    weight: 3,
    arbitrary: arbTransfer.map((m): VhostEvent => {
      const fds = Array.from({ length: wanted(m) }, (_, i) => 3 + i)
      return { ...m, fds }
    })
  },
  { weight: 3, arbitrary: fc.boolean().map((ok): VhostEvent => ({ type: 'TRANSFER_DONE', ok })) },
  { weight: 30, arbitrary: arbRequest },
  {
    weight: 20,
    arbitrary: fc.constantFrom(0, 0, 0, ENOMEM).map((errno): VhostEvent => ({ type: 'DONE', errno }))
  },
  {
    weight: 5,
    arbitrary: fc
      .tuple(fc.nat(1), fc.nat(9))
      .map(([ring, next]): VhostEvent => ({ type: 'VRING_STOPPED', ring, next }))
  },
  {
    weight: 2,
    arbitrary: fc.nat(1).map((ring): VhostEvent => ({ type: 'VRING_BROKEN', ring, reason: 2, detail: 9 }))
  },
  {
    weight: 1,
    arbitrary: fc.oneof(
      fc.constantFrom<VhostEvent>({ type: 'CONNECTED' }, { type: 'DISCONNECTED' }),
      fc.array(fd, { maxLength: 3 }).map((fds): VhostEvent => ({ type: 'SPARE_FDS', fds })),
      fc.array(fd, { maxLength: 3 }).map((fds): VhostEvent => ({ type: 'MALFORMED', text: 'x', fds }))
    )
  }
)

describe('vhost-user session', () => {
  test('compiled = xstate', () =>
    untilAllTaken(vhostSessionMachine, () =>
      sameAsXstate(vhostSessionMachine, fc.record({ offer }), arbEvent, {
        prefix: fc.constantFrom<readonly VhostEvent[]>([], [{ type: 'CONNECTED' }])
      })
    ))
  test('replies, ring modes, features, descriptors: as the model says, for messages in any order', () =>
    fc.assert(
      fc.property(offer, fc.array(command, { maxLength: 60, size: 'max' }), (given, commands) => {
        try {
          check(given, [{ do: 'connect' }, ...commands])
        } catch (e) {
          throw new Error(`${commands.map(readable).join('\n')}\n${e instanceof Error ? e.message : e}`)
        }
      }),
      { numRuns: 1000 }
    ))
  test('nothing is in force that was not offered, nor a segment to be summed by a guest without checksums', () =>
    fc.assert(
      fc.property(offer, arbFeatures, (given, asked) => {
        const f = inForce(given, asked)
        assert.equal(f & ~given.features, 0n)
        assert.equal(f & ~asked, 0n)
        if (((f >> 1n) & 1n) === 0n) for (const bit of [7n, 8n, 54n, 55n]) assert.equal((f >> bit) & 1n, 0n)
      })
    ))
  test('what is offered, in numbers', () => {
    assert.deepEqual(OFFERS.upstream, { features: 0x144008002n, protocol: 0x8000en })
    assert.equal(OFFERS.all.protocol, 0x8800en)
    const listed = [0, 1, 7, 8, 11, 12, 15, 26, 28, 29, 30, 32, 54, 55, 56]
    assert.equal(
      OFFERS.all.features,
      listed.reduce((w, bit) => w | (1n << BigInt(bit)), 0n)
    )
  })
})

describe('what users of other back-ends met', () => {
  /** A session, and what each message leads to. */
  const session = () => {
    const bed = new Bed(OFFERS.all)
    bed.step({ type: 'CONNECTED' })
    let next = 3
    const say = (m: VhostRequest, needReply = false): readonly VhostReply[] => {
      const fds = Array.from({ length: wanted(m) }, () => next++)
      for (const one of fds) bed.open.add(one)
      const before = bed.replies.length
      bed.told.length = 0
      bed.step({ ...m, needReply, fds } as VhostEvent)
      bed.settle()
      return bed.replies.slice(before)
    }
    return { bed, say }
  }
  const kick = { type: 'SET_VRING_KICK', ring: 1, none: false } as const
  const enable = (on: boolean) => ({ type: 'SET_VRING_ENABLE', ring: 1, enable: on }) as const
  const stop = { type: 'GET_VRING_BASE', ring: 1 } as const

  test('GET_QUEUE_NUM is pairs (regression-V6); SEND_RARP is offered, and accepted (regression-V7)', () => {
    const { say } = session()
    assert.deepEqual(say({ type: 'GET_QUEUE_NUM' }), [{ type: 'VALUE', id: 17, value: 1n }])
    for (const { protocol } of Object.values(OFFERS)) assert.equal((protocol >> 2n) & 1n, 1n)
    assert.deepEqual(say({ type: 'SEND_RARP', mac: 1 }, true), [{ type: 'VALUE', id: 19, value: 0n }])
  })
  test('a kick does not disable (regression-V14), nor do features; a ring is looked at on start and on enable (regression-V15)', () => {
    const { bed, say } = session()
    say(enable(true))
    say(kick)
    assert.deepEqual([bed.modes[1], bed.told], ['enabled', ['VringFd', 'VringRun', 'VhostRx', 'VhostDealt']])
    say({ type: 'SET_FEATURES', features: (1n << 32n) | (1n << 30n) })
    assert.equal(bed.modes[1], 'enabled')
    const late = session()
    late.say(kick)
    assert.equal(late.bed.modes[1], 'disabled')
    late.say(enable(true))
    assert.deepEqual([late.bed.modes[1], late.bed.told[0]], ['enabled', 'VringRun'])
  })
  test('GET_VRING_BASE tells the index and resets nothing, not even the enable flag (regression-V12)', () => {
    const { bed, say } = session()
    say({ type: 'SET_VRING_BASE', ring: 1, next: 65530 })
    say(enable(true))
    say(kick)
    for (let i = 0; i < 3; i++) {
      assert.deepEqual(say(stop), [{ type: 'VRING_BASE', ring: 1, next: 65530 }])
      assert.deepEqual([bed.modes[1], bed.told], ['stopped', ['VringStop', 'VhostRx', 'VhostDealt']])
    }
    say(kick)
    assert.equal(bed.modes[1], 'enabled')
  })
  test('disabled before it is stopped (regression-V16); the base is what was said last (regression-V17)', () => {
    const { bed, say } = session()
    say({ type: 'SET_VRING_BASE', ring: 1, next: 7 })
    say(kick)
    say(enable(true))
    say(enable(false))
    assert.deepEqual(say(stop), [{ type: 'VRING_BASE', ring: 1, next: 7 }])
    say({ type: 'SET_VRING_BASE', ring: 1, next: 0 })
    assert.equal(bed.bases[1], 0)
  })
  test('stopped until the kick descriptor comes, and again when it is stopped (regression-V18)', () => {
    const { bed, say } = session()
    say({ type: 'SET_VRING_NUM', ring: 1, entries: 256 })
    say(enable(true))
    say({ type: 'SET_VRING_CALL', ring: 1, none: false })
    assert.equal(bed.modes[1], 'stopped')
    say(kick)
    say(stop)
    say({ type: 'SET_VRING_CALL', ring: 1, none: false })
    assert.equal(bed.modes[1], 'stopped')
  })
})
