// What flows take of the host, against a model that counts anew each time.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { STUCK_AFTER, stuck } from '../src/runtime/data/socket-memory.js'
import { filesBeside, guestPorts, limitsOf, openFilesOf, tcpMemoryOf } from '../src/runtime/flow/limits.js'
import {
  createQuotas,
  IDLE_AFTER,
  type Limits,
  type Quotas,
  RESOURCES,
  type Resource,
  shareOf,
  type Taking,
  UNANSWERED_AFTER
} from '../src/runtime/flow/quotas.js'

const CAPACITY = 24
const TAKINGS: ReadonlyArray<Taking> = [
  'tcpOut',
  'tcpIn',
  'udpOut',
  'udpIn',
  'ping',
  'tcpPairOut',
  'tcpPairIn',
  'udpPairOut',
  'udpPairIn'
]

interface Entry {
  readonly taking: Taking
  half: boolean
  octets: number
  /** Its sockets are closed. */
  bare: boolean
  answered: boolean
  since: number
  /** Which came first, of the same second. */
  order: number
}
interface Model {
  readonly flows: Map<number, Entry>
  now: number
  order: number
}
interface Real {
  readonly q: Quotas
  readonly bothSides: boolean
}

const isIn = (t: Taking): boolean => t.endsWith('In')
const filesOf = (e: Pick<Entry, 'taking' | 'bare'>): number =>
  e.bare ? 0 : e.taking.includes('Pair') ? 2 : 1
/** Of its side, with one more such flow. */
const overShare = (m: Model, { q, bothSides }: Real, r: Resource, t: Taking): boolean => {
  if (!bothSides || (r !== 'flows' && r !== 'files')) return false
  const all = [...m.flows.values(), { taking: t, bare: false }].filter((e) => isIn(e.taking) === isIn(t))
  const used = all.reduce((n, e) => n + (r === 'files' ? filesOf(e) : 1), 0)
  return used > shareOf(q.limits[r])
}

const isUdp = (t: Taking): boolean => t === 'udpOut' || t === 'udpPairOut'
const isTcp = (t: Taking): boolean => t === 'tcpOut' || t === 'tcpPairOut'
const halfOf = (t: Taking): 'halfOut' | 'halfIn' | null =>
  isTcp(t) ? 'halfOut' : t === 'tcpIn' || t === 'tcpPairIn' ? 'halfIn' : null

/** Counted from the flows that there are. */
const usedIn = (flows: Iterable<Entry>): Record<Resource, number> => {
  const all = [...flows]
  return {
    flows: all.length,
    files: all.reduce((n, e) => n + filesOf(e), 0),
    memory: all.reduce((n, e) => n + e.octets, 0),
    udpPorts: all.filter((e) => isUdp(e.taking)).length,
    tcpPorts: all.filter((e) => isTcp(e.taking)).length,
    pingIds: all.filter((e) => e.taking === 'ping').length,
    halfOut: all.filter((e) => e.half && halfOf(e.taking) === 'halfOut').length,
    halfIn: all.filter((e) => e.half && halfOf(e.taking) === 'halfIn').length
  }
}
const limitOf = (l: Limits, r: Resource): number =>
  r === 'flows' || r === 'files' || r === 'memory' ? l[r] : r.startsWith('half') ? l.halfOpen : l.ports

/** Of whom it could be, the one that has waited longest, if that is long enough. */
const expectVictim = (m: Model, real: Real, r: Resource, t: Taking): number => {
  const own = overShare(m, real, r, t)
  const may = (e: Entry): boolean => {
    if (own && isIn(e.taking) !== isIn(t)) return false
    if (r === 'halfOut' || r === 'halfIn') return e.half && halfOf(e.taking) === r
    if (halfOf(e.taking) !== null) return false
    if (r === 'udpPorts') return isUdp(e.taking)
    if (r === 'pingIds') return e.taking === 'ping'
    return r !== 'tcpPorts'
  }
  const wait = r.startsWith('half') ? UNANSWERED_AFTER : IDLE_AFTER
  // Who was never answered comes first, and at once
  const last = (e: Entry): boolean => e.taking.startsWith('udp') && isIn(e.taking) && !e.answered
  const list = [...m.flows].filter(([, e]) => may(e) && (last(e) || m.now - e.since >= wait))
  list.sort(([, a], [, b]) => Number(last(b)) - Number(last(a)) || a.since - b.since || a.order - b.order)
  return list[0]?.[0] ?? -1
}

