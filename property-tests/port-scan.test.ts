import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { type PortSpec, parsePortSpec } from '../src/codecs/text/port-spec.js'
import { LOOPBACK4 } from '../src/codecs/value/inany.js'
import { hasPort, minusPorts, portSet, portsIn } from '../src/codecs/value/port-set.js'
import { instant } from '../src/effects/effect.js'
import {
  type ForwardEnv,
  forwardRules,
  type PortOptions,
  type Proto,
  type Rule,
  targetOf
} from '../src/machines/forward/forward-rules.js'
import { NOTHING_GIVEN } from '../src/machines/forward/given-sockets.js'
import {
  type Listening,
  portScanMachine,
  SCAN_PERIOD,
  type ScanContext,
  type ScanEffect,
  type ScanEvent,
  type ScanInput,
  scans
} from '../src/machines/forward/port-scan.js'
import { compile } from '../src/runtime/machine/compile.js'
import { sameAsXstate, untilAllTaken } from './same-as-xstate.js'

const ENV: ForwardEnv = {
  mode: 'pasta',
  tcp: true,
  udp: true,
  ephemeral: { first: 32768, last: 60999 },
  v4: true,
  v6: true,
  bindToDevice: true,
  given: NOTHING_GIVEN
}
const spec = (text: string): PortSpec => E.getOrElse((): PortSpec => assert.fail(text))(parsePortSpec(text))
type Texts = Readonly<Record<keyof PortOptions, string>>
const AUTO: Texts = { tcpIn: 'auto', udpIn: 'auto', tcpOut: 'auto', udpOut: 'auto' }
const rulesFor = (t: Texts): ReadonlyArray<Rule> => {
  const one = (s: string): ReadonlyArray<PortSpec> => s.split(' ').map(spec)
  const made = forwardRules(ENV, {
    tcpIn: one(t.tcpIn),
    udpIn: one(t.udpIn),
    tcpOut: one(t.tcpOut),
    udpOut: one(t.udpOut)
  })
  return E.isLeft(made) ? assert.fail(made.left) : made.right.rules
}

const machine = compile<typeof portScanMachine, ScanEffect>(portScanMachine)
type Side = 'host' | 'ns'
const SIDES: ReadonlyArray<Side> = ['host', 'ns']
const PROTOS: ReadonlyArray<Proto> = ['tcp', 'udp']
const HERE: Readonly<Record<'in' | 'out', Side>> = { in: 'host', out: 'ns' }
const THERE: Readonly<Record<'in' | 'out', Side>> = { in: 'ns', out: 'host' }
const EADDRINUSE = 98
const EACCES = 13

/** Two network namespaces: who listens where, what cannot be bound, and what the machine made us listen on. */
class World {
  readonly services = {
    host: { tcp: new Set<number>(), udp: new Set<number>() },
    ns: { tcp: new Set<number>(), udp: new Set<number>() }
  }
  readonly forbidden = new Set<string>()
  /** `${rule} ${port}` */
  readonly ours = new Set<string>()
  now = 0
  warnings: string[] = []
  opens = 0
  #out: ScanEffect[] = []
  #state

