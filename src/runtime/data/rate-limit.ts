import * as t from 'io-ts'
import { type Instant, instant } from '../../effects/effect.js'
import { SIDE_1 } from '../abi/abi.js'
import { readAllow } from '../abi/effects.js'
import { flowOf, handleOf, readAsks } from '../abi/events.js'
import { type Flow, isPair } from '../flow/flow.js'
import { keeping } from '../flow/keeps.js'
import { NAMES, namingOf, readNames } from '../flow/naming.js'
import { count } from '../log/log.js'
import { contain, deliver } from './deliver.js'
import type { Feature } from './feature.js'
import { type Rates, RatesKept, wayOfPair } from './rates.js'
import type { World } from './world.js'

// Rate limits, turn by turn: whose turn it is hears of it before all else that the turn brings (behaviour.md#rate-limits).

/** A refused peek, in words of the guest's link: there is no room, and TAP_ROOM follows. */
const refusal = (now: Instant) =>
  ({
    type: 'SOCK_PEEKED',
    octets: 0,
    eof: false,
    drained: false,
    tapFull: true,
    tapTells: true,
    errno: 0,
    now
  }) as const

/** Installed in every world; without a limit it does nothing. */
export const rateLimits = (w: World): Feature => {
  const r = w.rates
  /** Where the flow's tokens go that are for what is read from `side` of a pair, or from a UDP flow's socket. */
  const allow = (f: Flow, side: 0 | 1, octets: number): void =>
    f.kind === 'udp-splice'
      ? readAllow(w.rings, f.index + side * SIDE_1, 0, octets)
      : readAllow(w.rings, f.index, side, octets)
  const asks = (i: number, now: Instant): void => {
    const f = w.flows[flowOf(w.rings.ev, i)]
    if (f === undefined) return count(w.counters, 'event-without-flow')
    const { side: said, octets } = readAsks(w.rings.ev, i)
    const side = f.kind === 'udp-splice' && handleOf(w.rings.ev, i) >= SIDE_1 ? 1 : said
    const shares = r === null ? null : (r[isPair(f) ? wayOfPair(f, side) : 'in']?.shares ?? null)
    // Not limited here: a bug of ours may not hold it up
    if (r === null || shares === null) return allow(f, side, octets)
    const n = shares.ask(f.index, octets, now)
    if (n > 0) allow(f, side, n)
    else r.wake(now)
  }
  const takes = { READ_ASKS: asks }
  if (r === null) return { name: 'rate limits', takes, keeps: null }

  /** Those that were told of room in this turn. */
  const roomed: Flow[] = []
  const grantIn = (r: Rates, index: number, octets: number, now: Instant): void => {
    const f = w.flows[index]
    if (f === undefined || r.in === null) return
    if (isPair(f)) return allow(f, f.side1.inNamespace ? 0 : 1, octets)
    if (f.kind !== 'tcp') return allow(f, 0, octets)
    r.in.held[index] = octets
    roomed.push(f)
    deliver(w, f, { type: 'TAP_ROOM', now })
  }
  const grantOut = (r: Rates, index: number, octets: number, now: Instant): void => {
    const f = w.flows[index]
    if (f === undefined || r.out === null) return
    if (isPair(f)) return allow(f, f.side1.inNamespace ? 1 : 0, octets)
    r.out.held[index] += octets
    if (f.kind === 'tcp') deliver(w, f, { type: 'TOKENS', octets, now })
  }
  const begin = (now: Instant): void => {
    if (now < r.deadline.at && roomed.length === 0) return
    // Room that nobody has used is another's
    for (let f = roomed.pop(); f !== undefined; f = roomed.pop())
      if (w.flows[f.index] === f && r.in !== null && r.in.held[f.index] > 0) {
        r.in.shares.charge(f.index, -r.in.held[f.index], now)
        r.in.held[f.index] = 0
      }
    for (let f = r.refused.pop(); f !== undefined; f = r.refused.pop())
      if (w.flows[f.index] === f) deliver(w, f, refusal(now))
    for (let g = r.granted.pop(); g !== undefined; g = r.granted.pop())
      if (w.flows[g.flow.index] === g.flow) grantOut(r, g.flow.index, g.octets, now)
    r.in?.shares.serve(now, (index, octets) => grantIn(r, index, octets, now))
    r.out?.shares.serve(now, (index, octets) => grantOut(r, index, octets, now))
    r.wake(now)
  }
  return {
    name: 'rate limits',
    takes,
    keeps: keeping(
      t.type({ rates: RatesKept, roomed: NAMES }),
      () => {
        const names = namingOf(w.flows)
        return { rates: r.kept(names), roomed: roomed.map(names.nameOf) }
      },
      (k) => {
        const names = namingOf(w.flows)
        return r.read(k.rates, names) && readNames(names, roomed, k.roomed)
      }
    ),
    deadline: r.deadline,
    forFlows: true,
    // At the head of the turn that it makes: what flows do then is part of that
    onTime: () => {},
    events: (_, now) => {
      try {
        begin(now)
      } catch (e) {
        contain(w, e)
      }
    },
    flowBegan: (f) => r.begin(f),
    flowEnded: (f) => {
      r.end(f, instant(w.rings.clock[0]))
    }
  }
}
