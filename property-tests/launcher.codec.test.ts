import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import {
  CTL_MAX,
  LauncherReply,
  LauncherRequest,
  LISTEN_MAX,
  type ListenOrder,
  NETLINK_PART,
  RQ,
  SOCKETS,
  SOCKETS_MAX
} from '../src/codecs/control/launcher.js'
import { PROCNET_FILES } from '../src/codecs/control/launcher-sockets.js'
import { octets } from '../src/codecs/value/octets.js'
import { CTL_FD, launcher, netlinkIn } from '../src/runtime/host/launcher.js'

const u32 = fc.integer({ min: 0, max: 0xffffffff })
const word = fc.string({ unit: 'binary', maxLength: 40 }).map((s) => s.replaceAll('\0', ''))
const bytes = fc.uint8Array({ maxLength: 80 })
const type = <T extends string>(t: T) => fc.constant(t)

/** Plain objects, as the codec makes them. */
const record = <T extends object>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record<T>(model, { noNullPrototype: true })

const proto = fc.constantFrom('tcp' as const, 'udp' as const)
const listener: fc.Arbitrary<ListenOrder> = record({
  proto,
  v6only: fc.boolean(),
  port: fc.integer({ min: 1, max: 65535 }),
  addr: fc.tuple(u32, u32, u32, u32),
  device: word
})
const request: fc.Arbitrary<LauncherRequest> = fc.oneof(
  record({ type: type('Setup'), foreground: fc.boolean(), pidFile: word }),
  record({
    type: type('Spawn'),
    netnsOnly: fc.boolean(),
    noPidns: fc.boolean(),
    argvIndex: u32,
    hostname: word
  }),
  record({ type: type('Join'), pid: u32, noQuit: fc.boolean(), userns: word, netns: word }),
  record({ type: type('Tap'), vnet: fc.boolean(), ifname: word }),
  record({ type: type('Netlink'), bytes }),
  record({ type: type('Next') }),
  record({ type: type('Ready'), status: word }),
  record({ type: type('Leave') }),
  record({ type: type('UnixTarget'), path: word }),
  record({ type: type('UnixFile'), path: word }),
  record({ type: type('Connect'), target: u32 }),
  record({ type: type('Api'), who: fc.option(record({ uid: fc.nat(), gid: fc.nat() })) }),
  record({ type: type('Sockets'), v6: fc.boolean(), proto, count: fc.integer({ min: 1, max: SOCKETS_MAX }) }),
  record({
    type: type('Listen'),
    listeners: fc.array(listener, { minLength: 1, maxLength: LISTEN_MAX, size: 'max' })
  }),
  record({ type: type('ProcNet') }),
  record({ type: type('Inherited'), fd: u32 }),
  record({ type: type('EmptyRoot'), byChroot: fc.boolean() }),
  record({ type: type('Resolver') }),
  record({ type: type('Follow'), index: fc.integer({ min: 1, max: 0xffffffff }) }),
  record({ type: type('Names'), user: word, group: word }),
  record({ type: type('Identity'), uid: fc.nat(), gid: fc.nat(), late: fc.boolean() })
)
const line = word.map((s) => s.replaceAll('\n', '')).filter((s) => s !== '')
const reply: fc.Arbitrary<LauncherReply> = fc.oneof(
  record({
    type: type('Failed'),
    kind: u32,
    errno: fc.integer({ min: 1, max: 4095 }),
    text: word
  }),
  record({ type: type('Spawned'), pid: u32, warnings: fc.array(line, { maxLength: 3 }) }),
  record({
    type: type('Tap'),
    index: u32,
    vnet: fc.boolean(),
    mac: fc.uint8Array({ minLength: 6, maxLength: 6 }),
    name: fc.stringMatching(/^[a-z0-9]{1,15}$/)
  }),
  record({ type: type('Netlink'), more: fc.boolean(), bytes }),
  record({ type: type('Sockets'), v6: fc.boolean(), proto, count: u32, errno: u32 }),
  record({
    type: type('Listening'),
    split: fc.boolean(),
    outcomes: fc.array(record({ errno: u32, sockets: u32 }), { minLength: 1, maxLength: LISTEN_MAX })
  }),
  record({ type: type('Inherited') }),
  record({ type: type('Api') }),
  record({ type: type('Names'), uid: u32, gid: u32 }),
  record({ type: type('ProcNet'), files: fc.subarray([...PROCNET_FILES]) }),
  record({ type: type('Begun'), lifeMs: u32 }),
  record({ type: type('Connected'), target: u32, count: u32, errno: u32 }),
  record({ type: type('Done'), kind: fc.constantFrom(RQ.JOIN, RQ.READY) })
)

