import { closeSync } from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import type { ClientPart } from '../../codecs/control/conf.js'
import {
  type AnswerTo,
  HAND_OVER_VERSION,
  type HandedEnds,
  type HandedFlow,
  type HandedListener,
  HandOverAnswer,
  HandOverQuestion,
  type SocketFile
} from '../../codecs/control/hand-over.js'
import { FlowRecord } from '../../codecs/control/migration.js'
import { sameAddr } from '../../codecs/value/inany.js'
import { octets } from '../../codecs/value/octets.js'
import { PROTO_UDP } from '../../codecs/wire/checksum.js'
import type { Instant } from '../../effects/effect.js'
import { mayCome } from '../../machines/address/moved-ends.js'
import { hostSideOf } from '../../machines/address/nat.js'
import { covers, type Rule } from '../../machines/forward/forward-rules.js'
import { peekedOf } from '../../machines/tcp/tcp-handed.js'
import { endsOf, movedOf } from '../../machines/tcp/tcp-move.js'
import type { Native } from '../abi/abi.js'
import { give, tcpTake } from '../abi/effects.js'
import { carryOut } from '../abi/rings.js'
import { deliver } from '../data/deliver.js'
import { openFlow } from '../data/open-flow.js'
import type { World } from '../data/world.js'
import type { Flow, FlowAddresses } from '../flow/flow.js'
import { type Inherited, inherit } from '../host/inherited.js'
import { errnoOf, failureText, reasonText } from '../log/error-text.js'
import type { HandedMessage } from './vhost.js'

// We take the place of a process that serves already (behaviour.md#restart): at first where it listens and how its guest is reached, then, when
// all is ready, its flows. The other side: hand-over.ts. Nothing of ours runs yet, so waiting for an answer holds nobody up.

/** ms for an answer. */
const ANSWER_WAIT = 5_000

type Result<A> = E.Either<string, A>
interface Answer<K extends HandOverAnswer['answer']> {
  readonly answer: AnswerTo<K>
  readonly fds: ReadonlyArray<number>
}
export interface HandedSocket extends SocketFile {
  readonly fd: number
}
export interface Predecessor {
  readonly guest: AnswerTo<'begin'>['guest']
  /** Where it was found; its tap, or where clients of its link connect, -1: it has neither. */
  readonly place: number
  readonly guestFd: number
  /** Where passt-repair(1) connects, null: nowhere. */
  readonly helpersFd: number | null
  readonly listeners: Inherited
  /** null: it has none. */
  readonly api: HandedSocket | null
  readonly conf: HandedSocket | null
  /** null: nobody has changed them. */
  readonly rules: ClientPart | null
  readonly asking: Asking
}
/** One question at a time, and its answer. */
interface Asking {
  readonly ask: (q: HandOverQuestion) => Result<void>
  readonly hear: <K extends HandOverAnswer['answer']>(kind: K) => Result<Answer<K>>
}
const answerTo = <K extends HandOverAnswer['answer']>(
  { ask, hear }: Asking,
  q: Extract<HandOverQuestion, { readonly ask: K }>
): Result<Answer<K>> =>
  pipe(
    ask(q),
    E.chain(() => hear<K>(q.ask))
  )

const closeAll = (fds: ReadonlyArray<number>): void => {
  for (const fd of fds) closeSync(fd)
}

/** Descriptors of the way to the guest: with vhost-user perhaps where passt-repair connects as well. */
const wayFds = (guest: Extract<HandOverAnswer, { readonly answer: 'begin' }>['guest']): number =>
  guest === null ? 0 : guest.kind === 'vhost-user' && guest.helpers ? 2 : 1

/** How many descriptors belong to it. */
const descriptorsOf = (a: HandOverAnswer): number => {
  switch (a.answer) {
    case 'begin':
      return 1 + wayFds(a.guest) + (a.api === null ? 0 : 1) + (a.conf === null ? 0 : 1)
    case 'session':
      return a.list.reduce((sum, { fds }) => sum + fds, a.came)
    case 'listeners':
    case 'flows':
      return a.list.length
    case 'take':
      return a.client ? 1 : 0
    default:
      return 0
  }
}

