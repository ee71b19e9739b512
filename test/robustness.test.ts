// What a host does to a program that runs for long: descriptors and memory run out, system calls fail, addresses and routes
// change, interfaces go, everything stops for a while. It goes on, or ends with a message that says why.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { ask, clientProc, Guest } from './lib/guest.js'
import { alive, exeOf, kill, parents, sleep, statusField, until } from './lib/proc.js'
import { helper, isPeer, net, describe as show } from './lib/world.js'

const bed = useBed()
const oursOnly = { skip: isPeer && 'upstream does otherwise' }
const waits = ['sh', '-c', 'echo ready; sleep 1000']
/** No limit of ours, so that the kernel's is met. */
const unlimited = isPeer ? [] : ['--limit-files', '1000']
const many = helper('many.py')

const engineOf = (g: Guest): number => {
  const found = g.engine().find((pid) => /node/.test(exeOf(pid)))
  assert.ok(found !== undefined, 'no engine')
  return found
}
const works = async (g: Guest): Promise<void> => {
  for (const to of [net.world4, net.world6]) {
    assert.equal((await ask(bed.w, g, ['tcp-read', to, 7006])).data, 'ok\n')
    assert.deepEqual((await ask(bed.w, g, ['udp-echo', to, 7001, 10])).failed, {})
  }
}
let gates = 0
/** A transfer to the guest, half of which at least waits until it may go on; then all of it has to come. */
const underWay = async (g: Guest, octets: number): Promise<() => Promise<void>> => {
  const gate = `go-on-${gates++}`
  const transfer = clientProc(bed.w, g, ['tcp-get-gated', net.world4, 7003, octets, `/mnt/w/${gate}`])
  await transfer.sees(/under way/)
  return async () => {
    writeFileSync(join(bed.w.dir, gate), '')
    const r = await transfer.wait()
    assert.match(r.stdout, /"same": true/, show(r))
  }
}
const noStack = (text: string): void => {
  assert.doesNotMatch(text, /internal error|TypeError|RangeError| at .*\.[cm]?[jt]s:\d/, text)
}

describe('out of descriptors', oursOnly, () => {
  /** COUNT connections are tried from the namespace and kept; how many there are. */
  const held = async (g: Guest, count: number) => {
    const proc = g.start(['python3', many, 'hold', net.world4, '9000', `${count}`], {
      input: 'x'
    })
    const [line] = await proc.sees(/^\{.*\}$/m)
    return { proc, ...(JSON.parse(line) as { open: number; failed: Record<string, number> }) }
  }
  test('said once, what fits goes on, what is given back is used again', async () => {
    const server = bed.w.start(['python3', many, 'serve', '9000', net.world4], {
      in: 'world'
    })
    await server.sees(/ready/)
    const g = await Guest.open(bed.w, ['-t', '8001:7001', ...unlimited], { command: waits, nofile: 64 })
    try {
      for (let round = 0; round < 2; round++) {
        const { proc, open, failed } = await held(g, 80)
        assert.ok(open > 10 && open < 64, `${open} connections`)
        assert.deepEqual(failed, { ECONNREFUSED: 80 - open })
        await proc.stop()
        await until('descriptors given back', async () => g.descriptors() < 50)
        await works(g)
      }
      const said = g.proc.stderr.match(/Too many open files/g)?.length
      assert.equal(said, 1, g.proc.stderr)
      noStack(g.proc.stderr)
    } finally {
      await g.stop()
      await server.stop()
    }
  })
  test('connections to a forwarded port wait until there are some', async () => {
    const g = await Guest.open(bed.w, ['-t', '8002:9002', ...unlimited], { command: waits, nofile: 64 })
    const server = g.start(['python3', many, 'serve', '9002', net.host4])
    try {
      await server.sees(/ready/)
      const flood = bed.w.start(['python3', many, 'hold', net.host4, '8002', '60'], {
        in: 'world',
        input: ''
      })
      await until('the warning', () => /Too many open files/.test(g.proc.stderr))
      await flood.stop()
      await until('a connection', async () => {
        const r = await bed.w.run(['python3', many, 'rate', net.host4, '8002', '1', '1'], { in: 'world' })
        return /"done": 1\b/.test(r.stdout)
      })
      noStack(g.proc.stderr)
    } finally {
      await server.stop()
      await g.stop()
    }
  })
  test('at start, fewer than Node itself needs: one line that says how many, status 1', async () => {
    for (const nofile of [4, 20, 63]) {
      const r = await bed.w.pasta(['--config-net'], ['true'], { nofile })
      assert.equal(r.code, 1, show(r))
      assert.match(r.stderr, /^pasta: Too many open files.* 64 .*$/m, show(r))
    }
    const r = await bed.w.pasta(['--config-net'], ['true'], { nofile: 64 })
    assert.equal(r.code, 0, show(r))
  })
})

/** strace(1) with system calls of the engine made to fail, until `use` is done. */
const failing = async (g: Guest, inject: ReadonlyArray<string>, use: () => Promise<void>): Promise<void> => {
  const calls = [...new Set(inject.map((i) => i.split(':')[0]!))].join(',')
  const argv = ['-f', '-q', '-o', '/dev/null', '-e', `trace=${calls}`, '-p', `${engineOf(g)}`]
  const child = spawn('strace', [...argv, ...inject.flatMap((i) => ['-e', `inject=${i}`])], {
    stdio: 'ignore'
  })
  try {
    await until('strace at work', () => statusField(engineOf(g), 'TracerPid') !== '0')
    await use()
  } finally {
    child.kill('SIGINT')
    await new Promise((done) => child.once('exit', done))
  }
}

