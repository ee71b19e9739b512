/**
 * Spliced connections against direct ones, with the real kernel: random scripts of writes, reads, half-closes, closes and
 * resets, each call's result and each socket's poll(2) flags compared after every step. Loopback only, no namespace.
 */
import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { op, side, text } from '../property-tests/splice-arbitraries.js'
import { type Effect, instant } from '../src/effects/effect.js'
import type { SpliceEvent } from '../src/effects/sock-event.js'
import {
  type TcpSpliceContext,
  type TcpSpliceEvent,
  tcpSpliceMachine
} from '../src/machines/flow/tcp-splice.js'
import { ABI_WORDS, EF, EV, LISTEN_WORDS, type Native } from '../src/runtime/abi/abi.js'
import { nextEffect, openRings, putAddr, type Rings, turn } from '../src/runtime/abi/rings.js'
import { compile, type State } from '../src/runtime/machine/compile.js'
import type { Op } from '../src/simulator/splice-peer.js'

const addon = fileURLToPath(new URL('../build/Release/passt.node', import.meta.url))
const peersScript = fileURLToPath(new URL('splice-peers.py', import.meta.url))
const LOOPBACK = [0, 0, 0xffff, 0x7f000001] as const
const seed = Number(process.env.FC_SEED ?? 3)
/** Nobody listens there, nor is it given to who asks for any port (RFC 1078). */
const TCPMUX = 1
/** No more than fit in a listener's backlog. */
const scripts = 120
const LIMIT = { timeout: 30_000 }

const splice = compile(tcpSpliceMachine)
const freePort = async (): Promise<number> => {
  const s = createServer().listen(0, '127.0.0.1')
  await once(s, 'listening')
  const { port } = s.address() as AddressInfo
  s.close()
  await once(s, 'close')
  return port
}

/** The least there can be around the machine: accept, step, write effects. */
class Forwarder {
  private readonly r: Rings
  private readonly flows = new Map<number, State<TcpSpliceContext>>()
  private readonly targets = new Map<number, number>()
  private handles = 0
  readonly counts = new Map<string, number>()

  readonly native: Native
  constructor(native: Native) {
    this.native = native
    this.r = openRings(native, 4096)
  }
  get open(): number {
    return this.flows.size
  }
  /** From `port` to `target`; both on 127.0.0.1. */
  forward(id: number, port: number, target: number): void {
    const rule = new Int32Array(LISTEN_WORDS)
    rule.set([id, 6, ...LOOPBACK, port])
    assert.deepEqual([...this.native.listen(rule, [])], [0])
    this.targets.set(id, target)
  }
  /** Turns until two in a row had nothing to tell. Node's own sockets get theirs in between. */
  async turnUntilQuiet(): Promise<void> {
    for (let quiet = 0, n = 0; quiet < 2; n++) {
      assert.ok(n < 2000, 'no end of events')
      const events = turn(this.r, 8)
      quiet = events === 0 ? quiet + 1 : 0
      for (let i = 0; i < events; i++) this.event(i * ABI_WORDS)
      await new Promise((done) => setImmediate(done))
    }
  }
  private event(at: number): void {
    const { ev, clock } = this.r
    const now = instant(clock[0])
    const octets = (word: number): number => (ev[at + word] >>> 0) + (ev[at + word + 1] >>> 0) * 2 ** 32
    const moved = [octets(4), octets(6)] as const
    const side = ev[at + 2] as 0 | 1
    switch (ev[at]) {
      case EV.ACCEPTED: {
        const flow = this.handles++
        const out: Effect[] = []
        this.flows.set(flow, splice.start({ now }, out))
        for (const e of out) this.writeRecord(flow, e, ev[at + 2], this.targets.get(ev[at + 1])!)
        return
      }
      case EV.SPLICE_CONNECTED:
        return this.step(ev[at + 1], { type: 'SPLICE_CONNECTED', now })
      case EV.SPLICE_EOF:
        return this.step(ev[at + 1], { type: 'SPLICE_EOF', side, moved, now })
      case EV.SPLICE_FAILED:
        return this.step(ev[at + 1], { type: 'SPLICE_FAILED', side, errno: ev[at + 13], moved, now })
      default:
        assert.fail(`event ${ev[at]}`)
    }
  }
  private step(flow: number, e: SpliceEvent): void {
    const was = this.flows.get(flow)
    assert.ok(was !== undefined, `${e.type} after the end`)
    const out: Effect[] = []
    const s = splice.step(was, e satisfies TcpSpliceEvent, out)
    if (splice.isFinal(s)) this.flows.delete(flow)
    else this.flows.set(flow, s)
    for (const x of out) this.writeRecord(flow, x, -1, -1)
  }
  private writeRecord(flow: number, e: Effect, slot: number, target: number): void {
    const record = (kind: number): number => nextEffect(this.r, kind, flow)
    const { fx } = this.r
    switch (e.type) {
      case 'SpliceConnect': {
        const at = record(EF.SPLICE)
        putAddr(this.r, at + 2, LOOPBACK)
        fx[at + 6] = target
        fx[at + 8] = slot
        return
      }
      case 'SpliceShut':
        fx[record(EF.SPLICE_SHUT) + 2] = e.side
        return
      case 'SpliceClose':
        record(EF.SPLICE_CLOSE)
        return
      case 'SpliceReset':
        record(EF.SPLICE_RESET)
        return
      case 'Count':
        this.counts.set(e.what, (this.counts.get(e.what) ?? 0) + 1)
        return
      default:
        assert.fail(e.type)
    }
  }
}

