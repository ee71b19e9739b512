import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { capture, pcapOf, type Spec, type Trace } from '../property-tests/judge-traces.js'
import { type Connection, datagram, type Happens, packet, play } from '../property-tests/played.js'
import { type Came, type Recorded, recordOf, START } from '../property-tests/recorded.js'
import { calm } from '../property-tests/tcp-arbitraries.js'
import { encodeRecording, type RecordItem, recordItems } from '../src/codecs/log/record.js'
import { ECONNREFUSED } from '../src/codecs/value/errno.js'
import { fromV4, type InAny, LOOPBACK4 } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { seq } from '../src/codecs/value/seq.js'
import { PROTO_ICMP } from '../src/codecs/wire/checksum.js'
import { ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, IcmpMessage } from '../src/codecs/wire/icmp.js'
import { ACK, FIN, SYN } from '../src/codecs/wire/tcp.js'
import { EV } from '../src/runtime/abi/abi.js'
import { LISTENER } from '../src/runtime/engine/warm-up.js'
import { ASK } from '../src/runtime/record/answers.js'
import type { HostScript } from '../src/simulator/host.js'
import type { GuestScript } from '../src/simulator/script.js'
import type { Fate } from '../src/simulator/tcp.js'
import { ROOT } from './generated.js'

// The records of docs/lessons/, from the simulator: the same octets each time, as long as machines and format are the same.
// `tsx scripts/lessons.ts` makes them again, and what the lessons show of them.

const START_OF_LESSON = {
  ...START,
  version: 'lesson',
  host: 'the simulator',
  neighbours: false,
  plan: { ...START.plan, pcap: null, mtu: 1500, v6: null, ra: false, dhcpv6: false, ndp: false }
}
const PEER = fromV4(0xcb007150) // 203.0.113.80, RFC 5737
const GATEWAY = fromV4(0xc6336401) // 198.51.100.1
const NAME_SERVER = fromV4(0xc6336435) // 198.51.100.53

interface Scene {
  readonly connections?: readonly Connection[]
  readonly happens?: readonly Happens[]
  /** ms */
  readonly lasts: number
}
/** A random number is asked for, and nothing comes of it: there are no router advertisements. So it is 0. */
const settled = (i: RecordItem): RecordItem =>
  i.type === 'Answer' && i.to === ASK.RANDOM ? { ...i, answer: new Uint8Array(8) } : i
const recordFrom = ({ connections = [], happens = [], lasts }: Scene): Uint8Array => {
  const run = (r: Recorded): unknown => play(r, connections, happens, lasts)
  const file = recordOf(run, { start: START_OF_LESSON, why: 'stop' })
  return encodeRecording([...recordItems(octets(file))].map(settled))
}

/** A connection where nothing goes wrong, but what is said here. */
const connection = (
  o: Partial<Omit<Connection, 'guest' | 'host'>>,
  guest: Partial<GuestScript> = {},
  host: Partial<HostScript> = {}
): Connection => ({
  opener: 'guest',
  at: 0,
  guestPort: 40000,
  peer: PEER,
  peerPort: 80,
  fates: [],
  ...o,
  guest: { ...calm.guest, sends: 0, ...guest },
  host: { ...calm.host, sends: 0, connectMs: 20, ...host }
})
const passes = (n: number): Fate[] => Array.from({ length: n }, () => 'pass' as const)

/** 1: accepted; refused; begun by the peer. */
const handshake = (): Scene => ({
  connections: [
    connection({}, { closesLast: true }, { sends: 0, closesLast: true }),
    connection({ at: 100, guestPort: 40001, peerPort: 81 }, {}, { connectErrno: ECONNREFUSED }),
    connection(
      { at: 200, opener: 'host', guestPort: 8080, peerPort: 50000 },
      { closesLast: true },
      { closesLast: true }
    )
  ],
  lasts: 1000
})

/** 2: a guest whose program reads seldom. */
const window = (): Scene => ({
  connections: [
    connection(
      {},
      { rcvBuf: 4380, reads: 4380, readsMs: 1000, scale: 0, closesLast: true },
      { sends: 8760, sendsMs: 1 }
    )
  ],
  lasts: 10_000
})

/** 3: to the guest, one lost in the middle; to the guest, the only one, and twice again; from the guest, one lost in the middle. */
const loss = (): Scene => ({
  connections: [
    connection({ fates: [...passes(5), 'lose'] }, { closesLast: true }, { sends: 8760, closesLast: true }),
    connection(
      { at: 500, guestPort: 40001, fates: [...passes(4), 'lose', 'lose', 'lose'] },
      { closesLast: true },
      { sends: 1000, closesLast: true }
    ),
    connection(
      { at: 2500, guestPort: 40002, fates: [...passes(4), 'lose'] },
      { sends: 7300, closesLast: true },
      { closesLast: true }
    )
  ],
  lasts: 4000
})

/** 4: the guest first, the peer first, both at once; a reset from here, a reset from there. */
const closing = (): Scene => ({
  connections: [
    connection({}, { sends: 100 }, { sends: 300, closesLast: true }),
    connection({}, { sends: 200, writes: 100, writesMs: 10, closesLast: true }, { sends: 300 }),
    // its last acknowledgement comes after the rest
    connection({ fates: [...passes(7), { delay: 0.5 }] }, { sends: 200, writes: 100 }),
    connection({}, { closesLast: true, resetsAt: 30 }, { closesLast: true }),
    connection({}, { closesLast: true }, { closesLast: true, resetsAt: 30 })
  ].map((c, i) => ({ ...c, at: i * 2, guestPort: 40000 + i })),
  lasts: 10_000
})

