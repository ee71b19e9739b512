// UNIX sockets of the host on either side of a rule (behaviour.md#unix-sockets).
import assert from 'node:assert/strict'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { useBed } from './lib/bed.js'
import { Guest } from './lib/guest.js'
import { passt } from './lib/passt.js'
import { type Proc, until } from './lib/proc.js'
import { assertReplays } from './lib/replay.js'
import { helper, isPeer, net, ok, pasta, type RunOptions, describe as show } from './lib/world.js'

const bed = useBed()
const ours = { skip: isPeer && 'upstream has no such rules' }
const outside = (name: string): string => join(bed.w.dir, name)
const quiet = ['-u', 'none', '-U', 'none']
/** What comes back for `input`, whose end is a half-close. */
const talk = async (script: string, o: RunOptions = {}): Promise<string> =>
  (await bed.w.run(['sh', '-c', script], o)).stdout
const viaPath = (path: string, input: string, o: RunOptions = {}) =>
  talk(`printf '${input}' | socat -t 5 - UNIX-CONNECT:${path}`, o)

for (const uid of [0, 1000])
  describe(`by user ${uid}`, ours, () => {
    const dir = `/mnt/w/u${uid}`
    const at = `${dir}/in.sock`
    const services = `${dir}/services`
    const conf = `${dir}/conf`
    let guest: Guest
    let server: Proc | null = null
    /** Echoes, by a process for each connection. Its directory comes and goes with it, as a service's does. */
    const serve = async (): Promise<void> => {
      await bed.w.sh(`rm -rf ${services}; mkdir ${services}; chmod 777 ${services}`)
      server = bed.w.start(['socat', `UNIX-LISTEN:${services}/echo,fork,backlog=64,mode=666`, 'EXEC:cat'], {
        uid: 0
      })
      await until('its socket', () => existsSync(outside(`u${uid}/services/echo`)))
    }
    const fromGuest = (port: number, input: string): Promise<string> =>
      guest.sh(`printf '${input}' | socat -t 5 - TCP:127.0.0.1:${port} 2>&1 || :`)
    before(async () => {
      await bed.w.sh(`mkdir -m 777 ${dir} ${services}`)
      const rules = [
        '-t',
        `unix:${at}:7001`,
        '-t',
        `unix:${dir}/six:[${net.host6}]/7006`,
        '-t',
        `unix:${dir}/nobody:7099`,
        '-t',
        `unix:${dir}/log:7003`
      ]
      const out = ['-T', `5432:unix:${services}/echo`, '-T', `5433:unix:${dir}/link`]
      const record = ['--record', `${dir}/rec`]
      guest = await Guest.open(bed.w, ['-d', '-c', conf, ...record, ...rules, ...out, ...quiet], { uid })
    })
    after(async () => {
      await guest?.stop()
      await server?.stop()
    })

    test('-t: who connects there talks to the guest, both ways, and past half-closes', async () => {
      const mode = statSync(outside(`u${uid}/in.sock`))
      assert.equal(mode.mode & 0o777, 0o600)
      assert.equal(await viaPath(at, 'hello', { uid }), 'hellobye')
      assert.equal(await viaPath(`${dir}/six`, '', { uid }), 'ok\n')
      const other = await bed.w.run(['socat', '-', `UNIX-CONNECT:${at}`], { uid: 1001 })
      assert.match(other.stderr, /Permission denied/)
      // 20 MB there and back, faster than it is read
      const script = `head -c 20000000 /dev/zero | tr '\\0' x | socat -t 20 - UNIX-CONNECT:${at} | { sleep 1; md5sum; }`
      const sum = `{ head -c 20000000 /dev/zero | tr '\\0' x; printf bye; } | md5sum`
      assert.equal(await talk(script, { uid }), await talk(sum))
    })
    test('-t: who has said all and is gone before the guest has answered is heard to the end', async () => {
      for (const n of [3, 5, 7])
        await talk(`printf '0 1\\n%${n}d' 0 | socat -u - UNIX-CONNECT:${dir}/log`, { uid })
      for (const n of [3, 5, 7]) await guest.proc.sees(new RegExp(`"after_fin": ${n},`))
      await guest.proc.sees(/\? -> \S*in\.sock => SPLICE/, 'stderr')
    })
    test('-t: nobody listens in the guest: the connection ends', async () => {
      assert.equal(await viaPath(`${dir}/nobody`, 'x', { uid }), '')
    })
    test('-T: leads to whoever listens there by then, in a directory of its own, and never by a link', async () => {
      assert.equal(
        (await fromGuest(5432, 'x')).replace(/^.*Connection reset.*\n/s, ''),
        '',
        'nobody is there'
      )
      await serve()
      assert.equal(await fromGuest(5432, 'hello'), 'hello')
      const big = await guest.sh(
        "head -c 20000000 /dev/zero | tr '\\0' y | socat -t 20 - TCP:127.0.0.1:5432 | { sleep 1; md5sum; }"
      )
      assert.equal(big, await talk("head -c 20000000 /dev/zero | tr '\\0' y | md5sum"))
      await server!.stop()
      assert.doesNotMatch(await fromGuest(5432, 'gone'), /gone/)
      await serve()
      assert.equal(await fromGuest(5432, 'again'), 'again')
      const many = await guest.sh(
        'for i in 1 2 3 4 5 6 7 8; do printf $i | socat -t 5 - TCP:127.0.0.1:5432 & done; wait'
      )
      assert.equal([...many].sort().join(''), '12345678')
      await bed.w.sh(`ln -s services/echo ${dir}/link`)
      assert.doesNotMatch(await fromGuest(5433, 'linked'), /linked/)
      await bed.w.sh(`mv ${services} ${services}.real; ln -s services.real ${services}`)
      assert.doesNotMatch(await fromGuest(5432, 'linked'), /linked/)
      await bed.w.sh(`rm ${services}; mv ${services}.real ${services}`)
      assert.equal(await fromGuest(5432, 'back'), 'back')
    })
    test('pesto: a port that leads to a path is told, a path is not, and both stay', async () => {
      const pesto = (...args: ReadonlyArray<string>) =>
        bed.w.run(['/mnt/repo/bin/pesto', ...args, conf], { uid: 0 })
      const list = async () =>
        ok(await pesto())
          .stdout.split('\n')
          .slice(1, -1)
          .map((line) => line.trim())
      const rules = ['HOST', 'SPLICE', 'TCP [*]%lo:5432  =>  5432', 'TCP [*]%lo:5433  =>  5433']
      assert.deepEqual(
        (await list()).filter((l) => l !== ''),
        rules
      )
      assert.equal((await pesto('-t', '8899', '-T', 'none')).code, 1)
      await guest.proc.sees(/TCP \[\*\]%lo:5432 {2}=> {2}5432 leads to \S*echo: it stays/, 'stderr')
      assert.equal(await fromGuest(5432, 'hello'), 'hello')
      assert.equal(await viaPath(at, 'hello', { uid }), 'hellobye')
    })
    test('at the end its files are gone, but for one that is another by then; the record replays exactly', async () => {
      await bed.w.sh(`rm ${dir}/six; touch ${dir}/six`)
      await guest.proc.signal('SIGTERM')
      await guest.proc.wait()
      const left = (await bed.w.sh(`ls ${dir}`))
        .split('\n')
        .filter((name) => /^(in.sock|six|nobody|log)$/.test(name))
      assert.deepEqual(left, ['six'])
      assertReplays(outside(`u${uid}/rec`))
    })
    test('what a dead one left behind is replaced, what else has the name is not', async () => {
      const again = async (path: string) =>
        bed.w.run([pasta, ...quiet, '-T', 'none', '-t', `unix:${path}:80`, '--', 'ls', '-l', dir], { uid })
      await bed.w.sh(
        `rm -f ${at}; python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('${at}')"; chown ${uid} ${at}`
      )
      assert.match(ok(await again(at)).stdout, /srw------- .* in\.sock/)
      const r = await again(`${dir}/six`)
      assert.equal(r.code, 1)
      assert.match(r.stderr, /cannot listen at \S*six \(--tcp-ports\): /)
    })
  })

