import assert from 'node:assert/strict'
import * as E from 'fp-ts/lib/Either.js'
import { octets } from '../src/codecs/value/octets.js'
import { type Instant, instant } from '../src/effects/effect.js'
import { NO_NEIGHBOURS } from '../src/machines/address/neighbours.js'
import { ABI_WORDS, type Native, SIDE_1 } from '../src/runtime/abi/abi.js'
import { dropEffects, openRings, type Rings } from '../src/runtime/abi/rings.js'
import { install } from '../src/runtime/data/feature.js'
import { createWorld, type World } from '../src/runtime/data/world.js'
import { actingFeatures } from '../src/runtime/engine/features.js'
import { linkClientOf } from '../src/runtime/engine/guest-link.js'
import { rulesNow } from '../src/runtime/engine/live-rules.js'
import { handleTurn } from '../src/runtime/engine/loop.js'
import { recordEnd } from '../src/runtime/engine/open-record.js'
import { ruleText, type StartRecord, startText } from '../src/runtime/engine/start-record.js'
import { GUEST_SERVER, GUEST4, GUEST6, LISTENER, RULE } from '../src/runtime/engine/warm-up.js'
import { neighbourConfig, worldConfig } from '../src/runtime/engine/world-config.js'
import { worldText } from '../src/runtime/engine/written-world.js'
import { MAX_FLOWS } from '../src/runtime/flow/flow-table.js'
import { logTo } from '../src/runtime/log/log.js'
import type { AskRules } from '../src/runtime/record/answers.js'
import { type RecordedEnd, type RecordHead, recorder } from '../src/runtime/record/recorder.js'
import { openRecording, type RecordEnd, type RecordedTurn } from '../src/runtime/replay/recording.js'
import { type Replayed, replayer } from '../src/runtime/replay/replayer.js'
import { macBy } from '../src/runtime/services/neighbours.js'
import { addr } from './services-arbitraries.js'

/** A session as pasta has it by default. */
export const START: StartRecord = {
  version: 'test',
  host: 'a test',
  date: '2026-01-01T00:00:00.000Z',
  payload: false,
  plan: {
    mode: 'pasta',
    link: null,
    vhostUser: null,
    oneOff: false,
    migrateExit: false,
    migrateNoLinger: false,
    pcap: '.pcapng',
    confPath: null,
    apiPath: null,
    ownMac: 0x9a559a559a55,
    mtu: 65520,
    v4: {
      index: 2,
      addressGiven: false,
      assigned: GUEST4,
      prefixLen: 24,
      gateway: addr('198.51.100.1'),
      own: addr('198.51.100.1'),
      linkLocal: null,
      dns: [addr('198.51.100.53')],
      dnsForward: null,
      dnsHost: null,
      mapHostLoopback: addr('198.51.100.1'),
      mapGuestAddr: null,
      outbound: null
    },
    v6: {
      index: 2,
      addressGiven: false,
      assigned: GUEST6,
      prefixLen: 64,
      gateway: addr('fe80::1'),
      own: addr('fe80::1'),
      linkLocal: addr('fe80::1'),
      dns: [],
      dnsForward: null,
      dnsHost: null,
      mapHostLoopback: addr('fe80::1'),
      mapGuestAddr: null,
      outbound: null
    },
    follow: true,
    tcp: true,
    udp: true,
    icmp: true,
    dhcp: true,
    dhcpv6: true,
    ndp: true,
    ra: true,
    splice: true,
    spliceOnly: false,
    hostLoToNsLo: false,
    rates: [],
    announceDns: true,
    announceSearch: true,
    search: ['example.com'],
    hostname: 'guest',
    fqdn: null
  },
  found: {
    tap: { mac: Uint8Array.of(2, 0, 0, 0, 0, 2), index: 2 },
    links: [{ index: 2, own: addr('198.51.100.9'), prefix: { addr: addr('198.51.100.0'), len: 24 } }],
    limits: { flows: 64, files: 64, memory: Number.POSITIVE_INFINITY, ports: 64, halfOpen: 64 },
    sharedTcpPorts: false,
    bothSides: true,
    secret: Uint8Array.from({ length: 16 }, (_, i) => i),
    now: 1_700_000_000
  },
  rules: [RULE, { ...RULE, proto: 'udp' }],
  neighbours: true,
  client: null
}

