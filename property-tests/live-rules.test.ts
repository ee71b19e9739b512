import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { type ConfRule, PIF } from '../src/codecs/control/conf.js'
import { fromV4, type InAny, UNSPECIFIED4, UNSPECIFIED6 } from '../src/codecs/value/inany.js'
import { addPort, emptyPorts, type PortSet, portsIn, removePort } from '../src/codecs/value/port-set.js'
import { instant } from '../src/effects/effect.js'
import {
  type ConfClientEffect,
  type ConfClientEvent,
  confClientMachine
} from '../src/machines/forward/conf-client.js'
import {
  addRule,
  type ConfEnv,
  capabilitiesOf,
  deleteRule,
  hasRule,
  merged,
  ofTables,
  rulesConflict,
  showConfRule,
  type Tables,
  toConfRule,
  toTables
} from '../src/machines/forward/conf-rules.js'
import type { Rule } from '../src/machines/forward/forward-rules.js'
import { type Ends, endsKey, listenerChanges } from '../src/machines/forward/listener-changes.js'
import { nothingInherited } from '../src/runtime/host/inherited.js'
import { listenPlace } from '../src/runtime/host/listeners.js'
import { applyRules, type Listening, rulesDoor } from '../src/runtime/host/live-listeners.js'
import { compile } from '../src/runtime/machine/compile.js'
import { sameAsXstate, untilAllTaken } from './same-as-xstate.js'

// Rules that change while all runs (behaviour.md#live-rules): what may be added, and that listeners are those of the last rules that could be
// had, whatever came before.

const ENV: ConfEnv = { mode: 'pasta', tcp: true, udp: true, v4: true, v6: true }
const CAPS = capabilitiesOf(ENV)
const LOCAL: InAny = fromV4(0x7f000001)

/** Few ports, so that rules meet. */
const arbRule: fc.Arbitrary<ConfRule> = fc
  .record({
    where: fc.constantFrom<readonly [InAny, boolean]>(
      [UNSPECIFIED6, true],
      [UNSPECIFIED6, false],
      [UNSPECIFIED4, false],
      [LOCAL, false]
    ),
    ifname: fc.constantFrom('', '', 'lo'),
    first: fc.integer({ min: 1, max: 12 }),
    more: fc.nat(3),
    to: fc.integer({ min: 1, max: 12 }),
    proto: fc.constantFrom<'tcp' | 'udp'>('tcp', 'udp'),
    weak: fc.boolean(),
    scan: fc.boolean()
  })
  .map(({ where, first, more, ...r }) => ({
    ...r,
    address: where[0],
    any: where[1],
    first,
    last: first + more,
    target: UNSPECIFIED6,
    weak: r.weak || r.scan
  }))
/** Those of a list that go together. */
const fitting = (list: ReadonlyArray<ConfRule>): ReadonlyArray<ConfRule> =>
  list.reduce<ReadonlyArray<ConfRule>>((table, r) => {
    const next = addRule(table, r, CAPS)
    return E.isRight(next) ? next.right : table
  }, [])
const PLAIN: ConfRule = {
  address: UNSPECIFIED6,
  target: UNSPECIFIED6,
  ifname: '',
  first: 22,
  last: 22,
  to: 22,
  proto: 'tcp',
  any: true,
  weak: false,
  scan: false
}
const arbTable = fc.array(arbRule, { maxLength: 5 }).map(fitting)
const arbTables: fc.Arbitrary<Tables> = fc.tuple(arbTable, arbTable)
const rulesOf = (t: Tables, old: ReadonlyArray<Rule> = []): ReadonlyArray<Rule> =>
  E.getOrElse((why: string): ReadonlyArray<Rule> => assert.fail(why))(ofTables(ENV, t, old))

const rule = (r: Partial<ConfRule>): ConfRule => ({ ...PLAIN, ...r })

