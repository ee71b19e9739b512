// Into the background and out of it, with the real engine, as several users: what the caller sees and what stays behind.
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { alive, kill, type Proc, parents, sessionOf, until } from './lib/proc.js'
import { helper, isPeer, net, ok, pasta, quietPorts, describe as show } from './lib/world.js'

const bed = useBed()
const oursOnly = { skip: isPeer && 'upstream does otherwise' }
const outside = (path: string): string => join(bed.w.dir, path.slice('/mnt/w/'.length))

interface Holder {
  readonly proc: Proc
  readonly inner: number
  readonly uid: number
}
/** A user and network namespace of `uid`, kept by a process. */
const holder = async (uid: number): Promise<Holder> => {
  const { proc, pid } = await bed.w.namespaces(uid)
  return { proc, inner: pid, uid }
}
const attach = (h: Holder, options: ReadonlyArray<string>, shell = '"$@"') =>
  bed.w.run(['sh', '-c', shell, '-', pasta, ...quietPorts, '--config-net', ...options, `${h.inner}`], {
    uid: h.uid
  })
const inNamespace = (h: Holder, script: string) =>
  bed.w.run(['nsenter', '-t', `${h.inner}`, '-U', '-n', '--preserve-credentials', 'sh', '-ec', script], {
    uid: h.uid
  })
const serves = async (h: Holder): Promise<void> => {
  const r = ok(await inNamespace(h, `python3 ${helper('client.py')} tcp-read ${net.world4} 7006`))
  assert.match(r.stdout, /"data": "ok\\n"/)
}
const programs = (): number[] => bed.w.pidsInside().filter((pid) => /pasta|passt|node/.test(exe(pid)))
const exe = (pid: number): string => {
  try {
    return readlinkSync(`/proc/${pid}/exe`)
  } catch {
    return ''
  }
}
/** Processes that have ended and that `pid` or a descendant has not asked for. */
const zombiesOf = (pid: number): number[] => {
  const up = parents()
  const below = (p: number | undefined): boolean => p !== undefined && (p === pid || below(up.get(p)))
  return [...up.keys()].filter((p) => p !== pid && below(p) && !alive(p) && existsSync(`/proc/${p}`))
}
const gone = () => until('the end of all processes of ours', () => programs().length === 0)

for (const uid of [1000, 65534, 0])
  describe(`attached in background, as user ${uid}`, oursOnly, () => {
    test('ready when the caller goes on; named by the pid file; its own session, no streams, no zombies', async () => {
      const h = await holder(uid)
      const file = `/mnt/w/pid-${uid}`
      const r = await attach(h, ['-P', file])
      assert.equal(ok(r).stdout, '')
      const text = readFileSync(outside(file), 'utf8')
      assert.match(text, /^\d+\n$/)
      const pid = bed.w.outerPid(Number(text))
      await serves(h)
      assert.equal(statSync(outside(file)).mode & 0o777, 0o600)
      for (const fd of [0, 1, 2]) assert.equal(readlinkSync(`/proc/${pid}/fd/${fd}`), '/dev/null')
      for (const process of programs().filter((p) => p === pid || exe(p).endsWith('/node')))
        assert.equal(sessionOf(process), process, 'leads a session')
      assert.deepEqual(zombiesOf(pid), [])
      kill(pid, 'SIGTERM')
      await gone()
      assert.equal(readFileSync(outside(file), 'utf8'), text, 'the pid file stays')
      await h.proc.stop()
    })
    test('with standard streams closed: the same', async () => {
      const h = await holder(uid)
      const r = await attach(h, ['-P', '/mnt/w/closed'], '"$@" <&- >&- 2>&-')
      ok(r)
      const pid = bed.w.outerPid(Number(readFileSync(outside('/mnt/w/closed'), 'utf8')))
      for (const fd of [0, 1, 2]) assert.equal(readlinkSync(`/proc/${pid}/fd/${fd}`), '/dev/null')
      await serves(h)
      await h.proc.stop()
      await gone()
      await bed.w.sh('rm /mnt/w/closed')
    })
    test('an error is the caller’s: one line, status 1, nothing stays', async () => {
      const h = await holder(uid)
      await bed.w.sh(
        'mkdir -p /mnt/w/dir; mkdir -p -m 755 /mnt/w/small; mount -t tmpfs -o size=4k,mode=1777 none /mnt/w/small; head -c 4096 /dev/zero > /mnt/w/small/full'
      )
      try {
        for (const [options, why] of [
          [['-P', '/mnt/w/missing/pid'], /Cannot open pid file .*No such file or directory/],
          [['-P', '/mnt/w/dir'], /Cannot open pid file .*Is a directory/],
          [['-P', '/mnt/w/small/pid'], /Cannot (open|write the) pid file.*No space left/],
          [['-t', '198.51.100.99/8000'], /Cannot assign requested address/],
          [['-i', 'nope'], /nope/],
          [['-I', 'lo'], /lo/]
        ] as const)
          for (const mode of [[], ['-f']]) {
            const r = await attach(h, [...mode, ...options])
            assert.equal(r.code, 1, show(r))
            const lines = r.stderr.trim().split('\n')
            assert.match(lines.at(-1)!, why)
            assert.doesNotMatch(r.stderr, /internal error| at /)
            await gone()
          }
        const r = ok(await inNamespace(h, 'ip -br link'))
        assert.deepEqual(
          r.stdout
            .trim()
            .split('\n')
            .map((l) => l.split(' ')[0]),
          ['lo']
        )
      } finally {
        await bed.w.sh('umount /mnt/w/small')
        await h.proc.stop()
      }
    })
    for (const [signal, code] of [
      ['SIGTERM', 0],
      ['SIGQUIT', 0],
      ['SIGINT', null],
      ['SIGHUP', null]
    ] as const)
      test(`-f: ${signal} ${code === 0 ? 'is an orderly end, status 0' : 'has its default action'}`, async () => {
        const h = await holder(uid)
        const argv = [pasta, ...quietPorts, '--config-net', '-f', '-P', '/mnt/w/fg', `${h.inner}`]
        const proc = bed.w.start(argv, { uid })
        await until('the pid file', () =>
          /\n/.test(existsSync(outside('/mnt/w/fg')) ? readFileSync(outside('/mnt/w/fg'), 'utf8') : '')
        )
        const pid = await proc.pid()
        assert.equal(bed.w.outerPid(Number(readFileSync(outside('/mnt/w/fg'), 'utf8'))), pid)
        assert.deepEqual(zombiesOf(pid), [])
        kill(pid, signal)
        const r = await proc.wait()
        // nsenter(1) dies by the signal that its child died by
        assert.deepEqual([r.code, r.signal], [code, code === 0 ? null : signal], show(r))
        await gone()
        await h.proc.stop()
        await bed.w.sh('rm /mnt/w/fg')
      })
  })

test('no descriptor of the caller stays open in what goes into the background', oursOnly, async () => {
  const h = await holder(1000)
  await attach(h, ['-P', '/mnt/w/fds'], 'exec 7</etc/passwd 8>/mnt/w/open; "$@"')
  const pid = bed.w.outerPid(Number(readFileSync(outside('/mnt/w/fds'), 'utf8')))
  const open = programs().flatMap((p) =>
    readdirSync(`/proc/${p}/fd`).map((fd) => readlinkSync(`/proc/${p}/fd/${fd}`))
  )
  assert.ok(programs().includes(pid))
  assert.deepEqual(
    open.filter((f) => /passwd|mnt\/w/.test(f)),
    []
  )
  await h.proc.stop()
  await gone()
})
