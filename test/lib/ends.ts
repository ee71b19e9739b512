// Both ends of TCP connections through what is under test (ends.py), and what is asked of them.
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Proc } from './proc.js'
import { helper, type Where, type World } from './world.js'

/** What answers JSON, or text, to one request a connection. */
export const request = (path: string, text: string, ms = 90_000): Promise<string> =>
  new Promise((done, fail) => {
    let s = ''
    const c = connect(path, () => c.write(text))
    const timer = setTimeout(() => c.destroy(new Error(`no answer to ${text} within ${ms} ms`)), ms)
    c.setEncoding('utf8').on('data', (d: string) => {
      s += d
    })
    c.on('error', fail).on('close', () => {
      clearTimeout(timer)
      done(s)
    })
  })

/** A program at one end of connections (ends.py). */
export class End {
  private constructor(
    readonly proc: Proc,
    private readonly control: string
  ) {}
  static async start(
    w: World,
    enter: ReadonlyArray<string>,
    control: string,
    where: Where = 'host'
  ): Promise<End> {
    const proc = w.start([...enter, 'python3', helper('ends.py'), `/mnt/w/${control}`], {
      uid: 0,
      in: where,
      timeout: 900_000
    })
    await proc.sees(/ready/)
    return new End(proc, join(w.dir, control))
  }
  /** An operation of ends.py; throws what it reports as an error. */
  async call<A = unknown>(operation: string, args: Readonly<Record<string, unknown>> = {}): Promise<A> {
    const answer = JSON.parse(await request(this.control, `${JSON.stringify([operation, args])}\n`)) as {
      ok?: A
      error?: string
    }
    if (answer.error !== undefined) throw new Error(answer.error)
    return answer.ok as A
  }
}

/** What was poured at one end has been drunk at the other, all of it: how many octets. */
export const isWhole = async (from: End, poured: number, to: End, drunk: number): Promise<number> => {
  const sent = await from.call<{ readonly octets?: number }>('done', { job: `pour${poured}` })
  assert.deepEqual(await to.call('done', { job: `drink${drunk}` }), sent)
  assert.ok(sent.octets !== undefined, JSON.stringify(sent))
  return sent.octets
}

/** Guest's and peer's numbers of the same connections. */
export interface Flows {
  readonly guest: ReadonlyArray<number>
  readonly world: ReadonlyArray<number>
}

export interface ConnectOptions {
  readonly v?: 4 | 6
  readonly rcvbuf?: number
}
/** Where both ends listen, and where they are found. */
export interface Addressed {
  readonly port: number
  /** The peers'. */
  readonly world4: string
  readonly world6: string
  /** From where the guest's port is forwarded. */
  readonly host4: string
  readonly host6: string
}

export class Ends {
  constructor(
    readonly guest: End,
    readonly world: End,
    private readonly at: Addressed
  ) {}

  /** Connections that the guest makes to the world and that the world makes to the guest, so many of each kind. */
  async connect(outward = 1, inward = 1, o: ConnectOptions = {}): Promise<Flows> {
    const { at } = this
    const v6 = o.v === 6
    const rcvbuf = o.rcvbuf ?? 0
    const guest: number[] = []
    const world: number[] = []
    if (outward > 0) {
      const to = v6 ? at.world6 : at.world4
      const accepted = this.world.call<number[]>('accept', { port: at.port, n: outward })
      guest.push(...(await this.guest.call<number[]>('connect', { to, port: at.port, n: outward, rcvbuf })))
      world.push(...(await accepted))
    }
    if (inward > 0) {
      const to = v6 ? at.host6 : at.host4
      const accepted = this.guest.call<number[]>('accept', { port: at.port, n: inward })
      const made = await this.world.call<number[]>('connect', { to, port: at.port, n: inward, rcvbuf })
      world.push(...made)
      guest.push(...(await this.pairedWith(made, await accepted)))
    }
    return { guest, world }
  }

  /** The guest's end of each of world's. Those that wait at a listener are opened towards the guest at once, and may arrive in another order. */
  private async pairedWith(
    made: ReadonlyArray<number>,
    accepted: ReadonlyArray<number>
  ): Promise<ReadonlyArray<number>> {
    type Ports = ReadonlyArray<readonly [own: number, peer: number]>
    const own = await this.world.call<Ports>('ports', { conns: made })
    const theirs = await this.guest.call<Ports>('ports', { conns: accepted })
    const byPeer = new Map(theirs.map(([, peer], i) => [peer, accepted[i]!]))
    return own.map(([port]) => {
      const conn = byPeer.get(port)
      assert.notEqual(conn, undefined, `a connection from port ${port} at the guest`)
      return conn!
    })
  }

  /** A connection in each direction and family. */
  async someOf(): Promise<Flows> {
    const all = [await this.connect(1, 1), await this.connect(1, 1, { v: 6 })]
    return { guest: all.flatMap((f) => f.guest), world: all.flatMap((f) => f.world) }
  }

  /** Something each way on each, and nothing lost or mixed up. */
  async talk({ guest, world }: Flows, text: string): Promise<void> {
    for (const [from, a, to, b] of [
      [this.guest, guest, this.world, world],
      [this.world, world, this.guest, guest]
    ] as const) {
      await from.call('say_all', { conns: a, text })
      assert.deepEqual(
        await to.call('hear_all', { conns: b, length: text.length }),
        a.map((c) => `${text}${`${c}`.padStart(6, '0')}`)
      )
    }
  }
}

/** Somebody who has both ends, something to say when it fails, and an end. */
export abstract class Staged {
  abstract get ends(): Ends
  abstract said(): string
  abstract close(): Promise<void>

  /** As those of Ends. */
  connect(outward = 1, inward = 1, o: ConnectOptions = {}): Promise<Flows> {
    return this.ends.connect(outward, inward, o)
  }
  someOf(): Promise<Flows> {
    return this.ends.someOf()
  }
  talk(flows: Flows, text: string): Promise<void> {
    return this.ends.talk(flows, text)
  }
}

/** `use`, and the end in any case; what it throws has what was said behind it. */
export const closing = async <S extends Staged>(s: S, use: (s: S) => Promise<void>): Promise<void> => {
  try {
    await use(s)
  } catch (e) {
    if (e instanceof Error) e.message += `\n${s.said()}`
    throw e
  } finally {
    await s.close()
  }
}