describe('rules in words and as ours', () => {
  test('lines', () => {
    const v4 = { any: false, address: LOCAL }
    assert.deepEqual(
      [
        rule({ first: 8080, last: 8080, to: 80 }),
        rule({ ...v4, address: UNSPECIFIED4, proto: 'udp', first: 5000, last: 5009, to: 6000 }),
        rule({ ...v4, ifname: 'lo', to: 2222, target: fromV4(0xc0000205) }),
        rule({ any: false, to: 80, target: [0xfd000000, 0, 0, 5] }),
        rule({ first: 1, last: 32767, to: 1, weak: true, scan: true })
      ].map(showConfRule),
      [
        'TCP [*]:8080  =>  80 ',
        'UDP [0.0.0.0]:5000-5009  =>  6000-6009 ',
        'TCP [127.0.0.1]%lo:22  =>  192.0.2.5:2222 ',
        'TCP [::]:22  =>  fd00::5:80 ',
        'TCP [*]:1-32767  =>  1-32767  (best effort) (auto-scan)'
      ]
    )
  })
  const why = (r: ConfRule, table: ReadonlyArray<ConfRule> = [], caps = CAPS): string => {
    const a = addRule(table, r, caps)
    return E.isLeft(a) ? a.left : 'added'
  }
  test('what cannot be is refused, in the words that people know', () => {
    const cases: ReadonlyArray<readonly [ConfRule, string, number?]> = [
      [rule({ first: 0 }), 'Forwarding rule attempts to map from port 0'],
      [rule({ to: 0 }), 'Forwarding rule attempts to map to port 0'],
      [rule({ target: fromV4(0xe0000001) }), 'Multicast target address 224.0.0.1 for forwarding rule'],
      [
        rule({ target: fromV4(0xc0000201) }),
        'Dual stack forward to IPv4 address 192.0.2.1 unsupported\nDid you mean 0.0.0.0/... instead?'
      ],
      [
        rule({ any: false, address: LOCAL, target: [0xfd000000, 0, 0, 1] }),
        'Forward from IPv4 (127.0.0.1) to IPv6 (fd00::1) unsupported'
      ],
      [rule({}), 'Dual stack forward, but IPv6 not enabled', 0x3d],
      [rule({ any: false }), 'IPv6 forward, but IPv6 not enabled', 0x3d],
      [rule({ any: false, address: LOCAL }), 'IPv4 forward, but IPv4 not enabled', 0x3e],
      [rule({}), "Can't add TCP forwarding rule, TCP not enabled", 0x3b],
      [rule({ proto: 'udp' }), "Can't add UDP forwarding rule, UDP not enabled", 0x37]
    ]
    for (const [r, text, caps] of cases)
      assert.equal(why(r, [], caps ?? CAPS), `${text}\nUnable to add rule ${showConfRule(r)}`)
    const other = rule({ any: false, address: UNSPECIFIED4 })
    assert.equal(
      why(other, [rule({})]),
      `Forwarding configuration conflict: ${showConfRule(other)} versus ${showConfRule(rule({}))}\nUnable to add rule ${showConfRule(other)}`
    )
  })
  test('the very same rule again is no fault; deleted is what is the very same', () => {
    assert.deepEqual(addRule([rule({})], rule({}), CAPS), E.right([rule({})]))
    assert.deepEqual(deleteRule([rule({})], rule({})), E.right([]))
    assert.match(
      JSON.stringify(deleteRule([rule({})], rule({ to: 23 }))),
      /conflicts with rule TCP .* but doesn't match it, can't delete/
    )
    assert.match(
      JSON.stringify(deleteRule([], rule({}))),
      /Couldn't find forwarding rule to delete: TCP \[\*\]:22 {2}=> {2}22 \\nUnable to delete rule/
    )
  })
  test('a table has no two rules for one port', () => {
    fc.assert(
      fc.property(fc.array(arbRule, { maxLength: 12 }), (list) => {
        const table = fitting(list)
        for (const [i, a] of table.entries())
          for (const b of table.slice(i + 1)) assert.equal(rulesConflict(a, b), false)
      })
    )
  })
  test('ours and back is the same; what stays is the same object', () => {
    fc.assert(
      fc.property(arbTables, arbTables, (t, next) => {
        const first = rulesOf(t)
        assert.deepEqual(toTables(first, 'pasta'), t)
        const second = rulesOf(next, first)
        assert.deepEqual(toTables(second, 'pasta'), next)
        for (const r of second)
          for (const old of first)
            if (
              r.direction === old.direction &&
              JSON.stringify(toConfRule(r)) === JSON.stringify(toConfRule(old))
            )
              assert.equal(r, old)
        for (const [i, r] of second.entries())
          for (const other of second.slice(i + 1))
            if (r.spec === other.spec) assert.ok(r.weak && other.weak && endsKey(r) === endsKey(other))
      })
    )
  })
  test('not in the namespace but on its loopback; no auto with passt', () => {
    const out = (r: ConfRule): E.Either<string, unknown> => ofTables(ENV, [[], [r]], [])
    assert.ok(E.isLeft(out(rule({ ifname: 'eth0' }))))
    assert.ok(E.isLeft(out(rule({ any: false, address: fromV4(0x0a000001) }))))
    assert.ok(E.isRight(out(rule({ ifname: 'lo' }))))
    assert.ok(E.isLeft(ofTables({ ...ENV, mode: 'passt' }, [[rule({ scan: true, weak: true })]], [])))
    assert.equal(PIF.SPLICE, 3)
  })
})

