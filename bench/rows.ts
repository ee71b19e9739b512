// What is measured: each row takes one sample of each of its metrics for one program.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { exeOf, rss, sleep, until } from '../test/lib/proc.js'
import { describe, net, ok, type World } from '../test/lib/world.js'

/** One of the two programs compared. */
export interface Contender {
  readonly name: 'ours' | 'upstream'
  /** Path inside the world. */
  readonly bin: string
  readonly options: ReadonlyArray<string>
}
export interface Metric {
  readonly name: string
  readonly unit: 'Gbit/s' | 'µs' | 'ms' | 'MB'
  readonly better: 'higher' | 'lower'
  /** Bound on ours/upstream, or on our own figure; the issue's «numbers to reach». */
  readonly goal?: { readonly of: 'ratio' | 'ours'; readonly bound: number }
}
export interface Row {
  readonly id: string
  readonly title: string
  readonly metrics: ReadonlyArray<Metric>
  /** Left out unless asked for by name or with --all. */
  readonly extra?: boolean
  /** One value for each metric. */
  readonly sample: (w: World, c: Contender, quick: boolean) => Promise<ReadonlyArray<number>>
}

let lastPort = 6000
const freshPort = (): number => ++lastPort

/**
 * Cubic also in the guest, whatever the machine prefers. The sysctl refuses what init's list of allowed algorithms
 * lacks; iperf3 -C may choose then, since its user has CAP_NET_ADMIN over its own network namespace.
 */
const cubic = 'echo cubic > /proc/sys/net/ipv4/tcp_congestion_control 2>/dev/null || true'

const inGuest = (w: World, c: Contender, options: ReadonlyArray<string>, script: string, timeout: number) =>
  w.run([c.bin, ...c.options, '--config-net', ...options, '--', 'sh', '-ec', `${cubic}; ${script}`], {
    timeout
  })

interface Iperf {
  readonly end: {
    readonly sum_received: { readonly bytes: number }
    readonly sum_sent: { readonly seconds: number }
  }
}

/** One iperf3 run with a server of its own; received octets over the sender's time, Gbit/s. */
const iperf = async (
  w: World,
  c: Contender,
  to: 'world' | 'host',
  pastaOptions: ReadonlyArray<string>,
  args: string,
  seconds: number
): Promise<number> => {
  const port = freshPort()
  const bind = to === 'world' ? net.world4 : '127.0.0.1'
  const server = w.start(['iperf3', '-s', '-1', '-p', `${port}`, '-B', bind, '--forceflush'], {
    in: to,
    uid: 0,
    timeout: 60_000
  })
  try {
    await server.sees(/listening/)
    // The gateway's address is mapped to the host's loopback.
    const target = to === 'world' ? net.world4 : net.gw4
    const command = `exec iperf3 -c ${target} -p ${port} -t ${seconds} -J --connect-timeout 5000 ${args}`
    const r = await inGuest(w, c, pastaOptions, command, seconds * 1000 + 30_000)
    ok(r)
    const { end } = JSON.parse(r.stdout) as Iperf
    assert.ok(end.sum_received !== undefined, describe(r))
    return (end.sum_received.bytes * 8) / end.sum_sent.seconds / 1e9
  } finally {
    await server.stop()
  }
}

const gigabits = (bound?: number): ReadonlyArray<Metric> => [
  {
    name: 'throughput',
    unit: 'Gbit/s',
    better: 'higher',
    ...(bound === undefined ? {} : { goal: { of: 'ratio', bound } })
  }
]

const tcp = (to: 'world' | 'host', mtu: number, streams: number, down: boolean, extra: boolean): Row => ({
  id: `tcp-${down ? 'in' : 'out'}${to === 'host' ? '-host' : ''}-${mtu}-${streams}`,
  title: `TCP ${down ? `${to} → namespace` : `namespace → ${to}`}, MTU ${mtu}, ${streams} stream${streams > 1 ? 's' : ''}`,
  metrics: gigabits(down || extra ? undefined : mtu === 1500 ? 5 : 1),
  extra,
  sample: async (w, c, quick) => [
    await iperf(w, c, to, ['-m', `${mtu}`], `-C cubic -P ${streams}${down ? ' -R' : ''}`, quick ? 1 : 4)
  ]
})

/** The link between host and world takes the datagram whole, so that it is not IP fragmentation that is measured. */
const udp = (size: number): Row => ({
  id: `udp-${size}`,
  title: `UDP namespace → world, ${size} octets, delivered`,
  metrics: gigabits(0.8),
  sample: async (w, c, quick) => {
    const mtu = async (n: number) => {
      await w.sh(`ip link set eth0 mtu ${n}`)
      await w.sh(`ip link set toworld mtu ${n}`, { in: 'world' })
    }
    await mtu(65520)
    try {
      return [await iperf(w, c, 'world', [], `-u -b 0 -l ${size}`, quick ? 1 : 4)]
    } finally {
      await mtu(1500)
    }
  }
})

/** Where the world's rr server listens. */
export const rrPort = 5999

