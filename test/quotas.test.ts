// What a guest can take of the host has a limit: other programs of the host have their share, whatever the guest does.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { useBed } from './lib/bed.js'
import { ask, Guest } from './lib/guest.js'
import { manyDescriptors, until } from './lib/proc.js'
import { helper, isPeer, net, ok } from './lib/world.js'

manyDescriptors(20_000)
const oursOnly = { skip: isPeer && 'upstream has no limits' }
const [FIRST, LAST] = [20_000, 23_999]
/** Ports of the range that a guest may have by default. */
const SHARE = (LAST + 1 - FIRST) / 2
const bed = useBed({
  hostSetup: `echo "${FIRST} ${LAST}" > /proc/sys/net/ipv4/ip_local_port_range`
})
const waits = ['sh', '-c', 'echo ready; sleep 1000']
const quota = helper('quota.py')
const run = async (g: Guest, ...args: ReadonlyArray<string | number>): Promise<Record<string, unknown>> => {
  const r = ok(await g.start(['python3', quota, ...args.map(String)]).wait())
  return JSON.parse(r.stdout) as Record<string, unknown>
}
/** What a program of the host gets by bind(2) to port 0. */
const bound = async (): Promise<unknown> =>
  JSON.parse(ok(await bed.w.run(['python3', quota, 'bind', '300'])).stdout)
/** UDP sockets of the host by their local ports. */
const udpPorts = async (): Promise<number[]> =>
  (await bed.w.sh("ss -H -n -ua | awk '{print $4}'", { in: 'host' }))
    .split('\n')
    .map((line) => Number(line.slice(line.lastIndexOf(':') + 1)))
    .filter((p) => p >= FIRST && p <= LAST)
const said = (g: Guest, what: RegExp): number =>
  g.proc.stderr.split('\n').filter((line) => what.test(line)).length
/** Said, and again only where there was room in between: not at each of so many refusals, nor so often that some are left out. */
const saidSeldom = (g: Guest, what: RegExp, refusals = Infinity): void => {
  const times = said(g, what)
  assert.ok(times >= 1 && times < refusals, `${times} times at ${refusals} refusals: ${g.proc.stderr}`)
  assert.doesNotMatch(g.proc.stderr, /more like this suppressed/)
}

describe('ports of the host', oursOnly, () => {
  test('UDP flows from every port: the host has its half, it is said once, and idle flows give way', async () => {
    const g = await Guest.open(bed.w, ['-t', 'none'], { command: waits })
    try {
      assert.deepEqual(await run(g, 'udp', net.world4, 7004, FIRST, LAST), { sent: LAST + 1 - FIRST })
      assert.deepEqual(await bound(), { udp: 300, tcp: 300 })
      assert.ok((await udpPorts()).length <= SHARE, `${(await udpPorts()).length} ports`)
      assert.equal(said(g, /--limit-ports/), 1, g.proc.stderr)
      // once the first ones have been silent for a while, there is room for more, and the oldest have gone
      const before = await udpPorts()
      await until('an exchange by a new flow', async () => {
        const r = await ask(bed.w, g, ['udp-echo', net.world4, 7001, 10])
        return Object.keys(r.failed as object).length === 0
      })
      const after = new Set(await udpPorts())
      const gone = before.filter((p) => !after.has(p))
      assert.ok(gone.length > 0 && Math.max(...gone) < FIRST + SHARE / 2, `gave way: ${gone}`)
      assert.deepEqual(await bound(), { udp: 300, tcp: 300 })
    } finally {
      await g.stop()
    }
  })
  for (const [what, local, to] of [
    ['a port that the host does not give', 53, net.world4],
    ['any port, to groups', 5353, 'group']
  ] as const)
    test(`many UDP flows from one port of the guest, ${what}: each has its own on the host, and counts`, async () => {
      const g = await Guest.open(bed.w, ['-t', 'none'], { command: waits })
      try {
        await run(g, 'spread', local, 1, to)
        // as many as it may have, where the kernel would not choose any of them
        await run(g, 'udp', net.world4, 7004, LAST + 1 - SHARE, LAST)
        await run(g, 'spread', local, SHARE, to)
        assert.deepEqual(await bound(), { udp: 300, tcp: 300 })
        assert.ok((await udpPorts()).length <= SHARE, `${(await udpPorts()).length} ports`)
      } finally {
        await g.stop()
      }
    })
  test('TCP connections, open or ended just now: as many as go, the host has its half', async () => {
    const many = helper('many.py')
    const server = bed.w.start(['python3', many, 'serve', '9000', net.world4], {
      in: 'world'
    })
    await server.sees(/ready/)
    const g = await Guest.open(bed.w, ['-t', 'none'], { command: waits })
    try {
      await g.sh('echo "10000 60000" > /proc/sys/net/ipv4/ip_local_port_range')
      const hold = g.start(['python3', many, 'hold', net.world4, '9000', `${LAST + 1 - FIRST}`], {
        input: 'x\n'
      })
      const [line] = await hold.sees(/^\{.*\}$/m, 'stdout', 60_000)
      assert.equal((JSON.parse(line) as { open: number }).open, SHARE, line)
      assert.deepEqual(await bound(), { udp: 300, tcp: 300 })
      await hold.wait()
      await until('the connections in TIME-WAIT', async () => {
        const n = await bed.w.sh(`ss -H -n -t state time-wait dport = 9000 | wc -l`, { in: 'host' })
        return Number(n) > SHARE / 2
      })
      assert.deepEqual(await bound(), { udp: 300, tcp: 300 })
      assert.equal(said(g, /--limit-ports/), 1, g.proc.stderr)
    } finally {
      await g.stop()
      await server.stop()
    }
  })
  test('past the tap, by -T and -U', async () => {
    const g = await Guest.open(bed.w, ['-t', 'none', '-T', '7004', '-U', '7004'], { command: waits })
    try {
      await run(g, 'udp', '127.0.0.1', 7004, FIRST, LAST)
      await run(g, 'udp', '127.0.0.1', 7004, FIRST - 2_000, FIRST - 1)
      assert.deepEqual(await bound(), { udp: 300, tcp: 300 })
      assert.ok((await udpPorts()).length <= SHARE)
    } finally {
      await g.stop()
    }
  })
  test('as many as --limit-ports says', async () => {
    const g = await Guest.open(bed.w, ['-t', 'none', '--limit-ports', '100'], { command: waits })
    try {
      await run(g, 'udp', net.world4, 7004, FIRST, FIRST + 299)
      await until('flows', async () => (await udpPorts()).length === 100)
      assert.equal(said(g, /100 .*--limit-ports/), 1, g.proc.stderr)
    } finally {
      await g.stop()
    }
  })
})

