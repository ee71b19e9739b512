// A world of our own to test in: three network namespaces with real addresses, private mounts, a private pid namespace.
//
//   pasta's namespace <- tap -> "host" eth0 <- veth -> "world" (gateway, servers) <- veth -> "far" (one hop further)
//
// Nothing of the machine changes: /run, /tmp and /dev/net are private, and the end of the pid namespace ends all that
// was ever started in it, however it was started.
import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { repo } from './cache.js'
import { bridged, type Link, passt } from './passt.js'
import {
  alive,
  childrenOf,
  cmdlineOf,
  exeOf,
  Proc,
  parents,
  type Result,
  statusField,
  until
} from './proc.js'

export { repo } from './cache.js'

/** Addresses used everywhere (RFC 5737, RFC 3849). */
export const net = {
  host4: '198.51.100.2',
  host6: '2001:db8:9::2',
  /** The host's default gateways: "world". The guest's pasta maps them to the host's loopback by default. */
  gw4: '198.51.100.1',
  gw6: '2001:db8:9::1',
  /** "world" again, by addresses that nobody maps: where the servers are. */
  world4: '198.51.100.3',
  world6: '2001:db8:9::3',
  /** Behind "world", with a path MTU of 1400. */
  far4: '203.0.113.2',
  far6: '2001:db8:fa::2',
  farHop4: '198.51.100.1',
  farHop6: '2001:db8:9::1'
} as const

export type Where = 'host' | 'world' | 'far'
export interface RunOptions {
  readonly in?: Where
  /** Numeric uid and gid; default 1000, an ordinary user. 0 keeps root. */
  readonly uid?: number
  /** Milliseconds until everything below is killed; default 120 s. */
  readonly timeout?: number
  readonly input?: string | Uint8Array
  readonly env?: Record<string, string>
  /** Put the private /dev/net/tun back to 0600 for this command, as some machines have it. */
  readonly tightTun?: boolean
  /** passt's guest is connected by this; default: as LINK says (passt.ts). */
  readonly link?: Link
  /** Descriptors that the command may have open, soft and hard limit. */
  readonly nofile?: number
}
export interface WorldOptions {
  /** Lines of the private /etc/resolv.conf. */
  readonly resolv?: string
  /** Extra shell lines, run as root in the host namespace once everything is up. */
  readonly hostSetup?: string
  /** ms after which it ends in any case; default half an hour. */
  readonly lifetime?: number
}

const setup = (dir: string, o: WorldOptions): string => `
set -e
quiet() { for f in all default; do
  echo 0 > /proc/sys/net/ipv6/conf/$f/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/$f/router_solicitations; done
  echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6
  echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range; ip link set lo up; }
# Before /tmp is hidden: the clone may live there.
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/repo /mnt/w
mount --bind '${repo}' /mnt/repo
mount -o remount,bind,ro /mnt/repo
mount --bind '${dir}' /mnt/w
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /dev/net
mount -t tmpfs -o mode=755 tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
touch /etc/resolv.conf
mount --bind /mnt/w/resolv.conf /etc/resolv.conf
hostname pastatest
quiet
unshare --net sleep infinity & world=$!
unshare --net sleep infinity & far=$!
own=$(readlink /proc/self/ns/net)
for p in $world $far; do until [ "$(cat /proc/$p/comm) $(readlink /proc/$p/ns/net)" != "sleep $own" ] &&
  [ "$(cat /proc/$p/comm)" = sleep ]; do sleep 0.01; done; done
in_world() { nsenter -t $world -n -- bash -ec "$(declare -f quiet); $1"; }
in_far() { nsenter -t $far -n -- bash -ec "$(declare -f quiet); $1"; }
in_world 'quiet; echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
  echo 0 > /proc/sys/net/ipv4/icmp_ratelimit; echo 0 > /proc/sys/net/ipv6/icmp/ratelimit; echo 0 > /proc/sys/net/ipv4/icmp_ratemask'
in_far quiet
ip link add eth0 type veth peer name toworld netns $world
nsenter -t $world -n ip link add tofar type veth peer name eth0 netns $far
in_world 'ip addr add ${net.gw4}/24 dev toworld; ip -6 addr add ${net.gw6}/64 dev toworld nodad
  ip addr add ${net.world4}/24 dev toworld; ip -6 addr add ${net.world6}/64 dev toworld nodad
  ip link set toworld up; ip addr add 203.0.113.1/24 dev tofar; ip -6 addr add 2001:db8:fa::1/64 dev tofar nodad
  ip link set tofar mtu 1400 up'
in_far 'ip addr add ${net.far4}/24 dev eth0; ip -6 addr add ${net.far6}/64 dev eth0 nodad; ip link set eth0 mtu 1400 up
  ip route add default via 203.0.113.1; ip -6 route add default via 2001:db8:fa::1'
ip addr add ${net.host4}/24 dev eth0
ip -6 addr add ${net.host6}/64 dev eth0 nodad
ip link set eth0 up
ip route add default via ${net.gw4} dev eth0
ip -6 route add default via ${net.gw6} dev eth0
until [ "$(cat /sys/class/net/eth0/operstate 2>/dev/null || ip -br link show eth0 | grep -o ' UP ' | tr -d ' ')" != down ] &&
  ip -6 addr show dev eth0 scope link | grep -q fe80; do sleep 0.01; done
${o.hostSetup ?? ''}
echo "ready $world $far"
# PID 1 of this namespace: reap whatever is orphaned, for ever.
while :; do sleep infinity & wait -n || true; done
`

