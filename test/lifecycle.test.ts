// Starting, joining, ending: statuses, signals, background, and nothing left behind.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import {
  alive,
  calm,
  cmdlineOf,
  exeOf,
  kill,
  onProcessor,
  type Proc,
  sleep,
  statusField,
  until
} from './lib/proc.js'
import { asShipped, helper, isPeer, net, ok, pasta, quietPorts, describe as show } from './lib/world.js'

asShipped()

// The first named namespace makes /run/netns a mount of its own: before any comparison.
const bed = useBed({ hostSetup: 'ip netns add first; ip netns del first' })
const oursOnly = { skip: isPeer && 'upstream does otherwise' }
const py = `python3 ${helper('client.py')}`

/** What a run must not change: processes, mounts, UNIX sockets, files, connections (but those that the kernel closes). */
const look = async () => ({
  processes: new Set(bed.w.pidsInside()),
  rest: await bed.w.sh(
    `wc -l < /proc/1/mountinfo; ss -xaH | wc -l; ls -A /tmp /run /run/netns
     ss -tuanH | grep -vE 'TIME-WAIT|FIN-WAIT|LAST-ACK|CLOSING' | wc -l`
  )
})
type Traces = Awaited<ReturnType<typeof look>>
/** The same, once the run before has gone: its last process and its last socket may do so behind its end. */
const traces = async (): Promise<Traces> => {
  await until('the end of the run before', () => bed.w.programs().length === 0)
  let last = await look()
  await until('nothing that changes', async () => {
    await sleep(50)
    const before = last
    last = await look()
    return last.rest === before.rest
  })
  return last
}
const nothingLeft = async (before: Traces): Promise<void> => {
  const extra = () => bed.w.pidsInside().filter((pid) => !before.processes.has(pid))
  await until('the end of all processes', () => extra().length === 0).catch(() => {
    const left = extra().map((pid) => `${pid} ${cmdlineOf(pid)}`)
    for (const pid of extra()) kill(pid, 'SIGKILL')
    assert.fail(`left behind:\n${left.join('\n')}`)
  })
  await until('sockets, mounts and files as before', async () => (await look()).rest === before.rest).catch(
    async () => {
      assert.equal((await look()).rest, before.rest)
    }
  )
}

describe('a command', () => {
  for (const status of [0, 1, 7, 255])
    test(`exit status ${status} is handed on`, async () => {
      const r = await bed.w.pasta(['--config-net'], ['sh', '-c', `exit ${status}`])
      assert.deepEqual([r.code, r.signal], [status, null], show(r))
    })
  test('killed by a signal: 128 and the signal', async () => {
    const proc = bed.w.startPasta(['--config-net'], ['sh', '-c', 'echo up; sleep 60; echo woken'])
    await proc.sees(/up/)
    kill(bed.w.pidsInside().find((pid) => cmdlineOf(pid).startsWith('sh -c echo up'))!, 'SIGKILL')
    const r = await proc.wait()
    assert.equal(r.code, 137, show(r))
  })
  test('without a command: a login shell that $SHELL names', async () => {
    const argv = [pasta, ...quietPorts, '--config-net']
    const r = await bed.w.run(argv, { input: 'echo "$0"; ip -o link show dev eth0; exit 3\n' })
    assert.equal(r.code, 3, show(r))
    assert.match(r.stdout, /^-\/bin\/sh$/m)
    assert.match(r.stdout, /eth0.*UP/)
  })
  test('it is root in its own namespaces, process 1, with lo up', async () => {
    const r = ok(
      await bed.w.pasta(
        [],
        [
          'sh',
          '-ec',
          'id -u; echo $$; readlink /proc/self/ns/net; ip -o link show lo; ping -c1 -W1 127.0.0.1 >/dev/null; ls /proc | grep -c "^[0-9]"'
        ]
      )
    )
    const [uid, pid, ns, lo] = r.stdout.split('\n')
    assert.deepEqual([uid, pid], ['0', '1'])
    assert.notEqual(ns, (await bed.w.sh('readlink /proc/self/ns/net')).trim())
    assert.match(lo!, /LOOPBACK,UP/)
  })
  test('processes that it leaves behind end with it', async () => {
    const before = await traces()
    await bed.w.inside('sleep 1000 & setsid sleep 1000 &')
    await nothingLeft(before)
  })
  test('nothing is left behind after a normal end', async () => {
    const before = await traces()
    await bed.w.inside(`${py} tcp-get ${net.world4} 7003 100000; ${py} udp-echo ${net.world6} 7001 10`)
    await nothingLeft(before)
  })
  test('nothing is left behind after an error', async () => {
    const before = await traces()
    assert.equal((await bed.w.pasta(['--config-net'], ['/nonexistent'])).code, 1)
    assert.equal((await bed.w.pasta(['--config-net', '-I', 'lo'], ['true'])).code, 1)
    await nothingLeft(before)
  })
  test('eight at a time', async () => {
    const before = await traces()
    const all = await Promise.all(
      Array.from({ length: 8 }, () =>
        bed.w.pasta(['--config-net'], ['sh', '-ec', `${py} tcp-read ${net.world4} 7006`])
      )
    )
    for (const r of all) assert.match(ok(r).stdout, /"data": "ok\\n"/)
    await nothingLeft(before)
  })
  test('-P names a process whose end ends all; the file has mode 0600', async () => {
    const before = await traces()
    const proc = bed.w.startPasta(['--config-net', '-P', '/mnt/w/pid1'], ['sh', '-c', 'echo up; sleep 1000'])
    await proc.sees(/up/)
    const file = join(bed.w.dir, 'pid1')
    assert.match(readFileSync(file, 'utf8'), /^\d+\n$/)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const pid = bed.w.outerPid(Number(readFileSync(file, 'utf8')))
    assert.ok(alive(pid))
    kill(pid, 'SIGTERM')
    if (isPeer) await proc.stop()
    else await proc.wait()
    await nothingLeft(before)
  })
})

