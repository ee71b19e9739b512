import * as E from 'fp-ts/lib/Either.js'
import type { Instant } from '../../effects/effect.js'
import {
  guestLinkMachine,
  type LinkContext,
  type LinkEffect,
  type LinkEvent,
  type LinkNews
} from '../../machines/link/guest-link.js'
import { initialProbes } from '../../machines/services/services.js'
import { LINK_BAD_LENGTH, type Native } from '../abi/abi.js'
import { linkClose, linkRefuse, linkUse } from '../abi/effects.js'
import { linkClient, linkEnd } from '../abi/events.js'
import { deliver } from '../data/deliver.js'
import { forgetFragments } from '../data/fragments.js'
import type { World } from '../data/world.js'
import { errorText } from '../host/error-text.js'
import type { Launcher } from '../host/launcher.js'
import type { Log } from '../log/log.js'
import { compile, type State } from '../machine/compile.js'
import type { LinkPlan } from '../plan/plan.js'
import { linkLost, linkReady, perform } from '../services/serve.js'

// The guest link in place of a tap: where clients connect, and who is served. machines/link/guest-link.ts decides, native
// (addon/link.h, clients.cc) accepts, reads and writes.

const machine = compile<typeof guestLinkMachine, LinkEffect>(guestLinkMachine)
export type GuestLink = State<LinkContext>

// --- start

/** Default sockets are probed in this order (passt(1), --socket). */
const DEFAULT_SOCKETS: ReadonlyArray<string> = Array.from(
  { length: 64 },
  (_, i) => `/tmp/passt_${i + 1}.socket`
)
/** sun_path, without the NUL behind it (unix(7)). */
const MAX_PATH = 107

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

/** Where we listen, and the socket file's mode. */
interface Bound {
  readonly path: string
  readonly mode: number
}

const listen = (native: Native, path: string): E.Either<string, Bound> => {
  const octets = Buffer.byteLength(path)
  if (octets > MAX_PATH) return E.left(`path of ${octets} octets, at most ${MAX_PATH} are possible`)
  return E.bimap(
    reasonOf,
    (mode: number): Bound => ({ path, mode })
  )(
    E.tryCatch(
      () => native.linkListen(path),
      (e) => e
    )
  )
}

const openSocket = (native: Native, wanted: string | null): E.Either<string, Bound> => {
  if (wanted !== null)
    return E.mapLeft((why: string) => `cannot listen at ${wanted}: ${why}`)(listen(native, wanted))
  let last = ''
  for (const path of DEFAULT_SOCKETS) {
    const r = listen(native, path)
    if (E.isRight(r)) return r
    last = r.left
  }
  return E.left(`no free socket from ${DEFAULT_SOCKETS[0]} to ${DEFAULT_SOCKETS.at(-1)}: ${last}`)
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
export const howToStart = (path: string): ReadonlyArray<string> => [
  `UNIX domain socket bound at ${path}`,
  '',
  'You can now start qrap:',
  '    ./qrap 5 qemu-system-x86_64 ... -net socket,fd=5 -net nic,model=virtio',
  'or directly qemu, since 7.2:',
  `    qemu-system-x86_64 ... -device virtio-net-pci,netdev=s -netdev stream,id=s,server=off,addr.type=unix,addr.path=${path}`
]

/** The descriptor that --fd names. Only before Launcher.setup(). Right: null without --fd. */
export const inheritedFd = (
  l: Pick<Launcher, 'inherited'>,
  p: LinkPlan | null
): E.Either<string, number | null> =>
  p?.kind !== 'fd'
    ? E.right(null)
    : E.bimap(
        (f: { text: string }) => `--fd ${p.fd}: ${f.text}`,
        (fd: number): number | null => fd
      )(l.inherited(p.fd))

/** Listen, or use what was inherited. Right: what to tell the user once all is ready. Left: one line. */
export const openGuestLink = (
  native: Native,
  p: LinkPlan,
  given: number | null,
  log: Log
): E.Either<string, ReadonlyArray<string>> =>
  given === null
    ? E.map((bound: Bound) => {
        sayWhoMay(bound, log)
        return howToStart(bound.path)
      })(openSocket(native, p.kind === 'socket' ? p.path : null))
    : E.bimap(
        (e) => `--fd ${p.kind === 'fd' ? p.fd : given}: ${reasonOf(e)}`,
        () => []
      )(
        E.tryCatch(
          () => native.linkOffer(given),
          (e) => e
        )
      )

/** The machine starts, with the client that is there from the start, if there is one. */
export const startGuestLink = (w: World, oneOff: boolean, given: number | null, now: Instant): void => {
  w.guestLink = machine.start({ oneOff }, [])
  if (given !== null) step(w, { type: 'FD_GIVEN', fd: given }, now)
}

// --- life

const from = (pid: number): string => (pid === 0 ? '' : ` from PID ${pid}`)
const words: Readonly<Record<LinkNews, (n: number) => string>> = {
  accepted: (pid) => `accepted connection${from(pid)}`,
  refused: (pid) => `discarded connection${from(pid)}: another client is connected`,
  gone: (errno) => (errno === 0 ? 'client closed the connection' : `client is gone: ${errorText(errno)}`),
  'bad length': (octets) => `client sent a frame of ${octets} octets, which cannot be: closing the connection`
}

const interpret = (w: World, e: LinkEffect, now: Instant): void => {
  switch (e.type) {
    case 'LinkUse':
      return linkUse(w.rings, e.fd)
    case 'LinkRefuse':
      return linkRefuse(w.rings, e.fd)
    case 'LinkClose':
      return linkClose(w.rings)
    case 'LinkUp':
      perform(w, initialProbes(w.cfg.guest, w.guestMac))
      return linkReady(w, now)
    case 'LinkDown':
      forgetFragments(w)
      return linkLost(w)
    case 'LinkSay':
      return w.log.event(
        'link',
        e.again ? 'debug' : e.what === 'bad length' ? 'error' : 'info',
        words[e.what](e.number)
      )
  }
}

const step = (w: World, e: LinkEvent, now: Instant): void => {
  if (w.guestLink === null) return
  const effects: LinkEffect[] = []
  w.guestLink = machine.step(w.guestLink, e, effects)
  for (const one of effects) interpret(w, one, now)
}

/** EV_LINK_CLIENT */
export const onLinkClient = (w: World, record: number, now: Instant): void => {
  const { fd, pid, hungUp } = linkClient(w.rings.ev, record)
  step(w, { type: 'CLIENT', fd, pid, hungUp, now }, now)
}

/** EV_LINK_END. True: it was the only client there will be. */
export const onLinkEnd = (w: World, record: number, now: Instant): boolean => {
  const { why, detail } = linkEnd(w.rings.ev, record)
  const e: LinkEvent =
    why === LINK_BAD_LENGTH
      ? { type: 'BAD_LENGTH', octets: detail, now }
      : { type: 'CLIENT_GONE', errno: detail }
  step(w, e, now)
  return w.guestLink !== null && machine.isFinal(w.guestLink)
}

/** EV_TAP_ROOM: whoever was refused tries again at once. */
export const onTapRoom = (w: World, now: Instant): void => {
  for (let f = w.refused.pop(); f !== undefined; f = w.refused.pop())
    if (w.flows[f.index] === f) deliver(w, f, { type: 'TAP_ROOM', now })
}
