import { closeSync } from 'node:fs'
import type { HandedListener } from '../../codecs/control/hand-over.js'
import { showAddr } from '../../codecs/value/inany.js'

// Listeners of the process whose place we take (behaviour.md#restart): one that we want as well is ours with all that waits there; others are
// closed.

export interface Inherited {
  /** Descriptors that nobody has asked for yet, and what their flows call them. */
  readonly waiting: Map<string, { readonly former: number; readonly fd: number; readonly port: number }[]>
  /** Our id of what it called so. */
  readonly ids: Map<number, number>
}
export const NOTHING_INHERITED: Inherited = { waiting: new Map(), ids: new Map() }

type Where = Omit<HandedListener, 'id'>
const keyOf = (w: Where): string =>
  [
    w.proto,
    w.direction,
    w.bind === null ? '*' : showAddr(w.bind),
    w.v6only ? 'v6only' : '',
    w.ifname ?? '',
    w.port
  ].join(' ')

export const inherit = (all: ReadonlyArray<readonly [HandedListener, number]>): Inherited => {
  const inherited: Inherited = { waiting: new Map(), ids: new Map() }
  for (const [l, fd] of all) {
    const key = keyOf(l)
    inherited.waiting.set(key, [...(inherited.waiting.get(key) ?? []), { former: l.id, fd, port: l.port }])
  }
  return inherited
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
