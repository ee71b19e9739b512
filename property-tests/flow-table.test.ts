import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { fromV4, type InAny } from '../src/codecs/value/inany.js'
import { createFlowTable, type FlowTable, MAX_FLOWS } from '../src/runtime/flow/flow-table.js'
import { halfSipHash24 } from '../src/runtime/flow/half-sip-hash.js'

const SECRET = [0x03020100, 0x07060504] as const

describe('HalfSipHash-2-4', () => {
  // The authors' vectors (vectors_hsip32 of the reference implementation, CC0): key 00..07, message 00, 01, .. len - 1.
  const published: readonly [number, string][] = [
    [0, 'a9359f5b'],
    [4, '2a6e4689'],
    [8, 'd0b8848f'],
    [12, '57f0872f'],
    [16, 'd9b5ac84'],
    [20, 'e34d1045'],
    [24, '27400c63'],
    [28, 'b0644000']
  ]
  for (const [len, octets] of published)
    test(`${len} octets`, () => {
      const bytes = Uint8Array.from({ length: 64 }, (_, i) => i)
      const words = new Uint32Array(bytes.buffer)
      const out = new DataView(new ArrayBuffer(4))
      out.setUint32(0, halfSipHash24(SECRET, words, len / 4), true)
      assert.equal(Buffer.from(out.buffer).toString('hex'), octets)
    })
})

// Model: Maps with strings for keys. Few addresses and ports, and a small table, so that keys meet and probes collide.
type Key = readonly [number, InAny, number, InAny, number]
const CAPACITY = 12
interface Model {
  readonly open: Map<string, number>
  readonly hosts: Map<string, number>
  readonly hostOf: Map<number, string>
  /** Indices closed: in how many sweeps they can be used again. */
  readonly resting: Map<number, number>
}
type Real = { readonly table: FlowTable }
const addr = fc.constantFrom<InAny>(
  fromV4(0x0a000001),
  fromV4(0x0a000002),
  [0xfe800000, 0, 0, 1],
  [0, 0, 0, 1],
  [1, 0, 0, 0]
)
const port = fc.constantFrom(0, 1, 53, 0x8000, 65535)
const keyArb: fc.Arbitrary<Key> = fc.tuple(fc.constantFrom(1, 6, 17, 58), addr, port, addr, port)
const text = (k: readonly unknown[]): string => JSON.stringify(k)

const agree = (m: Model, t: FlowTable): void => {
  assert.equal(t.size, m.open.size)
  for (const [k, index] of m.open) assert.equal(t.find(...(JSON.parse(k) as Key)), index, `${k} is lost`)
}
class Find implements fc.Command<Model, Real> {
  constructor(readonly k: Key) {}
  check = (): boolean => true
  run(m: Model, { table }: Real): void {
    assert.equal(table.find(...this.k), m.open.get(text(this.k)) ?? -1)
  }
  toString = (): string => `find(${text(this.k)})`
}
class Insert implements fc.Command<Model, Real> {
  constructor(readonly k: Key) {}
  check = (): boolean => true
  run(m: Model, { table }: Real): void {
    const index = table.insert(...this.k)
    const refused = m.open.has(text(this.k)) || m.open.size + m.resting.size === CAPACITY
    assert.equal(index === -1, refused)
    if (refused) return
    assert.ok(index >= 0 && index < CAPACITY)
    assert.ok(![...m.open.values(), ...m.resting.keys()].includes(index), `index ${index} is in use`)
    m.open.set(text(this.k), index)
    agree(m, table)
  }
  toString = (): string => `insert(${text(this.k)})`
}
const nth = (m: Model, n: number): [string, number] | undefined => [...m.open][n % Math.max(1, m.open.size)]
class Claim implements fc.Command<Model, Real> {
  constructor(
    readonly n: number,
    readonly host: readonly [number, InAny, number, number]
  ) {}
  check = (m: Readonly<Model>): boolean => m.open.size > 0
  run(m: Model, { table }: Real): void {
    const [, index] = nth(m, this.n)!
    const want = !m.hostOf.has(index) && !m.hosts.has(text(this.host))
    assert.equal(table.claim(index, ...this.host), want)
    if (!want) return
    m.hosts.set(text(this.host), index)
    m.hostOf.set(index, text(this.host))
  }
  toString = (): string => `claim(${this.n}, ${text(this.host)})`
}
class Close implements fc.Command<Model, Real> {
  constructor(
    readonly n: number,
    readonly twice: boolean
  ) {}
  check = (m: Readonly<Model>): boolean => m.open.size > 0
  run(m: Model, { table }: Real): void {
    const [k, index] = nth(m, this.n)!
    table.close(index)
    if (this.twice) table.close(index)
    m.open.delete(k)
    m.hosts.delete(m.hostOf.get(index) ?? '')
    m.hostOf.delete(index)
    m.resting.set(index, 2)
    assert.equal(table.find(...(JSON.parse(k) as Key)), -1, 'a closed flow still matches')
    agree(m, table)
  }
  toString = (): string => `close(${this.n}${this.twice ? ', twice' : ''})`
}
class Sweep implements fc.Command<Model, Real> {
  check = (): boolean => true
  run(m: Model, { table }: Real): void {
    table.sweep()
    for (const [i, n] of [...m.resting]) n === 1 ? m.resting.delete(i) : m.resting.set(i, n - 1)
    agree(m, table)
  }
  toString = (): string => 'sweep'
}

