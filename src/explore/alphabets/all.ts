import { judgedEndpointMachine } from '../../machines/judge/judged-endpoint.js'
import { type Alphabet, bareAlphabet } from '../alphabet.js'
import { confClient } from './control.js'
import { ping, tcpSplice, udp, udpSplice } from './flow.js'
import { guestLink, handOver, migrationSource, migrationTarget, vhostSession } from './link.js'
import { ndp, portScan } from './service.js'
import { tcp } from './tcp.js'

/** By the machines' names. */
export const ALPHABETS: Readonly<Record<string, Alphabet>> = {
  tcp,
  udp,
  ping,
  'tcp-splice': tcpSplice,
  'udp-splice': udpSplice,
  'guest-link': guestLink,
  'vhost-session': vhostSession,
  'migration-source': migrationSource,
  'migration-target': migrationTarget,
  'hand-over': handOver,
  ndp,
  'port-scan': portScan,
  'conf-client': confClient,
  'judged-endpoint': bareAlphabet(judgedEndpointMachine)
}
/** Names that others use. */
export const ALIASES: Readonly<Record<string, string>> = {
  splice: 'tcp-splice',
  'vhost-user': 'vhost-session',
  vhost: 'vhost-session'
}
