// One plain TCP connection between two sockets, as their programs see it on Linux: bounded buffers, half-close, RST.
// Octets are only counted, since a stream cannot swap them. What the kernel does in between happens in deliver(), when the
// schedule says so: nothing of it is a matter of time.

/** Octets. */
export interface Buffers {
  readonly send: number
  readonly receive: number
}
export type Read = number | 'end' | 'reset' | 'wait'
/**
 *   open    its program has it
 *   orphan  closed by its program, the kernel still delivers; more data from the peer is answered with RST
 *   broken  a RST came: the program has it, and can read what came before
 *   gone    nothing is left
 */
type Phase = 'open' | 'orphan' | 'broken' | 'gone'

/** One of the two sockets. */
export class End {
  private peer: End = this
  phase: Phase = 'open'
  /** In the receive queue. */
  unread = 0
  finCame = false
  /** In the send queue; behind it a FIN; a RST in front of both, which it takes the place of. */
  private queued = 0
  private fin: 'no' | 'due' | 'sent' = 'no'
  private rst = false

  private constructor(private readonly buf: Buffers) {}
  static connection(buf: Buffers): readonly [End, End] {
    const a = new End(buf)
    const b = new End(buf)
    a.peer = b
    b.peer = a
    return [a, b]
  }

  // --- the program's calls

  get writable(): boolean {
    return this.phase !== 'open' || this.fin !== 'no' || this.queued < this.buf.send
  }
  /** Octets taken, 0 = would block; 'reset' also behind its own shutdown(), as EPIPE. */
  write(octets: number): number | 'reset' {
    if (this.phase !== 'open' || this.fin !== 'no') return 'reset'
    const n = Math.min(octets, this.buf.send - this.queued)
    this.queued += n
    return n
  }
  get readable(): boolean {
    return this.unread > 0 || this.finCame || this.phase !== 'open'
  }
  /** What came before a RST can be read (tcp_reset() leaves the receive queue); an end of stream stays one behind it. */
  read(octets: number): Read {
    const n = Math.min(octets, this.unread)
    this.unread -= n
    if (n > 0) return n
    return this.finCame ? 'end' : this.phase === 'open' ? 'wait' : 'reset'
  }
  shutdown(): void {
    if (this.phase === 'open' && this.fin === 'no') this.fin = 'due'
  }
  /** With data unread it is a reset (RFC 2525 §2.17). */
  close(): void {
    if (this.phase === 'broken' || this.over) this.phase = 'gone'
    else if (this.unread > 0) this.reset()
    else if (this.phase === 'open') {
      this.shutdown()
      this.phase = 'orphan'
    }
    this.unread = 0
  }
  /** close() with SO_LINGER {1, 0}. */
  reset(): void {
    this.rst = this.phase !== 'broken' && this.phase !== 'gone' && !this.over
    this.phase = 'gone'
    this.queued = this.unread = 0
    this.fin = 'no'
  }
  /** Both FINs have arrived: nothing follows, no RST either. */
  private get over(): boolean {
    return this.finCame && this.fin === 'sent'
  }

  // --- the kernel's way to the peer

  get deliverable(): boolean {
    if (this.rst) return true
    return this.queued > 0 ? this.peer.room > 0 : this.fin === 'due'
  }
  /** RST, or at most so many octets, or FIN. Returns what it was. */
  deliver(octets: number): string {
    if (this.rst) {
      this.rst = false
      this.peer.rstArrives()
      return 'RST'
    }
    if (this.queued > 0) {
      const n = Math.min(this.queued, Math.max(1, octets), this.peer.room)
      this.queued -= n
      this.peer.dataArrives(n)
      return `${n} octets`
    }
    this.fin = 'sent'
    this.peer.finCame = true
    return 'FIN'
  }
  /** Who does not read any more throws away what comes, and answers it. */
  private get room(): number {
    return this.phase === 'open' ? this.buf.receive - this.unread : Number.POSITIVE_INFINITY
  }
  private dataArrives(octets: number): void {
    if (this.phase === 'open') this.unread += octets
    else if (this.phase === 'orphan') this.reset()
    else if (this.phase === 'gone') this.rst = true
  }
  private rstArrives(): void {
    if (this.over) return
    this.phase = this.phase === 'open' ? 'broken' : 'gone'
    this.queued = 0
    this.fin = this.fin === 'sent' ? 'sent' : 'no'
  }
}
