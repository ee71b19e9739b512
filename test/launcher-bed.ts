import { type ChildProcess, spawn } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as E from 'fp-ts/lib/Either.js'
import { LauncherReply, LauncherRequest } from '../src/codecs/control/launcher.js'
import { octets } from '../src/codecs/value/octets.js'
import { until } from './lib/proc.js'

// A bed for the real launcher with an engine that a test scripts (launcher/fake-engine.py).

const here = dirname(fileURLToPath(import.meta.url))
/** The launcher as built, or another build of it (sanitizers). */
const built = process.env.PASST_TEST_LAUNCHER ?? join(here, '../build/Release/passt-launcher')
export const fakeEngine = join(here, 'launcher/fake-engine.py')
export const ptyRunner = join(here, 'launcher/on-terminal.py')

/** Who starts the launcher. `user`: nobody, with a /dev/net/tun that everybody may open, as on most systems. */
export type Who = 'root' | 'user'
export const everyone: ReadonlyArray<Who> = ['root', 'user']

export type Step =
  | readonly ['serve' | 'close' | 'detach']
  | readonly ['exit' | 'kill' | 'sleep' | 'become', number]
  | readonly ['print' | 'python', string]
  | readonly ['call' | 'try' | 'flood', LauncherRequest | Uint8Array]

export interface Replied {
  readonly reply: LauncherReply
  /** The first descriptor, -1 = none. */
  readonly fd: number
  readonly fds: ReadonlyArray<number>
}
export interface EngineNote {
  readonly pid: number
  readonly argv: ReadonlyArray<string>
  readonly pgid: number
  readonly sid: number
  readonly stdin: string
  readonly fds: ReadonlyArray<number>
  /** What it has but the shell that starts it: PATH without its value. */
  readonly environment: ReadonlyArray<string>
  /** For Node itself. */
  readonly options: ReadonlyArray<string>
  readonly blocked: ReadonlyArray<number>
}
export interface Ended {
  readonly status: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
  readonly ms: number
}
export interface Run {
  readonly child: ChildProcess
  readonly pid: number
  readonly ended: Promise<Ended>
  /** What the engine noted first; waits for it. */
  readonly engine: () => Promise<EngineNote>
  /** At least `n` replies; waits for them. */
  readonly replies: (n: number) => Promise<ReadonlyArray<Replied>>
  /** The same, not decoded. */
  readonly rawReplies: (n: number) => Promise<ReadonlyArray<Uint8Array>>
  /** What python steps noted as `what`; waits for at least one. */
  readonly noted: (what: string) => Promise<ReadonlyArray<unknown>>
  /** Process id of the command, from the reply to Spawn. */
  readonly command: () => Promise<number>
  /** Processes of this run that exist, by the mark in their environment. */
  readonly processes: () => ReadonlyArray<number>
}
export interface Options {
  readonly who?: Who
  readonly name?: string
  readonly args?: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string>>
  /** In front of the launcher, e.g. a shell that closes descriptors. */
  readonly before?: ReadonlyArray<string>
  readonly node?: string
}

/** State letter of proc_pid_stat(5), '' when there is no such process. */
export const stateOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '')[0]
  } catch {
    return ''
  }
}
/** Name of what a process executes, '' when there is no such process. */
export const commOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd()
  } catch {
    return ''
  }
}
export const alive = (pid: number): boolean => !['', 'Z', 'X'].includes(stateOf(pid))

let runs = 0
const marked = (mark: string): ReadonlyArray<number> =>
  readdirSync('/proc')
    .filter((p) => /^\d+$/.test(p))
    .map(Number)
    .filter((pid) => {
      try {
        return (
          alive(pid) &&
          readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`PASST_TEST_RUN=${mark}`)
        )
      } catch {
        return false
      }
    })

const asUser = (argv: ReadonlyArray<string>): ReadonlyArray<string> => [
  'unshare',
  '-m',
  'sh',
  '-c',
  'mount -t tmpfs none /dev/net && chmod 755 /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "$@"',
  'sh',
  'setpriv',
  '--reuid=65534',
  '--regid=65534',
  '--clear-groups',
  ...argv
]

/** A script that starts the scripted engine with `environment`, of which the launcher would hand on nothing. */
export const writeNode = (
  to: string,
  engine: string,
  environment: Readonly<Record<string, string>>
): void => {
  const quoted = Object.entries(environment).map(([name, v]) => `${name}='${v.replaceAll("'", "'\\''")}'`)
  writeFileSync(to, `#!/bin/sh\nexport ${quoted.join(' ')}\nexec '${engine}' "$@"\n`)
  chmodSync(to, 0o755)
}

