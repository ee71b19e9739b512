import { add, seq } from '../src/codecs/value/seq.js'
import { ACK, SYN, type TcpSegment } from '../src/codecs/wire/tcp.js'
import { type Effect, instant } from '../src/effects/effect.js'
import type { SockInfo } from '../src/effects/sock-event.js'
import type { TcpEvent } from '../src/machines/tcp/tcp.js'
import { checkTcb, compiled, type TcpState } from './tcp-arbitraries.js'

// One TCP flow for example tests: scripts of what comes in, lists of what goes out.

export const ISS = 1000
export const IRS = 5000
export const INFO: SockInfo = {
  sndWnd: 60_000,
  rtt: 50,
  minRtt: 50,
  bytesAcked: 1,
  sndFree: 40_000,
  sndBuf: 40_000
}
/** Options and window of the guest's SYN or SYN,ACK. */
export const OFFER = { mss: 1460, windowScale: 7, wnd: 64_000 }
type Body<E> = E extends unknown ? Omit<E, 'now'> : never
/** An event; the flow knows the time. */
export type Happening = Body<TcpEvent>

/** A flow, driven turn by turn. Numbers of the guest count from its ISN, acknowledgements from ours. */
export class Flow {
  now = 1000
  state: TcpState
  started: Effect[] = []
  /** `syn`: the guest's; 'host': the host peer opened it. */
  constructor(syn: Partial<TcpSegment> | 'host' = {}, more: { mss?: number; v6?: boolean } = {}) {
    const input = { iss: seq(ISS), mss: 1460, now: instant(this.now), ...more }
    this.state = compiled.start(
      syn === 'host'
        ? { from: 'host', ...input }
        : { from: 'guest', syn: { ...this.seg(0, 0, { flags: SYN, ...OFFER }), ...syn }, ...input },
      this.started
    )
  }
  seg(at: number, ack: number, more: Partial<TcpSegment> & { len?: number } = {}): TcpSegment {
    const { len = 0, ...rest } = more
    const base = {
      srcPort: 1,
      dstPort: 2,
      seq: add(seq(IRS), at),
      ack: add(seq(ISS), ack),
      flags: ACK,
      wnd: 500
    }
    return { ...base, urgent: 0, mss: null, windowScale: null, payload: { off: 64, len }, ...rest }
  }
  /** One turn: these events, TURN_END; what was asked for, timers and counts left out. */
  turn(...events: readonly Happening[]): Effect[] {
    return this.all(...events).filter((e) => !['ArmTimer', 'CancelTimer', 'Count'].includes(e.type))
  }
  all(...events: readonly Happening[]): Effect[] {
    const out: Effect[] = []
    for (const e of [...events, { type: 'TURN_END' as const }]) {
      this.state = compiled.step(this.state, { ...e, now: instant(this.now) } as TcpEvent, out)
      checkTcb(this.state.context.tcb)
    }
    return out
  }
  tap(at: number, ack: number, more: Partial<TcpSegment> & { len?: number } = {}): Effect[] {
    return this.turn({ type: 'TAP_SEGMENT', seg: this.seg(at, ack, more) })
  }
  sent(taken: number, more: { dropped?: number; info?: Partial<SockInfo> } = {}): Effect[] {
    const { info, ...rest } = more
    const body = { taken, dropped: 0, errno: 0, ...rest, info: { ...INFO, ...info } }
    return this.turn({ type: 'SOCK_SENT', ...body })
  }
  peeked(
    octets: number,
    more: { eof?: boolean; tapFull?: boolean; tapTells?: boolean; drained?: boolean; errno?: number } = {}
  ): Effect[] {
    return this.turn({
      type: 'SOCK_PEEKED',
      octets,
      eof: false,
      drained: true,
      tapFull: false,
      tapTells: false,
      errno: 0,
      ...more
    })
  }
  readable(): Effect[] {
    return this.turn({ type: 'SOCK_READY', readable: true, writable: false, rdhup: false, info: null })
  }
  rto(): Effect[] {
    this.now = Math.max(this.now, this.tcb.rtoAt)
    return this.turn({ type: 'TIMER_RTO' })
  }
  get value(): string {
    return compiled.value(this.state)
  }
  get tcb() {
    return this.state.context.tcb
  }
}
export const of = <K extends Effect['type']>(list: readonly Effect[], type: K) =>
  list.filter((e): e is Extract<Effect, { type: K }> => e.type === type)
export const segs = (list: readonly Effect[]) =>
  of(list, 'SegmentToTap').map((s) => ({
    seq: s.seq - ISS,
    ack: s.ack === 0 ? 0 : s.ack - IRS,
    flags: s.flags
  }))
export const types = (list: readonly Effect[]): string[] => list.map((e) => e.type)
