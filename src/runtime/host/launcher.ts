import { closeSync } from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import {
  LauncherReply,
  type LauncherRequest,
  LISTEN_MAX,
  type ListenOrder,
  type ProcNetFile,
  LauncherRequest as Request
} from '../../codecs/control/launcher.js'
import { join } from '../../codecs/control/launcher-fields.js'
import { EMFILE } from '../../codecs/value/errno.js'
import { octets } from '../../codecs/value/octets.js'
import type { Native } from '../abi/abi.js'
import { errnoOf, failureText } from '../log/error-text.js'
import type { NetlinkRequest } from './host.js'

/** Descriptor of the control socket: native/common/protocol.h, CTL_FD. */
export const CTL_FD = 3

/** `text` says what failed and why, for people; `errno` > 0, or 0 where none applies. */
export interface LauncherFailure {
  readonly errno: number
  readonly text: string
}
type Result<A> = E.Either<LauncherFailure, A>
type Order<K extends LauncherRequest['type']> = Omit<Extract<LauncherRequest, { type: K }>, 'type'>
export interface TapDevice {
  /** Ours to use; non-blocking, close-on-exec. */
  readonly fd: number
  /** Interface index and actual name in the namespace. */
  readonly index: number
  readonly name: string
  /** Opened with IFF_VNET_HDR. */
  readonly vnet: boolean
  /** 6 octets. */
  readonly mac: Uint8Array
}

/** Signs that the engine is alive: something is to be written to the socket `fd` each `everyMs` ms. */
export interface Life {
  readonly fd: number
  readonly everyMs: number
}

/** What became of one ListenOrder: 0 and its sockets (one, or two if split), or an errno and none. */
export interface Listened {
  readonly errno: number
  /** Bound; TCP: listening. Non-blocking, close-on-exec, the caller's to close. */
  readonly fds: ReadonlyArray<number>
}

/** The launcher as seen from the engine. All calls wait for the reply: some 50 µs, for listen() 10 µs more a socket. */
export interface Launcher {
  /** Before setup(), which closes what the launcher inherited: its descriptor of this number, ours from here on. */
  readonly inherited: (fd: number) => Result<number>
  /** Before identity(), spawn() and join(): see LauncherRequest, Names. Left with ENOENT: there is no such user, or group. */
  readonly names: (o: Order<'Names'>) => Result<{ readonly uid: number; readonly gid: number }>
  /**
   * First call but for inherited() and names(). `pidFile`: '' = none; it is created (empty) now and written at ready(). Right: where
   * signs of life are expected from ready() on; null: nobody asks.
   */
  readonly setup: (o: Order<'Setup'>) => Result<Life | null>
  /** After setup(): whom the launcher becomes: at spawn() or join(), and the command with it, or at ready() if `late` or without those. */
  readonly identity: (o: Order<'Identity'>) => Result<void>
  /** New namespaces with the command waiting in them. Implies foreground. Right: its process id, warnings to print. */
  readonly spawn: (
    o: Order<'Spawn'>
  ) => Result<{ readonly pid: number; readonly warnings: ReadonlyArray<string> }>
  /** Join the namespaces of a process (`pid`), or those that paths name; the paths win. */
  readonly join: (o: Order<'Join'>) => Result<void>
  /** After spawn or join. */
  readonly tap: (o: Order<'Tap'>) => Result<TapDevice>
  /** One rtnetlink message in the namespace; all messages of the answer in one piece. */
  readonly netlink: (request: Uint8Array) => Result<Uint8Array>
  /** Before ready(), when all files are open: our root directory becomes an empty one. Left: it is as it was. */
  readonly emptyRoot: (o: Order<'EmptyRoot'>) => Result<void>
  /**
   * The engine serves, so the command may start and the caller go on. In background: call Native.detach() after it. `status`: for a
   * service manager's user, one line.
   */
  readonly ready: (o: Order<'Ready'>) => Result<void>
  /** After identity(), before spawn() and join(): a socket whose messages are /etc/resolv.conf, at once and when it is another one. */
  readonly resolver: () => Result<number>
  /** In a namespace, before ready(): netlink() goes on after it for addresses of this interface and routes through it. */
  readonly follow: (index: number) => Result<void>
  /** Between setup() and spawn() or join(): where connections to UNIX sockets may lead, by their order. Left: there is no way there. */
  readonly unixTarget: (path: string) => Result<void>
  /** Before ready(): the file of a socket of ours, to be removed at the end. */
  readonly unixFile: (path: string) => Result<void>
  /** After ready(): another process serves in our place, so our end is not the command's, and sockets' files stay. */
  readonly leave: () => Result<void>
  /** After setup(), before spawn() and join(): the process of the API begins. Our end of the stream to it, ours to close. */
  readonly api: (o: Order<'Api'>) => Result<number>
  /**
   * 1 to SOCKETS_MAX sockets made inside the namespace, to fill a pool (Native.addNsSockets). Only before Native.setCtl():
   * from there on native asks by itself, and takes the reply. Right: at least one; non-blocking, close-on-exec.
   */
  readonly sockets: (o: Order<'Sockets'>) => Result<ReadonlyArray<number>>
  /**
   * Listeners inside the namespace, any number, before and after ready(). Right: an outcome for each, in order; EMFILE for
   * all from where our own limit is reached. `split`: see LauncherReply. Left: nothing is left open.
   */
  readonly listen: (
    listeners: ReadonlyArray<ListenOrder>
  ) => Result<{ readonly split: boolean; readonly listened: ReadonlyArray<Listened> }>
  /**
   * The namespace's /proc/net files, for readSync at position 0 as often as wanted; those that do not exist are missing.
   * They stay the namespace's, and readable, when privileges are dropped. The engine's own are openSync('/proc/self/net/tcp').
   */
  readonly procNet: () => Result<ReadonlyMap<ProcNetFile, number>>
}

