import { add, distance, le, lt, max, type SeqNum, seq } from '../codecs/value/seq.js'
import { ACK, FIN, RST, SYN, type TcpSegment } from '../codecs/wire/tcp.js'
import { type Clock, promise } from './clock.js'
import { blank, type GuestScript, type ToGuest } from './script.js'

type State = 'listen' | 'synSent' | 'synRcvd' | 'open' | 'reset'

/**
 * A small, honest TCP: windows, go-back-N after a time-out, fast retransmit, probes, FIN. Octets are their positions in
 * the stream, so `payload.off` of what it sends is the position.
 */
export class Guest {
  state: State = 'listen'
  private readonly iss: SeqNum
  private irs: SeqNum = seq(0)
  // sender
  private una: SeqNum
  private nxt: SeqNum
  private top: SeqNum
  private wnd = 0
  private peerScale = 0
  private written = 0
  private closed = false
  private dups = 0
  private recover: SeqNum
  private rto = 1000
  private timer = 0
  private tries = 0
  // receiver
  delivered = 0
  private read = 0
  private rcvBuf: number
  private readonly holes: { readonly from: number; readonly to: number }[] = []
  private finPos: number | null = null
  finRead = false
  /** Right edge of the window, as a position in the host's stream: the largest ever offered. */
  offered = 0
  private ackPending = 0
  /** Every segment is answered by RST from then on: the guest was rebooted. */
  dead = false

  constructor(
    private readonly clock: Clock,
    private readonly s: GuestScript,
    private readonly out: (s: TcpSegment) => void
  ) {
    this.iss = seq(s.iss)
    this.una = this.iss
    this.nxt = add(this.iss, 1)
    this.top = this.nxt
    this.recover = this.iss
    this.rcvBuf = s.rcvBuf
  }

  /** `opens`: it is the one that begins. */
  start(opens: boolean): void {
    if (opens || this.s.inward === 'crosses') {
      this.state = 'synSent'
      this.syn()
    }
    for (const q of this.s.squeezes)
      this.clock.after(q.at, () => {
        this.rcvBuf = q.rcvBuf
        this.clock.log(`guest: receive buffer ${q.rcvBuf}`)
        if (this.state === 'open') this.ack()
      })
    if (this.s.resetsAt !== null)
      this.clock.after(this.s.resetsAt, () => {
        if (this.state === 'open') this.send(this.nxt, 0, RST)
        this.state = 'reset'
      })
  }
  /** It has nothing to say any more, or never had. */
  get over(): boolean {
    return this.state === 'reset' || this.state === 'listen' || this.complete
  }
  /** Everything it sent is acknowledged, FIN included, and everything was received. */
  get complete(): boolean {
    return this.finRead && this.una === add(this.iss, this.s.sends + 2)
  }

  private get window(): number {
    return Math.max(0, this.rcvBuf - (this.delivered - this.read))
  }
  private get rcvNxt(): SeqNum {
    return add(this.irs, 1 + this.delivered + (this.finRead ? 1 : 0))
  }
  private send(at: SeqNum, len: number, flags: number): void {
    const syn = (flags & SYN) !== 0
    const scale = syn ? 0 : this.peerScaleOurs()
    const wnd = Math.min(65535, this.window >> scale)
    this.offered = Math.max(this.offered, this.delivered + (wnd << scale))
    this.ackPending = 0
    this.out({
      srcPort: 1,
      dstPort: 2,
      seq: at,
      ack: flags & ACK ? this.rcvNxt : seq(0),
      flags,
      wnd,
      urgent: 0,
      mss: syn ? this.s.mss : null,
      windowScale: syn ? this.s.scale : null,
      payload: { off: Math.max(0, distance(at, this.iss) - 1), len }
    })
  }
  /** Shift of the windows that we send: ours, if the SYN,ACK had one too. */
  private scaleOk = false
  private peerScaleOurs(): number {
    return this.scaleOk && this.s.scale !== null ? this.s.scale : 0
  }
  /** SYN or SYN,ACK, again and again. */
  private syn(): void {
    if (this.state !== 'synSent' && this.state !== 'synRcvd') return
    this.tries++
    if (this.tries > 7) {
      if (this.state === 'synRcvd') this.send(this.nxt, 0, RST)
      this.state = 'reset'
      return
    }
    this.sendSyn()
    this.clock.after(this.rto, () => this.syn())
    this.rto *= 2
  }
  private sendSyn(): void {
    if (this.state === 'synSent') return this.send(this.iss, 0, SYN)
    const n = this.crossed ? 0 : Math.min(this.s.early, this.s.sends, this.s.mss ?? 536, this.wnd)
    const fin = !this.crossed && n > 0 && n === this.s.sends && !this.s.closesLast
    this.written = Math.max(this.written, n)
    this.send(this.iss, n, SYN | ACK | (fin ? FIN : 0))
    this.nxt = add(this.iss, 1 + n + (fin ? 1 : 0))
    this.top = max(this.top, this.nxt)
  }
  private crossed = false
  private deaf = 0
  /** Someone wants a connection with us; we may want one too. */
  private receiveSyn(s: ToGuest): void {
    this.crossed = this.state === 'synSent'
    this.hear(s)
    this.state = 'synRcvd'
    if (this.crossed) return this.sendSyn() // its timer runs
    this.syn()
  }
  private hear(s: ToGuest): void {
    this.irs = s.seq
    this.wnd = s.wnd
    this.scaleOk = s.windowScale !== null
    this.peerScale = this.s.scale === null ? 0 : (s.windowScale ?? 0)
  }
  private opened(): void {
    this.state = 'open'
    this.una = add(this.iss, 1)
    this.rto = 250
    this.tries = 0
    this.clock.after(10_000, () => this.keepAlive())
  }
  /** So that a guest whose RST was lost learns of it; a silent half of a connection would wait for ever. */
  private keepAlive(): void {
    if (this.state !== 'open' || this.complete) return
    this.send(add(this.top, -1), 0, ACK)
    this.clock.after(10_000, () => this.keepAlive())
  }
  ack(): void {
    this.send(this.top, 0, ACK)
  }

