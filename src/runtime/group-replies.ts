import { PROTO_UDP } from '../codecs/checksum.js'
import { UNSPECIFIED4, UNSPECIFIED6 } from '../codecs/inany.js'
import { errnoName } from '../effects/counters.js'
import type { Rule } from '../machines/forward-rules.js'
import { isGroup } from '../machines/nat.js'
import { LISTEN_V6ONLY, LISTEN_WORDS } from './abi.js'
import type { UdpFlow } from './flow.js'
import { newId } from './listeners.js'
import { count } from './log.js'
import type { World } from './world.js'

// Who asks a group (mDNS, SSDP) is answered by its members, from their own addresses: what comes to the guest's port on the
// host is therefore let in while the question's flow lives, each answer as a flow of its own (row K of flows.md §8.1).

/** Everything that comes to this UDP port goes to the same port of the guest. */
const ruleFor = (port: number, v6: boolean): Rule => ({
  proto: 'udp',
  direction: 'in',
  bind: v6 ? UNSPECIFIED6 : UNSPECIFIED4,
  v6only: v6,
  ifname: null,
  first: port,
  last: port,
  to: port,
  toAddress: null,
  weak: true,
  scan: false,
  spec: -1
})

/** Begin to listen for answers to `f`, unless it asks no group or the port is listened on by a rule anyway. */
export const awaitAnswers = (w: World, f: UdpFlow): void => {
  if (f.arrival !== null || !isGroup(f.hostAddr)) return
  for (const l of w.listeners.values()) if (l.rule.proto === 'udp' && l.port === f.guestPort) return
  const id = newId(w.listenerIds)
  const rule = ruleFor(f.guestPort, f.v6)
  const addr = f.v6 ? UNSPECIFIED6 : UNSPECIFIED4
  const record = [id, PROTO_UDP, ...addr, f.guestPort, f.v6 ? LISTEN_V6ONLY : 0, 0]
  const [errno] = w.rings.native.listen(Int32Array.from(record.slice(0, LISTEN_WORDS)), [])
  if (errno === 0) {
    w.listeners.set(id, { rule, port: f.guestPort })
    w.awaiting.set(f.index, id)
    return
  }
  w.listenerIds.free.push(id)
  count(w.counters, `group-answers-${errnoName(errno)}`)
}

/** The question's flow is over. */
export const stopAwaiting = (w: World, index: number): void => {
  const id = w.awaiting.get(index)
  if (id === undefined) return
  w.awaiting.delete(index)
  w.listeners.delete(id)
  w.rings.native.closeListener(id)
  w.listenerIds.free.push(id)
}