const attempt = <A>(run: () => A): Result<A> => E.tryCatch(run, (e) => failureText(errnoOf(e)))
export const asker = (native: Pick<Native, 'handOverAsk' | 'handOverHear'>, fd: number): Asking => ({
  ask: (q) => attempt(() => native.handOverAsk(fd, HandOverQuestion.encode(q))),
  hear: (kind) => {
    const said = attempt(() => native.handOverHear(fd, ANSWER_WAIT))
    if (E.isLeft(said)) return said
    const { data, fds } = said.right
    const answer = HandOverAnswer.decode(octets(data))
    const fault = E.isLeft(answer)
      ? 'it answers what we do not know'
      : answer.right.answer === 'refused'
        ? answer.right.why
        : answer.right.answer !== kind || descriptorsOf(answer.right) !== fds.length
          ? 'it answers something else'
          : null
    if (fault !== null || E.isLeft(answer)) {
      closeAll(fds)
      return E.left(fault ?? '')
    }
    return E.right({ answer: answer.right as never, fds })
  }
})

type Listed = { readonly listeners: HandedListener; readonly flows: HandedFlow }
/** All pages of a list, of `count` entries, `last`: of its page. The next one is asked for before this one is looked at: both processes have something to do. */
const pages = <K extends keyof Listed>(
  { ask, hear }: Asking,
  kind: K,
  count: number,
  each: (entry: Listed[K], fd: number, last: boolean) => void
): Result<void> => {
  const askFrom = (from: number): Result<void> =>
    from < count ? ask({ ask: kind, from } as HandOverQuestion) : E.right(undefined)
  let asked = askFrom(0)
  for (let from = 0; from < count; ) {
    if (E.isLeft(asked)) return asked
    const got = hear(kind)
    if (E.isLeft(got)) return got
    const { answer, fds } = got.right
    const { list } = answer as { readonly list: ReadonlyArray<unknown> } as {
      readonly list: ReadonlyArray<Listed[K]>
    }
    if (list.length === 0) return E.left('it has fewer than it said')
    from += list.length
    asked = askFrom(from)
    for (let i = 0; i < list.length; i++) each(list[i], fds[i], i === list.length - 1)
  }
  return asked
}

/** Who serves at `path`; Right(null): nobody. */
export const findPredecessor = (native: Native, path: string, mode: string): Result<Predecessor | null> => {
  const connected = E.tryCatch(() => native.handOverConnect(path), reasonText)
  if (E.isLeft(connected)) return connected
  if (connected.right < 0) return E.right(null)
  const asking = asker(native, connected.right)
  const begun = answerTo(asking, { ask: 'begin', version: HAND_OVER_VERSION, mode, api: true })
  if (E.isLeft(begun)) return begun
  const { answer, fds } = begun.right
  const all: (readonly [HandedListener, number])[] = []
  const listed = pages(asking, 'listeners', answer.listeners, (l, fd) => all.push([l, fd]))
  if (E.isLeft(listed)) return listed
  if (answer.version !== HAND_OVER_VERSION)
    return E.left(`it hands over as version ${answer.version} does, and this is ${HAND_OVER_VERSION}`)
  const [place, ...more] = fds
  const ways = wayFds(answer.guest)
  const guestFd = answer.guest === null ? -1 : more[0]
  const helpersFd = ways === 2 ? more[1] : null
  const sockets = more.slice(ways)
  const socket = (s: AnswerTo<'begin'>['api']): HandedSocket | null => {
    const fd = s === null ? undefined : sockets.shift()
    return s === null || fd === undefined ? null : { path: s.path, file: s.file, fd }
  }
  const api = socket(answer.api)
  const conf = socket(answer.conf)
  return E.right({
    guest: answer.guest,
    place,
    guestFd,
    helpersFd,
    listeners: inherit(all),
    api,
    conf,
    rules: answer.rules ?? answer.conf?.rules ?? null,
    asking
  })
}

