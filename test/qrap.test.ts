// qrap: which passt it finds, what it runs, and how; with a QEMU that only reports, and with the real one.
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { cmdlineOf, type Proc, statusField, until } from './lib/proc.js'
import { ok, describe as show, World } from './lib/world.js'

const qrap = process.env.QRAP ?? '/mnt/repo/bin/qrap'

/** Prints its arguments, and what it finds at descriptor FD: its peer, the first frame, copies at other descriptors. */
const reporter = `#!/usr/bin/python3
import json, os, socket, sys
fd = int(os.environ["FD"])
s = socket.socket(fileno=os.dup(fd))
frame = s.recv(int.from_bytes(s.recv(4, socket.MSG_WAITALL), "big"), socket.MSG_WAITALL)
link = lambda n: os.path.exists(f"/proc/self/fd/{n}") and os.readlink(f"/proc/self/fd/{n}")
others = [n for n in map(int, os.listdir("/proc/self/fd")) if n not in (fd, s.fileno()) and link(n) == link(fd)]
limits = [l.split()[1] for l in open("/proc/self/status") if l.startswith(("NoNewPrivs:", "Seccomp:"))]
print(json.dumps({"limits": limits, "argv": sys.argv, "peer": s.getpeername(), "blocking": os.get_blocking(fd), "frame": frame.hex(), "others": others}))
`
/** Stands for passt, arguments PATH HOW. Prints "ready", then what it gets. */
const fake = `
import os, socket, sys
path, how = sys.argv[1:]
s = socket.socket(socket.AF_UNIX)
s.bind(path)
if how == "dead": sys.exit(print("ready"))
s.listen(1)
print("ready", flush=True)
while True:
    c, _ = s.accept()
    if how == "refuses": c.close(); continue
    request = c.recv(4 + 42, socket.MSG_WAITALL)
    print(request.hex(), flush=True)
    if how == "answers": c.sendall((14).to_bytes(4, "big") + bytes(range(14)))
    if how == "garbage": c.sendall(b"HTTP/1.0 200 OK")
    try: c.recv(1)
    except ConnectionError: pass
`
interface Report {
  readonly argv: ReadonlyArray<string>
  readonly peer: string
  readonly blocking: boolean
  readonly frame: string
  readonly others: ReadonlyArray<number>
  /** NoNewPrivs and Seccomp of proc_pid_status(5). */
  readonly limits: ReadonlyArray<string>
}

let w: World
before(async () => {
  w = await World.open()
  mkdirSync(join(w.dir, 'bin'))
  for (const name of ['qemu-system-x86_64', 'my-qemu']) {
    writeFileSync(join(w.dir, 'bin', name), reporter)
    chmodSync(join(w.dir, 'bin', name), 0o755)
  }
  writeFileSync(join(w.dir, 'fake.py'), fake)
})
after(() => w.close())

/** Runs `use` with one socket for each of `how`: /tmp/passt_N.socket with N counting from 1, or as `first` says. */
const withSockets = async (how: ReadonlyArray<string>, use: (fakes: Proc[]) => Promise<void>, first = 1) => {
  const fakes = how.map((h, i) => w.start(['python3', '/mnt/w/fake.py', `/tmp/passt_${first + i}.socket`, h]))
  try {
    await Promise.all(fakes.map((p) => p.sees(/ready/)))
    await use(fakes)
  } finally {
    await Promise.all(fakes.map((p) => p.stop()))
    await w.sh('rm -f /tmp/passt_*.socket')
  }
}
const run = (args: ReadonlyArray<string>, fd = 5, path = '/mnt/w/bin') =>
  w.run(['env', `PATH=${path}`, `FD=${fd}`, qrap, ...args])
const report = async (args: ReadonlyArray<string>, fd = 5): Promise<Report> =>
  JSON.parse(ok(await run(args, fd)).stdout) as Report

