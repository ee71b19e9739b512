import { instant } from '../../effects/effect.js'
import { ABI_WORDS, DUMP_WORDS, EF, EV, type Native } from '../abi/abi.js'
import { install } from '../data/feature.js'
import { guestUp } from '../data/guest.js'
import type { WorldConfig } from '../data/world.js'
import { basicFeatures } from './features.js'
import { type Migration, migration } from './migrate.js'
import { madeUpWorld, openConnection, record, type Stage, turn } from './warm-up.js'

// A guest moves once in its life, and then each millisecond counts: code that runs for the first time takes ten times as long. So
// made-up guests move between made-up worlds, and back, as long as nothing real happens (warm-up.ts).

export const MOVES = 40
export const CONNECTIONS = 8
const GUEST_PORT = 41000
/** Where octets are put that native would have read. */
export const AT = 0x90000
const ESTABLISHED = 1
const FD = 0
/** EV.CONNECTED of a socket that changed hands: 2-11. */
export const CONNECTED = [0, 0, 65536, 7, 1448, 100, 100, 0, 80000, 87040] as const
/** 198.51.100.2 (RFC 5737), v4-mapped, and a port. */
const OWN = [0, 0, 0xffff, 0xc6336402, 41000] as const

/** What is asked of native beside effects. */
export const NATIVE = {
  carryOut: () => {},
  pauseListener: () => true,
  resumeListener: () => 0,
  closeListener: () => true,
  closeHard: () => {},
  localEnds: (flows: Int32Array) =>
    Int32Array.from({ length: flows.length * OWN.length }, (_, i) => OWN[i % OWN.length]!)
} as Partial<Native> as Native

/** A world that guests leave or come to. What it asks for is answered in the next turn. */
class Side {
  readonly s: Stage
  readonly move: Migration
  /** Octets that were written. */
  readonly written: Uint8Array[] = []
  /** Octets that are still to be read. */
  unread = new Uint8Array(0)
  private readonly asked: number[][] = []
  constructor(cfg: WorldConfig) {
    const w = madeUpWorld(cfg, NATIVE)
    this.move = migration(w, { exit: false, linger: true }, () => {})
    install(w.features, [...basicFeatures(w), this.move.feature])
    this.s = { w, v6: false, now: instant(1), look: () => this.note() }
  }
  private note(): void {
    const { fx, slab, effects } = this.s.w.rings
    for (let i = 0; i < effects; i++) {
      const [kind, handle, w2, w3] = fx.subarray(i * ABI_WORDS, i * ABI_WORDS + 4)
      if (kind === EF.REPAIR) this.asked.push([EV.REPAIRED])
      else if (kind === EF.TCP_DUMP) this.asked.push([EV.TCP_DUMPED, handle, AT, DUMP_WORDS * 4])
      else if (kind === EF.STATE_WRITE) this.written.push(slab.slice(w2, w2 + w3))
      else if (kind === EF.STATE_CLOSE) this.asked.push([EV.STATE_ENDED])
      else if (kind === EF.STATE_NEXT) this.asked.push(this.read(w2))
      else if (kind === EF.TCP_RESTORE_END) this.asked.push([EV.RESTORED, handle])
      else if (kind === EF.TCP_RUN) this.asked.push([EV.CONNECTED, handle, ...CONNECTED])
    }
  }
  private read(most: number): number[] {
    const piece = this.unread.subarray(0, most)
    this.unread = this.unread.subarray(piece.length)
    if (piece.length === 0) return [EV.STATE_ENDED]
    this.s.w.rings.slab.set(piece, AT)
    return [EV.STATE_OCTETS, 0, AT, piece.length]
  }
  /** Turns until nothing is asked for any more. */
  settle(): void {
    for (let quiet = 0; quiet < 4; quiet++) {
      const answer = this.asked.shift()
      if (answer === undefined) {
        turn(this.s, 0)
        continue
      }
      if (answer[0] === EV.TCP_DUMPED) this.dump()
      record(this.s, 0, ...answer)
      turn(this.s, 1)
      quiet = -1
    }
  }
  private dump(): void {
    const { view } = this.s.w.rings
    const words = [1, 1, 0, 0, 0, 0, 0, 1448, 0, 1, 65536, 65536, 65536, 1, 0x707, ESTABLISHED, 0, 87040]
    for (const [i, word] of words.entries()) view.setUint32(AT + i * 4, word, true)
  }
  helper(there: boolean): void {
    record(this.s, 0, EV.REPAIR_HELPER, 0, there ? 1 : 0)
    turn(this.s, 1)
  }
}

const nothing = (): void => {}

/** Yields now and then; done when it ends. Returns how many connections came and how many the source has at the end, for whoever wants to know how it went. */
export function* warmUpMoves(
  cfg: WorldConfig
): Generator<void, { readonly came: number; readonly stayed: number }> {
  const source = new Side(cfg)
  let came = 0
  for (let i = 0; i < CONNECTIONS; i++) openConnection(source.s, GUEST_PORT + i)
  for (let i = 0; i < MOVES; i++) {
    const target = new Side(cfg)
    source.written.length = 0
    source.helper(true)
    source.move.transfer('save', FD, source.s.now, nothing, nothing)
    source.settle()
    source.move.checked(true, source.s.now)
    yield
    target.unread = Uint8Array.from(source.written.flatMap((piece) => [...piece]))
    target.helper(true)
    target.move.transfer('load', FD, target.s.now, nothing, nothing)
    target.settle()
    guestUp(target.s.w, target.s.now)
    target.settle()
    came += target.s.w.flows.filter((f) => f !== undefined).length
    yield
    source.move.resumed(source.s.now)
    source.settle()
    yield
  }
  return { came, stayed: source.s.w.flows.filter((f) => f !== undefined && !f.held).length }
}