const agree = (m: Model, real: Real): void => {
  const { q } = real
  const used = usedIn(m.flows.values())
  for (const r of RESOURCES) {
    assert.equal(q.used(r), used[r], r)
    if (r !== 'memory') assert.ok(used[r] <= limitOf(q.limits, r), `${r} over its limit`)
    for (const t of ['udpOut', 'tcpPairIn'] as const) {
      const victim = q.givesWay(r, m.now, t)
      const expected = expectVictim(m, real, r, t)
      // of several lists those of the same second may come in any order
      if (victim < 0 || expected < 0) assert.equal(victim, expected, r)
      else assert.equal(m.flows.get(victim)?.since, m.flows.get(expected)?.since, r)
      if (r !== 'flows' && r !== 'files' && r !== 'memory') assert.equal(victim, expected, r)
    }
  }
  for (const [i, e] of m.flows) assert.equal(q.isHalfOpen(i), e.half)
}

class Open implements fc.Command<Model, Real> {
  constructor(readonly taking: Taking) {}
  check = (m: Readonly<Model>): boolean => m.flows.size < CAPACITY
  run(m: Model, r: Real): void {
    const entry = {
      taking: this.taking,
      half: halfOf(this.taking) !== null,
      octets: 0,
      bare: false,
      answered: false,
      since: m.now,
      order: m.order++
    }
    const would = usedIn([...m.flows.values(), entry])
    const over = RESOURCES.filter(
      (x) => would[x] + (x === 'memory' ? 1 : 0) > limitOf(r.q.limits, x) || overShare(m, r, x, this.taking)
    )
    const lack = r.q.lacks(this.taking)
    if (lack === null) assert.deepEqual(over, [])
    else assert.ok(over.includes(lack), `${lack} is not what lacks: ${over}`)
    if (lack === null) {
      const i = Array.from({ length: CAPACITY }, (_, k) => k).find((k) => !m.flows.has(k))!
      r.q.open(i, this.taking, m.now)
      m.flows.set(i, entry)
    }
    agree(m, r)
  }
  toString = (): string => this.taking
}
/** Something with the flow that is `at` of all. */
class With implements fc.Command<Model, Real> {
  constructor(
    readonly what: 'use' | 'answered' | 'accepted' | 'measure' | 'released' | 'close',
    readonly at: number
  ) {}
  check = (m: Readonly<Model>): boolean => m.flows.size > 0
  run(m: Model, r: Real): void {
    const [i, e] = [...m.flows][this.at % m.flows.size]!
    if (this.what === 'use') {
      r.q.use(i, m.now)
      if (halfOf(e.taking) === null && e.since !== m.now) {
        e.since = m.now
        e.order = m.order++
      }
    } else if (this.what === 'answered') {
      // of whoever it concerns it is always behind a use
      r.q.use(i, m.now)
      r.q.answered(i)
      if (halfOf(e.taking) === null) {
        const moves = e.taking.startsWith('udp') && isIn(e.taking) && !e.answered
        if (e.since !== m.now || moves) e.order = m.order++
        e.since = m.now
      }
      e.answered = true
    } else if (this.what === 'accepted') {
      r.q.accepted(i)
      r.q.accepted(i)
      e.half = false
    } else if (this.what === 'measure') {
      e.octets = this.at
      r.q.measured(i, this.at, e.octets % 3, m.now)
    } else if (this.what === 'released') {
      r.q.released(i)
      r.q.released(i)
      e.bare = true
    } else {
      r.q.close(i)
      r.q.close(i)
      m.flows.delete(i)
    }
    agree(m, r)
  }
  toString = (): string => `${this.what}(${this.at})`
}
class Wait implements fc.Command<Model, Real> {
  constructor(readonly s: number) {}
  check = (): boolean => true
  run(m: Model, r: Real): void {
    m.now += this.s
    agree(m, r)
  }
  toString = (): string => `wait(${this.s})`
}