const commands = fc.commands(
  [
    keyArb.map((k) => new Insert(k)),
    keyArb.map((k) => new Insert(k)),
    keyArb.map((k) => new Find(k)),
    fc.tuple(fc.nat(20), fc.tuple(fc.constantFrom(6, 17), addr, port, port)).map(([n, h]) => new Claim(n, h)),
    fc.tuple(fc.nat(20), fc.boolean()).map(([n, twice]) => new Close(n, twice)),
    fc.constant(new Sweep())
  ],
  { size: '+2', maxCommands: 80 }
)

describe('flow table', () => {
  test('is a Map (regression-16, regression-27, regression-41: closed flows match nothing, one probe, deferred freeing)', () => {
    fc.assert(
      fc.property(fc.tuple(fc.nat(), fc.nat()), commands, (secret, list) =>
        fc.modelRun(() => {
          const model = { open: new Map(), hosts: new Map(), hostOf: new Map(), resting: new Map() }
          return { model, real: { table: createFlowTable(secret, CAPACITY) } }
        }, list)
      ),
      { numRuns: 500 }
    )
  })

  test('131071 flows, then full; closing makes room after two sweeps, indices never in use twice', () => {
    const t = createFlowTable(SECRET)
    const guest = fromV4(0x0a000002)
    const peer = (i: number): InAny => fromV4(0x08000000 + (i >> 8))
    const used = new Uint8Array(MAX_FLOWS)
    const insert = (i: number): number => t.insert(6, guest, 1024 + (i & 0xff), peer(i), 443)
    for (let i = 0; i < MAX_FLOWS; i++) used[insert(i)]++
    assert.ok(used.every((n) => n === 1))
    assert.equal(insert(MAX_FLOWS), -1)
    assert.equal(t.size, MAX_FLOWS)
    for (let i = 0; i < MAX_FLOWS; i += 2) t.close(t.find(6, guest, 1024 + (i & 0xff), peer(i), 443))
    for (let i = 0; i < MAX_FLOWS; i++)
      assert.equal(t.find(6, guest, 1024 + (i & 0xff), peer(i), 443) >= 0, i % 2 === 1)
    t.sweep()
    assert.equal(insert(0), -1)
    t.sweep()
    for (let i = 0; i < MAX_FLOWS; i += 2) assert.ok(insert(i) >= 0)
    assert.equal(insert(MAX_FLOWS), -1)
  })

  test('regression-40: a SYN to port 0 or from :: may be looked up', () => {
    assert.equal(createFlowTable(SECRET, 4).find(6, [0, 0, 0, 0], 0, [0, 0, 0, 0], 0), -1)
  })
})
