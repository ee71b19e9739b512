import {
  type Neighbour,
  NUD_DELAY,
  NUD_NOARP,
  NUD_PERMANENT,
  NUD_PROBE,
  NUD_REACHABLE,
  NUD_STALE
} from '../../codecs/kernel/rtneigh.js'
import { type InAny, isV4, sameAddr } from '../../codecs/value/inany.js'
import type { Mac } from '../../codecs/wire/ethernet.js'
import type { NatConfig } from './nat.js'
import { inwardTap, type Seen } from './nat-inward.js'

// The MACs that the guest sees its peers by: those of the host's own neighbours, by the addresses under which the guest
// knows them (behaviour.md#neighbours). What we stand for ourselves keeps ours.

/** MACs by guest-visible address; at most CAPACITY. */
export type NeighbourTable = ReadonlyMap<string, Mac>
export const NO_NEIGHBOURS: NeighbourTable = new Map()
/** Enough for a link's worth of peers; whoever floods the host's own tables shall not fill our memory. */
export const CAPACITY = 512

export interface NeighbourConfig {
  readonly ownMac: Mac
  readonly nat: NatConfig
  /** Template interfaces, whose neighbours the guest's are; 0: none. */
  readonly index4: number
  readonly index6: number
}

/** An address as the table has it, and back. */
export const keyOf = (a: InAny): string => a.join()
export const addressIn = (key: string): InAny => {
  const [a = 0, b = 0, c = 0, d = 0] = key.split(',').map(Number)
  return [a, b, c, d]
}
const is = (a: InAny, b: InAny | null): boolean => b !== null && sameAddr(a, b)
const isOurs = (c: NatConfig, a: InAny): boolean =>
  is(a, isV4(a) ? c.mapHostLoopback4 : c.mapHostLoopback6) ||
  is(a, isV4(a) ? c.mapGuestAddr4 : c.mapGuestAddr6)

/** What to show the guest for `a`: the neighbour's, or the gateway's for what lies behind that, or our own. */
export const neighbourMac = (c: NeighbourConfig, table: NeighbourTable, a: InAny): Mac => {
  if (table.size === 0 || isOurs(c.nat, a)) return c.ownMac
  const exact = table.get(keyOf(a))
  if (exact !== undefined) return exact
  const gateway = isV4(a) ? c.nat.own4 : c.nat.own6
  if (gateway === null || isOurs(c.nat, gateway)) return c.ownMac
  return table.get(keyOf(gateway)) ?? c.ownMac
}

const KNOWN = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY

export interface Learnt {
  readonly table: NeighbourTable
  /** Who is new, to be announced to a guest that may have asked before; null: nobody. */
  readonly announce: { readonly addr: InAny; readonly mac: Mac } | null
}

/**
 * A neighbour as the kernel tells of it; `deleted`: RTM_DELNEIGH. Nothing but neighbours on the template interfaces counts,
 * and nothing whose address the guest could not use.
 * Law: the table never has more than CAPACITY entries, nor an address that is ours.
 */
export const learnNeighbour = (
  c: NeighbourConfig,
  seen: Seen,
  table: NeighbourTable,
  n: Neighbour,
  deleted: boolean
): Learnt => {
  const same: Learnt = { table, announce: null }
  if (n.addr === null || n.index !== (isV4(n.addr) ? c.index4 : c.index6)) return same
  const addr = inwardTap(c.nat, seen, n.addr)
  if (addr === null || isOurs(c.nat, addr)) return same
  const key = keyOf(addr)
  const before = table.get(key)
  const mac = deleted || (n.state & KNOWN) === 0 ? null : n.mac
  if (mac === null) {
    if (before === undefined) return same
    const without = new Map(table)
    without.delete(key)
    return { table: without, announce: null }
  }
  if (mac === before || (before === undefined && table.size >= CAPACITY)) return same
  return {
    table: new Map(table).set(key, mac),
    // one that has another MAC now is met by the guest in its answers
    announce: before === undefined && mac !== c.ownMac ? { addr, mac } : null
  }
}
