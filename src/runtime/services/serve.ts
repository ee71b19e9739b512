import * as E from 'fp-ts/lib/Either.js'
import type { Octets } from '../../codecs/value/octets.js'
import { ArpPacket } from '../../codecs/wire/arp.js'
import { DhcpMessage } from '../../codecs/wire/dhcp.js'
import type { Frame } from '../../codecs/wire/frame.js'
import { isNdp } from '../../codecs/wire/icmpv6.js'
import type { Instant, ServiceEffect } from '../../effects/effect.js'
import type { RouterAdvertEvent } from '../../machines/services/ndp.js'
import { answerArp, answerDhcp, answerDhcpv6, answerNdp } from '../../machines/services/services.js'
import { frameToTap } from '../data/interpret.js'
import { machines, type World } from '../data/world.js'
import { count } from '../log/log.js'
import { learnArp, learnNdp } from './learn.js'

const DHCP_SERVER = 67
const DHCPV6_SERVER = 547

/** Carry out what a service answered. */
export const perform = (w: World, effects: ReadonlyArray<ServiceEffect>): void => {
  for (const e of effects)
    switch (e.type) {
      case 'FrameToTap':
        frameToTap(w.out, e.frame)
        break
      case 'Log':
        w.log.event(e.service, e.level, `${e.service}: ${e.text}`)
        break
      case 'Count':
        count(w.counters, e.what)
        break
      case 'ArmServiceTimer':
        w.raAt = e.at
        break
    }
}

const at = (w: World, off: number, len: number): Octets => ({ view: w.rings.view, off, len })

/** Step the router advertisement machine. Not a secret: when the next advertisement comes may be guessed. */
const advertise = (w: World, e: RouterAdvertEvent): void => {
  const effects: ServiceEffect[] = []
  w.ra = machines.ndp.step(w.ra, e, effects)
  perform(w, effects)
}

/** The guest has been heard: its link is up, periodic advertisements may start. */
export const linkReady = (w: World, now: Instant): void => {
  w.linkReady = true
  advertise(w, { type: 'TAP_READY', now, random: Math.random() })
}

/** Nobody is there: no advertisements but in answer. */
export const linkLost = (w: World): void => {
  w.linkReady = false
  w.raAt = null
  const effects: ServiceEffect[] = []
  w.ra = machines.ndp.step(w.ra, { type: 'TAP_LOST' }, effects)
  perform(w, effects)
}

/** The service timer, if it is due. */
export const serviceTimer = (w: World, now: Instant): void => {
  if (w.raAt === null || now < w.raAt) return
  w.raAt = null
  advertise(w, { type: 'TIMER_RA', now, random: Math.random() })
}

/** ARP, NDP, DHCP and DHCPv6: answered here, whatever they are addressed to. False: not for a service. */
export const serve = (w: World, f: Frame, now: Instant): boolean => {
  const g = w.cfg.guest
  switch (f.kind) {
    case 'arp': {
      const p = ArpPacket.decode(at(w, f.off, f.len))
      if (E.isLeft(p)) count(w.counters, 'drop-arp-malformed')
      else {
        learnArp(w, p.right, f.eth.src)
        perform(w, answerArp(g)(p.right, f.eth.src))
      }
      return true
    }
    case 'icmpv6': {
      if (!isNdp(f.l4.type)) return false
      const message = at(w, f.ip.off, f.ip.len)
      learnNdp(w, message, f.ip, f.eth.src)
      const { effects, solicitation } = answerNdp(g)(message, f.ip, f.eth.src)
      perform(w, effects)
      if (solicitation !== null)
        advertise(w, { type: 'RS_RECEIVED', solicitation, now, random: Math.random() })
      return true
    }
    case 'udp': {
      if (f.ip.v6 ? f.l4.dstPort !== DHCPV6_SERVER : f.l4.dstPort !== DHCP_SERVER) return false
      const payload = at(w, f.l4.payload.off, f.l4.payload.len)
      if (f.ip.v6) {
        perform(w, answerDhcpv6(g)(payload, f.ip, f.eth.src))
        return true
      }
      const m = DhcpMessage.decode(payload)
      if (E.isLeft(m)) count(w.counters, 'drop-dhcp-malformed')
      else perform(w, answerDhcp(g)(m.right, f.eth.src))
      return true
    }
    default:
      return false
  }
}
