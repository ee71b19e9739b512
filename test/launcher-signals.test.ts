import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { after, afterEach, describe, test } from 'node:test'
import { LauncherRequest } from '../src/codecs/control/launcher.js'
import {
  bed,
  everyone,
  fakeEngine,
  ptyRunner,
  runCommand,
  setup,
  spawnCommand,
  stateOf,
  writeNode
} from './launcher-bed.js'
import { repo } from './lib/cache.js'
import { sleep, until } from './lib/proc.js'

// Signals to the launcher with a command, and a terminal's.

const b = bed()
after(b.remove)
afterEach(b.nothingLeft)

/** Traps a signal, says so, and ends with 9 at the first one. */
const trap = (name: string): ReadonlyArray<string> => [
  'sh',
  '-c',
  `trap 'echo got ${name}; exit 9' ${name}; echo up; while :; do sleep 0.05; done`
]
const plain = ['sh', '-c', 'echo up; while :; do sleep 0.05; done']
const started = async (
  args: ReadonlyArray<string>,
  o: Parameters<typeof b.start>[1] = {},
  noPidns = false
) => {
  const r = b.start(runCommand({ noPidns }), { args, ...o })
  let up = false
  r.child.stdout?.once('data', () => {
    up = true
  })
  await until('the command', () => up)
  return r
}

for (const who of everyone)
  for (const noPidns of [false, true])
    describe(`as ${who}${noPidns ? ', no PID namespace' : ''}`, () => {
      for (const [name, number] of [
        ['TERM', 15],
        ['QUIT', 3],
        ['HUP', 1],
        ['INT', 2]
      ] as const) {
        test(`SIG${name} is handed on to a command that catches it`, async () => {
          const r = await started(trap(name), { who }, noPidns)
          process.kill(r.pid, `SIG${name}`)
          const e = await r.ended
          assert.deepEqual([e.status, e.stdout], [9, `up\ngot ${name}\n`])
        })
        test(`SIG${name} ends a command that does not`, async () => {
          const r = await started(plain, { who }, noPidns)
          process.kill(r.pid, `SIG${name}`)
          assert.equal((await r.ended).status, 128 + number)
        })
      }
      test('SIGUSR1 is handed on when caught, and ends nothing', async () => {
        const r = await started(trap('USR1'), { who }, noPidns)
        process.kill(r.pid, 'SIGUSR2')
        await sleep(100)
        process.kill(r.pid, 'SIGUSR1')
        assert.equal((await r.ended).status, 9)
      })
      test('a signal that the command ignores ends nothing', async () => {
        const gate = b.gate()
        const script = `trap "" TERM; echo up; ${gate.line}; exit 6`
        const r = await started(['sh', '-c', script], { who }, noPidns)
        process.kill(r.pid, 'SIGTERM')
        await sleep(100)
        gate.open()
        assert.equal((await r.ended).status, 6)
      })
    })

describe('process 1 that blocks a signal', () => {
  const python = (body: string): ReadonlyArray<string> => [
    '/usr/bin/python3',
    '-c',
    `import signal, sys, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, [10, 15])\nprint("up", flush=True)\n${body}`
  ]
  test('and waits for it, gets it', async () => {
    const r = await started(python('signal.sigwait([15]); time.sleep(0.3); sys.exit(8)'))
    process.kill(r.pid, 'SIGTERM')
    assert.equal((await r.ended).status, 8)
  })
  test('gets SIGUSR1 as well', async () => {
    const r = await started(python('time.sleep(0.3); signal.sigwait([10]); sys.exit(8)'))
    process.kill(r.pid, 'SIGUSR1')
    assert.equal((await r.ended).status, 8)
  })
  test('for a moment only, and would die by it, dies', async () => {
    const r = await started(
      python('time.sleep(0.05); signal.pthread_sigmask(signal.SIG_UNBLOCK, [15]); time.sleep(100)')
    )
    process.kill(r.pid, 'SIGTERM')
    assert.equal((await r.ended).status, 143)
  })
})

