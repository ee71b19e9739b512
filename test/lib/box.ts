// A newer Debian as root directory, in a mount namespace of its own, on the host of a world: for the programs that drive ours,
// which this system does not have, or has too old. What runs there has the world's network, processes, /run and /tmp.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { dirname, join } from 'node:path'
import type { Proc, Result } from './proc.js'
import { ok, pasta, type RunOptions, repo, World, type WorldOptions } from './world.js'

/** Where roots are kept from run to run. */
const cache = process.env.DRIVERS_CACHE ?? '/var/cache/passt-ts'
const preferred = process.env.DRIVERS_SUITE

/** The root with these packages, made now if it is not there yet (10 s and 70 MB for podman). */
export const debianRoot = (suite: string, packages: ReadonlyArray<string>): string => {
  const base =
    'bash coreutils dash findutils grep iproute2 libatomic1 libstdc++6 mount procps sed tar util-linux'
  const wanted = [...base.split(' '), ...packages]
  const key = createHash('sha256').update(wanted.join(' ')).digest('hex').slice(0, 8)
  const dir = join(cache, `${suite}-${key}`)
  const r = spawnSync(join(repo, 'scripts/debian-root'), [suite, dir, ...wanted], { encoding: 'utf8' })
  if (r.status !== 0) throw new Error(`cannot get ${packages.join(' ')} from Debian ${suite}: ${r.stderr}`)
  return dir
}

// Written once, before the root turns: what is in here stays in this mount namespace.
const setup = (root: string, more: string): string => `
set -e
mkdir /mnt/box /mnt/upper
mount -t tmpfs -o mode=755 tmpfs /mnt/upper
mkdir /mnt/upper/files /mnt/upper/work
mount -t overlay -o lowerdir='${root}',upperdir=/mnt/upper/files,workdir=/mnt/upper/work overlay /mnt/box
cd /mnt/box
mount --rbind /proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for d in dev run tmp mnt/repo mnt/w; do mkdir -p $d; mount --rbind /$d $d; done
mkdir -p '.${dirname(process.execPath)}'
touch '.${process.execPath}'
mount --bind '${process.execPath}' '.${process.execPath}'
# Another pasta than this clone's (see world.ts).
case '${pasta}' in /mnt/*) ;; *) d='${dirname(dirname(pasta))}'; mkdir -p ".$d"; mount --bind "$d" ".$d";; esac
printf '%s\\n' root:x:0:0::/root:/bin/bash user:x:1000:1000::/home/user:/bin/bash \\
  nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin > etc/passwd
printf '%s\\n' root:x:0: user:x:1000: nogroup:x:65534: > etc/group
echo user:100000:65536 > etc/subuid
cp etc/subuid etc/subgid
cp /etc/resolv.conf etc
echo 127.0.0.1 localhost > etc/hosts
echo 'hosts: files dns' > etc/nsswitch.conf
install -d -o 1000 -g 1000 home/user
install -d -o 1000 -g 1000 -m 700 run/user/1000
${more}
mkdir .old
pivot_root . .old
umount -l /.old
rmdir /.old
cd /
mount --make-rshared /
echo "box $$"
exec sleep infinity
`

export interface BoxOptions extends WorldOptions {
  readonly packages: ReadonlyArray<string>
  /** Default: Debian 13, trixie; DRIVERS_SUITE is stronger. */
  readonly suite?: string
  /** Shell lines for files below the new root, which is the current directory; as root. */
  readonly files?: string
}

export class Box {
  private constructor(
    readonly w: World,
    private readonly holder: Proc,
    /** Of the process that holds the mount namespace, as the world counts. */
    private readonly pid: string,
    /** Root directory, from outside: what was unpacked, without later changes. */
    readonly root: string
  ) {}

  static async open(o: BoxOptions): Promise<Box> {
    const root = debianRoot(preferred ?? o.suite ?? 'trixie', o.packages)
    const w = await World.open(o)
    try {
      const argv = [
        'unshare',
        '--mount',
        '--propagation',
        'private',
        'bash',
        '-c',
        setup(root, o.files ?? '')
      ]
      const holder = w.start(argv, { uid: 0, timeout: 30 * 60_000 })
      const [, pid] = await holder.sees(/^box (\d+)$/m)
      return new Box(w, holder, pid!, root)
    } catch (e) {
      await w.close()
      throw e
    }
  }

  async close(): Promise<void> {
    await this.holder.stop()
    await this.w.close()
  }

  /** argv, for the world's root, that runs `command` as the ordinary user of the box. */
  enter(command: ReadonlyArray<string>, uid = 1000): string[] {
    const user = ['setpriv', '--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups', '--']
    return ['nsenter', '-t', this.pid, '-m', '--wdns=/tmp', ...(uid === 0 ? [] : user), ...command]
  }

  /** Starts a command as the ordinary user of the box, as if they had logged in. */
  start(command: ReadonlyArray<string>, o: RunOptions = {}): Proc {
    const uid = o.uid ?? 1000
    const [user, home] = uid === 0 ? ['root', '/root'] : ['user', '/home/user']
    const env = { HOME: home, XDG_RUNTIME_DIR: `/run/user/${uid}`, USER: user, ...o.env }
    return this.w.start(this.enter(command, uid), { ...o, uid: 0, env })
  }

  run(command: ReadonlyArray<string>, o: RunOptions = {}): Promise<Result> {
    return this.start(command, o).wait()
  }

  /** Shell lines; their output, or a throw on any failure. */
  async sh(script: string, o: RunOptions = {}): Promise<string> {
    return ok(await this.run(['bash', '-eo', 'pipefail', '-c', script], o)).stdout
  }
}
