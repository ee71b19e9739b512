import { type InAny, isLinkLocal, isUnspecified, isV4, sameAddr } from '../../codecs/value/inany.js'
import type { Octets } from '../../codecs/value/octets.js'
import type { ArpPacket } from '../../codecs/wire/arp.js'
import { BROADCAST_MAC, type Mac } from '../../codecs/wire/ethernet.js'
import type { Frame } from '../../codecs/wire/frame.js'
import { announce, announcedByNdp, isGuests, isOnLink } from '../../machines/address/guest-address.js'
import type { NdpSource } from '../../machines/services/ndp-answer.js'
import type { World } from './world.js'

// Where what comes in for the guest goes: the last of its addresses of each kind, and the MAC that it had there
// (machines/address/guest-address.ts).

const same = (a: InAny, b: InAny | null): boolean => b !== null && sameAddr(a, b)

const take = (w: World, a: InAny, mac: Mac): void => {
  const { guest } = w
  guest.mac = mac
  if (isV4(a)) guest.v4 = a
  else if (isLinkLocal(a)) guest.linkLocal6 = a
  else guest.v6 = a
}

/** The source of an IP packet. */
export const learnSource = (w: World, f: Exclude<Frame, { kind: 'arp' }>): void => {
  const src = f.ip.src
  if (same(src, f.ip.v6 ? w.guest.v6 : w.guest.v4) || same(src, w.guest.linkLocal6) || isUnspecified(src))
    w.guest.mac = f.eth.src // #regression-12: unspecified is no address, but whoever asks for one is the guest
  else if (isGuests(w.cfg.guestLink, w.cfg.nat.assigned4, w.guest.announced, src)) take(w, src, f.eth.src)
}

const learnAnnounced = (w: World, a: InAny, mac: Mac): void => {
  if (mac !== w.guest.mac && w.guest.mac !== BROADCAST_MAC && !isOnLink(w.cfg.guestLink, a)) return
  w.guest.announced = announce(w.cfg.guestLink, w.guest.announced, a)
  if (isGuests(w.cfg.guestLink, w.cfg.nat.assigned4, w.guest.announced, a)) take(w, a, mac)
}

/** An ARP packet from the guest: requests, replies and announcements name their sender; a probe does not (RFC 5227 §1.1). */
export const learnArp = (w: World, p: ArpPacket, srcMac: Mac): void => {
  if (p.sha === srcMac) learnAnnounced(w, p.spa, srcMac)
}

export const learnNdp = (w: World, message: Octets, from: NdpSource, srcMac: Mac): void => {
  const a = announcedByNdp(message, from, srcMac)
  if (a !== null) learnAnnounced(w, a, srcMac)
}
