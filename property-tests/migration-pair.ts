import {
  ExtendedRecord,
  endState,
  FlowRecord,
  NEW_READER,
  readState,
  SKIPPED,
  StateAddresses,
  StateCount,
  type StateEvent,
  StateHeader,
  type StateReader
} from '../src/codecs/control/migration.js'
import { UNSPECIFIED4, UNSPECIFIED6 } from '../src/codecs/value/inany.js'
import { bytesOf, octets } from '../src/codecs/value/octets.js'
import { seq } from '../src/codecs/value/seq.js'
import { instant } from '../src/effects/effect.js'
import {
  migrationSourceMachine,
  type SourceEffect,
  type SourceEvent,
  type SourceReport
} from '../src/machines/link/migration-source.js'
import {
  migrationTargetMachine,
  type TargetEffect,
  type TargetEvent,
  type TargetLoss,
  type TargetReport
} from '../src/machines/link/migration-target.js'
import { compile } from '../src/runtime/machine/compile.js'
import { Clock, promise, script } from '../src/simulator/clock.js'

// A source and a target joined by a pipe, with their helpers, kernels and the hypervisor between them, under a virtual clock. A
// connection is a peer that counts what was acknowledged, and sockets on both hosts that count as well: whoever goes on with
// another count than the peer's has lost an octet, or has one twice.

/** What a helper does with one command: answers, after so many ms; or is gone, after so many of its sockets. */
export type HelperAct = { readonly answers: number } | { readonly dies: number } | 'silent'
export interface HelperScript {
  /** ms; null: never. */
  readonly comesAt: number | null
  readonly acts: readonly HelperAct[]
  /** ms after it has gone that another one comes, which works. */
  readonly returns: number | null
}
export interface PairScript {
  readonly connections: number
  readonly opening: number
  readonly linger: boolean
  readonly exit: boolean
  readonly source: HelperScript
  readonly target: HelperScript
  /** Octets that the pipe holds, and of one read. */
  readonly pipe: number
  readonly reads: readonly number[]
  /** The pipe breaks behind so many octets; or nothing moves any more. */
  readonly cutAt: number | null
  readonly sticksAt: number | null
  /** Octets of queues. */
  readonly queues: readonly number[]
  /** Connections that cannot be dumped, not be entered, not be restored: shares of 100. */
  readonly undumped: readonly number[]
  readonly unentered: readonly number[]
  readonly unrestored: readonly number[]
  /** A flow ends by itself then, ms after the start. */
  readonly endsAt: readonly number[]
  /** What the hypervisor does when both say that all is well; or ms after the start, whatever they say. */
  readonly guest: 'goes' | 'stays'
  readonly cancelsAt: number | null
  /** ms between the end of the load and the start of the guest, or of the cancellation. */
  readonly waits: number
}

const source = compile<typeof migrationSourceMachine, SourceEffect>(migrationSourceMachine)
const target = compile<typeof migrationTargetMachine, TargetEffect>(migrationTargetMachine)

class Sock {
  frozen = false
  repair = false
  open = true
  constructor(public count: number) {}
  /** It hears, and acknowledges. */
  get live(): boolean {
    return this.open && !this.frozen && !this.repair
  }
}
/** One side's helper, as native shows it: one answer for each command. */
class Helper {
  there = false
  private act: () => HelperAct
  private asked = 0
  private answered = 0
  constructor(
    private readonly clock: Clock,
    private readonly s: HelperScript,
    private readonly tell: (there: boolean) => void,
    private readonly repaired: (errno: number) => void
  ) {
    this.act = script(s.acts, { answers: 0.1 } as HelperAct)
    if (s.comesAt !== null) clock.after(s.comesAt, () => this.comes())
  }
  private comes(): void {
    this.there = true
    this.tell(true)
  }
  private answer(n: number, errno: number): void {
    if (n !== this.asked || this.answered === n) return
    this.answered = n
    this.repaired(errno)
  }
  /** `set` may be called later than the answer, or for some only. */
  command(socks: readonly Sock[], on: boolean): void {
    promise(this.answered === this.asked, 'two commands at once')
    const n = ++this.asked
    const set = (list: readonly Sock[]): void => {
      for (const x of list) x.repair = on
    }
    if (!this.there) return this.clock.after(0.01, () => this.answer(n, 107))
    const act = this.act()
    if (act === 'silent') return
    if ('answers' in act)
      return this.clock.after(act.answers, () => {
        if (this.asked !== n) return
        set(socks)
        this.answer(n, 0)
      })
    this.clock.after(0.1, () => {
      set(socks.slice(0, act.dies))
      this.gone()
      this.answer(n, 32)
    })
  }
  private gone(): void {
    if (!this.there) return
    this.there = false
    this.tell(false)
    if (this.s.returns !== null) {
      this.act = () => ({ answers: 0.1 })
      this.clock.after(this.s.returns, () => this.comes())
    }
  }
  close(): void {
    const n = this.asked
    this.clock.after(0.01, () => this.answer(n, 32))
    this.gone()
  }
}