describe('before the command runs', () => {
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const)
    test(`${name} ends all by its default action`, async () => {
      const r = b.start([setup(true), spawnCommand(1), ['serve']], { args: ['true'] })
      await r.command()
      process.kill(r.pid, name)
      assert.equal((await r.ended).signal, name)
    })
  test('under nohup, SIGHUP does nothing', async () => {
    const gate = b.gate()
    const r = b.start([setup(true), gate.step, ['exit', 0]], {
      before: ['sh', '-c', 'trap "" HUP; exec "$@"', 'sh']
    })
    await r.replies(1)
    process.kill(r.pid, 'SIGHUP')
    await sleep(100)
    gate.open()
    assert.equal((await r.ended).status, 0)
  })
  test('a parent that ignores SIGCHLD does not hide statuses, and the command inherits that', async () => {
    const ignoring =
      'import os, signal, sys; signal.signal(17, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])'
    const r = b.start(runCommand(), {
      before: ['/usr/bin/python3', '-c', ignoring],
      args: ['/usr/bin/python3', '-c', 'import signal, sys; print(signal.getsignal(17)); sys.exit(4)']
    })
    const e = await r.ended
    assert.deepEqual([e.status, e.stdout], [4, '1\n']) // SIG_IGN
  })
})

describe('stopping', () => {
  // SIGTSTP does not stop an orphaned process group, and ours may be one; in a group of its own the launcher is not alone,
  // as we, its parent, are in the same session: credentials(7)
  const group = 'import os, sys; os.setpgid(0, 0); os.execv(sys.argv[1], sys.argv[1:])'
  const ownGroup = { before: ['/usr/bin/python3', '-c', group] }
  for (const noPidns of [false, true])
    test(`SIGTSTP stops launcher and command, SIGCONT both go on${noPidns ? ' (no PID namespace)' : ''}`, async () => {
      const r = await started(plain, ownGroup, noPidns)
      const command = await r.command()
      process.kill(r.pid, 'SIGTSTP')
      if (!noPidns) await until('the command to stop', () => stateOf(command) === 'T')
      await until('the launcher to stop', () => stateOf(r.pid) === 'T')
      assert.notEqual(stateOf((await r.engine()).pid), 'T')
      process.kill(r.pid, 'SIGCONT')
      await until('both to go on', () => stateOf(r.pid) !== 'T' && stateOf(command) !== 'T')
      process.kill(r.pid, 'SIGTERM')
      assert.equal((await r.ended).status, 143)
    })
  /** As shells do around a fork(), but most of the time. */
  const blocking = `import signal, time
print("up", flush=True)
while True:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP, signal.SIGTERM, signal.SIGINT])
    time.sleep(0.02)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTSTP, signal.SIGTERM, signal.SIGINT])
    time.sleep(0.005)`
  test('SIGTERM ends a command that blocks signals now and then', async () => {
    for (let i = 0; i < 5; i++) {
      const r = await started(['/usr/bin/python3', '-c', blocking])
      process.kill(r.pid, 'SIGTERM')
      assert.equal((await r.ended).status, 143)
    }
  })
  test('SIGTSTP stops a command that blocks signals now and then', async () => {
    const r = await started(['/usr/bin/python3', '-c', blocking], ownGroup)
    const command = await r.command()
    process.kill(r.pid, 'SIGTSTP')
    await until('both to stop', () => stateOf(r.pid) === 'T' && stateOf(command) === 'T')
    process.kill(r.pid, 'SIGCONT')
    await until('both to go on', () => stateOf(r.pid) !== 'T' && stateOf(command) !== 'T')
    process.kill(r.pid, 'SIGTERM')
    assert.equal((await r.ended).status, 143)
  })
})

