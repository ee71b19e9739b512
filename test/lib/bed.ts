// A world with its servers, shared by the tests of one file, and shorthands for what runs in pasta's namespace.
import assert from 'node:assert/strict'
import { after, before } from 'node:test'
import type { Proc } from './proc.js'
import { describe, helper, net, ok, type RunOptions, World, type WorldOptions } from './world.js'

export interface Bed {
  readonly w: World
  /** peer.py in "world", on the addresses that nobody maps, and in "far". */
  readonly peer: Proc
  readonly far: Proc
  /** peer.py on the host's loopback. */
  readonly hostPeer: Proc
}

/** Both families, by the server's address. */
export const families = [
  { v: 4, world: net.world4, far: net.far4, gw: net.gw4, host: net.host4, loopback: '127.0.0.1' },
  { v: 6, world: net.world6, far: net.far6, gw: net.gw6, host: net.host6, loopback: '::1' }
] as const

/** Registers set-up and end with node:test; the bed is there once a test runs. */
export const useBed = (options: WorldOptions = {}, prepare?: (w: World) => void | Promise<void>): Bed => {
  const bed = {} as { -readonly [K in keyof Bed]: Bed[K] }
  before(async () => {
    bed.w = await World.open(options)
    await prepare?.(bed.w)
    const serve = (where: 'host' | 'world' | 'far', addresses: string[]): Proc =>
      bed.w.start(['python3', helper('peer.py'), ...addresses], { in: where, uid: 0, timeout: 900_000 })
    bed.peer = serve('world', [net.world4, net.world6])
    bed.far = serve('far', [net.far4, net.far6])
    bed.hostPeer = serve('host', ['127.0.0.1', '::1'])
    await Promise.all([bed.peer, bed.far, bed.hostPeer].map((p) => p.sees(/ready/)))
  })
  after(async () => {
    await bed.w?.close()
  })
  return bed
}

/** client.py under pasta --config-net; its JSON. */
export const client = async (
  w: World,
  args: ReadonlyArray<string | number>,
  options: ReadonlyArray<string> = [],
  o: RunOptions = {}
): Promise<Record<string, unknown>> => {
  const r = await w.pasta(
    ['--config-net', ...options],
    ['python3', helper('client.py'), ...args.map(String)],
    o
  )
  ok(r)
  assert.match(r.stdout, /^\{.*\}\n$/s, describe(r))
  return JSON.parse(r.stdout) as Record<string, unknown>
}

/** Waits for a line of a server's log that has all of `what`, written after character `from`. */
export const logged = async (
  server: Proc,
  what: Record<string, unknown>,
  from = 0
): Promise<Record<string, unknown>> => {
  const find = () =>
    server.stdout
      .slice(from)
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .find((entry) => Object.entries(what).every(([k, v]) => entry[k] === v))
  const end = Date.now() + 60_000
  for (;;) {
    const found = find()
    if (found !== undefined) return found
    if (Date.now() > end)
      assert.fail(`no ${JSON.stringify(what)} in the server's log: ${server.stdout.slice(from)}`)
    await new Promise((done) => setTimeout(done, 20))
  }
}
