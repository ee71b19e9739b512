// npm run bench [-- --quick] [--rounds N] [--rows ID,ID...] [--all] [--docs]
//
// Compares this program with upstream's newest in one run, alternating. Results go to bench/results/, with --docs also
// to docs/performance.svg and between the marks of docs/performance.md. PEER names upstream's pasta; without it it is fetched into .peer/.
// OURS names another program to take for ours (upstream's own, to try the bench: all ratios about 1).
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'
import { net, ok, repo, type World, withWorld } from '../test/lib/world.js'
import { argumentsOf, countOf, fail } from './arguments.js'
import { markdown, median, type Outcome, type Run, ratio, svg, table, withMeasured } from './report.js'
import { type Contender, type Row, rows, rrPort } from './rows.js'

const args = argumentsOf({
  quick: { type: 'boolean', default: false },
  all: { type: 'boolean', default: false },
  docs: { type: 'boolean', default: false },
  rows: { type: 'string' },
  rounds: { type: 'string' }
})

const must = (command: string, argv: string[]): void => {
  const r = spawnSync(command, argv, { stdio: ['ignore', 2, 2] })
  if (r.status !== 0) fail(`${command} ${argv.join(' ')}: ${r.error?.message ?? `status ${r.status}`}`)
}

const findPeer = (): string => {
  const given = process.env.PEER
  if (given !== undefined) return existsSync(given) ? given : fail(`PEER=${given} does not exist`)
  const own = join(repo, '.peer/bin/pasta')
  const tool = join(repo, '../shared/tools/get-peer')
  if (existsSync(own)) return own
  if (existsSync('/opt/peer/bin/pasta')) return '/opt/peer/bin/pasta'
  if (!existsSync(tool)) return fail(`no upstream pasta: set PEER, or provide ${tool}`)
  must(tool, [join(repo, '.peer')])
  return own
}

const chooseRows = (): ReadonlyArray<Row> => {
  if (args.rows === undefined) return rows.filter((r) => args.all || !r.extra)
  const wanted = args.rows.split(',')
  const unknown = wanted.filter((id) => !rows.some((r) => r.id === id || r.id.startsWith(`${id}-`)))
  if (unknown.length > 0) fail(`no row ${unknown.join(' ')}; there are ${rows.map((r) => r.id).join(' ')}`)
  return rows.filter((r) => wanted.some((id) => r.id === id || r.id.startsWith(`${id}-`)))
}

/**
 * Cubic for every socket of the namespace: by sysctl where the machine allows it, else as an attribute of each route
 * (ip-route(8) congctl), which needs no permission of the initial namespace and outranks the sysctl.
 */
const useCubic = async (w: World, where: 'host' | 'world', dev: string): Promise<string> => {
  const out = await w.sh(
    `if echo cubic 2>/dev/null > /proc/sys/net/ipv4/tcp_congestion_control; then echo sysctl; exit; fi
     ip -4 -o route show table main dev ${dev} | while read -r r; do ip route change $r dev ${dev} congctl cubic; done
     for d in 127.0.0.0/8 127.0.0.1; do
       ip route change local $d dev lo table local proto kernel scope host src 127.0.0.1 congctl cubic; done
     echo route`,
    { in: where }
  )
  const probe = `import socket
for a in ("${where === 'host' ? net.world4 : net.host4}", "127.0.0.1"):
    s = socket.socket(); s.setblocking(False); s.connect_ex((a, 9))
    print(s.getsockopt(socket.IPPROTO_TCP, 13, 16).rstrip(b"\\0").decode())`
  const used = await w.sh(`python3 -c '${probe}'`, { in: where })
  if (
    used
      .trim()
      .split('\n')
      .some((name) => name !== 'cubic')
  )
    fail(`sockets in "${where}" use ${used.trim()}, not cubic`)
  return out.trim()
}

const version = async (w: World, c: Contender): Promise<string> =>
  ok(await w.run([c.bin, '--version']))
    .stdout.split('\n')[0]!
    .trim()