describe('launcher codecs', () => {
  test('decode ∘ encode = id', () => {
    fc.assert(
      fc.property(request, (r) =>
        assert.deepEqual(LauncherRequest.decode(octets(LauncherRequest.encode(r))), E.right(r))
      )
    )
    fc.assert(
      fc.property(reply, (r) =>
        assert.deepEqual(LauncherReply.decode(octets(LauncherReply.encode(r))), E.right(r))
      )
    )
  })
  test('any octets decode to a value or a Left; a request that decodes encodes again', () => {
    const kind = fc.oneof(fc.integer({ min: 0, max: RQ.API }), fc.constant(SOCKETS))
    const start = kind.map((k) => Uint8Array.of(k & 0xff, k >>> 8, 0, 0))
    const some = fc.tuple(start, bytes).map(([a, b]) => Uint8Array.of(...a, ...b))
    fc.assert(
      fc.property(fc.oneof(bytes, some), (b) => {
        const decoded = LauncherRequest.decode(octets(b))
        if (E.isRight(decoded)) LauncherRequest.encode(decoded.right)
        LauncherReply.decode(octets(b))
      }),
      { numRuns: 1000 }
    )
  })
  test('truncation: never more than was there', () => {
    fc.assert(
      fc.property(request, fc.nat(200), (r, cut) => {
        const whole = LauncherRequest.encode(r)
        const short = whole.subarray(0, Math.min(cut, whole.length))
        const decoded = LauncherRequest.decode(octets(short))
        if (short.length < whole.length && r.type !== 'Netlink') assert.ok(E.isLeft(decoded))
      })
    )
  })
  test('the same numbers as protocol.h', () => {
    const header = readFileSync(new URL('../native/common/protocol.h', import.meta.url), 'utf8')
    for (const [name, value] of Object.entries(RQ)) assert.match(header, new RegExp(`RQ_${name} = ${value},`))
    assert.match(header, new RegExp(`CTL_FD = ${CTL_FD} `))
    assert.match(header, new RegExp(`CTL_MAX = ${CTL_MAX},.*NETLINK_PART = ${NETLINK_PART} `))
    assert.match(header, new RegExp(`SOCKETS = 0x${SOCKETS.toString(16)} `))
    assert.match(header, new RegExp(`PASSED_MAX = ${SOCKETS_MAX}, SOCKETS_MAX = PASSED_MAX,`))
    assert.match(header, /LISTEN_MAX = PASSED_MAX \/ 2 /)
    assert.equal(LISTEN_MAX, SOCKETS_MAX / 2)
    for (const [i, f] of PROCNET_FILES.entries())
      assert.match(header, new RegExp(`PROCNET_${f.toUpperCase()} = ${1 << i}\\b`))
  })
})

