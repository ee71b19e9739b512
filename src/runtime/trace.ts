import { showMac } from '../codecs/ethernet.js'
import type { Frame } from '../codecs/frame.js'
import { showAddr } from '../codecs/inany.js'
import { ACK, FIN, PSH, RST, SYN, type TcpSegment, URG } from '../codecs/tcp.js'
import type { Log } from './log.js'

const FLAG_NAMES: ReadonlyArray<readonly [number, string]> = [
  [SYN, 'SYN'],
  [FIN, 'FIN'],
  [RST, 'RST'],
  [PSH, 'PSH'],
  [ACK, 'ACK'],
  [URG, 'URG']
]

const showTcp = (s: TcpSegment): string => {
  const flags = FLAG_NAMES.filter(([bit]) => (s.flags & bit) !== 0).map(([, name]) => name)
  return `${s.srcPort} > ${s.dstPort} ${flags.join(',')} seq ${s.seq} ack ${s.ack} wnd ${s.wnd} len ${s.payload.len}`
}

/** One line for a decoded frame of the guest. */
export const showFrame = (f: Frame): string => {
  const from = showMac(f.eth.src)
  if (f.kind === 'arp') return `tap: ARP from ${from}`
  const ends = `${showAddr(f.ip.src)} > ${showAddr(f.ip.dst)}`
  switch (f.kind) {
    case 'tcp':
      return `tap: TCP ${ends} ${showTcp(f.l4)}`
    case 'udp':
      return `tap: UDP ${ends} ${f.l4.srcPort} > ${f.l4.dstPort} len ${f.l4.payload.len}`
    case 'icmp':
    case 'icmpv6':
      return `tap: ${f.kind === 'icmp' ? 'ICMP' : 'ICMPv6'} ${ends} type ${f.l4.type} code ${f.l4.code}`
    case 'other':
      return `tap: IP ${ends} protocol ${f.ip.proto} len ${f.ip.len}`
  }
}

export const traceFrame = (log: Log, f: Frame): void => log.at('trace', showFrame(f))
