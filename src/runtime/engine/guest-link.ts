import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as t from 'io-ts'
import { Real } from '../../codecs/log/written.js'
import { MAX_PATH } from '../../codecs/text/port-spec.js'
import { ENAMETOOLONG } from '../../codecs/value/errno.js'
import { orNull } from '../../codecs/value/or-null.js'
import { type Instant, instant } from '../../effects/effect.js'
import {
  guestLinkMachine,
  type LinkEffect,
  type LinkEvent,
  type LinkNews
} from '../../machines/link/guest-link.js'
import type { VhostOffer } from '../../machines/link/vhost-session.js'
import { LINK_BAD_LENGTH, type Native } from '../abi/abi.js'
import { linkClose, linkRefuse, linkUse } from '../abi/effects.js'
import { linkClient, linkEnd } from '../abi/events.js'
import type { Feature } from '../data/feature.js'
import { guestDown } from '../data/guest.js'
import type { World } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import { keeping, Moment, stateAt } from '../flow/keeps.js'
import type { Launcher, LauncherFailure } from '../host/launcher.js'
import { errnoOf, errorText } from '../log/error-text.js'
import type { Log } from '../log/log.js'
import { compile } from '../machine/compile.js'
import { repairPathAt } from '../plan/plan.js'
import type { LinkPlan, RepairPath } from '../plan/plan-types.js'
import { migration } from './migrate.js'
import { type VhostSession, vhostSession, welcomeGuest } from './vhost.js'

// The guest link in place of a tap: where clients connect, and who is served. machines/link/guest-link.ts decides, native
// (addon/link.h, clients.cc) accepts, reads and writes. What a client says that speaks vhost-user: vhost.ts.

export const machine = compile<typeof guestLinkMachine, LinkEffect>(guestLinkMachine)

// --- start

/** Default sockets are probed in this order (passt(1), --socket). */
const DEFAULT_SOCKETS: ReadonlyArray<string> = Array.from(
  { length: 64 },
  (_, i) => `/tmp/passt_${i + 1}.socket`
)

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'somebody listens there already',
  EEXIST: 'a file that is no socket has this name',
  EBADF: 'not open',
  ENOTSOCK: 'not a socket',
  ESOCKTNOSUPPORT: 'not a stream socket',
  ENOTCONN: 'not connected'
}
const reasonOf = (e: unknown): string => {
  const code = typeof e === 'object' && e !== null && 'code' in e ? String(e.code) : ''
  return REASONS[code] ?? (e instanceof Error ? e.message.replace(/^\w+: /, '') : String(e))
}

/** Of something thrown. `what`: in front of the reason. */
const failedAt =
  (what: string) =>
  (e: unknown): LauncherFailure => ({ errno: errnoOf(e), text: `${what}: ${reasonOf(e)}` })

/** Where we listen, and the socket file's mode. */
interface Bound {
  readonly path: string
  readonly mode: number
}

/** What to tell the user once all is ready; does passt-repair(1) find us? */
export interface Opened {
  readonly says: ReadonlyArray<string>
  readonly helpers: boolean
}

/** `open`: native's, result: the socket file's mode. */
const listenAt = (path: string, open: (path: string) => number): E.Either<LauncherFailure, Bound> => {
  const octets = Buffer.byteLength(path)
  if (octets > MAX_PATH)
    return E.left({ errno: ENAMETOOLONG, text: `path of ${octets} octets, at most ${MAX_PATH} are possible` })
  return E.bimap(
    (e) => ({ errno: errnoOf(e), text: reasonOf(e) }),
    (mode: number): Bound => ({ path, mode })
  )(
    E.tryCatch(
      () => open(path),
      (e) => e
    )
  )
}
/** Of the process whose place we take: where clients connect, and passt-repair(1), null: nowhere. */
export interface InheritedSockets {
  readonly clients: number
  readonly helpers: number | null
}
const adoptSocket = (
  native: Native,
  { clients, helpers }: InheritedSockets,
  vhostUser: boolean
): E.Either<LauncherFailure, Opened> =>
  E.mapLeft(failedAt("cannot take over the socket of the guest's link"))(
    E.tryCatch(
      () => {
        native.linkAdopt(clients, vhostUser)
        if (helpers !== null) native.repairAdopt(helpers)
        return { says: [], helpers: helpers !== null }
      },
      (e) => e
    )
  )
const listen = (native: Native, path: string, vhostUser: boolean): E.Either<LauncherFailure, Bound> =>
  listenAt(path, (at) => native.linkListen(at, vhostUser))

/**
 * For passt-repair(1); nowhere if null. `link`: where the link's socket is. Where nobody asked for one, what forbids it costs a
 * warning, not the start.
 */
