import type { AnyMachineSnapshot, AnyStateMachine } from 'xstate'
import { isObject } from '../codecs/value/codec.js'

// What is read of a chart: its nodes, its rows (transitions), how each is called, and what clause it implements.

/** A node of xstate's, as far as it is read; targets are resolved there. */
export interface Node {
  readonly key: string
  readonly path: readonly string[]
  readonly type: string
  readonly description?: string
  readonly meta?: unknown
  readonly parent?: Node
  readonly states: Readonly<Record<string, Node>>
  readonly transitions: ReadonlyMap<string, readonly Transition[]>
  readonly initial: { readonly target: readonly Node[] }
  readonly entry: readonly unknown[]
  readonly exit: readonly unknown[]
}
export interface Transition {
  readonly target?: readonly Node[]
  readonly reenter: boolean
  readonly guard?: unknown
  readonly actions: readonly unknown[]
  readonly meta?: unknown
}
/** One transition, at its place in the chart. */
export interface Row {
  readonly transition: Transition
  /** 'open.established', '(root)' */
  readonly state: string
  /** '*': any other */
  readonly event: string
  /** 'is(accept)', '' */
  readonly guard: string
  /** 'timeWait', '': it stays */
  readonly target: string
  readonly clause: string
  readonly regressions: readonly string[]
  /** 'open.established on TURN_END, candidate 1 of 4 [bothEnded] -> open.closing' */
  readonly name: string
}

export const rootOf = (m: AnyStateMachine): Node => m.root as unknown as Node
/** The node and all below it. */
export const nodesOf = (n: Node): readonly Node[] => [n, ...Object.values(n.states).flatMap(nodesOf)]

/** The states around it, the nearest first. */
export const ancestorsOf = (n: Node): readonly Node[] =>
  n.parent === undefined ? [] : [n.parent, ...ancestorsOf(n.parent)]

/** Texts among the parameters, which tell uses of one guard or action apart; those that need a real event stay out. */
const texts = (params: unknown): string => {
  let given = params
  if (typeof params === 'function')
    try {
      given = (params as (a: unknown) => unknown)({ context: {}, event: {} })
    } catch {
      return ''
    }
  if (!isObject(given)) return ''
  const strings = Object.entries(given).flatMap(([k, v]) =>
    k !== 'type' && typeof v === 'string' && v !== '' ? [v] : []
  )
  return strings.length === 0 ? '' : `(${strings.join(', ')})`
}
/** 'is(accept)': a guard or an action. */
export const named = (a: unknown): string => {
  if (typeof a === 'string') return a
  if (isObject(a)) return `${String(a.type)}${texts(a.params)}`
  const of = (a as { readonly guards?: readonly unknown[] }).guards
  const name = (a as { readonly name?: string }).name || 'inline'
  return of === undefined ? name : `${name}(${of.map(named).join(', ')})`
}
export const when = (t: Transition): string => (t.guard === undefined ? '' : named(t.guard))

/** Of a drawn chart: all transitions from one state to another. */
export interface Arrow {
  readonly from: Node
  readonly to: Node
  /** 'TAP_SEGMENT [isSyn]', each once. */
  readonly causes: readonly string[]
}
/** Transitions that go somewhere, in the chart's order. */
export const arrowsOf = (nodes: readonly Node[]): readonly Arrow[] => {
  const merged = new Map<Node, Map<Node, string[]>>()
  const all: { from: Node; to: Node; causes: string[] }[] = []
  for (const from of nodes)
    for (const [event, list] of from.transitions)
      for (const t of list) {
        const to = t.target?.[0]
        if (to === undefined) continue
        const guard = when(t)
        const cause = `${event === '*' ? 'any other' : event}${guard === '' ? '' : ` [${guard}]`}`
        const of = merged.get(from) ?? new Map<Node, string[]>()
        merged.set(from, of)
        const causes = of.get(to)
        if (causes === undefined) {
          const first = [cause]
          of.set(to, first)
          all.push({ from, to, causes: first })
        } else if (!causes.includes(cause)) causes.push(cause)
      }
  return all
}

const rowOf = (n: Node, event: string, list: readonly Transition[], i: number): Row => {
  const transition = list[i]!
  const state = n.path.join('.') || '(root)'
  const guard = when(transition)
  const target = (transition.target ?? []).map((x) => x.path.join('.') || '(root)').join()
  const { clause, regressions } = isObject(transition.meta) ? transition.meta : {}
  const which = list.length > 1 ? `, candidate ${i + 1} of ${list.length}` : ''
  const arrow = target === '' ? '' : ` -> ${target}`
  return {
    transition,
    state,
    event,
    guard,
    target,
    clause: typeof clause === 'string' ? clause : '',
    regressions: Array.isArray(regressions) ? regressions.map(String) : [],
    name: `${state} on ${event}${which}${guard === '' ? '' : ` [${guard}]`}${arrow}`
  }
}
/** All transitions of a chart, in its order. */
export const rowsOf = (m: AnyStateMachine): readonly Row[] =>
  nodesOf(rootOf(m)).flatMap((n) =>
    [...n.transitions].flatMap(([event, list]) => list.map((_, i) => rowOf(n, event, list, i)))
  )

const rowsBy = new WeakMap<AnyStateMachine, ReadonlyMap<unknown, Row>>()
/** The transition that this event takes in this state; null: none does. */
export const rowTaken = (m: AnyStateMachine, s: AnyMachineSnapshot, event: unknown): Row | null => {
  let rows = rowsBy.get(m)
  if (rows === undefined) {
    rows = new Map(rowsOf(m).map((r) => [r.transition, r]))
    rowsBy.set(m, rows)
  }
  const [taken] = m.getTransitionData(s as never, event as never)
  return (taken !== undefined && rows.get(taken)) || null
}

/** { open: 'established' } -> 'open.established' */
export const dotted = (value: unknown): string =>
  typeof value === 'string'
    ? value
    : Object.entries(value as object)
        .map(([k, v]) => `${k}.${dotted(v)}`)
        .join()
export const leavesOf = (m: AnyStateMachine): readonly string[] =>
  nodesOf(rootOf(m))
    .filter((n) => n.type !== 'compound')
    .map((n) => n.path.join('.'))
