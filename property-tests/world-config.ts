import { fromV4 } from '../src/codecs/value/inany.js'
import { UNMAPPED } from '../src/machines/address/nat.js'
import { NO_QUANTUM } from '../src/runtime/data/rates.js'
import type { WorldConfig } from '../src/runtime/data/world.js'
import { CONFIG, GUEST_MAC } from './services-arbitraries.js'

/** A world with everything in it, for tests that make one without a start. */
export const WORLD_CONFIG: WorldConfig = {
  guestMac: GUEST_MAC,
  guest: CONFIG,
  nat: UNMAPPED,
  guestLink: { fixed4: false, fixed6: false, prefixes: [{ addr: fromV4(0xc6336402), len: 24 }] },
  outbound4: null,
  outbound6: null,
  scope6: 2,
  tcp: true,
  udp: true,
  icmp: true,
  v4: true,
  v6: true,
  mss4: 1460,
  mss6: 1440,
  hashKey: [1, 2],
  issKey: [3, 4],
  forward: { mode: 'pasta', splice: true, spliceOnly: false, hostLoToNsLo: false, tapIndex: 2 },
  udpTimeouts: { oneWay: 30, stream: 180 },
  limits: { flows: 64, files: 64, memory: 1 << 20, ports: 64, halfOpen: 64 },
  sharedTcpPorts: false,
  rates: [],
  quantum: NO_QUANTUM,
  bothSides: false
}
