import type { End } from './splice-wire.js'

// A program with one end of a TCP connection.

/** What a peer's program does, one after the other. Writing and reading wait as blocking calls do. */
export type Op =
  | { readonly do: 'write'; readonly octets: number }
  | { readonly do: 'read'; readonly octets: number }
  | { readonly do: 'readAll' | 'shutdown' | 'close' | 'reset' }

/** What a program got to see. */
export class Peer {
  end: End | null = null
  private readonly todo: Op[] = []
  /** Octets of the operation at hand already done. */
  private done = 0
  written = 0
  read = 0
  /** Read to the end of the stream; a call failed for a RST (or connect() was refused). */
  sawEnd = false
  sawReset = false
  /** It ended its stream properly: behind what it wrote there is a FIN. */
  ended = false
  /** It closed or reset its socket. */
  left: 'no' | 'closed' | 'reset' = 'no'

  constructor(
    readonly name: string,
    private readonly log: (text: string) => void
  ) {}

  program(ops: readonly Op[]): void {
    this.todo.push(...ops)
  }
  get idle(): boolean {
    return this.todo.length === 0
  }
  /** What it waits for, if it does. */
  get blocked(): string | null {
    return this.end !== null && !this.idle && !this.ready ? this.todo[0].do : null
  }
  get ready(): boolean {
    if (this.end === null || this.idle) return false
    const op = this.todo[0].do
    if (op === 'read' || op === 'readAll') return this.end.readable
    return op !== 'write' || this.end.writable
  }
  /** Give up what it waits for. */
  giveUp(): void {
    this.todo.length = 0
    this.done = 0
  }
  run(): void {
    const op = this.todo[0]
    const over = this.runOp(op, this.end!)
    if (!over) return
    this.todo.shift()
    this.done = 0
  }
  /** False: there is more of it to do. */
  private runOp(op: Op, end: End): boolean {
    if (this.left !== 'no') return true
    switch (op.do) {
      case 'write': {
        const n = end.write(op.octets - this.done)
        if (n === 'reset') return this.failed('write')
        this.log(`${this.name} writes ${n}`)
        this.written += n
        this.done += n
        return this.done === op.octets
      }
      case 'read':
      case 'readAll': {
        const most = op.do === 'read' ? op.octets - this.done : Number.POSITIVE_INFINITY
        const n = end.read(most)
        if (n === 'reset') return this.failed('read')
        if (n === 'end') {
          this.log(`${this.name} reads the end`)
          this.sawEnd = true
          return true
        }
        if (n === 'wait') return false
        this.log(`${this.name} reads ${n}`)
        this.read += n
        this.done += n
        return n === most
      }
      case 'shutdown':
        this.log(`${this.name} shuts down`)
        this.ended ||= end.phase === 'open'
        end.shutdown()
        return true
      case 'close':
        this.log(`${this.name} closes${end.unread > 0 ? `, ${end.unread} unread` : ''}`)
        this.ended ||= end.phase === 'open' && end.unread === 0
        this.left = 'closed'
        end.close()
        return true
      case 'reset':
        this.log(`${this.name} resets`)
        this.left = 'reset'
        end.reset()
        return true
    }
  }
  private failed(call: string): true {
    // its own shutdown() is no RST
    if (this.end?.phase !== 'open') this.sawReset = true
    this.log(`${this.name} fails to ${call}`)
    return true
  }
}
