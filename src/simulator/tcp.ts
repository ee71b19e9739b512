import { add, le, max, type SeqNum, seq, unsigned } from '../codecs/value/seq.js'
import { ACK, FIN, PSH, RST, SYN, type TcpSegment } from '../codecs/wire/tcp.js'
import { type Effect, type Instant, instant, type TimerName } from '../effects/effect.js'
import type { Restoring, SocketDump } from '../effects/hand-over.js'
import type { SockEvent } from '../effects/sock-event.js'
import { Clock, promise, script, Violation } from './clock.js'
import { Guest } from './guest.js'
import { type DataFrame, Host, type HostScript } from './host.js'
import type { GuestScript, ToGuest } from './script.js'

// The second interpreter of Effect: no system call, but a simulated host socket and a simulated guest TCP, joined by a
// link that loses, doubles, delays and reorders frames, under a virtual clock. One world is one connection. All that
// happens follows from its scenario; frames past the end of its list of fates arrive, so that every schedule ends.

/** What the link does to a frame. */
export type Fate = 'pass' | 'lose' | 'double' | { readonly delay: number }
export interface Scenario {
  readonly opener: 'guest' | 'host'
  readonly iss: number
  readonly mtuMss: number
  readonly guest: GuestScript
  readonly host: HostScript
  /** One for each frame, both directions, in order; then all pass. */
  readonly fates: readonly Fate[]
  /** Extra TIMER_* events, ms after the start. */
  readonly spurious: readonly { readonly at: number; readonly timer: TimerName }[]
  /** The connection is frozen then, ms after the start, and goes on here or elsewhere. */
  readonly handOvers: readonly HandOver[]
}
export interface HandOver {
  readonly at: number
  readonly how: 'thawed' | 'moved'
  /** A peek that was asked for just before is not done any more. */
  readonly losesPeek: boolean
}

type On<K extends string> = { readonly type: K; readonly now: Instant }
export type SimEvent =
  | (On<'TAP_SEGMENT'> & { readonly seg: TcpSegment })
  | Exclude<SockEvent, { type: 'SOCK_DATAGRAM' | 'SOCK_ICMP_ERROR' }>
  | On<'TIMER_RTO'>
  | On<'TIMER_ACK'>
  | On<'TIMER_KEEPALIVE'>
  | On<'TIMER_IDLE'>
  | On<'TURN_END'>
  | On<'FROZEN'>
  | On<'THAWED'>

/** The machine under test: runtime/machine/compile.ts, or xstate. */
export interface Subject<S> {
  /** `syn` null: the host peer opens. */
  start(syn: TcpSegment | null, iss: SeqNum, mss: number, now: Instant, out: Effect[]): S
  step(s: S, e: SimEvent, out: Effect[]): S
  isFinal(s: S): boolean
  /** Both sides are connected. */
  isOpen(s: S): boolean
  /** The same connection, taken over by another program: from what is written of it. The socket is restored, and does not run yet. */
  takenOver(s: S, dump: SocketDump, mss: number, now: Instant, out: Effect[]): readonly [S, Restoring]
  /** Octets of the guest's stream that the peer is believed to have. */
  confirmed(s: S): number
  describe(s: S): string
  /** Throws where the state contradicts itself. */
  check(s: S): void
  /** Answer to a segment without a flow. */
  noFlow(s: TcpSegment): { readonly seq: SeqNum; readonly ack: SeqNum; readonly flags: number } | null
}

const FLAG_NAMES = [
  [SYN, 'S'],
  [FIN, 'F'],
  [RST, 'R'],
  [PSH, 'P'],
  [ACK, '.']
] as const
const flagText = (f: number): string =>
  FLAG_NAMES.filter(([bit]) => f & bit)
    .map(([, name]) => name)
    .join('')
const TIMERS = {
  rto: 'TIMER_RTO',
  ack: 'TIMER_ACK',
  keepalive: 'TIMER_KEEPALIVE',
  idle: 'TIMER_IDLE'
} as const
/** ms: a turn's length, a frame's way. */
const TURN = 0.02
const LINK = 0.03

