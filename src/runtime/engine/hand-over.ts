import * as E from 'fp-ts/lib/Either.js'
import type { ClientPart } from '../../codecs/control/conf.js'
import {
  HAND_OVER_VERSION,
  HANDED_MAX,
  type HandedEnds,
  type HandedFlow,
  type HandedListener,
  HandOverAnswer,
  HandOverQuestion,
  REST_MAX,
  type SocketFile
} from '../../codecs/control/hand-over.js'
import type { Instant } from '../../effects/effect.js'
import { partOf } from '../../machines/forward/conf-rules.js'
import { listensAtPath } from '../../machines/forward/forward-rules.js'
import { type HandOverEffect, type HandOverEvent, handOverMachine } from '../../machines/link/hand-over.js'
import { handedOf } from '../../machines/tcp/tcp-handed.js'
import {
  HAND_API,
  HAND_CAME,
  HAND_CLIENTS,
  HAND_CONF,
  HAND_FLOW,
  HAND_GUEST,
  HAND_HELPERS,
  HAND_LISTENER,
  HAND_OVER
} from '../abi/abi.js'
import {
  type Handed,
  handOverAnswer,
  handOverClose,
  handOverGuest,
  handOverHold,
  tcpFreeze,
  tcpThaw
} from '../abi/effects.js'
import { handOverAsked, handOverPeer } from '../abi/events.js'
import { deliver } from '../data/deliver.js'
import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import type { FlowAddresses, TcpFlow, UdpFlow } from '../flow/flow.js'
import { leafOf } from '../flow/kinds.js'
import { compile } from '../machine/compile.js'
import type { LinkClient } from './guest-link.js'
import type { RulesNow } from './live-rules.js'
import { flowRecords, isOpen, isOver, SETTLING } from './migrate-out.js'

// Another process takes our place: machines/link/hand-over.ts decides, native (addon/handover.h) listens and hands descriptors over. The
// other side: take-over.ts.

const machine = compile<typeof handOverMachine, HandOverEffect>(handOverMachine)

/** What there is to hand over beside flows. */
export interface Here {
  readonly mode: string
  /** null: nothing, with --splice-only. */
  readonly guest:
    | { readonly kind: 'link' }
    /** `helpers`: passt-repair(1) finds us. */
    | { readonly kind: 'vhost-user'; readonly helpers: boolean }
    | {
        readonly kind: 'tap'
        readonly name: string
        readonly index: number
        readonly vnet: boolean
        readonly mac: number
      }
    | null
  /** The control socket and the API's, by which rules change; the latter null once its process has ended. */
  readonly conf: SocketFile | null
  readonly api: () => SocketFile | null
  readonly rules: RulesNow
  /** What was begun in our namespaces is to outlive us. */
  readonly left: () => void
}

type Going = TcpFlow | UdpFlow
interface Answered {
  readonly answer: HandOverAnswer
  readonly descriptors: ReadonlyArray<Handed>
}

const refused = (why: string): Answered => ({ answer: { answer: 'refused', why }, descriptors: [] })
const endsOf = (f: FlowAddresses): HandedEnds => ({
  v6: f.v6,
  guestMac: f.guestMac,
  ourMac: f.ourMac,
  guestAddr: f.guestAddr,
  guestPort: f.guestPort,
  ourAddr: f.ourAddr,
  ourPort: f.ourPort,
  hostAddr: f.hostAddr,
  hostPort: f.hostPort,
  arrival:
    f.arrival === null
      ? null
      : {
          listener: f.arrival.listener >>> 0,
          addr: f.arrival.addr,
          port: f.arrival.port,
          scope: f.arrival.scope
        }
})

/** What with an answer to `begin` leads to the guest. */
const wayTo = (guest: Here['guest']): ReadonlyArray<Handed> => {
  switch (guest?.kind) {
    case undefined:
      return []
    case 'tap':
      return [[HAND_GUEST, 0]]
    case 'link':
      return [[HAND_CLIENTS, 0]]
    case 'vhost-user':
      return [[HAND_CLIENTS, 0], ...(guest.helpers ? [[HAND_HELPERS, 0] as const] : [])]
  }
}

