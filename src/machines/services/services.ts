import type { Mac } from '../../codecs/wire/ethernet.js'
import type { ServiceEffect } from '../../effects/effect.js'
import { answerArp, arpAnnouncement, arpProbe } from './arp.js'
import { answerDhcp } from './dhcp.js'
import { answerDhcpv6 } from './dhcpv6.js'
import type { GuestConfig } from './guest-config.js'
import { ndpMachine } from './ndp.js'
import { answerNdp, farewell, naAnnouncement, nsProbe } from './ndp-answer.js'

// The guest services in one place. Each answers exactly one message at a time, without history:
//
//   answerArp(config)(packet, srcMac)                    decoded by codecs/wire/arp.ts
//   answerDhcp(config)(message, srcMac)                  decoded by codecs/wire/dhcp.ts, from UDP port 67
//   answerDhcpv6(config)(udpData, { src, dst }, srcMac)  from UDP port 547
//   answerNdp(config)(icmpv6, { src, dst, ttl }, srcMac) -> { effects, solicitation }
//
// A `solicitation` that is not null goes to the one `ndpMachine` as RS_RECEIVED { solicitation, now, random }; it sends
// the router advertisement. Lengths and checksums of the lower layers have been checked by codecs/wire/frame.ts.

/** What asks the guest for its addresses, when its link comes up (behaviour.md#first-questions). */
export const initialProbes = (c: GuestConfig, guestMac: Mac): ReadonlyArray<ServiceEffect> => [
  ...arpProbe(c),
  ...nsProbe(c, guestMac)
]

export {
  answerArp,
  answerDhcp,
  answerDhcpv6,
  answerNdp,
  arpAnnouncement,
  farewell,
  naAnnouncement,
  ndpMachine
}
