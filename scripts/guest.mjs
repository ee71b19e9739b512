// The parts of a virtual machine for the tests: Debian's kernel for clouds, a static busybox and klibc's ipconfig, taken out
// of their packages and put into .cache/guest, not installed. test/lib/vm.ts makes the image of them.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const cache = join(dirname(dirname(fileURLToPath(import.meta.url))), '.cache')
const guest = join(cache, 'guest')

/** What is wanted of each package, as patterns of tar(1); `linux-image` stands for the one that the metapackage names. */
const parts = {
  'linux-image': ['./boot/vmlinuz-*', '*/drivers/virtio/*.ko*', '*/virtio_net.ko*', '*/*failover.ko*'],
  'busybox-static': ['*/bin/busybox'],
  'klibc-utils': ['*/ipconfig'],
  libklibc: ['*/klibc-*.so']
}

const run = (command, argv, options = {}) => {
  const r = spawnSync(command, argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 2], ...options })
  if (r.status !== 0)
    throw new Error(`${command} ${argv.join(' ')}: ${r.error?.message ?? `status ${r.status}`}`)
  return r.stdout
}

/** The package that a metapackage stands for. */
const kernelPackage = () => {
  const named = run('apt-cache', ['depends', 'linux-image-cloud-amd64'])
  const found = /Depends: (linux-image-\S+)/.exec(named)?.[1]
  if (found === undefined) throw new Error(`linux-image-cloud-amd64 depends on no kernel: ${named}`)
  return found
}

/** Downloads and unpacks what is not there yet; `update` gets apt's lists where they may be old. */
export const fetchGuest = (update) => {
  if (existsSync(guest)) return
  console.error('tools: fetching a kernel for virtual machines')
  update()
  mkdirSync(cache, { recursive: true })
  const work = mkdtempSync(join(cache, 'guest-'))
  try {
    for (const [name, patterns] of Object.entries(parts)) {
      const wanted = name === 'linux-image' ? kernelPackage() : name
      run('apt-get', ['download', '-qq', '-o', 'APT::Sandbox::User=root', wanted], { cwd: work })
      const deb = readdirSync(work).find((file) => file.endsWith('.deb'))
      run('sh', ['-ec', 'dpkg-deb --fsys-tarfile "$0" | tar -x --wildcards "$@"', deb, ...patterns], {
        cwd: work
      })
      rmSync(join(work, deb))
    }
    chmodSync(work, 0o755) // QEMU runs as an ordinary user
    renameSync(work, guest)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}