const small = fc.integer({ min: 1, max: 9 })
const limits = fc.record({
  flows: small,
  files: small,
  memory: fc.integer({ min: 1, max: 100 }),
  ports: small,
  halfOpen: small
})
const commands = fc.commands(
  [
    fc.constantFrom(...TAKINGS).map((taking) => new Open(taking)),
    fc
      .tuple(
        fc.constantFrom('use', 'use', 'answered', 'accepted', 'measure', 'released', 'close'),
        fc.nat(CAPACITY)
      )
      .map(([what, at]) => new With(what as 'use', at)),
    fc.constantFrom(1, 1, IDLE_AFTER, UNANSWERED_AFTER).map((s) => new Wait(s))
  ],
  { size: '+1' }
)

describe('quotas', () => {
  test('counts are those of the flows, never over the limits; who gives way is who was idle for longest', () => {
    fc.assert(
      fc.property(limits, fc.boolean(), commands, (l, bothSides, list) => {
        const setup = () => ({
          model: { flows: new Map(), now: 1, order: 0 },
          real: { q: createQuotas(l, CAPACITY, false, bothSides), bothSides }
        })
        fc.modelRun(setup, list)
      })
    )
  })
  test('said once, and again after an eighth was left', () => {
    const q = createQuotas({ flows: 100, files: 8, memory: 1, ports: 100, halfOpen: 100 }, 100, false, false)
    for (let i = 0; i < 8; i++) q.open(i, 'ping', 0)
    assert.deepEqual([q.met('files'), q.met('files'), q.met('files')], [true, false, false])
    q.close(0)
    assert.equal(q.met('files'), true)
    assert.equal(q.met('files'), false)
  })
  test("a flood from outside leaves the guest's flows their share, and those the guest answered", () => {
    const q = createQuotas({ flows: 80, files: 80, memory: 1, ports: 80, halfOpen: 80 }, 80, false, true)
    q.open(0, 'udpIn', 0)
    q.answered(0)
    for (let i = 1; i < 70; i++) q.open(i, 'udpIn', 0)
    assert.equal(q.lacks('udpIn'), 'flows')
    assert.equal(q.givesWay('flows', 0, 'udpIn'), 1)
    for (let i = 70; i < 80; i++) {
      assert.equal(q.lacks('tcpOut'), null)
      q.open(i, 'tcpOut', 0)
    }
    assert.equal(q.lacks('tcpOut'), 'flows')
    assert.equal(q.givesWay('flows', 0, 'tcpOut'), 1)
  })
  test('TCP ports that the kernel takes of the part for the guest are no limit', () => {
    const q = createQuotas({ flows: 9, files: 9, memory: 1, ports: 1, halfOpen: 9 }, 9, true, false)
    for (let i = 0; i < 9; i++) {
      assert.equal(q.lacks('tcpOut'), null)
      q.open(i, 'tcpOut', 0)
    }
    assert.equal(q.lacks('tcpOut'), 'flows')
  })
})

describe('connections that hold what nobody takes', () => {
  const holding = fc.record({ octets: fc.nat(1000), stillFor: fc.nat(2 * STUCK_AFTER) })
  test('who gives way holds more than its share and has not moved, the largest first, as few as it takes', () => {
    fc.assert(
      fc.property(fc.array(holding), fc.nat(1000), fc.integer({ min: 1, max: 9000 }), (all, rest, limit) => {
        const list = all.map((h, index) => ({ ...h, index }))
        const used = rest + list.reduce((n, h) => n + h.octets, 0)
        const flows = Math.max(1, list.length)
        const gone = stuck(list, used, limit, flows)
        const may = list.filter((h) => h.stillFor >= STUCK_AFTER && h.octets > limit / flows)
        const held = gone.map((i) => list[i].octets)
        assert.ok(gone.every((i) => may.includes(list[i])) && new Set(gone).size === gone.length)
        assert.deepEqual(
          held,
          may
            .map((h) => h.octets)
            .sort((a, b) => b - a)
            .slice(0, gone.length)
        )
        const left = used - held.reduce((n, o) => n + o, 0)
        // Either there is room again, or nobody is left who may; or it was enough for one look
        assert.ok(left < limit || gone.length === Math.min(8, may.length), `${left} of ${limit}: ${gone}`)
        if (gone.length > 0) assert.ok(left + (held.at(-1) ?? 0) >= limit, 'one too many')
      })
    )
  })
  test('what is taken, sent or acknowledged is movement, and so is a new flow in the same place', () => {
    const q = createQuotas({ flows: 9, files: 9, memory: 9, ports: 9, halfOpen: 9 }, 9, false, false)
    q.open(0, 'tcpOut', 0)
    q.open(1, 'udpOut', 0)
    const still = (now: number, octets: number, moved: number): number => {
      for (const i of [0, 1]) q.measured(i, octets, moved, now)
      assert.equal(q.stillFor(1, now), 0)
      return q.stillFor(0, now)
    }
    assert.equal(still(1, 100, 0), 1)
    assert.equal(still(2, 100, 7), 0)
    assert.equal(still(5, 100, 7), 3)
    assert.equal(still(7, 101, 7), 5)
    assert.equal(still(9, 99, 7), 0)
    assert.equal(still(19, 99, 7), 10)
    assert.equal(still(20, 99, 8), 0)
    assert.equal(still(30, 99, 8), 10)
    q.close(0)
    q.open(0, 'tcpIn', 31)
    assert.equal(q.stillFor(0, 31), 0)
  })
})

