// A guest that is moved from one passt to another, without a virtual machine: its card is vhost-frontend.cc, its system a
// namespace, and it stays where it is while the session goes from socket to socket.
//
//   "guest" eth0 <- tap -> vhost-frontend <-> passt in "source" eth0 <- veth -> bridge in "world" (gateway, peers)
//                                         <-> passt in "target" eth0 <- veth ->
//
// Both hosts have the same addresses, and the bridge has a cable to one of them: a move of the address changes the cable. Or both
// passts are on the host "source". peer's and guest's programs are ends.py.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { compiled } from './cache.js'
import { closing, End, Ends, request, Staged } from './ends.js'
import { configure, passt } from './passt.js'
import { type Proc, type Result, until } from './proc.js'
import { upstreamBin } from './upstream.js'
import type { World } from './world.js'

export { type Flows, isWhole } from './ends.js'

/** Who is at one end of a move. */
export interface Side {
  readonly name: string
  readonly passt: string
  readonly repair: string
}
export const ours: Side = { name: 'ours', passt, repair: passt.replace(/[^/]*$/, 'passt-repair') }
const peerBin = upstreamBin()
export const upstream: Side = {
  name: 'upstream',
  passt: join(peerBin, 'passt'),
  repair: join(peerBin, 'passt-repair')
}
const sides = { ours, upstream } as const
export interface Pair {
  readonly source: Side
  readonly target: Side
}
/** ours>upstream: from whom to whom. */
export const pairOf = (text: string): Pair => {
  const [source, target] = text.split('>').map((name) => sides[name as keyof typeof sides])
  assert.ok(source !== undefined && target !== undefined, `MOVES: '${text}' is not of the kind ours>upstream`)
  return { source, target }
}
/** From whom to whom guests move in a file's tests; MOVES=upstream>upstream chooses others. */
export const pairsOf = (usual: string): ReadonlyArray<Pair> =>
  (process.env.MOVES ?? usual)
    .split(',')
    .filter((text) => text !== '')
    .map(pairOf)
export const ALL_PAIRS = 'ours>ours,ours>upstream,upstream>ours'
/**
 * What not all releases get right is asked of those pairs that it holds for. MOVES_ALL=1: of all, to see what they make of it. Upstream
 * has its own faults under load: without MOVES it is asked only what is `always` asked.
 */
export const isAsked = (p: Pair, holds: (p: Pair) => boolean = () => true, always = false): boolean =>
  process.env.MOVES_ALL === '1' || ((always || both(p) || process.env.MOVES !== undefined) && holds(p))
export const named = ({ source, target }: Pair): string => `${source.name} to ${target.name}`
export const isUpstream = (s: Side): boolean => s === upstream
/** What only ours gets right, at that end of a move, or at both. */
export const fromOurs = (p: Pair): boolean => !isUpstream(p.source)
export const toOurs = (p: Pair): boolean => !isUpstream(p.target)
export const both = (p: Pair): boolean => fromOurs(p) && toOurs(p)

export const net = {
  host4: '192.0.2.2',
  host6: '2001:db8:5::2',
  gw4: '192.0.2.1',
  gw6: '2001:db8:5::1',
  /** The peers'. */
  world4: '192.0.2.3',
  world6: '2001:db8:5::3'
} as const

export interface SceneOptions {
  /** Both passts on one host. */
  readonly oneHost?: boolean
  /** Further options of both, of the source, of the target. */
  readonly options?: ReadonlyArray<string>
  readonly sourceOptions?: ReadonlyArray<string>
  readonly targetOptions?: ReadonlyArray<string>
  /** Without a guest: it is a virtual machine, and the caller's. */
  readonly noGuest?: boolean
  /** Options of vhost-frontend.cc. */
  readonly card?: ReadonlyArray<string>
  /** Shell lines for each host, and for the world. */
  readonly setup?: string
}

export const PORT = 8001
let scenes = 0

export type HostName = 'source' | 'target'
export type Network = 'dark' | 'late'