export class World<S> {
  readonly clock = new Clock()
  readonly guest: Guest
  readonly host: Host
  state: S | null = null
  final = false
  /** Events stepped: an endless loop shows here. */
  steps = 0
  /** Every segment that the machine sent, in order. */
  readonly sent: (ToGuest & { readonly at: number })[] = []
  private readonly fate: () => Fate
  private frames: TcpSegment[] = []
  private events: SockEvent[] = []
  private fired: TimerName[] = []
  private readonly timers = new Map<TimerName, number>()
  private turnDue = false
  private lastAck: SeqNum | null = null
  private lastEdge: SeqNum | null = null
  private irs: SeqNum
  private rcvScale = 0
  private knocks: boolean
  private handOver: HandOver | null = null
  /** Its socket hears nothing, since the turn before. */
  private frozen = false
  /** How often the connection has changed hands. */
  handed = 0

  constructor(
    private readonly subject: Subject<S>,
    private readonly s: Scenario
  ) {
    const { clock } = this
    this.fate = script(s.fates, 'pass' as Fate)
    this.irs = seq(s.guest.iss)
    this.knocks = s.opener === 'host'
    this.guest = new Guest(clock, s.guest, (seg) => {
      clock.log(`guest > ${this.text(seg, seg.payload.off, seg.payload.len)}`)
      this.carry(() => {
        this.frames.push(seg)
        this.turn()
      })
    })
    this.host = new Host(
      clock,
      s.host,
      (e) => {
        this.events.push(e)
        this.turn()
      },
      (f) => this.data(f),
      () => this.guest.delivered
    )
    for (const x of s.handOvers)
      clock.after(x.at, () => {
        this.handOver ??= x
        this.turn()
      })
    for (const x of s.spurious)
      clock.after(x.at, () => {
        this.fired.push(x.timer)
        this.turn()
      })
  }

  /** Run until nothing happens any more, `ms` have passed or `steps` events were stepped. Throws on a broken promise. */
  run(ms = 400_000, steps = 60_000): this {
    try {
      this.guest.start(this.s.opener === 'guest')
      if (this.knocks) this.turn()
      while (!this.bothOver && this.clock.now < 1000 + ms && this.clock.step())
        promise(this.steps < steps, `no end after ${steps} events`)
    } catch (e) {
      const trace = this.clock.trace.slice(-60).join('\n')
      throw e instanceof Violation ? new Violation(`${e.message}\n${trace}`) : e
    }
    return this
  }
  get bothOver(): boolean {
    const guestOver = this.guest.over && !this.knocks
    // A closed socket's kernel goes on delivering.
    const hostOver = this.host.over && (this.host.state !== 'closed' || this.host.eofAtPeer)
    return this.state === null ? guestOver : this.final && guestOver && hostOver
  }
  /** Both streams arrived whole, ends included. (The guest may lack the last ACK of its FIN.) */
  get complete(): boolean {
    return (
      this.guest.finRead &&
      this.guest.delivered === this.s.host.sends &&
      this.host.received === this.s.guest.sends &&
      this.host.eofAtPeer
    )
  }
  get reset(): boolean {
    const { state } = this.guest
    const hostOver = this.host.state === 'reset' || this.host.state === 'failed'
    return (state === 'reset' || state === 'listen') && hostOver
  }

  private text(
    g: { seq: SeqNum; ack: SeqNum; flags: number; wnd: number },
    pos: number,
    len: number
  ): string {
    return `${flagText(g.flags)} seq ${unsigned(g.seq)} ack ${unsigned(g.ack)} wnd ${g.wnd}${len > 0 ? ` octets ${pos}..${pos + len}` : ''}`
  }
  private carry(arrive: () => void): void {
    const fate = this.fate()
    if (fate !== 'pass') this.clock.log(`       ${typeof fate === 'string' ? fate : `delay ${fate.delay}`}`)
    if (fate === 'lose') return
    if (fate === 'double') this.clock.after(LINK * 2, arrive)
    this.clock.after(typeof fate === 'object' ? fate.delay : LINK, arrive)
  }

