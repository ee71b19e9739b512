import type { CapturedFrame } from '../codecs/log/capture-file.js'
import { LINK_RAW } from '../codecs/log/link-layer.js'
import type { InAny } from '../codecs/value/inany.js'
import { octets } from '../codecs/value/octets.js'
import { PROTO_TCP, sealL4 } from '../codecs/wire/checksum.js'
import { Ipv4Packet } from '../codecs/wire/ipv4.js'
import { TcpPacket } from '../codecs/wire/tcp.js'

/**
 * A segment as a capture has it (link type RAW), for machines/judge: between IPv4 addresses, its checksum right. `at`: seconds since
 * 1970.
 */
export const captured = (at: number, src: InAny, dst: InAny, segment: TcpPacket): CapturedFrame => {
  const payload = TcpPacket.encode(segment)
  sealL4(new DataView(payload.buffer), 0, payload.length, PROTO_TCP, src, dst)
  const frame = Ipv4Packet.encode({ src, dst, proto: PROTO_TCP, ttl: 64, tos: 0, payload })
  return { at, linkType: LINK_RAW, interface: 0, frame: octets(frame), originalLen: frame.length }
}
