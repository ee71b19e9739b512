// Placeholder header; the codec follows. Flag bits, RFC 9293 §3.1.
export const FIN = 0x01
export const SYN = 0x02
export const RST = 0x04
export const PSH = 0x08
export const ACK = 0x10
export const URG = 0x20

/** A decoded TCP header. `payload` is where the data is; header and options are behind us. */
export interface TcpSegment {
  readonly srcPort: number
  readonly dstPort: number
  readonly seq: import('./seq.js').SeqNum
  readonly ack: import('./seq.js').SeqNum
  readonly flags: number
  /** Field value, not scaled. */
  readonly wnd: number
  readonly urgent: number
  /** Option 2, or null. */
  readonly mss: number | null
  /** Option 3, or null. */
  readonly windowScale: number | null
  /** Data offset in the input's view, and octets. */
  readonly payload: { readonly off: number; readonly len: number }
}
