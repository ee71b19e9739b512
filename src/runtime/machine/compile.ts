import { type AnyStateMachine, and, type ContextFrom, type EventFrom, type InputFrom, not, or } from 'xstate'
import { isObject } from '../../codecs/value/codec.js'
import type { Effect } from '../../effects/effect.js'
import { type Copier, copier, type Fields } from './copier.js'

// xstate's own step costs 13-16 µs (it builds an actor per call), a flow may need 150,000 of them a second. Here a machine
// definition becomes, once, a table of leaf state x event type -> guarded candidates -> next leaf and one flat list of
// actions. Everything that depends on the definition only is decided here; a step calls closures made at compile time.

/** Where a flow is: index of a leaf state, and the machine's context. Immutable. */
export interface State<C> {
  readonly node: number
  readonly context: C
}

/**
 * A machine definition as a table. `F`: what its effect actions are, as data.
 * Law: same value, context and effect sequence as xstate's `initialTransition` / `transition`, up to the first final
 * state of the top level; there an xstate actor stops, and `step` returns the state it was given. States not made by
 * `start` and `step` must have contexts with the same keys.
 */
export interface Compiled<C, E, I, F = Effect> {
  readonly id: string
  /** Dotted names of the leaf states; `node` is an index into it. */
  readonly leaves: readonly string[]
  /** Effects are appended to `out`. */
  start(input: I, out: F[]): State<C>
  /** The same object comes back if neither leaf nor context changed. An event that nobody handles changes nothing. */
  step(s: State<C>, event: E, out: F[]): State<C>
  isFinal(s: State<C>): boolean
  /** 'open.established' */
  value(s: State<C>): string
}

// What is read of an xstate 5 machine: its nodes as built by createMachine(), names and targets already resolved.
interface Ev {
  readonly type: string
}
interface Node {
  readonly key: string
  readonly id: string
  readonly path: readonly string[]
  readonly type: string
  readonly config: Readonly<Record<string, unknown>>
  readonly parent: Node | undefined
  readonly states: Readonly<Record<string, Node>>
  readonly transitions: ReadonlyMap<string, readonly Transition[]>
  readonly initial: { readonly target: readonly Node[]; readonly actions: readonly unknown[] }
  readonly entry: readonly unknown[]
  readonly exit: readonly unknown[]
}
interface Transition {
  readonly source: Node
  readonly target: readonly Node[] | undefined
  readonly reenter: boolean
  readonly guard: unknown
  readonly actions: readonly unknown[]
}
interface Machine {
  readonly id: string
  readonly root: Node
  readonly config: { readonly context?: unknown }
  readonly implementations: {
    readonly actions: Readonly<Record<string, unknown>>
    readonly guards: Readonly<Record<string, unknown>>
  }
}
type Fn = (args: unknown, params?: unknown) => unknown
type Guard = (context: unknown, event: Ev) => boolean
/** Appends effects to `out` and returns the context to go on with. */
type Impl = (context: unknown, event: Ev, params: unknown, out: unknown[]) => unknown
/** An `Impl` with its params bound. */
type Action = (context: unknown, event: Ev, out: unknown[]) => unknown
interface Candidate {
  readonly guard: Guard | null
  readonly actions: readonly Action[]
  readonly node: number
}
interface Row {
  readonly on: ReadonlyMap<string, readonly Candidate[]>
  /** For event types that no state on the way to the root names. */
  readonly others: readonly Candidate[]
  readonly final: boolean
}

const NODE_KEYS = new Set(
  'id initial states on entry exit type description meta tags context version types schemas'.split(' ')
)
const TRANSITION_KEYS = new Set('target actions guard reenter description meta'.split(' '))
const INITIAL_KEYS = new Set('target actions description meta'.split(' '))
// Compared by identity: function names do not survive minification.
const checkOf = (guard: unknown): unknown => (guard as { readonly check?: unknown }).check
const AND = checkOf(and([]))
const OR = checkOf(or([]))
const NOT = checkOf(not(() => true))

const isFn = (u: unknown): u is Fn => typeof u === 'function'
const asList = (u: unknown): readonly unknown[] => (Array.isArray(u) ? u : u === undefined ? [] : [u])
const nameOf = (n: Node): string => n.path.join('.') || '(root)'
/** The node itself first, the root last. */
const upwards = (n: Node): readonly Node[] => (n.parent === undefined ? [n] : [n, ...upwards(n.parent)])
/** The node and what is entered by default below it. */
const downwards = (n: Node): readonly Node[] =>
  n.type === 'compound' ? [n, ...downwards(n.initial.target[0])] : [n]