describe('refused', ours, () => {
  const rows: ReadonlyArray<readonly [string, RegExp]> = [
    ['-u unix:/mnt/w/x:80', /a UNIX stream socket is for TCP/],
    ['-T unix:/mnt/w/x:80', /a UNIX socket in the namespace cannot be listened at/],
    ['-t 80:unix:/mnt/w/x', /a port of the host does not lead to a UNIX socket of the host/],
    ['-T 80:unix:/mnt/none/x', /--tcp-ns: no way to \/mnt\/none\/x: No such file or directory/],
    ['-t unix:/mnt/none/x:80', /cannot listen at \/mnt\/none\/x/],
    ['--no-splice -t unix:/mnt/w/x:80', /needs the bypass path/]
  ]
  for (const [options, says] of rows)
    test(options, async () => {
      const r = await bed.w.run([pasta, ...options.split(' '), '--', 'true'])
      assert.equal(r.code, 1, show(r))
      assert.match(r.stderr, says)
    })
  test('passt', async () => {
    const r = await bed.w.run([passt, '-f', '-s', '/mnt/w/none', '-t', 'unix:/mnt/w/x:80'])
    assert.match(r.stderr, /UNIX sockets are for pasta only/)
  })
})

test('handed over to who takes our place (--restart-path)', ours, async () => {
  const netns = await bed.w.namespaces()
  const at = '/mnt/w/handed.sock'
  const common = ['-f', '--config-net', '--restart-path', '/mnt/w/unix.restart', '-T', 'none', ...quiet]
  const start = async (pid: string): Promise<Proc> => {
    const proc = bed.w.start([pasta, ...common, '-t', `unix:${at}:7006`, '-P', pid, `${netns.pid}`])
    await until('it serves', async () => (await bed.w.sh(`cat ${pid} 2>/dev/null || :`)) !== '')
    return proc
  }
  const first = await start('/mnt/w/unix.pid1')
  const peer = bed.w.start(
    ['nsenter', '-t', `${netns.pid}`, '-U', '-n', '--', 'python3', helper('peer.py'), net.host4],
    { uid: 0 }
  )
  await peer.sees(/ready/)
  assert.equal(await viaPath(at, ''), 'ok\n')
  const inode = statSync(outside('handed.sock')).ino
  const second = await start('/mnt/w/unix.pid2')
  ok(await first.wait())
  assert.equal(await viaPath(at, ''), 'ok\n')
  assert.equal(statSync(outside('handed.sock')).ino, inode)
  await second.signal('SIGTERM')
  await second.wait()
  assert.ok(!existsSync(outside('handed.sock')))
  await peer.stop()
  await netns.proc.stop()
})
