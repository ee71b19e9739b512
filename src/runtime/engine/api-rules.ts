import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { type Answer, CHANGE_MARK, ChangeLine } from '../../codecs/control/api.js'
import { bytesOf } from '../../codecs/value/octets.js'
import { changedBy, noRule } from '../../machines/forward/conf-rules.js'
import { apiOctets } from '../abi/events.js'
import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import { keeping } from '../flow/keeps.js'
import type { RulesNow } from './live-rules.js'

// What the process of the API (--api) asks to be changed. It is apart from its other questions (api.ts), since it has a say in what is done: a record
// has it, and it happens again in a replay, where nobody is told.

export type Changed = Extract<Answer, { readonly to: 'change' }>
/** Who tells the process. */
export interface ApiTold {
  /** What it said that is no change, or its end: no octets. */
  readonly said: (octets: Uint8Array) => void
  readonly changed: (answer: Changed) => void
  /** What it says makes no sense: it is answered no more. */
  readonly nonsense: () => void
}
const NOBODY: ApiTold = { said: () => {}, changed: () => {}, nonsense: () => {} }
const WHY_MAX = 4096
const LINE_END = 0x0a

export const apiRules = (w: World, rules: RulesNow, told: ApiTold | null): Feature => {
  const { said, changed, nonsense } = told ?? NOBODY
  const { mode } = w.cfg.forward
  /** One at a time. */
  let atWork = false
  const change = (octets: Uint8Array): void => {
    const line = octets.indexOf(LINE_END) === octets.length - 1 ? octets.subarray(0, -1) : null
    const asked = line === null || atWork ? null : ChangeLine.decode(Buffer.from(line).toString())
    if (asked === null || E.isLeft(asked)) return nonsense()
    const { right } = asked
    atWork = true
    rules.ask({
      edit: (now) => changedBy(right, mode, now),
      done: (why, done) => {
        atWork = false
        const missing = right.remove.some((name) => noRule(name) === why)
        const outcome = why === null ? (done ? 'done' : 'same') : missing ? 'missing' : 'refused'
        changed({ to: 'change', outcome, why: (why ?? '').slice(0, WHY_MAX) })
      }
    })
  }
  return {
    name: 'API rules',
    keeps: keeping(
      t.null,
      () => null,
      () => {},
      () => (atWork ? 'rules are being changed' : null)
    ),
    takes: {
      API_OCTETS: (i) => {
        const { off, len } = apiOctets(w.rings.ev, i)
        const octets = bytesOf({ view: w.rings.view, off, len })
        if (octets[0] === CHANGE_MARK) change(octets)
        else said(octets)
      }
    }
  }
}
