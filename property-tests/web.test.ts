// passt-ctl web: who is answered, what is passed on, its end; what the page makes of what it hears.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  type Counters as ApiCounters,
  type Status as ApiStatus,
  FLOW_KINDS,
  type FlowInfo,
  type RuleInfo
} from '../src/codecs/control/api.js'
import {
  type Counters,
  countersCame,
  ENDED_KEPT,
  endText,
  type Flow,
  flowsCame,
  flowsEnded,
  keyOf,
  type Live,
  leafNamed,
  nothing,
  paused,
  type Rule,
  rowsOf,
  ruleText,
  SAMPLES_KEPT,
  type Status,
  trailOf,
  wayBetween
} from '../src/page/live-model.js'
import { parseCtl } from '../src/runtime/ctl/options.js'
import { stateName } from '../src/runtime/flow/flow-log.js'
import { machines } from '../src/runtime/flow/kinds.js'
import { documentOf } from '../src/runtime/replay/document.js'
import { flowCharts } from '../src/runtime/web/charts.js'
import { routeOf } from '../src/runtime/web/route.js'
import { type Web, webServer } from '../src/runtime/web/server.js'
import { until } from '../test/lib/proc.js'

const TOKEN = '0123456789abcdef0123456789abcdef'
const own = { token: TOKEN, port: 8080 }
const asked = (url: string, method = 'GET', host: string | undefined = '127.0.0.1:8080') =>
  routeOf({ method, url, host }, own)

describe('who is answered', () => {
  test('with the token, by our own name, and nothing but GET of what is on the list', () => {
    assert.equal(asked(`/${TOKEN}/`).tag, 'Page')
    assert.equal(asked(`/${TOKEN}/`, 'GET', 'localhost:8080').tag, 'Page')
    for (const path of ['status', 'rules', 'counters', 'flows', 'events']) {
      const r = asked(`/${TOKEN}/v1/${path}`)
      assert.ok(r.tag === 'Ask' && r.path === `/v1/${path}` && r.isStream === (path === 'events'))
      for (const method of ['POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'CONNECT'])
        assert.deepEqual(asked(`/${TOKEN}/v1/${path}`, method), {
          tag: 'Refuse',
          status: 405,
          error: 'that is not done here'
        })
    }
  })
  test('who does not know the token, or was led here by another name, is told the same as of what is not there', () => {
    const nothingThere = asked(`/${TOKEN}/nothing`)
    assert.ok(nothingThere.tag === 'Refuse' && nothingThere.status === 404)
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.webPath(), fc.constantFrom('', '/', TOKEN, `/${TOKEN}`, `//${TOKEN}/`)),
        fc.constantFrom('GET', 'POST', 'HEAD'),
        (url, method) => assert.deepEqual(asked(url, method), nothingThere)
      )
    )
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.domain().map((d) => `${d}:8080`),
          fc.constantFrom(
            '127.0.0.1',
            '127.0.0.1:80',
            '127.0.0.1:8080.evil.example',
            'LOCALHOST:8080',
            '[::1]:8080'
          )
        ),
        fc.constantFrom('GET', 'POST'),
        (host, method) => assert.deepEqual(asked(`/${TOKEN}/`, method, host), nothingThere)
      )
    )
    assert.deepEqual(routeOf({ method: 'GET', url: `/${TOKEN}/`, host: undefined }, own), nothingThere)
    fc.assert(
      fc.property(
        fc.oneof(
          fc.stringMatching(/^[\da-f]{0,33}$/).filter((t) => t !== TOKEN),
          fc.nat(31).map((i) => `${TOKEN.slice(0, i)}x${TOKEN.slice(i + 1)}`)
        ),
        fc.constantFrom('/', '/v1/status', '/v1/flows', '/v1/events'),
        (token, path) => assert.deepEqual(asked(`/${token}${path}`), nothingThere)
      )
    )
  })
  test('a query, an escape, a path of another kind: none of it is on the list', () => {
    for (const rest of [
      '/v1/trace',
      '/v1/record',
      '/v1/rules/',
      '/v1/flows?x',
      '/v1/flows/',
      '/v1/%66lows',
      '/../v1/flows',
      '/__proto__',
      '/?',
      '//'
    ])
      assert.equal(asked(`/${TOKEN}${rest}`).tag, 'Refuse', rest)
  })
  test('its command line', () => {
    assert.deepEqual(parseCtl(['web', '/x']), { _tag: 'Right', right: { tag: 'Web', path: '/x', port: 0 } })
    assert.deepEqual(parseCtl(['web', '/x', '--port', '8080']), {
      _tag: 'Right',
      right: { tag: 'Web', path: '/x', port: 8080 }
    })
    for (const wrong of [
      '',
      '/x --port',
      '/x --port 0',
      '/x --port 65536',
      '/x --port 1 2',
      '/x --host ::',
      '/x a=b'
    ])
      assert.equal(parseCtl(['web', ...wrong.split(' ')])._tag, 'Left', wrong)
  })
})

