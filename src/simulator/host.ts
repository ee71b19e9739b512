import { add } from '../codecs/value/seq.js'
import type { Effect } from '../effects/effect.js'
import { instant } from '../effects/effect.js'
import type { Restoring, SocketDump } from '../effects/hand-over.js'
import type { SockEvent, SockInfo } from '../effects/sock-event.js'
import { type Clock, promise, script } from './clock.js'

/** How the host socket, its kernel and the peer behind it behave. Octets and ms. */
export interface HostScript {
  readonly connectMs: number
  /** 0: connect(), or the adoption of the accepted connection, succeeds. */
  readonly connectErrno: number
  readonly rtt: number
  readonly sndBuf: number
  /** Most octets that one send takes, one send after the other; then whatever there is room for. */
  readonly takes: readonly number[]
  /** Octets that native keeps at most. */
  readonly tailMax: number
  /** The kernel reports acknowledgements (TX_ACK). */
  readonly reports: boolean
  readonly peerBuf: number
  /** The peer reads so many octets at a time, this often. */
  readonly peerReads: number
  readonly peerReadsMs: number
  /** What the peer sends, in such pieces, this often; then it closes, or only after the guest did. */
  readonly sends: number
  readonly sendsEach: number
  readonly sendsMs: number
  readonly closesLast: boolean
  /** The peer resets then. */
  readonly resetsAt: number | null
  readonly rcvBuf: number
  /** After so many frames of a peek the tap is full, one peek after the other. -1: never. */
  readonly tapFull: readonly number[]
}

/** Octets are their positions in the stream: none can be lost, doubled or swapped unseen. */
export interface DataFrame {
  readonly seq: number
  readonly ack: number
  readonly wnd: number
  readonly pos: number
  readonly len: number
}

/** Sequence numbers of the first octets; they wrap soon. */
const SND_BASE = 0xffff_fff0
const RCV_BASE = 0x7fff_fff0

type State = 'new' | 'connecting' | 'open' | 'closed' | 'reset' | 'failed'

/**
 * The host socket with native's part around it: interprets the socket effects, reports SockEvents.
 * Promises that it holds its user to: payload in order, shut down only behind all of it, discard only what was peeked
 * and delivered, no effect after the end.
 */
export class Host {
  state: State = 'new'
  /** Guest's stream: taken by the kernel, kept by native, received by the peer, read by it. */
  taken = 0
  tail = 0
  received = 0
  private read = 0
  shut = false
  eofAtPeer = false
  /** Peer's stream: written, arrived in the queue, dropped from the queue's head. */
  private written = 0
  private arrived = 0
  discarded = 0
  private peekAt = 0
  private eof = false
  private readonly take: () => number
  private readonly full: () => number
  private adopted = false
  private awaiting = false
  private moving = false
  private reported: number[] = []
  /** Of a restored socket: octets that were acknowledged before, and the peer's end, which its kernel does not know. */
  private ackedBefore: number | null = null
  private endTold = false
  /** Octets on their way to the peer. */
  private onWay = 0
  private sentNow: { taken: number; dropped: number } | null = null

  constructor(
    private readonly clock: Clock,
    private readonly s: HostScript,
    /** An event for the flow, in a turn to come. */
    private readonly event: (e: SockEvent) => void,
    private readonly toTap: (f: DataFrame) => void,
    /** Octets of the peer's stream that the guest has. */
    private readonly delivered: () => number
  ) {
    this.take = script(s.takes, Number.POSITIVE_INFINITY)
    this.full = script(s.tapFull, -1)
  }

  private get room(): number {
    return Math.max(0, this.s.sndBuf - (this.taken - this.received))
  }
  private get peerRoom(): number {
    return Math.max(0, this.s.peerBuf - (this.received - this.read))
  }
  private now() {
    return instant(this.clock.now)
  }
  get info(): SockInfo {
    return {
      sndWnd: this.peerRoom,
      rtt: this.s.rtt * 1000,
      minRtt: this.s.rtt * 1000,
      bytesAcked: this.acknowledged >>> 0,
      sndFree: this.room,
      sndBuf: this.s.sndBuf
    }
  }
  private get acknowledged(): number {
    if (this.ackedBefore !== null) return this.received - this.ackedBefore
    return (this.adopted ? 0 : 1) + this.received
  }
  get over(): boolean {
    return this.state === 'closed' || this.state === 'reset' || this.state === 'failed'
  }

  /** Results of the effects given since the last call, to be the first events of the next turn. */
  results(): void {
    if (this.sentNow === null) return
    const { taken, dropped } = this.sentNow
    this.sentNow = null
    this.event({
      type: 'SOCK_SENT',
      taken,
      dropped,
      errno: 0,
      info: this.info,
      now: this.now()
    })
  }

