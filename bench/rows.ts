// What is measured: each row takes one sample of each of its metrics for one program.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { bridged, type Link, stream, vhostUser } from '../test/lib/passt.js'
import { exeOf, onProcessor, rss, sleep, until } from '../test/lib/proc.js'
import { net, ok, quietBeside, type Where, type World } from '../test/lib/world.js'

/** One of the two programs compared. */
export interface Contender {
  readonly name: 'ours' | 'upstream'
  /** Path inside the world. */
  readonly bin: string
}
export interface Metric {
  readonly name: string
  readonly unit: 'Gbit/s' | 'µs' | 'ms' | 'MB' | 's/GB'
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

/** The command line that runs `script` in the program's namespace, with no ports forwarded but those of `options`. */
const pastaArgs = (c: Contender, options: ReadonlyArray<string>, script: string): string[] => [
  ...[c.bin, ...quietBeside(options), '--config-net', ...options],
  ...['--', 'sh', '-ec', `${cubic}; ${script}`]
]

/** The same with the passt beside that pasta: the same front-end for both programs. */
const passtArgs = (c: Contender, link: Link, options: ReadonlyArray<string>, script: string): string[] =>
  bridged(
    join(dirname(c.bin), 'passt'),
    ['-q', '--config-net', ...options],
    ['sh', '-ec', `${cubic}; ${script}`],
    net,
    link
  )

/** A way through the program: who opens connections, to which address, and where the server listens. */
interface Way {
  readonly id: string
  readonly title: string
  readonly client: Where | 'guest'
  readonly to: string
  readonly server: Where | 'guest'
  readonly at: string
  /** Through passt, not pasta's tap. */
  readonly passt?: Link
  /** Port options, for a server on `port`. */
  readonly ports: (port: number) => ReadonlyArray<string>
}
const ways = {
  /** The gateway's address is mapped to the host's loopback. */
  host: {
    id: '-host',
    title: 'namespace → host',
    client: 'guest',
    to: net.gw4,
    server: 'host',
    at: '127.0.0.1',
    ports: () => []
  },
  world: {
    id: '',
    title: 'namespace → world',
    client: 'guest',
    to: net.world4,
    server: 'world',
    at: net.world4,
    ports: () => []
  },
  tapIn: {
    id: 'tap-in',
    title: 'world → namespace (-t -u)',
    client: 'world',
    to: net.host4,
    server: 'guest',
    at: net.host4,
    ports: (p) => ['-t', `${p}`, '-u', `${p}`]
  },
  bypassIn: {
    id: 'bypass-in',
    title: 'host loopback → namespace (-t -u)',
    client: 'host',
    to: '127.0.0.1',
    server: 'guest',
    at: net.host4,
    ports: (p) => ['-t', `${p}`, '-u', `${p}`]
  },
  bypassOut: {
    id: 'bypass-out',
    title: 'namespace loopback → host (-T -U)',
    client: 'guest',
    to: '127.0.0.1',
    server: 'host',
    at: '127.0.0.1',
    ports: (p) => ['-T', `${p}`, '-U', `${p}`]
  },
  passtOut: {
    id: 'passt-out',
    title: 'passt: guest → world',
    client: 'guest',
    to: net.world4,
    server: 'world',
    at: net.world4,
    passt: stream,
    ports: () => []
  },
  passtIn: {
    id: 'passt-in',
    title: 'passt: world → guest (-t -u)',
    client: 'world',
    to: net.host4,
    server: 'guest',
    at: net.host4,
    passt: stream,
    ports: (p) => ['-t', `${p}`, '-u', `${p}`]
  }
} satisfies Record<string, Way>

/** The same ways over virtqueues, with all features that are offered, or with what upstream offers on both sides. */
const overRings = (way: Way, features: 'all' | 'upstream'): Way => ({
  ...way,
  id: way.id.replace('passt', features === 'all' ? 'vhost' : 'vhost-plain'),
  title: way.title.replace('passt', features === 'all' ? 'vhost-user' : "vhost-user, upstream's features"),
  passt: vhostUser('--features', features)
})
const rings = {
  out: overRings(ways.passtOut, 'all'),
  in: overRings(ways.passtIn, 'all'),
  plainOut: overRings(ways.passtOut, 'upstream'),
  plainIn: overRings(ways.passtIn, 'upstream')
}

interface Exchange {
  readonly port: number
  readonly server: string
  readonly ready: RegExp
  readonly client: string
  readonly timeout: number
}
/** A server and then a client, one of them under a fresh process of the program; the client's output. */
const exchange = async (
  w: World,
  c: Contender,
  way: Way,
  options: ReadonlyArray<string>,
  run: Exchange
): Promise<string> => (await metered(w, c, way, options, run)).out

/** The same, and seconds of processor time that the program used while the client ran. */
const metered = async (
  w: World,
  c: Contender,
  way: Way,
  options: ReadonlyArray<string>,
  run: Exchange
): Promise<{ readonly out: string; readonly seconds: number }> => {
  const all = [...options, ...way.ports(run.port)]
  const argv = (where: Way['client'], script: string) =>
    where !== 'guest'
      ? ['sh', '-ec', script]
      : way.passt === undefined
        ? pastaArgs(c, all, script)
        : passtArgs(c, way.passt, all, script)
  const place = (where: Way['client']) =>
    where === 'guest' ? {} : { in: where, ...(where === 'host' ? { uid: 0 } : {}) }
  const before = new Set(w.pidsInside())
  const server = w.start(argv(way.server, `${run.server}; sleep 2`), {
    ...place(way.server),
    timeout: run.timeout + 10_000
  })
  try {
    await server.sees(run.ready)
    // Where the guest ends the program ends with it: it is looked at before that.
    const client = w.start(argv(way.client, `echo begin >&2; ${run.client}; echo end >&2; sleep 0.3`), {
      ...place(way.client),
      timeout: run.timeout
    })
    await client.sees(/^begin$/m, 'stderr')
    const program = engines(w, before)
    const from = onProcessor(program)
    await client.sees(/^end$/m, 'stderr', run.timeout)
    const seconds = onProcessor(program) - from
    return { out: ok(await client.wait()).stdout, seconds }
  } finally {
    await server.stop()
  }
}

interface Iperf {
  readonly end: {
    readonly sum_received: { readonly bytes: number }
    readonly sum_sent: { readonly seconds: number }
  }
}

/** iperf3's default. The first one or two of them are a fresh process's, with nothing compiled. */
const SECONDS = 10

/** One iperf3 run with a server of its own; received octets over the sender's time, Gbit/s. */
const iperf = async (...args: Parameters<typeof meteredIperf>): Promise<number> =>
  (await meteredIperf(...args))[0]

/** The same, and seconds of processor time for a GB of them. */
const meteredIperf = async (
  w: World,
  c: Contender,
  way: Way,
  options: ReadonlyArray<string>,
  args: string,
  seconds: number
): Promise<[number, number]> => {
  const port = freshPort()
  const { out, seconds: busy } = await metered(w, c, way, options, {
    port,
    server: `iperf3 -s -1 -p ${port} -B ${way.at} --forceflush`,
    ready: /listening/,
    client: `iperf3 -c ${way.to} -p ${port} -t ${seconds} -J --connect-timeout 5000 ${args}`,
    timeout: seconds * 1000 + 30_000
  })
  const { end } = JSON.parse(out) as Iperf
  assert.ok(end.sum_received !== undefined, out)
  const octets = end.sum_received.bytes
  return [(octets * 8) / end.sum_sent.seconds / 1e9, busy / (octets / 1e9)]
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
  title: `TCP ${down ? `${to} → namespace, opened there` : `namespace → ${to}`}, MTU ${mtu}, ${streams} stream${streams > 1 ? 's' : ''}`,
  metrics: gigabits(down || extra ? undefined : mtu === 1500 ? 5 : 1),
  extra,
  sample: async (w, c, quick) => [
    await iperf(
      w,
      c,
      ways[to],
      ['-m', `${mtu}`],
      `-C cubic -P ${streams}${down ? ' -R' : ''}`,
      quick ? 1 : SECONDS
    )
  ]
})