test("another user's socket is passed over, with its name; root's is not", async () => {
  const fake = (n: number, uid: number) =>
    w.start(['python3', '/mnt/w/fake.py', `/tmp/passt_${n}.socket`, 'answers'], { uid })
  const theirs = fake(1, 1001)
  try {
    await theirs.sees(/ready/)
    await w.sh('chmod 777 /tmp/passt_1.socket')
    const r = await run(['7', 'my-qemu'], 7)
    assert.equal(r.code, 1, show(r))
    assert.match(r.stderr, /passt_1\.socket: another user's \(1001\), not connecting/)
    assert.doesNotMatch(theirs.stdout, /[0-9a-f]{92}/, 'it has seen nothing of the guest')
    const roots = fake(2, 0)
    await roots.sees(/ready/)
    await w.sh('chmod 777 /tmp/passt_2.socket')
    assert.equal((await report(['7', 'my-qemu'], 7)).peer, '/tmp/passt_2.socket')
    await roots.stop()
  } finally {
    await theirs.stop()
    await w.sh('rm -f /tmp/passt_*.socket')
  }
})
test('FDNUM and QEMU_CMD: the command gets a socket there, and its arguments as they are', async () => {
  await withSockets(['answers'], async ([passt]) => {
    const args = ['-m', '64', '-net', 'socket,fd=9', '-net', 'nic,model=virtio', '-device', 'e1000,x=y']
    const r = await report(['9', 'my-qemu', ...args], 9)
    assert.deepEqual(r.argv, ['/mnt/w/bin/my-qemu', ...args])
    assert.deepEqual([r.peer, r.blocking, r.others], ['/tmp/passt_1.socket', true, []])
    assert.equal(r.frame, '000102030405060708090a0b0c0d', 'nothing of the stream is missing')
    const [request] = await passt!.sees(/^[0-9a-f]{92}$/m)
    // RFC 826 in an Ethernet frame, behind its length: a broadcast that asks for an address.
    assert.match(request, /^0000002affffffffffff0200.{8}080600010800060400010200.{8}00000000/)
  })
})
test('a path as QEMU_CMD; the lowest descriptor that may be', async () => {
  await withSockets(['answers'], async () => {
    const r = await report(['3', '/mnt/w/bin/my-qemu', '-m', '64'], 3)
    assert.deepEqual([r.argv.slice(1), r.peer], [['-m', '64'], '/tmp/passt_1.socket'])
  })
})
test('the first socket behind which somebody answers', async () => {
  await withSockets(['dead', 'refuses', 'silent', 'garbage', 'answers', 'answers'], async () => {
    assert.equal((await report(['7', 'my-qemu'], 7)).peer, '/tmp/passt_5.socket')
  })
})
test('the last socket that is probed is the 64th', async () => {
  await withSockets(
    ['answers'],
    async () => {
      assert.equal((await report(['7', 'my-qemu'], 7)).peer, '/tmp/passt_64.socket')
    },
    64
  )
  await withSockets(
    ['answers'],
    async () => {
      assert.equal((await run(['7', 'my-qemu'], 7)).code, 1)
    },
    65
  )
})
test('the search is filtered, in a process of its own; QEMU is not', async () => {
  await withSockets(['silent', 'answers'], async () => {
    const proc = w.start(['env', 'PATH=/mnt/w/bin', 'FD=7', qrap, '7', 'my-qemu'])
    const seen = await until('the search', () => {
      const pids = w.pidsInside().filter((pid) => /bin\/qrap 7/.test(cmdlineOf(pid)))
      const of = (pid: number) => ['Seccomp', 'NoNewPrivs'].map((f) => Number(statusField(pid, f)))
      const fields = pids.map(of).sort()
      return fields.length === 2 && fields[1]![0] !== 0 && fields
    })
    assert.deepEqual(seen, [
      [0, 0],
      [2, 1]
    ])
    const r = JSON.parse(ok(await proc.wait()).stdout) as Report
    assert.deepEqual([r.peer, r.limits], ['/tmp/passt_2.socket', ['0', '0']])
  })
})
test('without FDNUM and QEMU_CMD: QEMU from PATH, its network replaced', async () => {
  await withSockets(['answers'], async () => {
    const kept = ['disk.qcow2', '-m', '64', '-device', 'virtio-rng-pci', '-nic', 'none', '-device', 'e1000']
    const removed = [
      ['-net', 'none'],
      ['-netdev', 'user,id=n'],
      ['--netdev', 'user,id=m'],
      ...['virtio-net-pci', 'virtio-net-ccw', 'e1000', 'e1000e', 'rtl8139'].map((d) => [
        '-device',
        `${d},netdev=n`
      ]),
      ['-device', '{"driver":"virtio-net-pci","netdev":"n"}']
    ].flat()
    const r = await report([...kept.slice(0, 3), ...removed, ...kept.slice(3)])
    assert.equal(r.argv[0], '/mnt/w/bin/qemu-system-x86_64')
    assert.deepEqual(r.argv.slice(1, 1 + kept.length), kept)
    const added = r.argv.slice(1 + kept.length)
    assert.deepEqual(added.filter((_, i) => i % 2 === 0).sort(), ['-device', '-netdev'])
    const value = (option: string) => added[added.indexOf(option) + 1]!
    const id = /^socket,fd=5,id=(\w+)$/.exec(value('-netdev'))?.[1]
    assert.match(value('-device'), new RegExp(`^virtio-net-pci,(.*,)?netdev=${id}(,|$)`))
  })
})
test('a number and an option, a descriptor of the standard streams: no FDNUM', async () => {
  await withSockets(['answers'], async () => {
    for (const args of [['5', '-m', '64'], ['2', 'my-qemu'], ['-1', 'my-qemu'], ['5x', 'my-qemu'], []])
      assert.deepEqual((await report(args)).argv.slice(1, 1 + args.length), args)
  })
})
test('nobody there, no command, no QEMU, no such descriptor: status 1 and a message', async () => {
  const none = await run(['5', 'my-qemu'])
  assert.deepEqual([none.code, none.stdout], [1, ''], show(none))
  assert.match(none.stderr, /passt_1\.socket.*passt_64\.socket/)
  await withSockets(['answers'], async () => {
    const missing = await run(['5', 'no-such-qemu'])
    assert.equal(missing.code, 1)
    assert.match(missing.stderr, /no-such-qemu/)
    const high = await run(['1000000000', 'my-qemu'])
    assert.equal(high.code, 1, show(high))
    assert.match(high.stderr, /1000000000/)
    const nothing = await run(['-m', '64'], 5, '/mnt/w')
    assert.equal(nothing.code, 1, show(nothing))
    assert.match(nothing.stderr, /qemu/i)
  })
})
