import { add, distance, type SeqNum, seq } from '../../codecs/value/seq.js'
import { ACK, FIN, RST, SYN, type TcpSegment } from '../../codecs/wire/tcp.js'
import { type Effect, instant } from '../../effects/effect.js'
import type { SockInfo } from '../../effects/sock-event.js'
import { MAX_RETRIES } from '../../machines/tcp/tcb-rtx.js'
import { idleAt } from '../../machines/tcp/tcb-wake.js'
import { type TcpContext, type TcpEvent, tcpMachine } from '../../machines/tcp/tcp.js'
import { guestFinDue, ourFinAcked } from '../../machines/tcp/tcp-segment.js'
import type { Moved, Tcb } from '../../machines/tcp/tcp-tcb.js'
import { type At, alphabet, atLeast, BEGIN, type Letter, type Spoken } from '../alphabet.js'

// One TCP connection: a guest and a host's socket, played by hand. The guest knows where its stream is, as guests do.

const ISS = seq(1000)
const IRS = seq(5000)
const BASE: TcpSegment = {
  srcPort: 40_000,
  dstPort: 80,
  seq: IRS,
  ack: seq(0),
  flags: ACK,
  wnd: 500,
  urgent: 0,
  mss: null,
  windowScale: null,
  payload: { off: 54, len: 0 }
}
/** Options and window of the guest's SYN. */
const OFFER = { mss: 1460, windowScale: 7, wnd: 64_000 }
const MOVED: Moved = {
  fromHost: false,
  mss: 1460,
  sndScale: 7,
  rcvScale: 8,
  iss: ISS,
  irs: IRS,
  sndUna: add(ISS, 1),
  sndMax: add(ISS, 101),
  sndWnd: 60_000,
  discarded: add(ISS, 1),
  finSeq: null,
  rcvTaken: add(IRS, 101),
  rcvAcked: add(IRS, 101),
  rcvEdge: add(IRS, 30_000),
  rcvFin: 0,
  finAt: null
}
const FIN_SENT = { finSeq: add(ISS, 100) }
const FIN_ACKED = { sndUna: add(ISS, 101), discarded: add(ISS, 100), ...FIN_SENT }

type Here = At<TcpContext>
type Make = (t: Tcb, at: Here) => TcpEvent | null
const letter = (name: string, says: string, make: Make): Letter<TcpContext, TcpEvent> => ({
  name,
  says,
  event: (at) => make(at.context.tcb, at)
})
const info = (t: Tcb): SockInfo => ({
  sndWnd: 60_000,
  rtt: 50,
  minRtt: 50,
  bytesAcked: distance(t.rcvTaken, t.octetsFrom) + (t.fromHost || t.moved ? 0 : 1),
  sndFree: 40_000,
  sndBuf: 40_000
})
const segment = (name: string, says: string, of: (t: Tcb, at: Here) => Partial<TcpSegment> | null) =>
  letter(name, says, (t, at) => {
    const more = of(t, at)
    const here = t.heardSyn ? { seq: t.rcvNxt, ack: t.sndMax } : { ack: t.sndMax }
    return more === null ? null : { type: 'TAP_SEGMENT', seg: { ...BASE, ...here, ...more }, now: at.now }
  })
/** Only once its SYN has come. */
const known = (t: Tcb, of: Partial<TcpSegment>): Partial<TcpSegment> | null => (t.heardSyn ? of : null)
const octets = (len: number) => ({ payload: { off: 54, len } })
const on = (
  name: string,
  says: string,
  type: 'TURN_END' | 'STOP' | 'FROZEN' | 'THAWED' | 'MOVED_AWAY' | 'TAP_ROOM'
) => letter(name, says, (_, { now }) => ({ type, now }))
const peeked =
  (octetsOf: number, more: { readonly eof?: boolean; readonly errno?: number }) =>
  (t: Tcb, { now }: Here) =>
    t.peeking
      ? ({
          type: 'SOCK_PEEKED',
          octets: octetsOf,
          eof: false,
          drained: true,
          tapFull: false,
          tapTells: false,
          errno: 0,
          now,
          ...more
        } as const)
      : null
/** Handed over, and the kernel has said nothing about it yet. */
const handed = (t: Tcb): number => distance(t.rcvNxt, t.rcvTaken) - t.rcvFin
const ready = (name: string, says: string, which: 'readable' | 'writable' | 'rdhup') =>
  letter(name, says, (t, { now }) => ({
    type: 'SOCK_READY',
    readable: false,
    writable: false,
    rdhup: false,
    info: which === 'writable' ? info(t) : null,
    now,
    [which]: true
  }))