const main = async (w: World, peer: string): Promise<void> => {
  for (const name of ['rr', 'crowd']) {
    must('g++', ['-O2', '-Wall', '-Wextra', '-o', join(w.dir, name), join(repo, `bench/${name}.cc`)])
    chmodSync(join(w.dir, name), 0o755)
  }
  const ours: Contender = { name: 'ours', bin: process.env.OURS ?? '/mnt/repo/bin/pasta' }
  const upstream: Contender = {
    name: 'upstream',
    bin: peer.startsWith(`${repo}/`) ? peer.replace(repo, '/mnt/repo') : peer
  }
  const how = await useCubic(w, 'host', 'eth0')
  await useCubic(w, 'world', 'toworld')
  // Connections closed by the client leave their ports waiting; do not run out of them.
  for (const where of ['host', 'world'] as const)
    await w.sh(
      'echo "10000 65000" > /proc/sys/net/ipv4/ip_local_port_range; echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse',
      { in: where }
    )
  const server = w.start(['/mnt/w/rr', 'server', net.world4, `${rrPort}`], {
    in: 'world',
    timeout: 3_600_000
  })
  await server.sees(/ready/)

  const rounds = countOf('rounds', args.rounds ?? (args.quick ? '1' : '3'))
  const outcomes: Outcome[] = []
  const failures: string[] = []
  for (const row of chooseRows()) {
    const samples = { ours: [] as ReadonlyArray<number>[], upstream: [] as ReadonlyArray<number>[] }
    for (let round = 0; round < rounds; round++)
      for (const c of round % 2 === 0 ? [ours, upstream] : [upstream, ours])
        try {
          samples[c.name].push(await row.sample(w, c, args.quick))
        } catch (e) {
          samples[c.name].push(row.metrics.map(() => Number.NaN))
          const lines = (e as Error).message
            .trim()
            .split('\n')
            .filter((line) => line.trim() !== '')
          const text = [...lines.slice(1, 2), ...lines.slice(2).slice(-8)]
            .map((line) => line.trim().slice(0, 200))
            .join(' / ')
          failures.push(`${row.id}, round ${round + 1}, ${c.name}: ${text}`)
          console.error(`bench: ${failures.at(-1)}`)
        }
    row.metrics.forEach((metric, i) => {
      const of = (name: Contender['name']) => samples[name].map((v) => v[i]!)
      const outcome: Outcome = {
        row: row.id,
        title: row.title,
        metric,
        ours: of('ours'),
        upstream: of('upstream')
      }
      outcomes.push(outcome)
      const numbers = [median(outcome.ours), median(outcome.upstream), ratio(outcome)].map((x) =>
        x.toFixed(3)
      )
      console.error(
        `bench: ${row.id} ${metric.name}: ours ${numbers[0]}, upstream ${numbers[1]} ${metric.unit}, ratio ${numbers[2]}`
      )
    })
  }
  await server.stop()

  const model = /^model name\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown CPU'
  const cpus = (readFileSync('/proc/cpuinfo', 'utf8').match(/^processor/gm) ?? []).length
  const run: Run = {
    date: new Date().toISOString(),
    kernel: `Linux ${release()}`,
    cpu: `${cpus} × ${model}`,
    node: process.versions.node,
    versions: { ours: await version(w, ours), upstream: await version(w, upstream) },
    rounds,
    quick: args.quick,
    congestion: `cubic on every TCP socket (set by ${how}; in the namespace by iperf3 -C)`,
    outcomes,
    failures
  }
  const out = join(repo, 'bench/results')
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'results.json'), `${JSON.stringify(run, null, 1)}\n`)
  writeFileSync(join(out, 'performance.md'), markdown(run))
  writeFileSync(join(out, 'performance.svg'), svg(run))
  if (args.docs) {
    const page = join(repo, 'docs/performance.md')
    writeFileSync(page, withMeasured(readFileSync(page, 'utf8'), run))
    writeFileSync(join(repo, 'docs/performance.svg'), svg(run))
  }
  console.log(table(run))
  console.error(`bench: ${join(out, 'results.json')}, performance.md, performance.svg`)
  if (failures.length > 0) process.exitCode = 1
}

if (process.getuid?.() !== 0) fail('network namespaces, a private /dev/net/tun and two users need root')
if (process.env.OURS === undefined && !existsSync(join(repo, 'bin/pasta')))
  fail('bin/pasta is not built: npm run build')
const peer = findPeer()
await withWorld((w) => main(w, peer))
