import { test } from 'node:test'
import fc from 'fast-check'
import { add, seq } from '../src/codecs/value/seq.js'
import { ACK, FIN, PSH, RST, SYN } from '../src/codecs/wire/tcp.js'
import { instant } from '../src/effects/effect.js'
import type { SockInfo } from '../src/effects/sock-event.js'
import { type TcpEvent, type TcpInput, tcpMachine } from '../src/machines/tcp/tcp.js'
import { sameAsXstate, sameOnRuns, untilAllTaken } from './same-as-xstate.js'
import { traces } from './tcp-traces.js'

// Few sequence numbers, near those of the connection, so that many segments are acceptable and every state is reached.
const IRS = seq(0xffff_fffe)
const ISS = seq(1000)
const now = fc.nat(20_000).map((n) => instant(n / 4))
const step = fc.constantFrom(0, 1, 2, 11, 21, 101, 1461)
const segment = fc.record({
  srcPort: fc.constant(4444),
  dstPort: fc.constant(80),
  seq: step.map((n) => add(IRS, n)),
  ack: step.map((n) => add(ISS, n)),
  flags: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(ACK, ACK | PSH, ACK | FIN) },
    fc.constantFrom(RST, RST | ACK, SYN, SYN | ACK, FIN, 0)
  ),
  wnd: fc.constantFrom(0, 1, 500, 65535),
  urgent: fc.constant(0),
  mss: fc.option(fc.constantFrom(536, 1460)),
  windowScale: fc.option(fc.constantFrom(0, 7, 14)),
  payload: fc.record({ off: fc.constant(54), len: fc.constantFrom(0, 0, 1, 10, 1460) })
})
const info: fc.Arbitrary<SockInfo> = fc.record({
  sndWnd: fc.constantFrom(0, 65535),
  rtt: fc.constantFrom(20, 5000),
  minRtt: fc.constantFrom(20, 0xffffffff),
  bytesAcked: fc.constantFrom(0, 1, 11, 1461),
  sndFree: fc.constantFrom(0, 40_000),
  sndBuf: fc.constant(87_040)
})
const errno = fc.constantFrom(0, 0, 0, 11, 32, 104, 111)
const octets = fc.constantFrom(0, 1, 10, 100, 1460)
const event: fc.Arbitrary<TcpEvent> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ type: fc.constant('TAP_SEGMENT' as const), seg: segment, now }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('TURN_END' as const), now }) },
  fc.record({ type: fc.constant('SOCK_CONNECTED' as const), info, now }),
  fc.record({
    type: fc.constant('SOCK_SENT' as const),
    taken: octets,
    dropped: fc.constantFrom(0, 0, 10),
    errno,
    info,
    now
  }),
  fc.record({
    type: fc.constant('SOCK_PEEKED' as const),
    octets,
    eof: fc.boolean(),
    drained: fc.boolean(),
    tapFull: fc.boolean(),
    tapTells: fc.boolean(),
    errno,
    now
  }),
  fc.record({
    type: fc.constant('SOCK_READY' as const),
    readable: fc.boolean(),
    writable: fc.boolean(),
    rdhup: fc.boolean(),
    info: fc.option(info),
    now
  }),
  fc.record({ type: fc.constant('SOCK_INFO' as const), info, now }),
  fc.record({ type: fc.constant('SOCK_ACKED' as const), octet: octets, now }),
  fc.record({ type: fc.constant('TOKENS' as const), octets, now }),
  fc.record({
    type: fc.constantFrom(
      'TIMER_RTO' as const,
      'TIMER_ACK' as const,
      'TAP_ROOM' as const,
      'TIMER_KEEPALIVE' as const,
      'TIMER_IDLE' as const
    ),
    now
  }),
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constantFrom('STOP' as const, 'FROZEN', 'THAWED', 'MOVED_AWAY'), now })
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('SOCK_FAILED' as const), errno, now }) }
)
const begin = { iss: ISS, mss: 1460, now: instant(0) }
const quantum = fc.constantFrom(0, 2048)
const input: fc.Arbitrary<TcpInput> = fc.tuple(segment, quantum).map(([s, quantum]) => ({
  from: 'guest',
  quantum,
  syn: { ...s, seq: IRS, ack: seq(0), flags: SYN },
  ...begin
}))
const inward: fc.Arbitrary<TcpInput> = quantum.map((quantum) => ({ from: 'host', quantum, ...begin }))
/** A connected flow first, mostly: the interesting states lie behind the handshake. */
const handshake: fc.Arbitrary<TcpEvent[]> = fc.tuple(segment, info).map(([s, i]) => [
  { type: 'SOCK_CONNECTED', info: i, now: instant(1) },
  { type: 'TURN_END', now: instant(1) },
  { type: 'TAP_SEGMENT', seg: { ...s, seq: add(IRS, 1), ack: add(ISS, 1), flags: ACK }, now: instant(2) },
  { type: 'TURN_END', now: instant(2) }
])
const inwardHandshake: fc.Arbitrary<TcpEvent[]> = fc
  .tuple(segment, info, fc.constantFrom(SYN | ACK, SYN | ACK, SYN))
  .map(([s, i, flags]) => [
    { type: 'SOCK_CONNECTED', info: i, now: instant(1) },
    { type: 'TAP_SEGMENT', seg: { ...s, seq: IRS, ack: add(ISS, 1), flags }, now: instant(2) },
    { type: 'TURN_END', now: instant(2) }
  ])

test('compiled tcp = xstate tcp, opened by the host', () =>
  sameAsXstate(tcpMachine, inward, event, { numRuns: 80 }))
test('compiled tcp = xstate tcp, opened by the host, behind the handshake', () =>
  sameAsXstate(tcpMachine, inward, event, { numRuns: 120, maxLength: 50, prefix: inwardHandshake }))
test('compiled tcp = xstate tcp', () => sameAsXstate(tcpMachine, input, event, { numRuns: 100 }))
test('compiled tcp = xstate tcp, behind the handshake', () =>
  sameAsXstate(tcpMachine, input, event, { numRuns: 150, maxLength: 50, prefix: handshake }))

test('compiled tcp = xstate tcp, for what the simulator makes happen, disturbed: the whole chart', () =>
  untilAllTaken(tcpMachine, () => sameOnRuns(tcpMachine, traces(event), 300), undefined, 300))
