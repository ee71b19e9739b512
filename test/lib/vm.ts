// Virtual machines: QEMU without acceleration, Debian's kernel, an initramfs of busybox and the DHCP clients. A machine
// runs in the world's "host", as an ordinary user; scripts go to it over a serial port (vm-init.sh).
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync
} from 'node:fs'
import { connect, type Socket } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { cache, cached, cacheInside, repo } from './cache.js'
import { type Proc, sleep, until } from './proc.js'
import type { World } from './world.js'

/** Unpacked by scripts/guest.mjs. */
const parts = join(cache, 'guest')
/** Programs of this machine that the guest has beside busybox, with the libraries that they need; path here, path there. */
const programs: ReadonlyArray<readonly [string, string]> = [
  ['/usr/sbin/dhclient', 'usr/sbin/dhclient'],
  ['/usr/bin/socat', 'usr/bin/socat'],
  ['/bin/ip', 'bin/ip']
]

const must = (command: string, argv: ReadonlyArray<string>, cwd?: string): string => {
  const r = spawnSync(command, argv, { encoding: 'utf8', ...(cwd === undefined ? {} : { cwd }) })
  assert.equal(r.status, 0, `${command} ${argv.join(' ')}: ${r.error?.message ?? r.stderr}`)
  return r.stdout
}

