import { ECONNREFUSED, ECONNRESET } from '../codecs/value/errno.js'
import { type Effect, type Instant, instant } from '../effects/effect.js'
import type { SpliceEvent } from '../effects/sock-event.js'
import { promise, script, Violation } from './clock.js'
import { Peer } from './splice-peer.js'
import { type Buffers, End } from './splice-wire.js'

// The interpreter of the effects of a spliced pair for tests: two peers, two plain TCP connections and a model of what
// native does between them (native/addon/splice.cc), under a schedule that decides at each point which of all the things
// that could happen does happen. A second world joins the same two peers directly: what they meet there is what they
// have to meet here.

export interface Scenario {
  readonly buffers: Buffers
  /** Octets that native takes from one side before it writes them to the other. */
  readonly pipe: number
  /** Nobody listens at the target. */
  readonly refuses: boolean
  /** Which of the possible steps comes next, modulo their number; then all in turn. */
  readonly choices: readonly number[]
  /** Octets that one step carries; then as many as there are. */
  readonly amounts: readonly number[]
}

/** The machine under test: runtime/machine/compile.ts, or xstate. */
export interface Subject<S> {
  start(now: Instant, out: Effect[]): S
  step(s: S, e: SpliceEvent, out: Effect[]): S
  isFinal(s: S): boolean
  describe(s: S): string
}

/** One thing that may happen next, by name. */
interface Step {
  readonly name: string
  readonly possible: () => boolean
  readonly run: () => void
}

/** Two peers and the steps between them. */
export abstract class World {
  readonly trace: string[] = []
  readonly peers: readonly [Peer, Peer]
  private readonly choose: () => number
  protected readonly amount: () => number
  private round = 0

  constructor(protected readonly s: Scenario) {
    this.choose = script(s.choices, -1)
    this.amount = script(s.amounts, Number.POSITIVE_INFINITY)
    const log = (text: string): void => this.log(text)
    this.peers = [new Peer('initiator', log), new Peer('target   ', log)]
  }
  protected log(text: string): void {
    this.trace.push(text)
  }
  protected abstract steps(): readonly Step[]
  protected peerSteps(): Step[] {
    return this.peers.map((p) => ({ name: p.name, possible: () => p.ready, run: () => p.run() }))
  }
  protected wireStep(name: string, from: End): Step {
    return {
      name,
      possible: () => from.deliverable,
      run: () => this.log(`  ${name} ${from.deliver(this.amount())}`)
    }
  }
  /** Until nothing is possible any more. Throws with the list of what happened where a promise is broken. */
  runUntilIdle(most = 20_000): this {
    return this.guarded(() => {
      for (let n = 0; ; n++) {
        const possible = this.steps().filter((s) => s.possible())
        if (possible.length === 0) return
        promise(n < most, `no end after ${most} steps`)
        const c = this.choose()
        possible[(c < 0 ? this.round++ : c) % possible.length].run()
      }
    })
  }
  /** `what` must hold, or the list of what happened is thrown. */
  expect(kept: boolean, what: string): void {
    this.guarded(() => promise(kept, what))
  }
  private guarded(f: () => void): this {
    try {
      f()
    } catch (e) {
      throw e instanceof Violation ? new Violation(`${e.message}\n${this.trace.slice(-80).join('\n')}`) : e
    }
    return this
  }
}

/** The two peers without us. */
export class Direct extends World {
  private wire: readonly [End, End] | null = null
  private tried = false

  protected steps(): readonly Step[] {
    if (!this.tried) return [{ name: 'connect', possible: () => true, run: () => this.connect() }]
    const wire = this.wire
    return wire === null
      ? []
      : [...this.peerSteps(), this.wireStep('->', wire[0]), this.wireStep('<-', wire[1])]
  }
  private connect(): void {
    this.tried = true
    this.log(this.s.refuses ? 'refused' : 'connected')
    if (this.s.refuses) {
      this.peers[0].sawReset = true
      this.peers[0].giveUp()
      return
    }
    this.wire = End.connection(this.s.buffers)
    this.peers.forEach((p, i) => {
      p.end = this.wire![i]
    })
  }
}