/** The link between host and world takes the datagram whole, so that it is not IP fragmentation that is measured. */
const udpIperf = async (
  w: World,
  c: Contender,
  way: Way,
  size: number,
  quick: boolean
): Promise<[number, number]> => {
  const mtu = async (n: number) => {
    await w.sh(`ip link set eth0 mtu ${n}`)
    await w.sh(`ip link set toworld mtu ${n}`, { in: 'world' })
  }
  await mtu(65520)
  try {
    return await meteredIperf(w, c, way, [], `-u -b 0 -l ${size}`, quick ? 1 : SECONDS)
  } finally {
    await mtu(1500)
  }
}
const udp = (size: number): Row => ({
  id: `udp-${size}`,
  title: `UDP namespace → world, ${size} octets, delivered`,
  metrics: gigabits(0.8),
  sample: async (w, c, quick) => [(await udpIperf(w, c, ways.world, size, quick))[0]]
})

/** Where the world's rr server listens, for the memory row. */
export const rrPort = 5999

const forwardedTcp = (way: Way, mtu: number | null, streams: number, bound: number): Row => ({
  id: [way.id, ...(mtu === null ? [] : [mtu]), streams].join('-'),
  title: `TCP ${way.title}${mtu === null ? '' : `, MTU ${mtu}`}, ${streams} stream${streams > 1 ? 's' : ''}`,
  metrics: gigabits(bound),
  sample: async (w, c, quick) => [
    await iperf(
      w,
      c,
      way,
      mtu === null ? [] : ['-m', `${mtu}`],
      `-C cubic -P ${streams}`,
      quick ? 1 : SECONDS
    )
  ]
})
const forwardedUdp = (way: Way, size: number): Row => ({
  id: `${way.id}-udp-${size}`,
  title: `UDP ${way.title}, ${size} octets, delivered`,
  metrics: gigabits(1),
  sample: async (w, c, quick) => [(await udpIperf(w, c, way, size, quick))[0]]
})

