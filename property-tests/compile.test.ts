import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  type AnyStateMachine,
  and,
  assign,
  createMachine,
  enqueueActions,
  not,
  or,
  raise,
  setup,
  stateIn
} from 'xstate'
import { bareAlphabet } from '../src/explore/alphabet.js'
import { compile } from '../src/runtime/machine/compile.js'
import { sameAsXstate, untilAllTaken } from './same-as-xstate.js'

type Context = { readonly n: number; readonly log: readonly string[] }
type Events = { readonly type: 'A' | 'B' | 'C' | 'D' | 'E' | 'F' | 'G' | 'OTHER'; readonly k: number }
type P = { readonly k: number }
const inert = (_: unknown, _p: P): void => {}
const note = (text: string) =>
  assign<Context, Events, undefined, Events, never>(({ context }) => ({
    log: [...context.log.slice(-3), text]
  }))

const base = setup({
  types: { context: {} as Context, events: {} as Events, input: {} as { readonly n: number } },
  guards: {
    even: ({ context }) => context.n % 2 === 0,
    above: ({ context }, p: P) => context.n > p.k,
    both: and(['even', { type: 'above', params: { k: 3 } }]),
    any: or(['even', not({ type: 'above', params: { k: 5 } })])
  },
  actions: {
    Send: inert,
    Arm: inert,
    Bare: () => {},
    // `k` is missing from xstate's own first event; NaN would turn every guard off for good.
    add: assign(({ context, event }) => ({ n: (context.n + (event.k ?? 1)) % 16 })),
    plus: assign({ n: ({ context }, p: P) => (context.n + p.k) % 16, log: () => ['plus'] }),
    nothing: assign(() => ({})),
    tellEnter: note('enter'),
    tellExit: note('exit')
  }
})
const byEvent = ({ event }: { event: Events }): P => ({ k: event.k })
const byContext = ({ context }: { context: Context }): P => ({ k: context.n })

const flat = base.createMachine({
  id: 'flat',
  context: ({ input }) => ({ n: input.n, log: [] }),
  initial: 'one',
  on: {
    F: { actions: { type: 'Send', params: byContext } },
    G: '.three',
    '*': { guard: 'even', actions: 'add' }
  },
  states: {
    one: {
      entry: [{ type: 'Arm', params: { k: 1 } }, 'add'],
      exit: ['tellExit', { type: 'Send', params: byContext }],
      on: {
        A: [
          { guard: 'both', target: 'two', actions: { type: 'Send', params: byEvent } },
          {
            guard: { type: 'above', params: byEvent },
            actions: ['add', { type: 'Send', params: byContext }, 'Bare']
          },
          { guard: ({ context }) => context.n === 2, target: 'one' },
          { guard: not('any'), target: 'one', reenter: true }
        ],
        B: 'two',
        C: { target: 'one', reenter: true, actions: 'nothing' },
        D: {},
        E: [{ guard: 'even' }, { target: 'two' }]
      }
    },
    two: {
      entry: 'tellEnter',
      on: {
        A: 'one',
        B: { target: 'done', guard: 'any' },
        '*': { actions: { type: 'plus', params: byEvent } }
      }
    },
    three: { on: { A: undefined, B: { target: 'three' }, '*': 'one' } },
    done: { type: 'final', entry: 'Bare', exit: { type: 'Arm', params: byContext } }
  },
  exit: { type: 'Send', params: { k: -1 } }
})