  carryOut(e: Effect): void {
    switch (e.type) {
      case 'TcpConnect':
        promise(this.state === 'new', 'connects twice')
        this.state = 'connecting'
        this.clock.after(this.s.connectMs, () => this.connected())
        return
      case 'SockAdopt':
        promise(this.state === 'new', 'adopts twice')
        this.adopted = true
        this.state = 'connecting'
        return this.connected()
      case 'SendToSock':
        return this.send(e.payload.off, e.payload.len, e.reportAck)
      case 'PeekToTap':
        return this.peek(e)
      case 'DiscardFromSock':
        promise(this.state === 'open', `discards from a ${this.state} socket`)
        this.discarded += e.octets
        promise(this.discarded <= this.arrived, 'discards more than there is')
        promise(this.discarded <= this.delivered(), 'discards what the guest does not have')
        this.peekAt = Math.max(this.peekAt, this.discarded)
        return
      case 'RewindPeek':
        promise(e.octets >= 0, 'rewinds in front of the queue')
        this.peekAt = this.discarded + e.octets
        return
      case 'ShutdownWr':
        promise(this.state === 'open' && !this.shut, 'shuts down twice')
        promise(this.tail === 0 && this.sentNow === null, 'shuts down in front of data')
        this.shut = true
        return this.move()
      case 'AwaitWritable':
        this.awaiting = true
        return this.wake()
      case 'QueryInfo':
        return this.event({ type: 'SOCK_INFO', info: this.info, now: this.now() })
      case 'CloseSock':
        promise(!this.over || this.state === 'failed', 'closes twice')
        if (this.state === 'open')
          promise(
            this.discarded === this.arrived && this.tail === 0,
            'close() with data unread would reset the peer'
          )
        if (this.state !== 'failed') this.state = 'closed'
        this.shut = true
        return this.move()
      case 'ResetSock':
        promise(!this.over, 'resets after the end')
        this.state = 'reset'
        return
      default:
        return
    }
  }

  /** What native keeps is dropped, and who waits is forgotten. */
  freeze(): void {
    this.tail = 0
    this.awaiting = false
    this.reported = []
    this.peekAt = this.discarded
  }
  thaw(): Extract<SockEvent, { type: 'SOCK_READY' }> {
    return {
      type: 'SOCK_READY',
      readable: this.arrived > this.discarded || this.eof,
      writable: true,
      rdhup: this.eof,
      info: this.info,
      now: this.now()
    }
  }
  /** In repair mode: what its kernel says (tcp(7)). */
  dump(): SocketDump {
    const finOut = this.shut && !this.eofAtPeer
    const state = this.shut ? (finOut ? (this.eof ? 9 : 4) : this.eof ? 7 : 5) : this.eof ? 8 : 1
    const unacked = this.taken - this.received
    const outq = unacked + (finOut ? 1 : 0)
    return {
      sndSeq: (SND_BASE + this.taken + (this.shut ? 1 : 0)) >>> 0,
      rcvSeq: (RCV_BASE + this.arrived + (this.eof ? 1 : 0)) >>> 0,
      outq,
      outqNsd: unacked === this.onWay ? 0 : outq - this.onWay,
      inq: this.arrived - this.discarded,
      sndKept: unacked,
      rcvKept: this.arrived - this.discarded,
      maxSeg: 1448,
      timestamp: 0,
      window: {
        sndWl1: (RCV_BASE + this.arrived) >>> 0,
        sndWnd: this.peerRoom,
        maxWindow: 65_535,
        rcvWnd: 65_535,
        rcvWup: (RCV_BASE + this.arrived + (this.eof ? 1 : 0)) >>> 0
      },
      sndScale: 7,
      rcvScale: 7,
      state,
      options: 7
    }
  }
  /** The same connection with another socket. */
  restore({ socket, shutInRepair, shutAtRun, peekOffset, unread, ended }: Restoring): void {
    promise(socket.sndSeq === (SND_BASE + this.received) >>> 0, 'SEQ of the send queue')
    promise(socket.rcvSeq === (RCV_BASE + this.discarded) >>> 0, 'SEQ of the receive queue')
    promise(socket.sndOctets === this.taken - this.received, 'octets of the send queue')
    promise(unread === this.arrived - this.discarded, 'octets of the receive queue')
    const { rcvWup, rcvWnd } = socket.window
    const next = (RCV_BASE + this.arrived) >>> 0
    promise(
      rcvWup === next && rcvWnd === 65_535 + (this.eof ? 1 : 0),
      'window beyond what the kernel can know'
    )
    promise((shutInRepair || shutAtRun) === this.shut && !(shutInRepair && shutAtRun), 'our end')
    promise(!shutInRepair || this.eofAtPeer, 'our end counts as acknowledged')
    promise(ended === this.eof, "the peer's end")
    promise(peekOffset >= 0 && peekOffset <= unread, 'peek offset beyond the queue')
    this.ackedBefore = this.received
    this.endTold = this.eof
    this.peekAt = this.discarded + peekOffset
  }

  private connected(): void {
    if (this.state !== 'connecting') return
    if (this.s.connectErrno !== 0) return this.fail(this.s.connectErrno)
    this.state = 'open'
    this.event({ type: 'SOCK_CONNECTED', info: this.info, now: this.now() })
    if (this.s.resetsAt !== null) this.clock.after(this.s.resetsAt, () => this.fail(104))
    if (this.adopted)
      this.peerWrites() // it has known the connection for a while
    else this.clock.after(this.s.sendsMs, () => this.peerWrites())
  }
  private fail(errno: number): void {
    if (this.over) return
    this.clock.log(`peer: errno ${errno}`)
    this.state = 'failed'
    this.event({ type: 'SOCK_FAILED', errno, now: this.now() })
  }