describe('signals', () => {
  for (const signal of ['SIGTERM', 'SIGQUIT', 'SIGINT', 'SIGHUP'] as const)
    test(`${signal} to pasta ends everything`, oursOnly, async () => {
      const before = await traces()
      const proc = bed.w.startPasta(['--config-net'], ['sleep', '1000'])
      // The command gets the signal, so wait until it is there.
      await until('the command', () => bed.w.pidsInside().some((pid) => cmdlineOf(pid) === 'sleep 1000'))
      kill(await proc.pid(), signal)
      const r = await proc.wait()
      assert.equal(r.code, 128 + constants.signals[signal], show(r))
      await nothingLeft(before)
    })
  test('SIGPIPE and SIGUSR1 do nothing', async () => {
    const proc = bed.w.startPasta(
      ['--config-net'],
      ['sh', '-ec', `echo up; sleep 1; ${py} tcp-read ${net.world4} 7006`]
    )
    await proc.sees(/up/)
    kill(await proc.pid(), 'SIGPIPE')
    kill(await proc.pid(), 'SIGUSR1')
    assert.match(ok(await proc.wait()).stdout, /"data": "ok\\n"/)
  })
})

describe('SIGKILL of any one process', () => {
  /** Of ours the one without a right: without it resolv.conf is not followed, and that is all. */
  const watchesResolver = (pid: number): boolean =>
    /\/passt-launcher$|\/pasta$/.test(exeOf(pid)) && Number(`0x${statusField(pid, 'CapPrm')}`) === 0
  const spare = async (pid: number, others: ReadonlyArray<number>): Promise<void> => {
    await until('its end alone', () => !alive(pid))
    await sleep(300)
    for (const p of others) assert.ok(p === pid || alive(p), `${exeOf(p)} goes on`)
  }
  test('nothing is left behind, whichever it is', oursOnly, async () => {
    const before = await traces()
    const start = async () => {
      const proc = bed.w.startPasta(['--config-net'], ['sh', '-c', 'echo up; sleep 1000; echo woken'])
      await until('the command', () => bed.w.pidsInside().some((pid) => cmdlineOf(pid) === 'sleep 1000'))
      return { proc, pids: bed.w.pidsInside().filter((pid) => !before.processes.has(pid)) }
    }
    const first = await start()
    const count = first.pids.length
    await first.proc.stop()
    await nothingLeft(before)
    assert.ok(count >= 2, `only ${count} processes`)
    for (let i = 0; i < count; i++) {
      const { proc, pids } = await start()
      assert.equal(pids.length, count)
      const victim = `${pids[i]} ${exeOf(pids[i]!)} ${cmdlineOf(pids[i]!)}`
      const isSpare = watchesResolver(pids[i]!)
      kill(pids[i]!, 'SIGKILL')
      if (isSpare) {
        await spare(pids[i]!, pids)
        await proc.stop()
      }
      await nothingLeft(before).catch((e: Error) => assert.fail(`after SIGKILL of ${victim}: ${e.message}`))
      await proc.wait()
    }
  })
  test('in the background, attached to a process: only the target stays', oursOnly, async () => {
    const outside = await traces()
    const target = await holder()
    const before = await traces()
    const attach = async () => {
      ok(await bed.w.run([pasta, ...quietPorts, '--config-net', `${target.inner}`]))
      return bed.w.pidsInside().filter((pid) => !before.processes.has(pid))
    }
    const count = (await attach()).length
    assert.ok(count >= 1)
    for (let i = 0; i < count; i++) {
      const pids = i === 0 ? bed.w.pidsInside().filter((pid) => !before.processes.has(pid)) : await attach()
      const victim = `${pids[i]} ${exeOf(pids[i]!)}`
      const isSpare = watchesResolver(pids[i]!)
      kill(pids[i]!, 'SIGKILL')
      if (isSpare) {
        await spare(pids[i]!, pids)
        kill(pids.find((p) => p !== pids[i])!, 'SIGKILL')
      }
      await nothingLeft(before).catch((e: Error) => assert.fail(`after SIGKILL of ${victim}: ${e.message}`))
    }
    await target.proc.stop()
    await nothingLeft(outside)
  })
})