const failure = (e: unknown): LauncherFailure => {
  const errno = errnoOf(e)
  return { errno, text: `No answer from the launcher: ${errno > 0 ? failureText(errno) : String(e)}` }
}
/** errno(3) */
const OUT_OF_DESCRIPTORS: Listened = { errno: EMFILE, fds: [] }
/** How many descriptors come with a reply. */
const descriptorsOf = (r: LauncherReply): number => {
  switch (r.type) {
    case 'Tap':
    case 'Inherited':
    case 'Watched':
    case 'Api':
      return 1
    case 'Begun':
      return r.lifeMs > 0 ? 1 : 0
    case 'Sockets':
    case 'Connected':
      return r.count
    case 'Listening':
      return r.outcomes.reduce((n, o) => n + o.sockets, 0)
    case 'ProcNet':
      return r.files.length
    default:
      return 0
  }
}
type Expected<K extends LauncherReply['type']> = {
  readonly reply: Extract<LauncherReply, { type: K }>
  readonly fds: ReadonlyArray<number>
}
type Answer = { readonly reply: LauncherReply; readonly fds: ReadonlyArray<number> }
const unexpected = (what: string): LauncherFailure => ({ errno: 0, text: `Launcher: ${what}` })

/** A reply that says success, and to which so many descriptors belong. */
const understood = (data: Uint8Array, descriptors: number): Result<LauncherReply> => {
  const decoded = LauncherReply.decode(octets(data))
  if (E.isLeft(decoded)) return E.left(unexpected(decoded.left[0]?.message ?? 'malformed reply'))
  const reply = decoded.right
  if (reply.type === 'Failed') return E.left({ errno: reply.errno, text: reply.text })
  const n = descriptorsOf(reply)
  // The kernel drops what goes past our limit, from the end on (unix(7)); listen() makes do with that
  if (n === descriptors || (n > descriptors && reply.type === 'Listening')) return E.right(reply)
  const came = `${n} descriptors announced, ${descriptors} came`
  return E.left(n > descriptors ? { errno: EMFILE, text: `Too many open files: ${came}` } : unexpected(came))
}