const below = (n: Node): readonly Node[] => [n, ...Object.values(n.states).flatMap(below)]
/** Proper descendant; everything is inside `undefined`. */
const inside = (n: Node, of: Node | undefined): boolean => of === undefined || upwards(n).indexOf(of) > 0

function refuse(m: Machine, where: string, feature: string): never {
  throw new Error(`machine '${m.id}', state '${where}': the compiler does not support ${feature}`)
}
const noSpawn = (m: Machine) => (): never => refuse(m, '(context)', 'spawn')

/**
 * Compile a definition. Supported: flat and nested states, initial states, final states of the top level, `on` at any
 * level with exact event types and '*', guards and actions by name, with params, or inline, and/or/not, assign,
 * enqueueActions, effect actions, entry and exit, internal and external self-transitions.
 * Throws an Error naming machine, state and feature for everything else: a failure at start-up, not under traffic.
 */
export function compile<M extends AnyStateMachine, F = Effect>(
  machine: M
): Compiled<ContextFrom<M>, EventFrom<M>, InputFrom<M>, F> {
  const m = machine as unknown as Machine
  const nodes = below(m.root)
  for (const n of nodes) validate(m, n)
  const leaves = nodes.filter((n) => n.type !== 'compound')
  const indexOf = new Map(leaves.map((n, i) => [n, i]))
  const contexts = copier()
  const { guardFn, actionFn } = interpreter(m, contexts)

  const actionsOf = (path: Path, t: Transition | null): Action[] => {
    const of = (list: readonly unknown[], n: Node) => list.map((a) => actionFn(a, nameOf(n)))
    const exits = (list: readonly Node[]) => list.flatMap((n) => of(n.exit, n))
    const last = path.enter.at(-1)
    return [
      ...exits(path.exit),
      ...(t === null ? [] : of(t.actions, t.source)),
      ...path.enter.flatMap((n) => [
        ...of(n.entry, n),
        ...(path.byDefault.has(n) ? of(n.initial.actions, n) : [])
      ]),
      ...(last?.type === 'final' ? exits(upwards(last)) : [])
    ]
  }
  const candidate = (leaf: Node, t: Transition): Candidate => {
    const path = pathOf(leaf, t)
    return {
      guard: t.guard === undefined ? null : guardFn(t.guard, nameOf(t.source)),
      actions: actionsOf(path, t),
      node: indexOf.get(path.enter.at(-1) ?? leaf)!
    }
  }
  /** xstate's lookup order: from the leaf to the root; in each state exact type first, then '*'. */
  const candidates = (leaf: Node, type: string | null): readonly Candidate[] => {
    const all = upwards(leaf)
      .flatMap((n) => [
        ...((type !== null && n.transitions.get(type)) || []),
        ...(n.transitions.get('*') ?? [])
      ])
      .map((t) => candidate(leaf, t))
    const sure = all.findIndex((c) => c.guard === null)
    return sure < 0 ? all : all.slice(0, sure + 1)
  }
  const rows = leaves.map((leaf): Row => {
    const types = new Set(upwards(leaf).flatMap((n) => [...n.transitions.keys()]))
    types.delete('*')
    return {
      on: new Map([...types].map((type) => [type, candidates(leaf, type)])),
      others: candidates(leaf, null),
      final: leaf.type === 'final'
    }
  })
  const first = { exit: [], enter: downwards(m.root), byDefault: new Set(downwards(m.root)) }
  const startActions = actionsOf(first, null)
  const startNode = indexOf.get(first.enter.at(-1)!)!
  const names = leaves.map((n) => n.path.join('.'))

  const run = (actions: readonly Action[], context: unknown, event: Ev, out: unknown[]): unknown => {
    let c = context
    for (let i = 0; i < actions.length; i++) c = actions[i](c, event, out)
    return c
  }
  type S = State<ContextFrom<M>>
  return {
    id: m.id,
    leaves: names,
    start: (input, out) => {
      const { context } = m.config
      const c = isFn(context) ? context({ input, spawn: noSpawn(m) }) : (context ?? {})
      contexts.learn(c as Fields)
      const event = { type: 'xstate.init', input }
      return {
        node: startNode,
        context: run(startActions, isFn(context) ? { ...(c as object) } : c, event, out)
      } as S
    },
    step: (s, event, out) => {
      const row = rows[s.node]
      if (row.final) return s
      const e = event as Ev
      const list = row.on.get(e.type) ?? row.others
      for (let i = 0; i < list.length; i++) {
        const { guard, actions, node } = list[i]
        if (guard !== null && !guard(s.context, e)) continue
        const context = run(actions, s.context, e, out)
        return context === s.context && node === s.node ? s : ({ node, context } as S)
      }
      return s
    },
    isFinal: (s) => rows[s.node].final,
    value: (s) => names[s.node]
  }
}

