// /proc/net in slices: the same ports as in one piece, whatever the slices, and nothing gone that is there.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  listeningPorts,
  listeningState,
  type ProcNetKind,
  type ProcSocket,
  procNet
} from '../src/codecs/kernel/proc-net.js'
import { fromV4 } from '../src/codecs/value/inany.js'
import { emptyPorts, hasPort, portSet, portsIn, samePorts } from '../src/codecs/value/port-set.js'
import {
  beginReading,
  type ReadAt,
  type Reading,
  readSlice,
  SLICE,
  settled
} from '../src/runtime/host/port-reader.js'

const octetsOf = (text: string): Uint8Array => new TextEncoder().encode(text)
const socket = (kind: ProcNetKind, port: number, listening: boolean): ProcSocket => ({
  addr: kind.endsWith('6') ? [0, 0, 0, 1] : fromV4(0x7f000001),
  port,
  peer: kind.endsWith('6') ? [0, 0, 0, 0] : fromV4(0),
  peerPort: listening ? 0 : 80,
  state: listening ? listeningState(kind) : kind.startsWith('tcp') ? 6 : 1,
  uid: 0,
  inode: 1
})
const KINDS = ['tcp', 'tcp6', 'udp', 'udp6'] as const
const port = fc.integer({ min: 1, max: 65535 })
/** As the kernel has it: TCP's listeners first. */
const arbTable = fc
  .tuple(fc.constantFrom<ProcNetKind>(...KINDS), fc.array(fc.tuple(port, fc.boolean()), { maxLength: 120 }))
  .map(([kind, list]) => {
    const sockets = list.map(([p, listening]) => socket(kind, p, listening))
    const waits = (s: ProcSocket): boolean => s.state === listeningState(kind)
    const ordered = kind.startsWith('tcp')
      ? [...sockets.filter(waits), ...sockets.filter((s) => !waits(s))]
      : sockets
    return { kind, sockets: ordered, ports: portSet(sockets.filter(waits).map((s) => s.port)) }
  })

const all = (r: Reading, read: ReadAt, slice?: number): number => {
  for (let turns = 1; ; turns++) {
    if (readSlice(r, read, slice)) return turns
    assert.ok(turns < 10_000, 'it does not end')
  }
}

describe('slices', () => {
  test('give the same as all in one piece', () =>
    fc.assert(
      fc.property(
        fc.uniqueArray(arbTable, { selector: (t) => t.kind, minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 3000 }),
        fc.infiniteStream(fc.integer({ min: 2048, max: 5000 })),
        (tables, slice, sizes) => {
          const files = tables.map((t) => octetsOf(procNet(t.kind).encode(t.sockets)))
          let asked = 0
          const read: ReadAt = (fd, into, offset) => {
            const part = files[fd]!.subarray(offset, offset + Math.min(into.length, sizes.next().value!))
            into.set(part)
            asked += part.length
            return part.length
          }
          const side = new Map(tables.map((t, fd) => [t.kind, fd]))
          const r = beginReading(side, new Map())
          for (let before = 0; !readSlice(r, read, slice); before = asked)
            assert.ok(asked - before <= slice, `${asked - before} octets in a turn`)
          for (const proto of ['tcp', 'udp'] as const) {
            const want = emptyPorts()
            for (const [i, t] of tables.entries())
              if (t.kind.startsWith(proto)) {
                listeningPorts(files[i]!, t.kind, want)
                for (const p of portsIn(t.ports)) assert.ok(hasPort(want, p))
              }
            assert.ok(
              samePorts(r.found.host[proto], want),
              `${portsIn(r.found.host[proto])}, not ${portsIn(want)}`
            )
          }
        }
      )
    ))
  test('of many thousands in TIME-WAIT none is read but those behind the listeners in one slice', () => {
    const sockets = [
      socket('tcp', 22, true),
      ...Array.from({ length: 78_000 }, (_, i) => socket('tcp', 1024 + (i % 60_000), false))
    ]
    const text = octetsOf(procNet('tcp').encode(sockets))
    let octets = 0
    const read: ReadAt = (_, into, offset) => {
      const part = text.subarray(offset, offset + Math.min(into.length, 4096))
      into.set(part)
      octets += part.length
      return part.length
    }
    const r = beginReading(new Map([['tcp', 0]]), new Map())
    assert.equal(all(r, read), 1)
    assert.deepEqual(portsIn(r.found.host.tcp), [22])
    assert.ok(octets <= SLICE, `${octets} octets of ${text.length}`)
  })
})

describe('a table that changes while it is read', () => {
  /** A read's: a page is more than half full (port-reader.ts). */
  const LINES = 20
  /** As seq_file gives it: it knows how many sockets it has shown, not which. */
  const showing = (kind: ProcNetKind, sockets: ProcSocket[], between: () => void): ReadAt => {
    let shown = 0
    return (_, into, offset) => {
      if (offset === 0) shown = 0
      else between()
      const part = sockets.slice(shown, shown + LINES)
      shown += part.length
      const header = procNet(kind).encode([]).length
      const bytes = octetsOf(procNet(kind).encode(part)).subarray(
        part.length > 0 && offset === 0 ? 0 : header
      )
      assert.ok(bytes.length <= into.length)
      into.set(bytes)
      return bytes.length
    }
  }
  test('whoever listened at the last scan, and does all the time, is not gone', () =>
    fc.assert(
      fc.property(
        fc.constantFrom<ProcNetKind>('udp', 'udp6'),
        fc.uniqueArray(port, { minLength: 1, maxLength: 200 }),
        fc.infiniteStream(fc.tuple(fc.nat(200), fc.nat(3))),
        (kind, ports, changes) => {
          const stays = new Set(ports.filter((_, i) => i % 2 === 0))
          const sockets = ports.map((p) => socket(kind, p, true))
          const scan = (before: Reading['found'] | null, between: () => void): Reading => {
            const r = beginReading(new Map([[kind, 0]]), new Map())
            all(r, showing(kind, sockets, between))
            for (const p of stays)
              if (before !== null && hasPort(before.host.udp, p))
                assert.ok(hasPort(settled(r, before).host.udp, p), `${p} is gone`)
            return r
          }
          let found: Reading['found'] | null = null
          for (let i = 0; i < 5; i++)
            found = scan(found, () => {
              const [at, n] = changes.next().value!
              // others go, and come again at the end
              for (let k = 0; k < n; k++) {
                const gone = sockets.findIndex((s, j) => j >= at % sockets.length && !stays.has(s.port))
                if (gone >= 0) sockets.push(...sockets.splice(gone, 1))
              }
            }).found
        }
      )
    ))
  test('what has gone is gone at the second scan at the latest', () => {
    const before = portSet([1, 2])
    const r = beginReading(new Map(), new Map())
    r.torn = true
    const scanned = (ports: ReturnType<typeof portSet>): Reading['found'] => ({
      host: { tcp: ports, udp: emptyPorts() },
      ns: { tcp: emptyPorts(), udp: emptyPorts() }
    })
    assert.deepEqual(portsIn(settled(r, scanned(before)).host.tcp), [1, 2])
    assert.deepEqual(portsIn(settled(r, r.found).host.tcp), [])
  })
})