interface Reply {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
}
/** Asks for a path; `begun` is told with each part of the answer. */
type Ask = (path: string, begun?: () => void) => Promise<Reply>
/** The page's server, before an API that answers by `answers`. */
const withWeb = async (
  answers: (q: IncomingMessage, r: ServerResponse) => void,
  use: (ask: Ask, web: Web, api: Server, ended: Promise<void>) => Promise<void>
): Promise<void> => {
  const dir = mkdtempSync(join(tmpdir(), 'web-'))
  const socketPath = join(dir, 's')
  const api = createServer(answers)
  await new Promise<void>((done) => api.listen(socketPath, done))
  const page = documentOf({ title: 't', noscript: '', script: '0', style: '', data: '', connects: true })
  let over = (): void => {}
  const ended = new Promise<void>((done) => {
    over = done
  })
  const web = await webServer({ socketPath, port: 0, token: TOKEN, page, over: () => over() })
  const ask: Ask = (path, begun = () => {}) =>
    new Promise((resolve, reject) => {
      const q = request(new URL(path, web.url), { agent: false }, (r) => {
        let text = ''
        r.setEncoding('utf8')
        r.on('data', (d: string) => {
          text += d
          begun()
        })
        r.on('error', reject)
        r.on('close', () => resolve({ status: r.statusCode ?? 0, headers: r.headers, text }))
      })
      q.on('error', reject)
      q.end()
    })
  try {
    await use(ask, web, api, ended)
  } finally {
    web.close()
    api.closeAllConnections()
    api.close()
    rmSync(dir, { recursive: true, force: true })
  }
}