describe('launcher client', () => {
  const answering = (
    replies: ReadonlyArray<LauncherReply | Uint8Array>,
    passed: ReadonlyArray<ReadonlyArray<number>> = []
  ) => {
    const asked: LauncherRequest[] = []
    const closed: number[] = []
    const left = [...replies]
    const fds = [...passed]
    const ctlCall = (_: number, message: Uint8Array) => {
      const decoded = LauncherRequest.decode(octets(message))
      if (E.isRight(decoded)) asked.push(decoded.right)
      const next = left.shift()
      if (next === undefined) throw Object.assign(new Error('EPIPE'), { errno: 32 })
      const data = next instanceof Uint8Array ? next : LauncherReply.encode(next)
      const some = fds.shift() ?? []
      return { data, fd: some[0] ?? -1, fds: some }
    }
    return { asked, closed, client: launcher({ ctlCall }, CTL_FD, (one) => closed.push(one)) }
  }
  test('netlink: the parts of an answer in order', () => {
    fc.assert(
      fc.property(fc.array(bytes, { minLength: 1, maxLength: 5 }), (parts) => {
        const replies = parts.map(
          (b, i) => ({ type: 'Netlink', more: i < parts.length - 1, bytes: b }) as const
        )
        const { client, asked } = answering(replies)
        const got = client.netlink(Uint8Array.of(1, 2, 3))
        assert.deepEqual(got, E.right(Uint8Array.from(parts.flatMap((p) => [...p]))))
        assert.deepEqual(
          asked.map((a) => a.type),
          parts.map((_, i) => (i === 0 ? 'Netlink' : 'Next'))
        )
      })
    )
  })
  test('failures are Lefts: of the launcher, of the socket, of understanding', () => {
    const failed = { type: 'Failed', kind: RQ.TAP, errno: 16, text: 'Cannot: busy' } as const
    const tap = { vnet: true, ifname: 'tap0' }
    assert.deepEqual(answering([failed]).client.tap(tap), E.left({ errno: 16, text: 'Cannot: busy' }))
    assert.deepEqual(
      answering([]).client.ready({ status: '' }),
      E.left({ errno: 32, text: 'No answer from the launcher: EPIPE, broken pipe' })
    )
    assert.ok(E.isLeft(answering([Uint8Array.of(1)]).client.ready({ status: '' })))
    assert.ok(
      E.isLeft(
        answering([{ type: 'Netlink', more: false, bytes: new Uint8Array(0) }]).client.ready({ status: '' })
      )
    )
    const reply = { type: 'Tap', index: 2, vnet: true, mac: new Uint8Array(6), name: 'tap0' } as const
    assert.ok(E.isLeft(answering([reply]).client.tap(tap)))
    assert.deepEqual(
      answering([reply], [[9]]).client.tap(tap),
      E.right({ fd: 9, index: 2, name: 'tap0', vnet: true, mac: reply.mac })
    )
    assert.throws(() => netlinkIn(answering([failed]).client)(new Uint8Array(16)), { errno: 16 })
  })
  // A launcher that gives each socket the next number: what a client hands out and closes is what was made
  test('listen: any number in batches; each has its own sockets, a Left leaves none open', () => {
    const made = fc.array(fc.constantFrom(0, 1, 2), { minLength: 1, maxLength: 3 * LISTEN_MAX, size: 'max' })
    fc.assert(
      fc.property(made, fc.option(fc.nat(2), { nil: -1 }), (counts, failsAt) => {
        const replies: LauncherReply[] = []
        const passed: number[][] = []
        let next = 100
        for (let at = 0; at < counts.length; at += LISTEN_MAX) {
          const batch = counts.slice(at, at + LISTEN_MAX)
          const fails = replies.length === failsAt
          replies.push(
            fails
              ? { type: 'Failed', kind: RQ.LISTEN, errno: 71, text: 'no' }
              : {
                  type: 'Listening',
                  split: batch.includes(2),
                  outcomes: batch.map((sockets) => ({ errno: sockets === 0 ? 98 : 0, sockets }))
                }
          )
          passed.push(fails ? [] : batch.flatMap((n) => Array.from({ length: n }, () => next++)))
        }
        const { client, closed, asked } = answering(replies, passed)
        const orders = counts.map(
          (_, i): ListenOrder => ({
            proto: 'tcp',
            v6only: false,
            port: i + 1,
            addr: [0, 0, 0, 0],
            device: 'lo'
          })
        )
        const answer = client.listen(orders)
        if (E.isLeft(answer)) {
          assert.ok(failsAt >= 0 && failsAt < replies.length)
          assert.deepEqual(closed, passed.slice(0, failsAt).flat())
          return
        }
        assert.deepEqual(
          asked.flatMap((a) => (a.type === 'Listen' ? a.listeners : [])),
          orders
        )
        const { listened, split } = answer.right
        assert.deepEqual(
          listened.map((l) => l.fds.length),
          counts
        )
        assert.deepEqual(
          listened.flatMap((l) => l.fds),
          passed.flat()
        )
        assert.equal(split, counts.includes(2))
        assert.deepEqual(closed, [])
      })
    )
  })
  test('listen: past our limit of descriptors the rest is EMFILE, and no more is asked for', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(1, 2), { minLength: LISTEN_MAX, maxLength: LISTEN_MAX }),
        fc.nat(),
        (counts, n) => {
          const total = counts.reduce((a, b) => a + b, 0)
          const came = Array.from({ length: n % total }, (_, i) => 100 + i)
          const reply: LauncherReply = {
            type: 'Listening',
            split: true,
            outcomes: counts.map((sockets) => ({ errno: 0, sockets }))
          }
          const { client, closed, asked } = answering([reply], [came])
          const order = { proto: 'udp', v6only: false, port: 1, addr: [0, 0, 0, 0], device: 'lo' } as const
          const answer = client.listen(Array.from({ length: LISTEN_MAX + 5 }, () => order))
          assert.ok(E.isRight(answer))
          assert.equal(asked.length, 1)
          const { listened } = answer.right
          assert.equal(listened.length, LISTEN_MAX + 5)
          const good = listened.findIndex((l) => l.errno === 24)
          assert.ok(listened.every((l, i) => (l.errno === 24 && l.fds.length === 0) === i >= good))
          assert.deepEqual([...listened.flatMap((l) => l.fds), ...closed], came)
        }
      )
    )
  })
  test('descriptors that are not as announced are closed', () => {
    const files = ['tcp', 'udp'] as const
    const procNet = { type: 'ProcNet', files } as const
    assert.deepEqual(
      answering([procNet], [[5, 6]]).client.procNet(),
      E.right(
        new Map([
          ['tcp', 5],
          ['udp', 6]
        ])
      )
    )
    const some = { type: 'Sockets', v6: true, proto: 'udp', count: 2, errno: 24 } as const
    const order = { v6: true, proto: 'udp', count: 9 } as const
    assert.deepEqual(answering([some], [[7, 8]]).client.sockets(order), E.right([7, 8]))
    for (const [reply, fds] of [
      [procNet, [5]],
      [procNet, [5, 6, 7]],
      [some, [5]],
      [{ type: 'Failed', kind: RQ.PROCNET, errno: 2, text: 'no' }, [5]],
      [{ type: 'Done', kind: RQ.READY }, [5]],
      [{ type: 'Tap', index: 2, vnet: true, mac: new Uint8Array(6), name: 'tap0' }, [5]],
      [Uint8Array.of(1), [5, 6]]
    ] as const) {
      const { client, closed } = answering([reply], [fds])
      assert.ok(E.isLeft(client.procNet()))
      assert.deepEqual(closed, fds)
    }
    const none = { ...some, count: 0 }
    assert.deepEqual(
      E.mapLeft((f: { errno: number }) => f.errno)(answering([none], [[]]).client.sockets(order)),
      E.left(24)
    )
  })
})