describe('system calls that fail now and then', oursOnly, () => {
  for (const [what, inject] of [
    ['no memory for sockets', ['socket:error=ENOBUFS:when=1+3']],
    ['no memory for what is sent', ['sendmsg:error=ENOBUFS:when=1+9', 'sendto:error=ENOBUFS:when=1+9']],
    [
      'a storm of EAGAIN',
      ['sendmsg:error=EAGAIN:when=1+2', 'recvmsg:error=EAGAIN:when=1+2', 'epoll_wait:error=EINTR:when=1+2']
    ],
    ['epoll full', ['epoll_ctl:error=ENOMEM:when=2+5']]
  ] as const)
    test(`${what}: it goes on, and all is well afterwards`, async () => {
      const again = what.includes('EAGAIN')
      const g = await Guest.open(bed.w, ['-t', 'none'], { command: waits })
      try {
        await failing(g, inject, async () => {
          for (let i = 0; i < 3; i++) {
            // What fails for good may wait for an answer that does not come
            const ms = again ? undefined : 3_000
            const r = await clientProc(bed.w, g, ['tcp-read', net.world4, 7006], ms).wait()
            if (again) assert.match(r.stdout, /"ok/, show(r))
            await clientProc(bed.w, g, ['udp-echo', net.world6, 7001, 10], ms).wait()
          }
        })
        await works(g)
        if (what.includes('for sockets')) assert.match(g.proc.stderr, /No buffer space available.*going on/)
        noStack(g.proc.stderr)
      } finally {
        await g.stop()
      }
    })
})

describe('the host changes', oursOnly, () => {
  test('another address, another route, the interface gone and back', async () => {
    const g = await Guest.open(bed.w, ['-t', '8003:7001'], { command: waits })
    const host = (script: string) => bed.w.sh(script)
    const other4 = '198.51.100.77'
    try {
      await works(g)
      await host(
        `ip addr del ${net.host4}/24 dev eth0; ip addr add ${other4}/24 dev eth0; ip route replace default via ${net.gw4}`
      )
      await works(g)
      await host('ip route del default; ip route add unreachable default')
      const far = await ask(bed.w, g, ['tcp-read', net.far4, 7006]).catch((e: Error) => e.message)
      assert.match(JSON.stringify(far), /ENETUNREACH|EHOSTUNREACH|ECONNREFUSED|timed? ?out|TimeoutError/i)
      await works(g)
      await host('ip link set eth0 down')
      await clientProc(bed.w, g, ['udp-echo', net.world4, 7001, 10], 3_000).wait()
      assert.ok(g.proc.running, g.proc.stderr)
      await host(`ip link set eth0 up; ip route del unreachable default; ip addr del ${other4}/24 dev eth0
        ip addr add ${net.host4}/24 dev eth0; ip -6 addr replace ${net.host6}/64 dev eth0 nodad
        ip route replace default via ${net.gw4} dev eth0; ip -6 route replace default via ${net.gw6} dev eth0`)
      await until('traffic again', () =>
        works(g).then(
          () => true,
          () => false
        )
      )
      noStack(g.proc.stderr)
    } finally {
      await g.stop()
    }
  })
  test('a long transfer outlives an interface that is down for a second', async () => {
    const g = await Guest.open(bed.w, ['-t', 'none'], { command: waits })
    try {
      const go = await underWay(g, 6_000_000)
      await bed.w.sh('ip link set toworld down; sleep 1; ip link set toworld up', { in: 'world' })
      await go()
    } finally {
      await bed.w.sh(
        `ip -6 addr replace ${net.gw6}/64 dev toworld nodad; ip -6 addr replace ${net.world6}/64 dev toworld nodad`,
        { in: 'world' }
      )
      await g.stop()
    }
  })
})

test("the namespace's interface is deleted: one line, status 2, nothing left", oursOnly, async () => {
  const g = await Guest.open(bed.w, ['-t', 'none'], { command: waits })
  // it may be gone with the namespaces before it has ended
  await g.start(['ip', 'link', 'del', 'eth0']).wait()
  const r = await g.proc.wait()
  assert.equal(r.code, 2, show(r))
  assert.match(r.stderr, /^pasta: .*interface.* gone/m, show(r))
  noStack(r.stderr)
  // Who hears of its end by a descriptor that closes ends a moment later
  await until('nothing is left', () => g.engine().length === 0)
})

describe('time', oursOnly, () => {
  test('stopped for some seconds in the middle of things, as by a suspend: all processes, in either order', async () => {
    const g = await Guest.open(bed.w, ['-t', '8004:7001'], { command: waits })
    try {
      const go = await underWay(g, 8_000_000)
      const pids = g.engine()
      // launcher, engine, who watches resolv.conf
      assert.equal(pids.length, 3)
      for (const order of [pids, [...pids].reverse()]) {
        for (const pid of order) kill(pid, 'SIGSTOP')
        await sleep(1_500)
        for (const pid of order) kill(pid, 'SIGCONT')
        // nsenter(1) has stopped along with its child
        kill(parents().get(await g.proc.pid())!, 'SIGCONT')
      }
      await go()
      await works(g)
      for (const pid of pids) assert.ok(alive(pid))
    } finally {
      await g.stop()
    }
  })
})