/** What a connection has come to. */
interface Connection {
  /** Octets that were acknowledged to the peer, by whoever had the connection. */
  peerCount: number
  peerReset: boolean
  /** The guest was told that it is over, on the host where it is. */
  readonly guestReset: { source: boolean; target: boolean }
  source: Sock | null
  target: Sock | null
}

export class Pair {
  readonly clock = new Clock()
  readonly connections: Connection[]
  readonly saved: { readonly report: SourceReport; readonly back: boolean }[] = []
  readonly loaded: TargetReport[] = []
  readonly listening: boolean[] = [true]
  exited = false
  moved = false
  /** Descriptors that are still to be closed. */
  readonly fds = { source: 0, target: 0 }
  /** Where the guest runs in the end. */
  guestAt: 'source' | 'target' | 'nowhere' = 'nowhere'
  private s
  private t
  private readonly sourceHelper: Helper
  private readonly targetHelper: Helper
  // pipe
  private waiting: Uint8Array[] = []
  private readonly inPipe: number[] = []
  private inAll = 0
  private given = 0
  private writerClosed: 'no' | 'closing' | 'closed' = 'no'
  private sourceTold = false
  private wanted = 0
  private readerOpen = false
  private readerTold = false
  private readonly readSize: () => number
  private reader: StateReader = NEW_READER
  /** Octets of a queue, by place in the stream: what comes must be what was written. */
  private readonly indexed: number[] = []
  private readonly dead = new Set<number>()
  private readonly lost = new Set<number>()
  private readonly unrestored = new Set<number>()
  private entered: (number | null)[] = []
  private readonly done: { source: boolean | null; target: boolean | null } = { source: null, target: null }
  private decided = false

  constructor(private readonly script: PairScript) {
    const { clock } = this
    this.connections = Array.from({ length: script.connections }, (_, i) => ({
      peerCount: i * 7,
      peerReset: false,
      guestReset: { source: false, target: false },
      source: new Sock(i * 7),
      target: null
    }))
    this.readSize = (() => {
      const next = scriptOf(script.reads)
      return () => Math.max(1, next())
    })()
    this.s = source.start({ exit: script.exit, linger: script.linger }, [])
    this.t = target.start(undefined, [])
    const helper = (to: 'source' | 'target'): Helper =>
      new Helper(
        clock,
        script[to],
        (there) => this.event(to, { type: 'HELPER', there }),
        (errno) => this.event(to, { type: 'REPAIRED', errno })
      )
    this.sourceHelper = helper('source')
    this.targetHelper = helper('target')
    this.traffic()
    clock.after(50, () => this.begin())
    for (const [i, at] of script.endsAt.entries())
      clock.after(50 + at, () => this.endsItself((i * 31) % Math.max(1, script.connections)))
    if (script.cancelsAt !== null) clock.after(50 + script.cancelsAt, () => this.decide(false))
  }
  run(): this {
    let steps = 0
    while (this.clock.step()) promise(steps++ < 200_000, 'no end')
    return this
  }
  get states(): string {
    return `source ${source.value(this.s)}, target ${target.value(this.t)}`
  }

