// npm run soak -- --minutes 30: mixed load for a long time, during which memory, descriptors and flows stay flat.
//
// Each minute the program is looked at from outside: resident memory, open descriptors, sockets (as many as there are flows,
// and some). The first minutes do not count: code warms up, and UDP flows that have ended for everybody else wait for their
// timers. Status 1 when the mean of the last third of the samples lies above that of the first by more than the margins.
import { readdirSync, readlinkSync } from 'node:fs'
import { Guest } from './lib/guest.js'
import { busyTicks, exeOf, type Proc, rss, sleep } from './lib/proc.js'
import { helper, net, type World, withWorld } from './lib/world.js'

/** KiB of resident memory by which the last third may lie above the first. */
const MARGIN_RESIDENT = 8_192
/** The same for descriptors, sockets and flows, as a share: their number goes with the rounds a minute, and so with the machine. */
const MARGIN_SHARE = 0.4
/** Descriptors of UDP flows live for 180 s, ping for 60 s: they reach their number within this many minutes. */
const WARM_UP_MINUTES = 4

interface Sample {
  readonly minute: number
  /** KiB */
  readonly resident: number
  readonly descriptors: number
  readonly sockets: number
  /** As the program itself counts them (--stats). */
  readonly flows: number
  /** Share of a processor since the last sample. */
  readonly load: number
  readonly done: number
  readonly failed: number
}

/** Shell loops in the namespace and on the host; each line of output is one round: `ok` or what went wrong. */
const LOADS: ReadonlyArray<{
  readonly name: string
  readonly in: 'guest' | 'host' | 'world'
  readonly script: string
}> = [
  { name: 'tcp through the tap', in: 'guest', script: `tcp-get ${net.world4} 7003 3000000` },
  { name: 'tcp6 through the tap', in: 'guest', script: `tcp-send ${net.world6} 7002 1000000` },
  { name: 'udp', in: 'guest', script: `udp-echo ${net.world4} 7001 0 100 1400` },
  { name: 'udp6, short as DNS', in: 'guest', script: `udp-echo ${net.world6} 7001 40` },
  { name: 'ping', in: 'guest', script: `icmp-echo ${net.world4} 7 7 56` },
  { name: 'ping6', in: 'guest', script: `icmp-echo ${net.world6} 7 7 56` },
  { name: 'refused', in: 'guest', script: `tcp-read ${net.world4} 9` },
  { name: 'unreachable port, UDP', in: 'guest', script: `udp-echo ${net.world4} 9 10` },
  { name: 'bypass', in: 'host', script: 'tcp-get 127.0.0.1 8003 3000000' },
  { name: 'bypass, UDP', in: 'host', script: 'udp-echo 127.0.0.1 8001 100' },
  { name: 'inbound', in: 'world', script: `tcp-get ${net.host4} 8003 1000000` },
  { name: 'out of the namespace', in: 'guest', script: 'tcp-read 127.0.0.1 7106' }
]

const minutesOf = (argv: ReadonlyArray<string>): number => {
  const at = argv.indexOf('--minutes')
  const n = at < 0 ? 30 : Number(argv[at + 1])
  if (!(n > 0)) {
    console.error('usage: npm run soak -- [--minutes N]')
    process.exit(1)
  }
  return n
}

/** One load, round after round until `stop`; a round that takes longer than it may is killed and counted as failed. */
const roundAfterRound = (w: World, g: Guest, load: (typeof LOADS)[number]) => {
  const counts = { done: 0, failed: 0 }
  const client = `python3 ${helper('client.py')} ${load.script}`
  const loop = `while :; do timeout 30 ${client} > /dev/null 2>&1 && echo ok || echo no; sleep 0.2; done`
  const argv = ['sh', '-c', loop]
  const timeout = 24 * 3_600_000
  const proc: Proc =
    load.in === 'guest' ? g.start(argv, { timeout }) : w.start(argv, { in: load.in, timeout })
  let seen = 0
  const read = () => {
    for (const line of proc.stdout.slice(seen).split('\n').slice(0, -1)) {
      counts[line === 'ok' ? 'done' : 'failed']++
      seen += line.length + 1
    }
    return counts
  }
  return { name: load.name, read, stop: () => proc.stop() }
}

/** Sockets among the descriptors of a process. */
const socketsOf = (pid: number): number => {
  const dir = `/proc/${pid}/fd`
  const isSocket = (fd: string): boolean => {
    try {
      return readlinkSync(`${dir}/${fd}`).startsWith('socket:')
    } catch {
      return false
    }
  }
  return readdirSync(dir).filter(isSocket).length
}

