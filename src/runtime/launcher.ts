import * as E from 'fp-ts/lib/Either.js'
import { LauncherReply, type LauncherRequest, LauncherRequest as Request } from '../codecs/launcher.js'
import { octets } from '../codecs/octets.js'
import type { Native } from './abi.js'
import type { NetlinkRequest } from './host.js'

/** Descriptor of the control socket: native/launcher/protocol.h, CTL_FD. */
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

/** The launcher as seen from the engine. All calls wait for the reply: for start-up, before the loop runs. */
export interface Launcher {
  /** First call. `pidFile`: '' = none; it is created (empty) now and written at ready(). */
  readonly setup: (o: Order<'Setup'>) => Result<void>
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
  /** The engine serves, so the command may start and the caller go on. In background: call Native.detach() after it. */
  readonly ready: () => Result<void>
}

const failure = (e: unknown): LauncherFailure => ({
  errno: typeof e === 'object' && e !== null && 'errno' in e ? Math.abs(Number(e.errno)) : 0,
  text: `No answer from the launcher: ${e instanceof Error ? e.message : String(e)}`
})
const unexpected = (what: string): LauncherFailure => ({ errno: 0, text: `Launcher: ${what}` })

export const launcher = (native: Pick<Native, 'ctlCall'>, fd: number = CTL_FD): Launcher => {
  const call = (request: LauncherRequest): Result<{ reply: LauncherReply; fd: number }> => {
    const raw = E.tryCatch(() => native.ctlCall(fd, Request.encode(request)), failure)
    if (E.isLeft(raw)) return raw
    const reply = LauncherReply.decode(octets(raw.right.data))
    if (E.isLeft(reply)) return E.left(unexpected(reply.left[0]?.message ?? 'malformed reply'))
    if (reply.right.type === 'Failed') return E.left({ errno: reply.right.errno, text: reply.right.text })
    return E.right({ reply: reply.right, fd: raw.right.fd })
  }
  const done = (request: LauncherRequest): Result<void> =>
    E.chain(
      ({ reply }: { reply: LauncherReply }): Result<void> =>
        reply.type === 'Done' ? E.right(undefined) : E.left(unexpected(`${reply.type} for ${request.type}`))
    )(call(request))

  return {
    setup: (o) => done({ type: 'Setup', ...o }),
    join: (o) => done({ type: 'Join', ...o }),
    ready: () => done({ type: 'Ready' }),
    spawn: (o) =>
      E.chain(({ reply }: { reply: LauncherReply }) =>
        reply.type === 'Spawned'
          ? E.right({ pid: reply.pid, warnings: reply.warnings })
          : E.left(unexpected(`${reply.type} for Spawn`))
      )(call({ type: 'Spawn', ...o })),
    tap: (o) =>
      E.chain(({ reply, fd }: { reply: LauncherReply; fd: number }): Result<TapDevice> => {
        if (reply.type !== 'Tap') return E.left(unexpected(`${reply.type} for Tap`))
        if (fd < 0) return E.left(unexpected('a tap without descriptor'))
        return E.right({ fd, index: reply.index, name: reply.name, vnet: reply.vnet, mac: reply.mac })
      })(call({ type: 'Tap', ...o })),
    netlink: (bytes) => {
      const parts: Uint8Array[] = []
      for (let request: LauncherRequest = { type: 'Netlink', bytes }; ; request = { type: 'Next' }) {
        const answer = call(request)
        if (E.isLeft(answer)) return answer
        const { reply } = answer.right
        if (reply.type !== 'Netlink') return E.left(unexpected(`${reply.type} for Netlink`))
        parts.push(reply.bytes)
        if (!reply.more) break
      }
      const whole = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
      let at = 0
      for (const p of parts) {
        whole.set(p, at)
        at += p.length
      }
      return E.right(whole)
    }
  }
}

/** The same as Native.netlink, in the namespace: for host.ts's `ask`. Throws an Error with `.errno`. */
export const netlinkIn =
  (l: Pick<Launcher, 'netlink'>): NetlinkRequest =>
  (request) => {
    const answer = l.netlink(request)
    if (E.isLeft(answer)) throw Object.assign(new Error(answer.left.text), { errno: answer.left.errno })
    return [answer.right]
  }