  /** Each live socket acknowledges an octet now and then. Two of one connection, or one with another count: something is lost. */
  private traffic(): void {
    for (const [i, c] of this.connections.entries()) {
      const live = [c.source, c.target].filter((x): x is Sock => x?.live === true)
      promise(live.length < 2, `connection ${i} lives on both hosts (${this.states})`)
      const [one] = live
      if (one === undefined || c.peerReset) continue
      promise(
        one.count === c.peerCount,
        `connection ${i}: ${one.count} octets, the peer is at ${c.peerCount}`
      )
      one.count++
      c.peerCount++
    }
    if (this.clock.now < 160_000) this.clock.after(this.clock.now < 2000 ? 3 : 997, () => this.traffic())
  }
  /** The hypervisor stops the guest, and has both sides move its state. */
  private begin(): void {
    this.fds.source++
    this.fds.target++
    const n = this.script.connections
    this.event('source', {
      type: 'SAVE',
      fd: 5,
      moving: Array.from({ length: n }, (_, i) => i),
      stopping: Array.from({ length: this.script.opening }, (_, i) => 1_000_000 + i)
    })
    this.event('target', { type: 'LOAD', fd: 6 })
  }
  private endsItself(i: number): void {
    const c = this.connections[i]
    if (c?.source?.live !== false || c.source.open === false) return
    // frozen, or in repair mode: still the runtime may end a flow of its own accord
    if (!c.source.repair) c.peerReset = true
    c.source.open = false
    c.guestReset.source = true
    this.dead.add(i)
    this.step('source', { type: 'FLOW_ENDED', flow: i })
  }
  private event(to: 'source' | 'target', body: object): void {
    this.clock.after(0, () => this.step(to, body))
  }
  private step(to: 'source' | 'target', body: object): void {
    const e = { ...body, now: instant(this.clock.now) }
    if (to === 'source') {
      const out: SourceEffect[] = []
      this.s = source.step(this.s, e as SourceEvent, out)
      this.clock.log(
        `source: ${(e as SourceEvent).type} -> ${source.value(this.s)} ${out.map((x) => x.type)}`
      )
      for (const x of out) this.saves(x)
    } else {
      const out: TargetEffect[] = []
      this.t = target.step(this.t, e as TargetEvent, out)
      this.clock.log(
        `target: ${(e as TargetEvent).type} -> ${target.value(this.t)} ${out.map((x) => x.type)}`
      )
      for (const x of out) this.loads(x)
    }
  }
  private deadline(to: 'source' | 'target', at: number): void {
    // sums of fractions may fall short
    this.clock.after(at - this.clock.now + 1e-6, () => this.step(to, { type: 'DEADLINE' }))
  }
  private over(to: 'source' | 'target', ok: boolean): void {
    if (this.done[to] !== null) return
    this.done[to] = ok
    if (to === 'source') this.clock.after(0.1, () => this.step('source', { type: 'CHECKED' }))
    // if one side fails the other one's pipe is closed by the hypervisor as well
    if (!ok) return this.clock.after(0.2, () => this.decide(false))
    if (this.done.source === true && this.done.target === true)
      this.clock.after(1 + this.script.waits, () => this.decide(this.script.guest === 'goes'))
  }
  private decide(goes: boolean): void {
    if (this.decided) return
    this.decided = true
    if (goes) {
      this.guestAt = 'target'
      this.step('target', { type: 'GUEST_UP' })
      this.clock.after(30, () => this.step('source', { type: 'GONE' }))
    } else {
      this.guestAt = 'source'
      this.step('target', { type: 'GONE' })
      this.step('source', { type: 'RESUMED' })
      this.tear()
    }
  }

  // --- the source's runtime

