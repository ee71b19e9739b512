import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { CTL_MAX, LauncherReply, LauncherRequest, NETLINK_PART, RQ } from '../src/codecs/launcher.js'
import { octets } from '../src/codecs/octets.js'
import { CTL_FD, launcher, netlinkIn } from '../src/runtime/launcher.js'

const u32 = fc.integer({ min: 0, max: 0xffffffff })
const word = fc.string({ unit: 'binary', maxLength: 40 }).map((s) => s.replaceAll('\0', ''))
const bytes = fc.uint8Array({ maxLength: 80 })
const type = <T extends string>(t: T) => fc.constant(t)

/** Plain objects, as the codec makes them. */
const record = <T extends object>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record<T>(model, { noNullPrototype: true })

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
  record({ type: type('Ready') })
)
const line = word.map((s) => s.replaceAll('\n', '')).filter((s) => s !== '')
const reply: fc.Arbitrary<LauncherReply> = fc.oneof(
  record({
    type: type('Failed'),
    kind: u32,
    errno: fc.integer({ min: 1, max: 4095 }),
    // A byte order mark in front is not text
    text: word.filter((s) => !s.startsWith('\ufeff'))
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
  record({ type: type('Done'), kind: fc.constantFrom(RQ.SETUP, RQ.JOIN, RQ.READY) })
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
    const start = fc.integer({ min: 0, max: 9 }).map((k) => Uint8Array.of(k, 0, 0, 0))
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
    const header = readFileSync(new URL('../native/launcher/protocol.h', import.meta.url), 'utf8')
    for (const [name, value] of Object.entries(RQ)) assert.match(header, new RegExp(`RQ_${name} = ${value},`))
    assert.match(header, new RegExp(`CTL_FD = ${CTL_FD} `))
    assert.match(header, new RegExp(`CTL_MAX = ${CTL_MAX},.*NETLINK_PART = ${NETLINK_PART} `))
  })
})

describe('launcher client', () => {
  const answering = (replies: ReadonlyArray<LauncherReply | Uint8Array>, fd = -1) => {
    const asked: LauncherRequest[] = []
    const left = [...replies]
    const ctlCall = (_: number, message: Uint8Array) => {
      const decoded = LauncherRequest.decode(octets(message))
      if (E.isRight(decoded)) asked.push(decoded.right)
      const next = left.shift()
      if (next === undefined) throw Object.assign(new Error('EPIPE'), { errno: 32 })
      return { data: next instanceof Uint8Array ? next : LauncherReply.encode(next), fd }
    }
    return { asked, client: launcher({ ctlCall }) }
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
      answering([]).client.ready(),
      E.left({ errno: 32, text: 'No answer from the launcher: EPIPE' })
    )
    assert.ok(E.isLeft(answering([Uint8Array.of(1)]).client.ready()))
    assert.ok(
      E.isLeft(answering([{ type: 'Netlink', more: false, bytes: new Uint8Array(0) }]).client.ready())
    )
    const reply = { type: 'Tap', index: 2, vnet: true, mac: new Uint8Array(6), name: 'tap0' } as const
    assert.ok(E.isLeft(answering([reply]).client.tap(tap)))
    assert.deepEqual(
      answering([reply], 9).client.tap(tap),
      E.right({ fd: 9, index: 2, name: 'tap0', vnet: true, mac: reply.mac })
    )
    assert.throws(() => netlinkIn(answering([failed]).client)(new Uint8Array(16)), { errno: 16 })
  })
})
