// What must hold on every way that a forwarded connection or datagram can go: through the tap, and through the bypass in
// either direction. The client is client.py, the server peer.py at the way's other end.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Bed, families, logged } from './bed.js'
import { ask, clientProc, type Guest, type Place } from './guest.js'
import type { Proc } from './proc.js'
import { isPeer } from './world.js'

/** Forwarded ports and where they lead (#regression-33: they differ). 8015 leads to a port where nobody listens. */
export const mapped = (direction: 'in' | 'out'): ReadonlyArray<string> => {
  const [tcp, udp] = direction === 'in' ? ['-t', '-u'] : ['-T', '-U']
  return [tcp!, '8001-8014:7001-7014,8015:7999', udp!, '8001-8004:7001-7004,8015:7999']
}
/** Forwarded port that leads to a port of peer.py. */
const by = (port: number): number => port + 1000
const REFUSED = 8015

/** A source port that no flow before has used: they stay for a while. */
let lastPort = 4400
const freshPort = (): number => ++lastPort

type Family = (typeof families)[number]
export interface Way {
  readonly name: string
  readonly from: () => Place
  readonly to: (f: Family) => string
  readonly guest: () => Guest
  /** peer.py at the other end. */
  readonly server: () => Proc
  /** Most octets of a datagram. */
  readonly datagram: (f: Family) => number
  /** Upstream hardly moves on a bulk transfer from the guest to a near peer (#regression-A). */
  readonly slowUpstream?: boolean
}

/** What upstream is known not to do: asked of ours only. */
const oursOnly = { skip: isPeer && 'upstream is weak here' }
const bulk = 50_000_000

