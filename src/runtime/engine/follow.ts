import * as E from 'fp-ts/lib/Either.js'
import * as rt from '../../codecs/kernel/rtnetlink.js'
import { EMPTY_RESOLV_CONF, ResolvConf } from '../../codecs/text/resolv-conf.js'
import { EHOSTUNREACH, ENETUNREACH } from '../../codecs/value/errno.js'
import { type InAny, sameAddr, showAddr } from '../../codecs/value/inany.js'
import { linksOf } from '../../machines/address/on-link.js'
import { HOST_RESOLVER, HOST_TABLES, type Native } from '../abi/abi.js'
import { hostBell } from '../abi/events.js'
import type { Options } from '../cli/option-table.js'
import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import { ask, type HostTables, type NetlinkFailure, type NetlinkRequest, own } from '../host/host.js'
import { type AskHost, type KnownRoutes, lookAtHost } from '../host/host-tables.js'
import {
  asGiven,
  type Change,
  changesOf,
  endLingering,
  type Gone,
  goneNow,
  type HostNow,
  kept,
  lingers,
  lookAtRoute,
  unlike
} from '../plan/changes.js'
import { leftOut, type Made, madeOf, type Step } from '../plan/config-net.js'
import { plan as planOf } from '../plan/plan.js'
import type { FamilyPlan, Plan } from '../plan/plan-types.js'
import type { NamespaceIs } from './api-status.js'
import { toldOf, toldText } from './host-told.js'

// Following the host (docs/behaviour.md#following). What rings makes a new plan, by the functions that made the first one; the changes go to
// the namespace, and then the world hears of them. All of it in slices, beside packets, and never more often than the pauses say: a host whose
// tables flap is looked at now and then. No part of what is recorded: that is what the world hears (followed.ts).

/** ms from what rings until the host is looked at: what belongs together has come by then. */
const SETTLE = 100
/** ms between two looks, and for each entry that the last one took. */
const PAUSE = 1000
const PAUSE_EACH = 0.5
/** ms. At the start the world is there first; a look finds what has changed meanwhile. */
const FIRST = 1000
/** ms that the host's router may be missing before its routes are followed without one. */
const PATIENCE = 5000
/** ms that the host may have another address, and not that one, before its flows end: a link that comes up again has one after the other. */
const GRACE = 10_000
/** ms between two looks whether an address still has flows that it was kept for. */
const LINGER = 2000
/** Requests to the namespace in one slice, some 50 µs each, and ms until the next one. */
const STEPS = 2
const STEP_PAUSE = 4
/** Addresses that went and are kept for flows. */
const LINGERING_MAX = 8

/** Groups of rtnetlink(7), as bits: links, addresses, routes, rules of both IP versions. */
export const FOLLOWED_GROUPS = 0x1 | rt.RTMGRP_IFADDR | 0x40 | 0x400 | 0x80 | 0x40000

export type FollowNative = AskHost & Pick<Native, 'hostArm' | 'hostResolverSaid' | 'hostTell'>

export interface Followed {
  readonly options: Options
  readonly plan: Plan
  /** Another plan holds from here on. */
  readonly changed: (p: Plan) => void
  /** The namespace is another one. null: nobody wants to know. */
  readonly configured: ((is: NamespaceIs) => void) | null
  readonly host: HostNow
  readonly conf: E.Either<string, ResolvConf>
  /** As for withAskedDefaults(). */
  readonly uid: number | null
  /** Ifindex in the namespace that is configured, and who carries that out. null: none is. */
  readonly namespace: { readonly tap: number; readonly request: NetlinkRequest } | null
}

type Slices<A> = Generator<number, A, void>

const endsAt = (g: Gone): number => (g.since === null ? Number.POSITIVE_INFINITY : g.since + GRACE)

const NOTHING_MADE: Made = { addresses: [], routes: [] }

/** As at the start: an IP version that the namespace does not have stays off. */
const planAgain = (f: Followed, host: HostNow, conf: Followed['conf']): Plan | null => {
  const p = planOf(f.options, host.host, conf)
  if (E.isLeft(p)) return null
  const v4 = f.plan.v4 === null ? null : p.right.v4
  const v6 = f.plan.v6 === null ? null : p.right.v6
  return { ...p.right, v4, v6, dhcp: p.right.dhcp && v4 !== null, dhcpv6: p.right.dhcpv6 && v6 !== null }
}

const inWords = (f: FamilyPlan | null): ReadonlyArray<string> =>
  f === null || f.assigned === null
    ? []
    : [
        `${showAddr(f.assigned)}/${f.prefixLen}` +
          (f.gateway === null ? ', no router' : `, router ${showAddr(f.gateway)}`) +
          (f.dns.length === 0 ? '' : `, name server ${f.dns.map(showAddr).join(' ')}`)
      ]