interface Path {
  /** Deepest first. */
  readonly exit: readonly Node[]
  /** Outermost first; the last one is the new leaf. */
  readonly enter: readonly Node[]
  /** Those of `enter` whose `initial` is followed. */
  readonly byDefault: ReadonlySet<Node>
}

const NOWHERE: Path = { exit: [], enter: [], byDefault: new Set() }

/** States left and entered when `t` is taken in `leaf`: SCXML's transition domain, as xstate 5 reads it. */
function pathOf(leaf: Node, t: Transition): Path {
  const to = t.target?.[0]
  if (to === undefined) return NOWHERE
  const internal = !t.reenter && (to === t.source || inside(to, t.source))
  const common = upwards(to).find((n) => inside(to, n) && inside(t.source, n))
  // `undefined`: the domain is outside the root, which is left and entered as well.
  const domain = internal ? t.source : (common ?? (t.reenter ? undefined : upwards(leaf).at(-1)))
  const above = upwards(to).filter((n) => n !== to && inside(n, domain))
  const itself = to !== t.source || t.source !== domain ? [to] : []
  const deeper = [...itself, ...downwards(to).slice(1)]
  return {
    exit: upwards(leaf).filter((n) => inside(n, domain)),
    enter: [...above.reverse(), ...deeper],
    byDefault: new Set(deeper)
  }
}

/** Refuse what a table cannot hold. */
function validate(m: Machine, n: Node): void {
  const no = (feature: string): never => refuse(m, nameOf(n), feature)
  const keys = (o: unknown, allowed: ReadonlySet<string>, prefix: string): void => {
    if (isObject(o))
      for (const [k, v] of Object.entries(o)) if (v !== undefined && !allowed.has(k)) no(`${prefix}'${k}'`)
  }
  if (!['atomic', 'compound', 'final'].includes(n.type)) no(`type '${n.type}'`)
  if (n.type === 'final' && n.parent?.parent !== undefined) no('a final state below the top level')
  if (n.type === 'final' && n.parent === undefined) no('a final root')
  keys(n.config, NODE_KEYS, '')
  keys(n.config.initial, INITIAL_KEYS, 'initial: ')
  for (const [type, config] of Object.entries((n.config.on ?? {}) as object)) {
    if (type !== '*' && type.includes('*')) no(`partial wildcard '${type}'`)
    if (type.startsWith('xstate.')) no(`event '${type}'`)
    for (const t of asList(config)) keys(t, TRANSITION_KEYS, `on '${type}': `)
  }
  for (const [type, list] of n.transitions)
    for (const t of list) if ((t.target?.length ?? 0) > 1) no(`on '${type}': several targets`)
}

/** `enqueue.assign(of)`, until it is its turn. */
class Assign {
  constructor(readonly of: unknown) {}
}