  private sockOf(flow: number): Sock {
    const x = this.connections[flow]?.source
    promise(x?.open === true, `connection ${flow} has no socket`)
    return x as Sock
  }
  private saves(e: SourceEffect): void {
    switch (e.type) {
      case 'ArmDeadline':
        return this.deadline('source', e.at)
      case 'Freeze':
        for (const f of e.flows) this.sockOf(f).frozen = true
        return this.clock.after(0.05, () => this.step('source', { type: 'SETTLED' }))
      case 'Halt':
        for (const f of e.flows) promise(this.sockOf(f).frozen, 'halted, not frozen')
        return
      case 'Thaw':
        for (const f of e.flows) {
          const x = this.sockOf(f)
          promise(x.frozen, 'thawed twice')
          promise(!x.repair, `connection ${f} thawed in repair mode`)
          x.frozen = false
        }
        return
      case 'Stop':
        promise(e.flows.length === this.script.opening, 'all that are opening')
        return
      case 'CloseFlows':
        for (const f of e.flows) {
          const x = this.sockOf(f)
          const c = this.connections[f]!
          promise(e.how !== 'silent' || x.repair, `connection ${f} closed silently, out of repair mode`)
          x.open = false
          if (e.how === 'reset-guest') c.guestReset.source = true
          if (!x.repair) c.peerReset = true
        }
        return
      case 'Repair':
        promise(e.flows.length <= 253, 'too many for one message')
        return this.sourceHelper.command(
          e.flows.map((f) => this.sockOf(f)),
          e.on
        )
      case 'RepairClose':
        return this.sourceHelper.close()
      case 'StateOpen':
        if (this.connections.length === 0)
          this.clock.after(0.05, () => this.step('source', { type: 'SETTLED' }))
        return
      case 'WritePrelude':
        this.write(StateHeader.encode({ version: 2, compatible: 2 }))
        this.write(
          StateAddresses.encode({ v6: UNSPECIFIED6, linkLocal: UNSPECIFIED6, v4: UNSPECIFIED4, mac: 0 })
        )
        return this.write(StateCount.encode(e.flows))
      case 'WriteFlows':
        for (const f of e.flows) {
          promise(!this.dead.has(f), 'a record of a flow that is no more')
          this.indexed.push(f)
          this.write(FlowRecord.encode({ ...BLANK, irs: seq(f) }))
        }
        return
      case 'Dump':
        return this.clock.after(0.02, () => this.dump(e.flow))
      case 'WriteSocket': {
        const { sendQueue, receiveQueue } = e.extended
        this.write(ExtendedRecord.encode(e.extended))
        return this.write(queueOf(e.flow, sendQueue + receiveQueue))
      }
      case 'WriteSkipped':
        for (let i = 0; i < e.flows; i++) this.write(ExtendedRecord.encode(SKIPPED))
        return
      case 'StateClose':
        if (this.writerClosed === 'closed') return
        this.writerClosed = 'closing'
        if (e.now) {
          this.waiting = []
          this.tear()
        }
        return this.pump()
      case 'CloseFd':
        return promise(false, 'another SAVE')
      case 'Listeners':
        promise(this.listening.at(-1) !== e.open, `listeners ${e.open ? 'open' : 'closed'} twice`)
        this.listening.push(e.open)
        return
      case 'TransferDone':
        return this.over('source', e.ok)
      case 'ReportSaved':
        this.saved.push(e)
        return
      case 'MovedAway':
        this.moved = true
        this.exited = e.exit
        return
      case 'WarnSave':
        return
    }
  }
  private dump(flow: number): void {
    const x = this.connections[flow]!.source!
    if (!x.open) return
    const ok = x.frozen && x.repair && !this.script.undumped.includes(flow % 100)
    const queue = this.script.queues[flow % Math.max(1, this.script.queues.length)] ?? 0
    const extended: ExtendedRecord = {
      ...SKIPPED,
      state: 1,
      rcvSeq: seq(x.count),
      sendQueue: queue,
      unsent: queue >> 1,
      receiveQueue: queue >> 2
    }
    this.step('source', { type: 'DUMPED', flow, extended: ok ? extended : null })
  }

  // --- the pipe

