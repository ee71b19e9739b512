// What passt-ctl writes, of an API that says what it likes: to a terminal nothing that moves it, and no success where nothing was written.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, openSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Status } from '../src/codecs/control/api.js'

const CTL = fileURLToPath(new URL('../bin/passt-ctl', import.meta.url))
/** A title for the window, a colour, CSI in one octet, the reading direction. */
const HOSTILE = 'a\u001b]0;x\u0007\u001b[31m\u009b2J\u202eb'
const UNSEEN = /[^\P{C}\n]/u

const family = {
  interface: HOSTILE,
  address: '192.0.2.2',
  prefixLength: 24,
  gateway: HOSTILE,
  outbound: null,
  outboundInterface: null,
  dns: [HOSTILE]
}
const status = Status.encode({
  version: HOSTILE,
  mode: 'pasta',
  pid: 1,
  uptimeMs: 1,
  link: 'tap',
  interface: HOSTILE,
  mtu: 1500,
  mac: HOSTILE,
  guest: { up: true, mac: HOSTILE, ipv4: HOSTILE, ipv6: null },
  ipv4: family,
  ipv6: null,
  search: [HOSTILE],
  namespace: { addresses: [HOSTILE], routes: [], routesInAll: 0, leftOut: [HOSTILE], leftOutInAll: 1 },
  serves: [HOSTILE],
  notes: []
})

let directory: string
let socket: string
let server: Server
before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'ctl-'))
  socket = join(directory, 's')
  server = createServer((q, r) => {
    if (q.url === '/v1/status') return r.end(JSON.stringify(status))
    r.statusCode = 409
    return r.end(JSON.stringify({ error: `one\n${HOSTILE}` }))
  })
  server.listen(socket)
  await once(server, 'listening')
})
after(() => {
  server.close()
  rmSync(directory, { recursive: true })
})

interface Said {
  readonly code: number | null
  readonly out: string
  readonly err: string
}
const ctl = async (args: ReadonlyArray<string>, stdout: 'pipe' | number = 'pipe'): Promise<Said> => {
  const p: ChildProcess = spawn(CTL, args, { stdio: ['ignore', stdout, 'pipe'] })
  let [out, err] = ['', '']
  p.stdout?.on('data', (d: Buffer) => {
    out += d.toString()
  })
  p.stderr?.on('data', (d: Buffer) => {
    err += d.toString()
  })
  const [code] = (await once(p, 'close')) as [number | null]
  return { code, out, err }
}

describe('passt-ctl', () => {
  test('what the API says moves no terminal', async () => {
    const shown = await ctl(['status', socket])
    assert.equal(shown.code, 0)
    assert.match(shown.out, /on a\?\]0;x\?\?\[31m\?2J\?b, DNS/)
    assert.doesNotMatch(shown.out, UNSEEN)
    const refused = await ctl(['trace', socket, 'flows'])
    assert.equal(refused.code, 1)
    assert.match(refused.err, /refuses that: one\na\?\]0;x/)
    assert.doesNotMatch(refused.err, UNSEEN)
    // As it is, where a program reads it
    assert.deepEqual(JSON.parse((await ctl(['status', socket, '--json'])).out), status)
  })
  test('what could not be written is no success', async () => {
    const full = openSync('/dev/full', 'w')
    for (const args of [['status', socket], ['status', socket, '--json'], ['--help'], ['web', socket]]) {
      const { code, err } = await ctl(args, full)
      assert.equal(code, 1, args.join(' '))
      assert.match(err, /^passt-ctl: ENOSPC, no space left on device\n$/)
    }
  })
})