export const battery = (bed: Bed, way: Way): void => {
  const go = (args: ReadonlyArray<string | number>) => ask(bed.w, way.from(), args)

  for (const f of families)
    describe(`${way.name}, IPv${f.v}`, () => {
      const to = way.to(f)

      test('50 MB to the server (regression-2, regression-31, regression-63, regression-69, regression-86, regression-89)', async () => {
        const r = await go(['tcp-send', to, by(7002), bulk])
        assert.equal(r.reply, r.expect)
      })
      test('50 MB to the client (regression-18, regression-31, regression-47, regression-67, regression-89)', async () => {
        const size = isPeer && way.slowUpstream === true ? 100_000 : bulk
        const r = await go(['tcp-get', to, by(7003), size])
        assert.deepEqual([r.octets, r.same], [size, true])
      })
      test('both directions at once, 2 MB through an echo server', async () => {
        const r = await go(['tcp-echo', to, by(7001), 2_000_000])
        assert.deepEqual(r, { same: true, word: 'bye' })
      })
      test('tiny exchanges, server or client first (regression-17, regression-62)', async () => {
        assert.deepEqual(await go(['tcp-read', to, by(7006)]), { data: 'ok\n', end: 'eof' })
        assert.deepEqual(await go(['tcp-read', to, by(7009), 'quit']), {
          data: '220 ready\r\nQUIT\n',
          end: 'eof'
        })
        for (const n of [0, 1]) {
          const r = await go(['tcp-send', to, by(7002), n])
          assert.equal(r.reply, r.expect)
        }
      })
      test('client closes its half first: the answer still comes (regression-3, regression-4, regression-69)', async () => {
        const r = await go(['tcp-send', to, by(7002), 3_000_000])
        assert.equal(r.reply, r.expect)
      })
      test("server closes its half first: the client's data still goes (regression-67, regression-68, regression-83)", async () => {
        const seen = way.server().stdout.length
        const r = await go(['tcp-after-fin', to, by(7011), 500_000])
        assert.equal(r.early, 0)
        await logged(way.server(), { port: 7011, octets: 500_000, sha: r.sha }, seen)
      })
      test('reset by the server reaches the client', async () => {
        assert.deepEqual(await go(['tcp-read', to, by(7004), 'x']), { data: '', end: 'ECONNRESET' })
      })
      test('reset by the client reaches the server (regression-82)', async () => {
        const seen = way.server().stdout.length
        assert.deepEqual(await go(['tcp-abort', to, by(7005)]), { hello: 'hello' })
        await logged(way.server(), { port: 7005, end: 'reset' }, seen)
      })
      test('nobody listens at the other end: the client sees a reset at once (regression-30, regression-77)', async () => {
        const r = await go(['tcp-refused', to, REFUSED])
        assert.ok(['ECONNRESET', 'ECONNREFUSED'].includes(r.error as string), JSON.stringify(r))
        assert.ok((r.ms as number) < 900, `took ${r.ms} ms`)
      })
      test('200 connections at a time (regression-16, regression-27, regression-41, regression-70)', async () => {
        assert.deepEqual(await go(['tcp-parallel', to, by(7001), 200]), { ok: 200 })
      })
      test('slow receiver at the server (regression-34, regression-57, regression-58, regression-73, regression-76)', async () => {
        const r = await go(['tcp-send', to, by(7007), 3_000_000])
        assert.equal(r.reply, r.expect)
      })
      test('slow receiver at the client, small buffer (regression-9, regression-47, regression-58)', async () => {
        const r = await go(['tcp-get', to, by(7003), 1_500_000, 8192, 0.003])
        assert.deepEqual([r.octets, r.same], [1_500_000, true])
      })
      test('urgent data: the stream stays whole (regression-E, regression-F)', oursOnly, async () => {
        assert.deepEqual(await go(['tcp-oob', to, by(7010)]), { data: 'before-!-after' })
        const r = await go(['tcp-send-oob', to, by(7002)])
        assert.equal(r.reply, r.expect)
      })

      test('no busy loop, whatever a connection waits for (regression-5, regression-38, regression-47, regression-58, regression-86)', async () => {
        const waits = [
          ['idle', 7001],
          ['half', 7014], // half closed by the client, silence afterwards
          ['idle', 7011], // half closed by the server
          ['full', 7013], // a receiver that never reads
          ['full', 7004] // reset while the client does not read
        ] as const
        const holders = waits.map(([how, port]) =>
          clientProc(bed.w, way.from(), ['tcp-hold', to, by(port), how])
        )
        try {
          await Promise.all(holders.map((h) => h.sees(/holding/)))
          await way.guest().calm(0.3)
        } finally {
          await Promise.all(holders.map((h) => h.stop()))
        }
      })

      test('datagrams of all sizes, empty ones too (regression-6, regression-33)', async () => {
        const most = way.datagram(f)
        const r = await go(['udp-echo', to, by(7001), 0, 1, 2, 1372, 1452, 8192, 16356, 60000, most])
        assert.deepEqual(r, { failed: {} })
      })
      test('a datagram is answered from the address it was sent to, the source port is kept (regression-23, regression-65)', async () => {
        const sport = freshPort()
        const r = await go(['udp-report', to, by(7002), 1000, 0, sport])
        assert.deepEqual(
          [r.port, r.local, r.replier, r.len, r.sha === r.sent_sha],
          [sport, sport, to, 1000, true]
        )
      })
      test('a burst of datagrams on a new flow: none lost, none twice, in order (regression-66)', async () => {
        for (const connected of [0, 1]) {
          const r = await go(['udp-burst', to, by(7001), 100, connected])
          assert.deepEqual(r, { came: 100, different: 100, ordered: true })
        }
      })
      test('100 flows of datagrams at a time (regression-27, regression-28, regression-70)', async () => {
        assert.deepEqual(await go(['udp-many', to, by(7001), 100]), { ok: 100 })
      })
      test('datagrams to a port where nobody listens: no busy loop, and the others go on (regression-38, regression-64)', async () => {
        await go(['udp-shout', to, REFUSED, 20])
        await way.guest().calm(0.3)
        assert.deepEqual(await go(['udp-echo', to, by(7001), 10]), { failed: {} })
      })
    })
}