describe('connections that nobody has accepted yet', oursOnly, () => {
  /** Where packets vanish. */
  const nowhere = '203.0.113.77'
  const LIMIT = 50
  const count = async (state: string, filter: string): Promise<number> =>
    (await bed.w.sh(`ss -H -n -t state ${state} '${filter}'`, { in: 'host' })).split('\n').length - 1

  test("the guest's: as many as --limit-half-open says; the oldest give way, so that others are served", async () => {
    await bed.w.sh(`ip route add blackhole ${nowhere}`, { in: 'world' })
    const g = await Guest.open(bed.w, ['-t', 'none', '--limit-half-open', `${LIMIT}`], { command: waits })
    const flood = g.start(['python3', quota, 'syn', nowhere, '80', '90'])
    try {
      await until('SYN-SENT', async () => (await count('syn-sent', `dst ${nowhere}`)) === LIMIT)
      assert.deepEqual((await ask(bed.w, g, ['tcp-read', net.world4, 7006], 60_000)).data, 'ok\n')
      assert.ok((await count('syn-sent', `dst ${nowhere}`)) <= LIMIT)
      assert.equal(said(g, /--limit-half-open/), 1, g.proc.stderr)
    } finally {
      await flood.stop()
      await g.stop()
      await bed.w.sh(`ip route del blackhole ${nowhere}`, { in: 'world' })
    }
  })
  test("the world's with a guest that does not answer: the rest is refused", async () => {
    const options = ['-t', '8005', '--limit-half-open', `${LIMIT}`]
    const g = await Guest.open(bed.w, options, { command: waits })
    // its answers vanish
    await g.sh(`ip route add blackhole ${net.gw4}`)
    const flood = bed.w.start(['python3', quota, 'syn', net.host4, '8005', '300'], {
      in: 'world'
    })
    try {
      await flood.sees(/failed/)
      await until('the message', () => said(g, /--limit-half-open/) === 1)
      await until('as many as may be', async () => (await count('connected', 'sport = 8005')) === LIMIT)
      assert.equal(said(g, /--limit-half-open/), 1, g.proc.stderr)
    } finally {
      await flood.stop()
      await g.stop()
    }
  })
})