type SideName = 0 | 1
interface Side {
  end: End
  /** Its stream has ended; that was reported. */
  ended: boolean
  said: boolean
  /** Nothing can be read from it any more. */
  over: boolean
  broken: boolean
  shut: boolean
  shutDue: boolean
}
const side = (end: End): Side => ({
  end,
  ended: false,
  said: false,
  over: false,
  broken: false,
  shut: false,
  shutDue: false
})

/** The two peers with a pair of sockets between them, and the machine that decides what happens to these. */
export class Spliced<S> extends World {
  private state: S
  private readonly wires: (readonly [End, End])[] = []
  private readonly sides: Side[] = []
  /** Octets read from side i and not yet written to the other; written. */
  private readonly inside: [number, number] = [0, 0]
  private readonly moved: [number, number] = [0, 0]
  private phase: 'connecting' | 'open' | 'failed' | 'closed' | 'reset' = 'connecting'
  private asked = false
  private events: SpliceEvent[] = []
  final = false
  /** Events the machine did not expect. */
  unexpected = 0

  constructor(
    s: Scenario,
    private readonly subject: Subject<S>
  ) {
    super(s)
    this.wires.push(End.connection(s.buffers))
    this.peers[0].end = this.wires[0][0]
    this.sides.push(side(this.wires[0][1]))
    const out: Effect[] = []
    this.state = subject.start(this.now(), out)
    for (const e of out) this.carryOut(e)
    promise(this.asked, 'does not connect')
  }
  /** Nothing is left of the pair. */
  get freed(): boolean {
    return this.phase === 'closed' || this.phase === 'reset'
  }
  get howClosed(): string {
    return this.phase
  }
  private now(): Instant {
    return instant(this.trace.length)
  }

  protected steps(): readonly Step[] {
    return [
      ...this.peerSteps(),
      {
        name: 'connect',
        possible: () => this.asked && this.phase === 'connecting',
        run: () => this.connected()
      },
      ...this.wires.flatMap(([a, b], i) => [
        this.wireStep(i === 0 ? '-> side 0' : '<- target', i === 0 ? a : b),
        this.wireStep(i === 0 ? '<- side 0' : '-> target', i === 0 ? b : a)
      ]),
      ...([0, 1] as const).map((i) => ({
        name: `way ${i}`,
        possible: () => this.movable(i),
        run: () => this.move(i)
      })),
      { name: 'look', possible: () => this.notice(false), run: () => void this.notice(true) },
      { name: 'turn', possible: () => this.events.length > 0, run: () => this.turn() }
    ]
  }

  private connected(): void {
    if (this.s.refuses) return this.fail(1, ECONNREFUSED)
    this.wires.push(End.connection(this.s.buffers))
    this.sides.push(side(this.wires[1][0]))
    this.peers[1].end = this.wires[1][1]
    this.phase = 'open'
    this.report({ type: 'SPLICE_CONNECTED', now: this.now() })
  }
  private report(e: SpliceEvent): void {
    this.log(`    ${e.type}${'side' in e ? ` ${e.side}` : ''}${'errno' in e ? ` errno ${e.errno}` : ''}`)
    this.events.push(e)
  }
  private fail(of: SideName, errno: number): void {
    this.phase = 'failed'
    this.report({ type: 'SPLICE_FAILED', side: of, errno, moved: [...this.moved], now: this.now() })
  }

