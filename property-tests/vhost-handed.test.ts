// A vhost-user session for a process that takes another one's place (behaviour.md#restart): the requests that it is told by.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  descriptorsOf,
  type MemoryRegion,
  VHOST_RINGS,
  VhostMessage,
  type VhostRequest
} from '../src/codecs/control/vhost-user.js'
import { octets } from '../src/codecs/value/octets.js'
import { vhostEvents } from '../src/machines/link/vhost-events.js'
import {
  type HeldFd,
  type HeldRing,
  type HeldSession,
  mayBeHanded,
  requestsOf,
  startsRing,
  staysHere
} from '../src/machines/link/vhost-handed.js'
import {
  OFFERS,
  type RingFd,
  type RingMode,
  type VhostEffect,
  type VhostEvent,
  vhostSessionMachine
} from '../src/machines/link/vhost-session.js'
import { compile } from '../src/runtime/machine/compile.js'
import { arbVhostMessage } from './vhost-arbitraries.js'

const machine = compile<typeof vhostSessionMachine, VhostEffect>(vhostSessionMachine)
const ENOENT = 2

interface NativeRing {
  place: HeldRing['place']
  next: number
  readonly fds: Record<RingFd, number | null>
  mode: RingMode
}
/** A session, and what native has of it. */
class Session {
  state = machine.start({ offer: OFFERS.all }, [])
  features = 0n
  regions: { readonly region: MemoryRegion; readonly fd: number }[] = []
  log: { readonly size: bigint; readonly offset: bigint; readonly fd: number } | null = null
  logFd: number | null = null
  readonly rings: NativeRing[] = Array.from({ length: VHOST_RINGS }, () => ({
    place: null,
    next: 0,
    fds: { kick: null, call: null, err: null },
    mode: 'stopped'
  }))
  replies = 0
  private results: VhostEvent[] = []
  constructor() {
    this.step({ type: 'CONNECTED' })
  }
  private done(errno = 0): void {
    this.results.push({ type: 'DONE', errno })
  }
  private carryOut(e: VhostEffect): void {
    switch (e.type) {
      case 'VhostDealt':
        if (e.reply !== null) this.replies++
        return
      case 'VhostFeatures':
        this.features = e.features
        return
      case 'VhostMemory':
        this.regions = e.regions.map((region, i) => ({ region, fd: e.fds[i]! }))
        return this.done()
      case 'VhostAddRegion':
        this.regions.push({ region: e.region, fd: e.fd })
        return this.done()
      case 'VhostRemoveRegion': {
        const i = this.regions.findIndex(
          ({ region: r }) => r.gpa === e.region.gpa && r.size === e.region.size && r.user === e.region.user
        )
        if (i >= 0) this.regions.splice(i, 1)
        return this.done(i < 0 ? ENOENT : 0)
      }
      case 'VhostLog':
        this.log = { size: e.size, offset: e.offset, fd: e.fd }
        return this.done()
      case 'VhostLogFd':
        this.logFd = e.fd
        return
      case 'VringAddr': {
        const { logged, desc, used, avail, log, entries } = e
        this.rings[e.ring]!.place = { entries, addresses: { logged, desc, used, avail, log } }
        return this.done()
      }
      case 'VringBase':
        this.rings[e.ring]!.next = e.next
        return
      case 'VringFd':
        this.rings[e.ring]!.fds[e.which] = e.fd
        return
      case 'VringRun':
        this.rings[e.ring]!.mode = e.mode
        return
      case 'VringStop':
        this.rings[e.ring]!.mode = 'stopped'
        this.results.push({ type: 'VRING_STOPPED', ring: e.ring, next: this.rings[e.ring]!.next })
        return
      default:
        return
    }
  }
  step(e: VhostEvent): void {
    const out: VhostEffect[] = []
    this.state = machine.step(this.state, e, out)
    for (const one of out) this.carryOut(one)
    for (let next = this.results.shift(); next !== undefined; next = this.results.shift()) this.step(next)
  }
  get isServing(): boolean {
    return machine.value(this.state) === 'session.serving'
  }
  held(): HeldSession {
    return {
      features: this.features,
      regions: this.regions.map(({ region }) => region),
      log: this.log === null ? null : { size: this.log.size, offset: this.log.offset },
      logFd: this.logFd !== null,
      rings: this.rings.map(({ place, next, fds: { kick, call, err } }) => ({
        place,
        next,
        fds: { kick: kick !== null, call: call !== null, err: err !== null }
      }))
    }
  }
  fdOf(f: HeldFd): number {
    switch (f.of) {
      case 'region':
        return this.regions[f.place]!.fd
      case 'log':
        return this.log!.fd
      case 'logFd':
        return this.logFd!
      default:
        return this.rings[f.ring]!.fds[f.of]!
    }
  }
  /** All that there is to know; a stopped ring's kick counts no more. */
  known(): unknown {
    const { features, regions, log, logFd, replies: _, state } = this
    const rings = this.rings.map(({ fds, ...r }) => ({
      ...r,
      fds: r.mode === 'stopped' ? { ...fds, kick: null } : fds
    }))
    return { features, regions, log, logFd, rings, session: { ...state.context.rings } }
  }
}

