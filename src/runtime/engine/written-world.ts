import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { failure } from 'io-ts/lib/PathReporter.js'
import { Addr, MacAddr, Place, Places, Real } from '../../codecs/log/written.js'
import { orNull } from '../../codecs/value/or-null.js'
import { PROTO_UDP } from '../../codecs/wire/checksum.js'
import type { CounterName } from '../../effects/counters.js'
import type { World } from '../data/world.js'
import { type Flow, isPair } from '../flow/flow.js'
import { MAX_FLOWS, TableKept } from '../flow/flow-table.js'
import { protoOfFlow } from '../flow/kinds.js'
import { QuotasKept } from '../flow/quotas.js'
import { WheelKept } from '../flow/timer-wheel.js'
import { FlowKept, flowOfKept, TCP_FIELDS, writtenFlow } from './written-flows.js'

// All that a world keeps from one turn to the next, as JSON: what a record has at its beginning that begins in the middle of a run (docs/replay.md).
// Law: a world made anew that has read it does with any further turns what the first one does. What is due to native, or to the log alone,
// is no part of it.

const OnLink = t.type({ index: Place, own: Addr, prefix: t.type({ addr: Addr, len: Place }) })
const Rest = t.type({
  /** What rows of TCP connections are of. */
  tcpFields: t.array(t.string),
  /** Places of the flow list. */
  places: Place,
  table: TableKept,
  wheel: WheelKept,
  quotas: QuotasKept,
  /** Flows whose turn is yet to end, in that order. */
  touched: Places,
  counters: t.record(t.string, t.number),
  guest: t.type({
    v4: orNull(Addr),
    v6: orNull(Addr),
    linkLocal6: orNull(Addr),
    mac: MacAddr,
    announced: t.readonlyArray(Addr),
    up: t.boolean
  }),
  links: t.readonlyArray(OnLink),
  saidAt: t.type({ shortage: Real, ports: Real }),
  errors: t.type({ tokens: Real, at: Real }),
  failures: t.record(t.string, Real),
  unixPeers: t.number,
  nextId: Place,
  /** What features keep, by their names. */
  features: t.record(t.string, t.unknown)
})

const WorldKept = t.intersection([Rest, t.type({ flows: t.array(FlowKept) })])

/** Left: why it cannot be told now; it may be in a later turn. */
export const worldText = (w: World): E.Either<string, string> => {
  for (const k of w.features.keeps.values()) {
    const why = k.busy()
    if (why !== null) return E.left(why)
  }
  const features: Record<string, unknown> = {}
  for (const [name, k] of w.features.keeps) features[name] = k.write()
  const { guest } = w
  return E.right(
    JSON.stringify({
      flows: w.flows.flatMap((f) => (f === undefined ? [] : [writtenFlow(f)])),
      ...Rest.encode({
        tcpFields: [...TCP_FIELDS],
        places: w.flows.length,
        table: w.table.kept(),
        wheel: w.wheel.kept(),
        quotas: w.quotas.kept(),
        touched: w.touched.filter((f) => w.flows[f.index] === f).map((f) => f.index),
        counters: Object.fromEntries(w.counters),
        guest: {
          v4: guest.v4,
          v6: guest.v6,
          linkLocal6: guest.linkLocal6,
          mac: guest.mac,
          announced: guest.announced,
          up: guest.up
        },
        links: w.links,
        saidAt: { ...w.saidAt },
        errors: w.errors,
        failures: Object.fromEntries(w.failures),
        unixPeers: w.unixPeers,
        nextId: w.out.nextId,
        features
      })
    } satisfies t.OutputOf<typeof WorldKept>)
  )
}

const enter = (w: World, f: Flow, places: number): boolean => {
  if (f.index >= places || w.flows[f.index] !== undefined) return false
  w.flows[f.index] = f
  const proto = protoOfFlow(f)
  if (isPair(f)) {
    const { side0, arrival } = f
    return w.table.put(f.index, proto, side0.dst, side0.dstPort, arrival.addr, arrival.port)
  }
  return w.table.put(f.index, proto, f.guestAddr, f.guestPort, f.ourAddr, f.ourPort)
}
const claim = (w: World, index: number, ourPort: number): boolean => {
  const f = w.flows[index]
  return f !== undefined && !isPair(f) && w.table.claim(index, PROTO_UDP, f.hostAddr, f.hostPort, ourPort)
}

/** Into a world that has just begun, its features installed. Not null: in words, why it does not fit. */
export const readWorld = (w: World, json: string): string | null => {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    return 'its world is no JSON'
  }
  const decoded = WorldKept.decode(value)
  if (E.isLeft(decoded)) return `its world does not fit: ${failure(decoded.left)[0]}`
  const k = decoded.right
  const not = (what: string): string => `its world does not fit: ${what}`
  if (k.tcpFields.join() !== TCP_FIELDS.join())
    return not('connections knew other things in the version that wrote it')
  if (k.places > MAX_FLOWS) return not('places')
  const flows = k.flows.map(flowOfKept)
  if (!w.table.read(k.table)) return not('the flow table')
  for (const f of flows) if (f === null || !enter(w, f, k.places)) return not('a flow')
  w.flows.length = k.places
  for (const [index, ourPort] of k.table.claims)
    if (!claim(w, index, ourPort)) return not('a port that is taken')
  if (!w.wheel.read(k.wheel)) return not('timers')
  if (!w.quotas.read(k.quotas)) return not('what flows take')
  if (k.quotas.flows.length !== flows.length || k.quotas.flows.some((q) => w.flows[q.index] === undefined))
    return not('what flows take')
  for (const index of k.touched) {
    const f = w.flows[index]
    if (f === undefined || f.touched) return not('flows of the turn before')
    f.touched = true
    w.touched.push(f)
  }
  for (const [name, n] of Object.entries(k.counters)) w.counters.set(name as CounterName, n)
  Object.assign(w.guest, k.guest)
  w.links = k.links
  Object.assign(w.saidAt, k.saidAt)
  w.errors = k.errors
  for (const [what, at] of Object.entries(k.failures)) w.failures.set(what as never, at)
  w.unixPeers = k.unixPeers
  w.out.nextId = k.nextId
  for (const isFirst of [true, false])
    for (const [name, part] of w.features.keeps)
      if (part.first === isFirst && !part.read(k.features[name])) return not(name)
  return null
}