describe('on a terminal', () => {
  const onTerminal = (
    steps: ReadonlyArray<ReadonlyArray<string | number>>,
    args: ReadonlyArray<string>,
    o: { noPidns?: boolean; argvIndex?: number; env?: Record<string, string> } = {}
  ) => {
    const requests = [setup(true), spawnCommand(o.argvIndex ?? 1, { noPidns: o.noPidns ?? false })]
    const encoded = [...requests, ['call', { type: 'Ready', status: '' }] as const].map(([verb, r]) => [
      verb,
      Buffer.from(LauncherRequest.encode(r as LauncherRequest)).toString('hex')
    ])
    const node = join(b.dir, 'node.pty')
    writeNode(node, fakeEngine, {
      FAKE_STEPS: JSON.stringify([...encoded, ['serve']]),
      FAKE_LOG: join(b.dir, 'pty.log')
    })
    const run = spawnSync(ptyRunner, [JSON.stringify(steps), join(b.dir, 'bin/pasta'), ...args], {
      encoding: 'utf8',
      env: {
        ...process.env,
        PASST_NODE: node,
        PS1: 'prompt> ',
        ...o.env
      }
    })
    return JSON.parse(run.stdout) as { status: number | string; restored: boolean; output: string }
  }
  /** Programs are deaf for a moment after their prompt. */
  const idle = ['idle', 0.3]
  const ctrlC = ['send', '\u0003']
  test('^C ends a command that does not catch it', () => {
    for (const noPidns of [false, true])
      assert.equal(onTerminal([['expect', 'up'], ctrlC], plain, { noPidns }).status, 130)
  })
  test('^C comes once to a command that catches it', () => {
    const script =
      'n=0; trap "n=\\$((n+1))" INT; echo up; until [ $n -gt 0 ]; do sleep 0.1; done; sleep 0.5; echo count $n; exit 3'
    const r = onTerminal([['expect', 'up'], ctrlC, ['expect', 'count']], ['sh', '-c', script])
    assert.deepEqual([r.status, /count 1\r/.test(r.output)], [3, true], r.output)
  })
  test('^\\ ends with 131', () => {
    assert.equal(
      onTerminal(
        [
          ['expect', 'up'],
          ['send', '\u001c']
        ],
        plain
      ).status,
      131
    )
  })
  test('a Python prompt survives ^C', () => {
    const r = onTerminal(
      [
        ['expect', '>>> '],
        idle,
        ctrlC,
        ['expect', 'KeyboardInterrupt'],
        ['expect', '>>> '],
        ['send', 'exit(5)\n']
      ],
      ['/usr/bin/python3', '-q']
    )
    assert.equal(r.status, 5, r.output)
  })
  test('^Z stops the job, fg continues it', () => {
    for (const noPidns of [false, true]) {
      const steps = [
        ['expect', 'up'],
        ['send', '\u001a'],
        ['state', 'T'],
        ['continue'],
        ['state', 'SR'],
        ctrlC
      ]
      assert.equal(onTerminal(steps, plain, { noPidns }).status, 130)
    }
  })
  test('an interactive shell with job control; the terminal is ours again at the end', () => {
    const steps = [
      ['expect', 'prompt> '],
      ['send', 'echo run""ning; sleep 100\n'],
      ['expect', 'running'],
      idle,
      ctrlC,
      ['expect', 'prompt> '],
      ['send', 'exit 6\n']
    ]
    const r = onTerminal(steps, ['bash', '--norc', '-i'])
    assert.deepEqual([r.status, r.restored], [6, true], r.output)
  })
  test('the engine may say something on a terminal that stops what is in background (stty tostop)', () => {
    const program = join(repo, 'bin/pasta')
    const run = spawnSync(ptyRunner, ['[]', 'sh', '-c', `stty tostop; exec ${program} --version`], {
      encoding: 'utf8'
    })
    const r = JSON.parse(run.stdout) as { status: number | string; output: string }
    assert.equal(r.status, 0, run.stdout)
    assert.match(r.output, /^pasta \d/)
  })
  test('default shell', () => {
    const r = onTerminal(
      [
        ['expect', '# '],
        ['send', 'echo $0; exit 2\n']
      ],
      [],
      {
        argvIndex: 0,
        env: { SHELL: '/bin/dash' }
      }
    )
    assert.equal(r.status, 2, r.output)
    assert.match(r.output, /-\/bin\/dash/)
  })
})
