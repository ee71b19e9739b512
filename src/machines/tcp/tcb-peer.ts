import { add, lt, max, type SeqNum, seq } from '../../codecs/value/seq.js'
import { NO_RTT, type SockInfo } from '../../effects/sock-event.js'
import type { Own } from './tcb-group.js'

// Group `peer`: what the kernel tells of the host's socket and of the peer behind it (TCP_INFO, SO_MEMINFO: tcp(7)).

/**
 * Room in the send buffer that is worth a window. unknown: there is, or nothing needs it. awaited: an AwaitWritable is under way. poor:
 * the socket became writable, and it was less. No states of the chart: in each state of `open` it may be any.
 */
export type Room = 'unknown' | 'awaited' | 'poor'

export interface Peer {
  /** How far the send buffer reached when we last heard; and octets in all. */
  readonly bufEdge: SeqNum
  readonly sndBuf: number
  readonly room: Room
  /** Octets: the window that the peer offers. */
  readonly peerWnd: number
  /** Does the kernel tell the peer's window, and what the peer acknowledged? Settled when the socket is connected. */
  readonly knowsPeerWnd: boolean
  readonly knowsAcked: boolean
  /** µs */
  readonly minRtt: number
  /** ms */
  readonly peerRtt: number
  /** SO_KEEPALIVE is on: asked for once, in whichever state. */
  readonly keepAlive: boolean
}
type D = Own<Peer>

export const PEER: Peer = {
  bufEdge: seq(0),
  sndBuf: 0,
  room: 'unknown',
  peerWnd: 0,
  knowsPeerWnd: false,
  knowsAcked: false,
  minRtt: NO_RTT,
  peerRtt: 0,
  keepAlive: false
}
/** With a fraction where one can be (tcp-tcb.ts, PATTERN). */
export const PEER_FRACTIONS: Peer = { ...PEER, peerRtt: 0.5 }

export const setBufEdge = (d: D, edge: SeqNum): void => {
  d.bufEdge = edge
}
/** The peer has acknowledged `octets`, up to `to`: the buffer is freer by as much, at least. */
export const freed = (d: D, octets: number, to: SeqNum): void => {
  const limit = add(to, d.sndBuf)
  const edge = add(d.bufEdge, octets)
  d.bufEdge = lt(limit, edge) ? max(limit, d.bufEdge) : edge
}
export const takeInfo = (d: D, i: SockInfo): void => {
  d.sndBuf = i.sndBuf
  d.peerWnd = i.sndWnd
  d.minRtt = i.minRtt
  d.peerRtt = i.rtt / 1000
}
export const connected = (d: D, i: SockInfo, weConnected: boolean): void => {
  d.knowsPeerWnd = i.sndWnd > 0 // no peer opens with 0: a kernel before 5.4
  // 0 means nothing where it should be 0: but what is younger is there.
  d.knowsAcked = weConnected ? i.bytesAcked > 0 : d.knowsPeerWnd
}
export const setRoom = (d: D, room: Room): void => {
  d.room = room
}
export const keptAlive = (d: D): void => {
  d.keepAlive = true
}
