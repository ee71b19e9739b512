import { readFileSync } from 'node:fs'
import type { PortRange } from '../../codecs/text/port-spec.js'
import { DEFAULT_EPHEMERAL } from '../../machines/forward/forward-rules.js'

/** net.ipv4.ip_local_port_range of the namespace that we are in (ip(7)). */
export const ephemeralPorts = (): PortRange => {
  try {
    const text = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
    const [first = 0, last = 0] = text.trim().split(/\s+/).map(Number)
    return first > 0 && last >= first ? { first, last } : DEFAULT_EPHEMERAL
  } catch {
    return DEFAULT_EPHEMERAL
  }
}