/** An ordinary user's user and network namespace, kept by a process. */
const holder = async (): Promise<{ proc: Proc; outer: number; inner: number }> => {
  const { proc, pid } = await bed.w.namespaces()
  return { proc, outer: await proc.pid(), inner: pid }
}
const into = (outer: number, script: string) =>
  bed.w.run(['nsenter', '-t', `${outer}`, '-U', '-n', '--preserve-credentials', 'sh', '-ec', script], {
    uid: 1000
  })

describe('joining', () => {
  const traffic = `ip -4 -o addr show dev eth0; ${py} tcp-read ${net.world4} 7006; ${py} udp-echo ${net.world6} 7001 100`
  const works = (r: Awaited<ReturnType<typeof into>>): void => {
    assert.match(ok(r).stdout, /198\.51\.100\.2\/24/)
    assert.match(r.stdout, /"data": "ok\\n"/)
    assert.match(r.stdout, /\{"failed": \{\}\}/)
  }
  test('pasta PID: status 0 means ready; ends when the process goes', async () => {
    const before = await traces()
    const target = await holder()
    ok(await bed.w.run([pasta, ...quietPorts, '--config-net', '-P', '/mnt/w/pid2', `${target.inner}`]))
    const named = bed.w.outerPid(Number(readFileSync(join(bed.w.dir, 'pid2'), 'utf8')))
    assert.ok(alive(named), 'the pid file names a running process')
    works(await into(target.inner, traffic))
    await target.proc.stop()
    await nothingLeft(before)
  })
  test('pasta PID in the foreground: ends with status 0 when the process goes', async () => {
    const before = await traces()
    const target = await holder()
    const proc = bed.w.start([pasta, ...quietPorts, '--config-net', '-f', `${target.inner}`])
    await until('traffic', async () =>
      (await into(target.inner, `ip link show eth0 && ${py} tcp-read ${net.world4} 7006`)).stdout.includes(
        'ok'
      )
    )
    works(await into(target.inner, traffic))
    await target.proc.stop()
    const r = await proc.wait()
    assert.equal(r.code, 0, show(r))
    await nothingLeft(before)
  })
  test('--netns PATH with --userns PATH', async () => {
    const before = await traces()
    const target = await holder()
    const paths = ['--userns', `/proc/${target.inner}/ns/user`, '--netns', `/proc/${target.inner}/ns/net`]
    ok(await bed.w.run([pasta, ...quietPorts, '--config-net', ...paths]))
    works(await into(target.inner, traffic))
    await target.proc.stop()
    await nothingLeft(before)
  })
  test('--netns NAME as root; ends when the name is removed', async () => {
    const before = await traces()
    await bed.w.sh('ip netns add box')
    ok(await bed.w.run([pasta, ...quietPorts, '--config-net', '--netns', 'box'], { uid: 0 }))
    works(await bed.w.run(['ip', 'netns', 'exec', 'box', 'sh', '-ec', traffic], { uid: 0 }))
    await bed.w.sh('ip netns del box')
    await nothingLeft(before)
  })
  test('--netns as root with a path', async () => {
    const before = await traces()
    await bed.w.sh('ip netns add box2')
    ok(await bed.w.run([pasta, ...quietPorts, '--config-net', '--netns', '/run/netns/box2'], { uid: 0 }))
    works(await bed.w.run(['ip', 'netns', 'exec', 'box2', 'sh', '-ec', traffic], { uid: 0 }))
    await bed.w.sh('ip netns del box2')
    await nothingLeft(before)
  })
  test('two at a time, in namespaces of their own', async () => {
    const before = await traces()
    const [a, b] = [await holder(), await holder()]
    for (const t of [a, b]) ok(await bed.w.run([pasta, ...quietPorts, '--config-net', `${t.inner}`]))
    for (const t of [a, b]) works(await into(t.inner, traffic))
    await a.proc.stop()
    works(await into(b.inner, traffic))
    await b.proc.stop()
    await nothingLeft(before)
  })
})

