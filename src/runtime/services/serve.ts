import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { Addr, Place, Real } from '../../codecs/log/written.js'
import { sameAddr } from '../../codecs/value/inany.js'
import type { Octets } from '../../codecs/value/octets.js'
import { orNull } from '../../codecs/value/or-null.js'
import { ArpPacket } from '../../codecs/wire/arp.js'
import { DhcpMessage } from '../../codecs/wire/dhcp.js'
import type { Frame } from '../../codecs/wire/frame.js'
import { isNdp } from '../../codecs/wire/icmpv6.js'
import type { ServiceEffect } from '../../effects/effect.js'
import { dns6Of, type GuestConfig } from '../../machines/services/guest-config.js'
import { ndpMachine, type RouterAdvertEvent } from '../../machines/services/ndp.js'
import type { Former } from '../../machines/services/ndp-answer.js'
import { answerArp, answerDhcp, answerDhcpv6, answerNdp, farewell } from '../../machines/services/services.js'
import type { Feature } from '../data/feature.js'
import { learnArp, learnNdp } from '../data/learn.js'
import type { World } from '../data/world.js'
import { frameToTap } from '../data/write-effect.js'
import { Deadline } from '../flow/deadline.js'
import { keeping, Moment, stateAt } from '../flow/keeps.js'
import { count } from '../log/log.js'
import { compile } from '../machine/compile.js'

export const ndp = compile<typeof ndpMachine, ServiceEffect>(ndpMachine)

const DHCP_SERVER = 67
const DHCPV6_SERVER = 547

/** Carry out what a service says to the guest, and to the user. */
export const carryOutService = (
  w: World,
  effects: ReadonlyArray<ServiceEffect>,
  deadline: Deadline | null = null
): void => {
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
        if (deadline !== null) deadline.at = e.at
        break
    }
}

const at = (w: World, off: number, len: number): Octets => ({ view: w.rings.view, off, len })

type FrameOf<K extends Frame['kind']> = Extract<Frame, { readonly kind: K }>

const onArp = (w: World, f: FrameOf<'arp'>): boolean => {
  const p = ArpPacket.decode(at(w, f.off, f.len))
  if (E.isLeft(p)) count(w.counters, 'drop-arp-malformed')
  else {
    learnArp(w, p.right, f.eth.src)
    carryOutService(w, answerArp(w.cfg.guest)(p.right, f.eth.src))
  }
  return true
}

const onDhcp = (w: World, f: FrameOf<'udp'>): boolean => {
  if (f.ip.v6 ? f.l4.dstPort !== DHCPV6_SERVER : f.l4.dstPort !== DHCP_SERVER) return false
  const payload = at(w, f.l4.payload.off, f.l4.payload.len)
  if (f.ip.v6) {
    carryOutService(w, answerDhcpv6(w.cfg.guest)(payload, f.ip, f.eth.src))
    return true
  }
  const m = DhcpMessage.decode(payload)
  if (E.isLeft(m)) count(w.counters, 'drop-dhcp-malformed')
  else carryOutService(w, answerDhcp(w.cfg.guest)(m.right, f.eth.src))
  return true
}

/** ARP, DHCP and DHCPv6: answered here, whatever they are addressed to. */
export const arpAndDhcp = (w: World): Feature => ({
  name: 'ARP, DHCP, DHCPv6',
  keeps: null,
  claims: { arp: (f) => onArp(w, f), udp: (f) => onDhcp(w, f) }
})

/** What `was` announced and `is` does not. */
const formerOf = (was: GuestConfig, is: GuestConfig): Former => {
  const prefix = was.v6?.assigned ?? null
  const next = is.v6?.assigned ?? null
  const left = prefix !== null && (next === null || prefix[0] !== next[0] || prefix[1] !== next[1])
  const resolvers = dns6Of(is)
  return {
    prefixes: left ? [prefix] : [],
    dns: dns6Of(was).filter((a) => !resolvers.some((b) => sameAddr(a, b)))
  }
}

const NdpKept = t.type({
  leaf: t.string,
  dueAt: Real,
  lastMulticast: orNull(Moment),
  former: t.type({ prefixes: t.readonlyArray(Addr), dns: t.readonlyArray(Addr) }),
  initial: Place
})

/** Neighbour Discovery: answers, and router advertisements while a guest is there. When the next one comes is no secret. */
export const neighbourDiscovery = (w: World): Feature => {
  const deadline = new Deadline()
  let state = ndp.start({ config: w.cfg.guest }, [])
  const step = (e: RouterAdvertEvent): void => {
    const effects: ServiceEffect[] = []
    state = ndp.step(state, e, effects)
    carryOutService(w, effects, deadline)
  }
  return {
    name: 'NDP',
    keeps: keeping(
      NdpKept,
      () => {
        const { lastMulticast, former, initial } = state.context
        return { leaf: ndp.value(state), dueAt: deadline.at, lastMulticast, former, initial }
      },
      ({ leaf, dueAt, lastMulticast, former, initial }) => {
        // Its configuration is always the world's
        const was = stateAt(ndp, leaf, { config: w.cfg.guest, lastMulticast, former, initial })
        if (was === null) return false
        state = was
        deadline.at = dueAt
      }
    ),
    deadline,
    onTime: (now) => {
      deadline.at = Number.POSITIVE_INFINITY
      step({ type: 'TIMER_RA', now, random: w.outside.random() })
    },
    guestUp: (now) => step({ type: 'TAP_READY', now, random: w.outside.random() }),
    reconfigured: (now) => {
      const was = state.context.config
      const is = w.cfg.guest
      if (was.v6 !== null && is.v6 !== null && !sameAddr(was.v6.ownLinkLocal, is.v6.ownLinkLocal))
        if (w.guest.up) carryOutService(w, farewell(was))
      step({ type: 'CONFIG_CHANGED', config: is, former: formerOf(was, is), now, random: w.outside.random() })
    },
    guestDown: () => {
      deadline.at = Number.POSITIVE_INFINITY
      step({ type: 'TAP_LOST' })
    },
    claims: {
      icmpv6: (f, now) => {
        if (!isNdp(f.l4.type)) return false
        const message = at(w, f.ip.off, f.ip.len)
        learnNdp(w, message, f.ip, f.eth.src)
        const { effects, solicitation } = answerNdp(w.cfg.guest)(message, f.ip, f.eth.src)
        carryOutService(w, effects)
        if (solicitation !== null)
          step({ type: 'RS_RECEIVED', solicitation, now, random: w.outside.random() })
        return true
      }
    }
  }
}
