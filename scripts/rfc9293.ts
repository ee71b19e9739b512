// RFC 9293's table of requirements (Appendix B), row by row, and what this program does about each (docs/conformance.md).

/** 'tcp: synSent on TAP_SEGMENT', a transition of a chart; or 'machines/tcp/tcp-segment.ts disposition', a name in a file. */
export type Place = string
/** File below the tree's root, and the test's name there. */
export type Shown = readonly [file: string, test: string]
export type Verdict =
  | { readonly kept: readonly Place[]; readonly shown: readonly Shown[] }
  /** Nothing of ours is asked: why. */
  | { readonly notApplicable: string }
  /** We do otherwise: how, and why. */
  | { readonly differs: string; readonly kept?: readonly Place[]; readonly shown?: readonly Shown[] }
  /** Allowed, not asked for, and not done. */
  | { readonly unused: string }
export type Level = 'MUST' | 'MUST NOT' | 'SHOULD' | 'SHOULD NOT' | 'MAY'
export interface Requirement {
  /** As the RFC labels it. A label may have several rows. */
  readonly id: string
  readonly feature: string
  readonly level: Level
  readonly verdict: Verdict
}

const TCP = 'property-tests/tcp.test.ts'
const INWARD = 'property-tests/tcp-inward.test.ts'
const WORLD = 'property-tests/tcp-world.test.ts'
const HERE = 'property-tests/rfc9293.test.ts'
const WIRE = 'property-tests/wire.codec.test.ts'
const FRAME = 'property-tests/frame.codec.test.ts'
const NAT = 'property-tests/nat.test.ts'
const ON_WIRE = 'test/wire.test.ts'
const NATIVE = 'native/test/tcp_test.cc'
const SEGMENT = 'machines/tcp/tcp-segment.ts'
const OUTPUT = 'machines/tcp/tcp-output.ts'
const ACKS = 'machines/tcp/tcp-ack.ts'
const RTX = 'machines/tcp/tcb-rtx.ts'
const SND = 'machines/tcp/tcb-snd.ts'
const AGREED = 'machines/tcp/tcb-agreed.ts'
const OWED = 'machines/tcp/tcb-ack.ts'
const OPTIONS = 'codecs/wire/tcp.ts findOption'

const keeps = (kept: Place | readonly Place[], ...shown: readonly Shown[]): Verdict => ({
  kept: typeof kept === 'string' ? [kept] : kept,
  shown
})
const no = (notApplicable: string): Verdict => ({ notApplicable })
const differs = (why: string, kept: readonly Place[] = [], ...shown: readonly Shown[]): Verdict => ({
  differs: why,
  kept,
  shown
})
const unused = (why: string): Verdict => ({ unused: why })

const NO_APPLICATION =
  'no application calls us: data comes out of a socket of the host, and goes into one; what a program may ask of its TCP it asks of its own kernel'
const KERNEL_ICMP =
  "the path with ICMP errors is the host kernel's TCP's; between us and the guest there is no router"
const KERNEL_OPEN = 'listeners and connect() are sockets of the host, opened by its kernel'
const NO_IP_OPTIONS = 'we write no IP options, and no application could name a route'
const NO_DIFFSERV = 'no application: what we write has the field 0 (behaviour.md#generated-headers)'
const URGENT =
  'urgent octets stay in the stream, at their place; the pointer is not passed on (behaviour.md#urgent-data)'
const IN_LINE: Shown = [TCP, 'regression-E: urgent data is delivered in line']
const WINDOWS: Shown = [
  TCP,
  'regression-34, regression-57: a window that closes is probed with one octet, for as long as the guest answers'
]
const SHUT: Shown = [
  TCP,
  'regression-72, regression-73, regression-76: no room: the window closes, and opens as soon as the socket is writable'
]
const GAP: Shown = [TCP, 'three segments ahead of a gap: three duplicate ACKs (RFC 5681 §3.2)']
const CONVERSATION: Shown = [
  TCP,
  'ACKs ride on data in a conversation; one that does not come ends the waiting'
]
const TIME_OUTS: Shown = [
  TCP,
  'a lost segment: time-outs double, and end in RST to both (RFC 6298, RFC 1122 §4.2.3.5)'
]
const MALFORMED: Shown = [WIRE, 'malformed lengths: absent from there on']
const LINUX: Shown = [WIRE, 'what Linux sends: MSS, SACK-permitted, timestamps, NOP, window scale']
const MSS: Shown = [
  INWARD,
  'segments: what the guest announces, what the MTU allows, 48 at least; 536 or 1220 if it is silent'
]
const MTU: Shown = [ON_WIRE, 'the MSS fits the MTU']
const ON_SYN: Shown = [HERE, 'MUST-65, SHLD-5, MAY-3: an MSS on each SYN, and on nothing else; URG never']
const GROUPS: Shown = [NAT, 'regression-48: UDP to multicast and broadcast passes, TCP does not']
const SILENCE: Shown = [TCP, 'regression-84: silence is broken by a keep-alive, one octet back']
const ALIVE_ALONE =
  'a guest that vanished is noticed by nothing else, so all connections have it (behaviour.md#tcp-keep-alive); on the host it is what the guest does: its keep-alive turns on SO_KEEPALIVE'

