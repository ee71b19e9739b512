import * as E from 'fp-ts/lib/Either.js'
import {
  HAND_OVER_VERSION,
  type HandOverQuestion,
  HandOverQuestion as Question
} from '../../codecs/control/hand-over.js'
import { instant } from '../../effects/effect.js'
import { ABI_WORDS, EF, EV } from '../abi/abi.js'
import { install } from '../data/feature.js'
import type { WorldConfig } from '../data/world.js'
import { nothingInherited } from '../host/inherited.js'
import { basicFeatures } from './features.js'
import { handOver } from './hand-over.js'
import { rulesNow } from './live-rules.js'
import { asker, type Predecessor, takeOver } from './take-over.js'
import { madeUpWorld, openConnection, record, type Stage, turn } from './warm-up.js'
import { AT, CONNECTED, NATIVE } from './warm-up-moves.js'

// A process takes another one's place once in its life, and everybody waits meanwhile. So with --restart-path made-up processes do so before
// (warm-up.ts), as guests move (warm-up-moves.ts).

export const RESTARTS = 100
export const CONNECTIONS = 20
const GUEST_PORT = 42000
/** Turns until an answer is there, at most. */
const TURNS = 8
/** Who serves, and is asked. */
class Old {
  readonly s: Stage
  private answer: Uint8Array | null = null
  private descriptors = 0
  constructor(cfg: WorldConfig) {
    const w = madeUpWorld(cfg, NATIVE)
    const here = {
      mode: 'passt',
      guest: null,
      conf: null,
      api: () => null,
      rules: rulesNow([]),
      left: () => {}
    }
    install(w.features, [...basicFeatures(w), handOver(w, here, { session: null })])
    this.s = { w, v6: false, now: instant(1), look: () => this.note() }
  }
  private note(): void {
    const { fx, slab, effects } = this.s.w.rings
    for (let i = 0; i < effects; i++) {
      const [kind, , off, len, , descriptors] = fx.subarray(i * ABI_WORDS, i * ABI_WORDS + 6)
      if (kind !== EF.HAND_OVER_ANSWER) continue
      this.answer = slab.slice(off, off + len)
      this.descriptors = descriptors
    }
  }
  hears(question: Uint8Array): void {
    this.answer = null
    this.s.w.rings.slab.set(question, AT)
    record(this.s, 0, EV.HAND_OVER_ASKED, 0, AT, question.length)
    turn(this.s, 1)
    for (let i = 0; i < TURNS && this.answer === null; i++) turn(this.s, 0)
  }
  says(): { readonly data: Uint8Array; readonly fds: ReadonlyArray<number> } {
    return { data: this.answer ?? new Uint8Array(0), fds: Array.from({ length: this.descriptors }, () => -1) }
  }
}

/** Yields now and then; done when it ends. Returns how many connections were taken over, for whoever wants to know how it went. */
export function* warmUpRestart(cfg: WorldConfig): Generator<void, number> {
  const begin: HandOverQuestion = { ask: 'begin', version: HAND_OVER_VERSION, mode: 'passt', api: true }
  let taken = 0
  for (let i = 0; i < RESTARTS; i++) {
    const old = new Old(cfg)
    for (let k = 0; k < CONNECTIONS; k++) {
      openConnection(old.s, GUEST_PORT + k)
      yield
    }
    record(old.s, 0, EV.HAND_OVER_PEER, 0, 1)
    turn(old.s, 1)
    old.hears(Question.encode(begin))
    const w = madeUpWorld(cfg, NATIVE)
    install(w.features, basicFeatures(w))
    const next: Stage = { w, v6: false, now: instant(1) }
    const former: Predecessor = {
      guest: null,
      place: -1,
      guestFd: -1,
      helpersFd: null,
      listeners: nothingInherited(),
      api: null,
      conf: null,
      rules: null,
      asking: asker(
        {
          handOverAsk: (_, question) => old.hears(question),
          handOverHear: () => old.says()
        },
        -1
      )
    }
    const took = takeOver(w, former, [], () => E.right(undefined), next.now)
    taken += E.isRight(took) ? took.right.flows : 0
    yield
    for (const f of w.flows) {
      if (f === undefined) continue
      record(next, 0, EV.CONNECTED, f.index, ...CONNECTED)
      turn(next, 1)
      yield
    }
  }
  return taken
}
