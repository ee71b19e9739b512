import type { RingRecord } from '../../codecs/log/record.js'
import type { InAny } from '../../codecs/value/inany.js'
import { decodeFrame } from '../../codecs/wire/frame.js'
import { VNET_LEN } from '../../codecs/wire/vnet.js'
import { EF, EV, SIDE_1 } from '../abi/abi.js'
import { OF_FLOWS } from '../abi/events.js'
import { findFlow } from '../data/open-flow.js'
import type { World } from '../data/world.js'

// Which flow a record of a ring is about.

const OF_NO_FLOW = new Set<number>([
  EF.TAP_WRITE,
  EF.REJECT,
  EF.LINK_USE,
  EF.LINK_REFUSE,
  EF.LINK_CLOSE,
  EF.NETLINK,
  EF.CAPTURE_NOTE,
  EF.CLOSE_FD,
  EF.REPAIR,
  EF.REPAIR_CLOSE,
  EF.STATE_OPEN,
  EF.STATE_WRITE,
  EF.STATE_CLOSE,
  EF.STATE_NEXT,
  EF.HAND_OVER_ANSWER,
  EF.HAND_OVER_CLOSE,
  EF.HAND_OVER_HOLD,
  EF.HAND_OVER_GUEST,
  EF.GIVE,
  EF.CONF_SEND,
  EF.CONF_CLOSE
])
/** Index of the flow whose socket it is about; null: none's. */
export const flowOfEffect = (r: RingRecord): number | null => {
  const kind = r.words[0] ?? 0
  const isVhost = kind >= EF.VHOST_NEXT && kind <= EF.VRING_STOP
  return OF_NO_FLOW.has(kind) || isVhost ? null : (r.words[1] ?? 0) % SIDE_1
}
const OF_MOVED = new Set<number>([EV.TCP_DUMPED, EV.RESTORED])
export const flowOfEvent = (r: RingRecord): number | null =>
  OF_FLOWS.has(r.words[0] ?? 0) || OF_MOVED.has(r.words[0] ?? 0) ? (r.words[1] ?? 0) % SIDE_1 : null

/** Index of the flow whose frame it is, null: none's that is open. `behind`: octets in front of its Ethernet header. */
const flowOfFrame = (w: World, r: RingRecord, behind: number, isOurs: boolean): number | null => {
  const len = r.words[3] ?? 0
  if (r.kept === null || len < behind || len > 1 << 20 || r.kept.head.length > len) return null
  const b = new Uint8Array(len)
  b.set(r.kept.head)
  const o = { view: new DataView(b.buffer), off: behind, len: len - behind }
  const f = decodeFrame(o, { needsCsum: true, sum16: 0, gsoSize: 0 })
  if (typeof f === 'string' || f.kind === 'arp' || f.kind === 'other') return null
  const [src, dst]: readonly [number, number] =
    f.kind === 'tcp' || f.kind === 'udp' ? [f.l4.srcPort, f.l4.dstPort] : [f.l4.id, f.l4.id]
  const found = (from: InAny, fromPort: number, to: InAny, toPort: number): number | null =>
    findFlow(w, f.ip.proto, from, fromPort, to, toPort)?.index ?? null
  return isOurs ? found(f.ip.dst, dst, f.ip.src, src) : found(f.ip.src, src, f.ip.dst, dst)
}
/** Index of the flow that an event or effect is about, as far as that can be said now. */
export const eventFlow = (w: World, r: RingRecord): number | null =>
  r.words[0] === EV.TAP_FRAME ? flowOfFrame(w, r, 0, false) : flowOfEvent(r)
export const effectFlow = (w: World, r: RingRecord): number | null =>
  r.words[0] === EF.TAP_WRITE ? flowOfFrame(w, r, VNET_LEN, true) : flowOfEffect(r)