/** Flows of the guest that have this address. */
const hasFlows = (w: World, a: InAny): boolean =>
  w.flows.some((f) => f !== undefined && 'guestAddr' in f && sameAddr(f.guestAddr, a))

/** What became of a list of changes: all of them were carried out but for what was left out, or none. */
interface Outcome {
  readonly done: boolean
  /** Those that add what is not ours: it was there, or could not be had. */
  readonly notOurs: ReadonlySet<Step>
  readonly says: ReadonlyArray<string>
}

const WAITS_FOR_OTHERS = [ENETUNREACH, EHOSTUNREACH]

/** All changes, in order, or none: what was done is taken back where one fails. Routes may wait for others; what has no way is left out. */
export function* carryOut(request: NetlinkRequest, changes: ReadonlyArray<Change>): Slices<Outcome> {
  const notOurs = new Set<Step>()
  const says: string[] = []
  const done: Change[] = []
  const run = (s: Step): NetlinkFailure | null => {
    const r = ask(request)(s.request)
    return E.isLeft(r) ? r.left : null
  }
  let count = 0
  let waiting: { readonly change: Change; readonly why: NetlinkFailure }[] = []
  let left: ReadonlyArray<Change> = changes
  while (left.length > 0) {
    waiting = []
    for (const change of left) {
      const { step } = change
      const failed = run(step)
      if (++count % STEPS === 0) yield STEP_PAUSE
      if (failed === null) done.push(change)
      else if (step.tolerate.includes(failed.errno)) {
        if (change.of !== null) notOurs.add(step)
      } else if (step.retry.some((e) => e === failed.errno && WAITS_FOR_OTHERS.includes(e)))
        waiting.push({ change, why: failed })
      else if (step.optional !== null) {
        notOurs.add(step)
        says.push(`left out ${step.optional}: ${failed.message}`)
      } else {
        for (const { undo } of done.reverse()) {
          run(undo)
          if (++count % STEPS === 0) yield STEP_PAUSE
        }
        return { done: false, notOurs, says: [`cannot ${step.what}: ${failed.message}`] }
      }
    }
    const next = waiting.map((x) => x.change)
    if (next.length === left.length) break
    left = next
  }
  for (const { change, why } of waiting) {
    notOurs.add(change.step)
    says.push(`left out ${change.step.optional}: ${why.message}`)
  }
  return { done: true, notOurs, says }
}

/** Routes looked at in one slice, some µs each where they are new. */
const ROUTES = 64
function* inSlices(routes: ReadonlyArray<rt.Route>): Slices<void> {
  for (const [i, r] of routes.entries()) {
    lookAtRoute(r)
    if (i % ROUTES === ROUTES - 1) yield 0
  }
}

/** leftOut(), in slices. */
function* leftOutOf(p: Plan, tables: HostTables): Slices<ReadonlyArray<string>> {
  const all = [...leftOut(p, { ...tables, routes4: [], routes6: [] })]
  for (const of of ['routes4', 'routes6'] as const)
    for (let i = 0; i < tables[of].length; i += ROUTES) {
      const some = { addresses: [], routes4: [], routes6: [], [of]: tables[of].slice(i, i + ROUTES) }
      all.push(...leftOut(p, some))
      yield 0
    }
  return all
}

/** Without what is not ours. */
const without = (made: Made, changes: ReadonlyArray<Change>, notOurs: ReadonlySet<Step>): Made => {
  if (notOurs.size === 0) return made
  const lost = new Set(changes.filter((c) => notOurs.has(c.step)).map((c) => c.of))
  return {
    addresses: made.addresses.filter((a) => !lost.has(a)),
    routes: made.routes.filter((r) => !lost.has(r))
  }
}

