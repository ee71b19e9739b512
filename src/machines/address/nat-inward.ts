import {
  type InAny,
  isLinkLocal,
  isLoopback,
  isUnicast,
  isV4,
  LOOPBACK4,
  LOOPBACK6,
  sameAddr
} from '../../codecs/value/inany.js'
import { type Rule, targetOf } from '../forward/forward-rules.js'
import type { NatConfig } from './nat.js'

// Flows that begin on the host, or in the namespace without the tap: who they come from and where they go
// (behaviour.md#translation, behaviour.md#bypass-addresses). There is no way back by address: 127.0.0.1 and 127.0.0.9
// may look the same to the guest, so what it answers belongs to the flow that its four numbers name (#regression-23,
// #regression-29).
//
// Source ports are kept where the flow has its own socket address: towards the guest, and for UDP through the bypass.

/** Last addresses the guest used, null until then. Never unspecified (#regression-12). */
export interface Seen {
  readonly v4: InAny | null
  /** IPv6 other than link-local. */
  readonly v6: InAny | null
  readonly linkLocal6: InAny | null
}
export const NOTHING_SEEN: Seen = { v4: null, v6: null, linkLocal6: null }

const is = (a: InAny, b: InAny | null): boolean => b !== null && sameAddr(a, b)
/** May stand in a frame as one end of a flow. */
const onLink = (a: InAny): boolean => isUnicast(a) && !isLoopback(a)

// --- host -> guest, through the tap

/**
 * Source as the guest sees it, null if there is none to show: then the flow is refused. First match wins: 127.0.0.1 and
 * ::1 are the loopback map, the guest's own address is the guest map, what the guest could not answer to is us, all else
 * stays. A peer that is nobody's own address (multicast, broadcast, unspecified: #regression-91) is refused.
 * Invariant: never loopback, unspecified, multicast or broadcast.
 */
export const inwardTap = (c: NatConfig, seen: Seen, peer: InAny): InAny | null => {
  if (!isUnicast(peer)) return null
  const v4 = isV4(peer)
  const assigned = v4 ? c.assigned4 : c.assigned6
  const loopbackMap = v4 ? c.mapHostLoopback4 : c.mapHostLoopback6
  const guestMap = v4 ? c.mapGuestAddr4 : c.mapGuestAddr6
  const own = v4 ? c.own4 : c.own6
  const usesIt = is(peer, seen.v4) || is(peer, seen.v6) || is(peer, seen.linkLocal6)
  const shown =
    loopbackMap !== null && sameAddr(peer, v4 ? LOOPBACK4 : LOOPBACK6)
      ? loopbackMap
      : guestMap !== null && is(peer, assigned)
        ? guestMap
        : isLoopback(peer) || usesIt || is(peer, assigned)
          ? own
          : peer
  return shown !== null && onLink(shown) ? shown : null
}

/**
 * The guest's address for a flow whose source it sees as `source`: the last seen one of the same scope, else any it is
 * known to have, configured ones included (passt(1), NOTES). null: none known.
 */
export const guestAddress = (c: NatConfig, seen: Seen, source: InAny): InAny | null => {
  if (isV4(source)) return seen.v4 ?? c.assigned4
  return isLinkLocal(source)
    ? (seen.linkLocal6 ?? seen.v6 ?? c.assigned6)
    : (seen.v6 ?? c.assigned6 ?? seen.linkLocal6)
}

/** The tap side of a flow: peer and guest as in the frames. */
export interface InwardFlow {
  readonly src: InAny
  readonly dst: InAny
  readonly dstPort: number
}

/**
 * A flow from `peer` that came to local port `port` of a rule, as it goes to the guest; null: refuse it. The local address
 * that it came to is not shown to the guest. Invariant: both addresses of one family, different, fit for a link.
 */
export const inwardFlow = (
  c: NatConfig,
  seen: Seen,
  rule: Rule,
  peer: InAny,
  port: number
): InwardFlow | null => {
  const src = inwardTap(c, seen, peer)
  if (src === null) return null
  const dst = rule.toAddress ?? guestAddress(c, seen, src)
  if (dst === null || isV4(dst) !== isV4(src) || sameAddr(dst, src) || !onLink(dst)) return null
  return { src, dst, dstPort: targetOf(rule, port) }
}

// --- past the tap

/**
 * Whether a flow from `peer` to the host goes by socket and not by tap: it is local, which its source says; the host's own
 * public address goes by tap. With --splice-only, everything else is refused.
 */
export const wantsSplice = (mode: 'passt' | 'pasta', splice: boolean, peer: InAny): boolean =>
  mode === 'pasta' && splice && isLoopback(peer)

/** Where to connect. `src` null: the kernel's choice. */
export interface SpliceTarget {
  readonly dst: InAny
  readonly dstPort: number
  readonly src: InAny | null
  /** `dst` needs the tap's index as its scope (IPv6 link-local). */
  readonly tapScope: boolean
}

/**
 * Host -> namespace: socket to open in the namespace for a flow that came from a loopback address to `local`. By default
 * the namespace's public address, so that what listens on its loopback stays private; with --host-lo-to-ns-lo the same
 * loopback address as on the host (#regression-79, #regression-92). null: no address known yet, refuse.
 */
export const spliceTargetIn = (
  c: NatConfig,
  seen: Seen,
  hostLoToNsLo: boolean,
  rule: Rule,
  local: InAny,
  port: number
): SpliceTarget | null => {
  const v4 = isV4(local)
  const loopback = isLoopback(local) ? local : v4 ? LOOPBACK4 : LOOPBACK6
  const outside = v4 ? (seen.v4 ?? c.assigned4) : (seen.v6 ?? c.assigned6 ?? seen.linkLocal6)
  const dst = rule.toAddress ?? (hostLoToNsLo ? loopback : outside)
  if (dst === null || !isUnicast(dst)) return null
  // what the guest showed us must not open its loopback
  if (rule.toAddress === null && isLoopback(dst) !== hostLoToNsLo) return null
  return { dst, dstPort: targetOf(rule, port), src: null, tapScope: !isV4(dst) && isLinkLocal(dst) }
}

/**
 * Namespace -> host: socket to open on the host for a flow from `peer` to `local`, both in the namespace and both
 * loopback, or else refused: a listener there must not let the rest of the namespace's network in. Both addresses are
 * kept to the last bit (#regression-79, #regression-92: 127.0.0.53 is not 127.0.0.1).
 */
export const spliceTargetOut = (rule: Rule, peer: InAny, local: InAny, port: number): SpliceTarget | null => {
  if (!isLoopback(peer) || !isLoopback(local)) return null
  const dst = rule.toAddress ?? local
  if (!isUnicast(dst)) return null
  // a loopback source reaches nothing else
  const src = isLoopback(dst) && isV4(dst) === isV4(peer) ? peer : null
  return { dst, dstPort: targetOf(rule, port), src, tapScope: false }
}