/** A passt on one of the hosts, and its helper. */
export class Host {
  passt!: Proc
  helper: Proc | undefined
  constructor(
    private readonly scene: Scene,
    readonly role: HostName,
    readonly side: Side,
    /** In which network namespace. */
    readonly ns: string,
    readonly socket: string
  ) {}
  async start(options: ReadonlyArray<string>): Promise<void> {
    const { w } = this.scene
    const user = ['setpriv', '--reuid', '1000', '--regid', '1000', '--clear-groups', '--']
    const argv = [
      ...this.scene.in(this.ns),
      ...user,
      ...[this.side.passt, '-f', '--vhost-user', '-s', this.socket, ...options]
    ]
    this.passt = w.start(argv, { uid: 0, timeout: 900_000 })
    await this.unixSocket('listening', this.socket)
  }
  /** A helper that is connected: our side's, or a command that takes the socket's path as well. */
  async help(command: ReadonlyArray<string> = [this.side.repair]): Promise<Proc> {
    await this.unixSocket('listening', `${this.socket}.repair`)
    const argv = [...this.scene.in(this.ns), ...command, `${this.socket}.repair`]
    const proc = this.scene.w.start(argv, { uid: 0, timeout: 900_000 })
    this.helper = proc
    await this.unixSocket('connected', `${this.socket}.repair`, proc)
    return proc
  }
  /** The helper that is connected, or else a new one: passt lets go of one before it ends. */
  async helped(): Promise<void> {
    if (await this.has('connected', `${this.socket}.repair`)) return
    await this.helper?.wait()
    await this.help()
  }
  /** Waits until there is one in that state, for as long as `proc` runs. */
  private async unixSocket(state: 'listening' | 'connected', path: string, proc = this.passt): Promise<void> {
    await until(`${path} ${state}`, async () => {
      if (!proc.running) throw new Error(`ended: ${JSON.stringify(await proc.wait())}`)
      return this.has(state, path)
    })
  }
  private async has(state: 'listening' | 'connected', path: string): Promise<boolean> {
    const count = `${this.scene.in(this.ns).join(' ')} ss -xH state ${state} | grep -cF ' ${path} ' || :`
    return (await this.scene.w.sh(count)).trim() !== '0'
  }
  /** The sockets of flows, as ss(8) shows them. */
  sockets(): Promise<string> {
    return this.scene.w.sh(`${this.scene.in(this.ns).join(' ')} ss -tnieaOH`)
  }
}

export class Scene extends Staged {
  readonly source: Host
  readonly target: Host
  guest!: End
  world!: End
  private card: Proc | undefined
  private readonly procs: Proc[] = []
  private constructor(
    readonly w: World,
    private readonly id: number,
    pair: Pair,
    private readonly o: SceneOptions
  ) {
    super()
    const host = (role: HostName, side: Side) =>
      new Host(this, role, side, `${o.oneHost ? 'source' : role}${id}`, `/mnt/w/${role}${id}.sock`)
    this.source = host('source', pair.source)
    this.target = host('target', pair.target)
  }

  static async open(w: World, pair: Pair, o: SceneOptions = {}): Promise<Scene> {
    const s = new Scene(w, ++scenes, pair, o)
    await w.sh(s.layout())
    s.world = await End.start(w, s.in(`world${s.id}`), `world${s.id}.ctl`)
    await s.startPasst(s.source)
    await s.world.call('listen', { port: PORT })
    if (o.noGuest === true) return s
    const argv = [
      ...s.in(`guest${s.id}`),
      compiled('test/lib/vhost-frontend.cc'),
      // What every passt has: else the guest cannot move to any
      ...[
        '--features',
        'upstream',
        '--protocol',
        'upstream',
        '--control',
        `/mnt/w/card${s.id}`,
        ...(o.card ?? [])
      ],
      ...[
        s.source.socket,
        'eth0',
        'sh',
        '-ec',
        `ip link set eth0 txqueuelen 30000\n${configure([], net)}\necho up; exec sleep infinity`
      ]
    ]
    s.card = w.start(argv, { uid: 0, timeout: 900_000 })
    await s.card.sees(/^up$/m)
    s.guest = await End.start(w, s.in(`guest${s.id}`), `guest${s.id}.ctl`)
    await s.guest.call('listen', { port: PORT })
    return s
  }

  get guestNs(): string {
    return `guest${this.id}`
  }
  get worldNs(): string {
    return `world${this.id}`
  }

  in(ns: string): string[] {
    return ['nsenter', `--net=/run/netns/${ns}`, '--']
  }