export const handOver = (w: World, here: Here, { session }: Pick<LinkClient, 'session'>): Feature => {
  const r = w.rings
  const deadline = new Deadline()
  let state = machine.start(undefined, [])
  let dueAt = Number.POSITIVE_INFINITY
  /** To be done behind so many more turns. */
  let later: { turns: number; readonly step: (now: Instant) => void } | null = null
  let frozen: TcpFlow[] = []
  let going: Going[] = []
  let ended = 0
  let rest: Uint8Array = new Uint8Array(0)
  /** Descriptors with what came. */
  let restFds = 0
  let left = false
  /** Whose turn it is: one more whenever somebody comes or goes. */
  let peer = 0
  let began: Instant | null = null

  /** In the control socket's words; null: they are those of the options. */
  const changedRules = ({ changed, current }: RulesNow): ClientPart | null =>
    changed ? partOf(current, w.cfg.forward.mode) : null
  const arm = (): void => {
    deadline.at = later === null ? dueAt : 0
  }
  const behind = (turns: number, step: (now: Instant) => void): void => {
    later = { turns, step }
    arm()
  }
  const listenersFrom = (from: number): Answered => {
    const some = [...w.listeners].slice(from, from + HANDED_MAX)
    return {
      answer: {
        answer: 'listeners',
        list: some.map(
          ([id, { rule, port }]): HandedListener => ({
            id,
            proto: rule.proto,
            direction: rule.direction,
            bind: rule.bind,
            v6only: rule.v6only,
            ifname: rule.ifname,
            port,
            given: rule.given,
            path: listensAtPath(rule)
          })
        )
      },
      descriptors: some.map(([id]) => [HAND_LISTENER, id])
    }
  }
  const flowsFrom = (from: number): Answered => {
    const some = going.slice(from, from + HANDED_MAX)
    const tcp = some.filter((f): f is TcpFlow => f.kind === 'tcp')
    const records = flowRecords(w, tcp)
    // As they stand in `going`: connections first
    const list: HandedFlow[] = [
      ...tcp.map((f, i) => ({
        kind: 'tcp' as const,
        ends: endsOf(f),
        record: records[i],
        ...handedOf(f.state.context.tcb)
      })),
      ...some.filter((f) => f.kind === 'udp').map((f) => ({ kind: 'udp' as const, ends: endsOf(f) }))
    ]
    return {
      answer: { answer: 'flows', list },
      descriptors: some.map((f) => [HAND_FLOW, f.index])
    }
  }
  const taken = (): Answered => {
    const { v4, v6, linkLocal6, mac, announced, up } = w.guest
    const stays = session?.stays() ?? null
    if (stays !== null) return refused(stays)
    const link = session === null ? here.guest?.kind === 'link' && up : session.isThere()
    const none = new Uint8Array(0)
    const { came, unsent, descriptors } = link
      ? r.native.linkRest()
      : { came: none, unsent: none, descriptors: 0 }
    rest = Buffer.concat([came, unsent])
    restFds = descriptors
    return {
      answer: {
        answer: 'take',
        guest: { v4, v6, linkLocal6, mac, announced },
        flows: going.length,
        ended,
        client: link,
        came: came.length,
        unsent: unsent.length
      },
      descriptors: link ? [[HAND_GUEST, 0]] : []
    }
  }
  const sessionHanded = (): Answered => {
    if (session === null || !session.isThere()) return refused('there is no vhost-user session')
    const all = session.handed()
    const came = Array.from({ length: restFds }, (_, i): Handed => [HAND_CAME, i])
    return {
      answer: {
        answer: 'session',
        list: all.map(({ octets, fds }) => ({ octets, fds: fds.length })),
        came: restFds
      },
      descriptors: [...all.flatMap(({ fds }) => fds), ...came]
    }
  }
  const answerTo = (q: HandOverQuestion): Answered => {
    switch (q.ask) {
      case 'begin': {
        if (q.version !== HAND_OVER_VERSION)
          return refused(`it hands over as version ${HAND_OVER_VERSION} does`)
        if (q.mode !== here.mode) return refused(`this is ${here.mode}`)
        const stays = session?.stays() ?? null
        if (stays !== null) return refused(stays)
        const knowsApi = q.api === true
        const api = knowsApi ? here.api() : null
        const rules = changedRules(here.rules)
        const sockets: ReadonlyArray<Handed> = [
          ...(api === null ? [] : [[HAND_API, 0] as const]),
          ...(here.conf === null ? [] : [[HAND_CONF, 0] as const])
        ]
        return {
          answer: {
            answer: 'begin',
            version: HAND_OVER_VERSION,
            guest: here.guest,
            listeners: w.listeners.size,
            api,
            // Told once
            conf: here.conf === null ? null : { ...here.conf, rules: knowsApi ? null : rules },
            rules: knowsApi ? rules : null
          },
          descriptors: [[HAND_OVER, 0], ...wayTo(here.guest), ...sockets]
        }
      }
      case 'listeners':
        return listenersFrom(q.from)
      case 'take':
        return taken()
      case 'flows':
        return flowsFrom(q.from)
      case 'rest':
        return {
          answer: { answer: 'rest', octets: rest.subarray(q.from, q.from + REST_MAX) },
          descriptors: []
        }
      case 'session':
        return sessionHanded()
      case 'done':
        return { answer: { answer: 'done' }, descriptors: [] }
    }
  }
  const standStill = (now: Instant): void => {
    began = now
    ended = 0
    frozen = []
    handOverHold(r, true)
    for (const f of w.flows) {
      if (f?.kind !== 'tcp') continue
      if (isOpen(f)) {
        f.held = true
        tcpFreeze(r, f.index, true)
        frozen.push(f)
      } else if (!isOver(f)) ended++
    }
    behind(SETTLING, (at) => {
      const open = frozen.filter((f) => w.flows[f.index] === f && f.sockOpen)
      for (const f of open) deliver(w, f, { type: 'FROZEN', now: at }, false)
      const udp = w.flows.filter(
        (f): f is UdpFlow => f?.kind === 'udp' && f.sockOpen && !w.out.isGroup(f.hostAddr)
      )
      going = [...open, ...udp]
      session?.standStill(true)
      // Its rings are where they are once all that was asked for has been carried out
      behind(1, (then) => step({ type: 'SETTLED', now: then }))
    })
  }
  const goOn = (now: Instant): void => {
    handOverHold(r, false)
    session?.standStill(false)
    for (const f of frozen) {
      if (w.flows[f.index] !== f) continue
      f.held = false
      tcpThaw(r, f.index)
      deliver(w, f, { type: 'THAWED', now })
    }
    frozen = []
    going = []
    w.log.at('warning', 'restart: whoever was to take our place is gone: we go on')
  }
  const pairs = (): boolean => w.flows.some((f) => f?.kind === 'tcp-splice')
  const stop = (): void => {
    w.ended = { why: 'stop' }
  }
  /** All but spliced connections ends here: what the other one has, without a word; what was opening, with a reset. */
  const letGo = (now: Instant): void => {
    for (const f of w.flows) {
      if (f === undefined || f.kind === 'tcp-splice') continue
      // The guest's SYN comes again, and finds the other
      const comesAgain = f.kind === 'tcp' && f.arrival === null && leafOf(f, f.state.node) === 'connecting'
      const away = f.kind === 'tcp' && (f.held || comesAgain)
      deliver(w, f, { type: away ? 'MOVED_AWAY' : 'STOP', now })
    }
  }
  /** What cannot go along, spliced connections, goes on here until it ends. */
  const linger = (): void => {
    const forFlows = w.features.timed.filter((t) => t.forFlows)
    w.features.timed.splice(0, w.features.timed.length, { deadline, onTime, forFlows: false }, ...forFlows)
    for (const id of w.listeners.keys()) r.native.closeListener(id)
    w.listeners.clear()
    handOverHold(r, false)
    if (!pairs()) behind(1, stop)
  }
  const leave = (n: { readonly taken: number; readonly lost: number }, now: Instant): void => {
    left = true
    here.rules.leave()
    // No word of ours gets there any more, between those of the other one
    handOverGuest(r)
    const ms = began === null ? 0 : now - began
    w.log.at(
      'info',
      `restart: another process serves from here on: ${n.taken} flows handed over, ${n.lost + ended} ended, ${ms.toFixed(0)} ms`
    )
    here.left()
    // The other one waits for its answer, and everybody for the other one
    behind(1, (at) => {
      letGo(at)
      if (!pairs()) return behind(1, stop)
      w.log.at('info', 'restart: spliced connections go on here until they end')
      linger()
    })
  }
  const carryOut = (e: HandOverEffect, now: Instant): void => {
    switch (e.type) {
      case 'ArmDeadline':
        dueAt = e.at
        return arm()
      case 'StandStill':
        return standStill(now)
      case 'GoOn':
        later = null
        arm()
        return goOn(now)
      case 'Reply': {
        // What it is told of them is to stay true
        if (e.question.ask === 'begin' && here.rules.busy()) {
          const asker = peer
          return behind(1, (at) => (peer === asker ? carryOut(e, at) : undefined))
        }
        const { answer, descriptors } = answerTo(e.question)
        handOverAnswer(r, HandOverAnswer.encode(answer), descriptors)
        return answer.answer === 'refused' ? handOverClose(r) : undefined
      }
      case 'HangUp':
        w.log.event('link', 'warning', `restart: whoever was to take our place ${e.why}`)
        return handOverClose(r)
      case 'Leave':
        return leave(e, now)
    }
  }
  const step = (e: HandOverEvent): void => {
    const effects: HandOverEffect[] = []
    state = machine.step(state, e, effects)
    for (const one of effects) carryOut(one, e.now)
  }
  const onTime = (now: Instant): void => {
    const l = later
    if (l !== null && l.turns-- <= 0) {
      later = null
      l.step(now)
    }
    if (now >= dueAt) {
      dueAt = Number.POSITIVE_INFINITY
      step({ type: 'DEADLINE', now })
    }
    arm()
  }
  return {
    name: 'hand-over',
    deadline,
    onTime,
    takes: {
      HAND_OVER_PEER: (i, now) => {
        const there = handOverPeer(r.ev, i)
        peer++
        here.rules.held = there
        here.rules.wake()
        step({ type: 'PEER', there, now })
      },
      HAND_OVER_ASKED: (i, now) => {
        const q = HandOverQuestion.decode({ view: r.view, ...handOverAsked(r.ev, i) })
        if (E.isLeft(q)) step({ type: 'FAULTY', now })
        else step({ type: 'ASKED', question: q.right, now })
      }
    },
    flowEnded: (f) => {
      if (left && f.kind === 'tcp-splice' && !pairs()) behind(1, stop)
    }
  }
}