  constructor(readonly rules: ReadonlyArray<Rule>) {
    for (const [i, r] of rules.entries())
      if (!r.scan) for (let p = r.first; p <= r.last; p++) this.ours.add(`${i} ${p}`)
    this.#state = machine.start({ rules, failures: [], open: [] }, this.#out)
    this.#carryOut()
  }
  get context(): ScanContext {
    return this.#state.context
  }
  listeners(side: Side, proto: Proto): ReadonlyArray<{ readonly rule: Rule; readonly port: number }> {
    return [...this.ours].flatMap((key) => {
      const [i = 0, port = 0] = key.split(' ').map(Number)
      const rule = this.rules[i]!
      return HERE[rule.direction] === side && rule.proto === proto ? [{ rule, port }] : []
    })
  }
  ports(side: Side, proto: Proto): ReadonlySet<number> {
    return new Set(this.listeners(side, proto).map((l) => l.port))
  }
  read(side: Side): Listening {
    const all = (proto: Proto): ReadonlyArray<number> => [
      ...this.services[side][proto],
      ...this.ports(side, proto)
    ]
    return { tcp: portSet(all('tcp')), udp: portSet(all('udp')) }
  }
  send(event: ScanEvent): void {
    this.#out = []
    this.#state = machine.step(this.#state, event, this.#out)
    this.#carryOut()
  }
  scan(): void {
    this.now += SCAN_PERIOD
    this.send({ type: 'TIMER_SCAN' })
    this.send({ type: 'SCANNED', host: this.read('host'), ns: this.read('ns'), now: instant(this.now) })
  }
  toggle(side: Side, proto: Proto, port: number): void {
    const set = this.services[side][proto]
    if (set.has(port)) set.delete(port)
    else if (!this.ports(side, proto).has(port)) set.add(port) // or else it does not get the port
  }
  #carryOut(): void {
    const failures: ScanEvent[] = []
    for (const e of this.#out) {
      if (e.type === 'Warn') this.warnings.push(...e.lines)
      if (e.type === 'ArmScanTimer') assert.equal(e.at, this.now + SCAN_PERIOD)
      if (e.type === 'CloseListeners')
        for (const { rule, ports } of e.list)
          for (const p of ports) assert.ok(this.ours.delete(`${rule} ${p}`), `closed twice: ${rule} ${p}`)
      if (e.type === 'OpenListeners')
        for (const { rule, ports } of e.list)
          for (const p of ports) {
            const r = this.rules[rule]!
            assert.ok(!this.ours.has(`${rule} ${p}`), `opened twice: ${rule} ${p}`)
            assert.ok(r.scan && p >= r.first && p <= r.last, 'not a port of the rule')
            this.opens++
            const side = HERE[r.direction]
            const errno = this.forbidden.has(`${side} ${r.proto} ${p}`)
              ? EACCES
              : this.services[side][r.proto].has(p) && r.bind === null
                ? EADDRINUSE
                : 0
            if (errno === 0) this.ours.add(`${rule} ${p}`)
            else failures.push({ type: 'LISTENER_FAILED', rule, ports: [p], errno })
          }
    }
    for (const f of failures) this.send(f)
  }
}

const started = (texts: Partial<Texts> = {}): World => new World(rulesFor({ ...AUTO, ...texts }))
const sorted = (s: Iterable<number>): ReadonlyArray<number> => [...s].sort((a, b) => a - b)

