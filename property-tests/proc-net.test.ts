import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import {
  isListening,
  listeningPorts,
  type ProcNetKind,
  type ProcSocket,
  procNet
} from '../src/codecs/kernel/proc-net.js'
import { fromV4, LOOPBACK4, UNSPECIFIED6 } from '../src/codecs/value/inany.js'
import {
  addPort,
  emptyPorts,
  hasPort,
  minusPorts,
  portSet,
  portsIn,
  samePorts,
  unionPorts
} from '../src/codecs/value/port-set.js'
import { arbInAny, arbInAny4, arbU16, arbU32, plain } from './arbitraries.js'

const octetsOf = (text: string): Uint8Array => new TextEncoder().encode(text)
const decode = (kind: ProcNetKind, text: string): ReadonlyArray<ProcSocket> =>
  E.getOrElse((): ReadonlyArray<ProcSocket> => assert.fail('procNet fails'))(procNet(kind).decode(text))
const arbKind = fc.constantFrom<ProcNetKind>('tcp', 'tcp6', 'udp', 'udp6')
const arbSocket = (kind: ProcNetKind): fc.Arbitrary<ProcSocket> => {
  const addr = kind.endsWith('6') ? arbInAny : arbInAny4
  return plain<ProcSocket>({
    addr,
    port: arbU16,
    peer: addr,
    peerPort: arbU16,
    state: fc.constantFrom(1, 6, 7, 10, 11),
    uid: arbU32,
    inode: fc.integer({ min: 0, max: 999_999_999_999_999 })
  })
}
const arbTable = arbKind.chain((kind) =>
  fc.tuple(fc.constant(kind), fc.array(arbSocket(kind), { maxLength: 30 }))
)

// As the kernel prints them on a little-endian machine.
const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0                     
   1: 0100007F:1F90 0100007F:A001 01 00000000:00000000 00:00000000 00000000  1000        0 12346 1 0000000000000000 20 4 30 10 -1                    
`
const TCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:0017 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 98 1 0000000000000000 100 0 0 10 0
`
const UDP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            
 6913: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000   107        0 4242 2 0000000000000000 0         
 6914: 0100007F:14EA 0100007F:0035 01 00000000:00000000 00:00000000 00000000   107        0 4243 2 0000000000000000 0         