  private write(b: Uint8Array): void {
    if (b.length === 0) return
    promise(this.writerClosed === 'no', 'written behind the end')
    this.given += b.length
    this.waiting.push(b)
    this.pump()
  }
  private pumping = false
  private pump(): void {
    if (this.pumping) return
    this.pumping = true
    this.clock.after(0.01, () => this.flow())
  }
  private flow(): void {
    this.pumping = false
    const { cutAt, sticksAt, pipe } = this.script
    while (this.waiting.length > 0 && this.inPipe.length < pipe) {
      const limit = Math.min(cutAt ?? Infinity, sticksAt ?? Infinity) - this.inAll
      if (limit <= 0) break
      const b = this.waiting[0]!
      const n = Math.min(b.length, pipe - this.inPipe.length, limit)
      for (let i = 0; i < n; i++) this.inPipe.push(b[i]!)
      this.inAll += n
      if (n === b.length) this.waiting.shift()
      else this.waiting[0] = b.subarray(n)
      if (this.waiting.length === 0) this.event('source', { type: 'WRITTEN', octets: this.inAll })
    }
    const cut = cutAt !== null && this.inAll >= cutAt
    if (
      cut &&
      this.writerClosed !== 'closed' &&
      (this.waiting.length > 0 || this.writerClosed === 'closing')
    ) {
      this.closeWriter(32)
    } else if (this.writerClosed === 'closing' && this.waiting.length === 0) this.closeWriter(0)
    this.deliver()
  }
  private closeWriter(errno: number): void {
    this.writerClosed = 'closed'
    this.waiting = []
    if (this.sourceTold) return
    this.sourceTold = true
    this.fds.source--
    this.event('source', { type: 'STATE_ENDED', errno })
  }
  /** The hypervisor closes what it has of the pipe. */
  private tear(): void {
    if (this.writerClosed !== 'closed') this.closeWriter(32)
    this.deliver()
  }
  private deliver(): void {
    if (!this.readerOpen || this.wanted === 0) return
    const stuck = this.script.sticksAt !== null && this.inAll >= this.script.sticksAt
    if (this.inPipe.length === 0) {
      if (this.writerClosed === 'closed' && !stuck) this.endReader(0)
      return
    }
    const n = Math.min(this.wanted, this.inPipe.length, this.readSize())
    this.wanted = 0
    const piece = Uint8Array.from(this.inPipe.splice(0, n))
    this.clock.after(0.01, () => this.parse(piece))
    this.pump()
  }
  private endReader(errno: number): void {
    if (this.readerTold) return
    this.readerTold = true
    this.readerOpen = false
    this.fds.target--
    const why = errno === 0 ? endState(this.reader) : null
    this.event('target', why === null ? { type: 'STATE_ENDED', errno } : { type: 'FAULTY', text: why })
  }
  private readonly queuesRead = new Map<number, number>()
  private parse(piece: Uint8Array): void {
    if (!this.readerOpen) return
    const next = readState(this.reader, octets(piece), (e) => this.read(e))
    if (typeof next === 'string') return this.step('target', { type: 'FAULTY', text: next })
    this.reader = next
    this.step('target', { type: 'PIECE', octets: piece.length })
  }
  private read(e: StateEvent): void {
    if (e.type === 'STATE_QUEUE') {
      const flow = this.indexed[e.index]!
      const from = this.queuesRead.get(flow) ?? 0
      const want = queueOf(flow, from + e.octets.len).subarray(from)
      promise(Buffer.compare(bytesOf(e.octets), want) === 0, `octets of connection ${flow}`)
      this.queuesRead.set(flow, from + e.octets.len)
    }
    this.step('target', e)
  }

  // --- the target's runtime