describe('where another process listened for us', () => {
  const rules = rulesFor({ ...AUTO })
  const http = rules.findIndex((r) => r.scan && r.direction === 'in' && r.proto === 'tcp' && r.first <= 8080)
  const begun = (services: readonly number[]) => {
    const out: ScanEffect[] = []
    const open = rules.map((_, i) => portSet(i === http ? [8080] : []))
    const state = machine.start({ rules, failures: [], open }, out)
    const none = portSet([])
    const read = (tcp: readonly number[]): Listening => ({ tcp: portSet(tcp), udp: none })
    machine.step(state, { type: 'SCANNED', host: read([8080]), ns: read(services), now: instant(1) }, out)
    return out.flatMap((e) =>
      e.type === 'CloseListeners' || e.type === 'OpenListeners'
        ? [[e.type, e.list.filter((l) => l.rule === http).map((l) => l.ports)]]
        : []
    )
  }
  test('it stays, while somebody is there', () =>
    assert.deepEqual(
      begun([8080]).filter(([, list]) => JSON.stringify(list).includes('8080')),
      []
    ))
  test('or is closed', () => assert.match(JSON.stringify(begun([])), /CloseListeners",\[\[8080/))
})

describe('auto', () => {
  test('follows what is listened on, at the next scan', () => {
    const w = started()
    w.send({ type: 'SCANNED', host: w.read('host'), ns: w.read('ns'), now: instant(0) }) // at once, at start
    w.toggle('ns', 'tcp', 8080)
    w.toggle('host', 'udp', 53)
    w.scan()
    assert.deepEqual(sorted(w.ports('host', 'tcp')), [8080])
    assert.deepEqual(sorted(w.ports('ns', 'udp')), [53])
    w.toggle('ns', 'tcp', 8080)
    w.scan()
    assert.deepEqual(sorted(w.ports('host', 'tcp')), [])
  })
  test('what we listen on is nobody else: no loop between -t auto and -T auto, however often', () => {
    const w = started()
    w.toggle('ns', 'tcp', 8080)
    w.toggle('host', 'tcp', 9090)
    for (let i = 0; i < 5; i++) w.scan()
    assert.deepEqual(sorted(w.ports('host', 'tcp')), [8080])
    assert.deepEqual(sorted(w.ports('ns', 'tcp')), [9090])
    assert.equal(w.opens, 4) // two TCP, two UDP that follow
  })
  test('UDP follows TCP ports in auto mode, and only then', () => {
    const follow = (texts: Partial<Texts>): ReadonlyArray<number> => {
      const w = started(texts)
      w.toggle('ns', 'tcp', 9005)
      w.scan()
      return sorted(w.ports('host', 'udp'))
    }
    assert.deepEqual(follow({}), [9005])
    assert.deepEqual(follow({ tcpIn: '9005' }), [])
    assert.deepEqual(follow({ tcpIn: 'none' }), [])
    assert.deepEqual(follow({ tcpIn: 'auto,~9005' }), [])
    assert.deepEqual(follow({ udpIn: 'none' }), [])
  })
  test('the same TCP port on both sides: UDP follows in one direction', () => {
    const w = started()
    for (const side of SIDES) w.toggle(side, 'tcp', 80)
    for (let i = 0; i < 4; i++) w.scan()
    assert.deepEqual([sorted(w.ports('host', 'udp')), sorted(w.ports('ns', 'udp'))], [[80], []])
    assert.deepEqual([...w.ports('host', 'tcp'), ...w.ports('ns', 'tcp')], [])
  })
  test('where a listener of ours leads, we do not listen ourselves', () => {
    const w = started({ udpIn: 'auto,8000:80' })
    w.toggle('ns', 'tcp', 80)
    w.toggle('host', 'udp', 80)
    w.scan()
    assert.deepEqual([sorted(w.ports('host', 'udp')), sorted(w.ports('ns', 'udp'))], [[8000], []])
  })
  test('explicit ports count as ours', () => {
    const w = started({ tcpIn: '8000', tcpOut: 'auto' })
    w.scan()
    w.scan()
    assert.deepEqual(sorted(w.ports('ns', 'tcp')), [])
  })
  test('ephemeral ports are left alone', () => {
    const w = started()
    w.toggle('ns', 'tcp', 40005)
    w.scan()
    assert.deepEqual(sorted(w.ports('host', 'tcp')), [])
  })
  test('mapping and exclusions', () => {
    const w = started({ tcpIn: 'auto,8000-8010:9000-9010,~8003' })
    for (const p of [8000, 9001, 9003]) w.toggle('ns', 'tcp', p)
    w.scan()
    assert.deepEqual(sorted(w.ports('host', 'tcp')), [8001])
  })
  test('a listener with an address to itself does not mind others on its port', () => {
    const w = started({ tcpIn: '127.0.0.1/auto', tcpOut: 'none' })
    for (const side of SIDES) w.toggle(side, 'tcp', 80)
    w.scan()
    assert.deepEqual(
      w.listeners('host', 'tcp').map((l) => [l.rule.bind, l.port]),
      [[LOOPBACK4, 80]]
    )
  })
  test('what fails is tried again each second, and complained about once', () => {
    const w = started({ udpIn: 'none' })
    w.forbidden.add('host tcp 80')
    w.toggle('ns', 'tcp', 80)
    for (let i = 0; i < 3; i++) w.scan()
    assert.equal(w.opens, 3)
    assert.equal(w.warnings.length, 1)
    assert.match(w.warnings[0]!, /TCP port 80: Permission denied/)
    w.forbidden.clear()
    w.scan()
    w.scan()
    assert.deepEqual(sorted(w.ports('host', 'tcp')), [80])
    assert.equal(w.opens, 4)
  })
  test('a side that cannot be read changes nothing', () => {
    const w = started()
    w.toggle('ns', 'tcp', 80)
    w.scan()
    w.send({ type: 'TIMER_SCAN' })
    w.send({ type: 'SCAN_FAILED', now: instant(w.now) })
    assert.deepEqual(sorted(w.ports('host', 'tcp')), [80])
    w.scan()
    assert.deepEqual(sorted(w.ports('host', 'tcp')), [80])
  })
  test('a table read before our listener was gone does not show somebody else', () => {
    const w = started()
    w.toggle('ns', 'tcp', 80)
    w.scan()
    const stale = w.read('host')
    w.toggle('ns', 'tcp', 80)
    w.scan() // closes
    w.send({ type: 'TIMER_SCAN' })
    w.send({ type: 'SCANNED', host: stale, ns: w.read('ns'), now: instant(w.now) })
    assert.deepEqual(sorted(w.ports('ns', 'tcp')), [])
  })
  test('only where a rule scans', () => {
    assert.ok(scans(rulesFor(AUTO)))
    assert.ok(!scans(rulesFor({ tcpIn: '22', udpIn: 'all', tcpOut: 'none', udpOut: 'none' })))
  })
})

// --- random worlds

const PORTS = [1, 2, 3, 8000, 8001, 9000]
interface Step {
  readonly what: 'scan' | 'service' | 'forbid'
  readonly side: Side
  readonly proto: Proto
  readonly port: number
}
const arbSteps: fc.Arbitrary<ReadonlyArray<Step>> = fc.array(
  fc.record({
    what: fc.constantFrom(
      'scan' as const,
      'service' as const,
      'service' as const,
      'service' as const,
      'forbid' as const
    ),
    side: fc.constantFrom(...SIDES),
    proto: fc.constantFrom(...PROTOS),
    port: fc.constantFrom(...PORTS)
  }),
  { maxLength: 60, size: 'max' }
)
const forwards = (w: World, proto: Proto): ReadonlyArray<readonly [Side, number, number]> =>
  SIDES.flatMap((side) =>
    w.listeners(side, proto).map((l) => [side, l.port, targetOf(l.rule, l.port)] as const)
  )

/** After a scan: no listener leads to a listener of ours, unless both are the user's explicit wish. */
const noLoop = (w: World): void => {
  for (const proto of PROTOS)
    for (const side of SIDES) {
      const other: Side = side === 'host' ? 'ns' : 'host'
      for (const a of w.listeners(side, proto))
        for (const b of w.listeners(other, proto)) {
          if (!a.rule.scan) continue
          assert.notEqual(
            targetOf(a.rule, a.port),
            b.port,
            `${proto}: ${side} ${a.port} leads to our own ${b.port}`
          )
        }
    }
}

const play = (w: World, steps: ReadonlyArray<Step>): void => {
  for (const s of steps) {
    if (s.what === 'service') w.toggle(s.side, s.proto, s.port)
    else if (s.what === 'forbid') {
      if (!w.ports(s.side, s.proto).has(s.port)) w.forbidden.add(`${s.side} ${s.proto} ${s.port}`)
    } else {
      w.scan()
      noLoop(w)
    }
  }
  for (let i = 0; i < 3; i++) w.scan()
}

test('all auto: from whatever happened, the listeners become those of a model without history', () =>
  fc.assert(
    fc.property(arbSteps, (steps) => {
      const w = started()
      play(w, steps)
      for (const proto of PROTOS) {
        const leads = (side: Side, p: number): boolean =>
          w.services[side][proto].has(p) || (proto === 'udp' && w.services[side].tcp.has(p))
        const free = (side: Side, p: number): boolean => !w.services[side][proto].has(p)
        const allowed = (side: Side, p: number): boolean => !w.forbidden.has(`${side} ${proto} ${p}`)
        const open = (side: Side, p: number): boolean => w.ports(side, proto).has(p)
        for (const p of PORTS) {
          const inwards = leads('ns', p) && free('host', p)
          const outwards = leads('host', p) && free('ns', p)
          assert.ok(!(open('host', p) && open('ns', p)), `${proto} ${p} both ways`)
          if (inwards !== outwards) {
            assert.equal(open('host', p), inwards && allowed('host', p), `${proto} ${p} in`)
            assert.equal(open('ns', p), outwards && allowed('ns', p), `${proto} ${p} out`)
          } else if (inwards) {
            assert.ok(
              open('host', p) || open('ns', p) || !allowed('host', p) || !allowed('ns', p),
              `${proto} ${p}`
            )
          } else assert.ok(!open('host', p) && !open('ns', p), `${proto} ${p} for nobody`)
        }
      }
      // settled: nothing is opened or closed any more, but for attempts that fail
      const before = [...w.ours].sort()
      w.scan()
      assert.deepEqual([...w.ours].sort(), before)
    }),
    { numRuns: 120 }
  ))

test('mapped, explicit and partly automatic rules: no loops, and listeners only for somebody', () =>
  fc.assert(
    fc.property(
      arbSteps,
      fc.constantFrom(
        'auto',
        'auto,8000-8001:1-2',
        '3 127.0.0.1/auto,~3',
        'none',
        '8000:9000',
        'auto,9000:8000'
      ),
      fc.constantFrom('auto', 'auto,1-2:8000-8001', 'none', '9000:8000', 'auto,8000:9000'),
      (steps, inward, outward) => {
        const w = started({ tcpIn: inward, udpIn: inward, tcpOut: outward, udpOut: outward })
        play(w, steps)
        noLoop(w)
        for (const proto of PROTOS)
          for (const [side, port, to] of forwards(w, proto)) {
            const l = w.listeners(side, proto).find((x) => x.port === port)!
            if (!l.rule.scan) continue
            const there = THERE[l.rule.direction]
            const some =
              w.services[there][proto].has(to) || (proto === 'udp' && w.services[there].tcp.has(to))
            assert.ok(some, `${proto} ${side} ${port} leads to nobody at ${to}`)
          }
        const before = [...w.ours].sort()
        w.scan()
        assert.deepEqual([...w.ours].sort(), before)
      }
    ),
    { numRuns: 120 }
  ))

test('the context knows what is open', () =>
  fc.assert(
    fc.property(arbSteps, (steps) => {
      const w = started()
      play(w, steps)
      for (const [i, r] of w.rules.entries()) {
        const known = portsIn(w.context.open[i]!)
        assert.deepEqual(
          known,
          known.filter((p) => w.ours.has(`${i} ${p}`))
        )
        assert.equal(known.length, [...w.ours].filter((k) => k.startsWith(`${i} `)).length)
        assert.ok(r.scan && known.every((p) => hasPort(minusPorts(w.context.open[i]!, portSet([])), p)))
      }
    }),
    { numRuns: 40 }
  ))

describe('compiled = xstate', () => {
  const rules = rulesFor({
    tcpIn: 'auto',
    udpIn: '127.0.0.1/auto,~2',
    tcpOut: '9000 auto,~9000',
    udpOut: 'none'
  })
  const arbTable = fc
    .tuple(fc.subarray(PORTS), fc.subarray(PORTS))
    .map(([tcp, udp]): Listening => ({ tcp: portSet(tcp), udp: portSet(udp) }))
  const arbNow = fc.nat(100_000).map(instant)
  const arbEvent: fc.Arbitrary<ScanEvent> = fc.oneof(
    fc.record({ type: fc.constant('SCANNED' as const), host: arbTable, ns: arbTable, now: arbNow }),
    fc.record({ type: fc.constant('SCAN_FAILED' as const), now: arbNow }),
    fc.constant({ type: 'TIMER_SCAN' as const }),
    fc.record({
      type: fc.constant('LISTENER_FAILED' as const),
      rule: fc.nat(rules.length + 1),
      ports: fc.subarray(PORTS),
      errno: fc.constantFrom(EACCES, EADDRINUSE)
    }),
    fc.record({
      type: fc.constant('RULES' as const),
      rules: fc.constantFrom(rules, rulesFor(AUTO), []),
      failures: fc.constant([]),
      open: fc.constantFrom([], [portSet(PORTS)])
    })
  )
  test('any events, in any order', () =>
    untilAllTaken(portScanMachine, () =>
      sameAsXstate(portScanMachine, fc.constant<ScanInput>({ rules, failures: [], open: [] }), arbEvent, {
        numRuns: 60,
        maxLength: 15
      })
    ))
})
