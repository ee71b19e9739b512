// A guest whose pasta or passt is replaced while it talks: the newer process takes the older one's place (--restart-path).
//
//   guest (a namespace with a tap; of root, of an ordinary user, or on passt's socket) <-> pasta, in "host" <-> "world"
//
// Guest, host and world run ends.py. Each scene has ports of its own.
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { compiled } from './cache.js'
import { closing, End, Ends, request, Staged } from './ends.js'
import { configure, passt } from './passt.js'
import { alive, childrenOf, kill, type Proc, type Result, statusField, treeOf, until } from './proc.js'
import { helper, net, ok, pasta, quietBeside, type World } from './world.js'

/** How the guest is reached: --netns as root, PID as an ordinary user, passt's stream socket, or its rings (vhost-user). */
export type Kind = 'netns' | 'pid' | 'passt' | 'vhost'
export interface RestartOptions {
  readonly options?: ReadonlyArray<string>
  /** No pasta yet: the caller starts it. */
  readonly idle?: boolean
  /** No guest: the caller is passt's client. */
  readonly bare?: boolean
  /** Of vhost-frontend.cc. */
  readonly card?: ReadonlyArray<string>
}

export interface StartOptions {
  readonly uid?: number
  readonly place?: ReadonlyArray<string>
  readonly path?: string
  /** The whole command line. */
  readonly argv?: ReadonlyArray<string>
}

let scenes = 0

export class Restarting extends Staged {
  readonly port: number
  readonly path: string
  readonly name: string
  guest!: End
  /** What serves now. */
  now!: Proc
  private card!: Proc
  private readonly procs: Proc[] = []
  /** What names the guest on a command line. */
  place: ReadonlyArray<string> = []
  private inGuest: ReadonlyArray<string> = []

  private constructor(
    readonly w: World,
    readonly kind: Kind,
    readonly world: End,
    readonly host: End
  ) {
    super()
    this.name = `g${++scenes}`
    this.port = 10_000 + 50 * scenes
    this.path = `/mnt/w/${this.name}.restart`
  }

  static async open(
    w: World,
    kind: Kind,
    ends: { readonly world: End; readonly host: End },
    o: RestartOptions = {}
  ): Promise<Restarting> {
    const s = new Restarting(w, kind, ends.world, ends.host)
    try {
      await s.makePlace()
      await s.world.call('listen', { port: s.port })
      if (o.idle === true) return s
      s.now = await s.serving(o.options ?? [])
      if (o.bare === true) return s
      if (s.isPasst) await s.makeCard(o.card ?? [])
      s.guest = await s.end()
      return s
    } catch (e) {
      if (e instanceof Error) e.message += `\n${s.said()}`
      await s.close()
      throw e
    }
  }

  get isPasst(): boolean {
    return this.kind === 'passt' || this.kind === 'vhost'
  }
  get user(): number {
    return this.kind === 'netns' ? 0 : 1000
  }
  /** The UDP port that is forwarded to the guest. */
  get datagrams(): number {
    return this.port + 3
  }
  get socket(): string {
    return `/mnt/w/${this.name}.sock`
  }
  get ends(): Ends {
    return new Ends(this.guest, this.world, { port: this.port, ...net })
  }

  /** argv that runs `command` where the guest's programs run. */
  in(command: ReadonlyArray<string>): ReadonlyArray<string> {
    return [...this.inGuest, ...command]
  }
  inside(script: string): Promise<string> {
    return this.w.sh(`${this.inGuest.join(' ')} sh -ec '${script}'`)
  }

  private async makePlace(): Promise<void> {
    const { w, name } = this
    if (this.kind === 'pid') {
      const lines = 'ip link set lo up; echo up; exec sleep 1000'
      const argv = ['unshare', '--user', '--map-root-user', '--net', 'sh', '-ec', lines]
      const proc = w.start(argv, { timeout: 900_000 })
      this.procs.push(proc)
      await proc.sees(/^up$/m)
      const inner = statusField(await proc.pid(), 'NSpid')!.split(/\s+/)[1]!
      this.place = [inner]
      this.inGuest = ['nsenter', '-t', inner, '-U', '-n', '--']
    } else {
      await w.sh(`ip netns add ${name}; ip -n ${name} link set lo up`)
      this.place = ['--netns', `/run/netns/${name}`]
      this.inGuest = ['ip', 'netns', 'exec', name]
    }
  }
  private async makeCard(options: ReadonlyArray<string>): Promise<void> {
    const lines = `ip link set eth0 txqueuelen 30000\n${configure([], net)}\necho up; exec sleep infinity`
    // nsenter(1) stops with its child
    const apart = ['sh', '-c', '"$@" & wait', '-']
    const rings = ['--control', `/mnt/w/${this.name}.card`, ...options]
    const argv = this.in([
      ...apart,
      ...(this.kind === 'passt'
        ? [compiled('test/lib/tapbridge.cc')]
        : [compiled('test/lib/vhost-frontend.cc'), ...rings]),
      this.socket,
      'eth0',
      'sh',
      '-ec',
      lines
    ])
    this.card = this.w.start(argv, { uid: 0, timeout: 900_000 })
    this.procs.push(this.card)
    await this.card.sees(/^up$/m)
  }
  private async end(): Promise<End> {
    const guest = await End.start(this.w, this.inGuest, `${this.name}.ctl`)
    this.procs.push(guest.proc)
    await guest.call('listen', { port: this.port })
    return guest
  }

