// The API (behaviour.md#api) of a real pasta: what it answers, who may ask, clients that do harm, and its end.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as later } from 'node:timers/promises'
import { readMetrics } from '../property-tests/metrics.js'
import { misfit } from '../property-tests/openapi.js'
import type {
  Counters,
  FlowEvent,
  FlowInfo,
  RecordInfo,
  RuleInfo,
  Status,
  TraceInfo
} from '../src/codecs/control/api.js'
import { Guest } from './lib/guest.js'
import { cmdlineOf, kill, statusField, until } from './lib/proc.js'
import { assertReplays, replay } from './lib/replay.js'
import { helper, isPasst, net, ok, quietPorts, repo, World } from './lib/world.js'

const SOCKET = '/mnt/w/api.sock'
const RULE = ['-t', '7101:7020']
let w: World
let guest: Guest
before(async () => {
  w = await World.open()
  const command = ['python3', helper('conf_clients.py'), 'echo', '7020']
  guest = await Guest.open(w, ['--api', SOCKET, ...RULE, '--record', '/mnt/w/api.rec'], { command })
})
after(() => w?.close())

const socketPath = (): string => join(w.dir, 'api.sock')
interface Reply {
  readonly status: number
  readonly type: string
  readonly text: string
}
const ask = (path: string, method = 'GET', body = ''): Promise<Reply> =>
  new Promise((resolve, reject) => {
    const q = request({ socketPath: socketPath(), path, method, timeout: 10_000 }, (r) => {
      let text = ''
      r.on('data', (d) => {
        text += d
      })
      r.on('end', () => resolve({ status: r.statusCode ?? 0, type: r.headers['content-type'] ?? '', text }))
    })
    q.on('timeout', () => q.destroy(new Error('no answer')))
    q.on('error', reject)
    q.end(body)
  })
/** It is what the document says. */
const get = async <A>(path: string, name: string): Promise<A> => {
  const { status, type, text } = await ask(path)
  assert.deepEqual([status, type], [200, 'application/json'], text)
  const value = JSON.parse(text) as A
  assert.equal(misfit(name, value), '')
  return value
}
const flows = async (query = ''): Promise<ReadonlyArray<FlowInfo>> =>
  (await get<{ flows: FlowInfo[] }>(`/v1/flows${query}`, 'Flows')).flows

/** A connection to the server inside, from "world": through the tap. */
const talking = async (address: string, port: number, where: 'host' | 'world') => {
  const stop = `/mnt/w/stop-${port}-${where}`
  const line = `while [ ! -e ${stop} ]; do sleep 0.05; done | python3 ${helper('conf_clients.py')} talk ${address} ${port}`
  const proc = w.start(['sh', '-c', line], { in: where })
  await proc.sees(/ready/)
  return async (): Promise<{ readonly count: number; readonly slowest: number }> => {
    await w.sh(`touch ${stop}`)
    const r = ok(await proc.wait())
    await w.sh(`rm ${stop}`)
    return JSON.parse(r.stdout.split('\n')[1]!) as { count: number; slowest: number }
  }
}
/** Of the process that has this socket's name in its command line's place: the API's. */
const apiProcess = (): number => {
  const engine = readdirSync('/proc').filter((p) => /^\d+$/.test(p))
  const mine = engine.filter((p) => {
    try {
      const [, ...argv] = readFileSync(`/proc/${p}/cmdline`, 'utf8').split('\0')
      return argv.some((a) => a.endsWith('/dist/api.cjs')) && isIn(Number(p))
    } catch {
      return false
    }
  })
  assert.equal(mine.length, 1)
  return Number(mine[0])
}
/** Its mount namespace is the world's. */
const isIn = (pid: number): boolean => {
  const r = spawnSync('stat', ['-L', '-c', '%i', `/proc/${pid}/root/mnt/w/api.sock`], { encoding: 'utf8' })
  const own = spawnSync('stat', ['-L', '-c', '%i', socketPath()], { encoding: 'utf8' })
  return r.status === 0 && r.stdout === own.stdout
}

