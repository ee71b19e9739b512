import * as E from 'fp-ts/lib/Either.js'
import {
  type ClientPart,
  CONF_VERSION,
  type ConfReader,
  clientReader,
  isWhole,
  readOn,
  ServerPart
} from '../../codecs/control/conf.js'
import { bytesOf } from '../../codecs/value/octets.js'
import type { Instant } from '../../effects/effect.js'
import {
  type ConfClientContext,
  type ConfClientEffect,
  type ConfClientEvent,
  confClientMachine
} from '../../machines/forward/conf-client.js'
import {
  type ConfEnv,
  capabilitiesOf,
  isTold,
  keptFrom,
  merged,
  ofTables,
  showConfRule,
  type Tables,
  tablesIn,
  tablesOf,
  toConfRule,
  toTables
} from '../../machines/forward/conf-rules.js'
import type { Rule } from '../../machines/forward/forward-rules.js'
import { confClose, confSend } from '../abi/effects.js'
import { confCame, confClientOf, confOctets } from '../abi/events.js'
import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import { DueAt, keeping } from '../flow/keeps.js'
import { compile, type State } from '../machine/compile.js'
import type { AskRules } from '../record/answers.js'

// Rules that change while all runs (behaviour.md#live-rules): each client is a machine (machines/forward/conf-client.ts); what they ask for is done
// one after the other, in slices.

/** Other rules that somebody wants. */
export interface Wish {
  /** What there is to be in place of `now`. A string: why that cannot be. */
  readonly edit: (now: Tables) => Tables | string
  /** `why` all is as it was; null: all is as was asked for, and `changed` if it was not so before. */
  readonly done: (why: string | null, changed: boolean) => void
}

/** What others see of it. */
export interface RulesNow {
  current: ReadonlyArray<Rule>
  /** They are not those of the options any more. */
  changed: boolean
  /** While another process takes our place: what it was told is to stay true. */
  held: boolean
  /** They are being changed. */
  busy: () => boolean
  /** Look again whether it is. */
  wake: () => void
  /** It is carried out when those before it have been; refused at once while `held`. */
  ask: (wish: Wish) => void
  /** It has: whoever is still there is told nothing more. */
  leave: () => void
}
export const rulesNow = (current: ReadonlyArray<Rule>, changed = false): RulesNow => ({
  current,
  changed,
  held: false,
  busy: () => false,
  wake: () => {},
  ask: () => {},
  leave: () => {}
})

export const machine = compile<typeof confClientMachine, ConfClientEffect>(confClientMachine)

/** In the queue. */
interface Waiting {
  /** Of a client of the control socket; null: of the API's, which is refused what a client hears of by the log. */
  readonly pid: number | null
  readonly edit: Wish['edit']
  /** It was looked at: `why` it cannot be, or null and whether something is to be done. */
  readonly looked: (why: string | null, changes: boolean, now: Instant) => void
  readonly applied: (why: string | null, now: Instant) => void
}
interface Client {
  readonly id: number
  readonly pid: number
  state: State<ConfClientContext>
  reader: ConfReader<ClientPart>
  /** What it was told. */
  base: Tables
  /** What it asks for; null: nothing yet. */
  wanted: Waiting | null
  dueAt: number
}
const NO_MORE = Number.POSITIVE_INFINITY

/** Of a request, what each table is to have. A string: why it is none. */
const askedTables = (env: ConfEnv, request: ClientPart): Tables | string => {
  const tables = tablesOf(env.mode)
  if (request.some((b) => !tables.some(({ pif }) => pif === b.pif))) return 'rules for non-existent table'
  return tablesIn(request, env.mode)
}