  /** Could way i do something? Counters decide, not what the last call said. */
  private movable(i: SideName): boolean {
    if (this.phase !== 'open') return false
    const from = this.sides[i]
    const to = this.sides[1 - i]
    if (to.broken) return false
    if (this.inside[i] > 0) return to.end.writable
    return !from.over && !to.shut && from.end.readable
  }
  private move(i: SideName): void {
    const from = this.sides[i]
    const to = this.sides[1 - i]
    if (this.inside[i] > 0) {
      const n = to.end.write(Math.min(this.inside[i], Math.max(1, this.amount())))
      if (n === 'reset') to.broken = true
      else {
        this.inside[i] -= n
        this.moved[i] += n
      }
    } else {
      const n = from.end.read(Math.min(this.s.pipe, Math.max(1, this.amount())))
      if (n === 'end') from.ended = true
      if (n === 'reset') from.broken = true
      if (typeof n === 'number') this.inside[i] = n
      else from.over = true
    }
    this.judge()
  }
  /** A RST shows without any call: while connecting, and behind the end of a stream, where nobody reads. */
  private notice(act: boolean): boolean {
    const seen = this.sides.findIndex(
      (k) =>
        k.end.phase === 'broken' &&
        !k.broken &&
        (this.phase === 'connecting' || (this.phase === 'open' && k.ended))
    )
    if (seen < 0 || !act) return seen >= 0
    if (this.phase === 'connecting') this.fail(seen as SideName, ECONNRESET)
    else {
      this.sides[seen].broken = this.sides[seen].over = true
      this.judge()
    }
    return true
  }
  /** What is to be said, and what was to be done once all is written. */
  private judge(): void {
    for (const i of [0, 1] as const) {
      const k = this.sides[i]
      const o = this.sides[1 - i]
      const drained = k.over && this.inside[i] === 0
      const stuck = !o.end.writable
      if (k.broken && (drained || stuck || o.broken)) return this.fail(i, ECONNRESET)
      if (k.ended && !k.said && this.inside[i] === 0 && !o.broken) {
        k.said = true
        this.report({ type: 'SPLICE_EOF', side: i, moved: [...this.moved], now: this.now() })
      }
      if (o.shutDue && this.inside[i] === 0) this.shut(o)
    }
  }
  private shut(k: Side): void {
    k.shutDue = false
    k.shut = true
    k.end.shutdown()
  }

  private turn(): void {
    const out: Effect[] = []
    const events = this.events
    this.events = []
    for (const e of events) {
      if (this.final) break
      this.state = this.subject.step(this.state, e, out)
      this.final = this.subject.isFinal(this.state)
    }
    for (const e of out) this.carryOut(e)
    this.log(`    machine: ${this.subject.describe(this.state)}`)
    promise(this.final === this.freed, `${this.subject.describe(this.state)} with sockets ${this.phase}`)
    promise(this.phase !== 'failed', 'keeps sockets that failed')
  }
  private carryOut(e: Effect): void {
    this.log(`    ${e.type}${'side' in e ? ` ${e.side}` : ''}${'what' in e ? ` ${e.what}` : ''}`)
    promise(!this.freed || e.type === 'Count', `${e.type} after the end`)
    switch (e.type) {
      case 'Count':
        if (e.what.endsWith('unexpected')) this.unexpected++
        return
      case 'SpliceConnect':
        promise(!this.asked, 'connects twice')
        this.asked = true
        return
      case 'SpliceShut': {
        const k = this.sides[e.side]
        promise(this.sides[1 - e.side].said, `FIN to side ${e.side}, whose other side has not ended`)
        promise(!k.shut && !k.shutDue, 'FIN twice')
        k.shutDue = true
        if (this.phase === 'open') this.judge()
        return
      }
      case 'SpliceClose':
        promise(
          this.sides.length === 2 && this.sides.every((k) => k.said),
          'closes before both streams have ended'
        )
        this.phase = 'closed'
        for (const k of this.sides) k.end.close()
        return
      case 'SpliceReset':
        this.phase = 'reset'
        for (const k of this.sides) k.end.reset()
        return
      default:
        promise(false, `${e.type} is not for a spliced pair`)
    }
  }
}