const openRepair = (
  native: Native,
  p: RepairPath | null,
  link: Bound,
  log: Log
): E.Either<LauncherFailure, boolean> => {
  if (p === null) return E.right(false)
  const path = repairPathAt(p, link.path)
  const opened = listenAt(path, (at) => native.repairListen(at))
  if (E.isRight(opened)) {
    sayWhoMay(opened.right, log)
    return E.right(true)
  }
  const text = `cannot listen at ${path} (--repair-path): ${opened.left.text}`
  if (p.kind === 'path') return E.left({ errno: opened.left.errno, text })
  log.at('warning', `${text}; a guest that moves goes without its connections`)
  return E.right(false)
}

const openSocket = (
  native: Native,
  wanted: string | null,
  vhostUser: boolean
): E.Either<LauncherFailure, Bound> => {
  if (wanted !== null)
    return E.mapLeft(({ errno, text }: LauncherFailure) => ({
      errno,
      text: `cannot listen at ${wanted}: ${text}`
    }))(listen(native, wanted, vhostUser))
  let last: LauncherFailure = { errno: 0, text: '' }
  for (const path of DEFAULT_SOCKETS) {
    const r = listen(native, path, vhostUser)
    if (E.isRight(r)) return r
    last = r.left
  }
  const { errno, text } = last
  return E.left({
    errno,
    text: `no free socket from ${DEFAULT_SOCKETS[0]} to ${DEFAULT_SOCKETS.at(-1)}: ${text}`
  })
}

/** To connect takes permission to write (unix(7)). */
const OTHERS_WRITE = 0o022
const sayWhoMay = ({ path, mode }: Bound, log: Log): void => {
  if ((mode & OTHERS_WRITE) !== 0)
    log.at(
      'warning',
      `${path} has mode ${mode.toString(8)}: other users may connect (umask 077 keeps them out)`
    )
}

/** What passt(1) shows in its examples, for the options that QEMU has since 7.2. */
export const howToStart = (path: string, vhostUser: boolean): ReadonlyArray<string> => [
  `UNIX domain socket bound at ${path}`,
  '',
  ...(vhostUser
    ? [
        'You can now start qemu, with memory that it shares (SIZE as with -m):',
        `    qemu-system-x86_64 ... -m SIZE -object memory-backend-memfd,id=m,share=on,size=SIZE -numa node,memdev=m -chardev socket,id=c,path=${path} -netdev vhost-user,id=n,chardev=c -device virtio-net-pci,netdev=n`
      ]
    : [
        'You can now start qrap:',
        '    ./qrap 5 qemu-system-x86_64 ... -net socket,fd=5 -net nic,model=virtio',
        'or directly qemu, since 7.2:',
        `    qemu-system-x86_64 ... -device virtio-net-pci,netdev=s -netdev stream,id=s,server=off,addr.type=unix,addr.path=${path}`
      ])
]

/** The descriptor that --fd names. Only before Launcher.setup(). Right: null without --fd. */
export const inheritedFd = (
  l: Pick<Launcher, 'inherited'>,
  p: LinkPlan | null
): E.Either<LauncherFailure, number | null> =>
  p?.kind !== 'fd'
    ? E.right(null)
    : E.bimap(
        (f: LauncherFailure): LauncherFailure => ({ errno: f.errno, text: `--fd ${p.fd}: ${f.text}` }),
        (fd: number): number | null => fd
      )(l.inherited(p.fd))

/** Listen, or use what was inherited: a client `given`, or sockets that listen. Left: one line. */
export const openGuestLink = (
  native: Native,
  p: LinkPlan,
  vhostUser: boolean,
  repair: RepairPath | null,
  given: number | null,
  inherited: InheritedSockets | null,
  log: Log
): E.Either<LauncherFailure, Opened> => {
  if (inherited !== null) return adoptSocket(native, inherited, vhostUser)
  return given === null
    ? pipe(
        openSocket(native, p.kind === 'socket' ? p.path : null, vhostUser),
        E.chain((bound) =>
          E.map((helpers: boolean): Opened => {
            sayWhoMay(bound, log)
            return { says: howToStart(bound.path, vhostUser), helpers }
          })(openRepair(native, repair, bound, log))
        )
      )
    : E.bimap(
        failedAt(`--fd ${p.kind === 'fd' ? p.fd : given}`),
        (): Opened => ({ says: [], helpers: false })
      )(
        E.tryCatch(
          () => native.linkOffer(given, vhostUser),
          (e) => e
        )
      )
}

// --- life

const from = (pid: number): string => (pid === 0 ? '' : ` from PID ${pid}`)
const words: Readonly<Record<LinkNews, (n: number, why: string) => string>> = {
  accepted: (pid) => `accepted connection${from(pid)}`,
  refused: (pid) => `discarded connection${from(pid)}: another client is connected`,
  gone: (errno) => (errno === 0 ? 'client closed the connection' : `client is gone: ${errorText(errno)}`),
  broken: (_, why) => `client ${why}: closing the connection`
}