/** Its numbers are of no meaning, and never twice the same in a record. */
const nobody = (): Native => {
  let asked = 0
  return {
    open: ({ txSize, rxSize, effects, events }: Parameters<Native['open']>[0]) => ({
      slab: new ArrayBuffer(txSize + rxSize),
      effects: new ArrayBuffer(effects * ABI_WORDS * 4),
      events: new ArrayBuffer(events * ABI_WORDS * 4),
      clock: new ArrayBuffer(16)
    }),
    carryOut: () => {},
    memoryOf: (flows: Int32Array) => Float64Array.from({ length: 2 * flows.length }, () => ++asked * 1000),
    localEnds: (flows: Int32Array) => Int32Array.from({ length: 5 * flows.length }, () => ++asked),
    pauseListener: () => true,
    resumeListener: () => ++asked & 1
  } as Partial<Native> as Native
}

/** One record for the event ring: its words, and octets that word 2 and 3 are to name. */
export interface Came {
  readonly words: ReadonlyArray<number>
  readonly octets: Uint8Array | null
}
/** Where native puts what it reads, with room for headers in front of each. */
const READ_AT = 4 << 20
const ROOM = 128
/** A turn's records into the event ring. Returns where the octets of each are; there is room for 8 MB of them. */
const bring = ({ ev, slab }: Rings, came: ReadonlyArray<Came>): ReadonlyArray<number> => {
  let next = READ_AT
  return came.map(({ words, octets: data }, i) => {
    const place = i * ABI_WORDS
    ev.fill(0, place, place + ABI_WORDS)
    ev.set(words, place)
    if (data === null) return 0
    const off = next + ROOM
    slab.set(data, off)
    ev[place + 2] = off
    ev[place + 3] = data.length
    next = (off + data.length + 7) & ~7
    return off
  })
}

/** A world that is recorded. */
export interface Recorded {
  readonly w: World
  /** `n` records are in the event ring. */
  readonly turn: (n: number, now: Instant) => void
  /** A turn that these come in. Returns where the octets of each are. */
  readonly come: (came: ReadonlyArray<Came>, now: Instant) => ReadonlyArray<number>
  readonly listen: (id: number, on: boolean) => void
}
const NO_RULES: AskRules = { begin: () => {}, go: () => '' }
export interface RecordOptions {
  readonly start?: StartRecord
  readonly size?: number
  readonly why?: RecordedEnd['why']
  /** It begins behind this turn, from 1, or as soon as it can. */
  readonly from?: number
  /** Its file has two windows. */
  readonly windows?: boolean
  /** Called before each chunk is written to such a file. */
  readonly wrote?: (file: Uint8Array, place: number, chunk: Uint8Array) => void
  /** It begins anew behind this one. */
  readonly again?: number
  /** Who makes other rules count. */
  readonly door?: AskRules
  /** Called by whoever writes. */
  readonly said?: (errno: number | null) => void
}