  private send(pos: number, len: number, report: boolean): void {
    promise(this.state === 'open' && !this.shut, 'sends after the end')
    this.sentNow ??= { taken: 0, dropped: 0 }
    const next = this.taken + this.tail
    promise(pos === next + this.sentNow.dropped && len > 0, `octet ${pos} to the socket, ${next} is next`)
    const n = this.tail > 0 || this.sentNow.dropped > 0 ? 0 : Math.min(len, this.room, this.take())
    const kept = this.sentNow.dropped > 0 ? 0 : Math.min(len - n, Math.max(0, this.s.tailMax - this.tail))
    this.taken += n
    this.tail += kept
    this.sentNow.taken += n
    this.sentNow.dropped += len - n - kept
    if (report && this.s.reports && n + kept > 0) this.reported.push(next + n + kept)
    this.move()
    if (kept > 0) this.clock.after(0.5, () => this.drain())
  }
  /** Native writes what it kept. */
  private drain(): void {
    if (this.tail === 0 || this.state !== 'open') return
    const n = Math.min(this.tail, this.room, Math.max(1, this.take()))
    this.tail -= n
    this.taken += n
    if (n > 0)
      this.event({
        type: 'SOCK_SENT',
        taken: n,
        dropped: 0,
        errno: 0,
        info: this.info,
        now: this.now()
      })
    this.move()
    if (this.tail > 0) this.clock.after(1, () => this.drain())
  }
  /** The kernel sends to the peer what its window allows; a round trip later it is acknowledged. */
  private move(): void {
    if (this.moving || this.state === 'reset' || this.state === 'failed') return
    if (this.shut && this.received === this.taken) this.eofAtPeer = true
    const n = Math.min(this.taken - this.received, this.peerRoom)
    if (n <= 0) return
    this.moving = true
    this.onWay = n
    this.clock.after(this.s.rtt, () => {
      this.moving = false
      this.onWay = 0
      if (this.state === 'reset' || this.state === 'failed') return
      this.received += n
      this.peerReads()
      const done = this.reported.filter((r) => r <= this.received)
      this.reported = this.reported.filter((r) => r > this.received)
      const last = done.at(-1)
      if (last !== undefined && this.state === 'open')
        this.event({ type: 'SOCK_ACKED', octet: last - 1 - (this.ackedBefore ?? 0), now: this.now() })
      this.wake()
      this.move()
    })
  }
  private wake(): void {
    if (!this.awaiting || this.state !== 'open' || this.tail > 0 || this.room * 3 < this.s.sndBuf) return
    this.awaiting = false
    this.event({
      type: 'SOCK_READY',
      readable: false,
      writable: true,
      rdhup: false,
      info: this.info,
      now: this.now()
    })
  }
  private reading = false
  private peerReads(): void {
    if (this.reading || this.read === this.received) return
    this.reading = true
    this.clock.after(this.s.peerReadsMs, () => {
      this.reading = false
      this.read = Math.min(this.received, this.read + this.s.peerReads)
      this.move()
      this.peerReads()
    })
  }

  private peerWrites(): void {
    if (this.state !== 'open' || this.eof) return
    const n = Math.min(
      this.s.sendsEach,
      this.s.sends - this.written,
      this.s.rcvBuf - (this.arrived - this.discarded)
    )
    this.written += n
    this.arrived += n
    this.eof = this.written === this.s.sends && (!this.s.closesLast || this.eofAtPeer)
    if (n > 0 || this.eof)
      this.event({
        type: 'SOCK_READY',
        readable: true,
        writable: false,
        rdhup: this.eof,
        info: null,
        now: this.now()
      })
    // Waiting for room, or for the guest to close, it looks less often.
    if (!this.eof) this.clock.after(n > 0 ? this.s.sendsMs : 20, () => this.peerWrites())
  }

  private peek(e: Extract<Effect, { type: 'PeekToTap' }>): void {
    promise(this.state === 'open', `peeks at a ${this.state} socket`)
    promise(e.octets > 0 && e.mss > 0, 'peeks nothing')
    const full = this.full()
    const wanted = Math.min(e.octets, this.arrived - this.peekAt)
    let done = 0
    for (let frames = 0; done < wanted && frames !== full; frames++) {
      const len = Math.min(e.mss, wanted - done)
      this.toTap({ seq: add(e.seq, done), ack: e.ack, wnd: e.wnd, pos: this.peekAt, len })
      this.peekAt += len
      done += len
    }
    this.event({
      type: 'SOCK_PEEKED',
      octets: done,
      eof: this.eof && !this.endTold && this.peekAt === this.arrived && done === wanted,
      drained: this.peekAt === this.arrived,
      tapFull: done < wanted,
      tapTells: false,
      errno: 0,
      now: this.now()
    })
  }
}
