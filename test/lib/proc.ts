// Child processes with collected output and hard deadlines, and a look at the process table from outside.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export interface Result {
  readonly argv: ReadonlyArray<string>
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  /** Wall time in milliseconds. */
  readonly ms: number
  /** The deadline passed and the process was killed. */
  readonly timedOut: boolean
}

export const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))

/** ms for what takes a moment: how long it may take where a machine has much else to do. Only what fails takes this long. */
const PATIENCE = 60_000

/** ms that a process may live, unless said otherwise. */
const LIFETIME = 120_000

/**
 * Polls until `probe` gives something that is not undefined or false; throws after `ms` milliseconds.
 * Waiting for a condition, never for a time, keeps the tests independent of the machine's speed.
 */
export const until = async <A>(
  what: string,
  probe: () => A | undefined | false | Promise<A | undefined | false>,
  ms = PATIENCE
): Promise<A> => {
  const end = Date.now() + ms
  for (;;) {
    const began = Date.now()
    const got = await probe()
    if (got !== undefined && got !== false) return got
    const now = Date.now()
    if (now > end) throw new Error(`still not so after ${ms} ms: ${what}`)
    // As long as it took to look: what is waited for needs the processor as well
    await sleep(Math.max(20, now - began))
  }
}

/** One of a few times takes less than `ms` milliseconds: what always waits for something does not, whatever else runs. */
export const quickly = async (ms: number, once: () => Promise<number>): Promise<void> => {
  const took: number[] = []
  do took.push(await once())
  while (took.at(-1)! >= ms && took.length < 5)
  assert.ok(took.at(-1)! < ms, `took ${took.join(', ')} ms, and never less than ${ms}`)
}

/** pid -> parent pid, of all processes visible here. */
export const parents = (): Map<number, number> => {
  const map = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1')
      map.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
    } catch {
      // ended meanwhile
    }
  }
  return map
}

export const childrenOf = (pid: number): number[] =>
  [...parents()].filter(([, p]) => p === pid).map(([c]) => c)

/** `pid` and everything below it, parents first. */
export const treeOf = (pid: number): number[] => {
  const all = [...parents()]
  const tree = [pid]
  for (let i = 0; i < tree.length; i++) tree.push(...all.filter(([, p]) => p === tree[i]).map(([c]) => c))
  return tree.filter((p) => p === pid || all.some(([c]) => c === p))
}