describe('what was handed over with the start', () => {
  const given = (r: Rule): Rule => ({ ...r, weak: false, scan: false, given: 'web' })
  test('stays, whatever clients want, once, and nobody else has its port', () => {
    let kept = 0
    fc.assert(
      fc.property(arbTables, arbTables, fc.nat(), (now, wanted, which) => {
        const before = rulesOf(now)
        if (before.length === 0) return
        const fixed = given(before[which % before.length]!)
        const old = before.map((r, i) => (i === which % before.length ? fixed : r))
        const next = ofTables(ENV, wanted, old)
        const i = fixed.direction === 'in' ? 0 : 1
        const others = (wanted[i] ?? []).filter((r) => !hasRule([toConfRule(fixed)], r))
        if (E.isLeft(next)) {
          assert.match(next.left, /conflict|Too many/)
          assert.ok(others.some((r) => rulesConflict(r, toConfRule(fixed))))
          return
        }
        kept++
        assert.equal(next.right.filter((r) => r === fixed).length, 1)
        assert.equal(next.right.filter((r) => r.given !== null).length, 1)
        assert.equal(next.right.filter((r) => r.direction === fixed.direction).length, others.length + 1)
        const ports = emptyPorts()
        addPort(ports, fixed.first)
        const open = new Map([[endsKey(fixed), { ends: fixed, ports }]])
        assert.deepEqual(listenerChanges(open, next.right).close, [])
      }),
      { numRuns: 300 }
    )
    assert.ok(kept > 50, `${kept}`)
  })
  test('a path that is listened at is not told, stays, and is in the way of nothing', () =>
    fc.assert(
      fc.property(arbTables, arbTables, (now, wanted) => {
        const path: Rule = {
          ...rulesOf([[{ ...PLAIN, first: 1, last: 1 }], []])[0]!,
          first: 0,
          last: 0,
          unix: { path: '/run/x', number: 0 }
        }
        const old = [...rulesOf(now), path]
        assert.deepEqual(toTables(old, 'pasta'), toTables(rulesOf(now), 'pasta'))
        const [plain, next] = [ofTables(ENV, wanted, rulesOf(now)), ofTables(ENV, wanted, old)]
        if (E.isLeft(plain) || E.isLeft(next)) return assert.deepEqual(next, plain)
        const unnumbered = (all: ReadonlyArray<Rule>) => all.map((r) => ({ ...r, spec: 0 }))
        assert.deepEqual(unnumbered(next.right), unnumbered([...plain.right, path]))
        assert.equal(next.right.at(-1), path)
        const { open, late } = listenerChanges(new Map(), next.right)
        assert.ok([...open, ...late].every(({ rule }) => next.right[rule] !== path))
      })
    ))
  test('asked for again as it is told, or not at all: nothing changes', () =>
    fc.assert(
      fc.property(arbTables, fc.nat(), (now, which) => {
        const before = rulesOf(now)
        const old = before.map((r, i) => (i === which % before.length ? given(r) : r))
        assert.deepEqual(ofTables(ENV, toTables(old, 'pasta'), old), E.right(old))
      })
    ))
})

describe('clients that come at once', () => {
  const lists = fc.tuple(arbTables, arbTables)
  test('one alone gets what it asks for', () => {
    fc.assert(fc.property(lists, ([base, asked]) => assert.deepEqual(merged(base, asked, base), asked)))
  })
  test('what two add is added, what they take away is gone', () => {
    fc.assert(
      fc.property(arbTables, arbTables, arbTables, (base, one, other) => {
        const now = merged(base, merged(base, other, base), base)
        const all = merged(base, one, now)
        const has = (t: ReadonlyArray<ConfRule> | undefined, r: ConfRule): boolean =>
          (t ?? []).some((x) => JSON.stringify(x) === JSON.stringify(r))
        for (const [i, table] of all.entries()) {
          for (const r of one[i] ?? []) if (!has(base[i], r)) assert.ok(has(table, r), 'added')
          for (const r of base[i] ?? [])
            if (!has(one[i], r) && !has(other[i], r)) assert.ok(!has(table, r), 'gone')
          for (const r of other[i] ?? []) if (!has(base[i], r)) assert.ok(has(table, r), 'kept')
        }
      })
    )
  })
})