export const bed = () => {
  const dir = mkdtempSync(join(tmpdir(), 'passt-launcher-'))
  chmodSync(dir, 0o777)
  mkdirSync(join(dir, 'bin'))
  mkdirSync(join(dir, 'dist'))
  writeFileSync(join(dir, 'dist/engine.cjs'), '')
  for (const name of ['passt', 'pasta']) copyFileSync(built, join(dir, 'bin', name))
  copyFileSync(fakeEngine, join(dir, 'fake-engine'))
  chmodSync(join(dir, 'fake-engine'), 0o755)
  const marks: string[] = []
  let gates = 0

  const start = (steps: ReadonlyArray<Step>, o: Options = {}): Run => {
    const mark = `${process.pid}.${++runs}`
    const log = join(dir, `log.${runs}`)
    marks.push(mark)
    const encoded = steps.map(([verb, argument]) => {
      if (verb !== 'call' && verb !== 'try' && verb !== 'flood')
        return argument === undefined ? [verb] : [verb, argument]
      const bytes = argument instanceof Uint8Array ? argument : LauncherRequest.encode(argument)
      return [verb, Buffer.from(bytes).toString('hex')]
    })
    const node = join(dir, `node.${runs}`)
    writeNode(node, join(dir, 'fake-engine'), {
      PASST_TEST_RUN: mark,
      FAKE_STEPS: JSON.stringify(encoded),
      FAKE_LOG: log
    })
    const program = [join(dir, 'bin', o.name ?? 'pasta'), ...(o.args ?? [])]
    const inner = [...(o.before ?? []), ...program]
    const [file, ...argv] = o.who === 'user' ? asUser(inner) : inner
    const began = Date.now()
    const child = spawn(file, argv, {
      env: {
        ...process.env,
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', // ours may lead through /root
        PASST_NODE: o.node ?? node,
        PASST_TEST_RUN: mark,
        ...o.env
      },
      stdio: ['pipe', 'pipe', 'pipe']
    })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (d) => {
      stdout += d
    })
    child.stderr.on('data', (d) => {
      stderr += d
    })
    child.stdin.on('error', () => {})
    const ended = new Promise<Ended>((resolve) => {
      child.on('close', (status, signal) =>
        resolve({ status, signal, stdout, stderr, ms: Date.now() - began })
      )
    })
    const notes = (): ReadonlyArray<Record<string, unknown>> => {
      try {
        const lines = readFileSync(log, 'utf8').split('\n').slice(0, -1)
        return lines.map((l) => JSON.parse(l) as Record<string, unknown>)
      } catch {
        return []
      }
    }
    const answers = async (n: number): Promise<ReadonlyArray<Record<string, unknown>>> => {
      const these = () => notes().filter((l) => 'reply' in l)
      await until(`${n} replies; stderr: ${stderr}`, () => these().length >= n)
      return these()
    }
    const bytesIn = (note: Record<string, unknown>): Uint8Array => Buffer.from(String(note.reply), 'hex')
    const replies = async (n: number): Promise<ReadonlyArray<Replied>> =>
      (await answers(n)).map((r) => {
        const decoded = LauncherReply.decode(octets(bytesIn(r)))
        if (E.isLeft(decoded)) throw new Error(decoded.left[0]?.message)
        return { reply: decoded.right, fd: Number(r.fd), fds: r.fds as ReadonlyArray<number> }
      })
    return {
      child,
      pid: child.pid ?? -1,
      ended,
      replies,
      rawReplies: async (n) => (await answers(n)).map(bytesIn),
      engine: async () => {
        await until('the engine', () => notes().length > 0)
        return notes()[0] as unknown as EngineNote
      },
      command: async () => {
        for (let n = 1; ; n++) {
          const { reply } = (await replies(n))[n - 1]
          if (reply.type === 'Spawned') return reply.pid
        }
      },
      noted: async (what) => {
        const these = () => notes().filter((l) => what in l)
        await until(`note of ${what}; stderr: ${stderr}`, () => these().length > 0)
        return these().map((l) => l[what])
      },
      processes: () => marked(mark)
    }
  }

  return {
    dir,
    start,
    /** What lasts until it is opened: a step of the engine, or a line of a command's shell. */
    gate: () => {
      const file = join(dir, `gate.${++gates}`)
      const step: Step = ['python', `wait_for('${file}')`]
      return { step, line: `until [ -e ${file} ]; do sleep 0.02; done`, open: () => writeFileSync(file, '') }
    },
    /** Throws if any process of any run is left after a moment; then ends it. */
    nothingLeft: async (): Promise<void> => {
      try {
        await until('processes to end', () => marks.every((m) => marked(m).length === 0))
      } catch (e) {
        const left = marks.flatMap(marked)
        const what = left.map(
          (pid) => `${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`
        )
        for (const pid of left) process.kill(pid, 'SIGKILL')
        throw new Error(`left behind: ${what.join('; ')}`, { cause: e })
      } finally {
        marks.length = 0
      }
    },
    remove: (): void => rmSync(dir, { recursive: true, force: true })
  }
}

export const setup = (foreground: boolean, pidFile = ''): Step => [
  'call',
  { type: 'Setup', foreground, pidFile }
]
export const ready: Step = ['call', { type: 'Ready', status: '' }]
export const spawnCommand = (
  argvIndex: number,
  o: Partial<Extract<LauncherRequest, { type: 'Spawn' }>> = {}
): Step => ['call', { type: 'Spawn', netnsOnly: false, noPidns: false, argvIndex, hostname: '', ...o }]
/** Spawn mode with the whole command line as command. */
export const runCommand = (
  o: Partial<Extract<LauncherRequest, { type: 'Spawn' }>> = {}
): ReadonlyArray<Step> => [setup(true), spawnCommand(1, o), ready, ['serve']]
