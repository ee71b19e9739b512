// Rootless podman from a newer Debian in a box, with the program under test as its pasta, and an image made of busybox and
// socat.
import { dirname } from 'node:path'
import { Box } from './box.js'
import { type Result, until } from './proc.js'
import { pasta, type RunOptions, type WorldOptions } from './world.js'

const packages = [
  ...['podman', 'crun', 'conmon', 'catatonit', 'netavark', 'aardvark-dns', 'nftables', 'uidmap', 'netbase'],
  ...['busybox-static', 'socat']
]

/** No systemd, no cgroup of the user's own, no overlay: what a bare virtual machine has. */
const config = (network: string): string => `
mkdir -p etc/containers
cat > etc/containers/containers.conf <<'END'
[engine]
helper_binaries_dir = ["${dirname(pasta)}", "/usr/lib/podman", "/usr/libexec/podman"]
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
cgroups = "disabled"
[network]
${network}
END
cat > etc/containers/storage.conf <<'END'
[storage]
driver = "vfs"
END
`

/**
 * Answers on every port given, TCP and UDP, both families: a line with the protocol, the port it came to, who asks, and
 * what it was sent, digested.
 */
const serve = `#!/bin/sh
for port; do
  socat -t 30 TCP6-LISTEN:$port,fork,reuseaddr,ipv6-v6only=0,backlog=64 EXEC:"/answer tcp $port" &
  socat -T 10 -b 65536 UDP6-RECVFROM:$port,fork,ipv6-v6only=0 EXEC:"/answer udp $port" &
done
until [ $(netstat -ln | grep -c ':[0-9]') -ge $((2 * $#)) ]; do sleep 0.05; done
echo ready
wait
`
const answer = `#!/bin/sh
echo "$1 $2 $SOCAT_PEERADDR $(sha256sum | cut -d ' ' -f 1)"
`

const image = `
cd $(mktemp -d)
mkdir -p usr/bin usr/lib usr/lib64 etc tmp proc sys dev run root
ln -s usr/bin usr/lib usr/lib64 .
cp /usr/bin/busybox usr/bin
for name in $(busybox --list); do [ -e usr/bin/$name ] || ln -s busybox usr/bin/$name; done
cp /usr/bin/socat usr/bin
for ld in /lib*/ld-linux*; do break; done
for file in $($ld --list /usr/bin/socat | grep -o '/[^ ]*'); do mkdir -p .$(dirname $file); cp -L $file .$file; done
cat > serve <<'END'
${serve}END
cat > answer <<'END'
${answer}END
chmod 755 . serve answer
tar -c . | podman import -q - box
rm -rf "$PWD"
`

export interface PodmanOptions extends WorldOptions {
  /** Lines of section [network] of containers.conf. */
  readonly network?: string
}

/** podman's line, with what a container of these tests has anyway. */
export const runArgv = (options: ReadonlyArray<string>, command: ReadonlyArray<string>): string[] => [
  ...['podman', 'run', '--rm', ...options, 'box', ...command]
]

export class Podman {
  private constructor(readonly box: Box) {}

  static async open(o: PodmanOptions = {}): Promise<Podman> {
    const box = await Box.open({ ...o, packages, files: config(o.network ?? '') })
    try {
      await box.sh(image)
      return new Podman(box)
    } catch (e) {
      await box.close()
      throw e
    }
  }

  close(): Promise<void> {
    return this.box.close()
  }

  /** `podman run --rm OPTIONS box sh -ec SCRIPT` */
  run(options: ReadonlyArray<string>, script: string, o: RunOptions = {}): Promise<Result> {
    return this.box.run(runArgv(options, ['sh', '-ec', script]), o)
  }

  /** A container in background that answers on `ports`; its id. */
  async serve(options: ReadonlyArray<string>, ports: ReadonlyArray<number>): Promise<string> {
    const argv = ['podman', 'run', '-d', '--init', ...options, 'box', '/serve', ...ports.map(String)]
    const id = (await this.box.sh(argv.map((a) => `'${a}'`).join(' '))).trim()
    await until('the container to be ready', async () =>
      /ready/.test(await this.box.sh(`podman logs ${id} 2>&1`))
    )
    return id
  }

  /** Ends and removes containers. */
  async remove(...ids: ReadonlyArray<string>): Promise<void> {
    await this.box.sh(`podman rm -f -t 0 ${ids.join(' ')}`)
  }
}
