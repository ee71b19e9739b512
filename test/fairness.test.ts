// What is small beside what is much: nothing is lost, everybody is served. Counted; how long it takes: npm run bench.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { compiled } from './lib/cache.js'
import { Guest } from './lib/guest.js'
import type { Proc } from './lib/proc.js'
import { asShipped, helper, net, ok } from './lib/world.js'

asShipped()

const crowd = compiled('bench/crowd.cc')
const rr = compiled('bench/rr.cc')
const [BULK, ECHO, INSIDE, OUTSIDE] = [5998, 5999, 7001, 8001]
const bed = useBed({}, async (w) => {
  const serve = (program: string, port: number): Proc =>
    w.start([program, 'server', net.world4, `${port}`], { in: 'world', timeout: 600_000 })
  for (const server of [serve(crowd, BULK), serve(rr, ECHO)]) await server.sees(/ready/)
})

describe('beside 128 downloads', () => {
  test('each ping of a row has its answer, and so has each octet of a connection', async () => {
    const out = await bed.w.inside(
      `${crowd} down ${net.world4} ${BULK} 128 6 ${ECHO} > /tmp/crowd &
       until grep -q way /tmp/crowd; do sleep 0.05; done
       ping -n -q -c 150 -i 0.02 -W 10 ${net.world4} | grep received
       ${rr} tcp-rr ${net.world4} ${ECHO} 20 0 0
       wait $!; tail -n 1 /tmp/crowd`
    )
    const [pings, echoes, load] = out.trim().split('\n')
    assert.match(pings!, /^150 packets transmitted, 150 received/, out)
    const { lost, n } = JSON.parse(echoes!) as { lost: number; n: number }
    assert.deepEqual([lost, n], [0, 20], out)
    assert.ok((JSON.parse(load!) as { octets: number }).octets > 10e6, out)
  })
})

const flood = `import socket, time
s = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
for one in s:
    one.setblocking(False)
print("flooding", flush=True)
end = time.monotonic() + 60
while time.monotonic() < end:
    for one in s:
        try:
            one.sendto(bytes(1000), ("${net.world4}", 9999))
        except OSError:
            pass`

// Past the tap, whose queue of the guest's frames is full of its own.
test('a guest that floods keeps nobody of the host from connecting', async () => {
  const serving = { command: ['python3', helper('many.py'), 'serve', `${INSIDE}`, net.host4] }
  const guest = await Guest.open(bed.w, ['-t', `${OUTSIDE}:${INSIDE}`], { ...serving, timeout: 300_000 })
  try {
    const flooding = guest.start(['python3', '-c', flood])
    await flooding.sees(/flooding/)
    const client = ['python3', helper('many.py'), 'rate', '127.0.0.1', `${OUTSIDE}`, '20', '5']
    const r = ok(await bed.w.run(client, { timeout: 100_000 }))
    const { done, failed } = JSON.parse(r.stdout) as { done: number; failed: Record<string, number> }
    assert.ok(flooding.running)
    assert.deepEqual([done, failed], [100, {}])
    await flooding.stop()
  } finally {
    await guest.stop()
  }
})