  /** A command line of the program under test; ports are those of this scene where `options` name none. */
  argv(
    options: ReadonlyArray<string>,
    place: ReadonlyArray<string> = this.place,
    path = this.path
  ): ReadonlyArray<string> {
    const own = (name: string, port: number) => (options.includes(name) ? [] : [name, `${port}`])
    const ports = [...own('-t', this.port), ...own('-u', this.datagrams)]
    const given = ['-f', '--restart-path', path, ...ports, ...options]
    const vhost = this.kind === 'vhost' ? ['--vhost-user'] : []
    return this.isPasst
      ? [passt, ...vhost, ...given, '-s', this.socket]
      : [pasta, '--config-net', ...given, ...quietBeside(given), ...place]
  }
  /** Starts it, without waiting. */
  start(options: ReadonlyArray<string> = [], o: StartOptions = {}): Proc {
    const argv = o.argv ?? this.argv(options, o.place ?? this.place, o.path ?? this.path)
    const proc = this.w.start(argv, { uid: o.uid ?? this.user, timeout: 900_000 })
    this.procs.push(proc)
    return proc
  }
  /** Starts one that serves, whoever served before. */
  private async serving(options: ReadonlyArray<string>): Promise<Proc> {
    const at = options.indexOf('-P')
    const ready = at < 0 ? `/mnt/w/${this.name}.pid${this.procs.length}` : options[at + 1]!
    const proc = this.start(at < 0 ? ['-P', ready, ...options] : options)
    await until('it serves', async () => {
      if (!proc.running) assert.fail(JSON.stringify(await proc.wait()))
      return (await this.w.sh(`cat ${ready} 2>/dev/null || :`)) !== ''
    })
    return proc
  }
  /** passt's client reads and writes nothing, or does so again. */
  async stopCard(on: boolean): Promise<void> {
    const [card] = childrenOf(await this.card.pid())
    kill(card!, on ? 'SIGSTOP' : 'SIGCONT')
  }
  /** Commands of vhost-frontend.cc. */
  async hypervisor(command: string): Promise<string> {
    const answer = await request(join(this.w.dir, `${this.name}.card`), command)
    if (!answer.startsWith('ok ')) throw new Error(`${command}: ${answer}${this.card.stderr.slice(-2000)}`)
    return answer.slice(3).trim()
  }
  /** A newer one in the place of what serves now; with what has been the older one's. */
  async restart(options: ReadonlyArray<string> = []): Promise<Proc> {
    const before = this.now
    this.now = await this.serving(options)
    assert.match(this.now.stderr, /restart: \d+ flows taken over/)
    return before
  }
  /** The same; the older one has ended, with status 0. */
  async replace(options: ReadonlyArray<string> = []): Promise<Result> {
    return ok(await (await this.restart(options)).wait())
  }
  /** A newer one that cannot take the place of what serves now: it ends with status 1, and what it says matches. */
  async fails(says: RegExp, options: ReadonlyArray<string>, o: StartOptions = {}): Promise<void> {
    const r = await this.start(options, o).wait()
    assert.equal(r.code, 1, JSON.stringify(r))
    assert.match(r.stderr, says)
    assert.ok(this.now.running, this.said())
  }

  /** Pids, as seen from outside, of what `p` has started. */
  async processes(p: Proc): Promise<number[]> {
    return treeOf(await p.pid()).filter(alive)
  }
  async descriptors(p: Proc): Promise<number> {
    const each = (await this.processes(p)).map((pid) => readdirSync(`/proc/${pid}/fd`).length)
    return each.reduce((a, b) => a + b, 0)
  }

  /** hand_over.py, by this scene's user. */
  scripted(args: ReadonlyArray<string>): Proc {
    const proc = this.w.start(['python3', helper('hand_over.py'), ...args], {
      uid: this.user
    })
    this.procs.push(proc)
    return proc
  }
  /** A newer one that gets as far as the question `ask`, and waits there for `go`; with `kill` it then loses its connection. */
  async reaches(
    ask: string,
    options: ReadonlyArray<string> = [],
    kill = false
  ): Promise<{ readonly newer: Proc; readonly go: () => Promise<void> }> {
    const path = `${this.path}.relay${this.procs.length}`
    const relay = this.scripted(['relay', path, this.path, ask, ...(kill ? ['kill'] : [])])
    await relay.sees(/^ready$/m)
    const newer = this.start(options, { path })
    await relay.sees(new RegExp(`^at ${ask}$`, 'm'))
    return { newer, go: () => relay.signal('SIGUSR1') }
  }

  said(): string {
    return this.procs.map((p) => `${p.argv.slice(-12).join(' ')}: ${p.stderr.slice(-1500)}`).join('\n')
  }
  async close(): Promise<void> {
    await Promise.all([...this.procs].reverse().map((p) => p.stop()))
    if (this.kind !== 'pid') await this.w.sh(`ip netns del ${this.name}`)
  }
}

/** A scene for `use`; what everyone said goes with what it throws. */
export const restarting = async (
  w: World,
  kind: Kind,
  ends: { readonly world: End; readonly host: End },
  o: RestartOptions,
  use: (s: Restarting) => Promise<void>
): Promise<void> => {
  return closing(await Restarting.open(w, kind, ends, o), use)
}