describe('what is passed on', () => {
  test('is asked by GET, with nothing of what the browser said; the type is ours', async () => {
    const heard: string[] = []
    await withWeb(
      (q, r) => {
        heard.push(`${q.method} ${q.url} ${Object.keys(q.headers).join()}`)
        r.writeHead(200, { 'content-type': 'text/html', 'set-cookie': 'x=y' })
        r.end('<script>')
      },
      async (ask, web) => {
        const r = await ask('v1/flows')
        assert.deepEqual([r.status, r.text], [200, '<script>'])
        assert.equal(r.headers['content-type'], 'application/json')
        assert.equal(r.headers['x-content-type-options'], 'nosniff')
        assert.equal(r.headers['set-cookie'], undefined)
        assert.deepEqual(heard, ['GET /v1/flows host,connection'])
        const page = await ask('')
        assert.equal(page.status, 200)
        assert.match(
          page.headers['content-security-policy'] as string,
          /^default-src 'none'; .*connect-src 'self'.*frame-ancestors 'none'$/
        )
        for (const [name, value] of [
          ['referrer-policy', 'no-referrer'],
          ['cache-control', 'no-store'],
          ['cross-origin-resource-policy', 'same-origin'],
          ['cross-origin-opener-policy', 'same-origin'],
          ['access-control-allow-origin', undefined]
        ] as const)
          assert.equal(page.headers[name], value, name)
        // Nobody but the loopback
        assert.match(web.url, /^http:\/\/127\.0\.0\.1:\d+\/[\da-f]{32}\/$/)
        const none = await ask('/')
        assert.deepEqual([none.status, none.headers['access-control-allow-origin']], [404, undefined])
      }
    )
  })
  test('an API that refuses, breaks off, or talks nonsense is no end of the server', async () => {
    await withWeb(
      (q, r) => {
        if (q.url === '/v1/flows') r.socket?.end('no http\r\n\r\n')
        else if (q.url === '/v1/counters') {
          r.writeHead(200)
          r.write('{"x":')
          setTimeout(() => r.destroy(), 20)
        } else {
          r.writeHead(403)
          r.end('no')
        }
      },
      async (ask) => {
        assert.equal((await ask('v1/flows')).status, 502)
        assert.equal((await ask('v1/status')).status, 502)
        await assert.rejects(ask('v1/counters'))
        assert.equal((await ask('')).status, 200)
      }
    )
  })
  test('so many at a time, and so many streams; a client that goes lets the API know', async () => {
    const open = new Set<ServerResponse>()
    await withWeb(
      (_, r) => {
        open.add(r)
        r.on('close', () => open.delete(r))
        r.writeHead(200)
        r.write('\n')
      },
      async (_ask, web) => {
        const clients = [...Array(6).fill('v1/events'), ...Array(8).fill('v1/flows')].map((path: string) => {
          const q = request(new URL(path, web.url), { agent: false })
          q.on('error', () => {})
          q.end()
          return {
            q,
            status: new Promise<number>((done) => q.on('response', (r) => done(r.resume().statusCode ?? 0)))
          }
        })
        const said = await Promise.all(clients.map((c) => c.status))
        const refused = (of: ReadonlyArray<number>): number => of.filter((s) => s === 503).length
        assert.deepEqual([refused(said.slice(0, 6)), refused(said.slice(6))], [2, 4])
        assert.equal(open.size, 8)
        for (const { q } of clients) q.destroy()
        await until('the API has heard that they went', () => open.size === 0)
      }
    )
  })
  test('with the end of the API it is over: streams are told so', async () => {
    await withWeb(
      (_, r) => {
        r.writeHead(200)
        r.write('\n')
      },
      async (ask, web, api, ended) => {
        let begun = (): void => {}
        const followed = new Promise<void>((done) => {
          begun = done
        })
        const stream = ask('v1/events', begun)
        // By its first octets, not by a connection: one without an answer yet is refused, which is another case
        await followed
        api.closeAllConnections()
        api.close()
        assert.match((await stream).text, /^\n\{"event":"over"\}\n$/)
        await ended
        web.close()
        await assert.rejects(ask(''))
      }
    )
  })
})

const place = fc.record(
  { address: fc.constantFrom('192.0.2.1', '2001:db8::1'), port: fc.nat(9) },
  { noNullPrototype: true }
)
const count = fc.option(fc.nat(2 ** 31))
const arbFlow: fc.Arbitrary<Flow> = fc.record(
  {
    id: fc.nat(9),
    kind: fc.constantFrom(...FLOW_KINDS),
    state: fc.constantFrom('ESTABLISHED', 'CLOSED'),
    origin: fc.constantFrom('guest' as const, 'host' as const),
    guest: place,
    guestPeer: place,
    listenerPort: fc.option(fc.nat(65535)),
    peer: place,
    rule: fc.option(fc.string()),
    beganMs: fc.option(fc.nat(3)),
    ageMs: fc.option(fc.nat()),
    octetsToGuest: count,
    octetsToPeer: count,
    rttGuestMs: count,
    rttPeerMs: count,
    windowGuest: count,
    windowOffered: count
  },
  { noNullPrototype: true }
)
const arbFlows = fc.uniqueArray(arbFlow, { selector: (f) => f.id, maxLength: 8 })
const one: Flow = {
  id: 1,
  kind: 'tcp',
  state: 'ESTABLISHED',
  origin: 'guest',
  guest: { address: '192.0.2.1', port: 1 },
  guestPeer: { address: '192.0.2.2', port: 2 },
  listenerPort: null,
  peer: { address: '192.0.2.3', port: 3 },
  rule: null,
  beganMs: 5,
  ageMs: 10,
  octetsToGuest: 0,
  octetsToPeer: 0,
  rttGuestMs: null,
  rttPeerMs: null,
  windowGuest: null,
  windowOffered: null
}