const path = [
  dirname(process.execPath),
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin'
].join(':')
const baseEnv = { PATH: path, HOME: '/tmp', LANG: 'C.UTF-8', SHELL: '/bin/sh', TERM: 'dumb' }
/** In this file programs warm up as they do for users. `npm test` spares that elsewhere: it would take half of all processor time. */
export const asShipped = (): void => {
  delete process.env.PASST_WARM_UP
}
const warmUp = (): Record<string, string> => {
  const is = process.env.PASST_WARM_UP
  return is === undefined ? {} : { PASST_WARM_UP: is }
}

/** Path, inside a world, of a helper in test/lib. */
export const helper = (name: string): string => `/mnt/repo/test/lib/${name}`
/** The program under test. PASTA chooses another one, for instance upstream's, to try the tests themselves. */
export const pasta = process.env.PASTA ?? '/mnt/repo/bin/pasta'
/** Ours stands beside its bundle, wherever it is. */
export const isOurs = (program: string): boolean => existsSync(join(dirname(program), '../dist/engine.cjs'))
/** passt and a namespace on its socket take pasta's place: see passt-mode.ts. */
export const isPasst = process.env.GUEST === 'passt'
const program = isPasst ? passt : pasta
/** The program under test is upstream's: what only ours does is not asked of it. */
export const isPeer = !program.startsWith('/mnt/repo/') && !isOurs(program)
/** No forwarding: the default is `auto`, in which each test would see the servers of the others. */
export const quietPorts: ReadonlyArray<string> = ['-t', 'none', '-u', 'none', '-T', 'none', '-U', 'none']
/** The same for those port options only that `options` does not have. */
export const quietBeside = (options: ReadonlyArray<string>): ReadonlyArray<string> =>
  ['-t', '-u', '-T', '-U'].filter((name) => !options.includes(name)).flatMap((name) => [name, 'none'])
/** argv that runs `command` behind the program under test. */
const underProgram = (
  options: ReadonlyArray<string>,
  command: ReadonlyArray<string>,
  link?: Link
): string[] =>
  isPasst
    ? bridged(passt, options, command, net, link)
    : [pasta, ...quietBeside(options), ...options, '--', ...command]

export class World {
  private constructor(
    private readonly holder: Proc,
    private readonly pids: Readonly<Record<Where, number>>,
    /** A directory for files, by its path outside; inside it is /mnt/w. Everybody may write there. */
    readonly dir: string
  ) {}