/** Retransmissions are counted up to here, and not told apart beyond. */
const FAILS = MAX_RETRIES
/** ms: longer than R2 (RFC 1122 §4.2.3.5). */
const LONG = 101_000

/** 0 is no number of anybody's: "none yet". */
const relative = (n: SeqNum, from: SeqNum, name: string): string => {
  if (n === 0) return '0'
  const d = distance(n, from)
  return `${name}${d < 0 ? d : `+${d}`}`
}
const GUESTS = new Set<keyof Tcb>([
  'sndWl1',
  'rcvNxt',
  'rcvTaken',
  'octetsFrom',
  'rcvConfirmed',
  'rcvAcked',
  'rcvEdge',
  'finAt',
  'peekAck',
  'peekEdge',
  'bufEdge'
])
const OURS = new Set<keyof Tcb>([
  'sndUna',
  'sndNxt',
  'sndMax',
  'sndWl2',
  'recover',
  'discarded',
  'finSeq',
  'peekSeq',
  'timedSeq'
])

const FLAGS = [
  [SYN, 'SYN'],
  [FIN, 'FIN'],
  [RST, 'RST'],
  [ACK, 'ACK']
] as const
const flags = (bits: number): string =>
  FLAGS.filter(([bit]) => (bits & bit) !== 0)
    .map(([, name]) => name)
    .join(',') || 'none'
/** Segments with their flags' names, and numbers that count from the initial ones; what a segment does not have is left out. */
const spoken = (x: Spoken, { tcb }: TcpContext): Spoken => {
  const of = (
    s: Pick<TcpSegment, 'seq' | 'ack' | 'flags'>,
    from: SeqNum,
    to: SeqNum,
    names: readonly [string, string]
  ) => ({
    flags: flags(s.flags),
    seq: relative(s.seq, from, names[0]),
    ...(s.flags & ACK ? { ack: relative(s.ack, to, names[1]) } : {})
  })
  const options = ({ mss, windowScale }: { readonly mss?: unknown; readonly windowScale?: unknown }) => ({
    ...(mss === null ? {} : { mss }),
    ...(windowScale === null ? {} : { windowScale })
  })
  if (x.type === 'TAP_SEGMENT') {
    const seg = x.seg as TcpSegment
    const irs = tcb.heardSyn ? tcb.irs : seg.seq
    return {
      type: x.type,
      ...of(seg, irs, tcb.iss, ['IRS', 'ISS']),
      wnd: seg.wnd,
      ...options(seg),
      ...(seg.payload.len === 0 ? {} : { octets: seg.payload.len })
    }
  }
  if (x.type === 'SegmentToTap') {
    const e = x as unknown as Pick<TcpSegment, 'seq' | 'ack' | 'flags' | 'wnd' | 'mss' | 'windowScale'>
    return { type: x.type, ...of(e, tcb.iss, tcb.irs, ['ISS', 'IRS']), wnd: e.wnd, ...options(e) }
  }
  if (x.type === 'PeekToTap') {
    const e = x as unknown as Extract<Effect, { readonly type: 'PeekToTap' }>
    return { ...e, seq: relative(e.seq, tcb.iss, 'ISS'), ack: relative(e.ack, tcb.irs, 'IRS') }
  }
  return x
}