/** Last column of the last row of the table that --stats prints. */
const flowsIn = (table: string): number =>
  Number(
    table
      .match(/^(?: *\d+[kM]?)+$/gm)
      ?.at(-1)
      ?.trim()
      .split(/ +/)
      .at(-1) ?? 0
  )

const mean = (list: ReadonlyArray<number>): number => list.reduce((a, b) => a + b, 0) / list.length

/** What grew, in words. */
const verdict = (samples: ReadonlyArray<Sample>): ReadonlyArray<string> => {
  const warm = samples.filter((s) => s.minute > Math.min(WARM_UP_MINUTES, samples.length / 3))
  const third = Math.max(1, Math.floor(warm.length / 3))
  return (['resident', 'descriptors', 'sockets', 'flows'] as const).flatMap((what) => {
    const first = mean(warm.slice(0, third).map((s) => s[what]))
    const last = mean(warm.slice(-third).map((s) => s[what]))
    const most = first + (what === 'resident' ? MARGIN_RESIDENT : MARGIN_SHARE * first)
    return last > most
      ? [`${what} grew from ${first.toFixed(0)} to ${last.toFixed(0)}, more than ${most.toFixed(0)}`]
      : []
  })
}

const soak = async (w: World, minutes: number): Promise<ReadonlyArray<string>> => {
  const serve = (where: 'host' | 'world', addresses: string[]): Proc =>
    w.start(['python3', helper('peer.py'), ...addresses], { in: where, uid: 0, timeout: 24 * 3_600_000 })
  const servers = [serve('world', [net.world4, net.world6]), serve('host', ['127.0.0.1'])]
  await Promise.all(servers.map((p) => p.sees(/ready/)))
  const ports = ['-f', '--stats', '20', '-t', '8003:7003', '-u', '8001:7001', '-T', '7106:7006', '-U', 'none']
  const g = await Guest.open(w, ports, { timeout: 24 * 3_600_000 })
  const engine = g.engine().find((pid) => /node/.test(exeOf(pid)))
  if (engine === undefined) throw new Error('no engine')
  const loads = LOADS.map((l) => roundAfterRound(w, g, l))
  const samples: Sample[] = []
  let ticks = busyTicks(g.engine())
  console.log('minute  resident KiB  descriptors  sockets  flows   load    done  failed')
  for (let minute = 1; minute <= minutes && g.proc.running; minute++) {
    const began = performance.now()
    await sleep(60_000)
    const total = loads
      .map((l) => l.read())
      .reduce((a, b) => ({ done: a.done + b.done, failed: a.failed + b.failed }))
    const now = busyTicks(g.engine())
    const s: Sample = {
      minute,
      resident: rss(engine),
      descriptors: g.descriptors(),
      sockets: socketsOf(engine),
      flows: flowsIn(g.proc.stderr),
      load: ((now - ticks) * 10) / (performance.now() - began),
      ...total
    }
    ticks = now
    samples.push(s)
    const cells = [
      s.minute,
      s.resident,
      s.descriptors,
      s.sockets,
      s.flows,
      s.load.toFixed(2),
      s.done,
      s.failed
    ]
    const widths = [6, 14, 13, 9, 7, 7, 8, 8]
    console.log(cells.map((c, i) => `${c}`.padStart(widths[i]!)).join(''))
  }
  const ended = g.proc.running ? [] : [`the program ended: ${g.proc.stderr.slice(-2_000)}`]
  for (const l of loads) {
    const { done, failed } = l.read()
    console.log(`# ${l.name}: ${done} done, ${failed} failed`)
    await l.stop()
  }
  await g.stop()
  const idle = loads.filter((l) => l.read().done === 0).map((l) => `nothing done: ${l.name}`)
  if (/internal error/.test(g.proc.stderr)) ended.push(g.proc.stderr.slice(0, 2_000))
  return [...ended, ...idle, ...verdict(samples)]
}

const minutes = minutesOf(process.argv.slice(2))
const wrong = await withWorld((w) => soak(w, minutes), { lifetime: (minutes + 5) * 60_000 })
for (const line of wrong) console.error(`soak: ${line}`)
console.log(wrong.length === 0 ? '# flat' : '# not flat')
process.exitCode = wrong.length === 0 ? 0 : 1