describe('limits', () => {
  const natural = fc.integer({ min: 1, max: 0x7fffffff })
  const range = fc
    .tuple(fc.integer({ min: 1, max: 65535 }), fc.integer({ min: 1, max: 65535 }))
    .map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }))
  test('at most half of what is shared, at least one, and what an option says', () => {
    fc.assert(
      fc.property(natural, natural, natural, range, (files, fileMax, tcpMemory, ephemeral) => {
        const has = { files, fileMax, tcpMemory, ephemeral }
        const l = limitsOf(has, {})
        const size = ephemeral.last - ephemeral.first + 1
        assert.ok(l.ports >= 1 && (l.ports <= size / 2 || size === 1))
        assert.ok(l.files >= 1 && l.files <= files && (l.files <= fileMax / 2 || fileMax === 1))
        assert.ok(l.memory >= 1 && (l.memory <= tcpMemory / 2 || tcpMemory === 1))
        const asked = { flows: 1, files: 2, memory: 5, ports: 3, halfOpen: 4 }
        assert.deepEqual(limitsOf(has, asked), asked)
      })
    )
  })
  test('descriptors of flows, with those that are open, are never all; at least one', () => {
    fc.assert(
      fc.property(natural, natural, fc.nat(), (limit, allowed, open) => {
        const n = filesBeside(limit, allowed, open)
        assert.ok(n >= 1 && n <= limit)
        assert.ok(n === 1 || (n + open < allowed && n >= Math.min(limit, (allowed - open - 320) / 2)))
      })
    )
    assert.equal(filesBeside(9999, 1024, 40), 1024 - 40 - 160)
    assert.equal(filesBeside(9999, Number.POSITIVE_INFINITY, 40), 9999)
    assert.equal(filesBeside(9999, 64, Number.POSITIVE_INFINITY), 1)
  })
  test("the guest's ports are so many of the range, or all", () => {
    fc.assert(
      fc.property(range, fc.integer({ min: 1, max: 65535 }), (ephemeral, ports) => {
        const r = guestPorts(ephemeral, ports)
        const size = ephemeral.last - ephemeral.first + 1
        if (r === null) return assert.ok(ports >= size)
        assert.equal(r.last - r.first + 1, ports)
        assert.ok(r.first >= ephemeral.first && r.last <= ephemeral.last)
      })
    )
  })
  test('tcp_mem, else of all memory what the kernel gives TCP', () => {
    assert.equal(tcpMemoryOf('287901\t383868\t575802\n', ''), 383868 * 4096)
    assert.equal(tcpMemoryOf('', 'MemTotal:       16777216 kB\n'), 1 << 30)
    assert.equal(tcpMemoryOf('', ''), Number.POSITIVE_INFINITY)
  })
  test('/proc/PID/limits', () => {
    const text =
      'Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 20000                files     \n'
    assert.equal(openFilesOf(text), 1024)
    assert.equal(
      openFilesOf('Max open files            unlimited            unlimited            files     \n'),
      Number.POSITIVE_INFINITY
    )
    assert.equal(openFilesOf(''), Number.POSITIVE_INFINITY)
  })
})