export const tcp = alphabet<typeof tcpMachine>({
  machine: tcpMachine,
  inputs: {
    guest: { from: 'guest', syn: { ...BASE, flags: SYN, ...OFFER }, iss: ISS, mss: 1460, now: BEGIN },
    host: { from: 'host', iss: ISS, mss: 1460, now: BEGIN },
    'moved-established': { from: 'move', moved: MOVED, mss: 1460, now: BEGIN },
    'moved-closeWait': { from: 'move', moved: { ...MOVED, rcvFin: 1 }, mss: 1460, now: BEGIN },
    'moved-finWait1': { from: 'move', moved: { ...MOVED, ...FIN_SENT }, mss: 1460, now: BEGIN },
    'moved-finWait2': { from: 'move', moved: { ...MOVED, ...FIN_ACKED }, mss: 1460, now: BEGIN },
    'moved-closing': { from: 'move', moved: { ...MOVED, ...FIN_SENT, rcvFin: 1 }, mss: 1460, now: BEGIN }
  },
  letters: [
    letter('turn', 'the turn ends: what it led to goes out', (_, { now }) => ({ type: 'TURN_END', now })),
    // the guest
    segment('ack', 'the guest acknowledges all that was sent', (t) => known(t, {})),
    segment('data', 'the guest sends 100 octets', (t) => known(t, octets(100))),
    segment('fin', 'the guest has finished, and acknowledges all', (t) => known(t, { flags: ACK | FIN })),
    segment('fin-crossing', 'the guest has finished, and has not seen what was sent last', (t) =>
      known(t, { flags: ACK | FIN, ack: t.sndUna })
    ),
    segment('ahead', 'the guest sends 100 octets, and what is in front of them was lost', (t) =>
      known(t, { seq: add(t.rcvNxt, 100), ...octets(100) })
    ),
    segment('old', 'the guest sends an octet again, as a keep-alive does', (t) =>
      known(t, { seq: add(t.rcvNxt, -1) })
    ),
    segment('syn', 'the guest sends its SYN', (t, { leaf }) => ({
      flags: SYN,
      seq: t.heardSyn ? (leaf === 'timeWait' ? add(t.rcvNxt, 100_000) : t.irs) : IRS,
      ack: seq(0),
      ...OFFER
    })),
    segment('syn-ack', 'the guest accepts', (t) => ({
      flags: SYN | ACK,
      seq: t.heardSyn ? t.irs : IRS,
      ack: add(t.iss, 1),
      ...OFFER
    })),
    segment('rst', 'the guest resets', (t) => ({ flags: t.heardSyn ? RST : RST | ACK, ack: add(t.iss, 1) })),
    segment('rst-near', 'a reset inside of the window, but not exact', (t) =>
      known(t, { flags: RST, seq: add(t.rcvNxt, 50) })
    ),
    segment('rst-far', 'a reset that is not of this connection', (t) =>
      t.heardSyn ? { flags: RST, seq: add(t.rcvNxt, 1 << 26) } : { flags: RST | ACK, ack: t.iss }
    ),
    segment('ack-other', 'the guest acknowledges what was never sent', (t) => ({ ack: add(t.sndMax, 500) })),
    segment('shut', 'the guest closes its window', (t) => known(t, { wnd: 0 })),
    // the kernel
    letter('connected', 'the peer has accepted', (t, { now }) => ({
      type: 'SOCK_CONNECTED',
      info: info(t),
      now
    })),
    letter('failed', 'the socket has failed', (_, { now }) => ({ type: 'SOCK_FAILED', errno: 111, now })),
    letter('sent', 'the kernel has taken what was handed over', (t, { now }) =>
      handed(t) <= 0
        ? null
        : {
            type: 'SOCK_SENT',
            taken: handed(t),
            dropped: 0,
            errno: 0,
            info: { ...info(t), bytesAcked: info(t).bytesAcked + handed(t) },
            now
          }
    ),
    letter('sent-nothing', 'the kernel has no room for it', (t, { now }) =>
      handed(t) <= 0
        ? null
        : { type: 'SOCK_SENT', taken: 0, dropped: handed(t), errno: 0, info: { ...info(t), sndFree: 0 }, now }
    ),
    letter('sent-broken', 'the connection to the peer is broken, as sendmsg() says', (t, { now }) =>
      handed(t) <= 0 ? null : { type: 'SOCK_SENT', taken: 0, dropped: 0, errno: 32, info: info(t), now }
    ),
    ready('readable', 'the socket has data, or its end', 'readable'),
    ready('writable', 'the socket has room', 'writable'),
    letter('peeked', '100 octets have gone to the guest', peeked(100, {})),
    letter('peeked-end', 'nothing was there but the end of the stream', peeked(0, { eof: true })),
    letter('peeked-nothing', 'nothing was there', peeked(0, {})),
    letter(
      'peek-broken',
      'the connection to the peer is broken, as recvmsg() says',
      peeked(0, { errno: 104 })
    ),
    letter('info', 'what the kernel tells of the socket', (t, { now }) => ({
      type: 'SOCK_INFO',
      info: info(t),
      now
    })),
    letter('acked', 'the peer has acknowledged all that the kernel took', (t, { now }) => ({
      type: 'SOCK_ACKED',
      octet: Math.max(0, distance(t.rcvTaken, t.octetsFrom) - 1),
      now
    })),
    letter('restored', 'the socket of a moved connection is made', (t, { now }) =>
      t.moved
        ? {
            type: 'SOCK_RESTORED',
            taken: 0,
            unacked: 0,
            unread: 100,
            ended: t.finSeq !== null,
            dark: true,
            now
          }
        : null
    ),
    on('room', 'the tap takes frames again', 'TAP_ROOM'),
    letter('tokens', 'a rate limit lets the guest send 10,000 octets more', (_, { now }) => ({
      type: 'TOKENS',
      octets: 10_000,
      now
    })),
    // timers
    letter('rto', 'the retransmission timer fires', (t, { now }) =>
      t.rtoAt === 0 ? null : { type: 'TIMER_RTO', now: atLeast(now, t.rtoAt) }
    ),
    letter('rto-late', 'the retransmission timer fires, 101 s too late', (t, { now }) =>
      t.rtoAt === 0 ? null : { type: 'TIMER_RTO', now: instant(atLeast(now, t.rtoAt) + LONG) }
    ),
    letter('rto-early', 'the retransmission timer fires for nothing', (t, { now }) =>
      t.rtoAt > 0 && now >= t.rtoAt ? null : { type: 'TIMER_RTO', now }
    ),
    letter('ack-timer', 'the timer of acknowledgements and looks fires', (t, { now }) => ({
      type: 'TIMER_ACK',
      now: atLeast(now, t.ackArmed)
    })),
    letter('keepalive', 'nothing was heard for 30 s', (t, { now }) => ({
      type: 'TIMER_KEEPALIVE',
      now: atLeast(now, t.tapAliveAt + 30_000)
    })),
    letter('idle', 'nothing was heard for 2 h; or TIME-WAIT is over', (t, { now }) => ({
      type: 'TIMER_IDLE',
      now: atLeast(now, idleAt(t))
    })),
    letter('idle-early', 'the timer of silence fires for nothing', (t, { now }) =>
      now >= idleAt(t) ? null : { type: 'TIMER_IDLE', now }
    ),
    // the program
    on('frozen', 'the guest is to be moved: nothing is heard any more', 'FROZEN'),
    on('thawed', 'it stays after all', 'THAWED'),
    on('moved-away', 'another program has the connection', 'MOVED_AWAY'),
    on('stop', 'the connection has to give way', 'STOP')
  ],
  abstract: ({ tcb: t }) =>
    [
      t.fromHost ? 'by host' : t.moved ? 'moved' : '',
      t.sndUna === t.sndMax ? '' : 'in flight',
      t.finSeq === null ? '' : ourFinAcked(t) ? 'our FIN acknowledged' : 'our FIN',
      t.finAt === null ? '' : guestFinDue(t) ? 'FIN due' : 'FIN behind data',
      handed(t) > 0 ? 'handed over' : '',
      t.readable ? 'readable' : '',
      t.peeking ? 'peeking' : '',
      t.rtoAt > 0 ? 'timer' : '',
      t.fails === 0 ? '' : `${Math.min(t.fails, FAILS)} time-outs`
    ]
      .filter((x) => x !== '')
      .join(', '),
  // Once open, connections are alike whoever opened them. And what follows a time-out is silence, or the states would be eight
  // times as many: that an ACK ends it is the sessions' to show.
  only: ({ context: { tcb: t }, leaf }) => {
    if ((t.fromHost || t.moved) && leaf.startsWith('open.')) return []
    return t.fails === 0 ? null : ['turn', 'rto', 'rto-late']
  },
  world: [
    { effect: 'TcpConnect', letters: ['connected', 'turn'] },
    { effect: 'SockAdopt', letters: ['connected', 'turn'] },
    { effect: 'SendToSock', letters: ['sent'] },
    { effect: 'PeekToTap', letters: ['peeked', 'turn'] },
    { effect: 'QueryInfo', letters: ['info', 'turn'] },
    { effect: 'AskTokens', letters: ['tokens', 'turn'] }
  ],
  spoken,
  view: ({ tcb }) =>
    Object.fromEntries(
      Object.entries(tcb).map(([k, v]) => {
        const key = k as keyof Tcb
        if (v === null || typeof v !== 'number') return [k, v]
        if (GUESTS.has(key)) return [k, relative(seq(v), tcb.irs, 'IRS')]
        return [k, OURS.has(key) ? relative(seq(v), tcb.iss, 'ISS') : v]
      })
    )
})
