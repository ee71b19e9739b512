import { PROTO_UDP } from '../../codecs/wire/checksum.js'
import type { Instant } from '../../effects/effect.js'
import { inwardTap } from '../../machines/address/nat-inward.js'
import { answerFault } from '../../machines/address/on-link.js'
import { arrived, boundPort, flowOf } from '../abi/events.js'
import { count } from '../log/log.js'
import { deliver } from './deliver.js'
import type { Feature } from './feature.js'
import type { World } from './world.js'

// Who asks a group (mDNS, SSDP) is answered by its members, from their own addresses. The question's socket is therefore not
// connected; it has a port of its own, which nobody but those who hear the question is told, and lives as long as the
// question's flow: 30 s from the last question on (machines/flow/udp.ts). machines/address/on-link.ts says what is an answer.

/** EV_BOUND: what a listener of ours hears from this port of a group is the guest's own question (forward.ts, isEcho). */
const onBound = (w: World, record: number): void => {
  const f = w.flows[flowOf(w.rings.ev, record)]
  if (f?.kind === 'udp')
    w.table.claim(f.index, PROTO_UDP, f.hostAddr, f.hostPort, boundPort(w.rings.ev, record))
}

/** EV_ANSWER */
const onAnswer = (w: World, record: number, now: Instant): void => {
  const { handle, peer, peerPort, sentTo, ifindex, payload, segment } = arrived(w.rings.ev, record)
  const f = w.flows[handle]
  if (f?.kind !== 'udp') return count(w.counters, 'event-without-flow')
  const fault = answerFault(w.links, { from: peer, fromPort: peerPort, to: sentTo, index: ifindex })
  if (fault !== null) return count(w.counters, `group-answer: ${fault}`)
  const shown = inwardTap(w.cfg.nat, w.guest, peer)
  if (shown === null) return count(w.counters, 'group-answer: no address for the guest')
  deliver(w, f, { type: 'SOCK_ANSWER', from: shown, fromPort: peerPort, payload, segment, now })
}

/** Answers to what the guest asked a group. */
export const groupReplies = (w: World): Feature => ({
  name: "groups' answers",
  keeps: null,
  takes: { BOUND: (i) => onBound(w, i), ANSWER: (i, now) => onAnswer(w, i, now) }
})