/** Field of /proc/PID/status (`VmRSS`, `NSpid`, `State` ...), undefined when the process is gone. */
export const statusField = (pid: number, field: string): string | undefined => {
  try {
    return new RegExp(`^${field}:[ \\t]*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  } catch {
    return undefined
  }
}

/** Session of a process, as this PID namespace names it (proc_pid_status(5)). */
export const sessionOf = (pid: number): number => Number(statusField(pid, 'NSsid')?.split('\t')[0])

/** Running, that is, present and not a zombie waiting to be reaped. */
export const alive = (pid: number): boolean => !/^[ZX]/.test(statusField(pid, 'State') ?? 'X')

/** Resident memory of one process in KiB, 0 when it is gone. */
export const rss = (pid: number): number => Number.parseInt(statusField(pid, 'VmRSS') ?? '0', 10)

export const exeOf = (pid: number): string => {
  try {
    return readlinkSync(`/proc/${pid}/exe`)
  } catch {
    return ''
  }
}

/** User and system time of processes, in clock ticks (1/100 s on Linux). */
export const busyTicks = (pids: ReadonlyArray<number>): number =>
  pids.reduce((sum, pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return sum + Number(fields[11]) + Number(fields[12])
    } catch {
      return sum
    }
  }, 0)

/** Seconds that the threads of processes have been on a processor (/proc/PID/schedstat, to the ns); those that ended do not count. */
export const onProcessor = (pids: ReadonlyArray<number>): number =>
  pids
    .flatMap((pid) => tasksOf(pid))
    .reduce((sum, task) => {
      try {
        return sum + Number(readFileSync(`${task}/schedstat`, 'latin1').split(' ')[0]) / 1e9
      } catch {
        return sum
      }
    }, 0)
const tasksOf = (pid: number): string[] => {
  try {
    return readdirSync(`/proc/${pid}/task`).map((tid) => `/proc/${pid}/task/${tid}`)
  } catch {
    return []
  }
}

/**
 * Waits for a moment of `ms` milliseconds in which the processes use less than `share` of one processor: what is
 * begun (compiling, the end of connections) may take its time on a busy machine, what spins never gets there.
 * Returns the share; throws after PATIENCE, and where one of them ends: it would seem calm for the wrong reason.
 */
export const calm = async (pids: ReadonlyArray<number>, share: number, ms = 500): Promise<number> => {
  const seen: number[] = []
  const looked = pids.filter(alive)
  assert.ok(looked.length > 0, 'no process to look at')
  return until(`less than ${share} of a processor used while nothing happens`, async () => {
    const ticks = busyTicks(looked)
    const began = performance.now()
    await sleep(ms)
    const used = busyTicks(looked) - ticks
    assert.ok(looked.every(alive), 'one has ended meanwhile')
    seen.push((used * 10) / (performance.now() - began))
    return seen.at(-1)! < share && seen.at(-1)
  }).catch((e: Error) => {
    throw new Error(`${e.message}: ${seen.map((n) => n.toFixed(2)).join(' ')}`)
  })
}

/**
 * Lets everything started from now on have `wanted` descriptors each, or as many as the machine allows (raising the hard
 * limit takes CAP_SYS_RESOURCE, which containers seldom have). Gives how many that are.
 */
export const manyDescriptors = (wanted: number): number => {
  const prlimit = (...args: string[]) =>
    spawnSync('prlimit', ['--pid', `${process.pid}`, ...args], { encoding: 'utf8' })
  if (prlimit(`--nofile=${wanted}`).status === 0) return wanted
  const hard = Number(prlimit('--nofile', '--raw', '--noheadings', '--output', 'HARD').stdout)
  if (!(hard >= 4096)) throw new Error(`a hard limit of ${hard} descriptors is too low for these tests`)
  prlimit(`--nofile=${hard}`)
  return hard
}

/** Arguments joined by blanks, empty when the process is gone. */
export const cmdlineOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replace(/\0/g, ' ').trim()
  } catch {
    return ''
  }
}

export const kill = (pid: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(pid, signal)
  } catch {
    // gone already
  }
}

/** A started process; `wrapped` says that argv[0] is nsenter(1), whose only child is the process that we mean. */
export class Proc {
  stdout = ''
  stderr = ''
  private readonly child: ChildProcess
  private readonly ended: Promise<Result>
  private result: Result | undefined
  private inner: number | undefined

  constructor(
    readonly argv: ReadonlyArray<string>,
    private readonly wrapped: boolean,
    options: { timeout?: number; input?: string | Uint8Array; env?: NodeJS.ProcessEnv }
  ) {
    const began = performance.now()
    let timedOut = false
    this.child = spawn(argv[0]!, argv.slice(1), {
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      ...(options.env === undefined ? {} : { env: options.env })
    })
    this.child.stdout!.setEncoding('utf8').on('data', (s: string) => {
      this.stdout += s
    })
    this.child.stderr!.setEncoding('utf8').on('data', (s: string) => {
      this.stderr += s
    })
    if (options.input !== undefined) {
      this.child.stdin!.on('error', () => {})
      this.child.stdin!.end(options.input)
    }
    const limit = options.timeout ?? LIFETIME
    let grace: NodeJS.Timeout | undefined
    const timer = setTimeout(() => {
      timedOut = true
      for (const pid of treeOf(this.child.pid!).reverse()) kill(pid, 'SIGKILL')
      // Somebody below who survived in another session may still hold the pipes.
      grace = setTimeout(() => {
        this.child.stdout!.destroy()
        this.child.stderr!.destroy()
      }, 1_000)
    }, limit)
    this.ended = new Promise((done, fail) => {
      this.child.on('error', fail)
      this.child.on('close', (code, signal) => {
        clearTimeout(timer)
        clearTimeout(grace)
        const { stdout, stderr } = this
        this.result = { argv, code, signal, stdout, stderr, ms: performance.now() - began, timedOut }
        done(this.result)
      })
    })
    this.ended.catch(() => {})
  }

  /** Pid, as seen from outside, of the process itself (not of nsenter). */
  async pid(): Promise<number> {
    if (!this.wrapped) return this.child.pid!
    this.inner ??= await until(`process of ${this.argv.join(' ')}`, () => {
      if (this.result !== undefined) throw new Error(`ended at once: ${this.stderr}${this.stdout}`)
      return childrenOf(this.child.pid!)[0]
    })
    return this.inner
  }

  get running(): boolean {
    return this.result === undefined
  }

  wait(): Promise<Result> {
    return this.ended
  }

  async signal(name: NodeJS.Signals): Promise<void> {
    if (this.running) kill(await this.pid(), name)
  }

  /** Waits until the output has a match. */
  async sees(
    pattern: RegExp,
    where: 'stdout' | 'stderr' = 'stdout',
    ms = PATIENCE
  ): Promise<RegExpExecArray> {
    const said = (): string => `stdout: ${this.stdout.slice(-4000)}\nstderr: ${this.stderr.slice(-4000)}`
    return until(
      `${pattern} in ${where} of ${this.argv.slice(-6).join(' ')}`,
      () => {
        const match = pattern.exec(this[where])
        if (match === null && !this.running) throw new Error(`ended without ${pattern}\n${said()}`)
        return match ?? undefined
      },
      ms
    ).catch((e: Error) => {
      throw this.running ? new Error(`${e.message}\n${said()}`) : e
    })
  }

  /** Kills the process and all below it, by id, and waits until it is gone. */
  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<Result> {
    if (this.running) for (const pid of treeOf(this.child.pid!).slice(this.wrapped ? 1 : 0)) kill(pid, signal)
    return this.ended
  }
}