/** `close`: of a descriptor that nobody wants. */
export const launcher = (
  native: Pick<Native, 'ctlCall'>,
  fd: number = CTL_FD,
  close: (fd: number) => void = closeSync
): Launcher => {
  const closeAll = (fds: ReadonlyArray<number>): void => {
    for (const one of fds) close(one)
  }
  const call = (request: LauncherRequest): Result<Answer> => {
    const raw = E.tryCatch(() => native.ctlCall(fd, Request.encode(request)), failure)
    if (E.isLeft(raw)) return raw
    const { data, fds } = raw.right
    const reply = understood(data, fds.length)
    if (E.isLeft(reply)) closeAll(fds)
    return E.map((r: LauncherReply): Answer => ({ reply: r, fds }))(reply)
  }
  /** The reply if it is of the right type; otherwise its descriptors are closed. */
  const expect = <K extends LauncherReply['type']>(type: K, request: LauncherRequest): Result<Expected<K>> =>
    E.chain((answer: Answer): Result<Expected<K>> => {
      if (answer.reply.type === type) return E.right(answer as Expected<K>)
      closeAll(answer.fds)
      return E.left(unexpected(`${answer.reply.type} for ${request.type}`))
    })(call(request))
  const done = (request: LauncherRequest): Result<void> =>
    E.map((): void => undefined)(expect('Done', request))

  return {
    inherited: (fd) =>
      E.map(({ fds }: Expected<'Inherited'>) => fds[0])(expect('Inherited', { type: 'Inherited', fd })),
    names: (o) =>
      E.map(({ reply: { uid, gid } }: Expected<'Names'>) => ({ uid, gid }))(
        expect('Names', { type: 'Names', ...o })
      ),
    setup: (o) =>
      E.map(({ reply, fds: [fd] }: Expected<'Begun'>) =>
        fd === undefined ? null : { fd, everyMs: reply.lifeMs }
      )(expect('Begun', { type: 'Setup', ...o })),
    identity: (o) => done({ type: 'Identity', ...o }),
    join: (o) => done({ type: 'Join', ...o }),
    emptyRoot: (o) => done({ type: 'EmptyRoot', ...o }),
    ready: (o) => done({ type: 'Ready', ...o }),
    leave: () => done({ type: 'Leave' }),
    resolver: () => E.map(({ fds }: Expected<'Watched'>) => fds[0])(expect('Watched', { type: 'Resolver' })),
    follow: (index) => done({ type: 'Follow', index }),
    api: (o) => E.map(({ fds }: Expected<'Api'>) => fds[0])(expect('Api', { type: 'Api', ...o })),
    unixTarget: (path) => done({ type: 'UnixTarget', path }),
    unixFile: (path) => done({ type: 'UnixFile', path }),
    spawn: (o) =>
      E.map(({ reply }: Expected<'Spawned'>) => ({ pid: reply.pid, warnings: reply.warnings }))(
        expect('Spawned', { type: 'Spawn', ...o })
      ),
    tap: (o) =>
      E.map(({ reply: r, fds }: Expected<'Tap'>) => ({
        fd: fds[0],
        index: r.index,
        name: r.name,
        vnet: r.vnet,
        mac: r.mac
      }))(expect('Tap', { type: 'Tap', ...o })),
    netlink: (bytes) => {
      const parts: Uint8Array[] = []
      for (let request: LauncherRequest = { type: 'Netlink', bytes }; ; request = { type: 'Next' }) {
        const answer = expect('Netlink', request)
        if (E.isLeft(answer)) return answer
        parts.push(answer.right.reply.bytes)
        if (!answer.right.reply.more) break
      }
      return E.right(join(...parts))
    },
    sockets: (o) =>
      E.chain(
        ({ reply, fds }: Expected<'Sockets'>): Result<ReadonlyArray<number>> =>
          fds.length > 0
            ? E.right(fds)
            : E.left({
                errno: reply.errno,
                text: `The launcher can make no sockets: ${failureText(reply.errno)}`
              })
      )(expect('Sockets', { type: 'Sockets', ...o })),
    listen: (listeners) => {
      const listened: Listened[] = []
      let split = false
      let full = false
      for (let at = 0; at < listeners.length && !full; at += LISTEN_MAX) {
        const batch = listeners.slice(at, at + LISTEN_MAX)
        const answer = expect('Listening', { type: 'Listen', listeners: batch })
        if (E.isLeft(answer) || answer.right.reply.outcomes.length !== batch.length) {
          closeAll([...(E.isRight(answer) ? answer.right.fds : []), ...listened.flatMap((l) => l.fds)])
          return E.isLeft(answer) ? answer : E.left(unexpected('a Listen answered in part'))
        }
        const { reply, fds } = answer.right
        split ||= reply.split
        full = descriptorsOf(reply) > fds.length
        let next = 0
        for (const { errno, sockets } of reply.outcomes) {
          const own = fds.slice(next, next + sockets)
          next += sockets
          if (own.length < sockets) closeAll(own)
          listened.push(own.length < sockets ? OUT_OF_DESCRIPTORS : { errno, fds: own })
        }
      }
      const rest = listeners.slice(listened.length).map(() => OUT_OF_DESCRIPTORS)
      return E.right({ split, listened: [...listened, ...rest] })
    },
    procNet: () =>
      E.map(
        ({ reply, fds }: Expected<'ProcNet'>): ReadonlyMap<ProcNetFile, number> =>
          new Map(reply.files.map((f, i) => [f, fds[i]]))
      )(expect('ProcNet', { type: 'ProcNet' }))
  }
}

/** The same as Native.netlink, in the namespace: for host.ts's `ask`. Throws an Error with `.errno`. */
export const netlinkIn =
  (l: Pick<Launcher, 'netlink'>): NetlinkRequest =>
  (request) => {
    const answer = l.netlink(request)
    if (E.isLeft(answer)) throw Object.assign(new Error(answer.left.text), { errno: answer.left.errno })
    return answer.right
  }