const echo = (to: InAny, id: number): Came =>
  packet(
    PROTO_ICMP,
    to,
    IcmpMessage.encode({ type: ICMP_ECHO_REQUEST, code: 0, id, seq: 1, payload: new Uint8Array(8) })
  )
const answered = (flow: number, octets: Uint8Array): Came => ({ words: [EV.DATAGRAM, flow], octets })
const echoReply = IcmpMessage.encode({
  type: ICMP_ECHO_REPLY,
  code: 0,
  id: 0,
  seq: 1,
  payload: new Uint8Array(8)
})
/** From the local address of the listener, `slot` is native's. */
const accepted = (from: InAny, port: number, to: InAny): Came => ({
  words: [EV.ACCEPTED, LISTENER, 0, port, ...from.map((w) => w | 0), ...to.map((w) => w | 0)],
  octets: null
})

/** 5: what is one flow, and what is two. */
const nat = (): Scene => ({
  happens: [
    { at: 0, came: datagram(5353, NAME_SERVER, 53, 30) },
    { at: 10, came: answered(0, new Uint8Array(60)) },
    { at: 20, came: datagram(5353, NAME_SERVER, 53, 31) },
    { at: 30, came: answered(0, new Uint8Array(61)) },
    { at: 40, came: datagram(5354, NAME_SERVER, 53, 30) },
    { at: 50, came: datagram(5353, PEER, 53, 30) },
    { at: 60, came: datagram(5353, GATEWAY, 53, 30) },
    { at: 70, came: answered(3, new Uint8Array(60)) },
    { at: 80, came: echo(PEER, 7) },
    { at: 90, came: answered(4, echoReply) },
    { at: 100, came: accepted(PEER, 50000, fromV4(0xc6336409)) }
  ],
  lasts: 130_000
})

/** 6: through the tap to a peer that reads slowly; and past the tap. */
const splice = (): Scene => ({
  connections: [
    connection(
      {},
      { sends: 7168 },
      { sndBuf: 4096, peerBuf: 2048, peerReads: 2048, peerReadsMs: 100, closesLast: true }
    )
  ],
  happens: [
    { at: 1000, came: accepted(LOOPBACK4, 50000, LOOPBACK4) },
    { at: 1001, came: { words: [EV.SPLICE_CONNECTED, 0], octets: null } },
    { at: 1600, came: { words: [EV.SPLICE_EOF, 0, 0, 0, 7168, 0, 0], octets: null } },
    { at: 1610, came: { words: [EV.SPLICE_EOF, 0, 1, 0, 7168, 0, 300], octets: null } }
  ],
  lasts: 3000
})

const SCENES = { handshake, window, loss, closing, nat, splice }

/** Two TCPs, as a capture between them has them. s, who, flags, sequence and acknowledgement number behind the SYN; octets; window. */
type Line = readonly [
  at: number,
  by: 0 | 1,
  flags: number,
  seq: number,
  ack: number,
  octets?: number,
  wnd?: number
]
const ISS = [1000, 5000] as const
const traceOf = (lines: readonly Line[]): Trace => ({
  v6: false,
  specs: lines.map(
    ([at, by, flags, s, a, octets = 0, wnd = 8000]): Spec => ({
      at,
      by,
      flags,
      seq: seq(ISS[by] + s),
      ack: seq(flags & ACK ? ISS[1 - by]! + a : 0),
      wnd,
      options: flags & SYN ? [{ tag: 'Mss', mss: 1460 }] : [],
      payload: new Uint8Array(octets),
      is: ''
    })
  )
})
const OPENED: readonly Line[] = [
  [0, 0, SYN, 0, 0],
  [0.01, 1, SYN | ACK, 0, 1],
  [0.02, 0, ACK, 1, 1]
]
/** What each does wrong stands in its lesson. */
const TRACES = {
  shrunk: [
    ...OPENED,
    [0.03, 1, ACK, 1, 1, 1000],
    [0.04, 0, ACK, 1, 1001, 0, 7000],
    [0.05, 1, ACK, 1001, 1, 1000],
    [0.06, 0, ACK, 1, 2001, 0, 500]
  ],
  hasty: [
    ...OPENED,
    ...[0.03, 0.23, 0.43, 0.63, 0.83].map((at): Line => [at, 1, ACK, 1, 1, 1000]),
    [0.84, 0, ACK, 1, 1001]
  ],
  'behind-fin': [...OPENED, [0.03, 1, FIN | ACK, 1, 1], [0.04, 0, ACK, 1, 2], [0.05, 1, ACK, 2, 1, 5]]
} satisfies Record<string, readonly Line[]>

const HERE = join(ROOT, 'docs/lessons/records')
/** Absolute paths, and what is in them. */
export const records = (): ReadonlyArray<readonly [string, Uint8Array]> => [
  ...Object.entries(SCENES).map(([name, scene]) => [join(HERE, `${name}.rec`), recordFrom(scene())] as const),
  ...Object.entries(TRACES).map(
    ([name, lines]) => [join(HERE, `${name}.pcap`), pcapOf(capture(traceOf(lines)))] as const
  )
]
export const writeRecords = (): void => {
  for (const [path, file] of records()) {
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, file)
  }
}
if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) writeRecords()
