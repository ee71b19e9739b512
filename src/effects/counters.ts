import type { FragmentDrop } from '../codecs/wire/fragment.js'

// Names of what is counted: all of them, since what a guest sends must not make new ones. Memory stays bounded, and whatever
// waits for a name to be counted for the first time cannot be made to wake without end.

/** By flows (Effect, Count). */
export type FlowCounter =
  | 'tcp-unexpected'
  | 'tcp-early'
  | 'tcp-ignored'
  | 'tcp-challenge-suppressed'
  | 'tcp-sock-full'
  | 'tcp-splice-unexpected'
  | 'tcp-splice-not-connected'
  | 'tcp-splice-broken'
  | 'udp-unexpected'
  | 'udp-ttl-spent'
  | 'udp-error-not-relayed'
  | 'udp-socket-failed'
  | 'udp-refused'
  | 'udp-open-failed'
  | 'udp-splice-unexpected'
  | 'udp-splice-error'
  | 'udp-splice-refused'
  | 'udp-splice-failed'
  | 'ping-unexpected'
  | 'ping-ttl-spent'
  | 'ping-error-not-relayed'
  | 'ping-not-permitted'
  | 'ping-open-failed'
  | 'ping-socket-failed'
  | 'ping-refused'

export type ArpSilence = 'off' | 'not a request' | 'assigned address' | 'announcement' | 'probe'
export type DhcpSilence = 'off' | 'other server' | 'not a request' | 'other message type'
export type Dhcpv6Silence =
  | 'off'
  | 'unicast'
  | 'no source'
  | 'malformed'
  | 'nothing to say'
  | 'other message type'
  | 'no client identifier'
  | 'no server identifier'
  | 'other server'
  | 'server identifier'
export type NdpSilence =
  | 'off'
  | 'hop limit'
  | 'malformed'
  | 'not a solicitation'
  | 'duplicate address detection'
  | 'assigned address'
  | 'NS for multicast'
  | 'NS from :: with link-layer address'
  | 'NS from :: not to solicited-node'
  | 'RA off'
  | 'RS from :: with link-layer address'
  | 'RS within 3 s of an RA'
/** By services (ServiceEffect, Count): messages that got no answer. */
export type ServiceCounter =
  | `arp: ${ArpSilence}`
  | `dhcp: ${DhcpSilence}`
  | `dhcpv6: ${Dhcpv6Silence}`
  | `ndp: ${NdpSilence}`

/** Why a fragment, or all of a datagram's, was dropped. */
export type FragmentFault =
  | 'length'
  | 'too-long'
  | 'empty'
  | 'headers-cut'
  | 'headers-long'
  | 'of-spoiled'
  | 'overlap'
  | 'too-many'
/** By reassembly. */
export type ReassemblyCounter =
  | `drop-fragment-${FragmentFault | 'crowded' | 'timeout'}`
  | 'fragment-twice'
  | 'datagram-joined'

/** Why what came to a question's socket is no answer. */
export type AnswerFault = 'no peer' | 'not to us' | 'another link' | 'not of this link'

/** errno(3), Linux numbers, as far as one is likely where errors are counted. */
const ERRNOS = {
  1: 'EPERM',
  5: 'EIO',
  9: 'EBADF',
  11: 'EAGAIN',
  12: 'ENOMEM',
  13: 'EACCES',
  19: 'ENODEV',
  22: 'EINVAL',
  23: 'ENFILE',
  24: 'EMFILE',
  77: 'EBADFD',
  90: 'EMSGSIZE',
  97: 'EAFNOSUPPORT',
  98: 'EADDRINUSE',
  99: 'EADDRNOTAVAIL',
  100: 'ENETDOWN',
  105: 'ENOBUFS'
} as const
type ErrnoName = (typeof ERRNOS)[keyof typeof ERRNOS] | 'other'
export const errnoName = (errno: number): ErrnoName =>
  (ERRNOS as Readonly<Record<number, ErrnoName | undefined>>)[errno] ?? 'other'

/** By the runtime. */
type RuntimeCounter =
  | `drop-${FragmentDrop}`
  | 'drop-fragment-offload'
  | 'drop-ndp-fragmented'
  | 'drop-arp-malformed'
  | 'drop-dhcp-malformed'
  | 'drop-unroutable'
  | 'drop-flow-table-full'
  | 'drop-tcp-no-flow'
  | 'drop-tcp-disabled'
  | 'drop-udp-disabled'
  | 'drop-icmp-disabled'
  | 'drop-icmp-type'
  | 'drop-icmpv6-type'
  | 'drop-ip-protocol'
  | 'drop-family-disabled'
  | 'forward-refused'
  | 'forward-unroutable'
  | 'forward-table-full'
  | 'forward-no-listener'
  | 'forward-bad-peer'
  | 'forward-echo'
  | 'listen-icmp-error'
  | 'event-without-flow'
  | 'neighbours-lost'
  | 'host-malformed'
  | 'source-gone'
  | 'neighbour-malformed'
  | 'address-malformed'
  | 'netlink-unexpected'
  | 'capture-missed'
  | 'frames-over-limit'
  | 'echo-reply-short'
  | 'icmp-error-untranslatable'
  | 'icmp-error-withheld'
  | 'flow-ended-with-open-socket'
  | 'internal-error'
  | 'gave-way'
  | 'refused-by-policy'
  | `limit-${'flows' | 'files' | 'memory' | 'udpPorts' | 'tcpPorts' | 'pingIds' | 'halfOut' | 'halfIn'}`
  | 'limit-rate'
  | 'effect-misplaced'
  | `group-answer: ${AnswerFault | 'no address for the guest'}`
  | `${'tap-refused' | 'listen-trouble' | 'shortage'}-${ErrnoName}`

export type CounterName = FlowCounter | ServiceCounter | ReassemblyCounter | RuntimeCounter
