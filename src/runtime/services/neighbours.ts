import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { dumpRequest } from '../../codecs/kernel/dump.js'
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
import { Addr, MacAddr, Places, Real } from '../../codecs/log/written.js'
import { type InAny, isV4 } from '../../codecs/value/inany.js'
import { type Octets, octets } from '../../codecs/value/octets.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import type { Instant } from '../../effects/effect.js'
import {
  addressIn,
  keyOf,
  learnNeighbour,
  type NeighbourConfig,
  type NeighbourTable,
  NO_NEIGHBOURS,
  neighbourMac
} from '../../machines/address/neighbours.js'
import { learnAddress } from '../../machines/address/on-link.js'
import { arpAnnouncement, naAnnouncement } from '../../machines/services/services.js'
import type { Native } from '../abi/abi.js'
import { netlinkSend } from '../abi/effects.js'
import { netlinkDatagram } from '../abi/events.js'
import { txRoom } from '../abi/rings.js'
import type { Feature } from '../data/feature.js'
import type { World } from '../data/world.js'
import { Deadline } from '../flow/deadline.js'
import { keeping } from '../flow/keeps.js'
import { count, type Log } from '../log/log.js'
import { carryOutService } from './serve.js'

// The host's neighbours and addresses as the kernel tells of them: for the MACs that the guest sees (machines/address/neighbours.ts),
// and for what lies on the host's links (machines/address/on-link.ts).

/** ms. What was lost is read anew, but not without end where a table is flooded. */
const DUMP_PAUSE = 1000

/** What was heard. */
export interface Neighbours {
  config: NeighbourConfig
  table: NeighbourTable
}

const TABLES = [RTM_GETNEIGH, RTM_GETADDR]

/** Null where the kernel does not tell: then every neighbour has our MAC. `follows`: an interface may come. */
export const watchNeighbours = (
  native: Native,
  config: NeighbourConfig,
  follows: boolean,
  log: Log
): Neighbours | null => {
  if (config.index4 === 0 && config.index6 === 0 && !follows) return null
  try {
    native.watchNetlink(RTMGRP_NEIGH | RTMGRP_IFADDR)
  } catch (e) {
    log.at('debug', `no neighbour table: ${e instanceof Error ? e.message : String(e)}`)
    return null
  }
  return { config, table: NO_NEIGHBOURS }
}

/** What the guest sees an address at. */
export const macBy =
  (ownMac: Mac, n: Neighbours | null) =>
  (a: InAny): Mac =>
    n === null ? ownMac : neighbourMac(n.config, n.table, a)

const learnLink = (w: World, payload: Uint8Array, deleted: boolean): void => {
  const decoded = Address.decode(octets(payload))
  if (E.isLeft(decoded)) return count(w.counters, 'address-malformed')
  w.links = learnAddress(w.links, decoded.right, deleted)
}

const learn = (w: World, n: Neighbours, payload: Uint8Array, deleted: boolean): void => {
  const decoded = Neighbour.decode(octets(payload))
  if (E.isLeft(decoded)) return count(w.counters, 'neighbour-malformed')
  const { table, announce } = learnNeighbour(n.config, w.guest, n.table, decoded.right, deleted)
  n.table = table
  if (announce === null || !w.guest.up) return
  const announcement = isV4(announce.addr) ? arpAnnouncement : naAnnouncement
  carryOutService(w, announcement(w.cfg.guest, announce.addr, announce.mac))
}

const NeighboursKept = t.type({
  table: t.array(t.type({ addr: Addr, mac: MacAddr })),
  dumps: Places,
  dueAt: Real
})

/** Hears of the host's neighbours and addresses; reads whole tables at the start, and when something was lost. */
export const neighbours = (w: World, n: Neighbours): Feature => {
  /** Of the next table; infinity: it has been asked for, or there is none. */
  const deadline = new Deadline(0)
  /** Tables to ask for as a whole, one after the other, as the kernel wants it. */
  let dumps: ReadonlyArray<number> = TABLES
  const lost = (now: Instant): void => {
    count(w.counters, 'neighbours-lost')
    n.table = NO_NEIGHBOURS
    dumps = TABLES
    deadline.at = Math.min(deadline.at, now + DUMP_PAUSE)
  }
  /** One table is read; not so if it was asked for before something was lost. */
  const done = (now: Instant): void => {
    if (deadline.at !== Number.POSITIVE_INFINITY) return
    dumps = dumps.slice(1)
    if (dumps.length > 0) deadline.at = now
  }
  const onNetlink = (record: number, now: Instant): void => {
    const { off, len } = netlinkDatagram(w.rings.ev, record)
    const datagram: Octets = { view: w.rings.view, off, len }
    const messages = NetlinkDatagram.decode(datagram)
    if (datagram.len === 0 || E.isLeft(messages)) return lost(now)
    for (const m of messages.right)
      if (m.type === RTM_NEWNEIGH || m.type === RTM_DELNEIGH) learn(w, n, m.payload, m.type === RTM_DELNEIGH)
      else if (m.type === RTM_NEWADDR || m.type === RTM_DELADDR)
        learnLink(w, m.payload, m.type === RTM_DELADDR)
      else if (m.type === NLMSG_DONE) done(now)
      else if (m.type === NLMSG_ERROR) lost(now)
      else count(w.counters, 'netlink-unexpected')
  }
  return {
    name: 'neighbours',
    keeps: keeping(
      NeighboursKept,
      () => ({
        table: [...n.table].map(([key, mac]) => ({ addr: addressIn(key), mac })),
        dumps: [...dumps],
        dueAt: deadline.at
      }),
      (k) => {
        n.table = new Map(k.table.map(({ addr, mac }) => [keyOf(addr), mac]))
        dumps = k.dumps
        deadline.at = k.dueAt
      }
    ),
    takes: { NETLINK: onNetlink },
    deadline,
    // Of another interface, or seen under other addresses: all anew
    reconfigured: (now) => {
      n.table = NO_NEIGHBOURS
      dumps = TABLES
      deadline.at = Math.min(deadline.at, now)
    },
    onTime: () => {
      deadline.at = Number.POSITIVE_INFINITY
      const request = dumpRequest(dumps[0], AF_UNSPEC)
      if (dumps[0] === RTM_GETADDR) w.links = []
      const at = txRoom(w.rings, request.length)
      w.rings.slab.set(request, at)
      netlinkSend(w.rings, at, request.length)
    }
  }
}