const enter = (name: string) => [{ type: 'Send' as const, params: byContext }, note(`+${name}`)]
const leave = (name: string) => [note(`-${name}`), { type: 'Arm' as const, params: byContext }]
const nested = base.createMachine({
  id: 'nested',
  context: ({ input }) => ({ n: input.n, log: [] }),
  initial: 'p',
  entry: enter('root'),
  exit: leave('root'),
  on: {
    G: { target: '#nested', actions: 'add' },
    F: { target: '.q', reenter: true },
    E: { actions: 'add', guard: 'even' }
  },
  states: {
    p: {
      id: 'p',
      initial: { target: 'x', actions: ['add', { type: 'Arm', params: byContext }] },
      entry: enter('p'),
      exit: leave('p'),
      on: {
        A: '.y',
        B: { target: '.y', reenter: true },
        C: { target: 'p' },
        D: { target: 'p', reenter: true },
        E: { target: '#deep', actions: 'add', guard: 'even' }
      },
      states: {
        x: {
          entry: enter('x'),
          exit: leave('x'),
          on: { A: 'y', B: { target: '#p', guard: 'even' }, OTHER: '#nested' }
        },
        y: {
          initial: 'y1',
          entry: enter('y'),
          exit: leave('y'),
          on: { C: { target: 'y', guard: 'even' }, D: 'x' },
          states: {
            y1: {
              entry: enter('y1'),
              exit: leave('y1'),
              on: { A: 'y2', F: '#q', G: { target: '#p', reenter: true } }
            },
            y2: {
              id: 'deep',
              entry: enter('y2'),
              exit: leave('y2'),
              on: { A: 'y1', B: { target: 'y2', reenter: true }, '*': { actions: 'add' } }
            }
          }
        }
      }
    },
    q: {
      id: 'q',
      entry: enter('q'),
      exit: leave('q'),
      on: { A: 'p', B: '#deep', C: { target: 'end', guard: { type: 'above', params: { k: 8 } } } }
    },
    end: { type: 'final', entry: enter('end'), exit: leave('end') }
  }
})

const withInner = base.extend({
  actions: {
    inner: base.enqueueActions(({ enqueue, context }) => {
      enqueue({ type: 'Send', params: { k: context.n * 10 } })
      enqueue.assign({ n: ({ context: c }) => c.n + 1 })
    })
  }
})
const queued = withInner
  .extend({
    actions: {
      outer: enqueueActions((args, p: P | undefined) => {
        // Inside setup() xstate types neither names nor params of its own actions here.
        const { context, event } = args as unknown as { readonly context: Context; readonly event: Events }
        const enqueue = args.enqueue as unknown as { (a: unknown): void; assign(of: unknown): void }
        const check = args.check as unknown as (g: unknown) => boolean
        if (check('even')) enqueue('add')
        enqueue('inner')
        if (check({ type: 'above', params: { k: 2 } })) enqueue({ type: 'plus', params: { k: p?.k ?? 100 } })
        enqueue({ type: 'Arm', params: { k: context.n + (event.k ?? 1) } })
        enqueue({ type: 'Send', params: byContext })
        enqueue('inner')
        enqueue.assign(({ context: c }: { context: Context }) => ({ log: [`${c.n}`] }))
        if (check(({ context: c }: { context: Context }) => c.n > 3)) enqueue('Bare')
      })
    }
  })
  .createMachine({
    id: 'queued',
    context: ({ input }) => ({ n: input.n, log: [] }),
    initial: 'on',
    states: {
      on: {
        exit: enqueueActions(({ enqueue }) => enqueue({ type: 'Send', params: { k: 7 } })),
        on: {
          A: { actions: 'inner' },
          B: { actions: { type: 'outer', params: byEvent } },
          C: {
            target: 'off',
            actions: ['add', { type: 'outer', params: byContext }, { type: 'Send', params: byContext }]
          },
          D: { actions: enqueueActions(({ enqueue }) => enqueue(function inline() {})) }
        }
      },
      off: { entry: { type: 'outer', params: { k: 5 } }, on: { '*': 'on' } }
    }
  })

const input = fc.record({ n: fc.integer({ min: -3, max: 9 }) })
const event = fc.record({
  type: fc.constantFrom(
    'A' as const,
    'B' as const,
    'C' as const,
    'D' as const,
    'E' as const,
    'F' as const,
    'G' as const,
    'OTHER' as const
  ),
  k: fc.integer({ min: -4, max: 4 })
})