const filesBelow = (dir: string): string[] =>
  readdirSync(dir, { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? filesBelow(join(dir, e.name)) : [join(dir, e.name)]
  )

/** What a program loads, by ldd(1): its libraries and the loader. */
const libraries = (program: string): string[] =>
  [...must('ldd', [program]).matchAll(/(\/\S+) \(0x/g)].map((m) => m[1]!)

const makeImage = (to: string): void => {
  const root = mkdtempSync(join(cache, 'image-'))
  const put = (file: string, at: string): void => {
    mkdirSync(dirname(join(root, at)), { recursive: true })
    copyFileSync(file, join(root, at))
    chmodSync(join(root, at), 0o755)
  }
  try {
    for (const file of filesBelow(parts)) {
      const name = basename(file)
      if (/\.ko(\.|$)/.test(name)) put(file, `modules/${name}`)
      else if (name.startsWith('klibc-')) put(file, `lib/${name}`)
      else if (['busybox', 'ipconfig'].includes(name)) put(file, `bin/${name}`)
    }
    const packed = filesBelow(join(root, 'modules')).filter((file) => file.endsWith('.xz'))
    if (packed.length > 0) must('busybox', ['unxz', ...packed])
    for (const [here, there] of programs) put(here, there)
    for (const file of new Set(programs.flatMap(([here]) => libraries(here)))) put(file, file)
    put(join(repo, 'test/lib/dhcp.sh'), 'dhcp.sh')
    put(join(repo, 'test/lib/vm-init.sh'), 'init')
    must('sh', ['-ec', 'find . | busybox cpio -o -H newc > "$0"', to], root)
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

/** Paths, inside a world, of the kernel and the initramfs. */
const image = (): { kernel: string; initrd: string } => {
  assert.ok(existsSync(parts), `no ${parts}: run node scripts/tools.mjs`)
  const kernel = filesBelow(parts).find((file) => basename(file).startsWith('vmlinuz'))!
  const sources = ['vm.ts', 'vm-init.sh', 'dhcp.sh'].map((name) => join(repo, 'test/lib', name))
  cached('initramfs', [...sources, kernel], makeImage)
  return { kernel: kernel.replace(cache, cacheInside), initrd: `${cacheInside}/initramfs` }
}

export interface VmOptions {
  /** QEMU's network options, see `overSocket`. */
  readonly network: ReadonlyArray<string>
  /** Words for the kernel's command line. */
  readonly append?: string
  /** The command line up to QEMU's own options; default: QEMU. */
  readonly qemu?: ReadonlyArray<string>
  /** Whose QEMU is; default: the ordinary user's. */
  readonly uid?: number
  /** A machine that comes to us from there, as QEMU's -incoming has it: it does not boot. */
  readonly incoming?: string
}

/** LINK=vhost-user (vhost-mode.ts): virtual machines share their memory with passt. */
export const vhostUser = process.env.LINK === 'vhost-user'
/** passt's own options for that. */
export const linkOptions: ReadonlyArray<string> = vhostUser ? ['--vhost-user'] : []

const MEMORY = '256'
/** Memory that another process may map. */
export const sharedMemory: ReadonlyArray<string> = [
  ...['-object', `memory-backend-memfd,id=m,share=on,size=${MEMORY}M`, '-numa', 'node,memdev=m']
]
const frames = (path: string): string[] => [
  '-netdev',
  `stream,id=n,server=off,addr.type=unix,addr.path=${path}`
]
const shared = (path: string): string[] => [
  ...sharedMemory,
  ...['-chardev', `socket,id=c,path=${path}`, '-netdev', 'vhost-user,id=n,chardev=c']
]
/** QEMU's options for a virtio device over passt's socket. */
export const overSocket = (path: string): string[] => [
  ...(vhostUser ? shared(path) : frames(path)),
  // Without acceleration QEMU 7.2 follows a null pointer where vhost-user meets MSI-X, whatever the back-end
  ...['-device', `virtio-net-pci,netdev=n,romfile=,mac=52:54:00:12:34:56${vhostUser ? ',vectors=0' : ''}`]
]

/** Generous: a busy machine, no acceleration. */
const BOOT_MS = 90_000
const SCRIPT_MS = 60_000
/** What the guest has not answered by then is sent again. */
const AGAIN_MS = 5_000
/** Scripts so far: a guest that has moved is another machine's, and remembers the last one. */
let asked = 0

let count = 0

export class Vm {
  private received = ''
  private boots = 0

  private constructor(
    readonly proc: Proc,
    private readonly serial: Socket,
    private readonly console: string,
    private readonly monitorAt: string
  ) {
    serial.setEncoding('utf8').on('data', (s: string) => {
      this.received += s
    })
    serial.on('error', () => {})
  }

  /** Starts a machine; done once it has booted. */
  static async boot(w: World, o: VmOptions): Promise<Vm> {
    const name = `vm-${++count}`
    const { kernel, initrd } = image()
    const argv = [
      ...(o.qemu ?? ['qemu-system-x86_64']),
      ...[
        '-accel',
        'tcg',
        '-cpu',
        'qemu64,+rdrand',
        '-m',
        MEMORY,
        '-display',
        'none',
        '-nodefaults',
        '-no-user-config'
      ],
      ...['-kernel', kernel, '-initrd', initrd],
      ...['-append', `console=ttyS0 quiet mitigations=off nokaslr random.trust_cpu=on ${o.append ?? ''}`],
      ...['-chardev', `file,id=console,path=/mnt/w/${name}.console`, '-serial', 'chardev:console'],
      // In this order: once the serial port is there, so is the monitor
      ...['-chardev', `socket,id=monitor,path=/mnt/w/${name}.monitor,server=on,wait=off`],
      ...['-chardev', `socket,id=scripts,path=/mnt/w/${name}.serial,server=on,wait=off`],
      ...['-mon', 'chardev=monitor,mode=readline', '-serial', 'chardev:scripts', ...o.network],
      ...(o.incoming === undefined ? [] : ['-incoming', o.incoming])
    ]
    const proc = w.start(argv, { timeout: 600_000, ...(o.uid === undefined ? {} : { uid: o.uid }) })
    const path = join(w.dir, `${name}.serial`)
    const serial = await until('a serial port of QEMU', () => {
      if (!proc.running) throw new Error(`QEMU ended: ${proc.stderr}`)
      return existsSync(path) && open(path)
    })
    const vm = new Vm(proc, serial, join(w.dir, `${name}.console`), join(w.dir, `${name}.monitor`))
    if (o.incoming === undefined) await vm.booted()
    else await vm.monitor('info status') // it listens once its main loop runs
    return vm
  }

  /** Waits for the next boot to end. */
  async booted(): Promise<void> {
    this.boots++
    const ready = () => this.received.split('@ready').length > this.boots
    await this.whileRunning('the machine has booted', ready, BOOT_MS)
  }

  /** Runs shell lines as root in the guest; the output, or a throw on any failure. */
  async sh(script: string, ms = SCRIPT_MS): Promise<string> {
    const id = await this.send(script)
    const answer = await this.whileRunning(
      `an answer to ${script}`,
      () => new RegExp(`^@${id} (\\d+) (\\S*)\\r?\\n`, 'm').exec(this.received) ?? undefined,
      ms
    )
    const output = Buffer.from(answer[2]!, 'base64').toString()
    assert.equal(answer[1], '0', `${script}\nin the guest ends with status ${answer[1]}: ${output}`)
    return output
  }

  /** Sends a script that ends the connection to us, such as a reboot after a moment: nobody waits for its answer. */
  async tell(script: string): Promise<void> {
    await this.send(script)
  }

  /** Sends a script until the guest says that it has it (vm-init.sh); its id. */
  private async send(script: string): Promise<number> {
    const id = ++asked
    const text = Buffer.from(script).toString('base64')
    const sum = createHash('md5').update(`${text}\n`).digest('hex').slice(0, 8)
    const has = (): boolean => new RegExp(`^@got ${id}\\r?\\n`, 'm').test(this.received)
    const refused = (): number => this.received.split('@again').length
    await this.whileRunning(
      `the guest to take ${script}`,
      async () => {
        const before = refused()
        this.serial.write(`${id} ${sum} ${text}\n`)
        const until = performance.now() + AGAIN_MS
        while (!has() && refused() === before && performance.now() < until) await sleep(20)
        return has()
      },
      BOOT_MS
    )
    return id
  }

  /** A line of QEMU's monitor, carried out; what it prints. */
  monitor(line: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const s = connect(this.monitorAt)
      let out = ''
      let sent = 0
      s.setEncoding('latin1').on('error', reject)
      s.on('data', (d: string) => {
        out += d
        const prompts = out.split('(qemu) ').length - 1
        if (prompts >= 1 && sent === 0) {
          sent = out.length
          s.write(`${line}\n`)
        } else if (sent > 0 && out.slice(sent).endsWith('(qemu) ')) s.end(() => resolve(out.slice(sent)))
      })
    })
  }

  /** Moves the machine to the QEMU that listens there; how that ended: `completed`, or else all that QEMU says of it. */
  async migrate(to: string): Promise<string> {
    const answer = await this.monitor(`migrate -d ${to}`)
    if (/error/i.test(answer)) throw new Error(answer)
    return this.whileRunning('the end of a migration', () => this.migrationEnded(), BOOT_MS)
  }
  private async migrationEnded(): Promise<string | undefined> {
    const said = await this.monitor('info migrate')
    const status = /^(?:Migration status|Status): *\t*(\w+)/im.exec(said)?.[1]
    if (status === 'completed') return status
    return status === 'failed' || status === 'cancelled' ? said : undefined
  }

  /** Kills QEMU. */
  async stop(): Promise<void> {
    await this.proc.stop()
    this.serial.destroy()
  }

  private async whileRunning<A>(
    what: string,
    probe: () => A | undefined | false | Promise<A | undefined | false>,
    ms: number
  ): Promise<A> {
    try {
      return await until(
        what,
        () => {
          if (!this.proc.running) throw new Error('QEMU ended')
          return probe()
        },
        ms
      )
    } catch (e) {
      const console = existsSync(this.console) ? readFileSync(this.console, 'latin1').slice(-3000) : ''
      throw new Error(`${(e as Error).message}\nQEMU: ${this.proc.stderr}\nconsole: ${console}`)
    }
  }
}

const open = (path: string): Promise<Socket | undefined> =>
  new Promise((done) => {
    const socket = connect(path)
    socket.once('connect', () => done(socket)).once('error', () => done(undefined))
  })
