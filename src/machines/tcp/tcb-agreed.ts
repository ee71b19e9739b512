import { type SeqNum, seq } from '../../codecs/value/seq.js'
import type { TcpSegment } from '../../codecs/wire/tcp.js'
import type { Own } from './tcb-group.js'

// Group `agreed`: what both SYNs agreed upon (RFC 9293 §3.5). It stays for the connection's life.

/** Without the option (RFC 9293 §3.7.1, MUST-15). */
export const DEFAULT_MSS = 536
export const DEFAULT_MSS6 = 1220
/**
 * What a guest announces is respected down to here. RFC 9293 knows no limit, but a frame for each octet would be an attack
 * on ourselves: we do as Linux (net.ipv4.tcp_min_snd_mss, ip-sysctl; CVE-2019-11479).
 */
export const MIN_SND_MSS = 48
/** TCP_MAXSEG takes no less (TCP_MIN_MSS) and no more; 0 instead of more, which leaves it alone. */
export const MIN_MAXSEG = 88
export const MAX_MAXSEG = 32767
/** Ours: offered in a SYN, in a SYN,ACK if the guest offered one (RFC 7323 §2.2). The largest field stands for 16 MiB. */
export const WINDOW_SCALE = 8
const MAX_SCALE = 14 // RFC 7323 §2.3

export interface Agreed {
  /** The host peer opened it. Known from the start, and no state: both openings meet in `open`. */
  readonly fromHost: boolean
  /**
   * The guest's SYN has come. Until then the RCV numbers count from 0, and are moved when its ISN is known. True in all
   * states but synSent, and connecting of a host peer's: kept here for what every state does alike, a RST to the guest.
   */
  readonly heardSyn: boolean
  /** Another passt had it before us: it was open when it came, and nothing is left of its handshake (behaviour.md#migration). */
  readonly moved: boolean
  /** MSS that we announce. */
  readonly offerMss: number
  /** Octets in one segment to the guest: its MSS, at most ours. */
  readonly mss: number
  /** Shift of windows that the guest sends (Snd.Wind.Shift, RFC 7323 §2.3); 0 unless it offered one. */
  readonly sndScale: number
  /** Shift of ours (Rcv.Wind.Shift); 0 unless the guest offered one, too. */
  readonly rcvScale: number
  /** Our initial send sequence number, and the guest's (ISS, IRS: RFC 9293 §3.3.1). */
  readonly iss: SeqNum
  readonly irs: SeqNum
}
type D = Own<Agreed>

export const AGREED: Agreed = {
  fromHost: false,
  heardSyn: false,
  moved: false,
  offerMss: DEFAULT_MSS,
  mss: DEFAULT_MSS,
  sndScale: 0,
  rcvScale: 0,
  iss: seq(0),
  irs: seq(0)
}

const clamp = (n: number, low: number, high: number): number => Math.min(high, Math.max(low, n))

/** Before the guest is heard. `mss`: the most that our MTU allows; `defaultMss`: the guest's, if it will name none. */
export const offer = (d: D, fromHost: boolean, iss: SeqNum, mss: number, defaultMss: number): void => {
  d.fromHost = fromHost
  d.iss = iss
  d.offerMss = clamp(mss, MIN_SND_MSS, 65535)
  d.mss = clamp(defaultMss, MIN_SND_MSS, d.offerMss)
}
/** The guest's SYN or SYN,ACK. Total: any gives a sane block. */
export const hear = (d: D, s: Pick<TcpSegment, 'seq' | 'mss' | 'windowScale'>): void => {
  d.heardSyn = true
  d.irs = s.seq
  d.mss = clamp(s.mss ?? d.mss, MIN_SND_MSS, d.offerMss)
  d.sndScale = Math.min(s.windowScale ?? 0, MAX_SCALE)
  d.rcvScale = s.windowScale === null ? 0 : WINDOW_SCALE
}

/** Of a connection that was open elsewhere before. `mss`: the most that our MTU allows. */
export const takeOver = (
  d: D,
  mss: number,
  from: Pick<Agreed, 'fromHost' | 'mss' | 'sndScale' | 'rcvScale' | 'iss' | 'irs'>
): void => {
  offer(d, from.fromHost, from.iss, mss, from.mss)
  d.heardSyn = true
  d.moved = true
  d.sndScale = from.sndScale
  d.rcvScale = from.rcvScale
  d.irs = from.irs
}

/** MSS for TCP_MAXSEG, so that the peer sees the guest's; 0 leaves the option alone. */
export const connectMss = (t: Pick<Agreed, 'mss'>): number =>
  t.mss > MAX_MAXSEG ? 0 : Math.max(MIN_MAXSEG, t.mss)