  receive(s: ToGuest): void {
    if (this.dead || this.state === 'reset') {
      if (!(s.flags & RST)) {
        const keep = this.state
        this.state = 'reset'
        this.refuse(s)
        this.state = keep
      }
      return
    }
    if (this.state === 'listen') return this.receiveInListen(s)
    if (this.state === 'synSent') return this.receiveSynAck(s)
    if (this.state === 'synRcvd' && !this.receiveInSynRcvd(s)) return
    if (s.flags & SYN) return this.ack()
    if (s.flags & RST) {
      if (s.seq === this.rcvNxt) this.state = 'reset'
      else if (le(this.rcvNxt, s.seq) && le(s.seq, add(this.rcvNxt, this.window))) this.ack() // RFC 5961 §3.2
      return
    }
    this.receiveAck(s)
    if (s.len > 0 || s.flags & FIN) this.receiveData(s)
    else if (lt(s.seq, this.rcvNxt)) this.ack() // keep-alive
    this.push()
  }

  /** RFC 9293 §3.10.7.1: as if there were no connection. */
  private refuse(s: ToGuest): void {
    if (s.flags & ACK) return this.out({ ...blank, seq: s.ack, flags: RST })
    this.out({ ...blank, ack: add(s.seq, 1), flags: RST | ACK })
  }
  private receiveInListen(s: ToGuest): void {
    if (s.flags & RST) return
    if (s.flags & ACK) return this.refuse(s)
    this.deaf++
    if (this.deaf <= this.s.deaf) return this.clock.log('guest: deaf')
    if (this.s.inward !== 'refuses') return this.receiveSyn(s)
    this.refuse(s)
    this.state = 'reset'
  }
  /** Returns whether there is more in it than the end of the handshake. */
  private receiveInSynRcvd(s: ToGuest): boolean {
    const ours = (s.flags & ACK) !== 0 && s.ack === add(this.iss, 1)
    // A listener's SYN,ACK may carry data: all of that may be acknowledged.
    const some = (s.flags & ACK) !== 0 && lt(this.iss, s.ack) && le(s.ack, this.top)
    if (s.flags & RST) {
      if (s.seq === this.rcvNxt) this.state = 'reset'
      return false
    }
    if (s.flags & SYN) {
      if (ours && this.crossed) {
        this.wnd = s.wnd
        this.opened()
        this.ack()
        this.write()
      } else this.sendSyn()
      return false
    }
    if (!some) {
      if (s.flags & ACK) this.refuse(s)
      return false
    }
    this.opened()
    this.write()
    return true
  }
  private receiveSynAck(s: ToGuest): void {
    const ours = (s.flags & ACK) !== 0 && s.ack === add(this.iss, 1)
    if (s.flags & RST) {
      if (ours) this.state = 'reset'
      return
    }
    if ((s.flags & (SYN | ACK)) === SYN) return this.receiveSyn(s)
    if (!ours || !(s.flags & SYN)) return
    promise(
      s.windowScale === null || this.s.scale !== null,
      '#regression-J: window scale that was not offered'
    )
    this.hear(s)
    this.opened()
    this.ack()
    this.write()
    this.push()
  }

