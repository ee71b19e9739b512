// What keeps it from starting is said in one line: what was tried, what the kernel answered, what to do. No stack.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import type { Result } from './lib/proc.js'
import { helper, isPeer, pasta, quietPorts, describe as show } from './lib/world.js'

const bed = useBed()
const start = [pasta, ...quietPorts, '--config-net', '--', 'true']
/** Numbers of system calls by Python's processor; the same names on all of them. */
const numbers: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  x64: {
    prctl: 157,
    capset: 126,
    socket: 41,
    seccomp: 317,
    epoll_create1: 291,
    unshare: 272,
    ioctl: 16,
    recvmsg: 47,
    tgkill: 234
  },
  arm64: {
    prctl: 167,
    capset: 91,
    socket: 198,
    seccomp: 277,
    epoll_create1: 20,
    unshare: 97,
    ioctl: 29,
    recvmsg: 212,
    tgkill: 131
  }
}
const LIMITED = `import os, resource, sys
n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_NPROC, (n, n)); os.execv(sys.argv[2], sys.argv[2:])`
const withFile = (option: string): ReadonlyArray<string> => [
  pasta,
  ...quietPorts,
  option,
  `x${option}`,
  '--',
  'true'
]
const EPERM = 1
const ENOSYS = 38
const EMFILE = 24

const says = (r: Result, what: RegExp): void => {
  assert.equal(r.code, 1, show(r))
  assert.equal(r.timedOut, false)
  const ours = r.stderr.split('\n').filter((line) => line.startsWith('pasta: '))
  assert.equal(ours.length, 1, show(r))
  assert.match(ours[0] ?? '', what)
  assert.doesNotMatch(r.stderr, /internal error| at .*\.[cm]?[jt]s:\d|node:internal/, show(r))
}

describe('a system call refused', { skip: isPeer && 'upstream does otherwise' }, () => {
  const filter = /a filter of system calls may refuse it/
  const rows: ReadonlyArray<readonly [string, number, RegExp]> = [
    ['socket', EPERM, /cannot ask the kernel for interfaces: EPERM, [^\n]*a filter of system calls/],
    ['socket', EMFILE, /cannot ask the kernel for interfaces: EMFILE, [^\n]*ulimit -Hn/],
    ['recvmsg', EPERM, /No answer from the launcher: EPERM, /],
    ['capset', EPERM, /cannot give up privileges[^\n]*: EPERM, /],
    ['capset', ENOSYS, filter],
    // What would leave other threads as they are
    ['tgkill', EPERM, /cannot give up privileges[^\n]*: EPERM, /],
    ['tgkill', ENOSYS, filter],
    ['seccomp', EPERM, /cannot install a filter of system calls: EPERM, /],
    [
      'unshare',
      EPERM,
      /Cannot create a user namespace: Operation not permitted \(are user namespaces disabled/
    ],
    ['ioctl', EPERM, /Cannot create tap interface eth0: Operation not permitted/],
    // Node's own needs
    ['epoll_create1', EPERM, /ended by a signal: Aborted. Does Node.js run here\?[^\n]*filter/]
  ]
  for (const [name, errno, what] of rows)
    test(`${name}, error ${errno}`, async () => {
      const number = numbers[process.arch]?.[name]
      assert.ok(number !== undefined, 'a number for this processor')
      says(await bed.w.run(['python3', helper('refuse.py'), `${number}`, `${errno}`, ...start]), what)
    })
})

describe('a machine without', { skip: isPeer && 'upstream does otherwise' }, () => {
  const without = (lines: string, uid = 1000, argv: ReadonlyArray<string> = start): Promise<Result> => {
    const user = `exec ${uid === 0 ? '' : `setpriv --reuid ${uid} --regid ${uid} --clear-groups -- `}"$@"`
    return bed.w.run(['unshare', '--mount', 'sh', '-ec', `${lines}; ${user}`, '-', ...argv], { uid: 0 })
  }
  for (const uid of [1000, 0])
    for (const [what, argv] of [
      ['a command', start],
      ['a process', [pasta, ...quietPorts, '1']]
    ] as const)
      test(`/proc, as user ${uid}, for ${what}`, async () =>
        says(
          await without('while umount -l /proc 2>/dev/null; do :; done', uid, argv),
          /cannot find our threads in \/proc\/self\/task \(is \/proc mounted\?\): ENOENT, no such file or directory$/
        ))
  test('/dev/net/tun', async () =>
    says(
      await without('umount /dev/net; mount -t tmpfs none /dev/net'),
      /Cannot open \/dev\/net\/tun: No such file or directory \(is the tun module loaded\? modprobe tun; [^\n]*--device/
    ))
  test('/dev/net/tun for ordinary users', async () =>
    says(
      await without('umount /dev/net; mount -t tmpfs none /dev/net; mknod -m 600 /dev/net/tun c 10 200'),
      /Cannot open \/dev\/net\/tun: Permission denied \([^\n]*chmod 0666 \/dev\/net\/tun\)/
    ))
  test('anything in /dev', async () =>
    says(
      await without('mount -t tmpfs none /dev; mkdir /dev/net; mknod -m 666 /dev/net/tun c 10 200'),
      /cannot open \/dev\/urandom \(a system's \/dev has it: random\(4\)\): ENOENT, no such file or directory$/
    ))
  test('room for a pid file, by ulimit -f', async () => {
    const dir = await bed.w.sh('d=$(mktemp -d /tmp/fsize.XXXX); chmod 777 $d; echo $d')
    const limited = (option: string) =>
      bed.w.run(['sh', '-c', 'cd "$0"; ulimit -f 0; exec "$@"', dir.trim(), ...withFile(option)])
    says(
      await limited('-P'),
      /Cannot write the pid file: File too large \(a limit may be reached: ulimit -f\)/
    )
    says(await limited('-l'), /cannot write the log file x-l: EFBIG, file too large \([^)]*ulimit -f\)/)
    // a capture is not what a start depends on
    const r = await limited('-p')
    assert.equal(r.code, 0, show(r))
    assert.match(r.stderr, /cannot write the capture x-p: EFBIG, file too large \([^)]*ulimit -f\)/)
  })
  // Where Node gets some of its threads and not all, it waits for ever
  test('enough processes', async () => {
    // of nobody else here: the kernel counts users
    const limited = (most: number) =>
      bed.w.run(['python3', '-c', LIMITED, `${most}`, ...start], { uid: 47_000 + most })
    let failed = 0
    for (let most = 1; most <= 10; most++) {
      const r = await limited(most)
      if (r.code === 0) continue
      says(
        r,
        /: Resource temporarily unavailable \(a limit may be reached, of processes for instance: ulimit -u\)$/
      )
      assert.match(r.stderr, /^pasta: [^\n]*\n$/, 'nothing else')
      failed++
    }
    assert.ok(failed >= 3, `${failed} of them failed`)
    assert.equal((await limited(50)).code, 0)
  })
  test('enough address space', async () => {
    const limited = (kib: number) => bed.w.run(['sh', '-c', `ulimit -v ${kib}; exec "$@"`, '-', ...start])
    says(await limited(100_000), /address space is 97 MiB/)
    says(
      await limited(600_000),
      /Does Node.js run here\? Memory or processes may be limited|not enough memory/
    )
  })
  test('the addon', async () =>
    says(
      await without('mount -t tmpfs none /mnt/repo/build/Release'),
      /cannot load the addon: [^\n]*passt\.node: [^\n]*No such file or directory \(npm run build/
    ))
})
