import * as E from 'fp-ts/lib/Either.js'
import { isV4 } from '../codecs/inany.js'
import { NetlinkDatagram, NLMSG_DONE, NLMSG_ERROR } from '../codecs/netlink.js'
import { type Octets, octets } from '../codecs/octets.js'
import { Neighbour, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH, RTMGRP_NEIGH } from '../codecs/rtneigh.js'
import { AF_UNSPEC } from '../codecs/rtnetlink.js'
import { type Instant, instant } from '../effects/effect.js'
import {
  learnNeighbour,
  type NeighbourConfig,
  type NeighbourTable,
  NO_NEIGHBOURS
} from '../machines/neighbours.js'
import { arpAnnouncement, naAnnouncement } from '../machines/services.js'
import { EF, type Native } from './abi.js'
import { seenOf } from './forward.js'
import { dumpRequest } from './host.js'
import { count, type Log } from './log.js'
import { nextEffect, txRoom } from './rings.js'
import { perform } from './serve.js'
import type { World } from './world.js'

// The host's neighbour tables as the kernel tells of them, for the MACs that the guest sees (machines/neighbours.ts).

/** ms. What was lost is read anew, but not without end where a table is flooded. */
const DUMP_PAUSE = 1000

export interface NeighbourWatch {
  readonly config: NeighbourConfig
  table: NeighbourTable
  /** When to ask for the whole table; null: it has been asked for. */
  dumpAt: Instant | null
}

/** Null where the kernel does not tell: then every neighbour has our MAC. */
export const watchNeighbours = (native: Native, config: NeighbourConfig, log: Log): NeighbourWatch | null => {
  if (config.index4 === 0 && config.index6 === 0) return null
  try {
    native.watchNetlink(RTMGRP_NEIGH)
  } catch (e) {
    log.at('debug', `no neighbour table: ${e instanceof Error ? e.message : String(e)}`)
    return null
  }
  return { config, table: NO_NEIGHBOURS, dumpAt: instant(0) }
}

/** Ask for the whole table, if it is due. */
export const neighbourTimer = (w: World, now: Instant): void => {
  const n = w.neighbours
  if (n === null || n.dumpAt === null || now < n.dumpAt) return
  const request = dumpRequest(RTM_GETNEIGH, AF_UNSPEC)
  const at = txRoom(w.rings, request.length)
  const fx = at < 0 ? -1 : nextEffect(w.rings, EF.NETLINK, 0)
  n.dumpAt = fx < 0 ? instant(now + DUMP_PAUSE) : null
  if (fx < 0) return
  w.rings.slab.set(request, at)
  w.rings.fx[fx + 2] = at
  w.rings.fx[fx + 3] = request.length
}

const lost = (w: World, n: NeighbourWatch, now: Instant): void => {
  count(w.counters, 'neighbours-lost')
  n.table = NO_NEIGHBOURS
  n.dumpAt ??= instant(now + DUMP_PAUSE)
}

const learn = (w: World, n: NeighbourWatch, payload: Uint8Array, deleted: boolean): void => {
  const decoded = Neighbour.decode(octets(payload))
  if (E.isLeft(decoded)) return count(w.counters, 'neighbour-malformed')
  const { table, announce } = learnNeighbour(n.config, seenOf(w), n.table, decoded.right, deleted)
  n.table = table
  if (announce === null || !w.linkReady) return
  const say = isV4(announce.addr) ? arpAnnouncement : naAnnouncement
  perform(w, say(w.cfg.guest, announce.addr, announce.mac))
}

/** EV_NETLINK */
export const onNetlink = (w: World, at: number, now: Instant): void => {
  const n = w.neighbours
  if (n === null) return
  const ev = w.rings.ev
  const datagram: Octets = { view: w.rings.view, off: ev[at + 2], len: ev[at + 3] }
  const messages = NetlinkDatagram.decode(datagram)
  if (datagram.len === 0 || E.isLeft(messages)) return lost(w, n, now)
  for (const m of messages.right)
    if (m.type === RTM_NEWNEIGH || m.type === RTM_DELNEIGH) learn(w, n, m.payload, m.type === RTM_DELNEIGH)
    else if (m.type === NLMSG_ERROR) lost(w, n, now)
    else if (m.type !== NLMSG_DONE) count(w.counters, 'netlink-unexpected')
}
