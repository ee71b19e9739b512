// Whose MAC the guest sees: its peers', as the host knows them (behaviour.md#neighbours).
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { families, useBed } from './lib/bed.js'
import { net } from './lib/world.js'

const bed = useBed()
const OURS = '9a:55:9a:55:9a:55'
const far = { 4: net.far4, 6: net.far6 } as const

describe('MACs of neighbours (regression-V20)', () => {
  const worldsMac = async () =>
    (JSON.parse(await bed.w.sh('ip -j link show toworld', { in: 'world' })) as { address: string }[])[0]!
      .address
  /** MAC of `peer` in the namespace after an exchange with it. */
  const seen = async (v: 4 | 6, peer: string, options: string[]) => {
    // What the host learns by this very exchange comes a little later
    const changed = `for i in $(seq 100); do ip -${v} neigh show ${peer} | grep -q ${OURS} || break; sleep 0.05; done`
    const talk = `ping -${v} -c 1 -W 2 ${peer} > /dev/null; ${changed}; ip -${v} -j neigh show ${peer}`
    const [entry] = JSON.parse(await bed.w.inside(`${talk}`, options)) as { lladdr?: string }[]
    return entry?.lladdr
  }
  for (const f of families) {
    const forget = () => bed.w.sh(`ip -${f.v} neigh flush dev eth0`)
    const know = () => bed.w.sh(`ping -${f.v} -c 1 -W 2 ${f.world} > /dev/null`)
    test(`IPv${f.v}: one that the host knows already`, async () => {
      await know()
      assert.equal(await seen(f.v, f.world, []), await worldsMac())
    })
    test(`IPv${f.v}: one that it learns for the guest's sake`, async () => {
      await forget()
      assert.equal(await seen(f.v, f.world, []), await worldsMac())
    })
    test(`IPv${f.v}: the gateway is us where it stands for the host, itself with --no-map-gw`, async () => {
      await know()
      await bed.w.sh(`ping -${f.v} -c 1 -W 2 ${f.gw} > /dev/null`)
      const behind = `ping -${f.v} -c 1 -W 2 ${far[f.v]} > /dev/null; ip -${f.v} -j neigh show ${f.gw}`
      const mac = async (options: string[]) =>
        (JSON.parse(await bed.w.inside(behind, options)) as { lladdr: string }[])[0]!.lladdr
      assert.equal(await mac([]), OURS)
      assert.equal(await mac(['--no-map-gw']), await worldsMac())
    })
  }
})

/** The same connection, the same datagram socket, before and after. */
const MOVES = `import os, socket, sys
at = sys.argv[1]; family = socket.AF_INET6 if ":" in at else socket.AF_INET
t = socket.socket(family); t.settimeout(10); t.connect((at, 7001))
u = socket.socket(family, socket.SOCK_DGRAM); u.settimeout(3); u.connect((at, 7002))
def talk():
    t.sendall(b"x"); u.send(b"x")
    print(t.recv(1), len(u.recv(1000)) > 0, flush=True)
talk()
os.system("ip link set eth0 address 02:00:00:00:77:77")
for n in range(2): talk()`

describe("the guest's own MAC changes (behaviour.md#link)", () => {
  for (const f of families)
    test(`IPv${f.v}: connections and flows go on`, async () => {
      const r = await bed.w.pasta(['--config-net'], ['python3', '-c', MOVES, f.world])
      assert.equal(r.stdout, "b'x' True\n".repeat(3), r.stderr)
    })
})