  /** What holds of every segment towards the guest, in the order sent. */
  private toGuest(g: ToGuest): void {
    this.clock.log(`flow  > ${this.text(g, g.pos, g.len)}`)
    this.sent.push({ ...g, at: this.clock.now })
    promise(g.len <= this.s.mtuMss, 'a segment longer than the MTU')
    if (g.flags & SYN) promise(g.mss === this.s.mtuMss, 'announces another MSS than its own')
    if ((g.flags & (SYN | ACK)) === SYN) this.ownSyn(g)
    if (g.flags & ACK && !(g.flags & RST)) {
      const fin = this.host.shut ? 1 : 0
      const most = add(this.irs, 1 + this.host.taken + fin)
      promise(le(g.ack, most), 'acknowledges octets that the host has not taken')
      promise(this.lastAck === null || le(this.lastAck, g.ack), 'acknowledgement goes back')
      if (g.flags & SYN) this.rcvScale = g.windowScale ?? 0
      const edge = add(g.ack, g.flags & SYN ? g.wnd : g.wnd << this.rcvScale)
      // Unscaled, and so never more than the field holds (RFC 7323 §2.2): sent again, it may say less than an ACK since.
      const full = (g.flags & SYN) !== 0 && g.wnd === 65535
      promise(this.lastEdge === null || full || le(this.lastEdge, edge), 'right window edge pulled back')
      promise(g.wnd <= 65535 && g.wnd >= 0, 'window field out of range')
      this.lastAck = g.ack
      this.lastEdge = this.lastEdge === null ? edge : max(this.lastEdge, edge)
    }
    this.carry(() => this.guest.receive(g))
  }
  private firstSyn: ToGuest | null = null
  private ownSyn(g: ToGuest): void {
    const first = this.firstSyn ?? g
    promise(JSON.stringify(g) === JSON.stringify(first), '#regression-B: another SYN than the first one')
    promise(this.s.opener === 'host', 'a SYN to the guest that opened')
    this.firstSyn = first
    this.rcvScale = this.s.guest.scale === null ? 0 : (g.windowScale ?? 0)
    this.lastEdge = add(this.irs, 1 + g.wnd)
  }
  private data(f: DataFrame): void {
    const options = { mss: null, windowScale: null }
    this.toGuest({ ...f, ...options, seq: seq(f.seq), ack: seq(f.ack), flags: ACK })
  }