/** What came for the guest's link. */
export interface LinkTaken {
  readonly client: number
  readonly came: Uint8Array
  readonly unsent: Uint8Array
  /** null: it sends frames. */
  readonly session: {
    readonly messages: ReadonlyArray<HandedMessage<number>>
    /** Descriptors with what came. */
    readonly fds: ReadonlyArray<number>
  } | null
}
export interface Taken {
  readonly flows: number
  readonly lost: number
  readonly ended: number
}

const addressesOf = (e: HandedEnds, listener: number | null): FlowAddresses => ({
  v6: e.v6,
  guestMac: e.guestMac,
  ourMac: e.ourMac,
  guestAddr: e.guestAddr,
  guestPort: e.guestPort,
  ourAddr: e.ourAddr,
  ourPort: e.ourPort,
  hostAddr: e.hostAddr,
  hostPort: e.hostPort,
  arrival: e.arrival === null ? null : { ...e.arrival, listener: listener ?? -1, slot: -1 }
})

/** -o: what the guest begins has that address. */
const isOutbound = ({ cfg, rings }: World, v6: boolean, fd: number): boolean => {
  const wanted = v6 ? cfg.outbound6 : cfg.outbound4
  if (wanted === null) return true
  const [a, b, c, d] = rings.native.localEnd(fd)
  return sameAddr(wanted, [a, b, c, d])
}

/** Could it have begun here, by our options? A TCP connection needs its listener no more. */
const mayStay = (
  w: World,
  rules: ReadonlyArray<Rule>,
  f: HandedFlow,
  record: FlowRecord | null,
  listener: number | null,
  fd: number
): boolean => {
  const { cfg } = w
  const from = f.ends.arrival
  if (f.kind === 'udp') {
    if (!cfg.udp || !(f.ends.v6 ? cfg.v6 : cfg.v4)) return false
    if (from !== null) return listener !== null
    const to = hostSideOf(cfg.nat, PROTO_UDP, f.ends.ourAddr, f.ends.ourPort)
    const reachable = to !== null && sameAddr(to.dst, f.ends.hostAddr) && to.dstPort === f.ends.hostPort
    return reachable && isOutbound(w, f.ends.v6, fd)
  }
  const ends = record === null ? null : endsOf(record)
  const ours = from === null || rules.some((r) => covers(r, 'tcp', 'in', from.addr, from.port))
  return ours && ends !== null && mayCome(cfg, ends, () => ours)
}

/** What becomes of a flow: `doomed` are both ends of a connection, the other's, reset once it is ours to do so. */
interface Entered {
  flows: number
  lost: number
  readonly doomed: Flow[]
  /** Sockets without a flow, which are reset as well: a stream that is cut must not look like one that has ended. */
  readonly cut: number[]
}

/** Of the socket and all that is known of it a flow is made. False: it is lost. */
const enter = (
  w: World,
  p: Pick<Predecessor, 'listeners'>,
  rules: ReadonlyArray<Rule>,
  f: HandedFlow,
  fd: number,
  to: Entered,
  now: Instant
): boolean => {
  const from = f.ends.arrival
  const listener = from === null ? null : (p.listeners.ids.get(from.listener) ?? null)
  const decoded = f.kind === 'tcp' ? FlowRecord.decode(octets(f.record)) : null
  const record = decoded !== null && E.isRight(decoded) ? decoded.right : null
  const stays = mayStay(w, rules, f, record, listener, fd)
  const ends = addressesOf(f.ends, listener)
  if (f.kind === 'udp') {
    if (!stays) {
      closeSync(fd)
      return false
    }
    give(w.rings, fd)
    const opened = openFlow(w, { kind: 'udp', ends, syn: null }, now)
    if (typeof opened !== 'string') return true
    give(w.rings, -1)
    return false
  }
  const moved = record === null ? '' : movedOf(record)
  const opened = typeof moved === 'string' ? moved : openFlow(w, { kind: 'tcp', ends, syn: null, moved }, now)
  if (typeof opened === 'string' || typeof moved === 'string') {
    to.cut.push(fd)
    return false
  }
  opened.sockOpen = true
  w.quotas.accepted(opened.index)
  tcpTake(w.rings, opened.index, fd, moved.rcvFin === 1, peekedOf(moved), f.taken)
  deliver(
    w,
    opened,
    { type: 'SOCK_RESTORED', taken: f.taken, unacked: f.unacked, unread: 0, ended: false, dark: false, now },
    false
  )
  if (!stays) to.doomed.push(opened)
  return stays
}