const roundTrip = (
  mode: 'tcp-rr' | 'udp-rr' | 'tcp-crr',
  title: string,
  bound: number,
  count: number
): Row => ({
  id: mode,
  title,
  metrics: [
    { name: 'mean', unit: 'µs', better: 'lower', goal: { of: 'ratio', bound } },
    { name: 'p50', unit: 'µs', better: 'lower' },
    { name: 'p99', unit: 'µs', better: 'lower' }
  ],
  sample: async (w, c, quick) => {
    const n = quick ? Math.ceil(count / 10) : count
    const r = ok(await inGuest(w, c, [], `exec /mnt/w/rr ${mode} ${net.world4} ${rrPort} ${n}`, 60_000))
    const got = JSON.parse(r.stdout) as { mean: number; p50: number; p99: number; lost: number; n: number }
    assert.ok(got.lost <= n / 100 && got.n > 0, `${got.lost} of ${n} lost`)
    return [got.mean, got.p50, got.p99]
  }
})

const startup: Row = {
  id: 'startup',
  title: 'Start-up (pasta --config-net echo)',
  metrics: [
    { name: 'to first output', unit: 'ms', better: 'lower', goal: { of: 'ours', bound: 200 } },
    { name: 'to exit', unit: 'ms', better: 'lower' }
  ],
  sample: async (w, c, quick) => {
    const command = [c.bin, ...c.options, '--config-net', '--', '/bin/echo', 'ready']
    const r = ok(await w.run(['/mnt/w/rr', 'startup', quick ? '2' : '10', ...command], { timeout: 60_000 }))
    const got = JSON.parse(r.stdout) as { first: { p50: number }; whole: { p50: number } }
    return [got.first.p50 / 1000, got.whole.p50 / 1000]
  }
}

/** Commands that run in the guest or beside it: not part of the program measured. */
const notEngine = new Set([
  'sh',
  'dash',
  'bash',
  'sleep',
  'iperf3',
  'rr',
  'busybox',
  'nsenter',
  'setpriv',
  'ps'
])
const residentMb = (w: World, before: ReadonlySet<number>): number =>
  w
    .pidsInside()
    .filter((pid) => !before.has(pid) && !notEngine.has(exeOf(pid).split('/').at(-1)!))
    .reduce((sum, pid) => sum + rss(pid), 0) / 1024

const memory: Row = {
  id: 'memory',
  title: 'Resident memory, all processes of the program',
  metrics: [
    { name: 'idle', unit: 'MB', better: 'lower' },
    { name: 'after the run', unit: 'MB', better: 'lower', goal: { of: 'ours', bound: 100 } }
  ],
  sample: async (w, c, quick) => {
    // One server for each load, which it ends with: none is busy with the one before.
    const ports = [freshPort(), freshPort(), freshPort()]
    const servers = ports.map((port) =>
      w.start(['iperf3', '-s', '-1', '-p', `${port}`, '-B', net.world4, '--forceflush'], {
        in: 'world',
        timeout: 180_000
      })
    )
    const go = join(w.dir, `go-${ports[0]}`)
    try {
      for (const server of servers) await server.sees(/listening/)
      const before = new Set(w.pidsInside())
      const seconds = quick ? 1 : 4
      const iperf3 = (n: number) =>
        `iperf3 -c ${net.world4} -p ${ports[n]} -t ${seconds} --connect-timeout 5000`
      const load = [
        `${iperf3(0)} -C cubic -P 4`,
        `${iperf3(1)} -C cubic -P 4 -R`,
        `${iperf3(2)} -u -b 0 -l 1372`,
        `/mnt/w/rr tcp-crr ${net.world4} ${rrPort} ${quick ? 200 : 2000}`
      ].map((line) => `${line} > /dev/null`)
      const script = [
        'echo idle',
        `until [ -e /mnt/w/go-${ports[0]} ]; do sleep 0.05; done`,
        ...load,
        'echo done',
        'sleep 60'
      ]
      const argv = [c.bin, ...c.options, '--config-net', '--', 'sh', '-ec', script.join('\n')]
      const proc = w.start(argv, { timeout: 150_000 })
      await proc.sees(/idle/)
      await sleep(500)
      const idle = residentMb(w, before)
      writeFileSync(go, '')
      await proc.sees(/done/, 'stdout', 120_000)
      const after = residentMb(w, before)
      await proc.stop()
      await until('the end of the program', () => w.pidsInside().every((pid) => before.has(pid)))
      assert.ok(idle > 0 && after > 0, 'no process of the program found')
      return [idle, after]
    } finally {
      for (const server of servers) await server.stop()
    }
  }
}

const matrix = (to: 'world' | 'host', down: boolean, extra: boolean): Row[] =>
  [1500, 16384, 65520].flatMap((mtu) => [1, 4].map((streams) => tcp(to, mtu, streams, down, extra)))

export const rows: ReadonlyArray<Row> = [
  ...matrix('world', false, false),
  ...[1372, 16356].map(udp),
  roundTrip('tcp-rr', 'TCP round trip, 1 octet', 1.3, 10_000),
  roundTrip('udp-rr', 'UDP round trip, 1 octet', 1.3, 10_000),
  roundTrip('tcp-crr', 'TCP connect, request, close', 1.5, 1_000),
  startup,
  memory,
  ...matrix('host', false, true),
  ...matrix('world', true, true)
]