const perGb = (bound?: number): Metric => ({
  name: 'processor',
  unit: 's/GB',
  better: 'lower',
  ...(bound === undefined ? {} : { goal: { of: 'ratio', bound } })
})
const ringTcp = (way: Way, mtu: number, bound: number, time?: number): Row => ({
  id: `${way.id}-${mtu}`,
  title: `TCP ${way.title}, MTU ${mtu}`,
  metrics: [...gigabits(bound), perGb(time)],
  sample: (w, c, quick) => meteredIperf(w, c, way, ['-m', `${mtu}`], '-C cubic', quick ? 1 : SECONDS)
})
const ringUdp = (way: Way, size: number): Row => ({
  id: `${way.id}-udp-${size}`,
  title: `UDP ${way.title}, ${size} octets, delivered`,
  metrics: [...gigabits(1), perGb()],
  sample: (w, c, quick) => udpIperf(w, c, way, size, quick)
})

type Mode = 'tcp-rr' | 'udp-rr' | 'tcp-crr'
const modeTitle: Record<Mode, string> = {
  'tcp-rr': 'TCP round trip, 1 octet',
  'udp-rr': 'UDP round trip, 1 octet',
  'tcp-crr': 'TCP connect, request, close'
}
/**
 * Steady: after a second in which nothing happens and 1,000 exchanges that are not counted, for both programs, so that
 * code that is compiled as it runs is. Cold: the first 500 exchanges of a fresh process. Over rings also processor time of
 * the program for each of all these exchanges.
 */
const latency = (mode: Mode, way: Way, cold: boolean, bound: number, rings = false): Row => ({
  id: [...(way.id === '' ? [] : [way.id]), mode, ...(cold ? ['cold'] : [])].join('-'),
  title: `${modeTitle[mode]}, ${way.title}${cold ? ', first 500' : ''}`,
  metrics: [
    {
      name: 'mean',
      unit: 'µs',
      better: 'lower',
      ...(cold ? {} : { goal: { of: 'ratio', bound } as const })
    },
    { name: 'p50', unit: 'µs', better: 'lower' },
    { name: 'p99', unit: 'µs', better: 'lower' },
    ...(rings ? [{ name: 'processor', unit: 'µs', better: 'lower' } as const] : [])
  ],
  sample: async (w, c, quick) => {
    const count = cold ? 500 : (mode === 'tcp-crr' ? 1_000 : 10_000) / (quick ? 10 : 1)
    const port = freshPort()
    const { out, seconds } = await metered(w, c, way, [], {
      port,
      server: `/mnt/w/rr server ${way.at} ${port}`,
      ready: /ready/,
      client: `/mnt/w/rr ${mode} ${way.to} ${port} ${count} ${cold ? '0 0' : '1000 1000'}`,
      timeout: 60_000
    })
    const got = JSON.parse(out) as { mean: number; p50: number; p99: number; lost: number; n: number }
    assert.ok(got.lost <= count / 100 && got.n > 0, `${got.lost} of ${count} lost`)
    const each = (seconds * 1e6) / (count + 1000)
    return [got.mean, got.p50, got.p99, ...(rings ? [each] : [])]
  }
})
const modes = ['tcp-rr', 'udp-rr', 'tcp-crr'] as const
const latencies = (cold: boolean): Row[] => [
  ...modes.map((mode) => latency(mode, ways.world, cold, mode === 'tcp-crr' ? 1.5 : 1.3)),
  ...[ways.tapIn, ways.bypassIn, ways.bypassOut].flatMap((way) =>
    modes.map((mode) => latency(mode, way, cold, mode === 'tcp-crr' ? 1.3 : 1.2))
  )
]

/** Milliseconds of one probe of bench/crowd.cc. */
interface Waits {
  readonly p99: number
}
/**
 * 128 connections that download (or upload) as fast as they can, and what little there is beside them. The answers to pings
 * tell nothing where both ends are loopback addresses.
 */