  static async open(o: WorldOptions = {}): Promise<World> {
    assert.equal(process.getuid?.(), 0, 'network namespaces and a private /dev/net/tun need root')
    const dir = mkdtempSync(join(tmpdir(), 'pasta-world-'))
    chmodSync(dir, 0o777)
    writeFileSync(join(dir, 'resolv.conf'), o.resolv ?? `nameserver ${net.world4}\nsearch example.net\n`)
    const unshare = [
      'unshare',
      '--mount',
      '--net',
      '--pid',
      '--ipc',
      '--uts',
      '--fork',
      '--kill-child',
      '--mount-proc'
    ]
    // The death signal: should this process be killed, everything goes with it.
    const argv = ['setpriv', '--pdeathsig', 'KILL', ...unshare, 'bash', '-c', setup(dir, o)]
    const holder = new Proc(argv, false, { timeout: o.lifetime ?? 30 * 60_000, env: baseEnv })
    try {
      const [, world, far] = await holder.sees(/^ready (\d+) (\d+)$/m)
      const init = childrenOf(await holder.pid())[0]!
      const outer = (inner: string) =>
        childrenOf(init).find((pid) => statusField(pid, 'NSpid')?.split(/\s+/).at(-1) === inner)!
      return new World(holder, { host: init, world: outer(world!), far: outer(far!) }, dir)
    } catch (e) {
      await holder.stop()
      rmSync(dir, { recursive: true, force: true })
      throw e
    }
  }

  async close(): Promise<void> {
    const init = this.pids.host
    await this.holder.stop()
    await until('the end of the pid namespace', () => !existsSync(`/proc/${init}`))
    rmSync(this.dir, { recursive: true, force: true })
  }

  /** argv that runs `command` in one of the namespaces. */
  enter(command: ReadonlyArray<string>, o: RunOptions = {}): string[] {
    const uid = o.uid ?? (o.in === undefined || o.in === 'host' ? 1000 : 0)
    const user =
      uid === 0 ? [] : ['setpriv', '--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups', '--']
    const tun = o.tightTun
      ? [
          'unshare',
          '--mount',
          'sh',
          '-ec',
          'umount /dev/net; mount -t tmpfs none /dev/net; mknod -m 600 /dev/net/tun c 10 200; exec "$@"',
          '-'
        ]
      : []
    const limit = o.nofile === undefined ? [] : ['prlimit', `--nofile=${o.nofile}`, '--']
    const target = `${this.pids[o.in ?? 'host']}`
    return [
      'nsenter',
      '-t',
      target,
      '-m',
      '-n',
      '-p',
      '-i',
      '-u',
      '--wdns=/mnt/w',
      '--',
      ...tun,
      ...user,
      ...limit,
      ...command
    ]
  }

  /** argv in front of a command that is to have the network of that namespace, and all else of ours. */
  network(where: Where = 'host'): string[] {
    return ['nsenter', '-t', `${this.pids[where]}`, '-n', '--']
  }

  /** Starts a process; its end is the caller's or the world's. */
  start(command: ReadonlyArray<string>, o: RunOptions = {}): Proc {
    return new Proc(this.enter(command, o), true, {
      ...(o.timeout === undefined ? {} : { timeout: o.timeout }),
      env: { ...baseEnv, ...warmUp(), ...o.env },
      ...(o.input === undefined ? {} : { input: o.input })
    })
  }

  run(command: ReadonlyArray<string>, o: RunOptions = {}): Promise<Result> {
    return this.start(command, o).wait()
  }

  /** Runs shell lines as root and gives their output; throws on any failure. */
  async sh(script: string, o: RunOptions = {}): Promise<string> {
    return ok(await this.run(['sh', '-ec', script], { uid: 0, ...o })).stdout
  }

  /** pasta with `options`, running `command` in its namespace as an ordinary user. */
  pasta(options: ReadonlyArray<string>, command: ReadonlyArray<string>, o: RunOptions = {}): Promise<Result> {
    return this.run(underProgram(options, command, o.link), o)
  }

