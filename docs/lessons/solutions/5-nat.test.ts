import { strict as assert } from 'node:assert'
import { test } from 'node:test'
import fc from 'fast-check'
import { datagram } from '../../../property-tests/played.js'
import { at, type Recorded, recordOf } from '../../../property-tests/recorded.js'
import { addr } from '../../../property-tests/services-arbitraries.js'
import { type InAny, showAddr } from '../../../src/codecs/value/inany.js'
import { decodeFrame } from '../../../src/codecs/wire/frame.js'
import { VNET_LEN } from '../../../src/codecs/wire/vnet.js'
import { ABI_WORDS, EF, EV } from '../../../src/runtime/abi/abi.js'

// Lesson 5: two conversations never share a flow, and an answer goes to who asked, from whom it was asked.

interface Conversation {
  readonly guestPort: number
  readonly peer: InAny
  readonly peerPort: number
}
const text = ({ guestPort, peer, peerPort }: Conversation): string =>
  `${guestPort} to ${showAddr(peer)}:${peerPort}`

interface Nat {
  /** The guest sends a datagram. Returns which socket of the host it goes out by. */
  readonly asks: (c: Conversation) => number
  /** One arrives at that socket. Returns what the guest takes it for. */
  readonly answers: (socket: number) => string
}

/** The program itself, between two rings. Its gateway stands for the host's loopback address. */
const passt = (r: Recorded): Nat => {
  let now = 1
  const { rings } = r.w
  const effect = (kind: number): Int32Array => {
    for (let i = 0; i < rings.effects; i++)
      if (rings.fx[i * ABI_WORDS] === kind) return rings.fx.subarray(i * ABI_WORDS, (i + 1) * ABI_WORDS)
    return assert.fail('nothing is sent')
  }
  return {
    asks: (c) => {
      r.come([datagram(c.guestPort, c.peer, c.peerPort, 10)], at(now++))
      return effect(EF.UDP_SEND)[1]!
    },
    answers: (socket) => {
      r.come([{ words: [EV.DATAGRAM, socket], octets: new Uint8Array(20) }], at(now++))
      const [, , off, len] = effect(EF.TAP_WRITE)
      const o = { view: rings.view, off: off! + VNET_LEN, len: len! - VNET_LEN }
      const f = decodeFrame(o, { needsCsum: true, sum16: 0, gsoSize: 0 })
      if (typeof f === 'string' || f.kind !== 'udp') assert.fail('no datagram')
      return text({ guestPort: f.l4.dstPort, peer: f.ip.src, peerPort: f.l4.srcPort })
    }
  }
}
/** One socket for each port of the guest, and an answer is taken to be of whom it last spoke to. */
const simple = (): Nat => {
  const last = new Map<number, Conversation>()
  return {
    asks: (c) => {
      last.set(c.guestPort, c)
      return c.guestPort
    },
    answers: (socket) => text(last.get(socket)!)
  }
}

const conversation: fc.Arbitrary<Conversation> = fc.record({
  guestPort: fc.constantFrom(5353, 5354, 40_000),
  peer: fc.constantFrom('198.51.100.1', '198.51.100.53', '203.0.113.80').map(addr),
  peerPort: fc.constantFrom(53, 123)
})
const check = (nat: Nat, asked: readonly Conversation[]): void => {
  const sockets = new Map<string, number>()
  for (const c of asked) {
    const socket = nat.asks(c)
    assert.equal(sockets.get(text(c)) ?? socket, socket, 'a conversation has changed its socket')
    sockets.set(text(c), socket)
  }
  assert.equal(new Set(sockets.values()).size, sockets.size, 'two conversations share a socket')
  for (const [c, socket] of sockets) assert.equal(nat.answers(socket), c)
}
const conversations = fc.array(conversation, { minLength: 1, maxLength: 30 })

test('one conversation, one flow; answers go back to where they belong', () =>
  fc.assert(
    fc.property(conversations, (asked) => void recordOf((r) => check(passt(r), asked))),
    { numRuns: 40 }
  ))
test('a NAT by ports alone is found', () =>
  assert(fc.check(fc.property(conversations, (asked) => check(simple(), asked))).failed))