`

describe('/proc/net', () => {
  test('tcp: listener and connection', () => {
    const [a, b] = decode('tcp', TCP)
    assert.deepEqual(a, {
      addr: LOOPBACK4,
      port: 8080,
      peer: fromV4(0),
      peerPort: 0,
      state: 10,
      uid: 1000,
      inode: 12345
    })
    assert.equal(b?.peerPort, 0xa001)
    assert.deepEqual(portsIn(listeningPorts(octetsOf(TCP), 'tcp')), [8080])
  })
  test('tcp6: any address, and a v4-mapped one', () => {
    const [a, b] = decode('tcp6', TCP6)
    assert.deepEqual([a?.addr, b?.addr], [UNSPECIFIED6, LOOPBACK4])
    assert.deepEqual(portsIn(listeningPorts(octetsOf(TCP6), 'tcp6')), [22, 23])
  })
  test('udp: unconnected sockets only', () => {
    assert.equal(decode('udp', UDP).length, 2)
    assert.deepEqual(portsIn(listeningPorts(octetsOf(UDP), 'udp')), [5353])
  })
  test('both files of a protocol in one set', () =>
    assert.deepEqual(
      portsIn(listeningPorts(octetsOf(TCP6), 'tcp6', listeningPorts(octetsOf(TCP), 'tcp'))),
      [22, 23, 8080]
    ))
  test('decode(encode(s)) = s', () =>
    fc.assert(
      fc.property(arbTable, ([kind, table]) => {
        assert.ok(procNet(kind).is(table))
        assert.deepEqual(decode(kind, procNet(kind).encode(table)), table)
      })
    ))
  test('listeningPorts agrees with the codec', () =>
    fc.assert(
      fc.property(arbTable, ([kind, table]) => {
        const want = portSet(table.filter((s) => isListening(kind, s)).map((s) => s.port))
        assert.ok(samePorts(listeningPorts(octetsOf(procNet(kind).encode(table)), kind), want), 'differ')
      })
    ))
  test('a line counts where all of its borders up to the state are there, whatever stands in front', () =>
    fc.assert(
      fc.property(
        arbKind.chain((kind) => fc.tuple(fc.constant(kind), arbSocket(kind))),
        fc.integer({ min: 1, max: 0xffff }),
        fc.nat(9),
        ([kind, s], port, blanks) => {
          const text = procNet(kind).encode([{ ...s, port, state: kind.startsWith('tcp') ? 10 : 7 }])
          const line = text.split('\n')[1]?.trim() ?? assert.fail('no line')
          const found = (other: string): number[] => portsIn(listeningPorts(octetsOf(other), kind))
          assert.deepEqual(found(' '.repeat(blanks) + line), [port])
          const parts = /^\d+: [0-9A-F]+(:)[0-9A-F]+( )[0-9A-F]+:[0-9A-F]+( )[0-9A-F]+( )/d.exec(line)
          const borders = parts?.indices?.slice(1).map((range) => range?.[0] ?? 0) ?? assert.fail(line)
          assert.equal(borders.length, 4)
          for (const at of borders) assert.deepEqual(found(`${line.slice(0, at)}x${line.slice(at + 1)}`), [])
          const end = borders[3]!
          for (let n = 0; n <= end; n++) assert.deepEqual(found(line.slice(0, n)), [], `${n} octets`)
          assert.deepEqual(found(line.slice(0, end + 2)), [port])
          for (const state of ['0G', 'G0', '0a', '01'])
            assert.deepEqual(found(line.slice(0, end - 2) + state + line.slice(end)), [], state)
          const at = borders[1]!
          for (const none of ['0000', '1F9G', '1f90'])
            assert.deepEqual(found(line.slice(0, at - 4) + none + line.slice(at)), [], none)
        }
      )
    ))
  test('damaged text: lines that are whole are read, others left out, nothing is thrown', () =>
    fc.assert(
      fc.property(
        arbTable,
        fc.nat(),
        fc.uint8Array({ maxLength: 8 }),
        fc.nat(40),
        ([kind, table], where, put, drop) => {
          const whole = octetsOf(procNet(kind).encode(table))
          const at = where % (whole.length + 1)
          const bytes = Uint8Array.from([...whole.subarray(0, at), ...put, ...whole.subarray(at + drop)])
          const text = new TextDecoder().decode(bytes)
          const ports = listeningPorts(bytes, kind)
          for (const s of decode(kind, text))
            if (isListening(kind, s)) assert.ok(hasPort(ports, s.port), `port ${s.port} missed`)
          const before = new TextDecoder().decode(whole.subarray(0, at)).split('\n').slice(0, -1).join('\n')
          assert.deepEqual(decode(kind, text).slice(0, decode(kind, before).length), decode(kind, before))
        }
      )
    ))
  test('any octets', () =>
    fc.assert(
      fc.property(arbKind, fc.uint8Array({ maxLength: 400 }), (kind, bytes) => {
        listeningPorts(bytes, kind)
        decode(kind, new TextDecoder().decode(bytes))
      })
    ))
  test('this very kernel', async () => {
    const server = createServer()
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const bytes = readFileSync('/proc/net/tcp')
    server.close()
    assert.ok(hasPort(listeningPorts(bytes, 'tcp'), port), 'not found')
    const own = decode('tcp', bytes.toString()).find((s) => s.port === port && s.state === 10)
    assert.deepEqual(own?.addr, LOOPBACK4)
  })
})

describe('port sets are sets', () => {
  const arbSet = fc.uniqueArray(arbU16, { maxLength: 40 })
  test('union, difference, elements', () =>
    fc.assert(
      fc.property(arbSet, arbSet, arbU16, arbU16, (a, b, lo, hi) => {
        const order = (l: ReadonlyArray<number>): number[] => [...new Set(l)].sort((x, y) => x - y)
        const [x, y] = [portSet(a), portSet(b)]
        assert.deepEqual(portsIn(unionPorts(x, y)), order([...a, ...b]))
        assert.deepEqual(portsIn(minusPorts(x, y)), order(a.filter((p) => !b.includes(p))))
        assert.deepEqual(portsIn(x, lo, hi), order(a.filter((p) => p >= lo && p <= hi)))
        const z = emptyPorts()
        for (const p of a) if (!b.includes(p)) addPort(z, p)
        assert.ok(samePorts(z, minusPorts(x, y)), 'differ')
      })
    ))
})
