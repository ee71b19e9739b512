import { closeSync } from 'node:fs'
import type { HandedListener } from '../../codecs/control/hand-over.js'
import { showAddr } from '../../codecs/value/inany.js'
import type { GivenSocket } from '../../machines/forward/given-sockets.js'

// Listeners that others have made: of the process whose place we take (behaviour.md#restart), and those that we were started with
// (behaviour.md#sockets-by-descriptor). One that we want is ours with all that waits there; others are closed.

export interface Inherited {
  /** Descriptors that nobody has asked for yet, and what the former process' flows call them; NOBODY: none was there. */
  readonly waiting: Map<string, { readonly former: number; readonly fd: number; readonly port: number }[]>
  /** Our id of what it called so. */
  readonly ids: Map<number, number>
  /** Those that it was started with. */
  readonly given: ReadonlyArray<{ readonly name: string; readonly socket: GivenSocket }>
}
export const nothingInherited = (): Inherited => ({ waiting: new Map(), ids: new Map(), given: [] })
export const NOBODY = -1

type Where = Omit<HandedListener, 'id' | 'given'>
const keyOf = (w: Where): string =>
  [
    w.proto,
    w.direction,
    w.bind === null ? '*' : showAddr(w.bind),
    w.v6only ? 'v6only' : '',
    w.ifname ?? '',
    w.port,
    w.path ?? ''
  ].join(' ')

export const inherit = (all: ReadonlyArray<readonly [HandedListener, number]>): Inherited => {
  const { waiting, ids } = nothingInherited()
  for (const [l, fd] of all) {
    const key = keyOf(l)
    waiting.set(key, [...(waiting.get(key) ?? []), { former: l.id, fd, port: l.port }])
  }
  const given = all.flatMap(([l]) => (l.given === null ? [] : [{ name: l.given, socket: l }]))
  return { waiting, ids, given }
}

/** With sockets of our own start. Where both have one, it is the same socket: ours counts, and its flows know it. */
export const withGiven = (
  from: Inherited,
  sockets: ReadonlyArray<readonly [GivenSocket, number]>
): Inherited => {
  const waiting = new Map(from.waiting)
  for (const [g, fd] of sockets) {
    const key = keyOf({ ...g, direction: 'in', path: null })
    const [same, ...more] = waiting.get(key) ?? []
    if (same !== undefined) closeSync(same.fd)
    waiting.set(key, [{ former: same?.former ?? NOBODY, fd, port: g.port }, ...more])
  }
  return { ...from, waiting }
}

/** All sockets that listened there; none: it is to be made. They are the caller's, who says by `ids` what they become. */
export const claim = (from: Inherited, where: Where) => {
  const key = keyOf(where)
  const found = from.waiting.get(key) ?? []
  from.waiting.delete(key)
  return found
}

/** Of what nobody has asked for yet. */
export const portsWaiting = (from: Inherited): ReadonlySet<number> =>
  new Set([...from.waiting.values()].flatMap((list) => list.map(({ port }) => port)))

/** What nobody has asked for is closed. */
export const closeUnclaimed = (from: Inherited): void => {
  for (const list of from.waiting.values()) for (const { fd } of list) closeSync(fd)
  from.waiting.clear()
}