describe('as root', () => {
  test('with /dev/net/tun at mode 0600', oursOnly, async () => {
    const before = await traces()
    const script = ['sh', '-ec', `id -u; ${py} tcp-read ${net.world4} 7006`]
    const r = ok(await bed.w.pasta(['--config-net'], script, { uid: 0, tightTun: true }))
    assert.match(r.stdout, /"data": "ok\\n"/)
    await nothingLeft(before)
  })
  test('--netns-only with a command', oursOnly, async () => {
    const r = ok(
      await bed.w.pasta(
        ['--config-net', '--netns-only'],
        ['sh', '-ec', `${py} tcp-read ${net.world4} 7006`],
        { uid: 0 }
      )
    )
    assert.match(r.stdout, /"data": "ok\\n"/)
  })
})

describe('the engine, which reads what the guest sends', () => {
  test('has no capability, no new privileges on any thread, and is not root', oursOnly, async () => {
    for (const uid of [1000, 0]) {
      const before = new Set(bed.w.pidsInside())
      const proc = bed.w.startPasta(['--config-net'], ['sh', '-c', 'echo up; sleep 30'], { uid })
      await proc.sees(/up/)
      const engines = bed.w.pidsInside().filter((pid) => !before.has(pid) && /node/.test(exeOf(pid)))
      assert.ok(engines.length > 0, `no engine among ${bed.w.processes().join(', ')}`)
      for (const pid of engines) {
        for (const thread of readdirSync(`/proc/${pid}/task`)) {
          const field = (name: string) => statusField(Number(thread), name)
          assert.equal(field('CapEff'), '0000000000000000', `thread ${thread} of ${pid}`)
          assert.equal(field('CapPrm'), '0000000000000000')
          assert.equal(field('NoNewPrivs'), '1')
          assert.ok(!field('Uid')!.split(/\s+/).includes('0'), `uids ${field('Uid')}`)
        }
      }
      await proc.stop()
    }
  })
})

describe('idle', () => {
  /** Seconds on a processor until next to nothing is used. */
  const usedUntilCalm = async (env: Readonly<Record<string, string>>): Promise<number> => {
    const before = new Set(bed.w.pidsInside())
    const proc = bed.w.startPasta(['--config-net'], ['sh', '-c', 'echo up; sleep 30'], { env })
    await proc.sees(/up/)
    const pids = bed.w.pidsInside().filter((pid) => !before.has(pid))
    await calm(pids, 0.1, 2000) // it warms up first, once
    const used = onProcessor(pids)
    await proc.stop()
    return used
  }
  test('next to no processor time, once it has warmed up; PASST_WARM_UP=no spares that', async () => {
    const [warmed, spared] = [await usedUntilCalm({}), await usedUntilCalm({ PASST_WARM_UP: 'no' })]
    if (!isPeer) assert.ok(spared < 0.7 * warmed, `${spared} s of ${warmed} s`)
  })
})