  private layout(): string {
    const { id } = this
    const mac = '02:00:00:00:00:05'
    const host = (name: string) => `
ip netns add ${name}${id}
ip link add ${name}p netns world${id} type veth peer name eth0 netns ${name}${id}
ip -n world${id} link set ${name}p up
ip netns exec ${name}${id} sh -ec '. /mnt/w/quiet; ip link set eth0 address ${mac}; ip addr add ${net.host4}/24 dev eth0
ip -6 addr add ${net.host6}/64 dev eth0 nodad; ip link set eth0 up
ip route add default via ${net.gw4}; ip -6 route add default via ${net.gw6}'`
    return `
cat > /mnt/w/quiet <<'EOF'
for f in all default; do
  echo 0 > /proc/sys/net/ipv6/conf/$f/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/$f/router_solicitations; done
echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range
ip link set lo up
${this.o.setup ?? ''}
EOF
for n in world guest; do ip netns add "$n"${id}; ip netns exec "$n"${id} sh -e /mnt/w/quiet; done
ip netns exec world${id} sh -ec 'ip link add br0 address 02:00:00:00:00:01 type bridge; ip link set br0 up
for a in ${net.gw4} ${net.world4}; do ip addr add $a/24 dev br0; done
for a in ${net.gw6} ${net.world6}; do ip -6 addr add $a/64 dev br0 nodad; done'
${host('source')}
${host('target')}
ip -n world${id} link set sourcep master br0`
  }

  private async startPasst(h: Host): Promise<void> {
    const own = h.role === 'source' ? this.o.sourceOptions : this.o.targetOptions
    // One port of a host is one passt's
    const ports = this.o.oneHost && h.role === 'target' ? `${PORT + 1}:${PORT}` : `${PORT}`
    await h.start(['-t', ports, ...(this.o.options ?? []), ...(own ?? [])])
    this.procs.push(h.passt)
  }

  /** Another passt in the source's place. */
  async restartSource(): Promise<void> {
    await this.source.passt.stop('SIGTERM')
    await this.w.sh(`rm -f ${this.source.socket} ${this.source.socket}.repair`)
    await this.startPasst(this.source)
  }

  /** Commands of vhost-frontend.cc; throws what it reports as an error. */
  async hypervisor(command: string): Promise<string> {
    const answer = await request(join(this.w.dir, `card${this.id}`), command)
    if (!answer.startsWith('ok ')) throw new Error(`${command}: ${answer}${this.card?.stderr.slice(-2000)}`)
    return answer.slice(3).trim()
  }

  get ends(): Ends {
    return new Ends(this.guest, this.world, { port: PORT, ...net })
  }

  /** The cable of the bridge goes to that host, or to none: then nothing gets through, in either direction. */
  async plug(role: HostName | 'none'): Promise<void> {
    if (this.o.oneHost) return
    const links = ['source', 'target'].map(
      (h) => `ip link set ${h}p ${h === role ? 'master br0' : 'nomaster'}`
    )
    await this.w.sh(`ip netns exec world${this.id} sh -ec '${links.join('; ')}'`)
  }

  /** A passt to move to, with its helper. */
  async prepareTarget(help = true): Promise<void> {
    await this.startPasst(this.target)
    if (help) await this.target.help()
  }

  /**
   * The guest goes to `to`: is stopped, saved, loaded, runs. The network is `dark` in between, or comes `late`: packets still reach
   * the source until the guest runs at the target. They must not reach a target that has no such connection yet, whose kernel
   * would reset it. What saving and loading took, in words.
   */
  async move(network: Network = 'dark', to: Host = this.target): Promise<string> {
    await this.hypervisor('stop')
    if (network === 'dark') await this.plug('none')
    const saved = await this.hypervisor(`save /mnt/w/state${this.id}`)
    const loaded = await this.hypervisor(`load ${to.socket}`)
    if (network === 'dark') await this.plug(to.role)
    await this.hypervisor('cont')
    if (network === 'late') await this.plug(to.role)
    await this.hypervisor('forget')
    return `saved ${saved}, loaded ${loaded}`
  }

  /** Where the last state that was saved is, outside. */
  get state(): string {
    return join(this.w.dir, `state${this.id}`)
  }

  /** What all of them have said. */
  said(): string {
    const of = (name: string, p: Proc | undefined) => `${name}: ${p?.stderr.slice(-3000) ?? ''}`
    const { source, target } = this
    return [
      of('source', source.passt),
      of('target', target.passt),
      of('helper of the source', source.helper),
      of('helper of the target', target.helper),
      of('card', this.card)
    ].join('\n')
  }

  async close(): Promise<void> {
    const all = [this.guest?.proc, this.world?.proc, this.card, ...this.procs]
    const ends: Promise<Result>[] = []
    for (const p of [...all, this.source.helper, this.target.helper]) if (p !== undefined) ends.push(p.stop())
    await Promise.all(ends)
    await this.w.sh(`for n in world guest source target; do ip netns del "$n"${this.id}; done`)
  }
}

/** A scene for `use`; what everyone said goes with what it throws. */
export const scene = async (
  w: World,
  p: Pair,
  o: SceneOptions,
  use: (s: Scene) => Promise<void>
): Promise<void> => {
  return closing(await Scene.open(w, p, o), use)
}
