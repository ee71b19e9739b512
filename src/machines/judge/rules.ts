// The rules that an endpoint is held to, each with its clause. docs/judge-rules.md is made of this table
// (scripts/judge-rules.ts).

export type Severity = 'MUST' | 'SHOULD'

export interface Rule {
  /** RFC and section. */
  readonly clause: string
  /** Its name in the table of requirements of RFC 9293, or null. */
  readonly requirement: string | null
  readonly severity: Severity
  /** What is wrong, of the one who sent the frame. */
  readonly fault: string
  /** What has to be known, and is not always: when the rule says nothing. */
  readonly unless: string
}

const rule = (
  severity: Severity,
  clause: string,
  requirement: string | null,
  fault: string,
  unless = ''
): Rule => ({ severity, clause, requirement, fault, unless })

const COMPLETE = 'frames are missing from the capture'
const BOTH_SYN = 'a SYN is not in the capture, or was repeated with other options'
const ORDER = 'the frame may have been overtaken'

export const RULES = {
  // --- IP
  'ip-header': rule(
    'MUST',
    'RFC 791 §3.1; RFC 8200 §3',
    null,
    'the header of an IP packet is malformed',
    'the frame is cut'
  ),
  'ip-checksum': rule(
    'MUST',
    'RFC 791 §3.1; RFC 1122 §3.2.1.2',
    null,
    'the header checksum of IPv4 is wrong',
    'it is 0: the interface may have filled it in'
  ),
  'ip-source': rule(
    'MUST',
    'RFC 1122 §3.2.1.3; RFC 4291 §2.7',
    null,
    'the source is a multicast or broadcast address'
  ),
  'ip-ttl': rule(
    'MUST',
    'RFC 1122 §3.2.1.7; RFC 8200 §3',
    null,
    'the packet was sent with a time to live of 0'
  ),
  // --- TCP: header
  'tcp-header': rule(
    'MUST',
    'RFC 9293 §3.1',
    null,
    'the data offset is less than 5, or beyond the segment',
    'the frame is cut'
  ),
  'tcp-checksum': rule(
    'MUST',
    'RFC 9293 §3.1',
    'MUST-2',
    'the checksum is wrong',
    'the interface may have filled it in (offload), or the frame is cut'
  ),
  'reserved-bits': rule('MUST', 'RFC 9293 §3.1', null, 'reserved bits of the header are not zero'),
  'ack-missing': rule('MUST', 'RFC 9293 §3.1', null, 'a segment that is neither SYN nor RST has no ACK'),
  'urgent-nothing': rule(
    'SHOULD',
    'RFC 9293 §3.8.5',
    'MUST-62',
    'URG is set, and the urgent pointer points to the first octet of the segment'
  ),
  // --- TCP: options
  'option-length': rule(
    'MUST',
    'RFC 9293 §3.2',
    'MUST-68',
    'the length of an option is below 2, beyond the header, or not that of its kind',
    'the frame is cut'
  ),
  'option-padding': rule('MUST', 'RFC 9293 §3.2', 'MUST-69', 'the padding behind the options is not zero'),
  'mss-later': rule('MUST', 'RFC 9293 §3.2', 'MUST-65', 'a segment without SYN has the MSS option'),
  'scale-later': rule('MUST', 'RFC 7323 §2.2', null, 'a segment without SYN has the window scale option'),
  'scale-unasked': rule(
    'MUST',
    'RFC 7323 §2.2',
    null,
    'the SYN,ACK has a window scale, and the SYN had none',
    BOTH_SYN
  ),
  'scale-large': rule('MUST', 'RFC 7323 §2.3', null, 'the window scale is larger than 14'),
  'sack-permitted-later': rule(
    'MUST',
    'RFC 2018 §2',
    null,
    'a segment without SYN has the SACK-permitted option'
  ),
  'sack-unpermitted': rule(
    'MUST',
    'RFC 2018 §4',
    null,
    'SACK blocks for a peer whose SYN did not permit them',
    BOTH_SYN
  ),
  'timestamps-unasked': rule(
    'MUST',
    'RFC 7323 §3.2',
    null,
    'timestamps in a SYN,ACK or later, and they are not agreed upon',
    BOTH_SYN
  ),
  'timestamps-missing': rule(
    'MUST',
    'RFC 7323 §3.2',
    null,
    'timestamps are agreed upon, and a segment that is no RST has none',
    BOTH_SYN
  ),
  'timestamp-back': rule(
    'MUST',
    'RFC 7323 §5.4',
    null,
    'TSval is less than it was',
    'the segment has no new octets, which would show that it was sent later'
  ),
  'echo-unseen': rule(
    'MUST',
    'RFC 7323 §3.2',
    null,
    'TSecr is a time that the peer has not sent yet',
    `${COMPLETE}, or the peer has sent nothing since`
  ),
  'echo-back': rule('MUST', 'RFC 7323 §4.3', null, 'TSecr is less than it was', ORDER),
  'echo-without-ack': rule('SHOULD', 'RFC 7323 §3.2', null, 'TSecr is not 0 in a segment without ACK'),
  // --- TCP: sequence space
  'handshake-ack': rule(
    'MUST',
    'RFC 9293 §3.5',
    null,
    'the SYN,ACK acknowledges something other than the SYN',
    'the SYN is not in the capture'
  ),
  'syn-not-counted': rule(
    'MUST',
    'RFC 9293 §3.4',
    null,
    'data has the sequence number of the SYN',
    'it is a single octet: a keep-alive'
  ),
  'data-after-fin': rule('MUST', 'RFC 9293 §3.6', null, 'octets behind the own FIN'),
  'fin-moved': rule('MUST', 'RFC 9293 §3.6', null, 'a FIN at another place than before'),
  'retransmission-differs': rule(
    'MUST',
    'RFC 9293 §3.4',
    null,
    'octets that were sent before are sent again with other values',
    'the octets were not kept (of each direction the last 256 KiB are), or it is a single one: a keep-alive'
  ),
  'segment-too-long': rule(
    'MUST',
    'RFC 9293 §3.7.1',
    'MUST-16',
    'data and options are more than the MSS that the peer offered, or that goes without saying',
    'it may be many segments (TSO, GRO): all but three of one length, with a right checksum, that the interface takes'
  ),
  // --- TCP: acknowledgements
  'ack-beyond': rule(
    'MUST',
    'RFC 9293 §3.4',
    null,
    'acknowledges octets that the peer has not sent',
    `${COMPLETE}, or the peer has shown nothing since of where it is`
  ),
  'ack-back': rule('MUST', 'RFC 9293 §3.4', null, 'acknowledges less than before', ORDER),
  'ack-of-nothing': rule(
    'MUST',
    'RFC 9293 §3.4',
    null,
    'acknowledges a number below the first one of the peer',
    BOTH_SYN
  ),
  'ack-late': rule(
    'MUST',
    'RFC 9293 §3.8.6.3',
    'MUST-40',
    'three times in a row data in order was acknowledged after more than 0.5 s and the round trip',
    'the capture is not ordered (--ordered), the round trip is not known, or it was sent again meanwhile'
  ),
  'sack-block': rule('MUST', 'RFC 2018 §3', null, 'the right edge of a SACK block is not behind the left'),
  'sack-beyond': rule(
    'MUST',
    'RFC 2018 §3',
    null,
    'a SACK block with octets that the peer has not sent',
    `${COMPLETE}, or the peer has shown nothing since of where it is`
  ),
  'sack-below': rule(
    'MUST',
    'RFC 2883 §4',
    null,
    'a SACK block but the first has octets that the same segment acknowledges',
    "the segment acknowledges the peer's FIN: nothing is left to be sent again"
  ),
  'sack-overlap': rule('MUST', 'RFC 2018 §3', null, 'SACK blocks overlap, and the first is no duplicate'),
  // --- TCP: windows
  'window-exceeded': rule(
    'MUST',
    'RFC 9293 §3.8.6',
    null,
    'octets behind the right edge of the window that the peer offered',
    `${COMPLETE}, ${BOTH_SYN}, the peer has sent nothing since, or it is a single octet: a probe`
  ),
  'window-shrunk': rule(
    'SHOULD',
    'RFC 9293 §3.8.6',
    'SHLD-14',
    'the right edge of the window moves back, by more than scaling explains',
    `${BOTH_SYN}, or ${ORDER}`
  ),
  'window-silly': rule(
    'MUST',
    'RFC 9293 §3.8.6.2.2',
    'MUST-39',
    'a closed window opens by less than half of the largest one, 536 octets and the largest segment so far',
    `${BOTH_SYN}, or ${ORDER}`
  ),
  'probe-back-off': rule(
    'SHOULD',
    'RFC 9293 §3.8.6.1',
    'SHLD-30',
    'the time between probes of a closed window does not grow',
    'probes without an octet: they may be keep-alives'
  ),
  // --- TCP: retransmission
  'back-off': rule(
    'MUST',
    'RFC 6298 §5',
    'MUST-18',
    'the same octets again and again, unanswered, after times that do not grow',
    'anything of the peer was seen meanwhile, or they are 60 s and more'
  ),
  'syn-early': rule(
    'SHOULD',
    'RFC 6298 §2',
    'MUST-18',
    'the first SYN is sent again within less than 1 s',
    'anything of the peer was seen meanwhile'
  ),
  // --- TCP: RST, TIME-WAIT
  'reset-form': rule(
    'MUST',
    'RFC 9293 §3.5.2',
    null,
    'a SYN is refused by a RST that is not <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>',
    'the refusing side has been heard of before, or the SYN was sent again'
  ),
  'reset-outside': rule(
    'MUST',
    'RFC 9293 §3.5.2',
    null,
    'a RST whose sequence number is in no window',
    `${COMPLETE}, or ${BOTH_SYN}`
  ),
  'after-reset': rule(
    'MUST',
    'RFC 9293 §3.5.3',
    null,
    'has reset the connection, and goes on with it',
    `${ORDER}, or the RST came from further away than the rest: someone else may have sent it`
  ),
  'time-wait-left': rule(
    'MUST',
    'RFC 9293 §3.6.1',
    'MUST-13',
    'uses a connection in TIME-WAIT for a new one within 30 s, without later timestamps (RFC 6191)'
  ),
  'time-wait-reopened': rule(
    'MUST',
    'RFC 9293 §3.6.1',
    'MAY-2',
    'accepts in TIME-WAIT, within 30 s, a SYN whose number is not above the last connection, without later timestamps (RFC 6191)'
  ),
  // --- UDP, ICMP
  'udp-length': rule(
    'MUST',
    'RFC 768',
    null,
    'the length is below 8, or more than the packet has',
    'the frame is cut'
  ),
  'udp-checksum': rule(
    'MUST',
    'RFC 768; RFC 1122 §4.1.3.4',
    null,
    'the checksum is wrong',
    'the interface may have filled it in (offload), or the frame is cut'
  ),
  'udp-unchecked': rule(
    'MUST',
    'RFC 8200 §8.1',
    null,
    'a datagram over IPv6 without checksum',
    'its port is one of a tunnel (RFC 6935)'
  ),
  'icmp-checksum': rule(
    'MUST',
    'RFC 792; RFC 4443 §2.3',
    null,
    'the checksum is wrong',
    'the interface may have filled it in (offload), or the frame is cut'
  ),
  'icmp-short': rule(
    'MUST',
    'RFC 1122 §3.2.2; RFC 4443 §2.1',
    null,
    'an ICMP message is shorter than its header, or an error quotes less than a header and 8 octets'
  ),
  'icmp-of-icmp': rule(
    'MUST',
    'RFC 1122 §3.2.2; RFC 4443 §2.4 (e)',
    null,
    'an ICMP error about an ICMP error'
  ),
  'icmp-of-many': rule(
    'MUST',
    'RFC 1122 §3.2.2; RFC 4443 §2.4 (e)',
    null,
    'an ICMP error about a packet to a multicast or broadcast address'
  ),
  'icmp-large': rule('MUST', 'RFC 4443 §2.4 (c)', null, 'an ICMPv6 error of more than 1280 octets'),
  'echo-data': rule(
    'MUST',
    'RFC 1122 §3.2.2.6; RFC 4443 §4.2',
    null,
    'an echo reply has other data than its request',
    'the request is not in the capture'
  ),
  // --- ARP, NDP, DHCP
  'arp-format': rule(
    'MUST',
    'RFC 826',
    null,
    'lengths of addresses or the protocol are not those of IPv4 over Ethernet',
    'it is another hardware'
  ),
  'arp-sender': rule(
    'MUST',
    'RFC 826; RFC 1812 §3.3.2',
    null,
    'the hardware address of the sender is a group address'
  ),
  'ndp-hops': rule('MUST', 'RFC 4861 §7.1, §6.1', null, 'the hop limit of a message of NDP is not 255'),
  'ndp-code': rule('MUST', 'RFC 4861 §4', null, 'the code of a message of NDP is not 0'),
  'ndp-options': rule(
    'MUST',
    'RFC 4861 §4.6',
    null,
    'a message of NDP is short, or an option has length 0 or is longer than the message',
    'the frame is cut'
  ),
  'ndp-target': rule('MUST', 'RFC 4861 §4.3, §4.4', null, 'the target is a multicast address'),
  'ndp-probe': rule(
    'MUST',
    'RFC 4861 §4.3, §7.1.1',
    null,
    'a solicitation without source has a source link-layer address, or is not to a solicited-node address'
  ),
  'ndp-solicited': rule(
    'MUST',
    'RFC 4861 §4.4',
    null,
    'an advertisement to a multicast address says that it was solicited'
  ),
  'ndp-router': rule('MUST', 'RFC 4861 §4.2', null, 'the source of a router advertisement is not link-local'),
  'dhcp-format': rule(
    'MUST',
    'RFC 2131 §3; RFC 2132 §9.6',
    null,
    'a DHCP message is malformed, or has no message type',
    'the frame is cut'
  ),
  'dhcp-op': rule('MUST', 'RFC 2131 §2', null, 'the message type is one of the other side, server or client'),
  'dhcp-server': rule('MUST', 'RFC 2131 §4.3.1', null, 'an answer of a server has no server identifier'),
  'dhcp-lease': rule('MUST', 'RFC 2131 §4.3.1', null, 'an offer has no lease time')
} as const satisfies Readonly<Record<string, Rule>>

export type RuleName = keyof typeof RULES

/** Someone broke a rule. */
export interface Finding {
  readonly rule: RuleName
  /** Number of the frame that broke it, from 1. */
  readonly frame: number
  /** Its time, seconds since 1970. */
  readonly at: number
  /** Who sent it, and to whom: address and port. */
  readonly from: string
  readonly to: string
  readonly seen: string
  readonly allowed: string
}

/** Why something could not be judged; each is counted. */
export const UNKNOWN = {
  'link-type': 'frames whose link type or protocol is not known here',
  cut: 'frames that were not kept whole: checksums and octets behind the cut',
  fragment: 'fragments: what they are of',
  checksum: 'checksums that the interface fills in, or that an endpoint has never right',
  long: 'segments longer than the MSS that may be many (TSO, GRO)',
  'began-before': 'connections that had begun before the capture: what was agreed upon',
  incomplete: 'connections with frames that are not in the capture: what was sent, and offered',
  'evidence-missing': 'suspicions that nothing later confirmed',
  order: 'segments that may have been overtaken',
  'not-kept': 'retransmissions of octets that were not kept',
  forgotten: 'connections given up for want of room',
  dropped: 'frames that whoever captured had no room for'
} as const
export type Unknown = keyof typeof UNKNOWN