describe('what the page makes of it', () => {
  test('the shapes that it reads are those of the API', () => {
    const same: readonly [
      (f: FlowInfo) => Flow,
      (r: RuleInfo) => Rule,
      (s: ApiStatus) => Status,
      (c: ApiCounters) => Counters
    ] = [(f) => f, (r) => r, (s) => s, (c) => c]
    assert.equal(same.length, 4)
  })
  test('rates are what came since the last list, over 2^32 as well; a new flow in the place of another one is new', () => {
    const at = (m: Live, now: number, ...flows: ReadonlyArray<Flow>): Live => flowsCame(m, flows, now)
    let m = at(nothing, 1000, { ...one, octetsToPeer: 2 ** 32 - 100 })
    assert.deepEqual([m.rows.get(keyOf(one))?.toPeer, m.samples[0]?.toPeer], [null, Number.NaN])
    m = at(m, 3000, { ...one, octetsToPeer: 100, octetsToGuest: 50 })
    const { toPeer, toGuest } = m.rows.get(keyOf(one))!
    assert.deepEqual([toPeer, toGuest, m.samples[1]?.toPeer], [100, 25, 100])
    const next = { ...one, beganMs: 2000, octetsToPeer: 7 }
    m = at(m, 4000, next)
    assert.deepEqual(
      [m.rows.size, m.rows.get(keyOf(next))?.toPeer, [...m.ended.keys()]],
      [1, 7, [keyOf(one)]]
    )
  })
  test('every octet that is counted is in one sample, whether its flow is seen to end or not, and lists that are late bring none back', () => {
    // What is heard of a few flows that only grow, in any order of lists and ends
    const step = fc.record({
      which: fc.nat(3),
      more: fc.nat(1000),
      does: fc.constantFrom('grow', 'end', 'list', 'late')
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let m = flowsCame(nothing, [], 0)
        const now = new Map<number, Flow>()
        let [serial, moved, clock] = [0, 0, 0]
        let old: ReadonlyArray<Flow> = []
        for (const { which, more, does } of steps) {
          const f = now.get(which)
          if (does === 'grow') {
            moved += more
            const grown = f ?? { ...one, id: which, beganMs: ++serial }
            now.set(which, { ...grown, octetsToPeer: (grown.octetsToPeer ?? 0) + more })
          } else if (does === 'end' && f !== undefined) {
            m = flowsEnded(m, [f])
            now.delete(which)
          } else if (does === 'list') {
            clock += 1000
            // A list from before what ended since
            old = [...now.values()]
            m = flowsCame(m, old, clock)
            assert.deepEqual(new Set(m.rows.keys()), new Set(old.map(keyOf)))
          } else if (does === 'late') {
            clock += 1000
            const gone = old.filter((o) => now.get(o.id)?.beganMs !== o.beganMs)
            m = flowsCame(m, [...now.values(), ...gone.filter((g) => !now.has(g.id))], clock)
            assert.deepEqual(new Set(m.rows.keys()), new Set([...now.values()].map(keyOf)))
          }
        }
        m = flowsCame(m, [...now.values()], clock + 1000)
        const seen = m.samples.slice(1).reduce((sum, s) => sum + s.toPeer, 0)
        assert.ok(Math.abs(seen - moved) < 1e-6, `${seen} of ${moved}`)
      })
    )
  })
  test('what is kept is bounded, over days; a pause begins anew', () => {
    let m = nothing
    for (let i = 0; i < 2 * SAMPLES_KEPT; i++) {
      m = flowsCame(m, [{ ...one, beganMs: i, octetsToPeer: 10 }], i * 1000)
      m = countersCame(m, { events: { 'drop-frame': i, other: 1 } }, i * 1000)
    }
    assert.deepEqual([m.samples.length, m.ended.size, m.rows.size], [SAMPLES_KEPT, ENDED_KEPT, 1])
    assert.deepEqual(m.counts, [
      { name: 'drop-frame', total: 2 * SAMPLES_KEPT - 1, rate: 1 },
      { name: 'other', total: 1, rate: 0 }
    ])
    // Another program at the same path counts from 0 on
    m = countersCame(m, { events: { 'drop-frame': 3, other: 1 } }, 1.3e6)
    assert.deepEqual([m.drops, ...m.counts.map((c) => c.rate)], [0, 0, 0])
    m = flowsCame(paused(m, 1e9), [{ ...one, octetsToPeer: 1e6 }], 2e9)
    assert.deepEqual([m.samples.at(-1)?.toPeer, m.samples.at(-2)?.open], [Number.NaN, Number.NaN])
  })
  test('the table: all words of a filter, in order, what is not known last, each flow once', () => {
    fc.assert(
      fc.property(
        arbFlows,
        fc.constantFrom('', 'tcp', '192.0.2.1:3', 'udp closed', 'nothing-of-that-name'),
        fc.boolean(),
        (flows, filter, falling) => {
          const m = flowsCame(nothing, flows, 1)
          const rows = rowsOf(m, filter, { by: 'octetsToPeer', falling }, true)
          assert.equal(new Set(rows.map((r) => r.key)).size, rows.length)
          const text = (f: Flow): string =>
            `${f.kind} ${f.state} ${endText(f.guest)} ${endText(f.peer)} ${f.rule ?? ''}`
          const words = filter.split(' ')
          assert.equal(
            rows.length,
            flows.filter((f) => words.every((w) => text(f).toLowerCase().includes(w))).length
          )
          const values = rows.map((r) => r.flow.octetsToPeer)
          const known = values.filter((v) => v !== null)
          assert.deepEqual(values.slice(0, known.length), known)
          for (let i = 1; i < known.length; i++)
            assert.ok(falling ? known[i - 1]! >= known[i]! : known[i - 1]! <= known[i]!)
        }
      )
    )
  })
})