/** What a length that cannot be is a length of. */
const badLength = (octets: number, vhostUser: boolean): string =>
  `sent a ${vhostUser ? 'vhost-user message' : 'frame'} of ${octets} octets, which cannot be`

const LinkKept = t.type({
  leaf: t.string,
  context: t.type({
    oneOff: t.boolean,
    next: t.type({ fd: t.number, pid: t.number }),
    badSaid: orNull(Moment),
    refusalSaid: orNull(Moment)
  }),
  dueAt: Real,
  session: t.unknown
})

/** What there is to know of clients that speak vhost-user. */
export interface VhostWays {
  readonly offer: VhostOffer
  /** Once the guest has moved away we end; or its sockets stay, and say nothing. */
  readonly exit: boolean
  readonly linger: boolean
}
/** Who is at the other end. */
export interface LinkClient {
  /** Who is there when the loop begins; null: nobody. */
  fd: number | null
  /** What it speaks, if that is vhost-user. */
  session: VhostSession | null
  /** Serve who is there now, before the loop begins. */
  serve: (now: Instant) => void
}
export const linkClientOf = (fd: number | null): LinkClient => ({ fd, session: null, serve: () => {} })
/**
 * Clients of the guest link, and what they have. `vhost` null: they send frames. To be
 * installed with all others at once.
 */
export const guestLink = (
  w: World,
  oneOff: boolean,
  given: LinkClient,
  vhost: VhostWays | null
): ReadonlyArray<Feature> => {
  let state = machine.start({ oneOff }, [])
  /** A client was put in another's place: what this turn still has to tell is of that one. */
  let replaced = false
  const move =
    vhost === null
      ? null
      : migration(w, vhost, () => step({ type: 'GUEST_MOVED' }, instant(w.rings.clock[0])))
  const session =
    vhost === null || move === null
      ? null
      : vhostSession(w, vhost.offer, move, (why, now) => step({ type: 'BROKEN', why, now }, now))
  const carryOut = (e: LinkEffect, now: Instant): void => {
    switch (e.type) {
      case 'LinkUse':
        replaced = true
        linkUse(w.rings, e.fd)
        return session?.connected(now)
      case 'LinkRefuse':
        return linkRefuse(w.rings, e.fd)
      case 'LinkClose':
        linkClose(w.rings)
        return session?.disconnected(now)
      // A client is no guest yet where it speaks vhost-user: the session tells
      case 'LinkUp':
        return session === null ? welcomeGuest(w, now) : undefined
      case 'LinkDown':
        return session === null ? guestDown(w) : undefined
      case 'LinkSay':
        return w.log.event(
          'link',
          e.again ? 'debug' : e.what === 'broken' ? 'error' : 'info',
          words[e.what](e.number, e.why)
        )
    }
  }
  const step = (e: LinkEvent, now: Instant): void => {
    const effects: LinkEffect[] = []
    state = machine.step(state, e, effects)
    for (const one of effects) carryOut(one, now)
    // It was the only client there will be
    if (machine.isFinal(state)) w.ended = { why: 'stop' }
  }
  const deadline = new Deadline(0)
  given.session = session
  given.serve = (now) => {
    deadline.at = Number.POSITIVE_INFINITY
    if (given.fd !== null) step({ type: 'FD_GIVEN', fd: given.fd }, now)
  }
  const feature: Feature = {
    name: 'guest link',
    keeps: keeping(
      LinkKept,
      () => ({
        leaf: machine.value(state),
        context: state.context,
        dueAt: deadline.at,
        session: session?.keeps.write() ?? null
      }),
      (k) => {
        const was = stateAt(machine, k.leaf, k.context)
        if (was === null || (session !== null && !session.keeps.read(k.session))) return false
        state = was
        deadline.at = k.dueAt
      },
      () => session?.keeps.busy() ?? null
    ),
    deadline,
    onTime: given.serve,
    events: () => {
      replaced = false
    },
    takes: {
      LINK_CLIENT: (i, now) => {
        const { fd, pid, hungUp } = linkClient(w.rings.ev, i)
        step({ type: 'CLIENT', fd, pid, hungUp, now }, now)
      },
      LINK_END: (i, now) => {
        if (replaced) return
        const { why, detail } = linkEnd(w.rings.ev, i)
        if (why === LINK_BAD_LENGTH)
          step({ type: 'BROKEN', why: badLength(detail, session !== null), now }, now)
        else step({ type: 'CLIENT_GONE', errno: detail }, now)
      },
      ...session?.takes(() => replaced)
    }
  }
  return move === null ? [feature] : [feature, move.feature]
}
