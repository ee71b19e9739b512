import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { instant } from '../src/effects/effect.js'
import {
  guestLinkMachine,
  type LinkEffect,
  type LinkEvent,
  MESSAGE_PERIOD
} from '../src/machines/link/guest-link.js'
import { compile } from '../src/runtime/machine/compile.js'
import { sameAsXstate, untilAllTaken } from './same-as-xstate.js'

const machine = compile<typeof guestLinkMachine, LinkEffect>(guestLinkMachine)
const now = fc.nat(50_000).map((n) => instant(n))
const record = <T extends object>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record<T>(model, { noNullPrototype: true })
const client = record({
  type: fc.constant('CLIENT' as const),
  fd: fc.integer({ min: 3, max: 20 }),
  pid: fc.nat(99),
  hungUp: fc.boolean(),
  now
})
const end: fc.Arbitrary<LinkEvent> = fc.oneof(
  record({ type: fc.constant('CLIENT_GONE' as const), errno: fc.constantFrom(0, 32, 104) }),
  record({ type: fc.constant('BROKEN' as const), why: fc.constantFrom('this', 'that'), now })
)
const given = record({ type: fc.constant('FD_GIVEN' as const), fd: fc.constant(3) })
const moved = record({ type: fc.constant('GUEST_MOVED' as const) })
const event: fc.Arbitrary<LinkEvent> = fc.oneof(
  { weight: 8, arbitrary: fc.oneof(client, client, end, given) },
  { weight: 1, arbitrary: moved }
)
const input = record({ oneOff: fc.boolean() })

/** The guest was moved before its client's end. */
const movedFirst = (events: ReadonlyArray<LinkEvent>): boolean => {
  const at = events.findIndex((e) => ['GUEST_MOVED', 'CLIENT_GONE', 'BROKEN'].includes(e.type))
  return events[at]?.type === 'GUEST_MOVED'
}
/** A run: the machine's states and what each event led to. */
const run = (oneOff: boolean, events: ReadonlyArray<LinkEvent>) => {
  let s = machine.start({ oneOff }, [])
  return events.map((e) => {
    const before = machine.value(s)
    const effects: LinkEffect[] = []
    s = machine.step(s, e, effects)
    return { e, before, after: machine.value(s), effects }
  })
}

describe('guest link', () => {
  test('compiled = xstate', () =>
    untilAllTaken(guestLinkMachine, () => sameAsXstate(guestLinkMachine, input, event)))
  test('every client offered is used or refused once, unless the program ends', () =>
    fc.assert(
      fc.property(input, fc.array(event, { maxLength: 40 }), ({ oneOff }, raw) => {
        // as native does: descriptors of their own, nobody offered while one waits
        let fd = 100
        const undecided = new Set<number>()
        let s = machine.start({ oneOff }, [])
        let used = -1
        for (const one of raw) {
          if (one.type === 'FD_GIVEN' || (one.type === 'CLIENT' && undecided.size > 0)) continue
          const e = one.type === 'CLIENT' ? { ...one, fd: fd++ } : one
          if (e.type === 'CLIENT') undecided.add(e.fd)
          const effects: LinkEffect[] = []
          s = machine.step(s, e, effects)
          for (const x of effects) {
            if (x.type === 'LinkUse' || x.type === 'LinkRefuse')
              assert.ok(undecided.delete(x.fd), `${x.fd} again`)
            if (x.type === 'LinkUse') used = x.fd
            if (x.type === 'LinkClose') used = -1
          }
          const value = machine.value(s)
          assert.equal(used >= 0, value === 'connected' || value === 'handingOver')
          if (value === 'gone') return // native gives back what waits
          assert.equal(undecided.size, value === 'handingOver' ? 1 : 0)
        }
      })
    ))
  test('whoever is used is asked for its addresses, and nobody else is', () =>
    fc.assert(
      fc.property(input, fc.array(event, { maxLength: 30 }), ({ oneOff }, events) => {
        for (const { effects } of run(oneOff, events)) {
          const types = effects.map((x) => x.type)
          assert.equal(types.includes('LinkUp'), types.includes('LinkUse'))
          assert.ok(!types.includes('LinkUp') || types.indexOf('LinkUse') < types.indexOf('LinkUp'))
        }
      })
    ))
  test('who comes next inherits nothing: its predecessor is down before it is used', () =>
    fc.assert(
      fc.property(input, fc.array(event, { maxLength: 30 }), ({ oneOff }, events) => {
        let up = false
        for (const x of run(oneOff, events).flatMap((r) => r.effects)) {
          if (x.type === 'LinkUse') assert.ok(!up, 'the one before it is still up')
          if (x.type === 'LinkUp') up = true
          if (x.type === 'LinkDown') up = false
        }
      })
    ))
  test('one-off: the end of the first client is the end, unless its guest was moved; else never', () =>
    fc.assert(
      fc.property(
        input,
        client,
        fc.array(event, { maxLength: 30 }),
        end,
        ({ oneOff: given }, first, events, last) => {
          const oneOff = given && !movedFirst(events)
          const steps = run(given, [first, ...events, last])
          const ended = steps.find((r) => r.e.type === 'CLIENT_GONE' || r.e.type === 'BROKEN')
          assert.equal(ended?.after === 'gone', oneOff)
          assert.equal(steps.filter((r) => r.before !== 'gone' && r.after === 'gone').length, oneOff ? 1 : 0)
        }
      )
    ))
  test('broken clients and refusals are news once in ten seconds', () => {
    for (const kind of ['BROKEN', 'CLIENT'] as const) {
      const at = (t: number): LinkEvent =>
        kind === 'CLIENT'
          ? { type: 'CLIENT', fd: 9, pid: 1, hungUp: false, now: instant(t) }
          : { type: 'BROKEN', why: 'this', now: instant(t) }
      const hello: LinkEvent = { type: 'CLIENT', fd: 8, pid: 1, hungUp: false, now: instant(0) }
      const times = [0, 1, MESSAGE_PERIOD - 1, MESSAGE_PERIOD, MESSAGE_PERIOD + 1]
      const events = times.flatMap((t) => (kind === 'CLIENT' ? [at(t)] : [at(t), hello]))
      const said = run(false, [hello, ...events]).flatMap((r) =>
        r.effects.filter((x) => x.type === 'LinkSay').filter((x) => x.what !== 'accepted')
      )
      assert.deepEqual(
        said.map((x) => x.again),
        [false, true, true, false, true]
      )
    }
  })
})