  /** pasta --config-net running shell lines; the output, or a throw on any failure. */
  async inside(script: string, options: ReadonlyArray<string> = [], o: RunOptions = {}): Promise<string> {
    return ok(await this.pasta(['--config-net', ...options], ['sh', '-ec', script], o)).stdout
  }

  startPasta(options: ReadonlyArray<string>, command: ReadonlyArray<string>, o: RunOptions = {}): Proc {
    return this.start(underProgram(options, command, o.link), o)
  }

  /**
   * A user and a network namespace of a user's, with what `lines` make in them, kept by a process, whose id as processes of this world have
   * it is `pid`.
   */
  async namespaces(uid = 1000, lines = ''): Promise<{ readonly proc: Proc; readonly pid: number }> {
    const proc = this.start(inOwnNamespaces(`${lines}\necho $$; exec sleep 2000`), { uid })
    const [pid] = await proc.sees(/^\d+$/m)
    return { proc, pid: Number(pid) }
  }

  /** The same, in words: `pid-outside args`. */
  processes(): string[] {
    return this.pidsInside().map((pid) => `${pid} ${cmdlineOf(pid)}`)
  }

  /**
   * Pids, as seen from outside, of everything that runs in this world's pid namespace (and in namespaces below it),
   * whoever its parent is by now; without the world's own processes and those waiting to be reaped.
   */
  pidsInside(): number[] {
    const own = new Set([this.pids.host, this.pids.world, this.pids.far])
    const space = readlinkSync(`/proc/${this.pids.host}/ns/pid`)
    const direct = (pid: number): boolean => {
      try {
        return readlinkSync(`/proc/${pid}/ns/pid`) === space
      } catch {
        return false
      }
    }
    // A process of a namespace below has its parent in ours, if not in that namespace.
    const up = parents()
    const inside = (pid: number): boolean => {
      for (let p: number | undefined = pid; p !== undefined && p > 1; p = up.get(p))
        if (direct(p)) return true
      return false
    }
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => !own.has(pid) && alive(pid) && inside(pid) && !/^sleep infinity$/.test(cmdlineOf(pid)))
  }

  /** Those of the program itself, in whatever namespace they are. */
  programs(): number[] {
    return this.pidsInside().filter((pid) => /^(node|passt.*|pasta.*)$/.test(basename(exeOf(pid))))
  }

  /** The pid outside of the process that has pid `inner` in this world. */
  outerPid(inner: number): number {
    const found = this.pidsInside().find((pid) => statusField(pid, 'NSpid')?.split(/\s+/)[1] === `${inner}`)
    if (found === undefined) throw new Error(`no process ${inner} in the world`)
    return found
  }
}

/** argv of shell lines as root of a new user namespace, with a network namespace of its own. */
export const inOwnNamespaces = (lines: string): string[] => [
  ...['unshare', '--user', '--map-root-user', '--net'],
  ...['sh', '-ec', lines]
]

/** Asserts status 0, showing everything there is otherwise. */
export const ok = (r: Result): Result => {
  assert.equal(r.code, 0, describe(r))
  return r
}
/** Command, status and output, for a failure's message; long lines cut. */
export const describe = (r: Result): string => {
  const cut = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most)}…` : text)
  const lines = (text: string): string =>
    text
      .slice(-20_000)
      .split('\n')
      .slice(-60)
      .map((line) => cut(line, 300))
      .join('\n')
  const status = `status ${r.code ?? r.signal}${r.timedOut ? ' (deadline passed)' : ''}`
  return `${r.argv.map((a) => cut(a, 300)).join(' ')}\n${status}\nstdout: ${lines(r.stdout)}\nstderr: ${lines(r.stderr)}`
}

export const withWorld = async <A>(use: (w: World) => Promise<A>, o: WorldOptions = {}): Promise<A> => {
  const w = await World.open(o)
  try {
    return await use(w)
  } finally {
    await w.close()
  }
}

export const programName = basename(program)
