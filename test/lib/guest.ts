// pasta with a command that stays, and a way to run others beside it: for what begins on the host's side.
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { calm, cmdlineOf, Proc, type Result, rss, until } from './proc.js'
import { describe, helper, net, ok, type RunOptions, type Where, type World } from './world.js'

export interface GuestOptions extends RunOptions {
  /** Default: peer.py on `serve`. It prints "ready". */
  readonly command?: ReadonlyArray<string>
  /** Addresses that peer.py listens on; default: the namespace's public ones. */
  readonly serve?: ReadonlyArray<string>
}

/** A client's place: a namespace of the world, or that of a guest. */
export type Place = Where | Guest

export class Guest {
  private constructor(
    private readonly w: World,
    readonly proc: Proc,
    /** Of the command, as seen from outside. */
    readonly pid: number,
    private readonly before: ReadonlySet<number>
  ) {}

  /** Starts pasta with `options`; done once the command is ready. */
  static async open(w: World, options: ReadonlyArray<string>, o: GuestOptions = {}): Promise<Guest> {
    const command = o.command ?? ['python3', helper('peer.py'), ...(o.serve ?? [net.host4, net.host6])]
    const before = new Set(w.pidsInside())
    const config = options.includes('--splice-only') ? [] : ['--config-net']
    const proc = w.startPasta([...config, ...options], command, { timeout: 600_000, ...o })
    try {
      await proc.sees(/ready/)
      const own = command.join(' ')
      const pid = await until('the command', () =>
        w.pidsInside().find((p) => !before.has(p) && cmdlineOf(p) === own)
      )
      return new Guest(w, proc, pid, before)
    } catch (e) {
      await proc.stop()
      throw e
    }
  }

  /** Starts a process in the namespaces of the command, as root there. */
  start(command: ReadonlyArray<string>, o: { timeout?: number; input?: string } = {}): Proc {
    const enter = ['nsenter', '-t', `${this.pid}`, '-U', '-m', '-n', '-p', '-i', '-u', '--wdns=/mnt/w', '--']
    const env = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/tmp' }
    return new Proc([...enter, ...command], true, { env, ...o })
  }

  async sh(script: string): Promise<string> {
    return ok(await this.start(['sh', '-ec', script]).wait()).stdout
  }

  /** Processes of the program itself, in whatever namespace they are. */
  engine(): number[] {
    return this.w.programs().filter((p) => !this.before.has(p))
  }

  /** Descriptors that the program has open. */
  descriptors(): number {
    return this.engine().reduce((sum, pid) => sum + entries(`/proc/${pid}/fd`), 0)
  }

  /** Resident memory of the program, KiB. */
  resident(): number {
    return this.engine().reduce((sum, pid) => sum + rss(pid), 0)
  }

  /** Waits until the program uses less than `share` of a processor, see calm(). */
  calm(share: number, ms?: number): Promise<number> {
    return calm(this.engine(), share, ms)
  }

  async stop(): Promise<Result> {
    const r = await this.proc.stop()
    await until('the end of the program', () => this.engine().length === 0)
    return r
  }
}

const entries = (dir: string): number => {
  try {
    return readdirSync(dir).length
  } catch {
    return 0
  }
}

/** client.py somewhere; its JSON. */
export const ask = async (
  w: World,
  from: Place,
  args: ReadonlyArray<string | number>,
  timeout = 60_000
): Promise<Record<string, unknown>> => {
  const r = ok(await clientProc(w, from, args, timeout).wait())
  const line = r.stdout.trim().split('\n').at(-1)!
  assert.match(line, /^\{.*\}$/, describe(r))
  return JSON.parse(line) as Record<string, unknown>
}

export const clientProc = (
  w: World,
  from: Place,
  args: ReadonlyArray<string | number>,
  timeout = 60_000
): Proc => {
  const command = ['python3', helper('client.py'), ...args.map(String)]
  return from instanceof Guest ? from.start(command, { timeout }) : w.start(command, { in: from, timeout })
}

/** `ADDRESS%DEVICE PORT` of the sockets that wait in a namespace, sorted; addresses as ss(8) writes them. */
export const waiting = async (w: World, where: Place, proto: 'tcp' | 'udp'): Promise<string[]> => {
  const script = `ss -H -n ${proto === 'tcp' ? '-lt' : '-ua state unconnected'}`
  const out = where instanceof Guest ? await where.sh(script) : await w.sh(script, { in: where })
  return out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const columns = line.trim().split(/\s+/)
      const local = columns[proto === 'tcp' ? 3 : 2]!
      const at = local.lastIndexOf(':')
      return `${local.slice(0, at)} ${local.slice(at + 1)}`
    })
    .sort()
}

/** Port numbers of `waiting`, each once, ascending. */
export const waitingPorts = async (w: World, where: Place, proto: 'tcp' | 'udp'): Promise<number[]> =>
  [...new Set((await waiting(w, where, proto)).map((line) => Number(line.split(' ')[1])))].sort(
    (a, b) => a - b
  )