/** splice-peers.py: `next()` reads a line, `go()` asks for the next step. */
class Peers {
  private readonly child: ChildProcessWithoutNullStreams
  private readonly lines: AsyncIterator<string>
  constructor(given: object) {
    this.child = spawn('python3', [peersScript, JSON.stringify(given)], { stdio: 'pipe' })
    this.child.stderr.pipe(process.stderr)
    this.child.stdin.on('error', () => {}) // it died: next() says so
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]()
  }
  async next(): Promise<string> {
    const { value, done } = await this.lines.next()
    assert.ok(done !== true, 'splice-peers.py ended early')
    return value
  }
  go(): void {
    this.child.stdin.write('\n')
  }
  end(): void {
    this.child.kill('SIGKILL')
  }
}
/** What one of the two does without a pause; then things come to rest. */
type Step = readonly [who: 0 | 1, ops: readonly Op[]]
type Log = readonly (readonly [results: unknown, initiator: string | null, target: string | null])[]
const name = ([who, ops]: Step): string =>
  `${who === 0 ? 'initiator' : 'target   '} ${ops.map(text).join(', ')}`
const show = (steps: readonly Step[], direct: Log, spliced: Log): string =>
  direct
    .map((d, i) => {
      const what = (i < steps.length ? name(steps[i]) : '').padEnd(24)
      const [a, b] = [JSON.stringify(d), JSON.stringify(spliced[i])]
      return a === b ? `  ${what} ${a}` : `! ${what} direct  ${a}\n${' '.repeat(27)}spliced ${b}`
    })
    .join('\n')
const fds = (): number => readdirSync('/proc/self/fd').length

// Bigger than a segment, smaller than a first window: nothing waits in a send queue that a RST would empty.
const big = op.map((o): Op => ('octets' in o ? { ...o, octets: o.octets * 97 } : o))
const scriptOf = (opsInAStep: number): fc.Arbitrary<readonly Step[]> =>
  fc.array(fc.tuple(side, fc.array(big, { minLength: 1, maxLength: opsInAStep })), {
    minLength: 1,
    maxLength: 12,
    size: 'max'
  })

/**
 * What is written to a peer that has left is answered with a RST, which cannot be back before the next call if it has a
 * way to go: there the calls get their pause.
 */
const paused = (steps: readonly Step[]): readonly Step[] => {
  const left = [false, false]
  return steps.map(([who, ops]): Step => {
    const given = left[1 - who] ? ops.slice(0, 1) : ops
    left[who] ||= given.some((o) => o.do === 'close' || o.do === 'reset')
    return [who, given]
  })
}

describe('spliced = direct, with the kernel', () => {
  let f: Forwarder
  let peers: Peers
  let client: Socket
  let listeners = 0
  before(() => {
    f = new Forwarder(createRequire(import.meta.url)(addon) as Native)
  })

  const compare = async (list: readonly (readonly Step[])[]): Promise<void> => {
    const port = await freePort()
    peers = new Peers({ spliced: port, scripts: list })
    try {
      f.forward(listeners++, port, Number(await peers.next()))
      await f.turnUntilQuiet()
      const before = fds()
      peers.go()
      let said = await peers.next()
      while (!said.startsWith('[')) {
        await f.turnUntilQuiet()
        peers.go()
        said = await peers.next()
      }
      const [direct, spliced] = JSON.parse(said) as [Log[], Log[]]
      const different = list.flatMap((steps, i) =>
        isDeepStrictEqual(direct[i], spliced[i]) ? [] : [show(steps, direct[i], spliced[i])]
      )
      different.sort((a, b) => a.length - b.length)
      const shortest = different.slice(0, 3).join('\n\n')
      assert.equal(different.length, 0, `of ${list.length} scripts differ, seed ${seed}:\n${shortest}`)
      assert.equal(f.open, 0, 'flows left')
      // One of Node's own may have been open for a moment before
      assert.ok(fds() <= before, `descriptors left: ${before} before, ${fds()} now`)
      assert.equal(f.counts.get('tcp-splice-unexpected'), undefined)
    } finally {
      peers.end()
    }
  }

  test('random scripts: the same results, ends, resets and flags after each call; nothing left', LIMIT, () =>
    compare(fc.sample(scriptOf(1), { numRuns: scripts, seed }))
  )
  test('the same without a pause between calls, a RST right behind a FIN included', LIMIT, () =>
    compare(fc.sample(scriptOf(3).map(paused), { numRuns: scripts, seed }))
  )

  test('nobody listens: accepted, then a RST (behaviour.md#bypass-ends)', LIMIT, async () => {
    const port = await freePort()
    f.forward(listeners++, port, TCPMUX)
    client = connect(port, '127.0.0.1')
    const failed = once(client, 'error')
    await once(client, 'connect')
    await f.turnUntilQuiet()
    assert.equal(((await failed)[0] as NodeJS.ErrnoException).code, 'ECONNRESET')
    assert.equal(f.open, 0)
    assert.equal(f.counts.get('tcp-splice-not-connected'), 1)
  })

  after(async () => {
    peers.end()
    client.destroy()
    await f.turnUntilQuiet()
  })
})
