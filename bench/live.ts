// npm run bench:live [-- --rounds N] [--rate N] [--clients none,hostile,…]
//
// What clients of the API (--api) cost those who use the network meanwhile: an octet there and back, from "world" into the namespace, through the
// tap. `none`: nobody asks. `hostile`, `rules`, `batches` (of 10 rules that come and 10 that go in one request): live_clients.py,
// under SCHED_IDLE, so that what it takes of a processor itself is hardly counted.
// `beside`: the same client at another program's API, so what it costs the machine alone.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { Guest } from '../test/lib/guest.js'
import { net, ok, repo, World } from '../test/lib/world.js'
import { argumentsOf, countOf, listOf } from './arguments.js'
import { median } from './report.js'

/** What changes rules beside the exchanges. */
const CLIENT_KINDS = ['none', 'hostile', 'rules', 'batches'] as const
type Client = (typeof CLIENT_KINDS)[number]
const args = argumentsOf({
  rounds: { type: 'string', default: '3' },
  rate: { type: 'string', default: '1000' },
  clients: { type: 'string', default: CLIENT_KINDS.join() }
})
const rounds = countOf('rounds', args.rounds)
const rate = countOf('rate', args.rate)
const asked = listOf('clients', args.clients, CLIENT_KINDS)
const EXCHANGES = 100_000
const PORT = 7101
const OTHER = 7102
const CLIENTS = '/mnt/repo/bench/live_clients.py'

interface Sample {
  readonly p50: number
  readonly p99: number
}
const rows = (
  [
    { client: 'none', beside: false },
    { client: 'hostile', beside: true },
    { client: 'hostile', beside: false },
    { client: 'rules', beside: true },
    { client: 'rules', beside: false },
    { client: 'batches', beside: true },
    { client: 'batches', beside: false }
  ] satisfies ReadonlyArray<{ client: Client; beside: boolean }>
).filter((r) => asked.includes(r.client))

const at = (w: World, port: number): Promise<Guest> =>
  Guest.open(w, ['--api', `/mnt/w/api-${port}.sock`, '-t', `${port}`], {
    command: ['/mnt/w/rr', 'server', net.host4, `${port}`]
  })
const measure = async (w: World, client: Client, beside: boolean): Promise<Sample> => {
  const guests = [await at(w, PORT), await at(w, OTHER)]
  const run = w.start(['/mnt/w/rr', 'tcp-rr', net.host4, `${PORT}`, `${EXCHANGES}`, '2000', '3000'], {
    in: 'world',
    timeout: 120_000
  })
  const socket = `/mnt/w/api-${beside ? OTHER : PORT}.sock`
  const changes = client === 'rules' ? '1' : client === 'batches' ? '10' : null
  const argv = changes === null ? [client, socket] : ['rules', socket, `${rate}`, '6', changes]
  const asking =
    client === 'none'
      ? null
      : w.start(['chrt', '-i', '0', 'python3', CLIENTS, ...argv], {
          in: 'host',
          uid: 1000,
          timeout: 120_000
        })
  await asking?.sees(/ready/, 'stdout', 30_000)
  const { p50, p99, lost } = JSON.parse(ok(await run.wait()).stdout) as Sample & { readonly lost: number }
  assert.equal(lost, 0)
  if (changes !== null)
    console.error(`${client}${beside ? ' beside' : ''}: ${ok(await asking!.wait()).stdout.split('\n')[1]}`)
  else await asking?.stop()
  // The later one knows the other for one that was there before
  for (const g of guests.reverse()) await g.stop()
  return { p50, p99 }
}

const w = await World.open()
try {
  execFileSync('g++', ['-O2', '-Wall', '-Wextra', '-o', join(w.dir, 'rr'), join(repo, 'bench/rr.cc')])
  chmodSync(join(w.dir, 'rr'), 0o755)
  const samples = rows.map((): Sample[] => [])
  for (let round = 0; round < rounds; round++)
    for (const [i, { client, beside }] of rows.entries()) samples[i]!.push(await measure(w, client, beside))
  console.log('| client | of | p50, µs | p99, µs |\n|---|---|---|---|')
  for (const [i, { client, beside }] of rows.entries()) {
    const of = (what: keyof Sample) => median(samples[i]!.map((s) => s[what])).toFixed(1)
    console.log(`| ${client} | ${beside ? 'another program' : 'this one'} | ${of('p50')} | ${of('p99')} |`)
  }
} finally {
  await w.close()
}
