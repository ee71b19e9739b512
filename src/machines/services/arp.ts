import { type InAny, isUnspecified, sameAddr } from '../../codecs/value/inany.js'
import { ARP_REPLY, ARP_REQUEST, type ArpPacket } from '../../codecs/wire/arp.js'
import { BROADCAST_MAC, type Mac, ZERO_MAC } from '../../codecs/wire/ethernet.js'
import type { ArpSilence } from '../../effects/counters.js'
import type { ServiceEffect } from '../../effects/effect.js'
import type { GuestConfig } from './guest-config.js'
import { arpToTap, count } from './service-frame.js'

// ARP towards the guest (RFC 826). Whatever the guest asks for is behind us, so every address but its own resolves. Who probes means to
// have the address (RFC 5227): that is answered only where somebody has it.

/** What becomes of a request; all but `reply` are silence. */
type Disposition = 'reply' | ArpSilence

/** Ours, a resolver's, or a neighbour's: those have MACs of their own, and all that nobody knows has the gateway's. */
const isTaken = (c: GuestConfig, own: InAny, a: InAny): boolean =>
  sameAddr(a, own) || c.dns4.some((resolver) => sameAddr(a, resolver)) || c.macOf(a) !== c.macOf(own)

const disposition = (c: GuestConfig, p: ArpPacket): Disposition => {
  if (c.v4 === null) return 'off'
  if (p.op !== ARP_REQUEST) return 'not a request'
  // The guest's own: probes for it (RFC 5227 §2.1.1) must find it free, whoever asks.
  if (sameAddr(p.tpa, c.v4.assigned)) return 'assigned address'
  if (sameAddr(p.spa, p.tpa) && !isUnspecified(p.spa)) return 'announcement' // RFC 5227 §2.3
  return isUnspecified(p.spa) && !isTaken(c, c.v4.own, p.tpa) ? 'probe' : 'reply'
}

/** `srcMac`: source of the frame; the reply goes there, whatever the packet calls its sender. */
export const answerArp =
  (c: GuestConfig) =>
  (p: ArpPacket, srcMac: Mac): ReadonlyArray<ServiceEffect> => {
    const what = disposition(c, p)
    if (what !== 'reply') return [count(`arp: ${what}`)]
    const reply = { op: ARP_REPLY, sha: c.macOf(p.tpa), spa: p.tpa, tha: p.sha, tpa: p.spa }
    return [arpToTap({ dst: srcMac, src: c.ownMac }, reply)]
  }

/**
 * Asks for the guest's address, so that its answer tells us its MAC before anything comes in for it. The target hardware
 * address means nothing in a request (RFC 826); all ones, as upstream sends it.
 */
export const arpProbe = (c: GuestConfig): ReadonlyArray<ServiceEffect> =>
  c.v4 === null
    ? []
    : [
        arpToTap(
          { dst: BROADCAST_MAC, src: c.ownMac },
          { op: ARP_REQUEST, sha: c.ownMac, spa: c.v4.own, tha: BROADCAST_MAC, tpa: c.v4.assigned }
        )
      ]

/** ARP announcement (RFC 5227 §2.3) of a neighbour that the guest may know by another MAC: `addr` is at `mac`. */
export const arpAnnouncement = (c: GuestConfig, addr: InAny, mac: Mac): ReadonlyArray<ServiceEffect> =>
  c.v4 === null
    ? []
    : [
        arpToTap(
          { dst: BROADCAST_MAC, src: mac },
          { op: ARP_REQUEST, sha: mac, spa: addr, tha: ZERO_MAC, tpa: addr }
        )
      ]