/** The file that `run` leaves behind. */
export const recordOf = (run: (r: Recorded) => void, o: RecordOptions = {}): Uint8Array => {
  const start = o.start ?? START
  const parts: Uint8Array[] = []
  let file: Uint8Array = new Uint8Array(0)
  const rec = recorder(
    {
      write: (chunk, place) => {
        if (o.windows === true) {
          if (place + chunk.length > file.length) {
            const longer = new Uint8Array(place + chunk.length)
            longer.set(file)
            file = longer
          }
          o.wrote?.(file.slice(), place, chunk.slice())
          file.set(chunk, place)
        } else parts.push(chunk.slice())
        return 0
      },
      empty: () => {
        parts.length = 0
        file = new Uint8Array(0)
        return 0
      },
      seeks: o.windows === true
    },
    o.size ?? 1 << 30,
    start.payload,
    o.said ?? (() => {})
  )
  const door = rec.native(nobody())
  const rings = openRings(door, 2 * SIDE_1)
  const neighbours = start.neighbours ? { config: neighbourConfig(start.plan), table: NO_NEIGHBOURS } : null
  const cfg = worldConfig(start.plan, { ...start.found, macOf: macBy(start.plan.ownMac, neighbours) })
  const listeners = new Map([[LISTENER, { rule: start.rules[0]!, port: GUEST_SERVER }]])
  const w = createWorld(
    cfg,
    rings,
    logTo([], 0, () => 0),
    new Map(),
    listeners,
    MAX_FLOWS,
    rec.outside
  )
  w.links = start.found.links
  const current = rulesNow(start.rules)
  install(w.features, [
    ...actingFeatures(w, start.plan, {
      neighbours,
      host: start,
      follow: null,
      api: null,
      portScan: null,
      client: linkClientOf(null),
      rules: { now: current, door: rec.rules(o.door ?? NO_RULES) }
    }),
    rec.feature(w)
  ])
  const headOf = (world: string | null): RecordHead => ({
    start: startText({ ...start, rules: current.current }),
    world,
    rules: current.current
  })
  rec.ways(ruleText, () => E.map(headOf)(worldText(w)))
  if (o.from === undefined) rec.begin(headOf(null))
  let turns = 0
  const look = (): void => {
    for (const f of w.features.effects) f()
  }
  rings.watch = look
  /** The turn before is over: its effects are carried out, and what they name is not needed any more. */
  const begin = (): void => {
    look()
    dropEffects(rings)
  }
  const handle = (n: number, now: Instant): void => {
    rings.clock[0] = now
    turns++
    if (turns === o.from || turns === o.again) rec.ask(true)
    handleTurn(w, n, now)
  }
  run({
    w,
    turn: (n, now) => {
      begin()
      handle(n, now)
    },
    come: (came, now) => {
      begin()
      const places = bring(rings, came)
      handle(came.length, now)
      return places
    },
    listen: (id, on) => {
      if (on) listeners.set(id, { rule: start.rules[id & 1]!, port: 1000 + id })
      else listeners.delete(id)
      // what the scan of ports calls
      noted(door)
    }
  })
  look()
  rec.finish({ ...recordEnd(null, w.counters), why: o.why ?? 'error' })
  if (o.windows === true) return file
  const whole = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  parts.reduce((at, p) => {
    whole.set(p, at)
    return at + p.length
  }, 0)
  return whole
}
const noted = (door: Native): void => {
  try {
    door.closeListener(-1)
  } catch {
    // there is no such method here: what counts is that it was called
  }
}

/** The turns of a file, and its end. */
export const opened = (
  file: Uint8Array
): {
  readonly start: StartRecord
  readonly hasWorld: boolean
  readonly turns: RecordedTurn[]
  readonly end: RecordEnd
} => {
  const r = openRecording(octets(file))
  if (E.isLeft(r)) assert.fail(r.left)
  const turns = [...r.right.recording.turns]
  const { start, world } = r.right.recording
  return { start, hasWorld: world !== null, turns, end: r.right.end }
}

/** Turn by turn, up to the first difference, with it. */
export const replayed = (file: Uint8Array): { readonly all: Replayed[]; readonly counters: unknown } => {
  const r = openRecording(octets(file))
  if (E.isLeft(r)) assert.fail(r.left)
  const { recording } = r.right
  const p = replayer(recording)
  const all: Replayed[] = []
  for (const t of recording.turns) {
    const one = p.turn(t)
    all.push(one)
    if (one.difference !== null) break
  }
  return { all, counters: Object.fromEntries(p.world.counters) }
}
export const at = (ms: number): Instant => instant(ms)