/** Guards and actions of one machine, as closures that allocate nothing but contexts and effects. */
function interpreter(m: Machine, contexts: Copier) {
  const ENQUEUED = '(enqueueActions)'
  // One argument object for all guards and actions, since they destructure it.
  const args = { context: undefined as unknown, event: undefined as unknown, spawn: noSpawn(m) }
  const argsOf = (context: unknown, event: Ev): unknown => {
    args.context = context
    args.event = event
    return args
  }

  const guardFn = (g: unknown, where: string): Guard => {
    const name = typeof g === 'string' ? g : isObject(g) ? String(g.type) : null
    const of = name === null ? g : m.implementations.guards[name]
    const params = isObject(g) ? g.params : undefined
    if (!isFn(of))
      return name === null || of === undefined
        ? refuse(m, where, `guard '${name ?? String(g)}' without an implementation`)
        : guardFn(of, where)
    if (checkOf(of) !== undefined) return composed(of, where)
    if (isFn(params))
      return (c, e) => {
        const p = params(argsOf(c, e))
        return !!of(argsOf(c, e), p)
      }
    return (c, e) => !!of(argsOf(c, e), params)
  }
  const composed = (g: unknown, where: string): Guard => {
    const check = checkOf(g)
    if (check !== AND && check !== OR && check !== NOT) return refuse(m, where, 'guard stateIn')
    const all = (g as { readonly guards: readonly unknown[] }).guards.map((x) => guardFn(x, where))
    if (check === NOT) return (c, e) => !all[0](c, e)
    return check === AND ? (c, e) => all.every((x) => x(c, e)) : (c, e) => all.some((x) => x(c, e))
  }

  const impls = new Map<string, Impl>()
  const named = (type: string, where: string): Impl => {
    const known = impls.get(type)
    if (known !== undefined) return known
    const f = m.implementations.actions[type]
    if (!isFn(f)) return refuse(m, where, `action '${type}' without an implementation`)
    const impl = implOf(type, f, where)
    impls.set(type, impl)
    return impl
  }
  const implOf = (type: string, f: Fn, where: string): Impl => {
    if (!('resolve' in f)) {
      return (c, _, params, out) => {
        const whole = isObject(params) && params.type === type
        out.push(whole ? params : { type, ...(params as object | undefined) })
        return c
      }
    }
    const of = f as unknown as {
      readonly type: string
      readonly assignment: unknown
      readonly collect: unknown
    }
    if (of.type === 'xstate.assign') return (c, e, params) => assigned(of.assignment, c, e, params)
    if (of.type === 'xstate.enqueueActions' && isFn(of.collect)) return enqueueing(of.collect)
    return refuse(m, where, `action '${of.type ?? type}'`)
  }
  const assigned = (of: unknown, c: unknown, e: Ev, params: unknown): unknown => {
    const update = isFn(of) ? of(argsOf(c, e), params) : of
    if (update === undefined || update === null) return c
    const old = c as Fields
    let next: Fields | null = null
    for (const key in update as Fields) {
      const v = (update as Fields)[key]
      const value = update === of && isFn(v) ? v(argsOf(c, e), params) : v
      if (!(key in old)) contexts.loosen()
      else if (next === null && Object.is(value, old[key])) continue
      next ??= contexts.copy(old)
      next[key] = value
    }
    return next ?? c
  }

  // The queue is used as a stack: what is enqueued may be an enqueueActions itself.
  const queue: unknown[] = []
  const enqueue = Object.assign((a: unknown): void => void queue.push(a), {
    assign: (of: unknown): void => void queue.push(new Assign(of))
  })
  for (const name of ['cancel', 'raise', 'sendTo', 'sendParent', 'spawnChild', 'stopChild', 'emit'])
    Object.assign(enqueue, { [name]: () => refuse(m, ENQUEUED, `enqueue.${name}`) })
  const checked = new Map<unknown, Guard>()
  const check = (g: unknown): boolean => {
    const known = typeof g === 'string' ? checked.get(g) : undefined
    const guard = known ?? guardFn(g, ENQUEUED)
    if (known === undefined && typeof g === 'string') checked.set(g, guard)
    return guard(collectArgs.context, collectArgs.event as Ev)
  }
  const collectArgs = { context: undefined as unknown, event: undefined as unknown, enqueue, check }
  const enqueueing =
    (collect: Fn): Impl =>
    (c, e, params, out) => {
      const base = queue.length
      let context = c
      try {
        collectArgs.context = c
        collectArgs.event = e
        collect(collectArgs, params)
        const end = queue.length
        for (let i = base; i < end; i++) context = enqueued(queue[i], context, e, out)
      } finally {
        queue.length = base
      }
      return context
    }
  const enqueued = (a: unknown, c: unknown, e: Ev, out: unknown[]): unknown => {
    if (typeof a === 'string') return named(a, ENQUEUED)(c, e, undefined, out)
    if (a instanceof Assign) return assigned(a.of, c, e, undefined)
    if (isFn(a)) return implOf(a.name || '(anonymous)', a, ENQUEUED)(c, e, undefined, out)
    const { type, params } = a as { readonly type: string; readonly params?: unknown }
    return named(type, ENQUEUED)(c, e, isFn(params) ? params(argsOf(c, e)) : params, out)
  }

  const actionFn = (a: unknown, where: string): Action => {
    if (isFn(a)) {
      const impl = implOf(a.name || '(anonymous)', a, where)
      return (c, e, out) => impl(c, e, undefined, out)
    }
    const { type, params } = isObject(a) ? a : { type: a, params: undefined }
    const impl = named(String(type), where)
    if (isFn(params)) return (c, e, out) => impl(c, e, params(argsOf(c, e)), out)
    return (c, e, out) => impl(c, e, params, out)
  }
  return { guardFn, actionFn }
}
