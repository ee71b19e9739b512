// --limit with the real kernel on both sides: no more than the rate, as receivers see it, and whole (behaviour.md#rate-limits).
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { Guest } from './lib/guest.js'
import type { Proc } from './lib/proc.js'
import { helper, isPeer, net, ok } from './lib/world.js'

const SIZE = 1_500_000
const RATE = 2_000_000
const BURST = 200_000
/** Of what comes by a forwarded port, towards the guest. */
const RATE_OF_RULE = 1_000_000
/** Octets. Windows that were open before, and what a busy machine does to the beginning of a measurement. */
const SLACK = 300_000

const bed = useBed()
let guest: Guest
let sha = ''

interface Moved {
  readonly octets: number
  /** Seconds, by a clock that all of them share. */
  readonly from: number
  readonly to: number
}
const within = (list: ReadonlyArray<Moved>, rate: number, burst: number): void => {
  const octets = list.reduce((sum, m) => sum + m.octets, 0)
  const seconds = Math.max(...list.map((m) => m.to)) - Math.min(...list.map((m) => m.from))
  assert.ok(
    octets <= burst + rate * seconds + SLACK,
    `${octets} octets in ${seconds} s: ${JSON.stringify(list)}`
  )
}

/** curl's words of a transfer. A GET is summed up by us, a PUT by the server. */
const curl = (how: 'get' | 'put', url: string): string[] => [
  'sh',
  '-c',
  `date +%s.%N >&2
  ${how === 'get' ? `curl -sS --max-time 50 -o - ${url}/blob | sha256sum` : `curl -sS --max-time 50 -T /mnt/w/blob ${url}/x`}
  date +%s.%N >&2`
]
const moved = async (how: 'get' | 'put', proc: Proc): Promise<Moved> => {
  const r = ok(await proc.wait())
  assert.equal(r.stdout.trim().split(/\s+/)[how === 'get' ? 0 : 1], sha)
  const [from, to] = r.stderr.trim().split('\n').map(Number)
  return { octets: SIZE, from: from!, to: to! }
}

/** Octets of datagrams until a second of silence, and the time from the first to the last. */
const SINK = `
import json, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
s.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
octets, first, last = 0, None, None
s.settimeout(20)
try:
    while True:
        octets += len(s.recv(65536))
        last = time.monotonic()
        first = first or last
        s.settimeout(1)
except TimeoutError:
    print(json.dumps({"octets": octets, "from": first or 0, "to": last or 0}), flush=True)
`
/** 2 MB of datagrams, 4 MB/s at most: twice what may pass, and not so fast that the receiver's own buffer loses most. */
const FLOOD = `
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], int(sys.argv[2])))
for i in range(2000):
    s.send(bytes(1000))
    if i % 10 == 9: time.sleep(0.0025)
`
const python = (script: string, address: string, port: number): string[] => [
  'python3',
  '-c',
  script,
  address,
  `${port}`
]
const sunk = async (sink: Proc): Promise<Moved> =>
  JSON.parse(ok(await sink.wait()).stdout.replace('ready', '')) as Moved

describe('--limit', { skip: isPeer && 'an option of ours' }, () => {
  before(async () => {
    const block = randomBytes(100_003)
    const blob = Buffer.alloc(SIZE)
    for (let at = 0; at < SIZE; at += block.length) block.copy(blob, at)
    writeFileSync(join(bed.w.dir, 'blob'), blob)
    sha = createHash('sha256').update(blob).digest('hex')
    const server = ['python3', helper('httpd.py'), '/mnt/w']
    await bed.w.start([...server, net.world4, '8085'], { in: 'world', timeout: 100_000 }).sees(/ready/)
    const ports = ['-t', '8086:8087', '-u', '8088:8089', '-T', 'none']
    guest = await Guest.open(bed.w, [...ports, '--limit', '2MB', '--limit', 'tcp:8086=1MB,in'], {
      command: [...server, net.host4, '8087']
    })
  })
  after(() => guest?.stop())

  test('TCP: all flows of a way share it, through the tap and past it, a port has its own besides, and all that was sent arrives', async () => {
    const outside = `http://${net.world4}:8085`
    const inside = 'http://127.0.0.1:8086'
    const past = { in: 'host' } as const
    const [get, put, getPast, putPast] = await Promise.all([
      moved('get', guest.start(curl('get', outside))),
      moved('put', guest.start(curl('put', outside))),
      moved('get', bed.w.start(curl('get', inside), past)),
      moved('put', bed.w.start(curl('put', inside), past))
    ])
    within([get, putPast], RATE, BURST)
    within([put, getPast], RATE, BURST)
    within([putPast], RATE_OF_RULE, BURST / 2)
  })
  test('UDP: each way, through the tap and past it', async () => {
    const there = bed.w.start(python(SINK, net.world4, 8090), { in: 'world' })
    const here = guest.start(python(SINK, net.host4, 8089))
    await Promise.all([there.sees(/ready/), here.sees(/ready/)])
    const floods = [
      guest.start(python(FLOOD, net.world4, 8090)),
      bed.w.start(python(FLOOD, net.host4, 8088), { in: 'world' }),
      bed.w.start(python(FLOOD, '127.0.0.1', 8088), { in: 'host' })
    ]
    for (const f of floods) ok(await f.wait())
    for (const m of await Promise.all([sunk(there), sunk(here)])) {
      within([m], RATE, BURST)
      assert.ok(m.octets >= BURST / 2, JSON.stringify(m))
    }
  })
})