/** Octets of the link's, in pieces. */
const restOf = (asking: Asking, count: number): Result<Uint8Array> => {
  const parts: Uint8Array[] = []
  for (let from = 0; from < count; ) {
    const part = answerTo(asking, { ask: 'rest', from })
    if (E.isLeft(part)) return part
    const { octets: some } = part.right.answer
    if (some.length === 0) return E.left('it has fewer octets than it said')
    parts.push(some)
    from += some.length
  }
  return E.right(Buffer.concat(parts))
}
const sessionOf = (asking: Asking): Result<LinkTaken['session']> =>
  E.map(({ answer, fds }: Answer<'session'>): LinkTaken['session'] => {
    let at = 0
    const next = (n: number): ReadonlyArray<number> => {
      at += n
      return fds.slice(at - n, at)
    }
    return {
      messages: answer.list.map((m) => ({ octets: m.octets, fds: next(m.fds) })),
      fds: next(answer.came)
    }
  })(answerTo(asking, { ask: 'session' }))

/**
 * All that it has is ours. `useLink`: its client becomes ours, but that nothing of the guest's is touched yet. To be called when nothing is left to be done but to serve: from here on it stands still, until it has heard
 * that we do. Left: it goes on.
 */
export const takeOver = (
  w: World,
  p: Predecessor,
  rules: ReadonlyArray<Rule>,
  useLink: (link: LinkTaken) => Result<void>,
  now: Instant
): Result<Taken> => {
  const took = answerTo(p.asking, { ask: 'take' })
  if (E.isLeft(took)) return took
  const { answer: a, fds } = took.right
  w.guest.v4 = a.guest.v4
  w.guest.v6 = a.guest.v6
  w.guest.linkLocal6 = a.guest.linkLocal6
  w.guest.mac = a.guest.mac
  w.guest.announced = a.guest.announced
  const rest = restOf(p.asking, a.came + a.unsent)
  if (E.isLeft(rest)) return rest
  if (a.client) {
    const session = p.guest?.kind === 'vhost-user' ? sessionOf(p.asking) : E.right(null)
    if (E.isLeft(session)) return session
    const used = useLink({
      client: fds[0],
      came: rest.right.subarray(0, a.came),
      unsent: rest.right.subarray(a.came),
      session: session.right
    })
    if (E.isLeft(used)) return used
  }
  const entered: Entered = { flows: 0, lost: 0, doomed: [], cut: [] }
  const all = pages(p.asking, 'flows', a.flows, (f, fd, last) => {
    if (enter(w, p, rules, f, fd, entered, now)) entered.flows++
    else entered.lost++
    // While the other one writes the next page
    if (last) carryOut(w.rings)
  })
  if (E.isLeft(all)) return all
  const { flows, lost, doomed, cut } = entered
  const done = answerTo(p.asking, { ask: 'done', taken: flows, lost })
  if (E.isLeft(done)) return done
  for (const f of doomed) deliver(w, f, { type: 'STOP', now }, false)
  for (const fd of cut) w.rings.native.closeHard(fd)
  return E.right({ flows, lost, ended: a.ended })
}