  private turn(): void {
    if (this.turnDue) return
    this.turnDue = true
    this.clock.after(TURN, () => this.runTurn())
  }
  /** One loop turn: results, readiness, timers, frames, TURN_END; then the effects. */
  private runTurn(): void {
    this.turnDue = false
    const now = instant(this.clock.now)
    const out: Effect[] = []
    const { events, fired, frames } = this
    this.events = []
    this.fired = []
    this.frames = []
    const order = (e: SockEvent): number => (e.type === 'SOCK_SENT' || e.type === 'SOCK_PEEKED' ? 0 : 1)
    events.sort((a, b) => order(a) - order(b))
    if (this.knocks) {
      this.knocks = false
      this.begin(null, now, out)
    }
    for (const e of events)
      if (e.type !== 'SOCK_DATAGRAM' && e.type !== 'SOCK_ICMP_ERROR') this.step({ ...e, now }, out)
    for (const t of fired) this.step({ type: TIMERS[t], now }, out)
    if (this.frozen) this.goOn(now, out)
    for (const seg of frames) this.segment(seg, now, out)
    this.step({ type: 'TURN_END', now }, out)
    const h = this.freezes ? this.handOver : null
    for (const e of out) if (h === null || !h.losesPeek || e.type !== 'PeekToTap') this.carryOut(e)
    this.host.results()
    if (h === null) return
    this.clock.log(`flow  : frozen, to be ${h.how}`)
    this.host.freeze()
    this.frozen = true
    this.turn()
  }
  private get freezes(): boolean {
    return this.handOver !== null && this.state !== null && !this.final && this.subject.isOpen(this.state)
  }
  /** A turn after it was frozen: all results are in, and the guest was stopped. */
  private goOn(now: Instant, out: Effect[]): void {
    const { how } = this.handOver!
    this.frozen = false
    this.handOver = null
    if (this.state === null || this.final || this.host.over) return
    this.handed++
    this.step({ type: 'FROZEN', now }, out)
    for (const e of out.splice(0)) this.carryOut(e)
    promise(this.timers.size === 0, `timers of a frozen connection: ${[...this.timers.keys()]}`)
    if (how === 'thawed') {
      this.step({ type: 'THAWED', now }, out)
      return this.step({ ...this.host.thaw(), now }, out)
    }
    const [state, restoring] = this.subject.takenOver(this.state, this.host.dump(), this.s.mtuMss, now, out)
    this.state = state
    this.subject.check(state)
    this.host.restore(restoring)
    this.step({ type: 'SOCK_CONNECTED', info: this.host.info, now }, out)
  }
  private segment(seg: TcpSegment, now: Instant, out: Effect[]): void {
    if (this.state === null && (seg.flags & (SYN | ACK | RST)) === SYN) this.begin(seg, now, out)
    else if (this.state !== null && !this.final) this.step({ type: 'TAP_SEGMENT', seg, now }, out)
    else {
      const r = this.subject.noFlow(seg)
      if (r !== null) this.toGuest({ ...r, wnd: 0, mss: null, windowScale: null, pos: 0, len: 0 })
    }
  }
  private begin(syn: TcpSegment | null, now: Instant, out: Effect[]): void {
    this.state = this.subject.start(syn, seq(this.s.iss), this.s.mtuMss, now, out)
    this.subject.check(this.state)
  }
  private step(e: SimEvent, out: Effect[]): void {
    if (this.state === null || this.final) return
    this.steps++
    this.state = this.subject.step(this.state, e, out)
    if (e.type !== 'TURN_END' && e.type !== 'TAP_SEGMENT')
      this.clock.log(`${eventText(e)} ${this.subject.describe(this.state)}`)
    this.subject.check(this.state)
    promise(this.subject.confirmed(this.state) <= this.host.received, 'more acknowledged than the peer has')
    this.final = this.subject.isFinal(this.state)
  }
  private carryOut(e: Effect): void {
    switch (e.type) {
      case 'SegmentToTap':
        return this.toGuest({ ...e, pos: 0, len: 0 })
      case 'ArmTimer': {
        promise(e.at > this.clock.now - 1, `timer ${e.timer} armed in the past`)
        this.timers.set(e.timer, e.at)
        this.clock.after(e.at - this.clock.now, () => {
          if (this.timers.get(e.timer) !== e.at) return
          this.timers.delete(e.timer)
          this.fired.push(e.timer)
          this.turn()
        })
        return
      }
      case 'CancelTimer':
        this.timers.delete(e.timer)
        return
      case 'Count':
      case 'KeepAlive':
        return
      default:
        this.clock.log(`flow  : ${effectText(e)}`)
        return this.host.carryOut(e)
    }
  }
}

const fields = (o: object, hide: readonly string[]): string =>
  Object.entries(o)
    .filter(([k, v]) => !hide.includes(k) && (typeof v === 'number' || v === true))
    .map(([k, v]) => `${k} ${v}`)
    .join(' ')
const eventText = (e: SimEvent): string => `event : ${e.type} ${fields(e, ['now'])}`
const effectText = (e: Effect): string =>
  `${e.type} ${fields(e, [])}${'payload' in e ? ` octets ${e.payload.off}..${e.payload.off + e.payload.len}` : ''}`