// --- listeners, before a kernel that is a set

const placesOf = (rules: ReadonlyArray<Rule>): ReadonlyArray<string> =>
  rules.flatMap((r) => Array.from({ length: r.last - r.first + 1 }, (_, i) => `${endsKey(r)} ${r.first + i}`))

/** Sockets by ends and port. `taken`: somebody else's ports. */
class Kernel implements Listening {
  readonly open = new Map<string, { ends: Ends; ports: PortSet }>()
  readonly closed = new Set<string>()
  readonly opened = new Set<string>()
  /** Ports up to this one may not be bound (ip_unprivileged_port_start). */
  forbidden = 0
  constructor(readonly taken: ReadonlySet<string>) {}
  private inTheWay(r: Ends, port: number): boolean {
    if (this.taken.has(`${r.proto} ${r.direction} ${port}`)) return true
    return [...this.open.values()].some(
      ({ ends: e, ports }) =>
        e.proto === r.proto &&
        e.direction === r.direction &&
        portsIn(ports, port, port).length > 0 &&
        rulesConflict(
          { ...toConfRule({ ...(r as Rule), first: port, last: port }) },
          { ...toConfRule({ ...(e as Rule), first: port, last: port }) }
        )
    )
  }
  openPorts(r: Ends, ports: ReadonlyArray<number>) {
    return ports.flatMap((port) => {
      if (port <= this.forbidden) return [{ port, errno: 13 }]
      if (this.inTheWay(r, port)) return [{ port, errno: 98 }]
      const key = endsKey(r)
      const there = this.open.get(key) ?? { ends: r, ports: emptyPorts() }
      this.open.set(key, there)
      addPort(there.ports, port)
      this.opened.add(`${key} ${port}`)
      return []
    })
  }
  closePorts(ends: Ends, ports: ReadonlyArray<number>): void {
    for (const port of ports) {
      removePort(this.open.get(endsKey(ends))!.ports, port)
      this.closed.add(`${endsKey(ends)} ${port}`)
    }
  }
  /** `but`: not where these listen. */
  list(but: ReadonlyArray<Rule> = []): string[] {
    const left = new Set(placesOf(but))
    return [...this.open]
      .flatMap(([key, { ports }]) => portsIn(ports).map((p) => `${key} ${p}`))
      .filter((place) => !left.has(place))
      .sort()
  }
}
const run = (k: Kernel, rules: ReadonlyArray<Rule>, before: ReadonlyArray<Rule>): boolean => {
  k.closed.clear()
  k.opened.clear()
  const job = applyRules(k, rules, before)
  for (;;) {
    const step = job.next()
    if (step.done === true) return E.isRight(step.value)
  }
}
const arbTaken = fc
  .uniqueArray(fc.tuple(fc.constantFrom('tcp', 'udp'), fc.constantFrom('in', 'out'), fc.nat(15)), {
    maxLength: 4
  })
  .map((list) => new Set(list.map((one) => one.join(' '))))