describe('everything else', oursOnly, () => {
  const pings = async (): Promise<number> =>
    (await bed.w.sh('cat /proc/net/icmp', { in: 'host' })).trim().split('\n').length - 1
  test('ping sockets', async () => {
    const g = await Guest.open(bed.w, ['-t', 'none', '--limit-ports', '50'], { command: waits })
    try {
      await run(g, 'echoes', net.world4, 300)
      await until('ping sockets', async () => (await pings()) === 50)
      assert.equal(said(g, /--limit-ports/), 1, g.proc.stderr)
      const r = ok(await bed.w.run(['python3', quota, 'ping', '300', net.world4]))
      assert.deepEqual(JSON.parse(r.stdout), { ping: 300, answered: true })
    } finally {
      await g.stop()
    }
  })
  for (const [option, what] of [
    ['--limit-files', 'descriptors'],
    ['--limit-flows', 'flows']
  ] as const)
    test(`${what}: as many as ${option} says`, async () => {
      const g = await Guest.open(bed.w, ['-t', 'none', option, '40'], { command: waits })
      try {
        const idle = g.descriptors()
        await run(g, 'udp', net.world4, 7004, FIRST, FIRST + 299)
        await until('flows', async () => (await udpPorts()).length === 40)
        assert.ok(g.descriptors() <= idle + 40)
        assert.equal(said(g, new RegExp(`40 ${what}.*${option}`)), 1, g.proc.stderr)
      } finally {
        await g.stop()
      }
    })
  /** Receive and send queues of the host's sockets, as ss(8) shows them: skmem:(r0,rb...,t0,tb...,f0,w0,...). */
  const memory = async (): Promise<number> =>
    [
      ...(await bed.w.sh('ss -H -n -t -m dport = 7003', { in: 'host' })).matchAll(
        /\(r(\d+),.*?,f(\d+),w(\d+),/g
      )
    ]
      // What is reserved ahead is an int, which ss shows as if it were none
      .map(([, r, f, w]) => Number(r) + (Number(f) | 0) + Number(w))
      .reduce((a, b) => a + b, 0)
  test('memory of sockets that nobody reads: no more than --limit-memory says, but for what a few more hold', async () => {
    const g = await Guest.open(bed.w, ['-t', 'none', '--limit-memory', '1'], { command: waits })
    const held: number[] = []
    try {
      const fill = run(g, 'fill', net.world4, 7003, 40)
      let done = false
      void fill.finally(() => {
        done = true
      })
      while (!done) held.push(await memory())
      const r = await fill
      assert.ok(
        (r.open as number) > 2 && (r.refused as number) > 5,
        `${JSON.stringify(r)} ${Math.max(...held)}`
      )
      assert.ok(Math.max(...held) < 3 << 20, `${Math.max(...held)} octets`)
      saidSeldom(g, /--limit-memory/, r.refused as number)
      await until('room again', async () => {
        const again = await ask(bed.w, g, ['tcp-read', net.world4, 7006])
        return again.data === 'ok\n'
      })
    } finally {
      await g.stop()
    }
  })
  test('connections that grow and are then not read: those that hold the most are reset, one that is read goes on', async () => {
    const g = await Guest.open(bed.w, ['-t', 'none', '--limit-memory', '1'], { command: waits })
    const held: number[] = []
    try {
      let done = false
      // Each holds 64 kB and more, so together more than the limit, however little they grow
      const grow = run(g, 'grow', net.world4, 7003, 16, 8_000_000).finally(() => {
        done = true
      })
      while (!done) {
        held.push(await memory())
        await sleep(100)
      }
      const r = await grow
      assert.ok(Math.max(...held) > 1 << 20, `${Math.max(...held)} octets`)
      assert.ok((r.reset as number) > 0 && (r.busy as number) > 200_000, JSON.stringify(r))
      assert.ok(
        held.slice(-8).some((n) => n < 1 << 20),
        `${held.slice(-8)} octets in the end`
      )
      saidSeldom(g, /--limit-memory/)
    } finally {
      await g.stop()
    }
  })
  test("datagrams from many ports outside, which the guest does not answer: the guest's own flows have room at once", async () => {
    const g = await Guest.open(bed.w, ['-t', 'none', '-u', '8005:7004', '--limit-flows', '40'])
    const flood = bed.w.start(['python3', quota, 'udp', net.host4, '8005', '30000', '59999'], {
      in: 'world'
    })
    try {
      await until('the flood', () => g.proc.stdout.split('"udp": 7004').length > 100)
      for (const to of [net.world4, net.world6]) {
        const r = await ask(bed.w, g, ['udp-echo', to, 7001, 10])
        assert.deepEqual(r.failed, {}, JSON.stringify(r))
        assert.equal((await ask(bed.w, g, ['tcp-read', to, 7006])).data, 'ok\n')
      }
      assert.doesNotMatch(flood.stdout, /sent/, 'the flood has ended too soon')
    } finally {
      await flood.stop()
      await g.stop()
    }
  })
  test('a flow that is refused: ICMP for a datagram, a reset for a connection', async () => {
    const g = await Guest.open(bed.w, ['-t', 'none', '--limit-flows', '1'], { command: waits })
    try {
      for (const to of [net.world4, net.world6]) {
        await until('the one flow that there may be', async () => {
          const r = await ask(bed.w, g, ['udp-echo', to, 7001, 10])
          return Object.keys(r.failed as object).length === 0
        })
        const r = await ask(bed.w, g, ['udp-error', to, 7001])
        assert.match(`${r.error}`, /EHOSTUNREACH|EACCES/, JSON.stringify(r))
        assert.match(JSON.stringify(await ask(bed.w, g, ['tcp-refused', to, 7006])), /ECONNREFUSED/)
      }
    } finally {
      await g.stop()
    }
  })
})