  private receiveAck(s: ToGuest): void {
    promise(le(s.ack, this.top), `acknowledges ${distance(s.ack, this.iss)}, which was never sent`)
    const wnd = s.wnd << this.peerScale
    if (lt(this.una, s.ack)) {
      this.una = s.ack
      this.nxt = max(this.nxt, this.una)
      this.tries = 0
      this.rto = 250
      this.dups = 0
      this.timer++
      if (lt(this.una, this.recover))
        this.resend() // partial, RFC 6582
      else this.recover = this.una
    } else if (
      s.ack === this.una &&
      s.len === 0 &&
      !(s.flags & FIN) &&
      wnd === this.wnd &&
      lt(this.una, this.top)
    ) {
      this.dups++
      if (this.dups === 3 && le(this.recover, this.una)) {
        this.recover = this.top
        this.resend()
      }
    }
    if (le(this.una, s.ack)) this.wnd = wnd
    if (wnd > 0) this.tries = 0
  }
  private receiveData(s: ToGuest): void {
    promise(distance(s.seq, this.irs) - 1 === s.pos || s.len === 0, 'data under a wrong sequence number')
    // One octet beyond the largest window ever offered may be a probe.
    promise(s.pos + s.len <= this.offered + 1 || s.len <= 1, 'data beyond the window')
    promise(s.len <= (this.s.mss ?? 536), 'a segment longer than the MSS')
    const from = distance(s.seq, this.irs) - 1
    const to = Math.min(from + s.len, this.delivered + this.window)
    const before = this.delivered
    if (to > this.delivered && from <= to) this.holes.push({ from, to })
    let grown = true
    while (grown) {
      grown = false
      for (const h of this.holes)
        if (h.from <= this.delivered && h.to > this.delivered) {
          this.delivered = h.to
          grown = true
        }
    }
    this.reads()
    if (s.flags & FIN) {
      promise(this.finPos === null || this.finPos === from + s.len, 'FIN at two places')
      this.finPos = from + s.len
    }
    if (this.finPos !== null && this.delivered === this.finPos) this.finRead = true
    const inOrder = from === before && this.delivered === from + s.len && !(s.flags & FIN)
    this.ackPending++
    if (!inOrder || !this.s.delayedAck || this.ackPending > 1) this.ack()
    else
      this.clock.after(40, () => {
        if (this.ackPending > 0 && this.state === 'open') this.ack()
      })
  }

  private write(): void {
    if (this.state !== 'open') return
    this.written = Math.min(this.s.sends, this.written + this.s.writes)
    this.push()
    if (this.written < this.s.sends) this.clock.after(this.s.writesMs, () => this.write())
  }
  private reading = false
  private reads(): void {
    if (this.reading || this.read === this.delivered) return
    this.reading = true
    this.clock.after(this.s.readsMs, () => {
      this.reading = false
      if (this.state !== 'open') return
      const before = this.window
      this.read = Math.min(this.delivered, this.read + this.s.reads)
      const half = Math.min(this.rcvBuf / 2, this.s.mss ?? 536)
      if (before < half && this.window >= half) this.ack()
      this.reads()
      this.push()
    })
  }

  private get finSeq(): SeqNum {
    return add(this.iss, 1 + this.s.sends)
  }
  /** Send what is written and fits. */
  private push(): void {
    if (this.state !== 'open') return
    this.closed = this.written === this.s.sends && (!this.s.closesLast || this.finRead)
    const end = add(this.iss, 1 + this.written)
    for (;;) {
      const room = distance(add(this.una, this.wnd), this.nxt)
      const n = Math.min(distance(end, this.nxt), room, this.s.tso)
      const fin = this.closed && add(this.nxt, Math.max(0, n)) === this.finSeq
      if (n <= 0 && !(fin && (room > 0 || this.wnd === 0))) break
      this.send(this.nxt, Math.max(0, n), ACK | (fin ? FIN : 0))
      this.nxt = add(this.nxt, Math.max(0, n) + (fin ? 1 : 0))
      this.top = max(this.top, this.nxt)
      if (fin) break
    }
    this.arm()
  }
  /** The first segment again: what was sent of it, and no more. */
  private resend(): void {
    const finSent = lt(this.finSeq, this.top)
    const n = Math.min(distance(finSent ? this.finSeq : this.top, this.una), this.s.tso)
    const fin = finSent && add(this.una, n) === this.finSeq
    this.send(this.una, n, ACK | (fin ? FIN : 0))
  }
  private arm(): void {
    const waiting =
      lt(this.una, this.top) || (this.wnd === 0 && this.written > distance(this.una, this.iss) - 1)
    if (!waiting) {
      this.timer++
      return
    }
    if (this.armed === this.timer) return
    this.armed = this.timer
    const id = this.timer
    this.clock.after(this.rto, () => {
      if (id !== this.timer || this.state !== 'open') return
      this.timer++
      this.timeout()
    })
  }
  private armed = -1
  /** Retransmission time-outs and window probes. */
  timeouts = 0
  private timeout(): void {
    this.timeouts++
    this.tries++
    if (this.tries > 15) {
      this.send(this.nxt, 0, RST)
      this.state = 'reset'
      return
    }
    this.rto = Math.min(4000, this.rto * 2)
    this.recover = this.top
    this.nxt = this.una
    this.dups = 0
    if (this.wnd === 0) {
      const n = this.written > distance(this.una, this.iss) - 1 ? 1 : 0
      const fin = n === 0 && this.closed
      this.send(this.una, n, ACK | (fin ? FIN : 0))
      this.nxt = add(this.una, n + (fin ? 1 : 0))
      this.top = max(this.top, this.nxt)
    }
    this.push()
  }
}
