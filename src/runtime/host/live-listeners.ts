import * as E from 'fp-ts/lib/Either.js'
import { EADDRINUSE } from '../../codecs/value/errno.js'
import { type BindFailure, bindVerdict, failureLines } from '../../machines/forward/bind-verdict.js'
import type { Rule } from '../../machines/forward/forward-rules.js'
import {
  type Ends,
  type EndsPorts,
  endsKey,
  listenerChanges,
  type OpenListeners,
  type RuleOpening,
  ruleOf
} from '../../machines/forward/listener-changes.js'
import type { Log } from '../log/log.js'
import { closePorts, type ListenPlace, openPorts } from './listeners.js'

// Other rules in place of those that there are (behaviour.md#live-rules): all of them, or none. In pieces, so that a rule with all ports
// holds nobody up.

/** Ports that are opened, closed or passed on in one piece. */
const PIECE = 64

/** Whose listeners they are. */
export interface Listening {
  readonly open: OpenListeners
  /** By other rules than those that count. Those that could not be had. */
  readonly openPorts: (r: Rule, ports: ReadonlyArray<number>) => ReadonlyArray<Omit<BindFailure, 'rule'>>
  readonly closePorts: (ends: Ends, ports: ReadonlyArray<number>) => void
}
export interface Applied {
  /** Of rules that may lack ports. */
  readonly failures: ReadonlyArray<BindFailure>
  /** At level warning. */
  readonly warnings: ReadonlyArray<string>
}

function* pieces<A extends { readonly ports: ReadonlyArray<number> }>(
  list: ReadonlyArray<A>
): Generator<readonly [A, ReadonlyArray<number>]> {
  for (const one of list)
    for (let from = 0; from < one.ports.length; from += PIECE)
      yield [one, one.ports.slice(from, from + PIECE)]
}

/**
 * Ends with the listeners of `rules`, or with those that there were; yields between pieces, and nothing else is to open or close any
 * meanwhile. Left: which port could not be had and why, and in further lines which could not be had again. Listeners that stay go on accepting all the time.
 */
export function* applyRules(
  on: Listening,
  rules: ReadonlyArray<Rule>,
  before: ReadonlyArray<Rule>
): Generator<void, E.Either<string, Applied>> {
  const { open, inTheWay, late, close } = listenerChanges(on.open, rules)
  const failures: BindFailure[] = []
  const opened: EndsPorts[] = []
  /** What is in use is no failure, where that may `pass`; result: those ports. */
  const openSome = function* (
    list: ReadonlyArray<RuleOpening>,
    pass: boolean
  ): Generator<void, ReadonlyArray<RuleOpening>> {
    const inUse: RuleOpening[] = []
    for (const [{ rule }, ports] of pieces(list)) {
      const r = rules[rule]!
      const failed = on.openPorts(r, ports)
      const used = pass ? failed.filter((f) => f.errno === EADDRINUSE).map((f) => f.port) : []
      if (used.length > 0) inUse.push({ rule, ports: used })
      for (const f of failed) if (!used.includes(f.port)) failures.push({ rule, ...f })
      opened.push({ ends: r, ports: ports.filter((port) => !failed.some((f) => f.port === port)) })
      yield
    }
    return inUse
  }
  const closeSome = function* (list: ReadonlyArray<EndsPorts>): Generator<void, void> {
    for (const [{ ends }, ports] of pieces(list)) {
      on.closePorts(ends, ports)
      yield
    }
  }
  yield* openSome(open, false)
  // Before what is in their way is closed: where a right is lacking, or a descriptor, that could not be opened again either
  const last = yield* openSome(late, true)
  // Those may fail as well, but what fails by now fails for all
  let verdict = bindVerdict(rules, failures)
  if (E.isLeft(verdict)) {
    yield* closeSome(opened)
    return E.left(verdict.left.text)
  }
  yield* closeSome(inTheWay)
  yield* openSome(last, false)
  if (last.length > 0) verdict = bindVerdict(rules, failures)
  if (E.isLeft(verdict)) {
    const lines = [verdict.left.text]
    yield* closeSome(opened)
    for (const [{ ends }, ports] of pieces(inTheWay)) {
      // Of several rules, perhaps
      for (const r of before) {
        const its = ports.filter((port) => r.first <= port && port <= r.last)
        if (its.length > 0 && endsKey(r) === endsKey(ends))
          lines.push(...failureLines(r, on.openPorts(r, its)).map((line) => `${line}, any more`))
      }
      yield
    }
    return E.left(lines.join('\n'))
  }
  yield* closeSome(close)
  return E.right({ failures, warnings: verdict.right })
}

/** ms of a turn that listeners may take. */
const SLICE = 1

/** Each listener belongs to one of `rules`, if one has its port; yields between pieces. */
function* passOn(listeners: ListenPlace['listeners'], rules: ReadonlyArray<Rule>): Generator<void, void> {
  const counting = new Set(rules)
  let looked = 0
  for (const [id, { rule, port }] of listeners) {
    if (++looked % PIECE === 0) yield
    if (counting.has(rule)) continue
    const heir = ruleOf(rules, endsKey(rule), port)
    if (heir !== undefined) listeners.set(id, { rule: rules[heir]!, port })
  }
}

/** Of a place where we listen: as engine/live-rules.ts wants it. `scanner`: is told of rules with automatic ports; null: there are none. */
export const rulesDoor = (
  place: ListenPlace,
  scanner: { readonly rules: (failures: ReadonlyArray<BindFailure>) => void } | null,
  log: Log,
  clock: () => number
) => {
  let job: Generator<void, E.Either<string, Applied>> | null = null
  const listening: Listening = {
    open: place.open,
    openPorts: (r, ports) => openPorts(place, r, ports),
    closePorts: (ends, ports) => closePorts(place, ends, ports)
  }
  /** All of it, or nothing; in the end what listens on belongs to the rules that count now. */
  const change = function* (rules: ReadonlyArray<Rule>): Generator<void, E.Either<string, Applied>> {
    const applied = yield* applyRules(listening, rules, place.rules)
    if (E.isLeft(applied)) return applied
    place.rules = rules
    yield* passOn(place.listeners, rules)
    return applied
  }
  return {
    begin: (rules: ReadonlyArray<Rule>): void => {
      place.changing = true
      job = change(rules)
    },
    go: (): string | null => {
      if (job === null) return ''
      const until = clock() + SLICE
      let step = job.next()
      while (step.done !== true && clock() < until) step = job.next()
      if (step.done !== true) return null
      job = null
      place.changing = false
      if (E.isLeft(step.value)) return step.value.left
      const { failures, warnings } = step.value.right
      for (const line of warnings) log.event('control', 'warning', line)
      scanner?.rules(failures)
      return ''
    }
  }
}
