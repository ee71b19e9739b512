import { type SeqNum, seq } from '../codecs/value/seq.js'
import type { TcpSegment } from '../codecs/wire/tcp.js'

// What the simulated guest is told to do, and what it gets.

/** How the guest's TCP and the program above it behave. Octets and ms. */
export interface GuestScript {
  readonly iss: number
  readonly mss: number | null
  readonly scale: number | null
  /** Payload of one segment: more than MSS with segmentation offload. */
  readonly tso: number
  readonly sends: number
  /** Written so many octets at a time, this often. */
  readonly writes: number
  readonly writesMs: number
  /** Closes only when the host has. */
  readonly closesLast: boolean
  readonly rcvBuf: number
  readonly reads: number
  readonly readsMs: number
  readonly delayedAck: boolean
  /** At these times the receive buffer becomes so large, even if that takes back window. */
  readonly squeezes: readonly { readonly at: number; readonly rcvBuf: number }[]
  readonly resetsAt: number | null
  /** What it makes of a SYN: answers, answers RST, or opens by itself at the same time. */
  readonly inward: 'listens' | 'refuses' | 'crosses'
  /** SYNs that it does not see, as it is still booting. */
  readonly deaf: number
  /** Octets in its SYN,ACK; FIN as well, if that is all. */
  readonly early: number
}

/** A segment from the machine, as it arrives. `pos`: position of the payload in the host's stream. */
export interface ToGuest {
  readonly seq: SeqNum
  readonly ack: SeqNum
  readonly flags: number
  readonly wnd: number
  readonly mss: number | null
  readonly windowScale: number | null
  readonly pos: number
  readonly len: number
}

export const blank: TcpSegment = {
  srcPort: 1,
  dstPort: 2,
  seq: seq(0),
  ack: seq(0),
  flags: 0,
  wnd: 0,
  urgent: 0,
  mss: null,
  windowScale: null,
  payload: { off: 0, len: 0 }
}