/** Looks at the host when something rings, and lets the namespace and the world know. */
export const follow = (w: World, native: FollowNative, f: Followed): Feature => {
  const { namespace } = f
  const deadline = new Deadline(0)
  const rung = { tables: true, conf: false }
  /** Nothing is at work: who rings is heard at once. */
  let idle = false
  let now = 0
  let held = asGiven(f.plan, f.host)
  let conf = f.conf
  let raw = f.host.tables
  let made: Made = namespace === null ? NOTHING_MADE : madeOf(f.plan, namespace.tap, f.host.tables)
  let lingering: ReadonlyArray<rt.Address> = []
  let known: KnownRoutes = new Map()
  let gone: ReadonlyArray<Gone> = []
  let missingSince = Number.POSITIVE_INFINITY
  let current = f.plan
  const textOf = (p: Plan, tables: HostTables): string => toldText(toldOf(p, linksOf(tables.addresses), []))
  let told = textOf(f.plan, f.host.tables)

  function* toNamespace(p: Plan, host: HostNow): Slices<boolean> {
    if (namespace === null) return true
    const wanted = madeOf(p, namespace.tap, host.tables)
    for (const routes of unlike(made, wanted)) yield* inSlices(routes)
    const inUse = (a: InAny): boolean => lingering.length < LINGERING_MAX && hasFlows(w, a)
    const changes = changesOf(made, wanted, lingering, inUse)
    const stay = lingers(made, wanted, inUse)
    const outcome = yield* carryOut(namespace.request, changes)
    for (const line of outcome.says) w.log.event('follow', 'warning', `following the host: ${line}`)
    if (!outcome.done) return false
    made = without(wanted, changes, outcome.notOurs)
    const back = (a: rt.Address): boolean =>
      wanted.addresses.some((b) => a.family === b.family && String(own(a)) === String(own(b)))
    lingering = [...lingering.filter((a) => !back(a)), ...stay]
    if (f.configured !== null)
      f.configured({
        made,
        leftOut: [
          ...(yield* leftOutOf(p, host.tables)),
          ...outcome.says.map((line) => line.replace(/^left out /, ''))
        ]
      })
    return true
  }

  function* apply(): Slices<void> {
    const p = planAgain(f, held, conf)
    if (p === null) return
    const text = textOf(p, held.tables)
    const isSame = text === told
    // Routes alone are no matter to the world
    if (!(yield* toNamespace(p, held))) return
    if (isSame) return
    current = p
    f.changed(p)
    told = text
    const words = [...inWords(p.v4), ...inWords(p.v6)]
    w.log.event(
      'follow',
      'info',
      `the host has changed: ${words.length === 0 ? 'no addresses' : words.join('; ')}`
    )
    native.hostTell(new TextEncoder().encode(text))
  }

  function* look(): Slices<number> {
    rung.tables = false
    native.hostArm(HOST_TABLES)
    const found = yield* lookAtHost(native, f.options, f.uid, known)
    if (found === null) return 0
    known = found.routes
    const is: HostNow = { host: found.host, tables: found.tables }
    gone = goneNow(gone, raw.addresses, is, now)
    raw = found.tables
    const first = kept(held, is, true)
    if (!first.waits) missingSince = Number.POSITIVE_INFINITY
    else if (missingSince === Number.POSITIVE_INFINITY) missingSince = now
    held = now - missingSince >= PATIENCE ? kept(held, is, false).now : first.now
    return found.cost
  }

  const hear = (): boolean => {
    const text = native.hostResolverSaid()
    if (native.hostArm(HOST_RESOLVER) !== 0)
      w.log.event('follow', 'warning', '/etc/resolv.conf is not followed any more: who watches it has ended')
    rung.conf = false
    if (text === null) return false
    conf = E.right(E.getOrElse(() => EMPTY_RESOLV_CONF)(ResolvConf.decode(new TextDecoder().decode(text))))
    return true
  }

  const endFlows = (): void => {
    const due = gone.filter((g) => endsAt(g) <= now).map((g) => g.addr)
    if (due.length === 0) return
    gone = gone.filter((g) => endsAt(g) > now)
    w.log.event(
      'follow',
      'info',
      `the host has no longer ${due.map(showAddr).join(' ')}: flows from there end`
    )
    native.hostTell(new TextEncoder().encode(toldText(toldOf(current, linksOf(held.tables.addresses), due))))
  }

  const endLingerings = (): void => {
    if (namespace === null) return
    const idleOnes = lingering.filter((a) => !hasFlows(w, own(a) ?? [0, 0, 0, 0]))
    for (const a of idleOnes) ask(namespace.request)(endLingering(a).request)
    lingering = lingering.filter((a) => !idleOnes.includes(a))
  }

  /** ms until something is due that nobody rings for. */
  const untilDue = (): number =>
    Math.min(
      ...gone.map((g) => endsAt(g) - now),
      missingSince + PATIENCE - now,
      lingering.length === 0 ? Number.POSITIVE_INFINITY : LINGER
    )

  function* work(): Slices<never> {
    yield FIRST
    for (;;) {
      while (!rung.tables && !rung.conf) {
        const wait = untilDue()
        if (wait <= 0) break
        idle = true
        yield wait
        idle = false
        endFlows()
        endLingerings()
      }
      yield SETTLE
      if (rung.conf && hear()) yield 0
      const waitsForRouter = now - missingSince >= PATIENCE
      const cost = rung.tables || waitsForRouter ? yield* look() : 0
      if (waitsForRouter) missingSince = Number.POSITIVE_INFINITY
      yield* apply()
      endFlows()
      endLingerings()
      yield PAUSE + PAUSE_EACH * cost
    }
  }
  const steps = work()
  return {
    name: 'what the host announces',
    deadline,
    takes: {
      HOST_BELL: (i, at) => {
        if (hostBell(w.rings.ev, i) === HOST_RESOLVER) rung.conf = true
        else rung.tables = true
        if (idle) deadline.at = at
      }
    },
    onTime: (at) => {
      now = at
      deadline.at = at + (steps.next().value as number)
    }
  }
}