describe('what it answers', () => {
  test('status', async () => {
    const s = await get<Status>('/v1/status', 'Status')
    const [mode, link] = isPasst ? ['passt', 'socket'] : ['pasta', 'tap']
    assert.deepEqual([s.mode, s.link, s.guest.up, s.ipv4?.address], [mode, link, true, net.host4])
    assert.ok(s.serves.includes('tcp') && s.uptimeMs > 0)
  })
  test('a connection through the tap and one past it: both sides, octets, its rule', async () => {
    const stops = [await talking(net.host4, 7101, 'world'), await talking('127.0.0.1', 7101, 'host')]
    await until('it has moved octets', async () => ((await flows('?kind=tcp'))[0]?.octetsToGuest ?? 0) > 10)
    const [tcp] = await flows('?kind=tcp&state=established&port=7020')
    const kinds = (await flows()).filter((f) => f.rule === 'in-tcp-7101').map((f) => f.kind)
    assert.deepEqual(kinds.sort(), isPasst ? ['tcp', 'tcp'] : ['tcp', 'tcp-splice'])
    assert.ok(tcp !== undefined)
    assert.deepEqual(
      [tcp.origin, tcp.guest, tcp.peer.address, tcp.rule],
      ['host', { address: net.host4, port: 7020 }, net.gw4, 'in-tcp-7101']
    )
    assert.ok((tcp.octetsToPeer ?? 0) > 10 && (tcp.windowGuest ?? 0) > 0 && (tcp.ageMs ?? 0) > 0)
    assert.deepEqual(
      (await flows('?port=7101')).map((f) => f.listenerPort),
      [7101, 7101]
    )
    assert.deepEqual(await flows(`?address=${net.far4}`), [])
    const { rules } = await get<{ rules: RuleInfo[] }>('/v1/rules', 'Rules')
    assert.deepEqual(
      rules.map((r) => [r.id, r.text, r.begun, r.open]),
      [['in-tcp-7101', 'TCP [*]:7101  =>  7020', 2, 2]]
    )
    for (const stop of stops) assert.ok((await stop()).count > 0)
  })
  test('what a rule has carried, by whatever way; whether its target answers, and why not', async () => {
    const rule = async (id: string): Promise<RuleInfo> =>
      (await get<{ rules: RuleInfo[] }>('/v1/rules', 'Rules')).rules.find((r) => r.id === id)!
    const before = await rule('in-tcp-7101')
    const stops = [await talking(net.host4, 7101, 'world'), await talking('127.0.0.1', 7101, 'host')]
    // Past the tap too, as it moves
    if (!isPasst)
      await until(
        'octets of a pair',
        async () => ((await flows('?kind=tcp-splice'))[0]?.octetsToGuest ?? 0) > 10
      )
    await until(
      'octets of the rule',
      async () => (await rule('in-tcp-7101')).octetsToGuest! > before.octetsToGuest! + 20
    )
    for (const stop of stops) await stop()
    await until('both have ended', async () => (await rule('in-tcp-7101')).open === 0)
    const after = await rule('in-tcp-7101')
    const moved = (r: RuleInfo) => [r.octetsToGuest ?? 0, r.octetsToPeer ?? 0]
    const [toGuest, toPeer] = moved(after)
    assert.equal(toGuest, toPeer, 'it echoes')
    assert.deepEqual([after.accepted, after.begun, after.failures, after.target?.answered], [4, 4, {}, true])
    // Nobody listens at 7029
    const added = await ask(
      '/v1/rules',
      'POST',
      JSON.stringify({
        rules: [
          { firstPort: 7109, toPort: 7029 },
          { firstPort: 7109, toPort: 7029, proto: 'udp' }
        ]
      })
    )
    assert.equal(added.status, 201, added.text)
    assert.equal((await rule('in-tcp-7109')).target, null)
    for (const [where, address] of [
      ['world', net.host4],
      ['host', '127.0.0.1']
    ] as const)
      await w.run(
        [
          'python3',
          '-c',
          `import socket
try: socket.create_connection(("${address}", 7109), 5).recv(1)
except OSError: pass
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.sendto(b"x", ("${address}", 7109))`
        ],
        { in: where }
      )
    await until('it has failed', async () => (await rule('in-tcp-7109')).failures.ECONNREFUSED === 2)
    const refused = await rule('in-tcp-7109')
    assert.deepEqual([refused.begun, refused.accepted, refused.target?.answered], [2, 0, false])
    if (!isPasst)
      await until('a datagram is refused', async () => (await rule('in-udp-7109')).target?.answered === false)
    const read = readMetrics((await ask('/metrics')).text)
    assert.equal(
      read.get('passt_rule_failures_total{rule="in-tcp-7109",direction="in",error="ECONNREFUSED"}'),
      2
    )
    assert.equal(
      read.get('passt_rule_bytes_total{rule="in-tcp-7101",direction="in",to="guest"}'),
      after.octetsToGuest
    )
    for (const id of ['in-tcp-7109', 'in-udp-7109'])
      assert.equal((await ask(`/v1/rules/${id}`, 'DELETE')).status, 200)
    assert.equal((await rule('in-tcp-7101')).begun, 4, 'it is the same rule')
  })
  test('UDP; counters, and metrics of the same', async () => {
    await guest.sh(`echo x | timeout 5 sh -c 'cat > /dev/udp/${net.world4}/9' || python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"x", ("${net.world4}", 7999))'`)
    await until('the flow', async () => (await flows('?kind=udp')).length > 0)
    const c = await get<Counters>('/v1/counters', 'Counters')
    assert.ok((c.begun.udp ?? 0) >= 1 && (c.begun.tcp ?? 0) >= 1)
    const { status, type, text } = await ask('/metrics')
    assert.equal(status, 200)
    assert.match(type, /^application\/openmetrics-text; version=1\.0\.0/)
    const read = readMetrics(text)
    assert.equal(read.get('passt_flows_begun_total{kind="tcp"}'), c.begun.tcp)
    for (const [event, count] of Object.entries(c.events).filter(([e]) => e.startsWith('drop-')))
      assert.ok((read.get(`passt_drops_total{reason="${event.slice(5)}"}`) ?? 0) >= count)
  })
  test('flows as they begin and end, to who follows them; passt-ctl shows them', async () => {
    const ctl = w.start(['/mnt/repo/bin/passt-ctl', 'events', SOCKET, 'port=7020'])
    let text = ''
    const q = request({ socketPath: socketPath(), path: '/v1/events?kind=tcp&port=7020' }, (r) => {
      assert.equal(r.headers['content-type'], 'application/x-ndjson')
      r.on('data', (d) => {
        text += d
      })
      r.on('error', () => {})
    })
    q.on('error', () => {})
    q.end()
    const seen = (): ReadonlyArray<FlowEvent> =>
      text
        .split('\n')
        .slice(0, -1)
        .filter((l) => l !== '')
        .map((l) => JSON.parse(l) as FlowEvent)
    const pair = (): readonly [FlowEvent, FlowEvent] | undefined => {
      const same = (a: FlowEvent, b: FlowEvent): boolean =>
        a.flow.id === b.flow.id && a.flow.peer.port === b.flow.peer.port
      const ends = seen().filter((e) => e.event === 'end')
      const found = seen().find((b) => b.event === 'begin' && ends.some((e) => same(b, e)))
      return found && [found, ends.find((e) => same(found, e))!]
    }
    // Both follow from some moment on
    await until('they follow', async () => {
      await (await talking(net.host4, 7101, 'world'))()
      return pair() !== undefined && /begin.*\n.*end/.test(ctl.stdout)
    })
    q.destroy()
    for (const e of seen()) assert.equal(misfit('Event', e), '')
    const [begin, end] = pair()!
    assert.ok(begin.uptimeMs < end.uptimeMs && (end.flow.octetsToGuest ?? 0) > 0)
    assert.equal(end.flow.octetsToGuest, end.flow.octetsToPeer, 'it echoes, and an end is no octet')
    assert.match(ctl.stdout, / begin tcp \S+:7020 <- \S+ by in-tcp-7101\n/)
    await ctl.stop()
  })
  test('what flows and packets do, in the log, of what is asked for and of nothing else', async () => {
    const put = async (body: object, status = 200): Promise<TraceInfo> => {
      const r = await ask('/v1/trace', 'PUT', JSON.stringify(body))
      assert.equal(r.status, status, r.text)
      const value = JSON.parse(r.text) as TraceInfo
      assert.equal(misfit(status === 200 ? 'Trace' : 'Error', value), '')
      return value
    }
    const said = (): ReadonlyArray<string> =>
      guest.proc.stderr.split('\n').filter((l) => l.includes('trace: '))
    const talk = async (port: number): Promise<void> =>
      void (await (
        await talking(net.host4, port, 'world')
      )())
    await talk(7101)
    assert.deepEqual(said(), [], 'nothing is on')
    assert.equal((await put({ flows: true, packets: true, port: 7999 })).endsInMs! > 3_000_000, true)
    await talk(7101)
    assert.deepEqual(said(), [])
    await put({ flows: true, packets: true, port: 7020, address: net.host4 })
    await talk(7101)
    await until('the end of the flow', async () => said().some((l) => /-> CLOSED$/.test(l)))
    const lines = said()
    for (const what of [
      /trace: Flow \d+ \(TCP connection\): NEW -> CONNECTING$/,
      /trace: Flow \d+ \(TCP connection\): .*: .* -> ESTABLISHED$/,
      /trace: to guest: TCP \S+ > \S+:7020 \[S\] /,
      /trace: from guest: TCP \S+:7020 > \S+ \[S\.\] /,
      /trace: to guest: TCP \S+ > \S+:7020 .*in segments$/
    ])
      assert.ok(
        lines.some((l) => what.test(l)),
        `${what}\n${lines.slice(0, 40).join('\n')}`
      )
    for (const l of lines) assert.ok(/7020/.test(l) || /Flow \d+ \(TCP conn/.test(l), l)
    // Too many are left out, and that is said
    const now = await get<TraceInfo>('/v1/trace', 'Trace')
    assert.ok(now.lines > 10 && now.lines < 2000)
    const ctl = async (...args: ReadonlyArray<string>): Promise<string> =>
      ok(await w.run(['/mnt/repo/bin/passt-ctl', 'trace', SOCKET, ...args])).stdout
    assert.match(
      await ctl(),
      /^flows and packets of port 7020, \S+, for \d+m\d+s more; \d+ lines, \d+ left out\n$/
    )
    const stop = await talking(net.host4, 7101, 'world')
    const [one] = await flows('?kind=tcp&state=established')
    assert.match(await ctl('packets', `flow=${one!.id}`), /^packets of flow \d+, for /)
    await until('packets of it', async () => (await get<TraceInfo>('/v1/trace', 'Trace')).lines > 10)
    await stop()
    await until('its end is that of tracing', async () => (await ctl()) === 'nothing is traced\n')
    await guest.proc.sees(/tracing has ended: flow \d+ has/, 'stderr')
    assert.equal(await ctl('flows', 'off').catch(() => 'refused'), 'refused')
    assert.match(await ctl('flows'), /^flows, for /)
    assert.equal(await ctl('off'), 'nothing is traced\n')
    const quiet = said().length
    await talk(7101)
    assert.equal(said().length, quiet)
    for (const body of [{ flow: -1 }, { packet: true }, { port: 0 }, { address: 'x' }, { flows: 1 }])
      await put(body, 400)
    await put({ flows: true, flow: 100_000 }, 404)
  })
  test('what is not there, what changes something, a body, a query that is none', async () => {
    for (const [path, method, body, status] of [
      ['/', 'GET', '', 404],
      ['/v1/flows/', 'GET', '', 404],
      ['/__proto__', 'GET', '', 404],
      ['/v1/flows', 'POST', '', 405],
      ['/v1/flows', 'DELETE', '', 405],
      ['/v1/flows', 'PUT', 'x', 405],
      ['/v1/rules/', 'DELETE', '', 404],
      ['/v1/rules/%', 'DELETE', '', 404],
      ['/v1/rules', 'POST', '[]', 400],
      ['/v1/flows?x=1', 'GET', '', 400],
      ['/v1/status?x=1', 'GET', '', 400]
    ] as const) {
      const r = await ask(path, method, body)
      assert.equal(r.status, status, path)
      assert.equal(misfit('Error', JSON.parse(r.text)), '')
    }
    const document = JSON.parse((await ask('/v1/openapi.json')).text) as { paths: Record<string, unknown> }
    const once = Object.keys(document.paths).filter((p) => !p.includes('{') && p !== '/v1/events')
    for (const path of once) assert.equal((await ask(path)).status, 200, path)
    assert.deepEqual(await ask('/v1/status', 'HEAD'), { status: 200, type: 'application/json', text: '' })
  })
  test('passt-ctl shows it', async () => {
    const ctl = async (...args: ReadonlyArray<string>): Promise<string> =>
      ok(await w.run(['/mnt/repo/bin/passt-ctl', ...args])).stdout
    assert.match(await ctl('status', SOCKET), /^pass?t[at]? .*, PID \d+, up \d+s\nlink: (tap|socket)/)
    assert.match(await ctl('flows', SOCKET), /^KIND +STATE +GUEST +PEER/)
    assert.match(await ctl('rules', SOCKET), /TCP \[\*\]:7101 {2}=> {2}7020/)
    assert.match(await ctl('counters', SOCKET), /^FLOWS +OPEN +BEGUN\ntcp +\d+ +\d+\n/)
    assert.match(await ctl('metrics', SOCKET), /# EOF\n$/)
    assert.equal(misfit('Status', JSON.parse(await ctl('status', SOCKET, '--json'))), '')
    const wrong = await w.run(['/mnt/repo/bin/passt-ctl', 'flows', SOCKET, 'port=x'])
    assert.deepEqual([wrong.code, wrong.stdout], [1, ''])
    assert.match(wrong.stderr, /no port: x/)
  })
})

describe('who may, and what it may', () => {
  test('mode 0600: another user is refused', async () => {
    assert.equal((await w.sh(`stat -c %a:%u ${SOCKET}`)).trim(), '600:1000')
    const other = await w.run(['/mnt/repo/bin/passt-ctl', 'status', SOCKET], { uid: 1001 })
    assert.equal(other.code, 1)
    assert.match(other.stderr, /permission denied/)
  })
  test('its process has no capability, a filter, none of our environment, and a session of its own', () => {
    const pid = apiProcess()
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'])
      assert.match(status, new RegExp(`^${set}:\\t0+$`, 'm'))
    assert.match(status, /^NoNewPrivs:\t1$/m)
    assert.match(status, /^Seccomp:\t2$/m)
    const names = readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .map((e) => e.replace(/=.*/s, ''))
    const spared = process.env.PASST_WARM_UP === undefined ? [] : ['PASST_WARM_UP']
    assert.deepEqual(names.filter((x) => x !== '').sort(), [
      'OPENSSL_CONF',
      ...spared,
      'PATH',
      'UV_USE_IO_URING'
    ])
    assert.equal(
      execFileSync('ps', ['-o', 'sid=', '-p', String(pid)], { encoding: 'utf8' }).trim(),
      String(pid)
    )
  })
})

describe('rules that change', () => {
  const rule = { firstPort: 7102, toPort: 7020 }
  const change = async (method: string, path: string, body: object | null, status: number) => {
    const r = await ask(path, method, body === null ? '' : JSON.stringify(body))
    assert.equal(r.status, status, r.text)
    const value = JSON.parse(r.text) as {
      readonly changed: boolean
      readonly ids: string[]
      readonly error: string
    }
    assert.equal(misfit(status < 300 ? 'Changed' : 'Error', value), '')
    return value
  }
  const ids = async (): Promise<ReadonlyArray<string>> =>
    (await get<{ rules: RuleInfo[] }>('/v1/rules', 'Rules')).rules.map((r) => r.id)
  test('one more: it is carried; again: it is there already; another target; gone', async () => {
    const at = '/v1/rules/in-tcp-7102'
    assert.deepEqual(await change('POST', '/v1/rules', rule, 201), { changed: true, ids: ['in-tcp-7102'] })
    assert.ok((await (await talking(net.host4, 7102, 'world'))()).count > 0)
    assert.deepEqual(await change('POST', '/v1/rules', rule, 200), { changed: false, ids: ['in-tcp-7102'] })
    const stop = await talking(net.host4, 7102, 'world')
    await change('PUT', at, { ...rule, toPort: 7021 }, 201)
    await change('PUT', at, { ...rule, toPort: 7021 }, 200)
    const shown = (await get<{ rules: RuleInfo[] }>('/v1/rules', 'Rules')).rules.find(
      (r) => r.firstPort === 7102
    )
    assert.equal(shown?.toPort, 7021)
    assert.equal(shown.begun, 0, 'another rule')
    assert.equal(misfit('NewRule', shown), '')
    await change('PUT', at, shown, 200)
    await change('PUT', at, { ...rule, firstPort: 7103 }, 400)
    await change('DELETE', at, null, 200)
    await change('DELETE', at, null, 404)
    // Who was there stays
    assert.ok((await stop()).count > 0)
  })
  test('all of a request, or nothing', async () => {
    const before = await ids()
    const taken = { firstPort: 7101, toPort: 1 }
    assert.match((await change('POST', '/v1/rules', { rules: [rule, taken] }, 409)).error, /conflict/)
    assert.deepEqual(await ids(), before)
    const busy = w.start([
      'python3',
      '-c',
      'import socket, time; s = socket.create_server(("", 7104)); print("up", flush=True); time.sleep(60)'
    ])
    await busy.sees(/up/)
    const used = { rules: [rule, { firstPort: 7104 }] }
    assert.match((await change('POST', '/v1/rules', used, 409)).error, /7104.*in use/)
    await busy.stop()
    assert.deepEqual(await ids(), before)
    assert.deepEqual((await change('POST', '/v1/rules', used, 201)).ids, ['in-tcp-7102', 'in-tcp-7104'])
    const other = { remove: ['in-tcp-7102', 'in-tcp-7104'], add: [{ firstPort: 7103 }, rule] }
    for (const [asked, status, why] of [
      [{ ...other, remove: ['in-tcp-7102', 'in-tcp-7199'] }, 404, /no rule in-tcp-7199/],
      [{ ...other, add: [...other.add, taken] }, 409, /conflict/],
      [{ ...other, replace: [] }, 400, /remove, add/],
      [{ remove: [7102] }, 400, /text/],
      [{ add: {} }, 400, /list/]
    ] as const) {
      assert.match((await change('PATCH', '/v1/rules', asked, status)).error, why)
      assert.deepEqual(await ids(), [...before, 'in-tcp-7102', 'in-tcp-7104'])
    }
    assert.deepEqual((await change('PATCH', '/v1/rules', other, 200)).ids, ['in-tcp-7103', 'in-tcp-7102'])
    assert.deepEqual(await ids(), [...before, 'in-tcp-7102', 'in-tcp-7103'])
    await change('PATCH', '/v1/rules', { remove: ['in-tcp-7102', 'in-tcp-7103'] }, 200)
    const many = Array.from({ length: 100 }, (_, i) => ({ firstPort: 8000 + i }))
    await change('POST', '/v1/rules', { rules: many }, 413)
    await change('POST', '/v1/rules', { x: 'y'.repeat(20_000) }, 413)
  })
  test('passt-ctl adds and deletes; who is another user may look at most', async () => {
    const ctl = (uid: number, ...args: ReadonlyArray<string>) =>
      w.run(['/mnt/repo/bin/passt-ctl', ...args], { uid })
    const many = Array.from({ length: 30 }, (_, i) => ({ address: '127.0.0.1', firstPort: 7200 + i }))
    const all = await ask('/v1/rules', 'POST', JSON.stringify({ rules: many }))
    assert.equal(all.status, 201, all.text)
    const made = (JSON.parse(all.text) as { readonly ids: ReadonlyArray<string> }).ids
    for (const id of made) assert.equal((await ask(`/v1/rules/${id}`, 'DELETE')).status, 200)
    const added = await ctl(1000, 'rules', 'add', SOCKET, '-t', '127.0.0.1/7105:7020', '-u', '7106-7107')
    assert.deepEqual(ok(added).stdout, 'in-tcp-127.0.0.1-7105\nin-udp-7106-7107\n')
    await w.sh(`chmod 666 ${SOCKET}`)
    ok(await ctl(1001, 'rules', SOCKET))
    for (const args of [
      ['delete', SOCKET, 'in-udp-7106-7107'],
      ['add', SOCKET, '-t', '7108']
    ]) {
      const no = await ctl(1001, 'rules', ...args)
      assert.deepEqual([no.code, no.stdout], [1, ''])
      assert.match(no.stderr, /may only look/)
    }
    ok(await ctl(0, 'rules', 'delete', SOCKET, 'in-udp-7106-7107'))
    ok(await ctl(1000, 'rules', 'delete', SOCKET, 'in-tcp-127.0.0.1-7105'))
    assert.deepEqual(await ids(), ['in-tcp-7101'])
  })
})

describe('the record', () => {
  const file = (): string => join(w.dir, 'api.rec')
  const post = async (on: boolean): Promise<RecordInfo> => {
    const { status, text } = await ask('/v1/record', 'POST', JSON.stringify({ on }))
    assert.equal(status, 200, text)
    const info = JSON.parse(text) as RecordInfo
    assert.equal(misfit('Record', info), '')
    return info
  }
  const replayed = (): { readonly begins: string; readonly same: boolean; readonly flows: unknown[] } => {
    const r = replay('--json', file())
    assert.equal(r.status, 0, r.out + r.err)
    return JSON.parse(r.out) as ReturnType<typeof replayed>
  }
  test('begins anew while a connection is there, ends, and begins again: each time it replays exactly', async () => {
    const before = await get<RecordInfo>('/v1/record', 'Record')
    assert.ok(before.on && before.octets > 0)
    const stop = await talking(net.host4, 7101, 'world')
    const began = await post(true)
    assert.ok(began.on && began.octets <= statSync(file()).size)
    await later(300)
    assert.deepEqual(
      { ...(await post(false)), octets: 0 },
      { on: false, waits: null, ended: 'stopped', octets: 0 }
    )
    const { size } = statSync(file())
    const { begins, same, flows: there } = replayed()
    assert.deepEqual([begins, same], ['middle', true])
    assert.ok(there.length > 0)
    await later(300)
    assert.equal(statSync(file()).size, size)
    assert.ok((await stop()).count > 0)
    assert.ok((await post(true)).on)
  })
  test('passt-ctl ends it and begins it; what is no such request is refused', async () => {
    const ctl = (...args: string[]): string => {
      const r = spawnSync(join(repo, 'bin/passt-ctl'), ['record', socketPath(), ...args], {
        encoding: 'utf8'
      })
      assert.equal(r.status, 0, r.stderr)
      return r.stdout
    }
    assert.match(ctl(), /^on, /)
    assert.match(ctl('off'), /^off \(stopped\), /)
    assert.match(ctl('on'), /^on, /)
    for (const body of ['', '{}', '{"on":1}', 'x'])
      assert.equal((await ask('/v1/record', 'POST', body)).status, 400, body)
    assert.equal((await ask('/v1/record?on', 'GET')).status, 400)
    assert.equal((await ask('/v1/record', 'DELETE')).status, 405)
  })
})

describe('clients that do harm, while traffic flows', () => {
  const open = (said: string): Promise<Socket> =>
    new Promise((resolve) => {
      const s: Socket = connect(socketPath(), () => {
        s.write(said)
        resolve(s)
      })
      s.on('error', () => resolve(s))
    })
  test('who never reads, talks nonsense, has headers without end, or comes by the thousand: nobody else notices', async () => {
    const stop = await talking(net.host4, 7101, 'world')
    const deaf = await Promise.all(
      ['flows', 'events'].flatMap((what) =>
        Array.from({ length: 8 }, () => open(`GET /v1/${what} HTTP/1.1\r\n\r\n`.repeat(16)))
      )
    )
    for (const s of deaf) s.pause()
    const answers = ['\0\0\0\0\r\n\r\n', `GET / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`].map(
      (said) =>
        new Promise<string>((resolve) => {
          const s = connect(socketPath(), () => s.write(said))
          let text = ''
          s.on('data', (d) => {
            text += d
          })
          s.on('error', () => resolve(text))
          s.on('close', () => resolve(text))
        })
    )
    assert.match(await answers[0]!, /^HTTP\/1.1 400 /)
    assert.match(await answers[1]!, /^HTTP\/1.1 431 /)
    const many = await Promise.all(Array.from({ length: 1000 }, () => open('GET /v1/st')))
    for (const s of [...many, ...deaf]) s.destroy()
    await until('it answers', async () => (await ask('/v1/status').catch(() => null))?.status === 200)
    const { count, slowest } = await stop()
    assert.ok(count > 10 && slowest < 5000, JSON.stringify({ count, slowest }))
  })
  test('who says one header after the other, and goes on when told not to, loses its connection', async () => {
    const s = connect({ path: socketPath(), allowHalfOpen: true }, () =>
      s.write('GET /v1/status HTTP/1.1\r\n')
    )
    const drip = setInterval(() => s.write('a: b\r\n'), 200)
    const why = await new Promise<string>((resolve) => {
      s.on('error', (e: NodeJS.ErrnoException) => resolve(e.code ?? ''))
      setTimeout(() => resolve('it has it still'), 15_000).unref()
    })
    clearInterval(drip)
    s.destroy()
    assert.match(why, /^(EPIPE|ECONNRESET)$/)
  })
  test('its process killed: said once, traffic goes on; at the end the record replays exactly', async () => {
    const stop = await talking(net.host4, 7101, 'world')
    process.kill(apiProcess(), 'SIGKILL')
    await guest.proc.sees(/the process of the API \(--api\) has ended/, 'stderr')
    await assert.rejects(ask('/v1/status'))
    assert.ok((await stop()).count > 0)
    const engine = w.pidsInside().find((p) => cmdlineOf(p).includes('/engine.cjs'))!
    kill(Number(statusField(engine, 'PPid')), 'SIGTERM')
    await until('the end', () => !existsSync(`/proc/${engine}`))
    assertReplays(join(w.dir, 'api.rec'))
  })
  test('the end of pasta is its own; of --record-paused nothing is written unless it is asked for', async () => {
    const path = '/mnt/w/end.sock'
    const paused = ['--record', '/mnt/w/paused.rec', '--record-paused']
    const r = await w.run(['/mnt/repo/bin/pasta', ...quietPorts, '--api', path, ...paused, '--', 'true'])
    assert.equal(ok(r).code, 0)
    assert.equal(statSync(join(w.dir, 'paused.rec')).size, 0)
    // Its socket is closed, so it is gone
    const refused = (): Promise<boolean> =>
      new Promise((resolve) => {
        const s = connect(join(w.dir, 'end.sock'), () => resolve(false))
        s.on('connect', () => s.destroy())
        s.on('error', () => resolve(true))
      })
    await until('it is gone', refused)
    // What a dead one has left is replaced; what is served, or is a file, is not
    ok(await w.run(['/mnt/repo/bin/pasta', ...quietPorts, '--api', path, '--', 'true']))
    await w.sh('touch /mnt/w/file; chown 1000 /mnt/w/file')
    const no = await w.run(['/mnt/repo/bin/pasta', ...quietPorts, '--api', '/mnt/w/file', '--', 'true'])
    assert.equal(no.code, 1)
    assert.match(no.stderr, /annot listen at \/mnt\/w\/file \(--api\): EEXIST, File exists/)
  })
})