const crowd = (way: Way, down: boolean): Row => {
  const probes = (['ping', 'echo', 'connect'] as const).filter(
    (name) => name !== 'ping' || way.to !== '127.0.0.1'
  )
  return {
    id: [...(way.id === '' ? [] : [way.id]), 'crowd', down ? 'down' : 'up'].join('-'),
    title: `128 TCP ${down ? 'downloads' : 'uploads'} at once, ${way.title}`,
    metrics: [
      ...probes.map(
        (name): Metric => ({
          name: `${name} p99`,
          unit: 'ms',
          better: 'lower',
          goal: { of: 'ratio', bound: 1 }
        })
      ),
      { name: 'throughput', unit: 'Gbit/s', better: 'higher' }
    ],
    sample: async (w, c, quick) => {
      const [port, echo] = [freshPort(), freshPort()]
      const seconds = quick ? 2 : SECONDS
      const out = await exchange(w, c, way, way.ports(echo), {
        port,
        server: `sh -c '/mnt/w/rr server ${way.at} ${echo} & /mnt/w/crowd server ${way.at} ${port}'`,
        ready: /ready\s+ready/,
        client: `/mnt/w/crowd ${down ? 'down' : 'up'} ${way.to} ${port} 128 ${seconds} ${echo}`,
        timeout: 60_000
      })
      const got = JSON.parse(out.slice(out.indexOf('{'))) as Record<(typeof probes)[number], Waits> & {
        octets: number
        seconds: number
      }
      return [...probes.map((name) => got[name].p99 / 1000), (got.octets * 8) / got.seconds / 1e9]
    }
  }
}

const startup: Row = {
  id: 'startup',
  title: 'Start-up (pasta --config-net echo)',
  metrics: [
    { name: 'to first output', unit: 'ms', better: 'lower', goal: { of: 'ours', bound: 200 } },
    { name: 'to exit', unit: 'ms', better: 'lower' }
  ],
  sample: async (w, c, quick) => {
    const command = [c.bin, ...quietBeside([]), '--config-net', '--', '/bin/echo', 'ready']
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
  'unshare',
  'tapbridge',
  'vhost-frontend',
  'ps'
])
const engines = (w: World, before: ReadonlySet<number>): number[] =>
  w.pidsInside().filter((pid) => !before.has(pid) && !notEngine.has(exeOf(pid).split('/').at(-1)!))
const residentMb = (w: World, before: ReadonlySet<number>): number =>
  engines(w, before).reduce((sum, pid) => sum + rss(pid), 0) / 1024

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
        `/mnt/w/rr tcp-crr ${net.world4} ${rrPort} ${quick ? 200 : 2000} 0 0`
      ].map((line) => `${line} > /dev/null`)
      const script = [
        'echo idle',
        `until [ -e /mnt/w/go-${ports[0]} ]; do sleep 0.05; done`,
        ...load,
        'echo done',
        'sleep 60'
      ]
      const argv = [c.bin, ...quietBeside([]), '--config-net', '--', 'sh', '-ec', script.join('\n')]
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
  ...[1500, 65520].flatMap((mtu) =>
    [1, 4].map((streams) => forwardedTcp(ways.tapIn, mtu, streams, mtu === 1500 ? 3 : 1))
  ),
  ...[ways.bypassIn, ways.bypassOut].flatMap((way) => [
    ...[1, 4].map((streams) => forwardedTcp(way, null, streams, 1)),
    ...[1372, 16356].map((size) => forwardedUdp(way, size))
  ]),
  ...[ways.passtOut, ways.passtIn].flatMap((way) => [
    ...[1500, 65520].map((mtu) => forwardedTcp(way, mtu, 1, 1)),
    ...[1372, 16356].map((size) => forwardedUdp(way, size))
  ]),
  ...modes.map((mode) => latency(mode, ways.passtOut, false, 1.3)),
  ...[rings.out, rings.in].flatMap((way) => [
    ringTcp(way, 1500, 3, 0.5),
    ringTcp(way, 65520, 1.2),
    ...[1372, 16356].map((size) => ringUdp(way, size)),
    ...modes.map((mode) => latency(mode, way, false, 1, true))
  ]),
  ...[rings.plainOut, rings.plainIn].flatMap((way) => [
    ...[1500, 65520].map((mtu) => ringTcp(way, mtu, 1)),
    ...modes.map((mode) => latency(mode, way, false, 1, true))
  ]),
  ...latencies(false),
  ...latencies(true),
  ...[true, false].flatMap((down) =>
    [ways.world, ways.passtOut, ways.bypassIn].map((way) => crowd(way, down))
  ),
  startup,
  memory,
  ...matrix('host', false, true),
  ...matrix('world', true, true)
]