describe('listeners', () => {
  const arbPlans = fc.array(arbTables, { maxLength: 5, minLength: 1 })
  test('behind any changes they are those of a start with the last rules that could be had', () => {
    fc.assert(
      fc.property(arbPlans, arbTaken, (plans, taken) => {
        const k = new Kernel(taken)
        let now: ReadonlyArray<Rule> = []
        for (const t of plans) {
          const before = k.list()
          const wanted = rulesOf(t, now)
          const done = run(k, wanted, now)
          if (done) now = wanted
          else assert.deepEqual(k.list(), before, 'a step that fails leaves the state before')
          const fresh = new Kernel(taken)
          assert.equal(run(fresh, wanted, []), done, 'and fails where a start would')
          const first = new Kernel(taken)
          run(first, now, [])
          // Where a rule scans there is what was open before, until the next scan
          const scanning = now.filter((r) => r.scan)
          assert.deepEqual(k.list(scanning), first.list(scanning))
        }
      }),
      { numRuns: 400 }
    )
  })
  test('without the rights that old ones were opened with: a step that fails leaves the state before', () => {
    fc.assert(
      fc.property(arbPlans, arbTaken, fc.nat(15), (plans, taken, forbidden) => {
        const k = new Kernel(taken)
        let now: ReadonlyArray<Rule> = []
        for (const t of plans) {
          const before = k.list()
          const wanted = rulesOf(t, now)
          if (run(k, wanted, now)) now = wanted
          else assert.deepEqual(k.list(), before)
          k.forbidden = forbidden
        }
      }),
      { numRuns: 400 }
    )
  })
  test('what both have is never closed', () => {
    fc.assert(
      fc.property(arbTables, arbTables, arbTaken, (a, b, taken) => {
        const k = new Kernel(taken)
        const old = rulesOf(a)
        if (!run(k, old, [])) return
        const before = new Set(k.list())
        const next = rulesOf(b, old)
        run(k, next, old)
        const keys = new Set(placesOf(next))
        for (const one of before) if (keys.has(one)) assert.ok(!k.closed.has(one), one)
      })
    )
  })
  test('a rule that leads elsewhere keeps its socket', () => {
    const one = arbRule.map((r) => ({ ...r, scan: false, weak: false }))
    fc.assert(
      fc.property(one, fc.integer({ min: 1, max: 60000 }), (r, to) => {
        const k = new Kernel(new Set())
        const old = rulesOf([[r], []])
        run(k, old, [])
        assert.ok(run(k, rulesOf([[{ ...r, to }], []], old), old))
        assert.deepEqual([k.opened.size, k.closed.size], [0, 0])
      })
    )
  })
  test('listeners go over to the rules that count now, a few in each slice', () => {
    const RULE = rule({ first: 1, last: 1000, to: 1 })
    const old = rulesOf([[RULE], []])
    const next = rulesOf([[{ ...RULE, to: 2 }], []], old)
    const place = listenPlace({} as never, {} as never, old, false, nothingInherited())
    const ids = new Map<number, ReadonlyArray<number>>()
    const ports = emptyPorts()
    for (let port = RULE.first; port <= RULE.last; port++) {
      place.listeners.set(port, { rule: old[0]!, port })
      ids.set(port, [port])
      addPort(ports, port)
    }
    place.open.set(endsKey(old[0]!), { ends: old[0]!, ports, ids })
    let now = 0
    const door = rulesDoor(place, null, {} as never, () => (now += 10))
    const passed = (): number => [...place.listeners.values()].filter(({ rule }) => rule === next[0]).length
    door.begin(next)
    for (let before = 0, said = null as string | null; said === null; before = passed()) {
      said = door.go()
      assert.ok(passed() - before <= 64, `${passed() - before}`)
      assert.ok(said === null || said === '', `${said}`)
    }
    assert.equal(passed(), RULE.last)
    assert.equal(place.rules, next)
  })
})

// --- a client

describe('a client of the control socket', () => {
  const arbNow = fc.nat(30_000).map(instant)
  const arbWhy = fc.option(fc.constant('a port is taken'))
  const timed = <T extends string>(type: T) => fc.record({ type: fc.constant(type), now: arbNow })
  const arbEvent: fc.Arbitrary<ConfClientEvent> = fc.oneof(
    fc.record({ type: fc.constant('CAME' as const), allowed: fc.boolean(), now: arbNow }),
    fc.record({ type: fc.constant('ASKED' as const), request: fc.constant([]), now: arbNow }),
    fc.record({ type: fc.constant('FAULTY' as const), why: fc.constant('too many tables'), now: arbNow }),
    timed('ENDED' as const),
    fc.record({ type: fc.constant('TURN' as const), why: arbWhy, changes: fc.boolean(), now: arbNow }),
    fc.record({ type: fc.constant('APPLIED' as const), why: arbWhy, now: arbNow }),
    timed('DEADLINE' as const)
  )
  test('compiled = xstate, in any order of events', () =>
    untilAllTaken(confClientMachine, () =>
      sameAsXstate(confClientMachine, fc.constant(undefined), arbEvent, { numRuns: 100, maxLength: 8 })
    ))
  const machine = compile<typeof confClientMachine, ConfClientEffect>(confClientMachine)
  test('it is told all once at most, and hung up on once, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(arbEvent, { maxLength: 12 }), (events) => {
        const out: ConfClientEffect[] = []
        let s = machine.start(undefined, out)
        for (const e of events) if (!machine.isFinal(s)) s = machine.step(s, e, out)
        const n = (type: ConfClientEffect['type']): number => out.filter((e) => e.type === type).length
        assert.ok(n('Greet') <= 1 && n('Queue') <= n('Greet') && n('Apply') <= n('Queue'))
        assert.equal(n('HangUp'), machine.isFinal(s) ? 1 : 0)
      })
    )
  })
})
