import { strict as assert } from 'node:assert'
import { test } from 'node:test'
import fc from 'fast-check'
import { Flow, type Happening, INFO, IRS, of } from '../../../property-tests/tcp-flow.js'
import { distance, seq } from '../../../src/codecs/value/seq.js'
import type { Effect } from '../../../src/effects/effect.js'
import { type TcpSpliceContext, tcpSpliceMachine } from '../../../src/machines/flow/tcp-splice.js'
import { compile, type State } from '../../../src/runtime/machine/compile.js'
import { Spliced, type Subject } from '../../../src/simulator/splice.js'

// Lesson 6: nothing is promised that nobody has room for, through the tap and past it.

/** Our window counts in these (RFC 7323), rounded up. */
const UNIT = 256

const round = fc.record({ sends: fc.nat(4000), peerReads: fc.nat(4000) })
const throughTap = (begin: () => Flow) =>
  fc.property(
    fc.integer({ min: 1000, max: 20_000 }),
    fc.array(round, { maxLength: 30 }),
    (sndBuf, rounds) => {
      const flow = begin()
      let queued = 0
      let taken = 0
      let sent = 0
      let offered = 0
      let room = 0
      const info = () => ({ ...INFO, sndBuf, sndFree: sndBuf - queued })
      const look = (effects: Effect[]): Effect[] => {
        room = Math.max(room, taken + sndBuf - queued)
        for (const s of of(effects, 'SegmentToTap')) {
          const edge = distance(s.ack, seq(IRS)) - 1 + (s.mss === null ? s.wnd * UNIT : s.wnd)
          const most = Math.max(offered, room) + UNIT - 1
          assert(edge <= most, `offered up to ${edge}, there is room up to ${room}`)
          offered = Math.max(offered, edge)
        }
        return effects
      }
      look(flow.turn({ type: 'SOCK_CONNECTED', info: info() }))
      look(flow.tap(1, 1))
      for (const { sends, peerReads } of rounds) {
        const len = Math.min(sends, offered - sent)
        for (const { payload } of of(len > 0 ? look(flow.tap(1 + sent, 1, { len })) : [], 'SendToSock')) {
          const n = Math.min(payload.len, sndBuf - queued)
          taken += n
          queued += n
          look(flow.sent(n, { dropped: payload.len - n, info: info() }))
          sent = taken
        }
        queued -= Math.min(queued, peerReads)
        look(flow.turn({ type: 'SOCK_READY', readable: false, writable: true, rdhup: false, info: info() }))
      }
    }
  )

/** It offers 64 kB, come what may. */
class Generous extends Flow {
  override turn(...events: readonly Happening[]): Effect[] {
    return super.turn(...events).map((e) => (e.type === 'SegmentToTap' ? { ...e, wnd: 64_000 / UNIT } : e))
  }
}

const splice = compile(tcpSpliceMachine)
const subject: Subject<State<TcpSpliceContext>> = {
  start: (now, out) => splice.start({ now }, out),
  step: (s, e, out) => splice.step(s, e, out),
  isFinal: (s) => splice.isFinal(s),
  describe: (s) => splice.value(s)
}
const octets = fc.integer({ min: 1, max: 20 })
/** A target that does not read, and then does. */
const pastTap = fc.property(octets, octets, octets, fc.array(fc.nat(30)), (send, receive, pipe, choices) => {
  const world = new Spliced(
    { buffers: { send, receive }, pipe, refuses: false, choices, amounts: [] },
    subject
  )
  const [initiator, target] = world.peers
  initiator.program([{ do: 'write', octets: 300 }, { do: 'shutdown' }])
  world.runUntilIdle()
  // Two connections, each with a buffer at either end, and between them what was read and is not written
  const buffers = 2 * (send + receive)
  const { written } = initiator
  assert(written >= Math.min(300, buffers) && written <= buffers + pipe, `${written} written`)
  target.program([{ do: 'readAll' }, { do: 'close' }])
  world.runUntilIdle()
  assert.deepEqual([target.read, target.sawEnd], [300, true])
})

test('through the tap: no window beyond what the socket has room for', () =>
  fc.assert(throughTap(() => new Flow())))
test('a generous TCP is found', () => assert(fc.check(throughTap(() => new Generous())).failed))
test('past the tap: a target that does not read stops the initiator', () =>
  fc.assert(pastTap, { numRuns: 30 }))