  private of(index: number): Connection | null {
    const flow = this.entered[index]
    return flow === null || flow === undefined || this.lost.has(index) ? null : this.connections[flow]!
  }
  private some(from: number, to: number): readonly Connection[] {
    const list: Connection[] = []
    for (let i = from; i < to; i++) {
      const c = this.of(i)
      if (c !== null) list.push(c)
    }
    return list
  }
  /** Its socket goes, without a word if it is in repair mode or was never connected. */
  private lose(index: number, why: TargetLoss, silent: boolean): void {
    const c = this.of(index)
    if (this.lost.has(index)) return
    this.lost.add(index)
    const x = c?.target
    if (c !== null && x !== null && x !== undefined) {
      promise(!silent || x.repair || x.count < 0, 'a peer hears of it')
      if (!x.repair && x.count >= 0) c.peerReset = true
      x.open = false
    }
    this.step('target', { type: 'LOST', index, why })
  }
  private loads(e: TargetEffect): void {
    switch (e.type) {
      case 'ArmDeadline':
        return this.deadline('target', e.at)
      case 'StateOpen':
        this.readerOpen = true
        return
      case 'StateNext':
        promise(e.most > 0 && this.wanted === 0, 'reads twice')
        this.wanted = e.most
        return this.clock.after(0.01, () => this.deliver())
      case 'StateClose':
        this.readerOpen = false
        if (this.readerTold) return
        this.readerTold = true
        this.fds.target--
        // the writer sees that nobody reads any more
        if (this.writerClosed !== 'closed') this.closeWriter(32)
        return
      case 'CloseFd':
        return promise(false, 'another LOAD')
      case 'Enter': {
        const flow = e.flow.irs
        promise(this.indexed[e.index] === flow, 'records in another order')
        this.entered[e.index] = flow
        if (this.script.unentered.includes(flow % 100)) return this.lose(e.index, 'no-room', true)
        const made = new Sock(-1)
        made.frozen = true // until it runs
        this.connections[flow]!.target = made
        return
      }
      case 'RepairSome': {
        promise(e.to - e.from <= 253, 'too many for one message')
        const socks = this.some(e.from, e.to).map((c) => c.target!)
        if (socks.length === 0) return this.event('target', { type: 'REPAIRED', errno: 0 })
        return this.targetHelper.command(socks, e.on)
      }
      case 'RepairClose':
        return this.targetHelper.close()
      case 'Restore': {
        const c = this.of(e.index)
        if (c === null) return
        promise(c.target!.repair, 'restored out of repair mode')
        c.target!.count = e.extended.rcvSeq
        if (this.script.unrestored.includes(this.entered[e.index]! % 100)) this.unrestored.add(e.index)
        return
      }
      case 'RestoreQueue':
        return
      case 'RestoreEnd':
        if (this.of(e.index) !== null) promise(this.of(e.index)!.target!.count >= 0, 'ended before it began')
        if (this.unrestored.has(e.index)) this.lose(e.index, 'not-restored', true)
        return
      case 'Skip':
        return this.lose(e.index, 'not-sent', true)
      case 'Run':
        for (const c of this.some(e.from, e.to)) {
          promise(c.target!.count >= 0 && !c.target!.repair, 'runs, and is not restored')
          c.target!.frozen = false
        }
        return
      case 'DropSome':
        for (let i = e.from; i < e.to; i++) this.lose(i, e.why, false)
        return this.step('target', { type: 'DROPPED' })
      case 'DropAll':
        for (const [i] of this.entered.entries()) {
          const x = this.of(i)?.target
          if (x === null || x === undefined) continue
          promise(x.repair || x.count < 0, 'a peer hears of a load that failed')
          x.open = false
        }
        this.entered = []
        return
      case 'Learn':
        return
      case 'ResetGuest':
        for (const i of e.indexes) this.connections[this.indexed[i]!]!.guestReset.target = true
        return
      case 'TransferDone':
        return this.over('target', e.ok)
      case 'ReportLoaded':
        this.loaded.push(e.report)
        return
      case 'LoadFailed':
        return
    }
  }
}

const scriptOf = (list: readonly number[]): (() => number) => {
  let i = 0
  return () => list[i++ % list.length] ?? 65_536
}
/** Octets of a connection's queues, as if they were one. */
const queueOf = (flow: number, n: number): Uint8Array =>
  Uint8Array.from({ length: n }, (_, i) => (flow * 13 + i * 7) & 0xff)
const side = (where: number) => ({ where, own: UNSPECIFIED4, peer: UNSPECIFIED4, ownPort: 1, peerPort: 2 })
const BLANK: FlowRecord = {
  sides: [side(2), side(1)],
  retries: 0,
  guestScale: 0,
  ourScale: 0,
  events: 4,
  mss: 1460,
  sndBuf: 0,
  flags: 0,
  dupAck: 0,
  guestWindow: 0,
  ourWindow: 0,
  sndNxt: seq(0),
  sndUna: seq(0),
  rcvNxt: seq(0),
  rcvAcked: seq(0),
  irs: seq(0)
}
