import { EADDRINUSE } from '../../codecs/value/errno.js'
import { fromV4, type InAny, UNSPECIFIED6 } from '../../codecs/value/inany.js'
import { emptyPorts, portSet } from '../../codecs/value/port-set.js'
import { instant } from '../../effects/effect.js'
import type { Rule } from '../../machines/forward/forward-rules.js'
import { type Listening, portScanMachine } from '../../machines/forward/port-scan.js'
import { type GuestConfig, LEASE_FOREVER } from '../../machines/services/guest-config.js'
import { ndpMachine } from '../../machines/services/ndp.js'
import { alphabet, lettersOf } from '../alphabet.js'

// What runs beside the flows: router advertisements, and ports that are forwarded as long as somebody listens.

const MAC = 0x5254_0000_0001
const LINK_LOCAL: InAny = [0xfe80_0000, 0, 0, 1]
const GUEST: InAny = [0xfe80_0000, 0, 0, 2]
const CONFIG: GuestConfig = {
  ownMac: MAC,
  v4: { assigned: fromV4(0x0a000002), prefixLen: 24, gateway: fromV4(0x0a000001), own: fromV4(0x0a000001) },
  v6: { assigned: [0x2001_0db8, 0, 0, 2], ownLinkLocal: LINK_LOCAL },
  mtu: 0,
  dns4: [],
  dns6: [],
  search: [],
  announceDns: false,
  announceSearch: false,
  lease4: LEASE_FOREVER,
  lease6: LEASE_FOREVER,
  hostname: null,
  fqdn: null,
  noDhcp: false,
  noDhcpv6: false,
  noNdp: false,
  noRa: false,
  serverDuid: new Uint8Array(14),
  macOf: () => MAC
}
/** MIN_DELAY_BETWEEN_RAS (RFC 4861 §10), ms. */
const MIN_DELAY = 3000

/** As the host gets another prefix and resolver. */
const OTHER: GuestConfig = {
  ...CONFIG,
  v6: { assigned: [0x2001_0db8, 1, 0, 2], ownLinkLocal: LINK_LOCAL },
  dns6: [[0x2001_0db8, 1, 0, 0x53]],
  announceDns: true
}
const FORMER = { prefixes: [[0x2001_0db8, 0, 0, 2] as const], dns: [] }

const n = lettersOf<typeof ndpMachine>()
const solicits = (src: InAny, later: number) => (at: { readonly now: number }) =>
  ({
    type: 'RS_RECEIVED',
    now: instant(at.now + later),
    random: 0.5,
    solicitation: { src, srcMac: MAC }
  }) as const
export const ndp = alphabet<typeof ndpMachine>({
  machine: ndpMachine,
  inputs: { usual: { config: CONFIG }, 'no-ra': { config: { ...CONFIG, noRa: true } } },
  letters: [
    n('ready', 'the link is up', ({ now }) => ({ type: 'TAP_READY', now, random: 0.5 })),
    n('lost', 'it is down', () => ({ type: 'TAP_LOST' })),
    n('solicit', 'a guest with an address asks for the router', solicits(GUEST, 0)),
    n('solicit-any', 'a guest without an address does', solicits(UNSPECIFIED6, 0)),
    n('solicit-later', 'a guest without an address does, 3 s later', solicits(UNSPECIFIED6, MIN_DELAY)),
    n('change', 'the host has another prefix and resolver', ({ now }) => ({
      type: 'CONFIG_CHANGED',
      config: OTHER,
      former: FORMER,
      now,
      random: 0.5
    })),
    n('change-later', 'the same, 3 s later', ({ now }) => ({
      type: 'CONFIG_CHANGED',
      config: OTHER,
      former: FORMER,
      now: instant(now + MIN_DELAY),
      random: 0.5
    })),
    n('change-off', 'there is no IPv6 any more', ({ now }) => ({
      type: 'CONFIG_CHANGED',
      config: { ...CONFIG, v6: null },
      former: FORMER,
      now,
      random: 0.5
    })),
    n('timer', 'an advertisement is due', ({ now }) => ({
      type: 'TIMER_RA',
      now: instant(now + MIN_DELAY),
      random: 0.5
    })),
    n('timer-early', 'the timer fires for nothing', ({ now }) => ({ type: 'TIMER_RA', now, random: 0.5 }))
  ],
  abstract: (c) => (c.lastMulticast === null ? '' : 'advertised') + (c.config.v6 === null ? ' off' : ''),
  world: [],
  view: (c) => ({
    lastMulticast: c.lastMulticast,
    noRa: c.config.noRa,
    initial: c.initial,
    former: c.former.prefixes.length
  })
})

const NOBODY: Listening = { tcp: emptyPorts(), udp: emptyPorts() }
const SOMEBODY: Listening = { tcp: portSet([8080]), udp: emptyPorts() }
const AUTO: Rule = {
  proto: 'tcp',
  direction: 'in',
  bind: null,
  v6only: false,
  ifname: null,
  first: 1,
  last: 65535,
  to: 1,
  toAddress: null,
  weak: true,
  scan: true,
  spec: 0,
  given: null,
  unix: null
}
const p = lettersOf<typeof portScanMachine>()
const words = (set: Uint32Array): number => set.reduce((n, w) => n + (w === 0 ? 0 : 1), 0)
export const portScan = alphabet<typeof portScanMachine>({
  machine: portScanMachine,
  inputs: { usual: { rules: [AUTO], failures: [], open: [] } },
  letters: [
    p('scanned', 'somebody in the namespace listens at port 8080', ({ now }) => ({
      type: 'SCANNED',
      host: NOBODY,
      ns: SOMEBODY,
      now
    })),
    p('scanned-none', 'nobody listens', ({ now }) => ({ type: 'SCANNED', host: NOBODY, ns: NOBODY, now })),
    p('not-scanned', 'a side cannot be read', ({ now }) => ({ type: 'SCAN_FAILED', now })),
    p('not-opened', 'port 8080 of the host is taken', () => ({
      type: 'LISTENER_FAILED',
      rule: 0,
      ports: [8080],
      errno: EADDRINUSE
    })),
    p('timer', 'a second has passed', () => ({ type: 'TIMER_SCAN' })),
    p('rules', 'other rules count', () => ({ type: 'RULES', rules: [AUTO], failures: [], open: [] }))
  ],
  abstract: (c) =>
    [c.open, c.closed, c.failed].map((sets) => sets.reduce((sum, s) => sum + words(s), 0)).join('/'),
  world: [{ effect: 'ArmScanTimer', letters: ['timer'] }],
  view: (c) => ({ changes: c.changes })
})
