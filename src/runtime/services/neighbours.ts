import * as E from 'fp-ts/lib/Either.js'
import { NetlinkDatagram, NLMSG_DONE, NLMSG_ERROR } from '../../codecs/kernel/netlink.js'
import {
  Neighbour,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
  RTMGRP_NEIGH
} from '../../codecs/kernel/rtneigh.js'
import {
  Address,
  AF_UNSPEC,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
  RTMGRP_IFADDR
} from '../../codecs/kernel/rtnetlink.js'
import { isV4 } from '../../codecs/value/inany.js'
import { type Octets, octets } from '../../codecs/value/octets.js'
import { type Instant, instant } from '../../effects/effect.js'
import {
  learnNeighbour,
  type NeighbourConfig,
  type NeighbourTable,
  NO_NEIGHBOURS
} from '../../machines/address/neighbours.js'
import { learnAddress } from '../../machines/address/on-link.js'
import { arpAnnouncement, naAnnouncement } from '../../machines/services/services.js'
import type { Native } from '../abi/abi.js'
import { netlinkSend } from '../abi/effects.js'
import { netlinkDatagram } from '../abi/events.js'
import { txRoom } from '../abi/rings.js'
import { seenOf } from '../data/forward.js'
import type { World } from '../data/world.js'
import { dumpRequest } from '../host/host.js'
import { count, type Log } from '../log/log.js'
import { perform } from './serve.js'

// The host's neighbours and addresses as the kernel tells of them: for the MACs that the guest sees (machines/address/neighbours.ts),
// and for what lies on the host's links (machines/address/on-link.ts).

/** ms. What was lost is read anew, but not without end where a table is flooded. */
const DUMP_PAUSE = 1000

export interface NeighbourWatch {
  readonly config: NeighbourConfig
  table: NeighbourTable
  /** Tables to ask for as a whole, one after the other, as the kernel wants it; when, null: the first has been asked for. */
  dumps: ReadonlyArray<number>
  dumpAt: Instant | null
}

const TABLES = [RTM_GETNEIGH, RTM_GETADDR]

/** Null where the kernel does not tell: then every neighbour has our MAC. */
export const watchNeighbours = (native: Native, config: NeighbourConfig, log: Log): NeighbourWatch | null => {
  if (config.index4 === 0 && config.index6 === 0) return null
  try {
    native.watchNetlink(RTMGRP_NEIGH | RTMGRP_IFADDR)
  } catch (e) {
    log.at('debug', `no neighbour table: ${e instanceof Error ? e.message : String(e)}`)
    return null
  }
  return { config, table: NO_NEIGHBOURS, dumps: TABLES, dumpAt: instant(0) }
}

/** Ask for a whole table, if it is due. */
export const neighbourTimer = (w: World, now: Instant): void => {
  const n = w.neighbours
  if (n === null || n.dumpAt === null || now < n.dumpAt) return
  const request = dumpRequest(n.dumps[0], AF_UNSPEC)
  const at = txRoom(w.rings, request.length)
  n.dumpAt = null
  if (n.dumps[0] === RTM_GETADDR) w.links = []
  w.rings.slab.set(request, at)
  netlinkSend(w.rings, at, request.length)
}

const lost = (w: World, n: NeighbourWatch, now: Instant): void => {
  count(w.counters, 'neighbours-lost')
  n.table = NO_NEIGHBOURS
  n.dumps = TABLES
  n.dumpAt ??= instant(now + DUMP_PAUSE)
}

/** One table is read; not so if it was asked for before something was lost. */
const done = (n: NeighbourWatch, now: Instant): void => {
  if (n.dumpAt !== null) return
  n.dumps = n.dumps.slice(1)
  if (n.dumps.length > 0) n.dumpAt = now
}

const learnLink = (w: World, payload: Uint8Array, deleted: boolean): void => {
  const decoded = Address.decode(octets(payload))
  if (E.isLeft(decoded)) return count(w.counters, 'address-malformed')
  w.links = learnAddress(w.links, decoded.right, deleted)
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
export const onNetlink = (w: World, record: number, now: Instant): void => {
  const n = w.neighbours
  if (n === null) return
  const { off, len } = netlinkDatagram(w.rings.ev, record)
  const datagram: Octets = { view: w.rings.view, off, len }
  const messages = NetlinkDatagram.decode(datagram)
  if (datagram.len === 0 || E.isLeft(messages)) return lost(w, n, now)
  for (const m of messages.right)
    if (m.type === RTM_NEWNEIGH || m.type === RTM_DELNEIGH) learn(w, n, m.payload, m.type === RTM_DELNEIGH)
    else if (m.type === RTM_NEWADDR || m.type === RTM_DELADDR) learnLink(w, m.payload, m.type === RTM_DELADDR)
    else if (m.type === NLMSG_DONE) done(n, now)
    else if (m.type === NLMSG_ERROR) lost(w, n, now)
    else count(w.counters, 'netlink-unexpected')
}
