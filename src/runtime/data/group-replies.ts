import { PROTO_UDP } from '../../codecs/wire/checksum.js'
import type { Instant } from '../../effects/effect.js'
import { inwardTap } from '../../machines/address/nat-inward.js'
import { answerFault } from '../../machines/address/on-link.js'
import { addrAt } from '../abi/events.js'
import { count } from '../log/log.js'
import { deliver } from './deliver.js'
import { seenOf } from './forward.js'
import type { World } from './world.js'

// Who asks a group (mDNS, SSDP) is answered by its members, from their own addresses. The question's socket is therefore not
// connected; it has a port of its own, which nobody but those who hear the question is told, and lives as long as the
// question's flow: 30 s from the last question on (machines/flow/udp.ts). machines/address/on-link.ts says what is an answer.

/** EV_BOUND: what a listener of ours hears from this port of a group is the guest's own question (forward.ts, isEcho). */
export const onBound = (w: World, at: number): void => {
  const f = w.flows[w.rings.ev[at + 1]]
  if (f?.kind === 'udp') w.table.claim(f.index, PROTO_UDP, f.hostAddr, f.hostPort, w.rings.ev[at + 2])
}

/** EV_ANSWER */
export const onAnswer = (w: World, at: number, now: Instant): void => {
  const ev = w.rings.ev
  const f = w.flows[ev[at + 1]]
  if (f?.kind !== 'udp') return count(w.counters, 'event-without-flow')
  const from = addrAt(ev, at + 6)
  const fromPort = ev[at + 5] & 0xffff
  const fault = answerFault(w.links, { from, fromPort, to: addrAt(ev, at + 10), index: ev[at + 14] })
  if (fault !== null) return count(w.counters, `group-answer: ${fault}`)
  const shown = inwardTap(w.cfg.nat, seenOf(w), from)
  if (shown === null) return count(w.counters, 'group-answer: no address for the guest')
  const payload = { off: ev[at + 2], len: ev[at + 3] }
  deliver(w, f, { type: 'SOCK_ANSWER', from: shown, fromPort, payload, segment: ev[at + 4], now })
}