describe('compiled = xstate', () => {
  test('guards, params, wildcards, assign, self-transitions, final', () =>
    sameAsXstate(flat, input, event, { numRuns: 400 }))
  test('nested states, initial actions, root, internal and external targets', () =>
    sameAsXstate(nested, input, event, { numRuns: 400 }))
  test('enqueueActions', () => sameAsXstate(queued, input, event))
  test('no states, context as a value', () => {
    const m = createMachine({ id: 'bare', context: { n: 1 }, on: { A: { actions: assign({ n: 2 }) } } })
    sameAsXstate(m as AnyStateMachine, fc.constant(undefined), event)
  })
  test('contexts whose keys differ, or come later', () => {
    const m = createMachine({
      id: 'keys',
      context: ({ input }: { input: unknown }) =>
        (((input as { n: number }).n & 1) === 0 ? { a: 1 } : { b: 2, a: 1 }) as object,
      on: {
        A: {
          actions: assign({ c: ({ context }: { context: object }) => Object.keys(context).length } as never)
        },
        B: { actions: assign((() => ({ a: 3 })) as never) },
        C: { actions: assign((() => ({ toString: 1, z: undefined })) as never) }
      }
    })
    sameAsXstate(m as AnyStateMachine, input, event)
  })
  test('final at once', () => {
    const m = createMachine(
      { id: 'over', initial: 'z', exit: 'x', states: { z: { type: 'final' } } },
      { actions: { x: () => {} } }
    )
    sameAsXstate(m as AnyStateMachine, fc.constant(undefined), event)
  })
  test('a difference is found and told, one event a line', () => {
    let calls = 0
    const odd = createMachine({
      id: 'odd',
      context: { n: 0 },
      on: { A: { actions: assign({ n: () => calls++ }) } }
    })
    assert.throws(
      () => sameAsXstate(odd as AnyStateMachine, fc.constant(undefined), event),
      /machine 'odd' differs after\n {2}start[^\n]*\n {2}1 \{"type":"A"/
    )
  })
})

describe('through every row', () => {
  const toy = (more: object, differs = false): AnyStateMachine => {
    let calls = 0
    return createMachine({
      id: 'toy',
      initial: 'a',
      context: { n: 0 },
      states: {
        a: { on: { GO: 'b' } },
        b: {
          on: {
            BACK: [...(differs ? [{ actions: assign({ n: () => calls++ }) }] : [{ target: 'a' }])],
            ...more
          }
        }
      }
    }) as AnyStateMachine
  }
  /** An alphabet that was made before NEVER was thought of. */
  const through = (m: AnyStateMachine): void => {
    const a = bareAlphabet(m)
    untilAllTaken(m, () => {}, { ...a, letters: a.letters.filter((l) => l.name !== 'never') }, 10)
  }
  test('nothing is left out, and nothing differs', () => through(toy({})))
  test('a row that no letter takes is told', () =>
    assert.throws(() => through(toy({ NEVER: 'a' })), /b on NEVER -> a/))
  test('a difference in a row that chance does not reach is told', () =>
    assert.throws(() => through(toy({}, true)), /machine 'toy' differs after/))
})

describe('the table', () => {
  const m = compile(flat)
  test('an unhandled event gives back the very same state', () => {
    const s = m.start({ n: 1 }, [])
    assert.equal(m.value(s), 'one')
    const out: never[] = []
    assert.equal(m.step(s, { type: 'D', k: 0 }, out), s)
    assert.equal(m.step({ ...s, context: { n: 1, log: [] } }, { type: 'OTHER', k: 0 }, out).node, s.node)
    assert.deepEqual(out, [])
  })
  test('a final state takes no further event', () => {
    const done = { node: m.leaves.indexOf('done'), context: { n: 0, log: [] } }
    assert.ok(m.isFinal(done))
    assert.equal(m.step(done, { type: 'G', k: 0 }, []), done)
  })
  test('value names nested states', () => {
    const n = compile(nested)
    assert.deepEqual([...n.leaves], ['p.x', 'p.y.y1', 'p.y.y2', 'q', 'end'])
  })
})

describe('refusals name machine, state and feature', () => {
  const refused = (config: object, impl: object, why: RegExp): void =>
    void assert.throws(
      () => compile(createMachine({ id: 'm', ...config } as never, impl as never) as AnyStateMachine),
      why
    )
  const inState = (state: object): object => ({ initial: 's', states: { s: state, t: {} } })
  const cases: readonly [string, object, object, RegExp][] = [
    ['after', inState({ after: { 10: 't' } }), {}, /machine 'm', state 's': .*'after'/],
    ['invoke', inState({ invoke: { src: 'x' } }), {}, /machine 'm', state 's': .*'invoke'/],
    ['always', inState({ always: 't' }), {}, /machine 'm', state 's': .*'always'/],
    ['onDone', inState({ initial: 'a', states: { a: {} }, onDone: 't' }), {}, /state 's': .*'onDone'/],
    ['output', inState({ type: 'final', output: 1 }), {}, /state 's': .*'output'/],
    ['parallel', inState({ type: 'parallel', states: { a: {}, b: {} } }), {}, /state 's': .*'parallel'/],
    [
      'history',
      inState({ initial: 'a', states: { a: {}, h: { type: 'history' } } }),
      {},
      /state 's\.h': .*'history'/
    ],
    [
      'nested final',
      inState({ initial: 'a', states: { a: { type: 'final' } } }),
      {},
      /state 's\.a': .*final/
    ],
    ['several targets', inState({ on: { A: { target: ['t', 's'] } } }), {}, /state 's': .*several targets/],
    ['partial wildcard', inState({ on: { 'A.*': 't' } }), {}, /state 's': .*'A\.\*'/],
    ['own done events', inState({ on: { 'xstate.done.state.m': 't' } }), {}, /state 's': .*'xstate/],
    ['raise', inState({ on: { A: { actions: raise({ type: 'B' }) } } }), {}, /state 's': .*xstate\.raise/],
    [
      'raise by name',
      inState({ entry: 'r' }),
      { actions: { r: raise({ type: 'B' }) } },
      /state 's': .*xstate\.raise/
    ],
    ['unknown action', inState({ entry: 'nope' }), {}, /state 's': .*'nope'/],
    ['unknown guard', inState({ on: { A: { guard: 'nope', target: 't' } } }), {}, /state 's': .*'nope'/],
    ['unknown guard in a list', inState({ on: { A: { guard: not('nope') } } }), {}, /state 's': .*'nope'/],
    ['stateIn', inState({ on: { A: { guard: stateIn('t'), target: 't' } } }), {}, /state 's': .*stateIn/],
    [
      'unknown key of a transition',
      inState({ on: { A: { target: 't', delay: 3 } } }),
      {},
      /state 's': .*'delay'/
    ]
  ]
  for (const [name, config, impl, why] of cases) test(name, () => refused(config, impl, why))
  test('spawn in a context', () => {
    const m = createMachine({ id: 'm', context: ({ spawn }) => ({ a: spawn('x' as never) }) })
    assert.throws(() => compile(m as AnyStateMachine).start(undefined, []), /machine 'm'.*spawn/)
  })
  test('enqueue.raise', () => {
    const m = createMachine({
      id: 'm',
      on: { A: { actions: enqueueActions(({ enqueue }) => enqueue.raise({ type: 'B' })) } }
    })
    const c = compile(m as AnyStateMachine)
    assert.throws(() => c.step(c.start(undefined, []), { type: 'A' }, []), /machine 'm'.*enqueue\.raise/)
  })
})
