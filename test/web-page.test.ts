// passt-ctl web in a browser: what its page shows of a real pasta, who gets it, that no text of it becomes markup, and 10,000 flows.
import assert from 'node:assert/strict'
import { chmodSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { FlowInfo } from '../src/codecs/control/api.js'
import { Browser, count, drawn, filter, inTheDark, nameless, type Tab, text, texts } from './lib/browser.js'
import { Guest } from './lib/guest.js'
import { type Proc, until } from './lib/proc.js'
import { helper, net, ok, World } from './lib/world.js'

const SOCKET = '/mnt/w/api.sock'
const CTL = '/mnt/repo/bin/passt-ctl'
let w: World
let browser: Browser
before(async () => {
  w = await World.open()
  browser = new Browser(w.network())
})
after(async () => {
  await browser?.end()
  await w?.close()
})

const choose = (tab: Tab, words: string): Promise<boolean> =>
  tab.value(`(() => {
    const row = [...document.querySelectorAll('.row')].find((r) => r.textContent.includes('${words}'))
    row?.dispatchEvent(new MouseEvent('click', { bubbles: true }))
    return row !== undefined
  })()`)
/** It is there, and then chosen. */
const chosen = (tab: Tab, words: string): Promise<boolean> => until(words, () => choose(tab, words))
const lit = (tab: Tab): Promise<string> =>
  tab.value("document.querySelector('svg .lit')?.dataset.state ?? ''")
const serve = async (
  socket: string
): Promise<{ readonly web: Proc; readonly url: string; readonly port: number }> => {
  const web = w.start([CTL, 'web', socket])
  const [line] = await web.sees(/^http:.*\/$/m)
  return { web, url: line, port: Number(new URL(line).port) }
}

describe('of a pasta', () => {
  let guest: Guest
  let web: Proc
  let url: string
  let port: number
  let tab: Tab
  before(async () => {
    const command = ['python3', helper('half_open.py'), 'serve', '7020', '/mnt/w/stop']
    guest = await Guest.open(w, ['--api', SOCKET, '-t', '7101:7020', '-I', '<script>'], { command })
    ;({ web, url, port } = await serve(SOCKET))
    tab = await browser.open(url)
  })
  test('a connection appears, its state is lit in the chart of its machine, and moves with it', async () => {
    const stdin = 'while [ ! -e /mnt/w/half ]; do sleep 0.02; done; echo'
    const client = w.start(
      ['sh', '-c', `(${stdin}) | python3 ${helper('half_open.py')} connect ${net.host4} 7101`],
      { in: 'world' }
    )
    await client.sees(/open/)
    await chosen(tab, '198.51.100.2:7020')
    // The page may have looked while it was opening
    await until('it has carried something', async () => /ESTABLISHED1/.test(await text(tab, '.row.current')))
    assert.deepEqual(await texts(tab, '.row.current > :nth-child(-n + 6)'), [
      'tcp',
      '198.51.100.2:7020',
      '←',
      (await texts(tab, '.row.current .end'))[1],
      'ESTABLISHED',
      '1'
    ])
    assert.equal(await text(tab, '.row.current .rule'), 'in-tcp-7101')
    assert.deepEqual([await text(tab, '#state'), await lit(tab)], ['ESTABLISHED', 'established'])
    await w.sh('touch /mnt/w/half')
    await until('it is half closed', async () => (await lit(tab)) === 'finWait2')
    assert.equal(await text(tab, '.row.current .state'), 'FIN_WAIT_2')
    assert.equal(await count(tab, 'svg .lit'), 1)
    await w.sh('touch /mnt/w/stop')
    ok(await client.wait())
    await until('it is over', async () => (await text(tab, '.row.current .state')) === 'CLOSED, over')
    assert.equal(await lit(tab), 'closed')
    assert.match(await text(tab, '.numbers'), /to the guest1 octets/)
  })
  test('its rule, whose target answered, leads to its flows', async () => {
    await until(
      'the rule, without a flow by now',
      async () => (await texts(tab, '.rule.answers > *')).join(' ') === 'TCP [*]:7101 => 7020 answers 0 of 1'
    )
    await tab.value("document.querySelector('.rule button').click()")
    assert.equal(await tab.value("document.getElementById('filter').value"), 'in-tcp-7101')
    assert.equal(await count(tab, '.row'), 1)
    await filter(tab, '')
  })
  test('throughput, and drops by reason', async () => {
    const source = w.start(
      [
        ...['python3', '-c'],
        `import socket, time
s = socket.create_server(("", 7777)); print("up", flush=True); c = s.accept()[0]
while True: c.sendall(bytes(1000)); time.sleep(0.005)`
      ],
      { in: 'world' }
    )
    await source.sees(/up/)
    const sink = guest.start([
      ...['python3', '-c'],
      `import socket
s = socket.create_connection(("${net.world4}", 7777))
p = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); p.bind(("<script>", 0))
while s.recv(65536): p.send(bytes([1]) * 60)`
    ])
    await chosen(tab, ':7777')
    const shown = async (n: number): Promise<number> => {
      const said = await text(tab, `figure:nth-of-type(${n}) output`)
      return said.endsWith('k') ? Number.parseFloat(said) * 1000 : Number(said)
    }
    await until('throughput', async () => (await shown(1)) > 1000 && (await shown(2)) > 1000)
    await until('the one before has left', async () => (await shown(3)) === 1)
    await until('drops', async () => (await shown(4)) > 0)
    assert.match((await texts(tab, '.counts .drop')).join(' '), /eth-type[\d.k]+\/s[\d,]+/)
    for (const n of [0, 1, 2, 3]) await until('lines are drawn', async () => (await drawn(tab, n)) > 300)
    await sink.stop()
    await source.stop()
  })
  test('what a name says is text; the policy holds even for who would try', async () => {
    assert.match(await text(tab, 'header'), /pasta.*tap <script>.*198\.51\.100\.2/)
    assert.deepEqual(await tab.value('[document.scripts.length, document.images.length]'), [1, 0])
    // It has asked nobody else
    assert.deepEqual(
      tab.fetched.filter((u) => !u.startsWith(url)),
      []
    )
    assert.deepEqual(tab.trouble, [])
    const tried = await tab.value<string>(
      "(() => { try { document.body.innerHTML = '<b>' } catch (e) { return e.name } })()"
    )
    assert.equal(tried, 'TypeError')
  })
  test('keys; every part has a name; in the dark and on a small screen', async () => {
    await filter(tab, '')
    await tab.press('ArrowUp')
    const first = await text(tab, '.row.current')
    await tab.press('ArrowDown')
    assert.notEqual(await text(tab, '.row.current'), first)
    await tab.press('/')
    assert.equal(await tab.value('document.activeElement.id'), 'filter')
    assert.deepEqual(
      await nameless(tab, 'button, input, [role=grid], [role=table], [role=img], section, [tabindex]'),
      []
    )
    await inTheDark(tab)
    await tab.taste({})
  })
  test('nobody gets it without the token, by another name, from another host; nothing but looking is done', async () => {
    const said = async (options: string, to = url): Promise<string> =>
      (
        await w.sh(`curl -s -o /dev/null -w '%{http_code}' --max-time 10 ${options} '${to}' || true`, {
          uid: 1001
        })
      ).trim()
    assert.equal(await said(''), '200')
    assert.equal(await said('', `${url}v1/status`), '200')
    assert.equal(await said('', new URL('/', url).href), '404')
    assert.equal(await said('', new URL('/v1/status', url).href), '404')
    assert.equal(await said('', `${url.slice(0, -2)}/v1/status`), '404')
    assert.equal(await said(`-H 'Host: evil.example:${port}'`), '404')
    assert.equal(await said('-d {}', `${url}v1/rules`), '405')
    assert.equal(await said('', `${url}v1/trace`), '404')
    assert.equal(await said('-X DELETE', `${url}v1/flows`), '405')
    const taken = await w.run([CTL, 'web', SOCKET, '--port', `${port}`])
    assert.deepEqual([taken.code, taken.stdout], [1, ''])
    assert.match(taken.stderr, /^passt-ctl: no page at port \d+: EADDRINUSE, address already in use$/m)
    for (const where of ['host', 'world'] as const)
      assert.equal(
        (
          await w.sh(
            `curl -s -o /dev/null -w '%{http_code}' --max-time 10 http://${net.host4}:${port}/ || true`,
            { in: where }
          )
        ).trim(),
        '000'
      )
  })
  test('another page of the same browser gets nothing, be it by the URL', async () => {
    writeFileSync(join(w.dir, 'other.html'), '<!DOCTYPE html><title>other</title><body data-ready="1">')
    const server = w.start(['python3', '-um', 'http.server', '-b', '127.0.0.1', '-d', '/mnt/w', '0'])
    const [, other] = await server.sees(/port (\d+)/)
    const page = await browser.open(`http://127.0.0.1:${other}/other.html`)
    const tried = await page.value<ReadonlyArray<string>>(`(async () => {
      const got = (mode) => fetch('${url}v1/status', { mode }).then(() => 'got it', (e) => e.name)
      const loads = (tag, name) => new Promise((done) => {
        const e = document.createElement(tag)
        e.onload = () => done(tag + ' loads')
        e.onerror = () => done(tag + ' fails')
        e[name] = '${url}'
        document.body.append(e)
      })
      const frame = document.createElement('iframe')
      frame.src = '${url}'
      const framed = new Promise((done) => { frame.onload = done })
      document.body.append(frame)
      await framed
      return [
        await got('cors'), await got('no-cors'), await loads('script', 'src'), await loads('img', 'src'),
        // What is there in its place is the browser's, of an origin of its own
        String(frame.contentDocument), await loads('object', 'data')
      ]
    })()`)
    assert.deepEqual(tried, ['TypeError', 'TypeError', 'script fails', 'img fails', 'null', 'object fails'])
    assert.ok(page.trouble.some((t) => t.includes("frame-ancestors 'none'")))
    await server.stop()
  })
  test('with the program it ends, and says so', async () => {
    await guest.stop()
    await until('it says so', async () => /has ended/.test(await text(tab, '#live')))
    const r = await web.wait()
    assert.equal(r.code, 1)
    assert.match(r.stderr, /^passt-ctl: \/mnt\/w\/api\.sock: it has ended$/m)
    assert.deepEqual(await w.run([CTL, 'web', SOCKET]).then((none) => [none.code, none.stdout]), [1, ''])
  })
})

describe('of what never was: an API of ours', () => {
  const HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
  const MANY = 10_000
  const place = (port: number) => ({ address: HOSTILE, port })
  const flowOf = (id: number, octets: number): FlowInfo => ({
    id,
    kind: id % 2 === 0 ? 'tcp' : 'udp',
    state: id === 1 ? HOSTILE : id % 2 === 0 ? 'ESTABLISHED' : 'STREAM',
    origin: 'guest',
    guest: place(id),
    guestPeer: place(1),
    listenerPort: null,
    peer: place(2),
    rule: HOSTILE,
    beganMs: id,
    ageMs: 1_000_000 - id,
    octetsToGuest: octets * id,
    octetsToPeer: 0,
    rttGuestMs: null,
    rttPeerMs: null,
    windowGuest: null,
    windowOffered: null
  })
  let api: Server
  let web: Proc
  let tab: Tab
  /** Who follows events. */
  let followed = 0
  before(async () => {
    let asked = 0
    const guest = { up: true, mac: HOSTILE, ipv4: HOSTILE, ipv6: null }
    const answers: Readonly<Record<string, () => object>> = {
      '/v1/status': () => ({
        ...{
          version: HOSTILE,
          mode: 'passt',
          pid: 1,
          uptimeMs: 1,
          link: 'socket',
          interface: HOSTILE,
          mtu: 1
        },
        ...{
          mac: HOSTILE,
          guest,
          ipv4: null,
          ipv6: null,
          search: [HOSTILE],
          namespace: {
            addresses: [HOSTILE],
            routes: [],
            routesInAll: 1,
            leftOut: [HOSTILE],
            leftOutInAll: 1
          },
          serves: [HOSTILE],
          notes: [HOSTILE]
        }
      }),
      '/v1/rules': () => ({
        rules: Array.from({ length: MANY }, (_, i) => ({
          ...{ id: HOSTILE, text: HOSTILE, begun: i, open: i, octetsToGuest: 1, octetsToPeer: null },
          ...{ failures: { [HOSTILE]: 1 }, target: { answered: i % 2 === 0 } }
        }))
      }),
      '/v1/counters': () => ({ events: { [`drop-${HOSTILE}`]: 1, [HOSTILE]: 1 } }),
      '/v1/flows': () => {
        asked++
        return { flows: Array.from({ length: MANY }, (_, i) => flowOf(i, asked)) }
      }
    }
    api = createServer((q, r) => {
      const answer = answers[q.url ?? '']
      r.writeHead(200)
      if (answer !== undefined) return void r.end(JSON.stringify(answer()))
      followed++
      r.on('close', () => followed--)
      r.write(`${JSON.stringify({ event: 'end', uptimeMs: 1, flow: flowOf(MANY, 1) })}\n`)
    })
    await new Promise<void>((done) => api.listen(join(w.dir, 'fake.sock'), done))
    chmodSync(join(w.dir, 'fake.sock'), 0o666)
    const real = w.start([CTL, 'web', '/mnt/w/fake.sock'])
    const [line] = await real.sees(/^http:.*\/$/m)
    web = real
    tab = await browser.open(line)
    await until('it is live', async () => (await text(tab, '#live')) === 'live')
  })
  after(() => {
    api?.closeAllConnections()
    api?.close()
  })
  test('10,000 flows: in the page is what is seen', async () => {
    assert.match(await text(tab, '.flows .count'), /^10000 of 10000 flows$/)
    const elements = await tab.value<number>('document.querySelectorAll("*").length')
    assert.ok(elements < 3000, `${elements} elements`)
    await tab.value("document.querySelector('[data-sort=toGuest]').click()")
    await until('the busiest first', async () => /:9998/.test(await text(tab, '.row')))
    await filter(tab, ':1234 tcp')
    assert.deepEqual([await text(tab, '.flows .count'), await count(tab, '.row')], ['1 of 10000 flows', 1])
    await filter(tab, '')
    await tab.value("{ const l = document.getElementById('flows'); l.scrollTop = l.scrollHeight }")
    await until('the last one, which has ended', async () =>
      /over/.test((await texts(tab, '.row')).at(-1) ?? '')
    )
  })
  test('whatever it says is text', async () => {
    await filter(tab, ':1')
    await chosen(tab, 'STREAM')
    await tab.value("{ document.querySelector('details').open = true }")
    assert.ok((await text(tab, 'header')).includes(HOSTILE))
    assert.ok((await texts(tab, '.counts')).join('').includes(HOSTILE))
    assert.ok((await texts(tab, '.details')).join('').includes(HOSTILE))
    assert.deepEqual(await tab.value('[document.title, document.scripts.length, document.images.length]'), [
      'passt 1',
      1,
      0
    ])
    assert.deepEqual(tab.trouble, [])
  })
  test('nothing is asked for who does not look', async () => {
    const see = (hidden: boolean): Promise<void> =>
      tab.value(`{
        Object.defineProperty(document, 'hidden', { value: ${hidden}, configurable: true })
        document.dispatchEvent(new Event('visibilitychange'))
      }`)
    await see(true)
    await until('it waits', async () => (await text(tab, '#live')).includes('nobody looks'))
    await until('nobody follows', () => followed === 0)
    await see(false)
    await until('it is live', async () => (await text(tab, '#live')) === 'live' && followed === 1)
  })
  test('it ends by a signal', async () => {
    const r = await web.stop('SIGTERM')
    assert.deepEqual([r.code, r.stderr], [0, ''])
    await until('the page says so', async () => /has ended/.test(await text(tab, '#live')))
    const asked = tab.fetched.length
    await new Promise((done) => setTimeout(done, 1500))
    assert.deepEqual(tab.fetched.slice(asked), [], 'nobody is asked for ever')
  })
})
