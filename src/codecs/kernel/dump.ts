import { encodeMessage, NLM_F_DUMP, NLM_F_REQUEST } from './netlink.js'
import { RTM_GETNEIGH } from './rtneigh.js'
import { RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE } from './rtnetlink.js'

/** Octets of the header that each kind of dump starts with: ifinfomsg, ifaddrmsg, rtmsg, ndmsg. */
const DUMP_HEADER: ReadonlyMap<number, number> = new Map([
  [RTM_GETLINK, 16],
  [RTM_GETADDR, 8],
  [RTM_GETROUTE, 12],
  [RTM_GETNEIGH, 12]
])

/** Request for all of a table; the header is zero but for the family in its first octet. */
export const dumpRequest = (type: number, family: number): Uint8Array => {
  const payload = new Uint8Array(DUMP_HEADER.get(type) ?? 16)
  payload[0] = family
  return encodeMessage({ type, flags: NLM_F_REQUEST | NLM_F_DUMP, seq: 1, pid: 0, payload })
}