const row = (id: string, feature: string, level: Level, verdict: Verdict): Requirement => ({
  id,
  feature,
  level,
  verdict
})
/** In the RFC's order, under its headings. */
export const RFC9293: Readonly<Record<string, readonly Requirement[]>> = {
  'PUSH flag': [
    row(
      'MAY-16',
      'aggregate or queue data that is not pushed',
      'MAY',
      keeps('tcp: open.established on TURN_END', [
        TCP,
        'what is readable is peeked at SND.NXT, discarded once acknowledged, once a turn'
      ])
    ),
    row(
      'SHLD-27',
      'the sender collapses successive PSH bits',
      'SHOULD',
      keeps('native/addon/peek.cc TCP_PSH', [NATIVE, 'push_is_on_the_last_segment_of_a_batch_row_51'])
    ),
    row('MAY-15', 'SEND can specify PUSH', 'MAY', no(NO_APPLICATION)),
    row(
      'MUST-60',
      'if it cannot: buffer without end',
      'MUST NOT',
      keeps(`${OUTPUT} sendDue`, [
        TCP,
        'what is readable is peeked at SND.NXT, discarded once acknowledged, once a turn'
      ])
    ),
    row(
      'MUST-61',
      'if it cannot: PSH in the last segment',
      'MUST',
      keeps('native/addon/peek.cc TCP_PSH', [NATIVE, 'push_is_on_the_last_segment_of_a_batch_row_51'])
    ),
    row('MAY-17', 'tell the receiving application of PSH', 'MAY', no(NO_APPLICATION)),
    row(
      'SHLD-28',
      'send segments of the largest size when possible',
      'SHOULD',
      keeps(`${OUTPUT} sendRoom`, [HERE, 'SHLD-28: as much as fits goes at once, to be cut by the MSS'])
    )
  ],
  Window: [
    row(
      'MUST-1',
      'an unsigned number',
      'MUST',
      keeps('codecs/wire/tcp.ts decodeTcpAt', [
        HERE,
        'MUST-1, REC-1: 65535 and the largest scale are a positive number'
      ])
    ),
    row(
      'REC-1',
      'kept as a 32-bit number',
      'SHOULD',
      keeps(`${SND} takeWindow`, [HERE, 'MUST-1, REC-1: 65535 and the largest scale are a positive number'])
    ),
    row(
      'SHLD-14',
      'shrink it from the right',
      'SHOULD NOT',
      keeps(`${ACKS} targetEdge`, [
        WORLD,
        'streams arrive intact and complete, unless more was lost than anybody retries'
      ])
    ),
    row(
      'SHLD-15',
      'send new data when it shrinks',
      'SHOULD NOT',
      keeps(`${OUTPUT} sendRoom`, [
        HERE,
        'SHLD-15, MUST-34: it shrinks below what is in flight: nothing new is sent'
      ])
    ),
    row(
      'SHLD-16',
      'send old data again inside of it',
      'SHOULD',
      keeps('tcp: open on TIMER_RTO', [
        HERE,
        'SHLD-16, SHLD-17: what is inside of it comes again, and only silence ends the connection'
      ])
    ),
    row(
      'SHLD-17',
      'give up for data beyond it',
      'SHOULD NOT',
      keeps(`${RTX} alive`, [
        HERE,
        'SHLD-16, SHLD-17: what is inside of it comes again, and only silence ends the connection'
      ])
    ),
    row(
      'MUST-34',
      'robust against a window that shrinks',
      'MUST',
      keeps(
        `${OUTPUT} sendRoom`,
        [HERE, 'SHLD-15, MUST-34: it shrinks below what is in flight: nothing new is sent'],
        WINDOWS
      )
    ),
    row('MAY-8', 'the receiver keeps it closed', 'MAY', keeps(`${ACKS} targetEdge`, SHUT)),
    row('MUST-35', 'probe as the standard says', 'MUST', keeps('tcp: open on TIMER_RTO', WINDOWS)),
    row('MUST-36', 'the sender probes a closed one', 'MUST', keeps('tcp: open on TIMER_RTO', WINDOWS)),
    row(
      'SHLD-29',
      'first probe after the RTO',
      'SHOULD',
      keeps(`${RTX} wait`, [
        HERE,
        'SHLD-29, SHLD-30: a closed window is probed first after the RTO, then ever more seldom'
      ])
    ),
    row(
      'SHLD-30',
      'then ever more seldom',
      'SHOULD',
      keeps(`${RTX} timedOut`, [
        HERE,
        'SHLD-29, SHLD-30: a closed window is probed first after the RTO, then ever more seldom'
      ])
    ),
    row('MUST-37', 'it may stay closed', 'MUST', keeps(`${RTX} alive`, WINDOWS)),
    row('MAY-7', 'send old data again beyond it', 'MAY', unused('go-back-N sends what is inside')),
    row(
      'MUST-66',
      'RST and URG count while ours is closed',
      'MUST',
      keeps(`${SEGMENT} disposition`, [HERE, 'MUST-66: RST, and urgent data, with our window closed'])
    )
  ],
  'Urgent data': [
    row(
      'MUST-30',
      'support the urgent pointer',
      'MUST',
      differs(URGENT, ['tcp: open on TAP_SEGMENT'], IN_LINE)
    ),
    row(
      'MUST-62',
      'it points behind the urgent octets',
      'MUST',
      no('we send none (no segment of ours has URG), and read none')
    ),
    row('MUST-31', 'urgent data of any length', 'MUST', differs(URGENT, [], IN_LINE)),
    row(
      'MUST-32',
      'tell the application as it comes',
      'MUST',
      differs(URGENT, [], [ON_WIRE, 'urgent data stays in line'])
    ),
    row('MUST-33', 'the application can learn how much there is', 'MUST', differs(URGENT)),
    row('SHLD-13', 'the application uses it', 'SHOULD NOT', no(NO_APPLICATION))
  ],
  'TCP options': [
    row('MUST-4', 'end of list, no operation, MSS', 'MUST', keeps(OPTIONS, LINUX, MALFORMED)),
    row(
      'MUST-5',
      'options in any segment',
      'MUST',
      keeps('codecs/wire/tcp.ts decodeTcpAt', [WIRE, 'not on SYN: ignored (RFC 9293 §3.7.1, RFC 7323 §2.2)'])
    ),
    row('MUST-6', 'ignore those that are not supported', 'MUST', keeps(OPTIONS, LINUX)),
    row(
      'MUST-68',
      'all others have a length',
      'MUST',
      keeps(OPTIONS, MALFORMED, [WIRE, 'writeTcp writes in place just what tcpLength says'])
    ),
    row(
      'MUST-7',
      'cope with a length that cannot be',
      'MUST',
      keeps(OPTIONS, MALFORMED, [WIRE, 'any octets as options: no throw, nothing outside is read'])
    ),
    row('MUST-64', 'on any octet', 'MUST', keeps(OPTIONS, LINUX)),
    row('MUST-14', 'send and receive MSS', 'MUST', keeps([`${AGREED} offer`, `${AGREED} hear`], MSS, ON_SYN)),
    row(
      'SHLD-5',
      'IPv4: send it unless it is 536',
      'SHOULD',
      keeps('machines/tcp/tcp-syn.ts sendSyn', ON_SYN)
    ),
    row(
      'SHLD-5',
      'IPv6: send it unless it is 1220',
      'SHOULD',
      keeps('machines/tcp/tcp-syn.ts sendSyn', ON_SYN)
    ),
    row('MAY-3', 'always send it', 'MAY', keeps('machines/tcp/tcp-syn.ts sendSyn', ON_SYN)),
    row('MUST-15', 'IPv4: 536 if none came', 'MUST', keeps(`${AGREED} DEFAULT_MSS`, MSS)),
    row('MUST-15', 'IPv6: 1220 if none came', 'MUST', keeps(`${AGREED} DEFAULT_MSS6`, MSS)),
    row('MUST-16', 'calculate the effective size', 'MUST', keeps(`${AGREED} hear`, MSS)),
    row('SHLD-6', 'MSS accounts for a varying MTU', 'SHOULD', keeps(`${AGREED} offer`, MTU)),
    row('MUST-65', 'MSS in other segments than SYN', 'MUST NOT', keeps(`${ACKS} segment`, ON_SYN)),
    row('MUST-67', 'it follows from what we can take', 'MUST', keeps(`${AGREED} offer`, MTU, MSS)),
    row(
      'MUST-69',
      'zeros fill the header',
      'MUST',
      keeps('codecs/wire/tcp.ts writeTcp', [WIRE, 'writeTcp writes in place just what tcpLength says'])
    )
  ],
  Checksums: [
    row(
      'MUST-2',
      'the sender computes it',
      'MUST',
      keeps('codecs/wire/checksum.ts sealL4', [
        WIRE,
        'sealL4 makes message + pseudo-header zero, whatever the field held before (regression-8)'
      ])
    ),
    row(
      'MUST-3',
      'the receiver checks it',
      'MUST',
      keeps(
        'codecs/wire/frame.ts decodeFrame',
        [FRAME, 'one flipped bit in the L4 part: dropped'],
        [ON_WIRE, 'a wrong TCP checksum is not taken']
      )
    )
  ],
  'Choice of the initial sequence number': [
    row(
      'MUST-8',
      'driven by a clock',
      'MUST',
      keeps('runtime/flow/initial-sequence.ts initialSequence', [
        HERE,
        'MUST-8: the same ends later: as many more as the clock of 4 µs says'
      ])
    ),
    row(
      'SHLD-1',
      'and by a pseudo-random function',
      'SHOULD',
      keeps('runtime/flow/initial-sequence.ts initialSequence', [
        HERE,
        'SHLD-1, MUST-9: another key, or other ends, give a number that has nothing to do with it'
      ])
    ),
    row(
      'MUST-9',
      'which others can compute',
      'MUST NOT',
      keeps('runtime/flow/initial-sequence.ts initialSequence', [
        HERE,
        'SHLD-1, MUST-9: another key, or other ends, give a number that has nothing to do with it'
      ])
    )
  ],
  Opening: [
    row(
      'MUST-10',
      'both may open at once',
      'MUST',
      keeps(
        ['tcp: synSent on TAP_SEGMENT', 'tcp: synRcvd on TAP_SEGMENT'],
        [INWARD, 'SYN is answered by SYN,ACK; again by the same, and by the timer'],
        [INWARD, "the guest's SYN,ACK opens it, and is acknowledged"]
      )
    ),
    row(
      'MUST-11',
      'SYN-RECEIVED remembers where it came from',
      'MUST',
      no('a flow is made for one connection and ends with it; there is no LISTEN to go back to')
    ),
    row('MUST-41', 'a passive OPEN disturbs others', 'MUST NOT', no(KERNEL_OPEN)),
    row('MUST-42', 'LISTEN several times at one port', 'MUST', no(KERNEL_OPEN)),
    row('MUST-44', 'ask IP for the source of a SYN', 'MUST', no(KERNEL_OPEN)),
    row(
      'MUST-45',
      'else the address of the connection',
      'MUST',
      keeps('machines/address/nat.ts hostSideOf', [
        NAT,
        'what goes out and comes back is the same flow, never another'
      ])
    ),
    row(
      'MUST-46',
      'OPEN to a broadcast or multicast address',
      'MUST NOT',
      keeps('machines/address/nat.ts hostSideOf', GROUPS)
    ),
    row(
      'MUST-57',
      'silently drop segments to such addresses',
      'MUST',
      keeps('machines/address/nat.ts hostSideOf', GROUPS, [
        ON_WIRE,
        'regression-30, regression-40: port 0, multicast and nonsense flags do no harm'
      ])
    )
  ],
  Closing: [
    row(
      'SHLD-2',
      'RST may have data',
      'SHOULD',
      keeps(`${SEGMENT} disposition`, [HERE, 'SHLD-2: a RST with data is a RST'])
    ),
    row(
      'MUST-12',
      'tell the application of an abort',
      'MUST',
      keeps(
        ['tcp: open on TAP_SEGMENT', 'tcp: (root) on SOCK_FAILED'],
        [
          TCP,
          'regression-I: RST exactly at RCV.NXT resets, in the window it is challenged, else ignored (RFC 5961 §3.2)'
        ],
        [TCP, 'the host resets: RST to the guest at SND.NXT']
      )
    ),
    row(
      'MAY-1',
      'close in one direction only',
      'MAY',
      no(
        "who reads and who has stopped reading is known to the peer's kernel, which resets; we pass the reset on"
      )
    ),
    row(
      'SHLD-3',
      'then RST for data that is lost',
      'SHOULD',
      no("it is the peer's kernel that knows; we read all before close(), so that ours does not")
    ),
    row(
      'MUST-13',
      'TIME-WAIT lasts 2 MSL',
      'MUST',
      differs(
        '2 s: on a local link no segment lingers for longer, and the flow would hold its place in the table (`TIME_WAIT`)',
        ['machines/tcp/tcb-wake.ts TIME_WAIT', 'tcp: timeWait on TIMER_IDLE'],
        [TCP, 'timeWait: the FIN again is acknowledged again; no socket is held; it ends']
      )
    ),
    row(
      'MAY-2',
      'take a SYN in TIME-WAIT',
      'MAY',
      keeps('tcp: timeWait on TAP_SEGMENT', [
        HERE,
        'MAY-2: a SYN in TIME-WAIT ends it, for the next connection of these ports'
      ])
    ),
    row(
      'SHLD-4',
      'timestamps shorten TIME-WAIT',
      'SHOULD',
      no('no timestamps towards the guest (behaviour.md#tcp-handshake); TIME-WAIT is short')
    )
  ],
  Retransmission: [
    row(
      'MUST-19',
      'exponential back-off, slow start, congestion avoidance',
      'MUST',
      differs(
        'back-off and, after a loss, slow start; then the guest\'s window is the only bound: a link to a guest has no queue that others share (architecture.md, "Loss")',
        [`${RTX} timedOut`, `${SND} acknowledged`],
        TIME_OUTS,
        [
          TCP,
          'regression-3, regression-24, regression-62: three duplicate ACKs go back to SND.UNA; two do not, nor do more, nor one with a FIN'
        ]
      )
    ),
    row(
      'MAY-4',
      'with the same IP identification',
      'MAY',
      unused('what is not to be fragmented has 0 (RFC 6864 §4.1)')
    ),
    row(
      'MUST-18',
      "Karn's algorithm",
      'MUST',
      keeps(`${RTX} untime`, [HERE, 'MUST-18: what was sent twice measures no round trip (RFC 6298 §3)'])
    )
  ],
  'Making ACKs': [
    row(
      'MUST-58',
      'aggregate whenever possible',
      'MUST',
      keeps('tcp: open.established on TURN_END', [
        HERE,
        'MUST-58, MUST-59: all segments of a turn are looked at, then there is one ACK'
      ])
    ),
    row(
      'SHLD-31',
      'queue segments that are ahead',
      'SHOULD',
      differs(
        'nothing of them is kept: a link to a guest loses next to nothing (architecture.md, "Loss"); each draws a duplicate ACK',
        ['tcp: open on TAP_SEGMENT'],
        GAP
      )
    ),
    row(
      'MUST-59',
      'process all that wait, then send ACKs',
      'MUST',
      keeps('tcp: open.established on TURN_END', [
        HERE,
        'MUST-58, MUST-59: all segments of a turn are looked at, then there is one ACK'
      ])
    ),
    row('MAY-13', 'ACK segments that are ahead', 'MAY', keeps(`${ACKS} duplicates`, GAP)),
    row('SHLD-18', 'delay ACKs', 'SHOULD', keeps(`${ACKS} acknowledge`, CONVERSATION)),
    row('MUST-40', 'by less than 0.5 s', 'MUST', keeps(`${OWED} ACK_DELAY`, CONVERSATION)),
    row(
      'SHLD-19',
      'one for two full segments at least',
      'SHOULD',
      keeps(`${ACKS} acknowledge`, [
        HERE,
        'SHLD-19: an ACK may wait for data to carry it, but not that of two full segments'
      ])
    ),
    row(
      'MUST-39',
      'avoid silly windows as a receiver',
      'MUST',
      keeps([`${ACKS} worthwhile`, `${ACKS} targetEdge`], SHUT, [
        TCP,
        'regression-74: a send buffer smaller than the MSS still gives a window'
      ])
    )
  ],
  'Sending data': [
    row(
      'MUST-49',
      'TTL is configurable',
      'MUST',
      no(
        'no application; there is no router between us and the guest, and 255 is what we write (behaviour.md#generated-headers)'
      )
    ),
    row(
      'MUST-38',
      'avoid silly windows as a sender',
      'MUST',
      keeps(`${OUTPUT} sendRoom`, [
        HERE,
        'MUST-38: less than a segment, and less than half of what it ever was, waits for the ACK'
      ])
    ),
    row(
      'SHLD-7',
      "Nagle's algorithm",
      'SHOULD',
      differs(
        "what is small the peer's own TCP has let go as it is: to hold it back once more would only delay it (#regression-50)",
        ['native/addon/sock.cc TCP_NODELAY']
      )
    ),
    row('MUST-17', 'it can be disabled', 'MUST', no('it is off'))
  ],
  'Connections that fail': [
    row('MUST-20', 'R1: tell IP', 'MUST', no('a tap has no other way to send')),
    row('MUST-20', 'R2: close', 'MUST', keeps('tcp: open on TIMER_RTO', TIME_OUTS)),
    row('MUST-21', 'the application sets R2', 'MUST', no(NO_APPLICATION)),
    row('SHLD-9', 'tell the application at R1', 'SHOULD', no(NO_APPLICATION)),
    row('SHLD-10', 'R1 is 3 retransmissions', 'SHOULD', no('nothing is done at R1')),
    row(
      'SHLD-11',
      'R2 is 100 s',
      'SHOULD',
      keeps(`${RTX} GIVE_UP_AFTER`, [
        HERE,
        'SHLD-11: retries go on for 100 s at least; MUST-22: those of a SYN are counted alike'
      ])
    ),
    row(
      'MUST-22',
      'SYNs alike',
      'MUST',
      keeps(
        ['tcp: synSent on TIMER_RTO', 'tcp: synRcvd on TIMER_RTO'],
        [TCP, 'its retries are limited: then RST to both'],
        [HERE, 'SHLD-11: retries go on for 100 s at least; MUST-22: those of a SYN are counted alike']
      )
    ),
    row(
      'MUST-23',
      'R2 of a SYN is 3 minutes',
      'MUST',
      differs(
        '7 retries, 19 s: the guest is on a local link, and its peer, accepted already, waits (behaviour.md#tcp-handshake)',
        [`${RTX} synRetriesSpent`],
        [
          INWARD,
          'regression-71, regression-B: the SYN is sent again, the same; the retries are limited, then RST to both'
        ]
      )
    )
  ],
  'Keep-alives': [
    row('MAY-5', 'send them', 'MAY', keeps('tcp: open on TIMER_KEEPALIVE', SILENCE)),
    row(
      'MUST-24',
      'the application asks for it',
      'MUST',
      differs(
        ALIVE_ALONE,
        ['tcp: open on TAP_SEGMENT'],
        [TCP, 'regression-43, regression-54: a keep-alive is answered, its window taken, and passed on once']
      )
    ),
    row('MUST-25', 'off by default', 'MUST', differs(ALIVE_ALONE, [], SILENCE)),
    row(
      'MUST-26',
      'only after silence',
      'MUST',
      keeps('machines/tcp/tcp-timers.ts keepaliveFired', [
        INWARD,
        // biome-ignore lint/suspicious/noTemplateCurlyInString: a test's name, as it stands in its file
        'opened by the ${from}: a keep-alive every 30 s, no other work'
      ])
    ),
    row(
      'MUST-27',
      'the interval is configurable',
      'MUST',
      differs('30 s always: it costs a local link nothing', ['machines/tcp/tcb-wake.ts KEEPALIVE'])
    ),
    row(
      'MUST-28',
      'and 2 h by default',
      'MUST',
      differs(
        '30 s: it costs a local link nothing, and the host is free of a dead guest’s connections soon',
        ['machines/tcp/tcb-wake.ts KEEPALIVE'],
        SILENCE
      )
    ),
    row(
      'MUST-29',
      'one without an answer means nothing',
      'MUST',
      keeps('tcp: open on TIMER_KEEPALIVE', [HERE, 'MUST-29: keep-alives that nobody answers end nothing'])
    ),
    row('SHLD-12', 'without data', 'SHOULD', keeps('machines/tcp/tcp-timers.ts keepaliveFired', SILENCE)),
    row('MAY-6', 'configurable: with an octet of garbage', 'MAY', unused('for hosts that are gone'))
  ],
  'IP options': [
    row(
      'MUST-50',
      'ignore those that are not understood',
      'MUST',
      keeps('codecs/wire/ipv4.ts decodeIpv4At', [ON_WIRE, 'IPv4 options are skipped'])
    ),
    row('MAY-10', 'timestamp', 'MAY', unused('options are skipped')),
    row('MAY-11', 'record route', 'MAY', unused('options are skipped')),
    row('MUST-51', 'the application names a source route', 'MUST', no(NO_IP_OPTIONS)),
    row('MUST-52', 'which overrides that of a datagram', 'MUST', no(NO_IP_OPTIONS)),
    row(
      'MUST-53',
      'a way back is built from a source route',
      'MUST',
      no('the guest is on our link: there is one way to it')
    ),
    row('SHLD-24', 'a later one overrides', 'SHOULD', no(NO_IP_OPTIONS))
  ],
  'ICMP messages': [
    row('MUST-54', 'act on them', 'MUST', no(KERNEL_ICMP)),
    row('SHLD-25', 'destination unreachable 0, 1, 5: tell the application', 'SHOULD', no(KERNEL_ICMP)),
    row('MUST-56', 'abort on destination unreachable 0, 1, 5', 'MUST NOT', no(KERNEL_ICMP)),
    row('SHLD-26', 'destination unreachable 2 to 4: abort', 'SHOULD', no(KERNEL_ICMP)),
    row('MUST-55', 'source quench: silently drop', 'MUST', no(KERNEL_ICMP)),
    row('MUST-56', 'abort on time exceeded', 'MUST NOT', no(KERNEL_ICMP)),
    row('MUST-56', 'abort on parameter problem', 'MUST NOT', no(KERNEL_ICMP))
  ],
  'Validation of addresses': [
    row(
      'MUST-46',
      'refuse OPEN to an invalid address',
      'MUST',
      keeps('machines/address/nat.ts hostSideOf', GROUPS, [NAT, 'loopback and unspecified are nowhere'])
    ),
    row(
      'MUST-63',
      'refuse SYN from an invalid address',
      'MUST',
      keeps('codecs/wire/frame.ts decodeFrame', [FRAME, 'each remaining reason, by example'])
    ),
    row(
      'MUST-57',
      'silently drop SYN to a broadcast or multicast address',
      'MUST',
      keeps('machines/address/nat.ts hostSideOf', GROUPS, [
        ON_WIRE,
        'regression-30, regression-40: port 0, multicast and nonsense flags do no harm'
      ])
    )
  ],
  'Between TCP and the application': [
    row('MUST-47', 'report errors', 'MUST', no(NO_APPLICATION)),
    row('SHLD-20', 'the application can turn that off', 'SHOULD', no(NO_APPLICATION)),
    row('MUST-48', 'it names the Diffserv field', 'MUST', no(NO_DIFFSERV)),
    row('SHLD-22', 'which is passed on unchanged', 'SHOULD', no(NO_DIFFSERV)),
    row('SHLD-21', 'and can be changed', 'SHOULD', no(NO_DIFFSERV)),
    row('SHLD-23', 'it changes it', 'SHOULD NOT', no(NO_DIFFSERV)),
    row('MAY-9', 'pass the received field up', 'MAY', no(NO_APPLICATION)),
    row('MAY-14', 'FLUSH', 'MAY', no(NO_APPLICATION)),
    row('MUST-43', 'OPEN with a local address', 'MUST', no(KERNEL_OPEN))
  ],
  'RFC 5961': [
    row(
      'MAY-12',
      'protection against injected data',
      'MAY',
      keeps(`${ACKS} ackAcceptable`, [
        TCP,
        'SYN is challenged, ACK of what was never sent as well; both not for ever (RFC 5961)'
      ])
    )
  ],
  'Explicit congestion notification': [
    row(
      'SHLD-8',
      'support ECN',
      'SHOULD',
      differs(
        'it is not negotiated with the guest: no queue on its link could mark anything; beyond, the kernels agree on it for themselves',
        ['codecs/wire/tcp.ts ECE']
      )
    )
  ],
  'Other congestion control': [
    row('MAY-18', 'other algorithms', 'MAY', no("towards the world it is the host kernel's choice"))
  ]
}