const MEMORY: VhostRequest = {
  type: 'ADD_MEM_REG',
  region: { gpa: 0n, size: 1n << 30n, user: 0x7f00_0000_0000n, offset: 0n }
}
/** A session after some messages of a front-end's, which began as most do. */
const arbSession = fc
  .tuple(fc.boolean(), fc.array(arbVhostMessage(3), { maxLength: 60 }))
  .map(([usual, messages]) => {
    const s = new Session()
    let fd = 10
    const first: VhostMessage[] = usual
      ? [
          { type: 'SET_FEATURES', features: OFFERS.all.features, needReply: false },
          { ...MEMORY, needReply: false }
        ]
      : []
    for (const m of [...first, ...messages]) {
      // What ends the session, or its front-end waits for: not what this is about
      if (m.type === 'SET_DEVICE_STATE_FD' || m.type === 'CHECK_DEVICE_STATE') continue
      const legacy = m.type === 'SET_FEATURES' && (m.features & (1n << 32n)) === 0n
      if (legacy) continue
      const fds = Array.from({ length: descriptorsOf(m) }, () => fd++)
      s.step({ ...m, needReply: true, fds })
    }
    return s
  })
  // Native lets no ring run whose memory is gone
  .filter((s) => s.isServing && (s.regions.length > 0 || !s.state.context.memory))

/** A new session that is told of `s`, up to where its rings would run; and the rest. */
const handed = (s: Session): readonly [Session, () => void] => {
  const to = new Session()
  const all = requestsOf(s.held(), s.state.context.rings).map(
    ({ message, fds }) => [VhostMessage.encode(message), fds.map((f) => s.fdOf(f))] as const
  )
  const events = all.flatMap(([o, fds]) => vhostEvents(octets(o), fds, false))
  for (const e of events) if (!startsRing(e.type)) to.step(e)
  return [
    to,
    () => {
      for (const e of events) if (startsRing(e.type)) to.step(e)
    }
  ]
}

describe('a session for another process', () => {
  test('law: told by its requests it is the same, with the same descriptors, and no ring runs before the last ones', () =>
    fc.assert(
      fc.property(arbSession, (s) => {
        const [to, start] = handed(s)
        assert.ok(to.rings.every(({ mode }) => mode === 'stopped'))
        assert.ok(to.isServing)
        start()
        assert.ok(to.isServing)
        assert.deepEqual(to.known(), s.known())
        // And of that one it is told by the same
        assert.deepEqual(
          requestsOf(to.held(), to.state.context.rings),
          requestsOf(s.held(), s.state.context.rings)
        )
      }),
      { numRuns: 300 }
    ))
  test('what it is told by a front-end may say, in so many descriptors, and asks for no answer', () =>
    fc.assert(
      fc.property(arbSession, (s) => {
        const all = requestsOf(s.held(), s.state.context.rings)
        for (const { message, fds } of all) {
          assert.ok(mayBeHanded(message.type))
          assert.equal(fds.length, descriptorsOf(message))
          assert.equal(message.needReply, false)
        }
      })
    ))
  test('a guest that is being moved stays where it is', () => {
    const s = new Session()
    const fds = (...list: number[]) => ({ fds: list, needReply: false })
    assert.equal(staysHere(s.state.context), null)
    s.step({ type: 'SET_DEVICE_STATE_FD', direction: 0, phase: 0, ...fds(5) })
    assert.match(staysHere(s.state.context) ?? '', /moved/)
    s.step({ type: 'TRANSFER_DONE', ok: true })
    assert.match(staysHere(s.state.context) ?? '', /moved/)
    s.step({ type: 'SET_VRING_KICK', ring: 0, none: false, ...fds(6) })
    assert.equal(staysHere(s.state.context), null)
    const target = new Session()
    target.step({ type: 'SET_DEVICE_STATE_FD', direction: 1, phase: 0, ...fds(5) })
    target.step({ type: 'TRANSFER_DONE', ok: true })
    assert.match(staysHere(target.state.context) ?? '', /moved/)
    target.step({ type: 'SET_VRING_KICK', ring: 0, none: false, ...fds(6) })
    assert.equal(staysHere(target.state.context), null)
  })
})