test('a rule: what it carried, how it failed, whether its target answers', () => {
  const rule: Rule = {
    id: 'in-tcp-80',
    text: 'TCP [*]:80',
    begun: 12,
    open: 3,
    octetsToGuest: 1_234_567,
    octetsToPeer: null,
    failures: { ECONNREFUSED: 2 },
    target: { answered: false }
  }
  assert.equal(
    ruleText(rule),
    `TCP [*]:80
its target did not answer when it was last asked
flows: 3 open, 12 begun
to the guest: 1.23M octets
failed: 2 times ECONNREFUSED`
  )
})

describe('a state of the API', () => {
  const charts = flowCharts()
  test('is one leaf of its kind of machine', () => {
    for (const kind of FLOW_KINDS) {
      const names = machines[kind].leaves.map(stateName)
      assert.equal(new Set(names).size, names.length, kind)
      const found = names.map((name) => leafNamed(charts[kind]!, name))
      assert.ok(!found.includes(-1), `${kind}: ${names.filter((_, i) => found[i] === -1)}`)
      assert.equal(new Set(found).size, found.length)
    }
  })
  test('leads to the next one by an arrow of the chart, or by several', () => {
    const { tcp } = charts
    const named = (s: string): number => leafNamed(tcp!, s)
    const way = (from: string, to: string): string => {
      const w = wayBetween(tcp!, named(from), named(to))
      return w === null ? '' : `${tcp!.nodes[w.from]?.key} ${tcp!.nodes[w.to]?.key}`
    }
    assert.equal(way('ESTABLISHED', 'CLOSE_WAIT'), 'established closeWait')
    assert.equal(way('SYN_RCVD', 'ESTABLISHED'), 'synRcvd open')
    assert.equal(way('ESTABLISHED', 'TIME_WAIT'), '')
    assert.equal(wayBetween(tcp!, -1, 0), null)
    const row = (state: string, key = 'k') => ({
      key,
      flow: { ...one, state },
      toGuest: null,
      toPeer: null,
      ended: false
    })
    let t = trailOf(null, row('ESTABLISHED'), tcp)
    t = trailOf(t, row('CLOSE_WAIT'), tcp)
    t = trailOf(t, row('CLOSE_WAIT'), tcp)
    assert.deepEqual([t.from, t.state, t.seen.size], [named('ESTABLISHED'), named('CLOSE_WAIT'), 2])
    assert.deepEqual(trailOf(t, row('CLOSED', 'other'), tcp).from, -1)
  })
})
