import { strict as assert } from 'node:assert'
import { describe, test } from 'node:test'
import { ACK, RST, SYN } from '../src/codecs/wire/tcp.js'
import { type Scenario, World } from '../src/simulator/tcp.js'
import { handedOver, holds, scenario, subject } from './tcp-arbitraries.js'

// World itself holds the machine to: no acknowledgement of octets that the host has not taken, right
// edge never pulled back, nothing beyond the guest's window, octets in place, every schedule ends. A broken promise is
// reported with the list of events that led to it.
const run = (s: Scenario): World<unknown> => {
  const w = new World(subject, s).run()
  // #regression-25
  for (const { flags } of w.sent) assert(flags & (ACK | RST) || flags === SYN, `flags ${flags} without ACK`)
  return w
}
const outcome = (w: World<unknown>): string =>
  `final ${w.final} guest ${w.guest.state} delivered ${w.guest.delivered} host ${w.host.state} received ${w.host.received}` +
  ` at ${w.clock.now}\n${w.clock.trace.slice(-70).join('\n')}`
const runs = Number(process.env.FC_RUNS ?? 250)

describe('TCP between a simulated guest and a simulated host socket', () => {
  test('streams arrive intact and complete, unless more was lost than anybody retries', () => {
    holds(
      scenario(false),
      (s) => {
        const w = run(s)
        const lost = s.fates.filter((f) => f === 'lose').length + s.guest.deaf
        assert(w.bothOver, `not over: ${outcome(w)}`)
        assert(w.complete || (w.reset && lost > 6), `neither complete nor reset: ${outcome(w)}`)
      },
      runs
    )
  })
  test('connections that change hands: streams arrive intact and complete (behaviour.md#migration)', () => {
    let handed = 0
    holds(
      handedOver(scenario(false)),
      (s) => {
        const w = run(s)
        handed += w.handed
        const lost = s.fates.filter((f) => f === 'lose').length + s.guest.deaf
        assert(w.bothOver, `not over: ${outcome(w)}`)
        assert(w.complete || (w.reset && lost > 6), `neither complete nor reset: ${outcome(w)}`)
      },
      2 * runs
    )
    assert(handed > runs / 2, `${handed} in ${2 * runs} runs`)
  })
  test('with resets from either side: complete, or reset on both sides', () => {
    holds(
      scenario(true),
      (s) => {
        const w = run(s)
        assert(w.bothOver, `not over: ${outcome(w)}`)
        const both = (w.host.over || w.state === null) && w.guest.over && !w.guest.complete
        assert(w.complete || both || (w.guest.complete && w.host.over), outcome(w))
      },
      runs
    )
  })
  test('over a sound link nobody times out, however slow the readers', () => {
    const calmLink = scenario(false).map((s) => ({
      ...s,
      fates: [],
      spurious: [],
      guest: { ...s.guest, squeezes: [], rcvBuf: Math.max(4000, s.guest.rcvBuf), deaf: 0 },
      host: { ...s.host, connectMs: 0.1, rtt: Math.min(5, s.host.rtt), tailMax: 1 << 20 }
    }))
    holds(
      calmLink,
      (s) => {
        const w = run(s)
        assert(w.complete, outcome(w))
        assert.equal(w.guest.timeouts, 0, `the guest timed out: ${outcome(w)}`)
        const data = w.sent.filter((f) => f.len > 0)
        const resent = data.filter((f, i) => i > 0 && f.pos !== data[i - 1].pos + data[i - 1].len)
        assert.equal(resent.length, 0, `sent twice: ${outcome(w)}`)
        const syns = w.sent.filter((f) => f.flags & SYN).length
        const most = s.opener === 'host' && s.guest.inward === 'crosses' ? 2 : 1
        assert(syns <= most, `${syns} SYNs: ${outcome(w)}`)
      },
      runs
    )
  })
})
