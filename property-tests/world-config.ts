import { UNMAPPED } from '../src/machines/nat.js'
import type { WorldConfig } from '../src/runtime/world.js'
import { CONFIG } from './services-arbitraries.js'

/** Of a world without a kernel. */
export const config = (mss: number, mode: 'passt' | 'pasta'): WorldConfig => ({
  guestMac: 0x020000000002,
  guest: CONFIG,
  nat: UNMAPPED,
  outbound4: null,
  outbound6: null,
  scope6: 0,
  tcp: true,
  udp: true,
  icmp: true,
  v4: true,
  v6: true,
  mss4: mss,
  mss6: mss - 20,
  hashKey: [1, 2],
  issKey: [3, 4],
  forward: { mode, splice: true, spliceOnly: false, hostLoToNsLo: false, tapIndex: 2 },
  udpTimeouts: { oneWay: 30, stream: 180 },
  limits: { flows: 64, files: 64, memory: 1 << 20, ports: 64, halfOpen: 64 },
  sharedTcpPorts: false,
  flowComments: false
})
