import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { after, afterEach, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { LauncherRequest } from '../src/codecs/control/launcher.js'
import {
  bed,
  commOf,
  everyone,
  type Run,
  ready,
  runCommand,
  type Step,
  setup,
  spawnCommand
} from './launcher-bed.js'
import { sessionOf, sleep, until } from './lib/proc.js'

// Spawn mode of native/launcher against the kernel, as root and as an ordinary user.

const b = bed()
after(b.remove)
afterEach(b.nothingLeft)

describe('starting the engine', () => {
  test('arguments, session, descriptors, environment, signal mask', async () => {
    const r = b.start([['exit', 7]], {
      args: ['-x', 'two words', ''],
      env: {
        NODE_OPTIONS: '--inspect',
        NODE_CHANNEL_FD: '9',
        LD_LIBRARY_PATH: '/nowhere',
        OPENSSL_CONF: '/x',
        PASST_WARM_UP: 'no',
        TZ: 'x'
      }
    })
    const e = await r.engine()
    assert.deepEqual(e.argv.slice(1), [join(b.dir, 'bin/pasta'), '-x', 'two words', ''])
    assert.match(e.argv[0], /\/dist\/engine\.cjs$/)
    assert.deepEqual([e.pgid, e.sid], [e.pid, sessionOf(process.pid)])
    assert.equal(e.stdin, '/dev/null')
    const own = ['OPENSSL_CONF=/dev/null', 'PASST_WARM_UP=no', 'PATH', 'UV_USE_IO_URING=0']
    assert.deepEqual(e.environment, own)
    assert.deepEqual(e.blocked, [])
    assert.equal((await r.ended).status, 7)
  })
  test('its exit status and output before Ready are ours', async () => {
    const r = await b.start([
      ['print', 'usage'],
      ['exit', 0]
    ]).ended
    assert.deepEqual([r.status, r.stdout], [0, 'usage\n'])
    assert.equal((await b.start([setup(true), spawnCommand(0), ['exit', 3]]).ended).status, 3)
    const killed = await b.start([['kill', 9]]).ended
    assert.equal(killed.status, 1)
    assert.match(killed.stderr, /^pasta: .*Killed/)
  })
  test('through a symbolic link, name from argv[0]', async () => {
    const link = join(b.dir, 'link-to-passt')
    symlinkSync('bin/passt', link)
    const r = b.start([['exit', 0]], { before: [link] })
    assert.equal((await r.engine()).argv[1], link)
    await r.ended
  })
  test('from its snapshot, if that was made by this very Node', async () => {
    const [blob, stamp] = [join(b.dir, 'dist/engine.blob'), join(b.dir, 'dist/engine.stamp')]
    const stampOf = (node: string) =>
      execFileSync(join(dirname(fileURLToPath(import.meta.url)), '../build/Release/passt-stamp'), [
        node,
        blob
      ])
    const node = join(b.dir, 'node')
    writeFileSync(node, `#!/bin/sh\nexec "$(ls -t ${b.dir}/node.* | head -n 1)" "$@"\n`, { mode: 0o755 })
    const used = async () => {
      const r = b.start([['exit', 0]], { node })
      const { options } = await r.engine()
      await r.ended
      return options.includes(`--snapshot-blob=${b.dir}/bin/../dist/engine.blob`)
    }
    writeFileSync(blob, '')
    assert.equal(await used(), false)
    writeFileSync(stamp, stampOf('/bin/sh'))
    assert.equal(await used(), false)
    writeFileSync(stamp, stampOf(node))
    assert.equal(await used(), true)
    writeFileSync(blob, 'more or less of it')
    assert.equal(await used(), false)
    rmSync(blob)
    assert.equal(await used(), false)
  })
  test('no Node: message, status 1', async () => {
    const r = await b.start([], { node: '/nowhere/node' }).ended
    assert.equal(r.status, 1)
    assert.match(r.stderr, /Cannot run Node.js \(\/nowhere\/node\): No such file/)
  })
  test('no engine: message, status 1', async () => {
    const file = join(b.dir, 'dist/engine.cjs')
    rmSync(file)
    const r = await b.start([]).ended
    writeFileSync(file, '')
    assert.equal(r.status, 1)
    assert.match(r.stderr, /Cannot read the engine/)
  })
  test('too little address space for Node: message, status 1', async () => {
    const r = await b.start([], { before: ['sh', '-c', 'ulimit -v 100000; exec "$@"', 'sh'] }).ended
    assert.equal(r.status, 1)
    assert.match(r.stderr, /address space is 97 MiB, it takes about 1024 \(ulimit -v\)/)
  })
  test('closed standard streams do not become other files', async () => {
    const r = b.start(runCommand(), {
      before: ['sh', '-c', 'exec "$@" <&- >&- 2>&-', 'sh'],
      args: [
        'sh',
        '-c',
        `readlink /proc/self/fd/0 > ${b.dir}/streams; readlink /proc/self/fd/2 >> ${b.dir}/streams`
      ]
    })
    assert.equal((await r.ended).status, 0)
    assert.equal(readFileSync(`${b.dir}/streams`, 'utf8'), '/dev/null\n/dev/null\n')
  })
  test('descriptors that we inherit are closed, for the command as well', async () => {
    const r = b.start(runCommand(), {
      before: ['bash', '-c', 'exec 5</etc/passwd 77</etc/passwd; exec "$@"', 'sh'],
      args: ['sh', '-c', 'ls /proc/$$/fd']
    })
    assert.deepEqual((await r.engine()).fds.slice(0, 4), [0, 1, 2, 3])
    assert.equal((await r.ended).stdout, '0\n1\n2\n')
  })
})

for (const who of everyone)
  describe(`command, as ${who}`, () => {
    const output = async (args: ReadonlyArray<string>, steps: ReadonlyArray<Step> = runCommand()) => {
      const r = await b.start(steps, { who, args }).ended
      assert.equal(r.stderr, '')
      assert.equal(r.status, 0)
      return r.stdout
    }
    test('exit status', async () => {
      const took: number[] = []
      for (const n of [0, 7, 255]) {
        const r = await b.start(runCommand(), { who, args: ['sh', '-c', `date +%s%3N; exit ${n}`] }).ended
        took.push(Date.now() - Number(r.stdout))
        assert.deepEqual([r.status, r.stderr], [n, ''])
      }
      // one of them at least did not wait for the engine to be given up
      assert.ok(Math.min(...took) < 900, `${took} ms`)
    })
    test('killed by a signal: 128 + signal', async () => {
      const noPidns = runCommand({ noPidns: true })
      assert.equal((await b.start(noPidns, { who, args: ['sh', '-c', 'kill -TERM $$'] }).ended).status, 143)
      assert.equal((await b.start(noPidns, { who, args: ['sh', '-c', 'kill -KILL $$'] }).ended).status, 137)
    })
    test('cannot be executed: message, status 1', async () => {
      const r = await b.start(runCommand(), { who, args: ['no-such-command'] }).ended
      assert.deepEqual(
        [r.status, r.stderr],
        [1, 'pasta: Cannot run no-such-command: No such file or directory\n']
      )
    })
    test('is root and process 1 in namespaces of its own', async () => {
      const kinds = ['user', 'net', 'ipc', 'uts', 'mnt', 'pid']
      const script = `id -u; id -g; echo $$; for n in ${kinds.join(' ')}; do readlink /proc/self/ns/$n; done`
      const [uid, gid, pid, ...ns] = (await output(['sh', '-c', script])).trim().split('\n')
      assert.deepEqual([uid, gid, pid], ['0', '0', '1'])
      for (const [i, kind] of kinds.entries())
        assert.notEqual(ns[i], readlinkSync(`/proc/self/ns/${kind}`), kind)
    })
    test('holds all capabilities, and no other process is in its /proc', async () => {
      const script =
        'grep CapEff /proc/self/status; grep CapBnd /proc/self/status; ls /proc | grep -c "^[0-9]"'
      const [eff, bnd, processes] = (await output(['sh', '-c', script])).trim().split('\n')
      assert.equal(eff.split('\t')[1], bnd.split('\t')[1])
      assert.ok(Number(processes) <= 3)
    })
    test('--no-pidns', async () => {
      const script = 'readlink /proc/self/ns/pid; echo $$'
      const [pidns, pid] = (await output(['sh', '-c', script], runCommand({ noPidns: true })))
        .trim()
        .split('\n')
      assert.equal(pidns, readlinkSync('/proc/self/ns/pid'))
      assert.notEqual(pid, '1')
    })
    test('host name', async () => {
      assert.equal(await output(['hostname']), `pasta-${hostname()}\n`.slice(0, 65))
      assert.equal(await output(['hostname'], runCommand({ hostname: 'xyz' })), 'xyz\n')
      const long = 'n'.repeat(253)
      assert.equal(await output(['hostname'], runCommand({ hostname: long })), `${long.slice(0, 64)}\n`)
    })
    test('ping_group_range', async () => {
      assert.equal(await output(['cat', '/proc/sys/net/ipv4/ping_group_range']), '0\t0\n')
    })
    test('default shell is a login shell', async () => {
      const r = b.start([setup(true), spawnCommand(0), ready, ['serve']], {
        who,
        env: { SHELL: '/bin/dash' }
      })
      r.child.stdin?.end('tr "\\0" " " < /proc/$$/cmdline; exit 4\n')
      const e = await r.ended
      assert.deepEqual([e.status, e.stdout.trim()], [4, '-/bin/dash'])
    })
    test('environment, working directory and streams are ours', async () => {
      const r = b.start(runCommand(), {
        who,
        env: { NODE_OPTIONS: '--for-the-command' },
        args: ['sh', '-c', 'pwd; echo $NODE_OPTIONS; cat; echo err >&2']
      })
      r.child.stdin?.end('input\n')
      const e = await r.ended
      assert.deepEqual([e.stdout, e.stderr], [`${process.cwd()}\n--for-the-command\ninput\n`, 'err\n'])
    })
    test('waits for Ready', async () => {
      const gate = b.gate()
      const r = b.start([setup(true), spawnCommand(1), gate.step, ready, ['serve']], {
        who,
        args: ['true']
      })
      const command = await r.command()
      await sleep(100)
      assert.match(readFileSync(`/proc/${command}/cmdline`, 'utf8'), /pasta/)
      gate.open()
      assert.equal((await r.ended).status, 0)
    })
    test('pid file: 0600, empty until ready, names us, stays', async () => {
      const file = join(b.dir, `pid-${who}`)
      const gate = b.gate()
      const steps: Step[] = [setup(true, file), spawnCommand(1), gate.step, ready, ['serve']]
      const r = b.start(steps, { who, args: ['sh', '-c', `cat ${file}`] })
      await r.replies(1)
      assert.equal(statSync(file).mode & 0o777, 0o600)
      assert.equal(readFileSync(file, 'utf8'), '')
      gate.open()
      const e = await r.ended
      assert.equal(e.stdout, `${r.pid}\n`)
      assert.equal(readFileSync(file, 'utf8'), `${r.pid}\n`)
      const failed = await b.start([setup(true, '/nowhere/pid')], { who }).ended
      assert.equal(failed.status, 1)
      assert.match(failed.stderr, /Cannot open pid file \/nowhere\/pid: No such file/)
    })
    test('all that runs in the PID namespace ends with the command', async () => {
      const r = b.start(runCommand(), { who, args: ['sh', '-c', 'setsid sleep 100 & sleep 0.1; exit 5'] })
      assert.equal((await r.ended).status, 5)
    })
    test('the engine gets to end in good order, but not for ever', async () => {
      const r = await b.start([setup(true), spawnCommand(1), ready, ['sleep', 100]], { who, args: ['true'] })
        .ended
      assert.equal(r.status, 0)
      assert.ok(r.ms >= 900 && r.ms < 20_000, `${r.ms} ms`)
    })
  })

const sleepers = (r: Run): ReadonlyArray<number> => r.processes().filter((p) => commOf(p) === 'sleep')

describe('SIGKILL of any one process leaves nothing behind', () => {
  for (const who of everyone)
    for (const noPidns of [false, true]) {
      const o = { who, args: ['sh', '-c', 'echo up; sleep 100; :'] }
      const started = async () => {
        const r = b.start(runCommand({ noPidns }), o)
        let up = false
        r.child.stdout?.once('data', () => {
          up = true
        })
        await until('the command', () => up)
        await until('its child', () => sleepers(r).length === 1)
        return r
      }
      const title = `${who}${noPidns ? ', no PID namespace' : ''}`
      // In the host's PID namespace a grandchild is not ours to know, and stays
      const othersEnd = async (r: Run, spared: ReadonlyArray<number>) => {
        await until('the others', () => r.processes().every((p) => spared.includes(p)))
        for (const p of spared) process.kill(p, 'SIGKILL')
      }
      test(`launcher (${title})`, async () => {
        const r = await started()
        const spared = noPidns ? sleepers(r) : []
        process.kill(r.pid, 'SIGKILL')
        await othersEnd(r, spared)
        assert.equal((await r.ended).signal, 'SIGKILL')
      })
      test(`engine (${title})`, async () => {
        const r = await started()
        const spared = noPidns ? sleepers(r) : []
        process.kill((await r.engine()).pid, 'SIGKILL')
        await othersEnd(r, spared)
        const e = await r.ended
        assert.equal(e.status, 2)
        assert.match(e.stderr, /^pasta: The engine ended unexpectedly: Killed; ending the command\n$/)
      })
      if (!noPidns)
        test(`command (${title})`, async () => {
          const r = await started()
          process.kill(await r.command(), 'SIGKILL')
          assert.equal((await r.ended).status, 137)
        })
      test(`launcher before Ready (${title})`, async () => {
        const r = b.start([setup(true), spawnCommand(1, { noPidns }), ['serve']], o)
        await r.command()
        process.kill(r.pid, 'SIGKILL')
        await r.ended
      })
    }
  test('launcher, after the command changed its user (PR_SET_PDEATHSIG is lost)', async () => {
    const r = b.start(runCommand({ netnsOnly: true, noPidns: true }), {
      args: ['setpriv', '--reuid=65534', '--clear-groups', 'sleep', '100']
    })
    const command = await r.command()
    await until('sleep', () => commOf(command) === 'sleep')
    process.kill(r.pid, 'SIGKILL')
    await r.ended
  })
  test('the guards that root needs: their end ends nothing', async () => {
    const r = b.start(runCommand({ netnsOnly: true }), { args: ['sleep', '3'] })
    const command = await r.command()
    const engine = (await r.engine()).pid
    await r.replies(3)
    const guards = () => r.processes().filter((p) => ![r.pid, command, engine].includes(p))
    await until('two of them, and the end of the process that makes taps', () => guards().length === 2)
    for (const guard of guards()) process.kill(guard, 'SIGKILL')
    assert.equal((await r.ended).status, 0)
  })
  // Its user is not ours any more, and we have no capability outside the user namespace
  test('an engine that changed its user and hangs, at the end of the command', async () => {
    const r = await b.start([setup(true), spawnCommand(1), ['become', 65534], ready, ['sleep', 100]], {
      args: ['true']
    })
    const e = await r.ended
    assert.equal(e.status, 0)
    assert.ok(e.ms < 20_000, `${e.ms} ms`)
  })
  test('an engine that changed its user and hangs, at SIGKILL of the launcher', async () => {
    const steps: Step[] = [setup(true), spawnCommand(1), ['become', 65534], ready, ['sleep', 100]]
    const r = b.start(steps, { args: ['sleep', '100'] })
    await r.replies(3)
    process.kill(r.pid, 'SIGKILL')
    await r.ended
  })
})

describe('names of users and groups', () => {
  const names = (user: string, group: string): LauncherRequest => ({ type: 'Names', user, group })
  test('their numbers, before anything is given up only', async () => {
    const steps: Step[] = [
      ['try', names('daemon', '')],
      ['try', names('daemon', 'users')],
      ['try', names('', 'users')],
      ['try', names('', '')],
      ['try', names('nosuch', '')],
      ['try', names('daemon', 'nosuch')],
      setup(true),
      ['try', names('root', '')],
      ['try', { type: 'Identity', uid: 0, gid: 0, late: true }],
      ['try', names('root', '')],
      spawnCommand(1),
      ['try', names('root', '')],
      ready,
      ['try', names('root', '')]
    ]
    const r = b.start([...steps, ['sleep', 100]], { args: ['sleep', '100'] })
    const replies = (await r.replies(steps.length)).map(({ reply }) => reply)
    const found = (uid: number, gid: number) => ({ type: 'Names', uid, gid })
    assert.deepEqual(replies.slice(0, 4), [found(1, 1), found(1, 100), found(0, 100), found(0, 0)])
    const missing = (text: string) => ({ type: 'Failed', kind: 14, errno: 2, text })
    assert.deepEqual(replies.slice(4, 6), [missing('no such user: nosuch'), missing('no such group: nosuch')])
    assert.deepEqual(replies[7], found(0, 0))
    for (const i of [9, 11, 13]) assert.equal(replies[i].type === 'Failed' && replies[i].errno, 71) // EPROTO
    process.kill(r.pid, 'SIGKILL')
    await r.ended
  })
})

describe('an engine that is not what it was', () => {
  const args = ['sleep', '100']
  test('namespaces and taps are not to be had after Ready', async () => {
    const tries: Step[] = [
      ['try', { type: 'Tap', vnet: true, ifname: 'again' }],
      ['try', { type: 'Spawn', netnsOnly: true, noPidns: true, argvIndex: 1, hostname: '' }],
      ['try', { type: 'Join', pid: 1, noQuit: true, userns: '', netns: '' }],
      ['try', { type: 'Setup', foreground: true, pidFile: '/nowhere' }],
      ['try', { type: 'Ready', status: '' }],
      ['exit', 0]
    ]
    const r = b.start([setup(true), spawnCommand(1), ready, ...tries], { args })
    const replies = (await r.replies(8)).slice(3)
    for (const { reply } of replies) assert.equal(reply.type, 'Failed')
    assert.equal((await r.ended).status, 2)
  })
  test('netlink outside a namespace is not to be had', async () => {
    const r = b.start([setup(true), ['try', { type: 'Netlink', bytes: new Uint8Array(32) }], ['exit', 0]])
    assert.equal((await r.replies(2))[1].reply.type, 'Failed')
    await r.ended
  })
  test('malformed requests are answered with an error', async () => {
    const bad: ReadonlyArray<ReadonlyArray<number>> = [
      [1],
      [11, 0, 0, 0],
      [1, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255],
      [2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0],
      [3, 0, 0, 0],
      [4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 65, 0],
      [5, 0, 0, 0],
      [7, 0, 0, 0, 0]
    ]
    const r = b.start([...bad.map((m): Step => ['try', Uint8Array.from(m)]), ['exit', 0]])
    for (const { reply } of await r.replies(bad.length)) assert.equal(reply.type, 'Failed')
    assert.equal((await r.ended).status, 0)
  })
  test('one that closes the control socket is ended', async () => {
    const r = b.start([setup(true), spawnCommand(1), ready, ['close'], ['sleep', 100]], { args })
    assert.equal((await r.ended).status, 2)
  })
})