export const liveRules = (w: World, rules: RulesNow, door: AskRules): Feature => {
  const { cfg, log } = w
  const env: ConfEnv = { mode: cfg.forward.mode, tcp: cfg.tcp, udp: cfg.udp, v4: cfg.v4, v6: cfg.v6 }
  const deadline = new Deadline()
  const clients = new Map<number, Client>()
  const queue: Waiting[] = []
  /** At work. */
  let job: { readonly of: Waiting; readonly wanted: ReadonlyArray<Rule> } | null = null
  /** What the one whose turn it is asks for, as rules. */
  let found: ReadonlyArray<Rule> = []

  const arm = (): void => {
    let at = job !== null || (queue.length > 0 && !rules.held) ? 0 : NO_MORE
    for (const c of clients.values()) at = Math.min(at, c.dueAt)
    deadline.at = at
  }
  rules.wake = arm
  rules.busy = () => job !== null
  const greet = (c: Client): void => {
    c.base = toTables(rules.current, env.mode)
    const capabilities = capabilitiesOf(env)
    const tables = tablesOf(env.mode).map(({ pif, name }, i) => ({
      pif,
      name,
      capabilities,
      rules: c.base[i] ?? []
    }))
    confSend(w.rings, c.id, ServerPart.encode({ version: CONF_VERSION, tables }))
  }
  const hangUp = (c: Client, why: string | null): void => {
    confClose(w.rings, c.id)
    clients.delete(c.id)
    const at = c.wanted === null ? -1 : queue.indexOf(c.wanted)
    if (at >= 0) queue.splice(at, 1)
    if (why === null) return
    const [first = '', ...more] = why.split('\n')
    log.event('control', 'warning', `Configuration client (PID ${c.pid}): ${first}`, more)
  }
  rules.leave = () => {
    for (const c of [...clients.values()])
      hangUp(
        c,
        c.wanted !== null && queue.includes(c.wanted)
          ? 'another process has taken our place, which it is to ask again'
          : null
      )
  }
  const begin = (of: Waiting): void => {
    job = { of, wanted: found }
    door.begin(found)
  }
  const wantedBy = (c: Client, request: ClientPart): Waiting => ({
    pid: c.pid,
    edit: (now) => {
      const asked = askedTables(env, request)
      return typeof asked === 'string' ? asked : merged(c.base, asked, now)
    },
    looked: (why, changes, now) => step(c, { type: 'TURN', why, changes, now }),
    applied: (why, now) => step(c, { type: 'APPLIED', why, now })
  })
  rules.ask = ({ edit, done }) => {
    // Whoever is told nothing waits, and others behind it, for as long as the other process takes
    if (rules.held) return done('another process is taking our place: ask again', false)
    const one: Waiting = {
      pid: null,
      edit,
      looked: (why, changes) => (why === null && changes ? begin(one) : done(why, false)),
      applied: (why) => done(why, why === null)
    }
    queue.push(one)
    arm()
  }
  const carryOut = (c: Client, e: ConfClientEffect): void => {
    switch (e.type) {
      case 'ArmDeadline':
        c.dueAt = e.at
        return
      case 'Greet':
        return greet(c)
      case 'Queue':
        c.wanted = wantedBy(c, e.request)
        c.dueAt = NO_MORE
        queue.push(c.wanted)
        return
      case 'Apply':
        return c.wanted === null ? undefined : begin(c.wanted)
      case 'HangUp':
        return hangUp(c, e.why)
    }
  }
  const step = (c: Client, e: ConfClientEvent): void => {
    const effects: ConfClientEffect[] = []
    c.state = machine.step(c.state, e, effects)
    for (const one of effects) carryOut(c, one)
  }

  /** The next one's request, on top of what the others have made of the rules meanwhile. */
  const look = (of: Waiting, now: Instant): void => {
    const wanted = of.edit(toTables(rules.current, env.mode))
    if (typeof wanted === 'string') return of.looked(wanted, false, now)
    const all = ofTables(env, wanted, rules.current)
    if (E.isLeft(all)) return of.looked(all.left, false, now)
    found = all.right
    for (const r of keptFrom(wanted, rules.current, env.mode)) {
      const stays = `${showConfRule(toConfRule(r)).trimEnd()} ${r.unix !== null ? `leads to ${r.unix.path}` : `listens by a descriptor that we were started with (${r.given})`}: it stays`
      if (of.pid === null) return of.looked(stays, false, now)
      log.event('control', 'warning', `Configuration client (PID ${of.pid}): ${stays}`)
    }
    const same = found.length === rules.current.length && found.every((r, i) => r === rules.current[i])
    of.looked(null, !same, now)
  }
  const tell = (before: ReadonlyArray<Rule>): void => {
    for (const { name, direction } of tablesOf(env.mode)) {
      const mine = (all: ReadonlyArray<Rule>): ReadonlyArray<Rule> =>
        all.filter((r) => r.direction === direction && isTold(r))
      const [old, next] = [mine(before), mine(rules.current)]
      if (next.length === old.length && next.every((r, i) => r === old[i])) continue
      const lines = next.map((r) => `    ${showConfRule(toConfRule(r))}`.trimEnd())
      log.event('rules', 'info', `New forwarding rules for ${name}:`, lines)
    }
  }
  const work = (now: Instant): void => {
    if (job === null && !rules.held) {
      const next = queue.shift()
      if (next !== undefined) look(next, now)
    }
    if (job === null) return
    const why = door.go()
    if (why === null) return
    const { of, wanted } = job
    job = null
    if (why === '') {
      const before = rules.current
      rules.current = wanted
      rules.changed = true
      tell(before)
    }
    of.applied(why === '' ? null : why, now)
  }

  const came = (i: number, now: Instant): void => {
    const { pid, allowed } = confCame(w.rings.ev, i)
    const id = confClientOf(w.rings.ev, i)
    const c: Client = {
      id,
      pid,
      state: machine.start(undefined, []),
      reader: clientReader(),
      base: [],
      wanted: null,
      dueAt: NO_MORE
    }
    clients.set(id, c)
    log.event('control client', 'info', `Accepted configuration client, PID ${pid}`)
    step(c, { type: 'CAME', allowed, now })
    arm()
  }
  const said = (i: number, now: Instant): void => {
    const c = clients.get(confClientOf(w.rings.ev, i))
    if (c === undefined) return
    const { off, len } = confOctets(w.rings.ev, i)
    if (len === 0) step(c, { type: 'ENDED', now })
    else if (!isWhole(c.reader)) {
      const next = readOn(c.reader, bytesOf({ view: w.rings.view, off, len }))
      if (typeof next === 'string') step(c, { type: 'FAULTY', why: next, now })
      else {
        c.reader = next
        if (isWhole(next)) step(c, { type: 'ASKED', request: next.place.value, now })
      }
    }
    arm()
  }

  return {
    name: 'live rules',
    keeps: keeping(
      DueAt,
      () => ({ dueAt: deadline.at }),
      ({ dueAt }) => {
        deadline.at = dueAt
      },
      () =>
        clients.size > 0 || queue.length > 0 || job !== null
          ? 'a client of the control socket is there'
          : null
    ),
    deadline,
    onTime: (now) => {
      work(now)
      for (const c of clients.values())
        if (now >= c.dueAt) {
          c.dueAt = NO_MORE
          step(c, { type: 'DEADLINE', now })
        }
      arm()
    },
    takes: { CONF_CLIENT: came, CONF_OCTETS: said }
  }
}
