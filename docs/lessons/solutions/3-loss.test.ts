import { strict as assert } from 'node:assert'
import { test } from 'node:test'
import fc from 'fast-check'
import { calm, subject, type TcpState } from '../../../property-tests/tcp-arbitraries.js'
import { type Fate, type Subject, World } from '../../../src/simulator/tcp.js'

// Lesson 3: whatever the link does to frames, both streams arrive, and a segment that stays unanswered is sent after times that double.

/** Five losses: fewer than anybody gives up after. */
const fates = fc
  .array(fc.constantFrom<Fate>('pass', 'pass', 'lose', 'double', { delay: 3 }, { delay: 60 }), {
    maxLength: 40,
    size: 'max'
  })
  .filter((list) => list.filter((f) => f === 'lose').length <= 5)

const property = (machine: Subject<TcpState>) =>
  fc.property(fates, fc.nat(20_000), fc.nat(20_000), (list, guestSends, peerSends) => {
    const guest = { ...calm.guest, sends: guestSends }
    const host = { ...calm.host, sends: peerSends }
    const world = new World(machine, { ...calm, guest, host, fates: list }).run()
    assert(world.complete, 'something is missing at one end')
  })

/** Its timer of retransmissions never fires. */
const patient: Subject<TcpState> = {
  ...subject,
  step: (s, e, out) => (e.type === 'TIMER_RTO' ? s : subject.step(s, e, out))
}

/** ms between what is sent of the same octets, when the link loses all from some time on. */
const intervals = (): number[] => {
  const fates: Fate[] = [...Array<Fate>(5).fill('pass'), ...Array<Fate>(1000).fill('lose')]
  const scenario = { ...calm, guest: { ...calm.guest, sends: 0, closesLast: true }, fates }
  const world = new World(subject, { ...scenario, host: { ...calm.host, sends: 1000 } }).run(60_000)
  const times = world.sent.filter((s) => s.len > 0).map((s) => s.at)
  return times.slice(1).map((at, i) => Math.round(at - times[i]!))
}

test('whatever is lost, doubled or late: both streams arrive', () =>
  fc.assert(property(subject), { numRuns: 50 }))
test('a TCP without its timer is found', () =>
  assert(fc.check(property(patient), { endOnFailure: true }).failed))
test('times between retransmissions double', () => {
  const [first, ...rest] = intervals()
  assert(first! >= 200 && rest.length >= 4, `${[first, ...rest]}`)
  rest.reduce((before, ms) => {
    assert(Math.abs(ms - 2 * before) <= 2, `${ms} ms after ${before} ms`)
    return ms
  }, first!)
})
